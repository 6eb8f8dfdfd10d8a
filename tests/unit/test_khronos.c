/* One guild's runtime: the sandbox, values across the boundary, require, limits, kills. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "runtime_support.h"

typedef struct Bench {
    KhronosSandbox *sandbox;
    KhronosRuntime *rt;
    KhronosLimits limits;
    KhronosLog log;
    luau_Fibers *fibers;
    luau_Ticker *ticker;
    Strbuf printed; /* lines the log got */
    Strbuf result;
    KhronosExecution x;
    int parked; /* times the last execution was parked */
} Bench;

static void on_line(void *userdata, uint64_t guild_id, const char *template_name, int level,
                    const char *text, size_t length)
{
    Bench *b = userdata;
    (void)template_name;
    assert_int_equal(guild_id, 42);
    strbuf_puts(&b->printed, level ? "warn: " : "");
    strbuf_put(&b->printed, text, length);
    strbuf_putc(&b->printed, '\n');
}

static int setup(void **state)
{
    Bench *b = calloc(1, sizeof(*b));
    b->sandbox = support_sandbox();
    khronos_default_limits(&b->limits);
    b->log = (KhronosLog){on_line, b};
    b->ticker = luau_ticker_new(200);
    b->fibers = luau_fibers_new(4);
    luau_ticker_add(b->ticker, b->fibers);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    Bench *b = *state;
    khronos_free(b->rt);
    luau_ticker_remove(b->ticker, b->fibers);
    luau_ticker_free(b->ticker);
    luau_fibers_free(b->fibers);
    sandbox_release(b->sandbox);
    execution_free(&b->x);
    strbuf_free(&b->printed);
    strbuf_free(&b->result);
    free(b);
    return 0;
}

static void run_template(Bench *b, KhronosTemplate *t, const char *event_text)
{
    char *storage;
    KhronosEvent event;
    if (b->rt && khronos_isbroken(b->rt)) {
        khronos_free(b->rt);
        b->rt = NULL;
    }
    if (!b->rt)
        b->rt = khronos_new(b->sandbox, 42, &b->limits, &b->log);
    support_event(event_text ? event_text : "{\"name\":\"Test\"}", &storage, &event);
    bool keep_logs = b->x.keep_logs;
    execution_free(&b->x);
    strbuf_clear(&b->result);
    strbuf_clear(&b->printed);
    b->x = (KhronosExecution){.template_version = t,
                              .event = &event,
                              .id = "run-1",
                              .out = &b->result,
                              .keep_logs = keep_logs};
    b->parked = support_run(b->rt, b->fibers, &b->x);
    free(storage);
}

static void run(Bench *b, const char *source, const char *event_text)
{
    KhronosTemplate *t = support_template(b->sandbox, "test", 1, "init.luau", source, NULL);
    run_template(b, t, event_text);
    template_release(t);
}

static void expect_result(Bench *b, const char *source, const char *event_text, const char *result)
{
    run(b, source, event_text);
    if (b->x.status != KHRONOS_OK)
        fail_msg("%s\nfailed: %s", source, strbuf_cstr(&b->x.message));
    assert_string_equal(strbuf_cstr(&b->result), result);
}

static void expect_failure(Bench *b, const char *source, KhronosStatus status, const char *part)
{
    run(b, source, NULL);
    assert_int_equal(b->x.status, status);
    if (!strstr(strbuf_cstr(&b->x.message), part))
        fail_msg("%s\nexpected: %s\ngot: %s", source, part, strbuf_cstr(&b->x.message));
    assert_int_equal(b->result.length, 0);
}

static void test_results(void **state)
{
    Bench *b = *state;
    expect_result(b, "", NULL, "null");
    expect_result(b, "return", NULL, "null");
    expect_result(b, "return 1", NULL, "1");
    expect_result(b, "return nil", NULL, "null");
    expect_result(b, "return 1, nil, 'x'", NULL, "[1,null,\"x\"]");
    expect_result(b, "return {}", NULL, "{}");
    expect_result(b, "return {1,2,3}", NULL, "[1,2,3]");
    expect_result(b, "return {{}, {{}}}", NULL, "[{},[{}]]");
    expect_result(b, "return true, false", NULL, "[true,false]");
    expect_result(b, "return vector.create(1, 2.5, -3)", NULL, "[1,2.5,-3]");
    expect_result(b, "return 5i, integer.minsigned", NULL, "[5,-9223372036854775808]");
    expect_result(b, "return {[3] = 1}", NULL, "{\"3\":1}");
    expect_result(b, "return 2^53, 2^53 + 2, 1e21, -0, 0.1", NULL,
                  "[9007199254740992,9.007199254740994e15,1e21,-0,0.1]");
    expect_result(b, "return 'a\\0b\\n\"'", NULL, "\"a\\u0000b\\n\\\"\"");
}

