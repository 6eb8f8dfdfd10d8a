/* The server: libmicrohttpd's callbacks, the routes, and the calls that wait. */
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
#include "base/clock.h"

enum { DISCARD_MAX_BYTES = 16 << 20, SWEEP_NS = 1000000000 };

struct ApiServer {
    ApiOptions options;
    struct MHD_Daemon *daemon;
    int listen_fd; /* after api_refuse: ours to close; else -1 */
    uint16_t port;
    char loopback_host[64];
    ConnectionList connections;
    atomic_uint active;
    atomic_bool stopping;
    uint64_t swept_ns; /* of the ticking thread */
    pthread_mutex_t lock;
    ApiCall *waiting; /* under the lock */
};

/* ---- Routes -----------------------------------------------------------------------------------
 */

typedef struct Route {
    const char *method, *path;
    const char *const *queries; /* names it understands, NULL at the end */
    bool has_body;
    bool (*start)(ApiCall *call); /* true: it waits */
} Route;

static bool healthz(ApiCall *call)
{
    call->status = 200;
    strbuf_puts(&call->response, "{\"status\":\"ok\",\"version\":\"" LUAU_VERSION "\"}");
    return false;
}

static const char *const NO_QUERIES[] = {NULL};
static const char *const EXECUTE_QUERIES[] = {"logs", NULL};
static const Route ROUTES[] = {
    {"POST", "/execute", EXECUTE_QUERIES, true, execute_start},
    {"GET", "/healthz", NO_QUERIES, false, healthz},
};

/* ---- Calls ------------------------------------------------------------------------------------
 */

Worker *server_worker(ApiServer *server)
{
    return server->options.worker;
}

TemplateCache *server_templates(ApiServer *server)
{
    return server->options.templates;
}

const KhronosLimits *server_limits(ApiServer *server)
{
    return server->options.limits;
}

bool server_stopping(ApiServer *server)
{
    return atomic_load_explicit(&server->stopping, memory_order_relaxed);
}

void server_wait(ApiServer *server, ApiCall *call)
{
    pthread_mutex_lock(&server->lock);
    call->next = server->waiting;
    call->previous = NULL;
    if (server->waiting)
        server->waiting->previous = call;
    server->waiting = call;
    pthread_mutex_unlock(&server->lock);
}

static void unwait_locked(ApiServer *server, ApiCall *call)
{
    if (call->previous)
        call->previous->next = call->next;
    else
        server->waiting = call->next;
    if (call->next)
        call->next->previous = call->previous;
    call->previous = call->next = NULL;
}

void server_unwait(ApiServer *server, ApiCall *call)
{
    pthread_mutex_lock(&server->lock);
    unwait_locked(server, call);
    pthread_mutex_unlock(&server->lock);
}

void call_release(ApiCall *call)
{
    if (atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) != 1)
        return;
    strbuf_free(&call->body);
    strbuf_free(&call->response);
    strbuf_free(&call->result);
    free(call);
}

void call_fail(ApiCall *call, const ApiError *error)
{
    strbuf_clear(&call->response);
    error_body(&call->response, error);
    call->status = error->status;
    call->retry_after_s = (unsigned)((error->retry_after_ms + 999) / 1000);
}

