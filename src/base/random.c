#include "base/random.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/base.h"

void random_bytes(void *out, size_t length)
{
    char *p = out;
    while (length > 0) {
        ssize_t count = getrandom(p, length, 0);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            BASE_PANIC("no random bytes from the system");
        p += count;
        length -= (size_t)count;
    }
}

uint64_t random_u64(void)
{
    uint64_t value;
    random_bytes(&value, sizeof(value));
    return value;
}

enum { ID_BYTES = 16 };

static void write_hex(const unsigned char bytes[ID_BYTES], char out[RANDOM_ID_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    for (int i = 0; i < ID_BYTES; i++) {
        out[2 * i] = hex[bytes[i] >> 4];
        out[2 * i + 1] = hex[bytes[i] & 15];
    }
    out[2 * ID_BYTES] = '\0';
}

void random_id(char out[RANDOM_ID_SIZE])
{
    unsigned char bytes[ID_BYTES];
    random_bytes(bytes, sizeof(bytes));
    write_hex(bytes, out);
}

void random_poolid(RandomPool *pool, char out[RANDOM_ID_SIZE])
{
    if (pool->left < ID_BYTES) {
        random_bytes(pool->bytes, sizeof(pool->bytes));
        pool->left = sizeof(pool->bytes);
    }
    pool->left -= ID_BYTES;
    write_hex(pool->bytes + pool->left, out);
    memset(pool->bytes + pool->left, 0, ID_BYTES); /* what was given away is kept nowhere else */
}
