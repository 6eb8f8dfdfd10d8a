/* The writer of JSON text. */
#include <math.h>

#include "base/jsontext.h"
#include "base/num.h"

/* Bytes that a string cannot hold as they are. */
BASE_INLINE bool is_special(unsigned char c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

static void put_escape(Strbuf *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    size_t length = 2;
    switch (c) {
    case '"':
    case '\\': text[1] = (char)c; break;
    case '\b': text[1] = 'b'; break;
    case '\f': text[1] = 'f'; break;
    case '\n': text[1] = 'n'; break;
    case '\r': text[1] = 'r'; break;
    case '\t': text[1] = 't'; break;
    default: length = 6; break;
    }
    strbuf_put(out, text, length);
}

/* Runs without special bytes are copied whole. */
void json_put_escaped(Strbuf *out, const char *data, size_t length)
{
    const char *p = data, *end = data + length;
    while (p < end) {
        const char *run = p;
        while (end - p >= 8) {
            uint64_t bytes;
            memcpy(&bytes, p, 8);
            const uint64_t ones = 0x0101010101010101ull, highs = 0x8080808080808080ull;
            /* A byte of 0x80 and above may hide none of these: it only stops the fast way if one
             * of its neighbours borrows from it. */
            uint64_t quotes = bytes ^ (ones * '"'), slashes = bytes ^ (ones * '\\');
            uint64_t hits = ((quotes - ones) & ~quotes) | ((slashes - ones) & ~slashes) |
                            ((bytes - ones * 0x20) & ~bytes);
            if (hits & highs)
                break;
            p += 8;
        }
        while (p < end && !is_special((unsigned char)*p))
            p++;
        strbuf_put(out, run, (size_t)(p - run));
        if (p < end)
            put_escape(out, (unsigned char)*p++);
        if (out->failed)
            return;
    }
}

bool json_put_string(Strbuf *out, const char *data, size_t length, size_t *bad_offset)
{
    *bad_offset = json_utf8_valid(data, length);
    if (*bad_offset != length)
        return false;
    strbuf_putc(out, '"');
    json_put_escaped(out, data, length);
    strbuf_putc(out, '"');
    return true;
}

void json_put_lossy(Strbuf *out, const char *data, size_t length)
{
    strbuf_putc(out, '"');
    while (length > 0) {
        size_t valid = json_utf8_valid(data, length);
        json_put_escaped(out, data, valid);
        data += valid;
        length -= valid;
        if (length > 0) {
            strbuf_puts(out, "\xEF\xBF\xBD");
            data++;
            length--;
        }
    }
    strbuf_putc(out, '"');
}

size_t json_format_u64(uint64_t value, char *out)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    for (size_t i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    return count;
}

size_t json_format_number(double value, char *out)
{
    const double exact_max = 9007199254740992.0; /* 2^53 */
    BASE_DEBUG(value - value == 0);
    char *p = out;
    if (signbit(value)) {
        *p++ = '-';
        value = -value;
    }
    if (value <= exact_max && value == (double)(uint64_t)value)
        return (size_t)(p - out) + json_format_u64((uint64_t)value, p);
    /* 0.d1..dn * 10^point, so that no reader takes it for an integer. */
    char digits[17];
    int point;
    int count = num_shortest(value, digits, &point);
    if (point > -6 && point <= 0) {
        memcpy(p, "0.000000", 8);
        p += 2 - point;
        memcpy(p, digits, (size_t)count);
        return (size_t)(p - out) + (size_t)count;
    }
    if (point > 0 && point < count) {
        memcpy(p, digits, (size_t)point);
        p[point] = '.';
        memcpy(p + point + 1, digits + point, (size_t)(count - point));
        return (size_t)(p - out) + (size_t)count + 1;
    }
    *p++ = digits[0];
    if (count > 1) {
        *p++ = '.';
        memcpy(p, digits + 1, (size_t)count - 1);
        p += count - 1;
    }
    *p++ = 'e';
    int exponent = point - 1;
    if (exponent < 0) {
        *p++ = '-';
        exponent = -exponent;
    }
    return (size_t)(p - out) + json_format_u64((uint64_t)exponent, p);
}

void json_put_number(Strbuf *out, double value)
{
    if (strbuf_reserve(out, JSON_NUMBER_MAX))
        out->length += json_format_number(value, out->data + out->length);
}

void json_put_u64(Strbuf *out, uint64_t value)
{
    if (strbuf_reserve(out, JSON_NUMBER_MAX))
        out->length += json_format_u64(value, out->data + out->length);
}

void json_put_i64(Strbuf *out, int64_t value)
{
    if (value < 0)
        strbuf_putc(out, '-');
    json_put_u64(out, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}
