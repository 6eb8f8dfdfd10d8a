/* The dispatcher on one thread, with a clock and a worker that do as the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "dispatcher_support.h"

enum { CALLS_MAX = 64, ACTIONS_MAX = 64, GUILD = 42 };

typedef struct Bench Bench;

/* One request and what became of it. */
typedef struct Call {
    Bench *bench;
    int completions;
    DispatchOutcome outcome;
    bool duplicate;
    uint64_t retry_after_ms;
    int count;
    char event_id[64];
    char ids[FAKE_TEMPLATES_MAX][RANDOM_ID_SIZE];
    char result[256];     /* of the first execution, when done */
    DispatchRecord *kept; /* if keep: retained in the completion */
    bool keep;
    bool dispatch_again; /* in the completion, once */
} Call;

typedef enum Mode { DEFER, FINISH, REFUSE } Mode;

struct Bench {
    FakeTemplates templates;
    DispatcherOptions options;
    Dispatcher *d;
    uint64_t now_ns;
    Mode mode;
    VmActionOutcome refusal;
    Call *inside;                      /* submit dispatches it too, for event "same" */
    LuaVmAction *actions[ACTIONS_MAX]; /* deferred, in the order of submit */
    int action_count;
    int submitted;
};

static void send(Bench *b, Call *call, const char *event_id, uint64_t wait_ms);

static void on_submit(void *userdata, LuaVmAction *action)
{
    Bench *b = userdata;
    b->submitted++;
    if (b->inside) {
        Call *inside = b->inside;
        b->inside = NULL;
        send(b, inside, "same", 0);
    }
    if (b->mode == FINISH) {
        fake_finish(action);
    } else if (b->mode == REFUSE) {
        fake_refuse(action, b->refusal);
    } else {
        assert_true(b->action_count < ACTIONS_MAX);
        b->actions[b->action_count++] = action;
    }
}

static uint64_t bench_clock(void *userdata)
{
    return ((Bench *)userdata)->now_ns;
}

static Bench *bench_prepare(int matching)
{
    Bench *b = calloc(1, sizeof(*b));
    b->now_ns = 5 * CLOCK_NS_PER_S;
    fake_templates_init(&b->templates, matching);
    dispatcher_default_options(&b->options);
    b->options.submit = on_submit;
    b->options.submit_userdata = b;
    b->options.templates = fake_templates_source(&b->templates);
    b->options.clock = bench_clock;
    b->options.clock_userdata = b;
    return b;
}

static Bench *bench_new(int matching)
{
    Bench *b = bench_prepare(matching);
    b->d = dispatcher_new(&b->options);
    assert_non_null(b->d);
    return b;
}

/* The oldest deferred action. */
static LuaVmAction *next_action(Bench *b)
{
    assert_true(b->action_count > 0);
    LuaVmAction *action = b->actions[0];
    memmove(b->actions, b->actions + 1, (size_t)--b->action_count * sizeof(b->actions[0]));
    return action;
}

static void finish_next(Bench *b)
{
    fake_finish(next_action(b));
}

static void bench_free(Bench *b)
{
    while (b->action_count > 0)
        finish_next(b);
    dispatcher_free(b->d);
    fake_templates_free(&b->templates);
    free(b);
}

static DispatcherStats stats(Bench *b)
{
    DispatcherStats s;
    dispatcher_stats(b->d, &s);
    return s;
}

static void pass(Bench *b, uint64_t ms)
{
    b->now_ns += ms * CLOCK_NS_PER_MS;
    dispatcher_poll(b->d);
}

static void copy_text(char *out, size_t size, EventText text)
{
    snprintf(out, size, "%.*s", (int)text.length, text.data ? text.data : "");
}

