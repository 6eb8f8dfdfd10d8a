/* Modules that wait while they load: who waits for them, what they all get, cycles, ends by force.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "runtime_support.h"
#include "scheduler_support.h"

static int setup(void **state)
{
    *state = sched_new();
    return 0;
}

static int teardown(void **state)
{
    sched_free(*state);
    return 0;
}

/* Runs a template with up to four more files to its end. */
static void expect(SchedulerBench *b, const char *files[8], const char *source, const char *printed,
                   const char *ended)
{
    KhronosTemplate *t = support_template(b->sandbox, "t", 1, "init.luau", source, files[0],
                                          files[1], files[2], files[3], files[4], files[5],
                                          files[6], files[7], NULL);
    sched_submit(b, t, "t");
    sched_finish(b);
    sched_printed(b, printed);
    sched_ended(b, ended);
    sched_clean(b);
    template_release(t);
}
#define FILES(...) ((const char *[8]){__VA_ARGS__})

static void test_waiting(void **state)
{
    SchedulerBench *b = *state;
    expect(b, FILES("m.luau", "print('loads') task.wait(2) print('loaded') return {1}"),
           "local others = {} "
           "for i = 1, 3 do task.spawn(function() others[i] = require('./m') end) end "
           "local co = coroutine.create(require) print(coroutine.resume(co, './m')) "
           "local m = require('./m') task.wait() "
           "return m == others[1], m == others[2], m == others[3], require('./m') == m, "
           "coroutine.status(co)",
           "loads\ntrue\nloaded\n", "t ok [true,true,true,true,\"dead\"]\n");
    expect(b,
           FILES("a.luau", "task.wait(1) return 'a' .. require('./b')", "b.luau",
                 "task.wait(1) return 'b' .. require('./c')", "c.luau", "task.wait(1) return 'c'"),
           "task.spawn(require, './c') return require('./a')", "", "t ok \"abc\"\n");
    expect(b, FILES("m.luau", "task.wait(1) return nil"), "return require('./m'), require('./m')",
           "", "t ok [null,null]\n");
    /* One a template, whatever runs it. */
    static const char source[] = "local m = require('./m') m.n += 1 return m.n";
    KhronosTemplate *one = support_template(b->sandbox, "one", 1, "init.luau", source, "m.luau",
                                            "task.wait(1) return {n = 0}", NULL);
    KhronosTemplate *two = support_template(b->sandbox, "two", 1, "init.luau", source, "m.luau",
                                            "task.wait(1) return {n = 10}", NULL);
    sched_submit(b, one, "one");
    sched_submit(b, two, "two");
    sched_submit(b, one, "one");
    sched_finish(b);
    sched_ended(b, "one ok 1\none ok 2\ntwo ok 11\n");
    sched_clean(b);
    template_release(one);
    template_release(two);
}

static void test_errors(void **state)
{
    SchedulerBench *b = *state;
    expect(b, FILES("m.luau", "runs = (runs or 0) + 1 task.wait(1) error('broken ' .. runs)"),
           "task.spawn(function() print(pcall(require, './m')) end) "
           "print(pcall(require, './m')) print(pcall(require, './m')) return runs",
           "false\tm.luau:1: broken 1\nfalse\tm.luau:1: broken 1\nfalse\tm.luau:1: broken 2\n",
           "t ok 2\n");
    expect(b, FILES("m.luau", "error('at once')"), "require('./m')", "",
           "t error: m.luau:1: at once\n");
    expect(b, FILES("m.luau", "task.wait(1)"), "require('./m')", "",
           "t error: error requiring module \"m.luau\": module must return a single value\n");
    expect(b, FILES("m.luau", "return 1, 2"), "require('./m')", "",
           "t error: error requiring module \"m.luau\": module must return a single value\n");
    expect(b, FILES("m.luau", "local x = = 1"), "require('./m')", "",
           "t error: m.luau:1: Expected identifier when parsing expression, got '='\n");
    expect(
        b, FILES("m.luau", "task.wait(1) return 1"),
        "print(pcall(table.sort, {2, 1}, function() require('./m') end)) "
        "return require('./m')",
        "false\tinit.luau:1: error requiring module \"m.luau\": it waits while it loads, and code that "
        "cannot yield cannot wait for it\n",
        "t ok 1\n");
    expect(b, FILES("m.luau", "coroutine.yield() return 1"),
           "print(pcall(require, './m')) "
           "return 'on'",
           "false\terror requiring module \"m.luau\": the module yielded, and nothing would ever "
           "resume it\n",
           "t ok \"on\"\n");
    expect(b, FILES("m.luau", "shared = coroutine.running() return coroutine.yield()"),
           "task.defer(function() task.spawn(shared, 'told') end) return require('./m')", "",
           "t ok \"told\"\n");
}

