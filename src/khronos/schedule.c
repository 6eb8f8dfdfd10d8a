/* The scheduler of one guild: which Luau thread goes on next.
 *
 * A turn takes, one after another: the next execution that was submitted, or the first deferred or
 * woken thread, or, when there is none, the first timer that was due when the turn began. So the
 * order of a template's own threads depends on nothing but the template: deferred ones first in,
 * first out; then timers by due time, equal ones by creation; a wait of zero seconds goes on in the
 * next turn. The turn ends when nothing is left or a slice was used up; a thread that does not come
 * back in time is parked in the middle, and the turn with it. */
#include "base/base.h"
#include "base/clock.h"
#include "khronos/require.h"
#include "khronos/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Woken threads that go before the next execution, when there are always more of them. */
enum { WAKES_PER_START = 32 };

uint64_t runtime_now_ns(const KhronosRuntime *rt)
{
    return rt->clock ? rt->clock(rt->clock_userdata) : clock_monotonic_ns();
}

/* ---- Waking -----------------------------------------------------------------------------------
 */

/* Arguments: the host's push function and its argument; runs protected. */
static int call_push(lua_State *L)
{
    Task *task = lua_tolightuserdata(L, 1);
    lua_settop(L, 0);
    return task->push(L, task->arg);
}

/* What the host gave: values or an error, onto the thread's stack. Returns how many values. */
static int push_answer(lua_State *L, Task *task, bool *error)
{
    lua_pushcfunction(L, call_push, NULL);
    lua_pushlightuserdata(L, task);
    int base = lua_gettop(L) - 2;
    *error = lua_pcall(L, 1, LUA_MULTRET, 0) != LUA_OK;
    int count = lua_gettop(L) - base;
    if (task->drop)
        task->drop(task->arg);
    task->drop = NULL;
    lua_rawcheckstack(task->co, count + LUA_MINSTACK);
    lua_xmove(L, task->co, count);
    return count;
}

static void wake(lua_State *L, Task *task)
{
    KhronosRuntime *rt = khronos_of(L);
    bool error = task->wake == WAKE_ERROR;
    int nargs = task->nargs;
    if (lua_costatus(L, task->co) != LUA_COSUS) {
        /* The template closed it, or ran it to its end, by hand. */
        if (task->is_main)
            run_lost(rt, task->run, "the template's main thread was ended by other code");
        task_free(rt, task);
        return;
    }
    if (task->wake == WAKE_ELAPSED) {
        lua_rawcheckstack(task->co, LUA_MINSTACK);
        lua_pushnumber(task->co, (double)(runtime_now_ns(rt) - task->since_ns) / 1e9);
        nargs = 1;
    } else if (task->wake == WAKE_PUSH) {
        Task *outer = task_enter(L, task);
        nargs = push_answer(L, task, &error);
        task_leave(L, outer);
    }
    task_resume(L, task, error, nargs);
}

/* ---- What will never go on --------------------------------------------------------------------
 */

/* Nothing is ready, nothing will come: threads that yielded without a word wait in vain. True: some
 * became ready by being told so. */
static bool give_up_stuck(lua_State *L, KhronosRuntime *rt)
{
    Scheduler *s = &rt->scheduler;
    static const char hopeless[] = "the template yielded, and nothing would ever resume it";
    if (!s->runs || s->ready.first || s->timer_count > 0 || s->waiting.first)
        return false;
    for (Run *run = s->runs; run; run = run->next) {
        for (Task *task = run->siblings; task; task = task->sibling_next) {
            if (task->state == TASK_SUSPENDED && task->loading) {
                task_close(L, task, "the module yielded, and nothing would ever resume it");
                return true;
            }
        }
    }
    for (Run *run = s->runs; run; run = run->next) {
        if (run->main_alive && run->main.state != TASK_RUNNING) {
            if (run->x)
                run_place(run->main.co, run->x);
            run_lost(rt, run, hopeless);
            task_close(L, &run->main, hopeless);
            return true;
        }
    }
    return false;
}

/* Cancels what is left of runs that were cancelled or ran out of time. */
static void close_doomed(lua_State *L, KhronosRuntime *rt)
{
    Scheduler *s = &rt->scheduler;
    s->any_doomed = false;
    for (Run *run = s->runs, *next; run; run = next) {
        next = run->next;
        if (!run->doomed)
            continue;
        while (run->siblings && (run->main_alive || run->siblings->sibling_next))
            task_close(L, run->siblings, "it was cancelled");
        Task *last = run->siblings;
        if (run->main_alive)
            task_close(L, &run->main, "it was cancelled"); /* the run may go with it */
        else if (last)
            task_close(L, last, "it was cancelled");
    }
}