static void on_complete(void *userdata, const DispatchResult *result)
{
    Call *call = userdata;
    call->completions++;
    call->outcome = result->outcome;
    call->duplicate = result->duplicate;
    call->retry_after_ms = result->retry_after_ms;
    call->count = result->count;
    copy_text(call->event_id, sizeof(call->event_id), result->event_id);
    for (int i = 0; i < result->count && i < FAKE_TEMPLATES_MAX; i++)
        memcpy(call->ids[i], result->executions[i].id, RANDOM_ID_SIZE);
    if (result->outcome == DISPATCH_DONE && result->count > 0)
        copy_text(call->result, sizeof(call->result), result->executions[0].result);
    if (call->keep)
        call->kept = dispatch_record_retain(result->record);
    if (call->dispatch_again) {
        call->dispatch_again = false;
        send(call->bench, call, NULL, 1000);
    }
}

static EventText text(const char *s)
{
    return (EventText){s, s ? strlen(s) : 0};
}

static DispatchRequest request_of(Bench *b, Call *call, uint64_t wait_ms)
{
    call->bench = b;
    return (DispatchRequest){
        .guild_id = GUILD, .wait_ms = wait_ms, .complete = on_complete, .userdata = call};
}

/* All that the request points to is gone when the call returns. */
static void send_request(Bench *b, DispatchRequest request, const char *name, const char *event_id,
                         const char *data)
{
    char *texts[3] = {strdup(name), event_id ? strdup(event_id) : NULL, data ? strdup(data) : NULL};
    KhronosEvent *event = calloc(1, sizeof(*event));
    event->base_name = text("Custom");
    event->name = text(texts[0]);
    event->id = text(texts[1]);
    event->data = text(texts[2]);
    request.event = event;
    dispatcher_dispatch(b->d, &request);
    free(event);
    for (int i = 0; i < 3; i++)
        free(texts[i]);
}

static void send(Bench *b, Call *call, const char *event_id, uint64_t wait_ms)
{
    send_request(b, request_of(b, call, wait_ms), "Ping", event_id, "{\"n\":1}");
}

/* The outcome that an execution's record has now; DISPATCH_NOT_FOUND without one. */
static DispatchOutcome look_up(Bench *b, const char *id)
{
    DispatchResult result;
    int index = -1;
    DispatchRecord *record = dispatcher_find(b->d, id, strlen(id), &index);
    if (!record)
        return DISPATCH_NOT_FOUND;
    dispatch_record_result(record, &result);
    assert_true(index >= 0 && index < result.count);
    assert_string_equal(result.executions[index].id, id);
    assert_int_equal(result.guild_id, GUILD);
    dispatch_record_release(record);
    return result.outcome;
}

#define ANSWERED(call, what)                                                                       \
    do {                                                                                           \
        assert_int_equal((call).completions, 1);                                                   \
        assert_string_equal(dispatch_outcome_name((call).outcome), dispatch_outcome_name(what));   \
    } while (0)

/* ---- Matching ---------------------------------------------------------------------------------
 */

static void test_event_to_all_that_match(void **state)
{
    (void)state;
    Bench *b = bench_new(3);
    Call call = {.keep = true};
    send(b, &call, NULL, 1000);
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
    finish_next(b);
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
        copy_text(got, sizeof(got), x->result);
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
    assert_int_equal(stats(b).dispatched, 1);
    assert_int_equal(stats(b).executions, 3);
    bench_free(b);
}

static void test_nothing_matches(void **state)
{
    (void)state;
    Bench *b = bench_new(0);
    Call waits = {0}, does_not = {0}, again = {0};
    send(b, &waits, "e", 1000);
    send(b, &does_not, "e", 0);
    ANSWERED(waits, DISPATCH_DONE);
    ANSWERED(does_not, DISPATCH_DONE);
    assert_int_equal(waits.count, 0);
    assert_string_equal(waits.event_id, "e");
    assert_int_equal(b->submitted, 0);
    assert_int_equal(stats(b).records, 0);
    b->templates.matching = 1; /* it was nothing, so it is not repeated */
    send(b, &again, "e", 0);
    ANSWERED(again, DISPATCH_ACCEPTED);
    assert_false(again.duplicate);
    bench_free(b);
}

