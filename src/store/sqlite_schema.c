/* The schema's story: one step a version, in order.
 *
 * A file's version is the number of steps it has been through: PRAGMA user_version, which is a part
 * of the file's header and of the transaction that changes it. Table `migrations` says the same for
 * people, and when each step was made. Steps are never edited once a release has them: what comes
 * next is a step more at the end of STEPS. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/sqlite_parts.h"

static const char MIGRATIONS_TABLE[] = "CREATE TABLE migrations ("
                                       " number INTEGER PRIMARY KEY,"
                                       " name TEXT NOT NULL,"
                                       " made_ms INTEGER NOT NULL"
                                       ") STRICT;";

enum { SCRIPTS_MAX = 4 };

typedef struct Step {
    const char *name;
    const char *scripts[SCRIPTS_MAX]; /* in order; NULL: no more */
} Step;

static const Step STEPS[] = {
    {"first", {MIGRATIONS_TABLE, sqlite_tables_kv, sqlite_tables_templates}},
};

int sqlite_schema_version(void)
{
    return (int)BASE_ARRAY_COUNT(STEPS);
}

/* ---- What file is this? -----------------------------------------------------------------------
 */

static bool judge(const char *path, int64_t application_id, int64_t version, int64_t tables,
                  StoreStatus *status, char *error, size_t error_size)
{
    if (application_id != SQLITE_APPLICATION_ID &&
        (application_id != 0 || version != 0 || tables != 0)) {
        *status = STORE_INVALID;
        snprintf(error, error_size,
                 "store %s: the file is a database of another application; give the path of a "
                 "store, or of no file, where one will be made",
                 path);
        return false;
    }
    if (version < 0 || version > sqlite_schema_version()) {
        *status = STORE_INVALID;
        snprintf(error, error_size,
                 "store %s: the file has version %lld and this program knows %d at most; run a "
                 "newer template-worker",
                 path, (long long)version, sqlite_schema_version());
        return false;
    }
    return true;
}

bool sqlite_recognise(SqliteConnection *c, int *file_version, StoreStatus *status, char *error,
                      size_t error_size)
{
    int64_t application_id = 0, version = 0, tables = 0;
    int code = sqlite_number(c, "PRAGMA application_id", &application_id);
    if (code == SQLITE_ROW)
        code = sqlite_number(c, "PRAGMA user_version", &version);
    if (code == SQLITE_ROW)
        code = sqlite_number(c, "SELECT count(*) FROM sqlite_schema", &tables);
    if (code != SQLITE_ROW) {
        *status = sqlite_describe(c->db, code, c->options->path, error, error_size);
        return false;
    }
    if (!judge(c->options->path, application_id, version, tables, status, error, error_size))
        return false;
    *file_version = (int)version;
    return true;
}

/* ---- Bringing it up to date -------------------------------------------------------------------
 */

static int record_step(SqliteConnection *c, int number)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(c->db, "INSERT INTO migrations VALUES (?1, ?2, ?3)", -1,
                                  &statement, NULL);
    if (code != SQLITE_OK)
        return code;
    sqlite3_bind_int(statement, 1, number);
    sqlite3_bind_text(statement, 2, STEPS[number - 1].name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, sqlite_now_ms(c));
    code = sqlite3_step(statement);
    sqlite3_finalize(statement);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int make_step(SqliteConnection *c, int number)
{
    const Step *step = &STEPS[number - 1];
    int code = SQLITE_OK;
    for (int i = 0; i < SCRIPTS_MAX && step->scripts[i] && code == SQLITE_OK; i++)
        code = sqlite_run(c, step->scripts[i]);
    return code == SQLITE_OK ? record_step(c, number) : code;
}

static int make_steps(SqliteConnection *c, int from)
{
    int code = SQLITE_OK;
    for (int number = from + 1; number <= sqlite_schema_version() && code == SQLITE_OK; number++)
        code = make_step(c, number);
    if (code != SQLITE_OK)
        return code;
    char sql[96];
    snprintf(sql, sizeof(sql), "PRAGMA application_id = %d; PRAGMA user_version = %d",
             SQLITE_APPLICATION_ID, sqlite_schema_version());
    return sqlite_run(c, sql);
}

