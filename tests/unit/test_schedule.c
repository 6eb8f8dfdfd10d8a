/* Executions of one guild side by side: order of results, limits, cancelling and breaking at any
 * moment, versions and caches under runs that wait. */
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
    *state = bench_new();
    return 0;
}

static int teardown(void **state)
{
    bench_free(*state);
    return 0;
}

/* ---- Side by side -----------------------------------------------------------------------------
 */

static void test_results_in_finishing_order(void **state)
{
    SchedulerBench *b = *state;
    char source[200], wanted[2000] = "";
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%d", i);
        snprintf(source, sizeof(source),
                 "local e, ctx = ... local s = ctx.store s[e] = true task.wait(%d) "
                 "local n = 0 for _ in s do n += 1 end return n",
                 40 - i);
        bench_source(b, name, source);
        snprintf(wanted + strlen(wanted), sizeof(wanted) - strlen(wanted), "n%d ok 40\n", 39 - i);
    }
    bench_settle(b);
    assert_int_equal(khronos_executions(b->rt), 40);
    bench_finish(b);
    bench_ended(b, wanted); /* each had an event table of its own */
    bench_clean(b);
}

static void test_submitted_meanwhile(void **state)
{
    SchedulerBench *b = *state;
    bench_source(b, "slow", "task.wait(10) return 'slow'");
    bench_settle(b);
    bench_source(b, "fast", "return 'fast'");
    bench_source(b, "bad", "error('bad', 0)");
    bench_settle(b);
    bench_ended(b, "fast ok \"fast\"\nbad error: bad\n");
    /* Starts go before threads that are woken again and again. */
    bench_source(b, "busy", "local function f() task.defer(f) end f() task.wait(1) f = nil");
    b->limits.slice_ns = 1;
    bench_step(b);
    bench_source(b, "next", "return 'next'");
    for (int i = 0; i < 50; i++)
        bench_step(b);
    bench_ended(b, "next ok \"next\"\n");
    assert_true(khronos_cancel(b->rt, "busy"));
    bench_finish(b);
    bench_ended(b, "busy cancelled: the execution was cancelled\nslow ok \"slow\"\n");
    bench_clean(b);
}

/* An execution that ended leaves threads behind; they are its own until its time is over. */
static void test_background(void **state)
{
    SchedulerBench *b = *state;
    b->limits.wall_max_ns = 10 * CLOCK_NS_PER_S;
    bench_source(b, "t", "task.spawn(function() while true do print('tick') task.wait(3) end end)");
    bench_settle(b);
    bench_ended(b, "t ok null\n");
    bench_advance(b, 3);
    bench_source(b, "u", "task.wait(9) return 'unharmed'");
    bench_settle(b);
    for (int i = 0; i < 9; i++)
        bench_advance(b, 1);
    bench_printed(b,
                  "tick\ntick\ntick\ntick\n"
                  "E threads in the background were ended: the time limit of their run passed\n");
    bench_ended(b, "u ok \"unharmed\"\n");
    bench_clean(b);
    assert_false(khronos_isbroken(b->rt));
}

/* ---- Limits -----------------------------------------------------------------------------------
 */

static void test_wall_limit(void **state)
{
    SchedulerBench *b = *state;
    b->limits.wall_max_ns = 10 * CLOCK_NS_PER_S;
    BenchRun *run = bench_source(b, "slow", "print(1)\ntask.wait(11)");
    bench_settle(b);
    bench_advance(b, 1);
    bench_source(b, "other", "task.wait(9)");
    bench_settle(b);
    assert_int_equal(khronos_due_ns(b->rt), b->now_ns + 9 * CLOCK_NS_PER_S);
    b->now_ns += 9 * CLOCK_NS_PER_S;
    bench_source(b, "waits", "return 1");
    bench_step(b);
    assert_true(khronos_isbroken(b->rt));
    assert_int_equal(khronos_broken_status(b->rt), KHRONOS_TIMEOUT);
    bench_ended(b, "slow timeout: time limit of 10 s exceeded\n"
                   "other broken: the guild's VM was lost while this ran: template 'slow': time "
                   "limit of 10 s exceeded\n"
                   "waits broken: the guild's VM was lost while this ran: template 'slow': time "
                   "limit of 10 s exceeded\n");
    assert_int_equal(run->x.line, 2);
    assert_int_equal(run->x.duration_ns, 10 * CLOCK_NS_PER_S);
    assert_int_equal(khronos_due_ns(b->rt), 0);
}

