#include "khronos/context.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "khronos/int64.h"

/* What a context is made from, and what it is: the same fields, borrowed or its own. */
typedef struct Context {
    uint64_t guild_id, owner_guild_id;
    uint32_t template_version;
    bool enabled;
    KhronosCaps allowed;  /* of this context */
    KhronosCaps declared; /* of the template */
    KhronosCaps events;
    const char *template_name, *description, *execution_id, *current_user; /* NULL: none */
} Context;

/* ---- Making one -------------------------------------------------------------------------------
 *
 *     | Context | pointers of the lists | bytes of all texts |                                  */

static bool same_list(KhronosCaps a, KhronosCaps b)
{
    return a.items == b.items && a.count == b.count;
}

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static size_t list_size(KhronosCaps list)
{
    size_t size = (size_t)list.count * sizeof(char *);
    for (int i = 0; i < list.count; i++)
        size += text_size(list.items[i]);
    return size;
}

/* Where the copies go. */
typedef struct Packer {
    const char **pointers;
    char *text;
} Packer;

static const char *pack_text(Packer *packer, const char *text)
{
    if (!text)
        return NULL;
    size_t size = text_size(text);
    char *copy = memcpy(packer->text, text, size);
    packer->text += size;
    return copy;
}

static KhronosCaps pack_list(Packer *packer, KhronosCaps list)
{
    const char **items = packer->pointers;
    packer->pointers += list.count;
    for (int i = 0; i < list.count; i++)
        items[i] = pack_text(packer, list.items[i]);
    return (KhronosCaps){items, list.count};
}

static void push_copy(lua_State *L, const Context *from)
{
    bool narrowed = !same_list(from->allowed, from->declared);
    int pointers = from->declared.count + from->events.count + (narrowed ? from->allowed.count : 0);
    size_t size = sizeof(Context) + list_size(from->declared) + list_size(from->events) +
                  (narrowed ? list_size(from->allowed) : 0) + text_size(from->template_name) +
                  text_size(from->description) + text_size(from->execution_id) +
                  text_size(from->current_user);
    Context *context = lua_newuserdatatagged(L, size, KHRONOS_TAG_CONTEXT);
    Packer packer = {.pointers = (const char **)(context + 1)};
    packer.text = (char *)(packer.pointers + pointers);
    *context = *from;
    context->declared = pack_list(&packer, from->declared);
    context->allowed = narrowed ? pack_list(&packer, from->allowed) : context->declared;
    context->events = pack_list(&packer, from->events);
    context->template_name = pack_text(&packer, from->template_name);
    context->description = pack_text(&packer, from->description);
    context->execution_id = pack_text(&packer, from->execution_id);
    context->current_user = pack_text(&packer, from->current_user);
    BASE_ASSERT(packer.text == (char *)context + size);
}

static void poll_vm(void *L)
{
    luau_poll(L);
}

/* What the caller allows of what the template has. Leaves on the stack what the list lives in. */
static KhronosCaps push_narrowed(lua_State *L, KhronosCaps declared, const KhronosCaller *caller)
{
    KhronosCaps allowed = {caller->capabilities, caller->capability_count};
    size_t most = (size_t)declared.count + (size_t)allowed.count;
    const char **items = lua_newuserdata(L, most * sizeof(*items));
    int count = caps_intersect(declared, allowed, items, poll_vm, L);
    return (KhronosCaps){items, count};
}

void context_push(lua_State *L, uint64_t guild_id, const KhronosExecution *x)
{
    const TemplateMeta *meta = template_meta(x->template_version);
    const KhronosCaller *caller = x->caller;
    bool owned = caller && caller->owner_guild_id != 0;
    bool narrows = caller && caller->capabilities;
    Context from = {
        .guild_id = guild_id,
        .owner_guild_id = owned ? caller->owner_guild_id : guild_id,
        .template_version = template_version(x->template_version),
        .enabled = meta->enabled,
        .declared = {meta->capabilities, meta->capability_count},
        .events = {meta->events, meta->event_count},
        .template_name = template_name(x->template_version),
        .description = meta->description,
        .execution_id = x->id,
        .current_user = caller ? caller->current_user : NULL,
    };
    from.allowed = narrows ? push_narrowed(L, from.declared, caller) : from.declared;
    push_copy(L, &from);
    if (narrows)
        lua_remove(L, -2);
}

/* ---- For natives ------------------------------------------------------------------------------
 */

static const Context *check_context(lua_State *L, int arg)
{
    const Context *context = lua_touserdatatagged(L, arg, KHRONOS_TAG_CONTEXT);
    if (!context)
        luaL_typeerror(L, arg, "TemplateContext");
    return context;
}

