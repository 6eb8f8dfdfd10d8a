#include "khronos/khronos.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/clock.h"
#include "khronos/codecache.h"
#include "khronos/runtime.h"

enum { SCRATCH_KEPT_BYTES = 16384 };

void khronos_default_limits(KhronosLimits *limits)
{
    *limits = (KhronosLimits){
        .memory_max_bytes = (size_t)20 << 20,
        .cpu_max_ns = 10 * CLOCK_NS_PER_S,
        .wall_max_ns = 600 * CLOCK_NS_PER_S,
        .share_max_ns = 45 * CLOCK_NS_PER_S,
        .slice_ns = CLOCK_NS_PER_MS,
        .result_max_bytes = (size_t)4 << 20,
        .tasks_max = 10000,
        .calls_max = CALLS_MAX_DEFAULT,
        .log_lines_per_second = 100,
        .log_line_max_bytes = 4096,
        .log_kept_max_bytes = 256 * 1024,
        .mailbox_max = 1024,
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

static void free_rest(KhronosRuntime *rt)
{
    runtime_drop_tasks(rt);
    calls_drop(&rt->calls);
    instances_free(&rt->instances);
    strbuf_free(&rt->scratch);
    sandbox_release(rt->sandbox);
    free(rt);
}

void khronos_free(KhronosRuntime *rt)
{
    if (!rt)
        return;
    if (luau_isparked(rt->L))
        luau_abandon(rt->L);
    lua_close(rt->L);
    free_rest(rt);
}

void khronos_discard(KhronosRuntime *rt)
{
    /* Before its address can be another VM's. */
    codecache_release_owner(sandbox_codecache(rt->sandbox), rt->L);
    luau_discard(rt->L);
    free_rest(rt);
}

void khronos_setclock(KhronosRuntime *rt, KhronosClock clock, void *userdata)
{
    rt->clock = clock;
    rt->clock_userdata = userdata;
}

/* ---- Executions -------------------------------------------------------------------------------
 */

void khronos_submit(KhronosRuntime *rt, KhronosExecution *x)
{
    BASE_ASSERT(!rt->broken);
    x->next = NULL;
    if (rt->submitted_last)
        rt->submitted_last->next = x;
    else
        rt->submitted = x;
    rt->submitted_last = x;
    rt->executions++;
}

KhronosExecution *khronos_take_finished(KhronosRuntime *rt)
{
    KhronosExecution *x = rt->finished;
    if (!x)
        return NULL;
    rt->finished = x->next;
    if (!rt->finished)
        rt->finished_last = NULL;
    x->next = NULL;
    return x;
}

static void break_one(KhronosRuntime *rt, KhronosExecution *x, KhronosStatus status,
                      const char *message)
{
    x->status = status;
    x->result_count = 0;
    strbuf_clear(&x->message);
    strbuf_clear(&x->traceback);
    strbuf_puts(&x->message, message);
    execution_done(rt, x);
}

void khronos_break(KhronosRuntime *rt, KhronosStatus status, const char *message)
{
    if (!rt->broken && rt->broken_status == KHRONOS_OK)
        rt->broken_status = status;
    rt->broken = true;
    for (Run *run = rt->scheduler.runs; run; run = run->next) {
        KhronosExecution *x = run->x;
        if (!x)
            continue;
        run_unwrite(run);
        run->x = NULL;
        x->duration_ns = runtime_now_ns(rt) - run->started_ns;
        x->cpu_ns = run->cpu_ns;
        break_one(rt, x, status, message);
    }
    for (KhronosExecution *x; (x = rt->submitted) != NULL;) {
        rt->submitted = x->next;
        break_one(rt, x, status, message);
    }
    rt->submitted_last = NULL;
    calls_drop(&rt->calls);
    runlog_flush(rt); /* later there is nobody to tell */
    BASE_ASSERT(rt->executions == 0);
}

/* ---- Looking at it, and changing it -----------------------------------------------------------
 */

bool khronos_isparked(const KhronosRuntime *rt)
{
    return luau_isparked(rt->L);
}

bool khronos_isbroken(const KhronosRuntime *rt)
{
    return rt->broken;
}

KhronosStatus khronos_broken_status(const KhronosRuntime *rt)
{
    return rt->broken_status;
}

int khronos_executions(const KhronosRuntime *rt)
{
    return rt->executions;
}

int khronos_tasks(const KhronosRuntime *rt)
{
    return rt->scheduler.task_count;
}

uint64_t khronos_task_errors(const KhronosRuntime *rt)
{
    return rt->scheduler.errors;
}

bool khronos_keeps_store(const KhronosRuntime *rt)
{
    return rt->keep_store;
}

void khronos_setlimits(KhronosRuntime *rt, const KhronosLimits *limits)
{
    rt->limits = limits;
    rt->scratch.max = limits->memory_max_bytes;
    luau_setquota(rt->L, limits->memory_max_bytes);
    for (Run *run = rt->scheduler.runs; run; run = run->next)
        run->deadline_ns = run_deadline_ns(rt, run);
}

static void forget_instances(lua_State *L, void *arg)
{
    instances_forget(L, arg);
}

void khronos_clear_cache(KhronosRuntime *rt)
{
    BASE_ASSERT(!luau_isparked(rt->L) && !rt->broken);
    luau_protect(rt->L, forget_instances, &rt->instances);
    lua_settop(rt->L, 0);
}

void khronos_test_panic(KhronosRuntime *rt, bool in_collector)
{
    luau_testpanic(rt->L, in_collector);
}

void khronos_account(KhronosRuntime *rt, luau_Account *account)
{
    luau_account(rt->L, account);
}

void khronos_shrink(KhronosRuntime *rt)
{
    Scheduler *s = &rt->scheduler;
    strbuf_free(&rt->scratch);
    free(s->spare);
    s->spare = NULL;
    if (s->timer_count == 0) {
        free(s->timers);
        s->timers = NULL;
        s->timer_room = 0;
    }
    luau_shrink(rt->L);
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

void khronos_setkeepstore(lua_State *L, bool keep)
{
    khronos_of(L)->keep_store = keep;
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
