/* arena.h: the memory of one compilation: bump allocation, freed all at once, with a cap.
 * Out of memory, or over the cap, it longjmps to `fail` (so callers need no checks). */
#ifndef LUAU_ARENA_H
#define LUAU_ARENA_H

#include <setjmp.h>
#include <stddef.h>

typedef struct ArenaChunk ArenaChunk;
typedef struct Arena {
    ArenaChunk *chunks;
    char *next, *end;
    size_t used_bytes, max_bytes; /* max 0: no cap */
    jmp_buf *fail;                /* longjmp(*fail, ARENA_NOMEM) */
} Arena;

enum { ARENA_NOMEM = 1, ARENA_STOP = 2 };

void luA_init(Arena *arena, size_t max_bytes, jmp_buf *fail);
void *luA_alloc(Arena *arena, size_t size); /* 8-byte aligned, not zeroed */
void *luA_zalloc(Arena *arena, size_t size);
/* Grows an arena array: copies `old_size` bytes of p into a new block of new_size. */
void *luA_grow(Arena *arena, const void *p, size_t old_size, size_t new_size);
void luA_free(Arena *arena);

#define luA_new(arena, T) ((T *)luA_zalloc((arena), sizeof(T)))

#endif
