/* template_source.h: where a guild's templates come from: a folder (templates.h), the store
 * (store_templates.h), or both. */
#ifndef WORKER_TEMPLATE_SOURCE_H
#define WORKER_TEMPLATE_SOURCE_H

#include "khronos/template.h"

enum { TEMPLATES_PER_GUILD_MAX = 64, TEMPLATE_LOOKUP_ROOM = 8 };

/* A question about templates. The asker fills the first part and keeps it, in its place, until the
 * answer is there. */
typedef struct TemplateLookup TemplateLookup;
struct TemplateLookup {
    uint64_t guild_id;
    Text name; /* the one of that name; absent: all that match the event */
    const KhronosEvent *event;
    /* Any thread (also inside look_up), once, unless look_up returned true. NULL: only what is
     * known at once is wanted. */
    void (*complete)(TemplateLookup *lookup);
    void *userdata;

    /* Retained for the asker, in the order of their names. By name: one or none. The asker calls
     * template_lookup_free, which releases them, or has taken them over and set count to 0. */
    KhronosTemplate **found;
    int count;
    bool failed;       /* the store cannot say now; or no memory */
    char message[160]; /* then: why, for whoever asked */

    KhronosTemplate *room[TEMPLATE_LOOKUP_ROOM]; /* where `found` is while it fits */
    TemplateLookup *next;                        /* the source's */
};

typedef struct TemplateSource {
    /* True: answered at once, `complete` is not called. False: it will be; or, where it is NULL,
     * the answer takes longer and the question was forgotten. Any thread. */
    bool (*look_up)(void *self, TemplateLookup *lookup);
    void *self;
} TemplateSource;

/* Releases what was found; what was asked stays. */
void template_lookup_free(TemplateLookup *lookup);

/* ---- For sources ---- */
/* Sets a question's answer to "nothing found" without releasing anything. */
void template_lookup_clear(TemplateLookup *lookup);
/* Room for so many. False: no memory, and the lookup has failed. */
bool template_lookup_reserve(TemplateLookup *lookup, int count);
/* Nothing is found, for that reason. */
void template_lookup_fail(TemplateLookup *lookup, const char *message);

#endif
