/* test_worker_hostile.c: the worker over real VMs, with well-behaved guilds among hostile ones.
 *
 * Several threads submit a random mixture: templates that answer, wait, spin, fail, fill their
 * memory, flood the scheduler or leave things in the background; cancels, destroys, new limits,
 * forgotten caches, panics at every point. What must hold, whatever the order: every action is
 * completed exactly once; a well-behaved guild sees no end that is not its own (unless the thread
 * it shared with others panicked); an attack never ends well; every VM that began also ended.
 * AddressSanitizer says whether something was left, ThreadSanitizer whether somebody looked too
 * early.
 *
 * The seed is printed; SEED=n repeats the choices (not the interleaving), ACTIONS=n makes it longer
 * or shorter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/base.h"
#include "base/clock.h"
#include "base/log.h"
#include "plugins/plugins.h"
#include "worker_scripts.h"
#include "worker/worker.h"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

enum {
    GOOD_GUILDS = 12,
    BAD_GUILDS = 24,
    GUILDS = GOOD_GUILDS + BAD_GUILDS,
    SUBMITTERS = 4,
    JOBS = 192,
    EXECUTIONS_MAX = 3,
    EVENTS = 64,
    SEATS = 2,
    ACTIONS_DEFAULT = 6000,
    PATIENCE_S = 240, /* nothing is ever late by so much, on any machine: it is lost */
    LOG_NOTHING = LOG_ERROR + 1
};

/* ---- What runs --------------------------------------------------------------------------------
 */

/* Whose VM is shared with attackers may end so whatever it does. */
#define MAY_BAD                                                                                    \
    (MAY(KHRONOS_BROKEN) | MAY(KHRONOS_CANCELLED) | MAY(KHRONOS_TIMEOUT) |                         \
     MAY(KHRONOS_MEMORY_LIMIT))

typedef struct Stress Stress;

/* An action on its way, with all it points to. */
typedef struct Job {
    LuaVmAction action;
    Stress *stress;
    KhronosExecution executions[EXECUTIONS_MAX];
    const Script *scripts[EXECUTIONS_MAX];
    char ids[EXECUTIONS_MAX][32];
    Strbuf outs[EXECUTIONS_MAX];
    int data[EXECUTIONS_MAX];
    char cancel_id[32];
    KhronosLimits limits;
    int count; /* executions */
    bool busy; /* under the lock */
    struct Job *next;
} Job;

/* What a seat serves: jobs that come in as a request would. */
typedef struct Inbox {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    WorkerSeat *seat;
    Job *first, *last;
    bool woken;
} Inbox;

typedef struct Guild {
    VmState state;         /* as the observer saw it, under the lock */
    VmBrokenReason reason; /* of its last VM that broke */
    uint64_t generation;
    atomic_uint next_id;
} Guild;

struct Stress {
    WorkerOptions options;
    Worker *worker;
    KhronosSandbox *sandbox;
    KhronosTemplate *good[GOOD], *bad[BAD];
    KhronosEvent events[EVENTS];
    char event_texts[EVENTS][64];
    Inbox inboxes[SEATS];
    Guild guilds[GUILDS + 1];
    bool panics, stops_early;
    uint64_t seed;
    int actions;
    atomic_bool stopping;
    pthread_mutex_t lock;
    pthread_cond_t freed;
    Job jobs[JOBS];
    Job *free; /* under the lock, like the rest */
    int busy;
    uint64_t completed, outcomes[VM_ACTION_NO_MEMORY + 1], statuses[KHRONOS_INTERNAL + 1];
    char problem[512]; /* the first one */
    int problems;
};

