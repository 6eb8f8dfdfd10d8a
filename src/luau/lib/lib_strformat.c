/* string.format.
 *
 * Directives are those of C. Integers, %s, %c and the common forms of %f are laid out here, exactly
 * as C's printf would, which is quicker; other forms of floating point go to snprintf with the
 * directive as it was checked. The program keeps the C locale (tools/tidy.py). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "luau/lib/lib_string.h"

/* A directive: %[flags][width][.precision]. */
typedef struct Spec {
    bool left, plus, blank, alternate, zero;
    bool any;      /* has flags, width or precision at all */
    int width;     /* 0: none */
    int precision; /* -1: none */
    char text[16]; /* as written, from the `%` to before the conversion; NUL ended */
} Spec;

/* Longest %f: a sign, 309 digits, the point, 99 digits. */
enum { FLOAT_TEXT_MAX = 420, DIRECTIVES_PER_POLL = 256 };

/* At most two digits; -1 if there are none. */
static int read_two_digits(const char **p)
{
    int n = -1;
    for (int i = 0; i < 2 && luStr_isdigit(**p); i++)
        n = (n < 0 ? 0 : n) * 10 + (*(*p)++ - '0');
    return n;
}

/* Reads the directive behind a `%` (the format ends with a NUL). Returns the place of its
 * conversion. */
static const char *read_spec(lua_State *L, const char *p, Spec *spec)
{
    enum { FLAGS_MAX = 5 };
    const char *start = p;
    memset(spec, 0, sizeof(*spec));
    for (bool flag = true; flag; p += flag) {
        switch (*p) {
        case '-': spec->left = true; break;
        case '+': spec->plus = true; break;
        case ' ': spec->blank = true; break;
        case '#': spec->alternate = true; break;
        case '0': spec->zero = true; break;
        default: flag = false;
        }
    }
    if (p - start > FLAGS_MAX)
        luaL_error(L, "invalid format (repeated flags)");
    int width = read_two_digits(&p);
    spec->width = width < 0 ? 0 : width;
    spec->precision = -1;
    if (*p == '.') {
        p++;
        spec->precision = read_two_digits(&p);
        if (spec->precision < 0)
            spec->precision = 0;
    }
    if (luStr_isdigit(*p))
        luaL_error(L, "invalid format (width or precision too long)");
    spec->any = p != start;
    spec->text[0] = '%';
    memcpy(spec->text + 1, start, (size_t)(p - start));
    return p;
}

/* Adds sign or prefix, zeros, body, with blanks up to the width. `zero_fill`: the flag 0 counts. */
static void add_field(luaL_Strbuf *b, const Spec *spec, const char *prefix, int zeros,
                      const char *body, size_t body_length, bool zero_fill)
{
    size_t prefix_length = strlen(prefix);
    size_t length = prefix_length + (size_t)zeros + body_length;
    size_t pad = (size_t)spec->width > length ? (size_t)spec->width - length : 0;
    if (pad && !spec->left && spec->zero && zero_fill) {
        zeros += (int)pad;
        pad = 0;
    }
    char *p = luaL_prepbuffsize(b, length + (size_t)spec->width);
    if (!spec->left) {
        memset(p, ' ', pad);
        p += pad;
    }
    memcpy(p, prefix, prefix_length);
    p += prefix_length;
    memset(p, '0', (size_t)zeros);
    p += zeros;
    memcpy(p, body, body_length);
    p += body_length;
    if (spec->left) {
        memset(p, ' ', pad);
        p += pad;
    }
    b->p = p;
}

static const char *sign_prefix(const Spec *spec, bool negative)
{
    return negative ? "-" : spec->plus ? "+" : spec->blank ? " " : "";
}

static void add_integer(luaL_Strbuf *b, const Spec *spec, uint64_t n, const char *prefix,
                        char conversion)
{
    char digits[24], *end = digits + sizeof(digits), *p = end;
    const char *letters = conversion == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    unsigned base = conversion == 'o' ? 8 : (conversion | 0x20) == 'x' ? 16 : 10;
    bool nonzero = n != 0;
    for (; n; n /= base)
        *--p = letters[n % base];
    int zeros = (spec->precision < 0 ? 1 : spec->precision) - (int)(end - p);
    if (zeros < 0)
        zeros = 0;
    if (spec->alternate && base == 8 && zeros == 0)
        zeros = 1;
    if (spec->alternate && base == 16 && nonzero)
        prefix = conversion == 'X' ? "0X" : "0x";
    add_field(b, spec, prefix, zeros, p, (size_t)(end - p), spec->precision < 0);
}

