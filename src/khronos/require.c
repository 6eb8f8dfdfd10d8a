/* Resolution first, then loading. */
#include "khronos/require.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/jsontext.h"

static const char *const SUFFIXES[] = {".luau", ".lua"};
static const char *const INIT_SUFFIXES[] = {"/init.luau", "/init.lua"};

/* Modules of one set that wait for each other in a row: more than it can have. */
enum { ALIAS_HOPS_MAX = 8, WAITS_MAX = 1024 };

typedef struct Resolver {
    const RequireHost *host;
    char path[REQUIRE_PATH_MAX]; /* module path reached so far; "" is the root */
    char from_module[REQUIRE_PATH_MAX];
    char *error;
    size_t error_size;
    const char *request;
} Resolver;

static bool fail(Resolver *r, const char *format, const char *what)
{
    char text[256];
    snprintf(text, sizeof(text), format, what);
    snprintf(r->error, r->error_size, "error requiring module \"%.200s\": %s", r->request, text);
    return false;
}

/* ---- Paths ------------------------------------------------------------------------------------
 */

/* path/name, or name if path is the root. */
static bool join(char *out, const char *path, const char *name)
{
    bool bare = path[0] == '\0' || strcmp(path, "/") == 0;
    int length = snprintf(out, REQUIRE_PATH_MAX, "%s%s%s", path, bare ? "" : "/", name);
    return length >= 0 && length < REQUIRE_PATH_MAX;
}

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* One level up. Unconfined relative paths may climb above where they started: "..", "../..". */
static bool to_parent(Resolver *r)
{
    char *slash = strrchr(r->path, '/');
    if (r->path[0] == '\0' || strcmp(last_name(r->path), "..") == 0) {
        if (r->host->confined)
            return fail(r, "%s", "the path leaves the template");
        char up[REQUIRE_PATH_MAX];
        if (!join(up, r->path, ".."))
            return fail(r, "%s", "the path is too long");
        memcpy(r->path, up, sizeof(up));
        return true;
    }
    if (!slash)
        r->path[0] = '\0';
    else if (slash == r->path)
        slash[1] = '\0'; /* the root of the file system */
    else
        *slash = '\0';
    return true;
}

static bool to_child(Resolver *r, const char *name)
{
    char below[REQUIRE_PATH_MAX];
    if (!join(below, r->path, name))
        return fail(r, "%s", "the path is too long");
    memcpy(r->path, below, sizeof(below));
    return true;
}

/* Follows `a/../b/./c`, which is changed in place. */
static bool follow(Resolver *r, char *steps)
{
    char *rest = steps;
    for (char *name; (name = strsep(&rest, "/")) != NULL;) {
        if (name[0] == '\0' || strcmp(name, ".") == 0)
            continue;
        if (!(strcmp(name, "..") == 0 ? to_parent(r) : to_child(r, name)))
            return false;
    }
    return true;
}

/* The module path of a file: without extension, without a final init. */
static void module_path(const char *file, char *out)
{
    snprintf(out, REQUIRE_PATH_MAX, "%s", file);
    while (strncmp(out, "./", 2) == 0)
        memmove(out, out + 2, strlen(out + 2) + 1);
    char *dot = strrchr(last_name(out), '.');
    if (dot && (strcmp(dot, ".luau") == 0 || strcmp(dot, ".lua") == 0))
        *dot = '\0';
    char *name = out + (last_name(out) - out);
    if (strcmp(name, "init") != 0)
        return;
    if (name - out > 1)
        name[-1] = '\0';
    else
        name[0] = '\0';
}

/* ---- Aliases ----------------------------------------------------------------------------------
 */

/* Makes the dialect that .luaurc allows (comments, trailing commas) plain JSON, in place. */
static void plain_json(char *text, size_t length)
{
    bool in_string = false;
    size_t comma = length;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        if (c == '/' && i + 1 < length && text[i + 1] == '/') {
            while (i < length && text[i] != '\n')
                text[i++] = ' ';
            continue;
        }
        if (c == '"')
            in_string = true;
        if ((c == '}' || c == ']') && comma < length)
            text[comma] = ' ';
        if (c == ',')
            comma = i;
        else if (!isspace((unsigned char)c))
            comma = length;
    }
}

