/* str.h: strings. No intern table: equal strings may be different objects; equality is the pointer,
 * or hash, length and bytes. Their hash decides the order in tables (reference 13.1). */
#ifndef LUAU_STR_H
#define LUAU_STR_H

#include "luau/object.h"

#define LUAU_STRING_MAX (1u << 30)

/* Reference 13.1. */
uint32_t luS_hash(const char *data, size_t length);
/* New string; calls no collector (callers: luG_check first). The caller checks the length against
 * LUAU_STRING_MAX. Large ones: luH_reserve first; like hashing and
 * comparing such, filling them may park (bytes.h). */
String *luS_new(lua_State *L, const char *data, size_t length);
/* The same with the bytes left to be filled (before anything looks at it); NUL is set. */
String *luS_room(lua_State *L, size_t length);
#define luS_literal(L, s) luS_new(L, "" s, sizeof(s) - 1)
/* SipHash-1-3 under a secret key: for tables that were flooded (TABLE_SEEDED). */
uint64_t luS_keyedhash(const uint64_t key[2], const void *data, size_t length);
/* Equality of two different objects' bytes. */
bool luS_equalbytes(const String *a, const String *b);
#define luS_equal(a, b) ((a) == (b) || luS_equalbytes((a), (b)))
int luS_compare(const String *a, const String *b); /* by unsigned bytes: < 0, 0, > 0 */

BASE_INLINE uint32_t luS_hashof(String *s)
{
    if (BASE_UNLIKELY(!(s->flags & STRING_HASHED))) {
        s->hash = luS_hash(s->data, s->length); /* shared strings always have theirs */
        s->flags |= STRING_HASHED;
    }
    return s->hash;
}
#define string_size(length) (offsetof(String, data) + (size_t)(length) + 1)

#endif
