/* connections.h: open connections and how long they take to send a request. libmicrohttpd closes
 * what is silent; this closes what drips. */
#ifndef API_CONNECTIONS_H
#define API_CONNECTIONS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct Connection Connection;
typedef struct ConnectionList {
    pthread_mutex_t lock;
    Connection *first;
} ConnectionList;

void connections_init(ConnectionList *list);
void connections_free(ConnectionList *list);
/* NULL: no memory, the connection is not watched. */
Connection *connection_add(ConnectionList *list, int fd);
/* Before the descriptor is closed; NULL is fine. */
void connection_remove(ConnectionList *list, Connection *connection);
/* A request is complete and is being handled (busy), or was answered. NULL is fine. */
void connection_busy(Connection *connection, bool busy);
/* Shuts down those that have been sending for longer than that. */
void connections_sweep(ConnectionList *list, uint64_t patience_ns);

#endif
