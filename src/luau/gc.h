/* gc.h: the collector: incremental mark and sweep of one VM's heap.
 *
 * Colours: white (not seen; two whites alternate so that objects made during the sweep survive),
 * grey (seen, not scanned: neither white nor black), black (scanned). Invariant while marking: no
 * black object points to a white one. Shared objects (images, modules, core) have no colour; a
 * module string or a closure that is marked marks its module for this VM's list.
 *
 * A cycle: pause -> mark roots (main thread, registry, globals, metatables) -> propagate in steps
 * -> atomic (threads and tables written meanwhile again, weak tables, unused modules) -> sweep in
 * steps. The grey set is an explicit stack; if it cannot grow, a flag makes the marker look for
 * grey objects by walking the heap, so the collector never fails for want of memory.
 *
 * When: only at safepoints. luG_check(L) stands where every live value is anchored (on a stack, in
 * the registry). So code that allocates may hold fresh objects in C variables until its next
 * luG_check. API functions marked [m] call it first, before they allocate.
 *
 * Barriers: after storing v into an object o that may be black: luG_barrier(L, o, v) (forward:
 * marks v) for closures, upvalues, metatables; luG_barriertable(L, t) (back: t becomes grey again)
 * for table stores. Stacks need none: threads are scanned again in the atomic phase. */
#ifndef LUAU_GC_H
#define LUAU_GC_H

#include "luau/heap.h"

enum GcPhase { GC_PAUSE, GC_PROPAGATE, GC_ATOMIC, GC_SWEEP };

typedef struct ModuleRef { luau_Module *module; bool marked, charged; } ModuleRef;

typedef struct GC {
    uint8_t phase;
    uint8_t white;         /* current white: MARK_WHITE0 or MARK_WHITE1 */
    bool stopped;          /* LUA_GCSTOP */
    bool urgent;           /* collect fully at the next safepoint (quota margin used) */
    bool overflow;         /* the grey stack could not grow */
    bool collecting;       /* inside a step: no reentry */
    size_t threshold;      /* live_bytes at which the next step is due */
    GCObject **grey;       /* stack */
    int32_t grey_count, grey_size;
    GCObject **again;      /* to be scanned again in the atomic phase; same discipline */
    int32_t again_count, again_size;
    Table **weak;          /* weak tables met in this cycle */
    int32_t weak_count, weak_size;
    size_t work;           /* done in this step, in bytes looked at */
    size_t polled;         /* value of work at the last poll */
    uint8_t futile;        /* forced collections in a row that freed little; a run starts with 0 */
    bool atomic;           /* the scanning functions run in the atomic phase */
    bool test_panic;       /* luau_testpanic */
    bool killed;           /* a poll inside this step told that the VM is to be killed */
    SweepCursor sweep;
    ModuleRef *modules;    /* modules this VM holds a reference to */
    int32_t module_count, module_size;
    luau_Module *last_marked; /* cache of the module marked last in this cycle */
    uint32_t goal_percent; /* start a cycle at live * goal / 100; default 200 */
    uint32_t step_mul;     /* work per allocated byte, percent; default 200 */
    uint32_t step_bytes;   /* allocation between steps; default 4096 */
    size_t live_after;     /* live_bytes after the last cycle */
    uint64_t cycles;
} GC;

/* Safepoint: collects a step if one is due. May park (see luY_poll) inside a long collection and
 * may kill. Never moves objects, stacks or table parts. */
#define luG_check(L)                                                   \
    do {                                                               \
        if (BASE_UNLIKELY(luG_isdue(G(L))))                            \
            luG_step(L);                                               \
    } while (0)
#ifdef LUAU_DEBUG
#define luG_isdue(g)                                 \
    ((g)->heap.live_bytes >= (g)->gc.threshold ||    \
     ((g)->test_modes & LUAU_TEST_GC_ALWAYS) != 0)
#else
#define luG_isdue(g) ((g)->heap.live_bytes >= (g)->gc.threshold)
#endif

void luG_init(Global_ *g);
void luG_step(lua_State *L);     /* at least one step's work, due or not */
void luG_full(lua_State *L);     /* a whole cycle, plus one if one was under way */
/* Full collection forced by the quota, of which `needed` bytes are to be free afterwards: kills
 * otherwise, and when collections keep freeing little (a program that lives at its cap). */
void luG_relieve(lua_State *L, size_t needed);
/* Objects are alive in this cycle (white of the last one in the sweep: dead). */
#define luG_isdead(g, o) \
    ((g)->gc.phase == GC_SWEEP && ((o)->mark & MARK_WHITES & ~(g)->gc.white) != 0)

void luG_barrier_(lua_State *L, GCObject *o, GCObject *child);
void luG_barriertable_(lua_State *L, Table *t);
#define luG_barrier(L, o, v)                                                                \
    do {                                                                                    \
        if (BASE_UNLIKELY(object_isblack(o)) && val_isheap(v) &&                            \
            (val_object(v)->mark & (MARK_WHITES | MARK_MODULE)))                            \
            luG_barrier_(L, (GCObject *)(o), val_object(v));                                \
    } while (0)
#define luG_barriertable(L, t)                                \
    do {                                                      \
        if (BASE_UNLIKELY(object_isblack(t)))                 \
            luG_barriertable_(L, t);                          \
    } while (0)

/* Takes a reference on the module for this VM (if it has none yet). Raises on no memory. */
void luG_holdmodule(lua_State *L, luau_Module *module, bool charge);
/* Releases everything the collector itself holds (modules, grey stacks); at close. */
void luG_close(Global_ *g);

/* What a dead object owns besides its own block goes back (gc_sweep.c); for the sweep. */
void luG_dispose(Global_ *g, GCObject *o);

/* ---- between gc.c and gc_mark.c ---- */
enum { GREY_MIN = 32 /* entries of the grey stack at first */ };
void luG_markroots(Global_ *g);
bool luG_propagate(Global_ *g);  /* scans one grey object, or a piece; false: none left */
/* Atomic: what is grey, and what is in `again`, and what both lead to. */
void luG_scanatomic(Global_ *g);
void luG_clearweak(Global_ *g);
void luG_resetmodules(Global_ *g);
void luG_releasemodules(Global_ *g);
bool luG_poll(Global_ *g);       /* every so much work; true: the VM is to be killed */

/* Heap checker (heapcheck.c): NULL if sound. Checks types, sizes, colours, pointers, invariant. */
const char *luG_checkheap(lua_State *L);

#endif
