/* vm_support.h: what the tests of the engine share: VMs on the standard image, running source. */
#ifndef TESTS_VM_SUPPORT_H
#define TESTS_VM_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "luau/luau.h"

/* Group setup and teardown: *state is the standard image. */
int vm_make_image(void **state);
int vm_drop_image(void **state);

/* Group setup: the same with the test modes of LUAU_DEBUG on, in every VM made by vm_new: a full
 * collection at every safepoint, stacks that move whenever they may. */
int vm_make_image_stressed(void **state);

lua_State *vm_new(void **state, size_t quota);
/* Checks the heap and closes the VM. */
void vm_close(lua_State *L);

/* Pushes the main function of the source, chunk `t`. */
void vm_load(lua_State *L, const char *source);
/* Runs the source; the results, or the error, are on the stack. */
int vm_run(lua_State *L, const char *source);
/* Runs source that must not fail and leaves nothing. */
void vm_must(lua_State *L, const char *source);
void vm_expect_error(lua_State *L, const char *source, const char *message);
/* Calls fn without arguments; the message of the error that it must raise. */
void vm_expect_native_error(lua_State *L, lua_CFunction fn, const char *message);

#endif
