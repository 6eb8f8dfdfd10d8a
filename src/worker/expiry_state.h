/* expiry_state.h: what the files of expiry share (its story: expiry.c). All functions but
 * expiry_come_back and the completions are for whoever polls. */
#ifndef WORKER_EXPIRY_STATE_H
#define WORKER_EXPIRY_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "worker/expiry.h"
#include "worker/expiry_queue.h"

enum { EXPIRY_DELAY_MS = 1000 /* the first of each kind */, EXPIRY_DELAY_MAX_MS = 600000 };
#define EXPIRY_NEVER_MS INT64_MAX

/* One way of using the store, which works or does not. */
typedef struct ExpiryGate {
    const char *what;
    bool failing;
    int under_way;
    uint64_t at_ms, delay_ms; /* failing: when one request may try again */
} ExpiryGate;

struct Expiry {
    Store *store;
    Dispatcher *dispatcher;
    int64_t (*clock_ms)(void *);
    void *clock_userdata;

    /* Of who polls. */
    ExpiryQueue queue;
    ExpiryGate reads, writes;
    Occasion *notes_first, *notes_last;
    DispatchHeap rests; /* occasions whose notes failed, each for itself */
    int64_t now_ms;
    uint64_t steady_ms;
    int64_t next_ms;    /* when there is something to take, as far as is known */
    StoreRequest *look; /* DUE_TAKE or DUE_NEXT, under way or being looked at */
    int look_at;        /* dues of it that are in the queue already */
    uint64_t look_ms;   /* not 0: there was no memory for the others, and is none before then */
    bool ask_next, took_nothing;
    uint64_t unnoted;      /* given up at the end */
    uint64_t logged_at_ms; /* a second begins in which so many failures were logged: */
    int logged, unlogged;  /* and of those that were not, how many are yet to be told of */

    /* Shared, under the lock. */
    pthread_mutex_t lock;
    Occasion *back_first, *back_last;
    bool looked;      /* `look` came back */
    int64_t hint_ms;  /* something is due then */
    int64_t armed_ms; /* when the next poll is */
    bool polling, stopping;
    bool quiet; /* it stops, and nothing is dispatched any more */
    pthread_cond_t quieter;

    int wake_fd, timer_fd; /* -1: none */
    bool has_thread, stopped;
    pthread_t thread;

    /* Relaxed: each stands for itself. */
    _Atomic uint64_t told, failed, given_up, unlogged_ever, wakes;
};

/* expiry.c: another thread is done with it. */
void expiry_come_back(Occasion *occasion);
void expiry_on_occasion(StoreRequest *request);
void expiry_on_look(StoreRequest *request);

/* expiry_note.c. `first`, doubled so often. */
uint64_t expiry_delay(uint64_t first, int times, uint64_t max);
void expiry_count(_Atomic uint64_t *counter);
/* A steady time by the wall clock, as it is now. */
int64_t expiry_wall_ms(const Expiry *x, uint64_t steady_ms);
/* Is it the store that fails, and not the one thing that was asked for? */
bool expiry_is_outage(StoreStatus status);
/* May a request be sent, when so many at most are to be under way? */
bool expiry_gate_open(const Expiry *x, const ExpiryGate *gate, int max);
/* When it will be open; EXPIRY_NEVER_MS: when something comes back. */
int64_t expiry_gate_ms(const Expiry *x, const ExpiryGate *gate);
void expiry_gate_fail(Expiry *x, ExpiryGate *gate, StoreStatus status, Text message);
void expiry_gate_pass(ExpiryGate *gate);
/* A request came back. */
void expiry_gate_result(Expiry *x, ExpiryGate *gate, const StoreRequest *request);
/* The occasion's verdict is to be noted. */
void expiry_note(Expiry *x, Occasion *occasion, Verdict verdict);
void expiry_note_failed(Expiry *x, Occasion *occasion);
/* Is this failure told in the log, if it is one: the first and the last of an occasion. */
bool expiry_is_logged(const Occasion *occasion);
/* How many were not, if any. */
void expiry_log_rest(Expiry *x);
void expiry_send_notes(Expiry *x);
void expiry_noted(Expiry *x, Occasion *occasion);
/* Notes that rested long enough are tried again. */
void expiry_wake_rested(Expiry *x);
/* At the end: what the store will not take is given up. */
void expiry_give_up_notes(Expiry *x);

/* expiry_tell.c */
void expiry_start(Expiry *x);
void expiry_read_back(Expiry *x, Occasion *occasion);
void expiry_told(Expiry *x, Occasion *occasion);

/* expiry_take.c */
void expiry_look(Expiry *x);
void expiry_look_back(Expiry *x);
/* At the end: what there was no memory for is left to the store. */
void expiry_look_over(Expiry *x);
/* When it looks again; EXPIRY_NEVER_MS: not by itself. */
int64_t expiry_look_ms(const Expiry *x);

#endif
