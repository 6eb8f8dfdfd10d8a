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

/* ORDER of enum lua_Type. */
#define LUAU_TYPENAMES(X)                                                                          \
    X(NIL, "nil") X(BOOLEAN, "boolean") X(LIGHT, "userdata") X(NUMBER, "number")                   \
    X(INTEGER, "integer") X(VECTOR, "vector") X(STRING, "string") X(TABLE, "table")                \
    X(FUNCTION, "function") X(USERDATA, "userdata") X(THREAD, "thread") X(BUFFER, "buffer")

/* Error values that must exist before they are needed. */
#define LUAU_TEXTS(X)                                                                              \
    X(NOMEMORY, "not enough memory") X(ERRERR, "error in error handling")                          \
    X(STACK, "stack overflow") X(CSTACK, "C stack overflow")

typedef enum CoreText {
#define X(id, name) TEXT_##id,
    LUAU_TEXTS(X)
#undef X
    TEXT_COUNT
} CoreText;

/* Core strings: constant objects of the program itself, MARK_SHARED, the same for all VMs: names of
 * metamethods and types, and the fixed error texts. */
String *luTM_name(TM event);
String *luTM_typename(int type);           /* "nil", "number", ... */
String *luTM_text(CoreText text);
/* The core string with these bytes, or NULL (strings of up to one byte are of the core too, see
 * charstr.h); for interning. hash: luS_hash, or 0: not known. */
String *luTM_core(const char *data, size_t length, uint32_t hash);
extern const char *const luTM_typenames[LUA_T_COUNT];

/* Nil if absent. Remembers that the first 8 are absent, in tables of this VM, and only while the
 * key is not in the table at all: so a store to a slot that is there never has to clear tm_absent.
 */
Value luTM_lookup(Table *meta, TM event);
/* Metamethod of a table's metatable (which may be NULL); for events below 8 only. */
#define luTM_fast(meta, event)                                                            \
    ((meta) == NULL || ((meta)->tm_absent & (1u << (event))) ? VAL_NIL                    \
                                                             : luTM_lookup((meta), (event)))
/* Or NULL. A userdata's own, else that of its tag. */
Table *luTM_metatable(lua_State *L, Value v);
Value luTM_of(lua_State *L, Value v, TM event);
/* Type name as typeof gives it (userdata `__type`, but not of newproxy's, whose tag is this). */
#define UDATA_PROXY 255
const String *luTM_objectname(lua_State *L, Value v);

#endif
