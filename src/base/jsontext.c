/* The reader of JSON text. Bottom-up: bytes, strings, numbers, containers, whole values. */
#include "base/jsontext.h"

#include <stdio.h>

#include "base/num.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* ---- Bytes ------------------------------------------------------------------------------------
 */

bool json_fail(JsonReader *r, const char *at, const char *message)
{
    if (!r->error) {
        r->error = message;
        r->error_at = at;
    }
    return false;
}

BASE_INLINE void skip_blanks(JsonReader *r)
{
    const char *p = r->p;
    while (p < r->end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
        if (BASE_UNLIKELY(p - r->p >= JSON_POLL_BYTES)) {
            r->p = p;
            if (r->poll)
                r->poll(r->poll_arg);
        }
    }
    r->p = p;
}

/* First byte from p on that is a quote, a backslash, a control character or not ASCII; or end. */
BASE_INLINE const char *scan_plain(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i backslash = _mm_set1_epi8('\\');
    const __m128i control = _mm_set1_epi8(0x1F);
    while (end - p >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i hits = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash));
        hits = _mm_or_si128(hits, _mm_cmpeq_epi8(_mm_max_epu8(bytes, control), control));
        unsigned mask = (unsigned)_mm_movemask_epi8(_mm_or_si128(hits, bytes));
        if (mask != 0)
            return p + __builtin_ctz(mask);
        p += 16;
    }
#else
    while (end - p >= 8) {
        uint64_t bytes;
        memcpy(&bytes, p, 8);
        const uint64_t ones = 0x0101010101010101ull, highs = 0x8080808080808080ull;
        uint64_t quotes = bytes ^ (ones * '"'), slashes = bytes ^ (ones * '\\');
        uint64_t hits = (quotes - ones) | (slashes - ones) | (bytes - ones * 0x20) | bytes;
        if (hits & highs)
            break;
        p += 8;
    }
#endif
    while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' &&
           *p != '\\')
        p++;
    return p;
}

/* Length of the well-formed UTF-8 sequence at p whose first byte is not ASCII, or 0. */
static size_t utf8_sequence(const unsigned char *p, const unsigned char *end)
{
    size_t room = (size_t)(end - p);
    unsigned c = p[0];
    unsigned low = 0x80, high = 0xBF;
    size_t length;
    if (c >= 0xC2 && c <= 0xDF) {
        length = 2;
    } else if (c >= 0xE0 && c <= 0xEF) {
        length = 3;
        low = c == 0xE0 ? 0xA0 : 0x80;
        high = c == 0xED ? 0x9F : 0xBF; /* no surrogates */
    } else if (c >= 0xF0 && c <= 0xF4) {
        length = 4;
        low = c == 0xF0 ? 0x90 : 0x80;
        high = c == 0xF4 ? 0x8F : 0xBF;
    } else {
        return 0;
    }
    if (room < length || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (p[i] < 0x80 || p[i] > 0xBF)
            return 0;
    return length;
}

size_t json_utf8_valid(const char *data, size_t length)
{
    const unsigned char *p = (const unsigned char *)data, *end = p + length;
    while (p < end) {
        uint64_t bytes;
        if (end - p >= 8 && (memcpy(&bytes, p, 8), (bytes & 0x8080808080808080ull) == 0)) {
            p += 8;
        } else if (*p < 0x80) {
            p++;
        } else {
            size_t count = utf8_sequence(p, end);
            if (count == 0)
                return (size_t)(p - (const unsigned char *)data);
            p += count;
        }
    }
    return length;
}

/* ---- Strings ----------------------------------------------------------------------------------
 */

/* Value of four hex digits, or -1. */
static int hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned c = (unsigned char)p[i], lower = c | 0x20;
        if (c >= '0' && c <= '9')
            value = value * 16 + (int)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            value = value * 16 + (int)(lower - 'a' + 10);
        else
            return -1;
    }
    return value;
}

/* p stands on a backslash: the place behind the escape, or NULL with the error set. */
static const char *check_escape(JsonReader *r, const char *p)
{
    if (r->end - p < 2) {
        json_fail(r, r->end, "unterminated string");
        return NULL;
    }
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't': return p + 2;
    case 'u': {
        int unit = hex4(p + 2, r->end);
        if (unit < 0) {
            json_fail(r, p, "\\u needs four hexadecimal digits");
            return NULL;
        }
        if (unit < 0xD800 || unit > 0xDFFF)
            return p + 6;
        if (unit <= 0xDBFF && r->end - p >= 12 && p[6] == '\\' && p[7] == 'u') {
            int second = hex4(p + 8, r->end);
            if (second >= 0xDC00 && second <= 0xDFFF)
                return p + 12;
        }
        json_fail(r, p, "lone surrogate in a string");
        return NULL;
    }
    default: json_fail(r, p, "unknown escape in a string"); return NULL;
    }
}

