/* Numbers as text: against the C library, which is exact, and against properties. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/num.h"

static double of_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    return bits;
}

/* xorshift64*: the same values in every run. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 2685821657736338717u;
}

static double random_finite(uint64_t *state)
{
    for (;;) {
        double value = of_bits(next_random(state));
        if (isfinite(value) && value != 0)
            return value;
    }
}

/* ---- Reading ---- */

static void check_strtod(const char *text)
{
    char *want_end;
    const char *end;
    double want = strtod(text, &want_end);
    double got = num_strtod(text, &end);
    if (end != want_end || (bits_of(got) != bits_of(want) && !(isnan(got) && isnan(want))) ||
        signbit(got) != signbit(want))
        fail_msg("num_strtod(\"%.60s\") is %.17g, %td used; want %.17g, %td", text, got, end - text,
                 want, want_end - text);
}

static void check_decimal(const char *text)
{
    const char *end;
    size_t length = strlen(text);
    double want = strtod(text, NULL);
    double got = num_read_decimal(text, length, &end);
    if (end != text + length || bits_of(got) != bits_of(want))
        fail_msg("num_read_decimal(\"%.60s\") is %.17g, want %.17g", text, got, want);
    check_strtod(text);
}

/* The exact decimal of the point between value and the next double, as it is and a little more and
 * less. */
static void check_halfway(double value)
{
    char text[1600];
    uint64_t bits = bits_of(value);
    uint64_t fraction = bits & 0xFFFFFFFFFFFFFu;
    int biased = (int)(bits >> 52);
    long double middle = ldexpl((long double)(2 * (fraction | (biased ? 1ull << 52 : 0)) + 1),
                                (biased ? biased : 1) - 1076);
    int length = snprintf(text, sizeof(text), "%.1100Lf", middle);
    assert_true(length > 0 && (size_t)length < sizeof(text) - 4);
    check_decimal(text);
    strcpy(text + length, "01");
    check_decimal(text);
    text[length] = '\0';
    char *p = text + length - 1;
    while (*p == '0')
        *p-- = '9';
    if (*p != '.')
        --*p;
    else
        return;
    check_decimal(text);
}

static const char *const grammar[] = {
    "",
    " ",
    "+",
    "-",
    ".",
    "e5",
    ".e5",
    "0",
    "-0",
    "+0",
    "00",
    "0.",
    ".0",
    "-.0",
    "1.",
    ".5",
    "5e",
    "5e+",
    "5e-x",
    "5E3",
    "5e+3",
    "5e-3",
    " 12",
    "\t\n\v\f\r 12 ",
    "1 2",
    "--1",
    "+-1",
    "1..2",
    "1.2.3",
    "1_000",
    "0x",
    "0x.",
    "0x.p1",
    "0xp1",
    "0x1",
    "0X1F",
    "-0x10",
    "0x.8",
    "0x8.",
    "0x1p4",
    "0x1P+4",
    "0x1p-4",
    "0x1p",
    "0x1p+",
    "0x1.8p1",
    "0xg",
    "0x-1",
    "x1",
    "0x1.fffffffffffff7p1023",
    "0x1.fffffffffffff8p1023",
    "0x1.fffffffffffff7ffp0",
    "0x1.00000000000008p0",
    "0x1.000000000000080000000000001p0",
    "0x1.00000000000018p0",
    "0x0.0000000000000000000000001p200",
    "0x123456789abcdef0123456789p-3",
    "0x1p-1074",
    "0x1p-1075",
    "0x1.0000000000001p-1075",
    "0x0.8p-1074",
    "0x1.8p-1074",
    "0x3p-1075",
    "0x1.fffffffffffffp-1023",
    "0x0p99999999999999999999",
    "0x1p99999999999999999999",
    "0x1p-99999999999999999999",
    "0xffffffffffffffff",
    "0xfffffffffffffffff",
    "0x1fffffffffffff8",
    "0x1ffffffffffffe8",
    "inf",
    "INF",
    "Infinity",
    "infinit",
    "+inf",
    "-iNf",
    "infx",
    "in",
    "nan",
    "NaN",
    "-nan",
    "nan()",
    "nan(12)",
    "nan(a_Z9)",
    "nan(",
    "nan(x",
    "nan(-)",
    "nanx",
    "1e400",
    "-1e400",
    "1e-400",
    "1e99999999999999999999999",
    "1e-99999999999999999999999",
    "0e99999999999999999999",
    "1e309",
    "1e308",
    "1.7976931348623157e308",
    "1.7976931348623158e308",
    "1.7976931348623159e308",
    "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017"
    "977587207096330286416692887910946555547851940402630657488671505820681908902000708383676273"
    "854845817711531764475730270069855571366959622842914819860834936475292719074168444365510704"
    "342711559699508093042880",
    "4.9e-324",
    "2.4703282292062327e-324",
    "2.4703282292062328e-324",
    "2.2250738585072014e-308",
    "2.2250738585072011e-308",
    "2.225073858507201136057409796709131975934819546351645648e-308",
    "9007199254740993",
    "9007199254740992.99999999999999999999",
    "9007199254740993.00000001",
    "18446744073709551615",
    "18446744073709551616",
    "9999999999999999999",
    "99999999999999999999",
    "0.1",
    "0.3",
    "123456.789e3",
    "1e22",
    "1e23",
    "8.5e22",
    "7.2057594037927933e16",
    "3.0e-4",
    "6.02214076e23",
    "\xef\xbc\x91",
    "1i",
    "5f",
    "\x80"};

