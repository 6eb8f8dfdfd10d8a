/* test_image.c: images: what they accept, that nothing in them can change, ids, sharing, life. */
#include "vm_support.h"

#include <pthread.h>

#include "luau/image.h"
#include "luau/str.h"

static int answer(lua_State *L)
{
    lua_pushinteger(L, 42);
    return 1;
}

static int counter(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    return 1;
}

/* lib = {answer, nested = {deep = answer2, [1] = {}, ["odd key"] = {}}, text = "text", counter} */
static void open_lib(lua_State *L, void *userdata)
{
    (void)userdata;
    lua_newtable(L);
    lua_pushcfunction(L, answer, "answer");
    lua_setfield(L, -2, "answer");
    lua_newtable(L);
    lua_pushcfunction(L, answer, "deep");
    lua_setfield(L, -2, "deep");
    lua_newtable(L);
    lua_rawseti(L, -2, 1);
    lua_newtable(L);
    lua_setfield(L, -2, "odd key");
    lua_setfield(L, -2, "nested");
    lua_pushliteral(L, "text");
    lua_setfield(L, -2, "text");
    lua_pushliteral(L, "a part of the closure");
    lua_pushcclosure(L, counter, "counter", 1);
    lua_setfield(L, -2, "counter");
    lua_newtable(L);
    lua_pushliteral(L, "Locked");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_setglobal(L, "lib");
    lua_getfield(L, -1, "nested");
    lua_getfield(L, -1, "deep");
    lua_setglobal(L, "alias");
    lua_newtable(L);
    lua_pushliteral(L, "Handle");
    lua_setfield(L, -2, "__type");
    lua_setuserdatametatable(L, 3);
}

static luau_Image *make(luau_OpenFunction open)
{
    char error[200] = "";
    luau_Image *image = luau_image_new(open, NULL, error, sizeof(error));
    if (!image)
        fail_msg("%s", error);
    return image;
}

static lua_State *vm_of(luau_Image *image)
{
    void *state = image;
    return vm_new(&state, 0);
}

static void expect_id(lua_State *L, const char *source, const char *id)
{
    assert_int_equal(vm_run(L, source), LUA_OK);
    const char *found = luau_image_id(L, -1);
    if (id)
        assert_string_equal(found, id);
    else
        assert_null(found);
    lua_settop(L, 0);
}

static void test_ids(void **state)
{
    (void)state;
    luau_Image *image = make(open_lib);
    lua_State *L = vm_of(image);
    expect_id(L, "return lib", "lib");
    expect_id(L, "return lib.answer", "lib.answer");
    expect_id(L, "return lib.nested", "lib.nested");
    expect_id(L, "return lib.nested.deep", "alias"); /* the shortest path */
    expect_id(L, "return lib.nested[1]", "lib.nested[1]");
    expect_id(L, "return lib.nested['odd key']", "lib.nested[\"odd key\"]");
    expect_id(L, "return _G", "_G");
    expect_id(L, "return {}", NULL);
    expect_id(L, "return 'text'", NULL);
    expect_id(L, "return function() end", NULL);
    static const char *const ids[] = {"lib",
                                      "lib.answer",
                                      "alias",
                                      "lib.nested[1]",
                                      "_G",
                                      "getmetatable(lib)",
                                      "getmetatable(globals)",
                                      "getmetatable(userdata 3)"};
    for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++) {
        assert_int_not_equal(luau_image_push(L, ids[i]), LUA_TNIL);
        assert_string_equal(luau_image_id(L, -1), ids[i]);
    }
    assert_int_equal(luau_image_push(L, "lib.nothing"), LUA_TNIL);
    assert_true(lua_isnil(L, -1));
    lua_settop(L, 0);
    vm_close(L);
    luau_image_release(image);
}

