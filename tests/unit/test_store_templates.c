/* The store's templates: loads and who waits for them, changes that overtake loads, what is hidden
 * by what, what stays and what goes, failures; and the check of what is to be saved. */
#include <setjmp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/random.h"
#include "../fake_store.h"
#include "worker/store_templates.h"

enum { GUILD = 7 };

typedef struct Bench {
    KhronosSandbox *sandbox;
    FakeStore fake;
    StoreTemplates *templates;
    TemplateSource source;
} Bench;

static Bench *open_bench(size_t bytes_max, bool keep_sources)
{
    char error[256];
    Bench *b = calloc(1, sizeof(*b));
    b->sandbox = sandbox_new(NULL, 0, error, sizeof(error));
    fake_store_init(&b->fake);
    b->templates = store_templates_new(b->sandbox, bytes_max, keep_sources);
    assert_non_null(b->templates);
    store_templates_use(b->templates, &b->fake.store);
    b->source = store_templates_source(b->templates);
    return b;
}

static int set_up(void **state)
{
    *state = open_bench((size_t)64 << 20, false);
    return 0;
}

static void load_all(Bench *b)
{
    while (fake_store_waiting(&b->fake) > 0)
        fake_store_load(&b->fake);
}

static int tear_down(void **state)
{
    Bench *b = *state;
    load_all(b); /* of a test that failed */
    store_templates_stop(b->templates);
    store_stop(&b->fake.store);
    store_templates_free(b->templates);
    fake_store_free(&b->fake);
    sandbox_release(b->sandbox);
    free(b);
    return 0;
}

static void put(Bench *b, uint64_t guild_id, const char *name, uint32_t version, const char *event)
{
    FakeStored stored = {guild_id, name, version, "return 1", event, NULL, 0, false};
    fake_store_put(&b->fake, &stored);
}

/* A question, and how often it was answered later. */
typedef struct Asker {
    TemplateLookup lookup;
    KhronosEvent event;
    int completions;
    int *order; /* counts answers; `place` is its number */
    int place;
} Asker;

static void on_found(TemplateLookup *lookup)
{
    Asker *asker = lookup->userdata;
    asker->completions++;
    if (asker->order)
        asker->place = ++*asker->order;
}

static Text text_of(const char *text)
{
    return (Text){text, text ? strlen(text) : 0};
}

static bool ask(Bench *b, Asker *asker, uint64_t guild_id, const char *name, const char *event)
{
    asker->event = (KhronosEvent){.name = text_of(event), .base_name = {"Base", 4}};
    asker->lookup = (TemplateLookup){.guild_id = guild_id,
                                     .name = text_of(name),
                                     .event = event ? &asker->event : NULL,
                                     .complete = on_found,
                                     .userdata = asker};
    return b->source.look_up(b->source.self, &asker->lookup);
}

/* "name:version " of each; the question is over. */
static void expect(Asker *asker, const char *names)
{
    char text[1024] = "";
    size_t length = 0;
    assert_false(asker->lookup.failed);
    for (int i = 0; i < asker->lookup.count; i++)
        length += (size_t)snprintf(text + length, sizeof(text) - length, "%s:%u ",
                                   template_name(asker->lookup.found[i]),
                                   template_version(asker->lookup.found[i]));
    assert_string_equal(text, names);
    template_lookup_free(&asker->lookup);
}

/* Asks, has all loads answered that it needs, and expects these. */
static void expect_match(Bench *b, uint64_t guild_id, const char *event, const char *names)
{
    Asker asker = {0};
    bool at_once = ask(b, &asker, guild_id, NULL, event);
    load_all(b);
    assert_int_equal(asker.completions, at_once ? 0 : 1);
    expect(&asker, names);
}

static void expect_name(Bench *b, uint64_t guild_id, const char *name, const char *names)
{
    Asker asker = {0};
    bool at_once = ask(b, &asker, guild_id, name, NULL);
    load_all(b);
    assert_int_equal(asker.completions, at_once ? 0 : 1);
    expect(&asker, names);
}

/* ---- Loads ------------------------------------------------------------------------------------
 */

