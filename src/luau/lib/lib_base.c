/* lib_base.c: the global functions (reference 11.1) but those of lib_bare.c. */
#include <stdio.h>

#include "luau/lib/lib.h"
#include "luau/vm.h"

/* ---- Errors and output ---- */

static int base_assert(lua_State *L)
{
    luaL_checkany(L, 1);
    if (BASE_UNLIKELY(val_isfalsy(lib_arg(L, 1))))
        luaL_error(L, "%.512s", luaL_optstring(L, 2, "assertion failed!")); /* shown: 511 */
    return lib_argcount(L);
}

static int base_error(lua_State *L)
{
    int level = luaL_optinteger(L, 2, 1);
    lua_settop(L, 1);
    if (level > 0 && lua_isstring(L, 1)) {
        luaL_where(L, level);
        lua_pushvalue(L, 1);
        lua_concat(L, 2); /* a number becomes a string here */
    }
    return lua_error(L);
}

static void print_line(lua_State *L, const char *text, size_t length)
{
    lua_Callbacks *callbacks = lua_callbacks(L);
    if (callbacks->print) {
        callbacks->print(L, 0, text, length);
        return;
    }
    fwrite(text, 1, length, stdout);
    putc('\n', stdout);
}

static int base_print(lua_State *L)
{
    int count = lib_argcount(L);
    if (count == 1 && val_isstring(lib_arg(L, 1))) {
        const String *s = val_string(lib_arg(L, 1));
        print_line(L, s->data, s->length);
        return 0;
    }
    luaL_Strbuf line;
    luaL_buffinit(L, &line);
    for (int i = 1; i <= count; i++) {
        if (i > 1)
            luaL_addchar(&line, '\t');
        luaL_addvalueany(&line, i);
    }
    luaL_pushresult(&line);
    size_t length;
    const char *text = lua_tolstring(L, -1, &length);
    print_line(L, text, length);
    return 0;
}

/* ---- Types and conversions ---- */

static int base_type(lua_State *L)
{
    luaL_checkany(L, 1);
    lib_pushstring(L, luTM_typename(val_type(lib_arg(L, 1))));
    return 1;
}

static int base_typeof(lua_State *L)
{
    luaL_checkany(L, 1);
    lib_pushstring(L, luTM_objectname(L, lib_arg(L, 1)));
    return 1;
}

static int base_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    if (!val_isstring(lib_arg(L, 1)))
        luaL_tolstring(L, 1, NULL);
    else
        luD_push(L, lib_arg(L, 1));
    return 1;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 36;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Steps over one character of the argument; the string keeps its place over a poll. */
#define STEP(L, p)                                                                                 \
    do {                                                                                           \
        if (BASE_UNLIKELY(((uintptr_t)++(p)&0xFFFF) == 0))                                         \
            luY_poll(L);                                                                           \
    } while (0)

bool lib_readinteger(lua_State *L, const char *p, unsigned base, LibInteger *result)
{
    while (is_blank(*p))
        STEP(L, p);
    bool negative = *p == '-';
    if (*p == '-' || *p == '+')
        p++;
    bool prefix = p[0] == '0' && (p[1] == 'x' || p[1] == 'X') && digit_value(p[2]) < 16;
    if (base == 0)
        base = prefix ? 16 : 10;
    if (base == 16 && prefix)
        p += 2;
    const char *digits = p;
    uint64_t n = 0;
    bool overflow = false;
    for (unsigned digit; (digit = (unsigned)digit_value(*p)) < base;) {
        overflow |= __builtin_mul_overflow(n, (uint64_t)base, &n);
        overflow |= __builtin_add_overflow(n, (uint64_t)digit, &n);
        STEP(L, p);
    }
    if (p == digits)
        return false;
    while (is_blank(*p))
        STEP(L, p);
    *result = (LibInteger){overflow ? UINT64_MAX : n, base, negative, overflow};
    return *p == '\0';
}

/* As C's strtoull: too great ones give the greatest, a minus negates modulo 2^64. */
static bool read_unsigned(lua_State *L, const char *text, unsigned base, double *result)
{
    LibInteger read;
    if (!lib_readinteger(L, text, base, &read))
        return false;
    bool negate = read.negative && !read.overflow;
    *result = (double)(negate ? 0 - read.magnitude : read.magnitude);
    return true;
}

static int base_tonumber(lua_State *L)
{
    int base = lib_optint(L, 2, 10);
    double n;
    if (base == 10) {
        luaL_checkany(L, 1);
        if (luV_tonumber(lib_arg(L, 1), &n))
            lib_pushnumber(L, n);
        else
            luD_push(L, VAL_NIL);
        return 1;
    }
    const char *text = luaL_checkstring(L, 1);
    luaL_argcheck(L, 2 <= base && base <= 36, 2, "base out of range");
    if (read_unsigned(L, text, (unsigned)base, &n))
        lib_pushnumber(L, n);
    else
        luD_push(L, VAL_NIL);
    return 1;
}

static int base_select(lua_State *L)
{
    int count = lib_argcount(L);
    if (count > 0 && val_isstring(lib_arg(L, 1)) && val_string(lib_arg(L, 1))->data[0] == '#') {
        lib_pushnumber(L, count - 1);
        return 1;
    }
    int i = lib_checkint(L, 1);
    if (i < 0)
        i = count + i;
    else if (i > count)
        i = count;
    luaL_argcheck(L, i >= 1, 1, "index out of range");
    return count - i;
}

/* ---- Raw access, traversal ---- */

static int base_rawequal(lua_State *L)
{
    luaL_checkany(L, 1);
    luaL_checkany(L, 2);
    lib_pushboolean(L, luV_rawequal(lib_arg(L, 1), lib_arg(L, 2)));
    return 1;
}

