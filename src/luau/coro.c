/* coro.c: calls as a state machine: natives, pcall, xpcall, resume, wrap and yield without C
 * recursion.
 *
 * A frame below may be a Lua function (the interpreter goes on with it) or a native that waits: a
 * pcall or xpcall frame (CALL_PROTECTED), the frame of a coroutine.resume, or a native with a
 * continuation. luD_finish ends frames of the second kind one after another until a Lua frame is
 * on top, switching threads where a coroutine ends; luD_precall starts calls.
 *
 * Errors in what the loop runs itself must come back to the loop. The jump buffer for that
 * (an `exec` activation) is made only when first needed: a call of a special native in an
 * unprotected luV_execute is put into global->pending, the loop leaves with EXEC_PROTECT, luD_run
 * enters it again under an activation, and there the call starts. After that each pcall costs a
 * frame and nothing more. */
#include "luau/call.h"
#include "luau/fiber.h"
#include "luau/func.h"
#include "luau/str.h"
#include "luau/vm.h"

/* ---- frames ---------------------------------------------------------------------------------- */

static CallInfo *push_frame(lua_State *L, Value *func, int nresults, uint32_t flags)
{
    CallInfo *ci = L->ci + 1;
    if (ci == L->ci_end)
        ci = luD_growci(L);
    ci->func = func;
    ci->base = func + 1;
    ci->nresults = nresults;
    ci->flags = flags;
    ci->savedpc = NULL;
    return ci;
}

static void push_native(lua_State *L, Value *func, int nresults, uint32_t flags)
{
    ptrdiff_t at = luD_savestack(L, func);
    luD_checkstack(L, LUA_MINSTACK);
    CallInfo *ci = push_frame(L, luD_restorestack(L, at), nresults, flags | CALL_C);
    ci->top = L->top + LUA_MINSTACK;
    L->ci = ci;
    L->base = ci->base;
}

static void push_luau(lua_State *L, Value *func, int nresults, uint32_t flags)
{
    const Proto *p = val_closure(*func)->l.proto;
    ptrdiff_t at = luD_savestack(L, func);
    luD_checkstack(L, p->max_stack + LUA_MINSTACK);
    func = luD_restorestack(L, at);
    CallInfo *ci = push_frame(L, func, nresults, flags);
    ci->top = ci->base + p->max_stack;
    ci->savedpc = p->code;
    Value *want = ci->base + p->numparams;
    while (L->top < want)
        *L->top++ = VAL_NIL;
    L->ci = ci;
    L->base = ci->base;
    if (!p->is_vararg)
        L->top = ci->top;
}

/* Puts the `__call` metamethod under the arguments. */
static void try_call_metamethod(lua_State *L, Value *func)
{
    Value tm = luTM_of(L, *func, TM_CALL);
    if (!val_isfunction(tm))
        luD_typeerror(L, *func, "call");
    ptrdiff_t at = luD_savestack(L, func);
    luD_checkstack(L, 1);
    func = luD_restorestack(L, at);
    for (Value *p = L->top; p > func; p--)
        *p = p[-1];
    L->top++;
    *func = tm;
}

lua_State *luD_defer(lua_State *L, Value *func, int nresults, uint32_t flags)
{
    Global_ *g = G(L);
    g->pending.L = L;
    g->pending.func = luD_savestack(L, func);
    g->pending.nresults = nresults;
    g->pending.flags = flags;
    g->leave = EXEC_PROTECT;
    return NULL;
}

static lua_State *leave(lua_State *L, int why)
{
    G(L)->leave = why;
    return NULL;
}

/* ---- threads --------------------------------------------------------------------------------- */

/* Moves n values from `first` on co to the top of `to`, which waits in resume (or wrap), and ends
 * its frame with them. */
static lua_State *give_to_resumer(lua_State *co, Value *first, int n, bool ok)
{
    Global_ *g = G(co);
    lua_State *to = co->from;
    bool wrapped = co->is_wrap;
    ptrdiff_t at = luD_savestack(co, first);
    co->from = NULL;
    co->running = false;
    g->running = to;
    luD_checkstack(to, n + 1);
    Value *out = to->top;
    if (!wrapped)
        *out++ = val_boolean(ok);
    memcpy(out, luD_restorestack(co, at), (size_t)n * sizeof(Value));
    to->top = out + n;
    co->top = luD_restorestack(co, at);
    n += wrapped ? 0 : 1;
    return luD_finish(to, to->top - n, n);
}

static lua_State *do_yield(lua_State *L, Value *first, int n)
{
    L->status = LUA_YIELD;
    if (L->resumed_by_vm) {
        L->base = first;
        return give_to_resumer(L, first, n, true);
    }
    L->base = first;
    return leave(L, EXEC_YIELD);
}

