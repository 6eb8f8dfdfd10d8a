/* parse.c: chunks, blocks and statements.
 *
 * A statement that starts with a name is read as an expression first; what follows tells a call
 * from an assignment, and a bare `type`, `continue`, `const` or `export` is a keyword only then. */
#include "luau/parse.h"

#include <string.h>

/* ---- blocks ---- */

AstStat *luP_error_stat(Parser *p, Location location)
{
    return luP_new_stat(p, AST_BLOCK, location);
}

/* Whether a statement may well start, or a block end, at the current token. */
static bool at_boundary(Parser *p)
{
    int kind = luP_kind(p);
    bool first_on_line = luP_token(p)->location.begin.line > p->lex.previous.end.line;
    if (kind == TK_FUNCTION)
        return luP_peek(p) == TK_NAME;
    if (kind == TK_NAME || kind == '(')
        return first_on_line;
    return luP_ends_block(kind) || luP_starts_statement(kind) || kind == ';' ||
           kind == TK_ATTRIBUTE || kind == TK_ATTRIBUTE_OPEN;
}

/* After a statement with an error: leaves out what its parser could make no sense of. */
static void resync(Parser *p)
{
    while (!at_boundary(p)) {
        if (luP_kind(p) == TK_FUNCTION)
            luP_expr(p); /* it has an `end` of its own */
        else
            luP_next(p);
    }
}

static AstStat *statement(Parser *p);

static AstBlock *block_no_scope(Parser *p)
{
    AstBlock *block = luA_new(p->arena, AstBlock);
    size_t mark = p->scratch_used;
    block->location.begin = p->lex.previous.end;
    p->block_depth++;
    while (!luP_ends_block(luP_kind(p))) {
        int depth = p->depth, errors = p->error_count;
        size_t serial = p->lex.serial;
        luP_enter(p, "block");
        AstStat *stat = statement(p);
        p->depth = depth;
        if (p->error_count != errors) {
            resync(p);
            if (p->lex.serial == serial)
                luP_next(p);
        }
        bool semicolon = luP_accept(p, ';');
        if (!stat)
            continue;
        stat->has_semicolon = semicolon;
        luP_push(p, &stat, sizeof(stat));
        if (stat->kind == AST_BREAK || stat->kind == AST_CONTINUE || stat->kind == AST_RETURN)
            break;
    }
    p->block_depth--;
    block->location.end = luP_token(p)->location.begin;
    block->items = luP_finish(p, mark, sizeof(AstStat *), &block->count);
    return block;
}

AstBlock *luP_block(Parser *p)
{
    int scope = p->scope_count;
    AstBlock *block = block_no_scope(p);
    luP_close_scope(p, scope);
    return block;
}

static AstBlock *loop_block(Parser *p)
{
    p->fs->loop_depth++;
    AstBlock *block = luP_block(p);
    p->fs->loop_depth--;
    return block;
}

static AstStat *block_stat(Parser *p, const AstBlock *block)
{
    AstStat *stat = luP_new_stat(p, AST_BLOCK, block->location);
    stat->block = *block;
    return stat;
}

/* ---- control ---- */

static AstStat *stat_if(Parser *p)
{
    AstStat *stat = luP_new_stat(p, AST_IF, luP_token(p)->location);
    luP_next(p);
    stat->if_.condition = luP_expr(p);
    Opener opener = luP_opener(p);
    luP_expect(p, TK_THEN, "if statement");
    stat->if_.then = luP_block(p);
    if (luP_kind(p) == TK_ELSEIF) {
        int depth = p->depth;
        luP_enter(p, "elseif");
        stat->if_.else_ = stat_if(p);
        p->depth = depth;
    } else {
        if (luP_kind(p) == TK_ELSE) {
            opener = luP_opener(p);
            luP_next(p);
            stat->if_.else_ = block_stat(p, luP_block(p));
        }
        luP_expect_end(p, TK_END, opener);
    }
    stat->location.end = p->lex.previous.end;
    return stat;
}

