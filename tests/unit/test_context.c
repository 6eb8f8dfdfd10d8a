/* ctx: what it tells, what it allows, and that nobody makes or changes one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "khronos/context.h"
#include "plugin_support.h"

static const char *const EVENTS[] = {"MESSAGE_CREATE", "KeyExpiry[a]"};
static const char *const CAPS[] = {"kv:*", "log:write", "discord:send"};

static const TemplateMeta META = {.description = "greets people",
                                  .events = EVENTS,
                                  .event_count = 2,
                                  .capabilities = CAPS,
                                  .capability_count = 3,
                                  .enabled = true};

static KhronosTemplate *make_template(PluginVm *vm, const TemplateMeta *meta)
{
    char error[256];
    KhronosTemplate *t = template_new(vm->sandbox, "greeter", 7, "");
    assert_non_null(t);
    if (meta && !template_setmeta(t, meta, error, sizeof(error)))
        fail_msg("%s", error);
    return t;
}

/* Pushes a context as an argument of the next run. All that it was made from is gone then. */
static void push_context(PluginVm *vm, const TemplateMeta *meta, const KhronosCaller *caller)
{
    KhronosTemplate *t = make_template(vm, meta);
    char *id = strdup("run-12");
    KhronosExecution x = {.template_version = t, .caller = caller, .id = id};
    context_push(vm->L, 42, &x);
    free(id);
    template_release(t);
}

static void cases_with(PluginVm *vm, const KhronosCaller *caller, const PluginCase *cases,
                       size_t count, bool errors)
{
    for (size_t i = 0; i < count; i++) {
        push_context(vm, &META, caller);
        if (errors)
            plugin_errors(vm, "local ctx = ...", &cases[i], 1);
        else
            plugin_cases(vm, "local ctx = ...", &cases[i], 1);
    }
}

#define CASES(vm, caller, cases) cases_with(vm, caller, cases, BASE_ARRAY_COUNT(cases), false)
#define ERRORS(vm, caller, cases) cases_with(vm, caller, cases, BASE_ARRAY_COUNT(cases), true)

static void test_fields(void **state)
{
    static const PluginCase cases[] = {
        {"ctx.guild_id, ctx.owner_guild_id, ctx.template_name, ctx.template_version",
         "42,42,greeter,7"},
        {"ctx.execution_id, ctx.current_user, ctx.memory_limit", "run-12,nil,20971520"},
        {"typeof(ctx.guild_id), typeof(ctx), type(ctx), tostring(ctx)",
         "string,TemplateContext,userdata,TemplateContext"},
        {"table.concat(ctx.allowed_caps, ' ')", "kv:* log:write discord:send"},
        {"table.isfrozen(ctx.allowed_caps), table.isfrozen(ctx.data), table.isfrozen(ctx.data.events)",
         "true,true,true"},
        {"ctx.data.name, ctx.data.version, ctx.data.description, ctx.data.enabled",
         "greeter,7,greets people,true"},
        {"table.concat(ctx.data.events, ' '), table.concat(ctx.data.capabilities, ' ')",
         "MESSAGE_CREATE KeyExpiry[a],kv:* log:write discord:send"},
        {"ctx.KV, ctx.Templates", "KV,Templates"},
        {"local s = ctx.store s.n = (s.n or 0) + 1 return ctx.store == s, ctx.store.n", "true,1"},
        {"local s = ctx.store s.n += 1 return s.n", "2"},
        {"ctx == ctx, ctx:withlimits{capabilities = {}} == ctx", "true,false"},
    };
    static const PluginCase errors[] = {
        {"ctx.nothing", "TemplateContext has no field 'nothing'"},
        {"ctx['guild_id\\0']", "TemplateContext has no field 'guild_id'"},
        {"ctx[1]", "TemplateContext has no field of type number"},
        {"ctx[ctx]", "TemplateContext has no field of type TemplateContext"},
        {"ctx[('x'):rep(1000)]", "has no field 'xxx"},
        {"ctx:nothing()", "TemplateContext has no field 'nothing'"},
        {"ctx.data.name = 'x' return 1", "readonly"},
        {"rawset(ctx.data.events, 1, 'x') return 1", "readonly"},
        {"table.insert(ctx.allowed_caps, '*') return 1", "readonly"},
    };
    CASES(*state, NULL, cases);
    ERRORS(*state, NULL, errors);
}

static void test_defaults(void **state)
{
    PluginVm *vm = *state;
    push_context(vm, NULL, NULL);
    plugin_expect(
        vm,
        "local ctx = ... return #ctx.allowed_caps, ctx.allowed_caps[1], #ctx.data.events, "
        "ctx.data.description, ctx.data.enabled, ctx:has_cap('any:thing')",
        "1,*,0,nil,true,true");
}

