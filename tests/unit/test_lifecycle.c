/* What is told of VMs: which events reach a worker of the test's, after which VMs. The worker makes
 * no VMs; the test says when one was made, as the worker would: before the event runs that it was
 * made for.
 *
 * There is a thread, whose rest is found out with marks: guilds of no other use are told of VMs,
 * one after another. When theirs has arrived, all that was to be done before has had its turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "expiry_bench.h"
#include "worker/lifecycle.h"

enum { MARK = 1000000, MARKS = 8 };

typedef struct Test {
    Bench *b;
    Lifecycle *l;
    uint64_t mark;
} Test;

static Test new_test(void)
{
    Test t = {.b = bench_new(), .mark = MARK};
    t.l = lifecycle_new(&t.b->store, t.b->dispatcher);
    assert_non_null(t.l);
    return t;
}

static void defer(Test *t, bool runs)
{
    bench_lock(t->b);
    t->b->defer_runs = runs;
    bench_unlock(t->b);
}

static void free_test(Test *t)
{
    defer(t, false);
    lifecycle_stop(t->l);
    bench_finish(t->b, 1 << 20);
    lifecycle_free(t->l);
    bench_free(t->b);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* How often the guild was told that event. */
static int told(Test *t, uint64_t guild_id, const char *name)
{
    int count = 0;
    bench_lock(t->b);
    for (int i = 0; i < t->b->told_count; i++)
        count += t->b->told[i].guild_id == guild_id && strcmp(t->b->told[i].name, name) == 0;
    bench_unlock(t->b);
    return count;
}

/* Up to a minute, which is for machines that are very busy. */
static void wait_told(Test *t, uint64_t guild_id, const char *name, int count)
{
    for (int i = 0; i < 60000 && told(t, guild_id, name) < count; i++)
        nap();
    assert_int_equal(told(t, guild_id, name), count);
}

static void made(Test *t, uint64_t guild_id, VmBrokenReason before)
{
    lifecycle_state(t->l, (VmHandle){guild_id, 1}, VM_HEALTHY, before);
}

static void settle(Test *t)
{
    for (int i = 0; i < MARKS; i++) {
        made(t, ++t->mark, VM_NOT_BROKEN);
        wait_told(t, t->mark, "OnStartup", 1);
    }
}

/* Ends all runs but those of marks: the first of them with that status. */
static KhronosStatus status_of(Bench *b, const Told *told)
{
    KhronosStatus status = KHRONOS_OK;
    bench_lock(b);
    if (told->guild_id < MARK && b->run_userdata)
        status = *(KhronosStatus *)b->run_userdata;
    bench_unlock(b);
    return status;
}

static void finish(Test *t, int count, KhronosStatus status)
{
    bench_lock(t->b);
    t->b->run = status_of;
    t->b->run_userdata = &status;
    bench_unlock(t->b);
    bench_finish(t->b, count);
    bench_lock(t->b);
    t->b->run_userdata = NULL;
    bench_unlock(t->b);
}

static void assert_told(Test *t, uint64_t guild_id, int startups, int resumes)
{
    settle(t);
    assert_int_equal(told(t, guild_id, "OnStartup"), startups);
    assert_int_equal(told(t, guild_id, "KeyResume"), resumes);
}

static void test_startup_and_its_reasons(void **state)
{
    static const struct {
        VmBrokenReason reason;
        const char *data;
    } CASES[] = {
        {VM_NOT_BROKEN, "{\"reason\":\"first run\"}"},
        {VM_MEMORY_LIMIT_EXCEEDED, "{\"reason\":\"memory limit exceeded\"}"},
        {VM_EXPLICIT_DESTROY, "{\"reason\":\"explicit destroy\"}"},
    };
    (void)state;
    Test t = new_test();
    for (uint64_t i = 0; i < 3; i++) {
        lifecycle_state(t.l, (VmHandle){i + 1, 1}, VM_INITIALIZING, CASES[i].reason);
        made(&t, i + 1, CASES[i].reason);
        lifecycle_state(t.l, (VmHandle){i + 1, 1}, VM_BROKEN, VM_MEMORY_LIMIT_EXCEEDED);
        settle(&t);
        assert_int_equal(told(&t, i + 1, "OnStartup"), 1);
    }
    for (int i = 0, found = 0; i < bench_told(t.b); i++) {
        Told event = bench_told_at(t.b, i);
        if (event.guild_id < MARK)
            assert_string_equal(event.data, CASES[found++].data);
    }
    free_test(&t);
}

