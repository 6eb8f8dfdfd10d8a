#include "cli/samples.h"

#include <stdio.h>
#include <string.h>

enum { FILES_MAX = 32, LABELS_MAX = 32 };

static Text text_of(const char *text)
{
    return text ? (Text){text, strlen(text)} : (Text){0};
}

static void put_labels(Text *out, const char *const *labels, int count)
{
    for (int i = 0; i < count; i++)
        out[i] = text_of(labels[i]);
}

static bool save(Store *store, const Sample *sample, char *error, size_t error_size)
{
    Text events[LABELS_MAX], capabilities[LABELS_MAX];
    StoreFile files[FILES_MAX];
    BASE_ASSERT(sample->event_count <= LABELS_MAX && sample->capability_count <= LABELS_MAX);
    BASE_ASSERT(sample->file_count <= FILES_MAX);
    put_labels(events, sample->events, sample->event_count);
    put_labels(capabilities, sample->capabilities, sample->capability_count);
    for (int i = 0; i < sample->file_count; i++)
        files[i] = (StoreFile){text_of(sample->files[i].path), text_of(sample->files[i].source)};
    StoreTemplate template = {
        .name = text_of(sample->name),
        .enabled = true,
        .description = text_of(sample->description),
        .events = events,
        .event_count = sample->event_count,
        .capabilities = capabilities,
        .capability_count = sample->capability_count,
        .files = files,
        .file_count = sample->file_count,
    };
    StoreRequest *request = store_request_new(STORE_SAVE, 0);
    if (!request) {
        snprintf(error, error_size, "not enough memory");
        return false;
    }
    request->save = &template;
    request->if_version = 0;
    store_wait(store, request);
    bool saved = request->status == STORE_OK || request->status == STORE_CONFLICT;
    if (!saved)
        snprintf(error, error_size, "cannot save the sample template %s: %.*s", sample->name,
                 (int)request->message.length, request->message.data);
    store_request_free(request);
    return saved;
}

bool samples_save(Store *store, char *error, size_t error_size)
{
    for (int i = 0; i < SAMPLE_COUNT; i++)
        if (!save(store, &SAMPLES[i], error, error_size))
            return false;
    return true;
}