static void test_refused_results(void **state)
{
    Bench *b = *state;
    expect_failure(b, "return print", KHRONOS_INVALID_RESULT, "result: a function");
    expect_failure(b, "return {a = {1, {b = 0/0}}}", KHRONOS_INVALID_RESULT, "result.a[2].b: NaN");
    expect_failure(b, "return 1, {['x y'] = math.huge}", KHRONOS_INVALID_RESULT,
                   "result[2][\"x y\"]: an infinite");
    expect_failure(b, "return {1, 2, n = 2}", KHRONOS_INVALID_RESULT,
                   "list elements and named keys");
    expect_failure(b, "return {[true] = 1}", KHRONOS_INVALID_RESULT, "boolean");
    expect_failure(b, "return {[1.5] = 1}", KHRONOS_INVALID_RESULT, "fraction");
    expect_failure(b, "return 'ab\\xFF'", KHRONOS_INVALID_RESULT, "UTF-8 in a string at byte 3");
    expect_failure(b, "return coroutine.create(print)", KHRONOS_INVALID_RESULT, "thread");
    expect_failure(b, "return newproxy()", KHRONOS_INVALID_RESULT, "userdata");
    expect_failure(b, "return buffer.create(1)", KHRONOS_INVALID_RESULT, "buffer");
    expect_failure(b, "local t = {} t[1] = t return t", KHRONOS_INVALID_RESULT, "64 deep");
    expect_failure(b, "return string.rep('x', 5 * 1024 * 1024)", KHRONOS_INVALID_RESULT,
                   "longer than");
    expect_failure(b, "return table.unpack(table.create(5000, 1))", KHRONOS_INVALID_RESULT,
                   "5000 values");
    expect_failure(b, "return {[7] = 1, ['7'] = 2}", KHRONOS_INVALID_RESULT,
                   "as a number and as a string");
    /* No metamethod of the result runs. */
    expect_result(b, "return setmetatable({}, {__index = error, __iter = error, __len = error})",
                  NULL, "{}");
}

static void test_events(void **state)
{
    Bench *b = *state;
    static const char event[] =
        "{\"name\":\"N\",\"base_name\":\"B\",\"author\":\"a\",\"id\":\"i\",\"data\":"
        "{\"list\":[1,null,\"x\"],\"nothing\":null,\"deep\":{\"a\":{\"b\":[{}]}}}}";
    expect_result(
        b, "local e = ... return e.name, e.base_name, e.author, e.id, e.data", event,
        "[\"N\",\"B\",\"a\",\"i\",{\"deep\":{\"a\":{\"b\":[{}]}},\"list\":[1,null,\"x\"]}]");
    expect_result(b, "local e = ... return e.base_name, e.author, e.id, e.data", NULL,
                  "[\"Custom\",null,\"run-1\",null]");
    expect_result(b,
                  "local e = ... return pcall(function() e.data.deep.a.b[1].x = 1 end), "
                  "table.isfrozen(e), table.isfrozen(e.data.list)",
                  event, "[false,true,true]");
    expect_result(
        b,
        "local e = ... local i = require('@antiraid/interop') "
        "return e.data.list[2] == i.null, getmetatable(e.data.list) == i.array_metatable, "
        "e.data.nothing == nil",
        event, "[true,true,true]");
}

static void test_data_comes_back(void **state)
{
    Bench *b = *state;
    static const char *const data[] = {
        "[]",
        "{}",
        "[[],{}]",
        "\"\"",
        "0",
        "-1.5",
        "true",
        "[null]",
        "{\"a\":[{\"b\":[1,2,{\"c\":\"d\"}]}]}",
        "9007199254740993",
        "-9223372036854775808",
        "18446744073709551615",
        "[12345678901234567890]",
        "\"\xC3\xA9\xF0\x9D\x84\x9E\"",
        "[0.1,1e300,5e-324]",
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(data); i++) {
        char event[256];
        snprintf(event, sizeof(event), "{\"name\":\"N\",\"data\":%s}", data[i]);
        expect_result(b, "local e = ... return e.data", event, data[i]);
    }
    expect_result(b, "local e = ... return e.data", "{\"name\":\"N\",\"data\":{\"a\":1,\"a\":2}}",
                  "{\"a\":2}");
    expect_result(b, "local e = ... return e.data",
                  "{\"name\":\"N\",\"data\":{\"a\":1,\"a\":null}}", "{}");
}

