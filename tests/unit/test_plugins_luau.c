/* @antiraid/luau: chunks and the pretty printer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "plugin_support.h"

#define PRELUDE                                                                                    \
    "local luau = require('@antiraid/luau') local interop = require('@antiraid/interop') "         \
    "local ts = require('@antiraid/typesext')"

#define CASES(vm, cases) plugin_cases(vm, PRELUDE, cases, BASE_ARRAY_COUNT(cases))
#define ERRORS(vm, cases) plugin_errors(vm, PRELUDE, cases, BASE_ARRAY_COUNT(cases))

/* ---- Chunks ---------------------------------------------------------------------------------- */

static void test_load(void **state)
{
    static const PluginCase cases[] = {
        {"luau.load('return 1, ...'):call(2, 3)", "1,2,3"},
        {"luau.load('return 1, ...'):call_async(2, nil)", "1,2,nil"},
        {"luau.load(''):call()", ""},
        {"select('#', luau.load('return nil, nil'):call())", "2"},
        {"typeof(luau.load('')), type(luau.load('')), tostring(luau.load(''))",
         "Chunk,userdata,Chunk"},
        {"getmetatable(luau.load(''))", "The metatable is locked"},
        {"local c = luau.load('n = (n or 0) + 1 return n') return c:call(), c:call(), n", "1,2,2"},
        {"local c = luau.load('return 1') return c.environment, c.chunk_name, c.code",
         "nil,nil,return 1"},
        {"luau.load('return 1', 'mine').chunk_name", "mine"},
        {"local c = luau.load('return debug.info(1, \"s\")') c.chunk_name = 'x' return c:call()",
         "x"},
        {"local c = luau.load('return 1', 'a') c.chunk_name = nil return c.chunk_name, c:call()",
         "nil,1"},
        {"pcall(function() luau.load('error(\"no\")', 'mine'):call() end)", "false,mine:1: no"},
        {"pcall(luau.load('\\n\\nerror({})').call, nil)",
         "false,call must be called with a colon: chunk:call(...)"},
    };
    static const PluginCase errors[] = {
        {"luau.load('x = ', 'mine')", "mine:1: "},
        {"luau.load('\\n\\nlocal = 1', 'mine')", "mine:3: "},
        {"luau.load('local x = ')", "[string \"local x = \"]:1: "},
        {"luau.load()", "missing argument #1 to 'load'"},
        {"luau.load(1)", "string expected, got number"},
        {"luau.load(nil)", "string expected, got nil"},
        {"luau.load(buffer.fromstring('return 1'))", "string expected, got buffer"},
        {"luau.load(function() end)", "string expected, got function"},
        {"luau.load('', 1)", "invalid argument #2 to 'load' (string expected, got number"},
        {"luau.load('', '')", "a chunk's name has 1 to 128 bytes"},
        {"luau.load('', ('x'):rep(129))", "a chunk's name has 1 to 128 bytes"},
        {"luau.load('', 'a\\nb')", "no control characters"},
        {"luau.load('', 'a\\0b')", "no control characters"},
        {"luau.load('', 'a\\27b')", "no control characters"},
        {"luau.load('').nothing", "Chunk has no field 'nothing'"},
        {"luau.load('')[{}]", "string expected, got table"},
        {"luau.load('').code = 'x' return 1", "a chunk's field 'code' cannot be set"},
        {"luau.load('').call = print return 1", "a chunk's field 'call' cannot be set"},
        {"luau.load('').environment = 1 return 1",
         "a chunk's environment must be a table, got number"},
        {"luau.load('').environment = nil return 1", "must be a table, got nil"},
        {"luau.load('').environment = ts.U64(1) return 1", "must be a table, got U64"},
        {"luau.load('').chunk_name = 5 return 1", "string expected, got number"},
        {"luau.load('').chunk_name = '\\7' return 1", "no control characters"},
        {"luau.load('').call()", "call must be called with a colon"},
        {"luau.load('').call_async({})", "call_async must be called with a colon"},
        {"luau.load('')()", "attempt to call a Chunk value"},
        {"rawset(luau.load(''), 1, print)", "table expected, got Chunk"},
        {"setmetatable(luau.load(''), {})", "table expected, got Chunk"},
        {"luau.load = print return 1", "readonly"},
        {"require('@antiraid/interop').array(luau.load(''))", "table expected, got Chunk"},
        {"require('@antiraid/json').encode(luau.load(''))", "userdata has no JSON form"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

/* What may have been bytecode elsewhere is a syntax error here. */
static void test_text_only(void **state)
{
    for (int first = 1; first < 32; first++) {
        char source[400];
        if (first == '\t' || (first >= '\n' && first <= '\r'))
            continue;
        snprintf(source, sizeof(source),
                 PRELUDE " return pcall(luau.load, '\\%d\\0\\0\\1return 1', 'x')", first);
        assert_int_equal(plugin_start(*state, source), LUA_OK);
        const char *got = plugin_text(*state);
        if (strncmp(got, "false,x:1: ", 11) != 0)
            fail_msg("first byte %d: %s", first, got);
    }
    plugin_expect_error(*state, PRELUDE " luau.load('\\27Lua', 'x')", "x:1: ");
}

static void test_environment(void **state)
{
    static const PluginCase cases[] = {
        {"local e = {x = 5} local c = luau.load('y = x return x') c.environment = e "
         "return c:call(), e.y, y, c.environment == e",
         "5,5,nil,true"},
        {"local c = luau.load('return print, math, _G') c.environment = {} return c:call()",
         "nil,nil,nil"},
        /* The globals of who loads, not of who calls; and what is made inside has the new ones. */
        {"local c = luau.load('return luau.load(\"return z\"):call()') "
         "c.environment = {luau = luau, z = 7} z = 1 return c:call(), z",
         "7,1"},
        {"local c = luau.load('return function() return z end') z = 1 local f = c:call() "
         "c.environment = {z = 2} local g = c:call() return f(), g(), f()",
         "1,2,1"},
        {"local c = luau.load('return z') c.environment = setmetatable({}, {__index = _G}) z = 3 "
         "c.chunk_name = 'named' return c:call(), typeof(c.environment)",
         "3,table"},
        {"local f = coroutine.wrap(luau.load) z = 4 return f('return z'):call()", "4"},
        {"local c = luau.load('return getfenv, setfenv, _G == ..., getmetatable(_G)') "
         "return c:call(_G)",
         "nil,nil,true,The metatable is locked"},
        {"local c = luau.load('return math.abs(-1), string.rep') c.environment = "
         "{math = {abs = function() return 'mine' end}, string = {}} return c:call()",
         "mine,nil"},
    };
    static const PluginCase errors[] = {
        {"luau.load('print = 1'):call()", "cannot modify read-only global 'print'"},
        {"local c = luau.load('x = 1') c.environment = math c:call() return 1", "readonly"},
        {"local c = luau.load('x = 1') c.environment = table.freeze({}) c:call() return 1",
         "readonly"},
        {"luau.load('math.abs = 1'):call()", "readonly"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

static void test_yields(void **state)
{
    PluginVm *vm = *state;
    static const PluginCase cases[] = {
        {"local c = luau.load('local a = coroutine.yield(1, ...) return a, coroutine.yield(2)') "
         "local co = coroutine.create(function(...) return 'end', c:call_async(...) end) "
         "local t = {coroutine.resume(co, 'x')} local u = {coroutine.resume(co, 'y')} "
         "local v = {coroutine.resume(co, 'z')} return table.concat({t[2], t[3], u[2], v[2], "
         "v[3], v[4], coroutine.status(co)}, ' ')",
         "1 x 2 end y z dead"},
        {"local c = luau.load('coroutine.yield() error(\"late\", 0)') "
         "local co = coroutine.create(function() return pcall(function() c:call_async() end) end) "
         "coroutine.resume(co) return coroutine.resume(co)",
         "true,false,late"},
        {"local c = luau.load('coroutine.yield()') "
         "local co = coroutine.create(function() c:call() end) return coroutine.resume(co)",
         "false,attempt to yield across metamethod/C-call boundary"},
    };
    CASES(vm, cases);
    /* From the thread that the host resumes. */
    assert_int_equal(plugin_start(vm, PRELUDE " return luau.load('return coroutine.yield(1)')"
                                              ":call_async()"),
                     LUA_YIELD);
    lua_settop(vm->co, 0);
    lua_pushliteral(vm->co, "back");
    assert_int_equal(lua_resume(vm->co, NULL, 1), LUA_OK);
    assert_string_equal(plugin_text(vm), "back");
}

static void test_deep_calls(void **state)
{
    static const PluginCase errors[] = {
        {"local c c = luau.load('local c = ... return (c:call(c))') c:call(c) return 1",
         "stack overflow"},
        {"local c c = luau.load('local c = ... return (c:call_async(c))') c:call(c) return 1",
         "stack overflow"},
        {"luau.load(('('):rep(1e5)):call()", "recursion depth"},
    };
    ERRORS(*state, errors);
    plugin_expect(*state,
                  PRELUDE " local c = luau.load('local c, n = ... if n == 0 then return 0 end "
                          "return 1 + c:call(c, n - 1)') return c:call(c, 100)",
                  "100");
}

static void test_chunks_are_freed(void **state)
{
    PluginVm *vm = *state;
    vm->limits.memory_max_bytes = 1 << 20;
    plugin_renew(vm);
    /* A chunk whose environment holds it is garbage like any other. */
    plugin_expect(vm,
                  PRELUDE " for i = 1, 3000 do local c = luau.load('return ' .. i) "
                          "local e = {} e.c = c c.environment = e assert(c:call() == i) end "
                          "return 'ok'",
                  "ok");
    assert_int_equal(plugin_start(vm, PRELUDE " local t = {} for i = 1, 1e6 do "
                                              "t[i] = luau.load('return ' .. i) end"),
                     LUA_KILLED);
    assert_int_equal(luau_killreason(vm->L), LUAU_KILL_MEMORY);
}

/* ---- format ---------------------------------------------------------------------------------- */

static void test_format(void **state)
{
    static const PluginCase cases[] = {
        {"luau.format()", ""},
        {"luau.format(nil, true, 1.5, 'a\"b', -0, 1/0)", "nil true 1.5 a\"b -0 inf"},
        {"luau.format({}, {{}})", "{} {\n    {},\n}"},
        {"luau.format({1, 'x', {2}})", "{\n    1,\n    \"x\",\n    {\n        2,\n    },\n}"},
        {"luau.format({b = 1, a = 'q', ['a b'] = {}, [''] = 2, [10] = 3, [-1] = 4, [true] = 5, "
         "[false] = 6})",
         "{\n    [-1] = 4,\n    [10] = 3,\n    [\"\"] = 2,\n    a = \"q\",\n    [\"a b\"] = {},\n"
         "    b = 1,\n    [false] = 6,\n    [true] = 5,\n}"},
        {"luau.format({1, 2, x = 3, [0.5] = 4})",
         "{\n    1,\n    2,\n    [0.5] = 4,\n    x = 3,\n}"},
        {"luau.format({'\\n\\t\\r\\0\\27\\\\\"é'})", "{\n    \"\\n\\t\\r\\x00\\x1b\\\\\\\"é\",\n}"},
        {"luau.format({ts.U64('18446744073709551615'), ts.I64(-1), interop.null, 5i})",
         "{\n    18446744073709551615,\n    -1,\n    null,\n    5,\n}"},
        {"luau.format(vector.create(1, 2.5, -3), buffer.create(3), print, coroutine.running(), "
         "newproxy(), luau.load(''))",
         "vector(1, 2.5, -3) <buffer of 3 bytes> <function> <thread> <userdata> <Chunk>"},
        {"luau.format({[print] = 1, [{}] = 2})",
         "{\n    [<function>] = 1,\n    [<table>] = 2,\n}|{\n    [<table>] = 2,\n"
         "    [<function>] = 1,\n}"},
        {"local t = {} t.me = t t.list = {t} return luau.format(t)",
         "{\n    list = {\n        <cycle>,\n    },\n    me = <cycle>,\n}"},
        {"local a = {1} return luau.format({a, a})",
         "{\n    {\n        1,\n    },\n    {\n        1,\n    },\n}"},
        {"local t = {} for i = 1, 100 do t = {t} end local s = luau.format(t) "
         "return select(2, s:gsub('{', '')), s:find('{...}', 1, true) ~= nil",
         "17,true"},
        {"luau.format(setmetatable({1}, {__tostring = error, __index = error, __iter = error, "
         "__len = error, __metatable = 5}))",
         "{\n    1,\n}"},
        {"luau.format(interop.array({1}))", "{\n    1,\n}"},
        {"local t = {} for i = 1, 1005 do t[i] = i end local s = luau.format(t) "
         "return s:sub(-31)",
         "\n    1000,\n    -- 5 more\n}|"},
        {"local t = {} for i = 1, 1005 do t['k' .. i] = i end "
         "return luau.format(t):find('    -- 5 more\\n}', 1, true) ~= nil",
         "true"},
        {"#luau.format(('x'):rep(1e6)), luau.format(('x'):rep(1e6)):sub(-12)",
         "262153,xxx... (cut)"},
        {"local s = luau.format({('\\0'):rep(1e6)}) return #s, s:sub(-9)", "262153,... (cut)"},
        {"local t = {1} for i = 1, 15 do t = {t, t, t, t} end local s = luau.format(t) "
         "return #s, s:sub(-9)",
         "262153,... (cut)"},
        {"local t = {} for i = 1, 2e5 do t[i .. ''] = {} end "
         "return #luau.format(t) < 30000",
         "true"},
        {"luau.format(math):find('    pi = 3.141592653589793,', 1, true) ~= nil", "true"},
        {"local g = _G g.x = 1 return luau.format(g)", "{\n    _G = <cycle>,\n    x = 1,\n}"},
        {"table.isfrozen(luau)", "true"},
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++) {
        /* `|` separates wants where the order of a table's keys is its own. */
        char *source = plugin_source(PRELUDE, cases[i].source), *want = strdup(cases[i].want);
        const char *bar = strchr(want, '|');
        assert_int_equal(plugin_start(*state, source), LUA_OK);
        const char *got = plugin_text(*state);
        bool good = strcmp(got, want) == 0;
        if (bar)
            good = strcmp(got, bar + 1) == 0 || strncmp(got + strlen(got) - (size_t)(bar - want),
                                                        want, (size_t)(bar - want)) == 0;
        if (!good)
            fail_msg("%s\nexpected: %s\ngot: %s", source, want, got);
        free(source);
        free(want);
    }
}

/* Values that only a weak table holds may go at any safepoint while it is walked. */
static void test_format_weak(void **state)
{
    plugin_expect(*state,
                  PRELUDE " for _, mode in {'k', 'v', 'kv'} do "
                          "local t = setmetatable({}, {__mode = mode}) "
                          "for i = 1, 20 do t[i] = {{i}, {'x' .. i}} t[{}] = {i} "
                          "t['n' .. i] = {tostring(i)} end "
                          "assert(#luau.format(t, {t}, t) > 0) end return 'ok'",
                  "ok");
}

/* The same of the writer of JSON. In the stressed VM the first growth of its text collects. */
static void test_json_weak(void **state)
{
    static const PluginCase cases[] = {
        {"typeof(json.encode(setmetatable({x = {1, {2}}}, {__mode = 'v'})))", "string"},
        {"typeof(json.encode(setmetatable({{1, {2}}, {{}}}, {__mode = 'kv'})))", "string"},
        {"typeof(json.encode(setmetatable({x = {y = {('z'):rep(5000), {{3}}}}}, {__mode = 'v'})))",
         "string"},
        {"typeof(luau.format(setmetatable({x = {y = {('z'):rep(5000), {{3}}}}}, {__mode = 'v'})))",
         "string"},
        {"typeof(luau.format(setmetatable({{y = {('z'):rep(5000), {{3}}}}, [{}] = {4}}, "
         "{__mode = 'kv'})))",
         "string"},
    };
    plugin_cases(*state, PRELUDE " local json = require('@antiraid/json')", cases,
                 BASE_ARRAY_COUNT(cases));
}

static void test_format_quota(void **state)
{
    PluginVm *vm = *state;
    vm->limits.memory_max_bytes = 2 << 20;
    plugin_renew(vm);
    plugin_expect(vm,
                  PRELUDE " local n = 0 for i = 1, 50 do n += #luau.format({('x'):rep(1e5)}) end "
                          "return n",
                  "5000550");
    assert_int_equal(plugin_start(vm, PRELUDE " local t = {} while true do "
                                              "t[#t + 1] = luau.format({('x'):rep(1e5)}) end"),
                     LUA_KILLED);
}

/* Every allocation of a mixed script fails once: an error or a kill, and a sound heap. */
static void test_failing_allocations(void **state)
{
    PluginVm *vm = *state;
    vm->limits.memory_max_bytes = 0; /* without a quota it is an error */
    static const char script[] = PRELUDE
        " local c = luau.load('return ...', 'x') c.environment = {} c.chunk_name = 'y' "
        "local t = {c:call(1, 2), c:call_async(ts.U64(5) + 1)} t.t = t t.s = 'x' "
        "for i = 1, 100 do t['k' .. i] = {i} end "
        "return luau.format(t), ts.I64('5'):to_le_bytes(), ts.randstring(2000)";
    bool finished = false;
    for (uint64_t k = 1; !finished; k++) {
        plugin_renew(vm);
        vm->fail_at = k;
        lua_State *L = vm->L;
        int status = plugin_start(vm, script);
        assert_true(status == LUA_OK || status == LUA_ERRMEM || status == LUA_ERRRUN);
        if (luau_checkheap(L))
            fail_msg("allocation %d: %s", (int)k, luau_checkheap(L));
        finished = status == LUA_OK;
        assert_true(k < 100000);
    }
}

/* ---- Polls ----------------------------------------------------------------------------------- */

static const char LONG_SCRIPT[] = PRELUDE
    " local c = luau.load('local n = 0 for i = 1, 50 do n += i end return n, ...', 'x') "
    "local t = {c:call(1), c:call_async('a')} "
    "for i = 1, 300 do t['k' .. i] = {i, ts.U64(i) * 3} end t.s = ('\\0x'):rep(9000) "
    "t.weak = setmetatable({a = {1}, b = {2}}, {__mode = 'v'}) "
    "t.json = #require('@antiraid/json').encode({t.k1[1], t.s}) t.weak = nil "
    "return luau.format(t)";

typedef struct FiberRun {
    PluginVm *vm;
    int status;
} FiberRun;

static void run_long_script(lua_State *L, void *arg)
{
    FiberRun *run = arg;
    (void)L;
    run->status = plugin_start(run->vm, LONG_SCRIPT);
}

/* It may be killed while the script is compiled. */
static void run_protected(lua_State *L, void *arg)
{
    FiberRun *run = arg;
    int status = luau_protect(L, run_long_script, run);
    if (status != LUA_OK)
        run->status = status;
}

/* Parks at every poll; from the kill_at-th on (0: never) the VM is to be killed. Returns how often
 * it was parked. */
static int run_parking(PluginVm *vm, luau_Fibers *fibers, int kill_at, int *status)
{
    FiberRun run = {.vm = vm};
    int parked = 0;
    luau_preempt(vm->L);
    int result = luau_run(fibers, vm->L, run_protected, &run);
    while (result == LUAU_PARKED) {
        if (++parked == kill_at)
            luau_kill(vm->L, LUAU_KILL_HOST);
        luau_preempt(vm->L);
        result = luau_continue(vm->L);
    }
    assert_int_equal(result, LUAU_DONE);
    *status = run.status;
    return parked;
}

static void test_every_poll(void **state)
{
    PluginVm *vm = *state;
    luau_Fibers *fibers = luau_fibers_new(2);
    int status;
    assert_int_equal(plugin_start(vm, LONG_SCRIPT), LUA_OK);
    char *want = strdup(plugin_text(vm));
    assert_true(strlen(want) > 10000);
    plugin_renew(vm);
    int polls = run_parking(vm, fibers, 0, &status);
    assert_int_equal(status, LUA_OK);
    assert_string_equal(plugin_text(vm), want);
    assert_true(polls > 20);
    for (int k = 1; k < polls; k += polls < 400 ? 1 : polls / 400) {
        plugin_renew(vm);
        run_parking(vm, fibers, k, &status);
        assert_int_equal(status, LUA_KILLED);
    }
    plugin_renew(vm);
    luau_fibers_free(fibers);
    free(want);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, plugin_setup, plugin_teardown)
#define STRESSED(function)                                                                         \
    cmocka_unit_test_setup_teardown(function, plugin_setup_stressed, plugin_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_load),         TEST(test_text_only),           TEST(test_environment),
        TEST(test_yields),       TEST(test_deep_calls),          TEST(test_chunks_are_freed),
        TEST(test_format),       TEST(test_format_weak),         TEST(test_json_weak),
        TEST(test_format_quota), TEST(test_failing_allocations), TEST(test_every_poll),
    };
    const struct CMUnitTest stressed[] = {
        STRESSED(test_load),        STRESSED(test_environment), STRESSED(test_yields),
        STRESSED(test_format_weak), STRESSED(test_json_weak),
    };
    int failed = cmocka_run_group_tests_name("luau", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("luau, stressed", stressed, NULL, NULL);
}
