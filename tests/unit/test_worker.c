/* What the worker promises, over mock VMs, for each strategy: order, bounds, states, limits,
 * pauses, timers, idle VMs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "worker_bench.h"

/* ---- Order, bounds ---- */

static void test_order(void **state)
{
    Bench *b = *state;
    enum { GUILDS = 60, EACH = 40 };
    start(b);
    Job *jobs = calloc(GUILDS * EACH, sizeof(Job));
    atomic_int orders[GUILDS] = {0};
    for (int i = 0; i < GUILDS * EACH; i++) {
        jobs[i].order = &orders[i % GUILDS];
        execute(b, &jobs[i], (uint64_t)(i % GUILDS) + 1, QUICK);
    }
    assert_true(worker_drain(b->worker, 120 * CLOCK_NS_PER_S));
    for (int i = 0; i < GUILDS * EACH; i++) {
        assert_int_equal(jobs[i].place, i / GUILDS);
        assert_int_equal(jobs[i].action.execution.result_count, i / GUILDS + 1);
        finish_job(&jobs[i], VM_ACTION_DONE, KHRONOS_OK);
    }
    WorkerStats stats;
    worker_stats(b->worker, &stats);
    assert_int_equal(stats.guilds, GUILDS);
    assert_int_equal(stats.vms, GUILDS);
    assert_int_equal(stats.created, GUILDS);
    assert_int_equal(stats.waiting, 0);
    assert_int_equal(stats.executions, GUILDS * EACH);
    free(jobs);
}

/* Several executions in one action, and actions that overtake one that waits. */
static void test_concurrent_executions(void **state)
{
    Bench *b = *state;
    start(b);
    MockPlan plans[3] = {{.kind = MOCK_WAIT, .wait_ns = 30 * CLOCK_NS_PER_MS},
                         {.kind = MOCK_FINISH, .steps = 3},
                         {.kind = MOCK_WAIT, .wait_ns = CLOCK_NS_PER_MS}};
    KhronosExecution x[3] = {0};
    atomic_int order = 0;
    Job several = {.order = &order}, none = {0}, later = {.order = &order};
    for (int i = 0; i < 3; i++)
        x[i] = (KhronosExecution){.event = &plans[i].event, .id = "x"};
    fill(&several, VM_ACTION_DISPATCH_EVENT, 5);
    several.action.executions = x;
    several.action.execution_count = 3;
    worker_submit(b->worker, &several.action);
    execute(b, &later, 5, QUICK);
    fill(&none, VM_ACTION_DISPATCH_EVENT, 5);
    none.action.executions = x;
    none.action.execution_count = 0;
    worker_submit(b->worker, &none.action);
    finish_job(&none, VM_ACTION_DONE, KHRONOS_OK);
    finish_job(&several, VM_ACTION_DONE, KHRONOS_OK);
    finish_job(&later, VM_ACTION_DONE, KHRONOS_OK);
    assert_true(several.place > later.place);
    for (int i = 0; i < 3; i++)
        assert_int_equal(x[i].result_count, i + 1);
}

static void test_mailbox_is_bounded(void **state)
{
    Bench *b = *state;
    b->options.limits.mailbox_max = 3;
    start(b);
    Job jobs[5] = {0}, destroy = {0};
    for (int i = 0; i < 5; i++)
        execute(b, &jobs[i], 1, i == 0 ? PARK : QUICK);
    for (int i = 3; i < 5; i++) {
        wait_for(&jobs[i]);
        assert_true(jobs[i].action.retry_after_ms > 0);
        finish_job(&jobs[i], VM_ACTION_QUEUE_FULL, KHRONOS_OK);
    }
    assert_int_equal(get_info(b, 1).mail, 3);
    submit(b, &destroy, VM_ACTION_DESTROY, 1); /* taken nevertheless */
    finish_job(&destroy, VM_ACTION_DONE, KHRONOS_OK);
    for (int i = 0; i < 3; i++)
        finish_job(&jobs[i], VM_ACTION_DONE, KHRONOS_BROKEN);
    /* As soon as an action is completed there is room again. */
    for (int i = 0; i < 50; i++) {
        for (int k = 0; k < 3; k++)
            execute(b, &jobs[k], 1, QUICK);
        for (int k = 0; k < 3; k++)
            finish_job(&jobs[k], VM_ACTION_DONE, KHRONOS_OK);
    }
    WorkerStats stats;
    worker_stats(b->worker, &stats);
    assert_int_equal(stats.refused, 2);
}

