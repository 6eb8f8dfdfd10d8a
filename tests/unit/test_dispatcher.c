/* The dispatcher: who runs, what the caller is told, and what happens to repetitions. */
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

/* ---- Matching ---------------------------------------------------------------------------------
 */

static void test_event_to_all_that_match(void **state)
{
    (void)state;
    DispatchBench *b = db_new(3);
    Call call = {.keep = true};
    db_send(b, &call, NULL, 1000);
    assert_int_equal(call.completions, 0);
    assert_int_equal(b->action_count, 1);
    LuaVmAction *action = b->actions[0];
    assert_int_equal(action->type, VM_ACTION_DISPATCH_EVENT);
    assert_int_equal(action->handle.guild_id, GUILD);
    assert_int_equal(action->handle.generation, 0);
    assert_int_equal(action->execution_count, 3);
    for (int i = 0; i < 3; i++) {
        KhronosExecution *x = &action->executions[i];
        assert_ptr_equal(x->template_version, b->templates.templates[i]);
        assert_int_equal(x->event->id.length, 32);
        assert_int_equal(strlen(x->id), 32);
        assert_null(x->caller);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(x->id, action->executions[j].id);
    }
    db_finish(b);
    ANSWERED(call, DISPATCH_DONE);
    assert_false(call.duplicate);
    DispatchResult result;
    dispatch_record_result(call.kept, &result);
    assert_int_equal(result.count, 3);
    for (int i = 0; i < 3; i++) {
        char expected[256], got[256];
        const DispatchExecution *x = &result.executions[i];
        snprintf(expected, sizeof(expected), "{\"event\":\"%s\",\"data\":{\"n\":1}}",
                 call.event_id);
        db_copy(got, sizeof(got), x->result);
        assert_string_equal(got, expected);
        assert_int_equal(x->status, KHRONOS_OK);
        assert_int_equal(x->version, i + 1);
        assert_int_equal(x->template_name[1], '0' + i);
        assert_null(x->logs.data);
        assert_null(x->message.data);
        assert_string_equal(x->path, "");
        assert_int_equal(x->duration_ns, 3000);
        assert_int_equal(x->cpu_ns, 2000);
        assert_int_equal(x->memory_bytes, 4096);
    }
    dispatch_record_release(call.kept);
    assert_int_equal(db_stats(b).dispatched, 1);
    assert_int_equal(db_stats(b).executions, 3);
    db_free(b);
}

static void test_nothing_matches(void **state)
{
    (void)state;
    DispatchBench *b = db_new(0);
    Call waits = {0}, does_not = {0}, again = {0};
    db_send(b, &waits, "e", 1000);
    db_send(b, &does_not, "e", 0);
    ANSWERED(waits, DISPATCH_DONE);
    ANSWERED(does_not, DISPATCH_DONE);
    assert_int_equal(waits.count, 0);
    assert_string_equal(waits.event_id, "e");
    assert_int_equal(b->submitted, 0);
    assert_int_equal(db_stats(b).records, 0);
    b->templates.matching = 1; /* it was nothing, so it is not repeated */
    db_send(b, &again, "e", 0);
    ANSWERED(again, DISPATCH_ACCEPTED);
    assert_false(again.duplicate);
    db_free(b);
}

static void test_target_and_caller(void **state)
{
    (void)state;
    DispatchBench *b = db_new(3);
    Call call = {0}, unknown = {0};
    char user[] = "user", first[] = "kv:read", second[] = "discord:*";
    const char *list[] = {first, second};
    KhronosCaller caller = {
        .owner_guild_id = 9, .current_user = user, .capabilities = list, .capability_count = 2};
    DispatchRequest request = db_request(b, &call, 1000);
    request.caller = &caller;
    request.target = db_text("t2");
    request.keep_logs = true;
    db_send_request(b, request, "Ping", NULL, NULL);
    memset(user, 'x', 4);
    memset(first, 'x', 4);
    list[1] = NULL;
    LuaVmAction *action = b->actions[0];
    KhronosExecution *x = &action->execution;
    assert_int_equal(action->type, VM_ACTION_EXECUTE);
    assert_null(action->executions);
    assert_ptr_equal(x->template_version, b->templates.templates[2]);
    assert_true(x->keep_logs);
    assert_null(x->event->data.data);
    assert_int_equal(x->caller->owner_guild_id, 9);
    assert_string_equal(x->caller->current_user, "user");
    assert_int_equal(x->caller->capability_count, 2);
    assert_string_equal(x->caller->capabilities[0], "kv:read");
    assert_string_equal(x->caller->capabilities[1], "discord:*");
    db_finish(b);
    ANSWERED(call, DISPATCH_DONE);
    assert_int_equal(call.count, 1);

    request = db_request(b, &unknown, 1000);
    request.target = db_text("t22");
    db_send_request(b, request, "Ping", "id", NULL);
    ANSWERED(unknown, DISPATCH_NOT_FOUND);
    assert_string_equal(unknown.event_id, "id");
    assert_int_equal(db_stats(b).refused, 1);
    db_free(b);
}

