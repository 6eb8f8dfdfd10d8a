#include "worker/frames.h"

#include <limits.h>

/* ---- Writing ----------------------------------------------------------------------------------
 */

size_t frame_begin(Strbuf *sb, FrameType type)
{
    size_t start = sb->length;
    strbuf_put(sb, "\0\0\0", FRAME_HEADER_BYTES);
    strbuf_putc(sb, (char)type);
    return start;
}

bool frame_end(Strbuf *sb, size_t start)
{
    size_t length = sb->length - start - FRAME_HEADER_BYTES;
    if (sb->failed || length > FRAME_BYTES_MAX) {
        sb->failed = false;
        sb->length = start;
        return false;
    }
    for (int i = 0; i < FRAME_HEADER_BYTES; i++)
        sb->data[start + (size_t)i] = (char)(length >> (8 * i));
    return true;
}

void frame_put_u64(Strbuf *sb, uint64_t value)
{
    while (value >= 0x80) {
        strbuf_putc(sb, (char)(value | 0x80));
        value >>= 7;
    }
    strbuf_putc(sb, (char)value);
}

void frame_put_int(Strbuf *sb, int64_t value)
{
    frame_put_u64(sb, ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0));
}

void frame_put_text(Strbuf *sb, const char *data, size_t length)
{
    if (!data) {
        frame_put_u64(sb, 0);
        return;
    }
    frame_put_u64(sb, (uint64_t)length + 1);
    strbuf_put(sb, data, length);
    strbuf_putc(sb, '\0');
}

void frame_put_cstr(Strbuf *sb, const char *text)
{
    frame_put_text(sb, text, text ? strlen(text) : 0);
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

FrameReader frame_reader(const uint8_t *payload, size_t length)
{
    return (FrameReader){.p = payload, .end = payload + length};
}

static uint64_t fail(FrameReader *r)
{
    r->failed = true;
    return 0;
}

uint64_t frame_u64(FrameReader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->failed || r->p == r->end)
            return fail(r);
        uint8_t byte = *r->p++;
        if (shift == 63 && byte > 1)
            return fail(r);
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return value;
    }
    return fail(r);
}

uint64_t frame_below(FrameReader *r, uint64_t bound)
{
    uint64_t value = frame_u64(r);
    return value < bound ? value : fail(r);
}

int frame_int(FrameReader *r)
{
    uint64_t folded = frame_u64(r);
    int64_t value = (int64_t)(folded >> 1) ^ -(int64_t)(folded & 1);
    return value >= INT_MIN && value <= INT_MAX ? (int)value : (int)fail(r);
}

bool frame_flag(FrameReader *r)
{
    return frame_below(r, 2) != 0;
}

EventText frame_text(FrameReader *r)
{
    uint64_t length = frame_u64(r);
    if (length == 0)
        return (EventText){0};
    /* The NUL is not in the length, the one that tells it from "none" makes up for it. */
    if (length > (size_t)(r->end - r->p) || r->p[length - 1] != '\0') {
        fail(r);
        return (EventText){0};
    }
    EventText text = {(const char *)r->p, (size_t)length - 1};
    r->p += length;
    return text;
}

const char *frame_cstr(FrameReader *r, size_t max)
{
    EventText text = frame_text(r);
    if (text.data && (text.length > max || memchr(text.data, '\0', text.length) != NULL)) {
        fail(r);
        return NULL;
    }
    return text.data;
}

bool frame_done(const FrameReader *r)
{
    return !r->failed && r->p == r->end;
}

/* ---- Streams ----------------------------------------------------------------------------------
 */

enum { STREAM_ROOM_BYTES = 64 << 10, STREAM_KEPT_BYTES = 1 << 20 };

char *frame_stream_room(FrameStream *stream, size_t *size)
{
    Strbuf *bytes = &stream->bytes;
    if (stream->at == bytes->length) {
        bytes->length = 0;
        if (bytes->capacity > STREAM_KEPT_BYTES)
            strbuf_free(bytes);
    } else if (stream->at > 0) {
        memmove(bytes->data, bytes->data + stream->at, bytes->length - stream->at);
        bytes->length -= stream->at;
    }
    stream->at = 0;
    /* Memory grows with the bytes that came, not with the length they announce. */
    if (!strbuf_reserve(bytes, STREAM_ROOM_BYTES)) {
        bytes->failed = false;
        return NULL;
    }
    *size = bytes->capacity - bytes->length;
    return bytes->data + bytes->length;
}

void frame_stream_got(FrameStream *stream, size_t count)
{
    BASE_ASSERT(count <= stream->bytes.capacity - stream->bytes.length);
    stream->bytes.length += count;
}

FrameNext frame_stream_next(FrameStream *stream, FrameType *type, FrameReader *payload)
{
    size_t left = stream->bytes.length - stream->at;
    if (left < FRAME_HEADER_BYTES)
        return FRAME_NONE_YET;
    const uint8_t *p = (const uint8_t *)stream->bytes.data + stream->at;
    size_t length = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
    if (length == 0 || length > FRAME_BYTES_MAX)
        return FRAME_BAD;
    if (left < FRAME_HEADER_BYTES + 1)
        return FRAME_NONE_YET;
    uint8_t kind = p[FRAME_HEADER_BYTES];
    if (kind < FRAME_INIT || kind >= FRAME_TYPES)
        return FRAME_BAD;
    if (left < FRAME_HEADER_BYTES + length)
        return FRAME_NONE_YET;
    *type = (FrameType)kind;
    *payload = frame_reader(p + FRAME_HEADER_BYTES + 1, length - 1);
    stream->at += FRAME_HEADER_BYTES + length;
    return FRAME_COMPLETE;
}

void frame_stream_free(FrameStream *stream)
{
    strbuf_free(&stream->bytes);
    stream->at = 0;
}
