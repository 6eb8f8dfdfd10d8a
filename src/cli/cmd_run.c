/* template-worker run: a template once, just as the worker would run it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/jsontext.h"
#include "base/random.h"
#include "cli/cli.h"
#include "cli/run_store.h"
#include "khronos/khronos.h"
#include "worker/templates.h"

enum { TICK_US = 500, EVENT_MAX_BYTES = 4 << 20 };

typedef struct RunOptions {
    const char *event_path;
    const char *store; /* file; NULL: none */
    uint64_t guild_id;
    bool bare;
    BareOptions bare_options;
} RunOptions;

static void print_help(void)
{
    puts("usage: template-worker run [OPTIONS] FILE\n"
         "       template-worker run --bare FILE [ARGUMENTS...]\n"
         "\n"
         "Runs a template (a file, or a folder with init.luau) once as the server would: in\n"
         "the sandbox, with `local event, ctx = ...`, under the usual limits. What it prints\n"
         "goes to standard output, warnings to standard error, and the value it returns is\n"
         "printed last, as JSON.\n"
         "\n"
         "  --event FILE   the event, a JSON object: {\"name\": ..., \"data\": ..., ...};\n"
         "                 - reads it from standard input\n"
         "                 (default: {\"name\": \"Run\"})\n"
         "  --guild ID     the guild (default: 1)\n"
         "  --store FILE   what ctx.KV and ctx.Templates work on; made if it is not there\n"
         "                 (default: none, and their calls are errors)\n"
         "  --bare         run a plain Luau program instead: the whole standard library,\n"
         "                 require from the file system, ARGUMENTS as `...`, no sandbox and\n"
         "                 no limits\n"
         "\n"
         "Exit status 1 if the template or program failed; its error is on standard error,\n"
         "with the file, the line and a traceback.");
}

static void on_line(void *userdata, uint64_t guild_id, const char *template_name, int level,
                    const char *text, size_t length)
{
    FILE *out = level == 0 ? stdout : stderr;
    (void)userdata;
    (void)guild_id;
    (void)template_name;
    if (level != 0)
        fflush(stdout);
    fwrite(text, 1, length, out);
    fputc('\n', out);
}

/* ---- The event --------------------------------------------------------------------------------
 */

static bool read_event(const char *path, Strbuf *text, KhronosEvent *event)
{
    char error[256];
    JsonReader reader;
    if (!path) {
        strbuf_puts(text, "{\"name\":\"Run\"}");
    } else {
        const char *file = strcmp(path, "-") == 0 ? "/dev/stdin" : path;
        int code = strbuf_readfile(text, file, EVENT_MAX_BYTES);
        if (code != 0) {
            cli_fileerror(path, code, EVENT_MAX_BYTES >> 20);
            return false;
        }
    }
    if (text->length == 0) {
        cli_error("%s: no event in it, it is empty", path);
        return false;
    }
    json_open(&reader, text->data, text->length);
    bool ok = event_read(&reader, "", event, error, sizeof(error));
    if (ok && !json_end(&reader)) {
        size_t length = (size_t)snprintf(error, sizeof(error), "invalid JSON: ");
        json_describe(&reader, error + length, sizeof(error) - length);
        ok = false;
    }
    if (!ok)
        cli_error("%s: %s", path ? path : "event", error);
    return ok;
}

/* ---- The run ----------------------------------------------------------------------------------
 */

static int print_outcome(KhronosExecution *x, const Strbuf *result)
{
    fflush(stdout);
    if (x->status == KHRONOS_OK) {
        if (x->result_count > 0) {
            fwrite(result->data, 1, result->length, stdout);
            fputc('\n', stdout);
        }
        return EXIT_SUCCESS;
    }
    fwrite(strbuf_cstr(&x->message), 1, x->message.length, stderr); /* may have a NUL in it */
    fputc('\n', stderr);
    if (x->status == KHRONOS_RUNTIME_ERROR && x->traceback.length > 0)
        fprintf(stderr, "stacktrace:\n%s", strbuf_cstr(&x->traceback));
    else if (x->path[0] != '\0' && x->status != KHRONOS_COMPILE_ERROR)
        fprintf(stderr, "at %s:%d\n", x->path, x->line);
    return EXIT_WORK_FAILED;
}

/* Until the run has ended and what it left in the background, too. */
static void turn_until_done(KhronosRuntime *rt, luau_Fibers *fibers, RunStore *store,
                            KhronosExecution *x)
{
    bool finished = false;
    khronos_submit(rt, x);
    for (;;) {
        KhronosStep step = khronos_step(rt, fibers);
        bool served = run_store_serve(store, rt);
        finished |= khronos_take_finished(rt) == x;
        if (finished && (khronos_isbroken(rt) || khronos_tasks(rt) == 0))
            return;
        if (step == KHRONOS_IDLE && !served) {
            fflush(stdout); /* lines are seen while it waits */
            run_store_wait(store, khronos_due_ns(rt));
        }
    }
}

