/* Requests and answers as bytes: everything comes out as it went in; cut short it is refused, and
 * with bytes changed it is refused or costs no more memory than its length allows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "store/store.h"

#define T(literal)                                                                                 \
    (Text)                                                                                         \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
static const Text NONE = {0};

static void assert_text(Text got, Text expected)
{
    if (!expected.data) {
        assert_null(got.data);
        return;
    }
    assert_non_null(got.data);
    assert_int_equal(got.length, expected.length);
    assert_memory_equal(got.data, expected.data, expected.length);
    assert_int_equal(got.data[got.length], '\0');
}

static void assert_texts(const Text *got, int got_count, const Text *expected, int count)
{
    assert_int_equal(got_count, count);
    for (int i = 0; i < count; i++)
        assert_text(got[i], expected[i]);
}

/* ---- What goes over --------------------------------------------------------------------------
 */

static const Text SCOPES[] = {{"a", 1}, {"", 0}, {"\xC3\xA9 with\0nul", 11}};
static StoreKvOp OPS[] = {
    {.kind = STORE_KV_GET},
    {.kind = STORE_KV_SET,
     .which = {.key = {"key", 3}, .scopes = SCOPES, .scope_count = 3},
     .value = {"{\"a\":[1,2.5,null]}", 18},
     .expires = STORE_SET,
     .expires_ms = INT64_MAX,
     .resume = STORE_CLEAR},
    {.kind = STORE_KV_SETEXPIRY,
     .which = {.id = INT64_MIN, .key = {"", 0}},
     .expires = STORE_CLEAR,
     .expires_ms = STORE_NO_TIME},
    {.kind = STORE_KV_DELETE, .which = {.id = INT64_MAX}, .resume = STORE_SET, .expires_ms = -1},
};
static StoreFile FILES[] = {{{"init.luau", 9}, {"return 1\n\0\xFF", 11}},
                            {{"lib/empty.luau", 14}, {"", 0}}};
static Text EVENTS[] = {{"MESSAGE_CREATE", 14}, {"KeyExpiry[x]", 12}};
static Text CAPABILITIES[] = {{"kv:*", 4}};
static const StoreTemplate WHOLE = {.name = {"na.me", 5},
                                    .version = UINT32_MAX,
                                    .current = true,
                                    .description = {"", 0},
                                    .events = EVENTS,
                                    .event_count = 2,
                                    .capabilities = CAPABILITIES,
                                    .capability_count = 1,
                                    .files = FILES,
                                    .file_count = 2,
                                    .source_bytes = UINT64_MAX,
                                    .created_ms = -1,
                                    .updated_ms = INT64_MAX};

static StoreRequest *new_request(StoreOp op, uint64_t guild_id)
{
    StoreRequest *request = store_request_new(op, guild_id);
    assert_non_null(request);
    return request;
}

static StoreRequest *full_request(void)
{
    StoreRequest *request = new_request(STORE_SAVE, UINT64_MAX);
    request->ops = OPS;
    request->op_count = (int)BASE_ARRAY_COUNT(OPS);
    request->pattern = T("a%\\_");
    request->scopes = SCOPES;
    request->scope_count = 3;
    request->after = T("");
    request->after_id = -5;
    request->count_max = INT_MAX;
    request->name = T("name");
    request->version = UINT32_MAX;
    request->if_version = INT64_MIN;
    request->save = &WHOLE;
    return request;
}

static StoreRecord RECORDS[2];

