/* event.h: what happened, as a caller sends it and a template sees it. */
#ifndef KHRONOS_EVENT_H
#define KHRONOS_EVENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/jsonobject.h"
#include "base/text.h"
#include "luau/luau.h"

typedef Text EventText;

/* All texts are borrowed from the text that was read, which must outlive the event. */
typedef struct KhronosEvent {
    EventText base_name; /* "Custom" if it was not given */
    EventText name;
    EventText author;
    EventText id;
    EventText data;   /* JSON, already checked; absent: null */
    EventText scopes; /* JSON array of strings, already checked; absent: none. Not shown to
                         templates: it chooses among the subscribed ones (template_matches) */
} KhronosEvent;

/* Scopes: at most 32, of 1 to 64 bytes each. */
enum { EVENT_TEXT_MAX = 256, EVENT_SCOPES_MAX = 32, EVENT_SCOPE_MAX = 64 };

/* Order of their bytes: negative, 0, positive. */
int event_comparetexts(EventText a, EventText b);

/* Reads an Event object: name (required), data, base_name, author, id, scopes. The text is writable
 * (jsonobject.h). False: a complaint in error, which begins with `pointer`. */
bool event_read(JsonReader *reader, const char *pointer, KhronosEvent *event, char *error,
                size_t error_size);

/* Pushes the event's table, frozen deeply. `id` stands in for an absent event id. Raises when the
 * data is no JSON. */
void event_push(lua_State *L, const KhronosEvent *event, const char *id);

#endif
