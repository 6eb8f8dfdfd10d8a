/* The reader: JSON text to Luau values, in one pass. The values of the containers that are open
 * wait on the VM's stack; a container that ends becomes a table of exactly the right size. One that
 * grows beyond PENDING_MAX values becomes a table early and is filled in portions. */
#include <stdio.h>

#include "base/base64.h"
#include "base/jsontext.h"
#include "khronos/int64.h"
#include "khronos/interop.h"
#include "khronos/interop_stored.h"
#include "khronos/sandbox.h"
#include "luau/api.h"

enum {
    PENDING_MAX = 256, /* slots of one container on the stack; even */
    POLL_STEPS = 512,
    NAME_SLOTS = 32, /* recently read names, so that lists of like objects share theirs */
    NAME_LENGTH_MAX = 32,
    TEXT_PIECE = 64 << 10, /* of base64 */
    BUFFER_PIECE = TEXT_PIECE / 4 * 3
};

typedef struct Level {
    int first;  /* slot of the first pending value, counted from the frame's base */
    int filled; /* arrays: elements already in the table */
    bool made;  /* the table exists, in the slot before `first` */
    bool object;
    bool buffer; /* a member is named as that of a buffer is */
} Level;

typedef struct Decoder {
    lua_State *L;
    JsonReader reader;
    bool freeze, stored;
    int names; /* slot of the first remembered name */
    int depth;
    unsigned steps;
    Table *array_meta;
    Level levels[JSON_DEPTH_MAX];
} Decoder;

/* ---- Scalars ----------------------------------------------------------------------------------
 */

static void push(Decoder *d, Value v)
{
    lua_State *L = d->L;
    if (BASE_UNLIKELY(L->ci->top - L->top < 8))
        lua_rawcheckstack(L, 64);
    *L->top++ = v;
}

static String *new_string(Decoder *d, const JsonString *text)
{
    lua_State *L = d->L;
    size_t length = text->escaped ? json_unescaped_length(text) : text->length;
    luE_prepare(L, string_size(length));
    if (!text->escaped)
        return luS_new(L, text->data, length);
    String *s = luS_room(L, length);
    json_unescape(text, s->data);
    return s;
}

static void push_string(Decoder *d)
{
    JsonString text;
    if (json_string(&d->reader, &text))
        push(d, val_fromstring(new_string(d, &text)));
}

/* A member's name: the String of an equal one read before, if it is still known. */
static void push_name(Decoder *d, const JsonString *text)
{
    if (text->escaped || text->length == 0 || text->length > NAME_LENGTH_MAX) {
        push(d, val_fromstring(new_string(d, text)));
        return;
    }
    unsigned hash = (unsigned)text->length * 31u + (unsigned char)text->data[0];
    hash = hash * 31u + (unsigned char)text->data[text->length - 1];
    hash = hash * 31u + (unsigned char)text->data[text->length / 2];
    int slot = d->names + (int)((hash ^ hash >> 5) % NAME_SLOTS);
    Value known = d->L->base[slot];
    if (val_isstring(known) && val_string(known)->length == text->length &&
        memcmp(val_string(known)->data, text->data, text->length) == 0) {
        push(d, known);
        return;
    }
    push(d, val_fromstring(new_string(d, text)));
    d->L->base[slot] = d->L->top[-1];
}

static void push_number(Decoder *d)
{
    JsonNumber number;
    const int64_t exact_max = (int64_t)1 << 53;
    if (!json_number(&d->reader, &number))
        return;
    if (number.kind == JSON_DOUBLE) {
        push(d, val_number(number.d));
    } else if (number.kind == JSON_INT64 && number.i >= -exact_max && number.i <= exact_max) {
        push(d, val_number((double)number.i));
    } else {
        push(d, VAL_NIL); /* makes room for the API's push */
        d->L->top--;
        if (number.kind == JSON_INT64)
            int64_push(d->L, number.i);
        else
            uint64_push(d->L, number.u);
    }
}

/* ---- Containers -------------------------------------------------------------------------------
 */

static Level *level(Decoder *d)
{
    return &d->levels[d->depth - 1];
}

/* The object whose one member is pending is what a buffer was stored as: the buffer takes its
 * place. False: it is not. */
