/* khronos.h: KhronosRuntime, one guild's VM with its limits, its templates' globals, its tasks and
 * its log.
 *
 * A runtime owns exactly one VM. It is used by one thread at a time; while it is parked it belongs
 * to the thread that parked it. Nobody else ever gets the VM: the layers above know guilds by id
 * only.
 *
 * Executions are Luau threads of one VM and run concurrently: one that waits (task.wait, require of
 * a module that waits) lets the others go on. Whoever owns the runtime gives it executions
 * (khronos_submit) and turns (khronos_step), and takes back those that finished:
 *
 *     khronos_new -> { khronos_submit* -> khronos_step -> khronos_take_finished* }* -> khronos_free
 *
 * Every submitted execution is given back exactly once, whatever happens to it or to the VM. After
 * a kill the VM is of no further use: khronos_isbroken says so, all its executions are finished,
 * the owner frees the runtime and makes another at the next action. */
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
    size_t memory_max_bytes; /* of the VM */
    uint64_t cpu_max_ns;     /* processor time between two yields of a Luau thread */
    uint64_t wall_max_ns;    /* of one execution, waits included */
    uint64_t share_max_ns;   /* processor time within any minute; 0: no limit (src/worker) */
    uint64_t slice_ns;       /* before it is parked */
    size_t result_max_bytes; /* JSON */
    int tasks_max;           /* live tasks (task.spawn, defer, delay, wait) */
    int calls_max;           /* calls under way (KhronosCall); their bytes: CALLS_BYTES_MAX */
    int log_lines_per_second;
    size_t log_line_max_bytes;
    size_t log_kept_max_bytes; /* of one execution, for who asked to have them */
    int mailbox_max;           /* actions waiting or under way (src/worker counts them) */
} KhronosLimits;

enum { CALLS_MAX_DEFAULT = 64 };
#define CALLS_BYTES_MAX ((size_t)8 << 20)

void khronos_default_limits(KhronosLimits *limits);

typedef enum KhronosStatus {
    KHRONOS_OK,
    KHRONOS_COMPILE_ERROR,
    KHRONOS_RUNTIME_ERROR,
    KHRONOS_INVALID_RESULT,
    KHRONOS_CANCELLED,    /* khronos_cancel; the VM lives */
    KHRONOS_MEMORY_LIMIT, /* from here on the VM is gone; this execution was the cause */
    KHRONOS_TIMEOUT,      /* likewise: processor or wall time */
    KHRONOS_BROKEN,       /* somebody else was the cause, or khronos_break */
    KHRONOS_INTERNAL
} KhronosStatus;

/* What `ctx` tells a template. Borrowed until the execution is finished. */
typedef struct KhronosCaller {
    uint64_t owner_guild_id;         /* 0: the guild itself */
    const char *current_user;        /* NULL: none */
    const char *const *capabilities; /* NULL: all that the template has; may only narrow those */
    int capability_count;
} KhronosCaller;

/* One run of a template. The caller fills the first part and keeps everything in it alive until the
 * execution comes back; the runtime fills the second. */
typedef struct KhronosExecution {
    KhronosTemplate *template_version;
    const KhronosEvent *event;
    const KhronosCaller *caller; /* NULL: nothing special */
    const char *id;              /* execution id, at most 63 bytes */
    Strbuf *out;                 /* the result's JSON is appended; left as it was on failure */
    bool keep_logs;
    void *owner; /* the submitter's own */

    KhronosStatus status;
    int result_count;     /* values returned: 0 none (null), 1 that value, more: a list */
    Strbuf message;       /* on failure; these buffers belong to the execution's owner */
    Strbuf traceback;     /* a frame a line; may be empty */
    Strbuf logs;          /* JSON strings with commas between */
    char path[128];       /* file as messages show it, "" unknown */
    int line, column;     /* 0 unknown */
    uint64_t duration_ns; /* since it started */
    uint64_t cpu_ns;      /* of its main thread and what that spawned, until it finished */
    size_t memory_bytes;  /* of the VM, at the end */

    struct KhronosExecution *next; /* the runtime's */
} KhronosExecution;

void execution_free(KhronosExecution *x); /* the buffers of the second part */

