/* api_table.c: tables, metatables and environments for the host. */
#include "luau/api.h"
#include "luau/fiber.h"

enum { SCAN_STEP = 4096 /* table slots looked at between polls */ };

/* ---- reading --------------------------------------------------------------------------------- */

int lua_gettable(lua_State *L, int index)
{
    api_checkcount(L, 1);
    Value object = luE_value(L, index);
    luV_index(L, object, L->top[-1], luD_savestack(L, L->top - 1));
    return val_type(L->top[-1]);
}

int lua_getfield(lua_State *L, int index, const char *name)
{
    index = lua_absindex(L, index);
    lua_pushstring(L, name);
    return lua_gettable(L, index);
}

int lua_rawgetfield(lua_State *L, int index, const char *name)
{
    Table *t = luE_table(L, index);
    String *key = luE_newstring(L, name, strlen(name));
    L->top[-1] = luT_getstring(t, key);
    return val_type(L->top[-1]);
}

int lua_rawget(lua_State *L, int index)
{
    api_checkcount(L, 1);
    L->top[-1] = luT_get(luE_table(L, index), L->top[-1]);
    return val_type(L->top[-1]);
}

int lua_rawgeti(lua_State *L, int index, int n)
{
    Value v = luT_getint(luE_table(L, index), n);
    api_push(L, v);
    return val_type(v);
}

/* ---- writing --------------------------------------------------------------------------------- */

static Table *writable(lua_State *L, int index)
{
    Table *t = luE_table(L, index);
    if (BASE_UNLIKELY(t->flags & TABLE_READONLY))
        luD_readonlyerror(L);
    return t;
}

void lua_settable(lua_State *L, int index)
{
    api_checkcount(L, 2);
    luV_setindex(L, luE_value(L, index), L->top[-2], L->top[-1]);
    L->top -= 2;
}

void lua_setfield(lua_State *L, int index, const char *name)
{
    api_checkcount(L, 1);
    index = lua_absindex(L, index);
    lua_pushstring(L, name);
    luV_setindex(L, luE_value(L, index), L->top[-1], L->top[-2]);
    L->top -= 2;
}

void lua_rawsetfield(lua_State *L, int index, const char *name)
{
    api_checkcount(L, 1);
    Table *t = writable(L, index);
    String *key = luE_newstring(L, name, strlen(name));
    Value v = L->top[-2];
    *luT_setstring(L, t, key) = v;
    luG_barriertable(L, t);
    L->top -= 2;
}

void lua_rawset(lua_State *L, int index)
{
    api_checkcount(L, 2);
    Table *t = writable(L, index);
    Value v = L->top[-1];
    *luT_set(L, t, L->top[-2]) = v;
    luG_barriertable(L, t);
    L->top -= 2;
}

void lua_rawseti(lua_State *L, int index, int n)
{
    api_checkcount(L, 1);
    Table *t = writable(L, index);
    Value v = L->top[-1];
    *luT_setint(L, t, n) = v;
    luG_barriertable(L, t);
    L->top--;
}

/* ---- whole tables ---------------------------------------------------------------------------- */

void lua_createtable(lua_State *L, int array_count, int hash_count)
{
    luG_check(L);
    Table *t = luT_new(L, array_count, hash_count);
    api_push(L, val_fromtable(t));
}

void lua_setreadonly(lua_State *L, int index, int enabled)
{
    Table *t = luE_table(L, index);
    if (object_isshared(t)) { /* is read-only, and for good */
        if (!enabled)
            luD_readonlyerror(L);
        return;
    }
    if (enabled)
        t->flags |= TABLE_READONLY;
    else
        t->flags &= (uint8_t)~TABLE_READONLY;
}

int lua_getreadonly(lua_State *L, int index)
{
    return (luE_table(L, index)->flags & TABLE_READONLY) != 0;
}

void lua_cleartable(lua_State *L, int index)
{
    luT_clear(L, writable(L, index));
}

