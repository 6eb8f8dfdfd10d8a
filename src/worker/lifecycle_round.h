/* lifecycle_round.h: what one guild's VM is to be told, and how far that is (lifecycle.c).
 *
 * A round is OnStartup, then the guild's keys in the order of their ids. At most
 * LIFECYCLE_PER_GUILD events of a guild are under way. Nothing here locks, calls or waits. */
#ifndef WORKER_LIFECYCLE_ROUND_H
#define WORKER_LIFECYCLE_ROUND_H

#include "store/store.h"
#include "worker/dispatch_heap.h"
#include "worker/vm_action.h"

enum { LIFECYCLE_PER_GUILD = 16 };

typedef struct Lifecycle Lifecycle;
typedef struct Round Round;

/* One event under way. */
typedef struct Telling {
    Round *round; /* NULL: this place is free */
    int64_t id;   /* of the key; 0: OnStartup */
    int vms;      /* the round's, when it was told */
} Telling;

typedef struct IdSet {
    int64_t ids[LIFECYCLE_PER_GUILD];
    int count;
} IdSet;

struct Round {
    Lifecycle *lifecycle;
    uint64_t guild_id;
    VmBrokenReason reason;
    bool begun;       /* something of it was told, or tried */
    bool startup_due; /* OnStartup is to be told */
    bool keys_due;    /* further keys are, after after_id ... */
    int64_t after_id;
    int64_t until_id; /* ... and up to this one; 0: all */
    IdSet again;      /* keys to be told that were told in vain */
    Telling tellings[LIFECYCLE_PER_GUILD];
    int under_way;

    /* VMs that were made since it began. */
    int vms;
    bool startup_told; /* and ran */
    bool keys_told;    /* some did */
    bool remade;       /* what was told before is to be told to the new VM, too: */
    bool repeat_startup;
    int64_t repeat_until_id;
    IdSet told_since; /* but for these, which the new VM got */
    bool to_blame;    /* one of its events broke a VM */
    bool repeated;
    int retold;

    StoreRequest *page; /* keys that were read */
    bool reading, ready, dropped;
    int tries; /* refused or unreadable, one after another */
    DispatchTimer sleep;
    Round *next_ready;
};

/* From its start: what is to be told of a VM that was made, or (startup false) at the start of the
 * worker. */
void round_begin(Round *round, bool startup, VmBrokenReason reason, bool keys);
/* Another VM of the guild was made. */
void round_remade(Round *round, VmBrokenReason reason, bool keys);
/* Goes on to the repetition, if there is to be one. */
void round_advance(Round *round);
/* Nothing is to be told, and nothing is under way. */
bool round_is_over(const Round *round);
/* How many more events may be under way. */
int round_room(const Round *round);
/* Is that key, which was read, to be told? */
bool round_wants(const Round *round, int64_t id);
Telling *round_tell(Round *round, int64_t id);

typedef enum TellingEnd {
    TELLING_RAN,      /* or there was nobody to tell */
    TELLING_TO_BLAME, /* it broke the VM */
    TELLING_LOST,     /* with the VM */
    TELLING_REFUSED   /* nothing happened: it is to be told again */
} TellingEnd;
void round_told(Telling *telling, TellingEnd end, bool listened);

#endif
