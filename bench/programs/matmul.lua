-- Matrices as tables of tables: multiplication with the second transposed.
local function matrix(n, seed)
    local m = {}
    for i = 1, n do
        local row = {}
        for j = 1, n do
            row[j] = ((i * seed + j * 7) % 100) / 10
        end
        m[i] = row
    end
    return m
end

local function multiply(a, b)
    local n = #a
    local columns = {}
    for j = 1, n do
        local column = {}
        for k = 1, n do
            column[k] = b[k][j]
        end
        columns[j] = column
    end
    local c = {}
    for i = 1, n do
        local row, out = a[i], {}
        for j = 1, n do
            local column, sum = columns[j], 0
            for k = 1, n do
                sum = sum + row[k] * column[k]
            end
            out[j] = sum
        end
        c[i] = out
    end
    return c
end

local n = 260
local a, b = matrix(n, 3), matrix(n, 5)
local c = multiply(multiply(a, b), a)
local trace = 0
for i = 1, n do
    trace = trace + c[i][i]
end
print(string.format("%.3f %.3f", trace, c[1][n]))
