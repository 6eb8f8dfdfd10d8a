/* What the worker promises when much goes wrong at once: panics, everything at random, the end in
 * the middle of it, and guilds that spin. */
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

/* ---- Panics ---- */

static void panic_at(Bench *b, uint64_t guild_id, VmPanicPoint point)
{
    Job inject = {0}, victim = {0}, next = {0}, destroy = {0};
    if (point == VM_PANIC_CREATION) {
        submit(b, &destroy, VM_ACTION_DESTROY, guild_id);
        finish_job(&destroy, VM_ACTION_DONE, KHRONOS_OK);
    }
    fill(&inject, VM_ACTION_PANIC, guild_id);
    inject.action.panic_point = point;
    worker_submit(b->worker, &inject.action);
    execute(b, &victim, guild_id, QUICK);
    execute(b, &next, guild_id, QUICK);
    finish_job(&inject, VM_ACTION_DONE, KHRONOS_OK);
    wait_for(&victim);
    if (point == VM_PANIC_CREATION || point == VM_PANIC_DISPATCH) {
        assert_int_equal(victim.action.outcome, VM_ACTION_VM_BROKEN);
    } else {
        assert_int_equal(victim.action.outcome, VM_ACTION_DONE);
        assert_int_equal(victim.action.execution.status, KHRONOS_BROKEN);
    }
    assert_int_equal(victim.action.info.reason, VM_PANIC_RECOVERY);
    job_reset(&victim);
    wait_for(&next);
    assert_int_equal(next.action.execution.result_count, 1); /* of a new VM */
    finish_job(&next, VM_ACTION_DONE, KHRONOS_OK);
}

static void test_panics(void **state)
{
    Bench *b = *state;
    enum { OTHERS = 40, ROUNDS = 10, POINTS = 4 };
    b->options.broken_max = 1000;
    start(b);
    Job *others = calloc(OTHERS, sizeof(Job));
    for (int i = 0; i < OTHERS; i++)
        execute(b, &others[i], 100 + (uint64_t)i, QUICK);
    uint64_t served = 0;
    for (int round = 0; round < ROUNDS; round++)
        for (int point = 0; point < POINTS; point++) {
            panic_at(b, 1, (VmPanicPoint)point);
            for (int i = 0; i < OTHERS; i++) { /* none of theirs fails meanwhile */
                if (!wait_until_done(&others[i], 1))
                    continue;
                finish_job(&others[i], VM_ACTION_DONE, KHRONOS_OK);
                execute(b, &others[i], 100 + (uint64_t)i, QUICK);
                served++;
            }
        }
    for (int i = 0; i < OTHERS; i++)
        finish_job(&others[i], VM_ACTION_DONE, KHRONOS_OK);
    assert_true(served > 0);
    WorkerStats stats;
    worker_stats(b->worker, &stats);
    assert_int_equal(stats.panics, ROUNDS * POINTS);
    /* A dispatch panics before anything is wrong with the VM, but it belongs to the thread. */
    assert_int_equal(stats.broken[VM_PANIC_RECOVERY], ROUNDS * POINTS);
    assert_int_equal(stats.created, OTHERS + ROUNDS * 3 + 1 + ROUNDS);
    free(others);
}

/* Those parked on the thread that panics are lost as well; those elsewhere are not. */
static void test_panic_takes_parked(void **state)
{
    Bench *b = *state;
    enum { PARKED = 6 };
    b->options.threads = 1;
    start(b);
    Job parked[PARKED] = {0}, behind[PARKED] = {0}, panicking = {0};
    for (int i = 0; i < PARKED; i++) {
        execute(b, &parked[i], (uint64_t)i + 1, PARK);
        EVENTUALLY(get_info(b, (uint64_t)i + 1).executions == 0 &&
                   get_info(b, (uint64_t)i + 1).state == VM_HEALTHY);
        execute(b, &behind[i], (uint64_t)i + 1, QUICK);
    }
    execute(b, &panicking, 99, (MockPlan){.kind = MOCK_PANIC});
    finish_job(&panicking, VM_ACTION_DONE, KHRONOS_BROKEN);
    if (b->options.strategy == WORKER_THREAD_PER_GUILD) {
        for (int i = 0; i < PARKED; i++)
            assert_int_equal(atomic_load(&parked[i].completions), 0);
        stop(b);
        for (int i = 0; i < PARKED; i++) {
            finish_job(&parked[i], VM_ACTION_DONE, KHRONOS_BROKEN);
            finish_job(&behind[i], VM_ACTION_SHUTTING_DOWN, KHRONOS_OK);
        }
        return;
    }
    for (int i = 0; i < PARKED; i++) {
        wait_for(&parked[i]);
        assert_int_equal(parked[i].action.info.reason, VM_PANIC_RECOVERY);
        finish_job(&parked[i], VM_ACTION_DONE, KHRONOS_BROKEN);
        finish_job(&behind[i], VM_ACTION_DONE, KHRONOS_OK);
    }
    assert_int_equal(atomic_load(&b->world.discarded), PARKED + 1);
}

