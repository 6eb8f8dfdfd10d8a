/* num.h: numbers as text. The shortest decimal that reads back as the same double, and exact
 * reading of decimals. Independent of the locale; no allocation; any thread. */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stddef.h>
#include <stdint.h>

/* Enough for any result of num_format, its NUL included. */
#define NUM_TEXT_MAX 48

/* Shortest decimal digits of a finite, non-zero |value|: value = 0.d1d2..dn * 10^*point.
 * Writes up to 17 digits (no NUL, no trailing zeros) and returns their count. */
int num_shortest(double value, char digits[17], int *point);

/* Writes `value` as Luau prints it (tostring, concatenation, %*): its shortest digits, positional
 * from 1e-6 (`0.000001`) to below 1e21, else as `d.ddde-07`, `1e+21`: at least two exponent digits
 * and always a sign. Also `inf`, `-inf`, `nan` (whatever its sign), `-0`. Returns the length; the
 * text ends with a NUL. */
int num_format(double value, char text[NUM_TEXT_MAX]);

/* Writes a signed 64-bit integer in decimal; returns the length; the text ends with a NUL. */
int num_format_i64(int64_t value, char text[NUM_TEXT_MAX]);

/* Reads the decimal number `[+-]digits[.digits][(e|E)[+-]digits]` that starts at text; correctly
 * rounded (ties to even). Digits may be missing on one side of the point (`5.`, `.5`). Stores the
 * end of what was used in *end (== text if there is no number). No leading blanks, no hex, no
 * inf/nan. `length` bounds the read; no NUL is needed. Linear in the length of the number. */
double num_read_decimal(const char *text, size_t length, const char **end);

/* C strtod's grammar in the C locale (leading blanks, sign, decimal, hex floats, inf, infinity,
 * nan, nan(chars) in any case), on a NUL-terminated text. *end == text if there is no number. */
double num_strtod(const char *text, const char **end);

/* The same two for texts that may be megabytes long: pause, unless NULL, is called every 32 KiB or
 * so. The text of num_strtod_paused is as long as given. */
double num_read_decimal_paused(const char *text, size_t length, const char **end,
                               void (*pause)(void));
double num_strtod_paused(const char *text, size_t length, const char **end, void (*pause)(void));

#endif
