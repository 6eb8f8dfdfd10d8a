/* The one thread that writes.
 *
 * What waits goes into one transaction, each request in a savepoint. If the transaction cannot be
 * finished because something in it does not fit (a full disk, no memory) or because SQLite gave it
 * up (an input/output error rolls all of it back), nothing of it was done; then its requests are
 * tried again, each in a transaction of its own, so that those that can be done are.
 *
 * A commit that fails for an input/output error is not tried again: the log may hold it, and what
 * is done twice is worse than what is reported as failed. The connection is then opened anew. */
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/sqlite_parts.h"

enum {
    CHECKPOINT_PAGES = 1000,   /* 4 MB of log are moved into the file */
    LOG_PAGES_MAX = 16 * 1024, /* then readers are waited for, so that the log can start anew */
    CHECKPOINT_WAIT_MS = 100,  /* for them */
    TROUBLE_LOG_MS = 1000      /* between two lines of the log about failures, at least */
};

typedef enum TransactionEnd {
    TRANSACTION_DONE,
    TRANSACTION_LOST,   /* nothing was done; another try may do part of it */
    TRANSACTION_REFUSED /* nothing was done, and nothing else can be written either */
} TransactionEnd;

/* first up to end, end not included: those that are not done fail like this. */
static void fail_all(StoreRequest *first, StoreRequest *end, StoreStatus status, const char *text)
{
    for (StoreRequest *request = first; request != end; request = request->queue_next) {
        if (request->op != STORE_SYNC)
            store_request_fail(request, status, text);
    }
}

static void fail_all_for(SqliteConnection *c, StoreRequest *first, StoreRequest *end, int code)
{
    char text[SQLITE_ERROR_MAX];
    StoreStatus status = sqlite_describe(c->db, code, c->options->path, text, sizeof(text));
    if (status == STORE_GONE)
        c->broken = true;
    fail_all(first, end, status, text);
}

static void fail_all_like(StoreRequest *first, const StoreRequest *model)
{
    fail_all(first, NULL, model->status, model->message.data ? model->message.data : "");
}

/* ---- The file ---------------------------------------------------------------------------------
 */

static bool is_watching(const SqliteStore *store)
{
    const StoreObserver *observer = &store->options.observer;
    return store->options.exclusive && (observer->templates_changed || observer->due_changed);
}

static void tell_due(const SqliteStore *store, int64_t due_ms)
{
    const StoreObserver *observer = &store->options.observer;
    if (observer->due_changed && due_ms != STORE_NO_TIME)
        observer->due_changed(observer->userdata, due_ms);
}

static void tell_all_changed(SqliteStore *store)
{
    const StoreObserver *observer = &store->options.observer;
    if (observer->templates_changed)
        observer->templates_changed(observer->userdata, 0, true);
    tell_due(store, sqlite_now_ms(&store->writer));
}

/* Did someone else commit since the last look? SQLite tells a connection of others' commits only.
 */
static void watch(SqliteStore *store)
{
    uint64_t now_ns = clock_monotonic_ns();
    if (!is_watching(store) || now_ns - store->watched_ns < SQLITE_WATCH_MS * CLOCK_NS_PER_MS)
        return;
    store->watched_ns = now_ns;
    int64_t version = 0;
    if (!store->writer.db ||
        sqlite_number(&store->writer, "PRAGMA data_version", &version) != SQLITE_ROW ||
        version == store->others_version)
        return;
    store->others_version = version;
    tell_all_changed(store);
}

static bool files_same(SqliteStore *store)
{
    return sqlite_file_same(store->path, &store->file) &&
           sqlite_log_same(&store->writer, &store->log);
}

static void fail_all_gone(SqliteStore *store, StoreRequest *first, StoreRequest *end)
{
    for (StoreRequest *request = first; request != end; request = request->queue_next) {
        if (request->op != STORE_SYNC)
            sqlite_fail_gone(store->path, request);
    }
}

