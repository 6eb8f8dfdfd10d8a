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
    *state = sched_new();
    return 0;
}

static int teardown(void **state)
{
    sched_free(*state);
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
        sched_source(b, name, source);
        snprintf(wanted + strlen(wanted), sizeof(wanted) - strlen(wanted), "n%d ok 40\n", 39 - i);
    }
    sched_settle(b);
    assert_int_equal(khronos_executions(b->rt), 40);
    sched_finish(b);
    sched_ended(b, wanted); /* each had an event table of its own */
    sched_clean(b);
}

static void test_submitted_meanwhile(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "slow", "task.wait(10) return 'slow'");
    sched_settle(b);
    sched_source(b, "fast", "return 'fast'");
    sched_source(b, "bad", "error('bad', 0)");
    sched_settle(b);
    sched_ended(b, "fast ok \"fast\"\nbad error: bad\n");
    /* Starts go before threads that are woken again and again. */
    sched_source(b, "busy", "local function f() task.defer(f) end f() task.wait(1) f = nil");
    b->limits.slice_ns = 1;
    sched_step(b);
    sched_source(b, "next", "return 'next'");
    for (int i = 0; i < 50; i++)
        sched_step(b);
    sched_ended(b, "next ok \"next\"\n");
    assert_true(khronos_cancel(b->rt, "busy"));
    sched_finish(b);
    sched_ended(b, "busy cancelled: the execution was cancelled\nslow ok \"slow\"\n");
    sched_clean(b);
}

/* A chain of deferred threads without end does not keep the timers of others waiting for ever. */
static void test_endless_defers(void **state)
{
    SchedulerBench *b = *state;
    b->limits.slice_ns = 1; /* a thread a turn */
    sched_source(b, "other", "task.wait(1) return 'on'");
    sched_settle(b);
    sched_source(b, "t",
                 "local n = 0 local function f() n += 1 task.defer(f) end f() "
                 "task.wait(1) return n");
    b->now_ns += CLOCK_NS_PER_S;
    for (int i = 0; i < 21000 && b->ended.length == 0; i++)
        assert_int_equal(sched_step(b), KHRONOS_READY);
    sched_ended(b, "other ok \"on\"\n");
    assert_true(khronos_cancel(b->rt, "t"));
    sched_finish(b);
    sched_ended(b, "t cancelled: the execution was cancelled\n");
    sched_clean(b);
    /* Those with an end come before the timers, however many there were. */
    b->limits.slice_ns = 600 * CLOCK_NS_PER_S;
    for (int i = 0; i < 4; i++)
        sched_expect(b, "for i = 1, 6000 do task.defer(function() end) end", "", "t ok null\n");
    b->limits.slice_ns = 1;
    sched_expect(b, "task.delay(0, print, 'timer') task.defer(print, 1) task.defer(print, 2)",
                 "1\n2\ntimer\n", "t ok null\n");
}

/* An execution that ended leaves threads behind; they are its own until its time is over. */
static void test_background(void **state)
{
    SchedulerBench *b = *state;
    b->limits.wall_max_ns = 10 * CLOCK_NS_PER_S;
    sched_source(b, "t", "task.spawn(function() while true do print('tick') task.wait(3) end end)");
    sched_settle(b);
    sched_ended(b, "t ok null\n");
    sched_advance(b, 3);
    sched_source(b, "u", "task.wait(9) return 'unharmed'");
    sched_settle(b);
    for (int i = 0; i < 9; i++)
        sched_advance(b, 1);
    sched_printed(b,
                  "tick\ntick\ntick\ntick\n"
                  "E threads in the background were ended: the time limit of their run passed\n");
    sched_ended(b, "u ok \"unharmed\"\n");
    sched_clean(b);
    assert_false(khronos_isbroken(b->rt));
}

/* ---- Limits -----------------------------------------------------------------------------------
 */

