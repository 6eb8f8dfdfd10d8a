#include "expiry_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

void bench_lock(Bench *b)
{
    pthread_mutex_lock(&b->lock);
}

void bench_unlock(Bench *b)
{
    pthread_mutex_unlock(&b->lock);
}

int64_t bench_clock(void *bench)
{
    Bench *b = bench;
    bench_lock(b);
    int64_t now_ms = b->now_ms;
    bench_unlock(b);
    return now_ms;
}

/* ---- The store's data -------------------------------------------------------------------------
 */

static int64_t add_record(Bench *b, const FakeRecord *record)
{
    bench_lock(b);
    if (b->record_count == b->record_room) {
        b->record_room = b->record_room ? b->record_room * 2 : 64;
        b->records = realloc(b->records, (size_t)b->record_room * sizeof(FakeRecord));
        if (!b->records)
            abort();
    }
    FakeRecord *made = &b->records[b->record_count++];
    *made = *record;
    made->id = b->record_count;
    made->sequence = 1;
    int64_t id = made->id;
    bench_unlock(b);
    if (record->due_ms != STORE_NO_TIME && b->due_changed)
        b->due_changed(b->due_userdata, record->due_ms);
    return id;
}

static FakeRecord new_record(uint64_t guild_id, const char *key, int64_t due_ms)
{
    FakeRecord record = {.guild_id = guild_id, .expires_ms = due_ms, .due_ms = due_ms};
    snprintf(record.key, sizeof(record.key), "%s", key);
    return record;
}

int64_t bench_key(Bench *b, uint64_t guild_id, const char *key, int64_t expires_ms)
{
    FakeRecord record = new_record(guild_id, key, expires_ms);
    return add_record(b, &record);
}

int64_t bench_resume(Bench *b, uint64_t guild_id, const char *key)
{
    FakeRecord record = new_record(guild_id, key, STORE_NO_TIME);
    record.resume = true;
    return add_record(b, &record);
}

int64_t bench_schedule(Bench *b, uint64_t guild_id, const char *name, int64_t due_ms,
                       int64_t every_ms)
{
    FakeRecord record = new_record(guild_id, name, due_ms);
    record.is_schedule = true;
    record.every_ms = every_ms;
    return add_record(b, &record);
}

FakeRecord bench_record(Bench *b, int64_t id)
{
    bench_lock(b);
    FakeRecord record = b->records[id - 1];
    bench_unlock(b);
    return record;
}

void bench_rearm(Bench *b, int64_t id, int64_t expires_ms)
{
    bench_lock(b);
    FakeRecord *record = &b->records[id - 1];
    record->expires_ms = record->due_ms = expires_ms;
    record->sequence++;
    record->attempts = 0;
    record->taken = record->has_failed = false;
    bench_unlock(b);
    if (expires_ms != STORE_NO_TIME && b->due_changed)
        b->due_changed(b->due_userdata, expires_ms);
}

void bench_delete(Bench *b, int64_t id)
{
    bench_lock(b);
    b->records[id - 1].gone = true;
    bench_unlock(b);
}

void bench_reopen(Bench *b)
{
    bench_lock(b);
    for (int i = 0; i < b->record_count; i++)
        b->records[i].taken = false;
    bench_unlock(b);
}

void bench_fail(Bench *b, StoreOp op, StoreStatus status, int times)
{
    bench_lock(b);
    b->fails[op] = status;
    b->fails_left[op] = times;
    bench_unlock(b);
}

/* ---- The store's requests ---------------------------------------------------------------------
 */

static bool is_due(const FakeRecord *record)
{
    return !record->gone && !record->taken && !record->has_failed &&
           record->due_ms != STORE_NO_TIME;
}

static int by_time(const void *a, const void *b)
{
    const StoreDue *left = a, *right = b;
    if (left->due_ms != right->due_ms)
        return left->due_ms < right->due_ms ? -1 : 1;
    return left->id < right->id ? -1 : left->id > right->id;
}

