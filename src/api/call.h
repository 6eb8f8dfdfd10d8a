/* call.h: one HTTP request on its way through the server. Internal to this layer.
 *
 * A call is held by its connection and, while the worker has its action, by the action; the last
 * one frees it. Most executions end at once, on the connection's thread. While another runs, the
 * connection is suspended; whoever changes the state from CALL_WAITING to something else (the
 * completion, or the clock when the caller's patience ends) wrote the response and resumes the
 * connection. */
#ifndef API_CALL_H
#define API_CALL_H

#include <microhttpd.h>
#include <stdatomic.h>

#include "api/error_body.h"
#include "api/execute_request.h"
#include "api/server.h"
#include "worker/templates.h"

/* CALL_EARLY: the action was complete before the connection was ready to wait. */
enum CallState { CALL_READING, CALL_EARLY, CALL_WAITING, CALL_ANSWERED };

typedef struct Connection Connection; /* connections.h */

typedef struct ApiCall ApiCall;
struct ApiCall {
    ApiServer *server;
    struct ApiLoop *loop; /* of the connection */
    struct MHD_Connection *connection;
    Connection *tracked;
    const struct Route *route;
    atomic_int refs;
    atomic_int state;
    Strbuf body;
    size_t discarded; /* bytes of a body that is too large */
    /* -- the response: of whoever holds the state -- */
    unsigned status;
    Strbuf response;
    unsigned retry_after_s;
    bool close; /* the connection, after it */
    /* -- executions -- */
    bool with_logs;
    ExecuteRequest request;
    LuaVmAction action;
    Strbuf result; /* the response up to and with the result; becomes the response */
    char execution_id[RANDOM_ID_SIZE];
    char template_name[TEMPLATE_NAME_MAX + 1];
    uint64_t deadline_ns;
    ApiCall *previous, *next; /* in the server's list of waiting calls, under its lock */
};

void call_release(ApiCall *call);
/* Writes an Error body as the call's response. */
void call_fail(ApiCall *call, const ApiError *error);

/* POST /execute (execute.c): the body is complete. True: the call waits (its connection is
 * suspended); false: the response is there. */
bool execute_start(ApiCall *call);
/* The caller's patience ended. */
void execute_timeout(ApiCall *call);

/* The server's list of waiting calls. */
void server_wait(ApiServer *server, ApiCall *call);
void server_unwait(ApiServer *server, ApiCall *call);
TemplateCache *server_templates(ApiServer *server);
const KhronosLimits *server_limits(ApiServer *server);
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
