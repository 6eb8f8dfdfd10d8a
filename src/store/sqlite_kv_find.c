/* sqlite_kv_find.c: pages of a guild's records, by pattern, by scope, by `resume`.
 *
 * A page goes along the rows that kv_scope has for the first of the scopes that were given, from
 * where the last page ended (or where keys with the pattern's literal beginning start), in the
 * order of keys and then of ids. It ends where the rows do, when it is full, and when it has looked
 * at enough rows, or at enough characters of them, whether it found something or not; then `next`
 * says where to go on. So no pattern keeps a thread for long. `next` is `id:key` of the last row
 * that was looked at; it names a place in the order, not a record, which may be gone by then. */
#include "store/sqlite_kv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    PATTERN_MAX = 2 * STORE_KEY_MAX, /* each byte of a key may have an escape before it */
    ROWS_MAX = 5000,                 /* about a millisecond, the same */
    STEPS_MAX = 500000,              /* of the matcher */
    PLACE_MAX = 20 + 1 + STORE_KEY_MAX
};

/* ---- Patterns ---- */

typedef struct Pattern {
    const char *p, *end;
    char prefix[PATTERN_MAX]; /* what comes before the first wildcard, without escapes */
    size_t prefix_length;
    bool literal; /* it has no wildcards */
} Pattern;

static bool read_pattern(StoreRequest *request, Pattern *pattern)
{
    Text text = request->pattern;
    if (!sqlite_check_text(request, "the pattern", text, PATTERN_MAX))
        return false;
    *pattern = (Pattern){.p = text.data, .end = text.data + text.length, .literal = true};
    for (const char *p = pattern->p; p < pattern->end; p++) {
        if (*p == '\\') {
            if (++p == pattern->end)
                return sqlite_refuse(request, STORE_INVALID,
                                     "the pattern ends with a `\\` that has nothing after it");
        } else if (*p == '%' || *p == '_') {
            pattern->literal = false;
        }
        if (pattern->literal)
            pattern->prefix[pattern->prefix_length++] = *p;
    }
    return true;
}

static const char *next_character(const char *p, const char *end)
{
    do
        p++;
    while (p < end && ((unsigned char)*p & 0xC0) == 0x80);
    return p;
}

/* Goes back to the last `%` only: what an earlier one could take as well, this one can. So the
 * steps are at most the product of the lengths. */
static bool matches(const Pattern *pattern, Text key, int *steps)
{
    const char *p = pattern->p, *t = key.data, *end = key.data + key.length;
    const char *after_any = NULL, *from = NULL;
    while (t < end) {
        ++*steps;
        if (p < pattern->end && *p == '%') {
            after_any = ++p;
            from = t;
            if (p == pattern->end)
                return true;
            continue;
        }
        if (p < pattern->end && *p == '_') {
            p++;
            t = next_character(t, end);
            continue;
        }
        if (p < pattern->end) {
            const char *literal = *p == '\\' ? p + 1 : p;
            if (*literal == *t) {
                p = literal + 1;
                t++;
                continue;
            }
        }
        if (after_any == NULL)
            return false;
        p = after_any;
        t = from = next_character(from, end);
    }
    while (p < pattern->end && *p == '%')
        p++;
    return p == pattern->end;
}

/* ---- Pages ---- */

typedef struct Walk {
    SqliteConnection *c;
    StoreRequest *request;
    SqliteScopes scopes;
    const Pattern *pattern; /* NULL: all keys */
    bool with_values;
    int count_max;
    int64_t id; /* the last row that was looked at */
    char key[STORE_KEY_MAX];
    size_t key_length;
    int rows, steps;
    size_t bytes; /* of the records in the page */
} Walk;

static int page_max(const StoreRequest *request)
{
    int wanted = request->count_max;
    return wanted > 0 && wanted < STORE_PAGE_MAX ? wanted : STORE_PAGE_MAX;
}

static bool no_memory(StoreRequest *request)
{
    return sqlite_refuse(request, STORE_NO_MEMORY, "no memory for a page of records");
}

static size_t record_bytes(const StoreRecord *record)
{
    size_t bytes = record->key.length + record->value.length;
    for (int i = 0; i < record->scope_count; i++)
        bytes += record->scopes[i].length;
    return bytes;
}

/* From request->after, or from where the prefix begins. */
static bool start_walk(Walk *walk)
{
    Text after = walk->request->after;
    if (after.data != NULL) {
        int64_t id = 0;
        size_t i = 0;
        for (; i < after.length && i < 18 && after.data[i] >= '0' && after.data[i] <= '9'; i++)
            id = id * 10 + (after.data[i] - '0');
        if (i == 0 || i >= after.length || after.data[i] != ':')
            return sqlite_refuse(walk->request, STORE_INVALID,
                                 "the place to go on from is none that a page ended with");
        Text key = {after.data + i + 1, after.length - i - 1};
        if (!sqlite_check_text(walk->request, "the place to go on from", key, STORE_KEY_MAX))
            return false;
        walk->id = id;
        memcpy(walk->key, key.data, key.length);
        walk->key_length = key.length;
    }
    if (walk->pattern == NULL)
        return true;
    size_t prefix_length = walk->pattern->prefix_length;
    size_t common = prefix_length < walk->key_length ? prefix_length : walk->key_length;
    int order = memcmp(walk->key, walk->pattern->prefix, common);
    if (prefix_length <= STORE_KEY_MAX &&
        (order < 0 || (order == 0 && walk->key_length < prefix_length))) {
        walk->id = 0;
        memcpy(walk->key, walk->pattern->prefix, prefix_length);
        walk->key_length = prefix_length;
    }
    return true;
}

