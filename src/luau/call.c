/* call.c: stacks, frames, errors. The story is in call.h. */
#include "luau/call.h"

#include <stdarg.h>
#include <stdio.h>

#include "luau/fiber.h"
#include "luau/func.h"
#include "luau/str.h"
#include "luau/table.h"
#include "luau/vm.h"

/* Error handlers get an eighth more of each (reference 6.6). */
enum {
    CALLS_RESERVE = LUAI_MAXCALLS / 8,
    CCALLS_RESERVE = LUAI_MAXCCALLS / 8,
    STACK_SLOTS_MAX = 1 << 22,
    STACK_SLOTS_LEAST = 1 << 18,
    FILL_STEP = 1 << 16, /* slots between two polls */
    MESSAGE_MAX = 511
};

/* ---- stacks ---------------------------------------------------------------------------------- */

static void correct_pointers(lua_State *L, Value *old)
{
    ptrdiff_t shift = (char *)L->stack - (char *)old;
    L->top = (Value *)((char *)L->top + shift);
    L->base = (Value *)((char *)L->base + shift);
    for (UpVal *up = L->open_upvals; up; up = up->next)
        up->v = (Value *)((char *)up->v + shift);
    for (CallInfo *ci = L->ci_base; ci <= L->ci; ci++) {
        ci->func = (Value *)((char *)ci->func + shift);
        ci->base = (Value *)((char *)ci->base + shift);
        ci->top = (Value *)((char *)ci->top + shift);
    }
}

/* Slots in use: up to the top, or the end of a frame's room. */
static size_t used_slots(const lua_State *L)
{
    const Value *end = L->top;
    for (const CallInfo *ci = L->ci_base; ci <= L->ci; ci++)
        end = ci->top > end ? ci->top : end;
    size_t used = (size_t)(end - L->stack), size = (size_t)L->stack_size;
    return used < size ? used : size;
}

/* Moves the thread to the new stack. With a large one that may park, but never unwinds; the thread
 * is on its old one until the end. */
static void move_stack(lua_State *L, Value *stack, int size)
{
    size_t slots = (size_t)(size + EXTRA_STACK), old_slots = (size_t)L->stack_size;
    size_t used = used_slots(L);
    Value *old = L->stack;
    used = used < slots ? used : slots;
    for (size_t i = 0; i < slots; i++) {
        stack[i] = i < used ? old[i] : VAL_NIL;
        if (i % FILL_STEP == FILL_STEP - 1)
            luau_pollkill(L);
    }
    L->stack = stack;
    L->stack_size = (int)slots;
    L->stack_last = stack + size;
    correct_pointers(L, old);
    luH_free(L, old, old_slots * sizeof(Value));
}

static void resize_stack(lua_State *L, int size)
{
    move_stack(L, luH_alloc(L, (size_t)(size + EXTRA_STACK) * sizeof(Value)), size);
}

/* Twice the size, or, where the quota has no room for that, what is needed and a little more. */
static int larger_size(lua_State *L, int size, int needed)
{
    const Heap *heap = &G(L)->heap;
    if (size < needed)
        size = size * 2 < needed ? needed : size * 2;
    size_t bytes = (size_t)size * sizeof(Value);
    if (heap->quota_bytes && bytes >= TABLE_BIG &&
        (heap->reserved_bytes >= heap->quota_bytes ||
         heap->quota_bytes - heap->reserved_bytes < bytes + bytes / 4) &&
        needed + needed / 8 < size)
        size = needed + needed / 8;
    return size;
}

/* A quarter of the quota: so that a recursion that has only stacks to its name ends as a stack
 * overflow, not as a kill (while it grows, the old and the new one are both there). */
static int slots_max(lua_State *L)
{
    size_t quota = G(L)->heap.quota_bytes, slots = quota / 4 / sizeof(Value);
    if (quota == 0 || slots > STACK_SLOTS_MAX)
        return STACK_SLOTS_MAX;
    return slots < STACK_SLOTS_LEAST ? STACK_SLOTS_LEAST : (int)slots;
}

void luD_growstack(lua_State *L, int n)
{
    int needed = (int)(L->top - L->stack) + n + 1;
    int limit = slots_max(L);
    if (needed > limit + (L->handlers ? limit / 8 : 0)) {
        /* (Raising it must need no room. L may be another thread than the running one.) */
        if (L->handlers) {
            luD_seterror(L, LUA_ERRERR, L->top++);
            luD_throw(L, LUA_ERRERR);
        }
        luD_error(G(L)->running ? G(L)->running : L, "stack overflow");
    }
    int size = larger_size(L, L->stack_size - EXTRA_STACK, needed);
    resize_stack(L, size > limit && needed <= limit ? limit : size);
}

