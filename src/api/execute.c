/* POST /execute: run one template for one event and wait for what it returns.
 *
 * Where the template is not at hand, the call waits for it, and goes on on the thread that has the
 * answer.
 *
 * The action begins on the thread that received the request if the guild is at rest, and as a rule
 * it is over when worker_begin returns: nothing is remembered of it. Who gives the event an id, or
 * does not want to wait, goes by way of the dispatcher (dispatch.c). What takes longer here is in
 * the table of calls while it runs; if its caller was sent away before it ended (504), its result
 * becomes the dispatcher's, who keeps it. */
#include <stdlib.h>

#include "api/call.h"
#include "api/execution_body.h"
#include "api/loop.h"
#include "base/clock.h"
#include "base/jsontext.h"

enum { RESPONSE_ROOM = 512, RETRY_MS = 1000 };

/* ---- Answers ----------------------------------------------------------------------------------
 */

/* The part of the response that is known before the run; the result follows it. */
static void begin_response(ApiCall *call, const KhronosTemplate *t)
{
    Strbuf *out = &call->result;
    strbuf_reserve(out, RESPONSE_ROOM);
    strbuf_putc(out, '{');
    put_execution_head(out, call->execution_id, call->template_name, template_version(t));
    strbuf_puts(out, ",\"result\":");
    call->result_start = out->length;
}

static void succeed(ApiCall *call, KhronosExecution *x)
{
    Strbuf *out = &call->result;
    put_usage(out, x->duration_ns, x->cpu_ns, x->memory_bytes);
    if (call->query.logs)
        put_logs(out, x->logs.data, x->logs.length);
    strbuf_putc(out, '}');
    if (out->failed) {
        call_fail_memory(call);
        return;
    }
    call->status = 200;
    strbuf_free(&call->response);
    call->response = *out;
    *out = STRBUF_INIT;
}

static void fail_execution(ApiCall *call, const KhronosExecution *x)
{
    ApiError error;
    KhronosLimits limits;
    limits_of(server_limits(call->server), call->request.guild_id, &limits);
    DispatchExecution shown = {
        .template_name = call->template_name,
        .status = x->status,
        .message = {x->message.data, x->message.length},
        .traceback = {x->traceback.data, x->traceback.length},
        .path = x->path,
        .line = x->line,
        .duration_ns = x->duration_ns,
    };
    execution_error(&shown, &limits, server_stopping(call->server), &error);
    call_fail(call, &error);
}

static void answer(ApiCall *call)
{
    LuaVmAction *action = &call->action;
    if (action->outcome == VM_ACTION_DONE)
        dispatch_judge(&action->execution, call->result_start);
    if (action->outcome != VM_ACTION_DONE)
        call_fail_action(call, action);
    else if (action->execution.status == KHRONOS_OK)
        succeed(call, &action->execution);
    else
        fail_execution(call, &action->execution);
}

/* ---- The action -------------------------------------------------------------------------------
 */

static void end_action(ApiCall *call)
{
    template_release(call->action.execution.template_version);
    execution_free(&call->action.execution);
}

/* Nobody waits for the result any more, but it may be asked for. */
static void leave_result(ApiCall *call)
{
    Strbuf *out = &call->result;
    if (call->action.outcome == VM_ACTION_DONE && call->action.execution.status == KHRONOS_OK) {
        out->length -= call->result_start;
        memmove(out->data, out->data + call->result_start, out->length);
    }
    dispatcher_adopt(server_dispatcher(call->server), &call->action);
}

/* On any thread, also before the handler waits. */
static void on_complete(LuaVmAction *action)
{
    ApiCall *call = action->userdata;
    bool claimed = call_claim(call);
    if (claimed)
        answer(call);
    else
        leave_result(call); /* first there, then gone from here: it is always found */
    calls_ended(server_calls(call->server), call);
    end_action(call);
    if (claimed)
        call_answered(call);
    call_release(call);
}

static void on_timeout(ApiCall *call)
{
    if (!call->executes) {
        call_fail_dispatch(call, DISPATCH_UNAVAILABLE, RETRY_MS,
                           "the guild's templates are still being loaded; nothing ran");
        return;
    }
    ApiError error = {
        .status = 504,
        .code = "return_timeout",
        .template_name = call->template_name,
        .message = "the template did not return in time; the execution goes on",
        .execution_id = call->execution_id,
        .limit = call->request.wait_ms,
    };
    call_fail(call, &error);
}

