#include "cli/test_runs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/jsonobject.h"
#include "base/random.h"

enum { WAIT_MS = 1 << 30 /* for results: tests wait as long as it takes */ };

struct TestRun {
    KhronosExecution *x;
    TestRun *next;
    uint64_t deadline_ns;
    bool own, timed_out;
    /* Of test_runs_prepare. Texts are in the call's buffers. */
    TestingCall *call; /* NULL: the dispatcher's */
    KhronosExecution execution;
    KhronosTemplate *template_version;
    KhronosEvent event;
    KhronosCaller caller;
    const char *capabilities[TEMPLATE_CAPABILITIES_MAX];
    Strbuf out;
    char id[RANDOM_ID_SIZE];
};

/* ---- Results ----------------------------------------------------------------------------------
 */

/* What executions and the dispatcher's have in common. */
typedef struct Result {
    const char *template_name;
    KhronosStatus status;
    Text json, message, traceback, logs;
    const char *path;
    int line;
} Result;

static const char *status_name(KhronosStatus status)
{
    switch (status) {
    case KHRONOS_OK: return "ok";
    case KHRONOS_COMPILE_ERROR: return "compile_error";
    case KHRONOS_RUNTIME_ERROR: return "runtime_error";
    case KHRONOS_INVALID_RESULT: return "invalid_result";
    case KHRONOS_CANCELLED: return "cancelled";
    case KHRONOS_MEMORY_LIMIT: return "memory_limit";
    case KHRONOS_TIMEOUT: return "timeout";
    case KHRONOS_BROKEN: return "broken";
    default: return "internal";
    }
}

static Text text_of(const Strbuf *buffer)
{
    return (Text){buffer->data, buffer->length};
}

static void put_member(Strbuf *out, const char *name, Text text)
{
    strbuf_printf(out, ",\"%s\":", name);
    json_put_lossy(out, text.data, text.length);
}

static void put_error(Strbuf *out, const Result *result)
{
    strbuf_printf(out, ",\"error\":{\"kind\":\"%s\"", status_name(result->status));
    put_member(out, "message", result->message);
    if (result->path[0] != '\0') {
        put_member(out, "path", (Text){result->path, strlen(result->path)});
        strbuf_printf(out, ",\"line\":%d", result->line);
    }
    if (result->traceback.length > 0)
        put_member(out, "traceback", result->traceback);
    strbuf_putc(out, '}');
}

/* {template, ok, result | error, logs}; event: before all that, NULL: none. */
static void put_result(Strbuf *out, const Result *result, const KhronosEvent *event)
{
    strbuf_puts(out, "{\"template\":");
    json_put_lossy(out, result->template_name, strlen(result->template_name));
    if (event) {
        strbuf_puts(out, ",\"event\":{\"name\":");
        json_put_lossy(out, event->name.data, event->name.length);
        if (event->data.data) {
            strbuf_puts(out, ",\"data\":");
            strbuf_put(out, event->data.data, event->data.length);
        }
        strbuf_putc(out, '}');
    }
    bool ok = result->status == KHRONOS_OK;
    strbuf_printf(out, ",\"ok\":%s", ok ? "true" : "false");
    if (ok) {
        strbuf_puts(out, ",\"result\":");
        strbuf_put(out, result->json.data, result->json.length);
    } else {
        put_error(out, result);
    }
    strbuf_puts(out, ",\"logs\":[");
    strbuf_put(out, result->logs.data, result->logs.length);
    strbuf_puts(out, "]}");
}

static Result result_of(const KhronosExecution *x)
{
    return (Result){.template_name = template_name(x->template_version),
                    .status = x->status,
                    .json = text_of(x->out),
                    .message = text_of(&x->message),
                    .traceback = text_of(&x->traceback),
                    .logs = text_of(&x->logs),
                    .path = x->path,
                    .line = x->line};
}

static void answer(TestRuns *runs, TestingCall *call)
{
    if (call->answer.failed)
        snprintf(call->error, sizeof(call->error), "not enough memory");
    runs->answer(runs->userdata, call);
}

/* ---- What a test asks for ---------------------------------------------------------------------
 */

/* The event in call->event, whose texts stay there. */
static bool read_event(TestingCall *call, KhronosEvent *event)
{
    char error[256];
    JsonReader reader;
    json_open(&reader, call->event.data, call->event.length);
    if (event_read(&reader, "event", event, error, sizeof(error)))
        return true;
    snprintf(call->error, sizeof(call->error), "%s", error);
    return false;
}

/* A text of a JSON string ends with a NUL in the place of its quote, once all was read. */
static const char *end_text(Text text)
{
    ((char *)(uintptr_t)text.data)[text.length] = '\0';
    return text.data;
}

