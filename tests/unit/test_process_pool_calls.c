/* Calls between parent and children of the process-pool, with children that do as they are told. */
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
#include "call_support.h"
#include "process_bench.h"
#include "process_mock.h"
#include "worker/process_child.h"
#include "runtime_support.h"

static TestService *start(PoolBench *b)
{
    TestService *service = test_service_new(&b->options);
    pool_start(b);
    test_service_use_strategy(service, b->pool);
    return service;
}

static void stop(PoolBench *b, TestService *service)
{
    test_service_stop(service);
    pool_stop(b);
    test_service_free(service);
    assert_int_equal(test_calls_live(), 0);
}

static void test_answers(void **state)
{
    PoolBench *b = *state;
    TestService *service = start(b);
    for (int i = 0; i < 20; i++) {
        pool_run_ok(b, pool_guild_of(i % 2, 2, 1), "call now", "re now");
        pool_run_ok(b, pool_guild_of(i % 2, 2, 2), "call later", "re later");
    }
    assert_int_equal(test_service_taken(service), 40);
    assert_int_equal(pool_panics(b), 0);
    stop(b, service);
}

static void expect_refusal(PoolBench *b, const char *command, const char *text)
{
    static Job job;
    KhronosTemplate *t = pool_command(b, command);
    pool_run(b, &job, 1, t);
    pool_wait_for(&job);
    assert_int_equal(job.action.execution.status, KHRONOS_RUNTIME_ERROR);
    if (!strstr(strbuf_cstr(&job.action.execution.message), text))
        fail_msg("%s: %s", command, strbuf_cstr(&job.action.execution.message));
    pool_job_free(&job);
    template_release(t);
}

static void test_refusals(void **state)
{
    PoolBench *b = *state;
    TestService *service = start(b);
    expect_refusal(b, "call refuse", "the service stopped");
    expect_refusal(b, "call large 20000000", "does not fit into a message");
    expect_refusal(b, "call unreadable", "cannot be read");
    pool_run_ok(b, 1, "call now", "re now"); /* and goes on */
    assert_int_equal(pool_panics(b), 0);
    stop(b, service);
}

static void test_malicious_children(void **state)
{
    PoolBench *b = *state;
    const char *const ways[] = {"forge-call-number", "forge-call-guild", "forge-call-kind",
                                "forge-call-bytes",  "forge-call-flood", "forge-answer"};
    TestService *service = start(b);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(ways); i++) {
        static Job job;
        KhronosTemplate *t = pool_command(b, ways[i]);
        pool_run(b, &job, 5, t);
        pool_expect_broken(&job);
        template_release(t);
        assert_int_equal(pool_panics(b), i + 1);
        pool_run_ok(b, 5, "call now", "re now"); /* of the child that came after */
    }
    stop(b, service);
}

/* Where nothing serves calls an honest child makes none. */
static void test_unwanted(void **state)
{
    PoolBench *b = *state;
    static Job job;
    pool_start(b);
    KhronosTemplate *t = pool_command(b, "forge-call");
    pool_run(b, &job, 5, t);
    pool_expect_broken(&job);
    template_release(t);
    assert_int_equal(pool_panics(b), 1);
    assert_int_equal(test_calls_live(), 0);
}

/* The child that asked is gone when the answer comes: its successor hears nothing of it. */
static void test_lost_children(void **state)
{
    PoolBench *b = *state;
    enum { ROUNDS = 5 };
    TestService *service = start(b);
    for (int i = 0; i < ROUNDS; i++) {
        static Job job;
        KhronosTemplate *t = pool_command(b, "call never");
        pool_run(b, &job, 5, t);
        WAIT_UNTIL(test_service_held(service) == 1);
        kill(process_pool_pid(b->pool, 0), SIGKILL);
        pool_expect_broken(&job);
        template_release(t);
        if (i % 2) /* while there may be no child at all */
            test_service_release(service);
        pool_run_ok(b, 5, "call now", "re now");
        test_service_release(service);
        pool_run_ok(b, 5, "call later", "re later");
        WAIT_UNTIL(test_calls_live() == 0);
    }
    assert_int_equal(pool_panics(b), ROUNDS);
    stop(b, service);
}