/* Lists and objects beyond what waits on the stack, mixed. */
static void test_large_data(void **state)
{
    Bench *b = *state;
    Strbuf event = STRBUF_INIT;
    strbuf_puts(&event, "{\"name\":\"N\",\"data\":{\"list\":[");
    for (int i = 1; i <= 5000; i++)
        strbuf_printf(&event, "%s{\"id\":%d,\"tags\":[%d,null]}", i > 1 ? "," : "", i, i * 2);
    strbuf_puts(&event, "],\"map\":{");
    for (int i = 1; i <= 3000; i++)
        strbuf_printf(&event, "%s\"key%d\":%d", i > 1 ? "," : "", i, i);
    strbuf_puts(&event, "}}}");
    expect_result(
        b,
        "local e = ... local sum, keys = 0, 0 "
        "for i, v in e.data.list do assert(v.id == i and v.tags[1] == 2 * i and #v.tags == 2) "
        "sum += v.id end "
        "for k, v in e.data.map do assert(k == 'key' .. v) keys += 1 end "
        "return #e.data.list, sum, keys",
        strbuf_cstr(&event), "[5000,12502500,3000]");
    run(b, "local e = ... return e.data.list", strbuf_cstr(&event));
    assert_int_equal(b->x.status, KHRONOS_OK);
    assert_true(b->result.length > 100000);
    strbuf_free(&event);
}

static void test_json_module(void **state)
{
    Bench *b = *state;
    expect_result(
        b,
        "local j = require('@antiraid/json') "
        "return j.encode({1, {a = 'x'}}), j.decode('[1,{\"b\":null}]'), j.encode({}, true), "
        "j.encode({a = {1}}, true), j.decode(buffer.fromstring(' 7 '))",
        NULL,
        "[\"[1,{\\\"a\\\":\\\"x\\\"}]\",[1,{}],\"{}\",\"{\\n  \\\"a\\\": [\\n    1\\n  ]\\n}\",7]");
    expect_failure(b, "require('@antiraid/json').decode('[1,')", KHRONOS_RUNTIME_ERROR,
                   "invalid JSON: line 1, column 4");
    expect_failure(b, "require('@antiraid/json').encode({x = print})", KHRONOS_RUNTIME_ERROR,
                   "value.x: a function");
}

static void test_sandbox(void **state)
{
    Bench *b = *state;
    expect_result(b, "return getfenv, setfenv, io, dofile, package, rawget(_G, 'print')", NULL,
                  "[null,null,null,null,null,null]");
    expect_failure(b, "print = 1", KHRONOS_RUNTIME_ERROR, "cannot modify read-only global 'print'");
    expect_failure(b, "_G.table = 1", KHRONOS_RUNTIME_ERROR,
                   "cannot modify read-only global 'table'");
    expect_failure(b, "string.x = 1", KHRONOS_RUNTIME_ERROR, "readonly");
    expect_failure(b, "rawset(string, 'x', 1)", KHRONOS_RUNTIME_ERROR, "readonly");
    expect_failure(b, "getmetatable('').__index = 1", KHRONOS_RUNTIME_ERROR, "readonly");
    expect_failure(b, "setmetatable(_G, nil)", KHRONOS_RUNTIME_ERROR, "protected");
    expect_failure(b, "require('@antiraid/json').x = 1", KHRONOS_RUNTIME_ERROR, "readonly");
    expect_failure(b, "local _, c = ... c.x = 1", KHRONOS_RUNTIME_ERROR, "cannot be modified");
    expect_result(b, "x = 1 return x, _G.x, rawget(_G, 'x'), _G['@worker'], getmetatable(_G)", NULL,
                  "[1,1,1,null,\"The metatable is locked\"]");
    expect_result(b,
                  "local own, all = 0, {} for k in pairs(_G) do own += 1 end "
                  "for k, v in _G do all[k] = v end return own, all.print == print, all._G == _G",
                  NULL, "[1,true,true]"); /* _G alone: every version has globals of its own */
    expect_result(b, "local f = loadstring('y = 3 return _G') return f() == _G, y", NULL,
                  "[true,3]");
    expect_result(b, "return loadstring('\\27Lua') == nil, (collectgarbage('count') > 0)", NULL,
                  "[true,true]");
    /* A name of one's own that hides nothing does not slow or change the library. */
    expect_result(b, "rawset(_G, 'math', {abs = function() return 'mine' end}) return math.abs(-1)",
                  NULL, "\"mine\"");
}

