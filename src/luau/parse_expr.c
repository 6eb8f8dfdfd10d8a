/* parse_expr.c: operators, and primary expressions with their suffixes: calls, fields, indexes. */
#include "luau/parse.h"

/* ---- operators (reference 3) ---- */

enum { UNARY_POWER = 8 };

typedef struct BinaryInfo {
    int kind; /* the token */
    AstBinary op;
    int left, right; /* binding powers */
} BinaryInfo;

static const BinaryInfo binary_ops[] = {
    {'+', AST_ADD, 6, 6},  {'-', AST_SUB, 6, 6},        {'*', AST_MUL, 7, 7},
    {'/', AST_DIV, 7, 7},  {TK_IDIV, AST_IDIV, 7, 7},   {'%', AST_MOD, 7, 7},
    {'^', AST_POW, 10, 9}, {TK_DOT2, AST_CONCAT, 5, 4}, {TK_NE, AST_NE, 3, 3},
    {TK_EQ, AST_EQ, 3, 3}, {'<', AST_LT, 3, 3},         {TK_LE, AST_LE, 3, 3},
    {'>', AST_GT, 3, 3},   {TK_GE, AST_GE, 3, 3},       {TK_AND, AST_AND, 2, 2},
    {TK_OR, AST_OR, 1, 1},
};

static const BinaryInfo *find_binary(int kind)
{
    for (size_t i = 0; i < BASE_ARRAY_COUNT(binary_ops); i++) {
        if (binary_ops[i].kind == kind)
            return &binary_ops[i];
    }
    return NULL;
}

/* At what another language writes for `meant`: reports it, and leaves its second token current. */
static const BinaryInfo *confused(Parser *p, int second, int meant, int limit, const char *message)
{
    const BinaryInfo *info = find_binary(meant);
    Location first = luP_token(p)->location;
    const Token *ahead = luX_lookahead(&p->lex);
    Position end = ahead->location.end;
    if (ahead->kind != second || ahead->location.begin.line != first.end.line ||
        ahead->location.begin.column != first.end.column || info->left <= limit)
        return NULL;
    luP_next(p);
    luP_report(p, luP_span(first.begin, end), "%s", message);
    return info;
}

/* The operator at the current token, which stays current; NULL if it is none. */
static const BinaryInfo *binary_op(Parser *p, int limit)
{
    int kind = luP_kind(p);
    if (kind == ')' || kind == ',' || kind == TK_NAME)
        return NULL;
    if (kind == '&')
        return confused(p, '&', TK_AND, limit, "Unexpected '&&'; did you mean 'and'?");
    if (kind == '|')
        return confused(p, '|', TK_OR, limit, "Unexpected '||'; did you mean 'or'?");
    if (kind == '!')
        return confused(p, '=', TK_NE, limit, "Unexpected '!='; did you mean '~='?");
    return find_binary(kind);
}

static bool unary_op(Parser *p, AstUnary *op)
{
    switch (luP_kind(p)) {
    case TK_NOT: *op = AST_NOT; return true;
    case '-': *op = AST_MINUS; return true;
    case '#': *op = AST_LENGTH; return true;
    case '!':
        luP_report(p, luP_token(p)->location, "Unexpected '!'; did you mean 'not'?");
        *op = AST_NOT;
        return true;
    default: return false;
    }
}

/* A cast or an instantiation gives one value, also of a call. */
static AstExpr *one_value(Parser *p, AstExpr *expr)
{
    if (expr->kind != AST_CALL && expr->kind != AST_VARARG)
        return expr;
    AstExpr *group = luP_new_expr(p, AST_GROUP, expr->location);
    group->group = expr;
    return group;
}

static AstExpr *cast_expr(Parser *p)
{
    AstExpr *expr = luP_simple(p);
    if (!luP_accept(p, TK_DOUBLE_COLON))
        return expr;
    luP_type(p);
    expr = one_value(p, expr);
    p->cast = expr;
    return expr;
}

