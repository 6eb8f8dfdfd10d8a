/* registry.h: which guilds there are and what state their VMs are in; the one lock of a strategy.
 *
 * The lock is held for a few instructions and never while a guild's code, a completion or an
 * observer runs. Functions that end in _locked want it held; the others want it not held.
 *
 * A guild has an entry while it has a VM, mail, limits of its own or a history of broken VMs. Of
 * the others those that ended last are remembered (ENDED_MAX), so that one can ask what became of
 * them; the rest is forgotten, and costs nothing. What is remembered lies together, apart from the
 * entries: these are freed at once, so that the last of a million guilds do not each keep a page of
 * memory that a thousand had shared. */
#ifndef WORKER_REGISTRY_H
#define WORKER_REGISTRY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/idmap.h"
#include "worker/thread_entry.h"

enum { ENDED_MAX = 4096 };

/* What is remembered of a guild that ended: see the fields of ThreadEntry. */
typedef struct EndedGuild {
    uint64_t guild_id; /* 0: nobody */
    uint64_t generation, executions, cpu_ns, task_errors, ran_ns, usage_ns, usage_at_ns;
    int trust;
    uint8_t state, reason;
} EndedGuild;

typedef struct Registry {
    const WorkerOptions *options;
    const VmOps *ops;
    pthread_mutex_t lock;
    pthread_cond_t drained; /* to drain: waiting became 0 */
    /* -- under the lock -- */
    IdMap entries;
    EntryList fading;  /* ended, with a history; in the order in which they ended */
    EndedGuild *ended; /* ENDED_MAX, the next to be overwritten at ended_next; NULL: no memory */
    int ended_next;
    IdMap ended_map;
    uint64_t
        generation_floor; /* no forgotten guild had a later one: handles never fit another VM */
    WorkerStats stats;    /* but `waiting` */
    /* -- written under the lock -- */
    atomic_bool refusing; /* new actions */
    atomic_bool stopping; /* what runs is stopped, threads end */
    /* -- */
    atomic_ullong waiting; /* actions taken and not completed */
    /* By VMs that ended, since memory went back to the system. Relaxed: a mere amount. */
    atomic_size_t freed_bytes;
} Registry;

void registry_init(Registry *registry, const WorkerOptions *options);
/* Frees the entries; VMs that are at rest are destroyed. No thread is left. */
void registry_free(Registry *registry);

ThreadEntry *registry_find_locked(Registry *registry, uint64_t guild_id);   /* NULL: no entry */
ThreadEntry *registry_ensure_locked(Registry *registry, uint64_t guild_id); /* NULL: no memory */
/* The guild has neither VM nor mail: remembers or forgets it. The entry is gone afterwards, as a
 * rule. */
void registry_ended_locked(Registry *registry, ThreadEntry *entry);

/* Takes an action for its guild. True: it stands in the mailbox of *entry, who must get a turn.
 * False: action->outcome is set, and the caller completes it. */
bool registry_admit_locked(Registry *registry, LuaVmAction *action, ThreadEntry **entry);
/* May a seat begin the action at once? Then it counts as taken, and is not in the mailbox. */
bool registry_begin_locked(Registry *registry, LuaVmAction *action, ThreadEntry *entry);
/* Takes an answer for its guild's VM. True: *entry must get a turn. False: there is no VM that
 * could want it, and the caller drops it. */
bool registry_answer_locked(Registry *registry, KhronosCall *call, ThreadEntry **entry);
/* How long the guild's pause lasts that the action must wait for; 0: none. */
uint64_t registry_paused_ms(const ThreadEntry *entry, const LuaVmAction *action);
/* No VM of the generation that the action is for. */
bool registry_is_stale(const ThreadEntry *entry, const LuaVmAction *action);
void registry_fill_info(const Registry *registry, const ThreadEntry *entry, VmInfo *info);
/* The same of a guild without an entry. */
void registry_fill_ended_locked(const Registry *registry, uint64_t guild_id, VmInfo *info);

/* Counts, logs and tells; by the thread that has the entry. */
void registry_set_state(Registry *registry, ThreadEntry *entry, VmState state,
                        VmBrokenReason reason, const char *detail);
void registry_done(Registry *registry, uint64_t count); /* so many taken actions were completed */

bool registry_is_stopping(const Registry *registry);
bool registry_drain(Registry *registry, uint64_t timeout_ns);
void registry_stats(Registry *registry, WorkerStats *stats);
/* A condition variable whose waits end by CLOCK_MONOTONIC; waits until then (0: without an end). */
void monotonic_cond_init(pthread_cond_t *cond);
void monotonic_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_ns);

#endif
