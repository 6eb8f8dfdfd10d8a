/* compile_expr.c: expressions into registers, and conditions into jumps.
 *
 * Every expression is compiled towards a register given by whoever needs the value; locals are used
 * where they are. Conditions (luC_condition) never make a boolean: comparisons become jumps, and
 * and/or/not only decide where those go. */
#include "luau/codegen.h"

/* ---- Literals and locals --------------------------------------------------------------------- */

Value luC_value(Func *f, const AstExpr *literal)
{
    switch (literal->kind) {
    case AST_TRUE: return VAL_TRUE;
    case AST_FALSE: return VAL_FALSE;
    case AST_NUMBER: return val_anynumber(literal->number);
    case AST_INTEGER: return val_fromobject(luM_integer(f->c->module, literal->integer));
    case AST_STRING:
        return val_fromstring(
            luM_string(f->c->module, literal->string.data, literal->string.length));
    default: return VAL_NIL;
    }
}

static void load_constant(Func *f, int k, int target)
{
    if (k <= UINT16_MAX) {
        luC_ad(f, OP_LOADK, target, k);
    } else {
        luC_abc(f, OP_LOADKX, target, 0, 0);
        luC_emit(f, (Instr)k);
    }
}

void luC_load(Func *f, const AstExpr *literal, int target)
{
    switch (literal->kind) {
    case AST_NIL: luC_abc(f, OP_LOADNIL, target, 0, 0); return;
    case AST_TRUE: luC_abc(f, OP_LOADB, target, 1, 0); return;
    case AST_FALSE: luC_abc(f, OP_LOADB, target, 0, 0); return;
    case AST_NUMBER: {
        int n = val_toint(literal->number);
        if (n >= INT16_MIN && n <= INT16_MAX && val_number(n).u == val_number(literal->number).u) {
            luC_ad(f, OP_LOADN, target, n); /* so -0 is not among them */
            return;
        }
        break;
    }
    default: break;
    }
    load_constant(f, luC_constant(f, luC_value(f, literal)), target);
}

int luC_register(const Func *f, const AstExpr *e)
{
    while (e->kind == AST_GROUP)
        e = e->group;
    if (e->kind != AST_LOCAL || e->local.local->function != f->ast)
        return -1;
    return e->local.local->reg;
}

int luC_numberk(Func *f, const AstExpr *e)
{
    if (e->kind != AST_NUMBER)
        return -1;
    int k = luC_constant(f, luC_value(f, e));
    return k <= UINT8_MAX ? k : -1;
}

int luC_smallindex(const AstExpr *e)
{
    if (e->kind != AST_NUMBER || !(e->number >= 1 && e->number <= 256))
        return -1;
    int n = (int)e->number;
    return n == e->number ? n - 1 : -1;
}

static void local_value(Func *f, AstLocal *local, int target)
{
    if (local->function != f->ast) {
        OpCode op = local->assigned ? OP_GETUPREF : OP_GETUPVAL;
        luC_abc(f, op, target, luC_upvalue(f, local), 0);
    } else if (local->reg != target) {
        luC_abc(f, OP_MOVE, target, local->reg, 0);
    }
}

/* ---- Indexing -------------------------------------------------------------------------------- */

/* The object of an index expression: a local in place; else a temporary, the target itself if it
 * may be used for that (so that long chains need one register). */
static int object_register(Func *f, AstExpr *e, int target, bool temp)
{
    int reg = luC_register(f, e);
    if (reg >= 0)
        return reg;
    if (!temp)
        return luC_any(f, e);
    luC_expr(f, e, target, true);
    return target;
}

static void get_name(Func *f, int target, int object, int k)
{
    luC_abc(f, OP_GETTABLEKS, target, object, luC_hint(f, k));
    luC_emit(f, (Instr)k);
}

static void global_value(Func *f, AstExpr *e, int target)
{
    if (luC_import(f, e, target))
        return;
    int k = luC_namek(f, e->global);
    luC_abc(f, OP_GETGLOBAL, target, 0, luC_hint(f, k));
    luC_emit(f, (Instr)k);
}

