/* bytes.c: long runs of bytes, piece by piece. */
#include "luau/bytes.h"

#include "luau/fiber.h"

static size_t piece_of(size_t left)
{
    return left < BYTES_PIECE ? left : BYTES_PIECE;
}

void luY_copylong(char *to, const char *from, size_t size)
{
    for (size_t at = 0; at < size; at += BYTES_PIECE) {
        memcpy(to + at, from + at, piece_of(size - at));
        luY_pause();
    }
}

void luY_clearlong(char *to, size_t size)
{
    for (size_t at = 0; at < size; at += BYTES_PIECE) {
        memset(to + at, 0, piece_of(size - at));
        luY_pause();
    }
}

int luY_comparelong(const char *a, const char *b, size_t size)
{
    for (size_t at = 0; at < size; at += BYTES_PIECE) {
        int order = memcmp(a + at, b + at, piece_of(size - at));
        if (order != 0)
            return order;
        luY_pause();
    }
    return 0;
}

const char *luY_findlong(const char *text, int byte, size_t size)
{
    for (size_t at = 0; at < size; at += BYTES_PIECE) {
        const char *hit = memchr(text + at, byte, piece_of(size - at));
        if (hit)
            return hit;
        luY_pause();
    }
    return NULL;
}

size_t luY_textlength(const char *text)
{
    for (size_t length = 0;; luY_pause()) {
        size_t more = strnlen(text + length, BYTES_PIECE);
        length += more;
        if (more < BYTES_PIECE)
            return length;
    }
}
