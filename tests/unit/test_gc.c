/* test_gc.c: the collector: what lives and what dies, step by step and all at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "luau/api.h"

static lua_State *L;

static uint32_t random_state = 7;
static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

static void assert_sound(void)
{
    const char *fault = luau_checkheap(L);
    if (fault)
        fail_msg("%s", fault);
}

static void count_object(Global_ *g, GCObject *object, size_t size, void *arg)
{
    (void)g, (void)size;
    int *counts = arg;
    counts[object->type]++;
}

static int count_objects(int type)
{
    int counts[256] = {0};
    luH_eachobject(G(L), count_object, counts);
    return counts[type];
}

static void run_chunk(const char *source)
{
    if (luau_loadstring(L, source, strlen(source), "=test") != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
    if (lua_pcall(L, 0, 0, 0) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
}

static double global_number(const char *name)
{
    lua_getglobal(L, name);
    double n = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return n;
}

/* ---- a heap of random tables ----------------------------------------------------------------- */

/* The root table's slots hold tables that refer to one another. Steps of the collector and changes
 * of the graph alternate; what is reachable keeps its id, the rest goes in the end. */
enum { NODES = 60 };

static void link_random(Table *root)
{
    Value from = luT_getint(root, (int)random_below(NODES) + 1);
    Value to = luT_getint(root, (int)random_below(NODES) + 1);
    if (!val_istable(from) || !val_istable(to))
        return;
    Table *t = val_table(from);
    switch (random_below(5)) {
    case 0: *luT_setint(L, t, (int)random_below(20) + 1) = to; break;
    case 1: *luT_set(L, t, to) = val_number(1); break;
    case 2: *luT_set(L, t, to) = VAL_NIL; break;
    case 3: *luT_setint(L, t, (int)random_below(20) + 1) = VAL_NIL; break;
    default:
        *luT_setstring(L, t, luS_literal(L, "link")) = to;
        t->meta = random_below(3) ? NULL : val_table(to);
        luG_barrier(L, t, to);
        break;
    }
    luG_barriertable(L, t);
}

static void mutate(Table *root)
{
    int slot = (int)random_below(NODES) + 1;
    switch (random_below(8)) {
    case 0: {
        Table *t = luT_new(L, (int)random_below(4), (int)random_below(4));
        *luT_setstring(L, t, luS_literal(L, "id")) = val_number(slot);
        *luT_setint(L, root, slot) = val_fromtable(t);
        luG_barriertable(L, root);
        break;
    }
    case 1:
        if (random_below(3) == 0)
            *luT_setint(L, root, slot) = VAL_NIL;
        break;
    default: link_random(root); break;
    }
}

/* Every table that the root reaches has an id; slots have theirs. */
static void check_ids(Table *root)
{
    for (int i = 1; i <= NODES; i++) {
        Value v = luT_getint(root, i);
        if (val_istable(v))
            assert_true(luT_getstring(val_table(v), luS_literal(L, "id")).n == i);
    }
}

static void random_graphs(void **state)
{
    (void)state;
    lua_createtable(L, NODES, 0);
    Table *root = val_table(L->top[-1]);
    G(L)->gc.step_bytes = 64;
    for (int step = 0; step < 30000; step++) {
        mutate(root);
        if (random_below(4) == 0)
            luG_step(L);
        if (step % 101 == 0)
            assert_sound();
        if (step % 1000 == 0)
            check_ids(root);
    }
    G(L)->gc.step_bytes = 4096;
    assert_true(G(L)->gc.cycles > 20);
    lua_settop(L, 0);
    luG_full(L);
    assert_sound();
    assert_int_equal(count_objects(OBJ_TABLE), 1); /* the globals */
}

