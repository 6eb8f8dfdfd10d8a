/* test_heap.c: the heap of a VM: blocks, account, quota, failing allocations, the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "luau/api.h"

static uint32_t random_state = 99;
static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

static lua_State *new_vm(size_t quota)
{
    luau_VmOptions options = {.memory_max_bytes = quota};
    lua_State *L = luau_newvm(&options);
    assert_non_null(L);
    return L;
}

static void assert_sound(lua_State *L)
{
    const char *fault = luau_checkheap(L);
    if (fault)
        fail_msg("%s", fault);
}

static void a_fresh_vm_is_small(void **state)
{
    (void)state;
    lua_State *L = new_vm(0);
    luau_Account account;
    luau_account(L, &account);
    assert_in_range(account.reserved_bytes, HEAP_FIRST_CHUNK, 4096);
    assert_in_range(account.live_bytes, 1, 1024);
    assert_sound(L);
    lua_close(L);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

typedef struct Held {
    unsigned char *block;
    size_t size;
    unsigned char fill;
} Held;

static void check_fill(const Held *held)
{
    for (size_t i = 0; i < held->size; i++)
        assert_int_equal(held->block[i], held->fill);
}

static void blocks_do_not_overlap(void **state)
{
    (void)state;
    lua_State *L = new_vm(0);
    enum { COUNT = 400 };
    Held held[COUNT] = {{0}};
    for (int step = 0; step < 20000; step++) {
        Held *h = &held[random_below(COUNT)];
        size_t size = random_below(8) ? random_below(300) : random_below(5000);
        if (!h->block) {
            h->block = luH_alloc(L, size);
        } else if (random_below(2)) {
            check_fill(h);
            luH_free(L, h->block, h->size);
            h->block = NULL;
            h->size = 0;
            continue;
        } else {
            check_fill(h);
            h->block = luH_realloc(L, h->block, h->size, size);
            Held kept = {h->block, size < h->size ? size : h->size, h->fill};
            check_fill(&kept);
        }
        assert_int_equal((uintptr_t)h->block & 7, 0);
        h->size = size;
        h->fill = (unsigned char)(step * 7 + 1);
        memset(h->block, h->fill, size);
        if (step % 500 == 0)
            assert_sound(L);
    }
    for (int i = 0; i < COUNT; i++)
        luH_free(L, held[i].block, held[i].size);
    luH_trim(G(L));
    assert_sound(L);
    luau_Account account;
    luau_account(L, &account);
    assert_in_range(account.reserved_bytes, HEAP_FIRST_CHUNK, 4096);
    assert_true(account.peak_bytes > 50000);
    lua_close(L);
}

static void all_sizes(void **state)
{
    (void)state;
    lua_State *L = new_vm(0);
    for (size_t size = 0; size < 1200; size++) {
        size_t before = G(L)->heap.live_bytes;
        char *block = luH_alloc(L, size);
        memset(block, 0x55, size);
        size_t cost = G(L)->heap.live_bytes - before;
        assert_in_range(cost, size + 8, size + size / 4 + 64);
        luH_free(L, block, size);
        assert_int_equal(G(L)->heap.live_bytes, before);
    }
    assert_null(luH_try(G(L), SIZE_MAX));
    assert_null(luH_try(G(L), SIZE_MAX / 2));
    assert_sound(L);
    lua_close(L);
}

static void userdata_is_aligned(void **state)
{
    (void)state;
    lua_State *L = new_vm(0);
    for (size_t size = 0; size < 1500; size += 3) {
        char *data = lua_newuserdata(L, size);
        assert_int_equal((uintptr_t)data & 15, 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(data[i], 0);
        memset(data, 0xAA, size);
        lua_settop(L, 0);
    }
    assert_sound(L);
    lua_close(L);
}

/* ---- destructors ----------------------------------------------------------------------------- */

static void count_down(void *userdata)
{
    --**(int **)userdata;
}

