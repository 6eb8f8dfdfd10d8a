/* A child of the process-pool.
 *
 * The main thread runs a libuv loop with the socket: it reads actions and submits them to the
 * strategy, whose threads write results and completions straight into `out`; the loop writes that
 * to the socket. Completions are never dropped: when the parent does not read, actions are no
 * longer taken, and past OUT_HARD_BYTES threads with completions wait. Lines of logs are dropped
 * instead, and counted.
 *
 * Calls of templates go to the parent under a number and are kept here until their answers come.
 *
 * There is nothing to save here: whatever must not happen ends the process, and the parent knows
 * what to make of it. */
#include "worker/process_child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"
#include "worker/process_pool.h"

enum {
    OUT_LOG_BYTES = 4 << 20,  /* unwritten: past it lines of logs are dropped */
    OUT_SOFT_BYTES = 8 << 20, /* past it no more actions are read */
    OUT_HARD_BYTES = 64 << 20,
    OUT_KEPT_BYTES = 1 << 20,              /* of a buffer that is empty */
    CALL_BYTES_MAX = FRAME_BYTES_MAX - 64, /* the rest of its frame is numbers */
    STATS_MS = 200                         /* at least, between two reports */
};

typedef enum ChildExit { EXIT_ORPHANED = 0, EXIT_PROTOCOL = 70, EXIT_RESOURCES = 71 } ChildExit;

typedef struct Child {
    uv_loop_t loop;
    uv_pipe_t pipe;
    uv_async_t wake; /* there is something to write */
    uv_timer_t stats_timer;
    uv_write_t write;
    bool write_busy, reading, stopped;
    FrameStream in;
    Strbuf head; /* being written, before `writing`: figures */
    Strbuf writing;
    IdMap templates; /* id -> KhronosTemplate, retained */
    KhronosSandbox *(*make_sandbox)(void);
    Strategy *(*make_strategy)(const WorkerOptions *, char *, size_t);
    FrameInit init;
    KhronosSandbox *sandbox;
    KhronosHost host;
    VmOps vm_ops;
    WorkerOptions options;
    Strategy *strategy; /* NULL before INIT */
    WorkerStats reported;
    atomic_uchar *started;
    size_t started_count;
    pthread_t loop_thread;
    pthread_mutex_t lock;
    pthread_cond_t room; /* out became shorter */
    /* -- under the lock -- */
    Strbuf out;
    CallTable calls;  /* of which the parent was told */
    bool woken;       /* the loop was told and has not looked yet */
    bool boundless;   /* stopping: the loop does not write, threads must not wait for it */
    bool changed;     /* there may be other figures to report */
    bool vms_changed; /* there are, and they must come before what `out` holds by now */
    uint64_t dropped_lines;
} Child;

/* An action under way. */
typedef struct ChildAction {
    FrameAction f;
    Child *child;
    Strbuf *results; /* one for each execution */
    char bytes[];    /* the frame, which f points into */
} ChildAction;

BASE_NORETURN static void give_up(ChildExit status, const char *why)
{
    log_message(LOG_ERROR, "worker process (pid %d) ends: %s", (int)getpid(), why);
    _exit(status);
}

static void on_written(uv_write_t *write, int status);

/* ---- Writing ----------------------------------------------------------------------------------
 */

static void wake_locked(Child *child)
{
    if (child->woken)
        return;
    child->woken = true;
    uv_async_send(&child->wake);
}

/* For completions, which must get through. */
static void lock_with_room(Child *child)
{
    pthread_mutex_lock(&child->lock);
    if (pthread_equal(pthread_self(), child->loop_thread))
        return;
    while (child->out.length > OUT_HARD_BYTES && !child->boundless)
        pthread_cond_wait(&child->room, &child->lock);
}

static void need(bool written)
{
    if (!written)
        give_up(EXIT_RESOURCES, "not enough memory for a message to the parent");
}

/* Who was told that an action is completed finds its VM in the figures: they come first. Unlocks
 * while it asks for them. */
