/* The writer: Luau values to JSON text. An explicit stack of frames, no recursion; the tables are
 * read in place, which is sound because nothing of the tenant runs meanwhile and objects keep their
 * address. The tables that are open stand on the VM's stack, and so does a member's value while its
 * name is written: the account may collect, and a weak table does not keep what it refers to.
 * Whatever may poll does so with the writer in a state that can be dropped. */
#include <math.h>
#include <stdio.h>

#include "base/base64.h"
#include "base/jsontext.h"
#include "khronos/datetime.h"
#include "khronos/int64.h"
#include "khronos/interop.h"
#include "khronos/interop_stored.h"
#include "luau/api.h"

enum {
    POLL_STEPS = 512,
    BUFFER_PIECE = 48 << 10, /* a multiple of 3 */
    SPARSE_SLACK = 64        /* an array may have that many holes, plus one for each element */
};

typedef struct Frame {
    Table *table;
    Value key; /* of the member under way */
    uint32_t cursor;
    int next, count; /* arrays */
    bool array, empty;
} Frame;

typedef struct Encoder {
    lua_State *L;
    Strbuf *out;
    const InteropWriter *writer;
    InteropError *error;
    size_t charged; /* capacity of out that the VM's account holds */
    Table *array_meta;
    unsigned steps;
    int depth;
    Frame frames[JSON_DEPTH_MAX];
} Encoder;

/* ---- Complaints -------------------------------------------------------------------------------
 */

static void put_path_key(Strbuf *path, const Frame *frame)
{
    if (frame->array) {
        strbuf_printf(path, "[%d]", frame->next - 1);
        return;
    }
    if (val_isnumber(frame->key)) {
        strbuf_printf(path, "[%.0f]", frame->key.n);
        return;
    }
    if (!val_isstring(frame->key)) {
        strbuf_puts(path, "[?]");
        return;
    }
    const String *s = val_string(frame->key);
    bool plain = s->length > 0 && s->length <= 40;
    for (uint32_t i = 0; plain && i < s->length; i++) {
        unsigned char c = (unsigned char)s->data[i], lower = c | 0x20;
        plain = (lower >= 'a' && lower <= 'z') || c == '_' || (i > 0 && c >= '0' && c <= '9');
    }
    if (plain) {
        strbuf_putc(path, '.');
        strbuf_put(path, s->data, s->length);
    } else {
        strbuf_putc(path, '[');
        json_put_lossy(path, s->data, s->length < 40 ? s->length : 40);
        strbuf_putc(path, ']');
    }
}

static bool fail(Encoder *e, const char *text)
{
    Strbuf path = STRBUF_INIT;
    strbuf_puts(&path, e->writer->root ? e->writer->root : "$");
    for (int i = 0; i < e->depth && path.length < 200; i++)
        put_path_key(&path, &e->frames[i]);
    snprintf(e->error->text, sizeof(e->error->text), "%.*s: %s", (int)path.length, path.data, text);
    strbuf_free(&path);
    return false;
}

static bool fail_room(Encoder *e)
{
    if (e->out->max == 0)
        return fail(e, "not enough memory");
    snprintf(e->error->text, sizeof(e->error->text), "the JSON text is longer than %zu bytes",
             e->out->max);
    return false;
}

/* ---- Scalars ----------------------------------------------------------------------------------
 */

/* After growth the account follows; may kill. */
static bool settle(Encoder *e)
{
    if (BASE_UNLIKELY(e->out->failed))
        return fail_room(e);
    if (BASE_UNLIKELY(e->out->capacity > e->charged)) {
        size_t grown = e->out->capacity - e->charged;
        luau_charge(e->L, (ptrdiff_t)grown);
        e->charged = e->out->capacity;
    }
    return true;
}

