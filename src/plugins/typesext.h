/* typesext.h: the parts of @antiraid/typesext. */
#ifndef PLUGINS_TYPESEXT_H
#define PLUGINS_TYPESEXT_H

#include "luau/luau.h"

/* Pushes the table bitu64, while the image is built. */
void typesext_pushbits(lua_State *L);

#endif
