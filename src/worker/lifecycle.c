/* Who is told what, and when not.
 *
 * A VM that was made while nothing of ours was under way in its guild was made for somebody else's
 * event: a round begins (lifecycle_round.h). At the start of the worker every guild that has keys
 * with `resume` gets a round without OnStartup, unless it had one already since.
 *
 * A VM that is made during a round needs more thought, for our own events make VMs, and may break
 * them. It gets the rest of the round in any case. So the VM that a KeyResume makes at the start
 * gets the keys once, and its OnStartup. If others of the round's events had run in a VM before it,
 * that VM and what they did there are gone: they are told once more, to the new one. But that is
 * done once in a round, and not at all when one of the round's own events broke a VM. So whatever
 * handlers do, a VM that was made for others costs two rounds at most, which end; an OnStartup that
 * breaks its VM is told again when somebody else's event makes the next one, and not before.
 *
 * What a guild refuses is told later, after growing delays, a number of times; then, or when too
 * much is to be told, it is dropped, and the log says how much was.
 *
 * The rounds are under one lock. The thread takes those that are ready, one after another, and does
 * one step of each; it holds no lock when it calls store and dispatcher. A round that waits for
 * answers is nowhere but in the map, and whoever brings an answer makes it ready. */
#include "worker/lifecycle.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/base.h"
#include "base/clock.h"
#include "base/idmap.h"
#include "base/log.h"
#include "base/random.h"
#include "worker/expiry_event.h"
#include "worker/lifecycle_round.h"

enum {
    ROUNDS_MAX = 65536,
    SWEPT_MAX = ROUNDS_MAX / 2, /* rounds, before the start of the worker makes more */
    SEEN_MAX = 1 << 20,         /* guilds */
    READS_MAX = 64,             /* under way in the store */
    TRIES_MAX = 10,
    DELAY_MS = 1000, /* doubles */
    DELAY_MAX_MS = 60000
};

/* The guilds that have keys, page by page, when the worker started. */
typedef struct Sweep {
    bool active; /* from before the start to its end */
    bool started, reading;
    StoreRequest *page; /* came back */
    int at;
    int64_t after_id;
    int tries;
    uint64_t sleep_ms; /* not before then */
    IdMap seen;        /* guilds whose VMs were made meanwhile: they know */
} Sweep;

struct Lifecycle {
    Store *store;
    Dispatcher *dispatcher;
    pthread_t thread;

    /* All that follows: under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    IdMap rounds; /* by guild */
    Round *ready_first, *ready_last;
    DispatchHeap sleeping;
    Sweep sweep;
    int reads;        /* under way */
    size_t under_way; /* events */
    uint64_t dropped; /* rounds, since the log was told */
    bool stopping, stopped;
};

static uint64_t now_ms(void)
{
    return clock_monotonic_ns() / CLOCK_NS_PER_MS;
}

static uint64_t delay_ms(int tries)
{
    uint64_t delay = (uint64_t)DELAY_MS << (tries < 10 ? tries : 10);
    return delay < DELAY_MAX_MS ? delay : DELAY_MAX_MS;
}

/* ---- Rounds -----------------------------------------------------------------------------------
 */

static void make_ready_locked(Lifecycle *l, Round *round)
{
    if (round->ready || round->sleep.place)
        return;
    round->ready = true;
    round->next_ready = NULL;
    if (l->ready_first)
        l->ready_last->next_ready = round;
    else
        l->ready_first = round;
    l->ready_last = round;
    pthread_cond_signal(&l->changed);
}

static void drop_locked(Lifecycle *l, Round *round)
{
    l->dropped += !round->dropped;
    round->dropped = true;
}

/* It goes on after a while; or, after too many, not at all. */
static void put_off_locked(Lifecycle *l, Round *round, uint64_t at_least_ms)
{
    uint64_t delay = delay_ms(round->tries);
    if (round->sleep.place)
        return;
    if (++round->tries > TRIES_MAX || !dispatch_heap_reserve(&l->sleeping)) {
        drop_locked(l, round);
        return;
    }
    round->sleep.due_ns = now_ms() + (at_least_ms > 0 ? at_least_ms : delay);
    dispatch_heap_add(&l->sleeping, &round->sleep);
    pthread_cond_signal(&l->changed);
}

static Round *new_round_locked(Lifecycle *l, uint64_t guild_id)
{
    Round *round = l->rounds.count < ROUNDS_MAX ? calloc(1, sizeof(*round)) : NULL;
    if (!round || !idmap_put(&l->rounds, guild_id, round)) {
        free(round);
        return NULL;
    }
    round->lifecycle = l;
    round->guild_id = guild_id;
    return round;
}

