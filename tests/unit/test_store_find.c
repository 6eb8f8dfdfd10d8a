/* Finding and listing key-value records: patterns, pages, and that no page does too much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv_support.h"

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

/* What all pages together gave. */
typedef struct Found {
    int count, pages;
    int64_t ids[25000];
} Found;

static StoreRequest *find_request(const char *pattern, const char *scopes)
{
    StoreRequest *request = kv_request(pattern ? STORE_KV_FIND : STORE_KV_KEYS);
    if (pattern)
        request->pattern = store_request_text(request, kv_text(pattern));
    request->scopes = kv_scopes(request, scopes, &request->scope_count);
    return request;
}

static int order(Text a_key, int64_t a_id, Text b_key, int64_t b_id)
{
    size_t common = a_key.length < b_key.length ? a_key.length : b_key.length;
    int keys = memcmp(a_key.data, b_key.data, common);
    if (keys == 0)
        keys = (a_key.length > b_key.length) - (a_key.length < b_key.length);
    return keys != 0 ? keys : (a_id > b_id) - (a_id < b_id);
}

/* pattern NULL: the keys. */
static Found *find_all(const char *pattern, const char *scopes, int count_max)
{
    static Found found;
    found.count = found.pages = 0;
    StoreRequest *last = NULL, *request = NULL;
    for (;;) {
        request = find_request(pattern, scopes);
        request->count_max = count_max;
        if (last != NULL)
            request->after = last->next;
        kv_run(&kv, request, STORE_OK);
        found.pages++;
        int page_max = count_max > 0 && count_max < STORE_PAGE_MAX ? count_max : STORE_PAGE_MAX;
        assert_true(request->record_count <= page_max);
        for (int i = 0; i < request->record_count; i++) {
            const StoreRecord *record = &request->records[i];
            if (i > 0)
                assert_true(order(record[-1].key, record[-1].id, record->key, record->id) < 0);
            assert_true((record->value.data != NULL) == (pattern != NULL));
            found.ids[found.count++] = record->id;
        }
        store_request_free(last);
        last = request;
        if (request->next.data == NULL)
            break;
    }
    store_request_free(last);
    return &found;
}

/* ---- Patterns ---- */

