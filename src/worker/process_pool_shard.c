#include <stdlib.h>

#include "base/random.h"
#include "worker/process_pool.h"

/* ---- Lists ------------------------------------------------------------------------------------
 */

static void list_put(SlotList *list, Slot *slot)
{
    slot->next = NULL;
    slot->previous = list->last;
    *(list->last ? &list->last->next : &list->first) = slot;
    list->last = slot;
}

static void list_put_first(SlotList *list, Slot *slot)
{
    slot->previous = NULL;
    slot->next = list->first;
    *(list->first ? &list->first->previous : &list->last) = slot;
    list->first = slot;
}

static void list_remove(SlotList *list, Slot *slot)
{
    *(slot->previous ? &slot->previous->next : &list->first) = slot->next;
    *(slot->next ? &slot->next->previous : &list->last) = slot->previous;
    slot->previous = slot->next = NULL;
}

static Slot *list_take(SlotList *list)
{
    Slot *slot = list->first;
    if (slot)
        list_remove(list, slot);
    return slot;
}

/* ---- Life -------------------------------------------------------------------------------------
 */

bool shard_init(Shard *shard, ProcessPool *pool, int index)
{
    *shard = (Shard){.pool = pool, .index = index};
    shard->slots = calloc(POOL_SLOTS, sizeof(*shard->slots));
    if (!shard->slots)
        return false;
    for (int i = POOL_SLOTS - 1; i >= 0; i--) {
        shard->slots[i].next = shard->free_slots;
        shard->free_slots = &shard->slots[i];
    }
    shard->former = calloc(POOL_FORMER_MAX, sizeof(*shard->former));
    if (!shard->former) {
        free(shard->slots);
        shard->slots = NULL;
        return false;
    }
    idmap_init(&shard->notes, random_u64());
    idmap_init(&shard->former_map, random_u64());
    pthread_mutex_init(&shard->lock, NULL);
    return true;
}

void shard_free(Shard *shard)
{
    if (!shard->slots)
        return;
    BASE_ASSERT(shard->actions == 0 && shard->urgent_actions == 0);
    size_t cursor = 0;
    for (GuildNote *note; (note = idmap_next(&shard->notes, &cursor)) != NULL;)
        free(note);
    idmap_free(&shard->notes);
    idmap_free(&shard->former_map);
    shard_drop_answers(shard);
    pthread_mutex_destroy(&shard->lock);
    free(shard->former);
    free(shard->slots);
}

bool shard_owns(const Shard *shard, uint64_t guild_id)
{
    return (guild_id >> 22) % (uint64_t)shard->pool->shard_count == (uint64_t)shard->index;
}

/* ---- Former VMs -------------------------------------------------------------------------------
 * A child knows why its guilds' VMs broke, and takes that with it. */

void shard_note_broken(Shard *shard, uint64_t guild_id, VmBrokenReason reason)
{
    FormerVm *former = idmap_get(&shard->former_map, guild_id);
    if (former) {
        former->reason = reason;
        return;
    }
    former = &shard->former[shard->former_next];
    if (former->guild_id != 0)
        idmap_remove(&shard->former_map, former->guild_id);
    *former = (FormerVm){guild_id, reason};
    shard->former_next = (shard->former_next + 1) % POOL_FORMER_MAX;
    if (!idmap_put(&shard->former_map, guild_id, former))
        former->guild_id = 0;
}

VmBrokenReason shard_former_reason(const Shard *shard, uint64_t guild_id)
{
    const FormerVm *former = idmap_get(&shard->former_map, guild_id);
    return former ? former->reason : VM_NOT_BROKEN;
}

/* ---- Notes ------------------------------------------------------------------------------------
 */

GuildNote *shard_note_locked(Shard *shard, uint64_t guild_id)
{
    return idmap_get(&shard->notes, guild_id);
}

static GuildNote *make_note_locked(Shard *shard, uint64_t guild_id)
{
    GuildNote *note = idmap_get(&shard->notes, guild_id);
    if (note)
        return note;
    note = calloc(1, sizeof(*note));
    if (!note)
        return NULL;
    note->guild_id = guild_id;
    if (!idmap_put(&shard->notes, guild_id, note)) {
        free(note);
        return NULL;
    }
    return note;
}

void shard_drop_note_locked(Shard *shard, GuildNote *note)
{
    if (note->pending > 0 || note->urgent > 0 || note->has_limits || note->vm_generation != 0)
        return;
    idmap_remove(&shard->notes, note->guild_id);
    free(note);
}