static void fail_all_full(const SqliteStore *store, StoreRequest *first, StoreRequest *end)
{
    char text[SQLITE_ERROR_MAX];
    snprintf(text, sizeof(text), "store %s: the disk has no room for the file to grow",
             store->path);
    fail_all(first, end, STORE_DISK_FULL, text);
}

bool sqlite_note_files(SqliteStore *store)
{
    int64_t version = 0;
    if (sqlite_number(&store->writer, "PRAGMA data_version", &version) != SQLITE_ROW)
        return false;
    store->others_version = version;
    sqlite_reserve_log(store);
    return sqlite_log_id(&store->writer, &store->log);
}

/* A connection that works, on the file that was opened. False: all have failed. */
static bool be_ready(SqliteStore *store, StoreRequest *first, StoreRequest *end)
{
    SqliteConnection *c = &store->writer;
    if (c->db && !c->broken) {
        if (files_same(store))
            return true;
        fail_all_gone(store, first, end);
        return false;
    }
    sqlite_disconnect(c);
    if (!sqlite_file_same(store->path, &store->file)) {
        fail_all_gone(store, first, end);
        return false;
    }
    char error[SQLITE_ERROR_MAX];
    StoreStatus status;
    if (!sqlite_connect(c, &store->options, SQLITE_ROLE_WRITER, &status, error, sizeof(error))) {
        fail_all(first, end, status, error);
        return false;
    }
    if (!sqlite_note_files(store)) {
        fail_all_for(c, first, end, SQLITE_IOERR);
        c->broken = true;
        return false;
    }
    if (is_watching(store))
        tell_all_changed(store); /* what others did meanwhile was missed */
    return true;
}

/* ---- A transaction ----------------------------------------------------------------------------
 */

/* False: what it did could not be taken back alone; the whole transaction must be. */
static bool perform_apart(SqliteConnection *c, StoreRequest *request)
{
    int code = sqlite_control(c, "SAVEPOINT request", NULL);
    if (code != SQLITE_OK) {
        sqlite_fail(c, request, code);
        return !sqlite3_get_autocommit(c->db);
    }
    sqlite_perform(c, request);
    if (request->status != STORE_OK)
        code = sqlite_control(c, "ROLLBACK TO request", NULL);
    if (code == SQLITE_OK)
        code = sqlite_control(c, "RELEASE request", NULL);
    if (code != SQLITE_OK && request->status == STORE_OK)
        sqlite_fail(c, request, code);
    return code == SQLITE_OK && !sqlite3_get_autocommit(c->db);
}

static void roll_back(SqliteConnection *c)
{
    if (!sqlite3_get_autocommit(c->db) && sqlite_control(c, "ROLLBACK", NULL) != SQLITE_OK &&
        !sqlite3_get_autocommit(c->db))
        c->broken = true;
}

static bool commit(SqliteStore *store, StoreRequest *first, StoreRequest *end, TransactionEnd *how)
{
    SqliteConnection *c = &store->writer;
    int code = sqlite_control(c, "COMMIT", NULL);
    if (code == SQLITE_OK) {
        /* If the file was replaced in between, it went into one that nobody will find. */
        if (files_same(store)) {
            sqlite_forget_astray(store);
        } else {
            sqlite_note_astray(store, first, end);
            fail_all_gone(store, first, end);
        }
        return true;
    }
    size_t astray_before = store->astray_count;
    sqlite_note_astray(store, first, end);
    fail_all_for(c, first, end, code);
    StoreStatus status = STORE_OK;
    for (StoreRequest *r = first; r != end && status == STORE_OK; r = r->queue_next)
        status = r->status;
    *how = status == STORE_DISK_FULL || status == STORE_NO_MEMORY ? TRANSACTION_LOST
                                                                  : TRANSACTION_DONE;
    if (*how == TRANSACTION_LOST)
        store->astray_count = astray_before;
    roll_back(c);
    return false;
}

