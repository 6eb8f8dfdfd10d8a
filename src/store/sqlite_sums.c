/* What must add up in a sound store beyond what SQLite knows of: accounts equal what they count,
 * and what names something names what is there. */
#include "store/sqlite_parts.h"

#define OCTETS(column) "length(CAST(" column " AS BLOB))"

const char *const sqlite_sums[] = {
    "SELECT format('guild %u has %d records of %d bytes, and kv_usage says %d of %d', guild_id,"
    " coalesce(n, 0), coalesce(b, 0), coalesce(records, 0), coalesce(bytes, 0))"
    " FROM (SELECT guild_id, count(*) AS n, sum(bytes) AS b FROM kv GROUP BY guild_id)"
    " FULL JOIN kv_usage USING (guild_id)"
    " WHERE coalesce(n, 0) <> coalesce(records, 0) OR coalesce(b, 0) <> coalesce(bytes, 0)",

    "SELECT format('record %d of guild %u has %d bytes, and its row says %d', kv.id, guild_id,"
    " " OCTETS("value") " + coalesce(b, 0), bytes)"
                        " FROM kv LEFT JOIN"
                        " (SELECT id, sum(" OCTETS("scope") " + " OCTETS(
                            "key") ") AS b FROM kv_scope GROUP BY id) AS s"
                                   " ON s.id = kv.id"
                                   " WHERE bytes <> " OCTETS("value") " + coalesce(b, 0)",

    "SELECT format('kv_scope names record %d of guild %u, which is not there, or of another key',"
    " s.id, s.guild_id)"
    " FROM kv_scope AS s LEFT JOIN kv ON kv.id = s.id"
    " WHERE kv.id IS NULL OR kv.guild_id <> s.guild_id OR kv.key <> s.key",

    "SELECT format('guild %u has %d bytes of templates, and template_guilds says %d', guild_id,"
    " coalesce(b, 0), coalesce(bytes, 0))"
    " FROM (SELECT guild_id, sum(own) AS b FROM"
    "  (SELECT guild_id, own_bytes AS own FROM template_versions UNION ALL"
    "   SELECT guild_id, bytes FROM template_contents) GROUP BY guild_id)"
    " FULL JOIN template_guilds USING (guild_id)"
    " WHERE coalesce(b, 0) <> coalesce(bytes, 0)",

    "SELECT format('template %s of guild %u has no version %d, which is its current one', t.name,"
    " t.guild_id, t.version)"
    " FROM templates AS t LEFT JOIN template_versions AS v"
    " ON v.guild_id = t.guild_id AND v.name = t.name AND v.version = t.version"
    " WHERE v.id IS NULL",

    "SELECT format('file %s of template version %d has no content', path, version_id)"
    " FROM template_files AS f LEFT JOIN template_contents AS c ON c.id = f.content_id"
    " WHERE c.id IS NULL",

    "SELECT format('file %s belongs to template version %d, which is not there', path, version_id)"
    " FROM template_files AS f LEFT JOIN template_versions AS v ON v.id = f.version_id"
    " WHERE v.id IS NULL",

    "SELECT format('content %d of guild %u has %d bytes, and its row says %d', id, guild_id,"
    " length(source), bytes)"
    " FROM template_contents WHERE length(source) <> bytes",

    NULL,
};
