/* store_templates.h: the store's templates as a source: what guilds have, in memory.
 *
 * A guild's templates are loaded at the first question about them, by the store's threads, and kept
 * until they change, or until others need the room (bytes of sources and a fixed cost a guild;
 * those that were not asked for longest go first). Guilds without templates are remembered, too.
 * Those of guild 0 are every guild's, unless it has one of that name itself; a disabled one hides
 * it. An answer is never older than the last change that a save, made through this process, came
 * back for. */
#ifndef WORKER_STORE_TEMPLATES_H
#define WORKER_STORE_TEMPLATES_H

#include "store/store.h"
#include "worker/template_source.h"

typedef struct StoreTemplates StoreTemplates;

/* NULL: no memory. The sandbox is retained; the store is set by store_templates_use before the
 * first question, because the store's observer wants this first. keep_sources: as
 * template_keepsources. */
StoreTemplates *store_templates_new(KhronosSandbox *sandbox, size_t bytes_max, bool keep_sources);
void store_templates_use(StoreTemplates *templates, Store *store);
/* From now on questions fail; returns when those under way were answered, for which the store must
 * run. Before worker_stop: who has an answer goes on with the worker. */
void store_templates_stop(StoreTemplates *templates);
/* After store_stop. NULL is fine. */
void store_templates_free(StoreTemplates *templates);
TemplateSource store_templates_source(StoreTemplates *templates);
/* For StoreObserver.templates_changed; userdata is the StoreTemplates. */
void store_templates_changed(void *templates, uint64_t guild_id, bool all);

/* Checks what is to be saved: names, limits, labels, and every file of code is compiled. False:
 * text in error (a tenant may read it; `init.luau:3:7: expected ...` and the text of that line),
 * and if it is about code, *diagnostic and the file, else -1 (either may be NULL). Takes long for
 * large sources: not on a worker thread. (template_check.c) */
bool template_check(KhronosSandbox *sandbox, const StoreTemplate *t, char *error, size_t error_size,
                    luau_Diagnostic *diagnostic, int *file);

#endif