/* Where printed lines go, besides the execution that asked to keep them. Called on the running
 * thread, with at most log_lines_per_second lines a second, and notices of what was cut. Must not
 * block. */
typedef struct KhronosLog {
    void (*line)(void *userdata, uint64_t guild_id, const char *template_name, int level,
                 const char *text, size_t length); /* 0 print, 1 warn, 2 an error in a task */
    void *userdata;
} KhronosLog;

/* Time as the scheduler sees it, so that tests can move it. NULL: CLOCK_MONOTONIC. */
typedef uint64_t (*KhronosClock)(void *userdata);

typedef struct KhronosRuntime KhronosRuntime;

/* NULL: no memory. The sandbox is retained; limits and log stay their owner's. */
KhronosRuntime *khronos_new(KhronosSandbox *sandbox, uint64_t guild_id, const KhronosLimits *limits,
                            const KhronosLog *log);
/* Also with executions under way, even parked ones: their code is dropped, and they are NOT given
 * back: khronos_break first. */
void khronos_free(KhronosRuntime *rt);
/* After a panic while this VM ran: frees what can be freed without trusting the heap. */
void khronos_discard(KhronosRuntime *rt);
void khronos_setclock(KhronosRuntime *rt, KhronosClock clock, void *userdata);

/* Starts at one of the next steps, after those submitted before. */
void khronos_submit(KhronosRuntime *rt, KhronosExecution *x);

typedef enum KhronosStep {
    KHRONOS_IDLE,    /* nothing to do before khronos_due_ns, the next submit or wake */
    KHRONOS_READY,   /* the slice is used up, there is more to do; at rest */
    KHRONOS_PARKED,  /* preempted in the middle: the next step on the same thread goes on */
    KHRONOS_PANICKED /* base_panic on the VM's fiber: break it, take what is finished, discard it */
} KhronosStep;
/* One turn, of about a slice, on a fiber of the calling thread's pool. */
KhronosStep khronos_step(KhronosRuntime *rt, luau_Fibers *fibers);
/* An execution that is done, whose submitter may have it back; NULL: none. Looked at after steps,
 * and after khronos_cancel and khronos_break. */
KhronosExecution *khronos_take_finished(KhronosRuntime *rt);
/* When the next step has something to do; 0: nothing is to come. Not while parked. */
uint64_t khronos_due_ns(const KhronosRuntime *rt);
bool khronos_isparked(const KhronosRuntime *rt);
bool khronos_isbroken(const KhronosRuntime *rt);
/* What broke it: KHRONOS_MEMORY_LIMIT, TIMEOUT, INTERNAL or BROKEN; a thread in the background may
 * have been the cause, and then no execution has this status. */
KhronosStatus khronos_broken_status(const KhronosRuntime *rt);
/* Executions under way, and live tasks (those in the background included). */
int khronos_executions(const KhronosRuntime *rt);
int khronos_tasks(const KhronosRuntime *rt);
/* Errors of threads in the background, which nobody waits for, so far. */
uint64_t khronos_task_errors(const KhronosRuntime *rt);
/* `ctx` asked for its store to be kept: the VM should not be ended for being idle. */
bool khronos_keeps_store(const KhronosRuntime *rt);

/* The execution with that id ends as KHRONOS_CANCELLED, with what it spawned: at once, or if the VM
 * is parked in the middle of it, at the next step. False: no such execution. */
bool khronos_cancel(KhronosRuntime *rt, const char *id);
/* Every execution ends now, with that status and text; the VM is broken. Also while parked. Does
 * not touch the VM. */
void khronos_break(KhronosRuntime *rt, KhronosStatus status, const char *message);

/* The next execution, or the next step of the collector, panics: for tests of recovery. */
void khronos_test_panic(KhronosRuntime *rt, bool in_collector);
/* The limits changed under it (same pointer or another). At rest or parked. */
void khronos_setlimits(KhronosRuntime *rt, const KhronosLimits *limits);
/* Forgets templates' globals and modules: the next run of each starts anew. */
void khronos_clear_cache(KhronosRuntime *rt);
void khronos_account(KhronosRuntime *rt, luau_Account *account);
void khronos_shrink(KhronosRuntime *rt); /* at rest: gives memory back */

