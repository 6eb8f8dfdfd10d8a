/* dispatch_table.h: hash -> pointer for keys that live in their values: open addressing with linear
 * probing, compared in full. Owns neither. One thread at a time. */
#ifndef WORKER_DISPATCH_TABLE_H
#define WORKER_DISPATCH_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct DispatchSlot {
    uint64_t hash;
    void *value; /* NULL: free */
} DispatchSlot;

typedef struct DispatchTable {
    DispatchSlot *slots;
    size_t count;
    size_t capacity; /* 0 or a power of two */
} DispatchTable;

/* Secret, so that nobody can choose keys that collide. */
typedef struct DispatchSeed {
    uint64_t words[2];
} DispatchSeed;

uint64_t dispatch_hash(const DispatchSeed *seed, const void *data, size_t length);

void dispatch_table_free(DispatchTable *table);
/* Room for so many more. False: no memory, nothing changed. */
bool dispatch_table_reserve(DispatchTable *table, size_t more);
/* The value with that hash that `same` says yes to; NULL: none. */
void *dispatch_table_find(const DispatchTable *table, uint64_t hash,
                          bool (*same)(const void *value, const void *key), const void *key);
/* There is room, and no value of that key. */
void dispatch_table_put(DispatchTable *table, uint64_t hash, void *value);
/* It is there. */
void dispatch_table_remove(DispatchTable *table, uint64_t hash, const void *value);

#endif
