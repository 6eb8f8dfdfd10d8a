/* The task library: order, arguments, errors, cancelling, threads that are resumed by hand, limits.
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

static void test_spawn(void **state)
{
    SchedulerBench *b = *state;
    sched_expect(b,
                 "local co = task.spawn(function(...) print('in', ...) coroutine.yield(7) "
                 "print('again') end, 1, nil, 3) "
                 "print('out', coroutine.status(co)) "
                 "print(task.spawn(co) == co, coroutine.status(co))",
                 "in\t1\tnil\t3\nout\tsuspended\nagain\ntrue\tdead\n", "t ok null\n");
    sched_expect(b,
                 "local co = coroutine.create(function(a, b) print(a, b) "
                 "print(coroutine.yield()) end) "
                 "task.spawn(co, 1, 2) task.spawn(co, 3, 4)",
                 "1\t2\n3\t4\n", "t ok null\n");
    sched_expect(b, "task.spawn(print, 'native', 1) return task.spawn(type, 1) ~= nil",
                 "native\t1\n", "t ok true\n");
    sched_expect(b,
                 "for i = 1, 3 do task.spawn(function() print(i) task.wait() print(i * 10) end) "
                 "end print('main')",
                 "1\n2\n3\nmain\n10\n20\n30\n", "t ok null\n");
}

static void test_bad_arguments(void **state)
{
    SchedulerBench *b = *state;
    sched_expect(
        b,
        "local dead = coroutine.create(function() end) coroutine.resume(dead) "
        "local function try(f, ...) print(select(2, pcall(f, ...))) end "
        "try(task.spawn) try(task.spawn, 1) try(task.spawn, dead) "
        "try(task.spawn, coroutine.running()) "
        "try(task.defer, {}) try(task.defer, dead) try(task.defer, coroutine.running()) "
        "try(task.delay) try(task.delay, 'x', print) try(task.delay, 1) try(task.delay, 1, dead) "
        "try(task.delay, 0/0, print) try(task.delay, math.huge, print) "
        "try(task.delay, -math.huge, print) "
        "try(task.wait, 0/0) try(task.wait, math.huge) try(task.wait, {}) "
        "try(task.cancel) try(task.cancel, 5) try(task.cancel, coroutine.running())",
        "missing argument #1 to 'spawn' (function or thread expected)\n"
        "invalid argument #1 to 'spawn' (function or thread expected, got number)\n"
        "invalid argument #1 to 'spawn' (cannot resume dead coroutine)\n"
        "invalid argument #1 to 'spawn' (cannot resume non-suspended coroutine)\n"
        "invalid argument #1 to 'defer' (function or thread expected, got table)\n"
        "invalid argument #1 to 'defer' (cannot resume dead coroutine)\n"
        "invalid argument #1 to 'defer' (cannot resume non-suspended coroutine)\n"
        "missing argument #1 to 'delay' (number expected)\n"
        "invalid argument #1 to 'delay' (number expected, got string)\n"
        "missing argument #2 to 'delay' (function or thread expected)\n"
        "invalid argument #2 to 'delay' (cannot resume dead coroutine)\n"
        "invalid argument #1 to 'delay' (the time must be a finite number of seconds)\n"
        "invalid argument #1 to 'delay' (the time must be a finite number of seconds)\n"
        "invalid argument #1 to 'delay' (the time must be a finite number of seconds)\n"
        "invalid argument #1 to 'wait' (the time must be a finite number of seconds)\n"
        "invalid argument #1 to 'wait' (the time must be a finite number of seconds)\n"
        "invalid argument #1 to 'wait' (number expected, got table)\n"
        "missing argument #1 to 'cancel' (thread expected)\n"
        "invalid argument #1 to 'cancel' (thread expected, got number)\n"
        "invalid argument #1 to 'cancel' (a thread cannot cancel itself)\n",
        "t ok null\n");
    sched_expect(b,
                 "print(pcall(table.sort, {2, 1}, function() task.wait() end)) "
                 "print(task.synchronize(), task.desynchronize())",
                 "false\tinit.luau:1: attempt to yield across metamethod/C-call boundary\nnil\n",
                 "t ok null\n");
}

/* Deferred ones first in, first out, with those deferred meanwhile; then timers. */
static void test_order(void **state)
{
    SchedulerBench *b = *state;
    sched_expect(b,
                 "local function say(...) print(...) end "
                 "task.delay(0, say, 'delay 0') "
                 "task.defer(say, 'defer 1') "
                 "task.defer(function() print('defer 2') task.defer(say, 'defer 4') "
                 "task.delay(0, say, 'delay 0 in 2') task.spawn(say, 'spawn in 2') end) "
                 "task.defer(say, 'defer 3') "
                 "task.spawn(say, 'spawn') print('main')",
                 "spawn\nmain\ndefer 1\ndefer 2\nspawn in 2\ndefer 3\ndefer 4\ndelay 0\n"
                 "delay 0 in 2\n",
                 "t ok null\n");
    sched_expect(b,
                 "for _, s in {3, 1, 2, 1, 0, -5, 2, 0.5} do task.delay(s, print, s) end "
                 "task.wait(1) print('main') task.wait(-1) print('again') return task.wait(2)",
                 "0\n-5\n0.5\n1\n1\nmain\nagain\n2\n2\n3\n", "t ok 2\n");
    /* Threads are independent of how they were told to wait. */
    sched_expect(b,
                 "local co = coroutine.create(function(x) print('co', x) end) "
                 "task.defer(co, 'first') task.defer(print, 'other') task.defer(co, 'second')",
                 "other\nco\tsecond\n", "t ok null\n");
}

