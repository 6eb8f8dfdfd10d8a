/* tasks.h: the Luau threads that a guild's scheduler knows, and where they stand. Internal to this
 * layer.
 *
 * An execution is a *run*: its main thread and all that was spawned from it. A *task* is a Luau
 * thread that the scheduler will resume: it is ready, or waits for a time, for the host, or for a
 * module. Coroutines that the template resumes itself are no tasks, until they wait.
 *
 * Everything here belongs to the thread that has the runtime. Tasks and runs are C memory, charged
 * to the VM's quota; a kill drops them all at once with the VM. */
#ifndef KHRONOS_TASKS_H
#define KHRONOS_TASKS_H

#include "khronos/khronos.h"

typedef struct Run Run;
typedef struct Task Task;
typedef struct TaskList TaskList;

typedef enum TaskState {
    TASK_RUNNING,  /* on the stack of resumes, or about to be */
    TASK_READY,    /* in the ready queue */
    TASK_TIMED,    /* in the heap of timers */
    TASK_TICKET,   /* waits for khronos_wake */
    TASK_MODULE,   /* waits for a module that another thread loads */
    TASK_SUSPENDED /* yielded, and nobody said when to go on; only main threads and modules */
} TaskState;

typedef enum TaskWake {
    WAKE_VALUES,  /* it gets the nargs values of a table */
    WAKE_ERROR,   /* the table's only value is raised where it waits */
    WAKE_ELAPSED, /* it gets the seconds since since_ns */
    WAKE_PUSH     /* push makes the values */
} TaskWake;

struct TaskList {
    Task *first, *last;
};

struct Task {
    lua_State *co; /* NULL: a main thread that was not made yet */
    int ref;       /* keeps the thread, from first to last */
    uint8_t state, wake;
    bool is_main;
    int values, nargs; /* reference to the table, 0: none. Not on the thread's stack: the template
                          may resume the thread by hand meanwhile */
    int heap_at;       /* place in the heap */
    Run *run;
    TaskList *list; /* it stands in, or NULL */
    Task *next, *previous;
    Task *sibling_next, *sibling_previous; /* tasks of the run, the main one apart */
    uint64_t since_ns, due_ns;
    uint64_t order; /* of creation; decides between equal times */
    KhronosTicket ticket;
    struct RequireLoading *loading; /* the module that this thread loads */
    int (*push)(lua_State *L, void *arg);
    void (*drop)(void *arg);
    void *arg;
};

struct Run {
    Task main;
    KhronosExecution *x; /* NULL: it was given back; what is left runs in the background */
    struct TemplateInstance *instance; /* NULL: it never started */
    KhronosTemplate *version;          /* retained */
    Task *siblings;
    Run *next, *previous; /* by start */
    uint64_t started_ns, deadline_ns;
    uint64_t cpu_ns;
    size_t out_length, out_max; /* as x->out was, while the result is written */
    bool main_alive, writing;
    bool cancelled; /* it is to be, as soon as the VM can be unwound */
    bool doomed;    /* its tasks are to be cancelled */
};

typedef struct Scheduler {
    TaskList ready;
    TaskList waiting; /* for tickets */
    Task **timers;    /* binary heap by due_ns, order */
    int timer_count, timer_room;
    int task_count;     /* all but main ones */
    int wakes;          /* threads woken since the last execution started, at most some */
    int wakes_in_a_row; /* and since the last timer */
    uint64_t order;
    uint64_t turn_order; /* that of the last timer when the turn began: later ones wait */
    KhronosTicket first_ticket, ticket; /* before the first one, and the last one; 0: none yet */
    Run *runs, *runs_last;
    Run *spare; /* one Run kept for the next execution */
    Task *current;
    uint64_t now_ns;        /* at the start of the turn */
    uint64_t turn_start_ns; /* real time, for the slice */
    uint64_t seen_ns;       /* real time when it was last looked at, between two threads */
    uint64_t cpu_mark_ns;   /* when the outermost resume began */
    uint64_t errors;        /* in background tasks */
    bool any_doomed;
    bool unsettled; /* the last turn ended for want of time: whether threads wait in vain was not
                       looked at */
    bool charged;   /* for a task that then could not be made: the next one is paid for */
} Scheduler;

