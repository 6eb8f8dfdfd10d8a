/* What is due, and when something will be. */
#include <limits.h>

#include "worker/expiry_state.h"

enum {
    TAKE_MAX = 1000,   /* occasions at a time */
    PUT_OFF_MS = 30000 /* what there is no room for, at least */
};

static void accept(Expiry *x, Occasion *occasion)
{
    occasion->expiry = x;
    if (expiry_queue_admits(&x->queue, occasion)) {
        expiry_queue_add(&x->queue, occasion);
        return;
    }
    /* Others need the room. Back it goes; a thousand of them in a second, not all at once. */
    int64_t later_ms = PUT_OFF_MS + occasion->guild->put_off++;
    occasion->retry_ms = x->now_ms +
                         (later_ms < EXPIRY_DELAY_MAX_MS ? later_ms : EXPIRY_DELAY_MAX_MS);
    expiry_note(x, occasion, VERDICT_LATER);
}

/* Everything that was taken, or up to where memory ends. False: that. */
static bool accept_taken(Expiry *x)
{
    while (x->look_at < x->look->due_count) {
        Occasion *occasion = expiry_queue_take(&x->queue, &x->look->dues[x->look_at]);
        if (!occasion) {
            x->look_ms = x->steady_ms + EXPIRY_DELAY_MS;
            return false;
        }
        x->look_at++;
        accept(x, occasion);
    }
    return true;
}

static void look_at_taken(Expiry *x)
{
    StoreRequest *request = x->look;
    if (!accept_taken(x))
        return;
    if (request->status != STORE_OK || request->due_count == request->count_max)
        x->next_ms = x->now_ms;
    else
        x->ask_next = true;
    x->took_nothing = request->due_count == 0;
    store_request_free(request);
    x->look = NULL;
}

static void look_at_next(Expiry *x)
{
    StoreRequest *request = x->look;
    int64_t next_ms = request->next_ms == STORE_NO_TIME ? EXPIRY_NEVER_MS : request->next_ms;
    if (x->took_nothing && next_ms <= x->now_ms)
        next_ms = x->now_ms + EXPIRY_DELAY_MS; /* it says so, but gives nothing out */
    if (request->status != STORE_OK)
        x->ask_next = true;
    else if (next_ms < x->next_ms)
        x->next_ms = next_ms;
    store_request_free(request);
    x->look = NULL;
}

/* DUE_TAKE or DUE_NEXT came back. Whatever its failure is, it is one of the store. */
void expiry_look_back(Expiry *x)
{
    StoreRequest *request = x->look;
    bool is_take = request->op == STORE_DUE_TAKE;
    ExpiryGate *gate = is_take ? &x->writes : &x->reads;
    gate->under_way--;
    if (request->status == STORE_OK)
        expiry_gate_pass(gate);
    else
        expiry_gate_fail(x, gate, request->status, request->message);
    x->look_at = 0;
    if (is_take)
        look_at_taken(x);
    else
        look_at_next(x);
}

static bool wants_take(const Expiry *x)
{
    return expiry_queue_room(&x->queue) >= TAKE_MAX && x->next_ms != EXPIRY_NEVER_MS;
}

void expiry_look(Expiry *x)
{
    bool take = !x->ask_next;
    ExpiryGate *gate = take ? &x->writes : &x->reads;
    if (x->look_ms > 0 && x->steady_ms >= x->look_ms) {
        x->look_ms = 0;
        look_at_taken(x);
    }
    if (x->look || !expiry_gate_open(x, gate, INT_MAX) ||
        (take && (!wants_take(x) || x->next_ms > x->now_ms)))
        return;
    StoreRequest *request = store_request_new(take ? STORE_DUE_TAKE : STORE_DUE_NEXT, 0);
    if (!request) {
        expiry_gate_fail(x, gate, STORE_NO_MEMORY, (Text){0});
        return;
    }
    request->now_ms = x->now_ms;
    request->count_max = take ? TAKE_MAX : 0;
    request->complete = expiry_on_look;
    request->userdata = x;
    x->look = request;
    x->ask_next = false;
    if (take)
        x->next_ms = EXPIRY_NEVER_MS; /* until it comes back */
    gate->under_way++;
    store_submit(x->store, request);
}

void expiry_look_over(Expiry *x)
{
    if (x->look_ms == 0)
        return;
    x->look_ms = 0;
    store_request_free(x->look);
    x->look = NULL;
}

int64_t expiry_look_ms(const Expiry *x)
{
    if (x->look_ms > 0)
        return expiry_wall_ms(x, x->look_ms);
    if (x->look)
        return EXPIRY_NEVER_MS;
    int64_t gate_ms = expiry_gate_ms(x, x->ask_next ? &x->reads : &x->writes);
    if (x->ask_next)
        return gate_ms;
    if (!wants_take(x))
        return EXPIRY_NEVER_MS;
    return x->next_ms > gate_ms ? x->next_ms : gate_ms;
}