static bool end_page(Walk *walk)
{
    char place[PLACE_MAX + 1];
    size_t length = (size_t)snprintf(place, sizeof place, "%" PRId64 ":", walk->id);
    memcpy(place + length, walk->key, walk->key_length);
    walk->request->next = store_request_text(walk->request,
                                             (Text){place, length + walk->key_length});
    return walk->request->next.data != NULL || no_memory(walk->request);
}

/* No key from here on begins as the pattern does. */
static bool is_past(const Walk *walk, Text key)
{
    if (walk->pattern == NULL)
        return false;
    size_t length = walk->pattern->prefix_length;
    return key.length < length || memcmp(key.data, walk->pattern->prefix, length) != 0 ||
           (walk->pattern->literal && key.length != length);
}

/* -1: the request has failed. */
static int has_other_scopes(Walk *walk, Text key, int64_t id)
{
    for (int i = 1; i < walk->scopes.count; i++) {
        sqlite3_stmt *s = sqlite_statement(
            walk->c, walk->request,
            "SELECT 1 FROM kv_scope WHERE guild_id = ?1 AND scope = ?2 AND key = ?3 AND id = ?4");
        if (s == NULL)
            return -1;
        sqlite3_bind_int64(s, 1, (int64_t)walk->request->guild_id);
        sqlite_bind_text(s, 2, walk->scopes.texts[i]);
        sqlite_bind_text(s, 3, key);
        sqlite3_bind_int64(s, 4, id);
        int row = sqlite_step(walk->c, walk->request, s);
        sqlite3_reset(s);
        walk->rows++;
        if (row <= 0)
            return row;
    }
    return 1;
}

/* Adds the record to the page. 0: it did not fit. */
static int take(Walk *walk, int64_t id)
{
    StoreRequest *request = walk->request;
    StoreRecord *record = &request->records[request->record_count];
    if (!sqlite_record_get(walk->c, request, request->guild_id, id, walk->with_values, record,
                           NULL))
        return -1;
    if (record->id == 0)
        return 1;
    size_t bytes = record_bytes(record);
    if (request->record_count > 0 && walk->bytes + bytes > STORE_PAGE_BYTES_MAX)
        return 0;
    walk->bytes += bytes;
    request->record_count++;
    return 1;
}

/* The row that s is at. 1: go on; 0: the page is at its end; -1: the request has failed. */
static int look(Walk *walk, sqlite3_stmt *s)
{
    Text key = {(const char *)sqlite3_column_text(s, 0), (size_t)sqlite3_column_bytes(s, 0)};
    int64_t id = sqlite3_column_int64(s, 1);
    if (key.data == NULL || key.length > STORE_KEY_MAX) {
        if (key.data == NULL)
            no_memory(walk->request);
        else
            sqlite_refuse(walk->request, STORE_CORRUPT, "the key of record %" PRId64 " is too long",
                          id);
        return -1;
    }
    if (is_past(walk, key))
        return 0;
    if (walk->request->record_count == walk->count_max || walk->rows >= ROWS_MAX ||
        walk->steps >= STEPS_MAX)
        return end_page(walk) ? 0 : -1;
    walk->rows++;
    int fits = walk->pattern == NULL || matches(walk->pattern, key, &walk->steps);
    if (fits)
        fits = has_other_scopes(walk, key, id);
    if (fits > 0) {
        fits = take(walk, id);
        if (fits == 0)
            return end_page(walk) ? 0 : -1;
    }
    if (fits < 0)
        return -1;
    memcpy(walk->key, key.data, key.length);
    walk->key_length = key.length;
    walk->id = id;
    return 1;
}

static void fill_page(Walk *walk)
{
    StoreRequest *request = walk->request;
    if (!sqlite_scopes_read(request, request->scopes, request->scope_count, &walk->scopes) ||
        !start_walk(walk))
        return;
    walk->count_max = page_max(request);
    request->records = store_request_alloc(request,
                                           (size_t)walk->count_max * sizeof *request->records);
    /* A copy: the place moves on while the statement is at work. */
    Text from = store_request_text(request, (Text){walk->key, walk->key_length});
    if (request->records == NULL || from.data == NULL) {
        no_memory(request);
        return;
    }
    sqlite3_stmt *s = sqlite_statement(
        walk->c, request,
        "SELECT key, id FROM kv_scope WHERE guild_id = ?1 AND scope = ?2 AND (key, id) > (?3, ?4)"
        " ORDER BY key, id");
    if (s == NULL)
        return;
    sqlite3_bind_int64(s, 1, (int64_t)request->guild_id);
    sqlite_bind_text(s, 2, walk->scopes.texts[0]);
    sqlite_bind_text(s, 3, from);
    sqlite3_bind_int64(s, 4, walk->id);
    int row;
    while ((row = sqlite_step(walk->c, request, s)) > 0)
        if (look(walk, s) <= 0)
            break;
    sqlite3_reset(s);
}

