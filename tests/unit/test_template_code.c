/* Templates' code: shared by content, compiled once, kept within bounds; claims of VMs that are
 * parked, killed or lost while they compile: codecache.c, template.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "khronos/template.h"

static KhronosSandbox *sandbox;

static void add(KhronosTemplate *t, const char *path, const char *source)
{
    char error[256] = "";
    if (!template_addfile(t, path, NULL, strdup(source), strlen(source), error, sizeof(error)))
        fail_msg("%s: %s", path, error);
}

/* A template whose files are shown below "t/". */
static KhronosTemplate *make(uint32_t version, const char *init, const char *part)
{
    KhronosTemplate *t = template_new(sandbox, "t", version, "t/");
    assert_non_null(t);
    add(t, "init.luau", init);
    if (part)
        add(t, "part.luau", part);
    return t;
}

static luau_Module *module_of(KhronosTemplate *t, const char *path)
{
    luau_Diagnostic diagnostic;
    luau_Module *module = template_module(t, template_find(t, path), &diagnostic);
    if (!module)
        fail_msg("%s:%d: %s", path, diagnostic.line, diagnostic.message);
    return module;
}

static CodeCacheStats stats(void)
{
    CodeCacheStats s;
    codecache_stats(sandbox_codecache(sandbox), &s);
    return s;
}

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
    assert_int_equal(stats().used, 0);
    sandbox_release(sandbox);
    return 0;
}

/* ---- Sharing ----------------------------------------------------------------------------------
 */

static void test_equal_files_share(void **state)
{
    (void)state;
    KhronosTemplate *one = make(1, "return 1", "return 'part'");
    KhronosTemplate *two = make(2, "return 2", "return 'part'");
    assert_int_equal(stats().used, 3);
    assert_int_equal(stats().shared, 1);
    assert_int_equal(stats().compilations, 0); /* at first use, not at load */
    luau_Module *part = module_of(one, "part.luau");
    assert_int_equal(stats().compilations, 1);
    assert_ptr_equal(module_of(two, "part.luau"), part);
    assert_ptr_equal(module_of(one, "part.luau"), part);
    assert_int_equal(stats().compilations, 1);
    assert_ptr_not_equal(module_of(one, "init.luau"), module_of(two, "init.luau"));
    assert_int_equal(stats().compilations, 3);
    template_release(one);
    assert_ptr_equal(module_of(two, "part.luau"), part);
    template_release(two);
}

/* Debug information has the name: what is shown under another is other code. */
static void test_names_differ(void **state)
{
    (void)state;
    KhronosTemplate *one = template_new(sandbox, "t", 1, "one/");
    KhronosTemplate *two = template_new(sandbox, "t", 1, "two/");
    add(one, "init.luau", "return 1");
    add(two, "init.luau", "return 1");
    assert_ptr_not_equal(module_of(one, "init.luau"), module_of(two, "init.luau"));
    assert_string_equal(template_shown(one, 0), "one/init.luau");
    assert_string_equal(template_shown(two, 0), "two/init.luau");
    /* Nor do a name and a source pass for another pair by their seam. */
    KhronosTemplate *a = template_new(sandbox, "t", 1, ""), *b = template_new(sandbox, "t", 1, "");
    char error[128];
    assert_true(template_addfile(a, "init.luau", "x", strdup("y"), 1, error, sizeof(error)));
    assert_true(template_addfile(b, "init.luau", "xy", strdup(""), 0, error, sizeof(error)));
    assert_int_equal(stats().shared, 0);
    template_release(one);
    template_release(two);
    template_release(a);
    template_release(b);
}

static void test_lengths_differ(void **state)
{
    (void)state;
    char source[600];
    KhronosTemplate *all[BASE_ARRAY_COUNT(source)];
    memset(source, ' ', sizeof(source));
    for (size_t i = 0; i < BASE_ARRAY_COUNT(all); i++) {
        source[i] = '\0';
        all[i] = make(1, source, NULL);
        source[i] = ' ';
    }
    assert_int_equal(stats().used, BASE_ARRAY_COUNT(all)); /* past the growth of the table */
    assert_int_equal(stats().shared, 0);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(all); i++)
        template_release(all[i]);
    assert_int_equal(stats().unused, 0); /* never compiled: nothing worth keeping */
}

