/* test_calls.c: calls, errors and threads where natives, hosts and the interpreter meet: coro.c,
 * call.c, and hosts without fibers (fiber.c). */
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "vm_support.h"

/* ---- raising inside a suspended thread ------------------------------------------------------- */

static lua_State *start(lua_State *L, const char *source)
{
    lua_State *co = lua_newthread(L);
    vm_load(co, source);
    assert_int_equal(lua_resume(co, L, 0), LUA_YIELD);
    lua_settop(co, 0);
    return co;
}

static void expect_top(lua_State *L, const char *text)
{
    assert_true(lua_gettop(L) > 0);
    const char *found = lua_tostring(L, -1);
    assert_non_null(found);
    assert_string_equal(found, text);
}

static void test_resumeerror(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_State *co = start(L, "local ok, e = pcall(coroutine.yield) return 'caught ' .. e");
    lua_pushliteral(co, "thrown");
    assert_int_equal(lua_resumeerror(co, L), LUA_OK);
    expect_top(co, "caught thrown");

    co = start(L, "local _, e = xpcall(function() coroutine.yield() end, function(m)\n"
                  "  return m .. ' at ' .. debug.info(2, 'sl') .. select(2, debug.info(2, 'sl'))\n"
                  "end) coroutine.yield(e) return 'end'");
    lua_pushliteral(co, "thrown");
    assert_int_equal(lua_resumeerror(co, L), LUA_YIELD);
    expect_top(co, "thrown at [C]-1");
    lua_settop(co, 0);
    assert_int_equal(lua_resume(co, L, 0), LUA_OK);
    expect_top(co, "end");

    co = start(L, "local x = 1 keep = function() return x end x = 5 coroutine.yield() x = 6");
    lua_pushliteral(co, "nobody cares");
    assert_int_equal(lua_resumeerror(co, L), LUA_ERRRUN);
    expect_top(co, "nobody cares");
    assert_int_equal(lua_status(co), LUA_ERRRUN);
    assert_int_equal(lua_costatus(L, co), LUA_COERR);
    vm_must(L, "assert(keep() == 5)");
    lua_pushliteral(co, "again");
    assert_int_equal(lua_resumeerror(co, L), LUA_ERRRUN);
    expect_top(co, "cannot resume non-suspended coroutine");

    co = lua_newthread(L); /* one that has not begun */
    vm_load(co, "return 1");
    lua_pushliteral(co, "early");
    assert_int_equal(lua_resumeerror(co, L), LUA_ERRRUN);
    expect_top(co, "early");
    vm_close(L);
}

/* ---- breaks ---------------------------------------------------------------------------------- */

static int do_break(lua_State *L)
{
    return lua_break(L);
}