static int run_execution(KhronosSandbox *sandbox, KhronosTemplate *t, const KhronosEvent *event,
                         const RunOptions *options)
{
    KhronosLimits limits;
    khronos_default_limits(&limits);
    KhronosLog log = {.line = on_line};
    Strbuf result = STRBUF_INIT;
    char id[RANDOM_ID_SIZE];
    random_id(id);
    KhronosExecution x = {.template_version = t, .event = event, .id = id, .out = &result};
    RunStore *store = run_store_open(sandbox, options->store);
    if (!store)
        return EXIT_WORK_FAILED;
    luau_Ticker *ticker = luau_ticker_new(TICK_US);
    luau_Fibers *fibers = luau_fibers_new(1);
    KhronosRuntime *rt = khronos_new(sandbox, options->guild_id, &limits, &log);
    int exit_status = EXIT_WORK_FAILED;
    if (ticker && fibers && rt) {
        luau_ticker_add(ticker, fibers);
        turn_until_done(rt, fibers, store, &x);
        exit_status = print_outcome(&x, &result);
        luau_ticker_remove(ticker, fibers);
    } else {
        cli_error("not enough memory");
    }
    khronos_free(rt);
    if (ticker)
        luau_ticker_free(ticker);
    if (fibers)
        luau_fibers_free(fibers);
    run_store_close(store);
    execution_free(&x);
    strbuf_free(&result);
    return exit_status;
}

static void show_compile_error(KhronosTemplate *t)
{
    luau_Diagnostic diagnostic;
    int entry = template_entry(t);
    if (template_module(t, entry, &diagnostic))
        return;
    size_t length;
    const char *source = template_source(t, entry, &length);
    cli_diagnostic(template_shown(t, entry), source, length, &diagnostic);
}

static int run_template(const char *path, const RunOptions *options)
{
    char error[512];
    KhronosSandbox *sandbox = cli_sandbox();
    if (!sandbox)
        return EXIT_WORK_FAILED;
    int exit_status = EXIT_WORK_FAILED;
    Strbuf text = STRBUF_INIT;
    KhronosEvent event;
    luau_Diagnostic diagnostic;
    KhronosTemplate *t = templates_load(sandbox, path, error, sizeof(error));
    if (!t)
        cli_error("%s", error);
    else if (!template_module(t, template_entry(t), &diagnostic))
        show_compile_error(t);
    else if (read_event(options->event_path, &text, &event))
        exit_status = run_execution(sandbox, t, &event, options);
    strbuf_free(&text);
    template_release(t);
    sandbox_release(sandbox);
    return exit_status;
}

/* ---- Arguments --------------------------------------------------------------------------------
 */

static bool read_test_modes(const char *text, int *modes)
{
    for (const char *p = text; *p;) {
        size_t length = strcspn(p, ",");
        if (length == 2 && memcmp(p, "gc", 2) == 0)
            *modes |= LUAU_TEST_GC_ALWAYS;
        else if (length == 5 && memcmp(p, "stack", 5) == 0)
            *modes |= LUAU_TEST_STACK_MOVES;
        else {
            cli_error("--test-mode: expected gc, stack or both with a comma, got '%s'", text);
            return false;
        }
        p += length + (p[length] == ',');
    }
    return true;
}

/* -1: go on; else the exit status. */
static int read_options(int argc, char **argv, RunOptions *run)
{
    enum { BARE = 256, EVENT, GUILD, STORE, TEST_MODE, FAIL_ALLOC };
    static const struct option options[] = {{"help", no_argument, NULL, 'h'},
                                            {"bare", no_argument, NULL, BARE},
                                            {"event", required_argument, NULL, EVENT},
                                            {"guild", required_argument, NULL, GUILD},
                                            {"store", required_argument, NULL, STORE},
                                            {"test-mode", required_argument, NULL, TEST_MODE},
                                            {"fail-alloc", required_argument, NULL, FAIL_ALLOC},
                                            {0}};
    /* "-": every argument comes in order, so that options may follow the file, but not with --bare,
     * whose arguments are the program's. */
    for (int option; (option = cli_option(argc, argv, "-:h", options)) != -1;) {
        switch (option) {
        case 'h': print_help(); return EXIT_SUCCESS;
        case BARE: run->bare = true; break;
        case EVENT: run->event_path = optarg; break;
        case GUILD:
            if (!cli_number("--guild", optarg, 1, UINT64_MAX, &run->guild_id))
                return EXIT_USAGE;
            break;
        case STORE: run->store = optarg; break;
        case TEST_MODE:
            if (!read_test_modes(optarg, &run->bare_options.test_modes))
                return EXIT_USAGE;
            break;
        case FAIL_ALLOC:
            if (!cli_number("--fail-alloc", optarg, 1, UINT64_MAX, &run->bare_options.fail_alloc))
                return EXIT_USAGE;
            break;
        case 1:
            if (run->bare_options.file) {
                cli_error("run: one file, please: '%s' is too much", optarg);
                return EXIT_USAGE;
            }
            run->bare_options.file = optarg;
            if (run->bare)
                return -1;
            break;
        default: return EXIT_USAGE;
        }
    }
    return -1;
}

int cmd_run(int argc, char **argv)
{
    RunOptions run = {.guild_id = 1};
    int exit_status = read_options(argc, argv, &run);
    if (exit_status >= 0)
        return exit_status;
    if (!run.bare_options.file && optind < argc)
        run.bare_options.file = argv[optind++]; /* behind "--" */
    if (!run.bare_options.file) {
        cli_error("run: which file? See template-worker run --help");
        return EXIT_USAGE;
    }
    if (run.bare) {
        run.bare_options.arguments = argv + optind;
        run.bare_options.argument_count = argc - optind;
        return run_bare(&run.bare_options);
    }
    return run_template(run.bare_options.file, &run);
}
