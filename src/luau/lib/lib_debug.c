/* lib_debug.c: looking at running functions (reference 11.10). */
#include "luau/lib/lib.h"

enum { TRACE_FRAMES_MAX = 1000 }; /* of a deeper stack both ends are shown */

/* The thread at argument 1, or the running one; *shift is how many arguments it took. */
static lua_State *check_target(lua_State *L, int *shift)
{
    lua_State *target = lua_tothread(L, 1);
    *shift = target != NULL;
    return target ? target : L;
}

/* Pushes the results of one option; gives their count, 0 for an unknown one. The function itself is
 * at stack index `function`. */
static int push_option(lua_State *L, char option, const lua_Debug *ar, int line, int function)
{
    switch (option) {
    case 's': lua_pushstring(L, ar->short_src); return 1;
    case 'l': lua_pushinteger(L, line); return 1;
    case 'n': lua_pushstring(L, ar->name ? ar->name : ""); return 1;
    case 'f': lua_pushvalue(L, function); return 1;
    case 'a':
        lua_pushinteger(L, ar->nparams);
        lua_pushboolean(L, ar->isvararg);
        return 2;
    default: return 0;
    }
}

static int debug_info(lua_State *L)
{
    int shift;
    lua_State *target = check_target(L, &shift);
    int level = 0;
    bool is_function = false;
    if (lua_isnumber(L, shift + 1)) {
        level = lua_tointeger(L, shift + 1);
        luaL_argcheck(L, level >= 0, shift + 1, "level can't be negative");
    } else if (shift == 0 && lua_isfunction(L, 1)) {
        is_function = true;
    } else {
        luaL_argerror(L, shift + 1, "function or level expected");
    }
    const char *options = luaL_checkstring(L, shift + 2);

    lua_Debug ar;
    lua_rawcheckstack(target, 1);
    if (!lua_getinfo(target, is_function ? -lua_gettop(L) : level, "slnaf", &ar))
        return 0;
    if (target != L)
        lua_xmove(target, L, 1);
    int function = lua_gettop(L), results = 0;
    int line = ar.currentline;
    if (is_function)
        line = lua_iscfunction(L, function) ? -1 : ar.linedefined;

    uint32_t seen = 0;
    for (const char *p = options; *p; p++) {
        uint32_t bit = *p >= 'a' && *p <= 'z' ? 1u << (*p - 'a') : 0;
        if (seen & bit)
            luaL_argerror(L, shift + 2, "duplicate option");
        seen |= bit;
        int count = push_option(L, *p, &ar, line, function);
        if (count == 0)
            luaL_argerror(L, shift + 2, "invalid option");
        results += count;
    }
    return results;
}

static int debug_traceback(lua_State *L)
{
    int shift;
    lua_State *target = check_target(L, &shift);
    const char *message = luaL_optstring(L, shift + 1, NULL);
    int level = luaL_optinteger(L, shift + 2, target == L ? 1 : 0);
    luaL_argcheck(L, level >= 0, shift + 2, "level can't be negative");

    luau_traceback(L, target, message, level, TRACE_FRAMES_MAX);
    return 1;
}

static const luaL_Reg debug_functions[] = {
    {"info", debug_info},
    {"traceback", debug_traceback},
    {NULL, NULL},
};

int luaopen_debug(lua_State *L)
{
    luaL_register(L, "debug", debug_functions);
    return 1;
}
