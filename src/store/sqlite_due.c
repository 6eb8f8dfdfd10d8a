/* sqlite_due.c: what falls due: records that expire, and schedules.
 *
 *     armed --take--> taken --done--> gone, or (a schedule) armed for its next time
 *       ^               |
 *       +----retry------+--failed too often--> given up: it stays, and is never due
 *
 * Armed are those that the partial indexes hold, in the order of their times; so nothing is looked
 * at that is not due, however much is to come. What is taken leaves the index. Whoever took it
 * names it by its id and its sequence, and what was armed anew meanwhile has another sequence: then
 * there is nothing left to be done or tried again. What was taken when a process died is taken back
 * when the next one opens the store. */
#include "store/sqlite_kv.h"

#include <stdlib.h>
#include <string.h>

enum { TAKE_MAX = 1000 /* at once, unless it was said how many */ };

/* ---- What is next ---- */

static bool earliest(SqliteConnection *c, StoreRequest *request, const char *sql)
{
    sqlite3_stmt *s = sqlite_statement(c, request, sql);
    if (s == NULL)
        return false;
    int row = sqlite_step(c, request, s);
    if (row == 1) {
        int64_t due_ms = sqlite3_column_int64(s, 0);
        if (request->next_ms == STORE_NO_TIME || due_ms < request->next_ms)
            request->next_ms = due_ms;
    }
    return row >= 0;
}

void sqlite_due_next(SqliteConnection *c, StoreRequest *request)
{
    request->next_ms = STORE_NO_TIME;
    if (earliest(c, request,
                 "SELECT due_ms FROM kv WHERE due_ms IS NOT NULL AND leased = 0"
                 " ORDER BY due_ms LIMIT 1"))
        earliest(c, request,
                 "SELECT at_ms FROM schedules WHERE at_ms IS NOT NULL"
                 " ORDER BY at_ms LIMIT 1");
}

/* ---- Taking ---- */

/* Appends what that kind has due to request->dues, at most so many. */
static bool list_dues(SqliteConnection *c, StoreRequest *request, StoreDueKind kind,
                      const char *sql, int count_max)
{
    sqlite3_stmt *s = sqlite_statement(c, request, sql);
    if (s == NULL)
        return false;
    sqlite3_bind_int64(s, 1, request->now_ms);
    sqlite3_bind_int(s, 2, count_max);
    int row;
    while ((row = sqlite_step(c, request, s)) > 0)
        request->dues[request->due_count++] = (StoreDue){
            .kind = kind,
            .id = sqlite3_column_int64(s, 0),
            .guild_id = (uint64_t)sqlite3_column_int64(s, 1),
            .sequence = sqlite3_column_int64(s, 2),
            .due_ms = sqlite3_column_int64(s, 3),
            .attempts = sqlite3_column_int(s, 4),
        };
    return row == 0;
}

static int compare_dues(const void *a, const void *b)
{
    const StoreDue *left = a, *right = b;
    if (left->due_ms != right->due_ms)
        return left->due_ms < right->due_ms ? -1 : 1;
    if (left->kind != right->kind)
        return left->kind < right->kind ? -1 : 1;
    return (left->id > right->id) - (left->id < right->id);
}

static bool lease(SqliteConnection *c, StoreRequest *request, const StoreDue *due)
{
    sqlite3_stmt *s = due->kind == STORE_DUE_EXPIRY
                          ? sqlite_statement(c, request, "UPDATE kv SET leased = 1 WHERE id = ?1")
                          : sqlite_statement(
                                c, request,
                                "UPDATE schedules SET taken = 1, at_ms = NULL WHERE id = ?1");
    if (s == NULL)
        return false;
    sqlite3_bind_int64(s, 1, due->id);
    return sqlite_step(c, request, s) == 0;
}

/* How many to make room for, of both kinds: a page may be allowed to be far larger than what is
 * due. -1: the request has failed. */
