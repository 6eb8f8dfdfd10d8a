/* What falls due in the SQLite store: taken once, in order, done, tried again, given up, armed anew
 * meanwhile; and that nothing is gone through to find it, however much is to come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv_support.h"
#include "store/sqlite_store.h"

static KvStore kv;

static int open_store(void **state)
{
    (void)state;
    kv_open(&kv, 0, 0);
    return 0;
}

static int close_store(void **state)
{
    (void)state;
    kv_close(&kv);
    return 0;
}

/* ---- Requests ---- */

static int64_t next_ms(void)
{
    StoreRequest *request = kv_run(&kv, kv_request(STORE_DUE_NEXT), STORE_OK);
    int64_t next = request->next_ms;
    store_request_free(request);
    return next;
}

static StoreRequest *take(int64_t now_ms, int count_max)
{
    StoreRequest *request = kv_request(STORE_DUE_TAKE);
    request->now_ms = now_ms;
    request->count_max = count_max;
    return kv_run(&kv, request, STORE_OK);
}

/* The only one there is. */
static StoreDue take_one(int64_t now_ms)
{
    StoreRequest *request = take(now_ms, 10);
    assert_int_equal(request->due_count, 1);
    StoreDue due = request->dues[0];
    store_request_free(request);
    return due;
}

static void assert_nothing_due(int64_t now_ms)
{
    StoreRequest *request = take(now_ms, 10);
    assert_int_equal(request->due_count, 0);
    store_request_free(request);
}

static void done(StoreDue due, int64_t now_ms)
{
    StoreRequest *request = kv_request(STORE_DUE_DONE);
    request->due = due;
    request->now_ms = now_ms;
    store_request_free(kv_run(&kv, request, STORE_OK));
}

static void retry(StoreDue due, int64_t retry_ms, bool failed)
{
    StoreRequest *request = kv_request(STORE_DUE_RETRY);
    request->due = due;
    request->retry_ms = retry_ms;
    request->failed = failed;
    store_request_free(kv_run(&kv, request, STORE_OK));
}

static int64_t schedule(const char *name, int64_t due_ms, int64_t every_ms)
{
    StoreRequest *request = kv_request(STORE_SCHEDULE_NEW);
    StoreSchedule wanted = {.name = kv_text(name), .due_ms = due_ms, .every_ms = every_ms};
    request->schedule = &wanted;
    int64_t id = kv_run(&kv, request, STORE_OK)->schedules[0].id;
    store_request_free(request);
    return id;
}

static StoreSchedule schedule_get(int64_t id)
{
    StoreRequest *request = kv_request(STORE_SCHEDULE_GET);
    request->id = id;
    StoreSchedule found = kv_run(&kv, request, STORE_OK)->schedules[0];
    found.name = (Text){0};
    store_request_free(request);
    return found;
}

static void set_expiry(const char *key, StoreChange change, int64_t expires_ms)
{
    StoreRequest *request = kv_request(STORE_KV);
    StoreKvOp *op = kv_op(request, STORE_KV_SETEXPIRY, key, "s");
    op->expires = change;
    op->expires_ms = expires_ms;
    store_request_free(kv_run(&kv, request, STORE_OK));
}

/* ---- Expiries ---- */

