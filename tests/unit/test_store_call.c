/* Store calls: what becomes of every status, what tenants see of it, and the way to another process
 * and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "plugin_store.h"

#define SECRET "/secret/path: disk I/O error 1234"

/* `mood` is the status. */
static bool serve_status(StoreHost *host, StoreCall *call)
{
    store_request_fail(call->request, (StoreStatus)host->mood, SECRET);
    return true;
}

static bool is_for_tenants(StoreStatus status)
{
    return status == STORE_INVALID || status == STORE_TOO_MANY || status == STORE_CONFLICT;
}

static void test_statuses(void **state)
{
    StoreHost *host = *state;
    host->serve = serve_status;
    for (int status = STORE_CONFLICT; status < STORE_STATUSES; status++) {
        char want[256];
        host->mood = status;
        host_run(host, "kv:set('k', 1, {'a'})");
        snprintf(want, sizeof(want), "init.luau:1: %s",
                 is_for_tenants(status) ? SECRET : store_status_text(status));
        assert_int_equal(host->status, KHRONOS_RUNTIME_ERROR);
        assert_string_equal(host->text.data, want);
        /* It can be caught, and the thread goes on. */
        host_expect(host,
                    "local ok, e = pcall(function() return kv:get('k', {'a'}) end) "
                    "return ok, type(e)",
                    "[false,\"string\"]");
    }
}

/* What is missing is a result where the native takes it, else an error without a text. */
static void test_missing(void **state)
{
    StoreHost *host = *state;
    host->serve = serve_status;
    host->mood = STORE_NOT_FOUND;
    host_expect(host, "return kv:get('k', {'a'})", "[null,false]");
    host_expect(host, "return kv:delete('k', {'a'})", "false");
    host_run(host, "return kv:keys({'a'})");
    assert_int_equal(host->status, KHRONOS_RUNTIME_ERROR);
    assert_null(strstr(host->text.data, "secret"));
    assert_non_null(strstr(host->text.data, store_status_text(STORE_NOT_FOUND)));
}

static bool serve_refusal(StoreHost *host, StoreCall *call)
{
    (void)host;
    call->call.kind->refuse(&call->call, "too many operations: try again in 0.25 seconds");
    return true;
}

static void test_refusal(void **state)
{
    StoreHost *host = *state;
    host->serve = serve_refusal;
    host_run(host, "\n\nkv:get('k', {'a'})");
    assert_string_equal(host->text.data,
                        "init.luau:3: too many operations: try again in 0.25 seconds");
    host_expect(host, "return select(2, pcall(kv.get, kv, 'k', {'a'}))",
                "\"too many operations: try again in 0.25 seconds\"");
}

static bool serve_corrupt(StoreHost *host, StoreCall *call)
{
    (void)host;
    StoreKvOp *op = &call->request->ops[0];
    call->request->status = STORE_OK;
    op->record = (StoreRecord){.id = 5, .value = kv_text("{\"x\":")};
    return true;
}

static void test_bad_value(void **state)
{
    StoreHost *host = *state;
    host->serve = serve_corrupt;
    host_fails(host, "kv:get('k', {'a'})", "the stored value cannot be read: line 1, column 6");
}

/* The call goes as bytes to a twin, which is served, and whose answer goes back as bytes. */
static bool serve_elsewhere(StoreHost *host, StoreCall *call)
{
    Strbuf out = STRBUF_INIT, back = STRBUF_INIT;
    const KhronosCallKind *kind = call->call.kind;
    assert_int_equal(kind->number, STORE_CALL_KIND);
    kind->put_request(&call->call, &out);
    KhronosCall *twin = store_call_read(out.data, out.length);
    assert_non_null(twin);
    StoreRequest *request = ((StoreCall *)twin)->request;
    assert_int_equal(request->guild_id, KV_GUILD);
    if (host->mood)
        kind->refuse(twin, "refused there");
    else
        store_wait(host->kv.store, request);
    kind->put_answer(twin, &back);
    kind->drop(twin);
    size_t length;
    char *exact = strbuf_take(&back, &length); /* so that reading past its end is seen */
    char *bytes = malloc(length);
    memcpy(bytes, exact, length);
    free(exact);
    if (!kind->read_answer(&call->call, bytes, length))
        fail_msg("the answer cannot be read");
    free(bytes);
    strbuf_free(&out);
    return true;
}

