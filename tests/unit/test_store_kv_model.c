/* Random operations on a store and on a model of it that is an array: both must always say the
 * same. Three guilds, few keys and scopes, so that everything meets everything; limits that are
 * often met; expiries that are taken, done, tried again and forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kv_support.h"

enum { RECORDS_MAX = 40, BYTES_MAX = 700, GUILDS = 3, ALL_MAX = GUILDS * RECORDS_MAX };

static const uint64_t GUILD_IDS[GUILDS] = {1, 77, UINT64_C(0xF000000000000001)};
static const char *const KEYS[] = {"a", "ab", "A", "%", "_", "a:b", "\\", "caf\xc3\xa9", " ", "b"};
static const char *const SCOPES[] = {"a", "a:", "b", "1:a,", "\xc3\xa9"}; /* in order */
enum { KEY_COUNT = 10, SCOPE_COUNT = 5 };

typedef struct Record {
    int64_t id, created_ms, updated_ms, expires_ms, due_ms, sequence;
    int guild, key;
    unsigned scopes; /* bit i: SCOPES[i] */
    int value_length;
    bool resume, leased, failed;
    int attempts;
} Record;

typedef struct Model {
    Record records[ALL_MAX + STORE_ATOMIC_MAX]; /* in the order of their ids */
    int count;
    int64_t last_id;
} Model;

typedef struct Run {
    KvStore kv;
    Model model, before;
    StoreDue dues[64]; /* that were taken once, done or not */
    int due_count;
    unsigned long seen[STORE_STATUSES];
    int matched, found, taken, gone;
} Run;

static unsigned pick(unsigned count)
{
    return (unsigned)rand() % count;
}

/* ---- The model ---- */

static int64_t bytes_of(const Record *r)
{
    int64_t bytes = r->value_length;
    for (int i = 0; i < SCOPE_COUNT; i++)
        if (r->scopes >> i & 1)
            bytes += (int64_t)(strlen(SCOPES[i]) + strlen(KEYS[r->key]));
    return bytes;
}

static void sum_up(const Model *m, int guild, int64_t *records, int64_t *bytes)
{
    *records = *bytes = 0;
    for (int i = 0; i < m->count; i++)
        if (m->records[i].guild == guild) {
            ++*records;
            *bytes += bytes_of(&m->records[i]);
        }
}

static Record *by_id(Model *m, int guild, int64_t id)
{
    for (int i = 0; i < m->count; i++)
        if (m->records[i].id == id && m->records[i].guild == guild)
            return &m->records[i];
    return NULL;
}

static Record *by_match(Model *m, int guild, int key, unsigned scopes, bool exact)
{
    Record *oldest = NULL;
    for (int i = 0; i < m->count; i++) {
        Record *r = &m->records[i];
        if (r->guild != guild || r->key != key)
            continue;
        if (r->scopes == scopes)
            return r;
        if (oldest == NULL && (r->scopes & scopes) == scopes)
            oldest = r;
    }
    return exact ? NULL : oldest;
}

static void erase(Model *m, Record *r)
{
    size_t after = (size_t)(&m->records[m->count] - (r + 1));
    memmove(r, r + 1, after * sizeof *r);
    m->count--;
}

static void arm(Record *r, StoreChange change, int64_t expires_ms, int64_t now_ms)
{
    if (change == STORE_KEEP || (change == STORE_CLEAR && r->expires_ms == STORE_NO_TIME))
        return;
    r->expires_ms = r->due_ms = change == STORE_SET ? expires_ms : STORE_NO_TIME;
    r->sequence++;
    r->attempts = 0;
    r->failed = r->leased = false;
    r->updated_ms = now_ms;
}

/* ---- Lists of operations ---- */

typedef struct Planned {
    int key;
    unsigned scopes;
} Planned;

