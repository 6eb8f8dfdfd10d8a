/* lib_integer.c: 64-bit integers, a type of their own (reference 14.1). Arithmetic is modulo 2^64;
 * no operator of the language takes them, so all of it is here. */
#include "luau/lib/lib.h"

enum { WORD_BITS = 64 };

/* ---- Arguments and results ---- */

static int64_t check_integer(lua_State *L, int arg)
{
    if (BASE_LIKELY(lib_hasarg(L, arg) && val_isinteger(lib_arg(L, arg))))
        return val_integer(lib_arg(L, arg))->n;
    return luaL_checkinteger64(L, arg);
}

static uint64_t check_word(lua_State *L, int arg)
{
    return (uint64_t)check_integer(L, arg);
}

static int give(lua_State *L, int64_t n)
{
    lua_pushinteger64(L, n);
    return 1;
}

static int give_word(lua_State *L, uint64_t word)
{
    return give(L, (int64_t)word);
}

/* ---- Conversions ---- */

static int integer_create(lua_State *L)
{
    double n = lib_checknumber(L, 1);
    if (n >= -0x1p63 && n < 0x1p63 && (double)(int64_t)n == n)
        return give(L, (int64_t)n);
    luD_push(L, VAL_NIL);
    return 1;
}

/* What does not fit: in base 10 the nearest integer, else 64 ones. */
static int64_t read_value(const LibInteger *read)
{
    uint64_t magnitude = read->magnitude;
    uint64_t greatest = read->negative ? (uint64_t)1 << 63 : (uint64_t)INT64_MAX;
    if (read->base == 10 && magnitude > greatest)
        magnitude = greatest;
    else if (read->overflow)
        return -1;
    return (int64_t)(read->negative ? 0 - magnitude : magnitude);
}

static int integer_fromstring(lua_State *L)
{
    const char *text = luaL_checkstring(L, 1);
    int base = lib_optint(L, 2, 10);
    luaL_argcheck(L, 2 <= base && base <= 36, 2, "base out of range");
    LibInteger read;
    if (lib_readinteger(L, text, base == 10 ? 0 : (unsigned)base, &read))
        return give(L, read_value(&read));
    luD_push(L, VAL_NIL);
    return 1;
}

static int integer_tonumber(lua_State *L)
{
    lib_pushnumber(L, (double)check_integer(L, 1));
    return 1;
}

/* ---- Arithmetic ---- */

static int integer_neg(lua_State *L)
{
    return give_word(L, 0 - check_word(L, 1));
}

static int integer_add(lua_State *L)
{
    uint64_t a = check_word(L, 1), b = check_word(L, 2);
    return give_word(L, a + b);
}

static int integer_sub(lua_State *L)
{
    uint64_t a = check_word(L, 1), b = check_word(L, 2);
    return give_word(L, a - b);
}

static int integer_mul(lua_State *L)
{
    uint64_t a = check_word(L, 1), b = check_word(L, 2);
    return give_word(L, a * b);
}

/* The second of two arguments, which the first is divided by. */
static int64_t check_divisor(lua_State *L)
{
    int64_t b = check_integer(L, 2);
    if (b == 0)
        luaL_error(L, "division by zero");
    return b;
}

static int64_t divide(lua_State *L, int64_t a, int64_t b)
{
    if (a == INT64_MIN && b == -1)
        luaL_error(L, "integer overflow");
    return a / b;
}

static int64_t remainder_of(int64_t a, int64_t b)
{
    return b == -1 ? 0 : a % b; /* the least by -1 traps */
}

static int integer_div(lua_State *L)
{
    int64_t a = check_integer(L, 1), b = check_divisor(L);
    return give(L, divide(L, a, b));
}

static int integer_rem(lua_State *L)
{
    int64_t a = check_integer(L, 1), b = check_divisor(L);
    return give(L, remainder_of(a, b));
}

static int integer_idiv(lua_State *L)
{
    int64_t a = check_integer(L, 1), b = check_divisor(L);
    int64_t q = divide(L, a, b);
    if (remainder_of(a, b) != 0 && (a < 0) != (b < 0))
        q--;
    return give(L, q);
}

