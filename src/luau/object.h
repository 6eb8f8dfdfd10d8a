/* object.h: values and heap objects.
 *
 * A Value is 8 bytes. Doubles are themselves; everything else hides in the negative quiet NaNs that
 * arithmetic never makes: the top 16 bits are the tag, the low 48 the payload (a pointer).
 *
 *     < FFF9 ....             a double. The only NaNs are 7FF8 0.. and FFF8 0..: whoever takes a
 *                             double from bytes (buffers, unpack, the API) passes it through
 *                             val_number, which makes other NaNs canonical.
 *     FFF8, payload not 0     dead key (in hash nodes only)
 *     FFF9 0, 1, 2            nil, false, true (falsy: u - NIL <= 1)
 *     FFFA                    light userdata
 *     FFFB..FFFF              heap objects: string, table, function, userdata; FFFF: the rest
 *                             (thread, buffer, vector, integer), told apart by the header
 *
 * Objects start with a 2-byte header: type and mark bits. Shared objects (of images and modules,
 * and the core strings) carry MARK_SHARED: no VM's collector touches them, nothing writes them. */
#ifndef LUAU_OBJECT_H
#define LUAU_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/base.h"
#include "luau/luau.h"
#include "luau/opcodes.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values assume little endian");
_Static_assert(sizeof(void *) == 8, "values assume 64-bit pointers with 48 significant bits");

typedef union Value {
    uint64_t u;
    double n;
    struct { uint32_t lo, hi; } w;
    uint16_t h[4];
} Value;

#define TAG_SPECIAL 0xFFF9u
#define TAG_LIGHT 0xFFFAu
#define TAG_STRING 0xFFFBu
#define TAG_TABLE 0xFFFCu
#define TAG_FUNCTION 0xFFFDu
#define TAG_USERDATA 0xFFFEu
#define TAG_OBJECT 0xFFFFu

#define VAL_TAGGED(tag, payload) ((Value){.u = ((uint64_t)(tag) << 48) | (uint64_t)(payload)})
#define VAL_NIL VAL_TAGGED(TAG_SPECIAL, 0)
#define VAL_FALSE VAL_TAGGED(TAG_SPECIAL, 1)
#define VAL_TRUE VAL_TAGGED(TAG_SPECIAL, 2)
#define VAL_NIL_BITS ((uint64_t)TAG_SPECIAL << 48)

#define val_tag(v) ((uint32_t)((v).u >> 48)) /* not h[3]: 16-bit immediates stall x86 decoders */
#define val_isnumber(v) ((v).w.hi < ((uint32_t)TAG_SPECIAL << 16))
#define val_isnil(v) ((v).u == VAL_NIL_BITS)
#define val_isfalsy(v) ((v).u - VAL_NIL_BITS <= 1)
#define val_isboolean(v) ((v).u - (VAL_NIL_BITS + 1) <= 1)
#define val_istrue(v) ((v).u == VAL_NIL_BITS + 2)
#define val_islight(v) (val_tag(v) == TAG_LIGHT)
#define val_isstring(v) (val_tag(v) == TAG_STRING)
#define val_istable(v) (val_tag(v) == TAG_TABLE)
#define val_isfunction(v) (val_tag(v) == TAG_FUNCTION)
#define val_isuserdata(v) (val_tag(v) == TAG_USERDATA)
#define val_isheap(v) (val_tag(v) >= TAG_STRING)
#define val_isdeadkey(v) (val_tag(v) == 0xFFF8u && ((v).u << 16) != 0)

#define val_ptr(v) ((void *)(uintptr_t)((v).u & 0xFFFFFFFFFFFFull))
#define val_object(v) ((GCObject *)val_ptr(v))
#define val_string(v) ((String *)val_ptr(v))
#define val_table(v) ((Table *)val_ptr(v))
#define val_closure(v) ((Closure *)val_ptr(v))
#define val_udata(v) ((Udata *)val_ptr(v))
#define val_vector(v) ((Vector *)val_ptr(v))
#define val_integer(v) ((Integer *)val_ptr(v))
#define val_buffer(v) ((Buffer *)val_ptr(v))
#define val_thread(v) ((lua_State *)val_ptr(v))

/* Header of every heap object. Blocks that are no objects (table parts, stacks) have type
 * OBJ_RAW and free cells OBJ_FREE in the same place (see heap.h). */
#define OBJECT_HEADER \
    uint8_t type;     \
    uint8_t mark
typedef struct GCObject { OBJECT_HEADER; } GCObject;

