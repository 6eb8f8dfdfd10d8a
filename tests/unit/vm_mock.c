#include "vm_mock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define ALIVE UINT64_C(0x616c697665564d21)

typedef struct MockExecution {
    KhronosExecution *x;
    uint64_t started_ns;
    int steps;
    bool asked, answered; /* its call */
    struct MockExecution *next;
} MockExecution;

typedef struct MockVm {
    uint64_t alive;
    MockWorld *world;
    uint64_t guild_id;
    const KhronosLimits *limits;
    atomic_bool busy;
    bool parked, broken, keeps_store, panic, panicked;
    pthread_t parker;
    uint64_t task_due_ns; /* 0: no task */
    int started;
    MockExecution *first;
    KhronosCall *calls; /* made, not taken */
    KhronosExecution *finished_first, *finished_last;
} MockVm;

static MockVm *enter(void *arg)
{
    MockVm *vm = arg;
    if (vm->alive != ALIVE || atomic_exchange(&vm->busy, true))
        abort();
    if (vm->parked && !pthread_equal(vm->parker, pthread_self()))
        abort();
    return vm;
}

static void leave(MockVm *vm)
{
    atomic_store(&vm->busy, false);
}

static void *mock_create(void *userdata, uint64_t guild_id, const KhronosLimits *limits)
{
    MockWorld *world = userdata;
    if (atomic_load(&world->create_failures) > 0) {
        atomic_fetch_sub(&world->create_failures, 1);
        return NULL;
    }
    MockVm *vm = calloc(1, sizeof(*vm));
    if (!vm)
        return NULL;
    vm->alive = ALIVE;
    vm->world = world;
    vm->guild_id = guild_id;
    vm->limits = limits;
    atomic_fetch_add(&world->live, 1);
    atomic_fetch_add(&world->created, 1);
    return vm;
}

static void destroy(MockVm *vm)
{
    if (vm->first || vm->finished_first || vm->calls)
        abort(); /* an execution that nobody took back */
    vm->alive = 0;
    atomic_fetch_sub(&vm->world->live, 1);
    free(vm);
}

static void mock_free(void *arg)
{
    MockVm *vm = enter(arg);
    atomic_fetch_add(&vm->world->freed, 1);
    destroy(vm);
}

static void mock_discard(void *arg)
{
    MockVm *vm = enter(arg);
    atomic_fetch_add(&vm->world->discarded, 1);
    destroy(vm);
}

static void mock_submit(void *arg, KhronosExecution *x)
{
    MockVm *vm = enter(arg);
    if (vm->broken)
        abort();
    MockExecution *execution = calloc(1, sizeof(*execution));
    MockExecution **at = &vm->first;
    while (*at)
        at = &(*at)->next;
    *at = execution;
    execution->x = x;
    atomic_fetch_add(&vm->world->under_way, 1);
    leave(vm);
}

static void finish(MockVm *vm, MockExecution **at, KhronosStatus status)
{
    MockExecution *execution = *at;
    KhronosExecution *x = execution->x;
    *at = execution->next;
    x->status = status;
    x->cpu_ns = (uint64_t)execution->steps;
    x->memory_bytes = vm->limits->memory_max_bytes;
    x->next = NULL;
    if (vm->finished_last)
        vm->finished_last->next = x;
    else
        vm->finished_first = x;
    vm->finished_last = x;
    free(execution);
}

static void break_vm(MockVm *vm, KhronosStatus status, const char *message)
{
    vm->broken = true;
    vm->parked = false;
    vm->task_due_ns = 0;
    for (KhronosCall *call; (call = vm->calls) != NULL;) {
        vm->calls = call->next;
        call->kind->drop(call);
    }
    while (vm->first) {
        strbuf_puts(&vm->first->x->message, message);
        finish(vm, &vm->first, status);
    }
}

static void burn(uint64_t ns)
{
    uint64_t until = clock_monotonic_ns() + ns;
    while (ns > 0 && clock_monotonic_ns() < until)
        continue;
}

static const MockPlan *plan_of(const KhronosExecution *x)
{
    return (const MockPlan *)x->event;
}

static KhronosStep ask(MockVm *vm, MockExecution **at)
{
    MockExecution *execution = *at;
    if (execution->answered) {
        finish(vm, at, KHRONOS_OK);
    } else if (!execution->asked) {
        KhronosCall *call = plan_of(execution->x)->call;
        call->guild_id = vm->guild_id;
        call->ticket = (KhronosTicket)(uintptr_t)execution;
        call->next = vm->calls;
        vm->calls = call;
        execution->asked = true;
    }
    return KHRONOS_IDLE;
}

