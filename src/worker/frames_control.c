/* The frames that are neither a template nor part of an action. */
#include "worker/frames.h"

static void put_size(Strbuf *sb, size_t value)
{
    frame_put_u64(sb, value);
}

void frame_put_limits(Strbuf *sb, const KhronosLimits *limits)
{
    put_size(sb, limits->memory_max_bytes);
    frame_put_u64(sb, limits->cpu_max_ns);
    frame_put_u64(sb, limits->wall_max_ns);
    frame_put_u64(sb, limits->share_max_ns);
    frame_put_u64(sb, limits->slice_ns);
    put_size(sb, limits->result_max_bytes);
    frame_put_int(sb, limits->tasks_max);
    frame_put_int(sb, limits->calls_max);
    frame_put_int(sb, limits->log_lines_per_second);
    put_size(sb, limits->log_line_max_bytes);
    put_size(sb, limits->log_kept_max_bytes);
    frame_put_int(sb, limits->mailbox_max);
}

void frame_get_limits(FrameReader *r, KhronosLimits *limits)
{
    /* In statements of their own: the order of initializers is not that of their evaluation. */
    *limits = (KhronosLimits){0};
    limits->memory_max_bytes = (size_t)frame_u64(r);
    limits->cpu_max_ns = frame_u64(r);
    limits->wall_max_ns = frame_u64(r);
    limits->share_max_ns = frame_u64(r);
    limits->slice_ns = frame_u64(r);
    limits->result_max_bytes = (size_t)frame_u64(r);
    limits->tasks_max = frame_int(r);
    limits->calls_max = frame_int(r);
    limits->log_lines_per_second = frame_int(r);
    limits->log_line_max_bytes = (size_t)frame_u64(r);
    limits->log_kept_max_bytes = (size_t)frame_u64(r);
    limits->mailbox_max = frame_int(r);
}

bool frame_put_init(Strbuf *sb, const FrameInit *init)
{
    size_t start = frame_begin(sb, FRAME_INIT);
    frame_put_u64(sb, FRAME_VERSION);
    frame_put_int(sb, init->index);
    frame_put_int(sb, init->threads);
    frame_put_u64(sb, init->slots);
    frame_put_u64(sb, (uint64_t)init->log_level);
    frame_put_u64(sb, init->wants_logs);
    frame_put_u64(sb, init->wants_states);
    frame_put_u64(sb, init->wants_calls);
    frame_put_limits(sb, &init->limits);
    frame_put_u64(sb, init->shrink_idle_ns);
    frame_put_u64(sb, init->destroy_idle_ns);
    frame_put_int(sb, init->broken_max);
    frame_put_u64(sb, init->broken_window_ns);
    frame_put_u64(sb, init->pause_ns);
    return frame_end(sb, start);
}

bool frame_read_init(FrameReader *r, FrameInit *out)
{
    *out = (FrameInit){0};
    if (frame_u64(r) != FRAME_VERSION)
        return false;
    out->index = frame_int(r);
    out->threads = frame_int(r);
    out->slots = (uint32_t)frame_below(r, FRAME_NO_SLOT);
    out->log_level = (LogLevel)frame_below(r, LOG_LEVELS);
    out->wants_logs = frame_flag(r);
    out->wants_states = frame_flag(r);
    out->wants_calls = frame_flag(r);
    frame_get_limits(r, &out->limits);
    out->shrink_idle_ns = frame_u64(r);
    out->destroy_idle_ns = frame_u64(r);
    out->broken_max = frame_int(r);
    out->broken_window_ns = frame_u64(r);
    out->pause_ns = frame_u64(r);
    return frame_done(r) && out->threads > 0 && out->slots > 0;
}

bool frame_put_plain(Strbuf *sb, FrameType type)
{
    return frame_end(sb, frame_begin(sb, type));
}

bool frame_put_number(Strbuf *sb, FrameType type, uint64_t number)
{
    size_t start = frame_begin(sb, type);
    frame_put_u64(sb, number);
    return frame_end(sb, start);
}

bool frame_read_number(FrameReader *r, uint64_t *out)
{
    *out = frame_u64(r);
    return frame_done(r);
}