static void test_break(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_pushcfunction(L, do_break, "brk");
    lua_setglobal(L, "brk");
    lua_State *co = lua_newthread(L);
    vm_load(co,
            "local log = ''\n"
            "local function inner() for i = 1, 2 do log ..= i brk() coroutine.yield(i) end end\n"
            "local mid = coroutine.create(function()\n"
            "  for v in coroutine.wrap(inner) do log ..= 'v' .. v coroutine.yield() end\n"
            "  return 'm' end)\n"
            "watched = mid\n"
            "while true do local ok, r = coroutine.resume(mid)\n"
            "  if r == 'm' then break end log ..= coroutine.status(mid):sub(1, 1) end\n"
            "brk() return log");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(lua_resume(co, L, 0), LUA_BREAK);
        assert_int_equal(lua_status(co), LUA_BREAK);
        assert_int_equal(lua_costatus(L, co), LUA_CONOR);
        if (i < 2)
            vm_must(L, "assert(coroutine.status(watched) == 'normal')\n"
                       "assert(select(2, coroutine.resume(watched)) == "
                       "'cannot resume normal coroutine')\n"
                       "assert(not pcall(coroutine.close, watched))\n");
        luau_checkheap(L);
    }
    assert_int_equal(lua_resume(co, L, 0), LUA_OK);
    expect_top(co, "1v1s2v2s");

    co = lua_newthread(L); /* an error injected into a break rises from the innermost thread */
    vm_load(co, "return coroutine.wrap(function() local ok, e = pcall(brk) return e .. '!' end)()");
    assert_int_equal(lua_resume(co, L, 0), LUA_BREAK);
    lua_pushliteral(co, "injected");
    assert_int_equal(lua_resumeerror(co, L), LUA_OK);
    expect_top(co, "injected!");

    co = lua_newthread(L); /* dropped while broken */
    vm_load(co, "inner = coroutine.create(brk) coroutine.resume(inner)");
    assert_int_equal(lua_resume(co, L, 0), LUA_BREAK);
    lua_resetthread(co);
    vm_load(co, "return coroutine.resume(inner)");
    assert_int_equal(lua_resume(co, L, 0), LUA_OK);
    expect_top(co, "cannot resume normal coroutine");

    vm_expect_error(L, "brk()", "attempt to break across metamethod/C-call boundary");
    co = lua_newthread(L);
    vm_load(co, "table.sort({2, 1}, function() coroutine.wrap(function() brk() end)() end)");
    assert_int_equal(lua_resume(co, L, 0), LUA_ERRRUN);
    expect_top(co, "t:1: attempt to break across metamethod/C-call boundary");
    vm_close(L);
}

/* ---- continuations --------------------------------------------------------------------------- */

static int identity(lua_State *L)
{
    return lua_gettop(L);
}

/* Keeps its arguments, pushes all that a native may push without asking. */
static int after_many(lua_State *L, int status)
{
    int n = lua_gettop(L);
    for (int i = 0; i < LUA_MINSTACK; i++)
        lua_pushinteger(L, i);
    lua_settop(L, 0);
    lua_pushinteger(L, n);
    lua_pushinteger(L, status);
    return 2;
}

static int call_many(lua_State *L)
{
    return luau_callk(L, lua_gettop(L) - 1, LUA_MULTRET);
}

static int pcall_many(lua_State *L)
{
    return luau_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET);
}

static int yield_many(lua_State *L)
{
    return lua_yield(L, 0);
}

static void add(lua_State *L, const char *name, lua_CFunction fn, lua_Continuation cont)
{
    lua_pushcclosurek(L, fn, name, 0, cont);
    lua_setglobal(L, name);
}

/* Calls a native 200000 times by luau_callk, from one continuation to the next. */
static int after_loop(lua_State *L, int status)
{
    (void)status;
    int left = lua_tointeger(L, 1);
    lua_settop(L, 1);
    if (left == 0) {
        lua_pushliteral(L, "done");
        return 1;
    }
    lua_pushinteger(L, left - 1);
    lua_replace(L, 1);
    lua_pushcfunction(L, identity, "identity");
    lua_pushinteger(L, left);
    return left % 2 ? luau_callk(L, 1, 1) : luau_pcallk(L, 1, 1);
}

static int loop_native(lua_State *L)
{
    return after_loop(L, LUA_OK);
}

/* down(n, f): f(n - 1, f) by luau_callk; from 0 the results come back through all of them. */
static int after_down(lua_State *L, int status)
{
    (void)status;
    return lua_gettop(L) - 2;
}

static int down(lua_State *L)
{
    int n = lua_tointeger(L, 1);
    lua_settop(L, 2);
    if (n == 0) {
        lua_pushliteral(L, "bottom");
        return 1;
    }
    lua_pushvalue(L, 2);
    lua_pushinteger(L, n - 1);
    lua_pushvalue(L, 2);
    return n % 2 ? luau_callk(L, 2, LUA_MULTRET) : luau_pcallk(L, 2, LUA_MULTRET);
}

