/* Calls of a runtime: made on the VM's fiber, taken and answered between steps.
 *
 *     khronos_call -> queued -> khronos_take_call -> (the world outside) -> khronos_answer
 *         -> held by the task that waited -> push -> dropped
 *
 * A call counts as under way until it is dropped, also when the thread that made it is gone: until
 * its answer comes, somebody works on it. What is still queued when the VM breaks is dropped; what
 * was taken finds another VM, or none, when it comes back, and is dropped by whoever sees that. */
#include "base/base.h"
#include "base/random.h"
#include "khronos/runtime.h"

/* ---- Tickets ----------------------------------------------------------------------------------
 * A runtime counts from a number that nobody can guess, so no answer to one VM fits another. */

KhronosTicket calls_ticket(Scheduler *s)
{
    if (s->ticket == 0) /* half of the numbers, so that the count never comes round */
        s->ticket = s->first_ticket = random_u64() >> 1;
    return ++s->ticket;
}

static bool is_ours(const KhronosRuntime *rt, KhronosTicket ticket)
{
    const Scheduler *s = &rt->scheduler;
    return s->ticket != 0 && ticket > s->first_ticket && ticket <= s->ticket;
}

/* ---- Making one -------------------------------------------------------------------------------
 */

static void queue_put(RuntimeCalls *calls, KhronosCall *call)
{
    call->next = NULL;
    if (calls->last)
        calls->last->next = call;
    else
        calls->first = call;
    calls->last = call;
}

static KhronosCall *queue_take(RuntimeCalls *calls)
{
    KhronosCall *call = calls->first;
    if (!call)
        return NULL;
    calls->first = call->next;
    if (!calls->first)
        calls->last = NULL;
    call->next = NULL;
    return call;
}

/* A call whose making raised, or was killed. */
static void drop_unmade(RuntimeCalls *calls)
{
    if (calls->making)
        calls->making->kind->drop(calls->making);
    calls->making = NULL;
}

/* Of the call that is made. */
static void check_limits(lua_State *L, KhronosRuntime *rt)
{
    RuntimeCalls *calls = &rt->calls;
    bool too_many = calls->count >= rt->limits->calls_max;
    if (!too_many && calls->making->bytes <= CALLS_BYTES_MAX - calls->bytes)
        return;
    drop_unmade(calls);
    if (too_many)
        luaL_error(L, "too many calls wait for their answers (%d at most)", rt->limits->calls_max);
    luaL_error(L, "calls that wait for their answers hold too many bytes (%d at most)",
               (int)CALLS_BYTES_MAX);
}

int khronos_call(lua_State *L, KhronosCall *call)
{
    KhronosRuntime *rt = khronos_of(L);
    RuntimeCalls *calls = &rt->calls;
    drop_unmade(calls);
    calls->making = call; /* from here on it is freed whatever happens */
    check_limits(L, rt);
    KhronosTicket ticket = khronos_ticket(L);
    calls->making = NULL;
    call->guild_id = rt->guild_id;
    call->ticket = ticket;
    calls->count++;
    calls->bytes += call->bytes;
    queue_put(calls, call);
    return khronos_wait(L, ticket);
}

KhronosCall *khronos_take_call(KhronosRuntime *rt)
{
    if (rt->calls.making && !luau_isparked(rt->L)) /* parked: perhaps in the middle of making it */
        drop_unmade(&rt->calls);
    return queue_take(&rt->calls);
}

/* ---- The answer -------------------------------------------------------------------------------
 */

/* `bytes` is as it was when the call was made: nobody else writes it. */
static void uncount(RuntimeCalls *calls, const KhronosCall *call)
{
    BASE_ASSERT(calls->count > 0 && calls->bytes >= call->bytes);
    calls->count--;
    calls->bytes -= call->bytes;
}

static int push_answer(lua_State *L, void *arg)
{
    KhronosCall *call = arg;
    return call->kind->push(L, call);
}

static void drop_answer(void *arg)
{
    KhronosCall *call = arg;
    KhronosRuntime *rt = call->owner;
    uncount(&rt->calls, call);
    call->kind->drop(call);
}

bool khronos_answer(KhronosRuntime *rt, KhronosCall *call)
{
    if (!is_ours(rt, call->ticket)) {
        call->kind->drop(call);
        return false;
    }
    call->owner = rt;
    if (!rt->broken)
        return khronos_wake(rt, call->ticket, push_answer, drop_answer, call);
    drop_answer(call);
    return false;
}

void calls_drop(RuntimeCalls *calls)
{
    drop_unmade(calls);
    for (KhronosCall *call; (call = queue_take(calls)) != NULL;) {
        uncount(calls, call);
        call->kind->drop(call);
    }
}
