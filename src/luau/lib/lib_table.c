/* lib_table.c: tables as lists (reference 11.3). All access is raw.
 *
 * `#t` never is greater than the array part, so lists that were built in order are handled right in
 * the array; what lies outside goes through luT_getint and luT_setint. Their results are invalid
 * after anything that may resize, so arrays are read anew after each such call. */
#include <limits.h>

#include "base/num.h"
#include "luau/lib/lib.h"
#include "luau/vm.h"

/* ---- Moving ---- */

/* Elements from[f..f+n-1] and to[t..t+n-1] both lie in array parts. */
static bool in_arrays(const Table *from, const Table *to, int f, int t, int64_t n)
{
    return f >= 1 && t >= 1 && f - 1 + n <= from->array_size && t - 1 + n <= to->array_size;
}

static void move_one(lua_State *L, Table *from, Table *to, int f, int t)
{
    luD_push(L, lib_geti(from, f)); /* `from` may be weak, and growing collects */
    *luT_setint(L, to, t) = L->top[-1];
    L->top--;
    luG_barriertable(L, to);
}

/* to[t..] = from[f..f+n-1], right also where they overlap. */
static void move_elements(lua_State *L, Table *from, Table *to, int f, int64_t n, int t)
{
    lib_checkwritable(L, to);
    if (n <= 0)
        return;
    if (in_arrays(from, to, f, t, n)) {
        lib_movebytes(L, (char *)(to->array + t - 1), (const char *)(from->array + f - 1),
                      (size_t)n * sizeof(Value));
        luG_barriertable(L, to);
        return;
    }
    bool upward = from != to || t <= f || t > (int64_t)f + n - 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t k = upward ? i : n - 1 - i;
        move_one(L, from, to, (int)(f + k), (int)(t + k));
        if (i % 1024 == 1023)
            luY_poll(L);
    }
}

/* A safepoint before an element is added behind a full array: it doubles. */
static void before_growth(lua_State *L, const Table *t)
{
    if (t->array_size >= LIB_POLL_STEPS)
        lib_beforealloc(L, (size_t)t->array_size * 2 * sizeof(Value));
}

static int table_insert(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    int n = luT_length(t), pos = n + 1;
    switch (lib_argcount(L)) {
    case 2: break;
    case 3:
        pos = lib_checkint(L, 2);
        if (1 <= pos && pos <= n) {
            lib_checkwritable(L, t);
            if (n >= t->array_size)
                before_growth(L, t);
            move_one(L, t, t, n, n + 1); /* may grow the array; the rest stays inside */
            move_elements(L, t, t, pos, n - pos, pos + 1);
        }
        break;
    default: luaL_error(L, "wrong number of arguments to 'insert'");
    }
    lib_checkwritable(L, t);
    if (pos == t->array_size + 1)
        before_growth(L, t);
    *luT_setint(L, t, pos) = L->top[-1];
    luG_barriertable(L, t);
    return 0;
}

static int table_remove(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    int n = luT_length(t);
    int pos = lib_optint(L, 2, n);
    if (pos < 1 || pos > n)
        return 0;
    luD_push(L, t->array[pos - 1]);
    move_elements(L, t, t, pos + 1, n - pos, pos);
    t->array[n - 1] = VAL_NIL;
    return 1;
}

static int table_move(lua_State *L)
{
    Table *from = lib_checktable(L, 1);
    int f = lib_checkint(L, 2), e = lib_checkint(L, 3), t = lib_checkint(L, 4);
    int to_arg = lib_isnoneornil(L, 5) ? 1 : 5;
    Table *to = lib_checktable(L, to_arg);
    if (e >= f) {
        luaL_argcheck(L, f > 0 || e < INT_MAX + f, 3, "too many elements to move");
        int n = e - f + 1;
        luaL_argcheck(L, t <= INT_MAX - n + 1, 4, "destination wrap around");
        lib_checkwritable(L, to);
        int64_t size = (int64_t)t - 1 + n;
        if (t > 0 && t - 1 <= to->array_size && size > to->array_size) {
            if (size > LUAU_TABLE_MAX)
                luD_error(L, "table overflow");
            lib_beforealloc(L, (size_t)size * sizeof(Value));
            luT_resizearray(L, to, (int)size);
        }
        move_elements(L, from, to, f, n, t);
    }
    luD_push(L, lib_arg(L, to_arg));
    return 1;
}

