/* compile_assign.c: statements that give variables and fields their values.
 *
 * Order (reference 6.1): tables and keys of all targets left to right, all values left to right,
 * the stores left to right. Values of locals are computed straight into their registers; where
 * something evaluated later still needs the old value, into a temporary, moved at the end. */
#include "luau/codegen.h"

typedef enum TargetKind {
    TARGET_LOCAL,
    TARGET_UPVALUE,
    TARGET_GLOBAL,
    TARGET_NAME,
    TARGET_NUMBER,
    TARGET_INDEX
} TargetKind;

typedef struct Target {
    TargetKind kind;
    int reg;   /* of the local, or of the table */
    int index; /* upvalue, constant (GLOBAL, NAME), C of GETTABLEN, or the key's register */
    int line;
} Target;

/* Evaluates the table and key of a target. */
static Target open_target(Func *f, AstExpr *e)
{
    Target t = {TARGET_LOCAL, -1, 0, e->location.begin.line};
    luC_line(f, t.line);
    if (e->kind == AST_LOCAL) {
        t.reg = luC_register(f, e);
        if (t.reg < 0) {
            t.kind = TARGET_UPVALUE;
            t.index = luC_upvalue(f, e->local.local);
        }
    } else if (e->kind == AST_GLOBAL) {
        t.kind = TARGET_GLOBAL;
        t.index = luC_namek(f, e->global);
    } else if (e->kind == AST_INDEX_NAME) {
        t.kind = TARGET_NAME;
        t.reg = luC_any(f, e->index_name.object);
        t.index = luC_namek(f, e->index_name.name);
    } else {
        AstExpr *index = e->index_expr.index;
        int small = luC_smallindex(index);
        t.reg = luC_any(f, e->index_expr.object);
        if (small >= 0 || index->kind == AST_STRING)
            t.line = index->location.begin.line;
        if (small >= 0) {
            t.kind = TARGET_NUMBER;
            t.index = small;
        } else if (index->kind == AST_STRING) {
            t.kind = TARGET_NAME;
            t.index = luC_stringk(f, index->string.data, index->string.length);
        } else {
            t.kind = TARGET_INDEX;
            t.index = luC_any(f, index);
        }
    }
    return t;
}

static void with_name(Func *f, OpCode op, int reg, int table, int k)
{
    luC_abc(f, op, reg, table, luC_hint(f, k));
    luC_emit(f, (Instr)k);
}

static void store(Func *f, const Target *t, int reg)
{
    luC_line(f, t->line);
    switch (t->kind) {
    case TARGET_LOCAL:
        if (t->reg != reg)
            luC_abc(f, OP_MOVE, t->reg, reg, 0);
        break;
    case TARGET_UPVALUE: luC_abc(f, OP_SETUPREF, reg, t->index, 0); break;
    case TARGET_GLOBAL: with_name(f, OP_SETGLOBAL, reg, 0, t->index); break;
    case TARGET_NAME: with_name(f, OP_SETTABLEKS, reg, t->reg, t->index); break;
    case TARGET_NUMBER: luC_abc(f, OP_SETTABLEN, reg, t->reg, t->index); break;
    case TARGET_INDEX: luC_abc(f, OP_SETTABLE, reg, t->reg, t->index); break;
    }
}

static void fetch(Func *f, const Target *t, int reg)
{
    luC_line(f, t->line);
    switch (t->kind) {
    case TARGET_LOCAL:
        if (t->reg != reg)
            luC_abc(f, OP_MOVE, reg, t->reg, 0);
        break;
    case TARGET_UPVALUE: luC_abc(f, OP_GETUPREF, reg, t->index, 0); break;
    case TARGET_GLOBAL: with_name(f, OP_GETGLOBAL, reg, 0, t->index); break;
    case TARGET_NAME: with_name(f, OP_GETTABLEKS, reg, t->reg, t->index); break;
    case TARGET_NUMBER: luC_abc(f, OP_GETTABLEN, reg, t->reg, t->index); break;
    case TARGET_INDEX: luC_abc(f, OP_GETTABLE, reg, t->reg, t->index); break;
    }
}

/* ---- a, b.c = x, y --------------------------------------------------------------------------- */

typedef struct Assignment {
    Target target;
    int early; /* LOCAL: where its value is computed: its register, or a temporary; -1: see value */
    int value; /* register that holds the value in the end */
} Assignment;

/* Registers of local targets: written so far, and read after that. */
typedef struct Conflicts {
    bool written[LUAU_REGISTERS_MAX + 1], read[LUAU_REGISTERS_MAX + 1];
} Conflicts;

