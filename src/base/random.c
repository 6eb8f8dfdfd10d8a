#include "base/random.h"

#include <errno.h>
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

void random_id(char out[RANDOM_ID_SIZE])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char bytes[16];
    random_bytes(bytes, sizeof(bytes));
    for (int i = 0; i < 16; i++) {
        out[2 * i] = hex[bytes[i] >> 4];
        out[2 * i + 1] = hex[bytes[i] & 15];
    }
    out[32] = '\0';
}