static bool read_capabilities(JsonObject *o, Text *list, int *count)
{
    JsonReader reader;
    Text raw;
    if (!jsonobj_raw(o, &raw.data, &raw.length))
        return false;
    json_open(&reader, raw.data, raw.length);
    if (json_peek(&reader) != JSON_ARRAY)
        /* an empty Luau table is an object */
        return (raw.length == 2 && raw.data[0] == '{') || jsonobj_fail(o, "expected a list");
    json_enter(&reader);
    while (json_element(&reader)) {
        JsonString string;
        if (*count == TEMPLATE_CAPABILITIES_MAX || !json_string(&reader, &string))
            return jsonobj_fail(o, "expected at most 256 strings");
        size_t length = json_unescape(&string, (char *)(uintptr_t)string.data);
        list[(*count)++] = (Text){string.data, length};
    }
    return true;
}

static bool read_options(TestRun *run, TestingCall *call)
{
    static const char *const names[] = {"capabilities", "current_user", "owner_guild_id"};
    Text list[TEMPLATE_CAPABILITIES_MAX], user = {0};
    JsonString string;
    JsonReader reader;
    char error[256] = "";
    int count = 0;
    json_open(&reader, call->options.data, call->options.length);
    JsonObject o = {.reader = &reader,
                    .pointer = "options",
                    .names = names,
                    .count = BASE_ARRAY_COUNT(names),
                    .error = error,
                    .error_size = sizeof(error)};
    for (int field; (field = jsonobj_next(&o)) >= 0;) {
        if (field == 0) {
            if (read_capabilities(&o, list, &count))
                run->caller.capabilities = run->capabilities;
        } else if (jsonobj_string(&o, &string)) {
            char *end, digits[24];
            snprintf(digits, sizeof(digits), "%.*s", (int)string.length, string.data);
            errno = 0;
            if (field == 1)
                user = (Text){string.data, string.length};
            else
                run->caller.owner_guild_id = strtoull(digits, &end, 10);
            if (field == 2 && (run->caller.owner_guild_id == 0 || *end != '\0' || errno != 0))
                jsonobj_fail(&o, "expected an id: digits in a string");
        }
    }
    for (int i = 0; i < count; i++)
        run->capabilities[i] = end_text(list[i]);
    run->caller.capability_count = count;
    run->caller.current_user = user.data ? end_text(user) : NULL;
    snprintf(call->error, sizeof(call->error), "%s", error);
    return error[0] == '\0';
}

static uint64_t deadline_ns(const TestRuns *runs, uint64_t now_ns)
{
    return now_ns + runs->wall_max_ns;
}

static void run_free(TestRun *run)
{
    template_release(run->template_version);
    execution_free(&run->execution);
    strbuf_free(&run->out);
    free(run);
}

static bool prepare(TestRun *run, TestingCall *call, TemplateCache *templates, const char *folder)
{
    if (!read_event(call, &run->event) || (call->options.length > 0 && !read_options(run, call)))
        return false;
    run->template_version = templates_get(templates, call->name.data, call->name.length);
    if (!run->template_version)
        snprintf(call->error, sizeof(call->error), "there is no template '%.*s' in %s",
                 (int)(call->name.length < 64 ? call->name.length : 64), call->name.data, folder);
    return run->template_version != NULL;
}

KhronosExecution *test_runs_prepare(TestRuns *runs, TestingCall *call, TemplateCache *templates,
                                    const char *folder, uint64_t now_ns)
{
    TestRun *run = calloc(1, sizeof(*run));
    if (!run) {
        snprintf(call->error, sizeof(call->error), "not enough memory");
        return NULL;
    }
    if (!prepare(run, call, templates, folder)) {
        run_free(run);
        return NULL;
    }
    random_id(run->id);
    run->execution = (KhronosExecution){.template_version = run->template_version,
                                        .event = &run->event,
                                        .caller = &run->caller,
                                        .id = run->id,
                                        .out = &run->out,
                                        .keep_logs = true};
    run->x = &run->execution;
    run->own = true;
    run->call = call;
    run->deadline_ns = deadline_ns(runs, now_ns);
    run->next = runs->first;
    runs->first = run;
    return run->x;
}

/* ---- Events -----------------------------------------------------------------------------------
 */

static void on_dispatched(void *userdata, const DispatchResult *dispatched)
{
    TestingCall *call = userdata;
    TestRuns *runs = call->call.owner;
    strbuf_putc(&call->answer, '[');
    for (int i = 0; i < dispatched->count && dispatched->outcome == DISPATCH_DONE; i++) {
        const DispatchExecution *x = &dispatched->executions[i];
        Result result = {x->template_name, x->status, x->result, x->message,
                         x->traceback,     x->logs,   x->path,   x->line};
        if (i > 0)
            strbuf_putc(&call->answer, ',');
        put_result(&call->answer, &result, NULL);
    }
    strbuf_putc(&call->answer, ']');
    if (dispatched->outcome != DISPATCH_DONE)
        snprintf(call->error, sizeof(call->error), "the event was not taken (outcome %d)",
                 dispatched->outcome);
    answer(runs, call);
}

