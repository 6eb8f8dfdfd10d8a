/* lib_buffer.c: buffers: mutable bytes of fixed size, little endian (reference 11.7). */
#include "luau/lib/lib.h"

enum { BUFFER_MAX = 1 << 30 };

static Buffer *check_buffer(lua_State *L, int arg)
{
    if (BASE_UNLIKELY(!lib_hasarg(L, arg) || !val_isbuffer(lib_arg(L, arg))))
        luaL_checkbuffer(L, arg, NULL); /* raises */
    return val_buffer(lib_arg(L, arg));
}

/* `size` bytes at `offset` lie in the buffer. A negative offset becomes a great one. */
static bool in_bounds(const Buffer *b, int offset, size_t size)
{
    return (uint64_t)(unsigned)offset + size <= b->length;
}

static void check_bounds(lua_State *L, const Buffer *b, int offset, size_t size)
{
    if (BASE_UNLIKELY(!in_bounds(b, offset, size)))
        luaL_error(L, "buffer access out of bounds");
}

/* ---- Numbers ---- */

#define BUFFER_READ(name, type)                                                                    \
    static int buffer_read##name(lua_State *L)                                                     \
    {                                                                                              \
        const Buffer *b = check_buffer(L, 1);                                                      \
        int offset = lib_checkint(L, 2);                                                           \
        check_bounds(L, b, offset, sizeof(type));                                                  \
        type value;                                                                                \
        memcpy(&value, b->data + offset, sizeof(type));                                            \
        luD_push(L, val_anynumber((double)value));                                                 \
        return 1;                                                                                  \
    }
BUFFER_READ(i8, int8_t)
BUFFER_READ(u8, uint8_t)
BUFFER_READ(i16, int16_t)
BUFFER_READ(u16, uint16_t)
BUFFER_READ(i32, int32_t)
BUFFER_READ(u32, uint32_t)
BUFFER_READ(f32, float)
BUFFER_READ(f64, double)

#define BUFFER_WRITE(name, type, check)                                                            \
    static int buffer_write##name(lua_State *L)                                                    \
    {                                                                                              \
        Buffer *b = check_buffer(L, 1);                                                            \
        int offset = lib_checkint(L, 2);                                                           \
        type value = (type)check(L, 3);                                                            \
        check_bounds(L, b, offset, sizeof(type));                                                  \
        memcpy(b->data + offset, &value, sizeof(type));                                            \
        return 0;                                                                                  \
    }
BUFFER_WRITE(i8, uint8_t, lib_checkunsigned)
BUFFER_WRITE(u8, uint8_t, lib_checkunsigned)
BUFFER_WRITE(i16, uint16_t, lib_checkunsigned)
BUFFER_WRITE(u16, uint16_t, lib_checkunsigned)
BUFFER_WRITE(i32, uint32_t, lib_checkunsigned)
BUFFER_WRITE(u32, uint32_t, lib_checkunsigned)
BUFFER_WRITE(f32, float, lib_checknumber)
BUFFER_WRITE(f64, double, lib_checknumber)

static int buffer_readinteger(lua_State *L)
{
    const Buffer *b = check_buffer(L, 1);
    int offset = lib_checkint(L, 2);
    int64_t value;
    check_bounds(L, b, offset, sizeof(value));
    memcpy(&value, b->data + offset, sizeof(value));
    lua_pushinteger64(L, value);
    return 1;
}

static int buffer_writeinteger(lua_State *L)
{
    Buffer *b = check_buffer(L, 1);
    int offset = lib_checkint(L, 2);
    int64_t value = luaL_checkinteger64(L, 3);
    check_bounds(L, b, offset, sizeof(value));
    memcpy(b->data + offset, &value, sizeof(value));
    return 0;
}

/* ---- Bits ---- */

/* Arguments 2 and 3: offset and count of bits. Offsets may exceed int. */
static int64_t check_bits(lua_State *L, const Buffer *b, int *count)
{
    double offset_number = lib_checknumber(L, 2);
    *count = lib_checkint(L, 3);
    int64_t offset = offset_number > -1.0 && offset_number < 0x1p62 ? (int64_t)offset_number : -1;
    if (offset < 0)
        luaL_error(L, "buffer access out of bounds");
    if ((unsigned)*count > 32)
        luaL_error(L, "bit count is out of range of [0; 32]");
    if ((uint64_t)offset + (uint64_t)*count > (uint64_t)b->length * 8)
        luaL_error(L, "buffer access out of bounds");
    return offset;
}

/* The up to five bytes that hold those bits, as one little-endian word. */
static uint64_t load_bits(const Buffer *b, int64_t first, int64_t end)
{
    uint64_t word = 0;
    memcpy(&word, b->data + first, (size_t)(end - first));
    return word;
}

static int buffer_readbits(lua_State *L)
{
    const Buffer *b = check_buffer(L, 1);
    int count;
    int64_t offset = check_bits(L, b, &count);
    uint64_t word = load_bits(b, offset / 8, (offset + count + 7) / 8);
    uint64_t mask = ((uint64_t)1 << count) - 1;
    lib_pushnumber(L, (double)(word >> (offset & 7) & mask));
    return 1;
}

