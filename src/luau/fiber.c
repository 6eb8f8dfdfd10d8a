/* fiber.c: native stacks, parking, polls, limits on time.
 *
 * luau_run puts host work that uses a VM on a fiber: a native stack of its own, taken from a pool.
 * When a poll inside decides to preempt, the fiber switches back to the caller of luau_run, which
 * gets LUAU_PARKED; luau_continue switches into it again. Everything on the fiber's stack (sort
 * comparators, gsub callbacks, metamethods) just waits. So preemption costs the engine nothing
 * where it does not happen, and no native needs to be written for it.
 *
 * Fibers start by makecontext and switch by _setjmp/_longjmp, which do not touch the signal mask
 * (no system call). Sanitizers are told about each switch.
 *
 * Interrupts. A poll looks at one word: the VM's own, or while luau_run runs it, the pool's. Anyone
 * who wants the VM's attention sets g->requests and then the word; a ticker sets the word of each
 * pool every period so that slices, processor time and deadlines are looked at. luY_pollslow clears
 * the word first and then looks at the reasons, so no request is lost. */
#undef _FORTIFY_SOURCE /* its longjmp check takes a switch of stacks for a mistake */
#include "luau/fiber.h"

#include <stdlib.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "luau/call.h"

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WITH_TSAN
#include <sanitizer/tsan_interface.h>
#endif

enum {
#if defined(WITH_ASAN) || defined(WITH_TSAN)
    FIBER_STACK_BYTES = 2048 * 1024, /* instrumented frames are larger */
#else
    FIBER_STACK_BYTES = 256 * 1024,
#endif
    STACK_MARGIN_BYTES = 24 * 1024, /* kept free below the limit, for C library functions */
    THREAD_STACK_BYTES = 2 * FIBER_STACK_BYTES, /* assumed room on an OS thread's own stack */
    GUARD_BYTES = 4096,
    LONG_STRETCH_NS = 200 * 1000 /* of one VM on one thread: see account */
};

/* ---- contexts: one side of a switch ---------------------------------------------------------- */

typedef struct Context {
    jmp_buf jump;
#ifdef WITH_ASAN
    void *fake_stack;
    const void *stack;
    size_t stack_bytes;
#endif
#ifdef WITH_TSAN
    void *tsan;      /* its fiber for the stack that the context was left on */
    void *tsan_made; /* and for the one that it was started on */
#endif
} Context;

typedef struct NativeStack {
    char *memory;
    size_t bytes; /* guard page included */
} NativeStack;

struct luau_Fiber {
    luau_Fibers *pool;
    struct luau_Fiber *next; /* in the pool's free list */
    NativeStack stack;
    Context inside, outside;
    lua_State *L;
    void (*work)(lua_State *L, void *arg);
    void *arg;
    struct BigStack *big; /* further stacks that it stands on, the innermost first */
    bool started, finished;
    bool held;    /* parked where code cleans up itself (luau_pollkill) */
    bool escaped; /* left for good (luau_escape) */
};

static bool stack_new(NativeStack *stack, size_t bytes)
{
    stack->bytes = bytes + GUARD_BYTES;
    stack->memory = mmap(NULL, stack->bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (stack->memory == MAP_FAILED)
        return false;
    if (mprotect(stack->memory, GUARD_BYTES, PROT_NONE) != 0) {
        munmap(stack->memory, stack->bytes);
        return false;
    }
    return true;
}

static void stack_free(NativeStack *stack)
{
#ifdef WITH_ASAN /* frames that never returned */
    ASAN_UNPOISON_MEMORY_REGION(stack->memory, stack->bytes);
#endif
    munmap(stack->memory, stack->bytes);
}

/* Leaves `from` (saved) for `to`; comes back when somebody switches to `from`. A context may be
 * left from another stack than it was started on (luY_onbigstack), so what the sanitizers need to
 * know of a stack is learned at each switch. */
static void switch_context(Context *from, Context *to)
{
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_bytes);
#endif
#ifdef WITH_TSAN
    from->tsan = __tsan_get_current_fiber();
#endif
    if (_setjmp(from->jump) == 0) {
#ifdef WITH_TSAN /* after setjmp: it keeps jump buffers by fiber */
        __tsan_switch_to_fiber(to->tsan, 0);
#endif
        _longjmp(to->jump, 1);
    }
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, &to->stack, &to->stack_bytes);
#endif
}

