/* loop.h: the sockets of one worker thread: an epoll set with the listening socket, which all loops
 * share, the loop's own connections (a libmicrohttpd daemon without threads) and a wake-up.
 *
 * Whichever loop is awake accepts a connection and gives it to the loop that has the fewest. A
 * request is read, run and answered by its loop's thread; only what takes longer than a time slice
 * is suspended and answered later. */
#ifndef API_LOOP_H
#define API_LOOP_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"
#include "worker/worker.h"

typedef struct ApiServer ApiServer;

enum { LOOP_INBOX = 64 };

typedef struct ApiLoop {
    ApiServer *server;
    WorkerSeat *seat;
    struct MHD_Daemon *daemon;
    int epoll_fd, wake_fd;
    int daemon_fd; /* the daemon's own epoll set */
    bool listens;  /* the listening socket is in the epoll set */
    bool accept_due, daemon_due;
    uint64_t daemon_ns; /* when it last had a turn, for its timeouts */
    uint64_t deaf_ns;   /* since when it does not listen */
    RandomPool random;
    atomic_int connections; /* given to it and not closed */
    pthread_mutex_t lock;
    int inbox[LOOP_INBOX]; /* under the lock: accepted for it by others */
    int inbox_count;
    struct ApiCall *answered; /* under the lock: to be resumed */
    struct ApiCall *begins;   /* under the lock: whose execution begins on this thread; or NULL */
} ApiLoop;

/* False: no descriptors or memory; the loop was closed. */
bool loop_open(ApiLoop *loop, ApiServer *server, WorkerSeat *seat);
void loop_close(ApiLoop *loop); /* when its thread is gone; also after a failed loop_open */
/* Any thread: the call's connection, which is suspended, has its response. */
void loop_resume(ApiLoop *loop, struct ApiCall *call);
/* The loop's thread: that call's execution is about to begin; NULL: it is over, or in the table of
 * the calls. */
void loop_begins(ApiLoop *loop, struct ApiCall *call);
/* At the end, by whoever has all loops: who connected and was not accepted yet. */
void loop_accept_rest(ApiLoop *loop);
/* The functions of WorkerIo. */
bool loop_wait(void *loop, int timeout_ms);
void loop_serve(void *loop);
void loop_wake(void *loop);

#endif
