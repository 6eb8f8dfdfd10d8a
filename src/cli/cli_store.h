/* cli_store.h: what the commands share that look into the store: opening it, asking it, and showing
 * what came back. They work beside a running server. */
#ifndef CLI_CLI_STORE_H
#define CLI_CLI_STORE_H

#include "cli/cli.h"
#include "store/store.h"

/* The file: of the option, else of the environment (TEMPLATE_WORKER_STORE), else the one in the
 * current folder. */
const char *cli_store_path(const char *option);
/* NULL: a complaint was printed. make: a file that is not there is made. */
Store *cli_store_open(const char *path, bool make);
void cli_store_close(Store *store); /* NULL is fine */
/* NULL: a complaint was printed. */
StoreRequest *cli_store_request(StoreOp op, uint64_t guild_id);
/* Submits and waits. False: it failed, and a complaint was printed that says what to do; not for
 * STORE_NOT_FOUND, which is the caller's to explain. */
bool cli_store_ask(Store *store, StoreRequest *request);

Text cli_text(const char *text); /* NULL: absent */

/* ---- Tables: cells are aligned when all are there ---- */
typedef struct CliTable {
    int columns;
    char **cells; /* row by row; the first row is the heads */
    int count;
    int room;
    bool failed; /* no memory */
} CliTable;
/* The next cell. What would confuse a terminal is replaced, and what is longer than `max`
 * characters (0: any length) is cut. */
void cli_cell(CliTable *table, int max, const char *format, ...) BASE_PRINTF(3, 4);
void cli_cell_text(CliTable *table, int max, Text text);
/* Prints and frees it. False: a complaint was printed. */
bool cli_table_end(CliTable *table);
void cli_table_drop(CliTable *table); /* frees it */
/* Bytes for people, with what would confuse a terminal replaced but for line ends. */
void cli_print_text(Text text);

/* ---- Times, RFC 3339 in UTC ---- */
enum { CLI_TIME_SIZE = 64 };
/* With milliseconds always, so that columns are straight; "" for STORE_NO_TIME. */
const char *cli_time(int64_t ms, char text[CLI_TIME_SIZE]);
/* RFC 3339, or a span from now: +90s, +10m, +2h, +7d. Complains itself. */
bool cli_read_time(const char *option, const char *text, int64_t *ms);

/* ---- JSON ---- */
void cli_json_text(Strbuf *out, Text text); /* null if absent; U+FFFD for what is no UTF-8 */
void cli_json_texts(Strbuf *out, const Text *texts, int count);
void cli_json_time(Strbuf *out, int64_t ms); /* null for STORE_NO_TIME */
/* `,"key":` (no comma after a brace). */
void cli_json_key(Strbuf *out, const char *key);
/* Prints and frees it, a line. False: a complaint was printed. */
bool cli_json_end(Strbuf *out);

/* The exit status at the end: standard output may be full. */
int cli_finish(bool ok);

#endif
