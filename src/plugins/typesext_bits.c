/* bitu64: what bit32 does, on the 64 bits of a U64. Where a U64 is expected, a whole number in its
 * range will do. */
#include <math.h>

#include "khronos/int64.h"
#include "plugins/typesext.h"

enum { WORD_BITS = 64 };

static uint64_t check_word(lua_State *L, int arg)
{
    return int64_check(L, arg, KHRONOS_TAG_U64, false);
}

static int give(lua_State *L, uint64_t bits)
{
    uint64_push(L, bits);
    return 1;
}

/* A count of bits, negative too: beyond +-64 all counts are alike. */
static int check_count(lua_State *L, int arg)
{
    double n = luaL_checknumber(L, arg);
    if (!(n == floor(n)))
        luaL_argerror(L, arg, "a whole number expected");
    return n > WORD_BITS ? WORD_BITS : n < -WORD_BITS ? -WORD_BITS : (int)n;
}

static uint64_t and_all(lua_State *L)
{
    uint64_t r = UINT64_MAX;
    for (int i = 1, n = lua_gettop(L); i <= n; i++)
        r &= check_word(L, i);
    return r;
}

static int bitu64_band(lua_State *L)
{
    return give(L, and_all(L));
}

static int bitu64_btest(lua_State *L)
{
    lua_pushboolean(L, and_all(L) != 0);
    return 1;
}

static int bitu64_bor(lua_State *L)
{
    uint64_t r = 0;
    for (int i = 1, n = lua_gettop(L); i <= n; i++)
        r |= check_word(L, i);
    return give(L, r);
}

static int bitu64_bxor(lua_State *L)
{
    uint64_t r = 0;
    for (int i = 1, n = lua_gettop(L); i <= n; i++)
        r ^= check_word(L, i);
    return give(L, r);
}

static int bitu64_bnot(lua_State *L)
{
    return give(L, ~check_word(L, 1));
}

/* To the left, to the right by negative counts. */
static uint64_t shift(uint64_t r, int count)
{
    if (count <= -WORD_BITS || count >= WORD_BITS)
        return 0;
    return count >= 0 ? r << count : r >> -count;
}

static int bitu64_lshift(lua_State *L)
{
    uint64_t r = check_word(L, 1);
    return give(L, shift(r, check_count(L, 2)));
}

static int bitu64_rshift(lua_State *L)
{
    uint64_t r = check_word(L, 1);
    return give(L, shift(r, -check_count(L, 2)));
}

/* To the right the highest bit stays. */
static int bitu64_arshift(lua_State *L)
{
    uint64_t r = check_word(L, 1);
    int count = check_count(L, 2);
    if (count <= 0)
        return give(L, shift(r, -count));
    uint64_t sign = (int64_t)r < 0 ? UINT64_MAX : 0;
    if (count >= WORD_BITS)
        return give(L, sign);
    return give(L, r >> count | sign << (WORD_BITS - count));
}

static int rotate(lua_State *L, bool right)
{
    uint64_t r = check_word(L, 1);
    double n = luaL_checknumber(L, 2);
    if (!(n == floor(n)) || n - n != 0)
        luaL_argerror(L, 2, "a whole number expected");
    unsigned count = (unsigned)((int)fmod(n, WORD_BITS) + WORD_BITS) % WORD_BITS;
    if (right)
        count = (WORD_BITS - count) % WORD_BITS;
    return give(L, count == 0 ? r : r << count | r >> (WORD_BITS - count));
}

static int bitu64_lrotate(lua_State *L)
{
    return rotate(L, false);
}

static int bitu64_rrotate(lua_State *L)
{
    return rotate(L, true);
}

static int check_whole(lua_State *L, int arg, double least, double most, double otherwise,
                       const char *complaint)
{
    double n = lua_isnoneornil(L, arg) && otherwise >= 0 ? otherwise : luaL_checknumber(L, arg);
    if (!(n >= least && n <= most && n == floor(n)))
        luaL_argerror(L, arg, complaint);
    return (int)n;
}

/* The field at arg and the width at arg + 1 (1 if absent): a mask of that width in *mask. */
static int check_field(lua_State *L, int arg, uint64_t *mask)
{
    int field = check_whole(L, arg, 0, WORD_BITS - 1, -1, "a field is a whole number from 0 to 63");
    int width = check_whole(L, arg + 1, 1, WORD_BITS, 1, "a width is a whole number from 1 to 64");
    if (field + width > WORD_BITS)
        luaL_argerror(L, arg + 1, "the field goes beyond the 64 bits");
    *mask = UINT64_MAX >> (WORD_BITS - width);
    return field;
}

static int bitu64_extract(lua_State *L)
{
    uint64_t r = check_word(L, 1), mask;
    int field = check_field(L, 2, &mask);
    return give(L, r >> field & mask);
}

static int bitu64_replace(lua_State *L)
{
    uint64_t r = check_word(L, 1), v = check_word(L, 2), mask;
    int field = check_field(L, 3, &mask);
    return give(L, (r & ~(mask << field)) | (v & mask) << field);
}

static int bitu64_countlz(lua_State *L)
{
    uint64_t r = check_word(L, 1);
    lua_pushnumber(L, r == 0 ? WORD_BITS : __builtin_clzll(r));
    return 1;
}

static int bitu64_countrz(lua_State *L)
{
    uint64_t r = check_word(L, 1);
    lua_pushnumber(L, r == 0 ? WORD_BITS : __builtin_ctzll(r));
    return 1;
}

static int bitu64_byteswap(lua_State *L)
{
    return give(L, __builtin_bswap64(check_word(L, 1)));
}

void typesext_pushbits(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"band", bitu64_band},         {"btest", bitu64_btest},
        {"bor", bitu64_bor},           {"bxor", bitu64_bxor},
        {"bnot", bitu64_bnot},         {"lshift", bitu64_lshift},
        {"rshift", bitu64_rshift},     {"arshift", bitu64_arshift},
        {"lrotate", bitu64_lrotate},   {"rrotate", bitu64_rrotate},
        {"extract", bitu64_extract},   {"replace", bitu64_replace},
        {"countlz", bitu64_countlz},   {"countrz", bitu64_countrz},
        {"byteswap", bitu64_byteswap}, {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
}
