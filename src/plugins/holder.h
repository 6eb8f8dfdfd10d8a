/* holder.h: what ctx.KV and ctx.Templates are: userdata, each kind with its tag, that say whose
 * data it is about and what their holder may do with it. They are made from a context and hold
 * copies, so whoever has one has exactly what the context had. */
#ifndef PLUGINS_HOLDER_H
#define PLUGINS_HOLDER_H

#include <stdint.h>

#include "khronos/caps.h"
#include "luau/luau.h"

typedef struct Holder {
    uint64_t guild_id;
    KhronosCaps caps;
} Holder;

/* While the image is built: the metatable of a tag. `type_name` is what typeof says (a literal);
 * the table of methods is on top, and is popped. */
void holder_open(lua_State *L, int tag, const char *type_name);
/* Pushes one for the context at `arg` (else a type error), with those of its grants that begin with
 * prefix, or that are "*". [e] */
void holder_push(lua_State *L, int arg, int tag, const char *prefix);
/* The holder that a method was called on: argument 1. `shown` is how scripts name it ("ctx.KV").
 * [e] */
const Holder *holder_check(lua_State *L, int tag, const char *shown, const char *method);
/* Raises `this call needs the capability 'kv:get'`. [e] */
void holder_require(lua_State *L, const Holder *holder, const char *cap);

#endif