void luD_growforframe(lua_State *L, int n)
{
    int needed = (int)(L->top - L->stack) + n + 1;
    if (needed > L->stack_size - EXTRA_STACK && needed <= slots_max(L) &&
        (size_t)needed * sizeof(Value) >= TABLE_BIG)
        luH_reserve(L, (size_t)(needed + needed / 8 + EXTRA_STACK) * sizeof(Value));
    luD_growstack(L, n);
}

static void set_ci(lua_State *L, CallInfo *frames, int size)
{
    ptrdiff_t at = L->ci - L->ci_base;
    L->ci_base = frames;
    L->ci_size = size;
    L->ci = frames + at;
    L->ci_end = frames + size;
}

CallInfo *luD_growci(lua_State *L)
{
    int depth = (int)(L->ci - L->ci_base) + 1; /* index of the frame asked for */
    int limit = L->handlers ? LUAI_MAXCALLS + CALLS_RESERVE : LUAI_MAXCALLS;
    int there = L->ci_size < limit ? L->ci_size : limit;
    if (depth < there) { /* of those that luD_dropreserve kept back */
        L->ci_end = L->ci_base + there;
        return L->ci + 1;
    }
    if (depth >= limit) {
        if (L->handlers) {
            luD_seterror(L, LUA_ERRERR, L->top++);
            luD_throw(L, LUA_ERRERR);
        }
        luD_error(L, "stack overflow");
    }
    int size = L->ci_size * 2;
    if (size > limit)
        size = limit;
    size_t old_bytes = (size_t)L->ci_size * sizeof(CallInfo);
    size_t bytes = (size_t)size * sizeof(CallInfo);
    if (bytes >= TABLE_BIG)
        luH_reserve(L, bytes);
    set_ci(L, luH_realloc(L, L->ci_base, old_bytes, bytes), size);
    return L->ci + 1;
}

void luD_shrinkstack(lua_State *L)
{
    Global_ *g = G(L);
    int used = (int)used_slots(L) + 1;
    int frames = (int)(L->ci - L->ci_base) + 1;
    if (used < BASIC_STACK)
        used = BASIC_STACK;
    if (frames < BASIC_CI)
        frames = BASIC_CI;
    if (L->stack_size - EXTRA_STACK > used * 2) {
        Value *stack = luH_try(g, (size_t)(used + EXTRA_STACK) * sizeof(Value));
        if (stack)
            move_stack(L, stack, used);
    }
    if (L->ci_size <= frames * 2)
        return;
    CallInfo *shrunk = luH_tryrealloc(g, L->ci_base, (size_t)L->ci_size * sizeof(CallInfo),
                                      (size_t)frames * sizeof(CallInfo));
    if (shrunk)
        set_ci(L, shrunk, frames);
}

void luD_dropreserve(lua_State *L)
{
    if (L->handlers == 0 && L->ci_size > LUAI_MAXCALLS && L->ci - L->ci_base < LUAI_MAXCALLS)
        L->ci_end = L->ci_base + LUAI_MAXCALLS;
}

/* ---- errors ---------------------------------------------------------------------------------- */

void luD_seterror(lua_State *L, int status, Value *slot)
{
    switch (status) {
    case LUA_ERRMEM: *slot = val_fromstring(luTM_core("not enough memory", 17, 0)); break;
    case LUA_ERRERR: *slot = val_fromstring(luTM_core("error in error handling", 23, 0)); break;
    default: *slot = L->top[-1]; break;
    }
}

static BASE_NORETURN void jump(Global_ *g, Activation *act, int status)
{
    act->status = status;
    g->activation = act;
    longjmp(act->jump, 1); /* (of _setjmp: no signal mask.) ThreadSanitizer knows only this name */
}

/* The frame or activation that will catch an error raised now on L, if it has a handler. */
static bool find_handler(lua_State *L, Value *handler, CallInfo **frame, Activation **activation)
{
    CallInfo *ci = L->ci;
    for (Activation *act = G(L)->activation; act; act = act->previous) {
        CallInfo *floor = act->L == L ? (CallInfo *)((char *)L->ci_base + act->ci) : L->ci_base;
        for (; ci > floor; ci--) {
            if (ci->flags & (CALL_PROTECTED | CALL_KPCALL)) {
                *frame = ci;
                *handler = ci->flags & CALL_HANDLER ? ci->base[0] : VAL_NIL;
                return !val_isnil(*handler);
            }
        }
        if (act->L != L)
            return false; /* the thread dies of it */
        if (!act->exec) {
            *activation = act;
            *handler = act->handler;
            return !val_isnil(act->handler);
        }
    }
    return false;
}

