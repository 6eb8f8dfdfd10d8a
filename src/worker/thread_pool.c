/* The thread-pool strategy: M guilds on N threads.
 *
 * One lock guards the registry, the mailboxes and the run queues; it is held for a few instructions
 * and never while a guild's code runs. A guild with mail is `scheduled`: it stands in one queue, or
 * one thread has it. A thread takes a guild, gives it one turn, which is one action or a slice of a
 * parked one, and puts it back if there is more. A parked guild stays with the thread that parked
 * it (its native stack may hold addresses of that thread); all others go to whichever thread is
 * free.
 *
 * With a WorkerIo there are as many threads again, the seats, which serve sockets. What arrives for
 * a guild at rest whose last runs were short begins on the seat that received it (pool_begin): no
 * queue, no other thread to wake. Everything else goes to the workers, so that a seat sleeps most
 * of the time and is there at once when something arrives. A guild that surprises its seat is
 * parked there, its slices alternate with looks at the sockets, and it is not trusted for a while.
 *
 * Order of turns: guilds that used little lately (level 0) first; the others share what is left,
 * and at least a fifth of the time when level 0 never runs dry.
 *
 * All kills happen on the thread that owns the guild, between two slices: a VM is never touched
 * from outside while it lives. */
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/idmap.h"
#include "base/random.h"
#include "worker/strategy.h"
#include "worker/thread_entry.h"
#include "worker/ticker.h"

enum {
    TICK_US = 500,
    FIBERS_KEPT = 16,
    TRIM_COUNT = 256 /* guilds shrunk, after which the process gives memory back as well */
};
#define COOL_NS CLOCK_NS_PER_S          /* idle for so long: the VM gives memory back */
#define STARVE_NS (4 * CLOCK_NS_PER_MS) /* longest wait of the other levels behind level 0 */

typedef struct ThreadPool ThreadPool;

typedef struct PoolThread {
    WorkerSeat seat;
    ThreadPool *pool;
    pthread_t thread;
    int index;
    luau_Fibers *fibers;
    EntryQueue parked;     /* only this thread touches it */
    uint64_t other_end_ns; /* when a guild of another level than 0 last had a turn */
    bool parked_last;      /* the last such turn was a parked guild's */
    void *io;              /* of a seat; else NULL */
} PoolThread;

struct ThreadPool {
    Strategy base;
    const WorkerOptions *options;
    Ticker *ticker;
    PoolThread *threads;
    int thread_count; /* started: the workers, then the seats */
    pthread_mutex_t lock;
    pthread_cond_t work;    /* to workers: a queue has an entry, or stopping */
    pthread_cond_t drained; /* to drain: waiting became 0 */
    /* -- under the lock -- */
    IdMap registry;
    EntryQueue ready[ENTRY_LEVELS];
    ThreadEntry *cooling_first, *cooling_last; /* in the order they came to rest */
    int cooled; /* guilds shrunk since memory went back to the system */
    int idle_threads;
    bool refusing; /* new actions */
    WorkerStats stats;
    /* -- written under the lock -- */
    atomic_bool stopping; /* kill what runs, end the threads */
};

/* ---- Completing -------------------------------------------------------------------------------
 */

static void complete(LuaVmAction *action, VmActionOutcome outcome)
{
    action->outcome = outcome;
    action->complete(action);
}

/* ---- Submitting -------------------------------------------------------------------------------
 */

static void make_ready_locked(ThreadPool *pool, ThreadEntry *entry)
{
    entry->scheduled = true;
    entryqueue_put(&pool->ready[entry_level(entry, clock_monotonic_ns())], entry);
    if (pool->idle_threads > 0)
        pthread_cond_signal(&pool->work);
}

static ThreadEntry *find_entry_locked(ThreadPool *pool, uint64_t guild_id)
{
    ThreadEntry *entry = idmap_get(&pool->registry, guild_id);
    if (entry)
        return entry;
    entry = entry_new(guild_id);
    if (!entry)
        return NULL;
    if (!idmap_put(&pool->registry, guild_id, entry)) {
        entry_free(entry);
        return NULL;
    }
    pool->stats.guilds++;
    return entry;
}

