/* The server: libmicrohttpd's callbacks and its life. The sockets are in loop.c, the calls that
 * wait in calls.c. */
#include "api/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "api/call.h"
#include "api/connections.h"
#include "api/loop.h"
#include "api/routes.h"
#include "base/clock.h"

enum {
    DISCARD_MAX_BYTES = 16 << 20,
    RESERVE_MAX_BYTES = 64 << 10,
    LISTEN_BACKLOG = 1024,
    SWEEP_NS = 1000000000
};

struct ApiServer {
    ApiOptions options;
    int listen_fd;
    uint16_t port;
    ApiLoop **loops; /* one for each worker thread */
    int loop_count;
    char host[64];
    ConnectionList connections;
    atomic_uint active;
    atomic_bool stopping;
    uint64_t swept_ns; /* of the ticking thread */
    CallTable calls;
    GuildLimits limits;
    /* Set once, before `ready`. */
    Worker *worker;
    Dispatcher *dispatcher;
    atomic_bool ready;
};

/* ---- Parts ------------------------------------------------------------------------------------
 */

int server_socket(const ApiServer *server)
{
    return server->listen_fd;
}

ApiLoop *server_loop(const ApiServer *server, int index)
{
    return index < server->loop_count ? server->loops[index] : NULL;
}

const ApiOptions *server_options(const ApiServer *server)
{
    return &server->options;
}

const TemplateSource *server_templates(const ApiServer *server)
{
    return &server->options.templates;
}

CallTable *server_calls(ApiServer *server)
{
    return &server->calls;
}

GuildLimits *server_limits(ApiServer *server)
{
    return &server->limits;
}

Worker *server_worker(ApiServer *server)
{
    return server->worker;
}

Dispatcher *server_dispatcher(ApiServer *server)
{
    return server->dispatcher;
}

bool server_ready(const ApiServer *server)
{
    /* acquire: what was set before. */
    return atomic_load_explicit(&server->ready, memory_order_acquire);
}

bool server_stopping(const ApiServer *server)
{
    return atomic_load_explicit(&server->stopping, memory_order_relaxed);
}

/* ---- Responses --------------------------------------------------------------------------------
 */

