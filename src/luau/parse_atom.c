/* parse_atom.c: literals, constructors, function and if expressions. */
#include "luau/parse.h"

#include <string.h>

/* ---- numbers and strings ---- */

static AstExpr *number_expr(Parser *p)
{
    static const char *const messages[] = {
        [NUMBER_MALFORMED] = "Malformed number",
        [NUMBER_BAD_INTEGER] = "Malformed integer",
        [NUMBER_OVERFLOW] = "Integer overflow",
    };
    Location location = luP_token(p)->location;
    double value;
    int64_t integer;
    NumberStatus status = luX_number_value(p->arena, luP_token(p), &value, &integer);
    luP_next(p);
    if (status == NUMBER_INTEGER) {
        AstExpr *expr = luP_new_expr(p, AST_INTEGER, location);
        expr->integer = integer;
        return expr;
    }
    if (status != NUMBER_OK)
        luP_report(p, location, "%s", messages[status]);
    AstExpr *expr = luP_new_expr(p, AST_NUMBER, location);
    expr->number = value;
    return expr;
}

static const char malformed_escape[] = "String literal contains malformed escape sequence";
static const char double_braces[] =
    "Double braces are not permitted within interpolated strings; did you mean '\\{'?";

AstExpr *luP_string(Parser *p)
{
    Location location = luP_token(p)->location;
    bool quoted = luP_kind(p) != TK_RAW_STRING;
    const char *data;
    uint32_t length;
    bool valid = luX_string_value(p->arena, luP_token(p), &data, &length);
    luP_next(p);
    if (!valid) {
        luP_report(p, location, malformed_escape);
        return luP_error_expr(p, location);
    }
    AstExpr *expr = luP_new_string(p, location, data, length);
    expr->string.quoted = quoted;
    return expr;
}

/* What stands between two texts of an interpolated string. False if the string cannot go on: the
 * error is reported. `text` is the place of the text before. */
static bool interp_value(Parser *p, Location start, Location text, AstExpr **value)
{
    static const char missing_quote[] =
        "Malformed interpolated string; did you forget to add a '`'?";
    int kind = luP_kind(p);
    if (kind == TK_INTERP_MID || kind == TK_INTERP_END || kind == TK_BAD_STRING) {
        luP_next(p);
        if (kind == TK_BAD_STRING)
            luP_report(p, text, missing_quote);
        else
            luP_report(p, text, "Malformed interpolated string, expected expression inside '{}'");
        return false;
    }
    *value = luP_expr(p);
    switch (luP_kind(p)) {
    case TK_INTERP_BEGIN:
    case TK_INTERP_MID:
    case TK_INTERP_END: return true;
    case TK_BAD_DOUBLE_BRACE:
        luP_next(p);
        luP_report(p, text, double_braces);
        return false;
    case TK_BAD_STRING:
        luP_next(p);
        luP_report(p, text, missing_quote);
        return false;
    case TK_EOF:
        luP_report(p, luP_span(start.begin, p->lex.previous.end),
                   "Malformed interpolated string; did you forget to add a '}'?");
        return false;
    default:
        luP_report(p, text, "Malformed interpolated string, got %s", luP_token_text(p));
        return false;
    }
}

AstExpr *luP_interp(Parser *p)
{
    typedef struct AstText Text;
    Location start = luP_token(p)->location, here = start;
    size_t mark = p->scratch_used;
    struct {
        Text text;
        AstExpr *expr;
    } part;
    for (;;) {
        int kind = luP_kind(p);
        here = luP_token(p)->location;
        part.expr = NULL;
        bool valid = luX_string_value(p->arena, luP_token(p), &part.text.data, &part.text.length);
        luP_next(p);
        if (!valid)
            luP_report(p, luP_span(start.begin, here.end),
                       "Interpolated string literal contains malformed escape sequence");
        bool last = kind == TK_INTERP_END || kind == TK_INTERP_SIMPLE;
        if (!last && !interp_value(p, start, here, &part.expr)) {
            p->scratch_used = mark;
            return luP_error_expr(p, luP_span(start.begin, p->lex.previous.end));
        }
        luP_push(p, &part, sizeof(part));
        if (last)
            break;
    }
    size_t count = (p->scratch_used - mark) / sizeof(part);
    AstExpr *expr = luP_new_expr(p, AST_INTERP, luP_span(start.begin, here.end));
    expr->interp.strings = luA_alloc(p->arena, count * sizeof(Text));
    expr->interp.exprs = luA_alloc(p->arena, count * sizeof(AstExpr *));
    expr->interp.count = (int)count - 1;
    for (size_t i = 0; i < count; i++) {
        memcpy(&part, p->scratch + mark + i * sizeof(part), sizeof(part));
        expr->interp.strings[i] = part.text;
        expr->interp.exprs[i] = part.expr;
    }
    p->scratch_used = mark;
    return expr;
}

/* ---- constructors ---- */

static AstItem table_item(Parser *p)
{
    AstItem item = {AST_ITEM_LIST, NULL, NULL};
    if (luP_kind(p) == '[') {
        Opener opener = luP_opener(p);
        luP_next(p);
        item.kind = AST_ITEM_INDEX;
        item.key = luP_expr(p);
        luP_expect_close(p, ']', opener, NULL);
        luP_expect(p, '=', "table field");
        item.value = luP_expr(p);
        return item;
    }
    if (luP_kind(p) != TK_NAME || luP_peek(p) != '=') {
        item.value = luP_expr(p);
        return item;
    }
    Binding name = luP_name(p, "table field");
    luP_expect(p, '=', "table field");
    item.kind = AST_ITEM_NAME;
    item.key = luP_new_string(p, name.location, name.name->text, name.name->length);
    item.value = luP_expr(p);
    if (item.value->kind == AST_FUNCTION && item.value != p->cast)
        item.value->function->debug_name = name.name;
    return item;
}

