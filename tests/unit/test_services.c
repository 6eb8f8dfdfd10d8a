/* Services for templates' calls: what is done and what is refused, allowances, checks before saves,
 * the end. */
#include <setjmp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "../fake_store.h"
#include "plugins/store_call.h"
#include "worker/allowance.h"
#include "worker/services.h"

enum { GUILD = 7 };

typedef struct Bench {
    KhronosSandbox *sandbox;
    FakeStore fake;
    Services *services;
    WorkerCalls calls;
    atomic_ullong now_ns;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    KhronosCall *first, *last; /* answered, under the lock */
} Bench;

static void on_answer(void *userdata, KhronosCall *call)
{
    Bench *b = userdata;
    pthread_mutex_lock(&b->lock);
    call->next = NULL;
    *(b->first ? &b->last->next : &b->first) = call;
    b->last = call;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static uint64_t bench_clock(void *userdata)
{
    return atomic_load(&((Bench *)userdata)->now_ns);
}

static int set_up(void **state)
{
    char error[256];
    Bench *b = calloc(1, sizeof(*b));
    b->sandbox = sandbox_new(NULL, 0, error, sizeof(error));
    fake_store_init(&b->fake);
    atomic_store(&b->now_ns, 1000 * CLOCK_NS_PER_S);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    b->services = services_new(b->sandbox, &b->fake.store, bench_clock, b);
    assert_non_null(b->services);
    services_options(b->services, &b->calls);
    services_answer_with(b->services, on_answer, b);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    Bench *b = *state;
    services_stop(b->services);
    services_free(b->services);
    assert_null(b->first);
    fake_store_free(&b->fake);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    sandbox_release(b->sandbox);
    free(b);
    return 0;
}

/* ---- Calls ------------------------------------------------------------------------------------
 */

static void drop(KhronosCall *call)
{
    store_request_free(((StoreCall *)call)->request);
    free(call);
}

static void refuse(KhronosCall *call, const char *text)
{
    StoreCall *stored = (StoreCall *)call;
    stored->refused = true;
    if (stored->request)
        store_request_fail(stored->request, STORE_INTERNAL, text);
}

static const KhronosCallKind KIND = {.number = STORE_CALL_KIND, .drop = drop, .refuse = refuse};
static const KhronosCallKind OTHER_KIND = {.number = 99, .drop = drop, .refuse = refuse};

/* `guild_id` is what the call is of; what the request says is a lie. */
static StoreCall *new_call(uint64_t guild_id, StoreOp op, int ops)
{
    StoreCall *call = calloc(1, sizeof(*call));
    call->call = (KhronosCall){.kind = &KIND, .guild_id = guild_id, .ticket = 5};
    call->request = store_request_new(op, guild_id + 1);
    call->request->op_count = ops;
    if (ops > 0)
        call->request->ops = store_request_alloc(call->request, (size_t)ops * sizeof(StoreKvOp));
    return call;
}

static StoreCall *new_save(uint64_t guild_id, const char *source)
{
    StoreCall *call = new_call(guild_id, STORE_SAVE, 0);
    StoreRequest *request = call->request;
    StoreTemplate *t = store_request_alloc(request, sizeof(*t));
    StoreFile *file = store_request_alloc(request, sizeof(*file));
    *file = (StoreFile){{"init.luau", 9}, {source, strlen(source)}};
    *t = (StoreTemplate){.name = {"name", 4}, .enabled = true, .files = file, .file_count = 1};
    request->save = t;
    return call;
}

static void take(Bench *b, StoreCall *call)
{
    b->calls.take(b->calls.userdata, &call->call);
}

static StoreCall *take_answer(Bench *b)
{
    pthread_mutex_lock(&b->lock);
    while (!b->first)
        pthread_cond_wait(&b->changed, &b->lock);
    KhronosCall *call = b->first;
    b->first = call->next;
    pthread_mutex_unlock(&b->lock);
    return (StoreCall *)call;
}

static void expect_refused(Bench *b, const StoreCall *call, const char *text)
{
    StoreCall *answered = take_answer(b);
    char message[256] = "";
    assert_ptr_equal(answered, call);
    assert_true(answered->refused);
    snprintf(message, sizeof(message), "%.*s", (int)answered->request->message.length,
             answered->request->message.data);
    if (!strstr(message, text))
        fail_msg("expected %s\ngot      %s", text, message);
    drop(&answered->call);
}

static void expect_done(Bench *b, const StoreCall *call)
{
    StoreCall *answered = take_answer(b);
    assert_ptr_equal(answered, call);
    assert_false(answered->refused);
    assert_int_equal(answered->request->status, STORE_OK);
    drop(&answered->call);
}

static void test_done(void **state)
{
    Bench *b = *state;
    StoreCall *call = new_call(GUILD, STORE_KV, 1);
    take(b, call);
    StoreRequest *request = fake_store_take(&b->fake);
    assert_ptr_equal(request, call->request);
    assert_int_equal(request->guild_id, GUILD); /* not what it said */
    assert_null(b->first);
    fake_store_answer(request, STORE_OK, NULL);
    expect_done(b, call);
    /* What the store says is passed on, no refusal. */
    call = new_call(GUILD, STORE_KV_FIND, 0);
    take(b, call);
    fake_store_answer(fake_store_take(&b->fake), STORE_TOO_MANY, "100,000 records");
    assert_ptr_equal(take_answer(b), call);
    assert_false(call->refused);
    assert_int_equal(call->request->status, STORE_TOO_MANY);
    drop(&call->call);
}

static void test_refused(void **state)
{
    Bench *b = *state;
    static const StoreOp forbidden[] = {STORE_KV_RESUMES, STORE_RESUMERS,     STORE_LOAD,
                                        STORE_DUE_TAKE,   STORE_DUE_DONE,     STORE_SCHEDULE_NEW,
                                        STORE_SCHEDULES,  (StoreOp)STORE_OPS, (StoreOp)-1};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(forbidden); i++) {
        StoreCall *call = new_call(GUILD, forbidden[i], 0);
        take(b, call);
        expect_refused(b, call, "the store cannot do this for a template");
    }
    StoreCall *call = new_call(GUILD, STORE_KV, 0);
    take(b, call);
    expect_refused(b, call, "64 operations");
    call = new_call(GUILD, STORE_KV, 65);
    take(b, call);
    expect_refused(b, call, "64 operations");
    call = new_call(GUILD, STORE_SAVE, 0);
    take(b, call);
    expect_refused(b, call, "nothing to save");
    call = new_call(GUILD, STORE_KV, 1);
    call->call.kind = &OTHER_KIND;
    take(b, call);
    expect_refused(b, call, "nobody serves this call");
    assert_int_equal(fake_store_submitted(&b->fake), 0);
    assert_null(b->calls.read(b->calls.userdata, 99, "", 0));
}

