/* template-worker templates: the templates in the store, by hand. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/jsontext.h"
#include "cli/cli_store.h"
#include "worker/store_templates.h"
#include "worker/templates.h"

typedef struct Arguments {
    const char *store;
    uint64_t guild_id;
    bool json, disabled;
    const char *name, *description, *out;
    uint64_t version;
    bool has_version;
    int64_t if_version;
    Text *events, *capabilities; /* room for as many as there are arguments */
    int event_count, capability_count;
    char **operands;
} Arguments;

static void print_help(void)
{
    puts("usage: template-worker templates list [OPTIONS]\n"
         "       template-worker templates show NAME [--version N] [--out FOLDER]\n"
         "       template-worker templates save FILE-OR-FOLDER [OPTIONS]\n"
         "       template-worker templates delete NAME\n"
         "       template-worker templates versions NAME\n"
         "       template-worker templates activate NAME VERSION\n"
         "\n"
         "The templates in the store, also while a server runs on it: it sees what changed\n"
         "within a second.\n"
         "\n"
         "  --store FILE       the store (default: the environment's TEMPLATE_WORKER_STORE,\n"
         "                     else " CLI_STORE_DEFAULT " in the current folder)\n"
         "  --guild ID         the guild (default: 0, which stands for every guild)\n"
         "  --json             list, show, versions: as JSON\n"
         "\n"
         "  show prints what a template says of itself, and its files:\n"
         "  --version N        an older version\n"
         "  --out FOLDER       writes the files there instead; `save FOLDER` takes them back\n"
         "\n"
         "  save checks a template, then makes it the current version. It is a .luau file, with\n"
         "  a .json file of the same name beside it, or a folder with init.luau and\n"
         "  template.json; the .json may be missing (docs/templates.md):\n"
         "  --name NAME        default: the name of the file or folder\n"
         "  --description TEXT, --event NAME, --capability NAME, --disabled\n"
         "                     in place of what the .json says; --event and --capability can\n"
         "                     be repeated\n"
         "\n"
         "  --if-version N     save, delete, activate: only if this is the current version\n"
         "                     (0: if there is none)");
}

/* Absent results: `there is no template 'x' ...`. */
static void complain_missing(const Arguments *a, const char *name)
{
    char version[32] = "", guild[48] = "";
    if (a->has_version)
        snprintf(version, sizeof(version), "version %u of ", (unsigned)a->version);
    if (a->guild_id != 0)
        snprintf(guild, sizeof(guild), " in guild %llu", (unsigned long long)a->guild_id);
    cli_error("there is no %stemplate '%s'%s. See template-worker templates %s", version, name,
              guild, a->has_version ? "versions" : "list");
}

/* One request about the template of that name; NULL: a complaint was printed. */
static StoreRequest *ask_about(Store *store, const Arguments *a, StoreOp op, const char *name)
{
    StoreRequest *request = cli_store_request(op, a->guild_id);
    if (!request)
        return NULL;
    request->name = cli_text(name);
    request->version = (uint32_t)a->version;
    request->if_version = a->if_version;
    if (cli_store_ask(store, request))
        return request;
    if (request->status == STORE_NOT_FOUND)
        complain_missing(a, name);
    store_request_free(request);
    return NULL;
}

/* ---- Showing ---------------------------------------------------------------------------------
 */

/* "A, B", or what stands for an empty list. */
static void put_list(Strbuf *out, const Text *texts, int count, const char *none)
{
    for (int i = 0; i < count; i++) {
        strbuf_puts(out, i > 0 ? ", " : "");
        strbuf_put(out, texts[i].data, texts[i].length);
    }
    if (count == 0)
        strbuf_puts(out, none);
}

static void cell_list(CliTable *table, int max, const Text *texts, int count)
{
    Strbuf out = STRBUF_INIT;
    put_list(&out, texts, count, "-");
    cli_cell_text(table, max, (Text){out.data, out.length});
    strbuf_free(&out);
}