static void test_turns(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "t",
                 "task.defer(print, 'deferred') task.delay(0, print, 'delayed') "
                 "print('waiting') task.wait(0) print('second turn') task.wait() "
                 "print('third turn')");
    assert_int_equal(sched_step(b), KHRONOS_READY);
    sched_printed(b, "waiting\ndeferred\n");
    assert_int_equal(sched_step(b), KHRONOS_READY);
    sched_printed(b, "delayed\nsecond turn\n");
    assert_int_equal(sched_step(b), KHRONOS_IDLE);
    sched_printed(b, "third turn\n");
    sched_ended(b, "t ok null\n");
    assert_int_equal(khronos_due_ns(b->rt), 0);
    sched_source(b, "t", "task.wait(1.5)");
    assert_int_equal(khronos_due_ns(b->rt), 1);
    assert_int_equal(sched_step(b), KHRONOS_IDLE);
    assert_int_equal(khronos_due_ns(b->rt), b->now_ns + 1500 * CLOCK_NS_PER_MS);
    sched_advance(b, 1.499);
    assert_int_equal(khronos_executions(b->rt), 1);
    sched_advance(b, 0.001);
    sched_ended(b, "t ok null\n");
}

static void test_elapsed(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "t", "return task.wait(1), task.wait(-3), task.wait(0.25)");
    sched_settle(b);
    sched_advance(b, 1.75); /* late */
    sched_advance(b, 0.5);
    sched_ended(b, "t ok [1.75,0,0.5]\n");
    /* Longer than anybody waits. */
    sched_source(b, "t", "task.delay(1e300, print) task.delay(1e10, print)");
    sched_settle(b);
    sched_ended(b, "t ok null\n");
    assert_int_equal(khronos_tasks(b->rt), 2);
    sched_advance(b, 1000);
    sched_clean(b);
}

