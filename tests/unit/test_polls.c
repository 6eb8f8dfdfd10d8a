/* test_polls.c: something happens at the k-th poll, for every k: a kill, an error, a collection, a
 * park with or without going on. Whatever the program was doing there, the VM is sound after. */
#include <stdbool.h>

#include "vm_support.h"

/* Each gives "ok" if nothing disturbs it. */
static const char *const programs[] = {
    /* coroutines in iterators in pcalls */
    "local function gen(n) return coroutine.wrap(function() for i = 1, n do\n"
    "  pcall(function() coroutine.yield(i) error('x') end) end end) end\n"
    "local s = 0 for i in gen(5) do for j in gen(i) do s += j end end\n"
    "return s == 35 and 'ok' or s",
    /* wraps that die one through the other */
    "local function nest(n) if n == 0 then error({}) end return coroutine.wrap(nest)(n - 1) end\n"
    "local ok, e = pcall(nest, 10) return type(e) == 'table' and 'ok' or tostring(e)",
    /* handlers in handlers, and handlers that fail */
    "local function h(m) local _, e = xpcall(error, function(x) return x .. m end, 'b')\n"
    "  return e end\n"
    "local _, e = xpcall(error, h, 'a')\n"
    "local _, f = xpcall(error, function() error('y') end, 'a')\n"
    "return e == 'ba' and f == 'error in error handling' and 'ok' or e",
    /* natives that call back, in each other */
    "local r = {}\n"
    "table.sort({3, 1, 2}, function(a, b)\n"
    "  local s = ('ab'):gsub('.', function(c) return pcall(function() table.foreach({1},\n"
    "  function()\n"
    "    table.insert(r, c .. a .. b) end) end) and c:upper() end)\n"
    "  return s == 'AB' and a < b end)\n"
    "return #r >= 4 and 'ok' or #r",
    /* metamethods of all kinds */
    "local mt = {} local o = setmetatable({}, mt)\n"
    "mt.__index = function(t, k) return k end mt.__newindex = function(t, k, v) rawset(t,\n"
    "  k, v) end\n"
    "mt.__call = function(self, x) return x end mt.__add = function(a, b) return b end\n"
    "mt.__concat = function(a, b) return 'c' end mt.__eq = function() return true end\n"
    "mt.__lt = function() return true end mt.__le = function() return false end\n"
    "mt.__len = function() return 3 end mt.__unm = function() return 4 end\n"
    "mt.__tostring = function() return 'o' end\n"
    "mt.__iter = function() return next, {1, 2} end\n"
    "local n = 0 for i = 1, 3 do o.x = o.y o['z' .. i] = o(i) + (o + 1) n += #o + -o\n"
    "  if o == setmetatable({}, mt) and o < o and not (o <= o) then n += 1 end\n"
    "  for k, v in o do n += v end n += #(o .. 'x') + #(1 .. o) + #tostring(o) end\n"
    "return n == 42 and 'ok' or n",
    /* deep recursion, its error, and varargs that move */
    "local function f(n, ...) if n == 0 then return select('#', ...) end return (f(n - 1,\n"
    "  n, ...)) end\n"
    "local d = 0 local function g() d += 1 return 1 + g() end\n"
    "local a = f(150) for i = 1, 2 do pcall(coroutine.wrap(function() return f(60) end)) end\n"
    "return a == 150 and 'ok' or a",
    /* tables that grow while collections run */
    "local keep = {} for i = 1, 300 do keep[i] = {i, tostring(i)} keep['k' .. i] =\n"
    "  function() return i end\n"
    "  if i % 10 == 0 then keep[i] = nil end end\n"
    "local w = setmetatable({}, {__mode = 'v'}) for i = 1, 50 do w[i] = keep[i] end\n"
    "local c = table.clone(keep) table.sort(w, function(a, b) return (a and a[1] or 0) <\n"
    "  (b and b[1] or 0) end)\n"
    "return c.k7() == 7 and 'ok' or 'wrong'",
    /* strings and long natives */
    "local s = ('abc'):rep(3000) local n = 0 for x in s:gmatch('b') do n += 1 end\n"
    "local t = s:gsub('a', {a = 'z'}) local u = table.concat({t, s}, ',') local f =\n"
    "  ('%s|%q'):format(u, 'q')\n"
    "return n == 3000 and #f == 18005 and 'ok' or #f",
    /* upvalues that close in all ways */
    "local fs = {} for i = 1, 5 do local x = i pcall(function() fs[i] = function() x += 1\n"
    "  return x end\n"
    "  if i % 2 == 0 then error('e') end x += 10 end) end\n"
    "local co = coroutine.create(function() local y = 0 fs[6] = function() y += 1 return\n"
    "  y end coroutine.yield() end)\n"
    "coroutine.resume(co) fs[6]() coroutine.close(co)\n"
    "return fs[1]() == 12 and fs[2]() == 3 and fs[6]() == 2 and 'ok' or 'wrong'",
    /* code that makes code */
    "local f = loadstring('local a = ... return function(b) return a + b end')\n"
    "local g = setfenv(function() return x end, {x = 5})\n"
    "return f(1)(2) == 3 and g() == 5 and 'ok' or 'wrong'",
    /* natives that wait in continuations */
    "local co = coroutine.wrap(function() return callk(pcallk, callk, coroutine.yield, 1) end)\n"
    "co() local a = co('r') local ok = pcallk(error, 'x') local b =\n"
    "  pcallk(coroutine.wrap(callk), pcall, error)\n"
    "return a == 'r' and ok == 'x' and b == false and 'ok' or tostring(b)",
};
enum { PROGRAMS = sizeof(programs) / sizeof(programs[0]) };
static int samples = 100; /* places tried per program */

