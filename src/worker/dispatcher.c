#include "worker/dispatcher.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/clock.h"
#include "worker/dispatch_state.h"

enum {
    RETRY_AFTER_MS = 1000, /* when the dispatcher itself is full, or has no templates */
    SWEEP_PARTS = 64       /* kept records may be kept for such a part of keep_ns more */
};

void dispatcher_default_options(DispatcherOptions *options)
{
    *options = (DispatcherOptions){
        .keep_ns = 600 * CLOCK_NS_PER_S,
        .records_max = 100000,
        .bytes_max = (size_t)64 << 20,
        .waits_max = 100000,
    };
}

static uint64_t alarm_ring(void *userdata)
{
    return dispatcher_poll(userdata);
}

static void on_turn(void *userdata, DispatchParked *parked);

static void open_lobby(Dispatcher *d, DispatchLobby *lobby)
{
    dispatch_lobby_init(lobby, d->seed.words[0]);
    lobby->source = d->options.templates;
    lobby->turn = on_turn;
    lobby->userdata = d;
    lobby->under_way = &d->pending;
}

Dispatcher *dispatcher_new(const DispatcherOptions *options)
{
    size_t size = (sizeof(Dispatcher) + DISPATCH_CACHE_LINE - 1) / DISPATCH_CACHE_LINE;
    Dispatcher *d = aligned_alloc(DISPATCH_CACHE_LINE, size * DISPATCH_CACHE_LINE);
    if (!d)
        return NULL;
    memset(d, 0, sizeof(*d));
    d->options = *options;
    d->seed = (DispatchSeed){{random_u64(), random_u64()}};
    for (int i = 0; i < DISPATCH_SHARDS; i++)
        dispatch_shard_init(&d->shards[i], i, &d->seed);
    for (int i = 0; i < DISPATCH_LOBBIES; i++)
        open_lobby(d, &d->lobbies[i]);
    d->has_alarm = !options->clock;
    if (d->has_alarm && !dispatch_alarm_start(&d->alarm, alarm_ring, d)) {
        d->has_alarm = false;
        dispatcher_free(d);
        return NULL;
    }
    return d;
}

void dispatcher_stop(Dispatcher *d)
{
    atomic_store_explicit(&d->stopping, true, memory_order_relaxed);
}

void dispatcher_free(Dispatcher *d)
{
    if (!d)
        return;
    BASE_ASSERT(atomic_load_explicit(&d->pending, memory_order_acquire) == 0);
    if (d->has_alarm)
        dispatch_alarm_stop(&d->alarm);
    for (int i = 0; i < DISPATCH_SHARDS; i++)
        dispatch_shard_free(&d->shards[i]);
    for (int i = 0; i < DISPATCH_LOBBIES; i++)
        dispatch_lobby_free(&d->lobbies[i]);
    free(d);
}

static uint64_t clock_now(const Dispatcher *d)
{
    return d->options.clock ? d->options.clock(d->options.clock_userdata) : clock_monotonic_ns();
}

static uint64_t after(uint64_t time_ns, uint64_t more_ns)
{
    return more_ns < DISPATCH_NEVER - time_ns ? time_ns + more_ns : DISPATCH_NEVER;
}

static uint64_t wait_end(uint64_t now_ns, uint64_t wait_ms)
{
    if (wait_ms > DISPATCH_NEVER / CLOCK_NS_PER_MS)
        return DISPATCH_NEVER;
    return after(now_ns, wait_ms * CLOCK_NS_PER_MS);
}

static uint64_t sweep_due(const Dispatcher *d, uint64_t finished_ns)
{
    return after(after(finished_ns, d->options.keep_ns), d->options.keep_ns / SWEEP_PARTS);
}

static void set_alarm(Dispatcher *d, uint64_t due_ns)
{
    if (d->has_alarm)
        dispatch_alarm_set(&d->alarm, due_ns);
}

/* ---- Bounds -----------------------------------------------------------------------------------
 */

static void charge(Dispatcher *d, size_t records, size_t bytes)
{
    atomic_fetch_add_explicit(&d->records, records, memory_order_relaxed);
    atomic_fetch_add_explicit(&d->bytes, bytes, memory_order_relaxed);
}

