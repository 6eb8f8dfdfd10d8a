/* expiry_queue.h: what was taken from the store and waits to be told, guild by guild.
 *
 * Guilds that may start something stand in a ring and take turns, one occasion a turn; within a
 * guild occasions start in the order in which they were taken. One thread at a time.
 *
 * Room is shared so that nobody takes all of it: a guild may have as many waiting as there is room
 * left for others. One guild gets half of it, two get a third each, and there is always room for
 * the next one. */
#ifndef WORKER_EXPIRY_QUEUE_H
#define WORKER_EXPIRY_QUEUE_H

#include "base/idmap.h"
#include "store/store.h"
#include "worker/dispatch_heap.h"

enum { EXPIRY_TAKEN_MAX = 200000 };

typedef struct Expiry Expiry;
typedef struct ExpiryGuild ExpiryGuild;
typedef struct Occasion Occasion;

typedef enum OccasionStep {
    OCCASION_WAITS,   /* in its guild's queue */
    OCCASION_READING, /* its record is asked for */
    OCCASION_READ,    /* and is there; those that started before it go first */
    OCCASION_TOLD,    /* with the dispatcher */
    OCCASION_JUDGED,  /* what became of it is to be noted in the store */
    OCCASION_NOTING
} OccasionStep;

/* What to tell the store. */
typedef enum Verdict {
    VERDICT_DONE,
    VERDICT_FAILED, /* told, and to be told again */
    VERDICT_LATER,  /* not told: when there is room, or when the clock gets there */
    VERDICT_NOTHING /* there is no such occasion any more */
} Verdict;

struct Occasion {
    StoreDue due;
    uint64_t turn; /* in the order in which they were taken */
    Expiry *expiry;
    ExpiryGuild *guild;
    Occasion *next;        /* of its queue, or of those that wait for their notes */
    Occasion *next_read;   /* of those of its guild that are read */
    Occasion *next_back;   /* of those that came back from another thread */
    StoreRequest *request; /* the one under way, or that came back */
    int64_t retry_ms;
    uint64_t retry_after_ms; /* what the dispatcher said */
    char *why;               /* its last attempt failed; NULL: unknown */
    DispatchTimer rest;      /* until its note is tried again */
    uint8_t tries;           /* notes of it that failed */
    bool has_place;          /* it counts as under way */
    bool refused;            /* by the dispatcher */
    OccasionStep step;
    Verdict verdict;
};

struct ExpiryGuild {
    uint64_t guild_id;
    Occasion *first, *last; /* waiting, in the order of their turns */
    size_t waiting;
    size_t taken;                     /* occasions of it, whatever their step */
    Occasion *read_first, *read_last; /* READING or READ, in the order in which they started */
    int under_way;
    bool in_ring;
    int refusals;       /* one after another */
    int64_t put_off;    /* occasions there was no room for */
    DispatchTimer hold; /* it takes nothing until then */
    ExpiryGuild *ring_next;
};

typedef struct ExpiryQueue {
    IdMap guilds;
    ExpiryGuild *ring_first, *ring_last;
    DispatchHeap holds;
    size_t taken;     /* occasions in memory, whatever their step */
    size_t under_way; /* of them, with a place */
    uint64_t turns;
} ExpiryQueue;

void expiry_queue_init(ExpiryQueue *queue);
void expiry_queue_free(ExpiryQueue *queue); /* no occasion is left */

/* How many more may be taken. */
size_t expiry_queue_room(const ExpiryQueue *queue);
/* A new occasion, not yet anywhere. NULL: no memory. */
Occasion *expiry_queue_take(ExpiryQueue *queue, const StoreDue *due);
/* May it wait, or is the guild's part of the room used up? */
bool expiry_queue_admits(const ExpiryQueue *queue, const Occasion *occasion);
/* It waits, in its place among those of its guild. */
void expiry_queue_add(ExpiryQueue *queue, Occasion *occasion);
/* The next one to start, which gets a place (see EXPIRY_PER_GUILD); NULL: none may. */
Occasion *expiry_queue_start(ExpiryQueue *queue);
/* It gives its place back, if it has one. */
void expiry_queue_leave(ExpiryQueue *queue, Occasion *occasion);
/* It is over; it is freed, and so is its guild if that was the last one. */
void expiry_queue_drop(ExpiryQueue *queue, Occasion *occasion);
/* The guild, which is not held, starts nothing until then. False: no memory. */
bool expiry_queue_hold(ExpiryQueue *queue, ExpiryGuild *guild, uint64_t until_ms);
/* Guilds whose time has come may start again. */
void expiry_queue_release(ExpiryQueue *queue, uint64_t now_ms);
/* Drops everything that waits. */
void expiry_queue_clear(ExpiryQueue *queue);

#endif