/* ---- States ---- */

typedef struct Changes {
    atomic_int count[VM_STATES];
    atomic_int broken[VM_REASONS];
} Changes;

static void on_state(void *userdata, VmHandle vm, VmState state, VmBrokenReason reason)
{
    Changes *changes = userdata;
    assert_int_not_equal(vm.guild_id, 0);
    assert_int_not_equal(vm.generation, 0);
    atomic_fetch_add(&changes->count[state], 1);
    if (state == VM_BROKEN)
        atomic_fetch_add(&changes->broken[reason], 1);
}

static void break_guild(Bench *b, KhronosStatus status, VmBrokenReason reason)
{
    Job job = {0};
    execute(b, &job, 7, (MockPlan){.kind = MOCK_BREAK, .status = status});
    wait_for(&job);
    assert_int_equal(job.action.info.reason, reason);
    finish_job(&job, VM_ACTION_DONE, status);
}

static void test_states(void **state)
{
    Bench *b = *state;
    static Changes changes; /* the observer is told of the end as well, in the teardown */
    memset(&changes, 0, sizeof(changes));
    b->options.observer = (WorkerObserver){on_state, &changes};
    start(b);
    Job job = {0};
    expect_state(b, 7, VM_NONE, VM_NOT_BROKEN, 0);
    submit(b, &job, VM_ACTION_DESTROY, 7); /* nothing to destroy */
    finish_job(&job, VM_ACTION_DONE, KHRONOS_OK);
    expect_state(b, 7, VM_NONE, VM_NOT_BROKEN, 0);
    run_quick(b, 7, 1);
    run_quick(b, 7, 2);
    expect_state(b, 7, VM_HEALTHY, VM_NOT_BROKEN, 1);
    break_guild(b, KHRONOS_TIMEOUT, VM_EXECUTION_TIMEOUT);
    expect_state(b, 7, VM_BROKEN, VM_EXECUTION_TIMEOUT, 1);
    run_quick(b, 7, 1);
    break_guild(b, KHRONOS_MEMORY_LIMIT, VM_MEMORY_LIMIT_EXCEEDED);
    expect_state(b, 7, VM_BROKEN, VM_MEMORY_LIMIT_EXCEEDED, 2);
    submit(b, &job, VM_ACTION_DESTROY, 7);
    finish_job(&job, VM_ACTION_DONE, KHRONOS_OK);
    expect_state(b, 7, VM_BROKEN, VM_MEMORY_LIMIT_EXCEEDED, 2);
    break_guild(b, KHRONOS_INTERNAL, VM_INTERNAL_ERROR);
    run_quick(b, 7, 1);
    submit(b, &job, VM_ACTION_DESTROY, 7);
    finish_job(&job, VM_ACTION_DONE, KHRONOS_OK);
    expect_state(b, 7, VM_BROKEN, VM_EXPLICIT_DESTROY, 4);
    atomic_store(&b->world.create_failures, 1);
    execute(b, &job, 7, QUICK);
    finish_job(&job, VM_ACTION_NO_MEMORY, KHRONOS_OK);
    expect_state(b, 7, VM_BROKEN, VM_INTERNAL_ERROR, 5);
    run_quick(b, 7, 1);
    expect_state(b, 7, VM_HEALTHY, VM_NOT_BROKEN, 6);
    WorkerStats stats;
    worker_stats(b->worker, &stats);
    assert_int_equal(stats.created, 5);
    assert_int_equal(stats.vms, 1);
    assert_int_equal(stats.broken[VM_EXECUTION_TIMEOUT], 1);
    assert_int_equal(stats.broken[VM_MEMORY_LIMIT_EXCEEDED], 1);
    assert_int_equal(stats.broken[VM_INTERNAL_ERROR], 2);
    assert_int_equal(stats.broken[VM_EXPLICIT_DESTROY], 1);
    for (int i = 0; i < VM_REASONS; i++)
        assert_int_equal(atomic_load(&changes.broken[i]), stats.broken[i]);
    assert_int_equal(atomic_load(&changes.count[VM_INITIALIZING]), 6);
    assert_int_equal(atomic_load(&changes.count[VM_HEALTHY]), 5);
    assert_int_equal(atomic_load(&changes.count[VM_DESTROYING]), 1);
}

