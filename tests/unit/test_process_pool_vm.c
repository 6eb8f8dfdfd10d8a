/* The process-pool with children as they are in service: real VMs on a thread-pool in each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "process_bench.h"
#include "process_storm.h"
#include "runtime_support.h"

static void test_results(void **state)
{
    PoolBench *b = *state;
    pool_start(b);
    pool_run_ok(b, 1, "return 1", "1");
    pool_run_ok(b, 1, "local event = ... return event.data.n + 1", "2");
    pool_run_ok(b, 1, "local _, ctx = ... return ctx.guild_id", "\"1\"");
    for (uint64_t i = 1; i <= 6; i++)
        pool_run_ok(b, i << 22, "return 'in all shards'", "\"in all shards\"");
}

static void test_files_and_state(void **state)
{
    PoolBench *b = *state;
    pool_start(b);
    KhronosTemplate *t = pool_template(
        b, "files", 3, "", "init.luau", "n = (n or 0) + 1 return require('./lib/double')(n)",
        "lib/double.luau", "return function(x) return 2 * x end", NULL);
    for (int i = 1; i <= 20; i++) {
        static Job job;
        char expected[8];
        snprintf(expected, sizeof(expected), "%d", 2 * i);
        pool_run(b, &job, 5, t);
        pool_expect_ok(&job, expected);
    }
    template_release(t);
}

static void expect_failure(PoolBench *b, const char *source, KhronosStatus status, int line)
{
    static Job job;
    KhronosTemplate *t = pool_command(b, source);
    pool_run(b, &job, 9, t);
    pool_wait_for(&job);
    assert_int_equal(job.action.outcome, VM_ACTION_DONE);
    assert_int_equal(job.action.execution.status, status);
    assert_int_equal(job.action.execution.line, line);
    if (line > 0)
        assert_string_equal(job.action.execution.path, "init.luau");
    assert_true(job.action.execution.message.length > 0);
    assert_int_equal(job.result.length, 0);
    pool_job_free(&job);
    template_release(t);
}

static void test_failures(void **state)
{
    PoolBench *b = *state;
    pool_start(b);
    expect_failure(b, "\n\nreturn return", KHRONOS_COMPILE_ERROR, 3);
    expect_failure(b, "\nerror('no')", KHRONOS_RUNTIME_ERROR, 2);
    expect_failure(b, "return function() end", KHRONOS_INVALID_RESULT, 0);
    static Job job;
    KhronosTemplate *t = pool_command(b, "local s = {} while true do s[#s + 1] = {} end");
    pool_run(b, &job, 9, t);
    pool_wait_for(&job);
    assert_int_equal(job.action.execution.status, KHRONOS_MEMORY_LIMIT);
    assert_int_equal(job.action.info.reason, VM_MEMORY_LIMIT_EXCEEDED);
    pool_job_free(&job);
    template_release(t);
    pool_run_ok(b, 9, "return 'and a new one'", "\"and a new one\"");
    assert_int_equal(pool_panics(b), 0); /* a VM was lost, no process */
    WAIT_UNTIL(pool_broken(b) == 1);
}

static void test_control(void **state)
{
    PoolBench *b = *state;
    pool_start(b);
    KhronosTemplate *t = pool_command(b, "print('it waits') task.wait(1000)");
    static Job waiting, job;
    pool_run(b, &waiting, 9, t);
    WAIT_UNTIL(pool_lines(b) == 1);
    pool_fill(b, &job, VM_ACTION_GET_STATE, 9, NULL);
    pool_submit(b, &job);
    pool_wait_for(&job);
    assert_int_equal(job.action.info.state, VM_HEALTHY);
    assert_true(job.action.info.account.live_bytes > 0);
    pool_fill(b, &job, VM_ACTION_CANCEL, 9, NULL);
    job.action.execution_id = "x";
    pool_submit(b, &job);
    pool_wait_for(&job);
    assert_int_equal(job.action.outcome, VM_ACTION_DONE);
    pool_wait_for(&waiting);
    assert_int_equal(waiting.action.execution.status, KHRONOS_CANCELLED);
    pool_job_free(&waiting);
    pool_fill(b, &job, VM_ACTION_DESTROY, 9, NULL);
    pool_submit(b, &job);
    pool_wait_for(&job);
    assert_int_equal(job.action.outcome, VM_ACTION_DONE);
    WAIT_UNTIL(pool_broken(b) == 1);
    template_release(t);
}