/* A wait suspends the coroutine that waits, and whoever resumed that goes on. */
static void test_coroutines(void **state)
{
    SchedulerBench *b = *state;
    sched_expect(b,
                 "local co = coroutine.create(function(...) print('co', ...) "
                 "print('slept', task.wait(1)) return 'lost' end) "
                 "print('resume', coroutine.resume(co, 1)) print(coroutine.status(co)) "
                 "task.wait(2) print(coroutine.status(co))",
                 "co\t1\nresume\ttrue\nsuspended\nslept\t1\ndead\n", "t ok null\n");
    sched_expect(b,
                 "local f = coroutine.wrap(function() task.wait(1) print('wrapped') "
                 "error('in the dark') end) f() print('on')",
                 "on\nwrapped\nE init.luau:1: in the dark\ninit.luau:1\n", "t ok null\n");
    sched_expect(b,
                 "local f = coroutine.wrap(function() for i = 1, 2 do task.wait(1) "
                 "coroutine.yield(i) end print('end') end) "
                 "f() task.wait(5) print(f()) task.wait(5) f() print('done')",
                 "\nend\ndone\n", "t ok null\n");
    /* pcall and metamethods that can wait. */
    sched_expect(b,
                 "print(pcall(function() task.wait(1) error('x', 0) end)) "
                 "local t = setmetatable({}, {__call = function() return task.wait(3) end}) "
                 "return t()",
                 "false\tx\n", "t ok 3\n");
}

static void test_errors(void **state)
{
    SchedulerBench *b = *state;
    sched_expect(b,
                 "local function bad(what)\nerror(what)\nend\n"
                 "task.spawn(bad, 'spawned')\ntask.defer(bad, 'deferred')\n"
                 "task.delay(1, bad, 'delayed')\n"
                 "task.spawn(error, {})\ntask.spawn(error, 5)\ntask.spawn(error)\n"
                 "task.spawn(function() task.wait(2) bad('late') end)\n"
                 "task.wait(3) return 'alive'",
                 "E init.luau:2: spawned\ninit.luau:2 function bad\n"
                 "E (error object is a table value)\n"
                 "E 5\n"
                 "E (error object is a nil value)\n"
                 "E init.luau:2: deferred\ninit.luau:2 function bad\n"
                 "E init.luau:2: delayed\ninit.luau:2 function bad\n"
                 "E init.luau:2: late\ninit.luau:2 function bad\ninit.luau:10\n",
                 "t ok \"alive\"\n");
    assert_int_equal(b->rt->scheduler.errors, 7);
    /* The main thread's is not logged: it is the result. */
    sched_expect(b, "task.spawn(error, 'a') task.defer(print, 'b') error('main')", "E a\nb\n",
                 "t error: init.luau:1: main\n");
}

static void test_cancel(void **state)
{
    SchedulerBench *b = *state;
    static const char expected[] = "cancelled\tdead\n";
#define CANCELLED "task.cancel(co) print('cancelled', coroutine.status(co))"
    sched_expect(b, "local co = task.delay(1, print, 'no') " CANCELLED, expected, "t ok null\n");
    sched_expect(b, "local co = task.defer(print, 'no') " CANCELLED, expected, "t ok null\n");
    sched_expect(b, "local co = task.spawn(function() task.wait(1) print('no') end) " CANCELLED,
                 expected, "t ok null\n");
    sched_expect(b, "local co = task.spawn(coroutine.yield) " CANCELLED, expected, "t ok null\n");
    sched_expect(b, "local co = coroutine.create(print) " CANCELLED, expected, "t ok null\n");
    sched_expect(b, "local co = task.spawn(print) " CANCELLED, "\ncancelled\tdead\n",
                 "t ok null\n");
    sched_expect(b, "local co = task.spawn(error, 'x') " CANCELLED, "E x\ncancelled\tdead\n",
                 "t ok null\n");
    sched_expect(b, "local co = task.spawn(require('@test/host').ask) " CANCELLED, expected,
                 "t ok null\n");
    assert_false(sched_answer(b, 0, 1, false));
    assert_int_equal(b->dropped, 1);
    sched_expect(
        b,
        "local main = coroutine.running() "
        "task.spawn(function() print(pcall(task.cancel, main)) "
        "coroutine.wrap(function() print(pcall(task.cancel, main)) end)() end)",
        "false\tinvalid argument #1 to 'cancel' (cannot cancel a thread that is running)\n"
        "false\tinvalid argument #1 to 'cancel' (cannot cancel a thread that is running)\n",
        "t ok null\n");
    sched_expect(b,
                 "local main = coroutine.running() "
                 "task.delay(1, function() task.cancel(main) print('after', "
                 "coroutine.status(main)) task.wait(1) print('goes on') end) task.wait(5)",
                 "after\tdead\ngoes on\n", "t error: the run was ended by task.cancel\n");
    /* Answers that are on their way. */
    b->ticket_count = b->dropped = 0;
    sched_source(b, "t",
                 "local ask = require('@test/host').ask "
                 "local one, two = task.spawn(ask), task.spawn(function(x) "
                 "print('got', ask(), x) end) ask() "
                 "task.cancel(one) task.spawn(two, 'instead') task.wait(1) "
                 "return coroutine.status(one), coroutine.status(two)");
    sched_settle(b);
    assert_true(sched_answer(b, 2, 1, false));
    assert_true(sched_answer(b, 0, 1, false));
    assert_true(sched_answer(b, 1, 1, false));
    sched_settle(b);
    sched_printed(b, "got\tinstead\tnil\n");
    assert_int_equal(b->dropped, 3);
    sched_advance(b, 1);
    sched_ended(b, "t ok [\"dead\",\"dead\"]\n");
    sched_clean(b);
}

