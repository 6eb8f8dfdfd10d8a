/* template_source.h: where a guild's templates come from: a folder (templates.h), the store
 * (store_templates.h), or both. */
#ifndef WORKER_TEMPLATE_SOURCE_H
#define WORKER_TEMPLATE_SOURCE_H

#include "khronos/template.h"

enum { TEMPLATES_PER_GUILD_MAX = 64 };

/* A question about templates. The asker fills the first part and keeps it until the answer is
 * there. */
typedef struct TemplateLookup TemplateLookup;
struct TemplateLookup {
    uint64_t guild_id;
    Text name; /* the one of that name; absent: all that match the event */
    const KhronosEvent *event;
    void (*complete)(TemplateLookup *lookup); /* any thread, once, unless look_up returned true */
    void *userdata;

    /* Retained for the asker, in the order of their names. By name: one or none. The array is
     * malloc'd and the asker's to free (template_lookup_free does both). */
    KhronosTemplate **found;
    int count;
    bool failed;       /* the store cannot say now; or no memory */
    char message[160]; /* then: why, for whoever asked */

    TemplateLookup *next; /* the source's */
};

typedef struct TemplateSource {
    /* True: answered at once, `complete` is not called. False: it will be. Any thread. */
    bool (*look_up)(void *self, TemplateLookup *lookup);
    void *self;
} TemplateSource;

/* Releases what was found. */
void template_lookup_free(TemplateLookup *lookup);

#endif
