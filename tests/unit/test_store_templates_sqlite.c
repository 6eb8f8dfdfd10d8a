/* Templates and schedules in the SQLite store: versions, what is current, what is expected to be,
 * what is shared and what is dropped; and all of it again after the store was opened anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/base.h"
#include "store/sqlite.h"

#define GUILD (UINT64_MAX - 4) /* a snowflake is smaller; the sign bit is part of a guild's id */

typedef struct Fixture {
    char folder[64], path[96];
    Store *store;
    _Atomic int64_t now_ms;
} Fixture;

static int64_t clock_ms(void *userdata)
{
    return atomic_fetch_add(&((Fixture *)userdata)->now_ms, 1);
}

static void open_store(Fixture *f)
{
    char error[512];
    StoreStatus status;
    StoreOptions options = {
        .path = f->path, .readers = 2, .clock_ms = clock_ms, .clock_userdata = f};
    f->store = sqlite_open(&options, &status, error, sizeof(error));
    if (!f->store)
        fail_msg("%s", error);
}

static void close_store(Fixture *f)
{
    store_stop(f->store);
    store_free(f->store);
}

static int setup(void **state)
{
    Fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    snprintf(f->folder, sizeof(f->folder), "%s/templates-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/store.db", f->folder);
    f->now_ms = 1000;
    open_store(f);
    *state = f;
    return 0;
}