static void complain_locked(Stress *s, const char *format, ...) BASE_PRINTF(2, 3);
static void complain_locked(Stress *s, const char *format, ...)
{
    if (s->problems++ > 0)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(s->problem, sizeof(s->problem), format, args);
    va_end(args);
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static int choose(uint64_t *state, int count)
{
    return (int)(next_random(state) % (uint64_t)count);
}

static bool is_good(uint64_t guild_id)
{
    return guild_id <= GOOD_GUILDS;
}

static KhronosTemplate *make_template(Stress *s, const Script *script, uint32_t version)
{
    char error[256];
    KhronosTemplate *t = template_new(s->sandbox, "stress", version, "");
    assert_non_null(t);
    bool ok = template_addfile(t, "init.luau", NULL, strdup(script->source), strlen(script->source),
                               error, sizeof(error));
    if (ok && script->module)
        ok = template_addfile(t, "part.luau", NULL, strdup(script->module), strlen(script->module),
                              error, sizeof(error));
    assert_true(ok);
    return t;
}

/* ---- What came of it --------------------------------------------------------------------------
 */

/* A thread that guilds share was lost with a panic, and this guild's VM with it. */
static bool lost_by_panic(const Stress *s, const Job *job)
{
    const LuaVmAction *action = &job->action;
    if (!s->panics || s->options.strategy != WORKER_THREAD_POOL)
        return false;
    return action->outcome == VM_ACTION_VM_BROKEN || action->info.reason == VM_PANIC_RECOVERY;
}

/* Errors that a template has because of others of its guild: the tasks that these have, the load of
 * a module that was cut off in the middle of its code. */
static bool is_of_others(const char *message)
{
    return strstr(message, "too many tasks") || strstr(message, "it was cancelled");
}

static void check_execution_locked(Stress *s, Job *job, int i)
{
    KhronosExecution *x = &job->executions[i];
    const Script *script = job->scripts[i];
    uint64_t guild = job->action.handle.guild_id;
    unsigned may = script->may | (is_good(guild) ? 0 : MAY_BAD);
    if (s->stops_early || lost_by_panic(s, job))
        may |= MAY(KHRONOS_BROKEN);
    if (!is_good(guild) && is_of_others(strbuf_cstr(&x->message)))
        may |= MAY(KHRONOS_RUNTIME_ERROR);
    s->statuses[x->status]++;
    if (!(may & MAY(x->status)))
        complain_locked(s, "guild %" PRIu64 ", '%s': status %d: %.200s (reason: %s)", guild,
                        script->name, (int)x->status, strbuf_cstr(&x->message),
                        vm_reason_name(job->action.info.reason));
    char wanted[16];
    snprintf(wanted, sizeof(wanted), "%d", job->data[i]);
    if (x->status != KHRONOS_OK && x->out->length > 0)
        complain_locked(s, "'%s' ended with status %d (%.100s) and left a result", script->name,
                        (int)x->status, strbuf_cstr(&x->message));
    if (x->status == KHRONOS_OK && is_good(guild) && strcmp(strbuf_cstr(x->out), wanted) != 0)
        complain_locked(s, "'%s' returned %.40s in place of %s", script->name, strbuf_cstr(x->out),
                        wanted);
}

static void check_outcome_locked(Stress *s, Job *job)
{
    const LuaVmAction *action = &job->action;
    bool good = is_good(action->handle.guild_id), fine = false;
    switch (action->outcome) {
    case VM_ACTION_DONE: fine = true; break;
    case VM_ACTION_QUEUE_FULL: fine = !good && action->retry_after_ms > 0; break;
    case VM_ACTION_SHUTTING_DOWN: fine = s->stops_early; break;
    case VM_ACTION_VM_BROKEN: fine = s->panics && (!good || lost_by_panic(s, job)); break;
    case VM_ACTION_NOT_FOUND:
        fine = action->type == VM_ACTION_CANCEL || action->handle.generation != 0;
        break;
    case VM_ACTION_PAUSED:
    case VM_ACTION_NO_MEMORY: break;
    }
    s->outcomes[action->outcome]++;
    if (!fine)
        complain_locked(s, "guild %" PRIu64 ", action %d: outcome %d", action->handle.guild_id,
                        (int)action->type, (int)action->outcome);
    if (action->type == VM_ACTION_GET_STATE && action->outcome == VM_ACTION_DONE &&
        (action->info.state < VM_NONE || action->info.state > VM_DESTROYING ||
         action->info.mail < 0 || action->info.tasks < 0))
        complain_locked(s, "guild %" PRIu64 ": strange state", action->handle.guild_id);
}

static void give_back_locked(Stress *s, Job *job)
{
    job->busy = false;
    job->next = s->free;
    s->free = job;
    s->busy--;
    pthread_cond_signal(&s->freed);
}

static void on_complete(LuaVmAction *action)
{
    Job *job = action->userdata;
    Stress *s = job->stress;
    pthread_mutex_lock(&s->lock);
    s->completed++;
    if (!job->busy) {
        complain_locked(s, "action %d was completed twice", (int)action->type);
        pthread_mutex_unlock(&s->lock);
        return;
    }
    check_outcome_locked(s, job);
    for (int i = 0; i < job->count; i++) {
        if (action->outcome == VM_ACTION_DONE)
            check_execution_locked(s, job, i);
        template_release(job->executions[i].template_version);
        execution_free(&job->executions[i]);
        strbuf_free(&job->outs[i]);
    }
    give_back_locked(s, job);
    pthread_mutex_unlock(&s->lock);
}

static void on_state(void *userdata, VmHandle vm, VmState state, VmBrokenReason reason)
{
    Stress *s = userdata;
    Guild *guild = &s->guilds[vm.guild_id];
    pthread_mutex_lock(&s->lock);
    VmState before = guild->state;
    bool fine = guild->generation == vm.generation;
    switch (state) {
    case VM_INITIALIZING:
        fine = (before == VM_NONE || before == VM_BROKEN) && vm.generation > guild->generation &&
               reason == guild->reason;
        break;
    case VM_HEALTHY: fine &= before == VM_INITIALIZING && reason == guild->reason; break;
    case VM_DESTROYING: fine &= before == VM_HEALTHY; break;
    case VM_BROKEN:
        fine &= before == VM_HEALTHY || before == VM_INITIALIZING || before == VM_DESTROYING;
        fine &= reason != VM_NOT_BROKEN;
        if (is_good(vm.guild_id) && reason != VM_EXPLICIT_DESTROY &&
            !(s->panics && reason == VM_PANIC_RECOVERY &&
              s->options.strategy == WORKER_THREAD_POOL))
            complain_locked(s, "good guild %" PRIu64 ": broken: %s", vm.guild_id,
                            vm_reason_name(reason));
        break;
    case VM_NONE: fine = false; break;
    }
    if (!fine)
        complain_locked(s, "guild %" PRIu64 ", VM %" PRIu64 ": %s after VM %" PRIu64 " %s",
                        vm.guild_id, vm.generation, vm_state_name(state), guild->generation,
                        vm_state_name(before));
    guild->state = state;
    if (state == VM_BROKEN)
        guild->reason = reason;
    guild->generation = vm.generation;
    pthread_mutex_unlock(&s->lock);
}

/* ---- Seats ------------------------------------------------------------------------------------
 */

static void *inbox_open(void *userdata, int index, WorkerSeat *seat)
{
    Stress *s = userdata;
    s->inboxes[index].seat = seat;
    return &s->inboxes[index];
}

static struct timespec after_ms(int ms)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_nsec += (long)(ms % 1000) * 1000000;
    time.tv_sec += ms / 1000 + time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    return time;
}

