/* fake_seat.h: seats without sockets: what a test hands over is begun, as a request would be. */
#ifndef TESTS_FAKE_SEAT_H
#define TESTS_FAKE_SEAT_H

#include <pthread.h>
#include <stdatomic.h>

#include "worker/worker.h"

typedef struct FakeSeat {
    WorkerSeat *seat;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    LuaVmAction *action; /* to be begun; under the lock */
    bool woken;          /* likewise */
    WorkerBegun begun;   /* how the last one began; before it is counted in `served` */
    atomic_int served;
} FakeSeat;

/* As many as the worker has seats; they are the caller's. */
WorkerIo fake_seats(FakeSeat *seats);
void fake_seats_free(FakeSeat *seats, int count); /* what is in them; the worker was stopped */
/* Gives the action to the seat, and waits until it has begun. It may be done by then. */
WorkerBegun fake_seat_begin(FakeSeat *seat, LuaVmAction *action);

#endif
