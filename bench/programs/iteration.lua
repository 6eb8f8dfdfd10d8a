-- pairs, ipairs, next, and iterators of one's own.
local array, map = {}, {}
for i = 1, 1000 do
    array[i] = i
    map["key" .. i] = i
end

local function range(_, i)
    if i < 1000 then
        return i + 1
    end
end

local total = 0
for _ = 1, 3000 do
    for i, value in ipairs(array) do
        total = total + i + value
    end
    for _, value in pairs(array) do
        total = total + value
    end
    for key, value in pairs(map) do
        if key then
            total = total + value
        end
    end
    for i in range, nil, 0 do
        total = total + i
    end
    local key, value = next(map)
    while key do
        total = total + value
        key, value = next(map, key)
    end
end
print(string.format("%d", total))