static void test_read_grammar(void **state)
{
    (void)state;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(grammar); i++)
        check_strtod(grammar[i]);
}

static void test_read_bounds(void **state)
{
    (void)state;
    const char *end;
    assert_true(num_read_decimal("12345", 3, &end) == 123);
    const char *text = "1e55";
    assert_true(num_read_decimal(text, 3, &end) == 1e5);
    assert_ptr_equal(end, text + 3);
    assert_true(num_read_decimal(text, 2, &end) == 1);
    assert_ptr_equal(end, text + 1);
    assert_true(num_read_decimal(text, 0, &end) == 0);
    assert_ptr_equal(end, text);
    static const char *const none[] = {"", "+", " 1", "inf", "nan", ".", "-.e1", "x"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(none); i++) {
        num_read_decimal(none[i], strlen(none[i]), &end);
        assert_ptr_equal(end, none[i]);
    }
    text = "0x10";
    assert_true(num_read_decimal(text, 4, &end) == 0);
    assert_ptr_equal(end, text + 1);
}

static void test_read_random(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252u;
    char text[80];
    for (int i = 0; i < 200000; i++) {
        double value = random_finite(&seed);
        uint64_t random = next_random(&seed);
        snprintf(text, sizeof(text), "%.*e", (int)(random % 40), value);
        check_decimal(text);
        snprintf(text, sizeof(text), "%llu.%lluE%d", (unsigned long long)(random >> random % 64),
                 (unsigned long long)next_random(&seed), (int)(random % 700) - 360);
        check_decimal(text);
        snprintf(text, sizeof(text), "%a", value);
        check_strtod(text);
        snprintf(text, sizeof(text), "0x%llx.%llxp%d", (unsigned long long)random,
                 (unsigned long long)next_random(&seed), (int)(random % 2300) - 1200);
        check_strtod(text);
    }
}

static void test_read_halfway(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int i = 0; i < 600; i++) {
        check_halfway(fabs(random_finite(&seed)));
        check_halfway(of_bits(next_random(&seed) >> 12 >> i % 52)); /* subnormal */
        check_halfway(of_bits(next_random(&seed) % (64ull << 52) + (1000ull << 52))); /* near 1 */
    }
    check_halfway(of_bits(0));
    check_halfway(of_bits(0x000FFFFFFFFFFFFFu));
    check_halfway(of_bits(0x0010000000000000u));
    check_halfway(of_bits(0x7FEFFFFFFFFFFFFFu));
    check_halfway(of_bits(0x7FEFFFFFFFFFFFFEu));
}

