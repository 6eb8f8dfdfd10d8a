/* charstr.c: the constant strings of at most one byte (charstr.h). */
#include "luau/charstr.h"

/* luS_hash of one byte, by reference 13.1: h = 1; h ^= (h << 5) + (h >> 2) + byte. */
#define HASH_OF(byte) (1u ^ (32u + (byte)))
#define CHAR(byte)                                                                                 \
    {OBJ_STRING, MARK_SHARED, STRING_HASHED, 0, 1, HASH_OF(byte), {(char)(byte), 0, 0, 0}},
#define CHARS4(byte) CHAR(byte) CHAR((byte) + 1) CHAR((byte) + 2) CHAR((byte) + 3)
#define CHARS16(byte) CHARS4(byte) CHARS4((byte) + 4) CHARS4((byte) + 8) CHARS4((byte) + 12)
#define CHARS64(byte) CHARS16(byte) CHARS16((byte) + 16) CHARS16((byte) + 32) CHARS16((byte) + 48)

_Alignas(16) const CharString luS_charstrings[256] = {CHARS64(0) CHARS64(64) CHARS64(128)
                                                          CHARS64(192)};

_Alignas(16) const CharString luS_emptystring = {OBJ_STRING, MARK_SHARED, STRING_HASHED, 0,
                                                 0,          0,           {0, 0, 0, 0}};
