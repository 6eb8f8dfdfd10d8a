/* kill -9 at any moment: what the store acknowledged is there when it is opened again.
 *
 * A child opens the store and writes from several threads, and tells each acknowledged write
 * through a pipe; the parent kills it at a random moment, opens the file, which the child left as
 * it was, compares, and goes on with the same file. STORE_KILL_ROUNDS=n: how many times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "../store_tools.h"

enum {
    THREADS = 4,
    KEYS = 24,      /* a thread's */
    IN_FLIGHT = 12, /* requests of a thread that have not come back */
    ROUNDS_DEFAULT = 25,
    DELAY_MAX_US = 60000,
    LARGE_BYTES = 30000
};

/* A write that came back; values of a key only go up. 16 bytes: one write to a pipe. */
typedef struct Told {
    int32_t thread, key;
    int64_t number; /* of the write; below 0: the key was deleted by write -number */
} Told;

typedef struct Writer {
    Store *store;
    int index, pipe;
    uint64_t random;
    int64_t first; /* number of its first write */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int in_flight;
} Writer;

typedef struct Sent {
    Writer *writer;
    Told told;
} Sent;

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static void key_name(char *name, size_t size, int key)
{
    snprintf(name, size, "key %d", key);
}

/* The number, and sometimes enough behind it to need pages of its own. */
static void make_value(char *value, size_t size, int64_t number)
{
    if (number % 7 == 0)
        snprintf(value, size, "[%lld,\"%0*d\"]", (long long)number, LARGE_BYTES, 0);
    else
        snprintf(value, size, "[%lld]", (long long)number);
}

/* ---- The child ---- */