static void test_cancel_belongs_to_the_template(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "one",
                 "local _, ctx = ... ctx.store.co = task.delay(2, print, 'one') "
                 "ctx.store.main = coroutine.running() task.wait(3)");
    sched_settle(b);
    sched_source(b, "two",
                 "local _, ctx = ... print(pcall(task.cancel, ctx.store.co)) "
                 "print(pcall(task.cancel, ctx.store.main))");
    sched_settle(b);
    sched_printed(
        b, "false\tinvalid argument #1 to 'cancel' (the thread belongs to another template)\n"
           "false\tinvalid argument #1 to 'cancel' (the thread belongs to another template)\n");
    sched_source(b, "one", "local _, ctx = ... task.cancel(ctx.store.co)");
    sched_advance(b, 3);
    sched_printed(b, "");
    sched_ended(b, "two ok null\none ok null\none ok null\n");
    sched_clean(b);
}

/* A thread that is told to go on twice does so once, the last way. */
static void test_told_twice(void **state)
{
    SchedulerBench *b = *state;
    sched_expect(b,
                 "local co = coroutine.create(function(...) print(...) end) "
                 "task.delay(1, co, 'a', 'b', 'c') task.delay(2, co, 'd') task.defer(co, 'e', 'f') "
                 "task.delay(3, co)",
                 "\n", "t ok null\n");
    sched_expect(b,
                 "local co = coroutine.create(function(...) print(...) end) "
                 "task.delay(1, co, 'a', 'b', 'c') task.spawn(co, 'now')",
                 "now\n", "t ok null\n");
    sched_expect(b,
                 "local co co = task.spawn(function() print('got', task.wait(1)) "
                 "print('got', task.wait(1)) end) task.spawn(co, 'early') task.wait(5)",
                 "got\tearly\ngot\t1\n", "t ok null\n");
    sched_expect(
        b,
        "local main = coroutine.running() task.defer(main, 'told') "
        "return task.wait(50)",
        "",
        "t error: init.luau:1: invalid argument #1 to 'defer' (cannot resume non-suspended "
        "coroutine)\n");
    sched_expect(b,
                 "local main = coroutine.running() "
                 "task.spawn(function() task.wait(1) task.spawn(main, 'told') print('back') end) "
                 "return task.wait(50)",
                 "back\n", "t ok \"told\"\n");
}

