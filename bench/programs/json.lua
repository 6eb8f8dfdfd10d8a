-- A JSON encoder and decoder written in Lua: strings scanned by byte, tables built, recursion.
local escapes = {['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\t"] = "\\t"}

local encode
local function encode_table(t, out)
    if t[1] ~= nil then
        out[#out + 1] = "["
        for i = 1, #t do
            if i > 1 then
                out[#out + 1] = ","
            end
            encode(t[i], out)
        end
        out[#out + 1] = "]"
        return
    end
    local keys = {}
    for key in pairs(t) do
        keys[#keys + 1] = key
    end
    table.sort(keys)
    out[#out + 1] = "{"
    for i = 1, #keys do
        if i > 1 then
            out[#out + 1] = ","
        end
        out[#out + 1] = '"' .. keys[i] .. '":'
        encode(t[keys[i]], out)
    end
    out[#out + 1] = "}"
end

function encode(value, out)
    local kind = type(value)
    if kind == "table" then
        encode_table(value, out)
    elseif kind == "string" then
        out[#out + 1] = '"' .. value:gsub('["\\\n\t]', escapes) .. '"'
    elseif kind == "number" then
        out[#out + 1] = string.format("%.14g", value)
    else
        out[#out + 1] = tostring(value)
    end
end

local decode_value
local function skip(s, i)
    return s:find("%S", i)
end

local unescapes = {n = "\n", t = "\t"}
local function decode_string(s, i)
    local stop = s:find('["\\]', i + 1)
    if s:byte(stop) == 34 then
        return s:sub(i + 1, stop - 1), stop + 1
    end
    local parts, start = {}, i + 1
    while s:byte(stop) == 92 do
        local c = s:sub(stop + 1, stop + 1)
        parts[#parts + 1] = s:sub(start, stop - 1) .. (unescapes[c] or c)
        start = stop + 2
        stop = s:find('["\\]', start)
    end
    parts[#parts + 1] = s:sub(start, stop - 1)
    return table.concat(parts), stop + 1
end

local function decode_array(s, i)
    local list = {}
    i = skip(s, i + 1)
    while s:byte(i) ~= 93 do
        list[#list + 1], i = decode_value(s, i)
        i = skip(s, i)
        if s:byte(i) == 44 then
            i = skip(s, i + 1)
        end
    end
    return list, i + 1
end

local function decode_object(s, i)
    local object = {}
    i = skip(s, i + 1)
    while s:byte(i) ~= 125 do
        local key
        key, i = decode_string(s, i)
        i = skip(s, i)
        object[key], i = decode_value(s, skip(s, i + 1))
        i = skip(s, i)
        if s:byte(i) == 44 then
            i = skip(s, i + 1)
        end
    end
    return object, i + 1
end

function decode_value(s, i)
    local c = s:byte(i)
    if c == 123 then
        return decode_object(s, i)
    elseif c == 91 then
        return decode_array(s, i)
    elseif c == 34 then
        return decode_string(s, i)
    elseif c == 116 then
        return true, i + 4
    elseif c == 102 then
        return false, i + 5
    end
    local text = s:match("^-?[%d.eE+-]+", i)
    return tonumber(text), i + #text
end

local document = {
    id = 1234, name = "A \"quoted\"\nname", ratio = 0.125, ok = true,
    tags = {"one", "two", "three"}, nested = {list = {1, 2, 3, {deep = {x = 1.5}}}, empty = "none"},
    users = {},
}
for i = 1, 20 do
    document.users[i] = {id = i, name = "user" .. i, roles = {i, i + 1}, active = i % 2 == 0}
end
local total, text = 0, nil
for _ = 1, 1800 do
    local out = {}
    encode(document, out)
    text = table.concat(out)
    local copy = decode_value(text, 1)
    total = total + #text + #copy.users + copy.nested.list[4].deep.x
end
print(string.format("%.1f %s", total, text:sub(1, 60)))