static void put_json(Strbuf *out, const StoreTemplate *t, bool whole)
{
    strbuf_putc(out, '{');
    cli_json_key(out, "name");
    cli_json_text(out, t->name);
    cli_json_key(out, "version");
    json_put_u64(out, t->version);
    cli_json_key(out, "current");
    strbuf_puts(out, t->current ? "true" : "false");
    cli_json_key(out, "enabled");
    strbuf_puts(out, t->enabled ? "true" : "false");
    cli_json_key(out, "description");
    cli_json_text(out, t->description);
    cli_json_key(out, "events");
    cli_json_texts(out, t->events, t->event_count);
    cli_json_key(out, "capabilities");
    cli_json_texts(out, t->capabilities, t->capability_count);
    cli_json_key(out, "source_bytes");
    json_put_u64(out, t->source_bytes);
    cli_json_key(out, "created_at");
    cli_json_time(out, t->created_ms);
    cli_json_key(out, "updated_at");
    cli_json_time(out, t->updated_ms);
    if (whole) {
        cli_json_key(out, "files");
        strbuf_putc(out, '{');
        for (int i = 0; i < t->file_count; i++) {
            strbuf_puts(out, i > 0 ? "," : "");
            cli_json_text(out, t->files[i].path);
            strbuf_putc(out, ':');
            cli_json_text(out, t->files[i].source);
        }
        strbuf_putc(out, '}');
    }
    strbuf_putc(out, '}');
}

static bool print_json_list(const StoreRequest *request)
{
    Strbuf out = STRBUF_INIT;
    strbuf_putc(&out, '[');
    for (int i = 0; i < request->template_count; i++) {
        strbuf_puts(&out, i > 0 ? ",\n " : "");
        put_json(&out, &request->templates[i], false);
    }
    strbuf_putc(&out, ']');
    return cli_json_end(&out);
}

static bool list(Store *store, const Arguments *a)
{
    StoreRequest *request = cli_store_request(STORE_LIST, a->guild_id);
    bool ok = request && cli_store_ask(store, request);
    if (ok && a->json) {
        ok = print_json_list(request);
    } else if (ok && request->template_count == 0) {
        puts(a->guild_id ? "the guild has no templates of its own" : "no templates");
    } else if (ok) {
        char time[CLI_TIME_SIZE];
        static const char *const heads[] = {"NAME",         "VERSION", "ENABLED", "EVENTS",
                                            "CAPABILITIES", "BYTES",   "UPDATED"};
        CliTable table = {.columns = BASE_ARRAY_COUNT(heads)};
        for (size_t i = 0; i < BASE_ARRAY_COUNT(heads); i++)
            cli_cell(&table, 0, "%s", heads[i]);
        for (int i = 0; i < request->template_count; i++) {
            const StoreTemplate *t = &request->templates[i];
            cli_cell_text(&table, 0, t->name);
            cli_cell(&table, 0, "%u", t->version);
            cli_cell(&table, 0, "%s", t->enabled ? "yes" : "no");
            cell_list(&table, 40, t->events, t->event_count);
            cell_list(&table, 32, t->capabilities, t->capability_count);
            cli_cell(&table, 0, "%llu", (unsigned long long)t->source_bytes);
            cli_cell(&table, 0, "%s", cli_time(t->updated_ms, time));
        }
        ok = cli_table_end(&table);
    }
    store_request_free(request);
    return ok;
}

static bool versions(Store *store, const Arguments *a)
{
    StoreRequest *request = ask_about(store, a, STORE_VERSIONS, a->operands[0]);
    if (!request)
        return false;
    bool ok;
    if (a->json) {
        ok = print_json_list(request);
    } else {
        char time[CLI_TIME_SIZE];
        CliTable table = {.columns = 5};
        static const char *const heads[] = {"VERSION", "CURRENT", "ENABLED", "BYTES", "SAVED"};
        for (size_t i = 0; i < BASE_ARRAY_COUNT(heads); i++)
            cli_cell(&table, 0, "%s", heads[i]);
        for (int i = 0; i < request->template_count; i++) {
            const StoreTemplate *t = &request->templates[i];
            cli_cell(&table, 0, "%u", t->version);
            cli_cell(&table, 0, "%s", t->current ? "yes" : "-");
            cli_cell(&table, 0, "%s", t->enabled ? "yes" : "no");
            cli_cell(&table, 0, "%llu", (unsigned long long)t->source_bytes);
            cli_cell(&table, 0, "%s", cli_time(t->updated_ms, time));
        }
        ok = cli_table_end(&table);
    }
    store_request_free(request);
    return ok;
}

