#include "dispatcher_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fake_templates_init(FakeTemplates *fake, int matching)
{
    char error[256];
    *fake = (FakeTemplates){.matching = matching};
    fake->sandbox = sandbox_new(NULL, 0, error, sizeof(error));
    for (int i = 0; i < FAKE_TEMPLATES_MAX; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        fake->templates[i] = template_new(fake->sandbox, name, (uint32_t)i + 1, "");
        if (!fake->templates[i])
            abort();
    }
}

void fake_templates_free(FakeTemplates *fake)
{
    for (int i = 0; i < FAKE_TEMPLATES_MAX; i++)
        template_release(fake->templates[i]);
    sandbox_release(fake->sandbox);
}

static bool is_named(const KhronosTemplate *t, Text name)
{
    return strlen(template_name(t)) == name.length &&
           memcmp(template_name(t), name.data, name.length) == 0;
}

void fake_templates_answer(FakeTemplates *fake, TemplateLookup *lookup)
{
    template_lookup_clear(lookup);
    for (int i = 0; i < FAKE_TEMPLATES_MAX; i++)
        if (lookup->name.data ? is_named(fake->templates[i], lookup->name) : i < fake->matching)
            lookup->found[lookup->count++] = template_retain(fake->templates[i]);
}

static bool look_up(void *self, TemplateLookup *lookup)
{
    fake_templates_answer(self, lookup);
    return true;
}

TemplateSource fake_templates_source(FakeTemplates *fake)
{
    return (TemplateSource){.look_up = look_up, .self = fake};
}

static void put_text(Strbuf *out, EventText text)
{
    strbuf_put(out, text.data ? text.data : "null", text.data ? text.length : 4);
}

static void run(KhronosExecution *x)
{
    const KhronosEvent *event = x->event;
    x->duration_ns = 3000;
    x->cpu_ns = 2000;
    x->memory_bytes = 4096;
    if (x->keep_logs)
        strbuf_puts(&x->logs, "\"a line\",\"another\"");
    if (event->name.length == 4 && memcmp(event->name.data, "fail", 4) == 0) {
        x->status = KHRONOS_RUNTIME_ERROR;
        strbuf_puts(&x->out[0], "half a res");
        strbuf_puts(&x->message, "it broke");
        strbuf_puts(&x->traceback, "init.luau:7\n");
        snprintf(x->path, sizeof(x->path), "init.luau");
        x->line = 7;
        return;
    }
    x->status = KHRONOS_OK;
    x->result_count = 1;
    strbuf_puts(x->out, "{\"event\":\"");
    put_text(x->out, event->id);
    strbuf_puts(x->out, "\",\"data\":");
    put_text(x->out, event->data);
    strbuf_puts(x->out, "}");
}

void fake_finish(LuaVmAction *action)
{
    action->outcome = VM_ACTION_DONE;
    if (action->type == VM_ACTION_EXECUTE || action->type == VM_ACTION_DISPATCH_EVENT) {
        int count;
        KhronosExecution *executions = action_executions(action, &count);
        for (int i = 0; i < count; i++)
            run(&executions[i]);
    }
    action->complete(action);
}

void fake_refuse(LuaVmAction *action, VmActionOutcome outcome)
{
    action->outcome = outcome;
    if (outcome == VM_ACTION_QUEUE_FULL || outcome == VM_ACTION_PAUSED)
        action->retry_after_ms = 77;
    action->complete(action);
}
