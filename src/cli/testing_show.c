/* Values as people read them, whether two are alike, and where they differ.
 *
 * Keys come in an order: whole numbers, then texts by their bytes, then the rest. Text goes to a
 * buffer outside the VM, which its owner frees whatever happens. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/jsontext.h"
#include "cli/testing.h"
#include "khronos/interop.h"

enum {
    DEPTH_MAX = 100,   /* of what is compared */
    SHOWN_DEPTH = 6,   /* of what is shown */
    SHOWN_FIELDS = 60, /* of a table */
    VALUE_BYTES = 160, /* of one value in a difference */
    WINDOW = 90,       /* characters of a text around the first difference */
    INDENT = 4
};

/* ---- Equality ---------------------------------------------------------------------------------
 */

static bool equal(lua_State *L, int a, int b, int depth);

static bool equal_tables(lua_State *L, int a, int b, int depth)
{
    int fields = 0;
    if (lua_rawequal(L, a, b))
        return true;
    if (depth > DEPTH_MAX)
        luaL_error(L, "the tables are nested more than %d deep, or contain themselves", DEPTH_MAX);
    luaL_checkstack(L, LUA_MINSTACK, "tables");
    for (int iter = 0; (iter = lua_rawiter(L, a, iter)) >= 0; fields++) {
        int value = lua_gettop(L);
        lua_pushvalue(L, value - 1);
        lua_rawget(L, b);
        bool same = equal(L, value, value + 1, depth + 1);
        lua_settop(L, value - 2);
        if (!same)
            return false;
        luau_poll(L);
    }
    for (int iter = 0; (iter = lua_rawiter(L, b, iter)) >= 0; fields--)
        lua_pop(L, 2);
    return fields == 0;
}

static bool equal(lua_State *L, int a, int b, int depth)
{
    int type = lua_type(L, a);
    if (type != lua_type(L, b))
        return false;
    if (type == LUA_TTABLE)
        return equal_tables(L, a, b, depth);
    if (type == LUA_TNUMBER) {
        double x = lua_tonumber(L, a), y = lua_tonumber(L, b);
        return x == y || (isnan(x) && isnan(y));
    }
    if (type == LUA_TBUFFER) {
        size_t x_length, y_length;
        const void *x = lua_tobuffer(L, a, &x_length), *y = lua_tobuffer(L, b, &y_length);
        return x_length == y_length && (x_length == 0 || memcmp(x, y, x_length) == 0);
    }
    return lua_equal(L, a, b);
}

bool testing_equal(lua_State *L, int a, int b)
{
    return equal(L, lua_absindex(L, a), lua_absindex(L, b), 0);
}

/* ---- Keys -------------------------------------------------------------------------------------
 */

typedef struct Key {
    int type; /* LUA_TNUMBER, LUA_TSTRING, or another */
    double number;
    Text text;
    int place; /* in the list of keys */
} Key;

static int rank(const Key *key)
{
    return key->type == LUA_TNUMBER ? 0 : key->type == LUA_TSTRING ? 1 : 2;
}

static int compare_keys(const void *left, const void *right)
{
    const Key *a = left, *b = right;
    if (rank(a) != rank(b))
        return rank(a) - rank(b);
    if (a->type == LUA_TNUMBER && a->number != b->number)
        return a->number < b->number ? -1 : 1;
    if (a->type == LUA_TSTRING) {
        size_t least = a->text.length < b->text.length ? a->text.length : b->text.length;
        int order = memcmp(a->text.data, b->text.data, least);
        if (order != 0 || a->text.length != b->text.length)
            return order != 0 ? order : a->text.length < b->text.length ? -1 : 1;
    }
    return a->place - b->place;
}

static int count_fields(lua_State *L, int table)
{
    int count = 0;
    for (int iter = 0; (iter = lua_rawiter(L, table, iter)) >= 0; count++)
        lua_pop(L, 2);
    return count;
}

/* Those of `table` that `other` (0: none) does not have, behind the `count` that there are. The
 * list is on top. */
