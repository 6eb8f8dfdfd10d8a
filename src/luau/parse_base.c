/* parse_base.c: errors, required tokens, nodes, lists and scopes of the parser. */
#include "luau/parse.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- errors ---- */

static bool same_location(Location a, Location b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

static void add_error(Parser *p, Location location, const char *message)
{
    if (p->error_count == p->error_capacity) {
        int capacity = p->error_capacity ? p->error_capacity * 2 : 4;
        p->errors = luA_grow(p->arena, p->errors, (size_t)p->error_count * sizeof(ParseError),
                             (size_t)capacity * sizeof(ParseError));
        p->error_capacity = capacity;
    }
    p->errors[p->error_count++] = (ParseError){location, message};
    p->error_serial = p->lex.serial;
}

/* A second error at the same place, or without a token in between, is an echo of the first. */
void luP_report(Parser *p, Location location, const char *format, ...)
{
    if (p->error_count > 0 && (p->error_serial == p->lex.serial ||
                               same_location(p->errors[p->error_count - 1].location, location)))
        return;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        longjmp(*p->arena->fail, ARENA_NOMEM);
    char *message = luA_alloc(p->arena, (size_t)length + 1);
    va_start(args, format);
    vsnprintf(message, (size_t)length + 1, format, args);
    va_end(args);
    add_error(p, location, message);
    if (p->error_count >= p->max_errors)
        longjmp(p->stop, 1);
}

void luP_fatal(Parser *p, Location location, const char *message)
{
    size_t size = strlen(message) + 1;
    add_error(p, location, luA_grow(p->arena, message, size, size));
    longjmp(p->stop, 1);
}

const char *luP_token_text(Parser *p)
{
    return luX_token_text(p->arena, luP_token(p));
}

void luP_enter(Parser *p, const char *what)
{
    if (BASE_LIKELY(++p->depth <= PARSE_DEPTH_MAX))
        return;
    char message[128];
    snprintf(message, sizeof(message),
             "Exceeded allowed recursion depth; simplify your %s to make the code compile", what);
    luP_fatal(p, luP_token(p)->location, message);
}

/* ---- tokens ---- */

bool luP_accept(Parser *p, int kind)
{
    if (luP_kind(p) != kind)
        return false;
    luP_next(p);
    return true;
}

Opener luP_opener(const Parser *p)
{
    return (Opener){luP_kind(p), luP_token(p)->location.begin};
}

bool luP_ends_block(int kind)
{
    return kind == TK_EOF || kind == TK_ELSE || kind == TK_ELSEIF || kind == TK_END ||
           kind == TK_UNTIL;
}

bool luP_starts_statement(int kind)
{
    return kind == TK_IF || kind == TK_WHILE || kind == TK_DO || kind == TK_FOR ||
           kind == TK_REPEAT || kind == TK_FUNCTION || kind == TK_LOCAL || kind == TK_RETURN ||
           kind == TK_BREAK;
}

bool luP_skip_to(Parser *p, int kind)
{
    int line = p->lex.previous.end.line;
    while (luP_kind(p) != kind) {
        int k = luP_kind(p);
        if (luP_ends_block(k) || luP_starts_statement(k) ||
            luP_token(p)->location.begin.line != line)
            return false;
        luP_next(p);
    }
    luP_next(p);
    return true;
}

bool luP_expect(Parser *p, int kind, const char *context)
{
    if (BASE_LIKELY(luP_accept(p, kind)))
        return true;
    const char *want = luX_kind_text(p->arena, kind), *got = luP_token_text(p);
    if (context)
        luP_report(p, luP_token(p)->location, "Expected %s when parsing %s, got %s", want, context,
                   got);
    else
        luP_report(p, luP_token(p)->location, "Expected %s, got %s", want, got);
    if (kind == TK_THEN || kind == TK_DO) {
        luP_skip_to(p, kind);
    } else if (luP_kind(p) != TK_EOF && luP_peek(p) == kind) {
        luP_next(p);
        luP_next(p);
    }
    return false;
}

static void report_close(Parser *p, int kind, Opener opener, const char *extra)
{
    const char *want = luX_kind_text(p->arena, kind);
    const char *open = luX_kind_text(p->arena, opener.kind), *got = luP_token_text(p);
    Location location = luP_token(p)->location;
    bool same_line = location.begin.line == opener.position.line;
    luP_report(p, location, "Expected %s (to close %s at %s %d), got %s%s", want, open,
               same_line ? "column" : "line",
               same_line ? opener.position.column : opener.position.line, got, extra ? extra : "");
}

bool luP_expect_close(Parser *p, int kind, Opener opener, const char *extra)
{
    if (BASE_LIKELY(luP_accept(p, kind)))
        return true;
    report_close(p, kind, opener, extra);
    return luP_skip_to(p, kind);
}

bool luP_expect_end(Parser *p, int kind, Opener opener)
{
    Position here = luP_token(p)->location.begin;
    if (BASE_LIKELY(luP_accept(p, kind))) {
        if (here.line != opener.position.line && here.column != opener.position.column &&
            p->suspect.position.line < opener.position.line)
            p->suspect = opener;
        return true;
    }
    char hint[80] = "";
    if (p->suspect.kind != TK_EOF && p->suspect.position.line > opener.position.line)
        snprintf(hint, sizeof(hint), "; did you forget to close %s at line %d?",
                 luX_kind_text(p->arena, p->suspect.kind), p->suspect.position.line);
    report_close(p, kind, opener, hint);
    return false;
}

static bool try_name(Parser *p, const char *context, Binding *binding)
{
    const Token *token = luP_token(p);
    *binding = (Binding){token->name, token->location};
    if (BASE_LIKELY(token->kind == TK_NAME)) {
        luP_next(p);
        return true;
    }
    if (context)
        luP_report(p, token->location, "Expected identifier when parsing %s, got %s", context,
                   luP_token_text(p));
    else
        luP_report(p, token->location, "Expected identifier, got %s", luP_token_text(p));
    binding->name = p->names.error;
    binding->location.end = binding->location.begin;
    return false;
}

Binding luP_name(Parser *p, const char *context)
{
    Binding binding;
    try_name(p, context, &binding);
    return binding;
}

Binding luP_index_name(Parser *p, const char *context, int line)
{
    Binding binding;
    if (!try_name(p, context, &binding) && luP_kind(p) >= TK_FIRST_RESERVED &&
        luP_token(p)->location.begin.line == line)
        luP_next(p);
    return binding;
}

/* ---- nodes and lists ---- */

AstExpr *luP_new_expr(Parser *p, AstExprKind kind, Location location)
{
    AstExpr *expr = luA_new(p->arena, AstExpr);
    expr->kind = kind;
    expr->location = location;
    return expr;
}

AstStat *luP_new_stat(Parser *p, AstStatKind kind, Location location)
{
    AstStat *stat = luA_new(p->arena, AstStat);
    stat->kind = kind;
    stat->location = location;
    return stat;
}

AstExpr *luP_new_string(Parser *p, Location location, const char *data, uint32_t length)
{
    AstExpr *expr = luP_new_expr(p, AST_STRING, location);
    expr->string.data = data;
    expr->string.length = length;
    return expr;
}

/* A global of an impossible name: it can stand wherever an expression or a variable can. */
AstExpr *luP_error_expr(Parser *p, Location location)
{
    AstExpr *expr = luP_new_expr(p, AST_GLOBAL, location);
    expr->global = p->names.error;
    return expr;
}

void luP_push(Parser *p, const void *item, size_t size)
{
    if (BASE_UNLIKELY(size > p->scratch_capacity - p->scratch_used)) {
        size_t capacity = p->scratch_capacity ? p->scratch_capacity * 2 : 1024;
        p->scratch = luA_grow(p->arena, p->scratch, p->scratch_used, capacity);
        p->scratch_capacity = capacity;
    }
    memcpy(p->scratch + p->scratch_used, item, size);
    p->scratch_used += size;
}

void *luP_finish(Parser *p, size_t mark, size_t item_size, int *count)
{
    size_t size = p->scratch_used - mark;
    BASE_DEBUG(size % item_size == 0 && size / item_size <= INT_MAX);
    p->scratch_used = mark;
    *count = (int)(size / item_size);
    return size ? luA_grow(p->arena, p->scratch + mark, size, size) : NULL;
}

/* ---- scopes ---- */

AstLocal *luP_declare(Parser *p, Binding binding, bool is_const)
{
    NameEntry *entry = luX_entry(binding.name);
    AstLocal *local = luA_new(p->arena, AstLocal);
    local->name = binding.name;
    local->location = binding.location;
    local->function = p->fs->function;
    local->loop_depth = p->fs->loop_depth;
    local->is_const = is_const;
    if (p->scope_count == p->scope_capacity) {
        int capacity = p->scope_capacity ? p->scope_capacity * 2 : 64;
        p->scope = luA_grow(p->arena, p->scope, (size_t)p->scope_count * sizeof(ScopeEntry),
                            (size_t)capacity * sizeof(ScopeEntry));
        p->scope_capacity = capacity;
    }
    p->scope[p->scope_count++] = (ScopeEntry){local, entry->binding};
    entry->binding = local;
    return local;
}

void luP_close_scope(Parser *p, int scope_count)
{
    while (p->scope_count > scope_count) {
        ScopeEntry *e = &p->scope[--p->scope_count];
        luX_entry(e->local->name)->binding = e->hidden;
    }
}
