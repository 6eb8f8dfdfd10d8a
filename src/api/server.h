/* server.h: the HTTP server. It has no threads: the worker's seats serve its sockets (api_io), the
 * owner's calls api_tick. Holds no VM. */
#ifndef API_SERVER_H
#define API_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/dispatcher.h"
#include "worker/worker.h"

typedef struct ApiOptions {
    const char *address; /* numeric, IPv4 or IPv6, or localhost; a loopback one */
    uint16_t port;       /* 0: any */
    unsigned connections_max;
    size_t body_max_bytes;
    unsigned read_timeout_s;  /* for a whole request to arrive, and between two requests */
    TemplateSource templates; /* lives as long as the server, and has answered every look-up before
                                 the worker is stopped */
    const KhronosLimits *limits; /* the caller's, who keeps them while the server lives */
} ApiOptions;

typedef struct ApiServer ApiServer;

void api_default_options(ApiOptions *options);
/* Listens; who connects waits until api_connect. NULL: text in error. */
ApiServer *api_start(const ApiOptions *options, char *error, size_t error_size);
/* For WorkerOptions: the worker's threads serve the server's sockets. */
WorkerIo api_io(ApiServer *server);
/* The worker started: from here on connections are accepted. Both outlive the last request, which
 * is over when the worker was stopped. */
void api_connect(ApiServer *server, Worker *worker, Dispatcher *dispatcher);
const char *api_host(const ApiServer *server); /* as in a URL */
uint16_t api_port(const ApiServer *server);
/* To be called every 20 ms or so: callers whose patience ended get their answer, connections that
 * take too long to send a request are closed. */
void api_tick(ApiServer *server);
/* No new connections; requests on open ones are answered 503. */
void api_refuse(ApiServer *server);
/* When the worker was stopped: answers that are not sent yet get this much time, and requests that
 * were sent and not read yet, or whose connections were not accepted, are answered 503. */
void api_flush(ApiServer *server, uint64_t patience_ns);
/* When the worker was stopped. Closes what is open and frees the server; NULL is fine. */
void api_stop(ApiServer *server);

#endif
