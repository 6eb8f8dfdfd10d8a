/* ctx.Templates: what it gives, and that nobody gains capabilities by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "khronos/runtime.h"
#include "plugin_store.h"

typedef struct Case {
    const char *source, *want;
} Case;

#define EXPECT(host, cases)                                                                        \
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++)                                           \
    host_expect(host, (cases)[i].source, (cases)[i].want)
#define FAILS(host, cases)                                                                         \
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++)                                           \
    host_fails(host, (cases)[i].source, (cases)[i].want)

static void test_versions(void **state)
{
    static const Case cases[] = {
        {"return templates:list()", "[]"},
        {"return templates:get('a'), templates:versions('a'), templates:delete('a')",
         "[null,[],false]"},
        {"return templates:save('a', {source = 'return 1', events = {'X', 'Y[z]'}, "
         "capabilities = {'kv:*'}, description = 'first'})",
         "1"},
        {"return templates:save('a', {files = {['init.luau'] = 'return 2', ['b/c.luau'] = ''}, "
         "enabled = false})",
         "2"},
        {"local t = templates:get('a') return t.name, t.version, t.current, t.enabled, "
         "t.description, t.events, t.capabilities, t.source_bytes, t.files['init.luau'], "
         "t.files['b/c.luau'], typeof(t.created_at), t.updated_at == t.created_at",
         "[\"a\",2,true,false,null,[],[],8,\"return 2\",\"\",\"DateTime\",true]"},
        {"local t = templates:get('a', 1) return t.version, t.current, t.enabled, t.description, "
         "t.events, t.capabilities, t.files",
         "[1,false,true,\"first\",[\"X\",\"Y[z]\"],[\"kv:*\"],{\"init.luau\":\"return 1\"}]"},
        {"return templates:get('a', 3)", "null"},
        {"local list = {} for i, t in templates:versions('a') do list[i] = {t.version, t.current, "
         "t.files == nil} end return list",
         "[[2,true,true],[1,false,true]]"},
        {"return templates:activate('a', 1), templates:get('a').version", "[1,1]"},
        {"return templates:activate('a', 2, 1), templates:get('a').version", "[2,2]"},
        {"return templates:save('a', {source = 'return 3'}, 2)", "3"},
        {"return templates:save('b', {source = ''}, 0)", "1"},
        {"local names = {} for i, t in templates:list() do names[i] = t.name .. t.version end "
         "return names",
         "[\"a3\",\"b1\"]"},
        {"return templates:delete('a', 3), templates:get('a'), templates:delete('a')",
         "[true,null,false]"},
        {"return templates:save('a', {source = 'again'})", "4"},
        {"return ctx.Templates:list()[1].name, require('@antiraid/templates').new(ctx):list()[2].name",
         "[\"a\",\"b\"]"},
        {"return typeof(templates), tostring(templates)", "[\"Templates\",\"Templates\"]"},
    };
    static const Case errors[] = {
        {"templates:save('b', {source = 'x'}, 7)",
         "init.luau:1: the current version of template 'b' is 1, not 7"},
        {"templates:save('b', {source = 'x'}, 0)",
         "the current version of template 'b' is 1, not 0"},
        {"templates:activate('b', 1, 9)", "the current version of template 'b' is 1, not 9"},
        {"templates:delete('b', 9)", "the current version of template 'b' is 1, not 9"},
        {"templates:activate('b', 2)", "there is no version 2 of a template 'b'"},
        {"templates:activate('none', 1)", "there is no version 1 of a template 'none'"},
    };
    EXPECT(*state, cases);
    FAILS(*state, errors);
}

static void test_arguments(void **state)
{
    static const Case errors[] = {
        {"templates.list()", "list must be called with a colon: ctx.Templates:list(...)"},
        {"templates.list(kv)", "list must be called with a colon"},
        {"templates:get()", "invalid 'name': 1 to 64 letters, digits"},
        {"templates:get('a b')", "invalid 'name'"},
        {"templates:get('a/b')", "invalid 'name'"},
        {"templates:get('a\\0')", "invalid 'name'"},
        {"templates:get(('x'):rep(65))", "invalid 'name'"},
        {"templates:get('a', 0)", "invalid 'version': a whole number from 1 to 4294967295"},
        {"templates:get('a', 1.5)", "invalid 'version'"},
        {"templates:get('a', '1')", "invalid 'version'"},
        {"templates:get('a', 2^32)", "invalid 'version'"},
        {"templates:activate('a')", "missing 'version'"},
        {"templates:delete('a', -1)", "invalid 'if_version'"},
        {"templates:save('a')", "invalid 'template': a table expected, got nil"},
        {"templates:save('a', 'return 1')", "invalid 'template': a table expected, got string"},
        {"templates:save('a', {})", "a template has either 'source' or 'files'"},
        {"templates:save('a', {source = '', files = {}})", "either 'source' or 'files'"},
        {"templates:save('a', setmetatable({}, {__index = {source = ''}}))", "either 'source'"},
        {"templates:save('a', {source = 5})", "invalid 'source': a string expected, got number"},
        {"templates:save('a', {source = '\\255'})", "invalid 'source': invalid UTF-8 at byte 1"},
        {"templates:save('a', {source = ('é'):rep(40000) .. '\\255'})", "UTF-8 at byte 80001"},
        {"templates:save('a', {source = ('x'):rep(2^20 + 1)})",
         "invalid 'source': at most 1048576 bytes expected, got 1048577"},
        {"templates:save('a', {files = 'x'})", "invalid 'files': a table of path and source"},
        {"templates:save('a', {files = {'x'}})", "invalid 'files': a table of path and source"},
        {"templates:save('a', {files = {['init.luau'] = 1}})",
         "invalid 'files['init.luau']': a string expected, got number"},
        {"local f = {} for i = 1, 257 do f['f' .. i] = '' end templates:save('a', {files = f})",
         "invalid 'files': at most 256 expected"},
        {"local s, f = ('x'):rep(2^20), {} for i = 1, 9 do f['f' .. i] = s end "
         "templates:save('a', {files = f})",
         "at most 8388608 bytes in all"},
        {"templates:save('a', {source = '', events = 'X'})",
         "invalid 'events': a list of at most 256"},
        {"templates:save('a', {source = '', events = table.create(257, 'X')})", "invalid 'events'"},
        {"templates:save('a', {source = '', events = {5}})",
         "invalid 'events[1]': a string expected"},
        {"templates:save('a', {source = '', events = {('x'):rep(129)}})", "invalid 'events[1]'"},
        {"templates:save('a', {source = '', description = 5})", "invalid 'description'"},
        {"templates:save('a', {source = '', description = ('x'):rep(4097)})",
         "invalid 'description'"},
        {"templates:save('a', {source = '', enabled = 1})",
         "invalid 'enabled': a boolean expected"},
        {"templates:save('a', {source = '', event = {}})",
         "invalid 'template': unknown field 'event'"},
        {"templates:save('a', {source = '', capabilities = {'a\\nb'}})",
         "invalid 'capabilities[1]'"},
        {"templates:save('a', {source = '', capabilities = {''}})", "invalid 'capabilities[1]'"},
        {"templates:nosuch()", "Templates has no method 'nosuch'"},
        {"templates.save = 1", "Templates cannot be modified"},
    };
    StoreHost *host = *state;
    FAILS(host, errors);
    assert_int_equal(host->calls, 0);
}

/* A template `strong` with versions 1 (kv:*, x:y), 2 (kv:get) and 3 (*). */
static void make_strong(StoreHost *host)
{
    host_expect(host,
                "templates:save('strong', {source = '1', capabilities = {'kv:*', 'x:y'}}) "
                "templates:save('strong', {source = '2', capabilities = {'kv:get'}}) "
                "return templates:save('strong', {source = '3', capabilities = {'*'}})",
                "3");
}

