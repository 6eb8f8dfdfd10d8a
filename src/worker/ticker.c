#include "worker/ticker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

enum {
    QUIET_TICKS = 20, /* without a running VM, before it falls asleep */
    CACHE_LINE = 64
};

/* Each thread writes its own at every turn. */
typedef struct TickerSlot {
    _Alignas(CACHE_LINE) atomic_bool running;
    luau_Fibers *fibers;
} TickerSlot;

struct Ticker {
    pthread_t thread;
    unsigned period_us;
    int count;
    TickerSlot *slots;
    atomic_bool stopping;
    atomic_bool asleep; /* set by the ticker, taken back by who wakes it; written under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wanted;
};

static bool tick(Ticker *ticker)
{
    bool any = false;
    for (int i = 0; i < ticker->count; i++) {
        TickerSlot *slot = &ticker->slots[i];
        if (!atomic_load_explicit(&slot->running, memory_order_acquire))
            continue;
        luau_fibers_tick(slot->fibers);
        any = true;
    }
    return any;
}

/* Either the ticker sees that a thread runs, or the thread sees that the ticker sleeps: both write
 * first and then read, sequentially consistent. */
static void fall_asleep(Ticker *ticker)
{
    pthread_mutex_lock(&ticker->lock);
    atomic_store(&ticker->asleep, true);
    bool any = false;
    for (int i = 0; i < ticker->count; i++)
        any |= atomic_load(&ticker->slots[i].running);
    while (!any && atomic_load(&ticker->asleep) && !atomic_load(&ticker->stopping))
        pthread_cond_wait(&ticker->wanted, &ticker->lock);
    atomic_store(&ticker->asleep, false);
    pthread_mutex_unlock(&ticker->lock);
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
        quiet = tick(ticker) ? 0 : quiet + 1;
        if (quiet >= QUIET_TICKS) {
            fall_asleep(ticker);
            quiet = 0;
        }
    }
    return NULL;
}

Ticker *ticker_new(unsigned period_us, int threads)
{
    Ticker *ticker = calloc(1, sizeof(*ticker));
    TickerSlot *slots = aligned_alloc(CACHE_LINE, (size_t)threads * sizeof(*slots));
    if (ticker && slots) {
        *ticker = (Ticker){.period_us = period_us, .count = threads, .slots = slots};
        for (int i = 0; i < threads; i++)
            slots[i] = (TickerSlot){.running = false};
        pthread_mutex_init(&ticker->lock, NULL);
        pthread_cond_init(&ticker->wanted, NULL);
        if (pthread_create(&ticker->thread, NULL, ticker_main, ticker) == 0)
            return ticker;
        pthread_cond_destroy(&ticker->wanted);
        pthread_mutex_destroy(&ticker->lock);
    }
    free(slots);
    free(ticker);
    return NULL;
}

void ticker_free(Ticker *ticker)
{
    if (!ticker)
        return;
    atomic_store(&ticker->stopping, true);
    wake(ticker);
    pthread_join(ticker->thread, NULL);
    pthread_cond_destroy(&ticker->wanted);
    pthread_mutex_destroy(&ticker->lock);
    free(ticker->slots);
    free(ticker);
}

void ticker_setfibers(Ticker *ticker, int thread, luau_Fibers *fibers)
{
    ticker->slots[thread].fibers = fibers;
}

void ticker_enter(Ticker *ticker, int thread)
{
    atomic_store(&ticker->slots[thread].running, true);
    if (atomic_load(&ticker->asleep))
        wake(ticker);
}

void ticker_leave(Ticker *ticker, int thread)
{
    atomic_store_explicit(&ticker->slots[thread].running, false, memory_order_release);
}
