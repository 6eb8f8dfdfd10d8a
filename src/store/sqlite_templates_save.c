/* Templates in SQLite: saving, deleting, going back to an older version.
 *
 * What a save costs on disk is what it changes: files are stored by the hash of what is in them. */
#include <openssl/evp.h>
#include <stdlib.h>

#include "base/jsontext.h"
#include "khronos/template.h"
#include "store/sqlite_templates.h"

enum {
    HASH_BYTES = 32,
    RETIRED_MAX = 1000, /* names a guild whose numbers are remembered one by one */
    ROW_BYTES = 128     /* what a row takes beside its texts, for the account */
};

/* ---- What is current -------------------------------------------------------------------------
 */

typedef struct Current {
    uint32_t version; /* 0: there is no template of that name */
    int64_t last_version;
} Current;

/* False: the request has failed. */
static bool find_current(SqliteConnection *c, StoreRequest *request, Text name, Current *current)
{
    *current = (Current){0};
    sqlite3_stmt *row = sqlite_named(
        c, request, "SELECT version, last_version FROM templates WHERE guild_id = ?1 AND name = ?2",
        name);
    int found = row ? sqlite_step(c, request, row) : -1;
    if (found > 0) {
        current->version = (uint32_t)sqlite3_column_int64(row, 0);
        current->last_version = sqlite3_column_int64(row, 1);
    }
    return found >= 0;
}

/* Is the current version the one that was expected? False: the request has failed. */
static bool expected(StoreRequest *request, Text name, const Current *current)
{
    int64_t wanted = request->if_version;
    if (wanted < 0 || wanted == (int64_t)current->version)
        return true;
    int length = (int)name.length;
    if (current->version == 0)
        sqlite_refuse(request, STORE_CONFLICT,
                      "there is no template '%.*s', but version %lld was expected", length,
                      name.data, (long long)wanted);
    else if (wanted == 0)
        sqlite_refuse(request, STORE_CONFLICT, "there is a template '%.*s' already, at version %u",
                      length, name.data, current->version);
    else
        sqlite_refuse(request, STORE_CONFLICT,
                      "the current version of template '%.*s' is %u, but version %lld was expected",
                      length, name.data, current->version, (long long)wanted);
    return false;
}

/* ---- Dropping --------------------------------------------------------------------------------
 */

/* One statement about one version. */
static bool on_version(SqliteConnection *c, StoreRequest *request, const char *sql,
                       int64_t version_id)
{
    sqlite3_stmt *statement = sqlite_statement(c, request, sql);
    if (!statement)
        return false;
    sqlite3_bind_int64(statement, 1, version_id);
    return sqlite_step(c, request, statement) == 0;
}

/* A version, its files, and what was in them unless other versions have it, too. */
static bool drop_version(SqliteConnection *c, StoreRequest *request, int64_t version_id)
{
    return on_version(c, request,
                      "DELETE FROM template_contents WHERE id IN"
                      " (SELECT content_id FROM template_files WHERE version_id = ?1)"
                      " AND NOT EXISTS (SELECT 1 FROM template_files f"
                      " WHERE f.content_id = template_contents.id AND f.version_id <> ?1)",
                      version_id) &&
           on_version(c, request, "DELETE FROM template_files WHERE version_id = ?1", version_id) &&
           on_version(c, request, "DELETE FROM template_versions WHERE id = ?1", version_id);
}

static bool guild_bytes(SqliteConnection *c, StoreRequest *request, int64_t *bytes)
{
    sqlite3_stmt *row = sqlite_statement(c, request,
                                         "SELECT bytes FROM template_guilds WHERE guild_id = ?1");
    if (!row)
        return false;
    sqlite_bind_guild(row, 1, request->guild_id);
    int found = sqlite_step(c, request, row);
    *bytes = found > 0 ? sqlite3_column_int64(row, 0) : 0;
    return found >= 0;
}