static size_t character(const char *p)
{
    unsigned char c = (unsigned char)*p;
    return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/* By the book, and slow. */
static bool matches(const char *p, const char *t)
{
    switch (*p) {
    case '\0': return *t == '\0';
    case '%': return matches(p + 1, t) || (*t != '\0' && matches(p, t + character(t)));
    case '_': return *t != '\0' && matches(p + 1, t + character(t));
    case '\\': p++; /* fall through */
    default: {
        size_t length = character(p);
        return strncmp(p, t, length) == 0 && matches(p + length, t + length);
    }
    }
}

static void put_random(char *out, const char *const *pieces, unsigned count, int length)
{
    *out = '\0';
    for (int i = 0; i < length; i++)
        strcat(out, pieces[(unsigned)rand() % count]);
}

static void test_patterns_as_a_naive_matcher_has_them(void **state)
{
    (void)state;
    static const char *const LETTERS[] = {
        "a", "b", "%", "_", "\\", "\xc3\xa9", "\xc3\xa8", "A", "\xf0\x9f\x8e\xb2"};
    static const char *const PARTS[] = {
        "a",        "b",          "%",   "%",    "_",
        "_",        "\\%",        "\\_", "\\\\", "\xc3\xa9",
        "\xc3\xa8", "\\\xc3\xa9", "A",   "\\a",  "\xf0\x9f\x8e\xb2"};
    enum { KEYS = 300, PATTERNS = 400 };
    static char keys[KEYS][64];
    int64_t ids[KEYS];
    srand(17);
    for (int i = 0; i < KEYS; i++) {
        put_random(keys[i], LETTERS, 9, 1 + rand() % 6);
        ids[i] = kv_set(&kv, keys[i], "s", "1");
    }
    int hits = 0;
    for (int i = 0; i < PATTERNS; i++) {
        char pattern[64];
        put_random(pattern, PARTS, 15, 1 + rand() % 6);
        const Found *found = find_all(pattern, "s", 0);
        hits += found->count;
        for (int k = 0; k < KEYS; k++) {
            bool there = false;
            for (int j = 0; j < found->count; j++)
                there |= found->ids[j] == ids[k];
            if (there != matches(pattern, keys[k]))
                fail_msg("pattern `%s`, key `%s`: %d", pattern, keys[k], there);
        }
    }
    assert_true(hits > 1000);
}

static void test_patterns_that_are_refused(void **state)
{
    (void)state;
    static char large[1025];
    memset(large, '%', sizeof large);
    const struct {
        Text pattern;
        const char *message;
    } bad[] = {
        {{NULL, 0}, "the pattern must be 1 to 1024 bytes long, not 0"},
        {{"", 0}, "the pattern must be 1 to 1024 bytes long, not 0"},
        {{large, 1025}, "the pattern must be 1 to 1024 bytes long, not 1025"},
        {{"a\\", 2}, "the pattern ends with a `\\` that has nothing after it"},
        {{"\\\\\\", 3}, "the pattern ends with a `\\` that has nothing after it"},
        {{"\xff%", 2}, "the pattern is not valid UTF-8 (at byte 1)"},
        {{"a\0%", 3}, "the pattern must not contain a NUL (at byte 2)"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        StoreRequest *request = find_request("", "s");
        request->pattern = bad[i].pattern;
        kv_assert_text(kv_run(&kv, request, STORE_INVALID)->message, bad[i].message);
        store_request_free(request);
    }
    static const char *const PLACES[] = {
        "", "x", ":", "1", "1:", "-1:k", "1:\xff", " 1:k", "12345678901234567890:k"};
    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
        StoreRequest *request = find_request("%", "s");
        request->after = kv_text(PLACES[i]);
        kv_run(&kv, request, STORE_INVALID);
        store_request_free(request);
    }
    StoreRequest *request = find_request("%", "");
    kv_run(&kv, request, STORE_INVALID);
    store_request_free(request);
}

/* ---- Pages ---- */

static void set_many(int count, const char *key_format, const char *scopes_format)
{
    for (int i = 0; i < count;) {
        StoreRequest *request = kv_request(STORE_KV);
        for (; i < count && request->op_count < STORE_ATOMIC_MAX; i++) {
            char key[64], scopes[64];
            snprintf(key, sizeof key, key_format, i);
            snprintf(scopes, sizeof scopes, scopes_format, i % 10);
            kv_op(request, STORE_KV_SET, key, scopes);
        }
        kv_run(&kv, request, STORE_OK);
        store_request_free(request);
    }
}

static void test_thousands_page_by_page(void **state)
{
    (void)state;
    set_many(3000, "user:%04d:%%_\\", "users|g%d");
    set_many(200, "other:%d", "users");
    assert_int_equal(find_all("%", "users", 0)->count, 3200);
    Found *found = find_all("user:%", "users", 0);
    assert_int_equal(found->count, 3000);
    assert_int_equal(found->pages, 30);
    for (int i = 1; i < found->count; i++)
        assert_true(found->ids[i] > found->ids[i - 1]);
    found = find_all("user:____:\\%\\_\\\\", "g7|users", 7);
    assert_int_equal(found->count, 300);
    assert_int_equal(find_all("user:0_1_:%", "users", 0)->count, 100);
    assert_int_equal(find_all("%9:\\%%", "users", 33)->count, 300);
    assert_int_equal(find_all("user:0042:\\%\\_\\\\", "users", 0)->count, 1);
    assert_int_equal(find_all("USER:%", "users", 0)->count, 0);
    assert_int_equal(find_all("user:9%", "users", 0)->count, 0);
    assert_int_equal(find_all("%", "g3", 0)->count, 300);
    assert_int_equal(find_all("%", "g3|g4", 0)->count, 0);
    assert_int_equal(find_all(NULL, "users|g3", 13)->count, 300);
    assert_int_equal(find_all(NULL, "nobody", 0)->count, 0);
    /* One key, many sets of scopes: the place between two pages is within a key. */
    for (int i = 0; i < 250; i++) {
        char scopes[32];
        snprintf(scopes, sizeof scopes, "one|%d", i);
        kv_set(&kv, "same", scopes, "1");
    }
    found = find_all("same", "one", 40);
    assert_int_equal(found->count, 250);
    assert_int_equal(found->pages, 7);
}

static void test_pages_while_records_come_and_go(void **state)
{
    (void)state;
    set_many(100, "k%02d", "s|g%d");
    StoreRequest *first = find_request("k%", "s");
    first->count_max = 50;
    kv_run(&kv, first, STORE_OK);
    StoreRequest *change = kv_request(STORE_KV); /* the last one of the page, and the next */
    kv_op(change, STORE_KV_DELETE, "k49", "s");
    kv_op(change, STORE_KV_DELETE, "k50", "s");
    kv_op(change, STORE_KV_SET, "k00a", "s");
    kv_op(change, STORE_KV_SET, "k99a", "s");
    store_request_free(kv_run(&kv, change, STORE_OK));
    StoreRequest *second = find_request("k%", "s");
    second->after = first->next;
    kv_run(&kv, second, STORE_OK);
    assert_int_equal(second->record_count, 50);
    kv_assert_text(second->records[0].key, "k51");
    kv_assert_text(second->records[49].key, "k99a");
    store_request_free(first);
    store_request_free(second);
}

static void test_large_values_make_short_pages(void **state)
{
    (void)state;
    static char value[STORE_VALUE_MAX];
    memset(value, '1', sizeof value);
    for (int i = 0; i < 7; i++) {
        StoreRequest *request = kv_request(STORE_KV);
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        kv_op(request, STORE_KV_SET, key, "s")->value = (Text){value, sizeof value - (i < 4)};
        store_request_free(kv_run(&kv, request, STORE_OK));
    }
    Found *found = find_all("k%", "s", 0);
    assert_int_equal(found->count, 7);
    assert_int_equal(found->pages, 7); /* two are a few bytes too many */
    found = find_all(NULL, "s", 0);
    assert_int_equal(found->pages, 1);
}

/* A page looks at so many rows and no more, and at no row that the beginning rules out. */
static void test_a_page_ends_when_it_looked_at_enough(void **state)
{
    (void)state;
    set_many(7000, "k%05d", "s");
    kv_set(&kv, "z", "s", "1");
    StoreRequest *request = find_request("%no", "s");
    kv_run(&kv, request, STORE_OK);
    assert_int_equal(request->record_count, 0);
    kv_assert_text(request->next, "5000:k04999");
    store_request_free(request);
    Found *found = find_all("%z", "s", 0);
    assert_int_equal(found->count, 1);
    assert_int_equal(found->pages, 2);
    assert_int_equal(find_all("z%", "s", 0)->pages, 1);
    assert_int_equal(find_all("k06999", "s", 0)->count, 1);
    assert_int_equal(find_all("k0000_", "s", 0)->pages, 1);
}

static void test_a_page_ends_when_a_pattern_took_enough(void **state)
{
    (void)state;
    char key[STORE_KEY_MAX + 1], pattern[STORE_KEY_MAX];
    memset(key, 'a', STORE_KEY_MAX);
    key[STORE_KEY_MAX] = '\0';
    for (int i = 0; i < 200; i++) { /* each costs the product of the lengths, about */
        key[STORE_KEY_MAX - 2] = (char)('0' + i / 16);
        key[STORE_KEY_MAX - 1] = (char)('A' + i % 16);
        kv_set(&kv, key, "s", "1");
    }
    memset(pattern, 'a', 250);
    strcpy(pattern + 250, "b%");
    pattern[0] = '%';
    Found *found = find_all(pattern, "s", 0);
    assert_int_equal(found->count, 0);
    assert_true(found->pages > 12);
    assert_true(found->pages < 80);
    /* Nothing is exponential: this one would take until the end of the world. */
    for (int i = 0; i < 124; i++)
        memcpy(pattern + 2 * i, "%a", 2);
    strcpy(pattern + 248, "b");
    found = find_all(pattern, "s", 0);
    assert_int_equal(found->count, 0);
    assert_true(found->pages < 80);
}

/* ---- Scopes, and what resumes ---- */

static void test_scopes_in_use(void **state)
{
    (void)state;
    set_many(2000, "k%d", "all|g%d");
    StoreRequest *other = kv_request(STORE_KV);
    other->guild_id = 7;
    kv_op(other, STORE_KV_SET, "k", "elsewhere");
    store_request_free(kv_run(&kv, other, STORE_OK));
    StoreRequest *request = kv_run(&kv, kv_request(STORE_KV_SCOPES), STORE_OK);
    assert_int_equal(request->text_count, 11);
    kv_assert_text(request->texts[0], "all");
    kv_assert_text(request->texts[10], "g9");
    assert_null(request->next.data);
    store_request_free(request);
    request = kv_request(STORE_KV_SCOPES);
    request->count_max = 4;
    int total = 0, pages = 0;
    for (;; pages++) {
        kv_run(&kv, request, STORE_OK);
        total += request->text_count;
        if (request->next.data == NULL)
            break;
        Text next = request->next;
        request->after = next;
    }
    assert_int_equal(total, 11);
    assert_int_equal(pages, 2);
    store_request_free(request);
}

static void test_what_resumes(void **state)
{
    (void)state;
    int64_t expected[250];
    for (int i = 0; i < 500; i++) {
        StoreRequest *request = kv_request(STORE_KV);
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        kv_op(request, STORE_KV_SET, key, "s")->resume = i % 2 ? STORE_SET : STORE_KEEP;
        kv_run(&kv, request, STORE_OK);
        if (i % 2)
            expected[i / 2] = request->ops[0].record.id;
        store_request_free(request);
    }
    StoreRequest *request = kv_request(STORE_KV_RESUMES);
    int count = 0;
    do {
        request->after_id = request->next_id;
        kv_run(&kv, request, STORE_OK);
        for (int i = 0; i < request->record_count; i++) {
            assert_true(request->records[i].resume);
            assert_null(request->records[i].value.data);
            assert_int_equal(request->records[i].id, expected[count++]);
        }
    } while (request->next_id != 0);
    assert_int_equal(count, 250);
    store_request_free(request);
    request = kv_request(STORE_KV_RESUMES);
    request->guild_id = 7;
    kv_run(&kv, request, STORE_OK);
    assert_int_equal(request->record_count, 0);
    store_request_free(request);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_store, close_store)
    const struct CMUnitTest tests[] = {
        TEST(test_patterns_as_a_naive_matcher_has_them),
        TEST(test_patterns_that_are_refused),
        TEST(test_thousands_page_by_page),
        TEST(test_pages_while_records_come_and_go),
        TEST(test_large_values_make_short_pages),
        TEST(test_a_page_ends_when_it_looked_at_enough),
        TEST(test_a_page_ends_when_a_pattern_took_enough),
        TEST(test_scopes_in_use),
        TEST(test_what_resumes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
