/* datetime.h: the parts of @antiraid/datetime. */
#ifndef PLUGINS_DATETIME_H
#define PLUGINS_DATETIME_H

#include "khronos/datetime_value.h"
#include "luau/luau.h"

/* Each sets the metatable of its userdata, while the image is built. */
void datetime_open_moment(lua_State *L);
void datetime_open_delta(lua_State *L);

/* The text of a moment by a strftime format at stack index `format`. Pushes it. [e] */
void datetime_format(lua_State *L, const DateTime *moment, int format);

/* A field of a userdata, pushed. */
typedef struct DateTimeField {
    const char *name;
    void (*push)(lua_State *L, const void *self);
} DateTimeField;
/* For __index of `self`: the field named at 2, or the method of that name in the table that is
 * upvalue 1, or an error. */
int datetime_index(lua_State *L, const void *self, const DateTimeField *fields, size_t count,
                   const char *type);

/* The number, I64 or U64 at arg, in units of `unit` nanoseconds. NaN, infinities and what no
 * userdata here could hold are argument errors. [e] */
Nanos datetime_checkamount(lua_State *L, int arg, Nanos unit);
/* A number if it is exact, else an I64; an error if it does not fit there. [e] */
void datetime_pushexact(lua_State *L, Nanos value, const char *what);
/* The userdata at arg. [e] */
const Timezone *datetime_checkzone(lua_State *L, int arg);
const TimeDelta *datetime_checkdelta(lua_State *L, int arg);

/* The table on top, with its functions in place, becomes the metatable of that tag; `methods` are
 * in upvalue 1 of its __index. */
void datetime_setmetatable(lua_State *L, int tag, const char *type, const luaL_Reg *operators,
                           lua_CFunction index, const luaL_Reg *methods);

#endif
