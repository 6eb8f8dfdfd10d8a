/* heapcheck.c: walks the heap of a VM and checks what must hold at any safepoint. For tests.
 *
 * Of the heap: cells and blocks add up. Of every object: its fields make sense, and what it refers
 * to is a live object of this heap of the right type, or shared. Of the collector: while marking,
 * no black object refers to a white one, and the modules that live objects need are held. Uses
 * memory of the system, not the VM's. */
#include <stdio.h>
#include <stdlib.h>

#include "luau/call.h"
#include "luau/func.h"
#include "luau/str.h"
#include "luau/table.h"

typedef struct Checker {
    Global_ *g;
    GCObject **objects; /* sorted by address */
    size_t count, room;
    const GCObject *at; /* the one being looked at */
    const char *fault;
} Checker;

static void fail(Checker *c, const char *what)
{
    if (!c->fault)
        c->fault = what;
}

#define CHECK(c, condition, what)                                                                  \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail((c), (what));                                                                     \
    } while (0)

/* ---- objects --------------------------------------------------------------------------------- */

static void collect(Global_ *g, GCObject *object, size_t size, void *arg)
{
    Checker *c = arg;
    (void)size;
    if (luG_isdead(g, object) && !object_isshared(object))
        return;
    if (c->count == c->room) {
        c->room = c->room ? c->room * 2 : 256;
        GCObject **grown = reallocarray(c->objects, c->room, sizeof(GCObject *));
        if (!grown) {
            c->room = c->count;
            fail(c, "no memory for the check");
            return;
        }
        c->objects = grown;
    }
    c->objects[c->count++] = object;
}