static void test_limits_change(void **state)
{
    SchedulerBench *b = *state;
    bench_source(b, "one", "task.wait(20)");
    bench_settle(b);
    bench_advance(b, 5);
    KhronosLimits other = b->limits;
    other.wall_max_ns = 10 * CLOCK_NS_PER_S;
    other.tasks_max = 1;
    khronos_setlimits(b->rt, &other);
    assert_int_equal(khronos_due_ns(b->rt), b->now_ns + 5 * CLOCK_NS_PER_S);
    bench_source(b, "two", "task.delay(1, print) task.delay(1, print)");
    bench_settle(b);
    bench_ended(b, "two error: init.luau:1: too many tasks: the guild has 1 alive, which is the "
                   "limit\n");
    other.wall_max_ns = UINT64_MAX;
    khronos_setlimits(b->rt, &other);
    bench_finish(b);
    bench_ended(b, "one ok null\n");
    khronos_setlimits(b->rt, &b->limits);
    bench_clean(b);
}

/* Counted from one yield to the next. */
static void test_processor_limit(void **state)
{
    SchedulerBench *b = *state;
    luau_Ticker *ticker = luau_ticker_new(200);
    luau_ticker_add(ticker, b->fibers);
    b->limits.cpu_max_ns = CLOCK_NS_PER_S;
    bench_source(b, "waits", "task.wait(100)");
    bench_source(b, "t",
                 "local function work() local n = 0 local start = os.clock() "
                 "while os.clock() - start < 0.05 do for i = 1, 1000 do n += i end end end "
                 "for i = 1, 30 do work() task.wait() end return 'done'");
    while (khronos_executions(b->rt) > 1)
        bench_settle(b);
    bench_ended(b, "t ok \"done\"\n");
    b->limits.cpu_max_ns = 300 * CLOCK_NS_PER_MS;
    bench_source(b, "loop", "task.spawn(function()\nwhile true do end\nend)");
    bench_settle(b);
    bench_ended(b, "loop timeout: processor time limit of 0.3 s exceeded\n"
                   "waits broken: the guild's VM was lost while this ran: template 'loop': "
                   "processor time limit of 0.3 s exceeded\n");
    assert_int_equal(khronos_broken_status(b->rt), KHRONOS_TIMEOUT);
    /* A thread in the background: nobody has the blame but the VM. */
    bench_renew(b);
    bench_source(b, "waits", "task.wait(100)");
    bench_source(b, "t", "task.delay(1, function() while true do end end)");
    bench_settle(b);
    bench_advance(b, 1);
    bench_ended(b, "t ok null\n"
                   "waits broken: the guild's VM was lost while this ran: template 't': processor "
                   "time limit of 0.3 s exceeded\n");
    bench_printed(b, "E processor time limit of 0.3 s exceeded\n");
    assert_int_equal(khronos_broken_status(b->rt), KHRONOS_TIMEOUT);
    luau_ticker_remove(ticker, b->fibers);
    luau_ticker_free(ticker);
}

static void test_memory_limit(void **state)
{
    SchedulerBench *b = *state;
    b->limits.memory_max_bytes = 2 << 20;
    bench_renew(b);
    bench_source(b, "waits", "task.wait(100)");
    bench_source(b, "t", "local t = {} for i = 1, 1e6 do t[i] = task.delay(1, print, i) end");
    bench_settle(b);
    bench_ended(b, "t memory: memory limit of 2 MiB exceeded\n"
                   "waits broken: the guild's VM was lost while this ran: template 't': memory "
                   "limit of 2 MiB exceeded\n");
    assert_int_equal(khronos_broken_status(b->rt), KHRONOS_MEMORY_LIMIT);
    bench_renew(b);
    bench_source(b, "t",
                 "local e = require('@test/host') "
                 "local t = {} e.ask() for i = 1, 1e6 do t[i] = {} end");
    bench_settle(b);
    bench_answer(b, 0, 1, false);
    bench_settle(b);
    bench_ended(b, "t memory: memory limit of 2 MiB exceeded\n");
}

static void test_slices(void **state)
{
    SchedulerBench *b = *state;
    b->limits.slice_ns = 1;
    b->tick = true;
    bench_source(b, "t", "for i = 1, 10 do end task.wait() for i = 1, 10 do end");
    int parked = 0, ready = 0;
    for (KhronosStep step; (step = bench_step(b)) != KHRONOS_IDLE;) {
        assert_true(khronos_isparked(b->rt) == (step == KHRONOS_PARKED));
        parked += step == KHRONOS_PARKED;
        ready += step == KHRONOS_READY;
    }
    assert_true(parked >= 20);
    assert_true(ready >= 1);
    bench_ended(b, "t ok null\n");
    bench_clean(b);
}

