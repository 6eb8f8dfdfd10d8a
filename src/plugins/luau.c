/* @antiraid/luau: code from text, and values as text (luau_format.c).
 *
 * A chunk is a userdata whose metatable is its own: a copy of the image's, with the chunk's state
 * at 1, 2, ... Scripts cannot get at metatables of userdata, so the state is the chunk's alone; and
 * it lives exactly as long. A chunk runs in the globals of the function that loaded it, until it is
 * given an environment: never more than that function has. */
#include <string.h>

#include "khronos/int64.h"
#include "khronos/require.h"
#include "plugins/luau_plugin.h"
#include "plugins/plugins.h"

enum { CHUNK_FUNCTION = 1, CHUNK_CODE, CHUNK_NAME /* or nil */, CHUNK_ENV /* or nil */ };

#define CHUNK_METATABLE "chunk_metatable"

static int check_chunk(lua_State *L)
{
    if (!lua_touserdatatagged(L, 1, KHRONOS_TAG_CHUNK))
        luaL_typeerror(L, 1, "Chunk");
    return 1;
}

static void push_state(lua_State *L, int what)
{
    lua_getmetatable(L, 1);
    lua_rawgeti(L, -1, what);
    lua_remove(L, -2);
}

/* Pops the value. */
static void set_state(lua_State *L, int what)
{
    lua_getmetatable(L, 1);
    lua_insert(L, -2);
    lua_rawseti(L, -2, what);
    lua_pop(L, 1);
}

/* ---- Loading ----------------------------------------------------------------------------------
 */

/* The name at arg, or nil. It shows in messages: no line breaks, nothing that a terminal obeys. */
static const char *check_name(lua_State *L, int arg)
{
    size_t length;
    if (lua_isnoneornil(L, arg))
        return NULL;
    luaL_checktype(L, arg, LUA_TSTRING);
    const char *name = lua_tolstring(L, arg, &length);
    bool good = length >= 1 && length <= 128;
    for (size_t i = 0; good && i < length; i++)
        good = (unsigned char)name[i] >= ' ' && name[i] != 0x7F;
    if (!good)
        luaL_argerror(L, arg, "a chunk's name has 1 to 128 bytes and no control characters");
    return name;
}

/* Pushes the function of the source at `code`, named after `name` or else after its first line. */
static void push_compiled(lua_State *L, int code, const char *name)
{
    size_t length;
    const char *source = lua_tolstring(L, code, &length);
    char chunkname[256] = "=";
    if (name)
        memcpy(chunkname + 1, name, strlen(name) + 1);
    if (luau_loadstring(L, source, length, name ? chunkname : source) != LUA_OK)
        lua_error(L);
}

/* The globals of the Luau function that called. */
static void push_caller_globals(lua_State *L)
{
    lua_Debug ar;
    if (!require_caller(L, &ar, true)) {
        lua_pushvalue(L, LUA_GLOBALSINDEX);
        return;
    }
    lua_getfenv(L, -1);
    lua_remove(L, -2);
}

static int luau_load_chunk(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TSTRING);
    const char *name = check_name(L, 2);
    lua_settop(L, 2);
    push_compiled(L, 1, name);
    push_caller_globals(L);
    lua_setfenv(L, 3);
    lua_newuserdatatagged(L, 0, KHRONOS_TAG_CHUNK);
    luau_image_push(L, SANDBOX_ID(CHUNK_METATABLE));
    lua_clonetable(L, -1);
    lua_remove(L, -2);
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, CHUNK_FUNCTION);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, CHUNK_CODE);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, CHUNK_NAME);
    lua_setmetatable(L, -2);
    return 1;
}

/* ---- Fields -----------------------------------------------------------------------------------
 */

static int field_state(const char *name)
{
    return strcmp(name, "environment") == 0  ? CHUNK_ENV
           : strcmp(name, "chunk_name") == 0 ? CHUNK_NAME
           : strcmp(name, "code") == 0       ? CHUNK_CODE
                                             : 0;
}

