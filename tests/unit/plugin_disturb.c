#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plugin_disturb.h"

typedef struct FiberRun {
    PluginVm *vm;
    const char *source;
    int status;
} FiberRun;

static void run_script(lua_State *L, void *arg)
{
    FiberRun *run = arg;
    (void)L;
    run->status = plugin_start(run->vm, run->source);
}

/* It may be killed while the script is compiled. */
static void run_protected(lua_State *L, void *arg)
{
    FiberRun *run = arg;
    int status = luau_protect(L, run_script, run);
    if (status != LUA_OK)
        run->status = status;
}

/* Parks at every poll. From the kill_at-th on (0: never) the VM is to be killed; at the stop_at-th
 * it is left parked. Returns how often it was parked. */
static int run_parking(FiberRun *run, luau_Fibers *fibers, int kill_at, int stop_at)
{
    lua_State *L = run->vm->L;
    int parked = 0;
    luau_preempt(L);
    int result = luau_run(fibers, L, run_protected, run);
    while (result == LUAU_PARKED && ++parked != stop_at) {
        if (parked == kill_at)
            luau_kill(L, LUAU_KILL_HOST);
        luau_preempt(L);
        result = luau_continue(L);
    }
    assert_int_equal(result, parked == stop_at && stop_at > 0 ? LUAU_PARKED : LUAU_DONE);
    return parked;
}

void plugin_disturb_polls(PluginVm *vm, const char *source, int polls_min, int places)
{
    luau_Fibers *fibers = luau_fibers_new(2);
    FiberRun run = {.vm = vm, .source = source};
    plugin_renew(vm);
    if (plugin_start(vm, source) != LUA_OK)
        fail_msg("%s\n%s", source, plugin_text(vm));
    char *want = strdup(plugin_text(vm));
    plugin_renew(vm);
    int polls = run_parking(&run, fibers, 0, 0);
    assert_int_equal(run.status, LUA_OK);
    assert_string_equal(plugin_text(vm), want);
    if (polls < polls_min)
        fail_msg("%d polls, expected %d and more:\n%s", polls, polls_min, source);
    int step = polls > places ? polls / places : 1;
    for (int k = 1; k < polls; k += step) {
        plugin_renew(vm);
        run_parking(&run, fibers, k, 0);
        assert_int_equal(run.status, LUA_KILLED);
        plugin_renew(vm);
        run_parking(&run, fibers, 0, k);
        khronos_free(vm->rt);
        vm->rt = NULL;
    }
    plugin_renew(vm);
    luau_fibers_free(fibers);
    free(want);
}

static void run_starved(PluginVm *vm, const char *source, uint64_t k, bool *finished)
{
    plugin_renew(vm);
    vm->fail_at = k;
    int status = plugin_start(vm, source);
    vm->fail_at = 0;
    if (status == LUA_KILLED) {
        assert_int_equal(luau_killreason(vm->L), LUAU_KILL_MEMORY);
        return;
    }
    if (status != LUA_OK && status != LUA_ERRMEM && status != LUA_ERRRUN)
        fail_msg("allocation %d: status %d", (int)k, status);
    const char *problem = luau_checkheap(vm->L);
    if (problem)
        fail_msg("allocation %d: %s", (int)k, problem);
    *finished = status == LUA_OK;
}

static void starve(PluginVm *vm, const char *source, int places)
{
    bool finished = false;
    plugin_renew(vm);
    uint64_t before = luau_failalloc(vm->L, 0);
    if (plugin_start(vm, source) != LUA_OK)
        fail_msg("%s\n%s", source, plugin_text(vm));
    uint64_t count = luau_failalloc(vm->L, 0) - before;
    uint64_t step = places > 0 && count > (uint64_t)places ? count / (uint64_t)places : 1;
    for (uint64_t k = 1; k <= count; k += step)
        run_starved(vm, source, k, &finished);
    assert_false(finished && step == 1 && count < 2);
    run_starved(vm, source, 2 * count + 100, &finished);
    assert_true(finished);
}

void plugin_disturb_memory(PluginVm *vm, const char *source, int places)
{
    size_t quota = vm->limits.memory_max_bytes;
    starve(vm, source, places);
    vm->limits.memory_max_bytes = 0;
    starve(vm, source, places);
    vm->limits.memory_max_bytes = quota;
    plugin_renew(vm);
}
