/* Requests and their memory, the names of statuses, and the calls that every store has.
 *
 * A request is its own arena: it lies at the start of its first block, and all that goes in and
 * comes out lies behind it, in that block or in further ones. So a small request is one allocation,
 * one free gives everything back, and `bytes` is what it costs: the store bounds its queue by it.
 */
#include "store/store.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/base.h"

/* ---- Statuses --------------------------------------------------------------------------------
 */

static const struct {
    const char *name, *text;
} STATUSES[STORE_STATUSES] = {
    [STORE_OK] = {"ok", "done"},
    [STORE_NOT_FOUND] = {"not_found", "there is no such thing in the store"},
    [STORE_CONFLICT] = {"conflict", "it was changed in the meantime"},
    [STORE_INVALID] = {"invalid", "the store cannot take this"},
    [STORE_TOO_MANY] = {"too_many", "a limit of the guild would be passed"},
    [STORE_QUEUE_FULL] = {"queue_full", "the store has too much to do, try again later"},
    [STORE_DISK_FULL] = {"disk_full", "the store's disk is full"},
    [STORE_LOCKED] = {"locked", "the store is locked by another process, try again later"},
    [STORE_READ_ONLY] = {"read_only", "the store is read-only"},
    [STORE_CORRUPT] = {"corrupt", "the store is damaged"},
    [STORE_GONE] = {"gone", "the store's file or disk fails"},
    [STORE_SHUTTING_DOWN] = {"shutting_down", "the store is shutting down"},
    [STORE_NO_MEMORY] = {"no_memory", "the store is out of memory"},
    [STORE_INTERNAL] = {"internal", "the store failed"},
};

const char *store_status_name(StoreStatus status)
{
    return (unsigned)status < STORE_STATUSES ? STATUSES[status].name : "unknown";
}

const char *store_status_text(StoreStatus status)
{
    return (unsigned)status < STORE_STATUSES ? STATUSES[status].text : "the store failed";
}

/* ---- Memory ----------------------------------------------------------------------------------
 */

enum { BLOCK_FIRST_BYTES = 1 << 10, BLOCK_BYTES_MAX = 64 << 10, ALIGNMENT = 16 };

typedef struct Block Block;
struct Block {
    Block *next;
    size_t used, size;
    _Alignas(ALIGNMENT) unsigned char bytes[];
};

/* Zeroed. NULL: no memory. */
static Block *block_new(size_t room)
{
    if (room > SIZE_MAX / 2)
        return NULL;
    Block *block = calloc(1, sizeof(Block) + room);
    if (block)
        block->size = room;
    return block;
}

