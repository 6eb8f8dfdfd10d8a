/* dispatch_copy.h: what a request points to, copied into one block: `at` is where the next text
 * goes. Each text has a NUL behind it. */
#ifndef WORKER_DISPATCH_COPY_H
#define WORKER_DISPATCH_COPY_H

#include "worker/dispatcher.h"

EventText dispatch_copy_bytes(char **at, const char *data, size_t length);
EventText dispatch_copy_text(char **at, EventText text);       /* absent stays absent */
const char *dispatch_copy_string(char **at, const char *text); /* NULL stays NULL */
size_t dispatch_text_room(EventText text);

/* All but the id, which is absent in the copy. */
size_t dispatch_event_room(const KhronosEvent *event);
KhronosEvent dispatch_copy_event(char **at, const KhronosEvent *event);

/* The caller's capabilities take as many pointers, for which the block has a place of its own. */
int dispatch_caller_pointers(const KhronosCaller *caller);
size_t dispatch_caller_room(const KhronosCaller *caller); /* of the texts; NULL is fine */
KhronosCaller dispatch_copy_caller(char **at, const KhronosCaller *caller, const char **pointers);

#endif
