/* A disk that is full, fails, is taken away or lies; a file that is locked, read-only, cut or
 * overwritten: each is named, the store lives on, and what it acknowledged is still there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/log.h"
#include "faulty_store.h"

static char *long_value(size_t size)
{
    char *value = malloc(size + 1);
    memset(value, '7', size);
    value[size] = '\0';
    return value;
}

/* ---- Every call fails once, and from then on ---- */

enum { STEPS = 8, AT_ONCE = 6, KEYS = 3 + AT_ONCE };

/* What may be in the file: of each key the value that was acknowledged last, or one that was sent
 * later and came back with an error that leaves it open. */
typedef struct Expected {
    char key[16], sure[16], perhaps[STEPS][16];
    int perhaps_count;
} Expected;

static void expect_sent(Expected *e, const char *value, StoreStatus status, StoreStatus allowed)
{
    if (status == STORE_OK) {
        snprintf(e->sure, sizeof(e->sure), "%s", value);
        e->perhaps_count = 0;
        return;
    }
    assert_status(status, allowed);
    if (status != STORE_DISK_FULL) /* then nothing was done */
        snprintf(e->perhaps[e->perhaps_count++], sizeof(e->perhaps[0]), "%s", value);
}

static void expect_found(const Expected *e, const char *value)
{
    bool good = strcmp(value, e->sure) == 0;
    for (int i = 0; i < e->perhaps_count && !good; i++)
        good = strcmp(value, e->perhaps[i]) == 0;
    if (!good)
        fail_msg("%s is '%s' instead of '%s'", e->key, value, e->sure);
}

static void write_all(Store *store, Expected *expected, StoreStatus allowed)
{
    for (int i = 0; i < STEPS; i++) {
        Expected *e = &expected[i % 3];
        char value[16];
        snprintf(value, sizeof(value), "%d", i);
        if (i == STEPS - 1)
            expect_sent(e, "", kv_delete(store, 1, e->key), allowed);
        else
            expect_sent(e, value, kv_put(store, 1, e->key, value), allowed);
    }
    Tally tally = TALLY_INIT;
    StoreStatus statuses[AT_ONCE];
    tally.statuses = statuses;
    for (int i = 0; i < AT_ONCE; i++)
        tally_submit(&tally, store, kv_request(STORE_KV_SET, 2, expected[3 + i].key, "1"));
    tally_wait(&tally);
    for (int i = 0; i < AT_ONCE; i++)
        expect_sent(&expected[3 + i], "1", statuses[i], allowed);
}

static void read_all(Store *store, const Expected *expected, bool surely)
{
    for (int i = 0; i < KEYS; i++) {
        char value[16];
        StoreStatus status = kv_get(store, i < 3 ? 1 : 2, expected[i].key, value, sizeof(value));
        if (surely)
            assert_status(status, STORE_OK);
        if (status == STORE_OK)
            expect_found(&expected[i], value);
    }
}

/* False: there is no k-th call. */
static bool one_round(const FaultyPlan *plan, int k, StoreStatus allowed)
{
    Folder f;
    folder_make(&f);
    Expected expected[KEYS] = {0};
    for (int i = 0; i < KEYS; i++)
        snprintf(expected[i].key, sizeof(expected[i].key), "key %d", i);
    faulty_arm(plan, k);
    StoreStatus status = STORE_OK;
    char error[TOOL_ERROR_MAX] = "";
    StoreOptions options = options_here(&f);
    Store *store = sqlite_open(&options, &status, error, sizeof(error));
    if (store) {
        write_all(store, expected, allowed);
        read_all(store, expected, plan->call == FAULTY_WRITE || plan->call == FAULTY_SYNC);
    } else {
        if (status != allowed)
            fail_msg("opening, call %d: %s (%s)", k, error, store_status_name(status));
        assert_true(error[0] != '\0');
    }
    bool fired = faulty_disarm();
    if (!store && !fired)
        fail_msg("%s", error);
    if (store) { /* it was a passing trouble */
        expect_sent(&expected[0], "99", kv_put(store, 1, "key 0", "99"), STORE_OK);
        read_all(store, expected, true);
        close_store(store);
    }
    store = open_here(&f);
    read_all(store, expected, true);
    assert_sound(store);
    close_store(store);
    folder_remove(&f);
    return fired;
}

