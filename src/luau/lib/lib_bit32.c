/* lib_bit32.c: operations on 32-bit words (reference 11.5). */
#include "luau/lib/lib.h"

enum { WORD_BITS = 32 };

static uint32_t and_all(lua_State *L)
{
    uint32_t r = UINT32_MAX;
    for (int i = 1, n = lib_argcount(L); i <= n; i++)
        r &= lib_checkunsigned(L, i);
    return r;
}

static int bit32_band(lua_State *L)
{
    uint32_t r = and_all(L);
    lib_pushnumber(L, r);
    return 1;
}

static int bit32_btest(lua_State *L)
{
    uint32_t r = and_all(L);
    lib_pushboolean(L, r != 0);
    return 1;
}

static int bit32_bor(lua_State *L)
{
    uint32_t r = 0;
    for (int i = 1, n = lib_argcount(L); i <= n; i++)
        r |= lib_checkunsigned(L, i);
    lib_pushnumber(L, r);
    return 1;
}

static int bit32_bxor(lua_State *L)
{
    uint32_t r = 0;
    for (int i = 1, n = lib_argcount(L); i <= n; i++)
        r ^= lib_checkunsigned(L, i);
    lib_pushnumber(L, r);
    return 1;
}

static int bit32_bnot(lua_State *L)
{
    uint32_t r = ~lib_checkunsigned(L, 1);
    lib_pushnumber(L, r);
    return 1;
}

/* Logical shift to the left, to the right by negative counts. */
static uint32_t shift_left(uint32_t r, int64_t count)
{
    if (count <= -WORD_BITS || count >= WORD_BITS)
        return 0;
    return count >= 0 ? r << count : r >> -count;
}

static int bit32_lshift(lua_State *L)
{
    uint32_t r = lib_checkunsigned(L, 1);
    r = shift_left(r, lib_checkint(L, 2));
    lib_pushnumber(L, r);
    return 1;
}

static int bit32_rshift(lua_State *L)
{
    uint32_t r = lib_checkunsigned(L, 1);
    r = shift_left(r, -(int64_t)lib_checkint(L, 2));
    lib_pushnumber(L, r);
    return 1;
}

static int bit32_arshift(lua_State *L)
{
    uint32_t r = lib_checkunsigned(L, 1);
    int count = lib_checkint(L, 2);
    if (count < 0 || !(r >> (WORD_BITS - 1)))
        r = shift_left(r, -(int64_t)count);
    else if (count >= WORD_BITS)
        r = UINT32_MAX;
    else
        r = r >> count | ~(UINT32_MAX >> count); /* the sign comes in from the left */
    lib_pushnumber(L, r);
    return 1;
}

static uint32_t rotate_left(uint32_t r, unsigned count)
{
    count &= WORD_BITS - 1;
    return r << count | r >> (-count & (WORD_BITS - 1));
}

static int bit32_lrotate(lua_State *L)
{
    uint32_t r = lib_checkunsigned(L, 1);
    r = rotate_left(r, (unsigned)lib_checkint(L, 2));
    lib_pushnumber(L, r);
    return 1;
}

static int bit32_rrotate(lua_State *L)
{
    uint32_t r = lib_checkunsigned(L, 1);
    r = rotate_left(r, 0u - (unsigned)lib_checkint(L, 2));
    lib_pushnumber(L, r);
    return 1;
}

/* The field argument at `arg` and its optional width behind: gives the field's position and, in
 * *mask, as many ones as it is wide. */
static int check_field(lua_State *L, int arg, uint32_t *mask)
{
    int field = lib_checkint(L, arg);
    int width = lib_optint(L, arg + 1, 1);
    luaL_argcheck(L, field >= 0, arg, "field cannot be negative");
    luaL_argcheck(L, width > 0, arg + 1, "width must be positive");
    if ((int64_t)field + width > WORD_BITS)
        luaL_error(L, "trying to access non-existent bits");
    *mask = UINT32_MAX >> (WORD_BITS - width);
    return field;
}

static int bit32_extract(lua_State *L)
{
    uint32_t r = lib_checkunsigned(L, 1), mask;
    int field = check_field(L, 2, &mask);
    r = r >> field & mask;
    lib_pushnumber(L, r);
    return 1;
}

static int bit32_replace(lua_State *L)
{
    uint32_t r = lib_checkunsigned(L, 1), v = lib_checkunsigned(L, 2), mask;
    int field = check_field(L, 3, &mask);
    r = (r & ~(mask << field)) | (v & mask) << field;
    lib_pushnumber(L, r);
    return 1;
}

static int bit32_countlz(lua_State *L)
{
    uint32_t v = lib_checkunsigned(L, 1);
    lib_pushnumber(L, v ? __builtin_clz(v) : WORD_BITS);
    return 1;
}

static int bit32_countrz(lua_State *L)
{
    uint32_t v = lib_checkunsigned(L, 1);
    lib_pushnumber(L, v ? __builtin_ctz(v) : WORD_BITS);
    return 1;
}

static int bit32_byteswap(lua_State *L)
{
    uint32_t r = __builtin_bswap32(lib_checkunsigned(L, 1));
    lib_pushnumber(L, r);
    return 1;
}

static const luaL_Reg bit32_functions[] = {
    {"arshift", bit32_arshift},   {"band", bit32_band},
    {"bnot", bit32_bnot},         {"bor", bit32_bor},
    {"bxor", bit32_bxor},         {"btest", bit32_btest},
    {"extract", bit32_extract},   {"lrotate", bit32_lrotate},
    {"lshift", bit32_lshift},     {"replace", bit32_replace},
    {"rrotate", bit32_rrotate},   {"rshift", bit32_rshift},
    {"countlz", bit32_countlz},   {"countrz", bit32_countrz},
    {"byteswap", bit32_byteswap}, {NULL, NULL},
};

int luaopen_bit32(lua_State *L)
{
    luaL_register(L, "bit32", bit32_functions);
    return 1;
}
