/* compile_fold.c: a walk over the whole tree before any code is made.
 *
 * From -O1 on it rewrites the tree in place, bottom up: expressions of constants become literals
 * with exactly the value they would have at run time, and so do uses of never-assigned locals that
 * are initialised with constants. The code generator then only ever looks for literals. Nodes keep
 * their place, so lines stay.
 *
 * On the way it collects what depends on the whole chunk: which globals are assigned (the others
 * may be library names), what locals are initialised with, the sizes that stores ask of empty
 * constructors (reference 13.2: these look at the source, so before folding it), and it checks that
 * no `continue` jumps over a local that its `until` uses. */
#include "luau/codegen.h"

#include <math.h>

#include "base/num.h"

enum {
    TEXT_MAX = 512 /* folded strings are no longer, lest a short source ask for much memory */,
    LOOP_BOUND_MAX = 16
};

static void fold_expr(Compiler *c, AstExpr *e);
static void fold_block(Compiler *c, AstBlock *block);
static void fold_stat(Compiler *c, AstStat *stat);

/* ---- Locals ---------------------------------------------------------------------------------- */

LocalInfo *luC_info(Compiler *c, AstLocal *local)
{
    if (!local->data)
        local->data = luA_new(c->arena, LocalInfo);
    return local->data;
}

bool luC_isconstant(const AstLocal *local)
{
    const LocalInfo *info = local->data;
    return info && info->constant;
}

const AstExpr *luC_emptytable(const AstExpr *e)
{
    if (e->kind == AST_CALL && !e->call.self && e->call.args.count == 2 &&
        e->call.func->kind == AST_GLOBAL && strcmp(e->call.func->global->text, "setmetatable") == 0)
        e = e->call.args.items[0];
    return e->kind == AST_TABLE && e->table.count == 0 ? e : NULL;
}

static void learn_init(Compiler *c, AstLocal *local, AstExpr *value)
{
    if (local->assigned)
        return;
    LocalInfo *info = luC_info(c, local);
    if (c->optimization >= 1 && luC_isliteral(value)) {
        info->constant = value;
        return;
    }
    info->init = value;
    if (value->kind == AST_FUNCTION)
        info->function = value->function;
}

/* ---- Values ---------------------------------------------------------------------------------- */

static void become(AstExpr *e, const AstExpr *other)
{
    Location location = e->location;
    *e = *other;
    e->location = location;
}

static void become_number(AstExpr *e, double n)
{
    e->kind = AST_NUMBER;
    e->number = n;
}

static void become_boolean(AstExpr *e, bool b)
{
    e->kind = b ? AST_TRUE : AST_FALSE;
}

/* One of the operands stays: cut to one value, as the operation did. */
static void become_operand(AstExpr *e, AstExpr *operand)
{
    if (luC_isliteral(operand)) {
        become(e, operand);
        return;
    }
    e->kind = AST_GROUP;
    e->group = operand;
}

/* Text of a literal as tostring gives it; NULL: none. */
static const char *literal_text(const AstExpr *e, char room[NUM_TEXT_MAX], size_t *length)
{
    const char *text;
    switch (e->kind) {
    case AST_STRING: *length = e->string.length; return e->string.data;
    case AST_NUMBER: *length = (size_t)num_format(e->number, room); return room;
    case AST_INTEGER: *length = (size_t)num_format_i64(e->integer, room); return room;
    case AST_NIL: text = "nil"; break;
    case AST_TRUE: text = "true"; break;
    case AST_FALSE: text = "false"; break;
    default: return NULL;
    }
    *length = strlen(text);
    return text;
}

static bool literal_equal(const AstExpr *a, const AstExpr *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == AST_NUMBER)
        return a->number == b->number;
    if (a->kind == AST_INTEGER)
        return a->integer == b->integer;
    if (a->kind == AST_STRING)
        return a->string.length == b->string.length &&
               memcmp(a->string.data, b->string.data, a->string.length) == 0;
    return true;
}

static int compare_strings(const AstExpr *a, const AstExpr *b)
{
    uint32_t la = a->string.length, lb = b->string.length;
    int order = memcmp(a->string.data, b->string.data, la < lb ? la : lb);
    return order ? order : (la > lb) - (la < lb);
}

