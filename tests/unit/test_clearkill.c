/* test_clearkill.c: a VM goes on after one execution in it was cancelled (luau_kill,
 * luau_clearkill): wherever the kill struck, the threads that ran are dead, all others are as they
 * were, and nothing is left behind. */
#include <stdbool.h>

#include "vm_support.h"

/* Each calls die(), which does not come back, somewhere deep. Coroutines that run are put into
 * `chain` by running(). */
static const char *const places[] = {
    "die()",
    "pcall(die)",
    "xpcall(error, die)",
    "xpcall(die, function() ran = true end)",
    "coroutine.wrap(function() running() coroutine.wrap(function() running() pcall(die) ran = true\n"
    "  end)() end)()",
    "local co = coroutine.create(function() running() die() end) coroutine.resume(co)",
    "table.sort({3, 2, 1}, function() running() die() end)",
    "table.sort({3, 2, 1}, coroutine.wrap(function() running() die() end))",
    "('abc'):gsub('.', function() die() end)",
    "('abc'):gsub('.', coroutine.wrap(function() running()\n"
    "  table.sort({2, 1}, function() coroutine.wrap(function() running() die() end)() end) end))",
    "local x = setmetatable({}, {__index = die}).y",
    "setmetatable({}, {__newindex = die}).y = 1",
    "local m = {__eq = die} local x = setmetatable({}, m) == setmetatable({}, m)",
    "local m = {__lt = die} local x = setmetatable({}, m) < setmetatable({}, m)",
    "local x = setmetatable({}, {__concat = die}) .. 1",
    "tostring(setmetatable({}, {__tostring = die}))",
    "local x = #setmetatable({}, {__len = die})",
    "for k in setmetatable({}, {__iter = die}) do end",
    "setmetatable({}, {__call = die})()",
    "for k in die do end",
    "resume(function() running() die() end)",
    "resume(function() running() resume(function() running() pcall(resume, function() running()\n"
    "  table.foreach({1}, die) end) end) end)",
    "coroutine.wrap(function() running() resume(function() running()\n"
    "  coroutine.wrap(function() running() die() end)() end) end)()",
    "call(die)",
    "pcallk(callk, pcallk, die)",
    "coroutine.wrap(function() running() pcallk(callk, coroutine.wrap(function() running()\n"
    "  pcallk(die) end)) end)()",
    "local function f(n) if n == 0 then die() end return 1 + f(n - 1) end f(19000)",
    "local function f(n) if n == 0 then die() end return 1 + call(f, n - 1) end f(150)",
    "local function f(n) running() if n == 0 then die() end return coroutine.wrap(f)(n - 1) end\n"
    "coroutine.wrap(f)(100)",
    "local function f(n, ...) if n == 0 then die() end local r = f(n - 1, ...) return r end\n"
    "f(200, table.unpack(table.create(500, 'x')))",
    "dieat() for i = 1, 10 do loadstring(('x = 1 '):rep(3000)) end",
    "dieat() local t = {} for i = 1, 1e5 do t[i] = {} end collectgarbage()",
    "dieat() local s = ('x'):rep(4e5) for i = 1, 10 do s = s:gsub('x', 'y') end",
    "local up = {} for i = 1, 5 do local v = i up[i] = function() v += 1 return v end end\n"
    "kept = up die()",
};
enum { PLACES = sizeof(places) / sizeof(places[0]), ROUNDS = 12 };

static int script_die(lua_State *L)
{
    luau_kill(L, LUAU_KILL_HOST);
    luau_poll(L);
    fail_msg("a poll came back after a kill");
    return 0;
}

/* At one of the next polls. */
static int script_dieat(lua_State *L)
{
    luau_kill(L, LUAU_KILL_HOST);
    return 0;
}

/* A host's function that runs a thread of its own. */
static int script_resume(lua_State *L)
{
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    int status = lua_resume(co, L, 0);
    if (status != LUA_OK)
        luaL_error(L, "status %d", status);
    return 0;
}

static int script_call(lua_State *L)
{
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int after_call(lua_State *L, int status)
{
    (void)status;
    return lua_gettop(L);
}

static int script_callk(lua_State *L)
{
    return luau_callk(L, lua_gettop(L) - 1, LUA_MULTRET);
}

static int script_pcallk(lua_State *L)
{
    return luau_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET);
}

static lua_State *new_vm(void **state)
{
    static const luaL_Reg functions[] = {
        {"die", script_die},
        {"dieat", script_dieat},
        {"resume", script_resume},
        {"call", script_call},
        {NULL, NULL},
    };
    lua_State *L = vm_new(state, 32 << 20);
    for (const luaL_Reg *f = functions; f->name; f++) {
        lua_pushcfunction(L, f->func, f->name);
        lua_setglobal(L, f->name);
    }
    lua_pushcclosurek(L, script_callk, "callk", 0, after_call);
    lua_setglobal(L, "callk");
    lua_pushcclosurek(L, script_pcallk, "pcallk", 0, after_call);
    lua_setglobal(L, "pcallk");
    vm_must(L, "chain = {} function running() table.insert(chain, coroutine.running()) end\n"
               "-- others, which wait in all ways\n"
               "waiting = coroutine.create(function(a)\n"
               "  local b = pcall(function() a += coroutine.yield(a) end)\n"
               "  for i = 1, 1000 do a += coroutine.yield(a) end end)\n"
               "coroutine.resume(waiting, 1)\n"
               "inkcall = coroutine.wrap(function() return callk(pcallk, coroutine.yield, 1) end)\n"
               "assert(inkcall() == 1)");
    return L;
}

