/* builtins.c: the library functions that the interpreter runs without a call (builtins.h).
 *
 * Each does what its library function (lib/) does, for the argument types that are common, and
 * declines (-1) everything else: wrong types, strings to be converted, whatever would raise. Then
 * the plain call runs. `result` may be the slot below args[0], so all arguments are read before
 * anything is written. Nothing here raises, calls back or collects; the few that allocate small
 * strings and vectors rely on the interpreter's safepoint behind them. */
#include "luau/builtins.h"

#include <math.h>

#include "base/num.h"
#include "luau/call.h"
#include "luau/charstr.h"
#include "luau/str.h"
#include "luau/table.h"
#include "luau/vm.h"

#define UNUSED __attribute__((unused))
#define FAST(id)                                                                                   \
    static int fast_##id(UNUSED lua_State *L, UNUSED Value *result, UNUSED int nresults,           \
                         UNUSED const Value *args, UNUSED int nargs)

enum {
    FAST_STRING_MAX = 1024, /* longer results are made by the library, which reserves memory */
    FAST_GROWTH_MAX = 1024  /* likewise greater array parts */
};

/* Writes one result. */
#define GIVE(value) return (result[0] = (value), 1)
#define GIVE_NUMBER(n) GIVE(val_number(n))

/* How many of `count` results to write, or -1 if the stack may have no room for them. */
static int result_count(lua_State *L, const Value *result, int nresults, int count)
{
    if (nresults >= 0)
        return count < nresults ? count : nresults;
    return L->stack_last - result > count ? count : -1;
}

static int give_all(lua_State *L, Value *result, int nresults, const Value *from, int count)
{
    int n = result_count(L, result, nresults, count);
    if (n > 0)
        memmove(result, from, (size_t)n * sizeof(Value));
    return n;
}

/* ---- Globals ---- */

FAST(ASSERT)
{
    if (nargs < 1 || val_isfalsy(args[0]))
        return -1;
    if (nargs == 1)
        GIVE(args[0]);
    return give_all(L, result, nresults, args, nargs);
}

FAST(TYPE)
{
    if (nargs < 1)
        return -1;
    GIVE(val_fromstring(luTM_typename(val_type(args[0]))));
}

FAST(TYPEOF)
{
    if (nargs < 1)
        return -1;
    GIVE(val_fromstring(luTM_objectname(L, args[0])));
}

FAST(RAWEQUAL)
{
    if (nargs < 2)
        return -1;
    GIVE(val_boolean(luV_rawequal(args[0], args[1])));
}

FAST(RAWGET)
{
    if (nargs < 2 || !val_istable(args[0]))
        return -1;
    GIVE(luT_get(val_table(args[0]), args[1]));
}

/* Stores to keys that are there. */
FAST(RAWSET)
{
    if (nargs < 3 || !val_istable(args[0]))
        return -1;
    Table *t = val_table(args[0]);
    if (t->flags & TABLE_READONLY)
        return -1;
    Value *slot = luT_find(t, args[1]);
    if (!slot)
        return -1;
    if (val_isnil(*slot))
        t->tm_absent = 0;
    *slot = args[2];
    luG_barriertable(L, t);
    GIVE(args[0]);
}

FAST(RAWLEN)
{
    if (nargs < 1)
        return -1;
    if (val_istable(args[0]))
        GIVE_NUMBER(luT_length(val_table(args[0])));
    if (val_isstring(args[0]))
        GIVE_NUMBER(val_string(args[0])->length);
    return -1;
}

FAST(GETMETATABLE)
{
    if (nargs < 1)
        return -1;
    Table *meta = luTM_metatable(L, args[0]);
    if (!meta)
        GIVE(VAL_NIL);
    Value v = luT_getstring(meta, luTM_name(TM_METATABLE));
    GIVE(val_isnil(v) ? val_fromtable(meta) : v);
}

FAST(SETMETATABLE)
{
    if (nargs < 2 || !val_istable(args[0]) || !(val_istable(args[1]) || val_isnil(args[1])))
        return -1;
    Table *t = val_table(args[0]);
    if (t->flags & (TABLE_READONLY | TABLE_SAFEENV))
        return -1;
    if (t->meta && !val_isnil(luT_getstring(t->meta, luTM_name(TM_METATABLE))))
        return -1;
    t->meta = val_istable(args[1]) ? val_table(args[1]) : NULL;
    luG_barrier(L, t, args[1]);
    GIVE(args[0]);
}

