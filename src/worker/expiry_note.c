/* What became of occasions, on its way to the store; and whether the store works. */
#include <inttypes.h>

#include "base/log.h"
#include "worker/expiry_state.h"

enum {
    STORE_DELAY_MAX_MS = 60000,
    NOTES_MAX = 256 /* under way in the store, which makes them durable together */
};

uint64_t expiry_delay(uint64_t first, int times, uint64_t max)
{
    uint64_t delay = times < 20 ? first << times : max;
    return delay < max ? delay : max;
}

void expiry_count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- The store as a whole ---------------------------------------------------------------------
 */

bool expiry_is_outage(StoreStatus status)
{
    switch (status) {
    case STORE_QUEUE_FULL:
    case STORE_DISK_FULL:
    case STORE_LOCKED:
    case STORE_READ_ONLY:
    case STORE_GONE:
    case STORE_SHUTTING_DOWN:
    case STORE_NO_MEMORY: return true;
    default: return false;
    }
}

bool expiry_gate_open(const Expiry *x, const ExpiryGate *gate, int max)
{
    if (gate->failing)
        return gate->under_way == 0 && x->steady_ms >= gate->at_ms;
    return gate->under_way < max;
}

void expiry_gate_fail(Expiry *x, ExpiryGate *gate, StoreStatus status, Text message)
{
    if (gate->failing && x->steady_ms < gate->at_ms)
        return; /* it was under way when the first one failed */
    if (!gate->failing)
        log_message(LOG_WARN,
                    "expiry: %s fails (%s%s%.*s); what is due is told when it works again",
                    gate->what, store_status_text(status), message.data ? ": " : "",
                    (int)message.length, message.data ? message.data : "");
    gate->delay_ms = gate->failing ? expiry_delay(gate->delay_ms, 1, STORE_DELAY_MAX_MS)
                                   : EXPIRY_DELAY_MS;
    gate->at_ms = x->steady_ms + gate->delay_ms;
    gate->failing = true;
}

void expiry_gate_pass(ExpiryGate *gate)
{
    if (gate->failing)
        log_message(LOG_INFO, "expiry: %s works again", gate->what);
    gate->failing = false;
}

void expiry_gate_result(Expiry *x, ExpiryGate *gate, const StoreRequest *request)
{
    gate->under_way--;
    if (expiry_is_outage(request->status))
        expiry_gate_fail(x, gate, request->status, request->message);
    else
        expiry_gate_pass(gate);
}

int64_t expiry_wall_ms(const Expiry *x, uint64_t steady_ms)
{
    return steady_ms > x->steady_ms ? x->now_ms + (int64_t)(steady_ms - x->steady_ms) : x->now_ms;
}

int64_t expiry_gate_ms(const Expiry *x, const ExpiryGate *gate)
{
    if (!gate->failing)
        return x->now_ms;
    return gate->under_way > 0 ? EXPIRY_NEVER_MS : expiry_wall_ms(x, gate->at_ms);
}

/* ---- Notes ------------------------------------------------------------------------------------
 */

void expiry_note(Expiry *x, Occasion *occasion, Verdict verdict)
{
    occasion->verdict = verdict;
    if (verdict == VERDICT_NOTHING) {
        expiry_queue_drop(&x->queue, occasion);
        return;
    }
    occasion->step = OCCASION_JUDGED;
    occasion->next = NULL;
    if (x->notes_first)
        x->notes_last->next = occasion;
    else
        x->notes_first = occasion;
    x->notes_last = occasion;
}

bool expiry_is_logged(const Occasion *occasion)
{
    int attempts = occasion->due.attempts;
    return attempts == 0 || attempts + 1 >= STORE_EXPIRY_ATTEMPTS_MAX;
}

/* Failures may be many at a time: so many of a second are logged, of the others how many they were
 * (expiry_log_rest). */
static bool may_log(Expiry *x)
{
    if (x->steady_ms - x->logged_at_ms >= 1000) {
        expiry_log_rest(x);
        x->logged_at_ms = x->steady_ms;
        x->logged = 0;
    }
    if (x->logged < EXPIRY_LOGGED_PER_SECOND) {
        x->logged++;
        return true;
    }
    x->unlogged++;
    expiry_count(&x->unlogged_ever);
    return false;
}

void expiry_log_rest(Expiry *x)
{
    if (x->unlogged > 0)
        log_message(LOG_WARN, "%d more failures of expiries and schedules were not logged",
                    x->unlogged);
    x->unlogged = 0;
}