static void destructors_run(void **state)
{
    (void)state;
    lua_State *L = new_vm(0);
    int alive = 0;
    lua_checkstack(L, 200);
    for (int i = 0; i < 100; i++) {
        int **box = lua_newuserdatadtor(L, sizeof(int *) + (size_t)i, count_down);
        *box = &alive;
        alive++;
        if (i % 2)
            lua_pop(L, 1);
    }
    assert_int_equal(alive, 100);
    lua_gc(L, LUA_GCCOLLECT, 0);
    assert_int_equal(alive, 50);
    lua_settop(L, 20);
    lua_gc(L, LUA_GCCOLLECT, 0);
    assert_int_equal(alive, 20);
    assert_sound(L);
    lua_close(L);
    assert_int_equal(alive, 0);
}

/* ---- quota ----------------------------------------------------------------------------------- */

static int hoard(lua_State *L) /* tables in a list, for ever */
{
    lua_newtable(L);
    for (;;) {
        lua_newtable(L);
        lua_pushvalue(L, -2);
        lua_rawseti(L, -2, 1);
        lua_remove(L, -2);
    }
    return 0;
}

static int fill_table(lua_State *L)
{
    lua_newtable(L);
    for (int i = 1;; i++) {
        lua_pushnumber(L, i);
        lua_rawseti(L, -2, i);
    }
    return 0;
}

static int fill_keys(lua_State *L)
{
    lua_newtable(L);
    for (int i = 1;; i++) {
        lua_pushnumber(L, i + 0.5);
        lua_pushboolean(L, 1);
        lua_rawset(L, -3);
    }
    return 0;
}

static int double_string(lua_State *L)
{
    lua_pushstring(L, "0123456789");
    for (;;) {
        lua_pushvalue(L, -1);
        lua_concat(L, 2);
    }
    return 0;
}

static int guarded(lua_State *L) /* pcall does not catch it */
{
    lua_pushcfunction(L, hoard, "hoard");
    lua_pcall(L, 0, 0, 0);
    fail();
    return 0;
}

static void passing_the_quota_kills(void **state)
{
    (void)state;
    const lua_CFunction eaters[] = {hoard, fill_table, fill_keys, double_string, guarded};
    const size_t quotas[] = {16 << 10, 100000, 1 << 20, 20 << 20};
    for (size_t q = 0; q < 4; q++) {
        for (size_t i = 0; i < 5; i++) {
            lua_State *L = new_vm(quotas[q]);
            lua_pushcfunction(L, eaters[i], "eat");
            int status = lua_pcall(L, 0, 0, 0);
            if (eaters[i] == hoard || eaters[i] == guarded || status != LUA_ERRMEM) {
                assert_int_equal(status, LUA_KILLED);
                assert_int_equal(luau_killreason(L), LUAU_KILL_MEMORY);
            } /* else the last block alone was over it: an error */
            luau_Account account;
            luau_account(L, &account);
            assert_in_range(account.peak_bytes, quotas[q] / 3, quotas[q]);
            assert_sound(L);
            lua_close(L);
        }
    }
}

static int one_block(lua_State *L)
{
    lua_newbuffer(L, (size_t)lua_tonumber(L, 1));
    return 0;
}

static void a_request_over_the_quota_is_an_error(void **state)
{
    (void)state;
    lua_State *L = new_vm(1 << 20);
    for (int i = 0; i < 10; i++) {
        lua_pushcfunction(L, one_block, "block");
        lua_pushnumber(L, 2 << 20);
        assert_int_equal(lua_pcall(L, 1, 0, 0), LUA_ERRMEM);
        assert_string_equal(lua_tostring(L, -1), "not enough memory");
        lua_settop(L, 0);
    }
    lua_pushcfunction(L, one_block, "block");
    lua_pushnumber(L, 1 << 19);
    assert_int_equal(lua_pcall(L, 1, 0, 0), LUA_OK);
    assert_sound(L);
    lua_close(L);
}

/* Much garbage, of large and growing blocks, never kills. */
static int waste(lua_State *L)
{
    for (int i = 0; i < 2000; i++) {
        lua_newbuffer(L, 1 + random_below(200000));
        lua_newtable(L);
        for (int k = 1; k < 3000; k++) {
            lua_pushnumber(L, k);
            lua_rawseti(L, -2, k * (i % 3 + 1));
        }
        lua_settop(L, 0);
    }
    return 0;
}

