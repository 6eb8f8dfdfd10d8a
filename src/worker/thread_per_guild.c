/* The thread-per-guild strategy: each guild has a thread of its own, from its first mail until its
 * VM is gone and its mailbox empty. The operating system decides who runs when, with one rule of
 * ours: of the guilds that used much lately only as many have a turn at a time as there are
 * processors, each for a slice; the others stand at a gate, first come first served. Guilds that
 * used little pass it by, so that a short event competes with a few busy threads and not with
 * hundreds. For few guilds that do much; thread-pool is for many.
 *
 * Registry, entries and turns are those of the thread-pool. The thread has the entry between its
 * turns too, but looks after it only inside them: at rest, VM and entry are under the lock.
 *
 * A thread that ended is joined by the next one that ends, or by stop. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "worker/strategy.h"
#include "worker/turn.h"

enum { TICK_US = 500, FIBERS_KEPT = 1, FULL_RETRY_MS = 1000 };

typedef struct ThreadPerGuild ThreadPerGuild;

typedef struct GuildThread {
    WorkThread work;
    ThreadPerGuild *strategy;
    ThreadEntry *entry;
    pthread_t thread;
    pthread_cond_t work_came; /* or the gate opened */
    struct GuildThread *ended_next;
    struct GuildThread *gate_next;
    bool admitted; /* through the gate */
    bool leaving;  /* another guild needs the place: its idle VM ends now */
} GuildThread;

/* Serves only. */
typedef struct ServingThread {
    WorkerSeat seat;
    ThreadPerGuild *strategy;
    void *io;
    pthread_t thread;
} ServingThread;

struct ThreadPerGuild {
    Strategy base;
    Registry registry;
    luau_Ticker *ticker;
    ServingThread *serving;
    int serving_count; /* started */
    /* -- under the registry's lock -- */
    pthread_cond_t all_ended; /* to stop: threads became 0 */
    GuildThread *ended;       /* to be joined */
    int threads;              /* which did not end yet */
    GuildThread *gate_first, *gate_last;
    int admitted; /* guilds that have a turn and came through the gate */
};

static void *guild_main(void *arg);

/* ---- Threads come and go ---- */

/* Nothing is lost with its VM but what its templates keep in globals. */
static bool is_idle(const ThreadEntry *entry)
{
    return entry->vm_handle && entry->quiet && !entry->keeps_store && entry->due_ns == 0 &&
           !entry->answers_last;
}

/* The guild that is idle for longest makes room. False: all have something to do. */
static bool evict_locked(ThreadPerGuild *strategy)
{
    size_t cursor = 0;
    ThreadEntry *longest = NULL;
    for (ThreadEntry *entry; (entry = idmap_next(&strategy->registry.entries, &cursor)) != NULL;)
        if (entry->thread && !((GuildThread *)entry->thread)->leaving && !entry->scheduled &&
            is_idle(entry) && (!longest || entry->ran_ns < longest->ran_ns))
            longest = entry;
    if (!longest)
        return false;
    GuildThread *thread = longest->thread;
    thread->leaving = true;
    pthread_cond_signal(&thread->work_came);
    return true;
}

/* The entry gets a thread. False: there are as many as may be, or no memory. (One that was asked to
 * leave may be there for a moment longer.) */
static bool start_locked(ThreadPerGuild *strategy, ThreadEntry *entry)
{
    if (strategy->threads >= strategy->registry.options->guild_threads_max &&
        !evict_locked(strategy))
        return false;
    GuildThread *thread = calloc(1, sizeof(*thread));
    if (!thread)
        return false;
    thread->strategy = strategy;
    thread->entry = entry;
    if (!workthread_init(&thread->work, &strategy->registry, strategy->ticker, FIBERS_KEPT))
        goto no_fibers;
    monotonic_cond_init(&thread->work_came);
    if (pthread_create(&thread->thread, NULL, guild_main, thread) != 0)
        goto no_thread;
    entry->thread = thread;
    strategy->threads++;
    return true;

no_thread:
    pthread_cond_destroy(&thread->work_came);
    workthread_free(&thread->work);
no_fibers:
    free(thread);
    return false;
}

