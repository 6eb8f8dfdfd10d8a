#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "process_bench.h"
#include "runtime_support.h"

uint64_t pool_guild_of(int shard, int processes, int number)
{
    return ((uint64_t)(number * processes + shard) << 22) + 1;
}

static void on_complete(LuaVmAction *action)
{
    Job *job = action->userdata;
    if (job->order)
        job->place = atomic_fetch_add(job->order, 1);
    atomic_fetch_add(&job->completions, 1);
}

static void on_line(void *userdata, uint64_t guild_id, const char *template_name, int level,
                    const char *text, size_t length)
{
    PoolSeen *seen = userdata;
    pthread_mutex_lock(&seen->lock);
    seen->lines++;
    seen->last_guild = guild_id;
    seen->last_level = level;
    snprintf(seen->last_line, sizeof(seen->last_line), "%s %.*s", template_name,
             length < 40 ? (int)length : 40, text);
    pthread_mutex_unlock(&seen->lock);
}

static void on_state(void *userdata, VmHandle vm, VmState state, VmBrokenReason reason)
{
    PoolSeen *seen = userdata;
    if (state != VM_BROKEN)
        return;
    pthread_mutex_lock(&seen->lock);
    seen->broken++;
    seen->last_broken = vm;
    seen->last_reason = reason;
    pthread_mutex_unlock(&seen->lock);
}

int pool_setup(void **state)
{
    PoolBench *b = calloc(1, sizeof(*b));
    b->sandbox = support_sandbox();
    worker_default_options(&b->options);
    b->options.strategy = WORKER_PROCESS_POOL;
    b->options.threads = 1;
    b->options.processes = 2;
    b->options.sandbox = b->sandbox;
    b->options.log = (KhronosLog){on_line, &b->seen};
    b->options.observer = (WorkerObserver){on_state, &b->seen};
    pthread_mutex_init(&b->seen.lock, NULL);
    support_event("{\"name\":\"E\",\"data\":{\"n\":1}}", &b->event_text, &b->event);
    *state = b;
    return 0;
}

void pool_start(PoolBench *b)
{
    char error[256] = "";
    b->pool = process_pool_new(&b->options, error, sizeof(error));
    if (!b->pool)
        fail_msg("%s", error);
}

void pool_stop(PoolBench *b)
{
    if (b->pool)
        b->pool->ops->stop(b->pool);
    b->pool = NULL;
}

int pool_teardown(void **state)
{
    PoolBench *b = *state;
    pool_stop(b);
    sandbox_release(b->sandbox);
    pthread_mutex_destroy(&b->seen.lock);
    free(b->event_text);
    free(b);
    return 0;
}

void pool_fill(PoolBench *b, Job *job, VmActionType type, uint64_t guild_id, KhronosTemplate *t)
{
    memset(job, 0, sizeof(*job));
    job->action = (LuaVmAction){
        .type = type,
        .handle.guild_id = guild_id,
        .complete = on_complete,
        .userdata = job,
        .execution = {.template_version = t, .event = &b->event, .id = "x", .out = &job->result},
    };
}

void pool_submit(PoolBench *b, Job *job)
{
    b->pool->ops->submit(b->pool, &job->action);
}

void pool_run(PoolBench *b, Job *job, uint64_t guild_id, KhronosTemplate *t)
{
    pool_fill(b, job, VM_ACTION_EXECUTE, guild_id, t);
    pool_submit(b, job);
}

void pool_wait_for(Job *job)
{
    WAIT_UNTIL(atomic_load(&job->completions) > 0);
    assert_int_equal(atomic_load(&job->completions), 1);
}

void pool_wait_until_runs(PoolBench *b, uint64_t guild_id, int mail)
{
    static Job look;
    WAIT_UNTIL((pool_fill(b, &look, VM_ACTION_GET_STATE, guild_id, NULL), pool_submit(b, &look),
                pool_wait_for(&look), look.action.info.tasks >= mail));
}

void pool_job_free(Job *job)
{
    assert_int_equal(atomic_load(&job->completions), 1);
    execution_free(&job->action.execution);
    strbuf_free(&job->result);
}

KhronosTemplate *pool_template(PoolBench *b, const char *name, uint32_t version,
                               const char *command, ...)
{
    char error[256] = "";
    const char *const all[] = {"*"};
    TemplateMeta meta = {
        .description = command, .capabilities = all, .capability_count = 1, .enabled = true};
    KhronosTemplate *t = template_new(b->sandbox, name, version, "");
    assert_non_null(t);
    template_keepsources(t);
    va_list files;
    va_start(files, command);
    for (const char *path; (path = va_arg(files, const char *)) != NULL;) {
        const char *source = va_arg(files, const char *);
        if (!template_addfile(t, path, NULL, strdup(source), strlen(source), error, sizeof(error)))
            fail_msg("%s", error);
    }
    va_end(files);
    if (!template_setmeta(t, &meta, error, sizeof(error)))
        fail_msg("%s", error);
    return t;
}

KhronosTemplate *pool_command(PoolBench *b, const char *text)
{
    return pool_template(b, "t", 1, text, "init.luau", text, NULL);
}

void pool_expect_ok(Job *job, const char *result)
{
    pool_wait_for(job);
    assert_int_equal(job->action.outcome, VM_ACTION_DONE);
    if (job->action.execution.status != KHRONOS_OK)
        fail_msg("status %d: %s", job->action.execution.status,
                 strbuf_cstr(&job->action.execution.message));
    assert_string_equal(strbuf_cstr(&job->result), result);
    pool_job_free(job);
}

void pool_expect_broken(Job *job)
{
    pool_wait_for(job);
    assert_int_equal(job->action.outcome, VM_ACTION_DONE);
    assert_int_equal(job->action.execution.status, KHRONOS_BROKEN);
    assert_int_equal(job->action.info.reason, VM_PANIC_RECOVERY);
    assert_non_null(strstr(strbuf_cstr(&job->action.execution.message), "was lost"));
    assert_int_equal(job->result.length, 0);
    pool_job_free(job);
}

void pool_run_ok(PoolBench *b, uint64_t guild_id, const char *text, const char *result)
{
    static Job job;
    KhronosTemplate *t = pool_command(b, text);
    pool_run(b, &job, guild_id, t);
    pool_expect_ok(&job, result);
    template_release(t);
}

uint64_t pool_panics(PoolBench *b)
{
    WorkerStats stats;
    b->pool->ops->stats(b->pool, &stats);
    return stats.panics;
}

int pool_lines(PoolBench *b)
{
    pthread_mutex_lock(&b->seen.lock);
    int lines = b->seen.lines;
    pthread_mutex_unlock(&b->seen.lock);
    return lines;
}

int pool_broken(PoolBench *b)
{
    pthread_mutex_lock(&b->seen.lock);
    int broken = b->seen.broken;
    pthread_mutex_unlock(&b->seen.lock);
    return broken;
}