static void big_tables_in_pieces(void **state)
{
    (void)state;
    enum { COUNT = 40000 };
    lua_createtable(L, COUNT, COUNT);
    Table *big = val_table(L->top[-1]);
    G(L)->gc.step_bytes = 1024;
    for (int i = 1; i <= COUNT; i++) {
        *luT_setint(L, big, i) = val_fromtable(luT_new(L, 0, 0));
        *luT_set(L, big, val_number(i + 0.5)) = val_fromstring(luS_literal(L, "text"));
        luG_barriertable(L, big);
        luG_check(L);
    }
    for (int round = 0; round < 4000; round++) { /* touched all the time */
        int i = (int)random_below(COUNT) + 1;
        *luT_setint(L, big, i) = val_fromtable(luT_new(L, 0, 0));
        luG_barriertable(L, big);
        luG_check(L);
        if (round % 499 == 0)
            assert_sound();
    }
    assert_in_range(G(L)->gc.grey_size, 0, 3 * 1024 + 64); /* the stack does not hold the whole */
    for (int i = 1; i <= COUNT; i++)
        assert_true(val_istable(luT_getint(big, i)));
    luG_full(L);
    assert_int_equal(count_objects(OBJ_TABLE), COUNT + 2);
    G(L)->gc.step_bytes = 4096;
    lua_settop(L, 0);
    luG_full(L);
    assert_int_equal(count_objects(OBJ_TABLE), 1);
    assert_int_equal(count_objects(OBJ_STRING), 0);
    assert_in_range(G(L)->heap.live_bytes, 0, 8000);
}

static void long_lists(void **state)
{
    (void)state;
    lua_newtable(L);
    for (int i = 0; i < 100000; i++) { /* deep: no recursion in the marker */
        Table *t = luT_new(L, 1, 0);
        t->array[0] = L->top[-1];
        L->top[-1] = val_fromtable(t);
        luG_check(L);
    }
    luG_full(L);
    assert_int_equal(count_objects(OBJ_TABLE), 100002);
    lua_settop(L, 0);
    luG_full(L);
    assert_int_equal(count_objects(OBJ_TABLE), 1);
}

/* The mark stack gets no memory at all. */
static void no_memory_for_marking(void **state)
{
    (void)state;
    lua_newtable(L);
    lua_newtable(L);
    for (int i = 1; i <= 300; i++) { /* a list, and many wide tables that share */
        Table *t = luT_new(L, 100, 0);
        t->array[0] = L->top[-1];
        L->top[-1] = val_fromtable(t);
        for (int k = 1; k < 100; k++)
            t->array[k] = k % 7 ? L->top[-2] : val_fromtable(luT_new(L, 0, 0));
    }
    lua_newthread(L);
    for (int weak = 0; weak < 3; weak++) { /* weak tables: then strong for once */
        lua_newtable(L);
        lua_newtable(L);
        lua_pushstring(L, "v");
        lua_rawsetfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
    }
    luG_full(L);
    int tables = count_objects(OBJ_TABLE);
    GC *gc = &G(L)->gc;
    luH_free(L, gc->grey, (size_t)gc->grey_size * sizeof(void *));
    luH_free(L, gc->again, (size_t)gc->again_size * sizeof(void *));
    luH_free(L, gc->weak, (size_t)gc->weak_size * sizeof(void *));
    gc->grey = gc->again = NULL;
    gc->weak = NULL;
    gc->grey_size = gc->again_size = gc->weak_size = 0;
    luH_trim(G(L));
    while (luH_try(G(L), 248)) { /* leaks until close: cells of that size may be left */
        if (G(L)->heap.quota_bytes == 0)
            G(L)->heap.quota_bytes = G(L)->heap.reserved_bytes;
    }
    luG_full(L);
    assert_int_equal(gc->grey_size, 0);
    assert_int_equal(count_objects(OBJ_TABLE), tables);
    assert_sound();
    G(L)->heap.quota_bytes = 0;
    gc->urgent = false;
    lua_settop(L, 0);
    luG_full(L);
    assert_int_equal(count_objects(OBJ_TABLE), 1);
    assert_int_equal(count_objects(OBJ_THREAD), 0);
    assert_sound();
}

/* ---- weak tables ----------------------------------------------------------------------------- */

static void weak_tables(void **state)
{
    (void)state;
    run_chunk(
        "held = {}\n"
        "function weak(m) return setmetatable({}, {__mode = m}) end\n"
        "k, v, kv, e = weak('k'), weak('v'), weak('kv'), weak('k')\n"
        "k[{}] = 1 k[held] = 2 k.s = {} k['x' .. 1] = 3\n"
        "v[1] = {} v[2] = held v.x = 'str' .. 1 v.z = 5 v.b = buffer.create(1) v[held] = true\n"
        "v[vector.create(1, 2, 3)] = vector.create(4, 5, 6)\n"
        "v.t = coroutine.create(print) v.u = newproxy()\n"
        "kv[{}] = {} kv[held] = held kv[1] = 'text' kv[2] = {}\n"
        "do local key = {} e[key] = {key} end\n"
        "later = setmetatable({}, {}) getmetatable(later).__mode = 'v' later[1] = {}\n");
    luG_full(L);
    luG_full(L);
    run_chunk("function count(t) local n = 0 for _ in next, t do n += 1 end return n end\n"
              "nk, nv, nkv, ne, nl = count(k), count(v), count(kv), count(e), count(later)\n"
              "assert(v[2] == held and v.x == 'str1' and v.z == 5 and k.x1 == 3)\n"
              "assert(v[vector.create(1, 2, 3)] == vector.create(4, 5, 6))\n");
    assert_true(global_number("nk") == 3);
    assert_true(global_number("nv") == 5);
    assert_true(global_number("nkv") == 2);
    assert_true(global_number("ne") == 1); /* no ephemerons */
    assert_true(global_number("nl") == 0);
    assert_sound();
}

