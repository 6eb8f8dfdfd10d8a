#include "plugins/holder.h"

#include <string.h>

#include "base/base.h"
#include "khronos/context.h"

/* | Holder | pointers of the grants | bytes of their texts | */
void holder_push(lua_State *L, int arg, int tag, const char *prefix)
{
    uint64_t guild_id = context_guild(L, arg);
    KhronosCaps all = context_caps(L, arg);
    size_t prefix_length = strlen(prefix), text_size = 0;
    int count = 0;
    for (int i = 0; i < all.count; i++) {
        if (strcmp(all.items[i], "*") != 0 && strncmp(all.items[i], prefix, prefix_length) != 0)
            continue;
        text_size += strlen(all.items[i]) + 1;
        count++;
    }
    size_t size = sizeof(Holder) + (size_t)count * sizeof(char *) + text_size;
    Holder *holder = lua_newuserdatatagged(L, size, tag);
    const char **items = (const char **)(holder + 1);
    char *text = (char *)(items + count);
    *holder = (Holder){.guild_id = guild_id, .caps = {items, count}};
    for (int i = 0; i < all.count; i++) {
        if (strcmp(all.items[i], "*") != 0 && strncmp(all.items[i], prefix, prefix_length) != 0)
            continue;
        size_t bytes = strlen(all.items[i]) + 1;
        *items++ = memcpy(text, all.items[i], bytes);
        text += bytes;
    }
    BASE_ASSERT(text == (char *)holder + size);
}

const Holder *holder_check(lua_State *L, int tag, const char *shown, const char *method)
{
    const Holder *holder = lua_touserdatatagged(L, 1, tag);
    if (!holder)
        luaL_error(L, "%s must be called with a colon: %s:%s(...)", method, shown, method);
    return holder;
}

void holder_require(lua_State *L, const Holder *holder, const char *cap)
{
    if (!caps_allows(holder->caps, cap, strlen(cap)))
        luaL_error(L, "this call needs the capability '%s'", cap);
}

/* ---- The metatable ----------------------------------------------------------------------------
 */

/* Upvalue 1: the methods; 2: the name of the type. */
static int holder_index(lua_State *L)
{
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_isnil(L, 2) || lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL) {
        const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
        const char *type_name = lua_tostring(L, lua_upvalueindex(2));
        if (name)
            luaL_error(L, "%s has no method '%.64s'", type_name, name);
        luaL_error(L, "%s has no field of type %s", type_name, luaL_typename(L, 2));
    }
    return 1;
}

/* Upvalue 1: the name of the type. */
static int holder_newindex(lua_State *L)
{
    luaL_error(L, "%s cannot be modified", lua_tostring(L, lua_upvalueindex(1)));
}

/* Upvalue 1: the name of the type. */
static int holder_tostring(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    return 1;
}

void holder_open(lua_State *L, int tag, const char *type_name)
{
    lua_newtable(L);
    lua_insert(L, -2);
    lua_pushstring(L, type_name);
    lua_pushcclosure(L, holder_index, "__index", 2);
    lua_setfield(L, -2, "__index");
    lua_pushstring(L, type_name);
    lua_pushcclosure(L, holder_newindex, "__newindex", 1);
    lua_setfield(L, -2, "__newindex");
    lua_pushstring(L, type_name);
    lua_pushcclosure(L, holder_tostring, "__tostring", 1);
    lua_setfield(L, -2, "__tostring");
    lua_pushstring(L, type_name);
    lua_setfield(L, -2, "__type");
    lua_pushliteral(L, "The metatable is locked");
    lua_setfield(L, -2, "__metatable");
    lua_setuserdatametatable(L, tag);
}