/* Leaves the stack for good. */
static BASE_NORETURN void end_context(Context *to)
{
#ifdef WITH_ASAN /* its account of this stack ends here: no variable of the frame may be used */
    __sanitizer_start_switch_fiber(NULL, to->stack, to->stack_bytes);
#endif
#ifdef WITH_TSAN
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
    _longjmp(to->jump, 1);
}

/* What runs first on a new stack. The argument comes in two halves, as makecontext takes ints. */
struct Launch {
    Context *self, *back;
    void (*fn)(void *arg);
    void *arg;
};

static void launch(unsigned high, unsigned low)
{
    struct Launch *given = (struct Launch *)(((uintptr_t)high << 32) | (uintptr_t)low);
    struct Launch mine = *given;
#ifdef WITH_ASAN
    const void *stack;
    size_t bytes;
    __sanitizer_finish_switch_fiber(NULL, &stack, &bytes);
    mine.back->stack = stack;
    mine.back->stack_bytes = bytes;
#endif
    mine.fn(mine.arg);
    end_context(mine.back);
}

/* Runs fn(arg) on the stack, from the context `back` (the caller's): returns when fn returned or
 * something inside switched to `back`. */
static void start_on(NativeStack *stack, struct Launch *start)
{
    ucontext_t context;
    ucontext_t unused;
    getcontext(&context);
    context.uc_stack.ss_sp = stack->memory + GUARD_BYTES;
    context.uc_stack.ss_size = stack->bytes - GUARD_BYTES;
    context.uc_link = NULL;
    uintptr_t p = (uintptr_t)start;
    makecontext(&context, (void (*)(void))launch, 2, (unsigned)(p >> 32), (unsigned)p);
#ifdef WITH_ASAN
    start->self->stack = context.uc_stack.ss_sp;
    start->self->stack_bytes = context.uc_stack.ss_size;
    __sanitizer_start_switch_fiber(&start->back->fake_stack, start->self->stack,
                                   start->self->stack_bytes);
#endif
#ifdef WITH_TSAN
    start->self->tsan = start->self->tsan_made = __tsan_create_fiber(0);
    start->back->tsan = __tsan_get_current_fiber();
#endif
    if (_setjmp(start->back->jump) == 0) {
#ifdef WITH_TSAN
        __tsan_switch_to_fiber(start->self->tsan, 0);
#endif
        swapcontext(&unused, &context);
    }
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(start->back->fake_stack, &start->self->stack,
                                    &start->self->stack_bytes);
#endif
}

static void context_ended(Context *context)
{
#ifdef WITH_TSAN
    __tsan_destroy_fiber(context->tsan_made);
#else
    (void)context;
#endif
}

/* ---- further stacks -------------------------------------------------------------------------- */

/* Stands in the frame of luY_onbigstack, on the stack that called it. */
typedef struct BigStack {
    struct BigStack *outer;
    NativeStack stack;
    Context inside, outside;
    void (*drop)(void *arg);
    void *arg;
} BigStack;

/* The fiber that this OS thread runs, or NULL. Fibers never change their thread. */
static _Thread_local struct luau_Fiber *current_fiber;

static void drop_big(BigStack *big)
{
    big->drop(big->arg);
    context_ended(&big->inside);
    stack_free(&big->stack);
}

/* Leaves the fiber, one stack after the other. */
static BASE_NORETURN void escape(struct luau_Fiber *fiber)
{
    fiber->escaped = true;
    end_context(fiber->big ? &fiber->big->outside : &fiber->outside);
}

int luY_onbigstack(size_t bytes, void (*fn)(void *), void (*drop)(void *), void *arg)
{
    struct luau_Fiber *fiber = current_fiber;
    BigStack big;
    memset(&big, 0, sizeof(big));
    if (!stack_new(&big.stack, bytes))
        return 0;
    big.drop = drop;
    big.arg = arg;
    if (fiber) {
        big.outer = fiber->big;
        fiber->big = &big;
    }
    struct Launch start = {&big.inside, &big.outside, fn, arg};
    start_on(&big.stack, &start);
    drop_big(&big);
    if (fiber) {
        fiber->big = big.outer;
        if (fiber->escaped)
            escape(fiber);
    }
    return 1;
}

