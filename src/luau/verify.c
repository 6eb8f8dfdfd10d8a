/* verify.c: checks compiled code: the compiler's promises to the interpreter, which trusts them. */
#include <stdio.h>
#include <stdlib.h>

#include "luau/builtins.h"
#include "luau/compile.h"

typedef struct Verifier {
    const Proto *p;
    uint8_t *starts; /* per word: an instruction begins here */
    const char *fault;
} Verifier;

static const uint8_t op_aux[] = {
#define X(name, format, has_aux) has_aux,
    LUAU_OPCODES(X)
#undef X
};

static void check(Verifier *v, bool ok, const char *fault)
{
    if (!ok && !v->fault)
        v->fault = fault;
}

static void reg(Verifier *v, uint32_t r)
{
    check(v, r < v->p->max_stack, "register out of range");
}

/* Registers first .. first + count - 1; count 0 or less: none. */
static void regs(Verifier *v, uint32_t first, int count)
{
    check(v, count <= 0 || first + (uint32_t)count <= v->p->max_stack, "registers out of range");
}

static void constant(Verifier *v, uint32_t k)
{
    check(v, k < (uint32_t)v->p->k_count, "constant out of range");
}

static void number_constant(Verifier *v, uint32_t k)
{
    constant(v, k);
    check(v, v->fault || val_isnumber(v->p->k[k]), "constant is no number");
}

static void string_constant(Verifier *v, uint32_t k)
{
    constant(v, k);
    check(v, v->fault || val_isstring(v->p->k[k]), "constant is no string");
}

static void jump(Verifier *v, int pc, int distance)
{
    int target = pc + 1 + distance;
    check(v, target >= 0 && target < v->p->code_count && v->starts[target],
          "jump to no instruction");
}

static void captures(Verifier *v, int pc, const Proto *child, bool only_values)
{
    for (int i = 0; i < child->nup; i++, pc++) {
        if (pc >= v->p->code_count || INSTR_OP(v->p->code[pc]) != OP_CAPTURE) {
            check(v, false, "capture missing");
            return;
        }
        Instr instr = v->p->code[pc];
        check(v, INSTR_A(instr) <= LUAU_CAPTURE_UPVAL, "capture of unknown kind");
        check(v, !only_values || INSTR_A(instr) != LUAU_CAPTURE_REF, "cached closure by reference");
    }
}

static void import(Verifier *v, Instr i, uint32_t aux)
{
    uint32_t count = aux >> 30;
    reg(v, INSTR_A(i));
    constant(v, INSTR_DU(i));
    check(v, count >= 1, "import of no name");
    for (uint32_t n = 0; n < count; n++)
        string_constant(v, aux >> (20 - 10 * n) & 1023);
}

static void closure(Verifier *v, int pc, Instr i)
{
    bool cached = INSTR_OP(i) == OP_DUPCLOSURE;
    reg(v, INSTR_A(i));
    if (INSTR_D(i) < 0 || INSTR_D(i) >= v->p->child_count)
        check(v, false, "child out of range");
    else
        captures(v, pc + 1 + cached, v->p->children[INSTR_D(i)], cached);
    if (cached)
        check(v, v->p->code[pc + 1] < v->p->ncache, "cache slot out of range");
}

static void fastcall(Verifier *v, int pc, Instr i, uint32_t aux)
{
    OpCode op = INSTR_OP(i);
    jump(v, pc, (int)INSTR_C(i));
    check(v, v->fault || INSTR_OP(v->p->code[pc + 1 + (int)INSTR_C(i)]) == OP_CALL,
          "fast call without a call");
    check(v, INSTR_A(i) > BUILTIN_NONE && INSTR_A(i) < BUILTIN_COUNT, "unknown builtin");
    if (op != OP_FASTCALL)
        reg(v, INSTR_B(i));
    if (op == OP_FASTCALL2K)
        constant(v, aux);
    if (op == OP_FASTCALL2 || op == OP_FASTCALL3)
        reg(v, aux & 255);
    if (op == OP_FASTCALL3)
        reg(v, aux >> 8 & 255);
}

