/* What the worker is made of, piece by piece and by a clock of the test's own: pauses, timers,
 * levels, the map of guilds, and that forgotten guilds cost nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <malloc.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/idmap.h"
#include "vm_mock.h"
#include "worker/registry.h"
#include "worker/timer_heap.h"

#define SECOND CLOCK_NS_PER_S

/* ---- Pauses ---- */

static const WorkerOptions PAUSE_OPTIONS = {
    .broken_max = 3, .broken_window_ns = 60 * SECOND, .pause_ns = 5 * SECOND};

static uint64_t break_many(PauseHistory *history, int count, uint64_t now)
{
    uint64_t pause = 0;
    for (int i = 0; i < count; i++)
        pause = pause_note(history, &PAUSE_OPTIONS, now);
    return pause;
}

static void test_pauses(void **state)
{
    (void)state;
    PauseHistory history = {0};
    uint64_t now = 1000 * SECOND;
    assert_true(pause_forgotten(&history, &PAUSE_OPTIONS, now));
    assert_int_equal(break_many(&history, 3, now), 0);
    assert_int_equal(pause_left_ns(&history, now), 0);
    assert_false(pause_forgotten(&history, &PAUSE_OPTIONS, now));
    /* The fourth within the window. */
    now += 20 * SECOND;
    assert_int_equal(break_many(&history, 1, now), 5 * SECOND);
    assert_int_equal(pause_left_ns(&history, now), 5 * SECOND);
    assert_int_equal(pause_left_ns(&history, now + 2 * SECOND), 3 * SECOND);
    /* It goes on as soon as it may: each pause is twice as long, up to 64 times. */
    uint64_t expected = 5 * SECOND;
    for (int i = 0; i < 10; i++) {
        now += pause_left_ns(&history, now);
        assert_int_equal(pause_left_ns(&history, now), 0);
        uint64_t pause = 0;
        while (pause == 0)
            pause = break_many(&history, 1, now);
        expected = expected < 320 * SECOND ? expected * 2 : expected;
        assert_int_equal(pause, expected);
    }
    /* Two quiet windows: a quarter. */
    now += pause_left_ns(&history, now) + 130 * SECOND;
    assert_int_equal(break_many(&history, 4, now), 80 * SECOND);
    now += 80 * SECOND + 1000 * SECOND;
    assert_true(pause_forgotten(&history, &PAUSE_OPTIONS, now));
    assert_int_equal(break_many(&history, 3, now), 0);
    assert_int_equal(break_many(&history, 1, now), 5 * SECOND);
}

static void test_slow_breaking_is_no_pause(void **state)
{
    (void)state;
    PauseHistory history = {0};
    uint64_t now = 5 * SECOND;
    for (int i = 0; i < 1000; i++, now += 25 * SECOND) /* less than 3 a minute */
        assert_int_equal(break_many(&history, 1, now), 0);
    WorkerOptions never = PAUSE_OPTIONS;
    never.broken_max = 0;
    for (int i = 0; i < 1000; i++)
        assert_int_equal(pause_note(&history, &never, now), 0);
}

/* ---- Timers ---- */

static void test_timers(void **state)
{
    (void)state;
    enum { COUNT = 4000 };
    TimerHeap heap = {0};
    ThreadEntry *entries = calloc(COUNT, sizeof(*entries));
    uint32_t seed = 7;
    assert_int_equal(timerheap_due_ns(&heap), 0);
    for (int i = 0; i < COUNT; i++) {
        seed = seed * 1664525u + 1013904223u;
        entries[i].due_ns = 1000 + (seed >> 20) % 50; /* many have the same */
        entries[i].guild_id = (uint64_t)i;
        assert_true(timerheap_put(&heap, &entries[i]));
    }
    for (int i = 0; i < COUNT; i += 3)
        timerheap_remove(&heap, &entries[i]);
    timerheap_remove(&heap, &entries[0]); /* it is in none */
    assert_null(timerheap_take(&heap, 999));
    const ThreadEntry *last = NULL;
    int taken = 0;
    for (ThreadEntry *entry; (entry = timerheap_take(&heap, UINT64_MAX)) != NULL; taken++) {
        assert_int_not_equal(entry->guild_id % 3, 0);
        assert_int_equal(entry->timer_index, 0);
        if (last)
            assert_true(last->due_ns < entry->due_ns ||
                        (last->due_ns == entry->due_ns && last->guild_id < entry->guild_id));
        last = entry;
    }
    assert_int_equal(taken, COUNT - (COUNT + 2) / 3);
    assert_true(heap.capacity < COUNT / 4);
    timerheap_free(&heap);
    free(entries);
}