/* Whatever a test did, the store adds up at its end. */
static int teardown(void **state)
{
    Fixture *f = *state;
    Strbuf report = STRBUF_INIT;
    if (!store_check(f->store, &report))
        fail_msg("%s", strbuf_cstr(&report));
    strbuf_free(&report);
    close_store(f);
    static const char *const ends[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(ends); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s%s", f->path, ends[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(f->folder), 0);
    free(f);
    return 0;
}

static Text text_of(const char *text)
{
    return (Text){text, text ? strlen(text) : 0};
}

static void assert_text(Text got, const char *expected)
{
    if (!expected) {
        assert_null(got.data);
        return;
    }
    assert_non_null(got.data);
    assert_int_equal(got.length, strlen(expected));
    assert_memory_equal(got.data, expected, got.length);
}

static StoreRequest *ask(Fixture *f, StoreOp op, uint64_t guild, const char *name)
{
    (void)f;
    StoreRequest *request = store_request_new(op, guild);
    assert_non_null(request);
    request->name = text_of(name);
    return request;
}

/* Submits, and the status is the one that is expected. */
static void expect(Fixture *f, StoreRequest *request, StoreStatus status)
{
    store_wait(f->store, request);
    if (request->status != status)
        fail_msg("%s: %s", store_status_name(request->status),
                 request->message.data ? request->message.data : "");
}

static StoreTemplate with_source(const char *name, StoreFile *file, const char *source)
{
    *file = (StoreFile){text_of("init.luau"), text_of(source)};
    return (StoreTemplate){.name = text_of(name), .enabled = true, .files = file, .file_count = 1};
}

/* Saves and returns the version that is current then. */
static uint32_t save_as(Fixture *f, uint64_t guild, const StoreTemplate *t, int64_t if_version,
                        StoreStatus status)
{
    StoreRequest *request = ask(f, STORE_SAVE, guild, NULL);
    request->save = t;
    request->if_version = if_version;
    expect(f, request, status);
    uint32_t version = 0;
    if (status == STORE_OK) {
        assert_int_equal(request->template_count, 1);
        assert_true(request->templates[0].current);
        assert_int_equal(request->templates[0].file_count, 0);
        version = request->templates[0].version;
    } else {
        assert_non_null(request->message.data);
    }
    store_request_free(request);
    return version;
}

static uint32_t save_source(Fixture *f, uint64_t guild, const char *name, const char *source)
{
    StoreFile file;
    StoreTemplate t = with_source(name, &file, source);
    return save_as(f, guild, &t, -1, STORE_OK);
}

static void delete_name(Fixture *f, uint64_t guild, const char *name)
{
    StoreRequest *request = ask(f, STORE_DELETE, guild, name);
    expect(f, request, STORE_OK);
    store_request_free(request);
}

/* A number that the file holds, seen by someone else. */
static int64_t number(Fixture *f, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *row;
    assert_int_equal(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &row, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(row), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(row, 0);
    while (sqlite3_step(row) == SQLITE_ROW)
        continue;
    sqlite3_finalize(row);
    sqlite3_close(db);
    return value;
}

/* ---- Templates -------------------------------------------------------------------------------
 */

static void assert_whole(const StoreTemplate *t)
{
    assert_text(t->name, "full.name-$1");
    assert_int_equal(t->version, 1);
    assert_true(t->current);
    assert_false(t->enabled);
    assert_text(t->description, "says \"what\"\n\xE2\x82\xAC");
    assert_int_equal(t->event_count, 2);
    assert_text(t->events[0], "MESSAGE_CREATE");
    assert_text(t->events[1], "Key\"Expiry[\xC3\xA9]");
    assert_int_equal(t->capability_count, 1);
    assert_text(t->capabilities[0], "kv:*");
    assert_int_equal(t->created_ms, t->updated_ms);
    assert_int_equal(t->source_bytes, 8 + 3);
}

static void check_whole(Fixture *f)
{
    StoreRequest *request = ask(f, STORE_GET, GUILD, "full.name-$1");
    expect(f, request, STORE_OK);
    const StoreTemplate *t = &request->templates[0];
    assert_whole(t);
    assert_int_equal(t->file_count, 3); /* in the order of their paths */
    assert_text(t->files[0].path, "a/empty.luau");
    assert_text(t->files[0].source, "");
    assert_text(t->files[1].path, "init.luau");
    assert_text(t->files[1].source, "return 1");
    assert_text(t->files[2].path, "z.luau");
    assert_int_equal(t->files[2].source.length, 3);
    assert_memory_equal(t->files[2].source.data, "a\0\xFF", 3);
    store_request_free(request);
    request = ask(f, STORE_LOAD, GUILD, NULL);
    expect(f, request, STORE_OK);
    assert_int_equal(request->template_count, 1);
    assert_whole(&request->templates[0]);
    assert_int_equal(request->templates[0].file_count, 3);
    store_request_free(request);
    request = ask(f, STORE_LIST, GUILD, NULL);
    expect(f, request, STORE_OK);
    assert_int_equal(request->template_count, 1);
    assert_whole(&request->templates[0]);
    assert_int_equal(request->templates[0].file_count, 0);
    store_request_free(request);
}

static void test_comes_back_whole(void **state)
{
    Fixture *f = *state;
    StoreFile files[] = {{{"z.luau", 6}, {"a\0\xFF", 3}},
                         {{"init.luau", 9}, {"return 1", 8}},
                         {{"a/empty.luau", 12}, {NULL, 0}}};
    Text events[] = {{"MESSAGE_CREATE", 14}, {"Key\"Expiry[\xC3\xA9]", 14}};
    Text capabilities[] = {{"kv:*", 4}};
    StoreTemplate t = {.name = text_of("full.name-$1"),
                       .description = text_of("says \"what\"\n\xE2\x82\xAC"),
                       .events = events,
                       .event_count = 2,
                       .capabilities = capabilities,
                       .capability_count = 1,
                       .files = files,
                       .file_count = 3};
    assert_int_equal(save_as(f, GUILD, &t, 0, STORE_OK), 1);
    check_whole(f);
    close_store(f);
    open_store(f);
    check_whole(f);
    /* Of another guild there is nothing. */
    StoreRequest *request = ask(f, STORE_LOAD, 5, NULL);
    expect(f, request, STORE_OK);
    assert_int_equal(request->template_count, 0);
    store_request_free(request);
    request = ask(f, STORE_GET, 5, "full.name-$1");
    expect(f, request, STORE_NOT_FOUND);
    store_request_free(request);
}

static void test_versions(void **state)
{
    Fixture *f = *state;
    assert_int_equal(save_source(f, 1, "a", "return 1"), 1);
    assert_int_equal(save_source(f, 1, "b", "return 1"), 1);
    assert_int_equal(save_source(f, 1, "a", "return 2"), 2);
    assert_int_equal(save_source(f, 1, "a", "return 3"), 3);
    StoreRequest *request = ask(f, STORE_VERSIONS, 1, "a");
    expect(f, request, STORE_OK);
    assert_int_equal(request->template_count, 3);
    int64_t created_ms = request->templates[2].updated_ms;
    for (int i = 0; i < 3; i++) {
        const StoreTemplate *t = &request->templates[i];
        assert_int_equal(t->version, 3 - i);
        assert_int_equal(t->current, i == 0);
        assert_int_equal(t->created_ms, created_ms);
        assert_true(i == 0 || t->updated_ms < request->templates[i - 1].updated_ms);
    }
    store_request_free(request);

    /* Back to an older one; the next save goes on behind the highest. */
    request = ask(f, STORE_ACTIVATE, 1, "a");
    request->version = 1;
    request->if_version = 2;
    expect(f, request, STORE_CONFLICT);
    assert_non_null(strstr(request->message.data, "is 3"));
    request->if_version = 3;
    expect(f, request, STORE_OK);
    assert_int_equal(request->templates[0].version, 1);
    assert_true(request->templates[0].current);
    request->version = 9;
    request->if_version = -1;
    expect(f, request, STORE_NOT_FOUND);
    store_request_free(request);
    request = ask(f, STORE_GET, 1, "a");
    expect(f, request, STORE_OK);
    assert_int_equal(request->templates[0].version, 1);
    assert_text(request->templates[0].files[0].source, "return 1");
    request->version = 3;
    expect(f, request, STORE_OK);
    assert_false(request->templates[0].current);
    assert_text(request->templates[0].files[0].source, "return 3");
    store_request_free(request);
    assert_int_equal(save_source(f, 1, "a", "return 3"), 4);
    static const StoreOp ops[] = {STORE_GET, STORE_VERSIONS, STORE_DELETE, STORE_ACTIVATE};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(ops); i++) {
        request = ask(f, ops[i], 1, "nobody");
        request->version = 1;
        expect(f, request, STORE_NOT_FOUND);
        store_request_free(request);
    }
}

/* What every guild has, for who is about to hide it. */
static void test_or_common(void **state)
{
    Fixture *f = *state;
    save_source(f, 0, "a", "return 1");
    save_source(f, 0, "a", "return 2");
    for (int i = 0; i < 3; i++) { /* not asked for; asked for; hidden already */
        if (i == 2)
            save_source(f, 1, "a", "return 3");
        StoreRequest *request = ask(f, STORE_VERSIONS, 1, "a");
        request->or_common = i > 0;
        expect(f, request, i == 0 ? STORE_NOT_FOUND : STORE_OK);
        assert_int_equal(request->guild_id, 1);
        assert_int_equal(request->template_count, i > 0);
        if (i > 0) {
            assert_true(request->templates[0].current);
            assert_int_equal(request->templates[0].version, i == 1 ? 0 : 1);
        }
        store_request_free(request);
    }
}

/* A number is never used again, whatever happened to its name. */
static void test_numbers_stay(void **state)
{
    Fixture *f = *state;
    save_source(f, 1, "a", "return 1");
    save_source(f, 1, "a", "return 2");
    delete_name(f, 1, "a");
    StoreRequest *request = ask(f, STORE_LIST, 1, NULL);
    expect(f, request, STORE_OK);
    assert_int_equal(request->template_count, 0);
    store_request_free(request);
    assert_int_equal(number(f, "SELECT count(*) FROM template_contents"), 0);
    assert_int_equal(save_source(f, 2, "a", "return 1"), 1); /* another guild's */
    assert_int_equal(save_source(f, 1, "a", "return 1"), 3);
    delete_name(f, 1, "a");
    close_store(f);
    open_store(f);
    assert_int_equal(save_source(f, 1, "a", "return 1"), 4);
}

/* Names that were are remembered one by one, up to a point; then for all names at once. */
static void test_names_are_bounded(void **state)
{
    Fixture *f = *state;
    save_source(f, 1, "first", "return 1");
    save_source(f, 1, "first", "return 2");
    delete_name(f, 1, "first");
    for (int i = 0; i < 1010; i++) {
        char name[32];
        snprintf(name, sizeof(name), "name-%d", i);
        assert_true(save_source(f, 1, name, "return 1") <= 3);
        delete_name(f, 1, name);
    }
    assert_int_equal(number(f, "SELECT count(*) FROM templates_retired"), 1001);
    assert_int_equal(save_source(f, 1, "first", "return 1"), 3);
    assert_int_equal(save_source(f, 2, "first", "return 1"), 1);
}

static void test_expected_versions(void **state)
{
    Fixture *f = *state;
    StoreFile file;
    StoreTemplate t = with_source("a", &file, "return 1");
    save_as(f, 1, &t, 2, STORE_CONFLICT); /* there is none yet */
    assert_int_equal(save_as(f, 1, &t, 0, STORE_OK), 1);
    save_as(f, 1, &t, 0, STORE_CONFLICT);
    file.source = text_of("return 2");
    save_as(f, 1, &t, 0, STORE_CONFLICT);
    assert_int_equal(save_as(f, 1, &t, 1, STORE_OK), 2);
    StoreRequest *request = ask(f, STORE_SAVE, 1, NULL);
    request->save = &t;
    request->if_version = 1;
    expect(f, request, STORE_CONFLICT);
    assert_text(request->message,
                "the current version of template 'a' is 2, but version 1 was expected");
    store_request_free(request);
    request = ask(f, STORE_DELETE, 1, "a");
    request->if_version = 1;
    expect(f, request, STORE_CONFLICT);
    request->if_version = 2;
    expect(f, request, STORE_OK);
    store_request_free(request);
}

/* A save of what is there already makes no version; of anything else it does. */
static void test_nothing_new(void **state)
{
    Fixture *f = *state;
    StoreFile files[2] = {{text_of("init.luau"), text_of("return 1")},
                          {text_of("b.luau"), text_of("return 2")}};
    StoreFile turned[2] = {files[1], files[0]};
    Text labels[] = {{"x", 1}, {"y", 1}};
    StoreTemplate t = {.name = text_of("a"), .enabled = true, .files = files, .file_count = 2};
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 1);
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 1);
    t.files = turned;
    assert_int_equal(save_as(f, 1, &t, 1, STORE_OK), 1);
    t.enabled = false;
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 2);
    t.description = text_of("");
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 3);
    t.description = text_of("d");
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 4);
    t.events = labels;
    t.event_count = 1;
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 5);
    t.capabilities = labels;
    t.capability_count = 2;
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 6);
    t.file_count = 1;
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 7);
    turned[0].path = text_of("c.luau");
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 8);
    turned[0].source = text_of("return 3");
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 9);
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 9);
    assert_int_equal(number(f, "SELECT count(*) FROM template_versions"), 9);
}

