/* worker.h: the front of this layer: guilds by id, actions in, completions out. Holds the limits
 * and the strategy; hands out no VM. */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/vm_action.h"

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

typedef struct WorkerOptions {
    int threads;            /* one for each processor */
    WorkerIo io;            /* open is NULL: no seats */
    int mailbox_max;        /* actions a guild may have waiting, the running one included */
    KhronosLimits limits;
    KhronosLog log;
    KhronosSandbox *sandbox; /* retained */
} WorkerOptions;

typedef struct WorkerStats {
    uint64_t guilds;     /* known */
    uint64_t vms;        /* alive */
    uint64_t waiting;    /* actions taken and not done */
    uint64_t executions; /* finished */
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
    WORKER_RUNS     /* it takes longer: `complete` is called on this thread, after the return */
} WorkerBegun;
WorkerBegun worker_begin(WorkerSeat *seat, LuaVmAction *action);
void worker_post(WorkerSeat *seat, LuaVmAction *action);
/* Refuses new actions and waits for the taken ones; false if they did not finish in time. */
bool worker_drain(Worker *worker, uint64_t timeout_ns);
/* Ends everything: what still runs is killed, what waits is completed as VM_ACTION_SHUTTING_DOWN.
   */
void worker_stop(Worker *worker);
void worker_stats(Worker *worker, WorkerStats *stats);

#endif
