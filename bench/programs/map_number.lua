-- Tables keyed by sparse integers and by fractions: no array part to lean on.
local total = 0
for round = 1, 100 do
    local sparse, fractions = {}, {}
    for i = 1, 16000 do
        sparse[i * 1009 + round] = i
        fractions[i + 0.25] = i
    end
    for i = 1, 16000 do
        total = total + sparse[i * 1009 + round] + fractions[i + 0.25]
        if sparse[i * 1009 + round + 1] then
            total = total + 1
        end
    end
    for i = 1, 16000, 2 do
        sparse[i * 1009 + round] = nil
    end
    for key, value in pairs(sparse) do
        total = (total + key + value) % 1000000007
    end
    for key in pairs(fractions) do
        total = total + (key - 0.25)
    end
end
print(string.format("%d", total))