/* ---- Allowances -------------------------------------------------------------------------------
 */

static void do_kv(Bench *b, uint64_t guild_id, int ops)
{
    StoreCall *call = new_call(guild_id, STORE_KV, ops);
    take(b, call);
    fake_store_answer(fake_store_take(&b->fake), STORE_OK, NULL);
    expect_done(b, call);
}

static void test_operations(void **state)
{
    Bench *b = *state;
    for (int i = 0; i < 15; i++)
        do_kv(b, GUILD, 64); /* each operation of a list counts */
    do_kv(b, GUILD, 40);
    StoreCall *call = new_call(GUILD, STORE_KV_KEYS, 0);
    take(b, call);
    expect_refused(b, call, "1000 operations a second for a guild; try again in 0.01 seconds");
    call = new_call(GUILD, STORE_KV, 64);
    take(b, call);
    expect_refused(b, call, "try again in 0.07 seconds");
    do_kv(b, GUILD + 1, 64); /* it is each guild's own */
    atomic_fetch_add(&b->now_ns, 64 * CLOCK_NS_PER_MS);
    do_kv(b, GUILD, 64);
    call = new_call(GUILD, STORE_KV, 1);
    take(b, call);
    expect_refused(b, call, "rate limit");
    StoreCall *other = new_call(GUILD, STORE_DELETE, 0); /* another allowance */
    take(b, other);
    fake_store_answer(fake_store_take(&b->fake), STORE_OK, NULL);
    expect_done(b, other);
    atomic_fetch_add(&b->now_ns, CLOCK_NS_PER_S);
    for (int i = 0; i < 10; i++)
        do_kv(b, GUILD, 64);
}

