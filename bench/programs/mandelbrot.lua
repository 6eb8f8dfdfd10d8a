-- The Mandelbrot set: tight floating point loops with an early exit.
local size, limit = 600, 100
local inside, steps = 0, 0
for py = 0, size - 1 do
    local ci = 2 * py / size - 1
    for px = 0, size - 1 do
        local cr = 2 * px / size - 1.5
        local zr, zi, r2, i2 = 0, 0, 0, 0
        local n = 0
        while n < limit and r2 + i2 <= 4 do
            zi = 2 * zr * zi + ci
            zr = r2 - i2 + cr
            r2 = zr * zr
            i2 = zi * zi
            n = n + 1
        end
        if n == limit then
            inside = inside + 1
        end
        steps = steps + n
    end
end
print(string.format("%d %d", inside, steps))
