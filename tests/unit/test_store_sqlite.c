/* What the store on SQLite promises beyond its operations: which files it opens and refuses, group
 * commit, bounds, order, the end, what the observer hears, check and backup. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdatomic.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "../store_tools.h"

static Store *open_here(const Folder *f)
{
    Store *store = open_store(&(StoreOptions){.path = f->file, .exclusive = true, .readers = 2});
    assert_non_null(store);
    return store;
}

static void refused(const char *path, bool exclusive, StoreStatus expected, const char *part)
{
    StoreStatus status = STORE_OK;
    char error[TOOL_ERROR_MAX] = "";
    StoreOptions options = {.path = path, .exclusive = exclusive};
    assert_null(sqlite_open(&options, &status, error, sizeof(error)));
    if (status != expected || !strstr(error, part) || !strstr(error, path))
        fail_msg("%s (%s)", error, store_status_name(status));
}

/* ---- Opening ---- */

static void test_open(void **state)
{
    Folder *f = *state;
    Store *store = open_here(f);
    struct stat found;
    assert_int_equal(stat(f->file, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    assert_int_equal(kv_put(store, 1, "a", "1"), STORE_OK);
    assert_sound(store);
    close_store(store);

    int in_file, in_program;
    char error[TOOL_ERROR_MAX], value[32];
    assert_true(sqlite_versions(f->file, &in_file, &in_program, error, sizeof(error)));
    assert_int_equal(in_file, in_program);
    store = open_here(f);
    assert_int_equal(kv_get(store, 1, "a", value, sizeof(value)), STORE_OK);
    assert_string_equal(value, "1");
    assert_true(sqlite_versions(f->file, &in_file, &in_program, error, sizeof(error)));
    assert_int_equal(in_file, in_program);
    close_store(store);
}

static void test_open_nothing(void **state)
{
    Folder *f = *state;
    char path[2 * TOOL_PATH_MAX], error[TOOL_ERROR_MAX];
    snprintf(path, sizeof(path), "%s/missing/data", f->path);
    refused(path, true, STORE_GONE, "folder does not exist");
    refused(f->path, true, STORE_INVALID, "no regular file");
    int in_file, in_program;
    assert_false(sqlite_versions(f->file, &in_file, &in_program, error, sizeof(error)));
    assert_non_null(strstr(error, "no such file"));
    assert_int_equal(access(f->file, F_OK), -1);
}

static void test_migrate(void **state)
{
    Folder *f = *state;
    fclose(fopen(f->file, "wb")); /* empty: version 0 */
    int in_file, in_program;
    char error[TOOL_ERROR_MAX];
    assert_true(sqlite_versions(f->file, &in_file, &in_program, error, sizeof(error)));
    assert_int_equal(in_file, 0);
    close_store(open_here(f));
    sqlite3 *db = raw_open(f->file);
    assert_int_equal(raw_number(db, "PRAGMA user_version"), in_program);
    assert_int_equal(raw_number(db, "SELECT count(*) FROM migrations"), in_program);
    assert_int_equal(raw_number(db, "SELECT count(*) FROM migrations WHERE name <> '' AND"
                                    " made_ms > 1700000000000"),
                     in_program);
    sqlite3_close(db);
    close_store(open_here(f)); /* again: nothing more to do */
    db = raw_open(f->file);
    assert_int_equal(raw_number(db, "SELECT count(*) FROM migrations"), in_program);
    sqlite3_close(db);
}

static void test_newer(void **state)
{
    Folder *f = *state;
    close_store(open_here(f));
    sqlite3 *db = raw_open(f->file);
    raw_run(db, "PRAGMA user_version = 99");
    refused(f->file, true, STORE_INVALID, "version 99"); /* still in the log */
    sqlite3_close(db);
    refused(f->file, false, STORE_INVALID, "version 99");
    int in_file, in_program;
    char error[TOOL_ERROR_MAX];
    assert_true(sqlite_versions(f->file, &in_file, &in_program, error, sizeof(error)));
    assert_int_equal(in_file, 99);
    db = raw_open(f->file);
    raw_run(db, "PRAGMA user_version = 1");
    sqlite3_close(db);
    close_store(open_here(f));
}

static void unchanged(const Folder *f, const Strbuf *before)
{
    Strbuf after = STRBUF_INIT;
    assert_int_equal(strbuf_readfile(&after, f->file, 1 << 20), 0);
    assert_int_equal(after.length, before->length);
    assert_memory_equal(after.data, before->data, after.length);
    strbuf_free(&after);
    char path[2 * TOOL_PATH_MAX];
    snprintf(path, sizeof(path), "%s.lock", f->file);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_foreign(void **state)
{
    Folder *f = *state;
    Strbuf before = STRBUF_INIT;
    sqlite3 *db = raw_open(f->file);
    raw_run(db, "CREATE TABLE mine (x)");
    sqlite3_close(db);
    assert_int_equal(strbuf_readfile(&before, f->file, 1 << 20), 0);
    refused(f->file, true, STORE_INVALID, "another application");
    unchanged(f, &before);
    int in_file, in_program;
    char error[TOOL_ERROR_MAX];
    assert_false(sqlite_versions(f->file, &in_file, &in_program, error, sizeof(error)));
    assert_non_null(strstr(error, "another application"));

    db = raw_open(f->file);
    raw_run(db, "DROP TABLE mine; PRAGMA application_id = 42");
    sqlite3_close(db);
    refused(f->file, true, STORE_INVALID, "another application");

    FILE *file = fopen(f->file, "wb");
    for (int i = 0; i < 5000; i++)
        fputs("this is no database\n", file);
    fclose(file);
    strbuf_clear(&before);
    assert_int_equal(strbuf_readfile(&before, f->file, 1 << 20), 0);
    refused(f->file, true, STORE_CORRUPT, "not a database");
    unchanged(f, &before);
    assert_false(sqlite_versions(f->file, &in_file, &in_program, error, sizeof(error)));
    assert_non_null(strstr(error, "no SQLite database"));
    strbuf_free(&before);
}

static void test_second_server(void **state)
{
    Folder *f = *state;
    Store *store = open_here(f);
    char process[32], value[32];
    snprintf(process, sizeof(process), "process %ld", (long)getpid());
    refused(f->file, true, STORE_LOCKED, process);
    /* What administers it may. */
    Store *other = open_store(&(StoreOptions){.path = f->file});
    assert_non_null(other);
    assert_int_equal(kv_put(other, 1, "a", "2"), STORE_OK);
    assert_int_equal(kv_get(store, 1, "a", value, sizeof(value)), STORE_OK);
    assert_string_equal(value, "2");
    close_store(other);
    close_store(store);
    close_store(open_here(f));
}

/* ---- Many requests ---- */

/* Nobody else writes until it is let go. */
static sqlite3 *hold(const Folder *f)
{
    sqlite3 *db = raw_open(f->file);
    raw_run(db, "BEGIN IMMEDIATE");
    return db;
}

static void let_go(sqlite3 *db)
{
    raw_run(db, "ROLLBACK");
    sqlite3_close(db);
}

static Store *open_patient(const Folder *f, int queue_max, size_t queue_bytes_max)
{
    Store *store = open_store(&(StoreOptions){.path = f->file,
                                              .exclusive = true,
                                              .readers = 2,
                                              .lock_wait_ms = TOOL_PATIENCE_MS,
                                              .queue_max = queue_max,
                                              .queue_bytes_max = queue_bytes_max});
    assert_non_null(store);
    return store;
}

static void test_group_commit(void **state)
{
    enum { WRITES = 3000 };
    Folder *f = *state;
    Store *store = open_patient(f, 0, 0);
    StoreStats before, after;
    store_stats(store, &before);
    sqlite3 *db = hold(f);
    Tally tally = TALLY_INIT;
    for (int i = 0; i < WRITES; i++) {
        char key[32];
        snprintf(key, sizeof(key), "key %d", i);
        tally_submit(&tally, store, kv_request(STORE_KV_SET, (uint64_t)i % 7, key, "1"));
    }
    let_go(db);
    tally_wait(&tally);
    assert_int_equal(tally.by_status[STORE_OK], WRITES);
    store_stats(store, &after);
    assert_int_equal(after.writes - before.writes, WRITES);
    assert_int_equal(after.waiting, 0);
    /* What the writer took at first, and then 1,024 each. */
    assert_in_range(after.commits - before.commits, 1, 5);
    assert_true(after.write_ns > 0);
    /* One after the other: a commit each. */
    for (int i = 0; i < 10; i++) {
        char value[32];
        snprintf(value, sizeof(value), "%d", i);
        assert_int_equal(kv_put(store, 1, "a", value), STORE_OK);
    }
    store_stats(store, &before);
    assert_int_equal(before.commits - after.commits, 10);
    /* Reads make none, and neither does a write that has nothing to do. */
    char value[32];
    assert_int_equal(kv_get(store, 1, "a", value, sizeof(value)), STORE_OK);
    assert_int_equal(kv_delete(store, 1, "never"), STORE_OK);
    StoreRequest *sync = store_request_new(STORE_SYNC, 0);
    store_wait(store, sync);
    assert_int_equal(sync->status, STORE_OK);
    store_request_free(sync);
    store_stats(store, &after);
    assert_int_equal(before.commits, after.commits);
    assert_int_equal(after.reads, 1);
    close_store(store);
}

/* One that breaks a rule takes nothing of its batch with it. */
static void test_apart(void **state)
{
    enum { WRITES = 50 };
    Folder *f = *state;
    Store *store = open_patient(f, 0, 0);
    sqlite3 *db = hold(f);
    StoreStatus statuses[WRITES];
    Tally tally = TALLY_INIT;
    tally.statuses = statuses;
    for (int i = 0; i < WRITES; i++) {
        char key[32];
        snprintf(key, sizeof(key), "key %d", i);
        StoreRequest *r = kv_request(STORE_KV_SET, 1, key, "1");
        if (i % 5 == 4) { /* its first part is fine */
            StoreKvOp *ops = store_request_alloc(r, 2 * sizeof(*ops));
            ops[0] = ops[1] = r->ops[0];
            ops[1].which.scope_count = 0;
            r->ops = ops;
            r->op_count = 2;
        }
        tally_submit(&tally, store, r);
    }
    let_go(db);
    tally_wait(&tally);
    for (int i = 0; i < WRITES; i++) {
        char key[32], value[32];
        snprintf(key, sizeof(key), "key %d", i);
        assert_int_equal(statuses[i], i % 5 == 4 ? STORE_INVALID : STORE_OK);
        assert_int_equal(kv_get(store, 1, key, value, sizeof(value)), STORE_OK);
        assert_string_equal(value, i % 5 == 4 ? "" : "1");
    }
    assert_sound(store);
    close_store(store);
}

static void test_queue_count(void **state)
{
    enum { MAX = 10, SENT = 100 };
    Folder *f = *state;
    Store *store = open_patient(f, MAX, 0);
    sqlite3 *db = hold(f);
    Tally tally = TALLY_INIT;
    for (int i = 0; i < SENT; i++)
        tally_submit(&tally, store, kv_request(STORE_KV_SET, 1, "a", "1"));
    StoreStats stats;
    store_stats(store, &stats);
    /* MAX wait; before that the writer took between none and MAX. */
    assert_in_range(stats.waiting, MAX, 2 * MAX);
    assert_int_equal(stats.failures[STORE_QUEUE_FULL], SENT - stats.waiting);
    let_go(db);
    tally_wait(&tally);
    assert_int_equal(tally.by_status[STORE_OK], stats.waiting);
    assert_int_equal(tally.by_status[STORE_QUEUE_FULL], SENT - stats.waiting);
    assert_int_equal(kv_put(store, 1, "a", "2"), STORE_OK);
    close_store(store);
}

static void test_queue_bytes(void **state)
{
    enum { SIZE = 100000, SENT = 100, FIT = 10 };
    Folder *f = *state;
    char *value = malloc(SIZE + 1);
    memset(value, '1', SIZE);
    value[SIZE] = '\0';
    StoreRequest *sample = kv_request(STORE_KV_SET, 1, "a", value);
    Store *store = open_patient(f, 0, FIT * sample->bytes);
    store_request_free(sample);
    sqlite3 *db = hold(f);
    Tally tally = TALLY_INIT;
    for (int i = 0; i < SENT; i++)
        tally_submit(&tally, store, kv_request(STORE_KV_SET, 1, "a", value));
    StoreStats stats;
    store_stats(store, &stats);
    assert_in_range(stats.waiting, FIT - 1, 2 * FIT);
    let_go(db);
    tally_wait(&tally);
    assert_int_equal(tally.by_status[STORE_OK] + tally.by_status[STORE_QUEUE_FULL], SENT);
    assert_int_equal(tally.by_status[STORE_OK], stats.waiting);
    assert_int_equal(kv_put(store, 1, "a", "2"), STORE_OK);
    close_store(store);
    free(value);
}

static void test_order(void **state)
{
    enum { WRITES = 2500, GUILDS = 5 };
    Folder *f = *state;
    Store *store = open_patient(f, 0, 0);
    int *order = calloc(WRITES, sizeof(*order));
    Tally tally = TALLY_INIT;
    tally.order = order;
    for (int i = 0; i < WRITES; i++) {
        char value[32];
        snprintf(value, sizeof(value), "%d", i);
        tally_submit(&tally, store, kv_request(STORE_KV_SET, (uint64_t)i % GUILDS, "a", value));
    }
    tally_wait(&tally);
    for (int i = 0; i < WRITES; i++)
        assert_int_equal(order[i], i);
    for (int i = 0; i < GUILDS; i++) {
        char value[32];
        assert_int_equal(kv_get(store, (uint64_t)i, "a", value, sizeof(value)), STORE_OK);
        assert_int_equal(atoi(value), WRITES - GUILDS + i);
    }
    free(order);
    close_store(store);
}

/* Reads see what was there before, while nobody can write. */
static void test_reads_go_on(void **state)
{
    Folder *f = *state;
    Store *store = open_patient(f, 0, 0);
    char value[32];
    assert_int_equal(kv_put(store, 1, "a", "1"), STORE_OK);
    sqlite3 *db = hold(f);
    Tally tally = TALLY_INIT;
    tally_submit(&tally, store, kv_request(STORE_KV_SET, 1, "a", "2"));
    for (int i = 0; i < 100; i++) {
        assert_int_equal(kv_get(store, 1, "a", value, sizeof(value)), STORE_OK);
        assert_string_equal(value, "1");
    }
    let_go(db);
    tally_wait(&tally);
    assert_int_equal(kv_get(store, 1, "a", value, sizeof(value)), STORE_OK);
    assert_string_equal(value, "2");
    close_store(store);
}

/* Each thread reads what it wrote just before, every time. */
typedef struct Pair {
    Store *store;
    uint64_t guild_id;
    atomic_int wrong;
} Pair;

static void *write_and_read(void *argument)
{
    Pair *pair = argument;
    for (int i = 0; i < 100; i++) {
        char written[32], found[32];
        snprintf(written, sizeof(written), "%d", i);
        if (kv_put(pair->store, pair->guild_id, "a", written) != STORE_OK ||
            kv_get(pair->store, pair->guild_id, "a", found, sizeof(found)) != STORE_OK ||
            strcmp(written, found) != 0)
            pair->wrong++;
    }
    return NULL;
}

static void test_threads(void **state)
{
    enum { THREADS = 6 };
    Folder *f = *state;
    Store *store = open_here(f);
    pthread_t threads[THREADS];
    Pair pairs[THREADS];
    for (int i = 0; i < THREADS; i++) {
        pairs[i] = (Pair){.store = store, .guild_id = (uint64_t)i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_and_read, &pairs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(pairs[i].wrong, 0);
    }
    assert_sound(store);
    close_store(store);
}

static void test_stop(void **state)
{
    enum { WRITES = 1500 };
    Folder *f = *state;
    Store *store = open_here(f);
    Tally tally = TALLY_INIT;
    for (int i = 0; i < WRITES; i++) {
        char key[32];
        snprintf(key, sizeof(key), "key %d", i);
        tally_submit(&tally, store, kv_request(STORE_KV_SET, 1, key, "1"));
        if (i % 10 == 0)
            tally_submit(&tally, store, kv_request(STORE_KV_GET, 1, key, NULL));
    }
    store_stop(store);
    assert_int_equal(tally.back, tally.expected);
    assert_int_equal(tally.by_status[STORE_OK], tally.expected);
    assert_int_equal(kv_put(store, 1, "a", "1"), STORE_SHUTTING_DOWN);
    char value[32];
    assert_int_equal(kv_get(store, 1, "key 1", value, sizeof(value)), STORE_SHUTTING_DOWN);
    store_stop(store);
    store_free(store);
    sqlite3 *db = raw_open(f->file);
    assert_int_equal(raw_number(db, "SELECT count(*) FROM kv"), WRITES);
    sqlite3_close(db);
}

/* ---- The observer ---- */

typedef struct Ear {
    const Folder *folder;
    pthread_mutex_t lock;
    uint64_t guilds[16];
    int guild_count;
    int all;
    int64_t due_ms[16];
    int due_count;
    int64_t schedules; /* in the file when due_changed was called */
} Ear;

static void on_templates(void *userdata, uint64_t guild_id, bool all)
{
    Ear *ear = userdata;
    pthread_mutex_lock(&ear->lock);
    ear->all += all;
    if (!all && ear->guild_count < 16)
        ear->guilds[ear->guild_count++] = guild_id;
    pthread_mutex_unlock(&ear->lock);
}

static void on_due(void *userdata, int64_t due_ms)
{
    Ear *ear = userdata;
    sqlite3 *db = raw_open(ear->folder->file);
    int64_t schedules = raw_number(db, "SELECT count(*) FROM schedules");
    sqlite3_close(db);
    pthread_mutex_lock(&ear->lock);
    if (ear->due_count < 16)
        ear->due_ms[ear->due_count++] = due_ms;
    ear->schedules = schedules;
    pthread_mutex_unlock(&ear->lock);
}

static Ear hear(Ear *ear)
{
    pthread_mutex_lock(&ear->lock);
    Ear copy = *ear;
    pthread_mutex_unlock(&ear->lock);
    return copy;
}

static Store *open_heard(const Folder *f, Ear *ear)
{
    *ear = (Ear){.folder = f, .lock = PTHREAD_MUTEX_INITIALIZER};
    Store *store = open_store(&(StoreOptions){.path = f->file,
                                              .exclusive = true,
                                              .readers = 2,
                                              .lock_wait_ms = TOOL_PATIENCE_MS,
                                              .observer = {on_templates, on_due, ear}});
    assert_non_null(store);
    return store;
}

static StoreRequest *schedule_request(StoreSchedule *schedule, int64_t due_ms)
{
    StoreRequest *r = store_request_new(STORE_SCHEDULE_NEW, 5);
    *schedule = (StoreSchedule){.name = text_of("later"), .due_ms = due_ms};
    r->schedule = schedule;
    return r;
}

static StoreRequest *template_request(StoreOp op, uint64_t guild_id, const char *source,
                                      StoreTemplate *t, StoreFile *file)
{
    StoreRequest *r = store_request_new(op, guild_id);
    *file = (StoreFile){text_of("init.luau"), text_of(source)};
    *t = (StoreTemplate){.name = text_of("hello"), .enabled = true, .files = file, .file_count = 1};
    r->name = t->name;
    r->save = t;
    r->version = 1;
    return r;
}

static void test_observer_templates(void **state)
{
    static const StoreOp OPS[] = {STORE_SAVE, STORE_SAVE, STORE_ACTIVATE, STORE_DELETE,
                                  STORE_DELETE};
    static const StoreStatus STATUSES[] = {STORE_OK, STORE_OK, STORE_OK, STORE_OK, STORE_NOT_FOUND};
    static const char *const SOURCES[] = {"return 1", "return 2", "", "", ""};
    Folder *f = *state;
    Ear ear;
    Store *store = open_heard(f, &ear);
    for (int i = 0; i < 5; i++) {
        StoreTemplate t;
        StoreFile file;
        StoreRequest *r = template_request(OPS[i], 42, SOURCES[i], &t, &file);
        store_wait(store, r);
        if (r->status != STATUSES[i])
            fail_msg("%d: %s", i, store_status_name(r->status));
        store_request_free(r);
        /* It was told before the request came back. */
        Ear heard = hear(&ear);
        assert_int_equal(heard.guild_count, i < 4 ? i + 1 : 4);
        assert_int_equal(heard.guilds[heard.guild_count - 1], 42);
    }
    close_store(store);
    assert_int_equal(ear.all, 0);
}

static void test_observer_due(void **state)
{
    Folder *f = *state;
    Ear ear;
    Store *store = open_heard(f, &ear);
    StoreSchedule schedules[10];
    Tally tally = TALLY_INIT;
    sqlite3 *db = hold(f);
    tally_submit(&tally, store, schedule_request(&schedules[0], 9000));
    for (int i = 1; i < 10; i++)
        tally_submit(&tally, store, schedule_request(&schedules[i], 5000 + (i * 7) % 10));
    let_go(db);
    tally_wait(&tally);
    assert_int_equal(tally.by_status[STORE_OK], 10);
    close_store(store);
    /* The earliest of each batch, after its commit. */
    assert_in_range(ear.due_count, 1, 10);
    int64_t least = INT64_MAX;
    for (int i = 0; i < ear.due_count; i++)
        least = ear.due_ms[i] < least ? ear.due_ms[i] : least;
    assert_int_equal(least, 5001);
    assert_int_equal(ear.schedules, 10);
    assert_int_equal(ear.all, 0);
}

static void test_observer_others(void **state)
{
    Folder *f = *state;
    Ear ear;
    Store *store = open_heard(f, &ear);
    Store *other = open_store(&(StoreOptions){.path = f->file, .readers = 1});
    assert_non_null(other);
    for (int i = 0; i < 5; i++)
        assert_int_equal(kv_put(store, 1, "a", "1"), STORE_OK);
    /* Some looks go by: what the store wrote itself is no news. */
    pause_ms(1200);
    assert_int_equal(kv_put(store, 1, "a", "2"), STORE_OK);
    assert_int_equal(hear(&ear).all, 0);
    for (int round = 1; round <= 2; round++) {
        assert_int_equal(kv_put(other, 1, "b", round == 1 ? "1" : "2"), STORE_OK);
        for (int waited = 0; hear(&ear).all < round && waited < TOOL_PATIENCE_MS; waited += 10)
            pause_ms(10);
        assert_int_equal(hear(&ear).all, round);
    }
    close_store(other);
    close_store(store);
    assert_in_range(ear.due_count, 2, 2);
    assert_true(ear.due_ms[0] > 1700000000000);
}

/* ---- Check, backup ---- */

static void test_check(void **state)
{
    Folder *f = *state;
    Store *store = open_here(f);
    for (int i = 0; i < 100; i++) {
        char key[32];
        snprintf(key, sizeof(key), "key %d", i);
        assert_int_equal(kv_put(store, (uint64_t)i % 3, key, "[1,2,3]"), STORE_OK);
    }
    StoreTemplate t;
    StoreFile file;
    StoreRequest *r = template_request(STORE_SAVE, 42, "return 1", &t, &file);
    store_wait(store, r);
    assert_int_equal(r->status, STORE_OK);
    store_request_free(r);
    assert_sound(store);
    static const struct {
        const char *sql, *found;
    } DAMAGE[] = {
        {"UPDATE kv_usage SET records = records + 1 WHERE guild_id = 1",
         "its usage says 34 records"},
        {"UPDATE kv_usage SET bytes = bytes - 1 WHERE guild_id = 2", "guild 2: its usage says"},
        {"DELETE FROM kv_scope WHERE key = 'key 5'", "is not found by all of its scopes"},
        {"UPDATE kv_scope SET id = 9999 WHERE key = 'key 5'", "a scope names record 9999"},
        {"UPDATE template_guilds SET bytes = 0", "guild 42: its templates take"},
        {"DELETE FROM template_contents", "has no content"},
        {"DELETE FROM template_versions", "has no version 1"},
    };
    char copy[2 * TOOL_PATH_MAX], error[TOOL_ERROR_MAX];
    for (size_t i = 0; i < BASE_ARRAY_COUNT(DAMAGE); i++) {
        snprintf(copy, sizeof(copy), "%s.%zu", f->file, i);
        assert_true(store_backup(store, copy, error, sizeof(error)));
        sqlite3 *db = raw_open(copy);
        raw_run(db, DAMAGE[i].sql);
        sqlite3_close(db);
        Store *damaged = open_store(&(StoreOptions){.path = copy});
        Strbuf report = STRBUF_INIT;
        assert_false(store_check(damaged, &report));
        if (!strstr(strbuf_cstr(&report), DAMAGE[i].found))
            fail_msg("%s: %s", DAMAGE[i].sql, strbuf_cstr(&report));
        strbuf_free(&report);
        close_store(damaged);
    }
    close_store(store);
}

static void *keep_writing(void *argument)
{
    Pair *pair = argument;
    for (int i = 0; i < 200; i++) {
        StoreRequest *r = kv_request(STORE_KV_SET, 1, "left", "1");
        StoreKvOp *ops = store_request_alloc(r, 2 * sizeof(*ops));
        ops[0] = ops[1] = r->ops[0];
        char value[32];
        snprintf(value, sizeof(value), "%d", i);
        ops[0].value = ops[1].value = text_of(value);
        ops[1].which.key = text_of("right");
        r->ops = ops;
        r->op_count = 2;
        store_wait(pair->store, r);
        pair->wrong += r->status != STORE_OK;
        store_request_free(r);
    }
    return NULL;
}

static void test_backup(void **state)
{
    Folder *f = *state;
    Store *store = open_here(f);
    char copy[2 * TOOL_PATH_MAX], error[TOOL_ERROR_MAX] = "", left[32], right[32];
    Pair pair = {.store = store};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, keep_writing, &pair), 0);
    for (int i = 0; i < 10; i++) { /* each as of one moment: two records of one write agree */
        snprintf(copy, sizeof(copy), "%s.copy%d", f->file, i);
        if (!store_backup(store, copy, error, sizeof(error)))
            fail_msg("%s", error);
        Store *restored = open_store(&(StoreOptions){.path = copy, .exclusive = true});
        assert_non_null(restored);
        assert_int_equal(kv_get(restored, 1, "left", left, sizeof(left)), STORE_OK);
        assert_int_equal(kv_get(restored, 1, "right", right, sizeof(right)), STORE_OK);
        assert_string_equal(left, right);
        assert_sound(restored);
        close_store(restored);
    }
    pthread_join(thread, NULL);
    assert_int_equal(pair.wrong, 0);
    struct stat found;
    assert_int_equal(stat(copy, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    assert_false(store_backup(store, copy, error, sizeof(error)));
    assert_non_null(strstr(error, "File exists"));
    assert_int_equal(access(copy, F_OK), 0);
    assert_false(store_backup(store, "/nowhere/copy", error, sizeof(error)));
    close_store(store);
}

/* ---- Turns ---- */

enum { MANY_READS = 50 };
typedef struct Turns {
    pthread_mutex_t gate; /* held until all are submitted: the one reader waits for it */
    int done, first_of[3];
} Turns;

static void note_turn(StoreRequest *request)
{
    Turns *turns = request->userdata;
    pthread_mutex_lock(&turns->gate);
    int *first = &turns->first_of[request->guild_id];
    turns->done++;
    *first = *first ? *first : turns->done;
    store_request_free(request);
    pthread_mutex_unlock(&turns->gate);
}

static void submit_read(Store *store, Turns *turns, uint64_t guild_id)
{
    StoreRequest *request = store_request_new(STORE_LIST, guild_id);
    request->complete = note_turn;
    request->userdata = turns;
    store_submit(store, request);
}

/* Who comes last and asks for one thing does not wait for all that another asked for before. */
static void test_turns(void **state)
{
    Folder *f = *state;
    Store *store = open_store(&(StoreOptions){.path = f->file, .exclusive = true, .readers = 1});
    Turns turns = {.gate = PTHREAD_MUTEX_INITIALIZER};
    pthread_mutex_lock(&turns.gate);
    for (int i = 0; i < MANY_READS; i++)
        submit_read(store, &turns, 1);
    submit_read(store, &turns, 2);
    pthread_mutex_unlock(&turns.gate);
    store_stop(store);
    assert_int_equal(turns.done, MANY_READS + 1);
    assert_int_equal(turns.first_of[1], 1);
    assert_in_range(turns.first_of[2], 2, 3);
    close_store(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_open_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_migrate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_newer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_foreign, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_second_server, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_group_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queue_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queue_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reads_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_observer_templates, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_observer_due, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_observer_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_check, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_backup, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
