/* test_limits.c: account, quotas, kills, the collector's knobs, allocations that fail. */
#include "vm_support.h"

/* ---- account --------------------------------------------------------------------------------- */

static void test_account(void **state)
{
    lua_State *L = vm_new(state, 0);
    luau_Account start, full, end;
    lua_gc(L, LUA_GCCOLLECT, 0);
    luau_account(L, &start);
    assert_true(start.live_bytes > 0 && start.live_bytes <= start.reserved_bytes);
    assert_true(start.reserved_bytes < 8192);
    lua_newbuffer(L, 1000000);
    luau_account(L, &full);
    assert_true(full.live_bytes >= start.live_bytes + 1000000);
    assert_true(full.reserved_bytes >= start.reserved_bytes + 1000000);
    assert_int_equal(lua_totalbytes(L, -1), full.live_bytes);
    assert_true(lua_gc(L, LUA_GCCOUNT, 0) >= 1000000 / 1024);
    lua_pop(L, 1);
    lua_gc(L, LUA_GCCOLLECT, 0);
    luau_account(L, &end);
    assert_true(end.live_bytes <= start.live_bytes);
    assert_true(end.peak_bytes >= 1000000 && end.collections >= 2);
    luau_charge(L, 5000);
    luau_account(L, &full);
    assert_int_equal(full.external_bytes, 5000);
    assert_true(full.reserved_bytes >= end.reserved_bytes + 5000);
    luau_charge(L, -5000);
    luau_account(L, &end);
    assert_int_equal(end.external_bytes, 0);
    vm_close(L);
}

static void test_shrink(void **state)
{
    lua_State *L = vm_new(state, 0);
    luau_Account start, big, small;
    luau_shrink(L);
    luau_account(L, &start);
    vm_must(L, "local function deep(n) if n > 0 then return 1 + deep(n - 1) end return 0 end\n"
               "assert(deep(15000) == 15000)\n"
               "local t = {} for i = 1, 10000 do t[i] = {i} end");
    luau_account(L, &big);
    luau_shrink(L);
    luau_account(L, &small);
    assert_true(big.reserved_bytes > 500000);
    assert_true(small.reserved_bytes < start.reserved_bytes + 4096);
    vm_must(L, "x = 5");
    vm_close(L);
}

static void test_collector(void **state)
{
    lua_State *L = vm_new(state, 0);
    assert_int_equal(lua_gc(L, LUA_GCISRUNNING, 0), 1);
    lua_gc(L, LUA_GCSTOP, 0);
    assert_int_equal(lua_gc(L, LUA_GCISRUNNING, 0), 0);
    vm_must(L, "for i = 1, 20000 do local t = {} end");
    assert_true(lua_gc(L, LUA_GCCOUNT, 0) > 500);
    int steps = 0;
    while (!lua_gc(L, LUA_GCSTEP, 10))
        assert_true(++steps < 10000);
    assert_int_equal(lua_gc(L, LUA_GCISRUNNING, 0), 0);
    lua_gc(L, LUA_GCRESTART, 0);
    lua_gc(L, LUA_GCCOLLECT, 0);
    assert_true(lua_gc(L, LUA_GCCOUNT, 0) < 100);
    assert_true(lua_gc(L, LUA_GCCOUNTB, 0) < 1024);
    int goal = lua_gc(L, LUA_GCSETGOAL, 150);
    assert_int_equal(lua_gc(L, LUA_GCSETGOAL, goal), 150);
    int multiplier = lua_gc(L, LUA_GCSETSTEPMUL, 300);
    assert_int_equal(lua_gc(L, LUA_GCSETSTEPMUL, multiplier), 300);
    int size = lua_gc(L, LUA_GCSETSTEPSIZE, 8);
    assert_int_equal(lua_gc(L, LUA_GCSETSTEPSIZE, size), 8);
    vm_close(L);
}

/* ---- kills ----------------------------------------------------------------------------------- */

