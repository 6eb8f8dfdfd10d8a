/* thread_entry.h: a guild as an actor: its mailbox, its VM, its place in the queues. Shared by all
 * strategies. Entries are the strategy's; nobody outside ever holds one. */
#ifndef WORKER_THREAD_ENTRY_H
#define WORKER_THREAD_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/vm_action.h"

typedef struct ThreadEntry ThreadEntry;
struct ThreadEntry {
    uint64_t guild_id;
    /* -- under the strategy's lock -- */
    LuaVmAction *mail_first, *mail_last; /* in order of arrival */
    int mail_count;                      /* with the action under way */
    bool scheduled;                      /* in a run queue, or a thread has it */
    bool cooling;                        /* in the list of guilds to shrink when idle */
    VmState state;
    VmBrokenReason reason;
    ThreadEntry *queue_next;             /* in a run queue */
    ThreadEntry *cooling_next;
    /* -- of the thread that has it -- */
    KhronosRuntime *vm_handle;           /* NULL: none */
    LuaVmAction *current;                /* its execution is parked */
    uint64_t generation, executions;
    uint64_t usage_ns;                   /* processor time used lately, as of last_run_ns; fades */
    uint64_t last_run_ns;
    int trust;                           /* above 0: its last runs were short */
};

typedef struct EntryQueue {
    ThreadEntry *first, *last;
} EntryQueue;

ThreadEntry *entry_new(uint64_t guild_id); /* NULL: no memory */
/* The VM goes; the mailbox must be empty. */
void entry_free(ThreadEntry *entry);

void entry_mail_put(ThreadEntry *entry, LuaVmAction *action);
LuaVmAction *entry_mail_take(ThreadEntry *entry); /* NULL: empty. Still counts until it is done */

void entryqueue_put(EntryQueue *queue, ThreadEntry *entry);
ThreadEntry *entryqueue_take(EntryQueue *queue); /* NULL: empty */

/* How much a guild used lately: 0 next to nothing, 1, 2 much. Guilds of lower levels go first, so
 * that a short event never waits behind guilds that spin. */
enum { ENTRY_LEVELS = 3 };
int entry_level(const ThreadEntry *entry, uint64_t now_ns);
/* Counts a turn that ran from start to end. */
void entry_charge(ThreadEntry *entry, uint64_t start_ns, uint64_t end_ns);
/* Counts an execution that ended in its first turn, or one that was parked there. */
void entry_judge(ThreadEntry *entry, bool parked, uint64_t took_ns);

#endif
