#include "cli/test_store.h"

#include <stdlib.h>

typedef struct TestStore {
    Store base;
    Store *inner;
    TestStoreWatcher watcher;
} TestStore;

/* In the request's memory. */
typedef struct Ticket {
    TestStore *store;
    void (*complete)(StoreRequest *request);
    void *userdata;
} Ticket;

static void on_complete(StoreRequest *request)
{
    Ticket ticket = *(const Ticket *)request->userdata; /* the request may be gone soon */
    request->complete = ticket.complete;
    request->userdata = ticket.userdata;
    ticket.complete(request);
    ticket.store->watcher.out(ticket.store->watcher.userdata);
}

static void submit(Store *base, StoreRequest *request)
{
    TestStore *store = (TestStore *)base;
    Ticket *ticket = store_request_alloc(request, sizeof(*ticket));
    if (!ticket) {
        store_request_fail(request, STORE_NO_MEMORY, NULL);
        request->complete(request);
        return;
    }
    *ticket = (Ticket){store, request->complete, request->userdata};
    request->complete = on_complete;
    request->userdata = ticket;
    store->watcher.in(store->watcher.userdata);
    store_submit(store->inner, request);
}

static void stop(Store *base)
{
    store_stop(((TestStore *)base)->inner);
}

static void free_store(Store *base)
{
    store_free(((TestStore *)base)->inner);
    free(base);
}

static void stats(Store *base, StoreStats *out)
{
    store_stats(((TestStore *)base)->inner, out);
}

static bool check(Store *base, Strbuf *report)
{
    return store_check(((TestStore *)base)->inner, report);
}

static bool backup(Store *base, const char *path, char *error, size_t error_size)
{
    return store_backup(((TestStore *)base)->inner, path, error, error_size);
}

Store *test_store_new(Store *inner, TestStoreWatcher watcher)
{
    static const StoreOps ops = {submit, stop, free_store, stats, check, backup};
    TestStore *store = calloc(1, sizeof(*store));
    if (!store) {
        store_stop(inner);
        store_free(inner);
        return NULL;
    }
    *store = (TestStore){.base = {.ops = &ops}, .inner = inner, .watcher = watcher};
    return &store->base;
}