/* Files that did not change are stored once, and go when the last version goes that has them. */
static void test_shared_files(void **state)
{
    Fixture *f = *state;
    enum { FILES = 256, BYTES = 4096 };
    static char sources[FILES][BYTES], paths[FILES][24];
    static StoreFile files[FILES];
    for (int i = 0; i < FILES; i++) {
        memset(sources[i], ' ', BYTES);
        snprintf(sources[i], BYTES, "return %d", i);
        snprintf(paths[i], sizeof(paths[i]), "f%d.luau", i);
        files[i] = (StoreFile){text_of(paths[i]), {sources[i], BYTES}};
    }
    StoreTemplate t = {.name = text_of("many"), .files = files, .file_count = FILES};
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 1);
    for (int version = 2; version <= 20; version++) {
        snprintf(sources[7], BYTES, "return 'version %d'", version);
        assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), version);
    }
    assert_int_equal(number(f, "SELECT count(*) FROM template_contents"), FILES + 19);
    t.name = text_of("copy"); /* and by all templates of a guild */
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM template_contents"), FILES + 19);
    delete_name(f, 1, "many");
    assert_int_equal(number(f, "SELECT count(*) FROM template_contents"), FILES);
    StoreRequest *request = ask(f, STORE_GET, 1, "copy");
    expect(f, request, STORE_OK);
    assert_int_equal(request->templates[0].file_count, FILES);
    assert_int_equal(request->templates[0].source_bytes, FILES * BYTES);
    store_request_free(request);
    /* But by no two guilds: nobody learns what others have by how much it takes. */
    assert_int_equal(save_as(f, 2, &t, -1, STORE_OK), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM template_contents"), 2 * FILES);
    delete_name(f, 1, "copy");
    delete_name(f, 2, "copy");
    assert_int_equal(number(f, "SELECT count(*) FROM template_contents"), 0);
    assert_int_equal(number(f, "SELECT sum(bytes) FROM template_guilds"), 0);
}