/* ---- Concatenation ---- */

BASE_NORETURN static void concat_error(lua_State *L, Value v, int index)
{
    luD_push(L, v);
    luaL_error(L, "invalid value (%s) at index %d in table for 'concat'", luaL_typename(L, -1),
               index);
    BASE_UNREACHABLE();
}

/* Length of a number's text, quickly for integers. */
static size_t number_length(double n)
{
    char text[NUM_TEXT_MAX];
    if (n > -1e9 && n < 1e9 && n == (double)(int)n && (n != 0 || !__builtin_signbit(n))) {
        unsigned rest = n < 0 ? (unsigned)-n : (unsigned)n;
        size_t length = n < 0 ? 2 : 1;
        for (; rest >= 10; rest /= 10)
            length++;
        return length;
    }
    return (size_t)num_format(n, text);
}

typedef struct Concat {
    lua_State *L;
    Table *t;
    const char *separator;
    size_t separator_length;
    int64_t first, last;
} Concat;

/* Length of the whole text; every element is looked at. */
static size_t concat_length(const Concat *c)
{
    lua_State *L = c->L;
    size_t total = 0;
    for (int64_t i = c->first; i <= c->last; i++) {
        Value v = lib_geti(c->t, (int)i);
        if (val_isstring(v))
            total += val_string(v)->length;
        else if (val_isnumber(v))
            total += number_length(v.n);
        else
            concat_error(L, v, (int)i);
        if (i < c->last)
            total += c->separator_length;
        if (BASE_UNLIKELY(total > LUAU_STRING_MAX))
            luaL_error(L, "string length overflow");
        if ((i & (LIB_POLL_STEPS - 1)) == 0)
            luY_poll(L);
    }
    return total;
}

/* Appends bytes to the text at p, which has room up to end. */
static char *concat_append(lua_State *L, char *p, const char *end, const char *bytes, size_t length)
{
    BASE_ASSERT(length <= (size_t)(end - p));
    if (BASE_UNLIKELY(length > LIB_POLL_BYTES))
        lib_movebytes(L, p, bytes, length);
    else
        memcpy(p, bytes, length);
    return p + length;
}

/* Writes the whole text to p..end. */
static void concat_fill(const Concat *c, char *p, const char *end)
{
    lua_State *L = c->L;
    char text[NUM_TEXT_MAX];
    size_t since_poll = 0;
    for (int64_t i = c->first; i <= c->last; i++) {
        Value v = lib_geti(c->t, (int)i);
        const char *start = p;
        if (val_isstring(v)) {
            p = concat_append(L, p, end, val_string(v)->data, val_string(v)->length);
        } else {
            size_t length = (size_t)num_format(v.n, text);
            p = concat_append(L, p, end, text, length);
        }
        if (i < c->last)
            p = concat_append(L, p, end, c->separator, c->separator_length);
        since_poll += (size_t)(p - start) + 64;
        if (BASE_UNLIKELY(since_poll >= LIB_POLL_BYTES / 4)) {
            since_poll = 0;
            luY_poll(L);
        }
    }
    BASE_ASSERT(p == end);
}

/* A few bytes take less time one by one. */
BASE_INLINE void copy_short(char *to, const char *from, size_t length)
{
    enum { SHORT_MAX = 8 };
    if (length > SHORT_MAX) {
        memcpy(to, from, length);
        return;
    }
    for (size_t i = 0; i < length; i++)
        to[i] = from[i];
}

/* Short texts in one go: the length, or -1 if it is more than fits or an element is wrong. */
static int concat_short(const Concat *c, char *text, size_t room)
{
    size_t length = 0;
    if (c->last - c->first >= (int64_t)room) /* they may all be empty */
        return -1;
    for (int64_t i = c->first; i <= c->last; i++) {
        Value v = lib_geti(c->t, (int)i);
        size_t separator_length = i < c->last ? c->separator_length : 0;
        if (val_isstring(v)) {
            const String *s = val_string(v);
            if (s->length + separator_length > room - length)
                return -1;
            copy_short(text + length, s->data, s->length);
            length += s->length;
        } else {
            if (!val_isnumber(v) || NUM_TEXT_MAX + separator_length > room - length)
                return -1;
            length += (size_t)num_format(v.n, text + length);
        }
        copy_short(text + length, c->separator, separator_length);
        length += separator_length;
    }
    return (int)length;
}