static void discharge(Dispatcher *d, size_t records, size_t bytes)
{
    atomic_fetch_sub_explicit(&d->records, records, memory_order_relaxed);
    atomic_fetch_sub_explicit(&d->bytes, bytes, memory_order_relaxed);
}

static bool is_over(Dispatcher *d)
{
    return atomic_load_explicit(&d->records, memory_order_relaxed) > d->options.records_max ||
           atomic_load_explicit(&d->bytes, memory_order_relaxed) > d->options.bytes_max;
}

/* Records that have left their shard. */
static void forget(Dispatcher *d, DispatchRecord *list)
{
    for (DispatchRecord *next; list; list = next) {
        next = list->next;
        discharge(d, 1, list->bytes);
        dispatch_record_release(list);
    }
}

/* Where the oldest of all kept records is; NULL: none is kept. Were it taken so strictly, threads
 * that evict would all meet in one shard: what is nearly as old in their own will do. */
static DispatchShard *find_oldest(Dispatcher *d, DispatchShard *own, uint64_t now_ns)
{
    DispatchShard *shard = NULL;
    uint64_t oldest_ns = DISPATCH_NEVER;
    for (int i = 0; i < DISPATCH_SHARDS; i++) {
        uint64_t ns = atomic_load_explicit(&d->shards[i].oldest_ns, memory_order_relaxed);
        if (ns < oldest_ns) {
            oldest_ns = ns;
            shard = &d->shards[i];
        }
    }
    uint64_t own_ns = atomic_load_explicit(&own->oldest_ns, memory_order_relaxed);
    bool nearly = shard && now_ns > oldest_ns && own_ns <= oldest_ns + (now_ns - oldest_ns) / 8;
    return nearly ? own : shard;
}

/* Forgets one kept record, of the oldest. False: none is kept. */
static bool evict(Dispatcher *d, DispatchShard *own, uint64_t now_ns)
{
    DispatchShard *shard = find_oldest(d, own, now_ns);
    if (!shard)
        return false;
    pthread_mutex_lock(&shard->lock);
    DispatchRecord *record = dispatch_shard_takeoldest(shard, DISPATCH_NEVER);
    shard->stats.evicted += record != NULL;
    pthread_mutex_unlock(&shard->lock);
    forget(d, record);
    return true;
}

/* One more record of so many bytes, at the cost of kept ones. */
static bool admit(Dispatcher *d, DispatchShard *own, size_t bytes, uint64_t now_ns)
{
    if (bytes > d->options.bytes_max)
        return false;
    charge(d, 1, bytes);
    while (is_over(d)) {
        if (!evict(d, own, now_ns)) {
            discharge(d, 1, bytes);
            return false;
        }
    }
    return true;
}

/* Who waits for no more than acceptance is out of submit in a moment, and takes no place. */
static bool admit_wait(Dispatcher *d, uint64_t wait_ms)
{
    if (wait_ms == 0)
        return true;
    if (atomic_fetch_add_explicit(&d->waits, 1, memory_order_relaxed) < d->options.waits_max)
        return true;
    atomic_fetch_sub_explicit(&d->waits, 1, memory_order_relaxed);
    return false;
}

static void wait_over(Dispatcher *d, bool accept_only)
{
    if (accept_only)
        return;
    atomic_fetch_sub_explicit(&d->waits, 1, memory_order_relaxed);
}

/* What was kept long enough leaves the shard. Under its lock. */
static DispatchRecord *sweep_locked(Dispatcher *d, DispatchShard *shard, uint64_t now_ns)
{
    DispatchRecord *list = NULL;
    if (now_ns < d->options.keep_ns)
        return NULL;
    uint64_t before_ns = now_ns - d->options.keep_ns;
    for (DispatchRecord *r; (r = dispatch_shard_takeoldest(shard, before_ns));) {
        r->next = list;
        list = r;
    }
    return list;
}

/* ---- Answers ----------------------------------------------------------------------------------
 */