static int base_rawget(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    luaL_checkany(L, 2);
    luD_push(L, luT_get(t, lib_arg(L, 2)));
    return 1;
}

static int base_rawset(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    luaL_checkany(L, 2);
    luaL_checkany(L, 3);
    lua_settop(L, 3);
    lib_checkwritable(L, t);
    *luT_set(L, t, lib_arg(L, 2)) = lib_arg(L, 3);
    t->tm_absent = 0; /* the key may have been there, with nil */
    luG_barriertable(L, t);
    lua_settop(L, 1);
    return 1;
}

static int base_rawlen(lua_State *L)
{
    Value v = lib_hasarg(L, 1) ? lib_arg(L, 1) : VAL_NIL;
    if (val_istable(v))
        lib_pushnumber(L, luT_length(val_table(v)));
    else if (val_isstring(v))
        lib_pushnumber(L, val_string(v)->length);
    else
        luaL_argerror(L, 1, "table or string expected");
    return 1;
}

int luaB_next(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    Value key = lib_hasarg(L, 2) ? lib_arg(L, 2) : VAL_NIL;
    uint32_t position = luT_position(L, t, key);
    Value value;
    for (bool more = true; more;) {
        more = false;
        if (luT_iterate(t, &position, &key, &value, LIB_POLL_STEPS, &more)) {
            luD_push(L, key);
            luD_push(L, value);
            return 2;
        }
        luY_poll(L);
    }
    luD_push(L, VAL_NIL);
    return 1;
}

int luaB_inext(lua_State *L)
{
    int i = (int)((unsigned)lib_checkint(L, 2) + 1u);
    Table *t = lib_checktable(L, 1);
    Value v = lib_geti(t, i);
    lib_pushnumber(L, i);
    luD_push(L, v);
    return val_isnil(v) ? 0 : 2;
}

static int base_pairs(lua_State *L)
{
    lib_checktable(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    luD_push(L, lib_arg(L, 1));
    luD_push(L, VAL_NIL);
    return 3;
}

static int base_ipairs(lua_State *L)
{
    lib_checktable(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    luD_push(L, lib_arg(L, 1));
    lib_pushnumber(L, 0);
    return 3;
}

/* ---- Metatables, userdata, memory ---- */

static int base_getmetatable(lua_State *L)
{
    luaL_checkany(L, 1);
    Table *meta = luTM_metatable(L, lib_arg(L, 1));
    Value result = VAL_NIL;
    if (meta) {
        result = luT_getstring(meta, luTM_name(TM_METATABLE));
        if (val_isnil(result))
            result = val_fromtable(meta);
    }
    luD_push(L, result);
    return 1;
}

static int base_setmetatable(lua_State *L)
{
    Table *t = lib_checktable(L, 1);
    int type = lua_type(L, 2);
    luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    if (lib_isprotected(t))
        luaL_error(L, "cannot change a protected metatable");
    lib_checkwritable(L, t);
    Value meta = lib_arg(L, 2);
    t->meta = val_istable(meta) ? val_table(meta) : NULL;
    t->flags &= (uint8_t)~TABLE_SAFEENV; /* an environment's names may come from elsewhere now */
    luG_barrier(L, t, meta);
    lua_settop(L, 1);
    return 1;
}

static int base_newproxy(lua_State *L)
{
    int type = lua_type(L, 1);
    luaL_argexpected(L, type == LUA_TNONE || type == LUA_TNIL || type == LUA_TBOOLEAN, 1,
                     "nil or boolean");
    bool with_metatable = lua_toboolean(L, 1);
    lua_newuserdata(L, 0);
    val_udata(L->top[-1])->tag = UDATA_PROXY; /* `__type` means nothing to it */
    if (with_metatable) {
        lua_newtable(L);
        lua_setmetatable(L, -2);
    }
    return 1;
}

static int base_gcinfo(lua_State *L)
{
    lib_pushnumber(L, lua_gc(L, LUA_GCCOUNT, 0));
    return 1;
}

static const luaL_Reg base_functions[] = {
    {"assert", base_assert},
    {"error", base_error},
    {"gcinfo", base_gcinfo},
    {"getmetatable", base_getmetatable},
    {"next", luaB_next},
    {"newproxy", base_newproxy},
    {"print", base_print},
    {"rawequal", base_rawequal},
    {"rawget", base_rawget},
    {"rawset", base_rawset},
    {"rawlen", base_rawlen},
    {"select", base_select},
    {"setmetatable", base_setmetatable},
    {"tonumber", base_tonumber},
    {"tostring", base_tostring},
    {"type", base_type},
    {"typeof", base_typeof},
    {NULL, NULL},
};

int luaopen_base(lua_State *L)
{
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "_G");
    luaL_register(L, NULL, base_functions);
    lua_pushliteral(L, "Luau");
    lua_setfield(L, -2, "_VERSION");
    /* The iterators are made once and live in the functions that give them. */
    lua_pushcfunction(L, luaB_inext, "inext");
    lua_pushcclosure(L, base_ipairs, "ipairs", 1);
    lua_setfield(L, -2, "ipairs");
    lua_pushcfunction(L, luaB_next, "next");
    lua_pushcclosure(L, base_pairs, "pairs", 1);
    lua_setfield(L, -2, "pairs");
    lib_pushspecial(L, CLOSURE_PCALL, "pcall", 0);
    lua_setfield(L, -2, "pcall");
    lib_pushspecial(L, CLOSURE_XPCALL, "xpcall", 0);
    lua_setfield(L, -2, "xpcall");
    return 1;
}
