#include "api/execution_body.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/jsontext.h"

static void put_count(Strbuf *out, const char *name, uint64_t value)
{
    char digits[JSON_NUMBER_MAX];
    strbuf_puts(out, name);
    strbuf_put(out, digits, json_format_u64(value, digits));
}

void put_usage(Strbuf *out, uint64_t duration_ns, uint64_t cpu_ns, size_t memory_bytes)
{
    put_count(out, ",\"duration_us\":", duration_ns / CLOCK_NS_PER_US);
    put_count(out, ",\"cpu_us\":", cpu_ns / CLOCK_NS_PER_US);
    put_count(out, ",\"memory_bytes\":", memory_bytes);
}

void put_logs(Strbuf *out, const char *lines, size_t length)
{
    strbuf_puts(out, ",\"logs\":[");
    strbuf_put(out, lines, length);
    strbuf_putc(out, ']');
}

void put_execution_head(Strbuf *out, const char *id, const char *template_name, uint32_t version)
{
    strbuf_puts(out, "\"execution_id\":\"");
    strbuf_puts(out, id);
    strbuf_puts(out, "\",\"template\":\"");
    strbuf_puts(out, template_name); /* its characters need no escapes */
    put_count(out, "\",\"version\":", version);
}

void put_execution_list(Strbuf *out, const DispatchResult *result)
{
    strbuf_puts(out, "\"executions\":[");
    for (int i = 0; i < result->count; i++) {
        const DispatchExecution *x = &result->executions[i];
        strbuf_puts(out, i > 0 ? ",{" : "{");
        put_execution_head(out, x->id, x->template_name, x->version);
        strbuf_putc(out, '}');
    }
    strbuf_putc(out, ']');
}

void put_execution_end(ApiCall *call, Strbuf *out, uint64_t guild_id, const DispatchExecution *x)
{
    if (x->status == KHRONOS_OK) {
        strbuf_puts(out, ",\"result\":");
        strbuf_put(out, x->result.data, x->result.length);
    } else {
        ApiError error;
        KhronosLimits limits;
        limits_of(server_limits(call->server), guild_id, &limits);
        execution_error(x, &limits, server_stopping(call->server), &error);
        strbuf_puts(out, ",\"error\":");
        error_part(out, &error);
    }
    put_usage(out, x->duration_ns, x->cpu_ns, x->memory_bytes);
    if (call->query.logs)
        put_logs(out, x->logs.data, x->logs.length);
}

void put_member(Strbuf *out, const char *name, EventText text)
{
    strbuf_printf(out, "\"%s\":", name);
    if (text.data)
        json_put_lossy(out, text.data, text.length);
    else
        strbuf_puts(out, "null");
}
