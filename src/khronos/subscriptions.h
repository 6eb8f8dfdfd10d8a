/* subscriptions.h: the events that a template lists, and whether one of them is meant.
 *
 * A label is "Name", or "Name[scope]". An event with name N, base name B and scopes S is meant by
 * N, by B, and by N[s] and B[s] for an s in S. */
#ifndef KHRONOS_SUBSCRIPTIONS_H
#define KHRONOS_SUBSCRIPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "khronos/event.h"

struct TemplateMeta;

typedef struct Subscription {
    EventText name;
    EventText scope; /* length 0: none */
} Subscription;

/* Sorted by name, then by scope, the one without first. */
typedef struct Subscriptions {
    Subscription *items;
    int count;
} Subscriptions;

/* Are events and capabilities as template.h says? False: text in error. */
bool subscriptions_check(const struct TemplateMeta *meta, char *error, size_t error_size);
/* Of checked labels, which must outlive it. False: no memory. */
bool subscriptions_make(Subscriptions *s, const char *const *labels, int count);
void subscriptions_free(Subscriptions *s);
/* Splits a checked label. */
Subscription subscription_of(const char *label);
bool subscriptions_match(const Subscriptions *s, const KhronosEvent *event);

#endif
