/* What a guild's owner sees of the worker does not depend on the strategy: results, control,
 * limits, order, pauses, reports; with real VMs, in processes too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "runtime_support.h"
#include "worker_vm_bench.h"

static const char COUNT[] = "n = (n or 0) + 1 return n";
static const char SPIN[] = "while true do end";
static const char SLEEP[] = "task.wait(100000)";
static const char EAT[] = "local t = {} while true do t[#t + 1] = {} end";

static void expect_failure(VmBench *b, uint64_t guild_id, KhronosTemplate *t, KhronosStatus status,
                           VmBrokenReason reason)
{
    static VmJob job;
    vm_perform(b, &job, VM_ACTION_EXECUTE, guild_id, t);
    assert_int_equal(job.action.outcome, VM_ACTION_DONE);
    assert_int_equal(job.action.execution.status, status);
    assert_int_equal(job.action.info.reason, reason);
    assert_true(job.action.execution.message.length > 0);
    assert_int_equal(job.result.length, 0);
    vm_job_free(&job);
}

static void test_results(void **state)
{
    VmBench *b = *state;
    vm_bench_start(b);
    struct {
        const char *source;
        KhronosStatus status;
        int line;
        const char *text; /* the result, or a part of the message */
    } const cases[] = {
        {"return 1", KHRONOS_OK, 0, "1"},
        {"return", KHRONOS_OK, 0, "null"},
        {"return 1, 'two', {three = 3}", KHRONOS_OK, 0, "[1,\"two\",{\"three\":3}]"},
        {"local e, c = ... return e.name, c.guild_id", KHRONOS_OK, 0, "[\"E\",\"4194305\"]"},
        {"task.wait(0.01) return 'later'", KHRONOS_OK, 0, "\"later\""},
        {"\n\nlocal = 1", KHRONOS_COMPILE_ERROR, 3, ""},
        {"\nerror('no')", KHRONOS_RUNTIME_ERROR, 2, "no"},
        {"return function() end", KHRONOS_INVALID_RESULT, 0, "function"},
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++) {
        static VmJob job;
        KhronosTemplate *t = vm_template(b, cases[i].source);
        vm_perform(b, &job, VM_ACTION_EXECUTE, vm_guild(1), t);
        KhronosExecution *x = &job.action.execution;
        assert_int_equal(job.action.outcome, VM_ACTION_DONE);
        assert_int_equal(x->status, cases[i].status);
        assert_int_equal(x->line, cases[i].line);
        if (x->status == KHRONOS_OK) {
            assert_string_equal(strbuf_cstr(&job.result), cases[i].text);
        } else {
            assert_non_null(strstr(strbuf_cstr(&x->message), cases[i].text));
            assert_int_equal(job.result.length, 0);
        }
        vm_job_free(&job);
        template_release(t);
    }
    assert_int_equal(vm_info(b, vm_guild(1)).generation, 1); /* none of them broke the VM */
}

/* Several executions in one action; and actions that overtake one that waits. */
static void test_concurrent_executions(void **state)
{
    VmBench *b = *state;
    static VmJob several, later;
    static KhronosExecution x[3];
    static Strbuf results[3];
    static atomic_int order;
    vm_bench_start(b);
    KhronosTemplate *sleep = vm_template(b, "n = (n or 0) + 1 local mine = n "
                                            "while not open do task.wait(0.01) end return mine");
    KhronosTemplate *count = vm_template(b, COUNT);
    KhronosTemplate *open = vm_template(b, "return 1");
    for (int i = 0; i < 3; i++)
        x[i] = (KhronosExecution){.template_version = i < 2 ? count : open,
                                  .event = &b->event,
                                  .id = "y",
                                  .out = &results[i]};
    memset(&several, 0, sizeof(several));
    memset(&later, 0, sizeof(later));
    atomic_store(&order, 0);
    several.order = later.order = &order;
    static VmJob waiting, cancel;
    memset(&waiting, 0, sizeof(waiting));
    waiting.order = &order;
    vm_submit(b, &waiting, VM_ACTION_EXECUTE, vm_guild(5), sleep);
    vm_fill(b, &several, VM_ACTION_DISPATCH_EVENT, vm_guild(5), NULL);
    several.action.executions = x;
    several.action.execution_count = 3;
    worker_submit(b->worker, &several.action);
    vm_submit(b, &later, VM_ACTION_EXECUTE, vm_guild(5), count);
    vm_wait_for(&several);
    vm_wait_for(&later);
    assert_int_equal(atomic_load(&waiting.completions), 0);
    assert_true(several.place < later.place);
    const char *const expected[] = {"1", "2", "1"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(x[i].status, KHRONOS_OK);
        assert_string_equal(strbuf_cstr(&results[i]), expected[i]);
        execution_free(&x[i]);
        strbuf_free(&results[i]);
    }
    assert_string_equal(strbuf_cstr(&later.result), "3");
    vm_fill(b, &cancel, VM_ACTION_CANCEL, vm_guild(5), NULL);
    cancel.action.execution_id = "x";
    worker_submit(b->worker, &cancel.action);
    vm_wait_for(&cancel);
    vm_wait_for(&waiting);
    assert_int_equal(waiting.action.execution.status, KHRONOS_CANCELLED);
    vm_job_free(&several);
    vm_job_free(&later);
    vm_job_free(&cancel);
    vm_job_free(&waiting);
    template_release(sleep);
    template_release(count);
    template_release(open);
}