static void test_old_versions_go(void **state)
{
    Fixture *f = *state;
    char source[32];
    for (int i = 1; i <= STORE_VERSIONS_MAX + 5; i++) {
        snprintf(source, sizeof(source), "return %d", i);
        assert_int_equal(save_source(f, 1, "a", source), i);
        if (i == 3) { /* the one that is current stays, however old */
            StoreRequest *request = ask(f, STORE_ACTIVATE, 1, "a");
            request->version = 2;
            expect(f, request, STORE_OK);
            store_request_free(request);
        }
    }
    StoreRequest *request = ask(f, STORE_VERSIONS, 1, "a");
    expect(f, request, STORE_OK);
    assert_int_equal(request->template_count, STORE_VERSIONS_MAX);
    assert_int_equal(request->templates[0].version, STORE_VERSIONS_MAX + 5);
    assert_int_equal(request->templates[STORE_VERSIONS_MAX - 1].version, 6);
    store_request_free(request);
    assert_int_equal(number(f, "SELECT count(*) FROM template_contents"), STORE_VERSIONS_MAX);
}

/* Eight files of a MiB: the guild's bytes are used up after eight such templates or versions. */
static uint32_t save_large(Fixture *f, uint64_t guild, const char *name, int seed,
                           StoreStatus status)
{
    enum { FILES = 8, BYTES = 1 << 20 };
    static char sources[FILES][BYTES];
    static const char *const paths[FILES] = {"init.luau", "1", "2", "3", "4", "5", "6", "7"};
    StoreFile files[FILES];
    for (int i = 0; i < FILES; i++) {
        memset(sources[i], 'x', BYTES);
        snprintf(sources[i], BYTES, "--%d %d %s", seed, i, name);
        files[i] = (StoreFile){text_of(paths[i]), {sources[i], BYTES}};
    }
    StoreTemplate t = {.name = text_of(name), .files = files, .file_count = FILES};
    return save_as(f, guild, &t, -1, status);
}

