/* base64.h: bytes as text (RFC 4648: the usual alphabet, with padding, on one line). */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>

/* The length of the text of `size` bytes. */
size_t base64_length(size_t size);
/* Writes base64_length(size) bytes, no NUL. Texts of pieces may be put one behind the other when
 * all but the last have a multiple of 3 bytes. */
void base64_encode(const void *data, size_t size, char *out);
/* Is this text what base64_encode writes? Sets how many bytes it stands for. */
bool base64_check(const char *text, size_t length, size_t *size);
/* The bytes of a checked text, or of a piece of one that begins and ends at a multiple of 4. */
void base64_decode(const char *text, size_t length, void *out);

#endif
