/* The scheduler of one guild: which Luau thread goes on next.
 *
 * A turn takes, one after another: the next execution that was submitted, or the first deferred or
 * woken thread, or, when there is none, the first timer that was due when the turn began. So the
 * order of a template's own threads depends on nothing but the template: deferred ones first in,
 * first out; then timers by due time, equal ones by creation; a wait of zero seconds goes on in the
 * next turn. (Only a chain of deferred threads that has no end in sight lets due timers in
 * between.) The turn ends when nothing is left or a slice was used up; a thread that does not come
 * back in time is parked in the middle, and the turn with it. */
#include "base/base.h"
#include "base/clock.h"
#include "khronos/require.h"
#include "khronos/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Woken threads that go before the next execution, or before the next timer that is due, when there
 * are always more of them. */
enum { WAKES_PER_START = 32, WAKES_PER_TIMER = 20000 };

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

/* The template closed the thread, or ran it to its end, by hand. */
static void end_dead(lua_State *L, Task *task)
{
    if (task->is_main)
        run_lost(khronos_of(L), task->run, "the template's main thread was ended by other code");
    task_close(L, task, "its thread was ended by other code");
}

/* What it was given by task.defer, task.delay or a module, onto its stack. */
static void push_values(lua_State *L, Task *task)
{
    lua_rawcheckstack(task->co, task->nargs + LUA_MINSTACK);
    lua_getref(L, task->values);
    for (int i = 1; i <= task->nargs; i++) {
        lua_rawgeti(L, -1, i);
        lua_xmove(L, task->co, 1);
    }
    lua_pop(L, 1);
    lua_unref(L, task->values);
    task->values = 0;
}

/* What task.wait returns: whole milliseconds, for what os.clock does not show must not be had in
 * another way, but never less than was asked for. */
static double elapsed_s(KhronosRuntime *rt, const Task *task)
{
    uint64_t asked_ns = task->due_ns - task->since_ns;
    uint64_t passed_ns = runtime_now_ns(rt) - task->since_ns;
    passed_ns -= passed_ns % CLOCK_NS_PER_MS;
    return (double)(passed_ns > asked_ns ? passed_ns : asked_ns) / 1e9;
}

/* The task is in no list. */
static void wake(lua_State *L, Task *task)
{
    bool error = task->wake == WAKE_ERROR;
    int nargs = task->nargs;
    task->state = TASK_RUNNING;
    if (lua_costatus(L, task->co) != LUA_COSUS) {
        end_dead(L, task);
        return;
    }
    Task *outer = task_enter(L, task);
    if (task->wake == WAKE_ELAPSED) {
        KhronosRuntime *rt = khronos_of(L);
        lua_rawcheckstack(task->co, LUA_MINSTACK);
        lua_pushnumber(task->co, elapsed_s(rt, task));
        nargs = 1;
    } else if (task->wake == WAKE_PUSH) {
        nargs = push_answer(L, task, &error);
    } else if (task->values) {
        push_values(L, task);
    }
    task_resume(L, task, error, nargs);
    task_leave(L, outer);
}

/* ---- What will never go on --------------------------------------------------------------------
 */

typedef bool (*ModuleTest)(lua_State *L, const Task *task);

static bool is_dead(lua_State *L, const Task *task)
{
    return task->state != TASK_RUNNING && lua_costatus(L, task->co) != LUA_COSUS;
}

static bool is_suspended(lua_State *L, const Task *task)
{
    (void)L;
    return task->state == TASK_SUSPENDED;
}

static bool waits_for_module(lua_State *L, const Task *task)
{
    (void)L;
    return task->state == TASK_MODULE;
}

/* A task that loads a module and of which that is true; NULL: none. */
static Task *find_module(lua_State *L, const InstanceList *instances, ModuleTest test)
{
    for (int i = 0; i < instances->count; i++) {
        for (const RequireLoading *loading = instances->items[i]->modules.loading; loading;
             loading = loading->next)
            if (loading->task && test(L, loading->task))
                return loading->task;
    }
    return NULL;
}

/* Main threads and modules that the template resumed by hand to their end, or closed: nobody else
 * would notice. True: there was one. */
static bool end_dead_threads(lua_State *L, KhronosRuntime *rt)
{
    Task *task = find_module(L, &rt->instances, is_dead);
    for (Run *run = rt->scheduler.runs; run && !task; run = run->next)
        if (run->main_alive && is_dead(L, &run->main))
            task = &run->main;
    if (task)
        end_dead(L, task);
    return task != NULL;
}

/* Nothing is ready, nothing will come: threads that yielded without a word wait in vain. True: one
 * was told so. */