static void test_continuations_do_not_nest(void **state)
{
    lua_State *L = vm_new(state, 0);
    add(L, "loop", loop_native, after_loop);
    add(L, "down", down, after_down);
    vm_must(L, "assert(loop(200000) == 'done')\n"
               "assert(coroutine.wrap(loop)(1000) == 'done')\n"
               "assert(down(19000, down) == 'bottom')\n"
               "assert(coroutine.wrap(down)(19000, down) == 'bottom')\n"
               "local ok, e = pcall(down, 30000, down) assert(ok and e == 'stack overflow')\n"
               "assert(down(10, pcall) == false)\n");
    vm_close(L);
}

static void test_continuation_room(void **state)
{
    lua_State *L = vm_new(state, 0);
    add(L, "callmany", call_many, after_many);
    add(L, "pcallmany", pcall_many, after_many);
    add(L, "yieldmany", yield_many, after_many);
    vm_must(L, "local t = table.create(7900, 1)\n"
               "for n = 1, 7900, 79 do\n"
               "  assert(callmany(table.unpack, t, 1, n) == n)\n"
               "  assert(pcallmany(table.unpack, t, 1, n) == n)\n"
               "  local co = coroutine.wrap(yieldmany) co()\n"
               "  assert(co(table.unpack(t, 1, n)) == n)\n"
               "  local co = coroutine.wrap(function() return callmany(coroutine.yield) end) co()\n"
               "  assert(co(table.unpack(t, 1, n)) == n)\n"
               "end\n"
               "assert(select('#', pcallmany(error)) == 2)\n");
    vm_close(L);
}

static void test_close_while_waiting(void **state)
{
    lua_State *L = vm_new(state, 0);
    add(L, "callmany", call_many, after_many);
    add(L, "pcallmany", pcall_many, after_many);
    vm_must(L,
            "for _, f in {pcall, callmany, pcallmany} do\n"
            "  local x = 0 local get\n"
            "  local co = coroutine.create(function() local y = 1 get = function() return y end\n"
            "    f(function() y = 2 coroutine.yield() y = 3 end) x = 1 end)\n"
            "  assert(coroutine.resume(co))\n"
            "  assert(coroutine.close(co) == true and get() == 2 and x == 0)\n"
            "  assert(coroutine.status(co) == 'dead')\n"
            "  assert(select(2, coroutine.resume(co)) == 'cannot resume dead coroutine')\n"
            "end\n");
    lua_State *co = lua_newthread(L); /* a reset thread is as new */
    for (int i = 0; i < 3; i++) {
        vm_load(co, "return pcall(callmany, coroutine.yield, 1)");
        assert_int_equal(lua_resume(co, L, 0), LUA_YIELD);
        lua_resetthread(co);
        assert_true(lua_isthreadreset(co));
    }
    vm_load(co, "return 'fine'");
    assert_int_equal(lua_resume(co, L, 0), LUA_OK);
    expect_top(co, "fine");
    vm_close(L);
}

/* ---- depth ----------------------------------------------------------------------------------- */

static int handler_with_pcall(lua_State *L)
{
    vm_load(L, "local function f() return 1 + f() end\n"
               "for i = 1, 300 do pcall(error) end local _, e = pcall(f) return e");
    lua_call(L, 0, 1);
    return 1;
}

static void test_depth_after_handlers(void **state)
{
    lua_State *L = vm_new(state, 0);
    const char *overflow = "local function f() return 1 + f() end local ok, e = pcall(f)\n"
                           "assert(e == 't:1: stack overflow', e)\n"
                           "local n = 0 local function g() n += 1 g() end pcall(g)\n"
                           "assert(n > 19900 and n < 20000, n)";
    vm_must(L, overflow);
    for (int i = 0; i < 3; i++) {
        lua_pushcfunction(L, handler_with_pcall, "handler");
        vm_load(L, "error('x')");
        assert_int_equal(lua_pcall(L, 0, 0, 1), LUA_ERRRUN);
        expect_top(L, "error in error handling"); /* a handler gets the reserve only once */
        lua_settop(L, 0);
        vm_must(L, overflow);
    }
    vm_must(L, "assert(select(2, xpcall(error, function() error('again') end)) ==\n"
               "  'error in error handling')");
    vm_must(L, overflow);
    vm_close(L);
}