/* One execution's part of a step. */
static KhronosStep run(MockVm *vm, MockExecution **at)
{
    MockExecution *execution = *at;
    const MockPlan *plan = plan_of(execution->x);
    if (execution->started_ns == 0) {
        execution->started_ns = clock_monotonic_ns();
        execution->x->result_count = ++vm->started;
    }
    execution->steps++;
    burn(plan->burn_ns);
    vm->keeps_store |= plan->keep_store;
    switch (plan->kind) {
    case MOCK_TASK:
        vm->task_due_ns = clock_monotonic_ns() + plan->wait_ns;
        finish(vm, at, KHRONOS_OK);
        return KHRONOS_IDLE;
    case MOCK_FINISH:
        if (execution->steps < plan->steps)
            return KHRONOS_READY;
        finish(vm, at, KHRONOS_OK);
        return KHRONOS_IDLE;
    case MOCK_WAIT:
        if (clock_monotonic_ns() >= execution->started_ns + plan->wait_ns)
            finish(vm, at, KHRONOS_OK);
        return KHRONOS_IDLE;
    case MOCK_SPIN: return KHRONOS_READY;
    case MOCK_PARK:
        if (execution->steps != plan->steps)
            return KHRONOS_PARKED;
        finish(vm, at, KHRONOS_OK);
        return KHRONOS_IDLE;
    case MOCK_BREAK:
        finish(vm, at, plan->status);
        break_vm(vm, KHRONOS_BROKEN, "another broke the VM");
        return KHRONOS_IDLE;
    case MOCK_PANIC: leave(vm); BASE_PANIC("a test's panic");
    case MOCK_CALL: return ask(vm, at);
    case MOCK_PANICKED: return KHRONOS_PANICKED;
    }
    abort();
}

static KhronosStep step_all(MockVm *vm)
{
    KhronosStep result = KHRONOS_IDLE;
    if (vm->task_due_ns != 0 && vm->task_due_ns <= clock_monotonic_ns())
        vm->task_due_ns = 0;
    for (MockExecution **at = &vm->first; *at;) {
        MockExecution *before = *at;
        KhronosStep step = run(vm, at);
        if (vm->broken)
            return KHRONOS_IDLE;
        if (step == KHRONOS_PARKED || step == KHRONOS_PANICKED)
            return step;
        if (step == KHRONOS_READY)
            result = KHRONOS_READY;
        if (*at == before)
            at = &before->next;
    }
    return result;
}

static KhronosStep mock_step(void *arg, luau_Fibers *fibers)
{
    MockVm *vm = enter(arg);
    (void)fibers;
    if (vm->broken)
        abort();
    atomic_fetch_add(&vm->world->steps, 1);
    vm->parked = false;
    if (vm->panic) {
        leave(vm);
        BASE_PANIC("an injected panic");
    }
    KhronosStep step = vm->panicked ? KHRONOS_PANICKED : step_all(vm);
    if (step == KHRONOS_PARKED) {
        vm->parker = pthread_self();
        vm->parked = true;
    }
    leave(vm);
    return step;
}

static KhronosExecution *mock_take_finished(void *arg)
{
    MockVm *vm = enter(arg);
    KhronosExecution *x = vm->finished_first;
    if (x) {
        vm->finished_first = x->next;
        if (!vm->finished_first)
            vm->finished_last = NULL;
        x->next = NULL;
        atomic_fetch_sub(&vm->world->under_way, 1);
    }
    leave(vm);
    return x;
}

static uint64_t mock_due_ns(void *arg)
{
    MockVm *vm = enter(arg);
    uint64_t due = vm->task_due_ns;
    for (MockExecution *e = vm->first; e; e = e->next) {
        const MockPlan *plan = plan_of(e->x);
        uint64_t at = plan->kind == MOCK_WAIT ? e->started_ns + plan->wait_ns : 1;
        if (plan->kind == MOCK_CALL && e->asked && !e->answered)
            continue;
        if (due == 0 || at < due)
            due = at;
    }
    leave(vm);
    return due;
}

