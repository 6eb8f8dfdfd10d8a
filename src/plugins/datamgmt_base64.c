/* Base64 (RFC 4648), with its two alphabets. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "plugins/datamgmt.h"

static const char ALPHABETS[2][65] = {
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};
enum { GROUPS_POLL = DATAMGMT_POLL_BYTES / 4 };

static void put_group(const char *alphabet, const unsigned char *from, char *to)
{
    uint32_t bits = (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];
    to[0] = alphabet[bits >> 18];
    to[1] = alphabet[bits >> 12 & 63];
    to[2] = alphabet[bits >> 6 & 63];
    to[3] = alphabet[bits & 63];
}

/* base64encode(data, urlsafe?): the text; that for URLs is not padded. */
int datamgmt_base64encode(lua_State *L)
{
    DataIn in;
    DataOut out;
    datamgmt_check(L, 1, &in);
    bool url = luaL_optboolean(L, 2, 0);
    size_t groups = in.length / 3, rest = in.length % 3;
    size_t tail = rest == 0 ? 0 : url ? rest + 1 : 4;
    datamgmt_open(L, &out, groups * 4 + tail, false);
    const unsigned char *from = (const unsigned char *)in.bytes;
    for (size_t i = 0; i < groups; i++) {
        put_group(ALPHABETS[url], from + 3 * i, out.bytes + 4 * i);
        if (i % GROUPS_POLL == GROUPS_POLL - 1)
            luau_poll(L);
    }
    unsigned char last[3] = {0};
    char text[4];
    memcpy(last, from + 3 * groups, rest);
    put_group(ALPHABETS[url], last, text);
    memset(text + rest + 1, '=', 3 - rest);
    memcpy(out.bytes + 4 * groups, text, tail);
    datamgmt_close(L, &out);
    return 1;
}

/* 64: it is no digit. */
static unsigned digit_of(char c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 26;
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0') + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    return c == (url ? '_' : '/') ? 63 : 64;
}

static void __attribute__((noreturn)) refuse(lua_State *L, size_t place, const char *what)
{
    char text[96];
    snprintf(text, sizeof(text), "no base64: %s at byte %zu", what, place + 1);
    luaL_argerror(L, 1, text);
}

/* The bits of up to four digits from `at` on, on the left of 24. */
static uint32_t read_group(lua_State *L, const DataIn *in, size_t at, size_t count, bool url)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned digit = digit_of(in->bytes[at + i], url);
        if (digit == 64)
            refuse(L, at + i, "a character that does not belong there");
        bits |= digit << (18 - 6 * i);
    }
    return bits;
}

/* Digits, without the padding, which may be absent, but not be wrong. */
static size_t count_digits(lua_State *L, const DataIn *in)
{
    size_t count = in->length;
    for (int i = 0; i < 2 && count > 0 && in->bytes[count - 1] == '='; i++)
        count--;
    if (count % 4 == 1 || (count != in->length && in->length % 4 != 0))
        refuse(L, in->length, "the text ends too early");
    return count;
}

/* base64decode(text, urlsafe?): the bytes, as what the text was. */
int datamgmt_base64decode(lua_State *L)
{
    DataIn in;
    DataOut out;
    datamgmt_check(L, 1, &in);
    bool url = luaL_optboolean(L, 2, 0);
    size_t digits = count_digits(L, &in), groups = digits / 4, rest = digits % 4;
    size_t tail = rest == 0 ? 0 : rest - 1;
    datamgmt_open(L, &out, groups * 3 + tail, in.is_buffer);
    char *to = out.bytes;
    for (size_t i = 0; i < groups; i++, to += 3) {
        uint32_t bits = read_group(L, &in, 4 * i, 4, url);
        to[0] = (char)(bits >> 16);
        to[1] = (char)(bits >> 8);
        to[2] = (char)bits;
        if (i % GROUPS_POLL == GROUPS_POLL - 1)
            luau_poll(L);
    }
    uint32_t bits = read_group(L, &in, 4 * groups, rest, url);
    if (bits << (8 + 8 * tail) != 0)
        refuse(L, digits - 1, "bits that belong to no byte");
    for (size_t i = 0; i < tail; i++)
        to[i] = (char)(bits >> (16 - 8 * i));
    datamgmt_close(L, &out);
    return 1;
}
