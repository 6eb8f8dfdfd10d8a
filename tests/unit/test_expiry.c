/* What falls due, on a clock and with a store and a worker of the test's: nothing here waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "expiry_bench.h"
#include "worker/expiry_event.h"

enum { SECOND_MS = 1000, MINUTE_MS = 60000 };

/* ---- Events -----------------------------------------------------------------------------------
 */

static void test_times_as_text(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } CASES[] = {
        {0, "1970-01-01T00:00:00Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {951782400000, "2000-02-29T00:00:00Z"},
        {951868800000, "2000-03-01T00:00:00Z"},
        {1795364774123, "2026-11-22T16:26:14.123Z"},
        {4107542399000, "2100-02-28T23:59:59Z"},
        {4107542400000, "2100-03-01T00:00:00Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {-62167219200000, "0000-01-01T00:00:00Z"},
        {INT64_MIN, "0000-01-01T00:00:00Z"},
    };
    (void)state;
    char text[EXPIRY_TIME_SIZE];
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        expiry_event_time(CASES[i].ms, text);
        assert_string_equal(text, CASES[i].text);
    }
    /* Against the C library, some 11 hours apart. */
    for (int64_t s = -3000000000; s < 9000000000; s += 41234567) {
        char wanted[64];
        struct tm tm;
        gmtime_r(&(time_t){s}, &tm);
        strftime(wanted, sizeof(wanted), "%Y-%m-%dT%H:%M:%SZ", &tm);
        expiry_event_time(s * 1000, text);
        assert_string_equal(text, wanted);
    }
}

static void test_events(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    int64_t key = bench_key(t.b, 7, "a\"b", BENCH_EPOCH_MS);
    int64_t schedule = bench_schedule(t.b, 8, "daily", BENCH_EPOCH_MS, 0);
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 2);
    Told told = bench_told_at(t.b, 0);
    assert_string_equal(told.name, "KeyExpiry");
    assert_string_equal(told.data, "{\"id\":\"1\",\"key\":\"a\\\"b\",\"scopes\":[\"a\\\"b\"],"
                                   "\"value\":{\"n\":1}}");
    assert_string_equal(told.scopes, "[\"a\\\"b\"]");
    assert_string_equal(told.id, "expiry-1-1");
    told = bench_told_at(t.b, 1);
    assert_string_equal(told.name, "Scheduled");
    assert_string_equal(told.data,
                        "{\"name\":\"daily\",\"due_at\":\"1970-01-12T13:46:40Z\",\"attempt\":1}");
    assert_string_equal(told.scopes, "[\"daily\"]");
    assert_string_equal(told.id, "schedule-2-1");
    assert_true(bench_record(t.b, key).gone);
    assert_true(bench_record(t.b, schedule).gone);
    assert_int_equal(t.next_ms, STORE_NO_TIME);
    expiry_test_free(&t);
}

/* ---- When -------------------------------------------------------------------------------------
 */

static void test_in_the_order_of_their_times(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    bench_key(t.b, 1, "later", BENCH_EPOCH_MS + 3000);
    bench_key(t.b, 1, "first", BENCH_EPOCH_MS + 1000);
    bench_key(t.b, 1, "never", STORE_NO_TIME);
    bench_key(t.b, 1, "second", BENCH_EPOCH_MS + 2000);
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 0);
    assert_int_equal(t.next_ms, BENCH_EPOCH_MS + 1000);
    expiry_test_pass(&t, 999);
    assert_int_equal(bench_told(t.b), 0);
    expiry_test_pass(&t, 1);
    assert_int_equal(bench_told(t.b), 1);
    expiry_test_pass(&t, 5000);
    assert_int_equal(bench_told(t.b), 3);
    expiry_assert_told(&t, 0, 1, "first");
    expiry_assert_told(&t, 1, 1, "second");
    expiry_assert_told(&t, 2, 1, "later");
    assert_int_equal(t.next_ms, STORE_NO_TIME);
    expiry_test_free(&t);
}

