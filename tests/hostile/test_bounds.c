/* test_bounds.c: attacks that end as ordinary errors of the language, or are harmless (threats ARG,
 * STACK, SIZE): each bare and inside every wrapper, and the same VM works normally afterwards. And
 * attacks on memory without any limit on time: it is the quota that ends them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "luau/luau.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { QUOTA_BYTES = 16 << 20, SOURCE_MAX = 8192 };

typedef struct Case {
    const char *name;
    const char *body; /* of `local function attack()`, with fails(pattern, f, ...) */
} Case;

/* In each the error must be raised, and match. */
static const Case bounded[] = {
    {"A03 handler that fails, that calls xpcall",
     "local ok, e = xpcall(error, function() error('x') end) assert(not ok)\n"
     "assert(e == 'error in error handling')\n"
     "local function h(m) local _, r = xpcall(error, h2 or h, m) return r end\n"
     "assert(not xpcall(error, h, 'x'))"},
    {"A05 recursion",
     "local function f() return f() end fails('stack overflow', f)\n"
     "local a, b function a() return b() end function b() return a() end fails('stack overflow', a)\n"
     "local t = setmetatable({}, {}) getmetatable(t).__call = function(s) return s() end\n"
     "fails('stack overflow', function() t() end)\n"
     "local function v(...) return v(1, ...) end fails('stack overflow', v)\n"
     "local o = setmetatable({}, {}) getmetatable(o).__index = function(s, k) return s[k] end\n"
     "fails('stack overflow', function() return o.x end)\n"
     "local s s = setmetatable({}, {__tostring = function() return tostring(s) end})\n"
     "fails('stack overflow', tostring, s)\n"
     "local function c() return coroutine.wrap(c)() end fails('stack overflow', c)\n"
     "local function g() return (('x'):gsub('x', g)) end fails('stack overflow', g)\n"
     "local function p() return assert(pcall(p)) end fails('.', p)"},
    {"A07 patterns",
     "fails('too complex', string.find, ('x'):rep(300000), ('x-'):rep(2e5) .. 'y')\n"
     "fails('too many captures', string.find, 'x', ('()'):rep(33))\n"
     "fails('malformed pattern', string.find, 'x', '%')\n"
     "fails('malformed pattern', string.find, 'x', '[')\n"
     "fails('malformed pattern', string.find, 'x', '[%')\n"
     "fails('malformed pattern', string.find, 'x', '%b')\n"
     "fails('missing', string.find, 'x', '%f')\n"
     "fails('invalid', string.find, 'x', '%1')\n"
     "fails('invalid pattern capture', string.match, 'x', ')')\n"
     "fails('unfinished capture', string.find, 'x', '(')\n"
     "fails('.', string.match, ('('):rep(1000), ('(()'):rep(15) .. ('x?'):rep(3000))\n"
     "assert(not string.find(('('):rep(5000), '%b()x'))\n"
     "assert(not string.find(('a '):rep(1e4), ('%f[%w]'):rep(100) .. '!'))"},
    {"A09 gsub callbacks",
     "fails('yield', coroutine.wrap(function() ('xx'):gsub('.', coroutine.yield) end))\n"
     "fails('boom', string.gsub, ('x'):rep(1000), '.', function() error('boom') end)\n"
     "fails('invalid replacement', string.gsub, 'x', '.', function() return {} end)\n"
     "fails('invalid use', string.gsub, 'x', '.', '%z')"},
    {"A11 concat", "local t = table.create(20000, ('x'):rep(1000))\n"
                   "fails('not enough memory', table.concat, t, ('y'):rep(1000))\n"
                   "fails('.', table.concat, table.create(1e5, ('x'):rep(1e4)), ('y'):rep(1e6))\n"
                   "fails('invalid value', table.concat, {1, {}, 3})\n"
                   "fails('.', table.concat, {}, '', 1, 2 ^ 31 - 1)"},
    {"A13 comparators",
     "local function sorts(f) local t = {} for i = 1, 200 do t[i] = i * 7919 % 201 end\n"
     "  pcall(table.sort, t, f) local seen = {} for i = 1, 200 do seen[t[i]] = true end\n"
     "  local n = 0 for _ in seen do n += 1 end assert(n == 200) end\n"
     "sorts(function() return true end) sorts(function() return math.random() < .5 end)\n"
     "sorts(function(a, b) if a > 100 then error('x') end return a < b end)\n"
     "sorts(function(a, b) return a <= b end) sorts(function() return nil end)\n"
     "sorts(coroutine.wrap(function() while true do coroutine.yield(true) end end))\n"
     "fails('invalid order function', table.sort, table.create(50, 1), function() return true end)\n"
     "fails('yield', coroutine.wrap(function() table.sort({2, 1}, coroutine.yield) end))\n"
     "local t = {3, 1, 2, 5, 4} fails('modified', table.sort, t,\n"
     "  function(a, b) table.clear(t) for i = 1, 100 do t[i] = i end return a < b end)\n"
     "local u = {3, 1, 2} fails('.', table.sort, u, function(a, b) table.freeze(u) return true end)"},
    {"A15 __index chains",
     "local t = {} for i = 1, 20000 do t = setmetatable({}, {__index = t}) end\n"
     "fails('chain too long', function() return t.x end)\n"
     "local m = {} m.__index = setmetatable(m, m) fails('chain too long', function() return m.x end)\n"
     "local n = {} n.__newindex = setmetatable(n, n)\n"
     "fails('chain too long', function() n.x = 1 end)\n"
     "local e = setmetatable({}, {__eq = function(a, b) return a == b end})\n"
     "fails('stack overflow', function() return e == setmetatable({}, getmetatable(e)) end)"},
    {"A23 parser depth",
     "for _, s in {'(', '{', 'function()', 'not ', '- ', '#', 'if 1 then ', 'do ', 'while 1 do ',\n"
     "  'for i=1,1 do ', 'repeat ', 'f(', 'x[', '`{', '{{', 'a.b(function() ', 'return (',\n"
     "  'local x: (', 'type T = {', 'type T = (', 'type T = A<', '1 .. (', 'if a then b elseif ',\n"
     "  'x = if a then ', '@', '2^', 'a..', 'a and ', 'a < '} do\n"
     "  for _, before in {'', 'return ', 'x = '} do\n"
     "    local f, e = loadstring(before .. s:rep(20000)) assert(not f and #e < 1500) end end\n"
     "for _, s in {'x = a' .. ('.b'):rep(20000), 'if a then ' .. ('elseif a then '):rep(20000) .. 'end',\n"
     "  'x = 1' .. ('+1'):rep(20000), 'x = 1' .. ('..1'):rep(20000), 'f' .. ('()'):rep(20000),\n"
     "  'local x: ' .. ('A|'):rep(20000) .. 'A', 'x = a' .. (' and a'):rep(20000),\n"
     "  'x = {' .. ('{},'):rep(20000) .. '}', ('goto '):rep(9), 'x = `' .. ('{1}'):rep(20000) .. '`',\n"
     "  'return ' .. ('a,'):rep(20000) .. 'a', ('local a '):rep(20000)} do\n"
     "  local f, e = loadstring(s) assert(f or #e < 1500) end"},
    {"A29 traceback bombs",
     "local function deep(n, f) if n == 0 then return f() end local r = deep(n - 1, f) return r end\n"
     "local s = deep(19000, debug.traceback) assert(#s < 40000, #s)\n"
     "deep(19000, function() for i = 1, 50 do pcall(error) pcall(error, 'x', 2) end end)\n"
     "local ok, e = pcall(error, 'x', 1e9) assert(not ok and e == 'x')\n"
     "ok, e = pcall(error, 'x', -1e9) assert(not ok and e == 'x')\n"
     "local f = loadstring('error(\"m\")', ('n'):rep(1e6)) local _, m = pcall(f)\n"
     "assert(#m < 1000, #m)\n"
     "f = loadstring('return debug.traceback()', ('n'):rep(1e6)) assert(#f() < 40000)\n"
     "ok, e = xpcall(function() deep(1e9, print) end, debug.traceback) assert(#e < 40000)"},
    {"B03 buffers",
     "fails('.', buffer.create, -1) fails('.', buffer.create, 2 ^ 30) fails('.', buffer.create, 2 ^ 53)\n"
     "fails('.', buffer.create, 1e8) fails('.', buffer.create) pcall(buffer.create, 0 / 0)\n"
     "for _, at in {-1, 8, 2 ^ 31 - 1, 2 ^ 31, -2 ^ 31, 2 ^ 53} do local b = buffer.create(8)\n"
     "  fails('out of bounds', buffer.readu8, b, at) fails('out of bounds', buffer.writef64, b, at, 1)\n"
     "  fails('out of bounds', buffer.readstring, b, at, 1) fails('.', buffer.fill, b, at, 1, 1)\n"
     "  fails('.', buffer.copy, b, at, b, 0, 1) fails('.', buffer.readbits, b, at * 8, 8) end"},
    {"B07 argument floods",
     "local t = table.create(2e5, 1) fails('too many results', table.unpack, t)\n"
     "fails('too many results', function() return select('#', table.unpack(t, 1, 2e5)) end)\n"
     "fails('too many results', table.unpack, {}, 1, 2 ^ 31 - 2)\n"
     "fails('too many results', table.unpack, {}, -2 ^ 31, 2 ^ 31 - 1)\n"
     "fails('.', string.byte, ('x'):rep(1e6), 1, -1)\n"
     "fails('.', utf8.codepoint, ('x'):rep(1e6), 1, -1)\n"
     "fails('.', string.unpack, ('B'):rep(1e5), ('x'):rep(1e5))\n"
     "local u = table.create(7000, 65) assert(#string.char(table.unpack(u)) == 7000)\n"
     "local function f(...) return f(..., table.unpack(u)) end fails('.', f)"},
    {"B09 pack sizes",
     "fails('.', string.packsize, ('c1073741824'):rep(9)) fails('.', string.pack, 'i17', 1)\n"
     "fails('.', string.pack, '!3i4', 1) fails('.', string.pack, 's1', ('x'):rep(300))\n"
     "fails('.', string.pack, 'c2147483647', 'x') fails('.', string.pack, 'c99999999999', 'x')\n"
     "fails('.', string.packsize, 's') fails('.', string.packsize, 'z') fails('.', string.pack, '!17')\n"
     "fails('.', string.unpack, 's4', '\\255\\255\\255\\255') fails('.', string.unpack, 'z', 'abc')\n"
     "fails('.', string.unpack, 'i4', 'abcd', 2 ^ 31) fails('.', string.unpack, 'i4', 'abcd', -2 ^ 31)\n"
     "assert(string.packsize((' '):rep(1e6)) == 0)"},
    {"C17 ranges",
     "for _, e in {2 ^ 31 - 1, 2 ^ 31, -2 ^ 31, 2 ^ 53, -2 ^ 53} do\n"
     "  pcall(table.move, {1, 2}, e - 9, e, -e, {}) fails('.', table.move, {1}, -1, 2 ^ 31 - 1, 2)\n"
     "  pcall(table.insert, {}, e, 1) pcall(table.remove, {}, e) pcall(string.sub, 'x', e, -e)\n"
     "  pcall(string.rep, 'x', -e) pcall(utf8.offset, 'x', e) pcall(table.find, {}, 1, e)\n"
     "  pcall(select, e, 1) pcall(table.unpack, {}, e, e) pcall(string.byte, 'x', e, e) end\n"
     "fails('.', table.create, 2 ^ 31) fails('.', table.create, -1) fails('.', string.rep, 'xx', 2 ^ 30)\n"
     "fails('.', table.create, 2 ^ 26 + 1)"},
    {"C35 numbers as text",
     "assert(tonumber(('9'):rep(1e6)) == math.huge and tonumber('0.' .. ('0'):rep(1e6) .. '1') == 0)\n"
     "assert(tonumber(('z'):rep(1e5), 36) and not tonumber('1e'))\n"
     "assert(('%.99f'):format(1e308) and ('%.17g'):format(.1) == '0.10000000000000001')\n"
     "fails('.', string.format, '%100d', 1) fails('.', string.format, '%.100f', 1)\n"
     "fails('.', string.format, '%' .. ('0'):rep(1e5) .. 'd', 1) fails('.', string.format, '%n', 1)\n"
     "fails('.', string.format, '%', 1) fails('.', string.format, ('%d'):rep(1e5))"},
};