static void test_capabilities(void **state)
{
    static const struct {
        const char *capabilities, *source, *refusal; /* NULL: it is allowed */
        int calls;
    } cases[] = {
        {"templates:list", "templates:list()", NULL, 1},
        {"templates:get", "templates:get('strong') templates:versions('strong')", NULL, 2},
        {"templates:get", "templates:list()", "needs the capability 'templates:list'", 0},
        {"templates:list", "templates:get('strong')", "needs the capability 'templates:get'", 0},
        {"templates:list", "templates:versions('x')", "needs the capability 'templates:get'", 0},
        {"templates:get", "templates:save('x', {source = ''})",
         "needs the capability 'templates:save'", 0},
        {"templates:get", "templates:activate('x', 1)", "needs the capability 'templates:save'", 0},
        {"templates:save", "templates:delete('x')", "needs the capability 'templates:delete'", 0},
        /* Nothing that the context has not can be given. */
        {"templates:* kv:*",
         "templates:save('n1', {source = '', capabilities = {'kv:get', 'kv:*'}})", NULL, 2},
        {"templates:* kv:get", "templates:save('n2', {source = '', capabilities = {'kv:*'}})",
         "cannot be given the capability 'kv:*', which this context lacks", 0},
        {"templates:*", "templates:save('n2', {source = '', capabilities = {'*'}})",
         "cannot be given the capability '*'", 0},
        {"templates:*", "templates:save('n3', {source = ''})", NULL, 2},
        {"*",
         "ctx:withlimits({capabilities = {'templates:*'}}).Templates:save('n2', {source = '', "
         "capabilities = {'kv:get'}})",
         "cannot be given the capability 'kv:get'", 0},
        /* Nor may be touched what has it. The current version is 3, with everything. */
        {"templates:* kv:*", "templates:save('strong', {source = ''})",
         "the template 'strong' has the capability '*', which this context lacks", 1},
        {"templates:* kv:*", "templates:delete('strong')", "which this context lacks", 1},
        {"templates:* kv:*", "templates:activate('strong', 2)", "has the capability '*'", 1},
        {"*", "templates:activate('strong', 2)", NULL, 2},
        /* Now 2 is current, with kv:get. */
        {"templates:* kv:get", "templates:activate('strong', 1)", "which this context lacks", 1},
        {"templates:* kv:*", "templates:activate('strong', 1)", "has the capability 'x:y'", 1},
        {"templates:* kv:get", "templates:activate('strong', 3)", "has the capability '*'", 1},
        {"templates:* kv:get", "templates:delete('strong')", "which this context lacks", 1},
        {"templates:save kv:get", "templates:activate('strong', 2)", NULL, 2},
        {"templates:save", "templates:save('strong', {source = ''})", "has the capability 'kv:get'",
         1},
        {"templates:* kv:get", "templates:save('strong', {source = 'new'})", NULL, 2},
        {"*", "templates:delete('strong')", NULL, 2},
    };
    StoreHost *host = *state;
    make_strong(host);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++) {
        int before = host->calls;
        host->capabilities = cases[i].capabilities;
        host_run(host, cases[i].source);
        if ((host->status == KHRONOS_OK) != (cases[i].refusal == NULL) ||
            (cases[i].refusal && !strstr(host->text.data, cases[i].refusal)))
            fail_msg("%s with %s: %s", cases[i].source, cases[i].capabilities, host->text.data);
        if (host->calls != before + cases[i].calls)
            fail_msg("%s: %d calls", cases[i].source, host->calls - before);
    }
}

