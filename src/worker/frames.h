/* frames.h: what the parent and the children of the process-pool say to each other.
 *
 *     | length: u32, little endian | type: u8 | payload: length - 1 bytes |
 *
 * Numbers are varints (seven bits a byte, low ones first), signed ones folded so that small
 * negatives stay short. A text is a varint, 0 for none or its length + 1, then its bytes and a NUL,
 * so that a reader may point into the frame instead of copying.
 *
 *     parent -> child    INIT first, once. TEMPLATE before the first ACTION that names its id;
 *                        FORGET gives the id up. STOP: finish, say what became of everything, exit.
 *                        PING, with a number that is not 0: PONG with the same one, at once.
 *                        ANSWER to a CALL.
 *     child -> parent    READY once. For an ACTION: a RESULT for each of its executions, then
 *                        COMPLETED. LOG, LOG_DROPPED, STATE, STATS at any time. CALL, what a
 *                        template wants of the world outside, if INIT said that calls are wanted;
 *                        they are numbered from 1.
 *
 * A child runs code of tenants, so the parent believes it nothing: every reader checks every bound,
 * allocates nothing that the sender did not pay for in bytes, and fails without effect. */
#ifndef WORKER_FRAMES_H
#define WORKER_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/strbuf.h"
#include "khronos/template.h"
#include "worker/vm_action.h"
#include "worker/worker.h"

enum {
    FRAME_BYTES_MAX = 16 << 20, /* type and payload */
    FRAME_HEADER_BYTES = 4,
    FRAME_VERSION = 4,           /* parent and child are the same program; a guard all the same */
    FRAME_EXECUTIONS_MAX = 1024, /* of an action */
    FRAME_CAPABILITIES_MAX = 1024,
    FRAME_TEXT_MAX = 1 << 16 /* names, ids, messages of the protocol itself */
};
/* In place of a slot: nobody waits for the completion. */
#define FRAME_NO_SLOT UINT32_MAX

typedef enum FrameType {
    FRAME_INIT = 1,
    FRAME_TEMPLATE,
    FRAME_FORGET,
    FRAME_ACTION,
    FRAME_STOP,
    FRAME_READY,
    FRAME_RESULT,
    FRAME_COMPLETED,
    FRAME_LOG,
    FRAME_LOG_DROPPED,
    FRAME_STATE,
    FRAME_STATS,
    FRAME_PING,
    FRAME_PONG,
    FRAME_CALL,
    FRAME_ANSWER
} FrameType;
enum { FRAME_TYPES = FRAME_ANSWER + 1 };

/* ---- Writing ----
 * Straight into a buffer that may hold other frames before. */
size_t frame_begin(Strbuf *sb, FrameType type); /* where it starts, for frame_end */
/* False: it was too large or memory is out; the buffer is as it was before frame_begin. */
bool frame_end(Strbuf *sb, size_t start);
void frame_put_u64(Strbuf *sb, uint64_t value);
void frame_put_int(Strbuf *sb, int64_t value);
void frame_put_text(Strbuf *sb, const char *data, size_t length); /* data NULL: none */
void frame_put_cstr(Strbuf *sb, const char *text);                /* NULL: none */

/* ---- Reading ----
 * Failure is sticky: numbers read as 0 and texts as absent from then on. */
typedef struct FrameReader {
    const uint8_t *p, *end;
    bool failed;
} FrameReader;

FrameReader frame_reader(const uint8_t *payload, size_t length);
uint64_t frame_u64(FrameReader *r);
uint64_t frame_below(FrameReader *r, uint64_t bound); /* fails at bound and above */
int frame_int(FrameReader *r);
bool frame_flag(FrameReader *r);
EventText frame_text(FrameReader *r);
/* Without a NUL inside, at most max bytes; NULL: absent. */
const char *frame_cstr(FrameReader *r, size_t max);
/* All was read and nothing failed. */
bool frame_done(const FrameReader *r);

/* Bytes as they come from a socket, cut into frames. */
typedef struct FrameStream {
    Strbuf bytes;
    size_t at; /* where the next frame starts */
} FrameStream;

typedef enum FrameNext { FRAME_NONE_YET, FRAME_COMPLETE, FRAME_BAD } FrameNext;

/* Room for bytes to come; *size: how many. NULL: no memory. Frames read before are gone. */
char *frame_stream_room(FrameStream *stream, size_t *size);
void frame_stream_got(FrameStream *stream, size_t count);
/* The payload lies in the stream until frame_stream_room. */
FrameNext frame_stream_next(FrameStream *stream, FrameType *type, FrameReader *payload);
void frame_stream_free(FrameStream *stream);