/* A million digits: right, and not slow (a quadratic method would take minutes). */
static void test_read_long(void **state)
{
    (void)state;
    size_t length = 1000000;
    char *text = malloc(length + 32);
    assert_non_null(text);
    const char *end;
    memset(text, '0', length);
    strcpy(text + length, "17");
    assert_true(num_strtod(text, &end) == 17);
    text[1] = '.';
    strcpy(text + length, "17e1000000");
    assert_true(num_strtod(text, &end) == 17 * 1 && *end == '\0');
    memset(text, '9', length);
    strcpy(text + length, "e-1000000");
    assert_true(num_strtod(text, &end) == 1 && *end == '\0');
    memcpy(text, "9007199254740993", 16);
    memset(text + 16, '0', length - 16);
    strcpy(text + length, "e-999984");
    assert_true(num_strtod(text, &end) == 9007199254740992.0);
    text[length - 1] = '1';
    assert_true(num_strtod(text, &end) == 9007199254740994.0);
    memset(text, 'f', length);
    memcpy(text, "0x", 2);
    strcpy(text + length, "p-3999992");
    assert_true(num_strtod(text, &end) == 1 && *end == '\0');
    memset(text, '7', length);
    memcpy(text, "1e-", 3);
    text[length] = '\0';
    assert_true(num_strtod(text, &end) == 0 && *end == '\0');
    free(text);
}

/* ---- Writing ---- */

/* The digits of num_shortest read back, are as few as possible, and the nearest of their number. */
static void check_shortest(double value)
{
    char digits[18], text[64], *end;
    int point;
    value = fabs(value);
    int count = num_shortest(value, digits, &point);
    assert_in_range(count, 1, 17);
    digits[count] = '\0';
    assert_true(count == 1 || digits[count - 1] != '0');
    assert_true(digits[0] != '0');
    snprintf(text, sizeof(text), "0.%se%d", digits, point);
    if (strtod(text, &end) != value)
        fail_msg("%a is not what %s reads as", value, text);
    const char *used;
    if (num_read_decimal(text, strlen(text), &used) != value)
        fail_msg("%s reads back differently", text);

    for (int precision = 1; precision < 18; precision++) {
        snprintf(text, sizeof(text), "%.*e", precision - 1, value);
        if (strtod(text, NULL) != value)
            continue;
        /* At a power of two, whose interval is lopsided, fewer digits than this may do. */
        if (count < precision && (bits_of(value) & 0xFFFFFFFFFFFFFu) == 0)
            return;
        char want[18] = {text[0]};
        if (precision > 1)
            memcpy(want + 1, text + 2, (size_t)precision - 1);
        int exponent = atoi(strchr(text, 'e') + 1);
        if (count != precision || strcmp(digits, want) != 0 || point != exponent + 1)
            fail_msg("%.17g: 0.%se%d, want %s", value, digits, point, text);
        return;
    }
    fail_msg("%a has no short form", value);
}

/* num_format by the rule of layout, from the digits. */
static void check_format(double value)
{
    char digits[18], want[64], got[NUM_TEXT_MAX];
    int point, length = num_format(value, got);
    assert_int_equal(length, strlen(got));
    int count = num_shortest(fabs(value), digits, &point);
    digits[count] = '\0';
    const char *sign = value < 0 ? "-" : "";
    if (point < -5 || point > 21)
        snprintf(want, sizeof(want), "%s%.1s%s%se%+03d", sign, digits, count > 1 ? "." : "",
                 digits + 1, point - 1);
    else if (point <= 0)
        snprintf(want, sizeof(want), "%s0.%.*s%s", sign, -point, "00000", digits);
    else if (point >= count)
        snprintf(want, sizeof(want), "%s%s%.*s", sign, digits, point - count,
                 "000000000000000000000");
    else
        snprintf(want, sizeof(want), "%s%.*s.%s", sign, point, digits, digits + point);
    assert_string_equal(got, want);
}

static void test_shortest_random(void **state)
{
    (void)state;
    uint64_t seed = 1234567;
    for (int i = 0; i < 60000; i++) {
        double value = random_finite(&seed);
        check_shortest(value);
        check_format(value);
        uint64_t bits = next_random(&seed);
        value = of_bits(bits % (90ull << 52) + (980ull << 52)); /* 1e-13 .. 1e14 */
        check_shortest(value);
        check_format(value);
        value = (double)(bits % 100000000) / 10000; /* short decimals */
        if (value != 0) {
            check_shortest(value);
            check_format(value);
        }
        value = of_bits(bits >> 12 >> bits % 51);
        if (value != 0)
            check_shortest(value);
    }
}

