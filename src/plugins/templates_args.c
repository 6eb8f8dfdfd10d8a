/* Arguments of ctx.Templates. What takes a compiler to check is checked by whoever serves the call;
 * here it is what every template must keep to, so that nothing larger is copied. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/jsontext.h"
#include "khronos/template.h"
#include "plugins/templates_args.h"

enum { UTF8_PIECE = 64 << 10 };

/* ---- Names and numbers ------------------------------------------------------------------------
 */

Text templates_args_name(lua_State *L, int index)
{
    Text name = {NULL, 0};
    if (lua_type(L, index) == LUA_TSTRING)
        name.data = lua_tolstring(L, index, &name.length);
    if (!name.data || !template_name_valid(name.data, name.length))
        luaL_error(L, "invalid 'name': 1 to %d letters, digits, '.', '_', '$' or '-' expected",
                   TEMPLATE_NAME_MAX);
    return name;
}

int64_t templates_args_version(lua_State *L, int index, const char *argument, int64_t least,
                               int64_t none)
{
    if (lua_isnoneornil(L, index))
        return none;
    double version = lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : -1;
    if (!(version >= (double)least && version <= (double)UINT32_MAX && version == floor(version)))
        luaL_error(L, "invalid '%s': a whole number from %d to %u expected", argument, (int)least,
                   UINT32_MAX);
    return (int64_t)version;
}

/* ---- Texts ------------------------------------------------------------------------------------
 */

/* In pieces that end between two characters. The text keeps its place. */
static void check_utf8(lua_State *L, const char *what, Text text)
{
    for (size_t at = 0, size; at < text.length; at += size) {
        size = text.length - at;
        if (size > UTF8_PIECE) {
            size = UTF8_PIECE;
            for (int i = 0; i < 3 && ((unsigned char)text.data[at + size] & 0xC0) == 0x80; i++)
                size--;
        }
        size_t valid = json_utf8_valid(text.data + at, size);
        if (valid != size)
            luaL_error(L, "invalid '%s': invalid UTF-8 at byte %zu", what, at + valid + 1);
        luau_poll(L);
    }
}

static Text read_text(lua_State *L, int index, const char *what, size_t length_max)
{
    Text text;
    if (lua_type(L, index) != LUA_TSTRING)
        luaL_error(L, "invalid '%s': a string expected, got %s", what, luaL_typename(L, index));
    text.data = lua_tolstring(L, index, &text.length);
    if (text.length > length_max)
        luaL_error(L, "invalid '%s': at most %zu bytes expected, got %zu", what, length_max,
                   text.length);
    check_utf8(L, what, text);
    return text;
}

/* ---- Lists ------------------------------------------------------------------------------------
 */

/* The list of strings on top of the stack, or nil: absent. They live with what is left there. */
static int read_labels(lua_State *L, const char *what, int count_max, Text **labels)
{
    int list = lua_gettop(L);
    if (lua_isnil(L, list))
        return 0;
    int count = lua_istable(L, list) ? lua_objlen(L, list) : -1;
    if (count < 0 || count > count_max)
        luaL_error(L, "invalid '%s': a list of at most %d strings expected", what, count_max);
    *labels = lua_newuserdata(L, (size_t)count * sizeof(Text) + 1);
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%s[%d]", what, i + 1);
        lua_rawgeti(L, list, i + 1);
        (*labels)[i] = read_text(L, list + 2, name, TEMPLATE_LABEL_MAX);
        lua_pop(L, 1);
    }
    return count;
}

static void read_file(lua_State *L, int path, int source, StoreTemplate *t)
{
    char name[64];
    if (lua_type(L, path) != LUA_TSTRING)
        luaL_error(L, "invalid 'files': a table of path and source expected");
    if (t->file_count == TEMPLATE_FILES_MAX)
        luaL_error(L, "invalid 'files': at most %d expected", TEMPLATE_FILES_MAX);
    StoreFile *file = &t->files[t->file_count++];
    file->path = read_text(L, path, "files", TEMPLATE_PATH_MAX);
    snprintf(name, sizeof(name), "files['%.48s']", file->path.data);
    file->source = read_text(L, source, name, TEMPLATE_FILE_BYTES_MAX);
    t->source_bytes += file->source.length;
    if (t->source_bytes > TEMPLATE_BYTES_MAX)
        luaL_error(L, "invalid 'files': at most %zu bytes in all expected", TEMPLATE_BYTES_MAX);
}