static void test_bytes_are_bounded(void **state)
{
    Fixture *f = *state;
    assert_int_equal(save_source(f, 1, "small", "return 1"), 1);
    assert_int_equal(save_source(f, 1, "small", "return 2"), 2);
    for (int i = 1; i <= 10; i++)
        assert_int_equal(save_large(f, 1, "a", i, STORE_OK), i);
    assert_true(number(f, "SELECT bytes FROM template_guilds") <= STORE_TEMPLATES_BYTES_MAX);
    StoreRequest *request = ask(f, STORE_VERSIONS, 1, "a");
    expect(f, request, STORE_OK);
    assert_int_equal(request->template_count, 7); /* of eight there is not room for the rows */
    assert_int_equal(request->templates[6].version, 4);
    store_request_free(request);
    request = ask(f, STORE_VERSIONS, 1, "small"); /* the older of it went, too */
    expect(f, request, STORE_OK);
    assert_int_equal(request->template_count, 1);
    store_request_free(request);

    static const char *const names[] = {"b", "c", "d", "e", "f", "g"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(names); i++)
        assert_int_equal(save_large(f, 1, names[i], 1, STORE_OK), 1);
    assert_int_equal(number(f, "SELECT count(*) FROM template_versions"), 8);
    save_large(f, 1, "h", 1, STORE_TOO_MANY); /* all that is left is current */
    assert_int_equal(number(f, "SELECT count(*) FROM template_versions"), 8);
    request = ask(f, STORE_GET, 1, "h");
    expect(f, request, STORE_NOT_FOUND);
    store_request_free(request);
    assert_int_equal(save_large(f, 1, "g", 2, STORE_OK), 2); /* in the place of its first */
    assert_int_equal(save_large(f, 2, "h", 1, STORE_OK), 1);
}

