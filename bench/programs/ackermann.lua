-- Calls: deep recursion, tail calls where the language has them.
local function ack(m, n)
    if m == 0 then
        return n + 1
    elseif n == 0 then
        return ack(m - 1, 1)
    end
    return ack(m - 1, (ack(m, n - 1)))
end

local total = 0
for _ = 1, 50 do
    total = total + ack(2, 350) + ack(3, 6)
end
print(string.format("%d", total))
