/* Making a block of zones: the files of the system's database (TZif, RFC 8536, version 2 and
 * later), the text of yearly rules at their ends, and the block with its table of names.
 *
 * Files are believed nothing: every count is checked against the length, and what a reader would
 * trip over later makes the file no zone. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "khronos/datetime_value.h"
#include "khronos/timezone_rules.h"

enum {
    FILE_MAX_BYTES = 64 * 1024,
    HEADER_BYTES = 44,
    TIMES_MAX = 4096,
    TYPES_MAX = 256,
    OFFSET_MAX_S = 25 * 3600, /* less than what readers reckon with */
    FOLDER_DEPTH_MAX = 4,
    ZONES_MAX = 4096,
};

/* ---- Yearly rules -----------------------------------------------------------------------------
 */

typedef struct RuleReader {
    const char *at, *end;
} RuleReader;

static bool take(RuleReader *r, char c)
{
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool read_number(RuleReader *r, int least, int most, int32_t *value)
{
    const char *start = r->at;
    int n = 0;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9' && r->at - start < 4; r->at++)
        n = n * 10 + (*r->at - '0');
    *value = n;
    return r->at > start && n >= least && n <= most;
}

/* [+-]hours[:minutes[:seconds]] */
static bool read_time(RuleReader *r, int hours_max, int32_t *seconds)
{
    int32_t hours, minutes = 0, rest = 0;
    bool negative = take(r, '-');
    if (!negative)
        take(r, '+');
    if (!read_number(r, 0, hours_max, &hours))
        return false;
    if (take(r, ':') &&
        (!read_number(r, 0, 59, &minutes) || (take(r, ':') && !read_number(r, 0, 59, &rest))))
        return false;
    *seconds = (hours * 3600 + minutes * 60 + rest) * (negative ? -1 : 1);
    return true;
}

/* Letters, or anything between < and >. */
static bool read_abbreviation(RuleReader *r, char out[TIMEZONE_ABBREVIATION_MAX])
{
    bool quoted = take(r, '<');
    const char *start = r->at;
    while (r->at < r->end) {
        char c = *r->at, lower = (char)(c | 0x20);
        if (quoted ? c == '>' : lower < 'a' || lower > 'z')
            break;
        r->at++;
    }
    size_t length = (size_t)(r->at - start);
    if (length == 0 || length >= TIMEZONE_ABBREVIATION_MAX || (quoted && !take(r, '>')))
        return false;
    memcpy(out, start, length);
    return true;
}

static bool read_day(RuleReader *r, YearlyDay *day)
{
    bool good;
    if (take(r, 'M')) {
        day->kind = DAY_OF_MONTH;
        good = read_number(r, 1, 12, &day->month) && take(r, '.') &&
               read_number(r, 1, 5, &day->week) && take(r, '.') && read_number(r, 0, 6, &day->day);
    } else if (take(r, 'J')) {
        day->kind = DAY_JULIAN;
        good = read_number(r, 1, 365, &day->day);
    } else {
        day->kind = DAY_OF_YEAR;
        good = read_number(r, 0, 365, &day->day);
    }
    day->time_s = 2 * 3600;
    return good && (!take(r, '/') || read_time(r, 167, &day->time_s));
}

bool timezone_read_yearly(const char *text, size_t length, YearlyRule *rule)
{
    RuleReader r = {text, text + length};
    ZoneType *standard = &rule->types[0], *saving = &rule->types[1];
    *rule = (YearlyRule){.type_count = 1};
    if (!read_abbreviation(&r, standard->abbreviation) || !read_time(&r, 24, &standard->offset_s))
        return false;
    standard->offset_s = -standard->offset_s; /* the text counts westwards */
    if (r.at == r.end)
        return true;
    *saving = (ZoneType){.is_dst = 1};
    rule->type_count = 2;
    if (!read_abbreviation(&r, saving->abbreviation))
        return false;
    saving->offset_s = standard->offset_s + 3600;
    if (r.at < r.end && *r.at != ',') {
        if (!read_time(&r, 24, &saving->offset_s))
            return false;
        saving->offset_s = -saving->offset_s;
    }
    return take(&r, ',') && read_day(&r, &rule->begin) && take(&r, ',') &&
           read_day(&r, &rule->end) && r.at == r.end;
}

/* ---- Files ------------------------------------------------------------------------------------
 */

typedef struct TzHeader {
    uint32_t utc_count, std_count, leap_count, time_count, type_count, char_count;
    size_t data_bytes;
    char version;
} TzHeader;

static uint32_t read_be32(const char *p)
{
    uint32_t value;
    memcpy(&value, p, sizeof(value));
    return __builtin_bswap32(value);
}

static int64_t read_be64(const char *p)
{
    uint64_t value;
    memcpy(&value, p, sizeof(value));
    return (int64_t)__builtin_bswap64(value);
}

/* One of the two headers of a file, and the bytes behind it, all there. */
static bool read_header(const char *p, size_t length, size_t time_bytes, TzHeader *h)
{
    if (length < HEADER_BYTES || memcmp(p, "TZif", 4) != 0)
        return false;
    h->version = p[4];
    h->utc_count = read_be32(p + 20);
    h->std_count = read_be32(p + 24);
    h->leap_count = read_be32(p + 28);
    h->time_count = read_be32(p + 32);
    h->type_count = read_be32(p + 36);
    h->char_count = read_be32(p + 40);
    if (h->time_count > TIMES_MAX || h->type_count == 0 || h->type_count > TYPES_MAX ||
        h->char_count == 0 || h->char_count > FILE_MAX_BYTES || h->leap_count > FILE_MAX_BYTES ||
        h->utc_count > TYPES_MAX || h->std_count > TYPES_MAX)
        return false;
    h->data_bytes = h->time_count * (time_bytes + 1) + h->type_count * 6u + h->char_count +
                    h->leap_count * (time_bytes + 4) + h->std_count + h->utc_count;
    return h->data_bytes <= length - HEADER_BYTES;
}

static bool put_types(const TzHeader *h, const char *types, const char *chars, Strbuf *out)
{
    for (uint32_t i = 0; i < h->type_count; i++) {
        const char *p = types + i * 6u;
        ZoneType type = {.offset_s = (int32_t)read_be32(p), .is_dst = p[4] != 0};
        unsigned start = (unsigned char)p[5];
        if (type.offset_s < -OFFSET_MAX_S || type.offset_s > OFFSET_MAX_S || start >= h->char_count)
            return false;
        size_t length = strnlen(chars + start, h->char_count - start);
        if (length >= sizeof(type.abbreviation))
            return false;
        memcpy(type.abbreviation, chars + start, length);
        strbuf_put(out, (const char *)&type, sizeof(type));
    }
    return true;
}

/* Strictly ascending, as find_transition wants them. */
static bool put_times(const TzHeader *h, const char *times, Strbuf *out)
{
    const char *numbers = times + h->time_count * 8u;
    int64_t last = INT64_MIN;
    for (uint32_t i = 0; i < h->time_count; i++) {
        int64_t time = read_be64(times + i * 8u);
        if ((i > 0 && time <= last) || (unsigned char)numbers[i] >= h->type_count)
            return false;
        last = time;
        strbuf_put(out, (const char *)&time, sizeof(time));
    }
    strbuf_put(out, numbers, h->time_count);
    return true;
}

/* Appends ZoneRules from a file; false: it is no good, and what was appended is to be dropped. */
static bool put_rules(const char *file, size_t length, Strbuf *out)
{
    TzHeader h;
    ZoneRules rules = {0};
    if (!read_header(file, length, 4, &h) || h.version < '2')
        return false;
    size_t skipped = HEADER_BYTES + h.data_bytes;
    file += skipped;
    length -= skipped;
    if (!read_header(file, length, 8, &h))
        return false;
    const char *times = file + HEADER_BYTES, *types = times + h.time_count * 9u;
    const char *footer = times + h.data_bytes, *end = file + length;
    if (end - footer < 2 || footer[0] != '\n' || end[-1] != '\n')
        return false;
    if (end - footer > 2 &&
        !timezone_read_yearly(footer + 1, (size_t)(end - footer) - 2, &rules.yearly))
        return false;
    rules.time_count = (int32_t)h.time_count;
    rules.type_count = (int32_t)h.type_count;
    strbuf_put(out, (const char *)&rules, sizeof(rules));
    return put_types(&h, types, types + h.type_count * 6u, out) && put_times(&h, times, out);
}

/* ---- The block --------------------------------------------------------------------------------
 */

typedef struct LoadedZone {
    size_t name, rules; /* places in Loader.data */
    dev_t device;
    ino_t inode;
} LoadedZone;

typedef struct Loader {
    LoadedZone *zones;
    int count;
    Strbuf data; /* names and rules */
    char *file;
} Loader;

static void align_data(Strbuf *data)
{
    while (data->length % 4 != 0 && !data->failed)
        strbuf_putc(data, '\0');
}

/* Links are the same file: their rules are there already. */
static const LoadedZone *find_same(const Loader *l, const struct stat *status)
{
    for (int i = 0; i < l->count; i++)
        if (l->zones[i].inode == status->st_ino && l->zones[i].device == status->st_dev)
            return &l->zones[i];
    return NULL;
}

static void load_file(Loader *l, int fd, const struct stat *status, const char *name)
{
    size_t start = l->data.length;
    const LoadedZone *same = find_same(l, status);
    LoadedZone zone = {.device = status->st_dev, .inode = status->st_ino};
    zone.rules = same ? same->rules : start;
    if (!same) {
        ssize_t length = pread(fd, l->file, FILE_MAX_BYTES, 0);
        if (length <= 0 || length == FILE_MAX_BYTES ||
            !put_rules(l->file, (size_t)length, &l->data)) {
            l->data.length = start;
            return;
        }
    }
    zone.name = l->data.length;
    strbuf_put(&l->data, name, strlen(name) + 1);
    align_data(&l->data);
    if (!l->data.failed)
        l->zones[l->count++] = zone;
}

/* A file that is not there, or may not be read, is no zone; one that cannot be opened now is
 * another matter. */
static void note_error(Loader *l)
{
    l->data.failed |= errno == EMFILE || errno == ENFILE || errno == ENOMEM;
}

static void load_folder(Loader *l, int parent, const char *path, const char *prefix, int depth);

/* The entry of a folder whose zones' names begin with prefix. */
static void load_entry(Loader *l, int folder, const char *entry, const char *prefix, int depth)
{
    char name[TIMEZONE_NAME_MAX + 2];
    struct stat status;
    int length = snprintf(name, sizeof(name), "%s%s", prefix, entry);
    if (length > TIMEZONE_NAME_MAX || !timezone_isname(name, (size_t)length) ||
        l->count == ZONES_MAX)
        return;
    int fd = openat(folder, entry, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        note_error(l);
        return;
    }
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
        load_file(l, fd, &status, name);
    } else if (S_ISDIR(status.st_mode) && depth < FOLDER_DEPTH_MAX) {
        memcpy(name + length, "/", 2);
        load_folder(l, folder, entry, name, depth + 1);
    }
    close(fd);
}