/* What the template resumes or closes by hand while the scheduler has it, too. */
static void test_by_hand(void **state)
{
    SchedulerBench *b = *state;
    sched_expect(b,
                 "local co = task.delay(1, function(...) print('f', ...) end, 1, 2) "
                 "print(coroutine.resume(co, 'hand')) task.wait(2)",
                 "f\thand\ntrue\n", "t ok null\n");
    sched_expect(b,
                 "local co = task.delay(1, function(...) print('f', ...) "
                 "print('then', coroutine.yield()) end, 1, 2, table.unpack(table.create(200, 0))) "
                 "print(coroutine.resume(co, 'hand')) task.wait(2)",
                 "f\thand\ntrue\nthen\t1\t2"
                 "\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0"
                 "\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0"
                 "\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0"
                 "\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0"
                 "\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0"
                 "\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0"
                 "\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0"
                 "\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0\t0"
                 "\n",
                 "t ok null\n");
    sched_expect(b,
                 "local co = task.spawn(function() print(task.wait(1)) print(task.wait(5)) end) "
                 "print(coroutine.resume(co, 'hand')) print(coroutine.resume(co, 'twice')) "
                 "print(coroutine.status(co)) task.wait(10)",
                 "hand\ntrue\ntwice\ntrue\ndead\n", "t ok null\n");
    sched_expect(b,
                 "local co = task.spawn(function() task.wait(1) print('no') end) "
                 "print(coroutine.close(co)) task.wait(2) print(coroutine.status(co))",
                 "true\ndead\n", "t ok null\n");
    sched_expect(b,
                 "coroutine.close(task.defer(print, 'no')) "
                 "coroutine.close(task.delay(0, print, 'no'))",
                 "", "t ok null\n");
    /* The main thread, too; what it returns to the other one is no result. */
    sched_expect(b,
                 "local main = coroutine.running() task.delay(1, function() "
                 "print(coroutine.resume(main, 'x')) end) print(task.wait(50)) return 'result'",
                 "x\ntrue\tresult\n",
                 "t error: the template's main thread was ended by other code\n");
    sched_expect(b,
                 "local main = coroutine.running() task.delay(1, function() "
                 "coroutine.close(main) print('closed') task.wait(10) print('on') end) "
                 "coroutine.yield()",
                 "closed\non\n", "t error: the template's main thread was ended by other code\n");
    sched_expect(b,
                 "local main = coroutine.running() task.delay(1, function() "
                 "print(coroutine.resume(main)) end) coroutine.yield() print(task.wait(1)) "
                 "return 'result'",
                 "true\n1\n", "t ok \"result\"\n");
}

static void test_stuck(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "t", "print('a')\nlocal x = 1\ncoroutine.yield(x)\nprint('b')");
    sched_settle(b);
    sched_printed(b, "a\n");
    sched_ended(b, "t error: the template yielded, and nothing would ever resume it\n");
    assert_int_equal(b->runs[b->run_count - 1].x.line, 3);
    sched_clean(b);
    /* Not while somebody may still resume it. */
    sched_source(b, "main",
                 "local _, ctx = ... ctx.store.main = coroutine.running() "
                 "return coroutine.yield()");
    sched_source(b, "timer", "task.wait(10)");
    sched_settle(b);
    sched_advance(b, 5);
    sched_ended(b, "");
    sched_source(b, "ask", "require('@test/host').ask()");
    sched_advance(b, 6);
    sched_ended(b, "timer ok null\n");
    sched_source(b, "last", "local _, ctx = ... task.delay(1, ctx.store.main, 'late')");
    sched_settle(b);
    assert_true(sched_answer(b, 0, 1, false));
    sched_advance(b, 1);
    sched_ended(b, "last ok null\nask ok null\nmain ok \"late\"\n");
    sched_clean(b);
    sched_source(b, "one", "coroutine.yield()");
    sched_source(b, "two", "coroutine.yield()");
    sched_settle(b);
    sched_ended(b, "one error: the template yielded, and nothing would ever resume it\n"
                   "two error: the template yielded, and nothing would ever resume it\n");
    sched_clean(b);
    /* Nor is it forgotten when the slice was used up just then. */
    b->limits.slice_ns = 1;
    for (int i = 0; i < 3; i++)
        sched_source(b, "slow", "coroutine.yield()");
    for (int i = 0; i < 12 && khronos_due_ns(b->rt) == 1; i++)
        sched_step(b);
    sched_ended(b, "slow error: the template yielded, and nothing would ever resume it\n"
                   "slow error: the template yielded, and nothing would ever resume it\n"
                   "slow error: the template yielded, and nothing would ever resume it\n");
    sched_clean(b);
}

