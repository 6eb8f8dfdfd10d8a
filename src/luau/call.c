/* call.c: stacks, frames, errors. The story is in call.h. */
#include "luau/call.h"

#include <stdarg.h>
#include <stdio.h>

#include "luau/fiber.h"
#include "luau/func.h"
#include "luau/str.h"
#include "luau/table.h"
#include "luau/vm.h"

/* Error handlers get an eighth more of either depth (reference 6.6). */
enum {
    CALLS_RESERVE = LUAI_MAXCALLS / 8,
    CCALLS_RESERVE = LUAI_MAXCCALLS / 8,
    STACK_SLOTS_MAX = 1 << 23,
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

void luD_resizestack(lua_State *L, int size)
{
    size_t new_bytes = (size_t)(size + EXTRA_STACK) * sizeof(Value);
    size_t old_bytes = (size_t)L->stack_size * sizeof(Value);
    Value *old = L->stack;
    size_t used = (size_t)((char *)L->top - (char *)old);
    Value *stack = luH_alloc(L, new_bytes);
    for (CallInfo *ci = L->ci_base; ci <= L->ci; ci++) {
        size_t end = (size_t)((char *)ci->top - (char *)old);
        used = end > used ? end : used;
    }
    used = used < old_bytes ? used : old_bytes;
    used = used < new_bytes ? used : new_bytes;
    memcpy(stack, old, used);
    for (size_t i = used / sizeof(Value); i < (size_t)(size + EXTRA_STACK); i++)
        stack[i] = VAL_NIL;
    L->stack = stack;
    L->stack_size = size + EXTRA_STACK;
    L->stack_last = stack + size;
    correct_pointers(L, old);
    luH_free(L, old, old_bytes);
}

void luD_growstack(lua_State *L, int n)
{
    int size = L->stack_size - EXTRA_STACK;
    int needed = (int)(L->top - L->stack) + n + 1;
    if (needed > STACK_SLOTS_MAX)
        luD_error(L, "stack overflow");
    if (size < needed)
        size = size * 2 < needed ? needed : size * 2;
    luD_resizestack(L, size);
}

void luD_resizeci(lua_State *L, int size)
{
    CallInfo *old = L->ci_base;
    ptrdiff_t at = L->ci - old;
    L->ci_base = luH_realloc(L, old, (size_t)L->ci_size * sizeof(CallInfo),
                             (size_t)size * sizeof(CallInfo));
    L->ci_size = size;
    L->ci = L->ci_base + at;
    L->ci_end = L->ci_base + size;
}

CallInfo *luD_growci(lua_State *L)
{
    int depth = (int)(L->ci - L->ci_base) + 1; /* index of the frame asked for */
    int limit = L->handlers ? LUAI_MAXCALLS + CALLS_RESERVE : LUAI_MAXCALLS;
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
    if (size > L->ci_size)
        luD_resizeci(L, size);
    return L->ci + 1;
}

void luD_shrinkstack(lua_State *L)
{
    Value *limit = L->top;
    for (CallInfo *ci = L->ci_base; ci <= L->ci; ci++)
        limit = ci->top > limit ? ci->top : limit;
    int used = (int)(limit - L->stack) + 1;
    int frames = (int)(L->ci - L->ci_base) + 1;
    if (used < BASIC_STACK)
        used = BASIC_STACK;
    if (frames < BASIC_CI)
        frames = BASIC_CI;
    if (L->stack_size - EXTRA_STACK > used * 2)
        luD_resizestack(L, used);
    if (L->ci_size > frames * 2)
        luD_resizeci(L, frames);
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
    _longjmp(act->jump, 1);
}

/* The frame or activation that will catch an error raised now on L, if it has a handler. */
static bool find_handler(lua_State *L, Value *handler, CallInfo **frame, Activation **activation)
{
    CallInfo *ci = L->ci;
    for (Activation *act = G(L)->activation; act; act = act->previous) {
        CallInfo *floor =
            act->L == L ? (CallInfo *)((char *)L->ci_base + act->ci) : L->ci_base;
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

void luD_throw(lua_State *L, int status)
{
    Global_ *g = G(L);
    if (!g->activation)
        BASE_PANIC("error outside of a protected call: %s",
                   val_isstring(L->top[-1]) ? val_string(L->top[-1])->data : "(no text)");
    if (status == LUA_ERRRUN)
        status = run_handler(L, status);
    jump(g, g->activation, status);
}

void luD_rethrow(lua_State *L, int status)
{
    Global_ *g = G(L);
    BASE_ASSERT(g->activation);
    jump(g, g->activation, status);
}

void luD_kill(lua_State *L)
{
    Global_ *g = G(L);
    Activation *act = g->activation;
    if (!act)
        BASE_PANIC("VM killed outside of a protected call");
    while (act->previous)
        act = act->previous;
    jump(g, act, LUA_KILLED);
}

void luD_dropthreads(Global_ *g, lua_State *until)
{
    while (g->running && g->running != until) {
        lua_State *co = g->running;
        g->running = co->from;
        co->from = NULL;
        co->running = false;
        co->status = LUA_KILLED;
        luF_close(co, co->stack);
    }
    g->running = until;
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
    act.exec = false;
    act.handler = VAL_NIL;
    act.in_handler = false;
    act.status = LUA_OK;
    lua_State *running = g->running;
    uint8_t handlers = L->handlers;
    g->running = L;
    if (!act.previous)
        g->c_stack_limit = luY_stacklimit(L);
    g->activation = &act;
    if (arg && fn == luD_callprotected)
        act.handler = ((struct ProtectedCall *)arg)->handler;
    if (_setjmp(act.jump) == 0) {
        fn(L, arg);
    } else {
        if (act.status == LUA_KILLED)
            luD_dropthreads(g, L);
        g->exec_depth = act.depth;
        L->c_calls = act.c_calls;
        L->handlers = handlers;
        Value *slot = luD_restorestack(L, old_top);
        Value error = VAL_NIL;
        if (act.status != LUA_KILLED)
            luD_seterror(L, act.status, &error);
        luF_close(L, slot);
        *slot = error;
        L->top = slot + 1;
        L->ci = (CallInfo *)((char *)L->ci_base + act.ci);
        L->base = L->ci->base;
    }
    g->activation = act.previous;
    g->running = running;
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
    if (L->c_calls >= LUAI_MAXCCALLS + CCALLS_RESERVE || (char *)__builtin_frame_address(0) < G(L)->c_stack_limit) {
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
        used = snprintf(text, LUA_IDSIZE + 32, "%s:%d: ",
                        ci_closure(ci)->l.proto->module->shown_name, luD_currentline(L, ci));
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text + used, MESSAGE_MAX + 1, format, args);
    va_end(args);
    if (length > MESSAGE_MAX)
        length = MESSAGE_MAX;
    luD_checkstack(L, 1);
    String *s = luS_new(L, text, (size_t)(used + length));
    luD_push(L, val_fromstring(s));
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
    luD_error(L, "attempt to call missing method '%s' of %s", name->data, typetext(L, object));
}