static void test_every_call(void **state)
{
    (void)state;
    static const struct {
        FaultyPlan plan;
        StoreStatus allowed;
    } PLANS[] = {
        {{FAULTY_WRITE, SQLITE_FULL, false, false}, STORE_DISK_FULL},
        {{FAULTY_WRITE, SQLITE_FULL, true, true}, STORE_DISK_FULL},
        {{FAULTY_WRITE, SQLITE_IOERR_WRITE, false, false}, STORE_GONE},
        {{FAULTY_WRITE, SQLITE_IOERR_WRITE, true, false}, STORE_GONE},
        {{FAULTY_WRITE, SQLITE_IOERR_WRITE, true, true}, STORE_GONE},
        {{FAULTY_WRITE, SQLITE_READONLY, false, true}, STORE_READ_ONLY},
        {{FAULTY_SYNC, SQLITE_IOERR_FSYNC, false, false}, STORE_GONE},
        {{FAULTY_SYNC, SQLITE_IOERR_FSYNC, false, true}, STORE_GONE},
        {{FAULTY_READ, SQLITE_IOERR_READ, false, false}, STORE_GONE},
        {{FAULTY_READ, SQLITE_IOERR_READ, false, true}, STORE_GONE},
        {{FAULTY_OPEN, SQLITE_CANTOPEN, false, false}, STORE_GONE},
        {{FAULTY_OPEN, SQLITE_CANTOPEN, false, true}, STORE_GONE},
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(PLANS); i++) {
        int k = 1;
        while (one_round(&PLANS[i].plan, k, PLANS[i].allowed))
            k++;
        assert_true(k > 3);
        print_message("plan %zu: %d calls\n", i, k - 1);
    }
}

/* ---- A full disk ---- */

/* Requests that come in together, while nobody may write. */
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

static StoreRequest *parts_request(int count, const char *value)
{
    StoreRequest *r = kv_request(STORE_KV_SET, 1, "part", value);
    StoreKvOp *ops = store_request_alloc(r, (size_t)count * sizeof(*ops));
    for (int i = 0; i < count; i++) {
        char key[32];
        snprintf(key, sizeof(key), "part %d", i);
        ops[i] = r->ops[0];
        ops[i].which.key = store_request_text(r, text_of(key));
    }
    r->ops = ops;
    r->op_count = count;
    return r;
}

static void test_one_does_not_fit(void **state)
{
    enum { COUNT = 9, LARGE = 4, PARTS = 8 };
    Folder *f = *state;
    Store *store = open_here(f);
    for (int i = 0; i < 3; i++)
        assert_status(kv_put(store, 1, "before", "1"), STORE_OK);
    char *large = long_value(STORE_VALUE_MAX);
    StoreStatus statuses[COUNT];
    Tally tally = TALLY_INIT;
    tally.statuses = statuses;
    sqlite3 *db = hold(f);
    for (int i = 0; i < COUNT; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key %d", i);
        if (i == LARGE)
            tally_submit(&tally, store, parts_request(PARTS, large));
        else
            tally_submit(&tally, store, kv_request(STORE_KV_SET, 1, key, "1"));
    }
    faulty_space(100000); /* with what the file and its log have already, less than the parts */
    let_go(db);
    tally_wait(&tally);
    for (int i = 0; i < COUNT; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key %d", i);
        assert_status(statuses[i], i == LARGE ? STORE_DISK_FULL : STORE_OK);
        if (i != LARGE)
            assert_holds(store, 1, key, "1");
    }
    assert_holds(store, 1, "part 0", "");
    faulty_space(-1);
    StoreRequest *again = parts_request(PARTS, large);
    store_wait(store, again);
    assert_status(again->status, STORE_OK);
    store_request_free(again);
    assert_sound(store);
    close_store(store);
    free(large);
}

/* No byte more: what is there can be read and deleted, and small things still fit where the log
 * starts anew. */
