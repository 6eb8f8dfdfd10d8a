/* opcodes.h: the bytecode. One list, expanded into the enum, the names, the dispatch table, the
 * compiler's emitters, the checker and the disassembler.
 *
 * An instruction is one 32-bit little-endian word; some are followed by an AUX word.
 *
 *     ABC   | C:8 | B:8 | A:8 | op:8 |        registers and small numbers
 *     AD    |   D:16s     | A:8 | op:8 |      D: constant index (unsigned), jump, or small integer
 *     E     |      E:24s        | op:8 |      long jump
 *
 * R[x] is a register of the running function, K[x] a constant, U[x] an upvalue. Jumps count
 * instruction words from the word after the jump's first word (so an AUX word counts as one: a jump
 * offset of 0 in an instruction with AUX would land on its AUX word and is never emitted).
 * `poll` marks the safepoints where kills and preemption happen.
 *
 * Hints: the C byte of GETGLOBAL, SETGLOBAL, GETTABLEKS, SETTABLEKS, NAMECALL is a guess at the
 * hash node of the key (index & 255). Code is shared by all VMs and threads, so a hint is written
 * as a relaxed atomic store of the whole word, and words are read by relaxed atomic loads; a stale
 * hint only costs a slow lookup.
 *
 * Closures: NEWCLOSURE stores R[A] = the new closure before its CAPTUREs are carried out, so a
 * local function that captures itself by value (CAPTURE VAL of R[A]) gets itself. DUPCLOSURE
 * likewise: if its cache slot holds a closure of the running closure's environment, R[A] = that
 * one first, then the captures are compared with its upvalues; only if one differs (or there was
 * none) R[A] = a new closure, which is filled and put into the slot. The captures are the words
 * after the AUX word.
 *
 * FASTCALL*: "pc + C" counts like a jump, from the word after the instruction's first word (so the
 * AUX word of FASTCALL2, 2K, 3 counts as one); a CALL stands there.
 *
 * ORDER OP: comparisons come in pairs (positive, negated), arithmetic in the order of AST_ADD.. and
 * of the metamethods in tm.h. */
#ifndef LUAU_OPCODES_H
#define LUAU_OPCODES_H

#include <stdint.h>

typedef uint32_t Instr;

