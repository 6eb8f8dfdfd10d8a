-- string.byte, char, sub, rep, upper, lower, reverse, find (plain), comparison of strings.
local text = string.rep("The quick brown fox jumps over the lazy dog. ", 20)
local total = 0
for _ = 1, 2000 do
    for i = 1, #text do
        local code = string.byte(text, i)
        if code >= 97 and code <= 122 then
            total = total + code - 96
        end
    end
    for i = 1, #text - 5, 3 do
        local piece = text:sub(i, i + 4)
        if piece == "quick" or piece < "T" then
            total = total + 1
        end
    end
    local start, count = 1, 0
    while true do
        local at = text:find("lazy", start, true)
        if not at then
            break
        end
        count = count + 1
        start = at + 1
    end
    total = total + count + #text:upper():lower():reverse()
end
for i = 1, 1200000 do
    local s = string.char(65 + i % 26, 97 + i % 26)
    total = total + #string.rep(s, i % 8) + string.byte(s, 2)
end
print(string.format("%d", total))
