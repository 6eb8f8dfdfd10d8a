/* sqlite_tables_kv.c: the tables of guilds' key-value data.
 *
 * kv holds the records. A record's scopes stand in it as one text that says the same for the same
 * set and for no other: sorted by their bytes, without repetition, each as `length:bytes,`
 * (`5:users,2:xp,`). So (guild, key, scopes) is the identity, and nothing that a key or a scope
 * contains can make two identities look alike.
 *
 * kv_scope has a row for each scope of each record, with the key in it: all records of a scope in
 * the order of their keys, and of one key in the order of their ids, oldest first. That is what
 * finding, listing and matching by fewer scopes go along.
 *
 * kv_usage is what each guild's records amount to; it is kept in the same transactions. The bytes
 * of a record are its value and, for each of its scopes, the scope and the key (each is in a row of
 * kv_scope of its own).
 *
 * A record that expires is due at due_ms: when it expires, or when its expiry is to be told once
 * more. It has no due_ms when it does not expire, and when telling it failed for ever. leased: it
 * was taken (STORE_DUE_TAKE) and is neither done nor to be tried again. sequence goes up whenever
 * the expiry changes. The three partial indexes hold nothing but the records they are for.
 *
 * Guild ids are uint64, stored as the int64 of the same bits. Times are as in store.h; NULL is
 * never. The value is the last column: reading the others does not touch the pages it overflows to.
 * */
#include "store/sqlite_store.h"

const char sqlite_tables_kv[] =
    "CREATE TABLE kv ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " guild_id INTEGER NOT NULL,"
    " key TEXT NOT NULL,"
    " scopes TEXT NOT NULL,"
    " bytes INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL,"
    " updated_ms INTEGER NOT NULL,"
    " expires_ms INTEGER,"
    " sequence INTEGER NOT NULL DEFAULT 0,"
    " due_ms INTEGER,"
    " leased INTEGER NOT NULL DEFAULT 0 CHECK (leased IN (0, 1)),"
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " failed INTEGER NOT NULL DEFAULT 0 CHECK (failed IN (0, 1)),"
    " resume INTEGER NOT NULL DEFAULT 0 CHECK (resume IN (0, 1)),"
    " value TEXT NOT NULL"
    ") STRICT;"
    "CREATE UNIQUE INDEX kv_identity ON kv (guild_id, key, scopes);"
    "CREATE INDEX kv_due ON kv (due_ms) WHERE due_ms IS NOT NULL AND leased = 0;"
    "CREATE INDEX kv_leased ON kv (leased) WHERE leased = 1;"
    "CREATE INDEX kv_resume ON kv (guild_id) WHERE resume = 1;"
    "CREATE TABLE kv_scope ("
    " guild_id INTEGER NOT NULL,"
    " scope TEXT NOT NULL,"
    " key TEXT NOT NULL,"
    " id INTEGER NOT NULL,"
    " PRIMARY KEY (guild_id, scope, key, id)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE kv_usage ("
    " guild_id INTEGER PRIMARY KEY,"
    " records INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL"
    ") STRICT;";

/* The second one takes the scopes apart: a length, a colon, so many bytes, a comma. */
const char *const sqlite_sums_kv[] = {
    "SELECT format('guild %d: its usage says %d records and %d bytes, there are %d and %d',"
    " guild_id, sum(said), sum(said_bytes), sum(there), sum(there_bytes)) FROM ("
    "SELECT guild_id, records AS said, bytes AS said_bytes, 0 AS there, 0 AS there_bytes"
    " FROM kv_usage UNION ALL SELECT guild_id, 0, 0, count(*), sum(bytes) FROM kv GROUP BY guild_id"
    ") GROUP BY guild_id"
    " HAVING sum(said) <> sum(there) OR sum(said_bytes) <> sum(there_bytes)",
    "SELECT format('record %d is not found by all of its scopes', id) FROM kv WHERE EXISTS ("
    "WITH RECURSIVE"
    " part (scope, rest) AS (SELECT NULL, CAST(kv.scopes AS BLOB) UNION ALL SELECT"
    " CAST(substr(rest, instr(rest, x'3A') + 1, max(0, CAST(CAST(rest AS TEXT) AS INTEGER)))"
    " AS TEXT),"
    " substr(rest, instr(rest, x'3A') + 2 + max(0, CAST(CAST(rest AS TEXT) AS INTEGER)))"
    " FROM part WHERE length(rest) > 0)"
    "SELECT 1 FROM part WHERE scope IS NOT NULL AND NOT EXISTS (SELECT 1 FROM kv_scope AS s WHERE"
    " s.guild_id = kv.guild_id AND s.scope = part.scope AND s.key = kv.key AND s.id = kv.id))",
    "SELECT format('guild %d: a scope names record %d, which does not have it', guild_id, id)"
    " FROM kv_scope AS s WHERE NOT EXISTS"
    " (SELECT 1 FROM kv WHERE kv.id = s.id AND kv.guild_id = s.guild_id AND kv.key = s.key"
    " AND instr(kv.scopes, length(CAST(s.scope AS BLOB)) || ':' || s.scope || ',') > 0)",
    "SELECT format('record %d is due and does not expire', id) FROM kv"
    " WHERE expires_ms IS NULL AND (due_ms IS NOT NULL OR leased = 1)",
    "SELECT format('record %d expires and will not be told', id) FROM kv"
    " WHERE expires_ms IS NOT NULL AND due_ms IS NULL AND failed = 0",
    NULL,
};