static void test_sharing(void **state)
{
    (void)state;
    luau_Image *image = make(open_lib);
    lua_State *L = vm_of(image), *M = vm_of(image);
    assert_true(luau_image_bytes(image) > 0);
    luau_image_release(image); /* the VMs keep it */
    lua_getglobal(L, "lib");
    lua_getglobal(M, "lib");
    assert_ptr_equal(lua_topointer(L, -1), lua_topointer(M, -1));
    lua_getfield(L, -1, "answer");
    assert_int_equal(lua_pcall(L, 0, 1, 0), LUA_OK);
    assert_int_equal(lua_tointeger(L, -1), 42);
    vm_must(L, "lib = nil alias = 5");
    vm_must(L, "x = 1");
    lua_close(L);
    assert_int_equal(vm_run(M, "return x, lib.text, lib.counter(), alias()"), LUA_OK);
    assert_true(lua_isnil(M, 2));
    assert_string_equal(lua_tostring(M, 3), "text");
    assert_string_equal(lua_tostring(M, 4), "a part of the closure");
    lua_newuserdatatagged(M, 1, 3);
    assert_string_equal(luaL_typename(M, -1), "Handle");
    lua_gc(M, LUA_GCCOLLECT, 0);
    assert_int_equal(vm_run(M, "return lib.text"), LUA_OK);
    vm_close(M);
}

static void test_own_tag_metatable(void **state)
{
    (void)state;
    luau_Image *image = make(open_lib);
    lua_State *L = vm_of(image), *M = vm_of(image);
    lua_newtable(L);
    lua_pushliteral(L, "Mine");
    lua_setfield(L, -2, "__type");
    lua_setuserdatametatable(L, 3);
    lua_newuserdatatagged(L, 1, 3);
    lua_newuserdatatagged(M, 1, 3);
    lua_gc(L, LUA_GCCOLLECT, 0);
    assert_string_equal(luaL_typename(L, -1), "Mine");
    assert_string_equal(luaL_typename(M, -1), "Handle");
    vm_close(L);
    vm_close(M);
    luau_image_release(image);
}

static void test_immutable(void **state)
{
    static const char readonly[] = "attempt to modify a readonly table";
    luau_Image *image = luau_image_retain(*state);
    lua_State *L = vm_of(image);
    static const char *const sources[] = {
        "string.x = 1",
        "rawset(math, 'pi', 3)",
        "_G.x = 1",
        "table.insert(table, 1)",
        "table.clear(os)",
        "getmetatable('').x = 1",
        "rawset(_G, 'print', nil)",
        "getmetatable(getfenv(1)).x = 1",
        "setmetatable(string, {})",
    };
    for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
        if (vm_run(L, sources[i]) == LUA_OK)
            fail_msg("%s", sources[i]);
        if (!strstr(lua_tostring(L, -1), readonly))
            assert_non_null(strstr(lua_tostring(L, -1), "protected"));
        lua_settop(L, 0);
    }
    vm_must(L, "assert(table.isfrozen(string) and table.isfrozen(_G))\n"
               "local t = table.clone(string) t.x = 1 assert(t.x == 1 and string.x == nil)\n"
               "x = 5 assert(_G.x == nil and x == 5)\n"
               "print = 7 assert(print == 7 and _G.print ~= 7)");
    vm_close(L);
    luau_image_release(image);
}

/* ---- what an image refuses ------------------------------------------------------------------- */

static void open_luau_function(lua_State *L, void *userdata)
{
    (void)userdata;
    lua_newtable(L);
    vm_load(L, "return 1");
    lua_setfield(L, -2, "f");
    lua_setglobal(L, "bad");
}

static void open_thread(lua_State *L, void *userdata)
{
    (void)userdata;
    lua_newthread(L);
    lua_setglobal(L, "bad");
}

static void open_buffer(lua_State *L, void *userdata)
{
    (void)userdata;
    lua_newbuffer(L, 3);
    lua_pushcclosure(L, counter, "counter", 1);
    lua_setglobal(L, "bad");
}

static void open_userdata(lua_State *L, void *userdata)
{
    (void)userdata;
    lua_newtable(L);
    lua_newuserdata(L, 3);
    lua_rawseti(L, -2, 1);
    lua_setglobal(L, "bad");
}

