/* Capabilities: which grants allow what, and what two lists both allow, compared with asking both
 * lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "khronos/caps.h"

static bool grants(const char *grant, const char *cap)
{
    return caps_grants(grant, cap, strlen(cap));
}

static void test_grants(void **state)
{
    (void)state;
    static const struct {
        const char *grant, *cap;
        bool want;
    } cases[] = {
        {"kv:get", "kv:get", true},
        {"kv:get", "kv:gets", false},
        {"kv:get", "kv:ge", false},
        {"kv:get", "KV:get", false},
        {"kv:get", "", false},
        {"*", "kv:get", true},
        {"*", "", true},
        {"*", "*", true},
        {"*", "kv:*", true},
        {"kv:*", "kv:get", true},
        {"kv:*", "kv:meta:keys", true},
        {"kv:*", "kv:*", true},
        {"kv:*", "kv:meta:*", true},
        {"kv:*", "kv", false},
        {"kv:*", "kv:", false},
        {"kv:*", "kvx:get", false},
        {"kv:*", "kv.meta:keys", false},
        {"kv:*", "*", false},
        {"kv:meta:*", "kv:*", false},
        {"kv:get", "kv:*", false},
        {"kv*", "kvx", false},
        {"kv*", "kv*", true},
        {":*", ":x", false},
        {":*", ":*", true},
        {"k:*:x", "k:y:x", false},
        {"", "", true},
        {"", "a", false},
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++)
        if (grants(cases[i].grant, cases[i].cap) != cases[i].want)
            fail_msg("'%s' and '%s'", cases[i].grant, cases[i].cap);
    assert_false(caps_grants("kv:get", "kv:get\0x", 8)); /* a NUL ends nothing */
    assert_true(caps_grants("kv:*", "kv:\0", 4));
}

static void test_valid(void **state)
{
    (void)state;
    char text[CAPS_TEXT_MAX + 2];
    memset(text, 'a', sizeof(text));
    assert_true(caps_valid("kv[a.b]:get", 11));
    assert_true(caps_valid("*", 1));
    assert_true(caps_valid(text, CAPS_TEXT_MAX));
    assert_false(caps_valid(text, CAPS_TEXT_MAX + 1));
    assert_false(caps_valid("", 0));
    assert_true(caps_valid("a b", 3));
    assert_false(caps_valid("a\nb", 3));
    assert_false(caps_valid("a\0b", 3));
    assert_false(caps_valid("a\x7f", 2));
}

static void test_covers(void **state)
{
    (void)state;
    static const char *const have[] = {"kv:*", "log:write"};
    static const char *const some[] = {"kv:get", "kv:meta:*", "log:write"};
    static const char *const more[] = {"kv:get", "log:*", "x"};
    const char *missing = NULL;
    KhronosCaps caps = {have, 2};
    assert_true(caps_covers(caps, (KhronosCaps){some, 3}, &missing));
    assert_true(caps_covers(caps, (KhronosCaps){NULL, 0}, NULL));
    assert_false(caps_covers(caps, (KhronosCaps){more, 3}, &missing));
    assert_string_equal(missing, "log:*");
    assert_false(caps_covers((KhronosCaps){NULL, 0}, (KhronosCaps){some, 1}, NULL));
}

static void count_poll(void *arg)
{
    ++*(int *)arg;
}

/* Every pair of lists over a small vocabulary: a capability is allowed by what they share exactly
 * when both allow it. */
static void test_intersection(void **state)
{
    (void)state;
    static const char *const words[] = {"*", "a:*", "a:b:*", "a:b", "a:b:c", "d", "a"};
    static const char *const asked[] = {"*",     "a:*",   "a:b:*", "a:b",  "a:b:c", "a:b:d",
                                        "a:c:d", "a:c",   "a",     "d",    "d:*",   "d:e",
                                        "e",     "a:c:*", "a:",    "a:b:", ""};
    enum { WORDS = BASE_ARRAY_COUNT(words), SETS = 1 << WORDS };
    int polls = 0;
    for (int i = 0; i < SETS * SETS; i++) {
        const char *a[WORDS], *b[WORDS], *both[2 * WORDS];
        KhronosCaps list_a = {a, 0}, list_b = {b, 0};
        for (int k = 0; k < WORDS; k++) {
            if (i >> k & 1)
                a[list_a.count++] = words[k];
            if (i >> (k + WORDS) & 1)
                b[list_b.count++] = words[k];
        }
        KhronosCaps shared = {both, caps_intersect(list_a, list_b, both, count_poll, &polls)};
        assert_true(shared.count <= list_a.count + list_b.count);
        for (size_t k = 0; k < BASE_ARRAY_COUNT(asked); k++) {
            size_t length = strlen(asked[k]);
            bool want = caps_allows(list_a, asked[k], length) &&
                        caps_allows(list_b, asked[k], length);
            if (caps_allows(shared, asked[k], length) != want)
                fail_msg("sets %d, '%s'", i, asked[k]);
        }
        assert_true(caps_covers(list_a, shared, NULL) && caps_covers(list_b, shared, NULL));
    }
    assert_true(polls > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grants),
        cmocka_unit_test(test_valid),
        cmocka_unit_test(test_covers),
        cmocka_unit_test(test_intersection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
