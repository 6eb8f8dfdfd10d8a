#include "cli/cli_store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/jsontext.h"
#include "khronos/datetime_value.h"
#include "store/sqlite.h"

/* ---- The store -------------------------------------------------------------------------------
 */

const char *cli_store_path(const char *option)
{
    if (option)
        return option;
    const char *named = getenv("TEMPLATE_WORKER_STORE");
    return named && named[0] ? named : CLI_STORE_DEFAULT;
}

/* What may help, behind the sentence that says what is wrong. */
static const char *advice(StoreStatus status)
{
    switch (status) {
    case STORE_LOCKED: return ". Try again when the other process is done";
    case STORE_DISK_FULL: return ". Nothing was changed: make room and try again";
    case STORE_CORRUPT: return ". See template-worker store check";
    default: return "";
    }
}

Store *cli_store_open(const char *path, bool make)
{
    struct stat info;
    char error[512];
    StoreStatus status;
    if (path[0] == '\0') {
        cli_error("--store: the name of a file is missing");
        return NULL;
    }
    if (!make && stat(path, &info) != 0 && errno == ENOENT) {
        cli_error("there is no store at %s: `template-worker serve` and `template-worker templates "
                  "save` make one; --store FILE or TEMPLATE_WORKER_STORE names another",
                  path);
        return NULL;
    }
    StoreOptions options = {.path = path, .readers = 1};
    Store *store = sqlite_open(&options, &status, error, sizeof(error));
    if (!store)
        cli_error("%s%s", error, advice(status));
    return store;
}

void cli_store_close(Store *store)
{
    if (store)
        store_stop(store);
    store_free(store);
}

StoreRequest *cli_store_request(StoreOp op, uint64_t guild_id)
{
    StoreRequest *request = store_request_new(op, guild_id);
    if (!request)
        cli_error("not enough memory");
    return request;
}

bool cli_store_ask(Store *store, StoreRequest *request)
{
    store_wait(store, request);
    if (request->status == STORE_OK)
        return true;
    if (request->status != STORE_NOT_FOUND)
        cli_error("%s%s",
                  request->message.data ? request->message.data
                                        : store_status_text(request->status),
                  advice(request->status));
    return false;
}

Text cli_text(const char *text)
{
    return text ? (Text){text, strlen(text)} : (Text){0};
}

/* ---- Tables ----------------------------------------------------------------------------------
 */