static AstStat *stat_while(Parser *p)
{
    AstStat *stat = luP_new_stat(p, AST_WHILE, luP_token(p)->location);
    luP_next(p);
    stat->while_.condition = luP_expr(p);
    Opener opener = luP_opener(p);
    luP_expect(p, TK_DO, "while loop");
    stat->while_.body = loop_block(p);
    luP_expect_end(p, TK_END, opener);
    stat->location.end = p->lex.previous.end;
    return stat;
}

static AstStat *stat_repeat(Parser *p)
{
    AstStat *stat = luP_new_stat(p, AST_REPEAT, luP_token(p)->location);
    Opener opener = luP_opener(p);
    luP_next(p);
    int scope = p->scope_count;
    p->fs->loop_depth++;
    stat->repeat.body = block_no_scope(p);
    p->fs->loop_depth--;
    luP_expect_end(p, TK_UNTIL, opener);
    stat->repeat.condition = luP_expr(p);
    luP_close_scope(p, scope);
    stat->location.end = p->lex.previous.end;
    return stat;
}

static AstStat *stat_do(Parser *p)
{
    Opener opener = luP_opener(p);
    luP_next(p);
    AstStat *stat = block_stat(p, luP_block(p));
    luP_expect_end(p, TK_END, opener);
    stat->location = luP_span(opener.position, p->lex.previous.end);
    return stat;
}

static AstStat *stat_for_range(Parser *p, Location start, Binding name)
{
    AstStat *stat = luP_new_stat(p, AST_FOR, start);
    luP_next(p);
    stat->for_.from = luP_expr(p);
    luP_expect(p, ',', "index range");
    stat->for_.to = luP_expr(p);
    if (luP_accept(p, ','))
        stat->for_.step = luP_expr(p);
    Opener opener = luP_opener(p);
    luP_expect(p, TK_DO, "for loop");
    int scope = p->scope_count;
    p->fs->loop_depth++;
    stat->for_.var = luP_declare(p, name, false);
    stat->for_.body = luP_block(p);
    p->fs->loop_depth--;
    luP_close_scope(p, scope);
    luP_expect_end(p, TK_END, opener);
    stat->location.end = p->lex.previous.end;
    return stat;
}

static AstStat *stat_for_in(Parser *p, Location start, Binding first)
{
    AstStat *stat = luP_new_stat(p, AST_FOR_IN, start);
    size_t mark = p->scratch_used;
    luP_push(p, &first, sizeof(first));
    if (luP_accept(p, ','))
        luP_bindings(p, false);
    int count;
    const Binding *names = luP_finish(p, mark, sizeof(Binding), &count);
    stat->for_in.in_location = luP_token(p)->location;
    luP_expect(p, TK_IN, "for loop");
    stat->for_in.values = luP_expr_list(p);
    Opener opener = luP_opener(p);
    luP_expect(p, TK_DO, "for loop");
    int scope = p->scope_count;
    p->fs->loop_depth++;
    stat->for_in.vars = luA_alloc(p->arena, (size_t)count * sizeof(AstLocal *));
    stat->for_in.var_count = count;
    for (int i = 0; i < count; i++)
        stat->for_in.vars[i] = luP_declare(p, names[i], false);
    stat->for_in.body = luP_block(p);
    p->fs->loop_depth--;
    luP_close_scope(p, scope);
    luP_expect_end(p, TK_END, opener);
    stat->location.end = p->lex.previous.end;
    return stat;
}

static AstStat *stat_for(Parser *p)
{
    Location start = luP_token(p)->location;
    luP_next(p);
    Binding name = luP_binding(p);
    if (luP_kind(p) == '=')
        return stat_for_range(p, start, name);
    return stat_for_in(p, start, name);
}

/* ---- jumps ---- */

static AstStat *stat_return(Parser *p)
{
    AstStat *stat = luP_new_stat(p, AST_RETURN, luP_token(p)->location);
    luP_next(p);
    if (p->fs->function->depth == 0) {
        p->has_return = true;
        if (p->has_export)
            luP_report(p, stat->location,
                       "Exporting values is not compatible with top-level "
                       "return (export/return conflict)");
    }
    if (!luP_ends_block(luP_kind(p)) && luP_kind(p) != ';')
        stat->return_ = luP_expr_list(p);
    stat->location.end = p->lex.previous.end;
    return stat;
}

