/* The string library: the plain functions. Patterns, format and pack have files of their own. */
#include <string.h>

#include "luau/lib/lib_string.h"

/* Pushes a new string of that many bytes, to be filled by the caller before anything else sees it;
 * polls are allowed meanwhile. */
static char *push_room(lua_State *L, size_t length)
{
    lib_beforealloc(L, string_size(length));
    String *s = luS_room(L, length);
    luD_push(L, val_fromstring(s));
    return s->data;
}

/* Bytes to handle until the next poll; polls here if a piece was done already. */
static size_t next_piece(lua_State *L, size_t done, size_t length)
{
    if (done >= STRING_POLL_BYTES)
        luY_poll(L);
    return length - done < STRING_POLL_BYTES ? length - done : STRING_POLL_BYTES;
}

/* First place of needle among those that begin at text[0..starts). While its first byte is rare,
 * looking for that is quickest; else it is memmem's business. */
static const char *search_piece(const char *text, size_t starts, const char *needle, size_t length)
{
    enum { MISSES_FREE = 8, BYTES_PER_MISS = 32 };
    const char *from = text;
    for (ptrdiff_t misses = 0; starts > 0; misses++) {
        if (misses > MISSES_FREE && text - from < misses * BYTES_PER_MISS)
            break;
        const char *hit = memchr(text, *needle, starts);
        if (!hit || memcmp(hit + 1, needle + 1, length - 1) == 0)
            return hit;
        starts -= (size_t)(hit + 1 - text);
        text = hit + 1;
    }
    return starts > 0 ? memmem(text, starts + length - 1, needle, length) : NULL;
}

const char *luStr_search(lua_State *L, const char *text, size_t length, const char *needle,
                         size_t needle_length)
{
    enum { HEAD_MAX = 256 };
    if (needle_length == 0)
        return text;
    if (needle_length > length)
        return NULL;
    const char *last = text + (length - needle_length); /* where it can start */
    size_t head = needle_length < HEAD_MAX ? needle_length : HEAD_MAX;
    while (text <= last) {
        size_t starts = (size_t)(last - text) + 1;
        if (starts > STRING_POLL_BYTES)
            starts = STRING_POLL_BYTES;
        const char *hit = search_piece(text, starts, needle, head);
        if (!hit) {
            text += starts;
        } else {
            size_t same = head;
            while (same < needle_length) { /* the rest of a long needle */
                size_t piece = next_piece(L, same, needle_length);
                if (memcmp(hit + same, needle + same, piece) != 0)
                    break;
                same += piece;
            }
            if (same >= needle_length)
                return hit;
            text = hit + 1;
        }
        if (text <= last)
            luY_poll(L);
    }
    return NULL;
}

static int str_len(lua_State *L)
{
    size_t length;
    luStr_check(L, 1, &length);
    luD_push(L, val_number((double)length));
    return 1;
}

static int str_sub(lua_State *L)
{
    size_t length;
    const char *s = luStr_check(L, 1, &length);
    ptrdiff_t first = luStr_position(lib_checkint(L, 2), length);
    ptrdiff_t last = luStr_position(lib_optint(L, 3, -1), length);
    if (first < 1)
        first = 1;
    if (last > (ptrdiff_t)length)
        last = (ptrdiff_t)length;
    if (first > last)
        lua_pushliteral(L, "");
    else if (first == 1 && last == (ptrdiff_t)length)
        lua_pushvalue(L, 1);
    else
        lua_pushlstring(L, s + first - 1, (size_t)(last - first + 1));
    return 1;
}

static int str_byte(lua_State *L)
{
    size_t length;
    const char *s = luStr_check(L, 1, &length);
    ptrdiff_t first = luStr_position(lib_optint(L, 2, 1), length);
    ptrdiff_t last = luStr_position(lib_optint(L, 3, (int)first), length);
    if (first < 1)
        first = 1;
    if (last > (ptrdiff_t)length)
        last = (ptrdiff_t)length;
    if (first > last)
        return 0;
    int count = (int)(last - first + 1);
    luaL_checkstack(L, count, "string slice too long");
    for (int i = 0; i < count; i++)
        luD_push(L, val_number((unsigned char)s[first - 1 + i]));
    return count;
}

