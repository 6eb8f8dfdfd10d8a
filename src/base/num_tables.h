/* num_tables.h: powers of ten for printing (num.c) and reading (num_read.c). */
#ifndef BASE_NUM_TABLES_H
#define BASE_NUM_TABLES_H

#include <stdint.h>

#define NUM_POW10_MIN (-342)
#define NUM_POW10_MAX 324
#define NUM_POW10_EXACT_MAX 55

/* Entry k - NUM_POW10_MIN is {high, low} of floor(10^k * 2^s), s such that bit 127 is set. Exact
 * for 0 <= k <= NUM_POW10_EXACT_MAX, too small by less than one unit otherwise. */
extern const uint64_t num_pow10[NUM_POW10_MAX - NUM_POW10_MIN + 1][2];

#endif
