"""Attacks on what templates are given: plugins, ctx.KV, ctx.Templates, require (threats B25, D01, F).

An attack is the body of a function that asserts that it failed. What waits for nobody is run within everything
that calls back; what makes calls, within everything that may wait, and must be refused clearly elsewhere.
"""

import concurrent.futures
import json
import re
import sqlite3

from common import ERROR, FACTOR, MEMORY, PROBLEMS, SECRETS, TIMEOUT, Quiet, expect, lasting

AT_ONCE = 8

# `fails(text, f, ...)`: it raises an error with text in it. `evil`: asks for trouble wherever it is looked at.
PRELUDE = """
local event, ctx = ...
local kv, templates = ctx.KV, ctx.Templates
local function fails(text, f, ...)
    local ok, message = pcall(f, ...)
    if ok then error(`no error: {tostring((select(select('#', ...) > 1 and 2 or 1, ...))):sub(1, 80)}`, 2) end
    message = tostring(message)
    if #message > 1000 or not string.find(message, text, 1, true) then error(message:sub(1, 300), 2) end
end
local evil = {}
for _, name in {'__index', '__newindex', '__iter', '__len', '__tostring', '__call', '__eq', '__concat', '__unm'} do
    evil[name] = function() while true do end end
end
local NAN, INF = 0 / 0, math.huge
"""

