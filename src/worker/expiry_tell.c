/* Occasions whose turn it is: their records are read, and they are told. */
#include <inttypes.h>
#include <limits.h>

#include "base/log.h"
#include "worker/expiry_event.h"
#include "worker/expiry_state.h"

enum { GUILD_DELAY_MAX_MS = 60000, WHY_MAX = 300 /* bytes of an error */ };

/* What is to be done about a record that was read. Nothing: it is gone, or was armed anew for a
 * time to come; then the store does not know this occasion any more. Were it just the clock that
 * went back, it does: so it is put off until then, which is right for both. */
static Verdict judge_record(const Expiry *x, Occasion *occasion, int64_t due_ms, bool has_failed)
{
    if (due_ms == STORE_NO_TIME || has_failed)
        return VERDICT_NOTHING;
    occasion->retry_ms = due_ms;
    return due_ms > x->now_ms ? VERDICT_LATER : VERDICT_DONE;
}

static Verdict judge(const Expiry *x, Occasion *occasion)
{
    const StoreRequest *request = occasion->request;
    if (request->status == STORE_NOT_FOUND)
        return VERDICT_NOTHING;
    if (request->status != STORE_OK)
        return VERDICT_FAILED;
    if (occasion->due.kind == STORE_DUE_EXPIRY) {
        const StoreRecord *record = &request->ops[0].record;
        return record->id == 0 ? VERDICT_NOTHING
                               : judge_record(x, occasion, record->expires_ms, record->has_failed);
    }
    if (request->schedule_count == 0)
        return VERDICT_NOTHING;
    return judge_record(x, occasion, request->schedules[0].due_ms,
                        request->schedules[0].has_failed);
}

/* For the log. */
static char *describe(const DispatchExecution *x)
{
    size_t length = x->message.length < WHY_MAX ? x->message.length : WHY_MAX;
    Strbuf out = STRBUF_INIT;
    strbuf_printf(&out, "template %s, version %u: ", x->template_name, (unsigned)x->version);
    if (length > 0)
        strbuf_put(&out, x->message.data, length);
    else
        strbuf_puts(&out, "its handler failed");
    strbuf_putc(&out, '\0');
    if (!out.failed)
        return out.data;
    strbuf_free(&out);
    return NULL;
}

static void judge_runs(Occasion *occasion, const DispatchResult *result)
{
    occasion->verdict = VERDICT_DONE;
    for (int i = 0; i < result->count && occasion->verdict == VERDICT_DONE; i++) {
        const DispatchExecution *x = &result->executions[i];
        if (x->status == KHRONOS_OK)
            continue;
        occasion->verdict = VERDICT_FAILED;
        if (expiry_is_logged(occasion))
            occasion->why = describe(x);
    }
}

static void on_told(void *userdata, const DispatchResult *result)
{
    Occasion *occasion = userdata;
    /* Templates that cannot be had: after growing delays, as nobody knows how long. */
    occasion->retry_after_ms = result->outcome == DISPATCH_UNAVAILABLE ? 0 : result->retry_after_ms;
    switch (result->outcome) {
    case DISPATCH_DONE: judge_runs(occasion, result); break;
    case DISPATCH_ACCEPTED: /* neither can be: the wait has no end */
    case DISPATCH_RETURN_TIMEOUT: occasion->verdict = VERDICT_FAILED; break;
    default: occasion->refused = true; break;
    }
    expiry_come_back(occasion);
}

static void dispatch(Expiry *x, Occasion *occasion)
{
    ExpiryEvent e;
    const StoreRequest *request = occasion->request;
    const StoreSchedule *schedule = request->schedules;
    bool ok = occasion->due.kind == STORE_DUE_EXPIRY
                  ? expiry_event_key(&e, "KeyExpiry", &request->ops[0].record)
                  : expiry_event_scheduled(&e, schedule->name, schedule->due_ms,
                                           occasion->due.attempts + 1);
    expiry_event_name(&e, &occasion->due);
    store_request_free(occasion->request);
    occasion->request = NULL;
    occasion->step = OCCASION_TOLD;
    occasion->refused = false;
    DispatchRequest told = {
        .guild_id = occasion->due.guild_id,
        .event = &e.event,
        .again = true,
        .wait_ms = UINT64_MAX,
        .complete = on_told,
        .userdata = occasion,
    };
    if (ok)
        dispatcher_dispatch(x->dispatcher, &told);
    else
        on_told(occasion, &(DispatchResult){.outcome = DISPATCH_NO_MEMORY});
    expiry_event_free(&e);
}

