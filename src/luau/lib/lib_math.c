/* lib_math.c: mathematics (reference 11.2). */
#include <errno.h>
#include <math.h>
#include <sys/random.h>
#include <time.h>

#include "luau/lib/lib.h"

#define PI 3.14159265358979323846
#define RADIANS_PER_DEGREE (PI / 180.0)

/* ---- Functions of one number ---- */

#define MATH_FUNCTION(name, expression)                                                            \
    static int math_##name(lua_State *L)                                                           \
    {                                                                                              \
        double x = lib_checknumber(L, 1);                                                          \
        lib_pushnumber(L, (expression));                                                           \
        return 1;                                                                                  \
    }
MATH_FUNCTION(abs, fabs(x))
MATH_FUNCTION(acos, acos(x))
MATH_FUNCTION(asin, asin(x))
MATH_FUNCTION(atan, atan(x))
MATH_FUNCTION(ceil, ceil(x))
MATH_FUNCTION(cosh, cosh(x))
MATH_FUNCTION(cos, cos(x))
MATH_FUNCTION(deg, x / RADIANS_PER_DEGREE)
MATH_FUNCTION(exp, exp(x))
MATH_FUNCTION(floor, floor(x))
MATH_FUNCTION(log10, log10(x))
MATH_FUNCTION(rad, (x * RADIANS_PER_DEGREE))
MATH_FUNCTION(round, round(x))
MATH_FUNCTION(sign, x > 0 ? 1.0 : x < 0 ? -1.0 : 0.0)
MATH_FUNCTION(sinh, sinh(x))
MATH_FUNCTION(sin, sin(x))
MATH_FUNCTION(sqrt, sqrt(x))
MATH_FUNCTION(tanh, tanh(x))
MATH_FUNCTION(tan, tan(x))

#define MATH_TEST(name, expression)                                                                \
    static int math_##name(lua_State *L)                                                           \
    {                                                                                              \
        double x = lib_checknumber(L, 1);                                                          \
        lib_pushboolean(L, (expression));                                                          \
        return 1;                                                                                  \
    }
MATH_TEST(isnan, isnan(x))
MATH_TEST(isinf, isinf(x))
MATH_TEST(isfinite, isfinite(x))

/* ---- Functions of several ---- */

#define MATH_FUNCTION2(name, function)                                                             \
    static int math_##name(lua_State *L)                                                           \
    {                                                                                              \
        double x = lib_checknumber(L, 1), y = lib_checknumber(L, 2);                               \
        lib_pushnumber(L, function(x, y));                                                         \
        return 1;                                                                                  \
    }
MATH_FUNCTION2(atan2, atan2)
MATH_FUNCTION2(fmod, fmod)
MATH_FUNCTION2(pow, pow)

static int math_frexp(lua_State *L)
{
    int exponent = 0;
    double fraction = frexp(lib_checknumber(L, 1), &exponent);
    lib_pushnumber(L, fraction);
    lib_pushnumber(L, exponent);
    return 2;
}

static int math_ldexp(lua_State *L)
{
    double m = lib_checknumber(L, 1);
    int exponent = lib_checkint(L, 2);
    lib_pushnumber(L, ldexp(m, exponent));
    return 1;
}

static int math_modf(lua_State *L)
{
    double whole, fraction = modf(lib_checknumber(L, 1), &whole);
    lib_pushnumber(L, whole);
    lib_pushnumber(L, fraction);
    return 2;
}

static int math_log(lua_State *L)
{
    double x = lib_checknumber(L, 1), r;
    if (lib_isnoneornil(L, 2)) {
        r = log(x);
    } else {
        double base = lib_checknumber(L, 2);
        r = base == 2.0 ? log2(x) : base == 10.0 ? log10(x) : log(x) / log(base);
    }
    lib_pushnumber(L, r);
    return 1;
}

static int math_min(lua_State *L)
{
    double r = lib_checknumber(L, 1);
    for (int i = 2, n = lib_argcount(L); i <= n; i++) {
        double x = lib_checknumber(L, i);
        if (x < r)
            r = x;
    }
    lib_pushnumber(L, r);
    return 1;
}

static int math_max(lua_State *L)
{
    double r = lib_checknumber(L, 1);
    for (int i = 2, n = lib_argcount(L); i <= n; i++) {
        double x = lib_checknumber(L, i);
        if (x > r)
            r = x;
    }
    lib_pushnumber(L, r);
    return 1;
}

static int math_clamp(lua_State *L)
{
    double x = lib_checknumber(L, 1);
    double low = lib_checknumber(L, 2), high = lib_checknumber(L, 3);
    luaL_argcheck(L, low <= high, 3, "max must be greater than or equal to min");
    x = x < low ? low : x;
    x = x > high ? high : x;
    lib_pushnumber(L, x);
    return 1;
}

static int math_lerp(lua_State *L)
{
    double a = lib_checknumber(L, 1), b = lib_checknumber(L, 2), t = lib_checknumber(L, 3);
    lib_pushnumber(L, t == 1.0 ? b : a + (b - a) * t);
    return 1;
}

