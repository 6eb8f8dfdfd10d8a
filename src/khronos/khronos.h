/* khronos.h: KhronosRuntime, one guild's VM with its limits, its templates' globals and its log.
 *
 * A runtime owns exactly one VM. It is used by one thread at a time; while an execution is parked
 * it belongs to the thread that parked it. Nobody else ever gets the VM: the layers above know
 * guilds by id only.
 *
 * Life: khronos_new -> (khronos_run -> [khronos_continue ...] -> finished)* -> khronos_free.
 * After a kill the VM is of no further use: khronos_isbroken says so, the owner frees the runtime
 * and makes another at the next action. */
#ifndef KHRONOS_KHRONOS_H
#define KHRONOS_KHRONOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "khronos/event.h"
#include "khronos/sandbox.h"
#include "khronos/template.h"
#include "luau/luau.h"

typedef struct KhronosLimits {
    size_t memory_max_bytes;  /* of the VM */
    uint64_t cpu_max_ns;      /* processor time of one execution */
    uint64_t wall_max_ns;     /* of one execution, waits included */
    uint64_t slice_ns;        /* before it is parked */
    size_t result_max_bytes;  /* JSON */
    int log_lines_per_second;
    size_t log_line_max_bytes;
    size_t log_kept_max_bytes; /* of one execution, for who asked to have them */
} KhronosLimits;

void khronos_default_limits(KhronosLimits *limits);

typedef enum KhronosStatus {
    KHRONOS_OK,
    KHRONOS_COMPILE_ERROR,
    KHRONOS_RUNTIME_ERROR,
    KHRONOS_INVALID_RESULT,
    KHRONOS_MEMORY_LIMIT, /* these three: the VM is gone */
    KHRONOS_TIMEOUT,
    KHRONOS_KILLED,       /* by khronos_kill */
    KHRONOS_INTERNAL
} KhronosStatus;

/* One run of a template. The caller fills the first part and keeps everything in it alive until the
 * execution is finished; the runtime fills the second. */
typedef struct KhronosExecution {
    KhronosTemplate *template_version;
    const KhronosEvent *event;
    const char *id;           /* execution id, at most 63 bytes */
    Strbuf *out;              /* the result's JSON is appended; left as it was on failure */
    bool keep_logs;

    KhronosStatus status;
    int result_count;         /* values returned: 0 none (null), 1 that value, more: a list */
    Strbuf message;           /* on failure; these buffers belong to the execution's owner */
    Strbuf traceback;         /* a frame a line; may be empty */
    Strbuf logs;              /* JSON strings with commas between */
    char path[128];           /* file as messages show it, "" unknown */
    int line, column;         /* 0 unknown */
    uint64_t duration_ns;     /* since it started */
    uint64_t cpu_ns;
    size_t memory_bytes;      /* of the VM, at the end */
} KhronosExecution;

void execution_free(KhronosExecution *x); /* the buffers of the second part */

/* Where printed lines go, besides the execution that asked to keep them. Called on the running
 * thread, with at most log_lines_per_second lines a second, and notices of what was cut. Must not
 * block. */
typedef struct KhronosLog {
    void (*line)(void *userdata, uint64_t guild_id, const char *template_name, int level,
                 const char *text, size_t length); /* level 0 print, 1 warn */
    void *userdata;
} KhronosLog;

typedef struct KhronosRuntime KhronosRuntime;

/* NULL: no memory. The sandbox is retained. */
KhronosRuntime *khronos_new(KhronosSandbox *sandbox, uint64_t guild_id, const KhronosLimits *limits,
                            const KhronosLog *log);
/* Also with an execution parked in it: its code is dropped. */
void khronos_free(KhronosRuntime *rt);

typedef enum KhronosStep { KHRONOS_FINISHED, KHRONOS_PARKED } KhronosStep;
/* Starts an execution on a fiber of the calling thread's pool. Not while another is under way. */
KhronosStep khronos_run(KhronosRuntime *rt, luau_Fibers *fibers, KhronosExecution *x);
/* Goes on with the parked one; on the thread that parked it. */
KhronosStep khronos_continue(KhronosRuntime *rt);
/* The execution that is parked ends with KHRONOS_KILLED when it is continued. */
void khronos_kill(KhronosRuntime *rt);
bool khronos_isbroken(const KhronosRuntime *rt);

void khronos_account(KhronosRuntime *rt, luau_Account *account);
void khronos_shrink(KhronosRuntime *rt); /* at rest: gives memory back */

/* ---- For natives of this layer and of plugins ---- */
KhronosRuntime *khronos_of(lua_State *L);
/* A buffer that survives a kill, for text on its way into the VM; empty it before use and give it
 * back with khronos_scratch_done. Its ceiling is the memory limit. */
Strbuf *khronos_scratch(lua_State *L);
void khronos_scratch_done(lua_State *L);
/* Pushes the table that all templates of the guild share. [m] */
void khronos_pushstore(lua_State *L);
size_t khronos_memory_limit(lua_State *L);

#endif