static void test_keys_at_the_start(void **state)
{
    (void)state;
    Test t = new_test();
    t.b->page_max = 3;
    for (uint64_t guild = 1; guild <= 10; guild++)
        for (int i = 0; i < 7; i++)
            bench_resume(t.b, guild, "k");
    bench_key(t.b, 11, "other", STORE_NO_TIME);
    settle(&t);
    assert_int_equal(bench_told_named(t.b, "KeyResume"), 0);
    lifecycle_start(t.l);
    for (uint64_t guild = 1; guild <= 10; guild++)
        wait_told(&t, guild, "KeyResume", 7);
    assert_told(&t, 1, 0, 7);
    assert_int_equal(bench_told_named(t.b, "KeyResume"), 70);
    int first = 0;
    while (bench_told_at(t.b, first).guild_id != 1)
        first++;
    assert_string_equal(bench_told_at(t.b, first).data,
                        "{\"id\":\"1\",\"key\":\"k\",\"scopes\":[\"k\"]}");
    assert_string_equal(bench_told_at(t.b, first).scopes, "[\"k\"]");
    free_test(&t);
}

/* The VM that the first KeyResume makes gets OnStartup, and no second round. */
static void test_the_vm_of_a_resume(void **state)
{
    (void)state;
    Test t = new_test();
    for (int i = 0; i < 40; i++)
        bench_resume(t.b, 1, "k");
    defer(&t, true);
    lifecycle_start(t.l);
    wait_told(&t, 1, "KeyResume", 16);
    made(&t, 1, VM_NOT_BROKEN);
    while (told(&t, 1, "KeyResume") < 40)
        bench_finish(t.b, 1);
    wait_told(&t, 1, "OnStartup", 1);
    bench_finish(t.b, 1 << 20);
    assert_told(&t, 1, 1, 40);
    /* The next one, of somebody else's event, gets all. */
    defer(&t, false);
    bench_finish(t.b, 1 << 20);
    settle(&t);
    made(&t, 1, VM_EXPLICIT_DESTROY);
    wait_told(&t, 1, "KeyResume", 80);
    assert_told(&t, 1, 2, 80);
    free_test(&t);
}

/* A guild whose VM was made before its turn came at the start. */
static void test_a_vm_before_the_start(void **state)
{
    (void)state;
    Test t = new_test();
    bench_resume(t.b, 1, "k");
    bench_resume(t.b, 2, "k");
    made(&t, 1, VM_NOT_BROKEN);
    wait_told(&t, 1, "KeyResume", 1);
    lifecycle_start(t.l);
    wait_told(&t, 2, "KeyResume", 1);
    assert_told(&t, 1, 1, 1);
    assert_told(&t, 2, 0, 1);
    free_test(&t);
}

/* An OnStartup that breaks its VM is told again when others make the next, and not before. */
static void test_a_startup_that_breaks(void **state)
{
    (void)state;
    Test t = new_test();
    bench_resume(t.b, 1, "k");
    defer(&t, true);
    made(&t, 1, VM_NOT_BROKEN);
    wait_told(&t, 1, "OnStartup", 1);
    wait_told(&t, 1, "KeyResume", 1);
    finish(&t, 1, KHRONOS_MEMORY_LIMIT);   /* OnStartup */
    made(&t, 1, VM_MEMORY_LIMIT_EXCEEDED); /* for the KeyResume */
    finish(&t, 1, KHRONOS_OK);
    defer(&t, false);
    finish(&t, 1 << 20, KHRONOS_OK);
    assert_told(&t, 1, 1, 1);
    made(&t, 1, VM_MEMORY_LIMIT_EXCEEDED);
    wait_told(&t, 1, "KeyResume", 2);
    assert_told(&t, 1, 2, 2);
    free_test(&t);
}

