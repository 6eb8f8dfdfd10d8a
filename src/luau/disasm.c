/* disasm.c: a listing of compiled code, for people and tests. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/num.h"
#include "luau/builtins.h"
#include "luau/compile.h"

typedef void (*WriteFunction)(const char *text, size_t length, void *userdata);

typedef struct Listing {
    const Proto *p;
    WriteFunction write;
    void *userdata;
} Listing;

static const char *const op_names[] = {
#define X(name, format, aux) #name,
    LUAU_OPCODES(X)
#undef X
};
enum { FORMAT_ABC, FORMAT_AD, FORMAT_E };
static const struct {
    uint8_t format, aux;
} op_info[] = {
#define X(name, its_format, has_aux) {FORMAT_##its_format, has_aux},
    LUAU_OPCODES(X)
#undef X
};
static const char *const builtin_names[] = {"none",
#define X(id, library, name) library "." name,
                                            LUAU_BUILTINS(X)
#undef X
};

static const char *builtin_name(uint32_t id)
{
    const char *name = builtin_names[id];
    return name + (*name == '.'); /* a global has no library */
}

static void out(const Listing *l, const char *format, ...) BASE_PRINTF(2, 3);
static void out(const Listing *l, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n > 0)
        l->write(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1, l->userdata);
}

static void out_string(const Listing *l, const String *s)
{
    enum { SHOWN_MAX = 32 };
    char text[SHOWN_MAX * 4 + 8];
    size_t n = 0;
    text[n++] = '\'';
    for (uint32_t i = 0; i < s->length && i < SHOWN_MAX; i++) {
        unsigned char c = (unsigned char)s->data[i];
        n += (size_t)snprintf(text + n, 5, c < 32 || c >= 127 ? "\\%03d" : "%c", c);
    }
    out(l, "%.*s%s'", (int)n, text, s->length > SHOWN_MAX ? "..." : "");
}

static void out_constant(const Listing *l, Value v)
{
    char text[NUM_TEXT_MAX];
    switch (val_type(v)) {
    case LUA_TNIL: out(l, "nil"); break;
    case LUA_TBOOLEAN: out(l, "%s", val_istrue(v) ? "true" : "false"); break;
    case LUA_TNUMBER:
        num_format(v.n, text);
        out(l, "%s", text);
        break;
    case LUA_TSTRING: out_string(l, val_string(v)); break;
    case LUA_TTABLE: out(l, "table"); break;
    case LUA_TFUNCTION: out(l, "function"); break;
    case LUA_TINTEGER: out(l, "%" PRId64 "i", val_integer(v)->n); break;
    case LUA_TVECTOR:
        out(l, "vector(%g, %g, %g)", (double)val_vector(v)->v[0], (double)val_vector(v)->v[1],
            (double)val_vector(v)->v[2]);
        break;
    default: out(l, "?"); break;
    }
}

static void out_import(const Listing *l, uint32_t aux)
{
    for (uint32_t i = 0; i < aux >> 30; i++)
        out(l, "%s%s", i ? "." : "", val_string(l->p->k[aux >> (20 - 10 * i) & 1023])->data);
}

static void out_shape(const Listing *l, const Shape *shape)
{
    for (int i = 0; shape->node && i < 1 << shape->lsizenode; i++) {
        out(l, "%s", i ? " " : "");
        if (val_isnil(shape->node[i].key))
            out(l, "-");
        else
            out_constant(l, shape->node[i].key);
    }
}

/* The constant that an instruction uses, or -1. */
static int constant_of(Instr i, uint32_t aux)
{
    switch (INSTR_OP(i)) {
    case OP_LOADK: return (int)INSTR_DU(i);
    case OP_LOADKX:
    case OP_GETGLOBAL:
    case OP_SETGLOBAL:
    case OP_GETTABLEKS:
    case OP_SETTABLEKS:
    case OP_NAMECALL:
    case OP_FASTCALL2K:
    case OP_JUMPIFLTK:
    case OP_JUMPIFNOTLTK:
    case OP_JUMPIFLEK:
    case OP_JUMPIFNOTLEK:
    case OP_JUMPIFGTK:
    case OP_JUMPIFNOTGTK:
    case OP_JUMPIFGEK:
    case OP_JUMPIFNOTGEK:
    case OP_JUMPIFEQK:
    case OP_JUMPIFNOTEQK: return (int)aux;
    case OP_ADDK:
    case OP_SUBK:
    case OP_MULK:
    case OP_DIVK:
    case OP_IDIVK:
    case OP_MODK:
    case OP_POWK:
    case OP_ANDK:
    case OP_ORK: return (int)INSTR_C(i);
    case OP_KSUB:
    case OP_KDIV:
    case OP_KADD:
    case OP_KMUL: return (int)INSTR_B(i);
    default: return -1;
    }
}

