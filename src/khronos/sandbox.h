/* sandbox.h: what every guild's VM shares: one frozen image with the libraries, the plugins and the
 * natives of the runtime.
 *
 * Names in the image:
 *     its base             the library names. Compiled code refers to them; no script sees the
 * table
 *     base["@worker"]      out of reach of any script, by its name:
 *         .globals         the table that templates' globals read through to
 *         .env_metatable   metatable of every template's global table
 *         .array_metatable, .plugins["@antiraid"].NAME
 *         .context_fields      what plugins add to contexts
 *
 * A template's global table (environment) is made by sandbox_pushenv: empty but for _G, which is
 * the table itself. Reads fall through to the shared globals; writing one of their names is an
 * error. */
#ifndef KHRONOS_SANDBOX_H
#define KHRONOS_SANDBOX_H

#include <stddef.h>

#include "khronos/codecache.h"
#include "luau/luau.h"

/* Stable id of a field of base["@worker"] (luau_image_push). */
#define SANDBOX_ID(name) "_G[\"@worker\"]." name

/* A module that templates can require as `namespace/name`, e.g. "@antiraid/json". */
typedef struct KhronosPlugin {
    const char *namespace_name; /* "@antiraid" */
    const char *name;
    void (*open)(lua_State *L); /* pushes the module's table; runs while the image is built */
    /* `ctx.FIELD` is what this native returns when it is called with the context; NULL: the plugin
     * adds nothing to contexts. */
    const char *context_field;
    lua_CFunction context_value;
} KhronosPlugin;

/* Immutable, reference counted, any thread. */
typedef struct KhronosSandbox KhronosSandbox;

/* One reference. The plugins are read during the call only. NULL: text in error. */
KhronosSandbox *sandbox_new(const KhronosPlugin *plugins, int count, char *error, size_t size);
KhronosSandbox *sandbox_retain(KhronosSandbox *sandbox);
void sandbox_release(KhronosSandbox *sandbox);            /* NULL is fine */
luau_Image *sandbox_image(const KhronosSandbox *sandbox); /* borrowed */
/* The code of all templates, compiled against the image. Borrowed. */
CodeCache *sandbox_codecache(const KhronosSandbox *sandbox);

void sandbox_pushenv(lua_State *L); /* [m] */
/* Pushes the module and returns 1; or returns 0 and pushes nothing: *known_namespace tells whether
 * it is the name or the namespace that does not exist. `path` is what was required. */
int sandbox_pushplugin(lua_State *L, const char *path, size_t length, int *known_namespace);

#endif
