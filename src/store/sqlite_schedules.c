/* Schedules in SQLite: made, listed and deleted here; what comes of them when they are due is in
 * sqlite_due.c. */
#include <stdio.h>

#include "store/sqlite_store.h"

#define COLUMNS "id, name, due_ms, every_ms, attempts, has_failed, created_ms FROM schedules "

/* False: the request has failed. */
static bool read_schedule(StoreRequest *request, sqlite3_stmt *row, StoreSchedule *schedule)
{
    schedule->id = sqlite3_column_int64(row, 0);
    schedule->name = sqlite_column(request, row, 1);
    schedule->due_ms = sqlite3_column_type(row, 2) == SQLITE_NULL ? STORE_NO_TIME
                                                                  : sqlite3_column_int64(row, 2);
    schedule->every_ms = sqlite3_column_int64(row, 3);
    schedule->attempts = sqlite3_column_int(row, 4);
    schedule->has_failed = sqlite3_column_int(row, 5) != 0;
    schedule->created_ms = sqlite3_column_int64(row, 6);
    return request->status == STORE_OK;
}

/* Room for so many, none there yet. */
static bool make_room(StoreRequest *request, int count)
{
    request->schedules = store_request_alloc(request, (size_t)count * sizeof(StoreSchedule));
    if (!request->schedules)
        store_request_fail(request, STORE_NO_MEMORY, NULL);
    return request->status == STORE_OK;
}

void sqlite_schedule_get(SqliteConnection *c, StoreRequest *request)
{
    sqlite3_stmt *row = sqlite_statement(c, request,
                                         "SELECT " COLUMNS "WHERE guild_id = ?1 AND id = ?2");
    if (!row || !make_room(request, 1))
        return;
    sqlite3_bind_int64(row, 1, (sqlite3_int64)request->guild_id);
    sqlite3_bind_int64(row, 2, request->id);
    int found = sqlite_step(c, request, row);
    if (found == 0)
        store_request_fail(request, STORE_NOT_FOUND, NULL);
    else if (found > 0 && read_schedule(request, row, &request->schedules[0]))
        request->schedule_count = 1;
}

void sqlite_schedules(SqliteConnection *c, StoreRequest *request)
{
    int page = request->count_max > 0 && request->count_max < STORE_PAGE_MAX ? request->count_max
                                                                             : STORE_PAGE_MAX;
    sqlite3_stmt *row = sqlite_statement(
        c, request, "SELECT " COLUMNS "WHERE guild_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    if (!row || !make_room(request, page))
        return;
    sqlite3_bind_int64(row, 1, (sqlite3_int64)request->guild_id);
    sqlite3_bind_int64(row, 2, request->after_id);
    sqlite3_bind_int(row, 3, page + 1); /* the one more says that there is a next page */
    int count = 0;
    while (sqlite_step(c, request, row) > 0) {
        if (count == page) {
            request->next_id = request->schedules[page - 1].id;
            break;
        }
        if (!read_schedule(request, row, &request->schedules[count]))
            return;
        count++;
    }
    if (request->status == STORE_OK)
        request->schedule_count = count;
}

/* A guild has so many; those that are over or were given up make room, the oldest first. */
static bool admit(SqliteConnection *c, StoreRequest *request)
{
    sqlite3_stmt *count = sqlite_statement(c, request,
                                           "SELECT count(*) FROM schedules WHERE guild_id = ?1");
    if (!count)
        return false;
    sqlite3_bind_int64(count, 1, (sqlite3_int64)request->guild_id);
    if (sqlite_step(c, request, count) <= 0)
        return false;
    if (sqlite3_column_int64(count, 0) < STORE_SCHEDULES_MAX)
        return true;
    sqlite3_stmt *drop = sqlite_statement(
        c, request,
        "DELETE FROM schedules WHERE id = (SELECT id FROM schedules"
        " WHERE guild_id = ?1 AND (due_ms IS NULL OR has_failed) ORDER BY id LIMIT 1)");
    if (!drop)
        return false;
    sqlite3_bind_int64(drop, 1, (sqlite3_int64)request->guild_id);
    if (sqlite_step(c, request, drop) != 0)
        return false;
    if (sqlite3_changes(c->db) == 0) {
        char text[96];
        snprintf(text, sizeof(text), "a guild has at most %d schedules: delete one first",
                 STORE_SCHEDULES_MAX);
        store_request_fail(request, STORE_TOO_MANY, text);
        return false;
    }
    return true;
}

void sqlite_schedule_new(SqliteConnection *c, StoreRequest *request)
{
    const StoreSchedule *wanted = request->schedule;
    if (!wanted || !wanted->name.data || wanted->name.length == 0 ||
        wanted->name.length > STORE_NAME_MAX || wanted->due_ms == STORE_NO_TIME ||
        wanted->every_ms < 0) {
        store_request_fail(request, STORE_INVALID,
                           "a schedule has a name of 1 to 64 bytes, a time when it is due, and an"
                           " interval that is not below zero");
        return;
    }
    if (!admit(c, request) || !make_room(request, 1))
        return;
    sqlite3_stmt *insert = sqlite_statement(
        c, request,
        "INSERT INTO schedules (guild_id, name, due_ms, every_ms, at_ms,"
        " created_ms) VALUES (?1, ?2, ?3, ?4, ?3, ?5) RETURNING id");
    if (!insert)
        return;
    StoreSchedule *made = &request->schedules[0];
    *made = (StoreSchedule){.name = store_request_text(request, wanted->name),
                            .due_ms = wanted->due_ms,
                            .every_ms = wanted->every_ms,
                            .created_ms = sqlite_now_ms(c)};
    if (!made->name.data) {
        store_request_fail(request, STORE_NO_MEMORY, NULL);
        return;
    }
    sqlite3_bind_int64(insert, 1, (sqlite3_int64)request->guild_id);
    sqlite_bind_text(insert, 2, wanted->name);
    sqlite3_bind_int64(insert, 3, wanted->due_ms);
    sqlite3_bind_int64(insert, 4, wanted->every_ms);
    sqlite3_bind_int64(insert, 5, made->created_ms);
    if (sqlite_step(c, request, insert) <= 0)
        return;
    made->id = sqlite3_column_int64(insert, 0);
    if (sqlite_step(c, request, insert) != 0)
        return;
    request->schedule_count = 1;
    sqlite_note_due(c, wanted->due_ms);
}

void sqlite_schedule_delete(SqliteConnection *c, StoreRequest *request)
{
    sqlite3_stmt *delete = sqlite_statement(
        c, request, "DELETE FROM schedules WHERE guild_id = ?1 AND id = ?2");
    if (!delete)
        return;
    sqlite3_bind_int64(delete, 1, (sqlite3_int64)request->guild_id);
    sqlite3_bind_int64(delete, 2, request->id);
    if (sqlite_step(c, request, delete) == 0 && sqlite3_changes(c->db) == 0)
        store_request_fail(request, STORE_NOT_FOUND, NULL);
}