static int64_t count_due(SqliteConnection *c, StoreRequest *request, int count_max)
{
    sqlite3_stmt *s = sqlite_statement(
        c, request,
        "SELECT (SELECT count(*) FROM (SELECT 1 FROM kv WHERE due_ms IS NOT NULL AND leased = 0"
        " AND due_ms <= ?1 LIMIT ?2))"
        " + (SELECT count(*) FROM (SELECT 1 FROM schedules WHERE at_ms IS NOT NULL"
        " AND at_ms <= ?1 LIMIT ?2))");
    if (s == NULL)
        return -1;
    sqlite3_bind_int64(s, 1, request->now_ms);
    sqlite3_bind_int(s, 2, count_max);
    return sqlite_step(c, request, s) == 1 ? sqlite3_column_int64(s, 0) : -1;
}

void sqlite_due_take(SqliteConnection *c, StoreRequest *request)
{
    int count_max = request->count_max > 0 ? request->count_max : TAKE_MAX;
    int64_t count = count_due(c, request, count_max);
    if (count <= 0)
        return;
    request->dues = store_request_alloc(request, (size_t)count * sizeof *request->dues);
    if (request->dues == NULL) {
        store_request_fail(request, STORE_NO_MEMORY, "no memory for what is due");
        return;
    }
    if (!list_dues(c, request, STORE_DUE_EXPIRY,
                   "SELECT id, guild_id, sequence, due_ms, attempts FROM kv"
                   " WHERE due_ms IS NOT NULL AND leased = 0 AND due_ms <= ?1"
                   " ORDER BY due_ms, id LIMIT ?2",
                   count_max) ||
        !list_dues(c, request, STORE_DUE_SCHEDULE,
                   "SELECT id, guild_id, sequence, at_ms, attempts FROM schedules"
                   " WHERE at_ms IS NOT NULL AND at_ms <= ?1 ORDER BY at_ms, id LIMIT ?2",
                   count_max))
        return;
    qsort(request->dues, (size_t)request->due_count, sizeof *request->dues, compare_dues);
    if (request->due_count > count_max)
        request->due_count = count_max;
    for (int i = 0; i < request->due_count; i++)
        if (!lease(c, request, &request->dues[i]))
            return;
}

/* ---- Done ---- */

static void expiry_done(SqliteConnection *c, StoreRequest *request)
{
    const StoreDue *due = &request->due;
    sqlite3_stmt *s = sqlite_statement(
        c, request,
        "SELECT " SQLITE_RECORD_COLUMNS
        " FROM kv WHERE id = ?1 AND guild_id = ?2 AND sequence = ?3 AND leased = 1");
    if (s == NULL)
        return;
    sqlite3_bind_int64(s, 1, due->id);
    sqlite3_bind_int64(s, 2, (int64_t)due->guild_id);
    sqlite3_bind_int64(s, 3, due->sequence);
    StoreRecord record;
    int64_t bytes;
    bool there = sqlite_step(c, request, s) == 1 && sqlite_record_read(request, s, &record, &bytes);
    sqlite3_reset(s);
    if (there)
        sqlite_record_erase(c, request, due->guild_id, &record, bytes);
}

/* The first one of due_ms, due_ms + every_ms, ... that is after now_ms and not the first.
 * STORE_NO_TIME: there is none that a number could say. */
static int64_t next_time(int64_t due_ms, int64_t every_ms, int64_t now_ms)
{
    int64_t since, steps = 1, next;
    if (now_ms >= due_ms) {
        if (__builtin_sub_overflow(now_ms, due_ms, &since))
            return STORE_NO_TIME;
        steps = since / every_ms + 1;
    }
    if (__builtin_mul_overflow(steps, every_ms, &next) ||
        __builtin_add_overflow(next, due_ms, &next))
        return STORE_NO_TIME;
    return next;
}

static bool arm_schedule(SqliteConnection *c, StoreRequest *request, int64_t due_ms)
{
    sqlite3_stmt *s = sqlite_statement(
        c, request,
        "UPDATE schedules SET due_ms = ?2, at_ms = ?2, taken = 0, attempts = 0,"
        " sequence = sequence + 1 WHERE id = ?1");
    if (s == NULL)
        return false;
    sqlite3_bind_int64(s, 1, request->due.id);
    if (due_ms != STORE_NO_TIME)
        sqlite3_bind_int64(s, 2, due_ms);
    sqlite_note_due(c, due_ms);
    return sqlite_step(c, request, s) == 0;
}

