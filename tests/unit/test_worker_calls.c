/* Calls of templates through the worker: whoever runs the guild, each is answered once or dropped,
 * and nothing of it outlives the worker. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "call_support.h"
#include "vm_mock.h"
#include "worker_vm_bench.h"

#define ASK "local ask = require('@test/call').ask "

static TestService *start(VmBench *b)
{
    sandbox_release(b->sandbox);
    b->sandbox = b->options.sandbox = test_call_sandbox();
    TestService *service = test_service_new(&b->options);
    vm_bench_start(b);
    test_service_use(service, b->worker);
    return service;
}

static void stop(VmBench *b, TestService *service)
{
    test_service_stop(service);
    worker_stop(b->worker);
    b->worker = NULL;
    test_service_free(service);
    assert_int_equal(test_calls_live(), 0);
}

static KhronosStatus status_of(const VmJob *job)
{
    return job->action.execution.status;
}

/* ---- Answers ---- */

static void test_answers(void **state)
{
    VmBench *b = *state;
    TestService *service = start(b);
    KhronosTemplate *now = vm_template(b, ASK "return ask('now')");
    KhronosTemplate *later = vm_template(b, ASK "return ask('later 1'), ask('later 2')");
    KhronosTemplate *batch = vm_template(b, ASK "local order = {} for i = 1, 5 do "
                                                "task.spawn(function() "
                                                "table.insert(order, ask('batch ' .. i)) end) end "
                                                "while #order < 5 do task.wait() end return order");
    for (int i = 1; i <= 20; i++) {
        vm_expect(b, vm_guild(i % 3), now, "\"re now\"");
        vm_expect(b, vm_guild(i % 3), later, "[\"re later 1\",\"re later 2\"]");
        vm_expect(b, vm_guild(i % 3), batch,
                  "[\"re batch 5\",\"re batch 4\",\"re batch 3\",\"re batch 2\",\"re batch 1\"]");
    }
    assert_int_equal(test_service_taken(service), 20 * 8);
    EVENTUALLY(test_calls_live() == 0); /* long before the end */
    stop(b, service);
    template_release(now);
    template_release(later);
    template_release(batch);
}

static void test_refusals(void **state)
{
    VmBench *b = *state;
    TestService *service = start(b);
    KhronosTemplate *t = vm_template(b, ASK "return (select(2, pcall(ask, 'refuse')))");
    vm_expect(b, vm_guild(1), t, "\"the service stopped\"");
    template_release(t);
    t = vm_template(b, ASK "for i = 1, 64 do task.spawn(ask, 'never') end "
                           "return (select(2, pcall(ask, 'now')))");
    vm_expect(b, vm_guild(2), t, "\"too many calls wait for their answers (64 at most)\"");
    template_release(t);
    stop(b, service);
}

static void test_nobody_serves(void **state)
{
    VmBench *b = *state;
    sandbox_release(b->sandbox);
    b->sandbox = b->options.sandbox = test_call_sandbox();
    vm_bench_start(b);
    KhronosTemplate *t = vm_template(b, ASK "local n = 0 for i = 1, 200 do "
                                            "n += pcall(ask, 'now') and 1 or 0 end "
                                            "return n, (select(2, pcall(ask, 'now')))");
    vm_expect(b, vm_guild(1), t, "[0,\"this server has no store\"]");
    template_release(t);
    EVENTUALLY(test_calls_live() == 0);
}

/* ---- VMs that come and go ---- */

