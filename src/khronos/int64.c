/* From the inside out: values, conversions, operators, methods, metatables. Both kinds share their
 * natives, and so their metamethods are the same functions: that is what lets the language compare
 * a U64 with an I64. */
#include "khronos/int64.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"

enum { BYTES = sizeof(uint64_t), SHOWN_TEXT_MAX = 40, TEXT_MAX = 1024 };

void int64_pushbits(lua_State *L, int kind, uint64_t bits)
{
    memcpy(lua_newuserdatatagged(L, sizeof(bits), kind), &bits, sizeof(bits));
}

void int64_push(lua_State *L, int64_t value)
{
    int64_pushbits(L, KHRONOS_TAG_I64, (uint64_t)value);
}

void uint64_push(lua_State *L, uint64_t value)
{
    int64_pushbits(L, KHRONOS_TAG_U64, value);
}

static const char *kind_name(int kind)
{
    return kind == KHRONOS_TAG_I64 ? "I64" : "U64";
}

static const char *kind_range(int kind)
{
    return kind == KHRONOS_TAG_I64 ? "-9223372036854775808 to 9223372036854775807"
                                   : "0 to 18446744073709551615";
}

/* Kind and bits of the value at index; 0: it is neither. */
static int read_value(lua_State *L, int index, uint64_t *bits)
{
    int kind = lua_userdatatag(L, index);
    if (kind != KHRONOS_TAG_I64 && kind != KHRONOS_TAG_U64)
        return 0;
    memcpy(bits, lua_touserdatatagged(L, index, kind), sizeof(*bits));
    return kind;
}

/* ---- Conversions ------------------------------------------------------------------------------
 */

typedef enum Fit { FIT_OK, FIT_NOT_WHOLE, FIT_RANGE, FIT_NO_NUMBER } Fit;

static Fit from_number(double n, int kind, uint64_t *bits)
{
    double least = kind == KHRONOS_TAG_I64 ? -0x1p63 : 0;
    double beyond = kind == KHRONOS_TAG_I64 ? 0x1p63 : 0x1p64;
    if (n - n != 0 || n != floor(n))
        return FIT_NOT_WHOLE;
    if (n < least || n >= beyond)
        return FIT_RANGE;
    *bits = kind == KHRONOS_TAG_I64 ? (uint64_t)(int64_t)n : (uint64_t)n;
    return FIT_OK;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 16;
}

/* [-]digits or [-]0xdigits, and nothing else. */
static Fit from_text(const char *text, size_t length, int kind, uint64_t *bits)
{
    const char *p = text, *end = text + length;
    uint64_t magnitude = 0, base = 10;
    bool negative = p < end && *p == '-', overflow = false;
    p += negative;
    if (end - p > 2 && p[0] == '0' && (p[1] | 0x20) == 'x') {
        base = 16;
        p += 2;
    }
    if (p == end)
        return FIT_NO_NUMBER;
    if (length > TEXT_MAX)
        return FIT_RANGE;
    for (; p < end; p++) {
        uint64_t digit = (uint64_t)digit_value(*p);
        if (digit >= base)
            return FIT_NO_NUMBER;
        overflow |= __builtin_mul_overflow(magnitude, base, &magnitude);
        overflow |= __builtin_add_overflow(magnitude, digit, &magnitude);
    }
    uint64_t greatest = negative                  ? (uint64_t)1 << 63
                        : kind == KHRONOS_TAG_I64 ? INT64_MAX
                                                  : UINT64_MAX;
    if (overflow || magnitude > greatest || (negative && kind == KHRONOS_TAG_U64 && magnitude != 0))
        return FIT_RANGE;
    *bits = negative ? 0 - magnitude : magnitude;
    return FIT_OK;
}

/* Between the kinds, and from the type integer, values must fit: the sign bits are clear. */
static Fit from_other(uint64_t bits, bool same_kind, uint64_t *out)
{
    *out = bits;
    return same_kind || (int64_t)bits >= 0 ? FIT_OK : FIT_RANGE;
}

static Fit convert(lua_State *L, int arg, int kind, bool texts, uint64_t *bits)
{
    uint64_t other;
    int other_kind = read_value(L, arg, &other);
    if (other_kind)
        return from_other(other, other_kind == kind, bits);
    switch (lua_type(L, arg)) {
    case LUA_TNUMBER: return from_number(lua_tonumber(L, arg), kind, bits);
    case LUA_TINTEGER:
        other = (uint64_t)lua_tointeger64(L, arg, NULL);
        return from_other(other, kind == KHRONOS_TAG_I64, bits);
    case LUA_TSTRING:
        if (texts) {
            size_t length;
            const char *text = lua_tolstring(L, arg, &length);
            return from_text(text, length, kind, bits);
        }
        break;
    default: break;
    }
    luaL_typeerror(L, arg, texts ? "number, string, I64 or U64" : "whole number, I64 or U64");
}