static TransactionEnd transact(SqliteStore *store, StoreRequest *first, StoreRequest *end)
{
    SqliteConnection *c = &store->writer;
    if (!be_ready(store, first, end))
        return TRANSACTION_REFUSED;
    int code = sqlite_control(c, "BEGIN IMMEDIATE", NULL);
    if (code != SQLITE_OK) {
        fail_all_for(c, first, end, code);
        return TRANSACTION_REFUSED;
    }
    c->due_ms = STORE_NO_TIME;
    if (!sqlite_give_back_astray(store)) {
        fail_all(first, end, STORE_NO_MEMORY, "what was taken astray cannot be given back");
        roll_back(c);
        return TRANSACTION_REFUSED;
    }
    bool any = store->astray_count > 0;
    for (StoreRequest *request = first; request != end; request = request->queue_next) {
        bool apart = perform_apart(c, request);
        if (!apart || request->status == STORE_DISK_FULL) {
            roll_back(c);
            return TRANSACTION_LOST;
        }
        any |= request->status == STORE_OK;
    }
    TransactionEnd how = TRANSACTION_DONE;
    if (any && !sqlite_reserve_pages(store)) {
        fail_all_full(store, first, end);
        roll_back(c);
        return TRANSACTION_LOST;
    }
    if (!any)
        roll_back(c);
    if (!any || !commit(store, first, end, &how))
        c->due_ms = STORE_NO_TIME;
    return how;
}

/* ---- A batch ----------------------------------------------------------------------------------
 */

/* The log starts anew once all of it is in the file and no reader needs it; then it has room that
 * the disk need not give. */
