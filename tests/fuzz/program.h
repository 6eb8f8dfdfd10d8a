/* program.h: bytes to a Luau program that compiles, for fuzz_vm.c.
 *
 * Programs call three natives of the harness, which they know as locals:
 *     T()       counts a step and raises `out of steps` when there were too many; at the head of
 *               every function and loop body, so that all programs end
 *     P(...)    prints scalars as they are and other values as their types
 *     K(t)      keys of a table that are scalars, in a fixed order */
#ifndef TESTS_FUZZ_PROGRAM_H
#define TESTS_FUZZ_PROGRAM_H

#include "base/strbuf.h"
#include "bytes.h"

typedef struct ProgramOptions {
    /* What a program prints depends on nothing but the language: no order of traversal, no
     * addresses, no collector, no line numbers, no levels of the stack. */
    bool reproducible;
} ProgramOptions;

enum { PROGRAM_BYTES_MAX = 24 << 10 };

/* Appends the program. */
void program_write(Strbuf *out, FuzzBytes *input, const ProgramOptions *options);

#endif
