/* context.h: `ctx`, what a template knows about its run and what it may do.
 *
 * A userdata of its own tag, which nothing but context_push makes and nothing changes. It holds
 * copies of all it tells, in one block, so a template may keep it as long as it likes: it pins no
 * execution and no version of a template, and needs no destructor. Tables are made when they are
 * asked for.
 *
 * Its capabilities are those of the template's version, narrowed to what the caller of the
 * execution allows, narrowed again by withlimits. */
#ifndef KHRONOS_CONTEXT_H
#define KHRONOS_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

#include "khronos/caps.h"
#include "khronos/khronos.h"
#include "luau/luau.h"

/* While the image is built; the table of what plugins add to contexts is on top of the stack, and
 * stays. It may be filled later. */
void context_open(lua_State *L);
/* Pushes the context of an execution (caller, template_version and id are read; nothing is kept).
 * Polls. [m] */
void context_push(lua_State *L, uint64_t guild_id, const KhronosExecution *x);

/* For natives that act for a template: the argument must be a context (else a type error) ... */
void context_check(lua_State *L, int arg);
/* ... that has the capability: `this call needs the capability 'kv:get'`. */
void context_require(lua_State *L, int arg, const char *cap);
uint64_t context_guild(lua_State *L, int arg);
/* Its capabilities, which live as long as the context does. */
KhronosCaps context_caps(lua_State *L, int arg);

#endif
