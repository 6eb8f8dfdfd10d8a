/* Actions on their way to a child, results and completions on their way back. */
#include <stdlib.h>

#include "worker/frames.h"

/* What an execution has in common with the one before it is not sent again: the executions that an
 * event started share it. */
enum { RUN_SAME_EVENT = 1, RUN_SAME_CALLER = 2, RUN_CALLER = 4, RUN_KEEP_LOGS = 8, RUN_FLAGS = 16 };
/* The least that an execution takes: index, template, flags, id. */
enum { RUN_BYTES_MIN = 4 };

/* ---- Actions ----------------------------------------------------------------------------------
 */

static void put_eventtext(Strbuf *sb, EventText text)
{
    frame_put_text(sb, text.data, text.length);
}

static void put_event(Strbuf *sb, const KhronosEvent *event)
{
    put_eventtext(sb, event->base_name);
    put_eventtext(sb, event->name);
    put_eventtext(sb, event->author);
    put_eventtext(sb, event->id);
    put_eventtext(sb, event->data);
    put_eventtext(sb, event->scopes);
}

static void put_caller(Strbuf *sb, const KhronosCaller *caller)
{
    frame_put_u64(sb, caller->owner_guild_id);
    frame_put_cstr(sb, caller->current_user);
    if (!caller->capabilities) {
        frame_put_u64(sb, 0);
        return;
    }
    frame_put_u64(sb, (uint64_t)caller->capability_count + 1);
    for (int i = 0; i < caller->capability_count; i++)
        frame_put_cstr(sb, caller->capabilities[i]);
}

static void put_run(Strbuf *sb, int index, const KhronosExecution *x, uint64_t template_id,
                    const KhronosExecution *before)
{
    unsigned flags = x->keep_logs ? RUN_KEEP_LOGS : 0;
    if (before && before->event == x->event)
        flags |= RUN_SAME_EVENT;
    if (before && before->caller == x->caller)
        flags |= RUN_SAME_CALLER;
    else if (x->caller)
        flags |= RUN_CALLER;
    frame_put_u64(sb, (uint64_t)index);
    frame_put_u64(sb, template_id);
    frame_put_u64(sb, flags);
    frame_put_cstr(sb, x->id);
    if (!(flags & RUN_SAME_EVENT))
        put_event(sb, x->event);
    if (flags & RUN_CALLER)
        put_caller(sb, x->caller);
}

static void put_runs(Strbuf *sb, const KhronosExecution *x, int count, const uint64_t *template_ids)
{
    uint64_t sent = 0;
    for (int i = 0; i < count; i++)
        sent += template_ids[i] != 0;
    frame_put_u64(sb, sent);
    const KhronosExecution *before = NULL;
    for (int i = 0; i < count; i++) {
        if (template_ids[i] == 0)
            continue;
        put_run(sb, i, &x[i], template_ids[i], before);
        before = &x[i];
    }
}

static bool has_executions(VmActionType type)
{
    return type == VM_ACTION_EXECUTE || type == VM_ACTION_DISPATCH_EVENT;
}

bool frame_put_action(Strbuf *sb, uint32_t slot, const LuaVmAction *action, uint64_t generation,
                      const uint64_t *template_ids)
{
    size_t start = frame_begin(sb, FRAME_ACTION);
    frame_put_u64(sb, slot);
    frame_put_u64(sb, action->type);
    frame_put_u64(sb, action->handle.guild_id);
    frame_put_u64(sb, generation);
    if (action->type == VM_ACTION_SET_LIMITS) {
        frame_put_u64(sb, action->limits != NULL);
        if (action->limits)
            frame_put_limits(sb, action->limits);
    } else if (action->type == VM_ACTION_CANCEL) {
        frame_put_cstr(sb, action->execution_id);
    } else if (action->type == VM_ACTION_PANIC) {
        frame_put_u64(sb, action->panic_point);
    } else if (has_executions(action->type)) {
        if (action->executions)
            put_runs(sb, action->executions, action->execution_count, template_ids);
        else
            put_runs(sb, &action->execution, 1, template_ids);
    }
    return frame_end(sb, start);
}

