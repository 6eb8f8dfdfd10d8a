/* test_api.c: the embedding interface: stack discipline, values, tables, calls, references, host
 * types, text, references, account. Images have test_image.c. */
#include "vm_support.h"

/* The stack as a list of integers, "1 2 3". */
static const char *show_stack(lua_State *L, char text[200])
{
    size_t length = 0;
    text[0] = 0;
    for (int i = 1; i <= lua_gettop(L); i++)
        length += (size_t)snprintf(text + length, 200 - length, i > 1 ? " %g" : "%g",
                                   lua_tonumber(L, i));
    return text;
}

static void push_numbers(lua_State *L, int count)
{
    lua_settop(L, 0);
    for (int i = 1; i <= count; i++)
        lua_pushinteger(L, i);
}

/* ---- stack ----------------------------------------------------------------------------------- */

static void test_stack_moves(void **state)
{
    lua_State *L = vm_new(state, 0);
    char text[200];
    assert_int_equal(lua_gettop(L), 0);
    push_numbers(L, 5);
    assert_int_equal(lua_gettop(L), 5);
    lua_insert(L, 2);
    assert_string_equal(show_stack(L, text), "1 5 2 3 4");
    lua_remove(L, -4);
    assert_string_equal(show_stack(L, text), "1 2 3 4");
    lua_replace(L, 1);
    assert_string_equal(show_stack(L, text), "4 2 3");
    lua_pushvalue(L, -2);
    assert_string_equal(show_stack(L, text), "4 2 3 2");
    lua_settop(L, -3);
    assert_string_equal(show_stack(L, text), "4 2");
    lua_settop(L, 4);
    assert_true(lua_isnil(L, 3) && lua_isnil(L, 4));
    assert_int_equal(lua_absindex(L, -1), 4);
    assert_int_equal(lua_absindex(L, 2), 2);
    assert_int_equal(lua_absindex(L, LUA_REGISTRYINDEX), LUA_REGISTRYINDEX);
    lua_settop(L, 0);
    assert_int_equal(lua_type(L, 1), LUA_TNONE);
    vm_close(L);
}

static void test_stack_room(void **state)
{
    lua_State *L = vm_new(state, 0);
    assert_int_equal(lua_checkstack(L, LUAI_MAXCSTACK + 1), 0);
    assert_int_equal(lua_checkstack(L, LUAI_MAXCSTACK), 1);
    for (int i = 1; i <= LUAI_MAXCSTACK; i++)
        lua_pushinteger(L, i);
    assert_int_equal(lua_checkstack(L, 1), 0);
    assert_int_equal(lua_tointeger(L, LUAI_MAXCSTACK), LUAI_MAXCSTACK);
    lua_rawcheckstack(L, 10000);
    for (int i = 0; i < 10000; i++)
        lua_pushinteger(L, i);
    assert_int_equal(lua_tointeger(L, -1), 9999);
    lua_settop(L, 0);
    luau_shrink(L);
    vm_close(L);
}

static void test_between_threads(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_State *co = lua_newthread(L);
    char text[200];
    lua_pushinteger(L, 7);
    lua_pushinteger(L, 8);
    lua_xmove(L, co, 2);
    assert_int_equal(lua_gettop(L), 1);
    assert_string_equal(show_stack(co, text), "7 8");
    lua_xpush(co, L, 1);
    assert_int_equal(lua_tointeger(L, -1), 7);
    assert_ptr_equal(lua_tothread(L, 1), co);
    assert_ptr_equal(lua_mainthread(co), L);
    assert_int_equal(lua_pushthread(L), 1);
    assert_int_equal(lua_pushthread(co), 0);
    lua_pushvalue(co, LUA_GLOBALSINDEX);
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    assert_ptr_equal(lua_topointer(co, -1), lua_topointer(L, -1));
    vm_close(L);
}

/* ---- values ---------------------------------------------------------------------------------- */