static void test_errors_are_shared(void **state)
{
    (void)state;
    luau_Diagnostic first, second;
    KhronosTemplate *one = make(1, "return 1", "\n return = 2");
    KhronosTemplate *two = make(2, "return 2", "\n return = 2");
    int part = template_find(one, "part.luau");
    assert_null(template_module(one, part, &first));
    assert_null(template_module(two, part, &second));
    assert_int_equal(stats().compilations, 1);
    assert_int_equal(second.line, 2);
    assert_string_equal(first.message, second.message);
    size_t length;
    assert_string_equal(template_source(two, part, &length), "\n return = 2");
    assert_int_equal(length, 12);
    template_release(one);
    template_release(two);
    one = make(3, "return 1", "\n return = 2"); /* saved again: the answer is there */
    assert_null(template_module(one, part, &second));
    assert_int_equal(stats().compilations, 1);
    assert_string_equal(template_source(one, part, &length), "\n return = 2");
    template_release(one);
}

static void test_sources(void **state)
{
    (void)state;
    size_t length;
    KhronosTemplate *plain = make(1, "return 1", NULL);
    add(plain, ".luaurc", "{}");
    int init = template_find(plain, "init.luau"), luaurc = template_find(plain, ".luaurc");
    module_of(plain, "init.luau");
    assert_null(template_source(plain, init, &length));
    assert_int_equal(length, 0);
    assert_string_equal(template_source(plain, luaurc, &length), "{}");
    assert_int_equal(length, 2);
    assert_string_equal(template_shown(plain, luaurc), "t/.luaurc");
    assert_int_equal(template_findchunk(plain, "@t/.luaurc"), luaurc);
    assert_int_equal(template_findchunk(plain, "@t/init.luau"), init);

    /* One that keeps its sources has them, though the code was compiled by one that does not. */
    KhronosTemplate *keeper = template_new(sandbox, "t", 2, "t/");
    template_keepsources(keeper);
    add(keeper, "init.luau", "return 1");
    assert_ptr_equal(module_of(keeper, "init.luau"), module_of(plain, "init.luau"));
    const char *source = template_source(keeper, 0, &length);
    assert_string_equal(source, "return 1");
    template_release(plain);
    assert_ptr_equal(template_source(keeper, 0, &length), source);
    KhronosTemplate *other = make(3, "return 1", NULL);
    template_release(keeper);
    assert_null(template_source(other, 0, &length));
    template_release(other);
}

/* ---- Bounds -----------------------------------------------------------------------------------
 */

static Code *add_code(CodeCache *cache, int number)
{
    char text[64];
    int length = snprintf(text, sizeof(text), "local n = %d return n + 1", number);
    Code *code = codecache_add(cache, "@x", strdup(text), (size_t)length, false);
    assert_non_null(code);
    return code;
}

static luau_Module *use_code(CodeCache *cache, int number)
{
    luau_Diagnostic diagnostic;
    Code *code = add_code(cache, number);
    luau_Module *module = codecache_compile(cache, code, NULL, &diagnostic);
    assert_non_null(module);
    codecache_drop(cache, code, false);
    return module;
}

static uint64_t compilations(CodeCache *cache)
{
    CodeCacheStats s;
    codecache_stats(cache, &s);
    return s.compilations;
}

static void test_unused_code_is_bounded(void **state)
{
    (void)state;
    luau_Image *image = luau_image_standard();
    CodeCacheStats s;
    CodeCache *cache = codecache_new(image, SIZE_MAX);
    use_code(cache, 100);
    codecache_stats(cache, &s);
    size_t each = s.unused_bytes;
    assert_true(each > 0);
    codecache_free(cache);

    cache = codecache_new(image, 3 * each);
    for (int i = 101; i <= 103; i++)
        use_code(cache, i);
    assert_int_equal(compilations(cache), 3);
    use_code(cache, 101); /* there, and now the latest used */
    assert_int_equal(compilations(cache), 3);
    use_code(cache, 104); /* 102 goes */
    codecache_stats(cache, &s);
    assert_int_equal(s.unused, 3);
    assert_int_equal(s.unused_bytes, 3 * each);
    assert_int_equal(s.evicted, 1);
    use_code(cache, 101);
    use_code(cache, 103);
    use_code(cache, 104);
    assert_int_equal(compilations(cache), 4);
    use_code(cache, 102);
    assert_int_equal(compilations(cache), 5);

    /* What is in use does not count, and stays however much that is. */
    Code *used[20];
    luau_Diagnostic diagnostic;
    for (int i = 0; i < 20; i++) {
        used[i] = add_code(cache, 200 + i);
        assert_non_null(codecache_compile(cache, used[i], NULL, &diagnostic));
    }
    codecache_trim(cache, 0);
    codecache_stats(cache, &s);
    assert_int_equal(s.used, 20);
    assert_int_equal(s.unused, 0);
    assert_int_equal(s.unused_bytes, 0);
    for (int i = 0; i < 20; i++)
        codecache_drop(cache, used[i], false);
    codecache_stats(cache, &s);
    assert_int_equal(s.used, 0);
    assert_int_equal(s.unused, 3);
    codecache_free(cache);
    luau_image_release(image);
}