static double arith(AstBinary op, double a, double b)
{
    switch (op) {
    case AST_ADD: return a + b;
    case AST_SUB: return a - b;
    case AST_MUL: return a * b;
    case AST_DIV: return a / b;
    case AST_IDIV: return floor(a / b);
    case AST_MOD: return a - floor(a / b) * b;
    default: return pow(a, b);
    }
}

static bool is_joinable(const AstExpr *e)
{
    return e->kind == AST_NUMBER || e->kind == AST_STRING;
}

static void fold_concat(Compiler *c, AstExpr *e, const AstExpr *a, const AstExpr *b)
{
    char room_a[NUM_TEXT_MAX], room_b[NUM_TEXT_MAX];
    size_t la, lb;
    if (!is_joinable(a) || !is_joinable(b)) /* the others are errors */
        return;
    const char *ta = literal_text(a, room_a, &la), *tb = literal_text(b, room_b, &lb);
    if (la + lb > TEXT_MAX)
        return;
    char *text = luA_alloc(c->arena, la + lb + 1);
    memcpy(text, ta, la);
    memcpy(text + la, tb, lb);
    e->kind = AST_STRING;
    e->string.data = text;
    e->string.length = (uint32_t)(la + lb);
    e->string.quoted = true;
}

static void fold_order(AstExpr *e, AstBinary op, const AstExpr *a, const AstExpr *b)
{
    bool less, equal, greater; /* all false with a NaN */
    if (a->kind == AST_NUMBER && b->kind == AST_NUMBER) {
        less = a->number < b->number;
        equal = a->number == b->number;
        greater = a->number > b->number;
    } else if (a->kind == AST_STRING && b->kind == AST_STRING) {
        int order = compare_strings(a, b);
        less = order < 0;
        equal = order == 0;
        greater = order > 0;
    } else {
        return; /* an error, raised at run time */
    }
    switch (op) {
    case AST_LT: become_boolean(e, less); break;
    case AST_LE: become_boolean(e, less || equal); break;
    case AST_GT: become_boolean(e, greater); break;
    default: become_boolean(e, greater || equal); break;
    }
}

static void fold_binary(Compiler *c, AstExpr *e)
{
    AstBinary op = e->binary.op;
    AstExpr *a = e->binary.left, *b = e->binary.right;
    if (!luC_isliteral(a))
        return;
    if (op == AST_AND || op == AST_OR) {
        become_operand(e, luC_istruthy(a) == (op == AST_AND) ? b : a);
        return;
    }
    if (!luC_isliteral(b))
        return;
    switch (op) {
    case AST_CONCAT: fold_concat(c, e, a, b); break;
    case AST_EQ: become_boolean(e, literal_equal(a, b)); break;
    case AST_NE: become_boolean(e, !literal_equal(a, b)); break;
    case AST_LT:
    case AST_LE:
    case AST_GT:
    case AST_GE: fold_order(e, op, a, b); break;
    default:
        if (a->kind == AST_NUMBER && b->kind == AST_NUMBER)
            become_number(e, arith(op, a->number, b->number));
        break;
    }
}

static void fold_unary(AstExpr *e)
{
    const AstExpr *operand = e->unary.expr;
    if (!luC_isliteral(operand))
        return;
    switch (e->unary.op) {
    case AST_NOT: become_boolean(e, !luC_istruthy(operand)); break;
    case AST_MINUS:
        if (operand->kind == AST_NUMBER)
            become_number(e, -operand->number);
        break;
    case AST_LENGTH:
        if (operand->kind == AST_STRING)
            become_number(e, operand->string.length);
        break;
    }
}

/* Text being joined; its bytes move into `owned` room when the first piece is added. */
typedef struct Joined {
    struct AstText text;
    char *owned;
    size_t capacity;
} Joined;

static void join(Compiler *c, Joined *j, const char *data, size_t length)
{
    size_t need = j->text.length + length;
    if (need > j->capacity) {
        j->capacity = need * 2;
        j->owned = luA_grow(c->arena, j->text.data, j->text.length, j->capacity);
        j->text.data = j->owned;
    }
    if (length)
        memcpy(j->owned + j->text.length, data, length);
    j->text.length = (uint32_t)need;
}

