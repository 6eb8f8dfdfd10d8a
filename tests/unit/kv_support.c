#include "kv_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

static int64_t read_clock(void *userdata)
{
    return ((KvStore *)userdata)->now_ms;
}

static void start(KvStore *kv)
{
    StoreStatus status;
    char error[512];
    kv->store = sqlite_open(&kv->options, &status, error, sizeof error);
    if (kv->store == NULL)
        fail_msg("%s", error);
}

void kv_open(KvStore *kv, int64_t records_max, int64_t bytes_max)
{
    memset(kv, 0, sizeof *kv);
    snprintf(kv->folder, sizeof kv->folder, "%s/store-kv-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(kv->folder));
    snprintf(kv->path, sizeof kv->path, "%s/store", kv->folder);
    kv->now_ms = 1000000;
    kv->options = (StoreOptions){.path = kv->path,
                                 .exclusive = true,
                                 .readers = 1,
                                 .lock_wait_ms = 60000,
                                 .records_max = records_max,
                                 .bytes_max = bytes_max,
                                 .clock_ms = read_clock,
                                 .clock_userdata = kv};
    start(kv);
}

static void stop(KvStore *kv)
{
    store_stop(kv->store);
    store_free(kv->store);
    kv->store = NULL;
}

void kv_reopen(KvStore *kv)
{
    stop(kv);
    start(kv);
}

void kv_close(KvStore *kv)
{
    Strbuf report = STRBUF_INIT;
    bool sound = store_check(kv->store, &report);
    if (!sound)
        print_error("%s", strbuf_cstr(&report));
    strbuf_free(&report);
    stop(kv);
    static const char *const ENDS[] = {"", "-wal", "-shm", "-journal", ".lock"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(ENDS); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", kv->path, ENDS[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(kv->folder), 0);
    assert_true(sound);
}

/* ---- Requests ---- */

Text kv_text(const char *string)
{
    return (Text){string, strlen(string)};
}

Text *kv_scopes(StoreRequest *request, const char *scopes, int *count)
{
    Text *texts = store_request_alloc(request, (strlen(scopes) + 1) * sizeof *texts);
    assert_non_null(texts);
    *count = 0;
    for (const char *end; *scopes != '\0'; scopes = *end == '|' ? end + 1 : end) {
        end = strchrnul(scopes, '|');
        texts[(*count)++] = store_request_text(request, (Text){scopes, (size_t)(end - scopes)});
    }
    return texts;
}

StoreRequest *kv_request(StoreOp op)
{
    StoreRequest *request = store_request_new(op, KV_GUILD);
    assert_non_null(request);
    return request;
}

StoreKvOp *kv_op_id(StoreRequest *request, StoreKvKind kind, int64_t id)
{
    enum { ROOM = STORE_ATOMIC_MAX + 1 };
    assert_true(request->op_count < ROOM);
    if (request->ops == NULL)
        request->ops = store_request_alloc(request, ROOM * sizeof *request->ops);
    StoreKvOp *op = &request->ops[request->op_count++];
    *op = (StoreKvOp){.kind = kind, .which.id = id};
    return op;
}

StoreKvOp *kv_op(StoreRequest *request, StoreKvKind kind, const char *key, const char *scopes)
{
    StoreKvOp *op = kv_op_id(request, kind, 0);
    op->which.key = store_request_text(request, kv_text(key));
    op->which.scopes = kv_scopes(request, scopes, &op->which.scope_count);
    if (kind == STORE_KV_SET)
        op->value = kv_text("1");
    return op;
}

StoreRequest *kv_run(KvStore *kv, StoreRequest *request, StoreStatus expected)
{
    store_wait(kv->store, request);
    if (request->status != expected)
        fail_msg("%s, not %s: %.*s", store_status_name(request->status),
                 store_status_name(expected), (int)request->message.length,
                 request->message.data ? request->message.data : "");
    return request;
}

int64_t kv_set(KvStore *kv, const char *key, const char *scopes, const char *value)
{
    StoreRequest *request = kv_request(STORE_KV);
    kv_op(request, STORE_KV_SET, key, scopes)->value = kv_text(value);
    int64_t id = kv_run(kv, request, STORE_OK)->ops[0].record.id;
    store_request_free(request);
    assert_true(id > 0);
    return id;
}

int64_t kv_set_expiry(KvStore *kv, const char *key, const char *scopes, int64_t expires_ms)
{
    StoreRequest *request = kv_request(STORE_KV);
    StoreKvOp *op = kv_op(request, STORE_KV_SET, key, scopes);
    op->expires = STORE_SET;
    op->expires_ms = expires_ms;
    int64_t id = kv_run(kv, request, STORE_OK)->ops[0].record.id;
    store_request_free(request);
    return id;
}

StoreRequest *kv_get(KvStore *kv, const char *key, const char *scopes)
{
    StoreRequest *request = kv_request(STORE_KV);
    kv_op(request, STORE_KV_GET, key, scopes);
    return kv_run(kv, request, STORE_OK);
}

int64_t kv_id(KvStore *kv, const char *key, const char *scopes)
{
    StoreRequest *request = kv_get(kv, key, scopes);
    int64_t id = request->ops[0].record.id;
    assert_int_equal(request->ops[0].existed, id != 0);
    store_request_free(request);
    return id;
}

void kv_assert_text(Text got, const char *expected)
{
    assert_non_null(got.data);
    assert_int_equal(got.length, strlen(expected));
    assert_memory_equal(got.data, expected, got.length);
    assert_int_equal(got.data[got.length], '\0');
}

void kv_assert_value(KvStore *kv, const char *key, const char *scopes, const char *value)
{
    StoreRequest *request = kv_get(kv, key, scopes);
    assert_true(request->ops[0].existed);
    kv_assert_text(request->ops[0].record.value, value);
    store_request_free(request);
}

int64_t kv_number(KvStore *kv, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open_v2(kv->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 60000);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}