static void test_changes(void **state)
{
    Bench *b = *state;
    for (int i = 0; i < TEMPLATE_SAVES_PER_MINUTE; i++) {
        StoreCall *call = new_call(GUILD, i % 2 ? STORE_DELETE : STORE_ACTIVATE, 0);
        take(b, call);
        fake_store_answer(fake_store_take(&b->fake), STORE_OK, NULL);
        expect_done(b, call);
    }
    StoreCall *call = new_save(GUILD, "return 1");
    take(b, call);
    expect_refused(b, call, "30 changes of templates a minute for a guild; try again in 2.00 ");
    atomic_fetch_add(&b->now_ns, 2 * CLOCK_NS_PER_S);
    call = new_save(GUILD, "return 1");
    take(b, call);
    fake_store_answer(fake_store_take(&b->fake), STORE_OK, NULL);
    expect_done(b, call);
}

/* Buckets that are full are forgotten; the others are right. */
static void test_buckets(void **state)
{
    (void)state;
    Allowance allowance;
    uint64_t now_ns = 10;
    allowance_init(&allowance, 10, 1000);
    for (uint64_t guild = 1; guild <= 500; guild++)
        assert_int_equal(allowance_take(&allowance, guild, 10, now_ns), 0);
    assert_int_equal(allowance.buckets.count, 500);
    assert_int_equal(allowance_take(&allowance, 1, 1, now_ns), 100);
    assert_int_equal(allowance_take(&allowance, 1, 5, now_ns + 100), 400);
    assert_int_equal(allowance_take(&allowance, 1, 1, now_ns + 100), 0);
    assert_int_equal(allowance_take(&allowance, 1, 1, now_ns + 100), 100);
    now_ns += 5000;
    for (int i = 0; i < 500; i++)
        assert_int_equal(allowance_take(&allowance, 1000, 10, now_ns + (uint64_t)i * 1000), 0);
    assert_int_equal(allowance.buckets.count, 1);
    allowance_free(&allowance);
}

/* ---- Saves ------------------------------------------------------------------------------------
 */

static void test_saves_are_checked(void **state)
{
    Bench *b = *state;
    StoreCall *good = new_save(GUILD, "return 1");
    take(b, good);
    StoreRequest *request = fake_store_take(&b->fake);
    assert_ptr_equal(request, good->request);
    assert_int_equal(request->guild_id, GUILD);
    fake_store_answer(request, STORE_OK, NULL);
    expect_done(b, good);

    StoreCall *bad = new_save(GUILD, "local x = 1\nlocal = 2");
    take(b, bad);
    assert_ptr_equal(take_answer(b), bad);
    assert_false(bad->refused);
    assert_int_equal(bad->request->status, STORE_INVALID);
    assert_memory_equal(bad->request->message.data, "init.luau:2:7: ", 15);
    assert_int_equal(fake_store_submitted(&b->fake), 1);
    drop(&bad->call);
}

static void test_queue_of_saves(void **state)
{
    Bench *b = *state;
    enum { CALLS = TEMPLATE_SAVES_PER_MINUTE };
    size_t length = (1 << 20) - 8;
    char *slow = malloc(length + 1); /* takes long enough for the others to queue up */
    for (size_t i = 0; i < length; i++)
        slow[i] = "local x=1 "[i % 10];
    memcpy(slow + length / 10 * 10 - 20, "--", 2);
    slow[length] = '\0';
    memset(slow, ' ', 20);
    for (int i = 0; i < CALLS; i++) {
        StoreCall *call = new_save(GUILD, slow);
        take(b, call);
    }
    int refused = 0, others = 0;
    for (int i = 0; i < CALLS; i++) {
        while (fake_store_waiting(&b->fake) > 0)
            fake_store_answer(fake_store_take(&b->fake), STORE_OK, NULL);
        pthread_mutex_lock(&b->lock);
        bool any = b->first != NULL;
        pthread_mutex_unlock(&b->lock);
        if (!any) {
            i--;
            sched_yield();
            continue;
        }
        StoreCall *answered = take_answer(b);
        refused += answered->refused;
        others += !answered->refused;
        drop(&answered->call);
    }
    assert_int_equal(refused + others, CALLS);
    assert_true(others >= SAVES_WAITING_GUILD_MAX);
    free(slow);
}