void test_runs_dispatch(TestRuns *runs, TestingCall *call, Dispatcher *dispatcher,
                        uint64_t guild_id)
{
    KhronosEvent event;
    if (!read_event(call, &event)) {
        answer(runs, call);
        return;
    }
    call->call.owner = runs;
    DispatchRequest request = {.guild_id = guild_id,
                               .event = &event,
                               .keep_logs = true,
                               .wait_ms = WAIT_MS,
                               .complete = on_dispatched,
                               .userdata = call};
    runs->dispatching = true;
    dispatcher_dispatch(dispatcher, &request);
    runs->dispatching = false;
}

void test_runs_watch(TestRuns *runs, KhronosExecution *x, bool own, uint64_t now_ns)
{
    TestRun *run = calloc(1, sizeof(*run));
    if (!run)
        return; /* nobody watches its time, and nobody is told of it */
    *run = (TestRun){
        .x = x, .own = own, .deadline_ns = deadline_ns(runs, now_ns), .next = runs->first};
    runs->first = run;
}

/* ---- Ends -------------------------------------------------------------------------------------
 */

static void name_timeout(const TestRuns *runs, KhronosExecution *x)
{
    x->status = KHRONOS_TIMEOUT;
    strbuf_clear(&x->message);
    strbuf_printf(&x->message, "time limit of %.3g s exceeded", (double)runs->wall_max_ns / 1e9);
}

static void tell(TestRuns *runs, const KhronosExecution *x)
{
    Result result = result_of(x);
    if (runs->told.length > 0)
        strbuf_putc(&runs->told, ',');
    put_result(&runs->told, &result, x->event);
}

bool test_runs_finish(TestRuns *runs, KhronosExecution *x)
{
    TestRun **link = &runs->first;
    while (*link && (*link)->x != x)
        link = &(*link)->next;
    TestRun *run = *link;
    if (!run)
        return false;
    *link = run->next;
    if (run->timed_out && x->status == KHRONOS_CANCELLED)
        name_timeout(runs, x);
    bool called = run->call != NULL;
    if (called) {
        dispatch_judge(x, 0);
        Result result = result_of(x);
        put_result(&run->call->answer, &result, NULL);
        answer(runs, run->call);
    } else if (!run->own) {
        tell(runs, x);
    }
    run_free(run);
    return called;
}

/* ---- Time -------------------------------------------------------------------------------------
 */

void test_runs_advance(TestRuns *runs, TestingCall *call, uint64_t now_ns)
{
    call->until_ns = now_ns + (uint64_t)(call->seconds * 1e9);
    call->call.next = runs->advances;
    runs->advances = &call->call;
}

static void end_advance(TestRuns *runs, KhronosCall **link)
{
    TestingCall *call = (TestingCall *)*link;
    *link = call->call.next;
    call->call.next = NULL;
    strbuf_putc(&call->answer, '[');
    strbuf_put(&call->answer, runs->told.data, runs->told.length);
    strbuf_putc(&call->answer, ']');
    call->answer.failed |= runs->told.failed;
    strbuf_clear(&runs->told);
    answer(runs, call);
}

bool test_runs_end_advances(TestRuns *runs, uint64_t now_ns)
{
    bool any = false;
    for (KhronosCall **link = &runs->advances; *link;) {
        if (((TestingCall *)*link)->until_ns > now_ns) {
            link = &(*link)->next;
            continue;
        }
        end_advance(runs, link);
        any = true;
    }
    return any;
}

void test_runs_drop_advances(TestRuns *runs)
{
    while (runs->advances)
        end_advance(runs, &runs->advances);
}

uint64_t test_runs_due_ns(const TestRuns *runs)
{
    uint64_t due_ns = UINT64_MAX;
    for (const TestRun *run = runs->first; run; run = run->next)
        if (!run->timed_out && run->deadline_ns < due_ns)
            due_ns = run->deadline_ns;
    for (const KhronosCall *call = runs->advances; call; call = call->next)
        if (((const TestingCall *)call)->until_ns < due_ns)
            due_ns = ((const TestingCall *)call)->until_ns;
    return due_ns;
}

const char *test_runs_overdue(TestRuns *runs, uint64_t now_ns)
{
    for (TestRun *run = runs->first; run; run = run->next) {
        if (run->timed_out || run->deadline_ns > now_ns)
            continue;
        run->timed_out = true;
        return run->x->id;
    }
    return NULL;
}

void test_runs_free(TestRuns *runs)
{
    BASE_ASSERT(!runs->first && !runs->advances);
    strbuf_free(&runs->told);
}
