/* @antiraid/json: JSON text and back, by the rules of the boundary (khronos/interop.h). */
#include "khronos/interop.h"
#include "khronos/khronos.h"
#include "plugins/plugins.h"

static int json_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    InteropWriter writer = {
        .out = khronos_scratch(L), .pretty = luaL_optboolean(L, 2, 0), .root = "value"};
    InteropError error;
    if (!interop_encode(L, 1, &writer, &error)) {
        khronos_scratch_done(L);
        luaL_error(L, "%s", error.text);
    }
    lua_pushlstring(L, writer.out->data, writer.out->length);
    khronos_scratch_done(L);
    return 1;
}

static int json_decode(lua_State *L)
{
    InteropReader reader = {.text = NULL};
    InteropError error;
    if (lua_isbuffer(L, 1))
        reader.text = lua_tobuffer(L, 1, &reader.length);
    else
        reader.text = luaL_checklstring(L, 1, &reader.length);
    if (!interop_decode(L, &reader, &error))
        luaL_error(L, "invalid JSON: %s", error.text);
    return 1;
}

void plugin_json_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"encode", json_encode},
        {"decode", json_decode},
        {"tojsonstring", json_encode},
        {"fromjsonstring", json_decode},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
}