static void join_all(GuildThread *ended)
{
    while (ended) {
        GuildThread *thread = ended;
        ended = thread->ended_next;
        pthread_join(thread->thread, NULL);
        pthread_cond_destroy(&thread->work_came);
        workthread_free(&thread->work);
        free(thread);
    }
}

/* The calling thread is about to return. Those that ended before are the caller's to join. */
static GuildThread *end_locked(GuildThread *self)
{
    ThreadPerGuild *strategy = self->strategy;
    GuildThread *former = strategy->ended;
    self->ended_next = NULL;
    strategy->ended = self;
    if (--strategy->threads == 0)
        pthread_cond_signal(&strategy->all_ended);
    return former;
}

/* ---- Submitting ---- */

static void wake_locked(ThreadEntry *entry)
{
    entry->scheduled = true;
    pthread_cond_signal(&((GuildThread *)entry->thread)->work_came);
}

/* The guild has no thread, and will have none now: its mail goes back. */
static void refuse_locked(Registry *registry, ThreadEntry *entry, LuaVmAction *action)
{
    LuaVmAction *mail = entry_mail_take(entry);
    BASE_ASSERT(mail == action && !entry->mail_first);
    entry->mail_count--;
    atomic_fetch_sub(&registry->waiting, 1);
    registry->stats.refused++;
    registry_ended_locked(registry, entry);
    action->outcome = VM_ACTION_QUEUE_FULL;
    action->retry_after_ms = FULL_RETRY_MS;
}

static void guild_submit(Strategy *base, LuaVmAction *action)
{
    ThreadPerGuild *strategy = (ThreadPerGuild *)base;
    BASE_ASSERT(action->handle.guild_id != 0);
    ThreadEntry *entry;
    pthread_mutex_lock(&strategy->registry.lock);
    bool taken = registry_admit_locked(&strategy->registry, action, &entry);
    if (taken && !entry->thread && !start_locked(strategy, entry)) {
        refuse_locked(&strategy->registry, entry, action);
        taken = false;
    }
    if (taken && !entry->scheduled)
        wake_locked(entry);
    pthread_mutex_unlock(&strategy->registry.lock);
    if (!taken)
        action->complete(action);
}

static void guild_answer(Strategy *base, KhronosCall *call)
{
    ThreadPerGuild *strategy = (ThreadPerGuild *)base;
    ThreadEntry *entry;
    pthread_mutex_lock(&strategy->registry.lock);
    bool taken = registry_answer_locked(&strategy->registry, call, &entry);
    if (taken && !entry->scheduled)
        wake_locked(entry);
    pthread_mutex_unlock(&strategy->registry.lock);
    if (!taken)
        call->kind->drop(call);
}

static WorkerBegun guild_begin(WorkerSeat *seat, LuaVmAction *action)
{
    (void)seat;
    (void)action;
    return WORKER_NOT_NOW;
}

/* ---- The gate ---- */

static void open_gate_locked(ThreadPerGuild *strategy)
{
    bool stopping = registry_is_stopping(&strategy->registry);
    while (strategy->gate_first &&
           (stopping || strategy->admitted < strategy->registry.options->threads)) {
        GuildThread *first = strategy->gate_first;
        strategy->gate_first = first->gate_next;
        if (!strategy->gate_first)
            strategy->gate_last = NULL;
        first->gate_next = NULL;
        first->admitted = true;
        strategy->admitted++;
        pthread_cond_signal(&first->work_came);
    }
}

static void enter_gate_locked(GuildThread *self)
{
    ThreadPerGuild *strategy = self->strategy;
    if (entry_goes_first(self->entry, clock_monotonic_ns()))
        return;
    if (strategy->gate_last)
        strategy->gate_last->gate_next = self;
    else
        strategy->gate_first = self;
    strategy->gate_last = self;
    open_gate_locked(strategy);
    while (!self->admitted)
        pthread_cond_wait(&self->work_came, &strategy->registry.lock);
}