/* Whether a constructor that lacks a separator here can be understood as going on. */
static bool may_start_item(int kind)
{
    return kind == TK_NUMBER || kind == TK_QUOTED_STRING || kind == TK_RAW_STRING || kind == '{' ||
           kind == TK_INTERP_SIMPLE || kind == TK_INTERP_BEGIN || kind == TK_NIL ||
           kind == TK_TRUE || kind == TK_FALSE;
}

AstExpr *luP_table(Parser *p)
{
    size_t mark = p->scratch_used;
    Opener opener = luP_opener(p);
    luP_expect(p, '{', "table literal");
    bool closed = false;
    while (luP_kind(p) != '}') {
        AstItem item = table_item(p);
        luP_push(p, &item, sizeof(item));
        int kind = luP_kind(p);
        if (kind == ',' || kind == ';') {
            luP_next(p);
        } else if (kind == '[' || kind == TK_NAME) {
            luP_report(p, luP_token(p)->location, "Expected ',' after table constructor element");
        } else if (kind != '}') {
            closed = luP_expect_close(p, '}', opener, NULL);
            if (closed || !may_start_item(luP_kind(p)))
                break;
        }
    }
    if (luP_kind(p) == '}' && !closed)
        luP_next(p);
    AstExpr *expr = luP_new_expr(p, AST_TABLE, luP_span(opener.position, p->lex.previous.end));
    expr->table.items = luP_finish(p, mark, sizeof(AstItem), &expr->table.count);
    return expr;
}

/* ---- the rest ---- */

static AstExpr *if_expr(Parser *p)
{
    Position start = luP_token(p)->location.begin;
    luP_next(p);
    AstExpr *condition = luP_expr(p);
    luP_expect(p, TK_THEN, "if then else expression");
    AstExpr *yes = luP_expr(p), *no;
    bool has_else_if = luP_kind(p) == TK_ELSEIF;
    if (has_else_if) {
        int depth = p->depth;
        luP_enter(p, "expression");
        no = if_expr(p);
        p->depth = depth;
    } else {
        luP_expect(p, TK_ELSE, "if then else expression");
        no = luP_expr(p);
    }
    AstExpr *expr = luP_new_expr(p, AST_IF_ELSE, luP_span(start, no->location.end));
    expr->if_else.condition = condition;
    expr->if_else.yes = yes;
    expr->if_else.no = no;
    expr->if_else.has_else_if = has_else_if;
    return expr;
}

static AstExpr *function_expr(Parser *p, const Attributes *attributes)
{
    FunctionHead head = {.keyword = luP_opener(p), .name_location = luP_token(p)->location};
    head.attributes = attributes;
    luP_next(p);
    AstFunction *function = luP_function_body(p, &head, NULL);
    AstExpr *expr = luP_new_expr(p, AST_FUNCTION, function->location);
    expr->function = function;
    return expr;
}

static AstExpr *attributed_expr(Parser *p)
{
    Location location = luP_token(p)->location;
    Attributes attributes = luP_attributes(p);
    if (luP_kind(p) == TK_FUNCTION)
        return function_expr(p, &attributes);
    luP_report(p, location, "Expected 'function' declaration after attribute, but got %s instead",
               luP_token_text(p));
    return luP_error_expr(p, location);
}

/* An expression of one token, which is consumed. */
static AstExpr *token_expr(Parser *p, AstExprKind kind)
{
    AstExpr *expr = luP_new_expr(p, kind, luP_token(p)->location);
    luP_next(p);
    return expr;
}

static AstExpr *bad_token(Parser *p, const char *message)
{
    Location location = luP_token(p)->location;
    luP_next(p);
    luP_report(p, location, "%s", message);
    return luP_error_expr(p, location);
}

AstExpr *luP_simple(Parser *p)
{
    switch (luP_kind(p)) {
    case TK_NIL: return token_expr(p, AST_NIL);
    case TK_TRUE: return token_expr(p, AST_TRUE);
    case TK_FALSE: return token_expr(p, AST_FALSE);
    case TK_NUMBER: return number_expr(p);
    case TK_FUNCTION: return function_expr(p, NULL);
    case TK_RAW_STRING:
    case TK_QUOTED_STRING:
    case TK_INTERP_SIMPLE: return luP_string(p);
    case TK_INTERP_BEGIN: return luP_interp(p);
    case TK_IF: return if_expr(p);
    case '{': return luP_table(p);
    case TK_ATTRIBUTE:
    case TK_ATTRIBUTE_OPEN: return attributed_expr(p);
    case TK_BAD_STRING: return bad_token(p, "Malformed string; did you forget to finish it?");
    case TK_BAD_DOUBLE_BRACE: return bad_token(p, double_braces);
    case TK_DOT3:
        if (!p->fs->function->is_vararg)
            return bad_token(p, "Cannot use '...' outside of a vararg function");
        return token_expr(p, AST_VARARG);
    default: return luP_primary(p, false);
    }
}
