/* Opening and closing: the file, the lock against a second server, the threads. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/sqlite_parts.h"

enum {
    QUEUE_DEFAULT = 65536,
    QUEUE_BYTES_DEFAULT = 256 << 20,
    LOCK_WAIT_DEFAULT_MS = 5000,
    RECORDS_DEFAULT = 100000,
    GUILD_BYTES_DEFAULT = 64 << 20,
    READERS_LEAST = 2,
    READERS_MAX = 64,
    RETRY_MS = 10,
    UNWRITTEN_MAX = 3
};

/* Where the reason for a failure goes. */
typedef struct Refusal {
    StoreStatus *status;
    char *error;
    size_t error_size;
} Refusal;

BASE_PRINTF(3, 4)
static bool refuse(const Refusal *refusal, StoreStatus status, const char *format, ...)
{
    *refusal->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(refusal->error, refusal->error_size, format, args);
    va_end(args);
    return false;
}

static bool refuse_errno(const Refusal *refusal, const char *path, const char *what, int number)
{
    StoreStatus status = STORE_GONE;
    if (number == EACCES || number == EPERM || number == EROFS)
        status = STORE_READ_ONLY;
    else if (number == ENOSPC || number == EDQUOT)
        status = STORE_DISK_FULL;
    else if (number == ENOMEM)
        status = STORE_NO_MEMORY;
    const char *why = strerrordesc_np(number);
    return refuse(refusal, status, "store %s: %s: %s", path, what, why ? why : "unknown error");
}

static void fill_in_defaults(StoreOptions *options)
{
    if (options->readers <= 0) {
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        options->readers = processors < READERS_LEAST ? READERS_LEAST : (int)processors;
    }
    if (options->readers > READERS_MAX)
        options->readers = READERS_MAX;
    if (options->queue_max <= 0)
        options->queue_max = QUEUE_DEFAULT;
    if (options->queue_bytes_max == 0)
        options->queue_bytes_max = QUEUE_BYTES_DEFAULT;
    if (options->lock_wait_ms <= 0)
        options->lock_wait_ms = LOCK_WAIT_DEFAULT_MS;
    if (options->records_max <= 0)
        options->records_max = RECORDS_DEFAULT;
    if (options->bytes_max <= 0)
        options->bytes_max = GUILD_BYTES_DEFAULT;
}

/* ---- The file ---------------------------------------------------------------------------------
 */

/* A file system that cannot sync folders is not asked for more. */
void sqlite_sync_folder(const char *path)
{
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

/* SQLite would make it readable for all; what guilds keep is nobody else's. An existing file is not
 * even opened: closing it again would drop the locks that this process may have on it. */
static bool make_file(const char *path, const Refusal *refusal)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
        sqlite_sync_folder(path);
        return true;
    }
    if (errno == ENOENT)
        return refuse(refusal, STORE_GONE, "store %s: its folder does not exist; make it first",
                      path);
    if (errno != EEXIST)
        return refuse_errno(refusal, path, "the file cannot be made", errno);
    struct stat found;
    if (stat(path, &found) != 0)
        return refuse_errno(refusal, path, "the file cannot be looked at", errno);
    if (!S_ISREG(found.st_mode))
        return refuse(refusal, STORE_INVALID, "store %s: it is no regular file", path);
    return true;
}

/* ---- A second server --------------------------------------------------------------------------
 */

/* flock and not SQLite's own locks: those come and go with transactions. The file stays when the
 * server ends: whoever unlinked it might unlink another's. */
static bool lock_out_others(SqliteStore *store, const Refusal *refusal)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s.lock", store->path) >= (int)sizeof(path))
        return refuse(refusal, STORE_INVALID, "store %s: its path is too long", store->path);
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0)
        return refuse_errno(refusal, path, "the lock file cannot be opened", errno);
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        char text[24];
        int length = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
        if (ftruncate(store->lock_fd, 0) == 0 &&
            pwrite(store->lock_fd, text, (size_t)length, 0) != length)
            return true; /* the number only helps people */
        return true;
    }
    if (errno != EWOULDBLOCK)
        return refuse_errno(refusal, path, "the lock file cannot be locked", errno);
    char holder[24] = "";
    ssize_t length = pread(store->lock_fd, holder, sizeof(holder) - 1, 0);
    holder[length > 0 ? strspn(holder, "0123456789") : 0] = '\0';
    return refuse(refusal, STORE_LOCKED,
                  "store %s: another server has it open (process %s); stop that one, or give this "
                  "one a store of its own",
                  store->path, holder[0] ? holder : "unknown");
}

/* ---- Opening ----------------------------------------------------------------------------------
 */

/* SQLITE_OK: the file uses the log; SQLITE_DONE: it does not. */
static int set_journal(SqliteConnection *c, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(c->db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        const char *mode = (const char *)sqlite3_column_text(statement, 0);
        code = mode && strcmp(mode, "wal") == 0 ? SQLITE_OK : SQLITE_DONE;
    }
    sqlite3_finalize(statement);
    return code;
}

/* What is there already. */
static int write_something(SqliteConnection *c)
{
    int64_t version;
    int code = sqlite_number(c, "PRAGMA user_version", &version);
    if (code != SQLITE_ROW)
        return code;
    char sql[96];
    snprintf(sql, sizeof(sql), "BEGIN IMMEDIATE; PRAGMA user_version = %d; COMMIT", (int)version);
    code = sqlite_run(c, sql);
    if (!sqlite3_get_autocommit(c->db))
        sqlite_run(c, "ROLLBACK");
    return code;
}