static int mailbox_max(const Shard *shard, const GuildNote *note)
{
    return note->has_limits ? note->limits.mailbox_max : shard->pool->options->limits.mailbox_max;
}

/* ---- Executions -------------------------------------------------------------------------------
 * `next` is the runtime's; on this side of the socket it says whether the result is there: an
 * execution that follows itself is answered. */

bool execution_answered(const KhronosExecution *x)
{
    return x->next == x;
}

void execution_answer(Shard *shard, KhronosExecution *x)
{
    x->next = x;
    pthread_mutex_lock(&shard->lock);
    shard->executions++;
    pthread_mutex_unlock(&shard->lock);
}

void execution_fail(Shard *shard, KhronosExecution *x, KhronosStatus status, const char *message)
{
    x->status = status;
    x->result_count = 0;
    strbuf_clear(&x->message);
    strbuf_puts(&x->message, message);
    strbuf_clear(&x->traceback);
    strbuf_clear(&x->logs);
    x->path[0] = '\0';
    x->line = x->column = 0;
    execution_answer(shard, x);
}

static bool has_executions(const LuaVmAction *action)
{
    return action->type == VM_ACTION_EXECUTE || action->type == VM_ACTION_DISPATCH_EVENT;
}

static void unmark_executions(LuaVmAction *action)
{
    int count = 0;
    KhronosExecution *x = has_executions(action) ? action_executions(action, &count) : NULL;
    for (int i = 0; i < count; i++)
        x[i].next = NULL;
}

/* ---- Submitting -------------------------------------------------------------------------------
 */

static bool is_queued_locked(const Shard *shard, uint64_t guild_id, const char *execution_id)
{
    for (const Slot *slot = shard->unsent.first; slot; slot = slot->next) {
        int count = 0;
        if (slot->action->handle.guild_id != guild_id || !has_executions(slot->action))
            continue;
        KhronosExecution *x = action_executions(slot->action, &count);
        for (int i = 0; i < count; i++)
            if (strcmp(x[i].id, execution_id) == 0)
                return true;
    }
    return false;
}

/* What must not wait behind a guild's mail goes ahead of all that is queued; but what cancels an
 * execution must not get there before it. */
static bool is_urgent_locked(const Shard *shard, const LuaVmAction *action)
{
    switch (action->type) {
    case VM_ACTION_GET_STATE:
    case VM_ACTION_GET_MEMORY_USAGE:
    case VM_ACTION_SET_LIMITS: return true;
    case VM_ACTION_CANCEL:
        return !is_queued_locked(shard, action->handle.guild_id, action->execution_id);
    default: return false;
    }
}

static VmActionOutcome queue_locked(Shard *shard, LuaVmAction *action)
{
    if (shard->refusing)
        return VM_ACTION_SHUTTING_DOWN;
    bool urgent = is_urgent_locked(shard, action);
    if (urgent ? shard->urgent_actions == POOL_URGENT_MAX : shard->actions == POOL_ACTIONS_MAX)
        return VM_ACTION_QUEUE_FULL;
    GuildNote *note = make_note_locked(shard, action->handle.guild_id);
    if (!note)
        return VM_ACTION_NO_MEMORY;
    if (!urgent && note->pending >= mailbox_max(shard, note)) {
        shard_drop_note_locked(shard, note); /* its mailbox may hold nothing at all */
        return VM_ACTION_QUEUE_FULL;
    }
    Slot *slot = shard->free_slots;
    shard->free_slots = slot->next;
    *slot = (Slot){.action = action, .note = note, .urgent = urgent};
    *(urgent ? &note->urgent : &note->pending) += 1;
    *(urgent ? &shard->urgent_actions : &shard->actions) += 1;
    list_put(urgent ? &shard->unsent_urgent : &shard->unsent, slot);
    return VM_ACTION_DONE;
}

void shard_submit(Shard *shard, LuaVmAction *action)
{
    ProcessPool *pool = shard->pool;
    unmark_executions(action);
    action->info = (VmInfo){0};
    action->retry_after_ms = 0;
    pthread_mutex_lock(&shard->lock);
    VmActionOutcome outcome = queue_locked(shard, action);
    if (outcome == VM_ACTION_DONE) {
        /* Relaxed: who waits for 0 made this shard refuse under the lock first. */
        atomic_fetch_add_explicit(&pool->waiting, 1, memory_order_relaxed);
        if (!shard->woken) {
            shard->woken = true;
            uv_async_send(&pool->wake);
        }
    } else if (outcome == VM_ACTION_QUEUE_FULL) {
        shard->refused++;
        action->retry_after_ms = POOL_RETRY_MS;
    }
    pthread_mutex_unlock(&shard->lock);
    if (outcome == VM_ACTION_DONE)
        return;
    action->outcome = outcome;
    action->complete(action);
}

