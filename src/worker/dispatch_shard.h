/* dispatch_shard.h: one of several parts into which records are spread, so that callers seldom meet
 * at a lock. A record is in one shard with everything that leads to it: its event id, the ids of
 * its executions (their first digit names the shard), its waits, its place among the kept ones.
 *
 * A shard is chosen by the secret hash of the event id, or in turn. All functions but
 * dispatch_shard_new and _free are called with the lock held. They call nobody and free nothing
 * outside: what leaves the shard is given back in lists, to be completed or released without the
 * lock. */
#ifndef WORKER_DISPATCH_SHARD_H
#define WORKER_DISPATCH_SHARD_H

#include <pthread.h>

#include "base/random.h"
#include "worker/dispatch_record.h"
#include "worker/dispatch_table.h"

enum { DISPATCH_SHARDS = 16, DISPATCH_CACHE_LINE = 64 }; /* a hexadecimal digit */

typedef struct DispatchKey {
    uint64_t hash;
    uint64_t guild_id;
    EventText event_id;
    EventText target;
} DispatchKey;

typedef struct DispatchShard {
    _Alignas(DISPATCH_CACHE_LINE) pthread_mutex_t lock;
    int index;
    const DispatchSeed *seed;
    DispatchTable keys;              /* event id -> record, where the caller gave the id */
    DispatchTable ids;               /* execution id -> execution */
    DispatchHeap waits;              /* that end */
    DispatchRecord *oldest, *newest; /* kept, in the order in which they finished */
    _Atomic uint64_t oldest_ns; /* when the oldest finished, DISPATCH_NEVER: none. Relaxed: a hint
                                   for who looks for the oldest of all without the locks */
    RandomPool random;
    DispatcherStats stats; /* the counts of events */
} DispatchShard;

void dispatch_shard_init(DispatchShard *shard, int index, const DispatchSeed *seed);
void dispatch_shard_free(DispatchShard *shard); /* nothing runs; releases what is kept */

/* Running or kept; NULL: none. */
DispatchRecord *dispatch_shard_find(const DispatchShard *shard, const DispatchKey *key);
DispatchExecution *dispatch_shard_findid(const DispatchShard *shard, const char *id);
/* Gives the record its ids and makes it found, by its event id in the place of `replaced` (NULL:
 * nothing is found by that); its first waiter waits until due_ns. The shard takes over a reference
 * and adds the waiter's. False: no memory, nothing changed. */
bool dispatch_shard_add(DispatchShard *shard, DispatchRecord *record, uint64_t key_hash,
                        uint64_t due_ns, DispatchRecord *replaced);
/* One more caller waits; takes over a reference to the record. False: no memory. */
bool dispatch_shard_wait(DispatchShard *shard, DispatchWaiter *waiter, uint64_t due_ns);

/* Waiters that get their answer now, linked by `next`: all of the record, or those that wait for
 * acceptance only, or those whose time has come. */
DispatchWaiter *dispatch_shard_wake(DispatchShard *shard, DispatchRecord *record,
                                    DispatchOutcome outcome);
DispatchWaiter *dispatch_shard_wake_accepted(DispatchShard *shard, DispatchRecord *record);
DispatchWaiter *dispatch_shard_wake_due(DispatchShard *shard, uint64_t now_ns);

/* Takes over the reference to a record that is finished and found by the id of its execution.
 * False: no memory, it is still the caller's. */
bool dispatch_shard_adopt(DispatchShard *shard, DispatchRecord *record, uint64_t now_ns);

/* Not a duplicate's original any more. */
void dispatch_shard_unkey(DispatchShard *shard, DispatchRecord *record);
/* Neither found by any id: the shard's reference is the caller's. Not while it is kept. */
void dispatch_shard_remove(DispatchShard *shard, DispatchRecord *record);
/* It is finished, and found until it is taken out. */
void dispatch_shard_keep(DispatchShard *shard, DispatchRecord *record, uint64_t now_ns);
/* The oldest of the kept ones, if it finished at before_ns or earlier, removed: the shard's
 * reference is the caller's. NULL: none. */
DispatchRecord *dispatch_shard_takeoldest(DispatchShard *shard, uint64_t before_ns);

#endif
