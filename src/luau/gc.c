/* gc.c: the collector's cycle and its pace. gc.h has the story, gc_mark.c and gc_sweep.c the work.
 *
 * Pace. A cycle starts when live_bytes has grown to goal_percent of what the last one left (and by
 * at least CYCLE_MIN). While it lasts, every step_bytes of allocation bring a step of work:
 * step_mul percent of the bytes allocated, counted as bytes looked at. All of it is a matter of
 * live_bytes and one threshold, so that a run repeats exactly. Near the quota the threshold moves
 * closer, so that the cycle is over before the margin is touched.
 *
 * Kills. Long work polls (luG_poll); the poll never unwinds. Told to die, the collector leaves a
 * heap that is sound, then polls once more in a way that may unwind. In the mark phase that is
 * easy. The atomic phase, where black objects are not safe from the mutator, is given up: all
 * objects are painted white again by a sweep that finds nothing dead, because the whites were not
 * exchanged. */
#include "luau/gc.h"

#include "luau/fiber.h"
#include "luau/state.h"

enum {
    CYCLE_MIN = 16 << 10, /* allocation between two cycles, at least */
    SWEEP_CELLS = 512,    /* one portion of sweeping, and what it counts as work per cell */
    SWEEP_CELL_WORK = 16,
    LIST_KEEP = 8 * GREY_MIN, /* entries of a list that are kept from cycle to cycle */
    FUTILE_MAX = 3,           /* forced collections in a row that may free next to nothing */
    FUTILE_PERCENT = 10
};

void luG_init(Global_ *g)
{
    GC *gc = &g->gc;
    gc->phase = GC_PAUSE;
    gc->white = MARK_WHITE0;
    gc->goal_percent = 200;
    gc->step_mul = 200;
    gc->step_bytes = 4096;
    gc->threshold = CYCLE_MIN;
}

/* ---- the cycle ------------------------------------------------------------------------------- */

static void start_cycle(Global_ *g)
{
    GC *gc = &g->gc;
    BASE_DEBUG(gc->grey_count == 0 && gc->again_count == 0 && gc->weak_count == 0);
    gc->phase = GC_PROPAGATE;
    gc->overflow = false;
    luG_resetmodules(g);
    luG_markroots(g);
}

static void start_sweep(Global_ *g)
{
    GC *gc = &g->gc;
    gc->grey_count = gc->again_count = gc->weak_count = 0;
    gc->phase = GC_SWEEP;
    g->main->mark = (uint8_t)(MARK_FIXED | gc->white);
    luH_sweepstart(g);
}

static void run_atomic(Global_ *g)
{
    GC *gc = &g->gc;
    gc->phase = GC_ATOMIC;
    gc->atomic = true;
    luG_markroots(g);
    luG_scanatomic(g);
    if (!gc->killed) {
        luG_clearweak(g);
        luG_releasemodules(g);
        gc->white ^= MARK_WHITES;
    }
    gc->atomic = false;
    start_sweep(g);
}

static void shrink_list(Global_ *g, void *list, int32_t *size)
{
    void **block = list;
    if (*size <= LIST_KEEP)
        return;
    luH_free(g->main, *block, (size_t)*size * sizeof(void *));
    *block = NULL;
    *size = 0;
}

static size_t next_threshold(const Global_ *g)
{
    const GC *gc = &g->gc;
    const Heap *heap = &g->heap;
    size_t live = heap->live_bytes;
    size_t threshold = live / 100 * gc->goal_percent;
    if (threshold < live + CYCLE_MIN)
        threshold = live + CYCLE_MIN;
    if (heap->quota_bytes) {
        size_t limit = heap->quota_bytes - luH_margin(heap);
        size_t room = limit > heap->reserved_bytes ? limit - heap->reserved_bytes : 0;
        if (threshold > live + room / 4 * 3)
            threshold = live + room / 4 * 3;
        if (threshold < live + gc->step_bytes)
            threshold = live + gc->step_bytes;
    }
    return threshold;
}

