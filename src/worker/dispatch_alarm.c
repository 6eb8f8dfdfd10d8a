#include "worker/dispatch_alarm.h"

#include <time.h>

#include "base/clock.h"

static void sleep_locked(DispatchAlarm *alarm)
{
    /* Relaxed: the lock orders it. */
    uint64_t due = atomic_load_explicit(&alarm->due_ns, memory_order_relaxed);
    if (due == UINT64_MAX) {
        pthread_cond_wait(&alarm->earlier, &alarm->lock);
        return;
    }
    struct timespec until = {.tv_sec = (time_t)(due / CLOCK_NS_PER_S),
                             .tv_nsec = (long)(due % CLOCK_NS_PER_S)};
    pthread_cond_timedwait(&alarm->earlier, &alarm->lock, &until);
}

/* due_ns is "never" while ring looks around. Who writes something down before ring looks at it is
 * seen by ring. Who does so after has taken the lock that ring gave back, therefore reads due_ns as
 * "never" or newer, and lowers it. So nobody is missed. */
static void *alarm_main(void *arg)
{
    DispatchAlarm *alarm = arg;
    pthread_mutex_lock(&alarm->lock);
    while (!alarm->ending) {
        if (clock_monotonic_ns() < atomic_load_explicit(&alarm->due_ns, memory_order_relaxed)) {
            sleep_locked(alarm);
            continue;
        }
        atomic_store_explicit(&alarm->due_ns, UINT64_MAX, memory_order_relaxed);
        pthread_mutex_unlock(&alarm->lock);
        uint64_t next = alarm->ring(alarm->userdata);
        pthread_mutex_lock(&alarm->lock);
        if (next < atomic_load_explicit(&alarm->due_ns, memory_order_relaxed))
            atomic_store_explicit(&alarm->due_ns, next, memory_order_relaxed);
    }
    pthread_mutex_unlock(&alarm->lock);
    return NULL;
}

bool dispatch_alarm_start(DispatchAlarm *alarm, uint64_t (*ring)(void *userdata), void *userdata)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&alarm->earlier, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&alarm->lock, NULL);
    alarm->ending = false;
    atomic_init(&alarm->due_ns, 0);
    alarm->ring = ring;
    alarm->userdata = userdata;
    if (pthread_create(&alarm->thread, NULL, alarm_main, alarm) == 0)
        return true;
    pthread_mutex_destroy(&alarm->lock);
    pthread_cond_destroy(&alarm->earlier);
    return false;
}

void dispatch_alarm_stop(DispatchAlarm *alarm)
{
    pthread_mutex_lock(&alarm->lock);
    alarm->ending = true;
    pthread_cond_signal(&alarm->earlier);
    pthread_mutex_unlock(&alarm->lock);
    pthread_join(alarm->thread, NULL);
    pthread_mutex_destroy(&alarm->lock);
    pthread_cond_destroy(&alarm->earlier);
}

void dispatch_alarm_set(DispatchAlarm *alarm, uint64_t due_ns)
{
    /* Relaxed: see alarm_main. As a rule there is an earlier one already. */
    if (due_ns >= atomic_load_explicit(&alarm->due_ns, memory_order_relaxed))
        return;
    pthread_mutex_lock(&alarm->lock);
    if (due_ns < atomic_load_explicit(&alarm->due_ns, memory_order_relaxed)) {
        atomic_store_explicit(&alarm->due_ns, due_ns, memory_order_relaxed);
        pthread_cond_signal(&alarm->earlier);
    }
    pthread_mutex_unlock(&alarm->lock);
}
