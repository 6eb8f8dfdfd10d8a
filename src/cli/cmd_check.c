/* template-worker check: every syntax error that can be found, in one go. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

enum { DIAGNOSTICS_MAX = 100 };

static void print_help(void)
{
    puts("usage: template-worker check FILE...\n"
         "\n"
         "Compiles the files without running them and reports every syntax error found, with\n"
         "the line and a mark under the place. Exit status 1 if there was any.");
}

/* 1 if the file is not fine. */
static int check_file(const char *path)
{
    Strbuf source = STRBUF_INIT;
    if (!cli_readsource(path, &source)) {
        strbuf_free(&source);
        return 1;
    }
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    luau_Diagnostic *found = calloc(DIAGNOSTICS_MAX, sizeof(*found));
    int count = found ? luau_check(source.data, source.length, &options, found, DIAGNOSTICS_MAX)
                      : 0;
    for (int i = 0; i < count; i++)
        cli_diagnostic(path, source.data, source.length, &found[i]);
    if (count == 0 && found) {
        /* What only the compiler finds: limits on locals, upvalues, registers. */
        luau_Module *module = luau_compile(source.data, source.length, "=check", &options, found);
        if (module) {
            luau_module_release(module);
        } else {
            cli_diagnostic(path, source.data, source.length, found);
            count = 1;
        }
    }
    int failed = count > 0 || !found;
    free(found);
    strbuf_free(&source);
    return failed;
}

int cmd_check(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (option == 'h') {
            print_help();
            return EXIT_SUCCESS;
        }
        return EXIT_USAGE;
    }
    if (optind == argc) {
        cli_error("check: which files? See template-worker check --help");
        return EXIT_USAGE;
    }
    int failed = 0;
    for (int i = optind; i < argc; i++)
        failed |= check_file(argv[i]);
    return failed ? EXIT_WORK_FAILED : EXIT_SUCCESS;
}