/* ---- Cancelling at any moment -----------------------------------------------------------------
 */

static const char VICTIM[] =
    "local e, ctx = ...\n"
    "local value = require('./module')\n"
    "ctx.store.victim = coroutine.running()\n"
    "local t = {} for i = 1, 12 do t[i] = i % 5 end\n"
    "local function churn() table.sort(t, function(a, b) return a < b end)\n"
    ";('abc'):gsub('.', function(c) return c end)\n"
    "pcall(function() coroutine.wrap(function() task.wait(0) error('e') end)() end) end\n"
    "task.defer(churn) task.delay(1, churn)\n"
    "task.spawn(function() churn() task.spawn(function() churn() task.wait(1) churn() end) end)\n"
    "task.spawn(pcall, require, './module') task.wait(1) churn()\n"
    "require('@antiraid/json').encode({t, {a = t}})\n"
    "return {t, {t, t}, {x = value}}";
static const char MODULE[] = "task.defer(task.wait, 1) for i = 1, 3 do end task.wait(1) "
                             "task.spawn(task.wait, 1) return {1}";
/* It resumes the victim's threads, too. */
static const char BYSTANDER[] =
    "local _, ctx = ... for i = 1, 3 do task.wait(0.5) "
    "local co = ctx.store.victim if co and i == 2 then pcall(task.spawn, co) end end "
    "task.spawn(task.wait, 1) task.wait(1) return 'unharmed'";

static KhronosTemplate *make_victim(SchedulerBench *b)
{
    return support_template(b->sandbox, "victim", 1, "init.luau", VICTIM, "module.luau", MODULE,
                            NULL);
}

/* Steps with time that moves when nothing is to do. False: all is over. */
static bool one_step(SchedulerBench *b)
{
    if (bench_step(b) != KHRONOS_IDLE)
        return true;
    uint64_t due_ns = khronos_due_ns(b->rt);
    b->now_ns = due_ns > b->now_ns ? due_ns : b->now_ns;
    return due_ns != 0;
}

static void test_cancel_at_every_poll(void **state)
{
    SchedulerBench *b = *state;
    KhronosTemplate *t = make_victim(b);
    b->limits.slice_ns = 1;
    b->tick = true;
    int cancelled = 0, in_the_middle = 0;
    for (int k = 0, over = 0; !over; k += 1 + k / 200) {
        if (k % 7 == 0)
            bench_renew(b); /* so that the first compilation of a VM is met, and later runs */
        bench_submit(b, t, "victim");
        bench_source(b, "bystander", BYSTANDER);
        bool more = true;
        for (int i = 0; i < k && more; i++)
            more = one_step(b);
        over = !more;
        bool parked = khronos_isparked(b->rt);
        if (khronos_cancel(b->rt, "victim")) {
            cancelled++;
            in_the_middle += parked;
        }
        bench_take(b);
        while (one_step(b))
            continue;
        assert_false(khronos_isbroken(b->rt));
        assert_true(b->runs[b->run_count - 2].finished);
        KhronosStatus victim = b->runs[b->run_count - 2].x.status;
        if (victim != KHRONOS_OK && victim != KHRONOS_CANCELLED)
            fprintf(stderr, "k %d %s\n%s\n%s", k, strbuf_cstr(&b->ended), strbuf_cstr(&b->printed),
                    strbuf_cstr(&b->runs[b->run_count - 2].x.traceback));
        assert_true(victim == KHRONOS_OK || victim == KHRONOS_CANCELLED);
        /* (One that was resuming the victim's thread goes down with it, and is told so.) */
        const BenchRun *other = &b->runs[b->run_count - 1];
        if (other->x.status != KHRONOS_OK)
            assert_non_null(strstr(strbuf_cstr((Strbuf *)&other->x.message), "was resuming"));
        bench_clean(b);
        strbuf_clear(&b->ended);
        strbuf_clear(&b->printed);
    }
    assert_true(cancelled > 50);
    assert_true(in_the_middle > 50);
    template_release(t);
}

