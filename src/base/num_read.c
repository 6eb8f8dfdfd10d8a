/* Text to numbers, correctly rounded.
 *
 * A decimal is scanned once into its first 19 significant digits w, the power of ten q behind them,
 * and whether anything but zeros was left out. Then
 *   1. few digits and a small power: one exact multiplication or division of doubles;
 *   2. else the method of Eisel and Lemire: w times a 128-bit power of ten, which Mushtak and
 *      Lemire (2022) proved to decide every case with these table entries;
 *   3. if digits were left out, both w and w + 1 are converted. When they differ, the doubles are
 *      neighbours, and big integers compare the digits with the point halfway between. No halfway
 *      point has more than 767 digits, so the digits behind DIGITS_MAX count only as "not zero":
 *      the work is linear in the length of the text, and bounded but for the scan. */
#include "base/num.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/base.h"
#include "base/num_tables.h"

typedef unsigned __int128 uint128;

enum { DIGITS_MAX = 780 };

/* A run of input. Reading at the end gives NUL, which belongs to no number. */
typedef struct Text {
    const char *p, *end;
    void (*pause)(void); /* or NULL */
} Text;

/* Every so many bytes of a text that may be megabytes long. */
#define PAUSE(t, at)                                                                               \
    do {                                                                                           \
        if (BASE_UNLIKELY(((uintptr_t)(at)&0x7FFF) == 0) && (t)->pause)                            \
            (t)->pause();                                                                          \
    } while (0)

static char peek(const Text *t)
{
    return t->p < t->end ? *t->p : '\0';
}

static bool is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

/* An unsigned decimal, scanned: w * 10^q, and more digits behind w if `inexact`. */
typedef struct Decimal {
    uint64_t w;
    int64_t q;
    bool inexact;
    const char *digits, *digits_end; /* first significant digit .. end of digits (with the point) */
    const Text *text;
} Decimal;

/* ---- Big integers, for the last resort ---- */

/* Numbers compared here stay below 2^2800 (see compare_halfway). */
enum { LIMBS = 64 };
typedef struct Big {
    int count;
    uint64_t limb[LIMBS]; /* least significant first */
} Big;

static void big_set(Big *big, uint64_t n)
{
    big->count = n != 0;
    big->limb[0] = n;
}

static void big_push(Big *big, uint64_t limb)
{
    if (limb == 0)
        return;
    BASE_ASSERT(big->count < LIMBS);
    big->limb[big->count++] = limb;
}

static void big_multiply_add(Big *big, uint64_t factor, uint64_t addend)
{
    uint64_t carry = addend;
    for (int i = 0; i < big->count; i++) {
        uint128 product = (uint128)big->limb[i] * factor + carry;
        big->limb[i] = (uint64_t)product;
        carry = (uint64_t)(product >> 64);
    }
    big_push(big, carry);
}

static void big_multiply_pow5(Big *big, int power)
{
    const uint64_t pow5_27 = 7450580596923828125u;
    for (; power >= 27; power -= 27)
        big_multiply_add(big, pow5_27, 0);
    uint64_t rest = 1;
    while (power-- > 0)
        rest *= 5;
    big_multiply_add(big, rest, 0);
}

static void big_shift_left(Big *big, int bits)
{
    int words = bits / 64;
    if (big->count == 0)
        return;
    big_multiply_add(big, 1ull << (bits % 64), 0);
    BASE_ASSERT(big->count + words <= LIMBS);
    memmove(big->limb + words, big->limb, (size_t)big->count * sizeof(uint64_t));
    memset(big->limb, 0, (size_t)words * sizeof(uint64_t));
    big->count += words;
}

static int big_compare(const Big *a, const Big *b)
{
    if (a->count != b->count)
        return a->count < b->count ? -1 : 1;
    for (int i = a->count - 1; i >= 0; i--) {
        if (a->limb[i] != b->limb[i])
            return a->limb[i] < b->limb[i] ? -1 : 1;
    }
    return 0;
}

