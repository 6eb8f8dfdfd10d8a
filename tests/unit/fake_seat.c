#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_seat.h"

static void *seat_open(void *userdata, int index, WorkerSeat *worker_seat)
{
    FakeSeat *seat = (FakeSeat *)userdata + index;
    seat->seat = worker_seat;
    pthread_mutex_init(&seat->lock, NULL);
    pthread_cond_init(&seat->changed, NULL);
    return seat;
}

static bool seat_wait(void *arg, int timeout_ms)
{
    FakeSeat *seat = arg;
    pthread_mutex_lock(&seat->lock);
    while (!seat->action && !seat->woken && timeout_ms < 0)
        pthread_cond_wait(&seat->changed, &seat->lock);
    seat->woken = false;
    bool any = seat->action != NULL;
    pthread_mutex_unlock(&seat->lock);
    return any;
}

static void seat_serve(void *arg)
{
    FakeSeat *seat = arg;
    pthread_mutex_lock(&seat->lock);
    LuaVmAction *action = seat->action;
    seat->action = NULL;
    pthread_mutex_unlock(&seat->lock);
    /* One that runs may be done, and its owner gone on, before worker_begin returns. */
    seat->begun = worker_begin(seat->seat, action);
    if (seat->begun == WORKER_DONE)
        action->complete(action);
    else if (seat->begun == WORKER_NOT_NOW)
        worker_post(seat->seat, action);
    atomic_fetch_add(&seat->served, 1);
}

static void seat_wake(void *arg)
{
    FakeSeat *seat = arg;
    pthread_mutex_lock(&seat->lock);
    seat->woken = true;
    pthread_cond_signal(&seat->changed);
    pthread_mutex_unlock(&seat->lock);
}

WorkerIo fake_seats(FakeSeat *seats)
{
    return (WorkerIo){seats, seat_open, seat_wait, seat_serve, seat_wake};
}

void fake_seats_free(FakeSeat *seats, int count)
{
    for (int i = 0; i < count; i++) {
        pthread_mutex_destroy(&seats[i].lock);
        pthread_cond_destroy(&seats[i].changed);
    }
}

WorkerBegun fake_seat_begin(FakeSeat *seat, LuaVmAction *action)
{
    int before = atomic_load(&seat->served);
    pthread_mutex_lock(&seat->lock);
    seat->action = action;
    pthread_cond_signal(&seat->changed);
    pthread_mutex_unlock(&seat->lock);
    for (int i = 0; i < 600000 && atomic_load(&seat->served) == before; i++)
        usleep(200);
    assert_int_equal(atomic_load(&seat->served), before + 1);
    return seat->begun;
}
