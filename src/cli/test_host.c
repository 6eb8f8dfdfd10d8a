#include "cli/test_host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/jsontext.h"
#include "base/random.h"
#include "cli/test_runs.h"
#include "cli/test_store.h"
#include "plugins/store_call.h"
#include "store/sqlite.h"
#include "worker/expiry.h"
#include "worker/services.h"

enum { TICK_US = 500, GUILD_ID = 1, LOG_LINES_PER_SECOND = 100000, LOGS_MAX = 256 << 10 };
/* Time that may pass by itself while a test waits; what it asks for with advance() is extra. */
#define PATIENCE_NS (7 * 24 * 3600 * CLOCK_NS_PER_S)
#define NEVER_NS UINT64_MAX
static const char DRIVER_NAME[] = "testing.driver";

struct TestHost {
    TestHostOptions options;
    KhronosTemplate *driver;
    KhronosLimits limits;
    KhronosLog log;
    luau_Ticker *ticker;
    luau_Fibers *fibers;
    KhronosRuntime *rt; /* NULL: the next test makes one */
    Store *store;
    Services *services;
    Dispatcher *dispatcher;
    Expiry *expiry;
    TestRuns runs;
    Strbuf list; /* what was registered */
    /* Read by the store's threads, for times of records; what they do was asked for after the clock
     * was moved, so relaxed is enough. */
    _Atomic uint64_t now_ns;

    /* Of the execution that is waited for. */
    KhronosExecution *main;
    bool main_done;
    TestVerdict *verdict;
    char gave_up[80]; /* why it was cancelled; "": it was not */
    bool skipped;
    uint64_t cpu_ns, patience_end_ns;

    LuaVmAction *actions_first, *actions_last; /* not begun */
    KhronosCall *mine_first, *mine_last;       /* calls that are for the host, not done */
    bool closing;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* -- under the lock -- */
    KhronosCall *answered_first, *answered_last;
    int under_way; /* calls that the services have, requests that the store has */
};

void test_verdict_free(TestVerdict *verdict)
{
    strbuf_free(&verdict->message);
    strbuf_free(&verdict->traceback);
    strbuf_free(&verdict->logs);
}

/* ---- Time -------------------------------------------------------------------------------------
 */

static uint64_t now_ns(const TestHost *h)
{
    return atomic_load_explicit(&h->now_ns, memory_order_relaxed);
}

static uint64_t clock_of_runtime(void *userdata)
{
    return now_ns(userdata);
}

static int64_t clock_of_store(void *userdata)
{
    return testing_wall_ms(now_ns(userdata));
}

