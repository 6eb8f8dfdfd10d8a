/* test_str.c: strings: hashes, equality, order, core strings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "luau/charstr.h"
#include "luau/state.h"
#include "luau/str.h"
#include "luau/tm.h"

/* Reference 13.1, written down once more and as slowly as it reads. */
static uint32_t expected_hash(const unsigned char *s, size_t length)
{
    uint32_t a = 0, b = 0, h = (uint32_t)length;
#define ROR(x, n) (((x) >> (n)) | ((x) << (32 - (n))))
#define WORD(p)                                                                                    \
    ((uint32_t)(p)[0] | (uint32_t)(p)[1] << 8 | (uint32_t)(p)[2] << 16 | (uint32_t)(p)[3] << 24)
    size_t at = 0;
    while (length - at >= 32) {
        a += WORD(s + at);
        b += WORD(s + at + 4);
        h += WORD(s + at + 8);
        a ^= h, a -= ROR(h, 14);
        b ^= a, b -= ROR(a, 11);
        h ^= b, h -= ROR(b, 25);
        at += 12;
    }
    for (size_t i = length; i > at; i--)
        h = h ^ ((h << 5) + (h >> 2) + s[i - 1]);
    return h;
}

static void hashes(void **state)
{
    (void)state;
    unsigned char text[300];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (unsigned char)(i * 37 + (i >> 3));
    for (size_t length = 0; length <= sizeof(text); length++)
        assert_int_equal(luS_hash((char *)text, length), expected_hash(text, length));
    assert_int_equal(luS_hash("", 0), 0);
    assert_int_equal(luS_hash("a", 1), 1 ^ (32 + 'a'));
}

static void keyed_hash(void **state)
{
    (void)state;
    const uint64_t key[2] = {0x0706050403020100u, 0x0F0E0D0C0B0A0908u};
    assert_int_equal(luS_keyedhash(key, "", 0), 0xABAC0158050FC4DCu); /* known answer */
    const uint64_t other[2] = {1, 2};
    char text[64] = {0};
    for (size_t n = 0; n < sizeof(text); n++) {
        assert_int_not_equal(luS_keyedhash(key, text, n), luS_keyedhash(other, text, n));
        assert_int_not_equal(luS_keyedhash(key, text, n), luS_keyedhash(key, text, n + 1));
    }
}

static void check_core(String *s, const char *text)
{
    assert_string_equal(s->data, text);
    assert_int_equal(s->length, strlen(text));
    assert_int_equal(s->hash, expected_hash((const unsigned char *)text, strlen(text)));
    assert_int_equal(s->flags, STRING_HASHED);
    assert_int_equal(s->mark, MARK_SHARED);
    assert_int_equal((uintptr_t)s & 7, 0);
}

static void core_strings(void **state)
{
    (void)state;
#define X(id, name)                                                                                \
    check_core(luTM_name(TM_##id), name);                                                          \
    assert_ptr_equal(luTM_core(name, sizeof(name) - 1, 0), luTM_name(TM_##id));                    \
    assert_ptr_equal(luTM_core(name, sizeof(name) - 1, luTM_name(TM_##id)->hash),                  \
                     luTM_name(TM_##id));
    LUAU_METAMETHODS(X)
#undef X
    int type = 0;
#define X(id, name)                                                                                \
    check_core(luTM_typename(type), name);                                                         \
    assert_string_equal(luTM_typenames[type], name);                                               \
    assert_non_null(luTM_core(name, sizeof(name) - 1, 0));                                         \
    type++;
    LUAU_TYPENAMES(X)
#undef X
#define X(id, name)                                                                                \
    check_core(luTM_text(TEXT_##id), name);                                                        \
    assert_ptr_equal(luTM_core(name, sizeof(name) - 1, 0), luTM_text(TEXT_##id));
    LUAU_TEXTS(X)
#undef X
    assert_string_equal(luTM_typenames[LUA_TBUFFER], "buffer");
    assert_string_equal(luTM_typenames[LUA_TLIGHTUSERDATA], "userdata");
    assert_null(luTM_core("__indey", 7, 0));
    assert_null(luTM_core("a text far too long to be one of the core's", 43, 0));
    assert_ptr_equal(luTM_core("x", 1, 0), luS_char('x'));
    assert_ptr_equal(luTM_core("", 0, 0), luS_empty());
}

static void equality_and_order(void **state)
{
    lua_State *L = luaL_newstate();
    (void)state;
    String *a = luS_new(L, "ab\0c", 4), *b = luS_new(L, "ab\0c", 4), *c = luS_new(L, "ab\0d", 4);
    String *shorter = luS_new(L, "ab", 2), *empty = luS_new(L, "", 0);
    assert_true(luS_equal(a, a));
    assert_true(luS_equal(a, b));
    assert_false(luS_equal(a, c));
    assert_false(luS_equal(a, shorter));
    luS_hashof(a);
    assert_true(luS_equal(a, b)); /* one of them hashed */
    luS_hashof(b);
    luS_hashof(c);
    assert_true(luS_equal(a, b));
    assert_false(luS_equal(a, c));
    assert_true(luS_compare(a, b) == 0);
    assert_true(luS_compare(a, c) < 0);
    assert_true(luS_compare(c, a) > 0);
    assert_true(luS_compare(shorter, a) < 0);
    assert_true(luS_compare(a, shorter) > 0);
    assert_true(luS_compare(empty, shorter) < 0);
    String *high = luS_new(L, "\x80", 1);
    assert_true(luS_compare(high, a) > 0);
    assert_int_equal(a->data[4], 0);
    lua_close(L);
}

static void rooms(void **state)
{
    (void)state;
    lua_State *L = luaL_newstate();
    for (size_t length = 0; length < 3000; length += 7) {
        String *s = luS_room(L, length);
        memset(s->data, 'x', length);
        assert_int_equal(s->length, length);
        assert_int_equal(s->flags, 0);
        assert_int_equal(strlen(s->data), length);
        assert_int_equal(luS_hashof(s), luS_hash(s->data, length));
    }
    assert_null(luau_checkheap(L));
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes),       cmocka_unit_test(keyed_hash),
        cmocka_unit_test(core_strings), cmocka_unit_test(equality_and_order),
        cmocka_unit_test(rooms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
