/* Calls of templates as the runtime's owner sees them: who waits for what, limits, answers that
 * come late or for nobody, and that every call is dropped once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "call_support.h"
#include "scheduler_support.h"

#define ASK "local ask = require('@test/call').ask "

static int setup(void **state)
{
    *state = sched_new();
    return 0;
}

static int teardown(void **state)
{
    sched_free(*state);
    assert_int_equal(test_calls_live(), 0); /* whatever became of the VM */
    return 0;
}

static KhronosCall *take(SchedulerBench *b, const char *text)
{
    KhronosCall *call = khronos_take_call(b->rt);
    assert_non_null(call);
    assert_string_equal(test_call_text(call), text);
    assert_int_equal(call->guild_id, 7);
    assert_true(call->ticket != 0);
    assert_null(call->next);
    return call;
}

static bool answer(SchedulerBench *b, KhronosCall *call, const char *text)
{
    test_call_answer(call, text);
    return khronos_answer(b->rt, call);
}

static void expect_nothing_under_way(SchedulerBench *b)
{
    assert_int_equal(b->rt->calls.count, 0);
    assert_int_equal(b->rt->calls.bytes, 0);
    assert_null(khronos_take_call(b->rt));
    assert_int_equal(test_calls_live(), 0);
}

static void test_answers(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "t",
                 ASK "task.spawn(function() print(ask('a')) end) "
                     "task.spawn(function() print(ask('b')) end) return ask('c')");
    sched_settle(b);
    assert_int_equal(khronos_executions(b->rt), 1);
    assert_int_equal(khronos_tasks(b->rt), 2);
    KhronosCall *a = take(b, "a"), *second = take(b, "b"), *c = take(b, "c");
    assert_null(khronos_take_call(b->rt));
    assert_true(a->ticket != second->ticket && second->ticket != c->ticket);
    assert_int_equal(b->rt->calls.count, 3);
    assert_true(answer(b, c, "C"));
    sched_settle(b);
    sched_ended(b, "t ok \"C\"\n");
    assert_true(answer(b, second, "B"));
    assert_true(answer(b, a, "A"));
    assert_int_equal(test_calls_live(), 2); /* until they are pushed */
    sched_settle(b);
    sched_printed(b, "B\nA\n");
    expect_nothing_under_way(b);
    sched_clean(b);
}

static void test_errors(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "t", ASK "print(pcall(ask, 'a')) ask('b')");
    sched_settle(b);
    KhronosCall *call = take(b, "a");
    call->kind->refuse(call, "no such thing");
    assert_true(khronos_answer(b->rt, call));
    sched_settle(b);
    sched_printed(b, "false\tno such thing\n");
    call = take(b, "b");
    call->kind->refuse(call, "nor this");
    assert_true(khronos_answer(b->rt, call));
    sched_settle(b);
    sched_ended(b, "t error: nor this\n");
    expect_nothing_under_way(b);
}

static void test_count_limit(void **state)
{
    SchedulerBench *b = *state;
    b->limits.calls_max = 3;
    sched_source(b, "t",
                 ASK "for i = 1, 5 do task.spawn(function() "
                     "print(pcall(ask, tostring(i))) end) end");
    sched_settle(b);
    static const char too_many[] = "false\ttoo many calls wait for their answers (3 at most)\n";
    char twice[2 * sizeof(too_many)];
    snprintf(twice, sizeof(twice), "%s%s", too_many, too_many);
    sched_printed(b, twice);
    assert_int_equal(test_calls_live(), 3);
    KhronosCall *calls[3];
    for (int i = 0; i < 3; i++)
        calls[i] = take(b, i == 0 ? "1" : i == 1 ? "2" : "3");
    /* Taken ones count as well, until they are back. */
    sched_source(b, "u", ASK "return ask('x')");
    sched_settle(b);
    sched_ended(b, "t ok null\n"
                   "u error: init.luau:1: too many calls wait for their answers (3 at most)\n");
    assert_true(answer(b, calls[1], "again"));
    sched_settle(b);
    sched_source(b, "v", ASK "return ask('y')");
    sched_settle(b);
    assert_true(answer(b, take(b, "y"), "room"));
    assert_true(answer(b, calls[0], "first"));
    assert_true(answer(b, calls[2], "third"));
    sched_settle(b);
    sched_ended(b, "v ok \"room\"\n");
    sched_printed(b, "true\tagain\ntrue\tfirst\ntrue\tthird\n");
    expect_nothing_under_way(b);
    sched_clean(b);
}

static void test_no_calls_at_all(void **state)
{
    SchedulerBench *b = *state;
    b->limits.calls_max = 0;
    sched_expect(b, ASK "return (select(2, pcall(ask, 'a')))", "",
                 "t ok \"too many calls wait for their answers (0 at most)\"\n");
    expect_nothing_under_way(b);
}

