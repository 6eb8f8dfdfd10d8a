/* context.h: `ctx`, what a template knows about its run. A value by itself: it holds copies, so a
 * template may keep it as long as it likes. */
#ifndef KHRONOS_CONTEXT_H
#define KHRONOS_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

#include "luau/luau.h"

typedef struct ContextFields {
    uint64_t guild_id;
    const char *template_name;
    uint32_t template_version;
    const char *execution_id;
    size_t memory_limit_bytes;
} ContextFields;

void context_open(lua_State *L);                              /* while the image is built */
void context_push(lua_State *L, const ContextFields *fields); /* [m] */

#endif
