/* The dispatcher when templates come later: order, copies, repetitions, failures, patience, bounds,
 * the end. And what an occasion told again, or a result of the wrong form, becomes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/clock.h"
#include "dispatcher_bench.h"

enum { ASKED_MAX = 8 };

/* Templates that are answered when the test says. */
typedef struct Late {
    DispatchBench *b;
    enum { WAIT, AT_HAND, INSIDE } mode; /* INSIDE: completes the look-up before it returns */
    TemplateLookup *asked[ASKED_MAX];
    int asked_count;
    int peeks; /* questions that could not wait */
} Late;

static bool late_look_up(void *self, TemplateLookup *lookup)
{
    Late *late = self;
    if (late->mode == AT_HAND) {
        fake_templates_answer(&late->b->templates, lookup);
        return true;
    }
    if (!lookup->complete) {
        late->peeks++;
        return false;
    }
    if (late->mode == INSIDE) {
        fake_templates_answer(&late->b->templates, lookup);
        lookup->complete(lookup);
        return false;
    }
    assert_true(late->asked_count < ASKED_MAX);
    late->asked[late->asked_count++] = lookup;
    return false;
}

static DispatchBench *prepare(Late *late, int matching)
{
    DispatchBench *b = db_prepare(matching);
    *late = (Late){.b = b};
    b->options.templates = (TemplateSource){late_look_up, late};
    return b;
}

static DispatchBench *open_late(Late *late, int matching)
{
    DispatchBench *b = prepare(late, matching);
    b->d = dispatcher_new(&b->options);
    assert_non_null(b->d);
    return b;
}

static TemplateLookup *take_asked(Late *late)
{
    assert_true(late->asked_count > 0);
    TemplateLookup *lookup = late->asked[0];
    memmove(late->asked, late->asked + 1, (size_t)--late->asked_count * sizeof(late->asked[0]));
    return lookup;
}

static void answer(Late *late)
{
    TemplateLookup *lookup = take_asked(late);
    fake_templates_answer(&late->b->templates, lookup);
    lookup->complete(lookup);
}

static void fail_asked(Late *late, const char *message)
{
    TemplateLookup *lookup = take_asked(late);
    template_lookup_clear(lookup);
    template_lookup_fail(lookup, message);
    lookup->complete(lookup);
}

static void assert_nothing_held(DispatchBench *b)
{
    DispatcherStats stats = db_stats(b);
    assert_int_equal(stats.records, 0);
    assert_int_equal(stats.bytes, 0);
    assert_int_equal(stats.waits, 0);
}

static void expect_event(const LuaVmAction *action, const char *id)
{
    const KhronosEvent *event = action->executions ? action->executions[0].event
                                                   : action->execution.event;
    assert_int_equal(event->id.length, strlen(id));
    assert_memory_equal(event->id.data, id, strlen(id));
}

/* ---- Order ------------------------------------------------------------------------------------
 */

static void test_order(void **state)
{
    (void)state;
    Late late;
    DispatchBench *b = open_late(&late, 2);
    Call calls[4] = {0}, other = {0};
    static const char *const ids[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 3; i++)
        db_send(b, &calls[i], ids[i], i == 1 ? 0 : 1000);
    assert_int_equal(late.asked_count, 1); /* one question for all three */
    assert_int_equal(late.peeks, 1);       /* and those behind it do not even ask */
    assert_int_equal(b->submitted, 0);
    assert_int_equal(db_stats(b).records, 3);
    assert_int_equal(db_stats(b).waits, 2);
    assert_int_equal(calls[1].completions, 0);

    DispatchRequest request = db_request(b, &other, 1000);
    request.guild_id = GUILD + 1; /* another guild does not wait behind this one */
    db_send_request(b, request, "Ping", "o", NULL);
    assert_int_equal(late.asked_count, 2);

    late.mode = AT_HAND;
    db_send(b, &calls[3], ids[3], 1000); /* it could go on at once, but others came before */
    assert_int_equal(b->submitted, 0);
    answer(&late);
    assert_int_equal(b->submitted, 4);
    for (int i = 0; i < 4; i++)
        expect_event(b->actions[i], ids[i]);
    ANSWERED(calls[1], DISPATCH_ACCEPTED);
    answer(&late);
    assert_int_equal(b->submitted, 5);
    assert_int_equal(b->actions[4]->handle.guild_id, GUILD + 1);
    while (b->action_count > 0)
        db_finish(b);
    for (int i = 0; i < 4; i++)
        if (i != 1)
            ANSWERED(calls[i], DISPATCH_DONE);
    ANSWERED(other, DISPATCH_DONE);
    assert_int_equal(calls[0].count, 2);
    assert_string_equal(calls[2].result, "{\"event\":\"c\",\"data\":{\"n\":1}}");
    assert_int_equal(db_stats(b).waits, 0);
    assert_int_equal(db_stats(b).dispatched, 5);
    db_free(b);
}

