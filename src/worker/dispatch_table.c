#include "worker/dispatch_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

static inline uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static inline void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* SipHash-1-3: keyed, so its collisions cannot be looked for without the seed. */
uint64_t dispatch_hash(const DispatchSeed *seed, const void *data, size_t length)
{
    const unsigned char *p = data;
    uint64_t v[4] = {
        seed->words[0] ^ UINT64_C(0x736f6d6570736575),
        seed->words[1] ^ UINT64_C(0x646f72616e646f6d),
        seed->words[0] ^ UINT64_C(0x6c7967656e657261),
        seed->words[1] ^ UINT64_C(0x7465646279746573),
    };
    size_t left = length;
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        sip_word(v, word);
    }
    uint64_t last = (uint64_t)length << 56;
    for (size_t i = 0; i < left; i++)
        last |= (uint64_t)p[i] << (8 * i);
    sip_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void dispatch_table_free(DispatchTable *table)
{
    free(table->slots);
    *table = (DispatchTable){0};
}

bool dispatch_table_reserve(DispatchTable *table, size_t more)
{
    size_t wanted = table->count + more;
    size_t capacity = table->capacity ? table->capacity : 16;
    while (capacity - capacity / 4 < wanted)
        capacity *= 2;
    if (capacity == table->capacity)
        return true;
    DispatchTable larger = {.capacity = capacity};
    larger.slots = calloc(capacity, sizeof(*larger.slots));
    if (!larger.slots)
        return false;
    for (size_t i = 0; i < table->capacity; i++)
        if (table->slots[i].value)
            dispatch_table_put(&larger, table->slots[i].hash, table->slots[i].value);
    free(table->slots);
    *table = larger;
    return true;
}

void *dispatch_table_find(const DispatchTable *table, uint64_t hash,
                          bool (*same)(const void *value, const void *key), const void *key)
{
    if (table->capacity == 0)
        return NULL;
    size_t mask = table->capacity - 1;
    for (size_t i = (size_t)hash & mask; table->slots[i].value; i = (i + 1) & mask)
        if (table->slots[i].hash == hash && same(table->slots[i].value, key))
            return table->slots[i].value;
    return NULL;
}

void dispatch_table_put(DispatchTable *table, uint64_t hash, void *value)
{
    BASE_ASSERT(table->count < table->capacity);
    size_t mask = table->capacity - 1;
    size_t i = (size_t)hash & mask;
    while (table->slots[i].value)
        i = (i + 1) & mask;
    table->slots[i] = (DispatchSlot){hash, value};
    table->count++;
}

void dispatch_table_remove(DispatchTable *table, uint64_t hash, const void *value)
{
    size_t mask = table->capacity - 1;
    size_t i = (size_t)hash & mask;
    while (table->slots[i].value != value) {
        BASE_ASSERT(table->slots[i].value);
        i = (i + 1) & mask;
    }
    /* Entries behind the hole move up unless they sit at or after their home. */
    for (size_t next = (i + 1) & mask; table->slots[next].value; next = (next + 1) & mask) {
        size_t home = (size_t)table->slots[next].hash & mask;
        if (((next - home) & mask) >= ((next - i) & mask)) {
            table->slots[i] = table->slots[next];
            i = next;
        }
    }
    table->slots[i] = (DispatchSlot){0};
    table->count--;
}
