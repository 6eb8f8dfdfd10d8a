#include "khronos/context.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "khronos/int64.h"
#include "khronos/khronos.h"

typedef struct Context {
    uint64_t guild_id;
    size_t memory_limit_bytes;
    uint32_t template_version;
    char template_name[TEMPLATE_NAME_MAX + 1];
    char execution_id[64];
} Context;

void context_push(lua_State *L, const ContextFields *fields)
{
    Context *context = lua_newuserdatatagged(L, sizeof(Context), KHRONOS_TAG_CONTEXT);
    context->guild_id = fields->guild_id;
    context->memory_limit_bytes = fields->memory_limit_bytes;
    context->template_version = fields->template_version;
    snprintf(context->template_name, sizeof(context->template_name), "%s", fields->template_name);
    snprintf(context->execution_id, sizeof(context->execution_id), "%s", fields->execution_id);
}

static void push_guild_id(lua_State *L, const Context *context)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, context->guild_id);
    lua_pushstring(L, text);
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

static void push_memory_limit(lua_State *L, const Context *context)
{
    lua_pushnumber(L, (double)context->memory_limit_bytes);
}

static void push_store(lua_State *L, const Context *context)
{
    (void)context;
    khronos_pushstore(L);
}

static const struct {
    const char *name;
    void (*push)(lua_State *L, const Context *context);
} FIELDS[] = {
    {"guild_id", push_guild_id},
    {"template_name", push_template_name},
    {"template_version", push_template_version},
    {"execution_id", push_execution_id},
    {"memory_limit", push_memory_limit},
    {"store", push_store},
};

static const Context *check_context(lua_State *L)
{
    const Context *context = lua_touserdatatagged(L, 1, KHRONOS_TAG_CONTEXT);
    if (!context)
        luaL_typeerror(L, 1, "TemplateContext");
    return context;
}

static int context_index(lua_State *L)
{
    const Context *context = check_context(L);
    const char *name = luaL_checkstring(L, 2);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(FIELDS); i++) {
        if (strcmp(FIELDS[i].name, name) == 0) {
            FIELDS[i].push(L, context);
            return 1;
        }
    }
    lua_pushnil(L);
    return 1;
}

static int context_newindex(lua_State *L)
{
    luaL_error(L, "the context cannot be modified");
    return 0;
}

static int context_tostring(lua_State *L)
{
    check_context(L);
    lua_pushliteral(L, "TemplateContext");
    return 1;
}

void context_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"__index", context_index},
        {"__newindex", context_newindex},
        {"__tostring", context_tostring},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_pushliteral(L, "TemplateContext");
    lua_setfield(L, -2, "__type");
    lua_pushliteral(L, "The metatable is locked");
    lua_setfield(L, -2, "__metatable");
    lua_setuserdatametatable(L, KHRONOS_TAG_CONTEXT);
}
