/* format(...): values as people read them, for logs.
 *
 *     {
 *         1,
 *         "two",
 *         name = "Ada",
 *         ["a b"] = {},
 *     }
 *
 * Tables are read raw: no metamethod runs, so nothing changes while they are walked; whatever the
 * walk needs later is anchored in a table on the stack, because a poll may collect what a weak
 * table alone refers to. Names are sorted. Depth, members of a table and the length of the text
 * have bounds, and the text says where it was cut. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "khronos/int64.h"
#include "luau/api.h"
#include "plugins/luau_plugin.h"

enum {
    DEPTH_MAX = 16,
    MEMBERS_MAX = 1000, /* of one table that are shown */
    BYTES_MAX = 256 * 1024,
    POLL_STEPS = 512,
    ESCAPE_STEP = 4096, /* bytes between polls */
    COMPARED_MAX = 256  /* bytes of names that order them */
};

typedef struct Level {
    Table *table;
    Table *keys; /* the keys shown after the list, in order; anchored, our own */
    int list_count, list_next;
    int key_count, key_next;
    double more; /* members that are not shown */
} Level;

typedef struct Formatter {
    lua_State *L;
    luaL_Strbuf out;
    size_t length;
    bool cut;
    int anchors; /* stack index of the table that keeps what levels refer to */
    unsigned steps;
    int depth;
    Level levels[DEPTH_MAX];
} Formatter;

/* ---- Text -------------------------------------------------------------------------------------
 */

static void put(Formatter *f, const char *text, size_t length)
{
    if (length > BYTES_MAX - f->length) {
        length = BYTES_MAX - f->length;
        f->cut = true;
    }
    luaL_addlstring(&f->out, text, length);
    f->length += length;
}

static void put_literal(Formatter *f, const char *text)
{
    put(f, text, strlen(text));
}

static void put_newline(Formatter *f)
{
    put(f, "\n", 1);
    for (int i = 0; i < f->depth; i++)
        put(f, "    ", 4);
}

static bool is_plain(unsigned char c)
{
    return c >= ' ' && c != '"' && c != '\\' && c != 0x7F;
}

static void put_escape(Formatter *f, unsigned char c)
{
    char text[8] = {'\\', (char)c, '\0'};
    switch (c) {
    case '"':
    case '\\': break;
    case '\n': text[1] = 'n'; break;
    case '\r': text[1] = 'r'; break;
    case '\t': text[1] = 't'; break;
    default: snprintf(text, sizeof(text), "\\x%02x", c); break;
    }
    put_literal(f, text);
}

/* The string must be anchored: polls. */
static void put_quoted(Formatter *f, const String *s)
{
    put(f, "\"", 1);
    size_t polled = 0;
    for (size_t i = 0; i < s->length && !f->cut;) {
        size_t start = i;
        while (i < s->length && i - start < ESCAPE_STEP && is_plain((unsigned char)s->data[i]))
            i++;
        put(f, s->data + start, i - start);
        if (i < s->length && !is_plain((unsigned char)s->data[i]))
            put_escape(f, (unsigned char)s->data[i++]);
        if (i - polled >= ESCAPE_STEP) {
            polled = i;
            luau_poll(f->L);
        }
    }
    put(f, "\"", 1);
}

/* ---- Scalars ----------------------------------------------------------------------------------
 */

static void put_number(Formatter *f, double n)
{
    char text[NUM_TEXT_MAX];
    put(f, text, (size_t)num_format(n, text));
}

/* What tostring gives; only for values whose __tostring is ours. */
static void put_tostring(Formatter *f, Value v)
{
    lua_State *L = f->L;
    char text[64];
    api_push(L, v);
    snprintf(text, sizeof(text), "%s", luaL_tolstring(L, -1, NULL));
    lua_pop(L, 2);
    put_literal(f, text);
}

static void put_vector(Formatter *f, const Vector *vector)
{
    float v[3];
    memcpy(v, vector->v, sizeof(v));
    put_literal(f, "vector(");
    for (int i = 0; i < 3; i++) {
        put_literal(f, i == 0 ? "" : ", ");
        put_number(f, (double)v[i]);
    }
    put_literal(f, ")");
}