/* Who waits for an answer is not idle, however long that takes. */
static void test_waiting_is_not_idle(void **state)
{
    VmBench *b = *state;
    VmJob job = {0};
    b->options.shrink_idle_ns = b->options.destroy_idle_ns = CLOCK_NS_PER_MS;
    TestService *service = start(b);
    KhronosTemplate *t = vm_template(b, ASK "return ask('never')");
    KhronosTemplate *background = vm_template(b, ASK "task.spawn(function() ask('never') "
                                                     "ask('now done') end)");
    vm_submit(b, &job, VM_ACTION_EXECUTE, vm_guild(1), t);
    vm_expect(b, vm_guild(2), background, "null");
    EVENTUALLY(test_service_held(service) == 2);
    usleep(50000);
    assert_int_equal(vm_info(b, vm_guild(1)).state, VM_HEALTHY);
    assert_int_equal(vm_info(b, vm_guild(2)).state, VM_HEALTHY);
    assert_int_equal(vm_info(b, vm_guild(2)).tasks, 1);
    test_service_release(service);
    vm_wait_for(&job);
    assert_string_equal(strbuf_cstr(&job.result), "\"re never\"");
    vm_job_free(&job);
    EVENTUALLY(test_service_taken(service) == 3);
    EVENTUALLY(vm_info(b, vm_guild(1)).state == VM_BROKEN); /* now they are */
    EVENTUALLY(vm_info(b, vm_guild(2)).state == VM_BROKEN);
    stop(b, service);
    template_release(t);
    template_release(background);
}

/* What was cancelled while it waited leaves a guild that is at rest, and not one that is given turn
 * after turn: only the former is ever idle for long enough. */
static void test_cancelled_is_idle(void **state)
{
    VmBench *b = *state;
    VmJob jobs[2] = {0}, cancels[2] = {0};
    b->options.destroy_idle_ns = CLOCK_NS_PER_MS;
    TestService *service = start(b);
    KhronosTemplate *templates[] = {vm_template(b, ASK "return ask('never')"),
                                    vm_template(b, "task.wait(100000)")};
    for (int i = 0; i < 2; i++) {
        vm_submit(b, &jobs[i], VM_ACTION_EXECUTE, vm_guild(i), templates[i]);
        EVENTUALLY(vm_info(b, vm_guild(i)).state == VM_HEALTHY);
        do {
            vm_fill(b, &cancels[i], VM_ACTION_CANCEL, vm_guild(i), NULL);
            cancels[i].action.execution_id = "x";
            worker_submit(b->worker, &cancels[i].action);
            vm_wait_for(&cancels[i]);
            vm_job_free(&cancels[i]);
        } while (cancels[i].action.outcome != VM_ACTION_DONE);
        vm_wait_for(&jobs[i]);
        assert_int_equal(status_of(&jobs[i]), KHRONOS_CANCELLED);
        vm_job_free(&jobs[i]);
        EVENTUALLY(vm_info(b, vm_guild(i)).state == VM_BROKEN);
        template_release(templates[i]);
    }
    stop(b, service);
}

/* The answer meets no VM, or one that did not ask. */
static void test_answers_for_nobody(void **state)
{
    VmBench *b = *state;
    TestService *service = start(b);
    KhronosTemplate *never = vm_template(b, ASK "return ask('never')");
    KhronosTemplate *now = vm_template(b, ASK "return ask('now')");
    for (int way = 0; way < 4; way++) {
        VmJob job = {0}, end = {0};
        uint64_t guild = vm_guild(way);
        vm_submit(b, &job, VM_ACTION_EXECUTE, guild, never);
        EVENTUALLY(test_service_held(service) == 1);
        vm_fill(b, &end,
                way < 2    ? VM_ACTION_DESTROY
                : way == 2 ? VM_ACTION_CANCEL
                           : VM_ACTION_PANIC,
                guild, NULL);
        end.action.execution_id = "x";
        end.action.panic_point = VM_PANIC_EXECUTION;
        worker_submit(b->worker, &end.action);
        vm_wait_for(&end);
        vm_job_free(&end);
        if (way == 3) { /* the panic comes with the next execution */
            VmJob next = {0};
            vm_perform(b, &next, VM_ACTION_EXECUTE, guild, now);
            assert_int_equal(status_of(&next), KHRONOS_BROKEN);
            vm_job_free(&next);
        }
        vm_wait_for(&job);
        assert_int_equal(status_of(&job), way == 2 ? KHRONOS_CANCELLED : KHRONOS_BROKEN);
        vm_job_free(&job);
        if (way > 0) /* else there is no VM */
            vm_expect(b, guild, now, "\"re now\"");
        test_service_release(service);
        vm_expect(b, guild, now, "\"re now\"");
        EVENTUALLY(test_calls_live() == 0);
    }
    stop(b, service);
    template_release(never);
    template_release(now);
}