static void test_target_and_caller(void **state)
{
    (void)state;
    Bench *b = bench_new(3);
    Call call = {0}, unknown = {0};
    char user[] = "user", first[] = "kv:read", second[] = "discord:*";
    const char *list[] = {first, second};
    KhronosCaller caller = {
        .owner_guild_id = 9, .current_user = user, .capabilities = list, .capability_count = 2};
    DispatchRequest request = request_of(b, &call, 1000);
    request.caller = &caller;
    request.target = text("t2");
    request.keep_logs = true;
    send_request(b, request, "Ping", NULL, NULL);
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
    finish_next(b);
    ANSWERED(call, DISPATCH_DONE);
    assert_int_equal(call.count, 1);

    request = request_of(b, &unknown, 1000);
    request.target = text("t22");
    send_request(b, request, "Ping", "id", NULL);
    ANSWERED(unknown, DISPATCH_NOT_FOUND);
    assert_string_equal(unknown.event_id, "id");
    assert_int_equal(stats(b).refused, 1);
    bench_free(b);
}

static void test_failure_is_told(void **state)
{
    (void)state;
    Bench *b = bench_new(1);
    Call call = {.keep = true};
    DispatchRequest request = request_of(b, &call, 1000);
    request.keep_logs = true;
    send_request(b, request, "fail", NULL, NULL);
    finish_next(b);
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
    bench_free(b);
}

static void test_order_is_that_of_the_calls(void **state)
{
    (void)state;
    Bench *b = bench_new(1);
    Call calls[20] = {0};
    for (int i = 0; i < 20; i++) {
        char id[8];
        snprintf(id, sizeof(id), "e%d", i);
        send(b, &calls[i], i % 3 ? id : NULL, i % 2 ? 1000 : 0);
    }
    assert_int_equal(b->action_count, 20);
    for (int i = 0; i < 20; i++) {
        assert_string_equal(calls[i].ids[0], i % 2 ? "" : b->actions[i]->executions[0].id);
        if (i % 3)
            assert_int_equal(atoi(b->actions[i]->executions[0].event->id.data + 1), i);
    }
    bench_free(b);
}

/* ---- Acceptance, refusal ----------------------------------------------------------------------
 */

static void test_accepted_then_found(void **state)
{
    (void)state;
    Bench *b = bench_new(2);
    Call call = {0};
    send(b, &call, NULL, 0);
    ANSWERED(call, DISPATCH_ACCEPTED);
    assert_int_equal(call.count, 2);
    assert_int_equal(look_up(b, call.ids[0]), DISPATCH_ACCEPTED);
    assert_int_equal(look_up(b, call.ids[1]), DISPATCH_ACCEPTED);
    finish_next(b);
    assert_int_equal(call.completions, 1);
    assert_int_equal(look_up(b, call.ids[1]), DISPATCH_DONE);
    pass(b, 599999);
    assert_int_equal(look_up(b, call.ids[0]), DISPATCH_DONE);
    b->now_ns += CLOCK_NS_PER_MS; /* without a poll */
    assert_int_equal(look_up(b, call.ids[0]), DISPATCH_NOT_FOUND);
    assert_int_equal(stats(b).records, 0);
    assert_int_equal(stats(b).bytes, 0);
    bench_free(b);
}

static void test_unknown_ids(void **state)
{
    (void)state;
    Bench *b = bench_new(1);
    Call call = {0};
    send(b, &call, NULL, 0);
    const char *unknown[] = {"",
                             "0",
                             "zz",
                             "0123456789abcdef0123456789abcdef",
                             "Z123456789abcdef0123456789abcdef",
                             "\377abcdef0123456789abcdef0123456"};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
        assert_int_equal(look_up(b, unknown[i]), DISPATCH_NOT_FOUND);
    int index;
    assert_null(dispatcher_find(b->d, call.ids[0], 31, &index));
    assert_null(dispatcher_find(b->d, call.ids[0], 33, &index));
    bench_free(b);
}