static void put_figures_locked(Child *child)
{
    while (child->vms_changed) {
        child->vms_changed = false;
        if (!child->strategy)
            return;
        pthread_mutex_unlock(&child->lock);
        child->strategy->ops->stats(child->strategy, &child->reported);
        need(frame_put_stats(&child->head, &child->reported));
        pthread_mutex_lock(&child->lock);
    }
}

static void flush(Child *child)
{
    if (child->write_busy)
        return;
    pthread_mutex_lock(&child->lock);
    child->woken = false;
    put_figures_locked(child);
    if (child->dropped_lines > 0 && child->out.length < OUT_LOG_BYTES / 2) {
        need(frame_put_number(&child->out, FRAME_LOG_DROPPED, child->dropped_lines));
        child->dropped_lines = 0;
    }
    Strbuf full = child->out;
    child->out = child->writing;
    child->writing = full;
    pthread_cond_broadcast(&child->room);
    pthread_mutex_unlock(&child->lock);
    if (full.length + child->head.length == 0)
        return;
    uv_buf_t buffers[] = {{.base = child->head.data, .len = child->head.length},
                          {.base = full.data, .len = full.length}};
    bool headless = child->head.length == 0;
    child->write.data = child;
    child->write_busy = true;
    if (uv_write(&child->write, (uv_stream_t *)&child->pipe, buffers + headless,
                 1 + (!headless && full.length > 0), on_written) != 0)
        give_up(EXIT_RESOURCES, "the parent cannot be written to");
}

/* ---- Completions ------------------------------------------------------------------------------
 */

static void put_result(Child *child, const ChildAction *action, int i)
{
    static const char too_large[] = "the result does not fit into a message between processes "
                                    "(16 MiB with messages and logs)";
    const KhronosExecution *x = &action->f.action.executions[i];
    const Strbuf *out = &action->results[i];
    if (frame_put_result(&child->out, action->f.slot, action->f.runs[i].index, x, out->data,
                         out->length))
        return;
    KhronosExecution instead = {.status = KHRONOS_INTERNAL,
                                .duration_ns = x->duration_ns,
                                .cpu_ns = x->cpu_ns,
                                .memory_bytes = x->memory_bytes};
    strbuf_puts(&instead.message, too_large);
    need(frame_put_result(&child->out, action->f.slot, action->f.runs[i].index, &instead, "", 0));
    strbuf_free(&instead.message);
}

static void free_action(ChildAction *action)
{
    for (int i = 0; i < action->f.run_count; i++) {
        KhronosExecution *x = &action->f.action.executions[i];
        template_release(x->template_version);
        execution_free(x);
        strbuf_free(&action->results[i]);
    }
    free(action->results);
    frame_action_free(&action->f);
    free(action);
}

/* Any thread. */
static void on_starting(LuaVmAction *action)
{
    const ChildAction *mine = action->userdata;
    /* Release: whoever sees the mark may rely on nothing of the run being before it. */
    atomic_store_explicit(&mine->child->started[mine->f.slot], 1, memory_order_release);
}

/* Any thread. */
static void on_complete(LuaVmAction *action)
{
    ChildAction *mine = action->userdata;
    Child *child = mine->child;
    if (mine->f.slot != FRAME_NO_SLOT) {
        lock_with_room(child);
        if (action->outcome == VM_ACTION_DONE)
            for (int i = 0; i < mine->f.run_count; i++)
                put_result(child, mine, i);
        need(frame_put_completed(&child->out, mine->f.slot, action));
        child->changed = true;
        wake_locked(child);
        pthread_mutex_unlock(&child->lock);
    }
    free_action(mine);
}

/* ---- Logs, states, figures --------------------------------------------------------------------
 */

/* Any thread. */
static void on_log_line(void *userdata, uint64_t guild_id, const char *template_name, int level,
                        const char *text, size_t length)
{
    Child *child = userdata;
    FrameLog line = {guild_id, template_name, level, {text, length}};
    if (!child->init.wants_logs)
        return;
    pthread_mutex_lock(&child->lock);
    if (child->out.length > OUT_LOG_BYTES || !frame_put_log(&child->out, &line))
        child->dropped_lines++;
    wake_locked(child);
    pthread_mutex_unlock(&child->lock);
}

