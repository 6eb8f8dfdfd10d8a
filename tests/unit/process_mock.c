#include "process_mock.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/idmap.h"
#include "call_support.h"
#include "worker/process_pool.h"

/* An action that is there is not yet one that runs: tests must not rely on it. */
enum { HOLD_STARTS_US = 20000 };

typedef struct MockGuild {
    uint64_t id, generation;
    bool has_vm;
    int count, mail;
    KhronosLimits limits;
} MockGuild;

typedef struct Mock {
    Strategy base;
    const WorkerOptions *options;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    LuaVmAction *first, *last;
    LuaVmAction *current;
    bool started; /* current */
    bool cancelled, stopping;
    KhronosCall *answer; /* to the call that is under way */
    IdMap guilds;
    WorkerStats stats;
} Mock;

static MockGuild *guild_locked(Mock *mock, uint64_t id)
{
    MockGuild *guild = idmap_get(&mock->guilds, id);
    if (!guild) {
        guild = calloc(1, sizeof(*guild));
        guild->id = id;
        guild->limits = mock->options->limits;
        idmap_put(&mock->guilds, id, guild);
        mock->stats.guilds++;
    }
    return guild;
}

static void set_vm(Mock *mock, MockGuild *guild, bool has_vm)
{
    if (guild->has_vm == has_vm) /* written by this thread alone, read by others */
        return;
    pthread_mutex_lock(&mock->lock);
    guild->has_vm = has_vm;
    guild->generation += has_vm;
    if (!has_vm)
        guild->count = 0;
    mock->stats.created += has_vm;
    mock->stats.vms += (uint64_t)(has_vm ? 1 : -1);
    pthread_mutex_unlock(&mock->lock);
    const WorkerObserver *observer = &mock->options->observer;
    observer->state(observer->userdata, (VmHandle){guild->id, guild->generation},
                    has_vm ? VM_HEALTHY : VM_BROKEN, has_vm ? VM_NOT_BROKEN : VM_EXPLICIT_DESTROY);
}

/* ---- What no honest child says ----
 * The socket is written past the loop that owns it. */

static void send_forged(Strbuf *sb)
{
    ssize_t written = write(POOL_CHILD_SOCKET_FD, sb->data, sb->length);
    (void)written;
    strbuf_free(sb);
    for (;;)
        pause(); /* until it is killed for that */
}

/* Each but "" is one that no honest child makes. */
static void forge_call(Strbuf *sb, const char *how, uint64_t guild_id)
{
    FrameCall call = {.id = 1, .guild_id = guild_id, .kind = TEST_CALL_KIND, .bytes = {"never", 5}};
    if (strcmp(how, "-number") == 0)
        call.id = 2;
    if (strcmp(how, "-guild") == 0)
        call.guild_id += 1 << 22;
    if (strcmp(how, "-kind") == 0)
        call.kind = -1;
    if (strcmp(how, "-bytes") == 0)
        call.bytes = (EventText){"bad", 3};
    int count = strcmp(how, "-flood") == 0 ? POOL_CALLS_MAX + 1 : 1;
    for (int i = 0; i < count; i++, call.id++)
        frame_put_call(sb, &call);
}

static void forge(const char *what, uint64_t guild_id)
{
    Strbuf sb = STRBUF_INIT;
    LuaVmAction action = {.outcome = VM_ACTION_DONE};
    KhronosExecution x = {0};
    if (strcmp(what, "slot") == 0)
        frame_put_completed(&sb, POOL_SLOTS - 1, &action);
    else if (strcmp(what, "result") == 0)
        frame_put_result(&sb, 0, 1, &x, "", 0); /* there is no second execution */
    else if (strcmp(what, "unfinished") == 0)
        for (uint32_t slot = 0; slot < POOL_SLOTS; slot++) /* done, but without a result */
            frame_put_completed(&sb, slot, &action);
    else if (strcmp(what, "log") == 0)
        frame_put_log(&sb, &(FrameLog){guild_id + (1 << 22), "t", 0, {"not mine", 8}});
    else if (strcmp(what, "state") == 0)
        frame_put_state(&sb, &(FrameState){{guild_id + (1 << 22), 1}, VM_BROKEN, VM_NOT_BROKEN});
    else if (strncmp(what, "call", 4) == 0)
        forge_call(&sb, what + 4, guild_id);
    else if (strcmp(what, "answer") == 0)
        frame_put_answer(&sb, &(FrameCall){.id = 1, .bytes = {"yes", 3}});
    else if (strcmp(what, "pong") == 0)
        frame_put_number(&sb, FRAME_PONG, 0); /* nobody asked */
    else
        frame_put_plain(&sb, FRAME_STOP); /* what only a parent says */
    send_forged(&sb);
}

