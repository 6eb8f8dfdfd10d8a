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

#endif