static void find_reads(Func *f, Conflicts *c, const AstExpr *e)
{
    switch (e->kind) {
    case AST_LOCAL: {
        int reg = luC_register(f, e);
        if (reg >= 0 && c->written[reg])
            c->read[reg] = true;
        break;
    }
    case AST_GROUP: find_reads(f, c, e->group); break;
    case AST_CALL:
        find_reads(f, c, e->call.func);
        for (int i = 0; i < e->call.args.count; i++)
            find_reads(f, c, e->call.args.items[i]);
        break;
    case AST_INDEX_NAME: find_reads(f, c, e->index_name.object); break;
    case AST_INDEX_EXPR:
        find_reads(f, c, e->index_expr.object);
        find_reads(f, c, e->index_expr.index);
        break;
    case AST_TABLE:
        for (int i = 0; i < e->table.count; i++) {
            if (e->table.items[i].key)
                find_reads(f, c, e->table.items[i].key);
            find_reads(f, c, e->table.items[i].value);
        }
        break;
    case AST_UNARY: find_reads(f, c, e->unary.expr); break;
    case AST_BINARY:
        find_reads(f, c, e->binary.left);
        find_reads(f, c, e->binary.right);
        break;
    case AST_IF_ELSE:
        find_reads(f, c, e->if_else.condition);
        find_reads(f, c, e->if_else.yes);
        find_reads(f, c, e->if_else.no);
        break;
    case AST_INTERP:
        for (int i = 0; i < e->interp.count; i++)
            find_reads(f, c, e->interp.exprs[i]);
        break;
    default: break; /* a function sees a local only if it is captured: see plan_locals */
    }
}

/* Decides which locals are computed in place. A captured one never is: any call among the values
 * might look at it. */
static void plan_locals(Func *f, AstStat *stat, Assignment *all, Conflicts *c)
{
    AstExprList vars = stat->assign.vars, values = stat->assign.values;
    int direct = values.count < vars.count ? values.count - 1 : vars.count;
    for (int i = 0; i < values.count; i++) {
        find_reads(f, c, values.items[i]);
        if (i < direct && all[i].target.kind == TARGET_LOCAL)
            c->written[all[i].target.reg] = true;
    }
    for (int i = 0; i < vars.count; i++) {
        const Target *t = &all[i].target;
        if (t->kind >= TARGET_NAME && c->written[t->reg])
            c->read[t->reg] = true;
        if (t->kind == TARGET_INDEX && c->written[t->index])
            c->read[t->index] = true;
    }
    for (int i = 0; i < direct; i++) {
        const Target *t = &all[i].target;
        if (t->kind != TARGET_LOCAL)
            continue;
        bool conflict = c->read[t->reg] || vars.items[i]->local.local->captured;
        all[i].early = conflict ? luC_alloc(f, stat->location, 1) : t->reg;
    }
}

static void compute_values(Func *f, AstStat *stat, Assignment *all, const Conflicts *c)
{
    AstExprList vars = stat->assign.vars, values = stat->assign.values;
    for (int i = 0; i < values.count; i++) {
        AstExpr *value = values.items[i];
        if (i >= vars.count) {
            luC_side(f, value);
        } else if (i + 1 == values.count && vars.count > values.count) {
            int count = vars.count - i;
            int base = luC_alloc(f, stat->location, count);
            AstExprList last = {&values.items[i], 1};
            luC_list_values(f, last, base, count, stat->location);
            for (int j = i; j < vars.count; j++)
                all[j].value = base + (j - i);
        } else if (all[i].early >= 0) {
            luC_expr(f, value, all[i].early, all[i].early != all[i].target.reg);
            all[i].value = all[i].early;
        } else {
            int reg = luC_register(f, value);
            if (reg >= 0 && c->written[reg]) { /* it may get its new value before the store */
                all[i].value = luC_alloc(f, stat->location, 1);
                luC_expr(f, value, all[i].value, true);
            } else {
                all[i].value = luC_any(f, value);
            }
        }
    }
}

static void assign_many(Func *f, AstStat *stat)
{
    AstExprList vars = stat->assign.vars;
    Assignment *all = luA_alloc(f->c->arena, (size_t)vars.count * sizeof(Assignment));
    Conflicts conflicts;
    memset(&conflicts, 0, sizeof(conflicts));
    for (int i = 0; i < vars.count; i++)
        all[i] = (Assignment){open_target(f, vars.items[i]), -1, -1};
    plan_locals(f, stat, all, &conflicts);
    compute_values(f, stat, all, &conflicts);
    for (int i = 0; i < vars.count; i++)
        if (all[i].target.kind != TARGET_LOCAL)
            store(f, &all[i].target, all[i].value);
    for (int i = 0; i < vars.count; i++) /* last: they may be tables or keys of the others */
        if (all[i].target.kind == TARGET_LOCAL)
            store(f, &all[i].target, all[i].value);
}

