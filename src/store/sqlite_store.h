/* sqlite_store.h: what the parts of the SQLite store share.
 *
 * A connection belongs to one thread. An operation is a function that runs on a connection, for a
 * write inside a savepoint of the writer's transaction: when it leaves the request with another
 * status than STORE_OK, what it did is rolled back, and the other writes of the batch stay. */
#ifndef STORE_SQLITE_STORE_H
#define STORE_SQLITE_STORE_H

#include <sqlite3.h>

#include "store/sqlite.h"

enum { SQLITE_STATEMENTS_MAX = 96 };

typedef struct SqliteConnection {
    sqlite3 *db;
    const StoreOptions *options;
    struct {
        const char *sql; /* the key: the literal's address */
        sqlite3_stmt *statement;
        bool in_use; /* since sqlite_release_statements was called last */
    } statements[SQLITE_STATEMENTS_MAX];
    int statement_count;
    uint8_t used[SQLITE_STATEMENTS_MAX]; /* which those in use are */
    int used_count;
    /* What the batch that is being written will have to tell the observer. */
    int64_t due_ms;   /* the earliest; STORE_NO_TIME: none */
    bool broken;      /* by an input/output error: to be opened anew before it is used again */
    int wal_pages;    /* in the log after the last commit of this connection */
    uint64_t commits; /* of this connection that wrote something, ever */
} SqliteConnection;

/* Prepared once a connection; reset and without bindings. NULL: the request has failed. `sql` must
 * be a literal (it is known by its address). */
sqlite3_stmt *sqlite_statement(SqliteConnection *c, StoreRequest *request, const char *sql);
/* One step. 1: a row; 0: no more (the statement is reset); -1: the request has failed. */
int sqlite_step(SqliteConnection *c, StoreRequest *request, sqlite3_stmt *statement);
/* The request fails for what SQLite just said. */
void sqlite_fail(SqliteConnection *c, StoreRequest *request, int code);
void sqlite_bind_text(sqlite3_stmt *statement, int index, Text text); /* static; absent: NULL */
/* A copy of a column in the request's memory; absent: NULL, or no memory (the request failed). */
Text sqlite_column(StoreRequest *request, sqlite3_stmt *statement, int column);
/* Ends the use of all statements: what borrowed memory was bound is forgotten, no read stays open.
 * Called between requests, so operations need not. */
void sqlite_release_statements(SqliteConnection *c);
int64_t sqlite_now_ms(const SqliteConnection *c);
/* Something is due then: noted for the observer, told after the commit. */
void sqlite_note_due(SqliteConnection *c, int64_t due_ms);

/* The operations, by file. */
void sqlite_kv(SqliteConnection *c, StoreRequest *request);      /* sqlite_kv.c */
void sqlite_kv_find(SqliteConnection *c, StoreRequest *request); /* sqlite_kv_find.c */
void sqlite_kv_keys(SqliteConnection *c, StoreRequest *request);
void sqlite_kv_scopes(SqliteConnection *c, StoreRequest *request);
void sqlite_kv_resumes(SqliteConnection *c, StoreRequest *request);
void sqlite_resumers(SqliteConnection *c, StoreRequest *request);
void sqlite_templates_load(SqliteConnection *c, StoreRequest *request); /* sqlite_templates.c */
void sqlite_template_list(SqliteConnection *c, StoreRequest *request);
void sqlite_template_get(SqliteConnection *c, StoreRequest *request);
void sqlite_template_versions(SqliteConnection *c, StoreRequest *request);
void sqlite_template_save(SqliteConnection *c, StoreRequest *request); /* sqlite_templates_save.c */
void sqlite_template_delete(SqliteConnection *c, StoreRequest *request);
void sqlite_template_activate(SqliteConnection *c, StoreRequest *request);
void sqlite_due_next(SqliteConnection *c, StoreRequest *request); /* sqlite_due.c */
void sqlite_due_take(SqliteConnection *c, StoreRequest *request);
void sqlite_due_done(SqliteConnection *c, StoreRequest *request);
void sqlite_due_retry(SqliteConnection *c, StoreRequest *request);
/* What was taken and not done is due again; in the transaction that opens the store. */
void sqlite_take_back(SqliteConnection *c, StoreRequest *request);
void sqlite_schedule_new(SqliteConnection *c, StoreRequest *request); /* sqlite_schedules.c */
void sqlite_schedules(SqliteConnection *c, StoreRequest *request);
void sqlite_schedule_get(SqliteConnection *c, StoreRequest *request);
void sqlite_schedule_delete(SqliteConnection *c, StoreRequest *request);

/* CREATE statements, the first version of each part's tables (sqlite_tables_kv.c,
 * sqlite_tables_templates.c: templates and schedules). */
extern const char sqlite_tables_kv[];
extern const char sqlite_tables_templates[];

/* Queries that give a line of text for each thing that does not add up: NULL at the end. */
extern const char *const sqlite_sums_kv[];        /* sqlite_tables_kv.c */
extern const char *const sqlite_sums_templates[]; /* sqlite_tables_templates.c */

#endif
