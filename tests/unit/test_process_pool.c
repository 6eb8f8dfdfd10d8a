/* The supervisor of the process-pool with real child processes, which run a mock strategy: its
 * "templates" are commands that answer, hold on, die, and say what no honest child would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "process_mock.h"
#include "runtime_support.h"
#include "worker/process_child.h"
#include "worker/process_pool.h"

enum { WAIT_STEPS = 240000, STEP_US = 500 }; /* two minutes, for machines that do other things */

/* Guilds of a shard, when there are `processes` of them. */
static uint64_t guild_of(int shard, int processes, int number)
{
    return ((uint64_t)(number * processes + shard) << 22) + 1;
}

typedef struct Seen {
    pthread_mutex_t lock;
    int lines, broken;
    char last_line[64];
    uint64_t last_guild;
    int last_level;
    VmHandle last_broken;
    VmBrokenReason last_reason;
} Seen;

typedef struct Bench {
    KhronosSandbox *sandbox;
    WorkerOptions options;
    Strategy *pool;
    KhronosEvent event;
    char *event_text;
    Seen seen;
} Bench;

typedef struct Job {
    LuaVmAction action;
    Strbuf result;
    atomic_int completions;
    atomic_int *order; /* next number to be given, or NULL */
    int place;
} Job;

static void on_complete(LuaVmAction *action)
{
    Job *job = action->userdata;
    if (job->order)
        job->place = atomic_fetch_add(job->order, 1);
    atomic_fetch_add(&job->completions, 1);
}

static void on_line(void *userdata, uint64_t guild_id, const char *template_name, int level,
                    const char *text, size_t length)
{
    Seen *seen = userdata;
    pthread_mutex_lock(&seen->lock);
    seen->lines++;
    seen->last_guild = guild_id;
    seen->last_level = level;
    snprintf(seen->last_line, sizeof(seen->last_line), "%s %.*s", template_name,
             length < 40 ? (int)length : 40, text);
    pthread_mutex_unlock(&seen->lock);
}

static void on_state(void *userdata, VmHandle vm, VmState state, VmBrokenReason reason)
{
    Seen *seen = userdata;
    if (state != VM_BROKEN)
        return;
    pthread_mutex_lock(&seen->lock);
    seen->broken++;
    seen->last_broken = vm;
    seen->last_reason = reason;
    pthread_mutex_unlock(&seen->lock);
}

static int setup(void **state)
{
    Bench *b = calloc(1, sizeof(*b));
    b->sandbox = support_sandbox();
    worker_default_options(&b->options);
    b->options.strategy = WORKER_PROCESS_POOL;
    b->options.threads = 1;
    b->options.processes = 2;
    b->options.sandbox = b->sandbox;
    b->options.log = (KhronosLog){on_line, &b->seen};
    b->options.observer = (WorkerObserver){on_state, &b->seen};
    pthread_mutex_init(&b->seen.lock, NULL);
    support_event("{\"name\":\"E\",\"data\":{\"n\":1}}", &b->event_text, &b->event);
    *state = b;
    return 0;
}

static void start(Bench *b)
{
    char error[256] = "";
    b->pool = process_pool_new(&b->options, error, sizeof(error));
    if (!b->pool)
        fail_msg("%s", error);
}

static void stop(Bench *b)
{
    if (b->pool)
        b->pool->ops->stop(b->pool);
    b->pool = NULL;
}

static int teardown(void **state)
{
    Bench *b = *state;
    stop(b);
    sandbox_release(b->sandbox);
    pthread_mutex_destroy(&b->seen.lock);
    free(b->event_text);
    free(b);
    return 0;
}

static void fill(Bench *b, Job *job, VmActionType type, uint64_t guild_id, KhronosTemplate *t)
{
    memset(job, 0, sizeof(*job));
    job->action = (LuaVmAction){
        .type = type,
        .handle.guild_id = guild_id,
        .complete = on_complete,
        .userdata = job,
        .execution = {.template_version = t, .event = &b->event, .id = "x", .out = &job->result},
    };
}

static void submit(Bench *b, Job *job)
{
    b->pool->ops->submit(b->pool, &job->action);
}

static void run(Bench *b, Job *job, uint64_t guild_id, KhronosTemplate *t)
{
    fill(b, job, VM_ACTION_EXECUTE, guild_id, t);
    submit(b, job);
}

#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        int steps = 0;                                                                             \
        while (!(condition) && steps++ < WAIT_STEPS)                                               \
            usleep(STEP_US);                                                                       \
        assert_true(condition);                                                                    \
    } while (0)

static void wait_for(Job *job)
{
    WAIT_UNTIL(atomic_load(&job->completions) > 0);
    assert_int_equal(atomic_load(&job->completions), 1);
}

static void job_free(Job *job)
{
    assert_int_equal(atomic_load(&job->completions), 1);
    execution_free(&job->action.execution);
    strbuf_free(&job->result);
}

