#include "worker/registry.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"

/* The lock is held for less time than falling asleep takes: waiters spin a little first. */
static void init_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

void monotonic_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

void monotonic_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_ns)
{
    if (until_ns == 0) {
        pthread_cond_wait(cond, lock);
        return;
    }
    struct timespec time = {.tv_sec = (time_t)(until_ns / CLOCK_NS_PER_S),
                            .tv_nsec = (long)(until_ns % CLOCK_NS_PER_S)};
    pthread_cond_timedwait(cond, lock, &time);
}

void registry_init(Registry *registry, const WorkerOptions *options)
{
    *registry = (Registry){.options = options, .ops = options->vm_ops};
    idmap_init(&registry->entries, random_u64());
    init_lock(&registry->lock);
    monotonic_cond_init(&registry->drained);
}

void registry_free(Registry *registry)
{
    size_t cursor = 0;
    for (ThreadEntry *entry; (entry = idmap_next(&registry->entries, &cursor)) != NULL;) {
        if (entry->vm_handle)
            registry->ops->free(entry->vm_handle);
        entry->vm_handle = NULL;
        entry_free(entry);
    }
    idmap_free(&registry->entries);
    pthread_cond_destroy(&registry->drained);
    pthread_mutex_destroy(&registry->lock);
}

/* ---- Who is known ---- */

ThreadEntry *registry_find_locked(Registry *registry, uint64_t guild_id)
{
    return idmap_get(&registry->entries, guild_id);
}

ThreadEntry *registry_ensure_locked(Registry *registry, uint64_t guild_id)
{
    ThreadEntry *entry = idmap_get(&registry->entries, guild_id);
    if (entry)
        return entry;
    entry = entry_new(guild_id);
    if (!entry)
        return NULL;
    entry->generation = registry->generation_floor;
    if (!idmap_put(&registry->entries, guild_id, entry)) {
        entry_free(entry);
        return NULL;
    }
    return entry;
}

static void forget_locked(Registry *registry, ThreadEntry *entry)
{
    if (registry->generation_floor < entry->generation)
        registry->generation_floor = entry->generation;
    idmap_remove(&registry->entries, entry->guild_id);
    entry_free(entry);
}

static bool has_history(const Registry *registry, const ThreadEntry *entry, uint64_t now_ns)
{
    return entry->extra && !pause_forgotten(&entry->extra->history, registry->options, now_ns);
}

/* Forgets the oldest; two at a time at most, so that those whose history keeps them cost little. */
static void forget_some_locked(Registry *registry)
{
    uint64_t now_ns = clock_monotonic_ns();
    for (int i = 0; i < 2 && registry->ended.count > ENDED_MAX; i++) {
        ThreadEntry *oldest = registry->ended.first;
        entrylist_remove(&registry->ended, oldest);
        if (has_history(registry, oldest, now_ns))
            entrylist_put(&registry->ended, oldest, PLACE_ENDED);
        else
            forget_locked(registry, oldest);
    }
}

void registry_ended_locked(Registry *registry, ThreadEntry *entry)
{
    EntryExtra *extra = entry->extra;
    if (extra && (extra->has_limits || extra->panic_creation || extra->panic_dispatch))
        return;
    if (extra && !has_history(registry, entry, clock_monotonic_ns())) {
        free(extra);
        entry->extra = extra = NULL;
    }
    if (entry->state == VM_NONE && !extra) {
        forget_locked(registry, entry);
        return;
    }
    entrylist_put(&registry->ended, entry, PLACE_ENDED);
    forget_some_locked(registry);
}

/* ---- States ---- */

static bool is_alive(VmState state)
{
    return state == VM_HEALTHY || state == VM_DESTROYING;
}

/* The VM's own doing, or that of the thread that ran it. */
static bool is_mishap(VmBrokenReason reason)
{
    return reason != VM_NOT_BROKEN && reason != VM_EXPLICIT_DESTROY;
}

static uint64_t note_mishap_locked(Registry *registry, ThreadEntry *entry)
{
    EntryExtra *extra = entry_extra(entry);
    return extra ? pause_note(&extra->history, registry->options, clock_monotonic_ns()) : 0;
}

