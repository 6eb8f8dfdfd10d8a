/* programs.h: programs for tests of failing allocations. Each returns a string, the same on every
 * run, leaves no globals behind and exercises one part of the language or its libraries. */
#ifndef TESTS_FAULT_PROGRAMS_H
#define TESTS_FAULT_PROGRAMS_H

typedef struct FaultProgram {
    const char *name, *source;
} FaultProgram;

extern const FaultProgram fault_programs[];
extern const int fault_program_count;

#endif
