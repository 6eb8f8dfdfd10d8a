/* test_parse_limits.c: depth, memory caps, polls and odd input of the parser. */
#include "parse_support.h"

/* ---- limits ---------------------------------------------------------------------------------- */

static void test_depth(void **state)
{
    (void)state;
    static const struct {
        const char *before, *part, *middle, *after;
        size_t most;
        const char *what;
    } cases[] = {
        {"x = ", "(", "1", ")", 998, "expression"},
        {"x = y", ".a", "", "", 998, "expression"},
        {"y", "()", "", "", 999, "expression"},
        {"x = y", "+y", "", "", 998, "expression"},
        {"x = ", "- ", "y", "", 998, "expression"},
        {"x = ", "`{", "1", "}`", 998, "expression"},
        {"if a then", " elseif a then", " end", "", 998, "expression"},
        {"", "do ", "", "end ", 1000, "block"},
        {"", "f(function() ", "", "end)", 500, "block"},
        {"local x: ", "{", "A", "}", 499, "type annotation"},
        {"function f", ".a", "() end", "", 999, "function name"},
    };
    char want[128];
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++) {
        for (size_t extra = 0; extra < 2; extra++) {
            char *source = nest(cases[i].before, cases[i].part, cases[i].most + extra,
                                cases[i].middle, cases[i].after);
            snprintf(want, sizeof(want),
                     "1: Exceeded allowed recursion depth; simplify your %s to "
                     "make the code compile",
                     cases[i].what);
            assert_string_equal(outcome(source), extra ? want : "OK");
            free(source);
        }
    }
    char *source = nest("local x: A", "|A", 999, "", "");
    assert_string_equal(outcome(source), "OK");
    free(source);
    source = nest("local x: A", "|A", 1000, "", "");
    assert_string_equal(outcome(source), "1: Exceeded allowed type length; simplify your type "
                                         "annotation to make the code compile");
    free(source);
}

/* Unclosed openers, far more than the limit: neither the stack nor the time may run out. */
static void test_hostile_nesting(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "(",  "{",          "[",      "`{",         "f(function() ", "do ", "-",
        "x[", "if x then ", "a:b{c=", "local x: {", "@[native(",     "not "};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(parts); i++) {
        char *source = nest("x = ", parts[i], 20000, "", "");
        for (int max_errors = 1; max_errors <= 20; max_errors += 19) {
            Parse parse;
            run_parse(&parse, source, strlen(source), max_errors, 0, NULL);
            assert_int_equal(parse.failed, 0);
            assert_null(parse.result.main);
            luA_free(&parse.arena);
        }
        free(source);
    }
}

static void test_every_small_cap(void **state)
{
    (void)state;
    static const char source[] =
        "--!optimize 1\nlocal a: {[string]: number}, b = 1, `x{2}y`\n"
        "local function f(...) return {a = 1, [2] = 3, ...}, function() return b end end\n"
        "for i = 1, 10 do if i then f(i) elseif b then a.x[1]:y 'z' else continue end end\n"
        "return a .. b, not a and -b or #a, 'esc\\n', 0xff, @native function() end\n";
    bool parsed = false;
    for (size_t cap = 1; !parsed; cap += 8) {
        Parse parse;
        run_parse(&parse, source, sizeof(source) - 1, 10, cap, NULL);
        assert_true(parse.arena.used_bytes <= cap);
        parsed = parse.failed == 0;
        if (parsed)
            assert_non_null(parse.result.main);
        else
            assert_int_equal(parse.failed, ARENA_NOMEM);
        luA_free(&parse.arena);
        luA_free(&parse.arena);
        assert_int_equal(parse.arena.used_bytes, 0);
        assert_true(cap < 1 << 20);
    }
}

static int stop_at_third(void *userdata)
{
    int *calls = userdata;
    return ++*calls == 3;
}

static void test_poll(void **state)
{
    (void)state;
    int calls = 0;
    ParseOptions options = {stop_at_third, &calls};
    char *source = nest("", "f()\n", 100000, "", "");
    Parse parse;
    run_parse(&parse, source, strlen(source), 1, 0, &options);
    assert_int_equal(parse.failed, ARENA_STOP);
    assert_int_equal(calls, 3);
    luA_free(&parse.arena);
    free(source);
}