/* `<function>`, `<TemplateContext>`. */
static void put_kind(Formatter *f, Value v)
{
    char text[64];
    if (val_isbuffer(v))
        snprintf(text, sizeof(text), "<buffer of %u bytes>", val_buffer(v)->length);
    else
        snprintf(text, sizeof(text), "<%.48s>", luTM_objectname(f->L, v)->data);
    put_literal(f, text);
}

static void put_userdata(Formatter *f, Value v)
{
    int tag = val_udata(v)->tag;
    if (tag == KHRONOS_TAG_I64 || tag == KHRONOS_TAG_U64)
        put_tostring(f, v);
    else
        put_kind(f, v);
}

/* Anything but a table. */
static void put_scalar(Formatter *f, Value v)
{
    switch (val_type(v)) {
    case LUA_TNIL: put_literal(f, "nil"); break;
    case LUA_TBOOLEAN: put_literal(f, val_istrue(v) ? "true" : "false"); break;
    case LUA_TNUMBER: put_number(f, v.n); break;
    case LUA_TSTRING: put_quoted(f, val_string(v)); break;
    case LUA_TVECTOR: put_vector(f, val_vector(v)); break;
    case LUA_TINTEGER: put_tostring(f, v); break;
    case LUA_TUSERDATA: put_userdata(f, v); break;
    case LUA_TLIGHTUSERDATA: put_literal(f, val_ptr(v) ? "<userdata>" : "null"); break;
    default: put_kind(f, v); break;
    }
}

/* ---- Tables -----------------------------------------------------------------------------------
 */

static bool is_sortable(Value key)
{
    return val_isnumber(key) || val_isstring(key) || val_isboolean(key);
}

static int compare_names(const String *a, const String *b)
{
    size_t shorter = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->data, b->data, shorter < COMPARED_MAX ? shorter : COMPARED_MAX);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

/* Numbers, then strings, then booleans. */
static int compare_keys(const void *left, const void *right)
{
    Value a = *(const Value *)left, b = *(const Value *)right;
    int rank_a = val_isnumber(a) ? 0 : val_isstring(a) ? 1 : 2;
    int rank_b = val_isnumber(b) ? 0 : val_isstring(b) ? 1 : 2;
    if (rank_a != rank_b)
        return rank_a - rank_b;
    if (rank_a == 0)
        return (a.n > b.n) - (a.n < b.n);
    if (rank_a == 1)
        return compare_names(val_string(a), val_string(b));
    return (int)val_istrue(a) - (int)val_istrue(b);
}

static void poll_step(Formatter *f)
{
    if (BASE_UNLIKELY(++f->steps % POLL_STEPS == 0))
        luau_poll(f->L);
}

static bool in_list(const Level *level, Value key)
{
    return val_isnumber(key) && key.n >= 1 && key.n <= level->list_count && key.n == floor(key.n);
}

static void note_key(lua_State *L, Level *level, Value key)
{
    if (level->key_count == MEMBERS_MAX) {
        level->more++;
        return;
    }
    api_push(L, val_fromtable(level->keys));
    api_push(L, key);
    lua_rawseti(L, -2, ++level->key_count);
    lua_pop(L, 1);
}

/* Collects the keys behind the list that can be sorted, or those that cannot. */
static void collect_keys(Formatter *f, Level *level, bool sortable)
{
    lua_State *L = f->L;
    uint32_t cursor = 0;
    Value key, value;
    bool more = true;
    while (more) {
        more = false;
        while (luT_iterate(level->table, &cursor, &key, &value, POLL_STEPS, &more)) {
            if (!in_list(level, key) && is_sortable(key) == sortable)
                note_key(L, level, key);
            poll_step(f);
        }
        if (more)
            luau_poll(L);
    }
}

/* Keeps the value for as long as its level is open. */
static void anchor(Formatter *f, Value v, int slot)
{
    api_push(f->L, v);
    lua_rawseti(f->L, f->anchors, slot);
}

static void open_table(Formatter *f, Table *t)
{
    lua_State *L = f->L;
    Level *level = &f->levels[f->depth];
    *level = (Level){.table = t, .list_next = 1};
    anchor(f, val_fromtable(t), 2 * f->depth + 1);
    lua_newtable(L);
    level->keys = val_table(L->top[-1]);
    lua_rawseti(L, f->anchors, 2 * f->depth + 2);
    level->list_count = val_isnil(luT_getint(t, 1)) ? 0 : luT_length(t);
    collect_keys(f, level, true);
    BASE_ASSERT(level->key_count <= level->keys->array_size);
    if (level->key_count > 1)
        qsort(level->keys->array, (size_t)level->key_count, sizeof(Value), compare_keys);
    collect_keys(f, level, false);
    put_literal(f, "{");
    f->depth++;
}