/* Something earlier than all that was known, told by the store. */
static void test_a_hint(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    bench_key(t.b, 1, "far", BENCH_EPOCH_MS + MINUTE_MS);
    expiry_test_poll(&t);
    bench_key(t.b, 1, "near", BENCH_EPOCH_MS + SECOND_MS);
    expiry_test_poll(&t);
    assert_int_equal(t.next_ms, BENCH_EPOCH_MS + SECOND_MS);
    /* The same while the store is asked, and knows nothing of it yet. */
    t.b->defer_store = true;
    expiry_test_pass(&t, SECOND_MS);
    bench_key(t.b, 1, "nearer", BENCH_EPOCH_MS + SECOND_MS + 5);
    t.b->defer_store = false;
    bench_answer(t.b);
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 1);
    assert_int_equal(t.next_ms, BENCH_EPOCH_MS + SECOND_MS + 5);
    expiry_test_pass(&t, MINUTE_MS);
    assert_int_equal(bench_told(t.b), 3);
    expiry_test_free(&t);
}

static void test_nothing_due_asks_nothing(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    for (int i = 0; i < 1000; i++)
        bench_key(t.b, 1, "k", BENCH_EPOCH_MS + MINUTE_MS);
    expiry_test_poll(&t);
    int takes = t.b->requests[STORE_DUE_TAKE], nexts = t.b->requests[STORE_DUE_NEXT];
    expiry_test_pass(&t, MINUTE_MS - 1);
    assert_int_equal(t.b->requests[STORE_DUE_TAKE], takes);
    assert_int_equal(t.b->requests[STORE_DUE_NEXT], nexts);
    assert_int_equal(t.b->requests[STORE_KV], 0);
    expiry_test_free(&t);
}

static void test_the_clock_jumps(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    for (int i = 0; i < 10; i++) {
        NumberedKey key = numbered_key(i);
        bench_key(t.b, 1, key.text, BENCH_EPOCH_MS + (10 - i) * MINUTE_MS);
    }
    expiry_test_poll(&t);
    t.b->now_ms += 5 * MINUTE_MS; /* forward: what became due, at once and in order */
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 5);
    for (int i = 0; i < 5; i++) {
        NumberedKey key = numbered_key(9 - i);
        expiry_assert_told(&t, i, 1, key.text);
    }
    assert_int_equal(t.next_ms, BENCH_EPOCH_MS + 6 * MINUTE_MS);
    t.b->now_ms -= 4 * MINUTE_MS; /* back: things wait */
    expiry_test_poll(&t);
    assert_int_equal(t.next_ms, BENCH_EPOCH_MS + 6 * MINUTE_MS);
    expiry_test_pass(&t, 4 * MINUTE_MS);
    assert_int_equal(bench_told(t.b), 5);
    expiry_test_pass(&t, 5 * MINUTE_MS);
    assert_int_equal(bench_told(t.b), 10);
    expiry_test_free(&t);
}

/* What was taken waits again, too, and costs no attempt. */
static void test_the_clock_goes_back_in_the_middle(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    int64_t key = bench_key(t.b, 1, "k", BENCH_EPOCH_MS);
    int64_t schedule = bench_schedule(t.b, 1, "s", BENCH_EPOCH_MS, 0);
    t.b->defer_store = true;
    expiry_test_poll(&t);
    bench_answer(t.b);    /* taken */
    expiry_test_poll(&t); /* their records are asked for */
    t.b->now_ms -= MINUTE_MS;
    t.b->defer_store = false;
    bench_answer(t.b);
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 0);
    assert_false(bench_record(t.b, key).taken);
    assert_int_equal(bench_record(t.b, key).attempts, 0);
    assert_int_equal(t.next_ms, BENCH_EPOCH_MS);
    expiry_test_pass(&t, MINUTE_MS);
    assert_int_equal(bench_told(t.b), 2);
    assert_true(bench_record(t.b, key).gone);
    assert_true(bench_record(t.b, schedule).gone);
    expiry_test_free(&t);
}

/* Delays are as long as they are, whatever the clock does. */
static void test_the_clock_goes_back_during_a_delay(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    bench_key(t.b, 1, "k", BENCH_EPOCH_MS - 10 * MINUTE_MS);
    t.b->refusal = VM_ACTION_PAUSED;
    t.b->refusal_ms = 3000;
    expiry_test_poll(&t);
    assert_int_equal(t.next_ms, BENCH_EPOCH_MS + 3000);
    t.b->now_ms -= MINUTE_MS;
    expiry_test_poll(&t);
    assert_int_equal(t.next_ms, BENCH_EPOCH_MS + 3000 - MINUTE_MS);
    t.b->refusal = VM_ACTION_DONE;
    expiry_test_pass(&t, 3000);
    assert_int_equal(bench_told(t.b), 1);
    expiry_test_free(&t);
}

