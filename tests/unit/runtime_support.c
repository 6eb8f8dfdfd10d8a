#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>

#include "base/clock.h"
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

static void sleep_until(uint64_t due_ns)
{
    uint64_t now = clock_monotonic_ns();
    if (due_ns <= now)
        return;
    struct timespec time = {.tv_sec = (time_t)((due_ns - now) / CLOCK_NS_PER_S),
                            .tv_nsec = (long)((due_ns - now) % CLOCK_NS_PER_S)};
    nanosleep(&time, NULL);
}

int support_run(KhronosRuntime *rt, luau_Fibers *fibers, KhronosExecution *x)
{
    int parked = 0;
    khronos_submit(rt, x);
    for (;;) {
        KhronosStep step = khronos_step(rt, fibers);
        assert_int_not_equal(step, KHRONOS_PANICKED);
        for (KhronosExecution *done; (done = khronos_take_finished(rt)) != NULL;)
            if (done == x)
                return parked;
        parked += step == KHRONOS_PARKED;
        if (step == KHRONOS_IDLE) {
            assert_int_not_equal(khronos_due_ns(rt), 0); /* or it would wait for ever */
            sleep_until(khronos_due_ns(rt));
        }
    }
}

void support_settle(KhronosRuntime *rt, luau_Fibers *fibers, uint64_t until_ns)
{
    for (;;) {
        KhronosStep step = khronos_step(rt, fibers);
        if (khronos_isbroken(rt))
            return;
        uint64_t due = khronos_due_ns(rt);
        if (step == KHRONOS_IDLE && (due == 0 || due > until_ns))
            return;
        if (step == KHRONOS_IDLE)
            sleep_until(due);
    }
}