FAST(SELECT)
{
    if (nargs < 1)
        return -1;
    if (val_isstring(args[0]) && val_string(args[0])->data[0] == '#')
        GIVE_NUMBER(nargs - 1);
    if (!val_isnumber(args[0]))
        return -1;
    int i = val_toint(args[0].n);
    if (i < 0)
        i = nargs + i;
    else if (i > nargs)
        i = nargs;
    if (i < 1)
        return -1;
    return give_all(L, result, nresults, args + i, nargs - i);
}

FAST(TONUMBER)
{
    double n;
    if (nargs < 1 || (nargs > 1 && !val_isnil(args[1])))
        return -1;
    if (val_isnumber(args[0]))
        GIVE(args[0]);
    GIVE(luV_tonumber(args[0], &n) ? val_number(n) : VAL_NIL);
}

FAST(TOSTRING)
{
    if (nargs < 1)
        return -1;
    if (val_isstring(args[0]))
        GIVE(args[0]);
    if (val_isnumber(args[0])) {
        char text[NUM_TEXT_MAX];
        int length = num_format(args[0].n, text);
        GIVE(val_fromstring(length == 1 ? luS_char(text[0]) : luS_new(L, text, (size_t)length)));
    }
    return -1;
}

/* ---- Lists ---- */

FAST(TABLE_INSERT)
{
    if (nargs != 2 || !val_istable(args[0]))
        return -1;
    Table *t = val_table(args[0]);
    if (t->flags & TABLE_READONLY)
        return -1;
    int n = luT_length(t);
    Value v = args[1];
    if (BASE_LIKELY(n < t->array_size))
        t->array[n] = v;
    else if (n < FAST_GROWTH_MAX)
        *luT_setint(L, t, n + 1) = v;
    else
        return -1;
    luG_barriertable(L, t);
    return 0;
}

FAST(TABLE_UNPACK)
{
    if (nargs < 1 || !val_istable(args[0]))
        return -1;
    Table *t = val_table(args[0]);
    int first = 1, last;
    if (nargs > 1) {
        if (!val_isnumber(args[1]))
            return -1;
        first = val_toint(args[1].n);
    }
    if (nargs > 2) {
        if (!val_isnumber(args[2]))
            return -1;
        last = val_toint(args[2].n);
    } else {
        last = luT_length(t);
    }
    if (first < 1 || last > t->array_size)
        return -1;
    if (first > last)
        return 0;
    if (last - first >= LUAI_MAXCSTACK / 2)
        return -1;
    return give_all(L, result, nresults, t->array + first - 1, last - first + 1);
}
#define fast_UNPACK fast_TABLE_UNPACK

/* ---- math ---- */

#define FAST_MATH1(id, expression)                                                                 \
    FAST(id)                                                                                       \
    {                                                                                              \
        if (nargs < 1 || !val_isnumber(args[0]))                                                   \
            return -1;                                                                             \
        double x = args[0].n;                                                                      \
        GIVE_NUMBER(expression);                                                                   \
    }
#define FAST_MATH2(id, expression)                                                                 \
    FAST(id)                                                                                       \
    {                                                                                              \
        if (nargs < 2 || !val_isnumber(args[0]) || !val_isnumber(args[1]))                         \
            return -1;                                                                             \
        double x = args[0].n, y = args[1].n;                                                       \
        GIVE_NUMBER(expression);                                                                   \
    }
#define FAST_TEST1(id, expression)                                                                 \
    FAST(id)                                                                                       \
    {                                                                                              \
        if (nargs < 1 || !val_isnumber(args[0]))                                                   \
            return -1;                                                                             \
        double x = args[0].n;                                                                      \
        GIVE(val_boolean(expression));                                                             \
    }
