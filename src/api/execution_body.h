/* execution_body.h: an execution as the API shows it. */
#ifndef API_EXECUTION_BODY_H
#define API_EXECUTION_BODY_H

#include "api/call.h"

/* `,"duration_us":...,"cpu_us":...,"memory_bytes":...`, and with_logs `,"logs":[...]`. */
void put_usage(Strbuf *out, uint64_t duration_ns, uint64_t cpu_ns, size_t memory_bytes);
void put_logs(Strbuf *out, const char *lines, size_t length);
/* `"execution_id":"...","template":"...","version":...` */
void put_execution_head(Strbuf *out, const char *id, const char *template_name, uint32_t version);
/* `"executions":[...]`: which they are. */
void put_execution_list(Strbuf *out, const DispatchResult *result);
/* `,"result":...` or `,"error":{...}`, and usage and logs: of one that ended. */
void put_execution_end(ApiCall *call, Strbuf *out, uint64_t guild_id, const DispatchExecution *x);
/* Its name and a value that is text: `"event_id":"..."`; absent: null. */
void put_member(Strbuf *out, const char *name, EventText text);

#endif