enum ObjectType { /* values of Lua types that live in the heap keep their number */
    OBJ_INTEGER = LUA_TINTEGER,
    OBJ_VECTOR = LUA_TVECTOR,
    OBJ_STRING = LUA_TSTRING,
    OBJ_TABLE = LUA_TTABLE,
    OBJ_FUNCTION = LUA_TFUNCTION,
    OBJ_USERDATA = LUA_TUSERDATA,
    OBJ_THREAD = LUA_TTHREAD,
    OBJ_BUFFER = LUA_TBUFFER,
    OBJ_UPVAL,
    OBJ_RAW = 0xFE,
    OBJ_FREE = 0xFF
};

/* Mark bits. New objects are of the current white; gc.h has the colours' story. */
enum {
    MARK_WHITE0 = 1, MARK_WHITE1 = 2, MARK_BLACK = 4, MARK_FIXED = 8 /* never collected */,
    MARK_SHARED = 16,     /* of an image, a module or the core: immutable, not this VM's */
    MARK_MODULE = 32      /* with SHARED: the owner Module * stands in the 8 bytes before it */
};
#define MARK_WHITES (MARK_WHITE0 | MARK_WHITE1)

/* ---- Strings: immutable bytes with a NUL behind. Equal by content; see str.h. ---- */
typedef struct String {
    OBJECT_HEADER;
    uint8_t flags;     /* STRING_HASHED */
    uint8_t reserved;
    uint32_t length;
    uint32_t hash;     /* reference 13.1; valid if STRING_HASHED (always in shared strings) */
    char data[];
} String;
enum { STRING_HASHED = 1 };

/* ---- Tables: layout and order as reference section 13; see table.h. ---- */
typedef struct Node { Value key, value; } Node;
/* A hash part is 1 << lsizenode Nodes, and right behind them as many int32_t: the offset (in nodes)
 * to the next node of the chain, 0 at its end. */
typedef struct Table {
    OBJECT_HEADER;
    uint8_t tm_absent;   /* bit e: the metamethod e (tm.h, the first 8) is surely absent */
    uint8_t flags;       /* TABLE_* */
    int32_t array_size;
    uint8_t lsizenode;   /* log2 of node count; 0 with node == luT_dummy: no hash part */
    uint8_t node_mask8;  /* (node count - 1) & 255, for hints */
    uint16_t memcat;
    int32_t last_free;   /* >= 0: free nodes are below; < 0: minus the remembered border */
    Value *array;        /* array[0] is t[1] */
    Node *node;
    struct Table *meta;
} Table;
enum {
    TABLE_READONLY = 1,
    TABLE_SAFEENV = 2,   /* an environment whose library names are those of its image */
    TABLE_SEEDED = 4     /* hash flooding seen: places keys by a secret hash */
};
#define table_nodecount(t) (1 << (t)->lsizenode)
#define table_chain(t) ((int32_t *)((t)->node + table_nodecount(t)))

/* ---- Functions ---- */
typedef struct Proto Proto;
enum ClosureKind {
    CLOSURE_LUA = 0,
    CLOSURE_C = 1,
    /* natives that the interpreter runs itself, without C recursion (call.h) */
    CLOSURE_PCALL, CLOSURE_XPCALL, CLOSURE_RESUME, CLOSURE_WRAPPED /* made by coroutine.wrap */,
    CLOSURE_YIELD
};
typedef struct Closure {
    OBJECT_HEADER;
    uint8_t kind;        /* ClosureKind */
    uint8_t nup;         /* upvalues */
    uint8_t ncache;      /* Lua: cache slots behind the upvalues (DUPCLOSURE) */
    uint8_t reserved[3];
    union {
        struct {
            const Proto *proto;
            Table *env;
            Value up[];  /* nup values, or UpVals as values tagged TAG_OBJECT; then ncache */
        } l;
        struct {
            lua_CFunction fn;
            lua_Continuation cont;
            const char *name; /* or NULL */
            Value up[];
        } c;
    };
} Closure;

/* A variable captured by reference. Open: v points into a stack, in the list of its thread, sorted
 * from high to low. Closed: v points at closed. */
typedef struct UpVal {
    OBJECT_HEADER;
    Value *v;
    union {
        Value closed;
        struct UpVal *next; /* while open */
    };
} UpVal;
#define upval_isopen(u) ((u)->v != &(u)->closed)

/* ---- Others ---- */
typedef struct Udata {
    OBJECT_HEADER;
    uint8_t tag;
    uint8_t has_dtor;    /* the last 8 bytes of data are the lua_Destructor */
    uint32_t length;
    Table *meta;
    _Alignas(16) char data[];
} Udata;
/* Vectors and integers are immutable, and equal by value. */
typedef struct Vector {
    OBJECT_HEADER;
    float v[3];
} Vector;
typedef struct Integer { /* of the type integer; numbers are doubles */
    OBJECT_HEADER;
    int64_t n;
} Integer;
typedef struct Buffer {
    OBJECT_HEADER;
    uint32_t length;
    char data[];
} Buffer;

