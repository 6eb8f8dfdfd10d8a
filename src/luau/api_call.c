/* api_call.c: calls, the collector and the account, references, and loading code. */
#include <stdio.h>

#include "luau/api.h"
#include "luau/fiber.h"
#include "luau/module.h"

/* ---- calls ----------------------------------------------------------------------------------- */

void lua_call(lua_State *L, int nargs, int nresults)
{
    api_checkcount(L, nargs + 1);
    luD_call(L, L->top - (nargs + 1), nresults);
    luE_adopt(L, nresults);
}

int lua_pcall(lua_State *L, int nargs, int nresults, int errfunc)
{
    api_checkcount(L, nargs + 1);
    struct ProtectedCall call = {
        .func = luD_savestack(L, L->top - (nargs + 1)),
        .nresults = nresults,
        .handler = errfunc ? luE_value(L, errfunc) : VAL_NIL,
    };
    int status = luD_pcall(L, luD_callprotected, &call, call.func);
    luE_adopt(L, nresults);
    return status;
}

int luau_protect(lua_State *L, void (*work)(lua_State *L, void *arg), void *arg)
{
    return luD_pcall(L, work, arg, luD_savestack(L, L->top));
}

int lua_error(lua_State *L)
{
    api_checkcount(L, 1);
    luD_throw(L, LUA_ERRRUN);
}

/* ---- collector ------------------------------------------------------------------------------- */

/* Steps until they came up for that many bytes of allocation, at least one, or a cycle ended. */
static int collect_step(lua_State *L, int kilobytes)
{
    GC *gc = &G(L)->gc;
    bool stopped = gc->stopped;
    uint64_t cycles = gc->cycles;
    size_t goal = kilobytes > 0 ? (size_t)kilobytes << 10 : 0;
    size_t done = 0;
    gc->stopped = false;
    do {
        luG_step(L);
        luY_poll(L);
        done += gc->step_bytes;
    } while (gc->cycles == cycles && done < goal);
    gc->stopped = stopped;
    return gc->cycles != cycles;
}

static int swap(uint32_t *setting, int value, int least)
{
    int old = (int)*setting;
    *setting = (uint32_t)(value < least ? least : value);
    return old;
}

int lua_gc(lua_State *L, int what, int data)
{
    Global_ *g = G(L);
    GC *gc = &g->gc;
    switch (what) {
    case LUA_GCSTOP: gc->stopped = true; return 0;
    case LUA_GCRESTART: gc->stopped = false; return 0;
    case LUA_GCCOLLECT: luG_full(L); return 0;
    case LUA_GCCOUNT: return (int)(g->heap.live_bytes >> 10);
    case LUA_GCCOUNTB: return (int)(g->heap.live_bytes & 1023);
    case LUA_GCISRUNNING: return !gc->stopped;
    case LUA_GCSTEP: return collect_step(L, data);
    case LUA_GCSETGOAL: return swap(&gc->goal_percent, data, 101);
    case LUA_GCSETSTEPMUL: return swap(&gc->step_mul, data, 1);
    case LUA_GCSETSTEPSIZE: {
        int old = (int)(gc->step_bytes >> 10);
        gc->step_bytes = (uint32_t)(data < 1 ? 1 : data > 1 << 20 ? 1 << 20 : data) << 10;
        return old;
    }
    default: return -1;
    }
}

/* ---- account --------------------------------------------------------------------------------- */

typedef struct CategorySum {
    int category;
    size_t bytes, others;
} CategorySum;

/* Tables remember a category, everything else belongs to 0. */
static void add_category(Global_ *g, GCObject *object, size_t size, void *arg)
{
    (void)g;
    CategorySum *sum = arg;
    if (object->type != OBJ_TABLE)
        return;
    Table *t = (Table *)object;
    size_t bytes = size + luT_partsize(t);
    if (t->memcat == sum->category)
        sum->bytes += bytes;
    if (t->memcat != 0)
        sum->others += bytes;
}

size_t lua_totalbytes(lua_State *L, int category)
{
    Global_ *g = G(L);
    if (category < 0)
        return g->heap.live_bytes;
    CategorySum sum = {.category = category};
    luH_eachobject(g, add_category, &sum);
    if (category == 0)
        return g->heap.live_bytes > sum.others ? g->heap.live_bytes - sum.others : 0;
    return sum.bytes;
}

void lua_setmemcat(lua_State *L, int category)
{
    BASE_ASSERT(category >= 0 && category < 8);
    L->memcat = (uint8_t)category;
}

void luau_account(lua_State *L, luau_Account *account)
{
    Global_ *g = G(L);
    *account = (luau_Account){
        .live_bytes = g->heap.live_bytes,
        .reserved_bytes = g->heap.reserved_bytes,
        .peak_bytes = g->heap.peak_bytes,
        .external_bytes = g->heap.external_bytes,
        .cpu_ns = g->cpu_ns,
        .collections = g->gc.cycles,
        .preemptions = g->preemptions,
        .polls = g->polls,
    };
}

void luau_charge(lua_State *L, ptrdiff_t bytes)
{
    if (bytes > 0) {
        luG_check(L);
        luH_reserve(L, (size_t)bytes);
    }
    luH_charge(L, bytes);
}

void luau_setquota(lua_State *L, size_t memory_max_bytes)
{
    G(L)->heap.quota_bytes = memory_max_bytes;
}

/* ---- shrinking ------------------------------------------------------------------------------- */

typedef struct ThreadList {
    lua_State **threads;
    int count, room;
} ThreadList;

