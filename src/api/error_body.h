/* error_body.h: the Error type of the API: one JSON object for whatever goes wrong. */
#ifndef API_ERROR_BODY_H
#define API_ERROR_BODY_H

#include <stdint.h>

#include "base/random.h"
#include "base/strbuf.h"
#include "worker/dispatcher.h"

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
    const char *members; /* more of them, as JSON */
    size_t members_length;
} ApiError;

/* Appends the body, with a fresh request_id. Text that is no UTF-8 is repaired. */
void error_body(Strbuf *out, const ApiError *error);
/* The same as a part of another body, without one. */
void error_part(Strbuf *out, const ApiError *error);

/* Fills in status, code and message: how a guild, or the dispatcher, refused. */
void outcome_error(DispatchOutcome outcome, ApiError *error);
/* Fills in an error from an execution that failed under those limits; its texts are borrowed.
 * `stopping`: the server is. */
void execution_error(const DispatchExecution *x, const KhronosLimits *limits, bool stopping,
                     ApiError *error);
/* "runtime_error"; "ok". */
const char *execution_code(KhronosStatus status, bool stopping);

#endif
