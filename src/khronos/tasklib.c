/* The `task` library: what a template may ask of the scheduler. */
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "khronos/runtime.h"

/* Longer waits are cut to this; a run's own time is over long before. */
#define SECONDS_MAX 1e9

/* Argument `first`: a thread, or a function, in whose place a thread is put that will run it. */
static lua_State *to_thread(lua_State *L, int first, int *nargs)
{
    luaL_checkstack(L, LUA_MINSTACK, "task");
    lua_State *co = lua_tothread(L, first);
    *nargs = lua_gettop(L) - first;
    if (!co) {
        luaL_argexpected(L, lua_isfunction(L, first), first, "function or thread");
        co = lua_newthread(L);
        lua_xpush(L, co, first);
        lua_insert(L, first);
        lua_remove(L, first + 1);
    } else {
        int status = lua_costatus(L, co);
        luaL_argcheck(L, status != LUA_COFIN && status != LUA_COERR, first,
                      "cannot resume dead coroutine");
        luaL_argcheck(L, status == LUA_COSUS, first, "cannot resume non-suspended coroutine");
    }
    return co;
}

/* Puts the nargs values on top into a table, for later, which takes their place; nil for none. */
static void pack_arguments(lua_State *L, int nargs)
{
    if (nargs == 0) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, nargs, 0);
    lua_insert(L, -nargs - 1);
    for (int i = nargs; i > 0; i--)
        lua_rawseti(L, -i - 1, i);
}

static uint64_t seconds_to_ns(lua_State *L, int arg, double seconds)
{
    luaL_argcheck(L, isfinite(seconds), arg, "the time must be a finite number of seconds");
    double clamped = seconds < 0 ? 0 : seconds > SECONDS_MAX ? SECONDS_MAX : seconds;
    return (uint64_t)(clamped * 1e9);
}

static int task_spawn(lua_State *L)
{
    int nargs;
    lua_State *co = to_thread(L, 1, &nargs);
    lua_rawcheckstack(co, nargs + LUA_MINSTACK);
    Task *task = task_of(L, co);
    task_disarm(khronos_of(L), task); /* it was to go on in another way */
    lua_xmove(L, co, nargs);
    task_resume(L, task, false, nargs);
    return 1;
}

static int task_defer(lua_State *L)
{
    int nargs;
    lua_State *co = to_thread(L, 1, &nargs);
    pack_arguments(L, nargs);
    Task *task = task_of(L, co);
    int values = lua_ref(L, -1);
    task_ready(khronos_of(L), task, WAKE_VALUES, values, nargs);
    lua_settop(L, 1);
    return 1;
}

static int task_delay(lua_State *L)
{
    int nargs;
    KhronosRuntime *rt = khronos_of(L);
    uint64_t delay_ns = seconds_to_ns(L, 1, luaL_checknumber(L, 1));
    lua_State *co = to_thread(L, 2, &nargs);
    pack_arguments(L, nargs);
    timers_reserve(L);
    Task *task = task_of(L, co);
    int values = lua_ref(L, -1);
    task_time(rt, task, runtime_now_ns(rt) + delay_ns, WAKE_VALUES, values, nargs);
    lua_settop(L, 2);
    return 1;
}

static int task_wait(lua_State *L)
{
    KhronosRuntime *rt = khronos_of(L);
    uint64_t delay_ns = seconds_to_ns(L, 1, luaL_optnumber(L, 1, 0));
    if (!lua_isyieldable(L))
        luaL_error(L, "attempt to yield across metamethod/C-call boundary");
    timers_reserve(L);
    Task *task = task_of(L, L);
    uint64_t now_ns = runtime_now_ns(rt);
    task->since_ns = now_ns;
    task_time(rt, task, now_ns + delay_ns, WAKE_ELAPSED, 0, 0);
    return lua_yield(L, 0);
}

/* In whatever version. */
static bool same_template(const Run *a, const Run *b)
{
    return strcmp(template_name(a->version), template_name(b->version)) == 0;
}

static int task_cancel(lua_State *L)
{
    KhronosRuntime *rt = khronos_of(L);
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "thread");
    int status = lua_costatus(L, co);
    luaL_argcheck(L, status != LUA_CORUN, 1, "a thread cannot cancel itself");
    luaL_argcheck(L, status != LUA_CONOR, 1, "cannot cancel a thread that is running");
    Task *task = lua_getthreaddata(co);
    const Task *current = rt->scheduler.current;
    if (task && current && !same_template(task->run, current->run))
        luaL_argerror(L, 1, "the thread belongs to another template");
    if (task && task->is_main && task->run->x)
        run_lost(rt, task->run, "the run was ended by task.cancel");
    if (task)
        task_close(L, task, "it was cancelled");
    else if (status == LUA_COSUS)
        lua_resetthread(co);
    return 0;
}

static int task_nothing(lua_State *L)
{
    (void)L;
    return 0;
}

void tasklib_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"spawn", task_spawn},           {"defer", task_defer},
        {"delay", task_delay},           {"wait", task_wait},
        {"cancel", task_cancel},         {"synchronize", task_nothing},
        {"desynchronize", task_nothing}, {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_setglobal(L, "task");
}