void sqlite_kv_find(SqliteConnection *c, StoreRequest *request)
{
    Pattern pattern;
    Walk walk = {.c = c, .request = request, .pattern = &pattern, .with_values = true};
    if (read_pattern(request, &pattern))
        fill_page(&walk);
}

void sqlite_kv_keys(SqliteConnection *c, StoreRequest *request)
{
    Walk walk = {.c = c, .request = request};
    fill_page(&walk);
}

/* ---- Scopes, and what resumes: each step is a search for the next one ---- */

void sqlite_kv_scopes(SqliteConnection *c, StoreRequest *request)
{
    Text last = {"", 0};
    if (request->after.data != NULL) {
        if (!sqlite_check_text(request, "the place to go on from", request->after, STORE_SCOPE_MAX))
            return;
        last = request->after;
    }
    int count_max = page_max(request);
    request->texts = store_request_alloc(request, ((size_t)count_max + 1) * sizeof(Text));
    if (request->texts == NULL) {
        no_memory(request);
        return;
    }
    for (int count = 0;; last = request->texts[count++]) {
        sqlite3_stmt *s = sqlite_statement(
            c, request,
            "SELECT scope FROM kv_scope WHERE guild_id = ?1 AND scope > ?2"
            " ORDER BY scope LIMIT 1");
        if (s == NULL)
            return;
        sqlite3_bind_int64(s, 1, (int64_t)request->guild_id);
        sqlite_bind_text(s, 2, last);
        int row = sqlite_step(c, request, s);
        if (row < 0)
            return;
        if (row == 1 && count == count_max)
            request->next = last;
        if (row == 0 || count == count_max)
            break;
        Text scope = sqlite_column(request, s, 0);
        if (scope.data == NULL)
            return;
        request->texts[count] = scope;
        request->text_count = count + 1;
    }
}

void sqlite_kv_resumes(SqliteConnection *c, StoreRequest *request)
{
    int count_max = page_max(request);
    request->records = store_request_alloc(request, (size_t)count_max * sizeof *request->records);
    if (request->records == NULL) {
        no_memory(request);
        return;
    }
    sqlite3_stmt *s = sqlite_statement(
        c, request,
        "SELECT " SQLITE_RECORD_COLUMNS
        " FROM kv WHERE resume = 1 AND guild_id = ?1 AND id > ?2 ORDER BY id");
    if (s == NULL)
        return;
    sqlite3_bind_int64(s, 1, (int64_t)request->guild_id);
    sqlite3_bind_int64(s, 2, request->after_id);
    size_t bytes = 0;
    int64_t last_id = 0;
    while (sqlite_step(c, request, s) > 0) {
        StoreRecord record;
        if (!sqlite_record_read(request, s, &record, NULL))
            return;
        bytes += record_bytes(&record);
        if (request->record_count == count_max ||
            (request->record_count > 0 && bytes > STORE_PAGE_BYTES_MAX)) {
            request->next_id = last_id;
            break;
        }
        request->records[request->record_count++] = record;
        last_id = record.id;
    }
    sqlite3_reset(s);
}

/* In the order of the ids as they are, without sign: the table has those from 2^63 on below zero,
 * and so behind the others. Guild 0 has nothing that could resume. 1: *guild_id is the next one. */
static int next_resumer(SqliteConnection *c, StoreRequest *request, int64_t *guild_id)
{
    bool high = *guild_id < 0 || *guild_id == INT64_MAX;
    int64_t from = *guild_id == INT64_MAX ? INT64_MIN : *guild_id + 1;
    for (;;) {
        sqlite3_stmt *s = sqlite_statement(
            c, request,
            "SELECT guild_id FROM kv WHERE resume = 1 AND guild_id BETWEEN ?1 AND ?2"
            " ORDER BY guild_id LIMIT 1");
        if (s == NULL)
            return -1;
        sqlite3_bind_int64(s, 1, from);
        sqlite3_bind_int64(s, 2, high ? -1 : INT64_MAX);
        int row = sqlite_step(c, request, s);
        if (row == 1)
            *guild_id = sqlite3_column_int64(s, 0);
        if (row != 0 || high)
            return row;
        from = INT64_MIN;
        high = true;
    }
}

void sqlite_resumers(SqliteConnection *c, StoreRequest *request)
{
    int count_max = page_max(request);
    request->guild_ids = store_request_alloc(request,
                                             (size_t)count_max * sizeof *request->guild_ids);
    if (request->guild_ids == NULL) {
        no_memory(request);
        return;
    }
    int64_t guild_id = request->after_id;
    int row;
    while ((row = next_resumer(c, request, &guild_id)) > 0) {
        if (request->guild_count == count_max) {
            request->next_id = (int64_t)request->guild_ids[count_max - 1];
            break;
        }
        request->guild_ids[request->guild_count++] = (uint64_t)guild_id;
    }
}
