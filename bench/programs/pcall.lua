-- Protected calls: ones that succeed, ones that raise strings and tables, nested, with handlers.
local function work(n)
    if n % 4 == 0 then
        error("bad number", 0)
    elseif n % 7 == 0 then
        error({code = n})
    end
    return n
end

local function nested(n)
    local ok, value = pcall(work, n)
    if not ok then
        error(value, 0)
    end
    return value
end

local function handler(value)
    return type(value) == "table" and value.code or #value
end

local total, strings, tables = 0, 0, 0
for i = 1, 1200000 do
    local ok, value = pcall(i % 16 == 0 and nested or work, i)
    if ok then
        total = total + value % 10
    elseif type(value) == "string" then
        strings = strings + 1
    else
        tables = tables + value.code % 10
    end
    if i % 2 == 0 then
        local fine, code = xpcall(function() return work(i) end, handler)
        total = total + code % 3 + (fine and 1 or 0)
    end
end
print(string.format("%d %d %d", total, strings, tables))