/* Starts or continues co with the nargs values on its top. */
static lua_State *go_on(lua_State *co, int nargs)
{
    if (co->status == LUA_OK)
        return luD_precall(co, co->top - nargs - 1, LUA_MULTRET, CALL_ENTRY | CALL_THREAD);
    int status = co->status;
    co->status = LUA_OK;
    CallInfo *ci = co->ci;
    co->base = ci->base;
    if (status == LUA_BREAK && ci_isluau(ci))
        return co;
    BASE_ASSERT(!ci_isluau(ci));
    lua_Continuation cont = ci_closure(ci)->c.cont;
    if (cont && ci_closure(ci)->kind == CLOSURE_C)
        return luD_afternative(co, cont(co, LUA_OK));
    return luD_finish(co, co->top - nargs, nargs);
}

static const char *why_not_resumable(lua_State *L, lua_State *co)
{
    if (co == L)
        return "cannot resume running coroutine";
    if (co->running || co == G(L)->main || (co->status == LUA_OK && co->ci != co->ci_base))
        return "cannot resume normal coroutine";
    if ((co->status != LUA_OK && co->status != LUA_YIELD && co->status != LUA_BREAK) ||
        (co->status == LUA_OK && co->top == co->base))
        return "cannot resume dead coroutine";
    return NULL;
}

static lua_State *resume_failed(lua_State *L, bool wrapped, const char *text)
{
    if (wrapped)
        luaL_error(L, "%s", text);
    luD_checkstack(L, 2);
    String *s = luS_new(L, text, strlen(text));
    luD_push(L, VAL_FALSE);
    luD_push(L, val_fromstring(s));
    return luD_finish(L, L->top - 2, 2);
}

static lua_State *do_resume(lua_State *L, lua_State *co, Value *args, int nargs, bool wrapped)
{
    const char *problem = why_not_resumable(L, co);
    if (problem)
        return resume_failed(L, wrapped, problem);
    if (L->c_calls >= LUAI_MAXCCALLS)
        return resume_failed(L, wrapped, "C stack overflow");
    if (nargs > LUAI_MAXCSTACK)
        return resume_failed(L, wrapped, "too many arguments to resume");
    ptrdiff_t at = luD_savestack(L, args);
    if (co->status == LUA_YIELD)
        co->base = co->ci->base;
    luD_checkstack(co, nargs + 1);
    memcpy(co->top, luD_restorestack(L, at), (size_t)nargs * sizeof(Value));
    co->top += nargs;
    co->from = L;
    co->resumed_by_vm = true;
    co->is_wrap = wrapped;
    co->running = true;
    co->c_calls = co->base_c_calls = (uint16_t)(L->c_calls + 1);
    co->handlers = 0;
    G(L)->running = co;
    return go_on(co, nargs);
}

/* ---- special natives ------------------------------------------------------------------------- */

static lua_State *special_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    L->ci->flags |= CALL_PROTECTED;
    return luD_precall(L, L->base, LUA_MULTRET, CALL_BELOW_C);
}

static lua_State *special_xpcall(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TFUNCTION);
    Value f = L->base[0];
    L->base[0] = L->base[1];
    L->base[1] = f;
    L->ci->flags |= CALL_PROTECTED | CALL_HANDLER;
    return luD_precall(L, L->base + 1, LUA_MULTRET, CALL_BELOW_C);
}

static lua_State *special_resume(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTHREAD);
    return do_resume(L, val_thread(L->base[0]), L->base + 1, (int)(L->top - L->base) - 1, false);
}

static lua_State *special_wrapped(lua_State *L)
{
    lua_State *co = val_thread(ci_closure(L->ci)->c.up[0]);
    return do_resume(L, co, L->base, (int)(L->top - L->base), true);
}

static void check_yieldable(lua_State *L)
{
    if (L->c_calls > L->base_c_calls)
        luD_error(L, "attempt to yield across metamethod/C-call boundary");
    if (!L->running)
        luaL_error(L, "attempt to yield from outside a coroutine");
}

static lua_State *special_yield(lua_State *L)
{
    check_yieldable(L);
    return do_yield(L, L->base, (int)(L->top - L->base));
}

static lua_State *start_special(lua_State *L, Value *func, int nresults, uint32_t flags)
{
    int kind = val_closure(*func)->kind;
    push_native(L, func, nresults, flags);
    switch (kind) {
    case CLOSURE_PCALL: return special_pcall(L);
    case CLOSURE_XPCALL: return special_xpcall(L);
    case CLOSURE_RESUME: return special_resume(L);
    case CLOSURE_WRAPPED: return special_wrapped(L);
    default: return special_yield(L);
    }
}

