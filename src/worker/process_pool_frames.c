/* What the parent says to a child, and what it makes of what the child says. */
#include <stdlib.h>

#include "base/log.h"
#include "worker/process_pool.h"

enum { LIFE_SHIFT = 32 }; /* of a generation, above what the child counts */

static const char FRAME_FULL_TEXT[] = "the event does not fit into a message to the process that "
                                      "runs the guild (16 MiB), or memory is out";

/* ---- Generations ------------------------------------------------------------------------------
 * A child counts each guild's VMs from 1. So that no handle on a VM of a lost child can mean one of
 * its successor's, the number of the child stands above. */

static uint64_t outer_generation(const Shard *shard, uint64_t generation)
{
    return generation == 0 ? 0 : shard->lives << LIFE_SHIFT | generation;
}

/* False: it is one of a lost child. */
static bool inner_generation(const Shard *shard, uint64_t generation, uint64_t *inner)
{
    *inner = generation & (((uint64_t)1 << LIFE_SHIFT) - 1);
    return generation == 0 || generation >> LIFE_SHIFT == shard->lives;
}

/* ---- Sending ----------------------------------------------------------------------------------
 */

static bool put_all_limits(ChildLife *life)
{
    Shard *shard = life->shard;
    bool good = true;
    size_t cursor = 0;
    pthread_mutex_lock(&shard->lock);
    for (GuildNote *note; good && (note = idmap_next(&shard->notes, &cursor)) != NULL;) {
        if (!note->has_limits)
            continue;
        LuaVmAction action = {.type = VM_ACTION_SET_LIMITS,
                              .handle.guild_id = note->guild_id,
                              .limits = &note->limits};
        good = frame_put_action(&life->out, FRAME_NO_SLOT, &action, 0, NULL);
    }
    pthread_mutex_unlock(&shard->lock);
    return good;
}

bool life_greet(ChildLife *life)
{
    const WorkerOptions *options = life->shard->pool->options;
    FrameInit init = {.index = life->shard->index,
                      .threads = options->threads > 0 ? options->threads : 1,
                      .slots = POOL_SLOTS,
                      .log_level = log_level(),
                      .wants_logs = options->log.line != NULL,
                      .wants_states = options->observer.state != NULL,
                      .wants_calls = pool_wants_calls(life->shard->pool),
                      .limits = options->limits,
                      .shrink_idle_ns = options->shrink_idle_ns,
                      .destroy_idle_ns = options->destroy_idle_ns,
                      .broken_max = options->broken_max,
                      .broken_window_ns = options->broken_window_ns,
                      .pause_ns = options->pause_ns};
    return frame_put_init(&life->out, &init) && put_all_limits(life);
}

/* The child that comes after this one must be told as well. */
static void remember_limits(Shard *shard, Slot *slot)
{
    const KhronosLimits *limits = slot->action->limits;
    pthread_mutex_lock(&shard->lock);
    slot->note->has_limits = limits != NULL;
    if (limits)
        slot->note->limits = *limits;
    pthread_mutex_unlock(&shard->lock);
}

static void fail_template(Shard *shard, KhronosExecution *x, SentOutcome outcome)
{
    char text[256];
    if (outcome == SENT_NO_SOURCE)
        snprintf(text, sizeof(text),
                 "template %s cannot be sent to the process that runs the guild: its sources were "
                 "not kept",
                 template_name(x->template_version));
    else
        snprintf(text, sizeof(text),
                 "not enough memory to send template %s to the process that runs the guild",
                 template_name(x->template_version));
    execution_fail(shard, x, KHRONOS_INTERNAL, text);
}

/* Sees to it that the child has all templates. Executions whose template cannot be had fail and are
 * left out (id 0). Returns how many remain. */
static int resolve_templates(ChildLife *life, KhronosExecution *x, int count, uint64_t *ids)
{
    int remaining = 0;
    sent_templates_round(&life->templates);
    for (int i = 0; i < count; i++) {
        ids[i] = 0;
        SentOutcome outcome = sent_templates_use(&life->templates, x[i].template_version,
                                                 &life->out, &ids[i]);
        if (outcome == SENT_OK)
            remaining++;
        else
            fail_template(life->shard, &x[i], outcome);
    }
    return remaining;
}