static bool put_text(Encoder *e, const String *s)
{
    strbuf_putc(e->out, '"');
    const char *p = s->data, *end = p + s->length;
    while (p < end) {
        size_t count = (size_t)(end - p);
        if (count > JSON_POLL_BYTES) { /* cut between two characters */
            count = JSON_POLL_BYTES;
            for (int i = 0; i < 3 && ((unsigned char)p[count] & 0xC0) == 0x80; i++)
                count--;
        }
        size_t valid = json_utf8_valid(p, count);
        if (valid != count) {
            char text[80];
            snprintf(text, sizeof(text), "invalid UTF-8 in a string at byte %zu",
                     (size_t)(p - s->data) + valid + 1);
            return fail(e, text);
        }
        json_put_escaped(e->out, p, count);
        p += count;
        if (BASE_UNLIKELY(p < end)) {
            if (!settle(e))
                return false;
            luau_poll(e->L);
        }
    }
    strbuf_putc(e->out, '"');
    return settle(e);
}

static bool put_number(Encoder *e, double value)
{
    if (value != value)
        return fail(e, "NaN has no JSON form");
    if (value - value != 0)
        return fail(e, "an infinite number has no JSON form");
    json_put_number(e->out, value);
    return true;
}

static bool put_vector(Encoder *e, const Vector *vector)
{
    for (int i = 0; i < 3; i++) {
        strbuf_putc(e->out, i == 0 ? '[' : ',');
        if (!put_number(e, (double)vector->v[i]))
            return false;
    }
    strbuf_putc(e->out, ']');
    return true;
}

/* The value is on top of the stack. */
static bool put_datetime(Encoder *e)
{
    char text[64];
    int length = datetime_to_json(e->L, -1, text, sizeof(text));
    if (length == 0)
        return fail(e, "userdata has no JSON form");
    strbuf_put(e->out, text, (size_t)length);
    return true;
}

static bool put_userdata(Encoder *e, const Udata *userdata)
{
    uint64_t bits = 0;
    if (userdata->tag == KHRONOS_TAG_I64 || userdata->tag == KHRONOS_TAG_U64)
        memcpy(&bits, userdata->data, sizeof(bits));
    if (userdata->tag == KHRONOS_TAG_I64)
        json_put_i64(e->out, (int64_t)bits);
    else if (userdata->tag == KHRONOS_TAG_U64)
        json_put_u64(e->out, bits);
    else if (userdata->tag == KHRONOS_TAG_CONTEXT)
        return fail(e, "the context has no JSON form");
    else
        return put_datetime(e);
    return true;
}

/* In pieces; nothing but this thread, which is in here, can write to the buffer meanwhile. */
static bool put_buffer(Encoder *e, const Buffer *buffer)
{
    if (!e->writer->stored)
        return fail(e, "a buffer has no JSON form");
    if (e->depth == JSON_DEPTH_MAX)
        return fail(e, "nested more than 64 deep");
    strbuf_puts(e->out, "{\"" STORED_BUFFER "\":\"");
    for (size_t at = 0, size; at < buffer->length; at += size) {
        size = buffer->length - at < BUFFER_PIECE ? buffer->length - at : BUFFER_PIECE;
        size_t room = base64_length(size);
        if (strbuf_reserve(e->out, room)) {
            base64_encode(buffer->data + at, size, e->out->data + e->out->length);
            e->out->length += room;
        }
        if (!settle(e))
            return false;
        luau_poll(e->L);
    }
    strbuf_puts(e->out, "\"}");
    return true;
}

/* ---- Tables -----------------------------------------------------------------------------------
 */

static void poll_step(Encoder *e)
{
    if (BASE_UNLIKELY(++e->steps % POLL_STEPS == 0))
        luau_poll(e->L);
}

typedef struct Census {
    int strings, integers, others, total;
    double greatest; /* integer key */
    bool positive;   /* no integer key below 1 */
    Value other;
} Census;

