/* /executions/{id}: how an execution stands, and its end before its time. Those of the dispatcher,
 * and those that run for a caller of POST /execute. */
#include <inttypes.h>

#include "api/call.h"
#include "api/execution_body.h"

static bool not_found(ApiCall *call)
{
    call_fail_text(call, 404, "not_found",
                   "there is no such execution, or it is not kept any more");
    return false;
}

static void put_status(Strbuf *out, uint64_t guild_id, EventText event_id, const char *status)
{
    strbuf_printf(out, ",\"guild_id\":\"%" PRIu64 "\",", guild_id);
    put_member(out, "event_id", event_id);
    strbuf_printf(out, ",\"status\":\"%s\"", status);
}

static void put_running(Strbuf *out, const char *id, const RunningExecution *x)
{
    strbuf_putc(out, '{');
    put_execution_head(out, id, x->template_name, x->version);
    put_status(out, x->guild_id, (EventText){id, RANDOM_ID_SIZE - 1}, "running");
    strbuf_putc(out, '}');
}

/* The worker did not run it to an end. */
static void put_lost(Strbuf *out, const DispatchResult *result)
{
    ApiError error = {.retry_after_ms = result->retry_after_ms};
    outcome_error(result->outcome, &error);
    strbuf_puts(out, ",\"error\":");
    error_part(out, &error);
}

static void put_record(ApiCall *call, Strbuf *out, const DispatchResult *result, int index)
{
    const DispatchExecution *x = &result->executions[index];
    bool running = result->outcome == DISPATCH_ACCEPTED;
    bool done = result->outcome == DISPATCH_DONE;
    strbuf_putc(out, '{');
    put_execution_head(out, x->id, x->template_name, x->version);
    put_status(out, result->guild_id, result->event_id,
               running                           ? "running"
               : done && x->status == KHRONOS_OK ? "done"
                                                 : "failed");
    if (done)
        put_execution_end(call, out, result->guild_id, x);
    else if (!running)
        put_lost(out, result);
    strbuf_putc(out, '}');
}

bool execution_get(ApiCall *call)
{
    int index;
    RunningExecution running;
    size_t length = strlen(call->id);
    /* In this order: what ends meanwhile is with the dispatcher before it leaves the calls. */
    if (calls_find(call->server, call->id, length, &running)) {
        put_running(&call->response, call->id, &running);
        call_succeed(call, 200);
        return false;
    }
    DispatchRecord *record = dispatcher_find(server_dispatcher(call->server), call->id, length,
                                             &index);
    if (!record)
        return not_found(call);
    DispatchResult result;
    dispatch_record_result(record, &result);
    put_record(call, &call->response, &result, index);
    dispatch_record_release(record);
    call_succeed(call, 200);
    return false;
}

/* ---- Cancelling -------------------------------------------------------------------------------
 */

static void answer_cancel(ApiCall *call, DispatchOutcome outcome)
{
    if (outcome == DISPATCH_ACCEPTED || outcome == DISPATCH_DONE) {
        bool now = outcome == DISPATCH_ACCEPTED;
        strbuf_puts(&call->response, "{\"execution_id\":\"");
        strbuf_puts(&call->response, call->id); /* known: 32 hex digits */
        strbuf_printf(&call->response, "\",\"status\":\"%s\"}", now ? "cancelling" : "done");
        call_succeed(call, now ? 202 : 200);
    } else if (outcome == DISPATCH_NOT_FOUND) {
        not_found(call);
    } else {
        call_fail_dispatch(call, outcome, 0, NULL);
    }
}

static void on_dispatcher_cancel(void *userdata, DispatchOutcome outcome)
{
    ApiCall *call = userdata;
    if (call_claim(call)) {
        answer_cancel(call, outcome);
        call_answered(call);
    }
    call_release(call);
}

static void on_cancel(LuaVmAction *action)
{
    ApiCall *call = action->userdata;
    if (call_claim(call)) {
        if (action->outcome == VM_ACTION_DONE)
            answer_cancel(call, DISPATCH_ACCEPTED);
        else if (action->outcome == VM_ACTION_NOT_FOUND)
            answer_cancel(call, DISPATCH_DONE); /* it ended before it could be */
        else
            call_fail_action(call, action);
        call_answered(call);
    }
    call_release(call);
}

bool execution_cancel(ApiCall *call)
{
    RunningExecution running;
    size_t length = strlen(call->id);
    call_retain(call); /* for the action, or the dispatcher */
    if (calls_find(call->server, call->id, length, &running)) {
        memcpy(call->execution_id, call->id, length + 1);
        call->action = (LuaVmAction){
            .type = VM_ACTION_CANCEL,
            .handle.guild_id = running.guild_id,
            .complete = on_cancel,
            .userdata = call,
            .execution_id = call->execution_id,
        };
        worker_submit(server_worker(call->server), &call->action);
    } else {
        dispatcher_cancel(server_dispatcher(call->server), call->id, length, on_dispatcher_cancel,
                          call);
    }
    return call_wait_control(call);
}