static int table_concat(lua_State *L)
{
    Concat c = {.L = L, .t = lib_checktable(L, 1)};
    c.separator = luaL_optlstring(L, 2, "", &c.separator_length);
    c.first = lib_optint(L, 3, 1);
    c.last = lib_isnoneornil(L, 4) ? luT_length(c.t) : lib_checkint(L, 4);

    char text[1024];
    int length = concat_short(&c, text, sizeof(text));
    if (length >= 0) {
        luG_check(L);
        String *s = luS_new(L, text, (size_t)length);
        lib_pushstring(L, s);
        return 1;
    }
    size_t total = concat_length(&c);
    lib_beforealloc(L, string_size(total));
    String *s = luS_room(L, total);
    lib_pushstring(L, s);
    concat_fill(&c, s->data, s->data + total);
    return 1;
}

/* ---- Packing ---- */

static int table_unpack(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    int i = lib_optint(L, 2, 1);
    int e = lib_isnoneornil(L, 3) ? luT_length(t) : lib_checkint(L, 3);
    if (i > e)
        return 0;
    int64_t n = (int64_t)e - i + 1;
    if (n >= INT_MAX || !lua_checkstack(L, (int)n))
        luaL_error(L, "too many results to unpack");
    if (in_arrays(t, t, i, i, n)) {
        memcpy(L->top, t->array + i - 1, (size_t)n * sizeof(Value));
    } else {
        for (int64_t k = 0; k < n; k++)
            L->top[k] = luT_getint(t, (int)(i + k));
    }
    L->top += n;
    return (int)n;
}

static int table_pack(lua_State *L)
{
    int n = lib_argcount(L);
    luG_check(L);
    Table *t = luT_new(L, n, 1);
    for (int i = 0; i < n; i++)
        t->array[i] = L->base[i];
    lib_pushtable(L, t);
    *luT_setstring(L, t, luS_literal(L, "n")) = val_number(n);
    return 1;
}

static int table_create(lua_State *L)
{
    int size = lib_checkint(L, 1);
    luaL_argcheck(L, size >= 0, 1, "size out of range");
    if (size > LUAU_TABLE_MAX)
        luD_error(L, "table overflow");
    Value v = lib_hasarg(L, 2) ? lib_arg(L, 2) : VAL_NIL;
    lib_beforealloc(L, (size_t)size * sizeof(Value));
    Table *t = luT_new(L, size, 0);
    lib_pushtable(L, t);
    if (!val_isnil(v)) {
        for (int i = 0; i < size; i++) {
            t->array[i] = v;
            if ((i & (16 * LIB_POLL_STEPS - 1)) == 0)
                luY_poll(L);
        }
        luG_barriertable(L, t);
    }
    return 1;
}

/* ---- Searching, sorting ---- */

/* Searches the array part from index i (from 1) on for a value that is no table or userdata. Gives
 * the index of the value or of the first nil, or the one behind the array part. */
static int find_in_array(lua_State *L, const Table *t, int i, Value wanted)
{
    while (i <= t->array_size) {
        int end = t->array_size - i < LIB_POLL_STEPS ? t->array_size : i + LIB_POLL_STEPS;
        const Value *array = t->array;
        if (val_isnumber(wanted)) { /* as doubles all other values are NaN */
            while (i <= end && array[i - 1].n != wanted.n && !val_isnil(array[i - 1]))
                i++;
        } else {
            while (i <= end && !val_isnil(array[i - 1]) && !luV_rawequal(array[i - 1], wanted))
                i++;
        }
        if (i <= end)
            return i;
        luY_poll(L);
    }
    return i;
}

static int table_find(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    luaL_checkany(L, 2);
    int init = lib_optint(L, 3, 1);
    if (init < 1)
        luaL_argerror(L, 3, "index out of range");
    Value wanted = lib_arg(L, 2);
    /* Only tables and userdata may have __eq, which can do anything. */
    bool may_call = val_istable(wanted) || val_isuserdata(wanted);
    for (int64_t i = may_call ? init : find_in_array(L, t, init, wanted); i <= INT_MAX; i++) {
        Value v = lib_geti(t, (int)i);
        if (val_isnil(v))
            break;
        if (may_call ? val_tag(v) == val_tag(wanted) && luV_equal(L, wanted, v)
                     : luV_rawequal(wanted, v)) {
            lib_pushnumber(L, (double)i);
            return 1;
        }
        if ((i & (LIB_POLL_STEPS - 1)) == 0)
            luY_poll(L);
    }
    luD_push(L, VAL_NIL);
    return 1;
}

