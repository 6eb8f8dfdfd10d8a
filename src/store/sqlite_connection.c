/* One connection to the file: opening, settings, closing; and whether the file is still the one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/sqlite_parts.h"

enum {
    WRITER_CACHE_KIB = 8192,
    READER_CACHE_KIB = 2048,
    LOG_KEPT_BYTES = 64 << 20,
    LOG_RESERVED_BYTES = 1 << 20,
    CHUNK_BYTES = 256 << 10 /* by which the file grows */
};

int sqlite_run(SqliteConnection *c, const char *sql)
{
    return sqlite3_exec(c->db, sql, NULL, NULL, NULL);
}

int sqlite_number(SqliteConnection *c, const char *sql, int64_t *number)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(c->db, sql, -1, &statement, NULL);
    if (code != SQLITE_OK)
        return code;
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        *number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return code;
}

/* ---- Which file it is -------------------------------------------------------------------------
 */

bool sqlite_file_id(const char *path, SqliteFileId *id)
{
    struct stat found;
    if (stat(path, &found) != 0)
        return false;
    *id = (SqliteFileId){found.st_dev, found.st_ino};
    return true;
}

bool sqlite_file_same(const char *path, const SqliteFileId *id)
{
    SqliteFileId now;
    return sqlite_file_id(path, &now) && now.device == id->device && now.inode == id->inode;
}

static const char *log_path(SqliteConnection *c)
{
    return sqlite3_filename_wal(sqlite3_db_filename(c->db, "main"));
}

bool sqlite_log_id(SqliteConnection *c, SqliteFileId *id)
{
    return sqlite_file_id(log_path(c), id);
}

bool sqlite_log_same(SqliteConnection *c, const SqliteFileId *id)
{
    return sqlite_file_same(log_path(c), id);
}

void sqlite_fail_gone(const char *path, StoreRequest *request)
{
    char text[SQLITE_ERROR_MAX];
    snprintf(text, sizeof(text),
             "store %s: the file or its -wal was removed or replaced while the store had it open; "
             "put it back, or restart the server on what is there now",
             path);
    store_request_fail(request, STORE_GONE, text);
}

/* ---- Room on the disk -------------------------------------------------------------------------
 *
 * Without it, a disk that fills up may leave pages in the log that the file has no room for; the
 * log could then neither be emptied nor grow, and not even a delete would go through.
 *
 * Not through SQLite, which writes a byte where it wants the file to reach: while another process
 * moves its log into the file, that could be into a page. What the file system cannot reserve is
 * not reserved. */

static bool reserve(int fd, int64_t size)
{
    struct stat found;
    if (fstat(fd, &found) != 0 || found.st_size >= size)
        return true;
    return fallocate(fd, 0, found.st_size, size - found.st_size) == 0 ||
           (errno != ENOSPC && errno != EDQUOT && errno != EFBIG);
}

void sqlite_reserve_log(SqliteStore *store)
{
    int fd = store->file_fd < 0 ? -1 : open(log_path(&store->writer), O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    reserve(fd, LOG_RESERVED_BYTES); /* or as it is */
    close(fd);
}

bool sqlite_reserve_pages(SqliteStore *store)
{
    SqliteConnection *c = &store->writer;
    int64_t pages = 0, page_size = 0;
    if (store->file_fd < 0 || sqlite_control(c, "PRAGMA page_count", &pages) != SQLITE_OK ||
        sqlite_control(c, "PRAGMA page_size", &page_size) != SQLITE_OK)
        return true; /* what is wrong, the commit will say */
    struct stat found;
    int64_t size = pages * page_size;
    if (fstat(store->file_fd, &found) != 0 || found.st_size >= size)
        return true;
    return reserve(store->file_fd, (size + CHUNK_BYTES - 1) / CHUNK_BYTES * CHUNK_BYTES);
}

/* ---- Opening and closing ----------------------------------------------------------------------
 */

/* How long the log is; what writes it looks after checkpoints (sqlite_writer.c). */
static int on_commit_to_log(void *userdata, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    SqliteConnection *c = userdata;
    c->wal_pages = pages;
    c->commits++;
    return SQLITE_OK;
}

/* Nothing in the file is trusted: a function that a damaged or forged schema names must not run,
 * a cell that overlaps another must not be believed. */
static int harden(SqliteConnection *c)
{
    static const struct {
        int option, value;
    } settings[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},   {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_FKEY, 1}, {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
        {SQLITE_DBCONFIG_DQS_DML, 0},     {SQLITE_DBCONFIG_DQS_DDL, 0},
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(settings); i++) {
        int code = sqlite3_db_config(c->db, settings[i].option, settings[i].value, NULL);
        if (code != SQLITE_OK)
            return code;
    }
    sqlite3_limit(c->db, SQLITE_LIMIT_ATTACHED, 0);
    return sqlite_run(c, "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;"
                         "PRAGMA temp_store = MEMORY; PRAGMA synchronous = FULL");
}

static int configure(SqliteConnection *c, SqliteRole role)
{
    sqlite3_busy_timeout(c->db, c->options->lock_wait_ms);
    int code = harden(c);
    if (code != SQLITE_OK)
        return code;
    char sql[160];
    if (role == SQLITE_ROLE_READER) {
        snprintf(sql, sizeof(sql), "PRAGMA query_only = ON; PRAGMA cache_size = -%d",
                 READER_CACHE_KIB);
    } else {
        int chunk = CHUNK_BYTES;
        sqlite3_file_control(c->db, "main", SQLITE_FCNTL_CHUNK_SIZE, &chunk);
        sqlite3_wal_hook(c->db, on_commit_to_log, c);
        snprintf(sql, sizeof(sql), "PRAGMA cache_size = -%d; PRAGMA journal_size_limit = %d",
                 WRITER_CACHE_KIB, LOG_KEPT_BYTES);
    }
    return sqlite_run(c, sql);
}

bool sqlite_connect(SqliteConnection *c, const StoreOptions *options, SqliteRole role,
                    StoreStatus *status, char *error, size_t error_size)
{
    uint64_t commits = c->commits;
    *c = (SqliteConnection){.options = options, .due_ms = STORE_NO_TIME, .commits = commits};
    int code = sqlite3_open_v2(options->path, &c->db,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                               NULL);
    if (code == SQLITE_OK)
        code = configure(c, role);
    if (code == SQLITE_OK)
        return true;
    *status = sqlite_describe(c->db, code, options->path, error, error_size);
    sqlite_disconnect(c);
    return false;
}

void sqlite_disconnect(SqliteConnection *c)
{
    for (int i = 0; i < c->statement_count; i++)
        sqlite3_finalize(c->statements[i].statement);
    c->statement_count = c->used_count = 0;
    sqlite3_close_v2(c->db);
    c->db = NULL;
}
