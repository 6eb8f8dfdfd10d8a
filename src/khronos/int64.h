/* int64.h: integers that a double cannot hold, as userdata: I64 and U64. Equal by value within a
 * kind, ordered, shown in decimal; they cross the JSON boundary exactly. */
#ifndef KHRONOS_INT64_H
#define KHRONOS_INT64_H

#include <stdint.h>

#include "luau/luau.h"

enum KhronosTag { KHRONOS_TAG_CONTEXT = 1, KHRONOS_TAG_I64, KHRONOS_TAG_U64 };

/* Sets the metatables of both kinds in a VM whose heap becomes an image. */
void int64_open(lua_State *L);
void int64_push(lua_State *L, int64_t value);
void uint64_push(lua_State *L, uint64_t value);

#endif