static VmActionOutcome post_locked(ThreadPool *pool, LuaVmAction *action)
{
    if (pool->refusing)
        return VM_ACTION_SHUTTING_DOWN;
    ThreadEntry *entry = find_entry_locked(pool, action->guild_id);
    if (!entry)
        return VM_ACTION_NO_MEMORY;
    if (entry->mail_count >= pool->options->mailbox_max)
        return VM_ACTION_QUEUE_FULL;
    entry_mail_put(entry, action);
    pool->stats.waiting++;
    if (!entry->scheduled)
        make_ready_locked(pool, entry);
    return VM_ACTION_DONE;
}

static void pool_submit(Strategy *strategy, LuaVmAction *action)
{
    ThreadPool *pool = (ThreadPool *)strategy;
    BASE_ASSERT(action->guild_id != 0);
    pthread_mutex_lock(&pool->lock);
    VmActionOutcome outcome = post_locked(pool, action);
    pthread_mutex_unlock(&pool->lock);
    if (outcome != VM_ACTION_DONE)
        complete(action, outcome);
}

/* ---- A turn -----------------------------------------------------------------------------------
 */

static void set_state(ThreadPool *pool, ThreadEntry *entry, VmState state, VmBrokenReason reason)
{
    pthread_mutex_lock(&pool->lock);
    bool had = entry->state == VM_HEALTHY, has = state == VM_HEALTHY;
    pool->stats.vms += (uint64_t)has - (uint64_t)had;
    entry->state = state;
    entry->reason = reason;
    pthread_mutex_unlock(&pool->lock);
}

static void drop_vm(ThreadPool *pool, ThreadEntry *entry, VmBrokenReason reason)
{
    KhronosRuntime *vm = entry->vm_handle;
    entry->vm_handle = NULL;
    set_state(pool, entry, VM_BROKEN, reason);
    khronos_free(vm);
}

static bool ensure_vm(ThreadPool *pool, ThreadEntry *entry)
{
    if (entry->vm_handle)
        return true;
    set_state(pool, entry, VM_INITIALIZING, VM_NOT_BROKEN);
    entry->vm_handle = khronos_new(pool->options->sandbox, entry->guild_id, &pool->options->limits,
                                   &pool->options->log);
    if (!entry->vm_handle) {
        set_state(pool, entry, VM_BROKEN, VM_INTERNAL_ERROR);
        return false;
    }
    entry->generation++;
    set_state(pool, entry, VM_HEALTHY, VM_NOT_BROKEN);
    return true;
}

static VmBrokenReason broken_reason(KhronosStatus status)
{
    switch (status) {
    case KHRONOS_MEMORY_LIMIT: return VM_MEMORY_LIMIT_EXCEEDED;
    case KHRONOS_TIMEOUT: return VM_EXECUTION_TIMEOUT;
    case KHRONOS_KILLED: return VM_EXPLICIT_DESTROY;
    default: return VM_INTERNAL_ERROR;
    }
}

static void fill_info(ThreadPool *pool, ThreadEntry *entry, VmInfo *info)
{
    *info = (VmInfo){.generation = entry->generation, .executions = entry->executions};
    if (entry->vm_handle)
        khronos_account(entry->vm_handle, &info->account);
    pthread_mutex_lock(&pool->lock);
    info->state = entry->state;
    info->reason = entry->reason;
    pthread_mutex_unlock(&pool->lock);
}

/* An execution ended: the VM may be broken by it. */
static void end_execution(ThreadPool *pool, ThreadEntry *entry)
{
    entry->executions++;
    if (khronos_isbroken(entry->vm_handle))
        drop_vm(pool, entry, broken_reason(entry->current->execution.status));
}

/* Starts the next action, or goes on with the parked one. True: it is parked. */
static bool run_action(PoolThread *self, ThreadEntry *entry, LuaVmAction *action, bool stopping)
{
    ThreadPool *pool = self->pool;
    KhronosStep step;
    if (entry->current) {
        if (stopping)
            khronos_kill(entry->vm_handle);
        step = khronos_continue(entry->vm_handle);
    } else {
        if (!ensure_vm(pool, entry)) {
            action->outcome = VM_ACTION_NO_MEMORY;
            return false;
        }
        entry->current = action;
        step = khronos_run(entry->vm_handle, self->fibers, &action->execution);
    }
    if (step == KHRONOS_PARKED)
        return true;
    end_execution(pool, entry);
    entry->current = NULL;
    return false;
}