/* ---- Everything at once ---- */

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void submit_random(Bench *b, Job *job, uint64_t guild_id, uint32_t *seed)
{
    uint32_t dice = next_random(seed) % 100;
    MockPlan plan = QUICK;
    VmActionType type = VM_ACTION_EXECUTE;
    if (dice < 40)
        plan.steps = (int)(dice % 5);
    else if (dice < 55)
        plan = (MockPlan){.kind = MOCK_WAIT, .wait_ns = dice * 20000};
    else if (dice < 68)
        plan = (MockPlan){.kind = MOCK_PARK, .steps = (int)(dice % 7) + 1};
    else if (dice < 71)
        plan = dice & 1 ? SPIN : PARK;
    else if (dice < 75)
        plan = (MockPlan){.kind = MOCK_BREAK,
                          .status = dice & 1 ? KHRONOS_TIMEOUT : KHRONOS_MEMORY_LIMIT};
    else if (dice < 77)
        plan.kind = dice & 1 ? MOCK_PANIC : MOCK_PANICKED;
    else if (dice < 84)
        type = VM_ACTION_DESTROY;
    else if (dice < 90)
        type = VM_ACTION_CANCEL;
    else
        type = dice < 93   ? VM_ACTION_CLEAR_CACHE
               : dice < 97 ? VM_ACTION_GET_STATE
                           : VM_ACTION_SET_LIMITS;
    job->plan = plan;
    snprintf(job->id, sizeof(job->id), "%u", next_random(seed) % 8);
    fill(job, type, guild_id);
    job->action.execution_id = job->id;
    if (type == VM_ACTION_SET_LIMITS)
        job->action.limits = dice & 1 ? &b->options.limits : NULL;
    worker_submit(b->worker, &job->action);
}

enum { SENDERS = 3, JOBS_EACH = 1500 };
typedef struct Sender {
    Bench *b;
    Job *jobs;
    uint32_t seed;
    pthread_t thread;
} Sender;

static void *sender_main(void *arg)
{
    Sender *self = arg;
    for (int i = 0; i < JOBS_EACH; i++) {
        submit_random(self->b, &self->jobs[i], next_random(&self->seed) % 24 + 1, &self->seed);
        if (i % 64 == 0)
            usleep(1000);
    }
    return NULL;
}

static void storm(Bench *b, uint32_t seed, bool stop_amidst)
{
    Sender senders[SENDERS];
    start(b);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (Sender){.b = b, .jobs = calloc(JOBS_EACH, sizeof(Job)), .seed = seed + i};
        pthread_create(&senders[i].thread, NULL, sender_main, &senders[i]);
    }
    if (stop_amidst) /* refused from here on; worker_stop wants senders to have left */
        worker_drain(b->worker, 5 * CLOCK_NS_PER_MS);
    for (int i = 0; i < SENDERS; i++)
        pthread_join(senders[i].thread, NULL);
    if (!stop_amidst)
        worker_drain(b->worker, 20 * CLOCK_NS_PER_MS);
    stop(b);
    for (int i = 0; i < SENDERS; i++) {
        for (int k = 0; k < JOBS_EACH; k++)
            job_reset(&senders[i].jobs[k]);
        free(senders[i].jobs);
    }
}

static void test_storm(void **state)
{
    Bench *b = *state;
    b->options.broken_max = 40;
    b->options.pause_ns = CLOCK_NS_PER_MS;
    b->options.shrink_idle_ns = CLOCK_NS_PER_MS;
    b->options.destroy_idle_ns = 3 * CLOCK_NS_PER_MS;
    for (uint32_t round = 0; round < 6; round++)
        storm(b, 1000 + round * 77, round % 2 == 1);
}

/* ---- Stopping ---- */

static void test_stop(void **state)
{
    Bench *b = *state;
    const MockPlan plans[] = {SPIN, PARK, {.kind = MOCK_WAIT, .wait_ns = 3600 * CLOCK_NS_PER_S}};
    enum { GUILDS = 30 };
    start(b);
    Job running[GUILDS] = {0}, late = {0};
    for (int i = 0; i < GUILDS; i++)
        execute(b, &running[i], (uint64_t)i + 1, plans[i % 3]);
    for (int i = 0; i < GUILDS; i++)
        EVENTUALLY(get_info(b, (uint64_t)i + 1).state == VM_HEALTHY);
    assert_false(worker_drain(b->worker, CLOCK_NS_PER_MS));
    execute(b, &late, 1, QUICK);
    finish_job(&late, VM_ACTION_SHUTTING_DOWN, KHRONOS_OK);
    stop(b);
    for (int i = 0; i < GUILDS; i++) {
        if (running[i].action.outcome == VM_ACTION_DONE) {
            assert_string_equal(strbuf_cstr(&running[i].action.execution.message),
                                "the execution was stopped: the server is shutting down");
            finish_job(&running[i], VM_ACTION_DONE, KHRONOS_BROKEN);
        } else {
            finish_job(&running[i], VM_ACTION_SHUTTING_DOWN, KHRONOS_OK);
        }
    }
}

