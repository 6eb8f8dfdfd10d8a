/* aux.c: luaL_*: what natives use to check their arguments and to raise errors.
 *
 * Messages are those of the reference, section 8.4: the function's name is the running native's
 * own, the position that of the Luau function which called it; the text behind the position is cut
 * at 511 bytes. */
#include <stdio.h>

#include "base/num.h"
#include "luau/api.h"

enum { MESSAGE_MAX = 511, MESSAGE_ROOM = LUA_IDSIZE + 32 + MESSAGE_MAX + 1 };

/* ---- errors ---------------------------------------------------------------------------------- */

void luaL_error(lua_State *L, const char *format, ...)
{
    char text[MESSAGE_ROOM];
    int used = 0;
    CallInfo *ci = L->ci; /* who called the native; or who runs, if it is the interpreter */
    if (!ci_isluau(ci))
        ci = ci - L->ci_base >= 2 ? ci - 1 : NULL;
    if (ci && ci_isluau(ci))
        used = snprintf(text, LUA_IDSIZE + 32,
                        "%s:%d: ", ci_closure(ci)->l.proto->module->shown_name,
                        luD_currentline(L, ci));
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text + used, MESSAGE_MAX + 1, format, args);
    va_end(args);
    if (length > MESSAGE_MAX)
        length = MESSAGE_MAX;
    luD_checkstack(L, 1);
    String *s = luS_new(L, text, (size_t)(used + (length > 0 ? length : 0)));
    luD_push(L, val_fromstring(s));
    luD_throw(L, LUA_ERRRUN);
}

/* Name of the running native, as messages give it; of one that serves `__namecall`, the method. */
static const char *running_name(lua_State *L)
{
    Closure *native = luE_native(L);
    const char *name = native ? native->c.name : NULL;
    if (name && L->namecall && strcmp(name, "__namecall") == 0)
        return L->namecall->data;
    return name;
}

void luaL_argerror(lua_State *L, int arg, const char *text)
{
    const char *name = running_name(L);
    if (name)
        luaL_error(L, "invalid argument #%d to '%s' (%s)", arg, name, text);
    luaL_error(L, "invalid argument #%d (%s)", arg, text);
}

void luaL_typeerror(lua_State *L, int arg, const char *tname)
{
    const char *name = running_name(L);
    Value v;
    if (luE_find(L, arg, &v)) {
        const char *actual = luTM_objectname(L, v)->data;
        if (name)
            luaL_error(L, "invalid argument #%d to '%s' (%s expected, got %s)", arg, name, tname,
                       actual);
        luaL_error(L, "invalid argument #%d (%s expected, got %s)", arg, tname, actual);
    }
    if (name)
        luaL_error(L, "missing argument #%d to '%s' (%s expected)", arg, name, tname);
    luaL_error(L, "missing argument #%d (%s expected)", arg, tname);
}

static BASE_NORETURN void type_error(lua_State *L, int arg, int type)
{
    luaL_typeerror(L, arg, lua_typename(L, type));
}

/* ---- arguments ------------------------------------------------------------------------------- */

void luaL_checktype(lua_State *L, int arg, int type)
{
    if (BASE_UNLIKELY(lua_type(L, arg) != type))
        type_error(L, arg, type);
}

void luaL_checkany(lua_State *L, int arg)
{
    if (lua_type(L, arg) == LUA_TNONE)
        luaL_error(L, "missing argument #%d", arg);
}

const char *luaL_checklstring(lua_State *L, int arg, size_t *length)
{
    const char *text = lua_tolstring(L, arg, length);
    if (BASE_UNLIKELY(!text))
        type_error(L, arg, LUA_TSTRING);
    return text;
}

const char *luaL_optlstring(lua_State *L, int arg, const char *def, size_t *length)
{
    if (!lua_isnoneornil(L, arg))
        return luaL_checklstring(L, arg, length);
    if (length)
        *length = def ? strlen(def) : 0;
    return def;
}

double luaL_checknumber(lua_State *L, int arg)
{
    Value *slot = luE_slot(L, arg);
    if (BASE_LIKELY(slot && val_isnumber(*slot)))
        return slot->n;
    int isnum;
    double n = lua_tonumberx(L, arg, &isnum);
    if (!isnum)
        type_error(L, arg, LUA_TNUMBER);
    return n;
}

double luaL_optnumber(lua_State *L, int arg, double def)
{
    return lua_isnoneornil(L, arg) ? def : luaL_checknumber(L, arg);
}

int luaL_checkinteger(lua_State *L, int arg)
{
    return val_toint(luaL_checknumber(L, arg));
}

int luaL_optinteger(lua_State *L, int arg, int def)
{
    return lua_isnoneornil(L, arg) ? def : luaL_checkinteger(L, arg);
}

unsigned luaL_checkunsigned(lua_State *L, int arg)
{
    return val_tounsigned(luaL_checknumber(L, arg));
}

unsigned luaL_optunsigned(lua_State *L, int arg, unsigned def)
{
    return lua_isnoneornil(L, arg) ? def : luaL_checkunsigned(L, arg);
}

int luaL_checkboolean(lua_State *L, int arg)
{
    luaL_checktype(L, arg, LUA_TBOOLEAN);
    return lua_toboolean(L, arg);
}

int luaL_optboolean(lua_State *L, int arg, int def)
{
    return lua_isnoneornil(L, arg) ? def : luaL_checkboolean(L, arg);
}

int64_t luaL_checkinteger64(lua_State *L, int arg)
{
    int isinteger;
    int64_t n = lua_tointeger64(L, arg, &isinteger);
    if (!isinteger)
        type_error(L, arg, LUA_TINTEGER);
    return n;
}

