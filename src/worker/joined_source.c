#include "worker/joined_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A question that waits for the store's part of its answer. */
typedef struct JoinedLookup {
    TemplateLookup store; /* what the store is asked */
    TemplateLookup *asked;
    JoinedSource *source;
} JoinedLookup;

static Text name_of(const KhronosTemplate *t)
{
    const char *name = template_name(t);
    return (Text){name, strlen(name)};
}

static bool in_folder(const JoinedSource *source, Text name)
{
    KhronosTemplate *t = templates_get(source->folder, name.data, name.length);
    template_release(t);
    return t != NULL;
}

static bool add(TemplateLookup *lookup, KhronosTemplate *t)
{
    if (lookup->count < TEMPLATES_PER_GUILD_MAX)
        lookup->found[lookup->count++] = template_retain(t);
    return lookup->count < TEMPLATES_PER_GUILD_MAX;
}

/* Both lists are in the order of their names, and so is the result. */
static void merge(TemplateLookup *out, const TemplateLookup *folder, const TemplateLookup *store,
                  const JoinedSource *source)
{
    int i = 0, j = 0;
    while (i < folder->count || j < store->count) {
        if (j < store->count && in_folder(source, name_of(store->found[j]))) {
            j++;
            continue;
        }
        bool from_folder = j == store->count ||
                           (i < folder->count && event_comparetexts(name_of(folder->found[i]),
                                                                    name_of(store->found[j])) < 0);
        if (!add(out, from_folder ? folder->found[i++] : store->found[j++]))
            return;
    }
}

static void fail(TemplateLookup *lookup, const char *message)
{
    lookup->failed = true;
    snprintf(lookup->message, sizeof(lookup->message), "%s", message);
}

/* The store has answered. */
static void join(JoinedLookup *joined)
{
    TemplateLookup *asked = joined->asked;
    TemplateLookup folder = {.guild_id = asked->guild_id, .event = asked->event};
    TemplateSource source = templates_source(joined->source->folder);
    template_lookup_clear(asked);
    if (joined->store.failed) {
        fail(asked, joined->store.message);
        return;
    }
    source.look_up(source.self, &folder); /* a folder answers at once */
    if (folder.failed)
        fail(asked, folder.message);
    else if (template_lookup_reserve(asked, folder.count + joined->store.count))
        merge(asked, &folder, &joined->store, joined->source);
    template_lookup_free(&folder);
}

static void store_answered(TemplateLookup *lookup)
{
    JoinedLookup *joined = lookup->userdata;
    TemplateLookup *asked = joined->asked;
    join(joined);
    template_lookup_free(&joined->store);
    free(joined);
    asked->complete(asked);
}

/* True: answered all the same. */
static bool look_up_later(JoinedSource *source, TemplateLookup *lookup)
{
    JoinedLookup *joined = calloc(1, sizeof(*joined));
    if (!joined) {
        template_lookup_clear(lookup);
        fail(lookup, "not enough memory");
        return true;
    }
    joined->asked = lookup;
    joined->source = source;
    joined->store = (TemplateLookup){.guild_id = lookup->guild_id,
                                     .event = lookup->event,
                                     .complete = store_answered,
                                     .userdata = joined};
    if (!source->store.look_up(source->store.self, &joined->store))
        return false;
    join(joined);
    template_lookup_free(&joined->store);
    free(joined);
    return true;
}

static bool look_up(void *self, TemplateLookup *lookup)
{
    JoinedSource *source = self;
    if (lookup->name.data) {
        TemplateSource folder = templates_source(source->folder);
        if (folder.look_up(folder.self, lookup) && (lookup->count > 0 || lookup->failed))
            return true;
        template_lookup_free(lookup);
        return source->store.look_up(source->store.self, lookup);
    }
    JoinedLookup now = {.asked = lookup, .source = source};
    now.store = (TemplateLookup){.guild_id = lookup->guild_id, .event = lookup->event};
    if (source->store.look_up(source->store.self, &now.store)) {
        join(&now);
        template_lookup_free(&now.store);
        return true;
    }
    return lookup->complete && look_up_later(source, lookup);
}

TemplateSource joined_source(JoinedSource *joined)
{
    return (TemplateSource){.look_up = look_up, .self = joined};
}