#define RADIANS_PER_DEGREE (3.14159265358979323846 / 180.0)
FAST_MATH1(MATH_ABS, fabs(x))
FAST_MATH1(MATH_ACOS, acos(x))
FAST_MATH1(MATH_ASIN, asin(x))
FAST_MATH2(MATH_ATAN2, atan2(x, y))
FAST_MATH1(MATH_ATAN, atan(x))
FAST_MATH1(MATH_CEIL, ceil(x))
FAST_MATH1(MATH_COSH, cosh(x))
FAST_MATH1(MATH_COS, cos(x))
FAST_MATH1(MATH_DEG, x / RADIANS_PER_DEGREE)
FAST_MATH1(MATH_EXP, exp(x))
FAST_MATH1(MATH_FLOOR, floor(x))
FAST_MATH2(MATH_FMOD, fmod(x, y))
FAST_MATH2(MATH_LDEXP, ldexp(x, val_toint(y)))
FAST_MATH1(MATH_LOG10, log10(x))
FAST_MATH2(MATH_POW, pow(x, y))
FAST_MATH1(MATH_RAD, (x * RADIANS_PER_DEGREE))
FAST_MATH1(MATH_SIGN, x > 0 ? 1.0 : x < 0 ? -1.0 : 0.0)
FAST_MATH1(MATH_SINH, sinh(x))
FAST_MATH1(MATH_SIN, sin(x))
FAST_MATH1(MATH_SQRT, sqrt(x))
FAST_MATH1(MATH_TANH, tanh(x))
FAST_MATH1(MATH_TAN, tan(x))
FAST_MATH1(MATH_ROUND, round(x))
FAST_TEST1(MATH_ISNAN, isnan(x))
FAST_TEST1(MATH_ISINF, isinf(x))
FAST_TEST1(MATH_ISFINITE, isfinite(x))

FAST(MATH_LOG)
{
    if (nargs < 1 || !val_isnumber(args[0]))
        return -1;
    double x = args[0].n;
    if (nargs == 1)
        GIVE_NUMBER(log(x));
    if (!val_isnumber(args[1]))
        return -1;
    double base = args[1].n;
    GIVE_NUMBER(base == 2.0 ? log2(x) : base == 10.0 ? log10(x) : log(x) / log(base));
}

static bool all_numbers(const Value *args, int nargs)
{
    for (int i = 0; i < nargs; i++)
        if (!val_isnumber(args[i]))
            return false;
    return true;
}

FAST(MATH_MIN)
{
    if (nargs < 1 || !all_numbers(args, nargs))
        return -1;
    double r = args[0].n;
    for (int i = 1; i < nargs; i++)
        r = args[i].n < r ? args[i].n : r;
    GIVE_NUMBER(r);
}

FAST(MATH_MAX)
{
    if (nargs < 1 || !all_numbers(args, nargs))
        return -1;
    double r = args[0].n;
    for (int i = 1; i < nargs; i++)
        r = args[i].n > r ? args[i].n : r;
    GIVE_NUMBER(r);
}

FAST(MATH_CLAMP)
{
    if (nargs < 3 || !all_numbers(args, 3))
        return -1;
    double x = args[0].n, low = args[1].n, high = args[2].n;
    if (!(low <= high))
        return -1;
    x = x < low ? low : x;
    GIVE_NUMBER(x > high ? high : x);
}

FAST(MATH_LERP)
{
    if (nargs < 3 || !all_numbers(args, 3))
        return -1;
    double a = args[0].n, b = args[1].n, t = args[2].n;
    GIVE_NUMBER(t == 1.0 ? b : a + (b - a) * t);
}

FAST(MATH_MAP)
{
    if (nargs < 5 || !all_numbers(args, 5))
        return -1;
    double x = args[0].n, in_low = args[1].n, in_high = args[2].n;
    double out_low = args[3].n, out_high = args[4].n;
    GIVE_NUMBER(out_low + (x - in_low) * (out_high - out_low) / (in_high - in_low));
}

/* ---- bit32 ---- */

#define FAST_BITS(id, start, operator)                                                             \
    FAST(id)                                                                                       \
    {                                                                                              \
        if (!all_numbers(args, nargs))                                                             \
            return -1;                                                                             \
        uint32_t r = (start);                                                                      \
        for (int i = 0; i < nargs; i++)                                                            \
            r operator val_tounsigned(args[i].n);                                                  \
        GIVE_NUMBER(r);                                                                            \
    }
FAST_BITS(BIT32_BAND, UINT32_MAX, &=)
FAST_BITS(BIT32_BOR, 0, |=)
FAST_BITS(BIT32_BXOR, 0, ^=)

FAST(BIT32_BTEST)
{
    if (!all_numbers(args, nargs))
        return -1;
    uint32_t r = UINT32_MAX;
    for (int i = 0; i < nargs; i++)
        r &= val_tounsigned(args[i].n);
    GIVE(val_boolean(r != 0));
}

#define FAST_WORD(id, expression)                                                                  \
    FAST(id)                                                                                       \
    {                                                                                              \
        if (nargs < 1 || !val_isnumber(args[0]))                                                   \
            return -1;                                                                             \
        uint32_t x = val_tounsigned(args[0].n);                                                    \
        GIVE_NUMBER(expression);                                                                   \
    }
