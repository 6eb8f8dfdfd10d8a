/* embed.c: Luau in a C program: a shared standard library, a VM with a memory quota, a function of
 * the host, scripts compiled and run, their results and errors. docs/embedding.md explains it. */
#include <stdio.h>
#include <string.h>

#include "luau/luau.h"

/* A native: area(width, height). Arguments are at 1, 2, ...; returns how many results it pushed. */
static int area(lua_State *L)
{
    lua_pushnumber(L, luaL_checknumber(L, 1) * luaL_checknumber(L, 2));
    return 1;
}

/* Compiles a script, runs it in the VM, and prints the number it returns or what went wrong. */
static void run(lua_State *L, const char *source)
{
    luau_CompileOptions options;
    luau_Diagnostic problem;
    luau_compile_defaults(&options);
    luau_Module *module = luau_compile(source, strlen(source), "=script", &options, &problem);
    if (!module) {
        printf("syntax error in line %d: %s\n", problem.line, problem.message);
        return;
    }
    luau_load(L, module, 0);     /* pushes its main function; any number of VMs may load it */
    luau_module_release(module); /* this VM keeps a reference of its own */
    int status = lua_pcall(L, 0, 1, 0);
    if (status == LUA_OK)
        printf("result: %g\n", lua_tonumber(L, -1));
    else if (status == LUA_KILLED)
        printf("killed, reason %d\n", luau_killreason(L));
    else
        printf("error: %s\n", lua_tostring(L, -1));
    lua_pop(L, 1);
}

int main(void)
{
    luau_Image *library = luau_image_standard(); /* built once, used by any number of VMs */
    luau_VmOptions options = {.image = library, .memory_max_bytes = 1 << 20};
    lua_State *L = luau_newvm(&options);
    luau_image_release(library); /* the VM retains it */
    if (!L)
        return 1;

    lua_pushcfunction(L, area, "area");
    lua_setglobal(L, "area");

    run(L, "return area(6, 7)");
    run(L, "return area(6)");
    run(L, "return area(6, 7");
    run(L, "local t = {} while true do t[#t + 1] = string.rep('x', 1000) end");
    lua_close(L);
    return 0;
}
