#include "worker/allowance.h"

#include <stdlib.h>

#include "base/base.h"
#include "base/random.h"

enum { LOOKED_AT = 2 /* buckets, at each take: more than one, so that full ones become fewer */ };

/* A bucket is the time at which it will be full: a token moves it by token_ns. */
struct AllowanceBucket {
    uint64_t guild_id;
    uint64_t full_ns;
    AllowanceBucket *previous, *next;
};

void allowance_init(Allowance *allowance, uint32_t burst, uint64_t period_ns)
{
    *allowance = (Allowance){.token_ns = period_ns / burst, .period_ns = period_ns};
    pthread_mutex_init(&allowance->lock, NULL);
    idmap_init(&allowance->buckets, random_u64());
}

void allowance_free(Allowance *allowance)
{
    for (AllowanceBucket *b = allowance->first, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    idmap_free(&allowance->buckets);
    pthread_mutex_destroy(&allowance->lock);
}

static void put_last(Allowance *allowance, AllowanceBucket *b)
{
    b->previous = allowance->last;
    b->next = NULL;
    *(b->previous ? &b->previous->next : &allowance->first) = b;
    allowance->last = b;
}

static void take_out(Allowance *allowance, AllowanceBucket *b)
{
    *(b->previous ? &b->previous->next : &allowance->first) = b->next;
    *(b->next ? &b->next->previous : &allowance->last) = b->previous;
}

static void forget_full(Allowance *allowance, uint64_t now_ns)
{
    for (int i = 0; i < LOOKED_AT && allowance->first; i++) {
        AllowanceBucket *b = allowance->first;
        take_out(allowance, b);
        if (b->full_ns > now_ns) {
            put_last(allowance, b);
        } else {
            idmap_remove(&allowance->buckets, b->guild_id);
            free(b);
        }
    }
}

static AllowanceBucket *get_bucket(Allowance *allowance, uint64_t guild_id)
{
    AllowanceBucket *b = idmap_get(&allowance->buckets, guild_id);
    if (b)
        return b;
    b = calloc(1, sizeof(*b));
    if (!b || !idmap_put(&allowance->buckets, guild_id, b)) {
        free(b);
        return NULL;
    }
    b->guild_id = guild_id;
    put_last(allowance, b);
    return b;
}

uint64_t allowance_take(Allowance *allowance, uint64_t guild_id, uint32_t count, uint64_t now_ns)
{
    uint64_t wait_ns = ALLOWANCE_NO_MEMORY;
    pthread_mutex_lock(&allowance->lock);
    forget_full(allowance, now_ns);
    AllowanceBucket *b = get_bucket(allowance, guild_id);
    if (b) {
        uint64_t from_ns = b->full_ns > now_ns ? b->full_ns : now_ns;
        uint64_t full_ns = from_ns + count * allowance->token_ns;
        uint64_t latest_ns = now_ns + allowance->period_ns;
        wait_ns = full_ns > latest_ns ? full_ns - latest_ns : 0;
        if (wait_ns == 0)
            b->full_ns = full_ns;
    }
    pthread_mutex_unlock(&allowance->lock);
    return wait_ns;
}