static void test_repeated_schedules_keep_their_rhythm(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    bench_schedule(t.b, 1, "s", BENCH_EPOCH_MS, SECOND_MS);
    expiry_test_poll(&t);
    assert_int_equal(t.next_ms, BENCH_EPOCH_MS + SECOND_MS);
    t.b->now_ms += 10 * SECOND_MS + 1; /* what was missed is missed */
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 2);
    assert_int_equal(t.next_ms, BENCH_EPOCH_MS + 11 * SECOND_MS);
    assert_string_equal(bench_told_at(t.b, 0).id, "schedule-1-1");
    assert_string_equal(bench_told_at(t.b, 1).id, "schedule-1-2");
    expiry_test_free(&t);
}

/* ---- Whom -------------------------------------------------------------------------------------
 */

static void test_guilds_take_turns(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    t.b->defer_runs = true;
    for (int i = 0; i < 5000; i++)
        bench_key(t.b, 1, "many", BENCH_EPOCH_MS - MINUTE_MS);
    for (uint64_t guild = 2; guild < 12; guild++)
        bench_key(t.b, guild, "one", BENCH_EPOCH_MS);
    expiry_test_poll(&t);
    /* Guild 1 has as many under way as it may; the others were not kept waiting. */
    assert_int_equal(t.b->runs_deferred, EXPIRY_PER_GUILD + 10);
    int place[12] = {0}, of_first = 0;
    for (int i = 0; i < t.b->told_count; i++) {
        of_first += t.b->told[i].guild_id == 1;
        place[t.b->told[i].guild_id] = i;
    }
    assert_int_equal(of_first, EXPIRY_PER_GUILD);
    for (int guild = 2; guild < 12; guild++)
        assert_true(place[guild] > 0);
    /* One ends, one begins. */
    bench_finish(t.b, 3);
    expiry_test_poll(&t);
    assert_int_equal(t.b->runs_deferred, EXPIRY_PER_GUILD + 10);
    while (bench_finish(t.b, 1000) > 0)
        expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 5010);
    assert_int_equal(expiry_test_stats(&t).told, 5010);
    expiry_test_free(&t);
}

/* Several guilds with many each: one occasion a turn. */
static void test_turns_are_even(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    for (uint64_t guild = 1; guild <= 4; guild++)
        for (int i = 0; i < 50; i++)
            bench_key(t.b, guild, "k", BENCH_EPOCH_MS);
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 200);
    int counts[5] = {0};
    for (int i = 0; i < 200; i++) {
        counts[t.b->told[i].guild_id]++;
        for (int guild = 1; guild <= 4; guild++)
            assert_true(abs(counts[guild] - counts[1]) <= EXPIRY_PER_GUILD);
    }
    expiry_test_free(&t);
}

static void test_no_more_than_so_many_under_way(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    t.b->defer_runs = true;
    for (int i = 0; i < EXPIRY_UNDER_WAY_MAX * 2; i++)
        bench_key(t.b, (uint64_t)i + 1, "k", BENCH_EPOCH_MS);
    expiry_test_poll(&t);
    assert_int_equal(t.b->runs_deferred, EXPIRY_UNDER_WAY_MAX);
    bench_finish(t.b, 100);
    expiry_test_poll(&t);
    assert_int_equal(t.b->runs_deferred, EXPIRY_UNDER_WAY_MAX);
    while (bench_finish(t.b, 1000) > 0)
        expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), EXPIRY_UNDER_WAY_MAX * 2);
    expiry_test_free(&t);
}

/* The store's readers come back in any order: a guild's keys are told in theirs. */
static void test_reads_that_overtake(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    for (int i = 0; i < 10; i++) {
        NumberedKey key = numbered_key(i);
        bench_key(t.b, 1, key.text, BENCH_EPOCH_MS - 100 + i);
    }
    t.b->defer_store = t.b->reverse_store = true;
    do
        expiry_test_poll(&t);
    while (bench_answer(t.b));
    assert_int_equal(bench_told(t.b), 10);
    for (int i = 0; i < 10; i++) {
        NumberedKey key = numbered_key(i);
        expiry_assert_told(&t, i, 1, key.text);
    }
    t.b->defer_store = false;
    expiry_test_free(&t);
}

