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
    idmap_init(&registry->ended_map, random_u64());
    registry->ended = calloc(ENDED_MAX, sizeof(EndedGuild));
    init_lock(&registry->lock);
    monotonic_cond_init(&registry->drained);
}

void registry_free(Registry *registry)
{
    size_t cursor = 0;
    for (ThreadEntry *entry; (entry = idmap_next(&registry->entries, &cursor)) != NULL;) {
        calls_drop_all(entry_answers_take(entry));
        if (entry->vm_handle) {
            registry_set_state(registry, entry, VM_DESTROYING, VM_NOT_BROKEN, NULL);
            registry->ops->free(entry->vm_handle);
            entry->vm_handle = NULL;
            registry_set_state(registry, entry, VM_BROKEN, VM_EXPLICIT_DESTROY, NULL);
        }
        entry_free(entry);
    }
    idmap_free(&registry->entries);
    idmap_free(&registry->ended_map);
    free(registry->ended);
    pthread_cond_destroy(&registry->drained);
    pthread_mutex_destroy(&registry->lock);
}

/* ---- Guilds that ended ---- */

static void forget_locked(Registry *registry, EndedGuild *ended)
{
    if (ended->guild_id == 0)
        return;
    if (registry->generation_floor < ended->generation)
        registry->generation_floor = ended->generation;
    idmap_remove(&registry->ended_map, ended->guild_id);
    ended->guild_id = 0;
}

static void remember_locked(Registry *registry, const ThreadEntry *entry)
{
    EndedGuild last = {
        .guild_id = entry->guild_id,
        .generation = entry->generation,
        .executions = entry->executions,
        .cpu_ns = entry->cpu_ns,
        .task_errors = entry->task_errors,
        .ran_ns = entry->ran_ns,
        .usage_ns = entry->usage_ns,
        .usage_at_ns = entry->usage_at_ns,
        .trust = entry->trust,
        .state = entry->state,
        .reason = entry->reason,
    };
    EndedGuild *ended = registry->ended ? &registry->ended[registry->ended_next] : NULL;
    if (ended) {
        forget_locked(registry, ended);
        *ended = last;
        registry->ended_next = (registry->ended_next + 1) % ENDED_MAX;
        if (idmap_put(&registry->ended_map, last.guild_id, ended))
            return;
        ended->guild_id = 0;
    }
    if (registry->generation_floor < last.generation)
        registry->generation_floor = last.generation;
}

/* The guild is back. */
static void recall_locked(Registry *registry, ThreadEntry *entry)
{
    EndedGuild *ended = idmap_remove(&registry->ended_map, entry->guild_id);
    if (!ended) {
        entry->generation = registry->generation_floor;
        return;
    }
    entry->generation = ended->generation;
    entry->executions = ended->executions;
    entry->cpu_ns = ended->cpu_ns;
    entry->task_errors = ended->task_errors;
    entry->ran_ns = ended->ran_ns;
    entry->usage_ns = ended->usage_ns;
    entry->usage_at_ns = ended->usage_at_ns;
    entry->trust = ended->trust;
    entry->state = ended->state;
    entry->reason = ended->reason;
    ended->guild_id = 0;
}

void registry_fill_ended_locked(const Registry *registry, uint64_t guild_id, VmInfo *info)
{
    const EndedGuild *ended = idmap_get(&registry->ended_map, guild_id);
    *info = (VmInfo){.limits = registry->options->limits};
    if (!ended)
        return;
    info->state = ended->state;
    info->reason = ended->reason;
    info->generation = ended->generation;
    info->executions = ended->executions;
    info->cpu_ns = ended->cpu_ns;
    info->task_errors = ended->task_errors;
    info->last_run_ns = ended->ran_ns;
}

/* ---- Entries ---- */

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
    if (!idmap_put(&registry->entries, guild_id, entry)) {
        entry_free(entry);
        return NULL;
    }
    recall_locked(registry, entry);
    return entry;
}

static void remove_locked(Registry *registry, ThreadEntry *entry)
{
    if (entry->state != VM_NONE)
        remember_locked(registry, entry);
    idmap_remove(&registry->entries, entry->guild_id);
    entry_free(entry);
}

static bool has_history(const Registry *registry, const ThreadEntry *entry, uint64_t now_ns)
{
    return entry->extra && !pause_forgotten(&entry->extra->history, registry->options, now_ns);
}

void registry_ended_locked(Registry *registry, ThreadEntry *entry)
{
    const EntryExtra *extra = entry->extra;
    uint64_t now_ns = clock_monotonic_ns();
    if (extra && (extra->has_limits || extra->panic_creation || extra->panic_dispatch))
        return;
    if (has_history(registry, entry, now_ns))
        entrylist_put(&registry->fading, entry, PLACE_FADING);
    else
        remove_locked(registry, entry);
    /* Two at most: more of them go each time than come. */
    for (int i = 0; i < 2; i++) {
        ThreadEntry *oldest = registry->fading.first;
        if (!oldest || has_history(registry, oldest, now_ns))
            return;
        entrylist_remove(&registry->fading, oldest);
        remove_locked(registry, oldest);
    }
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
    if (state == VM_INITIALIZING)
        entry->former_reason = entry->reason;
    entry->state = (uint8_t)state;
    entry->reason = (uint8_t)reason;
    VmHandle vm = {entry->guild_id, entry->generation};
    bool is_new = state == VM_INITIALIZING || state == VM_HEALTHY;
    VmBrokenReason told = is_new ? (VmBrokenReason)entry->former_reason : reason;
    pthread_mutex_unlock(&registry->lock);

    const char *of = reason == VM_NOT_BROKEN ? "" : vm_reason_name(reason);
    log_message(level_of(state, reason), "guild %" PRIu64 ", VM %" PRIu64 ": %s%s%s%s%s%s",
                vm.guild_id, vm.generation, vm_state_name(state), *of ? " (" : "", of,
                *of ? ")" : "", detail ? ": " : "", detail ? detail : "");
    if (pause_ns)
        log_message(LOG_WARN,
                    "guild %" PRIu64 " is paused for %" PRIu64 " ms: its VMs broke more "
                    "than %d times lately",
                    vm.guild_id, pause_ns / CLOCK_NS_PER_MS, registry->options->broken_max);
    const WorkerObserver *observer = &registry->options->observer;
    if (observer->state)
        observer->state(observer->userdata, vm, state, told);
}

void registry_fill_info(const Registry *registry, const ThreadEntry *entry, VmInfo *info)
{
    *info = (VmInfo){.limits = *entry_limits(entry, &registry->options->limits)};
    info->state = entry->state;
    info->reason = entry->reason;
    info->generation = entry->generation;
    info->executions = entry->executions;
    info->cpu_ns = entry->cpu_ns;
    info->task_errors = entry->task_errors;
    info->last_run_ns = entry->ran_ns;
    info->mail = entry->mail_count;
    if (entry->vm_handle) {
        info->tasks = registry->ops->tasks(entry->vm_handle);
        info->task_errors += registry->ops->task_errors(entry->vm_handle);
        registry->ops->account(entry->vm_handle, &info->account);
        info->cpu_ns += info->account.cpu_ns;
    }
}

/* ---- Completing ---- */

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
    stats->guilds = registry->entries.count + registry->ended_map.count;
    stats->waiting = atomic_load(&registry->waiting);
    pthread_mutex_unlock(&registry->lock);
}
