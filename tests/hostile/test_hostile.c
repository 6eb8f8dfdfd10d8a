/* test_hostile.c: attacks on processor time and memory, each bare and inside every wrapper that
 * could catch, hide or survive a kill (threats A and B). For each pair: the VM ends as LUA_KILLED,
 * nothing of the tenant runs after the kill, the run was preempted on the way, and the VM's memory
 * goes back.
 *
 * A test must not depend on the machine's speed, so latencies are printed, not judged; run with
 * `--latency` to see them per attack (bench/README.md quotes them). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "luau/luau.h"

enum { QUOTA_BYTES = 4 << 20, RUN_MS = 8 };

typedef struct Attack {
    const char *name;
    const char *body; /* of `local function attack()`; is called again and again */
} Attack;

/* Each either never returns or is repeated until the deadline. */
static const Attack attacks[] = {
    {"while", "while true do end"},
    {"repeat", "repeat continue until false"},
    {"for zero step", "for i = 1, 1, 0 do end"},
    {"for huge", "for i = 1, math.huge do end"},
    {"recursion", "local function f() return f() end pcall(f)"},
    {"recursion through __call",
     "local t = setmetatable({}, {}) getmetatable(t).__call = function(s) return s() end pcall(t)"},
    {"recursion through varargs", "local function f(...) return f(1, ...) end pcall(f)"},
    {"handler loops", "xpcall(error, function() while true do end end)"},
    {"handler fails", "xpcall(error, function() error('again') end)"},
    {"pattern backtracks", "string.find(('a'):rep(3000), ('a-'):rep(8) .. 'b')"},
    {"pattern balance", "string.find(('('):rep(1e5), '%b()')"},
    {"pattern frontier", "string.gsub(('a b '):rep(1e4), '%f[%w]%w+', '')"},
    {"pattern too deep", "pcall(string.find, ('x'):rep(1000), ('(x'):rep(200))"},
    {"gsub callback", "('x'):rep(1e5):gsub('.', function() end)"},
    {"gsub table", "('x'):rep(1e5):gsub('.', {x = 'y'})"},
    {"gmatch", "for a in ('x '):rep(1e5):gmatch('%S+') do end"},
    {"concat", "local t = table.create(1e5, 'abcdefgh') table.concat(t, ',')"},
    {"rep", "string.rep('abc', 5e5)"},
    {"reverse", "string.reverse(string.rep('abc', 3e5))"},
    {"upper", "string.upper(string.rep('abc', 3e5))"},
    {"byte and char", "string.char(string.byte(string.rep('x', 7000), 1, -1))"},
    {"format", "string.format(('%d'):rep(50) , table.unpack(table.create(50, 1)))"},
    {"split", "string.split(string.rep('a,', 5e4), ',')"},
    {"pack", "for i = 1, 1e5 do string.unpack('i4', string.pack('i4', i)) end"},
    {"sort random", "local t = {} for i = 1, 2e4 do t[i] = math.random() end table.sort(t)"},
    {"sort comparator",
     "local t = table.create(1000, 1) pcall(table.sort, t, function() return math.random() < .5 end)"},
    {"sort comparator loops", "table.sort({3, 2, 1}, function() while true do end end)"},
    {"sort strings",
     "local t = {} for i = 1, 1e4 do t[i] = tostring(math.random()) end table.sort(t)"},
    {"move", "table.move(table.create(1e5, 1), 1, 1e5, 2)"},
    {"insert front", "local t = {} for i = 1, 3e4 do table.insert(t, 1, i) end"},
    {"remove front", "local t = table.create(3e4, 1) while #t > 0 do table.remove(t, 1) end"},
    {"find", "table.find(table.create(3e5, 1), 2)"},
    {"unpack", "select('#', table.unpack(table.create(7900, 1)))"},
    {"clear and clone", "table.clear(table.clone(table.create(1e5, 1)))"},
    {"next over holes",
     "local t = table.create(1e5, 1) while true do local k = next(t) if not k then break end t[k] = nil end"},
    {"pairs", "local t = {} for i = 1, 1e4 do t['k' .. i] = i end for k, v in pairs(t) do end"},
    {"foreach", "table.foreach(table.create(1e5, 1), function() end)"},
    {"__index chain",
     "local t = {} for i = 1, 1e4 do t = setmetatable({}, {__index = t}) end pcall(function() return t.x end)"},
    {"__index fibonacci",
     "local t = setmetatable({}, {__index = function(t, n) return n < 2 and n or t[n - 1] + t[n - 2] end}) local x = t[26]"},
    {"coroutine churn", "for i = 1, 1e4 do coroutine.wrap(function() end)() end"},
    {"coroutine ping-pong",
     "local a = coroutine.wrap(function() while true do coroutine.yield() end end) for i = 1, 1e5 do a() end"},
    {"pcall churn", "for i = 1, 1e5 do pcall(error) end"},
    {"tostring hook",
     "tostring(setmetatable({}, {__tostring = function() while true do end end}))"},
    {"tostring numbers", "for i = 1, 1e5 do local s = tostring(i / 3) end"},
    {"traceback",
     "local function f(n) if n > 0 then f(n - 1) else debug.traceback() end end f(15000)"},
    {"utf8", "utf8.len(string.rep('\\u{20AC}', 1e5))"},
    {"buffer fill", "buffer.fill(buffer.create(1e6), 0, 1)"},
    {"buffer copy", "local b = buffer.create(1e6) buffer.copy(b, 0, b)"},
    {"loadstring", "loadstring(('x = 1 '):rep(2e4))"},
    {"string doubling", "local s = 'x' while true do s = s .. s end"},
    {"table growth", "local t = {} while true do t[#t + 1] = {} end"},
    {"map growth", "local t = {} local i = 0 while true do i += 1 t[i .. ''] = i end"},
    {"buffers", "local t = {} while true do t[#t + 1] = buffer.create(1e5) end"},
    {"closures",
     "local t = {} while true do local a, b, c = 1, 2, 3 t[#t + 1] = function() a += b + c end end"},
    {"coroutines", "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end"},
    {"living at the cap",
     "local function grow() local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end end while true do pcall(grow) end"},
    {"handlers in handlers",
     "local function h(m) local _, r = xpcall(error, h, m) return r end xpcall(error, h, 'x')"},
    {"pattern of many lazy items", "pcall(string.find, ('x'):rep(1e5), ('x-'):rep(150) .. 'y')"},
    {"pattern with a large set", "string.find(('b'):rep(100), '[' .. ('a'):rep(5e5) .. ']')"},
    {"gsub that yields", "coroutine.resume(coroutine.create(function() "
                         "('x'):rep(100):gsub('.', coroutine.yield) end))"},
    {"separator of a concat", "table.concat({'', '', ''}, ('x'):rep(1e6))"},
    {"concat of nothing", "table.concat(table.create(2e5, ''))"},
    {"traceback bomb",
     "local function f(n) if n > 0 then f(n - 1) else for i = 1, 1e4 do pcall(error) end end end f(19000)"},
    {"error levels", "for i = 1, 1e4 do pcall(error, 'x', 1e9) pcall(error, 'x', i) end"},
    {"long chunk name", "pcall(loadstring('error()', ('n'):rep(1e6)))"},
    {"parser depth",
     "loadstring(('('):rep(1e5)) loadstring(('{'):rep(1e5)) loadstring(('- '):rep(1e5))"},
    {"long tokens", "loadstring(('x'):rep(5e5)) loadstring('return ' .. ('1'):rep(5e5))"},
    {"equal strings",
     "local a, b = ('x'):rep(1e6), ('x'):rep(1e6) for i = 1, 1e3 do local x = a == b end"},
    {"string keys", "local t = {} for i = 1, 100 do local x = t[('x'):rep(1e6) .. i] end"},
    {"numbers of a million digits", "for i = 1, 100 do local x = tonumber(('1'):rep(1e6)) end"},
    {"argument floods", "pcall(table.unpack, table.create(1e5, 1)) "
                        "pcall(string.char, table.unpack(table.create(7000, 65)))"},
    {"pack sizes", "pcall(string.packsize, ('c1073741824'):rep(9)) pcall(string.pack, 'i17', 1)"},
    {"weak chain", "local t = setmetatable({}, {__mode = 'k'}) local k = {} local first = k "
                   "for i = 1, 1e4 do local n = {} t[k] = n k = n end"},
    {"collections", "local t = table.create(2e5, 'x') collectgarbage()"},
    {"weak tables", "local t = setmetatable({}, {__mode = 'k'}) for i = 1, 2e4 do t[{}] = i end"},
};

