/* tm.h: metamethods: their names and fast absence tests, type names, the core strings.
 * ORDER TM: TM_ADD..TM_POW as OP_ADD..OP_POW. */
#ifndef LUAU_TM_H
#define LUAU_TM_H

#include "luau/object.h"

/* The first 8 have a bit in Table.tm_absent. */
#define LUAU_METAMETHODS(X)                                                                        \
    X(INDEX, "__index") X(NEWINDEX, "__newindex") X(CALL, "__call") X(EQ, "__eq") X(LEN, "__len")  \
    X(ITER, "__iter") X(MODE, "__mode") X(NAMECALL, "__namecall")                                  \
    X(ADD, "__add") X(SUB, "__sub") X(MUL, "__mul") X(DIV, "__div") X(IDIV, "__idiv")              \
    X(MOD, "__mod") X(POW, "__pow") X(UNM, "__unm") X(LT, "__lt") X(LE, "__le")                    \
    X(CONCAT, "__concat") X(TOSTRING, "__tostring") X(METATABLE, "__metatable") X(TYPE, "__type")

typedef enum TM {
#define X(id, name) TM_##id,
    LUAU_METAMETHODS(X)
#undef X
    TM_COUNT
} TM;

/* Core strings: constant objects of the program itself, MARK_SHARED, the same for all VMs: names of
 * metamethods and types, and the fixed error texts. */
String *luTM_name(TM event);
String *luTM_typename(int type);           /* "nil", "number", ... */
String *luTM_core(const char *data, size_t length, uint32_t hash); /* or NULL; for interning */
extern const char *const luTM_typenames[LUA_T_COUNT];

Value luTM_lookup(Table *meta, TM event);  /* nil if absent; remembers absence of the first 8 */
/* Metamethod of a table's metatable (which may be NULL); for events below 8 only. */
#define luTM_fast(meta, event)                                                            \
    ((meta) == NULL || ((meta)->tm_absent & (1u << (event))) ? VAL_NIL                    \
                                                             : luTM_lookup((meta), (event)))
Table *luTM_metatable(lua_State *L, Value v); /* or NULL */
Value luTM_of(lua_State *L, Value v, TM event);
/* Type name as typeof gives it (userdata `__type`). */
const String *luTM_objectname(lua_State *L, Value v);

#endif
