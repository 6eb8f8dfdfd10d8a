-- Doubly linked lists and an LRU cache on them: pointers, no arithmetic.
local List = {}
List.__index = List

function List.new()
    local list = setmetatable({}, List)
    list.head, list.tail = {}, {}
    list.head.next, list.tail.prev = list.tail, list.head
    return list
end

function List:push(node)
    local first = self.head.next
    node.prev, node.next = self.head, first
    self.head.next, first.prev = node, node
end

function List:remove(node)
    node.prev.next, node.next.prev = node.next, node.prev
end

local function lru(capacity)
    local list, nodes, size = List.new(), {}, 0
    return function(key)
        local node = nodes[key]
        if node then
            list:remove(node)
            list:push(node)
            node.hits = node.hits + 1
            return true
        end
        if size == capacity then
            local last = list.tail.prev
            list:remove(last)
            nodes[last.key] = nil
        else
            size = size + 1
        end
        node = {key = key, hits = 0}
        nodes[key] = node
        list:push(node)
        return false
    end
end

local get = lru(500)
local hits, misses, seed = 0, 0, 99
for i = 1, 1200000 do
    seed = (seed * 16807) % 2147483647
    local key = i % 3 == 0 and seed % 4000 or seed % 300
    if get(key) then
        hits = hits + 1
    else
        misses = misses + 1
    end
end
print(string.format("%d %d", hits, misses))
