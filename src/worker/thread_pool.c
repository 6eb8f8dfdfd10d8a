/* The thread-pool strategy: M guilds on N threads.
 *
 * A guild with something to do is `scheduled`: it stands in one run queue, or one thread has it. A
 * thread takes a guild, gives it one turn (turn.h), and puts it where it belongs: back into the run
 * queue, into the heap of timers, among those at rest, or, if its VM was preempted in the middle of
 * something, into the thread's own queue: a parked VM stays with the thread that parked it (its
 * native stack may hold addresses of that thread); all others go to whichever thread is free.
 *
 * With a WorkerIo there are as many threads again, the seats, which serve sockets. What arrives for
 * a guild at rest whose last runs were short begins on the seat that received it (pool_begin): no
 * queue, no other thread to wake. Everything else goes to the workers, so that a seat sleeps most
 * of the time and is there at once when something arrives. A guild that surprises its seat is
 * parked there, its slices alternate with looks at the sockets, and it is not trusted for a while.
 *
 * Order of turns: light guilds first, which used little lately and little of their last slice; the
 * others share what is left, and at least a fifth of the time when the light ones never run dry.
 * Among these, guilds that never ran come first: whether they spin will be seen.
 *
 * Timers are looked at between turns, which are short. When no thread has a turn, one waits until
 * the earliest instant (the keeper); the others wait for work.
 *
 * All kills happen on the thread that has the guild, between two steps: a VM is never touched from
 * outside while it runs. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "worker/strategy.h"
#include "worker/timer_heap.h"
#include "worker/turn.h"

enum {
    TICK_US = 500,
    FIBERS_KEPT = 16,
    TIMERS_AT_ONCE = 64, /* a lock is not held for more */
    LIGHT_PARKS = 3,     /* slices after which a parked guild counts among those that spin */
    LOW_SHARE = 4,   /* of the turns of others than light guilds, every fourth is a heavy one's */
    IDLE_SHARE = 32, /* turns between two looks at idle guilds while there is other work */
    TRIM_COUNT = 256 /* guilds shrunk or ended, after which the process gives memory back */
};
#define STARVE_NS (4 * CLOCK_NS_PER_MS) /* longest wait of the others behind light guilds */
#define TURN_NS (2 * CLOCK_NS_PER_MS)   /* a thread is back from a turn after about so long */
#define TRIM_BYTES ((size_t)8 << 20)    /* or ended VMs had so much */
#define TRIM_NS CLOCK_NS_PER_S          /* between two of those */

/* Run queues. */
enum { READY_LIGHT, READY_NEW, READY_MEDIUM, READY_HEAVY, READY_QUEUES };

typedef struct ThreadPool ThreadPool;

typedef struct PoolThread {
    WorkerSeat seat;
    WorkThread work;
    ThreadPool *pool;
    int index;
    void *io; /* of a seat; else NULL */
    /* Only this thread touches them. Light: their runs are short as a rule, and this one was not
     * parked often yet; the machine took the processor away in the middle, most likely. */
    EntryQueue parked, parked_light;
    uint64_t other_end_ns; /* when another than a light guild last had a turn */
    unsigned turns, other_turns;
    bool other_last;  /* the last turn was such a one */
    bool parked_last; /* the last of these was a parked guild's */
    /* -- under the lock -- */
    pthread_t thread, former; /* former: who had this place; `replaced` */
    bool replaced;
} PoolThread;

struct ThreadPool {
    Strategy base;
    Registry registry;
    luau_Ticker *ticker;
    PoolThread *threads; /* the workers, then the seats */
    int thread_count;    /* started */
    pthread_cond_t work; /* to workers: a queue has an entry, or stopping */
    /* -- under the registry's lock -- */
    EntryQueue ready[READY_QUEUES];
    EntryList warm, cold; /* at rest, in the order they came to it */
    TimerHeap timers;
    uint64_t keeper_until_ns; /* a thread waits until then; 0: none does */
    uint64_t trimmed_ns;
    int ended_count; /* guilds shrunk or ended since memory went back to the system */
    int idle_threads;
    int seats_running; /* what they leave is the workers' to end: these stop last */
};

/* ---- Where a guild goes ---- */

static void forget_place_locked(ThreadPool *pool, ThreadEntry *entry)
{
    timerheap_remove(&pool->timers, entry);
    if (entry->place == PLACE_WARM)
        entrylist_remove(&pool->warm, entry);
    else if (entry->place == PLACE_COLD)
        entrylist_remove(&pool->cold, entry);
}

