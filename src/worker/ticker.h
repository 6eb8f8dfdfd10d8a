/* ticker.h: the thread that makes running VMs look at the clock, so that slices and limits end in
 * time. It sleeps while nothing runs: an idle server wakes nobody. */
#ifndef WORKER_TICKER_H
#define WORKER_TICKER_H

#include "luau/luau.h"

typedef struct Ticker Ticker;

/* For so many threads. NULL: no memory. */
Ticker *ticker_new(unsigned period_us, int threads);
void ticker_free(Ticker *ticker); /* before the fibers; NULL is fine */
/* What thread number `thread` runs VMs on. Before it enters. */
void ticker_setfibers(Ticker *ticker, int thread, luau_Fibers *fibers);
/* On that thread: a VM is about to run; it ran. */
void ticker_enter(Ticker *ticker, int thread);
void ticker_leave(Ticker *ticker, int thread);

#endif