/* Runs the message handler at the point of the error, the stack intact. The error value on top is
 * replaced by its result. */
static int run_handler(lua_State *L, int status)
{
    Value handler;
    CallInfo *frame = NULL;
    Activation *act = NULL;
    if (!find_handler(L, &handler, &frame, &act))
        return status;
    bool nested = frame ? (frame->flags & CALL_IN_HANDLER) != 0 : act->in_handler;
    if (nested || L->handlers == UINT8_MAX) {
        luD_seterror(L, LUA_ERRERR, L->top++);
        return LUA_ERRERR;
    }
    ptrdiff_t frame_at = frame ? (char *)frame - (char *)L->ci_base : 0;
    if (frame)
        frame->flags |= CALL_IN_HANDLER;
    else
        act->in_handler = true;
    L->handlers++;
    luD_checkstack(L, 2);
    L->top[0] = L->top[-1];
    L->top[-1] = handler;
    L->top++;
    luD_call(L, L->top - 2, 1);
    L->handlers--;
    if (frame)
        ((CallInfo *)((char *)L->ci_base + frame_at))->flags &= ~(uint32_t)CALL_IN_HANDLER;
    else
        act->in_handler = false;
    return status;
}

/* Errors are looked for on the running thread; hosts may raise them on others. */
static lua_State *place_error(lua_State *L)
{
    lua_State *running = G(L)->running;
    if (!running || running == L)
        return L;
    luD_push(running, L->top[-1]);
    L->top--;
    return running;
}

void luD_throw(lua_State *L, int status)
{
    Global_ *g = G(L);
    if (!g->activation)
        BASE_PANIC("error outside of a protected call: %s",
                   val_isstring(L->top[-1]) ? val_string(L->top[-1])->data : "(no text)");
    L = place_error(L);
    if (status == LUA_ERRRUN)
        status = run_handler(L, status);
    jump(g, g->activation, status);
}

void luD_rethrow(lua_State *L, int status)
{
    Global_ *g = G(L);
    BASE_ASSERT(g->activation);
    place_error(L);
    jump(g, g->activation, status);
}

/* Its frames stay for whoever looks where it was, its values do not. */
void luD_killthread(lua_State *co)
{
    co->from = NULL;
    co->running = false;
    co->status = LUA_KILLED;
    co->handlers = 0;
    luF_close(co, co->stack);
    co->top = co->base;
}

/* Unwinds to the outermost activation. What ran above its thread is dead: coroutines on the chains
 * of resumes, and threads that natives entered by lua_resume or lua_pcall. */
void luD_kill(lua_State *L)
{
    Global_ *g = G(L);
    if (!g->activation)
        BASE_PANIC("VM killed outside of a protected call");
    luY_leavekilled(L);
    const Activation *last = g->activation;
    while (last->previous)
        last = last->previous;
    for (Activation *act = g->activation;; act = act->previous) {
        while (g->running && g->running != act->L) {
            lua_State *co = g->running;
            g->running = co->from;
            luD_killthread(co);
        }
        if (act == last)
            jump(g, act, LUA_KILLED);
        if (act->L != act->outside && act->L != last->L)
            luD_killthread(act->L);
        g->running = act->outside;
    }
}

int luD_pcall(lua_State *L, void (*fn)(lua_State *L, void *arg), void *arg, ptrdiff_t old_top)
{
    Global_ *g = G(L);
    Activation act;
    act.previous = g->activation;
    act.L = L;
    act.ci = (char *)L->ci - (char *)L->ci_base;
    act.c_calls = L->c_calls;
    act.depth = g->exec_depth;
    act.handlers = L->handlers;
    act.exec = false;
    act.handler = VAL_NIL;
    act.in_handler = false;
    act.status = LUA_OK;
    act.outside = g->running;
    g->running = L;
    if (!act.previous)
        luY_entered(L);
    g->activation = &act;
    if (arg && fn == luD_callprotected)
        act.handler = ((struct ProtectedCall *)arg)->handler;
    if (_setjmp(act.jump) == 0) {
        fn(L, arg);
    } else {
        g->exec_depth = act.depth;
        L->c_calls = act.c_calls;
        L->handlers = act.handlers;
        Value *slot = luD_restorestack(L, old_top);
        Value error = VAL_NIL;
        if (act.status != LUA_KILLED)
            luD_seterror(L, act.status, &error);
        luF_close(L, slot);
        *slot = error;
        L->top = slot + 1;
        L->ci = (CallInfo *)((char *)L->ci_base + act.ci);
        L->base = L->ci->base;
        luD_dropreserve(L);
    }
    g->activation = act.previous;
    g->running = act.outside;
    if (!act.previous)
        luY_left(L);
    return act.status;
}