/* The bytes of the character that begins here, which is UTF-8. */
static size_t character(const char *p)
{
    unsigned char c = (unsigned char)*p;
    return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

static int characters(const char *text)
{
    int count = 0;
    for (; *text; text += character(text))
        count++;
    return count;
}

/* Replaced are control characters, those of ISO 6429 among them, and what is no UTF-8. */
static void put_printable(Strbuf *out, Text text, bool lines, int max)
{
    int count = 0;
    for (size_t at = 0; at < text.length; count++) {
        const char *p = text.data + at;
        unsigned char c = (unsigned char)*p;
        size_t length = character(p);
        if (max > 0 && count == max - 3 && text.length - at > 3) {
            strbuf_puts(out, "...");
            return;
        }
        bool fine = length <= text.length - at && json_utf8_valid(p, length) == length;
        if (!fine)
            length = 1;
        if (!fine || (c < 0x20 && !(lines && (c == '\n' || c == '\t'))) || c == 0x7F ||
            (c == 0xC2 && (unsigned char)p[1] < 0xA0))
            strbuf_putc(out, '?');
        else
            strbuf_put(out, p, length);
        at += length;
    }
}

void cli_print_text(Text text)
{
    Strbuf out = STRBUF_INIT;
    put_printable(&out, text, true, 0);
    if (out.length > 0)
        fwrite(out.data, 1, out.length, stdout);
    strbuf_free(&out);
}

void cli_cell_text(CliTable *table, int max, Text text)
{
    Strbuf out = STRBUF_INIT;
    put_printable(&out, text, false, max);
    strbuf_putc(&out, '\0');
    if (table->count == table->room) {
        int room = table->room ? table->room * 2 : 64;
        char **cells = realloc(table->cells, (size_t)room * sizeof(*cells));
        if (!cells) {
            table->failed = true;
            strbuf_free(&out);
            return;
        }
        table->cells = cells;
        table->room = room;
    }
    if (out.failed) {
        table->failed = true;
        strbuf_free(&out);
        return;
    }
    size_t length;
    table->cells[table->count++] = strbuf_take(&out, &length);
}

void cli_cell(CliTable *table, int max, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    cli_cell_text(table, max, cli_text(text));
}

enum { COLUMNS_MAX = 16 };

void cli_table_drop(CliTable *table)
{
    for (int i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
}

/* The last one that says something ends the line. */
static bool ends_line(const CliTable *table, int cell)
{
    for (int i = cell + 1; i % table->columns != 0; i++)
        if (table->cells[i][0] != '\0')
            return false;
    return true;
}

bool cli_table_end(CliTable *table)
{
    int widths[COLUMNS_MAX] = {0};
    bool ok = !table->failed;
    BASE_ASSERT(table->columns <= COLUMNS_MAX && (!ok || table->count % table->columns == 0));
    for (int i = 0; ok && i < table->count; i++) {
        int width = characters(table->cells[i]);
        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
    for (int i = 0; ok && i < table->count; i++) {
        int column = i % table->columns;
        fputs(table->cells[i], stdout);
        if (!ends_line(table, i))
            printf("%*s", widths[column] - characters(table->cells[i]) + 2, "");
        else if (column == table->columns - 1)
            putchar('\n');
    }
    if (!ok)
        cli_error("not enough memory");
    cli_table_drop(table);
    return ok;
}

/* ---- Times -----------------------------------------------------------------------------------
 */

const char *cli_time(int64_t ms, char text[CLI_TIME_SIZE])
{
    text[0] = '\0';
    if (ms == STORE_NO_TIME)
        return text;
    CivilTime t;
    int64_t rest = ms % 1000, seconds = ms / 1000 - (rest < 0);
    civil_from_s(seconds, &t);
    snprintf(text, CLI_TIME_SIZE, "%04lld-%02d-%02dT%02d:%02d:%02d.%03dZ", (long long)t.year,
             t.month, t.day, t.hour, t.minute, t.second, (int)(rest < 0 ? rest + 1000 : rest));
    return text;
}

/* +90s: the milliseconds; below 0: it is no span. */
static int64_t read_span(const char *text)
{
    static const struct {
        char letter;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    char *end;
    errno = 0;
    long long number = text[0] >= '0' && text[0] <= '9' ? strtoll(text, &end, 10) : -1;
    if (number < 0 || errno != 0 || end[0] == '\0' || end[1] != '\0')
        return -1;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(units); i++)
        if (units[i].letter == end[0] && number <= INT64_C(10000) * 366 * 86400000 / units[i].ms)
            return number * units[i].ms;
    return -1;
}

bool cli_read_time(const char *option, const char *text, int64_t *ms)
{
    if (text[0] == '+') {
        int64_t span = read_span(text + 1);
        *ms = (int64_t)clock_wall_ms() + span;
        if (span < 0)
            cli_error("%s: expected a time like +90s, +10m, +2h or +7d, got '%s'", option, text);
        return span >= 0;
    }
    Nanos at;
    int64_t rest;
    const char *wrong = datetime_read(text, strlen(text), &at);
    if (wrong) {
        cli_error("%s: expected a time like 2030-01-31T12:00:00Z, or +90s, +10m, +2h, +7d, got "
                  "'%s': %s",
                  option, text, wrong);
        return false;
    }
    *ms = nanos_floor(at, NANOS_PER_S / 1000, &rest);
    return true;
}

/* ---- JSON ------------------------------------------------------------------------------------
 */

void cli_json_text(Strbuf *out, Text text)
{
    if (text.data)
        json_put_lossy(out, text.data, text.length);
    else
        strbuf_puts(out, "null");
}

void cli_json_texts(Strbuf *out, const Text *texts, int count)
{
    strbuf_putc(out, '[');
    for (int i = 0; i < count; i++) {
        if (i > 0)
            strbuf_putc(out, ',');
        cli_json_text(out, texts[i]);
    }
    strbuf_putc(out, ']');
}

void cli_json_time(Strbuf *out, int64_t ms)
{
    char text[CLI_TIME_SIZE];
    cli_json_text(out, ms == STORE_NO_TIME ? (Text){0} : cli_text(cli_time(ms, text)));
}

void cli_json_key(Strbuf *out, const char *key)
{
    bool first = out->length == 0 || out->data[out->length - 1] == '{';
    strbuf_printf(out, "%s\"%s\":", first ? "" : ",", key);
}

bool cli_json_end(Strbuf *out)
{
    strbuf_putc(out, '\n');
    bool ok = !out->failed;
    if (ok)
        fwrite(out->data, 1, out->length, stdout);
    else
        cli_error("not enough memory");
    strbuf_free(out);
    return ok;
}

int cli_finish(bool ok)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_error("cannot write the output");
        ok = false;
    }
    return ok ? EXIT_SUCCESS : EXIT_WORK_FAILED;
}
