#include "worker/process_pool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

static Shard *shard_of(ProcessPool *pool, uint64_t guild_id)
{
    return &pool->shards[(guild_id >> 22) % (uint64_t)pool->shard_count];
}

static void pool_submit(Strategy *strategy, LuaVmAction *action)
{
    BASE_ASSERT(action->handle.guild_id != 0);
    shard_submit(shard_of((ProcessPool *)strategy, action->handle.guild_id), action);
}

static void pool_answer(Strategy *strategy, KhronosCall *call)
{
    shard_answer(shard_of((ProcessPool *)strategy, call->guild_id), call);
}

bool pool_wants_calls(const ProcessPool *pool)
{
    return pool->options->calls.take && pool->options->calls.read;
}

/* No guild is ever at rest in this process. */
static WorkerBegun pool_begin(WorkerSeat *seat, LuaVmAction *action)
{
    (void)seat;
    (void)action;
    return WORKER_NOT_NOW;
}

/* ---- The supervisor ---------------------------------------------------------------------------
 */

static void on_wake(uv_async_t *wake)
{
    ProcessPool *pool = wake->data;
    /* Relaxed: the wake-up itself synchronises. */
    bool stopping = atomic_load_explicit(&pool->stopping, memory_order_relaxed);
    if (stopping && !pool->told_to_stop) {
        pool->told_to_stop = true;
        for (int i = 0; i < pool->shard_count; i++)
            life_stop(&pool->shards[i]);
        return;
    }
    for (int i = 0; i < pool->shard_count; i++) {
        Shard *shard = &pool->shards[i];
        if (shard->life)
            life_pump(shard->life);
        else
            shard_drop_answers(shard);
    }
}

/* The last one lets the loop run out. */
void pool_shard_down(ProcessPool *pool)
{
    if (++pool->shards_down == pool->shard_count)
        uv_close((uv_handle_t *)&pool->wake, NULL);
}

