/* Calls of templates (KhronosCall) between the processes.
 *
 *     VM -> child: CALL with a number -> parent: a call of its own -> calls.take
 *     VM <- child: the call it kept   <- parent: ANSWER            <- worker_answer
 *
 * The child keeps the call that the VM made, by its number; the parent knows of the numbers only
 * that they are under way. A call goes through the parent with the ticket `base + number`, the base
 * being one that nobody can guess and the child's own: so an answer that comes when its child is
 * gone is for nobody, whatever child serves the guild by then. */
#include <stdlib.h>

#include "base/random.h"
#include "worker/process_pool.h"

#define ANSWER_FULL_TEXT                                                                           \
    "the answer does not fit into a message to the process that runs the guild (16 MiB), or "      \
    "memory is out"

/* ---- Tables -----------------------------------------------------------------------------------
 */

void calltable_init(CallTable *table)
{
    *table = (CallTable){0};
    idmap_init(&table->notes, random_u64());
}

void calltable_free(CallTable *table)
{
    size_t cursor = 0;
    for (CallNote *note; (note = idmap_next(&table->notes, &cursor)) != NULL;) {
        if (note->call)
            note->call->kind->drop(note->call);
        free(note);
    }
    idmap_free(&table->notes);
}

bool calltable_has_room(const CallTable *table, size_t bytes)
{
    return table->notes.count < POOL_CALLS_MAX && bytes <= POOL_CALLS_BYTES_MAX - table->bytes;
}

uint64_t calltable_add(CallTable *table, KhronosCall *call, size_t bytes)
{
    CallNote *note = malloc(sizeof(*note));
    if (!note)
        return 0;
    *note = (CallNote){call, bytes};
    if (!idmap_put(&table->notes, table->last_id + 1, note)) {
        free(note);
        return 0;
    }
    table->bytes += bytes;
    return ++table->last_id;
}

bool calltable_take(CallTable *table, uint64_t id, KhronosCall **call)
{
    CallNote *note = id != 0 ? idmap_remove(&table->notes, id) : NULL;
    if (!note)
        return false;
    *call = note->call;
    table->bytes -= note->bytes;
    free(note);
    return true;
}

/* ---- From a child -----------------------------------------------------------------------------
 */

bool life_call(ChildLife *life, FrameReader *payload)
{
    FrameCall frame;
    const WorkerCalls *calls = &life->shard->pool->options->calls;
    if (!frame_read_call(payload, &frame) || !pool_wants_calls(life->shard->pool) ||
        !shard_owns(life->shard, frame.guild_id) || frame.id != life->calls.last_id + 1 ||
        !calltable_has_room(&life->calls, frame.bytes.length))
        return false;
    KhronosCall *call = calls->read(calls->userdata, frame.kind, frame.bytes.data,
                                    frame.bytes.length);
    if (!call)
        return false;
    if (calltable_add(&life->calls, NULL, frame.bytes.length) == 0) {
        call->kind->drop(call);
        return false;
    }
    call->guild_id = frame.guild_id;
    call->ticket = life->ticket_base + frame.id;
    call->next = NULL;
    calls->take(calls->userdata, call);
    return true;
}

/* ---- To a child -------------------------------------------------------------------------------
 */

void shard_answer(Shard *shard, KhronosCall *call)
{
    call->next = NULL;
    pthread_mutex_lock(&shard->lock);
    if (shard->answers_last)
        shard->answers_last->next = call;
    else
        shard->answers = call;
    shard->answers_last = call;
    if (!shard->woken) {
        shard->woken = true;
        uv_async_send(&shard->pool->wake);
    }
    pthread_mutex_unlock(&shard->lock);
}

static KhronosCall *take_answer(Shard *shard)
{
    pthread_mutex_lock(&shard->lock);
    shard->woken = false;
    KhronosCall *call = shard->answers;
    if (call)
        shard->answers = call->next;
    if (!shard->answers)
        shard->answers_last = NULL;
    pthread_mutex_unlock(&shard->lock);
    return call;
}

void shard_drop_answers(Shard *shard)
{
    for (KhronosCall *call; (call = take_answer(shard)) != NULL;)
        call->kind->drop(call);
}

static bool put_answer(ChildLife *life, uint64_t id, const KhronosCall *call)
{
    Strbuf bytes = {.max = FRAME_BYTES_MAX};
    call->kind->put_answer(call, &bytes);
    FrameCall frame = {.id = id, .bytes = {bytes.data ? bytes.data : "", bytes.length}};
    bool good = !bytes.failed && frame_put_answer(&life->out, &frame);
    strbuf_free(&bytes);
    return good;
}

/* False: not even a refusal could be written. */
static bool send_answer(ChildLife *life, KhronosCall *call)
{
    KhronosCall *none;
    uint64_t id = call->ticket - life->ticket_base;
    bool good = true;
    if (calltable_take(&life->calls, id, &none) && !put_answer(life, id, call)) {
        call->kind->refuse(call, ANSWER_FULL_TEXT);
        good = put_answer(life, id, call);
    }
    call->kind->drop(call);
    return good;
}

bool life_send_answers(ChildLife *life)
{
    if (life->shard->pool->told_to_stop) { /* it does not listen any more */
        shard_drop_answers(life->shard);
        return true;
    }
    while (life->out.length < POOL_OUT_BYTES) {
        KhronosCall *call = take_answer(life->shard);
        if (!call)
            return true;
        if (!send_answer(life, call))
            return false;
    }
    return true;
}