/* Into a request with as many operations as OPS has. */
static void fill_answer(StoreRequest *request)
{
    static Text scopes[] = {{"s1", 2}, {"s2", 2}};
    static StoreTemplate templates[2];
    static Text texts[] = {{"x", 1}, {"", 0}};
    RECORDS[0] = (StoreRecord){.id = 77,
                               .key = T("k"),
                               .scopes = scopes,
                               .scope_count = 2,
                               .value = T("null"),
                               .created_ms = 1,
                               .updated_ms = -2,
                               .expires_ms = STORE_NO_TIME,
                               .resume = true,
                               .attempts = INT_MAX};
    RECORDS[1] = (StoreRecord){.id = INT64_MAX, .has_failed = true};
    templates[0] = WHOLE;
    templates[1] = (StoreTemplate){.name = T("bare"), .enabled = true};
    request->status = STORE_CONFLICT;
    request->message = T("another \"version\"");
    for (int i = 0; i < request->op_count; i++) {
        request->ops[i].record = RECORDS[i % 2];
        request->ops[i].existed = i % 2 == 0;
    }
    request->records = RECORDS;
    request->record_count = 2;
    request->texts = texts;
    request->text_count = 2;
    request->templates = templates;
    request->template_count = 2;
    request->next = T("page 2");
    request->next_id = -9;
}

static StoreRequest *with_ops(int count)
{
    StoreRequest *request = new_request(STORE_KV, 3);
    request->ops = store_request_alloc(request, (size_t)count * sizeof(StoreKvOp));
    assert_non_null(request->ops);
    request->op_count = count;
    return request;
}

/* ---- There and back --------------------------------------------------------------------------
 */

static void assert_template(const StoreTemplate *got, const StoreTemplate *expected)
{
    assert_text(got->name, expected->name);
    assert_int_equal(got->version, expected->version);
    assert_int_equal(got->current, expected->current);
    assert_int_equal(got->enabled, expected->enabled);
    assert_text(got->description, expected->description);
    assert_texts(got->events, got->event_count, expected->events, expected->event_count);
    assert_texts(got->capabilities, got->capability_count, expected->capabilities,
                 expected->capability_count);
    assert_int_equal(got->file_count, expected->file_count);
    for (int i = 0; i < got->file_count; i++) {
        assert_text(got->files[i].path, expected->files[i].path);
        assert_text(got->files[i].source, expected->files[i].source);
    }
    assert_true(got->source_bytes == expected->source_bytes);
    assert_true(got->created_ms == expected->created_ms);
    assert_true(got->updated_ms == expected->updated_ms);
}

static void test_request(void **state)
{
    (void)state;
    StoreRequest *sent = full_request();
    Strbuf bytes = STRBUF_INIT;
    store_put_request(&bytes, sent);
    assert_false(bytes.failed);
    StoreRequest *got = store_read_request(bytes.data, bytes.length);
    assert_non_null(got);
    memset(bytes.data, 0xAA, bytes.length); /* nothing of it is borrowed */
    assert_int_equal(got->op, STORE_SAVE);
    assert_true(got->guild_id == UINT64_MAX);
    assert_int_equal(got->op_count, sent->op_count);
    for (int i = 0; i < got->op_count; i++) {
        const StoreKvOp *a = &got->ops[i], *b = &sent->ops[i];
        assert_int_equal(a->kind, b->kind);
        assert_true(a->which.id == b->which.id);
        assert_text(a->which.key, b->which.key);
        assert_texts(a->which.scopes, a->which.scope_count, b->which.scopes, b->which.scope_count);
        assert_text(a->value, b->value);
        assert_int_equal(a->expires, b->expires);
        assert_true(a->expires_ms == b->expires_ms);
        assert_int_equal(a->resume, b->resume);
    }
    assert_text(got->pattern, sent->pattern);
    assert_texts(got->scopes, got->scope_count, sent->scopes, sent->scope_count);
    assert_text(got->after, sent->after);
    assert_true(got->after_id == -5);
    assert_int_equal(got->count_max, INT_MAX);
    assert_text(got->name, sent->name);
    assert_int_equal(got->version, UINT32_MAX);
    assert_true(got->if_version == INT64_MIN);
    assert_non_null(got->save);
    assert_template(got->save, &WHOLE);
    store_request_free(sent);
    store_request_free(got);
    strbuf_free(&bytes);
}

