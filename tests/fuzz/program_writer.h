/* program_writer.h: what the files of the program writer share: program.c (statements),
 * program_value.c (expressions), program_text.c (choices, variables, literals). */
#ifndef TESTS_FUZZ_PROGRAM_WRITER_H
#define TESTS_FUZZ_PROGRAM_WRITER_H

#include "program.h"

enum { VARS_MAX = 48, EXPRESSION_DEPTH = 5, BLOCK_DEPTH = 6 };

typedef struct Var {
    unsigned id;
    char kind;      /* as in program_lib.h; 'a' may be anything */
    bool constant;
} Var;

typedef struct Writer {
    Strbuf *out;
    FuzzBytes *in;
    const ProgramOptions *options;
    Var vars[VARS_MAX]; /* in scope; the list is cut where a block ends */
    int var_count;
    unsigned next_id;
    int depth, blocks, loops;
    bool vararg;
} Writer;

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- program_text.c ---- */
void put(Writer *w, const char *text);
unsigned pick(Writer *w, unsigned n);
bool rarely(Writer *w, unsigned n); /* about one time in n, never when the input has ended */
bool is_full(const Writer *w);
unsigned new_name(Writer *w);
void declare(Writer *w, unsigned id, char kind, bool constant);
/* A variable of that kind that is in scope; NULL: none. */
const Var *find_var(Writer *w, char kind, bool assignable);
void put_var(Writer *w, unsigned id);
const char *field(Writer *w);
void number(Writer *w);
void small(Writer *w);
void string(Writer *w);
void pattern(Writer *w);
void format_text(Writer *w);
void pack_format(Writer *w);

/* ---- program_value.c ---- */
void expression(Writer *w, char kind);
void metatable(Writer *w);
void library_call(Writer *w, char kind); /* gives that kind */
void own_call(Writer *w);
/* Parameters and body; the keyword and the name stand already. */
void function_rest(Writer *w, bool method);

/* ---- program.c ---- */
void block(Writer *w, int statements_max);

#endif