static bool same_name(const JsonString *name, const char *wanted, size_t length)
{
    return name->length == length && strncasecmp(name->data, wanted, length) == 0;
}

/* Value of the alias in the text of a .luaurc; false: it is not there. */
static bool alias_in(Strbuf *text, const char *alias, size_t alias_length, char *value)
{
    JsonReader r;
    JsonString name, target;
    bool found = false;
    plain_json(text->data, text->length);
    json_open(&r, text->data, text->length);
    if (json_peek(&r) != JSON_OBJECT || !json_enter(&r))
        return false;
    while (json_member(&r, &name)) {
        if (!json_equals(&name, "aliases") || json_peek(&r) != JSON_OBJECT) {
            json_skip(&r);
            continue;
        }
        json_enter(&r);
        while (json_member(&r, &name)) {
            bool wanted = same_name(&name, alias, alias_length) && json_peek(&r) == JSON_STRING;
            if (!wanted) {
                json_skip(&r);
            } else if (json_string(&r, &target) && target.length < REQUIRE_PATH_MAX) {
                value[json_unescape(&target, value)] = '\0';
                found = memchr(value, '\0', target.length) == NULL || !target.escaped;
            }
        }
    }
    return found && !r.error;
}

/* Looks for the alias in the .luaurc of the directory of `from` and those above it. r->path becomes
 * the directory of the file that has it. */
static bool find_alias(Resolver *r, const char *alias, size_t alias_length, char *value)
{
    char name[REQUIRE_PATH_MAX];
    bool found = false;
    for (int levels = 0; !found && levels < 64; levels++) {
        Strbuf text = {.max = 1 << 20};
        if (join(name, r->path, ".luaurc") && r->host->read(r->host->self, name, &text) &&
            text.length > 0)
            found = alias_in(&text, alias, alias_length, value);
        strbuf_free(&text);
        if (found)
            break;
        if (r->path[0] == '\0' || strcmp(r->path, "/") == 0) {
            if (r->host->confined || r->path[0] == '/')
                break;
        }
        if (!to_parent(r))
            break;
    }
    return found;
}

static bool go(Resolver *r, const char *request, int hops);

/* `@name/rest`. */
static bool follow_alias(Resolver *r, const char *request, int hops)
{
    size_t length = strcspn(request + 1, "/");
    const char *rest = request + 1 + length;
    char name[128], value[REQUIRE_PATH_MAX], steps[REQUIRE_PATH_MAX];
    snprintf(name, sizeof(name), "@%.*s", (int)(length < 100 ? length : 100), request + 1);
    snprintf(steps, sizeof(steps), "%s", rest);
    if (strcmp(name, "@self") == 0) {
        memcpy(r->path, r->from_module, sizeof(r->path));
        return follow(r, steps);
    }
    if (hops == ALIAS_HOPS_MAX)
        return fail(r, "%s refers to itself", name);
    memcpy(r->path, r->from_module, sizeof(r->path));
    if (r->path[0] != '\0' && !to_parent(r))
        return false;
    if (!find_alias(r, request + 1, length, value))
        return fail(r, "%s is not a valid alias", name);
    if (value[0] == '/') {
        if (r->host->confined)
            return fail(r, "%s leads outside of the template", name);
        snprintf(r->path, sizeof(r->path), "/");
        return follow(r, value) && follow(r, steps);
    }
    if (value[0] == '@')
        return go(r, value, hops + 1) && follow(r, steps);
    return follow(r, value) && follow(r, steps);
}

static bool go(Resolver *r, const char *request, int hops)
{
    char steps[REQUIRE_PATH_MAX];
    if (request[0] == '@')
        return follow_alias(r, request, hops);
    if (strncmp(request, "./", 2) != 0 && strncmp(request, "../", 3) != 0 &&
        strcmp(request, ".") != 0 && strcmp(request, "..") != 0)
        return fail(r, "%s", "require path must start with a valid prefix: ./, ../, or @");
    memcpy(r->path, r->from_module, sizeof(r->path));
    bool at_root = r->path[0] == '\0' && r->host->confined;
    if (!at_root && !to_parent(r))
        return false;
    snprintf(steps, sizeof(steps), "%s", request);
    return follow(r, steps);
}

/* ---- Files ------------------------------------------------------------------------------------
 */

