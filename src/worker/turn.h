/* turn.h: what a thread does with one guild at a time; shared by all strategies that run guilds on
 * threads. The strategy says which guild, and where it goes afterwards.
 *
 *     turn_take_locked -> (unlock) turn_run -> (lock) entry->taken = false, and by what it left:
 *         parked                    this thread goes on with it, later
 *         turn_has_more             another turn, soon
 *         due_ns                    another turn, then
 *         vm_handle, quiet          at rest
 *         no vm_handle              registry_ended_locked
 *
 * A turn looks at control actions, takes at most one mail, gives its executions to the VM, and with
 * them the answers that came for it, steps the VM once, hands out the calls that it made, and
 * completes what is finished, outside of all locks and before anyone else can have the guild:
 * completions of a guild come in order.
 *
 * When the turn panicked, the guild's VM is gone and its actions are completed; the strategy then
 * calls turn_give_up for each VM that is parked on the thread, and replaces the thread. */
#ifndef WORKER_TURN_H
#define WORKER_TURN_H

#include "worker/panic.h"
#include "worker/registry.h"

typedef enum TurnJob {
    TURN_WORK,
    TURN_SHRINK, /* idle: the VM gives memory back */
    TURN_EXPIRE, /* idle for long: the VM is destroyed */
    TURN_GIVE_UP /* parked on a thread that panicked */
} TurnJob;

typedef struct Turn {
    ThreadEntry *entry;
    LuaVmAction *begun; /* not from the mailbox; NULL: none */
    LuaVmAction *mail;  /* taken, its executions not yet the VM's */
    LuaVmAction *done_first, *done_last;
    KhronosCall *answers;                  /* taken, not yet the VM's */
    KhronosCall *calls_first, *calls_last; /* that the VM made */
    uint64_t start_ns, end_ns;
    int mail_done, done;
    uint64_t executions_done;
    KhronosStep step;
    TurnJob job;
    bool submitted;
    bool refused;
    bool in_vm;      /* code of the VM runs: after a panic there its heap is not to be trusted */
    bool begun_done; /* out: the action that was begun is done; its complete was not called */
    bool panicked;   /* out */
} Turn;

/* What every thread has that runs guilds; embedded in the strategy's own struct. */
typedef struct WorkThread {
    Registry *registry;
    luau_Fibers *fibers;
    luau_Ticker *ticker;
    PanicPoint panic;
    uint64_t cpu_read_ns; /* the thread's processor time when it was read last ... */
    int cpu_age;          /* ... so many turns ago */
    Turn turn;
} WorkThread;

/* Before the thread starts, and when it ended. False: no memory. */
bool workthread_init(WorkThread *self, Registry *registry, luau_Ticker *ticker, int fibers_kept);
void workthread_free(WorkThread *self); /* nothing is parked on it; zeroes: does nothing */
/* After a panic and its recovery: as it was before its thread started, with fresh fibers. */
void workthread_renew(WorkThread *self, int fibers_kept);

/* `begun`: to be done in place of the guild's next mail; it was never in the mailbox. */
void turn_take_locked(WorkThread *self, ThreadEntry *entry, TurnJob job, LuaVmAction *begun);
void turn_run(WorkThread *self);
bool turn_has_more(const ThreadEntry *entry);

#endif
