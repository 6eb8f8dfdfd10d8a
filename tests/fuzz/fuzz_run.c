/* fuzz_run.c: any bytes as a script, compiled and run in a sandboxed VM with a small quota and
 * little time. Whatever it does, the heap is sound afterwards, and the libraries that all VMs share
 * still work in the next one. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "luau/luau.h"

enum { QUOTA_BYTES = 4 << 20, CPU_MAX_NS = 50 * 1000 * 1000 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static luau_Image *image;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    image = luau_image_standard();
    return image ? 0 : 1;
}

static void discard_line(lua_State *L, int level, const char *text, size_t length)
{
    (void)L;
    (void)level;
    (void)text;
    (void)length;
}

static void work(lua_State *L, void *arg)
{
    luau_Module *module = arg;
    lua_State *thread = lua_newthread(L);
    luau_load(thread, module, 1);
    for (int turn = 0; turn < 8; turn++) {
        int status = lua_resume(thread, L, 0);
        if (status != LUA_YIELD)
            break;
    }
    lua_settop(L, 0);
}

static void run(luau_Module *module, int test_modes)
{
    luau_VmOptions options = {.image = image, .memory_max_bytes = QUOTA_BYTES};
    lua_State *L = luau_newvm(&options);
    luau_Fibers *fibers = luau_fibers_new(1);
    luau_Ticker *ticker = luau_ticker_new(1000);
    if (!L || !fibers || !ticker)
        abort();
    luau_ticker_add(ticker, fibers);
    lua_callbacks(L)->print = discard_line;
    luau_testmode(L, test_modes);
    luau_setcpulimit(L, CPU_MAX_NS);
    luau_setslice(L, 1000 * 1000);
    int result = luau_run(fibers, L, work, module);
    while (result == LUAU_PARKED)
        result = luau_continue(L);
    if (result != LUAU_DONE)
        abort();
    const char *wrong = luau_checkheap(L);
    if (wrong) {
        fprintf(stderr, "heap: %s\n", wrong);
        abort();
    }
    lua_close(L);
    luau_ticker_remove(ticker, fibers);
    luau_ticker_free(ticker);
    luau_fibers_free(fibers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    options.optimization = data[0] % 3;
    options.image = image;
    options.memory_max_bytes = 16 << 20;
    luau_Diagnostic diagnostic;
    luau_Module *module = luau_compile((const char *)data + 1, size - 1, "=fuzz", &options,
                                       &diagnostic);
    if (!module)
        return 0;
    /* One input in eight collects at every allocation and moves the stack; it costs much. */
    run(module, data[0] / 4 % 8 == 0 ? LUAU_TEST_GC_ALWAYS | LUAU_TEST_STACK_MOVES : 0);
    luau_module_release(module);
    return 0;
}