static void test_break_and_free_at_every_poll(void **state)
{
    SchedulerBench *b = *state;
    KhronosTemplate *t = make_victim(b);
    b->limits.slice_ns = 1;
    b->tick = true;
    for (int k = 0, over = 0; !over; k += 3 + k / 50) {
        bench_renew(b);
        bench_submit(b, t, "victim");
        bench_source(b, "bystander", BYSTANDER);
        bool more = true;
        for (int i = 0; i < k && more; i++)
            more = one_step(b);
        over = !more;
        if (k % 2) {
            khronos_break(b->rt, KHRONOS_BROKEN, "broken for the test");
            bench_take(b);
            assert_int_equal(khronos_executions(b->rt), 0);
            assert_true(b->runs[b->run_count - 1].finished);
            assert_true(b->runs[b->run_count - 2].finished);
            assert_int_equal(khronos_broken_status(b->rt), KHRONOS_BROKEN);
        } else if (!over) {
            bench_renew(b); /* without a word */
        }
        strbuf_clear(&b->ended);
        strbuf_clear(&b->printed);
    }
    template_release(t);
}

/* Its main thread waits inside a coroutine of another execution, which is cancelled. */
static void test_cancel_takes_resumers_along(void **state)
{
    SchedulerBench *b = *state;
    b->tick = true;
    bench_source(b, "inner",
                 "local _, ctx = ... ctx.store.go = coroutine.running() "
                 "task.wait(5) while true do end");
    bench_settle(b);
    bench_source(b, "outer", "local _, ctx = ... task.spawn(ctx.store.go) return 'outer'");
    b->limits.slice_ns = 1;
    while (bench_step(b) != KHRONOS_PARKED || !b->rt->scheduler.current ||
           strcmp(template_name(b->rt->scheduler.current->run->version), "inner") != 0)
        continue;
    for (int i = 0; i < 10; i++)
        assert_int_equal(bench_step(b), KHRONOS_PARKED);
    bench_source(b, "third", "return 3");
    assert_true(khronos_cancel(b->rt, "inner"));
    assert_true(khronos_cancel(b->rt, "inner")); /* nothing new, and no harm */
    bench_finish(b);
    bench_ended(b, "inner cancelled: the execution was cancelled\n"
                   "outer error: it was resuming a thread of an execution that was cancelled\n"
                   "third ok 3\n");
    bench_clean(b);
    /* The other way round: the one that is resumed is another's business. */
    b->limits.slice_ns = 600 * CLOCK_NS_PER_S;
    bench_source(b, "inner",
                 "local _, ctx = ... ctx.store.go = task.delay(5, function() "
                 "for i = 1, 1000 do end ctx.store.done = true end) task.wait(9) "
                 "return ctx.store.done");
    bench_settle(b);
    bench_source(b, "outer", "local _, ctx = ... task.spawn(ctx.store.go)");
    b->limits.slice_ns = 1;
    while (bench_step(b) != KHRONOS_PARKED || !b->rt->scheduler.current ||
           strcmp(template_name(b->rt->scheduler.current->run->version), "inner") != 0)
        continue;
    assert_true(khronos_cancel(b->rt, "outer"));
    bench_finish(b);
    bench_ended(b, "outer cancelled: the execution was cancelled\ninner ok null\n");
    bench_clean(b);
}

static void test_cancel_waiting(void **state)
{
    SchedulerBench *b = *state;
    assert_false(khronos_cancel(b->rt, "nobody"));
    bench_source(b, "a", "task.wait(5)");
    bench_source(b, "b",
                 "task.spawn(function() while task.wait(1) do print('b') end end) "
                 "task.defer(print, 'never') require('@test/host').ask()");
    bench_source(b, "c", "coroutine.yield()");
    bench_source(b, "d", "return 'd'");
    assert_true(khronos_cancel(b->rt, "a"));
    bench_take(b);
    bench_settle(b);
    assert_true(khronos_cancel(b->rt, "b"));
    assert_false(khronos_cancel(b->rt, "b"));
    assert_true(khronos_cancel(b->rt, "c"));
    assert_false(khronos_cancel(b->rt, "d"));
    assert_false(bench_answer(b, 0, 1, false) && false);
    bench_take(b);
    bench_finish(b);
    bench_printed(b, "never\n");
    bench_ended(b, "a cancelled: the execution was cancelled\nd ok \"d\"\n"
                   "b cancelled: the execution was cancelled\n"
                   "c cancelled: the execution was cancelled\n");
    bench_clean(b);
}

static void test_break_names_nobody_twice(void **state)
{
    SchedulerBench *b = *state;
    bench_source(b, "a", "task.wait(5)");
    bench_settle(b);
    bench_source(b, "b", "return 1");
    khronos_break(b->rt, KHRONOS_INTERNAL, "why");
    bench_take(b);
    bench_ended(b, "a internal: why\nb internal: why\n");
    khronos_break(b->rt, KHRONOS_BROKEN, "again");
    assert_int_equal(khronos_broken_status(b->rt), KHRONOS_INTERNAL);
    assert_int_equal(khronos_due_ns(b->rt), 0);
}