/* ---- Usage ---- */

static void test_levels(void **state)
{
    (void)state;
    const uint64_t ms = CLOCK_NS_PER_MS;
    ThreadEntry *entry = entry_new(1);
    uint64_t now = 1000 * SECOND;
    assert_int_equal(entry_level(entry, now), 0);
    entry_charge(entry, now, ms / 10);
    assert_int_equal(entry_level(entry, now + ms), 0);
    for (int i = 0; i < 5; i++, now += ms)
        entry_charge(entry, now, ms);
    assert_int_equal(entry_level(entry, now), 1);
    for (int i = 0; i < 30; i++, now += ms)
        entry_charge(entry, now, ms);
    assert_int_equal(entry_level(entry, now), 2);
    assert_int_equal(entry_level(entry, now + 10 * SECOND), 0); /* fades */
    assert_true(entry->trust == 0);
    entry_judge(entry, true, ms / 10);
    assert_true(entry->trust > 0);
    entry_judge(entry, false, ms);
    for (int i = 0; i < 10; i++) {
        assert_true(entry->trust <= 0);
        entry_judge(entry, true, ms / 10);
    }
    entry_free(entry);
}

/* ---- The map ---- */

static void test_idmap(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    IdMap map;
    static int values[COUNT];
    idmap_init(&map, 12345);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++)
            assert_true(idmap_put(&map, (uint64_t)i * 64 + 1, &values[i]));
        assert_int_equal(map.count, COUNT);
        for (int i = 0; i < COUNT; i += 2)
            assert_ptr_equal(idmap_remove(&map, (uint64_t)i * 64 + 1), &values[i]);
        for (int i = 0; i < COUNT; i++)
            assert_ptr_equal(idmap_get(&map, (uint64_t)i * 64 + 1), i % 2 ? &values[i] : NULL);
        assert_null(idmap_remove(&map, 2));
        size_t cursor = 0, seen = 0;
        while (idmap_next(&map, &cursor))
            seen++;
        assert_int_equal(seen, COUNT / 2);
    }
    for (int i = 1; i < COUNT; i += 2) { /* and it shrinks without losing anything */
        assert_ptr_equal(idmap_remove(&map, (uint64_t)i * 64 + 1), &values[i]);
        if (i % 100 == 1)
            for (int k = i + 2; k < COUNT; k += 2)
                assert_ptr_equal(idmap_get(&map, (uint64_t)k * 64 + 1), &values[k]);
    }
    assert_int_equal(map.count, 0);
    assert_int_equal(map.capacity, 16);
    idmap_free(&map);
}

/* ---- Memory ---- */

static void end_guild(Registry *registry, ThreadEntry *entry)
{
    pthread_mutex_unlock(&registry->lock);
    registry_set_state(registry, entry, VM_INITIALIZING, VM_NOT_BROKEN, NULL);
    registry_set_state(registry, entry, VM_HEALTHY, VM_NOT_BROKEN, NULL);
    registry_set_state(registry, entry, VM_BROKEN, VM_EXPLICIT_DESTROY, NULL);
    pthread_mutex_lock(&registry->lock);
    registry_ended_locked(registry, entry);
}

