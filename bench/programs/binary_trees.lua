-- Allocation: many small trees that die at once beside one that lives long.
local function bottom_up(depth)
    if depth == 0 then
        return {}
    end
    return {left = bottom_up(depth - 1), right = bottom_up(depth - 1)}
end

local function count(tree)
    if not tree.left then
        return 1
    end
    return 1 + count(tree.left) + count(tree.right)
end

local depth_max = 15
local long_lived = bottom_up(depth_max)
local total = 0
for depth = 4, depth_max, 3 do
    local rounds = 2 ^ (depth_max - depth + 3)
    for _ = 1, rounds do
        total = total + count(bottom_up(depth))
    end
end
print(string.format("%d %d", total, count(long_lived)))