static void count_keys(Encoder *e, Table *t, Census *census)
{
    *census = (Census){.positive = true};
    uint32_t cursor = 0;
    Value key, value;
    bool more = true;
    while (more) {
        more = false;
        while (luT_iterate(t, &cursor, &key, &value, POLL_STEPS, &more)) {
            poll_step(e);
            census->total++;
            if (val_isstring(key)) {
                census->strings++;
            } else if (val_isnumber(key) && key.n == floor(key.n) &&
                       fabs(key.n) <= 9007199254740992.0) {
                census->integers++;
                census->positive = census->positive && key.n >= 1;
                if (key.n > census->greatest)
                    census->greatest = key.n;
            } else {
                census->others++;
                census->other = key;
            }
        }
        if (more)
            luau_poll(e->L);
    }
}

/* Array or object? False: neither. */
static bool classify(Encoder *e, Frame *frame)
{
    Census census;
    Table *t = frame->table;
    count_keys(e, t, &census);
    if (census.others > 0) {
        char text[80];
        snprintf(text, sizeof(text), "a key that is a %s has no JSON form",
                 val_isnumber(census.other) ? "number with a fraction"
                                            : lua_typename(e->L, val_type(census.other)));
        return fail(e, text);
    }
    bool marked = t->meta != NULL && t->meta == e->array_meta;
    bool list = census.integers > 0 && census.positive && !val_isnil(luT_getint(t, 1));
    if (census.strings > 0 && (marked || list))
        return fail(e, marked ? "an array has named keys"
                              : "a table with both list elements and named keys has no JSON form");
    if (marked && !census.positive)
        return fail(e, "an array has a key below 1");
    if (marked && census.greatest > 2.0 * census.total + SPARSE_SLACK)
        return fail(e, "an array has too many holes");
    frame->array = marked || (list && census.greatest == (double)census.total);
    frame->count = (int)census.greatest;
    return true;
}

static void put_newline(Encoder *e)
{
    if (!e->writer->pretty)
        return;
    strbuf_putc(e->out, '\n');
    for (int i = 0; i < e->depth; i++)
        strbuf_put(e->out, "  ", 2);
}

static bool open_table(Encoder *e, Table *t)
{
    if (e->depth == JSON_DEPTH_MAX)
        return fail(e, "nested more than 64 deep");
    Frame *frame = &e->frames[e->depth];
    *frame = (Frame){.table = t, .key = VAL_NIL, .next = 1, .empty = true};
    if (!classify(e, frame))
        return false;
    strbuf_putc(e->out, frame->array ? '[' : '{');
    e->depth++;
    return true;
}

static bool put_value(Encoder *e, Value v)
{
    poll_step(e);
    if (val_isnumber(v))
        return put_number(e, v.n);
    switch (val_type(v)) {
    case LUA_TNIL: strbuf_put(e->out, "null", 4); return true;
    case LUA_TBOOLEAN: strbuf_puts(e->out, val_istrue(v) ? "true" : "false"); return true;
    case LUA_TSTRING: return put_text(e, val_string(v));
    case LUA_TTABLE: return open_table(e, val_table(v));
    case LUA_TINTEGER: json_put_i64(e->out, val_integer(v)->n); return true;
    case LUA_TVECTOR: return put_vector(e, val_vector(v));
    case LUA_TUSERDATA: return put_userdata(e, val_udata(v));
    case LUA_TLIGHTUSERDATA:
        if (val_ptr(v) == NULL) {
            strbuf_put(e->out, "null", 4);
            return true;
        }
        return fail(e, "userdata has no JSON form");
    case LUA_TFUNCTION: return fail(e, "a function has no JSON form");
    case LUA_TTHREAD: return fail(e, "a thread has no JSON form");
    case LUA_TBUFFER: return put_buffer(e, val_buffer(v));
    default: return fail(e, "a value of this type has no JSON form");
    }
}