static void test_drain(void **state)
{
    Bench *b = *state;
    enum { JOBS = 50 };
    start(b);
    Job jobs[JOBS] = {0};
    for (int i = 0; i < JOBS; i++)
        execute(b, &jobs[i], (uint64_t)i % 10 + 1,
                (MockPlan){.kind = MOCK_WAIT, .wait_ns = 10 * CLOCK_NS_PER_MS});
    assert_true(worker_drain(b->worker, 120 * CLOCK_NS_PER_S));
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(atomic_load(&jobs[i].completions), 1);
        finish_job(&jobs[i], VM_ACTION_DONE, KHRONOS_OK);
    }
}

/* ---- Fairness ---- */

static void test_quiet_guilds_are_not_delayed(void **state)
{
    Bench *b = *state;
    enum { SPINNERS = 64, QUIET = 300 };
    if (b->options.strategy != WORKER_THREAD_POOL)
        skip();
    start(b);
    Job *spinners = calloc(SPINNERS, sizeof(Job));
    for (int i = 0; i < SPINNERS; i++) {
        MockPlan plan = {.kind = i % 2 ? MOCK_SPIN : MOCK_PARK, .burn_ns = CLOCK_NS_PER_MS};
        execute(b, &spinners[i], 1000 + (uint64_t)i, plan);
    }
    for (int i = 0; i < SPINNERS; i++)
        EVENTUALLY(get_info(b, 1000 + (uint64_t)i).state == VM_HEALTHY);
    /* Counted in turns: while a quiet guild waits for its answer, each thread ends the slice it is
     * in, and may give one to another that starves. */
    int worst = 0, total = 0;
    for (int i = 0; i < QUIET; i++) {
        Job job = {0};
        int before = atomic_load(&b->world.steps);
        execute(b, &job, 1 + (uint64_t)i % 20, QUICK);
        while (atomic_load(&job.completions) == 0)
            usleep(50);
        int steps = atomic_load(&b->world.steps) - before;
        worst = steps > worst ? steps : worst;
        total += steps;
        finish_job(&job, VM_ACTION_DONE, KHRONOS_OK);
    }
    print_message("turns until an answer beside %d spinning: mean %.1f, worst %d\n", SPINNERS,
                  (double)total / QUIET, worst);
    /* Were they served in turn, the mean would be that of 64 guilds on 2 threads. */
    assert_true(total / QUIET < SPINNERS / 4);
    stop(b);
    for (int i = 0; i < SPINNERS; i++)
        finish_job(&spinners[i], VM_ACTION_DONE, KHRONOS_BROKEN);
    free(spinners);
}

/* Nobody above level 0 waits for ever, whatever the others use. */
static void test_no_starvation(void **state)
{
    Bench *b = *state;
    enum { GUILDS = 12 };
    start(b);
    Job jobs[GUILDS] = {0}, ending = {0};
    for (int i = 0; i < GUILDS - 1; i++)
        execute(b, &jobs[i], (uint64_t)i + 1,
                (MockPlan){.kind = i % 2 ? MOCK_SPIN : MOCK_PARK,
                           .burn_ns = (uint64_t)i * CLOCK_NS_PER_MS / 4});
    /* Uses so much that it is of the highest level at once. */
    execute(b, &ending, 50,
            (MockPlan){.kind = MOCK_FINISH, .steps = 20, .burn_ns = 8 * CLOCK_NS_PER_MS});
    finish_job(&ending, VM_ACTION_DONE, KHRONOS_OK);
    stop(b);
    for (int i = 0; i < GUILDS - 1; i++)
        finish_job(&jobs[i], VM_ACTION_DONE, KHRONOS_BROKEN);
}

int main(void)
{
    static WorkerStrategy strategies[] = {WORKER_THREAD_POOL, WORKER_THREAD_PER_GUILD};
    const struct CMUnitTest tests[] = {
        EACH_STRATEGY(test_panics),        EACH_STRATEGY(test_panic_takes_parked),
        EACH_STRATEGY(test_storm),         EACH_STRATEGY(test_stop),
        EACH_STRATEGY(test_drain),         EACH_STRATEGY(test_quiet_guilds_are_not_delayed),
        EACH_STRATEGY(test_no_starvation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
