-- Making closures and calling them: compose, map, fold.
local function compose(f, g)
    return function(x)
        return f(g(x))
    end
end

local function adder(n)
    return function(x)
        return x + n
    end
end

local function map(list, f)
    local out = {}
    for i = 1, #list do
        out[i] = f(list[i])
    end
    return out
end

local function fold(list, f, start)
    local value = start
    for i = 1, #list do
        value = f(value, list[i])
    end
    return value
end

local list = {}
for i = 1, 100 do
    list[i] = i
end
local total = 0
for round = 1, 36000 do
    local f = compose(adder(round), adder(-1))
    local g = compose(f, function(x) return x * 2 end)
    total = fold(map(list, g), function(a, b) return (a + b) % 1000003 end, total)
end
print(string.format("%d", total))
