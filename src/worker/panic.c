#include "worker/panic.h"

#include "base/log.h"

/* Read by the hook on the thread's fibers too: they never change their thread. */
static _Thread_local PanicPoint *current;

static void on_panic(const char *file, int line, const char *message)
{
    PanicPoint *point = current;
    if (!point || !point->armed || point->panicked)
        return; /* base_panic prints it and aborts */
    point->armed = false;
    point->panicked = true;
    log_message(LOG_ERROR, "panic at %s:%d: %s; this thread and its VMs are given up", file, line,
                message);
    luau_escape(point->fibers); /* returns only when this is no fiber */
    siglongjmp(point->jump, 1);
}

void panic_install(PanicPoint *point)
{
    current = point;
    base_set_panic_hook(point ? on_panic : NULL);
}