/* ---- Reading actions ----
 * One block holds the executions, then the runs, then the pointers to capabilities. How large it
 * must be is found by reading the frame once without keeping anything. */
typedef struct RunMemory {
    KhronosExecution *executions;
    FrameRun *runs;
    const char **capabilities; /* the next free one */
} RunMemory;

static void get_event(FrameReader *r, KhronosEvent *event)
{
    event->base_name = frame_text(r);
    event->name = frame_text(r);
    event->author = frame_text(r);
    event->id = frame_text(r);
    event->data = frame_text(r);
    event->scopes = frame_text(r);
    if (!event->name.data)
        r->failed = true;
}

/* Returns how many capabilities there are; `names` NULL: only looks. */
static int get_caller(FrameReader *r, KhronosCaller *caller, const char **names)
{
    caller->owner_guild_id = frame_u64(r);
    caller->current_user = frame_cstr(r, FRAME_TEXT_MAX);
    int count = (int)frame_below(r, FRAME_CAPABILITIES_MAX + 2) - 1;
    if (count < 0)
        return 0;
    for (int i = 0; i < count && !r->failed; i++) {
        const char *name = frame_cstr(r, FRAME_TEXT_MAX);
        if (!name)
            r->failed = true;
        if (names)
            names[i] = name;
    }
    caller->capabilities = names;
    caller->capability_count = count;
    return count;
}

/* memory NULL: only looks. Returns how many capabilities it has of its own. */
static int get_run(FrameReader *r, int i, const RunMemory *memory)
{
    FrameRun looked = {0}, *run = memory ? &memory->runs[i] : &looked;
    run->index = (int)frame_below(r, FRAME_EXECUTIONS_MAX);
    run->template_id = frame_u64(r);
    unsigned flags = (unsigned)frame_below(r, RUN_FLAGS);
    const char *id = frame_cstr(r, FRAME_TEXT_MAX);
    if (i == 0 && (flags & (RUN_SAME_EVENT | RUN_SAME_CALLER)))
        r->failed = true;
    if ((flags & RUN_SAME_CALLER) && (flags & RUN_CALLER))
        r->failed = true;
    if (!(flags & RUN_SAME_EVENT))
        get_event(r, &run->event);
    int capabilities = 0;
    if (flags & RUN_CALLER)
        capabilities = get_caller(r, &run->caller, memory ? memory->capabilities : NULL);
    if (run->template_id == 0 || !id)
        r->failed = true;
    if (!memory || r->failed)
        return capabilities;
    KhronosExecution *x = &memory->executions[i];
    *x = (KhronosExecution){.id = id, .keep_logs = (flags & RUN_KEEP_LOGS) != 0};
    x->event = flags & RUN_SAME_EVENT ? x[-1].event : &run->event;
    if (flags & RUN_SAME_CALLER)
        x->caller = x[-1].caller;
    else if (flags & RUN_CALLER)
        x->caller = &run->caller;
    return capabilities;
}

static void read_runs(FrameReader *r, FrameAction *out)
{
    int count = (int)frame_below(r, FRAME_EXECUTIONS_MAX + 1);
    if (r->failed || count == 0 || count > (r->end - r->p) / RUN_BYTES_MIN) {
        r->failed = true;
        return;
    }
    FrameReader look = *r;
    size_t capabilities = 0, n = (size_t)count;
    for (int i = 0; i < count && !look.failed; i++)
        capabilities += (size_t)get_run(&look, i, NULL);
    size_t size = n * (sizeof(KhronosExecution) + sizeof(FrameRun)) + capabilities * sizeof(char *);
    char *block = look.failed ? NULL : calloc(1, size);
    if (!block) {
        r->failed = true;
        return;
    }
    RunMemory memory = {.executions = (KhronosExecution *)block};
    memory.runs = (FrameRun *)(block + n * sizeof(KhronosExecution));
    memory.capabilities = (const char **)(memory.runs + n);
    for (int i = 0; i < count; i++)
        memory.capabilities += get_run(r, i, &memory);
    out->memory = block;
    out->runs = memory.runs;
    out->run_count = count;
    out->action.executions = memory.executions;
    out->action.execution_count = count;
}

