/* sqlite_parts.h: the store's own struct, and how its threads share it.
 *
 * `lock` guards the queues, the counters and `stopping`; it is held for a few instructions at a
 * time, never during a query. A connection is used by the thread it belongs to and no other. */
#ifndef STORE_SQLITE_PARTS_H
#define STORE_SQLITE_PARTS_H

#include <pthread.h>
#include <sys/types.h>

#include "store/sqlite_store.h"

enum {
    SQLITE_BATCH_MAX = 1024, /* requests a transaction */
    SQLITE_BATCH_BYTES_MAX = 8 << 20,
    SQLITE_WATCH_MS = 500, /* between two looks for what others changed */
    SQLITE_ERROR_MAX = 512
};

/* "tw%K" in the file's header: the file is a store of ours. */
enum { SQLITE_APPLICATION_ID = 0x7477254b };

typedef struct SqliteQueue {
    StoreRequest *first, *last;
} SqliteQueue;

/* What waits to be read, in lanes that are served in turn: a guild's requests have one lane (which
 * others may share), so whoever asks for much waits behind himself and not before the rest. */
enum { SQLITE_LANES = 256 };
typedef struct SqliteLane SqliteLane;
struct SqliteLane {
    SqliteQueue queue;
    SqliteLane *next; /* that has requests, too */
};
typedef struct SqliteLanes {
    SqliteLane lanes[SQLITE_LANES];
    SqliteLane *first, *last; /* of those that have requests */
} SqliteLanes;

/* Which file it is, whatever its name. */
typedef struct SqliteFileId {
    dev_t device;
    ino_t inode;
} SqliteFileId;

typedef struct SqliteStore SqliteStore;

typedef struct SqliteReader {
    SqliteStore *store;
    SqliteConnection connection;
    uint64_t looked_ns; /* when it was last seen that the file is still there */
    pthread_t thread;
    bool started;
} SqliteReader;

struct SqliteStore {
    Store base;
    StoreOptions options; /* with defaults filled in; path is the store's own */
    char *path;
    int file_fd;       /* of a server's file, to reserve room; -1: none. Open until no connection
                          is: to close it drops the locks that this process has on the file */
    int lock_fd;       /* of PATH.lock, held while open; -1: not exclusive */
    SqliteFileId file; /* the one that was opened */
    SqliteFileId log;  /* its write-ahead log */
    SqliteConnection writer; /* the writer thread's */
    StoreStatus trouble;     /* likewise: what was met last; logged when it changes */
    uint64_t trouble_ns;     /* likewise: when that was */
    int restart_pages;       /* likewise: a log this long must start anew */
    int others_version;      /* likewise: changes when someone else wrote */
    uint64_t watched_ns;     /* likewise */
    StoreDue *astray;        /* likewise: taken perhaps, by transactions that were said to fail */
    size_t astray_count;     /* likewise */
    pthread_t writer_thread;
    bool writer_started;
    SqliteReader *readers;
    int reader_count;

    pthread_mutex_t stop_lock; /* held by whoever stops the store, while it waits */
    pthread_mutex_t lock;
    pthread_cond_t writer_wakes, readers_wake;
    SqliteQueue writes;
    SqliteLanes reads;
    int queued;
    size_t queued_bytes;
    bool stopping;
    StoreStats stats;
};

/* ---- Connections (sqlite_connection.c) --------------------------------------------------------
 */

typedef enum SqliteRole { SQLITE_ROLE_WRITER, SQLITE_ROLE_READER } SqliteRole;

/* Opens the file and sets the connection up; it must exist. False: nothing is open, and *status and
 * error say why. */
bool sqlite_connect(SqliteConnection *c, const StoreOptions *options, SqliteRole role,
                    StoreStatus *status, char *error, size_t error_size);
void sqlite_disconnect(SqliteConnection *c); /* also of one that was never opened, zeroed */
/* Runs statements and drops their rows: an SQLite code. */
int sqlite_run(SqliteConnection *c, const char *sql);
/* One statement, a literal, that is needed often: prepared once. SQLITE_OK, or what went wrong. If
 * it gives a row, its first column goes to *number (NULL: nobody wants it). */
