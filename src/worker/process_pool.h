/* process_pool.h: the insides of the process-pool strategy, for its own files and their tests.
 *
 * Guilds are sharded over child processes: shard (guild_id >> 22) % N (the low bits of a snowflake
 * count within a millisecond). A child is this program again (process_child.c) with a thread-pool
 * in it; what it cannot survive, it need not: the others notice nothing.
 *
 *     any thread                supervisor (a libuv loop)                      child
 *     submit -> Shard.unsent -> frames -> socket pair -> its strategy -> RESULT, COMPLETED
 *                                  complete <-----------------------------------'
 *
 * The life of an action: it takes a slot (QUEUED), its frame is written (SENT), its completion
 * comes back. The child marks in memory that it shares with the parent when a sent action starts,
 * before a VM sees it; so the parent knows of each action of a lost child, even of a killed one,
 * whether it may have had effects. Those that had started are completed as broken, the others are
 * sent again in their order to the child's successor.
 *
 * A child that was lost is noticed by its exit. One that stands still (stopped, swapped out, stuck)
 * is noticed by its silence: when nothing came from it for a while it is asked for a sign of life,
 * which its loop gives whatever its guilds do, and when that does not come either it is killed.
 *
 * Locks: Shard.lock guards what stands under it and is held for a few instructions, never while
 * `complete` or the observer runs. What belongs to a ChildLife is the supervisor's alone. */
#ifndef WORKER_PROCESS_POOL_H
#define WORKER_PROCESS_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/idmap.h"
#include "worker/frames.h"
#include "worker/strategy.h"

enum {
    POOL_ACTIONS_MAX = 16384, /* pending in a shard, executions and what waits in their order */
    POOL_URGENT_MAX = 1024,   /* and as many besides that never wait behind those */
    POOL_SLOTS = POOL_ACTIONS_MAX + POOL_URGENT_MAX,
    POOL_PROCESSES_MAX = 1024,
    POOL_LOSSES_MAX = 3,        /* of children, that an action sits through before it is given up */
    POOL_RETRY_MS = 100,        /* told to who met a full queue */
    POOL_OUT_BYTES = 1 << 20,   /* encoded and not yet written: more is not encoded */
    POOL_SENT_BYTES = 64 << 20, /* of actions in a child: more are not sent */
    POOL_CALLS_MAX = 256 * CALLS_MAX_DEFAULT, /* of a child's guilds together, under way ... */
    POOL_CALLS_BYTES_MAX = 256 << 20,         /* ... and their requests: it refuses more itself */
    POOL_FORMER_MAX = 16384,    /* guilds of a shard of whose last VM we know why it broke */
    POOL_STOP_GRACE_MS = 10000, /* from STOP to SIGKILL */
    POOL_BEATS_MAX = 4,         /* of silence: silence_max_ns in all */
    POOL_START_BEATS_MAX = 24,  /* until it is up: it may have much to load */
    POOL_CHILD_SOCKET_FD = 3,
    POOL_CHILD_SHARED_FD = 4
};

/* ---- When to start again ----
 * At once, then after 50 ms, and twice as long each time, up to 5 s; at once again after a child
 * that lived for 10 s. */
typedef struct RestartPlan {
    unsigned row; /* children lost, each soon after its start */
} RestartPlan;
uint64_t restart_delay_ms(RestartPlan *plan, uint64_t lived_ns);

/* ---- Which templates a child has ----
 * Each version is sent once and named by a number from then on; the one used least recently is
 * forgotten when they are too many or too large together. Retains what the child has. */
enum { SENT_TEMPLATES_MAX = 1024 };
#define SENT_TEMPLATES_BYTES_MAX ((size_t)256 << 20)

typedef struct SentTemplate SentTemplate;
typedef struct SentTemplates {
    IdMap by_template;                    /* address -> SentTemplate */
    SentTemplate *first_used, *last_used; /* the least recently used one is first */
    size_t bytes;
    uint64_t last_id;
    uint64_t round; /* what is used in this one stays */
} SentTemplates;

typedef enum SentOutcome { SENT_OK, SENT_NO_SOURCE, SENT_NO_MEMORY } SentOutcome;