static void index_name(Func *f, AstExpr *e, int target, bool temp)
{
    if (luC_import(f, e, target))
        return;
    int object = object_register(f, e->index_name.object, target, temp);
    if (!luC_isglobalchain(f, e))
        luC_line(f, e->index_name.name_location.begin.line);
    get_name(f, target, object, luC_namek(f, e->index_name.name));
}

static void index_expr(Func *f, AstExpr *e, int target, bool temp)
{
    AstExpr *index = e->index_expr.index;
    int small = luC_smallindex(index);
    if (small < 0 && index->kind != AST_STRING) { /* the index must not overwrite the object */
        int object = luC_any(f, e->index_expr.object);
        int key = luC_any(f, index);
        luC_abc(f, OP_GETTABLE, target, object, key);
        return;
    }
    int object = object_register(f, e->index_expr.object, target, temp);
    luC_line(f, index->location.begin.line);
    if (small >= 0)
        luC_abc(f, OP_GETTABLEN, target, object, small);
    else
        get_name(f, target, object, luC_stringk(f, index->string.data, index->string.length));
}

/* ---- Arithmetic and concatenation ------------------------------------------------------------ */

static void arithmetic(Func *f, AstExpr *e, int target)
{
    AstBinary op = e->binary.op;
    AstExpr *left = e->binary.left, *right = e->binary.right;
    if (left->kind == AST_NUMBER && op <= AST_DIV) {
        static const uint8_t opcodes[] = {OP_KADD, OP_KSUB, OP_KMUL, OP_KDIV}; /* ORDER AST_ADD.. */
        int k = luC_numberk(f, left);
        if (k >= 0) {
            luC_abc(f, opcodes[op], target, k, luC_any(f, right));
            return;
        }
    }
    int a = luC_any(f, left);
    int k = luC_numberk(f, right);
    if (k >= 0)
        luC_abc(f, (OpCode)(OP_ADDK + (op - AST_ADD)), target, a, k);
    else
        luC_abc(f, (OpCode)(OP_ADD + (op - AST_ADD)), target, a, luC_any(f, right));
}

int luC_concatcount(const AstExpr *e)
{
    int count = 1;
    for (; e->kind == AST_BINARY && e->binary.op == AST_CONCAT; e = e->binary.right)
        count++;
    return count;
}

void luC_concatoperands(Func *f, AstExpr *e, int base)
{
    for (; e->kind == AST_BINARY && e->binary.op == AST_CONCAT; e = e->binary.right)
        luC_exprtop(f, e->binary.left, base++);
    luC_exprtop(f, e, base);
}

static void concat(Func *f, AstExpr *e, int target)
{
    int count = luC_concatcount(e);
    int base = luC_alloc(f, e->location, count);
    luC_concatoperands(f, e, base);
    luC_abc(f, OP_CONCAT, target, base, base + count - 1);
}

/* True if the value is a string already: tostring would not change it. */
static bool is_string(const AstExpr *e)
{
    return e->kind == AST_STRING || e->kind == AST_INTERP;
}

/* Parts first .. first + count - 1 of an interpolated string (text, expression, text, ...; empty
 * texts left out) to registers from base on, then converted in order. Returns their count. */
static int interp_parts(Func *f, AstExpr *e, int first, int count, int base)
{
    int used = 0;
    bool convert[256];
    for (int i = first; i < first + count; i++) {
        const struct AstText *text = &e->interp.strings[i / 2];
        if (i % 2 == 1) {
            AstExpr *part = e->interp.exprs[i / 2];
            luC_exprtop(f, part, base + used);
            convert[used++] = !is_string(part);
        } else if (text->length > 0) {
            load_constant(f, luC_stringk(f, text->data, text->length), base + used);
            convert[used++] = false;
        }
    }
    for (int i = 0; i < used; i++)
        if (convert[i])
            luC_abc(f, OP_TOSTRING, base + i, base + i, 0);
    return used;
}

