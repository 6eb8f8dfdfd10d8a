/* expiry.h: tells templates what fell due: keys that expire, schedules.
 *
 * One thread that sleeps until the store says that something is due (an index, no scan: a million
 * expiries to come cost nothing while none is due), takes it, and dispatches
 *
 *     KeyExpiry {id, key, scopes, value}    scoped by the key's scopes; base name AntiRaid
 *     Scheduled {name, due_at, attempt}     scoped by the name
 *
 * with an event id made of the record's id and of how often it was armed: the same one whenever the
 * same occasion is told again, after failures and after a crash. When all handlers succeeded (or
 * there are none) the occasion is over (STORE_DUE_DONE); when one failed it is told again, to all,
 * after growing delays, STORE_EXPIRY_ATTEMPTS_MAX times. What a guild cannot take now (queue full,
 * paused, shutting down) is told later and counts as no attempt.
 *
 * Due times are wall-clock times. When the clock is set (timerfd, TFD_TIMER_CANCEL_ON_SET) the
 * thread looks anew: what a jump forward made due is told at once, all of it, in order; after a
 * jump back things wait until the clock gets there again. Repeated schedules skip what was missed
 * and keep their rhythm.
 *
 * Of one guild at most EXPIRY_PER_GUILD occasions are under way, of all EXPIRY_UNDER_WAY_MAX; the
 * rest waits its turn, guild by guild, so that a guild with a hundred thousand keys due holds up
 * nobody. */
#ifndef WORKER_EXPIRY_H
#define WORKER_EXPIRY_H

#include "store/store.h"
#include "worker/dispatcher.h"

enum { EXPIRY_PER_GUILD = 16, EXPIRY_UNDER_WAY_MAX = 1024, EXPIRY_LOGGED_PER_SECOND = 10 };

typedef struct Expiry Expiry;

typedef struct ExpiryStats {
    uint64_t told;   /* occasions that were dispatched */
    uint64_t failed; /* of them, whose handlers failed */
    uint64_t given_up;
    uint64_t unlogged; /* failures that the log only has a number of */
    uint64_t wakes;    /* of the thread: none while nothing is due */
} ExpiryStats;

/* clock_ms NULL: the wall clock. With a clock of the caller's it is the caller who calls
 * expiry_poll, and there is no thread. NULL: no memory, or no thread. */
Expiry *expiry_new(Store *store, Dispatcher *dispatcher, int64_t (*clock_ms)(void *),
                   void *clock_userdata);
/* For StoreObserver.due_changed; userdata is the Expiry. Any thread. */
void expiry_due_changed(void *expiry, int64_t due_ms);
/* Does what is to be done; returns when there is something to do again, STORE_NO_TIME: when told.
 */
int64_t expiry_poll(Expiry *expiry);
void expiry_stats(Expiry *expiry, ExpiryStats *stats);
/* From now on nothing is dispatched: before the worker is stopped, which nothing may be given to
 * after that. */
void expiry_quiet(Expiry *expiry);
/* The same, and returns when what was dispatched has come back, so after the
 * worker was drained or stopped, and before the store is. What was taken and not told stays due. */
void expiry_stop(Expiry *expiry);
void expiry_free(Expiry *expiry); /* NULL is fine */

#endif
