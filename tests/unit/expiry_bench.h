/* expiry_bench.h: a store and a worker for tests of what falls due and of what is told of VMs: the
 * store is in memory and fails as the test says; actions of the dispatcher, which is the real one,
 * come back when and as the test says. For files that include cmocka.h.
 *
 * Everything is for any thread, under one lock; the test may hold it (lock, unlock) to look. */
#ifndef EXPIRY_BENCH_H
#define EXPIRY_BENCH_H

#include <pthread.h>

#include "khronos/sandbox.h"
#include "store/store.h"
#include "worker/expiry.h"

enum { TOLD_MAX = 1 << 17, BENCH_EPOCH_MS = 1000000000 };

typedef struct FakeRecord {
    uint64_t guild_id;
    int64_t id;
    char key[32]; /* also the name of a schedule, and the only scope */
    int64_t expires_ms, due_ms, sequence, every_ms;
    int attempts;
    bool is_schedule, resume, taken, has_failed, gone;
} FakeRecord;

/* An event that reached the worker. */
typedef struct Told {
    uint64_t guild_id;
    char name[16], id[64], data[160], scopes[64];
} Told;

typedef struct Bench Bench;
struct Bench {
    Store store; /* first */
    pthread_mutex_t lock;
    int64_t now_ms;

    /* The store. */
    FakeRecord *records; /* by id: records[id - 1] */
    int record_count, record_room;
    StoreStatus fails[STORE_OPS]; /* what requests of that kind come back with ... */
    int fails_left[STORE_OPS];    /* ... so many times */
    int requests[STORE_OPS];      /* that came */
    bool defer_store;             /* they come back when the test says */
    bool reverse_store;           /* the last first */
    StoreRequest *deferred_first, *deferred_last;
    int page_max; /* of lists; 0: STORE_PAGE_MAX */
    void (*due_changed)(void *userdata, int64_t due_ms);
    void *due_userdata;

    /* Templates and worker. */
    KhronosSandbox *sandbox;
    KhronosTemplate *template;
    int matching; /* 0 or 1 */
    bool templates_fail;
    bool defer_runs;
    VmActionOutcome refusal; /* VM_ACTION_DONE: none; QUEUE_FULL and PAUSED: for refusal_ms */
    uint64_t refusal_ms;
    /* NULL: all runs succeed. Without the lock. */
    KhronosStatus (*run)(Bench *b, const Told *told);
    void *run_userdata;
    LuaVmAction *runs_first, *runs_last; /* deferred */
    int runs_deferred;
    Told *told; /* in their order */
    int told_count;
    Dispatcher *dispatcher;
};

Bench *bench_new(void);
void bench_free(Bench *b); /* nothing is deferred any more */
int64_t bench_clock(void *bench);
void bench_lock(Bench *b);
void bench_unlock(Bench *b);

/* A key that expires then (STORE_NO_TIME: never); its id. */
int64_t bench_key(Bench *b, uint64_t guild_id, const char *key, int64_t expires_ms);
int64_t bench_resume(Bench *b, uint64_t guild_id, const char *key);
int64_t bench_schedule(Bench *b, uint64_t guild_id, const char *name, int64_t due_ms,
                       int64_t every_ms);
FakeRecord bench_record(Bench *b, int64_t id); /* a copy */
/* As a handler does it: STORE_NO_TIME clears. */
void bench_rearm(Bench *b, int64_t id, int64_t expires_ms);
void bench_delete(Bench *b, int64_t id);
/* As after a crash: what was taken may be taken again. */
void bench_reopen(Bench *b);
void bench_fail(Bench *b, StoreOp op, StoreStatus status, int times);

/* Gives deferred requests back, those too that come meanwhile; false: there were none. */
bool bench_answer(Bench *b);
/* Ends deferred runs in their order, `count` at most; how many they were. */
int bench_finish(Bench *b, int count);
int bench_told(Bench *b); /* how many so far */
Told bench_told_at(Bench *b, int index);
/* Of one name so far. */
int bench_told_named(Bench *b, const char *name);

typedef struct NumberedKey {
    char text[16];
} NumberedKey;
NumberedKey numbered_key(int number); /* "k7" */

/* An Expiry over a bench, on its clock. */
typedef struct ExpiryTest {
    Bench *b;
    Expiry *x;
    int64_t next_ms; /* what the last poll said */
} ExpiryTest;

ExpiryTest expiry_test_new(void);
void expiry_test_free(ExpiryTest *t); /* stops it */
/* The telling of that number was of this key, whose only scope is its own name. */
void expiry_assert_told(ExpiryTest *t, int index, uint64_t guild_id, const char *key);
KhronosStatus bench_run_fails(Bench *b, const Told *told); /* for Bench.run */
void expiry_test_poll(ExpiryTest *t);
/* Time passes, and it is polled just when it wants to be. */
void expiry_test_pass(ExpiryTest *t, int64_t ms);
ExpiryStats expiry_test_stats(ExpiryTest *t);

#endif
