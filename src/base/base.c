#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Per thread, so that a worker's recovery cannot catch another thread's panic. It is set at
 * thread start and never read across a fiber switch. */
static _Thread_local base_PanicHook panic_hook;

void base_set_panic_hook(base_PanicHook hook)
{
    panic_hook = hook;
}

void base_panic(const char *file, int line, const char *format, ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (panic_hook)
        panic_hook(file, line, message);
    fprintf(stderr, "panic at %s:%d: %s\n", file, line, message);
    abort();
}
