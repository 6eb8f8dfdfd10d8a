-- string.format, tostring and tonumber.
local total = 0
for i = 1, 170000 do
    local s = string.format("%d %5d %-5d|%05d %x", i, i % 1000, i % 77, i % 9999, i)
    total = total + #s
    s = string.format("%.2f %10.3f %g", i / 3, i / 7, i % 100 + 0.5)
    total = total + #s
    s = string.format("%s=%q %10s|%-6s|%c%%", "key", "a \"b\"", "right", "left", 65 + i % 26)
    total = total + #s
    total = total + tonumber(tostring(i)) % 10 + tonumber(string.format("%.3f", i / 8)) % 1
end
print(string.format("%.3f", total))
