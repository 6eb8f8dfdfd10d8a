/* func.c: closures and upvalues.
 *
 * A variable that a function captures by reference is an UpVal. While its scope lasts it is open:
 * it points to the variable's stack slot, and stands in its thread's list, from high slots to low,
 * so that all functions which capture the slot share one. Leaving the scope closes it: the value
 * moves into the UpVal. A thread keeps its open upvalues alive. */
#include "luau/func.h"

Closure *luF_newlua(lua_State *L, const Proto *proto, Table *env)
{
    int count = proto->nup + proto->ncache;
    Closure *cl = luH_object(L, offsetof(Closure, l.up) + (size_t)count * sizeof(Value),
                             OBJ_FUNCTION);
    cl->kind = CLOSURE_LUA;
    cl->nup = proto->nup;
    cl->ncache = proto->ncache;
    cl->l.proto = proto;
    cl->l.env = env;
    for (int i = 0; i < count; i++)
        cl->l.up[i] = VAL_NIL;
    return cl;
}

/* Natives have no environment of their own; theirs is the thread's (reference 10). */
Closure *luF_newc(lua_State *L, int nup, Table *env)
{
    (void)env;
    Closure *cl = luH_object(L, offsetof(Closure, c.up) + (size_t)nup * sizeof(Value),
                             OBJ_FUNCTION);
    cl->kind = CLOSURE_C;
    cl->nup = (uint8_t)nup;
    cl->ncache = 0;
    cl->c.fn = NULL;
    cl->c.cont = NULL;
    cl->c.name = NULL;
    for (int i = 0; i < nup; i++)
        cl->c.up[i] = VAL_NIL;
    return cl;
}

UpVal *luF_findupval(lua_State *L, Value *slot)
{
    UpVal **link = &L->open_upvals;
    for (; *link && (*link)->v >= slot; link = &(*link)->next) {
        if ((*link)->v == slot)
            return *link;
    }
    UpVal *up = luH_object(L, sizeof(UpVal), OBJ_UPVAL);
    up->v = slot;
    up->next = *link;
    *link = up;
    return up;
}

void luF_close(lua_State *L, Value *level)
{
    for (UpVal *up = L->open_upvals; up && up->v >= level; up = L->open_upvals) {
        L->open_upvals = up->next; /* shares its place with the value */
        up->closed = *up->v;
        up->v = &up->closed;
        luG_barrier(L, up, up->closed);
    }
}