static void fail_all(Shard *shard, Slot *slot, KhronosExecution *x, int count, const char *text)
{
    for (int i = 0; i < count; i++)
        if (!execution_answered(&x[i]))
            execution_fail(shard, &x[i], KHRONOS_INTERNAL, text);
    shard_complete(shard, slot, VM_ACTION_DONE);
}

/* Everything of the frame is in place; its slot is the child's from now on. */
static void put_action(ChildLife *life, Slot *slot, uint64_t generation, const uint64_t *ids)
{
    Shard *shard = life->shard;
    uint32_t index = (uint32_t)(slot - shard->slots);
    size_t before = life->out.length;
    /* Relaxed: the child learns of the slot by the socket, after this. */
    atomic_store_explicit(&life->started[index], 0, memory_order_relaxed);
    if (frame_put_action(&life->out, index, slot->action, generation, ids)) {
        slot->bytes = life->out.length - before;
        life->sent_bytes += slot->bytes;
        return;
    }
    int count = 0;
    KhronosExecution *x = ids ? action_executions(slot->action, &count) : NULL;
    if (x)
        fail_all(shard, slot, x, count, FRAME_FULL_TEXT);
    else
        shard_complete(shard, slot, VM_ACTION_NO_MEMORY);
}

void life_send(ChildLife *life, Slot *slot)
{
    Shard *shard = life->shard;
    LuaVmAction *action = slot->action;
    uint64_t generation, ids[FRAME_EXECUTIONS_MAX];
    if (!inner_generation(shard, action->handle.generation, &generation)) {
        shard_complete(shard, slot, VM_ACTION_NOT_FOUND);
        return;
    }
    if (action->type == VM_ACTION_SET_LIMITS)
        remember_limits(shard, slot);
    if (action->type != VM_ACTION_EXECUTE && action->type != VM_ACTION_DISPATCH_EVENT) {
        put_action(life, slot, generation, NULL);
        return;
    }
    int count;
    KhronosExecution *x = action_executions(action, &count);
    if (count > FRAME_EXECUTIONS_MAX)
        fail_all(shard, slot, x, count, "an action has more than 1024 executions");
    else if (resolve_templates(life, x, count, ids) == 0)
        shard_complete(shard, slot, VM_ACTION_DONE);
    else
        put_action(life, slot, generation, ids);
}

/* ---- Receiving --------------------------------------------------------------------------------
 * False: no honest child says that. A child speaks of its own guilds only. */

static bool has_executions(const LuaVmAction *action)
{
    return action->type == VM_ACTION_EXECUTE || action->type == VM_ACTION_DISPATCH_EVENT;
}

static bool on_result(ChildLife *life, FrameReader *payload)
{
    FrameResult result;
    int count;
    if (!frame_read_result(payload, &result))
        return false;
    Slot *slot = shard_sent_slot(life->shard, result.slot);
    if (!slot || !has_executions(slot->action))
        return false;
    KhronosExecution *x = action_executions(slot->action, &count);
    if (result.index >= count || execution_answered(&x[result.index]))
        return false;
    slot->answered = true;
    frame_result_apply(&result, &x[result.index]);
    execution_answer(life->shard, &x[result.index]);
    return true;
}

static bool all_answered(LuaVmAction *action)
{
    int count;
    KhronosExecution *x = action_executions(action, &count);
    for (int i = 0; i < count; i++)
        if (!execution_answered(&x[i]))
            return false;
    return true;
}

/* The child knows only what it was sent; who looks passes what is still here. */
static int mail_of(Shard *shard, const Slot *slot)
{
    pthread_mutex_lock(&shard->lock);
    int mail = slot->note->pending;
    pthread_mutex_unlock(&shard->lock);
    return mail;
}

static bool on_completed(ChildLife *life, FrameReader *payload)
{
    FrameCompleted completed;
    Shard *shard = life->shard;
    if (!frame_read_completed(payload, &completed))
        return false;
    Slot *slot = shard_sent_slot(shard, completed.slot);
    if (!slot || completed.info.generation >> LIFE_SHIFT != 0)
        return false;
    LuaVmAction *action = slot->action;
    if (completed.outcome == VM_ACTION_DONE && has_executions(action) && !all_answered(action))
        return false;
    action->retry_after_ms = completed.retry_after_ms;
    action->info = completed.info;
    action->info.generation = outer_generation(shard, completed.info.generation);
    if (action->type == VM_ACTION_GET_STATE || action->type == VM_ACTION_GET_MEMORY_USAGE)
        action->info.mail = mail_of(shard, slot);
    life->sent_bytes -= slot->bytes;
    shard_complete(shard, slot, completed.outcome);
    return true;
}

