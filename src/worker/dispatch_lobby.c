#include "worker/dispatch_lobby.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "worker/dispatch_copy.h"

struct DispatchQueue {
    DispatchLobby *lobby;
    uint64_t guild_id;
    DispatchParked *first; /* whose turn it is; changed by the thread that has the queue */
    DispatchParked *last;  /* under the lobby's lock, like every `next` */
    /* Of the thread that asked and the one that has the answer: the second has the queue. */
    atomic_int meeting;
};

void dispatch_lobby_init(DispatchLobby *lobby, uint64_t seed)
{
    pthread_mutex_init(&lobby->lock, NULL);
    atomic_init(&lobby->guilds, 0);
    idmap_init(&lobby->queues, seed);
    lobby->patience = (DispatchHeap){0};
}

void dispatch_lobby_free(DispatchLobby *lobby)
{
    BASE_ASSERT(lobby->queues.count == 0);
    idmap_free(&lobby->queues);
    dispatch_heap_free(&lobby->patience);
    pthread_mutex_destroy(&lobby->lock);
}

/* ---- Requests ---------------------------------------------------------------------------------
 */

DispatchParked *dispatch_parked_new(const DispatchRequest *request, uint64_t due_ns)
{
    const KhronosEvent *event = request->event;
    size_t pointers = (size_t)dispatch_caller_pointers(request->caller) * sizeof(char *);
    size_t bytes = sizeof(DispatchParked) + pointers + dispatch_event_room(event) +
                   dispatch_text_room(event->id) + dispatch_text_room(request->target) +
                   dispatch_caller_room(request->caller);
    DispatchParked *parked = malloc(bytes);
    if (!parked)
        return NULL;
    const char **list = (const char **)(parked + 1);
    char *at = (char *)list + pointers;
    *parked = (DispatchParked){.request = *request, .due_ns = due_ns, .bytes = bytes};
    atomic_init(&parked->holders, 1);
    parked->event = dispatch_copy_event(&at, event);
    parked->event.id = dispatch_copy_text(&at, event->id);
    parked->request.event = &parked->event;
    parked->request.target = dispatch_copy_text(&at, request->target);
    if (request->caller) {
        parked->caller = dispatch_copy_caller(&at, request->caller, list);
        parked->request.caller = &parked->caller;
    }
    parked->lookup = (TemplateLookup){
        .guild_id = request->guild_id, .name = parked->request.target, .event = &parked->event};
    return parked;
}

void dispatch_parked_release(DispatchParked *parked)
{
    /* Release and acquire: all uses come before the end. */
    if (atomic_fetch_sub_explicit(&parked->holders, 1, memory_order_acq_rel) == 1)
        free(parked);
}

/* ---- Turns ------------------------------------------------------------------------------------
 */

/* Out of the heap: from here on it cannot give up any more. */
static void begin_turn(DispatchLobby *lobby, DispatchParked *parked)
{
    pthread_mutex_lock(&lobby->lock);
    if (parked->timer.place != 0)
        dispatch_heap_remove(&lobby->patience, &parked->timer);
    pthread_mutex_unlock(&lobby->lock);
}

/* The first one's turn, its answer being there. False: it was the last one, and the queue is gone.
 */
static bool take_turn(DispatchQueue *queue)
{
    DispatchLobby *lobby = queue->lobby;
    DispatchParked *parked = queue->first;
    begin_turn(lobby, parked);
    lobby->turn(lobby->userdata, parked);

    pthread_mutex_lock(&lobby->lock);
    queue->first = parked->next;
    bool empty = !queue->first;
    if (empty) {
        idmap_remove(&lobby->queues, queue->guild_id);
        /* Release: see dispatch_lobby_has. */
        atomic_fetch_sub_explicit(&lobby->guilds, 1, memory_order_release);
    }
    pthread_mutex_unlock(&lobby->lock);
    dispatch_parked_release(parked);
    if (!empty)
        return true;
    free(queue);
    /* Release: whoever waits for the end comes after all of this. */
    atomic_fetch_sub_explicit(lobby->under_way, 1, memory_order_release);
    return false;
}

/* The same; if the answer is a failure, it is that of all that wait now. */
static bool take_turns(DispatchQueue *queue)
{
    DispatchLobby *lobby = queue->lobby;
    const TemplateLookup *answer = &queue->first->lookup;
    if (!answer->failed)
        return take_turn(queue);
    char message[sizeof(answer->message)];
    memcpy(message, answer->message, sizeof(message));
    pthread_mutex_lock(&lobby->lock);
    DispatchParked *last = queue->last;
    pthread_mutex_unlock(&lobby->lock);
    for (bool was_last = false; !was_last;) {
        DispatchParked *parked = queue->first;
        was_last = parked == last; /* it may be gone after its turn */
        template_lookup_fail(&parked->lookup, message);
        if (!take_turn(queue))
            return false;
    }
    return true;
}