static void take(Bench *b, StoreRequest *request)
{
    StoreDue *all = calloc((size_t)b->record_count + 1, sizeof(StoreDue));
    int count = 0;
    for (int i = 0; i < b->record_count; i++) {
        FakeRecord *r = &b->records[i];
        if (is_due(r) && r->due_ms <= request->now_ms)
            all[count++] = (StoreDue){r->is_schedule ? STORE_DUE_SCHEDULE : STORE_DUE_EXPIRY,
                                      r->guild_id,
                                      r->id,
                                      r->sequence,
                                      r->due_ms,
                                      r->attempts};
    }
    qsort(all, (size_t)count, sizeof(StoreDue), by_time);
    if (count > request->count_max)
        count = request->count_max;
    request->dues = store_request_alloc(request, ((size_t)count + 1) * sizeof(StoreDue));
    memcpy(request->dues, all, (size_t)count * sizeof(StoreDue));
    request->due_count = count;
    for (int i = 0; i < count; i++)
        b->records[all[i].id - 1].taken = true;
    free(all);
}

static void next(Bench *b, StoreRequest *request)
{
    for (int i = 0; i < b->record_count; i++)
        if (is_due(&b->records[i]) &&
            (request->next_ms == STORE_NO_TIME || b->records[i].due_ms < request->next_ms))
            request->next_ms = b->records[i].due_ms;
}

/* The occasion's record, unless it was armed again since or is gone. */
static FakeRecord *occasion(Bench *b, const StoreRequest *request)
{
    FakeRecord *record = &b->records[request->due.id - 1];
    return record->gone || record->sequence != request->due.sequence ? NULL : record;
}

static void done(Bench *b, StoreRequest *request)
{
    FakeRecord *record = occasion(b, request);
    if (!record)
        return;
    BASE_ASSERT(record->taken);
    record->taken = false;
    record->gone = record->every_ms == 0;
    if (record->gone)
        return;
    do
        record->due_ms += record->every_ms;
    while (record->due_ms <= request->now_ms);
    record->expires_ms = record->due_ms;
    record->sequence++;
    record->attempts = 0;
}

static void retry(Bench *b, StoreRequest *request)
{
    FakeRecord *record = occasion(b, request);
    if (!record)
        return;
    BASE_ASSERT(record->taken);
    record->taken = false;
    record->due_ms = request->retry_ms;
    record->attempts += request->failed;
    record->has_failed = record->attempts == STORE_EXPIRY_ATTEMPTS_MAX;
}

static Text copy(StoreRequest *request, const char *text)
{
    return store_request_text(request, (Text){text, strlen(text)});
}

static void fill(StoreRequest *request, StoreRecord *out, const FakeRecord *record, bool whole)
{
    *out = (StoreRecord){.id = record->id,
                         .key = copy(request, record->key),
                         .scope_count = 1,
                         .expires_ms = record->expires_ms,
                         .attempts = record->attempts,
                         .has_failed = record->has_failed,
                         .resume = record->resume};
    out->scopes = store_request_texts(request, &out->key, 1);
    if (whole)
        out->value = copy(request, "{\"n\":1}");
}

static void get(Bench *b, StoreRequest *request)
{
    for (int i = 0; i < request->op_count; i++) {
        StoreKvOp *op = &request->ops[i];
        FakeRecord *record = &b->records[op->which.id - 1];
        BASE_ASSERT(record->guild_id == request->guild_id);
        op->existed = !record->gone;
        if (op->existed)
            fill(request, &op->record, record, op->kind == STORE_KV_GET);
    }
}

static void get_schedule(Bench *b, StoreRequest *request)
{
    FakeRecord *record = &b->records[request->id - 1];
    if (record->gone) {
        request->status = STORE_NOT_FOUND;
        return;
    }
    request->schedules = store_request_alloc(request, sizeof(StoreSchedule));
    request->schedule_count = 1;
    request->schedules[0] = (StoreSchedule){.id = record->id,
                                            .name = copy(request, record->key),
                                            .due_ms = record->expires_ms,
                                            .every_ms = record->every_ms};
}

