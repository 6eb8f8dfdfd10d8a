#include "worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "worker/strategy.h"

struct Worker {
    WorkerOptions options;
    Strategy *strategy;
};

void worker_default_options(WorkerOptions *options)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    *options = (WorkerOptions){.threads = processors > 0 ? (int)processors : 1,
                               .mailbox_max = 1024};
    khronos_default_limits(&options->limits);
}

Worker *worker_start(const WorkerOptions *options, char *error, size_t error_size)
{
    Worker *worker = calloc(1, sizeof(*worker));
    if (!worker) {
        snprintf(error, error_size, "not enough memory");
        return NULL;
    }
    worker->options = *options;
    sandbox_retain(options->sandbox);
    worker->strategy = thread_pool_new(&worker->options, error, error_size);
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
