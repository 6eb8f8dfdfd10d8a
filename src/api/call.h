/* call.h: one HTTP request on its way through the server. Internal to this layer.
 *
 * A call is held by its connection and by whatever is under way for it (an action of the worker, a
 * request to the dispatcher); the last one frees it. Its response is written by who claims it,
 * once: the handler itself, the completion of what it started, or the clock when the caller's
 * patience ends. Most executions end at once, on the connection's thread. For what does not, the
 * handler suspends the connection (call_wait); it is resumed when the response is there and the
 * handler is through, whichever comes last. */
#ifndef API_CALL_H
#define API_CALL_H

#include <microhttpd.h>
#include <stdatomic.h>

#include "api/calls.h"
#include "api/error_body.h"
#include "api/execute_request.h"
#include "api/guild_limits.h"
#include "api/server.h"

enum CallState { CALL_OPEN, CALL_CLAIMED, CALL_ANSWERED };

typedef struct Connection Connection; /* connections.h */

struct ApiCall {
    ApiServer *server;
    struct ApiLoop *loop; /* of the connection */
    struct MHD_Connection *connection;
    Connection *tracked;
    const struct Route *route;
    atomic_int refs;
    atomic_int state;
    atomic_int meeting; /* of the handler, having suspended, and who answered: the second resumes */
    Strbuf body;
    size_t discarded; /* bytes of a body that is too large */
    /* -- the response: of who claimed it -- */
    unsigned status;
    Strbuf response;
    unsigned retry_after_s;
    bool close; /* the connection, after it */
    /* -- from the path and the query -- */
    uint64_t guild_id;
    const char *id; /* in the path, which lives as long as the request */
    struct CallQuery {
        bool logs, wait;
        unsigned wait_ms;
        unsigned seen; /* bit i: QUERIES[i] of routes.c was given */
    } query;
    /* -- what it is about -- */
    ExecuteRequest request;
    LuaVmAction action;
    LimitsPatch patch;
    Strbuf result; /* of an execution: the response up to and with the result */
    size_t result_start;
    char execution_id[RANDOM_ID_SIZE]; /* that runs, or is to be cancelled */
    char template_name[TEMPLATE_NAME_MAX + 1];
    uint32_t version; /* of that template */
    /* -- under the lock of the calls (calls.h) -- */
    void (*timeout)(ApiCall *call);
    uint64_t deadline_ns;
    ApiCall *previous, *next; /* among those that wait */
    bool executes; /* without the dispatcher: action is its execution. Set by the handler,
                      or by calls_begin, and not after the response was claimed */
    bool waits, runs, ended;
};

void call_retain(ApiCall *call);
void call_release(ApiCall *call);
/* True: the response is the caller's to write, who then calls call_answered, or is the handler and
 * returns false. */
bool call_claim(ApiCall *call);
/* By another than the handler, and with a reference: the response is written. */
void call_answered(ApiCall *call);
/* By the handler, at its end, when something that it started answers. False: that happened already.
 * When deadline_ns passes first, `timeout` writes the response (CALL_NEVER: not at all). */
bool call_wait(ApiCall *call, uint64_t deadline_ns, void (*timeout)(ApiCall *call));
#define CALL_NEVER UINT64_MAX
/* For what asks a guild's thread, which answers between two slices of what it runs. */
bool call_wait_control(ApiCall *call);
/* Writes an Error body as the call's response. */
void call_fail(ApiCall *call, const ApiError *error);
void call_fail_text(ApiCall *call, unsigned status, const char *code, const char *message);
void call_fail_memory(ApiCall *call);
/* An action that the worker did not do, or a request that the dispatcher refused. message: NULL is
 * what the outcome says in general. */
void call_fail_action(ApiCall *call, const LuaVmAction *action);
void call_fail_dispatch(ApiCall *call, DispatchOutcome outcome, uint64_t retry_after_ms,
                        const char *message);
/* Status 200, or 500 when there was no memory for what was written. */
void call_succeed(ApiCall *call, unsigned status);

/* The handlers: the request is complete. True: the connection is suspended; false: the response is
 * there. */
bool execute_start(ApiCall *call);      /* POST /execute */
bool execute_dispatched(ApiCall *call); /* the same by way of the dispatcher (dispatch.c) */
bool events_start(ApiCall *call);       /* POST /guilds/{guild}/events */
bool execution_get(ApiCall *call);      /* GET /executions/{id} */
bool execution_cancel(ApiCall *call);   /* DELETE /executions/{id} */
bool vm_get(ApiCall *call);             /* GET /guilds/{guild}/vm */
bool vm_destroy(ApiCall *call);         /* DELETE /guilds/{guild}/vm */
bool vms_get(ApiCall *call);            /* GET /vms */
bool limits_start(ApiCall *call);       /* PATCH /guilds/{guild}/limits */

/* Parts of the server. */
CallTable *server_calls(ApiServer *server);
GuildLimits *server_limits(ApiServer *server);
const TemplateSource *server_templates(const ApiServer *server);
Worker *server_worker(ApiServer *server);
Dispatcher *server_dispatcher(ApiServer *server);
bool server_ready(const ApiServer *server); /* the two above are there */
bool server_stopping(const ApiServer *server);
const ApiOptions *server_options(const ApiServer *server);
int server_socket(const ApiServer *server);                      /* listens */
struct ApiLoop *server_loop(const ApiServer *server, int index); /* NULL: no more */

/* libmicrohttpd's callbacks; arg is the ApiLoop. */
enum MHD_Result server_on_request(void *arg, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state);
void server_on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code);
void server_on_connection(void *arg, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code);

#endif
