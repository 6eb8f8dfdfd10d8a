/* template_source.h: where a guild's templates come from: a folder (templates.h), later a store. */
#ifndef WORKER_TEMPLATE_SOURCE_H
#define WORKER_TEMPLATE_SOURCE_H

#include "khronos/template.h"

typedef struct TemplateSource {
    /* The current version, retained for the caller; NULL: there is none of that name. Any thread.
     */
    KhronosTemplate *(*get)(void *self, uint64_t guild_id, const char *name, size_t length);
    /* The guild's templates that match the event, retained, in the order of their names; at most
     * max. Returns how many. Any thread. */
    int (*match)(void *self, uint64_t guild_id, const KhronosEvent *event, KhronosTemplate **out,
                 int max);
    void *self;
} TemplateSource;
enum { TEMPLATES_PER_GUILD_MAX = 64 };

#endif
