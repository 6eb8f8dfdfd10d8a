/* lib_coroutine.c: coroutines (reference 11.9). resume, yield and the functions that wrap makes are
 * run by the interpreter itself, without a native frame (call.h). */
#include "luau/lib/lib.h"

/* Pushes a new thread with the function of argument 1 on its stack. */
static void push_coroutine(lua_State *L)
{
    lib_checkfunction(L, 1);
    lua_State *co = lua_newthread(L);
    lua_xpush(L, co, 1);
}

static int coroutine_create(lua_State *L)
{
    push_coroutine(L);
    return 1;
}

static int coroutine_wrap(lua_State *L)
{
    push_coroutine(L);
    lib_pushspecial(L, CLOSURE_WRAPPED, NULL, 1);
    return 1;
}

static lua_State *check_thread(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "thread");
    return co;
}

static const char *const status_names[] = {
    [LUA_CORUN] = "running", [LUA_COSUS] = "suspended", [LUA_CONOR] = "normal",
    [LUA_COFIN] = "dead",    [LUA_COERR] = "dead",
};

static int coroutine_status(lua_State *L)
{
    lua_State *co = check_thread(L);
    lua_pushstring(L, status_names[lua_costatus(L, co)]);
    return 1;
}

static int coroutine_close(lua_State *L)
{
    lua_State *co = check_thread(L);
    int status = lua_costatus(L, co);
    if (status == LUA_CORUN || status == LUA_CONOR)
        luaL_error(L, "cannot close %s coroutine", status_names[status]);
    if (lua_status(co) == LUA_OK || lua_status(co) == LUA_YIELD) {
        lua_resetthread(co);
        lib_pushboolean(L, true);
        return 1;
    }
    lib_pushboolean(L, false);
    if (lua_gettop(co) > 0)
        lua_xmove(co, L, 1);
    else
        luD_push(L, VAL_NIL);
    lua_resetthread(co);
    return 2;
}

static int coroutine_running(lua_State *L)
{
    if (lua_pushthread(L)) {
        lua_pop(L, 1);
        luD_push(L, VAL_NIL); /* the main thread is no coroutine */
    }
    return 1;
}

static int coroutine_isyieldable(lua_State *L)
{
    lib_pushboolean(L, lua_isyieldable(L));
    return 1;
}

static const luaL_Reg coroutine_functions[] = {
    {"create", coroutine_create},
    {"running", coroutine_running},
    {"status", coroutine_status},
    {"wrap", coroutine_wrap},
    {"isyieldable", coroutine_isyieldable},
    {"close", coroutine_close},
    {NULL, NULL},
};

int luaopen_coroutine(lua_State *L)
{
    luaL_register(L, "coroutine", coroutine_functions);
    lib_pushspecial(L, CLOSURE_YIELD, "yield", 0);
    lua_setfield(L, -2, "yield");
    lib_pushspecial(L, CLOSURE_RESUME, "resume", 0);
    lua_setfield(L, -2, "resume");
    return 1;
}
