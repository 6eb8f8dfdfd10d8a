/* JSON text: what is accepted, what is refused and where, numbers to the last digit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/jsontext.h"

static bool accepts(const char *text, size_t length)
{
    /* A copy of the exact size: reading past the end shows under ASan. */
    char *copy = malloc(length ? length : 1);
    memcpy(copy, text, length);
    JsonReader r;
    json_open(&r, copy, length);
    bool ok = json_skip(&r) && json_end(&r);
    assert_true(ok == (r.error == NULL));
    free(copy);
    return ok;
}

static void test_accepts(void **state)
{
    (void)state;
    static const char *const good[] = {
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-1",
        "1.5",
        "1e5",
        "1E+5",
        "1e-5",
        "0.1",
        "123456789012345678901",
        "\"\"",
        "\"a\"",
        " [ ] ",
        "{}",
        "[1,2,3]",
        "{\"a\":1}",
        "{\"a\":{\"b\":[{}]}}",
        "\t\n\r [\n1\t,\r2 ] ",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0000\"",
        "\"\\uD834\\uDD1E\"",
        "\"\xC2\x80\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\"",
        "\"\x7F\"",
        "{\"a\":1,\"a\":2}",
        "{\"\":0}",
        "[[[[[[]]]]]]",
        "\"0123456789abcdef0123456789abcdef\xC3\xA9 and more text behind it\"",
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(good); i++)
        if (!accepts(good[i], strlen(good[i])))
            fail_msg("refused: %s", good[i]);
}

static const char *const BAD[] = {
    "",
    " ",
    "nul",
    "nulll",
    "True",
    "NaN",
    "Infinity",
    "-",
    "+1",
    "01",
    "-01",
    "1.",
    ".5",
    "1e",
    "1e+",
    "0x1",
    "1 2",
    "--1",
    "1.e5",
    "\"",
    "\"a",
    "\"\\\"",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u123g\"",
    "\"\t\"",
    "\"\n\"",
    "\"\x1F\"",
    "'a'",
    "\"\\uD800\"",
    "\"\\uDC00\"",
    "\"\\uD800\\u0041\"",
    "\"\\uD800x\"",
    "\"\\uD834\\uD834\"",
    "\"\x80\"",
    "\"\xC0\x80\"",
    "\"\xC1\xBF\"",
    "\"\xE0\x9F\xBF\"",
    "\"\xED\xA0\x80\"",
    "\"\xF0\x8F\xBF\xBF\"",
    "\"\xF4\x90\x80\x80\"",
    "\"\xF5\x80\x80\x80\"",
    "\"\xFF\"",
    "\"\xC3\"",
    "\"\xE2\x82\"",
    "\"\xC3(\"",
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1,,2]",
    "{",
    "}",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,}",
    "{,}",
    "{a:1}",
    "{1:1}",
    "{\"a\" 1}",
    "{\"a\":1 \"b\":2}",
    "[1}",
    "{\"a\":1]",
    "[}",
    "{]",
    "/**/1",
    "1//",
    ("\xEF\xBB\xBF"
     "1"),
    "\v1",
    "1e999",
    "-1e999",
    "{\"a\":}",
    "[null,nul]",
    "\\u0031",
    "1\\u0031",
};

static void test_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(BAD); i++)
        if (accepts(BAD[i], strlen(BAD[i])))
            fail_msg("accepted: %s", BAD[i]);
    assert_false(accepts("\"a\0b\"", 5));
    assert_false(accepts("1\0", 2));
}

static void test_every_prefix_is_refused(void **state)
{
    (void)state;
    static const char text[] =
        "{\"key\\n\":[1.5e3,true,null,\"\\uD834\\uDD1E \xE2\x82\xAC\",{\"x\":-7}]}";
    for (size_t length = 0; length + 1 < sizeof(text) - 1; length++)
        assert_false(accepts(text, length));
    assert_true(accepts(text, sizeof(text) - 1));
}

static void test_depth(void **state)
{
    (void)state;
    char text[300];
    for (int depth = 63; depth <= 66; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        assert_int_equal(accepts(text, (size_t)depth * 2), depth <= JSON_DEPTH_MAX);
    }
    size_t huge = 1000000;
    char *deep = malloc(huge);
    memset(deep, '[', huge);
    assert_false(accepts(deep, huge));
    free(deep);
}

static JsonNumber number_of(const char *text)
{
    JsonReader r;
    json_open(&r, text, strlen(text));
    JsonNumber number;
    assert_true(json_number(&r, &number));
    assert_true(json_end(&r));
    return number;
}

