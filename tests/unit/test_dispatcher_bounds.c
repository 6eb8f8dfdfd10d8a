/* The dispatcher: waits that end, bounds, cancels, and the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "dispatcher_bench.h"

/* ---- Timeouts ---------------------------------------------------------------------------------
 */

static void test_timeout_then_result(void **state)
{
    (void)state;
    DispatchBench *b = db_new(1);
    Call call = {.keep = true};
    db_send(b, &call, NULL, 100);
    assert_int_equal(dispatcher_poll(b->d), b->now_ns + 100 * CLOCK_NS_PER_MS);
    db_pass(b, 99);
    assert_int_equal(call.completions, 0);
    db_pass(b, 1);
    ANSWERED(call, DISPATCH_RETURN_TIMEOUT);
    assert_int_equal(call.count, 1);
    assert_int_equal(db_look_up(b, call.ids[0]), DISPATCH_ACCEPTED);
    assert_int_equal(db_stats(b).timeouts, 1);
    assert_int_equal(db_stats(b).waits, 0);
    assert_true(dispatcher_poll(b->d) == DISPATCH_NEVER);
    db_finish(b);
    assert_int_equal(call.completions, 1);
    assert_int_equal(db_look_up(b, call.ids[0]), DISPATCH_DONE);
    DispatchResult result;
    dispatch_record_result(call.kept, &result);
    assert_int_equal(result.outcome, DISPATCH_DONE);
    assert_non_null(result.executions[0].result.data);
    dispatch_record_release(call.kept);
    db_free(b);
}

