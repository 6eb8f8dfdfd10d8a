-- All ways to place queens: backtracking with arrays of flags.
local n = 9
local solutions, tried = 0, 0
local columns, up, down, at = {}, {}, {}, {}
for i = 1, 2 * n do
    columns[i], up[i], down[i] = false, false, false
end

local function place(row)
    if row > n then
        solutions = solutions + at[1]
        return
    end
    for column = 1, n do
        tried = tried + 1
        local u, d = row + column - 1, row - column + n
        if not columns[column] and not up[u] and not down[d] then
            columns[column], up[u], down[d] = true, true, true
            at[row] = column
            place(row + 1)
            columns[column], up[u], down[d] = false, false, false
        end
    end
end

for _ = 1, 120 do
    place(1)
end
print(string.format("%d %d", solutions, tried))