/* True: the action is parked. */
static bool perform(PoolThread *self, ThreadEntry *entry, LuaVmAction *action, bool stopping)
{
    action->outcome = VM_ACTION_DONE;
    if (stopping && !entry->current) {
        action->outcome = VM_ACTION_SHUTTING_DOWN;
        return false;
    }
    switch (action->type) {
    case VM_ACTION_EXECUTE: return run_action(self, entry, action, stopping);
    case VM_ACTION_GET_STATE: fill_info(self->pool, entry, &action->info); return false;
    case VM_ACTION_DESTROY:
        if (entry->vm_handle) {
            set_state(self->pool, entry, VM_DESTROYING, VM_NOT_BROKEN);
            drop_vm(self->pool, entry, VM_EXPLICIT_DESTROY);
        }
        return false;
    }
    return false;
}

static void put_cooling_locked(ThreadPool *pool, ThreadEntry *entry)
{
    entry->cooling_next = NULL;
    if (pool->cooling_last)
        pool->cooling_last->cooling_next = entry;
    else
        pool->cooling_first = entry;
    pool->cooling_last = entry;
    entry->cooling = true;
    if (pool->idle_threads > 0 && pool->cooling_first == entry)
        pthread_cond_signal(&pool->work); /* a thread that waits without an end must learn of it */
}

/* The action is done and completed: more mail, or rest. */
static void release_entry(ThreadPool *pool, ThreadEntry *entry, bool executed)
{
    pthread_mutex_lock(&pool->lock);
    entry->mail_count--;
    pool->stats.executions += executed;
    if (--pool->stats.waiting == 0)
        pthread_cond_broadcast(&pool->drained);
    if (entry->mail_first) {
        make_ready_locked(pool, entry);
    } else {
        entry->scheduled = false;
        if (!entry->cooling && entry->vm_handle)
            put_cooling_locked(pool, entry);
    }
    pthread_mutex_unlock(&pool->lock);
}

/* True: the action is parked. */
static bool one_turn(PoolThread *self, ThreadEntry *entry, LuaVmAction *action, bool stopping,
                     uint64_t start)
{
    bool heavy = entry_level(entry, start) > 0;
    bool first = !entry->current && action->type == VM_ACTION_EXECUTE;
    ticker_enter(self->pool->ticker, self->index);
    bool parked = perform(self, entry, action, stopping);
    ticker_leave(self->pool->ticker, self->index);
    uint64_t end = clock_monotonic_ns();
    entry_charge(entry, start, end);
    if (first)
        entry_judge(entry, parked, end - start);
    if (heavy)
        self->other_end_ns = end;
    if (parked)
        entryqueue_put(&self->parked, entry);
    return parked;
}

static void take_turn(PoolThread *self, ThreadEntry *entry, LuaVmAction *action, bool stopping)
{
    if (one_turn(self, entry, action, stopping, clock_monotonic_ns()))
        return;
    bool executed = action->type == VM_ACTION_EXECUTE;
    VmActionOutcome outcome = action->outcome;
    complete(action, outcome); /* the action is its owner's again */
    release_entry(self->pool, entry, executed);
}

/* ---- Seats ------------------------------------------------------------------------------------
 */

/* The guild, when it is at rest and its action may begin on this seat. */
static ThreadEntry *claim_locked(PoolThread *self, const LuaVmAction *action, uint64_t now)
{
    ThreadPool *pool = self->pool;
    if (pool->refusing || self->parked.first)
        return NULL;
    ThreadEntry *entry = find_entry_locked(pool, action->guild_id);
    if (!entry || entry->scheduled || entry->trust <= 0 || entry_level(entry, now) > 0)
        return NULL;
    entry->scheduled = true;
    entry->mail_count++;
    pool->stats.waiting++;
    return entry;
}

static WorkerBegun pool_begin(WorkerSeat *seat, LuaVmAction *action)
{
    PoolThread *self = (PoolThread *)seat;
    uint64_t now = clock_monotonic_ns();
    pthread_mutex_lock(&self->pool->lock);
    ThreadEntry *entry = claim_locked(self, action, now);
    pthread_mutex_unlock(&self->pool->lock);
    if (!entry)
        return WORKER_NOT_NOW;
    if (one_turn(self, entry, action, false, now))
        return WORKER_RUNS;
    release_entry(self->pool, entry, action->type == VM_ACTION_EXECUTE);
    return WORKER_DONE;
}

/* Relaxed: who sets it wakes everyone through something that synchronises. */
static bool is_stopping(ThreadPool *pool)
{
    return atomic_load_explicit(&pool->stopping, memory_order_relaxed);
}

