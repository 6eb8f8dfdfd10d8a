/* The life of a child process: start, conversation, end, and what comes after. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "worker/process_pool.h"

enum {
    RESTART_FIRST_MS = 50,
    RESTART_MAX_MS = 5000,
    LAST_BYTES_MAX = 64 << 20, /* read from a dead child's socket, more than the kernel can hold */
    KEPT_BYTES = 1 << 20       /* of a buffer that is empty */
};
#define STABLE_NS (10 * CLOCK_NS_PER_S)

uint64_t restart_delay_ms(RestartPlan *plan, uint64_t lived_ns)
{
    if (lived_ns >= STABLE_NS)
        plan->row = 0;
    unsigned row = plan->row++;
    if (row == 0)
        return 0;
    uint64_t delay_ms = row < 16 ? (uint64_t)RESTART_FIRST_MS << (row - 1) : RESTART_MAX_MS;
    if (row >= 16)
        plan->row = 16;
    return delay_ms < RESTART_MAX_MS ? delay_ms : RESTART_MAX_MS;
}

/* ---- The end ----------------------------------------------------------------------------------
 */

static void on_handle_closed(uv_handle_t *handle)
{
    ChildLife *life = handle->data;
    if (--life->open_handles > 0)
        return;
    if (life->started)
        munmap(life->started, POOL_SLOTS);
    sent_templates_free(&life->templates);
    calltable_free(&life->calls);
    frame_stream_free(&life->in);
    strbuf_free(&life->out);
    strbuf_free(&life->writing);
    free(life);
}

static void close_life(ChildLife *life)
{
    uv_close((uv_handle_t *)&life->beat, on_handle_closed);
    uv_close((uv_handle_t *)&life->pipe, on_handle_closed);
    uv_close((uv_handle_t *)&life->process, on_handle_closed);
}

void life_kill(ChildLife *life)
{
    life->condemned = true;
    uv_timer_stop(&life->beat);
    uv_read_stop((uv_stream_t *)&life->pipe);
    uv_process_kill(&life->process, SIGKILL);
}

/* It said what no honest child says, or went silent. */
static void condemn(ChildLife *life, const char *why)
{
    log_message(LOG_ERROR, "worker process %d (pid %d) is killed: %s", life->shard->index,
                (int)life->process.pid, why);
    life_kill(life);
}

static void on_timer_closed(uv_handle_t *handle)
{
    Shard *shard = handle->data;
    pool_shard_down(shard->pool);
}

static void shut_down(Shard *shard)
{
    shard_shut(shard, true);
    shard->down = true;
    if (shard->timer_open)
        uv_close((uv_handle_t *)&shard->timer, on_timer_closed);
    else
        pool_shard_down(shard->pool);
    shard->timer_open = false;
}

static void plan_restart(Shard *shard, uint64_t lived_ns);

static void on_restart(uv_timer_t *timer)
{
    Shard *shard = timer->data;
    char error[256] = "";
    if (life_start(shard, error, sizeof(error))) {
        life_pump(shard->life);
        return;
    }
    log_message(LOG_ERROR, "worker process %d: %s", shard->index, error);
    shard_lost(shard, NULL);
    plan_restart(shard, 0);
}

static void plan_restart(Shard *shard, uint64_t lived_ns)
{
    uint64_t delay_ms = restart_delay_ms(&shard->plan, lived_ns);
    uv_timer_start(&shard->timer, on_restart, delay_ms, 0);
}

/* What it said before it died still counts. Does not wait for who may hold the socket besides. */
static void read_the_rest(ChildLife *life)
{
    uv_os_fd_t fd;
    if (life->condemned || uv_fileno((uv_handle_t *)&life->pipe, &fd) != 0)
        return;
    uv_read_stop((uv_stream_t *)&life->pipe);
    for (size_t total = 0; total < LAST_BYTES_MAX;) {
        size_t size;
        char *room = frame_stream_room(&life->in, &size);
        ssize_t count = room ? read(fd, room, size) : 0;
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return;
        frame_stream_got(&life->in, (size_t)count);
        total += (size_t)count;
        if (!life_receive(life)) {
            log_message(LOG_ERROR, "worker process %d (pid %d): its last message is malformed",
                        life->shard->index, (int)life->process.pid);
            return;
        }
    }
}

