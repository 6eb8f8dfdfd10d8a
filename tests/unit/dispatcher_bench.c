#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dispatcher_bench.h"

#include "base/clock.h"

static void on_submit(void *userdata, LuaVmAction *action)
{
    DispatchBench *b = userdata;
    b->submitted++;
    if (b->inside) {
        Call *inside = b->inside;
        b->inside = NULL;
        db_send(b, inside, "same", 0);
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
    return ((DispatchBench *)userdata)->now_ns;
}

DispatchBench *db_prepare(int matching)
{
    DispatchBench *b = calloc(1, sizeof(*b));
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

DispatchBench *db_new(int matching)
{
    DispatchBench *b = db_prepare(matching);
    b->d = dispatcher_new(&b->options);
    assert_non_null(b->d);
    return b;
}

/* The oldest deferred action. */
LuaVmAction *db_action(DispatchBench *b)
{
    assert_true(b->action_count > 0);
    LuaVmAction *action = b->actions[0];
    memmove(b->actions, b->actions + 1, (size_t)--b->action_count * sizeof(b->actions[0]));
    return action;
}

void db_finish(DispatchBench *b)
{
    fake_finish(db_action(b));
}

void db_free(DispatchBench *b)
{
    while (b->action_count > 0)
        db_finish(b);
    dispatcher_free(b->d);
    fake_templates_free(&b->templates);
    free(b);
}

DispatcherStats db_stats(DispatchBench *b)
{
    DispatcherStats s;
    dispatcher_stats(b->d, &s);
    return s;
}

void db_pass(DispatchBench *b, uint64_t ms)
{
    b->now_ns += ms * CLOCK_NS_PER_MS;
    dispatcher_poll(b->d);
}

void db_copy(char *out, size_t size, EventText text)
{
    snprintf(out, size, "%.*s", (int)text.length, text.data ? text.data : "");
}

static void db_complete(void *userdata, const DispatchResult *result)
{
    Call *call = userdata;
    call->completions++;
    call->outcome = result->outcome;
    call->duplicate = result->duplicate;
    call->retry_after_ms = result->retry_after_ms;
    call->count = result->count;
    db_copy(call->event_id, sizeof(call->event_id), result->event_id);
    for (int i = 0; i < result->count && i < FAKE_TEMPLATES_MAX; i++)
        memcpy(call->ids[i], result->executions[i].id, RANDOM_ID_SIZE);
    if (result->outcome == DISPATCH_DONE && result->count > 0)
        db_copy(call->result, sizeof(call->result), result->executions[0].result);
    if (call->keep)
        call->kept = dispatch_record_retain(result->record);
    if (call->dispatch_again) {
        call->dispatch_again = false;
        db_send(call->bench, call, NULL, 1000);
    }
}

EventText db_text(const char *s)
{
    return (EventText){s, s ? strlen(s) : 0};
}

DispatchRequest db_request(DispatchBench *b, Call *call, uint64_t wait_ms)
{
    call->bench = b;
    return (DispatchRequest){
        .guild_id = GUILD, .wait_ms = wait_ms, .complete = db_complete, .userdata = call};
}

/* All that the request points to is gone when the call returns. */
void db_send_request(DispatchBench *b, DispatchRequest request, const char *name,
                     const char *event_id, const char *data)
{
    char *texts[3] = {strdup(name), event_id ? strdup(event_id) : NULL, data ? strdup(data) : NULL};
    KhronosEvent *event = calloc(1, sizeof(*event));
    event->base_name = db_text("Custom");
    event->name = db_text(texts[0]);
    event->id = db_text(texts[1]);
    event->data = db_text(texts[2]);
    request.event = event;
    dispatcher_dispatch(b->d, &request);
    free(event);
    for (int i = 0; i < 3; i++)
        free(texts[i]);
}

void db_send(DispatchBench *b, Call *call, const char *event_id, uint64_t wait_ms)
{
    db_send_request(b, db_request(b, call, wait_ms), "Ping", event_id, "{\"n\":1}");
}

/* The outcome that an execution's record has now; DISPATCH_NOT_FOUND without one. */
DispatchOutcome db_look_up(DispatchBench *b, const char *id)
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
