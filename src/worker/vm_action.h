/* vm_action.h: what one can ask of a guild's VM, and what becomes of it. */
#ifndef WORKER_VM_ACTION_H
#define WORKER_VM_ACTION_H

#include <stdint.h>

#include "khronos/khronos.h"

/*     (none) -> initializing -> healthy -> broken(reason)
 *                                       -> destroying -> broken(explicit destroy)
 * A broken VM is gone; the next execution makes a new one. */
typedef enum VmState { VM_NONE, VM_INITIALIZING, VM_HEALTHY, VM_BROKEN, VM_DESTROYING } VmState;
enum { VM_STATES = VM_DESTROYING + 1 };

typedef enum VmBrokenReason {
    VM_NOT_BROKEN,
    VM_MEMORY_LIMIT_EXCEEDED,
    VM_EXECUTION_TIMEOUT,
    VM_PANIC_RECOVERY,
    VM_INTERNAL_ERROR,
    VM_EXPLICIT_DESTROY /* also of idle VMs */
} VmBrokenReason;
enum { VM_REASONS = VM_EXPLICIT_DESTROY + 1 };

const char *vm_state_name(VmState state);
const char *vm_reason_name(VmBrokenReason reason); /* "memory limit exceeded"; "" for none */

/* A weak handle on a guild's VM: an id and which of its VMs is meant, looked up at each use. */
typedef struct VmHandle {
    uint64_t guild_id;
    uint64_t generation; /* 0: whichever there is */
} VmHandle;

typedef enum VmActionType {
    VM_ACTION_EXECUTE,        /* executions; they start in their order and run concurrently */
    VM_ACTION_DISPATCH_EVENT, /* the same, one execution for each template that an event matched */
    VM_ACTION_GET_STATE,      /* fills info; never waits behind mail */
    VM_ACTION_GET_MEMORY_USAGE, /* likewise */
    VM_ACTION_SET_LIMITS,       /* limits; NULL: the defaults again. Never waits behind mail; a new
                                   limit on processor time counts from the next wait on */
    VM_ACTION_CANCEL,           /* execution_id: ends as KHRONOS_CANCELLED. At once */
    VM_ACTION_CLEAR_CACHE,      /* templates' globals and modules are forgotten; in order */
    VM_ACTION_DESTROY,          /* in order; what does not come to rest before it is stopped */
    VM_ACTION_PANIC             /* for tests: base_panic at panic_point of the next execution */
} VmActionType;

typedef enum VmActionOutcome {
    VM_ACTION_DONE,       /* for executions: see each one's status */
    VM_ACTION_QUEUE_FULL, /* the guild has as many actions waiting or under way as it may */
    VM_ACTION_PAUSED,     /* its VMs broke too often lately, or it used more than its share of
                             the processor; retry_after_ms */
    VM_ACTION_SHUTTING_DOWN,
    VM_ACTION_VM_BROKEN, /* lost before it started: its process or thread is gone */
    VM_ACTION_NOT_FOUND, /* cancel: no such execution; or no VM of the handle's generation */
    VM_ACTION_NO_MEMORY
} VmActionOutcome;

typedef enum VmPanicPoint {
    VM_PANIC_EXECUTION, /* in the middle of the next execution */
    VM_PANIC_CREATION,  /* while the guild's next VM is made */
    VM_PANIC_DISPATCH,  /* when the guild's next mail is taken */
    VM_PANIC_COLLECTOR  /* in the next step of its collector */
} VmPanicPoint;

typedef struct VmInfo {
    VmState state;
    VmBrokenReason reason;
    uint64_t generation;  /* VMs made for this guild so far */
    uint64_t executions;  /* finished */
    uint64_t cpu_ns;      /* of all its VMs */
    uint64_t last_run_ns; /* CLOCK_MONOTONIC; 0: never */
    int mail;             /* actions waiting or under way */
    int tasks;            /* live Luau tasks */
    uint64_t task_errors; /* of background tasks, which nobody waits for; of all its VMs */
    luau_Account account; /* zeroes without a VM */
    KhronosLimits limits; /* those in force */
} VmInfo;

/* The caller owns the struct and keeps it, and what it points to, until `complete` gets it back:
 * exactly once, on any thread (also inside worker_submit), whatever happens. complete may free it.
 */
typedef struct LuaVmAction LuaVmAction;
struct LuaVmAction {
    VmActionType type;
    VmHandle handle; /* guild_id not 0 */
    void (*complete)(LuaVmAction *action);
    /* NULL: none. Called once, by the thread that runs the guild and without locks, right before
     * the executions are given to a VM: from then on the action may have had effects. Not called
     * for actions without executions, nor for those that end before. */
    void (*starting)(LuaVmAction *action);
    void *userdata;
    VmActionOutcome outcome;
    uint64_t retry_after_ms;      /* of VM_ACTION_PAUSED, VM_ACTION_QUEUE_FULL */
    KhronosExecution execution;   /* the one execution, when `executions` is NULL */
    KhronosExecution *executions; /* several, one after another in memory */
    int execution_count;          /* of executions */
    VmInfo info;                  /* out: get_state; executions that broke the VM: the reason */
    const KhronosLimits *limits;  /* set_limits */
    const char *execution_id;     /* cancel */
    VmPanicPoint panic_point;     /* panic */
    int unfinished;               /* the strategy's: executions under way */
    LuaVmAction *next;            /* the mailbox's */
};

/* The executions of the action, and how many. */
static inline KhronosExecution *action_executions(LuaVmAction *action, int *count)
{
    *count = action->executions ? action->execution_count : 1;
    return action->executions ? action->executions : &action->execution;
}

#endif