static int add_keys(lua_State *L, int table, int other, int count)
{
    int list = lua_gettop(L);
    for (int iter = 0; (iter = lua_rawiter(L, table, iter)) >= 0; lua_settop(L, list)) {
        if (other != 0) {
            lua_pushvalue(L, list + 1);
            if (lua_rawget(L, other) != LUA_TNIL)
                continue;
        }
        lua_pushvalue(L, list + 1);
        lua_rawseti(L, list, ++count);
    }
    return count;
}

/* Pushes the keys of both tables (b is 0: of one), in their order: a list and, on top of it, a
 * block of Key whose places are in the list. Returns how many there are. */
static int push_keys(lua_State *L, int a, int b, Key **keys)
{
    luaL_checkstack(L, LUA_MINSTACK, "tables");
    lua_newtable(L);
    int list = lua_gettop(L);
    int count = add_keys(L, a, 0, 0);
    if (b != 0)
        count = add_keys(L, b, a, count);
    Key *block = lua_newuserdata(L, (size_t)(count > 0 ? count : 1) * sizeof(Key));
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, list, i + 1);
        block[i] = (Key){.type = lua_type(L, -1), .place = i + 1};
        if (block[i].type == LUA_TNUMBER)
            block[i].number = lua_tonumber(L, -1);
        else if (block[i].type == LUA_TSTRING) /* the list keeps it */
            block[i].text.data = lua_tolstring(L, -1, &block[i].text.length);
        lua_pop(L, 1);
    }
    qsort(block, (size_t)count, sizeof(Key), compare_keys);
    *keys = block;
    return count;
}

/* ---- Showing ----------------------------------------------------------------------------------
 */