static void on_exit_of(uv_process_t *process, int64_t status, int signal_number)
{
    ChildLife *life = process->data;
    Shard *shard = life->shard;
    bool orderly = shard->pool->told_to_stop && status == 0 && signal_number == 0;
    uint64_t lived_ns = clock_monotonic_ns() - life->born_ns;
    read_the_rest(life);
    if (!orderly)
        log_message(LOG_ERROR, "worker process %d (pid %d) was lost: %s %d", shard->index,
                    (int)process->pid, signal_number ? "killed by signal" : "exit status",
                    signal_number ? signal_number : (int)status);
    pthread_mutex_lock(&shard->lock);
    shard->pid = 0;
    shard->lost += !orderly;
    pthread_mutex_unlock(&shard->lock);
    shard->life = NULL;
    shard_lost(shard, life);
    shard->lives++;
    close_life(life);
    if (shard->pool->told_to_stop)
        shut_down(shard);
    else
        plan_restart(shard, lived_ns);
}

/* ---- The conversation -------------------------------------------------------------------------
 */

static void on_written(uv_write_t *write, int status)
{
    ChildLife *life = write->data;
    life->write_busy = false;
    strbuf_clear(&life->writing);
    if (life->writing.capacity > KEPT_BYTES)
        strbuf_free(&life->writing);
    if (status == 0)
        life_pump(life);
    else if (life->shard->life == life && !life->condemned)
        uv_process_kill(&life->process, SIGKILL); /* it closed the socket */
}

static void flush(ChildLife *life)
{
    if (life->write_busy || life->condemned || life->out.length == 0)
        return;
    Strbuf full = life->out;
    life->out = life->writing;
    life->writing = full;
    uv_buf_t buffer = {.base = full.data, .len = full.length};
    life->write.data = life;
    life->write_busy = true;
    if (uv_write(&life->write, (uv_stream_t *)&life->pipe, &buffer, 1, on_written) != 0) {
        life->write_busy = false;
        condemn(life, "its socket cannot be written");
    }
}

void life_pump(ChildLife *life)
{
    Shard *shard = life->shard;
    if (life->condemned || shard->life != life)
        return;
    if (!life_send_answers(life)) {
        condemn(life, "not enough memory to answer it");
        return;
    }
    while (life->out.length < POOL_OUT_BYTES) {
        Slot *slot = shard_take_unsent(shard, life->sent_bytes >= POOL_SENT_BYTES);
        if (!slot)
            break;
        life_send(life, slot);
    }
    flush(life);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    ChildLife *life = handle->data;
    size_t size = 0;
    (void)suggested;
    char *room = frame_stream_room(&life->in, &size);
    *buffer = uv_buf_init(room, room ? (unsigned)size : 0);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    ChildLife *life = stream->data;
    (void)buffer;
    if (count > 0) {
        life->silent_beats = 0;
        frame_stream_got(&life->in, (size_t)count);
        if (!life_receive(life))
            condemn(life, "it sent a malformed message");
        else
            life_pump(life);
    } else if (count == UV_ENOBUFS) {
        condemn(life, "not enough memory for what it says");
    } else if (count < 0) {
        /* Its end of the socket is closed: it is dead, or of no use. Its exit comes next. One that
         * was told to stop may take the time to do so. */
        uv_read_stop(stream);
        if (!life->shard->pool->told_to_stop)
            uv_process_kill(&life->process, SIGKILL);
    }
}

/* Beats are counted, not time: when this process stood still itself, one beat is all that comes of
 * it, and what the child said meanwhile is read before the next. */
static void on_beat(uv_timer_t *timer)
{
    ChildLife *life = timer->data;
    if (++life->silent_beats > (life->ready ? POOL_BEATS_MAX : POOL_START_BEATS_MAX)) {
        condemn(life, "it gave no sign of life for too long");
        return;
    }
    if (life->asked || !life->ready)
        return;
    if (!frame_put_number(&life->out, FRAME_PING, life->pings + 1)) {
        condemn(life, "not enough memory to ask it for a sign of life");
        return;
    }
    life->pings++;
    life->asked = true;
    flush(life);
}

static void start_beat(ChildLife *life)
{
    uint64_t silence_max_ns = life->shard->pool->options->silence_max_ns;
    uint64_t beat_ms = silence_max_ns / POOL_BEATS_MAX / CLOCK_NS_PER_MS;
    if (silence_max_ns > 0)
        uv_timer_start(&life->beat, on_beat, beat_ms > 0 ? beat_ms : 1, beat_ms > 0 ? beat_ms : 1);
}

static void on_grace(uv_timer_t *timer)
{
    Shard *shard = timer->data;
    if (shard->life)
        condemn(shard->life, "it did not stop when it was told to");
}

void life_stop(Shard *shard)
{
    shard_shut(shard, false);
    uv_timer_stop(&shard->timer);
    ChildLife *life = shard->life;
    if (!life) {
        shut_down(shard);
        return;
    }
    if (life->condemned)
        return;
    uv_timer_stop(&life->beat); /* while it stops it may be silent, for the time of the grace */
    if (!frame_put_plain(&life->out, FRAME_STOP)) {
        life_kill(life);
        return;
    }
    flush(life);
    uv_timer_start(&shard->timer, on_grace, POOL_STOP_GRACE_MS, 0);
}

