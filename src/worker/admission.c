/* Which actions a guild takes, and which answers. Control actions look at the guild or change what
 * is under way; they are answered on the spot when nobody has the VM, and else by the thread that
 * has it, before its next mail. */
#include "base/clock.h"
#include "worker/registry.h"

enum {
    CONTROL_MAX = 1024, /* waiting, of a guild */
    DESTROY_MAX = 8,    /* waiting, of a guild: they are taken into a full mailbox as well */
    FULL_RETRY_MS = 100
};

static bool is_control(VmActionType type)
{
    return type == VM_ACTION_GET_STATE || type == VM_ACTION_GET_MEMORY_USAGE ||
           type == VM_ACTION_SET_LIMITS || type == VM_ACTION_CANCEL;
}

static bool is_executing(VmActionType type)
{
    return type == VM_ACTION_EXECUTE || type == VM_ACTION_DISPATCH_EVENT;
}

static bool answer(LuaVmAction *action, VmActionOutcome outcome)
{
    action->outcome = outcome;
    return false;
}

bool registry_is_stale(const ThreadEntry *entry, const LuaVmAction *action)
{
    uint64_t generation = action->handle.generation;
    return generation != 0 && (!entry || !entry->vm_handle || entry->generation != generation);
}

/* The guild is about to have mail. */
static void wanted_locked(Registry *registry, ThreadEntry *entry)
{
    if (entry->place == PLACE_FADING)
        entrylist_remove(&registry->fading, entry);
}

/* What the caller may look at whatever becomes of the action. */
static void prepare(LuaVmAction *action)
{
    action->retry_after_ms = 0;
    action->unfinished = 0;
    action->info = (VmInfo){0};
    if (!is_executing(action->type))
        return;
    int count;
    KhronosExecution *x = action_executions(action, &count);
    for (int i = 0; i < count; i++)
        x[i].status = KHRONOS_OK;
}

/* ---- Control ---- */

static bool set_limits_at_rest_locked(Registry *registry, LuaVmAction *action)
{
    ThreadEntry *entry = registry_find_locked(registry, action->handle.guild_id);
    if (!entry && !action->limits)
        return answer(action, VM_ACTION_DONE);
    if (!entry)
        entry = registry_ensure_locked(registry, action->handle.guild_id);
    if (!entry)
        return answer(action, VM_ACTION_NO_MEMORY);
    wanted_locked(registry, entry);
    bool known = action->limits == NULL || entry_extra(entry) != NULL;
    if (known && entry->extra) {
        entry->extra->has_limits = action->limits != NULL;
        if (action->limits)
            entry->extra->limits = *action->limits;
    }
    if (!entry->scheduled)
        registry_ended_locked(registry, entry);
    return answer(action, known ? VM_ACTION_DONE : VM_ACTION_NO_MEMORY);
}

static bool control_at_rest_locked(Registry *registry, LuaVmAction *action, ThreadEntry *entry)
{
    switch (action->type) {
    case VM_ACTION_SET_LIMITS: return set_limits_at_rest_locked(registry, action);
    case VM_ACTION_CANCEL: return answer(action, VM_ACTION_NOT_FOUND);
    default:
        if (entry)
            registry_fill_info(registry, entry, &action->info);
        else
            registry_fill_ended_locked(registry, action->handle.guild_id, &action->info);
        return answer(action, VM_ACTION_DONE);
    }
}

static bool admit_control_locked(Registry *registry, LuaVmAction *action, ThreadEntry *entry)
{
    if (!entry || (!entry->taken && !entry->parked)) {
        bool changes_vm = entry && (entry->vm_handle || entry->mail_first) &&
                          (action->type == VM_ACTION_CANCEL ||
                           (action->type == VM_ACTION_SET_LIMITS && entry->vm_handle));
        if (registry_is_stale(entry, action))
            return answer(action, VM_ACTION_NOT_FOUND);
        if (!changes_vm)
            return control_at_rest_locked(registry, action, entry);
    }
    if (entry->control_count >= CONTROL_MAX) {
        action->retry_after_ms = FULL_RETRY_MS;
        registry->stats.refused++;
        return answer(action, VM_ACTION_QUEUE_FULL);
    }
    entry_control_put(entry, action);
    return true;
}

