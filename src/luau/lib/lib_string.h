/* lib_string.h: what the files of the string library share.
 *
 * None of its functions holds memory but on the Lua stack, so that errors and kills may leave them
 * anywhere. Strings do not move: pointers into an argument stay good while it is on the stack. */
#ifndef LUAU_LIB_STRING_H
#define LUAU_LIB_STRING_H

#include "luau/lib/lib.h"

/* Bytes that a simple loop handles between two polls. */
enum { STRING_POLL_BYTES = 1 << 16 };

int luStr_find(lua_State *L);
int luStr_match(lua_State *L);
int luStr_gmatch(lua_State *L);
int luStr_gsub(lua_State *L);
int luStr_format(lua_State *L);
int luStr_pack(lua_State *L);
int luStr_packsize(lua_State *L);
int luStr_unpack(lua_State *L);

/* First place of needle in text, or NULL. Polls. */
const char *luStr_search(lua_State *L, const char *text, size_t length, const char *needle,
                         size_t needle_length);

/* luaL_checklstring, quick for what is a string already. */
BASE_INLINE const char *luStr_check(lua_State *L, int arg, size_t *length)
{
    const Value *v = L->base + (arg - 1);
    if (BASE_LIKELY(v < L->top && val_isstring(*v))) {
        *length = val_string(*v)->length;
        return val_string(*v)->data;
    }
    return luaL_checklstring(L, arg, length);
}

BASE_INLINE bool luStr_isdigit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* A position from the end (negative) as one from the start; 0 if that is before the first byte. */
BASE_INLINE ptrdiff_t luStr_position(int position, size_t length)
{
    if (position >= 0)
        return position;
    ptrdiff_t place = (ptrdiff_t)length + position + 1;
    return place > 0 ? place : 0;
}

/* Truncation to int64; what does not fit is the least one (reference 11.4: C's business). */
BASE_INLINE int64_t luStr_toint64(double n)
{
    return n >= -9223372036854775808.0 && n < 9223372036854775808.0 ? (int64_t)n : INT64_MIN;
}

#endif
