/* What falls due, with the thread and the wall clock. Whether something happens too late is nothing
 * that these tests ask. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "expiry_bench.h"

enum { MINUTE_MS = 60000 };

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Up to a minute, which is for machines that are very busy. */
static bool comes_true(bool (*holds)(ExpiryTest *t, int count), ExpiryTest *t, int count)
{
    for (int i = 0; i < 30000; i++) {
        if (holds(t, count))
            return true;
        nap();
    }
    return false;
}

static bool have_told(ExpiryTest *t, int count)
{
    return expiry_test_stats(t).told == (uint64_t)count;
}

static bool are_gone(ExpiryTest *t, int count)
{
    int gone = 0;
    bench_lock(t->b);
    for (int i = 0; i < t->b->record_count; i++)
        gone += t->b->records[i].gone;
    bench_unlock(t->b);
    return gone == count;
}

static ExpiryTest new_threaded(void)
{
    ExpiryTest t = {.b = bench_new()};
    t.x = expiry_new(&t.b->store, t.b->dispatcher, NULL, NULL);
    assert_non_null(t.x);
    t.b->due_changed = expiry_due_changed;
    t.b->due_userdata = t.x;
    return t;
}

static void test_a_thread_sleeps(void **state)
{
    (void)state;
    ExpiryTest t = new_threaded();
    int64_t now_ms = (int64_t)clock_wall_ms();
    for (int i = 0; i < 100; i++)
        bench_key(t.b, 1, "far", now_ms + 1000 * MINUTE_MS);
    bench_key(t.b, 2, "due", now_ms);
    bench_key(t.b, 2, "soon", now_ms + 20);
    assert_true(comes_true(are_gone, &t, 2));
    /* When it sleeps at last it does not wake again. */
    uint64_t wakes;
    int same = 0;
    for (int i = 0; i < 30000 && same < 50; i++) {
        wakes = expiry_test_stats(&t).wakes;
        nap();
        same = expiry_test_stats(&t).wakes == wakes ? same + 1 : 0;
    }
    assert_int_equal(same, 50);
    assert_int_equal(bench_told(t.b), 2);
    /* Nor for what is due later than what it sleeps for. */
    wakes = expiry_test_stats(&t).wakes;
    for (int i = 0; i < 100; i++)
        bench_key(t.b, 1, "further", now_ms + 2000 * MINUTE_MS);
    for (int i = 0; i < 20; i++)
        nap();
    assert_int_equal(expiry_test_stats(&t).wakes, wakes);
    expiry_test_free(&t);
}

typedef struct Helper {
    ExpiryTest *t;
    pthread_t thread;
    atomic_bool ending;
} Helper;

/* Store and worker, on a thread of their own. */
static void *helper_main(void *arg)
{
    Helper *helper = arg;
    /* Relaxed: what is answered after it was set is as good. */
    while (!atomic_load_explicit(&helper->ending, memory_order_relaxed)) {
        bool any = bench_answer(helper->t->b);
        if (bench_finish(helper->t->b, 7) == 0 && !any)
            sched_yield();
    }
    return NULL;
}

static void start_helper(Helper *helper, ExpiryTest *t)
{
    helper->t = t;
    atomic_init(&helper->ending, false);
    assert_int_equal(pthread_create(&helper->thread, NULL, helper_main, helper), 0);
}

static void end_helper(Helper *helper)
{
    atomic_store_explicit(&helper->ending, true, memory_order_relaxed);
    pthread_join(helper->thread, NULL);
}

static KhronosStatus fail_at_first(Bench *b, const Told *told)
{
    static const char *const FAILS[] = {"expiry-3-1", "expiry-7-1"};
    bool fails = false;
    for (int i = 0; i < 2; i++) {
        if (strcmp(told->id, FAILS[i]) != 0)
            continue;
        bench_lock(b);
        int *seen = (int *)b->run_userdata;
        fails = seen[i]++ == 0;
        bench_unlock(b);
    }
    return fails ? KHRONOS_RUNTIME_ERROR : KHRONOS_OK;
}

static void test_many_threads(void **state)
{
    (void)state;
    enum { KEYS = 2000 };
    Helper helpers[2];
    int seen[2] = {0};
    ExpiryTest t = new_threaded();
    t.b->run = fail_at_first;
    t.b->run_userdata = seen;
    bench_lock(t.b);
    t.b->defer_store = t.b->defer_runs = true;
    bench_unlock(t.b);
    for (int i = 0; i < 2; i++)
        start_helper(&helpers[i], &t);
    int64_t now_ms = (int64_t)clock_wall_ms();
    for (int i = 0; i < KEYS; i++)
        bench_key(t.b, (uint64_t)i % 37 + 1, "k", now_ms + i % 50);
    assert_true(comes_true(are_gone, &t, KEYS));
    assert_true(comes_true(have_told, &t, KEYS + 2));
    assert_int_equal(expiry_test_stats(&t).failed, 2);
    assert_int_equal(bench_told(t.b), KEYS + 2);
    expiry_stop(t.x);
    for (int i = 0; i < 2; i++)
        end_helper(&helpers[i]);
    expiry_test_free(&t);
}

static void test_stopped_in_the_middle(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        Helper helper;
        ExpiryTest t = new_threaded();
        bench_lock(t.b);
        t.b->defer_store = t.b->defer_runs = true;
        bench_unlock(t.b);
        start_helper(&helper, &t);
        int64_t now_ms = (int64_t)clock_wall_ms();
        for (int i = 0; i < 500; i++)
            bench_key(t.b, (uint64_t)i % 5 + 1, "k", now_ms);
        while (bench_told(t.b) < round * 10)
            nap();
        expiry_stop(t.x);
        int told = bench_told(t.b);
        assert_true(are_gone(&t, told));
        end_helper(&helper);
        assert_int_equal(bench_told(t.b), told);
        expiry_test_free(&t);
    }
}

/* From then on nothing reaches the worker, whatever falls due. */
static void test_quiet(void **state)
{
    (void)state;
    ExpiryTest t = new_threaded();
    int64_t now_ms = (int64_t)clock_wall_ms();
    for (int i = 0; i < 200; i++)
        bench_key(t.b, (uint64_t)i + 1, "due", now_ms);
    expiry_due_changed(t.x, now_ms);
    expiry_quiet(t.x);
    int told = bench_told(t.b);
    for (int i = 0; i < 200; i++)
        bench_key(t.b, (uint64_t)i + 1, "more", now_ms);
    expiry_due_changed(t.x, now_ms);
    for (int i = 0; i < 20; i++)
        nap();
    assert_int_equal(bench_told(t.b), told);
    expiry_test_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_thread_sleeps),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_stopped_in_the_middle),
        cmocka_unit_test(test_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
