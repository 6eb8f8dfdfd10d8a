-- Tables keyed by strings: word counts, lookups that hit and miss, deletion, traversal.
local words = {}
for i = 1, 2000 do
    words[i] = "word" .. (i * 7919 % 2003)
end
local hits, misses, total = 0, 0, 0
for round = 1, 450 do
    local counts = {}
    for i = 1, #words do
        local word = words[i]
        counts[word] = (counts[word] or 0) + i % 5
        if counts[words[(i * 31) % #words + 1]] then
            hits = hits + 1
        else
            misses = misses + 1
        end
    end
    for i = 1, #words, 3 do
        counts[words[i]] = nil
    end
    for _, count in pairs(counts) do
        total = total + count
    end
    for i = 1, #words do
        local key = words[i] .. round
        counts[key] = i
        if counts[key] ~= i then
            error("lost " .. key)
        end
    end
end
print(string.format("%d %d %d", hits, misses, total))