static void test_done_inside_submit(void **state)
{
    (void)state;
    Bench *b = bench_new(2);
    b->mode = FINISH;
    Call waits = {0}, does_not = {0}, duplicate = {0};
    send(b, &waits, "a", 1000);
    send(b, &does_not, "b", 0);
    ANSWERED(waits, DISPATCH_DONE);
    ANSWERED(does_not, DISPATCH_DONE);
    assert_int_equal(look_up(b, does_not.ids[1]), DISPATCH_DONE);
    send(b, &duplicate, "b", 0);
    ANSWERED(duplicate, DISPATCH_DONE);
    assert_true(duplicate.duplicate);
    assert_string_equal(duplicate.ids[0], does_not.ids[0]);
    assert_string_equal(duplicate.result, "{\"event\":\"b\",\"data\":{\"n\":1}}");
    assert_int_equal(stats(b).waits, 0);
    bench_free(b);
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
    Bench *b = bench_new(1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (uint64_t wait_ms = 0; wait_ms <= 1000; wait_ms += 1000) {
            Call refused = {0}, again = {0};
            char id[16];
            snprintf(id, sizeof(id), "%zu-%d", i, (int)wait_ms);
            b->mode = REFUSE;
            b->refusal = cases[i].action;
            send(b, &refused, id, wait_ms);
            ANSWERED(refused, cases[i].outcome);
            assert_int_equal(refused.retry_after_ms, cases[i].retry_after_ms);
            assert_string_equal(refused.event_id, id);
            assert_int_equal(look_up(b, refused.ids[0]), DISPATCH_NOT_FOUND);
            b->mode = FINISH;
            send(b, &again, id, wait_ms); /* nothing was remembered */
            ANSWERED(again, DISPATCH_DONE);
            assert_false(again.duplicate);
        }
    }
    assert_int_equal(stats(b).refused, 10);
    assert_int_equal(stats(b).records, 10);
    bench_free(b);
}

static void test_lost_after_acceptance(void **state)
{
    (void)state;
    Bench *b = bench_new(1);
    Call call = {0}, waits = {0}, again = {0};
    send(b, &call, "e", 0);
    send(b, &waits, "e", 1000);
    ANSWERED(call, DISPATCH_ACCEPTED);
    fake_refuse(next_action(b), VM_ACTION_VM_BROKEN);
    ANSWERED(waits, DISPATCH_VM_BROKEN);
    assert_true(waits.duplicate);
    assert_int_equal(look_up(b, call.ids[0]), DISPATCH_VM_BROKEN);
    send(b, &again, "e", 0); /* it may be repeated */
    ANSWERED(again, DISPATCH_ACCEPTED);
    assert_false(again.duplicate);
    finish_next(b);
    pass(b, 600000);
    assert_int_equal(stats(b).records, 0);
    bench_free(b);
}

static void test_completion_dispatches(void **state)
{
    (void)state;
    Bench *b = bench_new(1);
    Call call = {.dispatch_again = true};
    send(b, &call, NULL, 1000);
    finish_next(b);
    assert_int_equal(call.completions, 1);
    assert_int_equal(b->action_count, 1);
    finish_next(b);
    assert_int_equal(call.completions, 2);
    b->mode = FINISH;
    call = (Call){.dispatch_again = true};
    send(b, &call, NULL, 1000);
    assert_int_equal(call.completions, 2);
    bench_free(b);
}

/* ---- Duplicates -------------------------------------------------------------------------------
 */

static void test_duplicate_of_running(void **state)
{
    (void)state;
    Bench *b = bench_new(2);
    Call first = {0}, waits = {0}, does_not = {0};
    send(b, &first, "e", 1000);
    send(b, &waits, "e", 1000);
    send(b, &does_not, "e", 0);
    ANSWERED(does_not, DISPATCH_ACCEPTED);
    assert_true(does_not.duplicate);
    assert_int_equal(waits.completions, 0);
    assert_int_equal(b->submitted, 1);
    assert_int_equal(stats(b).waits, 2);
    finish_next(b);
    ANSWERED(first, DISPATCH_DONE);
    ANSWERED(waits, DISPATCH_DONE);
    assert_false(first.duplicate);
    assert_true(waits.duplicate);
    for (int i = 0; i < 2; i++) {
        assert_string_equal(waits.ids[i], first.ids[i]);
        assert_string_equal(does_not.ids[i], first.ids[i]);
    }
    assert_string_equal(waits.result, first.result);
    assert_int_equal(stats(b).duplicates, 2);
    assert_int_equal(stats(b).dispatched, 1);
    assert_int_equal(stats(b).waits, 0);
    bench_free(b);
}

