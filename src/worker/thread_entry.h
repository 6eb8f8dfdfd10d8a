/* thread_entry.h: a guild as an actor: its mailbox, its VM, its place in queues and lists. Shared
 * by all strategies that run guilds on threads. Entries are the registry's; nobody outside ever
 * holds one.
 *
 * An entry at rest is nobody's: whoever holds the registry's lock may look at all of it, its VM
 * included. A thread that gives it a turn sets `taken` under the lock, and from then on until it
 * takes that back, the second part of the struct and the VM are that thread's alone. A parked VM is
 * its thread's between turns as well. */
#ifndef WORKER_THREAD_ENTRY_H
#define WORKER_THREAD_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "worker/vm_action.h"
#include "worker/worker.h"

/* How often a guild's VMs broke, in this window of time and in the one before. */
typedef struct PauseHistory {
    uint64_t window_start_ns; /* 0: nothing ever broke */
    uint64_t paused_until_ns;
    uint64_t last_ns; /* the last time a VM broke, or the end of the last pause */
    uint32_t now, before;
    int doublings; /* of the next pause */
} PauseHistory;

/* What few guilds have. */
typedef struct EntryExtra {
    KhronosLimits limits;
    bool has_limits;
    bool panic_creation, panic_dispatch;
    PauseHistory history;
} EntryExtra;

typedef enum EntryPlace {
    PLACE_NONE,
    PLACE_WARM,  /* at rest, its VM not yet shrunk */
    PLACE_COLD,  /* at rest, shrunk */
    PLACE_FADING /* without a VM, with a history of broken ones */
} EntryPlace;

typedef struct ThreadEntry ThreadEntry;
struct ThreadEntry {
    uint64_t guild_id;
    /* -- under the registry's lock -- */
    LuaVmAction *mail_first, *mail_last;       /* in order of arrival */
    LuaVmAction *control_first, *control_last; /* actions that do not wait behind mail */
    KhronosCall *answers_last;                 /* of a ring of answers for its VM; NULL: none */
    ThreadEntry *queue_next;                   /* in a run queue, or among a thread's parked ones */
    ThreadEntry *list_prev, *list_next;        /* in the list that `place` tells */
    EntryExtra *extra;                         /* NULL: nothing special */
    uint64_t generation, executions;
    void *thread;                          /* thread-per-guild: its own; NULL: none */
    uint32_t timer_index;                  /* in the heap of timers; 0: in none */
    int mail_count;                        /* waiting or under way, control not counted */
    uint16_t control_count, destroy_count; /* waiting */
    bool scheduled;               /* in a run queue, or a thread has it, or is on its way to it */
    bool taken;                   /* a thread gives it a turn */
    bool parked;                  /* its VM is, on the thread that last had it */
    uint8_t place, state, reason; /* EntryPlace, VmState, VmBrokenReason */
    uint8_t parked_turns;         /* on end, up to now; stops at 255 */
    uint8_t former_reason;        /* why the VM before this one broke; VM_NOT_BROKEN: none did */
    /* -- of the thread that has it -- */
    bool ready;       /* used its slice up and has more to do */
    bool shrunk;      /* since it last ran */
    bool quiet;       /* no executions, no tasks */
    bool keeps_store; /* not to be destroyed for being idle */
    int trust;        /* above 0: its last runs were short */
    bool was_trusted; /* when the run that is under way surprised us */
    bool greedy;      /* its last turn used half a slice or more */
    void *vm_handle;  /* NULL: none */
    uint64_t due_ns;  /* when the VM has something to do; 0: not known */
    uint64_t cpu_ns;  /* of its former VMs, with task_errors */
    uint64_t task_errors;
    uint64_t ran_ns;   /* end of its last turn; 0: never */
    uint64_t usage_ns; /* processor time used lately, as of usage_at_ns; fades */
    uint64_t usage_at_ns;
    uint64_t share_start_ns; /* of a minute in which share_now_us was used; in the one before: */
    uint32_t share_now_us, share_before_us;
};