static bool print_whole(const StoreTemplate *t)
{
    char time[CLI_TIME_SIZE];
    CliTable table = {.columns = 2};
    cli_cell(&table, 0, "name");
    cli_cell_text(&table, 0, t->name);
    cli_cell(&table, 0, "version");
    cli_cell(&table, 0, "%u%s", t->version, t->current ? ", the current one" : "");
    cli_cell(&table, 0, "enabled");
    cli_cell(&table, 0, "%s", t->enabled ? "yes" : "no");
    cli_cell(&table, 0, "description");
    cli_cell_text(&table, 0, t->description.data ? t->description : cli_text("-"));
    cli_cell(&table, 0, "events");
    cell_list(&table, 0, t->events, t->event_count);
    cli_cell(&table, 0, "capabilities");
    cell_list(&table, 0, t->capabilities, t->capability_count);
    cli_cell(&table, 0, "created");
    cli_cell(&table, 0, "%s", cli_time(t->created_ms, time));
    cli_cell(&table, 0, "saved");
    cli_cell(&table, 0, "%s", cli_time(t->updated_ms, time));
    bool ok = cli_table_end(&table);
    for (int i = 0; ok && i < t->file_count; i++) {
        const StoreFile *file = &t->files[i];
        printf("\n==> ");
        cli_print_text(file->path);
        printf(" <==\n");
        cli_print_text(file->source);
        if (file->source.length > 0 && file->source.data[file->source.length - 1] != '\n')
            putchar('\n');
    }
    return ok;
}

/* ---- Writing files ---------------------------------------------------------------------------
 */

/* Stays below the folder: the store's file may come from anywhere. */
static bool path_is_safe(Text path)
{
    size_t part = 0;
    for (size_t i = 0; i <= path.length; i++) {
        if (i < path.length && path.data[i] != '/') {
            if (path.data[i] == '\0')
                return false;
            continue;
        }
        Text name = {path.data + part, i - part};
        if (name.length == 0 || (name.length == 1 && name.data[0] == '.') ||
            (name.length == 2 && memcmp(name.data, "..", 2) == 0))
            return false;
        part = i + 1;
    }
    return true;
}

static bool make_folder(const char *path)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return true;
    cli_fileerror(path, errno, 0);
    return false;
}