static void test_context(void **state)
{
    Bench *b = *state;
    expect_result(
        b,
        "local _, c = ... return c.guild_id, c.template_name, c.template_version, "
        "c.execution_id, c.memory_limit, tostring(c.KV), tostring(c), typeof(c)",
        NULL,
        "[\"42\",\"test\",1,\"run-1\",20971520,\"KV\",\"TemplateContext\",\"TemplateContext\"]");
    expect_result(b, "local _, c = ... c.store.n = (c.store.n or 0) + 1 return c.store.n", NULL,
                  "1");
    expect_result(b, "local _, c = ... c.store.n = (c.store.n or 0) + 1 return c.store.n", NULL,
                  "2");
}

static void test_globals_belong_to_a_version(void **state)
{
    Bench *b = *state;
    static const char source[] = "n = (n or 0) + 1 return n";
    KhronosTemplate *one = support_template(b->sandbox, "a", 1, "init.luau", source, NULL);
    KhronosTemplate *two = support_template(b->sandbox, "a", 2, "init.luau", source, NULL);
    KhronosTemplate *other = support_template(b->sandbox, "b", 1, "init.luau", source, NULL);
    KhronosTemplate *const order[] = {one, one, other, two, two, other};
    static const char *const results[] = {"1", "2", "1", "1", "2", "2"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(order); i++) {
        run_template(b, order[i], NULL);
        assert_string_equal(strbuf_cstr(&b->result), results[i]);
    }
    template_release(one);
    template_release(two);
    template_release(other);
}

static void test_require(void **state)
{
    Bench *b = *state;
    KhronosTemplate *t = support_template(
        b->sandbox, "r", 1, "init.luau",
        "count = count or 0 local a = require('./lib/a') "
        "return a.value, require('@self/lib/a') == a, require('@x/b'), require('./lib'), count, "
        "select(2, pcall(require, './lib/loop1')), select(2, pcall(require, './lib/two')), "
        "select(2, pcall(require, '../x')), select(2, pcall(require, './amb')), "
        "select(2, pcall(require, './none')), select(2, pcall(require, './syntax'))",
        "lib/a.luau", "count += 1 return {value = require('./b') .. require('../top')}",
        "lib/b.lua", "return 'b'", "lib/init.luau", "return require('./top') .. require('@self/b')",
        "top.luau", "return 'top'", "lib/loop1.luau", "return require('./loop2')", "lib/loop2.luau",
        "return require('./loop1')", "lib/two.luau", "return 1, 2", "amb.luau", "return 1",
        "amb/init.luau", "return 2", "syntax.luau", "\nlocal = 1", ".luaurc",
        "{ // where things are\n \"aliases\": {\"x\": \"./lib\",} }", NULL);
    for (int i = 0; i < 2; i++) {
        run_template(b, t, NULL);
        if (b->x.status != KHRONOS_OK)
            fail_msg("%s", strbuf_cstr(&b->x.message));
        assert_string_equal(
            strbuf_cstr(&b->result),
            "[\"btop\",true,\"b\",\"topb\",1,"
            "\"lib/loop2.luau:1: cyclic require: lib/loop1.luau -> lib/loop2.luau -> lib/loop1.luau\","
            "\"error requiring module \\\"lib/two.luau\\\": module must return a single value\","
            "\"error requiring module \\\"../x\\\": the path leaves the template\","
            "\"error requiring module \\\"./amb\\\": could not resolve child component \\\"amb\\\" (ambiguous)\","
            "\"error requiring module \\\"./none\\\": could not resolve child component \\\"none\\\"\","
            "\"syntax.luau:2: Expected identifier when parsing variable name, got '='\"]");
    }
    template_release(t);
}

