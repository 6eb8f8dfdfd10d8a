#include <stdlib.h>

#include "base/base.h"
#include "worker/dispatch_state.h"

DispatchOutcome dispatch_outcome_of(const LuaVmAction *action)
{
    switch (action->outcome) {
    case VM_ACTION_DONE: return DISPATCH_DONE;
    case VM_ACTION_QUEUE_FULL: return DISPATCH_QUEUE_FULL;
    case VM_ACTION_PAUSED: return DISPATCH_PAUSED;
    case VM_ACTION_SHUTTING_DOWN: return DISPATCH_SHUTTING_DOWN;
    case VM_ACTION_VM_BROKEN: return DISPATCH_VM_BROKEN;
    case VM_ACTION_NOT_FOUND: return DISPATCH_NOT_FOUND;
    case VM_ACTION_NO_MEMORY: return DISPATCH_NO_MEMORY;
    }
    BASE_UNREACHABLE();
}

typedef struct Cancel {
    LuaVmAction action;
    Dispatcher *dispatcher;
    DispatchRecord *record; /* retained */
    void (*complete)(void *userdata, DispatchOutcome outcome);
    void *userdata;
} Cancel;

static bool is_running(DispatchRecord *record)
{
    /* Relaxed: nothing else is read. */
    return atomic_load_explicit(&record->outcome, memory_order_relaxed) == DISPATCH_ACCEPTED;
}

static void on_cancel(LuaVmAction *action)
{
    Cancel *cancel = action->userdata;
    Dispatcher *d = cancel->dispatcher;
    DispatchOutcome outcome = dispatch_outcome_of(action);
    if (outcome == DISPATCH_DONE)
        outcome = DISPATCH_ACCEPTED;
    else if (outcome == DISPATCH_NOT_FOUND && !is_running(cancel->record))
        outcome = DISPATCH_DONE;
    cancel->complete(cancel->userdata, outcome);
    dispatch_record_release(cancel->record);
    free(cancel);
    /* Release: see the struct. */
    atomic_fetch_sub_explicit(&d->pending, 1, memory_order_release);
}

void dispatcher_cancel(Dispatcher *d, const char *id, size_t length,
                       void (*complete)(void *userdata, DispatchOutcome outcome), void *userdata)
{
    int index;
    DispatchRecord *record = dispatcher_find(d, id, length, &index);
    DispatchOutcome outcome = DISPATCH_NOT_FOUND;
    if (record && !is_running(record))
        outcome = DISPATCH_DONE;
    Cancel *cancel = record && outcome != DISPATCH_DONE ? malloc(sizeof(*cancel)) : NULL;
    if (!cancel) {
        if (record && outcome != DISPATCH_DONE)
            outcome = DISPATCH_NO_MEMORY;
        dispatch_record_release(record);
        complete(userdata, outcome);
        return;
    }
    *cancel = (Cancel){
        .action = {.type = VM_ACTION_CANCEL,
                   .handle = {record->guild_id, 0},
                   .complete = on_cancel,
                   .userdata = cancel,
                   .execution_id = record->executions[index].id},
        .dispatcher = d,
        .record = record,
        .complete = complete,
        .userdata = userdata,
    };
    atomic_fetch_add_explicit(&d->pending, 1, memory_order_relaxed);
    d->options.submit(d->options.submit_userdata, &cancel->action);
}
