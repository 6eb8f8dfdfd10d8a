/* programs.c: the programs; the longer their list of features, the better. */
#include "programs.h"

const FaultProgram fault_programs[] = {
    {"tables grow",
     "local t = {} for i = 1, 300 do t[i] = i end for i = 1, 100 do t['k' .. i] = i end\n"
     "local n = 0 for k, v in t do n += v end return tostring(n)"},
    {"constructors", "local function f(...) return {...}, {n = select('#', ...), ...} end\n"
                     "local a, b = f(1, 2, 3) local c = {1, 2, x = a, [10] = b, {y = {}}}\n"
                     "return #a .. b.n .. #c"},
    {"constructor of a shape",
     "local l = {} for i = 1, 40 do l[i] = {id = i, name = 'n' .. i, next = l[i - 1]} end\n"
     "local n, at = 0, l[40] while at do n += at.id at = at.next end return '' .. n"},
    {"remove and insert", "local t = {} for i = 1, 50 do table.insert(t, 1, i) end\n"
                          "for i = 1, 20 do table.remove(t, 3) end table.insert(t, 'x')\n"
                          "return table.concat(t, ',')"},
    {"strings joined", "local s = '' for i = 1, 60 do s = s .. i .. ';' end return s"},
    {"long strings",
     "local s = string.rep('abc', 2000) local n = 0\n"
     "for i = 1, 5 do s = s:upper():lower():reverse() n += #(s .. i) end return '' .. n"},
    {"interpolation",
     "local r = {} for i = 1, 30 do r[i] = `{i}: {i * 2} {nil} {true}` end return table.concat(r)"},
    {"format",
     "local r = {} for i = 1, 20 do r[i] = string.format('%5.2f|%s|%q|%x|%*', i / 3, i, 'a\\n', i, i) end\n"
     "return table.concat(r, ' ')"},
    {"gsub by function",
     "local n = 0 local s = string.gsub(string.rep('hello world ', 20), '%w+', function(w)\n"
     "n += 1 return w:upper() .. n end) return s .. n"},
    {"gsub by table and text",
     "local t = setmetatable({a = '1'}, {__index = function(_, k) return k .. k end})\n"
     "return (string.gsub('abcabc', '%a', t)) .. (string.gsub('x y', '(%w) (%w)', '%2 %1'))"},
    {"gmatch",
     "local r = {} for k, v in string.gmatch(string.rep('a=1, b=2; ', 10), '(%w+)=(%w+)') do\n"
     "r[#r + 1] = k .. v end return table.concat(r)"},
    {"split, find, match",
     "local p = string.split('a,b,,c', ',') local i, j, c = string.find('key=val', '(%w+)=')\n"
     "return #p .. i .. j .. c .. string.match('2026-01-02', '(%d+)-(%d+)')"},
    {"pack",
     "local s = string.pack('<i4zs2d', 7, 'abc', 'defg', 1.5) local a, b, c, d, e = string.unpack('<i4zs2d', s)\n"
     "return a .. b .. c .. d .. e .. #s"},
    {"utf8",
     "local s = utf8.char(8364, 128512, 97) local r = {} for p, c in utf8.codes(s) do r[#r + 1] = p .. ':' .. c end\n"
     "return table.concat(r, ' ') .. utf8.len(s)"},
    {"closures",
     "local fs = {} for i = 1, 50 do local j = i fs[i] = function(d) j += d return j end end\n"
     "local n = 0 for r = 1, 2 do for i, f in fs do n += f(i) end end return '' .. n"},
    {"recursion",
     "local function f(n) if n == 0 then return 0 end return 1 + f(n - 1) end return '' .. f(400)"},
    {"varargs",
     "local function f(...) local a = select('#', ...) return a, ... end\n"
     "local t = table.create(100, 1) local r = {f(table.unpack(t))} return '' .. #r .. r[1]"},
    {"pcall",
     "local n = 0 for i = 1, 10 do local ok, e = pcall(error, {code = i}) n += type(e) == 'table' and e.code or 0 end\n"
     "local ok, e = pcall(function() local x = nil return x.y end) return n .. tostring(ok)"},
    {"xpcall",
     "local ok, e = xpcall(function() local t = {} return t.a.b end, function(m) return debug.traceback(m) end)\n"
     "local ok2, e2 = xpcall(error, function(m) return {m} end, 'x') return tostring(ok) .. type(e2)"},
    {"nested pcall",
     "local function f(n) if n == 0 then error('deep') end local ok, e = pcall(f, n - 1) error(e, 0) end\n"
     "local ok, e = pcall(f, 30) return type(e)"},
    {"coroutines",
     "local n = 0 for i = 1, 10 do local co = coroutine.create(function(a) for j = 1, 3 do a += coroutine.yield(a) end return a end)\n"
     "for j = 1, 4 do local ok, v = coroutine.resume(co, j) if ok then n += v end end end return '' .. n"},
    {"wrap",
     "local function gen(n) return coroutine.wrap(function() for i = 1, n do coroutine.yield(i, {i}) end end) end\n"
     "local n = 0 for i, t in gen(40) do n += t[1] end return '' .. n"},
    {"coroutine in coroutine",
     "local function f(n) if n == 0 then coroutine.yield('x') return 0 end\n"
     "local co = coroutine.wrap(f) local v = co(n - 1) return v end return tostring(f(12))"},
    {"coroutine that fails",
     "local co = coroutine.create(function() coroutine.yield(1) error({2}) end) coroutine.resume(co)\n"
     "local ok, e = coroutine.resume(co) local c, d = coroutine.close(co) return tostring(ok) .. coroutine.status(co)"},
    {"yield through pcall",
     "local co = coroutine.wrap(function() local ok, e = pcall(function() coroutine.yield(1) error('e') end)\n"
     "coroutine.yield(ok) return 'end' end) return co() .. tostring(co()) .. co()"},
    {"sort",
     "local t = {} for i = 1, 200 do t[i] = (i * 7919) % 211 end table.sort(t) table.sort(t, function(a, b) return a > b end)\n"
     "local w = {'b', 'a', 'c'} table.sort(w) return t[1] .. ' ' .. t[200] .. table.concat(w)"},
    {"sort that allocates",
     "local t = {} for i = 1, 60 do t[i] = {k = (i * 31) % 61} end table.sort(t, function(a, b) return 'x' .. a.k < 'x' .. b.k end)\n"
     "return '' .. t[1].k .. t[60].k"},
    {"metamethods",
     "local V = {} V.__index = V V.__add = function(a, b) return setmetatable({x = a.x + b.x}, V) end\n"
     "V.__concat = function(a, b) return tostring(a) .. tostring(b) end V.__tostring = function(a) return '<' .. a.x .. '>' end\n"
     "V.__eq = function(a, b) return a.x == b.x end V.__lt = function(a, b) return a.x < b.x end V.__len = function() return 3 end\n"
     "V.__call = function(s, y) return s.x * y end local a, b = setmetatable({x = 1}, V), setmetatable({x = 2}, V)\n"
     "return tostring(a + b) .. (a .. b) .. tostring(a == b) .. tostring(a < b) .. #a .. a(5)"},
    {"index chains",
     "local base = {} for i = 1, 20 do base = setmetatable({['f' .. i] = i}, {__index = base}) end\n"
     "local n = 0 for i = 1, 20 do n += base['f' .. i] end\n"
     "local log = {} local p = setmetatable({}, {__newindex = function(t, k, v) rawset(t, k, v) log[#log + 1] = k end})\n"
     "for i = 1, 20 do p['k' .. i] = i end return n .. #log"},
    {"iteration",
     "local o = setmetatable({}, {__iter = function() local i = 0 return function() i += 1 if i < 10 then return i, {i} end end end})\n"
     "local n = 0 for i, t in o do n += t[1] end for k, v in pairs({a = 1, b = 2}) do n += v end for i, v in ipairs({5, 6}) do n += v end return '' .. n"},
    {"weak tables",
     "local w = setmetatable({}, {__mode = 'kv'}) for i = 1, 40 do w[i] = {i} w[{}] = i end collectgarbage('collect')\n"
     "return type(w)"},
    {"buffers",
     "local b = buffer.create(500) for i = 0, 400, 4 do buffer.writei32(b, i, i) end local s = buffer.tostring(b)\n"
     "local c = buffer.fromstring(s) buffer.copy(c, 0, b, 4, 100) return #s .. buffer.readi32(c, 0)"},
    {"vectors",
     "local v = vector.zero for i = 1, 50 do v += vector.create(i, i * 2, 1) end local t = {[v] = 'x'}\n"
     "return tostring(v) .. t[v]"},
    {"loadstring",
     "local r = {} for i = 1, 5 do r[i] = loadstring('local a = ... return a * ' .. i)(2) end\n"
     "local f, e = loadstring('x = = 1') return table.concat(r, ',') .. type(e)"},
    {"a large chunk",
     "local parts = {} for i = 1, 60 do parts[i] = 'local function f' .. i .. '(a) return {a, n = ' .. i .. ', \"s' .. i .. '\"} end' end\n"
     "parts[61] = 'return f60(1).n' return '' .. loadstring(table.concat(parts, ' '))()"},
    {"clone, move, pack",
     "local t = table.create(60, 'v') t.k = 1 local c = table.clone(t) table.move(t, 1, 60, 30, c)\n"
     "local p = table.pack(table.unpack(c, 1, 40)) return #c .. p.n .. table.find(c, 'v')"},
    {"freeze, clear",
     "local t = {} for i = 1, 64 do t[i] = i t['x' .. i] = i end table.clear(t) for i = 1, 64 do t[-i] = i end\n"
     "local f = table.freeze({1}) local ok = pcall(function() f[1] = 2 end) return tostring(ok) .. #t"},
    {"environments",
     "local env = setmetatable({}, {__index = getfenv()}) local f = loadstring('y = 5 return y + 1') setfenv(f, env)\n"
     "return f() .. tostring(y) .. env.y"},
    {"proxies",
     "local p = newproxy(true) getmetatable(p).__index = function(_, k) return k .. '!' end\n"
     "getmetatable(p).__tostring = function() return 'proxy' end return p.x .. tostring(p)"},
    {"numbers and text",
     "local n = 0 for i = 1, 50 do n += tonumber(tostring(i / 8)) + ('10' + i) end return tostring(n)"},
    {"dates",
     "local t = os.date('!*t', 86400) return t.year .. os.date('!%Y-%m-%d', 0) .. os.time({year = 2020, month = 1, day = 1})"},
    {"garbage",
     "local keep = {} for i = 1, 1500 do local t = {i, {i}, tostring(i)} if i % 100 == 0 then keep[#keep + 1] = t end end\n"
     "collectgarbage('collect') return '' .. #keep .. keep[3][3]"},
    {"upvalues that outlive",
     "local function mk() local a, b = {}, {} local co = coroutine.wrap(function() local c = 1 coroutine.yield(function() c += 1 return c, a end) end)\n"
     "return co() end local n = 0 for i = 1, 20 do n += (mk()()) end return '' .. n"},
    {"json",
     "local v = J.decode('{\"a\":[1,2.5,\"x\\\\u00e9\",null,true],\"b\":{\"c\":{}},\"n\":18446744073709551615}')\n"
     "local big = {} for i = 1, 300 do big[i] = {id = i, name = 'n' .. i} end\n"
     "local text = J.encode(big) return #text .. #J.decode(text) .. #v.a .. J.encode(v.a)"},
    {"json that fails",
     "local ok, e = pcall(J.decode, '[1,2,{\"a\":tru}]') local ok2, e2 = pcall(J.encode, {print}) return tostring(ok) .. tostring(ok2)"},
};
const int fault_program_count = (int)(sizeof(fault_programs) / sizeof(fault_programs[0]));
