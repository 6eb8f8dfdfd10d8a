/* heap.c: slabs, large blocks, quota. heap.h tells what for.
 *
 *     slab    | Slab | cell | cell | ... | cells never used yet |     all cells of one size class
 *     object  | type mark ... |                                      the cell itself
 *     raw     | OBJ_RAW, slab << 16 | bytes ... |                    the block follows the word
 *     free    | OBJ_FREE, next free << 16 | junk |
 *     large   | next, prev, bytes, word | object, or bytes ... |     word: OBJ_RAW; object: 0
 *
 * A slab is in its class' `avail` list while it has free cells. Slabs cut from the VM's first chunk
 * are never returned one by one. A class' slabs double in size (level) up to SLAB_BYTES_MAX; near
 * the quota they get smaller again. Under AddressSanitizer the free part of every slab is poisoned.
 */
#include "luau/heap.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "luau/call.h"
#include "luau/fiber.h"
#include "luau/state.h"
#include "luau/str.h"
#include "luau/table.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

enum {
    SLAB_BYTES_MIN = 256,
    SLAB_BYTES_MAX = 16384,
    LEVEL_MAX = 6,
    MARGIN_MAX = 64 << 10,
    HUGE_MIN = 1 << 20,
    HUGE_STEP = 1 << 20,
    PAGE = 4096,
    KEEP_MIN = 16 << 10 /* empty slabs that a sweep leaves in place at least, for the next round */
};
_Static_assert(SLAB_BYTES_MIN << LEVEL_MAX == SLAB_BYTES_MAX, "levels are powers of two");
#define LARGE_MAX ((size_t)1 << 40)

typedef struct FreeCell {
    uint64_t word; /* next << 16 | OBJ_FREE */
} FreeCell;

struct Slab {
    Slab *next;                    /* in Heap.slabs */
    Slab *avail_next, *avail_prev; /* while it has free cells */
    FreeCell *free;
    uint16_t used, cells;
    uint16_t carved; /* cells that were used once; those behind are untouched */
    uint8_t class;
    bool cut;                   /* part of the first chunk */
    uint32_t cell_bytes, bytes; /* bytes: as accounted; 0 if cut */
};
_Static_assert(sizeof(Slab) % 16 == 0, "cells of 16-byte classes are aligned to 16");

struct LargeBlock {
    LargeBlock *next, *prev;
    size_t bytes; /* as accounted */
    uint64_t word;
};
_Static_assert(sizeof(LargeBlock) == 32, "payloads are aligned to 16, raw words stand before them");

/* Size classes: steps of 8 to 128, of 16 to 256, of 32 to 512, then as table parts need them. */
static const uint16_t class_bytes[HEAP_CLASSES] = {
    16,  24,  32,  40,  48,  56,  64,  72,  80,  88,  96,  104, 112, 120, 128, 144, 160, 176,
    192, 208, 224, 240, 256, 288, 320, 352, 384, 416, 448, 480, 512, 576, 640, 768, 896, 1024,
};
/* Class of a block of 8 * i bytes. */
static const uint8_t class_of[HEAP_SMALL_MAX / 8 + 1] = {
    [0 ... 2] = 0,    [3] = 1,          [4] = 2,           [5] = 3,
    [6] = 4,          [7] = 5,          [8] = 6,           [9] = 7,
    [10] = 8,         [11] = 9,         [12] = 10,         [13] = 11,
    [14] = 12,        [15] = 13,        [16] = 14,         [17 ... 18] = 15,
    [19 ... 20] = 16, [21 ... 22] = 17, [23 ... 24] = 18,  [25 ... 26] = 19,
    [27 ... 28] = 20, [29 ... 30] = 21, [31 ... 32] = 22,  [33 ... 36] = 23,
    [37 ... 40] = 24, [41 ... 44] = 25, [45 ... 48] = 26,  [49 ... 52] = 27,
    [53 ... 56] = 28, [57 ... 60] = 29, [61 ... 64] = 30,  [65 ... 72] = 31,
    [73 ... 80] = 32, [81 ... 96] = 33, [97 ... 112] = 34, [113 ... 128] = 35,
};
#define size_class(size) (class_of[((size) + 7) / 8])
#define slab_cell(slab, i)                                                                         \
    ((GCObject *)((char *)(slab) + sizeof(Slab) + (size_t)(i) * (slab)->cell_bytes))