void context_check(lua_State *L, int arg)
{
    check_context(L, arg);
}

void context_require(lua_State *L, int arg, const char *cap)
{
    if (!caps_allows(check_context(L, arg)->allowed, cap, strlen(cap)))
        luaL_error(L, "this call needs the capability '%s'", cap);
}

uint64_t context_guild(lua_State *L, int arg)
{
    return check_context(L, arg)->guild_id;
}

KhronosCaps context_caps(lua_State *L, int arg)
{
    return check_context(L, arg)->allowed;
}

/* ---- Fields -----------------------------------------------------------------------------------
 */

/* Ids are texts: they have more digits than a number keeps. */
static void push_id(lua_State *L, uint64_t id)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, id);
    lua_pushstring(L, text);
}

static void push_guild_id(lua_State *L, const Context *context)
{
    push_id(L, context->guild_id);
}

static void push_owner_guild_id(lua_State *L, const Context *context)
{
    push_id(L, context->owner_guild_id);
}

static void push_template_name(lua_State *L, const Context *context)
{
    lua_pushstring(L, context->template_name);
}

static void push_template_version(lua_State *L, const Context *context)
{
    lua_pushnumber(L, context->template_version);
}

static void push_execution_id(lua_State *L, const Context *context)
{
    lua_pushstring(L, context->execution_id);
}

static void push_current_user(lua_State *L, const Context *context)
{
    lua_pushstring(L, context->current_user);
}

static void push_memory_limit(lua_State *L, const Context *context)
{
    (void)context;
    lua_pushnumber(L, (double)khronos_memory_limit(L));
}

static void push_store(lua_State *L, const Context *context)
{
    (void)context;
    khronos_pushstore(L);
}

