/* vm_ops.h: the runtime behind a small function table, so that everything above can be tested with
 * a mock VM. `vm` is what create returned. Meanings, threads and ownership: khronos.h. */
#ifndef WORKER_VM_OPS_H
#define WORKER_VM_OPS_H

#include "khronos/khronos.h"

typedef struct VmOps {
    void *(*create)(void *userdata, uint64_t guild_id,
                    const KhronosLimits *limits); /* NULL: memory */
    void (*free)(void *vm);
    void (*discard)(void *vm);
    void (*submit)(void *vm, KhronosExecution *x);
    KhronosStep (*step)(void *vm, luau_Fibers *fibers);
    KhronosExecution *(*take_finished)(void *vm);
    uint64_t (*due_ns)(void *vm);
    bool (*isparked)(void *vm);
    bool (*isbroken)(void *vm);
    KhronosStatus (*broken_status)(void *vm);
    bool (*keeps_store)(void *vm);
    int (*executions)(void *vm);
    int (*tasks)(void *vm);
    uint64_t (*task_errors)(void *vm);
    bool (*cancel)(void *vm, const char *id);
    void (*break_all)(void *vm, KhronosStatus status, const char *message);
    KhronosCall *(*take_call)(void *vm);
    bool (*answer)(void *vm, KhronosCall *call);
    void (*setlimits)(void *vm, const KhronosLimits *limits);
    void (*clear_cache)(void *vm);
    void (*account)(void *vm, luau_Account *account);
    void (*shrink)(void *vm);
    void (*panic)(void *vm,
                  bool in_collector); /* tests: the next execution, or collection, panics */
    void *userdata;                   /* create's */
} VmOps;

typedef struct KhronosHost {
    KhronosSandbox *sandbox;
    KhronosLog log;
} KhronosHost;

/* The real one over `host`, which outlives it. */
void vm_khronos_ops(VmOps *ops, KhronosHost *host);

#endif
