/* template-worker kv: a guild's key-value data, by hand. */
#include <stdio.h>
#include <stdlib.h>

#include "base/jsontext.h"
#include "cli/cli_store.h"

enum { VALUE_SHOWN = 60 /* characters */, INPUT_MAX_BYTES = 1 << 20 };

typedef struct Arguments {
    const char *store, *string, *expires;
    uint64_t guild_id;
    bool has_guild, json, resume, no_resume;
    Text *scopes; /* room for as many as there are arguments */
    int scope_count;
    char **operands;
    int operand_count;
} Arguments;

static void print_help(void)
{
    puts("usage: template-worker kv get KEY --guild ID --scope SCOPE...\n"
         "       template-worker kv set KEY JSON --guild ID --scope SCOPE... [OPTIONS]\n"
         "       template-worker kv set KEY --string TEXT --guild ID --scope SCOPE... [OPTIONS]\n"
         "       template-worker kv delete KEY --guild ID --scope SCOPE...\n"
         "       template-worker kv find PATTERN --guild ID --scope SCOPE...\n"
         "       template-worker kv scopes --guild ID\n"
         "\n"
         "What templates keep in ctx.KV, also while a server runs on the store. A record is\n"
         "known by its key and its scopes. get, delete and find take records that have all the\n"
         "scopes given, get and delete the one that has no others if there is one; set makes\n"
         "or changes the one that has just these. scopes lists those that there are.\n"
         "\n"
         "  --store FILE     the store (default: the environment's TEMPLATE_WORKER_STORE,\n"
         "                   else " CLI_STORE_DEFAULT " in the current folder)\n"
         "  --guild ID       the guild\n"
         "  --scope SCOPE    can be repeated\n"
         "  --json           get, find: the whole records, as JSON; scopes: a list\n"
         "\n"
         "  --string TEXT    set: a text, in place of a value in JSON; a JSON of - is read from\n"
         "                   standard input\n"
         "  --expires TIME   set: when KeyExpiry is told of it and it is deleted:\n"
         "                   2030-01-31T12:00:00Z, +90s, +10m, +2h, +7d, or never\n"
         "                   (default: as it was)\n"
         "  --resume, --no-resume\n"
         "                   set: whether KeyResume is told of it (default: as it was)\n"
         "\n"
         "get prints the value, as JSON. In patterns % stands for anything, _ for one\n"
         "character, and \\ takes the next one as it is. What begins with a - and is no option\n"
         "goes behind --: kv set KEY --guild 1 --scope a -- -5. Exit status 1 if get or delete\n"
         "found nothing.");
}

/* ---- What comes back -------------------------------------------------------------------------
 */

static void put_json(Strbuf *out, const StoreRecord *record)
{
    strbuf_putc(out, '{');
    cli_json_key(out, "id");
    /* A string, as templates see it: it may have more digits than a number keeps. */
    strbuf_printf(out, "\"%lld\"", (long long)record->id);
    cli_json_key(out, "key");
    cli_json_text(out, record->key);
    cli_json_key(out, "scopes");
    cli_json_texts(out, record->scopes, record->scope_count);
    cli_json_key(out, "value");
    if (record->value.data)
        strbuf_put(out, record->value.data, record->value.length);
    else
        strbuf_puts(out, "null");
    cli_json_key(out, "created_at");
    cli_json_time(out, record->created_ms);
    cli_json_key(out, "last_updated_at");
    cli_json_time(out, record->updated_ms);
    cli_json_key(out, "expires_at");
    cli_json_time(out, record->expires_ms);
    cli_json_key(out, "resume");
    strbuf_puts(out, record->resume ? "true" : "false");
    strbuf_putc(out, '}');
}

static void complain_missing(const Arguments *a)
{
    Strbuf scopes = STRBUF_INIT;
    for (int i = 0; i < a->scope_count; i++)
        strbuf_printf(&scopes, "%s%s", i ? ", " : "", a->scopes[i].data);
    cli_error("there is no record '%s' with %s in guild %llu", a->operands[0], strbuf_cstr(&scopes),
              (unsigned long long)a->guild_id);
    strbuf_free(&scopes);
}

