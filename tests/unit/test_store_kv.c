/* Key-value data in the SQLite store: which record is meant, what goes in comes out, limits, lists
 * that are all or nothing, pages. */
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

static int open_small_store(void **state)
{
    (void)state;
    kv_open(&kv, 5, 100);
    return 0;
}

static int close_store(void **state)
{
    (void)state;
    kv_close(&kv);
    return 0;
}

/* ---- Identity ---- */

static void test_records_do_not_get_mixed_up(void **state)
{
    (void)state;
    /* Each pair of a key and scopes is a record of its own, whatever is in them. */
    static const char *const PAIRS[][2] = {
        {"b", "a:"},          {":b", "a"},
        {"b", "a"},           {"ab", "a"},
        {"b", "1:a,"},        {"b", "a,1:b"},
        {"b", "a|b"},         {"b", "a,b"},
        {"b", "ab"},          {"b", "1:a,1:b,"},
        {"b", "A"},           {"B", "a"},
        {"b ", "a"},          {" b", "a"},
        {"b", "a "},          {"b\t", "a"},
        {"caf\xc3\xa9", "a"}, {"cafe\xcc\x81", "a"},
        {"b", "caf\xc3\xa9"}, {"b", "cafe\xcc\x81"},
        {"%", "a"},           {"_", "a"},
        {"\\", "a"},          {"'", "a"},
        {"\"", "a"},          {"b", "'"},
        {"null", "a"},        {"0", "a"},
        {"00", "a"},          {"0.0", "a"},
        {"b", "0"},           {"b", "2:ab,"},
    };
    enum { COUNT = sizeof PAIRS / sizeof PAIRS[0] };
    int64_t ids[COUNT];
    char value[32];
    for (int i = 0; i < COUNT; i++) {
        snprintf(value, sizeof value, "%d", i);
        ids[i] = kv_set(&kv, PAIRS[i][0], PAIRS[i][1], value);
        for (int j = 0; j < i; j++)
            assert_true(ids[i] > ids[j]);
    }
    for (int i = 0; i < COUNT; i++) {
        StoreRequest *request = kv_get(&kv, PAIRS[i][0], PAIRS[i][1]);
        const StoreRecord *record = &request->ops[0].record;
        snprintf(value, sizeof value, "%d", i);
        assert_int_equal(record->id, ids[i]);
        kv_assert_text(record->key, PAIRS[i][0]);
        kv_assert_text(record->value, value);
        if (strchr(PAIRS[i][1], '|') == NULL) {
            assert_int_equal(record->scope_count, 1);
            kv_assert_text(record->scopes[0], PAIRS[i][1]);
        }
        store_request_free(request);
    }
}

static void test_a_set_of_scopes_has_no_order(void **state)
{
    (void)state;
    int64_t id = kv_set(&kv, "k", "b|a|ab|a|b", "1");
    assert_int_equal(kv_set(&kv, "k", "ab|b|a", "2"), id);
    StoreRequest *request = kv_get(&kv, "k", "a|ab|b|b");
    const StoreRecord *record = &request->ops[0].record;
    assert_int_equal(record->id, id);
    assert_int_equal(record->scope_count, 3);
    kv_assert_text(record->scopes[0], "a");
    kv_assert_text(record->scopes[1], "ab");
    kv_assert_text(record->scopes[2], "b");
    kv_assert_text(record->value, "2");
    store_request_free(request);
}

