/* templates_args.h: arguments of ctx.Templates (templates.c). */
#ifndef PLUGINS_TEMPLATES_ARGS_H
#define PLUGINS_TEMPLATES_ARGS_H

#include "luau/luau.h"
#include "store/store.h"

/* What save is to save: a table like {source = ..., events = ...}, whose texts it borrows. Pushes
 * what keeps them alive. Raises what a template must not look like. May park, may be killed. */
void templates_args_read(lua_State *L, int index, Text name, StoreTemplate *t);
/* 1 to STORE_NAME_MAX bytes of those that names have. */
Text templates_args_name(lua_State *L, int index);
/* A version: a whole number from `least`; absent: what `none` says. */
int64_t templates_args_version(lua_State *L, int index, const char *argument, int64_t least,
                               int64_t none);
/* The same in the request's memory. NULL: no memory. */
const StoreTemplate *templates_args_copy(StoreRequest *request, const StoreTemplate *t);

#endif
