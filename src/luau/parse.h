/* parse.h: what the parts of the parser share. Internal.
 *
 * parse.c has chunks, blocks and statements, parse_decl.c declarations, parse_expr.c and
 * parse_atom.c expressions, parse_type.c types, parse_attr.c attributes, parse_base.c what all of
 * them use.
 *
 * A recursive-descent parser. Each function is called with its first token current and leaves the
 * first token after it current. An error is recorded by luP_report, which does not return once
 * max_errors are found: with max_errors 1 there is no recovery at all. Otherwise the caller goes on
 * with some node in place of what is missing; a tree with errors is never given out.
 *
 * Depth: p->depth counts nesting as the language's own limit does (reference 4.3). Whoever recurses
 * or makes the tree deeper calls luP_enter; who started a construct puts back the depth it had. */
#ifndef LUAU_PARSE_H
#define LUAU_PARSE_H

#include <setjmp.h>

#include "base/base.h"
#include "luau/ast.h"
#include "luau/lex.h"

enum { PARSE_DEPTH_MAX = 1000, PARSE_TYPE_PARTS_MAX = 1000 };

/* A token that another one has to close. */
typedef struct Opener {
    int kind;
    Position position;
} Opener;

typedef struct Binding {
    const AstName *name;
    Location location;
} Binding;

/* A local in scope, and the one of the same name that it hides. */
typedef struct ScopeEntry {
    AstLocal *local, *hidden;
} ScopeEntry;

typedef struct FunctionState {
    AstFunction *function;
    int loop_depth;
} FunctionState;

/* The names that mean something in some places. */
typedef struct ParserNames {
    const AstName *self, *type, *export_, *const_, *continue_, *typeof_, *read, *write, *error;
} ParserNames;

typedef struct Attributes {
    Location location; /* of the first, if any */
    bool any, native, checked, deprecated;
} Attributes;

typedef struct Parser {
    Lexer lex;
    Arena *arena;
    jmp_buf stop; /* where luP_report goes after the last error */

    ParseError *errors;
    int error_count, error_capacity, max_errors;
    size_t error_serial; /* lex.serial at the last error */

    int depth;
    int block_depth; /* blocks open; 1 in the main one */
    FunctionState *fs;

    ScopeEntry *scope;
    int scope_count, scope_capacity;

    /* Functions of this depth and below are outside of the type function being parsed; 0: none. */
    int type_function_depth;
    int typeof_depth; /* > 0: in the operand of a typeof, which makes no code */

    /* The latest block whose `end` stood on another line and in another column than its opener. */
    Opener suspect;

    /* The expression that was just the operand of a cast, or of an f<<T>>. The tree does not
     * show it, but the result is no variable, and no plain function. */
    const AstExpr *cast, *instantiated;

    bool has_export, has_return; /* for their conflict at the top level */

    /* A stack of lists being built; luP_finish moves one into an array of its own. */
    char *scratch;
    size_t scratch_used, scratch_capacity;

    ParserNames names;
} Parser;

/* ---- parse_base.c ---- */

static inline const Token *luP_token(const Parser *p)
{
    return &p->lex.current;
}

static inline int luP_kind(const Parser *p)
{
    return p->lex.current.kind;
}

static inline bool luP_recovers(const Parser *p)
{
    return p->max_errors > 1;
}

static inline Location luP_span(Position begin, Position end)
{
    return (Location){begin, end};
}

/* Consumes the current token. */
static inline void luP_next(Parser *p)
{
    luX_next(&p->lex);
}

/* Consumes the current token if it is of that kind. */
bool luP_accept(Parser *p, int kind);
static inline int luP_peek(Parser *p)
{
    return luX_lookahead(&p->lex)->kind;
}

void luP_report(Parser *p, Location location, const char *format, ...) BASE_PRINTF(3, 4);
/* Ends the parse whatever max_errors is. */
BASE_NORETURN void luP_fatal(Parser *p, Location location, const char *message);
const char *luP_token_text(Parser *p);
void luP_enter(Parser *p, const char *what);

