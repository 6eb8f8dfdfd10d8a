/* What templates can require: the names, interop and json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/strbuf.h"
#include "khronos/context.h"
#include "plugin_support.h"

#define PRELUDE                                                                                    \
    "local interop = require('@antiraid/interop') local json = require('@antiraid/json') "

#define CASES(vm, cases) plugin_cases(vm, PRELUDE, cases, BASE_ARRAY_COUNT(cases))
#define ERRORS(vm, cases) plugin_errors(vm, PRELUDE, cases, BASE_ARRAY_COUNT(cases))

/* Every plugin is a table that is frozen through and through, the same one each time. */
static void test_registry(void **state)
{
    int count;
    const KhronosPlugin *plugins = plugins_all(&count);
    assert_true(count >= 4);
    for (int i = 0; i < count; i++) {
        char source[600];
        snprintf(source, sizeof(source),
                 "local m = require('%s/%s') local function check(t, name) "
                 "assert(table.isfrozen(t), name) for k, v in t do assert(type(k) == 'string') "
                 "if type(v) == 'table' and not table.isfrozen(v) then error(name .. k) end "
                 "if type(v) == 'table' then check(v, k) end end end check(m, 'module') "
                 "return m == require('%s/%s'), pcall(rawset, m, 'x', 1)",
                 plugins[i].namespace_name, plugins[i].name, plugins[i].namespace_name,
                 plugins[i].name);
        plugin_expect(*state, source, "true,false,attempt to modify a readonly table");
        for (int k = 0; k < i; k++)
            assert_true(strcmp(plugins[i].name, plugins[k].name) != 0 ||
                        strcmp(plugins[i].namespace_name, plugins[k].namespace_name) != 0);
    }
}

static void test_unknown_modules(void **state)
{
    static const PluginCase errors[] = {
        {"require('@antiraid/nosuch')",
         "error requiring module \"@antiraid/nosuch\": @antiraid has no module \"nosuch\""},
        {"require('@antiraid')", "@antiraid has no module \"\""},
        {"require('@antiraid/')", "@antiraid has no module \"\""},
        {"require('@antiraid/json/x')", "@antiraid has no module \"json/x\""},
        {"require('@antiraid/JSON')", "@antiraid has no module \"JSON\""},
        {"require('@antiraid/json\\0')", "@antiraid has no module"},
        {"require('@antiraid/../json')", "@antiraid has no module \"../json\""},
        {"require('@antiraid/globals')", "@antiraid has no module \"globals\""},
        {"require('@antiraid/' .. ('x'):rep(1e5))", "@antiraid has no module \"xxx"},
        {"require(json)", "string expected, got table"},
        {"require()", "missing argument #1 to 'require'"},
    };
    ERRORS(*state, errors);
}