static AstExpr *sub_expr(Parser *p, int limit)
{
    int depth = p->depth;
    luP_enter(p, "expression");
    Position start = luP_token(p)->location.begin;
    AstExpr *expr;
    AstUnary unary;
    if (unary_op(p, &unary)) {
        luP_next(p);
        AstExpr *operand = sub_expr(p, UNARY_POWER);
        expr = luP_new_expr(p, AST_UNARY, luP_span(start, operand->location.end));
        expr->unary.op = unary;
        expr->unary.expr = operand;
    } else {
        expr = cast_expr(p);
    }
    const BinaryInfo *info = binary_op(p, limit);
    while (info && info->left > limit) {
        luP_next(p);
        AstExpr *right = sub_expr(p, info->right);
        AstExpr *left = expr;
        expr = luP_new_expr(p, AST_BINARY, luP_span(start, right->location.end));
        expr->binary.op = info->op;
        expr->binary.left = left;
        expr->binary.right = right;
        info = binary_op(p, limit);
        luP_enter(p, "expression"); /* no recursion here, but a deeper tree */
    }
    p->depth = depth;
    return expr;
}

AstExpr *luP_expr(Parser *p)
{
    return sub_expr(p, 0);
}

AstExprList luP_expr_list(Parser *p)
{
    size_t mark = p->scratch_used;
    AstExpr *expr = luP_expr(p);
    luP_push(p, &expr, sizeof(expr));
    while (luP_accept(p, ',')) {
        if (luP_kind(p) == ')') {
            luP_report(p, luP_token(p)->location,
                       "Expected expression after ',' but got ')' instead");
            break;
        }
        expr = luP_expr(p);
        luP_push(p, &expr, sizeof(expr));
    }
    AstExprList list;
    list.items = luP_finish(p, mark, sizeof(AstExpr *), &list.count);
    return list;
}

/* ---- names and groups ---- */

AstExpr *luP_name_expr(Parser *p, const char *context)
{
    Binding name = luP_name(p, context);
    AstLocal *local = luX_entry(name.name)->binding;
    if (!local) {
        AstExpr *expr = luP_new_expr(p, AST_GLOBAL, name.location);
        expr->global = name.name;
        return expr;
    }
    if (local->function->depth < p->type_function_depth) {
        luP_report(p, luP_token(p)->location, "Type function cannot reference outer local '%s'",
                   local->name->text);
        return luP_error_expr(p, name.location);
    }
    AstExpr *expr = luP_new_expr(p, AST_LOCAL, name.location);
    expr->local.local = local;
    expr->local.upvalue = local->function != p->fs->function;
    if (expr->local.upvalue && p->typeof_depth == 0)
        local->captured = true;
    return expr;
}

static AstExpr *prefix_expr(Parser *p)
{
    if (luP_kind(p) != '(')
        return luP_name_expr(p, "expression");
    Opener opener = luP_opener(p);
    luP_next(p);
    AstExpr *inner = luP_expr(p);
    bool is_equals = luP_kind(p) == '=';
    luP_expect_close(p, ')', opener,
                     is_equals ? "; did you mean to use '{' when defining a table?" : NULL);
    AstExpr *expr = luP_new_expr(p, AST_GROUP, luP_span(opener.position, p->lex.previous.end));
    expr->group = inner;
    return expr;
}

/* ---- calls ---- */

AstExprList luP_args(Parser *p, Location *location)
{
    AstExprList args = {NULL, 0};
    Location here = luP_token(p)->location;
    if (luP_kind(p) == '(') {
        Opener opener = luP_opener(p);
        luP_next(p);
        if (luP_kind(p) != ')')
            args = luP_expr_list(p);
        luP_expect_close(p, ')', opener, NULL);
        *location = luP_span(here.begin, p->lex.previous.end);
        return args;
    }
    AstExpr *arg = luP_kind(p) == '{' ? luP_table(p) : luP_string(p);
    *location = luP_span(here.begin, p->lex.previous.end);
    args.items = luA_alloc(p->arena, sizeof(*args.items));
    args.items[0] = arg;
    args.count = 1;
    return args;
}

static void report_ambiguous_call(Parser *p)
{
    luP_report(p, luP_token(p)->location,
               "Ambiguous syntax: this looks like an argument list for a function call, but could "
               "also be a start of new statement; use ';' to separate statements");
}