static int integer_mod(lua_State *L)
{
    int64_t a = check_integer(L, 1), b = check_divisor(L);
    int64_t r = remainder_of(a, b);
    if (r != 0 && (r < 0) != (b < 0))
        r += b;
    return give(L, r);
}

static int integer_udiv(lua_State *L)
{
    uint64_t a = check_word(L, 1), b = (uint64_t)check_divisor(L);
    return give_word(L, a / b);
}

static int integer_urem(lua_State *L)
{
    uint64_t a = check_word(L, 1), b = (uint64_t)check_divisor(L);
    return give_word(L, a % b);
}

/* ---- Order ---- */

#define INTEGER_COMPARE(name, type, op)                                                            \
    static int integer_##name(lua_State *L)                                                        \
    {                                                                                              \
        type a = (type)check_integer(L, 1), b = (type)check_integer(L, 2);                         \
        lib_pushboolean(L, a op b);                                                                \
        return 1;                                                                                  \
    }
/* clang-format off */
INTEGER_COMPARE(lt, int64_t, <)
INTEGER_COMPARE(le, int64_t, <=)
INTEGER_COMPARE(gt, int64_t, >)
INTEGER_COMPARE(ge, int64_t, >=)
INTEGER_COMPARE(ult, uint64_t, <)
INTEGER_COMPARE(ule, uint64_t, <=)
INTEGER_COMPARE(ugt, uint64_t, >)
INTEGER_COMPARE(uge, uint64_t, >=)
/* clang-format on */

static int integer_min(lua_State *L)
{
    int64_t r = check_integer(L, 1);
    for (int i = 2, count = lib_argcount(L); i <= count; i++) {
        int64_t n = check_integer(L, i);
        r = n < r ? n : r;
    }
    return give(L, r);
}

static int integer_max(lua_State *L)
{
    int64_t r = check_integer(L, 1);
    for (int i = 2, count = lib_argcount(L); i <= count; i++) {
        int64_t n = check_integer(L, i);
        r = n > r ? n : r;
    }
    return give(L, r);
}

static int integer_clamp(lua_State *L)
{
    int64_t n = check_integer(L, 1), low = check_integer(L, 2), high = check_integer(L, 3);
    luaL_argcheck(L, low <= high, 3, "max must be greater than or equal to min");
    n = n < low ? low : n;
    return give(L, n > high ? high : n);
}

/* ---- Bits ---- */

static uint64_t and_all(lua_State *L)
{
    uint64_t r = UINT64_MAX;
    for (int i = 1, count = lib_argcount(L); i <= count; i++)
        r &= check_word(L, i);
    return r;
}

static int integer_band(lua_State *L)
{
    return give_word(L, and_all(L));
}

static int integer_btest(lua_State *L)
{
    bool any = and_all(L) != 0;
    lib_pushboolean(L, any);
    return 1;
}

static int integer_bor(lua_State *L)
{
    uint64_t r = 0;
    for (int i = 1, count = lib_argcount(L); i <= count; i++)
        r |= check_word(L, i);
    return give_word(L, r);
}

static int integer_bxor(lua_State *L)
{
    uint64_t r = 0;
    for (int i = 1, count = lib_argcount(L); i <= count; i++)
        r ^= check_word(L, i);
    return give_word(L, r);
}

static int integer_bnot(lua_State *L)
{
    return give_word(L, ~check_word(L, 1));
}

/* A negative count shifts the other way. */
static uint64_t shift_left(uint64_t word, int64_t count)
{
    if (count <= -WORD_BITS || count >= WORD_BITS)
        return 0;
    return count >= 0 ? word << count : word >> -count;
}

static uint64_t shift_right(uint64_t word, int64_t count)
{
    return count == INT64_MIN ? 0 : shift_left(word, -count);
}

static int integer_lshift(lua_State *L)
{
    uint64_t word = check_word(L, 1);
    return give_word(L, shift_left(word, check_integer(L, 2)));
}

static int integer_rshift(lua_State *L)
{
    uint64_t word = check_word(L, 1);
    return give_word(L, shift_right(word, check_integer(L, 2)));
}

