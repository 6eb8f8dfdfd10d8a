/* template_json.h: what a template says of itself, as people write it:
 *
 *     {"description": string, "events": [string, ...], "capabilities": [string, ...], "enabled":
 * bool}
 *
 * Every field may be left out: no description, no events, all capabilities, enabled. */
#ifndef WORKER_TEMPLATE_JSON_H
#define WORKER_TEMPLATE_JSON_H

#include "khronos/template.h"

#define TEMPLATE_JSON_MAX_BYTES ((size_t)256 << 10)

/* Reads the document, which is writable and is changed (jsonobject.h), and sets it
 * (template_setmeta, before the template is shared). False: text in error, which begins with a JSON
 * pointer where there is one; an unknown field is told with the known name that is meant, if one is
 * close. */
bool template_json_read(KhronosTemplate *t, char *text, size_t length, char *error,
                        size_t error_size);

#endif