static bool inbox_wait(void *io, int timeout_ms)
{
    Inbox *inbox = io;
    struct timespec until = after_ms(timeout_ms < 0 ? 0 : timeout_ms);
    pthread_mutex_lock(&inbox->lock);
    while (!inbox->first && !inbox->woken) {
        if (timeout_ms < 0)
            pthread_cond_wait(&inbox->changed, &inbox->lock);
        else if (pthread_cond_timedwait(&inbox->changed, &inbox->lock, &until) == ETIMEDOUT)
            break;
    }
    inbox->woken = false;
    bool any = inbox->first != NULL;
    pthread_mutex_unlock(&inbox->lock);
    return any;
}

static Job *inbox_take(Inbox *inbox)
{
    pthread_mutex_lock(&inbox->lock);
    Job *job = inbox->first;
    if (job)
        inbox->first = job->next;
    if (!inbox->first)
        inbox->last = NULL;
    pthread_mutex_unlock(&inbox->lock);
    return job;
}

static void inbox_put(Inbox *inbox, Job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&inbox->lock);
    if (inbox->last)
        inbox->last->next = job;
    else
        inbox->first = job;
    inbox->last = job;
    pthread_cond_signal(&inbox->changed);
    pthread_mutex_unlock(&inbox->lock);
}