/* ---- pools ----------------------------------------------------------------------------------- */

static void free_fiber(struct luau_Fiber *fiber)
{
    for (BigStack *big = fiber->big, *outer; big; big = outer) {
        outer = big->outer; /* it stands on that stack, or on the fiber's */
        drop_big(big);
    }
    if (fiber->started)
        context_ended(&fiber->inside);
    stack_free(&fiber->stack);
    free(fiber);
}

luau_Fibers *luau_fibers_new(int keep_max)
{
    luau_Fibers *pool = calloc(1, sizeof(*pool));
    if (pool)
        pool->keep_max = keep_max;
    return pool;
}

void luau_fibers_free(luau_Fibers *pool)
{
    if (!pool)
        return;
    BASE_ASSERT(pool->made == pool->kept); /* no VM is parked */
    while (pool->free_list) {
        struct luau_Fiber *fiber = pool->free_list;
        pool->free_list = fiber->next;
        free_fiber(fiber);
    }
    free(pool);
}

void luau_fibers_tick(luau_Fibers *pool)
{
    /* Relaxed: the word only says "look"; what there is to see has its own ordering. */
    atomic_store_explicit(&pool->interrupt, 1, memory_order_relaxed);
}

static struct luau_Fiber *take_fiber(luau_Fibers *pool)
{
    struct luau_Fiber *fiber = pool->free_list;
    if (fiber) {
        pool->free_list = fiber->next;
        pool->kept--;
        return fiber;
    }
    fiber = calloc(1, sizeof(*fiber));
    if (!fiber)
        return NULL;
    if (!stack_new(&fiber->stack, FIBER_STACK_BYTES)) {
        free(fiber);
        return NULL;
    }
    fiber->pool = pool;
    pool->made++;
    return fiber;
}

static void give_fiber(struct luau_Fiber *fiber)
{
    luau_Fibers *pool = fiber->pool;
    if (pool->kept < pool->keep_max) {
        fiber->next = pool->free_list;
        pool->free_list = fiber;
        pool->kept++;
        return;
    }
    pool->made--;
    free_fiber(fiber);
}

/* ---- running --------------------------------------------------------------------------------- */

uint64_t luY_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double lua_clock(void)
{
    return (double)luY_now_ns() * 1e-9;
}

/* Of a VM that looks at a pool's word (g->timed). */
static luau_Fibers *pool_of(Global_ *g)
{
    return (luau_Fibers *)(void *)atomic_load_explicit(&g->interrupt, memory_order_relaxed);
}

/* Processor time. On a busy machine the time that passed may be much longer, and a tenant must not
 * pay for what others took; but the clock that knows is a system call. So it is asked after long
 * stretches only: what the thread used since it was last asked bounds what this VM used. */
