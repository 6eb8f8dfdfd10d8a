/* The process-pool with real child processes, which run a mock strategy (process_mock.h): what goes
 * there and back, bounds, logs, the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "process_bench.h"
#include "process_mock.h"
#include "runtime_support.h"
#include "worker/process_child.h"

/* ---- Work -------------------------------------------------------------------------------------
 */

static void test_many_guilds(void **state)
{
    PoolBench *b = *state;
    enum { GUILDS = 60, EACH = 20 };
    b->options.processes = 3;
    pool_start(b);
    KhronosTemplate *t = pool_command(b, "count");
    Job *jobs = calloc(GUILDS * EACH, sizeof(Job));
    for (int i = 0; i < GUILDS * EACH; i++)
        pool_run(b, &jobs[i], ((uint64_t)(i % GUILDS) << 22) + 5, t);
    assert_true(b->pool->ops->drain(b->pool, 120 * CLOCK_NS_PER_S));
    for (int i = 0; i < GUILDS * EACH; i++) {
        char expected[32]; /* the order of each guild's mail is kept */
        snprintf(expected, sizeof(expected), "%d", i / GUILDS + 1);
        pool_expect_ok(&jobs[i], expected);
    }
    WorkerStats stats;
    b->pool->ops->stats(b->pool, &stats);
    assert_int_equal(stats.executions, GUILDS * EACH);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.panics, 0);
    static Job late;
    pool_run(b, &late, 5, t);
    pool_wait_for(&late);
    assert_int_equal(late.action.outcome, VM_ACTION_SHUTTING_DOWN);
    pool_job_free(&late);
    free(jobs);
    template_release(t);
}

/* Everything of an execution gets there, and everything of its result comes back. */
static void test_all_fields(void **state)
{
    PoolBench *b = *state;
    pool_start(b);
    const char *const capabilities[] = {"kv:*", "x"};
    const KhronosCaller caller = {99, "someone", capabilities, 2};
    KhronosEvent event = {{"Base", 4}, {"Name", 4}, {"Author", 6},
                          {"Id", 2},   {"[1]", 3},  {"[\"s\"]", 5}};
    KhronosTemplate *t = pool_template(b, "named", 7, "dump", "init.luau", "return 1", "lib/a.luau",
                                       "return 'a'", NULL);
    static Job job;
    pool_fill(b, &job, VM_ACTION_EXECUTE, 1234, t);
    job.action.execution.caller = &caller;
    job.action.execution.event = &event;
    job.action.execution.id = "execution-id";
    job.action.execution.keep_logs = true;
    pool_submit(b, &job);
    pool_expect_ok(&job, "guild=1234 id=execution-id logs=1 event=Base,Name,Author,Id,[1],[\"s\"] "
                         "caller=99,someone,kv:*,x template=named,7,init.luau,lib/a.luau");
    KhronosTemplate *fields = pool_command(b, "fields");
    pool_run(b, &job, 1234, fields);
    pool_wait_for(&job);
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
    pool_job_free(&job);
    template_release(fields);
    template_release(t);
}

/* Several executions in one action. */
static void test_dispatch(void **state)
{
    PoolBench *b = *state;
    enum { COUNT = 40 };
    pool_start(b);
    KhronosExecution x[COUNT];
    Strbuf results[COUNT];
    KhronosTemplate *templates[COUNT];
    memset(x, 0, sizeof(x));
    memset(results, 0, sizeof(results));
    for (int i = 0; i < COUNT; i++) {
        templates[i] = pool_command(b, i % 2 ? "count" : "fields");
        x[i] = (KhronosExecution){
            .template_version = templates[i], .event = &b->event, .id = "x", .out = &results[i]};
    }
    static Job job;
    pool_fill(b, &job, VM_ACTION_DISPATCH_EVENT, 77, NULL);
    job.action.executions = x;
    job.action.execution_count = COUNT;
    pool_submit(b, &job);
    pool_wait_for(&job);
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
    pool_job_free(&job);
}