/* In the same turn as the call the VM breaks, or the execution ends. */
static void test_calls_of_the_dying(void **state)
{
    VmBench *b = *state;
    VmJob job = {0};
    b->options.limits.memory_max_bytes = (size_t)1 << 20;
    TestService *service = start(b);
    KhronosTemplate *eat = vm_template(b, ASK "task.spawn(ask, 'now') local t = {} "
                                              "while true do t[#t + 1] = {} end");
    KhronosTemplate *leave = vm_template(b, ASK "task.spawn(ask, 'later') return 'left'");
    for (int i = 0; i < 20; i++) {
        vm_perform(b, &job, VM_ACTION_EXECUTE, vm_guild(1), eat);
        assert_int_equal(status_of(&job), KHRONOS_MEMORY_LIMIT);
        vm_job_free(&job);
        vm_expect(b, vm_guild(2), leave, "\"left\"");
    }
    EVENTUALLY(test_calls_live() == 0);
    stop(b, service);
    template_release(eat);
    template_release(leave);
}

static void test_stop(void **state)
{
    VmBench *b = *state;
    enum { JOBS = 40 };
    TestService *service = start(b);
    KhronosTemplate *never = vm_template(b, ASK "return ask('never')");
    KhronosTemplate *again = vm_template(b, ASK "while true do pcall(ask, 'later') end");
    VmJob *jobs = calloc(JOBS, sizeof(*jobs));
    for (int i = 0; i < JOBS; i++)
        vm_submit(b, &jobs[i], VM_ACTION_EXECUTE, vm_guild(i % 10), i % 2 ? never : again);
    EVENTUALLY(test_service_held(service) == JOBS / 2);
    assert_false(worker_drain(b->worker, CLOCK_NS_PER_MS));
    /* Those that ask again and again do so until the very end. */
    stop(b, service);
    for (int i = 0; i < JOBS; i++) {
        bool began = jobs[i].action.outcome == VM_ACTION_DONE;
        if (!began)
            assert_int_equal(jobs[i].action.outcome, VM_ACTION_SHUTTING_DOWN);
        else if (status_of(&jobs[i]) != KHRONOS_BROKEN) /* the refusal was quicker */
            assert_int_equal(status_of(&jobs[i]), KHRONOS_RUNTIME_ERROR);
        vm_job_free(&jobs[i]);
    }
    free(jobs);
    template_release(never);
    template_release(again);
}

/* Asking is no way around the share of the processor. */
static void test_share(void **state)
{
    VmBench *b = *state;
    VmJob job = {0}, refused = {0};
    b->options.limits.share_max_ns = 50 * CLOCK_NS_PER_MS;
    TestService *service = start(b);
    KhronosTemplate *greedy = vm_template(b, ASK "while true do for i = 1, 20000 do "
                                                 "local x = i * i end ask('later') end");
    KhronosTemplate *modest = vm_template(b, "return 1");
    vm_submit(b, &job, VM_ACTION_EXECUTE, vm_guild(1), greedy);
    VmActionOutcome outcome;
    do {
        vm_perform(b, &refused, VM_ACTION_EXECUTE, vm_guild(1), modest);
        outcome = refused.action.outcome;
        vm_job_free(&refused);
    } while (outcome == VM_ACTION_DONE);
    assert_int_equal(outcome, VM_ACTION_PAUSED);
    int taken = test_service_taken(service);
    usleep(20000);
    /* One may have been under way in the turn that found it out; whoever looks is let in, though.
     */
    assert_in_range(test_service_taken(service), taken, taken + 2);
    vm_do(b, VM_ACTION_DESTROY, vm_guild(1), VM_ACTION_DONE); /* does not wait for the pause */
    vm_wait_for(&job);
    assert_int_equal(status_of(&job), KHRONOS_BROKEN);
    vm_job_free(&job);
    stop(b, service);
    template_release(greedy);
    template_release(modest);
}

/* ---- All at once ---- */