/* One operation; NULL: it failed, or there is no such record, and a complaint was printed. */
static StoreRequest *operate(Store *store, const Arguments *a, StoreKvOp op)
{
    StoreRequest *request = cli_store_request(STORE_KV, a->guild_id);
    if (!request)
        return NULL;
    StoreKvOp *ops = store_request_alloc(request, sizeof(*ops));
    if (!ops) {
        cli_error("not enough memory");
        store_request_free(request);
        return NULL;
    }
    *ops = op;
    ops->which = (StoreSelector){
        .key = cli_text(a->operands[0]), .scopes = a->scopes, .scope_count = a->scope_count};
    request->ops = ops;
    request->op_count = 1;
    bool ok = cli_store_ask(store, request);
    if (request->status == STORE_NOT_FOUND ||
        (ok && op.kind != STORE_KV_SET && !ops->existed && ops->record.id == 0)) {
        complain_missing(a);
        ok = false;
    }
    if (ok)
        return request;
    store_request_free(request);
    return NULL;
}

static bool get(Store *store, const Arguments *a)
{
    StoreRequest *request = operate(store, a, (StoreKvOp){.kind = STORE_KV_GET});
    if (!request)
        return false;
    const StoreRecord *record = &request->ops[0].record;
    Strbuf out = STRBUF_INIT;
    if (a->json)
        put_json(&out, record);
    else
        strbuf_put(&out, record->value.data, record->value.length);
    bool ok = cli_json_end(&out);
    store_request_free(request);
    return ok;
}

static bool delete (Store *store, const Arguments *a)
{
    StoreRequest *request = operate(store, a, (StoreKvOp){.kind = STORE_KV_DELETE});
    if (request)
        printf("%s is deleted\n", a->operands[0]);
    store_request_free(request);
    return request != NULL;
}

/* The value as JSON; false: a complaint was printed. */
static bool read_value(const Arguments *a, Strbuf *out)
{
    if (a->string) {
        size_t bad = 0;
        bool fine = json_put_string(out, a->string, strlen(a->string), &bad);
        if (!fine)
            cli_error("kv set: --string: byte %zu is no UTF-8", bad + 1);
        return fine;
    }
    const char *text = a->operands[1];
    if (strcmp(text, "-") == 0) {
        int code = strbuf_readfile(out, "/dev/stdin", INPUT_MAX_BYTES);
        if (code != 0) {
            cli_fileerror("standard input", code, INPUT_MAX_BYTES >> 20);
            return false;
        }
    } else {
        strbuf_puts(out, text);
    }
    JsonReader r;
    json_open(&r, out->data, out->length);
    if (!json_skip(&r) || !json_end(&r)) {
        char why[128];
        json_describe(&r, why, sizeof(why));
        cli_error("kv set: the value is no JSON: %s. For a text: --string TEXT", why);
        return false;
    }
    return true;
}

static bool set(Store *store, const Arguments *a)
{
    Strbuf value = STRBUF_INIT;
    StoreKvOp op = {.kind = STORE_KV_SET, .expires_ms = STORE_NO_TIME};
    StoreRequest *request = NULL;
    if (a->resume || a->no_resume)
        op.resume = a->resume ? STORE_SET : STORE_CLEAR;
    if (a->expires && strcmp(a->expires, "never") == 0)
        op.expires = STORE_CLEAR;
    else if (a->expires)
        op.expires = STORE_SET;
    if (op.expires == STORE_SET && !cli_read_time("kv set: --expires", a->expires, &op.expires_ms))
        goto done;
    if (!read_value(a, &value))
        goto done;
    op.value = (Text){value.data, value.length};
    request = operate(store, a, op);
    if (request)
        printf("%s is %s, id %lld\n", a->operands[0], request->ops[0].existed ? "changed" : "made",
               (long long)request->ops[0].record.id);
done:
    store_request_free(request);
    strbuf_free(&value);
    return request != NULL;
}

/* ---- Finding ---------------------------------------------------------------------------------
 */

