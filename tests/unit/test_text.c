/* test_text.c: text from the engine: luaL_Strbuf, tostring, positions, tracebacks, loadstring. */
#include "vm_support.h"

/* ---- luaL_Strbuf ----------------------------------------------------------------------------- */

enum { PIECES = 3000 };

/* Builds text in every way, past the inline part, and gives it and its right length. */
static int build(lua_State *L)
{
    luaL_Strbuf B;
    luaL_buffinit(L, &B);
    size_t length = 0;
    for (int i = 0; i < PIECES; i++) {
        luaL_addchar(&B, 'c');
        luaL_addstring(&B, "piece");
        lua_pushliteral(L, "value");
        luaL_addvalue(&B);
        lua_pushinteger(L, 7);
        luaL_addvalue(&B);
        luaL_addvalueany(&B, 1);
        memcpy(luaL_prepbuffsize(&B, 3), "abc", 3);
        B.p += 3;
        length += 1 + 5 + 5 + 1 + (size_t)lua_objlen(L, 1) + 3;
    }
    luaL_pushresult(&B);
    lua_pushinteger(L, (int)length);
    return 2;
}

static void test_strbuf(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_pushcfunction(L, build, "build");
    lua_pushliteral(L, "[arg]");
    assert_int_equal(lua_pcall(L, 1, 2, 0), LUA_OK);
    assert_int_equal(lua_gettop(L), 2);
    assert_int_equal(lua_objlen(L, 1), lua_tointeger(L, 2));
    const char *text = lua_tostring(L, 1);
    for (int i = 0; i < PIECES; i++, text += 20)
        assert_memory_equal(text, "cpiecevalue7[arg]abc", 20);
    vm_close(L);
}

static int build_sized(lua_State *L)
{
    int size = luaL_checkinteger(L, 1);
    luaL_Strbuf B;
    char *room = luaL_buffinitsize(L, &B, (size_t)size);
    memset(room, 'r', (size_t)size);
    luaL_pushresultsize(&B, (size_t)size - (size_t)luaL_optinteger(L, 2, 0));
    return 1;
}

static void test_strbuf_sizes(void **state)
{
    lua_State *L = vm_new(state, 0);
    static const int sizes[] = {1, 511, 512, 513, 1000, 100000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        for (int less = 0; less < 2; less++) {
            lua_pushcfunction(L, build_sized, "build");
            lua_pushinteger(L, sizes[i]);
            lua_pushinteger(L, less);
            assert_int_equal(lua_pcall(L, 2, 1, 0), LUA_OK);
            size_t length;
            const char *text = lua_tolstring(L, -1, &length);
            assert_int_equal(length, sizes[i] - less);
            assert_int_equal(strspn(text, "r"), length);
            assert_int_equal(text[length], 0);
            lua_pop(L, 1);
        }
    }
    vm_close(L);
}

static int build_and_fail(lua_State *L)
{
    luaL_Strbuf B;
    luaL_buffinit(L, &B);
    for (int i = 0; i < 100000; i++)
        luaL_addstring(&B, "0123456789");
    luaL_error(L, "in the middle");
    return 0;
}

static void test_strbuf_error(void **state)
{
    lua_State *L = vm_new(state, 0);
    luau_Account before, after;
    lua_gc(L, LUA_GCCOLLECT, 0);
    luau_account(L, &before);
    vm_expect_native_error(L, build_and_fail, "in the middle");
    lua_gc(L, LUA_GCCOLLECT, 0);
    luau_account(L, &after);
    assert_true(after.live_bytes < before.live_bytes + 1000); /* nothing was lost */
    vm_close(L);
}

/* ---- tostring -------------------------------------------------------------------------------- */

static void expect_text(lua_State *L, const char *text)
{
    assert_string_equal(luaL_tolstring(L, -1, NULL), text);
    lua_pop(L, 2);
}

static void test_tolstring(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_pushnil(L);
    expect_text(L, "nil");
    lua_pushboolean(L, 0);
    expect_text(L, "false");
    lua_pushnumber(L, -0.0);
    expect_text(L, "-0");
    lua_pushnumber(L, 1e21);
    expect_text(L, "1e+21");
    lua_pushvector(L, 1, 2, 0.1f);
    expect_text(L, "1, 2, 0.10000000149011612");
    assert_int_equal(vm_run(L, "return setmetatable({}, {__tostring = function() return 5 end})"),
                     LUA_OK);
    expect_text(L, "5");
    vm_expect_error(L, "tostring(setmetatable({}, {__tostring = function() return {} end}))",
                    "t:1: '__tostring' must return a string");
    vm_close(L);
}