FAST_WORD(BIT32_BNOT, ~x)
FAST_WORD(BIT32_COUNTLZ, x ? __builtin_clz(x) : 32)
FAST_WORD(BIT32_COUNTRZ, x ? __builtin_ctz(x) : 32)
FAST_WORD(BIT32_BYTESWAP, __builtin_bswap32(x))

/* Shifts by counts in range; the library knows the others. */
#define FAST_SHIFT(id, expression)                                                                 \
    FAST(id)                                                                                       \
    {                                                                                              \
        if (nargs < 2 || !val_isnumber(args[0]) || !val_isnumber(args[1]))                         \
            return -1;                                                                             \
        uint32_t x = val_tounsigned(args[0].n);                                                    \
        int n = val_toint(args[1].n);                                                              \
        if ((unsigned)n >= 32)                                                                     \
            return -1;                                                                             \
        GIVE_NUMBER(expression);                                                                   \
    }
FAST_SHIFT(BIT32_LSHIFT, x << n)
FAST_SHIFT(BIT32_RSHIFT, x >> n)
FAST_SHIFT(BIT32_ARSHIFT, (uint32_t)((int32_t)x >> n))
FAST_SHIFT(BIT32_LROTATE, x << n | x >> (-n & 31))
FAST_SHIFT(BIT32_RROTATE, x >> n | x << (-n & 31))

/* The field at args[0] and its optional width: position, and a mask of that width. */
static bool read_field(const Value *args, int nargs, int *field, uint32_t *mask)
{
    int width = 1;
    if (nargs < 1 || !val_isnumber(args[0]))
        return false;
    if (nargs > 1) {
        if (!val_isnumber(args[1]))
            return false;
        width = val_toint(args[1].n);
    }
    *field = val_toint(args[0].n);
    if (*field < 0 || width < 1 || width > 32 || *field > 32 - width)
        return false;
    *mask = UINT32_MAX >> (32 - width);
    return true;
}

FAST(BIT32_EXTRACT)
{
    int field;
    uint32_t mask;
    if (nargs < 2 || !val_isnumber(args[0]) || !read_field(args + 1, nargs - 1, &field, &mask))
        return -1;
    GIVE_NUMBER(val_tounsigned(args[0].n) >> field & mask);
}

FAST(BIT32_REPLACE)
{
    int field;
    uint32_t mask;
    if (nargs < 3 || !all_numbers(args, 2) || !read_field(args + 2, nargs - 2, &field, &mask))
        return -1;
    uint32_t x = val_tounsigned(args[0].n), v = val_tounsigned(args[1].n);
    GIVE_NUMBER((x & ~(mask << field)) | (v & mask) << field);
}

/* ---- string ---- */

FAST(STRING_LEN)
{
    if (nargs < 1 || !val_isstring(args[0]))
        return -1;
    GIVE_NUMBER(val_string(args[0])->length);
}

/* One byte of the string. */
FAST(STRING_BYTE)
{
    if (nargs < 1 || nargs > 2 || !val_isstring(args[0]))
        return -1;
    const String *s = val_string(args[0]);
    unsigned i = 0;
    if (nargs == 2) {
        if (!val_isnumber(args[1]))
            return -1;
        i = (unsigned)val_toint(args[1].n) - 1;
    }
    if (i >= s->length)
        return -1;
    GIVE_NUMBER((uint8_t)s->data[i]);
}

FAST(STRING_CHAR)
{
    char text[8];
    if (nargs < 1 || nargs > (int)sizeof(text) || !all_numbers(args, nargs))
        return -1;
    for (int i = 0; i < nargs; i++) {
        int c = val_toint(args[i].n);
        if ((unsigned)c > 255)
            return -1;
        text[i] = (char)c;
    }
    GIVE(val_fromstring(nargs == 1 ? luS_char(text[0]) : luS_new(L, text, (size_t)nargs)));
}

FAST(STRING_SUB)
{
    if (nargs < 2 || !val_isstring(args[0]) || !val_isnumber(args[1]))
        return -1;
    String *s = val_string(args[0]);
    int64_t length = s->length, first = val_toint(args[1].n), last = length;
    if (nargs > 2) {
        if (!val_isnumber(args[2]))
            return -1;
        last = val_toint(args[2].n);
        if (last < 0)
            last += length + 1;
        else if (last > length)
            last = length;
    }
    if (first < 0)
        first += length + 1;
    if (first < 1)
        first = 1;
    if (first > last)
        GIVE(val_fromstring(luS_empty()));
    int64_t count = last - first + 1;
    if (count == 1)
        GIVE(val_fromstring(luS_char(s->data[first - 1])));
    if (count == length)
        GIVE(args[0]);
    if (count > FAST_STRING_MAX)
        return -1;
    GIVE(val_fromstring(luS_new(L, s->data + first - 1, (size_t)count)));
}

