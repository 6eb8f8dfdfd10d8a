#include "worker/dispatch_record.h"

#include <stdlib.h>
#include <string.h>

#include "worker/dispatch_copy.h"
#include "worker/settings.h"

/* ---- The run ----------------------------------------------------------------------------------
 */

static size_t run_room(const DispatchRequest *request, int count)
{
    size_t each = sizeof(Strbuf) + (request->target.data ? 0 : sizeof(KhronosExecution));
    size_t pointers = (size_t)dispatch_caller_pointers(request->caller) * sizeof(char *);
    return sizeof(DispatchRun) + (size_t)count * each + pointers +
           dispatch_caller_room(request->caller) + dispatch_event_room(request->event);
}

static void fill_executions(DispatchRun *run, const DispatchRequest *request,
                            KhronosTemplate **templates, int count)
{
    KhronosExecution *executions = run->action.executions ? run->action.executions
                                                          : &run->action.execution;
    for (int i = 0; i < count; i++) {
        run->outs[i] = STRBUF_INIT;
        executions[i] = (KhronosExecution){
            .template_version = templates[i],
            .event = &run->event,
            .caller = request->caller ? &run->caller : NULL,
            .id = run->record->executions[i].id,
            .out = &run->outs[i],
            .keep_logs = request->keep_logs,
        };
    }
}

/* Structs first, then the pointers, then the texts: each is aligned where it comes to lie. */
static DispatchRun *run_new(Dispatcher *d, DispatchRecord *record, const DispatchRequest *request,
                            KhronosTemplate **templates, int count)
{
    size_t bytes = run_room(request, count);
    DispatchRun *run = malloc(bytes);
    if (!run)
        return NULL;
    bool one = request->target.data != NULL;
    KhronosExecution *executions = (KhronosExecution *)(run + 1);
    Strbuf *outs = (Strbuf *)(executions + (one ? 0 : count));
    const char **list = (const char **)(outs + count);
    char *at = (char *)(list + dispatch_caller_pointers(request->caller));
    *run = (DispatchRun){
        .action = {.type = one ? VM_ACTION_EXECUTE : VM_ACTION_DISPATCH_EVENT,
                   .handle = {request->guild_id, 0},
                   .userdata = run,
                   .executions = one ? NULL : executions,
                   .execution_count = one ? 0 : count},
        .dispatcher = d,
        .record = record,
        .outs = outs,
        .bytes = bytes,
    };
    run->event = dispatch_copy_event(&at, request->event);
    run->event.id = record->event_id;
    if (request->caller)
        run->caller = dispatch_copy_caller(&at, request->caller, list);
    fill_executions(run, request, templates, count);
    return run;
}

void dispatch_run_free(DispatchRun *run)
{
    int count;
    KhronosExecution *executions = action_executions(&run->action, &count);
    for (int i = 0; i < count; i++) {
        KhronosExecution *x = &executions[i];
        template_release(x->template_version);
        strbuf_free(x->out);
        strbuf_free(&x->message);
        strbuf_free(&x->traceback);
        strbuf_free(&x->logs);
    }
    free(run);
}

/* ---- The record -------------------------------------------------------------------------------
 */

static size_t record_room(const DispatchRequest *request, KhronosTemplate **templates, int count)
{
    size_t id = request->event->id.length ? request->event->id.length + 1 : RANDOM_ID_SIZE;
    size_t room = sizeof(DispatchRecord) + (size_t)count * sizeof(DispatchExecution) + id +
                  dispatch_text_room(request->target);
    for (int i = 0; i < count; i++)
        room += strlen(template_name(templates[i])) + 1;
    return room;
}

static DispatchWaiter first_waiter(DispatchRecord *record, const DispatchRequest *request)
{
    return (DispatchWaiter){
        .record = record,
        .complete = request->complete,
        .userdata = request->userdata,
        .accept_only = request->wait_ms == 0,
    };
}

DispatchRecord *dispatch_record_new(Dispatcher *d, const DispatchRequest *request,
                                    KhronosTemplate **templates, int count)
{
    static const char unset[RANDOM_ID_SIZE] = "";
    size_t bytes = record_room(request, templates, count);
    DispatchRecord *record = malloc(bytes);
    if (!record)
        return NULL;
    *record = (DispatchRecord){
        .guild_id = request->guild_id, .keyed = request->event->id.length != 0, .count = count};
    atomic_init(&record->references, 1);
    atomic_init(&record->outcome, DISPATCH_ACCEPTED);
    char *at = (char *)(record->executions + count);
    EventText id = request->event->id;
    record->event_id = id.length ? dispatch_copy_text(&at, id)
                                 : dispatch_copy_bytes(&at, unset, RANDOM_ID_SIZE - 1);
    record->target = dispatch_copy_text(&at, request->target);
    for (int i = 0; i < count; i++)
        record->executions[i] = (DispatchExecution){
            .template_name = dispatch_copy_string(&at, template_name(templates[i])),
            .version = template_version(templates[i]),
            .path = "",
            .record = record,
        };
    record->first = first_waiter(record, request);
    record->run = run_new(d, record, request, templates, count);
    if (!record->run) {
        free(record);
        return NULL;
    }
    record->bytes = bytes + record->run->bytes;
    return record;
}