/* Ids of objects: distinct, stable, no addresses, and other ones in another VM. */
static void test_opaque_ids(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_State *M = vm_new(state, 0);
    char address[64];
    lua_newtable(L);
    lua_newtable(L);
    const char *first = luaL_tolstring(L, 1, NULL);
    const char *second = luaL_tolstring(L, 2, NULL);
    assert_int_equal(strlen(first), strlen("table: 0x0000000000000000"));
    assert_int_equal(strspn(first + 9, "0123456789abcdef"), 16);
    assert_string_not_equal(first, second);
    lua_gc(L, LUA_GCCOLLECT, 0);
    assert_string_equal(first, luaL_tolstring(L, 1, NULL));
    snprintf(address, sizeof(address), "table: 0x%016llx",
             (unsigned long long)(uintptr_t)lua_topointer(L, 1));
    assert_string_not_equal(first, address);
    lua_getglobal(L, "print"); /* the same object in both, as a tenant must not find out */
    lua_getglobal(M, "print");
    assert_ptr_equal(lua_topointer(L, -1), lua_topointer(M, -1));
    assert_string_not_equal(luaL_tolstring(L, -1, NULL), luaL_tolstring(M, -1, NULL));
    vm_must(L, "local seen = {} for i = 1, 1000 do local s = tostring({}) "
               "seen[i] = s end assert(tostring(print) == tostring(print))");
    vm_close(L);
    vm_close(M);
}

/* ---- positions ------------------------------------------------------------------------------- */

static int where(lua_State *L)
{
    luaL_where(L, luaL_checkinteger(L, 1));
    return 1;
}

static int info(lua_State *L)
{
    lua_Debug ar;
    if (!lua_getinfo(L, luaL_checkinteger(L, 1), "slnafu", &ar))
        return 0;
    lua_pushstring(L, ar.short_src);
    lua_pushstring(L, ar.what);
    lua_pushinteger(L, ar.currentline);
    lua_pushstring(L, ar.name ? ar.name : "-");
    lua_pushinteger(L, ar.nparams);
    lua_pushboolean(L, ar.isvararg);
    lua_pushinteger(L, ar.nupvals);
    return 8;
}

static void test_getinfo(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_pushcfunction(L, where, "where");
    lua_setglobal(L, "where");
    lua_pushcfunction(L, info, "info");
    lua_setglobal(L, "info");
    vm_must(L, "assert(where(0) == '' and where(1) == 't:1: ')\n"
               "local function f(a, b) return where(1), where(2), where(3), where(99) end\n"
               "local a, b, c, d = f()\n"
               "assert(a == 't:2: ' and b == 't:3: ' and c == '' and d == '')");
    vm_must(L, "local up = {}\n"
               "local function f(a, b, ...)\n"
               "  return {info(1)}, up\n"
               "end\n"
               "local r = f()\n"
               "assert(r[1] == f and r[2] == 't' and r[3] == 'Lua' and r[4] == 3 and r[5] == 'f')\n"
               "assert(r[6] == 2 and r[7] == true and r[8] == 1)\n"
               "r = {info(0)}\n"
               "assert(r[2] == '[C]' and r[3] == 'C' and r[4] == -1 and r[5] == 'info')\n"
               "assert(r[6] == 0 and r[7] == true)\n"
               "r = {info(1)} assert(r[3] == 'main' and r[5] == '-')\n"
               "assert(select('#', info(2)) == 0)");
    lua_Debug ar;
    vm_run(L, "return function(a)\nend");
    assert_int_equal(lua_getinfo(L, -1, "sl", &ar), 1);
    assert_true(ar.linedefined == 1 && ar.currentline == 1);
    assert_int_equal(lua_getinfo(L, 0, "s", &ar), 0);
    vm_close(L);
}

static int traceback(lua_State *L)
{
    luau_traceback(L, L, luaL_optstring(L, 1, NULL), 0, luaL_optinteger(L, 2, 0));
    return 1;
}