static void add_signed(luaL_Strbuf *b, const Spec *spec, int64_t n)
{
    if (spec->any) {
        uint64_t magnitude = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
        add_integer(b, spec, magnitude, sign_prefix(spec, n < 0), 'd');
        return;
    }
    char *p = luaL_prepbuffsize(b, NUM_TEXT_MAX);
    b->p = p + num_format_i64(n, p);
}

static void add_decimal(lua_State *L, luaL_Strbuf *b, const Spec *spec, int arg)
{
    int isinteger;
    int64_t n = lua_tointeger64(L, arg, &isinteger);
    add_signed(b, spec, isinteger ? n : luStr_toint64(lib_checknumber(L, arg)));
}

/* By way of int64 if negative; what does not fit is as x86-64 computes it. */
static uint64_t to_uint64(double n)
{
    if (n < 9223372036854775808.0)
        return (uint64_t)luStr_toint64(n);
    if (n != n)
        return 1ull << 63;
    return n < 18446744073709551616.0 ? (uint64_t)n : 0;
}

static void add_unsigned(lua_State *L, luaL_Strbuf *b, const Spec *spec, int arg, char conversion)
{
    int isinteger;
    int64_t n = lua_tointeger64(L, arg, &isinteger);
    uint64_t bits = isinteger ? (uint64_t)n : to_uint64(lib_checknumber(L, arg));
    add_integer(b, spec, bits, "", conversion);
}

/* ---- Floating point ---- */

/* round(|value| * 10^places), ties to even, if it is exact with 128 bits and not too large. */
static bool scale_exactly(double value, int places, uint64_t *scaled)
{
    static const uint64_t powers[16] = {1,
                                        10,
                                        100,
                                        1000,
                                        10000,
                                        100000,
                                        1000000,
                                        10000000,
                                        100000000,
                                        1000000000,
                                        10000000000,
                                        100000000000,
                                        1000000000000,
                                        10000000000000,
                                        100000000000000,
                                        1000000000000000};
    uint64_t bits;
    memcpy(&bits, &value, 8);
    int biased = (int)(bits >> 52 & 0x7FF);
    int shift = 1075 - (biased ? biased : 1); /* |value| = m / 2^shift */
    uint64_t m = (bits & 0xFFFFFFFFFFFFFu) | (biased ? 1ull << 52 : 0);
    if (places > 15 || shift < 0)
        return false;
    unsigned __int128 product = (unsigned __int128)m * powers[places]; /* below 2^103 */
    if (shift > 104) {
        *scaled = 0;
        return true;
    }
    unsigned __int128 half = shift ? (unsigned __int128)1 << (shift - 1) : 0;
    unsigned __int128 rest = product & (half | (half - (shift != 0)));
    product >>= shift;
    if (product >> 63)
        return false;
    *scaled = (uint64_t)product;
    *scaled += rest > half || (shift && rest == half && (*scaled & 1));
    return true;
}

static bool add_fixed(luaL_Strbuf *b, const Spec *spec, double value)
{
    int places = spec->precision < 0 ? 6 : spec->precision;
    uint64_t scaled;
    if (spec->alternate || !scale_exactly(value, places, &scaled))
        return false;
    char body[24], *end = body + sizeof(body), *p = end;
    for (int i = 0; i < places; i++, scaled /= 10)
        *--p = (char)('0' + scaled % 10);
    if (places)
        *--p = '.';
    do
        *--p = (char)('0' + scaled % 10);
    while (scaled /= 10);
    add_field(b, spec, sign_prefix(spec, signbit(value)), 0, p, (size_t)(end - p), true);
    return true;
}

