/* ast.h: the syntax tree between parser (parse*.c) and compiler (compile*.c).
 *
 * All nodes, names and text live in one Arena. Types are parsed for their syntax and dropped: the
 * tree has none. Lines and columns count from 1; columns are in bytes. Lists are arrays. */
#ifndef LUAU_AST_H
#define LUAU_AST_H

#include <stdbool.h>
#include <stdint.h>

#include "luau/arena.h"

typedef struct Position { int line, column; } Position;
typedef struct Location { Position begin, end; } Location; /* end: past the last byte */

/* Interned for the compilation: equal names are the same pointer. NUL-terminated text. */
typedef struct AstName {
    uint32_t length;
    uint32_t hash;
    char text[];
} AstName;

typedef struct AstExpr AstExpr;
typedef struct AstStat AstStat;
typedef struct AstFunction AstFunction;
typedef struct AstBlock AstBlock;

/* A local variable or parameter. The parser makes one per declaration and binds each use to it. */
typedef struct AstLocal {
    const AstName *name;
    Location location;
    AstFunction *function; /* that declares it */
    int loop_depth;        /* loops of that function around the declaration */
    bool is_const;         /* `const` */
    bool assigned;         /* some statement assigns to it after its declaration */
    bool captured;         /* some inner function uses it */
    /* For the compiler's own use; zero from the parser. */
    int reg;
    int state;
    void *data;
} AstLocal;

typedef enum AstUnary { AST_NOT, AST_MINUS, AST_LENGTH } AstUnary;
typedef enum AstBinary {
    AST_ADD, AST_SUB, AST_MUL, AST_DIV, AST_IDIV, AST_MOD, AST_POW, AST_CONCAT,
    AST_NE, AST_EQ, AST_LT, AST_LE, AST_GT, AST_GE, AST_AND, AST_OR
} AstBinary;

typedef struct AstExprList { AstExpr **items; int count; } AstExprList;

typedef enum AstItemKind { AST_ITEM_LIST /* expr */, AST_ITEM_NAME /* name = expr */,
                           AST_ITEM_INDEX /* [key] = expr */ } AstItemKind;
typedef struct AstItem {
    AstItemKind kind;
    AstExpr *key; /* NAME: an AST_STRING expression; LIST: NULL */
    AstExpr *value;
} AstItem;

struct AstFunction {
    AstFunction *parent;   /* NULL for the main chunk */
    AstLocal **params;     /* `self` first where the declaration has a colon */
    int param_count;
    bool is_vararg, has_self;
    const AstName *debug_name; /* per reference 11.10, or NULL */
    AstBlock *body;
    Location location;     /* of the whole function */
    Location name_location; /* of the keyword `function` or the name: where errors about it point */
    int depth;             /* nesting; 0 for the main chunk */
    bool is_native;        /* @native; no effect */
    void *data;            /* for the compiler */
};

typedef enum AstExprKind {
    AST_GROUP,   /* (expr): cuts to one value */
    AST_NIL, AST_TRUE, AST_FALSE, AST_NUMBER, AST_INTEGER /* `5i` */, AST_STRING, AST_LOCAL,
    AST_GLOBAL, AST_VARARG, AST_CALL, AST_INDEX_NAME, AST_INDEX_EXPR, AST_FUNCTION, AST_TABLE,
    AST_UNARY, AST_BINARY, AST_IF_ELSE, AST_INTERP
    /* casts (x :: T) and f<<T>> leave their operand only */
} AstExprKind;

struct AstExpr {
    AstExprKind kind;
    Location location;
    union {
        AstExpr *group;
        double number;
        int64_t integer;
        struct { const char *data; uint32_t length; bool quoted; } string;
        struct { AstLocal *local; bool upvalue; /* declared in an outer function */ } local;
        const AstName *global;
        struct {
            AstExpr *func;  /* method call: an AST_INDEX_NAME with op ':' */
            AstExprList args;
            bool self;
            Location args_location; /* of the parenthesised list, table or string */
        } call;
        struct { AstExpr *object; const AstName *name; Location name_location; Position op_position;
                 char op; /* '.' or ':' */ } index_name;
        struct { AstExpr *object, *index; } index_expr;
        AstFunction *function;
        struct { AstItem *items; int count; } table;
        struct { AstUnary op; AstExpr *expr; } unary;
        struct { AstBinary op; AstExpr *left, *right; } binary;
        struct { AstExpr *condition, *yes, *no; bool has_else_if; } if_else;
        /* count expressions between count + 1 strings */
        struct { struct AstText { const char *data; uint32_t length; } *strings;
                 AstExpr **exprs; int count; } interp;
    };
};

typedef enum AstStatKind {
    AST_BLOCK, AST_IF, AST_WHILE, AST_REPEAT, AST_BREAK, AST_CONTINUE, AST_RETURN, AST_EXPR,
    AST_LOCAL_STAT, AST_FOR, AST_FOR_IN, AST_ASSIGN, AST_COMPOUND, AST_FUNCTION_STAT,
    AST_LOCAL_FUNCTION
    /* type aliases and type functions leave nothing */
} AstStatKind;

struct AstBlock {
    AstStat **items;
    int count;
    Location location;
};

struct AstStat {
    AstStatKind kind;
    Location location;
    bool has_semicolon;
    union {
        AstBlock block;
        struct { AstExpr *condition; AstBlock *then; AstStat *else_; /* AST_BLOCK, AST_IF or NULL */
        } if_;
        struct { AstExpr *condition; AstBlock *body; } while_;
        struct { AstExpr *condition; AstBlock *body; } repeat; /* which sees the body's locals */
        AstExprList return_;
        AstExpr *expr; /* a call */
        struct { AstLocal **vars; int var_count; AstExprList values; bool is_const;
                 bool has_equals; Location equals_location; } local;
        struct { AstLocal *var; AstExpr *from, *to, *step; /* step may be NULL */
                 AstBlock *body; } for_;
        struct { AstLocal **vars; int var_count; AstExprList values; AstBlock *body;
                 Location in_location; } for_in;
        struct { AstExprList vars, values; } assign;
        struct { AstBinary op; AstExpr *var, *value; } compound;
        struct { AstExpr *name; AstFunction *function; } function;      /* function a.b:c() */
        struct { AstLocal *local; AstFunction *function; } local_function; /* local / const */
    };
};

typedef struct ParseOptions {
    int (*poll)(void *userdata); /* called every few thousand tokens; nonzero stops */
    void *poll_userdata;
} ParseOptions;

typedef struct ParseError {
    Location location;
    const char *message; /* in the arena */
} ParseError;

typedef struct ParseResult {
    AstFunction *main;    /* NULL if there are errors */
    ParseError *errors;   /* in the order found; the first is the one a compilation reports */
    int error_count;
    int line_count;
    int optimize_hint;    /* N of a leading --!optimize N, or -1 */
} ParseResult;

/* Parses one chunk. With max_errors 1 it stops at the first error; with more it recovers and goes
 * on. Out of memory longjmps to arena->fail. Recursion is bounded by the language's own depth limit
 * (1000, reference 4.3), so native stack use is bounded too. Any thread. */
ParseResult luP_parse(const char *source, size_t length, Arena *arena, int max_errors,
                      const ParseOptions *options);

#endif
