/* The `task` library: what a template may ask of the scheduler. */
#include <math.h>

#include "base/base.h"
#include "khronos/runtime.h"

/* Longer waits are cut to this; a run's own time is over long before. */
#define SECONDS_MAX 1e9

/* Argument 1: a thread or a function, the rest its arguments. Pushes the thread; its function, if
 * it is new, and the arguments are on its stack. `first`: index of the function. */
static lua_State *to_thread(lua_State *L, int first, int *nargs)
{
    lua_State *co = lua_tothread(L, first);
    *nargs = lua_gettop(L) - first;
    if (!co) {
        luaL_argexpected(L, lua_isfunction(L, first), first, "function or thread");
        luaL_checkstack(L, 2, "task");
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
    lua_rawcheckstack(co, *nargs + LUA_MINSTACK);
    return co;
}

/* Arguments above the thread go to its stack; the thread stays on top. */
static void give_arguments(lua_State *L, lua_State *co, int nargs)
{
    lua_xmove(L, co, nargs);
}

/* A thread that was to go on in another way does so no more. */
static Task *claim(lua_State *L, lua_State *co)
{
    Task *task = task_of(L, co);
    luaL_argcheck(L, !task->loading || task->state != TASK_RUNNING, 1, "the thread is running");
    if (task->state == TASK_READY && task->wake != WAKE_ELAPSED && task->nargs > 0)
        lua_pop(co, task->nargs); /* what it would have got */
    task_unlink(khronos_of(L), task);
    return task;
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
    Task *task = claim(L, co);
    give_arguments(L, co, nargs);
    task_resume(L, task, false, nargs);
    return 1;
}

static int task_defer(lua_State *L)
{
    int nargs;
    lua_State *co = to_thread(L, 1, &nargs);
    Task *task = claim(L, co);
    task_hold(task);
    give_arguments(L, co, nargs);
    task_ready(khronos_of(L), task, WAKE_VALUES, nargs);
    return 1;
}

static int task_delay(lua_State *L)
{
    int nargs;
    KhronosRuntime *rt = khronos_of(L);
    uint64_t delay_ns = seconds_to_ns(L, 1, luaL_checknumber(L, 1));
    lua_State *co = to_thread(L, 2, &nargs);
    Task *task = claim(L, co);
    task_hold(task);
    task_time(L, task, runtime_now_ns(rt) + delay_ns, WAKE_VALUES, nargs);
    give_arguments(L, co, nargs);
    return 1;
}

static int task_wait(lua_State *L)
{
    KhronosRuntime *rt = khronos_of(L);
    uint64_t delay_ns = seconds_to_ns(L, 1, luaL_optnumber(L, 1, 0));
    if (!lua_isyieldable(L))
        luaL_error(L, "attempt to yield across metamethod/C-call boundary");
    Task *task = task_of(L, L);
    task_hold(task);
    uint64_t now_ns = runtime_now_ns(rt);
    task->since_ns = now_ns;
    task_time(L, task, now_ns + delay_ns, WAKE_ELAPSED, 0);
    return lua_yield(L, 0);
}

static int task_cancel(lua_State *L)
{
    KhronosRuntime *rt = khronos_of(L);
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "thread");
    int status = lua_costatus(L, co);
    luaL_argcheck(L, status != LUA_CORUN && status != LUA_CONOR, 1,
                  "cannot cancel a thread that is running");
    Task *task = lua_getthreaddata(co);
    Task *current = rt->scheduler.current;
    if (task && current && task->run->version != current->run->version &&
        task->run->instance != current->run->instance)
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
