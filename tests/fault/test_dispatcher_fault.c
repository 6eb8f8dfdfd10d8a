/* The dispatcher when memory runs out: each allocation fails once, and everybody gets an answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fault_support.h"
#include "worker/dispatcher.h"

enum { CALLS = 40 };

typedef struct Answer {
    int completions;
    DispatchOutcome outcome;
} Answer;

typedef struct Stage {
    KhronosSandbox *sandbox;
    KhronosTemplate *template_version;
    Dispatcher *d;
    LuaVmAction *actions[2 * CALLS];
    int action_count;
    Answer answers[CALLS];
    Answer cancel;
    char id[RANDOM_ID_SIZE]; /* of an execution */
    bool is_late;
    TemplateLookup *late;
} Stage;

static void answer(Stage *s, TemplateLookup *lookup)
{
    template_lookup_clear(lookup);
    int count = lookup->name.data ? 1 : 2;
    for (int i = 0; i < count; i++)
        lookup->found[lookup->count++] = template_retain(s->template_version);
}

/* At once, or when all have asked: `late` is the guild's first question. */
static bool look_up(void *self, TemplateLookup *lookup)
{
    Stage *s = self;
    if (s->is_late) {
        if (lookup->complete)
            s->late = lookup;
        return false;
    }
    answer(s, lookup);
    return true;
}

static void on_submit(void *userdata, LuaVmAction *action)
{
    Stage *s = userdata;
    s->actions[s->action_count++] = action;
}

static uint64_t stage_clock(void *userdata)
{
    (void)userdata;
    return 1;
}

static void on_complete(void *userdata, const DispatchResult *result)
{
    Answer *answer = userdata;
    answer->completions++;
    answer->outcome = result->outcome;
}

static void on_cancelled(void *userdata, DispatchOutcome outcome)
{
    Answer *answer = userdata;
    answer->completions++;
    answer->outcome = outcome;
}

/* Each id is used twice in a row: the second waits with the first, if that one was taken. */
static void dispatch_all(Stage *s)
{
    KhronosEvent event = {.name = {"Ping", 4}, .data = {"{}", 2}};
    for (int i = 0; i < CALLS; i++) {
        char id[2] = {(char)('A' + i / 2), (char)('a' + i / 2)};
        event.id = (EventText){id, sizeof(id)};
        DispatchRequest request = {.guild_id = 1,
                                   .event = &event,
                                   .wait_ms = 1000,
                                   .complete = on_complete,
                                   .userdata = &s->answers[i]};
        if (i % 4 < 2)
            request.target = (EventText){"t", 1};
        dispatcher_dispatch(s->d, &request);
    }
}

static void finish(LuaVmAction *action)
{
    int count;
    action->outcome = VM_ACTION_DONE;
    if (action->type != VM_ACTION_CANCEL) {
        KhronosExecution *executions = action_executions(action, &count);
        for (int i = 0; i < count; i++) {
            executions[i].status = KHRONOS_RUNTIME_ERROR;
            strbuf_puts(&executions[i].message, "no");
            memcpy(executions[i].path, "init.luau", 10);
        }
    }
    action->complete(action);
}

static void open_stage(Stage *s)
{
    char error[256];
    DispatcherOptions options;
    *s = (Stage){.sandbox = sandbox_new(NULL, 0, error, sizeof(error))};
    s->template_version = template_new(s->sandbox, "t", 1, "");
    dispatcher_default_options(&options);
    options.submit = on_submit;
    options.submit_userdata = s;
    options.templates = (TemplateSource){.look_up = look_up, .self = s};
    options.clock = stage_clock;
    s->d = dispatcher_new(&options);
    assert_non_null(s->d);
}

static void close_stage(Stage *s)
{
    dispatcher_free(s->d);
    template_release(s->template_version);
    sandbox_release(s->sandbox);
}

/* False: the k-th allocation did not come to pass. */
static bool play(long k, bool is_late)
{
    Stage s;
    DispatcherStats stats;
    open_stage(&s);
    s.is_late = is_late;
    fault_arm(k);
    dispatch_all(&s);
    if (is_late) {
        s.is_late = false;
        answer(&s, s.late);
        s.late->complete(s.late);
    }
    memcpy(s.id, action_executions(s.actions[0], &(int){0})->id, RANDOM_ID_SIZE);
    dispatcher_cancel(s.d, s.id, RANDOM_ID_SIZE - 1, on_cancelled, &s.cancel);
    while (s.action_count > 0)
        finish(s.actions[--s.action_count]);
    bool fired = fault_disarm();

    int lost = 0;
    for (int i = 0; i < CALLS; i++) {
        assert_int_equal(s.answers[i].completions, 1);
        lost += s.answers[i].outcome == DISPATCH_NO_MEMORY;
        if (s.answers[i].outcome != DISPATCH_NO_MEMORY)
            assert_int_equal(s.answers[i].outcome, DISPATCH_DONE);
    }
    assert_int_equal(s.cancel.completions, 1);
    lost += s.cancel.outcome == DISPATCH_NO_MEMORY;
    assert_true(lost <= (fired ? 1 : 0));
    dispatcher_stats(s.d, &stats);
    assert_int_equal(stats.waits, 0);
    assert_int_equal(stats.records, CALLS / 2);
    close_stage(&s);
    return fired;
}

static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    long k = 1;
    while (play(k, false))
        k++;
    assert_true(k > 2 * CALLS); /* two for a record, one for a duplicate */
    k = 1;
    while (play(k, true))
        k++;
    assert_true(k > 3 * CALLS); /* and one for each that waits */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation_fails_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