static int page_size(const Bench *b, const StoreRequest *request)
{
    int max = request->count_max > 0 ? request->count_max : STORE_PAGE_MAX;
    return b->page_max > 0 && b->page_max < max ? b->page_max : max;
}

static void resumes(Bench *b, StoreRequest *request)
{
    request->records = store_request_alloc(request, STORE_PAGE_MAX * sizeof(StoreRecord));
    for (int64_t id = request->after_id + 1; id <= b->record_count; id++) {
        FakeRecord *record = &b->records[id - 1];
        if (record->gone || !record->resume || record->guild_id != request->guild_id)
            continue;
        if (request->record_count == page_size(b, request)) {
            request->next_id = request->records[request->record_count - 1].id;
            return;
        }
        fill(request, &request->records[request->record_count++], record, false);
    }
}

/* The lowest guild above `after` that has such keys; 0: none. */
static uint64_t next_resumer(const Bench *b, uint64_t after)
{
    uint64_t found = 0;
    for (int i = 0; i < b->record_count; i++) {
        const FakeRecord *r = &b->records[i];
        if (r->resume && !r->gone && r->guild_id > after && (found == 0 || r->guild_id < found))
            found = r->guild_id;
    }
    return found;
}

static void resumers(Bench *b, StoreRequest *request)
{
    request->guild_ids = store_request_alloc(request, STORE_PAGE_MAX * sizeof(uint64_t));
    uint64_t guild_id = (uint64_t)request->after_id;
    while ((guild_id = next_resumer(b, guild_id)) != 0) {
        if (request->guild_count == page_size(b, request)) {
            request->next_id = (int64_t)request->guild_ids[request->guild_count - 1];
            return;
        }
        request->guild_ids[request->guild_count++] = guild_id;
    }
}

static void perform(Bench *b, StoreRequest *request)
{
    StoreOp op = request->op;
    if (b->fails_left[op] > 0) {
        b->fails_left[op]--;
        store_request_fail(request, b->fails[op], "as the test wants it");
        return;
    }
    request->status = STORE_OK;
    switch (op) {
    case STORE_KV: get(b, request); break;
    case STORE_SCHEDULE_GET: get_schedule(b, request); break;
    case STORE_DUE_TAKE: take(b, request); break;
    case STORE_DUE_NEXT: next(b, request); break;
    case STORE_DUE_DONE: done(b, request); break;
    case STORE_DUE_RETRY: retry(b, request); break;
    case STORE_KV_RESUMES: resumes(b, request); break;
    case STORE_RESUMERS: resumers(b, request); break;
    default: abort();
    }
}

/* What is noted may be due again, and then the store says so. */
static void complete(Bench *b, StoreRequest *request)
{
    int64_t due_ms = STORE_NO_TIME;
    bool noted = request->op == STORE_DUE_DONE || request->op == STORE_DUE_RETRY;
    if (noted && request->status == STORE_OK) {
        FakeRecord record = bench_record(b, request->due.id);
        due_ms = is_due(&record) ? record.due_ms : STORE_NO_TIME;
    }
    request->complete(request);
    if (due_ms != STORE_NO_TIME && b->due_changed)
        b->due_changed(b->due_userdata, due_ms);
}

static void submit(Store *store, StoreRequest *request)
{
    Bench *b = (Bench *)store;
    bench_lock(b);
    b->requests[request->op]++;
    bool defer = b->defer_store;
    if (!defer) {
        perform(b, request);
    } else if (b->reverse_store) {
        request->queue_next = b->deferred_first;
        b->deferred_first = request;
        if (!request->queue_next)
            b->deferred_last = request;
    } else {
        request->queue_next = NULL;
        if (b->deferred_first)
            b->deferred_last->queue_next = request;
        else
            b->deferred_first = request;
        b->deferred_last = request;
    }
    bench_unlock(b);
    if (!defer)
        complete(b, request);
}

