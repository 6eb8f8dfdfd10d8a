/* interop.h: values between JSON text and a VM, without a tree between.
 *
 *     Luau                              JSON
 *     nil, null (light userdata NULL)   null; read: nil in objects, null in arrays
 *     boolean, string (UTF-8)           the same
 *     number                            digits if integral within +-2^53, else shortest decimal
 *     I64, U64 userdata (int64.h)       exact integer; read: integers outside +-2^53
 *     integer                           exact integer; none is read
 *     table with the array metatable,   array; read: with the array metatable
 *       or keys exactly 1..n, n >= 1
 *     other table                       object; keys are strings, or integers (written in decimal)
 *     vector                            array of three numbers
 *     buffer                            stored values: {"$buffer": base64}; else it has no form
 *
 * Stored values (`stored`) keep what JSON has no form for under a name that no other object has: a
 * name of a dollar sign or several and `buffer` gets one dollar sign more when it is written, and
 * loses it when it is read. So a table with a field "$buffer" comes back as it was.
 *
 * The writer walks raw: no metamethod runs, so nothing changes while it looks. Both poll, may be
 * parked or killed in the middle, and count what they take against the VM's quota. */
#ifndef KHRONOS_INTEROP_H
#define KHRONOS_INTEROP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"
#include "luau/luau.h"

typedef struct InteropError {
    char text[512]; /* `$.items[3]: a function has no JSON form` */
} InteropError;

typedef struct InteropWriter {
    Strbuf *out;      /* appended to; its ceiling is the greatest result. Must be owned by something
                         that outlives a kill of the VM */
    bool pretty;      /* two blanks a level */
    bool stored;      /* buffers have a form */
    const char *root; /* what paths begin with */
} InteropWriter;

/* Writes the value at index. False: *error says why, and what was appended is to be thrown away.
 * May not return (killed). */
bool interop_encode(lua_State *L, int index, const InteropWriter *writer, InteropError *error);

typedef struct InteropReader {
    const char *text; /* keeps its place while the reader runs */
    size_t length;
    bool freeze; /* every table made becomes read-only */
    bool stored; /* {"$buffer": base64} is a buffer */
} InteropReader;

/* Reads one JSON text and pushes its value. False: nothing is pushed and *error says where and why.
 * May not return (killed), or raise when the stack cannot grow. */
bool interop_decode(lua_State *L, const InteropReader *reader, InteropError *error);

void interop_pushnull(lua_State *L);
bool interop_isnull(lua_State *L, int index);
void interop_pusharraymeta(lua_State *L);

#endif
