/* fuzz_request.c: any bytes as the body of POST /execute. It is refused with a complaint, or gives
 * a request within its bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "api/execute_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(EventText text, const char *body, size_t size, size_t max)
{
    if (!text.data || text.length > max)
        abort();
    /* Defaults are literals; what was given lies in the body. */
    if (text.data >= body && text.data <= body + size && text.data + text.length > body + size)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *body = malloc(size + 1);
    if (!body)
        return 0;
    memcpy(body, data, size);
    body[size] = '\0';
    ExecuteRequest request;
    memset(&request, 0, sizeof(request));
    char error[512] = "";
    if (execute_request_read(body, size, &request, error, sizeof(error))) {
        check_text(request.template_name, body, size, 64);
        check_text(request.event.name, body, size, EVENT_TEXT_MAX);
        if (request.guild_id == 0 || request.wait_ms > WAIT_MS_MAX)
            abort();
    } else if (error[0] == '\0' || memchr(error, '\0', sizeof(error)) == NULL) {
        abort();
    }
    free(body);
    return 0;
}