static void log_failure(Expiry *x, const Occasion *occasion, int64_t delay_ms)
{
    const StoreDue *due = &occasion->due;
    const char *why = occasion->why ? occasion->why : "unknown why";
    const char *what = due->kind == STORE_DUE_EXPIRY ? "the expiry of the key with id" : "schedule";
    if (!may_log(x))
        return;
    if (due->attempts + 1 >= STORE_EXPIRY_ATTEMPTS_MAX)
        log_message(LOG_WARN,
                    "guild %" PRIu64 ": %s %" PRId64 " failed %d times and is given up: %s",
                    due->guild_id, what, due->id, due->attempts + 1, why);
    else
        log_message(LOG_WARN,
                    "guild %" PRIu64 ": %s %" PRId64
                    " failed and is told again in %.3g s, %d times in all at most: %s",
                    due->guild_id, what, due->id, (double)delay_ms / 1e3, STORE_EXPIRY_ATTEMPTS_MAX,
                    why);
}

void expiry_note_failed(Expiry *x, Occasion *occasion)
{
    int64_t delay_ms = (int64_t)expiry_delay(EXPIRY_DELAY_MS, occasion->due.attempts,
                                             EXPIRY_DELAY_MAX_MS);
    occasion->retry_ms = x->now_ms + delay_ms;
    if (occasion->due.attempts + 1 >= STORE_EXPIRY_ATTEMPTS_MAX)
        expiry_count(&x->given_up);
    if (expiry_is_logged(occasion))
        log_failure(x, occasion, delay_ms);
    expiry_note(x, occasion, VERDICT_FAILED);
}

static Occasion *next_note(Expiry *x)
{
    Occasion *occasion = x->notes_first;
    x->notes_first = occasion->next;
    return occasion;
}

static void send_note(Expiry *x, Occasion *occasion)
{
    bool done = occasion->verdict == VERDICT_DONE;
    StoreRequest *request = store_request_new(done ? STORE_DUE_DONE : STORE_DUE_RETRY,
                                              occasion->due.guild_id);
    if (!request) {
        expiry_gate_fail(x, &x->writes, STORE_NO_MEMORY, (Text){0});
        expiry_note(x, occasion, occasion->verdict);
        return;
    }
    request->due = occasion->due;
    request->now_ms = x->now_ms;
    request->retry_ms = occasion->retry_ms;
    request->failed = occasion->verdict == VERDICT_FAILED;
    request->complete = expiry_on_occasion;
    request->userdata = occasion;
    occasion->request = request;
    occasion->step = OCCASION_NOTING;
    x->writes.under_way++;
    store_submit(x->store, request);
}

void expiry_send_notes(Expiry *x)
{
    while (x->notes_first && expiry_gate_open(x, &x->writes, NOTES_MAX))
        send_note(x, next_note(x));
}

/* The store would not note this one, for reasons of its own: it rests, the others go on. */
static void rest(Expiry *x, Occasion *occasion, const StoreRequest *request)
{
    log_message(LOG_ERROR, "guild %" PRIu64 ": that %s %" PRId64 " was told cannot be noted: %s",
                occasion->due.guild_id,
                occasion->due.kind == STORE_DUE_EXPIRY ? "the expiry of the key with id"
                                                       : "schedule",
                occasion->due.id, store_status_text(request->status));
    if (!dispatch_heap_reserve(&x->rests)) {
        expiry_note(x, occasion, occasion->verdict);
        return;
    }
    occasion->rest.due_ns = x->steady_ms +
                            expiry_delay(EXPIRY_DELAY_MS, occasion->tries, EXPIRY_DELAY_MAX_MS);
    occasion->tries += occasion->tries < UINT8_MAX;
    dispatch_heap_add(&x->rests, &occasion->rest);
}

static Occasion *next_rested(Expiry *x, uint64_t before_ms)
{
    DispatchTimer *timer = dispatch_heap_first(&x->rests);
    if (!timer || timer->due_ns > before_ms)
        return NULL;
    dispatch_heap_remove(&x->rests, timer);
    return (Occasion *)(void *)((char *)timer - offsetof(Occasion, rest));
}

void expiry_wake_rested(Expiry *x)
{
    for (Occasion *occasion; (occasion = next_rested(x, x->steady_ms));)
        expiry_note(x, occasion, occasion->verdict);
}

static void give_up_note(Expiry *x, Occasion *occasion)
{
    x->unnoted++;
    expiry_queue_drop(&x->queue, occasion);
}

void expiry_give_up_notes(Expiry *x)
{
    for (Occasion *occasion; (occasion = next_rested(x, UINT64_MAX));)
        give_up_note(x, occasion);
    while (x->notes_first && x->writes.failing)
        give_up_note(x, next_note(x));
}

void expiry_noted(Expiry *x, Occasion *occasion)
{
    StoreRequest *request = occasion->request;
    occasion->request = NULL;
    expiry_gate_result(x, &x->writes, request);
    switch (request->status) {
    case STORE_OK:
    case STORE_NOT_FOUND: /* nothing is left to note it of */
    case STORE_CONFLICT: expiry_queue_drop(&x->queue, occasion); break;
    default:
        if (expiry_is_outage(request->status))
            expiry_note(x, occasion, occasion->verdict);
        else
            rest(x, occasion, request);
    }
    store_request_free(request);
}
