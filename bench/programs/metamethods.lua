-- Operators on tables: vectors with arithmetic and comparison, a default table, a functor, proxies.
local Vector = {}
Vector.__index = Vector
local function vector(x, y)
    return setmetatable({x = x, y = y}, Vector)
end
Vector.__add = function(a, b) return vector(a.x + b.x, a.y + b.y) end
Vector.__sub = function(a, b) return vector(a.x - b.x, a.y - b.y) end
Vector.__mul = function(a, k) return vector(a.x * k, a.y * k) end
Vector.__unm = function(a) return vector(-a.x, -a.y) end
Vector.__eq = function(a, b) return a.x == b.x and a.y == b.y end
Vector.__lt = function(a, b) return a.x * a.x + a.y * a.y < b.x * b.x + b.y * b.y end
Vector.__le = function(a, b) return a.x * a.x + a.y * a.y <= b.x * b.x + b.y * b.y end
Vector.__call = function(a, k) return a.x * k + a.y end
Vector.__concat = function(a, b) return a.x .. "," .. b.x end

local squares = setmetatable({}, {__index = function(_, key) return key * key end})
local log_count = 0
local logged = setmetatable({}, {
    __newindex = function(t, key, value)
        log_count = log_count + 1
        if key % 1000 == 0 then
            rawset(t, key, value)
        end
    end,
})

local sum = vector(0, 0)
local equal, less, called, length, square_sum = 0, 0, 0, 0, 0
for i = 1, 340000 do
    local a, b = vector(i % 10, i % 3), vector(i % 5, i % 7)
    sum = sum + (a - b) * 2 - (-a)
    if a == b then
        equal = equal + 1
    end
    if a < b or b <= a then
        less = less + 1
    end
    called = called + a(3)
    if i % 8 == 0 then
        length = length + #(a .. b)
    end
    square_sum = square_sum + squares[i % 100]
    logged[i] = i
end
print(string.format("%d %d %d %d %d %d %d %d", sum.x, sum.y, equal, less, called, length,
    square_sum, log_count))
