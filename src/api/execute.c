/* POST /execute: run one template for one event and wait for what it returns. */
#include <stdlib.h>

#include "api/call.h"
#include "api/loop.h"
#include "base/clock.h"
#include "base/jsontext.h"

enum { RESPONSE_ROOM = 512 };

/* ---- Answers ----------------------------------------------------------------------------------
 */

static void fail_text(ApiCall *call, unsigned status, const char *code, const char *message)
{
    ApiError error = {.status = status, .code = code, .message = message};
    call_fail(call, &error);
}

static void put_count(Strbuf *out, const char *name, uint64_t value)
{
    char digits[JSON_NUMBER_MAX];
    strbuf_puts(out, name);
    strbuf_put(out, digits, json_format_u64(value, digits));
}

/* The part of the response that is known before the run; the result follows it. */
static void begin_response(ApiCall *call, const KhronosTemplate *t)
{
    Strbuf *out = &call->result;
    strbuf_reserve(out, RESPONSE_ROOM);
    strbuf_puts(out, "{\"execution_id\":\"");
    strbuf_puts(out, call->execution_id);
    strbuf_puts(out, "\",\"template\":\"");
    strbuf_puts(out, call->template_name); /* its characters need no escapes */
    put_count(out, "\",\"version\":", template_version(t));
    strbuf_puts(out, ",\"result\":");
}

static void succeed(ApiCall *call, KhronosExecution *x)
{
    Strbuf *out = &call->result;
    put_count(out, ",\"duration_us\":", x->duration_ns / CLOCK_NS_PER_US);
    put_count(out, ",\"cpu_us\":", x->cpu_ns / CLOCK_NS_PER_US);
    put_count(out, ",\"memory_bytes\":", x->memory_bytes);
    if (call->with_logs) {
        strbuf_puts(out, ",\"logs\":[");
        if (x->logs.length > 0)
            strbuf_put(out, x->logs.data, x->logs.length);
        strbuf_putc(out, ']');
    }
    strbuf_putc(out, '}');
    if (out->failed) {
        fail_text(call, 500, "internal_error", "not enough memory for the response");
        return;
    }
    call->status = 200;
    strbuf_free(&call->response);
    call->response = *out;
    *out = STRBUF_INIT;
}

static void fail_execution(ApiCall *call, KhronosExecution *x)
{
    const KhronosLimits *limits = server_limits(call->server);
    ApiError error = {
        .status = 422,
        .message = x->message.length ? x->message.data : "",
        .message_length = x->message.length,
        .template_name = call->template_name,
        .path = x->path,
        .line = x->line,
        .traceback = x->traceback.length ? x->traceback.data : NULL,
        .traceback_length = x->traceback.length,
    };
    switch (x->status) {
    case KHRONOS_COMPILE_ERROR: error.code = "compile_error"; break;
    case KHRONOS_RUNTIME_ERROR: error.code = "runtime_error"; break;
    case KHRONOS_INVALID_RESULT: error.code = "invalid_result"; break;
    case KHRONOS_MEMORY_LIMIT:
        error.code = "memory_limit_exceeded";
        error.limit = limits->memory_max_bytes;
        break;
    case KHRONOS_TIMEOUT:
        error.code = "execution_timeout";
        error.limit = limits->cpu_max_ns / CLOCK_NS_PER_MS;
        break;
    case KHRONOS_CANCELLED: error.code = "cancelled"; break;
    case KHRONOS_BROKEN:
        error.status = server_stopping(call->server) ? 503 : 422;
        error.code = server_stopping(call->server) ? "shutting_down" : "vm_broken";
        break;
    default:
        error.status = 500;
        error.code = "internal_error";
        break;
    }
    call_fail(call, &error);
}

static void answer(ApiCall *call)
{
    LuaVmAction *action = &call->action;
    ApiError error = {.status = 429,
                      .code = "queue_full",
                      .retry_after_ms = action->retry_after_ms,
                      .template_name = call->template_name,
                      .message = "the guild has as many actions waiting as it may have"};
    switch (action->outcome) {
    case VM_ACTION_DONE:
        if (action->execution.status == KHRONOS_OK)
            succeed(call, &action->execution);
        else
            fail_execution(call, &action->execution);
        return;
    case VM_ACTION_QUEUE_FULL: break;
    case VM_ACTION_PAUSED:
        error.code = "vm_broken";
        error.message = "the guild is paused: its VM broke too often lately";
        break;
    case VM_ACTION_SHUTTING_DOWN:
        error.status = 503;
        error.code = "shutting_down";
        error.message = "the server is shutting down";
        break;
    case VM_ACTION_VM_BROKEN:
        error.status = 422;
        error.code = "vm_broken";
        error.message = "the guild's VM was lost before the template started; it did not run";
        break;
    default:
        error.status = 500;
        error.code = "internal_error";
        error.message = "not enough memory for the guild's VM";
        break;
    }
    call_fail(call, &error);
}