/* %s: nothing; every wrapper calls attack() and goes on if it comes back. */
static const Attack wrappers[] = {
    {"bare", "while true do attack() survived() end"},
    {"pcall", "while true do pcall(attack) survived() end"},
    {"xpcall",
     "xpcall(function() while true do attack() end end, function() survived() while true do attack() end end)"},
    {"wrap in wrap",
     "coroutine.wrap(function() coroutine.wrap(function() while true do pcall(attack) survived() end end)() end)()"},
    {"resume",
     "while true do coroutine.resume(coroutine.create(function() while true do attack() end end)) end"},
    {"sort comparator",
     "pcall(table.sort, {1, 2, 3}, function(a, b) while true do pcall(attack) survived() end end)"},
    {"gsub callback",
     "pcall(string.gsub, 'abc', '.', function() while true do pcall(attack) survived() end end)"},
    {"__index",
     "local t = setmetatable({}, {__index = function() while true do pcall(attack) survived() end end}) local x = t.y"},
    {"__newindex",
     "local t = setmetatable({}, {__newindex = function() while true do pcall(attack) survived() end end}) t.y = 1"},
    {"__eq",
     "local m = {__eq = function() while true do pcall(attack) survived() end end} local x = setmetatable({}, m) == setmetatable({}, m)"},
    {"__lt",
     "local m = {__lt = function() while true do pcall(attack) survived() end end} local x = setmetatable({}, m) < setmetatable({}, m)"},
    {"__concat",
     "local t = setmetatable({}, {__concat = function() while true do pcall(attack) survived() end end}) local x = t .. 1"},
    {"__tostring",
     "tostring(setmetatable({}, {__tostring = function() while true do pcall(attack) survived() end end}))"},
    {"__len",
     "local x = #setmetatable({}, {__len = function() while true do pcall(attack) survived() end end})"},
    {"__iter",
     "for k in setmetatable({}, {__iter = function() while true do pcall(attack) survived() end end}) do end"},
    {"__call",
     "setmetatable({}, {__call = function() while true do pcall(attack) survived() end end})()"},
    {"iterator", "for k in function() while true do pcall(attack) survived() end end do end"},
};