static void test_arena(void **state)
{
    (void)state;
    Parse parse;
    luA_init(&parse.arena, 100000, &parse.fail);
    parse.failed = setjmp(parse.fail);
    if (parse.failed == 0) {
        char *big = luA_alloc(&parse.arena, 50000);
        memset(big, 1, 50000);
        char *small = luA_zalloc(&parse.arena, 3);
        assert_int_equal((uintptr_t)small % 8, 0);
        assert_int_equal(small[2], 0);
        char *grown = luA_grow(&parse.arena, big, 10, 20);
        assert_memory_equal(grown, big, 10);
        luA_alloc(&parse.arena, SIZE_MAX - 4);
        fail_msg("an impossible size was allocated");
    }
    assert_int_equal(parse.failed, ARENA_NOMEM);
    luA_free(&parse.arena);
}

/* ---- odd input ------------------------------------------------------------------------------- */

#define OUTCOME_OF(literal) outcome_of(literal, sizeof(literal) - 1)

static void test_nul(void **state)
{
    (void)state;
    assert_string_equal(OUTCOME_OF("x = 1\0 ) ) )"), "OK");
    assert_string_equal(OUTCOME_OF("-- a\0\nx ="), "OK");
    assert_string_equal(OUTCOME_OF("x = '\0'"),
                        "1: Malformed string; did you forget to finish it?");
    assert_string_equal(OUTCOME_OF("x = [[\0]]"),
                        "1: Malformed string; did you forget to finish it?");
    assert_string_equal(OUTCOME_OF("x = `\0`"),
                        "1: Malformed string; did you forget to finish it?");
    assert_string_equal(OUTCOME_OF("--[[ \0 ]] x = 1"),
                        "1: Expected identifier when parsing expression, got unfinished comment");
    assert_string_equal(OUTCOME_OF("\0"), "OK");
}

/* Each prefix of a source is copied to a block of just its size, for address checkers. */
static void test_every_prefix(void **state)
{
    (void)state;
    static const char source[] =
        "@[deprecated{use='x'}] local function f<T, U...>(a: T?, ...: U...): (T, ...any)\n"
        "  return `a{b}\\u{41}c`, [==[x]==], 0x1F, 1e-5, \"\\x41\\z  \\065\" --[[ c ]] end\n"
        "const k = if f then f<<A>>(1) elseif x //= 2 then 3 else ...\n"
        "export type X = {read a: A.B}\n"
        "type function g(t) return t end while x do continue end repeat until \xe2\x80\x9c";
    for (size_t length = 0; length < sizeof(source); length++) {
        char *copy = malloc(length ? length : 1);
        assert_non_null(copy);
        memcpy(copy, source, length);
        for (int max_errors = 1; max_errors <= 8; max_errors += 7) {
            Parse parse;
            run_parse(&parse, copy, length, max_errors, 0, NULL);
            assert_int_equal(parse.failed, 0);
            assert_true((parse.result.main != NULL) == (parse.result.error_count == 0));
            luA_free(&parse.arena);
        }
        free(copy);
    }
}

static void test_huge(void **state)
{
    (void)state;
    Parse parse;
    char *source = nest("x = {", "1.5, ", 300000, "}", "");
    AstExpr *expr = first_value(parse_ok(&parse, source));
    assert_int_equal(expr->table.count, 300000);
    luA_free(&parse.arena);
    free(source);
    source = nest("x = '", "abcdefgh", 500000, "'", "");
    expr = first_value(parse_ok(&parse, source));
    assert_int_equal(expr->string.length, 4000000);
    luA_free(&parse.arena);
    free(source);
    source = nest("", "\n", 1000000, "x =", "");
    assert_string_equal(outcome(source),
                        "1000001: Expected identifier when parsing expression, got <eof>");
    free(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depth),           cmocka_unit_test(test_hostile_nesting),
        cmocka_unit_test(test_every_small_cap), cmocka_unit_test(test_poll),
        cmocka_unit_test(test_arena),           cmocka_unit_test(test_nul),
        cmocka_unit_test(test_every_prefix),    cmocka_unit_test(test_huge),
    };
    return cmocka_run_group_tests_name("parser limits", tests, NULL, NULL);
}
