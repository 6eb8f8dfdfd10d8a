#include "worker/dispatch_shard.h"

#include <string.h>

#include "base/base.h"

void dispatch_shard_init(DispatchShard *shard, int index, const DispatchSeed *seed)
{
    *shard = (DispatchShard){.index = index, .seed = seed};
    pthread_mutex_init(&shard->lock, NULL);
    atomic_init(&shard->oldest_ns, DISPATCH_NEVER);
}

void dispatch_shard_free(DispatchShard *shard)
{
    for (DispatchRecord *r; (r = dispatch_shard_takeoldest(shard, DISPATCH_NEVER));)
        dispatch_record_release(r);
    BASE_ASSERT(shard->keys.count == 0 && shard->ids.count == 0 && shard->waits.count == 0);
    dispatch_table_free(&shard->keys);
    dispatch_table_free(&shard->ids);
    dispatch_heap_free(&shard->waits);
    pthread_mutex_destroy(&shard->lock);
}

/* ---- Finding ----------------------------------------------------------------------------------
 */

static bool same_text(EventText a, EventText b)
{
    return a.length == b.length && !a.data == !b.data &&
           (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

static bool same_key(const void *value, const void *key)
{
    const DispatchRecord *record = value;
    const DispatchKey *k = key;
    return record->guild_id == k->guild_id && same_text(record->event_id, k->event_id) &&
           same_text(record->target, k->target);
}

static bool same_id(const void *value, const void *key)
{
    return memcmp(((const DispatchExecution *)value)->id, key, RANDOM_ID_SIZE - 1) == 0;
}

static uint64_t hash_id(const DispatchShard *shard, const char *id)
{
    return dispatch_hash(shard->seed, id, RANDOM_ID_SIZE - 1);
}

DispatchRecord *dispatch_shard_find(const DispatchShard *shard, const DispatchKey *key)
{
    return dispatch_table_find(&shard->keys, key->hash, same_key, key);
}

DispatchExecution *dispatch_shard_findid(const DispatchShard *shard, const char *id)
{
    return dispatch_table_find(&shard->ids, hash_id(shard, id), same_id, id);
}

/* ---- Waiting ----------------------------------------------------------------------------------
 */

static void enlist(DispatchShard *shard, DispatchWaiter *waiter, uint64_t due_ns)
{
    DispatchRecord *record = waiter->record;
    waiter->next = record->waiters;
    waiter->previous = NULL;
    if (record->waiters)
        record->waiters->previous = waiter;
    record->waiters = waiter;
    if (waiter->accept_only)
        return;
    waiter->timer.due_ns = due_ns;
    dispatch_heap_add(&shard->waits, &waiter->timer);
}

/* Out of its record's list and the heap, and into `list`. */
static DispatchWaiter *pick(DispatchShard *shard, DispatchWaiter *waiter, DispatchOutcome outcome,
                            DispatchWaiter *list)
{
    if (waiter->previous)
        waiter->previous->next = waiter->next;
    else
        waiter->record->waiters = waiter->next;
    if (waiter->next)
        waiter->next->previous = waiter->previous;
    if (waiter->timer.place != 0)
        dispatch_heap_remove(&shard->waits, &waiter->timer);
    waiter->outcome = outcome;
    waiter->next = list;
    return waiter;
}

bool dispatch_shard_wait(DispatchShard *shard, DispatchWaiter *waiter, uint64_t due_ns)
{
    if (!dispatch_heap_reserve(&shard->waits))
        return false;
    enlist(shard, waiter, due_ns);
    return true;
}

DispatchWaiter *dispatch_shard_wake(DispatchShard *shard, DispatchRecord *record,
                                    DispatchOutcome outcome)
{
    DispatchWaiter *list = NULL;
    while (record->waiters)
        list = pick(shard, record->waiters, outcome, list);
    return list;
}

DispatchWaiter *dispatch_shard_wake_accepted(DispatchShard *shard, DispatchRecord *record)
{
    DispatchWaiter *list = NULL;
    for (DispatchWaiter *w = record->waiters, *next; w; w = next) {
        next = w->next;
        if (w->accept_only)
            list = pick(shard, w, DISPATCH_ACCEPTED, list);
    }
    return list;
}

DispatchWaiter *dispatch_shard_wake_due(DispatchShard *shard, uint64_t now_ns)
{
    DispatchWaiter *list = NULL;
    for (DispatchTimer *t; (t = dispatch_heap_first(&shard->waits)) && t->due_ns <= now_ns;)
        list = pick(shard, (DispatchWaiter *)t, DISPATCH_RETURN_TIMEOUT, list);
    return list;
}

/* ---- Coming and going -------------------------------------------------------------------------
 */

void dispatch_shard_unkey(DispatchShard *shard, DispatchRecord *record)
{
    if (record->keyed)
        dispatch_table_remove(&shard->keys, record->key_hash, record);
    record->keyed = false;
}

bool dispatch_shard_add(DispatchShard *shard, DispatchRecord *record, uint64_t key_hash,
                        uint64_t due_ns, DispatchRecord *replaced)
{
    if (!dispatch_table_reserve(&shard->ids, (size_t)record->count) ||
        !dispatch_table_reserve(&shard->keys, 1) || !dispatch_heap_reserve(&shard->waits))
        return false;
    if (replaced)
        dispatch_shard_unkey(shard, replaced);
    record->shard = shard->index;
    record->key_hash = key_hash;
    dispatch_record_setids(record, &shard->random, "0123456789abcdef"[shard->index]);
    for (int i = 0; i < record->count; i++)
        dispatch_table_put(&shard->ids, hash_id(shard, record->executions[i].id),
                           &record->executions[i]);
    if (record->keyed)
        dispatch_table_put(&shard->keys, key_hash, record);
    dispatch_record_retain(record);
    enlist(shard, &record->first, due_ns);
    return true;
}

bool dispatch_shard_adopt(DispatchShard *shard, DispatchRecord *record, uint64_t now_ns)
{
    if (!dispatch_table_reserve(&shard->ids, 1))
        return false;
    record->shard = shard->index;
    dispatch_table_put(&shard->ids, hash_id(shard, record->executions[0].id),
                       &record->executions[0]);
    dispatch_shard_keep(shard, record, now_ns);
    return true;
}

void dispatch_shard_remove(DispatchShard *shard, DispatchRecord *record)
{
    dispatch_shard_unkey(shard, record);
    for (int i = 0; i < record->count; i++)
        dispatch_table_remove(&shard->ids, hash_id(shard, record->executions[i].id),
                              &record->executions[i]);
}

static void set_oldest(DispatchShard *shard)
{
    /* Relaxed: a hint, see the struct. */
    atomic_store_explicit(&shard->oldest_ns,
                          shard->oldest ? shard->oldest->finished_ns : DISPATCH_NEVER,
                          memory_order_relaxed);
}

void dispatch_shard_keep(DispatchShard *shard, DispatchRecord *record, uint64_t now_ns)
{
    /* Clocks are read before locks are taken: the order of the list is what counts. */
    if (shard->newest && shard->newest->finished_ns > now_ns)
        now_ns = shard->newest->finished_ns;
    record->finished_ns = now_ns;
    record->next = NULL;
    if (shard->newest)
        shard->newest->next = record;
    else
        shard->oldest = record;
    shard->newest = record;
    set_oldest(shard);
}

DispatchRecord *dispatch_shard_takeoldest(DispatchShard *shard, uint64_t before_ns)
{
    DispatchRecord *record = shard->oldest;
    if (!record || record->finished_ns > before_ns)
        return NULL;
    shard->oldest = record->next;
    if (!shard->oldest)
        shard->newest = NULL;
    record->next = NULL;
    set_oldest(shard);
    dispatch_shard_remove(shard, record);
    return record;
}
