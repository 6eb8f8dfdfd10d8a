/* Seats: threads that serve something, and begin actions on the spot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fake_seat.h"
#include "vm_mock.h"
#include "worker/worker.h"

enum { SEATS = 2 };

typedef struct Job {
    LuaVmAction action;
    MockPlan plan;
    WorkerBegun begun;
    atomic_int completions;
} Job;

typedef struct Bench {
    WorkerOptions options;
    VmOps ops;
    MockWorld world;
    Worker *worker;
    FakeSeat seats[SEATS];
} Bench;

static void on_complete(LuaVmAction *action)
{
    Job *job = action->userdata;
    atomic_fetch_add(&job->completions, 1);
}

static void hand_over(FakeSeat *seat, Job *job, VmActionType type, uint64_t guild_id, MockPlan plan)
{
    job->plan = plan;
    job->action = (LuaVmAction){
        .type = type,
        .handle.guild_id = guild_id,
        .complete = on_complete,
        .userdata = job,
        .execution = {.event = &job->plan.event, .id = "x"},
    };
    job->begun = fake_seat_begin(seat, &job->action);
}

static void finish(Job *job, KhronosStatus status)
{
    for (int i = 0; i < 600000 && atomic_load(&job->completions) == 0; i++)
        usleep(200);
    assert_int_equal(atomic_load(&job->completions), 1);
    assert_int_equal(job->action.outcome, VM_ACTION_DONE);
    assert_int_equal(job->action.execution.status, status);
    strbuf_free(&job->action.execution.message);
    atomic_store(&job->completions, 0);
}

static const MockPlan QUICK = {.kind = MOCK_FINISH};

static WorkerBegun run(FakeSeat *seat, uint64_t guild_id, MockPlan plan, KhronosStatus status)
{
    Job job = {0};
    hand_over(seat, &job, VM_ACTION_EXECUTE, guild_id, plan);
    finish(&job, status);
    return job.begun;
}

/* Until the guild is at rest after its last turn, and trusted: an action begins on the seat. */
static void become_trusted(FakeSeat *seat, uint64_t guild_id)
{
    for (int i = 0; i < 10000; i++)
        if (run(seat, guild_id, QUICK, KHRONOS_OK) == WORKER_DONE)
            return;
    fail_msg("guild %d never begins on a seat", (int)guild_id);
}

static int setup(void **state)
{
    WorkerStrategy strategy = *(WorkerStrategy *)*state;
    Bench *b = calloc(1, sizeof(*b));
    char error[256];
    mock_ops(&b->ops, &b->world);
    worker_default_options(&b->options);
    b->options.strategy = strategy;
    b->options.threads = SEATS;
    b->options.vm_ops = &b->ops;
    b->options.io = fake_seats(b->seats);
    b->worker = worker_start(&b->options, error, sizeof(error));
    assert_non_null(b->worker);
    *state = b;
    return 0;
}

static void stop(Bench *b)
{
    worker_stop(b->worker);
    b->worker = NULL;
    assert_int_equal(atomic_load(&b->world.live), 0);
    assert_int_equal(atomic_load(&b->world.under_way), 0);
}

static int teardown(void **state)
{
    Bench *b = *state;
    if (b->worker)
        stop(b);
    fake_seats_free(b->seats, SEATS);
    free(b);
    return 0;
}

