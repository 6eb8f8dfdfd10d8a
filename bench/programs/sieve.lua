-- The sieve of Eratosthenes: booleans in an array, strided writes.
local limit = 400000
local total = 0
for _ = 1, 26 do
    local composite = {}
    for i = 1, limit do
        composite[i] = false
    end
    local i = 2
    while i * i <= limit do
        if not composite[i] then
            for j = i * i, limit, i do
                composite[j] = true
            end
        end
        i = i + 1
    end
    local count = 0
    for n = 2, limit do
        if not composite[n] then
            count = count + 1
        end
    end
    total = total + count
end
print(string.format("%d", total))
