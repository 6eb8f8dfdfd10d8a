#include <stdlib.h>

#include "base/random.h"
#include "worker/process_pool.h"

struct SentTemplate {
    KhronosTemplate *t; /* retained, so its address names no other one */
    uint64_t id;
    uint64_t round;
    size_t bytes;
    SentTemplate *previous, *next; /* in the order of use */
};

static uint64_t key_of(const KhronosTemplate *t)
{
    return (uint64_t)(uintptr_t)t;
}

void sent_templates_init(SentTemplates *sent)
{
    *sent = (SentTemplates){0};
    idmap_init(&sent->by_template, random_u64());
}

static void unlink_use(SentTemplates *sent, SentTemplate *entry)
{
    *(entry->previous ? &entry->previous->next : &sent->first_used) = entry->next;
    *(entry->next ? &entry->next->previous : &sent->last_used) = entry->previous;
}

static void link_last(SentTemplates *sent, SentTemplate *entry)
{
    entry->next = NULL;
    entry->previous = sent->last_used;
    *(sent->last_used ? &sent->last_used->next : &sent->first_used) = entry;
    sent->last_used = entry;
}

static void forget(SentTemplates *sent, SentTemplate *entry)
{
    unlink_use(sent, entry);
    idmap_remove(&sent->by_template, key_of(entry->t));
    sent->bytes -= entry->bytes;
    template_release(entry->t);
    free(entry);
}

void sent_templates_free(SentTemplates *sent)
{
    while (sent->first_used)
        forget(sent, sent->first_used);
    idmap_free(&sent->by_template);
}

void sent_templates_round(SentTemplates *sent)
{
    sent->round++;
}

/* Those used least recently go until the limits are kept, or only those of this round are left. */
static bool make_room(SentTemplates *sent, Strbuf *out)
{
    for (;;) {
        SentTemplate *oldest = sent->first_used;
        bool full = sent->by_template.count > SENT_TEMPLATES_MAX ||
                    sent->bytes > SENT_TEMPLATES_BYTES_MAX;
        if (!full || !oldest || oldest->round == sent->round)
            return true;
        if (!frame_put_number(out, FRAME_FORGET, oldest->id))
            return false;
        forget(sent, oldest);
    }
}

static SentOutcome add(SentTemplates *sent, KhronosTemplate *t, Strbuf *out, SentTemplate **added)
{
    if (!frame_template_complete(t))
        return SENT_NO_SOURCE;
    SentTemplate *entry = calloc(1, sizeof(*entry));
    size_t before = out->length;
    if (!entry)
        return SENT_NO_MEMORY;
    if (!frame_put_template(out, sent->last_id + 1, t))
        goto no_frame;
    if (!idmap_put(&sent->by_template, key_of(t), entry))
        goto no_place;
    *entry = (SentTemplate){.t = template_retain(t),
                            .id = ++sent->last_id,
                            .round = sent->round,
                            .bytes = out->length - before};
    sent->bytes += entry->bytes;
    link_last(sent, entry);
    *added = entry;
    return SENT_OK;
no_place:
    out->length = before;
no_frame:
    free(entry);
    return SENT_NO_MEMORY;
}

SentOutcome sent_templates_use(SentTemplates *sent, KhronosTemplate *t, Strbuf *out, uint64_t *id)
{
    SentTemplate *entry = idmap_get(&sent->by_template, key_of(t));
    if (entry) {
        entry->round = sent->round;
        unlink_use(sent, entry);
        link_last(sent, entry);
    } else {
        SentOutcome outcome = add(sent, t, out, &entry);
        if (outcome != SENT_OK)
            return outcome;
        if (!make_room(sent, out))
            return SENT_NO_MEMORY;
    }
    *id = entry->id;
    return SENT_OK;
}
