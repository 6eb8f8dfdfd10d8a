#include "khronos/event.h"

#include <stdio.h>
#include <string.h>

#include "khronos/interop.h"

enum { NAME, DATA, BASE_NAME, AUTHOR, ID, SCOPES, FIELD_COUNT };
static const char *const FIELDS[FIELD_COUNT] = {"name",   "data", "base_name",
                                                "author", "id",   "scopes"};

int event_comparetexts(EventText a, EventText b)
{
    size_t shorter = a.length < b.length ? a.length : b.length;
    int order = shorter > 0 ? memcmp(a.data, b.data, shorter) : 0;
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

static bool read_text(JsonObject *o, EventText *text, bool may_be_null)
{
    JsonString string;
    if (may_be_null && jsonobj_null(o))
        return true;
    if (!jsonobj_string(o, &string))
        return false;
    if (string.length == 0)
        return jsonobj_fail(o, "must not be empty");
    if (string.length > EVENT_TEXT_MAX)
        return jsonobj_fail(o, "longer than 256 bytes");
    *text = (EventText){string.data, string.length};
    return true;
}

/* Complains about one scope, by its number. */
static bool fail_scope(JsonObject *o, int index, const char *text)
{
    if (o->reader->error)
        return jsonobj_fail(o, text); /* the text is no JSON: that is said instead */
    if (o->error[0] == '\0')
        snprintf(o->error, o->error_size, "%s/%s/%d: %s", o->pointer, FIELDS[SCOPES], index, text);
    return false;
}

static bool read_scope(JsonObject *o, int index)
{
    JsonString scope;
    if (index == EVENT_SCOPES_MAX)
        return jsonobj_fail(o, "more than 32 scopes");
    if (json_peek(o->reader) != JSON_STRING || !json_string(o->reader, &scope))
        return fail_scope(o, index, "expected a string");
    if (scope.length == 0)
        return fail_scope(o, index, "must not be empty");
    if (json_unescaped_length(&scope) > EVENT_SCOPE_MAX)
        return fail_scope(o, index, "longer than 64 bytes");
    return true;
}

static bool read_scopes(JsonObject *o, EventText *scopes)
{
    JsonReader *r = o->reader;
    if (json_peek(r) != JSON_ARRAY)
        return jsonobj_fail(o, "expected an array of strings");
    const char *start = r->p;
    json_enter(r);
    for (int index = 0; json_element(r); index++)
        if (!read_scope(o, index))
            return false;
    if (r->error)
        return jsonobj_fail(o, "expected an array of strings");
    *scopes = (EventText){start, (size_t)(r->p - start)};
    return true;
}

bool event_read(JsonReader *reader, const char *pointer, KhronosEvent *event, char *error,
                size_t error_size)
{
    JsonObject o = {.reader = reader,
                    .pointer = pointer,
                    .names = FIELDS,
                    .count = FIELD_COUNT,
                    .error = error,
                    .error_size = error_size};
    *event = (KhronosEvent){.base_name = {"Custom", 6}};
    error[0] = '\0';
    for (int field; (field = jsonobj_next(&o)) >= 0;) {
        switch (field) {
        case NAME: read_text(&o, &event->name, false); break;
        case DATA: jsonobj_raw(&o, &event->data.data, &event->data.length); break;
        case BASE_NAME: read_text(&o, &event->base_name, false); break;
        case AUTHOR: read_text(&o, &event->author, true); break;
        case ID: read_text(&o, &event->id, true); break;
        default: read_scopes(&o, &event->scopes); break;
        }
    }
    return jsonobj_require(&o, 1u << NAME);
}

static void set_text(lua_State *L, const char *field, EventText text)
{
    lua_pushlstring(L, text.data, text.length);
    lua_rawsetfield(L, -2, field);
}

void event_push(lua_State *L, const KhronosEvent *event, const char *id)
{
    InteropError error;
    luaL_checkstack(L, LUA_MINSTACK, "event");
    lua_createtable(L, 0, 5);
    set_text(L, "base_name", event->base_name);
    set_text(L, "name", event->name);
    if (event->author.data)
        set_text(L, "author", event->author);
    if (event->id.data) {
        set_text(L, "id", event->id);
    } else {
        lua_pushstring(L, id);
        lua_rawsetfield(L, -2, "id");
    }
    if (event->data.data) {
        InteropReader reader = {
            .text = event->data.data, .length = event->data.length, .freeze = true};
        if (!interop_decode(L, &reader, &error))
            luaL_error(L, "event data: %s", error.text);
        lua_rawsetfield(L, -2, "data");
    }
    lua_setreadonly(L, -1, 1);
}