static const Case wrappers[] = {
    {"bare", "attack()"},
    {"pcall", "assert(pcall(attack))"},
    {"xpcall", "assert(xpcall(attack, function(m) attack() return m end))"},
    {"handler",
     "local _, e = xpcall(error, function() return select(2, pcall(attack)) or 'ok' end)\n"
     "assert(e == 'ok' or e == nil or tostring(e):find('stack overflow'), e)"},
    {"wrap in wrap", "coroutine.wrap(function() coroutine.wrap(attack)() end)()"},
    {"sort comparator", "table.sort({2, 1}, function(a, b) attack() return a < b end)"},
    {"gsub callback", "('x'):gsub('.', function() attack() end)"},
    {"__index", "local x = setmetatable({}, {__index = function() attack() end}).x"},
    {"__eq", "local m = {__eq = function() attack() return true end}\n"
             "assert(setmetatable({}, m) == setmetatable({}, m))"},
    {"__lt", "local m = {__lt = function() attack() return true end}\n"
             "assert(setmetatable({}, m) < setmetatable({}, m))"},
    {"__concat", "local x = setmetatable({}, {__concat = function() attack() end}) .. 1"},
    {"__tostring", "tostring(setmetatable({}, {__tostring = function() attack() return '' end}))"},
    {"__len", "local x = #setmetatable({}, {__len = function() attack() return 1 end})"},
    {"__iter",
     "for k in setmetatable({}, {__iter = function() attack() return next, {} end}) do end"},
    {"__call", "setmetatable({}, {__call = attack})()"},
    {"iterator", "for k in function() attack() end do end"},
};

