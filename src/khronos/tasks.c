/* Lists, timers and the life of tasks; see tasks.h. */
#include "khronos/tasks.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/clock.h"
#include "khronos/require.h"
#include "khronos/runtime.h"

/* What a task costs its guild: itself and its place in the heap of timers. */
enum { TRACEBACK_FRAMES = 20 };
#define TASK_CHARGE ((ptrdiff_t)(sizeof(Task) + 2 * sizeof(Task *)))

/* ---- Lists ------------------------------------------------------------------------------------
 */

void tasklist_put(TaskList *list, Task *task)
{
    task->list = list;
    task->next = NULL;
    task->previous = list->last;
    if (list->last)
        list->last->next = task;
    else
        list->first = task;
    list->last = task;
}

static void tasklist_remove(Task *task)
{
    TaskList *list = task->list;
    if (task->previous)
        task->previous->next = task->next;
    else
        list->first = task->next;
    if (task->next)
        task->next->previous = task->previous;
    else
        list->last = task->previous;
    task->list = NULL;
    task->next = task->previous = NULL;
}

Task *tasklist_take(TaskList *list)
{
    Task *task = list->first;
    if (task)
        tasklist_remove(task);
    return task;
}

/* ---- Timers -----------------------------------------------------------------------------------
 */

static bool earlier(const Task *a, const Task *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void heap_set(Scheduler *s, int at, Task *task)
{
    s->timers[at] = task;
    task->heap_at = at;
}

static void sift_up(Scheduler *s, int at, Task *task)
{
    while (at > 0 && earlier(task, s->timers[(at - 1) / 2])) {
        heap_set(s, at, s->timers[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_set(s, at, task);
}

static void sift_down(Scheduler *s, int at, Task *task)
{
    for (int child; (child = 2 * at + 1) < s->timer_count; at = child) {
        if (child + 1 < s->timer_count && earlier(s->timers[child + 1], s->timers[child]))
            child++;
        if (!earlier(s->timers[child], task))
            break;
        heap_set(s, at, s->timers[child]);
    }
    heap_set(s, at, task);
}

static void heap_remove(Scheduler *s, Task *task)
{
    int at = task->heap_at;
    Task *last = s->timers[--s->timer_count];
    if (last == task)
        return;
    if (at > 0 && earlier(last, s->timers[(at - 1) / 2]))
        sift_up(s, at, last);
    else
        sift_down(s, at, last);
}

Task *timers_first(const Scheduler *s)
{
    return s->timer_count > 0 ? s->timers[0] : NULL;
}

void task_unlink(KhronosRuntime *rt, Task *task)
{
    if (task->list)
        tasklist_remove(task);
    else if (task->state == TASK_TIMED)
        heap_remove(&rt->scheduler, task);
    task->ticket = 0;
    task->state = TASK_RUNNING;
}

static void set_wake(KhronosRuntime *rt, Task *task, TaskWake wake, int values, int nargs)
{
    task_disarm(rt, task);
    task->wake = wake;
    task->values = values;
    task->nargs = nargs;
}

void task_ready(KhronosRuntime *rt, Task *task, TaskWake wake, int values, int nargs)
{
    set_wake(rt, task, wake, values, nargs);
    task->state = TASK_READY;
    tasklist_put(&rt->scheduler.ready, task);
}

void timers_reserve(lua_State *L)
{
    Scheduler *s = &khronos_of(L)->scheduler;
    if (s->timer_count < s->timer_room)
        return;
    int room = s->timer_room ? 2 * s->timer_room : 4;
    Task **timers = realloc(s->timers, (size_t)room * sizeof(*timers));
    if (!timers)
        luaL_error(L, "not enough memory");
    s->timers = timers;
    s->timer_room = room;
}

void task_time(KhronosRuntime *rt, Task *task, uint64_t due_ns, TaskWake wake, int values,
               int nargs)
{
    Scheduler *s = &rt->scheduler;
    set_wake(rt, task, wake, values, nargs);
    task->state = TASK_TIMED;
    task->due_ns = due_ns;
    task->order = ++s->order;
    sift_up(s, s->timer_count++, task);
}

/* ---- Tasks ------------------------------------------------------------------------------------
 */

/* Raises when there may be no more tasks. */
static void check_task(lua_State *L)
{
    const KhronosRuntime *rt = khronos_of(L);
    const Scheduler *s = &rt->scheduler;
    if (s->task_count >= rt->limits->tasks_max)
        luaL_error(L, "too many tasks: the guild has %d alive, which is the limit", s->task_count);
    if (!s->current)
        luaL_error(L, "tasks can only be made by running templates");
}

static void join_run(Task *task, Run *run)
{
    task->run = run;
    task->sibling_previous = NULL;
    task->sibling_next = run->siblings;
    if (task->sibling_next)
        task->sibling_next->sibling_previous = task;
    run->siblings = task;
}

Task *task_of(lua_State *L, lua_State *co)
{
    Scheduler *s = &khronos_of(L)->scheduler;
    Task *task = lua_getthreaddata(co);
    if (task)
        return task;
    check_task(L);
    if (!s->charged)
        luau_charge(L, TASK_CHARGE);
    s->charged = true;
    lua_pushthread(co);
    if (co != L)
        lua_xmove(co, L, 1);
    int ref = lua_ref(L, -1);
    lua_pop(L, 1);
    task = calloc(1, sizeof(*task));
    if (!task) {
        lua_unref(L, ref);
        luaL_error(L, "not enough memory");
    }
    s->charged = false;
    task->co = co;
    task->ref = ref;
    join_run(task, s->current->run);
    s->task_count++;
    lua_setthreaddata(co, task);
    return task;
}

void task_disarm(KhronosRuntime *rt, Task *task)
{
    task_unlink(rt, task);
    if (task->values)
        lua_unref(rt->L, task->values);
    task->values = 0;
    if (task->drop)
        task->drop(task->arg);
    task->drop = NULL;
}

static void leave_run(Task *task)
{
    if (task->sibling_previous)
        task->sibling_previous->sibling_next = task->sibling_next;
    else
        task->run->siblings = task->sibling_next;
    if (task->sibling_next)
        task->sibling_next->sibling_previous = task->sibling_previous;
}

bool task_adopt(Task *task)
{
    const Task *waiter = task->loading ? task->loading->waiters.first : NULL;
    while (waiter && waiter->run->doomed)
        waiter = waiter->next;
    if (!waiter)
        return false;
    leave_run(task);
    join_run(task, waiter->run);
    return true;
}

void task_free(KhronosRuntime *rt, Task *task)
{
    Run *run = task->run;
    task_disarm(rt, task);
    if (task->co)
        lua_setthreaddata(task->co, NULL);
    if (task->ref)
        lua_unref(rt->L, task->ref);
    task->ref = 0;
    if (task->is_main) {
        run->main_alive = false;
    } else {
        leave_run(task);
        rt->scheduler.task_count--;
        free(task);
        luau_charge(rt->L, -TASK_CHARGE);
    }
    run_release(rt, run);
}

/* A module whose thread will not end: those who wait for it get an error. [m] */
static void fail_module(lua_State *L, Task *task, const char *why)
{
    RequireLoading *loading = task->loading;
    if (!loading)
        return;
    lua_pushfstring(L, "error requiring module \"%s\": %s", loading->path, why);
    task_settle(L, loading, false);
    task->loading = NULL;
    lua_pop(L, 1);
}

void task_close(lua_State *L, Task *task, const char *why)
{
    KhronosRuntime *rt = khronos_of(L);
    fail_module(L, task, why);
    if (task->co && lua_costatus(L, task->co) == LUA_COSUS)
        lua_resetthread(task->co);
    task_free(rt, task);
}

/* ---- Resuming ---------------------------------------------------------------------------------
 */

/* The run's share of the processor time since the outermost resume began. */
static void charge_cpu(lua_State *L, Run *run)
{
    Scheduler *s = &khronos_of(L)->scheduler;
    s->seen_ns = clock_monotonic_ns();
    uint64_t now = luau_cputime_at(L, s->seen_ns);
    run->cpu_ns += now - s->cpu_mark_ns;
    s->cpu_mark_ns = now;
}

Task *task_enter(lua_State *L, Task *task)
{
    KhronosRuntime *rt = khronos_of(L);
    Scheduler *s = &rt->scheduler;
    Task *outer = s->current;
    if (outer)
        charge_cpu(L, outer->run);
    s->current = task;
    if (!outer) {
        s->cpu_mark_ns = luau_cputime_at(L, s->seen_ns);
        luau_setcpulimit(L, rt->limits->cpu_max_ns);
        /* (Threads in the background are ended between turns, and the VM lives.) */
        luau_setdeadline(L, rt->clock || !task->run->x ? 0 : task->run->deadline_ns);
    }
    return outer;
}

void task_leave(lua_State *L, Task *outer)
{
    Scheduler *s = &khronos_of(L)->scheduler;
    s->current = outer;
    if (!outer) {
        luau_setcpulimit(L, 0);
        luau_setdeadline(L, 0);
    }
}

static void report_background(lua_State *L, Task *task)
{
    lua_State *co = task->co;
    KhronosRuntime *rt = khronos_of(L);
    size_t length;
    int type = lua_type(co, -1);
    bool shown = type == LUA_TSTRING || type == LUA_TNUMBER;
    const char *text = shown ? lua_tostring(co, -1)
                             : lua_pushfstring(L, "(error object is a %s value)",
                                               luaL_typename(co, -1));
    luau_traceback(L, co, text, 0, TRACEBACK_FRAMES);
    text = lua_tolstring(L, -1, &length);
    rt->scheduler.errors++;
    runlog_error(rt, task->run, text, length);
}

/* Its thread ended. What it has for others is theirs before the task is forgotten, so that a kill
 * in between finds the task. */
static void ended(lua_State *L, Task *task, int status)
{
    int top = lua_gettop(L);
    if (task->loading) {
        bool ok = require_result(L, task->loading, task->co, status);
        task_settle(L, task->loading, ok);
        task->loading = NULL;
    } else if (task->is_main) {
        run_ended(L, task->run, status);
    } else if (status != LUA_OK) {
        report_background(L, task);
    }
    lua_settop(L, top);
    if (lua_status(task->co) == LUA_OK)
        lua_settop(task->co, 0);
    task_free(khronos_of(L), task);
}

static int resume(lua_State *L, Task *task, bool error, int nargs)
{
    task->state = TASK_RUNNING;
    int status = error ? lua_resumeerror(task->co, L) : lua_resume(task->co, L, nargs);
    charge_cpu(L, task->run);
    return status;
}

/* It yielded: somebody said when it goes on, or nobody did. */
static void yielded(KhronosRuntime *rt, Task *task)
{
    lua_settop(task->co, 0);
    if (task->state != TASK_RUNNING)
        return;
    if (task->is_main || task->loading)
        task->state = TASK_SUSPENDED;
    else
        task_free(rt, task); /* a thread like any other, until it is spawned again */
}

/* The thread was not resumed at all: whoever asked for it gets the error. */
static void refused(lua_State *L, Task *task)
{
    lua_pop(task->co, 1);
    task->state = TASK_SUSPENDED;
    if (!task->is_main && !task->loading)
        task_free(khronos_of(L), task);
}

void task_resume(lua_State *L, Task *task, bool error, int nargs)
{
    luaL_checkstack(L, LUA_MINSTACK, "task");
    Task *outer = task_enter(L, task);
    int status = resume(L, task, error, nargs);
    bool was_refused = status > LUA_YIELD && lua_status(task->co) <= LUA_YIELD;
    if (was_refused)
        refused(L, task);
    else if (status == LUA_YIELD || status == LUA_BREAK)
        yielded(khronos_of(L), task);
    else
        ended(L, task, status);
    task_leave(L, outer);
    if (was_refused)
        luaL_error(L, "stack overflow (threads start each other too deep)");
}

/* ---- Modules ----------------------------------------------------------------------------------
 */

int task_loadmodule(void *self, lua_State *L, lua_State *co, RequireLoading *loading)
{
    (void)self;
    luaL_checkstack(L, LUA_MINSTACK, "require");
    Task *task = task_of(L, co);
    task->loading = loading;
    loading->task = task;
    Task *outer = task_enter(L, task);
    int status = resume(L, task, false, 0);
    if (status == LUA_YIELD || status == LUA_BREAK)
        yielded(khronos_of(L), task);
    task_leave(L, outer);
    return status;
}

void task_modulesettled(void *self, lua_State *L, RequireLoading *loading, bool ok)
{
    (void)self;
    Task *task = loading->task;
    task_settle(L, loading, ok);
    task->loading = NULL;
    task_free(khronos_of(L), task);
}

int task_awaitmodule(void *self, lua_State *L, RequireLoading *loading)
{
    (void)self;
    if (!lua_isyieldable(L))
        luaL_error(L,
                   "error requiring module \"%s\": it waits while it loads, and code that cannot "
                   "yield cannot wait for it",
                   loading->path);
    Task *task = task_of(L, L);
    task_disarm(khronos_of(L), task);
    task->state = TASK_MODULE;
    tasklist_put(&loading->waiters, task);
    return lua_yield(L, 0);
}

void task_settle(lua_State *L, RequireLoading *loading, bool ok)
{
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, 1);
    while (loading->waiters.first) {
        int values = lua_ref(L, -1);
        task_ready(khronos_of(L), loading->waiters.first, ok ? WAKE_VALUES : WAKE_ERROR, values, 1);
    }
    lua_pop(L, 1);
    require_forget(loading);
}

/* ---- The end of it all ------------------------------------------------------------------------
 */

static void drop_task(Task *task)
{
    if (task->drop)
        task->drop(task->arg);
}

void runtime_drop_tasks(KhronosRuntime *rt)
{
    Scheduler *s = &rt->scheduler;
    for (Run *run = s->runs, *next; run; run = next) {
        next = run->next;
        drop_task(&run->main);
        for (Task *task = run->siblings, *sibling; task; task = sibling) {
            sibling = task->sibling_next;
            drop_task(task);
            free(task);
        }
        template_release(run->version);
        free(run);
    }
    free(s->spare);
    free(s->timers);
}