static void test_deep_spawns(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "t",
                 "local deepest, text = 0, nil "
                 "local function f(n) deepest = n local ok, e = pcall(task.spawn, f, n + 1) "
                 "if not ok and not text then text = e end end f(1) "
                 "return deepest > 100, deepest < 250, text");
    sched_settle(b);
    sched_printed(b, "");
    sched_ended(b, "t ok [true,true,\"stack overflow (threads start each other too deep)\"]\n");
    sched_clean(b);
    /* The thread that could not be started can be later. */
    sched_source(
        b, "t",
        "local kept local function f(n) "
        "local co = coroutine.create(function(x) if x then print(x) else f(n + 1) end end) "
        "if not pcall(task.spawn, co) then kept = kept or co end end f(1) "
        "task.spawn(kept, 'works') return coroutine.status(kept)");
    sched_settle(b);
    sched_printed(b, "works\n");
    sched_ended(b, "t ok \"dead\"\n");
    sched_clean(b);
}

static void test_tasks_max(void **state)
{
    SchedulerBench *b = *state;
    b->limits.tasks_max = 10;
    sched_expect(b,
                 "for i = 1, 12 do local ok, e = pcall(task.delay, 1, print, i) "
                 "if not ok then print(e) end end "
                 "print(pcall(task.spawn, print)) print(pcall(task.defer, print)) "
                 "print(coroutine.resume(coroutine.create(function() task.wait() end))) "
                 "task.wait(2) task.spawn(print, 'room again')",
                 "too many tasks: the guild has 10 alive, which is the limit\n"
                 "too many tasks: the guild has 10 alive, which is the limit\n"
                 "false\ttoo many tasks: the guild has 10 alive, which is the limit\n"
                 "false\ttoo many tasks: the guild has 10 alive, which is the limit\n"
                 "false\tinit.luau:1: too many tasks: the guild has 10 alive, which is the limit\n"
                 "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\nroom again\n",
                 "t ok null\n");
}

static void account(SchedulerBench *b, luau_Account *account)
{
    khronos_shrink(b->rt);
    khronos_account(b->rt, account);
}

static void test_memory(void **state)
{
    SchedulerBench *b = *state;
    luau_Account before, full, after;
    b->limits.memory_max_bytes = (size_t)64 << 20;
    khronos_setlimits(b->rt, &b->limits);
    static const char source[] = "local function f(...) task.wait(1) end "
                                 "for i = 1, 2500 do task.spawn(f) task.defer(f, i) "
                                 "task.delay(1, f, i, i) coroutine.wrap(f)() end";
    sched_source(b, "t", source);
    sched_advance(b, 5);
    for (int i = 0; i < 5; i++)
        sched_advance(b, 1);
    account(b, &before);
    sched_source(b, "t", source);
    sched_settle(b);
    assert_int_equal(khronos_tasks(b->rt), 10000);
    account(b, &full);
    assert_true(full.external_bytes >= before.external_bytes + 10000 * sizeof(Task));
    for (int i = 0; i < 5; i++)
        sched_advance(b, 1);
    sched_clean(b);
    account(b, &after);
    assert_int_equal(after.external_bytes, before.external_bytes);
    assert_int_equal(after.live_bytes, before.live_bytes);
    /* Also when they are cancelled, by the template or with the execution. */
    sched_source(b, "t",
                 "local list = {} for i = 1, 1000 do list[i] = task.delay(1, print, i) "
                 "task.spawn(task.wait, 9) end for _, co in list do task.cancel(co) end "
                 "task.wait(99)");
    sched_settle(b);
    assert_int_equal(khronos_tasks(b->rt), 1000);
    assert_true(khronos_cancel(b->rt, "t"));
    sched_settle(b);
    sched_take(b);
    sched_clean(b);
    account(b, &after);
    assert_int_equal(after.external_bytes, before.external_bytes);
}