static void comparison(Verifier *v, Instr i, uint32_t aux)
{
    OpCode op = INSTR_OP(i);
    reg(v, INSTR_A(i));
    if (op <= OP_JUMPIFNOTLE)
        reg(v, aux & 255);
    else if (op <= OP_JUMPIFNOTGEK)
        number_constant(v, aux);
    else if (op >= OP_JUMPIFEQK)
        constant(v, aux);
}

static void three_registers(Verifier *v, Instr i)
{
    reg(v, INSTR_A(i));
    reg(v, INSTR_B(i));
    reg(v, INSTR_C(i));
}

static void table_access(Verifier *v, Instr i, uint32_t aux)
{
    reg(v, INSTR_A(i));
    reg(v, INSTR_B(i));
    switch (INSTR_OP(i)) {
    case OP_GETTABLE:
    case OP_SETTABLE: reg(v, INSTR_C(i)); break;
    case OP_GETTABLEKS:
    case OP_SETTABLEKS: string_constant(v, aux); break;
    case OP_NAMECALL:
        string_constant(v, aux);
        reg(v, INSTR_A(i) + 1);
        break;
    default: break;
    }
}

static void operation(Verifier *v, Instr i)
{
    OpCode op = INSTR_OP(i);
    if (op <= OP_POW || op == OP_AND || op == OP_OR) {
        three_registers(v, i);
        return;
    }
    reg(v, INSTR_A(i));
    if (op == OP_KSUB || op == OP_KDIV || op == OP_KADD || op == OP_KMUL) {
        number_constant(v, INSTR_B(i));
        reg(v, INSTR_C(i));
        return;
    }
    reg(v, INSTR_B(i));
    if (op == OP_ANDK || op == OP_ORK)
        constant(v, INSTR_C(i));
    else
        number_constant(v, INSTR_C(i));
}

static void loop(Verifier *v, int pc, Instr i, uint32_t aux)
{
    regs(v, INSTR_A(i), 3);
    jump(v, pc, INSTR_D(i));
    if (INSTR_OP(i) == OP_FORGLOOP)
        regs(v, INSTR_A(i) + 3, (int)(aux & 255));
}

static void flow(Verifier *v, int pc, Instr i)
{
    switch (INSTR_OP(i)) {
    case OP_CALL:
        regs(v, INSTR_A(i), INSTR_B(i) ? (int)INSTR_B(i) : 1);
        regs(v, INSTR_A(i), (int)INSTR_C(i) - 1);
        break;
    case OP_RETURN: regs(v, INSTR_A(i), (int)INSTR_B(i) - 1); break;
    case OP_RETURN1: reg(v, INSTR_A(i)); break;
    case OP_JUMP:
    case OP_JUMPBACK: jump(v, pc, INSTR_D(i)); break;
    case OP_JUMPX: jump(v, pc, INSTR_E(i)); break;
    case OP_JUMPIF:
    case OP_JUMPIFNOT:
    case OP_JUMPIFNIL:
    case OP_JUMPIFNOTNIL:
        reg(v, INSTR_A(i));
        jump(v, pc, INSTR_D(i));
        break;
    default: break;
    }
}

