/* fuzz_frames.c: any bytes from a child, or a parent. The first byte says in what pieces they come,
 * the rest is the stream. Every frame is refused, or its message makes a frame again which reads as
 * the same message. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "plugins/plugins.h"
#include "worker/frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads the payload as a message of that type and writes it: false when it is refused. */
static bool again_action(FrameReader *r, Strbuf *sb)
{
    FrameAction f;
    if (!frame_read_action(r, &f))
        return false;
    uint64_t *ids = calloc(FRAME_EXECUTIONS_MAX, sizeof(*ids));
    KhronosExecution *all = calloc(FRAME_EXECUTIONS_MAX, sizeof(*all));
    for (int i = 0; i < f.run_count; i++) {
        ids[f.runs[i].index] = f.runs[i].template_id;
        all[f.runs[i].index] = f.action.executions[i];
    }
    LuaVmAction action = f.action;
    action.executions = all;
    action.execution_count = FRAME_EXECUTIONS_MAX;
    FUZZ_CHECK(frame_put_action(sb, f.slot, &action, action.handle.generation, ids), "put");
    free(ids);
    free(all);
    frame_action_free(&f);
    return true;
}

static bool again_result(FrameReader *r, Strbuf *sb)
{
    FrameResult result;
    if (!frame_read_result(r, &result))
        return false;
    Strbuf out = STRBUF_INIT;
    KhronosExecution x = {.out = &out};
    frame_result_apply(&result, &x);
    FUZZ_CHECK(strlen(x.path) < sizeof(x.path), "path");
    FUZZ_CHECK(out.length == (x.status == KHRONOS_OK ? result.out.length : 0), "out");
    frame_put_result(sb, result.slot, result.index, &x, result.out.data, result.out.length);
    strbuf_free(&out);
    execution_free(&x);
    return true;
}

static bool again_completed(FrameReader *r, Strbuf *sb)
{
    FrameCompleted completed;
    if (!frame_read_completed(r, &completed))
        return false;
    LuaVmAction action = {.outcome = completed.outcome,
                          .retry_after_ms = completed.retry_after_ms,
                          .info = completed.info};
    return frame_put_completed(sb, completed.slot, &action);
}

static bool again_template(FrameReader *r, Strbuf *sb)
{
    static KhronosSandbox *sandbox;
    char error[256];
    uint64_t id;
    int count;
    const KhronosPlugin *plugins = plugins_all(&count);
    if (!sandbox)
        sandbox = sandbox_new(plugins, count, error, sizeof(error));
    FUZZ_CHECK(sandbox, "no sandbox: %s", error);
    KhronosTemplate *t = frame_read_template(r, sandbox, true, &id);
    bool good = t && frame_put_template(sb, id, t);
    template_release(t);
    return good;
}

static bool again(FrameType type, FrameReader *r, Strbuf *sb)
{
    FrameInit init;
    FrameLog log;
    FrameState state;
    FrameCall call;
    WorkerStats stats;
    uint64_t number;
    switch (type) {
    case FRAME_INIT: return frame_read_init(r, &init) && frame_put_init(sb, &init);
    case FRAME_TEMPLATE: return again_template(r, sb);
    case FRAME_ACTION: return again_action(r, sb);
    case FRAME_RESULT: return again_result(r, sb);
    case FRAME_COMPLETED: return again_completed(r, sb);
    case FRAME_LOG: return frame_read_log(r, &log) && frame_put_log(sb, &log);
    case FRAME_STATE: return frame_read_state(r, &state) && frame_put_state(sb, &state);
    case FRAME_CALL: return frame_read_call(r, &call) && frame_put_call(sb, &call);
    case FRAME_ANSWER: return frame_read_answer(r, &call) && frame_put_answer(sb, &call);
    case FRAME_STATS: return frame_read_stats(r, &stats) && frame_put_stats(sb, &stats);
    case FRAME_FORGET:
    case FRAME_LOG_DROPPED:
    case FRAME_PING:
    case FRAME_PONG: return frame_read_number(r, &number) && frame_put_number(sb, type, number);
    default: return frame_done(r) && frame_put_plain(sb, type);
    }
}

static void check_frame(FrameType type, FrameReader *payload)
{
    Strbuf first = STRBUF_INIT, second = STRBUF_INIT;
    if (again(type, payload, &first)) {
        FrameReader r = frame_reader((const uint8_t *)first.data + FRAME_HEADER_BYTES + 1,
                                     first.length - FRAME_HEADER_BYTES - 1);
        FUZZ_CHECK(again(type, &r, &second), "type %d: what was written is refused", type);
        FUZZ_CHECK(first.length == second.length &&
                       memcmp(first.data, second.data, first.length) == 0,
                   "type %d: what was written reads as something else", type);
    }
    strbuf_free(&first);
    strbuf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    FrameStream stream = {0};
    FrameType type;
    FrameReader payload;
    size_t piece = (size_t)data[0] + 1;
    for (size_t at = 1; at < size;) {
        size_t room_size, part = size - at < piece ? size - at : piece;
        char *room = frame_stream_room(&stream, &room_size);
        FUZZ_CHECK(room && part <= room_size, "no room");
        memcpy(room, data + at, part);
        frame_stream_got(&stream, part);
        at += part;
        FrameNext next;
        while ((next = frame_stream_next(&stream, &type, &payload)) == FRAME_COMPLETE)
            check_frame(type, &payload);
        if (next == FRAME_BAD)
            break;
    }
    frame_stream_free(&stream);
    return 0;
}
