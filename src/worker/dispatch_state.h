/* dispatch_state.h: the dispatcher itself, for the files that it consists of. */
#ifndef WORKER_DISPATCH_STATE_H
#define WORKER_DISPATCH_STATE_H

#include "worker/dispatch_alarm.h"
#include "worker/dispatch_lobby.h"
#include "worker/dispatch_shard.h"

enum { DISPATCH_LOBBIES = 16 /* so that callers seldom meet at a lock while guilds are loaded */ };

/* Lock order: at most one lock, a shard's or a lobby's, at a time, and none while anybody is
 * called.
 */
struct Dispatcher {
    DispatcherOptions options;
    DispatchSeed seed;
    DispatchLobby lobbies[DISPATCH_LOBBIES]; /* of guilds; shards are of events */
    bool has_alarm;
    DispatchAlarm alarm;
    DispatchShard shards[DISPATCH_SHARDS];
    atomic_bool stopping;
    /* Bounds and counters. Relaxed: each stands for itself. */
    atomic_uint turn; /* shard of the next record without a key */
    atomic_size_t records, bytes, waits;
    _Atomic uint64_t unmatched, refused;
    /* Actions not back, and queues of the lobbies. The last that a completion touches: release, so
     * that dispatcher_free (acquire) comes after all of it. */
    atomic_size_t pending;
};

/* What became of an action that came back. */
DispatchOutcome dispatch_outcome_of(const LuaVmAction *action);

#endif