static void test_failure_is_told(void **state)
{
    (void)state;
    DispatchBench *b = db_new(1);
    Call call = {.keep = true};
    DispatchRequest request = db_request(b, &call, 1000);
    request.keep_logs = true;
    db_send_request(b, request, "fail", NULL, NULL);
    db_finish(b);
    ANSWERED(call, DISPATCH_DONE);
    DispatchResult result;
    dispatch_record_result(call.kept, &result);
    const DispatchExecution *x = &result.executions[0];
    assert_int_equal(x->status, KHRONOS_RUNTIME_ERROR);
    assert_null(x->result.data);
    assert_int_equal(x->message.length, strlen("it broke"));
    assert_memory_equal(x->message.data, "it broke", x->message.length);
    assert_memory_equal(x->traceback.data, "init.luau:7\n", x->traceback.length);
    assert_int_equal(x->logs.length, strlen("\"a line\",\"another\""));
    assert_string_equal(x->path, "init.luau");
    assert_int_equal(x->line, 7);
    dispatch_record_release(call.kept);
    db_free(b);
}

static void test_order_is_that_of_the_calls(void **state)
{
    (void)state;
    DispatchBench *b = db_new(1);
    Call calls[20] = {0};
    for (int i = 0; i < 20; i++) {
        char id[16];
        snprintf(id, sizeof(id), "e%d", i);
        db_send(b, &calls[i], i % 3 ? id : NULL, i % 2 ? 1000 : 0);
    }
    assert_int_equal(b->action_count, 20);
    for (int i = 0; i < 20; i++) {
        assert_string_equal(calls[i].ids[0], i % 2 ? "" : b->actions[i]->executions[0].id);
        if (i % 3)
            assert_int_equal(atoi(b->actions[i]->executions[0].event->id.data + 1), i);
    }
    db_free(b);
}

/* ---- Acceptance, refusal ----------------------------------------------------------------------
 */

static void test_accepted_then_found(void **state)
{
    (void)state;
    DispatchBench *b = db_new(2);
    Call call = {0};
    db_send(b, &call, NULL, 0);
    ANSWERED(call, DISPATCH_ACCEPTED);
    assert_int_equal(call.count, 2);
    assert_int_equal(db_look_up(b, call.ids[0]), DISPATCH_ACCEPTED);
    assert_int_equal(db_look_up(b, call.ids[1]), DISPATCH_ACCEPTED);
    db_finish(b);
    assert_int_equal(call.completions, 1);
    assert_int_equal(db_look_up(b, call.ids[1]), DISPATCH_DONE);
    db_pass(b, 599999);
    assert_int_equal(db_look_up(b, call.ids[0]), DISPATCH_DONE);
    b->now_ns += CLOCK_NS_PER_MS; /* without a poll */
    assert_int_equal(db_look_up(b, call.ids[0]), DISPATCH_NOT_FOUND);
    assert_int_equal(db_stats(b).records, 0);
    assert_int_equal(db_stats(b).bytes, 0);
    db_free(b);
}

static void test_unknown_ids(void **state)
{
    (void)state;
    DispatchBench *b = db_new(1);
    Call call = {0};
    db_send(b, &call, NULL, 0);
    const char *unknown[] = {"",
                             "0",
                             "zz",
                             "0123456789abcdef0123456789abcdef",
                             "Z123456789abcdef0123456789abcdef",
                             "\377abcdef0123456789abcdef0123456"};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        assert_int_equal(db_look_up(b, unknown[i]), DISPATCH_NOT_FOUND);
    int index;
    assert_null(dispatcher_find(b->d, call.ids[0], 31, &index));
    assert_null(dispatcher_find(b->d, call.ids[0], 33, &index));
    db_free(b);
}

static void test_done_inside_submit(void **state)
{
    (void)state;
    DispatchBench *b = db_new(2);
    b->mode = FINISH;
    Call waits = {0}, does_not = {0}, duplicate = {0};
    db_send(b, &waits, "a", 1000);
    db_send(b, &does_not, "b", 0);
    ANSWERED(waits, DISPATCH_DONE);
    ANSWERED(does_not, DISPATCH_DONE);
    assert_int_equal(db_look_up(b, does_not.ids[1]), DISPATCH_DONE);
    db_send(b, &duplicate, "b", 0);
    ANSWERED(duplicate, DISPATCH_DONE);
    assert_true(duplicate.duplicate);
    assert_string_equal(duplicate.ids[0], does_not.ids[0]);
    assert_string_equal(duplicate.result, "{\"event\":\"b\",\"data\":{\"n\":1}}");
    assert_int_equal(db_stats(b).waits, 0);
    db_free(b);
}

