-- string.gsub with string, table and function replacements: templates, escaping, trimming.
local values = {name = "Ada", city = "London", count = "42"}
local template = "Dear ${name}, you have ${count} messages from ${city} & <friends>. ${unknown}  "
local escapes = {["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;"}
local total = 0
for i = 1, 65000 do
    local text = template:gsub("%${(%w+)}", values)
    text = text:gsub("[&<>]", escapes)
    text = text:gsub("^%s+", ""):gsub("%s+$", "")
    local upper, count = text:gsub("%f[%a]%a", function(letter) return letter:upper() end)
    total = total + #text + #upper + count
    local swapped = text:gsub("(%w+) (%w+)", "%2 %1", 3)
    total = total + #swapped + i % 2
end
print(string.format("%d", total))