/* ---- The action -------------------------------------------------------------------------------
 */

static void end_action(ApiCall *call)
{
    template_release(call->action.execution.template_version);
    execution_free(&call->action.execution);
}

/* On any thread, also before the connection waits. */
static void on_complete(LuaVmAction *action)
{
    ApiCall *call = action->userdata;
    int state = CALL_READING;
    /* acq_rel: the results are seen by the thread that answers. */
    if (atomic_compare_exchange_strong_explicit(&call->state, &state, CALL_EARLY,
                                                memory_order_acq_rel, memory_order_acquire))
        return; /* execute_start sees to the rest */
    /* acq_rel: the response written here is seen by the thread that sends it. */
    state = CALL_WAITING;
    if (atomic_compare_exchange_strong_explicit(&call->state, &state, CALL_ANSWERED,
                                                memory_order_acq_rel, memory_order_acquire)) {
        server_unwait(call->server, call);
        answer(call);
        loop_resume(call->loop, call);
    }
    end_action(call);
    call_release(call);
}

void execute_timeout(ApiCall *call)
{
    ApiError error = {
        .status = 504,
        .code = "return_timeout",
        .template_name = call->template_name,
        .message = "the template did not return in time; the execution goes on",
        .execution_id = call->execution_id,
        .limit = call->request.wait_ms,
    };
    call_fail(call, &error);
    loop_resume(call->loop, call);
}

static void fill_action(ApiCall *call, KhronosTemplate *t)
{
    call->action = (LuaVmAction){
        .type = VM_ACTION_EXECUTE,
        .handle.guild_id = call->request.guild_id,
        .complete = on_complete,
        .userdata = call,
        .execution =
            {
                .template_version = t,
                .event = &call->request.event,
                .id = call->execution_id,
                .out = &call->result,
                .keep_logs = call->with_logs,
            },
    };
}

bool execute_start(ApiCall *call)
{
    char message[256];
    if (call->body.length == 0) {
        fail_text(call, 400, "invalid_request", "/: expected an object, got an empty body");
        return false;
    }
    if (!execute_request_read(call->body.data, call->body.length, &call->request, message,
                              sizeof(message))) {
        fail_text(call, 400, "invalid_request", message);
        return false;
    }
    const EventText *name = &call->request.template_name;
    memcpy(call->template_name, name->data, name->length);
    KhronosTemplate *t = templates_get(server_templates(call->server), name->data, name->length);
    if (!t) {
        ApiError error = {.status = 404,
                          .code = "not_found",
                          .message = "there is no such template",
                          .template_name = call->template_name};
        call_fail(call, &error);
        return false;
    }
    random_poolid(&call->loop->random, call->execution_id);
    begin_response(call, t);
    fill_action(call, t);
    atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed); /* the action's */
    WorkerBegun begun = worker_begin(call->loop->seat, &call->action);
    if (begun == WORKER_DONE) {
        answer(call);
        end_action(call);
        call_release(call);
        return false;
    }
    call->deadline_ns = clock_monotonic_ns() + call->request.wait_ms * CLOCK_NS_PER_MS;
    MHD_suspend_connection(call->connection);
    server_wait(call->server, call);
    /* From here on the completion or the clock may resume the connection. */
    int state = CALL_READING;
    if (!atomic_compare_exchange_strong_explicit(&call->state, &state, CALL_WAITING,
                                                 memory_order_acq_rel, memory_order_acquire)) {
        /* It was complete before: nobody else will touch the call. */
        server_unwait(call->server, call);
        answer(call);
        atomic_store_explicit(&call->state, CALL_ANSWERED, memory_order_release);
        loop_resume(call->loop, call);
        end_action(call);
        call_release(call);
    } else if (begun == WORKER_NOT_NOW) {
        worker_post(call->loop->seat, &call->action);
    }
    return true;
}