void sent_templates_init(SentTemplates *sent);
void sent_templates_free(SentTemplates *sent);
/* From here on templates are used for another action: those of one action are there together. */
void sent_templates_round(SentTemplates *sent);
/* The template's number; TEMPLATE and FORGET frames go to out as needed. */
SentOutcome sent_templates_use(SentTemplates *sent, KhronosTemplate *t, Strbuf *out, uint64_t *id);

/* ---- Calls under way between parent and child ----
 * Numbered from 1 in the order in which they were made; both sides count alike. */
typedef struct CallNote {
    KhronosCall *call; /* in the child: the VM's; in the parent: NULL */
    size_t bytes;      /* of the request */
} CallNote;

typedef struct CallTable {
    IdMap notes;
    uint64_t last_id;
    size_t bytes;
} CallTable;

void calltable_init(CallTable *table);
void calltable_free(CallTable *table); /* with the calls in it */
bool calltable_has_room(const CallTable *table, size_t bytes);
/* Its number; 0: no memory. */
uint64_t calltable_add(CallTable *table, KhronosCall *call, size_t bytes);
/* False: there is none of that number. */
bool calltable_take(CallTable *table, uint64_t id, KhronosCall **call);

/* ---- A shard ---- */
typedef struct ProcessPool ProcessPool;
typedef struct Shard Shard;
typedef struct ChildLife ChildLife;

/* What the parent knows of a guild; kept while there is something to know. */
typedef struct GuildNote {
    uint64_t guild_id;
    int pending, urgent; /* actions */
    bool has_limits;     /* of its own, which a new child must be told */
    KhronosLimits limits;
    uint64_t vm_generation; /* in the child; 0: no VM that we heard of */
} GuildNote;

/* Why a guild's last VM broke. */
typedef struct FormerVm {
    uint64_t guild_id; /* 0: nobody's */
    VmBrokenReason reason;
} FormerVm;

typedef struct Slot Slot;
struct Slot {
    LuaVmAction *action; /* NULL: free */
    GuildNote *note;
    bool urgent;
    bool answered; /* a result came: it must have started, whatever else is said */
    int losses;    /* of children while it was pending */
    size_t bytes;  /* of its frame, while sent */
    Slot *previous, *next;
};

typedef struct SlotList {
    Slot *first, *last;
} SlotList;

struct Shard {
    ProcessPool *pool;
    int index;
    pthread_mutex_t lock;
    /* -- under the lock -- */
    Slot *slots;      /* POOL_SLOTS */
    Slot *free_slots; /* by next */
    SlotList unsent, unsent_urgent;
    SlotList sent;               /* in the order in which they were written */
    int actions, urgent_actions; /* pending */
    IdMap notes;
    KhronosCall *answers, *answers_last; /* on their way to the child, by next */
    bool refusing;                       /* new actions */
    bool woken;                          /* the supervisor was told and has not looked yet */
    uint64_t executions, refused, lost;
    WorkerStats child; /* as the living child told last */
    WorkerStats past;  /* of its predecessors: created, broken */
    int pid;           /* 0: there is none */
    /* -- the supervisor's -- */
    ChildLife *life; /* NULL: none at present */
    uint64_t lives;  /* children before this one */
    RestartPlan plan;
    FormerVm *former; /* POOL_FORMER_MAX, the next to be overwritten at former_next */
    int former_next;
    IdMap former_map;
    uv_timer_t timer; /* to restart; while stopping: the end of the grace */
    bool timer_open;
    bool down; /* stopping, and its child is gone for good */
};

struct ChildLife {
    Shard *shard;
    uv_process_t process;
    uv_pipe_t pipe;
    uv_timer_t beat; /* POOL_BEATS_MAX times in silence_max_ns */
    uv_write_t write;
    int open_handles; /* freed when they are closed */
    FrameStream in;
    Strbuf out;     /* frames to be written */
    Strbuf writing; /* being written */
    bool write_busy;
    bool ready;     /* it came up */
    bool condemned; /* we killed it: nothing it says counts any more */
    SentTemplates templates;
    CallTable calls;
    uint64_t ticket_base;
    atomic_uchar *started; /* shared with the child, a byte for each slot */
    size_t sent_bytes;
    uint64_t born_ns;
    int silent_beats; /* since something came from it */
    uint64_t pings;   /* sent so far: the last one's number */
    bool asked;       /* the last one is not answered */
};