static void test_counts_are_bounded(void **state)
{
    Fixture *f = *state;
    char name[32];
    for (int i = 0; i < STORE_TEMPLATES_MAX; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        assert_int_equal(save_source(f, 1, name, "return 1"), 1);
    }
    StoreFile file;
    StoreTemplate t = with_source("more", &file, "return 1");
    save_as(f, 1, &t, -1, STORE_TOO_MANY);
    assert_int_equal(save_source(f, 1, "t5", "return 2"), 2);
    delete_name(f, 1, "t7");
    assert_int_equal(save_as(f, 1, &t, -1, STORE_OK), 1);
    for (int i = 0; i < STORE_TEMPLATES_MAX + 10; i++) { /* every guild's have no such bound */
        snprintf(name, sizeof(name), "t%d", i);
        assert_int_equal(save_source(f, 0, name, "return 1"), 1);
    }
    StoreRequest *request = ask(f, STORE_LOAD, 0, NULL);
    expect(f, request, STORE_OK);
    assert_int_equal(request->template_count, STORE_TEMPLATES_MAX + 10);
    for (int i = 1; i < request->template_count; i++)
        assert_true(strcmp(request->templates[i - 1].name.data, request->templates[i].name.data) <
                    0);
    store_request_free(request);
}

static void test_invalid(void **state)
{
    Fixture *f = *state;
    StoreFile files[2];
    static const char *const names[] = {
        NULL,  "",         "a b",
        "a/b", "\xC3\xA9", "12345678901234567890123456789012345678901234567890123456789012345"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(names); i++) {
        StoreTemplate t = with_source(names[i], files, "return 1");
        save_as(f, 1, &t, -1, STORE_INVALID);
    }
    StoreTemplate t = with_source("a", files, "return 1");
    t.file_count = 0;
    save_as(f, 1, &t, -1, STORE_INVALID);
    files[1] = files[0];
    t.file_count = 2;
    save_as(f, 1, &t, -1, STORE_INVALID); /* twice the same path */
    files[1].path = text_of("");
    save_as(f, 1, &t, -1, STORE_INVALID);
    t.file_count = 1;
    Text label = {"\xFF", 1};
    t.events = &label;
    t.event_count = 1;
    save_as(f, 1, &t, -1, STORE_INVALID);
    label = text_of("");
    save_as(f, 1, &t, -1, STORE_INVALID);
    assert_int_equal(number(f, "SELECT count(*) FROM template_versions"), 0);
    /* What fails late leaves nothing of what it did before. */
    assert_int_equal(number(f, "SELECT count(*) FROM template_contents"), 0);
}