/* Never end but by the quota, in whatever way they catch what comes. */
static const Case hoarders[] = {
    {"B01 strings", "local t = {} while true do t[#t + 1] = ('x'):rep(1e5) .. #t end"},
    {"B01 doubling",
     "local t = {} while true do local s = 'xy' pcall(function() while #s < 1e6 do s ..= s end end)\n"
     "  t[#t + 1] = s end"},
    {"B03 buffers", "local t = {} while true do t[#t + 1] = buffer.create(1e6) end"},
    {"B05 closures", "local a, b, c, d = 1, 2, 3, 4 local t = {} while true do\n"
                     "  t[#t + 1] = function() a += b b += c c += d end end"},
    {"B07 threads", "local t = {} while true do t[#t + 1] = coroutine.create(print) end"},
    {"B11 suspended", "local t = {} while true do local co = coroutine.create(function()\n"
                      "  local x = table.create(50) coroutine.yield() end)\n"
                      "  coroutine.resume(co) t[#t + 1] = co end"},
    {"modules", "local t = {} while true do t[#t + 1] = loadstring('return ' .. #t) end"},
    {"B15 living at the cap",
     "local function grow() local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end end\n"
     "while true do pcall(grow) end"},
    {"B17 weak chains",
     "local t, all = setmetatable({}, {__mode = 'k'}), {} local k = {} all[1] = k\n"
     "while true do local n = {} t[k] = n k = n end"},
    {"B19 one table", "local t = {} for i = 1, math.huge do t[i] = i end"},
    {"upvalue chain",
     "local f = function() end while true do local g = f f = function() return g end end"},
    {"stack", "local function f(...) return f(1, 2, 3, ...) end\n"
              "local t = {} while true do local co = coroutine.create(function()\n"
              "  pcall(f) coroutine.yield() end) coroutine.resume(co) t[#t + 1] = co\n"
              "  t[#t + 1] = ('y'):rep(1e5) .. #t end"},
};