static void add_row(CliTable *table, const StoreRecord *record)
{
    char time[CLI_TIME_SIZE];
    Strbuf scopes = STRBUF_INIT;
    for (int i = 0; i < record->scope_count; i++) {
        strbuf_puts(&scopes, i > 0 ? ", " : "");
        strbuf_put(&scopes, record->scopes[i].data, record->scopes[i].length);
    }
    cli_cell_text(table, 0, record->key);
    cli_cell_text(table, 0, (Text){scopes.data, scopes.length});
    cli_cell(table, 0, "%s%s", record->expires_ms == STORE_NO_TIME ? "-" : "",
             cli_time(record->expires_ms, time));
    cli_cell(table, 0, "%s", record->resume ? "yes" : "-");
    cli_cell_text(table, VALUE_SHOWN, record->value);
    strbuf_free(&scopes);
}

static bool find(Store *store, const Arguments *a)
{
    static const char *const heads[] = {"KEY", "SCOPES", "EXPIRES", "RESUME", "VALUE"};
    CliTable table = {.columns = BASE_ARRAY_COUNT(heads)};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(heads); i++)
        cli_cell(&table, 0, "%s", heads[i]);
    Strbuf json = STRBUF_INIT;
    strbuf_putc(&json, '[');
    StoreRequest *page = NULL, *last = NULL;
    int count = 0;
    bool ok = true, more = true;
    while (ok && more) {
        page = cli_store_request(STORE_KV_FIND, a->guild_id);
        ok = page != NULL;
        if (!ok)
            break;
        page->pattern = cli_text(a->operands[0]);
        page->scopes = a->scopes;
        page->scope_count = a->scope_count;
        if (last)
            page->after = last->next;
        ok = cli_store_ask(store, page);
        for (int i = 0; ok && i < page->record_count; i++) {
            add_row(&table, &page->records[i]);
            if (a->json) {
                strbuf_puts(&json, count > 0 ? ",\n " : "");
                put_json(&json, &page->records[i]);
            }
            count++;
        }
        more = ok && page->next.data != NULL;
        store_request_free(last);
        last = page;
    }
    store_request_free(last);
    strbuf_putc(&json, ']');
    if (ok && !a->json && count == 0)
        puts("no records");
    bool show_table = ok && !a->json && count > 0;
    if (!show_table)
        cli_table_drop(&table);
    if (ok && a->json)
        return cli_json_end(&json);
    strbuf_free(&json);
    return show_table ? cli_table_end(&table) : ok;
}

static void put_scopes(Strbuf *out, const StoreRequest *page, bool json)
{
    for (int i = 0; i < page->text_count; i++) {
        if (json && out->length > 1)
            strbuf_putc(out, ',');
        if (json)
            cli_json_text(out, page->texts[i]);
        else
            strbuf_put(out, page->texts[i].data, page->texts[i].length);
        if (!json)
            strbuf_putc(out, '\n');
    }
}

static bool scopes(Store *store, const Arguments *a)
{
    Strbuf out = STRBUF_INIT;
    strbuf_puts(&out, a->json ? "[" : "");
    StoreRequest *last = NULL;
    bool ok = true, more = true;
    while (ok && more) {
        StoreRequest *page = cli_store_request(STORE_KV_SCOPES, a->guild_id);
        ok = page != NULL;
        if (ok && last)
            page->after = last->next;
        ok = ok && cli_store_ask(store, page);
        if (ok)
            put_scopes(&out, page, a->json);
        more = ok && page->next.data != NULL;
        store_request_free(last);
        last = page;
    }
    store_request_free(last);
    if (ok && a->json) {
        strbuf_putc(&out, ']');
        return cli_json_end(&out);
    }
    if (ok && out.failed)
        cli_error("not enough memory");
    else if (ok && out.length == 0)
        puts("no records");
    else if (ok)
        cli_print_text((Text){out.data, out.length});
    ok = ok && !out.failed;
    strbuf_free(&out);
    return ok;
}

/* ---- The command line ------------------------------------------------------------------------
 */

enum {
    STORE_FILE = 's',
    GUILD = 'g',
    SCOPE = 'p',
    JSON = 'j',
    STRING = 't',
    EXPIRES = 'e',
    RESUME = 'r',
    NO_RESUME = 'n'
};