static void list_thread(Global_ *g, GCObject *object, size_t size, void *arg)
{
    (void)g, (void)size;
    ThreadList *list = arg;
    if (object->type != OBJ_THREAD || !((lua_State *)object)->ci_base)
        return;
    if (list->count < list->room)
        list->threads[list->count] = (lua_State *)object;
    list->count++;
}

/* A smaller stack is a new block before the old one goes; there must be room for both. */
static bool has_room(const Heap *heap, const lua_State *L)
{
    size_t largest = (size_t)L->stack_size * sizeof(Value) + (size_t)L->ci_size * sizeof(CallInfo);
    return heap->quota_bytes == 0 ||
           (heap->reserved_bytes < heap->quota_bytes &&
            heap->quota_bytes - heap->reserved_bytes > largest + HEAP_FIRST_CHUNK);
}

static void shrink_stacks(lua_State *L, void *arg)
{
    (void)arg;
    Global_ *g = G(L);
    ThreadList list = {0};
    luH_eachobject(g, list_thread, &list); /* counts; blocks cannot move while the heap is walked */
    size_t bytes = (size_t)(list.count + 1) * sizeof(lua_State *);
    list.threads = luH_try(g, bytes);
    if (!list.threads)
        return;
    list.room = list.count;
    list.count = 0;
    luH_eachobject(g, list_thread, &list);
    for (int i = 0; i < list.count; i++) {
        if (has_room(&g->heap, list.threads[i]))
            luD_shrinkstack(list.threads[i]);
    }
    luH_free(L, list.threads, bytes);
    if (has_room(&g->heap, g->main))
        luD_shrinkstack(g->main);
}

void luau_shrink(lua_State *L)
{
    luG_full(L);
    luH_trim(G(L));
    ptrdiff_t top = luD_savestack(L, L->top);
    if (luD_pcall(L, shrink_stacks, NULL, top) != LUA_OK)
        L->top = luD_restorestack(L, top);
    luH_trim(G(L));
}

/* ---- references ------------------------------------------------------------------------------
 *
 * registry[ref] is the value; free references form a list through registry[ref] = next as a number
 * that starts at ref_free. */

int lua_ref(lua_State *L, int index)
{
    Global_ *g = G(L);
    Value v = luE_value(L, index);
    if (val_isnil(v))
        return LUA_REFNIL;
    luG_check(L);
    Table *registry = luE_table(L, LUA_REGISTRYINDEX);
    int ref = g->ref_free;
    if (ref != 0) {
        Value next = luT_getint(registry, ref);
        BASE_ASSERT(val_isnumber(next));
        g->ref_free = (int)next.n;
    } else {
        ref = luT_length(registry) + 1;
    }
    *luT_setint(L, registry, ref) = v;
    luG_barriertable(L, registry);
    return ref;
}

void lua_unref(lua_State *L, int ref)
{
    Global_ *g = G(L);
    if (ref <= LUA_REFNIL || !g->registry)
        return;
    Value *slot = luT_findint(g->registry, ref);
    api_check(L, slot && !val_isnil(*slot));
    if (!slot)
        return;
    *slot = val_number(g->ref_free);
    g->ref_free = ref;
}

/* ---- code ------------------------------------------------------------------------------------ */

void luau_load(lua_State *L, luau_Module *module, int charge)
{
    luG_check(L);
    luG_holdmodule(L, module, charge != 0);
    Closure *closure = luF_newlua(L, module->main, L->globals);
    api_push(L, val_fromclosure(closure));
    /* What the compiler resolved by name is the image's that it was given. */
    if (module->image && module->image != G(L)->image && !object_isshared(L->globals))
        L->globals->flags &= (uint8_t)~TABLE_SAFEENV;
}

static int poll_compiler(void *L)
{
    return luau_pollkill(L);
}

static bool is_nomem(const luau_Diagnostic *diagnostic)
{
    return strcmp(diagnostic->message, "not enough memory") == 0;
}

/* Compiles with what is left of the quota; once more after a collection if that is too little. */
static luau_Module *compile_within_quota(lua_State *L, const char *source, size_t length,
                                         const char *chunkname, luau_Diagnostic *diagnostic)
{
    Heap *heap = &G(L)->heap;
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    options.image = G(L)->image;
    options.poll = poll_compiler;
    options.poll_userdata = L;
    for (int attempt = 0;; attempt++) {
        size_t quota = heap->quota_bytes, used = heap->reserved_bytes;
        options.memory_max_bytes = quota == 0 ? 0 : used < quota ? quota - used : 1;
        luau_Module *module = luau_compile(source, length, chunkname, &options, diagnostic);
        if (module || attempt == 1 || quota == 0 || !is_nomem(diagnostic))
            return module;
        luG_full(L);
        luH_trim(G(L));
    }
}

int luau_loadstring(lua_State *L, const char *source, size_t length, const char *chunkname)
{
    Global_ *g = G(L);
    luau_Diagnostic diagnostic;
    luau_module_release(g->loading); /* an error or a kill came in between */
    g->loading = NULL;
    g->loading = compile_within_quota(L, source, length, chunkname, &diagnostic);
    if (g->loading) {
        luau_load(L, g->loading, 1);
        luau_module_release(g->loading);
        g->loading = NULL;
        return LUA_OK;
    }
    luY_poll(L); /* does not return if it was a kill that stopped the compiler */
    if (is_nomem(&diagnostic)) {
        lua_pushstring(L, diagnostic.message);
        return LUA_ERRMEM;
    }
    char shown[LUA_IDSIZE];
    luM_shownname(shown, chunkname, luY_textlength(chunkname));
    lua_pushfstring(L, "%s:%d: %s", shown, diagnostic.line, diagnostic.message);
    return LUA_ERRSYNTAX;
}