static void cancel(VmBench *b, uint64_t guild_id, const char *id, VmActionOutcome outcome)
{
    static VmJob job;
    memset(&job, 0, sizeof(job));
    vm_fill(b, &job, VM_ACTION_CANCEL, guild_id, NULL);
    job.action.execution_id = id;
    worker_submit(b->worker, &job.action);
    vm_wait_for(&job);
    assert_int_equal(job.action.outcome, outcome);
    vm_job_free(&job);
}

static void test_control_overtakes(void **state)
{
    VmBench *b = *state;
    const char *const sources[] = {SPIN, SLEEP};
    b->options.limits.cpu_max_ns = b->options.limits.wall_max_ns = 600 * CLOCK_NS_PER_S;
    vm_bench_start(b);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(sources); i++) {
        static VmJob running, waiting;
        uint64_t guild = vm_guild((int)i + 1);
        KhronosTemplate *t = vm_template(b, sources[i]), *spin = vm_template(b, SPIN);
        memset(&running, 0, sizeof(running));
        memset(&waiting, 0, sizeof(waiting));
        vm_fill(b, &running, VM_ACTION_EXECUTE, guild, t);
        running.action.execution.id = "running";
        worker_submit(b->worker, &running.action);
        EVENTUALLY(vm_info(b, guild).state == VM_HEALTHY);
        vm_fill(b, &waiting, VM_ACTION_EXECUTE, guild, spin);
        waiting.action.execution.id = "waiting";
        worker_submit(b->worker, &waiting.action);
        assert_int_equal(vm_info(b, guild).mail, 2);
        cancel(b, guild, "nobody", VM_ACTION_NOT_FOUND);
        cancel(b, guild, "waiting", VM_ACTION_DONE);
        cancel(b, guild, "running", VM_ACTION_DONE);
        vm_wait_for(&waiting);
        vm_wait_for(&running);
        assert_int_equal(waiting.action.execution.status, KHRONOS_CANCELLED);
        assert_int_equal(running.action.execution.status, KHRONOS_CANCELLED);
        EVENTUALLY(vm_info(b, guild).mail == 0);
        assert_int_equal(vm_info(b, guild).generation, 1); /* it lives on */
        vm_job_free(&running);
        vm_job_free(&waiting);
        template_release(t);
        template_release(spin);
    }
}

static void set_limits(VmBench *b, uint64_t guild_id, const KhronosLimits *limits)
{
    static VmJob job;
    memset(&job, 0, sizeof(job));
    vm_fill(b, &job, VM_ACTION_SET_LIMITS, guild_id, NULL);
    job.action.limits = limits;
    worker_submit(b->worker, &job.action);
    vm_wait_for(&job);
    assert_int_equal(job.action.outcome, VM_ACTION_DONE);
    vm_job_free(&job);
}

