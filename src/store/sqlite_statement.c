/* Prepared statements, and what became of them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store/sqlite_parts.h"

/* What the system said. SQLite passes it on for statements, and not for commits: then the files
 * know. 0: nothing. */
static int system_error(sqlite3 *db)
{
    int error = db ? sqlite3_system_errno(db) : 0;
    for (int i = 0; i < 2 && db && error == 0; i++) {
        sqlite3_file *file = NULL;
        int op = i == 0 ? SQLITE_FCNTL_JOURNAL_POINTER : SQLITE_FCNTL_FILE_POINTER;
        if (sqlite3_file_control(db, "main", op, &file) == SQLITE_OK && file && file->pMethods)
            file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error);
    }
    return error;
}

static bool is_full(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

static StoreStatus status_of(int code, int error)
{
    switch (code & 0xff) {
    case SQLITE_FULL: return STORE_DISK_FULL;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL: /* the lock on the log's index could not be had */ return STORE_LOCKED;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH: return STORE_READ_ONLY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return STORE_CORRUPT;
    case SQLITE_NOMEM: return STORE_NO_MEMORY;
    case SQLITE_IOERR:
        if (code == SQLITE_IOERR_NOMEM)
            return STORE_NO_MEMORY;
        return is_full(error) ? STORE_DISK_FULL : STORE_GONE;
    case SQLITE_CANTOPEN: return is_full(error) ? STORE_DISK_FULL : STORE_GONE;
    default: return STORE_INTERNAL;
    }
}

StoreStatus sqlite_describe(sqlite3 *db, int code, const char *path, char *text, size_t text_size)
{
    int extended = db ? sqlite3_extended_errcode(db) : code;
    bool knows = db && (extended & 0xff) == (code & 0xff); /* no other call has failed since */
    if (!knows)
        extended = code;
    bool asks = (extended & 0xff) == SQLITE_IOERR || (extended & 0xff) == SQLITE_CANTOPEN;
    int error = asks ? system_error(db) : 0;
    const char *name = error != 0 ? strerrorname_np(error) : NULL;
    if (extended == SQLITE_READONLY_DIRECTORY) {
        snprintf(text, text_size,
                 "store %s: its folder cannot be written, where the log has to be; who runs this "
                 "program must be allowed to",
                 path);
        return STORE_READ_ONLY;
    }
    snprintf(text, text_size, "store %s: %s (SQLite %d%s%s)", path,
             knows ? sqlite3_errmsg(db) : sqlite3_errstr(code), extended, name ? ", " : "",
             name ? name : "");
    return status_of(extended, error);
}

void sqlite_fail(SqliteConnection *c, StoreRequest *request, int code)
{
    char text[SQLITE_ERROR_MAX];
    StoreStatus status = sqlite_describe(c->db, code, c->options->path, text, sizeof(text));
    if (status == STORE_GONE)
        c->broken = true;
    store_request_fail(request, status, text);
}

static int find_statement(const SqliteConnection *c, const char *sql)
{
    for (int i = 0; i < c->statement_count; i++) {
        if (c->statements[i].sql == sql)
            return i;
    }
    return -1;
}

/* Its index, or -1 and *code. */
static int prepare(SqliteConnection *c, const char *sql, int *code)
{
    int index = find_statement(c, sql);
    if (index >= 0)
        return index;
    BASE_ASSERT(c->statement_count < SQLITE_STATEMENTS_MAX);
    sqlite3_stmt *statement = NULL;
    *code = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL);
    if (*code != SQLITE_OK)
        return -1;
    index = c->statement_count++;
    c->statements[index].sql = sql;
    c->statements[index].statement = statement;
    return index;
}

sqlite3_stmt *sqlite_statement(SqliteConnection *c, StoreRequest *request, const char *sql)
{
    int code = SQLITE_OK;
    int index = prepare(c, sql, &code);
    if (index < 0) {
        sqlite_fail(c, request, code);
        return NULL;
    }
    sqlite3_stmt *statement = c->statements[index].statement;
    if (c->statements[index].in_use) {
        sqlite3_reset(statement); /* its error, if any, was told by the step that met it */
        sqlite3_clear_bindings(statement);
    } else {
        c->statements[index].in_use = true;
        c->used[c->used_count++] = (uint8_t)index;
    }
    return statement;
}

int sqlite_control(SqliteConnection *c, const char *sql, int64_t *number)
{
    int code = SQLITE_OK;
    int index = prepare(c, sql, &code);
    if (index < 0)
        return code;
    sqlite3_stmt *statement = c->statements[index].statement;
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW && number)
        *number = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code;
}

void sqlite_release_statements(SqliteConnection *c)
{
    for (int i = 0; i < c->used_count; i++) {
        int index = c->used[i];
        sqlite3_reset(c->statements[index].statement);
        sqlite3_clear_bindings(c->statements[index].statement);
        c->statements[index].in_use = false;
    }
    c->used_count = 0;
}

int sqlite_step(SqliteConnection *c, StoreRequest *request, sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        return 1;
    if (code != SQLITE_DONE)
        sqlite_fail(c, request, code);
    sqlite3_reset(statement);
    return code == SQLITE_DONE ? 0 : -1;
}

void sqlite_bind_text(sqlite3_stmt *statement, int index, Text text)
{
    if (text.data)
        sqlite3_bind_text64(statement, index, text.data, text.length, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_null(statement, index);
}

Text sqlite_column(StoreRequest *request, sqlite3_stmt *statement, int column)
{
    if (sqlite3_column_type(statement, column) == SQLITE_NULL)
        return (Text){0};
    /* The text first: it may convert, which changes the length. */
    const char *data = (const char *)sqlite3_column_text(statement, column);
    if (!data) {
        store_request_fail(request, STORE_NO_MEMORY, "no memory for what the store holds");
        return (Text){0};
    }
    Text found = {data, (size_t)sqlite3_column_bytes(statement, column)};
    Text copy = store_request_text(request, found);
    if (!copy.data)
        store_request_fail(request, STORE_NO_MEMORY, "no memory for what the store holds");
    return copy;
}

int64_t sqlite_now_ms(const SqliteConnection *c)
{
    const StoreOptions *options = c->options;
    return options->clock_ms ? options->clock_ms(options->clock_userdata)
                             : (int64_t)clock_wall_ms();
}

void sqlite_note_due(SqliteConnection *c, int64_t due_ms)
{
    if (due_ms != STORE_NO_TIME && (c->due_ms == STORE_NO_TIME || due_ms < c->due_ms))
        c->due_ms = due_ms;
}