static void test_large_messages(void **state)
{
    PoolBench *b = *state;
    enum { LARGE = 6 << 20, COUNT = 24 };
    pool_start(b);
    char *text = malloc(LARGE);
    memset(text, 'x', LARGE);
    KhronosEvent event = {.name = {"E", 1}, .data = {text, LARGE}};
    KhronosTemplate *echo = pool_command(b, "echo"), *big = pool_command(b, "big 17000000");
    Job *jobs = calloc(COUNT, sizeof(Job));
    /* More than may be under way in a child at a time. */
    for (int i = 0; i < COUNT; i++) {
        pool_fill(b, &jobs[i], VM_ACTION_EXECUTE, pool_guild_of(0, 2, i), echo);
        jobs[i].action.execution.event = &event;
        pool_submit(b, &jobs[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        pool_wait_for(&jobs[i]);
        assert_int_equal(jobs[i].action.execution.status, KHRONOS_OK);
        assert_int_equal(jobs[i].result.length, LARGE);
        pool_job_free(&jobs[i]);
    }
    pool_run(b, &jobs[0], 5, big); /* its result is larger than a frame */
    pool_wait_for(&jobs[0]);
    assert_int_equal(jobs[0].action.execution.status, KHRONOS_INTERNAL);
    pool_job_free(&jobs[0]);
    text = realloc(text, FRAME_BYTES_MAX);
    memset(text, 'x', FRAME_BYTES_MAX);
    event.data = (EventText){text, FRAME_BYTES_MAX}; /* and so is this event */
    pool_fill(b, &jobs[0], VM_ACTION_EXECUTE, 5, echo);
    jobs[0].action.execution.event = &event;
    pool_submit(b, &jobs[0]);
    pool_wait_for(&jobs[0]);
    assert_int_equal(jobs[0].action.execution.status, KHRONOS_INTERNAL);
    pool_job_free(&jobs[0]);
    pool_run_ok(b, 5, "count", "1");
    assert_int_equal(pool_panics(b), 0);
    free(jobs);
    free(text);
    template_release(echo);
    template_release(big);
}

/* ---- Bounds, cancelling, logs ------------------------------------------------------------------
 */

static void test_queue_bounds(void **state)
{
    PoolBench *b = *state;
    enum { GUILDS = POOL_ACTIONS_MAX / 1024 };
    pool_start(b);
    KhronosTemplate *hold = pool_command(b, "hold"), *count = pool_command(b, "count");
    Job *jobs = calloc(POOL_ACTIONS_MAX + 2, sizeof(Job));
    for (int i = 0; i < POOL_ACTIONS_MAX; i++)
        pool_run(b, &jobs[i], pool_guild_of(0, 2, i / 1024), i == 0 ? hold : count);
    for (int i = 0; i < POOL_ACTIONS_MAX; i++)
        if (atomic_load(&jobs[i].completions) != 0)
            fail_msg("%d is done, outcome %d", i, jobs[i].action.outcome);
    /* A guild's mailbox is full; then the shard. Other shards and urgent actions are not. */
    for (int i = 0; i < 2; i++) {
        Job *job = &jobs[POOL_ACTIONS_MAX + i];
        pool_run(b, job, pool_guild_of(0, 2, i == 0 ? 0 : GUILDS + 1), count);
        assert_int_equal(atomic_load(&job->completions), 1);
        assert_int_equal(job->action.outcome, VM_ACTION_QUEUE_FULL);
        assert_true(job->action.retry_after_ms > 0);
    }
    pool_run_ok(b, pool_guild_of(1, 2, 1), "count", "1");
    static Job look;
    pool_fill(b, &look, VM_ACTION_GET_STATE, pool_guild_of(0, 2, 0), NULL);
    pool_submit(b, &look);
    pool_wait_for(&look);
    assert_int_equal(look.action.outcome, VM_ACTION_DONE);
    pool_fill(b, &look, VM_ACTION_CANCEL, pool_guild_of(0, 2, 0), NULL);
    look.action.execution_id = "x"; /* all have this id: the one that holds is the one that runs */
    do {
        atomic_store(&look.completions, 0);
        pool_submit(b, &look);
        pool_wait_for(&look);
    } while (look.action.outcome == VM_ACTION_NOT_FOUND);
    pool_wait_for(&jobs[0]);
    assert_int_equal(jobs[0].action.execution.status, KHRONOS_CANCELLED);
    for (int i = 0; i < POOL_ACTIONS_MAX + 2; i++) {
        pool_wait_for(&jobs[i]);
        pool_job_free(&jobs[i]);
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
    PoolBench *b = *state;
    b->options.limits.mailbox_max = 3;
    pool_start(b);
    KhronosTemplate *hold = pool_command(b, "hold");
    static Job jobs[4];
    for (int i = 0; i < 4; i++)
        pool_run(b, &jobs[i], 5, hold);
    assert_int_equal(atomic_load(&jobs[3].completions), 1);
    assert_int_equal(jobs[3].action.outcome, VM_ACTION_QUEUE_FULL);
    pool_stop(b);
    for (int i = 0; i < 4; i++)
        pool_job_free(&jobs[i]);
    template_release(hold);
}

static void test_logs(void **state)
{
    PoolBench *b = *state;
    pool_start(b);
    pool_run_ok(b, pool_guild_of(1, 2, 3), "log 100", "100");
    assert_int_equal(pool_lines(b),
                     100); /* lines come before the completion of what printed them */
    assert_int_equal(b->seen.last_guild, pool_guild_of(1, 2, 3));
    assert_int_equal(b->seen.last_level, 1);
    assert_string_equal(b->seen.last_line, "t line 99");
    /* Faster than anybody reads: some are dropped, the completion is not. */
    pool_run_ok(b, pool_guild_of(1, 2, 3), "log 300000", "300000");
    assert_in_range(pool_lines(b), 100, 300100);
}

/* ---- The end ----------------------------------------------------------------------------------
 */

static void test_stop_with_pending_work(void **state)
{
    PoolBench *b = *state;
    enum { COUNT = 3000 };
    pool_start(b);
    KhronosTemplate *hold = pool_command(b, "hold"), *count = pool_command(b, "count");
    Job *jobs = calloc(COUNT, sizeof(Job));
    for (int i = 0; i < COUNT; i++)
        pool_run(b, &jobs[i], (uint64_t)i << 22 | 1, i < 2 ? hold : count);
    assert_false(b->pool->ops->drain(b->pool, CLOCK_NS_PER_MS));
    pool_stop(b);
    int broken = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(atomic_load(&jobs[i].completions), 1);
        if (jobs[i].action.outcome == VM_ACTION_DONE) {
            assert_int_equal(jobs[i].action.execution.status, KHRONOS_BROKEN);
            broken++;
        } else {
            assert_int_equal(jobs[i].action.outcome, VM_ACTION_SHUTTING_DOWN);
        }
        pool_job_free(&jobs[i]);
    }
    assert_in_range(broken, 0, 2);
    free(jobs);
    template_release(hold);
    template_release(count);
}

/* While it waits to start a child again, or while that child starts. */
static void test_stop_while_down(void **state)
{
    PoolBench *b = *state;
    b->options.processes = 1;
    setenv(MOCK_REFUSE, "1", 1); /* children end at once */
    pool_start(b);
    KhronosTemplate *count = pool_command(b, "count");
    static Job job;
    pool_run(b, &job, 1, count);
    pool_wait_for(&job); /* nothing comes up, so it is given up */
    assert_int_equal(job.action.outcome, VM_ACTION_VM_BROKEN);
    pool_job_free(&job);
    uint64_t lost = pool_panics(b);
    assert_true(lost >= POOL_LOSSES_MAX);
    pool_run(b, &job, 1, count);
    pool_stop(b);
    unsetenv(MOCK_REFUSE);
    assert_int_equal(atomic_load(&job.completions), 1);
    pool_job_free(&job);
    template_release(count);
}

/* A program that has a pool and is killed: its children must end by themselves. */
static void run_doomed_parent(PoolBench *b, int out)
{
    b->options.processes = 2;
    pool_start(b);
    int pids[2] = {process_pool_pid(b->pool, 0), process_pool_pid(b->pool, 1)};
    KhronosTemplate *hold = pool_command(b, "hold");
    static Job job;
    pool_run(b, &job, 1, hold); /* busy, even */
    pool_wait_until_runs(b, 1, 1);
    if (write(out, pids, sizeof(pids)) != sizeof(pids))
        _exit(1);
    kill(getpid(), SIGKILL);
}

static void test_parent_dies(void **state)
{
    PoolBench *b = *state;
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
    PoolBench *b = *state;
    int inherited = open("/dev/zero", O_RDONLY);
    b->options.processes = 1;
    pool_start(b);
    pool_run_ok(b, 1, "count", "1");
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
    pool_run_ok(b, 1, "count", "2");
    assert_int_equal(pool_panics(b), 0);
    close(inherited);
}

/* ---- Seats ------------------------------------------------------------------------------------
 */

typedef struct TestIo {
    PoolBench *b;
    WorkerSeat *seats[2];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int woken;
    Job job;
    KhronosTemplate *t;
    WorkerBegun begun;
    bool served; /* the seat's thread's */
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
    if (io->served)
        return;
    io->served = true;
    io->begun = io->seats[0]->strategy->ops->begin(io->seats[0], &io->job.action);
    pool_submit(io->b, &io->job);
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
    PoolBench *b = *state;
    TestIo io = {.b = b, .begun = WORKER_DONE, .t = pool_command(b, "count")};
    pthread_mutex_init(&io.lock, NULL);
    pthread_cond_init(&io.changed, NULL);
    b->options.processes = 1;
    b->options.io = (WorkerIo){&io, io_open, io_wait, io_serve, io_wake};
    pool_fill(b, &io.job, VM_ACTION_EXECUTE, 1, io.t);
    pool_start(b);
    io_wake(&io);
    WAIT_UNTIL(atomic_load(&io.job.completions) == 1);
    assert_int_equal(io.begun, WORKER_NOT_NOW);
    pool_expect_ok(&io.job, "1");
    pool_stop(b);
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
    PoolBench *b = *state;
    enum { COUNT = SENT_TEMPLATES_MAX + 10 };
    KhronosTemplate *templates[COUNT];
    SentTemplates sent;
    Strbuf out = STRBUF_INIT;
    uint64_t ids[COUNT], id;
    int counts[FRAME_TYPES];
    sent_templates_init(&sent);
    for (int i = 0; i < COUNT; i++) {
        templates[i] = pool_command(b, "count");
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
    PoolBench *b = *state;
    enum { COUNT = SENT_TEMPLATES_MAX + 200 };
    b->options.processes = 1;
    b->options.limits.mailbox_max = POOL_ACTIONS_MAX;
    pool_start(b);
    Job *jobs = calloc(COUNT * 2, sizeof(Job));
    for (int i = 0; i < COUNT; i++) {
        KhronosTemplate *t = pool_command(b, "count");
        pool_run(b, &jobs[i], 1, t);
        pool_run(b, &jobs[COUNT + i], 1, t);
        pool_wait_for(&jobs[i]);
        pool_wait_for(&jobs[COUNT + i]);
        template_release(t); /* the pool keeps it as long as the child has it */
    }
    for (int i = 0; i < COUNT * 2; i++) {
        assert_int_equal(jobs[i].action.execution.status, KHRONOS_OK);
        pool_job_free(&jobs[i]);
    }
    assert_int_equal(pool_panics(b), 0);
    free(jobs);
}

int main(int argc, char **argv)
{
    if (worker_is_child(argc, argv))
        return process_child_serve(support_sandbox, process_mock_new);
    const struct CMUnitTest tests[] = {
        POOL_TEST(test_many_guilds),
        POOL_TEST(test_all_fields),
        POOL_TEST(test_dispatch),
        POOL_TEST(test_large_messages),
        POOL_TEST(test_queue_bounds),
        POOL_TEST(test_mailbox_bound_of_a_guild),
        POOL_TEST(test_logs),
        POOL_TEST(test_stop_with_pending_work),
        POOL_TEST(test_stop_while_down),
        POOL_TEST(test_parent_dies),
        POOL_TEST(test_descriptors),
        POOL_TEST(test_seats),
        POOL_TEST(test_restart_delays),
        POOL_TEST(test_templates_are_sent_once),
        POOL_TEST(test_many_templates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
