/* interop_stored.h: names of members that have a meaning in stored values (interop.h). */
#ifndef KHRONOS_INTEROP_STORED_H
#define KHRONOS_INTEROP_STORED_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define STORED_BUFFER "$buffer"

/* "$buffer", "$$buffer", ... */
static inline bool stored_isreserved(const char *name, size_t length)
{
    const size_t size = sizeof(STORED_BUFFER) - 1;
    if (length < size || memcmp(name + length - size, STORED_BUFFER, size) != 0)
        return false;
    for (size_t i = 0; i < length - size; i++)
        if (name[i] != '$')
            return false;
    return true;
}

#endif
