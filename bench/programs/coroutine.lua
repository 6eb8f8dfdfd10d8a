-- Two coroutines hand a value back and forth; resume and yield with arguments; many short ones.
local yield, resume, create = coroutine.yield, coroutine.resume, coroutine.create

local function echo(value)
    while value do
        value = yield(value + 1)
    end
    return "done"
end

local total = 0
local co = create(echo)
for i = 1, 2400000 do
    local ok, value = resume(co, i)
    if not ok then
        error(value)
    end
    total = total + value
end
local ok, last = resume(co, nil)
for i = 1, 480000 do
    local short = create(function(a, b)
        local c = yield(a + b)
        return c * 2
    end)
    local _, sum = resume(short, i, 1)
    local _, double = resume(short, sum)
    total = total + double
end
print(string.format("%d %s %s", total, tostring(ok), last))