void lifecycle_state(Lifecycle *l, VmHandle vm, VmState state, VmBrokenReason reason)
{
    if (state != VM_HEALTHY)
        return;
    bool keys = l->store != NULL;
    pthread_mutex_lock(&l->lock);
    Round *round = l->stopping ? NULL : idmap_get(&l->rounds, vm.guild_id);
    if (round) {
        round_remade(round, reason, keys);
    } else if (!l->stopping && (round = new_round_locked(l, vm.guild_id))) {
        round_begin(round, true, reason, keys);
        if (l->sweep.active && l->sweep.seen.count < SEEN_MAX) /* else it is told twice */
            idmap_put(&l->sweep.seen, vm.guild_id, l);
    } else {
        l->dropped += !l->stopping;
    }
    if (round)
        make_ready_locked(l, round);
    pthread_mutex_unlock(&l->lock);
}

static void forget_locked(Lifecycle *l, Round *round)
{
    if (round->sleep.place)
        dispatch_heap_remove(&l->sleeping, &round->sleep);
    idmap_remove(&l->rounds, round->guild_id);
    store_request_free(round->page);
    free(round);
}

/* ---- Telling ----------------------------------------------------------------------------------
 */

static TellingEnd end_of(const DispatchResult *result)
{
    if (result->outcome != DISPATCH_DONE)
        return TELLING_REFUSED;
    TellingEnd end = TELLING_RAN;
    for (int i = 0; i < result->count; i++) {
        KhronosStatus status = result->executions[i].status;
        if (status == KHRONOS_BROKEN && end == TELLING_RAN)
            end = TELLING_LOST;
        else if (status >= KHRONOS_MEMORY_LIMIT && status != KHRONOS_BROKEN)
            end = TELLING_TO_BLAME;
    }
    return end;
}

static void on_told(void *userdata, const DispatchResult *result)
{
    Telling *telling = userdata;
    Round *round = telling->round;
    Lifecycle *l = round->lifecycle;
    TellingEnd end = end_of(result);
    pthread_mutex_lock(&l->lock);
    round_told(telling, end, result->count > 0);
    if (end != TELLING_REFUSED)
        round->tries = 0;
    else if (result->outcome == DISPATCH_SHUTTING_DOWN)
        round->dropped = true;
    else
        put_off_locked(l, round, result->retry_after_ms);
    make_ready_locked(l, round);
    /* Last: then it may be freed. */
    l->under_way--;
    pthread_mutex_unlock(&l->lock);
}

/* Of nobody's memory: as if it had been refused. */
static void tell(Lifecycle *l, Telling *telling, uint64_t guild_id, ExpiryEvent *e, bool ok)
{
    DispatchRequest request = {
        .guild_id = guild_id,
        .event = &e->event,
        .wait_ms = UINT64_MAX,
        .complete = on_told,
        .userdata = telling,
    };
    if (ok)
        dispatcher_dispatch(l->dispatcher, &request);
    else
        on_told(telling, &(DispatchResult){.outcome = DISPATCH_NO_MEMORY});
    expiry_event_free(e);
}

static void tell_startup(Lifecycle *l, Round *round)
{
    ExpiryEvent e;
    bool first = round->reason == VM_NOT_BROKEN;
    round->startup_due = false;
    Telling *telling = round_tell(round, 0);
    uint64_t guild_id = round->guild_id;
    l->under_way++;
    bool ok = expiry_event_startup(&e, first ? "first run" : vm_reason_name(round->reason));
    pthread_mutex_unlock(&l->lock);
    tell(l, telling, guild_id, &e, ok);
    pthread_mutex_lock(&l->lock);
}

static void tell_key(Lifecycle *l, Round *round, StoreRecord *record)
{
    ExpiryEvent e;
    if (record->id == 0 || !record->resume || !round_wants(round, record->id))
        return;
    record->value = (Text){0};
    Telling *telling = round_tell(round, record->id);
    uint64_t guild_id = round->guild_id;
    l->under_way++;
    pthread_mutex_unlock(&l->lock);
    tell(l, telling, guild_id, &e, expiry_event_key(&e, "KeyResume", record));
    pthread_mutex_lock(&l->lock);
}

/* Once begun a page is told to its end: there is room for it, which nothing else takes meanwhile.
 */
