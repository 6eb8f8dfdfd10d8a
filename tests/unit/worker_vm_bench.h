/* worker_vm_bench.h: a worker over real VMs, and what its tests do with it. Its programs are the
 * children of the process-pool as well: their main calls worker_is_child. */
#ifndef TESTS_UNIT_WORKER_VM_BENCH_H
#define TESTS_UNIT_WORKER_VM_BENCH_H

#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include "worker/worker.h"

typedef struct VmBench {
    KhronosSandbox *sandbox;
    WorkerOptions options;
    Worker *worker;
    KhronosEvent event;
    char *event_text;
    int templates; /* made */
    void *seats;   /* freed when the worker is gone */
} VmBench;

/* One action with its owner's part. */
typedef struct VmJob {
    LuaVmAction action;
    Strbuf result;
    atomic_int completions;
    uint64_t done_ns;
    uint64_t submitted_ns;
    atomic_int *order; /* next number to be given, or NULL */
    int place;
} VmJob;

int vm_bench_setup(void **state); /* *state: a WorkerStrategy */
int vm_bench_teardown(void **state);
void vm_bench_start(VmBench *b);
/* The n-th guild; neighbours are in different processes, where there are several. */
uint64_t vm_guild(int n);
/* Of a name of its own: t0, t1, ... */
KhronosTemplate *vm_template(VmBench *b, const char *source);
void vm_complete(LuaVmAction *action); /* of all jobs */
void vm_fill(VmBench *b, VmJob *job, VmActionType type, uint64_t guild_id, KhronosTemplate *t);
void vm_submit(VmBench *b, VmJob *job, VmActionType type, uint64_t guild_id, KhronosTemplate *t);
void vm_wait_for(VmJob *job);
void vm_job_free(VmJob *job); /* and it may be submitted anew */
/* Submits, waits, and expects that outcome and, where there is one, status. */
void vm_perform(VmBench *b, VmJob *job, VmActionType type, uint64_t guild_id, KhronosTemplate *t);
void vm_expect(VmBench *b, uint64_t guild_id, KhronosTemplate *t, const char *result);
void vm_do(VmBench *b, VmActionType type, uint64_t guild_id, VmActionOutcome outcome);
VmInfo vm_info(VmBench *b, uint64_t guild_id);

/* Polls a condition; a generous bound instead of a judgement about time. */
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

/* `strategies` is in scope: all of them, by their numbers. */
#define IN_STRATEGY(name, number, test)                                                            \
    {                                                                                              \
        name ": " #test, test, vm_bench_setup, vm_bench_teardown, &strategies[number]              \
    }
#define EACH_STRATEGY(test)                                                                        \
    IN_STRATEGY("thread-pool", WORKER_THREAD_POOL, test),                                          \
        IN_STRATEGY("thread-per-guild", WORKER_THREAD_PER_GUILD, test),                            \
        IN_STRATEGY("process-pool", WORKER_PROCESS_POOL, test)

#endif