static luau_Image *image;
static luau_Fibers *pool;

typedef struct Run {
    const char *source;
    int status;
    char error[300];
} Run;

static void work(lua_State *L, void *arg)
{
    Run *run = arg;
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    options.image = image;
    luau_Diagnostic diagnostic;
    luau_Module *module = luau_compile(run->source, strlen(run->source), "=attack", &options,
                                       &diagnostic);
    if (!module)
        fail_msg("line %d: %s\n%s", diagnostic.line, diagnostic.message, run->source);
    lua_State *thread = lua_newthread(L);
    luau_load(thread, module, 0);
    luau_module_release(module);
    run->status = lua_resume(thread, L, 0);
    if (run->status != LUA_OK && run->status != LUA_KILLED)
        snprintf(run->error, sizeof(run->error), "%s", lua_tostring(thread, -1));
    if (run->status != LUA_KILLED)
        lua_pop(L, 1);
}

static void run_source(lua_State *L, Run *run)
{
    run->status = -1;
    run->error[0] = '\0';
    int result = luau_run(pool, L, work, run);
    while (result == LUAU_PARKED)
        result = luau_continue(L);
    assert_int_equal(result, LUAU_DONE);
}

static lua_State *new_vm(void)
{
    luau_VmOptions options = {.image = image, .memory_max_bytes = QUOTA_BYTES};
    lua_State *L = luau_newvm(&options);
    assert_non_null(L);
    luau_setslice(L, 1000000);
    return L;
}