/* Any thread. */
static void on_state(void *userdata, VmHandle vm, VmState state, VmBrokenReason reason)
{
    Child *child = userdata;
    FrameState frame = {vm, state, reason};
    pthread_mutex_lock(&child->lock);
    if (child->init.wants_states)
        need(frame_put_state(&child->out, &frame));
    child->vms_changed = true;
    wake_locked(child);
    pthread_mutex_unlock(&child->lock);
}

static void report_stats(Child *child)
{
    WorkerStats stats;
    child->strategy->ops->stats(child->strategy, &stats);
    if (memcmp(&stats, &child->reported, sizeof(stats)) == 0)
        return;
    child->reported = stats;
    pthread_mutex_lock(&child->lock);
    need(frame_put_stats(&child->out, &stats));
    pthread_mutex_unlock(&child->lock);
}

static void on_stats_timer(uv_timer_t *timer)
{
    Child *child = timer->data;
    report_stats(child);
    flush(child);
}

/* The first change is reported at once, later ones when STATS_MS have passed. */
static void plan_stats(Child *child)
{
    if (!child->strategy || uv_is_active((uv_handle_t *)&child->stats_timer))
        return;
    pthread_mutex_lock(&child->lock);
    bool changed = child->changed;
    child->changed = false;
    pthread_mutex_unlock(&child->lock);
    if (!changed)
        return;
    report_stats(child);
    uv_timer_start(&child->stats_timer, on_stats_timer, STATS_MS, 0);
}

/* ---- Calls ------------------------------------------------------------------------------------
 */

/* Why it cannot be; NULL: the parent is told. */
static const char *send_call_locked(Child *child, KhronosCall *call, const Strbuf *bytes)
{
    if (child->boundless)
        return "the server is shutting down";
    if (!calltable_has_room(&child->calls, bytes->length))
        return "too many calls of this worker process wait for their answers";
    uint64_t id = calltable_add(&child->calls, call, bytes->length);
    if (id == 0)
        give_up(EXIT_RESOURCES, "not enough memory for a call");
    FrameCall frame = {.id = id,
                       .guild_id = call->guild_id,
                       .kind = call->kind->number,
                       .bytes = {bytes->data ? bytes->data : "", bytes->length}};
    need(frame_put_call(&child->out, &frame));
    wake_locked(child);
    return NULL;
}

/* Any thread. */
static void on_call(void *userdata, KhronosCall *call)
{
    Child *child = userdata;
    const char *problem = "the call does not fit into a message between processes (16 MiB), or "
                          "memory is out";
    Strbuf bytes = {.max = CALL_BYTES_MAX};
    call->kind->put_request(call, &bytes);
    if (!bytes.failed) {
        lock_with_room(child);
        problem = send_call_locked(child, call, &bytes); /* if sent, it may be answered by now */
        pthread_mutex_unlock(&child->lock);
    }
    strbuf_free(&bytes);
    if (!problem)
        return;
    call->kind->refuse(call, problem);
    child->strategy->ops->answer(child->strategy, call);
}

static void take_answer(Child *child, FrameReader *payload)
{
    FrameCall frame;
    KhronosCall *call;
    if (!frame_read_answer(payload, &frame))
        give_up(EXIT_PROTOCOL, "the parent's message is malformed");
    pthread_mutex_lock(&child->lock);
    bool known = calltable_take(&child->calls, frame.id, &call);
    pthread_mutex_unlock(&child->lock);
    if (!known)
        give_up(EXIT_PROTOCOL, "the parent answers a call that was never made");
    if (!call->kind->read_answer(call, frame.bytes.data, frame.bytes.length))
        call->kind->refuse(call, "the answer cannot be read, or memory is out");
    child->strategy->ops->answer(child->strategy, call);
}

/* ---- What the parent says ---------------------------------------------------------------------
 */

