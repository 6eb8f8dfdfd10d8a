/* str.c: strings: making, hashing, comparing (str.h). */
#include "luau/str.h"

#include "luau/bytes.h"
#include "luau/fiber.h"
#include "luau/heap.h"

static uint32_t rotate_right(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

enum { WORDS_PER_PAUSE = 1 << 14 };

uint32_t luS_hash(const char *data, size_t length)
{
    uint32_t a = 0, b = 0, h = (uint32_t)length;
    for (int turns = 1; length >= 32; data += 12, length -= 12, turns++) {
        uint32_t words[3];
        memcpy(words, data, sizeof(words));
        a += words[0];
        b += words[1];
        h += words[2];
        a ^= h;
        a -= rotate_right(h, 14);
        b ^= a;
        b -= rotate_right(a, 11);
        h ^= b;
        h -= rotate_right(b, 25);
        if (BASE_UNLIKELY(turns % WORDS_PER_PAUSE == 0))
            luY_pause();
    }
    while (length > 0)
        h ^= (h << 5) + (h >> 2) + (uint8_t)data[--length];
    return h;
}

/* ---- SipHash-1-3 ----------------------------------------------------------------------------- */

static uint64_t rotate_left(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate_left(v[1], 13) ^ v[0];
    v[3] = rotate_left(v[3], 16) ^ v[2];
    v[0] = rotate_left(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate_left(v[1], 17) ^ v[2];
    v[3] = rotate_left(v[3], 21) ^ v[0];
    v[2] = rotate_left(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

uint64_t luS_keyedhash(const uint64_t key[2], const void *data, size_t length)
{
    const char *bytes = data;
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull,
                     key[0] ^ 0x6c7967656e657261ull, key[1] ^ 0x7465646279746573ull};
    uint64_t word;
    for (size_t rest = length; rest >= 8; rest -= 8, bytes += 8) {
        memcpy(&word, bytes, 8);
        sip_word(v, word);
    }
    word = 0;
    memcpy(&word, bytes, length & 7);
    sip_word(v, word | (uint64_t)length << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- strings --------------------------------------------------------------------------------- */

String *luS_room(lua_State *L, size_t length)
{
    BASE_ASSERT(length <= LUAU_STRING_MAX);
    String *s = luH_object(L, string_size(length), OBJ_STRING);
    s->flags = 0;
    s->reserved = 0;
    s->length = (uint32_t)length;
    s->hash = 0;
    s->data[length] = '\0';
    return s;
}

String *luS_new(lua_State *L, const char *data, size_t length)
{
    String *s = luS_room(L, length);
    luY_copy(s->data, data, length);
    return s;
}

bool luS_equalbytes(const String *a, const String *b)
{
    if ((a->flags & b->flags & STRING_HASHED) && a->hash != b->hash)
        return false;
    return a->length == b->length && luY_compare(a->data, b->data, a->length) == 0;
}

int luS_compare(const String *a, const String *b)
{
    uint32_t shorter = a->length < b->length ? a->length : b->length;
    int order = luY_compare(a->data, b->data, shorter);
    if (order != 0)
        return order;
    return a->length < b->length ? -1 : a->length > b->length;
}
