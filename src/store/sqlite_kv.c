/* sqlite_kv.c: lists of key-value operations, all or none.
 *
 * An operation finds the record that it means, then changes what it has to. When one fails, the
 * request does, and the writer's savepoint takes back what the ones before it did.
 *
 * Which record is meant: that of the id, or the one with exactly the scopes that were given (one
 * search of the identity). Else the oldest that has them all: kv_scope has, for each scope, the ids
 * of the records of a key in their order, and the search leaps along these lists, always to the
 * next id in one list that is not below the last one found in another, until all agree. The leaps
 * of a request are limited, so that no tenant can make the one writer go through lists that are
 * long and never agree. */
#include "store/sqlite_kv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LEAPS_MAX = 4096, RECORDS_MAX = 100000, BYTES_MAX = 64 << 20 };

typedef struct Kv {
    SqliteConnection *c;
    StoreRequest *request;
    int64_t now_ms;
    int leaps; /* of all operations so far */
} Kv;

/* A step of a statement that gives no rows. */
static bool run(Kv *kv, sqlite3_stmt *s)
{
    return sqlite_step(kv->c, kv->request, s) == 0;
}

static sqlite3_stmt *prepare(Kv *kv, const char *sql)
{
    return sqlite_statement(kv->c, kv->request, sql);
}

/* ---- Which record ---- */

static bool find_exact(Kv *kv, Text key, const SqliteScopes *scopes, bool with_value,
                       StoreRecord *record, int64_t *bytes)
{
    sqlite3_stmt *s =
        with_value ? prepare(kv, "SELECT " SQLITE_RECORD_COLUMNS
                                 ", value FROM kv WHERE guild_id = ?1 AND key = ?2 AND scopes = ?3")
                   : prepare(kv, "SELECT " SQLITE_RECORD_COLUMNS
                                 " FROM kv WHERE guild_id = ?1 AND key = ?2 AND scopes = ?3");
    if (s == NULL)
        return false;
    sqlite3_bind_int64(s, 1, (int64_t)kv->request->guild_id);
    sqlite_bind_text(s, 2, key);
    sqlite_bind_text(s, 3, scopes->identity);
    int row = sqlite_step(kv->c, kv->request, s);
    bool good = row == 0 || (row == 1 && sqlite_record_read(kv->request, s, record, bytes));
    sqlite3_reset(s);
    return good;
}

/* The first record of the key in that scope whose id is not below *id; 0: there is none. */
static bool leap(Kv *kv, Text key, Text scope, int64_t *id)
{
    if (++kv->leaps > LEAPS_MAX)
        return sqlite_refuse(kv->request, STORE_TOO_MANY,
                             "too many records have the key in some of these scopes: give all the "
                             "scopes of the record that is meant, or its id");
    sqlite3_stmt *s = prepare(
        kv, "SELECT id FROM kv_scope WHERE guild_id = ?1 AND scope = ?2 AND key = ?3"
            " AND id >= ?4 ORDER BY id LIMIT 1");
    if (s == NULL)
        return false;
    sqlite3_bind_int64(s, 1, (int64_t)kv->request->guild_id);
    sqlite_bind_text(s, 2, scope);
    sqlite_bind_text(s, 3, key);
    sqlite3_bind_int64(s, 4, *id);
    int row = sqlite_step(kv->c, kv->request, s);
    *id = row == 1 ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return row >= 0;
}

static bool find_oldest(Kv *kv, Text key, const SqliteScopes *scopes, int64_t *found)
{
    int64_t id = 1;
    for (int agreed = 0, i = 0; agreed < scopes->count; i = (i + 1) % scopes->count) {
        int64_t next = id;
        if (!leap(kv, key, scopes->texts[i], &next))
            return false;
        agreed = next == id ? agreed + 1 : 1;
        id = next;
        if (id == 0)
            break;
    }
    *found = id;
    return true;
}

/* record->id is 0 if there is none. *scopes is filled unless it goes by id. exact: no other scopes
 * than those given. */
static bool find(Kv *kv, const StoreKvOp *op, bool exact, SqliteScopes *scopes, StoreRecord *record,
                 int64_t *bytes)
{
    const StoreSelector *which = &op->which;
    bool with_value = op->kind == STORE_KV_GET;
    int64_t id = which->id;
    *record = (StoreRecord){.expires_ms = STORE_NO_TIME};
    if (id == 0) {
        if (!sqlite_check_text(kv->request, "the key", which->key, STORE_KEY_MAX) ||
            !sqlite_scopes_read(kv->request, which->scopes, which->scope_count, scopes) ||
            !find_exact(kv, which->key, scopes, with_value, record, bytes))
            return false;
        if (record->id != 0 || exact)
            return true;
        if (!find_oldest(kv, which->key, scopes, &id))
            return false;
        if (id == 0)
            return true;
    }
    return sqlite_record_get(kv->c, kv->request, kv->request->guild_id, id, with_value, record,
                             bytes);
}

/* ---- Limits of a guild ---- */