/* Resumes a new thread that does the same: what only a native depth, not one of calls, ends. */
static int resume_down(lua_State *L)
{
    lua_State *co = lua_newthread(L);
    lua_pushcfunction(co, resume_down, "resumedown");
    volatile char padding[2000];
    padding[0] = 1;
    int status = lua_resume(co, L, 0);
    padding[1999] = padding[0];
    if (status != LUA_OK) {
        lua_xmove(co, L, 1);
        lua_error(L);
    }
    lua_pushinteger(L, lua_tointeger(co, -1) + 1);
    return 1;
}

static int protect_down(lua_State *L)
{
    lua_pushcfunction(L, protect_down, "protectdown");
    int status = lua_pcall(L, 0, 1, 0);
    if (status != LUA_OK)
        lua_error(L);
    return 1;
}

static void deep_work(lua_State *L, void *arg)
{
    (void)arg;
    lua_pushcfunction(L, resume_down, "resumedown");
    assert_int_equal(lua_pcall(L, 0, 1, 0), LUA_ERRRUN);
    expect_top(L, "C stack overflow");
    lua_settop(L, 0);
    lua_pushcfunction(L, protect_down, "protectdown");
    assert_int_equal(lua_pcall(L, 0, 1, 0), LUA_ERRRUN);
    expect_top(L, "C stack overflow");
    lua_settop(L, 0);
    vm_must(L, "assert(pcall(table.sort, {3, 2, 1}, function(a, b) return a < b end))");
}

static void test_native_depth(void **state)
{
    lua_State *L = vm_new(state, 0);
    luau_Fibers *pool = luau_fibers_new(1);
    assert_int_equal(luau_run(pool, L, deep_work, NULL), LUAU_DONE);
    deep_work(L, NULL);
    luau_fibers_free(pool);
    vm_close(L);
}

static void test_stack_slots(void **state)
{
    /* Arguments that double: the slots end before the calls do. */
    const char *source =
        "local function f(...) return f(1, ...) end\n"
        "local function g(n, ...) return g(n, ..., n, n, n, n, n, n, n, n, n, n) end\n"
        "local co = coroutine.create(f)\n"
        "local ok, e = coroutine.resume(co)\n"
        "assert(not ok and e == 't:1: stack overflow', e)\n"
        "assert(coroutine.close(co) == false)\n"
        "local ok, e = xpcall(f, function(m) return m .. '!' end)\n"
        "assert(not ok and e == 't:1: stack overflow!', e)\n";
    lua_State *L = vm_new(state, 0);
    vm_must(L, source);
    luau_shrink(L);
    luau_Account account;
    luau_account(L, &account);
    assert_true(account.reserved_bytes < 4 << 20);
    vm_close(L);

    for (size_t quota = 8 << 20; quota <= 64 << 20; quota *= 2) { /* stacks take a part of it */
        L = vm_new(state, quota);
        vm_must(L, source);
        vm_close(L);
    }

    L = vm_new(state, 1 << 20); /* no room for that: the VM is killed, and nothing is lost */
    vm_load(L, source);
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_KILLED);
    assert_int_equal(luau_killreason(L), LUAU_KILL_MEMORY);
    luau_clearkill(L);
    vm_must(L, "assert(#('x'):rep(1000) == 1000)");
    vm_close(L);

    L = vm_new(state, 6 << 20); /* plain recursion has room up to its limit */
    vm_must(L, "local function f() return 1 + f() end\n"
               "for i = 1, 5 do local ok, e = pcall(f) assert(e == 't:1: stack overflow', e) end\n"
               "for i = 1, 5 do assert(not coroutine.resume(coroutine.create(f))) end");
    vm_close(L);
}