static void test_numbers(void **state)
{
    lua_State *L = vm_new(state, 0);
    int isnum;
    lua_pushnumber(L, 1e10);
    lua_pushnumber(L, -1);
    lua_pushliteral(L, " 0x10 ");
    lua_pushliteral(L, "x");
    assert_int_equal(lua_tointeger(L, 1), INT32_MIN);
    assert_int_equal(lua_tounsigned(L, 2), UINT32_MAX);
    assert_true(lua_tonumberx(L, 3, &isnum) == 16 && isnum);
    assert_true(lua_tonumberx(L, 4, &isnum) == 0 && !isnum);
    assert_true(lua_isnumber(L, 3) && !lua_isnumber(L, 4) && !lua_isnumber(L, 9));
    assert_true(lua_isstring(L, 1) && lua_type(L, 1) == LUA_TNUMBER);
    assert_string_equal(lua_tostring(L, 1), "10000000000");
    assert_int_equal(lua_type(L, 1), LUA_TSTRING);
    double odd; /* a NaN that would be an object if it were taken as it is */
    uint64_t bits = 0xFFFC000012345678ull;
    memcpy(&odd, &bits, sizeof(odd));
    lua_pushnumber(L, odd);
    assert_int_equal(lua_type(L, -1), LUA_TNUMBER);
    assert_false(lua_rawequal(L, -1, -1));
    vm_close(L);
}

static void test_types(void **state)
{
    lua_State *L = vm_new(state, 0);
    static int types[] = {LUA_TNIL,      LUA_TBOOLEAN, LUA_TLIGHTUSERDATA, LUA_TNUMBER,
                          LUA_TVECTOR,   LUA_TSTRING,  LUA_TTABLE,         LUA_TFUNCTION,
                          LUA_TUSERDATA, LUA_TTHREAD,  LUA_TBUFFER,        LUA_TINTEGER};
    lua_pushnil(L);
    lua_pushboolean(L, 2);
    lua_pushlightuserdata(L, &types);
    lua_pushunsigned(L, UINT32_MAX);
    lua_pushvector(L, 1, 2, 3);
    lua_pushstring(L, "text");
    lua_newtable(L);
    vm_load(L, "");
    lua_newuserdata(L, 4);
    lua_newthread(L);
    lua_newbuffer(L, 3);
    lua_pushinteger64(L, 0);
    static const char *const names[] = {"nil",      "boolean", "userdata", "number",
                                        "vector",   "string",  "table",    "function",
                                        "userdata", "thread",  "buffer",   "integer"};
    for (int i = 0; i < LUA_T_COUNT; i++) {
        assert_int_equal(lua_type(L, i + 1), types[i]);
        assert_string_equal(lua_typename(L, types[i]), names[i]);
        assert_int_equal(lua_toboolean(L, i + 1), i > 0);
    }
    assert_string_equal(lua_typename(L, LUA_TNONE), "no value");
    assert_string_equal(luaL_typename(L, 100), "no value");
    assert_true(lua_tonumber(L, 4) == 4294967295.0);
    assert_true(lua_tovector(L, 5)[2] == 3);
    assert_ptr_equal(lua_tolightuserdata(L, 3), &types);
    assert_ptr_equal(lua_touserdata(L, 3), &types);
    assert_int_equal(lua_objlen(L, 6), 4);
    assert_int_equal(lua_objlen(L, 9), 4);
    assert_int_equal(lua_objlen(L, 11), 3);
    assert_true(lua_isLfunction(L, 8) && !lua_iscfunction(L, 8));
    lua_pushstring(L, NULL);
    assert_true(lua_isnil(L, -1));
    vm_close(L);
}

static int check_integers(lua_State *L)
{
    int64_t n = luaL_checkinteger64(L, 1);
    lua_pushinteger64(L, n ^ luaL_optinteger64(L, 2, -1));
    return 1;
}