static void test_limits(void **state)
{
    VmBench *b = *state;
    vm_bench_start(b);
    KhronosLimits own = b->options.limits;
    own.memory_max_bytes = (size_t)256 << 10;
    KhronosTemplate *t = vm_template(b, "local t = {} for i = 1, 20000 do t[i] = {} end return #t");
    vm_expect(b, vm_guild(1), t, "20000");
    set_limits(b, vm_guild(1), &own); /* of a VM there is */
    expect_failure(b, vm_guild(1), t, KHRONOS_MEMORY_LIMIT, VM_MEMORY_LIMIT_EXCEEDED);
    expect_failure(b, vm_guild(1), t, KHRONOS_MEMORY_LIMIT, VM_MEMORY_LIMIT_EXCEEDED);
    vm_expect(b, vm_guild(2), t, "20000"); /* of others they are none */
    vm_expect(b, vm_guild(3), t, "20000");
    assert_int_equal(vm_info(b, vm_guild(1)).limits.memory_max_bytes, own.memory_max_bytes);
    set_limits(b, vm_guild(1), NULL);
    vm_expect(b, vm_guild(1), t, "20000");
    set_limits(b, vm_guild(4), &own); /* before there is a VM */
    expect_failure(b, vm_guild(4), t, KHRONOS_MEMORY_LIMIT, VM_MEMORY_LIMIT_EXCEEDED);
    set_limits(b, vm_guild(77), NULL); /* of a guild that nobody knows */
    assert_int_equal(vm_info(b, vm_guild(77)).state, VM_NONE);
    template_release(t);
}

static void test_destroy_is_in_order(void **state)
{
    VmBench *b = *state;
    const char *const stuck[] = {SPIN, SLEEP};
    b->options.limits.cpu_max_ns = b->options.limits.wall_max_ns = 600 * CLOCK_NS_PER_S;
    vm_bench_start(b);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(stuck); i++) {
        enum { FIRST, STUCK, DESTROY, BEHIND, COUNT_OF };
        static VmJob jobs[COUNT_OF];
        static atomic_int order;
        KhronosTemplate *count = vm_template(b, COUNT), *t = vm_template(b, stuck[i]);
        KhronosTemplate *const templates[] = {count, t, NULL, count};
        memset(jobs, 0, sizeof(jobs));
        atomic_store(&order, 0);
        for (int k = 0; k < COUNT_OF; k++) {
            jobs[k].order = &order;
            vm_submit(b, &jobs[k], k == DESTROY ? VM_ACTION_DESTROY : VM_ACTION_EXECUTE,
                      vm_guild((int)i + 1), templates[k]);
        }
        for (int k = 0; k < COUNT_OF; k++) {
            vm_wait_for(&jobs[k]);
            assert_int_equal(jobs[k].place, k);
            assert_int_equal(jobs[k].action.outcome, VM_ACTION_DONE);
        }
        assert_int_equal(jobs[STUCK].action.execution.status, KHRONOS_BROKEN);
        assert_int_equal(jobs[STUCK].action.info.reason, VM_EXPLICIT_DESTROY);
        assert_string_equal(strbuf_cstr(&jobs[FIRST].result), "1");
        assert_string_equal(strbuf_cstr(&jobs[BEHIND].result), "1"); /* of a new VM */
        for (int k = 0; k < COUNT_OF; k++)
            vm_job_free(&jobs[k]);
        template_release(count);
        template_release(t);
    }
}

static void test_clear_cache(void **state)
{
    VmBench *b = *state;
    vm_bench_start(b);
    KhronosTemplate *t = vm_template(b, COUNT);
    vm_expect(b, vm_guild(1), t, "1");
    vm_expect(b, vm_guild(1), t, "2");
    vm_do(b, VM_ACTION_CLEAR_CACHE, vm_guild(1), VM_ACTION_DONE);
    vm_expect(b, vm_guild(1), t, "1");
    assert_int_equal(vm_info(b, vm_guild(1)).generation, 1); /* the VM is the same */
    template_release(t);
}

static void test_generations(void **state)
{
    VmBench *b = *state;
    static const VmActionType types[] = {VM_ACTION_EXECUTE, VM_ACTION_GET_STATE, VM_ACTION_DESTROY,
                                         VM_ACTION_CLEAR_CACHE, VM_ACTION_SET_LIMITS};
    static VmJob job;
    vm_bench_start(b);
    KhronosTemplate *t = vm_template(b, COUNT);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(types); i++) {
        vm_expect(b, vm_guild(9), t, "1");
        uint64_t now = vm_info(b, vm_guild(9)).generation;
        assert_int_equal(now, i + 1);
        for (uint64_t generation = 1; generation <= now + 2; generation++) {
            bool gone = generation == now + 2; /* at last: the one that was, when it is gone */
            if (gone)
                vm_do(b, VM_ACTION_DESTROY, vm_guild(9), VM_ACTION_DONE);
            memset(&job, 0, sizeof(job));
            vm_fill(b, &job, types[i], vm_guild(9), t);
            job.action.handle.generation = gone ? now : generation;
            worker_submit(b->worker, &job.action);
            vm_wait_for(&job);
            assert_int_equal(job.action.outcome,
                             generation == now ? VM_ACTION_DONE : VM_ACTION_NOT_FOUND);
            vm_job_free(&job);
        }
    }
    template_release(t);
}