static void interp(Func *f, AstExpr *e, int target)
{
    enum { PARTS_MAX = 60 }; /* converted and joined in one go; with more, piece by piece */
    int count = 2 * e->interp.count + 1;
    int base = f->top, used = 0;
    if (count == 3 && e->interp.strings[0].length + e->interp.strings[1].length == 0) {
        int part = luC_any(f, e->interp.exprs[0]);
        luC_abc(f, OP_TOSTRING, target, part, 0);
        return;
    }
    int room = count < PARTS_MAX ? count : PARTS_MAX + 1;
    luC_alloc(f, e->location, room);
    for (int first = 0; first < count; first += PARTS_MAX) {
        int step = count - first < PARTS_MAX ? count - first : PARTS_MAX;
        if (used > 0) /* what was joined so far stands first */
            used = 1 + interp_parts(f, e, first, step, base + 1);
        else
            used = interp_parts(f, e, first, step, base);
        if (used > 1 && first + step < count)
            luC_abc(f, OP_CONCAT, base, base, base + used - 1);
    }
    if (used > 1)
        luC_abc(f, OP_CONCAT, target, base, base + used - 1);
    else if (used == 1)
        luC_abc(f, OP_MOVE, target, base, 0);
    else
        load_constant(f, luC_stringk(f, "", 0), target);
}

/* ---- Comparisons ----------------------------------------------------------------------------- */

static bool is_comparison(const AstExpr *e)
{
    return e->kind == AST_BINARY && e->binary.op >= AST_NE && e->binary.op <= AST_GE;
}

static void jump_equal(Func *f, AstExpr *left, AstExpr *right, bool when, JumpList *list)
{
    if (luC_isliteral(left) && !luC_isliteral(right)) {
        AstExpr *swap = left;
        left = right;
        right = swap;
    }
    int a = luC_any(f, left);
    switch (right->kind) {
    case AST_NIL: luC_jump(f, when ? OP_JUMPIFNIL : OP_JUMPIFNOTNIL, a, list); break;
    case AST_TRUE:
    case AST_FALSE:
        luC_jumpaux(f, when ? OP_JUMPIFBOOL : OP_JUMPIFNOTBOOL, a, right->kind == AST_TRUE, list);
        break;
    case AST_NUMBER:
    case AST_STRING:
        luC_jumpaux(f, when ? OP_JUMPIFEQK : OP_JUMPIFNOTEQK, a,
                    (uint32_t)luC_constant(f, luC_value(f, right)), list);
        break;
    default: {
        int b = luC_any(f, right);
        luC_jumpaux(f, when ? OP_JUMPIFEQ : OP_JUMPIFNOTEQ, a, (uint32_t)b, list);
        break;
    }
    }
}

static void jump_order(Func *f, AstExpr *e, bool when, JumpList *list)
{
    static const OpCode with_constant[] = {/* of AST_LT .. AST_GE: register op constant */
                                           OP_JUMPIFLTK, OP_JUMPIFLEK, OP_JUMPIFGTK, OP_JUMPIFGEK};
    static const OpCode mirrored[] = {/* constant op register */
                                      OP_JUMPIFGTK, OP_JUMPIFGEK, OP_JUMPIFLTK, OP_JUMPIFLEK};
    AstBinary op = e->binary.op;
    AstExpr *left = e->binary.left, *right = e->binary.right;
    int negated = when ? 0 : 1; /* ORDER OP: the negated form is the next */
    if (left->kind == AST_NUMBER && right->kind != AST_NUMBER) {
        luC_line(f, left->location.begin.line);
        int b = luC_any(f, right);
        luC_jumpaux(f, (OpCode)(mirrored[op - AST_LT] + negated), b,
                    (uint32_t)luC_constant(f, luC_value(f, left)), list);
        return;
    }
    int a = luC_any(f, left);
    if (right->kind == AST_NUMBER) {
        luC_line(f, right->location.begin.line);
        luC_jumpaux(f, (OpCode)(with_constant[op - AST_LT] + negated), a,
                    (uint32_t)luC_constant(f, luC_value(f, right)), list);
        return;
    }
    int b = luC_any(f, right);
    bool swap = op == AST_GT || op == AST_GE; /* a > b runs as b < a */
    OpCode jump = op == AST_LT || op == AST_GT ? OP_JUMPIFLT : OP_JUMPIFLE;
    luC_jumpaux(f, (OpCode)(jump + negated), swap ? b : a, (uint32_t)(swap ? a : b), list);
}

