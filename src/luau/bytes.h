/* bytes.h: copying, comparing and searching bytes, as many as there may be: long runs are handled
 * in pieces, and between two of them the VM that runs on this OS thread may park (luY_pause). So
 * both sides must be memory that keeps its place: objects that are anchored or cannot be collected
 * before the next safepoint, or the host's. */
#ifndef LUAU_BYTES_H
#define LUAU_BYTES_H

#include <stddef.h>
#include <string.h>

#include "base/base.h"

enum { BYTES_PIECE = 128 << 10 };

void luY_copylong(char *to, const char *from, size_t size);
int luY_comparelong(const char *a, const char *b, size_t size);
void luY_clearlong(char *to, size_t size);
const char *luY_findlong(const char *text, int byte, size_t size);
/* strlen. */
size_t luY_textlength(const char *text);

/* memcpy; no bytes from NULL are fine. */
BASE_INLINE void luY_copy(char *to, const char *from, size_t size)
{
    if (BASE_UNLIKELY(size > BYTES_PIECE))
        luY_copylong(to, from, size);
    else if (size > 0)
        memcpy(to, from, size);
}

/* memset to 0. */
BASE_INLINE void luY_clear(char *to, size_t size)
{
    if (BASE_UNLIKELY(size > BYTES_PIECE))
        luY_clearlong(to, size);
    else
        memset(to, 0, size);
}

/* memcmp. */
BASE_INLINE int luY_compare(const char *a, const char *b, size_t size)
{
    return BASE_UNLIKELY(size > BYTES_PIECE) ? luY_comparelong(a, b, size) : memcmp(a, b, size);
}

/* memchr. */
BASE_INLINE const char *luY_find(const char *text, int byte, size_t size)
{
    return BASE_UNLIKELY(size > BYTES_PIECE) ? luY_findlong(text, byte, size)
                                             : memchr(text, byte, size);
}

#endif