static void test_pcall_chain(void **state)
{
    lua_State *L = vm_new(state, 0);
    vm_must(L, "local t = table.create(7990, pcall)\n"
               "assert(select('#', pcall(table.unpack(t))) == 7991)\n"
               "for i = 2, 7990, 2 do t[i] = xpcall end\n"
               "pcall(table.unpack(t))\n"
               "t = table.create(7990, coroutine.resume) pcall(table.unpack(t))\n");
    vm_close(L);
}

/* ---- kills ----------------------------------------------------------------------------------- */

static lua_State *entered[3]; /* threads that the natives below entered */

static int kill_me(lua_State *L)
{
    luau_kill(L, LUAU_KILL_HOST);
    return 0;
}

static int resume_inside(lua_State *L)
{
    lua_State *co = lua_newthread(L);
    entered[0] = co;
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    int status = lua_resume(co, L, 0);
    lua_pushinteger(L, status);
    return 1;
}

static int pcall_inside(lua_State *L)
{
    lua_State *co = lua_newthread(L);
    entered[1] = co;
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushinteger(L, lua_pcall(co, 0, 0, 0));
    return 1;
}

static void kill_through_all(lua_State *L)
{
    vm_load(
        L,
        "log = {}\n"
        "local function note(x) table.insert(log, x) end\n"
        "cos = {}\n"
        "local v = 1 get = function() return v end\n"
        "xpcall(function()\n"
        "  resumeinside(function() pcall(function()\n"
        "    cos[1] = coroutine.create(function()\n"
        "      local w = 2 getw = function() return w end\n"
        "      pcallinside(function()\n"
        "        cos[2] = coroutine.create(function() v = 5 w = 6 kill() while true do end end)\n"
        "        note(select(2, coroutine.resume(cos[2])))\n"
        "        note('after 2') end) note('after pcall') end)\n"
        "    note(coroutine.resume(cos[1])) end) note('after 1') end)\n"
        "end, function() note('handler') end) note('after xpcall')\n");
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_KILLED);
    assert_int_equal(lua_gettop(L), 1);
    lua_pop(L, 1);
}

static void test_kill_everywhere(void **state)
{
    lua_State *L = vm_new(state, 0);
    add(L, "kill", kill_me, NULL);
    add(L, "resumeinside", resume_inside, NULL);
    add(L, "pcallinside", pcall_inside, NULL);
    for (int i = 0; i < 3; i++) {
        kill_through_all(L);
        assert_int_equal(luau_killreason(L), LUAU_KILL_HOST);
        assert_string_equal(luau_killposition(L), "t:10");
        assert_null(luau_checkheap(L));
        luau_clearkill(L);
        assert_int_equal(lua_status(entered[0]), LUA_KILLED);
        assert_int_equal(lua_status(entered[1]), LUA_KILLED);
        lua_resetthread(entered[0]);
        lua_resetthread(entered[1]);
        vm_must(L, "assert(#log == 0 and get() == 5 and getw() == 6)\n"
                   "for _, co in cos do assert(coroutine.status(co) == 'dead')\n"
                   "  assert(select(2, coroutine.resume(co)) == 'cannot resume dead coroutine')\n"
                   "  local ok, e = coroutine.close(co) assert(ok == false and e == nil)\n"
                   "  assert(coroutine.close(co)) end\n"
                   "local d = 0 local function f() d += 1 f() end assert(not pcall(f))\n"
                   "assert(d > 19900) d = 0\n"
                   "local t = setmetatable({}, {}) getmetatable(t).__index = function()\n"
                   "  d += 1 return t.x end\n"
                   "assert(not pcall(function() return t.x end)) assert(d > 190, d)\n");
    }
    lua_State *co = lua_newthread(L); /* without a call of the host's around it */
    vm_load(co, "local x = 1 kept = function() return x end x = 2 kill() while true do end");
    assert_int_equal(lua_resume(co, NULL, 0), LUA_KILLED);
    assert_int_equal(lua_status(co), LUA_KILLED);
    luau_clearkill(L);
    vm_must(L, "assert(kept() == 2)");
    vm_close(L);
}

