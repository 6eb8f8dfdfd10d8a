/* worker.h: the front of this layer: guilds by id, actions in, completions out. Holds the limits
 * and the strategy; hands out no VM. */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/vm_action.h"

typedef struct WorkerOptions {
    int threads;            /* 0: one for each processor */
    int mailbox_max;        /* actions a guild may have waiting, the running one included */
    KhronosLimits limits;
    KhronosLog log;
    KhronosSandbox *sandbox; /* retained */
} WorkerOptions;

typedef struct WorkerStats {
    uint64_t guilds;     /* known */
    uint64_t vms;        /* alive */
    uint64_t waiting;    /* actions taken and not done */
    uint64_t executions; /* finished */
} WorkerStats;

typedef struct Worker Worker;

void worker_default_options(WorkerOptions *options);
/* NULL: text in error. */
Worker *worker_start(const WorkerOptions *options, char *error, size_t error_size);
/* Any thread. See LuaVmAction for who owns what. */
void worker_submit(Worker *worker, LuaVmAction *action);
/* Refuses new actions and waits for the taken ones; false if they did not finish in time. */
bool worker_drain(Worker *worker, uint64_t timeout_ns);
/* Ends everything: what still runs is killed, what waits is completed as VM_ACTION_SHUTTING_DOWN.
   */
void worker_stop(Worker *worker);
void worker_stats(Worker *worker, WorkerStats *stats);

#endif