lua_State *luD_precall(lua_State *L, Value *func, int nresults, uint32_t flags)
{
    ptrdiff_t at = luD_savestack(L, func);
    luY_poll(L);
    func = luD_restorestack(L, at);
    if (!val_isfunction(*func)) {
        try_call_metamethod(L, func);
        func = luD_restorestack(L, at);
    }
    Closure *cl = val_closure(*func);
    if (cl->kind == CLOSURE_LUA) {
        push_luau(L, func, nresults, flags);
        return L;
    }
    if (cl->kind == CLOSURE_C) {
        push_native(L, func, nresults, flags);
        return luD_afternative(L, cl->c.fn(L));
    }
    if (!luD_isprotected(G(L)))
        return luD_defer(L, func, nresults, flags);
    return start_special(L, func, nresults, flags);
}

/* ---- endings --------------------------------------------------------------------------------- */

/* Results to where the caller wants them; returns how many there are now. */
static int place_results(lua_State *L, CallInfo *ci, Value *first, int n)
{
    Value *out = ci->func;
    int wanted = ci->nresults;
    if (wanted < 0)
        wanted = n;
    int copied = n < wanted ? n : wanted;
    memmove(out, first, (size_t)copied * sizeof(Value));
    for (; copied < wanted; copied++)
        out[copied] = VAL_NIL;
    L->top = out + wanted;
    return wanted;
}

/* The iterator that FORGLOOP called has returned to the Lua frame ci: goes on with the loop, or
 * past it. The instruction stands two words before savedpc. */
static void finish_iterator(CallInfo *ci)
{
    Instr loop = ci->savedpc[-2];
    Value *ra = ci->base + INSTR_A(loop);
    if (!val_isnil(ra[3])) {
        ra[2] = ra[3];
        ci->savedpc += INSTR_D(loop) - 1;
    }
}

lua_State *luD_finish(lua_State *L, Value *first, int n)
{
    for (;;) {
        CallInfo *ci = L->ci;
        uint32_t flags = ci->flags;
        bool all = ci->nresults < 0;
        n = place_results(L, ci, first, n);
        first = L->top - n;
        CallInfo *below = --L->ci;
        L->base = below->base;
        if (flags & CALL_ENTRY) {
            if (!(flags & CALL_THREAD) || !L->resumed_by_vm)
                return leave(L, EXEC_DONE);
            return give_to_resumer(L, first, n, true); /* a coroutine of this loop has ended */
        }
        if (ci_isluau(below)) {
            if (flags & CALL_ITERATOR)
                finish_iterator(below);
            if (!all)
                L->top = below->top;
            return L;
        }
        if (below->flags & CALL_PROTECTED) {
            Value *out = below->func;
            *out = VAL_TRUE;
            memmove(out + 1, first, (size_t)n * sizeof(Value));
            first = out;
            L->top = out + ++n;
            continue;
        }
        BASE_ASSERT(below->flags & (CALL_KCALL | CALL_KPCALL));
        below->flags &= ~(uint32_t)(CALL_KCALL | CALL_KPCALL);
        return luD_afternative(L, ci_closure(below)->c.cont(L, LUA_OK));
    }
}

static lua_State *start_pending(Global_ *g)
{
    lua_State *L = g->pending.L;
    g->pending.L = NULL;
    return luD_precall(L, luD_restorestack(L, g->pending.func), g->pending.nresults,
                       g->pending.flags);
}

lua_State *luD_afternative(lua_State *L, int n)
{
    if (BASE_LIKELY(n >= 0))
        return luD_finish(L, L->top - n, n);
    if (n == NATIVE_YIELD) {
        if (L->status == LUA_BREAK)
            return leave(L, EXEC_YIELD);
        return do_yield(L, L->base, (int)(L->top - L->base));
    }
    BASE_ASSERT(n == NATIVE_CALL && G(L)->pending.L == L);
    if (!(L->ci->flags & CALL_KPCALL) || luD_isprotected(G(L)))
        return start_pending(G(L));
    return leave(L, EXEC_PROTECT);
}

/* ---- unwinding ------------------------------------------------------------------------------- */

static void restore_depths(lua_State *L, const Activation *act)
{
    L->c_calls = act->L == L ? act->c_calls : L->base_c_calls;
    if (L->handlers) {
        L->handlers = 0;
        for (CallInfo *ci = L->ci_base; ci <= L->ci; ci++)
            L->handlers = (uint8_t)(L->handlers + ((ci->flags & CALL_IN_HANDLER) != 0));
    }
}

