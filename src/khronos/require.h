/* require.h: `require` by string, as Luau resolves it, over any set of files.
 *
 * A module's path is its file's without the extension; a directory's init file is the directory.
 *     ./x       beside the requiring module        @self/x   below the requiring module
 *     ../x      beside its parent                  @name/x   an alias of the nearest .luaurc
 * Each name is tried as NAME.luau, NAME.lua, NAME/init.luau, NAME/init.lua; two that exist are an
 * error. Resolution is lexical: with a confined host nothing outside the root is ever asked for. An
 * init file at a confined root has nothing beside it, so there ./x means the same as @self/x.
 *
 * A module runs once in a set, on a thread of its own; its result is kept, a failed load is not.
 * A module may wait while it loads, if the host has a scheduler: whoever requires it meanwhile
 * waits for it too. A module that requires what waits for itself is an error that shows the way
 * round. */
#ifndef KHRONOS_REQUIRE_H
#define KHRONOS_REQUIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"
#include "khronos/tasks.h"
#include "luau/luau.h"

enum { REQUIRE_PATH_MAX = 1024, REQUIRE_DEPTH_MAX = 64 };

typedef enum RequireKind { REQUIRE_ABSENT, REQUIRE_FILE, REQUIRE_DIRECTORY } RequireKind;

typedef struct RequireSet RequireSet;

/* A module under way. */
typedef struct RequireLoading RequireLoading;
struct RequireLoading {
    RequireLoading *next; /* of the set */
    RequireSet *set;
    char *path;
    RequireLoading *requires; /* which it last asked for, while that is under way */
    int depth;                /* modules that wait for each other, from the first on */
    TaskList waiters;         /* the scheduler's */
    Task *task;               /* likewise: of the thread that loads it */
};

typedef struct RequireHost {
    RequireKind (*kind)(void *self, const char *path);
    bool (*read)(void *self, const char *path, Strbuf *out); /* a .luaurc; false: none */
    /* Pushes the file's function and returns true, or pushes a message and returns false. */
    bool (*load)(void *self, lua_State *L, const char *path);
    void *self;
    bool confined; /* paths are relative to a root that is never left */
    /* Of hosts with a scheduler; else NULL, and modules may not yield. */
    int (*resume)(void *self, lua_State *L, lua_State *co, RequireLoading *loading); /* status */
    int (*await)(void *self, lua_State *L, RequireLoading *loading); /* as a native's last call */
    /* After resume did not give LUA_YIELD. Value or error on top of L, where it stays; forgets. */
    void (*settled)(void *self, lua_State *L, RequireLoading *loading, bool ok);
} RequireHost;

/* The file that `request` means in the file `from`: its path in out[REQUIRE_PATH_MAX]. False: why,
 * in error. Takes no VM. */
bool require_resolve(const RequireHost *host, const char *from, const char *request, size_t length,
                     char *out, char *error, size_t error_size);

/* The modules of one template, or one program, in one VM. Lives at least as long as the VM. */
struct RequireSet {
    RequireHost host;
    int cache; /* reference: path -> { result }; 0: not made yet */
    RequireLoading *loading;
};

void require_free(RequireSet *set); /* after the VM is gone, or with L to drop its references */
void require_drop(RequireSet *set, lua_State *L);

/* The body of a native `require`: argument 1 is the request, `from` the requiring file. Use as
 * `return require_call(...)`. */
int require_call(lua_State *L, RequireSet *set, const char *from);
/* The thread of the module ended with that status: pushes the module's value, which is kept, or the
 * error onto L. True: the value. [m] */
bool require_result(lua_State *L, RequireLoading *loading, lua_State *co, int status);
/* It is not under way any more; nobody waits for it. */
void require_forget(RequireLoading *loading);

/* Chunk name of the nearest Luau function that called the running native, or NULL; pushes that
 * function if `push` (when not NULL). */
const char *require_caller(lua_State *L, lua_Debug *ar, bool push);

#endif
