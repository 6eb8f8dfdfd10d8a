#include "api/execute_request.h"

#include <stdio.h>
#include <stdlib.h>

#include "khronos/caps.h"
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

static bool fail_capability(JsonObject *o, int index, const char *text)
{
    if (o->reader->error)
        return jsonobj_fail(o, text); /* the text is no JSON: that is said instead */
    if (o->error[0] == '\0')
        snprintf(o->error, o->error_size, "%s/capabilities/%d: %s", o->pointer, index, text);
    return false;
}

/* A text with a NUL behind it, which takes the place of the quote that ended it. */
static bool read_capability(JsonObject *o, int index, const char **text)
{
    JsonString string;
    if (index == TEMPLATE_CAPABILITIES_MAX)
        return jsonobj_fail(o, "more than 256 capabilities");
    if (json_peek(o->reader) != JSON_STRING || !json_string(o->reader, &string))
        return fail_capability(o, index, "expected a string");
    char *data = (char *)(uintptr_t)string.data;
    if (string.escaped)
        string.length = json_unescape(&string, data);
    if (!caps_valid(data, string.length))
        return fail_capability(o, index,
                               "expected a capability: 1 to 128 bytes, no control characters");
    data[string.length] = '\0';
    *text = data;
    return true;
}

static bool read_capabilities(JsonObject *o, KhronosCaller *caller)
{
    JsonReader *r = o->reader;
    if (json_peek(r) != JSON_ARRAY)
        return jsonobj_fail(o, "expected an array of strings");
    const char **list = malloc(TEMPLATE_CAPABILITIES_MAX * sizeof(*list));
    if (!list)
        return jsonobj_fail(o, "not enough memory");
    caller->capabilities = list; /* the request's from here on */
    json_enter(r);
    while (json_element(r)) {
        if (!read_capability(o, caller->capability_count, &list[caller->capability_count]))
            return false;
        caller->capability_count++;
    }
    return !r->error || jsonobj_fail(o, "expected an array of strings");
}

static void read_context(JsonReader *reader, ExecuteRequest *request, char *error,
                         size_t error_size)
{
    enum { GUILD_ID, CAPABILITIES, COUNT };
    static const char *const names[COUNT] = {"guild_id", "capabilities"};
    JsonObject o = {.reader = reader,
                    .pointer = "/context",
                    .names = names,
                    .count = COUNT,
                    .error = error,
                    .error_size = error_size};
    JsonString id;
    for (int field; (field = jsonobj_next(&o)) >= 0;) {
        if (field == CAPABILITIES) {
            read_capabilities(&o, &request->caller);
        } else if (jsonobj_string(&o, &id)) {
            request->guild_id = guild_id_read(id.data, id.length);
            if (request->guild_id == 0)
                jsonobj_fail(&o, "expected a guild id: a decimal 64-bit number as a string");
        }
    }
    jsonobj_require(&o, 1u << GUILD_ID);
}

void execute_request_free(ExecuteRequest *request)
{
    free((void *)(uintptr_t)request->caller.capabilities);
    request->caller.capabilities = NULL;
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
