-- Variables shared by closures: counters, accumulators, private state.
local function counter()
    local value, step, calls = 0, 1, 0
    local function increase()
        value = value + step
        calls = calls + 1
    end
    local function setstep(n)
        step = n
        calls = calls + 1
    end
    local function get()
        return value, calls
    end
    return increase, setstep, get
end

local value_total, calls_total = 0, 0
for round = 1, 240 do
    local increase, setstep, get = counter()
    for i = 1, 50000 do
        increase()
        if i % 100 == 0 then
            setstep(i % 7)
        end
    end
    local value, calls = get()
    value_total = value_total + value + round
    calls_total = calls_total + calls
end
print(string.format("%d %d", value_total, calls_total))