static void test_integers(void **state)
{
    lua_State *L = vm_new(state, 0);
    int isinteger;
    lua_pushinteger64(L, INT64_MIN);
    lua_pushinteger64(L, INT64_MIN);
    lua_pushnumber(L, 5);
    lua_pushstring(L, "5");
    assert_true(lua_isinteger64(L, 1) && !lua_isinteger64(L, 3));
    assert_true(lua_tointeger64(L, 1, &isinteger) == INT64_MIN && isinteger);
    for (int i = 3; i <= 5; i++) /* number, string, none */
        assert_true(lua_tointeger64(L, i, &isinteger) == 0 && !isinteger);
    assert_true(lua_rawequal(L, 1, 2) && lua_equal(L, 1, 2));
    assert_false(lua_isnumber(L, 1) || lua_isstring(L, 1));
    assert_null(lua_tolstring(L, 1, NULL));
    assert_string_equal(luaL_tolstring(L, 1, NULL), "-9223372036854775808");
    lua_pushcfunction(L, check_integers, "check");
    lua_setglobal(L, "check");
    vm_must(L, "assert(check(5i) == -6i and check(5i, nil) == -6i and check(7i, 2i) == 5i)");
    vm_expect_error(L, "check()", "t:1: missing argument #1 to 'check' (integer expected)");
    vm_expect_error(L, "check(5)",
                    "t:1: invalid argument #1 to 'check' (integer expected, got number)");
    vm_expect_error(L, "check(5i, 5)",
                    "t:1: invalid argument #2 to 'check' (integer expected, got number)");
    vm_must(L, "least = integer.minsigned");
    lua_getglobal(L, "least"); /* the image's own object */
    assert_string_equal(luau_image_id(L, -1), "integer.minsigned");
    assert_int_equal(luau_image_push(L, "integer.minsigned"), LUA_TINTEGER);
    assert_true(lua_rawequal(L, -1, 1));
    vm_close(L);
}

static void test_blocks(void **state)
{
    lua_State *L = vm_new(state, 0);
    static const size_t sizes[] = {0, 1, 15, 16, 100, 1000, 5000, 100000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        char *data = lua_newuserdata(L, sizes[i]);
        assert_int_equal((uintptr_t)data % 16, 0);
        size_t length;
        char *bytes = lua_newbuffer(L, sizes[i]);
        assert_ptr_equal(lua_tobuffer(L, -1, &length), bytes);
        assert_int_equal(length, sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_true(data[k] == 0 && bytes[k] == 0);
        memset(data, 0xFF, sizes[i]);
        memset(bytes, 0xFF, sizes[i]);
        lua_pop(L, 2);
        lua_gc(L, LUA_GCCOLLECT, 0);
    }
    vm_close(L);
}

static void test_strings(void **state)
{
    lua_State *L = vm_new(state, 0);
    size_t length;
    lua_pushlstring(L, "a\0b", 3);
    assert_memory_equal(lua_tolstring(L, -1, &length), "a\0b", 4);
    assert_int_equal(length, 3);
    assert_string_equal(lua_pushfstring(L, "%s-%d-%c", "x", 5, 'z'), "x-5-z");
    char big[3000];
    memset(big, 'y', sizeof(big));
    big[sizeof(big) - 1] = 0;
    assert_string_equal(lua_pushfstring(L, "%s", big), big);
    assert_string_equal(lua_tostring(L, -1), big);
    lua_pushliteral(L, "x-5-z");
    assert_true(lua_rawequal(L, -1, 2));
    assert_false(lua_lessthan(L, -1, 2));
    lua_pushinteger(L, 1);
    lua_concat(L, 2);
    assert_string_equal(lua_tostring(L, -1), "x-5-z1");
    lua_concat(L, 0);
    assert_string_equal(lua_tostring(L, -1), "");
    vm_close(L);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static void test_tables(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_createtable(L, 3, 2);
    lua_pushinteger(L, 10);
    lua_setfield(L, 1, "a");
    lua_pushliteral(L, "b");
    lua_pushinteger(L, 20);
    lua_settable(L, 1);
    for (int i = 1; i <= 3; i++) {
        lua_pushinteger(L, i * i);
        lua_rawseti(L, 1, i);
    }
    assert_int_equal(lua_gettop(L), 1);
    assert_int_equal(lua_objlen(L, 1), 3);
    assert_int_equal(lua_getfield(L, 1, "a"), LUA_TNUMBER);
    assert_int_equal(lua_rawgetfield(L, 1, "none"), LUA_TNIL);
    lua_pushliteral(L, "b");
    assert_int_equal(lua_rawget(L, 1), LUA_TNUMBER);
    assert_int_equal(lua_tointeger(L, -1), 20);
    assert_int_equal(lua_rawgeti(L, 1, 3), LUA_TNUMBER);
    lua_settop(L, 1);
    int sum = 0, count = 0;
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1), count++)
        sum += lua_tointeger(L, -1);
    assert_int_equal(lua_gettop(L), 1);
    for (int at = 0; (at = lua_rawiter(L, 1, at)) >= 0; lua_pop(L, 2), count++)
        sum += lua_tointeger(L, -1);
    assert_true(sum == 2 * 44 && count == 10);
    lua_clonetable(L, 1);
    lua_cleartable(L, 1);
    lua_pushnil(L);
    assert_int_equal(lua_next(L, 1), 0);
    assert_int_equal(lua_objlen(L, 2), 3);
    vm_close(L);
}