static void test_one_load_for_many(void **state)
{
    Bench *b = *state;
    Asker askers[10] = {0};
    int order = 0;
    put(b, GUILD, "a", 3, "Ping");
    put(b, 0, "common", 1, "Ping");
    for (int i = 0; i < 10; i++) {
        askers[i].order = &order;
        assert_false(ask(b, &askers[i], GUILD, i % 2 ? "a" : NULL, i % 2 ? NULL : "Ping"));
    }
    assert_int_equal(fake_store_submitted(&b->fake), 2); /* the guild, and guild 0 */
    fake_store_load(&b->fake);
    assert_int_equal(order, 0);
    fake_store_load(&b->fake);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(askers[i].completions, 1);
        assert_int_equal(askers[i].place, i + 1);
        expect(&askers[i], i % 2 ? "a:3 " : "a:3 common:1 ");
    }
    Asker again = {0}; /* from here on it is there */
    assert_true(ask(b, &again, GUILD, NULL, "Ping"));
    expect(&again, "a:3 common:1 ");
    assert_true(ask(b, &again, GUILD, "none", NULL));
    expect(&again, "");
    expect_match(b, GUILD + 1, "Ping", "common:1 "); /* loads itself only */
    assert_int_equal(fake_store_submitted(&b->fake), 3);
    expect_match(b, GUILD + 1, "Pong", "");
    assert_int_equal(fake_store_submitted(&b->fake), 3);
}

static void test_question_that_cannot_wait(void **state)
{
    Bench *b = *state;
    TemplateLookup lookup = {.guild_id = GUILD, .name = {"a", 1}};
    put(b, GUILD, "a", 1, NULL);
    assert_false(b->source.look_up(b->source.self, &lookup));
    assert_int_equal(fake_store_submitted(&b->fake), 0);
    expect_name(b, GUILD, "a", "a:1 ");
    assert_true(b->source.look_up(b->source.self, &lookup));
    assert_int_equal(lookup.count, 1);
    template_lookup_free(&lookup);
    store_templates_changed(b->templates, GUILD, false);
    assert_false(b->source.look_up(b->source.self, &lookup));
}

/* What was read before the change is never an answer. */
static void test_change_overtakes_load(void **state)
{
    Bench *b = *state;
    Asker first = {0}, second = {0};
    put(b, GUILD, "a", 1, NULL);
    expect_name(b, GUILD + 1, "x", ""); /* guild 0 is there */
    assert_false(ask(b, &first, GUILD, "a", NULL));
    StoreRequest *old = fake_store_take(&b->fake);
    fake_store_fill(&b->fake, old);
    put(b, GUILD, "a", 2, NULL);
    store_templates_changed(b->templates, GUILD, false);
    assert_false(ask(b, &second, GUILD, "a", NULL)); /* waits with it */
    fake_store_answer(old, STORE_OK, NULL);
    assert_int_equal(first.completions + second.completions, 0);
    assert_int_equal(fake_store_waiting(&b->fake), 1); /* it is loaded again */
    old = fake_store_take(&b->fake);
    fake_store_fill(&b->fake, old);
    put(b, GUILD, "a", 3, NULL);
    store_templates_changed(b->templates, 0, true); /* the same when any may have changed */
    fake_store_answer(old, STORE_OK, NULL);
    assert_int_equal(first.completions + second.completions, 0);
    load_all(b);
    assert_int_equal(first.completions, 1);
    assert_int_equal(second.completions, 1);
    expect(&first, "a:3 ");
    expect(&second, "a:3 ");
    /* Guild 0, while the guild is there. */
    store_templates_changed(b->templates, 0, false);
    assert_false(ask(b, &first, GUILD, NULL, "Ping"));
    put(b, 0, "common", 1, "Ping");
    load_all(b);
    expect(&first, "common:1 ");
    /* A load that nobody waits for any more is not done again. */
    store_templates_changed(b->templates, GUILD, false);
    int submitted = fake_store_submitted(&b->fake);
    assert_int_equal(fake_store_waiting(&b->fake), 0);
    assert_int_equal(fake_store_submitted(&b->fake), submitted);
}

