/* sqlite_templates.h: what reading templates (sqlite_templates.c) and saving them
 * (sqlite_templates_save.c) share. */
#ifndef STORE_SQLITE_TEMPLATES_H
#define STORE_SQLITE_TEMPLATES_H

#include "store/sqlite_kv.h" /* sqlite_refuse */

/* What is told of a version, in the order of these numbers. t: the name's row, v: the version's. */
#define TEMPLATE_COLUMNS                                                                           \
    "v.id, v.name, v.version, v.version = t.version, v.enabled, v.description, v.events,"          \
    " v.capabilities, v.source_bytes, t.created_ms, v.updated_ms"                                  \
    " FROM templates t CROSS JOIN template_versions v"                                             \
    " ON v.guild_id = t.guild_id AND v.name = t.name "
enum {
    TEMPLATE_COLUMN_ID,
    TEMPLATE_COLUMN_NAME,
    TEMPLATE_COLUMN_VERSION,
    TEMPLATE_COLUMN_CURRENT,
    TEMPLATE_COLUMN_ENABLED,
    TEMPLATE_COLUMN_DESCRIPTION,
    TEMPLATE_COLUMN_EVENTS,
    TEMPLATE_COLUMN_CAPABILITIES,
    TEMPLATE_COLUMN_SOURCE_BYTES,
    TEMPLATE_COLUMN_CREATED,
    TEMPLATE_COLUMN_UPDATED
};

void sqlite_bind_guild(sqlite3_stmt *statement, int index, uint64_t guild_id);
/* A statement about the request's guild (?1) and a name (?2). NULL: the request has failed. */
sqlite3_stmt *sqlite_named(SqliteConnection *c, StoreRequest *request, const char *sql, Text name);
/* One version into templates[0]; 0: the current one. */
void sqlite_template_version(SqliteConnection *c, StoreRequest *request, Text name,
                             uint32_t version, bool whole);

#endif
