/* error_body.h: the Error type of the API: one JSON object for whatever goes wrong. */
#ifndef API_ERROR_BODY_H
#define API_ERROR_BODY_H

#include <stdint.h>

#include "base/random.h"
#include "base/strbuf.h"

typedef struct ApiError {
    unsigned status;  /* HTTP */
    const char *code; /* stable, "invalid_request" */
    const char *message;
    size_t message_length;            /* 0: message is a C string */
    const char *template_name, *path; /* NULL or "": left out, like all that follows */
    int line;
    const char *traceback;
    size_t traceback_length;
    uint64_t limit; /* bytes or milliseconds that were exceeded */
    uint64_t retry_after_ms;
    const char *execution_id;
} ApiError;

/* Appends the body, with a fresh request_id. Text that is no UTF-8 is repaired. */
void error_body(Strbuf *out, const ApiError *error);

#endif
