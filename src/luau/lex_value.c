/* lex_value.c: the values of number and string literals (reference 1.1 to 1.3). */
#include "luau/lex.h"

#include <string.h>

#include "base/num.h"
#include "luau/bytes.h"
#include "luau/fiber.h"

/* Literals may be megabytes long. */
enum { PAUSE_STEPS = 1 << 15 };
#define PAUSE(i)                                                                                   \
    do {                                                                                           \
        if (BASE_UNLIKELY((i) % PAUSE_STEPS == PAUSE_STEPS - 1))                                   \
            luY_pause();                                                                           \
    } while (0)

/* ---- numbers ---- */

static int digit_value(char c)
{
    return luX_is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* Unsigned digits of base 2 or 16 up to the end of the text; *overflow where 64 bits are not
 * enough, then with the largest value. */
static bool read_bits(const char *text, size_t length, int base, uint64_t *value, bool *overflow)
{
    uint64_t v = 0;
    *overflow = false;
    for (size_t i = 0; i < length; i++) {
        if (!luX_is_hex_digit(text[i]) || digit_value(text[i]) >= base)
            return false;
        if (v > (UINT64_MAX >> (base == 16 ? 4 : 1)))
            *overflow = true;
        v = v * (uint64_t)base + (uint64_t)digit_value(text[i]);
        PAUSE(i);
    }
    *value = *overflow ? UINT64_MAX : v;
    return length > 0;
}

/* 16 or 2 for a text with that prefix, else 10. */
static int base_of(const char *text, size_t length)
{
    if (length > 2 && text[0] == '0') {
        if (text[1] == 'x' || text[1] == 'X')
            return 16;
        if (text[1] == 'b' || text[1] == 'B')
            return 2;
    }
    return 10;
}

/* Without the suffix. Binary and hexadecimal ones give the bits, so also negative integers. */
static NumberStatus integer_value(const char *text, size_t length, int64_t *value)
{
    int base = base_of(text, length);
    uint64_t bits = 0;
    bool overflow = false;
    if (base != 10) {
        if (!read_bits(text + 2, length - 2, base, &bits, &overflow))
            return NUMBER_BAD_INTEGER;
    } else {
        for (size_t i = 0; i < length; i++) {
            if (!luX_is_digit(text[i]))
                return NUMBER_BAD_INTEGER;
            if (bits > (INT64_MAX - (uint64_t)(text[i] - '0')) / 10)
                overflow = true;
            bits = bits * 10 + (uint64_t)(text[i] - '0');
            PAUSE(i);
        }
    }
    *value = (int64_t)bits;
    return overflow ? NUMBER_OVERFLOW : NUMBER_INTEGER;
}

NumberStatus luX_number_value(Arena *arena, const Token *token, double *value, int64_t *integer)
{
    char small[64];
    char *text = token->length < sizeof(small) ? small : luA_alloc(arena, token->length + 1u);
    size_t length = 0;
    for (uint32_t i = 0; i < token->length; i++) {
        if (token->data[i] != '_')
            text[length++] = token->data[i];
        PAUSE(i);
    }
    text[length] = 0;
    *value = 0;
    if (text[length - 1] == 'i')
        return integer_value(text, length - 1, integer);
    int base = base_of(text, length);
    if (base != 10) {
        uint64_t bits = 0;
        bool overflow;
        if (!read_bits(text + 2, length - 2, base, &bits, &overflow))
            return NUMBER_MALFORMED;
        *value = (double)bits;
        return NUMBER_OK;
    }
    const char *end;
    *value = num_read_decimal_paused(text, length, &end, luY_pause);
    return end == text + length ? NUMBER_OK : NUMBER_MALFORMED;
}

/* ---- strings ---- */

static size_t put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    int follow = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char leads[] = {0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(leads[follow] | code >> (6 * follow));
    for (int i = 1; i <= follow; i++)
        out[i] = (char)(0x80 | ((code >> (6 * (follow - i))) & 0x3f));
    return (size_t)follow + 1;
}

static char plain_escape(char c)
{
    switch (c) {
    case 'a': return '\a';
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'v': return '\v';
    default: return c;
    }
}

/* The functions below read one escape: *in is after its letter and is moved past it, *out likewise
 * where its bytes go. An escape is never shorter than what it stands for. */
static bool escape_hex(const char **in, const char *end, char **out)
{
    if (end - *in < 2 || !luX_is_hex_digit((*in)[0]) || !luX_is_hex_digit((*in)[1]))
        return false;
    *(*out)++ = (char)(digit_value((*in)[0]) * 16 + digit_value((*in)[1]));
    *in += 2;
    return true;
}

static bool escape_decimal(const char **in, const char *end, char **out)
{
    int code = 0;
    for (int i = 0; i < 3 && *in < end && luX_is_digit(**in); i++)
        code = code * 10 + (*(*in)++ - '0');
    if (code > 255)
        return false;
    *(*out)++ = (char)code;
    return true;
}

static bool escape_unicode(const char **in, const char *end, char **out)
{
    enum { MAX_DIGITS = 16, MAX_CODE = 0x10ffff };
    const char *s = *in;
    uint32_t code = 0;
    int digits = 0;
    if (s == end || *s++ != '{')
        return false;
    for (; s < end && luX_is_hex_digit(*s); s++) {
        if (++digits > MAX_DIGITS)
            return false;
        code = code * 16 + (uint32_t)digit_value(*s);
        if (code > MAX_CODE)
            code = MAX_CODE + 1;
    }
    if (digits == 0 || s == end || *s++ != '}' || code > MAX_CODE)
        return false;
    *out += put_utf8(*out, code);
    *in = s;
    return true;
}

static bool escape(const char **in, const char *end, char **out)
{
    char c = **in;
    if (luX_is_digit(c))
        return escape_decimal(in, end, out);
    ++*in;
    switch (c) {
    case 'x': return escape_hex(in, end, out);
    case 'u': return escape_unicode(in, end, out);
    case 'z':
        while (*in < end && luX_is_space(**in)) {
            ++*in;
            PAUSE((uintptr_t)*in);
        }
        return true;
    case '\r':
        if (*in < end && **in == '\n')
            ++*in;
        *(*out)++ = '\n';
        return true;
    default: *(*out)++ = plain_escape(c); return true;
    }
}

static bool unescape(const char *in, const char *end, char **out)
{
    int countdown = PAUSE_STEPS;
    while (in < end) {
        if (*in != '\\') {
            *(*out)++ = *in++;
            PAUSE((uintptr_t)in);
            continue;
        }
        if (++in == end || !escape(&in, end, out))
            return false;
        if (--countdown == 0) {
            countdown = PAUSE_STEPS;
            luY_pause();
        }
    }
    return true;
}

static void copy_long(const char *in, const char *end, char **out)
{
    if (end - in >= 2 && in[0] == '\r' && in[1] == '\n')
        in += 2;
    else if (in < end && *in == '\n')
        in++;
    for (; in < end; in++) {
        if (*in == '\r' && in + 1 < end && in[1] == '\n')
            in++;
        *(*out)++ = *in;
        PAUSE((uintptr_t)in);
    }
}

bool luX_string_value(Arena *arena, const Token *token, const char **data, uint32_t *length)
{
    const char *in = token->data, *end = in + token->length;
    bool is_long = token->kind == TK_RAW_STRING;
    *data = in;
    *length = token->length;
    if (!is_long && !luY_find(in, '\\', token->length)) {
        char *copy = luA_alloc(arena, token->length + 1u);
        luY_copy(copy, in, token->length);
        copy[token->length] = 0;
        *data = copy;
        return true;
    }
    char *start = luA_alloc(arena, token->length + 1u), *out = start;
    if (is_long)
        copy_long(in, end, &out);
    else if (!unescape(in, end, &out))
        return false;
    *out = 0;
    *data = start;
    *length = (uint32_t)(out - start);
    return true;
}