static void tell_page(Lifecycle *l, Round *round)
{
    StoreRequest *page = round->page;
    round->page = NULL;
    round->reading = true; /* it cannot be over, nor begin anew */
    if (page->op == STORE_KV)
        for (int i = 0; i < page->op_count; i++)
            tell_key(l, round, &page->ops[i].record);
    for (int i = 0; i < page->record_count; i++) {
        int64_t id = page->records[i].id;
        if (round->until_id > 0 && id > round->until_id) {
            round->keys_due = false;
            break;
        }
        round->after_id = id;
        tell_key(l, round, &page->records[i]);
    }
    if (page->op == STORE_KV_RESUMES && page->next_id == 0)
        round->keys_due = false;
    round->reading = false;
    store_request_free(page);
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

static void on_page(StoreRequest *request)
{
    Round *round = request->userdata;
    Lifecycle *l = round->lifecycle;
    pthread_mutex_lock(&l->lock);
    l->reads--;
    round->reading = false;
    if (request->status == STORE_OK) {
        round->page = request;
        request = NULL;
    } else if (request->status == STORE_SHUTTING_DOWN) {
        round->dropped = true;
    } else {
        put_off_locked(l, round, 0);
    }
    make_ready_locked(l, round);
    pthread_cond_signal(&l->changed); /* one that waits for a read to end may go on */
    pthread_mutex_unlock(&l->lock);
    store_request_free(request);
}

/* Keys that were told in vain; else the next ones. NULL: no memory. */
static StoreRequest *page_request(const Round *round)
{
    int count = round->again.count;
    StoreRequest *request = store_request_new(count > 0 ? STORE_KV : STORE_KV_RESUMES,
                                              round->guild_id);
    if (!request || count == 0) {
        if (request) {
            request->after_id = round->after_id;
            request->count_max = round_room(round);
        }
        return request;
    }
    request->ops = store_request_alloc(request, (size_t)count * sizeof(StoreKvOp));
    if (!request->ops) {
        store_request_free(request);
        return NULL;
    }
    request->op_count = count;
    for (int i = 0; i < count; i++)
        request->ops[i] = (StoreKvOp){.kind = STORE_KV_EXISTS,
                                      .which = {.id = round->again.ids[i]}};
    return request;
}

static void read_page(Lifecycle *l, Round *round)
{
    StoreRequest *request = page_request(round);
    if (!request) {
        put_off_locked(l, round, 0);
        make_ready_locked(l, round);
        return;
    }
    round->begun = true;
    round->reading = true;
    l->reads++;
    request->complete = on_page;
    request->userdata = round;
    pthread_mutex_unlock(&l->lock);
    store_submit(l->store, request);
    pthread_mutex_lock(&l->lock);
}

/* One step, under the lock but for calls to others. */
static void step(Lifecycle *l, Round *round)
{
    if (round->dropped) {
        store_request_free(round->page);
        round->page = NULL;
    }
    round_advance(round);
    if (round_is_over(round)) {
        forget_locked(l, round);
    } else if (round->dropped || round->reading || round->sleep.place) {
        return; /* whoever brings the answer, or the time, makes it ready */
    } else if (round->page) {
        if (round->page->op == STORE_KV)
            round->again.count = 0;
        tell_page(l, round);
        make_ready_locked(l, round);
    } else if (round->startup_due && round_room(round) > 0) {
        tell_startup(l, round);
        make_ready_locked(l, round);
    } else if (round->again.count > 0 || (round->keys_due && round_room(round) > 0)) {
        read_page(l, round);
    }
}

/* ---- The start of the worker ------------------------------------------------------------------
 */

static void on_guilds(StoreRequest *request)
{
    Lifecycle *l = request->userdata;
    pthread_mutex_lock(&l->lock);
    l->reads--;
    l->sweep.reading = false;
    l->sweep.page = request;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

static void end_sweep(Sweep *sweep)
{
    sweep->active = false;
    idmap_free(&sweep->seen);
}

static void put_off_sweep(Sweep *sweep, StoreStatus status)
{
    if (sweep->tries == 0)
        log_message(LOG_WARN,
                    "lifecycle: which guilds have keys to resume cannot be read (%s); "
                    "it is tried again",
                    store_status_text(status));
    sweep->sleep_ms = now_ms() + delay_ms(sweep->tries++);
}

static void read_guilds(Lifecycle *l)
{
    StoreRequest *request = store_request_new(STORE_RESUMERS, 0);
    if (!request) {
        put_off_sweep(&l->sweep, STORE_NO_MEMORY);
        return;
    }
    request->after_id = l->sweep.after_id;
    request->complete = on_guilds;
    request->userdata = l;
    l->sweep.reading = true;
    l->reads++;
    pthread_mutex_unlock(&l->lock);
    store_submit(l->store, request);
    pthread_mutex_lock(&l->lock);
}

/* False: no memory. */
static bool sweep_guild(Lifecycle *l, uint64_t guild_id)
{
    if (idmap_get(&l->sweep.seen, guild_id) || idmap_get(&l->rounds, guild_id))
        return true;
    Round *round = new_round_locked(l, guild_id);
    if (!round)
        return false;
    round_begin(round, false, VM_NOT_BROKEN, true);
    make_ready_locked(l, round);
    return true;
}

static void sweep_page(Lifecycle *l)
{
    Sweep *sweep = &l->sweep;
    StoreRequest *page = sweep->page;
    for (; sweep->at < page->guild_count; sweep->at++) {
        if (l->rounds.count >= SWEPT_MAX)
            return;
        if (!sweep_guild(l, page->guild_ids[sweep->at])) {
            put_off_sweep(sweep, STORE_NO_MEMORY);
            return;
        }
    }
    if (page->status == STORE_SHUTTING_DOWN || (page->status == STORE_OK && page->next_id == 0))
        end_sweep(sweep);
    else if (page->status != STORE_OK)
        put_off_sweep(sweep, page->status);
    else {
        sweep->after_id = page->next_id;
        sweep->tries = 0;
    }
    sweep->at = 0;
    sweep->page = NULL;
    store_request_free(page);
}

/* When it goes on; UINT64_MAX: when something else happens. */
static uint64_t sweep_ms(const Lifecycle *l)
{
    const Sweep *sweep = &l->sweep;
    if (!sweep->started || !sweep->active || sweep->reading || l->rounds.count >= SWEPT_MAX)
        return UINT64_MAX;
    return sweep->sleep_ms;
}

static void sweep_step(Lifecycle *l)
{
    if (l->sweep.page)
        sweep_page(l);
    else
        read_guilds(l);
}

/* ---- The thread -------------------------------------------------------------------------------
 */

static void wake_sleepers(Lifecycle *l)
{
    for (DispatchTimer *timer; (timer = dispatch_heap_first(&l->sleeping));) {
        if (timer->due_ns > now_ms())
            return;
        dispatch_heap_remove(&l->sleeping, timer);
        make_ready_locked(l, (Round *)(void *)((char *)timer - offsetof(Round, sleep)));
    }
}

static void report_dropped(Lifecycle *l)
{
    if (l->dropped > 0)
        log_message(
            LOG_WARN,
            "lifecycle: %" PRIu64 " guilds were not told, or not all, that their VMs were "
            "made or the worker started: too much was to be told, or they could not take it",
            l->dropped);
    l->dropped = 0;
}

static void wait_locked(Lifecycle *l)
{
    const DispatchTimer *first = dispatch_heap_first(&l->sleeping);
    uint64_t until_ms = first ? first->due_ns : UINT64_MAX;
    if (!l->stopping && l->reads < READS_MAX && sweep_ms(l) < until_ms)
        until_ms = sweep_ms(l);
    report_dropped(l);
    if (until_ms == UINT64_MAX) {
        pthread_cond_wait(&l->changed, &l->lock);
        return;
    }
    struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
                             .tv_nsec = (long)(until_ms % 1000) * (long)CLOCK_NS_PER_MS};
    pthread_cond_timedwait(&l->changed, &l->lock, &until);
}

static void *thread_main(void *arg)
{
    Lifecycle *l = arg;
    pthread_mutex_lock(&l->lock);
    while (!l->stopping || l->reads > 0) {
        wake_sleepers(l);
        if (!l->stopping && l->reads < READS_MAX) {
            Round *round = l->ready_first;
            if (round) {
                l->ready_first = round->next_ready;
                round->ready = false;
                step(l, round);
                continue;
            }
            if (sweep_ms(l) <= now_ms()) {
                sweep_step(l);
                continue;
            }
        }
        wait_locked(l);
    }
    report_dropped(l);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

Lifecycle *lifecycle_new(Store *store, Dispatcher *dispatcher)
{
    pthread_condattr_t attributes;
    Lifecycle *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->store = store;
    l->dispatcher = dispatcher;
    l->sweep.active = store != NULL;
    idmap_init(&l->rounds, random_u64());
    idmap_init(&l->sweep.seen, random_u64());
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&l->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&l->thread, NULL, thread_main, l) != 0) {
        l->stopped = true;
        lifecycle_free(l);
        return NULL;
    }
    return l;
}

void lifecycle_start(Lifecycle *l)
{
    pthread_mutex_lock(&l->lock);
    l->sweep.started = true;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

void lifecycle_stop(Lifecycle *l)
{
    if (l->stopped)
        return;
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    l->stopped = true;
}

void lifecycle_free(Lifecycle *l)
{
    if (!l)
        return;
    lifecycle_stop(l);
    pthread_mutex_lock(&l->lock); /* who brought the last answer is gone from here */
    BASE_ASSERT(l->under_way == 0);
    pthread_mutex_unlock(&l->lock);
    size_t cursor = 0;
    for (Round *round; (round = idmap_next(&l->rounds, &cursor));) {
        store_request_free(round->page);
        free(round);
    }
    store_request_free(l->sweep.page);
    idmap_free(&l->rounds);
    idmap_free(&l->sweep.seen);
    dispatch_heap_free(&l->sleeping);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
