#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime_support.h"

KhronosSandbox *support_sandbox(void)
{
    char error[256] = "";
    int count;
    const KhronosPlugin *plugins = plugins_all(&count);
    KhronosSandbox *sandbox = sandbox_new(plugins, count, error, sizeof(error));
    if (!sandbox)
        fail_msg("no sandbox: %s", error);
    return sandbox;
}

KhronosTemplate *support_template(KhronosSandbox *sandbox, const char *name, uint32_t version, ...)
{
    char error[256];
    KhronosTemplate *t = template_new(sandbox, name, version, "");
    assert_non_null(t);
    va_list args;
    va_start(args, version);
    for (const char *path; (path = va_arg(args, const char *)) != NULL;) {
        const char *source = va_arg(args, const char *);
        if (!template_addfile(t, path, NULL, strdup(source), strlen(source), error, sizeof(error)))
            fail_msg("%s", error);
    }
    va_end(args);
    return t;
}

void support_event(const char *text, char **storage, KhronosEvent *event)
{
    char error[256];
    JsonReader reader;
    *storage = strdup(text);
    json_open(&reader, *storage, strlen(text));
    if (!event_read(&reader, "", event, error, sizeof(error)))
        fail_msg("%s", error);
}