/* Somebody else saves between the comparison and the change: the change does not happen. */
static void save_as_host(StoreHost *host, const char *capability)
{
    StoreRequest *request = store_request_new(STORE_SAVE, KV_GUILD);
    Text label = kv_text(capability);
    StoreFile file = {kv_text("init.luau"), kv_text("the host's")};
    StoreTemplate t = {.name = kv_text("strong"),
                       .enabled = true,
                       .capabilities = &label,
                       .capability_count = 1,
                       .files = &file,
                       .file_count = 1};
    request->name = t.name;
    request->save = &t;
    store_wait(host->kv.store, request);
    assert_int_equal(request->status, STORE_OK);
    store_request_free(request);
}

static bool save_between(StoreHost *host, StoreCall *call)
{
    StoreOp op = call->request->op;
    if (op == STORE_SAVE || op == STORE_ACTIVATE || op == STORE_DELETE)
        save_as_host(host, "x:y");
    store_wait(host->kv.store, call->request);
    return true;
}

static void test_races(void **state)
{
    static const char *const sources[] = {
        "templates:save('strong', {source = 'mine'})",
        "templates:activate('strong', templates:versions('strong')[2].version)",
        "templates:delete('strong')",
    };
    StoreHost *host = *state;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(sources); i++) {
        host_run(host, "templates:save('strong', {source = '1', capabilities = {'kv:*', 'x:y'}}) "
                       "templates:save('strong', {source = '2', capabilities = {'kv:get'}})");
        assert_int_equal(host->status, KHRONOS_OK);
        host->capabilities = "templates:* kv:* x:y";
        host->serve = save_between;
        host_fails(host, sources[i], "init.luau:1: the current version of template 'strong'");
        host->serve = NULL;
        host_expect(host,
                    "local t = templates:get('strong') return t.files['init.luau'], "
                    "templates:delete('strong')",
                    "[\"the host's\",true]");
        host->capabilities = "*";
    }
}