static void test_exact_first_then_the_oldest(void **state)
{
    (void)state;
    int64_t abc = kv_set(&kv, "k", "a|b|c", "1");
    int64_t ab = kv_set(&kv, "k", "a|b", "2");
    int64_t bd = kv_set(&kv, "k", "b|d", "3");
    kv_set(&kv, "other", "a|b|c|d|e", "4");
    assert_int_equal(kv_id(&kv, "k", "a"), abc);
    assert_int_equal(kv_id(&kv, "k", "b"), abc);
    assert_int_equal(kv_id(&kv, "k", "a|b"), ab);
    assert_int_equal(kv_id(&kv, "k", "c|a"), abc);
    assert_int_equal(kv_id(&kv, "k", "d"), bd);
    assert_int_equal(kv_id(&kv, "k", "c|d"), 0);
    assert_int_equal(kv_id(&kv, "k", "e"), 0);
    assert_int_equal(kv_id(&kv, "k", "a|b|c|d"), 0);
    int64_t a = kv_set(&kv, "k", "a", "5"); /* not a change of the record that `a` matches */
    assert_true(a > bd);
    assert_int_equal(kv_id(&kv, "k", "a"), a);
    kv_assert_value(&kv, "k", "a|b|c", "1");

    StoreRequest *request = kv_request(STORE_KV);
    kv_op(request, STORE_KV_DELETE, "k", "b");
    kv_op(request, STORE_KV_EXISTS, "k", "b");
    kv_op(request, STORE_KV_DELETE, "k", "z");
    kv_run(&kv, request, STORE_OK);
    assert_int_equal(request->ops[0].record.id, abc);
    assert_null(request->ops[0].record.value.data);
    assert_int_equal(request->ops[1].record.id, ab);
    assert_null(request->ops[1].record.value.data);
    assert_int_equal(request->ops[2].record.id, 0);
    assert_false(request->ops[2].existed);
    store_request_free(request);
    assert_true(kv_set(&kv, "k", "a|b|c", "1") > a); /* no id comes back */
}

static void test_guilds_are_apart(void **state)
{
    (void)state;
    static const uint64_t GUILDS[] = {1, 2, UINT64_C(1) << 63, UINT64_MAX};
    int64_t ids[4];
    for (int i = 0; i < 4; i++) {
        StoreRequest *request = kv_request(STORE_KV);
        request->guild_id = GUILDS[i];
        kv_op(request, STORE_KV_GET, "k", "s");
        kv_op(request, STORE_KV_SET, "k", "s")->resume = STORE_SET;
        kv_run(&kv, request, STORE_OK);
        assert_false(request->ops[0].existed);
        assert_false(request->ops[1].existed);
        ids[i] = request->ops[1].record.id;
        store_request_free(request);
    }
    for (StoreKvKind kind = STORE_KV_GET; kind <= STORE_KV_SETEXPIRY; kind++) {
        StoreRequest *request = kv_request(STORE_KV);
        request->guild_id = GUILDS[1];
        StoreKvOp *op = kv_op_id(request, kind, ids[2]);
        op->value = kv_text("2");
        op->expires = STORE_SET;
        kv_run(&kv, request, kind == STORE_KV_SET ? STORE_NOT_FOUND : STORE_OK);
        assert_int_equal(request->ops[0].record.id, 0);
        store_request_free(request);
    }
    uint64_t found[4];
    int64_t after = 0;
    for (int i = 0; i < 4; i++) { /* one a page */
        StoreRequest *request = kv_request(STORE_RESUMERS);
        request->after_id = after;
        request->count_max = 1;
        kv_run(&kv, request, STORE_OK);
        assert_int_equal(request->guild_count, 1);
        found[i] = request->guild_ids[0];
        after = request->next_id;
        assert_int_equal(after, i < 3 ? (int64_t)found[i] : 0);
        store_request_free(request);
    }
    assert_memory_equal(found, GUILDS, sizeof found);
}

/* ---- What goes in comes out, or is refused ---- */

