/* Numbers to text.
 *
 * The digits of a double are found with the Schubfach method (Raffaello Giulietti, 2020). A double
 * v = c * 2^q is read back from any decimal inside its rounding interval, which reaches halfway to
 * the neighbours. Let 10^k be the greatest power of ten not wider than that interval: some multiple
 * of 10^k is inside, and at most one multiple of 10^(k+1). If there is one of the latter it is the
 * shortest (it may end in further zeros), else the multiple of 10^k next to v is.
 *
 * The interval's ends and v, all times 4 / 10^k, are computed in 64 bits by one multiplication with
 * a 128-bit power of ten; what is lost below is kept as one sticky bit ("round to odd"), which the
 * paper shows to be enough for every comparison to be exact. */
#include "base/num.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/base.h"
#include "base/num_tables.h"

typedef unsigned __int128 uint128;

static const char digit_pairs[201] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
    "8081828384858687888990919293949596979899";

/* floor(log10(2^e)), floor(log10(3/4 * 2^e)), floor(log2(10^k)), for every exponent of a double. */
static int floor_log10_pow2(int e)
{
    return (e * 1262611) >> 22;
}

static int floor_log10_three_quarters_pow2(int e)
{
    return (e * 1262611 - 524031) >> 22;
}

static int floor_log2_pow10(int k)
{
    return (k * 1741647) >> 19;
}

/* floor(g * factor / 2^128), its last bit set if anything but zeros was cut off. */
static uint64_t multiply_round_odd(const uint64_t g[2], uint64_t factor)
{
    uint128 low = (uint128)g[1] * factor;
    uint128 high = (uint128)g[0] * factor + (uint64_t)(low >> 64);
    return (uint64_t)(high >> 64) | ((uint64_t)high > 1);
}

/* Shortest decimal of a positive finite double given by its bits: the result times 10^*exponent.
 * May end in zeros. */
static uint64_t shortest_decimal(uint64_t bits, int *exponent)
{
    uint64_t fraction = bits & 0xFFFFFFFFFFFFFu;
    int biased = (int)(bits >> 52);
    uint64_t c = biased ? fraction | 1ull << 52 : fraction;
    int q = (biased ? biased : 1) - 1075;
    unsigned is_odd = c & 1; /* an odd one does not own its interval's ends */
    unsigned is_power = fraction == 0 && biased > 1; /* the lower neighbour is nearer */

    int k = is_power ? floor_log10_three_quarters_pow2(q) : floor_log10_pow2(q);
    int shift = q + floor_log2_pow10(-k) + 1;
    uint64_t g[2] = {num_pow10[-k - NUM_POW10_MIN][0], num_pow10[-k - NUM_POW10_MIN][1]};
    if (k > 0 || -k > NUM_POW10_EXACT_MAX) /* the method wants inexact powers rounded up */
        g[0] += ++g[1] == 0;

    uint64_t lower = multiply_round_odd(g, (4 * c - 2 + is_power) << shift) + is_odd;
    uint64_t value = multiply_round_odd(g, (4 * c) << shift);
    uint64_t upper = multiply_round_odd(g, (4 * c + 2) << shift) - is_odd;
    uint64_t s = value / 4;

    if (s >= 10) {
        uint64_t tens = s / 10;
        bool down_inside = lower <= 40 * tens;
        bool up_inside = 40 * tens + 40 <= upper;
        if (down_inside != up_inside) {
            *exponent = k + 1;
            return tens + up_inside;
        }
    }
    *exponent = k;
    bool down_inside = lower <= 4 * s;
    bool up_inside = 4 * s + 4 <= upper;
    if (down_inside != up_inside)
        return s + up_inside;
    uint64_t middle = 4 * s + 2;
    return s + (value > middle || (value == middle && (s & 1)));
}

static int count_digits(uint64_t n)
{
    static const uint64_t powers[20] = {0,
                                        10,
                                        100,
                                        1000,
                                        10000,
                                        100000,
                                        1000000,
                                        10000000,
                                        100000000,
                                        1000000000,
                                        10000000000u,
                                        100000000000u,
                                        1000000000000u,
                                        10000000000000u,
                                        100000000000000u,
                                        1000000000000000u,
                                        10000000000000000u,
                                        100000000000000000u,
                                        1000000000000000000u,
                                        10000000000000000000u};
    int guess = (64 - __builtin_clzll(n | 1)) * 1233 >> 12; /* log10(2) * 4096 */
    return guess + (n >= powers[guess]);
}