static void misbehave(const char *command, uint64_t guild_id)
{
    Strbuf sb = STRBUF_INIT;
    if (strcmp(command, "kill") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(command, "abort") == 0) {
        signal(SIGABRT, SIG_DFL);
        abort();
    }
    if (strcmp(command, "exit") == 0)
        _exit(3);
    if (strcmp(command, "garbage") == 0) {
        strbuf_puts(&sb, "this is no frame at all");
        send_forged(&sb);
    }
    if (strcmp(command, "close") == 0) {
        /* The end of what it says, though it lives on. */
        shutdown(POOL_CHILD_SOCKET_FD, SHUT_WR);
        for (;;)
            pause();
    }
    if (strncmp(command, "forge-", 6) == 0)
        forge(command + 6, guild_id);
}

/* ---- Commands ---------------------------------------------------------------------------------
 */

static void put_text(Strbuf *sb, EventText text)
{
    strbuf_put(sb, text.data ? text.data : "-", text.data ? text.length : 1);
}

static void dump(const LuaVmAction *action, KhronosExecution *x)
{
    Strbuf *sb = x->out;
    const KhronosEvent *event = x->event;
    const EventText texts[] = {event->base_name, event->name, event->author,
                               event->id,        event->data, event->scopes};
    strbuf_printf(sb,
                  "guild=%llu id=%s logs=%d event=", (unsigned long long)action->handle.guild_id,
                  x->id, x->keep_logs);
    for (int i = 0; i < 6; i++) {
        strbuf_puts(sb, i > 0 ? "," : "");
        put_text(sb, texts[i]);
    }
    strbuf_printf(sb, " caller=%llu,%s", (unsigned long long)x->caller->owner_guild_id,
                  x->caller->current_user);
    for (int i = 0; i < x->caller->capability_count; i++)
        strbuf_printf(sb, ",%s", x->caller->capabilities[i]);
    const KhronosTemplate *t = x->template_version;
    strbuf_printf(sb, " template=%s,%u", template_name(t), template_version(t));
    for (int i = 0; i < template_count(t); i++)
        strbuf_printf(sb, ",%s", template_shown(t, i));
}

static void fill_fields(KhronosExecution *x)
{
    x->status = KHRONOS_RUNTIME_ERROR;
    strbuf_puts(&x->message, "the message");
    strbuf_puts(&x->traceback, "the traceback");
    strbuf_puts(&x->logs, "\"a line\"");
    snprintf(x->path, sizeof(x->path), "some/path.luau");
    x->line = 12;
    x->column = 34;
    x->duration_ns = 56;
    x->cpu_ns = 78;
    x->memory_bytes = 90;
}

static void print_lines(Mock *mock, const LuaVmAction *action, KhronosExecution *x, long lines)
{
    const KhronosLog *log = &mock->options->log;
    char text[64];
    for (long i = 0; i < lines; i++) {
        int length = snprintf(text, sizeof(text), "line %ld", i);
        log->line(log->userdata, action->handle.guild_id, template_name(x->template_version), 1,
                  text, (size_t)length);
    }
    strbuf_printf(x->out, "%ld", lines);
}

static void hold(Mock *mock, KhronosExecution *x)
{
    pthread_mutex_lock(&mock->lock);
    while (!mock->cancelled && !mock->stopping)
        pthread_cond_wait(&mock->changed, &mock->lock);
    x->status = mock->cancelled ? KHRONOS_CANCELLED : KHRONOS_BROKEN;
    mock->cancelled = false;
    pthread_mutex_unlock(&mock->lock);
}

