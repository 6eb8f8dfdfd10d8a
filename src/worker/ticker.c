#include "worker/ticker.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/base.h"

enum { QUIET_TICKS = 20 }; /* without a running VM, before it falls asleep */

struct Ticker {
    pthread_t thread;
    unsigned period_us;
    atomic_bool stopping;
    atomic_bool asleep; /* set by the ticker, taken back by who wakes it; written under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    TickerSlot *slots;
};

static bool tick_locked(Ticker *ticker)
{
    bool any = false;
    for (TickerSlot *slot = ticker->slots; slot; slot = slot->next) {
        /* Relaxed: a tick too many or too few makes a slice a little shorter or longer. */
        if (!atomic_load_explicit(&slot->running, memory_order_relaxed))
            continue;
        luau_fibers_tick(slot->fibers);
        any = true;
    }
    return any;
}

/* Either the ticker sees that a thread runs, or the thread sees that the ticker sleeps: both write
 * first and then read, sequentially consistent. */
static void fall_asleep_locked(Ticker *ticker)
{
    atomic_store(&ticker->asleep, true);
    bool any = false;
    for (TickerSlot *slot = ticker->slots; slot; slot = slot->next)
        any |= atomic_load(&slot->running);
    while (!any && atomic_load(&ticker->asleep) && !atomic_load(&ticker->stopping))
        pthread_cond_wait(&ticker->wanted, &ticker->lock);
    atomic_store(&ticker->asleep, false);
}

static void wake(Ticker *ticker)
{
    pthread_mutex_lock(&ticker->lock);
    atomic_store(&ticker->asleep, false);
    pthread_cond_signal(&ticker->wanted);
    pthread_mutex_unlock(&ticker->lock);
}

static void *ticker_main(void *arg)
{
    Ticker *ticker = arg;
    struct timespec period = {.tv_nsec = (long)ticker->period_us * 1000};
    int quiet = 0;
    while (!atomic_load(&ticker->stopping)) {
        clock_nanosleep(CLOCK_MONOTONIC, 0, &period, NULL);
        pthread_mutex_lock(&ticker->lock);
        quiet = tick_locked(ticker) ? 0 : quiet + 1;
        if (quiet >= QUIET_TICKS) {
            fall_asleep_locked(ticker);
            quiet = 0;
        }
        pthread_mutex_unlock(&ticker->lock);
    }
    return NULL;
}

Ticker *ticker_new(unsigned period_us)
{
    Ticker *ticker = calloc(1, sizeof(*ticker));
    if (!ticker)
        return NULL;
    ticker->period_us = period_us;
    pthread_mutex_init(&ticker->lock, NULL);
    pthread_cond_init(&ticker->wanted, NULL);
    if (pthread_create(&ticker->thread, NULL, ticker_main, ticker) == 0)
        return ticker;
    pthread_cond_destroy(&ticker->wanted);
    pthread_mutex_destroy(&ticker->lock);
    free(ticker);
    return NULL;
}

void ticker_free(Ticker *ticker)
{
    if (!ticker)
        return;
    BASE_ASSERT(ticker->slots == NULL);
    atomic_store(&ticker->stopping, true);
    wake(ticker);
    pthread_join(ticker->thread, NULL);
    pthread_cond_destroy(&ticker->wanted);
    pthread_mutex_destroy(&ticker->lock);
    free(ticker);
}

void ticker_add(Ticker *ticker, TickerSlot *slot, luau_Fibers *fibers)
{
    pthread_mutex_lock(&ticker->lock);
    slot->fibers = fibers;
    slot->prev = NULL;
    slot->next = ticker->slots;
    if (slot->next)
        slot->next->prev = slot;
    ticker->slots = slot;
    pthread_mutex_unlock(&ticker->lock);
}

void ticker_remove(Ticker *ticker, TickerSlot *slot)
{
    pthread_mutex_lock(&ticker->lock);
    if (slot->prev)
        slot->prev->next = slot->next;
    else
        ticker->slots = slot->next;
    if (slot->next)
        slot->next->prev = slot->prev;
    slot->prev = slot->next = NULL;
    pthread_mutex_unlock(&ticker->lock);
}

void ticker_enter(Ticker *ticker, TickerSlot *slot)
{
    atomic_store(&slot->running, true);
    if (atomic_load(&ticker->asleep))
        wake(ticker);
}

void ticker_leave(TickerSlot *slot)
{
    /* Relaxed: see tick_locked. */
    atomic_store_explicit(&slot->running, false, memory_order_relaxed);
}
