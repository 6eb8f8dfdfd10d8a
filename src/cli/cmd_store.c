/* template-worker store: is the store sound, a copy of it, and its schema's version. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cli/cli_store.h"
#include "store/sqlite.h"

static void print_help(void)
{
    puts("usage: template-worker store check [--store FILE]\n"
         "       template-worker store backup COPY [--store FILE]\n"
         "       template-worker store migrate [--store FILE]\n"
         "\n"
         "  check      reads the whole store and says what is wrong with it, if anything is;\n"
         "             a server may run meanwhile\n"
         "  backup     writes a copy, as of one moment, to a new file; a server may run\n"
         "             meanwhile, and writes to the store all the time\n"
         "  migrate    brings the tables of an older store up to date, as serve does when it\n"
         "             starts\n"
         "\n"
         "  --store FILE    the store (default: the environment's TEMPLATE_WORKER_STORE, else\n"
         "                  " CLI_STORE_DEFAULT " in the current folder)\n"
         "\n"
         "Exit status 1 if something is wrong. See docs/store.md.");
}

static void print_size(const char *path)
{
    struct stat info;
    if (stat(path, &info) == 0)
        printf(" (%.1f MiB)", (double)info.st_size / (1 << 20));
    putchar('\n');
}

/* Its tables are those of this program; opening an older one would change it, unasked. */
static Store *open_as_it_is(const char *path)
{
    int file_version, program_version;
    char error[512];
    struct stat info;
    if (stat(path, &info) != 0)
        return cli_store_open(path, false); /* which says so */
    if (!sqlite_versions(path, &file_version, &program_version, error, sizeof(error))) {
        cli_error("%s", error);
        return NULL;
    }
    if (file_version < program_version) {
        cli_error("%s is of version %d, this program makes it version %d: run template-worker "
                  "store migrate first, after a copy of the file while no server runs",
                  path, file_version, program_version);
        return NULL;
    }
    return cli_store_open(path, false);
}

static bool check(const char *path, const char *none)
{
    (void)none;
    Store *store = open_as_it_is(path);
    if (!store)
        return false;
    Strbuf report = STRBUF_INIT;
    bool sound = store_check(store, &report);
    cli_store_close(store);
    if (sound) {
        printf("%s is sound", path);
        print_size(path);
    } else {
        cli_print_text((Text){report.data, report.length});
        cli_error("%s is damaged. Stop the server, keep a copy of the file with its -wal, then put "
                  "the last backup in its place; docs/store.md says what to do without one",
                  path);
    }
    strbuf_free(&report);
    return sound;
}

static bool backup(const char *path, const char *copy)
{
    struct stat info;
    if (lstat(copy, &info) == 0) {
        cli_error("%s is there already, and nothing is overwritten: name a new file", copy);
        return false;
    }
    Store *store = open_as_it_is(path);
    if (!store)
        return false;
    char error[512];
    bool ok = store_backup(store, copy, error, sizeof(error));
    cli_store_close(store);
    if (ok) {
        printf("%s is a copy of %s", copy, path);
        print_size(copy);
    } else {
        cli_error("%s", error);
    }
    return ok;
}

static bool migrate(const char *path, const char *none)
{
    (void)none;
    int before, program_version;
    char error[512];
    struct stat info;
    if (stat(path, &info) != 0)
        return cli_store_open(path, false) != NULL; /* it says what is wrong */
    if (!sqlite_versions(path, &before, &program_version, error, sizeof(error))) {
        cli_error("%s", error);
        return false;
    }
    if (before == program_version) {
        printf("%s is at version %d, that of this program\n", path, before);
        return true;
    }
    Store *store = cli_store_open(path, false);
    if (!store)
        return false;
    cli_store_close(store);
    printf("%s went from version %d to %d\n", path, before, program_version);
    return true;
}

static const struct Action {
    const char *name;
    bool (*run)(const char *path, const char *operand);
    bool has_operand;
} ACTIONS[] = {{"check", check, false}, {"backup", backup, true}, {"migrate", migrate, false}};

static const struct Action *find_action(const char *name)
{
    for (size_t i = 0; name && i < BASE_ARRAY_COUNT(ACTIONS); i++)
        if (strcmp(ACTIONS[i].name, name) == 0)
            return &ACTIONS[i];
    if (name)
        cli_error("store: there is no '%s'; there are check, backup and migrate. See "
                  "template-worker store --help",
                  name);
    else
        cli_error("store: what about it? See template-worker store --help");
    return NULL;
}

int cmd_store(int argc, char **argv)
{
    static const struct option options[] = {
        {"store", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {0}};
    const char *path = NULL;
    for (int option; (option = cli_option(argc, argv, ":h", options)) != -1;) {
        if (option == 'h') {
            print_help();
            return EXIT_SUCCESS;
        }
        if (option != 's')
            return EXIT_USAGE;
        path = optarg;
    }
    const struct Action *action = find_action(optind < argc ? argv[optind] : NULL);
    if (!action)
        return EXIT_USAGE;
    int operands = argc - optind - 1;
    if (operands != action->has_operand) {
        cli_error("store %s: expected %s. See template-worker store --help", action->name,
                  action->has_operand ? "the name of the COPY" : "nothing more");
        return EXIT_USAGE;
    }
    return cli_finish(action->run(cli_store_path(path), argv[optind + 1]));
}