static void test_interop(void **state)
{
    static const PluginCase cases[] = {
        {"type(interop.null), interop.null == nil, interop.null == interop.null",
         "userdata,false,true"},
        {"json.encode(interop.array()), json.encode({}), json.encode(interop.array{1, nil, 3})",
         "[],{},[1,null,3]"},
        {"local t = {} return interop.array(t) == t, interop.array(t) == t", "true,true"},
        {"getmetatable(interop.array()) == interop.array_metatable", "true"},
        {"json.encode(setmetatable({}, interop.array_metatable))", "[]"},
        {"json.encode({interop.null}), json.decode('[null]')[1] == interop.null", "[null],true"},
        {"table.isfrozen(interop.array_metatable)", "true"},
        {"interop.memory_limit()", "20971520"},
        {"local a = interop.memusage() local t = {} for i = 1, 2e4 do t[i] = {i} end "
         "return interop.memusage() - a > 2e4 * 16, interop.memusage() < interop.memory_limit()",
         "true,true"},
    };
    static const PluginCase errors[] = {
        {"interop.array(1)", "table expected, got number"},
        {"interop.array('x')", "table expected, got string"},
        {"interop.array(interop.null)", "table expected, got userdata"},
        {"interop.array(setmetatable({}, {}))", "the table has another metatable"},
        {"interop.array(table.freeze({}))", "readonly"},
        {"interop.array(math)", "readonly"},
        {"interop.array_metatable.__index = print return 1", "readonly"},
        {"interop.null = 1 return 1", "readonly"},
        {"interop.null.x", "attempt to index userdata with 'x'"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

static void test_json(void **state)
{
    static const PluginCase cases[] = {
        {"json.encode({a = {1, 2, {b = true}}})", "{\"a\":[1,2,{\"b\":true}]}"},
        {"json.encode({1, {}}, true)", "[\n  1,\n  {}\n]"},
        {"json.encode({1}, false), json.encode({1}, nil)", "[1],[1]"},
        {"json.encode(nil), json.encode('é\\0'), json.encode(1e21)", "null,\"é\\u0000\",1e21"},
        {"json.tojsonstring({1}) == json.encode({1}), json.fromjsonstring('[1]')[1]", "true,1"},
        {"json.decode('  {\"a\": [1.5, \"x\", null, false]} ').a[2]", "x"},
        {"json.decode(buffer.fromstring('[7]'))[1]", "7"},
        {"json.decode('null'), json.decode('{\"a\":null}').a", "nil,nil"},
        {"getmetatable(json.decode('[]')) == interop.array_metatable", "true"},
        {"json.encode(json.decode('[9007199254740993,-9223372036854775808]'))",
         "[9007199254740993,-9223372036854775808]"},
        {"json.decode('{\"a\":1,\"a\":2}').a", "2"},
    };
    static const PluginCase errors[] = {
        {"json.encode()", "missing argument #1"},
        {"json.encode({}, 1)", "boolean expected, got number"},
        {"json.encode(0/0)", "value: NaN has no JSON form"},
        {"json.encode({a = {print}})", "value.a[1]: a function has no JSON form"},
        {"json.encode({1, a = 2})", "both list elements and named keys"},
        {"json.encode('\\255')", "invalid UTF-8 in a string at byte 1"},
        {"local t = {} t.t = t return json.encode(t)", "nested more than 64 deep"},
        {"json.decode()", "missing argument #1 to 'decode'"},
        {"json.decode({})", "string expected, got table"},
        {"json.decode('')", "invalid JSON: "},
        {"json.decode('[1,]')", "invalid JSON: "},
        {"json.decode('[1] 2')", "invalid JSON: "},
        {"json.decode('{a:1}')", "invalid JSON: "},
        {"json.decode(buffer.create(0))", "invalid JSON: "},
        {"json.decode('\\239\\187\\191[]')", "invalid JSON: "},
        {"json.decode(('['):rep(65) .. (']'):rep(65))", "invalid JSON: "},
        {"json.decode('[NaN]')", "invalid JSON: "},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

/* The path of the reference, from that of this file. */
static void reference_path(char *path, size_t size)
{
    const char *slash = strrchr(__FILE__, '/');
    int length = slash ? (int)(slash - __FILE__) : 0;
    snprintf(path, size, "%.*s%s../../docs/plugins.md", length, __FILE__, slash ? "/" : "");
}

static void run_example(PluginVm *vm, const char *source)
{
    KhronosTemplate *t = template_new(vm->sandbox, "example", 1, "");
    KhronosExecution x = {.template_version = t, .id = "run"};
    lua_createtable(vm->L, 0, 1);
    lua_newtable(vm->L);
    lua_setfield(vm->L, -2, "data");
    context_push(vm->L, 42, &x);
    template_release(t);
    /* Some examples go on from those before them: the event is there for all. */
    char *whole;
    bool has_event = strstr(source, "local event, ctx = ...") != NULL;
    if (asprintf(&whole, "%s%s", has_event ? "" : "local event, ctx = ... ", source) < 0)
        fail();
    if (plugin_start(vm, whole) != LUA_OK)
        fail_msg("%s\n%s", source, plugin_text(vm));
    free(whole);
}

/* What docs/plugins.md shows holds. */
static void test_reference(void **state)
{
    char path[512];
    Strbuf text = STRBUF_INIT;
    int count = 0;
    reference_path(path, sizeof(path));
    if (strbuf_readfile(&text, path, 1 << 20) != 0)
        fail_msg("cannot read %s", path);
    char *at = (char *)(uintptr_t)strbuf_cstr(&text);
    while ((at = strstr(at, "```luau\n")) != NULL) {
        char *source = at + strlen("```luau\n"), *end = strstr(source, "```\n");
        assert_non_null(end);
        *end = '\0';
        run_example(*state, source);
        at = end + 1;
        count++;
    }
    assert_true(count > 5);
    strbuf_free(&text);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, plugin_setup, plugin_teardown)
#define STRESSED(function)                                                                         \
    cmocka_unit_test_setup_teardown(function, plugin_setup_stressed, plugin_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_registry), TEST(test_unknown_modules), TEST(test_interop),
        TEST(test_json),     TEST(test_reference),
    };
    const struct CMUnitTest stressed[] = {
        STRESSED(test_registry),
        STRESSED(test_unknown_modules),
        STRESSED(test_json),
    };
    int failed = cmocka_run_group_tests_name("plugins", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("plugins, stressed", stressed, NULL, NULL);
}
