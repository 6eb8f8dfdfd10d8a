/* The utf8 library. Strict: shortest forms only, no surrogates, nothing beyond 10FFFF. */
#include <string.h>

#include "luau/lib/lib_string.h"

enum { CODE_MAX = 0x10FFFF, CHARACTERS_PER_POLL = 8192 };

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* The code at s (the string ends with a NUL, which continues nothing) and the place behind it; NULL
 * if there is none. */
static const char *decode(const char *s, unsigned *code)
{
    static const unsigned least[4] = {0, 0x80, 0x800, 0x10000};
    unsigned first = (unsigned char)*s;
    if (first < 0x80) {
        *code = first;
        return s + 1;
    }
    int extra = first < 0xC2 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : first < 0xF5 ? 3 : 0;
    if (extra == 0)
        return NULL;
    unsigned result = first & (0x3Fu >> extra);
    for (int i = 1; i <= extra; i++) {
        if (!is_continuation(s[i]))
            return NULL;
        result = result << 6 | ((unsigned char)s[i] & 0x3F);
    }
    if (result < least[extra] || result > CODE_MAX || (result >= 0xD800 && result < 0xE000))
        return NULL;
    *code = result;
    return s + extra + 1;
}

static int encode(char out[4], unsigned code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    int extra = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    for (int i = extra; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char)(0xFF00u >> (extra + 1) | code);
    return extra + 1;
}

static int utf8_len(lua_State *L)
{
    size_t length;
    const char *s = luStr_check(L, 1, &length);
    ptrdiff_t at = luStr_position(lib_optint(L, 2, 1), length) - 1;
    ptrdiff_t last = luStr_position(lib_optint(L, 3, -1), length) - 1;
    luaL_argcheck(L, at >= 0 && at <= (ptrdiff_t)length, 2, "initial position out of string");
    luaL_argcheck(L, last < (ptrdiff_t)length, 3, "final position out of string");
    int count = 0;
    for (; at <= last; count++) {
        unsigned code;
        const char *next = decode(s + at, &code);
        if (!next) {
            lua_pushnil(L);
            lua_pushinteger(L, (int)at + 1);
            return 2;
        }
        at = next - s;
        if (count % CHARACTERS_PER_POLL == CHARACTERS_PER_POLL - 1)
            luY_poll(L);
    }
    lua_pushinteger(L, count);
    return 1;
}

static int utf8_codepoint(lua_State *L)
{
    size_t length;
    const char *s = luStr_check(L, 1, &length);
    ptrdiff_t first = luStr_position(lib_optint(L, 2, 1), length);
    ptrdiff_t last = luStr_position(lib_optint(L, 3, (int)first), length);
    luaL_argcheck(L, first >= 1, 2, "out of range");
    luaL_argcheck(L, last <= (ptrdiff_t)length, 3, "out of range");
    if (first > last)
        return 0;
    luaL_checkstack(L, (int)(last - first + 1), "string slice too long");
    const char *end = s + last;
    int count = 0;
    for (s += first - 1; s < end; count++) {
        unsigned code;
        s = decode(s, &code);
        if (!s)
            luaL_error(L, "invalid UTF-8 code");
        lua_pushinteger(L, (int)code);
    }
    return count;
}

static int utf8_char(lua_State *L)
{
    int count = lua_gettop(L);
    luaL_Strbuf b;
    luaL_buffinit(L, &b);
    for (int i = 1; i <= count; i++) {
        int code = lib_checkint(L, i);
        luaL_argcheck(L, (unsigned)code <= CODE_MAX, i, "value out of range");
        char *out = luaL_prepbuffsize(&b, 4);
        b.p = out + encode(out, (unsigned)code);
    }
    luaL_pushresult(&b);
    return 1;
}

/* First byte from `at` on, in steps of +1 or -1, that starts a character; `stop` at the latest. */
static const char *skip_continuations(lua_State *L, const char *at, const char *stop, int step)
{
    for (int done = 1; at != stop && is_continuation(*at); at += step, done++) {
        if (done % CHARACTERS_PER_POLL == 0)
            luY_poll(L);
    }
    return at;
}

/* From `at` to the start of the character `steps` further on; the end of the string counts as one.
 * NULL if there are not so many. */
static const char *forward(lua_State *L, const char *at, const char *end, int steps)
{
    for (; steps > 0; steps--) {
        if (at >= end)
            return NULL;
        at = skip_continuations(L, at + 1, end, 1);
        if (steps % CHARACTERS_PER_POLL == 0)
            luY_poll(L);
    }
    return at;
}

/* The same for -steps characters back. */
static const char *backward(lua_State *L, const char *at, const char *start, int steps)
{
    for (; steps < 0; steps++) {
        if (at <= start)
            return NULL;
        at = skip_continuations(L, at - 1, start, -1);
        if (steps % CHARACTERS_PER_POLL == 0)
            luY_poll(L);
    }
    return at;
}

static int utf8_offset(lua_State *L)
{
    size_t length;
    const char *s = luStr_check(L, 1, &length);
    int n = lib_checkint(L, 2);
    ptrdiff_t from = luStr_position(lib_optint(L, 3, n >= 0 ? 1 : (int)length + 1), length) - 1;
    luaL_argcheck(L, from >= 0 && from <= (ptrdiff_t)length, 3, "position out of range");
    const char *at = s + from;
    if (n == 0) {
        at = skip_continuations(L, at, s, -1);
    } else {
        if (is_continuation(*at))
            luaL_error(L, "initial position is a continuation byte");
        at = n > 0 ? forward(L, at, s + length, n - 1) : backward(L, at, s, n);
    }
    if (at)
        lua_pushinteger(L, (int)(at - s) + 1);
    else
        lua_pushnil(L);
    return 1;
}

static int codes_next(lua_State *L)
{
    size_t length;
    const char *s = luStr_check(L, 1, &length);
    int previous = lua_tointeger(L, 2); /* position of the character before; 0 at the start */
    size_t at = 0;
    if (previous >= (int)length)
        return 0;
    if (previous > 0)
        at = (size_t)(skip_continuations(L, s + previous, s + length, 1) - s);
    if (at >= length)
        return 0;
    unsigned code;
    const char *next = decode(s + at, &code);
    if (!next || is_continuation(*next))
        luaL_error(L, "invalid UTF-8 code");
    luD_push(L, val_number((double)(at + 1)));
    luD_push(L, val_number(code));
    return 2;
}

static int utf8_codes(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_pushcfunction(L, codes_next, NULL);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 0);
    return 3;
}

static const luaL_Reg utf8_functions[] = {
    {"char", utf8_char}, {"codepoint", utf8_codepoint}, {"codes", utf8_codes},
    {"len", utf8_len},   {"offset", utf8_offset},       {NULL, NULL},
};

int luaopen_utf8(lua_State *L)
{
    luaL_register(L, "utf8", utf8_functions);
    lua_pushliteral(L, "[\0-\x7F\xC2-\xF4][\x80-\xBF]*");
    lua_setfield(L, -2, "charpattern");
    return 1;
}