static void test_caller(void **state)
{
    PluginVm *vm = *state;
    static const char *const some[] = {"kv:get", "kv:set", "discord:*", "other"};
    char user[] = "80351110224678912";
    KhronosCaller caller = {.owner_guild_id = UINT64_MAX,
                            .current_user = user,
                            .capabilities = some,
                            .capability_count = 4};
    push_context(vm, &META, &caller);
    memset(user, 'x', sizeof(user) - 1); /* it holds a copy */
    plugin_expect(vm,
                  "local ctx = ... return ctx.owner_guild_id, ctx.guild_id, ctx.current_user, "
                  "table.concat(ctx.allowed_caps, ' '), table.concat(ctx.data.capabilities, ' ')",
                  "18446744073709551615,42,80351110224678912,discord:send kv:get kv:set,"
                  "kv:* log:write discord:send");
    static const PluginCase cases[] = {
        {"ctx:has_cap('kv:get'), ctx:has_cap('kv:delete'), ctx:has_cap('log:write')",
         "true,false,false"},
        {"ctx:has_cap('other'), ctx:has_cap('discord:send'), ctx:has_cap('discord:x')",
         "false,true,false"},
    };
    CASES(vm, &caller, cases);
    caller.capability_count = 0; /* an empty list is nothing at all */
    static const PluginCase nothing[] = {
        {"#ctx.allowed_caps, ctx:has_cap('kv:get'), ctx:has_any_cap{'kv:get', 'log:write'}",
         "0,false,false"},
    };
    CASES(vm, &caller, nothing);
}

static void test_methods(void **state)
{
    static const PluginCase cases[] = {
        {"ctx:has_cap('kv:get'), ctx:has_cap('kv:*'), ctx:has_cap('kv'), ctx:has_cap('*')",
         "true,true,false,false"},
        {"ctx:has_cap('log:write'), ctx:has_cap('log:write\\0'), ctx:has_cap('')",
         "true,false,false"},
        {"ctx:has_any_cap{'x', 'log:write'}, ctx:has_any_cap{'x', 'y'}, ctx:has_any_cap{}",
         "true,false,false"},
        {"local c = ctx:withlimits{capabilities = {'kv:get', 'log:write', 'kv:meta:*'}} "
         "return table.concat(c.allowed_caps, ' '), c:has_cap('kv:set'), c:has_cap('kv:meta:x')",
         "kv:get log:write kv:meta:*,false,true"},
        {"local c = ctx:withlimits{capabilities = {}} return #c.allowed_caps, c:has_cap('kv:get'), "
         "c.template_name, c.execution_id, c.guild_id, c.data.description, #c.data.capabilities",
         "0,false,greeter,run-12,42,greets people,3"},
        {"local c = ctx:withlimits{capabilities = ctx.allowed_caps} "
         "return table.concat(c.allowed_caps, ' ')",
         "kv:* log:write discord:send"},
        {"local c = ctx:withlimits{capabilities = {'kv:get'}} "
         "return pcall(c.withlimits, c, {capabilities = {'kv:*'}})",
         "false,withlimits can only take capabilities away: this context does not have 'kv:*'"},
        {"ctx:has_cap('discord:send'), ctx:withlimits{capabilities = {'kv:*'}}:has_cap('kv:set')",
         "true,true"},
        {"ctx:keep_store()", ""},
    };
    static const PluginCase errors[] = {
        {"ctx.has_cap('kv:get')", "has_cap must be called with a colon: ctx:has_cap(...)"},
        {"ctx.has_any_cap{}", "has_any_cap must be called with a colon"},
        {"ctx.withlimits{}", "withlimits must be called with a colon"},
        {"ctx.keep_store()", "keep_store must be called with a colon"},
        {"ctx:has_cap()", "missing argument #2 to 'has_cap' (string expected)"},
        {"ctx:has_cap(1)", "string expected, got number"},
        {"ctx:has_cap({})", "string expected, got table"},
        {"ctx:has_any_cap()", "table expected"},
        {"ctx:has_any_cap('x')", "table expected, got string"},
        {"ctx:has_any_cap{'x', 1}", "capabilities are strings"},
        {"ctx:withlimits()", "table expected"},
        {"ctx:withlimits(1)", "table expected, got number"},
        {"ctx:withlimits{}", "a table {capabilities = {...}} expected"},
        {"ctx:withlimits{capabilities = 'kv:get'}", "a table {capabilities = {...}} expected"},
        {"ctx:withlimits{capabilities = {}, memory = 5}", "the only limit is 'capabilities'"},
        {"ctx:withlimits{capabilities = {}, 1}", "the only limit is 'capabilities'"},
        {"ctx:withlimits{capabilities = {1}}", "capabilities are strings"},
        {"ctx:withlimits{capabilities = {''}}", "a capability has 1 to 128 bytes"},
        {"ctx:withlimits{capabilities = {'kv:get\\0'}}", "no control characters"},
        {"ctx:withlimits{capabilities = {'kv:' .. ('x'):rep(126)}}", "1 to 128 bytes"},
        {"ctx:withlimits{capabilities = {'kv:get', 'admin'}}", "does not have 'admin'"},
        {"ctx:withlimits{capabilities = {'*'}}", "does not have '*'"},
        {"ctx:withlimits{capabilities = table.create(257, 'kv:get')}",
         "more than 256 capabilities"},
        {"ctx:withlimits(setmetatable({}, {__index = {capabilities = {}}}))",
         "a table {capabilities = {...}} expected"},
        {"ctx:keep_store(1)", "boolean expected, got number"},
    };
    CASES(*state, NULL, cases);
    ERRORS(*state, NULL, errors);
}

