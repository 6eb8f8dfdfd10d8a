/* sqlite_kv.h: what the key-value parts of the SQLite store share: records and sets of scopes. The
 * tables are told of in sqlite_tables_kv.c. Functions that return false have failed the request. */
#ifndef STORE_SQLITE_KV_H
#define STORE_SQLITE_KV_H

#include "store/sqlite_store.h"

/* A set of scopes as it was given, in order and without repetition. */
typedef struct SqliteScopes {
    Text texts[STORE_SCOPES_MAX]; /* borrowed from the request */
    int count;
    Text identity; /* what stands in kv.scopes; in the request's memory */
} SqliteScopes;

typedef struct SqliteUsage {
    int64_t records, bytes;
} SqliteUsage;

/* What sqlite_record_read expects first in a row; the value may follow. */
#define SQLITE_RECORD_COLUMNS                                                                      \
    "id, key, scopes, created_ms, updated_ms, expires_ms, resume, attempts, failed, bytes"

/* A message of printf's kind, cut at 256 bytes. Always false. */
bool sqlite_refuse(StoreRequest *request, StoreStatus status, const char *format, ...)
    BASE_PRINTF(3, 4);
/* 1 to length_max bytes of UTF-8 without a NUL; `what` is for the message ("the key"). */
bool sqlite_check_text(StoreRequest *request, const char *what, Text text, size_t length_max);
bool sqlite_scopes_read(StoreRequest *request, const Text *texts, int count, SqliteScopes *scopes);
/* The row that the statement is at, in the request's memory. */
bool sqlite_record_read(StoreRequest *request, sqlite3_stmt *statement, StoreRecord *record,
                        int64_t *bytes);
/* The record of that id, if the guild has it; else record->id is 0. bytes may be NULL. */
bool sqlite_record_get(SqliteConnection *c, StoreRequest *request, uint64_t guild_id, int64_t id,
                       bool with_value, StoreRecord *record, int64_t *bytes);
/* The record and all that is known of it elsewhere; `bytes` is what it counted for. */
bool sqlite_record_erase(SqliteConnection *c, StoreRequest *request, uint64_t guild_id,
                         const StoreRecord *record, int64_t bytes);
/* Adds to what the guild uses; *now is what that then is. */
bool sqlite_usage_add(SqliteConnection *c, StoreRequest *request, uint64_t guild_id,
                      SqliteUsage change, SqliteUsage *now);

#endif