typedef struct EntryQueue {
    ThreadEntry *first, *last;
} EntryQueue;

/* Doubly linked by list_prev and list_next. */
typedef struct EntryList {
    ThreadEntry *first, *last;
    int count;
} EntryList;

ThreadEntry *entry_new(uint64_t guild_id);   /* NULL: no memory */
void entry_free(ThreadEntry *entry);         /* its VM is gone, the mailbox empty */
EntryExtra *entry_extra(ThreadEntry *entry); /* made if need be; NULL: no memory */
/* The limits in force for a VM of this guild. They live until they are replaced. */
const KhronosLimits *entry_limits(const ThreadEntry *entry, const KhronosLimits *defaults);

void entry_mail_put(ThreadEntry *entry, LuaVmAction *action);
LuaVmAction *entry_mail_take(ThreadEntry *entry); /* NULL: empty. Still counts until it is done */
/* May the next mail begin? While the VM is parked it would only stand in the way of those behind
 * it, unless a destroy is among them and the VM was parked for some turns on end: a short run that
 * was preempted by chance is over before the destroy comes. */
enum { DESTROY_PATIENCE_TURNS = 8 };
bool entry_mail_ready(const ThreadEntry *entry);
/* An execution of that id that waits in the mailbox: cancelled. Its action is taken out and
 * returned in *action, or if it has other executions stays, and this one will not be started. */
bool entry_mail_cancel(ThreadEntry *entry, const char *id, LuaVmAction **action);
void entry_control_put(ThreadEntry *entry, LuaVmAction *action);
LuaVmAction *entry_control_take(ThreadEntry *entry);

/* Answers to what its VM asked for, in the order in which they came. */
void entry_answer_put(ThreadEntry *entry, KhronosCall *call);
KhronosCall *entry_answers_take(ThreadEntry *entry); /* all, by next; NULL: none */
void calls_drop_all(KhronosCall *calls);             /* by next; not under a lock */

void entryqueue_put(EntryQueue *queue, ThreadEntry *entry);
ThreadEntry *entryqueue_take(EntryQueue *queue); /* NULL: empty */
void entrylist_put(EntryList *list, ThreadEntry *entry, EntryPlace place);
void entrylist_remove(EntryList *list, ThreadEntry *entry);

/* How much a guild used lately: 0 next to nothing, 1, 2 much. Guilds of lower levels go first, so
 * that a short event never waits behind guilds that spin. */
enum { ENTRY_LEVELS = 3 };
int entry_level(const ThreadEntry *entry, uint64_t now_ns);
/* Of level 0, and not by waiting alone: hundreds of guilds that use their slices up and are kept
 * waiting for the next ones use little each. */
bool entry_goes_first(const ThreadEntry *entry, uint64_t now_ns);
/* Counts a turn that ended then and took so much processor time. */
void entry_charge(ThreadEntry *entry, uint64_t end_ns, uint64_t cost_ns);
/* Counts a turn that began executions: did it end them or not, and at what cost. */
void entry_judge(ThreadEntry *entry, bool ended, uint64_t cost_ns);

/* Counts against what the guild may use within a minute. True: that is more than it may. */
bool entry_overuses(ThreadEntry *entry, uint64_t end_ns, uint64_t cost_ns, uint64_t share_max_ns);
/* It used too much: what it has under way stands still until then; 0: it does not. */
#define SHARE_WINDOW_NS (60 * CLOCK_NS_PER_S)
#define SHARE_HOLD_NS (10 * CLOCK_NS_PER_S)
uint64_t entry_held_until_ns(const ThreadEntry *entry, uint64_t now_ns);

/* A VM broke: how long the guild pauses from now on; 0: it does not. */
uint64_t pause_note(PauseHistory *history, const WorkerOptions *options, uint64_t now_ns);
uint64_t pause_left_ns(const PauseHistory *history, uint64_t now_ns);
/* Nothing of it matters any more. */
bool pause_forgotten(const PauseHistory *history, const WorkerOptions *options, uint64_t now_ns);

#endif