static bool give_up_stuck(lua_State *L, KhronosRuntime *rt)
{
    static const char hopeless[] = "the template yielded, and nothing would ever resume it";
    const Scheduler *s = &rt->scheduler;
    if (s->timer_count > 0 || s->waiting.first)
        return false;
    Task *module;
    if ((module = find_module(L, &rt->instances, is_suspended)) != NULL) {
        task_close(L, module, "the module yielded, and nothing would ever resume it");
        return true;
    }
    if ((module = find_module(L, &rt->instances, waits_for_module)) != NULL) {
        task_close(L, module, "it waits for a module that waits for it");
        return true;
    }
    for (Run *run = s->runs; run; run = run->next) {
        if (!run->main_alive)
            continue;
        if (run->x)
            run_place(run->main.co, run->x);
        run_lost(rt, run, hopeless);
        task_close(L, &run->main, hopeless);
        return true;
    }
    return false;
}

/* A module that the run loads, directly or for another one, and that others wait for, is theirs to
 * load on. */
static void hand_over_modules(Run *run)
{
    for (Task *task = run->siblings; task;)
        task = task_adopt(task) ? run->siblings
                                : task->sibling_next; /* now that one's modules, too */
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
        hand_over_modules(run);
        if (!run->main_alive && !run->siblings) {
            run_release(rt, run);
            continue;
        }
        while (run->siblings && (run->main_alive || run->siblings->sibling_next))
            task_close(L, run->siblings, "it was cancelled");
        /* The run goes with the last one. */
        task_close(L, run->main_alive ? &run->main : run->siblings, "it was cancelled");
    }
}