static int set_field(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushinteger(L, 1);
    lua_setfield(L, -2, "x");
    return 0;
}

static int rawset_field(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushinteger(L, 1);
    lua_rawsetfield(L, -2, "x");
    return 0;
}

static int set_meta(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_newtable(L);
    lua_setmetatable(L, -2);
    return 0;
}

static int clear(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_cleartable(L, -1);
    return 0;
}

/* Each writer must refuse the table on top. */
static void expect_frozen(lua_State *L)
{
    static const lua_CFunction writers[] = {set_field, rawset_field, set_meta, clear};
    for (size_t i = 0; i < sizeof(writers) / sizeof(*writers); i++) {
        lua_pushvalue(L, -1);
        lua_pushcclosure(L, writers[i], "writer", 1);
        assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_ERRRUN);
        assert_string_equal(lua_tostring(L, -1), "attempt to modify a readonly table");
        lua_pop(L, 1);
    }
}

static void test_frozen_tables(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_newtable(L);
    assert_int_equal(lua_getreadonly(L, 1), 0);
    lua_setreadonly(L, 1, 1);
    assert_int_equal(lua_getreadonly(L, 1), 1);
    expect_frozen(L);
    lua_setreadonly(L, 1, 0);
    lua_pushinteger(L, 1);
    lua_setfield(L, 1, "x");
    lua_getglobal(L, "string");
    expect_frozen(L);
    lua_getmetatable(L, LUA_GLOBALSINDEX);
    expect_frozen(L);
    lua_getfield(L, -1, "__index");
    expect_frozen(L);
    vm_close(L);
}

static void test_metatables(void **state)
{
    lua_State *L = vm_new(state, 0);
    assert_int_equal(vm_run(L, "local function index(_, k) return k .. '!' end "
                               "return setmetatable({}, {__index = index})"),
                     LUA_OK);
    lua_getfield(L, 1, "hi");
    assert_string_equal(lua_tostring(L, -1), "hi!");
    assert_int_equal(lua_rawgetfield(L, 1, "hi"), LUA_TNIL);
    assert_int_equal(luaL_getmetafield(L, 1, "__index"), 1);
    assert_true(lua_isLfunction(L, -1));
    assert_int_equal(luaL_getmetafield(L, 1, "__none"), 0);
    lua_settop(L, 1);
    lua_pushnil(L);
    lua_setmetatable(L, 1);
    assert_int_equal(lua_getmetatable(L, 1), 0);
    lua_pushboolean(L, 1); /* a metatable for all booleans of this VM */
    assert_int_equal(lua_getmetatable(L, -1), 0);
    lua_newtable(L);
    lua_setmetatable(L, -2);
    assert_int_equal(lua_getmetatable(L, -1), 1);
    lua_settop(L, 0);
    assert_int_equal(luaL_newmetatable(L, "Kind"), 1);
    assert_int_equal(luaL_newmetatable(L, "Kind"), 0);
    assert_true(lua_rawequal(L, 1, 2));
    vm_close(L);
}