/* Without a record: refused, or nothing to run. */
static void answer_saying(Dispatcher *d, const DispatchRequest *request, DispatchOutcome outcome,
                          const char *message)
{
    _Atomic uint64_t *counter = outcome == DISPATCH_DONE ? &d->unmatched : &d->refused;
    bool later = outcome == DISPATCH_QUEUE_FULL || outcome == DISPATCH_UNAVAILABLE;
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
    DispatchResult result = {
        .outcome = outcome,
        .retry_after_ms = later ? RETRY_AFTER_MS : 0,
        .message = message,
        .guild_id = request->guild_id,
        .event_id = request->event->id,
    };
    request->complete(request->userdata, &result);
}

static void answer_at_once(Dispatcher *d, const DispatchRequest *request, DispatchOutcome outcome)
{
    answer_saying(d, request, outcome, NULL);
}

static void answer(DispatchRecord *record, DispatchOutcome outcome, bool duplicate,
                   void (*complete)(void *userdata, const DispatchResult *result), void *userdata)
{
    DispatchResult result;
    dispatch_record_result(record, &result);
    result.outcome = outcome;
    result.duplicate = duplicate;
    complete(userdata, &result);
}

static void answer_waiters(Dispatcher *d, DispatchWaiter *list)
{
    for (DispatchWaiter *next; list; list = next) {
        DispatchRecord *record = list->record;
        next = list->next;
        answer(record, list->outcome, list->duplicate, list->complete, list->userdata);
        wait_over(d, list->accept_only);
        if (list != &record->first)
            free(list);
        dispatch_record_release(record);
    }
}

/* ---- The action comes back --------------------------------------------------------------------
 */

/* The record's part in the shard, its results being there. Returns who gets an answer; *gone: the
 * shard's reference is the caller's. A run that was lost after its acceptance can be asked after,
 * but may be repeated. */
static DispatchWaiter *settle_locked(Dispatcher *d, DispatchShard *shard, DispatchRecord *record,
                                     DispatchOutcome outcome, uint64_t now_ns, bool *gone)
{
    record->run = NULL;
    /* Release: who reads the outcome without the lock sees the executions. */
    atomic_store_explicit(&record->outcome, (int)outcome, memory_order_release);
    DispatchWaiter *waiters = dispatch_shard_wake(shard, record, outcome);
    *gone = d->options.keep_ns == 0 || (outcome != DISPATCH_DONE && !record->accepted);
    if (outcome == DISPATCH_DONE)
        shard->stats.executions += (uint64_t)record->count;
    else
        dispatch_shard_unkey(shard, record);
    if (*gone)
        dispatch_shard_remove(shard, record);
    else
        dispatch_shard_keep(shard, record, now_ns);
    return waiters;
}

static void on_action(LuaVmAction *action)
{
    DispatchRun *run = action->userdata;
    DispatchRecord *record = run->record;
    Dispatcher *d = run->dispatcher;
    DispatchShard *shard = &d->shards[record->shard];
    DispatchOutcome outcome = dispatch_outcome_of(action);
    size_t results = outcome == DISPATCH_DONE ? dispatch_record_harvest(record, action) : 0;
    uint64_t now_ns = clock_now(d);
    bool gone;

    charge(d, 0, results);
    pthread_mutex_lock(&shard->lock);
    record->retry_after_ms = action->retry_after_ms;
    record->bytes += results - run->bytes;
    size_t run_bytes = run->bytes;
    DispatchWaiter *waiters = settle_locked(d, shard, record, outcome, now_ns, &gone);
    pthread_mutex_unlock(&shard->lock);
    if (outcome != DISPATCH_DONE)
        atomic_fetch_add_explicit(&d->refused, 1, memory_order_relaxed);

    answer_waiters(d, waiters);
    dispatch_run_free(run);
    discharge(d, 0, run_bytes);
    if (gone)
        forget(d, record);
    else
        set_alarm(d, sweep_due(d, now_ns));
    while (is_over(d) && evict(d, shard, now_ns))
        ;
    /* Release: see the struct. */
    atomic_fetch_sub_explicit(&d->pending, 1, memory_order_release);
}

/* ---- Dispatching ------------------------------------------------------------------------------
 */

