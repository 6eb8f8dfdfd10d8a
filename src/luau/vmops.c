/* vmops.c: the operations of the language on values, where they are not the simple case:
 * metamethods, coercions, comparison, concatenation. */
#include <math.h>

#include "base/num.h"
#include "luau/bytes.h"
#include "luau/call.h"
#include "luau/fiber.h"
#include "luau/str.h"
#include "luau/table.h"
#include "luau/vm.h"

enum { META_CHAIN_MAX = 100 };

/* ---- conversions ----------------------------------------------------------------------------- */

bool luV_tonumber(Value v, double *out)
{
    if (val_isnumber(v)) {
        *out = v.n;
        return true;
    }
    if (!val_isstring(v))
        return false;
    const char *text = val_string(v)->data, *end;
    double n = num_strtod_paused(text, val_string(v)->length, &end, luY_pause);
    if (end == text)
        return false;
    while (*end == ' ' || (*end >= '\t' && *end <= '\r')) {
        end++;
        if (BASE_UNLIKELY(((uintptr_t)end & (BYTES_PIECE - 1)) == 0))
            luY_pause();
    }
    if (*end != '\0')
        return false;
    *out = val_anynumber(n).n;
    return true;
}

static String *number_text(lua_State *L, double n)
{
    char text[NUM_TEXT_MAX];
    int length = num_format(n, text);
    return luS_new(L, text, (size_t)length);
}

bool luV_tostring(lua_State *L, Value *slot)
{
    if (val_isstring(*slot))
        return true;
    if (!val_isnumber(*slot))
        return false;
    ptrdiff_t at = luD_savestack(L, slot);
    String *s = number_text(L, slot->n);
    *luD_restorestack(L, at) = val_fromstring(s);
    return true;
}

Value luV_totext(lua_State *L, Value v)
{
    if (val_isstring(v))
        return v;
    if (val_isnumber(v))
        return val_fromstring(number_text(L, v.n));
    luD_checkstack(L, 2);
    luD_push(L, v);
    luaL_tolstring(L, -1, NULL);
    v = L->top[-1];
    L->top -= 2;
    return v;
}

/* ---- metamethod calls ------------------------------------------------------------------------ */

static void call_metamethod(lua_State *L, Value f, Value a, Value b, ptrdiff_t out)
{
    luD_checkstack(L, 3);
    Value *top = L->top;
    ptrdiff_t at = luD_savestack(L, top);
    top[0] = f;
    top[1] = a;
    top[2] = b;
    L->top = top + 3;
    luD_call(L, top, 1);
    L->top = luD_restorestack(L, at);
    *luD_restorestack(L, out) = *L->top;
}

static Value call_binary(lua_State *L, Value f, Value a, Value b)
{
    luD_checkstack(L, 4);
    ptrdiff_t at = luD_savestack(L, L->top);
    *L->top++ = VAL_NIL; /* place of the result */
    call_metamethod(L, f, a, b, at);
    return *--L->top;
}

/* ---- indexing -------------------------------------------------------------------------------- */

void luV_index(lua_State *L, Value object, Value key, ptrdiff_t out)
{
    for (int loop = 0; loop < META_CHAIN_MAX; loop++) {
        Value tm;
        if (val_istable(object)) {
            Table *t = val_table(object);
            Value v = luT_get(t, key);
            if (!val_isnil(v) || val_isnil(tm = luTM_fast(t->meta, TM_INDEX))) {
                *luD_restorestack(L, out) = v;
                return;
            }
        } else if (val_isvector(object) && val_isstring(key) && val_string(key)->length == 1 &&
                   ((val_string(key)->data[0] | 0x20) - 'x') >= 0 &&
                   ((val_string(key)->data[0] | 0x20) - 'x') < 3) {
            int component = (val_string(key)->data[0] | 0x20) - 'x';
            *luD_restorestack(L, out) = val_anynumber((double)val_vector(object)->v[component]);
            return;
        } else {
            tm = luTM_of(L, object, TM_INDEX);
            if (val_isnil(tm) && val_isvector(object) && val_isnumber(key))
                luD_error(L, "attempt to index vector with '%s'", number_text(L, key.n)->data);
            if (val_isnil(tm))
                luD_indexerror(L, object, key);
        }
        if (val_isfunction(tm)) {
            call_metamethod(L, tm, object, key, out);
            return;
        }
        object = tm;
    }
    luD_error(L, "'__index' chain too long; possible loop");
}

static void call_newindex(lua_State *L, Value f, Value object, Value key, Value v)
{
    luD_checkstack(L, 4);
    ptrdiff_t at = luD_savestack(L, L->top);
    luD_push(L, f);
    luD_push(L, object);
    luD_push(L, key);
    luD_push(L, v);
    luD_call(L, L->top - 4, 0);
    L->top = luD_restorestack(L, at);
}

