/* The guilds' VMs: how they stand, their limits, their end. */
#include <inttypes.h>

#include "api/call.h"
#include "api/fields.h"
#include "base/clock.h"

static void put_guild(Strbuf *out, uint64_t guild_id)
{
    strbuf_printf(out, "{\"guild_id\":\"%" PRIu64 "\",", guild_id);
}

static void put_limits(Strbuf *out, const KhronosLimits *limits)
{
    strbuf_puts(out, "\"limits\":{");
    fields_put(out, LIMITS_FIELDS, LIMIT_FIELDS, limits);
    strbuf_putc(out, '}');
}

/* ---- One VM -----------------------------------------------------------------------------------
 */

#define INFO(name) offsetof(VmInfo, name)
static const NumberField MEMORY_FIELDS[] = {
    {.name = "live_bytes", .offset = INFO(account.live_bytes), .type = FIELD_U64},
    {.name = "reserved_bytes", .offset = INFO(account.reserved_bytes), .type = FIELD_U64},
    {.name = "peak_bytes", .offset = INFO(account.peak_bytes), .type = FIELD_U64},
    {.name = "limit_bytes", .offset = INFO(limits.memory_max_bytes), .type = FIELD_U64},
};
static const NumberField WORK_FIELDS[] = {
    {.name = "cpu_us", .offset = INFO(cpu_ns), .type = FIELD_U64, .unit = CLOCK_NS_PER_US},
    {.name = "executions", .offset = INFO(executions), .type = FIELD_U64},
    {.name = "tasks", .offset = INFO(tasks), .type = FIELD_INT},
    {.name = "task_errors", .offset = INFO(task_errors), .type = FIELD_U64},
    {.name = "mail", .offset = INFO(mail), .type = FIELD_INT},
};

static void put_info(Strbuf *out, uint64_t guild_id, const VmInfo *info)
{
    put_guild(out, guild_id);
    strbuf_printf(out, "\"state\":\"%s\",", vm_state_name(info->state));
    if (info->reason != VM_NOT_BROKEN)
        strbuf_printf(out, "\"reason\":\"%s\",", vm_reason_name(info->reason));
    strbuf_printf(out, "\"generation\":%" PRIu64 ",\"memory\":{", info->generation);
    fields_put(out, MEMORY_FIELDS, BASE_ARRAY_COUNT(MEMORY_FIELDS), info);
    strbuf_puts(out, "},");
    fields_put(out, WORK_FIELDS, BASE_ARRAY_COUNT(WORK_FIELDS), info);
    uint64_t now_ns = clock_monotonic_ns();
    if (info->last_run_ns == 0)
        strbuf_puts(out, ",\"idle_ms\":null,");
    else
        strbuf_printf(out, ",\"idle_ms\":%" PRIu64 ",",
                      now_ns > info->last_run_ns ? (now_ns - info->last_run_ns) / CLOCK_NS_PER_MS
                                                 : 0);
    put_limits(out, &info->limits);
    strbuf_putc(out, '}');
}

static void on_info(LuaVmAction *action)
{
    ApiCall *call = action->userdata;
    if (call_claim(call)) {
        if (action->outcome == VM_ACTION_DONE) {
            put_info(&call->response, call->guild_id, &action->info);
            call_succeed(call, 200);
        } else {
            call_fail_action(call, action);
        }
        call_answered(call);
    }
    call_release(call);
}

static void submit(ApiCall *call, VmActionType type, void (*complete)(LuaVmAction *action))
{
    call->action = (LuaVmAction){
        .type = type,
        .handle.guild_id = call->guild_id,
        .complete = complete,
        .userdata = call,
        .limits = type == VM_ACTION_SET_LIMITS &&
                          !limits_are_default(server_limits(call->server), &call->patch.limits)
                      ? &call->patch.limits
                      : NULL,
    };
    call_retain(call); /* for the action */
    worker_submit(server_worker(call->server), &call->action);
}

bool vm_get(ApiCall *call)
{
    submit(call, VM_ACTION_GET_STATE, on_info);
    return call_wait_control(call);
}

/* ---- Its end ----------------------------------------------------------------------------------
 */

static void answer_destroy(ApiCall *call)
{
    put_guild(&call->response, call->guild_id);
    strbuf_puts(&call->response, "\"status\":\"destroying\"}");
    call_succeed(call, 202);
}

/* When it is over, or refused: which is at once, or comes too late to be told. */
static void on_destroyed(LuaVmAction *action)
{
    ApiCall *call = action->userdata;
    if (call_claim(call)) {
        if (action->outcome == VM_ACTION_DONE)
            answer_destroy(call);
        else
            call_fail_action(call, action);
        call_answered(call);
    }
    call_release(call);
}

