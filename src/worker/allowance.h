/* allowance.h: how much of something each guild may have: token buckets that hold `burst`, refilled
 * evenly over `period_ns`. A bucket is kept only while it is not full, so that guilds that want
 * nothing cost nothing. Any thread. */
#ifndef WORKER_ALLOWANCE_H
#define WORKER_ALLOWANCE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/idmap.h"

typedef struct AllowanceBucket AllowanceBucket;

typedef struct Allowance {
    uint64_t token_ns;  /* in which one comes back */
    uint64_t period_ns; /* in which all do */
    pthread_mutex_t lock;
    /* -- under the lock -- */
    IdMap buckets;
    AllowanceBucket *first, *last; /* those not looked at for longest come first */
} Allowance;

void allowance_init(Allowance *allowance, uint32_t burst, uint64_t period_ns);
void allowance_free(Allowance *allowance);
/* Takes `count` tokens (at most as many as a bucket holds): 0. Or none: the time until there are so
 * many; ALLOWANCE_NO_MEMORY. */
uint64_t allowance_take(Allowance *allowance, uint64_t guild_id, uint32_t count, uint64_t now_ns);
#define ALLOWANCE_NO_MEMORY UINT64_MAX

#endif
