/* codegen.h: what the compiler's files share: the state of a compilation and of each function being
 * compiled, the emitter (codegen.c), and the parts of the compiler. Only compile*.c include it. */
#ifndef LUAU_CODEGEN_H
#define LUAU_CODEGEN_H

#include "luau/compile.h"

typedef struct Func Func;

/* Jumps that wait for the same target: 1 + the index of the newest in Func.jumps; 0: none. */
typedef int32_t JumpList;

typedef struct Jump {
    int32_t pc, target; /* target -1: not known yet */
    JumpList next;
} Jump;

typedef struct Loop {
    struct Loop *outer;
    JumpList breaks, continues;
    int local_count; /* locals alive where breaks and continues land */
    int continue_local_count;
} Loop;

/* What a pass over the tree finds out about a local (AstLocal.data, made on first use). */
typedef struct LocalInfo {
    const AstExpr *constant;  /* its value, a literal; uses become it, so it has no register */
    AstExpr *init;            /* value of a never-assigned local, or NULL */
    AstFunction *function;    /* the function it was declared as, or initialised with */
    const AstExpr *table;     /* an empty constructor it was initialised with, and the sizes that */
    int hash_count, array_count; /* later stores ask for (reference 13.2) */
    int loop_bound;           /* `for local = 1, loop_bound` */
} LocalInfo;

/* What is known of a compiled function (AstFunction.data). */
typedef struct FunctionInfo {
    Proto *proto;
    AstLocal **upvals;
    int upval_count;
    bool shared; /* evaluating it again may give the same object (reference 6.6) */
} FunctionInfo;

/* A set of pairs of pointers. */
typedef struct PairSet {
    const void *(*slots)[2];
    uint32_t size, count;
} PairSet;

typedef struct Compiler {
    luau_Module *module;
    Arena *arena;
    const luau_CompileOptions *options;
    int optimization;
    int poll_countdown;
    PairSet globals; /* (name, NULL): assigned somewhere in the chunk */
    PairSet fields;  /* (local, name): already counted in hash_count */
    Proto **protos;
    int proto_count, proto_capacity;
    ParseError *error;
    jmp_buf limit; /* luC_error comes here */
} Compiler;

typedef struct ShapeEntry {
    const Value *keys;
    int key_count, node_count;
    uint32_t hash;
} ShapeEntry;

/* A function being compiled. Registers below `top` are in use: locals from the bottom, temporaries
 * above. The current line is set to a node's first line when its code begins, and not set back
 * after its parts (reference 9). */
struct Func {
    Compiler *c;
    AstFunction *ast;
    Instr *code;
    int32_t *lines;
    int code_count, code_capacity;
    Value *k;
    int k_count, k_capacity;
    int32_t *k_index; /* open addressing over k: 1 + index, 0: free */
    int k_index_size; /* power of two */
    Proto **children;
    int child_count, child_capacity;
    ShapeEntry *shapes;
    int shape_count, shape_capacity;
    Jump *jumps; /* pcs ascend */
    int jump_count, jump_capacity;
    AstLocal **locals; /* alive, oldest first */
    int local_count, local_capacity;
    AstLocal **upvals;
    int upval_count, upval_capacity;
    int top, top_max;
    int line;
    int cache_count;
    Loop *loop;
    const AstExpr *sized_table; /* the constructor to which these sizes belong */
    int sized_hash, sized_array;
};

/* ---- codegen.c: the emitter ------------------------------------------------------------------ */

BASE_NORETURN void luC_error(Compiler *c, Location location, const char *format, ...)
    BASE_PRINTF(3, 4);
void luC_poll(Compiler *c); /* once per statement or so */
bool luC_setadd(Compiler *c, PairSet *set, const void *a, const void *b); /* true: was new */
bool luC_sethas(const PairSet *set, const void *a, const void *b);
/* Makes room for one more element of `size` bytes. */
void *luC_room(Compiler *c, void *array, int count, int *capacity, size_t size);

BASE_INLINE void luC_line(Func *f, int line)
{
    f->line = line;
}
BASE_INLINE int luC_here(const Func *f)
{
    return f->code_count;
}
int luC_emit(Func *f, Instr instr); /* its index */
BASE_INLINE int luC_abc(Func *f, OpCode op, int a, int b, int c)
{
    return luC_emit(f, INSTR_ABC(op, a, b, c));
}
BASE_INLINE int luC_ad(Func *f, OpCode op, int a, int d)
{
    return luC_emit(f, INSTR_AD(op, a, d));
}
/* Jumps, added to *list; the second for those with an AUX word. */
void luC_jump(Func *f, OpCode op, int a, JumpList *list);
void luC_jumpaux(Func *f, OpCode op, int a, uint32_t aux, JumpList *list);
void luC_patch(Func *f, JumpList list, int target);
BASE_INLINE void luC_patchhere(Func *f, JumpList list)
{
    luC_patch(f, list, luC_here(f));
}
int luC_alloc(Func *f, Location location, int count); /* the first of `count` new registers */
int luC_constant(Func *f, Value v);
int luC_stringk(Func *f, const char *data, size_t length);
int luC_namek(Func *f, const AstName *name);
BASE_INLINE int luC_hint(const Func *f, int k)
{
    return (int)(val_string(f->k[k])->hash & 255); /* the key's main node, while sizes are small */
}
int luC_child(Func *f, Proto *proto, Location location);
/* Index of the shape with these keys (kept by pointer), or -1 if there is no room for more. */
int luC_shape(Func *f, const Value *keys, int key_count, int node_count);
int luC_upvalue(Func *f, AstLocal *local);
void luC_pushlocal(Func *f, AstLocal *local, int reg);
/* CLOSEUPVALS for the locals from index `from` on, if any was captured by reference. */
void luC_closelocals(Func *f, int from);
void luC_poplocals(Func *f, int from);
/* The finished function; lists its proto in the compiler. */
Proto *luC_finish(Func *f);