static KhronosTemplate *command(Bench *b, const char *text)
{
    return support_template(b->sandbox, "t", 1, "init.luau", text, NULL);
}

static void expect_ok(Job *job, const char *result)
{
    wait_for(job);
    assert_int_equal(job->action.outcome, VM_ACTION_DONE);
    if (job->action.execution.status != KHRONOS_OK)
        fail_msg("status %d: %s", job->action.execution.status,
                 strbuf_cstr(&job->action.execution.message));
    assert_string_equal(strbuf_cstr(&job->result), result);
    job_free(job);
}

static void expect_broken(Job *job)
{
    wait_for(job);
    assert_int_equal(job->action.outcome, VM_ACTION_DONE);
    assert_int_equal(job->action.execution.status, KHRONOS_BROKEN);
    assert_int_equal(job->action.info.reason, VM_PANIC_RECOVERY);
    assert_non_null(strstr(strbuf_cstr(&job->action.execution.message), "was lost"));
    assert_int_equal(job->result.length, 0);
    job_free(job);
}

/* Runs the command and expects that result. */
static void run_ok(Bench *b, uint64_t guild_id, const char *text, const char *result)
{
    Job job;
    KhronosTemplate *t = command(b, text);
    run(b, &job, guild_id, t);
    expect_ok(&job, result);
    template_release(t);
}

static uint64_t panics(Bench *b)
{
    WorkerStats stats;
    b->pool->ops->stats(b->pool, &stats);
    return stats.panics;
}

/* ---- Work -------------------------------------------------------------------------------------
 */

static void test_many_guilds(void **state)
{
    Bench *b = *state;
    enum { GUILDS = 60, EACH = 20 };
    b->options.processes = 3;
    start(b);
    KhronosTemplate *t = command(b, "count");
    Job *jobs = calloc(GUILDS * EACH, sizeof(Job));
    for (int i = 0; i < GUILDS * EACH; i++)
        run(b, &jobs[i], ((uint64_t)(i % GUILDS) << 22) + 5, t);
    assert_true(b->pool->ops->drain(b->pool, 120 * CLOCK_NS_PER_S));
    for (int i = 0; i < GUILDS * EACH; i++) {
        char expected[32]; /* the order of each guild's mail is kept */
        snprintf(expected, sizeof(expected), "%d", i / GUILDS + 1);
        expect_ok(&jobs[i], expected);
    }
    WorkerStats stats;
    b->pool->ops->stats(b->pool, &stats);
    assert_int_equal(stats.executions, GUILDS * EACH);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.panics, 0);
    Job late;
    run(b, &late, 5, t);
    wait_for(&late);
    assert_int_equal(late.action.outcome, VM_ACTION_SHUTTING_DOWN);
    job_free(&late);
    free(jobs);
    template_release(t);
}

/* Everything of an execution gets there, and everything of its result comes back. */
static void test_all_fields(void **state)
{
    Bench *b = *state;
    start(b);
    const char *const capabilities[] = {"kv:*", "x"};
    const KhronosCaller caller = {99, "someone", capabilities, 2};
    KhronosEvent event = {{"Base", 4}, {"Name", 4}, {"Author", 6},
                          {"Id", 2},   {"[1]", 3},  {"[\"s\"]", 5}};
    KhronosTemplate *t = support_template(b->sandbox, "named", 7, "init.luau", "dump", "lib/a.luau",
                                          "return 'a'", NULL);
    Job job;
    fill(b, &job, VM_ACTION_EXECUTE, 1234, t);
    job.action.execution.caller = &caller;
    job.action.execution.event = &event;
    job.action.execution.id = "execution-id";
    job.action.execution.keep_logs = true;
    submit(b, &job);
    expect_ok(&job, "guild=1234 id=execution-id logs=1 event=Base,Name,Author,Id,[1],[\"s\"] "
                    "caller=99,someone,kv:*,x template=named,7,init.luau,lib/a.luau");
    KhronosTemplate *fields = command(b, "fields");
    run(b, &job, 1234, fields);
    wait_for(&job);
    KhronosExecution *x = &job.action.execution;
    assert_int_equal(x->status, KHRONOS_RUNTIME_ERROR);
    assert_string_equal(strbuf_cstr(&x->message), "the message");
    assert_string_equal(strbuf_cstr(&x->traceback), "the traceback");
    assert_string_equal(strbuf_cstr(&x->logs), "\"a line\"");
    assert_string_equal(x->path, "some/path.luau");
    assert_int_equal(x->line, 12);
    assert_int_equal(x->column, 34);
    assert_int_equal(x->duration_ns, 56);
    assert_int_equal(x->cpu_ns, 78);
    assert_int_equal(x->memory_bytes, 90);
    job_free(&job);
    template_release(fields);
    template_release(t);
}

