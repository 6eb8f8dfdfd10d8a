/* ctx.Templates (@antiraid/templates): the templates of a guild, for templates.
 *
 * Who may touch what: nobody gains capabilities here. What is saved has capabilities that the
 * context has, all of them; and what is replaced, deleted or made current again may have no other
 * capabilities either: a template cannot switch off one that is trusted more than itself, nor bring
 * back an old version that was, nor hide one that every guild has. So a change takes two steps: the
 * versions are asked for and compared, then the change is made on condition that the current
 * version is still the one that was compared. Versions never change, so nothing can slip in
 * between. */
#include "khronos/datetime.h"
#include "khronos/int64.h"
#include "khronos/interop.h"
#include "plugins/holder.h"
#include "plugins/plugins.h"
#include "plugins/store_call.h"
#include "plugins/templates_args.h"

/* ---- Results ----------------------------------------------------------------------------------
 */

static void set_text(lua_State *L, const char *field, Text text)
{
    if (!text.data)
        return;
    lua_pushlstring(L, text.data, text.length);
    lua_rawsetfield(L, -2, field);
}

static void set_number(lua_State *L, const char *field, double number)
{
    lua_pushnumber(L, number);
    lua_rawsetfield(L, -2, field);
}

static void set_flag(lua_State *L, const char *field, bool flag)
{
    lua_pushboolean(L, flag);
    lua_rawsetfield(L, -2, field);
}

static void set_list(lua_State *L, const char *field, const Text *texts, int count)
{
    lua_createtable(L, count, 0);
    interop_pusharraymeta(L);
    lua_setmetatable(L, -2);
    for (int i = 0; i < count; i++) {
        lua_pushlstring(L, texts[i].data, texts[i].length);
        lua_rawseti(L, -2, i + 1);
    }
    lua_rawsetfield(L, -2, field);
}

static void push_files(lua_State *L, const StoreTemplate *t)
{
    lua_createtable(L, 0, t->file_count);
    for (int i = 0; i < t->file_count; i++) {
        lua_pushlstring(L, t->files[i].path.data, t->files[i].path.length);
        lua_pushlstring(L, t->files[i].source.data, t->files[i].source.length);
        lua_rawset(L, -3);
        luau_poll(L);
    }
}

static void push_template(lua_State *L, const StoreTemplate *t, bool whole)
{
    lua_createtable(L, 0, 12);
    set_text(L, "name", t->name);
    set_number(L, "version", t->version);
    set_flag(L, "current", t->current);
    set_flag(L, "enabled", t->enabled);
    set_text(L, "description", t->description);
    set_list(L, "events", t->events, t->event_count);
    set_list(L, "capabilities", t->capabilities, t->capability_count);
    set_number(L, "source_bytes", (double)t->source_bytes);
    datetime_push_ms(L, t->created_ms);
    lua_rawsetfield(L, -2, "created_at");
    datetime_push_ms(L, t->updated_ms);
    lua_rawsetfield(L, -2, "updated_at");
    if (whole) {
        push_files(L, t);
        lua_rawsetfield(L, -2, "files");
    }
}

/* A list of them; empty also if there is nothing of that name. */
static int push_list(lua_State *L, StoreRequest *request)
{
    int count = request->status == STORE_OK ? request->template_count : 0;
    lua_createtable(L, count, 0);
    interop_pusharraymeta(L);
    lua_setmetatable(L, -2);
    for (int i = 0; i < count; i++) {
        push_template(L, &request->templates[i], false);
        lua_rawseti(L, -2, i + 1);
        luau_poll(L);
    }
    return 1;
}

static int push_got(lua_State *L, StoreRequest *request)
{
    if (request->status == STORE_OK && request->template_count > 0)
        push_template(L, &request->templates[0], true);
    else
        lua_pushnil(L);
    return 1;
}

static int push_version(lua_State *L, StoreRequest *request)
{
    lua_pushnumber(L, request->template_count > 0 ? request->templates[0].version : 0);
    return 1;
}

static int push_deleted(lua_State *L, StoreRequest *request)
{
    lua_pushboolean(L, request->status == STORE_OK);
    return 1;
}

/* ---- Asking -----------------------------------------------------------------------------------
 */

static StoreRequest *new_request(StoreOp op, const Holder *holder, Text name)
{
    StoreRequest *request = store_request_new(op, holder->guild_id);
    if (!request)
        return NULL;
    request->name = store_request_text(request, name);
    if (!name.data || request->name.data)
        return request;
    store_request_free(request);
    return NULL;
}

static int submit(lua_State *L, StoreRequest *request,
                  int (*results)(lua_State *L, StoreRequest *request))
{
    if (!request)
        luaL_error(L, "not enough memory");
    return store_call(L, request, true, results);
}

static const Holder *check(lua_State *L, const char *method, const char *cap)
{
    const Holder *holder = holder_check(L, KHRONOS_TAG_TEMPLATES, "ctx.Templates", method);
    holder_require(L, holder, cap);
    return holder;
}