static void test_numbers(void **state)
{
    (void)state;
    JsonNumber n = number_of("9223372036854775807");
    assert_true(n.kind == JSON_INT64 && n.i == INT64_MAX);
    n = number_of("-9223372036854775808");
    assert_true(n.kind == JSON_INT64 && n.i == INT64_MIN);
    n = number_of("9223372036854775808");
    assert_true(n.kind == JSON_UINT64 && n.u == (uint64_t)1 << 63);
    n = number_of("18446744073709551615");
    assert_true(n.kind == JSON_UINT64 && n.u == UINT64_MAX);
    n = number_of("18446744073709551616");
    assert_true(n.kind == JSON_DOUBLE && n.d == 18446744073709551616.0);
    n = number_of("-9223372036854775809");
    assert_true(n.kind == JSON_DOUBLE && n.d == -9223372036854775808.0);
    n = number_of("99999999999999999999");
    assert_true(n.kind == JSON_DOUBLE && n.d == 1e20);
    n = number_of("-0");
    assert_true(n.kind == JSON_DOUBLE && n.d == 0 && 1 / n.d < 0);
    n = number_of("0");
    assert_true(n.kind == JSON_INT64 && n.i == 0);
    n = number_of("1.0");
    assert_true(n.kind == JSON_DOUBLE && n.d == 1.0);
    static const struct {
        const char *text;
        double value;
    } cases[] = {
        {"0.1", 0.1},
        {"1e23", 1e23},
        {"5e-324", 5e-324},
        {"2.2250738585072011e-308", 2.2250738585072011e-308},
        {"1.7976931348623157e308", 1.7976931348623157e308},
        {"9007199254740993.0", 9007199254740992.0},
        {"123456789.123456789", 123456789.123456789},
        {"1e-400", 0.0},
        {"4.35", 4.35},
        {"0.000001", 1e-6},
        {"8.41e21", 8.41e21},
        {"9.5367431640625e-07", 9.5367431640625e-07},
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++)
        assert_true(number_of(cases[i].text).d == cases[i].value);
}

static void expect_written(double value, const char *text)
{
    char out[JSON_NUMBER_MAX + 1];
    size_t length = json_format_number(value, out);
    assert_true(length <= JSON_NUMBER_MAX);
    out[length] = '\0';
    assert_string_equal(out, text);
}

static void test_written_numbers(void **state)
{
    (void)state;
    expect_written(0, "0");
    expect_written(-0.0, "-0");
    expect_written(1, "1");
    expect_written(-12345, "-12345");
    expect_written(9007199254740992.0, "9007199254740992");
    expect_written(-9007199254740992.0, "-9007199254740992");
    expect_written(9007199254740994.0, "9.007199254740994e15");
    expect_written(1e17, "1e17");
    expect_written(0.1, "0.1");
    expect_written(-0.5, "-0.5");
    expect_written(1e-6, "0.000001");
    expect_written(1e-7, "1e-7");
    expect_written(123.456, "123.456");
    expect_written(1.7976931348623157e308, "1.7976931348623157e308");
    expect_written(5e-324, "5e-324");
    expect_written(4.35, "4.35");
}

static void test_numbers_read_back(void **state)
{
    (void)state;
    uint64_t bits = 88172645463325252ull;
    for (int i = 0; i < 200000; i++) {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        double value;
        memcpy(&value, &bits, 8);
        if (value - value != 0)
            continue;
        char out[JSON_NUMBER_MAX + 1];
        out[json_format_number(value, out)] = '\0';
        JsonNumber n = number_of(out);
        double back = n.kind == JSON_DOUBLE ? n.d : (double)n.i;
        assert_true(memcmp(&back, &value, 8) == 0);
    }
}

static void expect_text(const char *text, const char *plain, size_t plain_length)
{
    JsonReader r;
    json_open(&r, text, strlen(text));
    JsonString string;
    assert_true(json_string(&r, &string));
    char out[256];
    size_t length = json_unescape(&string, out);
    assert_int_equal(length, plain_length);
    assert_int_equal(json_unescaped_length(&string), plain_length);
    assert_memory_equal(out, plain, length);
}