static void leave_gate_locked(GuildThread *self)
{
    if (!self->admitted)
        return;
    self->admitted = false;
    self->strategy->admitted--;
    open_gate_locked(self->strategy);
}

/* ---- A guild's thread ---- */

static void turn(GuildThread *self, TurnJob job)
{
    Registry *registry = &self->strategy->registry;
    self->entry->scheduled = true;
    enter_gate_locked(self);
    turn_take_locked(&self->work, self->entry, job, NULL);
    pthread_mutex_unlock(&registry->lock);
    turn_run(&self->work);
    pthread_mutex_lock(&registry->lock);
    leave_gate_locked(self);
    self->entry->taken = false;
    self->entry->scheduled = self->entry->parked || turn_has_more(self->entry);
}

/* When the guild has something to do if nothing comes; 0: never. */
static uint64_t next_ns(const GuildThread *self, TurnJob *job)
{
    const WorkerOptions *options = self->strategy->registry.options;
    const ThreadEntry *entry = self->entry;
    uint64_t held_until_ns = entry_held_until_ns(entry, clock_monotonic_ns());
    *job = TURN_WORK;
    if (held_until_ns != 0 && entry->answers_last)
        return held_until_ns;
    if (held_until_ns != 0 && (entry->ready || entry->due_ns != 0))
        return entry->due_ns > held_until_ns ? entry->due_ns : held_until_ns;
    if (entry->due_ns != 0 || !entry->quiet)
        return entry->due_ns;
    bool expires = options->destroy_idle_ns > 0 && !entry->keeps_store;
    bool early = expires && options->destroy_idle_ns <= options->shrink_idle_ns;
    if (!entry->shrunk && !early) {
        *job = TURN_SHRINK;
        return entry->ran_ns + options->shrink_idle_ns;
    }
    *job = TURN_EXPIRE;
    return expires ? entry->ran_ns + options->destroy_idle_ns : 0;
}

/* Waits, or does what is to be done now. */
static void wait_or_turn(GuildThread *self)
{
    TurnJob job;
    uint64_t until = next_ns(self, &job);
    if (self->leaving && is_idle(self->entry)) {
        turn(self, TURN_EXPIRE);
        return;
    }
    self->leaving = false; /* it got something to do in between */
    if (until != 0 && clock_monotonic_ns() >= until) {
        turn(self, job);
        return;
    }
    self->entry->scheduled =
        false; /* also if it has more to do, and stands still: who comes wakes */
    monotonic_wait(&self->work_came, &self->strategy->registry.lock, until);
}

/* After a panic: a guild that has mail gets another thread. False: there is none to be had. */
static bool hand_over_locked(GuildThread *self)
{
    ThreadPerGuild *strategy = self->strategy;
    ThreadEntry *entry = self->entry;
    if (registry_is_stopping(&strategy->registry))
        return false;
    strategy->threads--; /* this one ends: its successor takes its place */
    bool started = start_locked(strategy, entry);
    strategy->threads++;
    return started;
}

static bool has_ended(const ThreadEntry *entry)
{
    return !entry->vm_handle && !entry->mail_first && !entry->control_first && !entry->answers_last;
}

static void *guild_main(void *arg)
{
    GuildThread *self = arg;
    ThreadEntry *entry = self->entry;
    Registry *registry = &self->strategy->registry;
    bool handed_over = false;
    panic_install(&self->work.panic);
    pthread_mutex_lock(&registry->lock);
    while (!has_ended(entry) && !handed_over) {
        bool held = entry_held_until_ns(entry, clock_monotonic_ns()) != 0;
        if (entry->parked || (turn_has_more(entry) && !held) || registry_is_stopping(registry))
            turn(self, TURN_WORK);
        else
            wait_or_turn(self);
        if (!self->work.panic.panicked)
            continue;
        handed_over = !has_ended(entry) && hand_over_locked(self);
        if (!handed_over) {
            pthread_mutex_unlock(&registry->lock);
            workthread_renew(&self->work, FIBERS_KEPT);
            pthread_mutex_lock(&registry->lock);
        }
    }
    if (!handed_over) {
        entry->thread = NULL;
        entry->scheduled = false;
        registry_ended_locked(registry, entry);
    }
    GuildThread *former = end_locked(self);
    pthread_mutex_unlock(&registry->lock);
    join_all(former);
    return NULL;
}

