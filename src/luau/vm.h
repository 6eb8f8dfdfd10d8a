/* vm.h: the interpreter (exec.c) and the operations of the language on values (vmops.c). All may
 * raise, call metamethods (C recursion), and so move the stack, unless stated. */
#ifndef LUAU_VM_H
#define LUAU_VM_H

#include "luau/state.h"

/* Interprets the Lua frame L->ci, and what it calls and resumes, until the frame flagged CALL_ENTRY
 * that it started from returns (EXEC_DONE), a thread resumed by the host yields (EXEC_YIELD), or a
 * call needs an exec activation (EXEC_PROTECT, see coro.c). Only coro.c calls it. */
int luV_execute(lua_State *L);

bool luV_tonumber(Value v, double *out);            /* numbers and numeric strings; never raises */
bool luV_tostring(lua_State *L, Value *slot);       /* numbers become strings in place; [m] */
bool luV_rawequal(Value a, Value b);                /* never raises */
bool luV_equal(lua_State *L, Value a, Value b);     /* __eq */
bool luV_less(lua_State *L, Value a, Value b);
bool luV_lessequal(lua_State *L, Value a, Value b);
/* Stores to *L->stack-relative slots, so the stack may move: `out` is a saved offset. */
void luV_index(lua_State *L, Value object, Value key, ptrdiff_t out);
void luV_setindex(lua_State *L, Value object, Value key, Value v);
void luV_arith(lua_State *L, ptrdiff_t out, Value a, Value b, TM event);
void luV_length(lua_State *L, ptrdiff_t out, Value v);
/* Joins the `count` values below top (at least 2) into one, left at top - count; top unchanged. */
void luV_concat(lua_State *L, int count);
/* tostring(): the text as a String value; `__tostring`. */
Value luV_totext(lua_State *L, Value v);
double luV_mod(double a, double b);                 /* a - floor(a / b) * b */
double luV_pow(double a, double b);
/* Fast builtins (builtins.c): results written at `result` (1 value; or more, for select, unpack:
 * up to nresults, LUA_MULTRET allowed); count, or -1 to decline. args[0..nargs). Never raises;
 * may not allocate except through functions that cannot collect. */
typedef int (*luV_Builtin)(lua_State *L, Value *result, int nresults, const Value *args, int nargs);
extern const luV_Builtin luV_builtins[];

#endif
