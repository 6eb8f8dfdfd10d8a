-- Building strings: concatenation of parts, accumulation, table.concat.
local total = 0
for round = 1, 480 do
    local text = ""
    for i = 1, 600 do
        text = text .. (i % 10) .. ","
    end
    total = total + #text
end
for i = 1, 900000 do
    local line = "<" .. i .. ":" .. (i + 1) .. "|" .. "x" .. ">"
    total = total + #line
end
for round = 1, 180 do
    local parts = {}
    for i = 1, 5000 do
        parts[#parts + 1] = "item" .. i
    end
    local text = table.concat(parts, ", ")
    total = total + #text
end
print(string.format("%d", total))