/* The others of a VM that one execution broke. */
static void test_break_takes_all(void **state)
{
    Bench *b = *state;
    start(b);
    Job waiting = {0}, breaking = {0}, behind = {0};
    execute(b, &waiting, 3, (MockPlan){.kind = MOCK_WAIT, .wait_ns = 3600 * CLOCK_NS_PER_S});
    execute(b, &breaking, 3, (MockPlan){.kind = MOCK_BREAK, .status = KHRONOS_MEMORY_LIMIT});
    execute(b, &behind, 3, QUICK);
    wait_for(&waiting);
    assert_int_equal(waiting.action.info.reason, VM_MEMORY_LIMIT_EXCEEDED);
    finish_job(&waiting, VM_ACTION_DONE, KHRONOS_BROKEN);
    finish_job(&breaking, VM_ACTION_DONE, KHRONOS_MEMORY_LIMIT);
    wait_for(&behind);
    assert_int_equal(behind.action.execution.result_count, 1); /* of a new VM */
    finish_job(&behind, VM_ACTION_DONE, KHRONOS_OK);
}

static void test_generations(void **state)
{
    Bench *b = *state;
    static const VmActionType types[] = {VM_ACTION_EXECUTE, VM_ACTION_GET_STATE, VM_ACTION_DESTROY,
                                         VM_ACTION_CLEAR_CACHE, VM_ACTION_SET_LIMITS};
    start(b);
    Job job = {0};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(types); i++) {
        run_quick(b, 9, 1);
        uint64_t now = get_info(b, 9).generation;
        for (uint64_t generation = 1; generation <= now + 1; generation++) {
            fill(&job, types[i], 9);
            job.action.handle.generation = generation;
            worker_submit(b->worker, &job.action);
            finish_job(&job, generation == now ? VM_ACTION_DONE : VM_ACTION_NOT_FOUND, KHRONOS_OK);
        }
        submit(b, &job, VM_ACTION_DESTROY, 9);
        finish_job(&job, VM_ACTION_DONE, KHRONOS_OK);
        fill(&job, types[i], 9); /* the VM of that generation is gone */
        job.action.handle.generation = now;
        worker_submit(b->worker, &job.action);
        finish_job(&job, VM_ACTION_NOT_FOUND, KHRONOS_OK);
    }
}

/* ---- Control ---- */

static void test_control_overtakes(void **state)
{
    Bench *b = *state;
    const MockPlan plans[] = {SPIN, PARK, {.kind = MOCK_WAIT, .wait_ns = 3600 * CLOCK_NS_PER_S}};
    start(b);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(plans); i++) {
        Job running = {.id = "running"}, waiting = {.id = "waiting"}, control = {0};
        execute(b, &running, 1, plans[i]);
        EVENTUALLY(get_info(b, 1).state == VM_HEALTHY);
        execute(b, &waiting, 1, SPIN);
        assert_int_equal(get_info(b, 1).mail, 2);
        fill(&control, VM_ACTION_CANCEL, 1);
        control.action.execution_id = "nobody";
        worker_submit(b->worker, &control.action);
        finish_job(&control, VM_ACTION_NOT_FOUND, KHRONOS_OK);
        fill(&control, VM_ACTION_CANCEL, 1);
        control.action.execution_id = "waiting";
        worker_submit(b->worker, &control.action);
        finish_job(&control, VM_ACTION_DONE, KHRONOS_OK);
        finish_job(&waiting, VM_ACTION_DONE, KHRONOS_CANCELLED);
        fill(&control, VM_ACTION_CANCEL, 1);
        control.action.execution_id = "running";
        worker_submit(b->worker, &control.action);
        finish_job(&control, VM_ACTION_DONE, KHRONOS_OK);
        finish_job(&running, VM_ACTION_DONE, KHRONOS_CANCELLED);
        assert_int_equal(get_info(b, 1).mail, 0);
    }
    assert_int_equal(atomic_load(&b->world.created), 1);
}

static void set_limits(Bench *b, uint64_t guild_id, const KhronosLimits *limits)
{
    Job job = {0};
    fill(&job, VM_ACTION_SET_LIMITS, guild_id);
    job.action.limits = limits;
    worker_submit(b->worker, &job.action);
    finish_job(&job, VM_ACTION_DONE, KHRONOS_OK);
}

static void expect_memory_limit(Bench *b, uint64_t guild_id, size_t bytes)
{
    Job job = {0};
    execute(b, &job, guild_id, QUICK);
    wait_for(&job);
    assert_int_equal(job.action.execution.memory_bytes, bytes);
    finish_job(&job, VM_ACTION_DONE, KHRONOS_OK);
    assert_int_equal(get_info(b, guild_id).limits.memory_max_bytes, bytes);
}