static void test_cycles(void **state)
{
    SchedulerBench *b = *state;
    expect(b, FILES("a.luau", "return require('./b')", "b.luau", "return require('./a')"),
           "require('./a')", "", "t error: b.luau:1: cyclic require: a.luau -> b.luau -> a.luau\n");
    expect(b,
           FILES("a.luau", "task.wait(1) return require('./b')", "b.luau",
                 "task.wait(1) return require('./c')", "c.luau",
                 "task.wait(1) return require('./a')"),
           "require('./a')", "",
           "t error: c.luau:1: cyclic require: a.luau -> b.luau -> c.luau -> a.luau\n");
    expect(b, FILES("a.luau", "return require('./a')"), "require('./a')", "",
           "t error: a.luau:1: cyclic require: a.luau -> a.luau\n");
    /* Begun from two ends. */
    expect(b,
           FILES("a.luau", "task.wait(1) return require('./b')", "b.luau",
                 "task.wait(1) return require('./a')"),
           "task.spawn(function() print(pcall(require, './b')) end) print(pcall(require, './a'))",
           "false\ta.luau:1: cyclic require: b.luau -> a.luau -> b.luau\n"
           "false\ta.luau:1: cyclic require: b.luau -> a.luau -> b.luau\n",
           "t ok null\n");
    /* By way of another thread: no way round is seen, but nothing will come any more. */
    expect(b,
           FILES("a.luau",
                 "task.spawn(function() require('./c') end) local co = coroutine.running() "
                 "return require('./b')",
                 "b.luau", "task.wait(1) return require('./c')", "c.luau",
                 "task.wait(2) local b = task.wait(1) return require('./a')"),
           "print(pcall(require, './a'))",
           "E c.luau:1: cyclic require: a.luau -> b.luau -> c.luau -> a.luau\na.luau:1\n"
           "false\tc.luau:1: cyclic require: a.luau -> b.luau -> c.luau -> a.luau\n",
           "t ok null\n");
    expect(b,
           FILES("a.luau",
                 "local done = false task.spawn(function() task.wait(1) require('./d') done = true "
                 "end) return require('./b')",
                 "b.luau", "task.wait(2) return require('./a')", "d.luau", "task.wait(9) return 1"),
           "print(pcall(require, './a'))",
           "false\terror requiring module \"b.luau\": it waits for a module that waits for it\n",
           "t ok null\n");
}

static void test_depth(void **state)
{
    SchedulerBench *b = *state;
    char error[256];
    for (int waits = 0; waits < 2; waits++) {
        for (int deep = 64; deep <= 65; deep++) {
            KhronosTemplate *t = template_new(b->sandbox, "t", 1, "");
            for (int i = 0; i <= deep; i++) {
                char path[32], source[80];
                snprintf(path, sizeof(path), i ? "m%d.luau" : "init.luau", i);
                snprintf(source, sizeof(source),
                         i < deep ? "%s return require('./m%d') + 1" : "%s return %d",
                         waits ? "task.wait()" : "", i < deep ? i + 1 : 0);
                assert_true(template_addfile(t, path, NULL, strdup(source), strlen(source), error,
                                             sizeof(error)));
            }
            sched_submit(b, t, "t");
            sched_finish(b);
            if (deep == 64)
                sched_ended(b, "t ok 64\n");
            else
                sched_ended(b, "t error: m64.luau:1: modules require each other more than 64 "
                               "deep\n");
            sched_clean(b);
            template_release(t);
        }
    }
}