static void test_traceback(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_pushcfunction(L, traceback, "traceback");
    lua_setglobal(L, "traceback");
    assert_int_equal(vm_run(L, "local function f()\n"
                               "  return (traceback('msg'))\n"
                               "end\n"
                               "return (pcall(f)) and (f())"),
                     LUA_OK);
    assert_string_equal(lua_tostring(L, -1), "msg\nt:2 function f\nt:4\n");
    assert_int_equal(vm_run(L, "local function r(n)\n"
                               "  if n == 0 then return (traceback(nil, 5)) end\n"
                               "  return (r(n - 1))\n"
                               "end\n"
                               "return (r(20))"),
                     LUA_OK);
    assert_string_equal(lua_tostring(L, -1), "t:2 function r\nt:3 function r\nt:3 function r\n"
                                             "... (+17 frames)\nt:3 function r\nt:5\n");
    lua_State *co = lua_newthread(L);
    vm_load(co, "coroutine.yield()");
    assert_int_equal(lua_resume(co, L, 0), LUA_YIELD);
    luau_traceback(L, co, "in co", 0, 20);
    assert_string_equal(lua_tostring(L, -1), "in co\nt:1\n");
    vm_close(L);
}

/* ---- luau_loadstring ------------------------------------------------------------------------- */

static void test_loadstring(void **state)
{
    lua_State *L = vm_new(state, 1 << 20);
    static const char source[] = "x = (x or 0) + 1 return x";
    assert_int_equal(luau_loadstring(L, source, strlen(source), "=c"), LUA_OK);
    assert_int_equal(lua_gettop(L), 1);
    lua_pushvalue(L, 1);
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_OK);
    assert_int_equal(lua_pcall(L, 0, 1, 0), LUA_OK);
    assert_int_equal(lua_tointeger(L, -1), 2);
    lua_settop(L, 0);
    assert_int_equal(luau_loadstring(L, "\nx = = 1", 8, "@dir/file.luau"), LUA_ERRSYNTAX);
    assert_int_equal(lua_gettop(L), 1);
    assert_string_equal(lua_tostring(L, -1),
                        "dir/file.luau:2: Expected identifier when parsing expression, got '='");
    assert_int_equal(luau_loadstring(L, "return (", 8, "return ("), LUA_ERRSYNTAX);
    assert_int_equal(strncmp(lua_tostring(L, -1), "[string \"return (\"]:1: ", 23), 0);
    vm_close(L);
}

static void test_loadstring_charge(void **state)
{
    lua_State *L = vm_new(state, 4 << 20);
    luau_Account account;
    assert_int_equal(luau_loadstring(L, "return 1", 8, "=c"), LUA_OK);
    luau_account(L, &account);
    assert_true(account.external_bytes > 0); /* its module is the tenant's cost */
    lua_pop(L, 1);
    lua_gc(L, LUA_GCCOLLECT, 0);
    luau_account(L, &account);
    assert_int_equal(account.external_bytes, 0);
    vm_close(L);
}

/* A source whose compilation needs more than the quota leaves is refused, and nothing is lost. */
static void load_large(lua_State *L, void *arg)
{
    enum { COUNT = 40000 };
    luaL_Strbuf B;
    luaL_buffinit(L, &B);
    luaL_addstring(&B, "return {");
    for (int i = 0; i < COUNT; i++)
        luaL_addstring(&B, "a,");
    luaL_addstring(&B, "}");
    luaL_pushresult(&B);
    size_t length;
    const char *source = lua_tolstring(L, -1, &length);
    *(int *)arg = luau_loadstring(L, source, length, "=large");
}

static void test_loadstring_quota(void **state)
{
    lua_State *L = vm_new(state, 1 << 20);
    int status = -1;
    assert_int_equal(luau_protect(L, load_large, &status), LUA_OK);
    assert_int_equal(status, LUA_ERRMEM);
    assert_string_equal(lua_tostring(L, -1), "not enough memory");
    lua_settop(L, 0);
    vm_must(L, "assert(#string.rep('x', 1000) == 1000)");
    luau_setquota(L, 0);
    assert_int_equal(luau_protect(L, load_large, &status), LUA_OK);
    assert_int_equal(status, LUA_OK);
    luau_kill(L, LUAU_KILL_HOST);
    assert_int_equal(luau_protect(L, load_large, &status), LUA_KILLED);
    vm_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strbuf),
        cmocka_unit_test(test_strbuf_sizes),
        cmocka_unit_test(test_strbuf_error),
        cmocka_unit_test(test_tolstring),
        cmocka_unit_test(test_opaque_ids),
        cmocka_unit_test(test_getinfo),
        cmocka_unit_test(test_traceback),
        cmocka_unit_test(test_loadstring),
        cmocka_unit_test(test_loadstring_charge),
        cmocka_unit_test(test_loadstring_quota),
    };
    return cmocka_run_group_tests(tests, vm_make_image, vm_drop_image) +
           cmocka_run_group_tests(tests, vm_make_image_stressed, vm_drop_image);
}