/* The digits as an integer, cut after DIGITS_MAX significant ones; if others than zeros were cut
 * off, a final 1 stands for them. Returns the power of ten of the last digit taken. */
static int big_set_digits(Big *big, const Decimal *d)
{
    int64_t first_power = d->q + 18; /* of the first digit: w has 19 when digits were left out */
    uint64_t chunk = 0, chunk_scale = 1;
    int count = 0;
    bool more = false;
    big_set(big, 0);
    for (const char *p = d->digits; p < d->digits_end; p++) {
        PAUSE(d->text, p);
        if (*p == '.')
            continue;
        if (count == DIGITS_MAX) {
            if (*p == '0')
                continue;
            more = true;
            break;
        }
        chunk = chunk * 10 + (uint64_t)(*p - '0');
        chunk_scale *= 10;
        count++;
        if (chunk_scale == 10000000000000000000u) {
            big_multiply_add(big, chunk_scale, chunk);
            chunk = 0;
            chunk_scale = 1;
        }
    }
    big_multiply_add(big, chunk_scale, chunk);
    if (more) {
        big_multiply_add(big, 10, 1);
        count++;
    }
    return (int)(first_power - count + 1);
}

/* The digits against the point halfway between the finite double `bits` and the next one.
 *
 * digits * 10^e <=> (2m + 1) * 2^(p-1), both made integers by the missing powers of 2 and 5. The
 * sides are nearly equal and the left one has at most 781 digits and e >= -1105, or e > 0 and then
 * a value below 10^310: neither passes 2800 bits. */
static int compare_halfway(const Decimal *d, uint64_t bits)
{
    uint64_t m = bits & 0xFFFFFFFFFFFFFu;
    int biased = (int)(bits >> 52);
    if (biased)
        m |= 1ull << 52;
    int p = (biased ? biased : 1) - 1075;

    Big left, right;
    int e = big_set_digits(&left, d);
    big_set(&right, 2 * m + 1);
    if (e > 0)
        big_multiply_pow5(&left, e);
    else
        big_multiply_pow5(&right, -e);
    int shift = e - (p - 1);
    if (shift > 0)
        big_shift_left(&left, shift);
    else
        big_shift_left(&right, -shift);
    return big_compare(&left, &right);
}

/* ---- Eisel-Lemire ---- */

static double double_of_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

#define INF_BITS 0x7FF0000000000000u

/* Bits of the double nearest to w * 10^q. */
static uint64_t nearest_bits(uint64_t w, int64_t q)
{
    if (w == 0 || q < NUM_POW10_MIN)
        return 0;
    if (q > 308)
        return INF_BITS;
    int zeros = __builtin_clzll(w);
    w <<= zeros;
    const uint64_t *g = num_pow10[q - NUM_POW10_MIN];
    /* Their proof takes 1 / 5^n rounded up where it can divide a 64-bit number. (No carry: the low
     * halves are not all ones.) */
    uint64_t g_low = g[1] + (q < 0 && q >= -27);
    uint128 product = (uint128)w * g[0];
    if (((uint64_t)(product >> 64) & 0x1FF) == 0x1FF) /* too near to a carry: use all the bits */
        product += (uint64_t)((uint128)w * g_low >> 64);
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;

    int top = (int)(high >> 63);
    uint64_t m = high >> (top + 9); /* 54 bits: one to round by */
    int biased = (((152170 + 65536) * (int)q) >> 16) + 63 + top - zeros + 1023;
    if (biased <= 0) { /* subnormal; no ties: such powers of ten are not exact */
        if (1 - biased >= 64)
            return 0;
        m >>= 1 - biased;
        m = (m + (m & 1)) >> 1;
        return m; /* 2^52 is the bit pattern of the smallest normal */
    }
    /* A tie can only be where 5^|q| divides a 64-bit number: then round to even by not rounding. */
    if (low <= 1 && q >= -4 && q <= 23 && (m & 3) == 1 && m << (top + 9) == high)
        m &= ~1ull;
    m = (m + (m & 1)) >> 1;
    if (m >= 1ull << 53) {
        m = 1ull << 52;
        biased++;
    }
    if (biased >= 0x7FF)
        return INF_BITS;
    return (uint64_t)biased << 52 | (m & 0xFFFFFFFFFFFFFu);
}