static AstStat *stat_break(Parser *p)
{
    AstStat *stat = luP_new_stat(p, AST_BREAK, luP_token(p)->location);
    luP_next(p);
    if (p->fs->loop_depth == 0)
        luP_report(p, stat->location, "break statement must be inside a loop");
    return stat;
}

static AstStat *stat_continue(Parser *p, Location location)
{
    if (p->fs->loop_depth == 0)
        luP_report(p, location, "continue statement must be inside a loop");
    return luP_new_stat(p, AST_CONTINUE, location);
}

/* ---- assignments ---- */

void luP_check_target(Parser *p, const AstExpr *expr)
{
    bool is_variable = expr->kind == AST_LOCAL || expr->kind == AST_GLOBAL ||
                       expr->kind == AST_INDEX_NAME || expr->kind == AST_INDEX_EXPR;
    if (!is_variable || expr == p->instantiated) {
        luP_report(p, expr->location, "Assigned expression must be a variable or a field");
        return;
    }
    if (expr->kind != AST_LOCAL)
        return;
    AstLocal *local = expr->local.local;
    if (local->is_const)
        luP_report(p, expr->location, "Variable '%s' is constant and may not be reassigned",
                   local->name->text);
    if (p->typeof_depth == 0)
        local->assigned = true;
}

static AstStat *stat_assign(Parser *p, AstExpr *first)
{
    AstStat *stat = luP_new_stat(p, AST_ASSIGN, first->location);
    size_t mark = p->scratch_used;
    luP_check_target(p, first);
    luP_push(p, &first, sizeof(first));
    while (luP_accept(p, ',')) {
        AstExpr *expr = luP_primary(p, true);
        luP_check_target(p, expr);
        luP_push(p, &expr, sizeof(expr));
    }
    stat->assign.vars.items = luP_finish(p, mark, sizeof(AstExpr *), &stat->assign.vars.count);
    luP_expect(p, '=', "assignment");
    stat->assign.values = luP_expr_list(p);
    stat->location.end = p->lex.previous.end;
    return stat;
}

static bool compound_op(int kind, AstBinary *op)
{
    switch (kind) {
    case TK_SET_ADD: *op = AST_ADD; return true;
    case TK_SET_SUB: *op = AST_SUB; return true;
    case TK_SET_MUL: *op = AST_MUL; return true;
    case TK_SET_DIV: *op = AST_DIV; return true;
    case TK_SET_IDIV: *op = AST_IDIV; return true;
    case TK_SET_MOD: *op = AST_MOD; return true;
    case TK_SET_POW: *op = AST_POW; return true;
    case TK_SET_CONCAT: *op = AST_CONCAT; return true;
    default: return false;
    }
}

static AstStat *stat_compound(Parser *p, AstBinary op, AstExpr *var)
{
    luP_check_target(p, var);
    luP_next(p);
    AstExpr *value = luP_expr(p);
    AstStat *stat = luP_new_stat(p, AST_COMPOUND,
                                 luP_span(var->location.begin, p->lex.previous.end));
    stat->compound.op = op;
    stat->compound.var = var;
    stat->compound.value = value;
    return stat;
}

/* ---- statements ---- */

/* Runs the statement of a contextual keyword; false if `word` is none here. */
static bool keyword_statement(Parser *p, const AstName *word, Location location, AstStat **stat)
{
    if (word == p->names.type) {
        *stat = luP_stat_type(p);
    } else if (word == p->names.continue_) {
        *stat = stat_continue(p, location);
    } else if (word == p->names.const_) {
        *stat = luP_stat_const(p, location, NULL);
    } else if (word == p->names.export_ && luP_kind(p) == TK_NAME &&
               luP_token(p)->name == p->names.type) {
        luP_next(p);
        *stat = luP_stat_type(p);
    } else if (word == p->names.export_ && luP_at_export(p)) {
        *stat = luP_stat_export(p, location, NULL);
    } else {
        return false;
    }
    return true;
}