/* ---- Messages ----
 * put: false as frame_end. read: the whole payload; false: it is bad, *out is of no use and holds
 * nothing to free. Texts point into the frame. */
typedef struct FrameInit {
    int index; /* of the child, for its log */
    int threads;
    uint32_t slots;
    LogLevel log_level; /* of the child's own lines */
    bool wants_logs, wants_states, wants_calls;
    KhronosLimits limits;
    uint64_t shrink_idle_ns, destroy_idle_ns;
    int broken_max;
    uint64_t broken_window_ns, pause_ns;
} FrameInit;
bool frame_put_init(Strbuf *sb, const FrameInit *init);
bool frame_read_init(FrameReader *r, FrameInit *out);

bool frame_put_plain(Strbuf *sb, FrameType type);                   /* STOP, READY */
bool frame_put_number(Strbuf *sb, FrameType type, uint64_t number); /* FORGET, LOG_DROPPED,
                                                                        PING, PONG */
bool frame_read_number(FrameReader *r, uint64_t *out);

/* Is there all that frame_put_template would send: an unknown problem aside, every source. */
bool frame_template_complete(const KhronosTemplate *t);
bool frame_put_template(Strbuf *sb, uint64_t id, const KhronosTemplate *t);
/* A template of the caller's, and its id; NULL: bad, or no memory. keep_sources: as in
 * template_keepsources. */
KhronosTemplate *frame_read_template(FrameReader *r, KhronosSandbox *sandbox, bool keep_sources,
                                     uint64_t *id);

/* template_ids: one for each execution; those with 0 are left out. generation: in place of the
 * handle's. */
bool frame_put_action(Strbuf *sb, uint32_t slot, const LuaVmAction *action, uint64_t generation,
                      const uint64_t *template_ids);

typedef struct FrameRun {
    int index; /* of the execution in the sender's action */
    uint64_t template_id;
    KhronosEvent event;
    KhronosCaller caller;
} FrameRun;

typedef struct FrameAction {
    uint32_t slot;
    LuaVmAction action; /* executions point to events and callers of runs; templates are NULL */
    KhronosLimits limits;
    FrameRun *runs; /* one for each execution */
    int run_count;
    void *memory; /* of runs, executions and capabilities */
} FrameAction;
/* *out must stay where it is. */
bool frame_read_action(FrameReader *r, FrameAction *out);
void frame_action_free(FrameAction *f);

/* One execution of the action in that slot; `out` is its result's JSON. */
bool frame_put_result(Strbuf *sb, uint32_t slot, int index, const KhronosExecution *x,
                      const char *out, size_t out_length);

typedef struct FrameResult {
    uint32_t slot;
    int index;
    KhronosStatus status;
    int result_count;
    EventText out, message, traceback, logs;
    const char *path;
    int line, column;
    uint64_t duration_ns, cpu_ns;
    size_t memory_bytes;
} FrameResult;
bool frame_read_result(FrameReader *r, FrameResult *out);
/* Gives the result to the execution; without memory for it, a failure that says so. */
void frame_result_apply(const FrameResult *result, KhronosExecution *x);

typedef struct FrameCompleted {
    uint32_t slot;
    VmActionOutcome outcome;
    uint64_t retry_after_ms;
    VmInfo info;
} FrameCompleted;
bool frame_put_completed(Strbuf *sb, uint32_t slot, const LuaVmAction *action);
bool frame_read_completed(FrameReader *r, FrameCompleted *out);

typedef struct FrameLog {
    uint64_t guild_id;
    const char *template_name;
    int level;
    EventText text;
} FrameLog;
bool frame_put_log(Strbuf *sb, const FrameLog *log);
bool frame_read_log(FrameReader *r, FrameLog *out);

typedef struct FrameState {
    VmHandle vm;
    VmState state;
    VmBrokenReason reason;
} FrameState;
bool frame_put_state(Strbuf *sb, const FrameState *state);
bool frame_read_state(FrameReader *r, FrameState *out);

/* What a call's kind wrote of it. */
typedef struct FrameCall {
    uint64_t id;
    uint64_t guild_id; /* of CALL alone, with kind */
    int kind;
    EventText bytes;
} FrameCall;
bool frame_put_call(Strbuf *sb, const FrameCall *call);
bool frame_read_call(FrameReader *r, FrameCall *out);
bool frame_put_answer(Strbuf *sb, const FrameCall *call);
bool frame_read_answer(FrameReader *r, FrameCall *out);

bool frame_put_stats(Strbuf *sb, const WorkerStats *stats);
bool frame_read_stats(FrameReader *r, WorkerStats *out);

void frame_put_limits(Strbuf *sb, const KhronosLimits *limits);
void frame_get_limits(FrameReader *r, KhronosLimits *limits);

#endif