int64_t luaL_optinteger64(lua_State *L, int arg, int64_t def)
{
    return lua_isnoneornil(L, arg) ? def : luaL_checkinteger64(L, arg);
}

const float *luaL_checkvector(lua_State *L, int arg)
{
    const float *vector = lua_tovector(L, arg);
    if (!vector)
        type_error(L, arg, LUA_TVECTOR);
    return vector;
}

const float *luaL_optvector(lua_State *L, int arg, const float *def)
{
    return lua_isnoneornil(L, arg) ? def : luaL_checkvector(L, arg);
}

void *luaL_checkbuffer(lua_State *L, int arg, size_t *length)
{
    void *data = lua_tobuffer(L, arg, length);
    if (!data)
        type_error(L, arg, LUA_TBUFFER);
    return data;
}

void luaL_checkstack(lua_State *L, int size, const char *message)
{
    if (lua_checkstack(L, size))
        return;
    if (message)
        luaL_error(L, "stack overflow (%s)", message);
    luaL_error(L, "stack overflow");
}

int luaL_checkoption(lua_State *L, int arg, const char *def, const char *const list[])
{
    const char *name = def ? luaL_optstring(L, arg, def) : luaL_checkstring(L, arg);
    for (int i = 0; list[i]; i++) {
        if (strcmp(list[i], name) == 0)
            return i;
    }
    luaL_argerror(L, arg, lua_pushfstring(L, "invalid option '%s'", name));
}

/* ---- metatables and host types --------------------------------------------------------------- */

int luaL_newmetatable(lua_State *L, const char *name)
{
    if (lua_rawgetfield(L, LUA_REGISTRYINDEX, name) != LUA_TNIL)
        return 0;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetfield(L, LUA_REGISTRYINDEX, name);
    return 1;
}

void *luaL_checkudata(lua_State *L, int arg, const char *name)
{
    void *data = lua_touserdata(L, arg);
    if (data && lua_getmetatable(L, arg)) {
        lua_rawgetfield(L, LUA_REGISTRYINDEX, name);
        int same = lua_rawequal(L, -1, -2);
        lua_pop(L, 2);
        if (same)
            return data;
    }
    luaL_typeerror(L, arg, name);
}

int luaL_getmetafield(lua_State *L, int index, const char *event)
{
    if (!lua_getmetatable(L, index))
        return 0;
    if (lua_rawgetfield(L, -1, event) == LUA_TNIL) {
        lua_pop(L, 2);
        return 0;
    }
    lua_remove(L, -2);
    return 1;
}

int luaL_callmeta(lua_State *L, int index, const char *event)
{
    index = lua_absindex(L, index);
    if (!luaL_getmetafield(L, index, event))
        return 0;
    lua_pushvalue(L, index);
    lua_call(L, 1, 1);
    return 1;
}

/* ---- libraries ------------------------------------------------------------------------------- */

void luaL_register(lua_State *L, const char *libname, const luaL_Reg *list)
{
    if (libname) {
        lua_pushstring(L, libname);
        if (lua_rawget(L, LUA_GLOBALSINDEX) != LUA_TTABLE) {
            int count = 0;
            while (list[count].name)
                count++;
            lua_pop(L, 1);
            lua_createtable(L, 0, count);
            lua_pushvalue(L, -1);
            lua_setglobal(L, libname);
        }
    }
    for (; list->name; list++) {
        lua_pushcfunction(L, list->func, list->name);
        lua_setfield(L, -2, list->name);
    }
}

/* ---- text of values -------------------------------------------------------------------------- */

const char *luaL_typename(lua_State *L, int index)
{
    Value v;
    return luE_find(L, index, &v) ? luTM_objectname(L, v)->data : "no value";
}

static void push_vector(lua_State *L, const float *v)
{
    char text[3 * NUM_TEXT_MAX + 4];
    int length = 0;
    for (int i = 0; i < 3; i++) {
        if (i > 0) {
            text[length++] = ',';
            text[length++] = ' ';
        }
        length += num_format(v[i], text + length);
    }
    lua_pushlstring(L, text, (size_t)length);
}

/* The text of a value without `__tostring`. */
static void push_text(lua_State *L, Value v)
{
    switch (val_type(v)) {
    case LUA_TNIL: lua_pushliteral(L, "nil"); break;
    case LUA_TBOOLEAN:
        if (val_istrue(v))
            lua_pushliteral(L, "true");
        else
            lua_pushliteral(L, "false");
        break;
    case LUA_TNUMBER: {
        char text[NUM_TEXT_MAX];
        int length = num_format(v.n, text);
        lua_pushlstring(L, text, (size_t)length);
        break;
    }
    case LUA_TINTEGER: {
        char text[NUM_TEXT_MAX];
        int length = num_format_i64(val_integer(v)->n, text);
        lua_pushlstring(L, text, (size_t)length);
        break;
    }
    case LUA_TVECTOR: push_vector(L, val_vector(v)->v); break;
    case LUA_TSTRING: api_push(L, v); break;
    default:
        lua_pushfstring(L, "%s: 0x%016llx", luTM_objectname(L, v)->data,
                        (unsigned long long)luE_objectid(L, v));
        break;
    }
}

const char *luaL_tolstring(lua_State *L, int index, size_t *length)
{
    Value v = luE_value(L, index);
    luE_room(L, 2);
    Table *meta = luTM_metatable(L, v);
    Value tm = meta ? luTM_lookup(meta, TM_TOSTRING) : VAL_NIL;
    if (BASE_LIKELY(val_isnil(tm))) {
        push_text(L, v);
    } else {
        api_push(L, tm);
        api_push(L, v);
        lua_call(L, 1, 1);
        if (!lua_isstring(L, -1))
            luaL_error(L, "'__tostring' must return a string");
    }
    return lua_tolstring(L, -1, length);
}
