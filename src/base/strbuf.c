#include "base/strbuf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

bool strbuf_reserve(Strbuf *sb, size_t count)
{
    if (sb->failed)
        return false;
    if (sb->capacity - sb->length >= count)
        return true;
    size_t ceiling = sb->max ? sb->max : SIZE_MAX / 4;
    if (count > ceiling || sb->length > ceiling - count) {
        sb->failed = true;
        sb->capacity = sb->length; /* so that the inline appends come here and stop */
        return false;
    }
    size_t capacity = sb->capacity < 128 ? 256 : sb->capacity * 2;
    if (capacity < sb->length + count)
        capacity = sb->length + count;
    if (capacity > ceiling)
        capacity = ceiling;
    char *data = realloc(sb->data, capacity);
    if (!data) {
        sb->failed = true;
        sb->capacity = sb->length;
        return false;
    }
    sb->data = data;
    sb->capacity = capacity;
    return true;
}

void strbuf_free(Strbuf *sb)
{
    free(sb->data);
    sb->data = NULL;
    sb->length = sb->capacity = 0;
    sb->failed = false;
}

void strbuf_clear(Strbuf *sb)
{
    sb->length = 0;
    sb->failed = false;
}

char *strbuf_take(Strbuf *sb, size_t *length)
{
    char *data = sb->data;
    *length = sb->length;
    sb->data = NULL;
    sb->length = sb->capacity = 0;
    return data;
}

const char *strbuf_cstr(Strbuf *sb)
{
    if (!strbuf_reserve(sb, 1))
        return "";
    sb->data[sb->length] = '\0';
    return sb->data;
}

void strbuf_printf(Strbuf *sb, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (length < 0)
        return;
    if ((size_t)length < sizeof(text)) {
        strbuf_put(sb, text, (size_t)length);
        return;
    }
    if (!strbuf_reserve(sb, (size_t)length + 1))
        return;
    va_start(args, format);
    vsnprintf(sb->data + sb->length, (size_t)length + 1, format, args);
    va_end(args);
    sb->length += (size_t)length;
}

int strbuf_readfile(Strbuf *sb, const char *path, size_t max_bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return errno;
    size_t start = sb->length;
    int error = 0;
    for (;;) {
        if (!strbuf_reserve(sb, 16384)) {
            error = ENOMEM;
            break;
        }
        size_t count = fread(sb->data + sb->length, 1, sb->capacity - sb->length, file);
        if (count == 0) {
            error = ferror(file) ? (errno ? errno : EIO) : 0;
            break;
        }
        sb->length += count;
        if (sb->length - start > max_bytes) {
            error = EFBIG;
            break;
        }
    }
    fclose(file);
    if (error)
        sb->length = start;
    return error;
}
