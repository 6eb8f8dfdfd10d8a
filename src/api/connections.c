#include "api/connections.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"

struct Connection {
    int fd;
    _Atomic uint64_t since_ns; /* beginning of the wait for a whole request; 0: there is one */
    Connection *previous, *next;
};

void connections_init(ConnectionList *list)
{
    pthread_mutex_init(&list->lock, NULL);
    list->first = NULL;
}

void connections_free(ConnectionList *list)
{
    while (list->first)
        connection_remove(list, list->first);
    pthread_mutex_destroy(&list->lock);
}

Connection *connection_add(ConnectionList *list, int fd)
{
    Connection *connection = calloc(1, sizeof(*connection));
    if (!connection)
        return NULL;
    connection->fd = fd;
    atomic_init(&connection->since_ns, clock_monotonic_ns());
    pthread_mutex_lock(&list->lock);
    connection->next = list->first;
    if (list->first)
        list->first->previous = connection;
    list->first = connection;
    pthread_mutex_unlock(&list->lock);
    return connection;
}

void connection_remove(ConnectionList *list, Connection *connection)
{
    if (!connection)
        return;
    pthread_mutex_lock(&list->lock);
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        list->first = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    pthread_mutex_unlock(&list->lock);
    free(connection);
}

void connection_busy(Connection *connection, bool busy)
{
    /* Relaxed: a time, and nothing that depends on it. */
    if (connection)
        atomic_store_explicit(&connection->since_ns, busy ? 0 : clock_monotonic_ns(),
                              memory_order_relaxed);
}

void connections_sweep(ConnectionList *list, uint64_t patience_ns)
{
    uint64_t now = clock_monotonic_ns();
    pthread_mutex_lock(&list->lock);
    for (Connection *c = list->first; c; c = c->next) {
        uint64_t since = atomic_load_explicit(&c->since_ns, memory_order_relaxed);
        if (since != 0 && now > since && now - since > patience_ns)
            shutdown(c->fd, SHUT_RDWR); /* its thread sees the end and closes it */
    }
    pthread_mutex_unlock(&list->lock);
}