/* Stopped while a call is under way that is refused only then. */
static void test_stop(void **state)
{
    PoolBench *b = *state;
    static Job job;
    TestService *service = start(b);
    KhronosTemplate *t = pool_command(b, "call never");
    pool_run(b, &job, 5, t);
    WAIT_UNTIL(test_service_held(service) == 1);
    assert_false(b->pool->ops->drain(b->pool, CLOCK_NS_PER_MS));
    stop(b, service);
    pool_wait_for(&job);
    assert_int_not_equal(job.action.execution.status, KHRONOS_OK);
    pool_job_free(&job);
    template_release(t);
}

/* The observer hears why the VM before was lost, also from a child that cannot know. */
typedef struct Reasons {
    pthread_mutex_t lock;
    int count;
    VmBrokenReason last;
} Reasons;

static void on_state(void *userdata, VmHandle vm, VmState state, VmBrokenReason reason)
{
    Reasons *seen = userdata;
    (void)vm;
    if (state != VM_HEALTHY)
        return;
    pthread_mutex_lock(&seen->lock);
    seen->count++;
    seen->last = reason;
    pthread_mutex_unlock(&seen->lock);
}

static void expect_healthy(Reasons *seen, int count, VmBrokenReason reason)
{
    pthread_mutex_lock(&seen->lock);
    assert_int_equal(seen->count, count);
    assert_int_equal(seen->last, reason);
    pthread_mutex_unlock(&seen->lock);
}

static void test_former_reasons(void **state)
{
    PoolBench *b = *state;
    static Reasons seen = {.lock = PTHREAD_MUTEX_INITIALIZER};
    static Job job;
    b->options.observer = (WorkerObserver){on_state, &seen};
    pool_start(b);
    pool_run_ok(b, 5, "count", "1");
    expect_healthy(&seen, 1, VM_NOT_BROKEN);
    KhronosTemplate *t = pool_command(b, "kill");
    pool_run(b, &job, 5, t);
    pool_expect_broken(&job);
    template_release(t);
    pool_run_ok(b, 5, "count", "1");
    expect_healthy(&seen, 2, VM_PANIC_RECOVERY);
    pool_fill(b, &job, VM_ACTION_DESTROY, 5, NULL);
    pool_submit(b, &job);
    pool_wait_for(&job);
    pool_run_ok(b, 5, "count", "1");
    expect_healthy(&seen, 3, VM_EXPLICIT_DESTROY);
    pool_run_ok(b, 9, "count", "1");
    expect_healthy(&seen, 4, VM_NOT_BROKEN);
}

static void test_tables(void **state)
{
    (void)state;
    CallTable table;
    KhronosCall *call = NULL, *mine = &test_call_new("x", 1)->call;
    calltable_init(&table);
    assert_false(calltable_take(&table, 0, &call));
    assert_false(calltable_take(&table, 1, &call));
    assert_int_equal(calltable_add(&table, mine, 10), 1);
    assert_int_equal(calltable_add(&table, NULL, POOL_CALLS_BYTES_MAX - 11), 2);
    assert_true(calltable_has_room(&table, 1));
    assert_false(calltable_has_room(&table, 2));
    assert_false(calltable_has_room(&table, SIZE_MAX));
    assert_true(calltable_take(&table, 1, &call));
    assert_ptr_equal(call, mine);
    assert_false(calltable_take(&table, 1, &call));
    assert_true(calltable_has_room(&table, 11));
    for (uint64_t i = 3; table.notes.count < POOL_CALLS_MAX; i++)
        assert_int_equal(calltable_add(&table, NULL, 0), i);
    assert_false(calltable_has_room(&table, 0));
    assert_int_equal(calltable_add(&table, mine, 0), POOL_CALLS_MAX + 2);
    calltable_free(&table); /* with what is in it */
    assert_int_equal(test_calls_live(), 0);
}

int main(int argc, char **argv)
{
    if (worker_is_child(argc, argv))
        return process_child_serve(support_sandbox, process_mock_new);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables), POOL_TEST(test_answers),
        POOL_TEST(test_refusals),      POOL_TEST(test_malicious_children),
        POOL_TEST(test_unwanted),      POOL_TEST(test_lost_children),
        POOL_TEST(test_stop),          POOL_TEST(test_former_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
