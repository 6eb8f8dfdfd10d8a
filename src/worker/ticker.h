/* ticker.h: the thread that makes running VMs look at the clock, so that slices and limits end in
 * time. It sleeps while nothing runs: an idle server wakes nobody. */
#ifndef WORKER_TICKER_H
#define WORKER_TICKER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "luau/luau.h"

typedef struct Ticker Ticker;

/* What a thread that runs VMs is to the ticker; embedded in the thread's own struct. Each thread
 * writes its own at every turn. */
typedef struct TickerSlot {
    atomic_bool running;
    /* -- under the ticker's lock -- */
    luau_Fibers *fibers;
    struct TickerSlot *prev, *next;
} TickerSlot;

/* NULL: no memory. */
Ticker *ticker_new(unsigned period_us);
void ticker_free(Ticker *ticker); /* all slots were removed; NULL is fine */
/* `fibers`: what the thread runs VMs on; they outlive the slot's time here. Not between enter and
 * leave. Any thread. */
void ticker_add(Ticker *ticker, TickerSlot *slot, luau_Fibers *fibers);
void ticker_remove(Ticker *ticker, TickerSlot *slot);
/* On the slot's thread: a VM is about to run; it ran. */
void ticker_enter(Ticker *ticker, TickerSlot *slot);
void ticker_leave(TickerSlot *slot);

#endif