/* The schedule that is named by its occasion, if it is still taken for that. */
static sqlite3_stmt *find_schedule(SqliteConnection *c, StoreRequest *request)
{
    sqlite3_stmt *s = sqlite_statement(
        c, request,
        "SELECT due_ms, every_ms, attempts FROM schedules"
        " WHERE id = ?1 AND guild_id = ?2 AND sequence = ?3 AND taken = 1");
    if (s == NULL)
        return NULL;
    sqlite3_bind_int64(s, 1, request->due.id);
    sqlite3_bind_int64(s, 2, (int64_t)request->due.guild_id);
    sqlite3_bind_int64(s, 3, request->due.sequence);
    return sqlite_step(c, request, s) == 1 ? s : NULL;
}

static void schedule_done(SqliteConnection *c, StoreRequest *request)
{
    sqlite3_stmt *s = find_schedule(c, request);
    if (s == NULL)
        return;
    int64_t due_ms = sqlite3_column_int64(s, 0), every_ms = sqlite3_column_int64(s, 1);
    sqlite3_reset(s);
    arm_schedule(c, request,
                 every_ms > 0 ? next_time(due_ms, every_ms, request->now_ms) : STORE_NO_TIME);
}

void sqlite_due_done(SqliteConnection *c, StoreRequest *request)
{
    if (request->due.kind == STORE_DUE_EXPIRY)
        expiry_done(c, request);
    else
        schedule_done(c, request);
}

/* ---- Again ---- */

/* ?4: how many attempts more; ?5: when; ?6: how many attempts there may be. */
static const char *const RETRY[] = {
    [STORE_DUE_EXPIRY] =
        "UPDATE kv SET leased = 0, attempts = attempts + ?4, failed = attempts + ?4 >= ?6,"
        " due_ms = CASE WHEN attempts + ?4 >= ?6 THEN NULL ELSE ?5 END"
        " WHERE id = ?1 AND guild_id = ?2 AND sequence = ?3 AND leased = 1"
        " RETURNING due_ms",
    [STORE_DUE_SCHEDULE] = "UPDATE schedules SET taken = 0, attempts = attempts + ?4,"
                           " has_failed = attempts + ?4 >= ?6,"
                           " at_ms = CASE WHEN attempts + ?4 >= ?6 THEN NULL ELSE ?5 END"
                           " WHERE id = ?1 AND guild_id = ?2 AND sequence = ?3 AND taken = 1"
                           " RETURNING at_ms",
};

void sqlite_due_retry(SqliteConnection *c, StoreRequest *request)
{
    const StoreDue *due = &request->due;
    bool expiry = due->kind == STORE_DUE_EXPIRY;
    sqlite3_stmt *s = sqlite_statement(c, request,
                                       RETRY[expiry ? STORE_DUE_EXPIRY : STORE_DUE_SCHEDULE]);
    if (s == NULL)
        return;
    sqlite3_bind_int64(s, 1, due->id);
    sqlite3_bind_int64(s, 2, (int64_t)due->guild_id);
    sqlite3_bind_int64(s, 3, due->sequence);
    sqlite3_bind_int(s, 4, request->failed);
    sqlite3_bind_int64(s, 5, request->retry_ms);
    sqlite3_bind_int(s, 6, STORE_EXPIRY_ATTEMPTS_MAX);
    if (sqlite_step(c, request, s) != 1)
        return;
    if (sqlite3_column_type(s, 0) != SQLITE_NULL)
        sqlite_note_due(c, request->retry_ms);
    int code = sqlite3_reset(s);
    if (code != SQLITE_OK)
        sqlite_fail(c, request, code);
}

void sqlite_take_back(SqliteConnection *c, StoreRequest *request)
{
    /* Times of retries that were taken are past: the occasion's own time is as good. */
    static const char *const TAKE_BACK[] = {
        "UPDATE kv SET leased = 0 WHERE leased = 1",
        "UPDATE schedules SET taken = 0, at_ms = due_ms WHERE taken = 1",
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(TAKE_BACK); i++) {
        sqlite3_stmt *s = sqlite_statement(c, request, TAKE_BACK[i]);
        if (s == NULL || sqlite_step(c, request, s) < 0)
            return;
    }
}
