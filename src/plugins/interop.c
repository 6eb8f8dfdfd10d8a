/* @antiraid/interop: what crosses the boundary and how: null, arrays; and the VM's memory. */
#include "khronos/interop.h"

#include "khronos/khronos.h"
#include "plugins/plugins.h"

/* array(t?): t, or a new table, marked as an array. */
static int interop_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    } else {
        luaL_checktype(L, 1, LUA_TTABLE);
        lua_settop(L, 1);
        if (lua_getmetatable(L, 1)) {
            interop_pusharraymeta(L);
            if (lua_rawequal(L, 2, 3)) {
                lua_settop(L, 1);
                return 1;
            }
            luaL_argerror(L, 1, "the table has another metatable");
        }
    }
    interop_pusharraymeta(L);
    lua_setmetatable(L, 1);
    return 1;
}

static int interop_memusage(lua_State *L)
{
    luau_Account account;
    luau_account(L, &account);
    lua_pushnumber(L, (double)account.reserved_bytes);
    return 1;
}

static int interop_memory_limit(lua_State *L)
{
    lua_pushnumber(L, (double)khronos_memory_limit(L));
    return 1;
}

void plugin_interop_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"array", interop_array},
        {"memusage", interop_memusage},
        {"memory_limit", interop_memory_limit},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    interop_pushnull(L);
    lua_setfield(L, -2, "null");
    lua_getglobal(L, "@worker");
    lua_getfield(L, -1, "array_metatable");
    lua_setfield(L, -3, "array_metatable");
    lua_pop(L, 1);
}