static void test_forgotten_guilds_cost_nothing(void **state)
{
    (void)state;
    enum { GUILDS = 1000000, BEFORE = 8000 };
    MockWorld world;
    VmOps ops;
    mock_ops(&ops, &world);
    WorkerOptions options = PAUSE_OPTIONS;
    options.vm_ops = &ops;
    Registry registry;
    registry_init(&registry, &options);
    ThreadEntry **entries = malloc(GUILDS * sizeof(ThreadEntry *));
    assert_non_null(entries);
    pthread_mutex_lock(&registry.lock);
    for (uint64_t i = 0; i < BEFORE; i++)
        end_guild(&registry, registry_ensure_locked(&registry, i + 1));
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
    size_t capacity = registry.entries.capacity;
    for (uint64_t i = 0; i < GUILDS; i++) /* all alive at the same time */
        entries[i] = registry_ensure_locked(&registry, BEFORE + i + 1);
    assert_int_equal(registry.entries.count, GUILDS);
    for (uint64_t i = 0; i < GUILDS; i++)
        end_guild(&registry, entries[i]);
    assert_int_equal(registry.entries.count, 0);
    assert_int_equal(registry.ended_map.count, ENDED_MAX);
    assert_int_equal(registry.entries.capacity, capacity);
    size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
    pthread_mutex_unlock(&registry.lock);
    assert_true(after <= before + before / 20);
    free(entries);
    registry_free(&registry);
}

/* Guilds with limits or a history of their own stay. */
static void test_who_is_remembered(void **state)
{
    (void)state;
    MockWorld world;
    VmOps ops;
    mock_ops(&ops, &world);
    WorkerOptions options = PAUSE_OPTIONS;
    options.vm_ops = &ops;
    Registry registry;
    registry_init(&registry, &options);
    pthread_mutex_lock(&registry.lock);
    ThreadEntry *never_ran = registry_ensure_locked(&registry, 1);
    registry_ended_locked(&registry, never_ran);
    assert_null(registry_find_locked(&registry, 1));
    ThreadEntry *limited = registry_ensure_locked(&registry, 2);
    entry_extra(limited)->has_limits = true;
    end_guild(&registry, limited);
    ThreadEntry *breaking = registry_ensure_locked(&registry, 3);
    pthread_mutex_unlock(&registry.lock);
    registry_set_state(&registry, breaking, VM_INITIALIZING, VM_NOT_BROKEN, NULL);
    registry_set_state(&registry, breaking, VM_HEALTHY, VM_NOT_BROKEN, NULL);
    registry_set_state(&registry, breaking, VM_BROKEN, VM_EXECUTION_TIMEOUT, NULL);
    pthread_mutex_lock(&registry.lock);
    registry_ended_locked(&registry, breaking);
    end_guild(&registry, registry_ensure_locked(&registry, 4));
    for (uint64_t i = 0; i < 3 * ENDED_MAX; i++)
        end_guild(&registry, registry_ensure_locked(&registry, 100 + i));
    assert_ptr_equal(registry_find_locked(&registry, 2), limited);
    assert_ptr_equal(registry_find_locked(&registry, 3), breaking);
    assert_null(registry_find_locked(&registry, 4));
    VmInfo info;
    registry_fill_ended_locked(&registry, 4, &info);
    assert_int_equal(info.state, VM_NONE);
    registry_fill_ended_locked(&registry, 100 + 3 * ENDED_MAX - 1, &info);
    assert_int_equal(info.reason, VM_EXPLICIT_DESTROY);
    assert_true(info.generation > 1); /* later than those forgotten */
    assert_int_equal(registry.entries.count, 2);
    assert_int_equal(registry.ended_map.count, ENDED_MAX);
    /* No later VM has a generation that one of a forgotten guild had. */
    assert_true(registry_ensure_locked(&registry, 4)->generation >= 1);
    pthread_mutex_unlock(&registry.lock);
    registry_free(&registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pauses),
        cmocka_unit_test(test_slow_breaking_is_no_pause),
        cmocka_unit_test(test_timers),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_idmap),
        cmocka_unit_test(test_forgotten_guilds_cost_nothing),
        cmocka_unit_test(test_who_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