static void test_disk_full(void **state)
{
    enum { COUNT = 40, VALUE_BYTES = 20000 };
    Folder *f = *state;
    Store *store = open_here(f);
    char *value = long_value(VALUE_BYTES), *large = long_value(STORE_VALUE_MAX), key[32];
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        assert_status(kv_put(store, 1, key, value), STORE_OK);
    }
    faulty_space(0);
    int written = 0;
    StoreStatus status = STORE_OK;
    for (int i = 0; i < 100 && status == STORE_OK; i++, written += status == STORE_OK) {
        snprintf(key, sizeof(key), "more %d", i);
        status = kv_put(store, 1, key, large);
    }
    assert_status(status, STORE_DISK_FULL);
    for (int i = 0; i < COUNT; i++) {
        char found[VALUE_BYTES + 1];
        snprintf(key, sizeof(key), "key %d", i);
        assert_status(kv_get(store, 1, key, found, sizeof(found)), STORE_OK);
        assert_string_equal(found, value);
    }
    StoreStats stats;
    store_stats(store, &stats);
    assert_int_equal(stats.failures[STORE_DISK_FULL], 1);
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        assert_status(kv_delete(store, 1, key), STORE_OK);
    }
    /* What was deleted makes room. */
    assert_status(kv_put(store, 1, "again", value), STORE_OK);
    assert_sound(store);
    faulty_space(-1);
    snprintf(key, sizeof(key), "more %d", written);
    assert_status(kv_put(store, 1, key, large), STORE_OK);
    close_store(store);
    store = open_here(f);
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        assert_holds(store, 1, key, "");
    }
    assert_sound(store);
    close_store(store);
    free(large);
    free(value);
}

/* The same from the kernel: files may not grow past a size. In a child: its limits are its own. */
static int with_file_limit(const Folder *f)
{
    signal(SIGXFSZ, SIG_IGN);
    StoreOptions options = options_here(f);
    Store *store = open_store(&options);
    if (!store || kv_put(store, 1, "a", "1") != STORE_OK)
        return 1;
    struct rlimit limit = {300000, RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &limit);
    char *large = long_value(100000), value[32], key[32];
    StoreStatus status = STORE_OK;
    int count = 0;
    for (; count < 50 && status == STORE_OK; count++) {
        snprintf(key, sizeof(key), "large %d", count);
        status = kv_put(store, 1, key, large);
    }
    if (status != STORE_DISK_FULL)
        return 2;
    if (kv_get(store, 1, "a", value, sizeof(value)) != STORE_OK || strcmp(value, "1") != 0)
        return 3;
    if (kv_delete(store, 1, "a") != STORE_OK)
        return 4;
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    for (int i = 0; i < 10; i++) {
        if (kv_put(store, 1, key, large) != STORE_OK)
            return 5;
    }
    free(large);
    Strbuf report = STRBUF_INIT;
    bool sound = store_check(store, &report);
    strbuf_free(&report);
    close_store(store);
    return sound ? 0 : 6;
}

static void in_child(int (*body)(const Folder *f), const Folder *f)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(body(f));
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_file_limit(void **state)
{
    in_child(with_file_limit, *state);
}

/* ---- No memory ---- */