/* False: the answer comes later, and whoever brings it has the queue. */
static bool ask(DispatchQueue *queue)
{
    DispatchLobby *lobby = queue->lobby;
    TemplateLookup *lookup = &queue->first->lookup;
    pthread_mutex_lock(&lobby->lock);
    bool gave_up = queue->first->gave_up;
    pthread_mutex_unlock(&lobby->lock);
    if (gave_up)
        return true;
    /* Relaxed: nobody else has the queue. */
    atomic_store_explicit(&queue->meeting, 0, memory_order_relaxed);
    if (lobby->source.look_up(lobby->source.self, lookup))
        return true;
    /* Acquire and release: the second sees the answer, or that all is ready for it. */
    return atomic_fetch_add_explicit(&queue->meeting, 1, memory_order_acq_rel) == 1;
}

static void run_queue(DispatchQueue *queue)
{
    while (ask(queue) && take_turns(queue))
        ;
}

/* On the source's thread, perhaps inside look_up, and then the thread that asked goes on: a long
 * queue takes no stack. */
static void on_found(TemplateLookup *lookup)
{
    DispatchQueue *queue = lookup->userdata;
    if (atomic_fetch_add_explicit(&queue->meeting, 1, memory_order_acq_rel) == 1 &&
        take_turns(queue))
        run_queue(queue);
}

/* ---- Coming and waiting -----------------------------------------------------------------------
 */

bool dispatch_lobby_has(DispatchLobby *lobby, uint64_t guild_id)
{
    /* Who must be seen as waiting was parked before, in the order of this thread or of what it was
     * told. Acquire: who waits no more has had its turn before whatever comes now. */
    if (atomic_load_explicit(&lobby->guilds, memory_order_acquire) == 0)
        return false;
    pthread_mutex_lock(&lobby->lock);
    bool has = idmap_get(&lobby->queues, guild_id) != NULL;
    pthread_mutex_unlock(&lobby->lock);
    return has;
}

static DispatchQueue *queue_new(DispatchLobby *lobby, uint64_t guild_id)
{
    DispatchQueue *queue = malloc(sizeof(*queue));
    if (!queue || !idmap_put(&lobby->queues, guild_id, queue)) {
        free(queue);
        return NULL;
    }
    *queue = (DispatchQueue){.lobby = lobby, .guild_id = guild_id};
    atomic_fetch_add_explicit(&lobby->guilds, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(lobby->under_way, 1, memory_order_relaxed);
    return queue;
}

bool dispatch_lobby_park(DispatchLobby *lobby, DispatchParked *parked)
{
    uint64_t guild_id = parked->request.guild_id;
    parked->lookup.complete = on_found;
    pthread_mutex_lock(&lobby->lock);
    DispatchQueue *queue = idmap_get(&lobby->queues, guild_id);
    bool is_first = !queue;
    bool room = dispatch_heap_reserve(&lobby->patience);
    if (room && is_first)
        queue = queue_new(lobby, guild_id);
    if (!room || !queue) {
        pthread_mutex_unlock(&lobby->lock);
        return false;
    }
    parked->lookup.userdata = queue;
    if (is_first)
        queue->first = parked;
    else
        queue->last->next = parked;
    queue->last = parked;
    if (parked->due_ns != DISPATCH_NEVER) {
        parked->timer.due_ns = parked->due_ns;
        dispatch_heap_add(&lobby->patience, &parked->timer);
    }
    pthread_mutex_unlock(&lobby->lock);
    if (is_first)
        run_queue(queue);
    return true;
}

DispatchParked *dispatch_lobby_late(DispatchLobby *lobby, uint64_t now_ns, uint64_t *due_ns)
{
    DispatchParked *list = NULL;
    *due_ns = DISPATCH_NEVER;
    pthread_mutex_lock(&lobby->lock);
    for (DispatchTimer *t; (t = dispatch_heap_first(&lobby->patience)) && t->due_ns <= now_ns;) {
        DispatchParked *parked = (DispatchParked *)t;
        dispatch_heap_remove(&lobby->patience, t);
        parked->gave_up = true;
        atomic_fetch_add_explicit(&parked->holders, 1, memory_order_relaxed);
        parked->next_late = list;
        list = parked;
    }
    DispatchTimer *first = dispatch_heap_first(&lobby->patience);
    if (first)
        *due_ns = first->due_ns;
    pthread_mutex_unlock(&lobby->lock);
    return list;
}
