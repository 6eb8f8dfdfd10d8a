/* gc_sweep.c: what dead objects leave behind. The walk over the cells is the heap's (heap.c). */
#include "luau/gc.h"

#include "luau/state.h"
#include "luau/table.h"

/* A dead thread's variables that live closures share move into their upvalues. Those that died with
 * it are not freed yet: the sweep does threads first. No barrier: what a live upvalue points to was
 * marked with it. */
static void close_thread(Global_ *g, lua_State *co)
{
    for (UpVal *up = co->open_upvals, *next; up; up = next) {
        next = up->next;
        if (luG_isdead(g, up))
            continue;
        up->closed = *up->v;
        up->v = &up->closed;
    }
    co->open_upvals = NULL;
}

void luG_dispose(Global_ *g, GCObject *o)
{
    if (o->type == OBJ_TABLE) {
        luT_freeparts(g->main, (Table *)o);
    } else if (o->type == OBJ_THREAD) {
        lua_State *co = (lua_State *)o;
        close_thread(g, co);
        luH_free(g->main, co->stack, (size_t)co->stack_size * sizeof(Value));
        luH_free(g->main, co->ci_base, (size_t)co->ci_size * sizeof(CallInfo));
    }
}

void luG_close(Global_ *g)
{
    GC *gc = &g->gc;
    for (int i = 0; i < gc->module_count; i++) {
        if (gc->modules[i].module) /* NULL: abandoned amid luG_releasemodules */
            luau_module_release(gc->modules[i].module);
    }
    gc->module_count = 0;
    gc->last_marked = NULL;
}