static void inbox_serve(void *io)
{
    Inbox *inbox = io;
    Job *job;
    for (int i = 0; i < 4 && (job = inbox_take(inbox)) != NULL; i++) {
        switch (worker_begin(inbox->seat, &job->action)) {
        case WORKER_NOT_NOW: worker_post(inbox->seat, &job->action); break;
        case WORKER_DONE: on_complete(&job->action); break;
        case WORKER_RUNS: break;
        }
    }
}

static void inbox_wake(void *io)
{
    Inbox *inbox = io;
    pthread_mutex_lock(&inbox->lock);
    inbox->woken = true;
    pthread_cond_signal(&inbox->changed);
    pthread_mutex_unlock(&inbox->lock);
}

/* ---- What is asked ----------------------------------------------------------------------------
 */

/* NULL: the worker stops, or something is lost. */
static Job *take_job(Stress *s)
{
    struct timespec until = after_ms(PATIENCE_S * 1000);
    pthread_mutex_lock(&s->lock);
    while (!s->free && !atomic_load(&s->stopping))
        if (pthread_cond_timedwait(&s->freed, &s->lock, &until) == ETIMEDOUT) {
            complain_locked(s, "no action was completed for %d s", PATIENCE_S);
            break;
        }
    Job *job = atomic_load(&s->stopping) || s->problems > 0 ? NULL : s->free;
    if (job) {
        s->free = job->next;
        s->busy++;
        job->busy = true;
        job->count = 0;
        job->action = (LuaVmAction){.complete = on_complete, .userdata = job};
    }
    pthread_mutex_unlock(&s->lock);
    return job;
}

static void fill_execution(Stress *s, Job *job, int i, uint64_t *random)
{
    uint64_t guild = job->action.handle.guild_id;
    bool well = is_good(guild) || choose(random, 4) == 0;
    int which = choose(random, well ? GOOD : BAD);
    while (UNDER_TSAN && !well && (bad_scripts[which].may & THROWS))
        which = choose(random, BAD); /* its own stack of calls does not see errors, and runs over */
    const Script *script = well ? &good_scripts[which] : &bad_scripts[which];
    KhronosTemplate *t = well ? s->good[which] : s->bad[which];
    job->scripts[i] = script;
    job->data[i] = choose(random, EVENTS);
    job->outs[i] = STRBUF_INIT;
    snprintf(job->ids[i], sizeof(job->ids[i]), "%" PRIu64 "-%u", guild,
             atomic_fetch_add(&s->guilds[guild].next_id, 1));
    /* Now and then a version that nobody has run. */
    bool fresh = choose(random, 20) == 0;
    job->executions[i] = (KhronosExecution){
        .template_version = fresh ? make_template(s, script, 2) : template_retain(t),
        .event = &s->events[job->data[i]],
        .id = job->ids[i],
        .out = &job->outs[i],
        .keep_logs = choose(random, 4) == 0,
    };
}

static void fill_executions(Stress *s, Job *job, uint64_t *random)
{
    LuaVmAction *action = &job->action;
    job->count = choose(random, 3) == 0 ? 1 + choose(random, EXECUTIONS_MAX) : 1;
    action->type = choose(random, 2) ? VM_ACTION_EXECUTE : VM_ACTION_DISPATCH_EVENT;
    for (int i = 0; i < job->count; i++)
        fill_execution(s, job, i, random);
    action->executions = job->executions;
    action->execution_count = job->count;
}