static bool take_back(SqliteConnection *c, StoreStatus *status, char *error, size_t error_size)
{
    StoreRequest *request = store_request_new(STORE_SYNC, 0);
    if (!request) {
        *status = STORE_NO_MEMORY;
        snprintf(error, error_size, "store %s: no memory", c->options->path);
        return false;
    }
    sqlite_take_back(c, request);
    sqlite_release_statements(c);
    bool ok = request->status == STORE_OK;
    if (!ok) {
        *status = request->status;
        snprintf(error, error_size, "%.*s", (int)request->message.length,
                 request->message.data ? request->message.data : "");
    }
    store_request_free(request);
    return ok;
}

bool sqlite_migrate(SqliteConnection *c, StoreStatus *status, char *error, size_t error_size)
{
    int version = 0;
    int code = sqlite_run(c, "BEGIN IMMEDIATE");
    if (code != SQLITE_OK)
        goto failed;
    /* Anew, inside: another process may have done it in the meantime. */
    if (!sqlite_recognise(c, &version, status, error, error_size))
        goto refused;
    if (version < sqlite_schema_version())
        code = make_steps(c, version);
    if (code != SQLITE_OK)
        goto failed;
    if (c->options->exclusive && !take_back(c, status, error, error_size))
        goto refused;
    code = sqlite_run(c, "COMMIT");
    if (code == SQLITE_OK)
        return true;
failed:
    *status = sqlite_describe(c->db, code, c->options->path, error, error_size);
refused:
    if (!sqlite3_get_autocommit(c->db))
        sqlite_run(c, "ROLLBACK");
    return false;
}

/* ---- Versions, without a change ---------------------------------------------------------------
 */

enum { HEADER_BYTES = 100, HEADER_USER_VERSION = 60, HEADER_APPLICATION_ID = 68 };

static int64_t read_big_endian(const unsigned char *bytes)
{
    return (int32_t)((uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
                     bytes[3]);
}

/* From the file's header, when there is no log that may know better: SQLite would make files beside
 * it only to look. */
static bool read_header(const char *path, int *version, char *error, size_t error_size)
{
    unsigned char header[HEADER_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t count = fd < 0 ? -1 : pread(fd, header, sizeof(header), 0);
    if (fd >= 0)
        close(fd);
    if (count < 0) {
        snprintf(error, error_size, "store %s: the file cannot be read: %s", path,
                 strerrordesc_np(errno));
        return false;
    }
    if (count == 0) {
        *version = 0;
        return true;
    }
    if (count < HEADER_BYTES || memcmp(header, "SQLite format 3", 16) != 0) {
        snprintf(error, error_size, "store %s: the file is no SQLite database", path);
        return false;
    }
    int64_t found = read_big_endian(header + HEADER_USER_VERSION);
    StoreStatus status;
    *version = (int)found;
    if (found > sqlite_schema_version()) /* newer: the caller says so */
        found = sqlite_schema_version();
    return judge(path, read_big_endian(header + HEADER_APPLICATION_ID), found, 1, &status, error,
                 error_size);
}

static bool query_version(const char *path, int *version, char *error, size_t error_size)
{
    StoreOptions options = {.path = path};
    SqliteConnection c = {.options = &options};
    int code = sqlite3_open_v2(path, &c.db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    int64_t application_id = 0, found = 0;
    if (code == SQLITE_OK)
        code = sqlite_number(&c, "PRAGMA application_id", &application_id);
    if (code == SQLITE_OK || code == SQLITE_ROW)
        code = sqlite_number(&c, "PRAGMA user_version", &found);
    bool ok = code == SQLITE_ROW;
    if (!ok) {
        sqlite_describe(c.db, code, path, error, error_size);
    } else if (application_id != SQLITE_APPLICATION_ID) {
        StoreStatus status;
        ok = judge(path, application_id, 0, 1, &status, error, error_size);
    }
    *version = (int)found;
    sqlite_disconnect(&c);
    return ok;
}

bool sqlite_versions(const char *path, int *file_version, int *program_version, char *error,
                     size_t error_size)
{
    *program_version = sqlite_schema_version();
    *file_version = 0;
    struct stat found;
    if (stat(path, &found) != 0) {
        snprintf(error, error_size, "store %s: %s", path,
                 errno == ENOENT ? "there is no such file" : strerrordesc_np(errno));
        return false;
    }
    char log[4096];
    int length = snprintf(log, sizeof(log), "%s-wal", path);
    bool has_log = length > 0 && (size_t)length < sizeof(log) && stat(log, &found) == 0 &&
                   found.st_size > 0;
    return has_log ? query_version(path, file_version, error, error_size)
                   : read_header(path, file_version, error, error_size);
}