static bool is_name(Text text)
{
    for (size_t i = 0; i < text.length; i++) {
        char c = text.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return text.length > 0 && text.length <= 64;
}

static void put_byte(Strbuf *out, unsigned char c)
{
    if (c == '\n')
        strbuf_puts(out, "\\n");
    else if (c == '\t')
        strbuf_puts(out, "\\t");
    else if (c == '"' || c == '\\')
        strbuf_printf(out, "\\%c", c);
    else
        strbuf_printf(out, "\\x%02X", c);
}

/* Without quotes: printable, on one line. */
static void put_text(Strbuf *out, Text text)
{
    for (size_t i = 0; i < text.length;) {
        unsigned char c = (unsigned char)text.data[i];
        size_t length = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
        bool valid = length <= text.length - i && json_utf8_valid(text.data + i, length) == length;
        valid = valid && (c != 0xC2 || (unsigned char)text.data[i + 1] >= 0xA0); /* controls */
        if (!valid || c < 0x20 || c == 0x7F || c == '"' || c == '\\') {
            put_byte(out, c);
            i++;
            continue;
        }
        strbuf_put(out, text.data + i, length);
        i += length;
    }
}

static Text text_at(lua_State *L, int index)
{
    Text text;
    text.data = lua_tolstring(L, index, &text.length);
    return text;
}

static void show(lua_State *L, int index, Strbuf *out, size_t end, int depth);

static void put_key(lua_State *L, int list, const Key *key, Strbuf *out)
{
    if (key->type == LUA_TSTRING && is_name(key->text)) {
        strbuf_put(out, key->text.data, key->text.length);
        return;
    }
    lua_rawgeti(L, list, key->place);
    strbuf_putc(out, '[');
    show(L, lua_gettop(L), out, out->length + VALUE_BYTES, SHOWN_DEPTH - 1);
    strbuf_putc(out, ']');
    lua_pop(L, 1);
}

static void show_table(lua_State *L, int table, Strbuf *out, size_t end, int depth)
{
    Key *keys;
    if (depth >= SHOWN_DEPTH) {
        strbuf_puts(out, count_fields(L, table) > 0 ? "{...}" : "{}");
        return;
    }
    int top = lua_gettop(L);
    int count = push_keys(L, table, 0, &keys);
    int list = top + 1, position = 1;
    strbuf_putc(out, '{');
    for (int i = 0; i < count; i++) {
        if (i > 0)
            strbuf_puts(out, ", ");
        if (i >= SHOWN_FIELDS || out->length >= end) {
            strbuf_printf(out, "... %d more", count - i);
            break;
        }
        if (keys[i].type == LUA_TNUMBER && keys[i].number == position) {
            position++;
        } else {
            put_key(L, list, &keys[i], out);
            strbuf_puts(out, " = ");
        }
        lua_rawgeti(L, list, keys[i].place);
        lua_rawget(L, table);
        show(L, lua_gettop(L), out, end, depth + 1);
        lua_pop(L, 1);
    }
    strbuf_putc(out, '}');
    lua_settop(L, top);
}

static void show(lua_State *L, int index, Strbuf *out, size_t end, int depth)
{
    switch (lua_type(L, index)) {
    case LUA_TTABLE: show_table(L, index, out, end, depth); return;
    case LUA_TSTRING: {
        Text text = text_at(L, index);
        size_t room = end > out->length + VALUE_BYTES ? end - out->length : VALUE_BYTES;
        bool cut = text.length > room;
        if (cut)
            text.length = room;
        strbuf_putc(out, '"');
        put_text(out, text);
        strbuf_puts(out, cut ? "\"..." : "\"");
        return;
    }
    case LUA_TFUNCTION: strbuf_puts(out, "function"); return;
    case LUA_TBUFFER: {
        size_t length;
        lua_tobuffer(L, index, &length);
        strbuf_printf(out, "buffer of %zu bytes", length);
        return;
    }
    default:
        if (interop_isnull(L, index)) {
            strbuf_puts(out, "interop.null");
            return;
        }
        lua_pushvalue(L, index);
        luaL_tolstring(L, -1, NULL);
        put_text(out, text_at(L, -1));
        lua_pop(L, 2);
    }
}

void testing_show(lua_State *L, int index, Strbuf *out, size_t max)
{
    luaL_checkstack(L, LUA_MINSTACK, "values");
    show(L, lua_absindex(L, index), out, out->length + max, 0);
}

/* ---- Differences ------------------------------------------------------------------------------
 */

static size_t characters(const char *text, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++)
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

/* The part of a text in which the difference at `at` stands: *from is where it begins. */
static Text window(Text text, size_t at, size_t *from)
{
    size_t start = at > WINDOW / 2 ? at - WINDOW / 2 : 0;
    while (start > 0 && ((unsigned char)text.data[start] & 0xC0) == 0x80)
        start--;
    size_t length = text.length - start;
    if (length > WINDOW) {
        length = WINDOW;
        while (length > 0 && ((unsigned char)text.data[start + length] & 0xC0) == 0x80)
            length--;
    }
    *from = start;
    return (Text){text.data + start, length};
}

static void put_quoted(Strbuf *out, Text text, size_t at)
{
    size_t from;
    Text part = window(text, at, &from);
    strbuf_puts(out, from > 0 ? "...\"" : "\"");
    put_text(out, part);
    strbuf_puts(out, from + part.length < text.length ? "\"..." : "\"");
}

/* A line for each, and under them a caret at the first character that differs. `head` is what
 * stands before either. */
static void put_texts(Strbuf *out, Text expected, Text got, const char *expected_head,
                      const char *got_head)
{
    size_t at = 0, from;
    while (at < expected.length && at < got.length && expected.data[at] == got.data[at])
        at++;
    while (at > 0 && at < got.length && ((unsigned char)got.data[at] & 0xC0) == 0x80)
        at--;
    strbuf_puts(out, expected_head);
    put_quoted(out, expected, at);
    strbuf_puts(out, "\n");
    strbuf_puts(out, got_head);
    put_quoted(out, got, at);
    Text part = window(got, at, &from);
    size_t start = out->length;
    put_text(out, (Text){part.data, at - from}); /* as wide as what is shown before the place */
    size_t width = out->failed ? 0 : characters(out->data + start, out->length - start);
    if (!out->failed)
        out->length = start;
    width += strlen(got_head) + (from > 0 ? 4 : 1);
    strbuf_printf(out, "\n%*s^", (int)width, "");
}

static void indent(Strbuf *out, int level, const char *mark)
{
    strbuf_printf(out, "\n%s%*s", mark, level * INDENT - 2, "");
}

/* A field on a line of its own. */
static void put_field(lua_State *L, int list, const Key *key, int value, Strbuf *out)
{
    put_key(L, list, key, out);
    strbuf_puts(out, " = ");
    show(L, value, out, out->length + VALUE_BYTES, 0);
}

static void put_differing_texts(lua_State *L, int list, const Key *key, int expected, int level,
                                Strbuf *out)
{
    char heads[2][INDENT * SHOWN_DEPTH + VALUE_BYTES];
    size_t start = out->length;
    put_key(L, list, key, out);
    int length = (int)(out->length - start);
    for (int i = 0; i < 2; i++)
        snprintf(heads[i], sizeof(heads[i]), "%c %*s%.*s = ", i == 0 ? '-' : '+',
                 level * INDENT - 2, "", out->failed ? 0 : length, out->data + start);
    if (!out->failed)
        out->length = start;
    strbuf_putc(out, '\n');
    put_texts(out, text_at(L, expected), text_at(L, expected + 1), heads[0], heads[1]);
}

static void diff_tables(lua_State *L, int expected, int got, int level, Strbuf *out);

/* The field's values are the two on top: expected, got. */
static void diff_field(lua_State *L, int list, const Key *key, int level, Strbuf *out)
{
    int expected = lua_gettop(L) - 1, got = expected + 1;
    bool wanted = !lua_isnil(L, expected), there = !lua_isnil(L, got);
    if (testing_equal(L, expected, got)) {
        indent(out, level, "  ");
        put_field(L, list, key, got, out);
    } else if (lua_istable(L, expected) && lua_istable(L, got) && level < SHOWN_DEPTH) {
        indent(out, level, "  ");
        put_key(L, list, key, out);
        strbuf_puts(out, " = {");
        diff_tables(L, expected, got, level + 1, out);
        indent(out, level, "  ");
        strbuf_putc(out, '}');
    } else if (lua_type(L, expected) == LUA_TSTRING && lua_type(L, got) == LUA_TSTRING &&
               level < SHOWN_DEPTH) {
        put_differing_texts(L, list, key, expected, level, out);
    } else {
        if (wanted) {
            indent(out, level, "- ");
            put_field(L, list, key, expected, out);
        }
        if (there) {
            indent(out, level, "+ ");
            put_field(L, list, key, got, out);
        }
    }
}

static void diff_tables(lua_State *L, int expected, int got, int level, Strbuf *out)
{
    Key *keys;
    int top = lua_gettop(L);
    int count = push_keys(L, expected, got, &keys);
    for (int i = 0; i < count; i++) {
        if (i == SHOWN_FIELDS) {
            indent(out, level, "  ");
            strbuf_printf(out, "... %d more", count - i);
            break;
        }
        lua_rawgeti(L, top + 1, keys[i].place);
        lua_rawget(L, expected);
        lua_rawgeti(L, top + 1, keys[i].place);
        lua_rawget(L, got);
        diff_field(L, top + 1, &keys[i], level, out);
        lua_settop(L, top + 2);
    }
    lua_settop(L, top);
}

void testing_diff(lua_State *L, int expected, int got, Strbuf *out)
{
    expected = lua_absindex(L, expected);
    got = lua_absindex(L, got);
    luaL_checkstack(L, LUA_MINSTACK, "values");
    if (lua_istable(L, expected) && lua_istable(L, got) && !testing_equal(L, expected, got)) {
        strbuf_puts(out, "the tables differ (- expected, + got):\n  {");
        diff_tables(L, expected, got, 1, out);
        strbuf_puts(out, "\n  }");
    } else if (lua_type(L, expected) == LUA_TSTRING && lua_type(L, got) == LUA_TSTRING) {
        put_texts(out, text_at(L, expected), text_at(L, got), "expected  ", "got       ");
    } else {
        strbuf_puts(out, "expected  ");
        testing_show(L, expected, out, VALUE_BYTES * 4);
        strbuf_puts(out, "\ngot       ");
        testing_show(L, got, out, VALUE_BYTES * 4);
    }
}