static void test_unchanged_objects_stay(void **state)
{
    Bench *b = *state;
    Asker before = {0}, after = {0};
    put(b, GUILD, "a", 1, "Ping");
    put(b, GUILD, "b", 1, "Ping");
    put(b, GUILD, "c", 1, "Ping");
    ask(b, &before, GUILD, NULL, "Ping");
    load_all(b);
    assert_int_equal(before.lookup.count, 3);
    put(b, GUILD, "b", 2, "Ping");
    fake_store_remove(&b->fake, GUILD, "c");
    store_templates_changed(b->templates, GUILD, false);
    ask(b, &after, GUILD, NULL, "Ping");
    load_all(b);
    assert_int_equal(after.lookup.count, 2);
    assert_ptr_equal(after.lookup.found[0], before.lookup.found[0]);
    assert_ptr_not_equal(after.lookup.found[1], before.lookup.found[1]);
    expect(&after, "a:1 b:2 ");
    expect(&before, "a:1 b:1 c:1 "); /* who holds the old ones keeps them */
}

/* ---- What hides what --------------------------------------------------------------------------
 */

static void test_own_hide_common(void **state)
{
    Bench *b = *state;
    FakeStored off = {GUILD, "b", 9, "return 1", "Ping", NULL, 0, true};
    put(b, 0, "a", 1, "Ping");
    put(b, 0, "b", 1, "Ping");
    put(b, 0, "c", 1, "Ping");
    put(b, 0, "e", 1, "Base");
    put(b, GUILD, "c", 5, "Pong"); /* listens to something else, and hides it all the same */
    put(b, GUILD, "d", 6, "Ping");
    fake_store_put(&b->fake, &off);
    expect_match(b, GUILD, "Ping", "a:1 d:6 e:1 ");
    expect_match(b, GUILD, "Pong", "c:5 e:1 ");
    expect_match(b, GUILD + 1, "Ping", "a:1 b:1 c:1 e:1 ");
    expect_name(b, GUILD, "a", "a:1 ");
    expect_name(b, GUILD, "b", "b:9 "); /* it listens to nothing, but can be called */
    expect_name(b, GUILD, "c", "c:5 ");
    expect_name(b, GUILD + 1, "c", "c:1 ");
    off.guild_id = 0;
    off.name = "a";
    fake_store_put(&b->fake, &off);
    store_templates_changed(b->templates, 0, false);
    expect_match(b, GUILD + 1, "Ping", "b:1 c:1 e:1 ");
}

static void test_event_bound(void **state)
{
    Bench *b = *state;
    static char names[2][TEMPLATES_PER_GUILD_MAX][16];
    for (int i = 0; i < TEMPLATES_PER_GUILD_MAX - 2; i++) {
        snprintf(names[0][i], sizeof(names[0][i]), "own%02d", i);
        snprintf(names[1][i], sizeof(names[1][i]), "any%02d", i);
        put(b, GUILD, names[0][i], 1, "Ping");
        put(b, 0, names[1][i], 1, "Ping");
    }
    Asker asker = {0};
    ask(b, &asker, GUILD, NULL, "Ping");
    load_all(b);
    assert_int_equal(asker.lookup.count, TEMPLATES_PER_GUILD_MAX);
    assert_string_equal(template_name(asker.lookup.found[0]), "any00");
    assert_string_equal(template_name(asker.lookup.found[1]), "any01");
    for (int i = 2; i < TEMPLATES_PER_GUILD_MAX; i++)
        assert_string_equal(template_name(asker.lookup.found[i]), names[0][i - 2]);
    template_lookup_free(&asker.lookup);
}

static void test_problems(void **state)
{
    Bench *b = *state;
    const StoreFile headless[] = {{{"part.luau", 9}, {"return 1", 8}}};
    FakeStored stored = {GUILD, "bad", 1, "", "Ping", headless, 1, false};
    fake_store_put(&b->fake, &stored);
    put(b, GUILD, "label", 1, "Ping[");
    put(b, GUILD, "no name", 1, "Ping");
    put(b, GUILD, "good", 1, "Ping");
    expect_match(b, GUILD, "Ping", "good:1 ");
    Asker asker = {0};
    assert_true(ask(b, &asker, GUILD, "bad", NULL));
    assert_string_equal(template_problem(asker.lookup.found[0]), "there is no init.luau");
    template_lookup_free(&asker.lookup);
    assert_true(ask(b, &asker, GUILD, "label", NULL));
    assert_non_null(strstr(template_problem(asker.lookup.found[0]), "/events/0"));
    template_lookup_free(&asker.lookup);
}