/* The least there can be: absent stays absent, and is not empty. */
static void test_empty_request(void **state)
{
    (void)state;
    StoreRequest *sent = new_request(STORE_KV, 0);
    Strbuf bytes = STRBUF_INIT;
    store_put_request(&bytes, sent);
    StoreRequest *got = store_read_request(bytes.data, bytes.length);
    assert_non_null(got);
    assert_null(got->ops);
    assert_null(got->scopes);
    assert_null(got->save);
    assert_text(got->name, NONE);
    assert_text(got->after, NONE);
    assert_true(got->if_version == -1);
    store_request_free(sent);
    store_request_free(got);
    strbuf_free(&bytes);
}

static void assert_record(const StoreRecord *got, const StoreRecord *expected)
{
    assert_true(got->id == expected->id);
    assert_text(got->key, expected->key);
    assert_texts(got->scopes, got->scope_count, expected->scopes, expected->scope_count);
    assert_text(got->value, expected->value);
    assert_true(got->created_ms == expected->created_ms);
    assert_true(got->updated_ms == expected->updated_ms);
    assert_true(got->expires_ms == expected->expires_ms);
    assert_int_equal(got->resume, expected->resume);
    assert_int_equal(got->attempts, expected->attempts);
    assert_int_equal(got->has_failed, expected->has_failed);
}

static void test_answer(void **state)
{
    (void)state;
    StoreRequest *sent = with_ops(4), *got = with_ops(4);
    fill_answer(sent);
    Strbuf bytes = STRBUF_INIT;
    store_put_answer(&bytes, sent);
    got->next = T("of another time");
    assert_true(store_read_answer(got, bytes.data, bytes.length));
    memset(bytes.data, 0xAA, bytes.length);
    assert_int_equal(got->status, STORE_CONFLICT);
    assert_text(got->message, sent->message);
    for (int i = 0; i < 4; i++) {
        assert_record(&got->ops[i].record, &RECORDS[i % 2]);
        assert_int_equal(got->ops[i].existed, i % 2 == 0);
    }
    assert_int_equal(got->record_count, 2);
    assert_record(&got->records[0], &RECORDS[0]);
    assert_record(&got->records[1], &RECORDS[1]);
    assert_texts(got->texts, got->text_count, sent->texts, 2);
    assert_int_equal(got->template_count, 2);
    assert_template(&got->templates[0], &sent->templates[0]);
    assert_template(&got->templates[1], &sent->templates[1]);
    assert_text(got->next, sent->next);
    assert_true(got->next_id == -9);
    store_request_free(sent);
    store_request_free(got);
    strbuf_free(&bytes);
}

/* ---- What is not believed --------------------------------------------------------------------
 */

/* A copy of just its size: a sanitizer sees a byte too far. */
static StoreRequest *read_exactly(const char *bytes, size_t length)
{
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    StoreRequest *request = store_read_request(copy, length);
    if (request)
        assert_true(request->bytes <= 8192 + 64 * length);
    free(copy);
    return request;
}

static bool answer_exactly(StoreRequest *request, const char *bytes, size_t length)
{
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    bool fine = store_read_answer(request, copy, length);
    free(copy);
    assert_true(request->bytes <= 16384 + 64 * length);
    if (!fine) {
        assert_int_equal(request->status, STORE_INTERNAL);
        assert_int_equal(request->record_count, 0);
        assert_int_equal(request->template_count, 0);
        assert_null(request->ops[0].record.key.data);
    }
    return fine;
}

static void test_truncated(void **state)
{
    (void)state;
    Strbuf bytes = STRBUF_INIT;
    StoreRequest *sent = full_request();
    store_put_request(&bytes, sent);
    for (size_t length = 0; length < bytes.length; length++)
        assert_null(read_exactly(bytes.data, length));
    strbuf_putc(&bytes, '\0'); /* or too long */
    assert_null(read_exactly(bytes.data, bytes.length));
    store_request_free(sent);

    strbuf_clear(&bytes);
    sent = with_ops(4);
    fill_answer(sent);
    store_put_answer(&bytes, sent);
    for (size_t length = 0; length < bytes.length; length++) {
        StoreRequest *got = with_ops(4);
        assert_false(answer_exactly(got, bytes.data, length));
        store_request_free(got);
    }
    strbuf_putc(&bytes, '\0');
    StoreRequest *got = with_ops(4);
    assert_false(answer_exactly(got, bytes.data, bytes.length));
    store_request_free(got);
    store_request_free(sent);
    strbuf_free(&bytes);
}