static void test_environments(void **state)
{
    lua_State *L = vm_new(state, 0);
    vm_load(L, "return x, print == nil");
    lua_getfenv(L, 1);
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    assert_true(lua_rawequal(L, -1, -2));
    lua_settop(L, 1);
    lua_newtable(L);
    lua_pushinteger(L, 5);
    lua_setfield(L, -2, "x");
    assert_int_equal(lua_setfenv(L, 1), 1);
    assert_int_equal(lua_pcall(L, 0, 2, 0), LUA_OK);
    assert_int_equal(lua_tointeger(L, 1), 5);
    assert_true(lua_toboolean(L, 2));
    lua_getglobal(L, "print");
    lua_newtable(L);
    assert_int_equal(lua_setfenv(L, -2), 0);
    vm_close(L);
}

/* ---- references ------------------------------------------------------------------------------ */

static void test_references(void **state)
{
    lua_State *L = vm_new(state, 0);
    int refs[100];
    lua_pushnil(L);
    assert_int_equal(lua_ref(L, -1), LUA_REFNIL);
    for (int i = 0; i < 100; i++) {
        lua_pushfstring(L, "value %d", i);
        refs[i] = lua_ref(L, -1);
        assert_true(refs[i] > 0);
        lua_pop(L, 1);
    }
    for (int i = 0; i < 100; i += 2)
        lua_unref(L, refs[i]);
    lua_unref(L, LUA_REFNIL);
    lua_unref(L, LUA_NOREF);
    lua_gc(L, LUA_GCCOLLECT, 0);
    for (int i = 0; i < 100; i += 2) {
        lua_pushinteger(L, i); /* numbers are values like any other */
        refs[i] = lua_ref(L, -1);
        assert_true(refs[i] <= 100); /* places are used again */
        lua_pop(L, 1);
    }
    for (int i = 0; i < 100; i++) {
        lua_getref(L, refs[i]);
        if (i % 2 == 0)
            assert_int_equal(lua_tointeger(L, -1), i);
        else
            assert_int_equal(strncmp(lua_tostring(L, -1), "value ", 6), 0);
        lua_pop(L, 1);
    }
    lua_getref(L, LUA_REFNIL);
    assert_true(lua_isnil(L, -1));
    vm_close(L);
}

/* ---- host types ------------------------------------------------------------------------------ */

typedef struct Log {
    int order[8], count;
} Log;
typedef struct Tracked {
    Log *log;
    int number;
} Tracked;

static void on_destroy(void *userdata)
{
    Tracked *tracked = userdata;
    tracked->log->order[tracked->log->count++] = tracked->number;
}

static void push_tracked(lua_State *L, Log *log, int number)
{
    Tracked *tracked = lua_newuserdatadtor(L, sizeof(Tracked), on_destroy);
    assert_int_equal((uintptr_t)tracked % 16, 0);
    *tracked = (Tracked){log, number};
}

static void test_destructors(void **state)
{
    Log log = {0};
    lua_State *L = vm_new(state, 0);
    push_tracked(L, &log, 1);
    push_tracked(L, &log, 2);
    push_tracked(L, &log, 3);
    lua_remove(L, 2);
    lua_gc(L, LUA_GCCOLLECT, 0);
    assert_int_equal(log.count, 1); /* in a collection when it is garbage */
    assert_int_equal(log.order[0], 2);
    vm_close(L);
    assert_int_equal(log.count, 3); /* the others when the VM closes, once each */
    assert_int_equal(log.order[1] + log.order[2], 4);
}