/* The template's versions but for the newest STORE_VERSIONS_MAX; the current one stays. */
static bool trim_template(SqliteConnection *c, StoreRequest *request, Text name)
{
    sqlite3_stmt *rows = sqlite_named(
        c, request,
        "SELECT id FROM template_versions WHERE guild_id = ?1 AND name = ?2 AND version <>"
        " (SELECT version FROM templates WHERE guild_id = ?1 AND name = ?2)"
        " ORDER BY version DESC LIMIT -1 OFFSET ?3",
        name);
    if (!rows)
        return false;
    sqlite3_bind_int(rows, 3, STORE_VERSIONS_MAX - 1);
    int more;
    while ((more = sqlite_step(c, request, rows)) > 0)
        if (!drop_version(c, request, sqlite3_column_int64(rows, 0)))
            return false;
    return more == 0;
}

/* Old versions of the guild go, the oldest first, until the rest fits. */
static bool trim_guild(SqliteConnection *c, StoreRequest *request)
{
    int64_t bytes;
    if (!guild_bytes(c, request, &bytes))
        return false;
    if (bytes <= STORE_TEMPLATES_BYTES_MAX)
        return true;
    sqlite3_stmt *rows = sqlite_statement(
        c, request,
        "SELECT v.id FROM templates t CROSS JOIN template_versions v"
        " ON v.guild_id = t.guild_id AND v.name = t.name AND v.version <> t.version"
        " WHERE t.guild_id = ?1 ORDER BY v.id");
    if (!rows)
        return false;
    sqlite_bind_guild(rows, 1, request->guild_id);
    int more = 1;
    while (bytes > STORE_TEMPLATES_BYTES_MAX && (more = sqlite_step(c, request, rows)) > 0)
        if (!drop_version(c, request, sqlite3_column_int64(rows, 0)) ||
            !guild_bytes(c, request, &bytes))
            return false;
    if (more < 0 || bytes <= STORE_TEMPLATES_BYTES_MAX || request->guild_id == 0)
        return more >= 0;
    sqlite_refuse(
        request, STORE_TOO_MANY,
        "the templates of a guild may take %lld MiB together, and with this one they would take"
        " more",
        (long long)(STORE_TEMPLATES_BYTES_MAX >> 20));
    return false;
}

/* ---- Saving ----------------------------------------------------------------------------------
 */

typedef struct SavedFile {
    Text path, source;
    unsigned char hash[HASH_BYTES];
} SavedFile;

/* What is to be saved, as it will be stored. In the request's memory. */
typedef struct Save {
    const StoreTemplate *t;
    SavedFile *files; /* in the order of their paths */
    Text events, capabilities;
    int64_t source_bytes, own_bytes;
} Save;

static int compare_texts(Text a, Text b)
{
    int order = memcmp(a.data, b.data, a.length < b.length ? a.length : b.length);
    return order ? order : (a.length > b.length) - (a.length < b.length);
}

static int compare_paths(const void *a, const void *b)
{
    return compare_texts(((const SavedFile *)a)->path, ((const SavedFile *)b)->path);
}

/* A JSON array. False: the request has failed. */
static bool put_labels(StoreRequest *request, const char *what, const Text *labels, int count,
                       Text *out)
{
    Strbuf text = STRBUF_INIT;
    size_t bad;
    strbuf_putc(&text, '[');
    for (int i = 0; i < count; i++) {
        if (i > 0)
            strbuf_putc(&text, ',');
        if (labels[i].length == 0 || labels[i].length > TEMPLATE_LABEL_MAX ||
            !json_put_string(&text, labels[i].data, labels[i].length, &bad)) {
            sqlite_refuse(request, STORE_INVALID, "%s %d: expected 1 to %d bytes of UTF-8", what,
                          i + 1, TEMPLATE_LABEL_MAX);
            goto done;
        }
    }
    strbuf_putc(&text, ']');
    if (!text.failed)
        *out = store_request_text(request, (Text){text.data, text.length});
    if (!out->data)
        store_request_fail(request, STORE_NO_MEMORY, NULL);
done:
    strbuf_free(&text);
    return request->status == STORE_OK;
}