/* Several executions in one action. */
static void test_dispatch(void **state)
{
    Bench *b = *state;
    enum { COUNT = 40 };
    start(b);
    KhronosExecution x[COUNT];
    Strbuf results[COUNT];
    KhronosTemplate *templates[COUNT];
    memset(x, 0, sizeof(x));
    memset(results, 0, sizeof(results));
    for (int i = 0; i < COUNT; i++) {
        templates[i] = command(b, i % 2 ? "count" : "fields");
        x[i] = (KhronosExecution){
            .template_version = templates[i], .event = &b->event, .id = "x", .out = &results[i]};
    }
    Job job;
    fill(b, &job, VM_ACTION_DISPATCH_EVENT, 77, NULL);
    job.action.executions = x;
    job.action.execution_count = COUNT;
    submit(b, &job);
    wait_for(&job);
    assert_int_equal(job.action.outcome, VM_ACTION_DONE);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(x[i].status, i % 2 ? KHRONOS_OK : KHRONOS_RUNTIME_ERROR);
        assert_null(x[i].next);
        char expected[16] = "";
        if (i % 2)
            snprintf(expected, sizeof(expected), "%d", i / 2 + 1);
        assert_string_equal(strbuf_cstr(&results[i]), expected);
        strbuf_free(&results[i]);
        execution_free(&x[i]);
        template_release(templates[i]);
    }
    job_free(&job);
}