static bool close_buffer(Decoder *d)
{
    lua_State *L = d->L;
    Level *l = level(d);
    size_t size;
    if (L->top - L->base - l->first != 2 || !val_isstring(L->top[-1]))
        return false;
    const String *text = val_string(L->top[-1]);
    if (!base64_check(text->data, text->length, &size))
        return false;
    push(d, VAL_NIL); /* makes room for the API's push */
    L->top--;
    char *data = lua_newbuffer(L, size);
    for (size_t at = 0, length; at < text->length; at += length, data += BUFFER_PIECE) {
        length = text->length - at < TEXT_PIECE ? text->length - at : TEXT_PIECE;
        base64_decode(text->data + at, length, data);
        luau_poll(L);
    }
    L->base[l->first] = L->top[-1];
    L->top = L->base + l->first + 1;
    return true;
}

static void finish_table(Decoder *d, Table *t, bool object)
{
    if (!object)
        t->meta = d->array_meta; /* of the image: no barrier, no mark */
    if (d->freeze)
        t->flags |= TABLE_READONLY;
}

/* Stores name-value pairs; nil removes what an earlier pair of the same name put there. */
static void store_pairs(lua_State *L, Table *t, int first, int count)
{
    for (int i = 0; i < count; i += 2) {
        String *name = val_string(L->base[first + i]);
        Value value = L->base[first + i + 1];
        if (!val_isnil(value)) {
            *luT_setstring(L, t, name) = value;
        } else {
            Value *slot = luT_findstring(t, name);
            if (slot)
                *slot = VAL_NIL;
        }
    }
}

static int count_pairs(lua_State *L, int first, int count)
{
    int pairs = 0;
    for (int i = 0; i < count; i += 2)
        pairs += !val_isnil(L->base[first + i + 1]);
    return pairs;
}

/* Moves the pending values of a container that has become large into its table. */
static void spill(Decoder *d)
{
    lua_State *L = d->L;
    Level *l = level(d);
    int count = (int)(L->top - L->base) - l->first;
    luG_check(L);
    if (!l->made) {
        Table *t = l->object ? luT_new(L, 0, count_pairs(L, l->first, count))
                             : luT_new(L, count, 0);
        push(d, VAL_NIL);
        memmove(L->base + l->first + 1, L->base + l->first, (size_t)count * sizeof(Value));
        L->base[l->first++] = val_fromtable(t);
        l->made = true;
    }
    Table *t = val_table(L->base[l->first - 1]);
    if (l->object) {
        if (table_nodecount(t) >= 1024)
            luH_reserve(L, (size_t)table_nodecount(t) * 2 * (sizeof(Node) + sizeof(int32_t)));
        store_pairs(L, t, l->first, count);
    } else {
        int wanted = l->filled + count;
        if (wanted > t->array_size) {
            int size = wanted < 2 * t->array_size ? 2 * t->array_size : wanted;
            if (size > LUAU_TABLE_MAX)
                size = wanted;
            luH_reserve(L, (size_t)size * sizeof(Value));
            luT_resizearray(L, t, size);
        }
        memcpy(t->array + l->filled, L->base + l->first, (size_t)count * sizeof(Value));
        l->filled = wanted;
    }
    luG_barriertable(L, t);
    L->top = L->base + l->first;
}

/* The container ended: its table takes the place of its values. */
static void close_table(Decoder *d)
{
    lua_State *L = d->L;
    Level *l = level(d);
    Table *t;
    if (BASE_UNLIKELY(l->buffer) && !l->made && close_buffer(d)) {
        d->depth--;
        return;
    }
    if (l->made) {
        spill(d);
        t = val_table(L->base[l->first - 1]);
        if (!l->object && t->array_size > l->filled)
            luT_resizearray(L, t, l->filled);
    } else {
        int count = (int)(L->top - L->base) - l->first;
        luG_check(L);
        t = l->object ? luT_new(L, 0, count_pairs(L, l->first, count)) : luT_new(L, count, 0);
        if (l->object)
            store_pairs(L, t, l->first, count);
        else if (count > 0)
            memcpy(t->array, L->base + l->first, (size_t)count * sizeof(Value));
        L->top = L->base + l->first;
        push(d, val_fromtable(t));
    }
    finish_table(d, t, l->object);
    d->depth--;
}