static int method_list(lua_State *L)
{
    const Holder *holder = check(L, "list", "templates:list");
    return submit(L, new_request(STORE_LIST, holder, (Text){0}), push_list);
}

static int method_get(lua_State *L)
{
    const Holder *holder = check(L, "get", "templates:get");
    lua_settop(L, 3);
    Text name = templates_args_name(L, 2);
    int64_t version = templates_args_version(L, 3, "version", 1, 0);
    StoreRequest *request = new_request(STORE_GET, holder, name);
    if (request)
        request->version = (uint32_t)version;
    return submit(L, request, push_got);
}

static int method_versions(lua_State *L)
{
    const Holder *holder = check(L, "versions", "templates:get");
    lua_settop(L, 2);
    Text name = templates_args_name(L, 2);
    return submit(L, new_request(STORE_VERSIONS, holder, name), push_list);
}

/* ---- Changes ----------------------------------------------------------------------------------
 *
 * The native asks for the versions and waits; then its continuation has the answer behind the
 * arguments, compares, and sends the change off; then it has the outcome there. Arguments are read
 * in both steps: other threads may have changed a table in between. */

enum { ARGUMENTS = 4, PHASE, ANSWER }; /* slots */
enum { COMPARING, CHANGING };          /* phases */

/* The outcome of the first step: the current version (0: none), and the set of the capabilities
 * that the holder must have, or nil if the version that is wanted is not there. */
static int push_comparison(lua_State *L, const StoreRequest *request,
                           bool (*matters)(const StoreRequest *request, const StoreTemplate *t))
{
    int count = request->status == STORE_OK ? request->template_count : 0;
    uint32_t current = 0;
    bool found = request->version == 0;
    lua_newtable(L);
    for (int i = 0; i < count; i++) {
        const StoreTemplate *t = &request->templates[i];
        if (t->current)
            current = t->version;
        found = found || t->version == request->version;
        for (int c = 0; matters(request, t) && c < t->capability_count; c++) {
            lua_pushlstring(L, t->capabilities[c].data, t->capabilities[c].length);
            lua_pushboolean(L, 1);
            lua_rawset(L, -3);
        }
        luau_poll(L);
    }
    if (!found)
        lua_pushnil(L);
    lua_pushnumber(L, current);
    lua_insert(L, -2);
    return 2;
}

static bool is_current(const StoreRequest *request, const StoreTemplate *t)
{
    (void)request;
    return t->current;
}

static bool is_current_or_wanted(const StoreRequest *request, const StoreTemplate *t)
{
    return t->current || t->version == request->version;
}

static bool is_any(const StoreRequest *request, const StoreTemplate *t)
{
    (void)request, (void)t;
    return true;
}

static int push_for_save(lua_State *L, StoreRequest *request)
{
    return push_comparison(L, request, is_current);
}

static int push_for_activate(lua_State *L, StoreRequest *request)
{
    return push_comparison(L, request, is_current_or_wanted);
}

static int push_for_delete(lua_State *L, StoreRequest *request)
{
    return push_comparison(L, request, is_any);
}

/* The first step; `version`: of what the holder wants. or_common: a new template would hide one
 * that every guild has, and replaces it that way. */
static int compare(lua_State *L, const Holder *holder, Text name, uint32_t version, bool or_common,
                   int (*results)(lua_State *L, StoreRequest *request))
{
    StoreRequest *request = new_request(STORE_VERSIONS, holder, name);
    if (request) {
        request->version = version;
        request->or_common = or_common;
    }
    lua_settop(L, ARGUMENTS);
    lua_pushnumber(L, COMPARING);
    return submit(L, request, results);
}

/* The second step: the change, which must meet the version that was compared. */
static int change(lua_State *L, StoreRequest *request, int64_t if_version,
                  int (*results)(lua_State *L, StoreRequest *request))
{
    if (request)
        request->if_version = if_version;
    lua_settop(L, ARGUMENTS);
    lua_pushnumber(L, CHANGING);
    return submit(L, request, results);
}

static bool is_changing(lua_State *L)
{
    return lua_tonumber(L, PHASE) == CHANGING;
}

/* What the first step found, for a change that expects `wanted` (below 0: whatever there is).
 * Returns the current version. */
static int64_t check_comparison(lua_State *L, const Holder *holder, Text name, int64_t wanted)
{
    int64_t current = (int64_t)lua_tonumber(L, ANSWER);
    if (wanted >= 0 && wanted != current)
        luaL_error(L, "the current version of template '%s' is %u, not %u", name.data,
                   (unsigned)current, (unsigned)wanted);
    for (int iter = 0; (iter = lua_rawiter(L, ANSWER + 1, iter)) >= 0; lua_pop(L, 2)) {
        size_t length;
        const char *cap = lua_tolstring(L, -2, &length);
        if (!caps_allows(holder->caps, cap, length))
            luaL_error(L, "the template '%s' has the capability '%s', which this context lacks",
                       name.data, cap);
        luau_poll(L);
    }
    return current;
}

