/* The tables of templates and schedules, as the first version of the schema makes them.
 *
 * Guild ids have 64 bits and no sign; they are stored as the signed number with the same bits.
 *
 * templates           one row a name: which version is current, and the highest there ever was
 * template_versions   what a version says of itself; events and capabilities as JSON arrays
 * template_files      which files a version has
 * template_contents   what is in them: once a guild, known by its hash, so that a version that
 *                     changes one of 256 files stores one
 * templates_retired   the highest version of names that were deleted, so that no number ever means
 *                     two things. The row of the empty name is a floor for all names: what old rows
 *                     said, when a guild had too many of them
 * template_guilds     the bytes of it all, a guild (kept by triggers)
 * schedules           what is due once or every so often
 *
 * Contents have no count of their uses: a change of it would write the whole source anew. Whoever
 * takes a file away asks the index whether somebody else has its content. */
#include "store/sqlite_store.h"

const char sqlite_tables_templates[] =
    "CREATE TABLE templates ("
    " guild_id INTEGER NOT NULL,"
    " name TEXT NOT NULL,"
    " version INTEGER NOT NULL,"      /* the current one */
    " last_version INTEGER NOT NULL," /* the highest there ever was */
    " created_ms INTEGER NOT NULL,"
    " PRIMARY KEY (guild_id, name)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE template_versions ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " guild_id INTEGER NOT NULL,"
    " name TEXT NOT NULL,"
    " version INTEGER NOT NULL,"
    " enabled INTEGER NOT NULL,"
    " updated_ms INTEGER NOT NULL,"
    " source_bytes INTEGER NOT NULL," /* of its files */
    " own_bytes INTEGER NOT NULL,"    /* what this row and those of its files take, roughly */
    " description TEXT,"
    " events TEXT NOT NULL,"
    " capabilities TEXT NOT NULL,"
    " UNIQUE (guild_id, name, version)) STRICT;"

    "CREATE TABLE template_files ("
    " version_id INTEGER NOT NULL,"
    " path TEXT NOT NULL,"
    " content_id INTEGER NOT NULL,"
    " PRIMARY KEY (version_id, path)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX template_files_content ON template_files (content_id);"

    "CREATE TABLE template_contents ("
    " id INTEGER PRIMARY KEY,"
    " guild_id INTEGER NOT NULL,"
    " hash BLOB NOT NULL," /* SHA-256 */
    " bytes INTEGER NOT NULL,"
    " source BLOB NOT NULL," /* last: those who do not want it do not read it */
    " UNIQUE (guild_id, hash)) STRICT;"

    "CREATE TABLE templates_retired ("
    " guild_id INTEGER NOT NULL,"
    " name TEXT NOT NULL,"
    " last_version INTEGER NOT NULL,"
    " retired_ms INTEGER NOT NULL,"
    " PRIMARY KEY (guild_id, name)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE template_guilds ("
    " guild_id INTEGER PRIMARY KEY,"
    " bytes INTEGER NOT NULL) STRICT;"
    "CREATE TRIGGER template_versions_added AFTER INSERT ON template_versions BEGIN"
    " INSERT INTO template_guilds VALUES (NEW.guild_id, NEW.own_bytes)"
    " ON CONFLICT (guild_id) DO UPDATE SET bytes = bytes + NEW.own_bytes; END;"
    "CREATE TRIGGER template_versions_removed AFTER DELETE ON template_versions BEGIN"
    " UPDATE template_guilds SET bytes = bytes - OLD.own_bytes WHERE guild_id = OLD.guild_id; END;"
    "CREATE TRIGGER template_contents_added AFTER INSERT ON template_contents BEGIN"
    " INSERT INTO template_guilds VALUES (NEW.guild_id, NEW.bytes)"
    " ON CONFLICT (guild_id) DO UPDATE SET bytes = bytes + NEW.bytes; END;"
    "CREATE TRIGGER template_contents_removed AFTER DELETE ON template_contents BEGIN"
    " UPDATE template_guilds SET bytes = bytes - OLD.bytes WHERE guild_id = OLD.guild_id; END;"

    /* Armed: at_ms is when it is to be taken, which is due_ms, or later after a failure. Neither
     * taken nor over nor given up: at_ms is there. `sequence` goes up with each occasion. */
    "CREATE TABLE schedules ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " guild_id INTEGER NOT NULL,"
    " name TEXT NOT NULL,"
    " due_ms INTEGER,"            /* the occasion; NULL: over */
    " every_ms INTEGER NOT NULL," /* 0: once */
    " at_ms INTEGER,"             /* when to take it; NULL: taken, over, or given up */
    " taken INTEGER NOT NULL DEFAULT 0,"
    " sequence INTEGER NOT NULL DEFAULT 1,"
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " has_failed INTEGER NOT NULL DEFAULT 0," /* given up, for ever */
    " created_ms INTEGER NOT NULL) STRICT;"
    "CREATE INDEX schedules_guild ON schedules (guild_id, id);"
    "CREATE INDEX schedules_at ON schedules (at_ms, id) WHERE at_ms IS NOT NULL;"
    "CREATE INDEX schedules_taken ON schedules (id) WHERE taken = 1;";

const char *const sqlite_sums_templates[] = {
    "SELECT format('guild %u: its templates take %d bytes, and %d are noted', guild, parts, noted)"
    " FROM (SELECT guild, sum(part) AS parts,"
    " coalesce((SELECT bytes FROM template_guilds WHERE guild_id = guild), 0) AS noted FROM"
    " (SELECT guild_id AS guild, own_bytes AS part FROM template_versions"
    " UNION ALL SELECT guild_id, bytes FROM template_contents"
    " UNION ALL SELECT guild_id, 0 FROM template_guilds)"
    " GROUP BY guild) WHERE parts <> noted",

    "SELECT format('guild %u: template %s has no version %d, which is its current one', t.guild_id,"
    " t.name, t.version) FROM templates t WHERE NOT EXISTS (SELECT 1 FROM template_versions v"
    " WHERE v.guild_id = t.guild_id AND v.name = t.name AND v.version = t.version)",

    "SELECT format('guild %u: version %d of %s is above the highest that is noted', v.guild_id,"
    " v.version, v.name) FROM template_versions v WHERE NOT EXISTS (SELECT 1 FROM templates t"
    " WHERE t.guild_id = v.guild_id AND t.name = v.name AND t.last_version >= v.version)",

    "SELECT format('guild %u: %s of version %d of %s has no content', v.guild_id, f.path,"
    " v.version, v.name) FROM template_files f JOIN template_versions v ON v.id = f.version_id"
    " WHERE NOT EXISTS (SELECT 1 FROM template_contents c"
    " WHERE c.id = f.content_id AND c.guild_id = v.guild_id)",

    "SELECT format('file %s belongs to no version', path) FROM template_files"
    " WHERE version_id NOT IN (SELECT id FROM template_versions)",

    "SELECT format('guild %u: no file has content %d', guild_id, id) FROM template_contents"
    " WHERE id NOT IN (SELECT content_id FROM template_files)",

    "SELECT format('guild %u: version %d of %s takes %d bytes, and %d are noted', guild_id,"
    " version, name, parts, source_bytes) FROM (SELECT v.*, (SELECT sum(length(c.source))"
    " FROM template_files f JOIN template_contents c ON c.id = f.content_id"
    " WHERE f.version_id = v.id) AS parts FROM template_versions v) WHERE parts <> source_bytes",
    NULL};