/* `letters` are the options it takes beside those of the store, the guild and the scopes. */
static const struct Action {
    const char *name;
    bool (*run)(Store *store, const Arguments *a);
    const char *operands; /* what it wants, for complaints */
    const char *letters;
    bool makes; /* a store that is not there */
} ACTIONS[] = {
    {"get", get, "a KEY", "j", false},
    {"set", set, "a KEY and a value: JSON, or --string TEXT", "tern", true},
    {"delete", delete, "a KEY", "", false},
    {"find", find, "a PATTERN", "j", false},
    {"scopes", scopes, "nothing more", "j", false},
};

static const struct option OPTIONS[] = {{"store", required_argument, NULL, STORE_FILE},
                                        {"guild", required_argument, NULL, GUILD},
                                        {"scope", required_argument, NULL, SCOPE},
                                        {"json", no_argument, NULL, JSON},
                                        {"string", required_argument, NULL, STRING},
                                        {"expires", required_argument, NULL, EXPIRES},
                                        {"resume", no_argument, NULL, RESUME},
                                        {"no-resume", no_argument, NULL, NO_RESUME},
                                        {"help", no_argument, NULL, 'h'},
                                        {0}};

/* False: a complaint was printed. */
static bool take_option(Arguments *a, int option)
{
    switch (option) {
    case STORE_FILE: a->store = optarg; return true;
    case GUILD:
        a->has_guild = true;
        return cli_number("kv: --guild", optarg, 1, UINT64_MAX, &a->guild_id);
    case SCOPE: a->scopes[a->scope_count++] = cli_text(optarg); return true;
    case JSON: a->json = true; return true;
    case STRING: a->string = optarg; return true;
    case EXPIRES: a->expires = optarg; return true;
    case RESUME: a->resume = true; return true;
    default: a->no_resume = true; return true;
    }
}

static const struct Action *find_action(const char *name)
{
    for (size_t i = 0; name && i < BASE_ARRAY_COUNT(ACTIONS); i++)
        if (strcmp(ACTIONS[i].name, name) == 0)
            return &ACTIONS[i];
    if (name)
        cli_error("kv: there is no '%s'; there are get, set, delete, find and scopes. See "
                  "template-worker kv --help",
                  name);
    else
        cli_error("kv: what about it? See template-worker kv --help");
    return NULL;
}

static bool fits(const struct Action *action, const Arguments *a, const bool *given)
{
    for (const struct option *o = OPTIONS; o->name; o++)
        if (given[o->val] && o->val != STORE_FILE && o->val != GUILD &&
            (o->val != SCOPE || action->run == scopes) && !strchr(action->letters, o->val)) {
            cli_error("kv %s: it does not take --%s. See template-worker kv --help", action->name,
                      o->name);
            return false;
        }
    int wanted = action->run == scopes ? 0 : action->run == set && !a->string ? 2 : 1;
    if (a->operand_count != wanted)
        cli_error("kv %s: expected %s. See template-worker kv --help", action->name,
                  action->operands);
    else if (!a->has_guild)
        cli_error("kv %s: which guild? Name it with --guild ID", action->name);
    else if (a->scope_count == 0 && action->run != scopes)
        cli_error("kv %s: which scopes? Name one at least with --scope SCOPE (kv scopes "
                  "lists them)",
                  action->name);
    else if (a->resume && a->no_resume)
        cli_error("kv %s: --resume or --no-resume, not both", action->name);
    else
        return true;
    return false;
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
    a->operand_count = argc - optind - 1;
    if (!action || !fits(action, a, given))
        return EXIT_USAGE;
    Store *store = cli_store_open(cli_store_path(a->store), action->makes);
    bool ok = store && action->run(store, a);
    cli_store_close(store);
    return cli_finish(ok);
}

int cmd_kv(int argc, char **argv)
{
    Arguments a = {.scopes = calloc((size_t)argc, sizeof(Text))};
    int status = EXIT_WORK_FAILED;
    if (a.scopes)
        status = run(argc, argv, &a);
    else
        cli_error("not enough memory");
    free(a.scopes);
    return status;
}