/* The template is the call's from here on; the execution has an id. */
static void fill_action(ApiCall *call, KhronosTemplate *t)
{
    call->version = template_version(t);
    begin_response(call, t);
    call->action = (LuaVmAction){
        .type = VM_ACTION_EXECUTE,
        .handle.guild_id = call->request.guild_id,
        .complete = on_complete,
        .userdata = call,
        .execution =
            {
                .template_version = t,
                .event = &call->request.event,
                .caller = call->request.caller.capabilities ? &call->request.caller : NULL,
                .id = call->execution_id,
                .out = &call->result,
                .keep_logs = call->query.logs,
            },
    };
}

/* ---- The handler ------------------------------------------------------------------------------
 */

static bool read_request(ApiCall *call)
{
    char message[256];
    if (call->body.length == 0) {
        call_fail_text(call, 400, "invalid_request", "/: expected an object, got an empty body");
        return false;
    }
    if (!execute_request_read(call->body.data, call->body.length, &call->request, message,
                              sizeof(message))) {
        call_fail_text(call, 400, "invalid_request", message);
        return false;
    }
    const EventText *name = &call->request.template_name;
    memcpy(call->template_name, name->data, name->length);
    return true;
}

static void fill_lookup(ApiCall *call, TemplateLookup *lookup)
{
    template_lookup_clear(lookup);
    lookup->guild_id = call->request.guild_id;
    lookup->name = call->request.template_name;
    lookup->event = &call->request.event;
}

/* The template, now the caller's; NULL: there is none, and the response says why. */
static KhronosTemplate *take_found(ApiCall *call, TemplateLookup *lookup)
{
    KhronosTemplate *t = NULL;
    if (lookup->failed)
        call_fail_dispatch(call, DISPATCH_UNAVAILABLE, RETRY_MS, lookup->message);
    else if (lookup->count == 0)
        call_fail_dispatch(call, DISPATCH_NOT_FOUND, 0, NULL);
    else
        t = lookup->found[--lookup->count];
    template_lookup_free(lookup);
    return t;
}

/* On the thread that has the answer; nobody else knows an execution of this call. */
static void begin_late(ApiCall *call, KhronosTemplate *t)
{
    random_id(call->execution_id);
    fill_action(call, t);
    if (calls_begin(server_calls(call->server), call)) {
        worker_submit(server_worker(call->server), &call->action); /* with the reference */
        return;
    }
    end_action(call);
    call_release(call);
}

static void on_found(TemplateLookup *lookup)
{
    ApiCall *call = lookup->userdata;
    if (!lookup->failed && lookup->count > 0) {
        KhronosTemplate *t = lookup->found[--lookup->count];
        template_lookup_free(lookup);
        begin_late(call, t);
    } else {
        if (call_claim(call)) {
            take_found(call, lookup);
            call_answered(call);
        }
        call_release(call);
    }
    free(lookup);
}

static bool wait_for_template(ApiCall *call)
{
    const TemplateSource *source = server_templates(call->server);
    TemplateLookup *lookup = malloc(sizeof(*lookup));
    if (!lookup) {
        call_fail_memory(call);
        return false;
    }
    fill_lookup(call, lookup);
    lookup->complete = on_found;
    lookup->userdata = call;
    call_retain(call); /* for the look-up, then for the action */
    if (source->look_up(source->self, lookup))
        on_found(lookup);
    return call_wait(call, clock_monotonic_ns() + call->request.wait_ms * CLOCK_NS_PER_MS,
                     on_timeout);
}

static bool begin(ApiCall *call, KhronosTemplate *t)
{
    random_poolid(&call->loop->random, call->execution_id);
    fill_action(call, t);
    call->executes = true;
    call_retain(call); /* for the action */
    loop_begins(call->loop, call);
    WorkerBegun begun = worker_begin(call->loop->seat, &call->action);
    if (begun == WORKER_DONE) {
        loop_begins(call->loop, NULL);
        answer(call);
        end_action(call);
        call_release(call);
        return false;
    }
    if (begun == WORKER_NOT_NOW)
        worker_post(call->loop->seat, &call->action);
    bool waits = call_wait(call, clock_monotonic_ns() + call->request.wait_ms * CLOCK_NS_PER_MS,
                           on_timeout);
    loop_begins(call->loop, NULL); /* now it is in the table, or over */
    return waits;
}

bool execute_start(ApiCall *call)
{
    if (!read_request(call))
        return false;
    if (call->request.event.id.data || !call->query.wait)
        return execute_dispatched(call);
    if (!calls_room(server_calls(call->server))) {
        call_fail_dispatch(call, DISPATCH_QUEUE_FULL, RETRY_MS, NULL);
        return false;
    }
    TemplateLookup lookup;
    const TemplateSource *source = server_templates(call->server);
    fill_lookup(call, &lookup);
    lookup.complete = NULL;
    if (!source->look_up(source->self, &lookup))
        return wait_for_template(call);
    KhronosTemplate *t = take_found(call, &lookup);
    return t && begin(call, t);
}
