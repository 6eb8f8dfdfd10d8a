/* datamgmt.h: the parts of @antiraid/datamgmt.
 *
 * Natives here may be killed at any poll and never return. So what they need is memory of the VM,
 * or is freed around polls that do not unwind (luau_pollkill). Strings and buffers keep their place
 * and, as no code of the guild runs meanwhile, their bytes. */
#ifndef PLUGINS_DATAMGMT_H
#define PLUGINS_DATAMGMT_H

#include <stdbool.h>
#include <stddef.h>

#include "luau/luau.h"

enum { DATAMGMT_POLL_BYTES = 64 * 1024 }; /* of cheap work between two polls */

/* Bytes that were passed in: a string or a buffer. */
typedef struct DataIn {
    const char *bytes; /* of the value, which must stay on the stack */
    size_t length;
    bool is_buffer;
} DataIn;
void datamgmt_check(lua_State *L, int arg, DataIn *in);  /* [e] */
bool datamgmt_read(lua_State *L, int index, DataIn *in); /* false: something else stands there */

/* A string or buffer in the making. It stands on the stack in between: push and pop in balance. */
typedef struct DataOut {
    char *bytes; /* `length` of them are to be filled */
    size_t length;
    bool is_buffer;
    luaL_Strbuf text;
} DataOut;
/* Raises, instead of the VM being killed, if so much cannot be had. [e] */
void datamgmt_open(lua_State *L, DataOut *out, size_t length, bool is_buffer);
void datamgmt_close(lua_State *L, DataOut *out); /* it is on top now */
/* Raises if the guild has not so many bytes left. [e] */
void datamgmt_checkroom(lua_State *L, size_t bytes);
/* Copies, with polls. */
void datamgmt_copy(lua_State *L, char *to, const char *from, size_t length);

/* The natives. */
int datamgmt_base64encode(lua_State *L);
int datamgmt_base64decode(lua_State *L);
int datamgmt_compressgzip(lua_State *L);
int datamgmt_decompressgzip(lua_State *L);
int datamgmt_sha256(lua_State *L);
int datamgmt_hmac_sha256(lua_State *L);
int datamgmt_tarread(lua_State *L);
int datamgmt_tarwrite(lua_State *L);

#endif