static void start_strategy(Child *child, FrameReader *payload)
{
    char error[256] = "";
    if (child->strategy || !frame_read_init(payload, &child->init) ||
        child->init.slots > child->started_count)
        give_up(EXIT_PROTOCOL, "the parent's first message is malformed");
    log_setlevel(child->init.log_level);
    child->sandbox = child->make_sandbox();
    if (!child->sandbox)
        give_up(EXIT_RESOURCES, "the sandbox cannot be made");
    const FrameInit *init = &child->init;
    child->host = (KhronosHost){.sandbox = child->sandbox, .log = {on_log_line, child}};
    vm_khronos_ops(&child->vm_ops, &child->host);
    child->options = (WorkerOptions){.strategy = WORKER_THREAD_POOL,
                                     .threads = init->threads,
                                     .processes = 1,
                                     .limits = init->limits,
                                     .shrink_idle_ns = init->shrink_idle_ns,
                                     .destroy_idle_ns = init->destroy_idle_ns,
                                     .broken_max = init->broken_max,
                                     .broken_window_ns = init->broken_window_ns,
                                     .pause_ns = init->pause_ns,
                                     .log = child->host.log,
                                     .observer = {on_state, child},
                                     .calls = {.userdata = child},
                                     .sandbox = child->sandbox,
                                     .vm_ops = &child->vm_ops};
    if (init->wants_calls)
        child->options.calls.take = on_call;
    child->strategy = child->make_strategy(&child->options, error, sizeof(error));
    if (!child->strategy)
        give_up(EXIT_RESOURCES, error);
    pthread_mutex_lock(&child->lock);
    need(frame_put_plain(&child->out, FRAME_READY));
    pthread_mutex_unlock(&child->lock);
}

static void take_template(Child *child, FrameReader *payload)
{
    uint64_t id;
    KhronosTemplate *t = frame_read_template(payload, child->sandbox, false, &id);
    if (!t || idmap_get(&child->templates, id) || !idmap_put(&child->templates, id, t))
        give_up(EXIT_PROTOCOL, "a template from the parent cannot be used");
}

static void forget_template(Child *child, FrameReader *payload)
{
    uint64_t id;
    if (!frame_read_number(payload, &id) || id == 0)
        give_up(EXIT_PROTOCOL, "the parent's message is malformed");
    template_release(idmap_remove(&child->templates, id));
}

/* What it asks is whether this loop goes round. */
static void answer_ping(Child *child, FrameReader *payload)
{
    uint64_t number;
    if (!frame_read_number(payload, &number))
        give_up(EXIT_PROTOCOL, "the parent's message is malformed");
    pthread_mutex_lock(&child->lock);
    need(frame_put_number(&child->out, FRAME_PONG, number));
    pthread_mutex_unlock(&child->lock);
}

/* The frame is copied, and read where it will stay. */
static ChildAction *copy_action(const FrameReader *payload)
{
    size_t length = (size_t)(payload->end - payload->p);
    ChildAction *action = malloc(sizeof(*action) + length);
    if (!action)
        give_up(EXIT_RESOURCES, "not enough memory for an action");
    memcpy(action->bytes, payload->p, length);
    FrameReader copy = frame_reader((const uint8_t *)action->bytes, length);
    if (!frame_read_action(&copy, &action->f))
        give_up(EXIT_PROTOCOL, "an action from the parent is malformed");
    size_t count = action->f.run_count > 0 ? (size_t)action->f.run_count : 1;
    action->results = calloc(count, sizeof(*action->results));
    if (!action->results)
        give_up(EXIT_RESOURCES, "not enough memory for an action");
    return action;
}