static void test_large_messages(void **state)
{
    Bench *b = *state;
    enum { LARGE = 6 << 20, COUNT = 24 };
    start(b);
    char *text = malloc(LARGE);
    memset(text, 'x', LARGE);
    KhronosEvent event = {.name = {"E", 1}, .data = {text, LARGE}};
    KhronosTemplate *echo = command(b, "echo"), *big = command(b, "big 17000000");
    Job *jobs = calloc(COUNT, sizeof(Job));
    /* More than may be under way in a child at a time. */
    for (int i = 0; i < COUNT; i++) {
        fill(b, &jobs[i], VM_ACTION_EXECUTE, guild_of(0, 2, i), echo);
        jobs[i].action.execution.event = &event;
        submit(b, &jobs[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        wait_for(&jobs[i]);
        assert_int_equal(jobs[i].action.execution.status, KHRONOS_OK);
        assert_int_equal(jobs[i].result.length, LARGE);
        job_free(&jobs[i]);
    }
    run(b, &jobs[0], 5, big); /* its result is larger than a frame */
    wait_for(&jobs[0]);
    assert_int_equal(jobs[0].action.execution.status, KHRONOS_INTERNAL);
    job_free(&jobs[0]);
    text = realloc(text, FRAME_BYTES_MAX);
    memset(text, 'x', FRAME_BYTES_MAX);
    event.data = (EventText){text, FRAME_BYTES_MAX}; /* and so is this event */
    fill(b, &jobs[0], VM_ACTION_EXECUTE, 5, echo);
    jobs[0].action.execution.event = &event;
    submit(b, &jobs[0]);
    wait_for(&jobs[0]);
    assert_int_equal(jobs[0].action.execution.status, KHRONOS_INTERNAL);
    job_free(&jobs[0]);
    run_ok(b, 5, "count", "1");
    assert_int_equal(panics(b), 0);
    free(jobs);
    free(text);
    template_release(echo);
    template_release(big);
}

/* ---- Losses -----------------------------------------------------------------------------------
 */

/* An action that kills its child is not delivered again, and the other child notices nothing. */
static void test_poison(void **state)
{
    Bench *b = *state;
    const char *const ways[] = {"kill", "abort", "exit"};
    start(b);
    int other = process_pool_pid(b->pool, 1);
    for (int i = 0; i < 3; i++) {
        Job job;
        KhronosTemplate *t = command(b, ways[i]);
        run_ok(b, guild_of(0, 2, 1), "count", "1"); /* a new child each time */
        run_ok(b, guild_of(1, 2, 1), "count", i == 0 ? "1" : i == 1 ? "2" : "3");
        run(b, &job, guild_of(0, 2, 2), t);
        expect_broken(&job);
        template_release(t);
    }
    run_ok(b, guild_of(0, 2, 1), "count", "1");
    assert_int_equal(panics(b), 3);
    assert_int_equal(process_pool_pid(b->pool, 1), other);
}

/* What waited behind something that ran in the lost child is run by the next one, in its order. */
static void test_redelivery(void **state)
{
    Bench *b = *state;
    enum { COUNT = 50 };
    start(b);
    uint64_t guild = guild_of(1, 2, 3);
    KhronosTemplate *hold = command(b, "hold"), *count = command(b, "count");
    Job held, jobs[COUNT];
    atomic_int order = 0;
    run(b, &held, guild, hold);
    for (int i = 0; i < COUNT; i++) {
        fill(b, &jobs[i], VM_ACTION_EXECUTE, guild, count);
        jobs[i].order = &order;
        submit(b, &jobs[i]);
    }
    Job look; /* that it is answered shows that what was sent before has arrived */
    do {
        fill(b, &look, VM_ACTION_GET_STATE, guild, NULL);
        submit(b, &look);
        wait_for(&look);
    } while (look.action.info.mail < COUNT + 1);
    kill(process_pool_pid(b->pool, 1), SIGKILL);
    expect_broken(&held);
    for (int i = 0; i < COUNT; i++) {
        char expected[16];
        snprintf(expected, sizeof(expected), "%d", i + 1);
        wait_for(&jobs[i]);
        assert_int_equal(jobs[i].place, i);
        expect_ok(&jobs[i], expected);
    }
    assert_int_equal(panics(b), 1);
    template_release(hold);
    template_release(count);
}

/* A child that dies before anything starts: it is tried three times and not for ever. */
static void test_given_up(void **state)
{
    Bench *b = *state;
    start(b);
    KhronosTemplate *t = command(b, "unstarted-kill");
    Job job;
    run(b, &job, guild_of(0, 2, 1), t);
    wait_for(&job);
    assert_int_equal(job.action.outcome, VM_ACTION_VM_BROKEN);
    assert_int_equal(job.action.info.reason, VM_PANIC_RECOVERY);
    job_free(&job);
    assert_int_equal(panics(b), POOL_LOSSES_MAX);
    run_ok(b, guild_of(0, 2, 1), "count", "1");
    template_release(t);
}

typedef struct Killer {
    Bench *b;
    atomic_bool stop;
    int kills;
} Killer;

static void *killer_main(void *arg)
{
    Killer *killer = arg;
    unsigned random = 12345;
    while (!atomic_load(&killer->stop)) {
        random = random * 1103515245u + 12345u;
        usleep((random >> 16) % 20000);
        int pid = process_pool_pid(killer->b->pool, (int)(random >> 20) % 3); /* never the last */
        if (pid > 0 && kill(pid, SIGKILL) == 0)
            killer->kills++;
    }
    return NULL;
}

/* Children are killed while 10,000 actions run: each completes once, as what it was or as lost. */
static void test_kills_under_load(void **state)
{
    Bench *b = *state;
    enum { COUNT = 10000, SHARDS = 4 };
    b->options.processes = SHARDS;
    b->options.limits.mailbox_max = COUNT;
    start(b);
    KhronosTemplate *t = command(b, "echo");
    Job *jobs = calloc(COUNT, sizeof(Job));
    char(*texts)[16] = calloc(COUNT, sizeof(*texts));
    KhronosEvent *events = calloc(COUNT, sizeof(*events));
    Killer killer = {.b = b};
    pthread_t thread;
    pthread_create(&thread, NULL, killer_main, &killer);
    for (int i = 0; i < COUNT; i++) {
        snprintf(texts[i], sizeof(texts[i]), "%d", i);
        events[i] = (KhronosEvent){.name = {"E", 1}, .data = {texts[i], strlen(texts[i])}};
        fill(b, &jobs[i], VM_ACTION_EXECUTE, guild_of(i % SHARDS, SHARDS, i % 97), t);
        jobs[i].action.execution.event = &events[i];
        submit(b, &jobs[i]);
        if (i % 500 == 0)
            usleep(10000);
    }
    WAIT_UNTIL(killer.kills >= 10 || atomic_load(&jobs[COUNT - 1].completions) > 0);
    atomic_store(&killer.stop, true);
    pthread_join(thread, NULL);
    assert_true(b->pool->ops->drain(b->pool, 300 * CLOCK_NS_PER_S));
    int outcomes[3] = {0};
    for (int i = 0; i < COUNT; i++) {
        const KhronosExecution *x = &jobs[i].action.execution;
        assert_int_equal(atomic_load(&jobs[i].completions), 1);
        if (jobs[i].action.outcome == VM_ACTION_DONE && x->status == KHRONOS_OK) {
            assert_string_equal(strbuf_cstr(&jobs[i].result), texts[i]);
            outcomes[0]++;
        } else {
            assert_int_not_equal(i % SHARDS, SHARDS - 1); /* that child was left in peace */
            bool gone = jobs[i].action.outcome == VM_ACTION_VM_BROKEN;
            if (!gone) {
                assert_int_equal(jobs[i].action.outcome, VM_ACTION_DONE);
                assert_int_equal(x->status, KHRONOS_BROKEN);
            }
            assert_int_equal(jobs[i].result.length, 0);
            outcomes[gone ? 2 : 1]++;
        }
        job_free(&jobs[i]);
    }
    print_message("%d kills: %d done, %d had started, %d given up\n", killer.kills, outcomes[0],
                  outcomes[1], outcomes[2]);
    assert_true(killer.kills > 0);
    assert_true(outcomes[0] >= COUNT / SHARDS);
    free(jobs);
    free(texts);
    free(events);
    template_release(t);
}

/* What no honest child says ends it; the action it had started is lost, nothing else. */
static void test_malicious_children(void **state)
{
    Bench *b = *state;
    const char *const ways[] = {"garbage",     "forge-slot",   "forge-result",     "forge-log",
                                "forge-state", "forge-parent", "forge-unfinished", "close"};
    start(b);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(ways); i++) {
        Job job;
        KhronosTemplate *t = command(b, ways[i]);
        run(b, &job, guild_of(0, 2, 2), t);
        expect_broken(&job);
        assert_int_equal(panics(b), i + 1);
        run_ok(b, guild_of(0, 2, 1), "count", "1");
        template_release(t);
    }
    assert_int_equal(b->seen.lines, 0);
}

static void test_handles_of_lost_vms(void **state)
{
    Bench *b = *state;
    start(b);
    uint64_t guild = guild_of(0, 2, 9);
    run_ok(b, guild, "count", "1");
    Job job;
    fill(b, &job, VM_ACTION_GET_STATE, guild, NULL);
    submit(b, &job);
    wait_for(&job);
    assert_int_equal(job.action.info.state, VM_HEALTHY);
    VmHandle old = {guild, job.action.info.generation};
    assert_int_equal(old.generation, 1);
    kill(process_pool_pid(b->pool, 0), SIGKILL);
    WAIT_UNTIL(panics(b) == 1);
    run_ok(b, guild, "count", "1");
    fill(b, &job, VM_ACTION_DESTROY, guild, NULL);
    job.action.handle = old;
    submit(b, &job);
    wait_for(&job);
    assert_int_equal(job.action.outcome, VM_ACTION_NOT_FOUND);
    run_ok(b, guild, "count", "2"); /* its successor was not meant */
    fill(b, &job, VM_ACTION_GET_STATE, guild, NULL);
    submit(b, &job);
    wait_for(&job);
    assert_true(job.action.info.generation > old.generation);
    VmHandle new_one = {guild, job.action.info.generation};
    fill(b, &job, VM_ACTION_DESTROY, guild, NULL);
    job.action.handle = new_one;
    submit(b, &job);
    wait_for(&job);
    assert_int_equal(job.action.outcome, VM_ACTION_DONE);
    run_ok(b, guild, "count", "1");
    /* The observer was told of the VM that went with its process, and of the other. */
    WAIT_UNTIL(b->seen.broken >= 2);
    pthread_mutex_lock(&b->seen.lock);
    assert_int_equal(b->seen.broken, 2);
    assert_int_equal(b->seen.last_reason, VM_EXPLICIT_DESTROY);
    assert_true(b->seen.last_broken.generation == new_one.generation);
    pthread_mutex_unlock(&b->seen.lock);
}

static void test_observer_of_losses(void **state)
{
    Bench *b = *state;
    enum { VMS = 150 };
    start(b);
    for (int i = 0; i < VMS; i++)
        run_ok(b, guild_of(0, 2, i), "count", "1");
    run_ok(b, guild_of(1, 2, 1), "count", "1");
    kill(process_pool_pid(b->pool, 0), SIGKILL);
    WAIT_UNTIL(panics(b) == 1);
    run_ok(b, guild_of(0, 2, 1), "count", "1");
    assert_int_equal(b->seen.broken, VMS);
    assert_int_equal(b->seen.last_reason, VM_PANIC_RECOVERY);
}

/* Limits of a guild's own outlive the process that was told of them. */
static void test_limits_are_told_again(void **state)
{
    Bench *b = *state;
    start(b);
    uint64_t guild = guild_of(0, 2, 4);
    KhronosLimits limits = b->options.limits;
    limits.tasks_max = 4321;
    Job job;
    for (int round = 0; round < 3; round++) {
        fill(b, &job, VM_ACTION_SET_LIMITS, guild, NULL);
        job.action.limits = round < 2 ? &limits : NULL;
        if (round != 1) {
            submit(b, &job);
            wait_for(&job);
            assert_int_equal(job.action.outcome, VM_ACTION_DONE);
        }
        kill(process_pool_pid(b->pool, 0), SIGKILL);
        WAIT_UNTIL(panics(b) == (uint64_t)round + 1);
        fill(b, &job, VM_ACTION_GET_STATE, guild, NULL);
        submit(b, &job);
        wait_for(&job);
        assert_int_equal(job.action.info.limits.tasks_max,
                         round < 2 ? 4321 : b->options.limits.tasks_max);
    }
}

/* ---- Bounds, cancelling, logs ------------------------------------------------------------------
 */

static void test_queue_bounds(void **state)
{
    Bench *b = *state;
    enum { GUILDS = POOL_ACTIONS_MAX / 1024 };
    start(b);
    KhronosTemplate *hold = command(b, "hold"), *count = command(b, "count");
    Job *jobs = calloc(POOL_ACTIONS_MAX + 2, sizeof(Job));
    for (int i = 0; i < POOL_ACTIONS_MAX; i++)
        run(b, &jobs[i], guild_of(0, 2, i / 1024), i == 0 ? hold : count);
    for (int i = 0; i < POOL_ACTIONS_MAX; i++)
        if (atomic_load(&jobs[i].completions) != 0)
            fail_msg("%d is done, outcome %d", i, jobs[i].action.outcome);
    /* A guild's mailbox is full; then the shard. Other shards and urgent actions are not. */
    for (int i = 0; i < 2; i++) {
        Job *job = &jobs[POOL_ACTIONS_MAX + i];
        run(b, job, guild_of(0, 2, i == 0 ? 0 : GUILDS + 1), count);
        assert_int_equal(atomic_load(&job->completions), 1);
        assert_int_equal(job->action.outcome, VM_ACTION_QUEUE_FULL);
        assert_true(job->action.retry_after_ms > 0);
    }
    run_ok(b, guild_of(1, 2, 1), "count", "1");
    Job look;
    fill(b, &look, VM_ACTION_GET_STATE, guild_of(0, 2, 0), NULL);
    submit(b, &look);
    wait_for(&look);
    assert_int_equal(look.action.outcome, VM_ACTION_DONE);
    fill(b, &look, VM_ACTION_CANCEL, guild_of(0, 2, 0), NULL);
    look.action.execution_id = "x"; /* all have this id: the one that holds is the one that runs */
    do {
        atomic_store(&look.completions, 0);
        submit(b, &look);
        wait_for(&look);
    } while (look.action.outcome == VM_ACTION_NOT_FOUND);
    wait_for(&jobs[0]);
    assert_int_equal(jobs[0].action.execution.status, KHRONOS_CANCELLED);
    for (int i = 0; i < POOL_ACTIONS_MAX + 2; i++) {
        wait_for(&jobs[i]);
        job_free(&jobs[i]);
    }
    WorkerStats stats;
    b->pool->ops->stats(b->pool, &stats);
    assert_int_equal(stats.refused, 2);
    free(jobs);
    template_release(hold);
    template_release(count);
}

static void test_mailbox_bound_of_a_guild(void **state)
{
    Bench *b = *state;
    b->options.limits.mailbox_max = 3;
    start(b);
    KhronosTemplate *hold = command(b, "hold");
    Job jobs[4];
    for (int i = 0; i < 4; i++)
        run(b, &jobs[i], 5, hold);
    assert_int_equal(atomic_load(&jobs[3].completions), 1);
    assert_int_equal(jobs[3].action.outcome, VM_ACTION_QUEUE_FULL);
    stop(b);
    for (int i = 0; i < 4; i++)
        job_free(&jobs[i]);
    template_release(hold);
}

static void test_logs(void **state)
{
    Bench *b = *state;
    start(b);
    run_ok(b, guild_of(1, 2, 3), "log 100", "100");
    assert_int_equal(b->seen.lines,
                     100); /* lines come before the completion of what printed them */
    assert_int_equal(b->seen.last_guild, guild_of(1, 2, 3));
    assert_int_equal(b->seen.last_level, 1);
    assert_string_equal(b->seen.last_line, "t line 99");
    /* Faster than anybody reads: some are dropped, the completion is not. */
    run_ok(b, guild_of(1, 2, 3), "log 300000", "300000");
    assert_in_range(b->seen.lines, 100, 300100);
}

/* ---- The end ----------------------------------------------------------------------------------
 */

static void test_stop_with_pending_work(void **state)
{
    Bench *b = *state;
    enum { COUNT = 3000 };
    start(b);
    KhronosTemplate *hold = command(b, "hold"), *count = command(b, "count");
    Job *jobs = calloc(COUNT, sizeof(Job));
    for (int i = 0; i < COUNT; i++)
        run(b, &jobs[i], (uint64_t)i << 22 | 1, i < 2 ? hold : count);
    assert_false(b->pool->ops->drain(b->pool, CLOCK_NS_PER_MS));
    stop(b);
    int broken = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(atomic_load(&jobs[i].completions), 1);
        if (jobs[i].action.outcome == VM_ACTION_DONE) {
            assert_int_equal(jobs[i].action.execution.status, KHRONOS_BROKEN);
            broken++;
        } else {
            assert_int_equal(jobs[i].action.outcome, VM_ACTION_SHUTTING_DOWN);
        }
        job_free(&jobs[i]);
    }
    assert_in_range(broken, 0, 2);
    free(jobs);
    template_release(hold);
    template_release(count);
}