static void open_failing(lua_State *L, void *userdata)
{
    luaL_error(L, "cannot open %s", (const char *)userdata);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        luau_OpenFunction open;
        const char *error;
    } cases[] = {
        {open_luau_function, "an image cannot hold a function written in Luau: bad.f"},
        {open_thread, "an image cannot hold a thread: bad"},
        {open_buffer, "an image cannot hold a buffer: upvalue(bad, 1)"},
        {open_userdata, "an image cannot hold a userdata: bad[1]"},
        {open_failing, "cannot open it"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char error[200] = "";
        assert_null(luau_image_new(cases[i].open, (void *)"it", error, sizeof(error)));
        assert_string_equal(error, cases[i].error);
    }
}

/* ---- strings --------------------------------------------------------------------------------- */

static const String *find_string(const luau_Image *image, const char *text)
{
    return luI_string(image, text, strlen(text), luS_hash(text, strlen(text)));
}

/* A string of a module that ran while the image was made, and went before it. */
static void open_from_source(lua_State *L, void *userdata)
{
    (void)userdata;
    vm_must(L, "made = {by = 'a script', from_the = {'source'}}");
}

static void test_strings(void **state)
{
    luau_Image *image = make(open_from_source);
    assert_non_null(find_string(image, "a script"));
    assert_non_null(find_string(image, "from_the"));
    assert_null(find_string(image, "never seen"));
    assert_non_null(find_string(NULL, "__index"));
    assert_ptr_equal(find_string(image, "__index"), find_string(NULL, "__index"));
    lua_State *L = vm_of(image);
    assert_int_equal(vm_run(L, "return made.by .. made.from_the[1]"), LUA_OK);
    assert_string_equal(lua_tostring(L, -1), "a scriptsource");
    vm_close(L);
    luau_image_release(image);
    static const char *const path[] = {"string", "format"};
    static const char *const wrong[] = {"string", "fromat"};
    assert_int_equal(val_type(luI_lookup(*state, path, 2)), LUA_TFUNCTION);
    assert_int_equal(val_type(luI_lookup(*state, path, 1)), LUA_TTABLE);
    assert_int_equal(val_type(luI_lookup(*state, wrong, 2)), LUA_TNIL);
}

/* ---- threads --------------------------------------------------------------------------------- */

typedef struct Shared {
    luau_Image *image;
    luau_Module *module;
} Shared;

static void *run_vms(void *arg)
{
    const Shared *shared = arg;
    intptr_t right = 0;
    for (int i = 0; i < 100; i++) {
        luau_VmOptions options = {.image = shared->image};
        lua_State *L = luau_newvm(&options);
        luau_load(L, shared->module, 0);
        if (lua_pcall(L, 0, 1, 0) == LUA_OK && lua_tointeger(L, -1) == 5050)
            right++;
        lua_gc(L, LUA_GCCOLLECT, 0);
        lua_close(L);
    }
    return (void *)right;
}

/* Image and module are used by many OS threads at a time; nothing there needs a lock. */
static void test_threads(void **state)
{
    static const char source[] =
        "local t = setmetatable({}, {__index = function(_, k) return k end})\n"
        "local s = 0 for i = 1, 100 do s += t[i] end\n"
        "local u = string.format('%d %s', s, ('ab'):rep(2)):upper()\n"
        "assert(u == '5050 ABAB' and #string.split(u, ' ') == 2)\n"
        "for k, v in pairs(string) do assert(type(v) == 'function') end\n"
        "table.sort({3, 1, 2}) assert(getmetatable('').__index == string)\n"
        "return s";
    enum { THREADS = 4 };
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    options.image = *state;
    luau_Module *module = luau_compile(source, strlen(source), "=t", &options, NULL);
    assert_non_null(module);
    Shared shared = {*state, module};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_vms, &shared), 0);
    for (int i = 0; i < THREADS; i++) {
        void *right;
        pthread_join(threads[i], &right);
        assert_int_equal((intptr_t)right, 100);
    }
    luau_module_release(module);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_own_tag_metatable),
        cmocka_unit_test(test_immutable),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, vm_make_image, vm_drop_image) +
           cmocka_run_group_tests(tests, vm_make_image_stressed, vm_drop_image);
}