static void test_bytes_limit(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "t",
                 ASK "task.spawn(ask, 'a', 8 * 2^20 - 10) "
                     "print(pcall(ask, 'b', 11)) task.spawn(ask, 'c', 10) "
                     "print(pcall(ask, 'd', 1)) print(pcall(ask, 'e', 2^40))");
    sched_settle(b);
    static const char full[] =
        "false\tcalls that wait for their answers hold too many bytes (8388608 at most)\n";
    char expected[3 * sizeof(full)];
    snprintf(expected, sizeof(expected), "%s%s%s", full, full, full);
    sched_printed(b, expected);
    assert_int_equal(b->rt->calls.bytes, CALLS_BYTES_MAX);
    assert_true(answer(b, take(b, "a"), "A"));
    assert_true(answer(b, take(b, "c"), "C"));
    sched_settle(b);
    expect_nothing_under_way(b);
    sched_source(b, "u", ASK "return ask('x', 8 * 2^20)");
    sched_settle(b);
    assert_true(answer(b, take(b, "x"), "X"));
    sched_settle(b);
    sched_ended(b, "t ok null\nu ok \"X\"\n");
    expect_nothing_under_way(b);
}

/* What keeps a thread from waiting keeps it from calling, and the call is dropped. */
static void test_who_cannot_wait(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "t",
                 ASK "local host = require('@test/host') "
                     "print(pcall(host.call, function() ask('a') end))");
    sched_settle(b);
    sched_printed(
        b, "false\tinit.luau:1: this call waits, and code that cannot yield cannot make it\n");
    assert_null(khronos_take_call(b->rt));
    assert_int_equal(test_calls_live(), 0);
    b->limits.tasks_max = 1;
    sched_source(b, "u",
                 ASK "task.delay(5, print, 'x') "
                     "print(pcall(coroutine.wrap(function() ask('b') end)))");
    sched_settle(b);
    assert_non_null(strstr(strbuf_cstr(&b->printed), "too many tasks"));
    assert_null(khronos_take_call(b->rt));
    expect_nothing_under_way(b);
}

/* The thread is gone when the answer comes: it counts until then. */
static void test_dead_threads(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "t",
                 ASK "local co = coroutine.create(function() ask('a') end) "
                     "coroutine.resume(co) coroutine.close(co) "
                     "local th = task.spawn(function() ask('b') end) task.cancel(th) "
                     "return ask('c')");
    sched_settle(b);
    KhronosCall *a = take(b, "a"), *second = take(b, "b"), *c = take(b, "c");
    assert_int_equal(b->rt->calls.count, 3);
    bool woken = answer(b, a, "A"); /* the task is there; its thread is not */
    assert_false(answer(b, second, "B"));
    sched_settle(b);
    assert_int_equal(b->rt->calls.count, 1);
    assert_true(woken);
    assert_true(answer(b, c, "C"));
    sched_settle(b);
    sched_ended(b, "t ok \"C\"\n");
    expect_nothing_under_way(b);
    sched_clean(b);
}

static void test_cancel(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "t", ASK "task.spawn(ask, 'a') ask('b')");
    sched_settle(b);
    KhronosCall *a = take(b, "a"); /* `b` is still here */
    assert_true(khronos_cancel(b->rt, "t"));
    sched_take(b);
    sched_ended(b, "t cancelled: the execution was cancelled\n");
    sched_settle(b);
    KhronosCall *second = take(b, "b"); /* it was made, and is answered like any */
    assert_false(answer(b, second, "B"));
    assert_false(answer(b, a, "A"));
    expect_nothing_under_way(b);
    sched_expect(b, "return 1", "", "t ok 1\n");
}

/* Broken with calls in every place. */
static void test_break(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "t", ASK "for _, s in {'a', 'b', 'c', 'd'} do task.spawn(ask, s) end ask('e')");
    sched_settle(b);
    KhronosCall *a = take(b, "a"), *second = take(b, "b");
    assert_true(answer(b, a, "A")); /* not yet pushed */
    khronos_break(b->rt, KHRONOS_BROKEN, "it is over");
    sched_take(b);
    sched_ended(b, "t broken: it is over\n");
    assert_null(khronos_take_call(b->rt));
    assert_int_equal(test_calls_live(), 2);
    assert_false(answer(b, second, "B"));
    assert_int_equal(test_calls_live(), 1); /* goes with the VM */
}

static void test_kill(void **state)
{
    SchedulerBench *b = *state;
    b->limits.memory_max_bytes = (size_t)1 << 20;
    sched_renew(b);
    sched_source(b, "t",
                 ASK "task.spawn(ask, 'a') task.spawn(ask, 'b') "
                     "local t = {} while true do t[#t + 1] = {} end");
    sched_settle(b);
    assert_true(khronos_isbroken(b->rt));
    assert_null(khronos_take_call(b->rt));
    assert_int_equal(test_calls_live(), 0);
}

