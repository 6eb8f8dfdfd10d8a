/* call.h: stacks, frames, errors: what runs functions and what unwinds them.
 *
 * C recursion happens only where a native or a metamethod calls back: luV_execute runs Lua-to-Lua
 * calls, pcall, xpcall, coroutine.resume, wrap and yield in one loop. Errors longjmp to the nearest
 * Activation; there luD_unwind looks for a frame marked CALL_PROTECTED above the activation's own
 * and the interpreter goes on from it. Kills go past all of them to the outermost activation. */
#ifndef LUAU_CALL_H
#define LUAU_CALL_H

#include "luau/module.h"
#include "luau/state.h"

/* Room for n more slots; may move the stack. */
#define luD_checkstack(L, n)                                                                    \
    do {                                                                                        \
        if (BASE_UNLIKELY((L)->stack_last - (L)->top <= (ptrdiff_t)(n)) ||                      \
            BASE_UNLIKELY(LUAU_STACK_MOVES(L)))                                                 \
            luD_growstack(L, n);                                                                \
    } while (0)
#ifdef LUAU_DEBUG
#define LUAU_STACK_MOVES(L) (G(L)->test_modes & LUAU_TEST_STACK_MOVES)
#else
#define LUAU_STACK_MOVES(L) 0
#endif
#define luD_savestack(L, p) ((char *)(p) - (char *)(L)->stack)
#define luD_restorestack(L, n) ((Value *)((char *)(L)->stack + (n)))
/* Into EXTRA_STACK or checked room. No macro: v may raise or move the stack, before top moves. */
BASE_INLINE void luD_push(lua_State *L, Value v)
{
    *L->top++ = v;
}

void luD_growstack(lua_State *L, int n);     /* raises stack overflow */
/* The same as a safepoint: all that lives is on stacks. For large ones garbage goes first. */
void luD_growforframe(lua_State *L, int n);
CallInfo *luD_growci(lua_State *L);          /* next frame; a safepoint; raises `stack overflow` */
/* After unwinding: frames that only handlers may use are kept back again. */
void luD_dropreserve(lua_State *L);
void luD_shrinkstack(lua_State *L);          /* if memory allows; raises nothing */

/* Calls the function at func with the arguments up to top; results from func on, top after them
 * (LUA_MULTRET) or nresults of them. Counts a native level (`C stack overflow`). */
void luD_call(lua_State *L, Value *func, int nresults);
/* Runs fn(L, arg) protected. On error: status, frame and c_calls restored, upvalues closed from
 * `old_top` (a saved stack offset) on, the error value at old_top, top behind it. Kills pass. */
int luD_pcall(lua_State *L, void (*fn)(lua_State *L, void *arg), void *arg, ptrdiff_t old_top);
/* The outermost luD_pcall (no activation under it) ends kills: LUA_KILLED, nil at old_top. */

/* fn of a luD_pcall that just calls the function at the saved stack offset; handler: nil or a
 * message handler that runs at the point of the error. */
struct ProtectedCall { ptrdiff_t func; int nresults; Value handler; };
void luD_callprotected(lua_State *L, void *call);

/* ---- the parts of calling that the interpreter and C share (coro.c) ---- */
enum {
    EXEC_DONE,
    EXEC_YIELD,
    EXEC_PROTECT, /* global->pending is to be started under an exec activation */
    EXEC_CALL     /* global->pending is to be started */
};
/* What a native returns besides a count. */
enum { NATIVE_YIELD = -1, NATIVE_CALL = -3 /* luau_callk: the call is in global->pending */ };

/* Starts the call of any value at func (arguments up to top): Lua functions get a frame, natives
 * run, special natives do their work. Returns the thread to interpret next (its frame is a Lua
 * one), or NULL: leave the interpreter with global->leave. flags: of the new frame. */
lua_State *luD_precall(lua_State *L, Value *func, int nresults, uint32_t flags);
/* Ends the native frame L->ci with n results from `first` (or a Lua frame whose flags are not 0),
 * and all that ends with it; the result as luD_precall's. */
lua_State *luD_finish(lua_State *L, Value *first, int n);
/* The same for what a native gave back: n results on top, or NATIVE_*. */
lua_State *luD_afternative(lua_State *L, int n);
/* True if errors in frames that the current luV_execute made come back to it. */
#define luD_isprotected(g)                          \
    ((g)->activation && (g)->activation->exec &&    \
     (g)->activation->depth == (g)->exec_depth)
/* Leaves a call for the interpreter to start once it is protected. */
lua_State *luD_defer(lua_State *L, Value *func, int nresults, uint32_t flags);
BASE_NORETURN void luD_throw(lua_State *L, int status); /* error value on top of the stack */
/* A kill passes this thread. */
void luD_killthread(lua_State *co);
/* An error whose handler has run: goes on unwinding from g->activation. */
BASE_NORETURN void luD_rethrow(lua_State *L, int status);
BASE_NORETURN void luD_kill(lua_State *L);              /* unwinds to the outermost activation */
/* The error value of a status (LUA_ERRMEM: the fixed text) at `slot`. */
void luD_seterror(lua_State *L, int status, Value *slot);
void luD_checkcstack(lua_State *L);          /* raises `C stack overflow` past the limits */

/* VM errors: message with the position of the running function (reference 8.2), 511 bytes at most.
 * luD_typeerror: `attempt to WHAT a T value`. */
BASE_NORETURN void luD_error(lua_State *L, const char *format, ...) BASE_PRINTF(2, 3);
BASE_NORETURN void luD_typeerror(lua_State *L, Value v, const char *what);
BASE_NORETURN void luD_indexerror(lua_State *L, Value object, Value key);
BASE_NORETURN void luD_aritherror(lua_State *L, Value a, Value b, TM event);
BASE_NORETURN void luD_concaterror(lua_State *L, Value a, Value b);
BASE_NORETURN void luD_ordererror(lua_State *L, Value a, Value b, bool or_equal);
BASE_NORETURN void luD_fornerror(lua_State *L, Value v, const char *what);
BASE_NORETURN void luD_readonlyerror(lua_State *L);
BASE_NORETURN void luD_methoderror(lua_State *L, Value object, String *name);
/* Line of a frame (its savedpc), -1 for natives. */
int luD_currentline(lua_State *L, CallInfo *ci);
#define ci_isluau(ci) (!((ci)->flags & CALL_C))
#define ci_closure(ci) val_closure(*(ci)->func)

#endif