void luD_callprotected(lua_State *L, void *arg)
{
    struct ProtectedCall *call = arg;
    luD_call(L, luD_restorestack(L, call->func), call->nresults);
}

void luD_checkcstack(lua_State *L)
{
    if (L->c_calls == LUAI_MAXCCALLS && !L->handlers)
        luD_error(L, "C stack overflow");
    if (L->c_calls >= LUAI_MAXCCALLS + CCALLS_RESERVE ||
        (char *)__builtin_frame_address(0) < G(L)->c_stack_limit) {
        if (L->handlers) {
            luD_seterror(L, LUA_ERRERR, L->top++);
            luD_throw(L, LUA_ERRERR);
        }
        luD_error(L, "C stack overflow");
    }
}

/* ---- messages -------------------------------------------------------------------------------- */

int luD_currentline(lua_State *L, CallInfo *ci)
{
    (void)L;
    if (!ci_isluau(ci) || ci->func >= ci->base)
        return -1;
    const Proto *p = ci_closure(ci)->l.proto;
    int pc = ci->savedpc > p->code ? (int)(ci->savedpc - p->code) - 1 : 0;
    return luM_line(p, pc);
}

void luD_error(lua_State *L, const char *format, ...)
{
    char text[LUA_IDSIZE + 32 + MESSAGE_MAX + 1];
    int used = 0;
    CallInfo *ci = L->ci;
    if (ci > L->ci_base && ci_isluau(ci))
        used = snprintf(text, LUA_IDSIZE + 32,
                        "%s:%d: ", ci_closure(ci)->l.proto->module->shown_name,
                        luD_currentline(L, ci));
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text + used, MESSAGE_MAX + 1, format, args);
    va_end(args);
    if (length > MESSAGE_MAX)
        length = MESSAGE_MAX;
    String *s = luS_new(L, text, (size_t)(used + length));
    luD_push(L, val_fromstring(s)); /* EXTRA_STACK: there may be no more room */
    luD_throw(L, LUA_ERRRUN);
}

#define typetext(L, v) (luTM_objectname((L), (v))->data)

void luD_typeerror(lua_State *L, Value v, const char *what)
{
    luD_error(L, "attempt to %s a %s value", what, typetext(L, v));
}

void luD_indexerror(lua_State *L, Value object, Value key)
{
    if (val_isstring(key) && val_string(key)->length <= 64)
        luD_error(L, "attempt to index %s with '%s'", typetext(L, object), val_string(key)->data);
    luD_error(L, "attempt to index %s with %s", typetext(L, object), typetext(L, key));
}

void luD_aritherror(lua_State *L, Value a, Value b, TM event)
{
    const char *operation = luTM_name(event)->data + 2;
    const char *left = typetext(L, a), *right = typetext(L, b);
    if (event == TM_UNM || strcmp(left, right) == 0)
        luD_error(L, "attempt to perform arithmetic (%s) on %s", operation, left);
    luD_error(L, "attempt to perform arithmetic (%s) on %s and %s", operation, left, right);
}

void luD_concaterror(lua_State *L, Value a, Value b)
{
    luD_error(L, "attempt to concatenate %s with %s", typetext(L, a), typetext(L, b));
}

void luD_ordererror(lua_State *L, Value a, Value b, bool or_equal)
{
    luD_error(L, "attempt to compare %s %s %s", typetext(L, a), or_equal ? "<=" : "<",
              typetext(L, b));
}

void luD_fornerror(lua_State *L, Value v, const char *what)
{
    luD_error(L, "invalid 'for' %s (number expected, got %s)", what, typetext(L, v));
}

void luD_readonlyerror(lua_State *L)
{
    luD_error(L, "attempt to modify a readonly table");
}

void luD_methoderror(lua_State *L, Value object, String *name)
{
    luD_error(L, "attempt to call missing method '%.512s' of %s", name->data, typetext(L, object));
}