static void test_ended_by_force(void **state)
{
    SchedulerBench *b = *state;
    /* The thread that loads. */
    static const char module[] = "loader = coroutine.running() task.wait(5) return 1";
    expect(b, FILES("m.luau", module),
           "task.defer(function() task.cancel(loader) end) print(pcall(require, './m')) "
           "return require('./m')",
           "false\terror requiring module \"m.luau\": it was cancelled\n", "t ok 1\n");
    expect(b, FILES("m.luau", module),
           "task.defer(function() coroutine.close(loader) end) print(pcall(require, './m')) "
           "return require('./m')",
           "false\terror requiring module \"m.luau\": its thread was ended by other code\n",
           "t ok 1\n");
    expect(b, FILES("m.luau", module),
           "task.defer(function() print(coroutine.resume(loader)) end) "
           "print(pcall(require, './m')) return require('./m')",
           "true\t1\n"
           "false\terror requiring module \"m.luau\": its thread was ended by other code\n",
           "t ok 1\n");
    /* Threads that wait for it. */
    expect(b, FILES("m.luau", module),
           "local co = task.spawn(require, './m') local other = task.spawn(require, './m') "
           "task.cancel(co) coroutine.close(other) "
           "print(coroutine.resume(task.spawn(function() print('got', require('./m')) end), "
           "'by hand')) return require('./m')",
           "got\tby hand\ntrue\n", "t ok 1\n");
    /* The requirer goes, the module stays. */
    KhronosTemplate *t = support_template(b->sandbox, "t", 1, "init.luau", "return require('./m')",
                                          "m.luau", "task.wait(5) return 7", NULL);
    sched_submit(b, t, "first");
    sched_settle(b);
    sched_submit(b, t, "second");
    sched_settle(b);
    assert_true(khronos_cancel(b->rt, "second"));
    sched_finish(b);
    sched_ended(b, "second cancelled: the execution was cancelled\nfirst ok 7\n");
    khronos_clear_cache(b->rt);
    /* The run that loads it goes: it loads on for the others, while there are any. */
    sched_submit(b, t, "first");
    sched_settle(b);
    sched_submit(b, t, "second");
    sched_submit(b, t, "third");
    sched_settle(b);
    assert_true(khronos_cancel(b->rt, "first"));
    sched_settle(b);
    assert_true(khronos_cancel(b->rt, "third"));
    sched_finish(b);
    sched_ended(b, "first cancelled: the execution was cancelled\n"
                   "third cancelled: the execution was cancelled\nsecond ok 7\n");
    khronos_clear_cache(b->rt);
    sched_submit(b, t, "first");
    sched_settle(b);
    sched_submit(b, t, "second");
    sched_settle(b);
    assert_true(khronos_cancel(b->rt, "first") && khronos_cancel(b->rt, "second"));
    sched_settle(b);
    assert_int_equal(khronos_tasks(b->rt), 0);
    sched_ended(b, "first cancelled: the execution was cancelled\n"
                   "second cancelled: the execution was cancelled\n");
    sched_submit(b, t, "third");
    sched_finish(b);
    sched_ended(b, "third ok 7\n");
    sched_clean(b);
    template_release(t);
}

/* Modules that load modules go to who waits for the outermost; so do those of a run whose main
 * thread ended, when its time is over. */