static void *supervisor_main(void *arg)
{
    ProcessPool *pool = arg;
    sigset_t others;
    sigfillset(&others);
    sigdelset(&others, SIGCHLD); /* libuv's; a write to a dead child must not end the process */
    pthread_sigmask(SIG_BLOCK, &others, NULL);
    uv_run(&pool->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* ---- Seats ------------------------------------------------------------------------------------
 */

static void *seat_main(void *arg)
{
    PoolSeat *seat = arg;
    ProcessPool *pool = seat->pool;
    const WorkerIo *io = &pool->options->io;
    /* Relaxed: who sets it wakes the seat through something that synchronises. */
    while (!atomic_load_explicit(&pool->stopping, memory_order_relaxed))
        if (io->wait(seat->io, -1))
            io->serve(seat->io);
    return NULL;
}

/* All before the first of them runs. */
static bool open_seats(ProcessPool *pool)
{
    const WorkerIo *io = &pool->options->io;
    for (int i = 0; i < pool->seat_count; i++) {
        PoolSeat *seat = &pool->seats[i];
        seat->pool = pool;
        seat->seat.strategy = &pool->base;
        if (!(seat->io = io->open(io->userdata, i, &seat->seat)))
            return false;
    }
    return true;
}

static bool start_seats(ProcessPool *pool)
{
    for (int i = 0; i < pool->seat_count; i++) {
        PoolSeat *seat = &pool->seats[i];
        if (pthread_create(&seat->thread, NULL, seat_main, seat) != 0)
            return false;
        seat->running = true;
    }
    return true;
}

/* ---- The end ----------------------------------------------------------------------------------
 */

static void refuse(ProcessPool *pool)
{
    for (int i = 0; i < pool->shard_count; i++) {
        pthread_mutex_lock(&pool->shards[i].lock);
        pool->shards[i].refusing = true;
        pthread_mutex_unlock(&pool->shards[i].lock);
    }
}

static bool pool_drain(Strategy *strategy, uint64_t timeout_ns)
{
    ProcessPool *pool = (ProcessPool *)strategy;
    uint64_t now = clock_monotonic_ns();
    uint64_t until = timeout_ns < UINT64_MAX / 2 - now ? now + timeout_ns : UINT64_MAX / 2;
    struct timespec time = {.tv_sec = (time_t)(until / CLOCK_NS_PER_S),
                            .tv_nsec = (long)(until % CLOCK_NS_PER_S)};
    refuse(pool);
    int timed_out = 0;
    pthread_mutex_lock(&pool->lock);
    /* Acquire pairs with hand_back: what completions wrote is seen. */
    while (atomic_load_explicit(&pool->waiting, memory_order_acquire) > 0 && !timed_out)
        timed_out = pthread_cond_timedwait(&pool->drained, &pool->lock, &time) != 0;
    pthread_mutex_unlock(&pool->lock);
    return atomic_load_explicit(&pool->waiting, memory_order_acquire) == 0;
}

static void free_pool(ProcessPool *pool)
{
    for (int i = 0; i < pool->shard_count; i++)
        shard_free(&pool->shards[i]);
    pthread_cond_destroy(&pool->drained);
    pthread_mutex_destroy(&pool->lock);
    free(pool->shards);
    free(pool->seats);
    free(pool);
}

static void pool_stop(Strategy *strategy)
{
    ProcessPool *pool = (ProcessPool *)strategy;
    refuse(pool);
    atomic_store_explicit(&pool->stopping, true, memory_order_relaxed);
    uv_async_send(&pool->wake);
    for (int i = 0; i < pool->seat_count; i++)
        if (pool->seats[i].running) {
            pool->options->io.wake(pool->seats[i].io);
            pthread_join(pool->seats[i].thread, NULL);
        }
    if (pool->supervised)
        pthread_join(pool->supervisor, NULL);
    else
        uv_run(&pool->loop, UV_RUN_DEFAULT);
    int closed = uv_loop_close(&pool->loop);
    BASE_ASSERT(closed == 0);
    free_pool(pool);
}

static void add_stats(WorkerStats *sum, const WorkerStats *part)
{
    sum->guilds += part->guilds;
    sum->vms += part->vms;
    sum->created += part->created;
    sum->panics += part->panics;
    for (int i = 0; i < VM_REASONS; i++)
        sum->broken[i] += part->broken[i];
}

static void pool_stats(Strategy *strategy, WorkerStats *stats)
{
    ProcessPool *pool = (ProcessPool *)strategy;
    *stats = (WorkerStats){0};
    for (int i = 0; i < pool->shard_count; i++) {
        Shard *shard = &pool->shards[i];
        pthread_mutex_lock(&shard->lock);
        add_stats(stats, &shard->child);
        add_stats(stats, &shard->past);
        stats->waiting += (uint64_t)(shard->actions + shard->urgent_actions);
        stats->executions += shard->executions;
        stats->refused += shard->refused;
        stats->panics += shard->lost;
        pthread_mutex_unlock(&shard->lock);
    }
}

int process_pool_pid(Strategy *strategy, int index)
{
    Shard *shard = &((ProcessPool *)strategy)->shards[index];
    pthread_mutex_lock(&shard->lock);
    int pid = shard->pid;
    pthread_mutex_unlock(&shard->lock);
    return pid;
}

/* ---- The beginning ----------------------------------------------------------------------------
 */

static void init_drained(ProcessPool *pool)
{
    pthread_condattr_t monotonic;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->drained, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static bool init_shards(ProcessPool *pool, int count)
{
    while (pool->shard_count < count) {
        if (!shard_init(&pool->shards[pool->shard_count], pool, pool->shard_count))
            return false;
        pool->shard_count++;
    }
    return true;
}

/* Nothing runs yet, and nothing has to be told. */
static ProcessPool *make_pool(const WorkerOptions *options, int count)
{
    static const StrategyOps ops = {pool_submit, pool_begin, pool_answer,
                                    pool_drain,  pool_stop,  pool_stats};
    ProcessPool *pool = calloc(1, sizeof(*pool));
    if (!pool)
        return NULL;
    pool->base.ops = &ops;
    pool->options = options;
    pool->seat_count = options->io.open ? count : 0;
    init_drained(pool);
    pool->shards = calloc((size_t)count, sizeof(*pool->shards));
    pool->seats = calloc((size_t)count, sizeof(*pool->seats));
    if (!pool->shards || !pool->seats || !init_shards(pool, count))
        goto no_memory;
    if (uv_loop_init(&pool->loop) != 0)
        goto no_memory;
    if (uv_async_init(&pool->loop, &pool->wake, on_wake) != 0)
        goto no_wake;
    pool->wake.data = pool;
    for (int i = 0; i < count; i++) {
        Shard *shard = &pool->shards[i];
        uv_timer_init(&pool->loop, &shard->timer);
        shard->timer.data = shard;
        shard->timer_open = true;
    }
    return pool;
no_wake:
    uv_loop_close(&pool->loop);
no_memory:
    free_pool(pool);
    return NULL;
}

static int process_count(const WorkerOptions *options)
{
    long count = options->processes > 0 ? options->processes : sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > POOL_PROCESSES_MAX ? POOL_PROCESSES_MAX : (int)count;
}

Strategy *process_pool_new(const WorkerOptions *options, char *error, size_t error_size)
{
    ProcessPool *pool = make_pool(options, process_count(options));
    if (!pool) {
        snprintf(error, error_size, "not enough memory for the worker processes");
        return NULL;
    }
    bool started = open_seats(pool);
    if (!started)
        snprintf(error, error_size, "cannot prepare a thread that serves connections");
    for (int i = 0; started && i < pool->shard_count; i++)
        started = life_start(&pool->shards[i], error, error_size);
    if (started) {
        pool->supervised = pthread_create(&pool->supervisor, NULL, supervisor_main, pool) == 0;
        started = pool->supervised && start_seats(pool);
        if (!started)
            snprintf(error, error_size, "cannot start a thread");
    }
    if (!started) {
        pool_stop(&pool->base);
        return NULL;
    }
    return &pool->base;
}