static void fill_control(Stress *s, Job *job, uint64_t *random)
{
    LuaVmAction *action = &job->action;
    Guild *guild = &s->guilds[action->handle.guild_id];
    int which = choose(random, 30);
    if (which < 8) {
        action->type = VM_ACTION_CANCEL;
        unsigned last = atomic_load(&guild->next_id), back = (unsigned)choose(random, 12);
        snprintf(job->cancel_id, sizeof(job->cancel_id), "%" PRIu64 "-%u", action->handle.guild_id,
                 last - back);
        action->execution_id = job->cancel_id;
    } else if (which < 13) {
        action->type = VM_ACTION_DESTROY;
    } else if (which < 17) {
        action->type = VM_ACTION_SET_LIMITS;
        job->limits = s->options.limits;
        job->limits.memory_max_bytes = (size_t)(1 + choose(random, 4)) << 20;
        job->limits.mailbox_max = 1 + choose(random, 16);
        job->limits.tasks_max = 1 + choose(random, 200);
        job->limits.wall_max_ns = (uint64_t)(20 + choose(random, 100)) * CLOCK_NS_PER_MS;
        action->limits = choose(random, 4) ? &job->limits : NULL;
    } else if (which < 20) {
        action->type = VM_ACTION_CLEAR_CACHE;
    } else if (which < 24) {
        action->type = VM_ACTION_GET_STATE;
    } else if (which < 27 || !s->panics) {
        action->type = VM_ACTION_GET_MEMORY_USAGE;
    } else {
        action->type = VM_ACTION_PANIC;
        action->panic_point = (VmPanicPoint)choose(random, VM_PANIC_COLLECTOR + 1);
    }
    if (choose(random, 8) == 0)
        action->handle.generation = 1 + next_random(random) % 50;
}

static void submit_one(Stress *s, uint64_t *random)
{
    Job *job = take_job(s);
    if (!job)
        return;
    bool good = choose(random, 3) == 0;
    job->action.handle.guild_id = good ? 1 + (uint64_t)choose(random, GOOD_GUILDS)
                                       : 1 + GOOD_GUILDS + (uint64_t)choose(random, BAD_GUILDS);
    if (good && choose(random, 10) == 0)
        job->action.type = VM_ACTION_GET_STATE;
    else if (good || choose(random, 4) > 0)
        fill_executions(s, job, random);
    else
        fill_control(s, job, random);
    if (choose(random, 2))
        inbox_put(&s->inboxes[choose(random, SEATS)], job);
    else
        worker_submit(s->worker, &job->action);
}

typedef struct Submitter {
    pthread_t thread;
    Stress *stress;
    uint64_t random;
} Submitter;

static void *submitter_main(void *arg)
{
    Submitter *self = arg;
    for (int i = 0; i < self->stress->actions / SUBMITTERS; i++)
        submit_one(self->stress, &self->random);
    return NULL;
}

/* ---- Start and end ----------------------------------------------------------------------------
 */

static void make_events(Stress *s)
{
    for (int i = 0; i < EVENTS; i++) {
        char error[128];
        JsonReader reader;
        int length = snprintf(s->event_texts[i], sizeof(s->event_texts[i]),
                              "{\"name\":\"E\",\"data\":%d}", i);
        json_open(&reader, s->event_texts[i], (size_t)length);
        assert_true(event_read(&reader, "", &s->events[i], error, sizeof(error)));
    }
}