/* ---- Mail ---- */

static uint64_t paused_ms(const ThreadEntry *entry)
{
    if (!entry->extra)
        return 0;
    uint64_t left_ns = pause_left_ns(&entry->extra->history, clock_monotonic_ns());
    return (left_ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS;
}

uint64_t registry_paused_ms(const ThreadEntry *entry, const LuaVmAction *action)
{
    return is_executing(action->type) ? paused_ms(entry) : 0;
}

static bool is_full(const Registry *registry, const ThreadEntry *entry, VmActionType type)
{
    if (type == VM_ACTION_DESTROY)
        return entry->destroy_count >= DESTROY_MAX;
    return entry->mail_count >= entry_limits(entry, &registry->options->limits)->mailbox_max;
}

static bool admit_mail_locked(Registry *registry, LuaVmAction *action, ThreadEntry *entry)
{
    action->retry_after_ms = registry_paused_ms(entry, action);
    if (action->retry_after_ms > 0) {
        registry->stats.refused++;
        return answer(action, VM_ACTION_PAUSED);
    }
    if (is_full(registry, entry, action->type)) {
        registry->stats.refused++;
        action->retry_after_ms = FULL_RETRY_MS;
        return answer(action, VM_ACTION_QUEUE_FULL);
    }
    wanted_locked(registry, entry);
    entry_mail_put(entry, action);
    return true;
}

/* A guild that only became known by an action that was refused. */
static void refused_locked(Registry *registry, ThreadEntry *entry)
{
    if (!entry->scheduled && !entry->vm_handle && entry->place == PLACE_NONE)
        registry_ended_locked(registry, entry);
}

/* Only a VM that exists has something to lose. */
static bool is_idle_without_vm(const ThreadEntry *entry)
{
    return !entry || (!entry->scheduled && !entry->vm_handle);
}

bool registry_admit_locked(Registry *registry, LuaVmAction *action, ThreadEntry **entry)
{
    prepare(action);
    if (atomic_load_explicit(&registry->refusing, memory_order_relaxed)) /* set under the lock */
        return answer(action, VM_ACTION_SHUTTING_DOWN);
    ThreadEntry *known = registry_find_locked(registry, action->handle.guild_id);
    bool taken;
    if (is_control(action->type)) {
        taken = admit_control_locked(registry, action, known);
    } else if ((action->type == VM_ACTION_DESTROY || action->type == VM_ACTION_CLEAR_CACHE) &&
               is_idle_without_vm(known)) {
        return answer(action,
                      registry_is_stale(known, action) ? VM_ACTION_NOT_FOUND : VM_ACTION_DONE);
    } else {
        if (!known)
            known = registry_ensure_locked(registry, action->handle.guild_id);
        if (!known)
            return answer(action, VM_ACTION_NO_MEMORY);
        taken = admit_mail_locked(registry, action, known);
        if (!taken)
            refused_locked(registry, known);
    }
    if (taken)
        atomic_fetch_add(&registry->waiting, 1);
    *entry = known;
    return taken;
}

bool registry_begin_locked(Registry *registry, LuaVmAction *action, ThreadEntry *entry)
{
    if (entry->scheduled || !is_executing(action->type) || paused_ms(entry) > 0 ||
        is_full(registry, entry, action->type))
        return false;
    prepare(action);
    wanted_locked(registry, entry);
    entry->mail_count++;
    atomic_fetch_add(&registry->waiting, 1);
    return true;
}

bool registry_answer_locked(Registry *registry, KhronosCall *call, ThreadEntry **entry)
{
    *entry = registry_find_locked(registry, call->guild_id);
    /* Whose turn it is may be about to make a VM, or to end one: that turn's end will tell. */
    if (!*entry || (!(*entry)->taken && !(*entry)->vm_handle))
        return false;
    entry_answer_put(*entry, call);
    return true;
}
