/* dispatch_record.h: what the dispatcher remembers of one dispatch: its executions with their
 * results (the record), and while it is under way, what the worker reads (the run).
 *
 * Two blocks, each with all its texts: the run, with the event, goes as soon as the action is back,
 * so that a kept record is small. */
#ifndef WORKER_DISPATCH_RECORD_H
#define WORKER_DISPATCH_RECORD_H

#include <stdatomic.h>

#include "worker/dispatch_heap.h"
#include "worker/dispatcher.h"

/* A caller waiting for a record's answer. Holds a reference to the record. */
typedef struct DispatchWaiter {
    DispatchTimer timer; /* first; in no heap when accept_only */
    DispatchRecord *record;
    void (*complete)(void *userdata, const DispatchResult *result);
    void *userdata;
    bool duplicate;
    bool accept_only;        /* waits only until the worker has taken the action */
    DispatchOutcome outcome; /* from when it is in its record's list no more */
    struct DispatchWaiter *next, *previous;
} DispatchWaiter;

typedef struct DispatchRun {
    LuaVmAction action; /* userdata: the run */
    Dispatcher *dispatcher;
    DispatchRecord *record;
    KhronosEvent event;
    KhronosCaller caller;
    Strbuf *outs; /* one for each execution */
    size_t bytes; /* of this block */
} DispatchRun;

/* Who may touch what: "fixed" does not change once the record is in its shard; the rest is under
 * the shard's lock, but for the atomics. */
struct DispatchRecord {
    atomic_int references;
    atomic_int outcome; /* DISPATCH_ACCEPTED: running. Release: the executions are filled */
    uint64_t guild_id;  /* fixed, as are the next three */
    EventText event_id;
    EventText target;
    uint64_t key_hash;
    uint64_t retry_after_ms; /* written before the outcome */
    uint64_t finished_ns;
    size_t bytes;     /* charged: this block, run and results */
    int shard;        /* fixed */
    bool keyed;       /* its caller gave the event id, and it is found by it */
    bool accepted;    /* the worker has taken the action */
    DispatchRun *run; /* until the action is back */
    DispatchWaiter *waiters;
    DispatchWaiter first; /* who dispatched it */
    DispatchRecord *next; /* of those that are kept, by when they finished */
    int count;
    DispatchExecution executions[]; /* ids are fixed; see dispatcher.h */
};

/* With one reference; takes over the templates' references. The executions have no ids yet, nor has
 * an event without one its id. NULL: no memory, the templates are still the caller's. */
DispatchRecord *dispatch_record_new(Dispatcher *d, const DispatchRequest *request,
                                    KhronosTemplate **templates, int count);
/* Gives the executions, and an event without one, ids. */
void dispatch_record_setids(DispatchRecord *record, RandomPool *random, char first_digit);
/* The action came back as done: moves its results to the record, returns their bytes. */
size_t dispatch_record_harvest(DispatchRecord *record, LuaVmAction *action);
/* A finished one, for an action that came back to somebody else (dispatcher_adopt), with what that
 * one has, and one reference. NULL: no memory, nothing was taken. */
DispatchRecord *dispatch_record_adopt(LuaVmAction *action, DispatchOutcome outcome);
void dispatch_run_free(DispatchRun *run);

#endif