bool json_string(JsonReader *r, JsonString *string)
{
    if (r->error)
        return false;
    if (r->p >= r->end || *r->p != '"')
        return json_fail(r, r->p, "expected a string");
    const char *p = r->p + 1;
    const char *polled = p;
    string->data = p;
    string->escaped = false;
    for (;;) {
        if (BASE_UNLIKELY(p - polled >= JSON_POLL_BYTES) && r->poll) {
            r->poll(r->poll_arg);
            polled = p;
        }
        const char *limit = r->end - p > JSON_POLL_BYTES ? p + JSON_POLL_BYTES : r->end;
        p = scan_plain(p, limit);
        if (p == limit && p != r->end)
            continue;
        if (p == r->end)
            return json_fail(r, p, "unterminated string");
        unsigned char c = (unsigned char)*p;
        if (c == '"')
            break;
        if (c == '\\') {
            string->escaped = true;
            p = check_escape(r, p);
            if (!p)
                return false;
        } else if (c < 0x20) {
            return json_fail(r, p, "control character in a string");
        } else {
            size_t count = utf8_sequence((const unsigned char *)p, (const unsigned char *)r->end);
            if (count == 0)
                return json_fail(r, p, "invalid UTF-8 in a string");
            p += count;
        }
    }
    string->length = (size_t)(p - string->data);
    r->p = p + 1;
    return true;
}