/* 100,000 */
static const char *grouped(int64_t number, char out[32])
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRId64, number);
    char *p = out;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            *p++ = ',';
        *p++ = digits[i];
    }
    *p = '\0';
    return out;
}

static bool add_usage(Kv *kv, int64_t records, int64_t bytes)
{
    const StoreOptions *options = kv->c->options;
    int64_t records_max = options->records_max > 0 ? options->records_max : RECORDS_MAX;
    int64_t bytes_max = options->bytes_max > 0 ? options->bytes_max : BYTES_MAX;
    SqliteUsage usage;
    char number[32];
    if (!sqlite_usage_add(kv->c, kv->request, kv->request->guild_id, (SqliteUsage){records, bytes},
                          &usage))
        return false;
    if (records > 0 && usage.records > records_max)
        return sqlite_refuse(kv->request, STORE_TOO_MANY,
                             "the guild's data is limited to %s records",
                             grouped(records_max, number));
    if (bytes > 0 && usage.bytes > bytes_max) {
        bool whole = bytes_max % (1 << 20) == 0;
        return sqlite_refuse(kv->request, STORE_TOO_MANY, "the guild's data is limited to %s %s",
                             grouped(whole ? bytes_max >> 20 : bytes_max, number),
                             whole ? "MiB" : "bytes");
    }
    return true;
}

/* What a record counts for besides its value. */
static int64_t bytes_around(Text key, const Text *scopes, int scope_count)
{
    int64_t bytes = 0;
    for (int i = 0; i < scope_count; i++)
        bytes += (int64_t)(scopes[i].length + key.length);
    return bytes;
}

/* ---- Changes ---- */

static void bind_time(sqlite3_stmt *s, int index, int64_t time_ms)
{
    if (time_ms == STORE_NO_TIME)
        sqlite3_bind_null(s, index);
    else
        sqlite3_bind_int64(s, index, time_ms);
}

static bool insert_scopes(Kv *kv, Text key, const SqliteScopes *scopes, int64_t id)
{
    for (int i = 0; i < scopes->count; i++) {
        sqlite3_stmt *s = prepare(
            kv, "INSERT INTO kv_scope (guild_id, scope, key, id) VALUES (?1, ?2, ?3, ?4)");
        if (s == NULL)
            return false;
        sqlite3_bind_int64(s, 1, (int64_t)kv->request->guild_id);
        sqlite_bind_text(s, 2, scopes->texts[i]);
        sqlite_bind_text(s, 3, key);
        sqlite3_bind_int64(s, 4, id);
        if (!run(kv, s))
            return false;
    }
    return true;
}

static bool insert_record(Kv *kv, StoreKvOp *op, const SqliteScopes *scopes)
{
    int64_t bytes = (int64_t)op->value.length +
                    bytes_around(op->which.key, scopes->texts, scopes->count);
    int64_t expires_ms = op->expires == STORE_SET ? op->expires_ms : STORE_NO_TIME;
    sqlite3_stmt *s = prepare(
        kv, "INSERT INTO kv (guild_id, key, scopes, bytes, created_ms, updated_ms,"
            " expires_ms, sequence, due_ms, resume, value)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?6, ?8, ?9)");
    if (s == NULL)
        return false;
    sqlite3_bind_int64(s, 1, (int64_t)kv->request->guild_id);
    sqlite_bind_text(s, 2, op->which.key);
    sqlite_bind_text(s, 3, scopes->identity);
    sqlite3_bind_int64(s, 4, bytes);
    sqlite3_bind_int64(s, 5, kv->now_ms);
    bind_time(s, 6, expires_ms);
    sqlite3_bind_int(s, 7, expires_ms != STORE_NO_TIME);
    sqlite3_bind_int(s, 8, op->resume == STORE_SET);
    sqlite_bind_text(s, 9, op->value);
    if (!run(kv, s))
        return false;
    op->record.id = sqlite3_last_insert_rowid(kv->c->db);
    if (expires_ms != STORE_NO_TIME)
        sqlite_note_due(kv->c, expires_ms);
    return insert_scopes(kv, op->which.key, scopes, op->record.id) && add_usage(kv, 1, bytes);
}

static bool update_value(Kv *kv, const StoreKvOp *op, int64_t old_bytes)
{
    const StoreRecord *record = &op->record;
    int64_t bytes = (int64_t)op->value.length +
                    bytes_around(record->key, record->scopes, record->scope_count);
    sqlite3_stmt *s = prepare(
        kv, "UPDATE kv SET value = ?2, bytes = ?3, updated_ms = ?4 WHERE id = ?1");
    if (s == NULL)
        return false;
    sqlite3_bind_int64(s, 1, record->id);
    sqlite_bind_text(s, 2, op->value);
    sqlite3_bind_int64(s, 3, bytes);
    sqlite3_bind_int64(s, 4, kv->now_ms);
    return run(kv, s) && (bytes == old_bytes || add_usage(kv, 0, bytes - old_bytes));
}