static DispatchShard *choose_shard(Dispatcher *d, const DispatchRequest *request, DispatchKey *key)
{
    EventText id = request->event->id;
    *key = (DispatchKey){.guild_id = request->guild_id, .event_id = id, .target = request->target};
    if (id.length == 0) {
        unsigned turn = atomic_fetch_add_explicit(&d->turn, 1, memory_order_relaxed);
        return &d->shards[turn % DISPATCH_SHARDS];
    }
    uint64_t parts[3] = {
        request->guild_id,
        dispatch_hash(&d->seed, id.data, id.length),
        request->target.data ? dispatch_hash(&d->seed, request->target.data, request->target.length)
                             : 0,
    };
    key->hash = dispatch_hash(&d->seed, parts, sizeof(parts));
    /* The tables use the lower bits. */
    return &d->shards[key->hash >> 60];
}

/* A duplicate of a record that runs waits with it. */
static DispatchOutcome join_locked(Dispatcher *d, DispatchShard *shard, DispatchRecord *record,
                                   const DispatchRequest *request, uint64_t due_ns)
{
    if (!admit_wait(d, request->wait_ms))
        return DISPATCH_QUEUE_FULL;
    DispatchWaiter *waiter = malloc(sizeof(*waiter));
    if (waiter) {
        *waiter = (DispatchWaiter){
            .record = record,
            .complete = request->complete,
            .userdata = request->userdata,
            .duplicate = true,
            .accept_only = request->wait_ms == 0,
        };
        if (dispatch_shard_wait(shard, waiter, due_ns))
            return DISPATCH_ACCEPTED;
        free(waiter);
    }
    wait_over(d, request->wait_ms == 0);
    return DISPATCH_NO_MEMORY;
}

/* False: the event id is new. Else the request is taken care of. */
static bool join(Dispatcher *d, DispatchShard *shard, const DispatchRequest *request,
                 const DispatchKey *key, uint64_t now_ns, uint64_t due_ns)
{
    bool waits = false;
    pthread_mutex_lock(&shard->lock);
    DispatchRecord *swept = sweep_locked(d, shard, now_ns);
    DispatchRecord *record = dispatch_record_retain(dispatch_shard_find(shard, key));
    DispatchOutcome outcome = DISPATCH_DONE;
    if (record) {
        /* Relaxed: written under the lock. */
        outcome = (DispatchOutcome)atomic_load_explicit(&record->outcome, memory_order_relaxed);
        waits = outcome == DISPATCH_ACCEPTED && !(record->accepted && request->wait_ms == 0);
        if (waits)
            outcome = join_locked(d, shard, record, request, due_ns);
        if (outcome == DISPATCH_ACCEPTED || outcome == DISPATCH_DONE)
            shard->stats.duplicates++;
    }
    pthread_mutex_unlock(&shard->lock);
    forget(d, swept);
    if (!record)
        return false;
    if (waits && outcome == DISPATCH_ACCEPTED) {
        if (request->wait_ms != 0)
            set_alarm(d, due_ns);
        return true; /* the reference is the waiter's */
    }
    if (outcome == DISPATCH_ACCEPTED || outcome == DISPATCH_DONE)
        answer(record, outcome, true, request->complete, request->userdata);
    else
        answer_at_once(d, request, outcome);
    dispatch_record_release(record);
    return true;
}

/* The record with its place within the bounds, or NULL: *outcome says why. Takes over what was
 * found. */
static DispatchRecord *prepare(Dispatcher *d, DispatchShard *shard, const DispatchRequest *request,
                               TemplateLookup *lookup, uint64_t now_ns, DispatchOutcome *outcome)
{
    if (lookup->count == 0) {
        *outcome = request->target.data ? DISPATCH_NOT_FOUND : DISPATCH_DONE;
        return NULL;
    }
    DispatchRecord *record = dispatch_record_new(d, request, lookup->found, lookup->count);
    if (!record) {
        *outcome = DISPATCH_NO_MEMORY;
        return NULL;
    }
    lookup->count = 0; /* they are the record's */
    if (admit_wait(d, request->wait_ms)) {
        if (admit(d, shard, record->bytes, now_ns))
            return record;
        wait_over(d, request->wait_ms == 0);
    }
    dispatch_run_free(record->run);
    dispatch_record_release(record);
    *outcome = DISPATCH_QUEUE_FULL;
    return NULL;
}

