/* string.pack, packsize, unpack: values as the bytes of C structures. */
#include <math.h>
#include <string.h>

#include "luau/lib/lib_string.h"

enum {
    INTEGER_BYTES_MAX = 16, /* of an i or I */
    SIZE_MAX_TOTAL = 1 << 30,
    OPTIONS_PER_POLL = 512
};

typedef enum OptionKind {
    OPTION_INT,
    OPTION_UINT,
    OPTION_FLOAT,
    OPTION_DOUBLE,
    OPTION_CHARS,   /* string of fixed size */
    OPTION_STRING,  /* with its length in front */
    OPTION_ZSTRING, /* with a NUL behind */
    OPTION_PADDING, /* a zero byte */
    OPTION_ALIGN,   /* X */
    OPTION_NONE     /* a setting, a blank */
} OptionKind;

typedef struct Format {
    lua_State *L;
    const char *p; /* the rest; ends at the first NUL */
    bool big;      /* big endian */
    int align_max;
    int options; /* so far */
} Format;

/* One option with what precedes it. */
typedef struct Option {
    OptionKind kind;
    int size;  /* bytes; STRING: of the length */
    int align; /* padding bytes before it */
} Option;

static void format_init(Format *f, lua_State *L, const char *text)
{
    *f = (Format){.L = L, .p = text, .align_max = 1};
}

/* Decimal number, or def if there is none. */
static int read_number(Format *f, int def)
{
    if (!luStr_isdigit(*f->p))
        return def;
    int n = 0;
    do
        n = n * 10 + (*f->p++ - '0');
    while (luStr_isdigit(*f->p) && n <= (SIZE_MAX_TOTAL - 9) / 10);
    if (n > SIZE_MAX_TOTAL || luStr_isdigit(*f->p))
        luaL_error(f->L, "size specifier is too large");
    return n;
}

static int read_integer_size(Format *f, int def)
{
    int n = read_number(f, def);
    if (n < 1 || n > INTEGER_BYTES_MAX)
        luaL_error(f->L, "integral size (%d) out of limits [1,%d]", n, INTEGER_BYTES_MAX);
    return n;
}

static OptionKind option_of(OptionKind kind, int *size, int value)
{
    *size = value;
    return kind;
}

/* Reads one option letter with its size. */
static OptionKind read_letter(Format *f, int *size)
{
    *size = 0;
    char c = *f->p++;
    switch (c) {
    case 'b': return option_of(OPTION_INT, size, 1);
    case 'B': return option_of(OPTION_UINT, size, 1);
    case 'h': return option_of(OPTION_INT, size, 2);
    case 'H': return option_of(OPTION_UINT, size, 2);
    case 'l': return option_of(OPTION_INT, size, 8);
    case 'L': return option_of(OPTION_UINT, size, 8);
    case 'j': return option_of(OPTION_INT, size, 4);
    case 'J':
    case 'T': return option_of(OPTION_UINT, size, 4);
    case 'i': return option_of(OPTION_INT, size, read_integer_size(f, 4));
    case 'I': return option_of(OPTION_UINT, size, read_integer_size(f, 4));
    case 'f': return option_of(OPTION_FLOAT, size, 4);
    case 'd':
    case 'n': return option_of(OPTION_DOUBLE, size, 8);
    case 's': return option_of(OPTION_STRING, size, read_integer_size(f, 4));
    case 'z': return OPTION_ZSTRING;
    case 'x': return option_of(OPTION_PADDING, size, 1);
    case 'X': return OPTION_ALIGN;
    case 'c':
        *size = read_number(f, -1);
        if (*size < 0)
            luaL_error(f->L, "missing size for format option 'c'");
        return OPTION_CHARS;
    case '!': f->align_max = read_integer_size(f, 8); break;
    case '<':
    case '=': f->big = false; break;
    case '>': f->big = true; break;
    case ' ': break;
    default: luaL_error(f->L, "invalid format option '%c'", c);
    }
    return OPTION_NONE;
}

