-- Conway's game on a torus: nested tables, neighbours by wrapped index.
local width, height = 64, 48
local grid = {}
local seed = 12345
for y = 1, height do
    grid[y] = {}
    for x = 1, width do
        seed = (seed * 16807) % 2147483647
        grid[y][x] = seed % 3 == 0 and 1 or 0
    end
end

local function step(old)
    local new = {}
    for y = 1, height do
        local above = old[y == 1 and height or y - 1]
        local row = old[y]
        local below = old[y == height and 1 or y + 1]
        local out = {}
        for x = 1, width do
            local l = x == 1 and width or x - 1
            local r = x == width and 1 or x + 1
            local n = above[l] + above[x] + above[r] + row[l] + row[r] + below[l] + below[x]
                + below[r]
            if n == 3 or (n == 2 and row[x] == 1) then
                out[x] = 1
            else
                out[x] = 0
            end
        end
        new[y] = out
    end
    return new
end

for _ = 1, 1600 do
    grid = step(grid)
end
local alive = 0
for y = 1, height do
    for x = 1, width do
        alive = alive + grid[y][x] * (x + y)
    end
end
print(string.format("%d", alive))