static void plan(Run *run, StoreRequest *request, int guild, Planned *planned)
{
    static const StoreKvKind KINDS[] = {STORE_KV_SET,    STORE_KV_SET,    STORE_KV_SET,
                                        STORE_KV_SET,    STORE_KV_GET,    STORE_KV_GET,
                                        STORE_KV_EXISTS, STORE_KV_DELETE, STORE_KV_SETEXPIRY};
    static char value[64];
    memset(value, '4', sizeof value);
    request->guild_id = GUILD_IDS[guild];
    for (int i = 0, count = 1 + (int)pick(4); i < count; i++) {
        StoreKvOp *op = kv_op_id(request, KINDS[pick(9)], 0);
        planned[i] = (Planned){(int)pick(KEY_COUNT), 1 + pick((1u << SCOPE_COUNT) - 1)};
        if (pick(4) == 0) { /* that is there, or of another guild, or never was */
            const Model *m = &run->model;
            op->which.id = m->count > 0 && pick(8) > 0 ? m->records[pick((unsigned)m->count)].id
                                                       : 1 + (int64_t)pick(1000);
        } else {
            Text *scopes = store_request_alloc(request, 2 * SCOPE_COUNT * sizeof *scopes);
            for (int s = SCOPE_COUNT - 1; s >= 0; s--)
                for (unsigned times = planned[i].scopes >> s & 1; times > 0; times = pick(5) == 0)
                    if (op->which.scope_count < 2 * SCOPE_COUNT)
                        scopes[op->which.scope_count++] = kv_text(SCOPES[s]);
            op->which.key = kv_text(KEYS[planned[i].key]);
            op->which.scopes = scopes;
        }
        op->value = (Text){value, 1 + pick(40)};
        op->expires = (StoreChange)pick(3);
        if (op->kind == STORE_KV_SETEXPIRY && op->expires == STORE_KEEP)
            op->expires = STORE_SET;
        op->expires_ms = run->kv.now_ms - 50 + (int64_t)pick(200);
        op->resume = (StoreChange)pick(3);
    }
}

static StoreStatus apply_set(Run *run, int guild, const StoreKvOp *op, Planned planned, Record *r)
{
    Model *m = &run->model;
    int64_t records, bytes, records_before, bytes_before;
    sum_up(m, guild, &records_before, &bytes_before);
    if (r == NULL) {
        if (op->which.id != 0)
            return STORE_NOT_FOUND;
        r = &m->records[m->count++];
        *r = (Record){.guild = guild,
                      .key = planned.key,
                      .scopes = planned.scopes,
                      .created_ms = run->kv.now_ms,
                      .expires_ms = STORE_NO_TIME,
                      .due_ms = STORE_NO_TIME};
    }
    r->value_length = (int)op->value.length;
    r->updated_ms = run->kv.now_ms;
    if (op->resume != STORE_KEEP)
        r->resume = op->resume == STORE_SET;
    arm(r, op->expires, op->expires_ms, run->kv.now_ms);
    sum_up(m, guild, &records, &bytes);
    if ((records > records_before && records > RECORDS_MAX) ||
        (bytes > bytes_before && bytes > BYTES_MAX))
        return STORE_TOO_MANY;
    return STORE_OK;
}

static void assert_record(const StoreRecord *got, const Record *r, bool with_value)
{
    assert_int_equal(got->id, r->id);
    kv_assert_text(got->key, KEYS[r->key]);
    int count = 0;
    for (int s = 0; s < SCOPE_COUNT; s++)
        if (r->scopes >> s & 1)
            count++;
    assert_int_equal(got->scope_count, count);
    for (int i = 0; i < count; i++) {
        bool has = false;
        for (int s = 0; s < SCOPE_COUNT; s++)
            has |= (r->scopes >> s & 1) && strcmp(got->scopes[i].data, SCOPES[s]) == 0;
        assert_true(has);
    }
    if (with_value)
        assert_int_equal(got->value.length, r->value_length);
    else
        assert_null(got->value.data);
    assert_int_equal(got->created_ms, r->created_ms);
    assert_int_equal(got->updated_ms, r->updated_ms);
    assert_true(got->expires_ms == r->expires_ms);
    assert_int_equal(got->resume, r->resume);
    assert_int_equal(got->attempts, r->attempts);
    assert_int_equal(got->has_failed, r->failed);
}