static void add_float(luaL_Strbuf *b, Spec *spec, double value, char conversion)
{
    if (conversion == 'f' && isfinite(value) && add_fixed(b, spec, value))
        return;
    size_t length = strlen(spec->text);
    spec->text[length] = conversion;
    spec->text[length + 1] = '\0';
    char *p = luaL_prepbuffsize(b, FLOAT_TEXT_MAX);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* parsed by read_spec */
    b->p = p + snprintf(p, FLOAT_TEXT_MAX, spec->text, value);
#pragma GCC diagnostic pop
}

/* ---- Strings ---- */

static void add_string(lua_State *L, luaL_Strbuf *b, const Spec *spec, int arg)
{
    if (lua_type(L, arg) == LUA_TNUMBER && !spec->any) {
        char *p = luaL_prepbuffsize(b, NUM_TEXT_MAX);
        b->p = p + num_format(lua_tonumber(L, arg), p);
        return;
    }
    size_t length;
    const char *s = luStr_check(L, arg, &length);
    if (!spec->any || (spec->precision < 0 && length >= 100)) {
        luaL_addlstring(b, s, length);
        return;
    }
    size_t limit = spec->precision < 0 ? length : (size_t)spec->precision;
    add_field(b, spec, "", 0, s, strnlen(s, limit), false);
}

/* Like a literal that reads back as the string. */
static void add_quoted(lua_State *L, luaL_Strbuf *b, int arg)
{
    size_t length;
    const char *s = luStr_check(L, arg, &length);
    const char *end = s + length;
    luaL_addchar(b, '"');
    for (size_t done = 1; s < end; s++, done++) {
        switch (*s) {
        case '"':
        case '\\':
        case '\n':
            luaL_addchar(b, '\\');
            luaL_addchar(b, *s);
            break;
        case '\r': luaL_addlstring(b, "\\r", 2); break;
        case '\0': luaL_addlstring(b, "\\000", 4); break;
        default: luaL_addchar(b, *s);
        }
        if (done % STRING_POLL_BYTES == 0)
            luY_poll(L);
    }
    luaL_addchar(b, '"');
}

/* ---- format ---- */

/* One directive; p is behind its `%`. Returns what follows it. */
static const char *add_directive(lua_State *L, luaL_Strbuf *b, const char *p, int arg)
{
    Spec spec;
    p = read_spec(L, p, &spec);
    char conversion = *p++;
    switch (conversion) {
    case 'c': {
        char c = (char)lib_checkint(L, arg);
        add_field(b, &spec, "", 0, &c, 1, false);
        break;
    }
    case 'd':
    case 'i': add_decimal(L, b, &spec, arg); break;
    case 'o':
    case 'u':
    case 'x':
    case 'X': add_unsigned(L, b, &spec, arg, conversion); break;
    case 'e':
    case 'E':
    case 'f':
    case 'g':
    case 'G': add_float(b, &spec, lib_checknumber(L, arg), conversion); break;
    case 'q': add_quoted(L, b, arg); break;
    case 's': add_string(L, b, &spec, arg); break;
    case '*':
        if (spec.any)
            luaL_error(L, "'%%*' does not take a form");
        luaL_addvalueany(b, arg);
        break;
    case '\0': /* the message ends there as C strings do */ luaL_error(L, "invalid option '%%");
    default: luaL_error(L, "invalid option '%%%c' to 'format'", conversion);
    }
    return p;
}

int luStr_format(lua_State *L)
{
    int top = lua_gettop(L), arg = 1;
    size_t length;
    const char *p = luStr_check(L, 1, &length);
    const char *end = p + length;
    luaL_Strbuf b;
    luaL_buffinit(L, &b);
    for (int directives = 1;; directives++) {
        const char *percent = luY_find(p, '%', (size_t)(end - p));
        luaL_addlstring(&b, p, (size_t)((percent ? percent : end) - p));
        if (!percent)
            break;
        p = percent + 1;
        if (*p == '%') {
            luaL_addchar(&b, '%');
            p++;
        } else {
            if (++arg > top)
                luaL_error(L, "missing argument #%d", arg);
            p = add_directive(L, &b, p, arg);
        }
        if (directives % DIRECTIVES_PER_POLL == 0)
            luY_poll(L);
    }
    luaL_pushresult(&b);
    return 1;
}