/* ---- Turns ------------------------------------------------------------------------------------
 */

static KhronosExecution *take_submitted(KhronosRuntime *rt)
{
    KhronosExecution *x = rt->submitted;
    rt->submitted = x->next;
    if (!rt->submitted)
        rt->submitted_last = NULL;
    x->next = NULL;
    return x;
}

static bool step_once(lua_State *L, KhronosRuntime *rt, int *wakes)
{
    Scheduler *s = &rt->scheduler;
    Task *task;
    if (s->any_doomed) {
        close_doomed(L, rt);
    } else if (rt->submitted && (!s->ready.first || *wakes >= WAKES_PER_START)) {
        *wakes = 0;
        run_start(L, rt, take_submitted(rt));
    } else if ((task = tasklist_take(&s->ready)) != NULL) {
        ++*wakes;
        wake(L, task);
    } else if ((task = timers_first(s)) != NULL && task->due_ns <= s->now_ns) {
        task_unlink(rt, task);
        wake(L, task);
    } else {
        return give_up_stuck(L, rt);
    }
    return true;
}

static void turn(lua_State *L, void *arg)
{
    KhronosRuntime *rt = arg;
    int wakes = 0;
    do {
        lua_settop(L, 0);
        if (!step_once(L, rt, &wakes))
            return;
    } while (clock_monotonic_ns() - rt->scheduler.turn_start_ns < rt->limits->slice_ns);
}

/* ---- After kills and failures -----------------------------------------------------------------
 */

/* Threads that were on the stack of resumes when it was thrown away. */
static void close_running(lua_State *L, KhronosRuntime *rt)
{
    Scheduler *s = &rt->scheduler;
    bool found;
    do {
        found = false;
        for (Run *run = s->runs; run && !found; run = run->next) {
            Task *task = run->main_alive && run->main.state == TASK_RUNNING ? &run->main : NULL;
            for (Task *other = run->siblings; other && !task; other = other->sibling_next)
                if (other->state == TASK_RUNNING)
                    task = other;
            if (task) {
                found = true;
                task_close(L, task, "it was cancelled");
            }
        }
    } while (found);
    instances_forget_lost(&rt->instances);
}

/* The run that was to be cancelled is unwound; the VM lives. */
static void after_cancel(lua_State *L, void *arg)
{
    KhronosRuntime *rt = arg;
    Run *run = rt->cancelling;
    rt->cancelling = NULL;
    run_cancelled(rt, run);
    run->doomed = rt->scheduler.any_doomed = true;
    close_running(L, rt);
}

/* Something other than a template's own code failed, for want of memory most likely. */
static void after_error(lua_State *L, KhronosRuntime *rt, int status)
{
    Task *task = rt->scheduler.current;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    KhronosExecution *x = task ? task->run->x : NULL;
    rt->scheduler.current = NULL;
    if (status == LUA_ERRMEM) {
        khronos_break(rt, KHRONOS_MEMORY_LIMIT, "not enough memory");
        return;
    }
    if (x) {
        x->status = KHRONOS_INTERNAL;
        strbuf_clear(&x->message);
        strbuf_puts(&x->message, text ? text : "the execution could not be started");
        run_finish(rt, task->run);
    }
    luau_protect(L, (void (*)(lua_State *, void *))close_running, rt);
}

void runtime_turn(lua_State *L, void *arg)
{
    KhronosRuntime *rt = arg;
    for (;;) {
        lua_settop(L, 0);
        int status = luau_protect(L, turn, rt);
        if (status == LUA_OK)
            return;
        if (status != LUA_KILLED) {
            after_error(L, rt, status);
            return;
        }
        if (!rt->cancelling || luau_killreason(L) != LUAU_KILL_HOST) {
            run_killed(rt);
            return;
        }
        luau_clearkill(L);
        rt->scheduler.current = NULL;
        lua_settop(L, 0);
        if (luau_protect(L, after_cancel, rt) == LUA_KILLED) {
            run_killed(rt);
            return;
        }
    }
}

/* ---- Steps ------------------------------------------------------------------------------------
 */

/* Runs are in the order they began, so the first ones run out first. */
static void check_deadlines(KhronosRuntime *rt)
{
    Scheduler *s = &rt->scheduler;
    for (Run *run = s->runs; run && run->deadline_ns <= s->now_ns; run = run->next) {
        if (run->doomed)
            continue;
        if (run->x) {
            run_timed_out(rt, run);
            return;
        }
        static const char notice[] =
            "threads in the background were ended: the time limit of their run passed";
        runlog_error(rt, run, notice, sizeof(notice) - 1);
        run->doomed = s->any_doomed = true;
    }
}

