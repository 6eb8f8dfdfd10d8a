/* instance.h: a template inside one VM: its global table and the results of its requires. Internal
 * to this layer. */
#ifndef KHRONOS_INSTANCE_H
#define KHRONOS_INSTANCE_H

#include "khronos/require.h"
#include "khronos/template.h"

typedef struct TemplateInstance {
    KhronosTemplate *template_version; /* retained */
    int env;                           /* reference to the global table */
    const void *env_pointer;           /* its identity */
    RequireSet modules;
    int runs;   /* that use it */
    bool stale; /* goes with the last of them, and of the modules that others load */
} TemplateInstance;

typedef struct InstanceList {
    TemplateInstance **items;
    int count, room;
} InstanceList;

/* Pushes the version's global table; makes the instance if it is new here, in the place of an older
 * version of the same name, which stays for the runs that still use it. [e] */
TemplateInstance *instance_get(lua_State *L, InstanceList *list, KhronosTemplate *version);
/* A run of it is over. Drops what is stale and not in use. */
void instance_release(lua_State *L, InstanceList *list, TemplateInstance *instance);
/* All start anew at their next run. */
void instances_forget(lua_State *L, InstanceList *list);
/* The instance whose code called the running native; *chunkname is that of the caller. NULL: none.
 */
TemplateInstance *instance_of_caller(lua_State *L, InstanceList *list, const char **chunkname);
void instances_free(InstanceList *list); /* after the VM is gone */
/* The native `require` of templates. */
int instance_require(lua_State *L);

#endif