static void test_no_memory(void **state)
{
    enum { STEP_BYTES = 512, LIMITS = 120, SAVED = 3 };
    Folder *f = *state;
    Store *store = open_here(f);
    char *large = long_value(40000), key[32], value[64];
    int failed = 0, done = 0;
    for (int i = 0; i < LIMITS; i++) {
        /* Connections that are opened anew have nothing prepared: all of it is allocated again. */
        if (i % 10 == 0) {
            close_store(store);
            store = open_here(f);
        }
        sqlite3_hard_heap_limit64(sqlite3_memory_used() + i * STEP_BYTES);
        Tally tally = TALLY_INIT;
        StoreStatus statuses[SAVED];
        tally.statuses = statuses;
        for (int j = 0; j < SAVED; j++) {
            snprintf(key, sizeof(key), "key %d %d", i, j);
            tally_submit(&tally, store, kv_request(STORE_KV_SET, 1, key, j == 1 ? large : "1"));
        }
        tally_wait(&tally);
        StoreStatus read = kv_get(store, 1, "key 0 0", value, sizeof(value));
        assert_true(read == STORE_OK || read == STORE_NO_MEMORY);
        sqlite3_hard_heap_limit64(0);
        for (int j = 0; j < SAVED; j++) {
            bool ok = statuses[j] == STORE_OK;
            if (!ok)
                assert_status(statuses[j], STORE_NO_MEMORY);
            snprintf(key, sizeof(key), "key %d %d", i, j);
            assert_status(kv_get(store, 1, key, value, sizeof(value)), STORE_OK);
            assert_int_equal(value[0] != '\0', ok);
            *(ok ? &done : &failed) += 1;
        }
        assert_status(kv_put(store, 1, "after", "1"), STORE_OK);
    }
    print_message("%d without memory, %d done\n", failed, done);
    assert_true(failed > 0 && done > 0);
    assert_sound(store);
    close_store(store);
    free(large);
}

/* ---- Read-only, locked ---- */

static void become_nobody(void)
{
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        _exit(100);
}

static bool is_refused(const Folder *f, StoreStatus expected, const char *part)
{
    StoreStatus status = STORE_OK;
    char error[TOOL_ERROR_MAX] = "";
    StoreOptions options = options_here(f);
    if (!sqlite_open(&options, &status, error, sizeof(error)) && status == expected &&
        strstr(error, part) && strstr(error, f->path))
        return true;
    fprintf(stderr, "%s: %s\n", store_status_name(status), error);
    return false;
}

static int open_read_only_file(const Folder *f)
{
    become_nobody();
    return is_refused(f, STORE_READ_ONLY, "cannot be written") ? 0 : 1;
}

static int open_read_only_folder(const Folder *f)
{
    become_nobody();
    return is_refused(f, STORE_READ_ONLY, "") ? 0 : 1;
}

static void test_read_only(void **state)
{
    Folder *f = *state;
    assert_int_equal(chmod(f->path, 0555), 0);
    in_child(open_read_only_folder, f); /* no file, and none can be made */
    assert_int_equal(chmod(f->path, 0777), 0);
    Store *store = open_here(f);
    assert_status(kv_put(store, 1, "a", "1"), STORE_OK);
    close_store(store);
    char lock[2 * TOOL_PATH_MAX];
    snprintf(lock, sizeof(lock), "%s.lock", f->file);
    unlink(lock);
    assert_int_equal(chmod(f->file, 0444), 0);
    in_child(open_read_only_file, f);
    assert_int_equal(chmod(f->path, 0555), 0);
    in_child(open_read_only_file, f);
    assert_int_equal(chmod(f->file, 0666), 0);
    in_child(open_read_only_folder, f);
    assert_int_equal(chmod(f->path, 0755), 0);
    store = open_here(f);
    assert_holds(store, 1, "a", "1");
    close_store(store);
}

/* The disk becomes read-only under a store that is open. */
static void test_becomes_read_only(void **state)
{
    Folder *f = *state;
    Store *store = open_here(f);
    assert_status(kv_put(store, 1, "a", "1"), STORE_OK);
    faulty_arm(&(FaultyPlan){FAULTY_WRITE, SQLITE_READONLY, false, true}, 1);
    for (int i = 0; i < 3; i++) {
        assert_status(kv_put(store, 1, "a", "2"), STORE_READ_ONLY);
        assert_holds(store, 1, "a", "1");
    }
    assert_true(faulty_disarm());
    assert_status(kv_put(store, 1, "a", "3"), STORE_OK);
    assert_holds(store, 1, "a", "3");
    close_store(store);
}