static bool on_log(ChildLife *life, FrameReader *payload)
{
    FrameLog line;
    const KhronosLog *log = &life->shard->pool->options->log;
    if (!frame_read_log(payload, &line) || !shard_owns(life->shard, line.guild_id))
        return false;
    if (log->line)
        log->line(log->userdata, line.guild_id, line.template_name, line.level, line.text.data,
                  line.text.length);
    return true;
}

static bool on_log_dropped(ChildLife *life, FrameReader *payload)
{
    uint64_t count;
    if (!frame_read_number(payload, &count))
        return false;
    log_message(
        LOG_WARN,
        "worker process %d: %llu lines that templates logged were dropped, they came faster "
        "than they could be passed on",
        life->shard->index, (unsigned long long)count);
    return true;
}

static bool on_state(ChildLife *life, FrameReader *payload)
{
    FrameState state;
    Shard *shard = life->shard;
    const WorkerObserver *observer = &shard->pool->options->observer;
    if (!frame_read_state(payload, &state) || !shard_owns(shard, state.vm.guild_id) ||
        state.vm.generation >> LIFE_SHIFT != 0)
        return false;
    VmHandle vm = {state.vm.guild_id, outer_generation(shard, state.vm.generation)};
    pthread_mutex_lock(&shard->lock);
    GuildNote *note = shard_note_locked(shard, vm.guild_id);
    if (note) {
        note->vm_generation = state.state == VM_HEALTHY ? vm.generation
                              : state.state == VM_DESTROYING || state.state == VM_INITIALIZING
                                  ? note->vm_generation
                                  : 0;
        shard_drop_note_locked(shard, note);
    }
    pthread_mutex_unlock(&shard->lock);
    bool is_new = state.state == VM_INITIALIZING || state.state == VM_HEALTHY;
    if (is_new && state.reason == VM_NOT_BROKEN) /* as far as this child knows */
        state.reason = shard_former_reason(shard, vm.guild_id);
    else if (state.state == VM_BROKEN)
        shard_note_broken(shard, vm.guild_id, state.reason);
    if (observer->state)
        observer->state(observer->userdata, vm, state.state, state.reason);
    return true;
}

static bool on_stats(ChildLife *life, FrameReader *payload)
{
    WorkerStats stats;
    if (!frame_read_stats(payload, &stats))
        return false;
    pthread_mutex_lock(&life->shard->lock);
    life->shard->child = stats;
    pthread_mutex_unlock(&life->shard->lock);
    return true;
}

static bool on_pong(ChildLife *life, FrameReader *payload)
{
    uint64_t number;
    if (!frame_read_number(payload, &number) || !life->asked || number != life->pings)
        return false;
    life->asked = false;
    return true;
}

static bool on_frame(ChildLife *life, FrameType type, FrameReader *payload)
{
    switch (type) {
    case FRAME_READY: life->ready = true; return frame_done(payload);
    case FRAME_RESULT: return on_result(life, payload);
    case FRAME_COMPLETED: return on_completed(life, payload);
    case FRAME_LOG: return on_log(life, payload);
    case FRAME_LOG_DROPPED: return on_log_dropped(life, payload);
    case FRAME_STATE: return on_state(life, payload);
    case FRAME_STATS: return on_stats(life, payload);
    case FRAME_PONG: return on_pong(life, payload);
    case FRAME_CALL: return life_call(life, payload);
    default: return false;
    }
}

bool life_receive(ChildLife *life)
{
    FrameType type;
    FrameReader payload;
    for (;;) {
        switch (frame_stream_next(&life->in, &type, &payload)) {
        case FRAME_NONE_YET: return true;
        case FRAME_BAD: return false;
        case FRAME_COMPLETE:
            if (!on_frame(life, type, &payload))
                return false;
            break;
        }
    }
}
