-- table.sort with comparators: callbacks from a library function.
local seed = 7
local function random(n)
    seed = (seed * 16807) % 2147483647
    return seed % n
end

local total = 0
for _ = 1, 14 do
    local people = {}
    for i = 1, 12000 do
        people[i] = {id = i, age = random(90), name = "n" .. random(1000)}
    end
    table.sort(people, function(a, b)
        if a.age ~= b.age then
            return a.age < b.age
        end
        return a.id < b.id
    end)
    total = total + people[1].id + people[6000].id
    table.sort(people, function(a, b) return a.id > b.id end)
    total = total + people[1].id
    local numbers = {}
    for i = 1, 12000 do
        numbers[i] = random(1000000)
    end
    table.sort(numbers, function(a, b) return a > b end)
    total = total + numbers[1] - numbers[#numbers]
end
print(string.format("%d", total))
