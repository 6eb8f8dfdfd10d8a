/* template-worker test: the tests of a folder of templates. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/test_files.h"
#include "cli/test_host.h"
#include "cli/test_report.h"
#include "plugins/plugins.h"

enum { TIMEOUT_S_DEFAULT = 10, PLUGINS_MAX = 64 };

typedef struct Tests {
    char folder[PATH_MAX];
    const char *filter, *junit_path;
    bool list;
    uint64_t timeout_s;
    KhronosSandbox *sandbox;
    TemplateCache *templates;
    char scratch[PATH_MAX]; /* the folder of the stores */
    TestReport report;
} Tests;

static void print_help(void)
{
    puts("usage: template-worker test [OPTIONS] FOLDER\n"
         "\n"
         "Runs the tests of a folder of templates: every file NAME.test.luau, beside\n"
         "NAME.luau or in a template's folder. Each file has a guild of its own, with a\n"
         "VM, a store that is thrown away, and a clock that passes at once whenever all\n"
         "wait. What tests are made of is in docs/testing.md.\n"
         "\n"
         "  --filter TEXT   only tests with TEXT in their name or their file's\n"
         "  --list          print the names, run nothing\n"
         "  --junit FILE    write the results as JUnit XML, too\n"
         "  --timeout S     processor time that a test may take, in seconds (default: 10)\n"
         "\n"
         "Exit status 1 if a test failed.");
}

/* ---- One file ---------------------------------------------------------------------------------
 */

static bool is_chosen(const Tests *tests, const char *path, Text name)
{
    return !tests->filter || strstr(path, tests->filter) ||
           memmem(name.data, name.length, tests->filter, strlen(tests->filter));
}

static void skip(Tests *tests, Text name, const char *why)
{
    TestVerdict verdict = {.status = TEST_SKIPPED};
    strbuf_puts(&verdict.message, why);
    test_report_add(&tests->report, name, &verdict);
    test_verdict_free(&verdict);
}

static void run_item(Tests *tests, TestHost *host, int number, const TestingItem *item)
{
    TestVerdict verdict;
    test_host_run(host, number, item->has_after, &verdict);
    if (verdict.status == TEST_FAILED && verdict.path[0] == '\0') {
        snprintf(verdict.path, sizeof(verdict.path), "%s", tests->report.file);
        verdict.line = item->line;
    }
    test_report_add(&tests->report, item->name, &verdict);
    test_verdict_free(&verdict);
}

static bool has_only(const Strbuf *list)
{
    TestingItem item;
    for (size_t at = 0; testing_next(list, &at, &item);)
        if (item.is_only && !item.is_skipped)
            return true;
    return false;
}

static void run_items(Tests *tests, TestHost *host, const char *path)
{
    Strbuf list = STRBUF_INIT; /* the host's is made anew when the file runs again */
    TestingItem item;
    size_t at = 0;
    strbuf_put(&list, test_host_list(host)->data, test_host_list(host)->length);
    bool only = has_only(&list);
    for (int number = 1; testing_next(&list, &at, &item); number++) {
        if (!is_chosen(tests, path, item.name))
            continue;
        if (tests->list)
            printf("%s:%d: %.*s\n", path, item.line, (int)item.name.length, item.name.data);
        else if (item.is_skipped || (only && !item.is_only))
            skip(tests, item.name, item.is_skipped ? "" : "others are marked with only");
        else
            run_item(tests, host, number, &item);
    }
    strbuf_free(&list);
}

static void run_host(Tests *tests, TestHost *host, const char *path)
{
    TestVerdict verdict;
    test_host_load(host, &verdict);
    if (verdict.status == TEST_OK)
        run_items(tests, host, path);
    else
        test_report_add(&tests->report, (Text){0}, &verdict);
    test_verdict_free(&verdict);
}

static void remove_store(const Tests *tests)
{
    static const char *const endings[] = {"", "-wal", "-shm", "-journal", ".lock"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(endings); i++) {
        char path[PATH_MAX + 64];
        snprintf(path, sizeof(path), "%s/test.db%s", tests->scratch, endings[i]);
        unlink(path);
    }
}

/* False: it could not be tested at all, and a complaint was printed. */
static bool run_file(Tests *tests, const char *path)
{
    char error[512] = "not enough memory", store[PATH_MAX + 64];
    KhronosTemplate *file = test_files_load(tests->sandbox, tests->folder, path);
    snprintf(store, sizeof(store), "%s/test.db", tests->scratch);
    TestHostOptions options = {.sandbox = tests->sandbox,
                               .templates = tests->templates,
                               .folder = tests->folder,
                               .store_path = store,
                               .file = file,
                               .timeout_ns = tests->timeout_s * CLOCK_NS_PER_S};
    TestHost *host = file ? test_host_open(&options, error, sizeof(error)) : NULL;
    if (host) {
        test_report_begin(&tests->report, path);
        run_host(tests, host, path);
        test_report_end(&tests->report);
    } else {
        cli_error("%s: %s", path, error);
    }
    test_host_close(host);
    template_release(file);
    remove_store(tests);
    return host != NULL;
}