/* A new file below the folder, and the folders on the way to it. */
static bool write_file(const char *folder, const char *path, Text bytes)
{
    char full[PATH_MAX];
    size_t base = strlen(folder);
    if (snprintf(full, sizeof(full), "%s/%s", folder, path) >= (int)sizeof(full)) {
        cli_fileerror(path, ENAMETOOLONG, 0);
        return false;
    }
    for (char *slash = strchr(full + base + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = make_folder(full);
        *slash = '/';
        if (!made)
            return false;
    }
    int fd = open(full, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "wb");
    bool ok = file != NULL;
    if (ok) {
        ok = fwrite(bytes.data, 1, bytes.length, file) == bytes.length;
        ok = (fclose(file) == 0) && ok;
    } else if (fd >= 0) {
        close(fd);
    }
    if (!ok)
        cli_fileerror(full, errno, 0);
    return ok;
}

/* template.json: `save` reads it back. */
static bool write_meta(const char *folder, const StoreTemplate *t)
{
    Strbuf out = STRBUF_INIT;
    strbuf_puts(&out, "{");
    if (t->description.data) {
        cli_json_key(&out, "description");
        cli_json_text(&out, t->description);
    }
    cli_json_key(&out, "events");
    cli_json_texts(&out, t->events, t->event_count);
    cli_json_key(&out, "capabilities");
    cli_json_texts(&out, t->capabilities, t->capability_count);
    cli_json_key(&out, "enabled");
    strbuf_puts(&out, t->enabled ? "true}\n" : "false}\n");
    bool ok = !out.failed && write_file(folder, "template.json", (Text){out.data, out.length});
    strbuf_free(&out);
    return ok;
}

static bool write_whole(const StoreTemplate *t, const char *folder)
{
    for (int i = 0; i < t->file_count; i++)
        if (!path_is_safe(t->files[i].path)) {
            cli_error("a file of the template is called '%s': it would not be below %s",
                      t->files[i].path.data, folder);
            return false;
        }
    /* A folder that is there must be empty: so nothing is overwritten, and no link is followed. */
    if (mkdir(folder, 0777) != 0 &&
        (errno != EEXIST || rmdir(folder) != 0 || mkdir(folder, 0777))) {
        if (errno == ENOTEMPTY || errno == ENOTDIR || errno == EEXIST)
            cli_error("%s is there already, and nothing is overwritten: name a folder that is not, "
                      "or an empty one",
                      folder);
        else
            cli_fileerror(folder, errno, 0);
        return false;
    }
    bool ok = write_meta(folder, t);
    for (int i = 0; ok && i < t->file_count; i++)
        ok = write_file(folder, t->files[i].path.data, t->files[i].source);
    if (ok)
        printf("%s: %d file%s and template.json\n", folder, t->file_count,
               t->file_count == 1 ? "" : "s");
    return ok;
}

static bool show(Store *store, const Arguments *a)
{
    StoreRequest *request = ask_about(store, a, STORE_GET, a->operands[0]);
    if (!request)
        return false;
    const StoreTemplate *t = &request->templates[0];
    bool ok;
    if (a->out) {
        ok = write_whole(t, a->out);
    } else if (a->json) {
        Strbuf out = STRBUF_INIT;
        put_json(&out, t, true);
        ok = cli_json_end(&out);
    } else {
        ok = print_whole(t);
    }
    store_request_free(request);
    return ok;
}

/* ---- Saving ----------------------------------------------------------------------------------
 */

/* What is to be saved, of what was loaded; its lists and files are in the request's memory. */
static StoreTemplate *describe(StoreRequest *request, const Arguments *a, const KhronosTemplate *t)
{
    const TemplateMeta *meta = template_meta(t);
    StoreTemplate *save = store_request_alloc(request, sizeof(*save));
    int count = template_count(t);
    StoreFile *files = store_request_alloc(request, (size_t)count * sizeof(*files));
    Text *events = store_request_alloc(request, (size_t)meta->event_count * sizeof(Text));
    Text *capabilities = store_request_alloc(request,
                                             (size_t)meta->capability_count * sizeof(Text));
    if (!save || !files || !events || !capabilities)
        return NULL;
    for (int i = 0; i < meta->event_count; i++)
        events[i] = cli_text(meta->events[i]);
    for (int i = 0; i < meta->capability_count; i++)
        capabilities[i] = cli_text(meta->capabilities[i]);
    for (int i = 0; i < count; i++) {
        files[i].path = cli_text(template_path(t, i));
        files[i].source.data = template_source(t, i, &files[i].source.length);
    }
    *save = (StoreTemplate){
        .name = cli_text(a->name ? a->name : template_name(t)),
        .enabled = meta->enabled && !a->disabled,
        .description = cli_text(a->description ? a->description : meta->description),
        .events = a->event_count > 0 ? a->events : events,
        .event_count = a->event_count > 0 ? a->event_count : meta->event_count,
        .capabilities = a->capability_count > 0 ? a->capabilities : capabilities,
        .capability_count = a->capability_count > 0 ? a->capability_count : meta->capability_count,
        .files = files,
        .file_count = count,
    };
    return save;
}

/* The version that is current now; 0: none. */
static uint32_t current_version(Store *store, const Arguments *a, Text name)
{
    StoreRequest *request = store_request_new(STORE_GET, a->guild_id);
    uint32_t version = 0;
    if (request) {
        request->name = name;
        store_wait(store, request);
        version = request->status == STORE_OK ? request->templates[0].version : 0;
    }
    store_request_free(request);
    return version;
}

static bool save_checked(const Arguments *a, StoreRequest *request)
{
    Store *store = cli_store_open(cli_store_path(a->store), true);
    if (!store)
        return false;
    Text name = request->save->name;
    uint32_t before = current_version(store, a, name);
    bool ok = cli_store_ask(store, request);
    if (ok) {
        uint32_t version = request->templates[0].version;
        if (version == before)
            printf("%s is unchanged, at version %u\n", name.data, version);
        else
            printf("%s is at version %u\n", name.data, version);
    }
    cli_store_close(store);
    return ok;
}

static bool save_loaded(const Arguments *a, KhronosSandbox *sandbox, const KhronosTemplate *t)
{
    StoreRequest *request = cli_store_request(STORE_SAVE, a->guild_id);
    if (!request)
        return false;
    request->if_version = a->if_version;
    request->save = describe(request, a, t);
    char error[512] = "not enough memory";
    luau_Diagnostic diagnostic;
    int file = -1;
    bool ok = request->save != NULL &&
              template_check(sandbox, request->save, error, sizeof(error), &diagnostic, &file);
    if (ok) {
        ok = save_checked(a, request);
    } else if (file >= 0) {
        const StoreFile *bad = &request->save->files[file];
        cli_diagnostic(template_shown(t, file), bad->source.data, bad->source.length, &diagnostic);
        cli_error("%s was not saved", request->save->name.data);
    } else {
        cli_error("%s: %s", a->operands[0], error);
    }
    store_request_free(request);
    return ok;
}

/* Without a store until it is clear that there is something to save. */
static bool save(Store *none, const Arguments *a)
{
    (void)none;
    KhronosSandbox *sandbox = cli_sandbox();
    if (!sandbox)
        return false;
    char error[512];
    KhronosTemplate *t = templates_load(sandbox, a->operands[0], error, sizeof(error));
    bool ok = t != NULL;
    if (ok)
        ok = save_loaded(a, sandbox, t);
    else
        cli_error("%s", error);
    template_release(t);
    sandbox_release(sandbox);
    return ok;
}

/* ---- Deleting, going back --------------------------------------------------------------------
 */

static bool delete (Store *store, const Arguments *a)
{
    StoreRequest *request = ask_about(store, a, STORE_DELETE, a->operands[0]);
    if (request)
        printf("%s and all its versions are deleted\n", a->operands[0]);
    store_request_free(request);
    return request != NULL;
}

static bool activate(Store *store, const Arguments *a)
{
    StoreRequest *request = ask_about(store, a, STORE_ACTIVATE, a->operands[0]);
    if (request)
        printf("%s is at version %u\n", a->operands[0], request->templates[0].version);
    store_request_free(request);
    return request != NULL;
}

/* ---- The command line ------------------------------------------------------------------------
 */

enum {
    STORE_FILE = 's',
    GUILD = 'g',
    JSON = 'j',
    VERSION = 'v',
    IF_VERSION = 'i',
    OUT = 'o',
    NAME = 'n',
    DESCRIPTION = 'd',
    EVENT = 'e',
    CAPABILITY = 'c',
    DISABLED = 'x'
};

/* `letters` are the options it takes beside those of the store and the guild. */
static const struct Action {
    const char *name;
    bool (*run)(Store *store, const Arguments *a);
    const char *operands; /* what it wants, for complaints */
    int operand_count;
    const char *letters;
    bool opens_itself;
} ACTIONS[] = {
    {"list", list, "no name", 0, "j", false},
    {"show", show, "the NAME of a template", 1, "jvo", false},
    {"save", save, "a FILE or FOLDER", 1, "indecx", true},
    {"delete", delete, "the NAME of a template", 1, "i", false},
    {"versions", versions, "the NAME of a template", 1, "j", false},
    {"activate", activate, "the NAME of a template and a VERSION", 2, "i", false},
};

static const struct option OPTIONS[] = {{"store", required_argument, NULL, STORE_FILE},
                                        {"guild", required_argument, NULL, GUILD},
                                        {"json", no_argument, NULL, JSON},
                                        {"version", required_argument, NULL, VERSION},
                                        {"if-version", required_argument, NULL, IF_VERSION},
                                        {"out", required_argument, NULL, OUT},
                                        {"name", required_argument, NULL, NAME},
                                        {"description", required_argument, NULL, DESCRIPTION},
                                        {"event", required_argument, NULL, EVENT},
                                        {"capability", required_argument, NULL, CAPABILITY},
                                        {"disabled", no_argument, NULL, DISABLED},
                                        {"help", no_argument, NULL, 'h'},
                                        {0}};

/* False: a complaint was printed. */
static bool take_option(Arguments *a, int option)
{
    uint64_t number;
    switch (option) {
    case STORE_FILE: a->store = optarg; return true;
    case GUILD: return cli_number("templates: --guild", optarg, 0, UINT64_MAX, &a->guild_id);
    case JSON: a->json = true; return true;
    case VERSION:
        a->has_version = true;
        return cli_number("templates: --version", optarg, 1, UINT32_MAX, &a->version);
    case IF_VERSION:
        if (!cli_number("templates: --if-version", optarg, 0, UINT32_MAX, &number))
            return false;
        a->if_version = (int64_t)number;
        return true;
    case OUT: a->out = optarg; return true;
    case NAME: a->name = optarg; return true;
    case DESCRIPTION: a->description = optarg; return true;
    case EVENT: a->events[a->event_count++] = cli_text(optarg); return true;
    case CAPABILITY: a->capabilities[a->capability_count++] = cli_text(optarg); return true;
    default: a->disabled = true; return true;
    }
}

static const struct Action *find_action(const char *name)
{
    for (size_t i = 0; name && i < BASE_ARRAY_COUNT(ACTIONS); i++)
        if (strcmp(ACTIONS[i].name, name) == 0)
            return &ACTIONS[i];
    if (name)
        cli_error("templates: there is no '%s'; there are list, show, save, delete, versions and "
                  "activate. See template-worker templates --help",
                  name);
    else
        cli_error("templates: what about them? See template-worker templates --help");
    return NULL;
}

/* Do the options and operands fit the action? */
static bool fits(const struct Action *action, Arguments *a, const bool *given, int operand_count)
{
    for (const struct option *o = OPTIONS; o->name; o++)
        if (given[o->val] && o->val != STORE_FILE && o->val != GUILD &&
            !strchr(action->letters, o->val)) {
            cli_error("templates %s: it does not take --%s. See template-worker templates --help",
                      action->name, o->name);
            return false;
        }
    if (operand_count != action->operand_count) {
        cli_error("templates %s: expected %s. See template-worker templates --help", action->name,
                  action->operands);
        return false;
    }
    if (action->run != activate)
        return true;
    a->has_version = true;
    return cli_number("templates activate: VERSION", a->operands[1], 1, UINT32_MAX, &a->version);
}

static int run(int argc, char **argv, Arguments *a)
{
    bool given[128] = {false};
    for (int option; (option = cli_option(argc, argv, ":h", OPTIONS)) != -1;) {
        if (option == 'h') {
            print_help();
            return EXIT_SUCCESS;
        }
        if (option == '?' || !take_option(a, option))
            return EXIT_USAGE;
        given[option] = true;
    }
    const struct Action *action = find_action(optind < argc ? argv[optind] : NULL);
    a->operands = argv + optind + 1;
    if (!action || !fits(action, a, given, argc - optind - 1))
        return EXIT_USAGE;
    if (action->opens_itself)
        return cli_finish(action->run(NULL, a));
    Store *store = cli_store_open(cli_store_path(a->store), false);
    bool ok = store && action->run(store, a);
    cli_store_close(store);
    return cli_finish(ok);
}

int cmd_templates(int argc, char **argv)
{
    Arguments a = {.if_version = -1};
    a.events = calloc((size_t)argc, sizeof(Text));
    a.capabilities = calloc((size_t)argc, sizeof(Text));
    int status = EXIT_WORK_FAILED;
    if (a.events && a.capabilities)
        status = run(argc, argv, &a);
    else
        cli_error("not enough memory");
    free(a.events);
    free(a.capabilities);
    return status;
}