static void expect_sound(lua_State *L, const char *name, const char *wrapper)
{
    const char *problem = luau_checkheap(L);
    luau_Account account;
    luau_account(L, &account);
    if (problem || account.peak_bytes > QUOTA_BYTES)
        fail_msg("%s / %s: %s, %zu bytes", name, wrapper, problem, account.peak_bytes);
}

static const char prelude[] =
    "local function fails(pattern, f, ...) local r = {pcall(f, ...)}\n"
    "  if r[1] then error('no error, expected ' .. pattern, 2) end\n"
    "  if pattern == 'stack overflow' and r[2] == 'error in error handling' then return end\n"
    "  if not tostring(r[2]):find(pattern) then error('error: ' .. tostring(r[2]):sub(1, 200), 2) end\n"
    "  end\n";

static void test_bounded(void **state)
{
    const Case *wrapper = *state;
    static char source[SOURCE_MAX];
    Run run = {source, -1, ""};
    for (size_t i = 0; i < sizeof(bounded) / sizeof(bounded[0]); i++) {
        if (getenv("HOSTILE_VERBOSE"))
            fprintf(stderr, "%s / %s\n", bounded[i].name, wrapper->name);
        lua_State *L = new_vm();
        snprintf(source, sizeof(source), "%slocal function attack() %s\nend\n%s", prelude,
                 bounded[i].body, wrapper->body);
        run_source(L, &run);
        if (run.status != LUA_OK)
            fail_msg("%s / %s: status %d, reason %d, %s", bounded[i].name, wrapper->name,
                     run.status, luau_killreason(L), run.error);
        expect_sound(L, bounded[i].name, wrapper->name);
        snprintf(
            source, sizeof(source),
            "local d = 0 local function f() d += 1 f() end assert(not pcall(f) and d > 19000)\n"
            "assert(#('x'):rep(1e6) == 1e6 and ('abc'):gsub('b', 'x') == 'axc')\n"
            "local t = {3, 1, 2} table.sort(t) assert(table.concat(t) == '123')");
        run_source(L, &run);
        if (run.status != LUA_OK)
            fail_msg("%s / %s: afterwards: %s", bounded[i].name, wrapper->name, run.error);
        expect_sound(L, bounded[i].name, wrapper->name);
        lua_close(L);
    }
}

/* No limit on time is set: what never ends fails by the test's own. */
static void test_hoarders(void **state)
{
    (void)state;
    static const char *const ways[] = {
        "attack()",
        "while true do pcall(attack) end",
        "coroutine.wrap(function() while true do pcall(attack) end end)()",
        "while true do pcall(coroutine.wrap(attack)) end",
        "xpcall(attack, function() while true do pcall(attack) end end)",
        "pcall(table.sort, {2, 1}, function() while true do pcall(attack) end end)",
    };
    static char source[SOURCE_MAX];
    Run run = {source, -1, ""};
    for (size_t i = 0; i < sizeof(hoarders) / sizeof(hoarders[0]); i++) {
        for (size_t k = 0; k < sizeof(ways) / sizeof(ways[0]); k++) {
            if (getenv("HOSTILE_VERBOSE"))
                fprintf(stderr, "%s / %s\n", hoarders[i].name, ways[k]);
            lua_State *L = new_vm();
            snprintf(source, sizeof(source), "local function attack() %s\nend\n%s",
                     hoarders[i].body, ways[k]);
            run_source(L, &run);
            if (run.status != LUA_KILLED || luau_killreason(L) != LUAU_KILL_MEMORY)
                fail_msg("%s / %s: status %d, reason %d, %s", hoarders[i].name, ways[k], run.status,
                         luau_killreason(L), run.error);
            expect_sound(L, hoarders[i].name, ways[k]);
            lua_close(L);
        }
    }
}

/* B13: at every distance from the cap every function of the library fails or works, and nothing is
 * torn. */