static void out_comment(const Listing *l, Instr i, uint32_t aux)
{
    int k = constant_of(i, aux);
    if (k >= 0) {
        out(l, " ; ");
        out_constant(l, l->p->k[k]);
    }
    switch (INSTR_OP(i)) {
    case OP_GETIMPORT:
        out(l, " ; ");
        out_import(l, aux);
        out(l, " = ");
        out_constant(l, l->p->k[INSTR_DU(i)]);
        break;
    case OP_NEWCLOSURE:
    case OP_DUPCLOSURE: {
        const Proto *child = l->p->children[INSTR_D(i)];
        out(l, " ; %s, line %d", child->name ? child->name->data : "function", child->line_defined);
        break;
    }
    case OP_DUPTABLE:
        out(l, " ; ");
        out_shape(l, &l->p->shapes[INSTR_D(i)]);
        break;
    case OP_CAPTURE:
        out(l, " ; %s",
            INSTR_A(i) == LUAU_CAPTURE_VAL   ? "register"
            : INSTR_A(i) == LUAU_CAPTURE_REF ? "register by reference"
                                             : "upvalue");
        break;
    default: break;
    }
}

static bool is_jump(OpCode op)
{
    return (op >= OP_JUMP && op <= OP_JUMPIFNOTEQK && op != OP_JUMPX) ||
           (op >= OP_FORNPREP && op <= OP_FORGLOOP);
}

static void list_instruction(const Listing *l, int pc)
{
    Instr i = l->p->code[pc];
    OpCode op = INSTR_OP(i);
    bool has_aux = op_info[op].aux;
    uint32_t aux = has_aux && pc + 1 < l->p->code_count ? l->p->code[pc + 1] : 0;
    bool hinted = op == OP_GETGLOBAL || op == OP_SETGLOBAL || op == OP_GETTABLEKS ||
                  op == OP_SETTABLEKS || op == OP_NAMECALL;
    out(l, "%5d %5d  %-13s", luM_line(l->p, pc), pc, op_names[op]);
    if (op == OP_JUMPX)
        out(l, " -> %d", pc + 1 + INSTR_E(i));
    else if (is_jump(op))
        out(l, " %u -> %d", INSTR_A(i), pc + 1 + INSTR_D(i));
    else if (op_info[op].format == FORMAT_AD)
        out(l, " %u %d", INSTR_A(i), op == OP_LOADN ? INSTR_D(i) : (int)INSTR_DU(i));
    else if (op >= OP_FASTCALL && op <= OP_FASTCALL3)
        out(l, " %s %u %u", builtin_name(INSTR_A(i)), INSTR_B(i), INSTR_C(i));
    else if (hinted) /* hints change while the code runs */
        out(l, " %u %u", INSTR_A(i), INSTR_B(i));
    else
        out(l, " %u %u %u", INSTR_A(i), INSTR_B(i), INSTR_C(i));
    if (has_aux && op != OP_GETIMPORT)
        out(l, " [%u]", aux);
    out_comment(l, i, aux);
    out(l, "\n");
}

void luC_list(const Proto *proto, WriteFunction write, void *userdata)
{
    Listing l = {proto, write, userdata};
    out(&l, "%s %s, line %d: %d parameters%s, %d upvalues, %d registers, %d caches\n",
        proto->module->main == proto ? "main" : "function", proto->name ? proto->name->data : "?",
        proto->line_defined, proto->numparams, proto->is_vararg ? " and ..." : "", proto->nup,
        proto->max_stack, proto->ncache);
    for (int pc = 0; pc < proto->code_count; pc++) {
        list_instruction(&l, pc);
        pc += op_info[INSTR_OP(proto->code[pc])].aux;
    }
}

void luau_module_list(const luau_Module *module, WriteFunction write, void *userdata)
{
    for (int i = module->proto_count - 1; i >= 0; i--)
        luC_list(module->protos[i], write, userdata);
}