PLAIN = {
    "F11 require": r"""
        assert(require('./part/inner') == 'inner')
        for _, path in {'../../etc/passwd', './../../../etc/passwd', '/etc/passwd', '..\\..\\etc\\passwd',
            './%2e%2e/%2e%2e/etc/passwd', './part\0', './part/inner\0.luau', './' .. ('a/'):rep(2100),
            './' .. ('../'):rep(500) .. 'etc/passwd', '@self/../../x', '@alias/..', '@antiraid/../../x', '@ANTIRAID/kv',
            './PART/inner', './part/Inner', './part/inner ', './part/./../../x', '', '.', '..', './',
            '~/x', 'file:///etc/passwd', './\255\254'} do
            fails('', require, path)
        end
        fails('', require, nil) fails('', require, {}) fails('', require, setmetatable({}, evil))""",
    "F19 sizes of JSON": r"""
        local json = require('@antiraid/json')
        assert(#json.encode(('\1'):rep(1000)) == 6002)
        local deep = {} for i = 1, 70 do deep = {deep} end
        fails('', json.encode, deep)
        fails('', json.decode, ('['):rep(100000)) fails('', json.decode, ('{"a":'):rep(100000))
        fails('', json.decode, '"\\ud800"') fails('', json.decode, '1e99999') fails('', json.decode, '[1,]')""",
    "F21 duplicate keys": r"""
        local json = require('@antiraid/json')
        assert(json.decode('{"guild_id":"1","guild_id":"2","g\\u0075ild_id":"3"}').guild_id == '3')""",
    "F23 encode hooks": r"""
        local json = require('@antiraid/json')
        assert(json.encode(setmetatable({1, 2}, evil)) == '[1,2]')
        assert(json.encode({a = setmetatable({b = setmetatable({}, evil)}, evil)}) == '{"a":{"b":{}}}')
        local data = require('@antiraid/datamgmt')
        local archive = data.tarwrite(setmetatable({setmetatable({name = 'a', data = 'b'}, evil)}, evil))
        assert(data.tarread(archive)[1].data ~= nil)
        assert(require('@antiraid/luau').format(setmetatable({1}, evil)) ~= nil)""",
    "F25 dates": r"""
        local dt = require('@antiraid/datetime')
        for _, name in {'../../etc/passwd', '/etc/localtime', 'Europe/../Europe/Berlin', 'Europe/Berlin\0', 'UTC\0', '',
            './UTC', ('A/'):rep(50000), 'Europe', 'zone.tab', 'tzdata.zi', 'TZ=UTC', ':UTC', '\255'} do
            fails('', dt.new, name)
        end
        local utc, berlin = dt.UTC, dt.new('Europe/Berlin')
        for _, n in {1e9, -1e9, NAN, INF, -INF, 2^63, 0.5} do
            fails('', utc.utcToTz, utc, n, 1, 1) fails('', utc.utcToTz, utc, 2020, n, 1)
            fails('', utc.utcToTz, utc, 2020, 1, n) fails('', utc.tzToUtc, utc, 2020, 1, 1, n)
        end
        for _, n in {1e18, NAN, INF, -INF} do fails('', utc.fromTime, utc, n) fails('', dt.timedelta_weeks, n) end
        fails('', utc.utcToTz, utc, 2020, 13, 1) fails('', utc.utcToTz, utc, 2021, 2, 29)
        fails('clocks were set', berlin.tzToUtc, berlin, 2025, 3, 30, 2, 30)
        local late = utc:utcToTz(9999, 12, 31) fails('', function() return late + dt.timedelta_weeks(1e6) end)
        fails('', utc.fromString, utc, ('2'):rep(1e6)) fails('', utc.fromString, utc, '2025-01-01T00:00:00+99:99')
        local now = utc:now()
        fails('', now.format, now, ('%c'):rep(5e5)) fails('', now.format, now, '%') fails('', now.format, now, '%1000000Y')""",
    "B25 bombs": r"""
        local data = require('@antiraid/datamgmt')
        local bomb = data.compressgzip(('\0'):rep(1000000)):rep(100)
        fails('200 times its size', data.decompressgzip, bomb)
        fails('memory', data.decompressgzip, bomb, 2^30) fails('more than 1000', data.decompressgzip, bomb, 1000)
        fails('', data.decompressgzip, bomb:sub(1, -9)) fails('', data.decompressgzip, bomb, NAN)
        assert(data.decompressgzip(data.compressgzip(''):rep(1000)) == '')
        fails('', data.decompressgzip, '') fails('', data.decompressgzip, data.compressgzip('x') .. 'rest')""",
    "B25 archives": r"""
        local data = require('@antiraid/datamgmt')
        local one = buffer.tostring(data.tarwrite({{name = 'a', data = ('x'):rep(600)}}))
        fails('', data.tarread, one:sub(1, 1000))
        local function forged(size)
            local head = buffer.fromstring(one)
            buffer.writestring(head, 124, size)
            buffer.writestring(head, 148, '        ')
            local sum = 0 for i = 0, 511 do sum += buffer.readu8(head, i) end
            buffer.writestring(head, 148, string.format('%06o\0 ', sum))
            return head
        end
        for _, size in {'77777777777\0', '\128\0\0\0\255\255\255\255\255\255\255\255', ('\255'):rep(12), '-0000000001\0'} do
            fails('', data.tarread, forged(size))
        end
        local many, empty = {}, {name = 'x', data = ''}
        for i = 1, 10001 do many[i] = empty end
        fails('10000 files', data.tarwrite, many)
        many[10001] = nil
        local entry = buffer.tostring(data.tarwrite({empty})):sub(1, 512)
        fails('', data.tarread, entry:rep(10002))
        local big = buffer.create(1e6)
        fails('memory', data.tarwrite, table.create(10000, {name = 'x', data = big}))
        for _, name in {'', 'a\0b', ('n'):rep(4097), 'dir/', 1} do fails('', data.tarwrite, {{name = name, data = ''}}) end""",
    # A weak table does not keep the buffer while it is read.
    "B25 weak archives": r"""
        local data = require('@antiraid/datamgmt')
        for round = 1, 300 do
            local file = setmetatable({name = 'w'}, {__mode = 'v'})
            file.data = buffer.fromstring(('A'):rep(5000))
            local junk = {} for i = 1, round % 50 do junk[i] = {} end
            local ok, archive = pcall(data.tarwrite, {file})
            assert(not ok or buffer.tostring(archive):sub(513, 5512) == ('A'):rep(5000), 'it read what was freed')
        end""",
    "D01 clocks": r"""
        local utc = require('@antiraid/datetime').UTC
        local function coarse(ms) return math.abs(ms - math.round(ms)) < 1e-6 end
        for i = 1, 3000 do
            assert(coarse(os.clock() * 1000), 'os.clock')
            assert(tostring(utc:now().timestamp_nanos):sub(-6) == '000000', 'now')
            assert(os.time() % 1 == 0)
        end""",
    "D03 random texts": r"""
        local typesext, seen = require('@antiraid/typesext'), {}
        for i = 1, 500 do
            math.randomseed(1)
            local text = typesext.randstring(16)
            assert(not seen[text] and #text == 16, text) seen[text] = true
        end
        fails('', typesext.randstring, -1) fails('', typesext.randstring, NAN) fails('', typesext.randstring, 2^40)""",
    "handles cannot be made": r"""
        local new = require('@antiraid/kv').new
        for _, fake in {{}, newproxy(true), setmetatable({guild_id = '2'}, evil), 'ctx', coroutine.running()} do
            fails('', new, fake) fails('', kv.get, fake, 'k', {'s'}) fails('', templates.list, fake)
        end
        fails('', kv.get, templates, 'k', {'s'}) fails('', templates.list, kv) fails('', new, kv) fails('', kv.get, ctx, 'k', {'s'})
        assert(getmetatable(kv) == 'The metatable is locked' and getmetatable(templates) == 'The metatable is locked')
        fails('cannot be modified', function() kv.get = print end) fails('', setmetatable, kv, {})
        fails('', rawset, kv, 'get', print) fails('', table.clear, kv) fails('', rawget, kv, 'get')
        fails('', function() return kv.nothing end) fails('', function() return kv[evil] end) fails('', next, kv)
        fails('', function() require('@antiraid/kv').new = print end)""",
}