static void make_ready_locked(ThreadPool *pool, ThreadEntry *entry, uint64_t now)
{
    int place = entry->ran_ns == 0             ? READY_NEW
                : entry_goes_first(entry, now) ? READY_LIGHT
                : entry_level(entry, now) < 2  ? READY_MEDIUM
                                               : READY_HEAVY;
    forget_place_locked(pool, entry);
    entry->scheduled = true;
    entryqueue_put(&pool->ready[place], entry);
    if (pool->idle_threads > 0)
        pthread_cond_signal(&pool->work);
}

/* Its VM waits for an instant. */
static void put_timer_locked(ThreadPool *pool, ThreadEntry *entry, bool by_worker)
{
    if (!timerheap_put(&pool->timers, entry)) {
        make_ready_locked(pool, entry, entry->ran_ns); /* no memory: it is asked again and again */
        return;
    }
    /* A worker looks at the timers when its turn is over; others do not. */
    if (!by_worker && pool->idle_threads > 0 &&
        (pool->keeper_until_ns == 0 || entry->due_ns < pool->keeper_until_ns))
        pthread_cond_signal(&pool->work);
}

static void put_idle_locked(PoolThread *self, ThreadEntry *entry)
{
    ThreadPool *pool = self->pool;
    const WorkerOptions *options = pool->registry.options;
    bool ends = options->destroy_idle_ns > 0 && !entry->keeps_store;
    bool early = ends && options->destroy_idle_ns <= options->shrink_idle_ns;
    if (!entry->shrunk && !early)
        entrylist_put(&pool->warm, entry, PLACE_WARM);
    else if (ends)
        entrylist_put(&pool->cold, entry, PLACE_COLD);
    if (self->io && pool->idle_threads > 0 && pool->keeper_until_ns == 0)
        pthread_cond_signal(&pool->work); /* who waits without an end must learn of it */
}

/* Its VM has something to do, now or at some instant. */
static bool has_next(const ThreadEntry *entry)
{
    return entry->ready || entry->due_ns != 0 || entry->answers_last;
}

/* After its turn. */
static void release_locked(PoolThread *self, ThreadEntry *entry)
{
    ThreadPool *pool = self->pool;
    entry->taken = false;
    uint64_t held_until_ns = entry_held_until_ns(entry, self->work.turn.end_ns);
    bool ends = entry->mail_count > 0 && registry_is_stopping(&pool->registry);
    if (entry->parked) {
        bool light = entry->was_trusted && entry->parked_turns <= LIGHT_PARKS;
        entryqueue_put(light ? &self->parked_light : &self->parked, entry);
    } else if (ends) { /* its turn began before that: another one sees to it, not some instant */
        make_ready_locked(pool, entry, self->work.turn.end_ns);
    } else if (held_until_ns != 0 && has_next(entry)) {
        entry->scheduled = false;
        if (entry->due_ns < held_until_ns || entry->answers_last)
            entry->due_ns = held_until_ns;
        put_timer_locked(pool, entry, self->io == NULL);
    } else if (turn_has_more(entry)) {
        make_ready_locked(pool, entry, self->work.turn.end_ns);
    } else {
        entry->scheduled = false;
        if (entry->vm_handle && entry->due_ns != 0)
            put_timer_locked(pool, entry, self->io == NULL);
        else if (entry->vm_handle && entry->quiet)
            put_idle_locked(self, entry);
        else if (!entry->vm_handle)
            registry_ended_locked(&pool->registry, entry);
    }
}

/* ---- Submitting ---- */

static void pool_submit(Strategy *strategy, LuaVmAction *action)
{
    ThreadPool *pool = (ThreadPool *)strategy;
    BASE_ASSERT(action->handle.guild_id != 0);
    ThreadEntry *entry;
    pthread_mutex_lock(&pool->registry.lock);
    bool taken = registry_admit_locked(&pool->registry, action, &entry);
    if (taken && !entry->scheduled)
        make_ready_locked(pool, entry, clock_monotonic_ns());
    pthread_mutex_unlock(&pool->registry.lock);
    if (!taken)
        action->complete(action);
}

/* An answer came for a guild that nobody sees to. One that used too much stands still until then,
 * whatever comes. */
