/* lib_bare.c: globals for programs that trust their script (`run --bare`): environments,
 * loadstring, collectgarbage. Sandboxes leave this library out. */
#include "luau/lib/lib.h"

/* Pushes the function at argument 1, or that of the level there. */
static void push_function(lua_State *L, bool optional)
{
    if (lua_isfunction(L, 1)) {
        lua_pushvalue(L, 1);
        return;
    }
    int level = optional ? lib_optint(L, 1, 1) : lib_checkint(L, 1);
    luaL_argcheck(L, level >= 0, 1, "level must be non-negative");
    lua_Debug ar;
    if (!lua_getinfo(L, level, "f", &ar))
        luaL_argerror(L, 1, "invalid level");
}

/* Handing an environment out needs no word to the interpreter: stores that hide a library name are
 * seen where they happen (table.h), and so is a change of the metatable. */
static int bare_getfenv(lua_State *L)
{
    push_function(L, true);
    if (lua_iscfunction(L, -1))
        lua_pushvalue(L, LUA_GLOBALSINDEX);
    else
        lua_getfenv(L, -1);
    return 1;
}

static int bare_setfenv(lua_State *L)
{
    lib_checktable(L, 2);
    push_function(L, false);
    lua_pushvalue(L, 2);
    if (lua_isnumber(L, 1) && lua_tonumber(L, 1) == 0) {
        lua_pushthread(L);
        lua_insert(L, -2);
        lua_setfenv(L, -2);
        return 0;
    }
    if (lua_iscfunction(L, -2) || !lua_setfenv(L, -2))
        luaL_error(L, "'setfenv' cannot change environment of given object");
    return 1;
}

static int bare_loadstring(lua_State *L)
{
    size_t length;
    const char *source = luaL_checklstring(L, 1, &length);
    const char *name = luaL_optstring(L, 2, source);
    if (luau_loadstring(L, source, length, name) == LUA_OK)
        return 1;
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

static int bare_collectgarbage(lua_State *L)
{
    const char *what = luaL_optstring(L, 1, "collect");
    if (strcmp(what, "collect") == 0) {
        lua_gc(L, LUA_GCCOLLECT, 0);
        return 0;
    }
    if (strcmp(what, "count") != 0)
        luaL_error(L, "collectgarbage must be called with 'count' or 'collect'");
    lib_pushnumber(L, lua_gc(L, LUA_GCCOUNT, 0));
    return 1;
}

static const luaL_Reg bare_functions[] = {
    {"getfenv", bare_getfenv},
    {"setfenv", bare_setfenv},
    {"loadstring", bare_loadstring},
    {"collectgarbage", bare_collectgarbage},
    {NULL, NULL},
};

int luaopen_bare(lua_State *L)
{
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    luaL_register(L, NULL, bare_functions);
    return 1;
}
