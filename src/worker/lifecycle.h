/* lifecycle.h: events about VMs themselves, for those who listen.
 *
 *     OnStartup {reason}             a guild's VM was made. reason: "first run", or why the one
 *                                    before it is gone ("memory limit exceeded", ...)
 *     KeyResume {id, key, scopes}    one for each key with `resume`: when the worker starts, and
 *                                    when the guild's VM was made anew, for whatever reason.
 *                                    Scoped by the key's scopes
 *
 * Both are events of their own (base name AntiRaid), which follow the one that the VM was made for.
 * Dispatched by a thread of its own over a bounded queue; nobody waits. A VM that was made for a
 * KeyResume gets no second round of them (lifecycle.c says what that means in full). */
#ifndef WORKER_LIFECYCLE_H
#define WORKER_LIFECYCLE_H

#include "store/store.h"
#include "worker/dispatcher.h"
#include "worker/worker.h"

typedef struct Lifecycle Lifecycle;

/* store NULL: no keys. NULL: no memory, or no thread. */
Lifecycle *lifecycle_new(Store *store, Dispatcher *dispatcher);
/* What WorkerObserver.state is to be told (after or before others); any thread. */
void lifecycle_state(Lifecycle *lifecycle, VmHandle vm, VmState state, VmBrokenReason reason);
/* The worker runs: every guild that has such keys is told. */
void lifecycle_start(Lifecycle *lifecycle);
void lifecycle_stop(Lifecycle *lifecycle); /* nothing is dispatched any more */
/* Stopped, and what was dispatched has come back (asserted): after worker_stop. NULL is fine. */
void lifecycle_free(Lifecycle *lifecycle);

#endif