static void wake_answered_locked(ThreadPool *pool, ThreadEntry *entry)
{
    uint64_t now = clock_monotonic_ns();
    uint64_t held_until_ns = entry_held_until_ns(entry, now);
    if (held_until_ns == 0) {
        make_ready_locked(pool, entry, now);
        return;
    }
    forget_place_locked(pool, entry);
    entry->due_ns = held_until_ns;
    put_timer_locked(pool, entry, false);
}

static void pool_answer(Strategy *strategy, KhronosCall *call)
{
    ThreadPool *pool = (ThreadPool *)strategy;
    ThreadEntry *entry;
    pthread_mutex_lock(&pool->registry.lock);
    bool taken = registry_answer_locked(&pool->registry, call, &entry);
    if (taken && !entry->scheduled)
        wake_answered_locked(pool, entry);
    pthread_mutex_unlock(&pool->registry.lock);
    if (!taken)
        call->kind->drop(call);
}

/* ---- A thread that panicked ---- */

static bool start_thread(PoolThread *self);

static bool has_parked(const PoolThread *self)
{
    return self->parked.first || self->parked_light.first;
}

static ThreadEntry *take_parked(PoolThread *self)
{
    ThreadEntry *entry = entryqueue_take(&self->parked_light);
    return entry ? entry : entryqueue_take(&self->parked);
}

/* What is parked on this thread is lost as well; the guilds go on with new VMs. */
static void give_up_parked(PoolThread *self)
{
    for (ThreadEntry *entry; (entry = take_parked(self)) != NULL;) {
        pthread_mutex_lock(&self->pool->registry.lock);
        turn_take_locked(&self->work, entry, TURN_GIVE_UP, NULL);
        pthread_mutex_unlock(&self->pool->registry.lock);
        turn_run(&self->work);
        pthread_mutex_lock(&self->pool->registry.lock);
        release_locked(self, entry);
        pthread_mutex_unlock(&self->pool->registry.lock);
    }
}

/* A fresh thread with fresh fibers takes the place of the calling one, which is to return. False:
 * it is to go on itself, because the server ends, or because there is no other. */
static bool replace_thread(PoolThread *self)
{
    ThreadPool *pool = self->pool;
    workthread_renew(&self->work, FIBERS_KEPT);
    panic_install(NULL); /* the point is the successor's now */
    pthread_mutex_lock(&pool->registry.lock);
    bool replaced = false;
    if (!registry_is_stopping(&pool->registry)) {
        self->former = self->thread;
        self->replaced = true;
        replaced = start_thread(self);
        if (!replaced) {
            self->thread = self->former;
            self->replaced = false;
        }
    }
    pthread_mutex_unlock(&pool->registry.lock);
    if (!replaced)
        panic_install(&self->work.panic);
    return replaced;
}

/* First thing on a thread: who had its place before ends by itself. */
static void begin_thread(PoolThread *self)
{
    panic_install(&self->work.panic);
    pthread_mutex_lock(&self->pool->registry.lock);
    bool replaced = self->replaced;
    pthread_t former = self->former;
    self->replaced = false;
    pthread_mutex_unlock(&self->pool->registry.lock);
    if (replaced)
        pthread_join(former, NULL);
}

/* ---- Seats ---- */

/* The guild, when it is at rest and its action may begin on this seat. */
static ThreadEntry *claim_locked(PoolThread *self, LuaVmAction *action, uint64_t now)
{
    Registry *registry = &self->pool->registry;
    if (atomic_load_explicit(&registry->refusing, memory_order_relaxed)) /* set under the lock */
        return NULL;
    ThreadEntry *entry = registry_find_locked(registry, action->handle.guild_id);
    if (!entry || entry->scheduled || entry->trust <= 0 || !entry_goes_first(entry, now) ||
        !registry_begin_locked(registry, action, entry))
        return NULL;
    forget_place_locked(self->pool, entry);
    entry->scheduled = true;
    turn_take_locked(&self->work, entry, TURN_WORK, action);
    return entry;
}

static WorkerBegun pool_begin(WorkerSeat *seat, LuaVmAction *action)
{
    PoolThread *self = (PoolThread *)seat;
    Registry *registry = &self->pool->registry;
    if (has_parked(self) || self->work.panic.panicked)
        return WORKER_NOT_NOW;
    uint64_t now = clock_monotonic_ns();
    pthread_mutex_lock(&registry->lock);
    ThreadEntry *entry = claim_locked(self, action, now);
    pthread_mutex_unlock(&registry->lock);
    if (!entry)
        return WORKER_NOT_NOW;
    turn_run(&self->work);
    bool done = self->work.turn.begun_done;
    pthread_mutex_lock(&registry->lock);
    release_locked(self, entry);
    pthread_mutex_unlock(&registry->lock);
    return done ? WORKER_DONE : WORKER_RUNS; /* if it runs, it may be done and gone by now */
}

