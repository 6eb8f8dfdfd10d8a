/* joined_source.h: a folder and the store as one source of templates, for who works on templates in
 * a folder beside a store. The folder's hide the store's of the same name, for every guild. */
#ifndef WORKER_JOINED_SOURCE_H
#define WORKER_JOINED_SOURCE_H

#include "worker/store_templates.h"
#include "worker/templates.h"

typedef struct JoinedSource {
    TemplateCache *folder;
    TemplateSource store;
} JoinedSource;

/* Everything stays the caller's and outlives it. */
TemplateSource joined_source(JoinedSource *joined);

#endif
