/* exec.c: the interpreter's loop, the one giant function of the project.
 *
 * Rules of the loop
 *   1. `base`, `pc`, `k`, `cl` mirror L->ci. Whatever may raise, poll, look at lines, collect or
 *      call back goes inside PROTECT(): it saves pc to the frame first and rereads base after,
 *      because the stack may have moved.
 *   2. A pointer into the stack (&base[x]) is never held across PROTECT(). Values are copied out
 *      before, results are written by offset (luD_savestack) or through base after.
 *   3. While a Lua frame runs, L->top is ci->top, but between an instruction that leaves "all
 *      results" (CALL C=0, GETVARARGS B=0) and the one that takes them (CALL, RETURN, SETLIST B=0).
 *   4. A store into a table is followed by luG_barriertable, into a closure or upvalue by
 *      luG_barrier.
 *   5. Safepoints: POLL at back edges and calls; luG_check (in PROTECT) after whatever allocates,
 *      when the result is in its register.
 *   6. Registers above the live ones may hold old values: always valid ones (the collector clears
 *      what is above the top), so copying them is safe.
 *   7. Code words are read with relaxed atomics, because hints in them are written by any thread;
 *      so are constants' indices: a hint may be stale, nothing else ever changes.
 *   8. Nothing here keeps a thread-local's address: a preempted VM goes on where it stood.
 */
#include <math.h>

#include "luau/builtins.h"
#include "luau/call.h"
#include "luau/fiber.h"
#include "luau/func.h"
#include "luau/lib/lib.h"
#include "luau/str.h"
#include "luau/table.h"
#include "luau/vm.h"

#if defined(__SSE2__)
#include <emmintrin.h>
/* Truncation with x86's answer (INT_MIN) where C leaves it open. */
#define double_to_int(d) _mm_cvttsd_si32(_mm_set_sd(d))
#else
#define double_to_int(d) val_toint(d)
#endif

#define NUMBER_LIMIT ((uint32_t)TAG_SPECIAL << 16)
/* A number is that positive integer: as bits, which spares the test for NaN. */
#define SAME_INDEX(p, index) (val_number((double)(index)).u == (p)->u)
#define ISNUM(p) ((p)->w.hi < NUMBER_LIMIT)

/* Writes the hint of the instruction at `at`. Relaxed: any value is right, some are faster. */
BASE_INLINE void set_hint(const Instr *at, Instr i, int slot)
{
    if (slot <= 255 && (int)INSTR_C(i) != slot)
        __atomic_store_n((Instr *)at, (i & 0xFFFFFFu) | ((Instr)slot << 24), __ATOMIC_RELAXED);
}

/* ---- slow paths of table access: out of line, so that the loop stays small ------------------- */

/* R = t[key] for a string constant whose hint missed. */
static BASE_NOINLINE void get_string_slow(lua_State *L, const Instr *at, Value object, Value key,
                                          ptrdiff_t out)
{
    if (val_istable(object)) {
        Table *t = val_table(object);
        for (int loop = 0; loop < 8; loop++) {
            int slot = luT_nodeofstring(t, val_string(key));
            if (slot >= 0 && !val_isnil(t->node[slot].value)) {
                if (loop == 0)
                    set_hint(at, __atomic_load_n(at, __ATOMIC_RELAXED), slot);
                *luD_restorestack(L, out) = t->node[slot].value;
                return;
            }
            Value tm = luTM_fast(t->meta, TM_INDEX);
            if (val_isnil(tm)) {
                *luD_restorestack(L, out) = VAL_NIL;
                return;
            }
            if (!val_istable(tm))
                break;
            t = val_table(tm);
        }
    }
    luV_index(L, object, key, out);
}

static BASE_NOINLINE void set_string_slow(lua_State *L, const Instr *at, Value object, Value key,
                                          Value v)
{
    if (val_istable(object)) {
        Table *t = val_table(object);
        if (!(t->flags & TABLE_READONLY)) {
            int slot = luT_nodeofstring(t, val_string(key));
            if (slot >= 0 &&
                (!val_isnil(t->node[slot].value) || val_isnil(luTM_fast(t->meta, TM_NEWINDEX)))) {
                set_hint(at, __atomic_load_n(at, __ATOMIC_RELAXED), slot);
                t->node[slot].value = v;
                luG_barriertable(L, t);
                return;
            }
            if (slot < 0 && val_isnil(luTM_fast(t->meta, TM_NEWINDEX))) {
                *luT_add(L, t, key) = v;
                luG_barriertable(L, t);
                return;
            }
        }
    }
    luV_setindex(L, object, key, v);
}

/* Finds the method; out: the function, out + 1: the object. */
static BASE_NOINLINE void namecall_slow(lua_State *L, const Instr *at, Value object, Value key,
                                        ptrdiff_t out)
{
    luD_restorestack(L, out)[1] = object;
    if (!val_istable(object)) {
        Value tm = luTM_of(L, object, TM_NAMECALL);
        if (val_isfunction(tm)) {
            L->namecall = val_string(key);
            *luD_restorestack(L, out) = tm;
            return;
        }
        Table *meta = luTM_metatable(L, object);
        Value index = meta ? luTM_fast(meta, TM_INDEX) : VAL_NIL;
        if (val_istable(index)) {
            Table *t = val_table(index);
            int slot = luT_nodeofstring(t, val_string(key));
            if (slot >= 0 && !val_isnil(t->node[slot].value)) {
                set_hint(at, __atomic_load_n(at, __ATOMIC_RELAXED), slot);
                *luD_restorestack(L, out) = t->node[slot].value;
                return;
            }
        }
    }
    luV_index(L, object, key, out);
    if (val_isnil(*luD_restorestack(L, out)))
        luD_methoderror(L, luD_restorestack(L, out)[1], val_string(key));
}

static BASE_NOINLINE void import_slow(lua_State *L, const Proto *p, uint32_t path, ptrdiff_t out)
{
    int count = (int)(path >> 30);
    Value v = val_fromtable(ci_closure(L->ci)->l.env);
    for (int i = 0; i < count; i++) {
        luV_index(L, v, p->k[(path >> (20 - 10 * i)) & 1023], out);
        v = *luD_restorestack(L, out);
    }
}

