/* fiber.h: native stacks, parking, polls (luau_run and friends in luau.h). */
#ifndef LUAU_FIBER_H
#define LUAU_FIBER_H

#include "luau/state.h"

struct luau_Fibers {
    _Atomic(uint32_t) interrupt; /* first: polls and the VM's struct know it by its address */
    _Atomic(uint32_t) running;   /* VMs that the thread is in; one may run another */
    uint64_t thread_cpu_ns;      /* processor time of the OS thread when it was last looked at */
    int keep_max, kept, made;
    struct luau_Fiber *free_list;
    luau_Ticker *ticker;          /* NULL: none */
    luau_Fibers *previous, *next; /* the ticker's, under its lock */
};
/* The ticker must not sleep: a pool of its has begun to run. */
void luY_wanted(luau_Ticker *ticker);

/* The safepoint. Costs two loads and a branch. */
#define luY_poll(L)                                                                                \
    do {                                                                                           \
        if (BASE_UNLIKELY(                                                                         \
                atomic_load_explicit(atomic_load_explicit(&G(L)->interrupt, memory_order_relaxed), \
                                     memory_order_relaxed)))                                       \
            luY_pollslow(L);                                                                       \
    } while (0)
void luY_pollslow(lua_State *L);
/* For long work on bytes that knows no VM: parks the VM that runs on this OS thread if it is time
 * to. Never unwinds; the VM's heap does not change meanwhile. */
void luY_pause(void);
/* Notes why and where the VM stops; the caller then unwinds by luD_kill. */
void luY_setkill(lua_State *L, int reason);

/* Runs fn on a fresh native stack of that size and comes back when it returns. 0: no memory. fn may
 * not unwind past its own frame. drop is called in the end, also where fn never returns because its
 * fiber is dropped or escaped from: it frees what fn holds. */
int luY_onbigstack(size_t bytes, void (*fn)(void *), void (*drop)(void *), void *arg);
/* Frees the fiber that the VM is parked on, if any, and runs nothing of it. */
void luY_dropfiber(Global_ *g);

/* The outermost activation begins and ends: account of time, limit of the native stack. */
void luY_entered(lua_State *L);
void luY_left(lua_State *L);
/* A kill is about to unwind: does not return if the VM was abandoned. */
void luY_leavekilled(lua_State *L);

uint64_t luY_now_ns(void); /* CLOCK_MONOTONIC */

#endif