/* ---- Waiting for the host ----
 * A native that needs something from outside takes a ticket, hands it out, and ends with `return
 * khronos_wait(L, ticket)`; between the two nothing may raise. Only the calling Luau thread waits.
 * Whoever has the answer gives it to the owner of the runtime, who calls khronos_wake: `push`
 * pushes the native's results (or raises), and the thread goes on at the next step. A ticket whose
 * thread is gone is discarded: false, push was not called. push runs at a later step, on the VM's
 * fiber; `arg` is its own until then; `drop` frees arg when push will not run or has run. */
typedef uint64_t KhronosTicket;             /* not 0; never used twice in a runtime */
KhronosTicket khronos_ticket(lua_State *L); /* [e] tasks_max; not yieldable */
int khronos_wait(lua_State *L, KhronosTicket ticket);
bool khronos_wake(KhronosRuntime *rt, KhronosTicket ticket, int (*push)(lua_State *L, void *arg),
                  void (*drop)(void *arg), void *arg);

/* ---- Calls ----
 * What a template wants of the world outside (its guild's data, ...), on its way there and back.
 * Made by a native in memory outside the VM, given to the runtime by khronos_call, taken from it
 * after steps by the runtime's owner, answered by some service, and given back to the runtime
 * (khronos_answer), where `push` hands the answer to the Luau thread that waits. Calls under way
 * are bounded (calls_max), in number and in bytes; past that khronos_call raises. */
typedef struct KhronosCall KhronosCall;

/* What a kind of call can do. Never a pointer into a VM, so that calls can go to other processes
 * and come back. */
typedef struct KhronosCallKind {
    int number; /* names the kind in another process of the same program */
    /* On the VM's fiber: pushes the native's results, or raises. */
    int (*push)(lua_State *L, KhronosCall *call);
    void (*drop)(KhronosCall *call); /* frees it; any thread */
    /* Nobody could or would do it: it is answered with that text as its error. */
    void (*refuse)(KhronosCall *call, const char *text);
    /* To another process, which makes a call of its own from the bytes (WorkerCalls.read), and
     * back. */
    void (*put_request)(const KhronosCall *call, Strbuf *out);
    void (*put_answer)(const KhronosCall *call, Strbuf *out);
    bool (*read_answer)(KhronosCall *call, const char *bytes, size_t length); /* false: bad */
} KhronosCallKind;

struct KhronosCall {
    const KhronosCallKind *kind;
    uint64_t guild_id;    /* khronos_call's, with ticket */
    KhronosTicket ticket; /* unique beyond this VM: an answer never meets another VM's thread */
    size_t bytes;         /* of memory, both ways as far as is known; the native's to fill in, and
                             nobody else's */
    void *owner;          /* of whoever has it at the moment */
    KhronosCall *next;    /* likewise */
};
/* The native ends with `return khronos_call(L, call)`. Takes the call, also when it raises. [e]:
 * not yieldable, too many tasks or calls. */
int khronos_call(lua_State *L, KhronosCall *call);
/* One that was made since; NULL: none. Whoever takes it answers it. Those that nobody took are
 * dropped when the VM breaks or is freed. */
KhronosCall *khronos_take_call(KhronosRuntime *rt);
/* Takes the call, whose answer is in it; false: nobody waits for it any more. */
bool khronos_answer(KhronosRuntime *rt, KhronosCall *call);

/* ---- For natives of this layer and of plugins ---- */
KhronosRuntime *khronos_of(lua_State *L);
/* A buffer that survives a kill, for text on its way into the VM; empty it before use and give it
 * back with khronos_scratch_done. Its ceiling is the memory limit. */
Strbuf *khronos_scratch(lua_State *L);
void khronos_scratch_done(lua_State *L);
/* `ctx` wants its store kept, or not any more (khronos_keeps_store). */
void khronos_setkeepstore(lua_State *L, bool keep);
/* Pushes the table that all templates of the guild share. [m] */
void khronos_pushstore(lua_State *L);
size_t khronos_memory_limit(lua_State *L);

#endif