/* Asks for the kill of the VM that calls it; which comes at the next poll. */
static int kill_me(lua_State *L)
{
    luau_kill(L, LUAU_KILL_HOST);
    return 0;
}

/* Each program must end by the kill, whatever it catches; the VM closes cleanly. */
static void expect_killed(void **state, const char *source, int reason)
{
    lua_State *L = vm_new(state, 1 << 20);
    lua_pushcfunction(L, kill_me, "kill_me");
    lua_setglobal(L, "kill_me");
    vm_load(L, source);
    int status = lua_pcall(L, 0, 0, 0);
    if (status != LUA_KILLED)
        fail_msg("%s: status %d, %s", source, status, lua_tostring(L, -1));
    assert_int_equal(luau_killreason(L), reason);
    assert_int_equal(strncmp(luau_killposition(L), "t:", 2), 0);
    luau_Account account;
    luau_account(L, &account);
    assert_true(account.peak_bytes <= 1 << 20);
    vm_close(L);
}

static void test_memory_kills(void **state)
{
    static const char *const sources[] = {
        "local t = {} while true do t[#t + 1] = {} end",
        "local t = {} while true do pcall(function() t[#t + 1] = string.rep('x', 5000) end) end",
        "local s = 'x' local t = {} while true do s ..= 'y' t[#t + 1] = s end",
        "local t = {} while true do t[#t + 1] = coroutine.create(print) end",
        "local t = {} while true do t[#t + 1] = buffer.create(100000) end",
        "local t = {} for i = 1, math.huge do t[i] = i end",
        "local s = '' while true do s = table.concat({s, s, 'abc'}) end",
        "local ok = xpcall(function() local t = {} while true do t[#t + 1] = {} end end, print)",
    };
    for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++)
        expect_killed(state, sources[i], LUAU_KILL_MEMORY);
}

static void test_host_kill(void **state)
{
    static const char *const sources[] = {
        "kill_me() while true do end",
        "while true do pcall(function() kill_me() while true do end end) end",
        "xpcall(function() error() end, function() kill_me() while true do end end)",
        "local function spin() kill_me() while true do end end "
        "coroutine.wrap(function() coroutine.wrap(spin)() end)()",
        "table.sort({1, 2, 3}, function(a, b) kill_me() while true do end end)",
        "local t = setmetatable({}, {__index = function() kill_me() while true do end end}) "
        "pcall(function() return t.x end)",
    };
    for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++)
        expect_killed(state, sources[i], LUAU_KILL_HOST);
}

/* After a kill that is taken back the VM works on. */
static void test_clearkill(void **state)
{
    lua_State *L = vm_new(state, 0);
    luau_kill(L, LUAU_KILL_HOST);
    assert_int_equal(vm_run(L, "while true do end"), LUA_KILLED);
    lua_settop(L, 0);
    luau_clearkill(L);
    assert_int_equal(luau_killreason(L), LUAU_KILL_NONE);
    vm_must(L, "for i = 1, 1000 do local t = {} end");
    vm_close(L);
}

/* A single request for more than the quota is an error like others. */
static void test_size_errors(void **state)
{
    lua_State *L = vm_new(state, 1 << 20);
    vm_must(L, "local ok, e = pcall(string.rep, 'x', 2000000)\n"
               "assert(not ok and e == 'not enough memory')\n"
               "ok, e = pcall(buffer.create, 2000000)\n"
               "assert(not ok and e == 'not enough memory')");
    luau_setquota(L, 0);
    vm_must(L, "assert(#string.rep('x', 2000000) == 2000000)");
    vm_close(L);
}

static int charge_much(lua_State *L)
{
    for (int i = 0; i < 1000000; i++)
        luau_charge(L, 10000);
    return 0;
}

static void test_charge_kill(void **state)
{
    lua_State *L = vm_new(state, 1 << 20);
    lua_pushcfunction(L, charge_much, "charge");
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_KILLED);
    assert_int_equal(luau_killreason(L), LUAU_KILL_MEMORY);
    vm_close(L);
}

