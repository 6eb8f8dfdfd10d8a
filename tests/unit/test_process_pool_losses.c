/* The process-pool when it loses children: what had started ends as broken, what had not is run by
 * the next child, and nothing happens twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "process_bench.h"
#include "process_mock.h"
#include "process_storm.h"
#include "runtime_support.h"
#include "worker/process_child.h"

/* ---- Losses -----------------------------------------------------------------------------------
 */

/* An action that kills its child is not delivered again, and the other child notices nothing. */
static void test_poison(void **state)
{
    PoolBench *b = *state;
    const char *const ways[] = {"kill", "abort", "exit"};
    pool_start(b);
    int other = process_pool_pid(b->pool, 1);
    for (int i = 0; i < 3; i++) {
        static Job job;
        KhronosTemplate *t = pool_command(b, ways[i]);
        pool_run_ok(b, pool_guild_of(0, 2, 1), "count", "1"); /* a new child each time */
        pool_run_ok(b, pool_guild_of(1, 2, 1), "count", i == 0 ? "1" : i == 1 ? "2" : "3");
        pool_run(b, &job, pool_guild_of(0, 2, 2), t);
        pool_expect_broken(&job);
        template_release(t);
    }
    pool_run_ok(b, pool_guild_of(0, 2, 1), "count", "1");
    assert_int_equal(pool_panics(b), 3);
    assert_int_equal(process_pool_pid(b->pool, 1), other);
}

/* What waited behind something that ran in the lost child is run by the next one, in its order. */
static void test_redelivery(void **state)
{
    PoolBench *b = *state;
    enum { COUNT = 50 };
    pool_start(b);
    uint64_t guild = pool_guild_of(1, 2, 3);
    KhronosTemplate *hold = pool_command(b, "hold"), *count = pool_command(b, "count");
    static Job held, jobs[COUNT];
    atomic_int order = 0;
    pool_run(b, &held, guild, hold);
    for (int i = 0; i < COUNT; i++) {
        pool_fill(b, &jobs[i], VM_ACTION_EXECUTE, guild, count);
        jobs[i].order = &order;
        pool_submit(b, &jobs[i]);
    }
    pool_wait_until_runs(b, guild, COUNT + 1);
    kill(process_pool_pid(b->pool, 1), SIGKILL);
    pool_expect_broken(&held);
    for (int i = 0; i < COUNT; i++) {
        char expected[16];
        snprintf(expected, sizeof(expected), "%d", i + 1);
        pool_wait_for(&jobs[i]);
        assert_int_equal(jobs[i].place, i);
        pool_expect_ok(&jobs[i], expected);
    }
    assert_int_equal(pool_panics(b), 1);
    template_release(hold);
    template_release(count);
}

/* A child that dies before anything starts: it is tried three times and not for ever. */
static void test_given_up(void **state)
{
    PoolBench *b = *state;
    pool_start(b);
    KhronosTemplate *t = pool_command(b, "unstarted-kill");
    static Job job;
    pool_run(b, &job, pool_guild_of(0, 2, 1), t);
    pool_wait_for(&job);
    assert_int_equal(job.action.outcome, VM_ACTION_VM_BROKEN);
    assert_int_equal(job.action.info.reason, VM_PANIC_RECOVERY);
    pool_job_free(&job);
    assert_int_equal(pool_panics(b), POOL_LOSSES_MAX);
    pool_run_ok(b, pool_guild_of(0, 2, 1), "count", "1");
    template_release(t);
}

/* Children are killed while 10,000 actions run: each completes once, as what it was or as lost. */
static void test_kills_under_load(void **state)
{
    PoolBench *b = *state;
    Storm storm;
    KhronosTemplate *t = pool_command(b, "echo");
    pool_storm(b, t, false, &storm);
    assert_true(storm.kills >= STORM_KILLS_MIN);
    assert_true(storm.done >= STORM_ACTIONS / STORM_SHARDS);
    template_release(t);
}

/* What no honest child says ends it; the action it had started is lost, nothing else. */
static void test_malicious_children(void **state)
{
    PoolBench *b = *state;
    const char *const ways[] = {"garbage",          "forge-slot",  "forge-result",
                                "forge-log",        "forge-state", "forge-parent",
                                "forge-unfinished", "forge-pong",  "close"};
    pool_start(b);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(ways); i++) {
        static Job job;
        KhronosTemplate *t = pool_command(b, ways[i]);
        pool_run(b, &job, pool_guild_of(0, 2, 2), t);
        pool_expect_broken(&job);
        assert_int_equal(pool_panics(b), i + 1);
        pool_run_ok(b, pool_guild_of(0, 2, 1), "count", "1");
        template_release(t);
    }
    assert_int_equal(pool_lines(b), 0);
}