/* Writes the last `count` digits of n. */
static void write_digits(char *out, uint64_t n, int count)
{
    while (count >= 2) {
        count -= 2;
        memcpy(out + count, digit_pairs + 2 * (n % 100), 2);
        n /= 100;
    }
    if (count)
        *out = (char)('0' + n % 10);
}

/* Writes n (at most 17 digits, not 0) without its final zeros. Returns how many digits are left;
 * *all: how many there were with the zeros. */
static int write_significant(char *out, uint64_t n, int *all)
{
    int count = count_digits(n);
    *all = count;
    if (n >= 100000000) { /* a 64-bit division less per pair */
        uint32_t low = (uint32_t)(n % 100000000);
        n /= 100000000;
        if (low) {
            write_digits(out, n, count - 8);
            write_digits(out + count - 8, low, 8);
            goto strip;
        }
        count -= 8;
    }
    write_digits(out, n, count);
strip:
    while (count > 1 && out[count - 1] == '0')
        count--;
    return count;
}

int num_shortest(double value, char digits[17], int *point)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    int exponent, all;
    uint64_t decimal = shortest_decimal(bits & 0x7FFFFFFFFFFFFFFFu, &exponent);
    int count = write_significant(digits, decimal, &all);
    *point = all + exponent;
    return count;
}

static int format_u64(uint64_t n, char *text)
{
    if (n < 10) {
        text[0] = (char)('0' + n);
        text[1] = '\0';
        return 1;
    }
    int count = count_digits(n);
    write_digits(text, n, count);
    text[count] = '\0';
    return count;
}

int num_format_i64(int64_t value, char text[NUM_TEXT_MAX])
{
    if (value >= 0)
        return format_u64((uint64_t)value, text);
    text[0] = '-';
    return 1 + format_u64(0 - (uint64_t)value, text + 1);
}

/* `e+XX` behind the digits: the exponent of d.ddd. */
static char *write_exponent(char *p, int exponent)
{
    *p++ = 'e';
    *p++ = exponent < 0 ? '-' : '+';
    unsigned n = (unsigned)(exponent < 0 ? -exponent : exponent);
    if (n >= 100) {
        *p++ = (char)('0' + n / 100);
        n %= 100;
    }
    memcpy(p, digit_pairs + 2 * n, 2);
    return p + 2;
}

/* Lays out 0.d1..dn * 10^point. */
static char *lay_out(char *p, const char *digits, int count, int point)
{
    if (point < -5 || point > 21) {
        *p++ = digits[0];
        if (count > 1) {
            *p++ = '.';
            memcpy(p, digits + 1, (size_t)count - 1);
            p += count - 1;
        }
        return write_exponent(p, point - 1);
    }
    if (point <= 0) {
        memcpy(p, "0.00000", 7);
        p += 2 - point;
        memcpy(p, digits, (size_t)count);
        return p + count;
    }
    if (point >= count) {
        memcpy(p, digits, (size_t)count);
        memset(p + count, '0', (size_t)(point - count));
        return p + point;
    }
    memcpy(p, digits, (size_t)point);
    p[point] = '.';
    memcpy(p + point + 1, digits + point, (size_t)(count - point));
    return p + count + 1;
}

int num_format(double value, char text[NUM_TEXT_MAX])
{
    /* Integers that a double holds exactly: all their digits are needed. */
    if (fabs(value) <= 9007199254740992.0) {
        int64_t n = (int64_t)value;
        if ((double)n == value && (n != 0 || !signbit(value)))
            return num_format_i64(n, text);
    }
    if (value != value) {
        memcpy(text, "nan", 4);
        return 3;
    }
    char *p = text;
    if (signbit(value)) {
        *p++ = '-';
        value = -value;
    }
    if (value == 0) {
        *p++ = '0';
    } else if (isinf(value)) {
        memcpy(p, "inf", 3);
        p += 3;
    } else {
        char digits[17];
        int point;
        int count = num_shortest(value, digits, &point);
        p = lay_out(p, digits, count, point);
    }
    *p = '\0';
    return (int)(p - text);
}
