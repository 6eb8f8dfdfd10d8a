/* bytes.h: a fuzzer's input as a source of choices. When it is used up every choice is 0, which all
 * readers take as the simplest one, so that any input means something and all of them end. */
#ifndef TESTS_FUZZ_BYTES_H
#define TESTS_FUZZ_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct FuzzBytes {
    const uint8_t *p, *end;
} FuzzBytes;

static inline FuzzBytes bytes_of(const uint8_t *data, size_t size)
{
    return (FuzzBytes){data, data + size};
}

static inline bool bytes_left(const FuzzBytes *b)
{
    return b->p < b->end;
}

static inline unsigned bytes_u8(FuzzBytes *b)
{
    return b->p < b->end ? *b->p++ : 0;
}

static inline unsigned bytes_u16(FuzzBytes *b)
{
    unsigned low = bytes_u8(b);
    return low | bytes_u8(b) << 8;
}

/* 0..n-1, n <= 256. */
static inline unsigned bytes_below(FuzzBytes *b, unsigned n)
{
    return bytes_u8(b) % n;
}

/* At most `max` of the bytes that come next, where they stand; a length byte comes first. */
static inline const char *bytes_text(FuzzBytes *b, size_t max, size_t *length)
{
    size_t wanted = bytes_u8(b);
    if (wanted == 255)
        wanted += bytes_u16(b);
    if (wanted > max)
        wanted = max;
    if (wanted > (size_t)(b->end - b->p))
        wanted = (size_t)(b->end - b->p);
    const char *text = (const char *)b->p;
    b->p += wanted;
    *length = wanted;
    return text;
}

static inline double bytes_double(FuzzBytes *b)
{
    static const double known[] = {0, 1, -1, 2, 3, 10, 0.5, -0.0, 1e15, 255, 256, 2147483647.0,
                                   -2147483648.0, 4294967295.0, 9007199254740992.0, 1e300};
    unsigned choice = bytes_u8(b);
    if (choice < 128)
        return known[choice % 16];
    if (choice < 192)
        return (double)(int8_t)bytes_u8(b);
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | bytes_u8(b);
    double d;
    memcpy(&d, &bits, sizeof(d));
    return d;
}

#define FUZZ_CHECK(condition, ...)                                                        \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);               \
            fprintf(stderr, __VA_ARGS__);                                                 \
            fputc('\n', stderr);                                                          \
            abort();                                                                      \
        }                                                                                 \
    } while (0)

#endif