static void test_limits(void **state)
{
    Bench *b = *state;
    start(b);
    size_t usual = b->options.limits.memory_max_bytes;
    KhronosLimits own = b->options.limits;
    own.memory_max_bytes = 12345;
    Job destroy = {0}, spinning = {0};
    expect_memory_limit(b, 1, usual);
    set_limits(b, 1, &own); /* of a VM there is */
    expect_memory_limit(b, 1, 12345);
    submit(b, &destroy, VM_ACTION_DESTROY, 1); /* they survive it */
    finish_job(&destroy, VM_ACTION_DONE, KHRONOS_OK);
    expect_memory_limit(b, 1, 12345);
    expect_memory_limit(b, 2, usual); /* of others they are none */
    set_limits(b, 1, NULL);
    expect_memory_limit(b, 1, usual);
    set_limits(b, 3, &own); /* before there is a VM */
    expect_memory_limit(b, 3, 12345);
    execute(b, &spinning, 4, PARK); /* while it runs */
    own.mailbox_max = 1;
    set_limits(b, 4, &own);
    execute(b, &destroy, 4, QUICK);
    finish_job(&destroy, VM_ACTION_QUEUE_FULL, KHRONOS_OK);
    submit(b, &destroy, VM_ACTION_DESTROY, 4);
    finish_job(&destroy, VM_ACTION_DONE, KHRONOS_OK);
    finish_job(&spinning, VM_ACTION_DONE, KHRONOS_BROKEN);
    assert_int_equal(spinning.action.execution.memory_bytes, 12345);
    set_limits(b, 77, NULL); /* of a guild that nobody knows */
    assert_int_equal(get_info(b, 77).state, VM_NONE);
}

/* ---- Destroying ---- */

static void test_destroy_is_in_order(void **state)
{
    Bench *b = *state;
    const MockPlan stuck[] = {SPIN, PARK, {.kind = MOCK_WAIT, .wait_ns = 3600 * CLOCK_NS_PER_S}};
    start(b);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(stuck); i++) {
        Job first = {0}, second = {0}, destroy = {0}, behind = {0};
        atomic_int order = 0;
        first.order = second.order = destroy.order = behind.order = &order;
        execute(b, &first, 1, QUICK);
        execute(b, &second, 1, stuck[i]);
        submit(b, &destroy, VM_ACTION_DESTROY, 1);
        execute(b, &behind, 1, QUICK);
        wait_for(&behind);
        assert_int_equal(behind.action.execution.result_count, 1);
        wait_for(&second);
        assert_string_equal(strbuf_cstr(&second.action.execution.message),
                            "the execution was stopped: the VM was destroyed");
        assert_int_equal(second.action.info.reason, VM_EXPLICIT_DESTROY);
        assert_int_equal(first.place, 0);
        assert_int_equal(second.place, 1);
        assert_int_equal(destroy.place, 2);
        assert_int_equal(behind.place, 3);
        finish_job(&first, VM_ACTION_DONE, KHRONOS_OK);
        finish_job(&second, VM_ACTION_DONE, KHRONOS_BROKEN);
        finish_job(&destroy, VM_ACTION_DONE, KHRONOS_OK);
        finish_job(&behind, VM_ACTION_DONE, KHRONOS_OK);
    }
}

static void test_clear_cache(void **state)
{
    Bench *b = *state;
    start(b);
    Job job = {0}, parked = {0};
    run_quick(b, 1, 1);
    run_quick(b, 1, 2);
    submit(b, &job, VM_ACTION_CLEAR_CACHE, 1);
    finish_job(&job, VM_ACTION_DONE, KHRONOS_OK);
    run_quick(b, 1, 1);
    /* Not while the VM is in the middle of something. */
    execute(b, &parked, 1, (MockPlan){.kind = MOCK_PARK, .steps = 50});
    submit(b, &job, VM_ACTION_CLEAR_CACHE, 1);
    finish_job(&parked, VM_ACTION_DONE, KHRONOS_OK);
    finish_job(&job, VM_ACTION_DONE, KHRONOS_OK);
    run_quick(b, 1, 1);
    assert_int_equal(atomic_load(&b->world.cleared), 2);
}

/* ---- Pauses ---- */