static luau_Image *image;
static luau_Fibers *pool;
static luau_Ticker *ticker;
static int tenant_ran_after_kill;
static uint64_t latency_max_ns;
static const char *latency_where;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Called by the script wherever an attack came back: after a kill, never. */
static int script_survived(lua_State *L)
{
    tenant_ran_after_kill |= luau_killreason(L) != LUAU_KILL_NONE;
    return 0;
}

typedef struct Run {
    luau_Module *module;
    int status;
    char error[200];
} Run;

static void work(lua_State *L, void *arg)
{
    Run *run = arg;
    lua_State *thread = lua_newthread(L);
    luau_load(thread, run->module, 0);
    run->status = lua_resume(thread, L, 0);
    if (run->status != LUA_OK && run->status != LUA_YIELD && run->status != LUA_KILLED)
        snprintf(run->error, sizeof(run->error), "%s", lua_tostring(thread, -1));
}

static luau_Module *compile_attack(const Attack *attack, const Attack *wrapper)
{
    char source[4096];
    int length = snprintf(source, sizeof(source),
                          "local function attack() %s end\n%s\nlocal i = 0\n"
                          "pcall(survived) while true do i += 1 end",
                          attack->body, wrapper->body);
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    options.image = image;
    luau_Diagnostic diagnostic;
    luau_Module *module = luau_compile(source, (size_t)length, "=attack", &options, &diagnostic);
    if (!module)
        fail_msg("%s / %s: line %d: %s", attack->name, wrapper->name, diagnostic.line,
                 diagnostic.message);
    return module;
}