static void test_strings(void **state)
{
    (void)state;
    expect_text("\"\"", "", 0);
    expect_text("\"a\\u0000b\"", "a\0b", 3);
    expect_text("\"\\u0041\\u00e9\\u20AC\\uD834\\uDD1E\"", "A\xC3\xA9\xE2\x82\xAC\xF0\x9D\x84\x9E",
                10);
    expect_text("\"\\\\\\\"\\/\\b\\f\\n\\r\\t\"", "\\\"/\b\f\n\r\t", 8);
    JsonReader r;
    json_open(&r, "\"na\\u006de\"", 11);
    JsonString string;
    assert_true(json_string(&r, &string));
    assert_true(string.escaped);
    assert_true(json_equals(&string, "name"));
    assert_false(json_equals(&string, "names"));
    assert_false(json_equals(&string, "nam"));
}

static void test_written_strings(void **state)
{
    (void)state;
    Strbuf out = STRBUF_INIT;
    size_t bad;
    static const char plain[] = "plain text of some length \"q\" \\ \n\x01\x7F \xE2\x82\xAC";
    assert_true(json_put_string(&out, plain, sizeof(plain) - 1, &bad));
    assert_string_equal(strbuf_cstr(&out),
                        "\"plain text of some length \\\"q\\\" \\\\ \\n\\u0001\x7F \xE2\x82\xAC\"");
    strbuf_clear(&out);
    assert_false(json_put_string(&out, "abc\xFF", 4, &bad));
    assert_int_equal(bad, 3);
    strbuf_clear(&out);
    json_put_lossy(&out,
                   "a\xFF\xC3"
                   "b\n",
                   5);
    assert_string_equal(strbuf_cstr(&out), "\"a\xEF\xBF\xBD\xEF\xBF\xBD"
                                           "b\\n\"");
    strbuf_free(&out);
    /* Every byte at every place of a word. */
    for (int c = 0; c < 128; c++) {
        for (int at = 0; at < 17; at++) {
            char text[17];
            memset(text, 'x', sizeof(text));
            text[at] = (char)c;
            assert_true(json_put_string(&out, text, sizeof(text), &bad));
            JsonReader r;
            json_open(&r, out.data, out.length);
            JsonString string;
            assert_true(json_string(&r, &string) && json_end(&r));
            char back[64];
            assert_int_equal(json_unescape(&string, back), sizeof(text));
            assert_memory_equal(back, text, sizeof(text));
            strbuf_clear(&out);
        }
    }
    strbuf_free(&out);
}

static void test_walk(void **state)
{
    (void)state;
    static const char text[] = " {\"a\": [1, {\"b\": null}], \"c\": \"x\"} ";
    JsonReader r;
    JsonString key, value;
    JsonNumber number;
    json_open(&r, text, strlen(text));
    assert_int_equal(json_peek(&r), JSON_OBJECT);
    assert_true(json_enter(&r));
    assert_true(json_member(&r, &key) && json_equals(&key, "a"));
    assert_int_equal(json_peek(&r), JSON_ARRAY);
    assert_true(json_enter(&r));
    assert_true(json_element(&r));
    assert_int_equal(json_peek(&r), JSON_NUMBER);
    assert_true(json_number(&r, &number) && number.i == 1);
    assert_true(json_element(&r));
    assert_true(json_skip(&r));
    assert_false(json_element(&r));
    assert_null(r.error);
    assert_true(json_member(&r, &key) && json_equals(&key, "c"));
    assert_int_equal(json_peek(&r), JSON_STRING);
    assert_true(json_string(&r, &value) && json_equals(&value, "x"));
    assert_false(json_member(&r, &key));
    assert_true(json_end(&r));
}

static void test_places(void **state)
{
    (void)state;
    JsonReader r;
    char text[128];
    json_open(&r, "{\n \"\xC3\xA9\": tru}", 13);
    assert_false(json_skip(&r));
    json_describe(&r, text, sizeof(text));
    assert_string_equal(text, "line 2, column 7: expected a value");
    json_open(&r, "[1", 2);
    assert_false(json_skip(&r));
    json_describe(&r, text, sizeof(text));
    assert_string_equal(text, "line 1, column 3: unexpected end");
}

static void test_buffer_ceiling(void **state)
{
    (void)state;
    Strbuf out = {.max = 100};
    for (int i = 0; i < 1000; i++)
        strbuf_puts(&out, "0123456789");
    assert_true(out.failed);
    assert_true(out.length <= 100);
    strbuf_putc(&out, 'x');
    assert_true(out.length <= 100);
    strbuf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_every_prefix_is_refused),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_written_numbers),
        cmocka_unit_test(test_numbers_read_back),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_written_strings),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_buffer_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
