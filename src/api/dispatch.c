/* Requests that go by way of the dispatcher, which remembers what it started: events for all
 * templates that are subscribed, and executions with an event id or without waiting. The dispatcher
 * watches over the time that callers wait. */
#include <stdio.h>

#include "api/call.h"
#include "api/execution_body.h"
#include "base/jsontext.h"

/* ---- Answers ----------------------------------------------------------------------------------
 */

/* 504, with what goes on. */
static void answer_timeout(ApiCall *call, const DispatchResult *result, unsigned wait_ms,
                           const char *execution_id)
{
    Strbuf members = STRBUF_INIT;
    put_member(&members, "event_id", result->event_id);
    strbuf_putc(&members, ',');
    put_execution_list(&members, result);
    ApiError error = {
        .template_name = call->template_name,
        .execution_id = execution_id,
        .limit = wait_ms,
        .members = members.data,
        .members_length = members.failed ? 0 : members.length,
    };
    outcome_error(DISPATCH_RETURN_TIMEOUT, &error);
    call_fail(call, &error);
    strbuf_free(&members);
}

static void put_bool(Strbuf *out, const char *text, bool value)
{
    strbuf_puts(out, text);
    strbuf_puts(out, value ? "true" : "false");
}

/* 202: what was started. */
static void answer_accepted(ApiCall *call, const DispatchResult *result)
{
    Strbuf *out = &call->response;
    strbuf_putc(out, '{');
    put_member(out, "event_id", result->event_id);
    put_bool(out, ",\"duplicate\":", result->duplicate);
    strbuf_putc(out, ',');
    put_execution_list(out, result);
    strbuf_putc(out, '}');
    call_succeed(call, 202);
}

/* 200: what each template made of the event. */
static void answer_results(ApiCall *call, const DispatchResult *result)
{
    Strbuf *out = &call->response;
    strbuf_putc(out, '{');
    put_member(out, "event_id", result->event_id);
    put_bool(out, ",\"duplicate\":", result->duplicate);
    strbuf_puts(out, ",\"results\":[");
    for (int i = 0; i < result->count; i++) {
        const DispatchExecution *x = &result->executions[i];
        strbuf_puts(out, i > 0 ? ",{" : "{");
        put_execution_head(out, x->id, x->template_name, x->version);
        strbuf_printf(out, ",\"status\":\"%s\"",
                      execution_code(x->status, server_stopping(call->server)));
        put_execution_end(call, out, result->guild_id, x);
        strbuf_putc(out, '}');
    }
    strbuf_puts(out, "]}");
    call_succeed(call, 200);
}

static void answer_event(ApiCall *call, const DispatchResult *result)
{
    bool ran = result->outcome == DISPATCH_DONE || result->outcome == DISPATCH_ACCEPTED;
    if (result->outcome == DISPATCH_RETURN_TIMEOUT)
        answer_timeout(call, result, call->query.wait_ms, NULL);
    else if (!ran)
        call_fail_dispatch(call, result->outcome, result->retry_after_ms, result->message);
    else if (call->query.wait)
        answer_results(call, result);
    else
        answer_accepted(call, result);
}

/* Of one template: as if it had not come this way. */
static void answer_execution(ApiCall *call, const DispatchResult *result)
{
    const DispatchExecution *x = &result->executions[0];
    Strbuf *out = &call->response;
    strbuf_putc(out, '{');
    put_execution_head(out, x->id, x->template_name, x->version);
    if (call->query.wait) {
        put_execution_end(call, out, result->guild_id, x);
    } else {
        strbuf_putc(out, ',');
        put_member(out, "event_id", result->event_id);
    }
    if (result->duplicate)
        strbuf_puts(out, ",\"duplicate\":true");
    strbuf_putc(out, '}');
    call_succeed(call, call->query.wait ? 200 : 202);
}

static void fail_execution(ApiCall *call, const DispatchResult *result)
{
    ApiError error;
    KhronosLimits limits;
    limits_of(server_limits(call->server), result->guild_id, &limits);
    execution_error(&result->executions[0], &limits, server_stopping(call->server), &error);
    error.execution_id = result->executions[0].id;
    call_fail(call, &error);
}

static void answer_execute(ApiCall *call, const DispatchResult *result)
{
    bool done = result->outcome == DISPATCH_DONE;
    if (result->outcome == DISPATCH_RETURN_TIMEOUT)
        answer_timeout(call, result, call->request.wait_ms, result->executions[0].id);
    else if (!done && result->outcome != DISPATCH_ACCEPTED)
        call_fail_dispatch(call, result->outcome, result->retry_after_ms, result->message);
    else if (call->query.wait && result->executions[0].status != KHRONOS_OK)
        fail_execution(call, result);
    else
        answer_execution(call, result);
}

/* ---- Requests ---------------------------------------------------------------------------------
 */

/* On any thread, also inside dispatcher_dispatch. Nobody else claims such a call. */
static void on_event(void *userdata, const DispatchResult *result)
{
    ApiCall *call = userdata;
    call_claim(call);
    answer_event(call, result);
    call_answered(call);
    call_release(call);
}

static void on_execute(void *userdata, const DispatchResult *result)
{
    ApiCall *call = userdata;
    call_claim(call);
    answer_execute(call, result);
    call_answered(call);
    call_release(call);
}

static bool dispatch(ApiCall *call, DispatchRequest *request)
{
    request->event = &call->request.event;
    request->keep_logs = call->query.logs;
    request->userdata = call;
    call_retain(call); /* for the dispatcher */
    dispatcher_dispatch(server_dispatcher(call->server), request);
    return call_wait(call, CALL_NEVER, NULL);
}

bool execute_dispatched(ApiCall *call)
{
    const ExecuteRequest *r = &call->request;
    DispatchRequest request = {
        .guild_id = r->guild_id,
        .target = r->template_name,
        .caller = r->caller.capabilities ? &r->caller : NULL,
        .wait_ms = call->query.wait ? r->wait_ms : 0,
        .complete = on_execute,
    };
    return dispatch(call, &request);
}

bool events_start(ApiCall *call)
{
    char message[256];
    JsonReader reader;
    if (call->body.length == 0) {
        call_fail_text(call, 400, "invalid_request", "/: expected an object, got an empty body");
        return false;
    }
    json_open(&reader, call->body.data, call->body.length);
    bool good = event_read(&reader, "", &call->request.event, message, sizeof(message));
    if (good && !json_end(&reader)) {
        char place[160];
        json_describe(&reader, place, sizeof(place));
        snprintf(message, sizeof(message), "invalid JSON: %s", place);
        good = false;
    }
    if (!good) {
        call_fail_text(call, 400, "invalid_request", message);
        return false;
    }
    if (call->query.wait_ms == 0)
        call->query.wait_ms = WAIT_MS_DEFAULT;
    DispatchRequest request = {
        .guild_id = call->guild_id,
        .wait_ms = call->query.wait ? call->query.wait_ms : 0,
        .complete = on_event,
    };
    return dispatch(call, &request);
}
