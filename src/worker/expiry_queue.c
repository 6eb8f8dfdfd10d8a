#include "worker/expiry_queue.h"

#include <stdlib.h>

#include "base/base.h"
#include "base/random.h"
#include "worker/expiry.h"

void expiry_queue_init(ExpiryQueue *queue)
{
    *queue = (ExpiryQueue){0};
    idmap_init(&queue->guilds, random_u64());
}

void expiry_queue_free(ExpiryQueue *queue)
{
    BASE_ASSERT(queue->taken == 0 && queue->guilds.count == 0);
    idmap_free(&queue->guilds);
    dispatch_heap_free(&queue->holds);
}

size_t expiry_queue_room(const ExpiryQueue *queue)
{
    return EXPIRY_TAKEN_MAX - queue->taken;
}

static ExpiryGuild *get_guild(ExpiryQueue *queue, uint64_t guild_id)
{
    ExpiryGuild *guild = idmap_get(&queue->guilds, guild_id);
    if (guild)
        return guild;
    guild = calloc(1, sizeof(*guild));
    if (!guild)
        return NULL;
    guild->guild_id = guild_id;
    if (idmap_put(&queue->guilds, guild_id, guild))
        return guild;
    free(guild);
    return NULL;
}

static void forget_if_idle(ExpiryQueue *queue, ExpiryGuild *guild)
{
    if (guild->taken > 0)
        return;
    BASE_DEBUG(!guild->in_ring && !guild->read_first);
    if (guild->hold.place)
        dispatch_heap_remove(&queue->holds, &guild->hold);
    idmap_remove(&queue->guilds, guild->guild_id);
    free(guild);
}

static void free_occasion(Occasion *occasion)
{
    free(occasion->why);
    free(occasion);
}

Occasion *expiry_queue_take(ExpiryQueue *queue, const StoreDue *due)
{
    Occasion *occasion = calloc(1, sizeof(*occasion));
    ExpiryGuild *guild = occasion ? get_guild(queue, due->guild_id) : NULL;
    if (!guild) {
        free(occasion);
        return NULL;
    }
    occasion->due = *due;
    occasion->guild = guild;
    occasion->turn = ++queue->turns;
    guild->taken++;
    queue->taken++;
    return occasion;
}

bool expiry_queue_admits(const ExpiryQueue *queue, const Occasion *occasion)
{
    return occasion->guild->waiting <= expiry_queue_room(queue);
}

static void enter_ring(ExpiryQueue *queue, ExpiryGuild *guild)
{
    if (guild->in_ring || guild->hold.place || guild->waiting == 0 ||
        guild->under_way == EXPIRY_PER_GUILD)
        return;
    guild->in_ring = true;
    guild->ring_next = NULL;
    if (queue->ring_first)
        queue->ring_last->ring_next = guild;
    else
        queue->ring_first = guild;
    queue->ring_last = guild;
}

void expiry_queue_add(ExpiryQueue *queue, Occasion *occasion)
{
    ExpiryGuild *guild = occasion->guild;
    occasion->step = OCCASION_WAITS;
    occasion->next = NULL;
    if (!guild->first) {
        guild->first = guild->last = occasion;
    } else if (guild->last->turn < occasion->turn) {
        guild->last = guild->last->next = occasion;
    } else { /* it had started: only those that had too stand before it */
        Occasion **place = &guild->first;
        while ((*place)->turn < occasion->turn)
            place = &(*place)->next;
        occasion->next = *place;
        *place = occasion;
    }
    guild->waiting++;
    enter_ring(queue, guild);
}

static ExpiryGuild *leave_ring(ExpiryQueue *queue)
{
    ExpiryGuild *guild = queue->ring_first;
    queue->ring_first = guild->ring_next;
    guild->in_ring = false;
    return guild;
}

Occasion *expiry_queue_start(ExpiryQueue *queue)
{
    /* Guilds that were held, or emptied, since they entered the ring leave it here. */
    while (queue->under_way < EXPIRY_UNDER_WAY_MAX && queue->ring_first) {
        ExpiryGuild *guild = leave_ring(queue);
        if (guild->hold.place || guild->waiting == 0)
            continue;
        Occasion *occasion = guild->first;
        guild->first = occasion->next;
        guild->waiting--;
        guild->under_way++;
        queue->under_way++;
        occasion->has_place = true;
        occasion->next = NULL;
        enter_ring(queue, guild);
        return occasion;
    }
    return NULL;
}

void expiry_queue_leave(ExpiryQueue *queue, Occasion *occasion)
{
    if (!occasion->has_place)
        return;
    occasion->has_place = false;
    occasion->guild->under_way--;
    queue->under_way--;
    enter_ring(queue, occasion->guild);
}

void expiry_queue_drop(ExpiryQueue *queue, Occasion *occasion)
{
    ExpiryGuild *guild = occasion->guild;
    expiry_queue_leave(queue, occasion);
    guild->taken--;
    queue->taken--;
    free_occasion(occasion);
    forget_if_idle(queue, guild);
}

bool expiry_queue_hold(ExpiryQueue *queue, ExpiryGuild *guild, uint64_t until_ms)
{
    if (!dispatch_heap_reserve(&queue->holds))
        return false;
    guild->hold.due_ns = until_ms;
    dispatch_heap_add(&queue->holds, &guild->hold);
    return true;
}

void expiry_queue_release(ExpiryQueue *queue, uint64_t now_ms)
{
    for (DispatchTimer *timer; (timer = dispatch_heap_first(&queue->holds));) {
        if (timer->due_ns > now_ms)
            return;
        dispatch_heap_remove(&queue->holds, timer);
        ExpiryGuild *guild = (ExpiryGuild *)(void *)((char *)timer - offsetof(ExpiryGuild, hold));
        enter_ring(queue, guild);
    }
}

static void clear_guild(ExpiryQueue *queue, ExpiryGuild *guild)
{
    while (guild->first) {
        Occasion *occasion = guild->first;
        guild->first = occasion->next;
        guild->waiting--;
        guild->taken--;
        queue->taken--;
        free_occasion(occasion);
    }
}

void expiry_queue_clear(ExpiryQueue *queue)
{
    while (queue->ring_first)
        leave_ring(queue);
    /* The map changes when guilds go: first a list of them, along the ring's links. */
    ExpiryGuild *list = NULL;
    size_t cursor = 0;
    for (ExpiryGuild *guild; (guild = idmap_next(&queue->guilds, &cursor));) {
        guild->ring_next = list;
        list = guild;
    }
    for (ExpiryGuild *next; list; list = next) {
        next = list->ring_next;
        clear_guild(queue, list);
        forget_if_idle(queue, list);
    }
}
