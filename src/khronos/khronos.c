#include "khronos/khronos.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "khronos/runtime.h"

enum { SCRATCH_KEPT_BYTES = 16384 };

void khronos_default_limits(KhronosLimits *limits)
{
    *limits = (KhronosLimits){
        .memory_max_bytes = (size_t)20 << 20,
        .cpu_max_ns = 10 * CLOCK_NS_PER_S,
        .wall_max_ns = 600 * CLOCK_NS_PER_S,
        .slice_ns = CLOCK_NS_PER_MS,
        .result_max_bytes = (size_t)4 << 20,
        .log_lines_per_second = 100,
        .log_line_max_bytes = 4096,
        .log_kept_max_bytes = 256 * 1024,
    };
}

void execution_free(KhronosExecution *x)
{
    strbuf_free(&x->message);
    strbuf_free(&x->traceback);
    strbuf_free(&x->logs);
}

/* ---- The runtime ------------------------------------------------------------------------------
 */

KhronosRuntime *khronos_new(KhronosSandbox *sandbox, uint64_t guild_id, const KhronosLimits *limits,
                            const KhronosLog *log)
{
    KhronosRuntime *rt = calloc(1, sizeof(*rt));
    if (!rt)
        return NULL;
    luau_VmOptions options = {
        .image = sandbox_image(sandbox),
        .memory_max_bytes = limits->memory_max_bytes,
        .userdata = rt,
    };
    rt->L = luau_newvm(&options);
    if (!rt->L) {
        free(rt);
        return NULL;
    }
    rt->sandbox = sandbox_retain(sandbox);
    rt->guild_id = guild_id;
    rt->limits = limits;
    rt->log = log;
    rt->scratch.max = limits->memory_max_bytes;
    lua_callbacks(rt->L)->print = runlog_print;
    return rt;
}

void khronos_free(KhronosRuntime *rt)
{
    if (!rt)
        return;
    if (luau_isparked(rt->L))
        luau_abandon(rt->L);
    lua_close(rt->L);
    instances_free(&rt->instances);
    strbuf_free(&rt->scratch);
    sandbox_release(rt->sandbox);
    free(rt);
}

bool khronos_isbroken(const KhronosRuntime *rt)
{
    return rt->broken;
}

void khronos_account(KhronosRuntime *rt, luau_Account *account)
{
    luau_account(rt->L, account);
}

void khronos_shrink(KhronosRuntime *rt)
{
    strbuf_free(&rt->scratch);
    luau_shrink(rt->L);
}

/* ---- Executions -------------------------------------------------------------------------------
 */

/* Runs on a fiber. Pushes nothing that allocates before it is protected. */
static void work(lua_State *L, void *arg)
{
    KhronosRuntime *rt = arg;
    KhronosExecution *x = rt->current;
    lua_settop(L, 0);
    luau_image_push(L, SANDBOX_ID("run"));
    lua_pushlightuserdata(L, x);
    int status = lua_pcall(L, 1, 0, 0);
    if (status == LUA_KILLED) {
        runtime_killed(rt);
    } else if (status != LUA_OK) {
        /* The run itself failed, not the template: no room for the event, most likely. */
        bool memory = status == LUA_ERRMEM;
        x->status = memory ? KHRONOS_MEMORY_LIMIT : KHRONOS_INTERNAL;
        strbuf_clear(&x->message);
        const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        strbuf_puts(&x->message, text ? text : "the execution could not be started");
        rt->broken = memory;
    }
    if (status != LUA_KILLED)
        lua_settop(L, 0);
}

static KhronosStep finish(KhronosRuntime *rt)
{
    KhronosExecution *x = rt->current;
    luau_Account account;
    runlog_notice(rt);
    luau_account(rt->L, &account);
    x->duration_ns = clock_monotonic_ns() - rt->started_ns;
    x->cpu_ns = account.cpu_ns - rt->started_cpu_ns;
    x->memory_bytes = account.reserved_bytes;
    rt->current = NULL;
    if (!rt->broken) {
        luau_setcpulimit(rt->L, 0);
        luau_setdeadline(rt->L, 0);
    }
    return KHRONOS_FINISHED;
}

static KhronosStep after(KhronosRuntime *rt, int result)
{
    if (result == LUAU_PARKED)
        return KHRONOS_PARKED;
    if (result == LUAU_NOSTACK) {
        rt->current->status = KHRONOS_INTERNAL;
        strbuf_puts(&rt->current->message, "no memory for a stack");
    }
    return finish(rt);
}

/* There must be something to run; false: x says why not. */
static bool prepare(KhronosExecution *x)
{
    KhronosTemplate *t = x->template_version;
    x->status = KHRONOS_COMPILE_ERROR;
    if (template_problem(t))
        strbuf_puts(&x->message, template_problem(t));
    else if (template_entry(t) < 0)
        strbuf_puts(&x->message, "the template has no init.luau");
    else
        return true;
    return false;
}

KhronosStep khronos_run(KhronosRuntime *rt, luau_Fibers *fibers, KhronosExecution *x)
{
    BASE_ASSERT(rt->current == NULL && !rt->broken);
    luau_Account account;
    rt->current = x;
    rt->started_ns = clock_monotonic_ns();
    luau_account(rt->L, &account);
    rt->started_cpu_ns = account.cpu_ns;
    if (!prepare(x))
        return finish(rt);
    x->status = KHRONOS_INTERNAL;
    luau_setcpulimit(rt->L, rt->limits->cpu_max_ns);
    luau_setdeadline(rt->L, rt->started_ns + rt->limits->wall_max_ns);
    luau_setslice(rt->L, rt->limits->slice_ns);
    return after(rt, luau_run(fibers, rt->L, work, rt));
}

KhronosStep khronos_continue(KhronosRuntime *rt)
{
    BASE_ASSERT(rt->current != NULL);
    return after(rt, luau_continue(rt->L));
}

void khronos_kill(KhronosRuntime *rt)
{
    luau_kill(rt->L, LUAU_KILL_HOST);
}

/* ---- For natives ------------------------------------------------------------------------------
 */

KhronosRuntime *khronos_of(lua_State *L)
{
    return luau_vmdata(L);
}

InstanceList *runtime_instances(lua_State *L)
{
    return &khronos_of(L)->instances;
}

Strbuf *khronos_scratch(lua_State *L)
{
    Strbuf *scratch = &khronos_of(L)->scratch;
    strbuf_clear(scratch);
    return scratch;
}

void khronos_scratch_done(lua_State *L)
{
    Strbuf *scratch = &khronos_of(L)->scratch;
    if (scratch->capacity > SCRATCH_KEPT_BYTES)
        strbuf_free(scratch);
}

void khronos_pushstore(lua_State *L)
{
    KhronosRuntime *rt = khronos_of(L);
    if (!rt->store) {
        lua_newtable(L);
        rt->store = lua_ref(L, -1);
        return;
    }
    lua_getref(L, rt->store);
}

size_t khronos_memory_limit(lua_State *L)
{
    return khronos_of(L)->limits->memory_max_bytes;
}