static AstExpr *missing_args(Parser *p, const AstExpr *func)
{
    Location here = luP_token(p)->location;
    if (here.begin.line != func->location.end.line)
        luP_report(p, func->location, "Expected function call arguments after '('");
    else
        luP_report(p, luP_span(func->location.begin, here.begin),
                   "Expected '(', '{' or <string> when parsing function call, got %s",
                   luP_token_text(p));
    return luP_error_expr(p, func->location);
}

static AstExpr *call_expr(Parser *p, AstExpr *func, bool self)
{
    int kind = luP_kind(p);
    if (kind == '(' && func->location.end.line != luP_token(p)->location.begin.line)
        report_ambiguous_call(p);
    else if (kind != '(' && kind != '{' && kind != TK_RAW_STRING && kind != TK_QUOTED_STRING)
        return missing_args(p, func);
    Location args_location;
    AstExprList args = luP_args(p, &args_location);
    AstExpr *expr = luP_new_expr(p, AST_CALL, luP_span(func->location.begin, p->lex.previous.end));
    expr->call.func = func;
    expr->call.args = args;
    expr->call.self = self;
    expr->call.args_location = args_location;
    return expr;
}

static bool at_instantiation(Parser *p)
{
    return luP_kind(p) == '<' && luP_peek(p) == '<';
}

/* At `<<`: type arguments, without effect. */
static void instantiation(Parser *p)
{
    Opener opener = luP_opener(p);
    luP_next(p);
    luP_type_params(p);
    luP_expect_close(p, '>', opener, NULL);
}

/* ---- suffixes ---- */

static AstExpr *field_expr(Parser *p, Position start, AstExpr *object, char op)
{
    Position op_position = luP_token(p)->location.begin;
    luP_next(p);
    Binding name = luP_index_name(p, op == ':' ? "method name" : NULL, op_position.line);
    AstExpr *expr = luP_new_expr(p, AST_INDEX_NAME, luP_span(start, name.location.end));
    expr->index_name.object = object;
    expr->index_name.name = name.name;
    expr->index_name.name_location = name.location;
    expr->index_name.op_position = op_position;
    expr->index_name.op = op;
    return expr;
}

static AstExpr *index_expr(Parser *p, Position start, AstExpr *object)
{
    Opener opener = luP_opener(p);
    luP_next(p);
    AstExpr *index = luP_expr(p);
    luP_expect_close(p, ']', opener, NULL);
    AstExpr *expr = luP_new_expr(p, AST_INDEX_EXPR, luP_span(start, p->lex.previous.end));
    expr->index_expr.object = object;
    expr->index_expr.index = index;
    return expr;
}

/* One suffix of expr, or NULL if none follows. */
static AstExpr *suffix_expr(Parser *p, Position start, AstExpr *expr, bool as_statement)
{
    switch (luP_kind(p)) {
    case '.': return field_expr(p, start, expr, '.');
    case '[': return index_expr(p, start, expr);
    case ':':
        expr = field_expr(p, start, expr, ':');
        if (at_instantiation(p))
            instantiation(p);
        return call_expr(p, expr, true);
    case '(':
        if (!as_statement && expr->location.end.line != luP_token(p)->location.begin.line) {
            report_ambiguous_call(p);
            return NULL;
        }
        return call_expr(p, expr, false);
    case '{':
    case TK_RAW_STRING:
    case TK_QUOTED_STRING: return call_expr(p, expr, false);
    case '<':
        if (!at_instantiation(p))
            return NULL;
        instantiation(p);
        expr = one_value(p, expr);
        p->instantiated = expr;
        return expr;
    default: return NULL;
    }
}

AstExpr *luP_primary(Parser *p, bool as_statement)
{
    Position start = luP_token(p)->location.begin;
    AstExpr *expr = prefix_expr(p);
    int depth = p->depth;
    for (;;) {
        AstExpr *next = suffix_expr(p, start, expr, as_statement);
        if (!next)
            break;
        expr = next;
        luP_enter(p, "expression"); /* no recursion here, but a deeper tree */
    }
    p->depth = depth;
    return expr;
}