static bool prepare_files(StoreRequest *request, Save *save)
{
    const StoreTemplate *t = save->t;
    save->files = store_request_alloc(request, (size_t)t->file_count * sizeof(SavedFile));
    if (!save->files) {
        store_request_fail(request, STORE_NO_MEMORY, NULL);
        return false;
    }
    for (int i = 0; i < t->file_count; i++) {
        SavedFile *file = &save->files[i];
        file->path = t->files[i].path;
        file->source = t->files[i].source;
        if (!file->source.data)
            file->source = (Text){"", 0};
        if (!file->path.data || file->path.length == 0 || file->path.length > TEMPLATE_PATH_MAX) {
            sqlite_refuse(request, STORE_INVALID, "the path of a file has 1 to %d bytes",
                          TEMPLATE_PATH_MAX);
            return false;
        }
        if (file->source.length > TEMPLATE_FILE_BYTES_MAX) {
            sqlite_refuse(request, STORE_INVALID, "%.*s: larger than 1 MiB", (int)file->path.length,
                          file->path.data);
            return false;
        }
        save->source_bytes += (int64_t)file->source.length;
        save->own_bytes += (int64_t)file->path.length + ROW_BYTES;
        if (!EVP_Digest(file->source.data, file->source.length, file->hash, NULL, EVP_sha256(),
                        NULL)) {
            store_request_fail(request, STORE_NO_MEMORY, NULL); /* what else could fail there */
            return false;
        }
    }
    qsort(save->files, (size_t)t->file_count, sizeof(SavedFile), compare_paths);
    for (int i = 1; i < t->file_count; i++)
        if (compare_paths(&save->files[i - 1], &save->files[i]) == 0) {
            sqlite_refuse(request, STORE_INVALID, "%.*s: two files have this path",
                          (int)save->files[i].path.length, save->files[i].path.data);
            return false;
        }
    return true;
}

/* The bounds that need no compiler, which others here rely on. */
static bool prepare_save(StoreRequest *request, Save *save)
{
    const StoreTemplate *t = save->t;
    if (!t->name.data || !template_name_valid(t->name.data, t->name.length)) {
        sqlite_refuse(request, STORE_INVALID,
                      "the name of a template has 1 to %d of the characters A-Z a-z 0-9 . _ $ -",
                      STORE_NAME_MAX);
    } else if (t->file_count < 1 || t->file_count > TEMPLATE_FILES_MAX) {
        sqlite_refuse(request, STORE_INVALID, "a template has 1 to %d files, this one has %d",
                      TEMPLATE_FILES_MAX, t->file_count);
    } else if (t->event_count > TEMPLATE_EVENTS_MAX ||
               t->capability_count > TEMPLATE_CAPABILITIES_MAX) {
        sqlite_refuse(request, STORE_INVALID,
                      "a template has at most %d events and %d capabilities", TEMPLATE_EVENTS_MAX,
                      TEMPLATE_CAPABILITIES_MAX);
    } else if (t->description.length > TEMPLATE_DESCRIPTION_MAX) {
        sqlite_refuse(request, STORE_INVALID, "the description of a template has at most %d bytes",
                      TEMPLATE_DESCRIPTION_MAX);
    } else if (prepare_files(request, save) &&
               put_labels(request, "event", t->events, t->event_count, &save->events) &&
               put_labels(request, "capability", t->capabilities, t->capability_count,
                          &save->capabilities)) {
        if (save->source_bytes > (int64_t)TEMPLATE_BYTES_MAX)
            sqlite_refuse(request, STORE_INVALID,
                          "the files of a template take at most 8 MiB together");
        save->own_bytes += (int64_t)(t->name.length + t->description.length + save->events.length +
                                     save->capabilities.length) +
                           ROW_BYTES;
    }
    return request->status == STORE_OK;
}

static bool same_text(sqlite3_stmt *row, int column, Text text)
{
    const void *data = sqlite3_column_blob(row, column);
    size_t length = (size_t)sqlite3_column_bytes(row, column);
    if (sqlite3_column_type(row, column) == SQLITE_NULL || !text.data)
        return sqlite3_column_type(row, column) == SQLITE_NULL && !text.data;
    return length == text.length && (length == 0 || memcmp(data, text.data, length) == 0);
}

