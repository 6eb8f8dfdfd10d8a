/* test_preempt.c: parking and going on, kills, deadlines, limits of processor time: fiber.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "luau/luau.h"

static luau_Image *image;
static luau_Fibers *pool;

typedef struct Run {
    luau_Module *module;
    int status;
    char text[256]; /* the first result, or the error */
} Run;

static void work(lua_State *L, void *arg)
{
    Run *run = arg;
    lua_State *co = lua_newthread(L);
    luau_load(co, run->module, 0);
    run->status = lua_resume(co, L, 0);
    if (run->status != LUA_KILLED)
        snprintf(run->text, sizeof(run->text), "%s",
                 lua_gettop(co) > 0 && lua_tostring(co, -1) ? lua_tostring(co, -1) : "");
    lua_pop(L, run->status == LUA_KILLED ? 0 : 1);
}

static luau_Module *compile(const char *source)
{
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    options.image = image;
    luau_Diagnostic diagnostic;
    luau_Module *module = luau_compile(source, strlen(source), "=test", &options, &diagnostic);
    if (!module)
        fail_msg("line %d: %s", diagnostic.line, diagnostic.message);
    return module;
}

/* Asks its own VM to park at the next poll: a preemption at a place that the script chooses. */
static int script_preempt(lua_State *L)
{
    luau_preempt(L);
    return 0;
}

static lua_State *new_vm(void)
{
    luau_VmOptions options = {.image = image, .memory_max_bytes = 8 << 20};
    lua_State *L = luau_newvm(&options);
    assert_non_null(L);
    lua_pushcfunction(L, script_preempt, "preempt");
    lua_setglobal(L, "preempt");
    return L;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Each parks at least once in the place it is named after, and gives "ok". */
static const char *const places[][2] = {
    {"loop", "for i = 1, 3 do preempt() end return 'ok'"},
    {"while", "local i = 0 while i < 5 do i += 1 preempt() end return 'ok'"},
    {"call", "local function f() return 'ok' end preempt() return f()"},
    {"sort comparator",
     "local t = {5, 3, 9, 1} table.sort(t, function(a, b) preempt() return a < b end) "
     "return table.concat(t, ',') == '1,3,5,9' and 'ok' or 'wrong'"},
    {"gsub callback", "local s = ('abc'):gsub('.', function(c) preempt() return c .. c end) "
                      "return s == 'aabbcc' and 'ok' or s"},
    {"__index",
     "local t = setmetatable({}, {__index = function(_, k) preempt() for i = 1, 2 do end return k end}) "
     "return t.ok"},
    {"__lt", "local m = {__lt = function() preempt() for i = 1, 2 do end return true end} "
             "return setmetatable({}, m) < setmetatable({}, m) and 'ok' or 'wrong'"},
    {"__concat",
     "local t = setmetatable({}, {__concat = function(a, b) preempt() for i = 1, 2 do end return 'ok' end}) "
     "return t .. 'x'"},
    {"__tostring",
     "local t = setmetatable({}, {__tostring = function() preempt() for i = 1, 2 do end return 'ok' end}) "
     "return tostring(t)"},
    {"iterator",
     "local n = 0 for i in function(_, i) preempt() i = (i or 0) + 1 if i < 4 then return i end end do n += i end "
     "return n == 6 and 'ok' or tostring(n)"},
    {"coroutine",
     "local co = coroutine.wrap(function() preempt() for i = 1, 3 do coroutine.yield(i) preempt() end end) "
     "return co() + co() + co() == 6 and 'ok' or 'wrong'"},
    {"pcall", "local ok, e = pcall(function() preempt() for i = 1, 2 do end error('boom', 0) end) "
              "return not ok and e == 'boom' and 'ok' or 'wrong'"},
    {"xpcall handler",
     "local _, e = xpcall(error, function() preempt() for i = 1, 2 do end return 'ok' end, 'x') return e"},
    {"natives in natives",
     "local t = {3, 1, 2} table.sort(t, function(a, b) "
     "local r = (a .. ' ' .. b):gsub('%d', function(d) preempt() return d end) "
     "local x, y = r:match('(%d) (%d)') return tonumber(x) < tonumber(y) end) "
     "return table.concat(t) == '123' and 'ok' or table.concat(t)"},
    {"long native",
     "preempt() local s = ('x'):rep(300000):gsub('x', 'y') return #s == 300000 and 'ok'"},
    {"loadstring", "preempt() return loadstring(('local x = 1 '):rep(150) .. ' return \"ok\"')()"},
};

static void test_parks_everywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        Run run = {compile(places[i][1]), -1, ""};
        lua_State *L = new_vm();
        int parked = 0;
        int result = luau_run(pool, L, work, &run);
        while (result == LUAU_PARKED) {
            parked++;
            assert_true(luau_isparked(L));
            assert_null(luau_checkheap(L));
            result = luau_continue(L);
        }
        assert_int_equal(result, LUAU_DONE);
        assert_false(luau_isparked(L));
        if (run.status != LUA_OK || strcmp(run.text, "ok") != 0 || parked == 0)
            fail_msg("%s: status %d, result %s, parked %d times", places[i][0], run.status,
                     run.text, parked);
        luau_Account account;
        luau_account(L, &account);
        assert_int_equal(account.preemptions, parked);
        lua_close(L);
        luau_module_release(run.module);
    }
}