static void test_records_keep_their_times(void **state)
{
    (void)state;
    StoreRequest *request = kv_request(STORE_KV);
    StoreKvOp *op = kv_op(request, STORE_KV_SET, "k", "s");
    op->expires = STORE_SET;
    op->expires_ms = 5000000;
    op->resume = STORE_SET;
    kv_run(&kv, request, STORE_OK);
    int64_t id = request->ops[0].record.id;
    assert_false(request->ops[0].existed);
    store_request_free(request);

    kv.now_ms += 500;
    assert_int_equal(kv_set(&kv, "k", "s", "{\"a\":1}"), id); /* KEEP */
    request = kv_get(&kv, "k", "s");
    const StoreRecord *record = &request->ops[0].record;
    assert_int_equal(record->created_ms, 1000000);
    assert_int_equal(record->updated_ms, 1000500);
    assert_int_equal(record->expires_ms, 5000000);
    assert_true(record->resume);
    kv_assert_text(record->value, "{\"a\":1}");
    store_request_free(request);

    request = kv_request(STORE_KV);
    kv_op(request, STORE_KV_SETEXPIRY, "k", "s")->expires = STORE_CLEAR;
    op = kv_op_id(request, STORE_KV_SET, id);
    op->value = kv_text("3");
    op->resume = STORE_CLEAR;
    kv_op_id(request, STORE_KV_GET, id);
    kv_run(&kv, request, STORE_OK);
    assert_int_equal(request->ops[0].record.expires_ms, 5000000); /* before */
    assert_int_equal(request->ops[1].record.expires_ms, STORE_NO_TIME);
    assert_true(request->ops[1].record.resume);
    assert_true(request->ops[1].existed);
    assert_false(request->ops[2].record.resume);
    kv_assert_text(request->ops[2].record.value, "3");
    store_request_free(request);
}

typedef struct Bad {
    Text key, scope, value;
    const char *message;
} Bad;

