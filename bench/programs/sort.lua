-- table.sort without a comparator: random, sorted, reversed, many equal; numbers and strings.
local seed = 42
local function random(n)
    seed = (seed * 16807) % 2147483647
    return seed % n
end

local function check(t)
    for i = 2, #t do
        if t[i] < t[i - 1] then
            error("not sorted")
        end
    end
    return t[1]
end

local total, size = 0, 90000
for round = 1, 4 do
    local t = {}
    for i = 1, size do
        t[i] = random(1000000)
    end
    table.sort(t)
    total = total + check(t)
    table.sort(t)
    total = total + check(t)
    for i = 1, size do
        t[i] = size - i
    end
    table.sort(t)
    for i = 1, size do
        t[i] = random(10) + round
    end
    table.sort(t)
    total = total + check(t)
end
local words = {}
for i = 1, 60000 do
    words[i] = string.format("%05d", random(100000))
end
table.sort(words)
print(string.format("%d %s %s", total, check(words), words[#words]))
