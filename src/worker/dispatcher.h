/* dispatcher.h: EventDispatcher: from "this happened in that guild" to actions of the worker, and
 * from finished actions to answers.
 *
 *     caller --dispatch--> record { event, executions } --one action--> guild's mailbox
 *     caller <--complete-- done | return timeout | refused            <--action complete--
 *
 * An event becomes one execution for each template that matches it (or for the one template that
 * the caller names), each with an id of its own, all in one action: one mail, so a guild's events
 * start in the order of the calls that dispatched them. Events that match nothing cost a look-up.
 *
 * Where the templates are not at hand (TemplateSource answers later), the request is copied and
 * waits, and goes on on the thread that has the answer; later requests of that guild queue up
 * behind it. What waits counts as a record. Who waits for a result and loses patience before there
 * is an answer is told DISPATCH_UNAVAILABLE, and nothing runs.
 *
 * The dispatcher remembers what it started. A repeated event id gets the first answer instead of a
 * second run; a caller may stop waiting while the run goes on; an execution can be asked after and
 * cancelled by its id. All of that is one object, the record. It is running until its action came
 * back, and is kept for keep_ns after. Running records are never dropped; of the finished ones the
 * oldest go first when there are too many or they hold too much. What may not be remembered is not
 * started: queue_full.
 *
 * Exactly once: each request's completion is called once, whatever happens, on any thread, also
 * inside the call that hands the request over; never with a lock held, so it may call the
 * dispatcher again. It must not block: it runs on threads that run guilds. Likewise for cancels.
 *
 * Ownership: a request and all it points to is read during the call only. Records are reference
 * counted: the result that a completion gets, with all texts in it, is valid during the completion;
 * dispatch_record_retain keeps it longer, also past the end of the dispatcher.
 *
 * End: dispatcher_stop (new requests are refused), worker_drain, the end of the templates' source
 * (every look-up is answered, what waited is refused), worker_stop (every action comes back, and
 * with it every caller gets an answer), dispatcher_free.
 *
 * Everything here is for any thread unless it says otherwise. */
#ifndef WORKER_DISPATCHER_H
#define WORKER_DISPATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/random.h"
#include "worker/template_source.h"
#include "worker/vm_action.h"

typedef struct Worker Worker;
typedef struct Dispatcher Dispatcher;
typedef struct DispatchRecord DispatchRecord;

typedef struct DispatcherOptions {
    /* Takes an action as worker_submit does: completes it exactly once, perhaps before returning.
     * The actions of one guild keep the order of the calls. */
    void (*submit)(void *userdata, LuaVmAction *action);
    void *submit_userdata;
    TemplateSource templates;
    /* NULL: CLOCK_MONOTONIC, and a thread that sleeps until the next wait ends. Else whoever moves
     * the clock calls dispatcher_poll after. Must not call the dispatcher. */
    KhronosClock clock;
    void *clock_userdata;
    uint64_t keep_ns;   /* how long finished records are kept; 0: not at all */
    size_t records_max; /* running and kept */
    size_t bytes_max;   /* of their events and results */
    size_t waits_max;   /* callers waiting for results */
} DispatcherOptions;

/* 10 minutes, 100,000 records, 64 MiB, 100,000 waits. */
void dispatcher_default_options(DispatcherOptions *options);
/* Actions go to that worker. */
void dispatcher_use_worker(DispatcherOptions *options, Worker *worker);

/* NULL: no memory, or no thread. The options are copied. */
Dispatcher *dispatcher_new(const DispatcherOptions *options);
/* From now on requests are refused as shutting down. Waits for nothing. */
void dispatcher_stop(Dispatcher *d);
/* All actions and look-ups have come back (asserted) and no call is under way. NULL is fine. */
void dispatcher_free(Dispatcher *d);

typedef enum DispatchOutcome {
    DISPATCH_ACCEPTED,       /* it runs, nobody waits */
    DISPATCH_DONE,           /* all executions finished: see each one's status */
    DISPATCH_RETURN_TIMEOUT, /* wait_ms passed; it still runs */
    DISPATCH_QUEUE_FULL,     /* the guild's mailbox or the dispatcher; retry_after_ms */
    DISPATCH_PAUSED,         /* the guild's VMs broke too often lately; retry_after_ms */
    DISPATCH_VM_BROKEN,      /* lost before it started: may be sent again */
    DISPATCH_NOT_FOUND,      /* no template (cancel: execution) of that name */
    DISPATCH_SHUTTING_DOWN,
    DISPATCH_UNAVAILABLE, /* the templates cannot be had now: `message` says why; may be sent again
                           */
    DISPATCH_NO_MEMORY
} DispatchOutcome;

