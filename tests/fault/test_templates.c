/* Templates with one allocation of the C library failing: files, metadata, code, the folder and its
 * changes. Whatever fails is told; nothing is lost; the next try goes well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "fault_support.h"
#include "worker/templates.h"

static KhronosSandbox *sandbox;

static int set_up(void **state)
{
    char error[256];
    (void)state;
    sandbox = sandbox_new(NULL, 0, error, sizeof(error));
    return sandbox ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sandbox_release(sandbox);
    return 0;
}

/* Nothing is in use any more, and what was compiled is forgotten. */
static void forget_code(void)
{
    CodeCacheStats stats;
    codecache_trim(sandbox_codecache(sandbox), 0);
    codecache_stats(sandbox_codecache(sandbox), &stats);
    assert_int_equal(stats.used, 0);
    assert_int_equal(stats.unused, 0);
    assert_int_equal(stats.unused_bytes, 0);
}

static bool fill(KhronosTemplate *t, char *error, size_t size)
{
    static const char *const events[] = {"A", "B[x]"};
    static const TemplateMeta meta = {
        .description = "text", .events = events, .event_count = 2, .enabled = true};
    /* Taken care of by the callee, also when there was no memory for it. */
    return template_addfile(t, "init.luau", NULL, strdup("return {1, 2}"), 13, error, size) &&
           template_addfile(t, ".luaurc", NULL, strdup("{}"), 2, error, size) &&
           template_setmeta(t, &meta, error, size);
}

/* The whole life of a template; false: something failed, and was told. */
static bool live(void)
{
    char error[256] = "";
    luau_Diagnostic diagnostic = {.message = ""};
    KhronosTemplate *t = template_new(sandbox, "t", 1, "t/");
    if (!t)
        return false;
    bool good = fill(t, error, sizeof(error));
    if (!good)
        assert_string_equal(error, "not enough memory");
    if (good) {
        KhronosEvent event = {.name = {"A", 1}};
        assert_true(template_matches(t, &event));
        good = template_module(t, template_entry(t), &diagnostic) != NULL;
        if (!good) {
            assert_string_equal(diagnostic.message, "not enough memory");
            assert_non_null(template_module(t, template_entry(t), &diagnostic)); /* now it goes */
        }
    }
    template_release(t);
    return good;
}

static void test_template(void **state)
{
    (void)state;
    long k = 1;
    for (bool fired = true; fired; k++) {
        fault_arm(k);
        bool good = live();
        fired = fault_disarm();
        assert_true(good || fired);
        forget_code();
    }
    assert_true(k > 8);
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* How many match; they are released. */
static int match(TemplateCache *cache, const KhronosEvent *event, bool compile)
{
    TemplateLookup lookup = {.guild_id = 1, .event = event};
    TemplateSource source = templates_source(cache);
    assert_true(source.look_up(source.self, &lookup));
    int count = lookup.count;
    for (int i = 0; i < count && compile; i++) {
        luau_Diagnostic diagnostic;
        KhronosTemplate *t = lookup.found[i];
        assert_non_null(template_module(t, template_entry(t), &diagnostic));
    }
    template_lookup_free(&lookup);
    return count;
}

/* Opens the folder and asks for what is in it while the k-th allocation fails, then after. */
static bool open_and_match(const char *folder, long k)
{
    char error[256] = "";
    KhronosEvent event = {.name = {"Ping", 4}};
    fault_arm(k);
    TemplateCache *cache = templates_open(sandbox, folder, error, sizeof(error));
    int count = cache ? match(cache, &event, false) : 0;
    bool fired = fault_disarm();
    if (!cache)
        assert_true(fired && error[0] != '\0');
    assert_true(fired || count == 2);
    /* A version made without memory has that as its problem; a save makes the next one. */
    if (cache) {
        char text[64];
        snprintf(text, sizeof(text), "return %ld", k);
        write_file(folder, "one.luau", text);
        write_file(folder, "many/init.luau", text);
        assert_int_equal(match(cache, &event, true), 2);
    }
    templates_close(cache);
    forget_code();
    return fired;
}

static void test_folder(void **state)
{
    (void)state;
    char folder[] = P_tmpdir "/templates-XXXXXX", path[128];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/many", folder);
    assert_int_equal(mkdir(path, 0755), 0);
    write_file(folder, "one.luau", "return 1");
    write_file(folder, "one.json", "{\"events\": [\"Ping\"]}");
    write_file(folder, "many/init.luau", "return 1");
    write_file(folder, "many/template.json", "{\"events\": [\"Ping[x]\", \"Ping\"]}");
    long k = 1;
    while (open_and_match(folder, k))
        k++;
    assert_true(k > 15);
    static const char *const files[] = {"one.luau",           "one.json", "many/init.luau",
                                        "many/template.json", "many",     ""};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(files); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
        assert_int_equal(remove(path), 0);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_template),
        cmocka_unit_test(test_folder),
    };
    return cmocka_run_group_tests_name("fault-templates", tests, set_up, tear_down);
}
