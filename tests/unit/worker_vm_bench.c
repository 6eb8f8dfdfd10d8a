#include "worker_vm_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "runtime_support.h"

int vm_bench_setup(void **state)
{
    WorkerStrategy strategy = *(WorkerStrategy *)*state;
    VmBench *b = calloc(1, sizeof(*b));
    b->sandbox = support_sandbox();
    worker_default_options(&b->options);
    b->options.strategy = strategy;
    b->options.threads = 2;
    b->options.processes = 2;
    b->options.sandbox = b->sandbox;
    support_event("{\"name\":\"E\"}", &b->event_text, &b->event);
    *state = b;
    return 0;
}

int vm_bench_teardown(void **state)
{
    VmBench *b = *state;
    worker_stop(b->worker);
    sandbox_release(b->sandbox);
    free(b->event_text);
    free(b->seats);
    free(b);
    return 0;
}

void vm_bench_start(VmBench *b)
{
    char error[256] = "";
    b->worker = worker_start(&b->options, error, sizeof(error));
    if (!b->worker)
        fail_msg("%s", error);
}

uint64_t vm_guild(int n)
{
    return (uint64_t)n << 22 | 1;
}

KhronosTemplate *vm_template(VmBench *b, const char *source)
{
    char error[256] = "";
    const char *const all[] = {"*"};
    TemplateMeta meta = {
        .description = "", .capabilities = all, .capability_count = 1, .enabled = true};
    char name[16];
    snprintf(name, sizeof(name), "t%d", b->templates++);
    KhronosTemplate *t = template_new(b->sandbox, name, 1, "");
    assert_non_null(t);
    template_keepsources(t); /* for other processes */
    if (!template_addfile(t, "init.luau", NULL, strdup(source), strlen(source), error,
                          sizeof(error)) ||
        !template_setmeta(t, &meta, error, sizeof(error)))
        fail_msg("%s", error);
    return t;
}

void vm_complete(LuaVmAction *action)
{
    VmJob *job = action->userdata;
    job->done_ns = clock_monotonic_ns();
    if (job->order)
        job->place = atomic_fetch_add(job->order, 1);
    atomic_fetch_add(&job->completions, 1);
}

void vm_fill(VmBench *b, VmJob *job, VmActionType type, uint64_t guild_id, KhronosTemplate *t)
{
    job->action = (LuaVmAction){
        .type = type,
        .handle.guild_id = guild_id,
        .complete = vm_complete,
        .userdata = job,
        .execution = {.template_version = t, .event = &b->event, .id = "x", .out = &job->result},
    };
    job->submitted_ns = clock_monotonic_ns();
}

void vm_submit(VmBench *b, VmJob *job, VmActionType type, uint64_t guild_id, KhronosTemplate *t)
{
    vm_fill(b, job, type, guild_id, t);
    worker_submit(b->worker, &job->action);
}

void vm_wait_for(VmJob *job)
{
    for (int i = 0; i < 240000 && atomic_load(&job->completions) == 0; i++)
        usleep(500);
    assert_int_equal(atomic_load(&job->completions), 1);
}

void vm_job_free(VmJob *job)
{
    assert_int_equal(atomic_load(&job->completions), 1);
    execution_free(&job->action.execution);
    strbuf_free(&job->result);
    atomic_store(&job->completions, 0);
}

void vm_perform(VmBench *b, VmJob *job, VmActionType type, uint64_t guild_id, KhronosTemplate *t)
{
    memset(job, 0, sizeof(*job));
    vm_submit(b, job, type, guild_id, t);
    vm_wait_for(job);
}

void vm_expect(VmBench *b, uint64_t guild_id, KhronosTemplate *t, const char *result)
{
    static VmJob job;
    vm_perform(b, &job, VM_ACTION_EXECUTE, guild_id, t);
    assert_int_equal(job.action.outcome, VM_ACTION_DONE);
    if (job.action.execution.status != KHRONOS_OK)
        fail_msg("status %d: %s", job.action.execution.status,
                 strbuf_cstr(&job.action.execution.message));
    assert_string_equal(strbuf_cstr(&job.result), result);
    vm_job_free(&job);
}

void vm_do(VmBench *b, VmActionType type, uint64_t guild_id, VmActionOutcome outcome)
{
    static VmJob job;
    vm_perform(b, &job, type, guild_id, NULL);
    assert_int_equal(job.action.outcome, outcome);
    vm_job_free(&job);
}

VmInfo vm_info(VmBench *b, uint64_t guild_id)
{
    static VmJob job;
    vm_perform(b, &job, VM_ACTION_GET_STATE, guild_id, NULL);
    assert_int_equal(job.action.outcome, VM_ACTION_DONE);
    vm_job_free(&job);
    return job.action.info;
}
