-- Iterators made of coroutines: permutations, a tree walked in order, a pipeline of filters.
local yield, wrap = coroutine.yield, coroutine.wrap

local function permute(list, n)
    if n == 0 then
        yield(list)
        return
    end
    for i = 1, n do
        list[n], list[i] = list[i], list[n]
        permute(list, n - 1)
        list[n], list[i] = list[i], list[n]
    end
end

local function insert(node, key)
    if not node then
        return {key = key}
    end
    if key < node.key then
        node.left = insert(node.left, key)
    else
        node.right = insert(node.right, key)
    end
    return node
end

local function walk(node)
    if node then
        walk(node.left)
        yield(node.key)
        walk(node.right)
    end
end

local function numbers(n)
    return wrap(function()
        for i = 1, n do
            yield(i)
        end
    end)
end

local function filter(source, divisor)
    return wrap(function()
        for n in source do
            if n % divisor ~= 0 then
                yield(n)
            end
        end
    end)
end

local total = 0
for list in wrap(function() permute({1, 2, 3, 4, 5, 6, 7, 8, 9}, 9) end) do
    total = total + list[1] * list[9]
end
local tree, key = nil, 1
for _ = 1, 3000 do
    key = key * 1103 % 30011
    tree = insert(tree, key)
end
for _ = 1, 80 do
    local previous = 0
    for value in wrap(function() walk(tree) end) do
        if value < previous then
            error("out of order")
        end
        previous = value
        total = total + value
    end
end
for n in filter(filter(filter(numbers(900000), 2), 3), 5) do
    total = total + n
end
print(string.format("%d", total))