/* While it waits to start a child again, or while that child starts. */
static void test_stop_while_down(void **state)
{
    Bench *b = *state;
    b->options.processes = 1;
    setenv(MOCK_REFUSE, "1", 1); /* children end at once */
    start(b);
    KhronosTemplate *count = command(b, "count");
    Job job;
    run(b, &job, 1, count);
    wait_for(&job); /* nothing comes up, so it is given up */
    assert_int_equal(job.action.outcome, VM_ACTION_VM_BROKEN);
    job_free(&job);
    uint64_t lost = panics(b);
    assert_true(lost >= POOL_LOSSES_MAX);
    run(b, &job, 1, count);
    stop(b);
    unsetenv(MOCK_REFUSE);
    assert_int_equal(atomic_load(&job.completions), 1);
    job_free(&job);
    template_release(count);
}

/* A program that has a pool and is killed: its children must end by themselves. */
static void run_doomed_parent(Bench *b, int out)
{
    b->options.processes = 2;
    start(b);
    int pids[2] = {process_pool_pid(b->pool, 0), process_pool_pid(b->pool, 1)};
    KhronosTemplate *hold = command(b, "hold");
    Job job;
    run(b, &job, 1, hold); /* busy, even */
    Job look;
    do {
        fill(b, &look, VM_ACTION_GET_STATE, 1, NULL);
        submit(b, &look);
        wait_for(&look);
    } while (look.action.info.mail == 0);
    if (write(out, pids, sizeof(pids)) != sizeof(pids))
        _exit(1);
    kill(getpid(), SIGKILL);
}