static bool has_work(const KhronosRuntime *rt)
{
    const Scheduler *s = &rt->scheduler;
    const Task *timer = timers_first(s);
    return rt->submitted || s->ready.first || s->any_doomed ||
           (timer && timer->due_ns <= s->now_ns);
}

static KhronosStep after(KhronosRuntime *rt, int result)
{
    Scheduler *s = &rt->scheduler;
    if (result == LUAU_PARKED)
        return KHRONOS_PARKED;
    if (result == LUAU_ESCAPED)
        return KHRONOS_PANICKED;
    if (result == LUAU_NOSTACK)
        khronos_break(rt, KHRONOS_INTERNAL, "no memory for a stack");
    runlog_notice(rt);
    if (rt->broken)
        return KHRONOS_IDLE;
    return has_work(rt) ? KHRONOS_READY : KHRONOS_IDLE;
    (void)s;
}

KhronosStep khronos_step(KhronosRuntime *rt, luau_Fibers *fibers)
{
    Scheduler *s = &rt->scheduler;
    BASE_ASSERT(!rt->broken);
    s->turn_start_ns = clock_monotonic_ns();
    if (luau_isparked(rt->L))
        return after(rt, luau_continue(rt->L));
    s->now_ns = rt->clock ? rt->clock(rt->clock_userdata) : s->turn_start_ns;
    check_deadlines(rt);
    if (rt->broken || (!has_work(rt) && !s->runs))
        return KHRONOS_IDLE;
    luau_setslice(rt->L, rt->limits->slice_ns);
    return after(rt, luau_run(fibers, rt->L, runtime_turn, rt));
}

uint64_t khronos_due_ns(const KhronosRuntime *rt)
{
    const Scheduler *s = &rt->scheduler;
    if (rt->broken)
        return 0;
    if (rt->submitted || s->ready.first || s->any_doomed)
        return 1;
    const Task *timer = timers_first(s);
    uint64_t due = timer ? timer->due_ns : UINT64_MAX;
    if (s->runs && s->runs->deadline_ns < due)
        due = s->runs->deadline_ns;
    return due == UINT64_MAX ? 0 : due;
}

bool khronos_cancel(KhronosRuntime *rt, const char *id)
{
    for (KhronosExecution **link = &rt->submitted, *last = NULL; *link; link = &(*link)->next) {
        KhronosExecution *x = *link;
        if (strcmp(x->id, id) == 0) {
            *link = x->next;
            if (rt->submitted_last == x)
                rt->submitted_last = last;
            x->status = KHRONOS_CANCELLED;
            strbuf_puts(&x->message, "the execution was cancelled");
            execution_done(rt, x);
            return true;
        }
        last = x;
    }
    Scheduler *s = &rt->scheduler;
    for (Run *run = s->runs; run; run = run->next) {
        if (!run->x || strcmp(run->x->id, id) != 0)
            continue;
        if (s->current && s->current->run == run) {
            rt->cancelling = run; /* parked in the middle of it */
            luau_kill(rt->L, LUAU_KILL_HOST);
        } else {
            run_cancelled(rt, run);
            run->doomed = s->any_doomed = true;
        }
        return true;
    }
    return false;
}

/* ---- The host's answers -----------------------------------------------------------------------
 */

KhronosTicket khronos_ticket(lua_State *L)
{
    KhronosRuntime *rt = khronos_of(L);
    if (!lua_isyieldable(L))
        luaL_error(L, "this call waits, and code that cannot yield cannot make it");
    Task *task = task_of(L, L);
    task_hold(task);
    task_unlink(rt, task);
    task->state = TASK_TICKET;
    task->ticket = ++rt->scheduler.ticket;
    tasklist_put(&rt->scheduler.waiting, task);
    return task->ticket;
}

int khronos_wait(lua_State *L, KhronosTicket ticket)
{
    (void)ticket;
    return lua_yield(L, 0);
}

bool khronos_wake(KhronosRuntime *rt, KhronosTicket ticket, int (*push)(lua_State *L, void *arg),
                  void (*drop)(void *arg), void *arg)
{
    Task *task = rt->scheduler.waiting.first;
    while (task && task->ticket != ticket)
        task = task->next;
    if (!task) {
        if (drop)
            drop(arg);
        return false;
    }
    task_ready(rt, task, WAKE_PUSH, 0);
    task->push = push;
    task->drop = drop;
    task->arg = arg;
    return true;
}