/* ---- compile_fold.c -------------------------------------------------------------------------- */

/* Rewrites the tree: constant expressions and uses of constant locals become literals (from -O1
 * on). Collects assigned globals and LocalInfos. Checks continue against until. */
void luC_fold(Compiler *c, AstFunction *main);
LocalInfo *luC_info(Compiler *c, AstLocal *local);
BASE_INLINE bool luC_isliteral(const AstExpr *e)
{
    return e->kind >= AST_NIL && e->kind <= AST_STRING;
}
BASE_INLINE bool luC_istruthy(const AstExpr *literal)
{
    return literal->kind != AST_NIL && literal->kind != AST_FALSE;
}
bool luC_isconstant(const AstLocal *local); /* it has no register */
/* The empty constructor in `{}` or `setmetatable({}, ...)`, or NULL. */
const AstExpr *luC_emptytable(const AstExpr *e);

/* ---- compile.c: functions and statements ----------------------------------------------------- */

FunctionInfo *luC_function(Compiler *c, AstFunction *ast);

/* ---- compile_expr.c -------------------------------------------------------------------------- */

/* Value into `target`. temp: nothing else can see the register yet, so it may hold parts of the
 * value on the way; else only the last instruction writes it. */
void luC_expr(Func *f, AstExpr *e, int target, bool temp);
/* The same where the registers above target are free (though allocated). */
void luC_exprtop(Func *f, AstExpr *e, int target);
/* Value in some register: that of the local it is, or a new temporary. */
int luC_any(Func *f, AstExpr *e);
/* All values of e to `target` and above, for a consumer up to top: true; or just its one value. */
bool luC_multi(Func *f, AstExpr *e, int target);
bool luC_ismulti(const Func *f, const AstExpr *e);
/* `count` values of the list, adjusted, to base.., the last registers allocated. */
void luC_list_values(Func *f, AstExprList list, int base, int count, Location location);
void luC_side(Func *f, AstExpr *e); /* for its side effects only */
/* Jumps to *list if e is truthy (`when`), or falsy (not `when`); else goes on. */
void luC_condition(Func *f, AstExpr *e, bool when, JumpList *list);
int luC_register(const Func *f, const AstExpr *e); /* of the local that e is, or -1 */
Value luC_value(Func *f, const AstExpr *literal);
void luC_load(Func *f, const AstExpr *literal, int target);
int luC_numberk(Func *f, const AstExpr *e); /* constant index below 256, or -1 */
/* e as AST_INDEX_EXPR's key: the C of GETTABLEN, or -1. */
int luC_smallindex(const AstExpr *e);
void luC_closure(Func *f, AstExpr *e, int target);
/* The joined values of registers; for compound ..= too. Collects the operands of a .. chain. */
int luC_concatcount(const AstExpr *e);
void luC_concatoperands(Func *f, AstExpr *e, int base);

/* ---- compile_call.c -------------------------------------------------------------------------- */

/* e(...) with its first result at `base`. `room` registers from base on are allocated, and are the
 * last; results: -1 all. */
void luC_call(Func *f, AstExpr *e, int base, int room, int results);
/* The library value that global (or a.b, a.b.c) names, by GETIMPORT; false: not applicable. */
bool luC_import(Func *f, AstExpr *e, int target);
/* A chain of up to three names from a never-assigned global: all of it has its start's line. */
bool luC_isglobalchain(const Func *f, const AstExpr *e);
/* The fast builtin (builtins.h) that a call of this expression reaches while nobody has changed the
 * environment, or BUILTIN_NONE. */
int luC_builtin(const Func *f, const AstExpr *callee);
/* A call of a library function with exactly one result (known from -O2 on only, as it takes for
 * granted that nobody replaces the function). */
bool luC_givesone(const Func *f, const AstExpr *call);

/* ---- compile_assign.c ------------------------------------------------------------------------ */

void luC_assign(Func *f, AstStat *stat);
void luC_compound(Func *f, AstStat *stat);
void luC_functionstat(Func *f, AstStat *stat);
void luC_localstat(Func *f, AstStat *stat);

/* ---- compile_table.c ------------------------------------------------------------------------- */

void luC_table(Func *f, AstExpr *e, int target, bool temp);

#endif