static KhronosSandbox *make_sandbox(void)
{
    char error[256];
    int count;
    const KhronosPlugin *plugins = plugins_all(&count);
    KhronosSandbox *sandbox = sandbox_new(plugins, count, error, sizeof(error));
    if (!sandbox)
        fail_msg("%s", error);
    return sandbox;
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void set_hostile_limits(KhronosLimits *limits)
{
    limits->memory_max_bytes = (size_t)2 << 20;
    limits->cpu_max_ns = 4 * CLOCK_NS_PER_MS;
    limits->wall_max_ns = 100 * CLOCK_NS_PER_MS;
    limits->tasks_max = 200;
    limits->result_max_bytes = 100000;
    limits->mailbox_max = 16;
}

static Stress *open_stress(WorkerStrategy strategy, bool panics, bool stops_early)
{
    Stress *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    s->seed = number_from("SEED", (uint64_t)time(NULL));
    s->actions = (int)number_from("ACTIONS", ACTIONS_DEFAULT);
    s->panics = panics;
    s->stops_early = stops_early;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->freed, NULL);
    for (int i = 0; i < SEATS; i++) {
        pthread_mutex_init(&s->inboxes[i].lock, NULL);
        pthread_cond_init(&s->inboxes[i].changed, NULL);
    }
    for (int i = 0; i < JOBS; i++) {
        s->jobs[i].stress = s;
        s->jobs[i].next = s->free;
        s->free = &s->jobs[i];
    }
    s->sandbox = make_sandbox();
    for (int i = 0; i < GOOD; i++)
        s->good[i] = make_template(s, &good_scripts[i], 1);
    for (int i = 0; i < BAD; i++)
        s->bad[i] = make_template(s, &bad_scripts[i], 1);
    make_events(s);
    worker_default_options(&s->options);
    s->options.strategy = strategy;
    s->options.threads = SEATS;
    s->options.sandbox = s->sandbox;
    s->options.broken_max = 0; /* no pauses */
    s->options.shrink_idle_ns = 3 * CLOCK_NS_PER_MS;
    s->options.destroy_idle_ns = 20 * CLOCK_NS_PER_MS;
    s->options.observer = (WorkerObserver){on_state, s};
    s->options.io = (WorkerIo){s, inbox_open, inbox_wait, inbox_serve, inbox_wake};
    set_hostile_limits(&s->options.limits);
    return s;
}

static void on_limits_set(LuaVmAction *action)
{
    action->userdata = NULL;
}

static void start_stress(Stress *s)
{
    char error[256];
    s->worker = worker_start(&s->options, error, sizeof(error));
    if (!s->worker)
        fail_msg("%s", error);
    KhronosLimits generous;
    khronos_default_limits(&generous);
    generous.cpu_max_ns = generous.wall_max_ns = 3600 * CLOCK_NS_PER_S;
    for (uint64_t guild = 1; guild <= GOOD_GUILDS; guild++) {
        /* The guild is at rest: done before submit returns. */
        LuaVmAction action = {.type = VM_ACTION_SET_LIMITS,
                              .handle.guild_id = guild,
                              .complete = on_limits_set,
                              .userdata = s,
                              .limits = &generous};
        worker_submit(s->worker, &action);
        assert_null(action.userdata);
        assert_int_equal(action.outcome, VM_ACTION_DONE);
    }
}

/* Requests that nobody read any more. */
static void empty_inboxes(Stress *s)
{
    Job *job;
    for (int i = 0; i < SEATS; i++)
        while ((job = inbox_take(&s->inboxes[i])) != NULL) {
            job->action.outcome = VM_ACTION_SHUTTING_DOWN;
            on_complete(&job->action);
        }
}

static void wait_until_served(Stress *s)
{
    struct timespec until = after_ms(PATIENCE_S * 1000);
    pthread_mutex_lock(&s->lock);
    while (s->busy > 0)
        if (pthread_cond_timedwait(&s->freed, &s->lock, &until) == ETIMEDOUT) {
            complain_locked(s, "%d actions were never completed", s->busy);
            break;
        }
    pthread_mutex_unlock(&s->lock);
}

static void print_stress(const Stress *s, const WorkerStats *stats)
{
    printf("             SEED=%" PRIu64 ", %s: %" PRIu64 " completed (full %" PRIu64
           ", stopped %" PRIu64 ", lost %" PRIu64 ", not found %" PRIu64 ")\n",
           s->seed, worker_strategy_name(s->options.strategy), s->completed,
           s->outcomes[VM_ACTION_QUEUE_FULL], s->outcomes[VM_ACTION_SHUTTING_DOWN],
           s->outcomes[VM_ACTION_VM_BROKEN], s->outcomes[VM_ACTION_NOT_FOUND]);
    printf("             executions: ok %" PRIu64 ", errors %" PRIu64 ", cancelled %" PRIu64
           ", memory %" PRIu64 ", time %" PRIu64 ", broken %" PRIu64 "; %" PRIu64 " VMs, %" PRIu64
           " panics\n",
           s->statuses[KHRONOS_OK], s->statuses[KHRONOS_RUNTIME_ERROR],
           s->statuses[KHRONOS_CANCELLED], s->statuses[KHRONOS_MEMORY_LIMIT],
           s->statuses[KHRONOS_TIMEOUT], s->statuses[KHRONOS_BROKEN], stats->created,
           stats->panics);
    fflush(stdout);
}

