/* The dispatcher between many threads: callers, a worker that answers at random, the real clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "dispatcher_support.h"

enum {
    CALLERS = 4,
    COMPLETERS = 2,
    REQUESTS = 3000, /* of each caller */
    GUILDS = 3,
    KEYS = 12, /* event ids that are used again and again */
    QUEUE_MAX = 256
};

typedef struct Town Town;

typedef struct Request {
    Town *town;
    atomic_int completions;
    DispatchOutcome outcome;
    bool duplicate;
    char id[RANDOM_ID_SIZE];
    char event_id[16];
    DispatchRecord *kept;
    bool keep;
} Request;

struct Town {
    FakeTemplates templates;
    Dispatcher *d;
    pthread_mutex_t lock;
    pthread_cond_t mail;
    LuaVmAction *queue[QUEUE_MAX];
    int queued;
    bool ending;
    atomic_int running[GUILDS + 1][KEYS]; /* of that event id, now */
    atomic_int wrong;
    atomic_int executes, cancels, cancelled;
    Request *requests;
};

typedef struct Thread {
    pthread_t thread;
    Town *town;
    uint32_t random;
    int index;
} Thread;

static uint32_t dice(uint32_t *state, uint32_t sides)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % sides;
}

static void expect(Town *town, bool condition)
{
    if (!condition)
        atomic_fetch_add(&town->wrong, 1);
}

/* ---- The worker -------------------------------------------------------------------------------
 */

static atomic_int *running_of(Town *town, LuaVmAction *action)
{
    int count;
    if (action->type == VM_ACTION_CANCEL)
        return NULL;
    EventText id = action_executions(action, &count)->event->id;
    return id.data[0] == 'k' ? &town->running[action->handle.guild_id][atoi(id.data + 1)] : NULL;
}

/* Whatever it is, no two runs of an event id overlap. */
static void give_back(Town *town, LuaVmAction *action, uint32_t fate)
{
    atomic_int *running = running_of(town, action);
    if (running)
        expect(town, atomic_exchange(running, 0) == 1);
    if (fate == 0)
        fake_refuse(action, VM_ACTION_QUEUE_FULL);
    else if (fate == 1)
        fake_refuse(action, VM_ACTION_VM_BROKEN);
    else
        fake_finish(action);
}

static void on_submit(void *userdata, LuaVmAction *action)
{
    Town *town = userdata;
    uint32_t random = (uint32_t)clock_monotonic_ns() * 2654435761u;
    atomic_int *running = running_of(town, action);
    atomic_fetch_add(action->type == VM_ACTION_CANCEL ? &town->cancels : &town->executes, 1);
    if (running)
        expect(town, atomic_exchange(running, 1) == 0);
    pthread_mutex_lock(&town->lock);
    bool queued = town->queued < QUEUE_MAX && dice(&random, 4) != 0;
    if (queued) {
        town->queue[town->queued++] = action;
        pthread_cond_signal(&town->mail);
    }
    pthread_mutex_unlock(&town->lock);
    if (!queued)
        give_back(town, action, dice(&random, 8));
}

static void *completer_main(void *arg)
{
    Thread *self = arg;
    Town *town = self->town;
    pthread_mutex_lock(&town->lock);
    for (;;) {
        while (town->queued == 0 && !town->ending)
            pthread_cond_wait(&town->mail, &town->lock);
        if (town->queued == 0)
            break;
        uint32_t chosen = dice(&self->random, (uint32_t)town->queued);
        LuaVmAction *action = town->queue[chosen];
        town->queue[chosen] = town->queue[--town->queued];
        pthread_mutex_unlock(&town->lock);
        if (dice(&self->random, 50) == 0)
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        give_back(town, action, dice(&self->random, 30));
        pthread_mutex_lock(&town->lock);
    }
    pthread_mutex_unlock(&town->lock);
    return NULL;
}

/* ---- The callers ------------------------------------------------------------------------------
 */