void lua_clonetable(lua_State *L, int index)
{
    Table *t = luE_table(L, index);
    luE_prepare(L, luT_partsize(t));
    Table *copy = luT_clone(L, t);
    api_push(L, val_fromtable(copy));
}

/* The next entry from *position on, pushed as key and value; polls while it skips holes. */
static bool push_next(lua_State *L, Table *t, uint32_t *position)
{
    Value key, value;
    bool more = false;
    while (!luT_iterate(t, position, &key, &value, SCAN_STEP, &more)) {
        if (!more)
            return false;
        luY_poll(L);
        more = false;
    }
    api_push(L, key);
    api_push(L, value);
    return true;
}

int lua_next(lua_State *L, int index)
{
    api_checkcount(L, 1);
    Table *t = luE_table(L, index);
    uint32_t position = luT_position(L, t, L->top[-1]);
    L->top--;
    return push_next(L, t, &position);
}

int lua_rawiter(lua_State *L, int index, int iter)
{
    Table *t = luE_table(L, index);
    BASE_ASSERT(iter >= 0);
    uint32_t position = (uint32_t)iter;
    return push_next(L, t, &position) ? (int)position : -1;
}

void lua_concat(lua_State *L, int count)
{
    api_checkcount(L, count);
    luG_check(L);
    if (count >= 2) {
        luV_concat(L, count);
        L->top -= count - 1;
    } else if (count == 0) {
        luE_newstring(L, "", 0);
    }
}

/* ---- metatables ------------------------------------------------------------------------------ */

int lua_getmetatable(lua_State *L, int index)
{
    Value v;
    Table *meta = luE_find(L, index, &v) ? luTM_metatable(L, v) : NULL;
    if (!meta)
        return 0;
    api_push(L, val_fromtable(meta));
    return 1;
}

int lua_setmetatable(lua_State *L, int index)
{
    api_checkcount(L, 1);
    Value v = luE_value(L, index);
    Value meta = L->top[-1];
    BASE_ASSERT(val_isnil(meta) || val_istable(meta));
    Table *table = val_istable(meta) ? val_table(meta) : NULL;
    if (val_istable(v)) {
        Table *t = val_table(v);
        if (t->flags & TABLE_READONLY)
            luD_readonlyerror(L);
        if (t->meta != table) /* an environment may now find other names than its image's */
            t->flags &= (uint8_t)~TABLE_SAFEENV;
        t->meta = table;
        luG_barrier(L, t, meta);
    } else if (val_isuserdata(v)) {
        val_udata(v)->meta = table;
        luG_barrier(L, val_udata(v), meta);
    } else {
        G(L)->type_meta[val_type(v)] = table;
        luG_barrier(L, L, meta);
    }
    L->top--;
    return 1;
}

/* ---- environments ---------------------------------------------------------------------------- */

void lua_getfenv(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    Table *env = NULL;
    if (val_isfunction(v))
        env = val_closure(v)->kind == CLOSURE_LUA ? val_closure(v)->l.env : L->globals;
    else if (val_isthread(v))
        env = val_thread(v)->globals;
    api_push(L, env ? val_fromtable(env) : VAL_NIL);
}

int lua_setfenv(lua_State *L, int index)
{
    api_checkcount(L, 1);
    Value v = luE_value(L, index);
    Value env = L->top[-1];
    BASE_ASSERT(val_istable(env));
    int ok = 1;
    if (val_isfunction(v) && val_closure(v)->kind == CLOSURE_LUA &&
        !object_isshared(val_object(v))) {
        val_closure(v)->l.env = val_table(env);
        luG_barrier(L, val_object(v), env);
    } else if (val_isthread(v)) {
        val_thread(v)->globals = val_table(env);
        luG_barrier(L, val_object(v), env);
    } else {
        ok = 0;
    }
    L->top--;
    return ok;
}