/* ---- save ---- */

/* What is to be saved may do nothing that the holder may not. */
static const Holder *read_save(lua_State *L, StoreTemplate *t, int64_t *if_version)
{
    const Holder *holder = check(L, "save", "templates:save");
    Text name = templates_args_name(L, 2);
    *if_version = templates_args_version(L, 4, "if_version", 0, -1);
    templates_args_read(L, 3, name, t);
    for (int i = 0; i < t->capability_count; i++) {
        Text cap = t->capabilities[i];
        if (!caps_valid(cap.data, cap.length))
            luaL_error(L,
                       "invalid 'capabilities[%d]': 1 to %d bytes without control characters "
                       "expected",
                       i + 1, CAPS_TEXT_MAX);
        if (!caps_allows(holder->caps, cap.data, cap.length))
            luaL_error(L,
                       "a template cannot be given the capability '%s', which this context lacks",
                       cap.data);
    }
    return holder;
}

static int method_save(lua_State *L)
{
    StoreTemplate t;
    int64_t if_version;
    lua_settop(L, ARGUMENTS);
    const Holder *holder = read_save(L, &t, &if_version);
    return compare(L, holder, t.name, 0, true, push_for_save);
}

static int save_continue(lua_State *L, int status)
{
    StoreTemplate t;
    int64_t if_version;
    (void)status;
    if (is_changing(L))
        return 1;
    const Holder *holder = read_save(L, &t, &if_version);
    int64_t current = check_comparison(L, holder, t.name, if_version);
    StoreRequest *request = new_request(STORE_SAVE, holder, t.name);
    if (request && !(request->save = templates_args_copy(request, &t))) {
        store_request_free(request);
        request = NULL;
    }
    return change(L, request, current, push_version);
}

/* ---- delete ---- */

static int method_delete(lua_State *L)
{
    lua_settop(L, ARGUMENTS);
    const Holder *holder = check(L, "delete", "templates:delete");
    Text name = templates_args_name(L, 2);
    templates_args_version(L, 3, "if_version", 1, -1);
    return compare(L, holder, name, 0, false, push_for_delete);
}

static int delete_continue(lua_State *L, int status)
{
    (void)status;
    if (is_changing(L))
        return 1;
    const Holder *holder = check(L, "delete", "templates:delete");
    Text name = templates_args_name(L, 2);
    int64_t wanted = templates_args_version(L, 3, "if_version", 1, -1);
    int64_t current = check_comparison(L, holder, name, wanted);
    if (current == 0) {
        lua_pushboolean(L, 0);
        return 1;
    }
    return change(L, new_request(STORE_DELETE, holder, name), current, push_deleted);
}

/* ---- activate ---- */

static int method_activate(lua_State *L)
{
    lua_settop(L, ARGUMENTS);
    const Holder *holder = check(L, "activate", "templates:save");
    Text name = templates_args_name(L, 2);
    int64_t version = templates_args_version(L, 3, "version", 1, 0);
    templates_args_version(L, 4, "if_version", 1, -1);
    if (version == 0)
        luaL_error(L, "missing 'version'");
    return compare(L, holder, name, (uint32_t)version, false, push_for_activate);
}

static int activate_continue(lua_State *L, int status)
{
    (void)status;
    if (is_changing(L))
        return 1;
    const Holder *holder = check(L, "activate", "templates:save");
    Text name = templates_args_name(L, 2);
    int64_t version = templates_args_version(L, 3, "version", 1, 0);
    int64_t wanted = templates_args_version(L, 4, "if_version", 1, -1);
    if (lua_isnil(L, ANSWER + 1))
        luaL_error(L, "there is no version %u of a template '%s'", (unsigned)version, name.data);
    int64_t current = check_comparison(L, holder, name, wanted);
    StoreRequest *request = new_request(STORE_ACTIVATE, holder, name);
    if (request)
        request->version = (uint32_t)version;
    return change(L, request, current, push_version);
}

/* ---- Opening ----------------------------------------------------------------------------------
 */

int plugin_templates_new(lua_State *L)
{
    holder_push(L, 1, KHRONOS_TAG_TEMPLATES, ""); /* all: they are what it may hand on */
    return 1;
}

void plugin_templates_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"list", method_list},
        {"get", method_get},
        {"versions", method_versions},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_pushcclosurek(L, method_save, "save", 0, save_continue);
    lua_setfield(L, -2, "save");
    lua_pushcclosurek(L, method_delete, "delete", 0, delete_continue);
    lua_setfield(L, -2, "delete");
    lua_pushcclosurek(L, method_activate, "activate", 0, activate_continue);
    lua_setfield(L, -2, "activate");
    holder_open(L, KHRONOS_TAG_TEMPLATES, "Templates");
    lua_newtable(L);
    lua_pushcfunction(L, plugin_templates_new, "new");
    lua_setfield(L, -2, "new");
}