static void on_complete(StoreRequest *r)
{
    Sent *sent = r->userdata;
    Writer *w = sent->writer;
    if (r->status != STORE_OK || write(w->pipe, &sent->told, sizeof(Told)) != sizeof(Told))
        _exit(3);
    store_request_free(r);
    pthread_mutex_lock(&w->lock);
    w->in_flight--;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void send_one(Writer *w, int64_t number, char *value, size_t value_size)
{
    char key[32];
    int which = (int)(next_random(&w->random) % KEYS);
    key_name(key, sizeof(key), which);
    bool deletes = next_random(&w->random) % 8 == 0;
    make_value(value, value_size, number);
    StoreRequest *r = kv_request(deletes ? STORE_KV_DELETE : STORE_KV_SET, (uint64_t)w->index + 1,
                                 key, deletes ? NULL : value);
    Sent *sent = store_request_alloc(r, sizeof(*sent));
    *sent = (Sent){w, {w->index, which, deletes ? -number : number}};
    r->userdata = sent;
    r->complete = on_complete;
    pthread_mutex_lock(&w->lock);
    while (w->in_flight >= IN_FLIGHT)
        pthread_cond_wait(&w->changed, &w->lock);
    w->in_flight++;
    pthread_mutex_unlock(&w->lock);
    store_submit(w->store, r);
}

static void *writer_main(void *argument)
{
    Writer *w = argument;
    size_t value_size = LARGE_BYTES + 100;
    char *value = malloc(value_size);
    for (int64_t number = w->first;; number++)
        send_one(w, number, value, value_size);
    return NULL;
}

static void child_main(const Folder *f, int pipe, uint64_t seed, int64_t first)
{
    Store *store = open_store(&(StoreOptions){.path = f->file, .exclusive = true, .readers = 1});
    if (!store)
        _exit(2);
    Writer writers[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        writers[i] = (Writer){.store = store,
                              .index = i,
                              .pipe = pipe,
                              .random = seed + (uint64_t)i,
                              .first = first,
                              .lock = PTHREAD_MUTEX_INITIALIZER,
                              .changed = PTHREAD_COND_INITIALIZER};
        if (pthread_create(&threads[i], NULL, writer_main, &writers[i]) != 0)
            _exit(4);
    }
    pthread_join(threads[0], NULL);
    _exit(5); /* never: it writes until it is killed */
}

/* ---- The parent ---- */

typedef struct Known {
    int64_t last; /* the number of the last write that was acknowledged */
    bool deleted; /* by that */
} Known;

typedef struct Run {
    Known keys[THREADS][KEYS];
    int64_t next; /* number of the next round's first writes */
    int64_t told;
} Run;

static void learn(Run *run, const Told *told)
{
    assert_in_range(told->thread, 0, THREADS - 1);
    assert_in_range(told->key, 0, KEYS - 1);
    Known *known = &run->keys[told->thread][told->key];
    int64_t number = told->number < 0 ? -told->number : told->number;
    assert_true(number > known->last);
    known->last = number;
    known->deleted = told->number < 0;
    run->told++;
    if (number >= run->next)
        run->next = number + 1;
}

static int64_t read_until_killed(Run *run, int pipe, pid_t child, uint64_t *random)
{
    int64_t before = run->told;
    useconds_t delay = (useconds_t)(next_random(random) % DELAY_MAX_US);
    bool at_once = next_random(random) % 8 == 0; /* also while it opens the file */
    Told told;
    if (!at_once && read(pipe, &told, sizeof(told)) == sizeof(told))
        learn(run, &told);
    usleep(delay);
    assert_int_equal(kill(child, SIGKILL), 0);
    for (;;) { /* what it told before it died */
        ssize_t count = read(pipe, &told, sizeof(told));
        if (count == 0)
            break;
        assert_int_equal(count, sizeof(told));
        learn(run, &told);
    }
    return run->told - before;
}

/* The record is of the last acknowledged write, or of a later one that was on its way. */
static void compare(Store *store, Run *run, int thread, int key)
{
    Known *known = &run->keys[thread][key];
    size_t size = LARGE_BYTES + 100;
    char name[32], *value = malloc(size), *expected = malloc(size);
    key_name(name, sizeof(name), key);
    assert_int_equal(kv_get(store, (uint64_t)thread + 1, name, value, size), STORE_OK);
    long long found = -1;
    if (value[0] == '\0') {
        /* Never written, deleted, or deleted on the way: that is in what comes next. */
        found = known->last;
    } else {
        assert_int_equal(sscanf(value, "[%lld", &found), 1);
        make_value(expected, size, found);
        assert_string_equal(value, expected);
        if (found < known->last || (known->deleted && found == known->last))
            fail_msg("thread %d, %s: write %lld is there, and %lld was acknowledged", thread, name,
                     found, (long long)known->last);
    }
    if (found >= run->next)
        run->next = found + 1;
    free(value);
    free(expected);
}

/* A key that is absent though a value was acknowledged may only be so for a delete on its way: of
 * those a thread has at most IN_FLIGHT. */
static int count_absent(Store *store, const Run *run, int thread)
{
    int absent = 0;
    for (int key = 0; key < KEYS; key++) {
        const Known *known = &run->keys[thread][key];
        char name[32], value[8];
        key_name(name, sizeof(name), key);
        assert_int_equal(kv_get(store, (uint64_t)thread + 1, name, value, sizeof(value)), STORE_OK);
        absent += value[0] == '\0' && known->last > 0 && !known->deleted;
    }
    return absent;
}

/* From here on what was found counts as acknowledged: it must not get lost later. */
static void settle(Store *store, Run *run)
{
    for (int thread = 0; thread < THREADS; thread++) {
        for (int key = 0; key < KEYS; key++) {
            Known *known = &run->keys[thread][key];
            char name[32], value[64];
            long long found;
            key_name(name, sizeof(name), key);
            assert_int_equal(kv_get(store, (uint64_t)thread + 1, name, value, sizeof(value)),
                             STORE_OK);
            if (sscanf(value, "[%lld", &found) == 1)
                *known = (Known){.last = found};
            else
                known->deleted = true;
        }
    }
}

static void verify(const Folder *f, Run *run)
{
    Store *store = open_store(&(StoreOptions){.path = f->file, .exclusive = true, .readers = 2});
    assert_non_null(store);
    Strbuf report = STRBUF_INIT;
    if (!store_check(store, &report))
        fail_msg("%s", strbuf_cstr(&report));
    strbuf_free(&report);
    for (int thread = 0; thread < THREADS; thread++) {
        for (int key = 0; key < KEYS; key++)
            compare(store, run, thread, key);
        assert_in_range(count_absent(store, run, thread), 0, IN_FLIGHT);
    }
    settle(store, run);
    close_store(store);
}

static void test_kill(void **state)
{
    (void)state;
    const char *text = getenv("STORE_KILL_ROUNDS");
    int rounds = text ? atoi(text) : ROUNDS_DEFAULT;
    Folder f;
    folder_make(&f);
    Run *run = calloc(1, sizeof(*run));
    run->next = 1;
    uint64_t random = 4711;
    int empty = 0;
    for (int round = 0; round < rounds; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        uint64_t seed = next_random(&random);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            child_main(&f, ends[1], seed, run->next);
        }
        close(ends[1]);
        empty += read_until_killed(run, ends[0], child, &random) == 0;
        close(ends[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        verify(&f, run);
    }
    print_message("%d rounds, %lld acknowledged writes, %d rounds without one\n", rounds,
                  (long long)run->told, empty);
    assert_true(run->told > rounds);
    free(run);
    folder_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