/* ---- Failures and the end ---------------------------------------------------------------------
 */

static void test_failures(void **state)
{
    Bench *b = *state;
    Asker asker = {0}, other = {0};
    put(b, GUILD, "a", 1, NULL);
    assert_false(ask(b, &asker, GUILD, "a", NULL));
    assert_false(ask(b, &other, GUILD, "a", NULL));
    fake_store_answer(fake_store_take(&b->fake), STORE_CORRUPT, "page 7 is garbage");
    Asker *both[] = {&asker, &other};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(both[i]->completions, 1);
        assert_true(both[i]->lookup.failed);
        assert_int_equal(both[i]->lookup.count, 0);
        assert_non_null(strstr(both[i]->lookup.message, store_status_text(STORE_CORRUPT)));
        assert_null(strstr(both[i]->lookup.message, "page 7")); /* that is for operators */
        template_lookup_free(&both[i]->lookup);
    }
    load_all(b);                        /* guild 0 */
    expect_name(b, GUILD, "a", "a:1 "); /* the next one tries again */

    store_templates_changed(b->templates, GUILD, false);
    b->fake.refusal = STORE_QUEUE_FULL; /* inside store_submit */
    asker = (Asker){0};
    assert_false(ask(b, &asker, GUILD, "a", NULL));
    assert_int_equal(asker.completions, 1);
    assert_true(asker.lookup.failed);
    b->fake.refusal = STORE_OK;
    expect_name(b, GUILD, "a", "a:1 ");
}

typedef struct Stopper {
    Bench *b;
    atomic_bool stopped;
} Stopper;

static void *stop_main(void *arg)
{
    Stopper *stopper = arg;
    store_templates_stop(stopper->b->templates);
    atomic_store(&stopper->stopped, true);
    return NULL;
}

static void test_stop_waits(void **state)
{
    Bench *b = *state;
    Asker asker = {0}, late = {0};
    Stopper stopper = {.b = b};
    pthread_t thread;
    put(b, GUILD, "a", 1, NULL);
    assert_false(ask(b, &asker, GUILD, "a", NULL));
    assert_int_equal(pthread_create(&thread, NULL, stop_main, &stopper), 0);
    do { /* until it has begun */
        late = (Asker){0};
        ask(b, &late, GUILD, "b", NULL);
        load_all(b);
        template_lookup_free(&late.lookup);
    } while (!late.lookup.failed);
    load_all(b);
    pthread_join(thread, NULL);
    assert_true(atomic_load(&stopper.stopped));
    assert_int_equal(asker.completions, 1); /* with an answer, or refused */
    template_lookup_free(&asker.lookup);
}

/* ---- Room -------------------------------------------------------------------------------------
 */

