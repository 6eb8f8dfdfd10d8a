-- A small stack machine that runs a program: chains of comparisons, arrays, calls through tables.
local program = {
    {"push", 0}, {"store", 1}, {"push", 0}, {"store", 2},
    {"load", 2}, {"push", 20000}, {"less"}, {"jump_if_not", 20},
    {"load", 1}, {"load", 2}, {"push", 3}, {"multiply"}, {"add"}, {"push", 9973}, {"remainder"},
    {"store", 1}, {"load", 2}, {"push", 1}, {"add_store", 2}, {"jump", 5},
    {"load", 1}, {"halt"},
}

local operations = {}
function operations.push(m, value)
    m.top = m.top + 1
    m.stack[m.top] = value
end
function operations.load(m, slot)
    m.top = m.top + 1
    m.stack[m.top] = m.slots[slot]
end
function operations.store(m, slot)
    m.slots[slot] = m.stack[m.top]
    m.top = m.top - 1
end
function operations.add_store(m, slot)
    m.slots[slot] = m.stack[m.top] + m.stack[m.top - 1]
    m.top = m.top - 2
end
local function binary(f)
    return function(m)
        local stack, top = m.stack, m.top
        stack[top - 1] = f(stack[top - 1], stack[top])
        m.top = top - 1
    end
end
operations.add = binary(function(a, b) return a + b end)
operations.multiply = binary(function(a, b) return a * b end)
operations.remainder = binary(function(a, b) return a % b end)
operations.less = binary(function(a, b) return a < b end)
function operations.jump(m, to)
    m.pc = to
end
function operations.jump_if_not(m, to)
    if not m.stack[m.top] then
        m.pc = to + 1
    end
    m.top = m.top - 1
end
function operations.halt(m)
    m.running = false
end

local function run(code)
    local machine = {pc = 1, top = 0, stack = {}, slots = {}, running = true}
    local steps = 0
    while machine.running do
        local instruction = code[machine.pc]
        machine.pc = machine.pc + 1
        operations[instruction[1]](machine, instruction[2])
        steps = steps + 1
    end
    return machine.stack[machine.top], steps
end

local total, steps = 0, 0
for _ = 1, 20 do
    local value, count = run(program)
    total = total + value
    steps = steps + count
end
print(string.format("%d %d", total, steps))