/* ---- Seats ---- */

static void *serving_main(void *arg)
{
    ServingThread *self = arg;
    const WorkerIo *io = &self->strategy->registry.options->io;
    while (!registry_is_stopping(&self->strategy->registry))
        if (io->wait(self->io, -1))
            io->serve(self->io);
    return NULL;
}

/* ---- Start and end ---- */

static bool guild_drain(Strategy *base, uint64_t timeout_ns)
{
    return registry_drain(&((ThreadPerGuild *)base)->registry, timeout_ns);
}

static void end_guilds(ThreadPerGuild *strategy)
{
    Registry *registry = &strategy->registry;
    pthread_mutex_lock(&registry->lock);
    atomic_store(&registry->refusing, true);
    atomic_store(&registry->stopping, true);
    size_t cursor = 0;
    for (ThreadEntry *entry; (entry = idmap_next(&registry->entries, &cursor)) != NULL;)
        if (entry->thread)
            wake_locked(entry);
    open_gate_locked(strategy);
    while (strategy->threads > 0)
        pthread_cond_wait(&strategy->all_ended, &registry->lock);
    GuildThread *ended = strategy->ended;
    strategy->ended = NULL;
    pthread_mutex_unlock(&registry->lock);
    join_all(ended);
}

static void guild_stop(Strategy *base)
{
    ThreadPerGuild *strategy = (ThreadPerGuild *)base;
    Registry *registry = &strategy->registry;
    end_guilds(strategy);
    for (int i = 0; i < strategy->serving_count; i++)
        registry->options->io.wake(strategy->serving[i].io);
    for (int i = 0; i < strategy->serving_count; i++)
        pthread_join(strategy->serving[i].thread, NULL);
    BASE_ASSERT(atomic_load(&registry->waiting) == 0);
    registry_free(registry);
    luau_ticker_free(strategy->ticker);
    pthread_cond_destroy(&strategy->all_ended);
    free(strategy->serving);
    free(strategy);
}

static void guild_stats(Strategy *base, WorkerStats *stats)
{
    registry_stats(&((ThreadPerGuild *)base)->registry, stats);
}

static bool start_serving(ThreadPerGuild *strategy, int count)
{
    const WorkerIo *io = &strategy->registry.options->io;
    for (int i = 0; i < count; i++) {
        ServingThread *thread = &strategy->serving[i];
        *thread = (ServingThread){.seat.strategy = &strategy->base, .strategy = strategy};
        thread->io = io->open(io->userdata, i, &thread->seat);
        if (!thread->io)
            return false;
    }
    for (int i = 0; i < count; i++, strategy->serving_count++) {
        ServingThread *thread = &strategy->serving[i];
        if (pthread_create(&thread->thread, NULL, serving_main, thread) != 0)
            return false;
    }
    return true;
}

Strategy *thread_per_guild_new(const WorkerOptions *options, char *error, size_t error_size)
{
    static const StrategyOps ops = {guild_submit, guild_begin, guild_answer,
                                    guild_drain,  guild_stop,  guild_stats};
    int count = options->io.open ? options->threads : 0;
    ThreadPerGuild *strategy = calloc(1, sizeof(*strategy));
    ServingThread *serving = calloc((size_t)count + 1, sizeof(*serving));
    luau_Ticker *ticker = luau_ticker_new(TICK_US);
    if (!strategy || !serving || !ticker) {
        snprintf(error, error_size, "not enough memory for the worker");
        luau_ticker_free(ticker);
        free(serving);
        free(strategy);
        return NULL;
    }
    strategy->base.ops = &ops;
    strategy->ticker = ticker;
    strategy->serving = serving;
    registry_init(&strategy->registry, options);
    monotonic_cond_init(&strategy->all_ended);
    if (start_serving(strategy, count))
        return &strategy->base;
    snprintf(error, error_size, "cannot start the threads that serve");
    guild_stop(&strategy->base);
    return NULL;
}