static void take_turn(PoolThread *self, ThreadEntry *entry)
{
    turn_run(&self->work);
    if (self->work.turn.panicked)
        give_up_parked(self);
    pthread_mutex_lock(&self->pool->registry.lock);
    release_locked(self, entry);
    pthread_mutex_unlock(&self->pool->registry.lock);
}

static void end_seat(ThreadPool *pool)
{
    pthread_mutex_lock(&pool->registry.lock);
    pool->seats_running--;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->registry.lock);
}

static void *seat_main(void *arg)
{
    PoolThread *self = arg;
    const WorkerIo *io = &self->pool->registry.options->io;
    begin_thread(self);
    for (;;) {
        bool parked = has_parked(self);
        if (registry_is_stopping(&self->pool->registry) && !parked) {
            end_seat(self->pool);
            return NULL;
        }
        if (io->wait(self->io, parked ? 0 : -1))
            io->serve(self->io);
        ThreadEntry *entry = take_parked(self);
        if (entry && !self->work.panic.panicked) {
            pthread_mutex_lock(&self->pool->registry.lock);
            turn_take_locked(&self->work, entry, TURN_WORK, NULL);
            pthread_mutex_unlock(&self->pool->registry.lock);
            take_turn(self, entry);
        }
        if (self->work.panic.panicked && replace_thread(self))
            return NULL;
    }
}

/* ---- Choosing ---- */

/* The next guild that is not light. Now and then a heavy one goes first, so that those
 * below it cannot keep it waiting for ever. */
static ThreadEntry *take_other_locked(PoolThread *self)
{
    EntryQueue *ready = self->pool->ready;
    int first = self->other_turns++ % LOW_SHARE == 0 ? READY_HEAVY : READY_NEW;
    ThreadEntry *entry = entryqueue_take(&ready[first]);
    for (int place = READY_NEW; !entry && place < READY_QUEUES; place++)
        entry = entryqueue_take(&ready[place]);
    return entry;
}

/* Parked guilds and those of the queues in turn. */
static ThreadEntry *pick_other_locked(PoolThread *self)
{
    ThreadEntry *entry = self->parked_last ? take_other_locked(self) : NULL;
    self->parked_last = !entry && self->parked.first;
    if (!entry)
        entry = entryqueue_take(&self->parked);
    return entry ? entry : take_other_locked(self);
}

static ThreadEntry *pick_locked(PoolThread *self, uint64_t now)
{
    ThreadPool *pool = self->pool;
    ThreadEntry *entry;
    for (int i = 0; i < TIMERS_AT_ONCE && (entry = timerheap_take(&pool->timers, now)); i++)
        make_ready_locked(pool, entry, now);
    self->other_last = false;
    bool light = self->parked_light.first || pool->ready[READY_LIGHT].first;
    bool starving = now - self->other_end_ns > STARVE_NS;
    if (!light || starving) {
        entry = pick_other_locked(self);
        if (entry) {
            self->other_last = true;
            return entry;
        }
    }
    entry = entryqueue_take(&self->parked_light);
    return entry ? entry : entryqueue_take(&pool->ready[READY_LIGHT]);
}

/* A guild that is at rest for long; it counts as scheduled while it is seen to. */
static ThreadEntry *pick_idle_locked(ThreadPool *pool, uint64_t now, TurnJob *job)
{
    const WorkerOptions *options = pool->registry.options;
    ThreadEntry *cold = pool->cold.first, *warm = pool->warm.first, *entry = NULL;
    if (cold && now >= cold->ran_ns + options->destroy_idle_ns) {
        entry = cold;
        *job = TURN_EXPIRE;
    } else if (warm && now >= warm->ran_ns + options->shrink_idle_ns) {
        entry = warm;
        *job = TURN_SHRINK;
    } else {
        return NULL;
    }
    forget_place_locked(pool, entry);
    entry->scheduled = true;
    pool->ended_count++;
    return entry;
}

static bool wants_trim(const ThreadPool *pool)
{
    return pool->ended_count >= TRIM_COUNT ||
           atomic_load_explicit(&pool->registry.freed_bytes, memory_order_relaxed) >= TRIM_BYTES;
}

