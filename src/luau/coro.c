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

/* Room for n more slots, where all that lives is on stacks. */
static void check_room(lua_State *L, int n)
{
    if (BASE_UNLIKELY(L->stack_last - L->top <= n || LUAU_STACK_MOVES(L)))
        luD_growforframe(L, n);
}

static void push_native(lua_State *L, Value *func, int nresults, uint32_t flags)
{
    ptrdiff_t at = luD_savestack(L, func);
    check_room(L, LUA_MINSTACK);
    CallInfo *ci = push_frame(L, luD_restorestack(L, at), nresults, flags | CALL_C);
    ci->top = L->top + LUA_MINSTACK;
    L->ci = ci;
    L->base = ci->base;
}

static void push_luau(lua_State *L, Value *func, int nresults, uint32_t flags)
{
    const Proto *p = val_closure(*func)->l.proto;
    ptrdiff_t at = luD_savestack(L, func);
    check_room(L, p->max_stack + LUA_MINSTACK);
    CallInfo *ci = push_frame(L, luD_restorestack(L, at), nresults, flags);
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

/* Runs the continuation of the native L->ci, which gets its room again: what was waited for may
 * have left any number of values. */
static int run_continuation(lua_State *L, int status)
{
    check_room(L, LUA_MINSTACK);
    if (L->ci->top < L->top + LUA_MINSTACK)
        L->ci->top = L->top + LUA_MINSTACK;
    return ci_closure(L->ci)->c.cont(L, status);
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
    if (n >= LUA_MINSTACK && to->top - to->base + n + 1 > LUAI_MAXCSTACK) {
        co->top = first;
        luaL_error(to, "too many results to resume");
    }
    check_room(to, n + 1);
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
    L->base = first;
    if (L->resumed_by_vm)
        return give_to_resumer(L, first, n, true);
    return leave(L, EXEC_YIELD);
}

/* Leaves for the host with all threads up to the one that it resumed; their links stay. */
static lua_State *do_break(lua_State *L)
{
    for (lua_State *co = L;; co = co->from) {
        co->status = LUA_BREAK;
        co->running = false;
        if (!co->resumed_by_vm)
            return leave(co, EXEC_YIELD);
    }
}

/* The thread that co, which broke, was waiting for in resume or wrap, if that broke with it. */
static lua_State *broken_callee(lua_State *co)
{
    const Closure *native = ci_closure(co->ci);
    lua_State *callee = native->kind == CLOSURE_RESUME    ? val_thread(co->ci->base[0])
                        : native->kind == CLOSURE_WRAPPED ? val_thread(native->c.up[0])
                                                          : NULL;
    return callee && callee->status == LUA_BREAK && callee->from == co ? callee : NULL;
}

/* Makes co, which did not run, a running thread again. */
static void set_running(lua_State *co, int c_calls)
{
    co->running = true;
    co->c_calls = co->base_c_calls = (uint16_t)c_calls;
    co->handlers = 0;
    G(co)->running = co;
}

/* From a thread that broke to the innermost of those that broke with it; all run again. */
static lua_State *mend_break(lua_State *co)
{
    for (lua_State *callee; (callee = broken_callee(co)) != NULL; co = callee) {
        co->status = LUA_OK;
        co->base = co->ci->base;
        set_running(callee, co->c_calls + 1);
    }
    return co;
}

/* Starts or continues co with the nargs values on its top. */
static lua_State *go_on(lua_State *co, int nargs)
{
    if (co->status == LUA_OK)
        return luD_precall(co, co->top - nargs - 1, LUA_MULTRET, CALL_ENTRY | CALL_THREAD);
    if (co->status == LUA_BREAK) {
        lua_State *inner = mend_break(co);
        if (inner != co) {
            co->top -= nargs;
            co = inner;
            nargs = 0;
        }
    }
    co->status = LUA_OK;
    co->base = co->ci->base;
    const Closure *native = ci_closure(co->ci);
    BASE_ASSERT(!ci_isluau(co->ci));
    if (native->kind == CLOSURE_C && native->c.cont)
        return luD_afternative(co, run_continuation(co, LUA_OK));
    return luD_finish(co, co->top - nargs, nargs);
}

static const char *why_not_resumable(lua_State *L, lua_State *co)
{
    if (co == L)
        return "cannot resume running coroutine";
    if (co->running || co->status == LUA_BREAK || co == G(L)->main ||
        (co->status == LUA_OK && co->ci != co->ci_base))
        return "cannot resume normal coroutine";
    if ((co->status != LUA_OK && co->status != LUA_YIELD) ||
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
    if (co->status == LUA_YIELD)
        co->base = co->ci->base;
    if (co->top - co->base + nargs > LUAI_MAXCSTACK)
        luaL_error(L, "too many arguments to resume");
    ptrdiff_t at = luD_savestack(L, args);
    check_room(co, nargs + 1);
    L->top = luD_restorestack(L, at);
    memcpy(co->top, L->top, (size_t)nargs * sizeof(Value));
    co->top += nargs;
    co->from = L;
    co->resumed_by_vm = true;
    co->is_wrap = wrapped;
    set_running(co, L->c_calls + 1);
    return go_on(co, nargs);
}

/* ---- special natives ------------------------------------------------------------------------- */

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

/* pcall, or xpcall: marks its frame; where the function to call stands. */
static Value *prepare_protected(lua_State *L, int kind)
{
    if (kind == CLOSURE_PCALL) {
        luaL_checkany(L, 1);
        L->ci->flags |= CALL_PROTECTED;
        return L->base;
    }
    luaL_checktype(L, 2, LUA_TFUNCTION);
    Value f = L->base[0];
    L->base[0] = L->base[1];
    L->base[1] = f;
    L->ci->flags |= CALL_PROTECTED | CALL_HANDLER;
    return L->base + 1;
}

lua_State *luD_precall(lua_State *L, Value *func, int nresults, uint32_t flags)
{
    for (;;) { /* pcall may call pcall may call pcall ... */
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
        push_native(L, func, nresults, flags);
        switch (cl->kind) {
        case CLOSURE_RESUME: return special_resume(L);
        case CLOSURE_WRAPPED: return special_wrapped(L);
        case CLOSURE_YIELD: return special_yield(L);
        default:
            func = prepare_protected(L, cl->kind);
            nresults = LUA_MULTRET;
            flags = CALL_BELOW_C;
        }
    }
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
        n = run_continuation(L, LUA_OK);
        if (n < 0)
            return luD_afternative(L, n);
        first = L->top - n;
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
            return do_break(L);
        return do_yield(L, L->base, (int)(L->top - L->base));
    }
    /* Not started here: natives that call natives in turn would pile up on the native stack. */
    BASE_ASSERT(n == NATIVE_CALL && G(L)->pending.L == L);
    bool ready = !(L->ci->flags & CALL_KPCALL) || luD_isprotected(G(L));
    return leave(L, ready ? EXEC_CALL : EXEC_PROTECT);
}

/* Interprets `next`, or goes on with why there is none, until something else than a pending call
 * that can be started here stops it. */
static int run_loop(Global_ *g, lua_State *next)
{
    for (;;) {
        int left = next ? luV_execute(next) : g->leave;
        if (BASE_LIKELY(left != EXEC_CALL))
            return left;
        next = start_pending(g);
    }
}

/* ---- unwinding ------------------------------------------------------------------------------- */

/* L goes on from its frame L->ci, in the loop of the activation: how many handlers run below. */
static void restore_depths(lua_State *L, const Activation *act)
{
    bool same = act->L == L;
    L->c_calls = same ? act->c_calls : L->base_c_calls;
    if (L->handlers == 0) { /* a handler that returned may have used the reserve */
        luD_dropreserve(L);
        return;
    }
    L->handlers = same ? act->handlers : 0;
    CallInfo *floor = same ? (CallInfo *)((char *)L->ci_base + act->ci) : L->ci_base;
    for (CallInfo *ci = L->ci; ci > floor; ci--)
        L->handlers = (uint8_t)(L->handlers + ((ci->flags & CALL_IN_HANDLER) != 0));
    luD_dropreserve(L);
}

/* The error on top of L goes to its protected frame ci. */
static lua_State *caught(lua_State *L, CallInfo *ci, const Activation *act, int status)
{
    Value error;
    luD_seterror(L, status, &error);
    luF_close(L, ci->base);
    uint32_t kind = ci->flags;
    ci->flags &= ~(uint32_t)(CALL_PROTECTED | CALL_HANDLER | CALL_IN_HANDLER | CALL_KPCALL);
    L->ci = ci;
    L->base = ci->base;
    restore_depths(L, act);
    if (kind & CALL_KPCALL) {
        L->top = luD_restorestack(L, (ptrdiff_t)ci->savedpc);
        *L->top++ = error;
        luG_check(L);
        return luD_afternative(L, run_continuation(L, status));
    }
    ptrdiff_t func = luD_savestack(L, ci->func);
    Value *out = ci->func;
    out[0] = VAL_FALSE;
    out[1] = error;
    L->top = out + 2;
    luG_check(L); /* a loop that does nothing but catch errors has no other safepoint for them */
    out = luD_restorestack(L, func);
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
    check_room(to, 3);
    if (!co->is_wrap) {
        luD_push(to, VAL_FALSE);
        luD_push(to, error);
        luG_check(to);
        return luD_finish(to, to->top - 2, 2);
    }
    if (val_isstring(error) || val_isnumber(error)) {
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
    act.handlers = L->handlers;
    act.exec = true;
    act.handler = VAL_NIL;
    act.in_handler = false;
    act.status = LUA_OK;
    act.outside = g->running;
    g->running = L;
    if (!act.previous)
        luY_entered(L);
    g->activation = &act;
    lua_State *next = NULL;
    bool ended = false;
    if (_setjmp(act.jump) == 0) {
        next = start ? start(L, arg) : start_pending(g);
    } else {
        g->exec_depth = act.depth;
        ended = act.status == LUA_KILLED || !unwind(&act, &next);
    }
    int status = act.status;
    if (!ended) {
        int left = run_loop(g, next);
        BASE_ASSERT(left != EXEC_PROTECT);
        status = left == EXEC_YIELD ? LUA_YIELD : LUA_OK;
    }
    g->activation = act.previous;
    g->running = act.outside;
    if (!act.previous)
        luY_left(L);
    return status;
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
    int left = run_loop(g, next);
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

/* The error on top of L is raised where L, or what it broke with, waits. */
static lua_State *start_error(lua_State *L, void *arg)
{
    (void)arg;
    lua_State *co = L->status == LUA_BREAK ? mend_break(L) : L;
    if (co != L) {
        luD_push(co, L->top[-1]); /* EXTRA_STACK */
        L->top--;
    }
    co->status = LUA_OK;
    co->base = co->ci->base;
    luD_throw(co, LUA_ERRRUN);
}

static int resume_error(lua_State *L, const char *text, int nargs)
{
    L->top -= nargs;
    String *s = luS_new(L, text, strlen(text));
    luD_push(L, val_fromstring(s));
    return LUA_ERRRUN;
}

static int resume_by_host(lua_State *L, lua_State *from, int nargs,
                          lua_State *(*start)(lua_State *L, void *arg))
{
    Global_ *g = G(L);
    if ((L->status != LUA_OK && L->status != LUA_YIELD && L->status != LUA_BREAK) ||
        (L->status == LUA_OK && L->ci != L->ci_base))
        return resume_error(L, "cannot resume non-suspended coroutine", nargs);
    if ((from && from->c_calls >= LUAI_MAXCCALLS) ||
        (g->activation && (char *)__builtin_frame_address(0) < g->c_stack_limit))
        return resume_error(L, "C stack overflow", nargs);
    lua_State *running = g->running;
    L->from = NULL;
    L->resumed_by_vm = false;
    set_running(L, from ? from->c_calls + 1 : 1);
    g->running = running; /* run_protected notes it and makes L the running one */
    g->exec_depth++;
    int status = run_protected(L, 0, start, &nargs);
    g->exec_depth--;
    L->running = false;
    if (status == LUA_YIELD)
        return L->status;
    if (status == LUA_KILLED) {
        luD_killthread(L);
    } else if (status != LUA_OK) {
        Value error;
        luD_seterror(L, status, &error);
        L->status = (uint8_t)status;
        L->handlers = 0;
        luF_close(L, L->stack);
        luD_push(L, error);
    }
    return status;
}

int lua_resume(lua_State *L, lua_State *from, int nargs)
{
    return resume_by_host(L, from, nargs, start_resume);
}

int lua_resumeerror(lua_State *L, lua_State *from)
{
    return resume_by_host(L, from, 1, start_error);
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
    for (lua_State *co = L;; co = co->from) { /* all that wait for it break too */
        if (co->c_calls > co->base_c_calls)
            luD_error(L, "attempt to break across metamethod/C-call boundary");
        if (!co->running)
            luaL_error(L, "attempt to yield from outside a coroutine");
        if (!co->resumed_by_vm)
            break;
    }
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
