/* runtime.h: the inside of KhronosRuntime that this layer's natives reach. */
#ifndef KHRONOS_RUNTIME_H
#define KHRONOS_RUNTIME_H

#include "khronos/instance.h"
#include "khronos/khronos.h"
#include "khronos/tasks.h"

/* Lines printed in the current second; what was dropped is told when it ends. */
typedef struct LogGate {
    uint64_t second_start_ns;
    int lines;
    bool noticed; /* that lines are dropped: once a second */
    uint64_t dropped_lines, dropped_bytes;
} LogGate;

/* See calls.c. */
typedef struct RuntimeCalls {
    KhronosCall *first, *last; /* made, and not taken */
    KhronosCall *making;       /* whose making may still fail */
    int count;                 /* under way: made and not dropped */
    size_t bytes;              /* of these */
} RuntimeCalls;

struct KhronosRuntime {
    lua_State *L;
    KhronosSandbox *sandbox;
    uint64_t guild_id;
    const KhronosLimits *limits; /* of the owner */
    const KhronosLog *log;       /* of the owner */
    KhronosClock clock;          /* NULL: CLOCK_MONOTONIC */
    void *clock_userdata;
    KhronosExecution *submitted, *submitted_last;
    KhronosExecution *finished, *finished_last;
    int executions; /* given to us and not finished */
    Scheduler scheduler;
    RuntimeCalls calls;
    bool cancelling; /* the VM was told to unwind, for the sake of runs that are cancelled */
    bool unwound;    /* it was; what ran is to be put in order */
    bool broken, keep_store, test_panic;
    KhronosStatus broken_status; /* why */
    int store;                   /* reference; 0: not made yet */
    Strbuf scratch;
    LogGate gate;
    InstanceList instances;
};

uint64_t runtime_now_ns(const KhronosRuntime *rt);
/* One turn of the scheduler, on a fiber; arg: the runtime (schedule.c). */
void runtime_turn(lua_State *L, void *arg);
void runtime_drop_tasks(KhronosRuntime *rt); /* all of them, without the VM */
KhronosTicket calls_ticket(Scheduler *s);    /* the next one */
void calls_drop(RuntimeCalls *calls);        /* those that were not taken */
InstanceList *runtime_instances(lua_State *L);
/* lua_Callbacks.print, and the notice of what the current second dropped (runlog.c). */
void runlog_print(lua_State *L, int level, const char *text, size_t length);
void runlog_notice(KhronosRuntime *rt);           /* if it is time for it */
void runlog_flush(KhronosRuntime *rt);            /* now */
uint64_t runlog_due_ns(const KhronosRuntime *rt); /* when there is one to give; UINT64_MAX: none */
/* An error that nobody waits for: level 2, the message and its traceback. */
void runlog_error(KhronosRuntime *rt, Run *run, const char *text, size_t length);
/* Why the host ended something: level 2, and never dropped, however much the guild logs. */
void runlog_verdict(KhronosRuntime *rt, Run *run, const char *text);

#endif