/* What the operation must have done, told by the model, which follows. */
static StoreStatus apply(Run *run, int guild, const StoreKvOp *op, Planned planned, bool check)
{
    Model *m = &run->model;
    Record *r = op->which.id != 0
                    ? by_id(m, guild, op->which.id)
                    : by_match(m, guild, planned.key, planned.scopes, op->kind == STORE_KV_SET);
    if (check) {
        assert_int_equal(op->existed, r != NULL);
        if (r != NULL)
            assert_record(&op->record, r, op->kind == STORE_KV_GET);
        else if (op->kind != STORE_KV_SET)
            assert_int_equal(op->record.id, 0);
        run->matched += r != NULL && op->which.id == 0 && r->scopes != planned.scopes;
    }
    switch (op->kind) {
    case STORE_KV_SET: {
        bool is_new = r == NULL;
        StoreStatus status = apply_set(run, guild, op, planned, r);
        if (check && is_new) {
            assert_true(op->record.id > m->last_id);
            m->records[m->count - 1].id = m->last_id = op->record.id;
        }
        return status;
    }
    case STORE_KV_DELETE:
        if (r != NULL)
            erase(m, r);
        return STORE_OK;
    case STORE_KV_SETEXPIRY:
        if (r != NULL)
            arm(r, op->expires, op->expires_ms, run->kv.now_ms);
        return STORE_OK;
    default: return STORE_OK;
    }
}

static void run_list(Run *run)
{
    StoreRequest *request = kv_request(STORE_KV);
    Planned planned[4];
    int guild = (int)pick(GUILDS);
    plan(run, request, guild, planned);
    store_wait(run->kv.store, request);
    run->seen[request->status]++;
    run->before = run->model;
    StoreStatus expected = STORE_OK;
    for (int i = 0; i < request->op_count && expected == STORE_OK; i++)
        expected = apply(run, guild, &request->ops[i], planned[i], request->status == STORE_OK);
    assert_int_equal(request->status, expected);
    if (expected != STORE_OK)
        run->model = run->before;
    store_request_free(request);
}

/* ---- Pages ---- */

static int compare_places(const void *a, const void *b)
{
    const Record *const *left = a, *const *right = b;
    int keys = strcmp(KEYS[(*left)->key], KEYS[(*right)->key]);
    return keys != 0 ? keys : ((*left)->id > (*right)->id) - ((*left)->id < (*right)->id);
}

static void run_find(Run *run)
{
    unsigned scopes = 1 + pick((1u << SCOPE_COUNT) - 1);
    int guild = (int)pick(GUILDS);
    const Record *expected[ALL_MAX];
    int count = 0;
    bool prefix = pick(2);
    for (int i = 0; i < run->model.count; i++) {
        const Record *r = &run->model.records[i];
        if (r->guild == guild && (r->scopes & scopes) == scopes &&
            (!prefix || KEYS[r->key][0] == 'a'))
            expected[count++] = r;
    }
    qsort(expected, (size_t)count, sizeof expected[0], compare_places);
    StoreRequest *request = kv_request(STORE_KV_FIND);
    request->guild_id = GUILD_IDS[guild];
    request->pattern = kv_text(prefix ? "a%" : "%");
    request->count_max = 1 + (int)pick(9);
    Text *given = store_request_alloc(request, SCOPE_COUNT * sizeof *given);
    for (int s = 0; s < SCOPE_COUNT; s++)
        if (scopes >> s & 1)
            given[request->scope_count++] = kv_text(SCOPES[s]);
    request->scopes = given;
    int got = 0;
    do {
        request->after = request->next;
        kv_run(&run->kv, request, STORE_OK);
        for (int i = 0; i < request->record_count; i++) {
            assert_true(got < count);
            assert_record(&request->records[i], expected[got++], true);
        }
    } while (request->next.data != NULL);
    assert_int_equal(got, count);
    run->found += got;
    store_request_free(request);
}

/* ---- What falls due ---- */

static Record *next_due(Model *m)
{
    Record *next = NULL;
    for (int i = 0; i < m->count; i++) {
        Record *r = &m->records[i];
        if (r->due_ms != STORE_NO_TIME && !r->leased && (next == NULL || r->due_ms < next->due_ms))
            next = r;
    }
    return next;
}