static void test_handles_of_lost_vms(void **state)
{
    PoolBench *b = *state;
    pool_start(b);
    uint64_t guild = pool_guild_of(0, 2, 9);
    pool_run_ok(b, guild, "count", "1");
    static Job job;
    pool_fill(b, &job, VM_ACTION_GET_STATE, guild, NULL);
    pool_submit(b, &job);
    pool_wait_for(&job);
    assert_int_equal(job.action.info.state, VM_HEALTHY);
    VmHandle old = {guild, job.action.info.generation};
    assert_int_equal(old.generation, 1);
    kill(process_pool_pid(b->pool, 0), SIGKILL);
    WAIT_UNTIL(pool_panics(b) == 1);
    pool_run_ok(b, guild, "count", "1");
    pool_fill(b, &job, VM_ACTION_DESTROY, guild, NULL);
    job.action.handle = old;
    pool_submit(b, &job);
    pool_wait_for(&job);
    assert_int_equal(job.action.outcome, VM_ACTION_NOT_FOUND);
    pool_run_ok(b, guild, "count", "2"); /* its successor was not meant */
    pool_fill(b, &job, VM_ACTION_GET_STATE, guild, NULL);
    pool_submit(b, &job);
    pool_wait_for(&job);
    assert_true(job.action.info.generation > old.generation);
    VmHandle new_one = {guild, job.action.info.generation};
    pool_fill(b, &job, VM_ACTION_DESTROY, guild, NULL);
    job.action.handle = new_one;
    pool_submit(b, &job);
    pool_wait_for(&job);
    assert_int_equal(job.action.outcome, VM_ACTION_DONE);
    pool_run_ok(b, guild, "count", "1");
    /* The observer was told of the VM that went with its process, and of the other. */
    WAIT_UNTIL(pool_broken(b) >= 2);
    assert_int_equal(pool_broken(b), 2);
    pthread_mutex_lock(&b->seen.lock);
    assert_int_equal(b->seen.last_reason, VM_EXPLICIT_DESTROY);
    assert_true(b->seen.last_broken.generation == new_one.generation);
    pthread_mutex_unlock(&b->seen.lock);
}

static void test_observer_of_losses(void **state)
{
    PoolBench *b = *state;
    enum { VMS = 150 };
    pool_start(b);
    for (int i = 0; i < VMS; i++)
        pool_run_ok(b, pool_guild_of(0, 2, i), "count", "1");
    pool_run_ok(b, pool_guild_of(1, 2, 1), "count", "1");
    kill(process_pool_pid(b->pool, 0), SIGKILL);
    WAIT_UNTIL(pool_panics(b) == 1);
    pool_run_ok(b, pool_guild_of(0, 2, 1), "count", "1");
    assert_int_equal(pool_broken(b), VMS);
    assert_int_equal(b->seen.last_reason, VM_PANIC_RECOVERY);
}

/* A child that stands still is not lost until somebody says so. What it had started is; what it had
 * only been sent is run by the next one, and is not done twice. */
static void test_stopped_children(void **state)
{
    PoolBench *b = *state;
    static Job held, queued, asked;
    b->options.silence_max_ns = 2 * CLOCK_NS_PER_S;
    pool_start(b);
    KhronosTemplate *hold = pool_command(b, "hold"), *count = pool_command(b, "count");
    uint64_t guild = pool_guild_of(0, 2, 3);
    pool_run(b, &held, guild, hold);
    pool_run(b, &queued, guild, count);
    pool_wait_until_runs(b, guild, 2);
    int pid = process_pool_pid(b->pool, 0);
    kill(pid, SIGSTOP);
    pool_fill(b, &asked, VM_ACTION_GET_STATE, guild, NULL);
    pool_submit(b, &asked);
    pool_expect_broken(&held);
    pool_expect_ok(&queued, "1");
    pool_wait_for(&asked);
    assert_int_equal(asked.action.outcome, VM_ACTION_DONE);
    assert_int_not_equal(process_pool_pid(b->pool, 0), pid);
    template_release(hold);
    template_release(count);
}

/* Nothing to do, or a guild that does not end, is no silence. */
static void test_quiet_children_live(void **state)
{
    PoolBench *b = *state;
    static Job held;
    b->options.silence_max_ns = 2 * CLOCK_NS_PER_S;
    pool_start(b);
    KhronosTemplate *hold = pool_command(b, "hold");
    pool_run_ok(b, pool_guild_of(1, 2, 1), "count", "1");
    pool_run(b, &held, pool_guild_of(0, 2, 1), hold);
    pool_wait_until_runs(b, pool_guild_of(0, 2, 1), 1);
    usleep(4 * 1000 * 1000); /* twice the time after which a silent one is killed */
    assert_int_equal(atomic_load(&held.completions), 0);
    pool_run_ok(b, pool_guild_of(1, 2, 1), "count", "2");
    assert_int_equal(pool_panics(b), 0);
    pool_stop(b);
    pool_job_free(&held);
    template_release(hold);
}

/* Limits of a guild's own outlive the process that was told of them. */
static void test_limits_are_told_again(void **state)
{
    PoolBench *b = *state;
    pool_start(b);
    uint64_t guild = pool_guild_of(0, 2, 4);
    KhronosLimits limits = b->options.limits;
    limits.tasks_max = 4321;
    static Job job;
    for (int round = 0; round < 3; round++) {
        pool_fill(b, &job, VM_ACTION_SET_LIMITS, guild, NULL);
        job.action.limits = round < 2 ? &limits : NULL;
        if (round != 1) {
            pool_submit(b, &job);
            pool_wait_for(&job);
            assert_int_equal(job.action.outcome, VM_ACTION_DONE);
        }
        kill(process_pool_pid(b->pool, 0), SIGKILL);
        WAIT_UNTIL(pool_panics(b) == (uint64_t)round + 1);
        pool_fill(b, &job, VM_ACTION_GET_STATE, guild, NULL);
        pool_submit(b, &job);
        pool_wait_for(&job);
        assert_int_equal(job.action.info.limits.tasks_max,
                         round < 2 ? 4321 : b->options.limits.tasks_max);
    }
}

int main(int argc, char **argv)
{
    if (worker_is_child(argc, argv))
        return process_child_serve(support_sandbox, process_mock_new);
    const struct CMUnitTest tests[] = {
        POOL_TEST(test_poison),
        POOL_TEST(test_redelivery),
        POOL_TEST(test_given_up),
        POOL_TEST(test_kills_under_load),
        POOL_TEST(test_malicious_children),
        POOL_TEST(test_handles_of_lost_vms),
        POOL_TEST(test_observer_of_losses),
        POOL_TEST(test_stopped_children),
        POOL_TEST(test_quiet_children_live),
        POOL_TEST(test_limits_are_told_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
