/* state.c: VMs and threads: how they are made, what belongs to them, how they end.
 *
 * Making a VM is meant to take about a microsecond: one chunk from the system holds Global, main
 * thread, its stack, its frames and the globals table; everything else of it (registry, metatables
 * of userdata tags, library) is shared with the image or made on first use. */
#include <stdlib.h>
#include <sys/auxv.h>
#include <time.h>

#include "luau/api.h"
#include "luau/fiber.h"
#include "luau/image.h"

/* ---- secrets --------------------------------------------------------------------------------- */

static uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* SipHash-2-4 of two words under the 16 random bytes that the kernel gives every process: needs no
 * system call and no state, and does not give away the key (which others use too). */
static uint64_t secret_hash(uint64_t a, uint64_t b)
{
    uint64_t key[2] = {0, 0};
    const void *random = (const void *)(uintptr_t)getauxval(AT_RANDOM);
    if (random)
        memcpy(key, random, sizeof(key));
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull,
                     key[0] ^ 0x6c7967656e657261ull, key[1] ^ 0x7465646279746573ull};
    uint64_t words[3] = {a, b, 16ull << 56};
    for (int i = 0; i < 3; i++) {
        v[3] ^= words[i];
        sip_round(v);
        sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t luE_seed(const void *place)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return secret_hash((uint64_t)(uintptr_t)place,
                       (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

/* A permutation of 48 bits: a Feistel network of two 24-bit halves, keyed per VM. */
uint64_t luE_objectid(lua_State *L, Value v)
{
    const void *p = val_ptr(v);
    uint64_t key = secret_hash((uint64_t)(uintptr_t)G(L), 0x6f626a656374ull);
    uint32_t left = (uint32_t)((uintptr_t)p >> 24) & 0xFFFFFF;
    uint32_t right = (uint32_t)(uintptr_t)p & 0xFFFFFF;
    for (int i = 0; i < 6; i++) {
        uint64_t x = (right ^ key) * 0x9E3779B97F4A7C15ull;
        x = (x ^ x >> 29) * 0xBF58476D1CE4E5B9ull;
        uint32_t next = left ^ (uint32_t)(x >> 40);
        left = right;
        right = next;
        key = rotate(key, 11);
    }
    return (uint64_t)left << 24 | right;
}

/* ---- threads --------------------------------------------------------------------------------- */

static void init_thread(Global_ *g, lua_State *L)
{
    size_t header = offsetof(lua_State, status);
    memset((char *)L + header, 0, sizeof(*L) - header);
    L->global = g;
}

/* The frame of the host: what is on the stack while no function runs. */
static void init_frames(lua_State *L, Value *stack, CallInfo *frames)
{
    for (int i = 0; i < BASIC_STACK + EXTRA_STACK; i++)
        stack[i] = VAL_NIL;
    L->stack = stack;
    L->stack_size = BASIC_STACK + EXTRA_STACK;
    L->stack_last = stack + BASIC_STACK;
    L->ci_base = L->ci = frames;
    L->ci_size = BASIC_CI;
    L->ci_end = frames + BASIC_CI;
    *frames = (CallInfo){
        .func = stack, .base = stack + 1, .top = stack + 1 + LUA_MINSTACK, .flags = CALL_C};
    L->base = L->top = stack + 1;
}

#define STACK_BYTES ((BASIC_STACK + EXTRA_STACK) * sizeof(Value))
#define FRAMES_BYTES (BASIC_CI * sizeof(CallInfo))

lua_State *lua_newthread(lua_State *L)
{
    luG_check(L);
    lua_State *co = luH_object(L, sizeof(lua_State), OBJ_THREAD);
    init_thread(G(L), co);
    co->globals = L->globals;
    co->memcat = L->memcat;
    api_push(L, val_fromobject(co));
    Value *stack = luH_alloc(L, STACK_BYTES);
    co->stack = stack; /* the collector frees it if the next one fails */
    co->stack_size = BASIC_STACK + EXTRA_STACK;
    co->top = co->base = co->stack_last = stack;
    CallInfo *frames = luH_alloc(L, FRAMES_BYTES);
    init_frames(co, stack, frames);
    return co;
}

enum { RESET_KEEPS = 1024 /* slots and frames that a thread keeps for its next function */ };

void lua_resetthread(lua_State *L)
{
    api_check(L, !L->running);
    luF_close(L, L->stack);
    CallInfo *ci = L->ci_base;
    ci->func = L->stack;
    ci->base = L->stack + 1;
    ci->top = ci->base + LUA_MINSTACK;
    ci->savedpc = NULL;
    ci->nresults = 0;
    ci->flags = CALL_C;
    *ci->func = VAL_NIL;
    L->ci = ci;
    L->base = L->top = ci->base;
    L->status = LUA_OK;
    L->from = NULL;
    L->c_calls = L->base_c_calls = 0;
    L->handlers = 0;
    L->namecall = NULL;
    L->resumed_by_vm = L->is_wrap = false;
    if (L->stack_size > RESET_KEEPS || L->ci_size > RESET_KEEPS)
        luD_shrinkstack(L);
}

int lua_isthreadreset(lua_State *L)
{
    return L->ci == L->ci_base && L->base == L->top && L->status == LUA_OK;
}

lua_State *lua_mainthread(lua_State *L)
{
    return G(L)->main;
}

void *lua_getthreaddata(lua_State *L)
{
    return L->data;
}

void lua_setthreaddata(lua_State *L, void *data)
{
    L->data = data;
}

/* ---- VMs ------------------------------------------------------------------------------------- */

static Table *new_globals(lua_State *L)
{
    Global_ *g = G(L);
    Table *globals = luT_new(L, 0, 0);
    if (g->image) {
        globals->meta = luI_basemeta(g->image);
        globals->flags |= TABLE_SAFEENV;
    }
    return globals;
}

/* The globals of the main thread: what must be allocated where an error can be caught. */
static void open_globals(lua_State *L, void *arg)
{
    (void)arg;
    L->globals = new_globals(L);
}

void luau_newglobals(lua_State *L)
{
    luG_check(L);
    luD_checkstack(L, 1);
    Table *globals = new_globals(L);
    luD_push(L, val_fromtable(globals));
}

static bool open_main(Global_ *g)
{
    lua_State *L = g->main;
    Value *stack = luH_try(g, STACK_BYTES);
    CallInfo *frames = luH_try(g, FRAMES_BYTES);
    if (!stack || !frames)
        return false;
    init_frames(L, stack, frames);
    return luD_pcall(L, open_globals, NULL, luD_savestack(L, L->top)) == LUA_OK;
}

lua_State *luau_newvm(const luau_VmOptions *options)
{
    Global_ *g = luH_newglobal();
    if (!g)
        return NULL;
    lua_State *L = g->main;
    init_thread(g, L);
    atomic_store_explicit(&g->interrupt, &g->own_interrupt, memory_order_relaxed);
    g->random_state = luE_seed(g);
    g->userdata = options->userdata;
    if (options->image) {
        g->image = luau_image_retain(options->image);
        for (int t = 0; t < LUA_T_COUNT; t++)
            g->type_meta[t] = luI_typemeta(g->image, t);
        g->udata_meta = luI_udatameta(g->image);
    }
    if (!open_main(g)) {
        lua_close(L);
        return NULL;
    }
    g->heap.quota_bytes = options->memory_max_bytes;
    return L;
}

lua_State *luaL_newstate(void)
{
    luau_VmOptions options = {0};
    return luau_newvm(&options);
}

static void free_vm(Global_ *g, bool destroy)
{
    luau_Image *image = g->image;
    luG_close(g);
    luau_module_release(g->loading);
    free(g->kill_position);
    free(g->check_text);
    luH_freeglobal(g, destroy);
    luau_image_release(image); /* last: objects of the VM may refer to it while they are freed */
}

void lua_close(lua_State *L)
{
    Global_ *g = G(L);
    BASE_ASSERT(!g->fiber); /* parked or running: continue or abandon it first */
    free_vm(g, true);
}

/* Relies on no more than the lists of slabs, large blocks and modules. */
void luau_discard(lua_State *L)
{
    Global_ *g = G(L);
    luY_dropfiber(g);
    free_vm(g, false);
}

void *luau_vmdata(lua_State *L)
{
    return G(L)->userdata;
}

void luau_setvmdata(lua_State *L, void *userdata)
{
    G(L)->userdata = userdata;
}

lua_Callbacks *lua_callbacks(lua_State *L)
{
    return &G(L)->callbacks;
}

/* ---- test builds ----------------------------------------------------------------------------- */

int luau_testmode(lua_State *L, int modes)
{
    Global_ *g = G(L);
    int old = g->test_modes;
#ifdef LUAU_DEBUG
    if (modes & LUAU_TEST_GC_ALWAYS)
        g->gc.threshold = 0;
#else
    modes &= LUAU_TEST_POLL_ALWAYS;
#endif
    g->test_modes = modes;
    if (modes & LUAU_TEST_POLL_ALWAYS)
        luau_preempt(L);
    return old;
}

uint64_t luau_failalloc(lua_State *L, uint64_t k)
{
#ifdef LUAU_DEBUG
    Heap *heap = &G(L)->heap;
    heap->fail_at = k ? heap->alloc_count + k : 0;
    return heap->alloc_count;
#else
    (void)L, (void)k;
    return 0;
#endif
}

const char *luau_checkheap(lua_State *L)
{
    return luG_checkheap(L);
}