static void test_keep_store(void **state)
{
    PluginVm *vm = *state;
    assert_false(khronos_keeps_store(vm->rt));
    push_context(vm, &META, NULL);
    plugin_expect(vm, "local ctx = ... ctx:keep_store()", "");
    assert_true(khronos_keeps_store(vm->rt));
    push_context(vm, &META, NULL);
    plugin_expect(vm, "local ctx = ... ctx:keep_store(false)", "");
    assert_false(khronos_keeps_store(vm->rt));
    push_context(vm, &META, NULL);
    plugin_expect(vm, "local ctx = ... ctx:keep_store(true)", "");
    assert_true(khronos_keeps_store(vm->rt));
}

/* Nobody but the host makes one, and nobody changes one. */
static void test_forging(void **state)
{
    static const PluginCase cases[] = {
        {"getmetatable(ctx)", "The metatable is locked"},
        {"pcall(function() return ctx.has_cap(newproxy(true), '*') end)",
         "false,t:2: has_cap must be called with a colon: ctx:has_cap(...)"},
        {"select(2, pcall(ctx.has_cap, setmetatable({}, {__index = ctx}), 'kv:get'))",
         "has_cap must be called with a colon: ctx:has_cap(...)"},
        {"select(2, pcall(ctx.has_cap, require('@antiraid/typesext').U64(2^40), 'kv:get'))",
         "has_cap must be called with a colon: ctx:has_cap(...)"},
        {"select(2, pcall(ctx.withlimits, require('@antiraid/luau').load(''), {capabilities = {}}))",
         "withlimits must be called with a colon: ctx:withlimits(...)"},
    };
    static const PluginCase errors[] = {
        {"ctx.guild_id = '1' return 1", "the context cannot be modified"},
        {"ctx[1] = 1 return 1", "the context cannot be modified"},
        {"rawset(ctx, 'guild_id', 1)", "table expected, got TemplateContext"},
        {"rawget(ctx, 'guild_id')", "table expected, got TemplateContext"},
        {"setmetatable(ctx, {})", "table expected, got TemplateContext"},
        {"table.clone(ctx)", "table expected, got TemplateContext"},
        {"table.freeze(ctx)", "table expected, got TemplateContext"},
        {"next(ctx)", "table expected, got TemplateContext"},
        {"for k in ctx do end return 1", "attempt to iterate over a TemplateContext value"},
        {"ctx()", "attempt to call a TemplateContext value"},
        {"ctx + 1", "attempt to perform arithmetic (add) on TemplateContext and number"},
        {"ctx < ctx", "attempt to compare"},
        {"#ctx", "attempt to get length of a TemplateContext value"},
        {"require('@antiraid/json').encode({a = ctx})", "value.a: the context has no JSON form"},
    };
    CASES(*state, NULL, cases);
    ERRORS(*state, NULL, errors);
}

static int use_kv(lua_State *L)
{
    context_check(L, 1);
    context_require(L, 1, "kv:get");
    assert_int_equal(context_guild(L, 1), 42);
    assert_true(context_caps(L, 1).count >= 1);
    lua_pushliteral(L, "used");
    return 1;
}

