/* expiry_event.h: the events that the worker itself makes: KeyExpiry, KeyResume, Scheduled,
 * OnStartup. */
#ifndef WORKER_EXPIRY_EVENT_H
#define WORKER_EXPIRY_EVENT_H

#include "khronos/event.h"
#include "store/store.h"

/* An event and the texts it is made of. What it was made from must outlive it. */
typedef struct ExpiryEvent {
    KhronosEvent event;
    Strbuf data, scopes;
    char id[64];
} ExpiryEvent;

/* Each fills the event in, without an id (the dispatcher then makes one). False: no memory; freed
 * or not, expiry_event_free is due. */

/* {id, key, scopes}, and value if the record has one; scoped by the record's scopes. */
bool expiry_event_key(ExpiryEvent *e, const char *name, const StoreRecord *record);
/* {name, due_at, attempt}, scoped by the name. attempt: 1 is the first. */
bool expiry_event_scheduled(ExpiryEvent *e, Text name, int64_t due_ms, int attempt);
/* {reason} */
bool expiry_event_startup(ExpiryEvent *e, const char *reason);

/* The id of an occasion: the same whenever it is told again. */
void expiry_event_name(ExpiryEvent *e, const StoreDue *due);
void expiry_event_free(ExpiryEvent *e);

/* A time as RFC 3339 writes it, in UTC: `2026-11-22T16:26:14Z`, with milliseconds if there are any.
 * Years that need no four digits are cut to 0000 and 9999. */
enum { EXPIRY_TIME_SIZE = 32 };
void expiry_event_time(int64_t ms, char text[EXPIRY_TIME_SIZE]);

#endif
