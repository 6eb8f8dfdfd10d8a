/* template-worker check: every syntax error that can be found, in one go. */
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cli/cli.h"

enum { DIAGNOSTICS_MAX = 100 };

static void print_help(void)
{
    puts("usage: template-worker check FILE-OR-FOLDER...\n"
         "\n"
         "Compiles the files, and the .luau and .lua files of the folders, without running\n"
         "them, and reports every syntax error found, with the line and a mark under the\n"
         "place. Exit status 1 if there was any.");
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

static bool is_source(const char *name)
{
    const char *dot = strrchr(name, '.');
    return name[0] != '.' && dot && (strcmp(dot, ".luau") == 0 || strcmp(dot, ".lua") == 0);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* Everything in it that looks like a source, in the order of names; hidden folders are left out. */
static int check_folder(const char *path)
{
    char *paths[] = {(char *)(uintptr_t)path, NULL};
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    int failed = 0;
    for (FTSENT *item; walk && (item = fts_read(walk)) != NULL;) {
        if (item->fts_info == FTS_D && item->fts_level > 0 && item->fts_name[0] == '.')
            fts_set(walk, item, FTS_SKIP);
        else if (item->fts_info == FTS_F && is_source(item->fts_name))
            failed |= check_file(item->fts_path);
        if (item->fts_info == FTS_DNR || item->fts_info == FTS_ERR || item->fts_info == FTS_NS) {
            cli_fileerror(item->fts_path, item->fts_errno, 0);
            failed = 1;
        }
    }
    if (walk)
        fts_close(walk);
    return failed;
}

static int check_path(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode) ? check_folder(path) : check_file(path);
}

int cmd_check(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
    for (int option; (option = cli_option(argc, argv, ":h", options)) != -1;) {
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
        failed |= check_path(argv[i]);
    return failed ? EXIT_WORK_FAILED : EXIT_SUCCESS;
}
