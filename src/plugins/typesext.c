/* @antiraid/typesext: the constructors of I64 and U64 (khronos/int64.h), operations on the bits of
 * U64 (typesext_bits.c), and random text. */
#include <math.h>

#include "base/random.h"
#include "khronos/int64.h"
#include "plugins/plugins.h"
#include "plugins/typesext.h"

enum { RANDSTRING_MAX = 4096 };

static int make(lua_State *L, int kind)
{
    uint64_t bits = lua_isnoneornil(L, 1) ? 0 : int64_check(L, 1, kind, true);
    int64_pushbits(L, kind, bits);
    return 1;
}

static int typesext_u64(lua_State *L)
{
    return make(L, KHRONOS_TAG_U64);
}

static int typesext_i64(lua_State *L)
{
    return make(L, KHRONOS_TAG_I64);
}

static int make_from(lua_State *L, int kind, bool big_endian)
{
    int64_pushbits(L, kind, int64_checkbytes(L, 1, big_endian));
    return 1;
}

static int typesext_u64_le(lua_State *L)
{
    return make_from(L, KHRONOS_TAG_U64, false);
}

static int typesext_u64_be(lua_State *L)
{
    return make_from(L, KHRONOS_TAG_U64, true);
}

static int typesext_i64_le(lua_State *L)
{
    return make_from(L, KHRONOS_TAG_I64, false);
}

static int typesext_i64_be(lua_State *L)
{
    return make_from(L, KHRONOS_TAG_I64, true);
}

/* n letters and digits that nobody can guess. */
static int typesext_randstring(lua_State *L)
{
    static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const unsigned letters = sizeof(ALPHABET) - 1;
    double wanted = luaL_checknumber(L, 1);
    if (!(wanted >= 1 && wanted <= RANDSTRING_MAX && wanted == floor(wanted)))
        luaL_argerror(L, 1, "a length is a whole number from 1 to 4096");
    char text[RANDSTRING_MAX];
    unsigned char bytes[256];
    size_t length = (size_t)wanted, left = 0;
    for (size_t i = 0; i < length;) {
        if (left == 0) {
            left = sizeof(bytes);
            random_bytes(bytes, left);
        }
        unsigned byte = bytes[--left];
        if (byte < 256 / letters * letters) /* the rest would make some letters likelier */
            text[i++] = ALPHABET[byte % letters];
    }
    lua_pushlstring(L, text, length);
    return 1;
}

void plugin_typesext_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"U64", typesext_u64},
        {"I64", typesext_i64},
        {"u64_from_le_bytes", typesext_u64_le},
        {"u64_from_be_bytes", typesext_u64_be},
        {"u64_from_ne_bytes", typesext_u64_le},
        {"i64_from_le_bytes", typesext_i64_le},
        {"i64_from_be_bytes", typesext_i64_be},
        {"i64_from_ne_bytes", typesext_i64_le},
        {"randstring", typesext_randstring},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    typesext_pushbits(L);
    lua_setfield(L, -2, "bitu64");
}
