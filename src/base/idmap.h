/* idmap.h: 64-bit id -> pointer, open addressing with linear probing. Keys are not 0. The map owns
 * neither keys nor values, and takes memory for what is in it, not for what once was. One thread at
 * a time. */
#ifndef BASE_IDMAP_H
#define BASE_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct IdMapSlot {
    uint64_t id; /* 0: free */
    void *value;
} IdMapSlot;

typedef struct IdMap {
    IdMapSlot *slots;
    size_t count;
    size_t capacity; /* 0 or a power of two */
    uint64_t seed;   /* of the process: ids are chosen by callers */
} IdMap;

void idmap_init(IdMap *map, uint64_t seed);
void idmap_free(IdMap *map);
void *idmap_get(const IdMap *map, uint64_t id);       /* NULL: absent */
bool idmap_put(IdMap *map, uint64_t id, void *value); /* false: no memory, nothing changed */
void *idmap_remove(IdMap *map, uint64_t id);          /* what was there, or NULL */
/* From *cursor = 0: the next value, or NULL at the end. Not while the map changes. */
void *idmap_next(const IdMap *map, size_t *cursor);

#endif
