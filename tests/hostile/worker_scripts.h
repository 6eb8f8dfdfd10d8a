/* worker_scripts.h: templates that behave, and templates that do not, for tests of the worker. */
#ifndef TESTS_WORKER_SCRIPTS_H
#define TESTS_WORKER_SCRIPTS_H

#include "khronos/khronos.h"

#define MAY(status) (1u << (status))
#define THROWS (1u << 31) /* errors by the million */

typedef struct Script {
    const char *name, *source, *module; /* module: source of ./part, or NULL */
    unsigned may;                       /* MAY: the ends that are its own; THROWS */
} Script;

enum { GOOD = 7, BAD = 30 };

/* Each returns the event's data. */
extern const Script good_scripts[GOOD];
extern const Script bad_scripts[BAD];

#endif
