/* template_build.h: a template as the store has it, made into one that runs. */
#ifndef WORKER_TEMPLATE_BUILD_H
#define WORKER_TEMPLATE_BUILD_H

#include "store/store.h"
#include "worker/template_source.h"

/* Adds the files and what the template says of itself to `out`, which has neither. False: text in
 * error: a limit is passed, or TEMPLATE_NO_MEMORY. */
bool template_build(KhronosTemplate *out, const StoreTemplate *t, char *error, size_t error_size);
#define TEMPLATE_NO_MEMORY "not enough memory"

#endif