/* A list that somebody spoilt in the file is no list, and no crash. */
static void test_damaged_labels(void **state)
{
    Fixture *f = *state;
    save_source(f, 1, "a", "return 1");
    static const char *const spoilt[] = {"", "{}", "[1]", "[\"a\"", "[\"a\"] x"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(spoilt); i++) {
        char sql[128];
        snprintf(sql, sizeof(sql), "UPDATE template_versions SET events = '%s' RETURNING 1",
                 spoilt[i]);
        assert_int_equal(number(f, sql), 1);
        StoreRequest *request = ask(f, STORE_LOAD, 1, NULL);
        expect(f, request, STORE_CORRUPT);
        assert_int_equal(request->template_count, 0);
        store_request_free(request);
    }
}

/* What does not add up is said, each thing in a line. */
static void test_check_finds(void **state)
{
    Fixture *f = *state;
    static const struct {
        const char *spoil, *mend, *said;
    } cases[] = {
        {"UPDATE template_guilds SET bytes = bytes + 1 RETURNING 1",
         "UPDATE template_guilds SET bytes = bytes - 1 RETURNING 1",
         "guild 18446744073709551611: its templates take "},
        {"UPDATE templates SET version = 9 RETURNING 1",
         "UPDATE templates SET version = 2 RETURNING 1", "template a has no version 9"},
        {"UPDATE templates SET last_version = 1 RETURNING 1",
         "UPDATE templates SET last_version = 2 RETURNING 1", "version 2 of a is above"},
        {"UPDATE template_files SET content_id = content_id + 100 RETURNING 1",
         "UPDATE template_files SET content_id = content_id - 100 RETURNING 1",
         "init.luau of version 1 of a has no content"},
        {"UPDATE template_files SET version_id = version_id + 100 RETURNING 1",
         "UPDATE template_files SET version_id = version_id - 100 RETURNING 1",
         "file init.luau belongs to no version"},
        {"UPDATE template_versions SET source_bytes = 7 WHERE version = 1 RETURNING 1",
         "UPDATE template_versions SET source_bytes = 8 WHERE version = 1 RETURNING 1",
         "version 1 of a takes 8 bytes, and 7 are noted"},
    };
    save_source(f, GUILD, "a", "return 1");
    save_source(f, GUILD, "a", "return 2");
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++) {
        Strbuf report = STRBUF_INIT;
        assert_int_equal(number(f, cases[i].spoil), 1);
        assert_false(store_check(f->store, &report));
        if (!strstr(strbuf_cstr(&report), cases[i].said))
            fail_msg("%s: %s", cases[i].spoil, strbuf_cstr(&report));
        assert_int_equal(number(f, cases[i].mend), 1);
        strbuf_clear(&report);
        assert_true(store_check(f->store, &report));
        strbuf_free(&report);
    }
}

/* ---- Schedules -------------------------------------------------------------------------------
 */

static StoreRequest *schedule(Fixture *f, uint64_t guild, const char *name, int64_t due_ms,
                              int64_t every_ms, StoreStatus status)
{
    StoreSchedule wanted = {.name = text_of(name), .due_ms = due_ms, .every_ms = every_ms};
    StoreRequest *request = ask(f, STORE_SCHEDULE_NEW, guild, NULL);
    request->schedule = &wanted;
    expect(f, request, status);
    request->schedule = NULL;
    return request;
}

static int64_t new_schedule(Fixture *f, uint64_t guild, const char *name, int64_t due_ms,
                            int64_t every_ms)
{
    StoreRequest *request = schedule(f, guild, name, due_ms, every_ms, STORE_OK);
    assert_int_equal(request->schedule_count, 1);
    int64_t id = request->schedules[0].id;
    store_request_free(request);
    return id;
}

