/* Key-value operations of the SQLite store while each allocation fails in its turn, theirs and
 * those of SQLite: the request fails for want of memory or does what it should, and once the
 * transaction is rolled back nothing of it is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fault_support.h"
#include "sqlite_memory.h"
#include "store/sqlite_store.h"

enum { RECORDS = 40 };

/* ---- The file ---- */

static int64_t read_clock(void *userdata)
{
    (void)userdata;
    return 1000;
}

static const StoreOptions OPTIONS = {.path = ":memory:", .clock_ms = read_clock};
static const Text SCOPES[] = {{"users", 5}, {"all", 3}};

static void run_sql(SqliteConnection *c, const char *sql)
{
    char *error = NULL;
    if (sqlite3_exec(c->db, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", sql, error);
}

static void set_up(SqliteConnection *c)
{
    *c = (SqliteConnection){.options = &OPTIONS, .due_ms = STORE_NO_TIME};
    assert_int_equal(sqlite3_open(":memory:", &c->db), SQLITE_OK);
    run_sql(c, sqlite_tables_kv);
    run_sql(c, sqlite_tables_templates);
    for (int i = 0; i < RECORDS; i++) {
        StoreRequest *request = store_request_new(STORE_KV, 7);
        char key[32];
        int length = snprintf(key, sizeof key, "key %d", i);
        StoreKvOp op = {.kind = STORE_KV_SET,
                        .which = {0, {key, (size_t)length}, SCOPES, 2},
                        .value = {"[1,2,3]", 7},
                        .expires = STORE_SET,
                        .expires_ms = i,
                        .resume = STORE_SET};
        request->ops = &op;
        request->op_count = 1;
        sqlite_kv(c, request);
        sqlite_release_statements(c);
        assert_int_equal(request->status, STORE_OK);
        store_request_free(request);
    }
    run_sql(c, "INSERT INTO schedules (guild_id, name, due_ms, every_ms, at_ms, created_ms)"
               " VALUES (7, 'n', 5, 10, 5, 0)");
}

static void assert_sound(SqliteConnection *c)
{
    for (int i = 0; sqlite_sums_kv[i] != NULL; i++) {
        sqlite3_stmt *sums;
        assert_int_equal(sqlite3_prepare_v2(c->db, sqlite_sums_kv[i], -1, &sums, NULL), SQLITE_OK);
        if (sqlite3_step(sums) == SQLITE_ROW)
            fail_msg("%s", sqlite3_column_text(sums, 0));
        sqlite3_finalize(sums);
    }
    sqlite3_stmt *count;
    assert_int_equal(
        sqlite3_prepare_v2(c->db, "SELECT count(*) FROM kv WHERE leased = 0", -1, &count, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(count), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(count, 0), RECORDS);
    sqlite3_finalize(count);
}

/* ---- Operations ---- */

typedef struct Case {
    StoreOp op;
    void (*operation)(SqliteConnection *c, StoreRequest *request);
} Case;

static const Case CASES[] = {
    {STORE_KV, sqlite_kv},
    {STORE_KV_FIND, sqlite_kv_find},
    {STORE_KV_KEYS, sqlite_kv_keys},
    {STORE_KV_SCOPES, sqlite_kv_scopes},
    {STORE_KV_RESUMES, sqlite_kv_resumes},
    {STORE_RESUMERS, sqlite_resumers},
    {STORE_DUE_NEXT, sqlite_due_next},
    {STORE_DUE_TAKE, sqlite_due_take},
    {STORE_DUE_DONE, sqlite_due_done},
    {STORE_DUE_RETRY, sqlite_due_retry},
};

static StoreRequest *make_request(StoreOp op)
{
    StoreRequest *request = store_request_new(op, 7);
    request->pattern = (Text){"key%", 4};
    request->scopes = SCOPES;
    request->scope_count = 2;
    request->now_ms = 1000;
    request->due = (StoreDue){STORE_DUE_EXPIRY, 7, 1, 1, 0, 0};
    if (op == STORE_KV) {
        static const StoreKvKind KINDS[] = {STORE_KV_SET,       STORE_KV_SET,    STORE_KV_GET,
                                            STORE_KV_SETEXPIRY, STORE_KV_DELETE, STORE_KV_EXISTS};
        request->op_count = sizeof KINDS / sizeof KINDS[0];
        request->ops = store_request_alloc(request, 6 * sizeof *request->ops);
        for (int i = 0; i < request->op_count; i++)
            request->ops[i] = (StoreKvOp){
                .kind = KINDS[i],
                .which = {0, i == 0 ? (Text){"new", 3} : (Text){"key 5", 5}, SCOPES, 1 + i % 2},
                .value = {"[4]", 3},
                .expires = STORE_SET};
    }
    return request;
}

/* What the request gave, as one number that tells results apart. */
static uint64_t digest(const StoreRequest *request)
{
    uint64_t sum = (uint64_t)request->record_count * 3 + (uint64_t)request->text_count * 5 +
                   (uint64_t)request->guild_count * 7 + (uint64_t)request->due_count * 11 +
                   (uint64_t)request->next_ms;
    for (int i = 0; i < request->record_count; i++)
        sum = sum * 31 + (uint64_t)request->records[i].id + request->records[i].value.length;
    for (int i = 0; i < request->op_count; i++)
        sum = sum * 31 + (uint64_t)request->ops[i].record.id;
    return sum;
}

static void lease_first(SqliteConnection *c, StoreOp op)
{
    if (op == STORE_DUE_DONE || op == STORE_DUE_RETRY)
        run_sql(c, "UPDATE kv SET leased = 1 WHERE id = 1");
}

/* From an own connection for each case: what is prepared fails to be, too. */
static void run_case(const Case *which)
{
    SqliteConnection c;
    set_up(&c);
    for (int i = 0; i < c.statement_count; i++)
        sqlite3_finalize(c.statements[i].statement);
    c.statement_count = 0;
    uint64_t expected = 0;
    long failures = 0;
    bool failed = true;
    for (long k = 0; failed; k++) { /* 0: nothing fails, for what is expected */
        StoreRequest *request = make_request(which->op);
        run_sql(&c, "BEGIN");
        lease_first(&c, which->op);
        if (k == 1) {
            for (int i = 0; i < c.statement_count; i++)
                sqlite3_finalize(c.statements[i].statement);
            c.statement_count = 0;
        }
        fault_arm(k);
        which->operation(&c, request);
        sqlite_release_statements(&c);
        failed = fault_disarm() || k == 0;
        if (request->status == STORE_OK) {
            if (k == 0)
                expected = digest(request);
            assert_true(digest(request) == expected);
        } else {
            assert_int_equal(request->status, STORE_NO_MEMORY);
            assert_int_equal(request->record_count + request->text_count + request->due_count, 0);
            assert_non_null(request->message.data);
            failures++;
        }
        store_request_free(request);
        if (!sqlite3_get_autocommit(c.db))
            run_sql(&c, "ROLLBACK");
        assert_sound(&c);
    }
    assert_true(failures > 0);
    for (int i = 0; i < c.statement_count; i++)
        sqlite3_finalize(c.statements[i].statement);
    assert_int_equal(sqlite3_close(c.db), SQLITE_OK);
}

static void test_each_allocation_fails_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        run_case(&CASES[i]);
}

int main(void)
{
    if (!sqlite_memory_use())
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation_fails_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