static void test_eviction(void **state)
{
    (void)state;
    enum { GUILDS = 40, SOURCE = 10000 };
    Bench *b = open_bench((size_t)20 * SOURCE, false);
    char *source = malloc(SOURCE + 1);
    memset(source, ' ', SOURCE);
    source[SOURCE] = '\0';
    for (int i = 1; i <= GUILDS; i++) {
        FakeStored stored = {(uint64_t)i, "a", 1, source, NULL, NULL, 0, false};
        fake_store_put(&b->fake, &stored);
    }
    for (int i = 1; i <= GUILDS; i++) {
        expect_name(b, (uint64_t)i, "a", "a:1 ");
        expect_name(b, 1, "a", "a:1 "); /* the first is asked for again and again */
    }
    assert_int_equal(fake_store_submitted(&b->fake), GUILDS + 1);
    int before = fake_store_submitted(&b->fake);
    expect_name(b, 1, "a", "a:1 ");
    expect_name(b, GUILDS, "a", "a:1 ");
    expect_name(b, GUILDS - 5, "a", "a:1 ");
    assert_int_equal(fake_store_submitted(&b->fake), before);
    expect_name(b, 2, "a", "a:1 "); /* it had to go */
    assert_int_equal(fake_store_submitted(&b->fake), before + 1);
    /* Guilds without templates take next to nothing. */
    for (int i = 1; i <= 100; i++)
        expect_name(b, (uint64_t)(1000 + i), "a", "");
    before = fake_store_submitted(&b->fake);
    expect_name(b, 1, "a", "a:1 ");
    expect_name(b, 1001, "a", "");
    assert_int_equal(fake_store_submitted(&b->fake), before);
    for (int i = 1; i <= 3000; i++) /* but not nothing */
        expect_name(b, (uint64_t)(2000 + i), "a", "");
    before = fake_store_submitted(&b->fake);
    expect_name(b, 1001, "a", "");
    assert_int_equal(fake_store_submitted(&b->fake), before + 1);
    free(source);
    tear_down((void **)&b);
}

static void test_one_too_large(void **state)
{
    (void)state;
    Bench *b = open_bench(100, true);
    put(b, GUILD, "a", 1, NULL);
    expect_name(b, GUILD, "a", "a:1 ");
    Asker asker = {0};
    assert_true(ask(b, &asker, GUILD, "a", NULL)); /* it is not loaded for every question */
    size_t length;
    luau_Diagnostic diagnostic;
    assert_non_null(template_module(asker.lookup.found[0], 0, &diagnostic));
    assert_string_equal(template_source(asker.lookup.found[0], 0, &length), "return 1");
    template_lookup_free(&asker.lookup);
    tear_down((void **)&b);
}

/* ---- Threads ----------------------------------------------------------------------------------
 */

enum { ASKERS = 2, QUESTIONS = 600, TOWN_GUILDS = 5 };

/* Versions only go up: saves are acknowledged when templates_changed was told. */
typedef struct Town {
    Bench *b;
    atomic_uint acknowledged[TOWN_GUILDS];
    atomic_bool ending;
} Town;

typedef struct Waiter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
} Waiter;

static void on_waited(TemplateLookup *lookup)
{
    Waiter *waiter = lookup->userdata;
    pthread_mutex_lock(&waiter->lock);
    waiter->done = true;
    pthread_cond_signal(&waiter->changed);
    pthread_mutex_unlock(&waiter->lock);
}

static void *ask_main(void *arg)
{
    Town *town = arg;
    Bench *b = town->b;
    for (int i = 0; i < QUESTIONS; i++) {
        Waiter waiter = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
        unsigned guild = (unsigned)(random_u64() % TOWN_GUILDS);
        unsigned least = atomic_load(&town->acknowledged[guild]);
        TemplateLookup lookup = {
            .guild_id = guild + 1, .name = {"a", 1}, .complete = on_waited, .userdata = &waiter};
        if (!b->source.look_up(b->source.self, &lookup)) {
            pthread_mutex_lock(&waiter.lock);
            while (!waiter.done)
                pthread_cond_wait(&waiter.changed, &waiter.lock);
            pthread_mutex_unlock(&waiter.lock);
        }
        BASE_ASSERT(!lookup.failed && lookup.count == 1);
        BASE_ASSERT(template_version(lookup.found[0]) >= least);
        template_lookup_free(&lookup);
    }
    return NULL;
}

static void *serve_main(void *arg)
{
    Town *town = arg;
    while (!atomic_load(&town->ending)) {
        if (fake_store_waiting(&town->b->fake) > 0)
            fake_store_load(&town->b->fake);
    }
    return NULL;
}

static void *save_main(void *arg)
{
    Town *town = arg;
    for (unsigned version = 2; !atomic_load(&town->ending); version++) {
        unsigned guild = version % TOWN_GUILDS;
        put(town->b, guild + 1, "a", version, NULL);
        store_templates_changed(town->b->templates, version % 7 == 0 ? 0 : guild + 1,
                                version % 7 == 0);
        atomic_store(&town->acknowledged[guild], version);
        for (int i = 0; i < 20 && !atomic_load(&town->ending); i++)
            sched_yield();
    }
    return NULL;
}