/* Handlers that break every VM, all of them: it ends. */
static KhronosStatus break_all(Bench *b, const Told *told)
{
    Lifecycle *l = b->run_userdata;
    if (told->guild_id >= MARK)
        return KHRONOS_OK;
    lifecycle_state(l, (VmHandle){told->guild_id, 1}, VM_BROKEN, VM_PANIC_RECOVERY);
    /* The next event of the guild makes one; nobody is told to be to blame. */
    lifecycle_state(l, (VmHandle){told->guild_id, 1}, VM_HEALTHY, VM_PANIC_RECOVERY);
    return KHRONOS_BROKEN;
}

static void test_vms_that_break_for_ever(void **state)
{
    (void)state;
    Test t = new_test();
    for (int i = 0; i < 30; i++)
        bench_resume(t.b, 1, "k");
    bench_lock(t.b);
    t.b->run = break_all;
    t.b->run_userdata = t.l;
    bench_unlock(t.b);
    made(&t, 1, VM_NOT_BROKEN);
    int before = -1, now;
    for (int i = 0; i < 1000; i++) {
        settle(&t);
        now = told(&t, 1, "OnStartup") + told(&t, 1, "KeyResume");
        if (now == before)
            break;
        before = now;
    }
    assert_int_equal(now, before);
    /* Two rounds, and what was told in vain while the next VM was there. */
    assert_in_range(now, 31, 2 * 31 + 2 * 16);
    free_test(&t);
}

/* Somebody else breaks the VM in the middle: what it had been told is told to the next one, and
 * what was not begun is not told twice. */
static void test_broken_by_others_in_the_middle(void **state)
{
    (void)state;
    Test t = new_test();
    for (int i = 0; i < 20; i++)
        bench_resume(t.b, 1, "k");
    defer(&t, true);
    made(&t, 1, VM_NOT_BROKEN);
    wait_told(&t, 1, "KeyResume", 15); /* and OnStartup: 16 */
    finish(&t, 6, KHRONOS_OK);         /* OnStartup and five keys */
    wait_told(&t, 1, "KeyResume", 20);
    settle(&t);
    made(&t, 1, VM_MEMORY_LIMIT_EXCEEDED);
    wait_told(&t, 1, "OnStartup", 2);
    defer(&t, false);
    finish(&t, 1 << 20, KHRONOS_OK);
    wait_told(&t, 1, "KeyResume", 25);
    assert_told(&t, 1, 2, 25);
    int times[21] = {0};
    for (int i = 0; i < bench_told(t.b); i++) {
        int id;
        if (sscanf(bench_told_at(t.b, i).data, "{\"id\":\"%d\"", &id) == 1)
            times[id]++;
    }
    for (int id = 1; id <= 20; id++)
        assert_int_equal(times[id], id <= 5 ? 2 : 1);
    free_test(&t);
}

/* A handler that waits for ever, and is lost with its VM: as long as it waits nothing is said. */
static void test_lost_while_it_waited(void **state)
{
    (void)state;
    Test t = new_test();
    bench_resume(t.b, 1, "k");
    defer(&t, true);
    for (int vms = 1; vms <= 5; vms++) {
        made(&t, 1, vms == 1 ? VM_NOT_BROKEN : VM_PANIC_RECOVERY);
        wait_told(&t, 1, "KeyResume", vms);
        assert_told(&t, 1, vms, vms);
        finish(&t, 1 << 20, KHRONOS_BROKEN);
    }
    free_test(&t);
}

static void refuse(Test *t, VmActionOutcome refusal)
{
    bench_lock(t->b);
    t->b->refusal = refusal;
    t->b->refusal_ms = 2;
    bench_unlock(t->b);
}

static void test_refused_at_first(void **state)
{
    (void)state;
    Test t = new_test();
    for (int i = 0; i < 20; i++)
        bench_resume(t.b, 1, "k");
    bench_delete(t.b, 20);
    refuse(&t, VM_ACTION_QUEUE_FULL);
    made(&t, 1, VM_NOT_BROKEN);
    nap();
    refuse(&t, VM_ACTION_DONE);
    wait_told(&t, 1, "KeyResume", 19);
    assert_told(&t, 1, 1, 19);
    free_test(&t);
}

