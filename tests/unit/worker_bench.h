/* worker_bench.h: a worker over mock VMs, and what its tests do with it. */
#ifndef TESTS_UNIT_WORKER_BENCH_H
#define TESTS_UNIT_WORKER_BENCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "vm_mock.h"
#include "worker/worker.h"

typedef struct Bench {
    WorkerOptions options;
    VmOps ops;
    MockWorld world;
    Worker *worker;
    void *ios; /* freed when the worker is gone */
} Bench;

/* One action with its owner's part. */
typedef struct Job {
    LuaVmAction action;
    MockPlan plan;
    char id[32];
    atomic_int completions;
    atomic_int *order; /* next number to be given, or NULL */
    int place;
} Job;

static const MockPlan QUICK = {.kind = MOCK_FINISH};
static const MockPlan SPIN = {.kind = MOCK_SPIN};
static const MockPlan PARK = {.kind = MOCK_PARK};

void fill(Job *job, VmActionType type, uint64_t guild_id);
void submit(Bench *b, Job *job, VmActionType type, uint64_t guild_id);
void execute(Bench *b, Job *job, uint64_t guild_id, MockPlan plan);
bool wait_until_done(Job *job, int polls);
void wait_for(Job *job);
void job_reset(Job *job);
void finish_job(Job *job, VmActionOutcome outcome, KhronosStatus status);
void run_quick(Bench *b, uint64_t guild_id, int expected_number);
VmInfo get_info(Bench *b, uint64_t guild_id);
void expect_state(Bench *b, uint64_t guild_id, VmState state, VmBrokenReason reason,
                  uint64_t generation);
void start(Bench *b);
int worker_bench_setup(void **state);
void stop(Bench *b);
int worker_bench_teardown(void **state);

/* Polls a condition over the bench; a generous bound instead of a judgement about time. */
#define EVENTUALLY(condition)                                                                      \
    do {                                                                                           \
        bool holds_ = false;                                                                       \
        for (int polls_ = 0; !holds_ && polls_ < 600000; polls_++) {                               \
            holds_ = (condition);                                                                  \
            if (!holds_)                                                                           \
                usleep(200);                                                                       \
        }                                                                                          \
        assert_true(holds_);                                                                       \
    } while (0)

/* A test for each strategy that runs guilds on threads; `strategies` is in scope. */
#define EACH_STRATEGY(test)                                                                        \
    {"thread-pool: " #test, test, worker_bench_setup, worker_bench_teardown, &strategies[0]},                    \
    {                                                                                              \
        "thread-per-guild: " #test, test, worker_bench_setup, worker_bench_teardown, &strategies[1]              \
    }

#endif
