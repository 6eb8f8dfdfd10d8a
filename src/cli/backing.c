#include "cli/backing.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/samples.h"
#include "store/sqlite.h"
#include "worker/expiry.h"
#include "worker/joined_source.h"
#include "worker/lifecycle.h"
#include "worker/services.h"
#include "worker/store_templates.h"

#define TEMPLATES_BYTES_MAX ((size_t)256 << 20)

struct Backing {
    TemplateCache *folder; /* NULL: none; the caller's */
    JoinedSource joined;
    /* NULL without a store */
    Store *store;
    StoreTemplates *templates;
    Services *services;
    /* Set once, by backing_start, while observers are told already: release there, acquire here. */
    _Atomic(Expiry *) expiry;
    _Atomic(Lifecycle *) lifecycle;
};

/* ---- What is told to whom ---------------------------------------------------------------------
 */

static void on_templates_changed(void *userdata, uint64_t guild_id, bool all)
{
    Backing *backing = userdata;
    store_templates_changed(backing->templates, guild_id, all);
}

static void on_due_changed(void *userdata, int64_t due_ms)
{
    Backing *backing = userdata;
    Expiry *expiry = atomic_load_explicit(&backing->expiry, memory_order_acquire);
    if (expiry) /* else it looks when it is made */
        expiry_due_changed(expiry, due_ms);
}

static void on_state(void *userdata, VmHandle vm, VmState state, VmBrokenReason reason)
{
    Backing *backing = userdata;
    Lifecycle *lifecycle = atomic_load_explicit(&backing->lifecycle, memory_order_acquire);
    if (lifecycle)
        lifecycle_state(lifecycle, vm, state, reason);
}

/* ---- Up ---------------------------------------------------------------------------------------
 */

static bool open_store(Backing *backing, KhronosSandbox *sandbox, const char *path, bool samples,
                       char *error, size_t error_size)
{
    StoreOptions options = {
        .path = path,
        .exclusive = true,
        .observer = {on_templates_changed, on_due_changed, backing},
    };
    bool is_new = access(path, F_OK) != 0;
    StoreStatus status;
    backing->store = sqlite_open(&options, &status, error, error_size);
    if (!backing->store)
        return false;
    store_templates_use(backing->templates, backing->store);
    if (is_new && samples && !samples_save(backing->store, error, error_size))
        return false;
    backing->services = services_new(sandbox, backing->store, NULL, NULL);
    if (!backing->services)
        snprintf(error, error_size, "not enough memory for the store's services");
    return backing->services != NULL;
}

Backing *backing_open(KhronosSandbox *sandbox, const char *store_path, bool samples,
                      TemplateCache *folder, bool keep_sources, char *error, size_t error_size)
{
    Backing *backing = calloc(1, sizeof(*backing));
    if (!backing) {
        snprintf(error, error_size, "not enough memory");
        return NULL;
    }
    backing->folder = folder;
    if (!store_path)
        return backing;
    backing->templates = store_templates_new(sandbox, TEMPLATES_BYTES_MAX, keep_sources);
    if (!backing->templates) {
        snprintf(error, error_size, "not enough memory");
        free(backing);
        return NULL;
    }
    if (!open_store(backing, sandbox, store_path, samples, error, error_size)) {
        backing_close(backing);
        return NULL;
    }
    return backing;
}

TemplateSource backing_templates(Backing *backing)
{
    if (!backing->store)
        return templates_source(backing->folder);
    TemplateSource store = store_templates_source(backing->templates);
    if (!backing->folder)
        return store;
    backing->joined = (JoinedSource){backing->folder, store};
    return joined_source(&backing->joined);
}

int backing_example(Backing *backing, char name[TEMPLATE_NAME_SIZE])
{
    static const char preferred[] = "hello";
    StoreRequest *request = backing->store ? store_request_new(STORE_LIST, 0) : NULL;
    if (!request)
        return 0;
    store_wait(backing->store, request);
    int count = request->status == STORE_OK ? request->template_count : 0;
    for (int i = 0; i < count; i++) {
        const char *each = request->templates[i].name.data;
        if (i == 0 || strcmp(each, preferred) == 0)
            snprintf(name, TEMPLATE_NAME_SIZE, "%s", each);
    }
    store_request_free(request);
    return count;
}

void backing_worker(Backing *backing, WorkerOptions *options)
{
    options->observer = (WorkerObserver){on_state, backing};
    if (backing->services)
        services_options(backing->services, &options->calls);
}

bool backing_start(Backing *backing, Worker *worker, Dispatcher *dispatcher, char *error,
                   size_t error_size)
{
    if (backing->services)
        services_use(backing->services, worker);
    Lifecycle *lifecycle = lifecycle_new(backing->store, dispatcher);
    atomic_store_explicit(&backing->lifecycle, lifecycle, memory_order_release);
    Expiry *expiry = backing->store ? expiry_new(backing->store, dispatcher, NULL, NULL) : NULL;
    atomic_store_explicit(&backing->expiry, expiry, memory_order_release);
    if (!lifecycle || (backing->store && !expiry)) {
        snprintf(error, error_size, "not enough memory, or threads");
        return false;
    }
    lifecycle_start(lifecycle);
    return true;
}

/* ---- Down -------------------------------------------------------------------------------------
 */

void backing_stop(Backing *backing)
{
    Lifecycle *lifecycle = atomic_load_explicit(&backing->lifecycle, memory_order_relaxed);
    Expiry *expiry = atomic_load_explicit(&backing->expiry, memory_order_relaxed);
    if (lifecycle)
        lifecycle_stop(lifecycle);
    if (expiry)
        expiry_quiet(expiry);
    if (backing->templates)
        store_templates_stop(backing->templates);
    if (backing->services)
        services_stop(backing->services);
}

void backing_settle(Backing *backing)
{
    Expiry *expiry = atomic_load_explicit(&backing->expiry, memory_order_relaxed);
    if (expiry)
        expiry_stop(expiry);
}

void backing_close(Backing *backing)
{
    if (!backing)
        return;
    if (backing->store)
        store_stop(backing->store);
    expiry_free(atomic_load_explicit(&backing->expiry, memory_order_relaxed));
    lifecycle_free(atomic_load_explicit(&backing->lifecycle, memory_order_relaxed));
    services_free(backing->services);
    store_templates_free(backing->templates);
    store_free(backing->store);
    free(backing);
}
