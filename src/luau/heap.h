/* heap.h: the memory of one VM: small exact heaps that are freed without walking objects.
 *
 * Every byte a tenant can make grow comes through here, and the quota is on what was obtained from
 * the system (reserved_bytes, the system's own bookkeeping included), so that fragmentation is the
 * tenant's own cost.
 *
 * Blocks of up to HEAP_SMALL_MAX bytes are cells of slabs: a slab has cells of one size class, of
 * which the first slab of a class is tiny (a fresh VM must fit in 4 KiB with its thread and stack)
 * and later ones grow to 16 KiB. Larger blocks come straight from the system, in a doubly linked
 * list. Closing the VM frees slabs and large blocks; only userdata with a destructor are looked at
 * (they always are large blocks).
 *
 * Two kinds of block share the slabs. Objects start with the object header; raw blocks (table
 * parts, stacks, frames) have 8 bytes in front: OBJ_RAW in the place of the type, and the slab's
 * address, by which luH_free finds the slab. Free cells have type OBJ_FREE. So the sweep walks
 * cells by their first byte. Objects stand at multiples of 8, userdata of 16.
 *
 * Limits. luH_reserve(L, n) is called before a big allocation at a safepoint (everything the caller
 * needs is anchored): if the quota would be passed, a full collection, and if that does not help,
 * the kill LUAU_KILL_MEMORY; if n alone is over the quota, the catchable error `not enough memory`.
 * luH_alloc itself never collects (half-built objects are about); it may use up a margin kept below
 * the quota (luH_margin), and then sets gc.urgent so that the next safepoint collects (and kills,
 * if the margin is still in use after that). reserved_bytes never passes the quota: an allocation
 * that would, kills. So whatever can get large calls luH_reserve first, at a safepoint; tables that
 * grow past TABLE_BIG do so themselves (table.h). Without a quota, when the system has no memory:
 * LUA_ERRMEM `not enough memory`, catchable. With one: the same as passing the quota. */
#ifndef LUAU_HEAP_H
#define LUAU_HEAP_H

#include "luau/object.h"

enum { HEAP_SMALL_MAX = 1024, HEAP_CLASSES = 36, HEAP_FIRST_CHUNK = 2048 };

typedef struct Slab Slab;
typedef struct LargeBlock LargeBlock;

typedef struct Heap {
    Slab *avail[HEAP_CLASSES]; /* slabs with free cells, by class */
    Slab *slabs;               /* all, newest first */
    LargeBlock *larges;
    char *chunk_next, *chunk_end; /* rest of the VM's first chunk: first slabs are cut from it */
    uint8_t level[HEAP_CLASSES]; /* how large the next slab of a class is (heap.c) */
    size_t kept_bytes;         /* in empty slabs that the sweep under way left alone */
    size_t live_bytes;         /* in blocks in use (objects not yet swept included) */
    size_t reserved_bytes;     /* obtained from the system, plus external_bytes */
    size_t peak_bytes;
    size_t external_bytes;
    size_t quota_bytes;        /* 0: none */
    uint64_t alloc_count;      /* allocations so far (slab and cell alike), for fail_at */
    uint64_t fail_at;          /* alloc_count at which one fails; 0: never */
} Heap;

typedef struct Global_ Global_;

/* All raise (kill or LUA_ERRMEM), none collects. */
void *luH_alloc(lua_State *L, size_t size);                       /* raw block, not zeroed */
void *luH_realloc(lua_State *L, void *block, size_t old_size, size_t new_size);
void luH_free(lua_State *L, void *block, size_t size);            /* NULL is fine; never raises */
/* Try; NULL instead of raising (luH_tryrealloc then left the block as it was). */
void *luH_try(Global_ *g, size_t size);
void *luH_tryrealloc(Global_ *g, void *block, size_t old_size, size_t new_size);
/* Raises what an allocation that fails raises. */
BASE_NORETURN void luH_nomemory(lua_State *L);
/* A new object of that type, header set to the current white, the rest not initialised: fill it
 * before the next allocation. */
void *luH_object(lua_State *L, size_t size, int type);
/* The same, always as a large block (userdata with destructors). */
void *luH_largeobject(lua_State *L, size_t size, int type);
void luH_reserve(lua_State *L, size_t size);
/* Bytes below the quota that only luH_alloc between two safepoints may use; 0 without a quota. */
size_t luH_margin(const Heap *heap);
void luH_charge(lua_State *L, ptrdiff_t bytes); /* external_bytes; positive ones may raise */

/* The first chunk of a VM: Global (zeroed, heap and gc ready, main set), main thread (zeroed but
 * for its header and global), and room for its first slabs. NULL: no memory. */
Global_ *luH_newglobal(void);
/* destroy: destructors of userdata run; else no object is looked at. */
void luH_freeglobal(Global_ *g, bool destroy);

/* Walks every block that is an object (while a sweep is under way dead ones too), not the main
 * thread; visit gets the object and its size as allocated. It may allocate, but not free. */
void luH_eachobject(Global_ *g, void (*visit)(Global_ *g, GCObject *object, size_t size, void *arg),
                    void *arg);
/* Incremental sweep (gc_sweep.c): frees dead objects (luG_isdead), repaints the others, for up to
 * about `budget` cells and large blocks; false when the whole heap was swept. Threads' size class
 * comes first: a dead thread closes those of its upvalues that live on, which it must do before any
 * upvalue is freed. */
typedef struct SweepCursor { Slab **link; LargeBlock *large; int phase; } SweepCursor;
void luH_sweepstart(Global_ *g);
bool luH_sweepstep(Global_ *g, int budget);
/* Empty slabs go back to the system (not while a sweep is under way). */
void luH_trim(Global_ *g);
/* For the heap checker: sums of the slabs and large blocks; NULL if they agree with the account. */
const char *luH_check(Global_ *g);

#endif