/* ---- closures -------------------------------------------------------------------------------- */

static Value captured(lua_State *L, Closure *cl, Instr capture, Value *base)
{
    switch (INSTR_A(capture)) {
    case LUAU_CAPTURE_VAL: return base[INSTR_B(capture)];
    case LUAU_CAPTURE_REF: return val_fromobject(luF_findupval(L, base + INSTR_B(capture)));
    default: return cl->l.up[INSTR_B(capture)];
    }
}

static BASE_NOINLINE const Instr *make_closure(lua_State *L, Closure *cl, const Proto *child,
                                               int reg, const Instr *pc)
{
    Closure *made = luF_newlua(L, child, cl->l.env);
    L->base[reg] = val_fromclosure(made);
    for (int i = 0; i < made->nup; i++) {
        Value v = captured(L, cl, *pc++, L->base);
        made->l.up[i] = v;
    }
    return pc;
}

/* True if the cached closure captured what a new one would. */
static bool same_captures(const Closure *cached, const Closure *cl, const Instr *pc, int reg,
                          const Value *base)
{
    if (cached->l.env != cl->l.env)
        return false;
    for (int i = 0; i < cached->nup; i++, pc++) {
        int from = (int)INSTR_B(*pc);
        if (INSTR_A(*pc) == LUAU_CAPTURE_VAL && from == reg) {
            if (val_closure(cached->l.up[i]) != cached)
                return false;
        } else {
            Value v = INSTR_A(*pc) == LUAU_CAPTURE_VAL ? base[from] : cl->l.up[from];
            if (v.u != cached->l.up[i].u)
                return false;
        }
    }
    return true;
}

static BASE_NOINLINE const Instr *dup_closure(lua_State *L, Closure *cl, const Proto *child,
                                              int reg, const Instr *pc, uint32_t slot)
{
    Value *cache = &cl->l.up[cl->nup + slot];
    if (!val_isnil(*cache) && same_captures(val_closure(*cache), cl, pc, reg, L->base)) {
        L->base[reg] = *cache;
        return pc + child->nup;
    }
    pc = make_closure(L, cl, child, reg, pc);
    *cache = L->base[reg];
    luG_barrier(L, cl, *cache);
    return pc;
}

/* ---- loops and lists ------------------------------------------------------------------------- */

static BASE_NOINLINE void prepare_numeric_for(lua_State *L, Value *ra)
{
    static const char *const names[] = {"limit", "step", "initial value"};
    static const uint8_t order[] = {2, 0, 1};
    for (int i = 0; i < 3; i++) {
        Value *slot = &ra[order[i]];
        double n;
        if (!luV_tonumber(*slot, &n))
            luD_fornerror(L, *slot, names[order[i]]);
        *slot = val_number(n);
    }
}

/* A table iterated directly has nil in R[A], the table in R[A+1], the position as light userdata in
 * R[A+2]; with ipairs false in R[A]. */
static void use_direct_iteration(Value *ra)
{
    if (val_isfunction(ra[0])) {
        const Closure *f = val_closure(ra[0]);
        if (f->kind == CLOSURE_C && val_istable(ra[1])) {
            bool next = f->c.fn == luaB_next && val_isnil(ra[2]);
            bool inext = f->c.fn == luaB_inext && val_isnumber(ra[2]) && ra[2].n == 0;
            if (next || inext) {
                ra[0] = next ? VAL_NIL : VAL_FALSE;
                ra[2] = VAL_TAGGED(TAG_LIGHT, 0);
            }
        }
    }
}

static BASE_NOINLINE void prepare_generic_for(lua_State *L, ptrdiff_t at)
{
    Value *ra = luD_restorestack(L, at);
    if (val_isfunction(ra[0])) {
        use_direct_iteration(ra);
        return;
    }
    Value tm = luTM_of(L, ra[0], TM_ITER);
    if (!val_isnil(tm)) {
        Value object = ra[0];
        luD_checkstack(L, 2);
        luD_push(L, tm);
        luD_push(L, object);
        luD_call(L, L->top - 2, 3);
        ra = luD_restorestack(L, at);
        L->top -= 3;
        memcpy(ra, L->top, 3 * sizeof(Value));
        L->top = L->ci->top;
        if (val_isfalsy(ra[0])) /* in the loop nil and false stand for direct iteration */
            luD_typeerror(L, ra[0], "call");
        use_direct_iteration(ra);
        return;
    }
    if (!val_isfalsy(ra[0]) && !val_isnil(luTM_of(L, ra[0], TM_CALL)))
        return;
    if (!val_istable(ra[0]))
        luD_typeerror(L, ra[0], "iterate over");
    ra[1] = ra[0];
    ra[0] = VAL_NIL;
    ra[2] = VAL_TAGGED(TAG_LIGHT, 0);
}

/* Next entry of a table from position *index on: key and value to out[0], out[1]; false at its end.
 * Polls on long stretches without entries. */
static BASE_NOINLINE bool iterate_slow(lua_State *L, Table *t, uint32_t *index, ptrdiff_t out)
{
    Value key, value;
    bool more;
    while (!luT_iterate(t, index, &key, &value, 4096, &more)) {
        if (!more)
            return false;
        luY_poll(L);
    }
    Value *slots = luD_restorestack(L, out);
    slots[0] = key;
    slots[1] = value;
    return true;
}

/* A Lua iterator returns to its FORGLOOP: n results from `from` on, then the loop's next turn or
 * its end, as luD_finish would do it. */
static BASE_NOINLINE void return_to_loop(lua_State *L, const Value *from, int n)
{
    CallInfo *ci = L->ci;
    Value *out = ci->func;
    int wanted = ci->nresults;
    for (int j = 0; j < wanted; j++)
        out[j] = j < n ? from[j] : VAL_NIL;
    L->ci = --ci;
    L->base = ci->base;
    L->top = ci->top;
    Instr loop = ci->savedpc[-2];
    Value *ra = ci->base + INSTR_A(loop);
    if (!val_isnil(ra[3])) {
        ra[2] = ra[3];
        ci->savedpc += INSTR_D(loop) - 1;
    }
}

