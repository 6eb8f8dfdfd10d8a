-- Arithmetic on whole numbers: remainders, gcd, powers modulo, Collatz, digit sums, primes.
local floor = math.floor

local function gcd(a, b)
    while b ~= 0 do
        a, b = b, a % b
    end
    return a
end

local function power(base, exponent, modulus)
    local result = 1
    base = base % modulus
    while exponent > 0 do
        if exponent % 2 == 1 then
            result = result * base % modulus
        end
        base = base * base % modulus
        exponent = floor(exponent / 2)
    end
    return result
end

local total = 0
for i = 1, 600000 do
    total = total + gcd(i, 360360)
end
for i = 1, 120000 do
    total = total + power(i, 65537, 1000003)
end
local longest, at = 0, 0
for start = 1, 54000 do
    local n, steps = start, 0
    while n ~= 1 do
        if n % 2 == 0 then
            n = n / 2
        else
            n = 3 * n + 1
        end
        steps = steps + 1
    end
    if steps > longest then
        longest, at = steps, start
    end
end
for i = 1, 600000 do
    local n, sum = i, 0
    while n > 0 do
        local digit = n % 10
        sum = sum + digit
        n = (n - digit) / 10
    end
    total = total + sum
end
print(string.format("%d %d %d", total, longest, at))
