/* What falls due while guilds, or the store, can do nothing; on a clock of the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "expiry_bench.h"

enum { SECOND_MS = 1000, MINUTE_MS = 60000 };

/* ---- Guilds that take nothing -----------------------------------------------------------------
 */

static void check_refusal(VmActionOutcome refusal, uint64_t says_ms, int64_t waits_ms)
{
    ExpiryTest t = expiry_test_new();
    t.b->refusal = refusal;
    t.b->refusal_ms = says_ms;
    for (int i = 0; i < 40; i++) {
        NumberedKey key = numbered_key(i);
        bench_key(t.b, 1, key.text, BENCH_EPOCH_MS - 100 + i);
    }
    expiry_test_poll(&t);
    assert_int_equal(t.next_ms, BENCH_EPOCH_MS + waits_ms);
    /* Nothing is written for it. */
    assert_int_equal(t.b->requests[STORE_DUE_RETRY], 0);
    t.b->refusal = VM_ACTION_DONE;
    bench_key(t.b, 2, "other", BENCH_EPOCH_MS); /* others do not wait */
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 1);
    expiry_test_pass(&t, waits_ms - 1);
    assert_int_equal(bench_told(t.b), 1);
    expiry_test_pass(&t, 1);
    assert_int_equal(bench_told(t.b), 41);
    for (int i = 0; i < 40; i++) {
        NumberedKey key = numbered_key(i);
        expiry_assert_told(&t, i + 1, 1, key.text);
        assert_true(bench_record(t.b, i + 1).gone);
    }
    assert_int_equal(expiry_test_stats(&t).told, 41);
    assert_int_equal(expiry_test_stats(&t).failed, 0);
    expiry_test_free(&t);
}

static void test_refusals(void **state)
{
    (void)state;
    check_refusal(VM_ACTION_QUEUE_FULL, 77, 77);
    check_refusal(VM_ACTION_PAUSED, 30000, 30000);
    check_refusal(VM_ACTION_VM_BROKEN, 0, 1000);
    check_refusal(VM_ACTION_SHUTTING_DOWN, 0, 1000);
    check_refusal(VM_ACTION_NO_MEMORY, 0, 1000);
}

/* Templates that cannot be had: asked again after growing delays. */
static void test_unavailable(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    t.b->templates_fail = true;
    int64_t id = bench_key(t.b, 1, "k", BENCH_EPOCH_MS);
    int64_t delay = SECOND_MS;
    for (int i = 0; i < 10; i++) {
        expiry_test_poll(&t);
        assert_int_equal(t.next_ms, t.b->now_ms + delay);
        t.b->now_ms = t.next_ms;
        delay = delay * 2 < MINUTE_MS ? delay * 2 : MINUTE_MS;
    }
    assert_int_equal(bench_record(t.b, id).attempts, 0);
    t.b->templates_fail = false;
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 1);
    assert_true(bench_record(t.b, id).gone);
    expiry_test_free(&t);
}

/* ---- Failures of the store --------------------------------------------------------------------
 */

static const StoreStatus OUTAGES[] = {STORE_QUEUE_FULL, STORE_DISK_FULL, STORE_LOCKED,
                                      STORE_READ_ONLY,  STORE_GONE,      STORE_NO_MEMORY};

/* Each kind of request fails three times, in each way: everything is told once all the same. */
static void test_outages(void **state)
{
    static const StoreOp OPS[] = {STORE_DUE_TAKE,     STORE_DUE_NEXT, STORE_KV,
                                  STORE_SCHEDULE_GET, STORE_DUE_DONE, STORE_DUE_RETRY};
    (void)state;
    for (size_t op = 0; op < sizeof(OPS) / sizeof(OPS[0]); op++) {
        for (size_t way = 0; way < sizeof(OUTAGES) / sizeof(OUTAGES[0]); way++) {
            ExpiryTest t = expiry_test_new();
            bench_fail(t.b, OPS[op], OUTAGES[way], 3);
            if (OPS[op] == STORE_DUE_RETRY)
                t.b->run = bench_run_fails;
            for (int i = 0; i < 20; i++)
                bench_key(t.b, (uint64_t)i / 5 + 1, "k", BENCH_EPOCH_MS);
            bench_schedule(t.b, 9, "s", BENCH_EPOCH_MS, 0);
            /* One, two and four seconds, but for those that several were under way of. */
            expiry_test_pass(&t, 500);
            t.b->run = NULL;
            expiry_test_pass(&t, 15 * SECOND_MS);
            assert_int_equal(t.b->fails_left[OPS[op]], 0);
            for (int64_t id = 1; id <= 21; id++)
                assert_true(bench_record(t.b, id).gone);
            assert_int_equal(bench_told(t.b), OPS[op] == STORE_DUE_RETRY ? 42 : 21);
            assert_int_equal(t.next_ms, STORE_NO_TIME);
            expiry_test_free(&t);
        }
    }
}