void luC_assign(Func *f, AstStat *stat)
{
    int top = f->top;
    if (stat->assign.vars.count == 1 && stat->assign.values.count == 1) {
        AstExpr *value = stat->assign.values.items[0];
        Target t = open_target(f, stat->assign.vars.items[0]);
        if (t.kind == TARGET_LOCAL)
            luC_expr(f, value, t.reg, false);
        else
            store(f, &t, luC_any(f, value));
    } else {
        assign_many(f, stat);
    }
    f->top = top;
}

/* ---- a op= b --------------------------------------------------------------------------------- */

static void compound_concat(Func *f, AstStat *stat, const Target *t, int target)
{
    AstExpr *value = stat->compound.value;
    int count = 1 + luC_concatcount(value);
    int base = luC_alloc(f, stat->location, count);
    fetch(f, t, base);
    luC_concatoperands(f, value, base + 1);
    luC_abc(f, OP_CONCAT, target, base, base + count - 1);
}

void luC_compound(Func *f, AstStat *stat)
{
    int top = f->top;
    Target t = open_target(f, stat->compound.var);
    int target = t.kind == TARGET_LOCAL ? t.reg : luC_alloc(f, stat->location, 1);
    if (stat->compound.op == AST_CONCAT) {
        compound_concat(f, stat, &t, target);
    } else {
        int op = stat->compound.op - AST_ADD; /* ORDER OP */
        if (t.kind != TARGET_LOCAL)
            fetch(f, &t, target);
        int k = luC_numberk(f, stat->compound.value);
        if (k >= 0)
            luC_abc(f, (OpCode)(OP_ADDK + op), target, target, k);
        else
            luC_abc(f, (OpCode)(OP_ADD + op), target, target, luC_any(f, stat->compound.value));
    }
    if (t.kind != TARGET_LOCAL)
        store(f, &t, target);
    f->top = top;
}

/* ---- function a.b() end ---------------------------------------------------------------------- */

void luC_functionstat(Func *f, AstStat *stat)
{
    int top = f->top;
    AstExpr value = {.kind = AST_FUNCTION, .location = stat->location};
    value.function = stat->function.function;
    int reg = luC_register(f, stat->function.name);
    if (reg >= 0) {
        luC_closure(f, &value, reg);
    } else {
        reg = luC_alloc(f, stat->location, 1);
        luC_closure(f, &value, reg);
        Target t = open_target(f, stat->function.name);
        store(f, &t, reg);
    }
    f->top = top;
}

/* ---- local a, b = x, y ----------------------------------------------------------------------- */

/* Constant locals have no register, their values no effect. */
static bool is_redundant(const AstStat *stat)
{
    if (stat->local.values.count > stat->local.var_count)
        return false;
    for (int i = 0; i < stat->local.var_count; i++)
        if (!luC_isconstant(stat->local.vars[i]))
            return false;
    return true;
}

/* `local a = b` of two that never change: one register does for both. */
static bool make_alias(Func *f, AstStat *stat)
{
    if (f->c->optimization < 1 || stat->local.var_count != 1 || stat->local.values.count != 1)
        return false;
    const AstExpr *value = stat->local.values.items[0];
    int reg = luC_register(f, value);
    if (reg < 0 || stat->local.vars[0]->assigned)
        return false;
    while (value->kind == AST_GROUP)
        value = value->group;
    if (value->local.local->assigned)
        return false;
    luC_pushlocal(f, stat->local.vars[0], reg);
    return true;
}

void luC_localstat(Func *f, AstStat *stat)
{
    int count = stat->local.var_count;
    if (is_redundant(stat) || make_alias(f, stat))
        return;
    const LocalInfo *info = stat->local.vars[0]->data;
    if (info && info->table) {
        f->sized_table = info->table;
        f->sized_hash = info->hash_count;
        f->sized_array = info->array_count;
    }
    int base = luC_alloc(f, stat->location, count);
    luC_list_values(f, stat->local.values, base, count, stat->location);
    for (int i = 0; i < count; i++)
        luC_pushlocal(f, stat->local.vars[i], base + i);
}