static void push_list(lua_State *L, KhronosCaps list)
{
    lua_createtable(L, list.count, 0);
    for (int i = 0; i < list.count; i++) {
        lua_pushstring(L, list.items[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setreadonly(L, -1, 1);
}

static void push_allowed_caps(lua_State *L, const Context *context)
{
    push_list(L, context->allowed);
}

static void push_data(lua_State *L, const Context *context)
{
    lua_createtable(L, 0, 6);
    push_template_name(L, context);
    lua_rawsetfield(L, -2, "name");
    push_template_version(L, context);
    lua_rawsetfield(L, -2, "version");
    lua_pushstring(L, context->description);
    lua_rawsetfield(L, -2, "description");
    push_list(L, context->events);
    lua_rawsetfield(L, -2, "events");
    push_list(L, context->declared);
    lua_rawsetfield(L, -2, "capabilities");
    lua_pushboolean(L, context->enabled);
    lua_rawsetfield(L, -2, "enabled");
    lua_setreadonly(L, -1, 1);
}

static void push_absent(lua_State *L, const Context *context)
{
    (void)context;
    lua_pushnil(L);
}

/* KV and Templates are absent where no plugin adds them; templates test them for nil. */
static const struct {
    const char *name;
    void (*push)(lua_State *L, const Context *context);
} FIELDS[] = {
    {"guild_id", push_guild_id},
    {"owner_guild_id", push_owner_guild_id},
    {"template_name", push_template_name},
    {"template_version", push_template_version},
    {"allowed_caps", push_allowed_caps},
    {"memory_limit", push_memory_limit},
    {"current_user", push_current_user},
    {"data", push_data},
    {"store", push_store},
    {"execution_id", push_execution_id},
    {"KV", push_absent},
    {"Templates", push_absent},
};

/* Upvalue 1: the methods; 2: what plugins add (KhronosPlugin.context_value, by field). */
static int context_index(lua_State *L)
{
    const Context *context = check_context(L, 1);
    if (lua_type(L, 2) != LUA_TSTRING)
        luaL_error(L, "TemplateContext has no field of type %s", luaL_typename(L, 2));
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL) {
        lua_pushvalue(L, 1);
        lua_call(L, 1, 1);
        return 1;
    }
    size_t length;
    const char *name = lua_tolstring(L, 2, &length);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(FIELDS); i++) {
        if (strlen(FIELDS[i].name) == length && memcmp(FIELDS[i].name, name, length) == 0) {
            FIELDS[i].push(L, context);
            return 1;
        }
    }
    luaL_error(L, "TemplateContext has no field '%.64s'", name);
}

static int context_newindex(lua_State *L)
{
    luaL_error(L, "the context cannot be modified");
}

static int context_tostring(lua_State *L)
{
    check_context(L, 1);
    lua_pushliteral(L, "TemplateContext");
    return 1;
}

/* ---- Methods ----------------------------------------------------------------------------------
 */

/* The context that a method was called on. */
static const Context *check_self(lua_State *L, const char *method)
{
    const Context *context = lua_touserdatatagged(L, 1, KHRONOS_TAG_CONTEXT);
    if (!context)
        luaL_error(L, "%s must be called with a colon: ctx:%s(...)", method, method);
    return context;
}

/* The i-th name of the table at 2, left on the stack. */
static const char *push_name(lua_State *L, int i, const char *complaint, size_t *length)
{
    lua_rawgeti(L, -1, i);
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_argerror(L, 2, complaint);
    luau_poll(L);
    return lua_tolstring(L, -1, length);
}

static int context_hascap(lua_State *L)
{
    const Context *context = check_self(L, "has_cap");
    luaL_checktype(L, 2, LUA_TSTRING);
    size_t length;
    const char *cap = lua_tolstring(L, 2, &length);
    lua_pushboolean(L, caps_allows(context->allowed, cap, length));
    return 1;
}

static int context_hasanycap(lua_State *L)
{
    const Context *context = check_self(L, "has_any_cap");
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    int count = lua_objlen(L, 2);
    bool found = false;
    for (int i = 1; i <= count && !found; i++) {
        size_t length;
        const char *cap = push_name(L, i, "capabilities are strings", &length);
        found = caps_allows(context->allowed, cap, length);
        lua_pop(L, 1);
    }
    lua_pushboolean(L, found);
    return 1;
}

/* The list in field `capabilities` of the table at 2, for a context that has them all. The names
 * belong to the table, which is left on the stack under the list. */
static KhronosCaps push_wanted(lua_State *L, const Context *context)
{
    if (lua_rawgetfield(L, 2, "capabilities") != LUA_TTABLE)
        luaL_argerror(L, 2, "a table {capabilities = {...}} expected");
    int count = lua_objlen(L, -1);
    if (count > TEMPLATE_CAPABILITIES_MAX)
        luaL_argerror(L, 2, "more than 256 capabilities");
    const char **items = lua_newuserdata(L, ((size_t)count + 1) * sizeof(*items));
    lua_insert(L, -2);
    for (int i = 0; i < count; i++) {
        size_t length;
        items[i] = push_name(L, i + 1, "capabilities are strings", &length);
        if (!caps_valid(items[i], length))
            luaL_argerror(L, 2, "a capability has 1 to 128 bytes and no control characters");
        if (!caps_allows(context->allowed, items[i], length))
            luaL_error(L,
                       "withlimits can only take capabilities away: this context does not have "
                       "'%s'",
                       items[i]);
        lua_pop(L, 1);
    }
    return (KhronosCaps){items, count};
}

/* Other names than `capabilities` would be limits that are not kept. */
static void check_limits(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    for (int iter = 0; (iter = lua_rawiter(L, 2, iter)) >= 0; lua_pop(L, 2)) {
        if (lua_type(L, -2) != LUA_TSTRING || strcmp(lua_tostring(L, -2), "capabilities") != 0)
            luaL_argerror(L, 2, "the only limit is 'capabilities'");
    }
}

static int context_withlimits(lua_State *L)
{
    const Context *context = check_self(L, "withlimits");
    lua_settop(L, 2);
    check_limits(L);
    Context from = *context;
    from.allowed = push_wanted(L, context);
    push_copy(L, &from);
    return 1;
}

static int context_keepstore(lua_State *L)
{
    check_self(L, "keep_store");
    khronos_setkeepstore(L, luaL_optboolean(L, 2, 1));
    return 0;
}

void context_open(lua_State *L)
{
    static const luaL_Reg metamethods[] = {
        {"__newindex", context_newindex},
        {"__tostring", context_tostring},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"has_cap", context_hascap},
        {"has_any_cap", context_hasanycap},
        {"withlimits", context_withlimits},
        {"keep_store", context_keepstore},
        {NULL, NULL},
    };
    int fields = lua_gettop(L);
    lua_newtable(L);
    luaL_register(L, NULL, metamethods);
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_pushvalue(L, fields);
    lua_pushcclosure(L, context_index, "__index", 2);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "TemplateContext");
    lua_setfield(L, -2, "__type");
    lua_pushliteral(L, "The metatable is locked");
    lua_setfield(L, -2, "__metatable");
    lua_setuserdatametatable(L, KHRONOS_TAG_CONTEXT);
}
