/* test_fault.c: every allocation fails once.
 *
 * Each program runs with the first allocation failing, then the second, and so on until it runs to
 * its end. Each time: a clean status, a sound heap, nothing lost (the sanitizer's leak check), and
 * the VM runs the program right afterwards. The same with allocations of the C library instead of
 * those of the VM's heap, for the compiler, for making VMs and images, and for running on fibers.
 *
 * The VM's own (luau_failalloc) are to be had in LUAU_DEBUG builds only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/strbuf.h"
#include "fault_support.h"
#include "khronos/interop.h"
#include "khronos/sandbox.h"
#include "luau/luau.h"
#include "programs.h"

enum {
    STRESSED_MAX = 200, /* some of these with a collection at every allocation */
    EACH_MAX = 2000,    /* up to here every allocation, then growing strides */
    QUOTA_BYTES = 64 << 20
};

typedef struct Fixture {
    luau_Image *standard; /* the standard library, and J: the JSON codec */
    Strbuf text;          /* of the JSON writer: survives kills */
} Fixture;

static long next_step(long k)
{
    return k < EACH_MAX ? k + 1 : k + k / 50;
}

/* ---- VMs ------------------------------------------------------------------------------------- */

static int json_encode(lua_State *L)
{
    Fixture *fixture = luau_vmdata(L);
    InteropWriter writer = {.out = &fixture->text, .root = "$"};
    InteropError error;
    strbuf_clear(&fixture->text);
    if (!interop_encode(L, 1, &writer, &error))
        luaL_error(L, "%s", error.text);
    lua_pushlstring(L, fixture->text.data, fixture->text.length);
    return 1;
}

static int json_decode(lua_State *L)
{
    InteropReader reader = {.freeze = false};
    InteropError error;
    reader.text = luaL_checklstring(L, 1, &reader.length);
    if (!interop_decode(L, &reader, &error))
        luaL_error(L, "%s", error.text);
    return 1;
}

static void open_json(lua_State *L, void *arg)
{
    static const luaL_Reg functions[] = {
        {"encode", json_encode}, {"decode", json_decode}, {NULL, NULL}};
    (void)arg;
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_setglobal(L, "J");
    luaL_openlibs(L);
}

static lua_State *new_vm(Fixture *fixture, size_t quota)
{
    luau_VmOptions options = {
        .image = fixture->standard, .memory_max_bytes = quota, .userdata = fixture};
    return luau_newvm(&options);
}

static luau_Module *compile(Fixture *fixture, const FaultProgram *program)
{
    luau_CompileOptions options;
    luau_Diagnostic diagnostic;
    luau_compile_defaults(&options);
    options.image = fixture->standard;
    luau_Module *module = luau_compile(program->source, strlen(program->source), "=fault", &options,
                                       &diagnostic);
    if (!module)
        fail_msg("%s: %d: %s", program->name, diagnostic.line, diagnostic.message);
    return module;
}

static void check_heap(lua_State *L, const FaultProgram *program, long k)
{
    const char *fault = luau_checkheap(L);
    if (fault)
        fail_msg("%s: allocation %ld: heap: %s", program->name, k, fault);
}

static void load_and_call(lua_State *L, void *module)
{
    luau_load(L, module, 1);
    lua_call(L, 0, 1);
}

/* Leaves the result or the error on the stack. */
static int run(lua_State *L, luau_Module *module)
{
    return luau_protect(L, load_and_call, module);
}

/* Without anything failing: what the program gives. */
static void expect(lua_State *L, luau_Module *module, const FaultProgram *program, long k,
                   Strbuf *result)
{
    int status = run(L, module);
    size_t length = 0;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : NULL;
    if (status != LUA_OK || !text)
        fail_msg("%s: after allocation %ld failed: status %d: %s", program->name, k, status,
                 text ? text : "no text");
    if (!result->data)
        strbuf_put(result, text, length);
    else if (length != result->length || memcmp(text, result->data, length) != 0)
        fail_msg("%s: after allocation %ld failed: %s, not %.*s", program->name, k, text,
                 (int)result->length, result->data);
    lua_settop(L, 0);
    check_heap(L, program, k);
}

/* ---- allocations of the VM ------------------------------------------------------------------- */

/* How a failed allocation may end: an error that says so, or without trace where the VM can do
 * without the memory, or as a program that caught the error may answer. */
static void check_status(lua_State *L, const FaultProgram *program, long k, int status,
                         size_t quota)
{
    if (status == LUA_OK ||
        (status == LUA_KILLED && quota && luau_killreason(L) == LUAU_KILL_MEMORY))
        return;
    const char *text = status == LUA_KILLED ? "" : lua_tostring(L, -1);
    /* What is no memory of the VM (the JSON writer's text) is an error whether there is a quota or
     * not. */
    bool said = text && strstr(text, "not enough memory");
    if (status == LUA_ERRRUN && (said || quota == 0))
        return;
    if (quota != 0 || !(status == LUA_ERRERR || (status == LUA_ERRMEM && said)))
        fail_msg("%s: allocation %ld: status %d: %s", program->name, k, status, text ? text : "");
}