static void take_action(Child *child, FrameReader *payload)
{
    ChildAction *action = copy_action(payload);
    FrameAction *f = &action->f;
    bool silent = f->slot == FRAME_NO_SLOT;
    if (!silent && f->slot >= child->init.slots)
        give_up(EXIT_PROTOCOL, "an action from the parent has no slot");
    action->child = child;
    for (int i = 0; i < f->run_count; i++) {
        KhronosExecution *x = &f->action.executions[i];
        KhronosTemplate *t = idmap_get(&child->templates, f->runs[i].template_id);
        if (!t || silent)
            give_up(EXIT_PROTOCOL, "an action from the parent names a template it never sent");
        x->template_version = template_retain(t);
        x->out = &action->results[i];
    }
    f->action.userdata = action;
    f->action.complete = on_complete;
    f->action.starting = f->run_count > 0 ? on_starting : NULL;
    child->strategy->ops->submit(child->strategy, &f->action);
}

/* Returns when everything is completed and in `out`. */
static void stop_strategy(Child *child)
{
    pthread_mutex_lock(&child->lock);
    child->boundless = true;
    pthread_cond_broadcast(&child->room);
    pthread_mutex_unlock(&child->lock);
    report_stats(child);
    child->strategy->ops->stop(child->strategy);
    child->strategy = NULL;
    child->stopped = true;
}

static void on_frame(Child *child, FrameType type, FrameReader *payload)
{
    if ((child->strategy == NULL) != (type == FRAME_INIT))
        give_up(EXIT_PROTOCOL, "a message from the parent comes out of turn");
    switch (type) {
    case FRAME_INIT: start_strategy(child, payload); return;
    case FRAME_TEMPLATE: take_template(child, payload); return;
    case FRAME_FORGET: forget_template(child, payload); return;
    case FRAME_ACTION: take_action(child, payload); return;
    case FRAME_PING: answer_ping(child, payload); return;
    case FRAME_ANSWER: take_answer(child, payload); return;
    case FRAME_STOP: stop_strategy(child); return;
    default: give_up(EXIT_PROTOCOL, "a message from the parent is of an unknown kind");
    }
}

static void receive(Child *child)
{
    FrameType type;
    FrameReader payload;
    for (;;) {
        FrameNext next = child->stopped ? FRAME_NONE_YET
                                        : frame_stream_next(&child->in, &type, &payload);
        if (next == FRAME_BAD)
            give_up(EXIT_PROTOCOL, "a message from the parent is malformed");
        if (next == FRAME_NONE_YET)
            return;
        on_frame(child, type, &payload);
    }
}

/* ---- The loop ---------------------------------------------------------------------------------
 */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    Child *child = handle->data;
    size_t size;
    (void)suggested;
    char *room = frame_stream_room(&child->in, &size);
    if (!room)
        give_up(EXIT_RESOURCES, "not enough memory for what the parent says");
    *buffer = uv_buf_init(room, (unsigned)size);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer);

/* When everything was said, or has to wait, the socket is not read. */
static void go_on(Child *child)
{
    plan_stats(child);
    flush(child);
    pthread_mutex_lock(&child->lock);
    size_t unwritten = child->out.length;
    pthread_mutex_unlock(&child->lock);
    bool wanted = !child->stopped && unwritten <= OUT_SOFT_BYTES;
    if (wanted != child->reading) {
        child->reading = wanted;
        if (!wanted)
            uv_read_stop((uv_stream_t *)&child->pipe);
        else if (uv_read_start((uv_stream_t *)&child->pipe, on_alloc, on_read) != 0)
            give_up(EXIT_RESOURCES, "the parent cannot be read");
    }
    if (child->stopped && !child->write_busy && unwritten == 0)
        uv_stop(&child->loop);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    Child *child = stream->data;
    (void)buffer;
    if (count < 0)
        _exit(EXIT_ORPHANED); /* the parent is gone, and with it who would want to know anything */
    frame_stream_got(&child->in, (size_t)count);
    receive(child);
    go_on(child);
}

static void on_written(uv_write_t *write, int status)
{
    Child *child = write->data;
    if (status != 0)
        _exit(EXIT_ORPHANED);
    child->write_busy = false;
    if (child->writing.capacity > OUT_KEPT_BYTES)
        strbuf_free(&child->writing);
    strbuf_clear(&child->writing);
    strbuf_clear(&child->head);
    go_on(child);
}

static void on_wake(uv_async_t *wake)
{
    go_on(wake->data);
}

