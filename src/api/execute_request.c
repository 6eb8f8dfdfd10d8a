#include "api/execute_request.h"

#include "khronos/template.h"

uint64_t guild_id_read(const char *text, size_t length)
{
    uint64_t id = 0;
    if (length == 0 || length > 20 || text[0] == '0')
        return 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(id, 10u, &id) ||
            __builtin_add_overflow(id, (uint64_t)(text[i] - '0'), &id))
            return 0;
    }
    return id;
}

static void read_context(JsonReader *reader, ExecuteRequest *request, char *error,
                         size_t error_size)
{
    static const char *const names[] = {"guild_id"};
    JsonObject o = {.reader = reader,
                    .pointer = "/context",
                    .names = names,
                    .count = 1,
                    .error = error,
                    .error_size = error_size};
    JsonString id;
    while (jsonobj_next(&o) >= 0) {
        if (!jsonobj_string(&o, &id))
            return;
        request->guild_id = guild_id_read(id.data, id.length);
        if (request->guild_id == 0)
            jsonobj_fail(&o, "expected a guild id: a decimal 64-bit number as a string");
    }
    jsonobj_require(&o, 1);
}

static void read_template_name(JsonObject *o, ExecuteRequest *request)
{
    JsonString name;
    if (!jsonobj_string(o, &name))
        return;
    if (!template_name_valid(name.data, name.length))
        jsonobj_fail(o, "expected a template name: 1 to 64 of A-Z a-z 0-9 . _ $ -");
    request->template_name = (EventText){name.data, name.length};
}

bool execute_request_read(char *body, size_t length, ExecuteRequest *request, char *error,
                          size_t error_size)
{
    enum { TEMPLATE, EVENT, CONTEXT, WAIT_MS, COUNT };
    static const char *const names[COUNT] = {"template", "event", "context", "wait_ms"};
    JsonReader reader;
    JsonObject o = {.reader = &reader,
                    .pointer = "",
                    .names = names,
                    .count = COUNT,
                    .error = error,
                    .error_size = error_size};
    int64_t wait_ms = WAIT_MS_DEFAULT;
    *request = (ExecuteRequest){.wait_ms = 0};
    error[0] = '\0';
    json_open(&reader, body, length);
    for (int field; (field = jsonobj_next(&o)) >= 0;) {
        switch (field) {
        case TEMPLATE: read_template_name(&o, request); break;
        case EVENT: event_read(&reader, "/event", &request->event, error, error_size); break;
        case CONTEXT: read_context(&reader, request, error, error_size); break;
        default: jsonobj_integer(&o, 1, WAIT_MS_MAX, &wait_ms); break;
        }
    }
    request->wait_ms = (unsigned)wait_ms;
    if (!jsonobj_require(&o, 1u << TEMPLATE | 1u << EVENT | 1u << CONTEXT))
        return false;
    if (!json_end(&reader)) {
        o.field = 0;
        jsonobj_fail(&o, "");
        return false;
    }
    return true;
}
