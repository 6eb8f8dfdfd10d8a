/* A log that was cut or lies, pages that were overwritten: what can be told from the rest is there,
 * and what cannot be read is said to be damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "faulty_store.h"

/* ---- A log that ends in the middle, or lies ---- */

enum { LOGGED = 20 };

/* The file and its log as a loss of power leaves them, beside each other. */
static void make_crashed(const Folder *f, Strbuf *file, Strbuf *log)
{
    Store *store = open_here(f);
    assert_status(kv_put(store, 1, "count", "0"), STORE_OK);
    sqlite3 *db = raw_open(f->file); /* all until here into the file, none of the rest */
    raw_run(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite3_close(db);
    for (int i = 1; i <= LOGGED; i++) {
        char value[16];
        snprintf(value, sizeof(value), "%d", i);
        assert_status(kv_put(store, 1, "count", value), STORE_OK);
    }
    char path[2 * TOOL_PATH_MAX];
    snprintf(path, sizeof(path), "%s-wal", f->file);
    assert_int_equal(strbuf_readfile(file, f->file, 1 << 28), 0);
    assert_int_equal(strbuf_readfile(log, path, 1 << 28), 0);
    close_store(store);
    assert_true(log->length > 4096);
}

static void put_file(const char *path, const char *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

/* Which of the writes is the last one that is there. */
static int recover(const Strbuf *file, const char *log, size_t length)
{
    Folder f;
    folder_make(&f);
    char path[2 * TOOL_PATH_MAX], value[16];
    snprintf(path, sizeof(path), "%s-wal", f.file);
    put_file(f.file, file->data, file->length);
    put_file(path, log, length);
    Store *store = open_here(&f);
    assert_sound(store);
    assert_int_equal(kv_get(store, 1, "count", value, sizeof(value)), STORE_OK);
    assert_status(kv_put(store, 1, "count", "100"), STORE_OK);
    assert_holds(store, 1, "count", "100");
    close_store(store);
    folder_remove(&f);
    assert_true(value[0] != '\0');
    return atoi(value);
}

static void test_log_cut(void **state)
{
    enum { CUTS = 60 };
    Strbuf file = STRBUF_INIT, log = STRBUF_INIT;
    make_crashed(*state, &file, &log);
    assert_int_equal(recover(&file, log.data, log.length), LOGGED);
    int last = 0;
    for (int i = 0; i <= CUTS; i++) {
        int found = recover(&file, log.data, log.length * (size_t)i / CUTS);
        assert_in_range(found, last, LOGGED); /* longer: never less */
        last = found;
    }
    assert_int_equal(last, LOGGED);
    strbuf_free(&file);
    strbuf_free(&log);
}

static void test_log_garbage(void **state)
{
    enum { PLACES = 60 };
    Strbuf file = STRBUF_INIT, log = STRBUF_INIT;
    make_crashed(*state, &file, &log);
    char *copy = malloc(log.length);
    int last = 0;
    for (int i = 0; i < PLACES; i++) {
        size_t place = log.length * (size_t)i / PLACES;
        memcpy(copy, log.data, log.length);
        for (size_t j = place; j < place + 300 && j < log.length; j++)
            copy[j] = (char)(copy[j] ^ (char)(j * 131 + 7));
        int found = recover(&file, copy, log.length);
        assert_in_range(found, last, LOGGED);
        last = found;
    }
    assert_true(last > LOGGED / 2);
    free(copy);
    strbuf_free(&file);
    strbuf_free(&log);
}

/* ---- Bytes overwritten in the file ---- */

static void overwrite_page_of(const Folder *f, const char *needle)
{
    enum { PAGE = 4096 };
    Strbuf file = STRBUF_INIT;
    assert_int_equal(strbuf_readfile(&file, f->file, 1 << 28), 0);
    char *found = memmem(file.data, file.length, needle, strlen(needle));
    assert_non_null(found);
    size_t page = (size_t)(found - file.data) / PAGE * PAGE;
    assert_true(page > 0);
    memset(file.data + page, 0xa5, PAGE);
    put_file(f->file, file.data, file.length);
    strbuf_free(&file);
}

static void test_damaged_page(void **state)
{
    enum { COUNT = 400 };
    Folder *f = *state;
    Store *store = open_here(f);
    char key[64], value[2000];
    for (int guild = 1; guild <= 3; guild++) {
        for (int i = 0; i < COUNT; i++) {
            snprintf(key, sizeof(key), "key %d", i);
            snprintf(value, sizeof(value), "\"guild %d value %d %01000d\"", guild, i, i);
            assert_status(kv_put(store, (uint64_t)guild, key, value), STORE_OK);
        }
    }
    close_store(store);
    overwrite_page_of(f, "guild 2 value 200 ");
    store = open_here(f);
    int corrupt[4] = {0};
    for (int guild = 1; guild <= 3; guild++) {
        for (int i = 0; i < COUNT; i++) {
            char found[2000];
            snprintf(key, sizeof(key), "key %d", i);
            snprintf(value, sizeof(value), "\"guild %d value %d %01000d\"", guild, i, i);
            StoreStatus status = kv_get(store, (uint64_t)guild, key, found, sizeof(found));
            if (status == STORE_OK && strcmp(found, value) == 0)
                continue;
            assert_status(status, STORE_CORRUPT);
            corrupt[guild]++;
        }
    }
    /* The page and no more; who reads elsewhere does not notice. */
    assert_int_equal(corrupt[1] + corrupt[3], 0);
    assert_in_range(corrupt[2], 1, 10);
    assert_status(kv_put(store, 2, "key 200", "1"), STORE_CORRUPT);
    assert_status(kv_put(store, 1, "key 1", "1"), STORE_OK);
    assert_status(kv_put(store, 2, "key 1", "2"), STORE_OK);
    assert_holds(store, 2, "key 1", "2");
    Strbuf report = STRBUF_INIT;
    assert_false(store_check(store, &report));
    assert_non_null(strstr(strbuf_cstr(&report), "file: "));
    strbuf_free(&report);
    char copy[2 * TOOL_PATH_MAX], error[TOOL_ERROR_MAX] = "";
    snprintf(copy, sizeof(copy), "%s.copy", f->file);
    assert_false(store_backup(store, copy, error, sizeof(error)));
    assert_non_null(strstr(error, "damaged"));
    assert_int_equal(access(copy, F_OK), -1);
    close_store(store);
}

/* Wherever it is, the store opens or says why not, and gets through. */
static void test_damage_anywhere(void **state)
{
    enum { COUNT = 60, PLACES = 40 };
    Folder *f = *state;
    Store *store = open_here(f);
    char key[64];
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "key %d", i);
        assert_status(kv_put(store, 1, key, "[1,2,3]"), STORE_OK);
    }
    close_store(store);
    Strbuf file = STRBUF_INIT;
    assert_int_equal(strbuf_readfile(&file, f->file, 1 << 28), 0);
    char *copy = malloc(file.length);
    int opened = 0;
    for (int i = 0; i < PLACES; i++) {
        size_t place = file.length * (size_t)i / PLACES;
        memcpy(copy, file.data, file.length);
        for (size_t j = place; j < place + 200 && j < file.length; j++)
            copy[j] = (char)(j * 197 + 13);
        put_file(f->file, copy, file.length);
        StoreStatus status = STORE_OK;
        char error[TOOL_ERROR_MAX] = "", found[32];
        StoreOptions options = options_here(f);
        store = sqlite_open(&options, &status, error, sizeof(error));
        if (!store) {
            assert_true(status != STORE_OK && error[0] != '\0');
            continue;
        }
        opened++;
        for (int j = 0; j < COUNT; j++) {
            snprintf(key, sizeof(key), "key %d", j);
            kv_get(store, 1, key, found, sizeof(found));
            kv_put(store, 1, key, "[4]");
        }
        Strbuf report = STRBUF_INIT;
        store_check(store, &report);
        strbuf_free(&report);
        close_store(store);
    }
    assert_true(opened > 0);
    free(copy);
    strbuf_free(&file);
}

int main(void)
{
    log_setlevel((LogLevel)(LOG_ERROR + 1)); /* many failures, as told */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_log_cut, set_up_faulty, tear_down_faulty),
        cmocka_unit_test_setup_teardown(test_log_garbage, set_up_faulty, tear_down_faulty),
        cmocka_unit_test_setup_teardown(test_damaged_page, set_up_faulty, tear_down_faulty),
        cmocka_unit_test_setup_teardown(test_damage_anywhere, set_up_faulty, tear_down_faulty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