/* X(name, format, has_aux) */
#define LUAU_OPCODES(X)                                                                            \
    X(NOP, ABC, 0)                                                                                 \
    X(LOADNIL, ABC, 0)    /* R[A] = nil */                                                         \
    X(LOADB, ABC, 0)      /* R[A] = B != 0; then jump C words forward */                           \
    X(LOADN, AD, 0)       /* R[A] = D as a number */                                               \
    X(LOADK, AD, 0)       /* R[A] = K[D], D unsigned */                                            \
    X(LOADKX, ABC, 1)     /* R[A] = K[AUX] */                                                      \
    X(MOVE, ABC, 0)       /* R[A] = R[B] */                                                        \
    X(GETGLOBAL, ABC, 1)  /* R[A] = env[K[AUX]], C hint */                                         \
    X(SETGLOBAL, ABC, 1)  /* env[K[AUX]] = R[A], C hint */                                         \
    X(GETUPVAL, ABC, 0)   /* R[A] = U[B], captured by value */                                     \
    X(GETUPREF, ABC, 0)   /* R[A] = *U[B], captured by reference */                                \
    X(SETUPREF, ABC, 0)   /* *U[B] = R[A] */                                                       \
    X(CLOSEUPVALS, ABC, 0)/* close upvalues of registers >= A */                                   \
    X(GETIMPORT, AD, 1)   /* R[A] = K[D] if the environment is unmodified and K[D] is not nil,     \
                             else the path of names in AUX (see LUAU_IMPORT) looked up */          \
    X(GETTABLE, ABC, 0)   /* R[A] = R[B][R[C]] */                                                  \
    X(SETTABLE, ABC, 0)   /* R[B][R[C]] = R[A] */                                                  \
    X(GETTABLEKS, ABC, 1) /* R[A] = R[B][K[AUX]], K a string, C hint */                            \
    X(SETTABLEKS, ABC, 1) /* R[B][K[AUX]] = R[A], C hint */                                        \
    X(GETTABLEN, ABC, 0)  /* R[A] = R[B][C + 1] */                                                 \
    X(SETTABLEN, ABC, 0)  /* R[B][C + 1] = R[A] */                                                 \
    X(NEWCLOSURE, AD, 0)  /* R[A] = closure of child D; one CAPTURE per upvalue follows */         \
    X(DUPCLOSURE, AD, 1)  /* the same, all captures by value; kept in cache slot AUX of the        \
                             running closure and reused if environment and captures are the same */\
    X(CAPTURE, ABC, 0)    /* A: LUAU_CAPTURE_VAL R[B], _REF R[B], _UPVAL U[B] */                   \
    X(NAMECALL, ABC, 1)   /* R[A+1] = R[B]; R[A] = R[B][K[AUX]]; C hint; a CALL follows */         \
    X(CALL, ABC, 0)       /* R[A](R[A+1].. B-1 arguments; B 0: up to top); C-1 results to R[A]..   \
                             (C 0: all, sets top); poll */                                         \
    X(RETURN, ABC, 0)     /* return B-1 values from R[A] (B 0: up to top) */                       \
    X(RETURN0, ABC, 0)    /* return nothing; upvalues are closed by any return */                  \
    X(RETURN1, ABC, 0)    /* return R[A] */                                                        \
    X(JUMP, AD, 0)        /* pc += D */                                                            \
    X(JUMPBACK, AD, 0)    /* pc += D (a loop's back edge); poll */                                 \
    X(JUMPX, E, 0)        /* pc += E; poll if E < 0 */                                             \
    X(JUMPIF, AD, 0)      /* if R[A] is truthy, pc += D */                                         \
    X(JUMPIFNOT, AD, 0)                                                                            \
    X(JUMPIFEQ, AD, 1)    /* if R[A] == R[AUX & 255], pc += D */                                   \
    X(JUMPIFNOTEQ, AD, 1)                                                                          \
    X(JUMPIFLT, AD, 1)    /* R[A] < R[AUX & 255] */                                                \
    X(JUMPIFNOTLT, AD, 1)                                                                          \
    X(JUMPIFLE, AD, 1)                                                                             \
    X(JUMPIFNOTLE, AD, 1)                                                                          \
    X(JUMPIFLTK, AD, 1)   /* R[A] < K[AUX], K a number */                                          \
    X(JUMPIFNOTLTK, AD, 1)                                                                         \
    X(JUMPIFLEK, AD, 1)   /* R[A] <= K[AUX] */                                                     \
    X(JUMPIFNOTLEK, AD, 1)                                                                         \
    X(JUMPIFGTK, AD, 1)   /* R[A] > K[AUX], that is K[AUX] < R[A] */                               \
    X(JUMPIFNOTGTK, AD, 1)                                                                         \
    X(JUMPIFGEK, AD, 1)   /* R[A] >= K[AUX] */                                                     \
    X(JUMPIFNOTGEK, AD, 1)                                                                         \
    X(JUMPIFNIL, AD, 0)   /* R[A] == nil */                                                        \
    X(JUMPIFNOTNIL, AD, 0)                                                                         \
    X(JUMPIFBOOL, AD, 1)  /* R[A] is the boolean AUX & 1 */                                        \
    X(JUMPIFNOTBOOL, AD, 1)                                                                        \
    X(JUMPIFEQK, AD, 1)   /* R[A] == K[AUX], K a number or string (rawly: neither has __eq) */     \
    X(JUMPIFNOTEQK, AD, 1)                                                                         \
    X(ADD, ABC, 0)        /* R[A] = R[B] + R[C] */                                                 \
    X(SUB, ABC, 0)                                                                                 \
    X(MUL, ABC, 0)                                                                                 \
    X(DIV, ABC, 0)                                                                                 \
    X(IDIV, ABC, 0)                                                                                \
    X(MOD, ABC, 0)                                                                                 \
    X(POW, ABC, 0)                                                                                 \
    X(ADDK, ABC, 0)       /* R[A] = R[B] + K[C], K a number */                                     \
    X(SUBK, ABC, 0)                                                                                \
    X(MULK, ABC, 0)                                                                                \
    X(DIVK, ABC, 0)                                                                                \
    X(IDIVK, ABC, 0)                                                                               \
    X(MODK, ABC, 0)                                                                                \
    X(POWK, ABC, 0)                                                                                \
    X(KSUB, ABC, 0)       /* R[A] = K[B] - R[C], K a number */                                     \
    X(KDIV, ABC, 0)                                                                                \
    X(KADD, ABC, 0)                                                                                \
    X(KMUL, ABC, 0)                                                                                \
    X(AND, ABC, 0)        /* R[A] = R[B] if falsy, else R[C] */                                    \
    X(OR, ABC, 0)                                                                                  \
    X(ANDK, ABC, 0)       /* R[A] = R[B] if falsy, else K[C] */                                    \
    X(ORK, ABC, 0)                                                                                 \
    X(CONCAT, ABC, 0)     /* R[A] = R[B] .. ... .. R[C] */                                         \
    X(TOSTRING, ABC, 0)   /* R[A] = tostring(R[B]): a part of an interpolated string */            \
    X(NOT, ABC, 0)        /* R[A] = not R[B] */                                                    \
    X(MINUS, ABC, 0)                                                                               \
    X(LENGTH, ABC, 0)                                                                              \
    X(NEWTABLE, ABC, 1)   /* R[A] = {}: B 0 or 1 + log2 of hash nodes; AUX array slots */          \
    X(DUPTABLE, AD, 0)    /* R[A] = table with the layout of shape D (its keys, values nil) */     \
    X(SETLIST, ABC, 1)    /* R[A][AUX + i] = R[B + i], i = 0.. C-2 (C 0: up to top) */             \
    X(FORNPREP, AD, 0)    /* numeric for. R[A] limit, R[A+1] step, R[A+2] index: check, convert;   \
                             if no turn, pc += D */                                                \
    X(FORNLOOP, AD, 0)    /* R[A+2] += R[A+1]; if in range pc += D; poll */                        \
    X(FORGPREP, AD, 0)    /* generic for. R[A] iterator, R[A+1] state, R[A+2] control: check, call \
                             __iter; pc += D (to the FORGLOOP) */                                  \
    X(FORGLOOP, AD, 1)    /* R[A+3].. (AUX & 255 variables) = next; if not nil pc += D; poll.      \
                             Bit 31 of AUX: ipairs-like use (no effect on meaning) */              \
    X(GETVARARGS, ABC, 0) /* R[A].. = B-1 varargs (B 0: all, sets top) */                          \
    X(PREPVARARGS, ABC, 0)/* first of a vararg function: A fixed parameters */                     \
    X(FASTCALL, ABC, 0)   /* builtin A (builtins.h) with the operands of the CALL that stands at   \
                             pc + C; if the environment is unmodified and it applies, the results  \
                             are set and execution goes on after that CALL; else with the next     \
                             instruction */                                                        \
    X(FASTCALL1, ABC, 0)  /* the same, the one argument is R[B] */                                 \
    X(FASTCALL2, ABC, 1)  /* arguments R[B], R[AUX & 255] */                                       \
    X(FASTCALL2K, ABC, 1) /* arguments R[B], K[AUX] */                                             \
    X(FASTCALL3, ABC, 1)  /* arguments R[B], R[AUX & 255], R[AUX >> 8 & 255] */