/* Literals between the texts of an interpolated string join them. */
static void fold_interp(Compiler *c, AstExpr *e)
{
    int kept = 0;
    struct AstText *strings = e->interp.strings;
    Joined joined = {strings[0], NULL, 0};
    for (int i = 0; i < e->interp.count; i++) {
        AstExpr *expr = e->interp.exprs[i];
        struct AstText next = strings[i + 1];
        char room[NUM_TEXT_MAX];
        size_t length;
        const char *middle = literal_text(expr, room, &length);
        if (middle && joined.text.length + length + next.length <= TEXT_MAX) {
            join(c, &joined, middle, length);
            join(c, &joined, next.data, next.length);
            continue;
        }
        strings[kept] = joined.text;
        e->interp.exprs[kept++] = expr;
        joined = (Joined){next, NULL, 0};
    }
    strings[kept] = joined.text;
    e->interp.count = kept;
    if (kept > 0)
        return;
    e->kind = AST_STRING;
    e->string.data = joined.text.data;
    e->string.length = joined.text.length;
    e->string.quoted = true;
}

/* ---- Expressions ----------------------------------------------------------------------------- */

static void fold_list(Compiler *c, AstExprList list)
{
    for (int i = 0; i < list.count; i++)
        fold_expr(c, list.items[i]);
}

static void fold_if_else(Compiler *c, AstExpr *e)
{
    fold_expr(c, e->if_else.condition);
    fold_expr(c, e->if_else.yes);
    fold_expr(c, e->if_else.no);
    if (c->optimization >= 1 && luC_isliteral(e->if_else.condition))
        become_operand(e, luC_istruthy(e->if_else.condition) ? e->if_else.yes : e->if_else.no);
}

static void fold_children(Compiler *c, AstExpr *e)
{
    switch (e->kind) {
    case AST_GROUP: fold_expr(c, e->group); break;
    case AST_CALL:
        fold_expr(c, e->call.func);
        fold_list(c, e->call.args);
        break;
    case AST_INDEX_NAME: fold_expr(c, e->index_name.object); break;
    case AST_INDEX_EXPR:
        fold_expr(c, e->index_expr.object);
        fold_expr(c, e->index_expr.index);
        break;
    case AST_FUNCTION: fold_block(c, e->function->body); break;
    case AST_TABLE:
        for (int i = 0; i < e->table.count; i++) {
            if (e->table.items[i].key)
                fold_expr(c, e->table.items[i].key);
            fold_expr(c, e->table.items[i].value);
        }
        break;
    case AST_UNARY: fold_expr(c, e->unary.expr); break;
    case AST_BINARY:
        fold_expr(c, e->binary.left);
        fold_expr(c, e->binary.right);
        break;
    case AST_IF_ELSE: fold_if_else(c, e); break;
    case AST_INTERP:
        for (int i = 0; i < e->interp.count; i++)
            fold_expr(c, e->interp.exprs[i]);
        break;
    default: break;
    }
}

/* A minus right before an integer literal is part of it, whatever the level; any other unary minus
 * on an integer is an error, raised at run time. */
static bool fold_negative(AstExpr *e)
{
    if (e->kind != AST_UNARY || e->unary.op != AST_MINUS || e->unary.expr->kind != AST_INTEGER)
        return false;
    int64_t n = (int64_t)(0 - (uint64_t)e->unary.expr->integer);
    e->kind = AST_INTEGER;
    e->integer = n;
    return true;
}

static void fold_expr(Compiler *c, AstExpr *e)
{
    luC_poll(c);
    if (fold_negative(e))
        return;
    fold_children(c, e);
    if (c->optimization < 1)
        return;
    switch (e->kind) {
    case AST_GROUP:
        if (luC_isliteral(e->group))
            become(e, e->group);
        break;
    case AST_LOCAL:
        if (luC_isconstant(e->local.local))
            become(e, ((LocalInfo *)e->local.local->data)->constant);
        break;
    case AST_UNARY: fold_unary(e); break;
    case AST_BINARY: fold_binary(c, e); break;
    case AST_INTERP: fold_interp(c, e); break;
    default: break;
    }
}