/* Every byte becomes every other one: whatever is not refused can be written again. */
static void test_changed(void **state)
{
    (void)state;
    Strbuf bytes = STRBUF_INIT, again = STRBUF_INIT;
    StoreRequest *sent = full_request();
    store_put_request(&bytes, sent);
    int refused = 0;
    for (size_t at = 0; at < bytes.length; at++) {
        char kept = bytes.data[at];
        for (int change = 1; change < 256; change++) {
            bytes.data[at] = (char)(kept ^ change);
            StoreRequest *got = read_exactly(bytes.data, bytes.length);
            refused += got == NULL;
            if (got) {
                strbuf_clear(&again);
                store_put_request(&again, got);
                assert_true(again.length <= bytes.length);
            }
            store_request_free(got);
        }
        bytes.data[at] = kept;
    }
    assert_true(refused > 0);
    store_request_free(sent);
    strbuf_clear(&bytes);
    sent = with_ops(4);
    fill_answer(sent);
    store_put_answer(&bytes, sent);
    for (size_t at = 0; at < bytes.length; at++) {
        char kept = bytes.data[at];
        for (int change = 1; change < 256; change += 2) {
            bytes.data[at] = (char)(kept ^ change);
            StoreRequest *got = with_ops(4);
            answer_exactly(got, bytes.data, bytes.length);
            store_request_free(got);
        }
        bytes.data[at] = kept;
    }
    store_request_free(sent);
    strbuf_free(&bytes);
    strbuf_free(&again);
}

static void refuse_request(StoreRequest *request, const char *why)
{
    Strbuf bytes = STRBUF_INIT;
    store_put_request(&bytes, request);
    if (read_exactly(bytes.data, bytes.length))
        fail_msg("taken: %s", why);
    strbuf_free(&bytes);
    store_request_free(request);
}

static void test_refused(void **state)
{
    (void)state;
    /* What templates may not ask for. */
    static const StoreOp forbidden[] = {
        STORE_KV_RESUMES,   STORE_RESUMERS,     STORE_LOAD,      STORE_DUE_NEXT,
        STORE_DUE_TAKE,     STORE_DUE_DONE,     STORE_DUE_RETRY, STORE_SCHEDULE_NEW,
        STORE_SCHEDULES,    STORE_SCHEDULE_GET, STORE_SYNC,      STORE_SCHEDULE_DELETE,
        (StoreOp)STORE_OPS, (StoreOp)INT_MAX};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(forbidden); i++)
        refuse_request(new_request(forbidden[i], 1), "an operation of the server's own");

    /* Values that are no JSON would stand in other messages as they are. */
    static const char *const values[] = {"", " ", "{", "nul", "1 2", "\"\xFF\"", "[1,]"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(values); i++) {
        StoreRequest *request = with_ops(1);
        request->ops[0].kind = STORE_KV_SET;
        request->ops[0].value = (Text){values[i], strlen(values[i])};
        refuse_request(request, values[i]);
    }
    StoreRequest *request = with_ops(1);
    request->ops[0].kind = (StoreKvKind)(STORE_KV_SETEXPIRY + 1);
    refuse_request(request, "a kind of operation that there is not");
    request = with_ops(1);
    request->ops[0].resume = (StoreChange)(STORE_SET + 1);
    refuse_request(request, "a change that there is not");
    request = new_request(STORE_KV_SCOPES, 1);
    request->count_max = -1;
    refuse_request(request, "a count below zero");
    StoreFile file = {.path = {"init.luau", 9}};
    StoreTemplate save = {.files = &file, .file_count = 1};
    request = new_request(STORE_SAVE, 1);
    request->save = &save;
    refuse_request(request, "a file without a source");
}