static void anchor(Encoder *e, Value v)
{
    lua_State *L = e->L;
    if (BASE_UNLIKELY(L->ci->top - L->top < 8))
        lua_rawcheckstack(L, 32);
    *L->top++ = v;
}

/* Puts the value on top, which goes unless its table is open now. */
static bool put_anchored(Encoder *e)
{
    int depth = e->depth;
    bool ok = put_value(e, e->L->top[-1]);
    if (e->depth == depth)
        e->L->top--;
    return ok;
}

static void next_item(Encoder *e, Frame *frame)
{
    if (!frame->empty)
        strbuf_putc(e->out, ',');
    frame->empty = false;
    put_newline(e);
}

static bool put_name(Encoder *e, const String *name)
{
    if (!e->writer->stored || !stored_isreserved(name->data, name->length))
        return put_text(e, name);
    strbuf_puts(e->out, "\"$");
    strbuf_put(e->out, name->data, name->length); /* nothing in it needs an escape */
    strbuf_putc(e->out, '"');
    return settle(e);
}

/* An integer as key of an object; the same name may not stand there as a string. */
static bool put_integer_key(Encoder *e, Frame *frame)
{
    char name[JSON_NUMBER_MAX];
    size_t length = json_format_number(frame->key.n, name);
    luG_check(e->L);
    if (luT_findstring(frame->table, luS_new(e->L, name, length)) != NULL)
        return fail(e, "the same key stands there as a number and as a string");
    strbuf_putc(e->out, '"');
    strbuf_put(e->out, name, length);
    strbuf_putc(e->out, '"');
    return true;
}

/* The next member of an object; *done at its end. */
static bool put_member(Encoder *e, Frame *frame, bool *done)
{
    Value value;
    bool more = false;
    while (!luT_iterate(frame->table, &frame->cursor, &frame->key, &value, POLL_STEPS, &more)) {
        if (!more) {
            frame->key = VAL_NIL;
            *done = true;
            return true;
        }
        luau_poll(e->L);
    }
    anchor(e, value);
    next_item(e, frame);
    bool ok = val_isstring(frame->key) ? put_name(e, val_string(frame->key))
                                       : put_integer_key(e, frame);
    if (!ok)
        return false;
    strbuf_puts(e->out, e->writer->pretty ? ": " : ":");
    return put_anchored(e);
}

static bool put_element(Encoder *e, Frame *frame, bool *done)
{
    if (frame->next > frame->count) {
        *done = true;
        return true;
    }
    next_item(e, frame);
    anchor(e, luT_getint(frame->table, frame->next++));
    return put_anchored(e);
}

static bool encode(Encoder *e, Value root)
{
    anchor(e, root);
    if (!put_anchored(e))
        return false;
    while (e->depth > 0) {
        Frame *frame = &e->frames[e->depth - 1];
        bool done = false;
        if (!(frame->array ? put_element(e, frame, &done) : put_member(e, frame, &done)))
            return false;
        if (done) {
            e->depth--;
            e->L->top--;
            if (!frame->empty)
                put_newline(e);
            strbuf_putc(e->out, frame->array ? ']' : '}');
        }
        if (!settle(e))
            return false;
    }
    return settle(e);
}

bool interop_encode(lua_State *L, int index, const InteropWriter *writer, InteropError *error)
{
    error->text[0] = '\0';
    Value root = luE_value(L, index);
    int top = (int)(L->top - L->base);
    interop_pusharraymeta(L);
    Table *array_meta = val_istable(L->top[-1]) ? val_table(L->top[-1]) : NULL;
    lua_pop(L, 1);
    Encoder e = {.L = L,
                 .out = writer->out,
                 .writer = writer,
                 .error = error,
                 .charged = writer->out->capacity,
                 .array_meta = array_meta};
    size_t before = e.charged;
    bool ok = encode(&e, root);
    L->top = L->base + top;
    if (e.charged > before)
        luau_charge(L, -(ptrdiff_t)(e.charged - before));
    return ok;
}