/* Upvalue 1: the methods. */
static int chunk_index(lua_State *L)
{
    check_chunk(L);
    const char *name = luaL_checkstring(L, 2);
    lua_settop(L, 2);
    int what = field_state(name);
    if (what) {
        push_state(L, what);
        return 1;
    }
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL)
        luaL_error(L, "Chunk has no field '%.64s'", name);
    return 1;
}

static void set_environment(lua_State *L)
{
    if (!lua_istable(L, 3))
        luaL_error(L, "a chunk's environment must be a table, got %s", luaL_typename(L, 3));
    push_state(L, CHUNK_FUNCTION);
    lua_pushvalue(L, 3);
    lua_setfenv(L, -2);
    lua_pop(L, 1);
    set_state(L, CHUNK_ENV);
}

/* The name is part of the compiled code: it is compiled anew. */
static void set_name(lua_State *L)
{
    const char *name = check_name(L, 3);
    push_state(L, CHUNK_CODE);
    push_compiled(L, 4, name);
    push_state(L, CHUNK_FUNCTION);
    lua_getfenv(L, -1);
    lua_setfenv(L, -3);
    lua_pop(L, 1);
    set_state(L, CHUNK_FUNCTION);
    lua_settop(L, 3);
    set_state(L, CHUNK_NAME);
}

static int chunk_newindex(lua_State *L)
{
    check_chunk(L);
    const char *name = luaL_checkstring(L, 2);
    lua_settop(L, 3);
    switch (field_state(name)) {
    case CHUNK_ENV: set_environment(L); break;
    case CHUNK_NAME: set_name(L); break;
    default: luaL_error(L, "a chunk's field '%.64s' cannot be set", name);
    }
    return 0;
}

static int chunk_tostring(lua_State *L)
{
    check_chunk(L);
    lua_pushliteral(L, "Chunk");
    return 1;
}

/* ---- Calls ------------------------------------------------------------------------------------
 */

/* The chunk at 1 gives way to its function; returns the count of its arguments. */
static int prepare_call(lua_State *L, const char *method)
{
    if (!lua_touserdatatagged(L, 1, KHRONOS_TAG_CHUNK))
        luaL_error(L, "%s must be called with a colon: chunk:%s(...)", method, method);
    push_state(L, CHUNK_FUNCTION);
    lua_replace(L, 1);
    return lua_gettop(L) - 1;
}

static int chunk_call(lua_State *L)
{
    int count = prepare_call(L, "call");
    lua_call(L, count, LUA_MULTRET);
    return lua_gettop(L);
}

static int call_continue(lua_State *L, int status)
{
    (void)status;
    return lua_gettop(L);
}

static int chunk_call_async(lua_State *L)
{
    int count = prepare_call(L, "call_async");
    return luau_callk(L, count, LUA_MULTRET);
}

/* ---- Opening ----------------------------------------------------------------------------------
 */

static void push_methods(lua_State *L)
{
    lua_newtable(L);
    lua_pushcfunction(L, chunk_call, "call");
    lua_setfield(L, -2, "call");
    lua_pushcclosurek(L, chunk_call_async, "call_async", 0, call_continue);
    lua_setfield(L, -2, "call_async");
}

static void set_chunk_metatable(lua_State *L)
{
    static const luaL_Reg metamethods[] = {
        {"__newindex", chunk_newindex},
        {"__tostring", chunk_tostring},
        {NULL, NULL},
    };
    lua_getglobal(L, "@worker");
    lua_createtable(L, CHUNK_ENV, 8);
    luaL_register(L, NULL, metamethods);
    push_methods(L);
    lua_pushcclosure(L, chunk_index, "__index", 1);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "Chunk");
    lua_setfield(L, -2, "__type");
    lua_pushliteral(L, "The metatable is locked");
    lua_setfield(L, -2, "__metatable");
    lua_setfield(L, -2, CHUNK_METATABLE);
    lua_pop(L, 1);
}

void plugin_luau_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"load", luau_load_chunk},
        {"format", luau_plugin_format},
        {NULL, NULL},
    };
    set_chunk_metatable(L);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
}