/* Many VMs parked at once on one thread, each in the middle of natives, go on in any order. */
static void test_many_parked(void **state)
{
    (void)state;
    enum { COUNT = 50 };
    luau_Module *module = compile(places[13][1]);
    lua_State *vms[COUNT];
    Run runs[COUNT];
    int left = 0;
    for (int i = 0; i < COUNT; i++) {
        vms[i] = new_vm();
        runs[i] = (Run){module, -1, ""};
        left += luau_run(pool, vms[i], work, &runs[i]) == LUAU_PARKED;
    }
    assert_int_equal(left, COUNT);
    for (unsigned turn = 7; left > 0; turn = turn * 1103515245u + 12345u) {
        lua_State *L = vms[turn / 65536 % COUNT];
        if (luau_isparked(L))
            left -= luau_continue(L) == LUAU_DONE;
    }
    for (int i = 0; i < COUNT; i++) {
        assert_string_equal(runs[i].text, "ok");
        lua_close(vms[i]);
    }
    luau_module_release(module);
}

/* A parked VM that is killed never runs tenant code again, wherever it stood. */
static void test_killed_while_parked(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        char source[1024];
        snprintf(source, sizeof(source),
                 "pcall(function() while true do %s end end) return 'ran on'",
                 "pcall(function() preempt() for i = 1, 2 do end end)");
        Run run = {compile(source), -1, ""};
        lua_State *L = new_vm();
        assert_int_equal(luau_run(pool, L, work, &run), LUAU_PARKED);
        luau_kill(L, LUAU_KILL_HOST);
        assert_int_equal(luau_continue(L), LUAU_DONE);
        assert_int_equal(run.status, LUA_KILLED);
        assert_int_equal(luau_killreason(L), LUAU_KILL_HOST);
        assert_string_equal(luau_killposition(L), "test:1");
        assert_null(luau_checkheap(L));
        lua_close(L);
        luau_module_release(run.module);
    }
}

/* After a kill and luau_clearkill the VM works as before: what the killed run held is garbage. */
static void test_usable_after_kill(void **state)
{
    (void)state;
    Run endless = {compile("x = (x or 0) + 1 local t = {} while true do t[#t % 100 + 1] = {} end"),
                   -1, ""};
    Run small = {compile("return x == 1 and 'ok' or tostring(x)"), -1, ""};
    lua_State *L = new_vm();
    luau_setdeadline(L, now_ns() + 5000000);
    luau_setslice(L, 0);
    for (int i = 0; luau_run(pool, L, work, &endless) == LUAU_PARKED; i++)
        luau_continue(L);
    assert_int_equal(endless.status, LUA_KILLED);
    assert_int_equal(luau_killreason(L), LUAU_KILL_DEADLINE);
    luau_clearkill(L);
    luau_setdeadline(L, 0);
    assert_int_equal(luau_run(pool, L, work, &small), LUAU_DONE);
    assert_int_equal(small.status, LUA_OK);
    assert_string_equal(small.text, "ok");
    assert_null(luau_checkheap(L));
    lua_close(L);
    luau_module_release(endless.module);
    luau_module_release(small.module);
}

