/* ticker.c: the OS thread that ticks pools of fibers, so that what runs on them looks at the clock.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "luau/luau.h"

enum { TICKER_POOLS_MAX = 1024 };

struct luau_Ticker {
    pthread_t thread;
    unsigned period_us;
    pthread_mutex_t lock;
    /* -- under lock -- */
    bool stopping;
    int count;
    luau_Fibers *pools[TICKER_POOLS_MAX];
};

static void *ticker_main(void *arg)
{
    luau_Ticker *ticker = arg;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        next.tv_nsec += (long)ticker->period_us * 1000;
        while (next.tv_nsec >= 1000000000) {
            next.tv_nsec -= 1000000000;
            next.tv_sec++;
        }
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL) == EINTR)
            continue;
        pthread_mutex_lock(&ticker->lock);
        bool stopping = ticker->stopping;
        for (int i = 0; i < ticker->count; i++)
            luau_fibers_tick(ticker->pools[i]);
        pthread_mutex_unlock(&ticker->lock);
        if (stopping)
            return NULL;
    }
}

luau_Ticker *luau_ticker_new(unsigned period_us)
{
    luau_Ticker *ticker = calloc(1, sizeof(*ticker));
    if (!ticker)
        return NULL;
    ticker->period_us = period_us;
    pthread_mutex_init(&ticker->lock, NULL);
    if (pthread_create(&ticker->thread, NULL, ticker_main, ticker) != 0) {
        pthread_mutex_destroy(&ticker->lock);
        free(ticker);
        return NULL;
    }
    return ticker;
}

int luau_ticker_add(luau_Ticker *ticker, luau_Fibers *pool)
{
    pthread_mutex_lock(&ticker->lock);
    int ok = ticker->count < TICKER_POOLS_MAX;
    if (ok)
        ticker->pools[ticker->count++] = pool;
    pthread_mutex_unlock(&ticker->lock);
    return ok;
}

void luau_ticker_remove(luau_Ticker *ticker, luau_Fibers *pool)
{
    pthread_mutex_lock(&ticker->lock);
    for (int i = 0; i < ticker->count; i++) {
        if (ticker->pools[i] == pool) {
            ticker->pools[i] = ticker->pools[--ticker->count];
            break;
        }
    }
    pthread_mutex_unlock(&ticker->lock);
}

void luau_ticker_free(luau_Ticker *ticker)
{
    if (!ticker)
        return;
    pthread_mutex_lock(&ticker->lock);
    ticker->stopping = true;
    pthread_mutex_unlock(&ticker->lock);
    pthread_join(ticker->thread, NULL);
    pthread_mutex_destroy(&ticker->lock);
    free(ticker);
}
