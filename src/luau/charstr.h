/* charstr.h: the 256 strings of one byte and the empty string, as constants of the program shared
 * by all VMs (MARK_SHARED, hash ready): what cuts strings into characters allocates nothing. */
#ifndef LUAU_CHARSTR_H
#define LUAU_CHARSTR_H

#include "luau/object.h"

/* The layout of a String of up to one byte; 16 bytes each. */
typedef struct CharString {
    OBJECT_HEADER;
    uint8_t flags;
    uint8_t reserved;
    uint32_t length;
    uint32_t hash;
    char data[4];
} CharString;
_Static_assert(offsetof(CharString, length) == offsetof(String, length), "layout of String");
_Static_assert(offsetof(CharString, hash) == offsetof(String, hash), "layout of String");
_Static_assert(offsetof(CharString, data) == offsetof(String, data), "layout of String");

extern const CharString luS_charstrings[256];
extern const CharString luS_emptystring;

/* As String pointers: whoever gets them must not write, as with any shared string. */
#define luS_char(byte) ((String *)(uintptr_t)&luS_charstrings[(uint8_t)(byte)])
#define luS_empty() ((String *)(uintptr_t)&luS_emptystring)

#endif