static void test_locked(void **state)
{
    enum { COUNT = 20 };
    Folder *f = *state;
    StoreOptions options = options_here(f);
    options.lock_wait_ms = 30;
    Store *store = open_store(&options);
    assert_non_null(store);
    assert_status(kv_put(store, 1, "a", "1"), STORE_OK);
    sqlite3 *db = raw_open(f->file);
    raw_run(db, "BEGIN EXCLUSIVE");
    Tally tally = TALLY_INIT;
    for (int i = 0; i < COUNT; i++)
        tally_submit(&tally, store, kv_request(STORE_KV_SET, 1, "a", "2"));
    tally_wait(&tally);
    assert_int_equal(tally.by_status[STORE_LOCKED], COUNT);
    assert_holds(store, 1, "a", "1");
    let_go(db);
    assert_status(kv_put(store, 1, "a", "3"), STORE_OK);
    assert_holds(store, 1, "a", "3");
    close_store(store);
    /* Nobody gets in while another process has it all for itself. */
    db = raw_open(f->file);
    raw_run(db, "PRAGMA locking_mode = EXCLUSIVE; CREATE TABLE x (y); DROP TABLE x");
    StoreStatus status = STORE_OK;
    char error[TOOL_ERROR_MAX];
    assert_null(sqlite_open(&options, &status, error, sizeof(error)));
    assert_status(status, STORE_LOCKED);
    sqlite3_close(db);
    store = open_here(f);
    assert_holds(store, 1, "a", "3");
    close_store(store);
}

/* ---- Taken away ---- */

/* A read may be answered from what was looked at a moment ago. */
static void assert_read_gone(Store *store)
{
    char value[16];
    StoreStatus status = STORE_OK;
    for (int waited = 0; status == STORE_OK && waited < TOOL_PATIENCE_MS; waited += 10) {
        status = kv_get(store, 1, "a", value, sizeof(value));
        pause_ms(10);
    }
    assert_status(status, STORE_GONE);
}

static void test_taken_away(void **state)
{
    Folder *f = *state;
    char aside[2 * TOOL_PATH_MAX], log[2 * TOOL_PATH_MAX];
    snprintf(aside, sizeof(aside), "%s.aside", f->file);
    snprintf(log, sizeof(log), "%s-wal", f->file);
    Store *store = open_here(f);
    assert_status(kv_put(store, 1, "a", "1"), STORE_OK);
    /* Moved away, and back. */
    assert_int_equal(rename(f->file, aside), 0);
    assert_status(kv_put(store, 1, "a", "2"), STORE_GONE);
    assert_read_gone(store);
    assert_int_equal(rename(aside, f->file), 0);
    assert_status(kv_put(store, 1, "a", "3"), STORE_OK);
    assert_holds(store, 1, "a", "3");
    /* Replaced: what is there now is another. */
    assert_int_equal(rename(f->file, aside), 0);
    copy_file(aside, f->file);
    assert_status(kv_put(store, 1, "a", "4"), STORE_GONE);
    assert_read_gone(store);
    assert_int_equal(rename(aside, f->file), 0);
    assert_status(kv_put(store, 1, "a", "5"), STORE_OK);
    /* The log is a part of it. */
    assert_int_equal(rename(log, aside), 0);
    assert_status(kv_put(store, 1, "a", "6"), STORE_GONE);
    assert_int_equal(rename(aside, log), 0);
    assert_status(kv_put(store, 1, "a", "7"), STORE_OK);
    assert_sound(store);
    /* For ever: still it ends in order. */
    assert_int_equal(unlink(f->file), 0);
    assert_status(kv_put(store, 1, "a", "8"), STORE_GONE);
    assert_read_gone(store);
    close_store(store);
}

int main(void)
{
    log_setlevel((LogLevel)(LOG_ERROR + 1)); /* thousands of failures, as told */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_call, set_up_faulty, tear_down_faulty),
        cmocka_unit_test_setup_teardown(test_one_does_not_fit, set_up_faulty, tear_down_faulty),
        cmocka_unit_test_setup_teardown(test_disk_full, set_up_faulty, tear_down_faulty),
        cmocka_unit_test_setup_teardown(test_file_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_memory, set_up_faulty, tear_down_faulty),
        cmocka_unit_test_setup_teardown(test_read_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_becomes_read_only, set_up_faulty, tear_down_faulty),
        cmocka_unit_test_setup_teardown(test_locked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_taken_away, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