Slot *shard_take_unsent(Shard *shard, bool only_urgent)
{
    pthread_mutex_lock(&shard->lock);
    shard->woken = false;
    Slot *slot = list_take(&shard->unsent_urgent);
    if (!slot && !only_urgent)
        slot = list_take(&shard->unsent);
    if (slot)
        list_put(&shard->sent, slot);
    pthread_mutex_unlock(&shard->lock);
    return slot;
}

/* ---- Completing -------------------------------------------------------------------------------
 */

Slot *shard_sent_slot(Shard *shard, uint32_t index)
{
    if (index >= POOL_SLOTS)
        return NULL;
    Slot *slot = &shard->slots[index];
    pthread_mutex_lock(&shard->lock);
    bool sent = slot->action && slot->bytes > 0;
    pthread_mutex_unlock(&shard->lock);
    return sent ? slot : NULL;
}

/* The slot was taken out of its list. */
static LuaVmAction *release_slot_locked(Shard *shard, Slot *slot)
{
    LuaVmAction *action = slot->action;
    GuildNote *note = slot->note;
    *(slot->urgent ? &note->urgent : &note->pending) -= 1;
    *(slot->urgent ? &shard->urgent_actions : &shard->actions) -= 1;
    shard_drop_note_locked(shard, note);
    *slot = (Slot){.next = shard->free_slots};
    shard->free_slots = slot;
    return action;
}

static void hand_back(ProcessPool *pool, LuaVmAction *action, VmActionOutcome outcome)
{
    unmark_executions(action);
    action->outcome = outcome;
    action->complete(action); /* the action is its owner's again */
    /* Acquire and release: all completions happen before the end of a drain. */
    if (atomic_fetch_sub_explicit(&pool->waiting, 1, memory_order_acq_rel) == 1) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->drained);
        pthread_mutex_unlock(&pool->lock);
    }
}

void shard_complete(Shard *shard, Slot *slot, VmActionOutcome outcome)
{
    pthread_mutex_lock(&shard->lock);
    list_remove(&shard->sent, slot);
    LuaVmAction *action = release_slot_locked(shard, slot);
    shard->refused += outcome == VM_ACTION_QUEUE_FULL || outcome == VM_ACTION_PAUSED;
    pthread_mutex_unlock(&shard->lock);
    hand_back(shard->pool, action, outcome);
}

/* Empties the list; returns its slots, by next, in their order. */
static Slot *detach(SlotList *list)
{
    Slot *first = list->first;
    *list = (SlotList){0};
    return first;
}

static void shut_list(Shard *shard, SlotList *list)
{
    for (;;) {
        pthread_mutex_lock(&shard->lock);
        Slot *slot = list_take(list);
        LuaVmAction *action = slot ? release_slot_locked(shard, slot) : NULL;
        pthread_mutex_unlock(&shard->lock);
        if (!action)
            return;
        hand_back(shard->pool, action, VM_ACTION_SHUTTING_DOWN);
    }
}

void shard_shut(Shard *shard, bool sent_too)
{
    shut_list(shard, &shard->unsent_urgent);
    shut_list(shard, &shard->unsent);
    if (sent_too)
        shut_list(shard, &shard->sent);
}

/* ---- Losses -----------------------------------------------------------------------------------
 */

static void complete_started(Shard *shard, Slot *slot)
{
    int count;
    KhronosExecution *x = action_executions(slot->action, &count);
    for (int i = 0; i < count; i++)
        if (!execution_answered(&x[i]))
            execution_fail(
                shard, &x[i], KHRONOS_BROKEN,
                "the process that ran this guild was lost; what it had started ends here");
    slot->action->info.state = VM_BROKEN;
    slot->action->info.reason = VM_PANIC_RECOVERY;
    shard_complete(shard, slot, VM_ACTION_DONE);
}