/* The fields `files` and `source` of the table at index; one of them is there. */
static void read_files(lua_State *L, int index, StoreTemplate *t)
{
    int has_source = lua_rawgetfield(L, index, "source") != LUA_TNIL;
    int has_files = lua_rawgetfield(L, index, "files") != LUA_TNIL;
    int files = lua_gettop(L);
    if (has_source == has_files)
        luaL_error(L, "a template has either 'source' or 'files'");
    t->files = lua_newuserdata(L, TEMPLATE_FILES_MAX * sizeof(StoreFile));
    if (has_source) {
        t->files[0].path = (Text){"init.luau", 9};
        t->files[0].source = read_text(L, files - 1, "source", TEMPLATE_FILE_BYTES_MAX);
        t->source_bytes = t->files[0].source.length;
        t->file_count = 1;
        return;
    }
    if (!lua_istable(L, files))
        luaL_error(L, "invalid 'files': a table of path and source expected, got %s",
                   luaL_typename(L, files));
    for (int iter = 0; (iter = lua_rawiter(L, files, iter)) >= 0; lua_pop(L, 2))
        read_file(L, lua_gettop(L) - 1, lua_gettop(L), t);
}

/* ---- All of it --------------------------------------------------------------------------------
 */

static void check_fields(lua_State *L, int index)
{
    static const char *const known[] = {"source", "files",        "description",
                                        "events", "capabilities", "enabled"};
    if (!lua_istable(L, index))
        luaL_error(L, "invalid 'template': a table expected, got %s", luaL_typename(L, index));
    for (int iter = 0; (iter = lua_rawiter(L, index, iter)) >= 0; lua_pop(L, 2)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        size_t i = 0;
        while (i < BASE_ARRAY_COUNT(known) && strcmp(known[i], name) != 0)
            i++;
        if (i == BASE_ARRAY_COUNT(known))
            luaL_error(L, "invalid 'template': unknown field '%.64s'", name);
    }
}

/* Strings stay alive in the tables that hold them, also in weak ones; the tables stay on the stack.
 */
void templates_args_read(lua_State *L, int index, Text name, StoreTemplate *t)
{
    *t = (StoreTemplate){.name = name, .enabled = true};
    check_fields(L, index);
    read_files(L, index, t);
    if (lua_rawgetfield(L, index, "description") != LUA_TNIL)
        t->description = read_text(L, lua_gettop(L), "description", TEMPLATE_DESCRIPTION_MAX);
    lua_rawgetfield(L, index, "events");
    t->event_count = read_labels(L, "events", TEMPLATE_EVENTS_MAX, &t->events);
    lua_rawgetfield(L, index, "capabilities");
    t->capability_count = read_labels(L, "capabilities", TEMPLATE_CAPABILITIES_MAX,
                                      &t->capabilities);
    if (lua_rawgetfield(L, index, "enabled") != LUA_TNIL) {
        if (!lua_isboolean(L, -1))
            luaL_error(L, "invalid 'enabled': a boolean expected, got %s", luaL_typename(L, -1));
        t->enabled = lua_toboolean(L, -1);
    }
}

const StoreTemplate *templates_args_copy(StoreRequest *request, const StoreTemplate *t)
{
    StoreTemplate *copy = store_request_alloc(request, sizeof(*copy));
    if (!copy)
        return NULL;
    *copy = *t;
    copy->name = store_request_text(request, t->name);
    copy->description = store_request_text(request, t->description);
    copy->events = store_request_texts(request, t->events, t->event_count);
    copy->capabilities = store_request_texts(request, t->capabilities, t->capability_count);
    copy->files = store_request_alloc(request, (size_t)t->file_count * sizeof(StoreFile));
    bool ok = copy->name.data && (copy->description.data || !t->description.data) && copy->events &&
              copy->capabilities && copy->files;
    for (int i = 0; ok && i < t->file_count; i++) {
        copy->files[i].path = store_request_text(request, t->files[i].path);
        copy->files[i].source = store_request_text(request, t->files[i].source);
        ok = copy->files[i].path.data && copy->files[i].source.data;
    }
    return ok ? copy : NULL;
}