static void on_complete(void *userdata, const DispatchResult *result)
{
    Request *r = userdata;
    r->outcome = result->outcome;
    r->duplicate = result->duplicate;
    if (result->count > 0)
        memcpy(r->id, result->executions[0].id, RANDOM_ID_SIZE);
    if (result->outcome == DISPATCH_DONE) {
        char expected[96];
        int length = snprintf(expected, sizeof(expected), "{\"event\":\"%.*s\",\"data\":[7]}",
                              (int)result->event_id.length, result->event_id.data);
        EventText got = result->executions[result->count - 1].result;
        expect(r->town,
               got.length == (size_t)length && memcmp(got.data, expected, (size_t)length) == 0);
    }
    if (r->event_id[0] != '\0')
        expect(r->town, result->event_id.length == strlen(r->event_id) &&
                            memcmp(result->event_id.data, r->event_id, strlen(r->event_id)) == 0);
    if (r->keep)
        r->kept = dispatch_record_retain(result->record);
    /* Release: the fields are read by whoever has seen it. */
    atomic_fetch_add_explicit(&r->completions, 1, memory_order_release);
}

static void on_cancelled(void *userdata, DispatchOutcome outcome)
{
    Town *town = userdata;
    (void)outcome;
    atomic_fetch_add(&town->cancelled, 1);
}

static void ask_after(Thread *self, const Request *earlier)
{
    DispatchResult result;
    int index;
    if (atomic_load_explicit(&earlier->completions, memory_order_acquire) == 0 || !earlier->id[0])
        return;
    DispatchRecord *record = dispatcher_find(self->town->d, earlier->id, RANDOM_ID_SIZE - 1,
                                             &index);
    if (record) {
        dispatch_record_result(record, &result);
        expect(self->town, strcmp(result.executions[index].id, earlier->id) == 0);
        if (result.outcome == DISPATCH_DONE)
            expect(self->town, result.executions[index].result.data[0] == '{');
        dispatch_record_release(record);
    }
}

static void send(Thread *self, Request *r)
{
    static const uint64_t waits_ms[] = {0, 0, 1, 2, 60000, 60000};
    Town *town = self->town;
    KhronosEvent event = {.name = {"Ping", 4}, .data = {"[7]", 3}};
    r->town = town;
    r->keep = dice(&self->random, 10) == 0;
    if (dice(&self->random, 2)) {
        snprintf(r->event_id, sizeof(r->event_id), "k%u", dice(&self->random, KEYS));
        event.id = (EventText){r->event_id, strlen(r->event_id)};
    }
    DispatchRequest request = {
        .guild_id = 1 + dice(&self->random, GUILDS),
        .event = &event,
        .wait_ms = waits_ms[dice(&self->random, 6)],
        .complete = on_complete,
        .userdata = r,
    };
    dispatcher_dispatch(town->d, &request);
}

