/* template-worker: the command line. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/jsontext.h"
#include "cli/cli.h"
#include "plugins/plugins.h"
#include "worker/worker.h"

#define VERSION LUAU_VERSION
enum { SOURCE_MAX_BYTES = 64 << 20 };

static const struct Command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} COMMANDS[] = {
    {"serve", cmd_serve, "serve templates over HTTP"},
    {"run", cmd_run, "run a template once, or with --bare a plain Luau program"},
    {"test", cmd_test, "run the tests of a folder of templates"},
    {"check", cmd_check, "report syntax errors without running anything"},
    {"compile", cmd_compile, "show the code that a source compiles to"},
    {"templates", cmd_templates, "list, show, save and delete the templates in the store"},
    {"kv", cmd_kv, "read and change a guild's key-value data"},
    {"store", cmd_store, "check, back up or migrate the store"},
};

static void print_help(FILE *out)
{
    fputs("template-worker runs Luau templates for many guilds, each in a sandbox of its own.\n"
          "\n"
          "usage: template-worker COMMAND [OPTIONS] [ARGUMENTS]\n"
          "\n",
          out);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(COMMANDS); i++)
        fprintf(out, "  %-10s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    fputs(
        "\n"
        "  --help     this text; COMMAND --help, or help COMMAND, tells about a command\n"
        "  --version  the version\n"
        "\n"
        "examples:\n"
        "  template-worker run --bare program.luau\n"
        "  template-worker run templates/hello.luau --event event.json\n"
        "  template-worker serve --port 60000\n"
        "  template-worker templates save greeter.luau --event MESSAGE_CREATE\n"
        "\n"
        "exit status: 0 if all went well, 1 if the work failed, 2 if the command line is wrong.\n",
        out);
}

void cli_error(const char *format, ...)
{
    va_list args;
    fflush(stdout);
    fputs("template-worker: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

void cli_fileerror(const char *path, int code, int max_mib)
{
    char text[128];
    if (code == EFBIG)
        cli_error("%s: larger than %d MiB", path, max_mib);
    else
        cli_error("%s: %s", path[0] ? path : "''", strerror_r(code, text, sizeof(text)));
}

int cli_option(int argc, char **argv, const char *letters, const struct option *options)
{
    opterr = 0;
    int option = getopt_long(argc, argv, letters, options, NULL);
    if (option != '?' && option != ':')
        return option;
    const char *text = argv[optind - 1];
    char letter[3] = {'-', (char)optopt, '\0'};
    if (text[0] == '-' && text[1] != '-' && optopt > 0 && optopt < 128)
        text = letter;
    if (option == ':') {
        cli_error("%s: option '%s' needs a value", argv[0], text);
        return '?';
    }
    cli_error("%s: %s '%s'. See template-worker %s --help", argv[0],
              optopt == 0 || text == letter ? "unknown option" : "a value is too much:", text,
              argv[0]);
    return '?';
}

bool cli_readsource(const char *path, Strbuf *out)
{
    int code = strbuf_readfile(out, path, SOURCE_MAX_BYTES);
    if (code != 0)
        cli_fileerror(path, code, SOURCE_MAX_BYTES >> 20);
    if (code != 0 || !strbuf_reserve(out, 1))
        return false;
    if (out->length >= 2 && out->data[0] == '#' && out->data[1] == '!') {
        char *end = memchr(out->data, '\n', out->length);
        memset(out->data, ' ', end ? (size_t)(end - out->data) : out->length);
    }
    return true;
}

/* The line is shown with what would confuse a terminal replaced; a tab counts one column. */
void cli_diagnostic(const char *path, const char *source, size_t length,
                    const luau_Diagnostic *diagnostic)
{
    bool marked = length >= 3 && memcmp(source, "\xEF\xBB\xBF", 3) == 0;
    fprintf(stderr, "%s:%d:%d: %s\n", path, diagnostic->line, diagnostic->column,
            marked && diagnostic->line == 1
                ? "the file begins with a byte order mark: save it as UTF-8 without one"
                : diagnostic->message);
    const char *p = source, *end = source + length;
    for (int line = 1; line < diagnostic->line && p < end; line++) {
        const char *next = memchr(p, '\n', (size_t)(end - p));
        p = next ? next + 1 : end;
    }
    const char *stop = memchr(p, '\n', (size_t)(end - p));
    size_t shown = (size_t)((stop ? stop : end) - p);
    if (shown == 0 || diagnostic->line <= 0)
        return;
    size_t from = 0, column = diagnostic->column > 0 ? (size_t)diagnostic->column - 1 : 0;
    if (column > 160)
        from = column - 80; /* a long line: the part around the place */
    if (shown > from + 200)
        shown = from + 200;
    bool utf8 = json_utf8_valid(p + from, shown - from) == shown - from;
    fputs("    ", stderr);
    for (size_t i = from; i < shown; i++) {
        unsigned char c = (unsigned char)p[i];
        fputc(c < 0x20 || c == 0x7F ? ' ' : c >= 0x80 && !utf8 ? '?' : c, stderr);
    }
    fputs("\n    ", stderr);
    /* Bytes that continue a character take no column on the screen. */
    for (size_t i = from; i < column; i++)
        if (!utf8 || i >= shown || ((unsigned char)p[i] & 0xC0) != 0x80)
            fputc(' ', stderr);
    fputs("^\n", stderr);
}

bool cli_number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < min ||
        number > max) {
        cli_error("%s: expected a whole number from %llu to %llu, got '%s'", option,
                  (unsigned long long)min, (unsigned long long)max, text);
        return false;
    }
    *value = number;
    return true;
}

KhronosSandbox *cli_sandbox(void)
{
    char error[256];
    int count;
    const KhronosPlugin *plugins = plugins_all(&count);
    KhronosSandbox *sandbox = sandbox_new(plugins, count, error, sizeof(error));
    if (!sandbox)
        cli_error("cannot build the sandbox: %s", error);
    return sandbox;
}

static const struct Command *find_command(const char *name)
{
    for (size_t i = 0; i < BASE_ARRAY_COUNT(COMMANDS); i++)
        if (strcmp(COMMANDS[i].name, name) == 0)
            return &COMMANDS[i];
    return NULL;
}

/* Whoever names a file wants it to run, most likely. */
static void complain_command(const char *name)
{
    if (access(name, F_OK) == 0)
        cli_error("'%s' is no command; to run it: template-worker run %s", name, name);
    else
        cli_error("there is no %s '%s'; see template-worker --help",
                  name[0] == '-' ? "option" : "command", name);
}

/* help, or help COMMAND. */
static int help(int argc, char **argv)
{
    static char option[] = "--help";
    if (argc < 3) {
        print_help(stdout);
        return EXIT_SUCCESS;
    }
    const struct Command *command = find_command(argv[2]);
    if (!command) {
        complain_command(argv[2]);
        return EXIT_USAGE;
    }
    char *arguments[] = {argv[2], option, NULL};
    return command->run(2, arguments);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (worker_is_child(argc, argv))
        return worker_child_main(argc, argv, cli_sandbox);
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return help(argc, argv);
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        puts("template-worker " VERSION " (Luau for many, in C)");
        return EXIT_SUCCESS;
    }
    const struct Command *command = find_command(name);
    if (command)
        return command->run(argc - 1, argv + 1);
    if (name[0] == '\0')
        print_help(stderr);
    else
        complain_command(name);
    return EXIT_USAGE;
}
