/* worker.h: the front of this layer: guilds by id, actions in, completions out. Holds the limits
 * and the strategy; hands out no VM. */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/vm_action.h"
#include "worker/vm_ops.h"

/* A thread that serves sockets, or what WorkerIo makes of it, and may begin actions on the spot. */
typedef struct WorkerSeat WorkerSeat;

/* What the seats serve. There are as many of them as worker threads. */
typedef struct WorkerIo {
    void *userdata;
    /* Before the threads start: what this seat serves, for the functions below; NULL fails. It
     * stays its maker's, who keeps it until after worker_stop. */
    void *(*open)(void *userdata, int index, WorkerSeat *seat);
    /* True: there is something to serve. Waits for it up to timeout_ms (-1: without an end). */
    bool (*wait)(void *io, int timeout_ms);
    void (*serve)(void *io); /* what is ready */
    void (*wake)(void *io);  /* any thread: ends the wait */
} WorkerIo;

typedef enum WorkerStrategy {
    WORKER_THREAD_POOL,      /* M guilds on N threads */
    WORKER_THREAD_PER_GUILD, /* a dedicated thread for each */
    WORKER_PROCESS_POOL      /* guilds sharded over N child processes */
} WorkerStrategy;

const char *worker_strategy_name(WorkerStrategy strategy); /* "thread-pool" */
bool worker_strategy_parse(const char *name, WorkerStrategy *strategy);

/* A VM changed its state. Called without locks on the thread that runs the guild, or the one that
 * stops the worker; must not block.
 * reason: with VM_BROKEN, why; with VM_INITIALIZING and VM_HEALTHY, why the VM before this one
 * broke, VM_NOT_BROKEN if there was none. */
typedef struct WorkerObserver {
    void (*state)(void *userdata, VmHandle vm, VmState state, VmBrokenReason reason);
    void *userdata;
} WorkerObserver;

/* Who does what templates ask for (KhronosCall). */
typedef struct WorkerCalls {
    /* Takes the call and answers it exactly once with worker_answer, on any thread, perhaps before
     * it returns. Must not block. NULL: calls are refused. Called without locks, on the thread that
     * runs the guild; process-pool: in the parent, which has checked that the guild is the child's.
     */
    void (*take)(void *userdata, KhronosCall *call);
    /* A call from bytes of its kind's put_request; guild_id and ticket are filled in by the caller.
     * NULL: bad, or no memory. */
    KhronosCall *(*read)(void *userdata, int kind, const char *bytes, size_t length);
    void *userdata;
} WorkerCalls;

typedef struct WorkerOptions {
    WorkerStrategy strategy;
    int threads;              /* thread-pool: one for each processor; in each child of the
                                 process-pool: 1 */
    int processes;            /* process-pool: one for each processor */
    int guild_threads_max;    /* thread-per-guild: guilds alive at a time */
    WorkerIo io;              /* open is NULL: no seats */
    KhronosLimits limits;     /* defaults, for guilds without limits of their own */
    uint64_t shrink_idle_ns;  /* idle VMs give memory back after it */
    uint64_t destroy_idle_ns; /* and are destroyed; 0: never */
    int broken_max;           /* VMs of a guild that may break within broken_window_ns ... */
    uint64_t broken_window_ns;
    uint64_t pause_ns;       /* ... before it is paused for so long; doubles up to 64 times */
    uint64_t silence_max_ns; /* process-pool: a child that gives no sign of life for so long is
                                killed; one that starts has six times as long; 0: never */
    KhronosLog log;
    WorkerObserver observer; /* state NULL: none */
    WorkerCalls calls;
    KhronosSandbox *sandbox; /* retained */
    const VmOps *vm_ops;     /* NULL: the real runtime over sandbox and log */
} WorkerOptions;

typedef struct WorkerStats {
    uint64_t guilds;             /* known */
    uint64_t vms;                /* alive */
    uint64_t waiting;            /* actions taken and not done */
    uint64_t executions;         /* finished */
    uint64_t created;            /* VMs, ever */
    uint64_t broken[VM_REASONS]; /* VMs, ever, by reason */
    uint64_t refused;            /* actions: queue full or paused */
    uint64_t panics;             /* threads retired, or processes lost */
} WorkerStats;

typedef struct Worker Worker;

void worker_default_options(WorkerOptions *options);
/* NULL: text in error. */
Worker *worker_start(const WorkerOptions *options, char *error, size_t error_size);
/* Any thread. See LuaVmAction for who owns what. */
void worker_submit(Worker *worker, LuaVmAction *action);
/* On the seat's thread, inside `serve`: an action whose guild is at rest, and does not run long as
 * a rule, begins at once. */
typedef enum WorkerBegun {
    WORKER_NOT_NOW, /* nothing happened: worker_post it */
    WORKER_DONE,    /* it is done, `complete` was not called */
    WORKER_RUNS     /* it takes longer: `complete` is called, on any thread, and perhaps was called
                       before worker_begin returned: the action is no longer the caller's */
} WorkerBegun;
WorkerBegun worker_begin(WorkerSeat *seat, LuaVmAction *action);
void worker_post(WorkerSeat *seat, LuaVmAction *action);
/* The call's answer is in it: the Luau thread that waits for it goes on. Takes the call; one that
 * nobody waits for any more is dropped. Any thread, until worker_stop is called: whoever takes
 * calls stops (answering or refusing what is left) between worker_drain and worker_stop; a call
 * that is made after that goes to `take` all the same, and is dropped by the worker when it was
 * refused. */
void worker_answer(Worker *worker, KhronosCall *call);
/* Refuses new actions and waits for the taken ones; false if they did not finish in time. */
bool worker_drain(Worker *worker, uint64_t timeout_ns);
/* Ends everything: what still runs is stopped (KHRONOS_BROKEN), what waits is completed as
 * VM_ACTION_SHUTTING_DOWN. */
void worker_stop(Worker *worker);
void worker_stats(Worker *worker, WorkerStats *stats);

/* ---- Children of the process-pool ----
 * The strategy starts the running program again with this first argument; its main must then call
 * worker_child_main before anything else and exit with what it returns. `sandbox` makes what the
 * parent's option of that name is (same plugins). */
#define WORKER_CHILD_ARGUMENT "--worker-child"
bool worker_is_child(int argc, char **argv);
int worker_child_main(int argc, char **argv, KhronosSandbox *(*sandbox)(void));

#endif
