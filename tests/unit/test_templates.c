/* The folder of templates: what is in it, what it says, what events match, and changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/clock.h"
#include "worker/templates.h"

typedef struct Bench {
    KhronosSandbox *sandbox;
    TemplateCache *cache;
    char folder[64];
} Bench;

static void path_in(const Bench *b, const char *name, char out[256])
{
    snprintf(out, 256, "%s/%s", b->folder, name);
}

/* Also makes the folder of `many/part.luau`. */
static void write_file(const Bench *b, const char *name, const char *text)
{
    char path[256];
    path_in(b, name, path);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    mkdir(path, 0755);
    *slash = '/';
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void remove_file(const Bench *b, const char *name)
{
    char path[256];
    path_in(b, name, path);
    assert_int_equal(remove(path), 0);
}

static void remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (struct dirent *item; (item = readdir(dir)) != NULL;) {
        char inner[512];
        snprintf(inner, sizeof(inner), "%s/%s", path, item->d_name);
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        if (unlink(inner) != 0)
            remove_folder(inner);
    }
    closedir(dir);
    rmdir(path);
}

static int set_up(void **state)
{
    char error[256];
    Bench *b = calloc(1, sizeof(*b));
    snprintf(b->folder, sizeof(b->folder), P_tmpdir "/templates-XXXXXX");
    b->sandbox = sandbox_new(NULL, 0, error, sizeof(error));
    *state = b;
    return b->sandbox && mkdtemp(b->folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    Bench *b = *state;
    templates_close(b->cache);
    sandbox_release(b->sandbox);
    remove_folder(b->folder);
    free(b);
    return 0;
}

static void open_cache(Bench *b)
{
    char error[256] = "";
    b->cache = templates_open(b->sandbox, b->folder, error, sizeof(error));
    if (!b->cache)
        fail_msg("%s", error);
}

static KhronosTemplate *get(Bench *b, const char *name)
{
    KhronosTemplate *t = templates_get(b->cache, name, strlen(name));
    if (!t)
        fail_msg("no template %s", name);
    return t;
}

/* Under load the kernel is asked once a millisecond only: waits until the change must be seen. */
static void settle(void)
{
    struct timespec pause = {0, 3 * (long)CLOCK_NS_PER_MS};
    nanosleep(&pause, NULL);
}

static void expect_problem(Bench *b, const char *name, const char *problem)
{
    settle();
    KhronosTemplate *t = get(b, name);
    const char *text = template_problem(t);
    if ((text != NULL) != (problem != NULL) || (text && strcmp(text, problem) != 0))
        fail_msg("%s\nexpected %s\ngot      %s", name, problem ? problem : "nothing",
                 text ? text : "nothing");
    template_release(t);
}

static void expect_version(Bench *b, const char *name, uint32_t version)
{
    settle();
    KhronosTemplate *t = get(b, name);
    assert_int_equal(template_version(t), version);
    template_release(t);
}

/* `names`: of those that match, each with a blank behind it. */
static void expect_match(Bench *b, const char *event_name, const char *scopes, const char *names)
{
    KhronosEvent event = {.name = {event_name, strlen(event_name)}, .base_name = {"Base", 4}};
    TemplateLookup lookup = {.guild_id = 7, .event = &event};
    char text[1024];
    size_t length = 0;
    if (scopes)
        event.scopes = (EventText){scopes, strlen(scopes)};
    settle();
    TemplateSource source = templates_source(b->cache);
    assert_true(source.look_up(source.self, &lookup));
    text[0] = '\0';
    for (int i = 0; i < lookup.count; i++)
        length += (size_t)snprintf(text + length, sizeof(text) - length, "%s ",
                                   template_name(lookup.found[i]));
    template_lookup_free(&lookup);
    assert_string_equal(text, names);
}

/* ---- Matching ---------------------------------------------------------------------------------
 */

static void test_match_order(void **state)
{
    Bench *b = *state;
    write_file(b, "zebra.luau", "return 1");
    write_file(b, "zebra.json", "{\"events\": [\"Message\", \"Ping\"]}");
    write_file(b, "ant/init.luau", "return 1");
    write_file(b, "ant/template.json", "{\"events\": [\"Message[staff]\", \"Base[all]\"]}");
    write_file(b, "ape.luau", "return 1");
    write_file(b, "ape.json", "{\"events\": [\"Message\", \"Message[staff]\"]}");
    write_file(b, "off.luau", "return 1");
    write_file(b, "off.json", "{\"events\": [\"Message\"], \"enabled\": false}");
    write_file(b, "none.luau", "return 1");
    write_file(b, "none.json", "{}");
    write_file(b, "silent.luau", "return 1");
    write_file(b, "base.luau", "return 1");
    write_file(b, "base.json", "{\"events\": [\"Base\"]}");
    open_cache(b);
    expect_match(b, "Message", NULL, "ape base zebra ");
    expect_match(b, "Message", "[\"staff\"]", "ant ape base zebra ");
    expect_match(b, "Message", "[\"guest\", \"all\"]", "ant ape base zebra ");
    expect_match(b, "Ping", NULL, "base zebra ");
    expect_match(b, "Pong", "[\"staff\"]", "base ");
    write_file(b, "base.json", "{\"enabled\": false}");
    expect_match(b, "Pong", NULL, "");
    expect_match(b, "Pong", "[\"all\"]", "ant ");

    TemplateSource source = templates_source(b->cache);
    TemplateLookup lookup = {.guild_id = 1, .name = {"ant", 3}};
    assert_true(source.look_up(source.self, &lookup));
    assert_int_equal(lookup.count, 1);
    assert_string_equal(template_name(lookup.found[0]), "ant");
    assert_string_equal(template_meta(lookup.found[0])->capabilities[0], "*");
    template_lookup_free(&lookup);
    lookup.name.length = 2;
    assert_true(source.look_up(source.self, &lookup));
    assert_int_equal(lookup.count, 0);
    assert_false(lookup.failed);
}

/* ---- Metadata ---------------------------------------------------------------------------------
 */

static void test_problems(void **state)
{
    Bench *b = *state;
    write_file(b, "one.luau", "return 1");
    write_file(b, "one.json", "{\"events\": [\"Message\", \"Ping[\"]}");
    write_file(b, "many/init.luau", "return 1");
    write_file(b, "many/template.json", "{\"event\": []}");
    write_file(b, "beside/init.luau", "return 1");
    write_file(b, "beside.json", "{}");
    write_file(b, "headless/template.json", "{}");
    write_file(b, "headless/part.luau", "return 1");
    write_file(b, "data/notes.txt", "no template");
    write_file(b, "stray.json", "no template, and nobody reads it");
    open_cache(b);
    expect_problem(b, "one",
                   "one.json: /events/1: \"Ping[\": the bracket is not closed: Name[scope]");
    expect_problem(b, "many",
                   "many/template.json: /event: unknown field; did you mean \"events\"?");
    expect_problem(b, "beside",
                   "beside.json stands beside the folder; its place is beside/template.json");
    expect_problem(b, "headless", "headless has no init.luau");
    expect_match(b, "Message", NULL, "");
    char name[TEMPLATE_NAME_SIZE];
    assert_false(templates_example(b->cache, name)); /* nothing that could run */

    write_file(b, "one.json", "{\"events\": [\"Message\", \"Ping[x]\"]}");
    expect_problem(b, "one", NULL);
    expect_match(b, "Message", NULL, "one ");
    write_file(b, "many/template.json", "{\"events\": [\"Message\"]}");
    expect_match(b, "Message", NULL, "many one ");
    remove_file(b, "beside.json");
    expect_problem(b, "beside", NULL);
    write_file(b, "headless/init.luau", "return 1");
    expect_problem(b, "headless", NULL);
    write_file(b, "one/init.luau", "return 1");
    expect_problem(b, "one", "there are both a file and a folder of this name");
    expect_match(b, "Message", NULL, "many ");
    remove_file(b, "one/init.luau");
    expect_problem(b, "one", NULL);
    Strbuf large = STRBUF_INIT;
    strbuf_puts(&large, "{\"description\": \"");
    while (large.length <= (256 << 10))
        strbuf_puts(&large, "0123456789abcdef0123456789abcdef");
    write_file(b, "one.json", strbuf_cstr(&large));
    strbuf_free(&large);
    expect_problem(b, "one", "one.json: larger than it may be (256 KiB)");
}

/* Whoever writes sees the change at the next look-up: of the .json as of the source. */
static void test_changes(void **state)
{
    Bench *b = *state;
    write_file(b, "one.luau", "return 1");
    write_file(b, "many/init.luau", "return 1");
    open_cache(b);
    KhronosTemplate *old = get(b, "one");
    expect_match(b, "Ping", NULL, "");
    write_file(b, "one.json", "{\"events\": [\"Ping\"], \"description\": \"new\"}");
    expect_match(b, "Ping", NULL, "one ");
    expect_version(b, "one", 2);
    write_file(b, "many/template.json", "{\"events\": [\"Ping\"]}");
    expect_match(b, "Ping", NULL, "many one ");
    expect_version(b, "many", 2);
    expect_version(b, "one", 2); /* the other one stays as it is */
    write_file(b, "one.json", "{\"events\": [\"Pong\"]}");
    expect_match(b, "Ping", NULL, "many ");
    expect_match(b, "Pong", NULL, "one ");
    remove_file(b, "one.json");
    expect_match(b, "Pong", NULL, "");
    expect_version(b, "one", 4);
    remove_file(b, "many/init.luau");
    remove_file(b, "many/template.json");
    expect_match(b, "Ping", NULL, "");
    assert_null(templates_get(b->cache, "many", 4));
    assert_int_equal(template_version(old), 1);
    assert_null(template_meta(old)->description);
    template_release(old);
}

/* ---- Versions and their code ------------------------------------------------------------------
 */

static luau_Module *module_of(KhronosTemplate *t, const char *path)
{
    luau_Diagnostic diagnostic;
    luau_Module *module = template_module(t, template_find(t, path), &diagnostic);
    assert_non_null(module);
    return module;
}

static uint64_t compilations(const Bench *b)
{
    CodeCacheStats stats;
    codecache_stats(sandbox_codecache(b->sandbox), &stats);
    return stats.compilations;
}

static void test_unchanged_files_share(void **state)
{
    Bench *b = *state;
    write_file(b, "many/init.luau", "return require('./part')");
    write_file(b, "many/part.luau", "return 1");
    write_file(b, "many/.luaurc", "{\"aliases\": {\"p\": \"./part\"}}");
    open_cache(b);
    assert_int_equal(compilations(b), 0);
    KhronosTemplate *old = get(b, "many");
    luau_Module *init = module_of(old, "init.luau"), *part = module_of(old, "part.luau");
    assert_int_equal(compilations(b), 2);
    write_file(b, "many/part.luau", "return 2");
    settle();
    KhronosTemplate *new = get(b, "many");
    assert_int_equal(template_version(new), 2);
    assert_ptr_equal(module_of(new, "init.luau"), init);
    assert_ptr_not_equal(module_of(new, "part.luau"), part);
    assert_ptr_equal(module_of(old, "part.luau"), part); /* who holds a version keeps it */
    assert_int_equal(compilations(b), 3);
    size_t length;
    assert_null(template_source(new, template_find(new, "init.luau"), &length));
    assert_string_equal(template_source(new, template_find(new, ".luaurc"), &length),
                        "{\"aliases\": {\"p\": \"./part\"}}");
    write_file(b, "many/template.json", "{\"events\": []}"); /* no code at all is new */
    settle();
    KhronosTemplate *newest = get(b, "many");
    assert_int_equal(template_version(newest), 3);
    assert_ptr_equal(module_of(newest, "init.luau"), init);
    assert_ptr_equal(module_of(newest, "part.luau"), module_of(new, "part.luau"));
    assert_int_equal(compilations(b), 3);
    assert_int_equal(template_find(newest, "template.json"), -1); /* no file for require */
    template_release(old);
    template_release(new);
    template_release(newest);
}

static void test_kept_sources(void **state)
{
    Bench *b = *state;
    size_t length;
    write_file(b, "one.luau", "return 1");
    write_file(b, "one.json", "{\"events\": [\"Ping\"]}");
    open_cache(b);
    KhronosTemplate *before = get(b, "one");
    module_of(before, "init.luau");
    templates_keepsources(b->cache);
    KhronosTemplate *t = get(b, "one");
    assert_int_equal(template_version(t), 1);
    assert_ptr_equal(module_of(t, "init.luau"), module_of(before, "init.luau"));
    assert_string_equal(template_source(t, 0, &length), "return 1");
    assert_null(template_source(before, 0, &length));
    template_release(before);
    template_release(t);
    expect_match(b, "Ping", NULL, "one ");
    write_file(b, "one.luau", "return 2");
    expect_version(b, "one", 2);
    t = get(b, "one");
    module_of(t, "init.luau");
    assert_string_equal(template_source(t, 0, &length), "return 2");
    template_release(t);
}

static void test_too_many(void **state)
{
    Bench *b = *state;
    char name[32], json[64];
    for (int i = 0; i < TEMPLATES_PER_GUILD_MAX + 2; i++) {
        snprintf(name, sizeof(name), "t%02d.luau", i);
        write_file(b, name, "return 1");
        snprintf(name, sizeof(name), "t%02d.json", i);
        snprintf(json, sizeof(json), "{\"events\": [\"All\", \"E%d\"]}", i);
        write_file(b, name, json);
    }
    open_cache(b);
    KhronosEvent event = {.name = {"All", 3}};
    TemplateLookup lookup = {.guild_id = 1, .event = &event};
    TemplateSource source = templates_source(b->cache);
    assert_true(source.look_up(source.self, &lookup));
    assert_int_equal(lookup.count, TEMPLATES_PER_GUILD_MAX);
    for (int i = 0; i < lookup.count; i++) {
        snprintf(name, sizeof(name), "t%02d", i);
        assert_string_equal(template_name(lookup.found[i]), name);
    }
    template_lookup_free(&lookup);
    expect_problem(b, "t63", NULL);
    expect_match(b, "E63", NULL, "t63 ");
    expect_problem(b, "t64", NULL); /* it can be called by name all the same */
    expect_match(b, "E64", NULL, "");
    expect_match(b, "E65", NULL, "");
    remove_file(b, "t10.luau"); /* one moves up */
    expect_match(b, "E64", NULL, "t64 ");
    expect_match(b, "E65", NULL, "");
    write_file(b, "a.luau", "return 1"); /* who does not listen takes no place */
    expect_match(b, "E64", NULL, "t64 ");
    write_file(b, "a.json", "{\"events\": [\"All\"]}"); /* and down again */
    expect_match(b, "E64", NULL, "");
}

static void test_load(void **state)
{
    Bench *b = *state;
    char path[256], error[512], expected[512];
    write_file(b, "one.luau", "return 1");
    write_file(b, "one.json", "{\"capabilities\": [\"kv:*\"]}");
    path_in(b, "one.luau", path);
    KhronosTemplate *t = templates_load(b->sandbox, path, error, sizeof(error));
    assert_non_null(t);
    size_t length;
    module_of(t, "init.luau");
    assert_string_equal(template_source(t, 0, &length), "return 1");
    assert_string_equal(template_meta(t)->capabilities[0], "kv:*");
    template_release(t);
    write_file(b, "many/init.luau", "return 1");
    write_file(b, "many/template.json", "{\"enable\": true}");
    path_in(b, "many/", path);
    assert_null(templates_load(b->sandbox, path, error, sizeof(error)));
    snprintf(expected, sizeof(expected),
             "%s/many/template.json: /enable: unknown field; did you mean \"enabled\"?", b->folder);
    assert_string_equal(error, expected);
    path_in(b, "absent.luau", path);
    assert_null(templates_load(b->sandbox, path, error, sizeof(error)));
    assert_non_null(strstr(error, "absent.luau: No such file"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_match_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_problems, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unchanged_files_share, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kept_sources, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_too_many, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_load, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("templates", tests, NULL, NULL);
}