static void run_take(Run *run)
{
    StoreRequest *request = kv_run(&run->kv, kv_request(STORE_DUE_NEXT), STORE_OK);
    Record *next = next_due(&run->model);
    assert_true(request->next_ms == (next ? next->due_ms : STORE_NO_TIME));
    store_request_free(request);

    request = kv_request(STORE_DUE_TAKE);
    request->now_ms = run->kv.now_ms;
    request->count_max = 1 + (int)pick(6);
    kv_run(&run->kv, request, STORE_OK);
    for (int i = 0; i < request->due_count; i++) {
        const StoreDue *due = &request->dues[i];
        next = next_due(&run->model);
        assert_non_null(next);
        assert_int_equal(due->id, next->id);
        assert_int_equal(due->sequence, next->sequence);
        assert_int_equal(due->due_ms, next->due_ms);
        assert_int_equal(due->attempts, next->attempts);
        assert_true(due->guild_id == GUILD_IDS[next->guild]);
        next->leased = true;
        run->dues[run->due_count < 64 ? run->due_count++ : (int)pick(64)] = *due;
    }
    if (request->due_count < request->count_max) {
        next = next_due(&run->model);
        assert_true(next == NULL || next->due_ms > run->kv.now_ms);
    }
    run->taken += request->due_count;
    store_request_free(request);
}

static void run_settle(Run *run)
{
    if (run->due_count == 0)
        return;
    bool done = pick(3) == 0;
    StoreRequest *request = kv_request(done ? STORE_DUE_DONE : STORE_DUE_RETRY);
    request->due = run->dues[pick((unsigned)run->due_count)];
    request->now_ms = run->kv.now_ms;
    request->retry_ms = run->kv.now_ms + pick(30);
    request->failed = pick(5) > 0;
    kv_run(&run->kv, request, STORE_OK);
    Record *r = NULL;
    for (int i = 0; i < GUILDS && r == NULL; i++)
        if (GUILD_IDS[i] == request->due.guild_id)
            r = by_id(&run->model, i, request->due.id);
    if (r != NULL && r->leased && r->sequence == request->due.sequence) {
        if (done) {
            erase(&run->model, r);
            run->gone++;
        } else {
            r->leased = false;
            r->attempts += request->failed;
            r->failed = r->attempts >= STORE_EXPIRY_ATTEMPTS_MAX;
            r->due_ms = r->failed ? STORE_NO_TIME : request->retry_ms;
        }
    }
    store_request_free(request);
}

static void run_reopen(Run *run)
{
    kv_reopen(&run->kv);
    for (int i = 0; i < run->model.count; i++)
        run->model.records[i].leased = false;
}

static void check_sums(Run *run)
{
    for (int guild = 0; guild < GUILDS; guild++) {
        int64_t records, bytes;
        char sql[128];
        sum_up(&run->model, guild, &records, &bytes);
        static const char *const COLUMNS[] = {"records", "bytes"};
        for (int i = 0; i < 2; i++) {
            snprintf(sql, sizeof sql, "SELECT total(%s) FROM kv_usage WHERE guild_id = %lld",
                     COLUMNS[i], (long long)GUILD_IDS[guild]);
            assert_int_equal(kv_number(&run->kv, sql), i == 0 ? records : bytes);
        }
    }
    Strbuf report = STRBUF_INIT;
    if (!store_check(run->kv.store, &report))
        fail_msg("%s", strbuf_cstr(&report));
    strbuf_free(&report);
}

static void test_store_and_model_agree(void **state)
{
    (void)state;
    static Run run;
    for (unsigned seed = 1; seed <= 3; seed++) {
        run = (Run){0};
        srand(seed);
        kv_open(&run.kv, RECORDS_MAX, BYTES_MAX);
        for (int i = 0; i < 4000; i++) {
            run.kv.now_ms += pick(4);
            switch (pick(12)) {
            case 0: run_find(&run); break;
            case 1: run_take(&run); break;
            case 2:
            case 3: run_settle(&run); break;
            default: run_list(&run); break;
            }
            if (i % 1000 == 999) {
                run_reopen(&run);
                check_sums(&run);
            }
        }
        /* All of it did happen. */
        assert_true(run.seen[STORE_OK] > 1000);
        assert_true(run.seen[STORE_NOT_FOUND] > 50);
        assert_true(run.seen[STORE_TOO_MANY] > 50);
        assert_true(run.matched > 100);
        assert_true(run.found > 300);
        assert_true(run.taken > 200);
        assert_true(run.gone > 50);
        kv_close(&run.kv);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_store_and_model_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