StoreRequest *store_request_new(StoreOp op, uint64_t guild_id)
{
    size_t own = (sizeof(StoreRequest) + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    Block *block = block_new(own + BLOCK_FIRST_BYTES);
    if (!block)
        return NULL;
    block->used = own;
    StoreRequest *request = (StoreRequest *)block->bytes;
    request->op = op;
    request->guild_id = guild_id;
    request->if_version = -1;
    request->next_ms = STORE_NO_TIME;
    request->blocks = block;
    request->bytes = sizeof(Block) + block->size;
    return request;
}

void store_request_free(StoreRequest *request)
{
    /* The request lies in one of them. */
    for (Block *block = request ? request->blocks : NULL, *next; block; block = next) {
        next = block->next;
        free(block);
    }
}

void *store_request_alloc(StoreRequest *request, size_t size)
{
    Block *block = request->blocks;
    if (size > SIZE_MAX / 4)
        return NULL;
    size_t wanted = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (wanted > block->size - block->used) {
        /* Blocks double up to a bound. What is large has one of just its size, behind the one that
         * still has room. */
        size_t room = block->size * 2 < BLOCK_BYTES_MAX ? block->size * 2 : BLOCK_BYTES_MAX;
        bool large = wanted > room / 4;
        Block *fresh = block_new(large ? wanted : room);
        if (!fresh)
            return NULL;
        request->bytes += sizeof(Block) + fresh->size;
        if (large) {
            fresh->next = block->next;
            block->next = fresh;
        } else {
            fresh->next = block;
            request->blocks = fresh;
        }
        block = fresh;
    }
    void *memory = block->bytes + block->used;
    block->used += wanted;
    return memory;
}

Text store_request_text(StoreRequest *request, Text source)
{
    if (!source.data || source.length == SIZE_MAX)
        return (Text){0};
    char *copy = store_request_alloc(request, source.length + 1);
    if (!copy)
        return (Text){0};
    memcpy(copy, source.data, source.length);
    return (Text){copy, source.length};
}

Text *store_request_texts(StoreRequest *request, const Text *sources, int count)
{
    Text *copies = store_request_alloc(request, (size_t)count * sizeof(Text));
    for (int i = 0; copies && i < count; i++) {
        copies[i] = store_request_text(request, sources[i]);
        if (!copies[i].data && sources[i].data)
            return NULL;
    }
    return copies;
}

/* ---- What came out ---------------------------------------------------------------------------
 */

void store_request_reset(StoreRequest *request)
{
    request->status = STORE_OK;
    request->message = (Text){0};
    for (int i = 0; i < request->op_count; i++) {
        request->ops[i].record = (StoreRecord){0};
        request->ops[i].existed = false;
    }
    request->records = NULL;
    request->texts = NULL;
    request->guild_ids = NULL;
    request->templates = NULL;
    request->schedules = NULL;
    request->dues = NULL;
    request->record_count = request->text_count = request->guild_count = 0;
    request->template_count = request->schedule_count = request->due_count = 0;
    request->next = (Text){0};
    request->next_id = 0;
    request->next_ms = STORE_NO_TIME;
}

void store_request_fail(StoreRequest *request, StoreStatus status, const char *message)
{
    store_request_reset(request);
    request->status = status;
    if (message)
        request->message = store_request_text(request, (Text){message, strlen(message)});
}

bool store_op_is_tenants(uint64_t op)
{
    _Static_assert(STORE_KV == 0, "the first of them");
    return op <= STORE_KV_SCOPES || (op >= STORE_LIST && op <= STORE_ACTIVATE);
}

bool store_op_writes(const StoreRequest *request)
{
    switch (request->op) {
    case STORE_KV:
        for (int i = 0; i < request->op_count; i++)
            if (request->ops[i].kind != STORE_KV_GET && request->ops[i].kind != STORE_KV_EXISTS)
                return true;
        return false;
    case STORE_SAVE:
    case STORE_DELETE:
    case STORE_ACTIVATE:
    case STORE_DUE_TAKE:
    case STORE_DUE_DONE:
    case STORE_DUE_RETRY:
    case STORE_SCHEDULE_NEW:
    case STORE_SCHEDULE_DELETE:
    case STORE_SYNC: return true;
    default: return false;
    }
}

/* ---- The store -------------------------------------------------------------------------------
 */

void store_submit(Store *store, StoreRequest *request)
{
    store_request_reset(request);
    store->ops->submit(store, request);
}

void store_stop(Store *store)
{
    store->ops->stop(store);
}

void store_free(Store *store)
{
    if (store)
        store->ops->free(store);
}

void store_stats(Store *store, StoreStats *stats)
{
    store->ops->stats(store, stats);
}

bool store_check(Store *store, Strbuf *report)
{
    return store->ops->check(store, report);
}

bool store_backup(Store *store, const char *path, char *error, size_t error_size)
{
    return store->ops->backup(store, path, error, error_size);
}

typedef struct Waiter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
} Waiter;

static void wake_waiter(StoreRequest *request)
{
    Waiter *waiter = request->userdata;
    pthread_mutex_lock(&waiter->lock);
    waiter->done = true;
    /* Under the lock: once it is free the waiter may be gone. */
    pthread_cond_signal(&waiter->changed);
    pthread_mutex_unlock(&waiter->lock);
}

void store_wait(Store *store, StoreRequest *request)
{
    void (*complete)(StoreRequest *) = request->complete;
    void *userdata = request->userdata;
    Waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    request->complete = wake_waiter;
    request->userdata = &waiter;
    store_submit(store, request);
    pthread_mutex_lock(&waiter.lock);
    while (!waiter.done)
        pthread_cond_wait(&waiter.changed, &waiter.lock);
    pthread_mutex_unlock(&waiter.lock);
    pthread_cond_destroy(&waiter.changed);
    pthread_mutex_destroy(&waiter.lock);
    request->complete = complete;
    request->userdata = userdata;
}
