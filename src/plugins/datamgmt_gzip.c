/* gzip by zlib, a piece between two polls.
 *
 * zlib takes its memory from the VM (take_block): userdata in a table that stands on the stack. So
 * it counts against the quota, and goes when the native has returned, was left by an error or was
 * killed, even from within zlib; deflateEnd and inflateEnd have nothing to do.
 *
 * What decompresses is read twice: first it is checked and measured, in a small window, and a bomb
 * is found out before any memory is taken for it; then the result is made, at its exact size. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "plugins/datamgmt.h"

enum {
    GZIP_WINDOW_BITS = 15 + 16, /* the greatest window, in the form of gzip */
    MEMORY_LEVEL = 8,
    BLOCKS = 3, /* stack index of zlib's memory */
    CHUNK_BYTES = 32 * 1024,
    INFLATE_PIECE_BYTES = 16 * 1024,
    OUTPUT_MAX_BYTES = 8 << 20, /* without another max_bytes */
    RATIO_MAX = 200,            /* likewise, once there is more than this: */
    RATIO_FROM_BYTES = 1 << 20,
};

/* ---- zlib's memory ----------------------------------------------------------------------------
 */

static voidpf take_block(voidpf opaque, uInt count, uInt size)
{
    lua_State *L = opaque;
    size_t bytes;
    if (__builtin_mul_overflow((size_t)count, (size_t)size, &bytes))
        return Z_NULL;
    void *block = lua_newuserdatatagged(L, bytes, 0);
    lua_rawseti(L, BLOCKS, lua_objlen(L, BLOCKS) + 1);
    return block;
}

static void leave_block(voidpf opaque, voidpf block)
{
    (void)opaque; /* the collector's */
    (void)block;
}

/* Puts the table of blocks at its place; the two arguments stay under it. */
static void open_stream(lua_State *L, z_stream *stream)
{
    lua_settop(L, BLOCKS - 1);
    lua_newtable(L);
    memset(stream, 0, sizeof(*stream));
    stream->zalloc = take_block;
    stream->zfree = leave_block;
    stream->opaque = L;
}

/* zlib asks for pointers to what it does not write. */
static Bytef *input_of(const char *bytes)
{
    return (Bytef *)(uintptr_t)bytes;
}

static int check_whole(lua_State *L, int arg, int least, int most, int otherwise, const char *what)
{
    double n = luaL_optnumber(L, arg, otherwise);
    if (!(n >= least && n <= most && n == floor(n))) {
        char text[96];
        snprintf(text, sizeof(text), "%s is a whole number from %d to %d", what, least, most);
        luaL_argerror(L, arg, text);
    }
    return (int)n;
}

/* ---- Compressing ------------------------------------------------------------------------------
 */

/* Bytes that are done well within a slice, also of the data that the level likes least: it looks at
 * as many earlier places for each byte as it likes. */
static uInt deflate_piece(int level)
{
    return level >= 8 ? 128 : level >= 4 ? 1024 : 4096;
}

/* Chunks of output, in a table at this place on the stack, until their sum is known. */
enum { CHUNKS = BLOCKS + 1 };

static void add_chunk(lua_State *L, z_stream *stream)
{
    datamgmt_checkroom(L, CHUNK_BYTES);
    stream->next_out = lua_newuserdatatagged(L, CHUNK_BYTES, 0);
    stream->avail_out = CHUNK_BYTES;
    lua_rawseti(L, CHUNKS, lua_objlen(L, CHUNKS) + 1);
}

static void deflate_all(lua_State *L, z_stream *stream, const DataIn *in, int level)
{
    size_t used = 0;
    int status;
    do {
        if (stream->avail_out == 0)
            add_chunk(L, stream);
        if (stream->avail_in == 0 && used < in->length) {
            size_t left = in->length - used, piece = deflate_piece(level);
            stream->next_in = input_of(in->bytes + used);
            stream->avail_in = (uInt)(left < piece ? left : piece);
            used += stream->avail_in;
        }
        status = deflate(stream, used == in->length ? Z_FINISH : Z_NO_FLUSH);
        luau_poll(L);
    } while (status == Z_OK || status == Z_BUF_ERROR);
    if (status != Z_STREAM_END)
        luaL_error(L, "zlib failed with %d", status);
}

static void join_chunks(lua_State *L, const z_stream *stream, bool is_buffer)
{
    DataOut out;
    int count = lua_objlen(L, CHUNKS);
    datamgmt_open(L, &out, (size_t)count * CHUNK_BYTES - stream->avail_out, is_buffer);
    for (int i = 1; i <= count; i++) {
        size_t at = (size_t)(i - 1) * CHUNK_BYTES, left = out.length - at;
        lua_rawgeti(L, CHUNKS, i);
        datamgmt_copy(L, out.bytes + at, lua_touserdata(L, -1),
                      left < CHUNK_BYTES ? left : CHUNK_BYTES);
        lua_pop(L, 1);
    }
    datamgmt_close(L, &out);
}