static void test_parent_dies(void **state)
{
    Bench *b = *state;
    int ends[2], pids[2], status;
    assert_int_equal(pipe(ends), 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* orphans are ours to wait for */
    pid_t parent = fork();
    if (parent == 0)
        run_doomed_parent(b, ends[1]);
    assert_int_equal(read(ends[0], pids, sizeof(pids)), sizeof(pids));
    assert_int_equal(waitpid(parent, &status, 0), parent);
    assert_true(WIFSIGNALED(status));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    close(ends[0]);
    close(ends[1]);
}

/* What is open in the parent is not open in its children. */
static void test_descriptors(void **state)
{
    Bench *b = *state;
    int inherited = open("/dev/zero", O_RDONLY);
    b->options.processes = 1;
    start(b);
    run_ok(b, 1, "count", "1");
    char path[64], target[256];
    for (int fd = 0; fd < 64; fd++) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", process_pool_pid(b->pool, 0), fd);
        ssize_t length = readlink(path, target, sizeof(target) - 1);
        target[length > 0 ? length : 0] = '\0';
        assert_string_not_equal(target, "/dev/zero");
        if (fd == POOL_CHILD_SOCKET_FD)
            assert_memory_equal(target, "socket:", 7);
    }
    /* Signals that a terminal sends to all are the parent's to judge. */
    kill(process_pool_pid(b->pool, 0), SIGTERM);
    kill(process_pool_pid(b->pool, 0), SIGINT);
    run_ok(b, 1, "count", "2");
    assert_int_equal(panics(b), 0);
    close(inherited);
}