static size_t utf8_length(unsigned code)
{
    return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

size_t json_unescaped_length(const JsonString *string)
{
    size_t length = string->length;
    const char *p = string->data, *end = p + string->length;
    while ((p = memchr(p, '\\', (size_t)(end - p))) != NULL) {
        if (p[1] != 'u') {
            length -= 1;
            p += 2;
            continue;
        }
        unsigned code = (unsigned)hex4(p + 2, end);
        bool pair = code >= 0xD800 && code <= 0xDBFF;
        length -= pair ? 12 - 4 : 6 - utf8_length(code);
        p += pair ? 12 : 6;
    }
    return length;
}

static size_t put_utf8(char *out, unsigned code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | (code >> 6));
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | (code >> 12));
        out[1] = (char)(0x80 | ((code >> 6) & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | (code >> 18));
    out[1] = (char)(0x80 | ((code >> 12) & 0x3F));
    out[2] = (char)(0x80 | ((code >> 6) & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

size_t json_unescape(const JsonString *string, char *out)
{
    const char *p = string->data, *end = p + string->length;
    char *to = out;
    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((escape ? escape : end) - p);
        memmove(to, p, plain);
        to += plain;
        if (!escape)
            break;
        p = escape + 2;
        switch (escape[1]) {
        case 'b': *to++ = '\b'; break;
        case 'f': *to++ = '\f'; break;
        case 'n': *to++ = '\n'; break;
        case 'r': *to++ = '\r'; break;
        case 't': *to++ = '\t'; break;
        case 'u': {
            unsigned code = (unsigned)hex4(p, end);
            p += 4;
            if (code >= 0xD800 && code <= 0xDBFF) { /* json_string saw the second half */
                code = 0x10000 + ((code - 0xD800) << 10) + ((unsigned)hex4(p + 2, end) - 0xDC00);
                p += 6;
            }
            to += put_utf8(to, code);
            break;
        }
        default: *to++ = escape[1]; break;
        }
    }
    return (size_t)(to - out);
}

bool json_equals(const JsonString *string, const char *text)
{
    size_t length = strlen(text);
    if (!string->escaped)
        return string->length == length && memcmp(string->data, text, length) == 0;
    char plain[256];
    if (string->length > sizeof(plain))
        return false; /* no name in any interface of ours is that long, escapes or not */
    return json_unescape(string, plain) == length && memcmp(plain, text, length) == 0;
}

/* ---- Numbers ----------------------------------------------------------------------------------
 */

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

static bool read_double(JsonReader *r, const char *stop, JsonNumber *number)
{
    const char *used;
    number->kind = JSON_DOUBLE;
    number->d = num_read_decimal(r->p, (size_t)(stop - r->p), &used);
    BASE_ASSERT(used == stop);
    if (number->d - number->d != 0)
        return json_fail(r, r->p, "number out of range");
    r->p = stop;
    return true;
}

bool json_number(JsonReader *r, JsonNumber *number)
{
    if (r->error)
        return false;
    const char *p = r->p, *end = r->end;
    bool negative = p < end && *p == '-';
    p += negative;
    const char *digits = p;
    p = skip_digits(p, end);
    if (p == digits)
        return json_fail(r, r->p, "expected a value");
    if (*digits == '0' && p - digits > 1)
        return json_fail(r, digits, "a number must not begin with 0");
    const char *integer_end = p;
    if (p < end && *p == '.') {
        const char *fraction = p + 1;
        p = skip_digits(fraction, end);
        if (p == fraction)
            return json_fail(r, p, "expected a digit behind the point");
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        const char *exponent = p;
        p = skip_digits(p, end);
        if (p == exponent)
            return json_fail(r, p, "expected a digit in the exponent");
    }
    if (p - r->p > JSON_NUMBER_TEXT_MAX)
        return json_fail(r, r->p, "number too long");
    size_t count = (size_t)(integer_end - digits);
    if (p != integer_end || count > 20)
        return read_double(r, p, number);
    uint64_t value = 0;
    bool fits = true;
    for (const char *digit = digits; digit < integer_end; digit++)
        fits = fits && !__builtin_mul_overflow(value, 10u, &value) &&
               !__builtin_add_overflow(value, (uint64_t)(*digit - '0'), &value);
    if (!fits || (negative && (value == 0 || value > (uint64_t)1 << 63)))
        return read_double(r, p, number);
    r->p = p;
    if (negative) {
        number->kind = JSON_INT64;
        number->i = (int64_t)(0 - value);
    } else if (value <= INT64_MAX) {
        number->kind = JSON_INT64;
        number->i = (int64_t)value;
    } else {
        number->kind = JSON_UINT64;
        number->u = value;
    }
    return true;
}

/* ---- Values and containers --------------------------------------------------------------------
 */

void json_open(JsonReader *r, const char *text, size_t length)
{
    if (length == 0)
        text = ""; /* there may be none */
    *r = (JsonReader){.start = text, .p = text, .end = text + length};
}

JsonKind json_peek(JsonReader *r)
{
    if (r->error)
        return JSON_NONE;
    skip_blanks(r);
    if (r->p == r->end) {
        json_fail(r, r->p, "unexpected end, expected a value");
        return JSON_NONE;
    }
    switch (*r->p) {
    case '"': return JSON_STRING;
    case '{': return JSON_OBJECT;
    case '[': return JSON_ARRAY;
    case 'n': return JSON_NULL;
    case 't': return JSON_TRUE;
    case 'f': return JSON_FALSE;
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9': return JSON_NUMBER;
    default: json_fail(r, r->p, "expected a value"); return JSON_NONE;
    }
}

bool json_literal(JsonReader *r)
{
    if (r->error)
        return false;
    size_t room = (size_t)(r->end - r->p);
    if (room >= 4 && (memcmp(r->p, "null", 4) == 0 || memcmp(r->p, "true", 4) == 0)) {
        r->p += 4;
        return true;
    }
    if (room >= 5 && memcmp(r->p, "false", 5) == 0) {
        r->p += 5;
        return true;
    }
    return json_fail(r, r->p, "expected a value");
}

bool json_enter(JsonReader *r)
{
    if (r->error)
        return false;
    bool object = *r->p == '{';
    if (!object && *r->p != '[')
        return json_fail(r, r->p, "expected an array or an object");
    if (r->depth == JSON_DEPTH_MAX)
        return json_fail(r, r->p, "nested more than 64 deep");
    uint64_t bit = (uint64_t)1 << r->depth;
    r->objects = object ? r->objects | bit : r->objects & ~bit;
    r->depth++;
    r->first = true;
    r->p++;
    return true;
}

/* Handles the comma before the next item, or the end of the container. */
static bool next_item(JsonReader *r, char close, const char *expected)
{
    if (r->error)
        return false;
    skip_blanks(r);
    if (r->p == r->end)
        return json_fail(r, r->p, "unexpected end");
    if (*r->p == close) {
        r->p++;
        r->depth--;
        r->first = false;
        return false;
    }
    if (r->first) {
        r->first = false;
        return true;
    }
    if (*r->p != ',')
        return json_fail(r, r->p, expected);
    r->p++;
    skip_blanks(r);
    if (r->p < r->end && *r->p == close)
        return json_fail(r, r->p, "a comma must not stand before the end");
    return true;
}

bool json_element(JsonReader *r)
{
    return next_item(r, ']', "expected ',' or ']'");
}

bool json_member(JsonReader *r, JsonString *key)
{
    if (!next_item(r, '}', "expected ',' or '}'"))
        return false;
    if (r->p == r->end || *r->p != '"')
        return json_fail(r, r->p, "expected a string as name");
    if (!json_string(r, key))
        return false;
    skip_blanks(r);
    if (r->p == r->end || *r->p != ':')
        return json_fail(r, r->p, "expected ':'");
    r->p++;
    return true;
}

bool json_skip(JsonReader *r)
{
    int outer = r->depth;
    JsonString string;
    JsonNumber number;
    for (;;) {
        switch (json_peek(r)) {
        case JSON_NONE: return false;
        case JSON_STRING: json_string(r, &string); break;
        case JSON_NUMBER: json_number(r, &number); break;
        case JSON_ARRAY:
        case JSON_OBJECT: json_enter(r); break;
        default: json_literal(r); break;
        }
        while (!r->error && r->depth > outer) {
            bool object = (r->objects >> (r->depth - 1)) & 1;
            if (object ? json_member(r, &string) : json_element(r))
                break;
        }
        if (r->error)
            return false;
        if (r->depth == outer)
            return true;
    }
}

bool json_end(JsonReader *r)
{
    if (r->error)
        return false;
    skip_blanks(r);
    if (r->p != r->end)
        return json_fail(r, r->p, "unexpected text behind the value");
    return true;
}

void json_describe(const JsonReader *r, char *text, size_t size)
{
    unsigned long line = 1, column = 1;
    for (const char *p = r->start; r->error_at && p < r->error_at; p++) {
        if (*p == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)*p & 0xC0) != 0x80) {
            column++;
        }
    }
    snprintf(text, size, "line %lu, column %lu: %s", line, column, r->error ? r->error : "");
}
