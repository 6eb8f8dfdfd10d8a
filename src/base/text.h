/* text.h: bytes somewhere, borrowed. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>

typedef struct Text {
    const char *data; /* NULL: absent */
    size_t length;
} Text;

#endif
