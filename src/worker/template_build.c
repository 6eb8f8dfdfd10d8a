#include "worker/template_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"

static bool add_file(KhronosTemplate *out, const StoreFile *file, char *error, size_t error_size)
{
    char path[TEMPLATE_PATH_MAX];
    if (file->path.length >= sizeof(path)) {
        snprintf(error, error_size, "a file's path is longer than %d bytes", TEMPLATE_PATH_MAX - 1);
        return false;
    }
    snprintf(path, sizeof(path), "%.*s", (int)file->path.length, file->path.data);
    char *source = malloc(file->source.length + 1);
    if (source) {
        memcpy(source, file->source.length ? file->source.data : "", file->source.length);
        source[file->source.length] = '\0';
    }
    return template_addfile(out, path, NULL, source, file->source.length, error, error_size);
}

/* The texts, each with a NUL behind it, one after another in `out`. */
static void put_labels(Strbuf *out, const Text *labels, int count)
{
    for (int i = 0; i < count; i++) {
        strbuf_put(out, labels[i].data, labels[i].length);
        strbuf_putc(out, '\0');
    }
}

static const char *point_labels(const char *at, const Text *labels, int count, const char **out)
{
    for (int i = 0; i < count; i++) {
        out[i] = at;
        at += labels[i].length + 1;
    }
    return at;
}

static bool set_meta(KhronosTemplate *out, const StoreTemplate *t, char *error, size_t error_size)
{
    const char *events[TEMPLATE_EVENTS_MAX], *capabilities[TEMPLATE_CAPABILITIES_MAX];
    TemplateMeta meta = {.events = events,
                         .event_count = t->event_count,
                         .capabilities = capabilities,
                         .capability_count = t->capability_count,
                         .enabled = t->enabled};
    if (t->event_count > TEMPLATE_EVENTS_MAX || t->capability_count > TEMPLATE_CAPABILITIES_MAX) {
        bool events_too = t->event_count > TEMPLATE_EVENTS_MAX;
        snprintf(error, error_size, "/%s: more than %d entries",
                 events_too ? "events" : "capabilities",
                 events_too ? TEMPLATE_EVENTS_MAX : TEMPLATE_CAPABILITIES_MAX);
        return false;
    }
    Strbuf texts = STRBUF_INIT;
    put_labels(&texts, t->events, t->event_count);
    put_labels(&texts, t->capabilities, t->capability_count);
    put_labels(&texts, &t->description, t->description.data ? 1 : 0);
    bool good = !texts.failed;
    if (good) {
        const char *at = point_labels(texts.data, t->events, t->event_count, events);
        at = point_labels(at, t->capabilities, t->capability_count, capabilities);
        meta.description = t->description.data ? at : NULL;
        good = template_setmeta(out, &meta, error, error_size);
    } else {
        snprintf(error, error_size, TEMPLATE_NO_MEMORY);
    }
    strbuf_free(&texts);
    return good;
}

bool template_build(KhronosTemplate *out, const StoreTemplate *t, char *error, size_t error_size)
{
    for (int i = 0; i < t->file_count; i++)
        if (!add_file(out, &t->files[i], error, error_size))
            return false;
    if (!set_meta(out, t, error, error_size))
        return false;
    if (template_entry(out) >= 0)
        return true;
    snprintf(error, error_size, "there is no init.luau");
    return false;
}