/* A native's text under construction belongs to the VM, so a kill in the middle loses nothing. */
static int endless_text(lua_State *L)
{
    luaL_Strbuf B;
    luaL_buffinit(L, &B);
    for (int i = 0; i < 100000000; i++)
        luaL_addstring(&B, "0123456789");
    return 0;
}

static void test_strbuf_kill(void **state)
{
    lua_State *L = vm_new(state, 1 << 20);
    lua_pushcfunction(L, endless_text, "endless");
    int status = lua_pcall(L, 0, 0, 0);
    assert_true(status == LUA_KILLED || status == LUA_ERRMEM);
    vm_close(L);
}

static void push_much(lua_State *L, void *arg)
{
    int count = *(int *)arg;
    for (int i = 0; i < count; i++) {
        lua_pushfstring(L, "string number %d", i);
        lua_ref(L, -1);
        lua_pop(L, 1);
    }
    lua_pushinteger(L, count);
}

/* The host's own work may pass the quota too. */
static void test_protect(void **state)
{
    lua_State *L = vm_new(state, 1 << 20);
    int count = 10;
    lua_pushinteger(L, 7);
    assert_int_equal(luau_protect(L, push_much, &count), LUA_OK);
    assert_int_equal(lua_gettop(L), 2);
    assert_int_equal(lua_tointeger(L, -1), 10);
    count = 1000000;
    assert_int_equal(luau_protect(L, push_much, &count), LUA_KILLED);
    assert_int_equal(luau_killreason(L), LUAU_KILL_MEMORY);
    assert_int_equal(lua_gettop(L), 3);
    assert_int_equal(lua_tointeger(L, 1), 7);
    vm_close(L);
}

/* ---- allocations that fail ------------------------------------------------------------------- */

static const char workload[] =
    "local t = {}\n"
    "for i = 1, 50 do t[i] = {i, tostring(i), k = {}} end\n"
    "local s = ''\n"
    "for i = 1, 20 do s ..= string.rep('ab', i) .. i end\n"
    "local co = coroutine.wrap(function(...) for i = 1, 5 do coroutine.yield({...}) end end)\n"
    "for i = 1, 5 do co(i) end\n"
    "local u = string.gsub(s, '%w', function(c) return c .. c end)\n"
    "table.sort(t, function(a, b) return a[1] > b[1] end)\n"
    "return table.concat({s, u, #t})";

/* The k-th allocation fails, for all k: each time a clean error, a sound heap, and a VM that works
 * afterwards. */
static void test_failing_allocations(void **state)
{
    lua_State *probe = vm_new(state, 0);
    luau_failalloc(probe, 0);
    int supported = vm_run(probe, "") == LUA_OK && luau_failalloc(probe, 0) > 0;
    vm_close(probe);
    if (!supported)
        return; /* not a test build */
    int status = LUA_ERRMEM;
    for (uint64_t k = 1; status != LUA_OK; k++) {
        lua_State *L = vm_new(state, 0);
        vm_load(L, workload);
        luau_failalloc(L, k);
        status = lua_pcall(L, 0, 1, 0);
        luau_failalloc(L, 0);
        if (status != LUA_OK) {
            assert_non_null(strstr(lua_tostring(L, -1), "not enough memory"));
            lua_settop(L, 0);
            vm_must(L, "assert(#string.rep('x', 100) == 100)");
        }
        vm_close(L);
        assert_true(k < 100000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_account),
        cmocka_unit_test(test_shrink),
        cmocka_unit_test(test_collector),
        cmocka_unit_test(test_memory_kills),
        cmocka_unit_test(test_host_kill),
        cmocka_unit_test(test_clearkill),
        cmocka_unit_test(test_size_errors),
        cmocka_unit_test(test_charge_kill),
        cmocka_unit_test(test_protect),
        cmocka_unit_test(test_strbuf_kill),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, vm_make_image, vm_drop_image);
}