static void other(Verifier *v, Instr i, uint32_t aux)
{
    switch (INSTR_OP(i)) {
    case OP_LOADNIL:
    case OP_LOADN:
    case OP_CLOSEUPVALS:
    case OP_NEWTABLE: reg(v, INSTR_A(i)); break;
    case OP_LOADK:
        reg(v, INSTR_A(i));
        constant(v, INSTR_DU(i));
        break;
    case OP_LOADKX:
        reg(v, INSTR_A(i));
        constant(v, aux);
        break;
    case OP_GETGLOBAL:
    case OP_SETGLOBAL:
        reg(v, INSTR_A(i));
        string_constant(v, aux);
        break;
    case OP_GETUPVAL:
    case OP_GETUPREF:
    case OP_SETUPREF:
        reg(v, INSTR_A(i));
        check(v, INSTR_B(i) < v->p->nup, "upvalue out of range");
        break;
    case OP_CAPTURE:
        if (INSTR_A(i) == LUAU_CAPTURE_UPVAL)
            check(v, INSTR_B(i) < v->p->nup, "upvalue out of range");
        else
            reg(v, INSTR_B(i));
        break;
    case OP_CONCAT:
        three_registers(v, i);
        check(v, INSTR_B(i) < INSTR_C(i), "concatenation of one value");
        break;
    case OP_MOVE:
    case OP_TOSTRING:
    case OP_NOT:
    case OP_MINUS:
    case OP_LENGTH:
        reg(v, INSTR_A(i));
        reg(v, INSTR_B(i));
        break;
    case OP_DUPTABLE:
        reg(v, INSTR_A(i));
        check(v, INSTR_D(i) >= 0 && INSTR_D(i) < v->p->shape_count, "shape out of range");
        break;
    case OP_SETLIST:
        reg(v, INSTR_A(i));
        regs(v, INSTR_B(i), (int)INSTR_C(i) - 1);
        break;
    case OP_GETVARARGS:
        check(v, v->p->is_vararg, "varargs of a function that has none");
        regs(v, INSTR_A(i), (int)INSTR_B(i) - 1);
        break;
    case OP_PREPVARARGS:
        check(v, INSTR_A(i) == v->p->numparams, "wrong number of parameters");
        break;
    default: break;
    }
}

static void instruction(Verifier *v, int pc)
{
    Instr i = v->p->code[pc];
    OpCode op = INSTR_OP(i);
    uint32_t aux = op_aux[op] ? v->p->code[pc + 1] : 0;
    if (op == OP_LOADB) {
        reg(v, INSTR_A(i));
        jump(v, pc, (int)INSTR_C(i));
    } else if (op == OP_GETIMPORT) {
        import(v, i, aux);
    } else if ((op >= OP_GETTABLE && op <= OP_SETTABLEN) || op == OP_NAMECALL) {
        table_access(v, i, aux);
    } else if (op == OP_NEWCLOSURE || op == OP_DUPCLOSURE) {
        closure(v, pc, i);
    } else if (op >= OP_CALL && op <= OP_JUMPIFNOT) {
        flow(v, pc, i);
    } else if (op == OP_JUMPIFNIL || op == OP_JUMPIFNOTNIL) {
        flow(v, pc, i);
    } else if (op >= OP_JUMPIFEQ && op <= OP_JUMPIFNOTEQK) {
        comparison(v, i, aux);
        jump(v, pc, INSTR_D(i));
    } else if (op >= OP_ADD && op <= OP_ORK) {
        operation(v, i);
    } else if (op >= OP_FORNPREP && op <= OP_FORGLOOP) {
        loop(v, pc, i, aux);
    } else if (op >= OP_FASTCALL && op <= OP_FASTCALL3) {
        fastcall(v, pc, i, aux);
    } else {
        other(v, i, aux);
    }
}

static bool ends_flow(OpCode op)
{
    return op == OP_RETURN || op == OP_RETURN0 || op == OP_RETURN1 || op == OP_JUMP ||
           op == OP_JUMPBACK || op == OP_JUMPX;
}

const char *luC_verify(const Proto *proto)
{
    Verifier v = {proto, calloc((size_t)proto->code_count + 1, 1), NULL};
    int last = -1;
    if (!v.starts)
        return NULL; /* cannot tell */
    for (int pc = 0; pc < proto->code_count; pc++) {
        OpCode op = INSTR_OP(proto->code[pc]);
        if (op >= OP_COUNT) {
            check(&v, false, "unknown instruction");
            break;
        }
        v.starts[pc] = 1;
        last = pc;
        pc += op_aux[op];
        check(&v, pc < proto->code_count, "AUX word missing");
    }
    check(&v, last >= 0 && (v.fault || ends_flow(INSTR_OP(proto->code[last]))),
          "control runs off the end");
    for (int pc = 0; pc < proto->code_count && !v.fault; pc++) {
        instruction(&v, pc);
        pc += op_aux[INSTR_OP(proto->code[pc])];
    }
    free(v.starts);
    return v.fault;
}