static bool try_file(Resolver *r, const char *suffix, char *out, int *found)
{
    char path[REQUIRE_PATH_MAX];
    const char *base = r->path;
    if (base[0] == '\0' && suffix[0] == '/')
        suffix++; /* the root's own init file */
    int length = snprintf(path, sizeof(path), "%s%s", base, suffix);
    if (length < 0 || length >= REQUIRE_PATH_MAX)
        return fail(r, "%s", "the path is too long");
    if (r->host->kind(r->host->self, path) == REQUIRE_FILE) {
        ++*found;
        memcpy(out, path, sizeof(path));
    }
    return true;
}

static bool find_file(Resolver *r, char *out)
{
    int found = 0;
    const char *name = last_name(r->path);
    bool plain = name[0] != '\0' && strcmp(name, "..") != 0 && strcmp(name, "init") != 0;
    for (size_t i = 0; plain && i < BASE_ARRAY_COUNT(SUFFIXES); i++)
        if (!try_file(r, SUFFIXES[i], out, &found))
            return false;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(INIT_SUFFIXES); i++)
        if (!try_file(r, INIT_SUFFIXES[i], out, &found))
            return false;
    if (found == 1)
        return true;
    char text[160];
    snprintf(text, sizeof(text), "could not resolve child component \"%.80s\"%s",
             name[0] ? name : ".", found > 1 ? " (ambiguous)" : "");
    return fail(r, "%s", text);
}

bool require_resolve(const RequireHost *host, const char *from, const char *request, size_t length,
                     char *out, char *error, size_t error_size)
{
    Resolver r = {.host = host, .error = error, .error_size = error_size, .request = request};
    if (memchr(request, '\0', length))
        return fail(&r, "%s", "the path has a zero byte");
    if (length >= REQUIRE_PATH_MAX)
        return fail(&r, "%s", "the path is too long");
    if (strchr(request, '\\'))
        return fail(&r, "%s", "the path has a backslash, use /");
    module_path(from, r.from_module);
    return go(&r, request, 0) && find_file(&r, out);
}

/* ---- Loading ----------------------------------------------------------------------------------
 */

void require_forget(RequireLoading *loading)
{
    RequireLoading **link = &loading->set->loading;
    for (RequireLoading *other = *link; other; other = other->next)
        if (other->requires == loading)
    other->requires = NULL;
    while (*link != loading)
        link = &(*link)->next;
    *link = loading->next;
    free(loading->path);
    free(loading);
}

void require_free(RequireSet *set)
{
    while (set->loading)
        require_forget(set->loading);
}

void require_drop(RequireSet *set, lua_State *L)
{
    require_free(set);
    if (set->cache)
        lua_unref(L, set->cache);
    set->cache = 0;
}

const char *require_caller(lua_State *L, lua_Debug *ar, bool push)
{
    for (int level = 1; lua_getinfo(L, level, "s", ar); level++) {
        if (strcmp(ar->what, "C") == 0)
            continue;
        if (push)
            lua_getinfo(L, level, "sf", ar);
        return ar->source;
    }
    return NULL;
}

static RequireLoading *find_loading(RequireSet *set, const char *path)
{
    while (strncmp(path, "./", 2) == 0)
        path += 2;
    RequireLoading *loading = set->loading;
    while (loading && strcmp(loading->path, path) != 0)
        loading = loading->next;
    if (loading && set->host.resume && !loading->task) {
        require_forget(loading); /* an error or a kill came before it had a thread */
        return NULL;
    }
    return loading;
}

static RequireLoading *new_loading(lua_State *L, RequireSet *set, const char *path,
                                   RequireLoading *outer)
{
    int depth = outer ? outer->depth + 1 : 1;
    if (depth > REQUIRE_DEPTH_MAX)
        luaL_error(L, "modules require each other more than %d deep", REQUIRE_DEPTH_MAX);
    RequireLoading *loading = calloc(1, sizeof(*loading));
    char *copy = strdup(path);
    if (!loading || !copy) {
        free(loading);
        free(copy);
        luaL_error(L, "not enough memory");
    }
    *loading = (RequireLoading){.next = set->loading, .set = set, .path = copy, .depth = depth};
    set->loading = loading;
    if (outer)
    outer->requires = loading;
    return loading;
}

