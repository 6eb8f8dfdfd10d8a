#include "api/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/call.h"
#include "base/clock.h"

enum {
    ACCEPT_MAX = 16,                 /* connections accepted in one go */
    DAEMON_MS = 1000,                /* between two looks at the connections' timeouts */
    CONNECTION_POOL_BYTES = 16 << 10 /* the headers of a request must fit, with what they are read
                                        into */
};
#define DEAF_NS (100 * CLOCK_NS_PER_MS) /* not listening, for want of descriptors */

static bool watch(ApiLoop *loop, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Only one of the loops that wait is woken for a connection. */
static void listen_again(ApiLoop *loop)
{
    loop->listens = watch(loop, server_socket(loop->server), EPOLLIN | EPOLLEXCLUSIVE);
}

static void stop_listening(ApiLoop *loop)
{
    if (loop->listens)
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, server_socket(loop->server), NULL);
    loop->listens = false;
    loop->deaf_ns = clock_monotonic_ns();
}

/* Names and query values stay as they were sent: no path has a %00 in it. */
static size_t keep_escapes(void *arg, struct MHD_Connection *connection, char *text)
{
    (void)arg;
    (void)connection;
    return strlen(text);
}

bool loop_open(ApiLoop *loop, ApiServer *server, WorkerSeat *seat)
{
    *loop = (ApiLoop){.server = server, .seat = seat};
    pthread_mutex_init(&loop->lock, NULL);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        server_on_request, loop, MHD_OPTION_NOTIFY_COMPLETED, server_on_completed, loop,
        MHD_OPTION_NOTIFY_CONNECTION, server_on_connection, loop, MHD_OPTION_CONNECTION_LIMIT,
        server_options(server)->connections_max, MHD_OPTION_CONNECTION_TIMEOUT,
        server_options(server)->read_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_POOL_BYTES, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_END);
    const union MHD_DaemonInfo *info = loop->daemon ? MHD_get_daemon_info(loop->daemon,
                                                                          MHD_DAEMON_INFO_EPOLL_FD)
                                                    : NULL;
    loop->daemon_fd = info ? info->epoll_fd : -1;
    if (loop->epoll_fd >= 0 && loop->wake_fd >= 0 && loop->daemon_fd >= 0 &&
        watch(loop, loop->wake_fd, EPOLLIN) && watch(loop, loop->daemon_fd, EPOLLIN))
        return true; /* it listens when the server is ready */
    loop_close(loop);
    return false;
}

void loop_close(ApiLoop *loop)
{
    if (loop->daemon)
        MHD_stop_daemon(loop->daemon);
    for (int i = 0; i < loop->inbox_count; i++)
        close(loop->inbox[i]);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    pthread_mutex_destroy(&loop->lock);
    *loop = (ApiLoop){.epoll_fd = -1, .wake_fd = -1};
}

void loop_wake(void *arg)
{
    ApiLoop *loop = arg;
    uint64_t one = 1;
    ssize_t written = write(loop->wake_fd, &one, sizeof(one));
    (void)written; /* the counter is full: it is awake */
}

/* ---- Connections ------------------------------------------------------------------------------
 */

/* From now on it is libmicrohttpd's, which closes it also when it has no room. */
static void adopt(ApiLoop *loop, int fd)
{
    struct sockaddr_storage address = {.ss_family = AF_INET};
    socklen_t length = sizeof(address);
    if (getpeername(fd, (struct sockaddr *)&address, &length) != 0) {
        close(fd); /* gone already */
        atomic_fetch_sub_explicit(&loop->connections, 1, memory_order_relaxed);
        return;
    }
    if (MHD_add_connection(loop->daemon, fd, (struct sockaddr *)&address, length) != MHD_YES)
        atomic_fetch_sub_explicit(&loop->connections, 1, memory_order_relaxed);
}

static void take_inbox(ApiLoop *loop)
{
    int fds[LOOP_INBOX];
    pthread_mutex_lock(&loop->lock);
    int count = loop->inbox_count;
    memcpy(fds, loop->inbox, (size_t)count * sizeof(fds[0]));
    loop->inbox_count = 0;
    pthread_mutex_unlock(&loop->lock);
    for (int i = 0; i < count; i++)
        adopt(loop, fds[i]);
    loop->daemon_due |= count > 0;
}

static bool put_inbox(ApiLoop *loop, int fd)
{
    pthread_mutex_lock(&loop->lock);
    bool room = loop->inbox_count < LOOP_INBOX;
    if (room)
        loop->inbox[loop->inbox_count++] = fd;
    pthread_mutex_unlock(&loop->lock);
    if (room)
        loop_wake(loop);
    return room;
}