/* Each has to wait again: the next is asked for when the one before has gone on. */
static void test_each_waits(void **state)
{
    (void)state;
    Late late;
    DispatchBench *b = open_late(&late, 1);
    Call calls[3] = {0};
    static const char *const ids[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++)
        db_send(b, &calls[i], ids[i], 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(late.asked_count, 1);
        assert_int_equal(b->submitted, i);
        answer(&late);
        expect_event(b->actions[i], ids[i]);
    }
    db_free(b);
}

/* Answers that come before look_up returns take no stack, however many wait. */
static void test_long_queue(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    Late late;
    DispatchBench *b = open_late(&late, 1);
    Call *calls = calloc(MANY, sizeof(*calls));
    b->mode = FINISH;
    for (int i = 0; i < MANY; i++)
        db_send(b, &calls[i], NULL, 1000);
    late.mode = INSIDE;
    answer(&late);
    assert_int_equal(b->submitted, MANY);
    for (int i = 0; i < MANY; i++)
        ANSWERED(calls[i], DISPATCH_DONE);
    Call inside = {0}; /* the first of its queue, too */
    db_send(b, &inside, NULL, 1000);
    ANSWERED(inside, DISPATCH_DONE);
    free(calls);
    db_free(b);
}

/* What the request pointed to is gone by then. */
static void test_copies(void **state)
{
    (void)state;
    Late late;
    DispatchBench *b = open_late(&late, 3);
    Call call = {0};
    char user[] = "user", first[] = "kv:read", target[] = "t2";
    const char *list[] = {first, "discord:*"};
    KhronosCaller caller = {
        .owner_guild_id = 9, .current_user = user, .capabilities = list, .capability_count = 2};
    DispatchRequest request = db_request(b, &call, 1000);
    request.caller = &caller;
    request.target = (EventText){target, 2};
    request.keep_logs = true;
    db_send_request(b, request, "Ping", "id", "[1]");
    memset(user, 'x', 4);
    memset(first, 'x', 4);
    memset(target, 'x', 2);
    list[1] = NULL;
    caller.capability_count = 0;
    answer(&late);
    const KhronosExecution *x = &b->actions[0]->execution;
    assert_ptr_equal(x->template_version, b->templates.templates[2]);
    assert_true(x->keep_logs);
    assert_int_equal(x->caller->owner_guild_id, 9);
    assert_string_equal(x->caller->current_user, "user");
    assert_int_equal(x->caller->capability_count, 2);
    assert_string_equal(x->caller->capabilities[0], "kv:read");
    assert_string_equal(x->caller->capabilities[1], "discord:*");
    assert_memory_equal(x->event->data.data, "[1]", 3);
    assert_null(x->event->author.data);
    db_finish(b);
    ANSWERED(call, DISPATCH_DONE);
    assert_int_equal(call.count, 1);
    db_free(b);
}

static void test_nothing_found(void **state)
{
    (void)state;
    Late late;
    DispatchBench *b = open_late(&late, 0);
    Call none = {0}, unknown = {0};
    db_send(b, &none, "e", 1000);
    answer(&late);
    ANSWERED(none, DISPATCH_DONE);
    assert_string_equal(none.event_id, "e");
    DispatchRequest request = db_request(b, &unknown, 1000);
    request.target = db_text("t22");
    db_send_request(b, request, "Ping", "id", NULL);
    answer(&late);
    ANSWERED(unknown, DISPATCH_NOT_FOUND);
    assert_nothing_held(b);
    db_free(b);
}

/* ---- Repetitions ------------------------------------------------------------------------------
 */