/* The error on top of L goes to its protected frame ci. */
static lua_State *caught(lua_State *L, CallInfo *ci, const Activation *act, int status)
{
    Value error;
    luD_seterror(L, status, &error);
    luF_close(L, ci->base);
    L->ci = ci;
    L->base = ci->base;
    restore_depths(L, act);
    uint32_t kind = ci->flags;
    ci->flags &= ~(uint32_t)(CALL_PROTECTED | CALL_HANDLER | CALL_IN_HANDLER | CALL_KPCALL);
    if (L->ci_size > LUAI_MAXCALLS)
        luD_shrinkstack(L);
    if (kind & CALL_KPCALL) {
        L->top = luD_restorestack(L, (ptrdiff_t)ci->savedpc);
        *L->top++ = error;
        return luD_afternative(L, ci_closure(L->ci)->c.cont(L, status));
    }
    Value *out = L->ci->func;
    out[0] = VAL_FALSE;
    out[1] = error;
    L->top = out + 2;
    return luD_finish(L, out, 2);
}

/* A coroutine dies of the error on its top; its resumer gets false and the error, or through wrap
 * the error itself, with its position in front. */
static lua_State *died(lua_State *co, int status)
{
    Global_ *g = G(co);
    lua_State *to = co->from;
    Value error;
    luD_seterror(co, status, &error);
    luF_close(co, co->stack);
    co->status = (uint8_t)status;
    co->handlers = 0;
    co->from = NULL;
    co->running = false;
    g->running = to;
    co->top[0] = error; /* kept for coroutine.close */
    co->top++;
    luD_checkstack(to, 3);
    if (!co->is_wrap) {
        luD_push(to, VAL_FALSE);
        luD_push(to, error);
        return luD_finish(to, to->top - 2, 2);
    }
    if (val_isstring(error)) {
        luaL_where(to, 1);
        luD_push(to, error);
        lua_concat(to, 2);
    } else {
        luD_push(to, error);
    }
    luD_throw(to, LUA_ERRRUN);
}

/* After a longjmp to an exec activation: finds who catches the error. False: nobody under this
 * activation (the error value is on top of act->L). Else *next as luD_precall's result. */
static bool unwind(Activation *act, lua_State **next)
{
    Global_ *g = G(act->L);
    lua_State *L = g->running;
    CallInfo *floor = L == act->L ? (CallInfo *)((char *)L->ci_base + act->ci) : L->ci_base;
    g->pending.L = NULL;
    for (CallInfo *ci = L->ci; ci > floor; ci--) {
        if (ci->flags & (CALL_PROTECTED | CALL_KPCALL)) {
            *next = caught(L, ci, act, act->status);
            return true;
        }
    }
    if (L == act->L)
        return false;
    *next = died(L, act->status);
    return true;
}

/* Runs the interpreter under an exec activation: `start` (or, if NULL, the pending call), then the
 * loop. Errors that nothing in the loop catches come back as the status, the value on top of L. */
static int run_protected(lua_State *L, ptrdiff_t floor,
                         lua_State *(*start)(lua_State *L, void *arg), void *arg)
{
    Global_ *g = G(L);
    Activation act;
    act.previous = g->activation;
    act.L = L;
    act.ci = floor;
    act.c_calls = L->c_calls;
    act.depth = g->exec_depth;
    act.exec = true;
    act.handler = VAL_NIL;
    act.in_handler = false;
    act.status = LUA_OK;
    if (!act.previous)
        g->c_stack_limit = luY_stacklimit(L);
    g->activation = &act;
    lua_State *next = NULL;
    if (_setjmp(act.jump) == 0) {
        next = start ? start(L, arg) : start_pending(g);
    } else {
        g->exec_depth = act.depth;
        if (act.status == LUA_KILLED) {
            luD_dropthreads(g, act.L);
            g->activation = act.previous;
            return LUA_KILLED;
        }
        if (!unwind(&act, &next)) {
            g->activation = act.previous;
            return act.status;
        }
    }
    int left = next ? luV_execute(next) : g->leave;
    BASE_ASSERT(left != EXEC_PROTECT);
    g->activation = act.previous;
    return left == EXEC_YIELD ? LUA_YIELD : LUA_OK;
}

/* ---- calls from C ---------------------------------------------------------------------------- */