static void test_saved_again(void **state)
{
    (void)state;
    KhronosTemplate *t = make(1, "return 1", "return 'part'");
    luau_Module *part = module_of(t, "part.luau");
    module_of(t, "init.luau");
    template_release(t);
    assert_int_equal(stats().unused, 2);
    t = make(2, "return 1 + 1", "return 'part'"); /* all of the old version is gone meanwhile */
    assert_ptr_equal(module_of(t, "part.luau"), part);
    module_of(t, "init.luau");
    assert_int_equal(stats().compilations, 3);
    template_release(t);
}

/* ---- VMs that compile -------------------------------------------------------------------------
 */

typedef struct Turn {
    KhronosTemplate *t;
    luau_Module *module; /* what it got */
    luau_Diagnostic diagnostic;
    int status;
    bool begun, done;
} Turn;

static int native_compile(lua_State *L)
{
    Turn *turn = lua_touserdata(L, 1);
    turn->begun = true;
    turn->module = template_compile(L, turn->t, template_entry(turn->t), &turn->diagnostic);
    turn->done = true;
    return 0;
}

static void work(lua_State *L, void *arg)
{
    Turn *turn = arg;
    lua_pushcfunction(L, native_compile, "compile");
    lua_pushlightuserdata(L, turn);
    turn->status = lua_pcall(L, 1, 0, 0);
}

static lua_State *new_vm(void)
{
    luau_VmOptions options = {.image = sandbox_image(sandbox), .memory_max_bytes = 1 << 20};
    lua_State *L = luau_newvm(&options);
    assert_non_null(L);
    luau_setslice(L, 1); /* parks at every poll that looks */
    return L;
}

/* Long enough for many polls. */
static char *long_source(void)
{
    enum { LINES = 3000, LINE_MAX = 64 };
    char *source = malloc(LINES * LINE_MAX), *p = source;
    p += sprintf(p, "local t = {}\n");
    for (int i = 0; i < LINES - 2; i++)
        p += sprintf(p, "t[%d] = {a = %d, b = 'x%d'}\n", i, i, i);
    sprintf(p, "return t\n");
    return source;
}

static int go_on(luau_Fibers *fibers, lua_State *L)
{
    luau_fibers_tick(fibers);
    return luau_continue(L);
}

/* Runs it until it is parked inside template_compile, or done. */
static int start(luau_Fibers *fibers, lua_State *L, Turn *turn)
{
    luau_fibers_tick(fibers);
    int result = luau_run(fibers, L, work, turn);
    while (result == LUAU_PARKED && !turn->begun)
        result = go_on(fibers, L);
    return result;
}

static void finish_turn(luau_Fibers *fibers, lua_State *L, int result)
{
    while (result == LUAU_PARKED)
        result = go_on(fibers, L);
    assert_int_equal(result, LUAU_DONE);
}

/* One compiles, parked at each poll; the others wait at their turns, on the same thread. */
static void test_others_wait(void **state)
{
    (void)state;
    enum { VMS = 5 };
    char *source = long_source();
    luau_Fibers *fibers = luau_fibers_new(VMS);
    KhronosTemplate *t = make(1, source, NULL);
    lua_State *vms[VMS];
    Turn turns[VMS];
    int left = 0, rounds = 0;
    for (int i = 0; i < VMS; i++) {
        vms[i] = new_vm();
        turns[i] = (Turn){.t = t};
        assert_int_equal(start(fibers, vms[i], &turns[i]), LUAU_PARKED);
        left++;
    }
    assert_int_equal(stats().compilations, 1);
    for (; left > 0; rounds++)
        for (int i = 0; i < VMS; i++)
            if (luau_isparked(vms[i]))
                left -= go_on(fibers, vms[i]) == LUAU_DONE;
    assert_true(rounds > 10);
    assert_int_equal(stats().compilations, 1);
    for (int i = 0; i < VMS; i++) {
        assert_int_equal(turns[i].status, LUA_OK);
        assert_ptr_equal(turns[i].module, module_of(t, "init.luau"));
        lua_close(vms[i]);
    }
    template_release(t);
    luau_fibers_free(fibers);
    free(source);
}