static void test_duplicates(void **state)
{
    (void)state;
    Late late;
    DispatchBench *b = open_late(&late, 1);
    Call first = {0}, second = {0}, third = {0};
    db_send(b, &first, "e", 1000);
    db_send(b, &second, "e", 1000);
    db_send(b, &third, "e", 0);
    late.mode = AT_HAND;
    answer(&late);
    assert_int_equal(b->submitted, 1);
    ANSWERED(third, DISPATCH_ACCEPTED);
    assert_true(third.duplicate);
    assert_int_equal(db_stats(b).waits, 2);
    assert_int_equal(db_stats(b).records, 1);
    db_finish(b);
    ANSWERED(first, DISPATCH_DONE);
    ANSWERED(second, DISPATCH_DONE);
    assert_false(first.duplicate);
    assert_true(second.duplicate);
    assert_string_equal(first.ids[0], second.ids[0]);
    late.mode = WAIT;
    Call late_one = {0}, blocking = {0}; /* a known answer waits for no template */
    db_send(b, &blocking, "other", 1000);
    db_send(b, &late_one, "e", 1000);
    ANSWERED(late_one, DISPATCH_DONE);
    assert_int_equal(blocking.completions, 0);
    answer(&late);
    db_free(b);
}

static void test_again(void **state)
{
    (void)state;
    Late late;
    DispatchBench *b = open_late(&late, 1);
    late.mode = AT_HAND;
    Call first = {0}, again = {0}, repeated = {0}, while_it_runs = {0};
    db_send(b, &first, "e", 1000);
    db_finish(b);
    DispatchRequest request = db_request(b, &again, 1000);
    request.again = true;
    db_send_request(b, request, "Ping", "e", "2");
    assert_int_equal(b->submitted, 2);
    db_finish(b);
    ANSWERED(again, DISPATCH_DONE);
    assert_false(again.duplicate);
    assert_string_not_equal(again.ids[0], first.ids[0]);
    db_send(b, &repeated, "e", 1000); /* of the second */
    ANSWERED(repeated, DISPATCH_DONE);
    assert_string_equal(repeated.ids[0], again.ids[0]);
    assert_string_equal(repeated.result, "{\"event\":\"e\",\"data\":2}");
    assert_int_equal(db_look_up(b, first.ids[0]), DISPATCH_DONE); /* it is still found by its own */

    late.mode = WAIT; /* also beside one that runs, and late */
    request = db_request(b, &while_it_runs, 1000);
    request.again = true;
    Call other = {0};
    DispatchRequest running = db_request(b, &other, 1000);
    running.again = true;
    db_send_request(b, running, "Ping", "e", "3");
    db_send_request(b, request, "Ping", "e", "4");
    late.mode = AT_HAND;
    answer(&late);
    assert_int_equal(b->action_count, 2);
    db_finish(b);
    db_finish(b);
    ANSWERED(other, DISPATCH_DONE);
    ANSWERED(while_it_runs, DISPATCH_DONE);
    assert_string_equal(other.result, "{\"event\":\"e\",\"data\":3}");
    assert_string_equal(while_it_runs.result, "{\"event\":\"e\",\"data\":4}");
    db_pass(b, 700000);
    assert_nothing_held(b);
    db_free(b);
}

/* ---- Failures ---------------------------------------------------------------------------------
 */

static char told[160];

static void note_message(void *userdata, const DispatchResult *result)
{
    Call *call = userdata;
    call->completions++;
    call->outcome = result->outcome;
    call->retry_after_ms = result->retry_after_ms;
    snprintf(told, sizeof(told), "%s", result->message ? result->message : "");
}

static void test_failure(void **state)
{
    (void)state;
    Late late;
    DispatchBench *b = open_late(&late, 1);
    Call calls[3] = {0}, after = {0};
    for (int i = 0; i < 3; i++) {
        DispatchRequest request = db_request(b, &calls[i], i == 1 ? 0 : 1000);
        request.complete = note_message;
        db_send_request(b, request, "Ping", i == 2 ? NULL : "e", NULL);
    }
    fail_asked(&late, "the store's disk is on fire");
    for (int i = 0; i < 3; i++) {
        ANSWERED(calls[i], DISPATCH_UNAVAILABLE);
        assert_true(calls[i].retry_after_ms > 0);
    }
    assert_string_equal(told, "the store's disk is on fire");
    assert_int_equal(late.asked_count, 0); /* one answer for all */
    assert_int_equal(db_stats(b).refused, 3);
    assert_nothing_held(b);
    db_send(b, &after, "e", 1000); /* nothing is remembered of it */
    answer(&late);
    db_finish(b);
    ANSWERED(after, DISPATCH_DONE);
    assert_false(after.duplicate);
    db_free(b);
}