static void test_schedules(void **state)
{
    Fixture *f = *state;
    int64_t once = new_schedule(f, GUILD, "once", -5, 0);
    int64_t often = new_schedule(f, GUILD, "often", INT64_MAX, 60000);
    assert_true(once > 0 && often > once);
    close_store(f);
    open_store(f);
    StoreRequest *request = ask(f, STORE_SCHEDULE_GET, GUILD, NULL);
    request->id = often;
    expect(f, request, STORE_OK);
    assert_text(request->schedules[0].name, "often");
    assert_true(request->schedules[0].due_ms == INT64_MAX);
    assert_int_equal(request->schedules[0].every_ms, 60000);
    assert_int_equal(request->schedules[0].attempts, 0);
    assert_false(request->schedules[0].has_failed);
    assert_true(request->schedules[0].created_ms >= 1000);
    request->guild_id = 7; /* not that one's */
    expect(f, request, STORE_NOT_FOUND);
    store_request_free(request);

    request = ask(f, STORE_SCHEDULES, GUILD, NULL);
    request->count_max = 1;
    expect(f, request, STORE_OK);
    assert_int_equal(request->schedule_count, 1);
    assert_int_equal(request->schedules[0].id, once);
    assert_int_equal(request->next_id, once);
    request->after_id = request->next_id;
    expect(f, request, STORE_OK);
    assert_int_equal(request->schedule_count, 1);
    assert_int_equal(request->schedules[0].id, often);
    assert_int_equal(request->next_id, 0);
    store_request_free(request);

    request = ask(f, STORE_SCHEDULE_DELETE, 7, NULL);
    request->id = often;
    expect(f, request, STORE_NOT_FOUND);
    request->guild_id = GUILD;
    expect(f, request, STORE_OK);
    expect(f, request, STORE_NOT_FOUND);
    store_request_free(request);
    assert_true(new_schedule(f, GUILD, "next", 1, 0) > often); /* ids are never used again */
    store_request_free(schedule(f, GUILD, "", 1, 0, STORE_INVALID));
    store_request_free(schedule(f, GUILD, "x", STORE_NO_TIME, 0, STORE_INVALID));
    store_request_free(schedule(f, GUILD, "x", 1, -1, STORE_INVALID));
}

static void test_schedules_are_bounded(void **state)
{
    Fixture *f = *state;
    for (int i = 0; i < STORE_SCHEDULES_MAX; i++)
        new_schedule(f, 1, "s", 1000000 + i, 0);
    store_request_free(schedule(f, 1, "one more", 5, 0, STORE_TOO_MANY));
    new_schedule(f, 2, "another guild's", 5, 0);
    /* What is over makes room. */
    assert_int_equal(number(f, "UPDATE schedules SET due_ms = NULL, at_ms = NULL"
                               " WHERE due_ms = 1000007 RETURNING 1"),
                     1);
    new_schedule(f, 1, "one more", 5, 0);
    store_request_free(schedule(f, 1, "and another", 5, 0, STORE_TOO_MANY));
    assert_int_equal(number(f, "SELECT count(*) FROM schedules WHERE guild_id = 1"),
                     STORE_SCHEDULES_MAX);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_comes_back_whole),   STORE_TEST(test_versions),
        STORE_TEST(test_or_common),          STORE_TEST(test_numbers_stay),
        STORE_TEST(test_names_are_bounded),  STORE_TEST(test_expected_versions),
        STORE_TEST(test_nothing_new),        STORE_TEST(test_shared_files),
        STORE_TEST(test_old_versions_go),    STORE_TEST(test_bytes_are_bounded),
        STORE_TEST(test_counts_are_bounded), STORE_TEST(test_invalid),
        STORE_TEST(test_damaged_labels),     STORE_TEST(test_check_finds),
        STORE_TEST(test_schedules),          STORE_TEST(test_schedules_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