static void test_handed_over(void **state)
{
    SchedulerBench *b = *state;
    KhronosTemplate *t = support_template(b->sandbox, "t", 1, "init.luau", "return require('./a')",
                                          "a.luau", "return require('./b') + 1", "b.luau",
                                          "return require('./c') + 1", "c.luau",
                                          "print('loads') task.wait(5) return 1", NULL);
    sched_submit(b, t, "first");
    sched_settle(b);
    sched_submit(b, t, "second");
    sched_settle(b);
    assert_true(khronos_cancel(b->rt, "first"));
    sched_finish(b);
    sched_printed(b, "loads\n");
    sched_ended(b, "first cancelled: the execution was cancelled\nsecond ok 3\n");
    sched_clean(b);
    template_release(t);

    b->limits.wall_max_ns = 10 * CLOCK_NS_PER_S;
    sched_renew(b);
    t = support_template(b->sandbox, "t", 1, "init.luau",
                         "if (...).name == 'Left' then task.spawn(require, './m') return end "
                         "return require('./m')",
                         "m.luau", "task.wait(15) return 'late'", NULL);
    b->event = "{\"name\":\"Left\"}";
    sched_submit(b, t, "left");
    sched_settle(b);
    b->event = NULL;
    sched_advance(b, 8);
    sched_submit(b, t, "waits");
    sched_finish(b);
    sched_printed(b,
                  "E threads in the background were ended: the time limit of their run passed\n");
    sched_ended(b, "left ok null\nwaits ok \"late\"\n");
    sched_clean(b);
    template_release(t);
}

/* Killed in the middle of loading, and out of tasks for it: the next requirer starts anew. */
static void test_cut_off(void **state)
{
    SchedulerBench *b = *state;
    b->limits.tasks_max = 3;
    expect(b, FILES("m.luau", "return 'm'"),
           "local list = {} for i = 1, 3 do list[i] = task.delay(1, print, i) end "
           "print(pcall(require, './m')) task.cancel(list[1]) return require('./m')",
           "false\ttoo many tasks: the guild has 3 alive, which is the limit\n2\n3\n",
           "t ok \"m\"\n");
    b->limits.tasks_max = 1000;
    sched_renew(b);
    b->tick = true;
    KhronosTemplate *t = support_template(
        b->sandbox, "t", 1, "init.luau", "return require('./a')", "a.luau",
        "for i = 1, 5 do end local b = require('./b') task.wait() return b + 1", "b.luau",
        "for i = 1, 5 do end task.wait() return 1", NULL);
    bool more = true;
    for (int k = 1; more; k++) {
        b->limits.slice_ns = 1;
        khronos_clear_cache(b->rt);
        sched_submit(b, t, "victim");
        for (int i = 0; i < k && more; i++)
            more = sched_step(b) != KHRONOS_IDLE;
        bool second = k % 2;
        if (second)
            sched_submit(b, t, "second");
        khronos_cancel(b->rt, "victim");
        sched_take(b);
        b->limits.slice_ns = CLOCK_NS_PER_S;
        sched_finish(b);
        sched_submit(b, t, "third");
        sched_finish(b);
        assert_non_null(strstr(strbuf_cstr(&b->ended), "third ok 2\n"));
        strbuf_clear(&b->ended);
        sched_clean(b);
    }
    template_release(t);
}

static void test_under_stress(void **state)
{
    SchedulerBench *b = *state;
    luau_testmode(b->rt->L, LUAU_TEST_GC_ALWAYS | LUAU_TEST_STACK_MOVES);
    expect(b,
           FILES("a.luau", "task.wait(1) return {require('./b')}", "b.luau",
                 "task.spawn(pcall, require, './c') task.wait(1) return {pcall(require, './c')}",
                 "c.luau", "task.wait(1) error({})", "d.luau", "return coroutine.yield()"),
           "task.spawn(require, './a') task.spawn(pcall, require, './d') "
           "task.cancel(task.spawn(require, './b')) return #require('./a')",
           "", "t ok 1\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cycles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ended_by_force, setup, teardown),
        cmocka_unit_test_setup_teardown(test_handed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_under_stress, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
