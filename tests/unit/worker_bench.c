#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "worker_bench.h"

static void on_complete(LuaVmAction *action)
{
    Job *job = action->userdata;
    if (job->order)
        job->place = atomic_fetch_add(job->order, 1);
    atomic_fetch_add(&job->completions, 1);
}

/* The plan was set before. */
void fill(Job *job, VmActionType type, uint64_t guild_id)
{
    job->action = (LuaVmAction){
        .type = type,
        .handle.guild_id = guild_id,
        .complete = on_complete,
        .userdata = job,
        .execution = {.event = &job->plan.event, .id = job->id},
    };
}

void submit(Bench *b, Job *job, VmActionType type, uint64_t guild_id)
{
    fill(job, type, guild_id);
    worker_submit(b->worker, &job->action);
}

void execute(Bench *b, Job *job, uint64_t guild_id, MockPlan plan)
{
    job->plan = plan;
    submit(b, job, VM_ACTION_EXECUTE, guild_id);
}

bool wait_until_done(Job *job, int polls)
{
    for (int i = 0; i < polls && atomic_load(&job->completions) == 0; i++)
        usleep(200);
    return atomic_load(&job->completions) != 0;
}

void wait_for(Job *job)
{
    assert_true(wait_until_done(job, 600000));
    assert_int_equal(atomic_load(&job->completions), 1);
}

void job_reset(Job *job)
{
    assert_int_equal(atomic_load(&job->completions), 1);
    strbuf_free(&job->action.execution.message);
    atomic_store(&job->completions, 0);
}

void finish_job(Job *job, VmActionOutcome outcome, KhronosStatus status)
{
    wait_for(job);
    assert_int_equal(job->action.outcome, outcome);
    if (outcome == VM_ACTION_DONE)
        assert_int_equal(job->action.execution.status, status);
    job_reset(job);
}

void run_quick(Bench *b, uint64_t guild_id, int expected_number)
{
    Job job = {0};
    execute(b, &job, guild_id, QUICK);
    wait_for(&job);
    assert_int_equal(job.action.outcome, VM_ACTION_DONE);
    assert_int_equal(job.action.execution.result_count, expected_number);
    finish_job(&job, VM_ACTION_DONE, KHRONOS_OK);
}

VmInfo get_info(Bench *b, uint64_t guild_id)
{
    Job job = {0};
    submit(b, &job, VM_ACTION_GET_STATE, guild_id);
    wait_for(&job);
    assert_int_equal(job.action.outcome, VM_ACTION_DONE);
    job_reset(&job);
    return job.action.info;
}

void expect_state(Bench *b, uint64_t guild_id, VmState state, VmBrokenReason reason,
                  uint64_t generation)
{
    VmInfo info = get_info(b, guild_id);
    assert_string_equal(vm_state_name(info.state), vm_state_name(state));
    assert_string_equal(vm_reason_name(info.reason), vm_reason_name(reason));
    assert_int_equal(info.generation, generation);
    assert_true((info.account.reserved_bytes > 0) == (state == VM_HEALTHY));
}

void start(Bench *b)
{
    char error[256] = "";
    b->worker = worker_start(&b->options, error, sizeof(error));
    if (!b->worker)
        fail_msg("%s", error);
}

int worker_bench_setup(void **state)
{
    WorkerStrategy strategy = *(WorkerStrategy *)*state;
    Bench *b = calloc(1, sizeof(*b));
    mock_ops(&b->ops, &b->world);
    worker_default_options(&b->options);
    b->options.strategy = strategy;
    b->options.threads = 2;
    b->options.vm_ops = &b->ops;
    *state = b;
    return 0;
}

void stop(Bench *b)
{
    worker_stop(b->worker);
    b->worker = NULL;
    assert_int_equal(atomic_load(&b->world.live), 0);
    assert_int_equal(atomic_load(&b->world.under_way), 0);
}

int worker_bench_teardown(void **state)
{
    Bench *b = *state;
    if (b->worker)
        stop(b);
    free(b->ios);
    free(b);
    return 0;
}