static AstStat *expr_statement(Parser *p)
{
    size_t serial = p->lex.serial;
    int errors = p->error_count;
    AstExpr *expr = luP_primary(p, true);
    if (expr->kind == AST_CALL) {
        AstStat *stat = luP_new_stat(p, AST_EXPR, expr->location);
        stat->expr = expr;
        return stat;
    }
    if (luP_kind(p) == ',' || luP_kind(p) == '=')
        return stat_assign(p, expr);
    AstBinary op;
    if (compound_op(luP_kind(p), &op))
        return stat_compound(p, op, expr);

    const AstName *word = expr->kind == AST_GLOBAL  ? expr->global
                          : expr->kind == AST_LOCAL ? expr->local.local->name
                                                    : NULL;
    AstStat *stat;
    if (word && expr != p->instantiated && keyword_statement(p, word, expr->location, &stat))
        return stat;
    if (p->lex.serial == serial)
        luP_next(p);
    if (p->error_count == errors) /* else this is not what is wrong with it */
        luP_report(p, expr->location,
                   "Incomplete statement: expected assignment or a function call");
    return luP_error_stat(p, expr->location);
}

static AstStat *statement(Parser *p)
{
    switch (luP_kind(p)) {
    case TK_IF: return stat_if(p);
    case TK_WHILE: return stat_while(p);
    case TK_DO: return stat_do(p);
    case TK_FOR: return stat_for(p);
    case TK_REPEAT: return stat_repeat(p);
    case TK_FUNCTION: return luP_stat_function(p, NULL);
    case TK_LOCAL: return luP_stat_local(p, NULL);
    case TK_RETURN: return stat_return(p);
    case TK_BREAK: return stat_break(p);
    case TK_ATTRIBUTE:
    case TK_ATTRIBUTE_OPEN: return luP_stat_attributes(p);
    default: return expr_statement(p);
    }
}

/* ---- the chunk ---- */

static void init_names(Parser *p)
{
    const struct {
        const AstName **name;
        const char *text;
    } names[] = {
        {&p->names.self, "self"},          {&p->names.type, "type"},
        {&p->names.export_, "export"},     {&p->names.const_, "const"},
        {&p->names.continue_, "continue"}, {&p->names.typeof_, "typeof"},
        {&p->names.read, "read"},          {&p->names.write, "write"},
        {&p->names.error, "%error"},
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(names); i++)
        *names[i].name = luX_intern(&p->lex, names[i].text, strlen(names[i].text));
}

static void parse_chunk(Parser *p, AstFunction *function)
{
    FunctionState state = {function, 0};
    p->fs = &state;
    function->is_vararg = true;
    luP_next(p);
    /* The first token has no other before it. */
    p->lex.previous = luP_span((Position){1, 1}, (Position){1, 1});
    function->body = luP_block(p);
    while (luP_kind(p) != TK_EOF) {
        /* After an error, an `end` too many is a consequence. */
        bool ends = luP_ends_block(luP_kind(p));
        if (!ends || p->error_count == 0)
            luP_report(p, luP_token(p)->location, "Expected <eof>, got %s", luP_token_text(p));
        if (ends)
            luP_next(p);
        luP_block(p);
    }
    function->location = luP_span((Position){1, 1}, luP_token(p)->location.end);
    function->name_location = luP_span((Position){1, 1}, (Position){1, 1});
}

/* Apart from luP_parse, so that nothing which changes after the setjmp is local to it. */
static void parse_or_stop(Parser *p, AstFunction *function)
{
    if (setjmp(p->stop) == 0)
        parse_chunk(p, function);
}

ParseResult luP_parse(const char *source, size_t length, Arena *arena, int max_errors,
                      const ParseOptions *options)
{
    Parser parser;
    memset(&parser, 0, sizeof(parser));
    parser.arena = arena;
    parser.max_errors = max_errors < 1 ? 1 : max_errors;
    parser.suspect.kind = TK_EOF;
    parser.suspect.position = (Position){1, 1};
    luX_init(&parser.lex, source, length, arena, options);
    init_names(&parser);
    AstFunction *function = luA_new(arena, AstFunction);
    parse_or_stop(&parser, function);
    return (ParseResult){
        .main = parser.error_count == 0 ? function : NULL,
        .errors = parser.errors,
        .error_count = parser.error_count,
        .line_count = parser.lex.line,
        .optimize_hint = parser.lex.optimize_hint,
    };
}
