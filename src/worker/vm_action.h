/* vm_action.h: what one can ask of a guild's VM, and what becomes of it. */
#ifndef WORKER_VM_ACTION_H
#define WORKER_VM_ACTION_H

#include <stdint.h>

#include "khronos/khronos.h"

/*     (none) -> initializing -> healthy -> broken(reason)
 *                                       -> destroying -> broken(explicit destroy)
 * A broken VM is gone; the next execution makes a new one. */
typedef enum VmState { VM_NONE, VM_INITIALIZING, VM_HEALTHY, VM_BROKEN, VM_DESTROYING } VmState;

typedef enum VmBrokenReason {
    VM_NOT_BROKEN,
    VM_MEMORY_LIMIT_EXCEEDED,
    VM_EXECUTION_TIMEOUT,
    VM_PANIC_RECOVERY,
    VM_INTERNAL_ERROR,
    VM_EXPLICIT_DESTROY
} VmBrokenReason;

const char *vm_state_name(VmState state);
const char *vm_reason_name(VmBrokenReason reason); /* "memory limit exceeded"; "" for none */

typedef enum VmActionType {
    VM_ACTION_EXECUTE,   /* execution */
    VM_ACTION_GET_STATE, /* fills info */
    VM_ACTION_DESTROY    /* behind the mail that came before */
} VmActionType;

typedef enum VmActionOutcome {
    VM_ACTION_DONE,          /* for executions: see execution.status */
    VM_ACTION_QUEUE_FULL,    /* the guild's mailbox holds as much as it may */
    VM_ACTION_SHUTTING_DOWN,
    VM_ACTION_NO_MEMORY
} VmActionOutcome;

typedef struct VmInfo {
    VmState state;
    VmBrokenReason reason;
    uint64_t generation; /* VMs made for this guild so far */
    uint64_t executions;
    luau_Account account; /* zeroes without a VM */
} VmInfo;

/* The caller owns the struct and keeps it, and what it points to, until `complete` gets it back:
 * exactly once, on any thread (also inside worker_submit), whatever happens. complete may free it.
 * */
typedef struct LuaVmAction LuaVmAction;
struct LuaVmAction {
    VmActionType type;
    uint64_t guild_id; /* not 0 */
    void (*complete)(LuaVmAction *action);
    void *userdata;
    VmActionOutcome outcome;
    KhronosExecution execution;
    VmInfo info;
    LuaVmAction *next; /* the mailbox's */
};

#endif