static void test_storm(void **state)
{
    VmBench *b = *state;
    enum { GUILDS = 12, JOBS = 600 };
    b->options.broken_max = 100000;
    TestService *service = start(b);
    const char *const sources[] = {
        ASK "return ask('now')",
        ASK "return ask('later'), ask('later')",
        ASK "task.spawn(ask, 'later') task.spawn(ask, 'now') task.wait(0.001) return ask('later')",
        ASK "task.spawn(function() while true do ask('later') end end) task.wait(0.002)",
        ASK "for i = 1, 30 do task.spawn(pcall, ask, 'batch') end return 1",
    };
    enum { SOURCES = BASE_ARRAY_COUNT(sources) };
    KhronosTemplate *templates[SOURCES];
    for (int i = 0; i < SOURCES; i++)
        templates[i] = vm_template(b, sources[i]);
    VmJob *jobs = calloc(JOBS, sizeof(*jobs));
    for (int i = 0; i < JOBS; i++) {
        VmActionType type = i % 10 == 9  ? VM_ACTION_DESTROY
                            : i % 7 == 6 ? VM_ACTION_CANCEL
                                         : VM_ACTION_EXECUTE;
        vm_fill(b, &jobs[i], i % 50 == 40 ? VM_ACTION_PANIC : type, vm_guild(i * 7 % GUILDS),
                templates[i % SOURCES]);
        if (jobs[i].action.type == VM_ACTION_CANCEL)
            jobs[i].action.execution_id = "x";
        jobs[i].action.panic_point = (VmPanicPoint)(i / 50 % 4);
        worker_submit(b->worker, &jobs[i].action);
        if (i % 40 == 0)
            usleep(2000);
    }
    for (int i = 0; i < JOBS; i++)
        if (jobs[i].action.type != VM_ACTION_EXECUTE)
            vm_wait_for(&jobs[i]);
    for (int i = 0; i < GUILDS; i++) /* what still waits for a batch that never fills */
        vm_do(b, VM_ACTION_DESTROY, vm_guild(i), VM_ACTION_DONE);
    for (int i = 0; i < JOBS; i++) {
        vm_wait_for(&jobs[i]);
        vm_job_free(&jobs[i]);
    }
    assert_true(test_service_taken(service) > 0);
    stop(b, service);
    free(jobs);
    for (int i = 0; i < SOURCES; i++)
        template_release(templates[i]);
}

/* ---- What is told ---- */

typedef struct Seen {
    pthread_mutex_t lock;
    char text[4096];
} Seen;

static void on_state(void *userdata, VmHandle vm, VmState state, VmBrokenReason reason)
{
    Seen *seen = userdata;
    pthread_mutex_lock(&seen->lock);
    size_t length = strlen(seen->text);
    snprintf(seen->text + length, sizeof(seen->text) - length, "%d %s (%s)\n",
             (int)(vm.guild_id >> 22), vm_state_name(state), vm_reason_name(reason));
    pthread_mutex_unlock(&seen->lock);
}

static void test_observer(void **state)
{
    VmBench *b = *state;
    static Seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER};
    VmJob job = {0};
    seen.text[0] = '\0';
    b->options.observer = (WorkerObserver){on_state, &seen};
    b->options.limits.memory_max_bytes = (size_t)1 << 20;
    TestService *service = start(b);
    KhronosTemplate *one = vm_template(b, "return 1");
    KhronosTemplate *eat = vm_template(b, "local t = {} while true do t[#t + 1] = {} end");
    vm_expect(b, vm_guild(1), one, "1");
    vm_perform(b, &job, VM_ACTION_EXECUTE, vm_guild(1), eat);
    vm_job_free(&job);
    vm_expect(b, vm_guild(1), one, "1");
    vm_do(b, VM_ACTION_DESTROY, vm_guild(1), VM_ACTION_DONE);
    vm_expect(b, vm_guild(1), one, "1");
    stop(b, service); /* a VM at rest is told of as well */
    assert_string_equal(seen.text, "1 initializing ()\n1 healthy ()\n"
                                   "1 broken (memory limit exceeded)\n"
                                   "1 initializing (memory limit exceeded)\n"
                                   "1 healthy (memory limit exceeded)\n"
                                   "1 destroying ()\n1 broken (explicit destroy)\n"
                                   "1 initializing (explicit destroy)\n"
                                   "1 healthy (explicit destroy)\n"
                                   "1 destroying ()\n1 broken (explicit destroy)\n");
    template_release(one);
    template_release(eat);
}