# A second name for each method, for what is common to them all.
CALLS = {
    "F13 keys": r"""
        local methods = {get = true, getrecord = true, exists = true, delete = true, setexpiry = true}
        for _, bad in {'', ('k'):rep(513), ('k'):rep(1000000), 'a\0b', '\255', '\237\160\128', '\192\128', 1, true, {},
            setmetatable({}, evil), buffer.create(3)} do
            for name in methods do fails("invalid 'key'", kv[name], kv, bad, {'s'}) end
            fails("invalid 'key'", kv.set, kv, bad, 1, {'s'})
            fails("operation 1: invalid 'key'", kv.atomic, kv, {{op = 'set', key = bad, scopes = {'s'}, value = 1}})
        end
        local good = {'\u{e9}', 'e\u{301}', 'trailing ', 'trailing', ' trailing', '%', '_', '\\', 'a:b', '1:a,', "'; DROP TABLE kv; --",
            '\127', '\n', '\r\n', ('k'):rep(512), '__proto__', 'K', 'k', '\u{10ffff}', '0', '00', '*', '[a]', '\u{feff}'}
        for i, key in good do kv:set(key, i, {'keys'}) end
        for i, key in good do
            local value, found = kv:get(key, {'keys'})
            assert(found and value == i and kv:getrecord(key, {'keys'}).key == key, key)
        end
        assert(#kv:keys({'keys'}) == #good)
        for _, key in good do assert(kv:delete(key, {'keys'})) end
        assert(#kv:keys({'keys'}) == 0)""",
    "F13 scopes": r"""
        local many = {} for i = 1, 33 do many[i] = 's' .. i end
        for _, bad in {{}, {''}, {('s'):rep(65)}, many, {1}, {'a', 'b\0'}, {'a', x = 1}, {[2] = 'a'}, {'\255'}, 's', 5, kv,
            table.create(1000000, 's'), setmetatable({}, evil), {{}}} do
            for _, name in {'get', 'getrecord', 'exists', 'delete', 'setexpiry'} do fails("invalid 'scopes", kv[name], kv, 'k', bad) end
            fails("invalid 'scopes", kv.set, kv, 'k', 1, bad) fails("invalid 'scopes", kv.keys, kv, bad)
            fails("invalid 'scopes", kv.find, kv, '%', bad)
        end
        kv:set('raw', 1, setmetatable({'raw'}, evil))
        assert(kv:get('raw', {'raw'}) == 1)""",
    "D05 structure": r"""
        local places = {{'b', 'a:'}, {':b', 'a'}, {'a:b', 'a'}, {'b', 'a', 'b'}, {'b', 'a,b'}, {'b', 'ab'}, {'b', '1:a,1:b,'},
            {'b', '1:a,', 'b'}, {'b,', 'a', 'b'}, {'b', 'A'}, {'b', 'a '}, {'b', ' a'}, {'b', '0'}, {'b', 'kv'}, {'b', '*'},
            {'b', '__system'}, {'b', '%'}}
        for i, place in places do kv:set(place[1], i, {table.unpack(place, 2)}) end
        for i, place in places do
            local value, found = kv:get(place[1], {table.unpack(place, 2)})
            assert(found and value == i, `{i}: {value}`)
        end""",
    "F15 patterns": r"""
        for i, key in {'100%', '100x', 'a_b', 'axb', 'a\\b', '.*', '[a-z]', '^a$', "a'b"} do kv:set(key, i, {'find'}) end
        local function count(pattern) return #kv:find(pattern, {'find'}) end
        assert(count('%') == 9 and count('100\\%') == 1 and count('a\\_b') == 1 and count('a_b') == 4, count('a_b'))
        assert(count('a\\\\b') == 1 and count('.*') == 1 and count('[a-z]') == 1 and count('^a$') == 1 and count("%'%") == 1)
        assert(count(('%'):rep(1024)) == 9 and count(('%_'):rep(300)) == 0 and count('.%') == 1)
        for _, bad in {'', '\\', 'a\\', ('%'):rep(1025), 'a\0', '\255', 5, {}, setmetatable({}, evil)} do
            fails('', kv.find, kv, bad, {'find'})
        end
        fails('', kv.find, kv, nil, {'find'})""",
    "F15 cursors": r"""
        for i = 1, 5 do kv:set('c' .. i, i, {'cursor'}) end
        local page, next = kv:find('c%', {'cursor'}, {limit = 2})
        assert(#page == 2 and next and #kv:find('c%', {'cursor'}, {after = next}) == 3)
        for _, bad in {'', 'x', '1', ':', '1:', 'x:k', '-1:k', '99999999999999999999:k', '1:\255', '1:a\0', '1:' .. ('k'):rep(600),
            ('1'):rep(2000), 5, {}, true} do
            fails('', kv.find, kv, 'c%', {'cursor'}, {after = bad})
            fails('', kv.keys, kv, {'cursor'}, {after = bad})
        end
        assert(#kv:find('c%', {'cursor'}, {after = '999999999999999999:c9'}) == 0)
        assert(#kv:find('c%', {'cursor'}, {after = "0:' OR 1=1 --"}) == 5)
        for _, bad in {0, -1, 101, 1.5, NAN, INF, '5', {}} do fails("'limit'", kv.keys, kv, {'cursor'}, {limit = bad}) end
        fails("'options'", kv.keys, kv, {'cursor'}, {limits = 1}) fails("'options'", kv.keys, kv, {'cursor'}, {1})
        fails("'options'", kv.list_scopes, kv, 'x')""",
    "forged ids": r"""
        for _, bad in {'', '0', '01', '-1', '+1', ' 1', '1 ', '1e3', '0x1', '1.0', '9223372036854775808', '18446744073709551617',
            ('9'):rep(10000), '1\0', 1, {}, true} do
            fails("invalid 'id'", kv.getbyid, kv, bad) fails("invalid 'id'", kv.deletebyid, kv, bad)
            fails("invalid 'id'", kv.setbyid, kv, bad, 1) fails("invalid 'id'", kv.setexpirybyid, kv, bad, 1)
        end
        assert(kv:getbyid('9223372036854775807') == nil)""",
    "F17 lists": r"""
        local function set(key, value, more) return {op = 'set', key = key, scopes = {'list'}, value = value, table.unpack(more or {})} end
        for _, last in {{op = 'set', id = '9223372036854775807', value = 1}, {op = 'steal'}, set('x', print), set('x', NAN),
            set('x', ('v'):rep(262144)), {op = 'set', key = 'x', scopes = {'list'}, vaule = 1}, {op = 'get', key = 'x', scopes = {}},
            {op = 'set', key = 'x', id = '1', scopes = {'list'}}, {op = 'delete', key = 'x', scopes = {'list'}, value = 1}, 5,
            setmetatable({}, evil), set('x', 1, {1})} do
            fails('', kv.atomic, kv, {set('first', 1), {op = 'delete', key = 'other', scopes = {'list'}}, last})
            assert(not kv:exists('first', {'list'}), 'half of it was done')
        end
        fails('', kv.atomic, kv, {}) fails('', kv.atomic, kv, table.create(65, set('a', 1))) fails('', kv.atomic, kv, set('a', 1))
        fails('', kv.atomic, kv, table.create(64, set('a', ('v'):rep(200000)))) -- more than calls may hold
        assert(#kv:atomic(setmetatable({setmetatable(set('hooked', 1), evil)}, evil)) == 1)
        assert(kv:get('hooked', {'list'}) == 1 and not kv:exists('a', {'list'}))""",
    "F19, F23 values": r"""
        fails('bytes as JSON', kv.set, kv, 'v', ('\1'):rep(50000), {'value'})
        fails('bytes as JSON', kv.set, kv, 'v', table.create(140000, 1), {'value'})
        local cycle = {} cycle.me = cycle
        for _, bad in {cycle, print, coroutine.running(), NAN, INF, newproxy(true), {1, 2, x = 3}, {[{}] = 1}, {[1.5] = 1}, '\255',
            {['\255'] = 1}, kv, ctx} do
            fails("invalid 'value'", kv.set, kv, 'v', bad, {'value'})
        end
        assert(not kv:exists('v', {'value'}))
        kv:set('v', setmetatable({1, setmetatable({a = 'b'}, evil)}, evil), {'value'})
        local got = kv:get('v', {'value'})
        assert(got[1] == 1 and got[2].a == 'b' and getmetatable(got[2]) == nil)
        for _, own in {{['$buffer'] = 'AAAA'}, {['$buffer'] = 5}, {['$$buffer'] = {}}, {['$datetime'] = 'x'}} do
            kv:set('own', own, {'value'})
            local back = kv:get('own', {'value'})
            for k, v in own do assert(type(back) == 'table' and type(back[k]) == type(v), k) end
        end""",
    "F25 expiries": r"""
        for _, bad in {NAN, INF, -INF, 1e300, 'tomorrow', '2025-13-01T00:00:00Z', '2025-01-01', {}, true, print, ('2'):rep(100000)} do
            fails("'expires_at'", kv.set, kv, 'e', 1, {'expiry'}, bad) fails("'expires_at'", kv.setexpiry, kv, 'e', {'expiry'}, bad)
        end
        for _, bad in {1, 'yes', {}} do fails("'resume'", kv.set, kv, 'e', 1, {'expiry'}, nil, bad) end
        assert(not kv:exists('e', {'expiry'}))""",
    "F11 paths of files": r"""
        local source = 'return 1'
        for _, path in {'../x.luau', '/etc/passwd.luau', 'a/../../x.luau', './x.luau', 'a//b.luau', 'a/', '..\\x.luau', 'C:\\x.luau',
            'x\0.luau', '\255.luau', ('a/'):rep(300) .. 'x.luau', 'x.so', 'x', '', '.hidden.luau', 'init.luau/x', 'a\n.luau'} do
            fails('', templates.save, templates, 'evil', {files = {['init.luau'] = source, [path] = source}})
        end
        fails('', templates.save, templates, 'evil', {files = {['init.luau'] = source, ['a.luau'] = source, ['A.luau'] = source}})
        fails('', templates.save, templates, 'evil', {files = {['x.luau'] = source}}) -- no init.luau
        for _, name in {'', '../x', 'a/b', 'a\0b', ('n'):rep(65), '\u{e9}', ' ', 'a b', 5, {}, '%', 'a:b'} do
            fails("invalid 'name'", templates.save, templates, name, {source = source})
            fails("invalid 'name'", templates.get, templates, name)
        end
        assert(templates:get('evil') == nil and #templates:list() == 0)""",
    "F23 templates": r"""
        fails('', templates.save, templates, 't', setmetatable({}, evil)) fails('', templates.save, templates, 't', {source = setmetatable({}, evil)})
        fails('', templates.save, templates, 't', {source = '1', events = setmetatable({}, {__index = function() return 'E' end}), x = 1})
        fails('', templates.save, templates, 't', {source = '+'}) fails('', templates.save, templates, 't', {source = ('('):rep(100000)})
        fails('', templates.save, templates, 't', {source = '\27Lua'}) fails('', templates.save, templates, 't', {source = '\255'})
        fails('', templates.save, templates, 't', {source = 'return', capabilities = table.create(257, 'a')})
        fails('', templates.save, templates, 't', {source = 'return', events = table.create(257, 'a')})
        fails('', templates.save, templates, 't', {source = 'return', events = {'a\0b'}})
        fails('', templates.save, templates, 't', {source = (' '):rep(2000000)})
        for _, bad in {-1, 1.5, NAN, 2^32, '1'} do fails("'if_version'", templates.save, templates, 't', {source = 'return'}, bad) end
        assert(#templates:list() == 0)""",
    "D01 clocks of waits": r"""
        for i = 1, 200 do
            local ms = task.wait() * 1000
            assert(math.abs(ms - math.round(ms)) < 1e-6, ms)
        end
        kv:set('at', 1, {'clock'})
        assert(tostring(kv:getrecord('at', {'clock'}).created_at.timestamp_nanos):sub(-6) == '000000')""",
}