/* What guilds freed lies in pieces all over the allocator: whole pages of it go back. */
static bool trim(ThreadPool *pool, uint64_t now)
{
    if (!wants_trim(pool) || now - pool->trimmed_ns < TRIM_NS)
        return false;
    pool->ended_count = 0;
    atomic_store_explicit(&pool->registry.freed_bytes, 0, memory_order_relaxed);
    pool->trimmed_ns = now;
    pthread_mutex_unlock(&pool->registry.lock);
    malloc_trim(0);
    pthread_mutex_lock(&pool->registry.lock);
    return true;
}

/* ---- Workers ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* When a waiting thread has something to do at the latest; 0: when it is told. */
static uint64_t deadline_locked(const ThreadPool *pool)
{
    const WorkerOptions *options = pool->registry.options;
    uint64_t until = timerheap_due_ns(&pool->timers);
    if (pool->warm.first)
        until = earlier(until, pool->warm.first->ran_ns + options->shrink_idle_ns);
    if (pool->cold.first)
        until = earlier(until, pool->cold.first->ran_ns + options->destroy_idle_ns);
    if (wants_trim(pool))
        until = earlier(until, pool->trimmed_ns + TRIM_NS);
    return until;
}

static void wait_locked(ThreadPool *pool)
{
    /* (At the end only for what the seats leave, of which they tell.) */
    uint64_t until = registry_is_stopping(&pool->registry) ? 0 : deadline_locked(pool);
    bool keeper = until != 0 && (pool->keeper_until_ns == 0 || until < pool->keeper_until_ns);
    if (keeper)
        pool->keeper_until_ns = until;
    pool->idle_threads++;
    monotonic_wait(&pool->work, &pool->registry.lock, keeper ? until : 0);
    pool->idle_threads--;
    if (keeper && pool->keeper_until_ns == until)
        pool->keeper_until_ns = 0;
}

/* This thread is about to be busy: it looks at the timers when it is back. What is due earlier is
 * another's to wait for. */
static void pass_keeping_locked(ThreadPool *pool, uint64_t now)
{
    if (pool->idle_threads == 0 || pool->keeper_until_ns != 0)
        return;
    uint64_t until = timerheap_due_ns(&pool->timers);
    if (until != 0 && until < now + TURN_NS)
        pthread_cond_signal(&pool->work);
}

/* The next thing to do, taken; NULL: nothing. */
static ThreadEntry *choose_locked(PoolThread *self)
{
    TurnJob job = TURN_WORK;
    ThreadPool *pool = self->pool;
    uint64_t now = clock_monotonic_ns();
    bool stopping = registry_is_stopping(&pool->registry);
    bool idle_first = !stopping && self->turns++ % IDLE_SHARE == 0;
    ThreadEntry *entry = idle_first ? pick_idle_locked(pool, now, &job) : NULL;
    if (!entry)
        entry = pick_locked(self, now);
    if (!entry && !stopping && !idle_first)
        entry = pick_idle_locked(pool, now, &job);
    if (!entry)
        return NULL;
    turn_take_locked(&self->work, entry, job, NULL);
    pass_keeping_locked(pool, now);
    return entry;
}

static void *worker_main(void *arg)
{
    PoolThread *self = arg;
    ThreadPool *pool = self->pool;
    begin_thread(self);
    pthread_mutex_lock(&pool->registry.lock);
    for (;;) {
        ThreadEntry *entry = choose_locked(self);
        if (entry) {
            pthread_mutex_unlock(&pool->registry.lock);
            turn_run(&self->work);
            if (self->other_last)
                self->other_end_ns = self->work.turn.end_ns;
            bool panicked = self->work.turn.panicked;
            if (panicked)
                give_up_parked(self);
            pthread_mutex_lock(&pool->registry.lock);
            release_locked(self, entry);
            if (!panicked)
                continue;
            pthread_mutex_unlock(&pool->registry.lock);
            if (replace_thread(self))
                return NULL;
            pthread_mutex_lock(&pool->registry.lock);
        } else if (registry_is_stopping(&pool->registry) && pool->seats_running == 0) {
            break;
        } else if (!trim(pool, clock_monotonic_ns())) {
            wait_locked(pool);
        }
    }
    pthread_mutex_unlock(&pool->registry.lock);
    return NULL;
}