/* ---- lists and timers ---- */
void tasklist_put(TaskList *list, Task *task);
Task *tasklist_take(TaskList *list); /* NULL: empty */
/* Out of whatever list or heap it is in. */
void task_unlink(KhronosRuntime *rt, Task *task);
/* To the ready queue, or to the timers (timers_reserve first). Takes the reference `values`; what
 * the task would have got otherwise is dropped. */
void task_ready(KhronosRuntime *rt, Task *task, TaskWake wake, int values, int nargs);
void task_time(KhronosRuntime *rt, Task *task, uint64_t due_ns, TaskWake wake, int values,
               int nargs);
/* Room for one timer more, before anything is changed for its sake. [e] */
void timers_reserve(lua_State *L);
Task *timers_first(const Scheduler *s); /* NULL: none */

/* ---- tasks ---- */
/* The task of the thread, made for the current run if it has none; it keeps the thread alive.
 * Raises at tasks_max. [e] on L */
Task *task_of(lua_State *L, lua_State *co);
/* It is not in any list, and nothing waits to be given to it. */
void task_disarm(KhronosRuntime *rt, Task *task);
/* Forgets the task; the thread is let go. Never raises. */
void task_free(KhronosRuntime *rt, Task *task);
/* A thread that loads a module for which a run waits that is not doomed becomes that run's. False:
 * there is none. */
bool task_adopt(Task *task);
/* Closes the suspended thread and forgets the task. [m] */
void task_close(lua_State *L, Task *task, const char *why);
/* Resumes the thread (nargs values on its stack, or an error) until it ends or yields; the task may
 * be gone afterwards. L: who resumes. Raises if resumes are nested too deep. [e] */
void task_resume(lua_State *L, Task *task, bool error, int nargs);
/* The host functions of RequireHost. */
int task_loadmodule(void *self, lua_State *L, lua_State *co, struct RequireLoading *loading);
int task_awaitmodule(void *self, lua_State *L, struct RequireLoading *loading);
void task_modulesettled(void *self, lua_State *L, struct RequireLoading *loading, bool ok);
/* The module's value, or its error, is on top of L and stays there: those who wait get it. */
void task_settle(lua_State *L, struct RequireLoading *loading, bool ok);

/* The `task` library, pushed while the image is built. */
void tasklib_open(lua_State *L);

/* ---- runs (run.c, execute.c) ---- */
Run *run_new(KhronosRuntime *rt, KhronosExecution *x); /* NULL: no memory */
/* Starts the execution: a run, its thread, its first resume. */
void run_start(lua_State *L, KhronosRuntime *rt, KhronosExecution *x);
/* The main thread ended with that status: results or error. */
void run_ended(lua_State *L, Run *run, int status);
/* Gives the execution back; its status and message are filled. What it spawned goes on. */
void run_finish(KhronosRuntime *rt, Run *run);
/* Frees the run if nothing of it is left. */
void run_release(KhronosRuntime *rt, Run *run);
/* Ends of runs whose main thread does not end by itself. */
void run_lost(KhronosRuntime *rt, Run *run, const char *why); /* runtime error */
void run_cancelled(KhronosRuntime *rt, Run *run);
void run_timed_out(KhronosRuntime *rt, Run *run); /* wall time; the VM is broken */
void run_killed(KhronosRuntime *rt);              /* luau_killreason says why; the VM is broken */
/* When its time is over. */
uint64_t run_deadline_ns(const KhronosRuntime *rt, const Run *run);
/* x->out as it was before the result, of which a part may be there. */
void run_unwrite(Run *run);
/* File and line where the thread stands, into x. */
void run_place(lua_State *co, KhronosExecution *x);
void execution_done(KhronosRuntime *rt, KhronosExecution *x); /* to the finished ones */

/* What runs now is on account of the task: limits, culprit. */
Task *task_enter(lua_State *L, Task *task);
void task_leave(lua_State *L, Task *outer);

#endif