static void discard(Dispatcher *d, DispatchRecord *record)
{
    wait_over(d, record->first.accept_only);
    dispatch_run_free(record->run);
    forget(d, record);
}

typedef enum Entry { ENTRY_MADE, ENTRY_DUPLICATE, ENTRY_NO_MEMORY } Entry;

/* `again`: also in the place of another. */
static Entry enter(Dispatcher *d, DispatchShard *shard, DispatchRecord *record,
                   const DispatchKey *key, bool again, uint64_t now_ns, uint64_t due_ns)
{
    Entry entry = ENTRY_DUPLICATE;
    pthread_mutex_lock(&shard->lock);
    DispatchRecord *swept = sweep_locked(d, shard, now_ns);
    DispatchRecord *other = record->keyed ? dispatch_shard_find(shard, key) : NULL;
    if (!other || again) {
        bool added = dispatch_shard_add(shard, record, key->hash, due_ns, other);
        shard->stats.dispatched += added;
        entry = added ? ENTRY_MADE : ENTRY_NO_MEMORY;
    }
    pthread_mutex_unlock(&shard->lock);
    forget(d, swept);
    return entry;
}

/* The record is in its shard and has one more reference, the caller's. */
static void start(Dispatcher *d, DispatchShard *shard, DispatchRecord *record)
{
    LuaVmAction *action = &record->run->action;
    action->complete = on_action;
    atomic_fetch_add_explicit(&d->pending, 1, memory_order_relaxed);
    d->options.submit(d->options.submit_userdata, action);

    /* The action may be back, and refused. If not, those who wait for no more have their answer. */
    DispatchWaiter *waiters = NULL;
    pthread_mutex_lock(&shard->lock);
    record->accepted = true;
    if (record->run)
        waiters = dispatch_shard_wake_accepted(shard, record);
    pthread_mutex_unlock(&shard->lock);
    answer_waiters(d, waiters);
    dispatch_record_release(record);
}

/* With the templates at hand: takes over what was found. */
static void go_on(Dispatcher *d, DispatchShard *shard, const DispatchRequest *request,
                  const DispatchKey *key, TemplateLookup *lookup, uint64_t now_ns, uint64_t due_ns)
{
    DispatchOutcome outcome;
    if (lookup->failed) {
        answer_saying(d, request, DISPATCH_UNAVAILABLE, lookup->message);
        return;
    }
    DispatchRecord *record = prepare(d, shard, request, lookup, now_ns, &outcome);
    template_lookup_free(lookup);
    if (!record) {
        answer_at_once(d, request, outcome);
        return;
    }
    dispatch_record_retain(record);
    for (Entry entry;
         (entry = enter(d, shard, record, key, request->again, now_ns, due_ns)) != ENTRY_MADE;) {
        /* The same event id at the same time on two threads. */
        bool joined = entry == ENTRY_DUPLICATE && join(d, shard, request, key, now_ns, due_ns);
        if (!joined && entry == ENTRY_DUPLICATE)
            continue; /* and the other one was refused meanwhile */
        dispatch_record_release(record);
        discard(d, record);
        if (!joined)
            answer_at_once(d, request, DISPATCH_NO_MEMORY);
        return;
    }
    if (request->wait_ms != 0)
        set_alarm(d, due_ns);
    start(d, shard, record);
}

static bool may_join(const DispatchRequest *request)
{
    return request->event->id.length != 0 && !request->again;
}

/* ---- Templates that come later ----------------------------------------------------------------
 */

static DispatchLobby *lobby_of(Dispatcher *d, uint64_t guild_id)
{
    return &d->lobbies[dispatch_hash(&d->seed, &guild_id, sizeof(guild_id)) % DISPATCH_LOBBIES];
}

/* What waits has a place among the records, and the wait has one among the waits. */
static void unpark(Dispatcher *d, const DispatchParked *parked)
{
    discharge(d, 1, parked->bytes);
    if (!parked->gave_up)
        wait_over(d, parked->request.wait_ms == 0);
}

