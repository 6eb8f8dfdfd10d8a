/* api_value.c: reading values from the stack and pushing new ones. */
#include <stdio.h>
#include <stdlib.h>

#include "luau/api.h"
#include "luau/fiber.h"

/* ---- types ----------------------------------------------------------------------------------- */

int lua_type(lua_State *L, int index)
{
    Value v;
    return luE_find(L, index, &v) ? val_type(v) : LUA_TNONE;
}

const char *lua_typename(lua_State *L, int type)
{
    (void)L;
    BASE_ASSERT(type >= LUA_TNONE && type < LUA_T_COUNT);
    return type == LUA_TNONE ? "no value" : luTM_typenames[type];
}

int lua_isnumber(lua_State *L, int index)
{
    double n;
    Value v;
    return luE_find(L, index, &v) && luV_tonumber(v, &n);
}

int lua_isstring(lua_State *L, int index)
{
    Value v;
    return luE_find(L, index, &v) && (val_isstring(v) || val_isnumber(v));
}

static Closure *to_native(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    return val_isfunction(v) && val_closure(v)->kind != CLOSURE_LUA ? val_closure(v) : NULL;
}

int lua_iscfunction(lua_State *L, int index)
{
    return to_native(L, index) != NULL;
}

int lua_isLfunction(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    return val_isfunction(v) && val_closure(v)->kind == CLOSURE_LUA;
}

int lua_isuserdata(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    return val_isuserdata(v) || val_islight(v);
}

/* ---- comparing ------------------------------------------------------------------------------- */

int lua_equal(lua_State *L, int index1, int index2)
{
    Value a, b;
    return luE_find(L, index1, &a) && luE_find(L, index2, &b) && luV_equal(L, a, b);
}

int lua_rawequal(lua_State *L, int index1, int index2)
{
    Value a, b;
    return luE_find(L, index1, &a) && luE_find(L, index2, &b) && luV_rawequal(a, b);
}