static void test_never_older_than_a_save(void **state)
{
    Bench *b = *state;
    Town town = {.b = b};
    pthread_t askers[ASKERS], server, saver;
    for (unsigned i = 0; i < TOWN_GUILDS; i++)
        put(b, i + 1, "a", 1, NULL);
    assert_int_equal(pthread_create(&server, NULL, serve_main, &town), 0);
    assert_int_equal(pthread_create(&saver, NULL, save_main, &town), 0);
    for (int i = 0; i < ASKERS; i++)
        assert_int_equal(pthread_create(&askers[i], NULL, ask_main, &town), 0);
    for (int i = 0; i < ASKERS; i++)
        pthread_join(askers[i], NULL);
    atomic_store(&town.ending, true);
    pthread_join(server, NULL);
    pthread_join(saver, NULL);
    load_all(b);
}

/* ---- Checks -----------------------------------------------------------------------------------
 */

typedef struct Draft {
    StoreTemplate t;
    StoreFile files[300];
    Text labels[300];
} Draft;

static Draft *draft(void)
{
    Draft *d = calloc(1, sizeof(*d));
    d->t = (StoreTemplate){.name = text_of("name"), .enabled = true, .files = d->files};
    return d;
}

static Draft *add(Draft *d, const char *path, const char *source)
{
    d->files[d->t.file_count++] = (StoreFile){text_of(path), text_of(source)};
    return d;
}

/* NULL: it is good; else a part of the complaint. Frees the draft. */
static void check(Bench *b, Draft *d, const char *complaint)
{
    char error[1024] = "";
    luau_Diagnostic diagnostic = {.line = 0};
    int file = 99;
    bool good = template_check(b->sandbox, &d->t, error, sizeof(error), &diagnostic, &file);
    if (good != !complaint || (complaint && !strstr(error, complaint)))
        fail_msg("expected %s\ngot      %s", complaint ? complaint : "nothing", error);
    assert_true(file >= -1 && file < d->t.file_count);
    assert_int_equal(file >= 0, diagnostic.line > 0); /* it is about code */
    if (file >= 0)
        assert_memory_equal(error, d->files[file].path.data, d->files[file].path.length);
    free(d);
}

static void test_check_files(void **state)
{
    Bench *b = *state;
    static const char *const bad_paths[][2] = {
        {"", "1 to 511"},
        {"/a.luau", "empty part"},
        {"a.luau/", "empty part"},
        {"a//b.luau", "empty part"},
        {"./a.luau", "\"..\""},
        {"a/../b.luau", "\"..\""},
        {"..", "\"..\""},
        {"a\\b.luau", "backslashes"},
        {"a\n.luau", "control"},
        {"a.txt", ".luau or .lua"},
        {".luau", ".luau or .lua"},
        {"a/.lua", ".luau or .lua"},
        {"x.luaurc", ".luau or .lua"},
        {"\xff.luau", "UTF-8"},
    };
    static const char *const good_paths[] = {"a.luau",       "a/b/c.lua",     ".luaurc",
                                             "a/.luaurc",    "...luau/x.lua", "..a/x.luau",
                                             "\xc3\xa9.luau"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(bad_paths); i++)
        check(b, add(add(draft(), "init.luau", "return 1"), bad_paths[i][0], ""), bad_paths[i][1]);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(good_paths); i++)
        check(b, add(add(draft(), "init.luau", "return 1"), good_paths[i], ""), NULL);
    check(b, draft(), "1 to 256 files");
    check(b, add(draft(), "init.lua", ""), NULL);
    check(b, add(draft(), "a.luau", ""), "no init.luau");
    check(b, add(add(draft(), "init.luau", ""), "init.luau", ""), "two of that path");
    check(b, add(add(draft(), "init.luau", ""), "Init.luau", ""), "upper and lower case");
    check(b, add(draft(), "init.luau", "-- \xff"), "UTF-8");
    char *path = malloc(600);
    memset(path, 'a', 600);
    strcpy(path + 505, ".luau");
    check(b, add(add(draft(), "init.luau", ""), path, ""), NULL);
    path[505] = 'a';
    strcpy(path + 507, ".luau");
    check(b, add(add(draft(), "init.luau", ""), path, ""), "1 to 511");
    free(path);
}