static void test_in_the_order_of_their_times(void **state)
{
    (void)state;
    assert_int_equal(next_ms(), STORE_NO_TIME);
    assert_nothing_due(INT64_MAX);
    kv_set(&kv, "never", "s", "1");
    int64_t c = kv_set_expiry(&kv, "c", "s", 3000), a = kv_set_expiry(&kv, "a", "s", 1000);
    int64_t d = kv_set_expiry(&kv, "d", "s", 3000), old = kv_set_expiry(&kv, "old", "s", -5);
    int64_t b = schedule("b", 2000, 0), e = schedule("e", 4000, 0);
    assert_int_equal(next_ms(), -5);
    assert_nothing_due(-6);
    StoreRequest *request = take(-5, 0);
    assert_int_equal(request->due_count, 1);
    assert_int_equal(request->dues[0].id, old);
    assert_int_equal(request->dues[0].guild_id, KV_GUILD);
    assert_int_equal(request->dues[0].due_ms, -5);
    assert_int_equal(request->dues[0].attempts, 0);
    done(request->dues[0], -5);
    store_request_free(request);
    assert_int_equal(kv_id(&kv, "old", "s"), 0);
    assert_int_equal(next_ms(), 1000);

    request = take(3500, 3);
    const struct {
        int64_t id, due_ms;
        StoreDueKind kind;
    } expected[] = {
        {a, 1000, STORE_DUE_EXPIRY}, {b, 2000, STORE_DUE_SCHEDULE}, {c, 3000, STORE_DUE_EXPIRY}};
    assert_int_equal(request->due_count, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(request->dues[i].id, expected[i].id);
        assert_int_equal(request->dues[i].due_ms, expected[i].due_ms);
        assert_int_equal(request->dues[i].kind, expected[i].kind);
    }
    store_request_free(request);
    assert_int_equal(next_ms(), 3000);
    assert_int_equal(take_one(3500).id, d);
    assert_int_equal(next_ms(), 4000); /* what is taken is not due */
    assert_nothing_due(3999);
    assert_int_equal(take_one(INT64_MAX).id, e);
    assert_int_equal(next_ms(), STORE_NO_TIME);
}

static void test_armed_anew_stays(void **state)
{
    (void)state;
    int64_t id = kv_set_expiry(&kv, "k", "s", 1000);
    StoreDue first = take_one(1000);
    /* A value without an expiry keeps the old one, which is being told. */
    assert_int_equal(kv_set(&kv, "k", "s", "2"), id);
    assert_nothing_due(5000);
    set_expiry("k", STORE_SET, 2000);
    assert_int_equal(next_ms(), 2000);
    done(first, 1000);
    retry(first, 1, true);
    kv_assert_value(&kv, "k", "s", "2");
    assert_int_equal(next_ms(), 2000);

    StoreDue second = take_one(2000);
    assert_true(second.sequence > first.sequence);
    assert_int_equal(second.attempts, 0);
    done(first, 2000); /* of the occasion before, while the next one is taken */
    assert_int_equal(kv_id(&kv, "k", "s"), id);
    set_expiry("k", STORE_CLEAR, 0);
    done(second, 2000);
    assert_int_equal(kv_id(&kv, "k", "s"), id);
    assert_int_equal(next_ms(), STORE_NO_TIME);

    set_expiry("k", STORE_SET, 3000);
    StoreDue third = take_one(3000);
    StoreDue other = third;
    other.guild_id = 7;
    done(other, 3000);
    other = third;
    other.kind = STORE_DUE_SCHEDULE;
    done(other, 3000);
    assert_int_equal(kv_id(&kv, "k", "s"), id);
    done(third, 3000);
    assert_int_equal(kv_id(&kv, "k", "s"), 0);
    assert_int_equal(kv_number(&kv, "SELECT count(*) FROM kv_scope"), 0);
    assert_int_equal(kv_number(&kv, "SELECT records + bytes FROM kv_usage"), 0);
    done(third, 3000);
    set_expiry("k", STORE_SET, 4000); /* of what is not there */
    assert_int_equal(next_ms(), STORE_NO_TIME);
}