/* Code that is compiled in this process may have dropped its source, and then cannot be sent. */
static void test_sources_that_are_gone(void **state)
{
    PoolBench *b = *state;
    luau_Diagnostic diagnostic;
    pool_start(b);
    KhronosTemplate *t = support_template(b->sandbox, "dropped", 1, "init.luau", "return 'unseen'",
                                          NULL);
    assert_non_null(template_module(t, 0, &diagnostic));
    static Job job;
    pool_run(b, &job, 9, t);
    pool_wait_for(&job);
    assert_int_equal(job.action.execution.status, KHRONOS_INTERNAL);
    assert_non_null(strstr(strbuf_cstr(&job.action.execution.message), "sources were not kept"));
    pool_job_free(&job);
    template_release(t);
    t = pool_command(b, "return 1");
    assert_non_null(template_module(t, 0, &diagnostic));
    pool_run(b, &job, 9, t);
    pool_expect_ok(&job, "1");
    template_release(t);
}

/* What ran in the killed process ends as broken and does not run again: it prints once. */
static void test_killed_while_it_runs(void **state)
{
    PoolBench *b = *state;
    const char *const sources[] = {"print('on') while true do end", "print('on') task.wait(1000)"};
    pool_start(b);
    for (int i = 0; i < 2; i++) {
        KhronosTemplate *t = pool_command(b, sources[i]);
        static Job running, other;
        pool_run(b, &running, pool_guild_of(0, 2, 1), t);
        WAIT_UNTIL(pool_lines(b) == i + 1);
        KhronosTemplate *quick = pool_command(b, "return 'elsewhere'");
        pool_run(b, &other, pool_guild_of(1, 2, 1), quick);
        pool_expect_ok(&other, "\"elsewhere\"");
        kill(process_pool_pid(b->pool, 0), SIGKILL);
        pool_expect_broken(&running);
        pool_run_ok(b, pool_guild_of(0, 2, 1), "return 'again'", "\"again\"");
        assert_int_equal(pool_lines(b), i + 1);
        template_release(quick);
        template_release(t);
    }
    assert_int_equal(pool_panics(b), 2);
}

static void test_stop_while_it_runs(void **state)
{
    PoolBench *b = *state;
    pool_start(b);
    KhronosTemplate *t = pool_command(b, "print('on') while true do end");
    static Job jobs[2];
    for (int i = 0; i < 2; i++)
        pool_run(b, &jobs[i], pool_guild_of(i, 2, 1), t);
    WAIT_UNTIL(pool_lines(b) == 2);
    pool_stop(b);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(jobs[i].action.outcome, VM_ACTION_DONE);
        assert_int_equal(jobs[i].action.execution.status, KHRONOS_BROKEN);
        pool_job_free(&jobs[i]);
    }
    template_release(t);
}

/* Children die under load: no completion is lost or doubled, nothing has effects twice, and who has
 * another child notices nothing. */
static void test_kills_under_load(void **state)
{
    PoolBench *b = *state;
    Storm storm;
    KhronosTemplate *t = pool_command(b, "local event = ... print(event.data) local n = 0 "
                                         "for i = 1, 5000 do n += i end return event.data");
    pool_storm(b, t, true, &storm);
    assert_true(storm.kills >= STORM_KILLS_MIN);
    assert_true(storm.done >= STORM_ACTIONS / STORM_SHARDS);
    template_release(t);
}

int main(int argc, char **argv)
{
    if (worker_is_child(argc, argv))
        return worker_child_main(argc, argv, support_sandbox);
    const struct CMUnitTest tests[] = {
        POOL_TEST(test_results),
        POOL_TEST(test_files_and_state),
        POOL_TEST(test_failures),
        POOL_TEST(test_control),
        POOL_TEST(test_sources_that_are_gone),
        POOL_TEST(test_killed_while_it_runs),
        POOL_TEST(test_stop_while_it_runs),
        POOL_TEST(test_kills_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