/* Arms or disarms it. Whoever was telling the old expiry finds another sequence, and leaves it. */
static bool update_expiry(Kv *kv, const StoreKvOp *op)
{
    if (op->expires == STORE_KEEP ||
        (op->expires == STORE_CLEAR && op->record.expires_ms == STORE_NO_TIME))
        return true;
    int64_t expires_ms = op->expires == STORE_SET ? op->expires_ms : STORE_NO_TIME;
    sqlite3_stmt *s = prepare(kv, "UPDATE kv SET expires_ms = ?2, due_ms = ?2, updated_ms = ?3,"
                                  " sequence = sequence + 1, attempts = 0, failed = 0, leased = 0"
                                  " WHERE id = ?1");
    if (s == NULL)
        return false;
    sqlite3_bind_int64(s, 1, op->record.id);
    bind_time(s, 2, expires_ms);
    sqlite3_bind_int64(s, 3, kv->now_ms);
    if (!run(kv, s))
        return false;
    if (expires_ms != STORE_NO_TIME)
        sqlite_note_due(kv->c, expires_ms);
    return true;
}

static bool update_resume(Kv *kv, const StoreKvOp *op)
{
    if (op->resume == STORE_KEEP || op->record.resume == (op->resume == STORE_SET))
        return true;
    sqlite3_stmt *s = prepare(kv, "UPDATE kv SET resume = ?2 WHERE id = ?1");
    if (s == NULL)
        return false;
    sqlite3_bind_int64(s, 1, op->record.id);
    sqlite3_bind_int(s, 2, op->resume == STORE_SET);
    return run(kv, s);
}

/* ---- Operations ---- */

static bool set(Kv *kv, StoreKvOp *op)
{
    SqliteScopes scopes;
    int64_t bytes;
    if (!sqlite_check_text(kv->request, "the value", op->value, STORE_VALUE_MAX) ||
        !find(kv, op, true, &scopes, &op->record, &bytes))
        return false;
    op->existed = op->record.id != 0;
    if (op->existed)
        return update_value(kv, op, bytes) && update_expiry(kv, op) && update_resume(kv, op);
    if (op->which.id != 0)
        return sqlite_refuse(kv->request, STORE_NOT_FOUND,
                             "there is no record with the id %" PRId64, op->which.id);
    return insert_record(kv, op, &scopes);
}

static bool change(Kv *kv, StoreKvOp *op)
{
    SqliteScopes scopes;
    int64_t bytes;
    if (!find(kv, op, false, &scopes, &op->record, &bytes))
        return false;
    op->existed = op->record.id != 0;
    if (!op->existed)
        return true;
    if (op->kind == STORE_KV_SETEXPIRY)
        return update_expiry(kv, op);
    return op->kind != STORE_KV_DELETE ||
           sqlite_record_erase(kv->c, kv->request, kv->request->guild_id, &op->record, bytes);
}

static bool operate(Kv *kv, StoreKvOp *op)
{
    op->record = (StoreRecord){.expires_ms = STORE_NO_TIME};
    op->existed = false;
    bool arms = op->kind == STORE_KV_SET || op->kind == STORE_KV_SETEXPIRY;
    if (arms && op->expires == STORE_SET && op->expires_ms == STORE_NO_TIME)
        return sqlite_refuse(kv->request, STORE_INVALID, "an expiry needs a time");
    if (op->kind == STORE_KV_SETEXPIRY && op->expires == STORE_KEEP)
        return sqlite_refuse(kv->request, STORE_INVALID, "an expiry must be set or cleared");
    switch (op->kind) {
    case STORE_KV_SET: return set(kv, op);
    case STORE_KV_GET:
    case STORE_KV_EXISTS:
    case STORE_KV_DELETE:
    case STORE_KV_SETEXPIRY: return change(kv, op);
    }
    return sqlite_refuse(kv->request, STORE_INVALID, "there is no operation of kind %d",
                         (int)op->kind);
}

void sqlite_kv(SqliteConnection *c, StoreRequest *request)
{
    if (request->op_count < 0 || request->op_count > STORE_ATOMIC_MAX) {
        sqlite_refuse(request, STORE_INVALID, "at most %d operations can be done at once, not %d",
                      STORE_ATOMIC_MAX, request->op_count);
        return;
    }
    Kv kv = {.c = c, .request = request, .now_ms = sqlite_now_ms(c)};
    size_t got = 0;
    for (int i = 0; i < request->op_count; i++) {
        StoreKvOp *op = &request->ops[i];
        bool good = operate(&kv, op);
        got += good ? op->record.value.length : 0;
        if (good && got > STORE_ATOMIC_BYTES_MAX)
            good = sqlite_refuse(request, STORE_INVALID,
                                 "the values to get have more than %d bytes together",
                                 STORE_ATOMIC_BYTES_MAX);
        if (good)
            continue;
        if (request->op_count > 1 && request->message.data != NULL) {
            Text message = request->message;
            sqlite_refuse(request, request->status, "operation %d: %.*s", i + 1,
                          (int)message.length, message.data);
        }
        return;
    }
}