uint64_t int64_check(lua_State *L, int arg, int kind, bool texts)
{
    uint64_t bits = 0;
    Fit fit = convert(L, arg, kind, texts, &bits);
    if (fit == FIT_OK)
        return bits;
    char text[160];
    if (fit == FIT_RANGE) {
        snprintf(text, sizeof(text), "out of the range of %s, %s", kind_name(kind),
                 kind_range(kind));
    } else if (fit == FIT_NOT_WHOLE) {
        snprintf(text, sizeof(text), "%.14g is not a whole number", lua_tonumber(L, arg));
    } else {
        size_t length;
        const char *shown = lua_tolstring(L, arg, &length);
        snprintf(text, sizeof(text), "'%.*s' is not a whole number in decimal or 0x hexadecimal",
                 length < SHOWN_TEXT_MAX ? (int)length : SHOWN_TEXT_MAX, shown);
    }
    luaL_argerror(L, arg, text);
}

static uint64_t from_bytes(const unsigned char bytes[BYTES], bool big_endian)
{
    uint64_t value = 0;
    for (int i = 0; i < BYTES; i++)
        value = value << 8 | bytes[big_endian ? i : BYTES - 1 - i];
    return value;
}

static void to_bytes(uint64_t value, bool big_endian, unsigned char bytes[BYTES])
{
    for (int i = 0; i < BYTES; i++)
        bytes[big_endian ? BYTES - 1 - i : i] = (unsigned char)(value >> 8 * i);
}

/* The 8 bytes of the buffer at arg, from the offset at arg + 1 on. */
static unsigned char *buffer_place(lua_State *L, int arg)
{
    size_t length;
    unsigned char *data = luaL_checkbuffer(L, arg, &length);
    double offset = luaL_optnumber(L, arg + 1, 0);
    if (!(offset >= 0 && offset == floor(offset)))
        luaL_argerror(L, arg + 1, "an offset is a whole number from 0 on");
    if (length < BYTES || offset > (double)(length - BYTES))
        luaL_argerror(L, arg + 1, "8 bytes from there on are not in the buffer");
    return data + (size_t)offset;
}

static void read_list(lua_State *L, int arg, unsigned char bytes[BYTES])
{
    if (lua_objlen(L, arg) != BYTES)
        luaL_argerror(L, arg, "8 bytes expected");
    for (int i = 0; i < BYTES; i++) {
        lua_rawgeti(L, arg, i + 1);
        double n = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
        if (!(n >= 0 && n <= 255 && n == floor(n)))
            luaL_argerror(L, arg, "the bytes must be whole numbers from 0 to 255");
        bytes[i] = (unsigned char)n;
        lua_pop(L, 1);
    }
}

uint64_t int64_checkbytes(lua_State *L, int arg, bool big_endian)
{
    unsigned char bytes[BYTES];
    size_t length;
    if (lua_isbuffer(L, arg)) {
        memcpy(bytes, buffer_place(L, arg), sizeof(bytes));
    } else if (lua_type(L, arg) == LUA_TSTRING) {
        const char *text = lua_tolstring(L, arg, &length);
        luaL_argcheck(L, length == BYTES, arg, "8 bytes expected");
        memcpy(bytes, text, sizeof(bytes));
    } else if (lua_istable(L, arg)) {
        read_list(L, arg, bytes);
    } else {
        luaL_typeerror(L, arg, "buffer, string or table of 8 bytes");
    }
    return from_bytes(bytes, big_endian);
}

/* ---- Operators --------------------------------------------------------------------------------
 */

typedef struct Operands {
    uint64_t a, b;
    int kind;
} Operands;

static uint64_t operand(lua_State *L, int arg, int kind, const char *symbol)
{
    uint64_t bits;
    int other = read_value(L, arg, &bits);
    if (other && other != kind)
        luaL_error(L, "I64 and U64 do not mix in '%s': convert one with to_i64 or to_u64", symbol);
    if (other)
        return bits;
    if (lua_type(L, arg) != LUA_TNUMBER && lua_type(L, arg) != LUA_TINTEGER)
        luaL_error(L, "attempt to perform arithmetic (%s) on %s and %s", symbol,
                   luaL_typename(L, 1), luaL_typename(L, 2));
    if (convert(L, arg, kind, false, &bits) != FIT_OK)
        luaL_error(L, "%s %s number: the number must be whole, and from %s", kind_name(kind),
                   symbol, kind_range(kind));
    return bits;
}