static int compare_address(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_known(const Checker *c, const GCObject *o)
{
    return o == (GCObject *)c->g->main ||
           bsearch(&o, c->objects, c->count, sizeof(GCObject *), compare_address) != NULL;
}

static bool holds_module(const Checker *c, const luau_Module *module)
{
    for (int i = 0; i < c->g->gc.module_count; i++) {
        if (c->g->gc.modules[i].module == module)
            return true;
    }
    return false;
}

/* Big tables are black while the rest of them waits on the grey stack. */
static bool is_half_scanned(const Checker *c, const GCObject *o)
{
    const GC *gc = &c->g->gc;
    for (int i = 0; i < gc->grey_count; i++) {
        if (gc->grey[i] == o)
            return true;
    }
    return false;
}

/* ---- references ------------------------------------------------------------------------------ */

static void check_object(Checker *c, const void *p, int type)
{
    const GCObject *o = p;
    if (!o || ((uintptr_t)o & 7) || (uintptr_t)o >> 48) {
        fail(c, "no object's address");
        return;
    }
    bool known = is_known(c, o);
    if (!known && !object_isshared(o)) { /* may read freed memory: then the fault is found anyhow */
        fail(c, "reference to no live object of this heap");
        return;
    }
    CHECK(c, o->type == type, "reference to an object of another type");
    if (o->mark & MARK_MODULE)
        CHECK(c, holds_module(c, ((luau_Module *const *)o)[-1]), "module is not held");
    if (object_isshared(o))
        return;
    CHECK(c, (o->mark & MARK_WHITES) != MARK_WHITES, "object of two whites");
    CHECK(c, !(object_iswhite(o) && object_isblack(o)), "object white and black");
    if (c->g->gc.phase == GC_PROPAGATE && object_isblack(c->at) && !is_half_scanned(c, c->at))
        CHECK(c, !object_iswhite(o), "black object refers to a white one");
}

static void check_value(Checker *c, Value v)
{
    switch (val_tag(v)) {
    case TAG_SPECIAL: CHECK(c, v.u - VAL_NIL_BITS <= 2, "special value of no kind"); break;
    case TAG_STRING: check_object(c, val_ptr(v), OBJ_STRING); break;
    case TAG_TABLE: check_object(c, val_ptr(v), OBJ_TABLE); break;
    case TAG_FUNCTION: check_object(c, val_ptr(v), OBJ_FUNCTION); break;
    case TAG_USERDATA: check_object(c, val_ptr(v), OBJ_USERDATA); break;
    case TAG_OBJECT: {
        const GCObject *o = val_object(v);
        bool readable = o && !((uintptr_t)o & 7) && (is_known(c, o) || object_isshared(o));
        int type = readable ? o->type : OBJ_FREE;
        CHECK(c,
              type == OBJ_VECTOR || type == OBJ_INTEGER || type == OBJ_BUFFER || type == OBJ_THREAD,
              "value of an object of no kind");
        if (readable)
            check_object(c, o, type);
        break;
    }
    default: CHECK(c, !val_isdeadkey(v), "dead key as a value");
    }
}

static void check_optional(Checker *c, const void *p, int type)
{
    if (p)
        check_object(c, p, type);
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* True if the chain from the key's main node comes by node i. */
static bool is_reachable(const Table *t, int i)
{
    int count = table_nodecount(t);
    const int32_t *chain = table_chain(t);
    int at = (int)(luT_mainnode(t, t->node[i].key) - t->node);
    for (int steps = 0; steps <= count; steps++) {
        if (at == i)
            return true;
        if (chain[at] == 0)
            return false;
        at += chain[at];
    }
    return false;
}

static void check_node(Checker *c, Table *t, int i)
{
    const Node *node = &t->node[i];
    int count = table_nodecount(t);
    int next = i + table_chain(t)[i];
    CHECK(c, next >= 0 && next < count, "chain leaves the table");
    if (t->last_free <= 0 || i >= t->last_free)
        CHECK(c, !val_isnil(node->key), "free node above last_free");
    check_value(c, node->value);
    if (val_isnil(node->key)) {
        CHECK(c, val_isnil(node->value) && table_chain(t)[i] == 0, "unused node in use");
        return;
    }
    if (val_isdeadkey(node->key)) {
        CHECK(c, val_isnil(node->value), "dead key with a value");
        return;
    }
    check_value(c, node->key);
    if (c->fault)
        return;
    if (val_isstring(node->key))
        CHECK(c, val_string(node->key)->flags & STRING_HASHED, "string key without hash");
    CHECK(c, is_reachable(t, i), "key is not in the chain of its main node");
    if (val_isnumber(node->key) && !val_isnil(node->value)) {
        double n = node->key.n;
        CHECK(c, !(n >= 1 && n <= (double)t->array_size + 1 && n == (double)(int)n),
              "integer key in the hash part belongs to the array");
    }
}

static void check_table(Checker *c, Table *t)
{
    check_optional(c, t->meta, OBJ_TABLE);
    CHECK(c, t->array_size >= 0 && (t->array_size == 0) == (t->array == NULL), "array part");
    for (int i = 0; i < t->array_size && !c->fault; i++)
        check_value(c, t->array[i]);
    if (t->last_free < 0)
        CHECK(c, -t->last_free <= t->array_size, "border beyond the array");
    if (t->node == luT_dummy) {
        CHECK(c,
              t->lsizenode == 0 && t->node_mask8 == 0 && t->last_free <= 0 &&
                  !(t->flags & TABLE_SEEDED),
              "table without hash part");
        return;
    }
    int count = table_nodecount(t);
    CHECK(c, t->node_mask8 == (uint8_t)(count - 1), "node mask");
    CHECK(c, t->last_free <= count, "last_free beyond the nodes");
    for (int i = 0; i < count && !c->fault; i++)
        check_node(c, t, i);
    for (int e = 0; e < 8 && !c->fault && !object_isshared(t); e++) {
        if (t->tm_absent & (1u << e))
            CHECK(c, val_isnil(luT_getstring(t, luTM_name((TM)e))), "metamethod taken for absent");
    }
}

/* ---- other objects --------------------------------------------------------------------------- */

static void check_string(Checker *c, const String *s)
{
    CHECK(c, s->data[s->length] == '\0', "string without its end");
    if (s->flags & STRING_HASHED)
        CHECK(c, s->hash == luS_hash(s->data, s->length), "hash of a string");
}

static void check_closure(Checker *c, Closure *cl)
{
    const Value *up = cl->c.up;
    int count = cl->nup;
    if (cl->kind == CLOSURE_LUA) {
        CHECK(c, cl->l.proto && cl->l.proto->nup == cl->nup && cl->l.proto->ncache == cl->ncache,
              "closure and its prototype");
        if (c->fault)
            return;
        if (cl->l.proto->module)
            CHECK(c, holds_module(c, cl->l.proto->module), "module of a closure is not held");
        check_optional(c, cl->l.env, OBJ_TABLE);
        up = cl->l.up;
        count += cl->ncache;
    }
    for (int i = 0; i < count && !c->fault; i++) {
        if (val_tag(up[i]) == TAG_OBJECT && is_known(c, val_object(up[i])) &&
            val_object(up[i])->type == OBJ_UPVAL)
            check_object(c, val_ptr(up[i]), OBJ_UPVAL);
        else
            check_value(c, up[i]);
    }
}

static void check_frames(Checker *c, lua_State *co)
{
    CHECK(c, co->ci >= co->ci_base && co->ci < co->ci_end, "frame outside the frames");
    CHECK(c,
          co->ci_end - co->ci_base == co->ci_size ||
              (co->ci_end - co->ci_base == LUAI_MAXCALLS && co->ci_size > LUAI_MAXCALLS),
          "room for frames");
    for (const CallInfo *ci = co->ci_base; ci <= co->ci && !c->fault; ci++)
        CHECK(c,
              ci->func >= co->stack && ci->func <= ci->base && ci->base <= ci->top &&
                  ci->top <= co->stack + co->stack_size,
              "frame outside the stack");
}

static void check_thread(Checker *c, lua_State *co)
{
    CHECK(c, co->global == c->g, "thread of another VM");
    check_optional(c, co->globals, OBJ_TABLE);
    check_optional(c, co->namecall, OBJ_STRING);
    check_optional(c, co->from, OBJ_THREAD);
    if (!co->stack || !co->ci_base)
        return;
    Value *end = co->stack + co->stack_size;
    CHECK(c, co->top >= co->stack && co->top <= end && co->stack_last < end, "top of a stack");
    for (Value *v = co->stack; v < co->top && !c->fault; v++)
        check_value(c, *v);
    check_frames(c, co);
    for (UpVal *up = co->open_upvals; up && !c->fault; up = up->next) {
        check_object(c, up, OBJ_UPVAL);
        if (c->fault)
            return;
        CHECK(c, up->v >= co->stack && up->v < end, "open upvalue outside its stack");
        CHECK(c, !up->next || up->next->v < up->v, "open upvalues out of order");
    }
}

static void check_contents(Checker *c, GCObject *o)
{
    c->at = o;
    switch (o->type) {
    case OBJ_STRING: check_string(c, (String *)o); break;
    case OBJ_TABLE: check_table(c, (Table *)o); break;
    case OBJ_FUNCTION: check_closure(c, (Closure *)o); break;
    case OBJ_THREAD: check_thread(c, (lua_State *)o); break;
    case OBJ_USERDATA: check_optional(c, ((Udata *)o)->meta, OBJ_TABLE); break;
    case OBJ_UPVAL: check_value(c, *((UpVal *)o)->v); break;
    case OBJ_VECTOR:
    case OBJ_INTEGER:
    case OBJ_BUFFER: break;
    default: fail(c, "object of no type");
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void check_roots(Checker *c)
{
    Global_ *g = c->g;
    static const GCObject grey = {.type = OBJ_TABLE, .mark = 0};
    c->at = &grey;
    check_optional(c, g->registry, OBJ_TABLE);
    check_optional(c, g->running, OBJ_THREAD);
    for (int i = 0; i < LUA_T_COUNT; i++)
        check_optional(c, g->type_meta[i], OBJ_TABLE);
    for (int i = 0; g->udata_meta && i < LUA_UTAG_LIMIT; i++)
        check_optional(c, g->udata_meta[i], OBJ_TABLE);
}

const char *luG_checkheap(lua_State *L)
{
    Global_ *g = G(L);
    Checker c = {.g = g};
    c.fault = luH_check(g);
    const char *whose = "heap";
    if (!c.fault)
        luH_eachobject(g, collect, &c);
    if (!c.fault) {
        if (c.count > 0)
            qsort(c.objects, c.count, sizeof(GCObject *), compare_address);
        whose = "roots";
        check_roots(&c);
    }
    if (!c.fault) {
        whose = "main thread";
        check_contents(&c, (GCObject *)g->main);
    }
    for (size_t i = 0; i < c.count && !c.fault; i++) {
        GCObject *o = c.objects[i];
        whose = o->type == OBJ_UPVAL    ? "upvalue"
                : o->type < LUA_T_COUNT ? luTM_typenames[o->type]
                                        : "object";
        check_contents(&c, o);
    }
    free(c.objects);
    if (!c.fault)
        return NULL;
    if (!g->check_text)
        g->check_text = malloc(REPORT_SIZE);
    if (!g->check_text)
        return c.fault;
    snprintf(g->check_text, REPORT_SIZE, "%s: %s", whose, c.fault);
    return g->check_text;
}