/* ---- Beginning and end ------------------------------------------------------------------------
 */

static void map_started(Child *child)
{
    struct stat status;
    if (fstat(POOL_CHILD_SHARED_FD, &status) != 0 || status.st_size <= 0)
        give_up(EXIT_PROTOCOL, "it was not started by a worker");
    child->started_count = (size_t)status.st_size;
    void *memory = mmap(NULL, child->started_count, PROT_READ | PROT_WRITE, MAP_SHARED,
                        POOL_CHILD_SHARED_FD, 0);
    if (memory == MAP_FAILED)
        give_up(EXIT_RESOURCES, "the memory that it shares with its parent cannot be mapped");
    close(POOL_CHILD_SHARED_FD);
    child->started = memory;
}

static void open_loop(Child *child)
{
    if (uv_loop_init(&child->loop) != 0 ||
        uv_async_init(&child->loop, &child->wake, on_wake) != 0 ||
        uv_timer_init(&child->loop, &child->stats_timer) != 0 ||
        uv_pipe_init(&child->loop, &child->pipe, 0) != 0)
        give_up(EXIT_RESOURCES, "its loop cannot be made");
    child->wake.data = child->stats_timer.data = child->pipe.data = child;
    if (uv_pipe_open(&child->pipe, POOL_CHILD_SOCKET_FD) != 0)
        give_up(EXIT_PROTOCOL, "it was not started by a worker");
}

static void close_loop(Child *child)
{
    uv_close((uv_handle_t *)&child->pipe, NULL);
    uv_close((uv_handle_t *)&child->wake, NULL);
    uv_close((uv_handle_t *)&child->stats_timer, NULL);
    uv_run(&child->loop, UV_RUN_DEFAULT);
    uv_loop_close(&child->loop);
}

static void free_all(Child *child)
{
    size_t cursor = 0;
    for (KhronosTemplate *t; (t = idmap_next(&child->templates, &cursor)) != NULL;)
        template_release(t);
    idmap_free(&child->templates);
    calltable_free(&child->calls);
    sandbox_release(child->sandbox);
    frame_stream_free(&child->in);
    strbuf_free(&child->head);
    strbuf_free(&child->writing);
    strbuf_free(&child->out);
    munmap(child->started, child->started_count);
    pthread_cond_destroy(&child->room);
    pthread_mutex_destroy(&child->lock);
    free(child);
}

/* The parent decides when it ends, also when a terminal sends signals to all processes in it; and
 * nothing that some library of the parent left open comes along. */
static void detach_from_parent(void)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (close_range(POOL_CHILD_SHARED_FD + 1, ~0u, 0) != 0)
        give_up(EXIT_RESOURCES, "descriptors of its parent cannot be closed");
    fcntl(POOL_CHILD_SOCKET_FD, F_SETFD, FD_CLOEXEC);
}

int process_child_serve(KhronosSandbox *(*sandbox)(void),
                        Strategy *(*make)(const WorkerOptions *options, char *error, size_t size))
{
    detach_from_parent();
    Child *child = calloc(1, sizeof(*child));
    if (!child)
        give_up(EXIT_RESOURCES, "not enough memory");
    child->make_sandbox = sandbox;
    child->make_strategy = make;
    child->loop_thread = pthread_self();
    pthread_mutex_init(&child->lock, NULL);
    pthread_cond_init(&child->room, NULL);
    idmap_init(&child->templates, random_u64());
    calltable_init(&child->calls);
    map_started(child);
    open_loop(child);
    go_on(child);
    uv_run(&child->loop, UV_RUN_DEFAULT);
    close_loop(child);
    free_all(child);
    return 0;
}

bool worker_is_child(int argc, char **argv)
{
    return argc == 2 && strcmp(argv[1], WORKER_CHILD_ARGUMENT) == 0;
}

int worker_child_main(int argc, char **argv, KhronosSandbox *(*sandbox)(void))
{
    BASE_ASSERT(worker_is_child(argc, argv));
    return process_child_serve(sandbox, thread_pool_new);
}