void luV_setindex(lua_State *L, Value object, Value key, Value v)
{
    for (int loop = 0; loop < META_CHAIN_MAX; loop++) {
        Value tm;
        if (val_istable(object)) {
            Table *t = val_table(object);
            Value *slot = luT_find(t, key);
            if ((slot && !val_isnil(*slot)) || val_isnil(tm = luTM_fast(t->meta, TM_NEWINDEX))) {
                if (t->flags & TABLE_READONLY)
                    luD_readonlyerror(L);
                if (!slot)
                    slot = luT_add(L, t, key);
                *slot = v;
                luG_barriertable(L, t);
                return;
            }
        } else {
            tm = luTM_of(L, object, TM_NEWINDEX);
            if (val_isnil(tm))
                luD_indexerror(L, object, key);
        }
        if (val_isfunction(tm)) {
            call_newindex(L, tm, object, key, v);
            return;
        }
        object = tm;
    }
    luD_error(L, "'__newindex' chain too long; possible loop");
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

double luV_mod(double a, double b)
{
    return a - floor(a / b) * b;
}

double luV_pow(double a, double b)
{
    return b == 2.0 ? a * a : pow(a, b);
}

static double arith_numbers(double a, double b, TM event)
{
    switch (event) {
    case TM_ADD: return a + b;
    case TM_SUB: return a - b;
    case TM_MUL: return a * b;
    case TM_DIV: return a / b;
    case TM_IDIV: return floor(a / b);
    case TM_MOD: return luV_mod(a, b);
    case TM_POW: return luV_pow(a, b);
    default: return -a;
    }
}

static Value new_vector(lua_State *L, float x, float y, float z)
{
    Vector *made = luH_object(L, sizeof(Vector), OBJ_VECTOR);
    made->v[0] = x;
    made->v[1] = y;
    made->v[2] = z;
    return val_fromobject(made);
}

static bool vector_operand(Value v, float out[3], bool numbers)
{
    double n;
    if (val_isvector(v)) {
        memcpy(out, val_vector(v)->v, 3 * sizeof(float));
        return true;
    }
    if (!numbers || !luV_tonumber(v, &n))
        return false;
    out[0] = out[1] = out[2] = (float)n;
    return true;
}

static float vector_component(float a, float b, TM event)
{
    switch (event) {
    case TM_ADD: return a + b;
    case TM_SUB: return a - b;
    case TM_MUL: return a * b;
    case TM_DIV: return a / b;
    case TM_IDIV: return floorf(a / b);
    default: return -a;
    }
}

static bool arith_vectors(lua_State *L, Value a, Value b, TM event, Value *result)
{
    float x[3], y[3], z[3];
    bool with_number = event == TM_MUL || event == TM_DIV || event == TM_IDIV;
    if (event == TM_MOD || event == TM_POW || !vector_operand(a, x, with_number) ||
        !vector_operand(b, y, with_number))
        return false;
    for (int i = 0; i < 3; i++)
        z[i] = vector_component(x[i], y[i], event);
    *result = new_vector(L, z[0], z[1], z[2]);
    return true;
}

void luV_arith(lua_State *L, ptrdiff_t out, Value a, Value b, TM event)
{
    double x, y;
    if ((val_isvector(a) || val_isvector(b))) {
        Value result;
        if (arith_vectors(L, a, b, event, &result)) {
            *luD_restorestack(L, out) = result;
            luG_check(L);
            return;
        }
    } else if (luV_tonumber(a, &x) && luV_tonumber(b, &y)) {
        *luD_restorestack(L, out) = val_number(arith_numbers(x, y, event));
        return;
    }
    Value tm = luTM_of(L, a, event);
    if (val_isnil(tm))
        tm = luTM_of(L, b, event);
    if (val_isnil(tm))
        luD_aritherror(L, a, b, event);
    call_metamethod(L, tm, a, b, out);
}

void luV_length(lua_State *L, ptrdiff_t out, Value v)
{
    Value tm = VAL_NIL;
    if (val_istable(v)) {
        tm = luTM_fast(val_table(v)->meta, TM_LEN);
        if (val_isnil(tm)) {
            *luD_restorestack(L, out) = val_number(luT_length(val_table(v)));
            return;
        }
    } else if (val_isstring(v)) {
        *luD_restorestack(L, out) = val_number(val_string(v)->length);
        return;
    } else {
        tm = luTM_of(L, v, TM_LEN);
    }
    if (val_isnil(tm))
        luD_typeerror(L, v, "get length of");
    Value n = call_binary(L, tm, v, VAL_NIL);
    if (!val_isnumber(n))
        luD_error(L, "'__len' must return a number");
    *luD_restorestack(L, out) = n;
}

/* ---- comparison ------------------------------------------------------------------------------ */

bool luV_rawequal(Value a, Value b)
{
    if (val_isnumber(a) && val_isnumber(b))
        return a.n == b.n;
    if (a.u == b.u)
        return !val_isvector(a) || luT_samekey(a, b);
    if (val_isstring(a) && val_isstring(b))
        return luS_equal(val_string(a), val_string(b));
    if (val_isvector(a) && val_isvector(b)) {
        const float *x = val_vector(a)->v, *y = val_vector(b)->v;
        return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
    }
    if (val_isinteger(a) && val_isinteger(b))
        return val_integer(a)->n == val_integer(b)->n;
    return false;
}

bool luV_equal(lua_State *L, Value a, Value b)
{
    if (val_tag(a) != val_tag(b) || (!val_istable(a) && !val_isuserdata(a)))
        return luV_rawequal(a, b);
    Table *left = luTM_metatable(L, a), *right = luTM_metatable(L, b);
    Value tm = luTM_fast(left, TM_EQ);
    if (val_isnil(tm) || (left != right && !luV_rawequal(tm, luTM_fast(right, TM_EQ))))
        return a.u == b.u;
    return !val_isfalsy(call_binary(L, tm, a, b));
}

/* The result of an order metamethod that both operands have: 0, 1; -1: none. */
static int order_metamethod(lua_State *L, Value a, Value b, TM event)
{
    Value tm = luTM_of(L, a, event);
    if (val_isnil(tm) || !luV_rawequal(tm, luTM_of(L, b, event)))
        return -1;
    return !val_isfalsy(call_binary(L, tm, a, b));
}

bool luV_less(lua_State *L, Value a, Value b)
{
    if (val_isnumber(a) && val_isnumber(b))
        return a.n < b.n;
    if (val_isstring(a) && val_isstring(b))
        return luS_compare(val_string(a), val_string(b)) < 0;
    int result = val_type(a) == val_type(b) ? order_metamethod(L, a, b, TM_LT) : -1;
    if (result < 0)
        luD_ordererror(L, a, b, false);
    return result != 0;
}

bool luV_lessequal(lua_State *L, Value a, Value b)
{
    if (val_isnumber(a) && val_isnumber(b))
        return a.n <= b.n;
    if (val_isstring(a) && val_isstring(b))
        return luS_compare(val_string(a), val_string(b)) <= 0;
    if (val_type(a) == val_type(b)) {
        int result = order_metamethod(L, a, b, TM_LE);
        if (result >= 0)
            return result != 0;
        result = order_metamethod(L, b, a, TM_LT);
        if (result >= 0)
            return result == 0;
    }
    luD_ordererror(L, a, b, true);
}

/* ---- concatenation --------------------------------------------------------------------------- */

#define joinable(v) (val_isstring(v) || val_isnumber(v))

static void concat_metamethod(lua_State *L, Value *top)
{
    Value a = top[-2], b = top[-1];
    Value tm = luTM_of(L, a, TM_CONCAT);
    if (val_isnil(tm))
        tm = luTM_of(L, b, TM_CONCAT);
    if (val_isnil(tm))
        luD_concaterror(L, a, b);
    call_metamethod(L, tm, a, b, luD_savestack(L, top - 2));
}

/* Joins as many strings and numbers below `top` (a stack offset) as there are in a row, at most
 * count; returns how many. The result replaces the first of them. */
static int concat_run(lua_State *L, ptrdiff_t at, int count)
{
    Value *top = luD_restorestack(L, at);
    size_t length = 0;
    int n = 0;
    for (; n < count && joinable(top[-n - 1]); n++) {
        luV_tostring(L, &top[-n - 1]);
        top = luD_restorestack(L, at);
        size_t more = val_string(top[-n - 1])->length;
        if (more > LUAU_STRING_MAX - length)
            luD_error(L, "string length overflow");
        length += more;
    }
    if (length > HEAP_SMALL_MAX)
        luH_reserve(L, string_size(length));
    top = luD_restorestack(L, at);
    if (n == 2 && val_string(top[-1])->length == 0) /* the left one stays */
        return 2;
    String *joined = luS_room(L, length);
    top = luD_restorestack(L, at);
    char *out = joined->data;
    for (int i = n; i > 0; i--) {
        const String *part = val_string(top[-i]);
        luY_copy(out, part->data, part->length);
        out += part->length;
    }
    top[-n] = val_fromstring(joined);
    return n;
}

void luV_concat(lua_State *L, int count)
{
    ptrdiff_t top_at = luD_savestack(L, L->top);
    int total = count;
    while (total > 1) {
        ptrdiff_t at = top_at - (ptrdiff_t)(count - total) * (ptrdiff_t)sizeof(Value);
        Value *top = luD_restorestack(L, at);
        int n = 2;
        if (joinable(top[-1]) && joinable(top[-2]))
            n = concat_run(L, at, total);
        else
            concat_metamethod(L, top);
        total -= n - 1;
    }
    L->top = luD_restorestack(L, top_at);
}
