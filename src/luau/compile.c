/* compile.c: from the tree to code. This file has functions and statements.
 *
 * The compiler makes register code in one pass over each function, innermost functions first, after
 * compile_fold.c has walked the whole tree. Names of the parts:
 *
 *     compile.c         the entry, functions, statements, loops
 *     compile_fold.c    constant folding; facts about locals and globals
 *     compile_assign.c  assignments, local declarations
 *     compile_expr.c    expressions, conditions, closures, lists of values
 *     compile_call.c    calls, library names
 *     compile_table.c   constructors
 *     codegen.c         the emitter
 *
 * Registers: parameters from 0, locals as they come into scope, temporaries above. A local is
 * captured by value if nothing assigns to it after its declaration, else by reference; scopes that
 * had such a local end with CLOSEUPVALS, so that every turn of a loop has its own.
 *
 * Each statement's compile function returns true if control never goes on behind it; code there is
 * left out. */
#include "luau/codegen.h"

static bool compile_block(Func *f, const AstBlock *block);
static bool compile_stat(Func *f, AstStat *stat);

/* Ends the scope of locals from index `from` on. `done`: control does not get here. */
static void end_scope(Func *f, int from, bool done)
{
    if (!done)
        luC_closelocals(f, from);
    luC_poplocals(f, from);
}

/* ---- Branches -------------------------------------------------------------------------------- */

static bool compile_scoped(Func *f, const AstBlock *block)
{
    int top = f->top, locals = f->local_count;
    bool done = compile_block(f, block);
    end_scope(f, locals, done);
    f->top = top;
    return done;
}

/* The jumps of the loop that `if c then break end` (or continue) joins, or NULL: another statement,
 * or locals must be closed on the way. */
static JumpList *plain_jump(Func *f, const AstStat *stat)
{
    const AstBlock *then = stat->if_.then;
    if (then->count != 1 || stat->if_.else_)
        return NULL;
    AstStatKind kind = then->items[0]->kind;
    if (kind != AST_BREAK && kind != AST_CONTINUE)
        return NULL;
    Loop *loop = f->loop;
    int from = kind == AST_BREAK ? loop->local_count : loop->continue_local_count;
    for (int i = from; i < f->local_count; i++)
        if (f->locals[i]->captured && f->locals[i]->assigned)
            return NULL;
    return kind == AST_BREAK ? &loop->breaks : &loop->continues;
}

static bool compile_if(Func *f, AstStat *stat)
{
    AstExpr *condition = stat->if_.condition;
    AstStat *else_ = stat->if_.else_;
    if (luC_isliteral(condition)) {
        if (luC_istruthy(condition))
            return compile_scoped(f, stat->if_.then);
        return else_ ? compile_stat(f, else_) : false;
    }
    JumpList no = 0, end = 0, *leave = plain_jump(f, stat);
    if (leave) {
        luC_condition(f, condition, true, leave);
        return false;
    }
    luC_condition(f, condition, false, &no);
    bool then_done = compile_scoped(f, stat->if_.then);
    if (!else_) {
        luC_patchhere(f, no);
        return false;
    }
    if (!then_done)
        luC_jump(f, OP_JUMP, 0, &end);
    luC_patchhere(f, no);
    bool else_done = compile_stat(f, else_);
    luC_patchhere(f, end);
    return then_done && else_done;
}

/* ---- Loops ----------------------------------------------------------------------------------- */

static void enter_loop(Func *f, Loop *loop)
{
    *loop = (Loop){f->loop, 0, 0, f->local_count, f->local_count};
    f->loop = loop;
}

static void leave_loop(Func *f, Loop *loop)
{
    luC_patchhere(f, loop->breaks);
    f->loop = loop->outer;
}

static void jump_back(Func *f, OpCode op, int a, int target)
{
    JumpList back = 0;
    luC_jump(f, op, a, &back);
    luC_patch(f, back, target);
}

static void compile_while(Func *f, AstStat *stat)
{
    AstExpr *condition = stat->while_.condition;
    if (luC_isliteral(condition) && !luC_istruthy(condition))
        return;
    Loop loop;
    JumpList exit = 0;
    enter_loop(f, &loop);
    int start = luC_here(f);
    luC_condition(f, condition, false, &exit);
    compile_scoped(f, stat->while_.body);
    luC_patchhere(f, loop.continues);
    luC_line(f, condition->location.begin.line);
    jump_back(f, OP_JUMPBACK, 0, start);
    luC_patchhere(f, exit);
    leave_loop(f, &loop);
}

/* The body's statements, so that the condition may follow in their scope. A `continue` does not
 * close the body's own locals: the condition may use those declared before it. */
static bool compile_repeat_body(Func *f, const AstBlock *body, Loop *loop)
{
    for (int i = 0; i < body->count; i++) {
        loop->continue_local_count = f->local_count;
        if (compile_stat(f, body->items[i]))
            return true;
    }
    return false;
}

