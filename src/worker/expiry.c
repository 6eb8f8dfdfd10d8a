/* From the store to the dispatcher and back.
 *
 *     store --take--> queue --start--> read the record --tell--> dispatcher
 *       ^               ^                                            |
 *       |               +------- what the guild cannot take now -----+
 *       +------ note: done, or to be told again ---------------------+
 *
 * All of it is done by whoever calls expiry_poll: the thread, or a test. Other threads, on which
 * store and dispatcher answer, put what came back into a list under the lock and wake the thread;
 * they touch nothing else.
 *
 * An occasion keeps its place among those under way until what became of it is noted. So while the
 * store cannot write, at most EXPIRY_UNDER_WAY_MAX occasions are told that it does not know of:
 * those, and no more, would be told twice if the process died.
 *
 * What a guild refuses goes back into its queue, and the guild is held for as long as it said; the
 * store is not asked to write anything. What the store refuses is asked again after growing delays,
 * one request at a time, separately for reading and for writing (a full disk can be read).
 *
 * Delays are counted in time that passed (steady_ms), which does not go back when the clock does.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/base.h"
#include "base/clock.h"
#include "base/log.h"
#include "worker/expiry_state.h"

/* ---- Other threads ----------------------------------------------------------------------------
 */

/* Under the lock: once it is free, and everything came back, the Expiry may be gone. */
static void wake_locked(Expiry *x)
{
    if (x->polling)
        return; /* it looks before it sleeps */
    ssize_t written = write(x->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* EAGAIN: it is awake already */
}

void expiry_come_back(Occasion *occasion)
{
    Expiry *x = occasion->expiry;
    pthread_mutex_lock(&x->lock);
    occasion->next_back = NULL;
    if (x->back_first)
        x->back_last->next_back = occasion;
    else
        x->back_first = occasion;
    x->back_last = occasion;
    wake_locked(x);
    pthread_mutex_unlock(&x->lock);
}

void expiry_on_occasion(StoreRequest *request)
{
    expiry_come_back(request->userdata);
}

void expiry_on_look(StoreRequest *request)
{
    Expiry *x = request->userdata;
    pthread_mutex_lock(&x->lock);
    x->looked = true;
    wake_locked(x);
    pthread_mutex_unlock(&x->lock);
}

void expiry_due_changed(void *expiry, int64_t due_ms)
{
    Expiry *x = expiry;
    pthread_mutex_lock(&x->lock);
    if (due_ms < x->hint_ms) {
        x->hint_ms = due_ms;
        if (due_ms < x->armed_ms)
            wake_locked(x);
    }
    pthread_mutex_unlock(&x->lock);
}

/* ---- Polling ----------------------------------------------------------------------------------
 */

static void pass_time(Expiry *x)
{
    int64_t now_ms = x->clock_ms ? x->clock_ms(x->clock_userdata) : (int64_t)clock_wall_ms();
    if (now_ms > x->now_ms)
        x->steady_ms += (uint64_t)(now_ms - x->now_ms);
    x->now_ms = now_ms;
    expiry_queue_release(&x->queue, x->steady_ms);
    expiry_wake_rested(x);
}

static void collect(Expiry *x)
{
    pthread_mutex_lock(&x->lock);
    Occasion *list = x->back_first;
    x->back_first = NULL;
    bool looked = x->looked;
    x->looked = false;
    if (x->hint_ms < x->next_ms)
        x->next_ms = x->hint_ms;
    x->hint_ms = EXPIRY_NEVER_MS;
    pthread_mutex_unlock(&x->lock);
    for (Occasion *occasion = list, *next; occasion; occasion = next) {
        next = occasion->next_back;
        switch (occasion->step) {
        case OCCASION_READING: expiry_read_back(x, occasion); break;
        case OCCASION_TOLD: expiry_told(x, occasion); break;
        case OCCASION_NOTING: expiry_noted(x, occasion); break;
        default: BASE_UNREACHABLE();
        }
    }
    if (looked)
        expiry_look_back(x);
}

/* At the end: what was not told is left to the store; what was told is noted if the store will. */
static void wind_up(Expiry *x)
{
    expiry_queue_clear(&x->queue);
    expiry_give_up_notes(x);
    expiry_look_over(x);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t next_poll_ms(const Expiry *x)
{
    int64_t next_ms = expiry_look_ms(x);
    const DispatchTimer *rest = dispatch_heap_first(&x->rests);
    const DispatchTimer *hold = dispatch_heap_first(&x->queue.holds);
    if (rest)
        next_ms = earlier(next_ms, expiry_wall_ms(x, rest->due_ns));
    if (hold)
        next_ms = earlier(next_ms, expiry_wall_ms(x, hold->due_ns));
    if (x->notes_first && x->writes.failing)
        next_ms = earlier(next_ms, expiry_gate_ms(x, &x->writes));
    if (x->queue.ring_first && x->reads.failing)
        next_ms = earlier(next_ms, expiry_gate_ms(x, &x->reads));
    return next_ms;
}

/* True: nothing came back meanwhile, and whoever brings something wakes the thread from now on. */
static bool settle(Expiry *x, int64_t next_ms, bool winding_up)
{
    pthread_mutex_lock(&x->lock);
    bool settled = !x->back_first && !x->looked && x->hint_ms >= x->next_ms;
    x->quiet = x->quiet || winding_up;
    if (x->quiet)
        pthread_cond_broadcast(&x->quieter);
    if (settled) {
        x->polling = false;
        x->armed_ms = next_ms;
    }
    pthread_mutex_unlock(&x->lock);
    return settled;
}

/* True: it is stopping. */
static bool begin(Expiry *x)
{
    pthread_mutex_lock(&x->lock);
    bool stopping = x->stopping;
    x->polling = true;
    pthread_mutex_unlock(&x->lock);
    return stopping;
}

int64_t expiry_poll(Expiry *x)
{
    int64_t next_ms;
    bool stopping;
    do {
        stopping = begin(x);
        pass_time(x);
        collect(x);
        if (stopping || x->steady_ms - x->logged_at_ms >= 1000)
            expiry_log_rest(x);
        if (stopping) {
            wind_up(x);
        } else {
            expiry_look(x);
            expiry_start(x);
        }
        expiry_send_notes(x);
        next_ms = stopping ? EXPIRY_NEVER_MS : next_poll_ms(x);
    } while (!settle(x, next_ms, stopping));
    return next_ms == EXPIRY_NEVER_MS ? STORE_NO_TIME : next_ms;
}

/* ---- The thread -------------------------------------------------------------------------------
 */

static bool is_over(Expiry *x)
{
    pthread_mutex_lock(&x->lock);
    bool stopping = x->stopping;
    pthread_mutex_unlock(&x->lock);
    return stopping && x->queue.taken == 0 && !x->look;
}

/* False: the clock was set just now, look again. */
static bool arm(Expiry *x, int64_t next_ms)
{
    struct itimerspec until = {0};
    if (next_ms != STORE_NO_TIME) {
        int64_t ms = next_ms > 0 ? next_ms : 1; /* 0 would be never */
        until.it_value.tv_sec = (time_t)(ms / 1000);
        until.it_value.tv_nsec = (long)(ms % 1000) * (long)CLOCK_NS_PER_MS;
    }
    return timerfd_settime(x->timer_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &until,
                           NULL) == 0 ||
           errno != ECANCELED;
}

static void wait_for_wake(Expiry *x)
{
    uint64_t times;
    struct pollfd fds[2] = {{.fd = x->wake_fd, .events = POLLIN},
                            {.fd = x->timer_fd, .events = POLLIN}};
    while (poll(fds, x->timer_fd >= 0 ? 2 : 1, -1) < 0 && errno == EINTR)
        ;
    for (int i = 0; i < 2; i++) {
        /* Neither blocks. ECANCELED: the clock was set, and that is what we are awake for. */
        ssize_t got = fds[i].fd >= 0 ? read(fds[i].fd, &times, sizeof(times)) : 0;
        (void)got;
    }
    expiry_count(&x->wakes);
}

static void *thread_main(void *arg)
{
    Expiry *x = arg;
    for (;;) {
        int64_t next_ms = expiry_poll(x);
        if (is_over(x))
            return NULL;
        if (arm(x, next_ms))
            wait_for_wake(x);
    }
}

static bool start_thread(Expiry *x)
{
    x->timer_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    x->has_thread = x->timer_fd >= 0 && pthread_create(&x->thread, NULL, thread_main, x) == 0;
    return x->has_thread;
}

Expiry *expiry_new(Store *store, Dispatcher *dispatcher, int64_t (*clock_ms)(void *),
                   void *clock_userdata)
{
    Expiry *x = calloc(1, sizeof(*x));
    if (!x)
        return NULL;
    x->store = store;
    x->dispatcher = dispatcher;
    x->clock_ms = clock_ms;
    x->clock_userdata = clock_userdata;
    x->reads.what = "reading the store";
    x->writes.what = "writing to the store";
    x->next_ms = INT64_MIN; /* who knows: look */
    x->hint_ms = EXPIRY_NEVER_MS;
    x->armed_ms = EXPIRY_NEVER_MS;
    x->now_ms = clock_ms ? clock_ms(clock_userdata) : (int64_t)clock_wall_ms();
    expiry_queue_init(&x->queue);
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->quieter, NULL);
    x->timer_fd = -1;
    x->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (x->wake_fd < 0 || (!clock_ms && !start_thread(x))) {
        x->stopped = true;
        expiry_free(x);
        return NULL;
    }
    return x;
}

void expiry_quiet(Expiry *x)
{
    if (x->stopped)
        return;
    pthread_mutex_lock(&x->lock);
    x->stopping = true;
    wake_locked(x);
    /* A poll that began before may be with the dispatcher just now. */
    while (x->has_thread && !x->quiet)
        pthread_cond_wait(&x->quieter, &x->lock);
    pthread_mutex_unlock(&x->lock);
}

void expiry_stop(Expiry *x)
{
    if (x->stopped)
        return;
    expiry_quiet(x);
    if (x->has_thread) {
        pthread_join(x->thread, NULL);
    } else {
        while (expiry_poll(x), !is_over(x))
            wait_for_wake(x);
    }
    x->stopped = true;
    if (x->unnoted > 0)
        log_message(LOG_WARN,
                    "expiry: %" PRIu64 " occasions were told and could not be noted in the store; "
                    "they are told again after the next start",
                    x->unnoted);
}

void expiry_free(Expiry *x)
{
    if (!x)
        return;
    expiry_stop(x);
    expiry_queue_free(&x->queue);
    dispatch_heap_free(&x->rests);
    pthread_cond_destroy(&x->quieter);
    pthread_mutex_destroy(&x->lock);
    close(x->wake_fd);
    if (x->timer_fd >= 0)
        close(x->timer_fd);
    free(x);
}

void expiry_stats(Expiry *x, ExpiryStats *stats)
{
    *stats = (ExpiryStats){
        .told = atomic_load_explicit(&x->told, memory_order_relaxed),
        .failed = atomic_load_explicit(&x->failed, memory_order_relaxed),
        .unlogged = atomic_load_explicit(&x->unlogged_ever, memory_order_relaxed),
        .given_up = atomic_load_explicit(&x->given_up, memory_order_relaxed),
        .wakes = atomic_load_explicit(&x->wakes, memory_order_relaxed),
    };
}