/* posix/ is the same zones once more, right/ those of clocks that count leap seconds; posixrules
 * and localtime are no zones of the world. */
static bool is_left_out(const char *entry)
{
    static const char *const NAMES[] = {"posix", "right", "posixrules", "localtime"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(NAMES); i++)
        if (strcmp(entry, NAMES[i]) == 0)
            return true;
    return false;
}

static void load_folder(Loader *l, int parent, const char *path, const char *prefix, int depth)
{
    int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder) {
        note_error(l);
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (depth > 0 || !is_left_out(entry->d_name))
            load_entry(l, dirfd(folder), entry->d_name, prefix, depth);
    closedir(folder);
}

static int compare_names(const void *a, const void *b, void *data)
{
    const LoadedZone *x = a, *y = b;
    const char *names = data;
    return strcmp(names + x->name, names + y->name);
}

static void put_block(Loader *l, Strbuf *out)
{
    int32_t count = l->count;
    size_t table_bytes = (size_t)count * sizeof(Zone);
    qsort_r(l->zones, (size_t)count, sizeof(l->zones[0]), compare_names, l->data.data);
    strbuf_put(out, (const char *)&count, sizeof(count));
    for (size_t i = 0; i < (size_t)count; i++) {
        size_t to_data = table_bytes - i * sizeof(Zone);
        Zone zone = {.name = (int32_t)(to_data + l->zones[i].name),
                     .rules = (int32_t)(to_data + l->zones[i].rules)};
        strbuf_put(out, (const char *)&zone, sizeof(zone));
    }
    strbuf_put(out, l->data.data, l->data.length);
    out->failed |= l->data.failed;
}

int timezone_load(const char *folder, Strbuf *out)
{
    Loader l = {.zones = calloc(ZONES_MAX, sizeof(l.zones[0])), .file = malloc(FILE_MAX_BYTES)};
    int count = 0;
    if (l.zones && l.file) {
        load_folder(&l, AT_FDCWD, folder, "", 0);
        count = l.count;
        if (count > 0)
            put_block(&l, out);
        out->failed |= l.data.failed;
    } else {
        out->failed = true;
    }
    strbuf_free(&l.data);
    free(l.zones);
    free(l.file);
    return count;
}
