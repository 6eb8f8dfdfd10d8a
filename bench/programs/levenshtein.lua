-- Edit distance by dynamic programming: bytes compared, rows of numbers, math.min.
local min, byte = math.min, string.byte

local function distance(a, b)
    local previous, current = {}, {}
    for j = 0, #b do
        previous[j] = j
    end
    for i = 1, #a do
        current[0] = i
        local ca = byte(a, i)
        for j = 1, #b do
            local cost = ca == byte(b, j) and 0 or 1
            current[j] = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + cost)
        end
        previous, current = current, previous
    end
    return previous[#b]
end

local words = {"kitten", "sitting", "saturday", "sunday", "international", "internationalise",
    "the quick brown fox jumps over the lazy dog", "a quick brown dog jumps over the lazy fox"}
local total = 0
for _ = 1, 260 do
    for i = 1, #words do
        for j = 1, #words do
            total = total + distance(words[i], words[j])
        end
    end
end
print(string.format("%d", total))
