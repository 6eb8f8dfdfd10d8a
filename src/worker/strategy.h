/* strategy.h: how guilds are spread over threads and processes. One interface; a strategy is a file
 * (or, with its helpers, a few) that fills it. */
#ifndef WORKER_STRATEGY_H
#define WORKER_STRATEGY_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/vm_action.h"
#include "worker/worker.h"

typedef struct Strategy Strategy;

typedef struct StrategyOps {
    /* Takes the action for its guild; completes it itself when it cannot. Any thread. */
    void (*submit)(Strategy *strategy, LuaVmAction *action);
    /* See worker_begin. */
    WorkerBegun (*begin)(WorkerSeat *seat, LuaVmAction *action);
    /* See worker_answer. */
    void (*answer)(Strategy *strategy, KhronosCall *call);
    /* From now on actions are refused; waits until all taken ones are done. False: time is up. */
    bool (*drain)(Strategy *strategy, uint64_t timeout_ns);
    /* Refuses, stops what runs, completes everything, ends the threads, frees the strategy. */
    void (*stop)(Strategy *strategy);
    void (*stats)(Strategy *strategy, WorkerStats *stats);
} StrategyOps;

/* Strategies embed it as their first member. */
struct Strategy {
    const StrategyOps *ops;
};

/* Threads of strategies that have a WorkerIo embed it as their first member. */
struct WorkerSeat {
    Strategy *strategy;
};

/* The options stay the caller's and outlive it; options->vm_ops is set. NULL: text in error. */
Strategy *thread_pool_new(const WorkerOptions *options, char *error, size_t error_size);
Strategy *thread_per_guild_new(const WorkerOptions *options, char *error, size_t error_size);
/* The process-pool makes its seats (options->io) threads that only serve: begin is NOT_NOW. */
Strategy *process_pool_new(const WorkerOptions *options, char *error, size_t error_size);

#endif
