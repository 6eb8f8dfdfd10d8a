/* state.h: threads (lua_State), call frames, and the VM's own struct (Global).
 *
 * Nothing here is shared between OS threads but the words marked atomic: a VM is used by one OS
 * thread at a time. */
#ifndef LUAU_STATE_H
#define LUAU_STATE_H

#include <setjmp.h>
#include <stdatomic.h>

#include "luau/gc.h"
#include "luau/heap.h"
#include "luau/object.h"
#include "luau/tm.h"

/* One running function. base..top are its registers (a native's arguments); func stands below, for
 * vararg functions with the varargs between. All are pointers into the thread's stack: whoever may
 * move the stack (call.h) rereads them. */
typedef struct CallInfo {
    Value *base;
    Value *func;
    Value *top;            /* end of the frame's room */
    const Instr *savedpc;  /* Lua: next instruction; valid for the frames below the running one, and
                              for the running one wherever something may raise, poll or look */
    int32_t nresults;      /* wanted by the caller; LUA_MULTRET: all */
    uint32_t flags;        /* CALL_* */
} CallInfo;

enum {
    CALL_C = 1,            /* a native's frame */
    CALL_ENTRY = 2,        /* returning from it leaves luV_execute (it was called by C) */
    CALL_PROTECTED = 4,    /* a pcall or xpcall run by the interpreter: errors stop here */
    CALL_HANDLER = 8,      /* xpcall: base[0] is the handler */
    CALL_KCALL = 16,       /* native waiting in luau_callk */
    CALL_KPCALL = 32,      /* native waiting in luau_pcallk */
    CALL_BELOW_C = 64,     /* the frame below is a native's: returning is not the simple case */
    CALL_ITERATOR = 128,   /* called by FORGLOOP: the result decides whether the loop goes on */
    CALL_THREAD = 512,     /* with CALL_ENTRY: first of a thread; the resumer gets its results */
    CALL_IN_HANDLER = 256  /* protected frame whose handler is running */
};

/* A stretch of C stack that catches errors. Two kinds: `exec` ones stand right over a luV_execute
 * and serve the pcalls and resumes that this loop runs (they go on with the loop); the others are
 * those of luD_pcall (lua_pcall and host calls). See call.h. */
typedef struct Activation {
    struct Activation *previous;
    lua_State *L;          /* thread it was entered on */
    ptrdiff_t ci;          /* offset of the frame it was entered in (CallInfo bytes) */
    uint16_t c_calls;      /* L->c_calls at entry */
    uint16_t depth;        /* exec: global->exec_depth of its luV_execute; else at entry */
    uint8_t handlers;      /* L->handlers at entry */
    bool exec;
    int status;            /* what the longjmp brought */
    lua_State *outside;    /* global->running at entry */
    Value handler;         /* of lua_pcall's errfunc; nil: none */
    bool in_handler;
    jmp_buf jump;
} Activation;

struct lua_State {
    OBJECT_HEADER;
    uint8_t status;        /* LUA_OK, LUA_YIELD, LUA_BREAK, or the error it died of */
    bool running;          /* is on the chain of resumed threads */
    uint16_t c_calls;      /* nested native calls, resumes included */
    uint16_t base_c_calls; /* c_calls when this thread was resumed: above it no yield */
    Value *top;
    Value *base;           /* of the running frame */
    Global_ *global;
    CallInfo *ci;
    Value *stack, *stack_last; /* stack_last: end of usable room (EXTRA_STACK behind it) */
    CallInfo *ci_base, *ci_end;
    int32_t stack_size, ci_size;
    Table *globals;
    UpVal *open_upvals;    /* from high to low */
    lua_State *from;       /* who resumed it */
    const String *namecall;
    void *data;            /* lua_setthreaddata */
    bool resumed_by_vm;    /* by coroutine.resume inside luV_execute: no C frame to return to */
    bool is_wrap;          /* resumed through coroutine.wrap's function */
    uint8_t memcat;
    uint8_t handlers;      /* error handlers that run on this thread: they get a reserve of depth */
};

#define EXTRA_STACK 5      /* room for metamethod calls beyond stack_last */
#define BASIC_STACK 40     /* slots of a new thread */
#define BASIC_CI 6

struct Global_ {
    Heap heap;
    GC gc;
    lua_State *main;
    lua_State *running;    /* thread that runs now, or NULL */
    luau_Image *image;     /* retained */
    Table *registry;       /* made on first use */
    Table *type_meta[LUA_T_COUNT];
    Table **udata_meta;    /* [LUA_UTAG_LIMIT], made on first use */
    Activation *activation;
    uint16_t exec_depth;   /* nested luV_execute */
    int leave;             /* why luD_precall or luD_finish gave no thread to run: EXEC_* */
    struct {               /* a call that must start under an exec activation (coro.c) */
        lua_State *L;      /* NULL: none */
        ptrdiff_t func;
        int nresults;
        uint32_t flags;
    } pending;
    char *c_stack_limit;   /* lowest address native code may use; NULL: unknown */
    int32_t ref_free;      /* registry free list */
    luau_Module *loading;  /* of luau_loadstring, until the collector holds it; or NULL */
    uint64_t random_state; /* math.random */
    void *userdata;        /* luau_vmdata */
    lua_Callbacks callbacks;
    /* -- interrupts: any thread -- */
    _Atomic(_Atomic(uint32_t) *) interrupt; /* the word that polls look at: own_interrupt, or the
                                               word of the pool (OS thread) that runs the VM */
    _Atomic(uint32_t) own_interrupt;
    _Atomic(uint32_t) requests;             /* REQUEST_* bits, and the kill reason in bits 8.. */
    /* -- limits and account: the running thread -- */
    uint64_t cpu_ns, cpu_limit_ns, cpu_mark_ns, deadline_ns, slice_ns, slice_start_ns, entered_ns;
    uint64_t preemptions, polls;
    bool timed;            /* between luau_run or luau_enter and their ends: they account */
    bool abandoned;        /* by luau_abandon: a kill leaves the fiber for good */
    int kill_reason;
    struct luau_Fiber *fiber; /* it runs on, or is parked on */
    int test_modes;
    char *kill_position; /* malloc'd at the kill, REPORT_SIZE; freed at close */
    char *check_text;    /* malloc'd by the heap checker, REPORT_SIZE; freed at close */
};
enum { REPORT_SIZE = LUA_IDSIZE + 32 };
enum { REQUEST_PREEMPT = 1, REQUEST_KILL = 2, REQUEST_PANIC = 4 };

#define G(L) ((L)->global)

#endif