/* Does `from` wait, in the end, for `wanted`? */
static bool waits_for(const RequireLoading *from, const RequireLoading *wanted)
{
    int hops = 0;
    while (from && from != wanted && hops++ < WAITS_MAX)
    from = from->requires;
    return from == wanted;
}

/* `first` waits for `last`, which requires it. */
static void raise_cycle(lua_State *L, const RequireLoading *first, const RequireLoading *last)
{
    luaL_Strbuf text;
    luaL_buffinit(L, &text);
    luaL_addstring(&text, "cyclic require: ");
    for (const RequireLoading *at = first;; at = at->requires) {
        luaL_addstring(&text, at->path);
        luaL_addstring(&text, " -> ");
        if (at == last)
            break;
    }
    luaL_addstring(&text, first->path);
    luaL_pushresult(&text);
    luaL_error(L, "%s", lua_tostring(L, -1));
}

static void push_cache(lua_State *L, RequireSet *set)
{
    if (!set->cache) {
        lua_newtable(L);
        set->cache = lua_ref(L, -1);
        lua_pop(L, 1);
    }
    lua_getref(L, set->cache);
}

/* In a frame of its own: modules nest, and these are large. Leaves the file's path at 1. */
static BASE_NOINLINE void push_path(lua_State *L, RequireSet *set, const char *from)
{
    size_t length;
    const char *request = luaL_checklstring(L, 1, &length);
    char path[REQUIRE_PATH_MAX], error[512];
    if (!require_resolve(&set->host, from, request, length, path, error, sizeof(error)))
        luaL_error(L, "%s", error);
    lua_settop(L, 0);
    lua_pushstring(L, path);
}

bool require_result(lua_State *L, RequireLoading *loading, lua_State *co, int status)
{
    if (status != LUA_OK) {
        lua_xmove(co, L, 1);
        return false;
    }
    if (lua_gettop(co) != 1) {
        lua_pushfstring(L, "error requiring module \"%s\": module must return a single value",
                        loading->path);
        return false;
    }
    lua_xmove(co, L, 1);
    push_cache(L, loading->set);
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, -3);
    lua_rawseti(L, -2, 1);
    lua_rawsetfield(L, -2, loading->path);
    lua_pop(L, 1);
    return true;
}

/* Another thread loads it: wait, unless that one waits for us. */
static int await(lua_State *L, RequireLoading *loading, RequireLoading *outer)
{
    const RequireHost *host = &loading->set->host;
    if (outer && waits_for(loading, outer))
        raise_cycle(L, loading, outer);
    if (!host->await)
        luaL_error(L, "error requiring module \"%s\": it is being loaded", loading->path);
    if (outer)
    outer->requires = loading;
    return host->await(host->self, L, loading);
}

static int load(lua_State *L, RequireLoading *loading, lua_State *co)
{
    const RequireHost *host = &loading->set->host;
    int status = host->resume ? host->resume(host->self, L, co, loading) : lua_resume(co, L, 0);
    bool waits = status == LUA_YIELD || status == LUA_BREAK;
    if (waits && host->await)
        return host->await(host->self, L, loading);
    bool ok = false;
    if (waits)
        lua_pushfstring(L, "error requiring module \"%s\": module can not yield", loading->path);
    else
        ok = require_result(L, loading, co, status);
    if (host->settled)
        host->settled(host->self, L, loading, ok);
    else
        require_forget(loading);
    if (!ok)
        lua_error(L);
    return 1;
}

/* Frame of the native: 1 the path, 2 the cache, 3 the module's thread. */
int require_call(lua_State *L, RequireSet *set, const char *from)
{
    push_path(L, set, from);
    push_cache(L, set);
    const char *path = lua_tostring(L, 1);
    if (lua_rawgetfield(L, 2, path) == LUA_TTABLE) {
        lua_rawgeti(L, -1, 1);
        return 1;
    }
    lua_pop(L, 1);
    RequireLoading *outer = find_loading(set, from), *loading = find_loading(set, path);
    if (loading)
        return await(L, loading, outer);
    lua_State *co = lua_newthread(L);
    if (!set->host.load(set->host.self, L, path))
        lua_error(L);
    lua_xmove(L, co, 1);
    return load(L, new_loading(L, set, path, outer), co);
}
