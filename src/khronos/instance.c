#include "khronos/instance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "khronos/khronos.h"
#include "khronos/runtime.h"

/* ---- The files of a template, as require sees them --------------------------------------------
 */

static RequireKind file_kind(void *self, const char *path)
{
    const KhronosTemplate *t = ((TemplateInstance *)self)->template_version;
    if (template_find(t, path) >= 0)
        return REQUIRE_FILE;
    return template_hasdirectory(t, path) ? REQUIRE_DIRECTORY : REQUIRE_ABSENT;
}

static bool read_file(void *self, const char *path, Strbuf *out)
{
    const KhronosTemplate *t = ((TemplateInstance *)self)->template_version;
    int file = template_find(t, path);
    size_t length;
    const char *source = file >= 0 ? template_source(t, file, &length) : NULL;
    if (!source)
        return false;
    strbuf_put(out, source, length);
    return !out->failed;
}

static bool load_file(void *self, lua_State *L, const char *path)
{
    TemplateInstance *instance = self;
    KhronosTemplate *t = instance->template_version;
    int file = template_find(t, path);
    luau_Diagnostic diagnostic;
    luau_Module *module = file >= 0 ? template_compile(L, t, file, &diagnostic) : NULL;
    if (!module) {
        lua_pushfstring(L, "%s:%d: %s", file >= 0 ? template_shown(t, file) : path,
                        file >= 0 ? diagnostic.line : 0,
                        file >= 0 ? diagnostic.message : "no such file");
        return false;
    }
    luau_load(L, module, 0);
    lua_getref(L, instance->env);
    lua_setfenv(L, -2);
    return true;
}

/* ---- Instances --------------------------------------------------------------------------------
 */

static void drop(lua_State *L, InstanceList *list, TemplateInstance *instance)
{
    for (int i = 0; i < list->count; i++)
        if (list->items[i] == instance)
            list->items[i] = list->items[--list->count];
    require_drop(&instance->modules, L);
    if (instance->env)
        lua_unref(L, instance->env);
    template_release(instance->template_version);
    free(instance);
}

static TemplateInstance *find(InstanceList *list, const char *name)
{
    for (int i = 0; i < list->count; i++)
        if (!list->items[i]->stale &&
            strcmp(template_name(list->items[i]->template_version), name) == 0)
            return list->items[i];
    return NULL;
}

/* A run of it is under way, or another template's has called it and loads a module for it. */
static bool in_use(const TemplateInstance *instance)
{
    const RequireLoading *loading = instance->modules.loading;
    while (loading && !loading->task)
        loading = loading->next;
    return instance->runs > 0 || loading;
}

/* No run gets it from now on. */
static void retire(lua_State *L, InstanceList *list, TemplateInstance *instance)
{
    instance->stale = true;
    if (!in_use(instance))
        drop(L, list, instance);
}

static TemplateInstance *allocate(InstanceList *list)
{
    if (list->count == list->room) {
        int room = list->room ? list->room * 2 : 1;
        TemplateInstance **items = realloc(list->items, (size_t)room * sizeof(*items));
        if (!items)
            return NULL;
        list->items = items;
        list->room = room;
    }
    return calloc(1, sizeof(TemplateInstance));
}

TemplateInstance *instance_get(lua_State *L, InstanceList *list, KhronosTemplate *version)
{
    TemplateInstance *instance = find(list, template_name(version));
    if (instance && instance->template_version == version) {
        lua_getref(L, instance->env);
        return instance;
    }
    if (instance)
        retire(L, list, instance);
    sandbox_pushenv(L);
    int env = lua_ref(L, -1);
    instance = allocate(list);
    if (!instance) {
        lua_unref(L, env);
        luaL_error(L, "not enough memory");
    }
    instance->template_version = template_retain(version);
    instance->env = env;
    instance->env_pointer = lua_topointer(L, -1);
    instance->modules.host = (RequireHost){.kind = file_kind,
                                           .read = read_file,
                                           .load = load_file,
                                           .self = instance,
                                           .confined = true,
                                           .resume = task_loadmodule,
                                           .await = task_awaitmodule,
                                           .settled = task_modulesettled};
    list->items[list->count++] = instance;
    return instance;
}

void instance_release(lua_State *L, InstanceList *list, TemplateInstance *instance)
{
    instance->runs--;
    for (int i = list->count - 1; i >= 0; i--)
        if (list->items[i]->stale && !in_use(list->items[i]))
            drop(L, list, list->items[i]);
}

void instances_forget(lua_State *L, InstanceList *list)
{
    for (int i = list->count - 1; i >= 0; i--)
        if (!list->items[i]->stale)
            retire(L, list, list->items[i]);
}

TemplateInstance *instance_of_caller(lua_State *L, InstanceList *list, const char **chunkname)
{
    lua_Debug ar;
    *chunkname = require_caller(L, &ar, true);
    if (!*chunkname)
        return NULL;
    lua_getfenv(L, -1);
    const void *env = lua_topointer(L, -1);
    lua_pop(L, 2);
    for (int i = 0; i < list->count; i++)
        if (list->items[i]->env_pointer == env)
            return list->items[i];
    return NULL;
}

void instances_free(InstanceList *list)
{
    for (int i = 0; i < list->count; i++) {
        require_free(&list->items[i]->modules);
        template_release(list->items[i]->template_version);
        free(list->items[i]);
    }
    free(list->items);
    *list = (InstanceList){0};
}

/* ---- require ----------------------------------------------------------------------------------
 */

int instance_require(lua_State *L)
{
    size_t length;
    const char *path = luaL_checklstring(L, 1, &length);
    int known_namespace;
    if (sandbox_pushplugin(L, path, length, &known_namespace))
        return 1;
    if (known_namespace) {
        int split = (int)strcspn(path, "/");
        luaL_error(L, "error requiring module \"%.200s\": %.*s has no module \"%.100s\"", path,
                   split < 100 ? split : 100, path, path[split] ? path + split + 1 : "");
    }
    const char *chunkname;
    TemplateInstance *instance = instance_of_caller(L, runtime_instances(L), &chunkname);
    const Task *current = khronos_of(L)->scheduler.current;
    if (!chunkname && current)
        instance = current->run->instance;
    if (!instance)
        luaL_error(L, "require must be called by the current code of a template");
    int file = chunkname ? template_findchunk(instance->template_version, chunkname) : -1;
    /* Code made by loadstring, and task.spawn(require, path), stand beside the template's entry. */
    if (file < 0)
        file = template_entry(instance->template_version);
    return require_call(L, &instance->modules, template_path(instance->template_version, file));
}