void luD_call(lua_State *L, Value *func, int nresults)
{
    Global_ *g = G(L);
    if (BASE_UNLIKELY(++L->c_calls >= LUAI_MAXCCALLS ||
                      (char *)__builtin_frame_address(0) < g->c_stack_limit))
        luD_checkcstack(L);
    g->exec_depth++;
    ptrdiff_t floor = (char *)L->ci - (char *)L->ci_base;
    lua_State *next = luD_precall(L, func, nresults, CALL_ENTRY);
    int left = next ? luV_execute(next) : g->leave;
    if (left == EXEC_PROTECT) {
        int status = run_protected(L, floor, NULL, NULL);
        if (status > LUA_YIELD)
            luD_rethrow(L, status);
    }
    BASE_ASSERT(left != EXEC_YIELD);
    g->exec_depth--;
    L->c_calls--;
}

static lua_State *start_resume(lua_State *L, void *arg)
{
    return go_on(L, *(int *)arg);
}

static int resume_error(lua_State *L, const char *text, int nargs)
{
    L->top -= nargs;
    String *s = luS_new(L, text, strlen(text));
    luD_push(L, val_fromstring(s));
    return LUA_ERRRUN;
}

int lua_resume(lua_State *L, lua_State *from, int nargs)
{
    Global_ *g = G(L);
    if ((L->status != LUA_OK && L->status != LUA_YIELD && L->status != LUA_BREAK) ||
        (L->status == LUA_OK && L->ci != L->ci_base))
        return resume_error(L, "cannot resume non-suspended coroutine", nargs);
    if (from && from->c_calls >= LUAI_MAXCCALLS)
        return resume_error(L, "C stack overflow", nargs);
    lua_State *running = g->running;
    uint16_t depth = g->exec_depth;
    L->from = NULL;
    L->resumed_by_vm = false;
    L->running = true;
    L->c_calls = L->base_c_calls = (uint16_t)(from ? from->c_calls + 1 : 1);
    L->handlers = 0;
    g->running = L;
    g->exec_depth++;
    int status = run_protected(L, 0, start_resume, &nargs);
    g->exec_depth = depth;
    g->running = running;
    L->running = false;
    if (status > LUA_YIELD) {
        L->status = (uint8_t)status;
        if (status != LUA_KILLED) {
            Value error;
            luD_seterror(L, status, &error);
            luF_close(L, L->stack);
            luD_push(L, error);
        }
    } else if (status == LUA_YIELD) {
        status = L->status;
    }
    return status;
}

int lua_resumeerror(lua_State *L, lua_State *from)
{
    (void)from;
    if (L->status != LUA_YIELD && L->status != LUA_BREAK)
        return resume_error(L, "cannot resume non-suspended coroutine", 1);
    L->status = LUA_ERRRUN; /* as if it had raised it: it dies */
    Value error = L->top[-1];
    luF_close(L, L->stack);
    L->top[-1] = error;
    return LUA_ERRRUN;
}

int lua_yield(lua_State *L, int nresults)
{
    check_yieldable(L);
    L->base = L->top - nresults;
    L->status = LUA_YIELD;
    return NATIVE_YIELD;
}

int lua_break(lua_State *L)
{
    check_yieldable(L);
    L->status = LUA_BREAK;
    return NATIVE_YIELD;
}

int lua_isyieldable(lua_State *L)
{
    return L->running && L->c_calls <= L->base_c_calls;
}

int lua_status(lua_State *L)
{
    return L->status;
}

int lua_costatus(lua_State *L, lua_State *co)
{
    if (co == L)
        return LUA_CORUN;
    if (co->status == LUA_YIELD)
        return LUA_COSUS;
    if (co->status == LUA_BREAK)
        return LUA_CONOR;
    if (co->status != LUA_OK)
        return LUA_COERR;
    if (co->ci != co->ci_base)
        return LUA_CONOR;
    return co->top == co->base ? LUA_COFIN : LUA_COSUS;
}

/* ---- calls with continuations ---------------------------------------------------------------- */

static int call_with_continuation(lua_State *L, int nargs, int nresults, uint32_t flag)
{
    Global_ *g = G(L);
    BASE_ASSERT(!ci_isluau(L->ci) && ci_closure(L->ci)->c.cont);
    L->ci->flags |= flag;
    L->ci->savedpc = (const Instr *)luD_savestack(L, L->top - nargs - 1); /* for caught() */
    g->pending.L = L;
    g->pending.func = luD_savestack(L, L->top - nargs - 1);
    g->pending.nresults = nresults;
    g->pending.flags = CALL_BELOW_C;
    return NATIVE_CALL;
}

int luau_callk(lua_State *L, int nargs, int nresults)
{
    return call_with_continuation(L, nargs, nresults, CALL_KCALL);
}

int luau_pcallk(lua_State *L, int nargs, int nresults)
{
    return call_with_continuation(L, nargs, nresults, CALL_KPCALL);
}
