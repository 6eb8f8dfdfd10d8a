#include "base/idmap.h"

#include <stdlib.h>

#include "base/base.h"

enum { CAPACITY_MIN = 16 };

static size_t home(const IdMap *map, uint64_t id)
{
    uint64_t hash = (id ^ map->seed) * 0x9E3779B97F4A7C15ull;
    hash ^= hash >> 32;
    hash *= 0xD6E8FEB86659FD93ull;
    hash ^= hash >> 32;
    return (size_t)hash & (map->capacity - 1);
}

void idmap_init(IdMap *map, uint64_t seed)
{
    *map = (IdMap){.seed = seed};
}

void idmap_free(IdMap *map)
{
    free(map->slots);
    map->slots = NULL;
    map->count = map->capacity = 0;
}

void *idmap_get(const IdMap *map, uint64_t id)
{
    if (map->capacity == 0)
        return NULL;
    for (size_t i = home(map, id);; i = (i + 1) & (map->capacity - 1)) {
        if (map->slots[i].id == id)
            return map->slots[i].value;
        if (map->slots[i].id == 0)
            return NULL;
    }
}

static void place(IdMap *map, uint64_t id, void *value)
{
    size_t i = home(map, id);
    while (map->slots[i].id != 0 && map->slots[i].id != id)
        i = (i + 1) & (map->capacity - 1);
    if (map->slots[i].id == 0)
        map->count++;
    map->slots[i] = (IdMapSlot){id, value};
}

static bool resize(IdMap *map, size_t capacity)
{
    IdMap other = {.seed = map->seed, .capacity = capacity};
    other.slots = calloc(capacity, sizeof(IdMapSlot));
    if (!other.slots)
        return false;
    for (size_t i = 0; i < map->capacity; i++)
        if (map->slots[i].id != 0)
            place(&other, map->slots[i].id, map->slots[i].value);
    free(map->slots);
    *map = other;
    return true;
}

bool idmap_put(IdMap *map, uint64_t id, void *value)
{
    BASE_ASSERT(id != 0);
    if (map->count >= map->capacity - map->capacity / 4 &&
        !resize(map, map->capacity ? map->capacity * 2 : CAPACITY_MIN))
        return false;
    place(map, id, value);
    return true;
}

void *idmap_remove(IdMap *map, uint64_t id)
{
    if (map->capacity == 0)
        return NULL;
    size_t mask = map->capacity - 1;
    size_t i = home(map, id);
    while (map->slots[i].id != id) {
        if (map->slots[i].id == 0)
            return NULL;
        i = (i + 1) & mask;
    }
    void *value = map->slots[i].value;
    /* Entries behind the hole move up unless they sit at or after their home. */
    for (size_t next = (i + 1) & mask; map->slots[next].id != 0; next = (next + 1) & mask) {
        size_t wanted = home(map, map->slots[next].id);
        if (((next - wanted) & mask) >= ((next - i) & mask)) {
            map->slots[i] = map->slots[next];
            i = next;
        }
    }
    map->slots[i] = (IdMapSlot){0};
    map->count--;
    /* Far from where it would grow again. Without memory for a smaller one it stays as large. */
    if (map->capacity > CAPACITY_MIN && map->count < map->capacity / 8)
        resize(map, map->capacity / 2);
    return value;
}

void *idmap_next(const IdMap *map, size_t *cursor)
{
    while (*cursor < map->capacity) {
        const IdMapSlot *slot = &map->slots[(*cursor)++];
        if (slot->id != 0)
            return slot->value;
    }
    return NULL;
}