/* Lists that the message has no room for take no memory. */
static void test_lists_are_paid(void **state)
{
    (void)state;
    static const char *const counts[] = {"\x7F", "\xFF\x7F", "\xFF\xFF\xFF\xFF\x07",
                                         "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(counts); i++) {
        Strbuf bytes = STRBUF_INIT;
        strbuf_put(&bytes, "\0\1", 2); /* STORE_KV, guild 1 */
        strbuf_puts(&bytes, counts[i]);
        assert_null(read_exactly(bytes.data, bytes.length));
        StoreRequest *got = with_ops(1);
        size_t before = got->bytes;
        strbuf_clear(&bytes);
        strbuf_put(&bytes, "\0\0\1", 3); /* fine, no message, one operation: */
        strbuf_put(&bytes, "\0\0", 2);   /* its id and key */
        strbuf_puts(&bytes, counts[i]);  /* scopes */
        assert_false(answer_exactly(got, bytes.data, bytes.length));
        assert_true(got->bytes - before <= 4096);
        store_request_free(got);
        strbuf_free(&bytes);
    }
    /* An answer for another request. */
    StoreRequest *sent = with_ops(2), *got = with_ops(3);
    Strbuf bytes = STRBUF_INIT;
    store_put_answer(&bytes, sent);
    assert_false(answer_exactly(got, bytes.data, bytes.length));
    store_request_free(sent);
    store_request_free(got);
    strbuf_free(&bytes);
}

/* ---- A request's memory ----------------------------------------------------------------------
 */

static void test_memory(void **state)
{
    (void)state;
    StoreRequest *request = new_request(STORE_SAVE, 1);
    size_t total = 0;
    unsigned char *kept[200];
    for (size_t i = 0; i < BASE_ARRAY_COUNT(kept); i++) {
        size_t size = i % 7 == 0 ? 100000 + i : i * 3;
        kept[i] = store_request_alloc(request, size);
        assert_non_null(kept[i]);
        assert_int_equal((uintptr_t)kept[i] % 16, 0);
        for (size_t k = 0; k < size; k++)
            assert_int_equal(kept[i][k], 0);
        memset(kept[i], (int)i, size);
        total += size;
    }
    for (size_t i = 0; i < BASE_ARRAY_COUNT(kept); i++) {
        size_t size = i % 7 == 0 ? 100000 + i : i * 3;
        for (size_t k = 0; k < size; k++)
            assert_int_equal(kept[i][k], (unsigned char)i);
    }
    /* Large ones among small ones leave no holes. */
    assert_true(request->bytes >= total);
    assert_true(request->bytes <= total + (256 << 10));
    assert_null(store_request_alloc(request, SIZE_MAX));
    assert_null(store_request_alloc(request, SIZE_MAX / 2 - 100));
    assert_text(store_request_text(request, NONE), NONE);
    assert_text(store_request_text(request, T("")), T(""));
    Text *texts = store_request_texts(request, SCOPES, 3);
    assert_texts(texts, 3, SCOPES, 3);
    store_request_free(request);
    store_request_free(NULL);
}

static void test_fail(void **state)
{
    (void)state;
    StoreRequest *request = with_ops(4);
    fill_answer(request);
    char text[] = "the reason";
    store_request_fail(request, STORE_TOO_MANY, text);
    memset(text, 'x', sizeof(text));
    assert_int_equal(request->status, STORE_TOO_MANY);
    assert_text(request->message, T("the reason"));
    assert_int_equal(request->record_count + request->text_count + request->template_count, 0);
    assert_text(request->next, NONE);
    assert_true(request->ops[0].record.id == 0 && !request->ops[0].existed);
    store_request_reset(request);
    assert_int_equal(request->status, STORE_OK);
    assert_text(request->message, NONE);
    store_request_free(request);
    for (int i = -1; i <= STORE_STATUSES; i++) {
        assert_true(strlen(store_status_name((StoreStatus)i)) > 0);
        assert_true(strlen(store_status_text((StoreStatus)i)) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request), cmocka_unit_test(test_empty_request),
        cmocka_unit_test(test_answer),  cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_changed), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_memory),  cmocka_unit_test(test_lists_are_paid),
        cmocka_unit_test(test_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
