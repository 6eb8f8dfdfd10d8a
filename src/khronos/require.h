/* require.h: `require` by string, as Luau resolves it, over any set of files.
 *
 * A module's path is its file's without the extension; a directory's init file is the directory.
 *     ./x       beside the requiring module        @self/x   below the requiring module
 *     ../x      beside its parent                  @name/x   an alias of the nearest .luaurc
 * Each name is tried as NAME.luau, NAME.lua, NAME/init.luau, NAME/init.lua; two that exist are an
 * error. Resolution is lexical: with a confined host nothing outside the root is ever asked for. An
 * init file at a confined root has nothing beside it, so there ./x means the same as @self/x.
 *
 * A module runs once in a set; its result is kept, a failed load is not. A module that is required
 * while it loads is an error that shows the way round. */
#ifndef KHRONOS_REQUIRE_H
#define KHRONOS_REQUIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"
#include "luau/luau.h"

enum { REQUIRE_PATH_MAX = 1024, REQUIRE_DEPTH_MAX = 64 };

typedef enum RequireKind { REQUIRE_ABSENT, REQUIRE_FILE, REQUIRE_DIRECTORY } RequireKind;

typedef struct RequireHost {
    RequireKind (*kind)(void *self, const char *path);
    bool (*read)(void *self, const char *path, Strbuf *out); /* a .luaurc; false: none */
    /* Pushes the file's function and returns true, or pushes a message and returns false. */
    bool (*load)(void *self, lua_State *L, const char *path);
    void *self;
    bool confined; /* paths are relative to a root that is never left */
} RequireHost;

/* The file that `request` means in the file `from`: its path in out[REQUIRE_PATH_MAX]. False: why,
 * in error. Takes no VM. */
bool require_resolve(const RequireHost *host, const char *from, const char *request, size_t length,
                     char *out, char *error, size_t error_size);

/* The modules of one template, or one program, in one VM. Lives at least as long as the VM. */
typedef struct RequireSet {
    RequireHost host;
    int cache;         /* reference: path -> false (loads now) or { result }; 0: not made yet */
    int loading_count; /* modules under way, outermost first */
    char *loading[REQUIRE_DEPTH_MAX];
} RequireSet;

void require_free(RequireSet *set); /* after the VM is gone, or with L to drop its references */
void require_drop(RequireSet *set, lua_State *L);

/* The body of a native `require` that was pushed with require_continue as its continuation:
 * argument 1 is the request, `from` the requiring file. Use as `return require_call(...)`. */
int require_call(lua_State *L, RequireSet *set, const char *from);
int require_continue(lua_State *L, int status);

/* Chunk name of the nearest Luau function that called the running native, or NULL; pushes that
 * function if `push` (when not NULL). */
const char *require_caller(lua_State *L, lua_Debug *ar, bool push);

#endif