enum { DO_NOTHING, DO_KILL, DO_RAISE, DO_COLLECT };
static struct {
    int action;
    int left; /* polls until it happens */
    int polls;
    bool killed;
    bool ran_after_kill;
} plan;

static void at_poll(lua_State *L)
{
    plan.polls++;
    plan.ran_after_kill |= plan.killed;
    luau_preempt(L); /* asks for the next poll */
    if (--plan.left != 0)
        return;
    switch (plan.action) {
    case DO_KILL:
        plan.killed = true;
        luau_kill(L, LUAU_KILL_HOST);
        break;
    case DO_RAISE:
        lua_rawcheckstack(L, 1);
        lua_pushliteral(L, "raised at a poll");
        lua_error(L);
    case DO_COLLECT: lua_gc(L, LUA_GCCOLLECT, 0); break;
    }
}

static int after_call(lua_State *L, int status)
{
    (void)status;
    return lua_gettop(L);
}

static int callk(lua_State *L)
{
    return luau_callk(L, lua_gettop(L) - 1, LUA_MULTRET);
}

static int pcallk(lua_State *L)
{
    return luau_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET);
}

static lua_State *new_vm(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_pushcclosurek(L, callk, "callk", 0, after_call);
    lua_setglobal(L, "callk");
    lua_pushcclosurek(L, pcallk, "pcallk", 0, after_call);
    lua_setglobal(L, "pcallk");
    return L;
}

static void expect_sound(lua_State *L, const char *program)
{
    const char *problem = luau_checkheap(L);
    if (problem)
        fail_msg("%s\nafter %d polls: %s", program, plan.polls, problem);
    lua_callbacks(L)->interrupt = NULL;
    lua_settop(L, 0);
    vm_must(L, "assert(select(2, xpcall(error, function(m) return m .. 'h' end, 'm')) == 'mh')\n"
               "assert(coroutine.wrap(function() return coroutine.yield() end)() == nil)");
}

/* All of the depths is there again. */
static void expect_depth(lua_State *L)
{
    if (samples < 100) /* collections at every call would take too long */
        return;
    vm_must(L, "local d = 0 local function f() d += 1 f() end\n"
               "assert(select(2, pcall(f)) == 't:1: stack overflow' and d > 19900)\n"
               "d = 0 local t = setmetatable({}, {}) getmetatable(t).__index = function()\n"
               "  d += 1 return t.x end\n"
               "assert(not pcall(function() return t.x end) and d > 190)");
}

/* Runs the program on a thread of its own with the action at the k-th poll; how many there were. */
static int run_with(lua_State *L, const char *program, int action, int k)
{
    memset(&plan, 0, sizeof(plan));
    plan.action = action;
    plan.left = k;
    lua_State *co = lua_newthread(L);
    vm_load(co, program);
    lua_callbacks(L)->interrupt = at_poll;
    luau_preempt(L);
    int status = lua_resume(co, L, 0);
    int polls = plan.polls;
    bool happened = plan.left <= 0;
    if (action == DO_KILL && happened) {
        if (status != LUA_KILLED && plan.ran_after_kill)
            fail_msg("%s\nsurvives (killed at poll %d)", program, k);
        assert_false(plan.ran_after_kill);
        luau_clearkill(L);
    } else if (status == LUA_OK) {
        const char *text = lua_tostring(co, -1);
        bool ok = text && strcmp(text, "ok") == 0;
        if (!ok && action != DO_RAISE) /* an error changes what a program does, if it catches it */
            fail_msg("%s\ngives %s (action %d at poll %d)", program, text, action, k);
    } else if (action != DO_RAISE) {
        fail_msg("%s\nfails: %s (action %d at poll %d)", program, lua_tostring(co, -1), action, k);
    }
    expect_sound(L, program);
    return polls;
}

