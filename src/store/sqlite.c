/* The store on SQLite: how requests get to the threads and back.
 *
 *     submit --> writes --> the writer: as many as wait in one transaction, one fsync for them all
 *           \--> reads ---> readers, each with a connection: snapshots, which no write disturbs;
 *                           guilds in turn
 *
 * One FIFO of writes keeps each guild's in their order. Each write runs in a savepoint of its own,
 * so that one that fails takes nothing with it. Nothing comes back before the commit is on disk; a
 * reader therefore sees all that came back before.
 *
 * Files: sqlite_open.c (opening, closing, the lock against a second server), sqlite_connection.c,
 * sqlite_statement.c, sqlite_schema.c (versions of the schema), sqlite_writer.c, sqlite_reader.c,
 * sqlite_admin.c (check and backup), and the operations by what they are about: sqlite_kv*.c,
 * sqlite_templates*.c, sqlite_schedules.c, sqlite_due.c. */
#include <signal.h>

#include "base/clock.h"
#include "store/sqlite_parts.h"

static void do_nothing(SqliteConnection *c, StoreRequest *request)
{
    (void)c;
    (void)request;
}

typedef void (*Operation)(SqliteConnection *c, StoreRequest *request);

static const Operation OPERATIONS[STORE_OPS] = {
    [STORE_KV] = sqlite_kv,
    [STORE_KV_FIND] = sqlite_kv_find,
    [STORE_KV_KEYS] = sqlite_kv_keys,
    [STORE_KV_SCOPES] = sqlite_kv_scopes,
    [STORE_KV_RESUMES] = sqlite_kv_resumes,
    [STORE_RESUMERS] = sqlite_resumers,
    [STORE_LOAD] = sqlite_templates_load,
    [STORE_LIST] = sqlite_template_list,
    [STORE_GET] = sqlite_template_get,
    [STORE_VERSIONS] = sqlite_template_versions,
    [STORE_SAVE] = sqlite_template_save,
    [STORE_DELETE] = sqlite_template_delete,
    [STORE_ACTIVATE] = sqlite_template_activate,
    [STORE_DUE_NEXT] = sqlite_due_next,
    [STORE_DUE_TAKE] = sqlite_due_take,
    [STORE_DUE_DONE] = sqlite_due_done,
    [STORE_DUE_RETRY] = sqlite_due_retry,
    [STORE_SCHEDULE_NEW] = sqlite_schedule_new,
    [STORE_SCHEDULES] = sqlite_schedules,
    [STORE_SCHEDULE_GET] = sqlite_schedule_get,
    [STORE_SCHEDULE_DELETE] = sqlite_schedule_delete,
    [STORE_SYNC] = do_nothing,
};

void sqlite_perform(SqliteConnection *c, StoreRequest *request)
{
    OPERATIONS[request->op](c, request);
    sqlite_release_statements(c);
}

bool sqlite_is_trouble(StoreStatus status)
{
    switch (status) {
    case STORE_DISK_FULL:
    case STORE_LOCKED:
    case STORE_READ_ONLY:
    case STORE_CORRUPT:
    case STORE_GONE:
    case STORE_NO_MEMORY:
    case STORE_INTERNAL: return true;
    default: return false;
    }
}

/* ---- In ---------------------------------------------------------------------------------------
 */

void sqlite_queue_put(SqliteQueue *queue, StoreRequest *request)
{
    request->queue_next = NULL;
    if (queue->last)
        queue->last->queue_next = request;
    else
        queue->first = request;
    queue->last = request;
}

/* Under the lock. STORE_OK: it is in a queue. */
static StoreStatus enqueue(SqliteStore *store, StoreRequest *request, bool writes)
{
    const StoreOptions *options = &store->options;
    if (store->stopping)
        return STORE_SHUTTING_DOWN;
    if (store->queued >= options->queue_max ||
        request->bytes > options->queue_bytes_max - store->queued_bytes)
        return STORE_QUEUE_FULL;
    request->submitted_ns = clock_monotonic_ns();
    if (writes)
        sqlite_queue_put(&store->writes, request);
    else
        sqlite_lanes_put(&store->reads, request);
    store->queued++;
    store->queued_bytes += request->bytes;
    store->stats.waiting++;
    pthread_cond_signal(writes ? &store->writer_wakes : &store->readers_wake);
    return STORE_OK;
}

static void submit(Store *base, StoreRequest *request)
{
    SqliteStore *store = (SqliteStore *)base;
    BASE_ASSERT((unsigned)request->op < (unsigned)STORE_OPS);
    bool writes = store_op_writes(request);
    pthread_mutex_lock(&store->lock);
    StoreStatus status = enqueue(store, request, writes);
    if (status != STORE_OK)
        store->stats.failures[status]++;
    pthread_mutex_unlock(&store->lock);
    if (status == STORE_OK)
        return; /* it may have come back already, and be gone */
    store_request_fail(request, status,
                       status == STORE_QUEUE_FULL ? "the store has too much to do"
                                                  : "the store is being closed");
    request->complete(request);
}

/* ---- Out --------------------------------------------------------------------------------------
 */

static void count_one(StoreStats *stats, const StoreRequest *request, bool writes, uint64_t now_ns)
{
    uint64_t took_ns = now_ns - request->submitted_ns;
    stats->waiting--;
    if (request->status != STORE_OK)
        stats->failures[request->status]++;
    else if (writes)
        stats->writes++;
    else
        stats->reads++;
    if (writes)
        stats->write_ns += took_ns;
    else
        stats->read_ns += took_ns;
}

void sqlite_complete(SqliteStore *store, StoreRequest *chain, bool writes)
{
    uint64_t now_ns = clock_monotonic_ns();
    pthread_mutex_lock(&store->lock);
    for (StoreRequest *request = chain; request; request = request->queue_next)
        count_one(&store->stats, request, writes, now_ns);
    if (writes)
        store->stats.commits = store->writer.commits;
    pthread_mutex_unlock(&store->lock);
    while (chain) {
        StoreRequest *request = chain;
        chain = request->queue_next; /* complete may free it */
        request->queue_next = NULL;
        request->complete(request);
    }
}

static void stats(Store *base, StoreStats *stats)
{
    SqliteStore *store = (SqliteStore *)base;
    pthread_mutex_lock(&store->lock);
    *stats = store->stats;
    pthread_mutex_unlock(&store->lock);
}

/* ---- The end ----------------------------------------------------------------------------------
 */

void sqlite_stop(Store *base)
{
    SqliteStore *store = (SqliteStore *)base;
    pthread_mutex_lock(&store->stop_lock);
    pthread_mutex_lock(&store->lock);
    store->stopping = true;
    pthread_cond_broadcast(&store->writer_wakes);
    pthread_cond_broadcast(&store->readers_wake);
    pthread_mutex_unlock(&store->lock);
    if (store->writer_started)
        pthread_join(store->writer_thread, NULL);
    store->writer_started = false;
    for (int i = 0; i < store->reader_count; i++) {
        if (store->readers[i].started)
            pthread_join(store->readers[i].thread, NULL);
        store->readers[i].started = false;
    }
    pthread_mutex_unlock(&store->stop_lock);
}

const StoreOps sqlite_ops = {
    .submit = submit,
    .stop = sqlite_stop,
    .free = sqlite_free,
    .stats = stats,
    .check = sqlite_check,
    .backup = sqlite_backup,
};

bool sqlite_start_thread(pthread_t *thread, void *(*main_function)(void *), void *argument)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(thread, NULL, main_function, argument) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}