static void test_refused_inside_submit(void **state)
{
    (void)state;
    static const struct {
        VmActionOutcome action;
        DispatchOutcome outcome;
        uint64_t retry_after_ms;
    } cases[] = {
        {VM_ACTION_QUEUE_FULL, DISPATCH_QUEUE_FULL, 77},
        {VM_ACTION_PAUSED, DISPATCH_PAUSED, 77},
        {VM_ACTION_SHUTTING_DOWN, DISPATCH_SHUTTING_DOWN, 0},
        {VM_ACTION_VM_BROKEN, DISPATCH_VM_BROKEN, 0},
        {VM_ACTION_NO_MEMORY, DISPATCH_NO_MEMORY, 0},
    };
    DispatchBench *b = db_new(1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (uint64_t wait_ms = 0; wait_ms <= 1000; wait_ms += 1000) {
            Call refused = {0}, again = {0};
            char id[16];
            snprintf(id, sizeof(id), "%zu-%d", i, (int)wait_ms);
            b->mode = REFUSE;
            b->refusal = cases[i].action;
            db_send(b, &refused, id, wait_ms);
            ANSWERED(refused, cases[i].outcome);
            assert_int_equal(refused.retry_after_ms, cases[i].retry_after_ms);
            assert_string_equal(refused.event_id, id);
            assert_int_equal(db_look_up(b, refused.ids[0]), DISPATCH_NOT_FOUND);
            b->mode = FINISH;
            db_send(b, &again, id, wait_ms); /* nothing was remembered */
            ANSWERED(again, DISPATCH_DONE);
            assert_false(again.duplicate);
        }
    }
    assert_int_equal(db_stats(b).refused, 10);
    assert_int_equal(db_stats(b).records, 10);
    db_free(b);
}

static void test_lost_after_acceptance(void **state)
{
    (void)state;
    DispatchBench *b = db_new(1);
    Call call = {0}, waits = {0}, again = {0};
    db_send(b, &call, "e", 0);
    db_send(b, &waits, "e", 1000);
    ANSWERED(call, DISPATCH_ACCEPTED);
    fake_refuse(db_action(b), VM_ACTION_VM_BROKEN);
    ANSWERED(waits, DISPATCH_VM_BROKEN);
    assert_true(waits.duplicate);
    assert_int_equal(db_look_up(b, call.ids[0]), DISPATCH_VM_BROKEN);
    db_send(b, &again, "e", 0); /* it may be repeated */
    ANSWERED(again, DISPATCH_ACCEPTED);
    assert_false(again.duplicate);
    db_finish(b);
    db_pass(b, 600000);
    assert_int_equal(db_stats(b).records, 0);
    db_free(b);
}

static void test_completion_dispatches(void **state)
{
    (void)state;
    DispatchBench *b = db_new(1);
    Call call = {.dispatch_again = true};
    db_send(b, &call, NULL, 1000);
    db_finish(b);
    assert_int_equal(call.completions, 1);
    assert_int_equal(b->action_count, 1);
    db_finish(b);
    assert_int_equal(call.completions, 2);
    b->mode = FINISH;
    call = (Call){.dispatch_again = true};
    db_send(b, &call, NULL, 1000);
    assert_int_equal(call.completions, 2);
    db_free(b);
}

/* ---- Duplicates -------------------------------------------------------------------------------
 */

static void test_duplicate_of_running(void **state)
{
    (void)state;
    DispatchBench *b = db_new(2);
    Call first = {0}, waits = {0}, does_not = {0};
    db_send(b, &first, "e", 1000);
    db_send(b, &waits, "e", 1000);
    db_send(b, &does_not, "e", 0);
    ANSWERED(does_not, DISPATCH_ACCEPTED);
    assert_true(does_not.duplicate);
    assert_int_equal(waits.completions, 0);
    assert_int_equal(b->submitted, 1);
    assert_int_equal(db_stats(b).waits, 2);
    db_finish(b);
    ANSWERED(first, DISPATCH_DONE);
    ANSWERED(waits, DISPATCH_DONE);
    assert_false(first.duplicate);
    assert_true(waits.duplicate);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(waits.ids[i], first.ids[i]);
        assert_string_equal(does_not.ids[i], first.ids[i]);
    }
    assert_string_equal(waits.result, first.result);
    assert_int_equal(db_stats(b).duplicates, 2);
    assert_int_equal(db_stats(b).dispatched, 1);
    assert_int_equal(db_stats(b).waits, 0);
    db_free(b);
}