static void act_at_every_poll(void **state, int action)
{
    for (int i = 0; i < PROGRAMS; i++) {
        lua_State *L = new_vm(state);
        int polls = run_with(L, programs[i], DO_NOTHING, 0);
        assert_true(polls > 0);
        int step = polls / samples + 1;
        for (int k = 1; k <= polls; k += step)
            run_with(L, programs[i], action, k);
        expect_depth(L);
        vm_close(L);
    }
}

static void test_kills(void **state)
{
    act_at_every_poll(state, DO_KILL);
}

static void test_errors(void **state)
{
    act_at_every_poll(state, DO_RAISE);
}

static void test_collections(void **state)
{
    act_at_every_poll(state, DO_COLLECT);
}

/* ---- allocations that fail (test builds) ----------------------------------------------------- */

static void load(lua_State *L, void *program)
{
    vm_load(L, program);
}

/* Without a quota the error `not enough memory`, which pcalls in the program may catch; with one,
 * the end of the VM's run. */
static void fail_allocations(void **state, size_t quota)
{
    for (int i = 0; i < PROGRAMS; i++) {
        lua_State *L = new_vm(state);
        luau_setquota(L, quota);
        uint64_t made = 1; /* by the first run, in which none fails */
        for (uint64_t k = 0; k <= made; k += made / (uint64_t)samples + 1) {
            lua_settop(L, 0);
            lua_State *co = lua_newthread(L);
            assert_int_equal(luau_protect(co, load, (void *)(uintptr_t)programs[i]), LUA_OK);
            uint64_t before = luau_failalloc(L, k);
            int status = lua_resume(co, L, 0);
            uint64_t after = luau_failalloc(L, 0);
            made = k == 0 ? after - before : made;
            if (status == LUA_KILLED) {
                assert_true(quota && luau_killreason(L) == LUAU_KILL_MEMORY);
                luau_clearkill(L);
            }
            memset(&plan, 0, sizeof(plan));
            expect_sound(L, programs[i]);
        }
        expect_depth(L);
        vm_close(L);
    }
}

static void test_failures(void **state)
{
    fail_allocations(state, 0);
    fail_allocations(state, 64 << 20);
}

/* ---- parks ----------------------------------------------------------------------------------- */

static int status;
static char text[64];

static void work(lua_State *L, void *program)
{
    lua_State *co = lua_newthread(L);
    vm_load(co, program);
    status = lua_resume(co, L, 0);
    snprintf(text, sizeof(text), "%s",
             lua_gettop(co) && lua_type(co, -1) == LUA_TSTRING ? lua_tostring(co, -1) : "?");
}

/* Parks at each poll; at the k-th one the VM is killed (and goes on), or abandoned. */
static int run_parking(void **state, luau_Fibers *pool, const char *program, int k, bool kill)
{
    lua_State *L = new_vm(state);
    int parks = 0;
    luau_preempt(L);
    int result = luau_run(pool, L, work, (void *)(uintptr_t)program);
    while (result == LUAU_PARKED) {
        parks++;
        if (parks == k && !kill) {
            luau_abandon(L);
            lua_close(L);
            return parks;
        }
        if (parks == k)
            luau_kill(L, LUAU_KILL_HOST);
        luau_preempt(L);
        result = luau_continue(L);
    }
    if (k == 0)
        assert_string_equal(text, "ok");
    else
        assert_int_equal(status, LUA_KILLED);
    vm_close(L);
    return parks;
}

static void test_parks(void **state)
{
    luau_Fibers *pool = luau_fibers_new(2);
    for (int i = 0; i < PROGRAMS; i++) {
        int parks = run_parking(state, pool, programs[i], 0, false);
        assert_true(parks > 0);
        int step = parks / samples + 1;
        for (int k = 1; k <= parks; k += step) {
            run_parking(state, pool, programs[i], k, true);
            run_parking(state, pool, programs[i], k, false);
        }
    }
    luau_fibers_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kills),       cmocka_unit_test(test_errors),
        cmocka_unit_test(test_collections), cmocka_unit_test(test_failures),
        cmocka_unit_test(test_parks),
    };
    const struct CMUnitTest stressed[] = {
        cmocka_unit_test(test_kills),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_parks),
    };
    int failed = cmocka_run_group_tests(tests, vm_make_image, vm_drop_image);
    samples = 5;
    return failed + cmocka_run_group_tests(stressed, vm_make_image_stressed, vm_drop_image);
}