static void close_stress(Stress *s)
{
    for (int i = 0; i < GOOD; i++)
        template_release(s->good[i]);
    for (int i = 0; i < BAD; i++)
        template_release(s->bad[i]);
    sandbox_release(s->sandbox);
    for (int i = 0; i < SEATS; i++) {
        pthread_mutex_destroy(&s->inboxes[i].lock);
        pthread_cond_destroy(&s->inboxes[i].changed);
    }
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->freed);
    free(s);
}

static void judge_stress(Stress *s, const WorkerStats *stats)
{
    pthread_mutex_lock(&s->lock);
    if (s->busy > 0)
        complain_locked(s, "%d actions were never completed", s->busy);
    for (uint64_t i = 1; i <= GUILDS; i++)
        if (s->guilds[i].state != VM_NONE && s->guilds[i].state != VM_BROKEN)
            complain_locked(s, "guild %" PRIu64 " was left %s", i,
                            vm_state_name(s->guilds[i].state));
    if (s->statuses[KHRONOS_OK] == 0)
        complain_locked(s, "nothing ended well");
    if (s->panics != (stats->panics > 0))
        complain_locked(s, "%" PRIu64 " panics", stats->panics);
    pthread_mutex_unlock(&s->lock);
}

static void run_stress(WorkerStrategy strategy, bool panics, bool stops_early)
{
    Stress *s = open_stress(strategy, panics, stops_early);
    Submitter submitters[SUBMITTERS];
    WorkerStats stats;
    log_setlevel(panics ? (LogLevel)LOG_NOTHING : LOG_ERROR); /* of those that are meant */
    start_stress(s);
    for (int i = 0; i < SUBMITTERS; i++) {
        submitters[i] = (Submitter){.stress = s, .random = s->seed * SUBMITTERS + (uint64_t)i};
        assert_int_equal(
            pthread_create(&submitters[i].thread, NULL, submitter_main, &submitters[i]), 0);
    }
    for (int i = 0; i < SUBMITTERS; i++)
        pthread_join(submitters[i].thread, NULL);
    if (!stops_early)
        wait_until_served(s);
    worker_stats(s->worker, &stats);
    worker_stop(s->worker);
    empty_inboxes(s);
    print_stress(s, &stats);
    judge_stress(s, &stats);
    char problem[sizeof(s->problem)];
    int problems = s->problems;
    snprintf(problem, sizeof(problem), "%s", s->problem);
    close_stress(s);
    if (problems > 0)
        fail_msg("%d problems, the first: %s", problems, problem);
}

static void test_pool(void **state)
{
    (void)state;
    run_stress(WORKER_THREAD_POOL, false, false);
}

static void test_pool_panics(void **state)
{
    (void)state;
    run_stress(WORKER_THREAD_POOL, true, false);
}

static void test_pool_stops(void **state)
{
    (void)state;
    run_stress(WORKER_THREAD_POOL, true, true);
}

static void test_per_guild(void **state)
{
    (void)state;
    run_stress(WORKER_THREAD_PER_GUILD, false, false);
}

static void test_per_guild_panics(void **state)
{
    (void)state;
    run_stress(WORKER_THREAD_PER_GUILD, true, false);
}

static void test_per_guild_stops(void **state)
{
    (void)state;
    run_stress(WORKER_THREAD_PER_GUILD, true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_pool_panics),
        cmocka_unit_test(test_pool_stops),
        cmocka_unit_test(test_per_guild),
        cmocka_unit_test(test_per_guild_panics),
        cmocka_unit_test(test_per_guild_stops),
    };
    return cmocka_run_group_tests_name("hostile guilds among others", tests, NULL, NULL);
}