static enum MHD_Result send_response(ApiCall *call)
{
    size_t length;
    char *data = strbuf_take(&call->response, &length);
    struct MHD_Response *response = data ? MHD_create_response_from_buffer(length, data,
                                                                           MHD_RESPMEM_MUST_FREE)
                                         : MHD_create_response_from_buffer(0, NULL,
                                                                           MHD_RESPMEM_PERSISTENT);
    if (!response) {
        free(data);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", "application/json");
    if (call->status == 405) {
        char methods[64];
        route_allowed(call, methods, sizeof(methods));
        MHD_add_response_header(response, "Allow", methods);
    }
    if (call->retry_after_s > 0) {
        char text[16];
        snprintf(text, sizeof(text), "%u", call->retry_after_s);
        MHD_add_response_header(response, "Retry-After", text);
    }
    if (call->close || server_stopping(call->server))
        MHD_add_response_header(response, "Connection", "close");
    enum MHD_Result result = MHD_queue_response(call->connection, call->status, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- Requests ---------------------------------------------------------------------------------
 */

static const char *header(ApiCall *call, const char *name)
{
    return MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, name);
}

/* On a loopback address without authentication, a browser must not be talked into calling us: the
 * Host must be a loopback name too. */
static bool host_allowed(ApiCall *call)
{
    static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
    const char *host = header(call, "Host");
    if (!host)
        return true; /* HTTP/1.0: check_framing */
    size_t length = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    for (size_t i = 0; i < BASE_ARRAY_COUNT(names); i++)
        if (strlen(names[i]) == length && strncasecmp(host, names[i], length) == 0)
            return true;
    const char *own = call->server->host;
    return strlen(own) == length && strncasecmp(host, own, length) == 0;
}

static bool is_json_type(const char *type)
{
    static const char wanted[] = "application/json";
    if (!type || strncasecmp(type, wanted, sizeof(wanted) - 1) != 0)
        return false;
    char next = type[sizeof(wanted) - 1];
    return next == '\0' || next == ';' || next == ' ';
}

/* Room for a body from the start, as far as it is not a mere claim. */
static size_t reserve_bytes(unsigned long long length)
{
    return length < RESERVE_MAX_BYTES ? (size_t)length : RESERVE_MAX_BYTES;
}

/* Headers that say where a request ends and whom it is for: once each, or nobody knows. */
typedef struct Framing {
    int hosts, lengths, encodings;
    bool unknown_encoding;
} Framing;

static enum MHD_Result count_framing(void *arg, enum MHD_ValueKind kind, const char *name,
                                     const char *value)
{
    Framing *framing = arg;
    (void)kind;
    if (strcasecmp(name, "Host") == 0)
        framing->hosts++;
    else if (strcasecmp(name, "Content-Length") == 0)
        framing->lengths++;
    else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        framing->encodings++;
        framing->unknown_encoding |= !value || strcasecmp(value, "chunked") != 0;
    }
    return MHD_YES;
}

/* After a refusal nothing more is read from the connection. */
static bool check_framing(ApiCall *call, const char *version)
{
    Framing framing = {0};
    const char *problem = NULL;
    MHD_get_connection_values(call->connection, MHD_HEADER_KIND, count_framing, &framing);
    if (framing.hosts > 1 || (framing.hosts == 0 && strcmp(version, "HTTP/1.0") != 0))
        problem = "the request must have one Host header";
    else if (framing.unknown_encoding)
        problem = "the only Transfer-Encoding understood is chunked";
    else if (framing.lengths + framing.encodings > 1)
        problem = "the request must have one Content-Length or one Transfer-Encoding";
    if (!problem)
        return true;
    call->close = true;
    call_fail_text(call, 400, "invalid_request", problem);
    return false;
}

static bool check_body_headers(ApiCall *call)
{
    const char *length = header(call, "Content-Length");
    const char *coding = header(call, "Content-Encoding");
    unsigned long long max = call->server->options.body_max_bytes;
    /* A body that is only a little too large is read and thrown away, so that its sender, who is
     * busy sending, gets to see the answer. Digits were checked by the library; 19 cannot overflow.
     */
    if (length && (strlen(length) > 19 || strtoull(length, NULL, 10) > max + DISCARD_MAX_BYTES)) {
        char text[96];
        snprintf(text, sizeof(text), "the body may have %llu bytes", max);
        ApiError error = {
            .status = 413, .code = "payload_too_large", .message = text, .limit = max};
        call_fail(call, &error);
        return false;
    }
    if (!is_json_type(header(call, "Content-Type"))) {
        call_fail_text(call, 415, "unsupported_media_type",
                       "the body must be JSON: Content-Type: application/json");
        return false;
    }
    if (coding && strcasecmp(coding, "identity") != 0) {
        call_fail_text(call, 415, "unsupported_media_type", "the body must not be compressed");
        return false;
    }
    if (length)
        strbuf_reserve(&call->body, reserve_bytes(strtoull(length, NULL, 10)));
    return true;
}

/* The headers are there. True: go on with the body; false: the response is there. */
static bool begin(ApiCall *call, const char *method, const char *path, const char *version)
{
    if (!check_framing(call, version))
        return false;
    if (!host_allowed(call)) {
        call_fail_text(call, 403, "forbidden", "this Host is not served");
        return false;
    }
    if (server_stopping(call->server)) {
        call_fail_text(call, 503, "shutting_down", "the server is shutting down");
        return false;
    }
    if (!route_find(call, method, path))
        return false;
    return !call->route->has_body || check_body_headers(call);
}

static ApiCall *new_call(ApiLoop *loop, struct MHD_Connection *connection)
{
    ApiServer *server = loop->server;
    ApiCall *call = calloc(1, sizeof(*call));
    if (!call)
        return NULL;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    call->server = server;
    call->loop = loop;
    call->connection = connection;
    call->tracked = info ? info->socket_context : NULL;
    call->body.max = server->options.body_max_bytes;
    atomic_init(&call->refs, 1);
    atomic_init(&call->state, CALL_OPEN);
    atomic_init(&call->meeting, 0);
    atomic_fetch_add_explicit(&server->active, 1, memory_order_relaxed);
    return call;
}

static enum MHD_Result take_body(ApiCall *call, const char *data, size_t *size)
{
    if (call->body.length + *size <= call->body.max && call->discarded == 0) {
        strbuf_put(&call->body, data, *size);
        if (call->body.failed)
            return MHD_NO;
    } else {
        call->discarded += *size;
        strbuf_free(&call->body);
        if (call->discarded > DISCARD_MAX_BYTES)
            return MHD_NO; /* it was told how much there may be */
    }
    *size = 0;
    return MHD_YES;
}

enum MHD_Result server_on_request(void *arg, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state)
{
    ApiLoop *loop = arg;
    ApiServer *server = loop->server;
    ApiCall *call = *state;
    if (!call) {
        call = new_call(loop, connection);
        if (!call)
            return MHD_NO;
        *state = call;
        return begin(call, method, path, version) ? MHD_YES : send_response(call);
    }
    if (*size > 0)
        return take_body(call, data, size);
    /* acquire: the response that another thread wrote. */
    if (atomic_load_explicit(&call->state, memory_order_acquire) == CALL_ANSWERED)
        return send_response(call);
    connection_busy(call->tracked, true);
    if (call->discarded > 0) {
        ApiError error = {.status = 413,
                          .code = "payload_too_large",
                          .message = "the body is larger than it may be",
                          .limit = server->options.body_max_bytes};
        call_fail(call, &error);
        return send_response(call);
    }
    if (server_stopping(server)) { /* since the headers came: the worker may be gone */
        call_fail_text(call, 503, "shutting_down", "the server is shutting down");
        return send_response(call);
    }
    return call->route->start(call) ? MHD_YES : send_response(call);
}

void server_on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    ApiServer *server = ((ApiLoop *)arg)->server;
    ApiCall *call = *state;
    (void)connection;
    (void)code;
    if (!call)
        return;
    connection_busy(call->tracked, false);
    *state = NULL;
    call_release(call);
    atomic_fetch_sub_explicit(&server->active, 1, memory_order_relaxed);
}

