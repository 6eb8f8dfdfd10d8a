/* dispatcher_support.h: a worker and templates for tests of the dispatcher: actions come back when
 * and as the test says. */
#ifndef DISPATCHER_SUPPORT_H
#define DISPATCHER_SUPPORT_H

#include <stdbool.h>

#include "khronos/sandbox.h"
#include "worker/dispatcher.h"

enum { FAKE_TEMPLATES_MAX = 8 };

/* Templates "t0", "t1", ... of version 1, 2, ...: an event matches the first `matching`. */
typedef struct FakeTemplates {
    KhronosSandbox *sandbox;
    KhronosTemplate *templates[FAKE_TEMPLATES_MAX];
    int matching;
} FakeTemplates;

void fake_templates_init(FakeTemplates *fake, int matching);
void fake_templates_free(FakeTemplates *fake);
TemplateSource fake_templates_source(FakeTemplates *fake); /* answers at once */
void fake_templates_answer(FakeTemplates *fake, TemplateLookup *lookup);

/* Gives the action back as done; every execution returns {"event":ID,"data":DATA}, or fails if its
 * event's name is "fail". */
void fake_finish(LuaVmAction *action);
void fake_refuse(LuaVmAction *action, VmActionOutcome outcome);

#endif
