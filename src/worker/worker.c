#include "worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/strategy.h"

struct Worker {
    WorkerOptions options;
    KhronosHost host; /* of ops */
    VmOps ops;
    Strategy *strategy;
};

static const char *const STRATEGY_NAMES[] = {
    [WORKER_THREAD_POOL] = "thread-pool",
    [WORKER_THREAD_PER_GUILD] = "thread-per-guild",
    [WORKER_PROCESS_POOL] = "process-pool",
};

const char *worker_strategy_name(WorkerStrategy strategy)
{
    return STRATEGY_NAMES[strategy];
}

bool worker_strategy_parse(const char *name, WorkerStrategy *strategy)
{
    for (size_t i = 0; i < BASE_ARRAY_COUNT(STRATEGY_NAMES); i++) {
        if (strcmp(name, STRATEGY_NAMES[i]) != 0)
            continue;
        *strategy = (WorkerStrategy)i;
        return true;
    }
    return false;
}

static int count_processors(void)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

void worker_default_options(WorkerOptions *options)
{
    *options = (WorkerOptions){
        .strategy = WORKER_THREAD_POOL,
        .guild_threads_max = 1024,
        .shrink_idle_ns = 10 * CLOCK_NS_PER_S,
        .destroy_idle_ns = 600 * CLOCK_NS_PER_S,
        .broken_max = 50,
        .broken_window_ns = 60 * CLOCK_NS_PER_S,
        .pause_ns = 5 * CLOCK_NS_PER_S,
        .silence_max_ns = 10 * CLOCK_NS_PER_S,
    };
    khronos_default_limits(&options->limits);
}

static Strategy *make_strategy(const WorkerOptions *options, char *error, size_t error_size)
{
    switch (options->strategy) {
    case WORKER_THREAD_POOL: return thread_pool_new(options, error, error_size);
    case WORKER_THREAD_PER_GUILD: return thread_per_guild_new(options, error, error_size);
    case WORKER_PROCESS_POOL: return process_pool_new(options, error, error_size);
    }
    snprintf(error, error_size, "there is no such strategy");
    return NULL;
}

Worker *worker_start(const WorkerOptions *options, char *error, size_t error_size)
{
    Worker *worker = calloc(1, sizeof(*worker));
    if (!worker) {
        snprintf(error, error_size, "not enough memory");
        return NULL;
    }
    worker->options = *options;
    if (options->threads <= 0)
        worker->options.threads = options->strategy == WORKER_PROCESS_POOL ? 1 : count_processors();
    if (options->processes <= 0)
        worker->options.processes = count_processors();
    if (options->sandbox)
        sandbox_retain(options->sandbox);
    if (!options->vm_ops) {
        worker->host = (KhronosHost){options->sandbox, options->log};
        vm_khronos_ops(&worker->ops, &worker->host);
        worker->options.vm_ops = &worker->ops;
    }
    worker->strategy = make_strategy(&worker->options, error, error_size);
    if (!worker->strategy) {
        sandbox_release(worker->options.sandbox);
        free(worker);
        return NULL;
    }
    return worker;
}

void worker_submit(Worker *worker, LuaVmAction *action)
{
    worker->strategy->ops->submit(worker->strategy, action);
}

WorkerBegun worker_begin(WorkerSeat *seat, LuaVmAction *action)
{
    return seat->strategy->ops->begin(seat, action);
}

void worker_post(WorkerSeat *seat, LuaVmAction *action)
{
    seat->strategy->ops->submit(seat->strategy, action);
}

void worker_answer(Worker *worker, KhronosCall *call)
{
    worker->strategy->ops->answer(worker->strategy, call);
}

bool worker_drain(Worker *worker, uint64_t timeout_ns)
{
    return worker->strategy->ops->drain(worker->strategy, timeout_ns);
}

void worker_stop(Worker *worker)
{
    if (!worker)
        return;
    worker->strategy->ops->stop(worker->strategy);
    sandbox_release(worker->options.sandbox);
    free(worker);
}

void worker_stats(Worker *worker, WorkerStats *stats)
{
    worker->strategy->ops->stats(worker->strategy, stats);
}