# How an attack is run; `go` runs it, once, and notes how it ended.
WAITING = {
    "bare": "go()",
    "pcall": "pcall(pcall, go)",
    "xpcall": "xpcall(go, print)",
    "wrap in wrap": "coroutine.wrap(function() coroutine.wrap(go)() end)()",
    "resume": "coroutine.resume(coroutine.create(go))",
    "iterator": "for _ in function() go() end do end",
    "task.spawn": "task.spawn(go)",
    "task.defer": "task.defer(task.defer, go)",
    "task.delay": "task.delay(0.01, go)",
    "loadstring": "body = go loadstring('body()')()",
    "module": "", # run by the template's module, while it loads
    "event": "go()", # told by an event
}
NATIVE = {
    "comparator": "table.sort({2, 1}, function(a, b) go() return a < b end)",
    "gsub callback": "('x'):gsub('.', go)",
    "__index": "local _ = setmetatable({}, {__index = function() go() return 1 end}).x",
    "__newindex": "setmetatable({}, {__newindex = function() go() end}).x = 1",
    "__eq": "local m = {__eq = function() go() return true end} local _ = setmetatable({}, m) == setmetatable({}, m)",
    "__lt": "local m = {__lt = function() go() return true end} local _ = setmetatable({}, m) < setmetatable({}, m)",
    "__concat": "local _ = setmetatable({}, {__concat = function() go() return '' end}) .. 'x'",
    "__tostring": "tostring(setmetatable({}, {__tostring = function() go() return '' end}))",
    "__len": "local _ = #setmetatable({}, {__len = function() go() return 0 end})",
    "__iter": "for _ in setmetatable({}, {__iter = function() go() return next, {} end}) do end",
    "__call": "setmetatable({}, {__call = function() go() end})()",
}
WRAPPED = """
local done, problem = false, nil
local function attack() %s end
local function go()
    if done then return end
    local ok, message = pcall(attack)
    done, problem = true, if ok then nil else message
end
"""
FINISH = " while not done do task.wait() end return problem or 'ok'"


