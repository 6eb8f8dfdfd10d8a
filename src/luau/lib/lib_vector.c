/* lib_vector.c: vectors of three 32-bit floats (reference 11.8). */
#include <math.h>

#include "luau/lib/lib.h"

static float dot(const float *a, const float *b)
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

static void cross(const float *a, const float *b, float *result)
{
    result[0] = a[1] * b[2] - a[2] * b[1];
    result[1] = a[2] * b[0] - a[0] * b[2];
    result[2] = a[0] * b[1] - a[1] * b[0];
}

static int vector_create(lua_State *L)
{
    bool has_z = lib_hasarg(L, 3); /* an explicit nil is an error */
    double x = lib_checknumber(L, 1), y = lib_checknumber(L, 2);
    double z = has_z ? lib_checknumber(L, 3) : 0.0;
    lua_pushvector(L, (float)x, (float)y, (float)z);
    return 1;
}

static int vector_magnitude(lua_State *L)
{
    const float *v = luaL_checkvector(L, 1);
    lua_pushnumber(L, (double)sqrtf(dot(v, v)));
    return 1;
}

static int vector_normalize(lua_State *L)
{
    const float *v = luaL_checkvector(L, 1);
    float scale = 1.0f / sqrtf(dot(v, v));
    lua_pushvector(L, v[0] * scale, v[1] * scale, v[2] * scale);
    return 1;
}

static int vector_cross(lua_State *L)
{
    float r[3];
    const float *a = luaL_checkvector(L, 1);
    cross(a, luaL_checkvector(L, 2), r);
    lua_pushvector(L, r[0], r[1], r[2]);
    return 1;
}

static int vector_dot(lua_State *L)
{
    const float *a = luaL_checkvector(L, 1), *b = luaL_checkvector(L, 2);
    lua_pushnumber(L, (double)dot(a, b));
    return 1;
}

static int vector_angle(lua_State *L)
{
    const float *a = luaL_checkvector(L, 1), *b = luaL_checkvector(L, 2);
    const float *axis = luaL_optvector(L, 3, NULL);
    float normal[3];
    cross(a, b, normal);
    double angle = atan2((double)sqrtf(dot(normal, normal)), (double)dot(a, b));
    if (axis && dot(normal, axis) < 0.0f)
        angle = -angle;
    lua_pushnumber(L, angle);
    return 1;
}

#define VECTOR_FUNCTION(name, function)                                                            \
    static int vector_##name(lua_State *L)                                                         \
    {                                                                                              \
        const float *v = luaL_checkvector(L, 1);                                                   \
        lua_pushvector(L, function(v[0]), function(v[1]), function(v[2]));                         \
        return 1;                                                                                  \
    }
static float sign(float x)
{
    return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f;
}
VECTOR_FUNCTION(floor, floorf)
VECTOR_FUNCTION(ceil, ceilf)
VECTOR_FUNCTION(abs, fabsf)
VECTOR_FUNCTION(sign, sign)

static float clamp(float x, float low, float high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

static int vector_clamp(lua_State *L)
{
    const float *v = luaL_checkvector(L, 1);
    const float *low = luaL_checkvector(L, 2), *high = luaL_checkvector(L, 3);
    luaL_argcheck(L, low[0] <= high[0], 3, "max.x must be greater than or equal to min.x");
    luaL_argcheck(L, low[1] <= high[1], 3, "max.y must be greater than or equal to min.y");
    luaL_argcheck(L, low[2] <= high[2], 3, "max.z must be greater than or equal to min.z");
    lua_pushvector(L, clamp(v[0], low[0], high[0]), clamp(v[1], low[1], high[1]),
                   clamp(v[2], low[2], high[2]));
    return 1;
}

static int vector_min(lua_State *L)
{
    float r[3];
    memcpy(r, luaL_checkvector(L, 1), sizeof(r));
    for (int i = 2, n = lib_argcount(L); i <= n; i++) {
        const float *v = luaL_checkvector(L, i);
        for (int k = 0; k < 3; k++)
            r[k] = v[k] < r[k] ? v[k] : r[k];
    }
    lua_pushvector(L, r[0], r[1], r[2]);
    return 1;
}

static int vector_max(lua_State *L)
{
    float r[3];
    memcpy(r, luaL_checkvector(L, 1), sizeof(r));
    for (int i = 2, n = lib_argcount(L); i <= n; i++) {
        const float *v = luaL_checkvector(L, i);
        for (int k = 0; k < 3; k++)
            r[k] = v[k] > r[k] ? v[k] : r[k];
    }
    lua_pushvector(L, r[0], r[1], r[2]);
    return 1;
}

static float lerp(float a, float b, float t)
{
    return t == 1.0f ? b : a + (b - a) * t;
}

static int vector_lerp(lua_State *L)
{
    const float *a = luaL_checkvector(L, 1), *b = luaL_checkvector(L, 2);
    float t = (float)lib_checknumber(L, 3);
    lua_pushvector(L, lerp(a[0], b[0], t), lerp(a[1], b[1], t), lerp(a[2], b[2], t));
    return 1;
}

/* `__index` of vectors. */
static int vector_index(lua_State *L)
{
    const float *v = luaL_checkvector(L, 1);
    size_t length;
    const char *name = luaL_checklstring(L, 2, &length);
    unsigned component = length == 1 ? (unsigned)((name[0] | 0x20) - 'x') : 3;
    if (component > 2)
        luaL_error(L, "attempt to index vector with '%s'", name);
    lua_pushnumber(L, (double)v[component]);
    return 1;
}

static const luaL_Reg vector_functions[] = {
    {"create", vector_create},
    {"magnitude", vector_magnitude},
    {"normalize", vector_normalize},
    {"cross", vector_cross},
    {"dot", vector_dot},
    {"angle", vector_angle},
    {"floor", vector_floor},
    {"ceil", vector_ceil},
    {"abs", vector_abs},
    {"sign", vector_sign},
    {"clamp", vector_clamp},
    {"max", vector_max},
    {"min", vector_min},
    {"lerp", vector_lerp},
    {NULL, NULL},
};

int luaopen_vector(lua_State *L)
{
    luaL_register(L, "vector", vector_functions);
    lua_pushvector(L, 0.0f, 0.0f, 0.0f);
    lua_setfield(L, -2, "zero");
    lua_pushvector(L, 1.0f, 1.0f, 1.0f);
    lua_setfield(L, -2, "one");

    /* The metatable of the type. */
    lua_pushvector(L, 0.0f, 0.0f, 0.0f);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, vector_index, NULL);
    lua_setfield(L, -2, "__index");
    lua_setreadonly(L, -1, 1);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
    return 1;
}