/* ---- Seats ------------------------------------------------------------------------------------
 */

typedef struct TestIo {
    Bench *b;
    WorkerSeat *seats[2];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int woken;
    Job job;
    KhronosTemplate *t;
    WorkerBegun begun;
} TestIo;

static void *io_open(void *userdata, int index, WorkerSeat *seat)
{
    TestIo *io = userdata;
    io->seats[index] = seat;
    return io;
}

static bool io_wait(void *arg, int timeout_ms)
{
    TestIo *io = arg;
    assert_int_equal(timeout_ms, -1);
    pthread_mutex_lock(&io->lock);
    while (io->woken == 0)
        pthread_cond_wait(&io->changed, &io->lock);
    io->woken--;
    pthread_mutex_unlock(&io->lock);
    return true;
}

static void io_serve(void *arg)
{
    TestIo *io = arg;
    if (io->job.action.complete)
        return;
    fill(io->b, &io->job, VM_ACTION_EXECUTE, 1, io->t);
    io->begun = io->seats[0]->strategy->ops->begin(io->seats[0], &io->job.action);
    submit(io->b, &io->job);
}

static void io_wake(void *arg)
{
    TestIo *io = arg;
    pthread_mutex_lock(&io->lock);
    io->woken++;
    pthread_cond_broadcast(&io->changed);
    pthread_mutex_unlock(&io->lock);
}

static void test_seats(void **state)
{
    Bench *b = *state;
    TestIo io = {.b = b, .begun = WORKER_DONE, .t = command(b, "count")};
    pthread_mutex_init(&io.lock, NULL);
    pthread_cond_init(&io.changed, NULL);
    b->options.processes = 1;
    b->options.io = (WorkerIo){&io, io_open, io_wait, io_serve, io_wake};
    start(b);
    io_wake(&io);
    WAIT_UNTIL(atomic_load(&io.job.completions) == 1);
    assert_int_equal(io.begun, WORKER_NOT_NOW);
    expect_ok(&io.job, "1");
    stop(b);
    template_release(io.t);
    pthread_cond_destroy(&io.changed);
    pthread_mutex_destroy(&io.lock);
}

/* ---- Parts ------------------------------------------------------------------------------------
 */

static void test_restart_delays(void **state)
{
    (void)state;
    RestartPlan plan = {0};
    const uint64_t expected[] = {0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(expected); i++)
        assert_int_equal(restart_delay_ms(&plan, CLOCK_NS_PER_S), expected[i]);
    for (int i = 0; i < 100; i++)
        assert_int_equal(restart_delay_ms(&plan, 0), 5000);
    assert_int_equal(restart_delay_ms(&plan, 10 * CLOCK_NS_PER_S), 0);
    assert_int_equal(restart_delay_ms(&plan, 10 * CLOCK_NS_PER_S - 1), 50);
}