static bool hold_versions(StoreHost *host, StoreCall *call)
{
    if (call->request->op == STORE_VERSIONS)
        return false;
    store_wait(host->kv.store, call->request);
    return true;
}

/* A table that another thread changes while save waits is looked at again. */
static void test_table_changes(void **state)
{
    StoreHost *host = *state;
    host->capabilities = "templates:* kv:get";
    host->serve = hold_versions;
    static const char *const changes[] = {
        "t.capabilities[1] = '*'",
        "t.capabilities = {'kv:*'}",
        "table.clear(t)",
        "t.source = print",
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(changes); i++) {
        char source[400];
        snprintf(
            source, sizeof(source),
            "local t = {source = 'x', capabilities = {'kv:get'}} local ok, e = nil, nil "
            "local waits = task.spawn(function() ok, e = pcall(templates.save, templates, 't', "
            "t) end) %s while ok == nil do task.wait() end return ok, e ~= nil",
            changes[i]);
        KhronosExecution *x = host_begin(host, source);
        while (host->held_count == 0) {
            khronos_step(host->rt, host->fibers);
            KhronosCall *call = khronos_take_call(host->rt);
            if (call)
                host->held[host->held_count++] = (StoreCall *)call;
        }
        host_answer(host, host->held[--host->held_count]);
        host_turn(host);
        assert_string_equal(host_end(host, x), "[false,true]");
    }
    host->serve = NULL;
    host->capabilities = "*";
    host_expect(host, "return templates:list()", "[]");
}

/* The k-th allocation fails, for every k. */
static void test_no_memory(void **state)
{
    StoreHost *host = *state;
    bool failed = true;
    for (uint64_t k = 1; failed; k++) {
        host_renew(host);
        KhronosExecution *x = host_begin(
            host, "templates:save('a', {files = {['init.luau'] = 'return 1', x = 'y'}, "
                  "capabilities = {'kv:*'}, events = {'E'}}) local t = templates:get('a') "
                  "return #templates:list() + #templates:versions('a'), templates:activate('a', "
                  "t.version) == t.version, templates:delete('a')");
        luau_failalloc(host->rt->L, k);
        host_turn(host);
        luau_failalloc(host->rt->L, 0);
        host_end(host, x);
        failed = host->status != KHRONOS_OK;
        if (failed && host->status != KHRONOS_MEMORY_LIMIT)
            fail_msg("allocation %d: %s", (int)k, host->text.data);
        assert_true(k < 5000);
    }
    assert_string_equal(host->text.data, "[2,true,true]");
}

/* Parked at every poll, cancelled at every place. */
static void test_parks(void **state)
{
    StoreHost *host = *state;
    host->limits.slice_ns = 1;
    host->testmode = LUAU_TEST_POLL_ALWAYS;
    host_renew(host);
    int finished = 0;
    for (int steps = 1; finished == 0; steps++) {
        KhronosExecution *x = host_begin(
            host, "local s = ('é'):rep(100000) templates:save('a', {files = {['init.luau'] = s, "
                  "b = s}}) return #templates:get('a').files.b, templates:delete('a')");
        for (int i = 0; i < steps; i++) {
            khronos_step(host->rt, host->fibers);
            for (KhronosCall *call; (call = khronos_take_call(host->rt)) != NULL;)
                host_answer(host, (StoreCall *)call);
        }
        bool cancelled = khronos_cancel(host->rt, "run");
        host_turn(host);
        host_end(host, x);
        assert_int_equal(host->status, cancelled ? KHRONOS_CANCELLED : KHRONOS_OK);
        finished += !cancelled;
        assert_true(steps < 2000);
    }
    assert_string_equal(host->text.data, "[200000,true]");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_versions),      TEST(test_arguments), TEST(test_capabilities), TEST(test_races),
        TEST(test_table_changes), TEST(test_no_memory), TEST(test_parks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
