/* plugin_support.h: scripts in a guild's VM without an execution around them: for tests of plugins
 * and of the context. */
#ifndef TESTS_PLUGIN_SUPPORT_H
#define TESTS_PLUGIN_SUPPORT_H

#include "khronos/khronos.h"
#include "runtime_support.h"

typedef struct PluginVm {
    KhronosSandbox *sandbox;
    KhronosLimits limits;
    KhronosRuntime *rt;
    lua_State *L; /* the main thread: empty between runs, but for what a test pushes as arguments */
    lua_State *co;    /* the last run's thread: on top of L; NULL: none */
    int testmode;     /* of VMs to come */
    uint64_t fail_at; /* the allocation of a run that fails; 0: none */
} PluginVm;

int plugin_setup(void **state);          /* of one test: a PluginVm with a fresh VM */
int plugin_setup_stressed(void **state); /* with a collection at every safepoint, moving stacks */
int plugin_teardown(void **state);       /* checks the heap */
void plugin_renew(PluginVm *vm);         /* another VM, by the limits as they are */

/* Runs the source (chunk `t`) in a new thread with globals of its own, as a template does; the
 * values that stand on vm->L are its arguments. Returns lua_resume's status. */
int plugin_start(PluginVm *vm, const char *source);
/* The results, or the error, of the last run as text with commas, in a buffer of the VM. */
const char *plugin_text(PluginVm *vm);

/* Run, must end well, and give that text. */
void plugin_expect(PluginVm *vm, const char *source, const char *text);
/* Run, and must raise an error whose message has that part. */
void plugin_expect_error(PluginVm *vm, const char *source, const char *part);

typedef struct PluginCase {
    const char *source; /* an expression; or statements, if it begins with `local ` or `for `, or
                           ends with ` return 1` */
    const char *want;
} PluginCase;
/* The whole source of a case; the caller frees it. */
char *plugin_source(const char *prelude, const char *source);
/* Each case is run with `prelude` before it: its result, or (errors) a part of its error. */
void plugin_cases(PluginVm *vm, const char *prelude, const PluginCase *cases, size_t count);
void plugin_errors(PluginVm *vm, const char *prelude, const PluginCase *cases, size_t count);

#endif