static BASE_NOINLINE void set_list(lua_State *L, Value *from, int count, Table *t, uint32_t first)
{
    int last = (int)first + count - 1;
    if (count == 0)
        return;
    ptrdiff_t at = luD_savestack(L, from);
    if (last > t->array_size)
        luT_resizearray(L, t, last);
    from = luD_restorestack(L, at);
    memcpy(t->array + first - 1, from, (size_t)count * sizeof(Value));
    luG_barriertable(L, t);
}

static BASE_NOINLINE void prepare_varargs(lua_State *L, int numparams)
{
    CallInfo *ci = L->ci;
    const Proto *p = ci_closure(ci)->l.proto;
    int given = (int)(L->top - ci->base);
    luD_checkstack(L, p->max_stack + LUA_MINSTACK);
    Value *fixed = ci->base;
    Value *base = L->top;
    for (int i = 0; i < numparams; i++) {
        base[i] = i < given ? fixed[i] : VAL_NIL;
        if (i < given)
            fixed[i] = VAL_NIL;
    }
    ci->base = L->base = base;
    ci->top = L->top = base + p->max_stack;
}

static BASE_NOINLINE int get_varargs(lua_State *L, int reg, int wanted)
{
    CallInfo *ci = L->ci;
    int numparams = ci_closure(ci)->l.proto->numparams;
    int count = (int)(ci->base - ci->func) - 1 - numparams;
    if (count < 0)
        count = 0;
    if (wanted < 0) {
        L->top = ci->base + reg;
        luD_checkstack(L, count + LUA_MINSTACK);
        ci = L->ci;
        wanted = count;
        L->top = ci->base + reg + count;
    }
    const Value *from = ci->func + 1 + numparams;
    Value *to = ci->base + reg;
    for (int i = 0; i < wanted; i++)
        to[i] = i < count ? from[i] : VAL_NIL;
    return wanted;
}

/* ---- the loop -------------------------------------------------------------------------------- */

#define NEXT                                                                                       \
    do {                                                                                           \
        i = __atomic_load_n(pc, __ATOMIC_RELAXED);                                                 \
        pc++;                                                                                      \
        goto *dispatch[i & 0xff];                                                                  \
    } while (0)
#define CASE(op) L_##op
/* (Widened to size_t from a byte: what they index needs no further extension.) */
#define A ((size_t)(uint8_t)(i >> 8))
#define B ((size_t)(uint8_t)(i >> 16))
#define C ((size_t)(uint8_t)(i >> 24))
#define D (INSTR_D(i))
#define PROTECT(x)                                                                                 \
    do {                                                                                           \
        L->ci->savedpc = pc;                                                                       \
        x;                                                                                         \
        base = L->base;                                                                            \
    } while (0)
#define POLL()                                                                                     \
    do {                                                                                           \
        if (BASE_UNLIKELY(atomic_load_explicit(interrupt, memory_order_relaxed)))                  \
            PROTECT(luY_pollslow(L));                                                              \
    } while (0)
#define GCCHECK()                                                                                  \
    do {                                                                                           \
        if (BASE_UNLIKELY(luG_isdue(g)))                                                           \
            PROTECT(luG_step(L));                                                                  \
    } while (0)
#define OFFSET(reg) ((char *)(base + (reg)) - (char *)L->stack)

#define SAME_STRING(x, y)                                                                          \
    ((x)->u == (y)->u || (val_isstring(*(x)) && luS_equalbytes(val_string(*(x)), val_string(*(y)))))

#define ARITH(op, left, right, leftv, rightv, tm, result)                                          \
    CASE(op) :                                                                                     \
    {                                                                                              \
        const Value *x = (left), *y = (right);                                                     \
        if (BASE_LIKELY(leftv(x) && rightv(y))) {                                                  \
            double a = x->n, b = y->n;                                                             \
            base[A].n = (result);                                                                  \
            NEXT;                                                                                  \
        }                                                                                          \
        Value va = *x, vb = *y;                                                                    \
        PROTECT(luV_arith(L, OFFSET(A), va, vb, tm));                                              \
        NEXT;                                                                                      \
    }