static void test_pause(void **state)
{
    Bench *b = *state;
    b->options.broken_max = 3;
    b->options.pause_ns = 3600 * CLOCK_NS_PER_S;
    start(b);
    Job job = {0}, behind = {0};
    for (int i = 0; i < 3; i++)
        break_guild(b, KHRONOS_MEMORY_LIMIT, VM_MEMORY_LIMIT_EXCEEDED);
    run_quick(b, 7, 1);
    execute(b, &job, 7, (MockPlan){.kind = MOCK_BREAK, .steps = 1, .status = KHRONOS_TIMEOUT});
    execute(b, &behind, 7, QUICK);
    finish_job(&job, VM_ACTION_DONE, KHRONOS_TIMEOUT);
    wait_for(&behind);
    assert_in_range(behind.action.retry_after_ms, 3000000, 3600000);
    finish_job(&behind, VM_ACTION_PAUSED, KHRONOS_OK);
    run_quick(b, 8, 1); /* others are not paused; and one may still look */
    expect_state(b, 7, VM_BROKEN, VM_EXECUTION_TIMEOUT, 4);
    WorkerStats stats;
    worker_stats(b->worker, &stats);
    assert_int_equal(stats.refused, 1);
}

static void test_pause_ends(void **state)
{
    Bench *b = *state;
    b->options.broken_max = 1;
    b->options.pause_ns = 20 * CLOCK_NS_PER_MS;
    start(b);
    Job job = {0};
    for (int i = 0; i < 2; i++)
        break_guild(b, KHRONOS_INTERNAL, VM_INTERNAL_ERROR);
    bool served = false;
    for (int i = 0; i < 100000 && !served; i++) {
        execute(b, &job, 7, QUICK);
        wait_for(&job);
        served = job.action.outcome == VM_ACTION_DONE;
        if (!served)
            usleep((unsigned)job.action.retry_after_ms * 1000);
        finish_job(&job, served ? VM_ACTION_DONE : VM_ACTION_PAUSED, KHRONOS_OK);
    }
    assert_true(served);
}

/* ---- Timers, rest ---- */

static void test_timers(void **state)
{
    Bench *b = *state;
    enum { GUILDS = 300 };
    start(b);
    Job *jobs = calloc(GUILDS, sizeof(Job));
    uint64_t before = clock_monotonic_ns();
    for (int i = 0; i < GUILDS; i++)
        execute(b, &jobs[i], (uint64_t)i + 1,
                (MockPlan){.kind = MOCK_WAIT, .wait_ns = (20 + (uint64_t)i % 3) * CLOCK_NS_PER_MS});
    for (int i = 0; i < GUILDS; i++)
        wait_for(&jobs[i]);
    assert_true(clock_monotonic_ns() - before >= 20 * CLOCK_NS_PER_MS);
    for (int i = 0; i < GUILDS; i++) {
        /* Begun, waited, ended: nobody looked again and again. A wait that ends a little early by
         * the clock is looked at once more. */
        assert_in_range(jobs[i].action.execution.cpu_ns, 2, 4);
        finish_job(&jobs[i], VM_ACTION_DONE, KHRONOS_OK);
    }
    free(jobs);
}

static void test_idle(void **state)
{
    Bench *b = *state;
    enum { GUILDS = 20 };
    b->options.shrink_idle_ns = 20 * CLOCK_NS_PER_MS;
    b->options.destroy_idle_ns = 60 * CLOCK_NS_PER_MS;
    start(b);
    Job with_task = {0}, keeping = {0};
    execute(b, &with_task, 500, (MockPlan){.kind = MOCK_TASK, .wait_ns = 3600 * CLOCK_NS_PER_S});
    execute(b, &keeping, 501, (MockPlan){.kind = MOCK_FINISH, .keep_store = true});
    for (uint64_t i = 1; i <= GUILDS; i++)
        run_quick(b, i, 1);
    EVENTUALLY(atomic_load(&b->world.live) == 2);
    finish_job(&with_task, VM_ACTION_DONE, KHRONOS_OK);
    finish_job(&keeping, VM_ACTION_DONE, KHRONOS_OK);
    EVENTUALLY(atomic_load(&b->world.shrunk) == GUILDS + 1); /* and the one that keeps its store */
    expect_state(b, 500, VM_HEALTHY, VM_NOT_BROKEN, 1);
    expect_state(b, 501, VM_HEALTHY, VM_NOT_BROKEN, 1);
    for (uint64_t i = 1; i <= GUILDS; i++)
        EVENTUALLY(get_info(b, i).state == VM_BROKEN);
    expect_state(b, 1, VM_BROKEN, VM_EXPLICIT_DESTROY, 1);
    run_quick(b, 1, 1);
}