static const double exact_powers[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                        1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                        1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static double decimal_value(const Decimal *d)
{
    if (!d->inexact) {
        if (d->w <= 1ull << 53 && d->q >= -22 && d->q <= 22) {
            double value = (double)d->w;
            return d->q < 0 ? value / exact_powers[-d->q] : value * exact_powers[d->q];
        }
        return double_of_bits(nearest_bits(d->w, d->q));
    }
    uint64_t down = nearest_bits(d->w, d->q);
    uint64_t up = nearest_bits(d->w + 1, d->q);
    if (down == up)
        return double_of_bits(down);
    int order = compare_halfway(d, down);
    return double_of_bits(order > 0 || (order == 0 && (down & 1)) ? up : down);
}

/* ---- Scanning ---- */

/* Digits, taken into w while it has fewer than 19. `fraction`: they stand behind the point. */
static void scan_digits(Text *t, Decimal *d, int *taken, bool fraction)
{
    const char *p = t->p, *end = t->end;
    if (*taken == 0) { /* zeros in front count for nothing but the place of the point */
        const char *start = p;
        for (; p < end && *p == '0'; p++)
            PAUSE(t, p);
        if (fraction)
            d->q -= p - start;
        if (p < end && is_digit(*p))
            d->digits = p;
    }
    const char *start = p;
    uint64_t w = d->w;
    int count = *taken;
    for (; p < end && is_digit(*p) && count < 19; p++, count++)
        w = w * 10 + (uint64_t)(*p - '0');
    d->w = w;
    *taken = count;
    if (fraction)
        d->q -= p - start;
    start = p;
    for (; p < end && is_digit(*p); p++) {
        d->inexact |= *p != '0';
        PAUSE(t, p);
    }
    if (!fraction)
        d->q += p - start;
    t->p = p;
}

/* `e`, sign, digits; nothing is used if a digit is missing. Saturates far beyond any text's length,
 * so that adding the digits' places to it cannot overflow. */
static int64_t scan_exponent(Text *t)
{
    Text ahead = {t->p + 1, t->end, t->pause};
    bool negative = peek(&ahead) == '-';
    if (negative || peek(&ahead) == '+')
        ahead.p++;
    if (!is_digit(peek(&ahead)))
        return 0;
    int64_t exponent = 0;
    for (; is_digit(peek(&ahead)); ahead.p++) {
        if (exponent < (int64_t)1 << 58)
            exponent = exponent * 10 + (*ahead.p - '0');
        PAUSE(t, ahead.p);
    }
    t->p = ahead.p;
    return negative ? -exponent : exponent;
}

/* Digits with a point somewhere. false: there is no digit, and t stays. */
static bool scan_decimal(Text *t, double *value)
{
    Decimal d = {0, 0, false, NULL, NULL, t};
    Text ahead = *t;
    int taken = 0;
    scan_digits(&ahead, &d, &taken, false);
    bool any = ahead.p != t->p;
    if (peek(&ahead) == '.') {
        const char *point = ahead.p++;
        scan_digits(&ahead, &d, &taken, true);
        any |= ahead.p != point + 1;
    }
    if (!any)
        return false;
    d.digits_end = ahead.p;
    if ((peek(&ahead) | 0x20) == 'e')
        d.q += scan_exponent(&ahead);
    *t = ahead;
    *value = d.w == 0 ? 0.0 : decimal_value(&d);
    return true;
}

static bool scan_sign(Text *t)
{
    char c = peek(t);
    if (c == '-' || c == '+')
        t->p++;
    return c == '-';
}

double num_read_decimal(const char *text, size_t length, const char **end)
{
    return num_read_decimal_paused(text, length, end, NULL);
}

double num_read_decimal_paused(const char *text, size_t length, const char **end,
                               void (*pause)(void))
{
    Text t = {text, text + length, pause};
    double value = 0.0;
    bool negative = scan_sign(&t);
    if (!scan_decimal(&t, &value)) {
        *end = text;
        return 0.0;
    }
    *end = t.p;
    return negative ? -value : value;
}

/* ---- Hexadecimal floats, words ---- */

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* m * 2^e, and a bit more if `more`, to the nearest double. */
static double round_binary(uint64_t m, int64_t e, bool more)
{
    if (m == 0)
        return 0.0;
    int zeros = __builtin_clzll(m);
    m <<= zeros;
    e -= zeros; /* value = m * 2^e, top bit of m set: exponent e + 63 */
    if (e + 63 > 1023)
        return HUGE_VAL;
    int64_t drop = 11; /* bits below the last place of the result */
    if (e + 63 < -1022)
        drop += -1022 - (e + 63);
    if (drop > 64)
        return 0.0;
    uint64_t kept = drop == 64 ? 0 : m >> drop;
    uint64_t half = 1ull << (drop - 1);
    uint64_t rest = m & (half | (half - 1));
    if (rest > half || (rest == half && (more || (kept & 1))))
        kept++;
    return ldexp((double)kept, (int)(e + drop));
}

/* Behind `0x`. false: no digit. */
static bool scan_hex(Text *t, double *value)
{
    Text ahead = *t;
    uint64_t m = 0;
    int64_t e = 0;
    bool more = false, any = false, point = false;
    for (;; ahead.p++) {
        char c = peek(&ahead);
        int digit = hex_digit(c);
        PAUSE(t, ahead.p);
        if (digit < 0) {
            if (c != '.' || point)
                break;
            point = true;
            continue;
        }
        any = true;
        if (m >> 60 == 0) {
            m = m << 4 | (unsigned)digit;
            e -= point ? 4 : 0;
        } else {
            more |= digit != 0;
            e += point ? 0 : 4;
        }
    }
    if (!any)
        return false;
    if ((peek(&ahead) | 0x20) == 'p')
        e += scan_exponent(&ahead);
    *t = ahead;
    *value = round_binary(m, e, more);
    return true;
}

/* Skips `word` (lower case) in any case. */
static bool skip_word(Text *t, const char *word)
{
    const char *p = t->p;
    for (; *word; word++, p++) {
        if (p == t->end || (*p | 0x20) != *word)
            return false;
    }
    t->p = p;
    return true;
}

static bool scan_word(Text *t, double *value)
{
    if (skip_word(t, "inf")) {
        skip_word(t, "inity");
        *value = HUGE_VAL;
        return true;
    }
    if (!skip_word(t, "nan"))
        return false;
    *value = (double)NAN;
    if (peek(t) == '(') {
        Text ahead = {t->p + 1, t->end, t->pause};
        while (is_digit(peek(&ahead)) || peek(&ahead) == '_' ||
               (unsigned char)((peek(&ahead) | 0x20) - 'a') < 26) {
            ahead.p++;
            PAUSE(t, ahead.p);
        }
        if (peek(&ahead) == ')')
            t->p = ahead.p + 1;
    }
    return true;
}

double num_strtod(const char *text, const char **end)
{
    return num_strtod_paused(text, strlen(text), end, NULL);
}

double num_strtod_paused(const char *text, size_t length, const char **end, void (*pause)(void))
{
    Text t = {text, text + length, pause};
    while (peek(&t) == ' ' || (unsigned char)(peek(&t) - '\t') < 5) {
        t.p++;
        PAUSE(&t, t.p);
    }
    bool negative = scan_sign(&t);
    double value = 0.0;
    bool any = false;
    if (peek(&t) == '0' && t.p + 1 < t.end && (t.p[1] | 0x20) == 'x') {
        Text ahead = {t.p + 2, t.end, t.pause};
        any = scan_hex(&ahead, &value);
        if (any)
            t = ahead;
    }
    any = any || scan_decimal(&t, &value) || scan_word(&t, &value);
    if (!any) {
        *end = text;
        return 0.0;
    }
    *end = t.p;
    return negative ? copysign(value, -1.0) : value;
}