static void test_hostile_requires(void **state)
{
    Bench *b = *state;
    static const char *const paths[] = {
        "'../../etc/passwd'",
        "'/etc/passwd'",
        "'..\\\\..\\\\x'",
        "'./%2e%2e/x'",
        "'./a\\0b'",
        "'./INIT'",
        "string.rep('./a', 5000)",
        "'@x/../..'",
        "'@self/../../x'",
        "''",
        "'.'",
        "'..'",
        "'./'",
        "'@'",
        "'@/'",
        "'@self'",
        "'@antiraid'",
        "'@antiraid/'",
        "'@antiraid/../json'",
        "'init'",
        "'./x/../../y'",
        "{}",
        "nil",
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(paths); i++) {
        char source[256];
        snprintf(source, sizeof(source),
                 "if running then error('again') end running = true "
                 "local ok, e = pcall(require, %s) running = false return ok",
                 paths[i]);
        expect_result(b, source, NULL, "false");
    }
}

static void test_errors(void **state)
{
    Bench *b = *state;
    expect_failure(b, "local function f() error('boom') end\n\nf()", KHRONOS_RUNTIME_ERROR,
                   "init.luau:1: boom");
    assert_int_equal(b->x.line, 1);
    assert_string_equal(b->x.path, "init.luau");
    assert_string_equal(strbuf_cstr(&b->x.traceback), "init.luau:1 function f\ninit.luau:3\n");
    expect_failure(b, "error({})", KHRONOS_RUNTIME_ERROR, "(error object is a table value)");
    expect_failure(b, "local x = = 1", KHRONOS_COMPILE_ERROR, "init.luau:1: Expected identifier");
    expect_failure(b, "\27Lua", KHRONOS_COMPILE_ERROR, "init.luau:1:");
    expect_failure(b, "coroutine.yield()", KHRONOS_RUNTIME_ERROR, "yielded");
    expect_failure(b, "local function f() f() f() end f()", KHRONOS_RUNTIME_ERROR,
                   "stack overflow");
    expect_result(b, "return 'still here'", NULL, "\"still here\"");
}

static void test_memory_limit(void **state)
{
    Bench *b = *state;
    static const char *const sources[] = {
        "local t = {} while true do t[#t + 1] = string.rep('x', 100) .. #t end",
        "while true do pcall(function() local t = {} while true do t[#t + 1] = {} end end) end",
        "local s = 'x' while true do s = s .. s .. #s end",
        "local t = {} for i = 1, 1e7 do t[i] = buffer.create(10000) end",
        ("local j = require('@antiraid/json') local t = {} "
         "for i = 1, 1e7 do t[i] = j.decode('[[1,2,3],{\"a\":\"bbbbbbbbbb\"}]') end"),
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(sources); i++) {
        run(b, sources[i], NULL);
        if (b->x.status == KHRONOS_RUNTIME_ERROR) /* one request over the whole quota: an error */
            continue;
        assert_int_equal(b->x.status, KHRONOS_MEMORY_LIMIT);
        assert_true(khronos_isbroken(b->rt));
        assert_true(b->x.line > 0);
    }
    expect_result(b, "return 1", NULL, "1");
}

static void test_event_larger_than_memory(void **state)
{
    Bench *b = *state;
    Strbuf event = STRBUF_INIT;
    b->limits.memory_max_bytes = 256 * 1024;
    strbuf_puts(&event, "{\"name\":\"N\",\"data\":[");
    for (int i = 0; i < 100000; i++)
        strbuf_puts(&event, "[],");
    strbuf_puts(&event, "0]}");
    run(b, "return 1", strbuf_cstr(&event));
    assert_int_equal(b->x.status, KHRONOS_MEMORY_LIMIT);
    expect_result(b, "return 1", NULL, "1");
    strbuf_free(&event);
}

static void test_time_limit(void **state)
{
    Bench *b = *state;
    static const char *const sources[] = {
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "xpcall(error, function() while true do end end)",
        "coroutine.wrap(function() coroutine.wrap(function() while true do end end)() end)()",
        "table.sort({3, 2, 1}, function() while true do end end)",
        "('x'):gsub('.', function() while true do end end)",
        "print(setmetatable({}, {__tostring = function() while true do end end}))",
        "local t = setmetatable({}, {__index = function() while true do end end}) return t.x",
        "for _ in function() while true do end end do end",
    };
    b->limits.cpu_max_ns = 30 * CLOCK_NS_PER_MS;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(sources); i++) {
        uint64_t start = clock_monotonic_ns();
        run(b, sources[i], NULL);
        assert_int_equal(b->x.status, KHRONOS_TIMEOUT);
        assert_true(clock_monotonic_ns() - start < 3 * CLOCK_NS_PER_S);
        assert_true(khronos_isbroken(b->rt));
    }
    b->limits.cpu_max_ns = 10 * CLOCK_NS_PER_S;
    b->limits.wall_max_ns = 30 * CLOCK_NS_PER_MS;
    run(b, "while true do end", NULL);
    assert_int_equal(b->x.status, KHRONOS_TIMEOUT);
    b->limits.wall_max_ns = 60 * CLOCK_NS_PER_S;
    expect_result(b, "local n = 0 for i = 1, 3e6 do n += i % 7 end return n", NULL, "8999997");
}

