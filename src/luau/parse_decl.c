/* parse_decl.c: functions and what declares names: local, const, export, type, attributes. */
#include "luau/parse.h"

/* ---- functions ---- */

Binding luP_binding(Parser *p)
{
    Binding binding = luP_name(p, "variable name");
    luP_optional_type(p);
    return binding;
}

bool luP_bindings(Parser *p, bool allow_dots)
{
    do {
        if (allow_dots && luP_accept(p, TK_DOT3)) {
            if (luP_accept(p, ':'))
                luP_vararg_type(p);
            return true;
        }
        Binding binding = luP_binding(p);
        luP_push(p, &binding, sizeof(binding));
    } while (luP_accept(p, ','));
    return false;
}

static void declare_params(Parser *p, AstFunction *function, const Binding *params, int count,
                           const Location *self)
{
    int n = 0;
    function->param_count = count + (self ? 1 : 0);
    function->params = luA_alloc(p->arena, (size_t)function->param_count * sizeof(AstLocal *));
    if (self)
        function->params[n++] = luP_declare(p, (Binding){p->names.self, *self}, false);
    for (int i = 0; i < count; i++)
        function->params[n++] = luP_declare(p, params[i], false);
}

AstFunction *luP_function_body(Parser *p, const FunctionHead *head, AstLocal **local)
{
    const Attributes *attributes = head->attributes;
    AstFunction *function = luA_new(p->arena, AstFunction);
    function->parent = p->fs->function;
    function->depth = function->parent->depth + 1;
    function->debug_name = head->debug_name;
    function->name_location = head->name_location;
    function->has_self = head->has_self;
    function->is_native = attributes && attributes->native;

    luP_generics(p, false);
    Opener paren = luP_opener(p);
    luP_expect(p, '(', "function");
    size_t mark = p->scratch_used;
    if (luP_kind(p) != ')')
        function->is_vararg = luP_bindings(p, true);
    int count;
    const Binding *params = luP_finish(p, mark, sizeof(Binding), &count);
    luP_expect_close(p, ')', paren, NULL);
    luP_optional_return_type(p);
    if (head->local_name)
        *local = luP_declare(p, *head->local_name, head->local_is_const);

    FunctionState *outer = p->fs, state = {function, 0};
    int scope = p->scope_count;
    p->fs = &state;
    declare_params(p, function, params, count, head->has_self ? &head->name_location : NULL);
    function->body = luP_block(p);
    p->fs = outer;
    luP_close_scope(p, scope);

    bool attributed = attributes && attributes->any;
    Position begin = attributed ? attributes->location.begin : head->keyword.position;
    luP_expect_end(p, TK_END, head->keyword);
    function->location = luP_span(begin, p->lex.previous.end);
    return function;
}

/* `function a.b:c`, after the keyword. */
static AstExpr *function_name(Parser *p, FunctionHead *head)
{
    int depth = p->depth;
    AstExpr *expr = luP_name_expr(p, "function name");
    if (expr->kind == AST_LOCAL)
        head->debug_name = expr->local.local->name;
    else
        head->debug_name = expr->global;
    while (!head->has_self && (luP_kind(p) == '.' || luP_kind(p) == ':')) {
        head->has_self = luP_kind(p) == ':';
        Position op_position = luP_token(p)->location.begin;
        luP_next(p);
        Binding name = luP_name(p, head->has_self ? "method name" : "field name");
        AstExpr *object = expr;
        expr = luP_new_expr(p, AST_INDEX_NAME, luP_span(object->location.begin, name.location.end));
        expr->index_name.object = object;
        expr->index_name.name = name.name;
        expr->index_name.name_location = name.location;
        expr->index_name.op_position = op_position;
        expr->index_name.op = head->has_self ? ':' : '.';
        head->debug_name = name.name;
        if (!head->has_self)
            luP_enter(p, "function name");
    }
    p->depth = depth;
    head->name_location = expr->location;
    return expr;
}

AstStat *luP_stat_function(Parser *p, const Attributes *attributes)
{
    FunctionHead head = {.keyword = luP_opener(p), .attributes = attributes};
    luP_next(p);
    AstExpr *name = function_name(p, &head);
    luP_check_target(p, name);
    AstFunction *function = luP_function_body(p, &head, NULL);
    AstStat *stat = luP_new_stat(p, AST_FUNCTION_STAT, function->location);
    stat->function.name = name;
    stat->function.function = function;
    return stat;
}

/* ---- locals and constants ---- */

/* At `function` of a `local function` and its likes, which starts at `start`. */
static AstStat *local_function(Parser *p, Location start, bool is_const, const char *context,
                               const Attributes *attributes)
{
    FunctionHead head = {.keyword = luP_opener(p), .attributes = attributes};
    /* For the comparison with the column of `end`, the declaration is one token. */
    if (head.keyword.position.line == start.begin.line)
        head.keyword.position.column = start.begin.column;
    luP_next(p);
    Binding name = luP_name(p, context);
    head.name_location = name.location;
    head.debug_name = name.name;
    head.local_name = &name;
    head.local_is_const = is_const;
    AstLocal *local = NULL;
    AstFunction *function = luP_function_body(p, &head, &local);
    AstStat *stat = luP_new_stat(p, AST_LOCAL_FUNCTION,
                                 luP_span(start.begin, function->location.end));
    stat->local_function.local = local;
    stat->local_function.function = function;
    return stat;
}

static void check_initializers(Parser *p, Position begin, const Binding *last, int count,
                               AstExprList values)
{
    if (values.count >= count)
        return;
    AstExprKind kind = values.count > 0 ? values.items[values.count - 1]->kind : AST_NIL;
    if (kind != AST_CALL && kind != AST_VARARG)
        luP_report(p, luP_span(begin, last->location.end),
                   "Missing initializer in const declaration");
}