static void compile_repeat(Func *f, AstStat *stat)
{
    AstExpr *condition = stat->repeat.condition;
    Loop loop;
    JumpList exit = 0;
    int top = f->top, locals = f->local_count;
    enter_loop(f, &loop);
    int start = luC_here(f);
    bool done = compile_repeat_body(f, stat->repeat.body, &loop);
    if (!done || loop.continues) {
        luC_patchhere(f, loop.continues);
        luC_line(f, condition->location.begin.line);
        if (!luC_isliteral(condition))
            luC_condition(f, condition, true, &exit);
        if (!luC_isliteral(condition) || !luC_istruthy(condition)) {
            luC_closelocals(f, locals);
            jump_back(f, OP_JUMPBACK, 0, start);
            luC_patchhere(f, exit);
        }
        if (!luC_isliteral(condition) || luC_istruthy(condition))
            luC_closelocals(f, locals); /* the exit jumped over the first */
    }
    luC_poplocals(f, locals);
    f->top = top;
    leave_loop(f, &loop);
}

/* Numeric for: limit, step, index in three registers. The variable is the index register itself,
 * unless the body assigns to it: then a copy of each turn. */
static void compile_for(Func *f, AstStat *stat)
{
    AstLocal *var = stat->for_.var;
    Loop loop;
    JumpList skip = 0;
    int top = f->top, locals = f->local_count;
    enter_loop(f, &loop);
    int base = luC_alloc(f, stat->location, 3);
    int reg = var->assigned ? luC_alloc(f, stat->location, 1) : base + 2;
    luC_expr(f, stat->for_.from, base + 2, true);
    luC_expr(f, stat->for_.to, base, true);
    if (stat->for_.step)
        luC_expr(f, stat->for_.step, base + 1, true);
    else
        luC_ad(f, OP_LOADN, base + 1, 1);
    luC_jump(f, OP_FORNPREP, base, &skip);
    int start = luC_here(f);
    if (reg != base + 2)
        luC_abc(f, OP_MOVE, reg, base + 2, 0);
    luC_pushlocal(f, var, reg);
    end_scope(f, locals, compile_scoped(f, stat->for_.body));
    luC_line(f, stat->location.begin.line);
    luC_patchhere(f, loop.continues);
    jump_back(f, OP_FORNLOOP, base, start);
    luC_patchhere(f, skip);
    f->top = top;
    leave_loop(f, &loop);
}

static bool calls_ipairs(Func *f, const AstStat *stat)
{
    const AstExpr *e = stat->for_in.values.items[0];
    return stat->for_in.values.count == 1 && e->kind == AST_CALL && !e->call.self &&
           e->call.func->kind == AST_GLOBAL && luC_isglobalchain(f, e->call.func) &&
           strcmp(e->call.func->global->text, "ipairs") == 0;
}

static void compile_for_in(Func *f, AstStat *stat)
{
    enum { CALL_ROOM = 3 /* FORGLOOP may call the iterator on the variables' registers */ };
    Loop loop;
    JumpList prep = 0;
    int top = f->top, locals = f->local_count, count = stat->for_in.var_count;
    enter_loop(f, &loop);
    int base = luC_alloc(f, stat->location, 3);
    luC_list_values(f, stat->for_in.values, base, 3, stat->location);
    int vars = luC_alloc(f, stat->location, count < 2 ? 2 : count);
    if (f->top_max < vars + CALL_ROOM)
        f->top_max = vars + CALL_ROOM < LUAU_REGISTERS_MAX ? vars + CALL_ROOM : LUAU_REGISTERS_MAX;
    luC_jump(f, OP_FORGPREP, base, &prep);
    int start = luC_here(f);
    for (int i = 0; i < count; i++)
        luC_pushlocal(f, stat->for_in.vars[i], vars + i);
    end_scope(f, locals, compile_scoped(f, stat->for_in.body));
    luC_line(f, stat->location.begin.line);
    luC_patchhere(f, loop.continues);
    luC_patchhere(f, prep);
    jump_back(f, OP_FORGLOOP, base, start);
    luC_emit(f, (Instr)count | (calls_ipairs(f, stat) ? 1u << 31 : 0));
    f->top = top;
    leave_loop(f, &loop);
}

/* ---- Other statements ------------------------------------------------------------------------ */

/* First register of the values if they all are locals in consecutive registers, else -1. */
static int consecutive(const Func *f, AstExprList list)
{
    int first = luC_register(f, list.items[0]);
    for (int i = 1; i < list.count && first >= 0; i++)
        if (luC_register(f, list.items[i]) != first + i)
            return -1;
    return first;
}

static void compile_return(Func *f, AstStat *stat)
{
    enum { RETURNS_MAX = 254 };
    AstExprList list = stat->return_;
    int top = f->top;
    bool multi = false;
    if (list.count > RETURNS_MAX)
        luC_error(f->c, stat->location,
                  "Exceeded return count limit; simplify the code to compile");
    if (list.count == 0) {
        luC_abc(f, OP_RETURN0, 0, 0, 0);
        return;
    }
    int base = consecutive(f, list);
    if (base < 0 && list.count == 1 && luC_ismulti(f, list.items[0])) {
        base = f->top;
        multi = luC_multi(f, list.items[0], base);
    } else if (base < 0) {
        base = luC_alloc(f, stat->location, list.count);
        for (int i = 0; i + 1 < list.count; i++)
            luC_exprtop(f, list.items[i], base + i);
        multi = luC_multi(f, list.items[list.count - 1], base + list.count - 1);
    }
    if (list.count == 1 && !multi)
        luC_abc(f, OP_RETURN1, base, 0, 0);
    else
        luC_abc(f, OP_RETURN, base, multi ? 0 : list.count + 1, 0);
    f->top = top;
}