static void open_table(Decoder *d, bool object)
{
    if (!json_enter(&d->reader))
        return;
    d->levels[d->depth++] = (Level){.first = (int)(d->L->top - d->L->base), .object = object};
}

/* The name on top may be one that the writer changed, or that of a buffer. */
static void take_reserved(Decoder *d, Level *l)
{
    const String *name = val_string(d->L->top[-1]);
    if (!stored_isreserved(name->data, name->length))
        return;
    if (name->length == sizeof(STORED_BUFFER) - 1) {
        l->buffer = true;
        return;
    }
    luE_prepare(d->L, string_size(name->length - 1));
    d->L->top[-1] = val_fromstring(luS_new(d->L, name->data + 1, name->length - 1));
}

/* Reads up to the place of the next value: 1; 0 when the container ended, or an error. */
static bool next_value(Decoder *d)
{
    Level *l = level(d);
    if (d->L->top - d->L->base - l->first >= PENDING_MAX)
        spill(d);
    if (!l->object)
        return json_element(&d->reader);
    JsonString name;
    if (!json_member(&d->reader, &name))
        return false;
    push_name(d, &name);
    if (d->stored && name.length >= sizeof(STORED_BUFFER) - 1)
        take_reserved(d, l);
    return true;
}

static void read_value(Decoder *d)
{
    switch (json_peek(&d->reader)) {
    case JSON_NONE: break;
    case JSON_STRING: push_string(d); break;
    case JSON_NUMBER: push_number(d); break;
    case JSON_ARRAY: open_table(d, false); break;
    case JSON_OBJECT: open_table(d, true); break;
    case JSON_NULL: {
        bool in_array = d->depth > 0 && !level(d)->object;
        if (json_literal(&d->reader))
            push(d, in_array ? VAL_TAGGED(TAG_LIGHT, 0) : VAL_NIL);
        break;
    }
    case JSON_TRUE:
        if (json_literal(&d->reader))
            push(d, VAL_TRUE);
        break;
    case JSON_FALSE:
        if (json_literal(&d->reader))
            push(d, VAL_FALSE);
        break;
    }
}

static bool decode(Decoder *d)
{
    for (;;) {
        if (BASE_UNLIKELY(++d->steps % POLL_STEPS == 0))
            luau_poll(d->L);
        read_value(d);
        while (!d->reader.error && d->depth > 0 && !next_value(d)) {
            if (!d->reader.error)
                close_table(d);
        }
        if (d->reader.error)
            return false;
        if (d->depth == 0)
            return json_end(&d->reader);
    }
}

static void poll_vm(void *L)
{
    luau_poll(L);
}

bool interop_decode(lua_State *L, const InteropReader *reader, InteropError *error)
{
    int top = (int)(L->top - L->base);
    lua_rawcheckstack(L, NAME_SLOTS + LUA_MINSTACK);
    interop_pusharraymeta(L);
    Decoder d = {.L = L, .freeze = reader->freeze, .stored = reader->stored, .names = top + 1};
    d.array_meta = val_istable(L->top[-1]) ? val_table(L->top[-1]) : NULL;
    for (int i = 0; i < NAME_SLOTS; i++)
        *L->top++ = VAL_NIL;
    json_open(&d.reader, reader->text, reader->length);
    d.reader.poll = poll_vm;
    d.reader.poll_arg = L;
    bool ok = decode(&d);
    if (ok) {
        L->base[top] = L->top[-1];
        L->top = L->base + top + 1;
    } else {
        L->top = L->base + top;
        json_describe(&d.reader, error->text, sizeof(error->text));
    }
    return ok;
}

void interop_pushnull(lua_State *L)
{
    lua_pushlightuserdata(L, NULL);
}

bool interop_isnull(lua_State *L, int index)
{
    return lua_type(L, index) == LUA_TLIGHTUSERDATA && lua_tolightuserdata(L, index) == NULL;
}

void interop_pusharraymeta(lua_State *L)
{
    luau_image_push(L, SANDBOX_ID("array_metatable"));
}
