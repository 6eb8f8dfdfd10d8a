#include "khronos/int64.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"

void int64_push(lua_State *L, int64_t value)
{
    memcpy(lua_newuserdatatagged(L, sizeof(value), KHRONOS_TAG_I64), &value, sizeof(value));
}

void uint64_push(lua_State *L, uint64_t value)
{
    memcpy(lua_newuserdatatagged(L, sizeof(value), KHRONOS_TAG_U64), &value, sizeof(value));
}

static uint64_t check(lua_State *L, int arg, int tag)
{
    uint64_t value;
    void *data = lua_touserdatatagged(L, arg, tag);
    if (!data)
        luaL_typeerror(L, arg, tag == KHRONOS_TAG_I64 ? "I64" : "U64");
    memcpy(&value, data, sizeof(value));
    return value;
}

static int i64_tostring(lua_State *L)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRId64, (int64_t)check(L, 1, KHRONOS_TAG_I64));
    lua_pushstring(L, text);
    return 1;
}

static int i64_eq(lua_State *L)
{
    lua_pushboolean(L, check(L, 1, KHRONOS_TAG_I64) == check(L, 2, KHRONOS_TAG_I64));
    return 1;
}

static int i64_lt(lua_State *L)
{
    lua_pushboolean(L,
                    (int64_t)check(L, 1, KHRONOS_TAG_I64) < (int64_t)check(L, 2, KHRONOS_TAG_I64));
    return 1;
}

static int i64_le(lua_State *L)
{
    lua_pushboolean(L,
                    (int64_t)check(L, 1, KHRONOS_TAG_I64) <= (int64_t)check(L, 2, KHRONOS_TAG_I64));
    return 1;
}

static int u64_tostring(lua_State *L)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRIu64, check(L, 1, KHRONOS_TAG_U64));
    lua_pushstring(L, text);
    return 1;
}

static int u64_eq(lua_State *L)
{
    lua_pushboolean(L, check(L, 1, KHRONOS_TAG_U64) == check(L, 2, KHRONOS_TAG_U64));
    return 1;
}

static int u64_lt(lua_State *L)
{
    lua_pushboolean(L, check(L, 1, KHRONOS_TAG_U64) < check(L, 2, KHRONOS_TAG_U64));
    return 1;
}

static int u64_le(lua_State *L)
{
    lua_pushboolean(L, check(L, 1, KHRONOS_TAG_U64) <= check(L, 2, KHRONOS_TAG_U64));
    return 1;
}

static void set_metatable(lua_State *L, int tag, const char *name, const luaL_Reg *methods)
{
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__type");
    lua_pushliteral(L, "The metatable is locked");
    lua_setfield(L, -2, "__metatable");
    lua_setuserdatametatable(L, tag);
}

void int64_open(lua_State *L)
{
    static const luaL_Reg i64_methods[] = {
        {"__tostring", i64_tostring},
        {"__eq", i64_eq},
        {"__lt", i64_lt},
        {"__le", i64_le},
        {NULL, NULL},
    };
    static const luaL_Reg u64_methods[] = {
        {"__tostring", u64_tostring},
        {"__eq", u64_eq},
        {"__lt", u64_lt},
        {"__le", u64_le},
        {NULL, NULL},
    };
    set_metatable(L, KHRONOS_TAG_I64, "I64", i64_methods);
    set_metatable(L, KHRONOS_TAG_U64, "U64", u64_methods);
}