static void test_tags(void **state)
{
    lua_State *L = vm_new(state, 0);
    void *data = lua_newuserdatatagged(L, 8, 7);
    assert_int_equal(lua_userdatatag(L, 1), 7);
    assert_ptr_equal(lua_touserdatatagged(L, 1, 7), data);
    assert_null(lua_touserdatatagged(L, 1, 8));
    lua_setuserdatatag(L, 1, LUA_UTAG_LIMIT - 1);
    assert_int_equal(lua_userdatatag(L, 1), LUA_UTAG_LIMIT - 1);
    lua_pushinteger(L, 1);
    assert_int_equal(lua_userdatatag(L, 2), -1);
    lua_newtable(L);
    lua_pushliteral(L, "Point");
    lua_setfield(L, -2, "__type");
    lua_pushvalue(L, -1);
    lua_setuserdatametatable(L, 9);
    lua_getuserdatametatable(L, 9);
    assert_true(lua_rawequal(L, -1, -2));
    lua_newuserdatatagged(L, 8, 9);
    assert_int_equal(lua_getmetatable(L, -1), 1);
    assert_true(lua_rawequal(L, -1, -3));
    lua_pop(L, 1);
    assert_string_equal(luaL_typename(L, -1), "Point");
    lua_gc(L, LUA_GCCOLLECT, 0);
    assert_string_equal(luaL_typename(L, -1), "Point");
    vm_close(L);
}

static int check_point(lua_State *L)
{
    luaL_checkudata(L, 1, "Point");
    return 0;
}

static void test_checkudata(void **state)
{
    lua_State *L = vm_new(state, 0);
    luaL_newmetatable(L, "Point");
    lua_pushcfunction(L, check_point, "check");
    lua_newuserdata(L, 1);
    lua_pushvalue(L, 1);
    lua_setmetatable(L, -2);
    assert_int_equal(lua_pcall(L, 1, 0, 0), LUA_OK);
    lua_pushcfunction(L, check_point, "check");
    lua_setglobal(L, "check");
    vm_expect_error(L, "check(newproxy())",
                    "t:1: invalid argument #1 to 'check' (Point expected, got userdata)");
    vm_expect_error(L, "check()", "t:1: missing argument #1 to 'check' (Point expected)");
    vm_close(L);
}

/* ---- arguments and errors -------------------------------------------------------------------- */

static int check_all(lua_State *L)
{
    static const char *const options[] = {"red", "blue", NULL};
    const char *what = luaL_checkstring(L, 1);
    if (strcmp(what, "number") == 0)
        lua_pushnumber(L, luaL_checknumber(L, 2));
    else if (strcmp(what, "integer") == 0)
        lua_pushinteger(L, luaL_checkinteger(L, 2));
    else if (strcmp(what, "unsigned") == 0)
        lua_pushunsigned(L, luaL_checkunsigned(L, 2));
    else if (strcmp(what, "boolean") == 0)
        lua_pushboolean(L, luaL_checkboolean(L, 2));
    else if (strcmp(what, "vector") == 0)
        lua_pushnumber(L, luaL_checkvector(L, 2)[0]);
    else if (strcmp(what, "buffer") == 0)
        lua_pushboolean(L, luaL_checkbuffer(L, 2, NULL) != NULL);
    else if (strcmp(what, "table") == 0)
        luaL_checktype(L, 2, LUA_TTABLE);
    else if (strcmp(what, "any") == 0)
        luaL_checkany(L, 2);
    else if (strcmp(what, "option") == 0)
        lua_pushinteger(L, luaL_checkoption(L, 2, "blue", options));
    else if (strcmp(what, "default") == 0)
        lua_pushnumber(L, luaL_optnumber(L, 2, 4.5) + luaL_optinteger(L, 3, 2));
    else
        luaL_argerror(L, 1, "unknown check");
    return 1;
}

