/* gc_mark.c: marking: from roots to grey objects to black ones. gc.h has the colours' story.
 *
 * Strings, vectors, integers and buffers refer to nothing and go from white to black at once,
 * userdata and closed upvalues too (what they refer to is marked with them: one level, no
 * recursion). Tables, closures and threads become grey and are pushed on `grey`. A big table is
 * scanned in pieces: under the pieces' finds stays an entry with the table and, on top of it, an
 * odd "pointer", the position.
 *
 * Threads never become black while the mutator may run (stack writes have no barrier): once scanned
 * they wait in `again` for the atomic phase, as do open upvalues (which are stack slots of perhaps
 * unreached threads), weak tables (whose mode is read there for good) and tables that were black
 * and written to.
 *
 * An object that finds no room on `grey` or `again` just stays grey, and `overflow` makes the
 * atomic phase look for such objects by walking the heap; a weak table that finds no room in `weak`
 * is treated as a strong one. So marking needs no memory that it may not get.
 *
 * All of the atomic phase polls now and then (nothing of the mutator runs meanwhile: whoever called
 * the collector is at a safepoint and waits). */
#include "luau/fiber.h"
#include "luau/gc.h"
#include "luau/module.h"
#include "luau/state.h"
#include "luau/str.h"
#include "luau/table.h"

enum {
    PIECE = 1024,        /* slots of a table scanned in one go */
    POLL_WORK = 64 << 10 /* bytes looked at between two polls */
};
enum { WEAK_KEYS = 1, WEAK_VALUES = 2 };

bool luG_poll(Global_ *g)
{
    GC *gc = &g->gc;
    if (BASE_LIKELY(gc->work - gc->polled < POLL_WORK))
        return gc->killed;
    gc->polled = gc->work;
    lua_State *L = g->running ? g->running : g->main;
    if (atomic_load_explicit(atomic_load_explicit(&g->interrupt, memory_order_relaxed),
                             memory_order_relaxed) &&
        luau_pollkill(L))
        gc->killed = true;
    return gc->killed;
}

/* ---- lists ----------------------------------------------------------------------------------- */

/* Makes room for n more; false: there is none. */
static bool grow(Global_ *g, void *list, int32_t count, int32_t *size, int32_t n)
{
    if (BASE_LIKELY(count + n <= *size))
        return true;
    int32_t wanted = *size ? *size * 2 : GREY_MIN;
    if (*size > 1 << 28)
        return false;
    void **block = list;
    void *grown = luH_tryrealloc(g, *block, (size_t)*size * sizeof(void *),
                                 (size_t)wanted * sizeof(void *));
    if (!grown)
        return false;
    *block = grown;
    *size = wanted;
    return true;
}

static void push_grey(Global_ *g, GCObject *o)
{
    GC *gc = &g->gc;
    if (BASE_LIKELY(gc->grey_count < gc->grey_size) ||
        grow(g, &gc->grey, gc->grey_count, &gc->grey_size, 1))
        gc->grey[gc->grey_count++] = o;
    else
        gc->overflow = true;
}

/* The object stays, or becomes, grey until the atomic phase. */
static void push_again(Global_ *g, GCObject *o)
{
    GC *gc = &g->gc;
    o->mark &= (uint8_t) ~(MARK_WHITES | MARK_BLACK);
    if (grow(g, &gc->again, gc->again_count, &gc->again_size, 1))
        gc->again[gc->again_count++] = o;
    else
        gc->overflow = true;
}

static bool push_weak(Global_ *g, Table *t)
{
    GC *gc = &g->gc;
    if (!grow(g, &gc->weak, gc->weak_count, &gc->weak_size, 1))
        return false;
    gc->weak[gc->weak_count++] = t;
    return true;
}

BASE_INLINE void blacken(GCObject *o)
{
    o->mark = (uint8_t)((o->mark & ~MARK_WHITES) | MARK_BLACK);
}

