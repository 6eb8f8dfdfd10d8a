/* compile_call.c: calls, and the library functions that need none.
 *
 * A call's function and arguments stand in consecutive registers. Where the callee is a library
 * function known to the interpreter, a FASTCALL goes first: it takes its arguments where they are
 * (locals in place), and what follows it, up to the CALL, is the plain call for when it declines or
 * the environment was changed. */
#include "luau/builtins.h"
#include "luau/codegen.h"
#include "luau/image.h"

enum { IMPORT_NAMES_MAX = 3, IMPORT_K_MAX = 1023, ALIASES_MAX = 8 };

/* ---- Library names --------------------------------------------------------------------------- */

/* Names of a chain like a.b.c, outermost first; 0 if e is no such chain of at most 3. */
static int chain_names(const AstExpr *e, const AstName *names[IMPORT_NAMES_MAX])
{
    const AstName *reversed[IMPORT_NAMES_MAX];
    int count = 0;
    for (; e->kind == AST_INDEX_NAME; e = e->index_name.object) {
        if (count == IMPORT_NAMES_MAX - 1)
            return 0;
        reversed[count++] = e->index_name.name;
    }
    if (e->kind != AST_GLOBAL)
        return 0;
    reversed[count++] = e->global;
    for (int i = 0; i < count; i++)
        names[i] = reversed[count - 1 - i];
    return count;
}

/* These are never taken for library names (hosts change what they hold). */
static bool is_changing_global(const AstName *name)
{
    static const char *const changing[] = {"_G",   "shared", "script",    "plugin",
                                           "game", "Game",   "workspace", "Workspace"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(changing); i++)
        if (strcmp(name->text, changing[i]) == 0)
            return true;
    return false;
}

static int fixed_chain(const Func *f, const AstExpr *e, const AstName *names[IMPORT_NAMES_MAX])
{
    int count = f->c->optimization >= 1 ? chain_names(e, names) : 0;
    if (count == 0 || luC_sethas(&f->c->globals, names[0], NULL) || is_changing_global(names[0]))
        return 0;
    return count;
}

bool luC_isglobalchain(const Func *f, const AstExpr *e)
{
    const AstName *names[IMPORT_NAMES_MAX];
    return fixed_chain(f, e, names) > 0;
}

/* The image's value for a chain, or nil; *known: its first name is in the image at all. */
static Value library_value(const Func *f, const AstName *const *names, int count, bool *known)
{
    const luau_Image *image = f->c->module->image;
    const char *text[IMPORT_NAMES_MAX];
    *known = false;
    if (!image)
        return VAL_NIL;
    for (int i = 0; i < count; i++)
        text[i] = names[i]->text;
    *known = !val_isnil(luI_lookup(image, text, 1));
    return *known ? luI_lookup(image, text, count) : VAL_NIL;
}

bool luC_import(Func *f, AstExpr *e, int target)
{
    const AstName *names[IMPORT_NAMES_MAX];
    int count = fixed_chain(f, e, names);
    bool known;
    if (count == 0)
        return false;
    Value v = library_value(f, names, count, &known);
    if (!known)
        return false;
    if (val_islight(v) || val_isuserdata(v)) /* not for constant tables */
        v = VAL_NIL;
    int ids[IMPORT_NAMES_MAX] = {0, 0, 0};
    for (int i = 0; i < count; i++) {
        ids[i] = luC_namek(f, names[i]);
        if (ids[i] > IMPORT_K_MAX)
            return false;
    }
    int k = luC_constant(f, v);
    if (k > UINT16_MAX)
        return false;
    luC_ad(f, OP_GETIMPORT, target, k);
    luC_emit(f, LUAU_IMPORT(count, ids[0], ids[1], ids[2]));
    return true;
}

static int find_builtin(const char *library, const char *name)
{
#define X(id, in_library, its_name)                                                                \
    if (name[0] == its_name[0] && strcmp(library, in_library) == 0 && strcmp(name, its_name) == 0) \
        return BUILTIN_##id;
    LUAU_BUILTINS(X)
#undef X
    return BUILTIN_NONE;
}

int luC_builtin(const Func *f, const AstExpr *callee)
{
    /* Through locals that name it: `local floor = math.floor`. */
    for (int i = 0; callee->kind == AST_LOCAL; i++) {
        const LocalInfo *info = callee->local.local->data;
        if (!info || !info->init || i == ALIASES_MAX)
            return BUILTIN_NONE;
        callee = info->init;
    }
    const AstName *names[IMPORT_NAMES_MAX];
    int count = fixed_chain(f, callee, names);
    if (count != 1 && count != 2)
        return BUILTIN_NONE;
    int id = find_builtin(count == 2 ? names[0]->text : "", names[count - 1]->text);
    bool known;
    if (id == BUILTIN_NONE || !val_isfunction(library_value(f, names, count, &known)))
        return BUILTIN_NONE;
    return id;
}