/* ---- Sizes of tables ------------------------------------------------------------------------- */

static void count_field(Compiler *c, AstLocal *local, const AstName *name)
{
    LocalInfo *info = luC_info(c, local);
    if (info->table && luC_setadd(c, &c->fields, local, name))
        info->hash_count++;
}

/* A store to this target, as the source has it. */
static void count_store(Compiler *c, const AstExpr *target)
{
    if (c->optimization < 1)
        return;
    if (target->kind == AST_INDEX_NAME) {
        if (target->index_name.object->kind == AST_LOCAL)
            count_field(c, target->index_name.object->local.local, target->index_name.name);
        return;
    }
    if (target->kind != AST_INDEX_EXPR || target->index_expr.object->kind != AST_LOCAL)
        return;
    LocalInfo *info = luC_info(c, target->index_expr.object->local.local);
    const AstExpr *index = target->index_expr.index;
    if (!info->table)
        return;
    if (index->kind == AST_NUMBER && index->number == info->array_count + 1.0)
        info->array_count++;
    else if (index->kind == AST_LOCAL && info->array_count == 0)
        info->array_count = luC_info(c, index->local.local)->loop_bound;
}

static void learn_loop(Compiler *c, const AstStat *stat)
{
    const AstExpr *from = stat->for_.from, *to = stat->for_.to;
    if (from->kind == AST_NUMBER && from->number == 1 && to->kind == AST_NUMBER &&
        to->number >= 1 && to->number <= LOOP_BOUND_MAX && !stat->for_.step)
        luC_info(c, stat->for_.var)->loop_bound = (int)to->number;
}

/* ---- continue and until ---------------------------------------------------------------------- */

static const AstStat *find_continue(const AstBlock *block);

/* A `continue` of the loop that the statement stands in, or NULL. */
static const AstStat *continue_of(const AstStat *stat)
{
    const AstStat *found = NULL;
    switch (stat->kind) {
    case AST_CONTINUE: return stat;
    case AST_BLOCK: return find_continue(&stat->block);
    case AST_IF: {
        const AstExpr *condition = stat->if_.condition; /* folded: dead branches are not taken */
        bool literal = luC_isliteral(condition);
        if (!literal || luC_istruthy(condition))
            found = find_continue(stat->if_.then);
        if (!found && stat->if_.else_ && (!literal || !luC_istruthy(condition)))
            found = continue_of(stat->if_.else_);
        return found;
    }
    default: return NULL;
    }
}

static const AstStat *find_continue(const AstBlock *block)
{
    for (int i = 0; i < block->count; i++) {
        const AstStat *found = continue_of(block->items[i]);
        if (found)
            return found;
    }
    return NULL;
}

enum { LOCAL_SKIPPED = 1 }; /* AstLocal.state: a `continue` may jump over it */

static void check_skipped(Compiler *c, AstExpr *e, const AstStat *jump, Location location);

static void check_skipped_block(Compiler *c, const AstBlock *block, const AstStat *jump,
                                Location location);

static void check_skipped_list(Compiler *c, AstExprList list, const AstStat *jump,
                               Location location)
{
    for (int i = 0; i < list.count; i++)
        check_skipped(c, list.items[i], jump, location);
}