/* Those that were to be cancelled are given back; what is left of them is doomed. */
static void end_cancelled(KhronosRuntime *rt)
{
    Scheduler *s = &rt->scheduler;
    for (Run *run = s->runs; run; run = run->next) {
        if (!run->cancelled)
            continue;
        run_cancelled(rt, run);
        run->cancelled = false;
        run->doomed = s->any_doomed = true;
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

static bool timer_due(const Scheduler *s)
{
    const Task *task = timers_first(s);
    return task && task->due_ns <= s->now_ns && task->order <= s->turn_order;
}

static bool step_once(lua_State *L, KhronosRuntime *rt)
{
    Scheduler *s = &rt->scheduler;
    if (rt->cancelling) { /* what ran came to its end before the kill did */
        rt->cancelling = false;
        luau_clearkill(L);
        end_cancelled(rt);
    }
    if (s->any_doomed) {
        close_doomed(L, rt);
    } else if (rt->submitted && (!s->ready.first || s->wakes >= WAKES_PER_START)) {
        s->wakes = 0;
        run_start(L, rt, take_submitted(rt));
    } else if (s->ready.first && (!timer_due(s) || s->wakes_in_a_row < WAKES_PER_TIMER)) {
        s->wakes += s->wakes < WAKES_PER_START;
        s->wakes_in_a_row += s->wakes_in_a_row < WAKES_PER_TIMER;
        wake(L, tasklist_take(&s->ready));
        if (!s->ready.first)
            s->wakes_in_a_row = 0;
    } else if (timer_due(s)) {
        Task *task = timers_first(s);
        s->wakes_in_a_row = 0;
        task_unlink(rt, task);
        wake(L, task);
    } else {
        return end_dead_threads(L, rt) || give_up_stuck(L, rt);
    }
    return true;
}

static bool has_work(const KhronosRuntime *rt)
{
    const Scheduler *s = &rt->scheduler;
    const Task *timer = timers_first(s);
    return rt->submitted || s->ready.first || s->any_doomed ||
           (timer && timer->due_ns <= s->now_ns);
}

static void turn(lua_State *L, void *arg)
{
    KhronosRuntime *rt = arg;
    Scheduler *s = &rt->scheduler;
    do {
        lua_settop(L, 0);
        s->unsettled = true;
        if (!step_once(L, rt)) {
            s->unsettled = false;
            return;
        }
        if (has_work(rt)) /* what is left to do when nothing is, is quick */
            s->seen_ns = clock_monotonic_ns();
    } while (s->seen_ns - s->turn_start_ns < rt->limits->slice_ns);
}

/* ---- After kills and failures -----------------------------------------------------------------
 */

/* A task of the run that was on the stack of resumes; NULL: none was. */
static Task *running_task(Run *run)
{
    if (run->main_alive && run->main.state == TASK_RUNNING)
        return &run->main;
    Task *task = run->siblings;
    while (task && task->state != TASK_RUNNING)
        task = task->sibling_next;
    return task;
}

/* Without the VM, so that nothing can come in between: executions that end because the stack of
 * resumes was thrown away are given back. */
static void give_up_running(KhronosRuntime *rt, const char *why)
{
    Scheduler *s = &rt->scheduler;
    s->current = NULL;
    end_cancelled(rt);
    for (Run *run = s->runs; run; run = run->next)
        if (run->main_alive && run->main.state == TASK_RUNNING)
            run_lost(rt, run, why);
}

/* Their threads are dead; those who wait for them are told. */
static void close_running(lua_State *L, void *arg)
{
    KhronosRuntime *rt = arg;
    for (Run *run = rt->scheduler.runs; run;) {
        Task *task = running_task(run);
        if (!task) {
            run = run->next;
            continue;
        }
        task_close(L, task, "it was cancelled");
        run = rt->scheduler.runs; /* that one may be gone */
    }
}

/* Something other than a template's own code failed. */
static void after_error(lua_State *L, KhronosRuntime *rt, int status)
{
    Task *task = rt->scheduler.current;
    KhronosExecution *x = task ? task->run->x : NULL;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (status == LUA_ERRMEM || rt->unwound) {
        rt->scheduler.current = NULL;
        khronos_break(rt, status == LUA_ERRMEM ? KHRONOS_MEMORY_LIMIT : KHRONOS_INTERNAL,
                      text ? text : "not enough memory");
        return;
    }
    if (x) {
        run_unwrite(task->run);
        x->status = KHRONOS_INTERNAL;
        strbuf_clear(&x->message);
        strbuf_puts(&x->message, text ? text : "the execution could not be started");
        run_finish(rt, task->run);
    }
    give_up_running(rt, "it was resuming a thread of an execution that failed");
    rt->unwound = true;
}

/* True: the VM lives, and goes on with what is left. */
static bool after_kill(lua_State *L, KhronosRuntime *rt)
{
    if (!rt->cancelling || luau_killreason(L) != LUAU_KILL_HOST) {
        run_killed(rt);
        return false;
    }
    rt->cancelling = false;
    luau_clearkill(L);
    give_up_running(rt, "it was resuming a thread of an execution that was cancelled");
    rt->unwound = true;
    return true;
}

void runtime_turn(lua_State *L, void *arg)
{
    KhronosRuntime *rt = arg;
    for (;;) {
        bool unwound = rt->unwound;
        lua_settop(L, 0);
        int status = luau_protect(L, unwound ? close_running : turn, rt);
        if (status == LUA_KILLED) {
            if (!after_kill(L, rt))
                return;
        } else if (status != LUA_OK) {
            after_error(L, rt, status);
            if (rt->broken)
                return;
        } else if (unwound) {
            rt->unwound = false;
        } else {
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
        runlog_verdict(rt, run, notice);
        run->doomed = s->any_doomed = true;
    }
}

static KhronosStep after(KhronosRuntime *rt, int result)
{
    if (result == LUAU_PARKED)
        return KHRONOS_PARKED;
    if (result == LUAU_ESCAPED)
        return KHRONOS_PANICKED;
    if (result == LUAU_NOSTACK)
        khronos_break(rt, KHRONOS_INTERNAL, "no memory for a stack");
    runlog_notice(rt);
    if (rt->broken)
        return KHRONOS_IDLE;
    return has_work(rt) || rt->scheduler.unsettled ? KHRONOS_READY : KHRONOS_IDLE;
}

KhronosStep khronos_step(KhronosRuntime *rt, luau_Fibers *fibers)
{
    Scheduler *s = &rt->scheduler;
    BASE_ASSERT(!rt->broken);
    s->turn_start_ns = s->seen_ns = clock_monotonic_ns();
    if (luau_isparked(rt->L))
        return after(rt, luau_continue(rt->L));
    s->now_ns = rt->clock ? rt->clock(rt->clock_userdata) : s->turn_start_ns;
    s->turn_order = s->order;
    check_deadlines(rt);
    if (rt->broken || (!has_work(rt) && !s->runs && !s->unsettled))
        return after(rt, LUAU_DONE);
    luau_setslice(rt->L, rt->limits->slice_ns);
    return after(rt, luau_run(fibers, rt->L, runtime_turn, rt));
}

uint64_t khronos_due_ns(const KhronosRuntime *rt)
{
    const Scheduler *s = &rt->scheduler;
    if (rt->broken)
        return 0;
    if (rt->submitted || s->ready.first || s->any_doomed || s->unsettled)
        return 1;
    const Task *timer = timers_first(s);
    uint64_t due = timer ? timer->due_ns : UINT64_MAX;
    if (s->runs && s->runs->deadline_ns < due)
        due = s->runs->deadline_ns;
    if (runlog_due_ns(rt) < due)
        due = runlog_due_ns(rt);
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
            strbuf_clear(&x->message);
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
        run->cancelled = true;
        if (luau_isparked(rt->L) && running_task(run)) { /* in the middle of it */
            rt->cancelling = true;
            luau_kill(rt->L, LUAU_KILL_HOST);
        } else {
            end_cancelled(rt);
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
    task_disarm(rt, task);
    task->state = TASK_TICKET;
    task->ticket = calls_ticket(&rt->scheduler);
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
    task_ready(rt, task, WAKE_PUSH, 0, 0);
    task->push = push;
    task->drop = drop;
    task->arg = arg;
    return true;
}
