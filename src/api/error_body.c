#include "api/error_body.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/jsontext.h"

static void put_text(Strbuf *out, const char *name, const char *text, size_t length)
{
    if (!text || text[0] == '\0')
        return;
    strbuf_printf(out, ",\"%s\":", name);
    json_put_lossy(out, text, length ? length : strlen(text));
}

static void put_count(Strbuf *out, const char *name, uint64_t value)
{
    if (value != 0)
        strbuf_printf(out, ",\"%s\":%" PRIu64, name, value);
}

static void put_members(Strbuf *out, const ApiError *error)
{
    strbuf_printf(out, "{\"code\":\"%s\",\"message\":", error->code);
    json_put_lossy(out, error->message,
                   error->message_length ? error->message_length : strlen(error->message));
    put_text(out, "template", error->template_name, 0);
    put_text(out, "path", error->path, 0);
    put_count(out, "line", (uint64_t)(error->line > 0 ? error->line : 0));
    put_text(out, "traceback", error->traceback, error->traceback_length);
    put_count(out, "limit", error->limit);
    put_count(out, "retry_after_ms", error->retry_after_ms);
    put_text(out, "execution_id", error->execution_id, 0);
    if (error->members_length > 0) {
        strbuf_putc(out, ',');
        strbuf_put(out, error->members, error->members_length);
    }
}

void error_body(Strbuf *out, const ApiError *error)
{
    char request_id[RANDOM_ID_SIZE];
    random_id(request_id);
    put_members(out, error);
    strbuf_printf(out, ",\"request_id\":\"%s\"}", request_id);
}

void error_part(Strbuf *out, const ApiError *error)
{
    put_members(out, error);
    strbuf_putc(out, '}');
}

/* ---- What went wrong --------------------------------------------------------------------------
 */

void outcome_error(DispatchOutcome outcome, ApiError *error)
{
    static const struct {
        unsigned status;
        const char *code, *message;
    } outcomes[] = {
        [DISPATCH_QUEUE_FULL] = {429, "queue_full",
                                 "the guild, or the server, has as much waiting as it may have"},
        [DISPATCH_PAUSED] = {429, "vm_broken",
                             "the guild is paused: lately its VM broke too often, or it used more "
                             "than its share of the processor"},
        [DISPATCH_SHUTTING_DOWN] = {503, "shutting_down", "the server is shutting down"},
        [DISPATCH_VM_BROKEN] = {422, "vm_broken",
                                "the guild's VM was lost before the template started; it did not "
                                "run"},
        [DISPATCH_RETURN_TIMEOUT] = {504, "return_timeout", "the run is not over yet; it goes on"},
        [DISPATCH_NOT_FOUND] = {404, "not_found", "there is no such template"},
        [DISPATCH_UNAVAILABLE] = {503, "not_ready",
                                  "the guild's templates cannot be had now; nothing ran"},
        [DISPATCH_NO_MEMORY] = {500, "internal_error", "not enough memory for the guild's VM"},
    };
    error->status = outcomes[outcome].status;
    error->code = outcomes[outcome].code;
    error->message = outcomes[outcome].message;
}

const char *execution_code(KhronosStatus status, bool stopping)
{
    static const char *const codes[] = {
        [KHRONOS_OK] = "ok",
        [KHRONOS_COMPILE_ERROR] = "compile_error",
        [KHRONOS_RUNTIME_ERROR] = "runtime_error",
        [KHRONOS_INVALID_RESULT] = "invalid_result",
        [KHRONOS_CANCELLED] = "cancelled",
        [KHRONOS_MEMORY_LIMIT] = "memory_limit_exceeded",
        [KHRONOS_TIMEOUT] = "execution_timeout",
        [KHRONOS_BROKEN] = "vm_broken",
        [KHRONOS_INTERNAL] = "internal_error",
    };
    return status == KHRONOS_BROKEN && stopping ? "shutting_down" : codes[status];
}

void execution_error(const DispatchExecution *x, const KhronosLimits *limits, bool stopping,
                     ApiError *error)
{
    /* Only what was cancelled before it began has no message. */
    *error = (ApiError){
        .status = x->status == KHRONOS_INTERNAL ? 500 : 422,
        .code = execution_code(x->status, stopping),
        .message = x->message.length ? x->message.data : "the execution was cancelled",
        .message_length = x->message.length,
        .template_name = x->template_name,
        .path = x->path,
        .line = x->line,
        .traceback = x->traceback.length ? x->traceback.data : NULL,
        .traceback_length = x->traceback.length,
    };
    if (x->status == KHRONOS_MEMORY_LIMIT) {
        error->limit = limits->memory_max_bytes;
    } else if (x->status == KHRONOS_TIMEOUT) {
        bool waited = x->duration_ns >= limits->wall_max_ns;
        error->limit = (waited ? limits->wall_max_ns : limits->cpu_max_ns) / CLOCK_NS_PER_MS;
    } else if (x->status == KHRONOS_BROKEN && stopping) {
        error->status = 503;
    }
}
