/* execute_request.h: the body of POST /execute, read without a tree: the envelope is taken apart,
 * the event's data is only checked and left where it is. */
#ifndef API_EXECUTE_REQUEST_H
#define API_EXECUTE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "khronos/khronos.h"

enum { WAIT_MS_DEFAULT = 60000, WAIT_MS_MAX = 600000 };

/* Texts are borrowed from the body; the list of capabilities is the request's own. */
typedef struct ExecuteRequest {
    EventText template_name;
    KhronosEvent event;
    uint64_t guild_id;
    unsigned wait_ms;
    KhronosCaller caller;
} ExecuteRequest;

/* The body is changed (escapes are undone in place) and must outlive the request. False: a
 * complaint with the place (JSON pointer, or line and column). */
bool execute_request_read(char *body, size_t length, ExecuteRequest *request, char *error,
                          size_t error_size);
void execute_request_free(ExecuteRequest *request); /* also after a complaint; zeroes are fine */

/* A guild id as text: decimal, 1 to 2^64 - 1, no sign, no leading zeros. 0: it is none. */
uint64_t guild_id_read(const char *text, size_t length);

#endif