static void test_other_process(void **state)
{
    StoreHost *host = *state;
    host->serve = serve_elsewhere;
    host_expect(host, "local r = kv:set('k', {1, 'x'}, {'a', 'b'}, 2000, true) return r.exists",
                "false");
    host_expect(host,
                "local r = kv:getrecord('k', {'a'}) return r.key, r.value, r.scopes, r.resume, "
                "r.expires_at",
                "[\"k\",[1,\"x\"],[\"a\",\"b\"],true,\"1970-01-01T00:33:20Z\"]");
    host_expect(host, "local list, next = kv:find('%', {'a'}) return #list, list[1].value, next",
                "[1,[1,\"x\"],null]");
    host_expect(host, "return kv:list_scopes(), #kv:keys({'b'}), kv:get('none', {'a'})",
                "[[\"a\",\"b\"],1,null,false]");
    host_expect(host,
                "local r = kv:atomic({{op = 'delete', key = 'k', scopes = {'a'}}, "
                "{op = 'get', key = 'k', scopes = {'a'}}}) return r[1].exists, r[2].exists",
                "[true,false]");
    host_expect(host,
                "templates:save('t', {source = 'return 1', events = {'E'}}) "
                "local t = templates:get('t') return t.files, t.events, templates:delete('t')",
                "[{\"init.luau\":\"return 1\"},[\"E\"],true]");
    host_fails(host, "kv:find('x\\\\', {'a'})", "init.luau:1: the pattern ends with");
    host->mood = 1;
    host_fails(host, "kv:get('k', {'a'})", "init.luau:1: refused there");
}

/* Bytes that are no request or no answer are refused, whatever they are cut to. */
static bool serve_cut(StoreHost *host, StoreCall *call)
{
    Strbuf out = STRBUF_INIT, back = STRBUF_INIT;
    const KhronosCallKind *kind = call->call.kind;
    kind->put_request(&call->call, &out);
    for (size_t length = 0; length < out.length; length++) {
        char *cut = malloc(length + 1);
        memcpy(cut, out.data, length);
        KhronosCall *twin = store_call_read(length ? cut : NULL, length);
        if (twin)
            fail_msg("%zu of %zu bytes were taken for a request", length, out.length);
        free(cut);
    }
    store_wait(host->kv.store, call->request);
    kind->put_answer(&call->call, &back);
    back.data[0] = 2;
    assert_false(kind->read_answer(&call->call, back.data, back.length));
    back.data[0] = 0;
    assert_false(kind->read_answer(&call->call, back.data, 0));
    for (size_t length = 1; length < back.length; length++)
        if (kind->read_answer(&call->call, back.data, length))
            fail_msg("%zu of %zu bytes were taken for an answer", length, back.length);
    assert_true(kind->read_answer(&call->call, back.data, back.length));
    strbuf_free(&out);
    strbuf_free(&back);
    return true;
}

static void test_cut(void **state)
{
    StoreHost *host = *state;
    host->serve = serve_cut;
    host_expect(host, "kv:set('k', {1, 'x'}, {'a', 'b'}, 2000, true) return kv:get('k', {'a'})",
                "[[1,\"x\"],true]");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)

/* The answer is counted before it is there. */
static void test_bytes(void **state)
{
    (void)state;
    static const struct {
        StoreOp op;
        size_t least;
    } OPS[] = {{STORE_KV_FIND, STORE_PAGE_BYTES_MAX},
               {STORE_GET, (size_t)2 << 20},
               {STORE_KV_KEYS, 128 << 10},
               {STORE_LIST, 128 << 10}};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(OPS); i++) {
        Strbuf out = STRBUF_INIT;
        StoreRequest *request = store_request_new(OPS[i].op, 7);
        request->name = (Text){"name", 4};
        request->pattern = (Text){"%", 1};
        store_put_request(&out, request);
        store_request_free(request);
        KhronosCall *call = store_call_read(out.data, out.length);
        assert_non_null(call);
        assert_in_range(call->bytes, OPS[i].least, CALLS_BYTES_MAX / 3);
        call->kind->drop(call);
        strbuf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_statuses),          TEST(test_missing),       TEST(test_refusal),
        TEST(test_bad_value),         TEST(test_other_process), TEST(test_cut),
        cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