static void test_check_limits(void **state)
{
    Bench *b = *state;
    static char names[300][24];
    char *big = malloc((1 << 20) + 2);
    memset(big, ' ', (1 << 20) + 1);
    big[1 << 20] = '\0';
    check(b, add(draft(), "init.luau", big), NULL);
    Draft *d = add(draft(), "init.luau", "");
    for (int i = 0; i < 8; i++) {
        snprintf(names[i], sizeof(names[i]), "f%d.luau", i);
        add(d, names[i], big);
    }
    check(b, d, NULL);
    d = add(draft(), "init.luau", " ");
    for (int i = 0; i < 8; i++)
        add(d, names[i], big);
    check(b, d, "8 MiB together");
    big[1 << 20] = ' ';
    big[(1 << 20) + 1] = '\0';
    check(b, add(draft(), "init.luau", big), "1 MiB");
    free(big);
    for (int count = 256; count <= 257; count++) {
        d = add(draft(), "init.luau", "");
        for (int i = 1; i < count; i++) {
            snprintf(names[i], sizeof(names[i]), "f%d.lua", i);
            add(d, names[i], "");
        }
        check(b, d, count > 256 ? "1 to 256 files" : NULL);
    }
}

static void test_check_labels(void **state)
{
    Bench *b = *state;
    static const char *const names[] = {"", "a b", "a/b", "\xc3\xa9"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(names); i++) {
        Draft *d = add(draft(), "init.luau", "");
        d->t.name = text_of(names[i]);
        check(b, d, "1 to 64 of");
    }
    for (int count = 256; count <= 257; count++) {
        Draft *d = add(draft(), "init.luau", "");
        for (int i = 0; i < count; i++)
            d->labels[i] = text_of("kv:get");
        d->t.capabilities = d->labels;
        d->t.capability_count = count;
        check(b, d, count > 256 ? "/capabilities: more than 256" : NULL);
    }
    Draft *d = add(draft(), "init.luau", "");
    d->labels[0] = text_of("Ping[");
    d->t.events = d->labels;
    d->t.event_count = 1;
    check(b, d, "/events/0: ");
    d = add(draft(), "init.luau", "");
    d->labels[0] = (Text){"Ping\0x", 6};
    d->t.events = d->labels;
    d->t.event_count = 1;
    check(b, d, "/events: a text has a control character");
    d = add(draft(), "init.luau", "");
    d->t.description = text_of("what it does");
    check(b, d, NULL);
}

static void test_check_code(void **state)
{
    Bench *b = *state;
    check(b, add(draft(), "init.luau", "local x = 1\n\n\tlocal = 5\nreturn x"), "init.luau:3:8: ");
    check(b, add(draft(), "init.luau", "local x = 1\n\n\tlocal = 5\r\nreturn x"),
          "\n    local = 5");
    check(b, add(add(draft(), "init.luau", "return 1"), "lib/part.lua", "return ("), "part.lua:1:");
    check(b, add(add(draft(), "init.luau", "return 1"), ".luaurc", "return ("), NULL);
}

int main(void)
{
#define BENCHED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        BENCHED(test_one_load_for_many),
        BENCHED(test_question_that_cannot_wait),
        BENCHED(test_change_overtakes_load),
        BENCHED(test_unchanged_objects_stay),
        BENCHED(test_own_hide_common),
        BENCHED(test_event_bound),
        BENCHED(test_problems),
        BENCHED(test_failures),
        BENCHED(test_stop_waits),
        cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_one_too_large),
        BENCHED(test_never_older_than_a_save),
        BENCHED(test_check_files),
        BENCHED(test_check_limits),
        BENCHED(test_check_labels),
        BENCHED(test_check_code),
    };
    return cmocka_run_group_tests_name("store-templates", tests, NULL, NULL);
}