void server_on_connection(void *arg, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    ApiLoop *loop = arg;
    ApiServer *server = loop->server;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(
            connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *socket_context = info ? connection_add(&server->connections, info->connect_fd) : NULL;
    } else {
        connection_remove(&server->connections, *socket_context);
        *socket_context = NULL;
        atomic_fetch_sub_explicit(&loop->connections, 1, memory_order_relaxed);
    }
}

/* ---- Life -------------------------------------------------------------------------------------
 */

void api_default_options(ApiOptions *options)
{
    *options = (ApiOptions){
        .address = "127.0.0.1",
        .port = 60000,
        .connections_max = 8192,
        .body_max_bytes = (size_t)4 << 20,
        .read_timeout_s = 30,
    };
}

typedef union Address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} Address;

static bool read_address(const ApiOptions *options, Address *address, char *error,
                         size_t error_size)
{
    memset(address, 0, sizeof(*address));
    bool loopback;
    const char *text = strcmp(options->address, "localhost") == 0 ? "127.0.0.1" : options->address;
    if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons(options->port);
        loopback = (ntohl(address->v4.sin_addr.s_addr) >> 24) == 127;
    } else if (inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons(options->port);
        loopback = IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
    } else {
        snprintf(error, error_size, "%s is no IPv4 or IPv6 address", options->address);
        return false;
    }
    if (!loopback)
        snprintf(error, error_size,
                 "%s is reachable from outside, and this version has no authentication: listen on "
                 "127.0.0.1 or ::1",
                 options->address);
    return loopback;
}

static void close_server(ApiServer *server)
{
    for (int i = 0; i < server->loop_count; i++) {
        loop_close(server->loops[i]);
        free(server->loops[i]);
    }
    free(server->loops);
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    connections_free(&server->connections);
    limits_free(&server->limits);
    calls_free(&server->calls);
    free(server);
}