/* One run of a template. */
typedef struct DispatchExecution {
    char id[RANDOM_ID_SIZE];
    const char *template_name;
    uint32_t version;

    /* Only when the result's outcome is DISPATCH_DONE: before that it may be written to. */
    KhronosStatus status;
    EventText result;  /* JSON; absent unless the status is KHRONOS_OK */
    EventText message; /* absent: none */
    EventText traceback;
    EventText logs;   /* JSON strings with commas between; absent: none, or not asked for */
    const char *path; /* "": unknown */
    int line, column; /* 0: unknown */
    uint64_t duration_ns;
    uint64_t cpu_ns;
    size_t memory_bytes; /* of the VM */

    DispatchRecord *record; /* the dispatcher's */
} DispatchExecution;

typedef struct DispatchResult {
    DispatchOutcome outcome;
    bool duplicate;          /* the event id was seen before: this is about the first one's run */
    uint64_t retry_after_ms; /* 0: nothing to say */
    const char *message;     /* of DISPATCH_UNAVAILABLE */
    uint64_t guild_id;
    EventText event_id; /* as the templates see it; absent: none given, and nothing ran */
    const DispatchExecution *executions; /* in the order of the templates' names */
    int count;
    DispatchRecord *record; /* borrowed; NULL: refused at once, or nothing matched. Refused by the
                               worker: the executions tell what would have run */
} DispatchResult;

typedef struct DispatchRequest {
    uint64_t guild_id; /* not 0 */
    const KhronosEvent *event;
    EventText target;            /* name of the one template to run; absent: all that match */
    const KhronosCaller *caller; /* NULL: nothing special */
    bool keep_logs;
    bool again; /* runs even if the event id was seen: the same occasion, told once more */
    /* 0: complete as soon as the guild has taken it. Outcome DISPATCH_DONE if it happens to be done
     * by then. */
    uint64_t wait_ms;
    void (*complete)(void *userdata, const DispatchResult *result);
    void *userdata;
} DispatchRequest;

/* Duplicates are those of an event id that the caller gave, for the same guild and target, while
 * the first runs or is kept. Requests that were refused, lost or matched nothing are not remembered
 * for that. */
void dispatcher_dispatch(Dispatcher *d, const DispatchRequest *request);

/* The record of that execution, retained for the caller, and which of its executions it is; NULL:
 * unknown, or too long ago. */
DispatchRecord *dispatcher_find(Dispatcher *d, const char *id, size_t length, int *index);
/* How it stands: DISPATCH_ACCEPTED is running. The result lives as long as the record. */
void dispatch_record_result(DispatchRecord *record, DispatchResult *result);
DispatchRecord *dispatch_record_retain(DispatchRecord *record);
void dispatch_record_release(DispatchRecord *record); /* NULL is fine */

/* Is the result (in x->out from `start` on) of the form that its event asks for (settings.h)? If
 * not, it is no result: the execution ends as KHRONOS_INVALID_RESULT. The dispatcher does that with
 * all that comes back to it; this is for who gave the worker an action himself. */
void dispatch_judge(KhronosExecution *x, size_t start);

/* For who gave the worker an action with one execution himself, and whose caller did not wait for
 * its end: takes the results of the action, which came back, and keeps them as if they had been
 * dispatched here. What else the action has stays its owner's. The execution's id is one of
 * random_id. When there is no room the results are forgotten. */
void dispatcher_adopt(Dispatcher *d, LuaVmAction *action);

/* Ends one execution as KHRONOS_CANCELLED. The completion gets DISPATCH_ACCEPTED: it ends now;
 * DISPATCH_DONE: it had finished; DISPATCH_NOT_FOUND: unknown, or not to be stopped; or why the
 * worker could not be asked. */
void dispatcher_cancel(Dispatcher *d, const char *id, size_t length,
                       void (*complete)(void *userdata, DispatchOutcome outcome), void *userdata);

#define DISPATCH_NEVER UINT64_MAX
/* Ends the waits whose time has come, forgets what was kept long enough. Returns when there is
 * something to do again, DISPATCH_NEVER if nothing is pending. */
uint64_t dispatcher_poll(Dispatcher *d);

typedef struct DispatcherStats {
    uint64_t dispatched; /* requests taken, duplicates not counted */
    uint64_t executions; /* that came back finished */
    uint64_t duplicates;
    uint64_t timeouts; /* callers that stopped waiting */
    uint64_t refused;  /* whatever the reason, lost ones included */
    uint64_t evicted;  /* records forgotten early, for want of room */
    size_t records;    /* running and kept, now */
    size_t bytes;
    size_t waits;
} DispatcherStats;
void dispatcher_stats(Dispatcher *d, DispatcherStats *stats);

#endif