/* ---- Compiled functions: immutable parts of a Module (module.h) ---- */
typedef struct Shape {   /* layout for DUPTABLE: a ready hash part with nil values */
    int32_t array_size;
    uint8_t lsizenode;
    int32_t last_free;
    const Node *node;    /* with its chain behind; NULL: no hash part */
} Shape;

struct Proto {
    Instr *code;         /* not const: hints (opcodes.h) */
    const Value *k;      /* nil, booleans, numbers, strings, integers, shared objects */
    Proto *const *children;
    const Shape *shapes;
    uint8_t nup, numparams, is_vararg, max_stack, ncache, flags;
    int32_t code_count, k_count, child_count, shape_count;
    int32_t line_defined;
    int32_t id;          /* index in the module, 0 is the last compiled... see module.h */
    const String *name;  /* or NULL */
    luau_Module *module;
    /* line of instruction i: line_base[i >> line_shift] + line_delta[i]; NULL without debug info */
    const uint8_t *line_delta;
    const int32_t *line_base;
    uint8_t line_shift;
};

/* ---- Making values ---- */
BASE_INLINE Value val_number(double n)
{
    Value v = {.n = n};
    return v;
}
/* For doubles that came from bytes: every NaN becomes the canonical one of its sign. */
BASE_INLINE Value val_anynumber(double n)
{
    Value v = {.n = n};
    if (BASE_UNLIKELY(n != n))
        v.u = (v.u & 0x8000000000000000ull) | 0x7FF8000000000000ull;
    return v;
}
BASE_INLINE Value val_boolean(bool b)
{
    return VAL_TAGGED(TAG_SPECIAL, b ? 2 : 1);
}
#define val_from(tag, p) VAL_TAGGED(tag, (uintptr_t)(p))
#define val_fromstring(s) val_from(TAG_STRING, s)
#define val_fromtable(t) val_from(TAG_TABLE, t)
#define val_fromclosure(c) val_from(TAG_FUNCTION, c)
#define val_fromudata(u) val_from(TAG_USERDATA, u)
#define val_fromobject(o) val_from(TAG_OBJECT, o) /* thread, buffer, vector, integer, upvalue */

/* enum lua_Type of a value (never LUA_TNONE). */
BASE_INLINE int val_type(Value v)
{
    if (val_isnumber(v))
        return LUA_TNUMBER;
    switch (val_tag(v)) {
    case TAG_SPECIAL: return val_isnil(v) ? LUA_TNIL : LUA_TBOOLEAN;
    case TAG_LIGHT: return LUA_TLIGHTUSERDATA;
    case TAG_STRING: return LUA_TSTRING;
    case TAG_TABLE: return LUA_TTABLE;
    case TAG_FUNCTION: return LUA_TFUNCTION;
    case TAG_USERDATA: return LUA_TUSERDATA;
    default: return val_object(v)->type;
    }
}
#define val_isobject(v, t) (val_tag(v) == TAG_OBJECT && val_object(v)->type == (t))
#define val_isvector(v) val_isobject(v, OBJ_VECTOR)
#define val_isinteger(v) val_isobject(v, OBJ_INTEGER)
/* In the heap, but equal by content: keys of tables like numbers, weak or not. */
#define val_isplain(v) (val_isstring(v) || val_isvector(v) || val_isinteger(v))
#define val_isbuffer(v) val_isobject(v, OBJ_BUFFER)
#define val_isthread(v) val_isobject(v, OBJ_THREAD)

#define object_iswhite(o) (((o)->mark & MARK_WHITES) != 0)
#define object_isblack(o) (((o)->mark & MARK_BLACK) != 0)
#define object_isshared(o) (((o)->mark & MARK_SHARED) != 0)

/* Native integer of a double: truncation; out of range, NaN: -2^31 (x86's answer; see 5.4). */
BASE_INLINE int val_toint(double n)
{
    return n > -2147483649.0 && n < 2147483648.0 ? (int)n : (int)(-2147483647 - 1);
}
/* 32 bits of a double: truncation to int64, low word; beyond int64 and NaN: 0. */
BASE_INLINE unsigned val_tounsigned(double n)
{
    return n > -9223372036854775809.0 && n < 9223372036854775808.0 ? (unsigned)(int64_t)n : 0;
}

#endif
