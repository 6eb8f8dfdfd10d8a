/* caps.h: capabilities: what a context lets its holder do.
 *
 * A capability is a text like `kv:get`. What grants them is a text of one of three forms:
 *
 *     kv:get       that capability, byte for byte
 *     kv:*         everything that begins with `kv:` and goes on (`kv:get`, `kv:meta:keys`); not
 *                  `kv` nor `kv:`. The prefix ends with the colon and is not empty
 *     *            everything
 *
 * A star elsewhere (`kv:g*t`, `k*`) is a character like any other. Grants may be asked for, too:
 * whoever holds `kv:*` or `*` has the capability `kv:*`. Of two grants either one covers the other,
 * or nothing is granted by both; so what two lists both allow is a list again.
 *
 * Who builds a capability from a text that a tenant chose (`kv[SCOPE]:get`) must refuse colons and
 * brackets in it, lest the tenant moves the place where the prefix ends. */
#ifndef KHRONOS_CAPS_H
#define KHRONOS_CAPS_H

#include <stdbool.h>
#include <stddef.h>

enum { CAPS_TEXT_MAX = 128 };

/* A list of grants, borrowed. */
typedef struct KhronosCaps {
    const char *const *items;
    int count;
} KhronosCaps;

/* 1 to CAPS_TEXT_MAX bytes, no control characters. */
bool caps_valid(const char *text, size_t length);
/* Does this grant allow that capability? */
bool caps_grants(const char *grant, const char *cap, size_t length);
bool caps_allows(KhronosCaps caps, const char *cap, size_t length);
/* Does the list allow all that the other does? If not, *missing (may be NULL) is the first that it
 * does not. */
bool caps_covers(KhronosCaps caps, KhronosCaps subset, const char **missing);

/* What both lists allow: the grants of `a` that b allows, then those of `b` that only a wider grant
 * of a allows. Writes pointers of either list to out, which has room for a.count + b.count, and
 * returns how many. `poll` (may be NULL) is called now and then and may leave by a jump. */
int caps_intersect(KhronosCaps a, KhronosCaps b, const char **out, void (*poll)(void *arg),
                   void *arg);

#endif