/* ---- Versions and caches ----------------------------------------------------------------------
 */

static void test_versions(void **state)
{
    SchedulerBench *b = *state;
    static const char source[] = "count = (count or 0) + 1 local m = require('./m') "
                                 "task.wait(10) return count, m.version, require('./m') == m";
    KhronosTemplate *one = support_template(b->sandbox, "t", 1, "init.luau", source, "m.luau",
                                            "return {version = 1}", NULL);
    KhronosTemplate *two = support_template(b->sandbox, "t", 2, "init.luau", source, "m.luau",
                                            "return {version = 2}", NULL);
    bench_submit(b, one, "a");
    bench_settle(b);
    bench_advance(b, 1);
    bench_submit(b, two, "b");
    bench_settle(b);
    assert_int_equal(b->rt->instances.count, 2);
    bench_advance(b, 9);
    bench_ended(b, "a ok [1,1,true]\n");
    assert_int_equal(b->rt->instances.count, 1);
    bench_submit(b, two, "c");
    bench_finish(b);
    bench_ended(b, "b ok [2,2,true]\nc ok [2,2,true]\n");
    /* Back, and forth while it waits. */
    bench_submit(b, one, "d");
    bench_settle(b);
    khronos_clear_cache(b->rt);
    bench_submit(b, one, "e");
    bench_settle(b);
    assert_int_equal(b->rt->instances.count, 2);
    bench_finish(b);
    bench_ended(b, "d ok [1,1,true]\ne ok [1,1,true]\n");
    assert_int_equal(b->rt->instances.count, 1);
    khronos_clear_cache(b->rt);
    assert_int_equal(b->rt->instances.count, 0);
    bench_clean(b);
    template_release(one);
    template_release(two);
}

/* A function of another template requires a module for it, while that has no run. */
static void test_module_of_a_stale_instance(void **state)
{
    SchedulerBench *b = *state;
    KhronosTemplate *lender = support_template(
        b->sandbox, "lender", 1, "init.luau",
        "local _, ctx = ... ctx.store.load = function() return require('./slow') end", "slow.luau",
        "task.wait(5) return 'slow'", NULL);
    bench_submit(b, lender, "lender");
    bench_settle(b);
    bench_source(b, "user", "local _, ctx = ... return ctx.store.load()");
    bench_source(b, "also", "local _, ctx = ... return ctx.store.load()");
    bench_settle(b);
    khronos_clear_cache(b->rt);
    bench_source(b, "gone", "local _, ctx = ... return ctx.store.load()");
    bench_settle(b);
    bench_advance(b, 5);
    bench_ended(b, "lender ok null\nuser ok \"slow\"\nalso ok \"slow\"\ngone ok \"slow\"\n");
    assert_int_equal(b->rt->instances.count, 1);
    bench_source(b, "late", "local _, ctx = ... return ctx.store.load()");
    bench_settle(b);
    bench_ended(
        b, "late error: init.luau:1: require must be called by the current code of a template\n");
    template_release(lender);
}

/* ---- The log ----------------------------------------------------------------------------------
 */

static void test_notices_of_what_was_cut(void **state)
{
    SchedulerBench *b = *state;
    b->limits.log_lines_per_second = 2;
    bench_source(b, "t",
                 "for i = 1, 3 do for i = 1, 5 do print(i) end task.wait(0.25) end "
                 "task.wait(1) print('next')");
    bench_finish(b);
    bench_printed(b, "1\n2\nW [3 lines with 3 bytes dropped: more than 2 lines a second]\n"
                     "W [10 lines with 10 bytes dropped: more than 2 lines a second]\nnext\n");
    bench_source(b, "t", "for i = 1, 5 do print(i) end task.wait(0.5) print('x')");
    bench_finish(b);
    strbuf_clear(&b->printed);
    b->limits.log_lines_per_second = 100;
    bench_clean(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_results_in_finishing_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_submitted_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_background, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wall_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_processor_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slices, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel_at_every_poll, setup, teardown),
        cmocka_unit_test_setup_teardown(test_break_and_free_at_every_poll, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel_takes_resumers_along, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_break_names_nobody_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_module_of_a_stale_instance, setup, teardown),
        cmocka_unit_test_setup_teardown(test_notices_of_what_was_cut, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