/* ---- buffer ---- */

/* Where `size` bytes at the offset args[1] of the buffer args[0] stand, or NULL. */
BASE_INLINE char *buffer_place(const Value *args, int nargs, int needed, size_t size)
{
    if (nargs < needed || !val_isbuffer(args[0]) || !val_isnumber(args[1]))
        return NULL;
    Buffer *b = val_buffer(args[0]);
    int offset = val_toint(args[1].n);
    return (uint64_t)(unsigned)offset + size <= b->length ? b->data + offset : NULL;
}

#define FAST_READ(id, type)                                                                        \
    FAST(id)                                                                                       \
    {                                                                                              \
        type value;                                                                                \
        const char *p = buffer_place(args, nargs, 2, sizeof(type));                                \
        if (!p)                                                                                    \
            return -1;                                                                             \
        memcpy(&value, p, sizeof(type));                                                           \
        GIVE(val_anynumber((double)value));                                                        \
    }
FAST_READ(BUFFER_READI8, int8_t)
FAST_READ(BUFFER_READU8, uint8_t)
FAST_READ(BUFFER_READI16, int16_t)
FAST_READ(BUFFER_READU16, uint16_t)
FAST_READ(BUFFER_READI32, int32_t)
FAST_READ(BUFFER_READU32, uint32_t)
FAST_READ(BUFFER_READF32, float)
FAST_READ(BUFFER_READF64, double)

#define FAST_WRITE(id, type, convert)                                                              \
    FAST(id)                                                                                       \
    {                                                                                              \
        char *p = buffer_place(args, nargs, 3, sizeof(type));                                      \
        if (!p || !val_isnumber(args[2]))                                                          \
            return -1;                                                                             \
        type value = (type)convert(args[2].n);                                                     \
        memcpy(p, &value, sizeof(type));                                                           \
        return 0;                                                                                  \
    }
FAST_WRITE(BUFFER_WRITEI8, uint8_t, val_tounsigned)
FAST_WRITE(BUFFER_WRITEU8, uint8_t, val_tounsigned)
FAST_WRITE(BUFFER_WRITEI16, uint16_t, val_tounsigned)
FAST_WRITE(BUFFER_WRITEU16, uint16_t, val_tounsigned)
FAST_WRITE(BUFFER_WRITEI32, uint32_t, val_tounsigned)
FAST_WRITE(BUFFER_WRITEU32, uint32_t, val_tounsigned)
FAST_WRITE(BUFFER_WRITEF32, float, )
FAST_WRITE(BUFFER_WRITEF64, double, )

/* ---- vector ---- */

FAST(VECTOR_CREATE)
{
    if (nargs < 2 || nargs > 3 || !all_numbers(args, nargs))
        return -1;
    Vector *v = luH_object(L, sizeof(Vector), OBJ_VECTOR);
    v->v[0] = (float)args[0].n;
    v->v[1] = (float)args[1].n;
    v->v[2] = nargs > 2 ? (float)args[2].n : 0.0f;
    GIVE(val_fromobject(v));
}

FAST(VECTOR_MAGNITUDE)
{
    if (nargs < 1 || !val_isvector(args[0]))
        return -1;
    const float *a = val_vector(args[0])->v;
    GIVE_NUMBER((double)sqrtf(a[0] * a[0] + a[1] * a[1] + a[2] * a[2]));
}

FAST(VECTOR_DOT)
{
    if (nargs < 2 || !val_isvector(args[0]) || !val_isvector(args[1]))
        return -1;
    const float *a = val_vector(args[0])->v, *b = val_vector(args[1])->v;
    GIVE_NUMBER((double)(a[0] * b[0] + a[1] * b[1] + a[2] * b[2]));
}

/* clang-format off */
const luV_Builtin luV_builtins[] = {
    [BUILTIN_NONE] = NULL,
#define X(id, library, name) [BUILTIN_##id] = fast_##id,
    LUAU_BUILTINS(X)
#undef X
};
/* clang-format on */