static void make_room(SqliteStore *store)
{
    SqliteConnection *c = &store->writer;
    if (!c->db || c->broken)
        return;
    sqlite3_busy_timeout(c->db, CHECKPOINT_WAIT_MS);
    sqlite3_wal_checkpoint_v2(c->db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
    sqlite3_busy_timeout(c->db, store->options.lock_wait_ms);
}

static int64_t earlier(int64_t a_ms, int64_t b_ms)
{
    if (a_ms == STORE_NO_TIME || b_ms == STORE_NO_TIME)
        return a_ms == STORE_NO_TIME ? b_ms : a_ms;
    return a_ms < b_ms ? a_ms : b_ms;
}

/* When something is due by what was written. */
static int64_t write_one_by_one(SqliteStore *store, StoreRequest *chain)
{
    int64_t due_ms = STORE_NO_TIME;
    for (StoreRequest *request = chain; request; request = request->queue_next) {
        make_room(store);
        store_request_reset(request);
        if (request->op == STORE_SYNC)
            continue;
        TransactionEnd how = transact(store, request, request->queue_next);
        if (how == TRANSACTION_REFUSED) {
            if (request->queue_next)
                fail_all_like(request->queue_next, request);
            break;
        }
        if (how == TRANSACTION_DONE)
            due_ms = earlier(due_ms, store->writer.due_ms);
    }
    return due_ms;
}

static int64_t write_batch(SqliteStore *store, StoreRequest *chain)
{
    StoreRequest *first = chain;
    while (first && first->op == STORE_SYNC)
        first = first->queue_next;
    if (!first)
        return STORE_NO_TIME; /* nothing to write */
    switch (transact(store, chain, NULL)) {
    case TRANSACTION_DONE: return store->writer.due_ms;
    case TRANSACTION_REFUSED: return STORE_NO_TIME;
    default: return write_one_by_one(store, chain);
    }
}

static bool changes_templates(const StoreRequest *request)
{
    return request->op == STORE_SAVE || request->op == STORE_DELETE ||
           request->op == STORE_ACTIVATE;
}

static void tell_templates(const SqliteStore *store, const StoreRequest *chain)
{
    const StoreObserver *observer = &store->options.observer;
    if (!observer->templates_changed)
        return;
    const StoreRequest *told = NULL;
    for (const StoreRequest *request = chain; request; request = request->queue_next) {
        if (request->status != STORE_OK || !changes_templates(request) ||
            (told && told->guild_id == request->guild_id))
            continue;
        observer->templates_changed(observer->userdata, request->guild_id, false);
        told = request;
    }
}

static void note_trouble(SqliteStore *store, const StoreRequest *chain)
{
    const StoreRequest *worst = NULL;
    for (const StoreRequest *request = chain; request && !worst; request = request->queue_next) {
        if (sqlite_is_trouble(request->status))
            worst = request;
    }
    StoreStatus met = worst ? worst->status : STORE_OK;
    uint64_t now_ns = clock_monotonic_ns();
    if (met == store->trouble ||
        (store->trouble_ns != 0 && now_ns - store->trouble_ns < TROUBLE_LOG_MS * CLOCK_NS_PER_MS))
        return;
    store->trouble = met;
    store->trouble_ns = now_ns;
    if (!worst)
        log_message(LOG_INFO, "store %s: writes succeed again", store->path);
    else
        log_message(LOG_ERROR, "a write failed (%s): %.*s", store_status_name(met),
                    (int)worst->message.length, worst->message.data ? worst->message.data : "");
}

/* After the answers, so that nobody waits for it. What it cannot do, a later one will. */
static void checkpoint(SqliteStore *store)
{
    SqliteConnection *c = &store->writer;
    if (!c->db || c->broken || c->wal_pages < CHECKPOINT_PAGES)
        return;
    bool restart = c->wal_pages >= store->restart_pages;
    if (restart)
        sqlite3_busy_timeout(c->db, CHECKPOINT_WAIT_MS);
    int code = sqlite3_wal_checkpoint_v2(
        c->db, NULL, restart ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (restart) {
        sqlite3_busy_timeout(c->db, store->options.lock_wait_ms);
        store->restart_pages = (code == SQLITE_OK ? 0 : c->wal_pages) + LOG_PAGES_MAX;
    }
    c->wal_pages = 0; /* the next commit says how it is */
    if ((code & 0xff) == SQLITE_IOERR)
        c->broken = true;
}

/* ---- The thread -------------------------------------------------------------------------------
 */

/* Under the lock. */
static StoreRequest *take_batch(SqliteStore *store)
{
    StoreRequest *chain = store->writes.first, *last = NULL;
    int count = 0;
    size_t bytes = 0;
    for (StoreRequest *request = chain;
         request && count < SQLITE_BATCH_MAX && bytes < SQLITE_BATCH_BYTES_MAX;
         request = request->queue_next) {
        last = request;
        count++;
        bytes += request->bytes;
    }
    if (!last)
        return NULL;
    store->writes.first = last->queue_next;
    if (!store->writes.first)
        store->writes.last = NULL;
    last->queue_next = NULL;
    store->queued -= count;
    store->queued_bytes -= bytes;
    return chain;
}

/* Under the lock. Until there is work, or the store stops, or it is time for a look. */
static void wait_for_work(SqliteStore *store)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += SQLITE_WATCH_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    bool watching = is_watching(store);
    int code = 0;
    while (!store->writes.first && !store->stopping && code == 0) {
        code = watching ? pthread_cond_timedwait(&store->writer_wakes, &store->lock, &until)
                        : pthread_cond_wait(&store->writer_wakes, &store->lock);
    }
}

static void *writer_main(void *argument)
{
    SqliteStore *store = argument;
    for (;;) {
        pthread_mutex_lock(&store->lock);
        wait_for_work(store);
        StoreRequest *chain = take_batch(store);
        bool over = !chain && store->stopping;
        pthread_mutex_unlock(&store->lock);
        if (over)
            return NULL;
        if (chain) {
            int64_t due_ms = write_batch(store, chain);
            note_trouble(store, chain);
            tell_templates(store, chain);
            tell_due(store, due_ms);
            sqlite_complete(store, chain, true);
            checkpoint(store);
        }
        watch(store);
    }
}

bool sqlite_start_writer(SqliteStore *store)
{
    store->restart_pages = LOG_PAGES_MAX;
    store->writer_started = sqlite_start_thread(&store->writer_thread, writer_main, store);
    return store->writer_started;
}