static void test_duplicate_of_finished(void **state)
{
    (void)state;
    Bench *b = bench_new(1);
    Call first = {0}, second = {0}, late = {0};
    send(b, &first, "e", 1000);
    finish_next(b);
    pass(b, 599000);
    b->templates.matching = 0; /* the first answer, whatever would match now */
    send(b, &second, "e", 0);
    ANSWERED(second, DISPATCH_DONE);
    assert_true(second.duplicate);
    assert_string_equal(second.ids[0], first.ids[0]);
    b->templates.matching = 1;
    b->now_ns += CLOCK_NS_PER_S; /* without a poll: the look-up itself knows */
    send(b, &late, "e", 0);
    ANSWERED(late, DISPATCH_ACCEPTED);
    assert_false(late.duplicate);
    assert_string_not_equal(late.ids[0], first.ids[0]);
    bench_free(b);
}

static void test_no_duplicates(void **state)
{
    (void)state;
    Bench *b = bench_new(3);
    Call calls[8] = {0};
    DispatchRequest request = request_of(b, &calls[0], 0);
    send_request(b, request, "Ping", "e", NULL);
    request = request_of(b, &calls[1], 0);
    request.guild_id = GUILD + 1;
    send_request(b, request, "Ping", "e", NULL);
    for (int i = 2; i < 4; i++) {
        request = request_of(b, &calls[i], 0);
        request.target = text(i == 2 ? "t1" : "t2");
        send_request(b, request, "Ping", "e", NULL);
    }
    for (int i = 4; i < 6; i++)
        send(b, &calls[i], NULL, 0);
    send(b, &calls[6], calls[4].event_id, 0); /* an id of ours is not one of theirs */
    send(b, &calls[7], "e ", 0);
    for (int i = 0; i < 8; i++) {
        ANSWERED(calls[i], DISPATCH_ACCEPTED);
        assert_false(calls[i].duplicate);
    }
    assert_int_equal(b->submitted, 8);
    bench_free(b);
}

/* An id of the length of ours, beginning with the byte that C strings end with. */
static void test_event_id_with_zero_byte(void **state)
{
    (void)state;
    Bench *b = bench_new(1);
    char id[33] = "\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    Call call = {0};
    KhronosEvent event = {.name = text("Ping"), .id = {id, 32}};
    DispatchRequest request = request_of(b, &call, 0);
    request.event = &event;
    dispatcher_dispatch(b->d, &request);
    assert_int_equal(b->actions[0]->executions[0].event->id.length, 32);
    assert_memory_equal(b->actions[0]->executions[0].event->id.data, id, 32);
    bench_free(b);
}

/* While the worker has not yet said whether it takes the first, nobody is told that it did. */
static void test_duplicate_inside_submit(void **state)
{
    (void)state;
    Bench *b = bench_new(1);
    Call first = {0}, inside = {0}, third = {0}, inside_third = {0};
    b->inside = &inside;
    send(b, &first, "same", 0);
    ANSWERED(first, DISPATCH_ACCEPTED);
    ANSWERED(inside, DISPATCH_ACCEPTED);
    assert_true(inside.duplicate);
    finish_next(b);
    pass(b, 600000);
    b->inside = &inside_third;
    b->mode = REFUSE;
    b->refusal = VM_ACTION_QUEUE_FULL;
    send(b, &third, "same", 1000);
    ANSWERED(third, DISPATCH_QUEUE_FULL);
    ANSWERED(inside_third, DISPATCH_QUEUE_FULL);
    bench_free(b);
}

/* ---- Timeouts ---------------------------------------------------------------------------------
 */

