/* test_escape.c: a panic anywhere inside luau_run: the hook escapes from the fiber, the VM is
 * discarded, and nothing else of the thread notices. Leaks are what AddressSanitizer looks for. */
#include <stdbool.h>

#include "base/base.h"
#include "vm_support.h"

static luau_Fibers *pool;
static int panics;

static void hook(const char *file, int line, const char *message)
{
    (void)file, (void)line, (void)message;
    panics++;
    luau_escape(pool);
}

static int script_panic(lua_State *L)
{
    (void)L;
    BASE_PANIC("called by the script");
}

static int script_preempt(lua_State *L)
{
    luau_preempt(L);
    return 0;
}

static int script_panicpoll(lua_State *L)
{
    luau_testpanic(L, 0);
    return 0;
}

static int script_panicgc(lua_State *L)
{
    luau_testpanic(L, 1);
    return 0;
}

static void destructor(void *userdata)
{
    (void)userdata;
    fail_msg("a destructor ran in a VM that is discarded");
}

static int script_hold(lua_State *L)
{
    lua_newuserdatadtor(L, 64, destructor);
    return 1;
}

/* {name, source}: each panics in the place that it is named after. */
static const char *const places[][2] = {
    {"native", "panic()"},
    {"native in wrappers",
     "local t = setmetatable({}, {__index = function() return coroutine.wrap(function()\n"
     "  pcall(panic) end)() end})\n"
     "pcall(function() return t.x end)"},
    {"loop", "panicpoll() while true do end"},
    {"pcall", "pcall(function() panicpoll() while true do end end)"},
    {"xpcall handler", "xpcall(error, function() panicpoll() while true do end end)"},
    {"coroutines",
     "coroutine.wrap(function() coroutine.wrap(function() panicpoll() while true do end\n"
     "  end)() end)()"},
    {"sort comparator", "table.sort({3, 2, 1}, function() panicpoll() while true do end end)"},
    {"sort", "local t = {} for i = 1, 1e5 do t[i] = -i end panicpoll() table.sort(t)"},
    {"gsub callback", "('xyz'):gsub('.', function() panicpoll() while true do end end)"},
    {"string buffer",
     "('x'):rep(1e5):gsub('.', function(x) panicpoll() for i = 1, 2 do end return x .. x end)"},
    {"long native", "panicpoll() local s = ('x'):rep(1e6):gsub('x', 'y')"},
    {"metamethod",
     "local t = setmetatable({}, {__concat = function() panicpoll() while true do end end})\n"
     "local x = t .. 1"},
    {"collector", "local t = {} for i = 1, 5000 do t[i] = {i} end panicgc()\n"
                  "while true do t[#t + 1] = {} end"},
    {"full collection",
     "local t = {} for i = 1, 5000 do t[i] = {i} end panicgc() collectgarbage()"},
    {"collector in a coroutine in a sort",
     "table.sort({3, 2, 1}, coroutine.wrap(function() panicgc() local t = {}\n"
     "while true do t[#t + 1] = {} end end))"},
    {"compiler",
     "panicpoll() loadstring(('local x = function() return \"text\" .. 1.5 end '):rep(3000))"},
    {"compiler in a comparator",
     "table.sort({2, 1}, function() panicpoll()\n"
     "  loadstring('local x = { ' .. ('\"abcdefgh\", {1}, '):rep(30000) .. '}') end)"},
    {"after a compiler",
     "local f = loadstring('panicpoll() while true do local x = \"text\" end') f()"},
    {"what destructors hold", "local u = hold() panicpoll() while true do end"},
};
enum { PLACES = sizeof(places) / sizeof(places[0]) };

static lua_State *new_vm(void **state)
{
    lua_State *L = vm_new(state, 16 << 20);
    lua_pushcfunction(L, script_panic, "panic");
    lua_setglobal(L, "panic");
    lua_pushcfunction(L, script_preempt, "preempt");
    lua_setglobal(L, "preempt");
    lua_pushcfunction(L, script_panicpoll, "panicpoll");
    lua_setglobal(L, "panicpoll");
    lua_pushcfunction(L, script_panicgc, "panicgc");
    lua_setglobal(L, "panicgc");
    lua_pushcfunction(L, script_hold, "hold");
    lua_setglobal(L, "hold");
    return L;
}

typedef struct Run {
    const char *source;
    int status;
} Run;

static void work(lua_State *L, void *arg)
{
    Run *run = arg;
    lua_State *co = lua_newthread(L);
    vm_load(co, run->source);
    run->status = lua_resume(co, L, 0);
    if (run->status != LUA_OK && run->status != LUA_KILLED)
        fail_msg("%s", lua_tostring(co, -1));
}

static int run_all(lua_State *L, Run *run)
{
    int result = luau_run(pool, L, work, run);
    while (result == LUAU_PARKED)
        result = luau_continue(L);
    return result;
}

/* The thread and its pool work as before. */
static void expect_works(void **state)
{
    lua_State *L = new_vm(state);
    Run run = {"local n = 0 for i = 1, 10 do preempt() n += i end assert(n == 55)\n"
               "assert(loadstring('return 1')() == 1)",
               -1};
    assert_int_equal(run_all(L, &run), LUAU_DONE);
    assert_int_equal(run.status, LUA_OK);
    vm_close(L);
}

static void test_panics(void **state)
{
    for (int i = 0; i < PLACES; i++) {
        lua_State *L = new_vm(state);
        Run run = {places[i][1], -1};
        panics = 0;
        int result = run_all(L, &run);
        if (result != LUAU_ESCAPED || panics != 1)
            fail_msg("%s: result %d, %d panics", places[i][0], result, panics);
        assert_int_equal(run.status, -1);
        assert_false(luau_isparked(L));
        luau_discard(L);
        expect_works(state);
    }
}