static void test_what_is_refused(void **state)
{
    (void)state;
    static char large[STORE_VALUE_MAX + 1];
    memset(large, 'x', sizeof large);
    const Text k = {"k", 1};
    const Bad bad[] = {
        {{"", 0}, k, k, "the key must be 1 to 512 bytes long, not 0"},
        {{NULL, 0}, k, k, "the key must be 1 to 512 bytes long, not 0"},
        {{large, 513}, k, k, "the key must be 1 to 512 bytes long, not 513"},
        {{large, 1 << 18}, k, k, "the key must be 1 to 512 bytes long, not 262144"},
        {{"a\0b", 3}, k, k, "the key must not contain a NUL (at byte 2)"},
        {{"ab\xff", 3}, k, k, "the key is not valid UTF-8 (at byte 3)"},
        {{"\xed\xa0\x80", 3}, k, k, "the key is not valid UTF-8 (at byte 1)"},
        {k, {"", 0}, k, "a scope must be 1 to 64 bytes long, not 0"},
        {k, {large, 65}, k, "a scope must be 1 to 64 bytes long, not 65"},
        {k, {"\0", 1}, k, "a scope must not contain a NUL (at byte 1)"},
        {k, {"\x80", 1}, k, "a scope is not valid UTF-8 (at byte 1)"},
        {k, k, {NULL, 0}, "the value must be 1 to 262144 bytes long, not 0"},
        {k, k, {large, sizeof large}, "the value must be 1 to 262144 bytes long, not 262145"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (StoreKvKind kind = STORE_KV_GET; kind <= STORE_KV_SETEXPIRY; kind++) {
            if (kind != STORE_KV_SET && bad[i].value.data != k.data)
                continue;
            StoreRequest *request = kv_request(STORE_KV);
            StoreKvOp *op = kv_op_id(request, kind, 0);
            op->which = (StoreSelector){0, bad[i].key, &bad[i].scope, 1};
            op->value = bad[i].value;
            op->expires = STORE_CLEAR;
            kv_run(&kv, request, STORE_INVALID);
            kv_assert_text(request->message, bad[i].message);
            store_request_free(request);
        }
    StoreRequest *request = kv_request(STORE_KV);
    kv_op(request, STORE_KV_GET, "k", "");
    kv_assert_text(kv_run(&kv, request, STORE_INVALID)->message, "at least one scope is needed");
    store_request_free(request);
    request = kv_request(STORE_KV);
    kv_op(request, STORE_KV_GET, "k",
          "0|1|2|3|4|5|6|7|8|9|a|b|c|d|e|f|g|h|i|j|k|l|m|n|o|p|q|r|s|t|u|v|w");
    kv_assert_text(kv_run(&kv, request, STORE_INVALID)->message,
                   "at most 32 scopes can be given, not 33");
    store_request_free(request);
    request = kv_request(STORE_KV);
    for (int i = 0; i <= STORE_ATOMIC_MAX; i++)
        kv_op(request, STORE_KV_SET, "k", "s");
    kv_run(&kv, request, STORE_INVALID);
    store_request_free(request);
    assert_int_equal(kv_number(&kv, "SELECT count(*) FROM kv"), 0);
}

static void test_the_largest_that_fit(void **state)
{
    (void)state;
    static char large[STORE_VALUE_MAX];
    memset(large, '7', sizeof large);
    char scopes[STORE_SCOPES_MAX * (STORE_SCOPE_MAX + 1)];
    char key[STORE_KEY_MAX + 1];
    memset(key, 'k', STORE_KEY_MAX);
    key[STORE_KEY_MAX] = '\0';
    memset(scopes, 's', sizeof scopes);
    for (int i = 0; i < STORE_SCOPES_MAX; i++) {
        scopes[i * (STORE_SCOPE_MAX + 1)] = (char)('A' + i);
        scopes[i * (STORE_SCOPE_MAX + 1) + STORE_SCOPE_MAX] = i + 1 < STORE_SCOPES_MAX ? '|' : '\0';
    }
    scopes[('\\' - 'A') * (STORE_SCOPE_MAX + 1)] = 'z';
    StoreRequest *request = kv_request(STORE_KV);
    kv_op(request, STORE_KV_SET, key, scopes)->value = (Text){large, sizeof large};
    kv_op(request, STORE_KV_GET, key, scopes);
    kv_run(&kv, request, STORE_OK);
    const StoreRecord *record = &request->ops[1].record;
    assert_int_equal(record->scope_count, STORE_SCOPES_MAX);
    for (int i = 0; i < record->scope_count; i++)
        assert_int_equal(record->scopes[i].length, STORE_SCOPE_MAX);
    assert_int_equal(record->value.length, sizeof large);
    assert_memory_equal(record->value.data, large, sizeof large);
    store_request_free(request);
    assert_int_equal(kv_number(&kv, "SELECT bytes FROM kv_usage"),
                     STORE_VALUE_MAX + STORE_SCOPES_MAX * (STORE_SCOPE_MAX + STORE_KEY_MAX));
}

/* ---- Limits, and all or nothing ---- */

static void test_limits_of_a_guild(void **state)
{
    (void)state;
    char key[2] = "a";
    for (; key[0] < 'f'; key[0]++)
        kv_set(&kv, key, "s", "1"); /* 3 bytes each */
    StoreRequest *request = kv_request(STORE_KV);
    kv_op(request, STORE_KV_SET, "g", "s");
    kv_run(&kv, request, STORE_TOO_MANY);
    kv_assert_text(request->message, "the guild's data is limited to 5 records");
    store_request_free(request);

    char value[128];
    memset(value, '1', sizeof value);
    request = kv_request(STORE_KV); /* what was deleted makes room */
    kv_op(request, STORE_KV_DELETE, "a", "s");
    kv_op(request, STORE_KV_SET, "g", "s")->value = (Text){value, 86};
    kv_run(&kv, request, STORE_OK);
    store_request_free(request);
    assert_int_equal(kv_number(&kv, "SELECT bytes FROM kv_usage"), 100);
    request = kv_request(STORE_KV);
    kv_op(request, STORE_KV_SET, "b", "s")->value = kv_text("10");
    kv_run(&kv, request, STORE_TOO_MANY);
    kv_assert_text(request->message, "the guild's data is limited to 100 bytes");
    store_request_free(request);
    kv_assert_value(&kv, "b", "s", "1");
    kv_set(&kv, "b", "s", "2"); /* no larger than it was */

    /* A limit that is lower than what there is: what does not grow goes on. */
    kv.options.bytes_max = 50;
    kv.options.records_max = 2;
    kv_reopen(&kv);
    kv_set(&kv, "b", "s", "3");
    request = kv_request(STORE_KV);
    kv_op(request, STORE_KV_SET, "g", "s")->value = (Text){value, 60};
    kv_run(&kv, request, STORE_OK);
    store_request_free(request);
    request = kv_request(STORE_KV); /* another guild has limits of its own */
    request->guild_id = 7;
    kv_op(request, STORE_KV_SET, "g", "s");
    kv_run(&kv, request, STORE_OK);
    store_request_free(request);
}

static void test_lists_are_all_or_nothing(void **state)
{
    (void)state;
    int64_t id = kv_set(&kv, "k", "s", "1");
    StoreRequest *request = kv_request(STORE_KV);
    kv_op(request, STORE_KV_SET, "new", "s");
    kv_op(request, STORE_KV_DELETE, "k", "s");
    StoreKvOp *op = kv_op_id(request, STORE_KV_SET, 999);
    op->value = kv_text("1");
    kv_op(request, STORE_KV_SET, "newer", "s");
    kv_run(&kv, request, STORE_NOT_FOUND);
    kv_assert_text(request->message, "operation 3: there is no record with the id 999");
    for (int i = 0; i < request->op_count; i++)
        assert_int_equal(request->ops[i].record.id, 0);
    store_request_free(request);
    assert_int_equal(kv_id(&kv, "k", "s"), id);
    assert_int_equal(kv_id(&kv, "new", "s"), 0);
    assert_int_equal(kv_number(&kv, "SELECT records FROM kv_usage"), 1);

    request = kv_request(STORE_KV); /* each sees what those before it did */
    kv_op(request, STORE_KV_SET, "new", "s")->value = kv_text("7");
    kv_op(request, STORE_KV_GET, "new", "s");
    kv_op(request, STORE_KV_DELETE, "new", "s");
    kv_op(request, STORE_KV_GET, "new", "s");
    kv_op(request, STORE_KV_SET, "new", "s")->value = kv_text("8");
    kv_run(&kv, request, STORE_OK);
    kv_assert_text(request->ops[1].record.value, "7");
    assert_false(request->ops[3].existed);
    assert_true(request->ops[4].record.id > request->ops[0].record.id);
    store_request_free(request);

    request = kv_request(STORE_KV); /* limits hold after each of them, and undo them all */
    for (int i = 0; i < 5; i++) {
        char key[16];
        snprintf(key, sizeof key, "l%d", i);
        kv_op(request, STORE_KV_SET, key, "s");
    }
    kv_run(&kv, request, STORE_TOO_MANY);
    kv_assert_text(request->message, "operation 4: the guild's data is limited to 5 records");
    store_request_free(request);
    assert_int_equal(kv_number(&kv, "SELECT count(*) FROM kv_scope"), 2);
}

/* Two scopes whose records take turns and never meet: the search is given up, not gone through. */
static void test_long_searches_are_given_up(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        StoreRequest *request = kv_request(STORE_KV);
        for (int j = 0; j < 50; j++) {
            char scopes[32];
            snprintf(scopes, sizeof scopes, "%s|%d-%d", j % 2 ? "odd" : "even", i, j);
            kv_op(request, STORE_KV_SET, "k", scopes);
        }
        kv_run(&kv, request, STORE_OK);
        store_request_free(request);
    }
    StoreRequest *request = kv_request(STORE_KV);
    kv_op(request, STORE_KV_DELETE, "k", "odd|even");
    kv_run(&kv, request, STORE_TOO_MANY);
    store_request_free(request);
    assert_true(kv_id(&kv, "k", "odd") > 0);
    assert_true(kv_id(&kv, "k", "99-3|odd") > 0);
    assert_int_equal(kv_id(&kv, "k", "99-3|even"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_records_do_not_get_mixed_up, open_store, close_store),
        cmocka_unit_test_setup_teardown(test_a_set_of_scopes_has_no_order, open_store, close_store),
        cmocka_unit_test_setup_teardown(test_exact_first_then_the_oldest, open_store, close_store),
        cmocka_unit_test_setup_teardown(test_guilds_are_apart, open_store, close_store),
        cmocka_unit_test_setup_teardown(test_records_keep_their_times, open_store, close_store),
        cmocka_unit_test_setup_teardown(test_what_is_refused, open_store, close_store),
        cmocka_unit_test_setup_teardown(test_the_largest_that_fit, open_store, close_store),
        cmocka_unit_test_setup_teardown(test_limits_of_a_guild, open_small_store, close_store),
        cmocka_unit_test_setup_teardown(test_lists_are_all_or_nothing, open_small_store,
                                        close_store),
        cmocka_unit_test_setup_teardown(test_long_searches_are_given_up, open_store, close_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