Opener luP_opener(const Parser *p);
/* A token that must be here; context as in "when parsing C", or NULL. */
bool luP_expect(Parser *p, int kind, const char *context);
/* The token that closes `opener`. `extra` is added to the message; may be NULL. */
bool luP_expect_close(Parser *p, int kind, Opener opener, const char *extra);
/* The same for the end of a block, with the hint at another block which may lack its end. */
bool luP_expect_end(Parser *p, int kind, Opener opener);
/* Recovery: consumes tokens of this line until one of that kind is consumed, but stops before what
 * seems to start or end a statement. */
bool luP_skip_to(Parser *p, int kind);
bool luP_ends_block(int kind);
bool luP_starts_statement(int kind); /* reserved words only */

/* A name; reports and gives a placeholder if there is none. context may be NULL. */
Binding luP_name(Parser *p, const char *context);
/* The same after `.` and `:`, whose line is given; takes a reserved word as one when recovering. */
Binding luP_index_name(Parser *p, const char *context, int line);

AstExpr *luP_new_expr(Parser *p, AstExprKind kind, Location location);
AstStat *luP_new_stat(Parser *p, AstStatKind kind, Location location);
AstExpr *luP_new_string(Parser *p, Location location, const char *data, uint32_t length);
AstExpr *luP_error_expr(Parser *p, Location location);

void luP_push(Parser *p, const void *item, size_t size);
/* The items pushed since scratch_used was `mark`, in the arena; NULL if there are none. */
void *luP_finish(Parser *p, size_t mark, size_t item_size, int *count);

AstLocal *luP_declare(Parser *p, Binding binding, bool is_const);
void luP_close_scope(Parser *p, int scope_count);

/* ---- parse.c ---- */
AstBlock *luP_block(Parser *p);
/* Reports what may not be assigned to, and marks locals as assigned. */
void luP_check_target(Parser *p, const AstExpr *expr);
AstStat *luP_error_stat(Parser *p, Location location);

/* ---- parse_decl.c: `start` is the place of a contextual keyword, consumed already ---- */
AstStat *luP_stat_type(Parser *p); /* gives NULL: types leave nothing */
AstStat *luP_stat_function(Parser *p, const Attributes *attributes);
AstStat *luP_stat_local(Parser *p, const Attributes *attributes);
AstStat *luP_stat_const(Parser *p, Location start, const Attributes *attributes);
AstStat *luP_stat_export(Parser *p, Location start, const Attributes *attributes);
AstStat *luP_stat_attributes(Parser *p);
bool luP_at_export(Parser *p); /* whether an export of a value follows `export` */

typedef struct FunctionHead {
    Opener keyword; /* the opener of its `end`, and the start of its location */
    Location name_location;
    const AstName *debug_name; /* may be NULL */
    bool has_self;
    const Binding *local_name; /* declared before the body; may be NULL */
    bool local_is_const;
    const Attributes *attributes; /* may be NULL */
} FunctionHead;
/* A function from its generics or parameters on. Sets *local if there is a local_name. */
AstFunction *luP_function_body(Parser *p, const FunctionHead *head, AstLocal **local);
Binding luP_binding(Parser *p);
/* Pushes bindings (luP_push); returns whether they ended in `...` (if allowed). */
bool luP_bindings(Parser *p, bool allow_dots);

/* ---- parse_expr.c, parse_atom.c ---- */
AstExpr *luP_expr(Parser *p);
AstExpr *luP_primary(Parser *p, bool as_statement);
AstExpr *luP_simple(Parser *p);
AstExpr *luP_name_expr(Parser *p, const char *context);
AstExprList luP_expr_list(Parser *p);
AstExpr *luP_string(Parser *p);
AstExpr *luP_interp(Parser *p);
AstExpr *luP_table(Parser *p);
/* The arguments of a call, at `(`, `{` or a string. Sets its place. */
AstExprList luP_args(Parser *p, Location *location);

/* ---- parse_type.c: types are checked and dropped ---- */
void luP_type(Parser *p);
void luP_optional_type(Parser *p); /* [":" type] */
void luP_optional_return_type(Parser *p);
void luP_vararg_type(Parser *p); /* after `...:` */
void luP_generics(Parser *p, bool with_defaults);
void luP_type_params(Parser *p); /* at `<` */

/* ---- parse_attr.c ---- */
Attributes luP_attributes(Parser *p);

#endif
