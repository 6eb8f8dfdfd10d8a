-- Pancake flips over all permutations: small arrays indexed by variables.
local function fannkuch(n)
    local p, q, s = {}, {}, {}
    for i = 1, n do
        p[i], q[i], s[i] = i, i, i
    end
    local sign, flips_max, checksum = 1, 0, 0
    while true do
        local first = p[1]
        if first ~= 1 then
            for i = 2, n do
                q[i] = p[i]
            end
            local flips = 1
            while true do
                local value = q[first]
                if value == 1 then
                    break
                end
                q[first] = first
                if first >= 4 then
                    local i, j = 2, first - 1
                    while i < j do
                        q[i], q[j] = q[j], q[i]
                        i, j = i + 1, j - 1
                    end
                end
                first = value
                flips = flips + 1
            end
            checksum = checksum + sign * flips
            if flips > flips_max then
                flips_max = flips
            end
        end
        if sign == 1 then
            p[1], p[2] = p[2], p[1]
            sign = -1
        else
            p[2], p[3] = p[3], p[2]
            sign = 1
            for i = 3, n do
                local count = s[i]
                if count ~= 1 then
                    s[i] = count - 1
                    break
                end
                if i == n then
                    return checksum, flips_max
                end
                s[i] = i
                local moved = p[1]
                for j = 1, i do
                    p[j] = p[j + 1]
                end
                p[i + 1] = moved
            end
        end
    end
end

local checksum, flips = 0, 0
for _ = 1, 3 do
    local sum, most = fannkuch(9)
    checksum, flips = checksum + sum, flips + most
end
print(string.format("%d %d", checksum, flips))
