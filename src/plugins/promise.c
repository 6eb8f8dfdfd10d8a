/* @antiraid/promise: for templates written when calls of the host gave promises. Here such calls
 * wait themselves, so what was to be waited for is there already. */
#include "plugins/plugins.h"

/* yield(...): its arguments. */
static int promise_yield(lua_State *L)
{
    return lua_gettop(L);
}

void plugin_promise_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"yield", promise_yield},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
}
