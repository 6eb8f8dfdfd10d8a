/* runtime.h: the inside of KhronosRuntime that this layer's natives reach. */
#ifndef KHRONOS_RUNTIME_H
#define KHRONOS_RUNTIME_H

#include "khronos/instance.h"
#include "khronos/khronos.h"

/* Lines printed in the current second; what was dropped is told when it ends. */
typedef struct LogGate {
    uint64_t second_start_ns;
    int lines;
    uint64_t dropped_lines, dropped_bytes;
} LogGate;

struct KhronosRuntime {
    lua_State *L;
    KhronosSandbox *sandbox;
    uint64_t guild_id;
    const KhronosLimits *limits;  /* of the owner */
    const KhronosLog *log;        /* of the owner */
    KhronosExecution *current;    /* NULL at rest */
    uint64_t started_ns, started_cpu_ns;
    bool broken;
    int store;                    /* reference; 0: not made yet */
    Strbuf scratch;
    LogGate gate;
    InstanceList instances;
};

InstanceList *runtime_instances(lua_State *L);
/* The native that runs an execution (light userdata) inside the VM, protected (execute.c). */
int runtime_execute(lua_State *L);
/* Fills status, message, place of a killed execution. */
void runtime_killed(KhronosRuntime *rt);
/* lua_Callbacks.print, and the notice of what the current second dropped (runlog.c). */
void runlog_print(lua_State *L, int level, const char *text, size_t length);
void runlog_notice(KhronosRuntime *rt);

#endif