static bool has_one_result(int builtin)
{
    switch (builtin) {
    case BUILTIN_NONE:
    case BUILTIN_ASSERT:
    case BUILTIN_SELECT:
    case BUILTIN_UNPACK:
    case BUILTIN_TABLE_UNPACK:
    case BUILTIN_TABLE_INSERT:
    case BUILTIN_STRING_BYTE:
    case BUILTIN_BUFFER_WRITEI8:
    case BUILTIN_BUFFER_WRITEU8:
    case BUILTIN_BUFFER_WRITEI16:
    case BUILTIN_BUFFER_WRITEU16:
    case BUILTIN_BUFFER_WRITEI32:
    case BUILTIN_BUFFER_WRITEU32:
    case BUILTIN_BUFFER_WRITEF32:
    case BUILTIN_BUFFER_WRITEF64: return false;
    default: return true;
    }
}

bool luC_givesone(const Func *f, const AstExpr *call)
{
    return f->c->optimization >= 2 && !call->call.self &&
           has_one_result(luC_builtin(f, call->call.func));
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static void emit_call(Func *f, int base, int argument_count, bool multi, int results)
{
    luC_abc(f, OP_CALL, base, multi ? 0 : argument_count + 1, results + 1);
}

/* The callee behind a FASTCALL, and the CALL. */
static void fallback(Func *f, AstExpr *e, int fast, int base, bool multi, int results)
{
    AstExpr *callee = e->call.func;
    luC_exprtop(f, callee, base);
    luC_line(f, callee->location.end.line);
    int distance = luC_here(f) - (fast + 1);
    BASE_ASSERT(distance > 0 && distance <= UINT8_MAX);
    f->code[fast] |= (Instr)distance << 24;
    emit_call(f, base, e->call.args.count, multi, results);
}

/* One to three arguments, each a local in place, a temporary in its register of the plain call, or
 * (the second of two) a constant. */
static void fast_fixed(Func *f, AstExpr *e, int builtin, int base, int results)
{
    static const OpCode ops[] = {OP_NOP, OP_FASTCALL1, OP_FASTCALL2, OP_FASTCALL3};
    int count = e->call.args.count, regs[3] = {0, 0, 0};
    AstExpr **args = e->call.args.items;
    bool with_k = count == 2 && (args[1]->kind == AST_NUMBER || args[1]->kind == AST_STRING);
    int in_registers = with_k ? 1 : count;
    for (int i = 0; i < in_registers; i++) {
        regs[i] = luC_register(f, args[i]);
        if (regs[i] < 0) {
            regs[i] = base + 1 + i;
            luC_exprtop(f, args[i], regs[i]);
        }
    }
    luC_line(f, e->call.func->location.end.line);
    int fast = luC_abc(f, with_k ? OP_FASTCALL2K : ops[count], builtin, regs[0], 0);
    if (with_k)
        luC_emit(f, (Instr)luC_constant(f, luC_value(f, args[1])));
    else if (count > 1)
        luC_emit(f, (Instr)regs[1] | (count > 2 ? (Instr)regs[2] << 8 : 0));
    for (int i = 0; i < in_registers; i++)
        if (regs[i] != base + 1 + i)
            luC_abc(f, OP_MOVE, base + 1 + i, regs[i], 0);
    if (with_k)
        luC_load(f, args[1], base + 2);
    fallback(f, e, fast, base, false, results);
}

/* Arguments to base + first.. ; true if they go on to top. */
static bool arguments(Func *f, AstExpr *e, int first)
{
    bool multi = false;
    AstExprList args = e->call.args;
    for (int i = 0; i < args.count; i++) {
        if (i + 1 == args.count)
            multi = luC_multi(f, args.items[i], first + i);
        else
            luC_exprtop(f, args.items[i], first + i);
    }
    return multi;
}

static void method_call(Func *f, AstExpr *e, int base, int results)
{
    AstExpr *callee = e->call.func;
    int object = luC_register(f, callee->index_name.object);
    if (object < 0) {
        object = base;
        luC_exprtop(f, callee->index_name.object, object);
    }
    bool multi = arguments(f, e, base + 2);
    luC_line(f, callee->index_name.name_location.begin.line);
    int k = luC_namek(f, callee->index_name.name);
    luC_abc(f, OP_NAMECALL, base, object, luC_hint(f, k));
    luC_emit(f, (Instr)k);
    emit_call(f, base, e->call.args.count + 1, multi, results);
}

void luC_call(Func *f, AstExpr *e, int base, int room, int results)
{
    AstExprList args = e->call.args;
    int needed = 1 + e->call.self + args.count;
    if (needed > room)
        luC_alloc(f, e->location, needed - room);
    if (e->call.self) {
        method_call(f, e, base, results);
        return;
    }
    int builtin = luC_builtin(f, e->call.func);
    if (builtin == BUILTIN_NONE || args.count == 0) {
        luC_exprtop(f, e->call.func, base);
        bool multi = arguments(f, e, base + 1);
        luC_line(f, e->call.func->location.end.line);
        emit_call(f, base, args.count, multi, results);
    } else if (args.count <= 3 && !luC_ismulti(f, args.items[args.count - 1])) {
        fast_fixed(f, e, builtin, base, results);
    } else {
        bool multi = arguments(f, e, base + 1);
        luC_line(f, e->call.func->location.end.line);
        int fast = luC_abc(f, OP_FASTCALL, builtin, 0, 0);
        fallback(f, e, fast, base, multi, results);
    }
}
