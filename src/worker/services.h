/* services.h: who does what templates ask of the store (ctx.KV, ctx.Templates).
 *
 * Takes calls from the worker (WorkerCalls), charges them to their guild's allowance (a token
 * bucket that outlives VMs: KV_OPS_PER_SECOND operations a second, as many at once), checks what is
 * to be saved on a thread of its own, submits requests to the store, and answers. A call over the
 * allowance is answered with an error that names the wait in seconds. */
#ifndef WORKER_SERVICES_H
#define WORKER_SERVICES_H

#include "store/store.h"
#include "worker/worker.h"

enum {
    KV_OPS_PER_SECOND = 1000,
    TEMPLATE_SAVES_PER_MINUTE = 30, /* with deletions and activations */
    SAVES_WAITING_MAX = 256,        /* to be checked */
    SAVES_WAITING_BYTES_MAX = 64 << 20,
    SAVES_WAITING_GUILD_MAX = 8 /* of one guild */
};

typedef struct Services Services;

/* NULL: no memory, or no thread. The sandbox is retained. The clock (NULL: CLOCK_MONOTONIC) is for
 * the allowances. */
Services *services_new(KhronosSandbox *sandbox, Store *store, KhronosClock clock,
                       void *clock_userdata);
/* Fills in what the worker wants. Then, before the first call, who is to be answered: that worker,
 * or any function that takes the call as worker_answer does. */
void services_options(Services *services, WorkerCalls *calls);
void services_use(Services *services, Worker *worker);
void services_answer_with(Services *services, void (*answer)(void *userdata, KhronosCall *call),
                          void *userdata);
/* From now on calls are refused; returns when those under way are answered. Before worker_stop. */
void services_stop(Services *services);
void services_free(Services *services); /* after worker_stop; NULL is fine */

#endif