static bool mock_isparked(void *arg)
{
    MockVm *vm = enter(arg);
    bool result = vm->parked;
    leave(vm);
    return result;
}

static bool mock_isbroken(void *arg)
{
    MockVm *vm = enter(arg);
    bool result = vm->broken;
    leave(vm);
    return result;
}

static KhronosStatus mock_broken_status(void *arg)
{
    (void)arg;
    return KHRONOS_INTERNAL; /* unless an execution says why */
}

static bool mock_keeps_store(void *arg)
{
    MockVm *vm = enter(arg);
    bool result = vm->keeps_store;
    leave(vm);
    return result;
}

static int mock_executions(void *arg)
{
    MockVm *vm = enter(arg);
    int count = 0;
    for (MockExecution *e = vm->first; e; e = e->next)
        count++;
    leave(vm);
    return count;
}

static int mock_tasks(void *arg)
{
    MockVm *vm = enter(arg);
    int count = vm->task_due_ns != 0;
    leave(vm);
    return count;
}

static bool mock_cancel(void *arg, const char *id)
{
    MockVm *vm = enter(arg);
    bool found = false;
    for (MockExecution **at = &vm->first; *at && !found; at = *at ? &(*at)->next : at)
        if (strcmp((*at)->x->id, id) == 0) {
            finish(vm, at, KHRONOS_CANCELLED);
            found = true;
            break;
        }
    leave(vm);
    return found;
}

static void mock_break_all(void *arg, KhronosStatus status, const char *message)
{
    MockVm *vm = enter(arg);
    break_vm(vm, status, message);
    leave(vm);
}

static KhronosCall *mock_take_call(void *arg)
{
    MockVm *vm = enter(arg);
    KhronosCall *call = vm->calls;
    if (call) {
        vm->calls = call->next;
        call->next = NULL;
    }
    leave(vm);
    return call;
}

static bool mock_answer(void *arg, KhronosCall *call)
{
    MockVm *vm = enter(arg);
    MockExecution *e = vm->first;
    while (e && call->ticket != (KhronosTicket)(uintptr_t)e)
        e = e->next;
    if (e)
        e->answered = true;
    call->kind->drop(call);
    leave(vm);
    return e != NULL;
}

static uint64_t mock_task_errors(void *arg)
{
    MockVm *vm = enter(arg);
    uint64_t count = (uint64_t)vm->started;
    leave(vm);
    return count;
}

static void mock_setlimits(void *arg, const KhronosLimits *limits)
{
    MockVm *vm = enter(arg);
    vm->limits = limits;
    leave(vm);
}

static void mock_clear_cache(void *arg)
{
    MockVm *vm = enter(arg);
    if (vm->parked)
        abort();
    vm->started = 0;
    atomic_fetch_add(&vm->world->cleared, 1);
    leave(vm);
}

static void mock_account(void *arg, luau_Account *account)
{
    MockVm *vm = enter(arg);
    *account = (luau_Account){.live_bytes = sizeof(*vm), .reserved_bytes = sizeof(*vm)};
    leave(vm);
}

static void mock_shrink(void *arg)
{
    MockVm *vm = enter(arg);
    if (vm->parked || vm->first)
        abort();
    atomic_fetch_add(&vm->world->shrunk, 1);
    leave(vm);
}

static void mock_panic(void *arg, bool in_collector)
{
    MockVm *vm = enter(arg);
    vm->panic = !in_collector;
    vm->panicked = in_collector;
    leave(vm);
}

void mock_ops(VmOps *ops, MockWorld *world)
{
    memset(world, 0, sizeof(*world));
    *ops = (VmOps){
        .create = mock_create,
        .free = mock_free,
        .discard = mock_discard,
        .submit = mock_submit,
        .step = mock_step,
        .take_finished = mock_take_finished,
        .due_ns = mock_due_ns,
        .isparked = mock_isparked,
        .isbroken = mock_isbroken,
        .broken_status = mock_broken_status,
        .keeps_store = mock_keeps_store,
        .executions = mock_executions,
        .tasks = mock_tasks,
        .task_errors = mock_task_errors,
        .cancel = mock_cancel,
        .break_all = mock_break_all,
        .take_call = mock_take_call,
        .answer = mock_answer,
        .setlimits = mock_setlimits,
        .clear_cache = mock_clear_cache,
        .account = mock_account,
        .shrink = mock_shrink,
        .panic = mock_panic,
        .userdata = world,
    };
}