typedef enum OpCode {
#define X(name, format, aux) OP_##name,
    LUAU_OPCODES(X)
#undef X
    OP_COUNT
} OpCode;

enum { LUAU_CAPTURE_VAL, LUAU_CAPTURE_REF, LUAU_CAPTURE_UPVAL };

#define INSTR_OP(i) ((OpCode)((i) & 0xff))
#define INSTR_A(i) ((uint32_t)(uint8_t)((i) >> 8))
#define INSTR_B(i) ((uint32_t)(uint8_t)((i) >> 16))
#define INSTR_C(i) ((uint32_t)(i) >> 24)
#define INSTR_D(i) ((int32_t)(i) >> 16)
#define INSTR_DU(i) ((i) >> 16)
#define INSTR_E(i) ((int32_t)(i) >> 8)

#define INSTR_ABC(op, a, b, c) \
    ((Instr)(op) | ((Instr)(a) << 8) | ((Instr)(b) << 16) | ((Instr)(c) << 24))
#define INSTR_AD(op, a, d) ((Instr)(op) | ((Instr)(a) << 8) | ((Instr)(uint16_t)(d) << 16))
#define INSTR_MAKE_E(op, e) ((Instr)(op) | ((Instr)(e) << 8))

/* AUX of GETIMPORT: 1 to 3 names as constant indices below 1024: count in bits 30-31, the first
 * name in bits 20-29, then 10-19, 0-9. */
#define LUAU_IMPORT(count, a, b, c) \
    (((uint32_t)(count) << 30) | ((uint32_t)(a) << 20) | ((uint32_t)(b) << 10) | (uint32_t)(c))

/* Limits that the encodings give. */
enum {
    LUAU_REGISTERS_MAX = 255,
    LUAU_LOCALS_MAX = 200,
    LUAU_UPVALUES_MAX = 200,
    LUAU_CONSTANTS_MAX = 1 << 23,
    LUAU_CHILDREN_MAX = 1 << 15,
    LUAU_JUMP_MAX = 1 << 23
};

#endif
