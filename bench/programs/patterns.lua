-- Patterns: find, match, gmatch with captures, anchors, classes, frontiers of balance.
local log = {}
for i = 1, 200 do
    log[i] = string.format("2024-%02d-%02d 12:%02d:%02d [%s] user%d: key=%d, value=(a(b)%d)",
        i % 12 + 1, i % 28 + 1, i % 60, i * 7 % 60, i % 3 == 0 and "warn" or "info", i, i, i * 3)
end
local total, warnings, balanced = 0, 0, 0
for _ = 1, 400 do
    for i = 1, #log do
        local line = log[i]
        local year, month, day = line:match("^(%d+)-(%d+)-(%d+)")
        total = total + year + month + day
        local level = line:match("%[(%a+)%]")
        if level == "warn" then
            warnings = warnings + 1
        end
        for key, value in line:gmatch("(%w+)=(%d+)") do
            total = total + #key + value
        end
        if line:find("%b()") then
            balanced = balanced + #line:match("%b()")
        end
        for word in line:gmatch("%a+") do
            total = total + #word
        end
    end
end
print(string.format("%d %d %d", total, warnings, balanced))