/* Whoever has no VM never waits: the VM that compiles may be parked on its own thread. */
static void test_host_does_not_wait(void **state)
{
    (void)state;
    char *source = long_source();
    luau_Fibers *fibers = luau_fibers_new(1);
    KhronosTemplate *t = make(1, source, NULL), *same = make(2, source, NULL);
    lua_State *L = new_vm();
    Turn turn = {.t = t};
    assert_int_equal(start(fibers, L, &turn), LUAU_PARKED);
    luau_Module *module = module_of(same, "init.luau");
    assert_int_equal(stats().compilations, 2);
    template_release(same);
    finish_turn(fibers, L, LUAU_PARKED); /* its source must still be there */
    assert_ptr_equal(turn.module, module);
    lua_close(L);
    template_release(t);
    luau_fibers_free(fibers);
    free(source);
}

enum Loss { KILLED, ABANDONED, DISCARDED };

/* The first VM goes while it compiles; the second gets its turn. */
static void lose_compiler(enum Loss loss)
{
    char *source = long_source();
    luau_Fibers *fibers = luau_fibers_new(2);
    KhronosTemplate *t = make(1, source, NULL);
    lua_State *lost = new_vm(), *next = new_vm();
    Turn lost_turn = {.t = t}, next_turn = {.t = t};
    assert_int_equal(start(fibers, lost, &lost_turn), LUAU_PARKED);
    int result = start(fibers, next, &next_turn);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(result, LUAU_PARKED);
        result = go_on(fibers, next);
    }
    assert_int_equal(stats().compilations, 1);
    if (loss == KILLED) {
        luau_kill(lost, LUAU_KILL_HOST);
        finish_turn(fibers, lost, LUAU_PARKED);
        assert_int_equal(lost_turn.status, LUA_KILLED);
    } else if (loss == ABANDONED) {
        luau_abandon(lost);
    } else {
        codecache_release_owner(sandbox_codecache(sandbox), next); /* has none */
        codecache_release_owner(sandbox_codecache(sandbox), lua_mainthread(lost));
        luau_discard(lost);
    }
    finish_turn(fibers, next, result);
    assert_int_equal(stats().compilations, 2);
    assert_ptr_equal(next_turn.module, module_of(t, "init.luau"));
    assert_false(lost_turn.done);
    if (loss != DISCARDED)
        lua_close(lost);
    lua_close(next);
    template_release(t);
    luau_fibers_free(fibers);
    free(source);
    assert_int_equal(stats().used, 0);
}

static void test_compiler_killed(void **state)
{
    (void)state;
    lose_compiler(KILLED);
}

static void test_compiler_abandoned(void **state)
{
    (void)state;
    lose_compiler(ABANDONED);
}

static void test_compiler_lost_in_panic(void **state)
{
    (void)state;
    lose_compiler(DISCARDED);
}

/* A waiting VM that is killed leaves, and nobody is the worse for it. */
static void test_waiter_killed(void **state)
{
    (void)state;
    char *source = long_source();
    luau_Fibers *fibers = luau_fibers_new(2);
    KhronosTemplate *t = make(1, source, NULL);
    lua_State *first = new_vm(), *waiter = new_vm();
    Turn first_turn = {.t = t}, waiter_turn = {.t = t};
    assert_int_equal(start(fibers, first, &first_turn), LUAU_PARKED);
    assert_int_equal(start(fibers, waiter, &waiter_turn), LUAU_PARKED);
    luau_kill(waiter, LUAU_KILL_HOST);
    finish_turn(fibers, waiter, LUAU_PARKED);
    assert_int_equal(waiter_turn.status, LUA_KILLED);
    finish_turn(fibers, first, LUAU_PARKED);
    assert_int_equal(first_turn.status, LUA_OK);
    assert_int_equal(stats().compilations, 1);
    lua_close(first);
    lua_close(waiter);
    template_release(t);
    luau_fibers_free(fibers);
    free(source);
}