def source_of(attack, wrapper):
    body = WRAPPED % attack
    if wrapper == "module":
        return PRELUDE + body + "go()" + FINISH
    return PRELUDE + body + {**WAITING, **NATIVE}[wrapper] + FINISH


def write_templates(server):
    server.write("play/init.luau", "local event = ... return assert(loadstring(event.data, '=play/init.luau'))(...)")
    server.write("play/part/inner.luau", "return 'inner'")
    server.write("module/init.luau", "given = table.pack(...) return require('./part')")
    server.write("module/part.luau", "return assert(loadstring(given[1].data, '=module/part.luau'))(table.unpack(given))")
    server.write("module/part/inner.luau", "return 'inner'")
    server.write("listens/init.luau", "local event = ... return assert(loadstring(event.data, '=listens/init.luau'))(...)")
    server.write("listens/part/inner.luau", "return 'inner'")
    server.write("listens/template.json", json.dumps({"events": ["Attack"], "capabilities": ["*"]}))


def run(server, guild, source, wrapper="bare"):
    """(code, result or message)"""
    if wrapper == "event":
        status, answer = server.ask("POST", f"/guilds/{guild}/events?wait=true", {"name": "Attack", "data": source})
        expect(status == 200 and len(answer["results"]) == 1, f"{status} {answer}")
        answer = answer["results"][0]
        return (answer["status"], answer.get("result") if answer["status"] == "ok" else answer["error"]["message"])
    status, answer = server.execute("module" if wrapper == "module" else "play", guild, source)
    return (answer.get("code", "ok"), answer.get("result") if status == 200 else answer["message"])


