/* plugin_store.h: templates with a store behind them, in one thread: for tests of ctx.KV and
 * ctx.Templates. Every call is answered by a function of the test, or by a SQLite store in a folder
 * of its own. */
#ifndef TESTS_UNIT_PLUGIN_STORE_H
#define TESTS_UNIT_PLUGIN_STORE_H

#include "kv_support.h"
#include "plugins/store_call.h"
#include "runtime_support.h"

typedef struct StoreHost StoreHost;
struct StoreHost {
    KvStore kv;
    KhronosSandbox *sandbox;
    KhronosLimits limits;
    KhronosRuntime *rt;
    luau_Fibers *fibers;
    const char *capabilities; /* of templates to come, with blanks between; "*" at first */
    /* NULL: the store. False: the call is kept (in `held`). */
    bool (*serve)(StoreHost *host, StoreCall *call);
    StoreCall *held[16];
    int held_count;
    int calls;            /* that were made */
    int testmode;         /* of VMs to come */
    int mood;             /* for serve: the test's own */
    KhronosStatus status; /* of the last run */
    Strbuf text;          /* its result as JSON, or its error */
};

int host_setup(void **state); /* a StoreHost */
int host_teardown(void **state);
void host_renew(StoreHost *host); /* another VM, by the limits as they are */

/* Submits a template and turns until it is finished. `source` sees kv, templates, interop and the
 * context as ctx; the result is what it returns. */
const char *host_run(StoreHost *host, const char *source);
/* Begins one, which calls that are held make wait. The execution is freed by host_end. */
KhronosExecution *host_begin(StoreHost *host, const char *source);
void host_turn(StoreHost *host); /* until nothing more happens by itself */
const char *host_end(StoreHost *host, KhronosExecution *x);
/* The call is done by the store, and answered. */
void host_answer(StoreHost *host, StoreCall *call);

/* Runs and compares: the result, or (fails) a part of the error. */
void host_expect(StoreHost *host, const char *source, const char *json);
void host_fails(StoreHost *host, const char *source, const char *part);

#endif