static void jump_comparison(Func *f, AstExpr *e, bool when, JumpList *list)
{
    luC_line(f, e->location.begin.line);
    if (e->binary.op == AST_EQ || e->binary.op == AST_NE)
        jump_equal(f, e->binary.left, e->binary.right, when == (e->binary.op == AST_EQ), list);
    else
        jump_order(f, e, when, list);
}

/* ---- Conditions ------------------------------------------------------------------------------ */

void luC_condition(Func *f, AstExpr *e, bool when, JumpList *list)
{
    while (e->kind == AST_GROUP)
        e = e->group;
    int top = f->top;
    if (luC_isliteral(e)) {
        if (luC_istruthy(e) == when)
            luC_jump(f, OP_JUMP, 0, list);
    } else if (e->kind == AST_UNARY && e->unary.op == AST_NOT) {
        luC_condition(f, e->unary.expr, !when, list);
    } else if (e->kind == AST_BINARY && (e->binary.op == AST_AND || e->binary.op == AST_OR)) {
        bool decides = e->binary.op == AST_OR; /* truthiness of the left that settles it */
        if (when == decides) {
            luC_condition(f, e->binary.left, when, list);
            luC_condition(f, e->binary.right, when, list);
        } else {
            JumpList settled = 0;
            luC_condition(f, e->binary.left, decides, &settled);
            luC_condition(f, e->binary.right, when, list);
            luC_patchhere(f, settled);
        }
    } else if (is_comparison(e)) {
        jump_comparison(f, e, when, list);
    } else {
        luC_jump(f, when ? OP_JUMPIF : OP_JUMPIFNOT, luC_any(f, e), list);
    }
    f->top = top;
}

/* Code with the value of a condition: true or false. */
static void boolean_value(Func *f, AstExpr *e, int target)
{
    JumpList yes = 0;
    luC_condition(f, e, true, &yes);
    luC_abc(f, OP_LOADB, target, 0, 1);
    luC_patchhere(f, yes);
    luC_abc(f, OP_LOADB, target, 1, 0);
}

/* True if e as a value is best made by jumps. */
static bool is_condition(const AstExpr *e)
{
    while (e->kind == AST_GROUP)
        e = e->group;
    if (e->kind == AST_UNARY && e->unary.op == AST_NOT)
        return true;
    return e->kind == AST_BINARY && e->binary.op >= AST_NE;
}

static bool is_andor(const AstExpr *e)
{
    return e->kind == AST_BINARY && (e->binary.op == AST_AND || e->binary.op == AST_OR);
}

/* Jumps to *list with the value of e in reg if its truthiness is `when`; else goes on, with
 * anything in reg. */
static void value_or_go_on(Func *f, AstExpr *e, int reg, bool when, JumpList *list)
{
    while (e->kind == AST_GROUP)
        e = e->group;
    if (luC_isliteral(e)) {
        if (luC_istruthy(e) != when)
            return;
        luC_line(f, e->location.begin.line);
        luC_load(f, e, reg);
        luC_jump(f, OP_JUMP, 0, list);
    } else if (is_andor(e)) {
        bool decides = e->binary.op == AST_OR;
        if (when == decides) {
            value_or_go_on(f, e->binary.left, reg, when, list);
            value_or_go_on(f, e->binary.right, reg, when, list);
        } else {
            JumpList go_on = 0;
            luC_condition(f, e->binary.left, decides, &go_on);
            value_or_go_on(f, e->binary.right, reg, when, list);
            luC_patchhere(f, go_on);
        }
    } else if (is_condition(e)) { /* a comparison or `not`: the value is `when` */
        JumpList go_on = 0;
        luC_condition(f, e, !when, &go_on);
        luC_abc(f, OP_LOADB, reg, when, 0);
        luC_jump(f, OP_JUMP, 0, list);
        luC_patchhere(f, go_on);
    } else {
        luC_expr(f, e, reg, true);
        luC_jump(f, when ? OP_JUMPIF : OP_JUMPIFNOT, reg, list);
    }
}

