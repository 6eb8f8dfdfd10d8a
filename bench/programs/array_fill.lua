-- Arrays: fill by index, sum, reverse, rotate; literals.
local total = 0
for round = 1, 160 do
    local t = {}
    for i = 1, 60000 do
        t[i] = i * round
    end
    local sum = 0
    for i = 1, #t do
        sum = sum + t[i] % 1009
    end
    local i, j = 1, #t
    while i < j do
        t[i], t[j] = t[j], t[i]
        i, j = i + 1, j - 1
    end
    total = total + sum + t[1] - t[#t]
end
for i = 1, 1600000 do
    local point = {i, i + 1, i + 2}
    total = total + point[1] - point[3]
end
print(string.format("%d", total))