/* The execution's version is its own: a save while it compiles does not touch it. */
static void test_version_is_held(void **state)
{
    (void)state;
    char *source = long_source();
    luau_Fibers *fibers = luau_fibers_new(1);
    KhronosTemplate *old = make(1, source, "return 'part'");
    lua_State *L = new_vm();
    Turn turn = {.t = template_retain(old)};
    assert_int_equal(start(fibers, L, &turn), LUAU_PARKED);
    template_release(old); /* the cache has the new one now */
    KhronosTemplate *new = make(2, "return 2", "return 'part'");
    luau_Module *part = module_of(new, "part.luau");
    finish_turn(fibers, L, LUAU_PARKED);
    assert_int_equal(turn.status, LUA_OK);
    assert_ptr_equal(module_of(turn.t, "init.luau"), turn.module);
    assert_ptr_equal(module_of(turn.t, "part.luau"), part);
    assert_ptr_not_equal(module_of(new, "init.luau"), turn.module);
    lua_close(L);
    template_release(turn.t);
    template_release(new);
    luau_fibers_free(fibers);
    free(source);
}

enum { THREADS = 8, VMS_OF_THREAD = 6, KILLED_OF_THREAD = 2 };

typedef struct Crowd {
    pthread_barrier_t start;
    const char *source;
    luau_Module *modules[THREADS]; /* by what each thread's last VM got, retained */
} Crowd;

typedef struct Member {
    Crowd *crowd;
    int number;
} Member;

/* A thread with VMs of its own; some are killed while they compile or wait. */
static void *run_member(void *arg)
{
    Member *member = arg;
    luau_Fibers *fibers = luau_fibers_new(VMS_OF_THREAD);
    lua_State *vms[VMS_OF_THREAD];
    Turn turns[VMS_OF_THREAD];
    int results[VMS_OF_THREAD];
    KhronosTemplate *t = make((uint32_t)member->number, member->crowd->source, NULL);
    pthread_barrier_wait(&member->crowd->start);
    int left = 0;
    for (int i = 0; i < VMS_OF_THREAD; i++) {
        vms[i] = new_vm();
        turns[i] = (Turn){.t = t};
        results[i] = start(fibers, vms[i], &turns[i]);
        left += results[i] == LUAU_PARKED;
    }
    for (int round = 0; left > 0; round++) {
        for (int i = 0; i < VMS_OF_THREAD; i++) {
            if (results[i] != LUAU_PARKED)
                continue;
            if (round == 3 * i + member->number && i < KILLED_OF_THREAD)
                luau_kill(vms[i], LUAU_KILL_HOST);
            results[i] = go_on(fibers, vms[i]);
            left -= results[i] != LUAU_PARKED;
        }
    }
    for (int i = 0; i < VMS_OF_THREAD; i++) {
        assert_int_equal(results[i], LUAU_DONE);
        assert_true(turns[i].status == LUA_OK ||
                    (i < KILLED_OF_THREAD && turns[i].status == LUA_KILLED));
        if (turns[i].status == LUA_OK)
            assert_ptr_equal(turns[i].module, module_of(t, "init.luau"));
        lua_close(vms[i]);
    }
    member->crowd->modules[member->number] = luau_module_retain(module_of(t, "init.luau"));
    template_release(t);
    luau_fibers_free(fibers);
    return NULL;
}

static void test_crowd(void **state)
{
    (void)state;
    char *source = long_source();
    Crowd crowd = {.source = source};
    Member members[THREADS];
    pthread_t threads[THREADS];
    assert_int_equal(pthread_barrier_init(&crowd.start, NULL, THREADS), 0);
    for (int i = 0; i < THREADS; i++) {
        members[i] = (Member){&crowd, i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_member, &members[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&crowd.start);
    for (int i = 0; i < THREADS; i++) {
        assert_ptr_equal(crowd.modules[i], crowd.modules[0]);
        luau_module_release(crowd.modules[i]);
    }
    /* A compilation begins anew only where a VM was killed in the middle of it. */
    assert_in_range(stats().compilations, 1, 1 + THREADS * KILLED_OF_THREAD);
    assert_int_equal(stats().used, 0);
    assert_int_equal(stats().unused, 1);
    free(source);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_equal_files_share, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_differ, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lengths_differ, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_errors_are_shared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_sources, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unused_code_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_saved_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_others_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_host_does_not_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_compiler_killed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_compiler_abandoned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_compiler_lost_in_panic, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_waiter_killed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_version_is_held, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_crowd, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("template-code", tests, NULL, NULL);
}