static void test_require(void **state)
{
    PluginVm *vm = *state;
    static const struct {
        const char *source, *want;
    } cases[] = {
        {"local use, ctx = ... return use(ctx)", "used"},
        {"local use, ctx = ... return use(ctx:withlimits{capabilities = {'kv:get'}})", "used"},
        {"local use, ctx = ... return pcall(use, ctx:withlimits{capabilities = {'kv:set'}})",
         "false,this call needs the capability 'kv:get'"},
        {"local use, ctx = ... return pcall(use, 'ctx')",
         "false,invalid argument #1 to 'use' (TemplateContext expected, got string)"},
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++) {
        lua_pushcfunction(vm->L, use_kv, "use");
        push_context(vm, &META, NULL);
        plugin_expect(vm, cases[i].source, cases[i].want);
    }
}

/* Lists as long as they may be, whose grants look alike for long. */
static void test_large_lists(void **state)
{
    PluginVm *vm = *state;
    static char names[3][TEMPLATE_CAPABILITIES_MAX][TEMPLATE_LABEL_MAX + 1];
    const char *lists[3][TEMPLATE_CAPABILITIES_MAX];
    for (int list = 0; list < 3; list++) {
        for (int i = 0; i < TEMPLATE_CAPABILITIES_MAX; i++) {
            char *name = names[list][i];
            memset(name, 'a', 100);
            snprintf(name + 100, 20, ":%d", list == 1 ? i + 128 : i);
            lists[list][i] = name;
        }
    }
    TemplateMeta meta = {.description = "",
                         .events = lists[2],
                         .event_count = TEMPLATE_EVENTS_MAX,
                         .capabilities = lists[0],
                         .capability_count = TEMPLATE_CAPABILITIES_MAX,
                         .enabled = false};
    KhronosCaller caller = {.capabilities = lists[1],
                            .capability_count = TEMPLATE_CAPABILITIES_MAX};
    push_context(vm, &meta, &caller);
    plugin_expect(vm,
                  "local ctx = ... local c = ctx:withlimits{capabilities = ctx.allowed_caps} "
                  "return #ctx.allowed_caps, ctx.allowed_caps[1]:sub(-4), #c.allowed_caps, "
                  "#c.data.events, #c.data.capabilities, c.data.enabled, c.data.description",
                  "128,:128,128,256,256,false,");
}

static void test_quota(void **state)
{
    PluginVm *vm = *state;
    vm->limits.memory_max_bytes = 1 << 20;
    plugin_renew(vm);
    push_context(vm, &META, NULL);
    plugin_expect(vm,
                  "local ctx = ... for i = 1, 20000 do local c = ctx:withlimits{capabilities = "
                  "{'kv:get'}} assert(c.data and c.allowed_caps) end return 'ok'",
                  "ok");
    push_context(vm, &META, NULL);
    assert_int_equal(plugin_start(vm, "local ctx = ... local t = {} while true do "
                                      "t[#t + 1] = ctx:withlimits{capabilities = {}} end"),
                     LUA_KILLED);
}

static void test_failing_allocations(void **state)
{
    PluginVm *vm = *state;
    vm->limits.memory_max_bytes = 0;
    bool finished = false;
    for (uint64_t k = 1; !finished; k++) {
        plugin_renew(vm);
        push_context(vm, &META, NULL);
        vm->fail_at = k;
        int status = plugin_start(vm, "local ctx = ... local c = ctx:withlimits{capabilities = "
                                      "{'kv:get', 'log:write'}} return c.data, c.allowed_caps, "
                                      "c.store, c.guild_id, c.execution_id, c:has_cap('x'), c");
        assert_true(status == LUA_OK || status == LUA_ERRMEM || status == LUA_ERRRUN);
        if (luau_checkheap(vm->L))
            fail_msg("allocation %d: %s", (int)k, luau_checkheap(vm->L));
        finished = status == LUA_OK;
        assert_true(k < 100000);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, plugin_setup, plugin_teardown)
#define STRESSED(function)                                                                         \
    cmocka_unit_test_setup_teardown(function, plugin_setup_stressed, plugin_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fields),     TEST(test_defaults),
        TEST(test_caller),     TEST(test_methods),
        TEST(test_keep_store), TEST(test_forging),
        TEST(test_require),    TEST(test_large_lists),
        TEST(test_quota),      TEST(test_failing_allocations),
    };
    const struct CMUnitTest stressed[] = {
        STRESSED(test_fields),  STRESSED(test_caller),  STRESSED(test_methods),
        STRESSED(test_forging), STRESSED(test_require), STRESSED(test_large_lists),
    };
    int failed = cmocka_run_group_tests_name("context", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("context, stressed", stressed, NULL, NULL);
}