bool bench_answer(Bench *b)
{
    bool any = false;
    for (;;) {
        bench_lock(b);
        StoreRequest *request = b->deferred_first;
        if (request) {
            b->deferred_first = request->queue_next;
            perform(b, request);
        }
        bench_unlock(b);
        if (!request)
            return any;
        any = true;
        complete(b, request);
    }
}

/* ---- The worker -------------------------------------------------------------------------------
 */

static void copy_text(char *out, size_t size, EventText text)
{
    snprintf(out, size, "%.*s", (int)text.length, text.data ? text.data : "");
}

static void finish_run(Bench *b, LuaVmAction *action)
{
    int count;
    KhronosExecution *executions = action_executions(action, &count);
    action->outcome = VM_ACTION_DONE;
    for (int i = 0; i < count; i++) {
        const KhronosEvent *event = executions[i].event;
        Told told = {.guild_id = action->handle.guild_id};
        copy_text(told.name, sizeof(told.name), event->name);
        copy_text(told.id, sizeof(told.id), event->id);
        copy_text(told.data, sizeof(told.data), event->data);
        executions[i].status = b->run ? b->run(b, &told) : KHRONOS_OK;
        if (executions[i].status == KHRONOS_OK) {
            executions[i].result_count = 1;
            strbuf_puts(executions[i].out, "null");
        }
    }
    action->complete(action);
}

static void note_told_locked(Bench *b, LuaVmAction *action)
{
    int count;
    KhronosExecution *executions = action_executions(action, &count);
    BASE_ASSERT(count == 1 && b->told_count < TOLD_MAX);
    const KhronosEvent *event = executions[0].event;
    Told *told = &b->told[b->told_count++];
    told->guild_id = action->handle.guild_id;
    copy_text(told->name, sizeof(told->name), event->name);
    copy_text(told->id, sizeof(told->id), event->id);
    copy_text(told->data, sizeof(told->data), event->data);
    copy_text(told->scopes, sizeof(told->scopes), event->scopes);
}

static void submit_run(void *userdata, LuaVmAction *action)
{
    Bench *b = userdata;
    bench_lock(b);
    VmActionOutcome refusal = b->refusal;
    uint64_t refusal_ms = b->refusal_ms;
    bool defer = refusal == VM_ACTION_DONE && b->defer_runs;
    if (refusal == VM_ACTION_DONE)
        note_told_locked(b, action);
    if (defer) {
        action->next = NULL;
        if (b->runs_first)
            b->runs_last->next = action;
        else
            b->runs_first = action;
        b->runs_last = action;
        b->runs_deferred++;
    }
    bench_unlock(b);
    if (refusal != VM_ACTION_DONE) {
        action->outcome = refusal;
        if (refusal == VM_ACTION_QUEUE_FULL || refusal == VM_ACTION_PAUSED)
            action->retry_after_ms = refusal_ms;
        action->complete(action);
    } else if (!defer) {
        finish_run(b, action);
    }
}

int bench_finish(Bench *b, int count)
{
    for (int finished = 0; finished < count; finished++) {
        bench_lock(b);
        LuaVmAction *action = b->runs_first;
        if (action) {
            b->runs_first = action->next;
            b->runs_deferred--;
        }
        bench_unlock(b);
        if (!action)
            return finished;
        finish_run(b, action);
    }
    return count;
}

static bool look_up(void *self, TemplateLookup *lookup)
{
    Bench *b = self;
    lookup->found = NULL;
    lookup->count = 0;
    lookup->failed = b->templates_fail;
    if (lookup->failed) {
        snprintf(lookup->message, sizeof(lookup->message), "as the test wants it");
        return true;
    }
    if (b->matching == 0)
        return true;
    lookup->found = malloc(sizeof(KhronosTemplate *));
    lookup->found[0] = template_retain(b->template);
    lookup->count = 1;
    return true;
}

/* ---- All of it --------------------------------------------------------------------------------
 */