static void test_guilds_are_forgotten(void **state)
{
    Bench *b = *state;
    bool threads = b->options.strategy == WORKER_THREAD_PER_GUILD;
    const int guilds = threads ? 6000 : 100000;
    start(b);
    Job *jobs = calloc(200, sizeof(Job));
    for (int done = 0; done < guilds; done += 100) {
        for (int i = 0; i < 100; i++) {
            execute(b, &jobs[i], (uint64_t)(done + i) + 1, QUICK);
            submit(b, &jobs[100 + i], VM_ACTION_DESTROY, (uint64_t)(done + i) + 1);
        }
        for (int i = 0; i < 200; i++)
            finish_job(&jobs[i], VM_ACTION_DONE, KHRONOS_OK);
    }
    free(jobs);
    WorkerStats stats;
    EVENTUALLY((worker_stats(b->worker, &stats), stats.guilds == 4096));
    assert_int_equal(stats.created, guilds);
    assert_int_equal(stats.vms, 0);
    VmInfo last = get_info(b, (uint64_t)guilds);
    assert_int_equal(last.state, VM_BROKEN);
    assert_int_equal(last.reason, VM_EXPLICIT_DESTROY);
    assert_int_equal(get_info(b, 1).state, VM_NONE);
    /* A handle on a VM of the forgotten one fits no later VM. */
    run_quick(b, 1, 1);
    assert_true(get_info(b, 1).generation > 1);
}

static void test_threads_are_bounded(void **state)
{
    Bench *b = *state;
    if (b->options.strategy != WORKER_THREAD_PER_GUILD)
        skip();
    b->options.guild_threads_max = 2;
    start(b);
    Job spinning = {0}, another = {0}, job = {0};
    execute(b, &another, 1, PARK);
    execute(b, &spinning, 2, PARK);
    execute(b, &job, 3, QUICK);
    wait_for(&job);
    assert_true(job.action.retry_after_ms > 0);
    finish_job(&job, VM_ACTION_QUEUE_FULL, KHRONOS_OK);
    assert_int_equal(get_info(b, 3).state, VM_NONE);
    submit(b, &job, VM_ACTION_DESTROY, 1); /* makes room */
    finish_job(&job, VM_ACTION_DONE, KHRONOS_OK);
    finish_job(&another, VM_ACTION_DONE, KHRONOS_BROKEN);
    EVENTUALLY((execute(b, &job, 3, QUICK), wait_for(&job), job_reset(&job),
                job.action.outcome == VM_ACTION_DONE));
    submit(b, &job, VM_ACTION_DESTROY, 2);
    finish_job(&job, VM_ACTION_DONE, KHRONOS_OK);
    finish_job(&spinning, VM_ACTION_DONE, KHRONOS_BROKEN);
}

static void test_names(void **state)
{
    (void)state;
    for (int i = WORKER_THREAD_POOL; i <= WORKER_PROCESS_POOL; i++) {
        WorkerStrategy strategy;
        assert_true(worker_strategy_parse(worker_strategy_name((WorkerStrategy)i), &strategy));
        assert_int_equal(strategy, i);
    }
    WorkerStrategy none;
    assert_false(worker_strategy_parse("threads", &none));
}

int main(void)
{
    static WorkerStrategy strategies[] = {WORKER_THREAD_POOL, WORKER_THREAD_PER_GUILD};
    const struct CMUnitTest tests[] = {
        EACH_STRATEGY(test_order),
        EACH_STRATEGY(test_concurrent_executions),
        EACH_STRATEGY(test_mailbox_is_bounded),
        EACH_STRATEGY(test_states),
        EACH_STRATEGY(test_break_takes_all),
        EACH_STRATEGY(test_generations),
        EACH_STRATEGY(test_control_overtakes),
        EACH_STRATEGY(test_limits),
        EACH_STRATEGY(test_destroy_is_in_order),
        EACH_STRATEGY(test_clear_cache),
        EACH_STRATEGY(test_pause),
        EACH_STRATEGY(test_pause_ends),
        EACH_STRATEGY(test_timers),
        EACH_STRATEGY(test_idle),
        EACH_STRATEGY(test_guilds_are_forgotten),
        EACH_STRATEGY(test_threads_are_bounded),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