static void on_turn(void *userdata, DispatchParked *parked)
{
    Dispatcher *d = userdata;
    const DispatchRequest *request = &parked->request;
    DispatchKey key;
    uint64_t now_ns = clock_now(d);
    unpark(d, parked);
    if (parked->gave_up) {
        template_lookup_free(&parked->lookup);
        return;
    }
    if (atomic_load_explicit(&d->stopping, memory_order_relaxed)) {
        template_lookup_free(&parked->lookup);
        answer_at_once(d, request, DISPATCH_SHUTTING_DOWN);
        return;
    }
    DispatchShard *shard = choose_shard(d, request, &key);
    if (may_join(request) && join(d, shard, request, &key, now_ns, parked->due_ns))
        template_lookup_free(&parked->lookup);
    else
        go_on(d, shard, request, &key, &parked->lookup, now_ns, parked->due_ns);
}

static void park(Dispatcher *d, DispatchShard *shard, const DispatchRequest *request,
                 uint64_t now_ns, uint64_t due_ns)
{
    bool waits = request->wait_ms != 0;
    if (!admit_wait(d, request->wait_ms)) {
        answer_at_once(d, request, DISPATCH_QUEUE_FULL);
        return;
    }
    DispatchOutcome outcome = DISPATCH_NO_MEMORY;
    DispatchParked *parked = dispatch_parked_new(request, waits ? due_ns : DISPATCH_NEVER);
    if (parked) {
        outcome = DISPATCH_QUEUE_FULL;
        if (admit(d, shard, parked->bytes, now_ns)) {
            if (dispatch_lobby_park(lobby_of(d, request->guild_id), parked)) {
                if (waits)
                    set_alarm(d, due_ns);
                return;
            }
            outcome = DISPATCH_NO_MEMORY;
            discharge(d, 1, parked->bytes);
        }
        dispatch_parked_release(parked);
    }
    wait_over(d, !waits);
    answer_at_once(d, request, outcome);
}

/* Who waited for templates longer than it wanted. */
static uint64_t poll_lobby(Dispatcher *d, DispatchLobby *lobby)
{
    uint64_t due_ns;
    DispatchParked *next, *list = dispatch_lobby_late(lobby, clock_now(d), &due_ns);
    for (; list; list = next) {
        next = list->next_late;
        wait_over(d, false);
        answer_saying(d, &list->request, DISPATCH_UNAVAILABLE,
                      "the guild's templates are still being loaded; nothing ran");
        dispatch_parked_release(list);
    }
    return due_ns;
}

void dispatcher_dispatch(Dispatcher *d, const DispatchRequest *request)
{
    BASE_ASSERT(request->guild_id != 0);
    /* Relaxed: what slips through is refused by the worker. */
    if (atomic_load_explicit(&d->stopping, memory_order_relaxed)) {
        answer_at_once(d, request, DISPATCH_SHUTTING_DOWN);
        return;
    }
    DispatchKey key;
    DispatchShard *shard = choose_shard(d, request, &key);
    uint64_t now_ns = clock_now(d), due_ns = wait_end(now_ns, request->wait_ms);
    if (may_join(request) && join(d, shard, request, &key, now_ns, due_ns))
        return;
    TemplateLookup lookup;
    template_lookup_clear(&lookup);
    lookup.guild_id = request->guild_id;
    lookup.name = request->target;
    lookup.event = request->event;
    lookup.complete = NULL;
    const TemplateSource *source = &d->options.templates;
    if (!dispatch_lobby_has(lobby_of(d, request->guild_id), request->guild_id) &&
        source->look_up(source->self, &lookup))
        go_on(d, shard, request, &key, &lookup, now_ns, due_ns);
    else
        park(d, shard, request, now_ns, due_ns);
}

/* ---- By execution id --------------------------------------------------------------------------
 */

/* The shard that the first digit names; NULL: no id of ours. */
static DispatchShard *shard_of_id(Dispatcher *d, const char *id, size_t length)
{
    if (length != RANDOM_ID_SIZE - 1)
        return NULL;
    if (id[0] >= '0' && id[0] <= '9')
        return &d->shards[id[0] - '0'];
    if (id[0] >= 'a' && id[0] <= 'f')
        return &d->shards[id[0] - 'a' + 10];
    return NULL;
}