static void test_tickets(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "t",
                 "local ask = require('@test/host').ask "
                 "task.spawn(function() print('spawned', ask()) end) "
                 "print(pcall(ask)) print(coroutine.resume(coroutine.create(ask))) "
                 "return ask()");
    sched_settle(b);
    assert_int_equal(b->ticket_count, 2);
    assert_true(sched_answer(b, 1, 5, true));
    sched_settle(b);
    sched_printed(b, "false\tthe host failed with 5\ntrue\n");
    assert_true(sched_answer(b, 3, 7, false));
    assert_false(sched_answer(b, 3, 8, false));
    sched_settle(b);
    sched_ended(b, "t ok [7,\"answer\"]\n");
    assert_true(sched_answer(b, 0, 1, false));
    assert_true(sched_answer(b, 2, 1, false));
    sched_settle(b);
    sched_printed(b, "spawned\t1\tanswer\n");
    assert_int_equal(b->dropped, 5);
    sched_clean(b);
    /* Not where nobody can wait; a thread that is gone; one that was ended by hand. */
    b->ticket_count = b->dropped = 0;
    sched_source(b, "t",
                 "local host, co = require('@test/host') "
                 "print(pcall(host.call, host.ask)) "
                 "task.spawn(coroutine.close, task.spawn(host.ask)) co = task.spawn(host.ask) "
                 "print(coroutine.resume(co, 'by hand')) print(coroutine.status(co)) host.ask()");
    sched_settle(b);
    sched_printed(b, "false\tthis call waits, and code that cannot yield cannot make it\n"
                     "true\tby hand\ndead\n");
    assert_int_equal(b->ticket_count, 3);
    for (int i = 0; i < 3; i++)
        sched_answer(b, i, 1, false);
    sched_settle(b);
    sched_ended(b, "t ok null\n");
    assert_int_equal(b->dropped, 3);
    sched_clean(b);
    assert_false(khronos_wake(b->rt, 12345, NULL, NULL, NULL));
}

/* The same under a collector that never rests and stacks that never stay. */
static void test_under_stress(void **state)
{
    SchedulerBench *b = *state;
    static const char source[] =
        "local host = require('@test/host') local list = {} "
        "local function f(a, ...) task.wait(a % 3) list[#list + 1] = a "
        "if a % 5 == 0 then error('five') end return ... end "
        "for i = 1, 6 do task.spawn(f, i, 1, 2) task.defer(f, i) task.delay(i % 4, f, i, {}) "
        "coroutine.wrap(f)(i, 1) end "
        "task.cancel(task.delay(1, f, 1)) coroutine.close(task.delay(1, f, 1, 2)) "
        "coroutine.resume(task.delay(1, f, 2, 2)) "
        "task.spawn(function() task.spawn(function() task.spawn(f, 3) task.wait() "
        "task.spawn(error, {}) end) end) "
        "local co = task.spawn(host.ask) task.spawn(pcall, host.ask) task.wait(5) "
        "host.collect() return #list";
    luau_testmode(b->rt->L, LUAU_TEST_GC_ALWAYS | LUAU_TEST_STACK_MOVES);
    for (int round = 0; round < 2; round++) {
        b->ticket_count = 0;
        sched_source(b, "t", source);
        sched_settle(b);
        sched_answer(b, 0, 1, round);
        sched_answer(b, 1, 1, true);
        for (int i = 0; i < 10; i++)
            sched_advance(b, 1);
        sched_ended(b, "t ok 25\n");
        sched_clean(b);
    }
    strbuf_clear(&b->printed);
}

/* Threads that do anything to each other, in three executions at once, one of which is cancelled.
 */
