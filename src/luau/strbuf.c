/* strbuf.c: luaL_Strbuf, text built piece by piece.
 *
 * The first LUA_BUFFERSIZE bytes go to the struct itself, on the native's C stack. When they do not
 * do, the bytes move to a String under construction, which stands on the Lua stack (one slot, where
 * the top was at that time): there the collector sees it, and an error or a kill that unwinds the
 * native loses nothing. Nobody else sees that string until luaL_pushresult; if it was filled to its
 * last byte it is the result, else the result is a copy.
 *
 *     buffer or storage->data       p              end
 *     | text so far ................| room ........|                                             */
#include "luau/api.h"

#include "base/num.h"
#include "luau/bytes.h"

static char *text_start(luaL_Strbuf *B)
{
    return B->storage ? ((String *)B->storage)->data : B->buffer;
}

/* How large the next storage is: half as much again, but not past the quota for that. */
static size_t next_capacity(lua_State *L, size_t capacity, size_t wanted)
{
    const Heap *heap = &G(L)->heap;
    size_t size = capacity + capacity / 2;
    if (size > LUAU_STRING_MAX)
        size = LUAU_STRING_MAX;
    if (heap->quota_bytes && (heap->reserved_bytes >= heap->quota_bytes ||
                              heap->quota_bytes - heap->reserved_bytes < string_size(size)))
        size = wanted;
    return size > wanted ? size : wanted;
}

/* Moves the text to a storage of `capacity`, whose place on the stack is at top + place. */
static void move_to_storage(luaL_Strbuf *B, size_t capacity, int place)
{
    lua_State *L = B->L;
    luE_prepare(L, string_size(capacity));
    String *storage = luS_room(L, capacity);
    const char *old = text_start(B);
    size_t used = (size_t)(B->p - old);
    luY_copy(storage->data, old, used);
    if (!B->storage) {
        luE_room(L, 1);
        api_push(L, VAL_NIL);
        lua_insert(L, place);
    }
    BASE_DEBUG(!B->storage || L->top[place].u == val_fromstring(B->storage).u);
    L->top[place] = val_fromstring(storage);
    B->storage = storage;
    B->p = storage->data + used;
    B->end = storage->data + capacity;
}

/* Room for size more bytes; the storage is, or will be, at top + place. */
static char *make_room(luaL_Strbuf *B, size_t size, int place)
{
    const char *start = text_start(B);
    size_t used = (size_t)(B->p - start);
    if ((size_t)(B->end - B->p) >= size)
        return B->p;
    if (size > LUAU_STRING_MAX - used)
        luE_toobig(B->L);
    move_to_storage(B, next_capacity(B->L, (size_t)(B->end - start), used + size), place);
    return B->p;
}

void luaL_buffinit(lua_State *L, luaL_Strbuf *B)
{
    B->p = B->buffer;
    B->end = B->buffer + LUA_BUFFERSIZE;
    B->L = L;
    B->storage = NULL;
}

char *luaL_buffinitsize(lua_State *L, luaL_Strbuf *B, size_t size)
{
    luaL_buffinit(L, B);
    if (size > LUAU_STRING_MAX)
        luE_toobig(L);
    if (size > LUA_BUFFERSIZE) /* exactly: then no copy is needed at the end */
        move_to_storage(B, size, -1);
    return B->p;
}

char *luaL_prepbuffsize(luaL_Strbuf *B, size_t size)
{
    return make_room(B, size, -1);
}

void luaL_addlstring(luaL_Strbuf *B, const char *s, size_t length)
{
    if ((size_t)(B->end - B->p) < length)
        make_room(B, length, -1);
    luY_copy(B->p, s, length);
    B->p += length;
}

void luaL_addvalue(luaL_Strbuf *B)
{
    lua_State *L = B->L;
    Value v = L->top[-1];
    if (val_isnumber(v)) {
        char text[NUM_TEXT_MAX];
        int length = num_format(v.n, text);
        L->top--;
        luaL_addlstring(B, text, (size_t)length);
        return;
    }
    BASE_ASSERT(val_isstring(v));
    String *s = val_string(v);
    make_room(B, s->length, -2); /* under the value, which keeps it alive */
    luY_copy(B->p, s->data, s->length);
    B->p += s->length;
    L->top--;
}

void luaL_addvalueany(luaL_Strbuf *B, int index)
{
    lua_State *L = B->L;
    Value v = luE_value(L, index);
    if (val_isnumber(v)) {
        char text[NUM_TEXT_MAX];
        int length = num_format(v.n, text);
        luaL_addlstring(B, text, (size_t)length);
    } else {
        luE_room(L, 2);
        luaL_tolstring(L, index, NULL);
        luaL_addvalue(B);
    }
}

void luaL_pushresult(luaL_Strbuf *B)
{
    lua_State *L = B->L;
    String *storage = B->storage;
    if (!storage) {
        luE_newstring(L, B->buffer, (size_t)(B->p - B->buffer));
    } else if (B->p != B->end) {
        size_t length = (size_t)(B->p - storage->data);
        luE_prepare(L, string_size(length));
        String *s = luS_new(L, storage->data, length);
        L->top[-1] = val_fromstring(s);
    }
    /* else the storage, on top, is the result */
}

void luaL_pushresultsize(luaL_Strbuf *B, size_t size)
{
    BASE_DEBUG(size <= (size_t)(B->end - B->p));
    B->p += size;
    luaL_pushresult(B);
}
