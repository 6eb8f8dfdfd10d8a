/* vm_mock.h: a VM that does what a plan says, behind VmOps: what a worker does with VMs can be
 * tested without a language. It checks what every VM may demand of its owner: one thread at a time,
 * parked ones stay with their thread, nothing touches a freed one, everything submitted is taken
 * back. A broken promise ends the test program. */
#ifndef TESTS_UNIT_VM_MOCK_H
#define TESTS_UNIT_VM_MOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "worker/vm_ops.h"

typedef enum MockKind {
    MOCK_FINISH,   /* after `steps` steps; the VM is READY between them */
    MOCK_WAIT,     /* `wait_ns` after it started */
    MOCK_SPIN,     /* READY for ever */
    MOCK_PARK,     /* PARKED after each step; after `steps` of them finished; 0: never */
    MOCK_BREAK,    /* breaks the VM with `status` */
    MOCK_PANIC,    /* base_panic in a step */
    MOCK_PANICKED, /* likewise on a fiber: the step says so */
    MOCK_TASK,     /* finishes at once and leaves a task behind, due after `wait_ns` */
    MOCK_CALL      /* makes `call`, and finishes when that is answered */
} MockKind;

/* What an execution does: its `event` is the plan's first member. */
typedef struct MockPlan {
    KhronosEvent event;
    MockKind kind;
    int steps;
    uint64_t wait_ns;
    uint64_t burn_ns; /* processor time of each step */
    KhronosStatus status;
    bool keep_store;
    KhronosCall *call; /* of one execution */
} MockPlan;

/* What all VMs of a test share. */
typedef struct MockWorld {
    atomic_int live, created, freed, discarded, shrunk, cleared, steps;
    atomic_int under_way;       /* executions submitted and not taken back */
    atomic_int create_failures; /* so many creations fail */
} MockWorld;

/* A finished execution tells: result_count: which it was of its VM (from 1); memory_bytes: the
 * VM's memory limit; cpu_ns: the number of steps it took. A VM says that as many tasks failed as
 * executions started. */
void mock_ops(VmOps *ops, MockWorld *world);

#endif
