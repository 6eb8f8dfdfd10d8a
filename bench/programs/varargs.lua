-- Variable arguments: select, packing into tables, unpack, forwarding, several results.
local unpack = table.unpack or unpack

local function sum(...)
    local total = 0
    for i = 1, select("#", ...) do
        total = total + (select(i, ...))
    end
    return total
end

local function pack(...)
    return {n = select("#", ...), ...}
end

local function forward(f, ...)
    return f(...)
end

local function swap(a, b, ...)
    return b, a, ...
end

local function count(...)
    return select("#", ...)
end

local total = 0
for i = 1, 420000 do
    total = total + sum(i, 2, 3, i % 5)
    local t = pack(i, nil, 3, nil)
    total = total + t.n
    total = total + forward(sum, swap(1, 2, 3, 4, 5))
    total = total + count(unpack({1, 2, 3, i}))
    local a, b, c = swap(unpack(t, 1, 3))
    total = total + (b or 0) + c + (a and 1 or 0)
end
print(string.format("%d", total))
