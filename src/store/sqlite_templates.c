/* Templates in SQLite: versions that never change, and a row a name that says which is current.
 * Here they are read; sqlite_templates_save.c changes them.
 *
 * The tables are told of in sqlite_tables_templates.c. Statements that read a version's files run
 * while the row of the version is still open, so they see the same moment. */
#include "base/jsontext.h"
#include "store/sqlite_templates.h"

void sqlite_bind_guild(sqlite3_stmt *statement, int index, uint64_t guild_id)
{
    sqlite3_bind_int64(statement, index, (sqlite3_int64)guild_id);
}

sqlite3_stmt *sqlite_named(SqliteConnection *c, StoreRequest *request, const char *sql, Text name)
{
    sqlite3_stmt *statement = sqlite_statement(c, request, sql);
    if (statement) {
        sqlite_bind_guild(statement, 1, request->guild_id);
        sqlite_bind_text(statement, 2, name);
    }
    return statement;
}

/* Room for one more of `size` bytes in the request's memory; NULL: the request has failed. */
static void *one_more(StoreRequest *request, void **items, int *count, size_t size)
{
    /* Full at 0 and at each power of two. */
    if ((*count & (*count - 1)) == 0) {
        size_t room = *count == 0 ? 1 : (size_t)*count * 2;
        void *larger = store_request_alloc(request, room * size);
        if (!larger) {
            store_request_fail(request, STORE_NO_MEMORY, NULL);
            return NULL;
        }
        if (*count > 0)
            memcpy(larger, *items, (size_t)*count * size);
        *items = larger;
    }
    return (char *)*items + (size_t)(*count)++ * size;
}

/* A JSON array of strings, as put_labels wrote it. */
static bool read_labels(StoreRequest *request, sqlite3_stmt *row, int column, Text **labels,
                        int *count)
{
    Text text = sqlite_column(request, row, column);
    if (!text.data && request->status != STORE_OK)
        return false;
    JsonReader r;
    json_open(&r, text.data, text.length);
    void *items = NULL;
    bool fine = json_peek(&r) == JSON_ARRAY && json_enter(&r);
    while (fine && json_element(&r)) {
        JsonString string;
        Text *label = NULL;
        fine = json_peek(&r) == JSON_STRING && json_string(&r, &string);
        if (fine && !(label = one_more(request, &items, count, sizeof(Text))))
            return false;
        if (fine) {
            /* In its place: what it comes from is the request's own copy. */
            char *place = (char *)(uintptr_t)string.data;
            label->length = json_unescape(&string, place);
            label->data = place;
        }
    }
    *labels = items;
    if (fine && json_end(&r))
        return true;
    sqlite_refuse(request, STORE_CORRUPT,
                  "a template's list of events or capabilities cannot be read");
    return false;
}

static bool read_template(StoreRequest *request, sqlite3_stmt *row, StoreTemplate *t)
{
    t->name = sqlite_column(request, row, TEMPLATE_COLUMN_NAME);
    t->version = (uint32_t)sqlite3_column_int64(row, TEMPLATE_COLUMN_VERSION);
    t->current = sqlite3_column_int(row, TEMPLATE_COLUMN_CURRENT) != 0;
    t->enabled = sqlite3_column_int(row, TEMPLATE_COLUMN_ENABLED) != 0;
    t->description = sqlite_column(request, row, TEMPLATE_COLUMN_DESCRIPTION);
    t->source_bytes = (uint64_t)sqlite3_column_int64(row, TEMPLATE_COLUMN_SOURCE_BYTES);
    t->created_ms = sqlite3_column_int64(row, TEMPLATE_COLUMN_CREATED);
    t->updated_ms = sqlite3_column_int64(row, TEMPLATE_COLUMN_UPDATED);
    return request->status == STORE_OK &&
           read_labels(request, row, TEMPLATE_COLUMN_EVENTS, &t->events, &t->event_count) &&
           read_labels(request, row, TEMPLATE_COLUMN_CAPABILITIES, &t->capabilities,
                       &t->capability_count);
}

