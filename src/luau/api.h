/* api.h: what the files of the embedding interface (api_*.c, aux.c, strbuf.c, debug.c) share: from
 * stack indices to values.
 *
 * Discipline of every function there: what may allocate calls luG_check first, while all its
 * operands still stand on the stack; then it allocates, stores and does the barrier, with no
 * safepoint in between. Misuse that could corrupt memory is a BASE_ASSERT, what only a wrong host
 * does and a test run finds is an api_check. */
#ifndef LUAU_API_H
#define LUAU_API_H

#include "luau/bytes.h"
#include "luau/call.h"
#include "luau/func.h"
#include "luau/str.h"
#include "luau/table.h"
#include "luau/tm.h"
#include "luau/vm.h"

#define api_check(L, c) BASE_DEBUG(c)
#define api_checkcount(L, n) BASE_DEBUG((L)->top - (L)->base >= (n))
/* Natives push into the room of their frame; for Luau frames (luaL_tolstring serves the interpreter
 * too) the stack's own end counts. */
#define api_end(L) ((L)->ci->flags & CALL_C ? (L)->ci->top : (L)->stack_last + EXTRA_STACK)
#define api_push(L, v)                                                                             \
    do {                                                                                           \
        Value pushed_ = (v);                                                                       \
        BASE_DEBUG((L)->top < api_end(L));                                                         \
        *(L)->top++ = pushed_;                                                                     \
    } while (0)

/* Slot of an acceptable stack index; NULL if it is beyond the top, or a pseudo index. */
BASE_INLINE Value *luE_slot(lua_State *L, int index)
{
    if (index > 0) {
        Value *slot = L->base + (index - 1);
        return slot < L->top ? slot : NULL;
    }
    if (lua_ispseudo(index))
        return NULL;
    api_check(L, index != 0 && -index <= L->top - L->base);
    return L->top + index;
}

/* The same, of an index that must be there. */
BASE_INLINE Value *luE_mustslot(lua_State *L, int index)
{
    Value *slot = luE_slot(L, index);
    BASE_ASSERT(slot != NULL);
    return slot;
}

/* Value of a pseudo index (makes the registry); false: an upvalue that the function has not. */
bool luE_pseudo(lua_State *L, int index, Value *out);

/* Value at any index; false and nil: none. */
BASE_INLINE bool luE_find(lua_State *L, int index, Value *out)
{
    Value *slot = luE_slot(L, index);
    if (BASE_LIKELY(slot != NULL)) {
        *out = *slot;
        return true;
    }
    *out = VAL_NIL;
    return lua_ispseudo(index) && luE_pseudo(L, index, out);
}

BASE_INLINE Value luE_value(lua_State *L, int index)
{
    Value v;
    luE_find(L, index, &v);
    return v;
}

BASE_INLINE Table *luE_table(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    BASE_ASSERT(val_istable(v));
    return val_table(v);
}

/* Running native, or NULL at the level of the host. */
BASE_INLINE Closure *luE_native(lua_State *L)
{
    return L->ci > L->ci_base && (L->ci->flags & CALL_C) ? ci_closure(L->ci) : NULL;
}

/* Room for n more slots, whatever the frame's limit was. */
BASE_INLINE void luE_room(lua_State *L, int n)
{
    luD_checkstack(L, n);
    if ((L->ci->flags & CALL_C) && L->ci->top < L->top + n)
        L->ci->top = L->top + n;
}

/* A C caller got `all results`: they are part of its frame's room. */
BASE_INLINE void luE_adopt(lua_State *L, int nresults)
{
    if (nresults == LUA_MULTRET && L->top >= L->ci->top)
        L->ci->top = L->top;
}

/* Safepoint before making an object of that size. */
BASE_INLINE void luE_prepare(lua_State *L, size_t size)
{
    luG_check(L);
    if (size > HEAP_SMALL_MAX)
        luH_reserve(L, size);
}

/* Pushes a new string; raises if it is too long. */
String *luE_newstring(lua_State *L, const char *data, size_t length);
BASE_NORETURN void luE_toobig(lua_State *L);

/* What tostring shows of a value that has an address (`table: 0x` and 16 digits): no address but a
 * secret permutation of it, so that no tenant learns where the process keeps its memory; distinct
 * for distinct objects of a VM and the same for one object's whole life. */
uint64_t luE_objectid(lua_State *L, Value v);

/* Pseudo-random 64 bits of the process (kernel's secret), the place and the moment. */
uint64_t luE_seed(const void *place);

/* Metatables of userdata tags that an image brings along; NULL: none. Frozen, LUA_UTAG_LIMIT. */
Table **luI_udatameta(const luau_Image *image);

#endif