/* The same when the VM was parked before, and others are parked meanwhile. */
static void test_panics_after_parks(void **state)
{
    lua_State *other = new_vm(state);
    Run waiting = {"local n = 0\n"
                   "table.sort({3, 2, 1}, function(a, b) preempt() n += 1 return a < b end)\n"
                   "assert(n >= 2)",
                   -1};
    assert_int_equal(luau_run(pool, other, work, &waiting), LUAU_PARKED);
    for (int i = 0; i < PLACES; i++) {
        char source[1024];
        snprintf(source, sizeof(source), "for i = 1, 3 do preempt() end %s", places[i][1]);
        lua_State *L = new_vm(state);
        Run run = {source, -1};
        assert_int_equal(luau_run(pool, L, work, &run), LUAU_PARKED);
        int result = LUAU_PARKED;
        while (result == LUAU_PARKED)
            result = luau_continue(L);
        assert_int_equal(result, LUAU_ESCAPED);
        luau_discard(L);
    }
    int result = LUAU_PARKED;
    while (result == LUAU_PARKED)
        result = luau_continue(other);
    assert_int_equal(result, LUAU_DONE);
    assert_int_equal(waiting.status, LUA_OK);
    vm_close(other);
}

/* A VM that is discarded while it is parked runs nothing more of what waits. */
static void test_discards_parked(void **state)
{
    static const char *const sources[] = {
        "preempt() while true do end",
        "table.sort({3, 2, 1}, function(a, b) preempt() return a < b end)",
        "coroutine.wrap(function() preempt() while true do end end)()",
        "preempt() loadstring('local x = { ' .. ('\"abcdefgh\", {1}, '):rep(30000) .. '}')",
        "local u = hold() preempt() while true do end",
        "preempt() local s = ('x'):rep(3e5):gsub('x', 'y')",
    };
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        for (int parks = 1; parks <= 4; parks++) {
            lua_State *L = new_vm(state);
            Run run = {sources[i], -1};
            int result = luau_run(pool, L, work, &run);
            for (int n = 1; n < parks && result == LUAU_PARKED; n++) {
                luau_preempt(L);
                result = luau_continue(L);
            }
            assert_int_equal(result, parks <= 2 ? LUAU_PARKED : result);
            luau_discard(L);
        }
    }
    expect_works(state);
}

static int script_run_other(lua_State *L)
{
    lua_State *other = lua_tolightuserdata(L, 1);
    Run run = {lua_tostring(L, 2), -1};
    lua_pushinteger(L, run_all(other, &run));
    return 1;
}

/* A fiber that runs another VM on a fiber of its own: only the inner one is left. */
static void test_fiber_in_fiber(void **state)
{
    lua_State *L = new_vm(state), *other = new_vm(state);
    lua_pushcfunction(L, script_run_other, "run");
    lua_setglobal(L, "run");
    lua_pushlightuserdata(L, other);
    lua_setglobal(L, "other");
    Run run = {"assert(run(other, 'while true do panicpoll() end') == 3)\n"
               "assert(loadstring('return 1')() == 1) preempt() for i = 1, 5 do end",
               -1};
    assert_int_equal(run_all(L, &run), LUAU_DONE);
    assert_int_equal(run.status, LUA_OK);
    luau_discard(other);
    Run last = {"panic()", -1};
    assert_int_equal(run_all(L, &last), LUAU_ESCAPED);
    luau_discard(L);
}

static void test_nothing_to_escape_from(void **state)
{
    luau_escape(pool); /* comes back: this thread is on no fiber */
    luau_Fibers *foreign = luau_fibers_new(1);
    luau_escape(foreign);
    luau_fibers_free(foreign);
    lua_State *L = new_vm(state);
    vm_must(L, "local t = {} for i = 1, 1000 do t[i] = tostring(i) end");
    luau_discard(L);
}

/* Destructors that did not run are the host's loss; all of the VM's own memory is back. */
static void test_keeps_nothing(void **state)
{
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    luau_Module *module = luau_compile("return 'a string of the module'", 31, "=m", &options, NULL);
    lua_State *L = vm_new(state, 0);
    luau_load(L, module, 1);
    lua_call(L, 0, 1);
    luau_discard(L);
    assert_true(luau_module_bytes(module) > 0);
    luau_module_release(module);
}

static void test_cputime(void **state)
{
    lua_State *L = new_vm(state);
    Run run = {"for i = 1, 100 do preempt() end", -1};
    uint64_t last = luau_cputime(L);
    int result = luau_run(pool, L, work, &run);
    while (result == LUAU_PARKED) {
        assert_true(luau_cputime(L) > last);
        last = luau_cputime(L);
        assert_int_equal(last, luau_cputime(L)); /* at rest nothing is counted */
        result = luau_continue(L);
    }
    luau_Account account;
    luau_account(L, &account);
    assert_int_equal(account.cpu_ns, luau_cputime(L));
    vm_close(L);
}

static int set_up(void **state)
{
    base_set_panic_hook(hook);
    pool = luau_fibers_new(2);
    return pool ? vm_make_image(state) : -1;
}

static int tear_down(void **state)
{
    base_set_panic_hook(NULL);
    luau_fibers_free(pool);
    return vm_drop_image(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_panics),          cmocka_unit_test(test_panics_after_parks),
        cmocka_unit_test(test_discards_parked), cmocka_unit_test(test_fiber_in_fiber),
        cmocka_unit_test(test_keeps_nothing),   cmocka_unit_test(test_nothing_to_escape_from),
        cmocka_unit_test(test_cputime),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
