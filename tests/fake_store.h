/* fake_store.h: a store whose requests go to the test, which answers when and how it likes, from
 * any thread; and what it answers to STORE_LOAD. */
#ifndef FAKE_STORE_H
#define FAKE_STORE_H

#include <pthread.h>

#include "store/store.h"

enum { FAKE_STORED_MAX = 128 };

/* A template of one file, or with files of the test's own. */
typedef struct FakeStored {
    uint64_t guild_id;
    const char *name;
    uint32_t version;
    const char *source;
    const char *event;      /* that it listens to; NULL: none */
    const StoreFile *files; /* NULL: init.luau with that source */
    int file_count;
    bool is_disabled;
} FakeStored;

typedef struct FakeStore {
    Store store; /* first */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* -- under the lock -- */
    StoreRequest *first, *last;
    int waiting, submitted;
    StoreStatus refusal; /* not STORE_OK: requests come back at once, inside store_submit */
    FakeStored stored[FAKE_STORED_MAX];
    int stored_count;
} FakeStore;

void fake_store_init(FakeStore *fake);
void fake_store_free(FakeStore *fake); /* nothing waits (asserted) */
/* The request that came first, taken out; waits until there is one. */
StoreRequest *fake_store_take(FakeStore *fake);
int fake_store_waiting(FakeStore *fake);
int fake_store_submitted(FakeStore *fake); /* ever */
/* Gives it back; a message may be NULL. */
void fake_store_answer(StoreRequest *request, StoreStatus status, const char *message);
/* Puts a template into the store, in the place of one of that guild and name. Texts are borrowed.
 */
void fake_store_put(FakeStore *fake, const FakeStored *stored);
void fake_store_remove(FakeStore *fake, uint64_t guild_id, const char *name);
/* Fills in what the store has now, as an answer to a STORE_LOAD. */
void fake_store_fill(FakeStore *fake, StoreRequest *request);
/* Takes the first request, which is a STORE_LOAD, and answers it. Returns its guild. */
uint64_t fake_store_load(FakeStore *fake);

#endif