static void test_full_vm(void **state)
{
    (void)state;
    static const char source[] =
        "local full = {} local function fill(left) while gcinfo() * 1024 < 15e6 - left do\n"
        "  full[#full + 1] = ('x'):rep(900) .. #full end end\n"
        "local values = {'abc', 5, {1, 2, 3}, select, true, buffer.create(64), ('y'):rep(5000)}\n"
        "fill(LEFT)\n"
        "for _, name in {'string', 'table', 'math', 'utf8', 'buffer', 'bit32', 'os', 'coroutine',\n"
        "  'debug', 'vector'} do local library = getfenv()[name]\n"
        "  for _, f in library do if type(f) == 'function' and f ~= coroutine.yield then\n"
        "    for _, a in values do for _, b in values do local r = {pcall(f, a, b, 2)}\n"
        "      r = {pcall(f, a, b, 'x')} end end end end end";
    for (int left = 64; left < 1 << 20; left *= 4) {
        char text[2048];
        snprintf(text, sizeof(text), "%s", source);
        char *at = strstr(text, "LEFT");
        char tail[2048];
        snprintf(tail, sizeof(tail), "%s", at + 4);
        snprintf(at, sizeof(text) - (size_t)(at - text), "%d%s", left, tail);
        lua_State *L = new_vm();
        Run run = {text, -1, ""};
        run_source(L, &run);
        if (run.status != LUA_OK &&
            !(run.status == LUA_KILLED && luau_killreason(L) == LUAU_KILL_MEMORY))
            fail_msg("%d bytes left: status %d: %s", left, run.status, run.error);
        expect_sound(L, "B13", "");
        lua_close(L);
    }
}

#ifndef SANITIZED
static size_t resident_bytes(void)
{
    long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &size, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* B23: what the process holds for a VM is what the VM is charged with, and goes back. */
static void test_fragmentation(void **state)
{
    (void)state;
    enum { VMS = 8, SLACK = 4 << 20 };
    lua_State *vms[VMS];
    size_t before = resident_bytes(), charged = 0;
    if (before == 0)
        return; /* no such file on this system */
    Run run = {"keep = {} local n = 0 for i = 1, 40000 do local s = string.rep('x', 10) .. i\n"
               "  local b = string.rep('y', 3980) .. i if i % 2 == 0 then n += 1\n"
               "    keep[n] = s if n % 16 == 0 then keep[-n] = b end end end",
               -1, ""};
    for (int i = 0; i < VMS; i++) {
        vms[i] = new_vm();
        run_source(vms[i], &run);
        assert_int_equal(run.status, LUA_OK);
        luau_Account account;
        luau_account(vms[i], &account);
        charged += account.reserved_bytes;
    }
    size_t during = resident_bytes();
    for (int i = 0; i < VMS; i++)
        lua_close(vms[i]);
    malloc_trim(0); /* what the allocator keeps for the next one is not the VMs' */
    size_t after = resident_bytes();
    printf("             charged %zu, resident +%zu, after +%zu\n", charged, during - before,
           after > before ? after - before : 0);
    assert_true(during < before + charged + charged / 2 + SLACK);
    assert_true(after < before + charged / 2 + SLACK);
}
#endif

static int set_up(void **state)
{
    (void)state;
    image = luau_image_standard();
    pool = luau_fibers_new(2);
    return !(image && pool);
}

static int tear_down(void **state)
{
    (void)state;
    luau_fibers_free(pool);
    luau_image_release(image);
    return 0;
}

int main(void)
{
    enum { WRAPPERS = sizeof(wrappers) / sizeof(wrappers[0]) };
    struct CMUnitTest tests[WRAPPERS];
    for (size_t i = 0; i < WRAPPERS; i++) {
        tests[i] = (struct CMUnitTest){wrappers[i].name, test_bounded, NULL, NULL,
                                       (void *)&wrappers[i]};
    }
    const struct CMUnitTest memory[] = {
        cmocka_unit_test(test_hoarders),
        cmocka_unit_test(test_full_vm),
#ifndef SANITIZED
        cmocka_unit_test(test_fragmentation),
#endif
    };
    int failed = cmocka_run_group_tests_name("bounds", tests, set_up, tear_down);
    return failed + cmocka_run_group_tests_name("memory", memory, set_up, tear_down);
}
