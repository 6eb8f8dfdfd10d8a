#include "worker/thread_entry.h"

#include <stdlib.h>

#include "base/clock.h"

enum { FADE_SHIFT_NS = 26 }; /* usage halves every 2^26 ns, about 67 ms */
#define LIGHT_NS (2 * CLOCK_NS_PER_MS)
#define MEDIUM_NS (20 * CLOCK_NS_PER_MS)
#define SHORT_NS (CLOCK_NS_PER_MS / 2)
enum { TRUST_MAX = 4, TRUST_LOST = -16 };

ThreadEntry *entry_new(uint64_t guild_id)
{
    ThreadEntry *entry = calloc(1, sizeof(*entry));
    if (entry)
        entry->guild_id = guild_id;
    return entry;
}

void entry_free(ThreadEntry *entry)
{
    BASE_ASSERT(entry->mail_first == NULL && entry->current == NULL);
    khronos_free(entry->vm_handle);
    free(entry);
}

void entry_mail_put(ThreadEntry *entry, LuaVmAction *action)
{
    action->next = NULL;
    if (entry->mail_last)
        entry->mail_last->next = action;
    else
        entry->mail_first = action;
    entry->mail_last = action;
    entry->mail_count++;
}

LuaVmAction *entry_mail_take(ThreadEntry *entry)
{
    LuaVmAction *action = entry->mail_first;
    if (!action)
        return NULL;
    entry->mail_first = action->next;
    if (!entry->mail_first)
        entry->mail_last = NULL;
    action->next = NULL;
    return action;
}

void entryqueue_put(EntryQueue *queue, ThreadEntry *entry)
{
    entry->queue_next = NULL;
    if (queue->last)
        queue->last->queue_next = entry;
    else
        queue->first = entry;
    queue->last = entry;
}

ThreadEntry *entryqueue_take(EntryQueue *queue)
{
    ThreadEntry *entry = queue->first;
    if (!entry)
        return NULL;
    queue->first = entry->queue_next;
    if (!queue->first)
        queue->last = NULL;
    entry->queue_next = NULL;
    return entry;
}

static uint64_t faded(const ThreadEntry *entry, uint64_t now_ns)
{
    uint64_t halvings = (now_ns - entry->last_run_ns) >> FADE_SHIFT_NS;
    return halvings >= 64 ? 0 : entry->usage_ns >> halvings;
}

int entry_level(const ThreadEntry *entry, uint64_t now_ns)
{
    uint64_t usage_ns = faded(entry, now_ns);
    return usage_ns < LIGHT_NS ? 0 : usage_ns < MEDIUM_NS ? 1 : 2;
}

void entry_charge(ThreadEntry *entry, uint64_t start_ns, uint64_t end_ns)
{
    uint64_t before = faded(entry, start_ns);
    /* Turns closer together than a halving would never fade: their start stays where it was. */
    if ((start_ns - entry->last_run_ns) >> FADE_SHIFT_NS != 0)
        entry->last_run_ns = end_ns;
    entry->usage_ns = before + (end_ns - start_ns);
}

void entry_judge(ThreadEntry *entry, bool parked, uint64_t took_ns)
{
    if (parked)
        entry->trust = TRUST_LOST;
    else if (took_ns < SHORT_NS && entry->trust < TRUST_MAX)
        entry->trust++;
    else if (took_ns >= SHORT_NS && entry->trust > 0)
        entry->trust = 0;
}