static void test_wall_limit(void **state)
{
    SchedulerBench *b = *state;
    b->limits.wall_max_ns = 10 * CLOCK_NS_PER_S;
    BenchRun *run = sched_source(b, "slow", "print(1)\ntask.wait(11)");
    sched_settle(b);
    sched_advance(b, 1);
    sched_source(b, "other", "task.wait(9)");
    sched_settle(b);
    assert_int_equal(khronos_due_ns(b->rt), b->now_ns + 9 * CLOCK_NS_PER_S);
    b->now_ns += 9 * CLOCK_NS_PER_S;
    sched_source(b, "waits", "return 1");
    sched_step(b);
    assert_true(khronos_isbroken(b->rt));
    assert_int_equal(khronos_broken_status(b->rt), KHRONOS_TIMEOUT);
    sched_ended(b, "slow timeout: time limit of 10 s exceeded\n"
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
    sched_source(b, "one", "task.wait(20)");
    sched_settle(b);
    sched_advance(b, 5);
    KhronosLimits other = b->limits;
    other.wall_max_ns = 10 * CLOCK_NS_PER_S;
    other.tasks_max = 1;
    khronos_setlimits(b->rt, &other);
    assert_int_equal(khronos_due_ns(b->rt), b->now_ns + 5 * CLOCK_NS_PER_S);
    sched_source(b, "two", "task.delay(1, print) task.delay(1, print)");
    sched_settle(b);
    sched_ended(b, "two error: init.luau:1: too many tasks: the guild has 1 alive, which is the "
                   "limit\n");
    other.wall_max_ns = UINT64_MAX;
    khronos_setlimits(b->rt, &other);
    sched_finish(b);
    sched_ended(b, "one ok null\n");
    khronos_setlimits(b->rt, &b->limits);
    sched_clean(b);
}

/* Counted from one yield to the next. */
static void test_processor_limit(void **state)
{
    SchedulerBench *b = *state;
    luau_Ticker *ticker = luau_ticker_new(200);
    luau_ticker_add(ticker, b->fibers);
    b->limits.cpu_max_ns = CLOCK_NS_PER_S;
    sched_source(b, "waits", "task.wait(100)");
    sched_source(b, "t",
                 "local function work() local n = 0 local start = os.clock() "
                 "while os.clock() - start < 0.05 do for i = 1, 1000 do n += i end end end "
                 "for i = 1, 30 do work() task.wait() end return 'done'");
    while (khronos_executions(b->rt) > 1)
        sched_settle(b);
    sched_ended(b, "t ok \"done\"\n");
    b->limits.cpu_max_ns = 300 * CLOCK_NS_PER_MS;
    sched_source(b, "loop", "task.spawn(function()\nwhile true do end\nend)");
    sched_settle(b);
    sched_ended(b, "loop timeout: processor time limit of 0.3 s exceeded\n"
                   "waits broken: the guild's VM was lost while this ran: template 'loop': "
                   "processor time limit of 0.3 s exceeded\n");
    assert_int_equal(khronos_broken_status(b->rt), KHRONOS_TIMEOUT);
    /* A thread in the background: nobody has the blame but the VM. */
    sched_renew(b);
    sched_source(b, "waits", "task.wait(100)");
    sched_source(b, "t", "task.delay(1, function() while true do end end)");
    sched_settle(b);
    sched_advance(b, 1);
    sched_ended(b, "t ok null\n"
                   "waits broken: the guild's VM was lost while this ran: template 't': processor "
                   "time limit of 0.3 s exceeded\n");
    sched_printed(b, "E processor time limit of 0.3 s exceeded\n");
    assert_int_equal(khronos_broken_status(b->rt), KHRONOS_TIMEOUT);
    luau_ticker_remove(ticker, b->fibers);
    luau_ticker_free(ticker);
}

static void test_memory_limit(void **state)
{
    SchedulerBench *b = *state;
    b->limits.memory_max_bytes = 2 << 20;
    sched_renew(b);
    sched_source(b, "waits", "task.wait(100)");
    sched_source(b, "t", "local t = {} for i = 1, 1e6 do t[i] = task.delay(1, print, i) end");
    sched_settle(b);
    sched_ended(b, "t memory: memory limit of 2 MiB exceeded\n"
                   "waits broken: the guild's VM was lost while this ran: template 't': memory "
                   "limit of 2 MiB exceeded\n");
    assert_int_equal(khronos_broken_status(b->rt), KHRONOS_MEMORY_LIMIT);
    sched_renew(b);
    sched_source(b, "t",
                 "local e = require('@test/host') "
                 "local t = {} e.ask() for i = 1, 1e6 do t[i] = {} end");
    sched_settle(b);
    sched_answer(b, 0, 1, false);
    sched_settle(b);
    sched_ended(b, "t memory: memory limit of 2 MiB exceeded\n");
}

static void test_slices(void **state)
{
    SchedulerBench *b = *state;
    b->limits.slice_ns = 1;
    b->tick = true;
    sched_source(b, "t", "for i = 1, 10 do end task.wait() for i = 1, 10 do end");
    int parked = 0, ready = 0;
    for (KhronosStep step; (step = sched_step(b)) != KHRONOS_IDLE;) {
        assert_true(khronos_isparked(b->rt) == (step == KHRONOS_PARKED));
        parked += step == KHRONOS_PARKED;
        ready += step == KHRONOS_READY;
    }
    assert_true(parked >= 20);
    assert_true(ready >= 1);
    sched_ended(b, "t ok null\n");
    sched_clean(b);
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
    "return {t, {t, t}, {x = value}, table.create(3000, 'text')}";
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
    if (sched_step(b) != KHRONOS_IDLE)
        return true;
    uint64_t due_ns = khronos_due_ns(b->rt);
    b->now_ns = due_ns > b->now_ns ? due_ns : b->now_ns;
    return due_ns != 0;
}

/* What the victim was cut off in. */
typedef struct Met {
    int all, parked, compiling, decoding, writing;
} Met;

static void note(SchedulerBench *b, Met *met)
{
    const Run *run = b->rt->scheduler.runs;
    met->parked += khronos_isparked(b->rt);
    if (!run || !run->x || strcmp(run->x->id, "victim") != 0)
        return;
    met->all++;
    met->compiling += !run->main.co;
    met->decoding += run->main.co && lua_status(run->main.co) == LUA_OK &&
                     lua_costatus(b->rt->L, run->main.co) == LUA_COSUS;
    met->writing += run->writing;
}

/* Both executions, the victim cancelled after k steps. False: it was over by then. */
static bool cancel_after(SchedulerBench *b, KhronosTemplate *t, int k, Met *met)
{
    const BenchRun *victim = sched_submit(b, t, "victim");
    const BenchRun *other = sched_source(b, "bystander", BYSTANDER);
    bool more = true;
    for (int i = 0; i < k && more; i++)
        more = one_step(b);
    note(b, met);
    khronos_cancel(b->rt, "victim");
    sched_take(b);
    while (one_step(b))
        continue;
    assert_false(khronos_isbroken(b->rt));
    assert_true(victim->finished && other->finished);
    assert_true(victim->x.status == KHRONOS_OK || victim->x.status == KHRONOS_CANCELLED);
    /* (One that was resuming the victim's thread goes down with it, and is told so.) */
    if (other->x.status != KHRONOS_OK)
        assert_non_null(strstr(other->x.message.data, "was resuming"));
    sched_clean(b);
    strbuf_clear(&b->ended);
    strbuf_clear(&b->printed);
    return more;
}

static void test_cancel_at_every_poll(void **state)
{
    SchedulerBench *b = *state;
    Met met = {0};
    b->limits.slice_ns = 1;
    b->tick = true;
    KhronosTemplate *t = make_victim(b);
    Strbuf event = STRBUF_INIT;
    strbuf_puts(&event, "{\"name\":\"Test\",\"data\":[0");
    for (int i = 0; i < 3000; i++)
        strbuf_puts(&event, ",0");
    strbuf_puts(&event, "]}");
    b->event = strbuf_cstr(&event);
    bool more = true;
    for (int k = 0; more; k++) {
        if (k % 5 == 0) { /* so that compilations are met, too */
            template_release(t);
            t = make_victim(b);
        }
        if (k % 7 == 0)
            sched_renew(b);
        luau_testmode(b->rt->L, k % 14 == 0 ? LUAU_TEST_STACK_MOVES : 0);
        more = cancel_after(b, t, k, &met);
    }
    strbuf_free(&event);
    assert_true(met.all > 50);
    assert_true(met.parked > 50);
    assert_true(met.compiling > 0);
    assert_true(met.decoding > 0);
    assert_true(met.writing > 0);
    template_release(t);
}

static void test_break_and_free_at_every_poll(void **state)
{
    SchedulerBench *b = *state;
    KhronosTemplate *t = make_victim(b);
    b->limits.slice_ns = 1;
    b->tick = true;
    for (int k = 0, over = 0; !over; k += 3 + k / 50) {
        sched_renew(b);
        sched_submit(b, t, "victim");
        sched_source(b, "bystander", BYSTANDER);
        bool more = true;
        for (int i = 0; i < k && more; i++)
            more = one_step(b);
        over = !more;
        if (k % 2) {
            khronos_break(b->rt, KHRONOS_BROKEN, "broken for the test");
            sched_take(b);
            assert_int_equal(khronos_executions(b->rt), 0);
            assert_true(b->runs[b->run_count - 1].finished);
            assert_true(b->runs[b->run_count - 2].finished);
            assert_int_equal(khronos_broken_status(b->rt), KHRONOS_BROKEN);
        } else if (!over) {
            sched_renew(b); /* without a word */
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
    sched_source(b, "inner",
                 "local _, ctx = ... ctx.store.go = coroutine.running() "
                 "task.wait(5) while true do end");
    sched_settle(b);
    sched_source(b, "outer", "local _, ctx = ... task.spawn(ctx.store.go) return 'outer'");
    b->limits.slice_ns = 1;
    while (sched_step(b) != KHRONOS_PARKED || !b->rt->scheduler.current ||
           strcmp(template_name(b->rt->scheduler.current->run->version), "inner") != 0)
        continue;
    for (int i = 0; i < 10; i++)
        assert_int_equal(sched_step(b), KHRONOS_PARKED);
    sched_source(b, "third", "return 3");
    assert_true(khronos_cancel(b->rt, "inner"));
    assert_true(khronos_cancel(b->rt, "inner")); /* nothing new, and no harm */
    sched_finish(b);
    sched_ended(b, "inner cancelled: the execution was cancelled\n"
                   "outer error: it was resuming a thread of an execution that was cancelled\n"
                   "third ok 3\n");
    sched_clean(b);
    /* The other way round: the one that is resumed is another's business. */
    b->limits.slice_ns = 600 * CLOCK_NS_PER_S;
    sched_source(b, "inner",
                 "local _, ctx = ... ctx.store.go = task.delay(5, function() "
                 "for i = 1, 1000 do end ctx.store.done = true end) task.wait(9) "
                 "return ctx.store.done");
    sched_settle(b);
    sched_source(b, "outer", "local _, ctx = ... task.spawn(ctx.store.go)");
    b->limits.slice_ns = 1;
    while (sched_step(b) != KHRONOS_PARKED || !b->rt->scheduler.current ||
           strcmp(template_name(b->rt->scheduler.current->run->version), "inner") != 0)
        continue;
    assert_true(khronos_cancel(b->rt, "outer"));
    sched_finish(b);
    sched_ended(b, "outer cancelled: the execution was cancelled\ninner ok null\n");
    sched_clean(b);
}

static void test_cancel_waiting(void **state)
{
    SchedulerBench *b = *state;
    assert_false(khronos_cancel(b->rt, "nobody"));
    sched_source(b, "a", "task.wait(5)");
    sched_source(b, "b",
                 "task.spawn(function() while task.wait(1) do print('b') end end) "
                 "task.defer(print, 'never') require('@test/host').ask()");
    sched_source(b, "c", "coroutine.yield()");
    sched_source(b, "d", "return 'd'");
    assert_true(khronos_cancel(b->rt, "a"));
    sched_take(b);
    sched_settle(b);
    assert_true(khronos_cancel(b->rt, "b"));
    assert_false(khronos_cancel(b->rt, "b"));
    assert_true(khronos_cancel(b->rt, "c"));
    assert_false(khronos_cancel(b->rt, "d"));
    assert_false(sched_answer(b, 0, 1, false) && false);
    sched_take(b);
    sched_finish(b);
    sched_printed(b, "never\n");
    sched_ended(b, "a cancelled: the execution was cancelled\nd ok \"d\"\n"
                   "b cancelled: the execution was cancelled\n"
                   "c cancelled: the execution was cancelled\n");
    sched_clean(b);
}

static void test_break_names_nobody_twice(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "a", "task.wait(5)");
    sched_settle(b);
    sched_source(b, "b", "return 1");
    khronos_break(b->rt, KHRONOS_INTERNAL, "why");
    sched_take(b);
    sched_ended(b, "a internal: why\nb internal: why\n");
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
    sched_submit(b, one, "a");
    sched_settle(b);
    sched_advance(b, 1);
    sched_submit(b, two, "b");
    sched_settle(b);
    assert_int_equal(b->rt->instances.count, 2);
    sched_advance(b, 9);
    sched_ended(b, "a ok [1,1,true]\n");
    assert_int_equal(b->rt->instances.count, 1);
    sched_submit(b, two, "c");
    sched_finish(b);
    sched_ended(b, "b ok [2,2,true]\nc ok [2,2,true]\n");
    /* Back, and forth while it waits. */
    sched_submit(b, one, "d");
    sched_settle(b);
    khronos_clear_cache(b->rt);
    sched_submit(b, one, "e");
    sched_settle(b);
    assert_int_equal(b->rt->instances.count, 2);
    sched_finish(b);
    sched_ended(b, "d ok [1,1,true]\ne ok [1,1,true]\n");
    assert_int_equal(b->rt->instances.count, 1);
    khronos_clear_cache(b->rt);
    assert_int_equal(b->rt->instances.count, 0);
    sched_clean(b);
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
    sched_submit(b, lender, "lender");
    sched_settle(b);
    sched_source(b, "user", "local _, ctx = ... return ctx.store.load()");
    sched_source(b, "also", "local _, ctx = ... return ctx.store.load()");
    sched_settle(b);
    khronos_clear_cache(b->rt);
    sched_source(b, "gone", "local _, ctx = ... return ctx.store.load()");
    sched_settle(b);
    sched_advance(b, 5);
    sched_ended(b, "lender ok null\nuser ok \"slow\"\nalso ok \"slow\"\ngone ok \"slow\"\n");
    assert_int_equal(b->rt->instances.count, 1);
    sched_source(b, "late", "local _, ctx = ... return ctx.store.load()");
    sched_settle(b);
    sched_ended(
        b, "late error: init.luau:1: require must be called by the current code of a template\n");
    template_release(lender);
}

/* ---- The log ----------------------------------------------------------------------------------
 */

static void test_notices_of_what_was_cut(void **state)
{
    SchedulerBench *b = *state;
    b->limits.log_lines_per_second = 2;
    sched_source(b, "t",
                 "for i = 1, 3 do for i = 1, 5 do print(i) end task.wait(0.25) end "
                 "task.wait(1) print('next')");
    sched_finish(b);
    sched_printed(b, "1\n2\nW [3 lines with 3 bytes dropped: more than 2 lines a second]\n"
                     "W [10 lines with 10 bytes dropped: more than 2 lines a second]\nnext\n");
    sched_source(b, "t", "for i = 1, 5 do print(i) end task.wait(0.5) print('x')");
    sched_finish(b);
    strbuf_clear(&b->printed);
    /* Why the host ended a thread is said however much the guild logs, and so is what was cut. */
    b->limits.log_lines_per_second = 1;
    b->limits.wall_max_ns = CLOCK_NS_PER_S;
    sched_source(b, "t", "task.spawn(function() while true do print('x') task.wait(0.1) end end)");
    sched_finish(b);
    const char *verdict = "E threads in the background were ended: the time limit of their run "
                          "passed\n";
    assert_non_null(strstr(b->printed.data, verdict));
    strbuf_clear(&b->printed);
    sched_renew(b);
    sched_source(b, "t",
                 "task.defer(function() print(1) print(2) local t = {} "
                 "while true do t[#t + 1] = ('x'):rep(1000) .. #t end end)");
    sched_finish(b);
    sched_printed(b, "1\nE memory limit of 20 MiB exceeded\n"
                     "W [1 lines with 1 bytes dropped: more than 1 lines a second]\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_results_in_finishing_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_submitted_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_endless_defers, setup, teardown),
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