static void check_skipped_stat(Compiler *c, const AstStat *s, const AstStat *jump, Location at)
{
    switch (s->kind) {
    case AST_BLOCK: check_skipped_block(c, &s->block, jump, at); break;
    case AST_IF:
        check_skipped(c, s->if_.condition, jump, at);
        check_skipped_block(c, s->if_.then, jump, at);
        if (s->if_.else_)
            check_skipped_stat(c, s->if_.else_, jump, at);
        break;
    case AST_WHILE:
    case AST_REPEAT:
        check_skipped(c, s->while_.condition, jump, at);
        check_skipped_block(c, s->while_.body, jump, at);
        break;
    case AST_RETURN: check_skipped_list(c, s->return_, jump, at); break;
    case AST_EXPR: check_skipped(c, s->expr, jump, at); break;
    case AST_LOCAL_STAT: check_skipped_list(c, s->local.values, jump, at); break;
    case AST_FOR:
        check_skipped(c, s->for_.from, jump, at);
        check_skipped(c, s->for_.to, jump, at);
        if (s->for_.step)
            check_skipped(c, s->for_.step, jump, at);
        check_skipped_block(c, s->for_.body, jump, at);
        break;
    case AST_FOR_IN:
        check_skipped_list(c, s->for_in.values, jump, at);
        check_skipped_block(c, s->for_in.body, jump, at);
        break;
    case AST_ASSIGN:
        check_skipped_list(c, s->assign.vars, jump, at);
        check_skipped_list(c, s->assign.values, jump, at);
        break;
    case AST_COMPOUND:
        check_skipped(c, s->compound.var, jump, at);
        check_skipped(c, s->compound.value, jump, at);
        break;
    case AST_FUNCTION_STAT:
        check_skipped(c, s->function.name, jump, at);
        check_skipped_block(c, s->function.function->body, jump, at);
        break;
    case AST_LOCAL_FUNCTION:
        check_skipped_block(c, s->local_function.function->body, jump, at);
        break;
    case AST_BREAK:
    case AST_CONTINUE: break;
    }
}

static void check_skipped_block(Compiler *c, const AstBlock *block, const AstStat *jump,
                                Location location)
{
    for (int i = 0; i < block->count; i++)
        check_skipped_stat(c, block->items[i], jump, location);
}

static void check_skipped(Compiler *c, AstExpr *e, const AstStat *jump, Location location)
{
    luC_poll(c);
    switch (e->kind) {
    case AST_LOCAL:
        if (e->local.local->state == LOCAL_SKIPPED)
            luC_error(c, location,
                      "Local %s used in the repeat..until condition is undefined because continue "
                      "statement on line %d jumps over it",
                      e->local.local->name->text, jump->location.begin.line);
        break;
    case AST_GROUP: check_skipped(c, e->group, jump, location); break;
    case AST_CALL:
        check_skipped(c, e->call.func, jump, location);
        check_skipped_list(c, e->call.args, jump, location);
        break;
    case AST_INDEX_NAME: check_skipped(c, e->index_name.object, jump, location); break;
    case AST_INDEX_EXPR:
        check_skipped(c, e->index_expr.object, jump, location);
        check_skipped(c, e->index_expr.index, jump, location);
        break;
    case AST_FUNCTION: check_skipped_block(c, e->function->body, jump, location); break;
    case AST_TABLE:
        for (int i = 0; i < e->table.count; i++) {
            if (e->table.items[i].key)
                check_skipped(c, e->table.items[i].key, jump, location);
            check_skipped(c, e->table.items[i].value, jump, location);
        }
        break;
    case AST_UNARY: check_skipped(c, e->unary.expr, jump, location); break;
    case AST_BINARY:
        check_skipped(c, e->binary.left, jump, location);
        check_skipped(c, e->binary.right, jump, location);
        break;
    case AST_IF_ELSE:
        check_skipped(c, e->if_else.condition, jump, location);
        check_skipped(c, e->if_else.yes, jump, location);
        check_skipped(c, e->if_else.no, jump, location);
        break;
    case AST_INTERP:
        for (int i = 0; i < e->interp.count; i++)
            check_skipped(c, e->interp.exprs[i], jump, location);
        break;
    default: break;
    }
}

/* Marks (or unmarks) the locals that the block itself declares from the statement `from` on. */
static void mark_skipped(const AstBlock *body, int from, int state)
{
    for (int i = from; i < body->count; i++) {
        const AstStat *stat = body->items[i];
        if (stat->kind == AST_LOCAL_STAT)
            for (int j = 0; j < stat->local.var_count; j++)
                stat->local.vars[j]->state = state;
        else if (stat->kind == AST_LOCAL_FUNCTION)
            stat->local_function.local->state = state;
    }
}

static void check_until(Compiler *c, const AstStat *stat)
{
    const AstBlock *body = stat->repeat.body;
    for (int i = 0; i < body->count; i++) {
        const AstStat *jump = continue_of(body->items[i]);
        if (!jump)
            continue;
        mark_skipped(body, i + 1, LOCAL_SKIPPED);
        check_skipped(c, stat->repeat.condition, jump, stat->repeat.condition->location);
        mark_skipped(body, i + 1, 0);
        return;
    }
}