static void fail_simple(ApiCall *call, unsigned status, const char *code, const char *message)
{
    ApiError error = {.status = status, .code = code, .message = message};
    call_fail(call, &error);
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
    if (call->status == 405)
        MHD_add_response_header(response, "Allow", call->route ? call->route->method : "");
    if (call->retry_after_s > 0) {
        char text[16];
        snprintf(text, sizeof(text), "%u", call->retry_after_s);
        MHD_add_response_header(response, "Retry-After", text);
    }
    if (server_stopping(call->server))
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
        return true; /* HTTP/1.0 */
    size_t length = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    for (size_t i = 0; i < BASE_ARRAY_COUNT(names); i++)
        if (strlen(names[i]) == length && strncasecmp(host, names[i], length) == 0)
            return true;
    const char *own = call->server->loopback_host;
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

static bool find_route(ApiCall *call, const char *method, const char *path)
{
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    for (size_t i = 0; i < BASE_ARRAY_COUNT(ROUTES); i++) {
        if (strcmp(ROUTES[i].path, path) != 0)
            continue;
        call->route = &ROUTES[i];
        if (strcmp(ROUTES[i].method, method) == 0)
            return true;
    }
    if (call->route)
        fail_simple(call, 405, "method_not_allowed", "this path has no such method");
    else
        fail_simple(call, 404, "not_found", "there is no such path");
    return false;
}

static enum MHD_Result check_query(void *arg, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    ApiCall *call = arg;
    (void)kind;
    for (const char *const *known = call->route->queries; *known; known++) {
        if (strcmp(*known, name) != 0)
            continue;
        if (!value || (strcmp(value, "1") != 0 && strcmp(value, "true") != 0 &&
                       strcmp(value, "0") != 0 && strcmp(value, "false") != 0)) {
            char text[96];
            snprintf(text, sizeof(text), "query parameter %s: expected 1, true, 0 or false", name);
            fail_simple(call, 400, "invalid_request", text);
            return MHD_NO;
        }
        call->with_logs = value[0] == '1' || value[0] == 't';
        return MHD_YES;
    }
    char text[128];
    snprintf(text, sizeof(text), "unknown query parameter: %.64s", name);
    fail_simple(call, 400, "invalid_request", text);
    return MHD_NO;
}

static bool check_body_headers(ApiCall *call)
{
    const char *length = header(call, "Content-Length");
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
        fail_simple(call, 415, "unsupported_media_type", "the body must be application/json");
        return false;
    }
    return true;
}

/* The headers are there. True: go on with the body; false: the response is there. */
static bool begin(ApiCall *call, const char *method, const char *path)
{
    if (!host_allowed(call)) {
        fail_simple(call, 403, "forbidden", "this Host is not served");
        return false;
    }
    if (server_stopping(call->server)) {
        fail_simple(call, 503, "shutting_down", "the server is shutting down");
        return false;
    }
    if (!find_route(call, method, path))
        return false;
    MHD_get_connection_values(call->connection, MHD_GET_ARGUMENT_KIND, check_query, call);
    if (call->status != 0)
        return false;
    return !call->route->has_body || check_body_headers(call);
}