static void and_or(Func *f, AstExpr *e, int target, bool temp)
{
    AstExpr *left = e->binary.left, *right = e->binary.right;
    bool is_and = e->binary.op == AST_AND;
    if (!is_condition(left)) { /* a right side without effects needs no jump */
        int b = luC_register(f, right);
        int k = luC_isliteral(right) ? luC_constant(f, luC_value(f, right)) : -1;
        if (b >= 0 || (k >= 0 && k <= UINT8_MAX)) {
            int a = object_register(f, left, target, temp);
            if (b >= 0)
                luC_abc(f, is_and ? OP_AND : OP_OR, target, a, b);
            else
                luC_abc(f, is_and ? OP_ANDK : OP_ORK, target, a, k);
            return;
        }
    }
    int reg = temp ? target : luC_alloc(f, e->location, 1);
    JumpList done = 0;
    value_or_go_on(f, left, reg, !is_and, &done);
    luC_expr(f, right, reg, true);
    luC_patchhere(f, done);
    if (reg != target)
        luC_abc(f, OP_MOVE, target, reg, 0);
}

static void if_else(Func *f, AstExpr *e, int target, bool temp)
{
    JumpList no = 0, done = 0;
    luC_condition(f, e->if_else.condition, false, &no);
    luC_expr(f, e->if_else.yes, target, temp);
    luC_jump(f, OP_JUMP, 0, &done);
    luC_patchhere(f, no);
    luC_expr(f, e->if_else.no, target, temp);
    luC_patchhere(f, done);
}

/* ---- Closures -------------------------------------------------------------------------------- */

void luC_closure(Func *f, AstExpr *e, int target)
{
    enum { CACHES_MAX = UINT8_MAX };
    AstFunction *function = e->function;
    const FunctionInfo *info = luC_function(f->c, function);
    int child = luC_child(f, info->proto, e->location);
    if (info->shared && f->cache_count < CACHES_MAX && f->c->optimization >= 1) {
        luC_ad(f, OP_DUPCLOSURE, target, child);
        luC_emit(f, (Instr)f->cache_count++);
    } else {
        luC_ad(f, OP_NEWCLOSURE, target, child);
    }
    for (int i = 0; i < info->upval_count; i++) {
        AstLocal *local = info->upvals[i];
        if (local->function != f->ast)
            luC_abc(f, OP_CAPTURE, LUAU_CAPTURE_UPVAL, luC_upvalue(f, local), 0);
        else
            luC_abc(f, OP_CAPTURE, local->assigned ? LUAU_CAPTURE_REF : LUAU_CAPTURE_VAL,
                    local->reg, 0);
    }
}

/* ---- Any expression -------------------------------------------------------------------------- */

static void unary(Func *f, AstExpr *e, int target)
{
    static const OpCode ops[] = {OP_NOT, OP_MINUS, OP_LENGTH};
    AstExpr *operand = e->unary.expr;
    if (e->unary.op == AST_NOT && is_condition(operand))
        boolean_value(f, e, target);
    else
        luC_abc(f, ops[e->unary.op], target, luC_any(f, operand), 0);
}

static void binary(Func *f, AstExpr *e, int target, bool temp)
{
    AstBinary op = e->binary.op;
    if (op == AST_AND || op == AST_OR)
        and_or(f, e, target, temp);
    else if (op == AST_CONCAT)
        concat(f, e, target);
    else if (op >= AST_NE)
        boolean_value(f, e, target);
    else
        arithmetic(f, e, target);
}

static void call_value(Func *f, AstExpr *e, int target, bool temp)
{
    if (temp && target == f->top - 1) {
        luC_call(f, e, target, 1, 1);
        return;
    }
    int base = f->top;
    luC_call(f, e, base, 0, 1);
    luC_abc(f, OP_MOVE, target, base, 0);
}