/* Reads the next option; total: bytes before it. false at the end of the format. */
static bool read_option(Format *f, size_t total, Option *option)
{
    if (*f->p == '\0')
        return false;
    if (++f->options % OPTIONS_PER_POLL == 0)
        luY_poll(f->L);
    option->kind = read_letter(f, &option->size);
    option->align = 0;
    int align = option->size;
    if (option->kind == OPTION_ALIGN) {
        if (*f->p == '\0' || read_letter(f, &align) == OPTION_CHARS || align == 0)
            luaL_argerror(f->L, 1, "invalid next option for option 'X'");
    }
    if (align <= 1 || option->kind == OPTION_CHARS)
        return true;
    if (align > f->align_max)
        align = f->align_max;
    if (align & (align - 1))
        luaL_argerror(f->L, 1, "format asks for alignment not power of 2");
    option->align = (int)(0 - total) & (align - 1);
    return true;
}

/* ---- pack ---- */

/* Adds `size` bytes of n; beyond 8 bytes the sign goes on if `negative`. */
static void add_integer(luaL_Strbuf *b, uint64_t n, bool big, int size, bool negative)
{
    char *p = luaL_prepbuffsize(b, INTEGER_BYTES_MAX);
    for (int i = 0; i < size; i++) {
        p[big ? size - 1 - i : i] = i < 8 ? (char)(n & 0xFF) : negative ? '\xFF' : '\0';
        n >>= 8;
    }
    b->p = p + size;
}

static void add_zeros(luaL_Strbuf *b, size_t count)
{
    while (count > 0) { /* in pieces: the string itself is as long as the caller wishes */
        size_t piece = count < STRING_POLL_BYTES ? count : STRING_POLL_BYTES;
        memset(luaL_prepbuffsize(b, piece), 0, piece);
        b->p += piece;
        count -= piece;
        if (count)
            luY_poll(b->L);
    }
}

static void pack_integer(Format *f, luaL_Strbuf *b, const Option *option, int arg)
{
    int64_t n = luStr_toint64(lib_checknumber(f->L, arg));
    if (option->kind == OPTION_INT) {
        if (option->size < 8) {
            int64_t limit = (int64_t)1 << (option->size * 8 - 1);
            luaL_argcheck(f->L, -limit <= n && n < limit, arg, "integer overflow");
        }
        add_integer(b, (uint64_t)n, f->big, option->size, n < 0);
        return;
    }
    if (option->size < 8)
        luaL_argcheck(f->L, (uint64_t)n >> (option->size * 8) == 0, arg, "unsigned overflow");
    add_integer(b, (uint64_t)n, f->big, option->size, false);
}

/* CHARS, STRING, ZSTRING. Returns the bytes added. */
static size_t pack_string(Format *f, luaL_Strbuf *b, const Option *option, int arg)
{
    lua_State *L = f->L;
    size_t length, total;
    const char *s = luStr_check(L, arg, &length);
    if (option->kind == OPTION_CHARS) {
        total = (size_t)option->size;
        luaL_argcheck(L, length <= total, arg, "string longer than given size");
    } else if (option->kind == OPTION_STRING) {
        luaL_argcheck(L, option->size >= 4 || length >> (option->size * 8) == 0, arg,
                      "string length does not fit in given size");
        add_integer(b, length, f->big, option->size, false);
        total = length;
    } else {
        luaL_argcheck(L, !memchr(s, '\0', length), arg, "string contains zeros");
        total = length + 1;
    }
    luaL_addlstring(b, s, length);
    add_zeros(b, total - length);
    return total + (option->kind == OPTION_STRING ? (size_t)option->size : 0);
}

int luStr_pack(lua_State *L)
{
    Format f;
    Option option;
    luaL_Strbuf b;
    format_init(&f, L, luaL_checkstring(L, 1));
    lua_pushnil(L); /* a missing value is seen as nil */
    luaL_buffinit(L, &b);
    int arg = 1;
    size_t total = 0;
    while (read_option(&f, total, &option)) {
        add_zeros(&b, (size_t)option.align);
        total += (size_t)option.align;
        switch (option.kind) {
        case OPTION_INT:
        case OPTION_UINT:
            pack_integer(&f, &b, &option, ++arg);
            total += (size_t)option.size;
            break;
        case OPTION_FLOAT: {
            float n = (float)lib_checknumber(L, ++arg);
            uint32_t bits;
            memcpy(&bits, &n, 4);
            add_integer(&b, bits, f.big, 4, false);
            total += 4;
            break;
        }
        case OPTION_DOUBLE: {
            double n = lib_checknumber(L, ++arg);
            uint64_t bits;
            memcpy(&bits, &n, 8);
            add_integer(&b, bits, f.big, 8, false);
            total += 8;
            break;
        }
        case OPTION_CHARS:
        case OPTION_STRING:
        case OPTION_ZSTRING: total += pack_string(&f, &b, &option, ++arg); break;
        case OPTION_PADDING:
            luaL_addchar(&b, '\0');
            total++;
            break;
        case OPTION_ALIGN:
        case OPTION_NONE: break;
        }
    }
    luaL_pushresult(&b);
    return 1;
}