/* Too often: it is dropped, and the next VM is told of. */
static void test_refused_too_often(void **state)
{
    (void)state;
    Test t = new_test();
    bench_resume(t.b, 1, "k");
    refuse(&t, VM_ACTION_PAUSED);
    made(&t, 1, VM_NOT_BROKEN);
    for (int i = 0; i < 200; i++)
        nap();
    refuse(&t, VM_ACTION_DONE);
    settle(&t);
    int startups = told(&t, 1, "OnStartup"); /* 0, unless this machine is very busy */
    made(&t, 1, VM_EXPLICIT_DESTROY);
    wait_told(&t, 1, "OnStartup", startups + 1);
    free_test(&t);
}

static void test_the_store_fails(void **state)
{
    (void)state;
    Test t = new_test();
    bench_resume(t.b, 1, "k");
    bench_resume(t.b, 2, "k");
    bench_fail(t.b, STORE_RESUMERS, STORE_LOCKED, 1);
    bench_fail(t.b, STORE_KV_RESUMES, STORE_LOCKED, 1);
    lifecycle_start(t.l);
    wait_told(&t, 1, "KeyResume", 1);
    wait_told(&t, 2, "KeyResume", 1);
    assert_told(&t, 1, 0, 1);
    free_test(&t);
}

static void test_nobody_listens(void **state)
{
    (void)state;
    Test t = new_test();
    t.b->matching = 0;
    for (int i = 0; i < 50; i++)
        bench_resume(t.b, 1, "k");
    made(&t, 1, VM_NOT_BROKEN);
    lifecycle_start(t.l);
    for (int i = 0; i < 60000; i++) {
        DispatcherStats stats;
        dispatcher_stats(t.b->dispatcher, &stats);
        if (stats.dispatched >= 51)
            break;
        nap();
    }
    assert_int_equal(bench_told(t.b), 0);
    free_test(&t);
}

static void test_without_a_store(void **state)
{
    (void)state;
    Test t = {.b = bench_new(), .mark = MARK};
    t.l = lifecycle_new(NULL, t.b->dispatcher);
    lifecycle_start(t.l);
    made(&t, 1, VM_NOT_BROKEN);
    made(&t, 2, VM_NOT_BROKEN);
    assert_told(&t, 1, 1, 0);
    assert_told(&t, 2, 1, 0);
    free_test(&t);
}

static void *make_vms(void *arg)
{
    Test *t = arg;
    for (uint64_t i = 0; i < 3000; i++)
        made(t, i % 100 + 1, VM_EXPLICIT_DESTROY);
    return NULL;
}

static void test_stopped_in_the_middle(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        Test t = new_test();
        pthread_t threads[3];
        for (int i = 0; i < 300; i++)
            bench_resume(t.b, (uint64_t)i % 100 + 1, "k");
        lifecycle_start(t.l);
        for (int i = 0; i < 3; i++)
            pthread_create(&threads[i], NULL, make_vms, &t);
        if (round % 2) /* at least 400 come: VMs made before a round begins are told of once */
            while (bench_told(t.b) < round * 40)
                nap();
        lifecycle_stop(t.l);
        int count = bench_told(t.b);
        for (int i = 0; i < 3; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(bench_told(t.b), count);
        free_test(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_startup_and_its_reasons),
        cmocka_unit_test(test_keys_at_the_start),
        cmocka_unit_test(test_the_vm_of_a_resume),
        cmocka_unit_test(test_a_vm_before_the_start),
        cmocka_unit_test(test_a_startup_that_breaks),
        cmocka_unit_test(test_vms_that_break_for_ever),
        cmocka_unit_test(test_broken_by_others_in_the_middle),
        cmocka_unit_test(test_lost_while_it_waited),
        cmocka_unit_test(test_refused_at_first),
        cmocka_unit_test(test_refused_too_often),
        cmocka_unit_test(test_the_store_fails),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_without_a_store),
        cmocka_unit_test(test_stopped_in_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