static const StoreOps OPS = {.submit = submit};

static uint64_t no_clock(void *userdata)
{
    (void)userdata;
    return 0;
}

Bench *bench_new(void)
{
    char error[256];
    Bench *b = calloc(1, sizeof(*b));
    b->store.ops = &OPS;
    pthread_mutex_init(&b->lock, NULL);
    b->now_ms = BENCH_EPOCH_MS;
    b->told = calloc(TOLD_MAX, sizeof(Told));
    b->matching = 1;
    b->refusal = VM_ACTION_DONE;
    b->sandbox = sandbox_new(NULL, 0, error, sizeof(error));
    b->template = template_new(b->sandbox, "handler", 1, "");
    DispatcherOptions options;
    dispatcher_default_options(&options);
    options.submit = submit_run;
    options.submit_userdata = b;
    options.templates = (TemplateSource){.look_up = look_up, .self = b};
    options.clock = no_clock; /* no wait here ends by itself */
    b->dispatcher = dispatcher_new(&options);
    if (!b->template || !b->dispatcher)
        abort();
    return b;
}

void bench_free(Bench *b)
{
    dispatcher_free(b->dispatcher);
    template_release(b->template);
    sandbox_release(b->sandbox);
    pthread_mutex_destroy(&b->lock);
    free(b->records);
    free(b->told);
    free(b);
}

int bench_told(Bench *b)
{
    bench_lock(b);
    int count = b->told_count;
    bench_unlock(b);
    return count;
}

Told bench_told_at(Bench *b, int index)
{
    bench_lock(b);
    BASE_ASSERT(index < b->told_count);
    Told told = b->told[index];
    bench_unlock(b);
    return told;
}

int bench_told_named(Bench *b, const char *name)
{
    int count = 0;
    bench_lock(b);
    for (int i = 0; i < b->told_count; i++)
        count += strcmp(b->told[i].name, name) == 0;
    bench_unlock(b);
    return count;
}

NumberedKey numbered_key(int number)
{
    NumberedKey key;
    snprintf(key.text, sizeof(key.text), "k%d", number);
    return key;
}

/* ---- With an Expiry ---------------------------------------------------------------------------
 */

ExpiryTest expiry_test_new(void)
{
    ExpiryTest t = {.b = bench_new()};
    t.x = expiry_new(&t.b->store, t.b->dispatcher, bench_clock, t.b);
    if (!t.x)
        abort();
    t.b->due_changed = expiry_due_changed;
    t.b->due_userdata = t.x;
    return t;
}

void expiry_test_free(ExpiryTest *t)
{
    expiry_stop(t->x);
    expiry_free(t->x);
    bench_free(t->b);
}

void expiry_test_poll(ExpiryTest *t)
{
    t->next_ms = expiry_poll(t->x);
}

void expiry_test_pass(ExpiryTest *t, int64_t ms)
{
    int64_t until_ms = t->b->now_ms + ms;
    expiry_test_poll(t);
    while (t->next_ms != STORE_NO_TIME && t->next_ms <= until_ms) {
        BASE_ASSERT(t->next_ms > t->b->now_ms); /* else it would spin */
        t->b->now_ms = t->next_ms;
        expiry_test_poll(t);
    }
    t->b->now_ms = until_ms;
    expiry_test_poll(t);
}

ExpiryStats expiry_test_stats(ExpiryTest *t)
{
    ExpiryStats stats;
    expiry_stats(t->x, &stats);
    return stats;
}

void expiry_assert_told(ExpiryTest *t, int index, uint64_t guild_id, const char *key)
{
    char wanted[64];
    Told told = bench_told_at(t->b, index);
    assert_int_equal(told.guild_id, guild_id);
    snprintf(wanted, sizeof(wanted), "[\"%s\"]", key);
    assert_string_equal(told.scopes, wanted);
}

KhronosStatus bench_run_fails(Bench *b, const Told *told)
{
    (void)b;
    (void)told;
    return KHRONOS_RUNTIME_ERROR;
}