static bool read_files(SqliteConnection *c, StoreRequest *request, int64_t version_id,
                       StoreTemplate *t)
{
    sqlite3_stmt *row = sqlite_statement(
        c, request,
        "SELECT f.path, c.source FROM template_files f CROSS JOIN template_contents c"
        " ON c.id = f.content_id WHERE f.version_id = ?1 ORDER BY f.path");
    if (!row)
        return false;
    sqlite3_bind_int64(row, 1, version_id);
    void *files = NULL;
    int more;
    while ((more = sqlite_step(c, request, row)) > 0) {
        StoreFile *file = one_more(request, &files, &t->file_count, sizeof(StoreFile));
        if (!file)
            return false;
        file->path = sqlite_column(request, row, 0);
        file->source = sqlite_column(request, row, 1);
        if (request->status != STORE_OK)
            return false;
        if (!file->source.data) /* SQLite's way to say that a blob is empty */
            file->source = (Text){"", 0};
    }
    t->files = files;
    return more == 0;
}

/* The rows that the statement (with TEMPLATE_COLUMNS) gives, each with its files if they are
 * wanted. */
static bool read_templates(SqliteConnection *c, StoreRequest *request, sqlite3_stmt *rows,
                           bool whole)
{
    void *templates = NULL;
    int count = 0, more;
    while ((more = sqlite_step(c, request, rows)) > 0) {
        StoreTemplate *t = one_more(request, &templates, &count, sizeof(StoreTemplate));
        if (!t || !read_template(request, rows, t))
            return false;
        if (whole && !read_files(c, request, sqlite3_column_int64(rows, TEMPLATE_COLUMN_ID), t))
            return false;
    }
    if (more < 0)
        return false;
    request->templates = templates;
    request->template_count = count;
    return true;
}

static const char CURRENT_ONES[] =
    "SELECT " TEMPLATE_COLUMNS "WHERE t.guild_id = ?1 AND v.version = t.version ORDER BY t.name";

static void current_ones(SqliteConnection *c, StoreRequest *request, bool whole)
{
    sqlite3_stmt *rows = sqlite_statement(c, request, CURRENT_ONES);
    if (!rows)
        return;
    sqlite_bind_guild(rows, 1, request->guild_id);
    read_templates(c, request, rows, whole);
}

void sqlite_templates_load(SqliteConnection *c, StoreRequest *request)
{
    current_ones(c, request, true);
}

void sqlite_template_list(SqliteConnection *c, StoreRequest *request)
{
    current_ones(c, request, false);
}

void sqlite_template_version(SqliteConnection *c, StoreRequest *request, Text name,
                             uint32_t version, bool whole)
{
    sqlite3_stmt *row = sqlite_named(c, request,
                                     "SELECT " TEMPLATE_COLUMNS
                                     "WHERE t.guild_id = ?1 AND t.name = ?2"
                                     " AND v.version = CASE ?3 WHEN 0 THEN t.version ELSE ?3 END",
                                     name);
    if (!row)
        return;
    sqlite3_bind_int64(row, 3, version);
    if (read_templates(c, request, row, whole) && request->template_count == 0)
        store_request_fail(request, STORE_NOT_FOUND, NULL);
}

void sqlite_template_get(SqliteConnection *c, StoreRequest *request)
{
    sqlite_template_version(c, request, request->name, request->version, true);
}

void sqlite_template_versions(SqliteConnection *c, StoreRequest *request)
{
    sqlite3_stmt *rows = sqlite_named(c, request,
                                      "SELECT " TEMPLATE_COLUMNS
                                      "WHERE t.guild_id = ?1 AND t.name = ?2"
                                      " ORDER BY v.version DESC",
                                      request->name);
    if (!rows || !read_templates(c, request, rows, false) || request->template_count > 0)
        return;
    uint64_t guild_id = request->guild_id;
    request->guild_id = request->or_common ? 0 : guild_id;
    sqlite_template_version(c, request, request->name, 0, false);
    request->guild_id = guild_id;
    if (request->template_count > 0)
        request->templates[0].version = 0;
}
