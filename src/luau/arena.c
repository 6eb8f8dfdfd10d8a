/* arena.c: bump allocation in chunks that double in size, freed together.
 *
 * The cap counts whole chunks, as that is what the process pays. Near the cap a chunk shrinks to
 * what is left of it, so that a cap can be used to its end. */
#include "luau/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "luau/bytes.h"
#include "luau/fiber.h"

struct ArenaChunk {
    ArenaChunk *next;
    size_t size_bytes; /* header included */
};

enum { ALIGNMENT = 8, FIRST_CHUNK_BYTES = 4096, LAST_CHUNK_BYTES = 1 << 20 };

_Static_assert(sizeof(ArenaChunk) % ALIGNMENT == 0, "the first block of a chunk is aligned");

void luA_init(Arena *arena, size_t max_bytes, jmp_buf *fail)
{
    memset(arena, 0, sizeof(*arena));
    arena->max_bytes = max_bytes;
    arena->fail = fail;
}

static BASE_NORETURN void fail_nomem(Arena *arena)
{
    longjmp(*arena->fail, ARENA_NOMEM);
}

static BASE_NOINLINE void add_chunk(Arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2)
        fail_nomem(arena);
    size_t need = size + sizeof(ArenaChunk);
    size_t want = arena->chunks ? arena->chunks->size_bytes * 2 : FIRST_CHUNK_BYTES;
    if (want > LAST_CHUNK_BYTES)
        want = LAST_CHUNK_BYTES;
    if (arena->max_bytes) {
        size_t left = arena->max_bytes > arena->used_bytes ? arena->max_bytes - arena->used_bytes
                                                           : 0;
        if (need > left)
            fail_nomem(arena);
        if (want > left)
            want = left & ~(size_t)(ALIGNMENT - 1);
    }
    if (want < need)
        want = need;
    ArenaChunk *chunk = malloc(want);
    if (!chunk)
        fail_nomem(arena);
    chunk->size_bytes = want;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->used_bytes += want;
    arena->next = (char *)(chunk + 1);
    arena->end = (char *)chunk + want;
}

void *luA_alloc(Arena *arena, size_t size)
{
    if (BASE_UNLIKELY(size > SIZE_MAX / 2))
        fail_nomem(arena);
    size = (size + (ALIGNMENT - 1)) & ~(size_t)(ALIGNMENT - 1);
    if (BASE_UNLIKELY(size > (size_t)(arena->end - arena->next)))
        add_chunk(arena, size);
    void *block = arena->next;
    arena->next += size;
    return block;
}

void *luA_zalloc(Arena *arena, size_t size)
{
    void *block = luA_alloc(arena, size);
    luY_clear(block, size);
    return block;
}

void *luA_grow(Arena *arena, const void *p, size_t old_size, size_t new_size)
{
    void *block = luA_alloc(arena, new_size);
    luY_copy(block, p, old_size);
    return block;
}

void luA_free(Arena *arena)
{
    for (ArenaChunk *chunk; (chunk = arena->chunks) != NULL;) {
        arena->chunks = chunk->next; /* it may be asked again to free the rest */
        free(chunk);
        luY_pause();
    }
    arena->next = arena->end = NULL;
    arena->used_bytes = 0;
}