static int math_map(lua_State *L)
{
    double x = lib_checknumber(L, 1);
    double in_low = lib_checknumber(L, 2), in_high = lib_checknumber(L, 3);
    double out_low = lib_checknumber(L, 4), out_high = lib_checknumber(L, 5);
    lib_pushnumber(L, out_low + (x - in_low) * (out_high - out_low) / (in_high - in_low));
    return 1;
}

static int math_noise(lua_State *L)
{
    double x = lib_checknumber(L, 1);
    double y = lib_isnoneornil(L, 2) ? 0.0 : lib_checknumber(L, 2);
    double z = lib_isnoneornil(L, 3) ? 0.0 : lib_checknumber(L, 3);
    luD_push(L, val_anynumber((double)lib_perlin((float)x, (float)y, (float)z)));
    return 1;
}

/* ---- Random numbers: PCG32 (O'Neill), one state per VM ---- */

static uint32_t random_step(uint64_t *state)
{
    uint64_t old = *state;
    *state = old * 6364136223846793005u + 105u;
    uint32_t x = (uint32_t)(((old >> 18) ^ old) >> 27), turn = (uint32_t)(old >> 59);
    return x >> turn | x << (-turn & 31);
}

static void random_seed(uint64_t *state, uint64_t seed)
{
    *state = 0;
    random_step(state);
    *state += seed;
    random_step(state);
}

/* A VM that drew nothing yet has state 0, so that making one costs no system call. No sequence of
 * the generator comes back to 0 in any time that matters. */
static uint32_t random_draw(lua_State *L)
{
    uint64_t *state = &G(L)->random_state;
    if (BASE_UNLIKELY(*state == 0)) {
        uint64_t seed;
        if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed)) {
            struct timespec now;
            clock_gettime(CLOCK_MONOTONIC, &now);
            seed = (uint64_t)now.tv_nsec * 0x9E3779B97F4A7C15u ^ (uint64_t)now.tv_sec ^
                   (uint64_t)(uintptr_t)state;
        }
        random_seed(state, seed);
    }
    return random_step(state);
}

static int math_random(lua_State *L)
{
    switch (lib_argcount(L)) {
    case 0: {
        uint32_t low = random_draw(L), high = random_draw(L);
        double r = ldexp((double)(low | (uint64_t)high << 32), -64);
        lib_pushnumber(L, r < 1.0 ? r : 0x1.fffffffffffffp-1); /* it may round up to 1 */
        return 1;
    }
    case 1: {
        int n = lib_checkint(L, 1);
        luaL_argcheck(L, n >= 1, 1, "interval is empty");
        uint64_t r = (uint64_t)n * random_draw(L);
        lib_pushnumber(L, (double)(1 + (r >> 32)));
        return 1;
    }
    case 2: {
        int low = lib_checkint(L, 1), high = lib_checkint(L, 2);
        luaL_argcheck(L, low <= high, 2, "interval is empty");
        uint32_t span = (uint32_t)high - (uint32_t)low;
        luaL_argcheck(L, span < UINT32_MAX, 2, "interval is too large");
        uint64_t r = ((uint64_t)span + 1) * random_draw(L);
        lib_pushnumber(L, (double)((int64_t)low + (int64_t)(r >> 32)));
        return 1;
    }
    default: luaL_error(L, "wrong number of arguments");
    }
    return 0;
}

static int math_randomseed(lua_State *L)
{
    random_seed(&G(L)->random_state, (uint64_t)(int64_t)lib_checkint(L, 1));
    return 0;
}

/* ---- Registration ---- */

/* clang-format off */
#define ENTRY(name) {#name, math_##name}
/* clang-format on */
static const luaL_Reg math_functions[] = {
    ENTRY(abs),      ENTRY(acos),  ENTRY(asin),  ENTRY(atan2),  ENTRY(atan),       ENTRY(ceil),
    ENTRY(cosh),     ENTRY(cos),   ENTRY(deg),   ENTRY(exp),    ENTRY(floor),      ENTRY(fmod),
    ENTRY(frexp),    ENTRY(ldexp), ENTRY(log10), ENTRY(log),    ENTRY(max),        ENTRY(min),
    ENTRY(modf),     ENTRY(pow),   ENTRY(rad),   ENTRY(random), ENTRY(randomseed), ENTRY(sinh),
    ENTRY(sin),      ENTRY(sqrt),  ENTRY(tanh),  ENTRY(tan),    ENTRY(noise),      ENTRY(clamp),
    ENTRY(sign),     ENTRY(round), ENTRY(map),   ENTRY(lerp),   ENTRY(isnan),      ENTRY(isinf),
    ENTRY(isfinite), {NULL, NULL},
};

int luaopen_math(lua_State *L)
{
    static const struct {
        const char *name;
        double value;
    } constants[] = {
        {"pi", PI},
        {"huge", HUGE_VAL},
        {"nan", NAN},
        {"e", 2.71828182845904523536},
        {"phi", 1.61803398874989484820},
        {"sqrt2", 1.41421356237309504880},
        {"tau", 2.0 * PI},
    };
    luaL_register(L, "math", math_functions);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(constants); i++) {
        lua_pushnumber(L, constants[i].value);
        lua_setfield(L, -2, constants[i].name);
    }
    return 1;
}