/* Changing to the log needs the file alone, and SQLite does not always wait for that. Nor does it
 * always say that the change could not be written: then a write that must be told of. */
static int use_log(SqliteConnection *c)
{
    const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000L};
    uint64_t until_ns = clock_monotonic_ns() + c->options->lock_wait_ms * CLOCK_NS_PER_MS;
    for (int unwritten = 0;;) {
        int code = set_journal(c, "PRAGMA journal_mode = WAL");
        if (code == SQLITE_OK) {
            int64_t any;
            sqlite_number(c, "PRAGMA user_version", &any); /* reads how it is */
            code = set_journal(c, "PRAGMA journal_mode");
        }
        if (code == SQLITE_OK)
            return SQLITE_OK;
        if (code == SQLITE_DONE) {
            code = write_something(c);
            if (code == SQLITE_OK && ++unwritten < UNWRITTEN_MAX)
                continue;
            return code == SQLITE_OK ? SQLITE_CANTOPEN : code;
        }
        if ((code & 0xff) != SQLITE_BUSY || clock_monotonic_ns() >= until_ns)
            return code;
        nanosleep(&pause, NULL);
    }
}

static bool open_writer(SqliteStore *store, const Refusal *refusal)
{
    SqliteConnection *c = &store->writer;
    int version;
    if (!sqlite_connect(c, &store->options, SQLITE_ROLE_WRITER, refusal->status, refusal->error,
                        refusal->error_size) ||
        !sqlite_recognise(c, &version, refusal->status, refusal->error, refusal->error_size))
        return false;
    if (!sqlite_file_id(store->path, &store->file))
        return refuse_errno(refusal, store->path, "the file cannot be looked at", errno);
    if (sqlite3_db_readonly(c->db, "main") == 1)
        return refuse(refusal, STORE_READ_ONLY,
                      "store %s: the file cannot be written; who runs this program must be "
                      "allowed to write it and its folder",
                      store->path);
    if (store->options.exclusive) {
        if (!lock_out_others(store, refusal))
            return false;
        store->file_fd = open(store->path, O_RDWR | O_CLOEXEC);
        if (store->file_fd < 0)
            return refuse_errno(refusal, store->path, "the file cannot be opened", errno);
    }
    int code = use_log(c);
    if (code != SQLITE_OK) {
        *refusal->status = sqlite_describe(c->db, code, store->path, refusal->error,
                                           refusal->error_size);
        return false;
    }
    if ((version < sqlite_schema_version() || store->options.exclusive) &&
        !sqlite_migrate(c, refusal->status, refusal->error, refusal->error_size))
        return false;
    if (!sqlite_note_files(store))
        return refuse(refusal, STORE_GONE, "store %s: its -wal cannot be found", store->path);
    return true;
}

static bool open_readers(SqliteStore *store, const Refusal *refusal)
{
    store->readers = calloc((size_t)store->options.readers, sizeof(*store->readers));
    if (!store->readers)
        return refuse_errno(refusal, store->path, "readers", ENOMEM);
    store->reader_count = store->options.readers;
    for (int i = 0; i < store->reader_count; i++) {
        SqliteReader *reader = &store->readers[i];
        reader->store = store;
        if (!sqlite_connect(&reader->connection, &store->options, SQLITE_ROLE_READER,
                            refusal->status, refusal->error, refusal->error_size))
            return false;
    }
    return true;
}

static bool start_threads(SqliteStore *store, const Refusal *refusal)
{
    bool ok = sqlite_start_writer(store);
    for (int i = 0; i < store->reader_count && ok; i++)
        ok = sqlite_start_reader(&store->readers[i]);
    return ok ||
           refuse(refusal, STORE_NO_MEMORY, "store %s: no thread could be started", store->path);
}

/* NULL: no memory. */
static SqliteStore *new_store(const StoreOptions *options)
{
    SqliteStore *store = calloc(1, sizeof(*store));
    char *path = strdup(options->path);
    if (!store || !path) {
        free(store);
        free(path);
        return NULL;
    }
    store->base.ops = &sqlite_ops;
    store->options = *options;
    store->options.path = store->path = path;
    store->file_fd = store->lock_fd = -1;
    fill_in_defaults(&store->options);
    pthread_mutex_init(&store->stop_lock, NULL);
    pthread_mutex_init(&store->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&store->writer_wakes, &monotonic);
    pthread_cond_init(&store->readers_wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return store;
}

Store *sqlite_open(const StoreOptions *options, StoreStatus *status, char *error, size_t error_size)
{
    Refusal refusal = {status, error, error_size};
    SqliteStore *store = new_store(options);
    if (!store) {
        refuse_errno(&refusal, options->path, "it cannot be opened", ENOMEM);
        return NULL;
    }
    if (make_file(store->path, &refusal) && open_writer(store, &refusal) &&
        open_readers(store, &refusal) && start_threads(store, &refusal)) {
        *status = STORE_OK;
        return &store->base;
    }
    sqlite_stop(&store->base);
    sqlite_free(&store->base);
    return NULL;
}

void sqlite_free(Store *base)
{
    SqliteStore *store = (SqliteStore *)base;
    for (int i = 0; i < store->reader_count; i++)
        sqlite_disconnect(&store->readers[i].connection);
    free(store->readers);
    sqlite_forget_astray(store);
    sqlite_disconnect(&store->writer); /* the last one: moves the log into the file */
    if (store->file_fd >= 0)
        close(store->file_fd);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    pthread_cond_destroy(&store->readers_wake);
    pthread_cond_destroy(&store->writer_wakes);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->stop_lock);
    free(store->path);
    free(store);
}
