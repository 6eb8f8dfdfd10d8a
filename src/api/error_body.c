#include "api/error_body.h"

#include <inttypes.h>

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

void error_body(Strbuf *out, const ApiError *error)
{
    char request_id[RANDOM_ID_SIZE];
    random_id(request_id);
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
    strbuf_printf(out, ",\"request_id\":\"%s\"}", request_id);
}
