#include "khronos/event.h"

#include <stdio.h>

#include "khronos/interop.h"

enum { NAME, DATA, BASE_NAME, AUTHOR, ID, SCOPES, FIELD_COUNT };
static const char *const FIELDS[FIELD_COUNT] = {"name",   "data", "base_name",
                                                "author", "id",   "scopes"};

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

/* Scopes choose among subscribed templates; a single execution only checks their form. */
static bool read_scopes(JsonObject *o)
{
    JsonString scope;
    JsonReader *r = o->reader;
    int count = 0;
    if (json_peek(r) != JSON_ARRAY || !json_enter(r))
        return jsonobj_fail(o, "expected an array of strings");
    while (json_element(r)) {
        if (json_peek(r) != JSON_STRING || !json_string(r, &scope))
            return jsonobj_fail(o, "expected an array of strings");
        if (++count > EVENT_SCOPES_MAX)
            return jsonobj_fail(o, "more than 32 scopes");
    }
    return !r->error || jsonobj_fail(o, "expected an array of strings");
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
        default: read_scopes(&o); break;
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