int sqlite_control(SqliteConnection *c, const char *sql, int64_t *number);
/* One that is needed seldom: an SQLite code, SQLITE_ROW if there was a row. */
int sqlite_number(SqliteConnection *c, const char *sql, int64_t *number);
/* What kind of failure the code is, and a sentence for the operator. db may be NULL. */
StoreStatus sqlite_describe(sqlite3 *db, int code, const char *path, char *text, size_t text_size);

/* Room in the log, so that something can be written even when the disk is full. As far as there is
 * any. */
void sqlite_reserve_log(SqliteStore *store);
/* Room in the file for all pages that the transaction has made: so the log can always be moved into
 * it, and start anew. False: the disk is full. */
bool sqlite_reserve_pages(SqliteStore *store);

/* Is the file at the path still the one that was opened? False also if it cannot be told. */
bool sqlite_file_same(const char *path, const SqliteFileId *id);
bool sqlite_file_id(const char *path, SqliteFileId *id); /* false: errno */
/* The write-ahead log, when the connection has read or written something. */
bool sqlite_log_id(SqliteConnection *c, SqliteFileId *id);
bool sqlite_log_same(SqliteConnection *c, const SqliteFileId *id);
void sqlite_fail_gone(const char *path, StoreRequest *request);

/* ---- The schema (sqlite_schema.c) -------------------------------------------------------------
 */

int sqlite_schema_version(void);
/* Ours, or empty, and not newer than this program? Reads only. *file_version: 0 for an empty one.
 */
bool sqlite_recognise(SqliteConnection *c, int *file_version, StoreStatus *status, char *error,
                      size_t error_size);
/* Brings the file up to date; also takes back what was taken when options->exclusive. All in one
 * transaction. */
bool sqlite_migrate(SqliteConnection *c, StoreStatus *status, char *error, size_t error_size);

/* ---- Requests (sqlite.c) ----------------------------------------------------------------------
 */

/* Runs the operation of the request. Its statements are released. */
void sqlite_perform(SqliteConnection *c, StoreRequest *request);
/* A failure of the machine and not of the request: another try might meet another. */
bool sqlite_is_trouble(StoreStatus status);
void sqlite_queue_put(SqliteQueue *queue, StoreRequest *request);
/* Counts the requests of the chain and completes them: they are not the store's any more. */
void sqlite_complete(SqliteStore *store, StoreRequest *chain, bool writes);

/* The transaction of these requests counts as failed, and may be in the file. (sqlite_astray.c) */
void sqlite_note_astray(SqliteStore *store, const StoreRequest *first, const StoreRequest *end);
/* In a transaction: what such ones took is due again. False: it must be rolled back. */
bool sqlite_give_back_astray(SqliteStore *store);
void sqlite_forget_astray(SqliteStore *store); /* that is in the file; or the store ends */

bool sqlite_start_writer(SqliteStore *store); /* sqlite_writer.c */
/* Which files the writer's connection has, and that nobody else has written yet. */
bool sqlite_note_files(SqliteStore *store);
bool sqlite_start_reader(SqliteReader *reader);                   /* sqlite_reader.c */
void sqlite_lanes_put(SqliteLanes *lanes, StoreRequest *request); /* likewise; under the lock */
bool sqlite_check(Store *base, Strbuf *report);                   /* sqlite_admin.c */
bool sqlite_backup(Store *base, const char *path, char *error, size_t error_size);
/* So that a new name outlives a loss of power. (sqlite_open.c) */
void sqlite_sync_folder(const char *path);
void sqlite_stop(Store *base);    /* sqlite.c */
void sqlite_free(Store *base);    /* sqlite_open.c; also of one that was half opened */
extern const StoreOps sqlite_ops; /* sqlite.c */

/* Creates a thread that takes no signals: those are the program's. False: no thread. */
bool sqlite_start_thread(pthread_t *thread, void *(*main_function)(void *), void *argument);

#endif