static ApiCall *new_call(ApiServer *server, struct MHD_Connection *connection)
{
    ApiCall *call = calloc(1, sizeof(*call));
    if (!call)
        return NULL;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(
        connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    call->server = server;
    call->connection = connection;
    call->tracked = info ? info->socket_context : NULL;
    call->body.max = server->options.body_max_bytes;
    atomic_init(&call->refs, 1);
    atomic_init(&call->state, CALL_READING);
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

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state)
{
    ApiServer *server = arg;
    ApiCall *call = *state;
    (void)version;
    if (!call) {
        call = new_call(server, connection);
        if (!call)
            return MHD_NO;
        *state = call;
        return begin(call, method, path) ? MHD_YES : send_response(call);
    }
    if (*size > 0)
        return take_body(call, data, size);
    /* acquire: the response that another thread wrote. */
    if (atomic_load_explicit(&call->state, memory_order_acquire) == CALL_ANSWERED)
        return send_response(call);
    connection_busy(&server->connections, call->tracked, true);
    if (call->discarded > 0) {
        ApiError error = {.status = 413,
                          .code = "payload_too_large",
                          .message = "the body is larger than it may be",
                          .limit = server->options.body_max_bytes};
        call_fail(call, &error);
        return send_response(call);
    }
    return call->route->start(call) ? MHD_YES : send_response(call);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    ApiServer *server = arg;
    ApiCall *call = *state;
    (void)connection;
    (void)code;
    if (!call)
        return;
    connection_busy(&server->connections, call->tracked, false);
    *state = NULL;
    call_release(call);
    atomic_fetch_sub_explicit(&server->active, 1, memory_order_relaxed);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    ApiServer *server = arg;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(
            connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *socket_context = info ? connection_add(&server->connections, info->connect_fd) : NULL;
    } else {
        connection_remove(&server->connections, *socket_context);
        *socket_context = NULL;
    }
}

/* ---- Life -------------------------------------------------------------------------------------
 */

void api_default_options(ApiOptions *options)
{
    *options = (ApiOptions){
        .address = "127.0.0.1",
        .port = 60000,
        .threads = 1,
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
    if (inet_pton(AF_INET, options->address, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons(options->port);
        loopback = (ntohl(address->v4.sin_addr.s_addr) >> 24) == 127;
    } else if (inet_pton(AF_INET6, options->address, &address->v6.sin6_addr) == 1) {
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

static struct MHD_Daemon *start_daemon(ApiServer *server, const Address *address)
{
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME;
    if (address->any.sa_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    struct MHD_OptionItem pool[] = {
        {MHD_OPTION_THREAD_POOL_SIZE, server->options.threads, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    return MHD_start_daemon(
        flags, server->options.port, NULL, NULL, on_request, server, MHD_OPTION_SOCK_ADDR,
        &address->any, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_CONNECTION_LIMIT,
        server->options.connections_max, MHD_OPTION_CONNECTION_TIMEOUT,
        server->options.read_timeout_s, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u,
        MHD_OPTION_LISTEN_BACKLOG_SIZE, 1024u, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        server->options.threads > 1 ? MHD_OPTION_ARRAY : MHD_OPTION_END, pool, MHD_OPTION_END);
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
    server->listen_fd = -1;
    snprintf(server->loopback_host, sizeof(server->loopback_host), "%s%s%s", v6 ? "[" : "",
             options->address, v6 ? "]" : "");
    pthread_mutex_init(&server->lock, NULL);
    connections_init(&server->connections);
    errno = 0;
    server->daemon = start_daemon(server, &address);
    if (!server->daemon) {
        char text[128];
        snprintf(error, error_size, "cannot listen on %s port %u: %s", options->address,
                 (unsigned)options->port, strerror_r(errno, text, sizeof(text)));
        connections_free(&server->connections);
        pthread_mutex_destroy(&server->lock);
        free(server);
        return NULL;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(server->daemon,
                                                           MHD_DAEMON_INFO_BIND_PORT);
    server->port = info ? info->port : options->port;
    return server;
}

uint16_t api_port(const ApiServer *server)
{
    return server->port;
}

/* Takes the calls whose time is up out of the list; who wins the state answers. */
static ApiCall *take_overdue(ApiServer *server, uint64_t now)
{
    ApiCall *overdue = NULL;
    pthread_mutex_lock(&server->lock);
    for (ApiCall *call = server->waiting, *next; call; call = next) {
        next = call->next;
        int waiting = CALL_WAITING;
        if (call->deadline_ns > now ||
            !atomic_compare_exchange_strong_explicit(&call->state, &waiting, CALL_ANSWERED,
                                                     memory_order_acq_rel, memory_order_acquire))
            continue;
        unwait_locked(server, call);
        call->next = overdue;
        overdue = call;
    }
    pthread_mutex_unlock(&server->lock);
    return overdue;
}

void api_tick(ApiServer *server)
{
    uint64_t now = clock_monotonic_ns();
    for (ApiCall *call = take_overdue(server, now), *next; call; call = next) {
        next = call->next;
        call->next = NULL;
        execute_timeout(call);
    }
    if (now - server->swept_ns >= SWEEP_NS) {
        server->swept_ns = now;
        connections_sweep(&server->connections, server->options.read_timeout_s * CLOCK_NS_PER_S);
    }
}

void api_refuse(ApiServer *server)
{
    atomic_store_explicit(&server->stopping, true, memory_order_relaxed);
    if (server->listen_fd < 0)
        server->listen_fd = MHD_quiesce_daemon(server->daemon);
}

unsigned api_active(const ApiServer *server)
{
    return atomic_load_explicit(&server->active, memory_order_relaxed);
}

void api_stop(ApiServer *server)
{
    if (!server)
        return;
    MHD_stop_daemon(server->daemon);
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    connections_free(&server->connections);
    pthread_mutex_destroy(&server->lock);
    free(server);
}