bool frame_put_log(Strbuf *sb, const FrameLog *log)
{
    size_t start = frame_begin(sb, FRAME_LOG);
    frame_put_u64(sb, log->guild_id);
    frame_put_cstr(sb, log->template_name);
    frame_put_int(sb, log->level);
    frame_put_text(sb, log->text.data, log->text.length);
    return frame_end(sb, start);
}

bool frame_read_log(FrameReader *r, FrameLog *out)
{
    *out = (FrameLog){0};
    out->guild_id = frame_u64(r);
    out->template_name = frame_cstr(r, FRAME_TEXT_MAX);
    out->level = frame_int(r);
    out->text = frame_text(r);
    return frame_done(r) && out->guild_id != 0 && out->template_name && out->text.data &&
           out->level >= 0 && out->level <= 2;
}

bool frame_put_state(Strbuf *sb, const FrameState *state)
{
    size_t start = frame_begin(sb, FRAME_STATE);
    frame_put_u64(sb, state->vm.guild_id);
    frame_put_u64(sb, state->vm.generation);
    frame_put_u64(sb, state->state);
    frame_put_u64(sb, state->reason);
    return frame_end(sb, start);
}

bool frame_read_state(FrameReader *r, FrameState *out)
{
    *out = (FrameState){0};
    out->vm.guild_id = frame_u64(r);
    out->vm.generation = frame_u64(r);
    out->state = (VmState)frame_below(r, VM_STATES);
    out->reason = (VmBrokenReason)frame_below(r, VM_REASONS);
    return frame_done(r) && out->vm.guild_id != 0;
}

bool frame_put_call(Strbuf *sb, const FrameCall *call)
{
    size_t start = frame_begin(sb, FRAME_CALL);
    frame_put_u64(sb, call->id);
    frame_put_u64(sb, call->guild_id);
    frame_put_int(sb, call->kind);
    frame_put_text(sb, call->bytes.data, call->bytes.length);
    return frame_end(sb, start);
}

bool frame_read_call(FrameReader *r, FrameCall *out)
{
    *out = (FrameCall){0};
    out->id = frame_u64(r);
    out->guild_id = frame_u64(r);
    out->kind = frame_int(r);
    out->bytes = frame_text(r);
    return frame_done(r) && out->id != 0 && out->guild_id != 0 && out->bytes.data;
}

bool frame_put_answer(Strbuf *sb, const FrameCall *call)
{
    size_t start = frame_begin(sb, FRAME_ANSWER);
    frame_put_u64(sb, call->id);
    frame_put_text(sb, call->bytes.data, call->bytes.length);
    return frame_end(sb, start);
}

bool frame_read_answer(FrameReader *r, FrameCall *out)
{
    *out = (FrameCall){0};
    out->id = frame_u64(r);
    out->bytes = frame_text(r);
    return frame_done(r) && out->id != 0 && out->bytes.data;
}

bool frame_put_stats(Strbuf *sb, const WorkerStats *stats)
{
    size_t start = frame_begin(sb, FRAME_STATS);
    frame_put_u64(sb, stats->guilds);
    frame_put_u64(sb, stats->vms);
    frame_put_u64(sb, stats->waiting);
    frame_put_u64(sb, stats->executions);
    frame_put_u64(sb, stats->created);
    for (int i = 0; i < VM_REASONS; i++)
        frame_put_u64(sb, stats->broken[i]);
    frame_put_u64(sb, stats->refused);
    frame_put_u64(sb, stats->panics);
    return frame_end(sb, start);
}

bool frame_read_stats(FrameReader *r, WorkerStats *out)
{
    *out = (WorkerStats){0};
    out->guilds = frame_u64(r);
    out->vms = frame_u64(r);
    out->waiting = frame_u64(r);
    out->executions = frame_u64(r);
    out->created = frame_u64(r);
    for (int i = 0; i < VM_REASONS; i++)
        out->broken[i] = frame_u64(r);
    out->refused = frame_u64(r);
    out->panics = frame_u64(r);
    return frame_done(r);
}