/* A long one: few requests, and no more told than may be under way. */
static void test_a_long_outage(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    for (int i = 0; i < 3000; i++)
        bench_key(t.b, (uint64_t)i + 1, "k", BENCH_EPOCH_MS);
    bench_fail(t.b, STORE_DUE_DONE, STORE_DISK_FULL, 1 << 30);
    expiry_test_poll(&t);
    int before = t.b->requests[STORE_DUE_DONE];
    expiry_test_pass(&t, 60 * MINUTE_MS);
    assert_in_range(t.b->requests[STORE_DUE_DONE] - before, 60, 70);
    assert_int_equal(bench_told(t.b), EXPIRY_UNDER_WAY_MAX);
    bench_fail(t.b, STORE_DUE_DONE, STORE_OK, 0);
    expiry_test_pass(&t, MINUTE_MS);
    assert_int_equal(bench_told(t.b), 3000);
    for (int64_t id = 1; id <= 3000; id++)
        assert_true(bench_record(t.b, id).gone);
    expiry_test_free(&t);
}

/* One damaged record is its own trouble, not everyone's. */
static void test_a_damaged_record(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    bench_key(t.b, 1, "damaged", BENCH_EPOCH_MS - 1);
    bench_key(t.b, 1, "sound", BENCH_EPOCH_MS);
    bench_fail(t.b, STORE_KV, STORE_CORRUPT, 1);
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 1);
    expiry_assert_told(&t, 0, 1, "sound");
    assert_int_equal(bench_record(t.b, 1).attempts, 1);
    expiry_test_pass(&t, SECOND_MS);
    assert_true(bench_record(t.b, 1).gone);
    /* The same when it is to be noted: told once, noted later, and no attempt. */
    int64_t id = bench_key(t.b, 1, "third", t.b->now_ms);
    bench_fail(t.b, STORE_DUE_DONE, STORE_CORRUPT, 2);
    expiry_test_poll(&t);
    bench_key(t.b, 1, "fourth", t.b->now_ms);
    expiry_test_pass(&t, MINUTE_MS);
    assert_true(bench_record(t.b, id).gone);
    assert_int_equal(bench_told(t.b), 4);
    expiry_test_free(&t);
}

/* After a crash what was taken is told again, under the same name. */
static void test_a_crash(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    bench_key(t.b, 1, "k", BENCH_EPOCH_MS);
    bench_fail(t.b, STORE_DUE_DONE, STORE_DISK_FULL, 1 << 30);
    expiry_test_poll(&t);
    expiry_free(t.x); /* which stops it; the note is given up */
    bench_fail(t.b, STORE_DUE_DONE, STORE_OK, 0);
    bench_reopen(t.b);
    t.x = expiry_new(&t.b->store, t.b->dispatcher, bench_clock, t.b);
    t.b->due_userdata = t.x;
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 2);
    assert_string_equal(bench_told_at(t.b, 0).id, bench_told_at(t.b, 1).id);
    assert_true(bench_record(t.b, 1).gone);
    expiry_test_free(&t);
}

/* ---- The end ----------------------------------------------------------------------------------
 */

static void test_stopped_at_each_point(void **state)
{
    (void)state;
    for (int answers = 0; answers < 6; answers++) {
        ExpiryTest t = expiry_test_new();
        for (int i = 0; i < 100; i++)
            bench_key(t.b, (uint64_t)i / 50 + 1, "k", BENCH_EPOCH_MS);
        t.b->defer_store = true;
        for (int i = 0; i < answers; i++) {
            expiry_test_poll(&t);
            bench_answer(t.b);
        }
        t.b->defer_store = false;
        bench_answer(t.b);
        expiry_stop(t.x);
        int told = bench_told(t.b), gone = 0;
        for (int64_t id = 1; id <= 100; id++)
            gone += bench_record(t.b, id).gone;
        assert_int_equal(told, gone); /* what was told is noted, what was not stays due */
        expiry_test_poll(&t);
        assert_int_equal(bench_told(t.b), told);
        expiry_test_free(&t);
    }
}

/* ---- Room -------------------------------------------------------------------------------------
 */

/* Two guilds with more than all the room and a worker that takes nothing: there is still room for
 * a third. */
static void test_room_for_others(void **state)
{
    (void)state;
    ExpiryStats stats;
    ExpiryTest t = expiry_test_new();
    t.b->defer_runs = true;
    enum { EACH = 20000, GREEDY = 10 };
    for (uint64_t guild = 1; guild <= GREEDY; guild++)
        for (int i = 0; i < EACH; i++)
            bench_key(t.b, guild, "k", BENCH_EPOCH_MS - MINUTE_MS);
    bench_key(t.b, 99, "small", BENCH_EPOCH_MS);
    expiry_test_poll(&t);
    int small = 0;
    for (int i = 0; i < t.b->told_count; i++)
        small += t.b->told[i].guild_id == 99;
    assert_int_equal(small, 1);
    assert_int_equal(bench_told(t.b), GREEDY * EXPIRY_PER_GUILD + 1);
    expiry_stats(t.x, &stats);
    assert_int_equal(stats.told, 0);
    bench_finish(t.b, 1 << 20);
    t.b->defer_runs = false;
    expiry_test_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_unavailable),
        cmocka_unit_test(test_outages),
        cmocka_unit_test(test_a_long_outage),
        cmocka_unit_test(test_a_damaged_record),
        cmocka_unit_test(test_a_crash),
        cmocka_unit_test(test_stopped_at_each_point),
        cmocka_unit_test(test_room_for_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