#define large_payload(block) ((GCObject *)((block) + 1))
#define large_of(payload) ((LargeBlock *)(payload)-1)
#define raw_word(block) (((uint64_t *)(block))[-1])

/* What a block costs the system's allocator. */
static size_t system_bytes(size_t size)
{
    return (size + 8 + 15) & ~(size_t)15;
}

/* Blocks from HUGE_MIN on are mapped, not malloc'd: growing one moves no bytes, and its pages go
 * back at once, in portions (the system takes about 0.1 ms for a megabyte). */
static size_t large_bytes(size_t size)
{
    size_t bytes = system_bytes(sizeof(LargeBlock) + size);
    return bytes < HUGE_MIN ? bytes : (bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
}

/* ---- limits ---------------------------------------------------------------------------------- */

size_t luH_margin(const Heap *heap)
{
    size_t margin = heap->quota_bytes / 32;
    return margin < MARGIN_MAX ? margin : MARGIN_MAX;
}

static bool has_room(const Heap *heap, size_t bytes)
{
    return heap->quota_bytes == 0 || (heap->reserved_bytes <= heap->quota_bytes &&
                                      bytes <= heap->quota_bytes - heap->reserved_bytes);
}

static void add_reserved(Global_ *g, size_t bytes)
{
    Heap *heap = &g->heap;
    heap->reserved_bytes += bytes;
    if (heap->reserved_bytes > heap->peak_bytes)
        heap->peak_bytes = heap->reserved_bytes;
    if (heap->quota_bytes && heap->reserved_bytes > heap->quota_bytes - luH_margin(heap)) {
        g->gc.urgent = true;
        g->gc.threshold = 0;
    }
}

void luH_nomemory(lua_State *L)
{
    Global_ *g = G(L);
    if (g->heap.quota_bytes) {
        luY_setkill(L, LUAU_KILL_MEMORY);
        luD_kill(L);
    }
    luD_push(L, val_fromstring(luTM_text(TEXT_NOMEMORY)));
    luD_throw(L, LUA_ERRMEM);
}

/* Counts an allocation; true: this one is to fail. */
BASE_INLINE bool injected_failure(Heap *heap)
{
    return BASE_UNLIKELY(++heap->alloc_count == heap->fail_at);
}

void luH_reserve(lua_State *L, size_t size)
{
    Heap *heap = &G(L)->heap;
    if (heap->quota_bytes == 0)
        return;
    if (size > heap->quota_bytes) {
        luD_push(L, val_fromstring(luTM_text(TEXT_NOMEMORY)));
        luD_throw(L, LUA_ERRMEM);
    }
    size = large_bytes(size);
    if (!has_room(heap, size + luH_margin(heap)))
        luG_relieve(L, size);
}

void luH_charge(lua_State *L, ptrdiff_t bytes)
{
    Global_ *g = G(L);
    Heap *heap = &g->heap;
    if (bytes <= 0) {
        size_t back = (size_t)-bytes;
        BASE_ASSERT(back <= heap->external_bytes);
        heap->external_bytes -= back;
        heap->reserved_bytes -= back;
        return;
    }
    if (!has_room(heap, (size_t)bytes))
        luH_nomemory(L);
    heap->external_bytes += (size_t)bytes;
    add_reserved(g, (size_t)bytes);
    /* Memory outside brings the next cycle nearer too: it may hang on dead objects. */
    size_t threshold = g->gc.threshold;
    g->gc.threshold = threshold > (size_t)bytes ? threshold - (size_t)bytes : 0;
}

/* ---- slabs ----------------------------------------------------------------------------------- */

static void link_avail(Heap *heap, Slab *slab)
{
    Slab *head = heap->avail[slab->class];
    slab->avail_next = head;
    slab->avail_prev = NULL;
    if (head)
        head->avail_prev = slab;
    heap->avail[slab->class] = slab;
}

static void unlink_avail(Heap *heap, Slab *slab)
{
    if (slab->avail_prev)
        slab->avail_prev->avail_next = slab->avail_next;
    else
        heap->avail[slab->class] = slab->avail_next;
    if (slab->avail_next)
        slab->avail_next->avail_prev = slab->avail_prev;
}

static Slab *init_slab(Heap *heap, void *memory, int class, unsigned cells)
{
    Slab *slab = memory;
    slab->free = NULL;
    slab->used = slab->carved = 0;
    slab->cells = (uint16_t)cells;
    slab->class = (uint8_t) class;
    slab->cut = false;
    slab->cell_bytes = class_bytes[class];
    slab->bytes = 0;
    slab->next = heap->slabs;
    heap->slabs = slab;
    link_avail(heap, slab);
    ASAN_POISON_MEMORY_REGION(slab_cell(slab, 0), (size_t)cells * class_bytes[class]);
    return slab;
}

static unsigned cells_in(size_t bytes, size_t cell)
{
    return bytes < sizeof(Slab) + cell ? 0 : (unsigned)((bytes - sizeof(Slab)) / cell);
}

/* From what is left of the first chunk: the smallest slab that a class has, or what fits. */
static Slab *cut_slab(Heap *heap, int class)
{
    size_t room = (size_t)(heap->chunk_end - heap->chunk_next);
    size_t cell = class_bytes[class];
    unsigned cells = cells_in(SLAB_BYTES_MIN / 2, cell);
    cells = cells == 0 ? 1 : cells;
    if (cells_in(room, cell) < cells)
        cells = cells_in(room, cell);
    if (cells == 0)
        return NULL;
    Slab *slab = init_slab(heap, heap->chunk_next, class, cells);
    slab->cut = true;
    heap->chunk_next += (sizeof(Slab) + cells * cell + 15) & ~(size_t)15;
    if (heap->chunk_next > heap->chunk_end)
        heap->chunk_next = heap->chunk_end;
    return slab;
}

/* A slab with free cells; NULL: no memory. */
static Slab *new_slab(Global_ *g, int class)
{
    Heap *heap = &g->heap;
    if (heap->level[class] == 0 && heap->chunk_end - heap->chunk_next > (ptrdiff_t)sizeof(Slab)) {
        Slab *slab = cut_slab(heap, class);
        if (slab)
            return slab;
    }
    if (injected_failure(heap))
        return NULL;
    size_t cell = class_bytes[class], bytes = 0;
    unsigned cells = 0;
    int level = heap->level[class];
    while (level > 0 && (size_t)SLAB_BYTES_MIN << level > heap->live_bytes / 8)
        level--;                  /* so that a small heap is not mostly room */
    for (; level >= 0; level--) { /* less than the class would take, where the quota is near */
        cells = cells_in(((size_t)SLAB_BYTES_MIN << level) - 8, cell); /* 8: the system's own */
        cells = cells == 0 ? 1 : cells;
        bytes = sizeof(Slab) + cells * cell;
        if (has_room(heap, system_bytes(bytes) + (level > 0 ? luH_margin(heap) : 0)))
            break;
    }
    if (level < 0)
        return NULL;
    void *memory = malloc(bytes);
    if (!memory)
        return NULL;
    Slab *slab = init_slab(heap, memory, class, cells);
    slab->bytes = (uint32_t)system_bytes(bytes);
    add_reserved(g, slab->bytes);
    if (heap->level[class] < LEVEL_MAX)
        heap->level[class]++;
    return slab;
}

/* The slab must be out of Heap.slabs already. */
static void release_slab(Global_ *g, Slab *slab)
{
    Heap *heap = &g->heap;
    unlink_avail(heap, slab);
    heap->reserved_bytes -= slab->bytes;
    if (heap->level[slab->class] > 0 && slab->bytes < SLAB_BYTES_MAX)
        heap->level[slab->class]--;
    ASAN_UNPOISON_MEMORY_REGION(slab, sizeof(Slab) + (size_t)slab->cells * slab->cell_bytes);
    free(slab);
}

/* A cell of the slab, which has a free one. */
BASE_INLINE void *take_cell(Heap *heap, Slab *slab)
{
    FreeCell *cell = slab->free;
    if (BASE_LIKELY(cell != NULL)) {
        slab->free = (FreeCell *)(uintptr_t)(cell->word >> 16);
    } else {
        cell = (FreeCell *)slab_cell(slab, slab->carved);
        slab->carved++;
    }
    ASAN_UNPOISON_MEMORY_REGION(cell, slab->cell_bytes);
    heap->live_bytes += slab->cell_bytes;
    if (BASE_UNLIKELY(++slab->used == slab->cells))
        unlink_avail(heap, slab);
    return cell;
}

static void free_cell(Heap *heap, Slab *slab, void *memory)
{
    FreeCell *cell = memory;
#ifdef LUAU_DEBUG
    memset(cell, 0xDB, slab->cell_bytes);
#endif
    cell->word = (uint64_t)(uintptr_t)slab->free << 16 | OBJ_FREE;
    ASAN_POISON_MEMORY_REGION((char *)cell + sizeof(*cell), slab->cell_bytes - sizeof(*cell));
    slab->free = cell;
    heap->live_bytes -= slab->cell_bytes;
    if (slab->used-- == slab->cells)
        link_avail(heap, slab);
}

/* ---- large blocks ---------------------------------------------------------------------------- */

static LargeBlock *obtain_large(size_t bytes)
{
    if (bytes < HUGE_MIN)
        return malloc(bytes - 8); /* the 8 are the system's */
    void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return mapped == MAP_FAILED ? NULL : mapped;
}

static void return_large(LargeBlock *block)
{
    if (block->bytes < HUGE_MIN)
        free(block);
    else
        munmap(block, block->bytes);
}

/* NULL: left as it was. */
static LargeBlock *resize_large(LargeBlock *block, size_t bytes)
{
    size_t old = block->bytes;
    if (old < HUGE_MIN && bytes < HUGE_MIN)
        return realloc(block, bytes - 8);
    if (old >= HUGE_MIN && bytes >= HUGE_MIN) {
        void *moved = mremap(block, old, bytes, MREMAP_MAYMOVE);
        return moved == MAP_FAILED ? NULL : moved;
    }
    LargeBlock *moved = obtain_large(bytes);
    if (!moved)
        return NULL;
    memcpy(moved, block, (old < bytes ? old : bytes) - 8);
    return_large(block);
    return moved;
}

static void drop_pages(Global_ *g, LargeBlock *block)
{
    for (size_t at = HUGE_STEP; at < block->bytes; at += HUGE_STEP) {
        size_t size = block->bytes - at < HUGE_STEP ? block->bytes - at : HUGE_STEP;
        madvise((char *)block + at, size, MADV_DONTNEED);
        luau_pollkill(g->running ? g->running : g->main);
    }
}

/* NULL: no memory. */
static void *new_large(Global_ *g, size_t size, uint64_t word)
{
    Heap *heap = &g->heap;
    if (size > LARGE_MAX)
        return NULL;
    size_t bytes = large_bytes(size);
    if (!has_room(heap, bytes))
        return NULL;
    LargeBlock *block = obtain_large(bytes);
    if (!block)
        return NULL;
    block->bytes = bytes;
    block->word = word;
    block->prev = NULL;
    block->next = heap->larges;
    if (block->next)
        block->next->prev = block;
    heap->larges = block;
    heap->live_bytes += bytes;
    add_reserved(g, bytes);
    return block + 1;
}

static void free_large(Global_ *g, LargeBlock *block)
{
    Heap *heap = &g->heap;
    if (block->bytes >= HUGE_MIN)
        drop_pages(g, block);
    if (g->gc.sweep.large == block)
        g->gc.sweep.large = block->next;
    if (block->prev)
        block->prev->next = block->next;
    else
        heap->larges = block->next;
    if (block->next)
        block->next->prev = block->prev;
    heap->live_bytes -= block->bytes;
    heap->reserved_bytes -= block->bytes;
    return_large(block);
}

/* NULL: left as it was. */
static void *realloc_large(Global_ *g, LargeBlock *block, size_t size)
{
    Heap *heap = &g->heap;
    if (size > LARGE_MAX)
        return NULL;
    size_t old = block->bytes, bytes = large_bytes(size);
    if (bytes > old && !has_room(heap, bytes - old))
        return NULL;
    bool swept_next = g->gc.sweep.large == block;
    LargeBlock *moved = resize_large(block, bytes);
    if (!moved)
        return NULL;
    if (swept_next)
        g->gc.sweep.large = moved;
    if (moved->prev)
        moved->prev->next = moved;
    else
        heap->larges = moved;
    if (moved->next)
        moved->next->prev = moved;
    moved->bytes = bytes;
    heap->live_bytes = heap->live_bytes - old + bytes;
    heap->reserved_bytes -= old;
    add_reserved(g, bytes);
    return moved + 1;
}

/* ---- allocation ------------------------------------------------------------------------------ */

/* A cell for `size` <= HEAP_SMALL_MAX bytes; NULL: no memory. */
BASE_INLINE void *try_cell(Global_ *g, size_t size, Slab **slab)
{
    int class = size_class(size);
    if (injected_failure(&g->heap))
        return NULL;
    *slab = g->heap.avail[class];
    if (BASE_UNLIKELY(*slab == NULL)) {
        *slab = new_slab(g, class);
        if (!*slab)
            return NULL;
    }
    return take_cell(&g->heap, *slab);
}

void *luH_try(Global_ *g, size_t size)
{
    if (BASE_LIKELY(size <= HEAP_SMALL_MAX - sizeof(uint64_t))) {
        Slab *slab;
        uint64_t *word = try_cell(g, size + sizeof(*word), &slab);
        if (BASE_UNLIKELY(!word))
            return NULL;
        *word = (uint64_t)(uintptr_t)slab << 16 | OBJ_RAW;
        return word + 1;
    }
    if (injected_failure(&g->heap))
        return NULL;
    return new_large(g, size, OBJ_RAW);
}

void *luH_alloc(lua_State *L, size_t size)
{
    void *block = luH_try(G(L), size);
    if (BASE_UNLIKELY(!block))
        luH_nomemory(L);
    return block;
}

void *luH_tryrealloc(Global_ *g, void *block, size_t old_size, size_t new_size)
{
    if (!block)
        return luH_try(g, new_size);
    Slab *slab = (Slab *)(uintptr_t)(raw_word(block) >> 16);
    BASE_DEBUG((uint8_t)raw_word(block) == OBJ_RAW);
    if (slab && new_size <= slab->cell_bytes - sizeof(uint64_t) &&
        size_class(new_size + sizeof(uint64_t)) == slab->class)
        return block;
    if (!slab && new_size > HEAP_SMALL_MAX - sizeof(uint64_t)) {
        if (injected_failure(&g->heap))
            return NULL;
        return realloc_large(g, large_of(block), new_size);
    }
    void *moved = luH_try(g, new_size);
    if (!moved)
        return NULL;
    memcpy(moved, block, old_size < new_size ? old_size : new_size);
    luH_free(g->main, block, old_size);
    return moved;
}

void *luH_realloc(lua_State *L, void *block, size_t old_size, size_t new_size)
{
    block = luH_tryrealloc(G(L), block, old_size, new_size);
    if (BASE_UNLIKELY(!block))
        luH_nomemory(L);
    return block;
}

void luH_free(lua_State *L, void *block, size_t size)
{
    if (!block)
        return;
    Global_ *g = G(L);
    uint64_t word = raw_word(block);
    BASE_DEBUG((uint8_t)word == OBJ_RAW);
    Slab *slab = (Slab *)(uintptr_t)(word >> 16);
    if (slab) {
        BASE_DEBUG(size + sizeof(word) <= slab->cell_bytes);
        free_cell(&g->heap, slab, (uint64_t *)block - 1);
    } else {
        BASE_DEBUG(large_bytes(size) <= large_of(block)->bytes);
        free_large(g, large_of(block));
    }
    (void)size;
}

BASE_INLINE void *init_object(Global_ *g, GCObject *object, int type)
{
    object->type = (uint8_t)type;
    object->mark = g->gc.white;
    return object;
}

void *luH_object(lua_State *L, size_t size, int type)
{
    Global_ *g = G(L);
    if (type == OBJ_USERDATA) /* data is aligned to 16 */
        size = (size + 15) & ~(size_t)15;
    if (BASE_UNLIKELY(size > HEAP_SMALL_MAX))
        return luH_largeobject(L, size, type);
    Slab *slab;
    GCObject *object = try_cell(g, size, &slab);
    if (BASE_UNLIKELY(!object))
        luH_nomemory(L);
    return init_object(g, object, type);
}

void *luH_largeobject(lua_State *L, size_t size, int type)
{
    Global_ *g = G(L);
    GCObject *object = injected_failure(&g->heap) ? NULL : new_large(g, size, 0);
    if (BASE_UNLIKELY(!object))
        luH_nomemory(L);
    return init_object(g, object, type);
}

/* ---- the whole heap -------------------------------------------------------------------------- */

Global_ *luH_newglobal(void)
{
    enum { MAIN = (sizeof(Global_) + 15) & ~15, END = (MAIN + sizeof(lua_State) + 15) & ~15 };
    _Static_assert(END <= HEAP_FIRST_CHUNK - 512, "room for the first slabs");
    char *chunk = malloc(HEAP_FIRST_CHUNK);
    if (!chunk)
        return NULL;
    memset(chunk, 0, END);
    Global_ *g = (Global_ *)chunk;
    g->heap.chunk_next = chunk + END;
    g->heap.chunk_end = chunk + HEAP_FIRST_CHUNK;
    g->heap.reserved_bytes = g->heap.peak_bytes = system_bytes(HEAP_FIRST_CHUNK);
    g->main = (lua_State *)(chunk + MAIN);
    g->main->type = OBJ_THREAD;
    g->main->mark = MARK_FIXED | MARK_WHITE0;
    g->main->global = g;
    luG_init(g);
    return g;
}

static void destroy_userdata(Udata *userdata)
{
    lua_Destructor destructor;
    memcpy(&destructor, userdata->data + userdata->length - sizeof(destructor), sizeof(destructor));
    userdata->has_dtor = 0;
    destructor(userdata->data);
}

void luH_freeglobal(Global_ *g, bool destroy)
{
    Heap *heap = &g->heap;
    for (LargeBlock *block = heap->larges, *next; block; block = next) {
        next = block->next;
        Udata *userdata = (Udata *)large_payload(block);
        if (destroy && block->word == 0 && userdata->type == OBJ_USERDATA && userdata->has_dtor)
            destroy_userdata(userdata);
        return_large(block);
    }
    for (Slab *slab = heap->slabs, *next; slab; slab = next) {
        next = slab->next;
        ASAN_UNPOISON_MEMORY_REGION(slab, sizeof(Slab) + (size_t)slab->cells * slab->cell_bytes);
        if (!slab->cut)
            free(slab);
    }
    free(g);
}

void luH_eachobject(Global_ *g, void (*visit)(Global_ *g, GCObject *object, size_t size, void *arg),
                    void *arg)
{
    for (Slab *slab = g->heap.slabs; slab; slab = slab->next) {
        for (unsigned i = 0; i < slab->carved; i++) {
            GCObject *object = slab_cell(slab, i);
            if (object->type < OBJ_RAW)
                visit(g, object, slab->cell_bytes, arg);
        }
    }
    for (LargeBlock *block = g->heap.larges; block; block = block->next) {
        if (block->word == 0)
            visit(g, large_payload(block), block->bytes, arg);
    }
}

void luH_trim(Global_ *g)
{
    if (g->gc.phase == GC_SWEEP)
        return; /* its cursor points into the list */
    int released = 0;
    for (Slab **link = &g->heap.slabs, *slab; (slab = *link) != NULL;) {
        if (slab->used == 0 && !slab->cut) {
            *link = slab->next;
            release_slab(g, slab);
            if (++released % 64 == 0)
                luau_pollkill(g->running ? g->running : g->main);
        } else {
            link = &slab->next;
        }
    }
}

/* ---- sweep ----------------------------------------------------------------------------------- */

/* Repaints a live object; false: it is dead, and what it owned is gone. */
static bool sweep_object(Global_ *g, GCObject *object)
{
    uint8_t mark = object->mark;
    uint8_t other_white = MARK_WHITES & ~g->gc.white;
    if ((mark & (other_white | MARK_FIXED | MARK_SHARED)) == other_white) {
        if (object->type == OBJ_USERDATA && ((Udata *)object)->has_dtor)
            destroy_userdata((Udata *)object);
        else if (object->type == OBJ_TABLE || object->type == OBJ_THREAD)
            luG_dispose(g, object);
        return false;
    }
    object->mark = (uint8_t)((mark & ~(MARK_WHITES | MARK_BLACK)) | g->gc.white);
    return true;
}

/* From the last cell to the first, so that the free list comes out in ascending order. */
static void sweep_slab(Global_ *g, Slab *slab)
{
    for (unsigned i = slab->carved; i-- > 0;) {
        GCObject *object = slab_cell(slab, i);
        if (object->type < OBJ_RAW && !sweep_object(g, object))
            free_cell(&g->heap, slab, object);
    }
    if (slab->used == 0) { /* as new: its pages need not be read to use it */
        slab->free = NULL;
        slab->carved = 0;
        ASAN_POISON_MEMORY_REGION(slab_cell(slab, 0), (size_t)slab->cells * slab->cell_bytes);
    }
}

void luH_sweepstart(Global_ *g)
{
    g->gc.sweep = (SweepCursor){.link = &g->heap.slabs};
    g->heap.kept_bytes = 0;
}

/* The slab at the cursor, if it is its turn. */
static int sweep_next_slab(Global_ *g, SweepCursor *cursor)
{
    Slab *slab = *cursor->link;
    bool of_threads = slab->class == size_class(sizeof(lua_State));
    int cost = 1;
    if (of_threads == (cursor->phase == 0)) {
        size_t live = g->heap.live_bytes;
        sweep_slab(g, slab);
        cost += slab->cells + (int)((live - g->heap.live_bytes) >> 10);
        if (slab->used == 0 && !slab->cut) {
            if (g->heap.kept_bytes + slab->bytes > g->heap.live_bytes + KEEP_MIN) {
                *cursor->link = slab->next;
                release_slab(g, slab);
                return cost;
            }
            g->heap.kept_bytes += slab->bytes;
        }
    }
    cursor->link = &slab->next;
    return cost;
}

bool luH_sweepstep(Global_ *g, int budget)
{
    enum { THREADS, OTHERS, LARGES };
    SweepCursor *cursor = &g->gc.sweep;
    while (budget > 0) {
        if (cursor->phase == LARGES) {
            LargeBlock *block = cursor->large;
            if (!block)
                return false;
            cursor->large = block->next; /* freeing table parts may move it on further */
            budget -= 4;
            if (block->word == 0 && !sweep_object(g, large_payload(block))) {
                budget -= (int)(block->bytes >> 10); /* the system takes its time by the page */
                free_large(g, block);
            }
        } else if (*cursor->link == NULL) {
            cursor->phase++;
            cursor->link = &g->heap.slabs;
            if (cursor->phase == LARGES)
                cursor->large = g->heap.larges;
        } else {
            budget -= sweep_next_slab(g, cursor);
        }
    }
    return true;
}

/* ---- checker --------------------------------------------------------------------------------- */

static const char *check_slab(const Slab *slab, size_t *live)
{
    unsigned used = 0, free_count = 0;
    for (unsigned i = 0; i < slab->carved; i++) {
        const GCObject *object = slab_cell(slab, i);
        used += object->type != OBJ_FREE;
        if (object->type == OBJ_RAW && *(const uint64_t *)object >> 16 != (uint64_t)(uintptr_t)slab)
            return "raw block of another slab";
    }
    for (const FreeCell *cell = slab->free; cell;
         cell = (const FreeCell *)(uintptr_t)(cell->word >> 16)) {
        if ((uint8_t)cell->word != OBJ_FREE || ++free_count > slab->carved)
            return "free list of a slab is broken";
    }
    if (used != slab->used || used + free_count != slab->carved || slab->carved > slab->cells)
        return "cells of a slab do not add up";
    *live += (size_t)used * slab->cell_bytes;
    return NULL;
}

const char *luH_check(Global_ *g)
{
    const Heap *heap = &g->heap;
    size_t live = 0, reserved = system_bytes(HEAP_FIRST_CHUNK) + heap->external_bytes;
    for (const Slab *slab = heap->slabs; slab; slab = slab->next) {
        const char *fault = check_slab(slab, &live);
        if (fault)
            return fault;
        reserved += slab->bytes;
    }
    for (const LargeBlock *block = heap->larges; block; block = block->next) {
        if (block->next && block->next->prev != block)
            return "list of large blocks is broken";
        live += block->bytes;
        reserved += block->bytes;
    }
    for (int i = 0; i < HEAP_CLASSES; i++) {
        for (const Slab *slab = heap->avail[i]; slab; slab = slab->avail_next) {
            if (slab->class != i || slab->used == slab->cells)
                return "full slab, or one of another class, in an avail list";
        }
    }
    if (live != heap->live_bytes)
        return "live_bytes is wrong";
    if (reserved != heap->reserved_bytes)
        return "reserved_bytes is wrong";
    return NULL;
}
