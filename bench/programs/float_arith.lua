-- Arithmetic on fractions: series, Newton's method, Simpson's rule, mathematical functions.
local sin, cos, sqrt, exp, abs, floor = math.sin, math.cos, math.sqrt, math.exp, math.abs, math.floor

local pi = 0
local sign = 1
for i = 0, 14000000 do
    pi = pi + sign / (2 * i + 1)
    sign = -sign
end

local roots = 0
for i = 1, 520000 do
    local x = i * 0.5
    local guess = x
    for _ = 1, 6 do
        guess = 0.5 * (guess + x / guess)
    end
    roots = roots + guess
end

local function simpson(f, a, b, n)
    local h = (b - a) / n
    local sum = f(a) + f(b)
    for i = 1, n - 1 do
        sum = sum + f(a + i * h) * (i % 2 == 0 and 2 or 4)
    end
    return sum * h / 3
end

local area = simpson(function(x) return sin(x) * exp(-x / 10) + sqrt(abs(cos(x))) end, 0, 10, 1200000)
print(string.format("%.9f %.4f %.6f %d", pi * 4, roots, area, floor(area)))
