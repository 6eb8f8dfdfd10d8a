/* process_bench.h: a process-pool under test, jobs for it, and what it was seen to do. */
#ifndef TESTS_PROCESS_BENCH_H
#define TESTS_PROCESS_BENCH_H

#include <pthread.h>
#include <stdatomic.h>

#include "worker/process_pool.h"

typedef struct PoolSeen {
    pthread_mutex_t lock;
    int lines, broken;
    char last_line[64];
    uint64_t last_guild;
    int last_level;
    VmHandle last_broken;
    VmBrokenReason last_reason;
} PoolSeen;

typedef struct PoolBench {
    KhronosSandbox *sandbox;
    WorkerOptions options; /* two processes; logs and states are seen */
    Strategy *pool;
    KhronosEvent event;
    char *event_text;
    PoolSeen seen;
} PoolBench;

/* A test that fails leaves its function while its actions are under way: they must not lie in its
 * frame. */
typedef struct Job {
    LuaVmAction action;
    Strbuf result;
    atomic_int completions;
    atomic_int *order; /* next number to be given, or NULL */
    int place;
} Job;

#define POOL_TEST(f) cmocka_unit_test_setup_teardown(f, pool_setup, pool_teardown)
int pool_setup(void **state);
int pool_teardown(void **state);

/* Guilds of a shard, when there are `processes` of them. */
uint64_t pool_guild_of(int shard, int processes, int number);
void pool_start(PoolBench *b);
void pool_stop(PoolBench *b);
void pool_fill(PoolBench *b, Job *job, VmActionType type, uint64_t guild_id, KhronosTemplate *t);
void pool_submit(PoolBench *b, Job *job);
void pool_run(PoolBench *b, Job *job, uint64_t guild_id, KhronosTemplate *t);
/* A template that can be sent: path, source, path, source, ..., NULL. Its description is `command`,
 * which is what process_mock.h goes by. */
KhronosTemplate *pool_template(PoolBench *b, const char *name, uint32_t version,
                               const char *command, ...);
/* The same of one file, init.luau, whose source is the text as well. */
KhronosTemplate *pool_command(PoolBench *b, const char *text);
/* Runs the command and expects that result. */
void pool_run_ok(PoolBench *b, uint64_t guild_id, const char *text, const char *result);
void pool_wait_for(Job *job);
/* Until an action of the guild has started in its child, and so many are there with it. That they
 * are there says nothing of a start: threads are slow when machines are busy. */
void pool_wait_until_runs(PoolBench *b, uint64_t guild_id, int mail);
void pool_job_free(Job *job);
void pool_expect_ok(Job *job, const char *result);
void pool_expect_broken(Job *job); /* its process was lost after it had started */
uint64_t pool_panics(PoolBench *b);
int pool_lines(PoolBench *b);
int pool_broken(PoolBench *b);

/* Two minutes, for machines that do other things as well. */
enum { BENCH_WAIT_STEPS = 240000, BENCH_STEP_US = 500 };
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        int steps = 0;                                                                             \
        while (!(condition) && steps++ < BENCH_WAIT_STEPS)                                         \
            usleep(BENCH_STEP_US);                                                                 \
        assert_true(condition);                                                                    \
    } while (0)

#endif
