/* luau_plugin.h: the parts of @antiraid/luau. */
#ifndef PLUGINS_LUAU_PLUGIN_H
#define PLUGINS_LUAU_PLUGIN_H

#include "luau/luau.h"

/* The native `format`. */
int luau_plugin_format(lua_State *L);

#endif