static void test_patience(void **state)
{
    (void)state;
    Late late;
    DispatchBench *b = open_late(&late, 1);
    Call hasty = {0}, patient = {0}, waits_for_nothing = {0};
    db_send(b, &hasty, "a", 1000);
    db_send(b, &waits_for_nothing, "b", 0);
    db_send(b, &patient, "c", 5000);
    db_pass(b, 999);
    assert_int_equal(hasty.completions, 0);
    db_pass(b, 1);
    ANSWERED(hasty, DISPATCH_UNAVAILABLE);
    assert_string_equal(hasty.event_id, "a");
    assert_int_equal(waits_for_nothing.completions, 0);
    assert_int_equal(db_stats(b).waits, 1);
    answer(&late); /* a's question: b and c go on, with one of their own each */
    late.mode = AT_HAND;
    answer(&late);
    assert_int_equal(b->submitted, 2);
    expect_event(b->actions[0], "b");
    expect_event(b->actions[1], "c");
    db_pass(b, 4000); /* the time it waited for templates counts */
    ANSWERED(patient, DISPATCH_RETURN_TIMEOUT);
    assert_int_equal(hasty.completions, 1);
    db_free(b);
}

static void test_bounds(void **state)
{
    (void)state;
    Late late;
    DispatchBench *b = prepare(&late, 1);
    b->options.records_max = 2;
    b->options.waits_max = 1;
    b->d = dispatcher_new(&b->options);
    Call calls[4] = {0};
    db_send(b, &calls[0], NULL, 1000);
    db_send(b, &calls[1], NULL, 1000);
    ANSWERED(calls[1], DISPATCH_QUEUE_FULL); /* waits */
    db_send(b, &calls[2], NULL, 0);
    db_send(b, &calls[3], NULL, 0);
    ANSWERED(calls[3], DISPATCH_QUEUE_FULL); /* records */
    late.mode = AT_HAND;
    answer(&late);
    assert_int_equal(b->submitted, 2);
    assert_int_equal(db_stats(b).records, 2);
    db_finish(b);
    db_finish(b);
    ANSWERED(calls[0], DISPATCH_DONE);
    ANSWERED(calls[2], DISPATCH_ACCEPTED);
    db_free(b);
}

static void test_stop_between(void **state)
{
    (void)state;
    Late late;
    DispatchBench *b = open_late(&late, 1);
    Call calls[3] = {0};
    for (int i = 0; i < 3; i++)
        db_send(b, &calls[i], i == 0 ? "e" : NULL, i == 1 ? 0 : 1000);
    dispatcher_stop(b->d);
    late.mode = AT_HAND;
    answer(&late);
    for (int i = 0; i < 3; i++)
        ANSWERED(calls[i], DISPATCH_SHUTTING_DOWN);
    assert_int_equal(b->submitted, 0);
    assert_nothing_held(b);
    db_free(b);
}

/* ---- Results ----------------------------------------------------------------------------------
 */

/* GetSettings must return a list; what the bench returns is an object. */
static void test_results_are_judged(void **state)
{
    (void)state;
    Late late;
    DispatchBench *b = open_late(&late, 1);
    late.mode = AT_HAND;
    for (int i = 0; i < 2; i++) {
        Call call = {.keep = true};
        DispatchResult result;
        KhronosEvent event = {.base_name = db_text(i == 0 ? "AntiRaid" : "Custom"),
                              .name = db_text("GetSettings"),
                              .data = db_text("{\"author\":\"1\"}")};
        DispatchRequest request = db_request(b, &call, 1000);
        request.event = &event;
        dispatcher_dispatch(b->d, &request);
        db_finish(b);
        ANSWERED(call, DISPATCH_DONE);
        dispatch_record_result(call.kept, &result);
        const DispatchExecution *x = &result.executions[0];
        assert_int_equal(x->status, i == 0 ? KHRONOS_INVALID_RESULT : KHRONOS_OK);
        assert_int_equal(x->result.data == NULL, i == 0);
        assert_int_equal(x->message.length > 0, i == 0);
        dispatch_record_release(call.kept);
    }
    db_free(b);
}

/* ---- Threads ----------------------------------------------------------------------------------
 */

enum { PRODUCERS = 3, GUILDS = 4, EACH = 400 };

/* Producers send numbered events to guilds of their own; another thread answers questions. */
typedef struct Town {
    FakeTemplates templates;
    Dispatcher *d;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    TemplateLookup *asked; /* by next, newest first */
    bool ending;
    unsigned turn;
    int seen[PRODUCERS * GUILDS]; /* number of the last event */
    int completions;
} Town;