/* ---- modules --------------------------------------------------------------------------------- */

/* Index of the module, or of the place where it would be; the list is sorted by address. */
static int find_module(const GC *gc, const luau_Module *module)
{
    int low = 0, high = gc->module_count;
    while (low < high) {
        int middle = (low + high) / 2;
        if ((uintptr_t)gc->modules[middle].module < (uintptr_t)module)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void mark_module(Global_ *g, luau_Module *module)
{
    GC *gc = &g->gc;
    if (module == gc->last_marked)
        return;
    int at = find_module(gc, module);
    BASE_DEBUG(at < gc->module_count && gc->modules[at].module == module);
    if (at < gc->module_count && gc->modules[at].module == module)
        gc->modules[at].marked = true;
    gc->last_marked = module;
}

void luG_holdmodule(lua_State *L, luau_Module *module, bool charge)
{
    Global_ *g = G(L);
    GC *gc = &g->gc;
    size_t bytes = luau_module_bytes(module);
    int at = find_module(gc, module);
    if (at < gc->module_count && gc->modules[at].module == module) {
        if (charge && !gc->modules[at].charged) {
            luH_charge(L, (ptrdiff_t)bytes);
            gc->modules[at].charged = true;
        }
        return;
    }
    if (gc->module_count == gc->module_size) {
        int32_t size = gc->module_size ? gc->module_size * 2 : 2;
        gc->modules = luH_realloc(L, gc->modules, (size_t)gc->module_size * sizeof(ModuleRef),
                                  (size_t)size * sizeof(ModuleRef));
        gc->module_size = size;
    }
    if (charge)
        luH_charge(L, (ptrdiff_t)bytes);
    else /* no one's quota, but garbage like any other */
        gc->threshold = gc->threshold > bytes ? gc->threshold - bytes : 0;
    memmove(gc->modules + at + 1, gc->modules + at,
            (size_t)(gc->module_count - at) * sizeof(ModuleRef));
    gc->modules[at] = (ModuleRef){.module = luau_module_retain(module), .charged = charge};
    gc->module_count++;
}

void luG_resetmodules(Global_ *g)
{
    for (int i = 0; i < g->gc.module_count; i++)
        g->gc.modules[i].marked = false;
    g->gc.last_marked = NULL;
}

/* There may be very many: this polls, so the list is whole (but for NULLs) after each release. */
void luG_releasemodules(Global_ *g)
{
    GC *gc = &g->gc;
    gc->last_marked = NULL;
    for (int i = 0; i < gc->module_count; i++) {
        luau_Module *module = gc->modules[i].module;
        if (gc->modules[i].marked)
            continue;
        size_t bytes = luau_module_bytes(module);
        gc->modules[i].module = NULL;
        if (gc->modules[i].charged)
            luH_charge(g->main, -(ptrdiff_t)bytes);
        luau_module_release(module);
        gc->work += bytes;
        luG_poll(g);
    }
    int kept = 0;
    for (int i = 0; i < gc->module_count; i++) {
        if (gc->modules[i].module)
            gc->modules[kept++] = gc->modules[i];
    }
    gc->module_count = kept;
}

/* ---- marking --------------------------------------------------------------------------------- */

static void mark_object(Global_ *g, GCObject *o);

BASE_INLINE void mark_value(Global_ *g, Value v)
{
    if (val_isheap(v) && (val_object(v)->mark & (MARK_WHITES | MARK_MODULE)))
        mark_object(g, val_object(v));
}

/* Marks strings, vectors and integers, which weak tables hold as they hold numbers. */
BASE_INLINE void mark_plain(Global_ *g, Value v)
{
    if (val_isplain(v))
        mark_value(g, v);
}

#define mark_pointer(g, p)                                                                         \
    do {                                                                                           \
        if ((p) && ((p)->mark & (MARK_WHITES | MARK_MODULE)))                                      \
            mark_object((g), (GCObject *)(p));                                                     \
    } while (0)

static void scan_upval(Global_ *g, UpVal *up)
{
    if (upval_isopen(up) && !g->gc.atomic)
        push_again(g, (GCObject *)up);
    else
        blacken((GCObject *)up);
    mark_value(g, *up->v);
}

static void mark_object(Global_ *g, GCObject *o)
{
    if (BASE_UNLIKELY(o->mark & MARK_SHARED)) {
        if (o->mark & MARK_MODULE)
            mark_module(g, ((luau_Module **)o)[-1]);
        return;
    }
    if (!object_iswhite(o))
        return;
    g->gc.work += 16;
    switch (o->type) {
    case OBJ_STRING:
    case OBJ_INTEGER:
    case OBJ_VECTOR:
    case OBJ_BUFFER: blacken(o); break;
    case OBJ_USERDATA:
        blacken(o);
        mark_pointer(g, ((Udata *)o)->meta);
        break;
    case OBJ_UPVAL: scan_upval(g, (UpVal *)o); break;
    default: o->mark &= (uint8_t)~MARK_WHITES; push_grey(g, o);
    }
}

void luG_markroots(Global_ *g)
{
    mark_pointer(g, g->main);
    for (lua_State *co = g->running; co; co = co->from)
        mark_pointer(g, co);
    for (Activation *act = g->activation; act; act = act->previous) {
        mark_pointer(g, act->L);
        mark_value(g, act->handler);
    }
    mark_pointer(g, g->pending.L);
    mark_pointer(g, g->registry);
    for (int i = 0; i < LUA_T_COUNT; i++)
        mark_pointer(g, g->type_meta[i]);
    if (g->udata_meta) {
        for (int i = 0; i < LUA_UTAG_LIMIT; i++)
            mark_pointer(g, g->udata_meta[i]);
    }
}

/* ---- scanning -------------------------------------------------------------------------------- */

static int weak_mode(Table *t)
{
    if (!t->meta)
        return 0;
    Value mode = luTM_fast(t->meta, TM_MODE);
    if (!val_isstring(mode))
        return 0;
    const String *s = val_string(mode);
    return (memchr(s->data, 'k', s->length) ? WEAK_KEYS : 0) |
           (memchr(s->data, 'v', s->length) ? WEAK_VALUES : 0);
}

/* The key of an entry without value. Plain ones stay (their places are what the next
 * insertion of them must find); an object that nothing else holds leaves its address to `next`. */
static void scan_empty_node(Global_ *g, Node *node)
{
    Value key = node->key;
    if (!val_isheap(key))
        return;
    if (val_isplain(key))
        mark_value(g, key);
    else if (object_iswhite(val_object(key)) && !object_isshared(val_object(key)))
        node->key = VAL_TAGGED(0xFFF8u, key.u & 0xFFFFFFFFFFFFull);
}

/* Slots [from, to) of array and hash part, counted through. */
static void scan_slots(Global_ *g, Table *t, int weak, uint32_t from, uint32_t to)
{
    uint32_t array_size = (uint32_t)t->array_size;
    uint32_t i = from;
    for (uint32_t end = to < array_size ? to : array_size; i < end; i++) {
        Value v = t->array[i];
        if (val_isheap(v)) {
            if (weak & WEAK_VALUES)
                mark_plain(g, v);
            else
                mark_value(g, v);
        }
    }
    for (; i < to; i++) {
        Node *node = &t->node[i - array_size];
        if (val_isnil(node->value)) {
            scan_empty_node(g, node);
            continue;
        }
        if (weak & WEAK_KEYS)
            mark_plain(g, node->key);
        else
            mark_value(g, node->key);
        if (weak & WEAK_VALUES)
            mark_plain(g, node->value);
        else
            mark_value(g, node->value);
    }
    g->gc.work += (to - from) * (uint32_t)sizeof(Value);
}

static uint32_t slot_count(const Table *t)
{
    return (uint32_t)t->array_size + (t->node == luT_dummy ? 0 : (uint32_t)table_nodecount(t));
}

/* From a position on; leaves the rest, if any, on the grey stack. */
static void scan_piece(Global_ *g, Table *t, uint32_t from)
{
    GC *gc = &g->gc;
    int weak = weak_mode(t);
    if (weak && object_isblack(t)) /* it was made weak between two pieces */
        push_again(g, (GCObject *)t);
    uint32_t count = slot_count(t);
    while (from < count) {
        uint32_t to = count - from > PIECE ? from + PIECE : count;
        bool rest_waits = false;
        if (to < count && grow(g, &gc->grey, gc->grey_count, &gc->grey_size, 2)) {
            gc->grey[gc->grey_count++] = (GCObject *)t;
            gc->grey[gc->grey_count++] = (GCObject *)((uintptr_t)to << 1 | 1);
            rest_waits = true;
        }
        scan_slots(g, t, weak, from, to);
        if (rest_waits)
            return;
        from = to;
    }
}

static void scan_table(Global_ *g, Table *t)
{
    GC *gc = &g->gc;
    gc->work += (uint32_t)sizeof(Table);
    mark_pointer(g, t->meta);
    int weak = weak_mode(t);
    if (!gc->atomic) {
        if (weak)
            push_again(g, (GCObject *)t);
        else
            blacken((GCObject *)t);
        scan_piece(g, t, 0);
        return;
    }
    blacken((GCObject *)t);
    if (weak && !push_weak(g, t))
        weak = 0;
    /* Not in pieces: the mode must be the same for all, and only this stack is in the way. */
    uint32_t count = slot_count(t);
    for (uint32_t from = 0; from < count; from += PIECE) {
        scan_slots(g, t, weak, from, count - from > PIECE ? from + PIECE : count);
        if (luG_poll(g))
            return;
    }
}

static void scan_closure(Global_ *g, Closure *cl)
{
    blacken((GCObject *)cl);
    const Value *up = cl->c.up;
    int count = cl->nup;
    if (cl->kind == CLOSURE_LUA) {
        mark_module(g, cl->l.proto->module);
        mark_pointer(g, cl->l.env);
        up = cl->l.up;
        count += cl->ncache;
    }
    for (int i = 0; i < count; i++)
        mark_value(g, up[i]);
    g->gc.work += (uint32_t)(sizeof(Closure) + (size_t)count * sizeof(Value));
}

/* Stacks may be as large as a quota. It is the caller that gives up after a kill. */
BASE_INLINE void count_slot(Global_ *g, ptrdiff_t i)
{
    g->gc.work += sizeof(Value);
    if (BASE_UNLIKELY(i % PIECE == PIECE - 1))
        luG_poll(g);
}

static void scan_thread(Global_ *g, lua_State *co)
{
    GC *gc = &g->gc;
    mark_pointer(g, co->globals);
    mark_pointer(g, co->namecall);
    mark_pointer(g, co->from);
    for (UpVal *up = co->open_upvals; up; up = up->next)
        mark_pointer(g, up);
    if (co->stack) {
        for (Value *v = co->stack; v < co->top; v++) {
            mark_value(g, *v);
            count_slot(g, v - co->stack);
        }
    }
    if (!gc->atomic) {
        push_again(g, (GCObject *)co);
    } else {
        blacken((GCObject *)co);
        if (co->stack) { /* what stood there may die now, and frames begin with what they find */
            Value *end = co->stack + co->stack_size;
            for (Value *v = co->top; v < end; v++) {
                *v = VAL_NIL;
                count_slot(g, v - co->top);
            }
        }
    }
    gc->work += (uint32_t)sizeof(lua_State);
}

static void scan_object(Global_ *g, GCObject *o)
{
    switch (o->type) {
    case OBJ_TABLE: scan_table(g, (Table *)o); break;
    case OBJ_FUNCTION: scan_closure(g, (Closure *)o); break;
    case OBJ_THREAD: scan_thread(g, (lua_State *)o); break;
    case OBJ_UPVAL: scan_upval(g, (UpVal *)o); break;
    default: BASE_PANIC("grey object of type %d", o->type);
    }
}

bool luG_propagate(Global_ *g)
{
    GC *gc = &g->gc;
    if (gc->grey_count == 0)
        return false;
    GCObject *o = gc->grey[--gc->grey_count];
    if ((uintptr_t)o & 1) {
        Table *t = (Table *)gc->grey[--gc->grey_count];
        scan_piece(g, t, (uint32_t)((uintptr_t)o >> 1));
    } else if (!object_isblack(o)) { /* in the atomic phase it may have come by another way */
        scan_object(g, o);
    }
    return true;
}

/* ---- atomic phase ---------------------------------------------------------------------------- */

static void propagate_all(Global_ *g)
{
    while (luG_propagate(g)) {
        if (luG_poll(g))
            return;
    }
}

static void scan_again(Global_ *g)
{
    GC *gc = &g->gc;
    propagate_all(g);
    for (int i = 0; i < gc->again_count && !luG_poll(g); i++) {
        if (!object_isblack(gc->again[i]))
            scan_object(g, gc->again[i]);
        propagate_all(g);
    }
    gc->again_count = 0;
}

static void scan_if_grey(Global_ *g, GCObject *o, size_t size, void *arg)
{
    (void)arg;
    (void)size;
    g->gc.work += 8;
    if (!(o->mark & (MARK_WHITES | MARK_BLACK | MARK_SHARED)) && !luG_poll(g)) {
        scan_object(g, o);
        propagate_all(g);
    }
}

void luG_scanatomic(Global_ *g)
{
    GC *gc = &g->gc;
    for (;;) {
        scan_again(g);
        if (gc->killed || !gc->overflow)
            break;
        gc->overflow = false; /* grey objects in no list; each may lead to more */
        if (!object_isblack(g->main))
            scan_object(g, (GCObject *)g->main);
        luH_eachobject(g, scan_if_grey, NULL);
    }
}

/* True of an object that the cycle did not reach; plain ones were marked. */
static bool is_unreached(Value v)
{
    return val_isheap(v) && object_iswhite(val_object(v)) && !object_isshared(val_object(v));
}

static void clear_table(Global_ *g, Table *t)
{
    uint32_t count = slot_count(t), array_size = (uint32_t)t->array_size;
    for (uint32_t i = 0; i < count; i++) {
        if (i < array_size) {
            if (is_unreached(t->array[i]))
                t->array[i] = VAL_NIL;
        } else {
            Node *node = &t->node[i - array_size];
            if (!val_isnil(node->value) && (is_unreached(node->value) || is_unreached(node->key)))
                node->value = VAL_NIL;
            if (val_isnil(node->value))
                scan_empty_node(g, node);
        }
        g->gc.work += 8;
        luG_poll(g);
    }
}

/* Entries of weak tables with unreached objects go. Once begun it is done to the end, kill or not:
 * it is linear, and half cleared tables would show. */
void luG_clearweak(Global_ *g)
{
    for (int i = 0; i < g->gc.weak_count; i++)
        clear_table(g, g->gc.weak[i]);
}

/* ---- barriers -------------------------------------------------------------------------------- */

void luG_barrier_(lua_State *L, GCObject *o, GCObject *child)
{
    Global_ *g = G(L);
    if (g->gc.phase == GC_SWEEP) /* spares further barriers; the sweep would do the same */
        o->mark = (uint8_t)((o->mark & ~MARK_BLACK) | g->gc.white);
    else
        mark_object(g, child);
}

void luG_barriertable_(lua_State *L, Table *t)
{
    Global_ *g = G(L);
    if (g->gc.phase == GC_SWEEP)
        t->mark = (uint8_t)((t->mark & ~MARK_BLACK) | g->gc.white);
    else
        push_again(g, (GCObject *)t);
}
