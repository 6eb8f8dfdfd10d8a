/* lib_open.c: opening libraries, the standard image, and what several libraries use. */
#include "luau/lib/lib.h"

void lib_movebytes(lua_State *L, char *to, const char *from, size_t size)
{
    if (to <= from || to >= from + size) {
        while (size > LIB_POLL_BYTES) {
            memmove(to, from, LIB_POLL_BYTES);
            to += LIB_POLL_BYTES;
            from += LIB_POLL_BYTES;
            size -= LIB_POLL_BYTES;
            luY_poll(L);
        }
    } else {
        while (size > LIB_POLL_BYTES) {
            size -= LIB_POLL_BYTES;
            memmove(to + size, from + size, LIB_POLL_BYTES);
            luY_poll(L);
        }
    }
    if (size > 0)
        memmove(to, from, size);
}

void lib_fillbytes(lua_State *L, char *to, int byte, size_t size)
{
    while (size > LIB_POLL_BYTES) {
        memset(to, byte, LIB_POLL_BYTES);
        to += LIB_POLL_BYTES;
        size -= LIB_POLL_BYTES;
        luY_poll(L);
    }
    if (size > 0)
        memset(to, byte, size);
}

bool lib_isprotected(Table *t)
{
    return t->meta != NULL && !val_isnil(luT_getstring(t->meta, luTM_name(TM_METATABLE)));
}

/* Stands in closures of the special kinds; whoever calls one looks at the kind first. */
static int special_native(lua_State *L)
{
    luaL_error(L, "not callable from here");
    return 0;
}

void lib_pushspecial(lua_State *L, int kind, const char *name, int nup)
{
    lua_pushcclosurek(L, special_native, name, nup, NULL);
    val_closure(L->top[-1])->kind = (uint8_t)kind;
}

void luaL_openlibs(lua_State *L)
{
    static const lua_CFunction libraries[] = {
        luaopen_base,   luaopen_bare,   luaopen_coroutine, luaopen_table, luaopen_os,
        luaopen_string, luaopen_math,   luaopen_debug,     luaopen_utf8,  luaopen_bit32,
        luaopen_buffer, luaopen_vector, luaopen_integer,
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(libraries); i++) {
        int top = lua_gettop(L);
        libraries[i](L);
        lua_settop(L, top);
    }
}

static void open_standard(lua_State *L, void *userdata)
{
    (void)userdata;
    luaL_openlibs(L);
}

luau_Image *luau_image_standard(void)
{
    char error[256];
    return luau_image_new(open_standard, NULL, error, sizeof(error));
}