/* True: the run ended before the k-th allocation. */
static bool run_failing(Fixture *fixture, luau_Module *module, const FaultProgram *program, long k,
                        size_t quota, Strbuf *result)
{
    lua_State *L = new_vm(fixture, quota);
    assert_non_null(L);
    if (k % 3 == 0)
        luau_testmode(L, LUAU_TEST_STACK_MOVES);
    if (k % 16 == 5 && k < STRESSED_MAX)
        luau_testmode(L, LUAU_TEST_GC_ALWAYS | LUAU_TEST_STACK_MOVES);
    uint64_t before = luau_failalloc(L, (uint64_t)k);
    int status = run(L, module);
    bool ended = luau_failalloc(L, 0) < before + (uint64_t)k;
    check_heap(L, program, k);
    check_status(L, program, k, status, quota);
    if (ended)
        assert_int_equal(status, LUA_OK);
    lua_settop(L, 0);
    luau_clearkill(L);
    luau_testmode(L, 0);
    expect(L, module, program, k, result);
    lua_close(L);
    return ended;
}

static void run_all(Fixture *fixture, size_t quota)
{
    lua_State *probe = new_vm(fixture, 0);
    bool supported = luau_failalloc(probe, 0) > 0 && luau_testmode(probe, 1) == 0 &&
                     luau_testmode(probe, 0) == 1;
    lua_close(probe);
    if (!supported)
        skip();
    for (int i = 0; i < fault_program_count; i++) {
        const FaultProgram *program = &fault_programs[i];
        luau_Module *module = compile(fixture, program);
        Strbuf result = STRBUF_INIT;
        lua_State *L = new_vm(fixture, quota);
        expect(L, module, program, 0, &result);
        lua_close(L);
        for (long k = 1; !run_failing(fixture, module, program, k, quota, &result);)
            k = next_step(k);
        strbuf_free(&result);
        luau_module_release(module);
    }
}

static void test_without_quota(void **state)
{
    run_all(*state, 0);
}

static void test_with_quota(void **state)
{
    run_all(*state, QUOTA_BYTES);
}

/* ---- small quotas ---------------------------------------------------------------------------- */

/* Whatever the quota: finished, killed, or `not enough memory` for a single request beyond it. */
static void test_every_quota(void **state)
{
    Fixture *fixture = *state;
    for (int i = 0; i < fault_program_count; i++) {
        const FaultProgram *program = &fault_programs[i];
        luau_Module *module = compile(fixture, program);
        Strbuf result = STRBUF_INIT;
        int status = LUA_KILLED;
        for (size_t quota = 1024; status != LUA_OK && quota < QUOTA_BYTES; quota += quota / 32) {
            lua_State *L = new_vm(fixture, quota);
            assert_non_null(L);
            status = run(L, module);
            check_heap(L, program, (long)quota);
            luau_Account account;
            luau_account(L, &account);
            if (account.peak_bytes > quota && quota > 4096)
                fail_msg("%s: %zu bytes of %zu", program->name, account.peak_bytes, quota);
            lua_settop(L, 0);
            luau_clearkill(L);
            luau_setquota(L, 0);
            expect(L, module, program, (long)quota, &result);
            lua_close(L);
        }
        assert_int_equal(status, LUA_OK);
        strbuf_free(&result);
        luau_module_release(module);
    }
}

/* ---- allocations of the C library ------------------------------------------------------------ */

static void test_system_fails(void **state)
{
    Fixture *fixture = *state;
    for (int i = 0; i < fault_program_count; i++) {
        const FaultProgram *program = &fault_programs[i];
        luau_Module *module = compile(fixture, program);
        Strbuf result = STRBUF_INIT;
        bool fired = true;
        for (long k = 1; fired; k = next_step(k)) {
            size_t quota = k % 2 ? 0 : QUOTA_BYTES;
            lua_State *L = new_vm(fixture, quota);
            strbuf_free(&fixture->text);
            fault_arm(k);
            int status = run(L, module);
            fired = fault_disarm();
            check_heap(L, program, k);
            check_status(L, program, k, status, quota);
            lua_settop(L, 0);
            luau_clearkill(L);
            expect(L, module, program, k, &result);
            lua_close(L);
        }
        strbuf_free(&result);
        luau_module_release(module);
    }
}

/* A fiber that cannot be made, and everything after it. */
static void work(lua_State *L, void *module)
{
    run(L, module);
}

