/* api_stack.c: the stack as the host sees it: indices, moving values about, room. */
#include "luau/api.h"

/* ---- indices --------------------------------------------------------------------------------- */

static bool upvalue(lua_State *L, int n, Value *out)
{
    Closure *running = luE_native(L);
    if (!running || n < 1 || n > running->nup)
        return false;
    *out = running->c.up[n - 1];
    return true;
}

static Table *registry(lua_State *L)
{
    Global_ *g = G(L);
    if (!g->registry) {
        g->registry = luT_new(L, 0, 0);
        luG_barrier(L, L, val_fromtable(g->registry)); /* a root that the cycle may have passed */
    }
    return g->registry;
}

bool luE_pseudo(lua_State *L, int index, Value *out)
{
    switch (index) {
    case LUA_REGISTRYINDEX: *out = val_fromtable(registry(L)); return true;
    case LUA_ENVIRONINDEX: /* natives have no environment of their own */
    case LUA_GLOBALSINDEX: *out = val_fromtable(L->globals); return true;
    default: return upvalue(L, LUA_GLOBALSINDEX - index, out);
    }
}

int lua_absindex(lua_State *L, int index)
{
    return index > 0 || lua_ispseudo(index) ? index : (int)(L->top - L->base) + index + 1;
}

int lua_gettop(lua_State *L)
{
    return (int)(L->top - L->base);
}

/* ---- moving ---------------------------------------------------------------------------------- */

void lua_settop(lua_State *L, int index)
{
    if (index >= 0) {
        api_check(L, index <= L->stack_last - L->base);
        Value *top = L->base + index;
        while (L->top < top)
            *L->top++ = VAL_NIL;
        L->top = top;
    } else {
        api_check(L, -(index + 1) <= L->top - L->base);
        L->top += index + 1;
    }
}

void lua_pushvalue(lua_State *L, int index)
{
    Value v = luE_value(L, index);
    api_push(L, v);
}

void lua_remove(lua_State *L, int index)
{
    Value *slot = luE_mustslot(L, index);
    memmove(slot, slot + 1, (size_t)((char *)L->top - (char *)(slot + 1)));
    L->top--;
}

void lua_insert(lua_State *L, int index)
{
    Value *slot = luE_mustslot(L, index);
    Value v = L->top[-1];
    memmove(slot + 1, slot, (size_t)((char *)(L->top - 1) - (char *)slot));
    *slot = v;
}

static void replace_pseudo(lua_State *L, int index, Value v)
{
    if (index == LUA_GLOBALSINDEX || index == LUA_ENVIRONINDEX) {
        BASE_ASSERT(val_istable(v));
        L->globals = val_table(v);
        luG_barrier(L, L, v);
        return;
    }
    Closure *running = luE_native(L);
    int n = LUA_GLOBALSINDEX - index;
    BASE_ASSERT(running && n >= 1 && n <= running->nup && !object_isshared(running));
    running->c.up[n - 1] = v;
    luG_barrier(L, running, v);
}

void lua_replace(lua_State *L, int index)
{
    api_checkcount(L, 1);
    Value v = L->top[-1];
    if (lua_ispseudo(index))
        replace_pseudo(L, index, v);
    else
        *luE_mustslot(L, index) = v;
    L->top--;
}

/* ---- room ------------------------------------------------------------------------------------ */

void lua_rawcheckstack(lua_State *L, int size)
{
    BASE_ASSERT(size >= 0);
    luE_room(L, size);
}

int lua_checkstack(lua_State *L, int size)
{
    if (size < 0 || size > LUAI_MAXCSTACK || L->top - L->base + size > LUAI_MAXCSTACK)
        return 0;
    lua_rawcheckstack(L, size);
    return 1;
}

/* ---- between threads ------------------------------------------------------------------------- */

void lua_xmove(lua_State *from, lua_State *to, int count)
{
    if (from == to)
        return;
    BASE_ASSERT(G(from) == G(to));
    api_checkcount(from, count);
    api_check(to, to->ci->top - to->top >= count);
    from->top -= count;
    memcpy(to->top, from->top, (size_t)count * sizeof(Value));
    to->top += count;
}

void lua_xpush(lua_State *from, lua_State *to, int index)
{
    BASE_ASSERT(G(from) == G(to));
    Value v = luE_value(from, index);
    api_push(to, v);
}
