/* Templates and schedules in SQLite, and requests as bytes, while each allocation fails in its
 * turn, ours and those of SQLite: there is no memory, or all is as it should be, and once the
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

enum { GUILD = 7, BEFORE = 3 };

/* ---- What there is at first ---- */

static int64_t read_clock(void *userdata)
{
    (void)userdata;
    return 1000;
}

static const StoreOptions OPTIONS = {.path = ":memory:", .clock_ms = read_clock};
static Text LABELS[] = {{"MESSAGE_CREATE", 14}, {"Key\"Expiry[x]", 13}, {"OnStartup", 9}};

static void run_sql(SqliteConnection *c, const char *sql)
{
    char *error = NULL;
    if (sqlite3_exec(c->db, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", sql, error);
}

static int64_t count_of(SqliteConnection *c, const char *sql)
{
    sqlite3_stmt *row;
    assert_int_equal(sqlite3_prepare_v2(c->db, sql, -1, &row, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(row), SQLITE_ROW);
    int64_t count = sqlite3_column_int64(row, 0);
    sqlite3_finalize(row);
    return count;
}

/* What is saved, by its number: each has a file that changes and one that does not. */
static StoreTemplate *describe(StoreRequest *request, const char *name, int number)
{
    StoreTemplate *t = store_request_alloc(request, sizeof(*t));
    StoreFile *files = store_request_alloc(request, 2 * sizeof(*files));
    char source[64];
    int length = snprintf(source, sizeof(source), "return %d", number);
    files[0] = (StoreFile){{"init.luau", 9},
                           store_request_text(request, (Text){source, (size_t)length})};
    files[1] = (StoreFile){{"lib.luau", 8}, {"return {}", 9}};
    *t = (StoreTemplate){.name = {name, strlen(name)},
                         .enabled = true,
                         .description = {"what it does", 12},
                         .events = LABELS,
                         .event_count = 3,
                         .capabilities = LABELS,
                         .capability_count = 2,
                         .files = files,
                         .file_count = 2};
    return t;
}

static void save(SqliteConnection *c, const char *name, int number)
{
    StoreRequest *request = store_request_new(STORE_SAVE, GUILD);
    request->save = describe(request, name, number);
    sqlite_template_save(c, request);
    sqlite_release_statements(c);
    assert_int_equal(request->status, STORE_OK);
    store_request_free(request);
}

static void forget_statements(SqliteConnection *c)
{
    for (int i = 0; i < c->statement_count; i++)
        sqlite3_finalize(c->statements[i].statement);
    c->statement_count = 0;
}

static void set_up(SqliteConnection *c)
{
    *c = (SqliteConnection){.options = &OPTIONS, .due_ms = STORE_NO_TIME};
    assert_int_equal(sqlite3_open(":memory:", &c->db), SQLITE_OK);
    run_sql(c, sqlite_tables_templates);
    for (int i = 1; i <= STORE_VERSIONS_MAX; i++)
        save(c, "a", i);
    for (int i = 1; i < BEFORE; i++)
        save(c, i == 1 ? "b" : "c", i);
    /* The guild's bytes are all but used up, so that a save has to make room. */
    run_sql(c, "UPDATE template_guilds SET bytes = (64 << 20) - 100");
    for (int i = 0; i < 5; i++)
        run_sql(c, "INSERT INTO schedules (guild_id, name, due_ms, every_ms, at_ms, created_ms)"
                   " VALUES (7, 'n', 5, 10, 5, 0)");
}

static void assert_untouched(SqliteConnection *c)
{
    assert_int_equal(count_of(c, "SELECT count(*) FROM templates"), BEFORE);
    assert_int_equal(count_of(c, "SELECT count(*) FROM template_versions"),
                     STORE_VERSIONS_MAX + BEFORE - 1);
    assert_int_equal(count_of(c, "SELECT count(*) FROM template_contents"), STORE_VERSIONS_MAX + 1);
    assert_int_equal(count_of(c, "SELECT version FROM templates WHERE name = 'a'"),
                     STORE_VERSIONS_MAX);
    assert_int_equal(count_of(c, "SELECT count(*) FROM schedules"), 5);
    assert_int_equal(count_of(c, "SELECT count(*) FROM templates_retired"), 0);
}

/* ---- Operations ---- */

typedef struct Case {
    void (*operation)(SqliteConnection *c, StoreRequest *request);
    const char *name; /* of the template */
    int number;       /* of what is saved; 0: nothing is */
} Case;

static const Case CASES[] = {
    {sqlite_templates_load, NULL, 0},   {sqlite_template_list, NULL, 0},
    {sqlite_template_get, "a", 0},      {sqlite_template_versions, "a", 0},
    {sqlite_template_save, "a", 500},   {sqlite_template_save, "new", 501},
    {sqlite_template_save, "b", 1},     {sqlite_template_delete, "b", 0},
    {sqlite_template_activate, "a", 0}, {sqlite_schedule_new, NULL, 0},
    {sqlite_schedules, NULL, 0},        {sqlite_schedule_get, NULL, 0},
    {sqlite_schedule_delete, NULL, 0},
};

static StoreRequest *make_request(const Case *which)
{
    static const StoreSchedule schedule = {.name = {"every day", 9}, .due_ms = 5, .every_ms = 60};
    StoreRequest *request = store_request_new(STORE_SYNC, GUILD);
    if (which->number != 0)
        request->save = describe(request, which->name, which->number);
    else if (which->name)
        request->name = (Text){which->name, strlen(which->name)};
    if (which->operation == sqlite_template_activate)
        request->version = 5;
    request->schedule = &schedule;
    request->id = 3;
    return request;
}

/* What the request gave, as one number that tells results apart. */
static uint64_t digest(const StoreRequest *request)
{
    uint64_t sum = (uint64_t)request->template_count * 3 + (uint64_t)request->schedule_count * 5;
    for (int i = 0; i < request->template_count; i++) {
        const StoreTemplate *t = &request->templates[i];
        sum = sum * 31 + t->version + t->name.length + t->description.length;
        for (int k = 0; k < t->event_count; k++)
            sum = sum * 31 + t->events[k].length;
        for (int k = 0; k < t->file_count; k++)
            sum = sum * 31 + t->files[k].path.length + t->files[k].source.length;
    }
    for (int i = 0; i < request->schedule_count; i++)
        sum = sum * 31 + (uint64_t)request->schedules[i].id + request->schedules[i].name.length;
    return sum;
}

/* k = 0: nothing fails, for what is expected; from k = 1 on statements have to be prepared anew. */
static bool try_once(SqliteConnection *c, const Case *which, long k, uint64_t *expected)
{
    StoreRequest *request = make_request(which);
    run_sql(c, "BEGIN");
    if (k == 1)
        forget_statements(c);
    fault_arm(k);
    which->operation(c, request);
    sqlite_release_statements(c);
    bool failed = fault_disarm();
    bool ok = request->status == STORE_OK;
    if (k == 0) {
        assert_true(ok);
        *expected = digest(request);
    }
    if (ok) {
        assert_true(digest(request) == *expected);
    } else {
        assert_true(failed);
        assert_int_equal(request->status, STORE_NO_MEMORY);
        assert_int_equal(request->template_count + request->schedule_count, 0);
    }
    store_request_free(request);
    if (!sqlite3_get_autocommit(c->db))
        run_sql(c, "ROLLBACK");
    assert_untouched(c);
    return failed;
}

static void test_operations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        SqliteConnection c;
        uint64_t expected = 0;
        set_up(&c);
        assert_untouched(&c);
        try_once(&c, &CASES[i], 0, &expected);
        long k = 1;
        while (try_once(&c, &CASES[i], k, &expected))
            k++;
        assert_true(k > 5); /* it came to something */
        forget_statements(&c);
        assert_int_equal(sqlite3_close(c.db), SQLITE_OK);
    }
}

/* ---- Bytes ---- */

static void test_codec(void **state)
{
    (void)state;
    StoreRequest *sent = store_request_new(STORE_SAVE, GUILD);
    StoreTemplate *templates[2] = {describe(sent, "a", 1), describe(sent, "b", 2)};
    sent->save = templates[0];
    sent->ops = store_request_alloc(sent, 40 * sizeof(StoreKvOp));
    sent->op_count = 40;
    for (int i = 0; i < 40; i++)
        sent->ops[i].which = (StoreSelector){.key = {"key", 3}, .scopes = LABELS, .scope_count = 3};
    Strbuf asked = STRBUF_INIT, answered = STRBUF_INIT;
    store_put_request(&asked, sent);
    sent->templates = templates[1];
    sent->template_count = 1;
    for (int i = 0; i < 40; i++)
        sent->ops[i].record = (StoreRecord){
            .id = i, .key = {"key", 3}, .scopes = LABELS, .scope_count = 3, .value = {"[1]", 3}};
    store_put_answer(&answered, sent);
    assert_false(asked.failed || answered.failed);
    bool failed = true;
    for (long k = 1; failed; k++) {
        fault_arm(k);
        StoreRequest *request = store_read_request(asked.data, asked.length);
        failed = fault_disarm();
        assert_true((request != NULL) == !failed);
        store_request_free(request);
    }
    failed = true;
    for (long k = 1; failed; k++) {
        StoreRequest *request = store_request_new(STORE_KV, GUILD);
        request->ops = store_request_alloc(request, 40 * sizeof(StoreKvOp));
        request->op_count = 40;
        fault_arm(k);
        bool read = store_read_answer(request, answered.data, answered.length);
        failed = fault_disarm();
        assert_true(read == !failed);
        assert_int_equal(request->status, failed ? STORE_NO_MEMORY : STORE_OK);
        assert_int_equal(request->template_count, failed ? 0 : 1);
        store_request_free(request);
    }
    store_request_free(sent);
    strbuf_free(&asked);
    strbuf_free(&answered);
}

int main(void)
{
    if (!sqlite_memory_use())
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_operations),
                                       cmocka_unit_test(test_codec)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