static void test_duplicate_of_finished(void **state)
{
    (void)state;
    DispatchBench *b = db_new(1);
    Call first = {0}, second = {0}, late = {0};
    db_send(b, &first, "e", 1000);
    db_finish(b);
    db_pass(b, 599000);
    b->templates.matching = 0; /* the first answer, whatever would match now */
    db_send(b, &second, "e", 0);
    ANSWERED(second, DISPATCH_DONE);
    assert_true(second.duplicate);
    assert_string_equal(second.ids[0], first.ids[0]);
    b->templates.matching = 1;
    b->now_ns += CLOCK_NS_PER_S; /* without a poll: the look-up itself knows */
    db_send(b, &late, "e", 0);
    ANSWERED(late, DISPATCH_ACCEPTED);
    assert_false(late.duplicate);
    assert_string_not_equal(late.ids[0], first.ids[0]);
    db_free(b);
}

static void test_no_duplicates(void **state)
{
    (void)state;
    DispatchBench *b = db_new(3);
    Call calls[8] = {0};
    DispatchRequest request = db_request(b, &calls[0], 0);
    db_send_request(b, request, "Ping", "e", NULL);
    request = db_request(b, &calls[1], 0);
    request.guild_id = GUILD + 1;
    db_send_request(b, request, "Ping", "e", NULL);
    for (int i = 2; i < 4; i++) {
        request = db_request(b, &calls[i], 0);
        request.target = db_text(i == 2 ? "t1" : "t2");
        db_send_request(b, request, "Ping", "e", NULL);
    }
    for (int i = 4; i < 6; i++)
        db_send(b, &calls[i], NULL, 0);
    db_send(b, &calls[6], calls[4].event_id, 0); /* an id of ours is not one of theirs */
    db_send(b, &calls[7], "e ", 0);
    for (int i = 0; i < 8; i++) {
        ANSWERED(calls[i], DISPATCH_ACCEPTED);
        assert_false(calls[i].duplicate);
    }
    assert_int_equal(b->submitted, 8);
    db_free(b);
}

/* An id of the length of ours, beginning with the byte that C strings end with. */
static void test_event_id_with_zero_byte(void **state)
{
    (void)state;
    DispatchBench *b = db_new(1);
    char id[33] = "\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    Call call = {0};
    KhronosEvent event = {.name = db_text("Ping"), .id = {id, 32}};
    DispatchRequest request = db_request(b, &call, 0);
    request.event = &event;
    dispatcher_dispatch(b->d, &request);
    assert_int_equal(b->actions[0]->executions[0].event->id.length, 32);
    assert_memory_equal(b->actions[0]->executions[0].event->id.data, id, 32);
    db_free(b);
}

/* While the worker has not yet said whether it takes the first, nobody is told that it did. */
static void test_duplicate_inside_submit(void **state)
{
    (void)state;
    DispatchBench *b = db_new(1);
    Call first = {0}, inside = {0}, third = {0}, inside_third = {0};
    b->inside = &inside;
    db_send(b, &first, "same", 0);
    ANSWERED(first, DISPATCH_ACCEPTED);
    ANSWERED(inside, DISPATCH_ACCEPTED);
    assert_true(inside.duplicate);
    db_finish(b);
    db_pass(b, 600000);
    b->inside = &inside_third;
    b->mode = REFUSE;
    b->refusal = VM_ACTION_QUEUE_FULL;
    db_send(b, &third, "same", 1000);
    ANSWERED(third, DISPATCH_QUEUE_FULL);
    ANSWERED(inside_third, DISPATCH_QUEUE_FULL);
    db_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event_to_all_that_match),
        cmocka_unit_test(test_nothing_matches),
        cmocka_unit_test(test_target_and_caller),
        cmocka_unit_test(test_failure_is_told),
        cmocka_unit_test(test_order_is_that_of_the_calls),
        cmocka_unit_test(test_accepted_then_found),
        cmocka_unit_test(test_unknown_ids),
        cmocka_unit_test(test_done_inside_submit),
        cmocka_unit_test(test_refused_inside_submit),
        cmocka_unit_test(test_lost_after_acceptance),
        cmocka_unit_test(test_completion_dispatches),
        cmocka_unit_test(test_duplicate_of_running),
        cmocka_unit_test(test_duplicate_of_finished),
        cmocka_unit_test(test_no_duplicates),
        cmocka_unit_test(test_event_id_with_zero_byte),
        cmocka_unit_test(test_duplicate_inside_submit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
