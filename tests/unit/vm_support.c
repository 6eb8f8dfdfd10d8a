#include "vm_support.h"

#include <stdlib.h>

int vm_make_image(void **state)
{
    *state = luau_image_standard();
    return *state ? 0 : -1;
}

int vm_make_image_stressed(void **state)
{
    char modes[] = {'0' + (LUAU_TEST_GC_ALWAYS | LUAU_TEST_STACK_MOVES), 0};
    setenv("VM_TEST_MODES", modes, 1);
    return vm_make_image(state);
}

int vm_drop_image(void **state)
{
    unsetenv("VM_TEST_MODES");
    luau_image_release(*state);
    return 0;
}

lua_State *vm_new(void **state, size_t quota)
{
    luau_VmOptions options = {.image = *state, .memory_max_bytes = quota};
    lua_State *L = luau_newvm(&options);
    assert_non_null(L);
    const char *modes = getenv("VM_TEST_MODES");
    if (modes)
        luau_testmode(L, modes[0] - '0');
    return L;
}

void vm_close(lua_State *L)
{
    const char *problem = luau_checkheap(L);
    if (problem)
        fail_msg("heap: %s", problem);
    lua_close(L);
}

void vm_load(lua_State *L, const char *source)
{
    luau_CompileOptions options;
    luau_Diagnostic problem;
    luau_compile_defaults(&options);
    luau_Module *module = luau_compile(source, strlen(source), "=t", &options, &problem);
    if (!module)
        fail_msg("line %d: %s", problem.line, problem.message);
    luau_load(L, module, 0);
    luau_module_release(module);
}

int vm_run(lua_State *L, const char *source)
{
    vm_load(L, source);
    return lua_pcall(L, 0, LUA_MULTRET, 0);
}

void vm_must(lua_State *L, const char *source)
{
    vm_load(L, source);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
}

void vm_expect_error(lua_State *L, const char *source, const char *message)
{
    int top = lua_gettop(L);
    assert_int_equal(vm_run(L, source), LUA_ERRRUN);
    assert_int_equal(lua_gettop(L), top + 1);
    assert_string_equal(lua_tostring(L, -1), message);
    lua_pop(L, 1);
}

void vm_expect_native_error(lua_State *L, lua_CFunction fn, const char *message)
{
    lua_pushcfunction(L, fn, "fn");
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_ERRRUN);
    assert_string_equal(lua_tostring(L, -1), message);
    lua_pop(L, 1);
}