/* ---- Failures of handlers ---------------------------------------------------------------------
 */

static void test_retries_up_to_giving_up(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    int64_t id = bench_key(t.b, 1, "k", BENCH_EPOCH_MS);
    t.b->run = bench_run_fails;
    int64_t delay = SECOND_MS;
    for (int attempt = 1; attempt <= STORE_EXPIRY_ATTEMPTS_MAX; attempt++) {
        expiry_test_poll(&t);
        assert_int_equal(bench_told(t.b), attempt);
        assert_string_equal(bench_told_at(t.b, attempt - 1).id, "expiry-1-1");
        assert_int_equal(bench_record(t.b, id).attempts, attempt);
        if (attempt == STORE_EXPIRY_ATTEMPTS_MAX)
            break;
        assert_int_equal(t.next_ms, t.b->now_ms + delay);
        t.b->now_ms = t.next_ms;
        delay = delay * 2 < 10 * MINUTE_MS ? delay * 2 : 10 * MINUTE_MS;
    }
    assert_int_equal(delay, 10 * MINUTE_MS);
    assert_true(bench_record(t.b, id).has_failed);
    assert_false(bench_record(t.b, id).gone);
    assert_int_equal(t.next_ms, STORE_NO_TIME);
    ExpiryStats stats = expiry_test_stats(&t);
    assert_int_equal(stats.told, STORE_EXPIRY_ATTEMPTS_MAX);
    assert_int_equal(stats.failed, STORE_EXPIRY_ATTEMPTS_MAX);
    assert_int_equal(stats.given_up, 1);
    /* Armed anew it is a new occasion. */
    t.b->run = NULL;
    bench_rearm(t.b, id, t.b->now_ms);
    expiry_test_poll(&t);
    assert_string_equal(bench_told_at(t.b, STORE_EXPIRY_ATTEMPTS_MAX).id, "expiry-1-2");
    assert_true(bench_record(t.b, id).gone);
    expiry_test_free(&t);
}

/* However many fail at once, the log gets a few lines a second. */
static void test_floods_of_failures(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    for (int i = 0; i < EXPIRY_LOGGED_PER_SECOND + 5; i++)
        bench_key(t.b, (uint64_t)i + 1, "k", BENCH_EPOCH_MS);
    t.b->run = bench_run_fails;
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), EXPIRY_LOGGED_PER_SECOND + 5);
    assert_int_equal(expiry_test_stats(&t).unlogged, 5);
    t.b->now_ms = t.next_ms; /* second failures are not told of at all */
    expiry_test_poll(&t);
    assert_int_equal(expiry_test_stats(&t).unlogged, 5);
    bench_key(t.b, 99, "k", t.b->now_ms); /* another second */
    expiry_test_poll(&t);
    assert_int_equal(expiry_test_stats(&t).unlogged, 5);
    expiry_test_free(&t);
}

static void test_attempts_of_schedules(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    bench_schedule(t.b, 1, "s", BENCH_EPOCH_MS, 0);
    t.b->run = bench_run_fails;
    expiry_test_poll(&t);
    expiry_test_pass(&t, SECOND_MS);
    t.b->run = NULL;
    expiry_test_pass(&t, 2 * SECOND_MS);
    assert_int_equal(bench_told(t.b), 3);
    for (int i = 0; i < 3; i++) {
        char wanted[128];
        snprintf(wanted, sizeof(wanted),
                 "{\"name\":\"s\",\"due_at\":\"1970-01-12T13:46:40Z\",\"attempt\":%d}", i + 1);
        assert_string_equal(bench_told_at(t.b, i).data, wanted);
        assert_string_equal(bench_told_at(t.b, i).id, "schedule-1-1");
    }
    assert_true(bench_record(t.b, 1).gone);
    expiry_test_free(&t);
}

static KhronosStatus lose(Bench *b, const Told *told)
{
    (void)told;
    return *(KhronosStatus *)b->run_userdata;
}