static int integer_arshift(lua_State *L)
{
    uint64_t word = check_word(L, 1);
    int64_t count = check_integer(L, 2);
    if (count > 0 && word >> (WORD_BITS - 1)) /* ones come in: zeros of the complement */
        return give_word(L, ~shift_right(~word, count));
    return give_word(L, shift_right(word, count));
}

static uint64_t rotate_left(uint64_t word, uint64_t count)
{
    count &= WORD_BITS - 1;
    return word << count | word >> (-count & (WORD_BITS - 1));
}

static int integer_lrotate(lua_State *L)
{
    uint64_t word = check_word(L, 1);
    return give_word(L, rotate_left(word, check_word(L, 2)));
}

static int integer_rrotate(lua_State *L)
{
    uint64_t word = check_word(L, 1);
    return give_word(L, rotate_left(word, 0 - check_word(L, 2)));
}

/* The field argument at `arg` and its optional width behind: gives the field's position and, in
 * *mask, as many ones as it is wide. */
static int64_t check_field(lua_State *L, int arg, uint64_t *mask)
{
    int64_t field = check_integer(L, arg);
    int64_t width = luaL_optinteger64(L, arg + 1, 1);
    luaL_argcheck(L, field >= 0 && field < WORD_BITS, arg, "field cannot be negative");
    luaL_argcheck(L, width > 0, arg + 1, "width must be positive");
    if (width > WORD_BITS - field)
        luaL_error(L, "trying to access non-existent bits");
    *mask = UINT64_MAX >> (WORD_BITS - width);
    return field;
}

static int integer_extract(lua_State *L)
{
    uint64_t word = check_word(L, 1), mask;
    int64_t field = check_field(L, 2, &mask);
    return give_word(L, word >> field & mask);
}

static int integer_replace(lua_State *L)
{
    uint64_t word = check_word(L, 1), value = check_word(L, 2), mask;
    int64_t field = check_field(L, 3, &mask);
    return give_word(L, (word & ~(mask << field)) | (value & mask) << field);
}

static int integer_countlz(lua_State *L)
{
    uint64_t word = check_word(L, 1);
    return give(L, word ? __builtin_clzll(word) : WORD_BITS);
}

static int integer_countrz(lua_State *L)
{
    uint64_t word = check_word(L, 1);
    return give(L, word ? __builtin_ctzll(word) : WORD_BITS);
}

static int integer_bswap(lua_State *L)
{
    return give_word(L, __builtin_bswap64(check_word(L, 1)));
}

/* clang-format off */
#define ENTRY(name) {#name, integer_##name}
/* clang-format on */
static const luaL_Reg integer_functions[] = {
    ENTRY(create),  ENTRY(fromstring), ENTRY(tonumber), ENTRY(neg),     ENTRY(add),
    ENTRY(sub),     ENTRY(mul),        ENTRY(div),      ENTRY(rem),     ENTRY(idiv),
    ENTRY(mod),     ENTRY(udiv),       ENTRY(urem),     ENTRY(min),     ENTRY(max),
    ENTRY(clamp),   ENTRY(lt),         ENTRY(le),       ENTRY(gt),      ENTRY(ge),
    ENTRY(ult),     ENTRY(ule),        ENTRY(ugt),      ENTRY(uge),     ENTRY(band),
    ENTRY(bor),     ENTRY(bxor),       ENTRY(bnot),     ENTRY(btest),   ENTRY(lshift),
    ENTRY(rshift),  ENTRY(arshift),    ENTRY(lrotate),  ENTRY(rrotate), ENTRY(extract),
    ENTRY(replace), ENTRY(countlz),    ENTRY(countrz),  ENTRY(bswap),   {NULL, NULL},
};

int luaopen_integer(lua_State *L)
{
    luaL_register(L, "integer", integer_functions);
    lua_pushinteger64(L, INT64_MAX);
    lua_setfield(L, -2, "maxsigned");
    lua_pushinteger64(L, INT64_MIN);
    lua_setfield(L, -2, "minsigned");
    return 1;
}