static void test_pause(void **state)
{
    VmBench *b = *state;
    b->options.broken_max = 3;
    b->options.pause_ns = 3600 * CLOCK_NS_PER_S;
    b->options.limits.memory_max_bytes = (size_t)1 << 20;
    vm_bench_start(b);
    static VmJob job;
    KhronosTemplate *eat = vm_template(b, EAT), *count = vm_template(b, COUNT);
    for (int i = 0; i < 4; i++)
        expect_failure(b, vm_guild(7), eat, KHRONOS_MEMORY_LIMIT, VM_MEMORY_LIMIT_EXCEEDED);
    vm_perform(b, &job, VM_ACTION_EXECUTE, vm_guild(7), count);
    assert_int_equal(job.action.outcome, VM_ACTION_PAUSED);
    assert_in_range(job.action.retry_after_ms, 3000000, 3600000);
    vm_job_free(&job);
    vm_expect(b, vm_guild(8), count, "1"); /* others are not paused; and one may still look */
    vm_expect(b, vm_guild(9), count, "1");
    VmInfo info = vm_info(b, vm_guild(7));
    assert_int_equal(info.state, VM_BROKEN);
    assert_int_equal(info.reason, VM_MEMORY_LIMIT_EXCEEDED);
    WorkerStats stats;
    EVENTUALLY((worker_stats(b->worker, &stats), stats.broken[VM_MEMORY_LIMIT_EXCEEDED] == 4));
    assert_int_equal(stats.refused, 1);
    template_release(eat);
    template_release(count);
}

typedef struct Seen {
    atomic_int states[VM_STATES], broken[VM_REASONS], lines;
} Seen;

static void on_state(void *userdata, VmHandle vm, VmState state, VmBrokenReason reason)
{
    Seen *seen = userdata;
    assert_true(vm.guild_id != 0 && vm.generation != 0);
    atomic_fetch_add(&seen->states[state], 1);
    if (state == VM_BROKEN)
        atomic_fetch_add(&seen->broken[reason], 1);
}

static void on_line(void *userdata, uint64_t guild_id, const char *template_name, int level,
                    const char *text, size_t length)
{
    Seen *seen = userdata;
    if (guild_id == vm_guild(1) && strcmp(template_name, "t0") == 0 && level == 0 && length == 5 &&
        memcmp(text, "hello", 5) == 0)
        atomic_fetch_add(&seen->lines, 1);
}

/* Observer, log and idle VMs. */
/* A guild that comes to rest just in time, again and again: it stands still once it used its share
 * of the processor, and nobody else does. */
static void test_share(void **state)
{
    VmBench *b = *state;
    b->options.limits.share_max_ns = 50 * CLOCK_NS_PER_MS;
    vm_bench_start(b);
    KhronosTemplate *greedy = vm_template(
        b, "while true do for i = 1, 20000 do local x = i * i end task.wait() end");
    KhronosTemplate *modest = vm_template(b, "return 1");
    VmJob job = {0}, refused = {0};
    vm_submit(b, &job, VM_ACTION_EXECUTE, vm_guild(1), greedy);
    VmActionOutcome outcome;
    do {
        vm_perform(b, &refused, VM_ACTION_EXECUTE, vm_guild(1), modest);
        outcome = refused.action.outcome;
        assert_true(outcome == VM_ACTION_PAUSED || outcome == VM_ACTION_DONE);
        vm_job_free(&refused);
    } while (outcome == VM_ACTION_DONE);
    assert_true(refused.action.retry_after_ms > 0);
    vm_expect(b, vm_guild(2), modest, "1");
    assert_int_equal(vm_info(b, vm_guild(1)).state, VM_HEALTHY);
    assert_int_equal(atomic_load(&job.completions), 0);
    vm_do(b, VM_ACTION_DESTROY, vm_guild(1), VM_ACTION_DONE);
    vm_wait_for(&job);
    assert_int_equal(job.action.execution.status, KHRONOS_BROKEN);
    vm_job_free(&job);
    template_release(greedy);
    template_release(modest);
}

