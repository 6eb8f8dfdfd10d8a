/* strbuf.h: a growable byte buffer with a ceiling.
 *
 * Failure is sticky: once memory is out or the ceiling is passed, `failed` is set and every later
 * append does nothing, so a writer checks once at its end. The owner of the struct owns the bytes.
 * */
#ifndef BASE_STRBUF_H
#define BASE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/base.h"

typedef struct Strbuf {
    char *data;      /* malloc'd or NULL; not NUL-terminated unless strbuf_cstr was called */
    size_t length;
    size_t capacity;
    size_t max;      /* length never passes it; 0: no ceiling */
    bool failed;
} Strbuf;

#define STRBUF_INIT ((Strbuf){0})

/* Makes room for `count` more bytes: false (and failed) if there is none. */
bool strbuf_reserve(Strbuf *sb, size_t count);
void strbuf_free(Strbuf *sb);  /* frees the bytes; the ceiling stays */
void strbuf_clear(Strbuf *sb); /* empties it and keeps the room; failed is reset */
/* Gives the bytes away: the caller frees them. NULL if nothing was written. */
char *strbuf_take(Strbuf *sb, size_t *length);
/* The bytes with a NUL behind them; "" when out of memory. */
const char *strbuf_cstr(Strbuf *sb);
void strbuf_printf(Strbuf *sb, const char *format, ...) BASE_PRINTF(2, 3);
/* Appends a whole file: 0, or an errno (EFBIG: longer than max_bytes; EISDIR). */
int strbuf_readfile(Strbuf *sb, const char *path, size_t max_bytes);

BASE_INLINE void strbuf_put(Strbuf *sb, const char *data, size_t length)
{
    if (BASE_UNLIKELY(sb->capacity - sb->length < length) && !strbuf_reserve(sb, length))
        return;
    if (length != 0)
        memcpy(sb->data + sb->length, data, length);
    sb->length += length;
}

BASE_INLINE void strbuf_putc(Strbuf *sb, char c)
{
    if (BASE_UNLIKELY(sb->capacity == sb->length) && !strbuf_reserve(sb, 1))
        return;
    sb->data[sb->length++] = c;
}

BASE_INLINE void strbuf_puts(Strbuf *sb, const char *text)
{
    strbuf_put(sb, text, strlen(text));
}

#endif