/* What waits to be checked is bounded in bytes, too, and what was checked makes room again. */
static void test_bytes_of_saves(void **state)
{
    Bench *b = *state;
    StoreCall *call = new_save(GUILD, "return 1");
    call->request->bytes = SAVES_WAITING_BYTES_MAX + 1;
    take(b, call);
    expect_refused(b, call, "too many templates wait to be checked; try again in a moment");
    for (int i = 0; i < 5; i++) {
        call = new_save(GUILD, "return 1");
        call->request->bytes = SAVES_WAITING_BYTES_MAX;
        take(b, call);
        fake_store_answer(fake_store_take(&b->fake), STORE_OK, NULL);
        expect_done(b, call);
    }
}

/* ---- The end ----------------------------------------------------------------------------------
 */

typedef struct Stopper {
    Bench *b;
    atomic_bool stopped;
} Stopper;

static void *stop_main(void *arg)
{
    Stopper *stopper = arg;
    services_stop(stopper->b->services);
    atomic_store(&stopper->stopped, true);
    return NULL;
}

static void test_stop(void **state)
{
    Bench *b = *state;
    Stopper stopper = {.b = b};
    pthread_t thread;
    StoreCall *call = new_call(GUILD, STORE_KV, 1), *late;
    take(b, call);
    StoreRequest *request = fake_store_take(&b->fake);
    assert_int_equal(pthread_create(&thread, NULL, stop_main, &stopper), 0);
    for (bool refused = false; !refused;) { /* until it has begun */
        late = new_call(GUILD, STORE_KV, 1);
        take(b, late);
        if (fake_store_waiting(&b->fake) > 0)
            fake_store_answer(fake_store_take(&b->fake), STORE_OK, NULL);
        assert_ptr_equal(take_answer(b), late);
        refused = late->refused &&
                  strstr(late->request->message.data, "the server is shutting down");
        drop(&late->call);
    }
    assert_false(atomic_load(&stopper.stopped)); /* one is under way */
    fake_store_answer(request, STORE_OK, NULL);
    pthread_join(thread, NULL);
    expect_done(b, call);
    late = new_save(GUILD, "return 1");
    take(b, late);
    expect_refused(b, late, "the server is shutting down");
}

/* ---- Threads ----------------------------------------------------------------------------------
 */

enum { CALLERS = 3, EACH = 300 };

typedef struct Caller {
    Bench *b;
    uint64_t guild_id;
} Caller;

static void *call_main(void *arg)
{
    const Caller *caller = arg;
    for (int i = 0; i < EACH; i++)
        take(caller->b, i % 20 == 0 ? new_save(caller->guild_id, "return 1")
                                    : new_call(caller->guild_id, STORE_KV, 1));
    return NULL;
}

static void *serve_main(void *arg)
{
    Bench *b = arg;
    for (;;) {
        StoreRequest *request = fake_store_take(&b->fake);
        bool is_last = request->op == STORE_SYNC;
        fake_store_answer(request, STORE_OK, NULL);
        if (is_last)
            return NULL;
    }
}

static void ignore(StoreRequest *request)
{
    (void)request;
}

static void test_threads(void **state)
{
    Bench *b = *state;
    pthread_t threads[CALLERS], server;
    Caller callers[CALLERS];
    assert_int_equal(pthread_create(&server, NULL, serve_main, b), 0);
    for (int i = 0; i < CALLERS; i++) {
        callers[i] = (Caller){b, (uint64_t)i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, call_main, &callers[i]), 0);
    }
    for (int i = 0; i < CALLERS * EACH; i++) {
        StoreCall *call = take_answer(b);
        assert_int_equal(call->call.ticket, 5);
        if (!call->refused) {
            assert_int_equal(call->request->status, STORE_OK);
            assert_int_equal(call->request->guild_id, call->call.guild_id);
        }
        drop(&call->call);
    }
    for (int i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
    StoreRequest *last = store_request_new(STORE_SYNC, 0);
    last->complete = ignore;
    store_submit(&b->fake.store, last);
    pthread_join(server, NULL);
    store_request_free(last);
}

int main(void)
{
#define BENCHED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        BENCHED(test_done),
        BENCHED(test_refused),
        BENCHED(test_operations),
        BENCHED(test_changes),
        cmocka_unit_test(test_buckets),
        BENCHED(test_saves_are_checked),
        BENCHED(test_queue_of_saves),
        BENCHED(test_bytes_of_saves),
        BENCHED(test_stop),
        BENCHED(test_threads),
    };
    return cmocka_run_group_tests_name("services", tests, NULL, NULL);
}