static const char ANYTHING[] =
    "local _, ctx = ... local host = require('@test/host') "
    "local seed, pool, steps = SEED, ctx.store, 0 "
    "local function random(n) seed = (seed * 1103515245 + 12345) % 2147483648 "
    "return seed // 65536 % n + 1 end "
    "local act local function body(...) local n = random(4) "
    "for i = 1, n do act() if random(3) == 1 then coroutine.yield(i) end end "
    "if random(6) == 1 then error('any') end return ... end "
    "local function any() return pool[random(8)] or body end "
    "local acts = {"
    "function() pool[random(8)] = task.spawn(any(), 1, 2) end, "
    "function() pool[random(8)] = task.spawn(body) end, "
    "function() pool[random(8)] = task.defer(any(), table.unpack({1, 2, 3}, random(3))) end, "
    "function() pool[random(8)] = task.delay(random(3) - 2, any(), {}) end, "
    "function() pool[random(8)] = coroutine.create(body) end, "
    "function() pool[random(8)] = coroutine.running() end, "
    "function() task.wait(random(3) - 1) end, "
    "function() task.cancel(any()) end, "
    "function() coroutine.close(any()) end, "
    "function() coroutine.resume(any(), {}, 'x') end, "
    "function() local c = any() pool[random(8)] = coroutine.create(function() "
    "return coroutine.resume(c) end) end, "
    "function() require('./m' .. random(2)) end, "
    "function() if random(3) == 1 then host.ask() end end, "
    "} "
    "function act() steps += 1 if steps < 400 then pcall(acts[random(#acts)]) end end "
    "ACT = act for i = 1, 4 do for i = 1, 12 do act() end task.wait(0.5) end return steps";
static const char MODULE[] = "pcall(ACT) task.wait(1) pcall(ACT) task.spawn(ACT) return {}";

static void do_anything(SchedulerBench *b, int seed)
{
    char source[sizeof(ANYTHING) + 16];
    const char *at = strstr(ANYTHING, "SEED");
    snprintf(source, sizeof(source), "%.*s%d%s", (int)(at - ANYTHING), ANYTHING, seed, at + 4);
    b->ticket_count = 0;
    for (int i = 0; i < 3; i++) {
        char id[16];
        snprintf(id, sizeof(id), "n%d", i);
        KhronosTemplate *t = support_template(b->sandbox, i ? "two" : "one", (uint32_t)seed,
                                              "init.luau", source, "m1.luau", MODULE, "m2.luau",
                                              MODULE, NULL);
        sched_submit(b, t, id);
        template_release(t);
    }
    for (int i = 0; i < 150; i++) {
        sched_step(b);
        if (i == 20)
            khronos_cancel(b->rt, seed % 2 ? "n0" : "n1");
        if (i % 5 == 4 && !khronos_isparked(b->rt)) {
            b->now_ns += CLOCK_NS_PER_S / 2;
            while (b->ticket_count > 0)
                sched_answer(b, --b->ticket_count, 1, i % 2);
        }
    }
    sched_take(b);
    while (khronos_isparked(b->rt))
        sched_step(b);
    const char *problem = luau_checkheap(b->rt->L);
    if (problem)
        fail_msg("%s", problem);
    b->now_ns += b->limits.wall_max_ns;
    sched_settle(b);
    assert_int_equal(khronos_executions(b->rt), 0);
    if (khronos_isbroken(b->rt)) /* one that waited to its end */
        sched_renew(b);
    else
        sched_clean(b);
    strbuf_clear(&b->printed);
    strbuf_clear(&b->ended);
}

static void test_anything(void **state)
{
    SchedulerBench *b = *state;
    b->limits.tasks_max = 40;
    b->tick = true;
    for (int seed = 1; seed <= 400; seed++) {
        b->limits.slice_ns = seed % 3 ? 600 * CLOCK_NS_PER_S : 1;
        luau_testmode(b->rt->L, seed % 8 ? 0 : LUAU_TEST_GC_ALWAYS | LUAU_TEST_STACK_MOVES);
        do_anything(b, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_spawn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_elapsed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_coroutines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel_belongs_to_the_template, setup, teardown),
        cmocka_unit_test_setup_teardown(test_told_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_by_hand, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stuck, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deep_spawns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tasks_max, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tickets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_under_stress, setup, teardown),
        cmocka_unit_test_setup_teardown(test_anything, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