void dispatch_record_setids(DispatchRecord *record, RandomPool *random, char first_digit)
{
    if (!record->keyed)
        random_poolid(random, (char *)(uintptr_t)record->event_id.data);
    for (int i = 0; i < record->count; i++) {
        random_poolid(random, record->executions[i].id);
        record->executions[i].id[0] = first_digit;
    }
}

/* The bytes go from the buffer to the record. */
static EventText take(Strbuf *buffer, size_t *bytes)
{
    EventText text;
    *bytes += buffer->capacity;
    text.data = strbuf_take(buffer, &text.length);
    return text;
}

void dispatch_judge(KhronosExecution *x, size_t start)
{
    char complaint[256];
    Strbuf *out = x->out;
    if (x->status != KHRONOS_OK || !settings_event(x->event) || out->failed ||
        settings_check(x->event, out->data + start, out->length - start, complaint,
                       sizeof(complaint)))
        return;
    out->length = start;
    x->status = KHRONOS_INVALID_RESULT;
    strbuf_clear(&x->message);
    strbuf_puts(&x->message, complaint);
}

static size_t harvest(DispatchExecution *kept, KhronosExecution *x)
{
    size_t bytes = 0;
    dispatch_judge(x, 0);
    kept->status = x->status;
    if (x->status == KHRONOS_OK)
        kept->result = take(x->out, &bytes);
    /* The path lies behind the message: one buffer less, and most have neither. */
    size_t message = x->message.length;
    if (x->path[0] != '\0') {
        strbuf_putc(&x->message, '\0');
        strbuf_put(&x->message, x->path, strlen(x->path) + 1);
    }
    bool whole = x->message.length == message + strlen(x->path) + 2;
    kept->message = take(&x->message, &bytes);
    kept->message.length = message;
    kept->path = whole ? kept->message.data + message + 1 : "";
    kept->traceback = take(&x->traceback, &bytes);
    kept->logs = take(&x->logs, &bytes);
    kept->line = x->line;
    kept->column = x->column;
    kept->duration_ns = x->duration_ns;
    kept->cpu_ns = x->cpu_ns;
    kept->memory_bytes = x->memory_bytes;
    return bytes;
}

size_t dispatch_record_harvest(DispatchRecord *record, LuaVmAction *action)
{
    int count;
    size_t bytes = 0;
    KhronosExecution *executions = action_executions(action, &count);
    for (int i = 0; i < count; i++)
        bytes += harvest(&record->executions[i], &executions[i]);
    return bytes;
}

DispatchRecord *dispatch_record_adopt(LuaVmAction *action, DispatchOutcome outcome)
{
    KhronosExecution *x = &action->execution;
    const char *name = template_name(x->template_version);
    EventText id = x->event->id.length ? x->event->id : (EventText){x->id, strlen(x->id)};
    size_t bytes = sizeof(DispatchRecord) + sizeof(DispatchExecution) + dispatch_text_room(id) +
                   strlen(name) + 1;
    DispatchRecord *record = malloc(bytes);
    if (!record)
        return NULL;
    *record = (DispatchRecord){
        .guild_id = action->handle.guild_id,
        .retry_after_ms = action->retry_after_ms,
        .accepted = true,
        .count = 1,
    };
    atomic_init(&record->references, 1);
    atomic_init(&record->outcome, (int)outcome);
    char *at = (char *)(record->executions + 1);
    record->event_id = dispatch_copy_text(&at, id);
    record->executions[0] = (DispatchExecution){
        .template_name = dispatch_copy_string(&at, name),
        .version = template_version(x->template_version),
        .path = "",
        .record = record,
    };
    memcpy(record->executions[0].id, x->id, RANDOM_ID_SIZE);
    record->bytes = bytes;
    if (outcome == DISPATCH_DONE)
        record->bytes += dispatch_record_harvest(record, action);
    return record;
}

DispatchRecord *dispatch_record_retain(DispatchRecord *record)
{
    /* Relaxed: whoever gives a reference away has one. */
    if (record)
        atomic_fetch_add_explicit(&record->references, 1, memory_order_relaxed);
    return record;
}

void dispatch_record_release(DispatchRecord *record)
{
    /* Release and acquire: all uses come before the end. */
    if (!record || atomic_fetch_sub_explicit(&record->references, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < record->count; i++) {
        DispatchExecution *x = &record->executions[i];
        free((void *)(uintptr_t)x->result.data);
        free((void *)(uintptr_t)x->message.data);
        free((void *)(uintptr_t)x->traceback.data);
        free((void *)(uintptr_t)x->logs.data);
    }
    free(record);
}

void dispatch_record_result(DispatchRecord *record, DispatchResult *result)
{
    /* Acquire: the executions are filled if it is done. */
    int outcome = atomic_load_explicit(&record->outcome, memory_order_acquire);
    *result = (DispatchResult){
        .outcome = (DispatchOutcome)outcome,
        .retry_after_ms = outcome == DISPATCH_ACCEPTED ? 0 : record->retry_after_ms,
        .guild_id = record->guild_id,
        .event_id = record->event_id,
        .executions = record->executions,
        .count = record->count,
        .record = record,
    };
}