static int buffer_writebits(lua_State *L)
{
    Buffer *b = check_buffer(L, 1);
    lib_checknumber(L, 2);
    lib_checknumber(L, 3);
    uint64_t value = lib_checkunsigned(L, 4);
    int count;
    int64_t offset = check_bits(L, b, &count);
    int64_t first = offset / 8, end = (offset + count + 7) / 8;
    uint64_t word = load_bits(b, first, end);
    uint64_t mask = (((uint64_t)1 << count) - 1) << (offset & 7);
    word = (word & ~mask) | (value << (offset & 7) & mask);
    memcpy(b->data + first, &word, (size_t)(end - first));
    return 0;
}

/* ---- Bytes ---- */

/* A new buffer on the stack. */
static Buffer *push_buffer(lua_State *L, size_t size)
{
    if (size > BUFFER_MAX)
        luD_error(L, "memory allocation error: block too big");
    lua_newbuffer(L, size);
    return val_buffer(L->top[-1]);
}

/* A new string of those bytes of a buffer that is an argument, on the stack. */
static int push_bytes(lua_State *L, const Buffer *b, size_t offset, size_t size)
{
    lib_beforealloc(L, string_size(size));
    String *s = luS_room(L, size);
    lib_pushstring(L, s);
    lib_movebytes(L, s->data, b->data + offset, size);
    return 1;
}

static int buffer_create(lua_State *L)
{
    int size = lib_checkint(L, 1);
    luaL_argcheck(L, size >= 0, 1, "size");
    push_buffer(L, (size_t)size);
    return 1;
}

static int buffer_fromstring(lua_State *L)
{
    size_t length;
    const char *s = luaL_checklstring(L, 1, &length);
    Buffer *b = push_buffer(L, length);
    lib_movebytes(L, b->data, s, length);
    return 1;
}

static int buffer_tostring(lua_State *L)
{
    const Buffer *b = check_buffer(L, 1);
    return push_bytes(L, b, 0, b->length);
}

static int buffer_len(lua_State *L)
{
    lib_pushnumber(L, check_buffer(L, 1)->length);
    return 1;
}

static int buffer_readstring(lua_State *L)
{
    const Buffer *b = check_buffer(L, 1);
    int offset = lib_checkint(L, 2), size = lib_checkint(L, 3);
    luaL_argcheck(L, size >= 0, 3, "size");
    check_bounds(L, b, offset, (size_t)size);
    return push_bytes(L, b, (size_t)offset, (size_t)size);
}

static int buffer_writestring(lua_State *L)
{
    Buffer *b = check_buffer(L, 1);
    int offset = lib_checkint(L, 2);
    size_t length;
    const char *s = luaL_checklstring(L, 3, &length);
    int count = lib_optint(L, 4, (int)length);
    luaL_argcheck(L, count >= 0, 4, "count");
    if ((size_t)count > length)
        luaL_error(L, "string length overflow");
    check_bounds(L, b, offset, (size_t)count);
    lib_movebytes(L, b->data + offset, s, (size_t)count);
    return 0;
}

/* The optional count at `arg`: by default the rest of b behind offset. */
static size_t opt_count(lua_State *L, int arg, const Buffer *b, int offset)
{
    int64_t count = lib_isnoneornil(L, arg) ? (int64_t)b->length - offset : lib_checkint(L, arg);
    if (count < 0)
        luaL_error(L, "buffer access out of bounds");
    return (size_t)count;
}

static int buffer_copy(lua_State *L)
{
    Buffer *to = check_buffer(L, 1);
    int to_offset = lib_checkint(L, 2);
    const Buffer *from = check_buffer(L, 3);
    int from_offset = lib_optint(L, 4, 0);
    size_t count = opt_count(L, 5, from, from_offset);
    check_bounds(L, from, from_offset, count);
    check_bounds(L, to, to_offset, count);
    lib_movebytes(L, to->data + to_offset, from->data + from_offset, count);
    return 0;
}

static int buffer_fill(lua_State *L)
{
    Buffer *b = check_buffer(L, 1);
    int offset = lib_checkint(L, 2);
    unsigned value = lib_checkunsigned(L, 3);
    size_t count = opt_count(L, 4, b, offset);
    check_bounds(L, b, offset, count);
    lib_fillbytes(L, b->data + offset, (int)(value & 0xff), count);
    return 0;
}

/* clang-format off */
#define ENTRY(name) {#name, buffer_##name}
/* clang-format on */
static const luaL_Reg buffer_functions[] = {
    ENTRY(create),      ENTRY(fromstring),  ENTRY(tostring),     ENTRY(readi8),   ENTRY(readu8),
    ENTRY(readi16),     ENTRY(readu16),     ENTRY(readi32),      ENTRY(readu32),  ENTRY(readf32),
    ENTRY(readf64),     ENTRY(writei8),     ENTRY(writeu8),      ENTRY(writei16), ENTRY(writeu16),
    ENTRY(writei32),    ENTRY(writeu32),    ENTRY(writef32),     ENTRY(writef64), ENTRY(readstring),
    ENTRY(writestring), ENTRY(len),         ENTRY(copy),         ENTRY(fill),     ENTRY(readbits),
    ENTRY(writebits),   ENTRY(readinteger), ENTRY(writeinteger), {NULL, NULL},
};

int luaopen_buffer(lua_State *L)
{
    luaL_register(L, "buffer", buffer_functions);
    return 1;
}
