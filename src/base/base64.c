#include "base/base64.h"

#include <stdint.h>

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_length(size_t size)
{
    return size / 3 * 4 + (size % 3 ? 4 : 0);
}

void base64_encode(const void *data, size_t size, char *out)
{
    const unsigned char *in = data;
    for (; size >= 3; size -= 3, in += 3) {
        uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        *out++ = ALPHABET[bits >> 18];
        *out++ = ALPHABET[bits >> 12 & 63];
        *out++ = ALPHABET[bits >> 6 & 63];
        *out++ = ALPHABET[bits & 63];
    }
    if (size == 0)
        return;
    uint32_t bits = (uint32_t)in[0] << 16 | (size == 2 ? (uint32_t)in[1] << 8 : 0);
    *out++ = ALPHABET[bits >> 18];
    *out++ = ALPHABET[bits >> 12 & 63];
    *out++ = size == 2 ? ALPHABET[bits >> 6 & 63] : '=';
    *out = '=';
}

/* What a character stands for; -1: it is none of the alphabet. */
static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_check(const char *text, size_t length, size_t *size)
{
    if (length % 4 != 0)
        return false;
    size_t padding = 0;
    while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < length - padding; i++)
        if (digit(text[i]) < 0)
            return false;
    /* Bits that stand for nothing are 0: no two texts mean the same bytes. */
    unsigned unused = padding == 2 ? 15 : padding == 1 ? 3 : 0;
    if (padding > 0 && ((unsigned)digit(text[length - 1 - padding]) & unused) != 0)
        return false;
    *size = length / 4 * 3 - padding;
    return true;
}

void base64_decode(const char *text, size_t length, void *out)
{
    unsigned char *to = out;
    for (; length >= 4; length -= 4, text += 4) {
        uint32_t bits = (uint32_t)digit(text[0]) << 18 | (uint32_t)digit(text[1]) << 12;
        *to++ = (unsigned char)(bits >> 16);
        if (text[2] == '=')
            return;
        bits |= (uint32_t)digit(text[2]) << 6;
        *to++ = (unsigned char)(bits >> 8);
        if (text[3] == '=')
            return;
        *to++ = (unsigned char)(bits | (uint32_t)digit(text[3]));
    }
}