DispatchRecord *dispatcher_find(Dispatcher *d, const char *id, size_t length, int *index)
{
    DispatchShard *shard = shard_of_id(d, id, length);
    if (!shard)
        return NULL;
    uint64_t now_ns = clock_now(d);
    pthread_mutex_lock(&shard->lock);
    DispatchRecord *swept = sweep_locked(d, shard, now_ns);
    DispatchExecution *x = dispatch_shard_findid(shard, id);
    DispatchRecord *record = dispatch_record_retain(x ? x->record : NULL);
    pthread_mutex_unlock(&shard->lock);
    forget(d, swept);
    if (record)
        *index = (int)(x - record->executions);
    return record;
}

void dispatcher_adopt(Dispatcher *d, LuaVmAction *action)
{
    const char *id = action->execution.id;
    DispatchShard *shard = shard_of_id(d, id, strlen(id));
    BASE_ASSERT(shard && !action->executions);
    DispatchRecord *record = d->options.keep_ns > 0
                                 ? dispatch_record_adopt(action, dispatch_outcome_of(action))
                                 : NULL;
    if (!record)
        return;
    uint64_t now_ns = clock_now(d);
    if (!admit(d, shard, record->bytes, now_ns)) {
        dispatch_record_release(record);
        return;
    }
    pthread_mutex_lock(&shard->lock);
    bool kept = dispatch_shard_adopt(shard, record, now_ns);
    pthread_mutex_unlock(&shard->lock);
    if (kept)
        set_alarm(d, sweep_due(d, now_ns));
    else
        forget(d, record);
}

/* ---- Time passes ------------------------------------------------------------------------------
 */

static uint64_t poll_shard(Dispatcher *d, DispatchShard *shard)
{
    uint64_t now_ns = clock_now(d);
    pthread_mutex_lock(&shard->lock);
    DispatchWaiter *waiters = dispatch_shard_wake_due(shard, now_ns);
    for (DispatchWaiter *w = waiters; w; w = w->next)
        shard->stats.timeouts++;
    DispatchRecord *swept = sweep_locked(d, shard, now_ns);
    DispatchTimer *first = dispatch_heap_first(&shard->waits);
    uint64_t due_ns = first ? first->due_ns : DISPATCH_NEVER;
    if (shard->oldest && sweep_due(d, shard->oldest->finished_ns) < due_ns)
        due_ns = sweep_due(d, shard->oldest->finished_ns);
    pthread_mutex_unlock(&shard->lock);
    forget(d, swept);
    answer_waiters(d, waiters);
    return due_ns;
}

uint64_t dispatcher_poll(Dispatcher *d)
{
    uint64_t due_ns = DISPATCH_NEVER;
    for (int i = 0; i < DISPATCH_SHARDS; i++) {
        uint64_t shard_ns = poll_shard(d, &d->shards[i]);
        if (shard_ns < due_ns)
            due_ns = shard_ns;
    }
    for (int i = 0; i < DISPATCH_LOBBIES; i++) {
        uint64_t lobby_ns = poll_lobby(d, &d->lobbies[i]);
        if (lobby_ns < due_ns)
            due_ns = lobby_ns;
    }
    return due_ns;
}

void dispatcher_stats(Dispatcher *d, DispatcherStats *stats)
{
    *stats = (DispatcherStats){
        .dispatched = atomic_load_explicit(&d->unmatched, memory_order_relaxed),
        .refused = atomic_load_explicit(&d->refused, memory_order_relaxed),
        .records = atomic_load_explicit(&d->records, memory_order_relaxed),
        .bytes = atomic_load_explicit(&d->bytes, memory_order_relaxed),
        .waits = atomic_load_explicit(&d->waits, memory_order_relaxed),
    };
    for (int i = 0; i < DISPATCH_SHARDS; i++) {
        DispatchShard *shard = &d->shards[i];
        pthread_mutex_lock(&shard->lock);
        stats->dispatched += shard->stats.dispatched;
        stats->executions += shard->stats.executions;
        stats->duplicates += shard->stats.duplicates;
        stats->timeouts += shard->stats.timeouts;
        stats->evicted += shard->stats.evicted;
        pthread_mutex_unlock(&shard->lock);
    }
}
