/* What fell due, while the disk fails: whatever becomes of the transaction that took it, it is
 * given out to somebody who hears of it, and once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../store_tools.h"
#include "base/base.h"
#include "base/log.h"
#include "faulty_vfs.h"

enum { KEYS = 3, NOW_MS = 1000 };

static void arm_keys(Store *store)
{
    for (int i = 0; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key %d", i);
        StoreRequest *request = kv_request(STORE_KV_SET, 1, key, "1");
        request->ops[0].expires = STORE_SET;
        request->ops[0].expires_ms = NOW_MS - i;
        store_wait(store, request);
        assert_int_equal(request->status, STORE_OK);
        store_request_free(request);
    }
}

/* How many were given out, -1: it failed. */
static int take(Store *store)
{
    StoreRequest *request = store_request_new(STORE_DUE_TAKE, 0);
    request->now_ms = NOW_MS;
    store_wait(store, request);
    int count = request->status == STORE_OK ? request->due_count : -1;
    store_request_free(request);
    return count;
}

/* False: there are fewer calls. */
static bool one_round(const FaultyPlan *plan, int k)
{
    Folder f;
    folder_make(&f);
    StoreOptions options = {
        .path = f.file, .exclusive = true, .readers = 1, .lock_wait_ms = TOOL_PATIENCE_MS};
    Store *store = open_store(&options);
    assert_non_null(store);
    arm_keys(store);
    faulty_arm(plan, k);
    int taken = take(store);
    bool fired = faulty_disarm();
    assert_true(fired || taken == KEYS);
    if (taken < 0)
        taken = take(store);
    assert_int_equal(taken, KEYS);
    assert_int_equal(take(store), 0);
    close_store(store);
    folder_remove(&f);
    return fired;
}

static void test_taken_while_it_fails(void **state)
{
    (void)state;
    static const FaultyPlan PLANS[] = {
        {FAULTY_WRITE, SQLITE_FULL, false, true},
        {FAULTY_WRITE, SQLITE_IOERR_WRITE, true, true},
        {FAULTY_WRITE, SQLITE_IOERR_WRITE, false, false},
        {FAULTY_SYNC, SQLITE_IOERR_FSYNC, false, true},
        {FAULTY_SYNC, SQLITE_IOERR_FSYNC, false, false},
    };
    faulty_install();
    for (size_t i = 0; i < BASE_ARRAY_COUNT(PLANS); i++) {
        int k = 1;
        while (one_round(&PLANS[i], k))
            k++;
        assert_true(k > 1);
    }
    faulty_remove();
}

/* ---- A file that comes and goes ---- */

typedef struct Mover {
    char from[TOOL_PATH_MAX], to[TOOL_PATH_MAX + 8];
} Mover;

static void move_away(void *arg)
{
    Mover *mover = arg;
    assert_int_equal(rename(mover->from, mover->to), 0);
}

/* The transaction ends when the file is away, and counts as failed, though the file comes back with
 * it. */
static void test_taken_while_it_is_moved(void **state)
{
    (void)state;
    for (int k = 1, ended = 0; !ended; k++) {
        Folder f;
        folder_make(&f);
        StoreOptions options = {
            .path = f.file, .exclusive = true, .readers = 1, .lock_wait_ms = TOOL_PATIENCE_MS};
        faulty_install();
        Store *store = open_store(&options);
        assert_non_null(store);
        arm_keys(store);
        Mover mover;
        snprintf(mover.from, sizeof(mover.from), "%s", f.file);
        snprintf(mover.to, sizeof(mover.to), "%s.aside", f.file);
        faulty_arm_event(FAULTY_WRITE, k, move_away, &mover);
        int taken = take(store);
        ended = !faulty_disarm();
        assert_true(ended || (k > 1 && taken == KEYS) || taken == -1);
        if (!ended)
            assert_int_equal(rename(mover.to, mover.from), 0);
        if (taken < 0)
            taken = take(store);
        assert_int_equal(taken, KEYS);
        assert_int_equal(take(store), 0);
        assert_sound(store);
        close_store(store);
        faulty_remove();
        folder_remove(&f);
        assert_true(k > 1 || !ended);
    }
}

int main(void)
{
    log_setlevel((LogLevel)(LOG_ERROR + 1));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken_while_it_fails),
        cmocka_unit_test(test_taken_while_it_is_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