static void finish_cycle(Global_ *g)
{
    GC *gc = &g->gc;
    gc->phase = GC_PAUSE;
    gc->sweep = (SweepCursor){.link = NULL};
    gc->cycles++;
    shrink_list(g, &gc->grey, &gc->grey_size);
    shrink_list(g, &gc->again, &gc->again_size);
    shrink_list(g, &gc->weak, &gc->weak_size);
    gc->live_after = g->heap.live_bytes;
}

/* Works until so much is done, the cycle is over, or the VM is to be killed. */
static void run(Global_ *g, size_t budget)
{
    GC *gc = &g->gc;
    gc->work = gc->polled = 0;
    while (gc->work < budget && !luG_poll(g)) {
        switch (gc->phase) {
        case GC_PAUSE: start_cycle(g); break;
        case GC_PROPAGATE:
            if (!luG_propagate(g))
                run_atomic(g);
            if (BASE_UNLIKELY(gc->test_panic))
                BASE_PANIC("asked for by luau_testpanic, in the collector");
            break;
        default:
            if (!luH_sweepstep(g, SWEEP_CELLS)) {
                finish_cycle(g);
                return;
            }
            gc->work += SWEEP_CELLS * SWEEP_CELL_WORK;
        }
    }
}

/* ---- when ------------------------------------------------------------------------------------ */

static void begin(GC *gc)
{
    gc->collecting = true;
    gc->killed = false;
}

/* Sets when to come again; a kill that a poll told of happens here. */
static void end(lua_State *L)
{
    Global_ *g = G(L);
    GC *gc = &g->gc;
    gc->collecting = false;
    if (gc->phase == GC_PAUSE)
        gc->threshold = next_threshold(g);
    else
        gc->threshold = g->heap.live_bytes + gc->step_bytes;
    if (gc->urgent)
        gc->threshold = 0;
    if (gc->killed)
        luY_poll(L);
}

void luG_step(lua_State *L)
{
    Global_ *g = G(L);
    GC *gc = &g->gc;
    if (gc->collecting)
        return;
    if (gc->urgent) {
        luG_relieve(L, 0);
        return;
    }
#ifdef LUAU_DEBUG
    if (g->test_modes & LUAU_TEST_GC_ALWAYS) {
        luG_full(L);
        return;
    }
#endif
    size_t live = g->heap.live_bytes;
    if (gc->stopped) { /* looked at again now and then: who restarts it only clears the flag */
        gc->threshold = live + 16 * (size_t)gc->step_bytes;
        return;
    }
    size_t debt = live > gc->threshold ? live - gc->threshold : 0;
    begin(gc);
    run(g, (gc->step_bytes + debt) / 100 * gc->step_mul + 1);
    end(L);
}

void luG_full(lua_State *L)
{
    Global_ *g = G(L);
    GC *gc = &g->gc;
    if (gc->collecting)
        return;
    begin(gc);
    if (gc->phase == GC_PROPAGATE) /* what it has marked may be garbage by now: start anew */
        start_sweep(g);
    if (gc->phase == GC_SWEEP)
        run(g, SIZE_MAX);
    if (!gc->killed)
        run(g, SIZE_MAX);
    end(L);
}

void luG_relieve(lua_State *L, size_t needed)
{
    Global_ *g = G(L);
    GC *gc = &g->gc;
    Heap *heap = &g->heap;
    size_t before = heap->live_bytes + heap->external_bytes;
    gc->urgent = false;
    luG_full(L);
    luH_trim(g);
    size_t after = heap->live_bytes + heap->external_bytes;
    if (heap->quota_bytes == 0)
        return;
    gc->urgent = false; /* the mark stack may have been what used the margin */
    size_t limit = heap->quota_bytes - luH_margin(heap);
    if (heap->reserved_bytes > limit || needed > limit - heap->reserved_bytes)
        luH_nomemory(L);
    size_t freed = before > after ? before - after : 0;
    if (freed > before / 100 * FUTILE_PERCENT)
        gc->futile = 0;
    else if (++gc->futile >= FUTILE_MAX)
        luH_nomemory(L);
    gc->threshold = next_threshold(g);
}