static void weak_caches_in_steps(void **state)
{
    (void)state;
    G(L)->gc.step_bytes = 256;
    run_chunk("local cache = setmetatable({}, {__mode = 'v'})\n"
              "local keep = {}\n"
              "for i = 1, 20000 do\n"
              "  local key = i % 700\n"
              "  local o = cache[key]\n"
              "  if not o then o = {key} cache[key] = o end\n"
              "  assert(o[1] == key)\n"
              "  keep[i % 50] = o\n"
              "end\n"
              "local seen = {}\n"
              "for key, o in cache do assert(o[1] == key) end\n");
    G(L)->gc.step_bytes = 4096;
    assert_sound();
}

static void dead_keys_go_on(void **state)
{
    (void)state;
    Table *t = luT_new(L, 0, 8);
    luD_push(L, val_fromtable(t));
    for (int i = 0; i < 8; i++) {
        Table *key = luT_new(L, 0, 0);
        luD_push(L, val_fromtable(key));
        *luT_set(L, t, val_fromtable(key)) = val_number(i);
    }
    int seen = 0;
    Value key = VAL_NIL, value;
    bool more;
    for (;;) {
        uint32_t at = luT_position(L, t, key);
        if (!luT_iterate(t, &at, &key, &value, 100, &more))
            break;
        seen++;
        *luT_set(L, t, key) = VAL_NIL;
        lua_settop(L, 1);
        luG_full(L); /* the keys that are left have values; this one is but an address now */
        assert_sound();
    }
    assert_int_equal(seen, 8);
    lua_settop(L, 0);
}

/* ---- threads, upvalues ----------------------------------------------------------------------- */

static void upvalues_of_dead_threads(void **state)
{
    (void)state;
    run_chunk("fs = {}\n"
              "for i = 1, 200 do\n"
              "  local co = coroutine.create(function()\n"
              "    local x, y = {i}, {}\n"
              "    fs[i] = function(v) if v then x = v end return x[1] end\n"
              "    for k = 1, 3 do coroutine.yield() x = {i, k} end\n"
              "    y[1] = x\n"
              "  end)\n"
              "  coroutine.resume(co) coroutine.resume(co)\n"
              "end\n");
    luG_full(L);
    assert_int_equal(count_objects(OBJ_THREAD), 0);
    assert_sound();
    run_chunk("for i = 1, 200 do assert(fs[i]() == i) fs[i]({i + 1}) end");
    luG_full(L);
    run_chunk("for i = 1, 200 do assert(fs[i]() == i + 1) end fs = nil");
    luG_full(L);
    assert_int_equal(count_objects(OBJ_UPVAL), 0);
    assert_sound();
}

/* Coroutines run, and die, between steps: what their variables hold lives on in closures. */
static void coroutines_between_steps(void **state)
{
    (void)state;
    G(L)->gc.step_bytes = 128;
    run_chunk("local fs = {}\n"
              "for i = 1, 5000 do\n"
              "  local co = coroutine.wrap(function()\n"
              "    local x = {i}\n"
              "    fs[i % 60 + 1] = function() return x[1] + (x.n or 0) end\n"
              "    while true do coroutine.yield() x = {i - 1, n = 1} end\n"
              "  end)\n"
              "  co()\n"
              "  for k = 1, i % 5 do co() local garbage = {k, {k}} end\n"
              "  co = nil\n"
              "  for j = 1, 60 do local f = fs[j] if f then assert(f() % 60 + 1 == j) end end\n"
              "end\n");
    G(L)->gc.step_bytes = 4096;
    assert_sound();
}

/* ---- modules --------------------------------------------------------------------------------- */