static void *seat_main(void *arg)
{
    PoolThread *self = arg;
    const WorkerIo *io = &self->pool->options->io;
    for (;;) {
        ThreadEntry *entry = self->parked.first;
        if (is_stopping(self->pool) && !entry)
            return NULL;
        if (io->wait(self->io, entry ? 0 : -1))
            io->serve(self->io);
        entry = entryqueue_take(&self->parked);
        if (entry)
            take_turn(self, entry, entry->current, is_stopping(self->pool));
    }
}

/* ---- Choosing ---------------------------------------------------------------------------------
 */

/* The next guild of the levels above 0: parked ones and ready ones in turn. */
static ThreadEntry *pick_other_locked(PoolThread *self)
{
    ThreadPool *pool = self->pool;
    ThreadEntry *entry = NULL;
    if (self->parked_last)
        for (int level = 1; !entry && level < ENTRY_LEVELS; level++)
            entry = entryqueue_take(&pool->ready[level]);
    self->parked_last = !entry && self->parked.first;
    if (!entry)
        entry = entryqueue_take(&self->parked);
    for (int level = 1; !entry && level < ENTRY_LEVELS; level++)
        entry = entryqueue_take(&pool->ready[level]);
    return entry;
}

static ThreadEntry *pick_locked(PoolThread *self)
{
    ThreadPool *pool = self->pool;
    bool light = pool->ready[0].first != NULL;
    bool starving = clock_monotonic_ns() - self->other_end_ns > STARVE_NS;
    if (!light || starving) {
        ThreadEntry *entry = pick_other_locked(self);
        if (entry)
            return entry;
    }
    return entryqueue_take(&pool->ready[0]);
}

/* A guild at rest for a while; it counts as scheduled while it is shrunk. */
static ThreadEntry *pick_cooled_locked(ThreadPool *pool, uint64_t now)
{
    while (pool->cooling_first) {
        ThreadEntry *entry = pool->cooling_first;
        if (!entry->scheduled && now - entry->last_run_ns < COOL_NS)
            return NULL;
        pool->cooling_first = entry->cooling_next;
        if (!pool->cooling_first)
            pool->cooling_last = NULL;
        entry->cooling = false;
        if (!entry->scheduled && entry->vm_handle) {
            entry->scheduled = true;
            return entry;
        }
    }
    return NULL;
}

static void wait_for_work_locked(ThreadPool *pool)
{
    pool->idle_threads++;
    if (pool->cooling_first) {
        uint64_t until = clock_monotonic_ns() + COOL_NS / 4;
        struct timespec time = {.tv_sec = (time_t)(until / CLOCK_NS_PER_S),
                                .tv_nsec = (long)(until % CLOCK_NS_PER_S)};
        pthread_cond_timedwait(&pool->work, &pool->lock, &time);
    } else {
        pthread_cond_wait(&pool->work, &pool->lock);
    }
    pool->idle_threads--;
}

/* Shrinks without the lock; mail that came meanwhile makes the guild ready. */
static void cool(ThreadPool *pool, ThreadEntry *entry)
{
    pthread_mutex_unlock(&pool->lock);
    khronos_shrink(entry->vm_handle);
    pthread_mutex_lock(&pool->lock);
    pool->cooled++;
    entry->scheduled = false;
    if (entry->mail_first)
        make_ready_locked(pool, entry);
}

/* What many guilds freed lies in pieces all over the allocator: whole pages of it go back. */
static bool trim(ThreadPool *pool)
{
    if (pool->cooled < TRIM_COUNT)
        return false;
    pool->cooled = 0;
    pthread_mutex_unlock(&pool->lock);
    malloc_trim(0);
    pthread_mutex_lock(&pool->lock);
    return true;
}