static LogLevel level_of(VmState state, VmBrokenReason reason)
{
    if (state != VM_BROKEN || reason == VM_EXPLICIT_DESTROY)
        return LOG_DEBUG;
    return reason == VM_MEMORY_LIMIT_EXCEEDED || reason == VM_EXECUTION_TIMEOUT ? LOG_WARN
                                                                                : LOG_ERROR;
}

void registry_set_state(Registry *registry, ThreadEntry *entry, VmState state,
                        VmBrokenReason reason, const char *detail)
{
    uint64_t pause_ns = 0;
    pthread_mutex_lock(&registry->lock);
    registry->stats.vms += (uint64_t)is_alive(state) - (uint64_t)is_alive(entry->state);
    registry->stats.created += state == VM_HEALTHY;
    registry->stats.broken[reason] += state == VM_BROKEN;
    entry->generation += state == VM_INITIALIZING;
    if (state == VM_BROKEN && is_mishap(reason) && is_alive(entry->state))
        pause_ns = note_mishap_locked(registry, entry);
    entry->state = (uint8_t)state;
    entry->reason = (uint8_t)reason;
    VmHandle vm = {entry->guild_id, entry->generation};
    pthread_mutex_unlock(&registry->lock);

    const char *of = reason == VM_NOT_BROKEN ? "" : vm_reason_name(reason);
    log_message(level_of(state, reason), "guild %" PRIu64 ", VM %" PRIu64 ": %s%s%s%s%s%s",
                vm.guild_id, vm.generation, vm_state_name(state), *of ? " (" : "", of,
                *of ? ")" : "", detail ? ": " : "", detail ? detail : "");
    if (pause_ns)
        log_message(LOG_WARN, "guild %" PRIu64 " is paused for %" PRIu64 " ms: its VMs broke more "
                    "than %d times lately", vm.guild_id, pause_ns / CLOCK_NS_PER_MS,
                    registry->options->broken_max);
    const WorkerObserver *observer = &registry->options->observer;
    if (observer->state)
        observer->state(observer->userdata, vm, state, reason);
}

void registry_fill_info(const Registry *registry, const ThreadEntry *entry, VmInfo *info)
{
    *info = (VmInfo){.limits = *entry_limits(entry, &registry->options->limits)};
    if (!entry)
        return;
    info->state = entry->state;
    info->reason = entry->reason;
    info->generation = entry->generation;
    info->executions = entry->executions;
    info->cpu_ns = entry->cpu_ns;
    info->last_run_ns = entry->ran_ns;
    info->mail = entry->mail_count;
    if (entry->vm_handle) {
        info->tasks = registry->ops->tasks(entry->vm_handle);
        registry->ops->account(entry->vm_handle, &info->account);
        info->cpu_ns += info->account.cpu_ns;
    }
}

/* ---- Completing ---- */

void action_complete(LuaVmAction *action, VmActionOutcome outcome)
{
    action->outcome = outcome;
    action->complete(action);
}

void registry_done(Registry *registry, uint64_t count)
{
    /* Either this thread sees that somebody drains, or that one sees the count: both write first
     * and then read, sequentially consistent. */
    if (count == 0 || atomic_fetch_sub(&registry->waiting, count) != count ||
        !atomic_load(&registry->refusing))
        return;
    pthread_mutex_lock(&registry->lock);
    pthread_cond_broadcast(&registry->drained);
    pthread_mutex_unlock(&registry->lock);
}

bool registry_is_stopping(const Registry *registry)
{
    /* Relaxed: who sets it wakes everyone through something that synchronises. */
    return atomic_load_explicit(&registry->stopping, memory_order_relaxed);
}

bool registry_drain(Registry *registry, uint64_t timeout_ns)
{
    uint64_t until_ns = clock_monotonic_ns() + timeout_ns;
    pthread_mutex_lock(&registry->lock);
    atomic_store(&registry->refusing, true);
    while (atomic_load(&registry->waiting) > 0 && clock_monotonic_ns() < until_ns)
        monotonic_wait(&registry->drained, &registry->lock, until_ns);
    bool empty = atomic_load(&registry->waiting) == 0;
    pthread_mutex_unlock(&registry->lock);
    return empty;
}

void registry_stats(Registry *registry, WorkerStats *stats)
{
    pthread_mutex_lock(&registry->lock);
    *stats = registry->stats;
    stats->guilds = registry->entries.count;
    stats->waiting = atomic_load(&registry->waiting);
    pthread_mutex_unlock(&registry->lock);
}
