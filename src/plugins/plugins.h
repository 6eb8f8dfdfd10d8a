/* plugins.h: the modules that templates can require, one file each. A module is a table made while
 * the sandbox's image is built; it is frozen with it and shared by all guilds, so natives keep no
 * state of a guild in it. */
#ifndef PLUGINS_PLUGINS_H
#define PLUGINS_PLUGINS_H

#include "khronos/sandbox.h"

/* All of them; *count entries. */
const KhronosPlugin *plugins_all(int *count);

/* Each pushes its module. */
void plugin_datamgmt_open(lua_State *L);
void plugin_datetime_open(lua_State *L);
void plugin_interop_open(lua_State *L);
void plugin_json_open(lua_State *L);
void plugin_kv_open(lua_State *L);
void plugin_luau_open(lua_State *L);
void plugin_promise_open(lua_State *L);
void plugin_templates_open(lua_State *L);
void plugin_typesext_open(lua_State *L);

/* Each pushes what `ctx.KV` and `ctx.Templates` are, for the context that is the argument. [e] */
int plugin_kv_new(lua_State *L);
int plugin_templates_new(lua_State *L);

#endif
