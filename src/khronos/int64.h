/* int64.h: integers that a double cannot hold, as userdata: I64 and U64. They cross the JSON
 * boundary exactly.
 *
 * Arithmetic is modulo 2^64, within one kind; a number may stand on one side if it is whole and in
 * the kind's range. `/` truncates, `//` and `%` go with the floor. Order and equality are those of
 * the values, also between the two kinds. They are userdata: as keys of tables they are equal only
 * to themselves. */
#ifndef KHRONOS_INT64_H
#define KHRONOS_INT64_H

#include <stdbool.h>
#include <stdint.h>

#include "luau/luau.h"

enum KhronosTag {
    KHRONOS_TAG_CONTEXT = 1,
    KHRONOS_TAG_I64,
    KHRONOS_TAG_U64,
    KHRONOS_TAG_CHUNK,     /* of @antiraid/luau */
    KHRONOS_TAG_KV,        /* ctx.KV */
    KHRONOS_TAG_TEMPLATES, /* ctx.Templates */
    KHRONOS_TAG_TIMEZONE,  /* these three: datetime.h */
    KHRONOS_TAG_DATETIME,
    KHRONOS_TAG_TIMEDELTA,
};

/* Sets the metatables of both kinds in a VM whose heap becomes an image. */
void int64_open(lua_State *L);
void int64_push(lua_State *L, int64_t value);   /* [m] */
void uint64_push(lua_State *L, uint64_t value); /* [m] */

/* For natives: `kind` is KHRONOS_TAG_I64 or KHRONOS_TAG_U64, `bits` are those of such a value. */
void int64_pushbits(lua_State *L, int kind, uint64_t bits); /* [m] */
/* The argument as a value of that kind: one of either kind, a whole number, an integer, or if
 * `texts` its digits ("-12", "0xFF"). What does not fit is an argument error. [e] */
uint64_t int64_check(lua_State *L, int arg, int kind, bool texts);
/* The 8 bytes at arg: a table of 8 numbers, a string of 8 bytes, or a buffer (from the offset at
 * arg + 1, 0 if absent). [e] */
uint64_t int64_checkbytes(lua_State *L, int arg, bool big_endian);

#endif