int lua_lessthan(lua_State *L, int index1, int index2)
{
    Value a, b;
    return luE_find(L, index1, &a) && luE_find(L, index2, &b) && luV_less(L, a, b);
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool to_number(lua_State *L, int index, double *n, int *isnum)
{
    Value v = luE_value(L, index);
    bool ok = true;
    if (BASE_LIKELY(val_isnumber(v)))
        *n = v.n;
    else
        ok = luV_tonumber(v, n);
    if (isnum)
        *isnum = ok;
    return ok;
}

double lua_tonumberx(lua_State *L, int index, int *isnum)
{
    double n;
    return to_number(L, index, &n, isnum) ? n : 0;
}

int lua_tointegerx(lua_State *L, int index, int *isnum)
{
    double n;
    return to_number(L, index, &n, isnum) ? val_toint(n) : 0;
}

unsigned lua_tounsignedx(lua_State *L, int index, int *isnum)
{
    double n;
    return to_number(L, index, &n, isnum) ? val_tounsigned(n) : 0;
}

const float *lua_tovector(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    return val_isvector(v) ? val_vector(v)->v : NULL;
}

int64_t lua_tointeger64(lua_State *L, int index, int *isinteger)
{
    Value v = luE_value(L, index);
    bool ok = val_isinteger(v);
    if (isinteger)
        *isinteger = ok;
    return ok ? val_integer(v)->n : 0;
}

int lua_toboolean(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    return !val_isfalsy(v);
}

const char *lua_tolstring(lua_State *L, int index, size_t *length)
{
    Value v = luE_value(L, index);
    if (val_isnumber(v)) { /* in place: there is where the text is anchored */
        Value *slot = luE_slot(L, index);
        api_check(L, slot != NULL);
        if (slot) {
            luG_check(L);
            luV_tostring(L, slot);
            v = *slot;
        }
    }
    if (!val_isstring(v)) {
        if (length)
            *length = 0;
        return NULL;
    }
    if (length)
        *length = val_string(v)->length;
    return val_string(v)->data;
}

const char *lua_namecallatom(lua_State *L)
{
    return L->namecall ? L->namecall->data : NULL;
}

static int userdata_length(const Udata *userdata)
{
    size_t length = userdata->length;
    return (int)(userdata->has_dtor ? length - sizeof(lua_Destructor) : length);
}

int lua_objlen(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    switch (val_type(v)) {
    case LUA_TSTRING: return (int)val_string(v)->length;
    case LUA_TUSERDATA: return userdata_length(val_udata(v));
    case LUA_TBUFFER: return (int)val_buffer(v)->length;
    case LUA_TTABLE: return luT_length(val_table(v));
    case LUA_TNUMBER: {
        size_t length;
        lua_tolstring(L, index, &length);
        return (int)length;
    }
    default: return 0;
    }
}

lua_CFunction lua_tocfunction(lua_State *L, int index)
{
    Closure *native = to_native(L, index);
    return native ? native->c.fn : NULL;
}

void *lua_tolightuserdata(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    return val_islight(v) ? val_ptr(v) : NULL;
}

void *lua_touserdata(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    if (val_isuserdata(v))
        return val_udata(v)->data;
    return val_islight(v) ? val_ptr(v) : NULL;
}

void *lua_touserdatatagged(lua_State *L, int index, int tag)
{
    Value v = luE_value(L, index);
    return val_isuserdata(v) && val_udata(v)->tag == tag ? val_udata(v)->data : NULL;
}

int lua_userdatatag(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    return val_isuserdata(v) ? val_udata(v)->tag : -1;
}

lua_State *lua_tothread(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    return val_isthread(v) ? val_thread(v) : NULL;
}

void *lua_tobuffer(lua_State *L, int index, size_t *length)
{
    Value v = luE_value(L, index);
    bool ok = val_isbuffer(v);
    if (length)
        *length = ok ? val_buffer(v)->length : 0;
    return ok ? val_buffer(v)->data : NULL;
}

const void *lua_topointer(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    if (val_isuserdata(v))
        return val_udata(v)->data;
    return val_isheap(v) || val_islight(v) ? val_ptr(v) : NULL;
}

/* ---- pushing --------------------------------------------------------------------------------- */

void lua_pushnil(lua_State *L)
{
    api_push(L, VAL_NIL);
}

void lua_pushnumber(lua_State *L, double n)
{
    api_push(L, val_anynumber(n));
}

void lua_pushinteger(lua_State *L, int n)
{
    api_push(L, val_number(n));
}

void lua_pushunsigned(lua_State *L, unsigned n)
{
    api_push(L, val_number(n));
}

void lua_pushboolean(lua_State *L, int b)
{
    api_push(L, val_boolean(b != 0));
}

int lua_pushthread(lua_State *L)
{
    api_push(L, val_fromobject(L));
    return G(L)->main == L;
}

void lua_pushlightuserdata(lua_State *L, void *p)
{
    BASE_ASSERT((uintptr_t)p >> 48 == 0);
    api_push(L, val_from(TAG_LIGHT, p));
}

void lua_pushinteger64(lua_State *L, int64_t n)
{
    luG_check(L);
    Integer *integer = luH_object(L, sizeof(Integer), OBJ_INTEGER);
    integer->n = n;
    api_push(L, val_fromobject(integer));
}

void lua_pushvector(lua_State *L, float x, float y, float z)
{
    luG_check(L);
    Vector *vector = luH_object(L, sizeof(Vector), OBJ_VECTOR);
    vector->v[0] = x;
    vector->v[1] = y;
    vector->v[2] = z;
    api_push(L, val_fromobject(vector));
}

/* ---- pushing strings ------------------------------------------------------------------------- */

void luE_toobig(lua_State *L)
{
    luD_error(L, "memory allocation error: block too big");
}

String *luE_newstring(lua_State *L, const char *data, size_t length)
{
    if (length > LUAU_STRING_MAX)
        luE_toobig(L);
    luE_prepare(L, string_size(length));
    String *s = luS_new(L, data, length);
    api_push(L, val_fromstring(s));
    return s;
}

void lua_pushlstring(lua_State *L, const char *s, size_t length)
{
    luE_newstring(L, s, length);
}

void lua_pushstring(lua_State *L, const char *s)
{
    if (s)
        luE_newstring(L, s, luY_textlength(s));
    else
        lua_pushnil(L);
}

const char *lua_pushvfstring(lua_State *L, const char *format, va_list args)
{
    char text[LUA_BUFFERSIZE];
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(text, sizeof(text), format, args);
    String *s;
    if (length < (int)sizeof(text)) {
        s = luE_newstring(L, text, length > 0 ? (size_t)length : 0);
    } else {
        if ((unsigned)length > LUAU_STRING_MAX)
            luE_toobig(L);
        luE_prepare(L, string_size(length));
        s = luS_room(L, (size_t)length);
        vsnprintf(s->data, (size_t)length + 1, format, again);
        api_push(L, val_fromstring(s));
    }
    va_end(again);
    return s->data;
}

const char *lua_pushfstring(lua_State *L, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const char *text = lua_pushvfstring(L, format, args);
    va_end(args);
    return text;
}

/* ---- pushing objects ------------------------------------------------------------------------- */

void lua_pushcclosurek(lua_State *L, lua_CFunction fn, const char *name, int nup,
                       lua_Continuation cont)
{
    BASE_ASSERT(nup >= 0 && nup <= UINT8_MAX);
    api_checkcount(L, nup);
    luG_check(L);
    Closure *closure = luF_newc(L, nup, L->globals);
    closure->kind = CLOSURE_C;
    closure->c.fn = fn;
    closure->c.cont = cont;
    closure->c.name = name;
    L->top -= nup;
    for (int i = 0; i < nup; i++)
        closure->c.up[i] = L->top[i];
    api_push(L, val_fromclosure(closure));
}

enum {
    USERDATA_MAX = 1 << 30,
    DESTRUCTOR_BYTES = sizeof(lua_Destructor),
    CLEAR_STEP = 1 << 18 /* bytes between polls */
};

static Udata *init_userdata(lua_State *L, Udata *userdata, size_t size, int tag)
{
    userdata->tag = (uint8_t)tag;
    userdata->has_dtor = 0;
    userdata->length = (uint32_t)size;
    userdata->meta = NULL;
    memset(userdata->data, 0, size);
    api_push(L, val_fromudata(userdata));
    return userdata;
}

void *lua_newuserdatatagged(lua_State *L, size_t size, int tag)
{
    BASE_ASSERT((unsigned)tag < LUA_UTAG_LIMIT);
    if (size > USERDATA_MAX)
        luE_toobig(L);
    size_t bytes = offsetof(Udata, data) + size;
    luE_prepare(L, bytes);
    Udata *userdata = luH_object(L, bytes, OBJ_USERDATA);
    return init_userdata(L, userdata, size, tag)->data;
}

/* The destructor stands behind the data, maybe unaligned. */
void *lua_newuserdatadtor(lua_State *L, size_t size, lua_Destructor dtor)
{
    if (size > USERDATA_MAX)
        luE_toobig(L);
    size += DESTRUCTOR_BYTES;
    size_t bytes = offsetof(Udata, data) + size;
    luE_prepare(L, bytes);
    Udata *userdata = luH_largeobject(L, bytes, OBJ_USERDATA);
    init_userdata(L, userdata, size, 0);
    memcpy(userdata->data + size - DESTRUCTOR_BYTES, &dtor, DESTRUCTOR_BYTES);
    userdata->has_dtor = 1;
    return userdata->data;
}

void *lua_newbuffer(lua_State *L, size_t size)
{
    if (size > LUAU_STRING_MAX)
        luE_toobig(L);
    size_t bytes = offsetof(Buffer, data) + size;
    luE_prepare(L, bytes);
    Buffer *buffer = luH_object(L, bytes, OBJ_BUFFER);
    buffer->length = (uint32_t)size;
    api_push(L, val_fromobject(buffer));
    for (size_t at = 0; at < size; at += CLEAR_STEP) {
        memset(buffer->data + at, 0, size - at < CLEAR_STEP ? size - at : CLEAR_STEP);
        if (size > CLEAR_STEP)
            luY_poll(L);
    }
    return buffer->data;
}

/* ---- host types ------------------------------------------------------------------------------ */

void lua_setuserdatatag(lua_State *L, int index, int tag)
{
    Value v = luE_value(L, index);
    BASE_ASSERT(val_isuserdata(v) && (unsigned)tag < LUA_UTAG_LIMIT);
    val_udata(v)->tag = (uint8_t)tag;
}

/* The table of metatables by tag; the image's own is copied before it is written. */
static Table **own_udatameta(lua_State *L)
{
    Global_ *g = G(L);
    Table **shared = g->image ? luI_udatameta(g->image) : NULL;
    if (!g->udata_meta || g->udata_meta == shared) {
        size_t bytes = LUA_UTAG_LIMIT * sizeof(Table *);
        Table **own = luH_alloc(L, bytes);
        if (shared)
            memcpy(own, shared, bytes);
        else
            memset(own, 0, bytes);
        g->udata_meta = own;
    }
    return g->udata_meta;
}

void lua_setuserdatametatable(lua_State *L, int tag)
{
    Value v = L->top[-1];
    BASE_ASSERT((unsigned)tag < LUA_UTAG_LIMIT && (val_istable(v) || val_isnil(v)));
    own_udatameta(L)[tag] = val_istable(v) ? val_table(v) : NULL;
    luG_barrier(L, L, v);
    L->top--;
}

void lua_getuserdatametatable(lua_State *L, int tag)
{
    BASE_ASSERT((unsigned)tag < LUA_UTAG_LIMIT);
    Table **metas = G(L)->udata_meta;
    Table *meta = metas ? metas[tag] : NULL;
    api_push(L, meta ? val_fromtable(meta) : VAL_NIL);
}