static int table_sort(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    int n = luT_length(t);
    lib_checkwritable(L, t);
    if (!lib_isnoneornil(L, 2))
        lib_checkfunction(L, 2);
    lua_settop(L, 2);
    if (n > 1)
        lib_sort(L, t, n);
    return 0;
}

static int table_maxn(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    double max = 0;
    for (int i = t->array_size; i > 0; i--) {
        if (!val_isnil(t->array[i - 1])) {
            max = i;
            break;
        }
        if ((i & (LIB_POLL_STEPS - 1)) == 0)
            luY_poll(L);
    }
    for (int i = 0; i < table_nodecount(t); i++) {
        const Node *node = &t->node[i];
        if (!val_isnil(node->value) && val_isnumber(node->key) && node->key.n > max)
            max = node->key.n;
        if ((i & (LIB_POLL_STEPS - 1)) == LIB_POLL_STEPS - 1)
            luY_poll(L);
    }
    lib_pushnumber(L, max);
    return 1;
}

static int table_getn(lua_State *L)
{
    lib_pushnumber(L, luT_length(lib_checktable(L, 1)));
    return 1;
}

/* ---- Iteration ---- */

/* Calls the function at argument 2 with key and value; true if it gave a result (on top). */
static bool visit(lua_State *L, Value key, Value value)
{
    luD_push(L, lib_arg(L, 2));
    luD_push(L, key);
    luD_push(L, value);
    lua_call(L, 2, 1);
    if (!lua_isnil(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}

static int table_foreach(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    lib_checkfunction(L, 2);
    lua_settop(L, 3);
    lib_arg(L, 3) = VAL_NIL; /* the key, kept where the collector sees it */
    for (;;) {
        luY_poll(L);
        uint32_t position = luT_position(L, t, lib_arg(L, 3));
        Value key, value;
        for (bool more; !luT_iterate(t, &position, &key, &value, LIB_POLL_STEPS, &more);) {
            if (!more)
                return 0;
            luY_poll(L);
        }
        lib_arg(L, 3) = key;
        if (visit(L, key, value))
            return 1;
    }
}

static int table_foreachi(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    lib_checkfunction(L, 2);
    for (int i = 1, n = luT_length(t); i <= n; i++) {
        if (visit(L, val_number(i), lib_geti(t, i)))
            return 1;
        luY_poll(L);
    }
    return 0;
}

/* ---- Whole tables ---- */

static int table_clear(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    lib_checkwritable(L, t);
    luT_clear(L, t);
    return 0;
}

static int table_freeze(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    luaL_argcheck(L, !(t->flags & TABLE_READONLY), 1, "table is already frozen");
    luaL_argcheck(L, !lib_isprotected(t), 1, "table has a protected metatable");
    t->flags |= TABLE_READONLY;
    luD_push(L, lib_arg(L, 1));
    return 1;
}

static int table_isfrozen(lua_State *L)
{
    lib_pushboolean(L, lib_checktable(L, 1)->flags & TABLE_READONLY);
    return 1;
}

static int table_clone(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    luaL_argcheck(L, !lib_isprotected(t), 1, "table has a protected metatable");
    lib_beforealloc(L, luT_partsize(t));
    Table *copy = luT_clone(L, t);
    lib_pushtable(L, copy);
    return 1;
}

/* clang-format off */
#define ENTRY(name) {#name, table_##name}
/* clang-format on */
static const luaL_Reg table_functions[] = {
    ENTRY(concat), ENTRY(foreach), ENTRY(foreachi), ENTRY(getn),     ENTRY(maxn),  ENTRY(insert),
    ENTRY(remove), ENTRY(sort),    ENTRY(pack),     ENTRY(unpack),   ENTRY(move),  ENTRY(create),
    ENTRY(find),   ENTRY(clear),   ENTRY(freeze),   ENTRY(isfrozen), ENTRY(clone), {NULL, NULL},
};

int luaopen_table(lua_State *L)
{
    luaL_register(L, "table", table_functions);
    lua_pushcfunction(L, table_unpack, "unpack");
    lua_setglobal(L, "unpack");
    return 1;
}