/* ---- Statements ------------------------------------------------------------------------------ */

static void fold_local(Compiler *c, AstStat *stat)
{
    AstExprList values = stat->local.values;
    if (stat->local.var_count == 1 && values.count == 1 && c->optimization >= 1) {
        const AstExpr *table = luC_emptytable(values.items[0]);
        if (table)
            luC_info(c, stat->local.vars[0])->table = table;
    }
    fold_list(c, values);
    const AstExpr *last = values.count ? values.items[values.count - 1] : NULL;
    bool spreads = last && (last->kind == AST_CALL || last->kind == AST_VARARG);
    for (int i = 0; i < stat->local.var_count; i++) {
        AstLocal *local = stat->local.vars[i];
        if (i < values.count &&
            !(i + 1 == values.count && spreads && values.count < stat->local.var_count)) {
            learn_init(c, local, values.items[i]);
        } else if (!spreads && !local->assigned && c->optimization >= 1) {
            AstExpr *nil = luA_new(c->arena, AstExpr);
            nil->kind = AST_NIL;
            nil->location = local->location;
            luC_info(c, local)->constant = nil;
        }
    }
}

static void fold_target(Compiler *c, AstExpr *target)
{
    if (target->kind == AST_GLOBAL)
        luC_setadd(c, &c->globals, target->global, NULL);
    else if (target->kind != AST_LOCAL)
        fold_expr(c, target);
}

static void fold_loop(Compiler *c, AstStat *stat)
{
    switch (stat->kind) {
    case AST_WHILE:
        fold_expr(c, stat->while_.condition);
        fold_block(c, stat->while_.body);
        break;
    case AST_REPEAT:
        fold_block(c, stat->repeat.body);
        check_until(c, stat);
        fold_expr(c, stat->repeat.condition);
        break;
    case AST_FOR:
        learn_loop(c, stat);
        fold_expr(c, stat->for_.from);
        fold_expr(c, stat->for_.to);
        if (stat->for_.step)
            fold_expr(c, stat->for_.step);
        fold_block(c, stat->for_.body);
        break;
    default:
        fold_list(c, stat->for_in.values);
        fold_block(c, stat->for_in.body);
        break;
    }
}

static void fold_stat(Compiler *c, AstStat *stat)
{
    luC_poll(c);
    switch (stat->kind) {
    case AST_BLOCK: fold_block(c, &stat->block); break;
    case AST_IF:
        fold_expr(c, stat->if_.condition);
        fold_block(c, stat->if_.then);
        if (stat->if_.else_)
            fold_stat(c, stat->if_.else_);
        break;
    case AST_WHILE:
    case AST_REPEAT:
    case AST_FOR:
    case AST_FOR_IN: fold_loop(c, stat); break;
    case AST_RETURN: fold_list(c, stat->return_); break;
    case AST_EXPR: fold_expr(c, stat->expr); break;
    case AST_LOCAL_STAT: fold_local(c, stat); break;
    case AST_ASSIGN:
        for (int i = 0; i < stat->assign.vars.count; i++)
            count_store(c, stat->assign.vars.items[i]);
        for (int i = 0; i < stat->assign.vars.count; i++)
            fold_target(c, stat->assign.vars.items[i]);
        fold_list(c, stat->assign.values);
        break;
    case AST_COMPOUND:
        fold_target(c, stat->compound.var);
        fold_expr(c, stat->compound.value);
        break;
    case AST_FUNCTION_STAT:
        count_store(c, stat->function.name);
        fold_target(c, stat->function.name);
        fold_block(c, stat->function.function->body);
        break;
    case AST_LOCAL_FUNCTION:
        if (!stat->local_function.local->assigned)
            luC_info(c, stat->local_function.local)->function = stat->local_function.function;
        fold_block(c, stat->local_function.function->body);
        break;
    case AST_BREAK:
    case AST_CONTINUE: break;
    }
}

static void fold_block(Compiler *c, AstBlock *block)
{
    for (int i = 0; i < block->count; i++)
        fold_stat(c, block->items[i]);
}

void luC_fold(Compiler *c, AstFunction *main)
{
    fold_block(c, main->body);
}