/* Freed as it is. */
static void test_freed_as_it_is(void **state)
{
    SchedulerBench *b = *state;
    sched_source(b, "t", ASK "task.spawn(ask, 'a') task.spawn(ask, 'b') print('made') ask('c')");
    sched_settle(b);
    KhronosCall *a = take(b, "a"), *second = take(b, "b");
    assert_true(answer(b, a, "A"));
    khronos_break(b->rt, KHRONOS_BROKEN, "it is over");
    sched_take(b);
    sched_renew(b);
    /* Another VM of the same guild: the answer is not for it, and does not count there. */
    sched_source(b, "u", ASK "return ask('x')");
    sched_settle(b);
    assert_false(answer(b, second, "B"));
    assert_int_equal(b->rt->calls.count, 1);
    assert_true(answer(b, take(b, "x"), "X"));
    sched_settle(b);
    strbuf_clear(&b->ended);
    expect_nothing_under_way(b);
}

/* Parked in the middle of something: calls can be taken and answered. */
static void test_parked(void **state)
{
    SchedulerBench *b = *state;
    b->limits.slice_ns = 1;
    b->tick = true;
    sched_source(b, "t",
                 ASK "task.spawn(function() print(ask('a')) end) "
                     "while not done do for i = 1, 1000 do end end return 'done'");
    KhronosStep step;
    do
        step = sched_step(b);
    while (step != KHRONOS_PARKED || b->rt->calls.count == 0);
    assert_true(answer(b, take(b, "a"), "A"));
    assert_int_equal(sched_step(b), KHRONOS_PARKED);
    sched_printed(b, "");
    assert_true(khronos_cancel(b->rt, "t"));
    sched_settle(b);
    sched_ended(b, "t cancelled: the execution was cancelled\n");
    expect_nothing_under_way(b);
}

static void test_tickets(void **state)
{
    SchedulerBench *b = *state;
    enum { VMS = 50, CALLS = 3 };
    KhronosTicket tickets[VMS * CALLS];
    for (int i = 0; i < VMS; i++) {
        sched_renew(b);
        assert_int_equal(b->rt->scheduler.ticket, 0); /* nothing is read before it is needed */
        sched_source(b, "t", ASK "for i = 1, 3 do ask('a') end");
        for (int k = 0; k < CALLS; k++) {
            sched_settle(b);
            KhronosCall *call = take(b, "a");
            tickets[CALLS * i + k] = call->ticket;
            assert_true(answer(b, call, "A"));
        }
        sched_settle(b);
        sched_ended(b, "t ok null\n");
    }
    for (int i = 0; i < VMS * CALLS; i++)
        for (int k = 0; k < i; k++)
            assert_true(tickets[i] != tickets[k]);
}

static void test_context_field(void **state)
{
    SchedulerBench *b = *state;
    sched_expect(b, "local _, ctx = ... return ctx.Asker", "", "t ok \"asker of 7\"\n");
    sched_expect(b, "local _, ctx = ... return ctx:withlimits({capabilities = {}}).Asker", "",
                 "t ok \"asker of 7\"\n");
    sched_expect(b, "local _, ctx = ... return ctx.guild_id", "", "t ok \"7\"\n");
    sched_expect(b, "local _, ctx = ... return (select(2, pcall(function() return ctx.Other end)))",
                 "", "t ok \"init.luau:1: TemplateContext has no field 'Other'\"\n");
    sched_expect(b, "local _, ctx = ... return (pcall(function() ctx.Asker = 1 end))", "",
                 "t ok false\n");
}

static void test_task_errors(void **state)
{
    SchedulerBench *b = *state;
    assert_int_equal(khronos_task_errors(b->rt), 0);
    sched_source(b, "t", "task.spawn(error, 'one') task.defer(error, 'two') error('mine')");
    sched_settle(b);
    assert_int_equal(khronos_task_errors(b->rt), 2);
    strbuf_clear(&b->printed);
    sched_ended(b, "t error: init.luau:1: mine\n");
}

#define CALL_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CALL_TEST(test_answers),        CALL_TEST(test_errors),
        CALL_TEST(test_count_limit),    CALL_TEST(test_no_calls_at_all),
        CALL_TEST(test_bytes_limit),    CALL_TEST(test_who_cannot_wait),
        CALL_TEST(test_dead_threads),   CALL_TEST(test_cancel),
        CALL_TEST(test_break),          CALL_TEST(test_kill),
        CALL_TEST(test_freed_as_it_is), CALL_TEST(test_parked),
        CALL_TEST(test_tickets),        CALL_TEST(test_context_field),
        CALL_TEST(test_task_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