/* 1: the current version says just the same and has just these files; 0: no; -1: failed. */
static int changes_nothing(SqliteConnection *c, StoreRequest *request, const Save *save)
{
    sqlite3_stmt *row = sqlite_named(
        c, request,
        "SELECT " TEMPLATE_COLUMNS
        "WHERE t.guild_id = ?1 AND t.name = ?2 AND v.version = t.version AND v.enabled = ?3",
        save->t->name);
    sqlite3_stmt *files = sqlite_statement(
        c, request,
        "SELECT f.path, c.hash FROM template_files f CROSS JOIN template_contents c"
        " ON c.id = f.content_id WHERE f.version_id = ?1 ORDER BY f.path");
    if (!row || !files)
        return -1;
    sqlite3_bind_int(row, 3, save->t->enabled);
    int found = sqlite_step(c, request, row);
    if (found <= 0)
        return found;
    if (!same_text(row, TEMPLATE_COLUMN_DESCRIPTION, save->t->description) ||
        !same_text(row, TEMPLATE_COLUMN_EVENTS, save->events) ||
        !same_text(row, TEMPLATE_COLUMN_CAPABILITIES, save->capabilities))
        return 0;
    sqlite3_bind_int64(files, 1, sqlite3_column_int64(row, TEMPLATE_COLUMN_ID));
    int count = 0;
    while ((found = sqlite_step(c, request, files)) > 0) {
        const SavedFile *file = &save->files[count];
        if (count++ >= save->t->file_count || !same_text(files, 0, file->path) ||
            !same_text(files, 1, (Text){(const char *)file->hash, HASH_BYTES}))
            return 0;
    }
    return found < 0 ? -1 : count == save->t->file_count;
}

/* The number for a new version; 0: the request has failed. */
static uint32_t next_version(SqliteConnection *c, StoreRequest *request, Text name,
                             const Current *current)
{
    int64_t last = current->last_version;
    if (current->version == 0) {
        /* A name that comes back goes on from where it ended; '' is what is said of all names. */
        sqlite3_stmt *row = sqlite_named(c, request,
                                         "SELECT max(last_version) FROM templates_retired"
                                         " WHERE guild_id = ?1 AND name IN ('', ?2)",
                                         name);
        int found = row ? sqlite_step(c, request, row) : -1;
        if (found < 0)
            return 0;
        last = found > 0 ? sqlite3_column_int64(row, 0) : 0;
    }
    if (last < 0 || last >= UINT32_MAX) {
        sqlite_refuse(request, STORE_TOO_MANY,
                      "template '%.*s' has had all version numbers there are", (int)name.length,
                      name.data);
        return 0;
    }
    return (uint32_t)last + 1;
}

