-- table.insert and table.remove: a stack, a queue, insertion in the middle, table.concat.
local stack = {}
local total = 0
for i = 1, 1600000 do
    table.insert(stack, i)
    if i % 3 == 0 then
        total = total + table.remove(stack)
    end
end
while #stack > 0 do
    total = total + table.remove(stack)
end
local queue = {}
for i = 1, 200 do
    table.insert(queue, i)
end
for i = 1, 40000 do
    local first = table.remove(queue, 1)
    total = total + first
    table.insert(queue, first)
    if i % 4 == 0 then
        table.insert(queue, 100, i)
        table.remove(queue, 50)
    end
end
print(string.format("%d %d", total, #queue))
