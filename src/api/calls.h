/* calls.h: the calls that wait for an answer, and the executions of those that began without the
 * dispatcher (execute.c), by their ids: a running one can be asked after and cancelled, also when
 * its caller was told that it takes too long. When it ended, the dispatcher keeps its result. */
#ifndef API_CALLS_H
#define API_CALLS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/idmap.h"
#include "base/random.h"
#include "khronos/template.h"

typedef struct ApiCall ApiCall;
typedef struct ApiServer ApiServer;

/* Of executions that run, with the bodies that they hold. */
enum { CALLS_RUNNING_MAX = 100000 };
#define CALLS_BODIES_MAX_BYTES ((size_t)256 << 20)

typedef struct CallTable {
    pthread_mutex_t lock;
    /* -- under the lock -- */
    ApiCall *waiting;
    IdMap running; /* the first half of the execution's id -> call */
    /* -- written under the lock; relaxed: a bound that may be passed by a few -- */
    atomic_size_t running_count, bytes;
} CallTable;

typedef struct RunningExecution {
    uint64_t guild_id;
    uint32_t version;
    char template_name[TEMPLATE_NAME_MAX + 1];
} RunningExecution;

void calls_init(CallTable *table);
void calls_free(CallTable *table);
/* Another execution may begin. */
bool calls_room(const CallTable *table);
/* The call waits; one with an execution under way is found by its id. */
void calls_enter(CallTable *table, ApiCall *call);
/* The execution of a call that waits, or is about to, begins. False: its time was up before. */
bool calls_begin(CallTable *table, ApiCall *call);
/* It does not wait any more. */
void calls_leave(CallTable *table, ApiCall *call);
/* Its execution ended (and it does not wait). */
void calls_ended(CallTable *table, ApiCall *call);
/* Answers those whose time is up. */
void calls_expire(CallTable *table, uint64_t now_ns);
/* Of this table or, in its first slice, on one of the loops. False: none runs under that id. */
bool calls_find(ApiServer *server, const char *id, size_t length, RunningExecution *found);

#endif