static void test_begin(void **state)
{
    Bench *b = *state;
    bool pool = b->options.strategy == WORKER_THREAD_POOL;
    /* Nobody knows the guild: not on the seat. */
    assert_int_equal(run(&b->seats[0], 7, QUICK, KHRONOS_OK), WORKER_NOT_NOW);
    if (!pool) { /* seats only serve */
        for (int i = 0; i < 50; i++)
            assert_int_equal(run(&b->seats[i % SEATS], 7, QUICK, KHRONOS_OK), WORKER_NOT_NOW);
        return;
    }
    become_trusted(&b->seats[0], 7);
    become_trusted(&b->seats[1], 7);
    /* Other actions are not begun. */
    Job job = {0};
    hand_over(&b->seats[0], &job, VM_ACTION_CLEAR_CACHE, 7, QUICK);
    assert_int_equal(job.begun, WORKER_NOT_NOW);
    finish(&job, KHRONOS_OK);
    /* One that waits: it is done later, by a worker. */
    become_trusted(&b->seats[0], 7);
    MockPlan waiting = {.kind = MOCK_WAIT, .wait_ns = 5 * CLOCK_NS_PER_MS};
    assert_int_equal(run(&b->seats[0], 7, waiting, KHRONOS_OK), WORKER_RUNS);
    become_trusted(&b->seats[0], 7);
    MockPlan steps = {.kind = MOCK_FINISH, .steps = 20};
    assert_int_equal(run(&b->seats[0], 7, steps, KHRONOS_OK), WORKER_RUNS);
    /* It surprised its seat: not trusted for a while. */
    assert_int_equal(run(&b->seats[0], 7, QUICK, KHRONOS_OK), WORKER_NOT_NOW);
}

/* A guild parked on a seat: the seat goes on serving others. */
static void test_parked_on_seat(void **state)
{
    Bench *b = *state;
    become_trusted(&b->seats[0], 7);
    Job parked = {0}, control = {0};
    hand_over(&b->seats[0], &parked, VM_ACTION_EXECUTE, 7, (MockPlan){.kind = MOCK_PARK});
    assert_int_equal(parked.begun, WORKER_RUNS);
    for (int i = 0; i < 20; i++)
        run(&b->seats[0], 8, QUICK, KHRONOS_OK);
    assert_int_equal(atomic_load(&parked.completions), 0);
    hand_over(&b->seats[0], &control, VM_ACTION_GET_STATE, 7, QUICK);
    finish(&control, KHRONOS_OK);
    assert_int_equal(control.action.info.state, VM_HEALTHY);
    hand_over(&b->seats[0], &control, VM_ACTION_DESTROY, 7, QUICK);
    finish(&control, KHRONOS_OK);
    finish(&parked, KHRONOS_BROKEN);
    become_trusted(&b->seats[0], 9);
    hand_over(&b->seats[0], &parked, VM_ACTION_EXECUTE, 9, (MockPlan){.kind = MOCK_PARK});
    stop(b);
    finish(&parked, KHRONOS_BROKEN);
}

/* Another thread goes on serving what the seat served. */
static void test_panic_on_seat(void **state)
{
    Bench *b = *state;
    const MockPlan plans[] = {{.kind = MOCK_PANIC}, {.kind = MOCK_PANICKED}};
    for (int i = 0; i < 6; i++) {
        FakeSeat *seat = &b->seats[i % SEATS];
        become_trusted(seat, 7);
        assert_int_equal(run(seat, 7, plans[i % 2], KHRONOS_BROKEN), WORKER_DONE);
        WorkerStats stats;
        worker_stats(b->worker, &stats);
        assert_int_equal(stats.panics, i + 1);
        assert_int_equal(stats.broken[VM_PANIC_RECOVERY], i + 1);
    }
    become_trusted(&b->seats[0], 7);
    become_trusted(&b->seats[1], 8);
}

int main(void)
{
    static WorkerStrategy strategies[] = {WORKER_THREAD_POOL, WORKER_THREAD_PER_GUILD};
    const struct CMUnitTest tests[] = {
        {"thread-pool: test_begin", test_begin, setup, teardown, &strategies[0]},
        {"thread-per-guild: test_begin", test_begin, setup, teardown, &strategies[1]},
        {"test_parked_on_seat", test_parked_on_seat, setup, teardown, &strategies[0]},
        {"test_panic_on_seat", test_panic_on_seat, setup, teardown, &strategies[0]},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
