#include "worker/template_source.h"

#include <stdio.h>
#include <stdlib.h>

void template_lookup_clear(TemplateLookup *lookup)
{
    lookup->found = lookup->room;
    lookup->count = 0;
    lookup->failed = false;
    lookup->message[0] = '\0';
}

void template_lookup_free(TemplateLookup *lookup)
{
    for (int i = 0; i < lookup->count; i++)
        template_release(lookup->found[i]);
    if (lookup->found != lookup->room)
        free(lookup->found);
    lookup->found = NULL;
    lookup->count = 0;
}

void template_lookup_fail(TemplateLookup *lookup, const char *message)
{
    template_lookup_free(lookup);
    template_lookup_clear(lookup);
    lookup->failed = true;
    snprintf(lookup->message, sizeof(lookup->message), "%s", message);
}

bool template_lookup_reserve(TemplateLookup *lookup, int count)
{
    if (count <= TEMPLATE_LOOKUP_ROOM)
        return true;
    KhronosTemplate **found = malloc((size_t)count * sizeof(KhronosTemplate *));
    if (!found) {
        template_lookup_fail(lookup, "not enough memory");
        return false;
    }
    lookup->found = found;
    return true;
}