void luC_expr(Func *f, AstExpr *e, int target, bool temp)
{
    int top = f->top;
    luC_poll(f->c);
    luC_line(f, e->location.begin.line);
    switch (e->kind) {
    case AST_GROUP: luC_expr(f, e->group, target, temp); break;
    case AST_NIL:
    case AST_TRUE:
    case AST_FALSE:
    case AST_NUMBER:
    case AST_INTEGER:
    case AST_STRING: luC_load(f, e, target); break;
    case AST_LOCAL: local_value(f, e->local.local, target); break;
    case AST_GLOBAL: global_value(f, e, target); break;
    case AST_VARARG: luC_abc(f, OP_GETVARARGS, target, 2, 0); break;
    case AST_CALL: call_value(f, e, target, temp); break;
    case AST_INDEX_NAME: index_name(f, e, target, temp); break;
    case AST_INDEX_EXPR: index_expr(f, e, target, temp); break;
    case AST_FUNCTION: luC_closure(f, e, target); break;
    case AST_TABLE: luC_table(f, e, target, temp); break;
    case AST_UNARY: unary(f, e, target); break;
    case AST_BINARY: binary(f, e, target, temp); break;
    case AST_IF_ELSE: if_else(f, e, target, temp); break;
    case AST_INTERP: interp(f, e, target); break;
    }
    f->top = top;
}

void luC_exprtop(Func *f, AstExpr *e, int target)
{
    int top = f->top;
    f->top = target + 1;
    luC_expr(f, e, target, true);
    f->top = top;
}

int luC_any(Func *f, AstExpr *e)
{
    int reg = luC_register(f, e);
    if (reg >= 0)
        return reg;
    reg = luC_alloc(f, e->location, 1);
    luC_expr(f, e, reg, true);
    return reg;
}

/* ---- Lists of values ------------------------------------------------------------------------- */

bool luC_ismulti(const Func *f, const AstExpr *e)
{
    if (e->kind == AST_CALL)
        return !luC_givesone(f, e);
    return e->kind == AST_VARARG;
}

bool luC_multi(Func *f, AstExpr *e, int target)
{
    if (!luC_ismulti(f, e)) {
        luC_exprtop(f, e, target);
        return false;
    }
    int top = f->top;
    luC_line(f, e->location.begin.line);
    if (e->kind == AST_VARARG) {
        luC_abc(f, OP_GETVARARGS, target, 0, 0);
    } else {
        f->top = target;
        luC_call(f, e, target, 0, -1);
    }
    f->top = top;
    return true;
}

void luC_side(Func *f, AstExpr *e)
{
    int top = f->top;
    if (e->kind == AST_CALL) {
        luC_line(f, e->location.begin.line);
        luC_call(f, e, f->top, 0, 0);
    } else if (!luC_isliteral(e) && e->kind != AST_LOCAL && e->kind != AST_VARARG &&
               e->kind != AST_FUNCTION) {
        luC_any(f, e);
    }
    f->top = top;
}

/* `count` values of one expression to base.. */
static void spread(Func *f, AstExpr *e, int base, int count)
{
    if (e->kind == AST_CALL) {
        luC_line(f, e->location.begin.line);
        luC_call(f, e, base, count, count);
        f->top = base + count;
    } else if (e->kind == AST_VARARG) {
        luC_line(f, e->location.begin.line);
        luC_abc(f, OP_GETVARARGS, base, count + 1, 0);
    } else {
        luC_exprtop(f, e, base);
        for (int i = 1; i < count; i++)
            luC_abc(f, OP_LOADNIL, base + i, 0, 0);
    }
}

void luC_list_values(Func *f, AstExprList list, int base, int count, Location location)
{
    enum { RESULTS_MAX = 254 };
    for (int i = 0; i < list.count; i++) {
        AstExpr *e = list.items[i];
        if (i >= count) {
            luC_side(f, e);
        } else if (i + 1 < list.count || i + 1 == count) {
            luC_exprtop(f, e, base + i);
        } else {
            if (count - i > RESULTS_MAX)
                luC_error(f->c, location,
                          "Exceeded result count limit; simplify the code to compile");
            spread(f, e, base + i, count - i);
        }
    }
    if (list.count == 0)
        for (int i = 0; i < count; i++)
            luC_abc(f, OP_LOADNIL, base + i, 0, 0);
}
