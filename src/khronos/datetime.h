/* datetime.h: moments with a time zone, and spans of time, as userdata (@antiraid/datetime,
 * src/plugins/datetime.c) and on their way to JSON (RFC 3339, seconds) and from natives that take
 * moments (ctx.KV). Years -9999 to 9999; nanoseconds. */
#ifndef KHRONOS_DATETIME_H
#define KHRONOS_DATETIME_H

#include <stdbool.h>
#include <stdint.h>

#include "luau/luau.h"

/* The moment at index: a DateTime, an RFC 3339 text, or a number of seconds since 1970. False: none
 * of these, or out of range. */
bool datetime_to_ms(lua_State *L, int index, int64_t *ms);
/* Pushes a DateTime of the zone UTC. [m] */
void datetime_push_ms(lua_State *L, int64_t ms);
/* Writes userdata of this family as JSON writes it: text (quoted) or number. 0: it is another
 * userdata. size: at least 64. */
int datetime_to_json(lua_State *L, int index, char *text, int size);

#endif