/* The loop with the fewest connections; *total: those of all. */
static ApiLoop *choose(ApiLoop *loop, int *total)
{
    int best = atomic_load_explicit(&loop->connections, memory_order_relaxed);
    ApiLoop *chosen = loop, *other;
    *total = 0;
    for (int i = 0; (other = server_loop(loop->server, i)) != NULL; i++) {
        int count = atomic_load_explicit(&other->connections, memory_order_relaxed);
        *total += count;
        if (count < best) {
            best = count;
            chosen = other;
        }
    }
    return chosen;
}

static void accept_some(ApiLoop *loop)
{
    for (int i = 0; i < ACCEPT_MAX; i++) {
        int total;
        ApiLoop *chosen = choose(loop, &total);
        if (total >= (int)server_options(loop->server)->connections_max) {
            stop_listening(loop); /* they wait in the kernel's queue */
            return;
        }
        int fd = accept4(server_socket(loop->server), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                stop_listening(loop);
            return;
        }
        atomic_fetch_add_explicit(&chosen->connections, 1, memory_order_relaxed);
        if (chosen == loop || !put_inbox(chosen, fd)) {
            atomic_fetch_sub_explicit(&chosen->connections, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&loop->connections, 1, memory_order_relaxed);
            adopt(loop, fd);
            loop->daemon_due = true;
        }
    }
}

void loop_accept_rest(ApiLoop *loop)
{
    for (int fd; (fd = accept4(server_socket(loop->server), NULL, NULL,
                               SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        atomic_fetch_add_explicit(&loop->connections, 1, memory_order_relaxed);
        adopt(loop, fd);
        loop->daemon_due = true;
    }
}

/* ---- Responses --------------------------------------------------------------------------------
 */

/* libmicrohttpd may overlook a connection that another thread resumes while this one is at work. */
void loop_resume(ApiLoop *loop, ApiCall *call)
{
    pthread_mutex_lock(&loop->lock);
    bool first = loop->answered == NULL;
    call->next = loop->answered;
    loop->answered = call;
    pthread_mutex_unlock(&loop->lock);
    if (first)
        loop_wake(loop);
}

void loop_begins(ApiLoop *loop, ApiCall *call)
{
    pthread_mutex_lock(&loop->lock);
    loop->begins = call;
    pthread_mutex_unlock(&loop->lock);
}

static void resume_answered(ApiLoop *loop)
{
    pthread_mutex_lock(&loop->lock);
    ApiCall *call = loop->answered;
    loop->answered = NULL;
    pthread_mutex_unlock(&loop->lock);
    loop->daemon_due |= call != NULL;
    while (call) {
        ApiCall *next = call->next;
        call->next = NULL;
        MHD_resume_connection(call->connection);
        call = next;
    }
}

/* ---- Turns ------------------------------------------------------------------------------------
 */

static void look_after_listening(ApiLoop *loop, uint64_t now)
{
    if (server_stopping(loop->server)) {
        if (loop->listens)
            stop_listening(loop);
    } else if (!loop->listens && server_ready(loop->server) && now - loop->deaf_ns > DEAF_NS) {
        listen_again(loop);
    }
}

bool loop_wait(void *arg, int timeout_ms)
{
    ApiLoop *loop = arg;
    struct epoll_event events[4];
    int limit = !loop->listens ? (int)(DEAF_NS / CLOCK_NS_PER_MS)
                : atomic_load_explicit(&loop->connections, memory_order_relaxed) > 0 ? DAEMON_MS
                                                                                     : -1;
    if (loop->daemon_due)
        timeout_ms = 0;
    else if (limit >= 0 && (timeout_ms < 0 || timeout_ms > limit))
        timeout_ms = limit;
    int count = epoll_wait(loop->epoll_fd, events, 4, timeout_ms);
    for (int i = 0; i < count; i++) {
        if (events[i].data.fd == loop->daemon_fd) {
            loop->daemon_due = true;
        } else if (events[i].data.fd == loop->wake_fd) {
            uint64_t value;
            ssize_t got = read(loop->wake_fd, &value, sizeof(value));
            (void)got;
            take_inbox(loop);
            resume_answered(loop);
        } else {
            loop->accept_due = true;
        }
    }
    if (loop->daemon_due || loop->accept_due)
        return true;
    uint64_t now = clock_monotonic_ns();
    look_after_listening(loop, now);
    loop->daemon_due = now - loop->daemon_ns > DAEMON_MS * CLOCK_NS_PER_MS;
    return loop->daemon_due;
}

void loop_serve(void *arg)
{
    ApiLoop *loop = arg;
    if (loop->accept_due) {
        loop->accept_due = false;
        accept_some(loop);
    }
    if (loop->daemon_due) {
        MHD_UNSIGNED_LONG_LONG timeout_ms;
        loop->daemon_ns = clock_monotonic_ns();
        MHD_run(loop->daemon);
        /* It may have more to do without another event. */
        loop->daemon_due = MHD_get_timeout(loop->daemon, &timeout_ms) == MHD_YES && timeout_ms == 0;
    }
}