/* "call TEXT": makes that call and returns its answer. */
static void call(Mock *mock, const LuaVmAction *action, KhronosExecution *x, const char *text)
{
    KhronosCall *made = &test_call_new(text, strlen(text))->call;
    made->guild_id = action->handle.guild_id;
    made->ticket = 1;
    mock->options->calls.take(mock->options->calls.userdata, made);
    pthread_mutex_lock(&mock->lock);
    while (!mock->answer && !mock->stopping)
        pthread_cond_wait(&mock->changed, &mock->lock);
    KhronosCall *answer = mock->answer;
    mock->answer = NULL;
    pthread_mutex_unlock(&mock->lock);
    const TestCall *mine = (const TestCall *)answer;
    x->status = !answer ? KHRONOS_BROKEN : mine->refused ? KHRONOS_RUNTIME_ERROR : KHRONOS_OK;
    if (answer)
        strbuf_puts(mine->refused ? &x->message : x->out, mine->answer);
    if (answer)
        answer->kind->drop(answer);
}

static const char *command_of(const KhronosExecution *x)
{
    return template_meta(x->template_version)->description;
}

static void execute(Mock *mock, MockGuild *guild, LuaVmAction *action, KhronosExecution *x)
{
    const char *command = command_of(x);
    x->status = KHRONOS_OK;
    x->result_count = 1;
    misbehave(command, action->handle.guild_id);
    if (strcmp(command, "count") == 0) {
        strbuf_printf(x->out, "%d", ++guild->count);
    } else if (strcmp(command, "echo") == 0) {
        strbuf_put(x->out, x->event->data.data, x->event->data.length);
    } else if (strncmp(command, "big ", 4) == 0) {
        size_t size = strtoul(command + 4, NULL, 10);
        if (strbuf_reserve(x->out, size)) {
            memset(x->out->data, 'b', size);
            x->out->length = size;
        }
    } else if (strncmp(command, "log ", 4) == 0) {
        print_lines(mock, action, x, strtol(command + 4, NULL, 10));
    } else if (strncmp(command, "call ", 5) == 0) {
        call(mock, action, x, command + 5);
    } else if (strcmp(command, "dump") == 0) {
        dump(action, x);
    } else if (strcmp(command, "fields") == 0) {
        fill_fields(x);
    } else if (strcmp(command, "hold") == 0) {
        hold(mock, x);
    }
}

static void run(Mock *mock, MockGuild *guild, LuaVmAction *action)
{
    int count;
    KhronosExecution *x = action_executions(action, &count);
    if (strcmp(command_of(x), "unstarted-kill") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(command_of(x), "hold") == 0)
        usleep(HOLD_STARTS_US);
    set_vm(mock, guild, true);
    if (action->starting)
        action->starting(action);
    pthread_mutex_lock(&mock->lock);
    mock->started = true;
    pthread_mutex_unlock(&mock->lock);
    for (int i = 0; i < count; i++)
        execute(mock, guild, action, &x[i]);
}

static void perform(Mock *mock, MockGuild *guild, LuaVmAction *action)
{
    action->outcome = VM_ACTION_DONE;
    if (action->type == VM_ACTION_EXECUTE || action->type == VM_ACTION_DISPATCH_EVENT)
        run(mock, guild, action);
    else if (action->handle.generation != 0 && action->handle.generation != guild->generation)
        action->outcome = VM_ACTION_NOT_FOUND;
    else if (action->type == VM_ACTION_DESTROY)
        set_vm(mock, guild, false);
}

/* ---- The strategy -----------------------------------------------------------------------------
 */

static void *mock_main(void *arg)
{
    Mock *mock = arg;
    pthread_mutex_lock(&mock->lock);
    for (;;) {
        LuaVmAction *action = mock->first;
        if (!action && mock->stopping)
            break;
        if (!action) {
            pthread_cond_wait(&mock->changed, &mock->lock);
            continue;
        }
        mock->first = action->next;
        mock->current = action;
        MockGuild *guild = guild_locked(mock, action->handle.guild_id);
        bool stopping = mock->stopping;
        pthread_mutex_unlock(&mock->lock);
        if (stopping)
            action->outcome = VM_ACTION_SHUTTING_DOWN;
        else
            perform(mock, guild, action);
        pthread_mutex_lock(&mock->lock);
        guild->mail--;
        mock->current = NULL;
        mock->started = false;
        pthread_mutex_unlock(&mock->lock);
        action->complete(action);
        pthread_mutex_lock(&mock->lock);
    }
    pthread_mutex_unlock(&mock->lock);
    return NULL;
}

static bool cancel_locked(Mock *mock, const LuaVmAction *action)
{
    if (!mock->current || mock->current->handle.guild_id != action->handle.guild_id)
        return false;
    int count;
    KhronosExecution *x = action_executions(mock->current, &count);
    if (strcmp(x->id, action->execution_id) != 0 || strcmp(command_of(x), "hold") != 0)
        return false;
    mock->cancelled = true;
    pthread_cond_broadcast(&mock->changed);
    return true;
}