static void test_shortest_powers(void **state)
{
    (void)state;
    for (uint64_t biased = 1; biased < 2047; biased++) {
        for (int64_t off = -3; off <= 3; off++)
            check_shortest(of_bits((biased << 52) + (uint64_t)off));
    }
    for (int bit = 0; bit < 52; bit++) {
        for (uint64_t off = 0; off < 4; off++)
            check_shortest(of_bits((1ull << bit) + off));
    }
    for (int power = -323; power <= 308; power++) {
        char text[32];
        snprintf(text, sizeof(text), "1e%d", power);
        double value = strtod(text, NULL);
        for (int64_t off = power > -318 ? -3 : 0; off <= 3; off++) {
            check_shortest(of_bits(bits_of(value) + (uint64_t)off));
            check_format(-of_bits(bits_of(value) + (uint64_t)off));
        }
    }
}

static void test_format_integers(void **state)
{
    (void)state;
    char got[NUM_TEXT_MAX], want[64];
    uint64_t seed = 99;
    for (int64_t i = -2000; i < 200000; i++) {
        assert_int_equal(num_format((double)i, got),
                         snprintf(want, sizeof(want), "%lld", (long long)i));
        assert_string_equal(got, want);
        int64_t n = (int64_t)(next_random(&seed) >> (i & 63));
        assert_int_equal(num_format_i64(n, got),
                         snprintf(want, sizeof(want), "%lld", (long long)n));
        assert_string_equal(got, want);
        n >>= 10; /* below 2^53 */
        assert_int_equal(num_format((double)n, got),
                         snprintf(want, sizeof(want), "%lld", (long long)n));
        assert_string_equal(got, want);
    }
    for (int64_t power = 1; power < INT64_MAX / 10; power *= 10) {
        for (int64_t off = -1; off <= 1; off++) {
            num_format_i64(power + off, got);
            snprintf(want, sizeof(want), "%lld", (long long)(power + off));
            assert_string_equal(got, want);
        }
    }
    num_format_i64(INT64_MIN, got);
    assert_string_equal(got, "-9223372036854775808");
    num_format_i64(INT64_MAX, got);
    assert_string_equal(got, "9223372036854775807");
}

static void test_format_known(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } known[] = {{0.0, "0"},
                 {-0.0, "-0"},
                 {HUGE_VAL, "inf"},
                 {-HUGE_VAL, "-inf"},
                 {0.1, "0.1"},
                 {0.5, "0.5"},
                 {1.0 / 3, "0.3333333333333333"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {1e-5, "0.00001"},
                 {1.5e-5, "0.000015"},
                 {1e-6, "0.000001"},
                 {1e-7, "1e-07"},
                 {1.234e-7, "1.234e-07"},
                 {-1e-10, "-1e-10"},
                 {1e15, "1000000000000000"},
                 {1e20, "100000000000000000000"},
                 {1e21, "1e+21"},
                 {999999999999999999999.0, "1e+21"},
                 {123456789012345678.0, "123456789012345680"},
                 {9007199254740993.0, "9007199254740992"},
                 {9223372036854775808.0, "9223372036854776000"},
                 {-9223372036854775808.0, "-9223372036854776000"},
                 {18446744073709551615.0, "18446744073709552000"},
                 {1.2345678901234568e21, "1.2345678901234568e+21"},
                 {1e100, "1e+100"},
                 {1e23, "1e+23"},
                 {5e-324, "5e-324"},
                 {1e-310, "1e-310"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {2.2250738585072014e-308, "2.2250738585072014e-308"},
                 {12345.678, "12345.678"},
                 {-3.5, "-3.5"},
                 {1.0000000000000002, "1.0000000000000002"},
                 {2e-3, "0.002"}};
    char text[NUM_TEXT_MAX];
    for (size_t i = 0; i < BASE_ARRAY_COUNT(known); i++) {
        assert_int_equal(num_format(known[i].value, text), strlen(known[i].text));
        assert_string_equal(text, known[i].text);
    }
    num_format((double)NAN, text);
    assert_string_equal(text, "nan");
    num_format(-(double)NAN, text);
    assert_string_equal(text, "nan");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_grammar),    cmocka_unit_test(test_read_bounds),
        cmocka_unit_test(test_read_random),     cmocka_unit_test(test_read_halfway),
        cmocka_unit_test(test_read_long),       cmocka_unit_test(test_shortest_random),
        cmocka_unit_test(test_shortest_powers), cmocka_unit_test(test_format_integers),
        cmocka_unit_test(test_format_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
