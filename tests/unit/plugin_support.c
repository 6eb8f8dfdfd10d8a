#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "khronos/runtime.h"
#include "plugin_support.h"

static void drop_line(lua_State *L, int level, const char *text, size_t length)
{
    (void)L, (void)level, (void)text, (void)length;
}

void plugin_renew(PluginVm *vm)
{
    if (vm->rt)
        khronos_free(vm->rt);
    vm->rt = khronos_new(vm->sandbox, 42, &vm->limits, NULL);
    assert_non_null(vm->rt);
    vm->L = vm->rt->L;
    vm->co = NULL;
    lua_callbacks(vm->L)->print = drop_line; /* there is no run whose log it could go to */
    luau_testmode(vm->L, vm->testmode);
}

static int setup(void **state, int testmode)
{
    PluginVm *vm = calloc(1, sizeof(*vm));
    vm->sandbox = support_sandbox();
    vm->testmode = testmode;
    khronos_default_limits(&vm->limits);
    plugin_renew(vm);
    *state = vm;
    return 0;
}

int plugin_setup(void **state)
{
    return setup(state, 0);
}

int plugin_setup_stressed(void **state)
{
    return setup(state, LUAU_TEST_GC_ALWAYS | LUAU_TEST_STACK_MOVES);
}

int plugin_teardown(void **state)
{
    PluginVm *vm = *state;
    if (luau_killreason(vm->L) == LUAU_KILL_NONE) {
        const char *problem = luau_checkheap(vm->L);
        if (problem)
            fail_msg("%s", problem);
    }
    khronos_free(vm->rt);
    sandbox_release(vm->sandbox);
    free(vm);
    return 0;
}

int plugin_start(PluginVm *vm, const char *source)
{
    lua_State *L = vm->L;
    if (vm->co)
        lua_remove(L, 1);
    int nargs = lua_gettop(L);
    vm->co = lua_newthread(L);
    lua_insert(L, 1);
    sandbox_pushenv(L);
    lua_setfenv(L, 1);
    if (luau_loadstring(vm->co, source, strlen(source), "=t") != LUA_OK)
        fail_msg("%s\n%s", source, lua_tostring(vm->co, -1));
    lua_xmove(L, vm->co, nargs);
    luau_failalloc(L, vm->fail_at);
    int status = lua_resume(vm->co, NULL, nargs);
    luau_failalloc(L, 0);
    return status;
}

const char *plugin_text(PluginVm *vm)
{
    lua_State *L = vm->L;
    int count = lua_gettop(vm->co);
    luaL_Strbuf text;
    luaL_buffinit(L, &text);
    for (int i = 1; i <= count; i++) {
        if (i > 1)
            luaL_addchar(&text, ',');
        lua_xpush(vm->co, L, i);
        luaL_tolstring(L, -1, NULL);
        lua_remove(L, -2);
        luaL_addvalue(&text);
    }
    luaL_pushresult(&text);
    const char *result = lua_tostring(L, -1);
    /* Kept alive in place of what it shows. */
    lua_settop(vm->co, 0);
    lua_xmove(L, vm->co, 1);
    return result;
}

void plugin_expect(PluginVm *vm, const char *source, const char *text)
{
    int status = plugin_start(vm, source);
    const char *got = status == LUA_KILLED ? "killed" : plugin_text(vm);
    if (status != LUA_OK || strcmp(got, text) != 0)
        fail_msg("%s\nexpected: %s\ngot (%d): %s", source, text, status, got);
}

void plugin_expect_error(PluginVm *vm, const char *source, const char *part)
{
    int status = plugin_start(vm, source);
    if (status == LUA_KILLED)
        fail_msg("%s\nkilled", source);
    const char *got = lua_tostring(vm->co, -1);
    if (status != LUA_ERRRUN || !got || !strstr(got, part))
        fail_msg("%s\nexpected: %s\ngot (%d): %s", source, part, status,
                 status == LUA_OK ? plugin_text(vm)
                 : got            ? got
                                  : "no text");
}

char *plugin_source(const char *prelude, const char *source)
{
    char *text;
    size_t length = strlen(source);
    bool statements = strncmp(source, "local ", 6) == 0 || strncmp(source, "for ", 4) == 0 ||
                      (length > 9 && strcmp(source + length - 9, " return 1") == 0);
    if (asprintf(&text, "%s\n%s%s", prelude, statements ? "" : "return ", source) < 0)
        fail();
    return text;
}

void plugin_cases(PluginVm *vm, const char *prelude, const PluginCase *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *source = plugin_source(prelude, cases[i].source);
        plugin_expect(vm, source, cases[i].want);
        free(source);
    }
}

void plugin_errors(PluginVm *vm, const char *prelude, const PluginCase *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *source = plugin_source(prelude, cases[i].source);
        plugin_expect_error(vm, source, cases[i].want);
        free(source);
    }
}
