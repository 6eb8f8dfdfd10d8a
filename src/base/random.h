/* random.h: bytes that cannot be guessed, for ids and seeds. Any thread. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

enum { RANDOM_ID_SIZE = 33 }; /* 32 hex digits and a NUL */

void random_bytes(void *out, size_t length); /* from the system; panics if it has none */
uint64_t random_u64(void);
void random_id(char out[RANDOM_ID_SIZE]);

/* Random bytes fetched in advance, for who makes many ids. One thread at a time; zeroes: empty. */
typedef struct RandomPool {
    unsigned char bytes[512];
    size_t left;
} RandomPool;
void random_poolid(RandomPool *pool, char out[RANDOM_ID_SIZE]);

#endif