static Operands operands(lua_State *L, const char *symbol)
{
    Operands o = {.kind = read_value(L, 1, &o.a)};
    if (!o.kind)
        o.kind = read_value(L, 2, &o.b);
    if (!o.kind)
        luaL_typeerror(L, 1, "I64 or U64");
    o.a = operand(L, 1, o.kind, symbol);
    o.b = operand(L, 2, o.kind, symbol);
    return o;
}

static Operands dividing(lua_State *L, const char *symbol)
{
    Operands o = operands(L, symbol);
    if (o.b == 0)
        luaL_error(L, "division of %s by zero", kind_name(o.kind));
    return o;
}

static int give(lua_State *L, int kind, uint64_t bits)
{
    int64_pushbits(L, kind, bits);
    return 1;
}

static int int64_add(lua_State *L)
{
    Operands o = operands(L, "+");
    return give(L, o.kind, o.a + o.b);
}

static int int64_sub(lua_State *L)
{
    Operands o = operands(L, "-");
    return give(L, o.kind, o.a - o.b);
}

static int int64_mul(lua_State *L)
{
    Operands o = operands(L, "*");
    return give(L, o.kind, o.a * o.b);
}

/* Quotient towards zero and its remainder; the least I64 by -1 wraps. */
static uint64_t divide(const Operands *o, uint64_t *remainder)
{
    if (o->kind == KHRONOS_TAG_U64) {
        *remainder = o->a % o->b;
        return o->a / o->b;
    }
    int64_t a = (int64_t)o->a, b = (int64_t)o->b;
    if (b == -1) {
        *remainder = 0;
        return 0 - o->a;
    }
    *remainder = (uint64_t)(a % b);
    return (uint64_t)(a / b);
}

/* Does the floor differ from the quotient towards zero? */
static bool is_above_floor(const Operands *o, uint64_t remainder)
{
    return o->kind == KHRONOS_TAG_I64 && remainder != 0 && (int64_t)(o->a ^ o->b) < 0;
}

static int int64_div(lua_State *L)
{
    Operands o = dividing(L, "/");
    uint64_t remainder;
    return give(L, o.kind, divide(&o, &remainder));
}

static int int64_idiv(lua_State *L)
{
    Operands o = dividing(L, "//");
    uint64_t remainder;
    uint64_t quotient = divide(&o, &remainder);
    return give(L, o.kind, quotient - is_above_floor(&o, remainder));
}

static int int64_mod(lua_State *L)
{
    Operands o = dividing(L, "%");
    uint64_t remainder;
    divide(&o, &remainder);
    return give(L, o.kind, is_above_floor(&o, remainder) ? remainder + o.b : remainder);
}

static int int64_unm(lua_State *L)
{
    uint64_t bits;
    int kind = read_value(L, 1, &bits);
    if (!kind)
        luaL_typeerror(L, 1, "I64 or U64");
    return give(L, kind, 0 - bits);
}

/* Less than 0, 0, greater: as the values are, whatever their kinds. */
static int compare(lua_State *L)
{
    uint64_t a, b;
    int kind_a = read_value(L, 1, &a), kind_b = read_value(L, 2, &b);
    if (!kind_a || !kind_b)
        luaL_typeerror(L, kind_a ? 2 : 1, "I64 or U64");
    bool negative_a = kind_a == KHRONOS_TAG_I64 && (int64_t)a < 0;
    bool negative_b = kind_b == KHRONOS_TAG_I64 && (int64_t)b < 0;
    if (negative_a != negative_b)
        return negative_a ? -1 : 1;
    return a < b ? -1 : a > b; /* of two with the same sign the bits are in the same order */
}

static int int64_eq(lua_State *L)
{
    lua_pushboolean(L, compare(L) == 0);
    return 1;
}

static int int64_lt(lua_State *L)
{
    lua_pushboolean(L, compare(L) < 0);
    return 1;
}

static int int64_le(lua_State *L)
{
    lua_pushboolean(L, compare(L) <= 0);
    return 1;
}

/* Kind of the value that a method was called on. */
static int check_self(lua_State *L, uint64_t *bits)
{
    int kind = read_value(L, 1, bits);
    if (!kind)
        luaL_typeerror(L, 1, "I64 or U64");
    return kind;
}

static int int64_tostring(lua_State *L)
{
    uint64_t bits;
    char text[32];
    if (check_self(L, &bits) == KHRONOS_TAG_I64)
        snprintf(text, sizeof(text), "%" PRId64, (int64_t)bits);
    else
        snprintf(text, sizeof(text), "%" PRIu64, bits);
    lua_pushstring(L, text);
    return 1;
}