static void account(Global_ *g, uint64_t now)
{
    uint64_t spent_ns = now - g->entered_ns;
    g->entered_ns = now;
    if (spent_ns >= LONG_STRETCH_NS && g->timed) {
        luau_Fibers *pool = pool_of(g);
        struct timespec used;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
        uint64_t cpu_ns = (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
        uint64_t since_ns = cpu_ns - pool->thread_cpu_ns;
        pool->thread_cpu_ns = cpu_ns;
        if (since_ns < spent_ns)
            spent_ns = since_ns;
    }
    g->cpu_ns += spent_ns;
}

/* By the same account, so that it never goes backwards. */
uint64_t luau_cputime_at(lua_State *L, uint64_t now_ns)
{
    Global_ *g = G(L);
    bool counting = g->timed || (g->activation && !g->fiber); /* not where it is parked */
    if (counting && now_ns > g->entered_ns)
        account(g, now_ns);
    return g->cpu_ns;
}

uint64_t luau_cputime(lua_State *L)
{
    return luau_cputime_at(L, luY_now_ns());
}

/* Lowest address that native code may use: of the fiber, or, for want of knowledge, of that much of
 * the OS thread's stack. */
static char *stack_limit(lua_State *L)
{
    struct luau_Fiber *fiber = G(L)->fiber;
    char *here = __builtin_frame_address(0);
    if (fiber) {
        char *low = fiber->stack.memory + GUARD_BYTES;
        if (here > low && here < fiber->stack.memory + fiber->stack.bytes)
            return low + STACK_MARGIN_BYTES;
    }
    return here - THREAD_STACK_BYTES + STACK_MARGIN_BYTES;
}

/* From now on polls look at that word. A request made before is seen by the first of them: ask()
 * sets the word that it finds, and the requests are looked at here after the change. */
static void look_at(Global_ *g, _Atomic(uint32_t) *word)
{
    atomic_store_explicit(&g->interrupt, word, memory_order_seq_cst);
    if (atomic_load_explicit(&g->requests, memory_order_seq_cst))
        atomic_store_explicit(word, 1, memory_order_relaxed);
}

static void enter(Global_ *g, luau_Fibers *pool)
{
    g->timed = true;
    g->entered_ns = g->slice_start_ns = luY_now_ns();
    look_at(g, &pool->interrupt);
    /* Only this thread writes it; sequentially consistent for the sake of the ticker, which sees it
     * or is seen asleep. */
    uint32_t running = atomic_load_explicit(&pool->running, memory_order_relaxed);
    atomic_store(&pool->running, running + 1);
    if (pool->ticker)
        luY_wanted(pool->ticker);
}

static void leave(Global_ *g)
{
    luau_Fibers *pool = pool_of(g);
    uint32_t running = atomic_load_explicit(&pool->running, memory_order_relaxed);
    /* Relaxed: a tick too many does no harm. */
    atomic_store_explicit(&pool->running, running - 1, memory_order_relaxed);
    account(g, luY_now_ns());
    g->timed = false;
    atomic_fetch_and_explicit(&g->requests, ~(uint32_t)REQUEST_PREEMPT, memory_order_relaxed);
    look_at(g, &g->own_interrupt);
}

void luau_enter(luau_Fibers *pool, lua_State *L)
{
    Global_ *g = G(L);
    BASE_ASSERT(!g->timed && !g->activation);
    g->gc.futile = 0;
    enter(g, pool);
}

void luau_leave(lua_State *L)
{
    Global_ *g = G(L);
    BASE_ASSERT(g->timed && !g->fiber && !g->activation);
    leave(g);
}

void luY_entered(lua_State *L)
{
    Global_ *g = G(L);
    g->c_stack_limit = stack_limit(L);
    if (!g->timed)
        g->entered_ns = luY_now_ns();
}

void luY_left(lua_State *L)
{
    Global_ *g = G(L);
    g->c_stack_limit = NULL;
    if (!g->timed)
        account(g, luY_now_ns());
}

/* The stack of a pooled fiber never ends: after each work it waits in the pool for the next, so
 * that only its first run pays for makecontext and its system calls. */
static void fiber_main(void *arg)
{
    struct luau_Fiber *fiber = arg;
    for (;;) {
        fiber->work(fiber->L, fiber->arg);
        fiber->finished = true;
        switch_context(&fiber->inside, &fiber->outside);
    }
}

/* Goes into the fiber, until it parks or is done with; a fiber may run others. */
static void run_fiber(struct luau_Fiber *fiber)
{
    struct luau_Fiber *outer = current_fiber;
    enter(G(fiber->L), fiber->pool);
    current_fiber = fiber;
    if (fiber->started) {
        switch_context(&fiber->outside, &fiber->inside);
    } else {
        fiber->started = true;
        struct Launch start = {&fiber->inside, &fiber->outside, fiber_main, fiber};
        start_on(&fiber->stack, &start);
    }
    current_fiber = outer;
    leave(G(fiber->L));
}

/* Its stack is in the middle of something: not for the next one. */
static void drop_fiber(Global_ *g)
{
    g->fiber->pool->made--;
    free_fiber(g->fiber);
    g->fiber = NULL;
    g->activation = NULL;
}

static int after_run(struct luau_Fiber *fiber)
{
    Global_ *g = G(fiber->L);
    if (fiber->escaped) {
        drop_fiber(g);
        return LUAU_ESCAPED;
    }
    if (!fiber->finished)
        return LUAU_PARKED;
    g->fiber = NULL;
    give_fiber(fiber);
    return LUAU_DONE;
}

int luau_run(luau_Fibers *pool, lua_State *L, void (*work)(lua_State *L, void *arg), void *arg)
{
    Global_ *g = G(L);
    BASE_ASSERT(!g->timed && !g->fiber && !g->activation);
    struct luau_Fiber *fiber = take_fiber(pool);
    if (!fiber)
        return LUAU_NOSTACK;
    fiber->L = L;
    fiber->work = work;
    fiber->arg = arg;
    fiber->finished = false;
    g->fiber = fiber;
    g->gc.futile = 0; /* forced collections are counted per run */
    run_fiber(fiber);
    return after_run(fiber);
}

int luau_continue(lua_State *L)
{
    struct luau_Fiber *fiber = G(L)->fiber;
    BASE_ASSERT(fiber && !fiber->finished);
    run_fiber(fiber);
    return after_run(fiber);
}

void luau_escape(luau_Fibers *pool)
{
    if (current_fiber && current_fiber->pool == pool)
        escape(current_fiber);
}

int luau_isparked(lua_State *L)
{
    return G(L)->fiber != NULL;
}

/* Only what waits in luau_pollkill runs once more: it is told of a kill, and cleans up; the kill
 * that follows comes back here (luY_leavekilled). Nothing else of the VM needs its C frames. */
void luau_abandon(lua_State *L)
{
    Global_ *g = G(L);
    struct luau_Fiber *fiber = g->fiber;
    if (!fiber)
        return;
    if (fiber->held) {
        g->abandoned = true;
        luau_kill(L, LUAU_KILL_HOST);
        run_fiber(fiber);
    }
    drop_fiber(g);
}

void luY_dropfiber(Global_ *g)
{
    BASE_ASSERT(!g->timed);
    if (g->fiber)
        drop_fiber(g);
}

void luY_leavekilled(lua_State *L)
{
    Global_ *g = G(L);
    if (BASE_UNLIKELY(g->abandoned && g->fiber))
        end_context(&g->fiber->outside);
}

/* ---- requests and polls ---------------------------------------------------------------------- */

static void ask(Global_ *g, uint32_t request)
{
    atomic_fetch_or_explicit(&g->requests, request, memory_order_seq_cst);
    _Atomic(uint32_t) *word = atomic_load_explicit(&g->interrupt, memory_order_seq_cst);
    atomic_store_explicit(word, 1, memory_order_seq_cst);
}

/* The first reason stays. */
void luau_kill(lua_State *L, int reason)
{
    Global_ *g = G(L);
    uint32_t wanted = REQUEST_KILL | (uint32_t)(reason > 0 ? reason : LUAU_KILL_HOST) << 8;
    uint32_t old = atomic_load_explicit(&g->requests, memory_order_seq_cst);
    while (!(old & REQUEST_KILL) &&
           !atomic_compare_exchange_weak_explicit(&g->requests, &old, old | wanted,
                                                  memory_order_seq_cst, memory_order_seq_cst))
        continue;
    ask(g, 0);
}

void luau_testpanic(lua_State *L, int in_collector)
{
    Global_ *g = G(L);
    if (in_collector) {
        g->gc.test_panic = true;
        g->gc.threshold = 0;
    } else {
        ask(g, REQUEST_PANIC);
    }
}

void luau_preempt(lua_State *L)
{
    ask(G(L), REQUEST_PREEMPT);
}

int luau_killreason(lua_State *L)
{
    return G(L)->kill_reason;
}

const char *luau_killposition(lua_State *L)
{
    return G(L)->kill_position ? G(L)->kill_position : "";
}

void luau_clearkill(lua_State *L)
{
    Global_ *g = G(L);
    g->kill_reason = LUAU_KILL_NONE;
    atomic_fetch_and_explicit(&g->requests, (uint32_t)REQUEST_PREEMPT, memory_order_relaxed);
}

void luau_setcpulimit(lua_State *L, uint64_t ns)
{
    G(L)->cpu_limit_ns = ns;
    G(L)->cpu_mark_ns = G(L)->cpu_ns;
}

void luau_setdeadline(lua_State *L, uint64_t monotonic_ns)
{
    G(L)->deadline_ns = monotonic_ns;
}

void luau_setslice(lua_State *L, uint64_t ns)
{
    G(L)->slice_ns = ns;
}

/* Chooses the reason why the VM must stop now, or LUAU_KILL_NONE. */
static int find_kill_reason(Global_ *g, uint32_t requests, uint64_t now)
{
    if (g->kill_reason)
        return g->kill_reason;
    if (requests & REQUEST_KILL)
        return (int)(requests >> 8);
    if (g->cpu_limit_ns && g->cpu_ns - g->cpu_mark_ns >= g->cpu_limit_ns)
        return LUAU_KILL_CPU;
    if (g->deadline_ns && now >= g->deadline_ns)
        return LUAU_KILL_DEADLINE;
    return LUAU_KILL_NONE;
}

void luY_setkill(lua_State *L, int reason)
{
    Global_ *g = G(L);
    if (g->kill_reason)
        return;
    g->kill_reason = reason;
    if (!g->kill_position)
        g->kill_position = malloc(REPORT_SIZE);
    if (!g->kill_position)
        return;
    g->kill_position[0] = '\0';
    for (CallInfo *ci = L->ci; ci > L->ci_base; ci--) {
        if (!ci_isluau(ci))
            continue;
        snprintf(g->kill_position, REPORT_SIZE, "%s:%d",
                 ci_closure(ci)->l.proto->module->shown_name, luD_currentline(L, ci));
        return;
    }
}

static void park(Global_ *g, bool held)
{
    struct luau_Fiber *fiber = g->fiber;
    g->preemptions++;
    fiber->held = held;
    switch_context(&fiber->inside, &fiber->outside);
}

/* Looks at all reasons; parks if it is time. True: the VM must stop. held: the caller will go on
 * even then. */
static bool poll_slow(lua_State *L, bool held)
{
    Global_ *g = G(L);
    _Atomic(uint32_t) *word = atomic_load_explicit(&g->interrupt, memory_order_relaxed);
    uint32_t rest = g->test_modes & LUAU_TEST_POLL_ALWAYS ? 1 : 0;
    g->polls++;
    for (bool parked = false;; parked = true) {
        atomic_store_explicit(word, rest, memory_order_seq_cst); /* before the reasons are read */
        uint32_t requests = atomic_load_explicit(&g->requests, memory_order_seq_cst);
        if (BASE_UNLIKELY(requests & REQUEST_PANIC)) {
            /* Once: what is freed on the way out may poll. */
            atomic_fetch_and_explicit(&g->requests, ~(uint32_t)REQUEST_PANIC, memory_order_relaxed);
            BASE_PANIC("asked for by luau_testpanic, at a poll");
        }
        uint64_t now = luY_now_ns();
        if (g->timed || g->activation)
            account(g, now);
        int reason = find_kill_reason(g, requests, now);
        if (reason) {
            luY_setkill(L, reason);
            atomic_store_explicit(word, 1, memory_order_relaxed); /* polls after a refusal see it */
            return true;
        }
        if (!g->fiber) { /* nothing can park */
            atomic_fetch_and_explicit(&g->requests, ~(uint32_t)REQUEST_PREEMPT,
                                      memory_order_relaxed);
            return false;
        }
        bool slice_over = g->slice_ns && now - g->slice_start_ns >= g->slice_ns;
        if (!slice_over && !(requests & REQUEST_PREEMPT))
            return false;
        if (parked) { /* it goes on for one poll at least, however short the slices are */
            atomic_store_explicit(word, 1, memory_order_relaxed);
            return false;
        }
        park(g, held); /* comes back with a new slice; look again: it may have been killed */
    }
}

void luY_pollslow(lua_State *L)
{
    Global_ *g = G(L);
    if (poll_slow(L, false))
        luD_kill(L);
    if (g->callbacks.interrupt)
        g->callbacks.interrupt(L);
}

void luau_poll(lua_State *L)
{
    luY_poll(L);
}

int luau_pollkill(lua_State *L)
{
    Global_ *g = G(L);
    _Atomic(uint32_t) *word = atomic_load_explicit(&g->interrupt, memory_order_relaxed);
    if (BASE_LIKELY(!atomic_load_explicit(word, memory_order_relaxed)))
        return 0;
    return poll_slow(L, true);
}

void luY_pause(void)
{
    if (current_fiber && !current_fiber->escaped) /* what an escape drops is freed at one go */
        luau_pollkill(current_fiber->L);
}
