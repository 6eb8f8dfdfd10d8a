/* panic.h: a failed invariant ends the thread it happened on, and the VMs of that thread, instead
 * of the process.
 *
 * A thread that runs guilds installs a PanicPoint. While it is armed, base_panic on that thread
 * does not return: on a fiber it leaves the fiber for good, and whoever ran it is told so
 * (KHRONOS_PANICKED); elsewhere it jumps to the point. Armed is a thread only in sections that hold
 * no lock and own nothing but what the point's owner can find again. Everywhere else, and when
 * recovering panics as well, the process aborts as it does without this file. */
#ifndef WORKER_PANIC_H
#define WORKER_PANIC_H

#include <setjmp.h>
#include <stdbool.h>

#include "luau/luau.h"

typedef struct PanicPoint {
    sigjmp_buf jump;     /* set before arming */
    luau_Fibers *fibers; /* of the thread */
    bool armed;
    bool panicked; /* once; there is no second recovery on a thread */
} PanicPoint;

/* For the calling thread; the point stays its owner's. NULL: panics abort again. */
void panic_install(PanicPoint *point);

#endif