static bool compile_jump(Func *f, bool is_break)
{
    Loop *loop = f->loop;
    luC_closelocals(f, is_break ? loop->local_count : loop->continue_local_count);
    luC_jump(f, OP_JUMP, 0, is_break ? &loop->breaks : &loop->continues);
    return true;
}

static void compile_local_function(Func *f, AstStat *stat)
{
    AstExpr value = {.kind = AST_FUNCTION, .location = stat->location};
    value.function = stat->local_function.function;
    int reg = luC_alloc(f, stat->location, 1);
    luC_pushlocal(f, stat->local_function.local, reg); /* it sees itself */
    luC_closure(f, &value, reg);
}

static bool compile_stat(Func *f, AstStat *stat)
{
    luC_poll(f->c);
    luC_line(f, stat->location.begin.line);
    switch (stat->kind) {
    case AST_BLOCK: return compile_scoped(f, &stat->block);
    case AST_IF: return compile_if(f, stat);
    case AST_WHILE: compile_while(f, stat); break;
    case AST_REPEAT: compile_repeat(f, stat); break;
    case AST_FOR: compile_for(f, stat); break;
    case AST_FOR_IN: compile_for_in(f, stat); break;
    case AST_BREAK: return compile_jump(f, true);
    case AST_CONTINUE: return compile_jump(f, false);
    case AST_RETURN: compile_return(f, stat); return true;
    case AST_EXPR: luC_side(f, stat->expr); break;
    case AST_LOCAL_STAT: luC_localstat(f, stat); break;
    case AST_ASSIGN: luC_assign(f, stat); break;
    case AST_COMPOUND: luC_compound(f, stat); break;
    case AST_FUNCTION_STAT: luC_functionstat(f, stat); break;
    case AST_LOCAL_FUNCTION: compile_local_function(f, stat); break;
    }
    return false;
}

static bool compile_block(Func *f, const AstBlock *block)
{
    for (int i = 0; i < block->count; i++)
        if (compile_stat(f, block->items[i]))
            return true;
    return false;
}

/* ---- Functions ------------------------------------------------------------------------------- */

/* May evaluating the function again give the same object? If it captures nothing but never-assigned
 * top-level locals, or functions of that kind (itself among them). */
static bool is_shared(const Func *f)
{
    for (int i = 0; i < f->upval_count; i++) {
        const AstLocal *local = f->upvals[i];
        const LocalInfo *info = local->data;
        if (local->assigned)
            return false;
        if (!local->function->parent && local->loop_depth == 0)
            continue;
        if (!info || !info->function)
            return false;
        const FunctionInfo *other = info->function->data;
        if (info->function != f->ast && !(other && other->shared))
            return false;
    }
    return true;
}

FunctionInfo *luC_function(Compiler *c, AstFunction *ast)
{
    Func *f = luA_new(c->arena, Func);
    f->c = c;
    f->ast = ast;
    luC_line(f, ast->location.begin.line);
    if (ast->is_vararg)
        luC_abc(f, OP_PREPVARARGS, ast->param_count < 256 ? ast->param_count : 0, 0, 0);
    int base = luC_alloc(f, ast->location, ast->param_count);
    for (int i = 0; i < ast->param_count; i++)
        luC_pushlocal(f, ast->params[i], base + i);
    if (!compile_block(f, ast->body)) {
        luC_line(f, ast->body->location.end.line);
        luC_abc(f, OP_RETURN0, 0, 0, 0);
    }
    FunctionInfo *info = luA_new(c->arena, FunctionInfo);
    info->upvals = f->upvals;
    info->upval_count = f->upval_count;
    info->shared = is_shared(f);
    info->proto = luC_finish(f);
    ast->data = info;
    return info;
}

bool luC_compile(luau_Module *module, Arena *arena, const ParseResult *chunk,
                 const luau_CompileOptions *options, ParseError *error)
{
    Compiler *c = luA_new(arena, Compiler);
    c->module = module;
    c->arena = arena;
    c->options = options;
    c->optimization = chunk->optimize_hint >= 0 ? chunk->optimize_hint : options->optimization;
    c->error = error;
    if (setjmp(c->limit))
        return false;
    luC_fold(c, chunk->main);
    module->main = luC_function(c, chunk->main)->proto;
    module->protos = luM_alloc(module, (size_t)c->proto_count * sizeof(Proto *));
    memcpy(module->protos, c->protos, (size_t)c->proto_count * sizeof(Proto *));
    module->proto_count = c->proto_count;
    return true;
}