static void test_tried_again_and_given_up(void **state)
{
    (void)state;
    kv_set_expiry(&kv, "k", "s", 1000);
    int64_t id = schedule("n", 1000000, 50);
    int64_t sequence = 0;
    for (int i = 0; i < STORE_EXPIRY_ATTEMPTS_MAX; i++) {
        StoreDue due = take_one(2000 + i);
        if (i > 0)
            assert_int_equal(due.sequence, sequence); /* the same occasion */
        sequence = due.sequence;
        assert_int_equal(due.attempts, i);
        retry(due, 2000 + i, false); /* no attempt */
        due = take_one(2000 + i);
        assert_int_equal(due.attempts, i);
        retry(due, 2001 + i, true);
        assert_nothing_due(2000 + i);
    }
    assert_nothing_due(999999);
    assert_int_equal(next_ms(), 1000000);
    StoreRequest *request = kv_get(&kv, "k", "s");
    assert_true(request->ops[0].record.has_failed);
    assert_int_equal(request->ops[0].record.attempts, STORE_EXPIRY_ATTEMPTS_MAX);
    assert_int_equal(request->ops[0].record.expires_ms, 1000);
    store_request_free(request);

    for (int i = 0; i < STORE_EXPIRY_ATTEMPTS_MAX; i++)
        retry(take_one(1000000), 1000000, true);
    assert_nothing_due(INT64_MAX);
    StoreSchedule found = schedule_get(id);
    assert_true(found.has_failed);
    assert_int_equal(found.attempts, STORE_EXPIRY_ATTEMPTS_MAX);
    assert_int_equal(found.due_ms, 1000000);

    set_expiry("k", STORE_SET, 3000);
    StoreDue due = take_one(3000);
    assert_int_equal(due.attempts, 0);
    request = kv_get(&kv, "k", "s");
    assert_false(request->ops[0].record.has_failed);
    store_request_free(request);
    done(due, 3000);
    assert_int_equal(kv_id(&kv, "k", "s"), 0);
}

static void test_what_was_taken_is_taken_back(void **state)
{
    (void)state;
    kv_set_expiry(&kv, "a", "s", 1000);
    kv_set_expiry(&kv, "b", "s", 1000);
    schedule("n", 1500, 0);
    StoreRequest *request = take(2000, 0);
    assert_int_equal(request->due_count, 3);
    retry(request->dues[1], 9000, true);
    kv_reopen(&kv);
    assert_int_equal(next_ms(), 1000);
    StoreRequest *again = take(2000, 0);
    assert_int_equal(again->due_count, 2);
    assert_int_equal(again->dues[0].id, request->dues[0].id);
    assert_int_equal(again->dues[0].sequence, request->dues[0].sequence);
    assert_int_equal(again->dues[1].kind, STORE_DUE_SCHEDULE);
    assert_int_equal(again->dues[1].sequence, request->dues[2].sequence);
    assert_int_equal(next_ms(), 9000);
    store_request_free(request);
    store_request_free(again);
}

/* ---- Schedules ---- */

static void test_schedules_keep_their_rhythm(void **state)
{
    (void)state;
    int64_t id = schedule("n", 1000, 300);
    StoreDue due = take_one(1000);
    assert_int_equal(due.kind, STORE_DUE_SCHEDULE);
    done(due, 1010);
    assert_int_equal(next_ms(), 1300);
    due = take_one(2000);
    assert_int_equal(due.due_ms, 1300);
    done(due, 2000); /* 1600 and 1900 were missed */
    assert_int_equal(next_ms(), 2200);
    due = take_one(2200);
    retry(due, 2950, true);
    assert_int_equal(schedule_get(id).due_ms, 2200); /* the occasion */
    due = take_one(2950);
    assert_int_equal(due.attempts, 1);
    done(due, 3100); /* a time that is now is over */
    assert_int_equal(next_ms(), 3400);
    assert_int_equal(schedule_get(id).attempts, 0);
    StoreDue stale = due;
    due = take_one(3400);
    assert_true(due.sequence > stale.sequence);
    done(stale, 3400);
    retry(stale, 3400, true);
    assert_nothing_due(5000);
    done(due, 3399); /* the clock was set back */
    assert_int_equal(next_ms(), 3700);
    due = take_one(3700);
    done(due, INT64_MAX); /* no time comes after that */
    assert_int_equal(next_ms(), STORE_NO_TIME);
    assert_int_equal(schedule_get(id).due_ms, STORE_NO_TIME);

    id = schedule("once", 1000, 0);
    done(take_one(1000), 1000);
    assert_int_equal(schedule_get(id).due_ms, STORE_NO_TIME);
    assert_nothing_due(INT64_MAX);
    id = schedule("gone", 1000, 300);
    due = take_one(1000);
    StoreRequest *request = kv_request(STORE_SCHEDULE_DELETE);
    request->id = id;
    store_request_free(kv_run(&kv, request, STORE_OK));
    done(due, 1000);
    retry(due, 1000, true);
    assert_nothing_due(INT64_MAX);
}