static void *worker_main(void *arg)
{
    PoolThread *self = arg;
    ThreadPool *pool = self->pool;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        ThreadEntry *entry = pick_locked(self);
        if (entry) {
            bool stopping = is_stopping(pool);
            LuaVmAction *action = entry->current ? entry->current : entry_mail_take(entry);
            pthread_mutex_unlock(&pool->lock);
            take_turn(self, entry, action, stopping);
            pthread_mutex_lock(&pool->lock);
        } else if (is_stopping(pool)) {
            break;
        } else if ((entry = pick_cooled_locked(pool, clock_monotonic_ns())) != NULL) {
            cool(pool, entry);
        } else if (!trim(pool)) {
            wait_for_work_locked(pool);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* ---- Life -------------------------------------------------------------------------------------
 */

static bool start_thread(ThreadPool *pool, PoolThread *thread)
{
    thread->fibers = luau_fibers_new(FIBERS_KEPT);
    if (!thread->fibers)
        return false;
    ticker_setfibers(pool->ticker, thread->index, thread->fibers);
    if (pthread_create(&thread->thread, NULL, thread->io ? seat_main : worker_main, thread) != 0) {
        luau_fibers_free(thread->fibers);
        return false;
    }
    return true;
}

static bool pool_drain(Strategy *strategy, uint64_t timeout_ns)
{
    ThreadPool *pool = (ThreadPool *)strategy;
    uint64_t until = clock_monotonic_ns() + timeout_ns;
    struct timespec time = {.tv_sec = (time_t)(until / CLOCK_NS_PER_S),
                            .tv_nsec = (long)(until % CLOCK_NS_PER_S)};
    pthread_mutex_lock(&pool->lock);
    pool->refusing = true;
    int timed_out = 0;
    while (pool->stats.waiting > 0 && !timed_out)
        timed_out = pthread_cond_timedwait(&pool->drained, &pool->lock, &time) != 0;
    bool empty = pool->stats.waiting == 0;
    pthread_mutex_unlock(&pool->lock);
    return empty;
}

static void free_pool(ThreadPool *pool)
{
    size_t cursor = 0;
    for (ThreadEntry *entry; (entry = idmap_next(&pool->registry, &cursor)) != NULL;)
        entry_free(entry);
    idmap_free(&pool->registry);
    ticker_free(pool->ticker);
    for (int i = 0; i < pool->thread_count; i++)
        luau_fibers_free(pool->threads[i].fibers);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->drained);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}

static void pool_stop(Strategy *strategy)
{
    ThreadPool *pool = (ThreadPool *)strategy;
    pthread_mutex_lock(&pool->lock);
    pool->refusing = true;
    atomic_store_explicit(&pool->stopping, true, memory_order_relaxed);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->thread_count; i++)
        if (pool->threads[i].io)
            pool->options->io.wake(pool->threads[i].io);
    for (int i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i].thread, NULL);
    BASE_ASSERT(pool->stats.waiting == 0);
    free_pool(pool);
}

static void pool_stats(Strategy *strategy, WorkerStats *stats)
{
    ThreadPool *pool = (ThreadPool *)strategy;
    pthread_mutex_lock(&pool->lock);
    *stats = pool->stats;
    pthread_mutex_unlock(&pool->lock);
}

/* It is held for less time than falling asleep takes: waiters spin a little first. */
static void init_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

/* All before the first of them runs. */
static bool open_seats(ThreadPool *pool, int count)
{
    const WorkerIo *io = &pool->options->io;
    int workers = pool->options->threads;
    for (int i = 0; i < count; i++) {
        PoolThread *thread = &pool->threads[i];
        thread->pool = pool;
        thread->index = i;
        thread->seat.strategy = &pool->base;
        if (i >= workers && !(thread->io = io->open(io->userdata, i - workers, &thread->seat)))
            return false;
    }
    return true;
}

Strategy *thread_pool_new(const WorkerOptions *options, char *error, size_t error_size)
{
    static const StrategyOps ops = {pool_submit, pool_begin, pool_drain, pool_stop, pool_stats};
    int count = options->io.open ? 2 * options->threads : options->threads;
    ThreadPool *pool = calloc(1, sizeof(*pool));
    PoolThread *threads = calloc((size_t)count, sizeof(*threads));
    Ticker *ticker = ticker_new(TICK_US, count);
    if (!pool || !threads || !ticker) {
        snprintf(error, error_size, "not enough memory for the worker threads");
        ticker_free(ticker);
        free(threads);
        free(pool);
        return NULL;
    }
    *pool = (ThreadPool){
        .base.ops = &ops, .options = options, .ticker = ticker, .threads = threads};
    idmap_init(&pool->registry, random_u64());
    init_lock(&pool->lock);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->work, &monotonic);
    pthread_cond_init(&pool->drained, &monotonic);
    pthread_condattr_destroy(&monotonic);
    bool opened = open_seats(pool, count);
    while (pool->thread_count < count) {
        if (!opened || !start_thread(pool, &threads[pool->thread_count])) {
            snprintf(error, error_size, "cannot start a worker thread");
            pool_stop(&pool->base);
            return NULL;
        }
        pool->thread_count++;
    }
    return &pool->base;
}