#define SURE(p) 1
#define ARITH_OPS(name, tm, result)                                                                \
    ARITH(name, &base[B], &base[C], ISNUM, ISNUM, tm, result)                                      \
    ARITH(name##K, &base[B], &k[C], ISNUM, SURE, tm, result)

#define COMPARE(op, negated, operator, slow)                                                       \
    CASE(op) :                                                                                     \
    {                                                                                              \
        const Value *x = &base[A], *y = &base[*pc & 0xff];                                         \
        if (BASE_LIKELY(ISNUM(x) && ISNUM(y))) {                                                   \
            pc += (negated) != (x->n operator y->n) ? D : 1;                                       \
            NEXT;                                                                                  \
        }                                                                                          \
        Value va = *x, vb = *y;                                                                    \
        bool yes;                                                                                  \
        PROTECT(yes = slow(L, va, vb));                                                            \
        pc += (negated) != yes ? D : 1;                                                            \
        NEXT;                                                                                      \
    }
#define COMPAREK(op, negated, operator, slow)                                                      \
    CASE(op) :                                                                                     \
    {                                                                                              \
        const Value *x = &base[A], *y = &k[*pc];                                                   \
        if (BASE_LIKELY(ISNUM(x))) {                                                               \
            pc += (negated) != (x->n operator y->n) ? D : 1;                                       \
            NEXT;                                                                                  \
        }                                                                                          \
        Value va = *x, vb = *y;                                                                    \
        bool yes;                                                                                  \
        PROTECT(yes = slow);                                                                       \
        pc += (negated) != yes ? D : 1;                                                            \
        NEXT;                                                                                      \
    }

#define FASTCALL_ARGS(count)                                                                       \
    do {                                                                                           \
        if (BASE_UNLIKELY(!(cl->l.env->flags & TABLE_SAFEENV)))                                    \
            break;                                                                                 \
        const Instr *call = at + 1 + C;                                                            \
        Instr ci_ = *call;                                                                         \
        Value *ra = base + INSTR_A(ci_);                                                           \
        int wanted = (int)INSTR_C(ci_) - 1;                                                        \
        L->ci->savedpc = call + 1;                                                                 \
        int n = luV_builtins[A](L, ra, wanted, args, (count));                                     \
        if (n < 0)                                                                                 \
            break;                                                                                 \
        pc = call + 1;                                                                             \
        if (n != wanted) {                                                                         \
            if (wanted < 0)                                                                        \
                L->top = ra + n;                                                                   \
            else                                                                                   \
                for (; n < wanted; n++)                                                            \
                    ra[n] = VAL_NIL;                                                               \
        }                                                                                          \
        if (BASE_UNLIKELY(luG_isdue(g) && wanted >= 0)) {                                          \
            L->top = L->ci->top; /* there may be more results than there were open arguments */    \
            PROTECT(luG_step(L));                                                                  \
        }                                                                                          \
    } while (0)

int luV_execute(lua_State *L)
{
    static const void *const dispatch[256] = {
#define X(name, format, aux) [OP_##name] = &&L_##name,
        LUAU_OPCODES(X)
#undef X
    };
    /* The word does not change while this loop runs: a VM moves between OS threads at rest only. */
    Global_ *const g = G(L);
    const _Atomic(uint32_t) *const interrupt = atomic_load_explicit(&g->interrupt,
                                                                    memory_order_relaxed);
    const Instr *pc;
    Value *base;
    const Value *k;
    Closure *cl;
    Instr i;

reload:
    cl = ci_closure(L->ci);
    pc = L->ci->savedpc;
    base = L->base;
    k = cl->l.proto->k;
    NEXT;

    CASE(NOP) : NEXT;
    CASE(LOADNIL) : base[A] = VAL_NIL;
    NEXT;
    CASE(LOADB) : base[A] = val_boolean(B != 0);
    pc += C;
    NEXT;
    CASE(LOADN) : base[A].n = (double)D;
    NEXT;
    CASE(LOADK) : base[A] = k[INSTR_DU(i)];
    NEXT;
    CASE(LOADKX) : base[A] = k[*pc++];
    NEXT;
    CASE(MOVE) : base[A] = base[B];
    NEXT;

    CASE(GETGLOBAL) :
    {
        const Instr *at = pc - 1;
        Value key = k[*pc++];
        Table *t = cl->l.env;
        const Node *node = &t->node[C & t->node_mask8];
        if (BASE_LIKELY(node->key.u == key.u && !val_isnil(node->value))) {
            base[A] = node->value;
            NEXT;
        }
        PROTECT(get_string_slow(L, at, val_fromtable(t), key, OFFSET(A)));
        NEXT;
    }
    CASE(SETGLOBAL) :
    {
        const Instr *at = pc - 1;
        Value key = k[*pc++];
        Table *t = cl->l.env;
        Node *node = &t->node[C & t->node_mask8];
        if (BASE_LIKELY(node->key.u == key.u && !val_isnil(node->value) &&
                        !(t->flags & TABLE_READONLY))) {
            node->value = base[A];
            luG_barriertable(L, t);
            NEXT;
        }
        PROTECT(set_string_slow(L, at, val_fromtable(t), key, base[A]));
        GCCHECK();
        NEXT;
    }
    CASE(GETUPVAL) : base[A] = cl->l.up[B];
    NEXT;
    CASE(GETUPREF) : base[A] = *((UpVal *)val_ptr(cl->l.up[B]))->v;
    NEXT;
    CASE(SETUPREF) :
    {
        UpVal *up = val_ptr(cl->l.up[B]);
        *up->v = base[A];
        luG_barrier(L, up, base[A]);
        NEXT;
    }
    CASE(CLOSEUPVALS) :
    {
        if (L->open_upvals && L->open_upvals->v >= base + A)
            luF_close(L, base + A);
        NEXT;
    }
    CASE(GETIMPORT) :
    {
        uint32_t path = *pc++;
        Value v = k[INSTR_DU(i)];
        if (BASE_LIKELY((cl->l.env->flags & TABLE_SAFEENV) && !val_isnil(v))) {
            base[A] = v;
            NEXT;
        }
        PROTECT(import_slow(L, cl->l.proto, path, OFFSET(A)));
        NEXT;
    }

    CASE(GETTABLE) :
    {
        const Value *rb = &base[B], *rc = &base[C];
        if (BASE_LIKELY(val_istable(*rb) && ISNUM(rc))) {
            Table *t = val_table(*rb);
            int index = double_to_int(rc->n);
            if (BASE_LIKELY((uint32_t)index - 1u < (uint32_t)t->array_size &&
                            SAME_INDEX(rc, index))) {
                Value v = t->array[index - 1];
                if (BASE_LIKELY(!val_isnil(v) || !t->meta)) {
                    base[A] = v;
                    NEXT;
                }
            }
        } else if (val_istable(*rb) && val_isstring(*rc)) {
            Table *t = val_table(*rb);
            int slot = luT_nodeofstring(t, val_string(*rc));
            if (slot >= 0 && !val_isnil(t->node[slot].value)) {
                base[A] = t->node[slot].value;
                NEXT;
            }
            if (!t->meta) {
                base[A] = VAL_NIL;
                NEXT;
            }
        }
        Value object = *rb, key = *rc;
        if (val_istable(object) && val_isnumber(key)) { /* in the hash part, or nowhere */
            const Value *slot = luT_find(val_table(object), key);
            if ((slot && !val_isnil(*slot)) || !val_table(object)->meta) {
                base[A] = slot ? *slot : VAL_NIL;
                NEXT;
            }
        }
        PROTECT(luV_index(L, object, key, OFFSET(A)));
        NEXT;
    }
    CASE(SETTABLE) :
    {
        const Value *rb = &base[B], *rc = &base[C];
        if (BASE_LIKELY(val_istable(*rb) && ISNUM(rc))) {
            Table *t = val_table(*rb);
            int index = double_to_int(rc->n);
            if (BASE_LIKELY((uint32_t)index - 1u < (uint32_t)t->array_size &&
                            SAME_INDEX(rc, index) && !(t->flags & TABLE_READONLY) &&
                            (!t->meta || !val_isnil(t->array[index - 1])))) {
                t->array[index - 1] = base[A];
                luG_barriertable(L, t);
                NEXT;
            }
        }
        Value object = *rb, key = *rc;
        if (val_istable(object) && !val_table(object)->meta &&
            !(val_table(object)->flags & TABLE_READONLY)) {
            Table *t = val_table(object);
            Value *slot = luT_find(t, key);
            if (!slot)
                PROTECT(slot = luT_add(L, t, key));
            *slot = base[A];
            luG_barriertable(L, t);
            GCCHECK();
            NEXT;
        }
        PROTECT(luV_setindex(L, object, key, base[A]));
        GCCHECK();
        NEXT;
    }
    CASE(GETTABLEKS) :
    {
        const Instr *at = pc - 1;
        Value key = k[*pc++];
        const Value *rb = &base[B];
        if (BASE_LIKELY(val_istable(*rb))) {
            Table *t = val_table(*rb);
            const Node *node = &t->node[C & t->node_mask8];
            if (BASE_LIKELY(node->key.u == key.u && !val_isnil(node->value))) {
                base[A] = node->value;
                NEXT;
            }
        }
        Value object = *rb;
        PROTECT(get_string_slow(L, at, object, key, OFFSET(A)));
        NEXT;
    }
    CASE(SETTABLEKS) :
    {
        const Instr *at = pc - 1;
        Value key = k[*pc++];
        const Value *rb = &base[B];
        if (BASE_LIKELY(val_istable(*rb))) {
            Table *t = val_table(*rb);
            Node *node = &t->node[C & t->node_mask8];
            if (BASE_LIKELY(node->key.u == key.u && !(t->flags & TABLE_READONLY) &&
                            (!val_isnil(node->value) || !t->meta))) {
                node->value = base[A];
                luG_barriertable(L, t);
                NEXT;
            }
        }
        Value object = *rb;
        PROTECT(set_string_slow(L, at, object, key, base[A]));
        GCCHECK();
        NEXT;
    }
    CASE(GETTABLEN) :
    {
        const Value *rb = &base[B];
        uint32_t index = C;
        if (BASE_LIKELY(val_istable(*rb))) {
            Table *t = val_table(*rb);
            if (BASE_LIKELY(index < (uint32_t)t->array_size &&
                            (!val_isnil(t->array[index]) || !t->meta))) {
                base[A] = t->array[index];
                NEXT;
            }
        }
        Value object = *rb;
        PROTECT(luV_index(L, object, val_number((double)index + 1), OFFSET(A)));
        NEXT;
    }
    CASE(SETTABLEN) :
    {
        const Value *rb = &base[B];
        uint32_t index = C;
        if (BASE_LIKELY(val_istable(*rb))) {
            Table *t = val_table(*rb);
            if (BASE_LIKELY(index < (uint32_t)t->array_size && !(t->flags & TABLE_READONLY) &&
                            (!t->meta || !val_isnil(t->array[index])))) {
                t->array[index] = base[A];
                luG_barriertable(L, t);
                NEXT;
            }
        }
        Value object = *rb;
        PROTECT(luV_setindex(L, object, val_number((double)index + 1), base[A]));
        NEXT;
    }

    CASE(NEWCLOSURE) :
    {
        const Instr *captures = pc;
        PROTECT(
            captures = make_closure(L, cl, cl->l.proto->children[INSTR_DU(i)], (int)A, captures));
        pc = captures;
        GCCHECK();
        NEXT;
    }
    CASE(DUPCLOSURE) :
    {
        uint32_t slot = *pc++;
        const Instr *captures = pc;
        PROTECT(captures = dup_closure(L, cl, cl->l.proto->children[INSTR_DU(i)], (int)A, captures,
                                       slot));
        pc = captures;
        GCCHECK();
        NEXT;
    }
    CASE(CAPTURE) : BASE_PANIC("CAPTURE reached");

    CASE(NAMECALL) :
    {
        const Instr *at = pc - 1;
        Value key = k[*pc++];
        Value object = base[B];
        if (BASE_LIKELY(val_istable(object))) {
            Table *t = val_table(object);
            const Node *node = &t->node[C & t->node_mask8];
            if (node->key.u == key.u && !val_isnil(node->value)) {
                base[A + 1] = object;
                base[A] = node->value;
                NEXT;
            }
            Table *meta = t->meta;
            if (meta && luT_nodeofstring(t, val_string(key)) < 0) {
                Value index = luTM_fast(meta, TM_INDEX);
                if (BASE_LIKELY(val_istable(index))) {
                    Table *methods = val_table(index);
                    node = &methods->node[C & methods->node_mask8];
                    if (BASE_LIKELY(node->key.u == key.u && !val_isnil(node->value))) {
                        base[A + 1] = object;
                        base[A] = node->value;
                        NEXT;
                    }
                    int slot = luT_nodeofstring(methods, val_string(key));
                    if (slot >= 0 && !val_isnil(methods->node[slot].value)) {
                        set_hint(at, i, slot);
                        base[A + 1] = object;
                        base[A] = methods->node[slot].value;
                        NEXT;
                    }
                }
            }
        } else if (val_isstring(object)) {
            Value index = luTM_fast(G(L)->type_meta[LUA_TSTRING], TM_INDEX);
            if (BASE_LIKELY(val_istable(index))) {
                Table *methods = val_table(index);
                const Node *node = &methods->node[C & methods->node_mask8];
                if (BASE_LIKELY(node->key.u == key.u && !val_isnil(node->value))) {
                    base[A + 1] = object;
                    base[A] = node->value;
                    NEXT;
                }
            }
        }
        PROTECT(namecall_slow(L, at, object, key, OFFSET(A)));
        NEXT;
    }

    CASE(CALL) :
    {
        Value *ra = base + A;
        int nresults = (int)C - 1;
        L->ci->savedpc = pc;
        if (B)
            L->top = ra + B;
        if (BASE_UNLIKELY(atomic_load_explicit(interrupt, memory_order_relaxed))) {
            luY_pollslow(L);
            base = L->base;
            ra = base + A;
        }
        if (BASE_UNLIKELY(!val_isfunction(*ra)))
            goto call_slow;
        Closure *callee = val_closure(*ra);
        CallInfo *ci = L->ci + 1;
        if (BASE_LIKELY(callee->kind == CLOSURE_LUA)) {
            const Proto *p = callee->l.proto;
            if (BASE_UNLIKELY(ci == L->ci_end ||
                              L->stack_last - L->top <= p->max_stack + LUA_MINSTACK ||
                              LUAU_STACK_MOVES(L)))
                goto call_slow;
            ci->func = ra;
            base = ra + 1;
            ci->base = base;
            ci->nresults = nresults;
            ci->flags = 0;
            Value *end = base + p->max_stack;
            ci->top = end;
            Value *want = base + p->numparams;
            Value *top = L->top;
            while (BASE_UNLIKELY(top < want))
                *top++ = VAL_NIL;
            L->top = BASE_UNLIKELY(p->is_vararg) ? top : end;
            L->ci = ci;
            L->base = base;
            cl = callee;
            k = p->k;
            pc = p->code;
            NEXT;
        }
        if (BASE_LIKELY(callee->kind == CLOSURE_C)) {
            if (BASE_UNLIKELY(ci == L->ci_end || L->stack_last - L->top <= LUA_MINSTACK ||
                              LUAU_STACK_MOVES(L)))
                goto call_slow;
            ci->func = ra;
            ci->base = ra + 1;
            ci->top = L->top + LUA_MINSTACK;
            ci->savedpc = NULL;
            ci->nresults = nresults;
            ci->flags = CALL_C;
            L->ci = ci;
            L->base = ra + 1;
            int n = callee->c.fn(L);
            if (BASE_UNLIKELY(n < 0)) {
                L = luD_afternative(L, n);
                goto switched;
            }
            ci = L->ci;
            Value *out = ci->func;
            const Value *from = L->top - n;
            L->ci = --ci;
            base = L->base = ci->base;
            if (BASE_LIKELY(nresults == 1)) {
                *out = n ? *from : VAL_NIL;
                L->top = ci->top;
                NEXT;
            }
            int wanted = nresults < 0 ? n : nresults;
            int j = 0;
            for (; j < wanted && j < n; j++)
                out[j] = from[j];
            for (; j < wanted; j++)
                out[j] = VAL_NIL;
            L->top = nresults < 0 ? out + n : ci->top;
            NEXT;
        }
call_slow:
        L = luD_precall(L, ra, nresults, 0);
        goto switched;
    }

    CASE(RETURN) :
    {
        Value *ra = base + A;
        int n = B ? (int)B - 1 : (int)(L->top - ra);
        if (BASE_UNLIKELY(L->open_upvals != NULL) && L->open_upvals->v >= base)
            luF_close(L, base);
        CallInfo *ci = L->ci;
        if (BASE_UNLIKELY(ci->flags)) {
            if (ci->flags == CALL_ITERATOR) {
                return_to_loop(L, ra, n);
                goto reload;
            }
            L->ci->savedpc = pc;
            L = luD_finish(L, ra, n);
            goto switched;
        }
        Value *out = ci->func;
        int nresults = ci->nresults;
        int wanted = nresults < 0 ? n : nresults;
        int j = 0;
        for (; j < wanted && j < n; j++)
            out[j] = ra[j];
        for (; j < wanted; j++)
            out[j] = VAL_NIL;
        L->ci = --ci;
        base = L->base = ci->base;
        L->top = nresults < 0 ? out + n : ci->top;
        cl = ci_closure(ci);
        k = cl->l.proto->k;
        pc = ci->savedpc;
        NEXT;
    }
    CASE(RETURN0) :
    {
        if (BASE_UNLIKELY(L->open_upvals != NULL) && L->open_upvals->v >= base)
            luF_close(L, base);
        CallInfo *ci = L->ci;
        if (BASE_UNLIKELY(ci->flags)) {
            L->ci->savedpc = pc;
            L = luD_finish(L, base, 0);
            goto switched;
        }
        Value *out = ci->func;
        int nresults = ci->nresults;
        for (int j = 0; j < nresults; j++)
            out[j] = VAL_NIL;
        L->ci = --ci;
        base = L->base = ci->base;
        L->top = nresults < 0 ? out : ci->top;
        cl = ci_closure(ci);
        k = cl->l.proto->k;
        pc = ci->savedpc;
        NEXT;
    }
    CASE(RETURN1) :
    {
        if (BASE_UNLIKELY(L->open_upvals != NULL) && L->open_upvals->v >= base)
            luF_close(L, base);
        CallInfo *ci = L->ci;
        if (BASE_UNLIKELY(ci->flags)) {
            if (ci->flags == CALL_ITERATOR) {
                return_to_loop(L, base + A, 1);
                goto reload;
            }
            L->ci->savedpc = pc;
            L = luD_finish(L, base + A, 1);
            goto switched;
        }
        Value *out = ci->func;
        int nresults = ci->nresults;
        Value v = base[A];
        L->ci = --ci;
        base = L->base = ci->base;
        L->top = ci->top;
        if (BASE_LIKELY(nresults == 1)) {
            *out = v;
        } else if (nresults < 0) {
            *out = v;
            L->top = out + 1;
        } else if (nresults > 1) {
            *out = v;
            for (int j = 1; j < nresults; j++)
                out[j] = VAL_NIL;
        }
        cl = ci_closure(ci);
        k = cl->l.proto->k;
        pc = ci->savedpc;
        NEXT;
    }

    CASE(JUMP) : pc += D;
    NEXT;
    CASE(JUMPBACK) : pc += D;
    POLL();
    NEXT;
    CASE(JUMPX) : pc += INSTR_E(i);
    if (INSTR_E(i) < 0)
        POLL();
    NEXT;
    CASE(JUMPIF) : pc += val_isfalsy(base[A]) ? 0 : D;
    NEXT;
    CASE(JUMPIFNOT) : pc += val_isfalsy(base[A]) ? D : 0;
    NEXT;
    CASE(JUMPIFNIL) : pc += val_isnil(base[A]) ? D : 0;
    NEXT;
    CASE(JUMPIFNOTNIL) : pc += val_isnil(base[A]) ? 0 : D;
    NEXT;
    CASE(JUMPIFBOOL) : pc += base[A].u == VAL_NIL_BITS + 1 + (*pc & 1) ? D : 1;
    NEXT;
    CASE(JUMPIFNOTBOOL) : pc += base[A].u == VAL_NIL_BITS + 1 + (*pc & 1) ? 1 : D;
    NEXT;
    /* (A value that is no number is a NaN as a double, so == is false for it.) */
    CASE(JUMPIFEQK) :
    {
        const Value *x = &base[A], *y = &k[*pc];
        bool same = ISNUM(y) ? x->n == y->n : SAME_STRING(x, y);
        pc += same ? D : 1;
        NEXT;
    }
    CASE(JUMPIFNOTEQK) :
    {
        const Value *x = &base[A], *y = &k[*pc];
        bool same = ISNUM(y) ? x->n == y->n : SAME_STRING(x, y);
        pc += same ? 1 : D;
        NEXT;
    }
    CASE(JUMPIFEQ) :
    {
        Value x = base[A], y = base[*pc & 0xff];
        bool same;
        if (val_isnumber(x) && val_isnumber(y))
            same = x.n == y.n;
        else
            PROTECT(same = luV_equal(L, x, y));
        pc += same ? D : 1;
        NEXT;
    }
    CASE(JUMPIFNOTEQ) :
    {
        Value x = base[A], y = base[*pc & 0xff];
        bool same;
        if (val_isnumber(x) && val_isnumber(y))
            same = x.n == y.n;
        else
            PROTECT(same = luV_equal(L, x, y));
        pc += same ? 1 : D;
        NEXT;
    }
    COMPARE(JUMPIFLT, false, <, luV_less)
    COMPARE(JUMPIFNOTLT, true, <, luV_less)
    COMPARE(JUMPIFLE, false, <=, luV_lessequal)
    COMPARE(JUMPIFNOTLE, true, <=, luV_lessequal)
    COMPAREK(JUMPIFLTK, false, <, luV_less(L, va, vb))
    COMPAREK(JUMPIFNOTLTK, true, <, luV_less(L, va, vb))
    COMPAREK(JUMPIFLEK, false, <=, luV_lessequal(L, va, vb))
    COMPAREK(JUMPIFNOTLEK, true, <=, luV_lessequal(L, va, vb))
    COMPAREK(JUMPIFGTK, false, >, luV_less(L, vb, va))
    COMPAREK(JUMPIFNOTGTK, true, >, luV_less(L, vb, va))
    COMPAREK(JUMPIFGEK, false, >=, luV_lessequal(L, vb, va))
    COMPAREK(JUMPIFNOTGEK, true, >=, luV_lessequal(L, vb, va))

    ARITH_OPS(ADD, TM_ADD, a + b)
    ARITH_OPS(SUB, TM_SUB, a - b)
    ARITH_OPS(MUL, TM_MUL, a * b)
    ARITH_OPS(DIV, TM_DIV, a / b)
    ARITH_OPS(IDIV, TM_IDIV, floor(a / b))
    ARITH_OPS(MOD, TM_MOD, a - floor(a / b) * b)
    ARITH_OPS(POW, TM_POW, luV_pow(a, b))
    ARITH(KSUB, &k[B], &base[C], SURE, ISNUM, TM_SUB, a - b)
    ARITH(KDIV, &k[B], &base[C], SURE, ISNUM, TM_DIV, a / b)
    ARITH(KADD, &k[B], &base[C], SURE, ISNUM, TM_ADD, a + b)
    ARITH(KMUL, &k[B], &base[C], SURE, ISNUM, TM_MUL, a * b)

    CASE(AND) :
    {
        Value v = base[B];
        base[A] = val_isfalsy(v) ? v : base[C];
        NEXT;
    }
    CASE(OR) :
    {
        Value v = base[B];
        base[A] = val_isfalsy(v) ? base[C] : v;
        NEXT;
    }
    CASE(ANDK) :
    {
        Value v = base[B];
        base[A] = val_isfalsy(v) ? v : k[C];
        NEXT;
    }
    CASE(ORK) :
    {
        Value v = base[B];
        base[A] = val_isfalsy(v) ? k[C] : v;
        NEXT;
    }
    CASE(CONCAT) :
    {
        int count = (int)(C - B) + 1;
        L->ci->savedpc = pc;
        L->top = base + C + 1;
        luV_concat(L, count);
        base = L->base;
        base[A] = base[B];
        L->top = L->ci->top;
        GCCHECK();
        NEXT;
    }
    CASE(TOSTRING) :
    {
        Value v = base[B];
        if (!val_isstring(v)) {
            PROTECT(v = luV_totext(L, v));
            base[A] = v;
            GCCHECK();
            NEXT;
        }
        base[A] = v;
        NEXT;
    }
    CASE(NOT) : base[A] = val_boolean(val_isfalsy(base[B]));
    NEXT;
    CASE(MINUS) :
    {
        const Value *x = &base[B];
        if (BASE_LIKELY(ISNUM(x))) {
            base[A].n = -x->n;
            NEXT;
        }
        Value v = *x;
        PROTECT(luV_arith(L, OFFSET(A), v, v, TM_UNM));
        NEXT;
    }
    CASE(LENGTH) :
    {
        Value v = base[B];
        if (BASE_LIKELY(val_istable(v) && !val_table(v)->meta)) {
            base[A].n = (double)luT_length(val_table(v));
            NEXT;
        }
        if (val_isstring(v)) {
            base[A].n = (double)val_string(v)->length;
            NEXT;
        }
        PROTECT(luV_length(L, OFFSET(A), v));
        NEXT;
    }
    CASE(NEWTABLE) :
    {
        int array_size = (int)*pc++;
        int hash_count = B ? 1 << (B - 1) : 0;
        Table *t;
        PROTECT(t = luT_new(L, array_size, hash_count));
        base[A] = val_fromtable(t);
        GCCHECK();
        NEXT;
    }
    CASE(DUPTABLE) :
    {
        Table *t;
        PROTECT(t = luT_fromshape(L, &cl->l.proto->shapes[INSTR_DU(i)]));
        base[A] = val_fromtable(t);
        GCCHECK();
        NEXT;
    }
    CASE(SETLIST) :
    {
        uint32_t first = *pc++;
        Value *from = base + B;
        int count = C ? (int)C - 1 : (int)(L->top - from);
        Table *t = val_table(base[A]);
        PROTECT(set_list(L, from, count, t, first));
        L->top = L->ci->top;
        NEXT;
    }

    CASE(FORNPREP) :
    {
        Value *ra = base + A;
        if (BASE_UNLIKELY(!ISNUM(&ra[0]) || !ISNUM(&ra[1]) || !ISNUM(&ra[2])))
            PROTECT(prepare_numeric_for(L, ra));
        ra = base + A;
        double limit = ra[0].n, step = ra[1].n, index = ra[2].n;
        if (!(step > 0 ? index <= limit : limit <= index))
            pc += D;
        NEXT;
    }
    CASE(FORNLOOP) :
    {
        Value *ra = base + A;
        double limit = ra[0].n, step = ra[1].n, index = ra[2].n + step;
        ra[2].n = index;
        if (step > 0 ? index <= limit : limit <= index) {
            pc += D;
            POLL();
        }
        NEXT;
    }
    CASE(FORGPREP) :
    {
        ptrdiff_t at = OFFSET(A);
        PROTECT(prepare_generic_for(L, at));
        pc += D;
        NEXT;
    }
    CASE(FORGLOOP) :
    {
        Value *ra = base + A;
        uint32_t aux = *pc;
        int vars = (int)(aux & 0xff);
        if (BASE_LIKELY(val_isnil(ra[0]) || ra[0].u == VAL_NIL_BITS + 1)) {
            Table *t = val_table(ra[1]);
            uint32_t index = ra[2].w.lo;
            if (BASE_LIKELY(index < (uint32_t)t->array_size && !val_isnil(t->array[index]))) {
                ra[3].n = (double)(index + 1);
                ra[4] = t->array[index];
                ra[2].w.lo = index + 1;
            } else if (val_isnil(ra[0])) {
                uint32_t hash = index - (uint32_t)t->array_size;
                if (index >= (uint32_t)t->array_size && hash < (uint32_t)table_nodecount(t) &&
                    !val_isnil(t->node[hash].value)) {
                    ra[3] = t->node[hash].key;
                    ra[4] = t->node[hash].value;
                    ra[2].w.lo = index + 1;
                } else {
                    bool found;
                    PROTECT(found = iterate_slow(L, t, &index, OFFSET(A + 3)));
                    ra = base + A;
                    if (!found) {
                        pc++;
                        NEXT;
                    }
                    ra[2].w.lo = index;
                }
            } else {
                Value v = luT_getint(t, (int)index + 1);
                if (val_isnil(v)) {
                    pc++;
                    NEXT;
                }
                ra[3].n = (double)(index + 1);
                ra[4] = v;
                ra[2].w.lo = index + 1;
            }
            for (int j = 2; j < vars; j++)
                ra[3 + j] = VAL_NIL;
            pc += D;
            POLL();
            NEXT;
        }
        ra[3] = ra[0];
        ra[4] = ra[1];
        ra[5] = ra[2];
        L->top = ra + 6;
        pc++;
        L->ci->savedpc = pc;
        if (BASE_UNLIKELY(atomic_load_explicit(interrupt, memory_order_relaxed))) {
            luY_pollslow(L);
            ra = L->base + A;
        }
        vars = vars < 1 ? 1 : vars;
        CallInfo *ci = L->ci + 1;
        if (BASE_LIKELY(val_isfunction(ra[3]))) {
            Closure *iterator = val_closure(ra[3]);
            const Proto *p = iterator->l.proto;
            if (iterator->kind == CLOSURE_LUA && !p->is_vararg && ci != L->ci_end &&
                L->stack_last - L->top > p->max_stack + LUA_MINSTACK && !LUAU_STACK_MOVES(L)) {
                ci->func = ra + 3;
                base = ci->base = L->base = ra + 4;
                ci->top = L->top = base + p->max_stack;
                ci->nresults = vars;
                ci->flags = CALL_ITERATOR;
                for (int j = 2; j < p->numparams; j++)
                    base[j] = VAL_NIL;
                L->ci = ci;
                cl = iterator;
                k = p->k;
                pc = p->code;
                NEXT;
            }
        }
        L = luD_precall(L, ra + 3, vars, CALL_ITERATOR);
        goto switched;
    }

    CASE(GETVARARGS) :
    {
        int wanted = (int)B - 1;
        PROTECT(get_varargs(L, (int)A, wanted));
        NEXT;
    }
    CASE(PREPVARARGS) :
    {
        PROTECT(prepare_varargs(L, (int)A));
        NEXT;
    }

    CASE(FASTCALL) :
    {
        const Instr *at = pc - 1;
        Instr call_ = at[1 + C];
        Value *args = base + INSTR_A(call_) + 1;
        int count = INSTR_B(call_) ? (int)INSTR_B(call_) - 1 : (int)(L->top - args);
        FASTCALL_ARGS(count);
        if (pc != at + 1 && INSTR_C(call_))
            L->top = L->ci->top;
        NEXT;
    }
    CASE(FASTCALL1) :
    {
        const Instr *at = pc - 1;
        const Value *args = &base[B];
        FASTCALL_ARGS(1);
        NEXT;
    }
    CASE(FASTCALL2) :
    {
        const Instr *at = pc - 1;
        Value args[2] = {base[B], base[*pc & 0xff]};
        pc++;
        FASTCALL_ARGS(2);
        NEXT;
    }
    CASE(FASTCALL2K) :
    {
        const Instr *at = pc - 1;
        Value args[2] = {base[B], k[*pc]};
        pc++;
        FASTCALL_ARGS(2);
        NEXT;
    }
    CASE(FASTCALL3) :
    {
        const Instr *at = pc - 1;
        Value args[3] = {base[B], base[*pc & 0xff], base[*pc >> 8 & 0xff]};
        pc++;
        FASTCALL_ARGS(3);
        NEXT;
    }

switched: /* L: the thread to run now, or NULL */
    if (!L)
        return g->leave;
    goto reload;
}