static void test_arguments(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_pushcfunction(L, check_all, "check");
    lua_setglobal(L, "check");
    lua_pushcfunction(L, check_all, NULL);
    lua_setglobal(L, "nameless");
    assert_int_equal(vm_run(L,
                            "assert(check('number', '0x10') == 16)\n"
                            "assert(check('integer', -1.9) == -1)\n"
                            "assert(check('integer', 1e10) == -2^31)\n"
                            "assert(check('unsigned', -1) == 2^32 - 1 and check('boolean', true))\n"
                            "assert(check('option', 'red') == 0 and check('option') == 1)\n"
                            "assert(check('default') == 6.5 and check('default', nil, 1) == 5.5)\n"
                            "assert(check('vector', vector.create(3, 2, 1)) == 3)\n"
                            "assert(check('buffer', buffer.create(0)))"),
                     LUA_OK);
    vm_expect_error(L, "check('number', {})",
                    "t:1: invalid argument #2 to 'check' (number expected, got table)");
    vm_expect_error(L, "\ncheck('integer', nil)",
                    "t:2: invalid argument #2 to 'check' (number expected, got nil)");
    vm_expect_error(L, "check('vector')", "t:1: missing argument #2 to 'check' (vector expected)");
    vm_expect_error(L, "check('any')", "t:1: missing argument #2");
    vm_expect_error(L, "check('option', 'green')",
                    "t:1: invalid argument #2 to 'check' (invalid option 'green')");
    vm_expect_error(L, "check('?')", "t:1: invalid argument #1 to 'check' (unknown check)");
    vm_expect_error(L, "nameless('table', 1)",
                    "t:1: invalid argument #2 (table expected, got number)");
    vm_expect_error(L, "nameless('table')", "t:1: missing argument #2 (table expected)");
    vm_expect_error(L, "nameless('?')", "t:1: invalid argument #1 (unknown check)");
    vm_expect_error(L, "local ok, e = pcall(check, 'boolean', 1) error(e, 0)",
                    "invalid argument #2 to 'check' (boolean expected, got number)");
    vm_close(L);
}

static int long_error(lua_State *L)
{
    char text[1000];
    memset(text, 'e', sizeof(text));
    luaL_error(L, "%.*s", (int)sizeof(text), text);
    return 0;
}

static int too_much_stack(lua_State *L)
{
    luaL_checkstack(L, LUAI_MAXCSTACK + 1, "too many");
    return 0;
}

static void test_errors(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_pushcfunction(L, long_error, "long_error");
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_ERRRUN);
    assert_int_equal(lua_objlen(L, -1), 511);
    lua_pushcfunction(L, long_error, "long_error");
    lua_setglobal(L, "f");
    assert_int_equal(vm_run(L, "f()"), LUA_ERRRUN);
    assert_int_equal(lua_objlen(L, -1), 511 + 5);
    vm_expect_native_error(L, too_much_stack, "stack overflow (too many)");
    vm_close(L);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static int handler(lua_State *L)
{
    lua_pushfstring(L, "handled %s at depth %d", luaL_tolstring(L, 1, NULL), lua_stackdepth(L));
    return 1;
}

static void test_pcall(void **state)
{
    lua_State *L = vm_new(state, 0);
    assert_int_equal(vm_run(L, "return 1, 2, 3"), LUA_OK);
    assert_int_equal(lua_gettop(L), 3);
    lua_settop(L, 0);
    vm_load(L, "return ...");
    lua_pushinteger(L, 1);
    lua_pushinteger(L, 2);
    assert_int_equal(lua_pcall(L, 2, 1, 0), LUA_OK);
    assert_int_equal(lua_gettop(L), 1);
    lua_settop(L, 0);
    vm_load(L, "");
    assert_int_equal(lua_pcall(L, 0, 3, 0), LUA_OK);
    assert_true(lua_gettop(L) == 3 && lua_isnil(L, 3));
    lua_settop(L, 0);
    assert_int_equal(vm_run(L, "error({code = 5})"), LUA_ERRRUN);
    lua_getfield(L, 1, "code");
    assert_int_equal(lua_tointeger(L, -1), 5);
    lua_settop(L, 0);
    lua_pushcfunction(L, handler, "handler");
    vm_load(L, "local function f() error('x', 0) end f()");
    assert_int_equal(lua_pcall(L, 0, 0, 1), LUA_ERRRUN);
    assert_string_equal(lua_tostring(L, -1), "handled x at depth 4");
    assert_int_equal(lua_gettop(L), 2);
    vm_close(L);
}

static int raise_top(lua_State *L)
{
    lua_settop(L, 1);
    return lua_error(L);
}

static int nested_pcall(lua_State *L)
{
    lua_pushcfunction(L, raise_top, "raise");
    lua_pushliteral(L, "inner");
    lua_pushinteger(L, lua_pcall(L, 1, 0, 0));
    return 2;
}