static bool is_on_path(const Formatter *f, const Table *t)
{
    for (int i = 0; i < f->depth; i++)
        if (f->levels[i].table == t)
            return true;
    return false;
}

static bool is_empty(Table *t)
{
    uint32_t cursor = 0;
    Value key, value;
    bool more = false;
    return !luT_iterate(t, &cursor, &key, &value, POLL_STEPS, &more) && !more;
}

/* The value may be on no stack (its table may be weak): it is put, or anchored by open_table,
 * before anything may collect it. */
static void put_value(Formatter *f, Value v)
{
    if (!val_istable(v))
        put_scalar(f, v);
    else if (is_on_path(f, val_table(v)))
        put_literal(f, "<cycle>");
    else if (is_empty(val_table(v)))
        put_literal(f, "{}");
    else if (f->depth == DEPTH_MAX)
        put_literal(f, "{...}");
    else
        open_table(f, val_table(v));
}

static bool is_name(const String *s)
{
    bool good = s->length > 0 && s->length <= 64;
    for (uint32_t i = 0; good && i < s->length; i++) {
        unsigned char c = (unsigned char)s->data[i], lower = c | 0x20;
        good = (lower >= 'a' && lower <= 'z') || c == '_' || (i > 0 && c >= '0' && c <= '9');
    }
    return good;
}

static void put_key(Formatter *f, Value key)
{
    if (val_isstring(key) && is_name(val_string(key))) {
        put(f, val_string(key)->data, val_string(key)->length);
    } else {
        put_literal(f, "[");
        if (val_istable(key))
            put_kind(f, key);
        else
            put_scalar(f, key);
        put_literal(f, "]");
    }
    put_literal(f, " = ");
}

/* Scalars get their comma at once, tables at their end. */
static void put_member_value(Formatter *f, Value v)
{
    int depth = f->depth;
    put_value(f, v);
    if (f->depth == depth)
        put_literal(f, ",");
}

static void close_table(Formatter *f)
{
    const Level *level = &f->levels[f->depth - 1];
    double more = level->more;
    if (level->list_count > MEMBERS_MAX)
        more += level->list_count - MEMBERS_MAX;
    if (more > 0) {
        char text[64];
        snprintf(text, sizeof(text), "-- %.0f more", more);
        put_newline(f);
        put_literal(f, text);
    }
    f->depth--;
    put_newline(f);
    put_literal(f, f->depth > 0 ? "}," : "}");
}

/* The next member of the innermost table, or its end. */
static void put_member(Formatter *f)
{
    Level *level = &f->levels[f->depth - 1];
    poll_step(f);
    if (level->list_next <= level->list_count && level->list_next <= MEMBERS_MAX) {
        put_newline(f);
        put_member_value(f, luT_getint(level->table, level->list_next++));
    } else if (level->key_next < level->key_count) {
        Value key = luT_getint(level->keys, ++level->key_next);
        put_newline(f);
        put_key(f, key);
        put_member_value(f, luT_get(level->table, key));
    } else {
        close_table(f);
    }
}

static void put_argument(Formatter *f, Value v)
{
    if (val_isstring(v)) {
        put(f, val_string(v)->data, val_string(v)->length);
        return;
    }
    put_value(f, v);
    while (f->depth > 0 && !f->cut)
        put_member(f);
}

int luau_plugin_format(lua_State *L)
{
    int count = lua_gettop(L);
    lua_createtable(L, 2 * DEPTH_MAX, 0);
    Formatter f = {.L = L, .anchors = count + 1};
    luaL_buffinit(L, &f.out);
    for (int i = 1; i <= count && !f.cut; i++) {
        if (i > 1)
            put_literal(&f, " ");
        put_argument(&f, luE_value(L, i));
    }
    if (f.cut)
        luaL_addlstring(&f.out, "... (cut)", 9);
    luaL_pushresult(&f.out);
    return 1;
}