static int str_char(lua_State *L)
{
    int count = lua_gettop(L);
    if (count == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    char *out = push_room(L, (size_t)count);
    for (int i = 1; i <= count; i++) {
        int c = lib_checkint(L, i);
        luaL_argcheck(L, c >= 0 && c <= 255, i, "invalid value");
        out[i - 1] = (char)c;
    }
    return 1;
}

static int str_rep(lua_State *L)
{
    size_t length;
    const char *s = luStr_check(L, 1, &length);
    int count = lib_checkint(L, 2);
    if (count <= 0 || length == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (length > LUAU_STRING_MAX / (unsigned)count)
        luaL_error(L, "resulting string too large");
    size_t total = length * (unsigned)count;
    char *out = push_room(L, total);
    if (length == 1 && total <= STRING_POLL_BYTES) {
        memset(out, *s, total);
        return 1;
    }
    size_t done = 0;
    while (done < length) {
        size_t piece = next_piece(L, done, length);
        memcpy(out + done, s + done, piece);
        done += piece;
    }
    while (done < total) { /* what is there, again: doubling, then piece by piece */
        size_t piece = next_piece(L, done, total);
        size_t whole = done / length * length;
        if (whole > STRING_POLL_BYTES)
            whole = STRING_POLL_BYTES / length * length;
        if (whole == 0) { /* a long string: copy from the same place of the one before */
            memcpy(out + done, out + done - length, piece);
            done += piece;
            continue;
        }
        if (piece > whole)
            piece = whole;
        memcpy(out + done, out, piece);
        done += piece;
    }
    return 1;
}

static int str_reverse(lua_State *L)
{
    size_t length;
    const char *s = luStr_check(L, 1, &length);
    char *out = push_room(L, length);
    for (size_t done = 0; done < length;) {
        for (size_t piece = next_piece(L, done, length); piece > 0; piece--, done++)
            out[done] = s[length - 1 - done];
    }
    return 1;
}

/* Copies with the bit 0x20 flipped in the 26 letters from `first` on. */
static int change_case(lua_State *L, unsigned char first)
{
    size_t length;
    const char *s = luStr_check(L, 1, &length);
    char *out = push_room(L, length);
    for (size_t done = 0; done < length;) {
        size_t end = done + next_piece(L, done, length);
        for (; done < end; done++) {
            unsigned char c = (unsigned char)s[done];
            out[done] = (char)(c ^ ((unsigned char)(c - first) < 26 ? 0x20 : 0));
        }
    }
    return 1;
}

static int str_lower(lua_State *L)
{
    return change_case(L, 'A');
}

static int str_upper(lua_State *L)
{
    return change_case(L, 'a');
}

static int str_split(lua_State *L)
{
    enum { PIECES_PER_POLL = 512 };
    size_t length, separator_length;
    const char *s = luStr_check(L, 1, &length);
    const char *separator = luaL_optlstring(L, 2, ",", &separator_length);
    const char *end = s + length;
    lua_settop(L, 2);
    lua_createtable(L, 0, 0);
    for (int count = 1;; count++) {
        const char *piece_end;
        if (separator_length == 0) {
            if (s == end)
                break;
            piece_end = s + 1;
        } else {
            piece_end = luStr_search(L, s, (size_t)(end - s), separator, separator_length);
        }
        lua_pushlstring(L, s, (size_t)((piece_end ? piece_end : end) - s));
        lua_rawseti(L, 3, count);
        if (!piece_end)
            break;
        s = piece_end + separator_length;
        if (count % PIECES_PER_POLL == 0)
            luY_poll(L);
    }
    return 1;
}

static const luaL_Reg string_functions[] = {
    {"byte", str_byte},       {"char", str_char},           {"find", luStr_find},
    {"format", luStr_format}, {"gmatch", luStr_gmatch},     {"gsub", luStr_gsub},
    {"len", str_len},         {"lower", str_lower},         {"match", luStr_match},
    {"pack", luStr_pack},     {"packsize", luStr_packsize}, {"rep", str_rep},
    {"reverse", str_reverse}, {"split", str_split},         {"sub", str_sub},
    {"unpack", luStr_unpack}, {"upper", str_upper},         {NULL, NULL},
};

int luaopen_string(lua_State *L)
{
    luaL_register(L, "string", string_functions);
    lua_pushliteral(L, ""); /* all strings share the metatable of one */
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
    return 1;
}
