/* ticker.c: the OS thread that ticks pools of fibers, so that what runs on them looks at the clock.
 *
 * It ticks the pools that run a VM, and falls asleep when for some ticks none did: an idle program
 * wakes nobody. A pool that begins to run wakes it. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "luau/fiber.h"

enum { QUIET_TICKS = 20 }; /* without a running VM, before it falls asleep */

struct luau_Ticker {
    pthread_t thread;
    unsigned period_us;
    pthread_mutex_t lock;
    pthread_cond_t wanted; /* to the sleeping ticker: wake up, or stop */
    atomic_bool asleep;    /* set by the ticker, taken back by who wakes it; under the lock */
    /* -- under the lock -- */
    bool stopping;
    luau_Fibers *pools;
};

static bool tick_locked(luau_Ticker *ticker)
{
    bool any = false;
    for (luau_Fibers *pool = ticker->pools; pool; pool = pool->next) {
        /* Relaxed: a tick too many or too few makes a slice a little shorter or longer. */
        if (atomic_load_explicit(&pool->running, memory_order_relaxed) == 0)
            continue;
        luau_fibers_tick(pool);
        any = true;
    }
    return any;
}

/* Either the ticker sees that a pool runs, or the pool sees that the ticker sleeps: both write
 * first and then read, sequentially consistent. */
static void fall_asleep_locked(luau_Ticker *ticker)
{
    atomic_store(&ticker->asleep, true);
    bool any = false;
    for (luau_Fibers *pool = ticker->pools; pool; pool = pool->next)
        any |= atomic_load(&pool->running) != 0;
    while (!any && atomic_load(&ticker->asleep) && !ticker->stopping)
        pthread_cond_wait(&ticker->wanted, &ticker->lock);
    atomic_store(&ticker->asleep, false);
}

static void wake_locked(luau_Ticker *ticker)
{
    atomic_store(&ticker->asleep, false);
    pthread_cond_signal(&ticker->wanted);
}

void luY_wanted(luau_Ticker *ticker)
{
    if (!atomic_load(&ticker->asleep))
        return;
    pthread_mutex_lock(&ticker->lock);
    wake_locked(ticker);
    pthread_mutex_unlock(&ticker->lock);
}

static void *ticker_main(void *arg)
{
    luau_Ticker *ticker = arg;
    struct timespec period = {.tv_sec = ticker->period_us / 1000000,
                              .tv_nsec = (long)(ticker->period_us % 1000000) * 1000};
    int quiet = 0;
    pthread_mutex_lock(&ticker->lock);
    while (!ticker->stopping) {
        pthread_mutex_unlock(&ticker->lock);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &period, NULL);
        pthread_mutex_lock(&ticker->lock);
        quiet = tick_locked(ticker) ? 0 : quiet + 1;
        if (quiet >= QUIET_TICKS) {
            fall_asleep_locked(ticker);
            quiet = 0;
        }
    }
    pthread_mutex_unlock(&ticker->lock);
    return NULL;
}

luau_Ticker *luau_ticker_new(unsigned period_us)
{
    luau_Ticker *ticker = calloc(1, sizeof(*ticker));
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

void luau_ticker_free(luau_Ticker *ticker)
{
    if (!ticker)
        return;
    pthread_mutex_lock(&ticker->lock);
    BASE_ASSERT(ticker->pools == NULL);
    ticker->stopping = true;
    wake_locked(ticker);
    pthread_mutex_unlock(&ticker->lock);
    pthread_join(ticker->thread, NULL);
    pthread_cond_destroy(&ticker->wanted);
    pthread_mutex_destroy(&ticker->lock);
    free(ticker);
}

void luau_ticker_add(luau_Ticker *ticker, luau_Fibers *pool)
{
    BASE_ASSERT(pool->ticker == NULL);
    pthread_mutex_lock(&ticker->lock);
    pool->ticker = ticker;
    pool->previous = NULL;
    pool->next = ticker->pools;
    if (pool->next)
        pool->next->previous = pool;
    ticker->pools = pool;
    pthread_mutex_unlock(&ticker->lock);
}

void luau_ticker_remove(luau_Ticker *ticker, luau_Fibers *pool)
{
    BASE_ASSERT(pool->ticker == ticker);
    pthread_mutex_lock(&ticker->lock);
    if (pool->previous)
        pool->previous->next = pool->next;
    else
        ticker->pools = pool->next;
    if (pool->next)
        pool->next->previous = pool->previous;
    pool->ticker = NULL;
    pthread_mutex_unlock(&ticker->lock);
}