static void test_kill_reason(void **state)
{
    lua_State *L = vm_new(state, 0);
    luau_kill(L, 10);
    luau_kill(L, 5);
    vm_load(L, "while true do end");
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_KILLED);
    assert_int_equal(luau_killreason(L), 10);
    lua_settop(L, 0);
    luau_clearkill(L);
    luau_kill(L, 0);
    vm_load(L, "while true do end");
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_KILLED);
    assert_int_equal(luau_killreason(L), LUAU_KILL_HOST);
    vm_close(L);
}

/* ---- hosts without fibers -------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_of(lua_State *L)
{
    luau_Account account;
    luau_account(L, &account);
    return account.cpu_ns;
}

static void test_plain_account(void **state)
{
    lua_State *L = vm_new(state, 0);
    const char *burn = "local t = os.clock() while os.clock() - t < 0.01 do end";
    uint64_t before = cpu_of(L);
    vm_must(L, burn);
    uint64_t once = cpu_of(L) - before;
    assert_true(once >= 9000000 && once < 1000000000);
    lua_State *co = lua_newthread(L);
    vm_load(co, burn);
    before = cpu_of(L);
    assert_int_equal(lua_resume(co, NULL, 0), LUA_OK);
    assert_true(cpu_of(L) - before >= 9000000);
    luau_preempt(L); /* nothing can park; and no later run does for it */
    vm_must(L, "for i = 1, 3 do end");
    vm_close(L);
}

static void test_plain_limits(void **state)
{
    lua_State *L = vm_new(state, 0);
    luau_Fibers *pool = luau_fibers_new(0);
    luau_Ticker *ticker = luau_ticker_new(1000);
    luau_ticker_add(ticker, pool);
    luau_enter(pool, L);
    luau_setcpulimit(L, 20000000);
    assert_int_equal(vm_run(L, "while true do end"), LUA_KILLED);
    assert_int_equal(luau_killreason(L), LUAU_KILL_CPU);
    luau_clearkill(L);
    luau_setcpulimit(L, 0);
    luau_setdeadline(L, now_ns() + 20000000);
    assert_int_equal(vm_run(L, "table.sort({1, 2, 3}, function() while true do end end)"),
                     LUA_KILLED);
    assert_int_equal(luau_killreason(L), LUAU_KILL_DEADLINE);
    luau_clearkill(L);
    luau_setdeadline(L, 0);
    luau_setslice(L, 1000);
    vm_must(L, "local t = os.clock() while os.clock() - t < 0.01 do end");
    luau_leave(L);
    luau_ticker_remove(ticker, pool);
    luau_ticker_free(ticker);
    luau_fibers_free(pool);
    vm_close(L);
}

static void *kill_later(void *L)
{
    struct timespec t = {0, 20000000};
    nanosleep(&t, NULL);
    luau_kill(L, LUAU_KILL_HOST);
    return NULL;
}

static void test_plain_kill(void **state)
{
    lua_State *L = vm_new(state, 0);
    pthread_t thread;
    pthread_create(&thread, NULL, kill_later, L);
    assert_int_equal(vm_run(L, "while true do pcall(function() while true do end end) end"),
                     LUA_KILLED);
    pthread_join(thread, NULL);
    vm_close(L);
}

/* ---- misplaced and unprotected --------------------------------------------------------------- */

static int raise_elsewhere(lua_State *L)
{
    lua_State *co = lua_newthread(L);
    lua_pushliteral(co, "from another thread");
    lua_error(co);
    return 0;
}

static int call_elsewhere(lua_State *L)
{
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_call(co, 0, 1);
    lua_xmove(co, L, 1);
    return 1;
}