static void test_timeout_then_result(void **state)
{
    (void)state;
    Bench *b = bench_new(1);
    Call call = {.keep = true};
    send(b, &call, NULL, 100);
    assert_int_equal(dispatcher_poll(b->d), b->now_ns + 100 * CLOCK_NS_PER_MS);
    pass(b, 99);
    assert_int_equal(call.completions, 0);
    pass(b, 1);
    ANSWERED(call, DISPATCH_RETURN_TIMEOUT);
    assert_int_equal(call.count, 1);
    assert_int_equal(look_up(b, call.ids[0]), DISPATCH_ACCEPTED);
    assert_int_equal(stats(b).timeouts, 1);
    assert_int_equal(stats(b).waits, 0);
    assert_true(dispatcher_poll(b->d) == DISPATCH_NEVER);
    finish_next(b);
    assert_int_equal(call.completions, 1);
    assert_int_equal(look_up(b, call.ids[0]), DISPATCH_DONE);
    DispatchResult result;
    dispatch_record_result(call.kept, &result);
    assert_int_equal(result.outcome, DISPATCH_DONE);
    assert_non_null(result.executions[0].result.data);
    dispatch_record_release(call.kept);
    bench_free(b);
}

static void test_everyone_has_a_timeout(void **state)
{
    (void)state;
    Bench *b = bench_new(1);
    Call calls[4] = {0};
    static const uint64_t wait_ms[4] = {300, 100, 200, UINT64_MAX};
    for (int i = 0; i < 4; i++)
        send(b, &calls[i], "e", wait_ms[i]);
    assert_int_equal(dispatcher_poll(b->d), b->now_ns + 100 * CLOCK_NS_PER_MS);
    pass(b, 100);
    ANSWERED(calls[1], DISPATCH_RETURN_TIMEOUT);
    assert_int_equal(calls[0].completions + calls[2].completions, 0);
    pass(b, 100);
    ANSWERED(calls[2], DISPATCH_RETURN_TIMEOUT);
    assert_int_equal(calls[0].completions, 0);
    finish_next(b);
    ANSWERED(calls[0], DISPATCH_DONE);
    ANSWERED(calls[3], DISPATCH_DONE);
    pass(b, 1000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(calls[i].completions, 1);
    assert_int_equal(stats(b).timeouts, 2);
    bench_free(b);
}

static void test_idle_dispatcher_forgets(void **state)
{
    (void)state;
    Bench *b = bench_new(1);
    assert_true(dispatcher_poll(b->d) == DISPATCH_NEVER);
    b->mode = FINISH;
    for (int i = 0; i < 50; i++) {
        Call call = {0};
        send(b, &call, NULL, 1000);
        b->now_ns += CLOCK_NS_PER_MS;
    }
    assert_int_equal(stats(b).records, 50);
    uint64_t due_ns = dispatcher_poll(b->d);
    assert_true(due_ns > b->now_ns + 500 * CLOCK_NS_PER_S && due_ns != DISPATCH_NEVER);
    b->now_ns = due_ns; /* one waking is enough for all that finished at about one time */
    assert_true(dispatcher_poll(b->d) == DISPATCH_NEVER);
    assert_int_equal(stats(b).records, 0);
    assert_int_equal(stats(b).bytes, 0);
    bench_free(b);
}

/* ---- Bounds -----------------------------------------------------------------------------------
 */

static void test_records_bound(void **state)
{
    (void)state;
    Bench *b = bench_prepare(1);
    b->options.records_max = 4;
    b->d = dispatcher_new(&b->options);
    Call calls[6] = {0}, full = {0}, duplicate = {0};
    for (int i = 0; i < 4; i++) {
        char id[] = {(char)('a' + i), '\0'};
        send(b, &calls[i], id, 0);
    }
    send(b, &full, NULL, 1000); /* running ones are not dropped */
    ANSWERED(full, DISPATCH_QUEUE_FULL);
    assert_true(full.retry_after_ms > 0);
    assert_int_equal(stats(b).records, 4);
    b->now_ns++;
    fake_finish(b->actions[1]);
    b->now_ns++;
    fake_finish(b->actions[0]);
    b->actions[0] = b->actions[2];
    b->actions[1] = b->actions[3];
    b->action_count = 2;
    send(b, &calls[4], NULL, 0); /* the one that finished first goes */
    ANSWERED(calls[4], DISPATCH_ACCEPTED);
    assert_int_equal(look_up(b, calls[1].ids[0]), DISPATCH_NOT_FOUND);
    assert_int_equal(look_up(b, calls[0].ids[0]), DISPATCH_DONE);
    assert_int_equal(look_up(b, calls[2].ids[0]), DISPATCH_ACCEPTED);
    assert_int_equal(stats(b).evicted, 1);
    send(b, &duplicate, "b", 0); /* and its event id with it: this runs, and evicts the other */
    ANSWERED(duplicate, DISPATCH_ACCEPTED);
    assert_false(duplicate.duplicate);
    assert_int_equal(look_up(b, calls[0].ids[0]), DISPATCH_NOT_FOUND);
    assert_int_equal(stats(b).records, 4);
    bench_free(b);
}

static void test_bytes_bound(void **state)
{
    (void)state;
    Bench *b = bench_prepare(1);
    b->options.bytes_max = 40000;
    b->d = dispatcher_new(&b->options);
    char data[10001];
    memset(data, '1', sizeof(data) - 1);
    data[sizeof(data) - 1] = '\0';
    Call calls[4] = {0}, full = {0};
    DispatchRequest request;
    for (int i = 0; i < 3; i++) {
        request = request_of(b, &calls[i], 0);
        send_request(b, request, "Ping", NULL, data);
        ANSWERED(calls[i], DISPATCH_ACCEPTED);
    }
    request = request_of(b, &full, 1000);
    send_request(b, request, "Ping", NULL, data);
    ANSWERED(full, DISPATCH_QUEUE_FULL);
    assert_in_range(stats(b).bytes, 30000, 40000);
    /* Finished, a record holds its result instead of its event. */
    for (int i = 0; i < 3; i++)
        finish_next(b);
    assert_in_range(stats(b).bytes, 20000, 40000);
    request = request_of(b, &calls[3], 0);
    send_request(b, request, "Ping", NULL, data);
    ANSWERED(calls[3], DISPATCH_ACCEPTED);
    assert_true(stats(b).bytes <= 40000);
    finish_next(b);
    assert_true(stats(b).bytes <= 40000);
    assert_int_equal(look_up(b, calls[3].ids[0]), DISPATCH_DONE);
    bench_free(b);
}

/* Nothing is thrown away for an event that cannot fit. */
static void test_event_larger_than_the_bound(void **state)
{
    (void)state;
    Bench *b = bench_prepare(1);
    b->options.bytes_max = 9000;
    b->d = dispatcher_new(&b->options);
    b->mode = FINISH;
    Call small = {0}, large = {0};
    send(b, &small, NULL, 0);
    char *data = calloc(1, 20001);
    memset(data, '1', 20000);
    send_request(b, request_of(b, &large, 0), "Ping", NULL, data);
    free(data);
    ANSWERED(large, DISPATCH_QUEUE_FULL);
    assert_int_equal(look_up(b, small.ids[0]), DISPATCH_DONE);
    bench_free(b);
}

/* A result that does not fit beside what runs is given to who waits, and not kept. */
static void test_result_larger_than_the_bound(void **state)
{
    (void)state;
    Bench *b = bench_prepare(1);
    b->options.bytes_max = 9000;
    b->d = dispatcher_new(&b->options);
    Call call = {0};
    send(b, &call, NULL, 1000);
    LuaVmAction *action = next_action(b);
    for (int i = 0; i < 20000; i++)
        strbuf_putc(action->executions[0].out, '1');
    fake_finish(action);
    ANSWERED(call, DISPATCH_DONE);
    assert_int_equal(look_up(b, call.ids[0]), DISPATCH_NOT_FOUND);
    assert_int_equal(stats(b).records, 0);
    assert_int_equal(stats(b).bytes, 0);
    bench_free(b);
}

static void test_waits_bound(void **state)
{
    (void)state;
    Bench *b = bench_prepare(1);
    b->options.waits_max = 2;
    b->d = dispatcher_new(&b->options);
    Call first = {0}, second = {0}, third = {0}, other = {0}, does_not = {0};
    send(b, &first, "e", 100);
    send(b, &second, "e", 200);
    send(b, &third, "e", 100);
    send(b, &other, "f", 100);
    ANSWERED(third, DISPATCH_QUEUE_FULL);
    ANSWERED(other, DISPATCH_QUEUE_FULL);
    send(b, &does_not, "e", 0);
    ANSWERED(does_not, DISPATCH_ACCEPTED); /* needs no place */
    does_not = (Call){0};
    send(b, &does_not, "g", 0);
    ANSWERED(does_not, DISPATCH_ACCEPTED);
    assert_int_equal(stats(b).waits, 2);
    pass(b, 100);
    ANSWERED(first, DISPATCH_RETURN_TIMEOUT);
    other = (Call){0};
    send(b, &other, "f", 100);
    assert_int_equal(other.completions, 0);
    for (int i = 0; i < 3; i++)
        finish_next(b);
    ANSWERED(second, DISPATCH_DONE);
    ANSWERED(other, DISPATCH_DONE);
    bench_free(b);
}

static void test_nothing_kept(void **state)
{
    (void)state;
    Bench *b = bench_prepare(1);
    b->options.keep_ns = 0;
    b->d = dispatcher_new(&b->options);
    Call first = {0}, duplicate = {0}, again = {0};
    send(b, &first, "e", 1000);
    send(b, &duplicate, "e", 1000);
    finish_next(b);
    ANSWERED(first, DISPATCH_DONE);
    ANSWERED(duplicate, DISPATCH_DONE);
    assert_int_equal(look_up(b, first.ids[0]), DISPATCH_NOT_FOUND);
    assert_int_equal(stats(b).records, 0);
    assert_int_equal(stats(b).bytes, 0);
    send(b, &again, "e", 0);
    assert_false(again.duplicate);
    bench_free(b);
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

static Cancelled cancel(Bench *b, const char *id)
{
    Cancelled c = {0};
    dispatcher_cancel(b->d, id, strlen(id), on_cancelled, &c);
    return c;
}

static void test_cancel(void **state)
{
    (void)state;
    Bench *b = bench_new(2);
    Call call = {0};
    Cancelled later = {0};
    send(b, &call, NULL, 0);
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
    finish_next(b);
    fake_refuse(next_action(b), VM_ACTION_NOT_FOUND);
    ANSWERED(later, DISPATCH_DONE);

    int submitted = b->submitted;
    c = cancel(b, call.ids[0]);
    ANSWERED(c, DISPATCH_DONE);
    c = cancel(b, "0123456789abcdef0123456789abcdef");
    ANSWERED(c, DISPATCH_NOT_FOUND);
    assert_int_equal(b->submitted, submitted);
    bench_free(b);
}

/* ---- The end ----------------------------------------------------------------------------------
 */

static void test_stop(void **state)
{
    (void)state;
    Bench *b = bench_new(1);
    Call running = {0}, waiting = {0}, late = {0};
    send(b, &running, NULL, 1000);
    send(b, &waiting, NULL, 1000);
    dispatcher_stop(b->d);
    assert_int_equal(running.completions, 0);
    send(b, &late, NULL, 1000);
    ANSWERED(late, DISPATCH_SHUTTING_DOWN);
    assert_int_equal(b->submitted, 2);
    finish_next(b);
    fake_refuse(next_action(b), VM_ACTION_SHUTTING_DOWN); /* worker_stop */
    ANSWERED(running, DISPATCH_DONE);
    ANSWERED(waiting, DISPATCH_SHUTTING_DOWN);
    bench_free(b);
}

static void test_record_outlives_dispatcher(void **state)
{
    (void)state;
    Bench *b = bench_new(1);
    Call call = {.keep = true};
    send(b, &call, "e", 1000);
    finish_next(b);
    bench_free(b);
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