static void test_nested_pcall(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_pushcfunction(L, nested_pcall, "nested");
    lua_setglobal(L, "nested");
    assert_int_equal(vm_run(L, "local t = {} for i = 1, 100 do local e, s = nested() "
                               "assert(e == 'inner' and s == 2) end return 'done'"),
                     LUA_OK);
    assert_string_equal(lua_tostring(L, -1), "done");
    vm_close(L);
}

static int after_call(lua_State *L, int status)
{
    lua_pushinteger(L, status);
    lua_insert(L, 1);
    return lua_gettop(L);
}

static int callk(lua_State *L)
{
    return luau_callk(L, lua_gettop(L) - 1, LUA_MULTRET);
}

static int pcallk(lua_State *L)
{
    return luau_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET);
}

static void test_continuations(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_pushcclosurek(L, callk, "callk", 0, after_call);
    lua_setglobal(L, "callk");
    lua_pushcclosurek(L, pcallk, "pcallk", 0, after_call);
    lua_setglobal(L, "pcallk");
    assert_int_equal(
        vm_run(L, "local s, a, b = callk(function(...) return ... end, 'a', 'b')\n"
                  "assert(s == 0 and a == 'a' and b == 'b')\n"
                  "local s, e = pcallk(error, 'boom')\n"
                  "assert(s == 2 and e == 'boom')\n"
                  "local co = coroutine.wrap(function()\n"
                  "  local s, x = callk(coroutine.yield, 'y1')\n"
                  "  assert(s == 0 and x == 'r1')\n"
                  "  local s, x = pcallk(function() coroutine.yield('y2') error('e', 0) end)\n"
                  "  assert(s == 2 and x == 'e')\n"
                  "  return 'end'\n"
                  "end)\n"
                  "assert(co() == 'y1' and co('r1') == 'y2' and co() == 'end')\n"
                  "return 'done'"),
        LUA_OK);
    assert_string_equal(lua_tostring(L, -1), "done");
    vm_close(L);
}

static void test_resume(void **state)
{
    lua_State *L = vm_new(state, 0);
    lua_State *co = lua_newthread(L);
    vm_load(co, "local a = ... local b = coroutine.yield(a + 1) error('got ' .. b, 0)");
    lua_pushinteger(co, 1);
    assert_int_equal(lua_resume(co, L, 1), LUA_YIELD);
    assert_int_equal(lua_gettop(co), 1);
    assert_int_equal(lua_tointeger(co, -1), 2);
    assert_int_equal(lua_status(co), LUA_YIELD);
    assert_int_equal(lua_costatus(L, co), LUA_COSUS);
    lua_pop(co, 1);
    lua_pushliteral(co, "it");
    assert_int_equal(lua_resume(co, L, 1), LUA_ERRRUN);
    assert_string_equal(lua_tostring(co, -1), "got it");
    assert_int_equal(lua_costatus(L, co), LUA_COERR);
    assert_false(lua_isthreadreset(co));
    lua_resetthread(co);
    assert_true(lua_isthreadreset(co));
    vm_load(co, "return 5");
    assert_int_equal(lua_resume(co, L, 0), LUA_OK);
    assert_int_equal(lua_tointeger(co, -1), 5);
    lua_setthreaddata(co, &co);
    assert_ptr_equal(lua_getthreaddata(co), &co);
    vm_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stack_moves),
        cmocka_unit_test(test_stack_room),
        cmocka_unit_test(test_between_threads),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_frozen_tables),
        cmocka_unit_test(test_metatables),
        cmocka_unit_test(test_environments),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_destructors),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_checkudata),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_pcall),
        cmocka_unit_test(test_nested_pcall),
        cmocka_unit_test(test_continuations),
        cmocka_unit_test(test_resume),
    };
    return cmocka_run_group_tests(tests, vm_make_image, vm_drop_image) +
           cmocka_run_group_tests(tests, vm_make_image_stressed, vm_drop_image);
}
