/* server.h: the HTTP server. Threads: libmicrohttpd's read and write sockets; the worker's complete
 * executions; the owner's calls api_tick. Holds no VM. */
#ifndef API_SERVER_H
#define API_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/templates.h"
#include "worker/worker.h"

typedef struct ApiOptions {
    const char *address;      /* numeric, IPv4 or IPv6; a loopback one */
    uint16_t port;            /* 0: any */
    int threads;
    unsigned connections_max;
    size_t body_max_bytes;
    unsigned read_timeout_s;  /* for a whole request to arrive, and between two requests */
    Worker *worker;           /* these three are the caller's and outlive the server */
    TemplateCache *templates;
    const KhronosLimits *limits;
} ApiOptions;

typedef struct ApiServer ApiServer;

void api_default_options(ApiOptions *options);
/* NULL: text in error. */
ApiServer *api_start(const ApiOptions *options, char *error, size_t error_size);
uint16_t api_port(const ApiServer *server);
/* To be called every 20 ms or so: callers whose patience ended get their answer, connections that
 * take too long to send a request are closed. */
void api_tick(ApiServer *server);
/* No new connections; requests on open ones are answered 503. */
void api_refuse(ApiServer *server);
/* Requests being handled. */
unsigned api_active(const ApiServer *server);
/* After the worker completed all actions. Closes what is open and frees the server. */
void api_stop(ApiServer *server);

#endif