static void modules_are_released(void **state)
{
    (void)state;
    run_chunk("texts = {}"); /* whose module stays for the name of the global */
    luG_full(L);
    int before = G(L)->gc.module_count;
    size_t external = G(L)->heap.external_bytes;
    run_chunk("table.clear(texts)\n"
              "for i = 1, 100 do\n"
              "  local f = loadstring('return \"a text of module ' .. i .. '\"')\n"
              "  if i % 10 == 0 then texts[i] = f() end\n"
              "  if i % 10 == 5 then texts[i] = f end\n"
              "end\n");
    luG_full(L);
    assert_int_equal(G(L)->gc.module_count, before + 20);
    assert_sound();
    run_chunk("for i = 10, 100, 10 do assert(texts[i] == 'a text of module ' .. i)\n"
              "assert(texts[i - 5]() == 'a text of module ' .. i - 5) end\n"
              "texts = nil");
    luG_full(L);
    luG_full(L);
    assert_int_equal(G(L)->gc.module_count, before);
    assert_int_equal(G(L)->heap.external_bytes, external);
    assert_sound();
}

/* ---- steps, stop, kill ----------------------------------------------------------------------- */

static void stop_and_step(void **state)
{
    (void)state;
    luG_full(L);
    lua_gc(L, LUA_GCSTOP, 0);
    uint64_t cycles = G(L)->gc.cycles;
    run_chunk("for i = 1, 20000 do local t = {} end");
    assert_int_equal(G(L)->gc.cycles, cycles);
    assert_int_equal(lua_gc(L, LUA_GCISRUNNING, 0), 0);
    int steps = 0;
    while (!lua_gc(L, LUA_GCSTEP, 1))
        steps++;
    assert_true(steps > 3);
    lua_gc(L, LUA_GCRESTART, 0);
    size_t before = G(L)->heap.live_bytes;
    run_chunk("for i = 1, 20000 do local t = {} end");
    assert_true(G(L)->gc.cycles > cycles + 1);
    assert_true(G(L)->heap.live_bytes < before + 200000);
    assert_sound();
}

static int collect_in_native(lua_State *running)
{
    luG_full(running);
    fail_msg("was to be killed");
    return 0;
}

/* A kill that arrives in the midst of any phase leaves a sound heap. */
static void kills_in_the_collector(void **state)
{
    (void)state;
    run_chunk("t = {} for i = 1, 40000 do t[i] = {i, tostring(i)} end\n"
              "w = setmetatable({}, {__mode = 'v'}) for i = 1, 1000 do w[i] = t[i] end\n");
    G(L)->gc.step_bytes = 1024;
    for (int i = 0; i < 60; i++) {
        for (int k = 0; k < i * 8; k++)
            luG_step(L);
        luau_kill(L, LUAU_KILL_HOST);
        lua_pushcfunction(L, collect_in_native, "collect");
        assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_KILLED);
        assert_false(G(L)->gc.collecting);
        luau_clearkill(L);
        lua_settop(L, 0);
        if (i % 6 == 0)
            assert_sound();
    }
    G(L)->gc.step_bytes = 4096;
    luG_full(L);
    run_chunk("for i = 1, 40000 do assert(t[i][1] == i and t[i][2] == tostring(i)) end\n"
              "for i = 1, 1000 do assert(w[i] == t[i]) end t = nil w = nil");
    luG_full(L);
    assert_sound();
}

static void test_mode_collects_always(void **state)
{
    (void)state;
    luau_testmode(L, LUAU_TEST_GC_ALWAYS);
    run_chunk("local t = {} for i = 1, 100 do t[i] = {tostring(i), [i] = t} end\n"
              "for i = 1, 100 do assert(t[i][1] == tostring(i) or i == 1) end\n");
    luau_testmode(L, 0);
    assert_sound();
}

static int setup(void **state)
{
    (void)state;
    luau_Image *image = luau_image_standard();
    luau_VmOptions options = {.image = image};
    L = luau_newvm(&options);
    luau_image_release(image);
    return L == NULL;
}

static int teardown(void **state)
{
    (void)state;
    const char *fault = luau_checkheap(L);
    if (fault)
        print_error("%s\n", fault);
    lua_close(L);
    return fault != NULL;
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(random_graphs),
        test(big_tables_in_pieces),
        test(long_lists),
        test(no_memory_for_marking),
        test(weak_tables),
        test(weak_caches_in_steps),
        test(dead_keys_go_on),
        test(upvalues_of_dead_threads),
        test(coroutines_between_steps),
        test(modules_are_released),
        test(stop_and_step),
        test(kills_in_the_collector),
        test(test_mode_collects_always),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
