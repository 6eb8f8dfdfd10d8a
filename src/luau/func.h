/* func.h: closures and upvalues. */
#ifndef LUAU_FUNC_H
#define LUAU_FUNC_H

#include "luau/state.h"

/* Upvalues and caches are nil. No collector call. */
Closure *luF_newlua(lua_State *L, const Proto *proto, Table *env);
Closure *luF_newc(lua_State *L, int nup, Table *env);
/* The open upvalue of that stack slot (found or made). */
UpVal *luF_findupval(lua_State *L, Value *slot);
/* Closes all upvalues of slots >= level. */
void luF_close(lua_State *L, Value *level);

#endif
