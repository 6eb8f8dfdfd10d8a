#include "khronos/sandbox.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "khronos/context.h"
#include "khronos/int64.h"
#include "khronos/require.h"
#include "khronos/runtime.h"
#include "luau/object.h"
#include "luau/state.h"

struct KhronosSandbox {
    atomic_int refs;
    uint64_t made_ns;
    luau_Image *image;
    CodeCache *codecache;
};

typedef struct Opening {
    const KhronosPlugin *plugins;
    int count;
} Opening;

/* ---- Globals of our own -----------------------------------------------------------------------
 */

static int native_warn(lua_State *L)
{
    int count = lua_gettop(L);
    luaL_Strbuf line;
    luaL_buffinit(L, &line);
    for (int i = 1; i <= count; i++) {
        if (i > 1)
            luaL_addchar(&line, '\t');
        luaL_addvalueany(&line, i);
    }
    luaL_pushresult(&line);
    size_t length;
    const char *text = lua_tolstring(L, -1, &length);
    lua_Callbacks *callbacks = lua_callbacks(L);
    if (callbacks->print)
        callbacks->print(L, 1, text, length);
    return 0;
}

static int native_collectgarbage(lua_State *L)
{
    if (strcmp(luaL_optstring(L, 1, "collect"), "count") != 0)
        luaL_error(L, "collectgarbage must be called with 'count'");
    lua_pushnumber(L, lua_gc(L, LUA_GCCOUNT, 0) + lua_gc(L, LUA_GCCOUNTB, 0) / 1024.0);
    return 1;
}

/* os.clock in whole milliseconds, from the making of the sandbox: a finer clock would show what the
 * processor's caches tell about other guilds, and the machine's own its age. */
static int native_clock(lua_State *L)
{
    uint64_t since = clock_monotonic_ns() - khronos_of(L)->sandbox->made_ns;
    lua_pushnumber(L, (double)(since / CLOCK_NS_PER_MS) / 1000);
    return 1;
}

/* The new chunk gets the globals of the function that asked for it, not those of the thread. */
static int native_loadstring(lua_State *L)
{
    size_t length;
    const char *source = luaL_checklstring(L, 1, &length);
    const char *name = luaL_optstring(L, 2, source);
    lua_Debug ar;
    lua_settop(L, 2);
    bool known = require_caller(L, &ar, true) != NULL;
    if (luau_loadstring(L, source, length, name) != LUA_OK) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (known) {
        lua_getfenv(L, 3);
        lua_setfenv(L, -2);
    }
    return 1;
}

/* ---- The template's global table --------------------------------------------------------------
 */

/* Upvalue 1: the shared globals. Runs for names the table does not have. */
static int env_newindex(lua_State *L)
{
    lua_settop(L, 3);
    lua_pushvalue(L, 2);
    if (!lua_isnil(L, 2) && lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
        lua_pushvalue(L, 2);
        luaL_error(L, "cannot modify read-only global '%s'", lua_tostring(L, -1));
    }
    lua_settop(L, 3);
    lua_rawset(L, 1);
    return 0;
}

/* Visits the own names, then the shared ones that they do not hide. Upvalue 1: the shared globals.
 */
static int env_next(lua_State *L)
{
    lua_settop(L, 2);
    bool shared = false;
    if (!lua_isnil(L, 2)) {
        lua_pushvalue(L, 2);
        bool own = lua_rawget(L, 1) != LUA_TNIL;
        lua_pushvalue(L, 2);
        shared = !own && lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL;
        lua_settop(L, 2);
    }
    if (!shared) {
        if (lua_next(L, 1))
            return 2;
        lua_pushnil(L);
    }
    while (lua_next(L, lua_upvalueindex(1))) {
        lua_pushvalue(L, -2);
        if (lua_rawget(L, 1) == LUA_TNIL) {
            lua_pop(L, 1);
            return 2;
        }
        lua_pop(L, 2);
    }
    lua_pushnil(L);
    return 1;
}

/* Upvalue 1: env_next. */
static int env_iter(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

void sandbox_pushenv(lua_State *L)
{
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, -1);
    lua_rawsetfield(L, -2, "_G");
    luau_image_push(L, SANDBOX_ID("env_metatable"));
    lua_setmetatable(L, -2);
    /* Its library names are those of the image: compiled code may take them from there. */
    val_table(L->top[-1])->flags |= TABLE_SAFEENV;
}

/* ---- Building the image -----------------------------------------------------------------------
 */

static void set_native(lua_State *L, const char *name, lua_CFunction fn)
{
    lua_pushcfunction(L, fn, name);
    lua_setglobal(L, name);
}

static void open_globals(lua_State *L)
{
    static const char *const removed[] = {"_G", "getfenv", "setfenv"};
    luaL_openlibs(L);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(removed); i++) {
        lua_pushnil(L);
        lua_setglobal(L, removed[i]);
    }
    set_native(L, "warn", native_warn);
    set_native(L, "collectgarbage", native_collectgarbage);
    set_native(L, "loadstring", native_loadstring);
    tasklib_open(L);
    lua_getglobal(L, "os");
    lua_pushcfunction(L, native_clock, "clock");
    lua_setfield(L, -2, "clock");
    lua_pop(L, 1);
    set_native(L, "require", instance_require);
}

