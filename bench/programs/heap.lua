-- A binary heap as a priority queue: an event simulation and Dijkstra on a grid.
local Heap = {}
Heap.__index = Heap

function Heap.new()
    return setmetatable({size = 0, keys = {}, values = {}}, Heap)
end

function Heap:push(key, value)
    local keys, values = self.keys, self.values
    local i = self.size + 1
    self.size = i
    while i > 1 do
        local parent = (i - i % 2) / 2
        if keys[parent] <= key then
            break
        end
        keys[i], values[i] = keys[parent], values[parent]
        i = parent
    end
    keys[i], values[i] = key, value
end

function Heap:pop()
    local keys, values, n = self.keys, self.values, self.size
    local top_key, top_value = keys[1], values[1]
    local key, value = keys[n], values[n]
    keys[n], values[n] = nil, nil
    n = n - 1
    self.size = n
    local i = 1
    while i * 2 <= n do
        local child = i * 2
        if child < n and keys[child + 1] < keys[child] then
            child = child + 1
        end
        if key <= keys[child] then
            break
        end
        keys[i], values[i] = keys[child], values[child]
        i = child
    end
    if n > 0 then
        keys[i], values[i] = key, value
    end
    return top_key, top_value
end

local side = 120
local function cost(cell)
    return (cell * 7919) % 97 + 1
end

local total = 0
for round = 1, 30 do
    local distance, heap = {}, Heap.new()
    local start = round
    distance[start] = 0
    heap:push(0, start)
    while heap.size > 0 do
        local d, cell = heap:pop()
        if d == distance[cell] then
            local x = (cell - 1) % side
            for k = 1, 4 do
                local to = k == 1 and x > 0 and cell - 1 or k == 2 and x < side - 1 and cell + 1
                    or k == 3 and cell - side or k == 4 and cell + side
                if to and to >= 1 and to <= side * side then
                    local through = d + cost(to)
                    if not distance[to] or through < distance[to] then
                        distance[to] = through
                        heap:push(through, to)
                    end
                end
            end
        end
    end
    total = total + distance[side * side]
end
print(string.format("%d", total))
