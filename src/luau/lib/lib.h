/* lib.h: the standard libraries, one file a library, and what they share.
 *
 * luaopen_X registers library X into the globals of L, leaves its table on the stack and returns 1.
 * luaopen_base has what any host may give to anyone; luaopen_bare adds what only a program that
 * trusts its script should: getfenv, setfenv, loadstring, collectgarbage. A host that wants less
 * takes names out after opening.
 *
 * Natives read their arguments straight from L->base..L->top and have LUA_MINSTACK free slots. The
 * helpers here take the common case inline and leave conversions and errors to luaL_check*. Table
 * access is raw. Loops over sizes that a script chose poll every LIB_POLL_STEPS turns, and bytes
 * are moved LIB_POLL_BYTES at a time; a poll may not return, so nothing but the VM's stack owns
 * memory across one. */
#ifndef LUAU_LIB_H
#define LUAU_LIB_H

#include "luau/bytes.h"
#include "luau/call.h"
#include "luau/fiber.h"
#include "luau/luau.h"
#include "luau/state.h"
#include "luau/str.h"
#include "luau/table.h"

int luaopen_base(lua_State *L);
int luaopen_bare(lua_State *L);
int luaopen_bit32(lua_State *L);
int luaopen_buffer(lua_State *L);
int luaopen_coroutine(lua_State *L);
int luaopen_debug(lua_State *L);
int luaopen_integer(lua_State *L);
int luaopen_math(lua_State *L);
int luaopen_os(lua_State *L);
int luaopen_string(lua_State *L);
int luaopen_table(lua_State *L);
int luaopen_utf8(lua_State *L);
int luaopen_vector(lua_State *L);

/* `next`, and the iterators that pairs (the same function) and ipairs give: the interpreter may
 * know them by address. */
int luaB_next(lua_State *L);
int luaB_inext(lua_State *L);

enum {
    LIB_POLL_STEPS = 4096,           /* turns of a cheap loop between two polls */
    LIB_POLL_BYTES = 1 << 18,        /* bytes moved or filled between two polls */
    LIB_RESERVE_BYTES = 64 * 1024    /* from this size on an allocation is announced (heap.h) */
};

/* ---- Arguments ---- */
#define lib_argcount(L) ((int)((L)->top - (L)->base))
#define lib_hasarg(L, arg) ((L)->base + (arg) <= (L)->top)
#define lib_arg(L, arg) ((L)->base[(arg) - 1]) /* must be there */
#define lib_isnoneornil(L, arg) (!lib_hasarg(L, arg) || val_isnil(lib_arg(L, arg)))

BASE_INLINE double lib_checknumber(lua_State *L, int arg)
{
    if (BASE_LIKELY(lib_hasarg(L, arg) && val_isnumber(lib_arg(L, arg))))
        return lib_arg(L, arg).n;
    return luaL_checknumber(L, arg);
}

BASE_INLINE int lib_checkint(lua_State *L, int arg)
{
    return val_toint(lib_checknumber(L, arg));
}

BASE_INLINE unsigned lib_checkunsigned(lua_State *L, int arg)
{
    return val_tounsigned(lib_checknumber(L, arg));
}

BASE_INLINE int lib_optint(lua_State *L, int arg, int default_value)
{
    return lib_isnoneornil(L, arg) ? default_value : lib_checkint(L, arg);
}

BASE_INLINE Table *lib_checktable(lua_State *L, int arg)
{
    if (BASE_UNLIKELY(!lib_hasarg(L, arg) || !val_istable(lib_arg(L, arg))))
        luaL_checktype(L, arg, LUA_TTABLE); /* raises */
    return val_table(lib_arg(L, arg));
}

BASE_INLINE void lib_checkfunction(lua_State *L, int arg)
{
    if (BASE_UNLIKELY(!lib_hasarg(L, arg) || !val_isfunction(lib_arg(L, arg))))
        luaL_checktype(L, arg, LUA_TFUNCTION); /* raises */
}

/* ---- Results ---- */
#define lib_pushnumber(L, n) luD_push(L, val_number(n))
#define lib_pushboolean(L, b) luD_push(L, val_boolean(b))
/* Strings and tables that were just made: nothing collects before the native returns or checks. */
#define lib_pushstring(L, s) luD_push(L, val_fromstring(s))
#define lib_pushtable(L, t) luD_push(L, val_fromtable(t))

/* ---- Tables and memory ---- */
BASE_INLINE void lib_checkwritable(lua_State *L, const Table *t)
{
    if (BASE_UNLIKELY(t->flags & TABLE_READONLY))
        luD_readonlyerror(L);
}

BASE_INLINE Value lib_geti(Table *t, int key)
{
    return (uint32_t)key - 1u < (uint32_t)t->array_size ? t->array[key - 1] : luT_getint(t, key);
}

/* A safepoint before allocating about `bytes`; everything the caller needs is on the stack. */
BASE_INLINE void lib_beforealloc(lua_State *L, size_t bytes)
{
    luG_check(L);
    if (BASE_UNLIKELY(bytes >= LIB_RESERVE_BYTES))
        luH_reserve(L, bytes);
}

/* memmove and memset of any size, polled. Both ranges must be anchored objects of the VM that keep
 * their place. */
void lib_movebytes(lua_State *L, char *to, const char *from, size_t size);
void lib_fillbytes(lua_State *L, char *to, int byte, size_t size);

/* ---- Between the files of this folder ---- */
/* Sorts t[1..n] by the function at argument 2, or by `<` if that is nil (lib_sort.c). n is at most
 * the size of the array part. */
void lib_sort(lua_State *L, Table *t, int n);
float lib_perlin(float x, float y, float z); /* lib_noise.c */
/* An integer in text: blanks, sign, digits of the base 2..36 (in base 16 perhaps behind `0x`),
 * blanks up to the first NUL. Base 0 stands for 10, or 16 if there is a `0x`. False: it is none.
 * Polls; the text must keep its place (lib_base.c). */
typedef struct LibInteger {
    uint64_t magnitude; /* the greatest, with overflow */
    unsigned base;      /* that it was read in */
    bool negative, overflow;
} LibInteger;
bool lib_readinteger(lua_State *L, const char *text, unsigned base, LibInteger *result);
/* The metatable field `__metatable` of a table argument is set (not nil). */
bool lib_isprotected(Table *t);
/* Pushes a native of a kind that the interpreter runs itself (CLOSURE_PCALL..); pops nup values. */
void lib_pushspecial(lua_State *L, int kind, const char *name, int nup);

#endif