/* compressgzip(data, level?): as what the data was. */
int datamgmt_compressgzip(lua_State *L)
{
    DataIn in;
    z_stream stream;
    datamgmt_check(L, 1, &in);
    int level = check_whole(L, 2, 0, 9, 6, "a level");
    open_stream(L, &stream);
    lua_newtable(L);
    if (deflateInit2(&stream, level, Z_DEFLATED, GZIP_WINDOW_BITS, MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        luaL_error(L, "zlib cannot compress here");
    deflate_all(L, &stream, &in, level);
    join_chunks(L, &stream, in.is_buffer);
    return 1;
}

/* ---- Decompressing ----------------------------------------------------------------------------
 */

typedef struct Inflater {
    lua_State *L;
    z_stream stream;
    const DataIn *in;
    size_t used; /* bytes that the stream was given */
    size_t made; /* bytes that came out */
    bool ended;  /* of the last member */
} Inflater;

static void __attribute__((noreturn)) refuse(const Inflater *f, const char *what)
{
    char text[160];
    snprintf(text, sizeof(text), "no gzip data: %s at byte %zu", what,
             f->used - f->stream.avail_in + 1);
    luaL_argerror(f->L, 1, text);
}

static void give_input(Inflater *f)
{
    size_t left = f->in->length - f->used;
    if (f->stream.avail_in > 0 || left == 0)
        return;
    f->stream.next_in = input_of(f->in->bytes + f->used);
    f->stream.avail_in = (uInt)(left < INFLATE_PIECE_BYTES ? left : INFLATE_PIECE_BYTES);
    f->used += f->stream.avail_in;
}

/* Makes some bytes of at most `room` at `out`; none: the input is at its end. */
static size_t inflate_some(Inflater *f, char *out, size_t room)
{
    f->stream.next_out = (Bytef *)out;
    f->stream.avail_out = (uInt)(room < CHUNK_BYTES ? room : CHUNK_BYTES);
    uInt given = f->stream.avail_out;
    while (f->stream.avail_out == given) {
        give_input(f);
        if (f->ended && f->stream.avail_in == 0)
            return 0;
        if (f->ended && inflateReset(&f->stream) != Z_OK) /* another member follows */
            refuse(f, "the stream is in disorder");
        f->ended = false;
        int status = inflate(&f->stream, Z_NO_FLUSH);
        if (status == Z_BUF_ERROR && f->stream.avail_in == 0 && f->used == f->in->length)
            refuse(f, "it ends in the middle");
        if (status == Z_MEM_ERROR)
            luaL_error(f->L, "not enough memory to decompress");
        if (status != Z_OK && status != Z_BUF_ERROR && status != Z_STREAM_END)
            refuse(f, f->stream.msg ? f->stream.msg : "it is corrupt");
        f->ended = status == Z_STREAM_END;
        luau_poll(f->L);
    }
    size_t count = given - f->stream.avail_out;
    f->made += count;
    return count;
}

static void open_inflater(lua_State *L, const DataIn *in, Inflater *f)
{
    *f = (Inflater){.L = L, .in = in};
    open_stream(L, &f->stream);
    if (inflateInit2(&f->stream, GZIP_WINDOW_BITS) != Z_OK)
        luaL_error(L, "zlib cannot decompress here");
}

/* How many bytes come out. More than `most`, or than is likely if `guarded`, are an error. */
static size_t measure(lua_State *L, const DataIn *in, size_t most, bool guarded)
{
    Inflater f;
    open_inflater(L, in, &f);
    char *window = lua_newuserdatatagged(L, CHUNK_BYTES, 0);
    while (inflate_some(&f, window, CHUNK_BYTES) > 0) {
        size_t taken = f.used - f.stream.avail_in;
        if (f.made > most)
            luaL_error(L, "the data decompresses to more than %d bytes%s", (int)most,
                       guarded ? ", ask for more with max_bytes" : "");
        if (guarded && f.made > RATIO_FROM_BYTES && f.made / RATIO_MAX > taken)
            luaL_error(L,
                       "the data decompresses to more than %d times its size: if that is right, "
                       "say how much may come out with max_bytes",
                       RATIO_MAX);
    }
    return f.made;
}

/* decompressgzip(data, max_bytes?): as what the data was. */
int datamgmt_decompressgzip(lua_State *L)
{
    DataIn in;
    DataOut out;
    Inflater f;
    datamgmt_check(L, 1, &in);
    bool guarded = lua_isnoneornil(L, 2);
    int most = check_whole(L, 2, 0, 1 << 30, OUTPUT_MAX_BYTES, "max_bytes");
    size_t length = measure(L, &in, (size_t)most, guarded);
    open_inflater(L, &in, &f);
    datamgmt_open(L, &out, length, in.is_buffer);
    while (f.made < length && inflate_some(&f, out.bytes + f.made, length - f.made) > 0) {
    }
    if (f.made != length)
        luaL_error(L, "the data changed while it was decompressed");
    datamgmt_close(L, &out);
    return 1;
}
