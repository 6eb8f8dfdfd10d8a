/* What the dispatcher is built of: the table, the heap, the alarm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "worker/dispatch_alarm.h"
#include "worker/dispatch_heap.h"
#include "worker/dispatch_table.h"

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* ---- Table ------------------------------------------------------------------------------------
 */

typedef struct Entry {
    uint64_t hash;
    int key;
    int present;
} Entry;

static bool same_entry(const void *value, const void *key)
{
    return ((const Entry *)value)->key == *(const int *)key;
}

enum { ENTRIES = 600 };

/* Hashes of 7 values only: every probe runs through others' entries, and around the end. */
static void test_table_against_model(void **state)
{
    (void)state;
    static Entry entries[ENTRIES];
    DispatchTable table = {0};
    uint32_t random = 1;
    size_t count = 0;
    for (int i = 0; i < ENTRIES; i++)
        entries[i] = (Entry){.hash = (uint64_t)(i % 7) * 5 + UINT64_C(0xffffffff0000000c),
                             .key = i};
    for (int round = 0; round < 20000; round++) {
        Entry *e = &entries[next_random(&random) % (round < 10000 ? 40 : ENTRIES)];
        Entry *found = dispatch_table_find(&table, e->hash, same_entry, &e->key);
        assert_ptr_equal(found, e->present ? e : NULL);
        if (e->present) {
            dispatch_table_remove(&table, e->hash, e);
            count--;
        } else {
            assert_true(dispatch_table_reserve(&table, 1));
            dispatch_table_put(&table, e->hash, e);
            count++;
        }
        e->present = !e->present;
        assert_int_equal(table.count, count);
    }
    for (int i = 0; i < ENTRIES; i++)
        assert_ptr_equal(dispatch_table_find(&table, entries[i].hash, same_entry, &i),
                         entries[i].present ? &entries[i] : NULL);
    dispatch_table_free(&table);
}

static void test_hash_knows_every_byte(void **state)
{
    (void)state;
    char text[40], other[40];
    DispatchSeed seed = {{1, 2}};
    for (size_t length = 0; length <= sizeof(text); length++) {
        memset(text, 'x', length);
        uint64_t hash = dispatch_hash(&seed, text, length);
        assert_true(hash == dispatch_hash(&seed, text, length));
        for (size_t i = 0; i < length; i++) {
            memcpy(other, text, length);
            other[i] ^= 1;
            assert_true(hash != dispatch_hash(&seed, other, length));
        }
        for (size_t shorter = 0; shorter < length; shorter++)
            assert_true(hash != dispatch_hash(&seed, text, shorter));
        for (int word = 0; word < 2; word++) {
            DispatchSeed another = seed;
            another.words[word] ^= UINT64_C(1) << 40;
            assert_true(hash != dispatch_hash(&another, text, length));
        }
    }
}

/* The upper bits choose the shard, the lower ones the slot. */
static void test_hash_spreads(void **state)
{
    (void)state;
    DispatchSeed seed = {{42, 43}};
    int upper[16] = {0}, lower[16] = {0};
    for (uint64_t i = 0; i < 16000; i++) {
        uint64_t hash = dispatch_hash(&seed, &i, sizeof(i));
        upper[hash >> 60]++;
        lower[hash & 15]++;
    }
    for (int i = 0; i < 16; i++) {
        assert_in_range(upper[i], 800, 1200);
        assert_in_range(lower[i], 800, 1200);
    }
}

/* ---- Heap -------------------------------------------------------------------------------------
 */

static uint64_t earliest(const DispatchTimer *timers, int count)
{
    uint64_t due = UINT64_MAX;
    for (int i = 0; i < count; i++)
        if (timers[i].place != 0 && timers[i].due_ns < due)
            due = timers[i].due_ns;
    return due;
}

static void test_heap_against_model(void **state)
{
    (void)state;
    static DispatchTimer timers[300];
    DispatchHeap heap = {0};
    uint32_t random = 7;
    size_t count = 0;
    for (int round = 0; round < 20000; round++) {
        DispatchTimer *t = &timers[next_random(&random) % 300];
        if (round % 3 == 0 && dispatch_heap_first(&heap))
            t = dispatch_heap_first(&heap);
        if (t->place != 0) {
            dispatch_heap_remove(&heap, t);
            assert_int_equal(t->place, 0);
            count--;
        } else {
            t->due_ns = next_random(&random) % 500;
            assert_true(dispatch_heap_reserve(&heap));
            dispatch_heap_add(&heap, t);
            count++;
        }
        assert_int_equal(heap.count, count);
        DispatchTimer *first = dispatch_heap_first(&heap);
        assert_true((first != NULL) == (count != 0));
        if (first)
            assert_int_equal(first->due_ns, earliest(timers, 300));
    }
    dispatch_heap_free(&heap);
}

/* ---- Alarm ------------------------------------------------------------------------------------
 */

typedef struct Bell {
    sem_t rang;
    atomic_int rings;
    _Atomic uint64_t next_ns;
    _Atomic uint64_t last_ns;
} Bell;

static uint64_t ring(void *userdata)
{
    Bell *bell = userdata;
    atomic_store(&bell->last_ns, clock_monotonic_ns());
    atomic_fetch_add(&bell->rings, 1);
    uint64_t next = atomic_exchange(&bell->next_ns, UINT64_MAX);
    sem_post(&bell->rang);
    return next;
}

static void wait_for_ring(Bell *bell)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    assert_int_equal(sem_timedwait(&bell->rang, &until), 0);
}

static void test_alarm_rings_when_asked(void **state)
{
    (void)state;
    Bell bell = {.next_ns = UINT64_MAX};
    DispatchAlarm alarm;
    sem_init(&bell.rang, 0, 0);
    assert_true(dispatch_alarm_start(&alarm, ring, &bell));
    wait_for_ring(&bell); /* at once */
    uint64_t due = clock_monotonic_ns() + 5 * CLOCK_NS_PER_MS;
    atomic_store(&bell.next_ns, due + 5 * CLOCK_NS_PER_MS);
    dispatch_alarm_set(&alarm, due + 3600 * CLOCK_NS_PER_S);
    dispatch_alarm_set(&alarm, due); /* earlier: it must not sleep for the hour */
    wait_for_ring(&bell);
    assert_true(atomic_load(&bell.last_ns) >= due);
    wait_for_ring(&bell); /* what ring itself asked for */
    assert_true(atomic_load(&bell.last_ns) >= due + 5 * CLOCK_NS_PER_MS);
    dispatch_alarm_set(&alarm, clock_monotonic_ns() + 3600 * CLOCK_NS_PER_S);
    dispatch_alarm_stop(&alarm);
    assert_int_equal(atomic_load(&bell.rings), 3);
    sem_destroy(&bell.rang);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_against_model),    cmocka_unit_test(test_hash_knows_every_byte),
        cmocka_unit_test(test_hash_spreads),           cmocka_unit_test(test_heap_against_model),
        cmocka_unit_test(test_alarm_rings_when_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
