-- A tokenizer: bytes dispatched by value, substrings interned by the table of keywords.
local byte, sub = string.byte, string.sub
local keywords = {}
for word in ("and break do else elseif end false for function if in local nil not or repeat "
    .. "return then true until while"):gmatch("%a+") do
    keywords[word] = true
end

local function is_letter(c)
    return c and (c >= 97 and c <= 122 or c >= 65 and c <= 90 or c == 95)
end

local function is_digit(c)
    return c and c >= 48 and c <= 57
end

local function scan(text)
    local counts = {name = 0, keyword = 0, number = 0, string = 0, symbol = 0, comment = 0}
    local hash = 0
    local i, n = 1, #text
    while i <= n do
        local c = byte(text, i)
        local kind, start = nil, i
        if c == 32 or c == 10 then
            i = i + 1
        elseif is_letter(c) then
            repeat
                i = i + 1
                c = byte(text, i)
            until not is_letter(c) and not is_digit(c)
            kind = keywords[sub(text, start, i - 1)] and "keyword" or "name"
        elseif is_digit(c) then
            repeat
                i = i + 1
                c = byte(text, i)
            until not is_digit(c) and c ~= 46
            kind = "number"
        elseif c == 34 then
            repeat
                i = i + 1
                c = byte(text, i)
                if c == 92 then
                    i = i + 2
                    c = byte(text, i)
                end
            until c == 34 or c == nil
            i = i + 1
            kind = "string"
        elseif c == 45 and byte(text, i + 1) == 45 then
            repeat
                i = i + 1
            until byte(text, i) == 10 or i > n
            kind = "comment"
        else
            i = i + 1
            kind = "symbol"
        end
        if kind then
            counts[kind] = counts[kind] + 1
            hash = (hash * 31 + (i - start)) % 1000003
        end
    end
    return counts, hash
end

local source = string.rep([[
local function greet(name, count_1)
    -- says hello several times
    for i = 1, count_1 do
        if i % 2 == 0 and name ~= nil then print("hello \"" .. name .. "\"", i * 3.14) end
    end
    return {name = name, [10] = true}
end
]], 40)
local total, last = 0, 0
for _ = 1, 400 do
    local counts, hash = scan(source)
    total = total + counts.name + 3 * counts.keyword + 5 * counts.number + 7 * counts.string
        + 11 * counts.symbol + 13 * counts.comment
    last = hash
end
print(string.format("%d %d", total, last))