/* ---- All of them ------------------------------------------------------------------------------
 */

static bool run_files(Tests *tests)
{
    TestFiles files = {0};
    bool ok = test_files_find(tests->folder, &files);
    if (ok && files.count == 0) {
        cli_error("%s: no tests: no file in it ends with .test.luau", tests->folder);
        ok = false;
    }
    for (int i = 0; i < files.count && ok; i++)
        ok = run_file(tests, files.paths[i]);
    if (ok && !tests->list)
        test_report_summary(&tests->report);
    if (ok && tests->filter && !tests->list &&
        tests->report.passed + tests->report.failed + tests->report.skipped == 0) {
        cli_error("--filter: no test has '%s' in its name", tests->filter);
        ok = false;
    }
    test_files_free(&files);
    return ok && tests->report.failed == 0;
}

static KhronosSandbox *make_sandbox(void)
{
    KhronosPlugin plugins[PLUGINS_MAX];
    char error[256];
    int count;
    const KhronosPlugin *all = plugins_all(&count);
    BASE_ASSERT(count + TESTING_PLUGINS <= PLUGINS_MAX);
    memcpy(plugins, all, (size_t)count * sizeof(*plugins));
    memcpy(plugins + count, testing_plugins, sizeof(testing_plugins));
    KhronosSandbox *sandbox = sandbox_new(plugins, count + TESTING_PLUGINS, error, sizeof(error));
    if (!sandbox)
        cli_error("cannot build the sandbox: %s", error);
    return sandbox;
}

static bool make_scratch(Tests *tests)
{
    const char *where = getenv("TMPDIR");
    snprintf(tests->scratch, sizeof(tests->scratch), "%s/template-worker-test-XXXXXX",
             where && where[0] ? where : P_tmpdir);
    if (mkdtemp(tests->scratch))
        return true;
    cli_error("%s: cannot make a folder for the tests' stores", tests->scratch);
    return false;
}

static bool run_tests(Tests *tests)
{
    char error[512];
    tests->sandbox = make_sandbox();
    if (!tests->sandbox)
        return false;
    tests->templates = templates_open(tests->sandbox, tests->folder, error, sizeof(error));
    bool ok = tests->templates != NULL;
    if (!ok)
        cli_error("%s", error);
    if (ok && make_scratch(tests)) {
        ok = run_files(tests);
        rmdir(tests->scratch);
    } else {
        ok = false;
    }
    templates_close(tests->templates);
    sandbox_release(tests->sandbox);
    return ok;
}

/* ---- Arguments --------------------------------------------------------------------------------
 */

static bool set_folder(Tests *tests, const char *folder)
{
    size_t length = strlen(folder);
    if (tests->folder[0] != '\0' || length >= sizeof(tests->folder) || length == 0) {
        cli_error("test: one folder, please: '%s' is too much", folder);
        return false;
    }
    memcpy(tests->folder, folder, length + 1);
    while (length > 1 && tests->folder[length - 1] == '/')
        tests->folder[--length] = '\0';
    return true;
}

/* -1: go on; else the exit status. */
static int read_options(int argc, char **argv, Tests *tests)
{
    enum { FILTER = 256, LIST, JUNIT, TIMEOUT };
    static const struct option options[] = {{"help", no_argument, NULL, 'h'},
                                            {"filter", required_argument, NULL, FILTER},
                                            {"list", no_argument, NULL, LIST},
                                            {"junit", required_argument, NULL, JUNIT},
                                            {"timeout", required_argument, NULL, TIMEOUT},
                                            {0}};
    for (int option; (option = cli_option(argc, argv, ":h", options)) != -1;) {
        switch (option) {
        case 'h': print_help(); return EXIT_SUCCESS;
        case FILTER: tests->filter = optarg; break;
        case LIST: tests->list = true; break;
        case JUNIT: tests->junit_path = optarg; break;
        case TIMEOUT:
            if (!cli_number("--timeout", optarg, 1, 3600, &tests->timeout_s))
                return EXIT_USAGE;
            break;
        default: return EXIT_USAGE;
        }
    }
    for (; optind < argc; optind++)
        if (!set_folder(tests, argv[optind]))
            return EXIT_USAGE;
    if (tests->folder[0] == '\0') {
        cli_error("test: which folder? See template-worker test --help");
        return EXIT_USAGE;
    }
    return -1;
}

int cmd_test(int argc, char **argv)
{
    Tests tests = {.timeout_s = TIMEOUT_S_DEFAULT};
    int exit_status = read_options(argc, argv, &tests);
    if (exit_status >= 0)
        return exit_status;
    tests.report.junit = tests.junit_path != NULL;
    tests.report.colours = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    bool ok = run_tests(&tests);
    if (tests.junit_path && !tests.list)
        ok &= test_report_junit(&tests.report, tests.junit_path);
    test_report_free(&tests.report);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_error("cannot write the output");
        ok = false;
    }
    return ok ? EXIT_SUCCESS : EXIT_WORK_FAILED;
}