/* More guilds, one after another, than may have a thread: idle ones make room. */
static void test_idle_guilds_make_room(void **state)
{
    VmBench *b = *state;
    b->options.guild_threads_max = 2;
    vm_bench_start(b);
    KhronosTemplate *t = vm_template(b, "return 1");
    for (int n = 1; n <= 20; n++) {
        VmJob job = {0};
        do { /* a moment is needed for a guild to come to rest */
            vm_perform(b, &job, VM_ACTION_EXECUTE, vm_guild(n), t);
            VmActionOutcome outcome = job.action.outcome;
            assert_true(outcome == VM_ACTION_DONE || outcome == VM_ACTION_QUEUE_FULL);
            vm_job_free(&job);
        } while (job.action.outcome == VM_ACTION_QUEUE_FULL);
    }
    template_release(t);
}

static void test_reports(void **state)
{
    VmBench *b = *state;
    static Seen seen;
    memset(&seen, 0, sizeof(seen));
    b->options.observer = (WorkerObserver){on_state, &seen};
    b->options.log = (KhronosLog){on_line, &seen};
    b->options.limits.memory_max_bytes = (size_t)1 << 20;
    b->options.destroy_idle_ns = 50 * CLOCK_NS_PER_MS;
    vm_bench_start(b);
    KhronosTemplate *hello = vm_template(b, "print('hello') return 1"), *eat = vm_template(b, EAT);
    vm_expect(b, vm_guild(1), hello, "1");
    assert_int_equal(atomic_load(&seen.lines), 1); /* before the completion of what printed it */
    expect_failure(b, vm_guild(2), eat, KHRONOS_MEMORY_LIMIT, VM_MEMORY_LIMIT_EXCEEDED);
    EVENTUALLY(atomic_load(&seen.broken[VM_EXPLICIT_DESTROY]) == 1); /* it was idle */
    EVENTUALLY(vm_info(b, vm_guild(1)).state == VM_BROKEN);
    assert_int_equal(vm_info(b, vm_guild(1)).reason, VM_EXPLICIT_DESTROY);
    assert_int_equal(atomic_load(&seen.broken[VM_MEMORY_LIMIT_EXCEEDED]), 1);
    assert_int_equal(atomic_load(&seen.states[VM_INITIALIZING]), 2);
    assert_int_equal(atomic_load(&seen.states[VM_HEALTHY]), 2);
    assert_int_equal(atomic_load(&seen.states[VM_BROKEN]), 2);
    template_release(hello);
    template_release(eat);
}

static void test_drain(void **state)
{
    VmBench *b = *state;
    enum { JOBS = 200 };
    vm_bench_start(b);
    KhronosTemplate *t = vm_template(b, "for i = 1, 1e4 do end return 'done'");
    VmJob *jobs = calloc(JOBS, sizeof(*jobs));
    for (int i = 0; i < JOBS; i++)
        vm_submit(b, &jobs[i], VM_ACTION_EXECUTE, vm_guild(i % 20), t);
    assert_true(worker_drain(b->worker, 120 * CLOCK_NS_PER_S));
    for (int i = 0; i < JOBS; i++) {
        assert_string_equal(strbuf_cstr(&jobs[i].result), "\"done\"");
        vm_job_free(&jobs[i]);
    }
    vm_do(b, VM_ACTION_DESTROY, vm_guild(1), VM_ACTION_SHUTTING_DOWN);
    free(jobs);
    template_release(t);
}

int main(int argc, char **argv)
{
    if (worker_is_child(argc, argv))
        return worker_child_main(argc, argv, support_sandbox);
    static WorkerStrategy strategies[] = {WORKER_THREAD_POOL, WORKER_THREAD_PER_GUILD,
                                          WORKER_PROCESS_POOL};
    const struct CMUnitTest tests[] = {
        EACH_STRATEGY(test_results),
        EACH_STRATEGY(test_concurrent_executions),
        EACH_STRATEGY(test_control_overtakes),
        EACH_STRATEGY(test_limits),
        EACH_STRATEGY(test_destroy_is_in_order),
        EACH_STRATEGY(test_clear_cache),
        EACH_STRATEGY(test_generations),
        EACH_STRATEGY(test_pause),
        EACH_STRATEGY(test_share),
        EACH_STRATEGY(test_idle_guilds_make_room),
        EACH_STRATEGY(test_reports),
        EACH_STRATEGY(test_drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
