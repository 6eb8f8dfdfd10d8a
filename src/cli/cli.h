/* cli.h: the subcommands, and what they share. Arguments in, exit status out: 0 fine, 1 the work
 * failed, 2 the command line is wrong. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "khronos/sandbox.h"
#include "luau/luau.h"

enum { EXIT_WORK_FAILED = 1, EXIT_USAGE = 2 };

/* argv[0] is the subcommand's name. */
int cmd_run(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_compile(int argc, char **argv);
int cmd_test(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_templates(int argc, char **argv);
int cmd_kv(int argc, char **argv);
int cmd_store(int argc, char **argv);

/* The store where none is named. */
#define CLI_STORE_DEFAULT "template-worker.db"

/* `run --bare` (run_bare.c). */
typedef struct BareOptions {
    const char *file;
    char **arguments;
    int argument_count;
    int test_modes;      /* LUAU_TEST_* */
    uint64_t fail_alloc; /* 0: off */
} BareOptions;
int run_bare(const BareOptions *options);

/* "template-worker: TEXT" on standard error. */
void cli_error(const char *format, ...) BASE_PRINTF(1, 2);
/* What went wrong with a file; EFBIG: it is larger than max_mib. */
void cli_fileerror(const char *path, int code, int max_mib);
/* getopt_long, with complaints of our own: '?' means that it has complained. `letters` as there,
 * with a colon in front (behind a "-" that stands there). */
int cli_option(int argc, char **argv, const char *letters, const struct option *options);
/* Reads a source file; says what is wrong with it itself. A first line that begins with #! becomes
 * empty. */
bool cli_readsource(const char *path, Strbuf *out);
/* `file:line:column: message`, the line, and a caret under the place. */
void cli_diagnostic(const char *path, const char *source, size_t length,
                    const luau_Diagnostic *diagnostic);
/* A whole number from min to max; complains itself. */
bool cli_number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *value);

/* The sandbox of all guilds, with every plugin: one reference; NULL: a complaint was printed. */
KhronosSandbox *cli_sandbox(void);

#endif
