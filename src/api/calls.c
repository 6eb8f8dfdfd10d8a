#include "api/calls.h"

#include <stdlib.h>

#include "api/call.h"
#include "api/loop.h"
#include "base/clock.h"

enum { CONTROL_WAIT_S = 30 };

void calls_init(CallTable *table)
{
    *table = (CallTable){.waiting = NULL};
    pthread_mutex_init(&table->lock, NULL);
    idmap_init(&table->running, random_u64());
}

void calls_free(CallTable *table)
{
    idmap_free(&table->running);
    pthread_mutex_destroy(&table->lock);
}

/* ---- The table --------------------------------------------------------------------------------
 */

/* 0: no id of ours. Ids are random: that two share this half is not to be expected, and the second
 * would not be found while it runs, no more. */
static uint64_t key_of(const char *id)
{
    uint64_t key = 0;
    for (int i = 0; i < (RANDOM_ID_SIZE - 1) / 2; i++) {
        char c = id[i];
        if (c >= '0' && c <= '9')
            key = key << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            key = key << 4 | (uint64_t)(c - 'a' + 10);
        else
            return 0;
    }
    return key;
}

bool calls_room(const CallTable *table)
{
    return atomic_load_explicit(&table->running_count, memory_order_relaxed) < CALLS_RUNNING_MAX &&
           atomic_load_explicit(&table->bytes, memory_order_relaxed) < CALLS_BODIES_MAX_BYTES;
}

static void run_locked(CallTable *table, ApiCall *call)
{
    uint64_t key = key_of(call->execution_id);
    if (key == 0 || idmap_get(&table->running, key) || !idmap_put(&table->running, key, call))
        return;
    call->runs = true;
    atomic_fetch_add_explicit(&table->running_count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&table->bytes, call->body.capacity, memory_order_relaxed);
}

void calls_enter(CallTable *table, ApiCall *call)
{
    pthread_mutex_lock(&table->lock);
    call->next = table->waiting;
    call->previous = NULL;
    if (table->waiting)
        table->waiting->previous = call;
    table->waiting = call;
    call->waits = true;
    if (call->executes && !call->ended)
        run_locked(table, call);
    pthread_mutex_unlock(&table->lock);
}

bool calls_begin(CallTable *table, ApiCall *call)
{
    pthread_mutex_lock(&table->lock);
    /* Relaxed: take_overdue claims under the lock. */
    bool open = atomic_load_explicit(&call->state, memory_order_relaxed) == CALL_OPEN;
    if (open) {
        call->executes = true;
        if (call->waits)
            run_locked(table, call);
    }
    pthread_mutex_unlock(&table->lock);
    return open;
}

static void leave_locked(CallTable *table, ApiCall *call)
{
    if (!call->waits)
        return;
    if (call->previous)
        call->previous->next = call->next;
    else
        table->waiting = call->next;
    if (call->next)
        call->next->previous = call->previous;
    call->previous = call->next = NULL;
    call->waits = false;
}

void calls_leave(CallTable *table, ApiCall *call)
{
    pthread_mutex_lock(&table->lock);
    leave_locked(table, call);
    pthread_mutex_unlock(&table->lock);
}

void calls_ended(CallTable *table, ApiCall *call)
{
    pthread_mutex_lock(&table->lock);
    leave_locked(table, call);
    call->ended = true;
    if (call->runs) {
        call->runs = false;
        idmap_remove(&table->running, key_of(call->execution_id));
        atomic_fetch_sub_explicit(&table->running_count, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&table->bytes, call->body.capacity, memory_order_relaxed);
    }
    pthread_mutex_unlock(&table->lock);
}

static bool copy_if(const ApiCall *call, const char *id, RunningExecution *found)
{
    if (!call || memcmp(call->execution_id, id, RANDOM_ID_SIZE - 1) != 0)
        return false;
    *found = (RunningExecution){.guild_id = call->request.guild_id, .version = call->version};
    memcpy(found->template_name, call->template_name, sizeof(found->template_name));
    return true;
}

/* From its loop an execution goes to the table, and is in both for a moment: looked for in this
 * order it is found. */
bool calls_find(ApiServer *server, const char *id, size_t length, RunningExecution *found)
{
    uint64_t key = length == RANDOM_ID_SIZE - 1 ? key_of(id) : 0;
    bool is_there = false;
    ApiLoop *loop;
    if (key == 0)
        return false;
    for (int i = 0; !is_there && (loop = server_loop(server, i)) != NULL; i++) {
        pthread_mutex_lock(&loop->lock);
        is_there = copy_if(loop->begins, id, found);
        pthread_mutex_unlock(&loop->lock);
    }
    if (is_there)
        return true;
    CallTable *table = server_calls(server);
    pthread_mutex_lock(&table->lock);
    is_there = copy_if(idmap_get(&table->running, key), id, found);
    pthread_mutex_unlock(&table->lock);
    return is_there;
}