static bool runs_locked(const Mock *mock, const MockGuild *guild)
{
    return mock->started && mock->current->handle.guild_id == guild->id;
}

/* True: the action is done. */
static bool perform_at_once_locked(Mock *mock, LuaVmAction *action)
{
    MockGuild *guild = guild_locked(mock, action->handle.guild_id);
    action->outcome = VM_ACTION_DONE;
    switch (action->type) {
    case VM_ACTION_GET_STATE:
    case VM_ACTION_GET_MEMORY_USAGE:
        action->info = (VmInfo){.state = guild->has_vm ? VM_HEALTHY : VM_NONE,
                                .generation = guild->generation,
                                .mail = guild->mail,
                                .tasks = runs_locked(mock, guild) ? guild->mail : 0,
                                .limits = guild->limits};
        return true;
    case VM_ACTION_SET_LIMITS:
        guild->limits = action->limits ? *action->limits : mock->options->limits;
        return true;
    case VM_ACTION_CANCEL:
        if (!cancel_locked(mock, action))
            action->outcome = VM_ACTION_NOT_FOUND;
        return true;
    default: return false;
    }
}

static void mock_submit(Strategy *strategy, LuaVmAction *action)
{
    Mock *mock = (Mock *)strategy;
    pthread_mutex_lock(&mock->lock);
    bool done = perform_at_once_locked(mock, action);
    if (!done) {
        guild_locked(mock, action->handle.guild_id)->mail++;
        action->next = NULL;
        *(mock->first ? &mock->last->next : &mock->first) = action;
        mock->last = action;
        pthread_cond_broadcast(&mock->changed);
    }
    pthread_mutex_unlock(&mock->lock);
    if (done)
        action->complete(action);
}

static WorkerBegun mock_begin(WorkerSeat *seat, LuaVmAction *action)
{
    (void)seat;
    (void)action;
    return WORKER_NOT_NOW;
}

/* To a call that `call` made: its execution ends. */
static void mock_answer(Strategy *strategy, KhronosCall *call)
{
    Mock *mock = (Mock *)strategy;
    pthread_mutex_lock(&mock->lock);
    mock->answer = call;
    pthread_cond_broadcast(&mock->changed);
    pthread_mutex_unlock(&mock->lock);
}

static bool mock_drain(Strategy *strategy, uint64_t timeout_ns)
{
    (void)strategy;
    (void)timeout_ns;
    return false;
}

static void mock_stop(Strategy *strategy)
{
    Mock *mock = (Mock *)strategy;
    pthread_mutex_lock(&mock->lock);
    mock->stopping = true;
    pthread_cond_broadcast(&mock->changed);
    pthread_mutex_unlock(&mock->lock);
    pthread_join(mock->thread, NULL);
    if (mock->answer)
        mock->answer->kind->drop(mock->answer);
    size_t cursor = 0;
    for (MockGuild *guild; (guild = idmap_next(&mock->guilds, &cursor)) != NULL;)
        free(guild);
    idmap_free(&mock->guilds);
    pthread_cond_destroy(&mock->changed);
    pthread_mutex_destroy(&mock->lock);
    free(mock);
}

static void mock_stats(Strategy *strategy, WorkerStats *stats)
{
    Mock *mock = (Mock *)strategy;
    pthread_mutex_lock(&mock->lock);
    *stats = mock->stats;
    pthread_mutex_unlock(&mock->lock);
}

Strategy *process_mock_new(const WorkerOptions *options, char *error, size_t error_size)
{
    static const StrategyOps ops = {mock_submit, mock_begin, mock_answer,
                                    mock_drain,  mock_stop,  mock_stats};
    if (getenv(MOCK_REFUSE)) {
        snprintf(error, error_size, "it was told to fail");
        return NULL;
    }
    Mock *mock = calloc(1, sizeof(*mock));
    mock->base.ops = &ops;
    mock->options = options;
    idmap_init(&mock->guilds, 1);
    pthread_mutex_init(&mock->lock, NULL);
    pthread_cond_init(&mock->changed, NULL);
    pthread_create(&mock->thread, NULL, mock_main, mock);
    return &mock->base;
}