static void tell(Expiry *x, Occasion *occasion)
{
    Verdict verdict = judge(x, occasion);
    if (verdict == VERDICT_DONE) {
        dispatch(x, occasion);
        return;
    }
    if (verdict == VERDICT_FAILED)
        log_message(LOG_ERROR, "guild %" PRIu64 ": what is due (id %" PRId64 ") cannot be read: %s",
                    occasion->due.guild_id, occasion->due.id,
                    store_status_text(occasion->request->status));
    store_request_free(occasion->request);
    occasion->request = NULL;
    if (verdict == VERDICT_FAILED)
        expiry_note_failed(x, occasion);
    else
        expiry_note(x, occasion, verdict);
}

/* Readers are many and come back in any order; a guild's occasions are told in theirs. */
static void tell_read(Expiry *x, ExpiryGuild *guild)
{
    for (Occasion *o = guild->read_first, *next; o && o->step == OCCASION_READ; o = next) {
        next = o->next_read; /* else the guild may be gone */
        guild->read_first = next;
        tell(x, o);
    }
}

static void leave_read(ExpiryGuild *guild, Occasion *occasion)
{
    Occasion **place = &guild->read_first, *before = NULL;
    while (*place != occasion) {
        before = *place;
        place = &before->next_read;
    }
    *place = occasion->next_read;
    if (guild->read_last == occasion)
        guild->read_last = before;
}

/* Back into the queue: it is told later, and nothing happened. */
static void put_back(Expiry *x, Occasion *occasion)
{
    expiry_queue_add(&x->queue, occasion);
    expiry_queue_leave(&x->queue, occasion);
}

void expiry_read_back(Expiry *x, Occasion *occasion)
{
    ExpiryGuild *guild = occasion->guild;
    expiry_gate_result(x, &x->reads, occasion->request);
    if (expiry_is_outage(occasion->request->status)) {
        store_request_free(occasion->request);
        occasion->request = NULL;
        leave_read(guild, occasion);
        put_back(x, occasion);
    } else {
        occasion->step = OCCASION_READ;
    }
    tell_read(x, guild);
}

static StoreRequest *read_request(const StoreDue *due)
{
    bool is_key = due->kind == STORE_DUE_EXPIRY;
    StoreRequest *request = store_request_new(is_key ? STORE_KV : STORE_SCHEDULE_GET,
                                              due->guild_id);
    if (!request)
        return NULL;
    request->id = due->id;
    if (!is_key)
        return request;
    request->ops = store_request_alloc(request, sizeof(StoreKvOp));
    if (!request->ops) {
        store_request_free(request);
        return NULL;
    }
    request->ops[0] = (StoreKvOp){.kind = STORE_KV_GET, .which = {.id = due->id}};
    request->op_count = 1;
    return request;
}

static void read_record(Expiry *x, Occasion *occasion, StoreRequest *request)
{
    ExpiryGuild *guild = occasion->guild;
    request->complete = expiry_on_occasion;
    request->userdata = occasion;
    occasion->request = request;
    occasion->step = OCCASION_READING;
    occasion->next_read = NULL;
    if (guild->read_first)
        guild->read_last->next_read = occasion;
    else
        guild->read_first = occasion;
    guild->read_last = occasion;
    x->reads.under_way++;
    store_submit(x->store, request);
}

void expiry_start(Expiry *x)
{
    Occasion *occasion;
    while (expiry_gate_open(x, &x->reads, INT_MAX) && (occasion = expiry_queue_start(&x->queue))) {
        StoreRequest *request = read_request(&occasion->due);
        if (request) {
            read_record(x, occasion, request);
        } else {
            expiry_gate_fail(x, &x->reads, STORE_NO_MEMORY, (Text){0});
            put_back(x, occasion);
        }
    }
}

/* The guild takes nothing now: it gets nothing for a while. */
static void refused(Expiry *x, Occasion *occasion)
{
    ExpiryGuild *guild = occasion->guild;
    if (!guild->hold.place) {
        uint64_t delay = expiry_delay(EXPIRY_DELAY_MS, guild->refusals, GUILD_DELAY_MAX_MS);
        guild->refusals++;
        if (occasion->retry_after_ms > 0)
            delay = occasion->retry_after_ms;
        if (!expiry_queue_hold(&x->queue, guild, x->steady_ms + delay)) {
            occasion->retry_ms = x->now_ms + (int64_t)delay;
            expiry_note(x, occasion, VERDICT_LATER);
            return;
        }
    }
    put_back(x, occasion);
}

void expiry_told(Expiry *x, Occasion *occasion)
{
    if (occasion->refused) {
        refused(x, occasion);
        return;
    }
    occasion->guild->refusals = 0;
    expiry_count(&x->told);
    if (occasion->verdict == VERDICT_DONE) {
        expiry_note(x, occasion, VERDICT_DONE);
        return;
    }
    expiry_count(&x->failed);
    expiry_note_failed(x, occasion);
}