static void test_fibers(void **state)
{
    Fixture *fixture = *state;
    luau_Module *module = compile(fixture, &fault_programs[0]);
    bool fired = true;
    for (long k = 1; fired; k++) {
        lua_State *L = new_vm(fixture, 0);
        fault_arm(k);
        luau_Fibers *fibers = luau_fibers_new(1);
        int result = fibers ? luau_run(fibers, L, work, module) : LUAU_NOSTACK;
        fired = fault_disarm();
        assert_true(result == LUAU_DONE || (fired && result == LUAU_NOSTACK));
        if (fibers) {
            lua_settop(L, 0);
            assert_int_equal(luau_run(fibers, L, work, module), LUAU_DONE);
            assert_string_equal(lua_tostring(L, -1), "50200");
        }
        lua_close(L);
        luau_fibers_free(fibers);
    }
    luau_module_release(module);
}

/* ---- compiler -------------------------------------------------------------------------------- */

static bool compile_once(const char *source, const luau_CompileOptions *options)
{
    luau_Diagnostic diagnostic = {.line = 0};
    luau_Module *module = luau_compile(source, strlen(source), "=fault", options, &diagnostic);
    if (!module) {
        assert_string_equal(diagnostic.message, "not enough memory");
        assert_int_equal(diagnostic.line, 1);
    }
    luau_module_release(module);
    return module != NULL;
}

static void test_compiler(void **state)
{
    Fixture *fixture = *state;
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    options.image = fixture->standard;
    for (int i = 0; i < fault_program_count; i++) {
        const char *source = fault_programs[i].source;
        options.optimization = i % 3;
        bool fired = true;
        for (long k = 1; fired; k = next_step(k)) {
            fault_arm(k);
            bool compiled = compile_once(source, &options);
            fired = fault_disarm();
            assert_true(compiled || fired);
        }
        size_t cap = 1;
        while (options.memory_max_bytes = cap, !compile_once(source, &options))
            cap += 64;
        options.memory_max_bytes = 0;
    }
}

static void test_checker(void **state)
{
    (void)state;
    static const char source[] = "local = 1 f( return } x = = `a{ 5 'unfinished";
    luau_CompileOptions options;
    luau_Diagnostic errors[20];
    luau_compile_defaults(&options);
    bool fired = true;
    for (long k = 1; fired; k++) {
        fault_arm(k);
        int count = luau_check(source, strlen(source), &options, errors, 20);
        fired = fault_disarm();
        assert_true(count > 0);
        if (fired)
            assert_string_equal(errors[0].message, "not enough memory");
        else
            assert_string_not_equal(errors[0].message, "not enough memory");
    }
}

/* ---- VMs and images -------------------------------------------------------------------------- */

static void test_new_vm(void **state)
{
    Fixture *fixture = *state;
    bool fired = true;
    for (long k = 1; fired; k++) {
        fault_arm(k);
        lua_State *L = new_vm(fixture, 0);
        fired = fault_disarm();
        assert_true(L || fired);
        if (L) {
            assert_null(luau_checkheap(L));
            lua_close(L);
        }
    }
}

static void test_new_image(void **state)
{
    (void)state;
    bool fired = true;
    for (long k = 1; fired; k++) {
        char error[256] = "";
        fault_arm(k);
        luau_Image *image = luau_image_new(open_json, NULL, error, sizeof(error));
        fired = fault_disarm();
        assert_true(image || fired);
        if (!image)
            assert_true(error[0] != '\0');
        luau_image_release(image);
    }
}

static void test_new_sandbox(void **state)
{
    (void)state;
    bool fired = true;
    for (long k = 1; fired; k++) {
        char error[256] = "";
        fault_arm(k);
        KhronosSandbox *sandbox = sandbox_new(NULL, 0, error, sizeof(error));
        fired = fault_disarm();
        assert_true(sandbox || fired);
        sandbox_release(sandbox);
    }
}

static int set_up(void **state)
{
    static Fixture fixture;
    char error[256];
    fixture.standard = luau_image_new(open_json, NULL, error, sizeof(error));
    *state = &fixture;
    return fixture.standard ? 0 : -1;
}

static int tear_down(void **state)
{
    Fixture *fixture = *state;
    luau_image_release(fixture->standard);
    strbuf_free(&fixture->text);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_vm),        cmocka_unit_test(test_new_image),
        cmocka_unit_test(test_new_sandbox),   cmocka_unit_test(test_compiler),
        cmocka_unit_test(test_checker),       cmocka_unit_test(test_fibers),
        cmocka_unit_test(test_system_fails),  cmocka_unit_test(test_every_quota),
        cmocka_unit_test(test_without_quota), cmocka_unit_test(test_with_quota),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
