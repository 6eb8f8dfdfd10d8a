/* What administrators ask for: is the store sound, and a copy of it. Each on a connection of its
 * own, on the thread that asks, while the store goes on. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/sqlite_parts.h"

enum { PROBLEMS_MAX = 100 };

/* ---- Check ------------------------------------------------------------------------------------
 */

/* Appends a line for each row, unless it is `fine`. True: there was none. */
static bool report_rows(SqliteConnection *c, const char *sql, const char *prefix, const char *fine,
                        Strbuf *report)
{
    sqlite3_stmt *statement = NULL;
    bool sound = true;
    int code = sqlite3_prepare_v2(c->db, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) {
        for (int rows = 0; (code = sqlite3_step(statement)) == SQLITE_ROW && rows < PROBLEMS_MAX;
             rows++) {
            const char *text = (const char *)sqlite3_column_text(statement, 0);
            if (fine && text && strcmp(text, fine) == 0)
                continue;
            strbuf_printf(report, "%s%s\n", prefix, text ? text : "?");
            sound = false;
        }
    }
    if (code != SQLITE_DONE && code != SQLITE_ROW) {
        char error[SQLITE_ERROR_MAX];
        sqlite_describe(c->db, code, c->options->path, error, sizeof(error));
        strbuf_printf(report, "%s%s\n", prefix, error);
        sound = false;
    }
    sqlite3_finalize(statement);
    return sound;
}

static bool check_integrity(SqliteConnection *c, Strbuf *report)
{
    char sql[48];
    snprintf(sql, sizeof(sql), "PRAGMA integrity_check(%d)", PROBLEMS_MAX);
    return report_rows(c, sql, "file: ", "ok", report);
}

static bool check_references(SqliteConnection *c, Strbuf *report)
{
    return report_rows(c,
                       "SELECT format('row %d of %s refers to a row of %s that is not there',"
                       " rowid, \"table\", parent) FROM pragma_foreign_key_check",
                       "references: ", NULL, report);
}

bool sqlite_check(Store *base, Strbuf *report)
{
    SqliteStore *store = (SqliteStore *)base;
    SqliteConnection c = {0};
    StoreStatus status;
    char error[SQLITE_ERROR_MAX];
    if (!sqlite_connect(&c, &store->options, SQLITE_ROLE_READER, &status, error, sizeof(error))) {
        strbuf_printf(report, "%s\n", error);
        return false;
    }
    bool sound = check_integrity(&c, report);
    sound &= check_references(&c, report);
    /* One snapshot: what is written meanwhile must not make sums differ from their parts. */
    sqlite_run(&c, "BEGIN");
    for (int i = 0; sqlite_sums_kv[i]; i++)
        sound &= report_rows(&c, sqlite_sums_kv[i], "sums: ", NULL, report);
    for (int i = 0; sqlite_sums_templates[i]; i++)
        sound &= report_rows(&c, sqlite_sums_templates[i], "sums: ", NULL, report);
    sqlite_run(&c, "ROLLBACK");
    sqlite_disconnect(&c);
    return sound;
}

/* ---- Backup -----------------------------------------------------------------------------------
 */

static bool open_copy(sqlite3 **db, const char *path, char *error, size_t error_size)
{
    int code = sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK) /* whether it is on disk is seen to at the end, once */
        code = sqlite3_exec(*db, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        return true;
    sqlite_describe(*db, code, path, error, error_size);
    return false;
}

/* In one step: that is one snapshot of the source, which no writer waits for or disturbs. */
static bool copy_pages(SqliteConnection *c, sqlite3 *copy, const char *path, char *error,
                       size_t error_size)
{
    sqlite3_backup *backup = sqlite3_backup_init(copy, "main", c->db, "main");
    if (!backup) {
        sqlite_describe(copy, sqlite3_errcode(copy), path, error, error_size);
        return false;
    }
    int code = sqlite3_backup_step(backup, -1);
    int ended = sqlite3_backup_finish(backup);
    if (code == SQLITE_DONE && ended == SQLITE_OK)
        return true;
    sqlite_describe(copy, code == SQLITE_DONE ? ended : code, path, error, error_size);
    return false;
}

/* The copy is a whole file of its own: its log is moved into it, and it is read from end to end. */
static bool verify_copy(sqlite3 *copy, const char *path, char *error, size_t error_size)
{
    StoreOptions options = {.path = path};
    SqliteConnection c = {.db = copy, .options = &options};
    Strbuf report = STRBUF_INIT;
    report.max = SQLITE_ERROR_MAX;
    bool sound = check_integrity(&c, &report);
    if (!sound)
        snprintf(error, error_size, "the copy %s is damaged: %s", path, strbuf_cstr(&report));
    strbuf_free(&report);
    return sound;
}

static bool write_copy(SqliteStore *store, const char *path, char *error, size_t error_size)
{
    SqliteConnection c = {0};
    sqlite3 *copy = NULL;
    StoreStatus status;
    bool ok = sqlite_connect(&c, &store->options, SQLITE_ROLE_READER, &status, error, error_size) &&
              open_copy(&copy, path, error, error_size) &&
              copy_pages(&c, copy, path, error, error_size) &&
              verify_copy(copy, path, error, error_size);
    sqlite3_close(copy);
    sqlite_disconnect(&c);
    return ok;
}

static bool sync_copy(const char *path, int fd, char *error, size_t error_size)
{
    if (fsync(fd) == 0)
        return true;
    snprintf(error, error_size, "the copy %s cannot be made durable: %s", path,
             strerrordesc_np(errno));
    return false;
}

bool sqlite_backup(Store *base, const char *path, char *error, size_t error_size)
{
    SqliteStore *store = (SqliteStore *)base;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        snprintf(error, error_size, "the copy %s cannot be made: %s", path, strerrordesc_np(errno));
        return false;
    }
    bool ok = write_copy(store, path, error, error_size) && sync_copy(path, fd, error, error_size);
    close(fd);
    if (ok)
        sqlite_sync_folder(path);
    else
        unlink(path);
    return ok;
}