def play(server, name, attack, wrapper, guild):
    if wrapper == "module": # paths begin in its own folder
        attack = attack.replace("require('./part/inner')", "require('@self/part/inner')")
    code, text = run(server, guild, source_of(attack, wrapper), wrapper)
    expect((code, text) == ("ok", "ok"), f"{code}: {str(text)[:600]}")
    expect(not SECRETS.search(str(text)), f"gives away: {text}")
    status, answer = server.execute("alive", guild)
    expect(status == 200 and answer["result"] == 1, f"afterwards: {status} {answer}")


def check_plugin_attacks(program, names):
    """What a plugin, ctx.KV and ctx.Templates are asked that they must refuse, in all wrappers."""
    failed = 0
    cells = [(name, source, wrapper) for name, source in PLAIN.items() for wrapper in (*WAITING, *NATIVE)]
    cells += [(name, source, wrapper) for name, source in CALLS.items() for wrapper in WAITING]
    if names:
        cells = [cell for cell in cells if cell[0] in names]
    elif FACTOR > 1:
        cells = cells[::5]
    with lasting(program) as server:
        write_templates(server)
        quiet = Quiet(server)
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = [(name, wrapper, pool.submit(play, server, name, source, wrapper, str(1 + i)))
                    for i, (name, source, wrapper) in enumerate(cells)]
            for name, wrapper, job in jobs:
                try:
                    job.result()
                except PROBLEMS as problem:
                    failed += 1
                    print(f"FAIL  {name} / {wrapper}: {type(problem).__name__}: {problem}")
        quiet.stop(f"{len(cells)} attacks on plugins")
    return failed


def check_calls_that_cannot_wait(program, names):
    """A call where nothing can wait is refused, again and again, and nothing of it is left."""
    del names
    calls = {"get": "kv:get('k', {'s'})", "set": "kv:set('k', 1, {'s'})", "find": "kv:find('%', {'s'})",
             "atomic": "kv:atomic({{op = 'set', key = 'k', scopes = {'s'}, value = 1}})", "list": "templates:list()",
             "save": "templates:save('t', {source = 'return'})", "delete": "templates:delete('t')"}
    with lasting(program) as server:
        write_templates(server)
        for i, (name, call) in enumerate(calls.items()):
            for j, (wrapper, around) in enumerate(NATIVE.items()):
                guild = str(1 + 100 * i + j)
                code, text = run(server, guild, PRELUDE + f"""
                    local problem
                    local function go()
                        local ok, message = pcall(function() {call} end)
                        problem = if ok then 'it waited' else message
                    end
                    for i = 1, 200 do
                        problem = nil
                        {around}
                        if not problem or not problem:find('this call waits, and code that cannot yield cannot make it', 1, true) then return tostring(problem) end
                    end
                    assert(not kv:exists('k', {{'s'}}) and #templates:list() == 0, 'it was done')
                    return 'ok'""")
                # Where Luau lets metamethods wait, the call is an ordinary one.
                expect((code, text) == ("ok", "ok") or text == "it waited", f"{name} / {wrapper}: {code} {text}")
    return 0