/* ---- Start and end ---- */

static bool start_thread(PoolThread *self)
{
    return pthread_create(&self->thread, NULL, self->io ? seat_main : worker_main, self) == 0;
}

static bool pool_drain(Strategy *strategy, uint64_t timeout_ns)
{
    return registry_drain(&((ThreadPool *)strategy)->registry, timeout_ns);
}

static void free_pool(ThreadPool *pool, int count)
{
    for (int i = 0; i < count; i++)
        workthread_free(&pool->threads[i].work);
    timerheap_free(&pool->timers);
    registry_free(&pool->registry);
    luau_ticker_free(pool->ticker);
    pthread_cond_destroy(&pool->work);
    free(pool->threads);
    free(pool);
}

/* Guilds that wait for an instant, or for the host, end now as well. */
static void wake_all_locked(ThreadPool *pool)
{
    size_t cursor = 0;
    for (ThreadEntry *entry; (entry = idmap_next(&pool->registry.entries, &cursor)) != NULL;)
        if (!entry->scheduled && entry->mail_count > 0)
            make_ready_locked(pool, entry, clock_monotonic_ns());
    pthread_cond_broadcast(&pool->work);
}

static void end_threads(ThreadPool *pool)
{
    pthread_mutex_lock(&pool->registry.lock);
    atomic_store(&pool->registry.refusing, true);
    atomic_store(&pool->registry.stopping, true);
    wake_all_locked(pool);
    pthread_mutex_unlock(&pool->registry.lock);
    /* From here on no thread is replaced. */
    for (int i = 0; i < pool->thread_count; i++)
        if (pool->threads[i].io)
            pool->registry.options->io.wake(pool->threads[i].io);
    for (int i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i].thread, NULL);
    BASE_ASSERT(atomic_load(&pool->registry.waiting) == 0);
}

static void pool_stop(Strategy *strategy)
{
    ThreadPool *pool = (ThreadPool *)strategy;
    end_threads(pool);
    free_pool(pool, pool->thread_count);
}

static void pool_stats(Strategy *strategy, WorkerStats *stats)
{
    registry_stats(&((ThreadPool *)strategy)->registry, stats);
}

/* All before the first of them runs. */
static bool prepare_threads(ThreadPool *pool, int count)
{
    const WorkerIo *io = &pool->registry.options->io;
    int workers = pool->registry.options->threads;
    for (int i = 0; i < count; i++) {
        PoolThread *thread = &pool->threads[i];
        *thread = (PoolThread){.seat.strategy = &pool->base, .pool = pool, .index = i};
        if (i >= workers && !(thread->io = io->open(io->userdata, i - workers, &thread->seat)))
            return false;
        if (!workthread_init(&thread->work, &pool->registry, pool->ticker, FIBERS_KEPT))
            return false;
    }
    return true;
}

static bool start_threads(ThreadPool *pool, int count)
{
    bool started = true;
    pthread_mutex_lock(&pool->registry.lock); /* their own ids are theirs to read */
    while (started && pool->thread_count < count) {
        PoolThread *thread = &pool->threads[pool->thread_count];
        started = start_thread(thread);
        pool->thread_count += started;
        pool->seats_running += started && thread->io;
    }
    pthread_mutex_unlock(&pool->registry.lock);
    return started;
}

Strategy *thread_pool_new(const WorkerOptions *options, char *error, size_t error_size)
{
    static const StrategyOps ops = {pool_submit, pool_begin, pool_answer,
                                    pool_drain,  pool_stop,  pool_stats};
    int count = options->io.open ? 2 * options->threads : options->threads;
    ThreadPool *pool = calloc(1, sizeof(*pool));
    PoolThread *threads = calloc((size_t)count, sizeof(*threads));
    luau_Ticker *ticker = luau_ticker_new(TICK_US);
    if (!pool || !threads || !ticker) {
        snprintf(error, error_size, "not enough memory for the worker threads");
        luau_ticker_free(ticker);
        free(threads);
        free(pool);
        return NULL;
    }
    pool->base.ops = &ops;
    pool->ticker = ticker;
    pool->threads = threads;
    registry_init(&pool->registry, options);
    monotonic_cond_init(&pool->work);
    if (prepare_threads(pool, count) && start_threads(pool, count))
        return &pool->base;
    snprintf(error, error_size, "cannot start the worker threads");
    end_threads(pool);
    free_pool(pool, count);
    return NULL;
}