/* A run that is parked in the middle can be ended, or dropped with its VM. */
static void test_parked_runs_end(void **state)
{
    Bench *b = *state;
    KhronosTemplate *t = support_template(
        b->sandbox, "p", 1, "init.luau",
        "local t = {} for i = 1, 50 do t[i] = i end "
        "while true do table.sort(t, function(a, c) local n = 0 for i = 1, 100 do n += i end return a < c end) "
        "require('@antiraid/json').encode(t) end",
        NULL);
    char *storage;
    KhronosEvent event;
    support_event("{\"name\":\"N\",\"data\":[1,2]}", &storage, &event);
    for (int kill = 0; kill < 2; kill++) {
        KhronosRuntime *rt = khronos_new(b->sandbox, 42, &b->limits, &b->log);
        KhronosExecution x = {.template_version = t, .event = &event, .id = "x", .out = &b->result};
        khronos_submit(rt, &x);
        for (int i = 0; i < 6; i++)
            assert_int_equal(khronos_step(rt, b->fibers), KHRONOS_PARKED);
        if (kill) {
            assert_true(khronos_cancel(rt, "x"));
            while (khronos_step(rt, b->fibers) == KHRONOS_PARKED)
                continue;
            assert_ptr_equal(khronos_take_finished(rt), &x);
            assert_int_equal(x.status, KHRONOS_CANCELLED);
            assert_false(khronos_isbroken(rt));
        }
        khronos_free(rt);
        execution_free(&x);
    }
    free(storage);
    template_release(t);
}

static void test_logs(void **state)
{
    Bench *b = *state;
    b->x.keep_logs = true;
    run(b, "print('a', 1, nil, true) warn('careful') print('x\\ny\\0z\\xFF')", NULL);
    assert_memory_equal(b->printed.data, "a\t1\tnil\ttrue\nwarn: careful\nx\ny\0z\xFF\n",
                        b->printed.length);
    assert_string_equal(strbuf_cstr(&b->x.logs),
                        "\"a\\t1\\tnil\\ttrue\",\"careful\",\"x\\ny\\u0000z\xEF\xBF\xBD\"");
    b->limits.log_lines_per_second = 3;
    khronos_free(b->rt);
    b->rt = NULL;
    run(b, "for i = 1, 10 do print(i) end", NULL);
    assert_string_equal(
        strbuf_cstr(&b->printed),
        "1\n2\n3\nwarn: [7 lines with 8 bytes dropped: more than 3 lines a second]\n");
    b->limits.log_lines_per_second = 100;
    khronos_free(b->rt);
    b->rt = NULL;
    run(b, "print(('x'):rep(5000))", NULL);
    assert_int_equal(b->printed.length, 4096 + strlen(" [904 bytes cut]\n"));
}

static void test_memory_is_given_back(void **state)
{
    Bench *b = *state;
    luau_Account before, after;
    run(b, "return 1", NULL);
    khronos_shrink(b->rt);
    khronos_account(b->rt, &before);
    run(b,
        "local t = {} for i = 1, 1e4 do t[i] = {i} end return require('@antiraid/json').encode(t)",
        NULL);
    assert_int_equal(b->x.status, KHRONOS_OK);
    khronos_shrink(b->rt);
    khronos_account(b->rt, &after);
    assert_int_equal(after.external_bytes, before.external_bytes);
    assert_true(after.reserved_bytes < before.reserved_bytes + 16384);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_results, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_results, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_data_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_data, setup, teardown),
        cmocka_unit_test_setup_teardown(test_json_module, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sandbox, setup, teardown),
        cmocka_unit_test_setup_teardown(test_context, setup, teardown),
        cmocka_unit_test_setup_teardown(test_globals_belong_to_a_version, setup, teardown),
        cmocka_unit_test_setup_teardown(test_require, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_requires, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_event_larger_than_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_parked_runs_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_logs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_is_given_back, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