HEAVY = {
    "encodes much": ("local t = table.create(1000, ('\\1'):rep(1e5)) require('@antiraid/json').encode(t)", (MEMORY, ERROR)),
    "stores much": ("kv:set('k', table.create(1000, ('\\1'):rep(1e5)), {'s'})", (MEMORY, ERROR)),
    "formats much": ("require('@antiraid/luau').format(table.create(1000, ('\\1'):rep(1e5)))", ("ok", MEMORY, ERROR)), # it cuts
    "encodes for ever": ("local t = {} for i = 1, 12 do t = {t, t, t, t} end require('@antiraid/json').encode(t)",
                         (MEMORY, ERROR, TIMEOUT)),
    "decompresses for ever": ("local d = require('@antiraid/datamgmt') local b = d.compressgzip(('\\0'):rep(1e6)):rep(200) "
                              "while true do pcall(d.decompressgzip, b, 2^30) end", (TIMEOUT, MEMORY)),
    "compresses for ever": ("local d = require('@antiraid/datamgmt') local b = ('ab'):rep(1e6) while true do "
                            "d.compressgzip(b, 9) end", (TIMEOUT, MEMORY)),
    "archives for ever": ("local d = require('@antiraid/datamgmt') local l = table.create(5000, {name = 'x', data = 'y'}) "
                          "while true do d.tarread(d.tarwrite(l)) end", (TIMEOUT, MEMORY)),
    "hashes for ever": ("local d = require('@antiraid/datamgmt') local b = ('x'):rep(4e6) while true do d.sha256(b) end", TIMEOUT),
    "formats dates": ("local n = require('@antiraid/datetime').UTC:now() while true do pcall(n.format, n, ('%c'):rep(100)) end",
                      (TIMEOUT, MEMORY)),
    "reads scopes": ("local s = table.create(1e6, 's') while true do pcall(kv.get, kv, 'k', s) end", TIMEOUT),
    "reads keys": ("local s = ('k'):rep(5e6) while true do pcall(kv.get, kv, s, {'s'}) end", TIMEOUT),
    "is refused": ("local c = ctx:withlimits{capabilities = {}} while true do pcall(c.KV.get, c.KV, 'k', {'s'}) end", TIMEOUT),
    "saves in a loop": ("for i = 1, 300 do pcall(templates.save, templates, 't', {source = ('x = 1 '):rep(10000) .. i}) end", "ok"),
    "answers nobody reads": ("while true do task.spawn(kv.find, kv, '%', {'s'}) end", (ERROR, MEMORY, TIMEOUT)),
}


def check_heavy_plugins(program, names):
    """F19, F29, B25: what takes long or much ends by its limit; guilds with data of their own hardly notice."""
    del names
    with lasting(program, "--cpu-limit", str(int(400 * FACTOR)), "--memory-limit", "16") as server:
        write_templates(server)
        quiet = Quiet(server, "kept")
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = [(name, codes, pool.submit(run, server, str(1 + i), PRELUDE + source))
                    for i, (name, (source, codes)) in enumerate(HEAVY.items())]
            for name, codes, job in jobs:
                code, text = job.result()
                expect(code in codes, f"{name}: {code} {str(text)[:300]}")
        quiet.stop(f"{len(HEAVY)} heavy uses of plugins")
        for i, name in enumerate(HEAVY):
            expect(run(server, str(1 + i), PRELUDE + "return kv:exists('k', {'s'})") == ("ok", False), f"{name}: afterwards")
    return 0


def check_fan_out(program, names):
    """F29: a hundred thousand calls at once: few are under way, the others are refused, the guild goes on."""
    del names
    with lasting(program) as server:
        write_templates(server)
        quiet = Quiet(server, "kept")
        source = PRELUDE + """
            local good, refused, left, other = 0, 0, 100000, nil
            for i = 1, 100000 do
                %s(function()
                    local ok, message = pcall(kv.get, kv, 'k', {'s'})
                    left -= 1
                    if ok then good += 1
                    elseif message:find('too many calls', 1, true) or message:find('rate limit', 1, true) or
                        message:find('too many tasks', 1, true) then refused += 1
                    else other = message end
                end)
            end
            while left > 0 do task.wait() end
            assert(not other, other)
            assert(kv:exists('k', {'s'}) == false)
            return good"""
        for i, start_one in enumerate(("task.spawn", "(function(f) coroutine.wrap(f)() end)")):
            code, good = run(server, str(1 + i), source % start_one)
            expect(code == "ok" and 1 <= good < 2000, f"{start_one}: {code} {good}")
        quiet.stop("200,000 calls")
    return 0


def check_duplicate_keys(program, names):
    """F21: a body that says something twice is refused."""
    del names
    with lasting(program) as server:
        for body in ('{"template":"alive","event":{"name":"E"},"context":{"guild_id":"1","guild_id":"2"}}',
                     '{"template":"alive","template":"spin","event":{"name":"E"},"context":{"guild_id":"1"}}',
                     '{"template":"alive","event":{"name":"E"},"context":{"guild_id":"1","g\\u0075ild_id":"2"}}',
                     '{"template":"alive","event":{"name":"E","name":"F"},"context":{"guild_id":"1"}}'):
            own = server.connect()
            own.request("POST", "/execute", body, {"Content-Type": "application/json"})
            response = own.getresponse()
            answer = json.loads(response.read())
            own.close()
            expect(response.status == 400, f"{body}: {response.status} {answer}")
    return 0


