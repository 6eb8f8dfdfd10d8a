/* runtime_support.h: sandbox, templates from text, events from text: for tests of the layers above
 * the engine. */
#ifndef TESTS_RUNTIME_SUPPORT_H
#define TESTS_RUNTIME_SUPPORT_H

#include "khronos/khronos.h"
#include "plugins/plugins.h"

KhronosSandbox *support_sandbox(void);
/* A template with these files: path, source, path, source, ..., NULL. One reference. */
KhronosTemplate *support_template(KhronosSandbox *sandbox, const char *name, uint32_t version, ...);
/* The event object in text; `storage` holds its bytes and is freed by the caller. */
void support_event(const char *text, char **storage, KhronosEvent *event);

/* Gives the execution to the runtime and turns it until it is finished, however long it waits.
 * Returns how often it was parked. */
int support_run(KhronosRuntime *rt, luau_Fibers *fibers, KhronosExecution *x);
/* Turns until nothing is ready and no timer is due before until_ns (0: none at all). */
void support_settle(KhronosRuntime *rt, luau_Fibers *fibers, uint64_t until_ns);

#endif