typedef struct PoolSeat {
    WorkerSeat seat;
    ProcessPool *pool;
    void *io;
    pthread_t thread;
    bool running;
} PoolSeat;

struct ProcessPool {
    Strategy base;
    const WorkerOptions *options;
    int shard_count, seat_count;
    Shard *shards;
    PoolSeat *seats;
    pthread_t supervisor;
    bool supervised; /* the thread runs */
    uv_loop_t loop;
    uv_async_t wake; /* to the supervisor: look at the shards */
    atomic_bool stopping;
    atomic_uint_fast64_t waiting; /* actions taken and not completed */
    pthread_mutex_t lock;         /* of drained alone */
    pthread_cond_t drained;       /* waiting became 0 */
    /* -- the supervisor's -- */
    bool told_to_stop;
    int shards_down;
};

/* ---- process_pool_shard.c: slots, queues, completions ---- */
bool shard_init(Shard *shard, ProcessPool *pool, int index);
void shard_free(Shard *shard);
void shard_submit(Shard *shard, LuaVmAction *action);
/* The next action to be sent, which moves to the sent ones; NULL: none. */
Slot *shard_take_unsent(Shard *shard, bool only_urgent);
/* The slot a child speaks of; NULL: it has no such action. */
Slot *shard_sent_slot(Shard *shard, uint32_t index);
void shard_complete(Shard *shard, Slot *slot, VmActionOutcome outcome);
/* Its process is gone: completes what had started and what sat through too many losses, queues the
 * rest again. life NULL: it could not even be started. */
void shard_lost(Shard *shard, const ChildLife *life);
/* Everything that is pending ends as VM_ACTION_SHUTTING_DOWN; queued ones only, or all. */
void shard_shut(Shard *shard, bool sent_too);
GuildNote *shard_note_locked(Shard *shard, uint64_t guild_id); /* NULL: none */
void shard_drop_note_locked(Shard *shard, GuildNote *note);    /* if nothing is left to know */
bool shard_owns(const Shard *shard, uint64_t guild_id);        /* it is one of its guilds */
/* The supervisor only: why the guild's last VM broke, as far as is remembered. */
void shard_note_broken(Shard *shard, uint64_t guild_id, VmBrokenReason reason);
VmBrokenReason shard_former_reason(const Shard *shard, uint64_t guild_id);
/* Executions as the shard marks them: this one's result is there. */
bool execution_answered(const KhronosExecution *x);
void execution_answer(Shard *shard, KhronosExecution *x);
/* With the failure's text instead of a result. */
void execution_fail(Shard *shard, KhronosExecution *x, KhronosStatus status, const char *message);

/* ---- process_pool_life.c: child processes ---- */
/* Starts the shard's child; false: text in error. */
bool life_start(Shard *shard, char *error, size_t error_size);
/* Writes what waits, as far as there is room. */
void life_pump(ChildLife *life);
void life_stop(Shard *shard); /* the pool stops: ends the child, then the shard is down */
void life_kill(ChildLife *life);

/* ---- process_pool_frames.c: what parent and child tell each other, as the parent sees it ---- */
bool life_greet(ChildLife *life); /* INIT and the limits of guilds; false: no memory */
/* Encodes one action that was taken; completes it instead if that is not possible. */
void life_send(ChildLife *life, Slot *slot);
/* All complete frames that came. False: the child is not to be trusted any more. */
bool life_receive(ChildLife *life);

/* ---- process_pool_calls.c: calls of templates and their answers ---- */
bool life_call(ChildLife *life, FrameReader *payload); /* false: no honest child says that */
void shard_answer(Shard *shard, KhronosCall *call);    /* any thread */
void shard_drop_answers(Shard *shard);
/* Those that wait, as far as there is room. False: no memory. */
bool life_send_answers(ChildLife *life);

/* ---- process_pool.c ---- */
bool pool_wants_calls(const ProcessPool *pool);
void pool_shard_down(ProcessPool *pool);
/* The child's process id, 0: none at present. Any thread. */
int process_pool_pid(Strategy *strategy, int index);

#endif
