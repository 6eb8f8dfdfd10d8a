/* samples.h: the templates of the folder `templates`, which are part of the program
 * (tools/embed_templates.py), and which a new store begins with. */
#ifndef CLI_SAMPLES_H
#define CLI_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>

#include "store/store.h"

typedef struct SampleFile {
    const char *path, *source;
} SampleFile;

typedef struct Sample {
    const char *name, *description; /* NULL: none */
    const char *const *events;
    int event_count;
    const char *const *capabilities;
    int capability_count;
    const SampleFile *files;
    int file_count;
} Sample;

extern const Sample SAMPLES[];
extern const int SAMPLE_COUNT;

/* Saves them for every guild (guild 0), where there is no template of the name yet. Waits. False:
 * text in error. */
bool samples_save(Store *store, char *error, size_t error_size);

#endif