static void test_everyone_has_a_timeout(void **state)
{
    (void)state;
    DispatchBench *b = db_new(1);
    Call calls[4] = {0};
    static const uint64_t wait_ms[4] = {300, 100, 200, UINT64_MAX};
    for (int i = 0; i < 4; i++)
        db_send(b, &calls[i], "e", wait_ms[i]);
    assert_int_equal(dispatcher_poll(b->d), b->now_ns + 100 * CLOCK_NS_PER_MS);
    db_pass(b, 100);
    ANSWERED(calls[1], DISPATCH_RETURN_TIMEOUT);
    assert_int_equal(calls[0].completions + calls[2].completions, 0);
    db_pass(b, 100);
    ANSWERED(calls[2], DISPATCH_RETURN_TIMEOUT);
    assert_int_equal(calls[0].completions, 0);
    db_finish(b);
    ANSWERED(calls[0], DISPATCH_DONE);
    ANSWERED(calls[3], DISPATCH_DONE);
    db_pass(b, 1000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(calls[i].completions, 1);
    assert_int_equal(db_stats(b).timeouts, 2);
    db_free(b);
}

static void test_idle_dispatcher_forgets(void **state)
{
    (void)state;
    DispatchBench *b = db_new(1);
    assert_true(dispatcher_poll(b->d) == DISPATCH_NEVER);
    b->mode = FINISH;
    for (int i = 0; i < 50; i++) {
        Call call = {0};
        db_send(b, &call, NULL, 1000);
        b->now_ns += CLOCK_NS_PER_MS;
    }
    assert_int_equal(db_stats(b).records, 50);
    uint64_t due_ns = dispatcher_poll(b->d);
    assert_true(due_ns > b->now_ns + 500 * CLOCK_NS_PER_S && due_ns != DISPATCH_NEVER);
    b->now_ns = due_ns; /* one waking is enough for all that finished at about one time */
    assert_true(dispatcher_poll(b->d) == DISPATCH_NEVER);
    assert_int_equal(db_stats(b).records, 0);
    assert_int_equal(db_stats(b).bytes, 0);
    db_free(b);
}

/* ---- Bounds -----------------------------------------------------------------------------------
 */

static void test_records_bound(void **state)
{
    (void)state;
    DispatchBench *b = db_prepare(1);
    b->options.records_max = 4;
    b->d = dispatcher_new(&b->options);
    Call calls[6] = {0}, full = {0}, duplicate = {0};
    for (int i = 0; i < 4; i++) {
        char id[] = {(char)('a' + i), '\0'};
        db_send(b, &calls[i], id, 0);
    }
    db_send(b, &full, NULL, 1000); /* running ones are not dropped */
    ANSWERED(full, DISPATCH_QUEUE_FULL);
    assert_true(full.retry_after_ms > 0);
    assert_int_equal(db_stats(b).records, 4);
    b->now_ns++;
    fake_finish(b->actions[1]);
    b->now_ns++;
    fake_finish(b->actions[0]);
    b->actions[0] = b->actions[2];
    b->actions[1] = b->actions[3];
    b->action_count = 2;
    db_send(b, &calls[4], NULL, 0); /* the one that finished first goes */
    ANSWERED(calls[4], DISPATCH_ACCEPTED);
    assert_int_equal(db_look_up(b, calls[1].ids[0]), DISPATCH_NOT_FOUND);
    assert_int_equal(db_look_up(b, calls[0].ids[0]), DISPATCH_DONE);
    assert_int_equal(db_look_up(b, calls[2].ids[0]), DISPATCH_ACCEPTED);
    assert_int_equal(db_stats(b).evicted, 1);
    db_send(b, &duplicate, "b", 0); /* and its event id with it: this runs, and evicts the other */
    ANSWERED(duplicate, DISPATCH_ACCEPTED);
    assert_false(duplicate.duplicate);
    assert_int_equal(db_look_up(b, calls[0].ids[0]), DISPATCH_NOT_FOUND);
    assert_int_equal(db_stats(b).records, 4);
    db_free(b);
}

static void test_bytes_bound(void **state)
{
    (void)state;
    DispatchBench *b = db_prepare(1);
    b->options.bytes_max = 40000;
    b->d = dispatcher_new(&b->options);
    char data[10001];
    memset(data, '1', sizeof(data) - 1);
    data[sizeof(data) - 1] = '\0';
    Call calls[4] = {0}, full = {0};
    DispatchRequest request;
    for (int i = 0; i < 3; i++) {
        request = db_request(b, &calls[i], 0);
        db_send_request(b, request, "Ping", NULL, data);
        ANSWERED(calls[i], DISPATCH_ACCEPTED);
    }
    request = db_request(b, &full, 1000);
    db_send_request(b, request, "Ping", NULL, data);
    ANSWERED(full, DISPATCH_QUEUE_FULL);
    assert_in_range(db_stats(b).bytes, 30000, 40000);
    /* Finished, a record holds its result instead of its event. */
    for (int i = 0; i < 3; i++)
        db_finish(b);
    assert_in_range(db_stats(b).bytes, 20000, 40000);
    request = db_request(b, &calls[3], 0);
    db_send_request(b, request, "Ping", NULL, data);
    ANSWERED(calls[3], DISPATCH_ACCEPTED);
    assert_true(db_stats(b).bytes <= 40000);
    db_finish(b);
    assert_true(db_stats(b).bytes <= 40000);
    assert_int_equal(db_look_up(b, calls[3].ids[0]), DISPATCH_DONE);
    db_free(b);
}

/* Nothing is thrown away for an event that cannot fit. */
static void test_event_larger_than_the_bound(void **state)
{
    (void)state;
    DispatchBench *b = db_prepare(1);
    b->options.bytes_max = 9000;
    b->d = dispatcher_new(&b->options);
    b->mode = FINISH;
    Call small = {0}, large = {0};
    db_send(b, &small, NULL, 0);
    char *data = calloc(1, 20001);
    memset(data, '1', 20000);
    db_send_request(b, db_request(b, &large, 0), "Ping", NULL, data);
    free(data);
    ANSWERED(large, DISPATCH_QUEUE_FULL);
    assert_int_equal(db_look_up(b, small.ids[0]), DISPATCH_DONE);
    db_free(b);
}

/* A result that does not fit beside what runs is given to who waits, and not kept. */
static void test_result_larger_than_the_bound(void **state)
{
    (void)state;
    DispatchBench *b = db_prepare(1);
    b->options.bytes_max = 9000;
    b->d = dispatcher_new(&b->options);
    Call call = {0};
    db_send(b, &call, NULL, 1000);
    LuaVmAction *action = db_action(b);
    for (int i = 0; i < 20000; i++)
        strbuf_putc(action->executions[0].out, '1');
    fake_finish(action);
    ANSWERED(call, DISPATCH_DONE);
    assert_int_equal(db_look_up(b, call.ids[0]), DISPATCH_NOT_FOUND);
    assert_int_equal(db_stats(b).records, 0);
    assert_int_equal(db_stats(b).bytes, 0);
    db_free(b);
}

static void test_waits_bound(void **state)
{
    (void)state;
    DispatchBench *b = db_prepare(1);
    b->options.waits_max = 2;
    b->d = dispatcher_new(&b->options);
    Call first = {0}, second = {0}, third = {0}, other = {0}, does_not = {0};
    db_send(b, &first, "e", 100);
    db_send(b, &second, "e", 200);
    db_send(b, &third, "e", 100);
    db_send(b, &other, "f", 100);
    ANSWERED(third, DISPATCH_QUEUE_FULL);
    ANSWERED(other, DISPATCH_QUEUE_FULL);
    db_send(b, &does_not, "e", 0);
    ANSWERED(does_not, DISPATCH_ACCEPTED); /* needs no place */
    does_not = (Call){0};
    db_send(b, &does_not, "g", 0);
    ANSWERED(does_not, DISPATCH_ACCEPTED);
    assert_int_equal(db_stats(b).waits, 2);
    db_pass(b, 100);
    ANSWERED(first, DISPATCH_RETURN_TIMEOUT);
    other = (Call){0};
    db_send(b, &other, "f", 100);
    assert_int_equal(other.completions, 0);
    for (int i = 0; i < 3; i++)
        db_finish(b);
    ANSWERED(second, DISPATCH_DONE);
    ANSWERED(other, DISPATCH_DONE);
    db_free(b);
}

static void test_nothing_kept(void **state)
{
    (void)state;
    DispatchBench *b = db_prepare(1);
    b->options.keep_ns = 0;
    b->d = dispatcher_new(&b->options);
    Call first = {0}, duplicate = {0}, again = {0};
    db_send(b, &first, "e", 1000);
    db_send(b, &duplicate, "e", 1000);
    db_finish(b);
    ANSWERED(first, DISPATCH_DONE);
    ANSWERED(duplicate, DISPATCH_DONE);
    assert_int_equal(db_look_up(b, first.ids[0]), DISPATCH_NOT_FOUND);
    assert_int_equal(db_stats(b).records, 0);
    assert_int_equal(db_stats(b).bytes, 0);
    db_send(b, &again, "e", 0);
    assert_false(again.duplicate);
    db_free(b);
}

/* ---- Cancelling -------------------------------------------------------------------------------
 */

typedef struct Cancelled {
    int completions;
    DispatchOutcome outcome;
} Cancelled;

static void on_cancelled(void *userdata, DispatchOutcome outcome)
{
    Cancelled *c = userdata;
    c->completions++;
    c->outcome = outcome;
}

static Cancelled cancel(DispatchBench *b, const char *id)
{
    Cancelled c = {0};
    dispatcher_cancel(b->d, id, strlen(id), on_cancelled, &c);
    return c;
}

static void test_cancel(void **state)
{
    (void)state;
    DispatchBench *b = db_new(2);
    Call call = {0};
    Cancelled later = {0};
    db_send(b, &call, NULL, 0);
    dispatcher_cancel(b->d, call.ids[1], 32, on_cancelled, &later);
    LuaVmAction *action = b->actions[1];
    assert_int_equal(action->type, VM_ACTION_CANCEL);
    assert_int_equal(action->handle.guild_id, GUILD);
    assert_string_equal(action->execution_id, call.ids[1]);
    assert_int_equal(later.completions, 0);
    b->action_count = 1;
    fake_finish(action);
    ANSWERED(later, DISPATCH_ACCEPTED);

    b->mode = REFUSE;
    b->refusal = VM_ACTION_NOT_FOUND;
    Cancelled c = cancel(b, call.ids[0]);
    ANSWERED(c, DISPATCH_NOT_FOUND);
    b->refusal = VM_ACTION_SHUTTING_DOWN;
    c = cancel(b, call.ids[0]);
    ANSWERED(c, DISPATCH_SHUTTING_DOWN);

    b->mode = DEFER; /* it finishes while the worker looks for it */
    later = (Cancelled){0};
    dispatcher_cancel(b->d, call.ids[0], 32, on_cancelled, &later);
    db_finish(b);
    fake_refuse(db_action(b), VM_ACTION_NOT_FOUND);
    ANSWERED(later, DISPATCH_DONE);

    int submitted = b->submitted;
    c = cancel(b, call.ids[0]);
    ANSWERED(c, DISPATCH_DONE);
    c = cancel(b, "0123456789abcdef0123456789abcdef");
    ANSWERED(c, DISPATCH_NOT_FOUND);
    assert_int_equal(b->submitted, submitted);
    db_free(b);
}

/* ---- The end ----------------------------------------------------------------------------------
 */

static void test_stop(void **state)
{
    (void)state;
    DispatchBench *b = db_new(1);
    Call running = {0}, waiting = {0}, late = {0};
    db_send(b, &running, NULL, 1000);
    db_send(b, &waiting, NULL, 1000);
    dispatcher_stop(b->d);
    assert_int_equal(running.completions, 0);
    db_send(b, &late, NULL, 1000);
    ANSWERED(late, DISPATCH_SHUTTING_DOWN);
    assert_int_equal(b->submitted, 2);
    db_finish(b);
    fake_refuse(db_action(b), VM_ACTION_SHUTTING_DOWN); /* worker_stop */
    ANSWERED(running, DISPATCH_DONE);
    ANSWERED(waiting, DISPATCH_SHUTTING_DOWN);
    db_free(b);
}

static void test_record_outlives_dispatcher(void **state)
{
    (void)state;
    DispatchBench *b = db_new(1);
    Call call = {.keep = true};
    db_send(b, &call, "e", 1000);
    db_finish(b);
    db_free(b);
    DispatchResult result;
    dispatch_record_result(call.kept, &result);
    assert_int_equal(result.outcome, DISPATCH_DONE);
    assert_memory_equal(result.executions[0].result.data, call.result,
                        result.executions[0].result.length);
    assert_string_equal(result.executions[0].template_name, "t0");
    dispatch_record_release(call.kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timeout_then_result),
        cmocka_unit_test(test_everyone_has_a_timeout),
        cmocka_unit_test(test_idle_dispatcher_forgets),
        cmocka_unit_test(test_records_bound),
        cmocka_unit_test(test_bytes_bound),
        cmocka_unit_test(test_event_larger_than_the_bound),
        cmocka_unit_test(test_result_larger_than_the_bound),
        cmocka_unit_test(test_waits_bound),
        cmocka_unit_test(test_nothing_kept),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_record_outlives_dispatcher),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