def high_water_mib(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmHWM:\s+(\d+) kB", file.read()).group(1)) >> 10


def check_answers_left_lying(program, names):
    """A guild has as large answers made as it can, and lets them lie: it holds little more than its quota."""
    del names
    lie = """
        local wrong
        for i = 1, 64 do
            task.spawn(function()
                local ok, message = pcall(%s)
                if not ok and not message:find('hold too many bytes', 1, true) and not message:find('rate limit', 1, true) and
                    not message:find('values to get', 1, true) then wrong = message end
            end)
        end
        task.wait()
        local start = os.clock()
        while os.clock() < start + 2 do end
        return wrong or 'ok'"""
    ways = {"templates": "templates.get, templates, 'big'", "lists": "kv.atomic, kv, list", "values": "kv.get, kv, 'b1', {'s'}",
            "pages": "kv.find, kv, '%', {'s'}"}
    with lasting(program) as server:
        write_templates(server)
        for i, (name, call) in enumerate(ways.items()):
            guild = str(1 + i)
            expect(run(server, guild, PRELUDE + """
                local big, value = '--' .. ('x'):rep(1000000), ('v'):rep(262000)
                local files = {['init.luau'] = 'return 1'}
                for i = 1, 7 do files[`f{i}.luau`] = big end
                templates:save('big', {files = files})
                for i = 1, 64 do kv:set('b' .. i, value, {'s'}) end
                return 'ok'""") == ("ok", "ok"), "at first")
            before = high_water_mib(server)
            list_ = "local list = {} for i = 1, 64 do list[i] = {op = 'get', key = 'b' .. i, scopes = {'s'}} end "
            result = run(server, guild, PRELUDE + list_ + lie % call)
            after = high_water_mib(server)
            expect(result == ("ok", "ok"), f"{name}: {result}")
            print(f"    {name}: {before} MiB at most before, {after} after")
            expect(FACTOR > 1 or after - before < 80, f"{name}: from {before} to {after} MiB")
    return 0


SEARCHED = 100000


def fill(path, guild):
    """As many records as a guild may have, as the store would have written them."""
    db = sqlite3.connect(path)
    first = (db.execute("SELECT max(id) FROM kv").fetchone()[0] or 0) + 1
    keys = [f"{'a' * 200}{i:06}" for i in range(SEARCHED)]
    size = len("1") + len("big") + len(keys[0])
    with db:
        db.executemany("INSERT INTO kv (id, guild_id, key, scopes, bytes, created_ms, updated_ms, value) "
                       "VALUES (?, ?, ?, '3:big,', ?, 1, 1, '1')",
                       ((first + i, guild, key, size) for i, key in enumerate(keys)))
        db.executemany("INSERT INTO kv_scope VALUES (?, 'big', ?, ?)",
                       ((guild, key, first + i) for i, key in enumerate(keys)))
        db.execute("INSERT INTO kv_usage VALUES (?, ?, ?)", (guild, SEARCHED, size * SEARCHED))
    db.close()


def check_searches(program, names):
    """F15: searches through a hundred thousand keys end in pages, and others' data is as near as before."""
    del names
    every = PRELUDE + """
        local found, pages, after = 0, 0, nil
        repeat
            local ok, list, next = pcall(kv.find, kv, event_pattern, {'big'}, {after = after})
            while not ok do
                assert(list:find('rate limit', 1, true), list)
                task.wait(0.1)
                ok, list, next = pcall(kv.find, kv, event_pattern, {'big'}, {after = after})
            end
            for _, record in list do assert(record.key:sub(1, 9) == 'aaaaaaaaa') end
            found += #list pages += 1 after = next
        until not after
        return {found, pages}"""
    flood = PRELUDE + """
        local over, done = os.clock() + %s, 0
        for i = 1, 60 do
            task.spawn(function()
                while os.clock() < over do
                    if not pcall(kv.find, kv, event_pattern, {'big'}) then task.wait(0.01) end
                end
                done += 1
            end)
        end
        while done < 60 do task.wait(0.05) end
        return 'ok'""" % (2 * FACTOR)
    patterns = ("%b", "%" + "a" * 150 + "b%", "a%" * 120 + "b", "_" * 207)
    with lasting(program) as server:
        write_templates(server)
        fill(server.store, 1)
        for pattern, count in (("%99999", 1), ("%7", SEARCHED // 10), ("b%", 0), (f"{'a' * 200}00001%", 10), ("%b", 0),
                               ("_" * 207, 0)):
            code, got = run(server, "1", f"event_pattern = '{pattern}' " + every)
            expect(code == "ok" and got[0] == count, f"{pattern[:20]}: {code} {got}")
            expect(got[1] <= 2000, f"{pattern[:20]}: {got[1]} pages")
            print(f"    {pattern[:20]!r}: {got[0]} found in {got[1]} pages")
        code, text = run(server, "1", PRELUDE + "return kv:set('one more', 1, {'big'})")
        expect(code == ERROR and "100000" in text.replace(",", ""), f"one more: {code} {text}")
        quiet = Quiet(server, "kept")
        for pattern in patterns:
            expect(run(server, "1", f"event_pattern = '{pattern}' " + flood) == ("ok", "ok"), f"flood of {pattern[:20]}")
        quiet.stop("searches that find nothing")
    return 0


CHECKS = [check_plugin_attacks, check_calls_that_cannot_wait, check_heavy_plugins, check_fan_out, check_duplicate_keys,
          check_answers_left_lying, check_searches]
