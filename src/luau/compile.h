/* compile.h: from source to module. See compile.c for the story. */
#ifndef LUAU_COMPILE_H
#define LUAU_COMPILE_H

#include "luau/ast.h"
#include "luau/module.h"

/* Generates code for the parsed chunk into the module (not sealed yet). False: a limit of reference
 * 4.3 was passed; *error is set. Out of memory longjmps to module->fail, arena->fail (the same). */
bool luC_compile(luau_Module *module, Arena *arena, const ParseResult *chunk,
                 const luau_CompileOptions *options, ParseError *error);

/* Appends the disassembly of a function; for luau_module_list. */
void luC_list(const Proto *proto, void (*write)(const char *text, size_t length, void *userdata),
              void *userdata);

/* Checks that a function (not its children) is well-formed: operands in range, jumps land on
 * instructions, closures are followed by their captures. NULL, or what is wrong with it. For debug
 * builds, tests and fuzzers: the compiler makes no other code. */
const char *luC_verify(const Proto *proto);

#endif