/* ---- What it costs ---- */

static SqliteConnection *connect_memory(void)
{
    static StoreOptions options;
    static SqliteConnection c;
    options = (StoreOptions){.path = ":memory:", .clock_ms = NULL};
    c = (SqliteConnection){.options = &options, .due_ms = STORE_NO_TIME};
    assert_int_equal(sqlite3_open(":memory:", &c.db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(c.db, sqlite_tables_kv, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(c.db, sqlite_tables_templates, NULL, NULL, NULL), SQLITE_OK);
    return &c;
}

static void disconnect(SqliteConnection *c)
{
    for (int i = 0; i < c->statement_count; i++)
        sqlite3_finalize(c->statements[i].statement);
    sqlite3_close(c->db);
}

/* Runs a request on it, without a store around. */
static StoreRequest *operate(SqliteConnection *c, StoreRequest *request,
                             void (*operation)(SqliteConnection *, StoreRequest *))
{
    operation(c, request);
    sqlite_release_statements(c);
    assert_int_equal(request->status, STORE_OK);
    return request;
}

/* The steps of SQLite's machine that all statements took since this was called last. */
static int64_t count_steps(SqliteConnection *c)
{
    int64_t steps = 0;
    for (int i = 0; i < c->statement_count; i++)
        steps += sqlite3_stmt_status(c->statements[i].statement, SQLITE_STMTSTATUS_VM_STEP, 1);
    return steps;
}

/* No statement goes through a table, or sorts what it found. The index of the schedules that were
 * taken holds nothing else: going through it is what is wanted. */
static void assert_plans(SqliteConnection *c)
{
    int searches = 0;
    for (int i = 0; i < c->statement_count; i++) {
        char sql[2048];
        sqlite3_stmt *plan;
        snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", c->statements[i].sql);
        assert_int_equal(sqlite3_prepare_v2(c->db, sql, -1, &plan, NULL), SQLITE_OK);
        while (sqlite3_step(plan) == SQLITE_ROW) {
            const char *detail = (const char *)sqlite3_column_text(plan, 3);
            bool scans = strncmp(detail, "SCAN ", 5) == 0 &&
                         strncmp(detail, "SCAN CONSTANT", 13) != 0 &&
                         strncmp(detail, "SCAN (subquery", 14) != 0 &&
                         strstr(detail, " USING INDEX schedules_taken") == NULL;
            if (scans || strstr(detail, "TEMP B-TREE") != NULL)
                fail_msg("%s: %s", detail, c->statements[i].sql);
            if (strncmp(detail, "SEARCH ", 7) == 0) {
                assert_true(strstr(detail, " USING INDEX ") != NULL ||
                            strstr(detail, " USING COVERING INDEX ") != NULL ||
                            strstr(detail, " USING PRIMARY KEY ") != NULL ||
                            strstr(detail, " USING INTEGER PRIMARY KEY ") != NULL);
                searches++;
            }
        }
        sqlite3_finalize(plan);
    }
    assert_true(searches >= 10);
}

static void test_a_million_to_come_cost_nothing(void **state)
{
    (void)state;
    SqliteConnection *c = connect_memory();
    int code = sqlite3_exec(
        c->db,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)"
        "INSERT INTO kv (id, guild_id, key, scopes, bytes, created_ms, updated_ms, expires_ms,"
        " sequence, due_ms, value) SELECT i, i % 1000 + 1, 'k' || i, '1:s,', 1, 0, 0, i * 10, 1,"
        " i * 10, '1' FROM n;"
        "INSERT INTO schedules (guild_id, name, due_ms, every_ms, at_ms, created_ms)"
        " SELECT 1, 'n', due_ms, 0, due_ms, 0 FROM kv WHERE id % 100 = 0;",
        NULL, NULL, NULL);
    assert_int_equal(code, SQLITE_OK);

    StoreRequest *next = operate(c, kv_request(STORE_DUE_NEXT), sqlite_due_next);
    assert_int_equal(next->next_ms, 10);
    store_request_free(next);
    StoreRequest *dues = kv_request(STORE_DUE_TAKE); /* nothing yet */
    operate(c, dues, sqlite_due_take);
    assert_int_equal(dues->due_count, 0);
    store_request_free(dues);
    assert_in_range(count_steps(c), 1, 200);

    dues = kv_request(STORE_DUE_TAKE);
    dues->now_ms = 5000000; /* half of them are */
    dues->count_max = 100;
    operate(c, dues, sqlite_due_take);
    assert_int_equal(dues->due_count, 100);
    assert_int_equal(dues->dues[99].kind, STORE_DUE_EXPIRY);
    assert_int_equal(dues->dues[99].id, 100); /* and the schedule of the same time is next */
    assert_in_range(count_steps(c), 100, 100 * 100);

    StoreRequest *request = kv_request(STORE_DUE_DONE);
    request->due = dues->dues[0];
    store_request_free(operate(c, request, sqlite_due_done));
    request = kv_request(STORE_DUE_RETRY);
    request->due = dues->dues[1];
    request->failed = true;
    store_request_free(operate(c, request, sqlite_due_retry));
    store_request_free(operate(c, kv_request(STORE_SYNC), sqlite_take_back));
    assert_in_range(count_steps(c), 1, 100 * 100);
    store_request_free(dues);

    dues = kv_request(STORE_DUE_TAKE); /* for the statements about schedules, too */
    dues->now_ms = 1000;
    dues->count_max = 200;
    operate(c, dues, sqlite_due_take);
    assert_int_equal(dues->due_count, 100); /* 99 that are left, and one schedule */
    request = kv_request(STORE_DUE_DONE);
    request->due = dues->dues[dues->due_count - 1];
    assert_int_equal(request->due.kind, STORE_DUE_SCHEDULE);
    store_request_free(operate(c, request, sqlite_due_done));
    store_request_free(dues);
    assert_plans(c);
    disconnect(c);
}

static void test_no_operation_goes_through_a_table(void **state)
{
    (void)state;
    SqliteConnection *c = connect_memory();
    StoreRequest *request = kv_request(STORE_KV);
    StoreKvOp *op = kv_op(request, STORE_KV_SET, "k", "a|b");
    op->expires = op->resume = STORE_SET;
    op->expires_ms = 5;
    op = kv_op(request, STORE_KV_SET, "k", "a|b");
    op->expires = op->resume = STORE_CLEAR;
    kv_op(request, STORE_KV_GET, "k", "a|b");
    kv_op(request, STORE_KV_GET, "k", "a");
    kv_op(request, STORE_KV_EXISTS, "k", "b");
    kv_op(request, STORE_KV_SETEXPIRY, "k", "b")->expires = STORE_CLEAR;
    kv_op(request, STORE_KV_DELETE, "k", "b");
    store_request_free(operate(c, request, sqlite_kv));
    request = kv_request(STORE_KV);
    kv_op(request, STORE_KV_SET, "k", "a|b");
    store_request_free(operate(c, request, sqlite_kv));
    request = kv_request(STORE_KV_FIND);
    request->pattern = kv_text("%");
    request->scopes = kv_scopes(request, "a|b", &request->scope_count);
    operate(c, request, sqlite_kv_find);
    assert_int_equal(request->record_count, 1);
    operate(c, request, sqlite_kv_keys);
    operate(c, request, sqlite_kv_scopes);
    operate(c, request, sqlite_kv_resumes);
    operate(c, request, sqlite_resumers);
    store_request_free(request);
    assert_plans(c);
    disconnect(c);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_store, close_store)
    const struct CMUnitTest tests[] = {
        TEST(test_in_the_order_of_their_times),
        TEST(test_armed_anew_stays),
        TEST(test_tried_again_and_given_up),
        TEST(test_what_was_taken_is_taken_back),
        TEST(test_schedules_keep_their_rhythm),
        cmocka_unit_test(test_a_million_to_come_cost_nothing),
        cmocka_unit_test(test_no_operation_goes_through_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