/* The content's id, which is stored if the guild does not have it yet; 0: failed. */
static int64_t content_id(SqliteConnection *c, StoreRequest *request, const SavedFile *file)
{
    sqlite3_stmt *row = sqlite_statement(
        c, request, "SELECT id FROM template_contents WHERE guild_id = ?1 AND hash = ?2");
    if (!row)
        return 0;
    sqlite_bind_guild(row, 1, request->guild_id);
    sqlite3_bind_blob(row, 2, file->hash, HASH_BYTES, SQLITE_STATIC);
    int found = sqlite_step(c, request, row);
    if (found != 0)
        return found > 0 ? sqlite3_column_int64(row, 0) : 0;
    sqlite3_stmt *insert = sqlite_statement(
        c, request,
        "INSERT INTO template_contents"
        " (guild_id, hash, bytes, source) VALUES (?1, ?2, ?3, ?4)"
        " RETURNING id");
    if (!insert)
        return 0;
    sqlite_bind_guild(insert, 1, request->guild_id);
    sqlite3_bind_blob(insert, 2, file->hash, HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(insert, 3, (int64_t)file->source.length + ROW_BYTES);
    sqlite3_bind_blob64(insert, 4, file->source.data, file->source.length, SQLITE_STATIC);
    if (sqlite_step(c, request, insert) <= 0)
        return 0;
    int64_t id = sqlite3_column_int64(insert, 0);
    return sqlite_step(c, request, insert) == 0 ? id : 0;
}

static bool insert_files(SqliteConnection *c, StoreRequest *request, const Save *save,
                         int64_t version_id)
{
    for (int i = 0; i < save->t->file_count; i++) {
        int64_t content = content_id(c, request, &save->files[i]);
        sqlite3_stmt *insert = content == 0
                                   ? NULL
                                   : sqlite_statement(
                                         c, request,
                                         "INSERT INTO template_files"
                                         " (version_id, path, content_id) VALUES (?1, ?2, ?3)");
        if (!insert)
            return false;
        sqlite3_bind_int64(insert, 1, version_id);
        sqlite_bind_text(insert, 2, save->files[i].path);
        sqlite3_bind_int64(insert, 3, content);
        if (sqlite_step(c, request, insert) != 0)
            return false;
    }
    return true;
}

static bool insert_version(SqliteConnection *c, StoreRequest *request, const Save *save,
                           uint32_t version, int64_t now_ms)
{
    const StoreTemplate *t = save->t;
    sqlite3_stmt *insert = sqlite_named(
        c, request,
        "INSERT INTO template_versions (guild_id, name, version, enabled,"
        " updated_ms, source_bytes, own_bytes, description, events,"
        " capabilities) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
        " RETURNING id",
        t->name);
    if (!insert)
        return false;
    sqlite3_bind_int64(insert, 3, version);
    sqlite3_bind_int(insert, 4, t->enabled);
    sqlite3_bind_int64(insert, 5, now_ms);
    sqlite3_bind_int64(insert, 6, save->source_bytes);
    sqlite3_bind_int64(insert, 7, save->own_bytes);
    sqlite_bind_text(insert, 8, t->description);
    sqlite_bind_text(insert, 9, save->events);
    sqlite_bind_text(insert, 10, save->capabilities);
    if (sqlite_step(c, request, insert) <= 0)
        return false;
    int64_t id = sqlite3_column_int64(insert, 0);
    return sqlite_step(c, request, insert) == 0 && insert_files(c, request, save, id);
}

static bool set_current(SqliteConnection *c, StoreRequest *request, Text name, uint32_t version,
                        int64_t now_ms)
{
    sqlite3_stmt *upsert = sqlite_named(
        c, request,
        "INSERT INTO templates (guild_id, name, version, last_version, created_ms)"
        " VALUES (?1, ?2, ?3, ?3, ?4) ON CONFLICT (guild_id, name) DO UPDATE"
        " SET version = ?3, last_version = max(last_version, ?3)",
        name);
    if (!upsert)
        return false;
    sqlite3_bind_int64(upsert, 3, version);
    sqlite3_bind_int64(upsert, 4, now_ms);
    return sqlite_step(c, request, upsert) == 0;
}

/* One more name: is there room for it, and it is no longer one that was. */
static bool admit_name(SqliteConnection *c, StoreRequest *request, Text name)
{
    sqlite3_stmt *row = sqlite_statement(c, request,
                                         "SELECT count(*) FROM templates WHERE guild_id = ?1");
    if (!row)
        return false;
    sqlite_bind_guild(row, 1, request->guild_id);
    if (sqlite_step(c, request, row) <= 0)
        return false;
    if (request->guild_id != 0 && sqlite3_column_int64(row, 0) >= STORE_TEMPLATES_MAX) {
        sqlite_refuse(request, STORE_TOO_MANY, "a guild has at most %d templates",
                      STORE_TEMPLATES_MAX);
        return false;
    }
    sqlite3_stmt *back = sqlite_named(
        c, request, "DELETE FROM templates_retired WHERE guild_id = ?1 AND name = ?2", name);
    return back && sqlite_step(c, request, back) == 0;
}

void sqlite_template_save(SqliteConnection *c, StoreRequest *request)
{
    Save save = {.t = request->save};
    if (!save.t) {
        sqlite_refuse(request, STORE_INVALID, "nothing to save");
        return;
    }
    Text name = save.t->name;
    Current current;
    if (!prepare_save(request, &save) || !find_current(c, request, name, &current) ||
        !expected(request, name, &current))
        return;
    uint32_t version = current.version;
    int same = version == 0 ? 0 : changes_nothing(c, request, &save);
    if (same < 0)
        return;
    if (!same) {
        int64_t now_ms = sqlite_now_ms(c);
        version = next_version(c, request, name, &current);
        if (version == 0 || (current.version == 0 && !admit_name(c, request, name)) ||
            !insert_version(c, request, &save, version, now_ms) ||
            !set_current(c, request, name, version, now_ms) || !trim_template(c, request, name) ||
            !trim_guild(c, request))
            return;
    }
    sqlite_template_version(c, request, name, version, false);
}

/* ---- Deleting, going back --------------------------------------------------------------------
 */

/* Remembers the name's highest number. Of names beyond RETIRED_MAX the oldest are forgotten, and
 * what they said is said of all names: no tenant fills the disk with names. */
static bool retire_name(SqliteConnection *c, StoreRequest *request, int64_t last_version)
{
    sqlite3_stmt *insert = sqlite_named(c, request,
                                        "INSERT INTO templates_retired VALUES (?1, ?2, ?3, ?4)"
                                        " ON CONFLICT (guild_id, name) DO UPDATE"
                                        " SET last_version = ?3, retired_ms = ?4",
                                        request->name);
    if (!insert)
        return false;
    sqlite3_bind_int64(insert, 3, last_version);
    sqlite3_bind_int64(insert, 4, sqlite_now_ms(c));
    sqlite3_stmt *oldest = sqlite_step(c, request, insert) != 0
                               ? NULL
                               : sqlite_statement(
                                     c, request,
                                     "SELECT name, last_version FROM templates_retired"
                                     " WHERE guild_id = ?1 AND name <> ''"
                                     " ORDER BY retired_ms DESC, name LIMIT 1 OFFSET ?2");
    if (!oldest)
        return false;
    sqlite_bind_guild(oldest, 1, request->guild_id);
    sqlite3_bind_int(oldest, 2, RETIRED_MAX);
    int found = sqlite_step(c, request, oldest);
    if (found <= 0)
        return found == 0;
    Text name = sqlite_column(request, oldest, 0);
    int64_t floor = sqlite3_column_int64(oldest, 1);
    if (!name.data || sqlite_step(c, request, oldest) != 0)
        return false;
    sqlite3_stmt *fold = sqlite_named(
        c, request,
        "INSERT INTO templates_retired VALUES (?1, ?2, ?3, 0)"
        " ON CONFLICT (guild_id, name) DO UPDATE SET last_version = max(last_version, ?3)",
        (Text){"", 0});
    sqlite3_stmt *forget = sqlite_named(
        c, request, "DELETE FROM templates_retired WHERE guild_id = ?1 AND name = ?2", name);
    if (!fold || !forget)
        return false;
    sqlite3_bind_int64(fold, 3, floor);
    return sqlite_step(c, request, fold) == 0 && sqlite_step(c, request, forget) == 0;
}

void sqlite_template_delete(SqliteConnection *c, StoreRequest *request)
{
    Current current;
    if (!find_current(c, request, request->name, &current))
        return;
    if (current.version == 0) {
        store_request_fail(request, STORE_NOT_FOUND, NULL);
        return;
    }
    if (!expected(request, request->name, &current) ||
        !retire_name(c, request, current.last_version))
        return;
    sqlite3_stmt *rows = sqlite_named(
        c, request, "SELECT id FROM template_versions WHERE guild_id = ?1 AND name = ?2",
        request->name);
    int more = rows ? 1 : -1;
    while (more > 0 && (more = sqlite_step(c, request, rows)) > 0) {
        int64_t id = sqlite3_column_int64(rows, 0);
        if (!drop_version(c, request, id))
            return;
    }
    if (more < 0)
        return;
    sqlite3_stmt *last = sqlite_named(
        c, request, "DELETE FROM templates WHERE guild_id = ?1 AND name = ?2", request->name);
    if (last)
        sqlite_step(c, request, last);
}

void sqlite_template_activate(SqliteConnection *c, StoreRequest *request)
{
    Current current;
    if (!find_current(c, request, request->name, &current))
        return;
    if (current.version == 0 || request->version == 0) {
        store_request_fail(request, STORE_NOT_FOUND, NULL);
        return;
    }
    if (!expected(request, request->name, &current))
        return;
    sqlite_template_version(c, request, request->name, request->version, false);
    if (request->status != STORE_OK)
        return;
    request->templates[0].current = true;
    set_current(c, request, request->name, request->version, 0);
}