static bool start_listening(ApiServer *server, const Address *address)
{
    bool v6 = address->any.sa_family == AF_INET6;
    socklen_t length = v6 ? sizeof(address->v6) : sizeof(address->v4);
    Address bound;
    int on = 1;
    server->listen_fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                               0);
    if (server->listen_fd < 0)
        return false;
    /* A port whose last connections still fade away may be taken; one in use may not. */
    setsockopt(server->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(server->listen_fd, &address->any, length) != 0 ||
        listen(server->listen_fd, LISTEN_BACKLOG) != 0 ||
        getsockname(server->listen_fd, &bound.any, &length) != 0)
        return false;
    server->port = ntohs(v6 ? bound.v6.sin6_port : bound.v4.sin_port);
    return true;
}

ApiServer *api_start(const ApiOptions *options, char *error, size_t error_size)
{
    Address address;
    if (!read_address(options, &address, error, error_size))
        return NULL;
    ApiServer *server = calloc(1, sizeof(*server));
    if (!server) {
        snprintf(error, error_size, "not enough memory");
        return NULL;
    }
    bool v6 = address.any.sa_family == AF_INET6;
    server->options = *options;
    snprintf(server->host, sizeof(server->host), "%s%s%s", v6 ? "[" : "", options->address,
             v6 ? "]" : "");
    calls_init(&server->calls);
    limits_init(&server->limits, options->limits);
    connections_init(&server->connections);
    if (!start_listening(server, &address)) {
        int code = errno;
        char text[128];
        snprintf(error, error_size, "cannot listen on %s port %u: %s%s", options->address,
                 (unsigned)options->port, strerror_r(code, text, sizeof(text)),
                 code == EADDRINUSE ? " (--port takes another)" : "");
        close_server(server);
        return NULL;
    }
    return server;
}

static void *open_loop(void *userdata, int thread, WorkerSeat *seat)
{
    ApiServer *server = userdata;
    ApiLoop **loops = realloc(server->loops, ((size_t)thread + 1) * sizeof(*loops));
    ApiLoop *loop = loops ? malloc(sizeof(*loop)) : NULL;
    if (loops)
        server->loops = loops;
    if (!loop || !loop_open(loop, server, seat)) {
        free(loop);
        return NULL;
    }
    server->loops[server->loop_count++] = loop;
    return loop;
}

WorkerIo api_io(ApiServer *server)
{
    return (WorkerIo){server, open_loop, loop_wait, loop_serve, loop_wake};
}

const char *api_host(const ApiServer *server)
{
    return server->host;
}

uint16_t api_port(const ApiServer *server)
{
    return server->port;
}

void api_connect(ApiServer *server, Worker *worker, Dispatcher *dispatcher)
{
    server->worker = worker;
    server->dispatcher = dispatcher;
    /* release: see server_ready. */
    atomic_store_explicit(&server->ready, true, memory_order_release);
    for (int i = 0; i < server->loop_count; i++)
        loop_wake(server->loops[i]);
}

void api_tick(ApiServer *server)
{
    uint64_t now = clock_monotonic_ns();
    calls_expire(&server->calls, now);
    if (now - server->swept_ns >= SWEEP_NS) {
        server->swept_ns = now;
        connections_sweep(&server->connections, server->options.read_timeout_s * CLOCK_NS_PER_S);
    }
}

void api_refuse(ApiServer *server)
{
    atomic_store_explicit(&server->stopping, true, memory_order_relaxed);
    for (int i = 0; i < server->loop_count; i++)
        loop_wake(server->loops[i]);
}

void api_flush(ApiServer *server, uint64_t patience_ns)
{
    uint64_t until = clock_monotonic_ns() + patience_ns;
    bool busy = server->loop_count > 0;
    if (busy)
        loop_accept_rest(server->loops[0]);
    /* Also what was sent and not read yet: it is read, and answered 503. */
    while ((busy || atomic_load_explicit(&server->active, memory_order_relaxed) > 0) &&
           clock_monotonic_ns() < until) {
        busy = false;
        for (int i = 0; i < server->loop_count; i++) {
            if (!loop_wait(server->loops[i], 10))
                continue;
            loop_serve(server->loops[i]);
            busy = true;
        }
    }
}

void api_stop(ApiServer *server)
{
    if (server)
        close_server(server);
}