static void *caller_main(void *arg)
{
    Thread *self = arg;
    Town *town = self->town;
    Request *mine = town->requests + (size_t)self->index * REQUESTS;
    for (int i = 0; i < REQUESTS; i++) {
        send(self, &mine[i]);
        const Request *earlier = &mine[dice(&self->random, (uint32_t)i + 1)];
        if (i % 4 == 0)
            ask_after(self, earlier);
        if (i % 16 == 0 && atomic_load_explicit(&earlier->completions, memory_order_acquire) != 0)
            dispatcher_cancel(town->d, earlier->id, strlen(earlier->id), on_cancelled, town);
        if (i % 100 == 0)
            nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    return NULL;
}

static Town *town_new(void)
{
    Town *town = calloc(1, sizeof(*town));
    DispatcherOptions options;
    pthread_mutex_init(&town->lock, NULL);
    pthread_cond_init(&town->mail, NULL);
    fake_templates_init(&town->templates, 2);
    town->requests = calloc(CALLERS * REQUESTS, sizeof(Request));
    dispatcher_default_options(&options);
    options.submit = on_submit;
    options.submit_userdata = town;
    options.templates = fake_templates_source(&town->templates);
    options.keep_ns = 4 * CLOCK_NS_PER_MS;
    options.records_max = 300; /* too few at times: records go early, requests are refused */
    options.waits_max = 150;
    town->d = dispatcher_new(&options);
    return town;
}

static void check(Town *town, const DispatcherStats *stats)
{
    uint64_t duplicates = 0, timeouts = 0;
    int outcomes[DISPATCH_NO_MEMORY + 1] = {0};
    for (int i = 0; i < CALLERS * REQUESTS; i++) {
        Request *r = &town->requests[i];
        assert_int_equal(atomic_load(&r->completions), 1);
        outcomes[r->outcome]++;
        duplicates += r->duplicate;
        timeouts += r->outcome == DISPATCH_RETURN_TIMEOUT;
        if (r->kept) {
            DispatchResult result;
            dispatch_record_result(r->kept, &result);
            assert_int_not_equal(result.outcome, DISPATCH_ACCEPTED); /* all is over */
            dispatch_record_release(r->kept);
        }
    }
    assert_int_equal(atomic_load(&town->wrong), 0);
    assert_int_equal(duplicates, stats->duplicates);
    assert_int_equal(timeouts, stats->timeouts);
    assert_int_equal(stats->dispatched, (uint64_t)atomic_load(&town->executes));
    assert_int_equal(stats->waits, 0);
    assert_true(stats->records <= 300);
    assert_true(outcomes[DISPATCH_DONE] > 0 && outcomes[DISPATCH_ACCEPTED] > 0 &&
                outcomes[DISPATCH_QUEUE_FULL] > 0 && outcomes[DISPATCH_VM_BROKEN] > 0);
}

static void test_many_threads(void **state)
{
    (void)state;
    Town *town = town_new();
    Thread callers[CALLERS], completers[COMPLETERS];
    DispatcherStats stats;
    for (int i = 0; i < COMPLETERS; i++) {
        completers[i] = (Thread){.town = town, .random = 77u + (uint32_t)i};
        assert_int_equal(
            pthread_create(&completers[i].thread, NULL, completer_main, &completers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (Thread){.town = town, .random = 5u + (uint32_t)i, .index = i};
        assert_int_equal(pthread_create(&callers[i].thread, NULL, caller_main, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++)
        pthread_join(callers[i].thread, NULL);
    dispatcher_stop(town->d);
    pthread_mutex_lock(&town->lock);
    town->ending = true;
    pthread_cond_broadcast(&town->mail);
    pthread_mutex_unlock(&town->lock);
    for (int i = 0; i < COMPLETERS; i++)
        pthread_join(completers[i].thread, NULL);
    /* Callers that the alarm has just picked may not have heard yet. */
    do {
        dispatcher_stats(town->d, &stats);
    } while (stats.waits != 0);
    dispatcher_free(town->d);
    assert_true(atomic_load(&town->cancelled) >= atomic_load(&town->cancels));
    check(town, &stats);
    fake_templates_free(&town->templates);
    pthread_cond_destroy(&town->mail);
    pthread_mutex_destroy(&town->lock);
    free(town->requests);
    free(town);
}

/* ---- The clock of the machine -----------------------------------------------------------------
 */

typedef struct Never {
    FakeTemplates templates;
    LuaVmAction *action;
    sem_t answered;
    DispatchOutcome outcome;
} Never;

static void keep_action(void *userdata, LuaVmAction *action)
{
    ((Never *)userdata)->action = action;
}

static void on_answer(void *userdata, const DispatchResult *result)
{
    Never *n = userdata;
    n->outcome = result->outcome;
    sem_post(&n->answered);
}

/* The second wait is shorter than the one that the alarm already sleeps for. */
static void test_wait_ends_by_itself(void **state)
{
    (void)state;
    Never n = {0};
    KhronosEvent event = {.name = {"Ping", 4}};
    DispatcherOptions options;
    dispatcher_default_options(&options);
    sem_init(&n.answered, 0, 0);
    fake_templates_init(&n.templates, 1);
    options.submit = keep_action;
    options.submit_userdata = &n;
    options.templates = fake_templates_source(&n.templates);
    Dispatcher *d = dispatcher_new(&options);
    DispatchRequest request = {
        .guild_id = 1, .event = &event, .wait_ms = 3600000, .complete = on_answer, .userdata = &n};
    dispatcher_dispatch(d, &request);
    LuaVmAction *long_one = n.action;
    request.wait_ms = 10;
    dispatcher_dispatch(d, &request);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    assert_int_equal(sem_timedwait(&n.answered, &until), 0);
    assert_int_equal(n.outcome, DISPATCH_RETURN_TIMEOUT);
    fake_finish(n.action);
    fake_finish(long_one);
    assert_int_equal(n.outcome, DISPATCH_DONE);
    dispatcher_free(d);
    fake_templates_free(&n.templates);
    sem_destroy(&n.answered);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_wait_ends_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
