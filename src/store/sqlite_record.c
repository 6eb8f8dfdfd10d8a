/* sqlite_record.c: records and sets of scopes, as rows and as structs. */
#include "store/sqlite_kv.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsontext.h"

bool sqlite_refuse(StoreRequest *request, StoreStatus status, const char *format, ...)
{
    char message[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    store_request_fail(request, status, message);
    return false;
}

bool sqlite_check_text(StoreRequest *request, const char *what, Text text, size_t length_max)
{
    if (text.data == NULL || text.length == 0 || text.length > length_max)
        return sqlite_refuse(request, STORE_INVALID, "%s must be 1 to %zu bytes long, not %zu",
                             what, length_max, text.length);
    size_t valid = json_utf8_valid(text.data, text.length);
    if (valid != text.length)
        return sqlite_refuse(request, STORE_INVALID, "%s is not valid UTF-8 (at byte %zu)", what,
                             valid + 1);
    const char *nul = memchr(text.data, '\0', text.length);
    if (nul != NULL)
        return sqlite_refuse(request, STORE_INVALID, "%s must not contain a NUL (at byte %zu)",
                             what, (size_t)(nul - text.data) + 1);
    return true;
}

/* ---- Sets of scopes ---- */

static int compare_texts(const void *a, const void *b)
{
    const Text *left = a, *right = b;
    size_t common = left->length < right->length ? left->length : right->length;
    int order = memcmp(left->data, right->data, common);
    return order != 0 ? order : (left->length > right->length) - (left->length < right->length);
}

static bool make_identity(StoreRequest *request, SqliteScopes *scopes)
{
    enum { LENGTH_DIGITS = 2, AROUND = LENGTH_DIGITS + 2 };
    _Static_assert(STORE_SCOPE_MAX < 100, "the length of a scope has two digits at most");
    size_t room = 1;
    for (int i = 0; i < scopes->count; i++)
        room += scopes->texts[i].length + AROUND;
    char *identity = store_request_alloc(request, room);
    if (identity == NULL)
        return sqlite_refuse(request, STORE_NO_MEMORY, "no memory for a record's scopes");
    size_t length = 0;
    for (int i = 0; i < scopes->count; i++) {
        Text scope = scopes->texts[i];
        length += (size_t)snprintf(identity + length, room - length, "%zu:", scope.length);
        memcpy(identity + length, scope.data, scope.length);
        length += scope.length;
        identity[length++] = ',';
    }
    scopes->identity = (Text){identity, length};
    return true;
}

bool sqlite_scopes_read(StoreRequest *request, const Text *texts, int count, SqliteScopes *scopes)
{
    if (count <= 0 || texts == NULL)
        return sqlite_refuse(request, STORE_INVALID, "at least one scope is needed");
    if (count > STORE_SCOPES_MAX)
        return sqlite_refuse(request, STORE_INVALID, "at most %d scopes can be given, not %d",
                             STORE_SCOPES_MAX, count);
    for (int i = 0; i < count; i++)
        if (!sqlite_check_text(request, "a scope", texts[i], STORE_SCOPE_MAX))
            return false;
    memcpy(scopes->texts, texts, (size_t)count * sizeof *texts);
    qsort(scopes->texts, (size_t)count, sizeof *texts, compare_texts);
    scopes->count = 1;
    for (int i = 1; i < count; i++)
        if (compare_texts(&scopes->texts[i], &scopes->texts[scopes->count - 1]) != 0)
            scopes->texts[scopes->count++] = scopes->texts[i];
    return make_identity(request, scopes);
}

/* `length:bytes,` at *place; the comma becomes the NUL behind the scope. False: it is not that. */
static bool next_scope(char **place, char *end, Text *scope)
{
    size_t length = 0;
    char *p = *place;
    while (p < end && *p >= '0' && *p <= '9' && length <= STORE_SCOPE_MAX)
        length = length * 10 + (size_t)(*p++ - '0');
    if (p == end || *p != ':' || length == 0 || length > STORE_SCOPE_MAX)
        return false;
    p++;
    if ((size_t)(end - p) <= length || p[length] != ',')
        return false;
    p[length] = '\0';
    *scope = (Text){p, length};
    *place = p + length + 1;
    return true;
}

static bool read_identity(StoreRequest *request, sqlite3_stmt *statement, int column,
                          StoreRecord *record)
{
    const void *data = sqlite3_column_text(statement, column);
    size_t length = (size_t)sqlite3_column_bytes(statement, column);
    char *copy = store_request_alloc(request, length + 1);
    if (data == NULL || copy == NULL)
        return sqlite_refuse(request, STORE_NO_MEMORY, "no memory for a record's scopes");
    memcpy(copy, data, length);
    Text scopes[STORE_SCOPES_MAX];
    int count = 0;
    char *place = copy;
    bool good = true;
    while (good && place < copy + length)
        good = count < STORE_SCOPES_MAX && next_scope(&place, copy + length, &scopes[count++]);
    if (!good || count == 0)
        return sqlite_refuse(request, STORE_CORRUPT,
                             "the scopes of record %" PRId64 " cannot be read", record->id);
    record->scopes = store_request_alloc(request, (size_t)count * sizeof *scopes);
    if (record->scopes == NULL)
        return sqlite_refuse(request, STORE_NO_MEMORY, "no memory for a record's scopes");
    memcpy(record->scopes, scopes, (size_t)count * sizeof *scopes);
    record->scope_count = count;
    return true;
}

/* ---- Records ---- */

bool sqlite_record_read(StoreRequest *request, sqlite3_stmt *statement, StoreRecord *record,
                        int64_t *bytes)
{
    enum { ID, KEY, SCOPES, CREATED, UPDATED, EXPIRES, RESUME, ATTEMPTS, FAILED, BYTES, VALUE };
    bool expires = sqlite3_column_type(statement, EXPIRES) != SQLITE_NULL;
    *record = (StoreRecord){
        .id = sqlite3_column_int64(statement, ID),
        .created_ms = sqlite3_column_int64(statement, CREATED),
        .updated_ms = sqlite3_column_int64(statement, UPDATED),
        .expires_ms = expires ? sqlite3_column_int64(statement, EXPIRES) : STORE_NO_TIME,
        .resume = sqlite3_column_int(statement, RESUME) != 0,
        .attempts = sqlite3_column_int(statement, ATTEMPTS),
        .has_failed = sqlite3_column_int(statement, FAILED) != 0,
    };
    if (bytes != NULL)
        *bytes = sqlite3_column_int64(statement, BYTES);
    record->key = sqlite_column(request, statement, KEY);
    if (record->key.data == NULL || !read_identity(request, statement, SCOPES, record))
        return false;
    if (sqlite3_column_count(statement) > VALUE) {
        record->value = sqlite_column(request, statement, VALUE);
        if (record->value.data == NULL)
            return false;
    }
    return true;
}

bool sqlite_record_get(SqliteConnection *c, StoreRequest *request, uint64_t guild_id, int64_t id,
                       bool with_value, StoreRecord *record, int64_t *bytes)
{
    *record = (StoreRecord){.expires_ms = STORE_NO_TIME};
    sqlite3_stmt *s = with_value
                          ? sqlite_statement(c, request,
                                             "SELECT " SQLITE_RECORD_COLUMNS
                                             ", value FROM kv WHERE id = ?1 AND guild_id = ?2")
                          : sqlite_statement(c, request,
                                             "SELECT " SQLITE_RECORD_COLUMNS
                                             " FROM kv WHERE id = ?1 AND guild_id = ?2");
    if (s == NULL)
        return false;
    sqlite3_bind_int64(s, 1, id);
    sqlite3_bind_int64(s, 2, (int64_t)guild_id);
    int row = sqlite_step(c, request, s);
    bool good = row == 0 || (row == 1 && sqlite_record_read(request, s, record, bytes));
    sqlite3_reset(s);
    return good;
}

bool sqlite_usage_add(SqliteConnection *c, StoreRequest *request, uint64_t guild_id,
                      SqliteUsage change, SqliteUsage *now)
{
    sqlite3_stmt *s = sqlite_statement(
        c, request,
        "INSERT INTO kv_usage (guild_id, records, bytes) VALUES (?1, ?2, ?3)"
        " ON CONFLICT (guild_id) DO UPDATE SET records = records + ?2, bytes = bytes + ?3"
        " RETURNING records, bytes");
    if (s == NULL)
        return false;
    sqlite3_bind_int64(s, 1, (int64_t)guild_id);
    sqlite3_bind_int64(s, 2, change.records);
    sqlite3_bind_int64(s, 3, change.bytes);
    if (sqlite_step(c, request, s) < 0)
        return false;
    *now = (SqliteUsage){sqlite3_column_int64(s, 0), sqlite3_column_int64(s, 1)};
    int code = sqlite3_reset(s);
    if (code != SQLITE_OK)
        sqlite_fail(c, request, code);
    return code == SQLITE_OK;
}

bool sqlite_record_erase(SqliteConnection *c, StoreRequest *request, uint64_t guild_id,
                         const StoreRecord *record, int64_t bytes)
{
    for (int i = 0; i < record->scope_count; i++) {
        sqlite3_stmt *s = sqlite_statement(
            c, request,
            "DELETE FROM kv_scope WHERE guild_id = ?1 AND scope = ?2 AND key = ?3 AND id = ?4");
        if (s == NULL)
            return false;
        sqlite3_bind_int64(s, 1, (int64_t)guild_id);
        sqlite_bind_text(s, 2, record->scopes[i]);
        sqlite_bind_text(s, 3, record->key);
        sqlite3_bind_int64(s, 4, record->id);
        if (sqlite_step(c, request, s) < 0)
            return false;
    }
    sqlite3_stmt *s = sqlite_statement(c, request, "DELETE FROM kv WHERE id = ?1");
    if (s == NULL)
        return false;
    sqlite3_bind_int64(s, 1, record->id);
    SqliteUsage usage;
    return sqlite_step(c, request, s) == 0 &&
           sqlite_usage_add(c, request, guild_id, (SqliteUsage){-1, -bytes}, &usage);
}