/* Everything else of the VM works; the depth of calls and natives is all there again. */
static const char check[] =
    "assert(not ran)\n"
    "for _, co in chain do\n"
    "  assert(coroutine.status(co) == 'dead')\n"
    "  local ok, e = coroutine.resume(co)\n"
    "  assert(not ok and e == 'cannot resume dead coroutine', e)\n"
    "  coroutine.close(co)\n"
    "end\n"
    "table.clear(chain)\n"
    "local ok, value = coroutine.resume(waiting, 1) assert(ok and type(value) == 'number')\n"
    "local fresh = coroutine.wrap(function(x) while true do x = coroutine.yield(x) end end)\n"
    "for i = 1, 3 do assert(fresh(i) == i) end\n"
    "if kept then assert(kept[1]() > 1 and kept[5]() > 5) end\n"
    "local d = 0 local function f() d += 1 f() end\n"
    "assert(select(2, pcall(f)):match('stack overflow$') and d > 19900)\n"
    "d = 0 local function g() d += 1 call(g) end\n"
    "assert(not pcall(g) and d > 150, d)\n"
    "assert(select(2, xpcall(error, function(m) return m .. 'h' end, 'm')) == 'mh')\n"
    "assert(loadstring('return 7')() == 7)";

/* Runs on a thread that is then reset and used again. */
static void cancel_once(lua_State *L, lua_State *thread, const char *place)
{
    vm_load(thread, place);
    int status = lua_resume(thread, L, 0);
    if (status != LUA_KILLED)
        fail_msg("%s\nstatus %d, %s", place, status, lua_tostring(thread, -1));
    assert_int_equal(luau_killreason(L), LUAU_KILL_HOST);
    const char *problem = luau_checkheap(L);
    if (problem)
        fail_msg("%s\n%s", place, problem);
    luau_clearkill(L);
    assert_int_equal(luau_killreason(L), LUAU_KILL_NONE);
    assert_int_equal(lua_costatus(L, thread), LUA_COERR);
    lua_resetthread(thread);
    assert_true(lua_isthreadreset(thread));
    vm_load(L, check);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK)
        fail_msg("%s\n%s", place, lua_tostring(L, -1));
    problem = luau_checkheap(L);
    if (problem)
        fail_msg("%s\n%s", place, problem);
}

static void test_cancels(void **state)
{
    for (int i = 0; i < PLACES; i++) {
        lua_State *L = new_vm(state);
        lua_State *thread = lua_newthread(L);
        luau_Account first, last;
        for (int round = 0; round < ROUNDS; round++) {
            cancel_once(L, thread, places[i]);
            luau_shrink(L);
            luau_account(L, round == 1 ? &first : &last);
        }
        if (last.live_bytes > first.live_bytes + 512 || last.external_bytes > first.external_bytes)
            fail_msg("%s\nleaves something: %zu, then %zu bytes", places[i], first.live_bytes,
                     last.live_bytes);
        vm_must(L, "assert(inkcall('x') == 'x')");
        vm_close(L);
    }
}

/* The same by lua_pcall and luau_protect on the main thread, and on a fiber. */
static void on_fiber(lua_State *L, void *place)
{
    lua_State *thread = lua_newthread(L);
    cancel_once(L, thread, place);
    lua_pop(L, 1);
}

static void test_other_ways(void **state)
{
    luau_Fibers *pool = luau_fibers_new(1);
    for (int i = 0; i < PLACES; i++) {
        lua_State *L = new_vm(state);
        int top = lua_gettop(L);
        assert_int_equal(vm_run(L, places[i]), LUA_KILLED);
        luau_clearkill(L);
        lua_settop(L, top);
        vm_must(L, check);
        assert_null(luau_checkheap(L));
        luau_setslice(L, 1);
        int result = luau_run(pool, L, on_fiber, (void *)(uintptr_t)places[i]);
        while (result == LUAU_PARKED)
            result = luau_continue(L);
        assert_int_equal(result, LUAU_DONE);
        assert_int_equal(lua_gettop(L), top);
        vm_close(L);
    }
    luau_fibers_free(pool);
}

/* A cancelled thread may be kept: it is dead, and so is what it held but for who else holds it. */
static void test_dead_thread_stays(void **state)
{
    lua_State *L = new_vm(state);
    lua_State *thread = lua_newthread(L);
    lua_pushvalue(L, -1);
    lua_setglobal(L, "cancelled");
    vm_load(thread, "local big = table.create(1e5, 1) function look() return #big end die()");
    assert_int_equal(lua_resume(thread, L, 0), LUA_KILLED);
    luau_clearkill(L);
    vm_must(L, "assert(coroutine.status(cancelled) == 'dead')\n"
               "assert(not coroutine.resume(cancelled) and not pcall(coroutine.wrap(function()\n"
               "  return coroutine.resume(coroutine.running()) end)) == false)\n"
               "assert(look() == 1e5) collectgarbage() assert(look() == 1e5)");
    vm_load(thread, "return 1");
    assert_int_equal(lua_resume(thread, L, 0), LUA_ERRRUN); /* without a reset it stays dead */
    lua_resetthread(thread);
    vm_load(thread, "return look()");
    assert_int_equal(lua_resume(thread, L, 0), LUA_OK);
    assert_int_equal(lua_tointeger(thread, -1), 100000);
    vm_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancels),
        cmocka_unit_test(test_other_ways),
        cmocka_unit_test(test_dead_thread_stays),
    };
    int failed = cmocka_run_group_tests(tests, vm_make_image, vm_drop_image);
    return failed;
}
