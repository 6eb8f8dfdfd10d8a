/* dispatch_lobby.h: requests that wait for templates.
 *
 * Each guild that has such requests has a queue. Whoever made it asks the source about its first
 * request; the thread that has the answer goes on with that one, then with the next, which as a
 * rule needs not wait any more, until the queue is empty and gone. So one thread at a time has a
 * queue, and a guild's requests go on in the order in which they came. When a look-up fails, all
 * that waits in its queue at that moment has failed: they waited for the same answer.
 *
 * Who waits for a result waits no longer than it said (dispatch_lobby_late); its request stays in
 * its place until its turn, and is nothing then. */
#ifndef WORKER_DISPATCH_LOBBY_H
#define WORKER_DISPATCH_LOBBY_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/idmap.h"
#include "worker/dispatch_heap.h"
#include "worker/dispatcher.h"

typedef struct DispatchQueue DispatchQueue;

/* A request with copies of all that it points to, in one block. */
typedef struct DispatchParked {
    DispatchTimer timer; /* first */
    DispatchRequest request;
    KhronosEvent event;
    KhronosCaller caller;
    uint64_t due_ns;       /* DISPATCH_NEVER: patience has no end */
    TemplateLookup lookup; /* for the turn: the answer */
    size_t bytes;
    /* -- the lobby's -- */
    bool gave_up; /* fixed once the turn has begun */
    atomic_int holders;
    struct DispatchParked *next, *next_late;
} DispatchParked;

typedef struct DispatchLobby {
    _Alignas(64) pthread_mutex_t lock;
    atomic_size_t guilds; /* with a queue; written under the lock */
    IdMap queues;
    DispatchHeap patience;
    /* -- fixed -- */
    TemplateSource source;
    /* A request's turn: without locks, in the order of its guild's requests. The answer in its
     * lookup is to be taken or freed; the request itself stays the lobby's. */
    void (*turn)(void *userdata, DispatchParked *parked);
    void *userdata;
    atomic_size_t *under_way; /* raised for each queue; the last that is touched, with release */
} DispatchLobby;

void dispatch_lobby_init(DispatchLobby *lobby, uint64_t seed);
void dispatch_lobby_free(DispatchLobby *lobby); /* nothing waits */

/* NULL: no memory. */
DispatchParked *dispatch_parked_new(const DispatchRequest *request, uint64_t due_ns);
void dispatch_parked_release(DispatchParked *parked);

/* Does anything of that guild wait? Whoever asks after a request of his was parked is told so until
 * its turn is over. */
bool dispatch_lobby_has(DispatchLobby *lobby, uint64_t guild_id);
/* Takes the request, which has its turn later or inside the call. False: no memory, it is still the
 * caller's. */
bool dispatch_lobby_park(DispatchLobby *lobby, DispatchParked *parked);
/* Those whose patience has ended, linked by next_late: the caller answers and releases them. *due:
 * when the next one's does. */
DispatchParked *dispatch_lobby_late(DispatchLobby *lobby, uint64_t now_ns, uint64_t *due_ns);

#endif