/* For allowances: what a test does within no time at all is spread over the time it really took. */
static uint64_t clock_of_services(void *userdata)
{
    return now_ns(userdata) + clock_monotonic_ns();
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- The inbox: other threads -----------------------------------------------------------------
 */

static void on_way_in(void *userdata)
{
    TestHost *h = userdata;
    pthread_mutex_lock(&h->lock);
    h->under_way++;
    pthread_mutex_unlock(&h->lock);
}

static void on_way_out(void *userdata)
{
    TestHost *h = userdata;
    pthread_mutex_lock(&h->lock);
    if (--h->under_way == 0)
        pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

static void put_answered(TestHost *h, KhronosCall *call)
{
    pthread_mutex_lock(&h->lock);
    call->next = NULL;
    *(h->answered_first ? &h->answered_last->next : &h->answered_first) = call;
    h->answered_last = call;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

/* Of a call that the services had. */
static void on_answered(void *userdata, KhronosCall *call)
{
    put_answered(userdata, call);
    on_way_out(userdata);
}

static KhronosCall *take_answered(TestHost *h)
{
    pthread_mutex_lock(&h->lock);
    KhronosCall *call = h->answered_first;
    if (call)
        h->answered_first = call->next;
    pthread_mutex_unlock(&h->lock);
    if (call)
        call->next = NULL;
    return call;
}

/* True: there was something to wait for. */
static bool wait_for_others(TestHost *h)
{
    pthread_mutex_lock(&h->lock);
    bool any = h->answered_first || h->under_way > 0;
    while (!h->answered_first && h->under_way > 0)
        pthread_cond_wait(&h->changed, &h->lock);
    pthread_mutex_unlock(&h->lock);
    return any;
}

/* ---- Actions of the dispatcher ----------------------------------------------------------------
 * The templates are at hand, so everything that comes from the dispatcher comes on this thread. */

/* own: a test asked for it. */
static void begin_action(TestHost *h, LuaVmAction *action, bool own)
{
    int count;
    if (action->type != VM_ACTION_DISPATCH_EVENT && action->type != VM_ACTION_EXECUTE) {
        action->outcome = VM_ACTION_NOT_FOUND;
        action->complete(action);
        return;
    }
    KhronosExecution *x = action_executions(action, &count);
    if (action->starting)
        action->starting(action);
    action->unfinished = count;
    if (count == 0) {
        action->outcome = VM_ACTION_DONE;
        action->complete(action);
        return;
    }
    for (int i = 0; i < count; i++) {
        x[i].keep_logs = true;
        x[i].owner = action;
        test_runs_watch(&h->runs, &x[i], own, now_ns(h));
        khronos_submit(h->rt, &x[i]);
    }
}

static void on_action(void *userdata, LuaVmAction *action)
{
    TestHost *h = userdata;
    action->next = NULL;
    if (h->closing) {
        action->outcome = VM_ACTION_SHUTTING_DOWN;
        action->complete(action);
    } else if (h->runs.dispatching) {
        begin_action(h, action, true); /* deliver: the VM is at rest */
    } else {
        *(h->actions_first ? &h->actions_last->next : &h->actions_first) = action;
        h->actions_last = action;
    }
}

static void end_of_action(KhronosExecution *x)
{
    LuaVmAction *action = x->owner;
    if (x->status >= KHRONOS_MEMORY_LIMIT)
        action->info.state = VM_BROKEN;
    if (--action->unfinished > 0)
        return;
    action->outcome = VM_ACTION_DONE;
    action->complete(action);
}

/* Into what the test printed. */
static void put_line(TestHost *h, const char *template_name, const char *text, size_t length)
{
    Strbuf *logs = h->verdict ? &h->verdict->logs : NULL;
    if (!logs || logs->length > LOGS_MAX)
        return;
    if (template_name)
        strbuf_printf(logs, "[%s] ", template_name);
    strbuf_put(logs, text, length);
    strbuf_putc(logs, '\n');
}

/* Of a template. Who looks at a test that failed wants to know of it. */
static void end_of_run(TestHost *h, KhronosExecution *x)
{
    if (x->status != KHRONOS_OK) {
        Strbuf text = STRBUF_INIT;
        strbuf_puts(&text, "failed: ");
        strbuf_put(&text, x->message.data, x->message.length);
        put_line(h, template_name(x->template_version), text.data, text.length);
        strbuf_free(&text);
    }
    if (!test_runs_finish(&h->runs, x))
        end_of_action(x);
}

/* ---- Calls of the testing module --------------------------------------------------------------
 */

static void forget_scope(TestHost *h, Text scope)
{
    bool more = true;
    while (more) {
        StoreRequest *found = store_request_new(STORE_KV_FIND, GUILD_ID);
        StoreRequest *gone = store_request_new(STORE_KV, GUILD_ID);
        more = false;
        if (found && gone) {
            found->pattern = (Text){"%", 1};
            found->scopes = &scope;
            found->scope_count = 1;
            found->count_max = STORE_ATOMIC_MAX;
            store_wait(h->store, found);
            gone->ops = store_request_alloc(gone, STORE_ATOMIC_MAX * sizeof(StoreKvOp));
        }
        if (gone && gone->ops && found->status == STORE_OK && found->record_count > 0) {
            gone->op_count = found->record_count;
            for (int i = 0; i < found->record_count; i++)
                gone->ops[i] = (StoreKvOp){.kind = STORE_KV_DELETE,
                                           .which = {.id = found->records[i].id}};
            store_wait(h->store, gone);
            more = gone->status == STORE_OK;
        }
        store_request_free(found);
        store_request_free(gone);
    }
}

/* Every record has a scope. */
static void forget_data(TestHost *h, TestingCall *call)
{
    for (;;) {
        StoreRequest *scopes = store_request_new(STORE_KV_SCOPES, GUILD_ID);
        if (scopes)
            store_wait(h->store, scopes);
        bool ok = scopes && scopes->status == STORE_OK;
        int count = ok ? scopes->text_count : 0;
        for (int i = 0; i < count; i++)
            forget_scope(h, scopes->texts[i]);
        if (!ok)
            snprintf(call->error, sizeof(call->error), "the store cannot be emptied");
        store_request_free(scopes);
        if (count == 0)
            return;
    }
}

static void cancel_main(TestHost *h, const char *why)
{
    if (h->main_done || h->gave_up[0] != '\0')
        return;
    snprintf(h->gave_up, sizeof(h->gave_up), "%s", why);
    khronos_cancel(h->rt, h->main->id);
}

static void do_skip(TestHost *h, TestingCall *call)
{
    h->skipped = true;
    strbuf_clear(&h->verdict->message);
    strbuf_put(&h->verdict->message, call->name.data, call->name.length);
    put_answered(h, &call->call); /* its thread ends before it is told */
    cancel_main(h, "skipped");
}

static void do_call(TestHost *h, TestingCall *call)
{
    KhronosExecution *x;
    switch (call->op) {
    case TESTING_PUBLISH:
        strbuf_clear(&h->list);
        strbuf_put(&h->list, call->name.data, call->name.length);
        break;
    case TESTING_RUN:
        x = test_runs_prepare(&h->runs, call, h->options.templates, h->options.folder, now_ns(h));
        if (!x)
            break;
        khronos_submit(h->rt, x);
        return;
    case TESTING_DISPATCH: test_runs_dispatch(&h->runs, call, h->dispatcher, GUILD_ID); return;
    case TESTING_ADVANCE:
        test_runs_advance(&h->runs, call, now_ns(h));
        h->patience_end_ns += (uint64_t)(call->seconds * 1e9);
        return;
    case TESTING_RESET: forget_data(h, call); break;
    case TESTING_SKIP: do_skip(h, call); return;
    }
    put_answered(h, &call->call);
}

static void on_run_answered(void *userdata, TestingCall *call)
{
    put_answered(userdata, &call->call);
}

/* ---- Turns ------------------------------------------------------------------------------------
 */

/* What the step asked for. */
static void take_calls(TestHost *h)
{
    WorkerCalls services;
    services_options(h->services, &services);
    for (KhronosCall *call; (call = khronos_take_call(h->rt)) != NULL;) {
        if (call->kind->number == TESTING_CALL_KIND) {
            *(h->mine_first ? &h->mine_last->next : &h->mine_first) = call;
            h->mine_last = call;
            continue;
        }
        on_way_in(h);
        services.take(services.userdata, call);
    }
}

/* Everything that came for the VM, which is at rest. */
static void deliver(TestHost *h)
{
    for (KhronosCall *call; (call = h->mine_first) != NULL;) {
        h->mine_first = call->next;
        call->next = NULL;
        do_call(h, (TestingCall *)call);
    }
    for (KhronosCall *call; (call = take_answered(h)) != NULL;)
        khronos_answer(h->rt, call);
    for (LuaVmAction *action; (action = h->actions_first) != NULL;) {
        h->actions_first = action->next;
        begin_action(h, action, false);
    }
}

static bool has_something(TestHost *h)
{
    pthread_mutex_lock(&h->lock);
    bool any = h->answered_first || h->mine_first || h->actions_first;
    pthread_mutex_unlock(&h->lock);
    return any;
}

static void collect(TestHost *h)
{
    for (KhronosExecution *x; (x = khronos_take_finished(h->rt)) != NULL;) {
        if (x == h->main)
            h->main_done = true;
        else
            end_of_run(h, x);
    }
}

/* The earliest moment at which something happens; NEVER_NS: none. */
static uint64_t next_event_ns(TestHost *h, int64_t expiry_ms)
{
    uint64_t due_ns = khronos_due_ns(h->rt), next_ns = due_ns > 0 ? due_ns : NEVER_NS;
    uint64_t runs_ns = test_runs_due_ns(&h->runs);
    if (runs_ns < next_ns)
        next_ns = runs_ns;
    if (expiry_ms != STORE_NO_TIME) {
        int64_t since_ms = expiry_ms - testing_wall_ms(TESTING_START_NS);
        uint64_t expiry_ns = TESTING_START_NS;
        if (since_ms > 0)
            expiry_ns += (uint64_t)since_ms * CLOCK_NS_PER_MS;
        if (expiry_ns <= now_ns(h)) /* it had its turn just now */
            expiry_ns = now_ns(h) + CLOCK_NS_PER_MS;
        if (expiry_ns < next_ns)
            next_ns = expiry_ns;
    }
    return next_ns;
}

/* The VM is idle: others finish first; then what is due; then time passes. */
static void settle(TestHost *h)
{
    if (has_something(h) || wait_for_others(h))
        return;
    int64_t expiry_ms = expiry_poll(h->expiry);
    if (has_something(h) || wait_for_others(h))
        return;
    if (test_runs_end_advances(&h->runs, now_ns(h)))
        return;
    uint64_t next_ns = next_event_ns(h, expiry_ms);
    if (next_ns == NEVER_NS) {
        cancel_main(h, "it waits, and nothing would ever wake it");
        return;
    }
    if (next_ns > h->patience_end_ns) {
        cancel_main(h, "it waited for 7 days (of the test's clock) and did not end");
        return;
    }
    if (next_ns > now_ns(h))
        atomic_store_explicit(&h->now_ns, next_ns, memory_order_relaxed);
    dispatcher_poll(h->dispatcher);
    for (const char *id; (id = test_runs_overdue(&h->runs, now_ns(h))) != NULL;)
        khronos_cancel(h->rt, id);
}

/* The VM is killed for what runs long without a wait, and says where. This is about the sum. */
static void check_cpu(TestHost *h)
{
    char text[80];
    if (h->cpu_ns <= h->options.timeout_ns + h->options.timeout_ns / 4)
        return;
    snprintf(text, sizeof(text), "it used more than %.3g s of processor time",
             (double)h->options.timeout_ns / 1e9);
    cancel_main(h, text);
}

/* Until the execution is back. */
static void run_main(TestHost *h, KhronosExecution *x)
{
    h->main = x;
    h->main_done = h->skipped = false;
    h->gave_up[0] = '\0';
    h->cpu_ns = 0;
    h->patience_end_ns = now_ns(h) + PATIENCE_NS;
    khronos_submit(h->rt, x);
    while (!h->main_done) {
        if (!khronos_isparked(h->rt))
            deliver(h);
        uint64_t before_ns = thread_cpu_ns();
        KhronosStep step = khronos_step(h->rt, h->fibers);
        h->cpu_ns += thread_cpu_ns() - before_ns;
        BASE_ASSERT(step != KHRONOS_PANICKED); /* without a hook a panic ends the process */
        take_calls(h);
        collect(h);
        if (khronos_isbroken(h->rt))
            break;
        check_cpu(h);
        collect(h);
        if (step == KHRONOS_IDLE && !h->main_done)
            settle(h);
        collect(h);
    }
    h->main = NULL;
}

/* ---- The VM -----------------------------------------------------------------------------------
 */

static void on_line(void *userdata, uint64_t guild_id, const char *name, int level,
                    const char *text, size_t length)
{
    TestHost *h = userdata;
    (void)guild_id;
    (void)level;
    bool own = strcmp(name, template_name(h->options.file)) == 0 || strcmp(name, DRIVER_NAME) == 0;
    put_line(h, own ? NULL : name, text, length);
}

static void drop_vm(TestHost *h)
{
    if (!h->rt)
        return;
    if (!khronos_isbroken(h->rt))
        khronos_break(h->rt, KHRONOS_BROKEN, "the test file came to its end");
    collect(h);
    for (KhronosCall *call; (call = h->mine_first) != NULL;) {
        h->mine_first = call->next;
        khronos_answer(h->rt, call);
    }
    test_runs_drop_advances(&h->runs);
    for (KhronosCall *call; (call = take_answered(h)) != NULL;)
        khronos_answer(h->rt, call);
    h->verdict = NULL;
    khronos_free(h->rt);
    h->rt = NULL;
}

static bool make_vm(TestHost *h)
{
    h->rt = khronos_new(h->options.sandbox, GUILD_ID, &h->limits, &h->log);
    if (!h->rt)
        return false;
    khronos_setclock(h->rt, clock_of_runtime, h);
    return true;
}

/* ---- Executions -------------------------------------------------------------------------------
 */

/* Only the frames of the author's files, "./" in front of none. */
static void put_traceback(Strbuf *out, const Strbuf *frames)
{
    const char *p = frames->data, *end = p + frames->length;
    for (const char *stop; p < end; p = stop + 1) {
        stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop)
            stop = end;
        size_t length = (size_t)(stop - p);
        if (length == 0 || p[0] == '[' /* [C], and the driver */)
            continue;
        strbuf_put(out, p, length);
        strbuf_putc(out, '\n');
    }
}

static void judge(TestHost *h, KhronosExecution *x, TestVerdict *verdict)
{
    if (h->skipped) {
        verdict->status = TEST_SKIPPED;
        return;
    }
    if (x->status == KHRONOS_OK)
        return;
    if (verdict->status == TEST_FAILED) /* by what came before: that is the one to tell */
        return;
    verdict->status = TEST_FAILED;
    strbuf_clear(&verdict->message);
    if (h->gave_up[0] != '\0' && x->status == KHRONOS_CANCELLED)
        strbuf_puts(&verdict->message, h->gave_up);
    else
        strbuf_put(&verdict->message, x->message.data, x->message.length);
    if (x->traceback.length > 0)
        put_traceback(&verdict->traceback, &x->traceback);
    if (strncmp(x->path, TESTING_DRIVER, strlen(TESTING_DRIVER)) != 0) {
        snprintf(verdict->path, sizeof(verdict->path), "%s", x->path);
        verdict->line = x->line;
        verdict->column = x->column;
    }
}

static void execute(TestHost *h, KhronosTemplate *t, const char *data, TestVerdict *verdict)
{
    char id[RANDOM_ID_SIZE];
    static const char name[] = "Testing";
    KhronosEvent event = {.base_name = {name, sizeof(name) - 1},
                          .name = {name, sizeof(name) - 1},
                          .data = {data, data ? strlen(data) : 0}};
    Strbuf out = STRBUF_INIT;
    random_id(id);
    KhronosExecution x = {.template_version = t, .event = &event, .id = id, .out = &out};
    uint64_t start_ns = clock_monotonic_ns();
    h->verdict = verdict;
    run_main(h, &x);
    h->verdict = NULL;
    verdict->took_ns += clock_monotonic_ns() - start_ns;
    judge(h, &x, verdict);
    if (khronos_isbroken(h->rt))
        drop_vm(h);
    execution_free(&x);
    strbuf_free(&out);
}

static void fail(TestVerdict *verdict, const char *message)
{
    verdict->status = TEST_FAILED;
    strbuf_puts(&verdict->message, message);
}

void test_host_load(TestHost *h, TestVerdict *verdict)
{
    *verdict = (TestVerdict){0};
    if (!make_vm(h)) {
        fail(verdict, "not enough memory for a VM");
        return;
    }
    execute(h, h->options.file, NULL, verdict);
    if (verdict->status == TEST_OK && h->rt)
        execute(h, h->driver, "{\"phase\":\"publish\"}", verdict);
    if (verdict->status != TEST_OK)
        drop_vm(h);
}

const Strbuf *test_host_list(const TestHost *h)
{
    return &h->list;
}

void test_host_run(TestHost *h, int test, bool has_after, TestVerdict *verdict)
{
    char data[64];
    *verdict = (TestVerdict){0};
    if (!h->rt) {
        test_host_load(h, verdict);
        if (verdict->status != TEST_OK)
            return;
        verdict->took_ns = 0;
    }
    snprintf(data, sizeof(data), "{\"phase\":\"test\",\"test\":%d}", test);
    execute(h, h->driver, data, verdict);
    if (!has_after || !h->rt)
        return;
    snprintf(data, sizeof(data), "{\"phase\":\"after\",\"test\":%d}", test);
    execute(h, h->driver, data, verdict);
}

/* ---- Life -------------------------------------------------------------------------------------
 */

/* Set before anything is asked of the store. */
static void on_due_changed(void *userdata, int64_t due_ms)
{
    TestHost *h = userdata;
    expiry_due_changed(h->expiry, due_ms);
}

static KhronosTemplate *make_driver(KhronosSandbox *sandbox, char *error, size_t error_size)
{
    KhronosTemplate *t = template_new(sandbox, DRIVER_NAME, 1, "");
    char *source = strdup(testing_driver);
    if (t && source &&
        template_addfile(t, "init.luau", TESTING_DRIVER, source, strlen(source), error, error_size))
        return t;
    template_release(t);
    return NULL;
}

static bool open_store(TestHost *h, char *error, size_t error_size)
{
    StoreStatus status;
    StoreOptions options = {.path = h->options.store_path,
                            .exclusive = true,
                            .readers = 1,
                            .observer = {.due_changed = on_due_changed, .userdata = h},
                            .clock_ms = clock_of_store,
                            .clock_userdata = h};
    Store *store = sqlite_open(&options, &status, error, error_size);
    if (!store)
        return false;
    h->store = test_store_new(store, (TestStoreWatcher){on_way_in, on_way_out, h});
    return h->store != NULL;
}

static bool open_services(TestHost *h)
{
    DispatcherOptions options;
    dispatcher_default_options(&options);
    options.submit = on_action;
    options.submit_userdata = h;
    options.templates = templates_source(h->options.templates);
    options.clock = clock_of_runtime;
    options.clock_userdata = h;
    h->dispatcher = dispatcher_new(&options);
    h->services = services_new(h->options.sandbox, h->store, clock_of_services, h);
    if (!h->dispatcher || !h->services)
        return false;
    services_answer_with(h->services, on_answered, h);
    h->expiry = expiry_new(h->store, h->dispatcher, clock_of_store, h);
    return h->expiry != NULL;
}

static bool open_threads(TestHost *h)
{
    h->ticker = luau_ticker_new(TICK_US);
    h->fibers = luau_fibers_new(2);
    if (!h->ticker || !h->fibers)
        return false;
    luau_ticker_add(h->ticker, h->fibers);
    return true;
}

TestHost *test_host_open(const TestHostOptions *options, char *error, size_t error_size)
{
    TestHost *h = calloc(1, sizeof(*h));
    snprintf(error, error_size, "not enough memory");
    if (!h)
        return NULL;
    h->options = *options;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    atomic_init(&h->now_ns, TESTING_START_NS);
    khronos_default_limits(&h->limits);
    h->runs = (TestRuns){
        .answer = on_run_answered, .userdata = h, .wall_max_ns = h->limits.wall_max_ns};
    h->limits.wall_max_ns = UINT64_MAX; /* the host ends tests, and what they run, itself */
    h->limits.cpu_max_ns = options->timeout_ns;
    h->limits.log_lines_per_second = LOG_LINES_PER_SECOND;
    h->log = (KhronosLog){.line = on_line, .userdata = h};
    h->driver = make_driver(options->sandbox, error, error_size);
    if (h->driver && open_threads(h) && open_store(h, error, error_size) && open_services(h))
        return h;
    test_host_close(h);
    return NULL;
}

/* What is under way comes back first: from the VM, then from the store. */
static void wind_up(TestHost *h)
{
    h->closing = true;
    if (h->dispatcher)
        dispatcher_stop(h->dispatcher);
    drop_vm(h);
    for (LuaVmAction *action; (action = h->actions_first) != NULL;) {
        h->actions_first = action->next;
        on_action(h, action);
    }
    if (h->expiry)
        expiry_stop(h->expiry);
    if (h->services)
        services_stop(h->services);
    for (KhronosCall *call; (call = take_answered(h)) != NULL;)
        call->kind->drop(call);
}

void test_host_close(TestHost *h)
{
    if (!h)
        return;
    wind_up(h);
    expiry_free(h->expiry);
    if (h->dispatcher)
        dispatcher_free(h->dispatcher);
    services_free(h->services);
    if (h->store)
        store_stop(h->store);
    store_free(h->store);
    if (h->ticker && h->fibers)
        luau_ticker_remove(h->ticker, h->fibers);
    if (h->fibers)
        luau_fibers_free(h->fibers);
    luau_ticker_free(h->ticker);
    template_release(h->driver);
    test_runs_free(&h->runs);
    strbuf_free(&h->list);
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    free(h);
}