int luStr_packsize(lua_State *L)
{
    Format f;
    Option option;
    format_init(&f, L, luaL_checkstring(L, 1));
    size_t total = 0;
    while (read_option(&f, total, &option)) {
        luaL_argcheck(L, option.kind != OPTION_STRING && option.kind != OPTION_ZSTRING, 1,
                      "variable-length format");
        size_t size = (size_t)option.align + (size_t)option.size;
        luaL_argcheck(L, total + size <= SIZE_MAX_TOTAL, 1, "format result too large");
        total += size;
    }
    lua_pushinteger(L, (int)total);
    return 1;
}

/* ---- unpack ---- */

static uint64_t read_integer(Format *f, const char *p, int size, bool is_signed)
{
    uint64_t n = 0;
    int used = size < 8 ? size : 8;
    for (int i = used - 1; i >= 0; i--)
        n = n << 8 | (unsigned char)p[f->big ? size - 1 - i : i];
    if (size < 8 && is_signed) {
        uint64_t sign = 1ull << (size * 8 - 1);
        n = (n ^ sign) - sign;
    }
    unsigned char filler = is_signed && n >> 63 ? 0xFF : 0;
    for (int i = used; i < size; i++) {
        if ((unsigned char)p[f->big ? size - 1 - i : i] != filler)
            luaL_error(f->L, "%d-byte integer does not fit into Lua Integer", size);
    }
    return n;
}

/* Pushes a floating point number; NaNs from outside lose their payload. */
static void push_float(Format *f, const char *p, int size)
{
    uint64_t bits = read_integer(f, p, size, false);
    double n;
    if (size == 4) {
        uint32_t bits32 = (uint32_t)bits;
        float single;
        memcpy(&single, &bits32, 4);
        n = single;
    } else {
        memcpy(&n, &bits, 8);
    }
    luD_push(f->L, val_anynumber(n));
}

int luStr_unpack(lua_State *L)
{
    Format f;
    Option option;
    size_t length;
    format_init(&f, L, luaL_checkstring(L, 1));
    const char *data = luStr_check(L, 2, &length);
    size_t at = (size_t)luStr_position(lib_optint(L, 3, 1), length) - 1;
    int count = 0;
    luaL_argcheck(L, at <= length, 3, "initial position out of string");
    while (read_option(&f, at, &option)) {
        luaL_argcheck(L, (size_t)option.align + (size_t)option.size <= length - at, 2,
                      "data string too short");
        at += (size_t)option.align;
        luaL_checkstack(L, 2, "too many results");
        const char *p = data + at;
        size_t size = (size_t)option.size;
        count++;
        switch (option.kind) {
        case OPTION_INT:
            lua_pushnumber(L, (double)(int64_t)read_integer(&f, p, option.size, true));
            break;
        case OPTION_UINT: lua_pushnumber(L, (double)read_integer(&f, p, option.size, false)); break;
        case OPTION_FLOAT:
        case OPTION_DOUBLE: push_float(&f, p, option.size); break;
        case OPTION_CHARS: lua_pushlstring(L, p, size); break;
        case OPTION_STRING: {
            uint64_t bytes = read_integer(&f, p, option.size, false);
            luaL_argcheck(L, bytes <= length - at - size, 2, "data string too short");
            lua_pushlstring(L, p + size, (size_t)bytes);
            size += (size_t)bytes;
            break;
        }
        case OPTION_ZSTRING: {
            const char *nul = luY_find(p, '\0', length - at);
            luaL_argcheck(L, nul, 2, "unfinished string for format 'z'");
            lua_pushlstring(L, p, (size_t)(nul - p));
            size = (size_t)(nul - p) + 1;
            break;
        }
        default: count--;
        }
        at += size;
    }
    lua_pushinteger(L, (int)at + 1);
    return count + 1;
}