bool frame_read_action(FrameReader *r, FrameAction *out)
{
    *out = (FrameAction){0};
    LuaVmAction *action = &out->action;
    out->slot = (uint32_t)frame_below(r, (uint64_t)FRAME_NO_SLOT + 1);
    action->type = (VmActionType)frame_below(r, VM_ACTION_PANIC + 1);
    action->handle.guild_id = frame_u64(r);
    action->handle.generation = frame_u64(r);
    if (r->failed || action->handle.guild_id == 0)
        return false;
    if (action->type == VM_ACTION_SET_LIMITS) {
        if (frame_flag(r)) {
            frame_get_limits(r, &out->limits);
            action->limits = &out->limits;
        }
    } else if (action->type == VM_ACTION_CANCEL) {
        action->execution_id = frame_cstr(r, FRAME_TEXT_MAX);
        if (!action->execution_id)
            return false;
    } else if (action->type == VM_ACTION_PANIC) {
        action->panic_point = (VmPanicPoint)frame_below(r, VM_PANIC_COLLECTOR + 1);
    } else if (has_executions(action->type)) {
        read_runs(r, out);
    }
    if (!frame_done(r)) {
        frame_action_free(out);
        return false;
    }
    return true;
}

void frame_action_free(FrameAction *f)
{
    free(f->memory);
    f->memory = NULL;
}

/* ---- Results ----------------------------------------------------------------------------------
 */

static void put_strbuf(Strbuf *sb, const Strbuf *text)
{
    frame_put_text(sb, text->length > 0 ? text->data : "", text->length);
}

bool frame_put_result(Strbuf *sb, uint32_t slot, int index, const KhronosExecution *x,
                      const char *out, size_t out_length)
{
    size_t start = frame_begin(sb, FRAME_RESULT);
    frame_put_u64(sb, slot);
    frame_put_u64(sb, (uint64_t)index);
    frame_put_u64(sb, x->status);
    frame_put_int(sb, x->result_count);
    frame_put_text(sb, out_length > 0 ? out : "", out_length);
    put_strbuf(sb, &x->message);
    put_strbuf(sb, &x->traceback);
    put_strbuf(sb, &x->logs);
    frame_put_cstr(sb, x->path);
    frame_put_int(sb, x->line);
    frame_put_int(sb, x->column);
    frame_put_u64(sb, x->duration_ns);
    frame_put_u64(sb, x->cpu_ns);
    frame_put_u64(sb, x->memory_bytes);
    return frame_end(sb, start);
}

bool frame_read_result(FrameReader *r, FrameResult *out)
{
    *out = (FrameResult){0};
    out->slot = (uint32_t)frame_below(r, FRAME_NO_SLOT);
    out->index = (int)frame_below(r, FRAME_EXECUTIONS_MAX);
    out->status = (KhronosStatus)frame_below(r, KHRONOS_INTERNAL + 1);
    out->result_count = frame_int(r);
    out->out = frame_text(r);
    out->message = frame_text(r);
    out->traceback = frame_text(r);
    out->logs = frame_text(r);
    out->path = frame_cstr(r, sizeof(((KhronosExecution *)0)->path) - 1);
    out->line = frame_int(r);
    out->column = frame_int(r);
    out->duration_ns = frame_u64(r);
    out->cpu_ns = frame_u64(r);
    out->memory_bytes = (size_t)frame_u64(r);
    return frame_done(r) && out->out.data && out->message.data && out->traceback.data &&
           out->logs.data && out->path && out->result_count >= 0;
}

static void set_strbuf(Strbuf *sb, EventText text)
{
    strbuf_clear(sb);
    strbuf_put(sb, text.data, text.length);
}

