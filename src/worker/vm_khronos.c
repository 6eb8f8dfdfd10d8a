/* The real runtime as VmOps. */
#include "worker/vm_ops.h"

static void *vm_create(void *userdata, uint64_t guild_id, const KhronosLimits *limits)
{
    const KhronosHost *host = userdata;
    return khronos_new(host->sandbox, guild_id, limits, &host->log);
}

static void vm_free(void *vm)
{
    khronos_free(vm);
}

static void vm_discard(void *vm)
{
    khronos_discard(vm);
}

static void vm_submit(void *vm, KhronosExecution *x)
{
    khronos_submit(vm, x);
}

static KhronosStep vm_step(void *vm, luau_Fibers *fibers)
{
    return khronos_step(vm, fibers);
}

static KhronosExecution *vm_take_finished(void *vm)
{
    return khronos_take_finished(vm);
}

static uint64_t vm_due_ns(void *vm)
{
    return khronos_due_ns(vm);
}

static bool vm_isparked(void *vm)
{
    return khronos_isparked(vm);
}

static bool vm_isbroken(void *vm)
{
    return khronos_isbroken(vm);
}

static KhronosStatus vm_broken_status(void *vm)
{
    return khronos_broken_status(vm);
}

static bool vm_keeps_store(void *vm)
{
    return khronos_keeps_store(vm);
}

static int vm_executions(void *vm)
{
    return khronos_executions(vm);
}

static int vm_tasks(void *vm)
{
    return khronos_tasks(vm);
}

static uint64_t vm_task_errors(void *vm)
{
    return khronos_task_errors(vm);
}

static bool vm_cancel(void *vm, const char *id)
{
    return khronos_cancel(vm, id);
}

static void vm_break_all(void *vm, KhronosStatus status, const char *message)
{
    khronos_break(vm, status, message);
}

static KhronosCall *vm_take_call(void *vm)
{
    return khronos_take_call(vm);
}

static bool vm_answer(void *vm, KhronosCall *call)
{
    return khronos_answer(vm, call);
}

static void vm_setlimits(void *vm, const KhronosLimits *limits)
{
    khronos_setlimits(vm, limits);
}

static void vm_clear_cache(void *vm)
{
    khronos_clear_cache(vm);
}

static void vm_account(void *vm, luau_Account *account)
{
    khronos_account(vm, account);
}

static void vm_shrink(void *vm)
{
    khronos_shrink(vm);
}

static void vm_panic(void *vm, bool in_collector)
{
    khronos_test_panic(vm, in_collector);
}

void vm_khronos_ops(VmOps *ops, KhronosHost *host)
{
    *ops = (VmOps){
        .create = vm_create,
        .free = vm_free,
        .discard = vm_discard,
        .submit = vm_submit,
        .step = vm_step,
        .take_finished = vm_take_finished,
        .due_ns = vm_due_ns,
        .isparked = vm_isparked,
        .isbroken = vm_isbroken,
        .broken_status = vm_broken_status,
        .keeps_store = vm_keeps_store,
        .executions = vm_executions,
        .tasks = vm_tasks,
        .task_errors = vm_task_errors,
        .cancel = vm_cancel,
        .break_all = vm_break_all,
        .take_call = vm_take_call,
        .answer = vm_answer,
        .setlimits = vm_setlimits,
        .clear_cache = vm_clear_cache,
        .account = vm_account,
        .shrink = vm_shrink,
        .panic = vm_panic,
        .userdata = host,
    };
}
