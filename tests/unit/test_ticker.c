/* test_ticker.c: the ticker sleeps while nothing runs and is there when something does; the account
 * of processor time, which looks at two clocks, never goes backwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "luau/luau.h"

enum { PERIOD_US = 500, SAMPLES = 20000 };

/* The greatest id among this process's threads: of the one that was started last. */
static int newest_thread(void)
{
    int newest = 0;
    DIR *folder = opendir("/proc/self/task");
    assert_non_null(folder);
    for (struct dirent *item; (item = readdir(folder)) != NULL;) {
        int id = (int)strtol(item->d_name, NULL, 10);
        newest = id > newest ? id : newest;
    }
    closedir(folder);
    return newest;
}

/* How often the thread gave up its processor by itself: it does to sleep, at each tick. */
static long times_slept(int thread)
{
    char path[64], line[128];
    long count = -1;
    snprintf(path, sizeof(path), "/proc/self/task/%d/status", thread);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        if (strncmp(line, "voluntary_ctxt_switches:", 24) == 0)
            count = strtol(line + 24, NULL, 10);
    fclose(file);
    assert_true(count >= 0);
    return count;
}

/* Until the thread slept on through what would have been forty ticks. */
static void expect_asleep(int thread)
{
    for (int i = 0; i < SAMPLES; i++) {
        long before = times_slept(thread);
        usleep(40 * PERIOD_US);
        if (times_slept(thread) == before)
            return;
    }
    fail_msg("the ticker ticks on while nothing runs");
}

static void spin(lua_State *L, void *arg)
{
    (void)arg;
    assert_int_equal(luau_loadstring(L, "while true do end", 17, "=spin"), LUA_OK);
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_KILLED);
}

static void test_sleeps_and_wakes(void **state)
{
    (void)state;
    luau_Fibers *pool = luau_fibers_new(1);
    luau_Ticker *ticker = luau_ticker_new(PERIOD_US);
    assert_non_null(ticker);
    luau_ticker_add(ticker, pool);
    int thread = newest_thread();
    for (int round = 0; round < 3; round++) {
        expect_asleep(thread);
        lua_State *L = luaL_newstate();
        luau_setslice(L, 1000 * 1000);
        /* Without a tick it would never come back. */
        assert_int_equal(luau_run(pool, L, spin, NULL), LUAU_PARKED);
        for (int i = 0; i < 5; i++)
            assert_int_equal(luau_continue(L), LUAU_PARKED);
        expect_asleep(thread); /* a parked VM does not run */
        luau_kill(L, LUAU_KILL_HOST);
        assert_int_equal(luau_continue(L), LUAU_DONE);
        lua_close(L);
    }
    luau_ticker_remove(ticker, pool);
    luau_ticker_free(ticker);
    luau_fibers_free(pool);
}

/* Time passes that no processor time goes into, and the account is asked before a poll looks. */
static void doze(lua_State *L, void *arg)
{
    luau_Fibers *pool = arg;
    uint64_t last = luau_cputime(L);
    for (int i = 0; i < 10; i++) {
        usleep(3000);
        uint64_t now = luau_cputime(L);
        assert_true(now >= last);
        luau_fibers_tick(pool);
        luau_poll(L);
        last = luau_cputime(L);
        assert_true(last >= now);
        assert_true(last - now < UINT64_C(1) << 40);
    }
}

static void test_processor_time(void **state)
{
    (void)state;
    luau_Fibers *pool = luau_fibers_new(1);
    lua_State *L = luaL_newstate();
    assert_int_equal(luau_run(pool, L, doze, pool), LUAU_DONE);
    luau_Account account;
    luau_account(L, &account);
    assert_int_equal(account.cpu_ns, luau_cputime(L));
    lua_close(L);
    luau_fibers_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sleeps_and_wakes),
        cmocka_unit_test(test_processor_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