static bool town_look_up(void *self, TemplateLookup *lookup)
{
    Town *town = self;
    pthread_mutex_lock(&town->lock);
    bool at_hand = town->turn++ % 3 == 0;
    if (!at_hand && lookup->complete) {
        lookup->next = town->asked;
        town->asked = lookup;
        pthread_cond_signal(&town->changed);
    }
    pthread_mutex_unlock(&town->lock);
    if (at_hand)
        fake_templates_answer(&town->templates, lookup);
    return at_hand;
}

static void *answer_main(void *arg)
{
    Town *town = arg;
    pthread_mutex_lock(&town->lock);
    while (!town->ending || town->asked) {
        TemplateLookup *lookup = town->asked;
        if (!lookup) {
            pthread_cond_wait(&town->changed, &town->lock);
            continue;
        }
        town->asked = lookup->next;
        bool fails = town->turn % 17 == 0;
        pthread_mutex_unlock(&town->lock);
        template_lookup_clear(lookup);
        if (fails)
            template_lookup_fail(lookup, "not now");
        else
            fake_templates_answer(&town->templates, lookup);
        lookup->complete(lookup);
        pthread_mutex_lock(&town->lock);
    }
    pthread_mutex_unlock(&town->lock);
    return NULL;
}

static void town_submit(void *userdata, LuaVmAction *action)
{
    Town *town = userdata;
    const KhronosEvent *event = action->executions[0].event;
    int number = atoi(event->data.data);
    pthread_mutex_lock(&town->lock);
    int *seen = &town->seen[action->handle.guild_id - 1];
    BASE_ASSERT(number > *seen); /* in order; those that failed are left out */
    *seen = number;
    pthread_mutex_unlock(&town->lock);
    fake_finish(action);
}

static void town_complete(void *userdata, const DispatchResult *result)
{
    Town *town = userdata;
    BASE_ASSERT(result->outcome == DISPATCH_DONE || result->outcome == DISPATCH_UNAVAILABLE);
    pthread_mutex_lock(&town->lock);
    town->completions++;
    pthread_cond_broadcast(&town->changed);
    pthread_mutex_unlock(&town->lock);
}

typedef struct Producer {
    Town *town;
    int index;
} Producer;

static void *produce_main(void *arg)
{
    const Producer *p = arg;
    for (int i = 0; i < EACH * GUILDS; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", i / GUILDS + 1);
        KhronosEvent event = {.name = {"Ping", 4}, .data = {text, strlen(text)}};
        DispatchRequest request = {.guild_id = (uint64_t)(1 + p->index * GUILDS + i % GUILDS),
                                   .event = &event,
                                   .wait_ms = i % 2 ? 600000 : 0,
                                   .complete = town_complete,
                                   .userdata = p->town};
        dispatcher_dispatch(p->town->d, &request);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    Town town = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    pthread_t threads[PRODUCERS], answerer;
    Producer producers[PRODUCERS];
    DispatcherOptions options;
    fake_templates_init(&town.templates, 2);
    dispatcher_default_options(&options);
    options.submit = town_submit;
    options.submit_userdata = &town;
    options.templates = (TemplateSource){town_look_up, &town};
    town.d = dispatcher_new(&options);
    assert_non_null(town.d);
    assert_int_equal(pthread_create(&answerer, NULL, answer_main, &town), 0);
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (Producer){&town, i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce_main, &producers[i]), 0);
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_lock(&town.lock);
    while (town.completions < PRODUCERS * GUILDS * EACH)
        pthread_cond_wait(&town.changed, &town.lock);
    town.ending = true;
    pthread_cond_broadcast(&town.changed);
    pthread_mutex_unlock(&town.lock);
    pthread_join(answerer, NULL);
    DispatcherStats stats;
    dispatcher_stats(town.d, &stats);
    assert_int_equal(stats.waits, 0);
    assert_int_equal(stats.dispatched + stats.refused, PRODUCERS * GUILDS * EACH);
    assert_int_equal(stats.records, stats.dispatched);
    dispatcher_free(town.d);
    fake_templates_free(&town.templates);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),         cmocka_unit_test(test_each_waits),
        cmocka_unit_test(test_long_queue),    cmocka_unit_test(test_copies),
        cmocka_unit_test(test_nothing_found), cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_again),         cmocka_unit_test(test_failure),
        cmocka_unit_test(test_patience),      cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_stop_between),  cmocka_unit_test(test_results_are_judged),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("dispatcher-late", tests, NULL, NULL);
}