static void test_other_threads(void **state)
{
    lua_State *L = vm_new(state, 0);
    add(L, "raiseelsewhere", raise_elsewhere, NULL);
    add(L, "callelsewhere", call_elsewhere, NULL);
    vm_must(L,
            "for i = 1, 10 do\n"
            "local ok, e = pcall(raiseelsewhere) assert(e == 'from another thread')\n"
            "local _, e = xpcall(raiseelsewhere, function(m) return m .. '!' end)\n"
            "assert(e == 'from another thread!')\n"
            "assert(callelsewhere(function() return select(2, pcall(error, 'in')) end) == 'in')\n"
            "local ok, e = pcall(callelsewhere, function() error('out', 0) end)\n"
            "assert(e == 'out')\n"
            "local ok, e = pcall(callelsewhere, function() pcall(error) error('out', 0) end)\n"
            "assert(e == 'out')\n"
            "assert(coroutine.wrap(function() return callelsewhere(function()\n"
            "  return coroutine.wrap(function() return pcall(error) end)() end) end)() == false)\n"
            "end");
    vm_close(L);
}

static void test_unprotected(void **state)
{
    lua_State *L = vm_new(state, 0);
    vm_load(L, "local ok, e = pcall(error, 'x')\n"
               "local co = coroutine.wrap(function() coroutine.yield(1) error('y', 0) end)\n"
               "return e, co(), select(2, pcall(co))");
    lua_call(L, 0, 3);
    assert_string_equal(lua_tostring(L, 1), "x");
    assert_int_equal(lua_tointeger(L, 2), 1);
    assert_string_equal(lua_tostring(L, 3), "y");
    vm_close(L);
}

/* ---- abandoning ------------------------------------------------------------------------------ */

static int preempt(lua_State *L)
{
    luau_preempt(L);
    return 0;
}

static bool finished;

static void abandoned_work(lua_State *L, void *source)
{
    finished = false;
    vm_run(L, source);
    finished = true;
}

/* Parked in the middle of anything and dropped there: nothing is left behind (leak checkers). */
static void test_abandon(void **state)
{
    static const char *const places[] = {
        "preempt() while true do end",
        "table.sort({1, 2, 3}, function() preempt() for i = 1, 10 do end return true end)",
        "coroutine.wrap(function() pcall(function() preempt() while true do end end) end)()",
        "local s = ('local a = 1 a = a + 1 '):rep(20000) preempt() loadstring(s)",
        ("local t = table.create(300000) for i = 1, 300000 do t[i] = {} end "
         "preempt() for i = 1, 300000 do t[-i] = i end"),
        "local s = ('x'):rep(1000000) preempt() s:gsub('x', 'yy')",
        "local function f(...) preempt() return f(1, ...) end f()",
    };
    luau_Fibers *pool = luau_fibers_new(2);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        for (int stops = 1; stops < 4; stops++) {
            lua_State *L = vm_new(state, 0);
            lua_pushcfunction(L, preempt, "preempt");
            lua_setglobal(L, "preempt");
            int result = luau_run(pool, L, abandoned_work, (void *)(uintptr_t)places[i]);
            for (int n = 1; n < stops && result == LUAU_PARKED; n++) {
                luau_preempt(L);
                result = luau_continue(L);
            }
            if (result == LUAU_PARKED) {
                luau_abandon(L);
                assert_false(finished);
            }
            assert_false(luau_isparked(L));
            lua_close(L);
        }
    }
    luau_fibers_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resumeerror),
        cmocka_unit_test(test_break),
        cmocka_unit_test(test_continuations_do_not_nest),
        cmocka_unit_test(test_continuation_room),
        cmocka_unit_test(test_close_while_waiting),
        cmocka_unit_test(test_depth_after_handlers),
        cmocka_unit_test(test_native_depth),
        cmocka_unit_test(test_stack_slots),
        cmocka_unit_test(test_pcall_chain),
        cmocka_unit_test(test_kill_everywhere),
        cmocka_unit_test(test_kill_reason),
        cmocka_unit_test(test_plain_account),
        cmocka_unit_test(test_plain_limits),
        cmocka_unit_test(test_plain_kill),
        cmocka_unit_test(test_other_threads),
        cmocka_unit_test(test_unprotected),
        cmocka_unit_test(test_abandon),
    };
    return cmocka_run_group_tests(tests, vm_make_image, vm_drop_image);
}