/* In front of what is queued, in their order. A cancellation goes behind its execution. */
static void queue_again_locked(Shard *shard)
{
    for (Slot *slot; (slot = shard->sent.last) != NULL;) {
        list_remove(&shard->sent, slot);
        bool ahead = slot->urgent && slot->action->type != VM_ACTION_CANCEL;
        slot->bytes = 0;
        slot->answered = false;
        unmark_executions(slot->action);
        list_put_first(ahead ? &shard->unsent_urgent : &shard->unsent, slot);
    }
}

/* Those that could not start through POOL_LOSSES_MAX children. */
static void give_up(Shard *shard, SlotList *list, bool counts)
{
    SlotList lost = {0};
    pthread_mutex_lock(&shard->lock);
    for (Slot *slot = list->first, *next; slot; slot = next) {
        next = slot->next;
        slot->losses += counts;
        if (slot->losses < POOL_LOSSES_MAX)
            continue;
        list_remove(list, slot);
        list_put(&lost, slot);
    }
    pthread_mutex_unlock(&shard->lock);
    for (Slot *slot = detach(&lost), *next; slot; slot = next) {
        next = slot->next;
        slot->action->info.state = VM_BROKEN;
        slot->action->info.reason = VM_PANIC_RECOVERY;
        pthread_mutex_lock(&shard->lock);
        LuaVmAction *action = release_slot_locked(shard, slot);
        pthread_mutex_unlock(&shard->lock);
        hand_back(shard->pool, action, VM_ACTION_VM_BROKEN);
    }
}

/* The VMs that went with the process. Takes up to max of them. */
static size_t take_vms(Shard *shard, VmHandle *vms, size_t max)
{
    size_t count = 0, cursor = 0;
    pthread_mutex_lock(&shard->lock);
    for (GuildNote *note; count < max && (note = idmap_next(&shard->notes, &cursor)) != NULL;) {
        if (note->vm_generation == 0)
            continue;
        vms[count++] = (VmHandle){note->guild_id, note->vm_generation};
        note->vm_generation = 0;
    }
    for (size_t i = 0; i < count; i++)
        shard_drop_note_locked(shard, idmap_get(&shard->notes, vms[i].guild_id));
    pthread_mutex_unlock(&shard->lock);
    return count;
}

static void report_vms(Shard *shard)
{
    const WorkerObserver *observer = &shard->pool->options->observer;
    if (!observer->state)
        return;
    pthread_mutex_lock(&shard->lock);
    size_t max = shard->notes.count;
    pthread_mutex_unlock(&shard->lock);
    VmHandle few[64], *vms = max > BASE_ARRAY_COUNT(few) ? malloc(max * sizeof(*vms)) : NULL;
    VmHandle *room = vms ? vms : few;
    max = vms ? max : BASE_ARRAY_COUNT(few);
    for (size_t count; (count = take_vms(shard, room, max)) > 0;)
        for (size_t i = 0; i < count; i++) {
            shard_note_broken(shard, room[i].guild_id, VM_PANIC_RECOVERY);
            observer->state(observer->userdata, room[i], VM_BROKEN, VM_PANIC_RECOVERY);
        }
    free(vms);
}

static void bury_stats_locked(Shard *shard)
{
    WorkerStats *past = &shard->past, *child = &shard->child;
    past->created += child->created;
    for (int i = 0; i < VM_REASONS; i++)
        past->broken[i] += child->broken[i];
    past->broken[VM_PANIC_RECOVERY] += child->vms;
    past->panics += child->panics;
    *child = (WorkerStats){0};
}

static bool has_started(const Shard *shard, const Slot *slot, const ChildLife *life)
{
    /* Acquire pairs with the child's release. A dead child has written what it will ever write. */
    return has_executions(slot->action) &&
           (slot->answered ||
            atomic_load_explicit(&life->started[slot - shard->slots], memory_order_acquire) != 0);
}

void shard_lost(Shard *shard, const ChildLife *life)
{
    pthread_mutex_lock(&shard->lock);
    bury_stats_locked(shard);
    pthread_mutex_unlock(&shard->lock);
    report_vms(shard);
    /* Only this thread changes the list of sent ones. */
    for (Slot *slot = shard->sent.first, *next; slot; slot = next) {
        next = slot->next;
        if (has_started(shard, slot, life))
            complete_started(shard, slot);
    }
    give_up(shard, &shard->sent, true);
    bool never_up = !life || !life->ready;
    give_up(shard, &shard->unsent_urgent, never_up);
    give_up(shard, &shard->unsent, never_up);
    pthread_mutex_lock(&shard->lock);
    queue_again_locked(shard);
    pthread_mutex_unlock(&shard->lock);
}