/* At the first name of a declaration, which starts at `start`. */
static AstStat *declaration(Parser *p, Location start, bool is_const)
{
    AstStat *stat = luP_new_stat(p, AST_LOCAL_STAT, start);
    size_t mark = p->scratch_used;
    luP_bindings(p, false);
    int count;
    const Binding *names = luP_finish(p, mark, sizeof(Binding), &count);
    stat->local.is_const = is_const;
    stat->local.equals_location = luP_token(p)->location;
    stat->local.has_equals = luP_accept(p, '=');
    if (stat->local.has_equals)
        stat->local.values = luP_expr_list(p);
    if (is_const)
        check_initializers(p, start.begin, &names[count - 1], count, stat->local.values);
    stat->local.vars = luA_alloc(p->arena, (size_t)count * sizeof(AstLocal *));
    stat->local.var_count = count;
    for (int i = 0; i < count; i++)
        stat->local.vars[i] = luP_declare(p, names[i], is_const);
    stat->location.end = p->lex.previous.end;
    return stat;
}

static AstStat *local_or_const(Parser *p, Location start, bool is_const,
                               const Attributes *attributes)
{
    if (luP_kind(p) == TK_FUNCTION)
        return local_function(p, start, is_const, "variable name", attributes);
    if (attributes)
        luP_report(p, luP_token(p)->location,
                   "Expected 'function' after local declaration with attribute, but got %s instead",
                   luP_token_text(p));
    return declaration(p, start, is_const);
}

AstStat *luP_stat_local(Parser *p, const Attributes *attributes)
{
    Location start = luP_token(p)->location;
    luP_next(p);
    return local_or_const(p, start, false, attributes);
}

AstStat *luP_stat_const(Parser *p, Location start, const Attributes *attributes)
{
    return local_or_const(p, start, true, attributes);
}

/* ---- export (reference 14.2): the syntax; an exported name is a plain local one ---- */

bool luP_at_export(Parser *p)
{
    int kind = luP_kind(p);
    return kind == TK_LOCAL || kind == TK_FUNCTION ||
           (kind == TK_NAME && luP_token(p)->name == p->names.const_);
}

static void add_exports(Parser *p, AstLocal *const *locals, int count)
{
    for (int i = 0; i < count; i++) {
        NameEntry *entry = luX_entry(locals[i]->name);
        if (entry->exported)
            luP_report(p, locals[i]->location, "Duplicate exported identifier '%s'",
                       entry->name.text);
        entry->exported = true;
    }
}

static void report_conflict(Parser *p, Location location)
{
    luP_report(p, location,
               "Exporting values is not compatible with top-level return "
               "(export/return conflict)");
}

AstStat *luP_stat_export(Parser *p, Location start, const Attributes *attributes)
{
    if (p->block_depth != 1)
        luP_report(p, start, "'export' may only be applied to top-level statements");
    else if (p->has_return)
        report_conflict(p, start);
    p->has_export = true;
    AstStat *stat;
    if (luP_kind(p) == TK_FUNCTION) {
        stat = local_function(p, start, true, "function name", attributes);
        add_exports(p, &stat->local_function.local, 1);
        return stat;
    }
    bool is_local = luP_kind(p) == TK_LOCAL;
    luP_next(p);
    if (luP_kind(p) != TK_NAME) {
        bool is_function = luP_kind(p) == TK_FUNCTION;
        luP_report(p, luP_token(p)->location,
                   "'export' must be followed by an identifier or 'function'%s",
                   is_local && is_function ? "; try removing 'local'" : "");
        return local_or_const(p, start, !is_local, attributes);
    }
    stat = local_or_const(p, start, !is_local, attributes);
    add_exports(p, stat->local.vars, stat->local.var_count);
    return stat;
}

/* ---- types ---- */

static void type_function(Parser *p)
{
    FunctionHead head = {.keyword = luP_opener(p), .name_location = luP_token(p)->location};
    luP_next(p);
    luP_name(p, "type function name");
    int outer = p->type_function_depth;
    p->type_function_depth = p->fs->function->depth + 1;
    luP_function_body(p, &head, NULL);
    p->type_function_depth = outer;
}

AstStat *luP_stat_type(Parser *p)
{
    if (luP_kind(p) == TK_FUNCTION) {
        type_function(p);
        return NULL;
    }
    luP_name(p, "type name");
    luP_generics(p, true);
    luP_expect(p, '=', "type alias");
    luP_type(p);
    return NULL;
}

/* ---- attributes ---- */

AstStat *luP_stat_attributes(Parser *p)
{
    Attributes attributes = luP_attributes(p);
    Location here = luP_token(p)->location;
    const AstName *name = luP_kind(p) == TK_NAME ? luP_token(p)->name : NULL;
    if (luP_kind(p) == TK_FUNCTION)
        return luP_stat_function(p, &attributes);
    if (luP_kind(p) == TK_LOCAL)
        return luP_stat_local(p, &attributes);
    if (name && name == p->names.const_) {
        luP_next(p);
        return luP_stat_const(p, here, &attributes);
    }
    if (name && name == p->names.export_ && luP_peek(p) == TK_FUNCTION) {
        luP_next(p);
        return luP_stat_export(p, here, &attributes);
    }
    luP_report(p, here,
               "Expected 'function', 'local function', 'const function', 'declare "
               "function' or a function type declaration after attribute, but got %s "
               "instead",
               luP_token_text(p));
    return luP_error_stat(p, here);
}