/* How many frames of each type there are; empties the buffer. */
static void count_frames(Strbuf *sb, int counts[FRAME_TYPES])
{
    FrameStream stream = {.bytes = *sb};
    FrameType type;
    FrameReader payload;
    memset(counts, 0, FRAME_TYPES * sizeof(*counts));
    while (frame_stream_next(&stream, &type, &payload) == FRAME_COMPLETE)
        counts[type]++;
    assert_int_equal(stream.at, stream.bytes.length);
    strbuf_clear(sb);
}

static void test_templates_are_sent_once(void **state)
{
    Bench *b = *state;
    enum { COUNT = SENT_TEMPLATES_MAX + 10 };
    KhronosTemplate *templates[COUNT];
    SentTemplates sent;
    Strbuf out = STRBUF_INIT;
    uint64_t ids[COUNT], id;
    int counts[FRAME_TYPES];
    sent_templates_init(&sent);
    for (int i = 0; i < COUNT; i++) {
        templates[i] = command(b, "count");
        sent_templates_round(&sent);
        assert_int_equal(sent_templates_use(&sent, templates[i], &out, &ids[i]), SENT_OK);
        /* The first one stays in use and is never forgotten. */
        assert_int_equal(sent_templates_use(&sent, templates[0], &out, &id), SENT_OK);
        assert_int_equal(id, ids[0]);
    }
    count_frames(&out, counts);
    assert_int_equal(counts[FRAME_TEMPLATE], COUNT);
    assert_int_equal(counts[FRAME_FORGET], COUNT - SENT_TEMPLATES_MAX);
    sent_templates_round(&sent);
    assert_int_equal(sent_templates_use(&sent, templates[COUNT - 1], &out, &id), SENT_OK);
    assert_int_equal(id, ids[COUNT - 1]);
    assert_int_equal(out.length, 0);
    assert_int_equal(sent_templates_use(&sent, templates[1], &out, &id), SENT_OK);
    assert_true(id > ids[COUNT - 1]); /* forgotten, so it goes under a new number */
    count_frames(&out, counts);
    assert_int_equal(counts[FRAME_TEMPLATE], 1);
    assert_int_equal(counts[FRAME_FORGET], 1);
    /* Those of one action are there together, however many they are. */
    sent_templates_round(&sent);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(sent_templates_use(&sent, templates[i], &out, &ids[i]), SENT_OK);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(sent_templates_use(&sent, templates[i], &out, &id), SENT_OK);
        assert_int_equal(id, ids[i]);
    }
    strbuf_free(&out);
    sent_templates_free(&sent);
    for (int i = 0; i < COUNT; i++)
        template_release(templates[i]);
}

/* The same over a socket: more templates than a child has at a time, each used twice. */
static void test_many_templates(void **state)
{
    Bench *b = *state;
    enum { COUNT = SENT_TEMPLATES_MAX + 200 };
    b->options.processes = 1;
    b->options.limits.mailbox_max = POOL_ACTIONS_MAX;
    start(b);
    Job *jobs = calloc(COUNT * 2, sizeof(Job));
    for (int i = 0; i < COUNT; i++) {
        KhronosTemplate *t = command(b, "count");
        run(b, &jobs[i], 1, t);
        run(b, &jobs[COUNT + i], 1, t);
        wait_for(&jobs[i]);
        wait_for(&jobs[COUNT + i]);
        template_release(t); /* the pool keeps it as long as the child has it */
    }
    for (int i = 0; i < COUNT * 2; i++) {
        assert_int_equal(jobs[i].action.execution.status, KHRONOS_OK);
        job_free(&jobs[i]);
    }
    assert_int_equal(panics(b), 0);
    free(jobs);
}

#define POOL_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
    if (worker_is_child(argc, argv))
        return process_child_serve(support_sandbox, process_mock_new);
    const struct CMUnitTest tests[] = {
        POOL_TEST(test_many_guilds),
        POOL_TEST(test_all_fields),
        POOL_TEST(test_dispatch),
        POOL_TEST(test_large_messages),
        POOL_TEST(test_poison),
        POOL_TEST(test_redelivery),
        POOL_TEST(test_given_up),
        POOL_TEST(test_kills_under_load),
        POOL_TEST(test_malicious_children),
        POOL_TEST(test_handles_of_lost_vms),
        POOL_TEST(test_observer_of_losses),
        POOL_TEST(test_limits_are_told_again),
        POOL_TEST(test_queue_bounds),
        POOL_TEST(test_mailbox_bound_of_a_guild),
        POOL_TEST(test_logs),
        POOL_TEST(test_stop_with_pending_work),
        POOL_TEST(test_stop_while_down),
        POOL_TEST(test_parent_dies),
        POOL_TEST(test_descriptors),
        POOL_TEST(test_seats),
        cmocka_unit_test(test_restart_delays),
        POOL_TEST(test_templates_are_sent_once),
        POOL_TEST(test_many_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