static void garbage_is_no_offence(void **state)
{
    (void)state;
    lua_State *L = new_vm(1 << 20);
    lua_pushcfunction(L, waste, "waste");
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_OK);
    assert_sound(L);
    lua_close(L);
}

/* Holds most of the quota, and drops and refills a little of it for ever. */
static int live_at_the_cap(lua_State *L)
{
    lua_checkstack(L, 100);
    lua_newtable(L);
    for (int i = 1; i <= 890; i++) {
        lua_newbuffer(L, 1000);
        lua_rawseti(L, -2, i);
    }
    for (;;) {
        for (int i = 1; i <= 45; i++)
            lua_newbuffer(L, 1000);
        lua_settop(L, 1);
    }
    return 0;
}

static void living_at_the_cap_ends(void **state)
{
    (void)state;
    lua_State *L = new_vm(1000000);
    G(L)->gc.stopped = true; /* forced collections only */
    lua_pushcfunction(L, live_at_the_cap, "live");
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_KILLED);
    assert_int_equal(luau_killreason(L), LUAU_KILL_MEMORY);
    assert_sound(L);
    lua_close(L);
}

static int charge(lua_State *L)
{
    luau_charge(L, 300000);
    return 0;
}

static void charges_count(void **state)
{
    (void)state;
    lua_State *L = new_vm(1 << 20);
    luau_Account account;
    for (int i = 1; i <= 3; i++) {
        lua_pushcfunction(L, charge, "charge");
        assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_OK);
        luau_account(L, &account);
        assert_int_equal(account.external_bytes, 300000 * i);
    }
    luau_charge(L, -300000);
    lua_pushcfunction(L, charge, "charge");
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_OK);
    lua_pushcfunction(L, charge, "charge");
    assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_KILLED);
    assert_sound(L);
    lua_close(L);
}

/* ---- failing allocations --------------------------------------------------------------------- */

static int work(lua_State *L)
{
    lua_newtable(L);
    for (int i = 1; i <= 40; i++) {
        lua_pushfstring(L, "value %d", i);
        lua_rawseti(L, -2, i);
        lua_pushfstring(L, "key %d", i);
        lua_newtable(L);
        lua_rawset(L, -3);
    }
    lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_clonetable(L, 1);
    lua_newbuffer(L, 3000);
    for (int i = 0; i < 300; i++) {
        lua_rawcheckstack(L, 1);
        lua_pushnumber(L, i);
    }
    lua_concat(L, 300);
    return 0;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (size_t quota = 0; quota <= 10 << 20; quota += 10 << 20) {
        bool done = false;
        for (uint64_t k = 1; !done; k++) {
            lua_State *L = new_vm(quota);
            lua_pushcfunction(L, work, "work");
            G(L)->heap.fail_at = G(L)->heap.alloc_count + k;
            int status = lua_pcall(L, 0, 0, 0);
            done = G(L)->heap.alloc_count < G(L)->heap.fail_at;
            G(L)->heap.fail_at = 0;
            if (status != LUA_OK)
                assert_int_equal(status, quota ? LUA_KILLED : LUA_ERRMEM);
            if (status == LUA_ERRMEM) {
                assert_string_equal(lua_tostring(L, -1), "not enough memory");
                lua_settop(L, 0);
                lua_pushcfunction(L, work, "work");
                assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_OK);
            }
            assert_sound(L);
            lua_close(L);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_vm_is_small),
        cmocka_unit_test(blocks_do_not_overlap),
        cmocka_unit_test(all_sizes),
        cmocka_unit_test(userdata_is_aligned),
        cmocka_unit_test(destructors_run),
        cmocka_unit_test(passing_the_quota_kills),
        cmocka_unit_test(a_request_over_the_quota_is_an_error),
        cmocka_unit_test(garbage_is_no_offence),
        cmocka_unit_test(living_at_the_cap_ends),
        cmocka_unit_test(charges_count),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