bool vm_destroy(ApiCall *call)
{
    submit(call, VM_ACTION_DESTROY, on_destroyed);
    if (!call_claim(call))
        return call_wait_control(call);
    answer_destroy(call); /* it stands in the guild's mailbox */
    return false;
}

/* ---- All of them ------------------------------------------------------------------------------
 */

#define WORKER(name) offsetof(WorkerStats, name)
static const NumberField WORKER_FIELDS[] = {
    {.name = "guilds", .offset = WORKER(guilds), .type = FIELD_U64},
    {.name = "vms", .offset = WORKER(vms), .type = FIELD_U64},
    {.name = "waiting", .offset = WORKER(waiting), .type = FIELD_U64},
    {.name = "executions", .offset = WORKER(executions), .type = FIELD_U64},
    {.name = "created", .offset = WORKER(created), .type = FIELD_U64},
    {.name = "refused", .offset = WORKER(refused), .type = FIELD_U64},
    {.name = "panics", .offset = WORKER(panics), .type = FIELD_U64},
};
#define DISPATCHER(name) offsetof(DispatcherStats, name)
static const NumberField DISPATCHER_FIELDS[] = {
    {.name = "dispatched", .offset = DISPATCHER(dispatched), .type = FIELD_U64},
    {.name = "executions", .offset = DISPATCHER(executions), .type = FIELD_U64},
    {.name = "duplicates", .offset = DISPATCHER(duplicates), .type = FIELD_U64},
    {.name = "timeouts", .offset = DISPATCHER(timeouts), .type = FIELD_U64},
    {.name = "refused", .offset = DISPATCHER(refused), .type = FIELD_U64},
    {.name = "evicted", .offset = DISPATCHER(evicted), .type = FIELD_U64},
    {.name = "kept", .offset = DISPATCHER(records), .type = FIELD_U64},
    {.name = "kept_bytes", .offset = DISPATCHER(bytes), .type = FIELD_U64},
    {.name = "waiting", .offset = DISPATCHER(waits), .type = FIELD_U64},
};

bool vms_get(ApiCall *call)
{
    Strbuf *out = &call->response;
    WorkerStats worker;
    DispatcherStats dispatcher;
    worker_stats(server_worker(call->server), &worker);
    dispatcher_stats(server_dispatcher(call->server), &dispatcher);
    strbuf_putc(out, '{');
    fields_put(out, WORKER_FIELDS, BASE_ARRAY_COUNT(WORKER_FIELDS), &worker);
    strbuf_puts(out, ",\"broken\":{");
    for (int reason = VM_NOT_BROKEN + 1; reason < VM_REASONS; reason++)
        strbuf_printf(out, "%s\"%s\":%" PRIu64, reason > VM_NOT_BROKEN + 1 ? "," : "",
                      vm_reason_name((VmBrokenReason)reason), worker.broken[reason]);
    strbuf_puts(out, "},\"dispatcher\":{");
    fields_put(out, DISPATCHER_FIELDS, BASE_ARRAY_COUNT(DISPATCHER_FIELDS), &dispatcher);
    strbuf_puts(out, "}}");
    call_succeed(call, 200);
    return false;
}

/* ---- Limits -----------------------------------------------------------------------------------
 */

static void on_limits(LuaVmAction *action)
{
    ApiCall *call = action->userdata;
    bool taken = action->outcome == VM_ACTION_DONE;
    limits_end(server_limits(call->server), call->guild_id, &call->patch, taken);
    if (call_claim(call)) {
        if (taken) {
            put_guild(&call->response, call->guild_id);
            put_limits(&call->response, &call->patch.limits);
            strbuf_putc(&call->response, '}');
            call_succeed(call, 200);
        } else {
            call_fail_action(call, action);
        }
        call_answered(call);
    }
    call_release(call);
}

bool limits_start(ApiCall *call)
{
    char message[256];
    if (call->body.length == 0) {
        call_fail_text(call, 400, "invalid_request", "/: expected an object, got an empty body");
        return false;
    }
    if (!limits_read(call->body.data, call->body.length, &call->patch, message, sizeof(message))) {
        call_fail_text(call, 400, "invalid_request", message);
        return false;
    }
    switch (limits_begin(server_limits(call->server), call->guild_id, &call->patch)) {
    case LIMITS_BEGUN: break;
    case LIMITS_BUSY:
        call_fail_text(call, 409, "conflict",
                       "another request is changing the limits of this guild: try again");
        return false;
    case LIMITS_FULL:
        call_fail_text(call, 409, "conflict",
                       "100,000 guilds have limits of their own: take them from another first");
        return false;
    case LIMITS_NO_MEMORY:
        call_fail_text(call, 500, "internal_error", "not enough memory for the limits");
        return false;
    }
    submit(call, VM_ACTION_SET_LIMITS, on_limits);
    return call_wait_control(call);
}