static void test_cpu_limit(void **state)
{
    (void)state;
    Run run = {compile("while true do end"), -1, ""};
    lua_State *L = new_vm();
    luau_setcpulimit(L, 3000000);
    luau_setslice(L, 1000000);
    int result = luau_run(pool, L, work, &run);
    while (result == LUAU_PARKED) {
        struct timespec pause = {0, 2000000};
        nanosleep(&pause, NULL); /* time at rest is not the tenant's */
        result = luau_continue(L);
    }
    assert_int_equal(run.status, LUA_KILLED);
    assert_int_equal(luau_killreason(L), LUAU_KILL_CPU);
    luau_Account account;
    luau_account(L, &account);
    assert_true(account.cpu_ns >= 3000000);
    lua_close(L);
    luau_module_release(run.module);
}

/* Two guilds share one module: neither sees the other's globals, tables or upvalues. */
static void test_shared_module(void **state)
{
    (void)state;
    luau_Module *module = compile(
        "count = (count or 0) + 1 local t = {} t.x = count cache = cache or {} "
        "cache[#cache + 1] = function() return t.x end "
        "local sum = 0 for _, f in cache do sum += f() preempt() end return sum");
    lua_State *a = new_vm(), *b = new_vm();
    for (int i = 1; i <= 4; i++) {
        Run ra = {module, -1, ""}, rb = {module, -1, ""};
        int sa = luau_run(pool, a, work, &ra);
        int sb = i <= 2 ? luau_run(pool, b, work, &rb) : LUAU_DONE;
        while (sa == LUAU_PARKED || sb == LUAU_PARKED) {
            if (sa == LUAU_PARKED)
                sa = luau_continue(a);
            if (sb == LUAU_PARKED)
                sb = luau_continue(b);
        }
        char expected[16];
        snprintf(expected, sizeof(expected), "%d", i * (i + 1) / 2);
        assert_string_equal(ra.text, expected);
        if (i <= 2)
            assert_string_equal(rb.text, expected);
    }
    lua_close(a);
    lua_close(b);
    luau_module_release(module);
}

static void *run_elsewhere(void *arg)
{
    lua_State *L = arg;
    luau_Fibers *mine = luau_fibers_new(1);
    Run run = {compile("n = (n or 0) + 1 return n"), -1, ""};
    while (luau_run(mine, L, work, &run) == LUAU_PARKED)
        continue;
    luau_module_release(run.module);
    luau_fibers_free(mine);
    return NULL;
}

/* A VM at rest moves between OS threads. */
static void test_moves_between_threads(void **state)
{
    (void)state;
    lua_State *L = new_vm();
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, run_elsewhere, L), 0);
        pthread_join(thread, NULL);
    }
    lua_getglobal(L, "n");
    assert_int_equal(lua_tointeger(L, -1), 4);
    lua_close(L);
}

static void *killer(void *arg)
{
    struct timespec pause = {0, 3000000};
    nanosleep(&pause, NULL);
    luau_kill(arg, LUAU_KILL_HOST);
    return NULL;
}

static void test_kill_from_another_thread(void **state)
{
    (void)state;
    Run run = {compile("while true do pcall(string.rep, 'x', 1000) end"), -1, ""};
    lua_State *L = new_vm();
    luau_setslice(L, 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, killer, L), 0);
    assert_int_equal(luau_run(pool, L, work, &run), LUAU_DONE);
    pthread_join(thread, NULL);
    assert_int_equal(run.status, LUA_KILLED);
    lua_close(L);
    luau_module_release(run.module);
}

static luau_Ticker *ticker;

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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parks_everywhere),
        cmocka_unit_test(test_many_parked),
        cmocka_unit_test(test_killed_while_parked),
        cmocka_unit_test(test_usable_after_kill),
        cmocka_unit_test(test_cpu_limit),
        cmocka_unit_test(test_shared_module),
        cmocka_unit_test(test_moves_between_threads),
        cmocka_unit_test(test_kill_from_another_thread),
    };
    return cmocka_run_group_tests_name("preemption", tests, set_up, tear_down);
}
