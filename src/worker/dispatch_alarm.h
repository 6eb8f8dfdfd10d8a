/* dispatch_alarm.h: a thread that sleeps until the earliest time it was asked for, and forever if
 * it was asked for none. */
#ifndef WORKER_DISPATCH_ALARM_H
#define WORKER_DISPATCH_ALARM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct DispatchAlarm {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t earlier;
    bool ending;             /* under the lock */
    _Atomic uint64_t due_ns; /* CLOCK_MONOTONIC, UINT64_MAX: never; written under the lock */
    uint64_t (*ring)(void *userdata);
    void *userdata;
} DispatchAlarm;

/* ring looks after what is due and returns when it wants to be called again (UINT64_MAX: when
 * asked); it is called from the thread, first at once. False: no thread. */
bool dispatch_alarm_start(DispatchAlarm *alarm, uint64_t (*ring)(void *userdata), void *userdata);
/* Waits for the thread, which finishes the ring it is in. */
void dispatch_alarm_stop(DispatchAlarm *alarm);
/* Rings not much later than then. Any thread, after having written down, under a lock that ring
 * takes too, what is due. */
void dispatch_alarm_set(DispatchAlarm *alarm, uint64_t due_ns);

#endif