/* Takes the calls whose time is up out of the list. */
static ApiCall *take_overdue(CallTable *table, uint64_t now_ns)
{
    ApiCall *overdue = NULL;
    pthread_mutex_lock(&table->lock);
    for (ApiCall *call = table->waiting, *next; call; call = next) {
        next = call->next;
        if (call->deadline_ns > now_ns || !call_claim(call))
            continue;
        leave_locked(table, call);
        call_retain(call);
        call->next = overdue;
        overdue = call;
    }
    pthread_mutex_unlock(&table->lock);
    return overdue;
}

void calls_expire(CallTable *table, uint64_t now_ns)
{
    for (ApiCall *call = take_overdue(table, now_ns), *next; call; call = next) {
        next = call->next;
        call->next = NULL;
        call->timeout(call);
        call_answered(call);
        call_release(call);
    }
}

/* ---- One call ---------------------------------------------------------------------------------
 */

void call_retain(ApiCall *call)
{
    /* Relaxed: whoever gives a reference away has one. */
    atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
}

void call_release(ApiCall *call)
{
    if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) != 1)
        return;
    strbuf_free(&call->body);
    strbuf_free(&call->response);
    strbuf_free(&call->result);
    execute_request_free(&call->request);
    free(call);
}

bool call_claim(ApiCall *call)
{
    int open = CALL_OPEN;
    /* Relaxed: what the claimer writes is published by call_answered. */
    return atomic_compare_exchange_strong_explicit(&call->state, &open, CALL_CLAIMED,
                                                   memory_order_relaxed, memory_order_relaxed);
}

static void meet(ApiCall *call)
{
    /* acq_rel: the second sees what the first did: the response, the suspension. */
    if (atomic_fetch_add_explicit(&call->meeting, 1, memory_order_acq_rel) == 0)
        return;
    calls_leave(server_calls(call->server), call);
    loop_resume(call->loop, call);
}

void call_answered(ApiCall *call)
{
    /* release: the response is seen by the thread that sends it. */
    atomic_store_explicit(&call->state, CALL_ANSWERED, memory_order_release);
    meet(call);
}

bool call_wait(ApiCall *call, uint64_t deadline_ns, void (*timeout)(ApiCall *call))
{
    if (atomic_load_explicit(&call->state, memory_order_acquire) == CALL_ANSWERED)
        return false;
    call->deadline_ns = deadline_ns;
    call->timeout = timeout;
    MHD_suspend_connection(call->connection);
    calls_enter(server_calls(call->server), call);
    meet(call);
    return true;
}

static void control_timeout(ApiCall *call)
{
    call_fail_text(call, 504, "return_timeout",
                   "the guild's thread does not answer; the request "
                   "still stands");
}

bool call_wait_control(ApiCall *call)
{
    return call_wait(call, clock_monotonic_ns() + CONTROL_WAIT_S * CLOCK_NS_PER_S, control_timeout);
}

/* ---- Responses --------------------------------------------------------------------------------
 */

void call_fail(ApiCall *call, const ApiError *error)
{
    strbuf_clear(&call->response);
    error_body(&call->response, error);
    call->status = error->status;
    call->retry_after_s = (unsigned)((error->retry_after_ms + 999) / 1000);
}

void call_fail_text(ApiCall *call, unsigned status, const char *code, const char *message)
{
    ApiError error = {.status = status, .code = code, .message = message};
    call_fail(call, &error);
}

void call_fail_memory(ApiCall *call)
{
    call_fail_text(call, 500, "internal_error", "not enough memory for the response");
}

void call_fail_dispatch(ApiCall *call, DispatchOutcome outcome, uint64_t retry_after_ms,
                        const char *message)
{
    ApiError error = {.template_name = call->template_name};
    outcome_error(outcome, &error);
    if (error.status == 429 || outcome == DISPATCH_UNAVAILABLE)
        error.retry_after_ms = retry_after_ms;
    if (message)
        error.message = message;
    call_fail(call, &error);
}

void call_fail_action(ApiCall *call, const LuaVmAction *action)
{
    static const DispatchOutcome outcomes[] = {
        [VM_ACTION_DONE] = DISPATCH_DONE,
        [VM_ACTION_QUEUE_FULL] = DISPATCH_QUEUE_FULL,
        [VM_ACTION_PAUSED] = DISPATCH_PAUSED,
        [VM_ACTION_SHUTTING_DOWN] = DISPATCH_SHUTTING_DOWN,
        [VM_ACTION_VM_BROKEN] = DISPATCH_VM_BROKEN,
        [VM_ACTION_NOT_FOUND] = DISPATCH_NOT_FOUND,
        [VM_ACTION_NO_MEMORY] = DISPATCH_NO_MEMORY,
    };
    call_fail_dispatch(call, outcomes[action->outcome], action->retry_after_ms, NULL);
}

void call_succeed(ApiCall *call, unsigned status)
{
    call->status = status;
    if (call->response.failed)
        call_fail_memory(call);
}