void frame_result_apply(const FrameResult *result, KhronosExecution *x)
{
    x->status = result->status;
    x->result_count = result->result_count;
    x->line = result->line;
    x->column = result->column;
    x->duration_ns = result->duration_ns;
    x->cpu_ns = result->cpu_ns;
    x->memory_bytes = result->memory_bytes;
    memset(x->path, 0, sizeof(x->path));
    memcpy(x->path, result->path, strlen(result->path));
    set_strbuf(&x->message, result->message);
    set_strbuf(&x->traceback, result->traceback);
    set_strbuf(&x->logs, result->logs);
    size_t before = x->out ? x->out->length : 0;
    if (x->out && result->status == KHRONOS_OK)
        strbuf_put(x->out, result->out.data, result->out.length);
    bool lost = x->message.failed || x->traceback.failed || x->logs.failed;
    if (!lost && !(x->out && x->out->failed))
        return;
    if (x->out) {
        x->out->length = before;
        x->out->failed = false;
    }
    x->status = KHRONOS_INTERNAL;
    x->result_count = 0;
    strbuf_clear(&x->traceback);
    strbuf_clear(&x->logs);
    strbuf_clear(&x->message);
    strbuf_puts(&x->message, "not enough memory for the result");
}

/* ---- Completions ------------------------------------------------------------------------------
 */

static void put_info(Strbuf *sb, const VmInfo *info)
{
    frame_put_u64(sb, info->state);
    frame_put_u64(sb, info->reason);
    frame_put_u64(sb, info->generation);
    frame_put_u64(sb, info->executions);
    frame_put_u64(sb, info->cpu_ns);
    frame_put_u64(sb, info->last_run_ns);
    frame_put_int(sb, info->mail);
    frame_put_int(sb, info->tasks);
    frame_put_u64(sb, info->task_errors);
    frame_put_u64(sb, info->account.live_bytes);
    frame_put_u64(sb, info->account.reserved_bytes);
    frame_put_u64(sb, info->account.peak_bytes);
    frame_put_u64(sb, info->account.external_bytes);
    frame_put_u64(sb, info->account.cpu_ns);
    frame_put_u64(sb, info->account.collections);
    frame_put_u64(sb, info->account.preemptions);
    frame_put_u64(sb, info->account.polls);
    frame_put_limits(sb, &info->limits);
}

static void get_info(FrameReader *r, VmInfo *info)
{
    info->state = (VmState)frame_below(r, VM_STATES);
    info->reason = (VmBrokenReason)frame_below(r, VM_REASONS);
    info->generation = frame_u64(r);
    info->executions = frame_u64(r);
    info->cpu_ns = frame_u64(r);
    info->last_run_ns = frame_u64(r);
    info->mail = frame_int(r);
    info->tasks = frame_int(r);
    info->task_errors = frame_u64(r);
    info->account.live_bytes = (size_t)frame_u64(r);
    info->account.reserved_bytes = (size_t)frame_u64(r);
    info->account.peak_bytes = (size_t)frame_u64(r);
    info->account.external_bytes = (size_t)frame_u64(r);
    info->account.cpu_ns = frame_u64(r);
    info->account.collections = frame_u64(r);
    info->account.preemptions = frame_u64(r);
    info->account.polls = frame_u64(r);
    frame_get_limits(r, &info->limits);
}

bool frame_put_completed(Strbuf *sb, uint32_t slot, const LuaVmAction *action)
{
    size_t start = frame_begin(sb, FRAME_COMPLETED);
    frame_put_u64(sb, slot);
    frame_put_u64(sb, action->outcome);
    frame_put_u64(sb, action->retry_after_ms);
    put_info(sb, &action->info);
    return frame_end(sb, start);
}

bool frame_read_completed(FrameReader *r, FrameCompleted *out)
{
    *out = (FrameCompleted){0};
    out->slot = (uint32_t)frame_below(r, FRAME_NO_SLOT);
    out->outcome = (VmActionOutcome)frame_below(r, VM_ACTION_NO_MEMORY + 1);
    out->retry_after_ms = frame_u64(r);
    get_info(r, &out->info);
    return frame_done(r);
}