static void attack_once(const Attack *attack, const Attack *wrapper)
{
    Run run = {compile_attack(attack, wrapper), -1, ""};
    luau_VmOptions options = {.image = image, .memory_max_bytes = QUOTA_BYTES};
    lua_State *L = luau_newvm(&options);
    assert_non_null(L);
    lua_pushcfunction(L, script_survived, "survived");
    lua_setglobal(L, "survived");
    luau_setslice(L, 1000000);
    uint64_t deadline = now_ns() + RUN_MS * 1000000u;
    luau_setdeadline(L, deadline);
    tenant_ran_after_kill = 0;
    int state = luau_run(pool, L, work, &run);
    while (state == LUAU_PARKED)
        state = luau_continue(L);
    uint64_t end = now_ns();
    /* a request over the whole quota is an ordinary error (threats: SIZE), which bare code ends
     * with */
    if (run.status != LUA_KILLED &&
        !(wrapper == &wrappers[0] && strcmp(run.error, "not enough memory") == 0))
        fail_msg("%s / %s: status %d %s", attack->name, wrapper->name, run.status, run.error);
    if (luau_killreason(L) == LUAU_KILL_DEADLINE && end > deadline &&
        end - deadline > latency_max_ns) {
        latency_max_ns = end - deadline;
        static char where[200];
        snprintf(where, sizeof(where), "%s / %s", attack->name, wrapper->name);
        latency_where = where;
    }
    luau_Account account;
    luau_account(L, &account);
    if (account.peak_bytes > QUOTA_BYTES)
        fail_msg("%s / %s: %zu bytes of %d", attack->name, wrapper->name, account.peak_bytes,
                 QUOTA_BYTES);
    const char *problem = luau_checkheap(L);
    if (problem)
        fail_msg("%s / %s: heap: %s", attack->name, wrapper->name, problem);
    lua_close(L);
    luau_module_release(run.module);
}

static void test_wrapper(void **state)
{
    const Attack *wrapper = *state;
    latency_max_ns = 0;
    latency_where = "";
    for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
        if (getenv("HOSTILE_VERBOSE"))
            fprintf(stderr, "%s / %s\n", attacks[i].name, wrapper->name);
        attack_once(&attacks[i], wrapper);
        assert_int_equal(tenant_ran_after_kill, 0);
    }
    printf("             longest stop after the deadline: %.2f ms (%s)\n",
           (double)latency_max_ns / 1e6, latency_where);
}

static int set_up(void **state)
{
    (void)state;
    image = luau_image_standard();
    pool = luau_fibers_new(4);
    ticker = luau_ticker_new(1000);
    if (!image || !pool || !ticker)
        return 1;
    luau_ticker_add(ticker, pool);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    luau_ticker_remove(ticker, pool);
    luau_ticker_free(ticker);
    luau_fibers_free(pool);
    luau_image_release(image);
    return 0;
}

int main(void)
{
    struct CMUnitTest tests[sizeof(wrappers) / sizeof(wrappers[0])];
    for (size_t i = 0; i < sizeof(wrappers) / sizeof(wrappers[0]); i++) {
        tests[i] = (struct CMUnitTest){wrappers[i].name, test_wrapper, NULL, NULL,
                                       (void *)&wrappers[i]};
    }
    return cmocka_run_group_tests_name("hostile tenants", tests, set_up, tear_down);
}
