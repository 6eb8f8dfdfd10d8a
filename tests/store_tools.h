/* store_tools.h: what the tests of the SQLite store share: a folder for the files, writes and reads
 * in one line, a way to hold the writer up. */
#ifndef TESTS_STORE_TOOLS_H
#define TESTS_STORE_TOOLS_H

#include <dirent.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store/sqlite.h"

#define TOOL __attribute__((unused)) static

enum { TOOL_PATH_MAX = 256, TOOL_ERROR_MAX = 512, TOOL_PATIENCE_MS = 120000 };

/* ---- A folder ---------------------------------------------------------------------------------
 */

typedef struct Folder {
    char path[TOOL_PATH_MAX / 2];
    char file[TOOL_PATH_MAX]; /* the store's */
} Folder;

TOOL void folder_make(Folder *f)
{
    snprintf(f->path, sizeof(f->path), "%s/store-XXXXXX", P_tmpdir);
    if (!mkdtemp(f->path))
        abort();
    snprintf(f->file, sizeof(f->file), "%s/data", f->path);
}

TOOL void folder_remove(Folder *f)
{
    DIR *directory = opendir(f->path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char path[TOOL_PATH_MAX + sizeof(entry->d_name)];
        snprintf(path, sizeof(path), "%s/%s", f->path, entry->d_name);
        unlink(path);
    }
    if (directory)
        closedir(directory);
    rmdir(f->path);
}

TOOL void copy_file(const char *from, const char *to)
{
    Strbuf bytes = STRBUF_INIT;
    if (strbuf_readfile(&bytes, from, (size_t)1 << 30) != 0)
        abort();
    FILE *file = fopen(to, "wb");
    if (!file || fwrite(bytes.data, 1, bytes.length, file) != bytes.length || fclose(file) != 0)
        abort();
    strbuf_free(&bytes);
}

/* ---- The store --------------------------------------------------------------------------------
 */

TOOL Store *open_store(const StoreOptions *options)
{
    StoreStatus status;
    char error[TOOL_ERROR_MAX] = "";
    Store *store = sqlite_open(options, &status, error, sizeof(error));
    if (!store)
        fprintf(stderr, "%s: %s\n", store_status_name(status), error);
    return store;
}

TOOL void close_store(Store *store)
{
    store_stop(store);
    store_free(store);
}

TOOL Text text_of(const char *s)
{
    return (Text){s, s ? strlen(s) : 0};
}

/* One operation on the record `key` of scope "test"; value: JSON, for STORE_KV_SET. */
TOOL StoreRequest *kv_request(StoreKvKind kind, uint64_t guild_id, const char *key,
                              const char *value)
{
    StoreRequest *r = store_request_new(STORE_KV, guild_id);
    r->ops = store_request_alloc(r, sizeof(*r->ops));
    r->op_count = 1;
    Text scope = text_of("test");
    r->ops[0].kind = kind;
    r->ops[0].which.key = store_request_text(r, text_of(key));
    r->ops[0].which.scopes = store_request_texts(r, &scope, 1);
    r->ops[0].which.scope_count = 1;
    r->ops[0].value = store_request_text(r, text_of(value));
    return r;
}

TOOL StoreStatus kv_do(Store *store, StoreKvKind kind, uint64_t guild_id, const char *key,
                       const char *value)
{
    StoreRequest *r = kv_request(kind, guild_id, key, value);
    store_wait(store, r);
    StoreStatus status = r->status;
    store_request_free(r);
    return status;
}

TOOL StoreStatus kv_put(Store *store, uint64_t guild_id, const char *key, const char *value)
{
    return kv_do(store, STORE_KV_SET, guild_id, key, value);
}

TOOL StoreStatus kv_delete(Store *store, uint64_t guild_id, const char *key)
{
    return kv_do(store, STORE_KV_DELETE, guild_id, key, NULL);
}

/* "" if there is no such record. */
TOOL StoreStatus kv_get(Store *store, uint64_t guild_id, const char *key, char *value, size_t size)
{
    StoreRequest *r = kv_request(STORE_KV_GET, guild_id, key, NULL);
    store_wait(store, r);
    StoreStatus status = r->status;
    Text found = r->ops[0].record.value;
    snprintf(value, size, "%.*s", (int)found.length, found.data ? found.data : "");
    store_request_free(r);
    return status;
}

/* ---- Many at once -----------------------------------------------------------------------------
 */

/* Counts requests as they come back, and keeps what they came back with. */
typedef struct Tally {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int back, expected;
    int by_status[STORE_STATUSES];
    StoreStatus *statuses; /* by place; may be NULL */
    int *order;            /* which came back at which place; may be NULL */
} Tally;

typedef struct TallyPlace {
    Tally *tally;
    int index;
} TallyPlace;

#define TALLY_INIT                                                                                 \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER                     \
    }

TOOL void tally_complete(StoreRequest *r)
{
    TallyPlace *place = r->userdata;
    Tally *tally = place->tally;
    pthread_mutex_lock(&tally->lock);
    tally->by_status[r->status]++;
    if (tally->statuses)
        tally->statuses[place->index] = r->status;
    if (tally->order)
        tally->order[tally->back] = place->index;
    tally->back++;
    pthread_cond_signal(&tally->changed);
    pthread_mutex_unlock(&tally->lock);
    store_request_free(r);
}

TOOL void tally_submit(Tally *tally, Store *store, StoreRequest *r)
{
    TallyPlace *place = store_request_alloc(r, sizeof(*place));
    place->tally = tally;
    place->index = tally->expected++;
    r->userdata = place;
    r->complete = tally_complete;
    store_submit(store, r);
}

TOOL void tally_wait(Tally *tally)
{
    pthread_mutex_lock(&tally->lock);
    while (tally->back < tally->expected)
        pthread_cond_wait(&tally->changed, &tally->lock);
    pthread_mutex_unlock(&tally->lock);
}

/* ---- Another connection -----------------------------------------------------------------------
 */

TOOL sqlite3 *raw_open(const char *path)
{
    sqlite3 *db = NULL;
    if (sqlite3_open(path, &db) != SQLITE_OK)
        abort();
    sqlite3_busy_timeout(db, TOOL_PATIENCE_MS);
    return db;
}

TOOL void raw_run(sqlite3 *db, const char *sql)
{
    char *error = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", sql, error);
        abort();
    }
}

TOOL int64_t raw_number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW) {
        fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
        abort();
    }
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return number;
}

TOOL void pause_ms(int ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

/* ---- For cmocka, which is included before -----------------------------------------------------
 */

TOOL int set_up(void **state)
{
    Folder *f = calloc(1, sizeof(*f));
    folder_make(f);
    *state = f;
    return 0;
}

TOOL int tear_down(void **state)
{
    folder_remove(*state);
    free(*state);
    return 0;
}

TOOL void assert_sound(Store *store)
{
    Strbuf report = STRBUF_INIT;
    if (!store_check(store, &report))
        fail_msg("%s", strbuf_cstr(&report));
    strbuf_free(&report);
}

TOOL void assert_holds(Store *store, uint64_t guild_id, const char *key, const char *expected)
{
    char value[64];
    assert_int_equal(kv_get(store, guild_id, key, value, sizeof(value)), STORE_OK);
    if (strcmp(value, expected) != 0)
        fail_msg("%s is %s instead of %s", key, value, expected);
}

TOOL void assert_status(StoreStatus status, StoreStatus expected)
{
    if (status != expected)
        fail_msg("%s instead of %s", store_status_name(status), store_status_name(expected));
}

#endif