static void test_task_errors(void **state)
{
    VmBench *b = *state;
    vm_bench_start(b);
    KhronosTemplate *t = vm_template(b, "for i = 1, 3 do task.spawn(error, 'x') end return 1");
    vm_expect(b, vm_guild(1), t, "1");
    assert_int_equal(vm_info(b, vm_guild(1)).task_errors, 3);
    vm_expect(b, vm_guild(1), t, "1");
    vm_do(b, VM_ACTION_DESTROY, vm_guild(1), VM_ACTION_DONE);
    assert_int_equal(vm_info(b, vm_guild(1)).task_errors, 6);
    vm_expect(b, vm_guild(1), t, "1");
    assert_int_equal(vm_info(b, vm_guild(1)).task_errors, 9);
    assert_int_equal(vm_info(b, vm_guild(2)).task_errors, 0);
    template_release(t);
}

/* ---- Parked VMs ---- */

/* An answer comes while the guild's VM is parked, or runs, on some thread: that one gives it on. */
static void test_parked(void **state)
{
    VmBench *b = *state;
    enum { GUILDS = 8 };
    MockWorld world;
    VmOps ops;
    mock_ops(&ops, &world);
    b->options.vm_ops = &ops;
    TestService *service = test_service_new(&b->options);
    vm_bench_start(b);
    test_service_use(service, b->worker);
    VmJob parks[GUILDS] = {0}, asks[GUILDS] = {0};
    MockPlan park = {.kind = MOCK_PARK}, plans[GUILDS];
    for (int i = 0; i < GUILDS; i++) {
        plans[i] = (MockPlan){.kind = MOCK_CALL, .call = &test_call_new("later", 5)->call};
        vm_fill(b, &asks[i], VM_ACTION_EXECUTE, vm_guild(i), NULL);
        asks[i].action.execution.event = &plans[i].event;
        worker_submit(b->worker, &asks[i].action);
        vm_fill(b, &parks[i], VM_ACTION_EXECUTE, vm_guild(i), NULL);
        parks[i].action.execution.event = &park.event;
        worker_submit(b->worker, &parks[i].action);
    }
    for (int i = 0; i < GUILDS; i++) {
        vm_wait_for(&asks[i]);
        assert_int_equal(status_of(&asks[i]), KHRONOS_OK);
        vm_job_free(&asks[i]);
        assert_int_equal(atomic_load(&parks[i].completions), 0);
    }
    stop(b, service);
    for (int i = 0; i < GUILDS; i++)
        vm_job_free(&parks[i]);
    assert_int_equal(atomic_load(&world.live), 0);
}

int main(int argc, char **argv)
{
    if (worker_is_child(argc, argv))
        return worker_child_main(argc, argv, test_call_sandbox);
    static WorkerStrategy strategies[] = {WORKER_THREAD_POOL, WORKER_THREAD_PER_GUILD,
                                          WORKER_PROCESS_POOL};
    const struct CMUnitTest tests[] = {
        EACH_STRATEGY(test_answers),
        EACH_STRATEGY(test_refusals),
        EACH_STRATEGY(test_nobody_serves),
        EACH_STRATEGY(test_waiting_is_not_idle),
        EACH_STRATEGY(test_cancelled_is_idle),
        EACH_STRATEGY(test_answers_for_nobody),
        EACH_STRATEGY(test_calls_of_the_dying),
        EACH_STRATEGY(test_stop),
        EACH_STRATEGY(test_share),
        EACH_STRATEGY(test_storm),
        EACH_STRATEGY(test_observer),
        EACH_STRATEGY(test_task_errors),
        IN_STRATEGY("thread-pool", WORKER_THREAD_POOL, test_parked),
        IN_STRATEGY("thread-per-guild", WORKER_THREAD_PER_GUILD, test_parked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