static void test_lost_with_the_vm_is_failed(void **state)
{
    static const KhronosStatus STATUSES[] = {KHRONOS_MEMORY_LIMIT, KHRONOS_TIMEOUT, KHRONOS_BROKEN,
                                             KHRONOS_INTERNAL, KHRONOS_CANCELLED};
    (void)state;
    ExpiryTest t = expiry_test_new();
    t.b->run = lose;
    for (int i = 0; i < 5; i++) {
        KhronosStatus status = STATUSES[i];
        t.b->run_userdata = &status;
        int64_t id = bench_key(t.b, 1, "k", t.b->now_ms);
        expiry_test_poll(&t);
        assert_int_equal(bench_record(t.b, id).attempts, 1);
        status = KHRONOS_OK;
        expiry_test_pass(&t, SECOND_MS);
        assert_true(bench_record(t.b, id).gone);
    }
    expiry_test_free(&t);
}

static KhronosStatus rearm(Bench *b, const Told *told)
{
    (void)told;
    bench_rearm(b, *(int64_t *)b->run_userdata, b->now_ms + MINUTE_MS);
    return KHRONOS_OK;
}

static void test_rearmed_by_its_handler(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    int64_t id = bench_key(t.b, 1, "k", BENCH_EPOCH_MS);
    t.b->run = rearm;
    t.b->run_userdata = &id;
    expiry_test_poll(&t);
    assert_false(bench_record(t.b, id).gone);
    assert_int_equal(t.next_ms, BENCH_EPOCH_MS + MINUTE_MS);
    t.b->run = NULL;
    expiry_test_pass(&t, MINUTE_MS);
    assert_int_equal(bench_told(t.b), 2);
    assert_string_equal(bench_told_at(t.b, 1).id, "expiry-1-2");
    assert_true(bench_record(t.b, id).gone);
    expiry_test_free(&t);
}

static void test_changed_before_it_is_told(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    int64_t deleted = bench_key(t.b, 1, "deleted", BENCH_EPOCH_MS);
    int64_t later = bench_key(t.b, 1, "later", BENCH_EPOCH_MS);
    int64_t cleared = bench_key(t.b, 1, "cleared", BENCH_EPOCH_MS);
    int64_t schedule = bench_schedule(t.b, 1, "schedule", BENCH_EPOCH_MS, 0);
    t.b->defer_store = true;
    expiry_test_poll(&t);
    bench_answer(t.b);
    t.b->defer_store = false;
    bench_delete(t.b, deleted);
    bench_delete(t.b, schedule);
    bench_rearm(t.b, later, BENCH_EPOCH_MS + MINUTE_MS);
    bench_rearm(t.b, cleared, STORE_NO_TIME);
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 0);
    assert_false(bench_record(t.b, cleared).gone);
    assert_int_equal(t.next_ms, BENCH_EPOCH_MS + MINUTE_MS);
    expiry_test_pass(&t, MINUTE_MS);
    assert_int_equal(bench_told(t.b), 1);
    expiry_assert_told(&t, 0, 1, "later");
    assert_true(bench_record(t.b, later).gone);
    expiry_test_free(&t);
}

static void test_nobody_listens(void **state)
{
    (void)state;
    ExpiryTest t = expiry_test_new();
    t.b->matching = 0;
    int64_t id = bench_key(t.b, 1, "k", BENCH_EPOCH_MS);
    expiry_test_poll(&t);
    assert_int_equal(bench_told(t.b), 0);
    assert_true(bench_record(t.b, id).gone);
    expiry_test_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times_as_text),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_in_the_order_of_their_times),
        cmocka_unit_test(test_a_hint),
        cmocka_unit_test(test_nothing_due_asks_nothing),
        cmocka_unit_test(test_the_clock_jumps),
        cmocka_unit_test(test_the_clock_goes_back_in_the_middle),
        cmocka_unit_test(test_the_clock_goes_back_during_a_delay),
        cmocka_unit_test(test_repeated_schedules_keep_their_rhythm),
        cmocka_unit_test(test_guilds_take_turns),
        cmocka_unit_test(test_turns_are_even),
        cmocka_unit_test(test_no_more_than_so_many_under_way),
        cmocka_unit_test(test_reads_that_overtake),
        cmocka_unit_test(test_retries_up_to_giving_up),
        cmocka_unit_test(test_floods_of_failures),
        cmocka_unit_test(test_attempts_of_schedules),
        cmocka_unit_test(test_lost_with_the_vm_is_failed),
        cmocka_unit_test(test_rearmed_by_its_handler),
        cmocka_unit_test(test_changed_before_it_is_told),
        cmocka_unit_test(test_nobody_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