/* Pushes a copy of the globals: what scripts read through to. */
static void push_globals(lua_State *L)
{
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, LUA_GLOBALSINDEX)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
}

/* The shared globals are on top. */
static void push_env_metatable(lua_State *L)
{
    lua_newtable(L);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, env_newindex, "newindex", 1);
    lua_setfield(L, -2, "__newindex");
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, env_next, "next", 1);
    lua_pushcclosure(L, env_iter, "iter", 1);
    lua_setfield(L, -2, "__iter");
    lua_pushliteral(L, "The metatable is locked");
    lua_setfield(L, -2, "__metatable");
}

static void push_plugins(lua_State *L, const Opening *opening)
{
    lua_newtable(L);
    for (int i = 0; i < opening->count; i++) {
        const KhronosPlugin *plugin = &opening->plugins[i];
        if (lua_rawgetfield(L, -1, plugin->namespace_name) == LUA_TNIL) {
            lua_pop(L, 1);
            lua_newtable(L);
            lua_pushvalue(L, -1);
            lua_setfield(L, -3, plugin->namespace_name);
        }
        plugin->open(L);
        lua_setfield(L, -2, plugin->name);
        lua_pop(L, 1);
    }
}

/* The table of base["@worker"].context_fields is on top. */
static void fill_context_fields(lua_State *L, const Opening *opening)
{
    for (int i = 0; i < opening->count; i++) {
        const KhronosPlugin *plugin = &opening->plugins[i];
        if (!plugin->context_field)
            continue;
        lua_pushcfunction(L, plugin->context_value, plugin->context_field);
        lua_setfield(L, -2, plugin->context_field);
    }
}

static void open_image(lua_State *L, void *userdata)
{
    open_globals(L);
    int64_open(L);
    lua_newtable(L);
    context_open(L);
    fill_context_fields(L, userdata);
    lua_newtable(L);
    lua_insert(L, -2);
    lua_setfield(L, -2, "context_fields");
    push_globals(L);
    push_env_metatable(L);
    lua_setfield(L, -3, "env_metatable");
    lua_setfield(L, -2, "globals");
    lua_newtable(L);
    lua_setfield(L, -2, "array_metatable");
    lua_pushvalue(L, -1);
    lua_setglobal(L, "@worker"); /* plugins look for the array metatable there */
    push_plugins(L, userdata);
    lua_setfield(L, -2, "plugins");
    lua_pop(L, 1);
}

KhronosSandbox *sandbox_new(const KhronosPlugin *plugins, int count, char *error, size_t size)
{
    Opening opening = {plugins, count};
    KhronosSandbox *sandbox = calloc(1, sizeof(*sandbox));
    if (!sandbox)
        return NULL;
    atomic_init(&sandbox->refs, 1);
    sandbox->made_ns = clock_monotonic_ns();
    sandbox->image = luau_image_new(open_image, &opening, error, size);
    if (!sandbox->image) {
        free(sandbox);
        return NULL;
    }
    sandbox->codecache = codecache_new(sandbox->image, CODECACHE_UNUSED_MAX_BYTES);
    if (!sandbox->codecache) {
        snprintf(error, size, "not enough memory");
        luau_image_release(sandbox->image);
        free(sandbox);
        return NULL;
    }
    return sandbox;
}

KhronosSandbox *sandbox_retain(KhronosSandbox *sandbox)
{
    atomic_fetch_add_explicit(&sandbox->refs, 1, memory_order_relaxed);
    return sandbox;
}

void sandbox_release(KhronosSandbox *sandbox)
{
    if (sandbox && atomic_fetch_sub_explicit(&sandbox->refs, 1, memory_order_acq_rel) == 1) {
        codecache_free(sandbox->codecache);
        luau_image_release(sandbox->image);
        free(sandbox);
    }
}

luau_Image *sandbox_image(const KhronosSandbox *sandbox)
{
    return sandbox->image;
}

CodeCache *sandbox_codecache(const KhronosSandbox *sandbox)
{
    return sandbox->codecache;
}

int sandbox_pushplugin(lua_State *L, const char *path, size_t length, int *known_namespace)
{
    const char *slash = memchr(path, '/', length);
    size_t split = slash ? (size_t)(slash - path) : length;
    *known_namespace = 0;
    luau_image_push(L, SANDBOX_ID("plugins"));
    lua_pushlstring(L, path, split);
    if (lua_rawget(L, -2) == LUA_TTABLE) {
        *known_namespace = 1;
        lua_pushlstring(L, slash ? slash + 1 : "", slash ? length - split - 1 : 0);
        if (lua_rawget(L, -2) != LUA_TNIL) {
            lua_replace(L, -3);
            lua_pop(L, 1);
            return 1;
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
    return 0;
}