/* ---- The start --------------------------------------------------------------------------------
 */

/* A byte for each slot, shared with the child, which must not be able to cut it short under us. */
static int share_memory(ChildLife *life)
{
    int fd = memfd_create("started-actions", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    void *memory = MAP_FAILED;
    if (ftruncate(fd, POOL_SLOTS) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        memory = mmap(NULL, POOL_SLOTS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        close(fd);
        return -1;
    }
    life->started = memory;
    return fd;
}

static int spawn(ChildLife *life, int socket_fd, int shared_fd)
{
    char *arguments[] = {program_invocation_name, (char[]){WORKER_CHILD_ARGUMENT}, NULL};
    uv_stdio_container_t stdio[POOL_CHILD_SHARED_FD + 1] = {
        [0] = {.flags = UV_IGNORE},
        [1] = {.flags = UV_IGNORE},
        [2] = {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
        [POOL_CHILD_SOCKET_FD] = {.flags = UV_INHERIT_FD, .data.fd = socket_fd},
        [POOL_CHILD_SHARED_FD] = {.flags = UV_INHERIT_FD, .data.fd = shared_fd}};
    uv_process_options_t options = {.file = "/proc/self/exe",
                                    .args = arguments,
                                    .exit_cb = on_exit_of,
                                    .stdio = stdio,
                                    .stdio_count = BASE_ARRAY_COUNT(stdio)};
    return uv_spawn(&life->shard->pool->loop, &life->process, &options);
}

/* Closes what is not the pipe's in the end. */
static int open_conversation(ChildLife *life, int sockets[2], int shared_fd)
{
    int problem = uv_pipe_open(&life->pipe, sockets[0]);
    if (problem == 0)
        sockets[0] = -1; /* the pipe's now */
    if (problem == 0)
        problem = spawn(life, sockets[1], shared_fd);
    if (sockets[0] >= 0)
        close(sockets[0]);
    close(sockets[1]);
    close(shared_fd);
    return problem;
}

static ChildLife *new_life(Shard *shard)
{
    ChildLife *life = calloc(1, sizeof(*life));
    if (!life)
        return NULL;
    life->shard = shard;
    life->born_ns = clock_monotonic_ns();
    sent_templates_init(&life->templates);
    calltable_init(&life->calls);
    life->ticket_base = random_u64() >> 1; /* what is added to it never comes round */
    return life;
}

static bool describe(char *error, size_t error_size, const char *what, int problem)
{
    char text[128] = "";
    uv_strerror_r(problem, text, sizeof(text));
    snprintf(error, error_size, "%s: %s", what, text);
    return false;
}

bool life_start(Shard *shard, char *error, size_t error_size)
{
    ProcessPool *pool = shard->pool;
    int sockets[2], problem;
    ChildLife *life = new_life(shard);
    if (!life)
        return describe(error, error_size, "cannot start a worker process", UV_ENOMEM);
    int shared_fd = share_memory(life);
    if (shared_fd < 0) {
        problem = uv_translate_sys_error(errno);
        goto no_memory;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
        problem = uv_translate_sys_error(errno);
        close(shared_fd);
        goto no_sockets;
    }
    uv_pipe_init(&pool->loop, &life->pipe, 0);
    uv_timer_init(&pool->loop, &life->beat);
    life->pipe.data = life->process.data = life->beat.data = life;
    life->open_handles = 3;
    problem = open_conversation(life, sockets, shared_fd);
    if (problem != 0) {
        /* uv_spawn makes a handle of it also when it fails; without it there is none. */
        if (life->process.type != UV_PROCESS)
            life->open_handles--;
        else
            uv_close((uv_handle_t *)&life->process, on_handle_closed);
        uv_close((uv_handle_t *)&life->beat, on_handle_closed);
        uv_close((uv_handle_t *)&life->pipe, on_handle_closed);
        return describe(error, error_size, "cannot start a worker process", problem);
    }
    shard->life = life;
    pthread_mutex_lock(&shard->lock);
    shard->pid = (int)life->process.pid;
    pthread_mutex_unlock(&shard->lock);
    if (uv_read_start((uv_stream_t *)&life->pipe, on_alloc, on_read) != 0)
        condemn(life, "its socket cannot be read");
    else if (!life_greet(life))
        condemn(life, "not enough memory to tell it its options");
    else
        start_beat(life);
    flush(life);
    return true;
no_sockets:
    munmap(life->started, POOL_SLOTS);
no_memory:
    calltable_free(&life->calls);
    sent_templates_free(&life->templates);
    free(life);
    return describe(error, error_size, "cannot start a worker process", problem);
}