static int int64_concat(lua_State *L)
{
    uint64_t bits;
    for (int i = 1; i <= 2; i++)
        if (!lua_isstring(L, i) && !read_value(L, i, &bits))
            luaL_error(L, "attempt to concatenate %s with %s", luaL_typename(L, 1),
                       luaL_typename(L, 2));
    luaL_tolstring(L, 1, NULL);
    luaL_tolstring(L, 2, NULL);
    lua_concat(L, 2);
    return 1;
}

/* ---- Methods ----------------------------------------------------------------------------------
 */

/* The nearest number, and whether it is the same. */
static int int64_tonumber(lua_State *L)
{
    uint64_t bits, back;
    int kind = check_self(L, &bits);
    double n = kind == KHRONOS_TAG_I64 ? (double)(int64_t)bits : (double)bits;
    lua_pushnumber(L, n);
    lua_pushboolean(L, from_number(n, kind, &back) == FIT_OK && back == bits);
    return 2;
}

static int int64_toi64(lua_State *L)
{
    uint64_t bits;
    check_self(L, &bits);
    return give(L, KHRONOS_TAG_I64, bits);
}

static int int64_tou64(lua_State *L)
{
    uint64_t bits;
    check_self(L, &bits);
    return give(L, KHRONOS_TAG_U64, bits);
}

static int int64_tohex(lua_State *L)
{
    uint64_t bits;
    char text[32];
    check_self(L, &bits);
    snprintf(text, sizeof(text), "%" PRIx64, bits);
    lua_pushstring(L, text);
    return 1;
}

/* A list of 8 numbers; or into the buffer that was given, which is the result. */
static int give_bytes(lua_State *L, bool big_endian)
{
    uint64_t bits;
    unsigned char bytes[BYTES];
    check_self(L, &bits);
    to_bytes(bits, big_endian, bytes);
    if (!lua_isnoneornil(L, 2)) {
        memcpy(buffer_place(L, 2), bytes, sizeof(bytes));
        lua_pushvalue(L, 2);
        return 1;
    }
    lua_createtable(L, BYTES, 0);
    for (int i = 0; i < BYTES; i++) {
        lua_pushnumber(L, bytes[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int int64_tolebytes(lua_State *L)
{
    return give_bytes(L, false);
}

static int int64_tobebytes(lua_State *L)
{
    return give_bytes(L, true);
}

/* Of the kind that it is called on, whose value does not matter. */
static int int64_fromlebytes(lua_State *L)
{
    uint64_t ignored;
    int kind = check_self(L, &ignored);
    return give(L, kind, int64_checkbytes(L, 2, false));
}

static int int64_frombebytes(lua_State *L)
{
    uint64_t ignored;
    int kind = check_self(L, &ignored);
    return give(L, kind, int64_checkbytes(L, 2, true));
}

/* ---- Metatables -------------------------------------------------------------------------------
 */

static void finish_metatable(lua_State *L, int kind)
{
    lua_pushstring(L, kind_name(kind));
    lua_setfield(L, -2, "__type");
    lua_setuserdatametatable(L, kind);
}

void int64_open(lua_State *L)
{
    static const luaL_Reg operators[] = {
        {"__add", int64_add},
        {"__sub", int64_sub},
        {"__mul", int64_mul},
        {"__div", int64_div},
        {"__idiv", int64_idiv},
        {"__mod", int64_mod},
        {"__unm", int64_unm},
        {"__eq", int64_eq},
        {"__lt", int64_lt},
        {"__le", int64_le},
        {"__tostring", int64_tostring},
        {"__concat", int64_concat},
        {NULL, NULL},
    };
    /* ne: the machine's own order, which is little (luau/object.h). */
    static const luaL_Reg methods[] = {
        {"tonumber", int64_tonumber},
        {"to_i64", int64_toi64},
        {"to_u64", int64_tou64},
        {"to_hex", int64_tohex},
        {"to_le_bytes", int64_tolebytes},
        {"to_be_bytes", int64_tobebytes},
        {"to_ne_bytes", int64_tolebytes},
        {"from_le_bytes", int64_fromlebytes},
        {"from_be_bytes", int64_frombebytes},
        {"from_ne_bytes", int64_fromlebytes},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, operators);
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "The metatable is locked");
    lua_setfield(L, -2, "__metatable");
    lua_clonetable(L, -1);
    finish_metatable(L, KHRONOS_TAG_I64);
    finish_metatable(L, KHRONOS_TAG_U64);
}
