/* settings.h: what templates must return to GetSettings and ExecuteSetting (docs/settings.md).
 * The dispatcher judges results with it, so that who asked never sees anything else. */
#ifndef WORKER_SETTINGS_H
#define WORKER_SETTINGS_H

#include "khronos/event.h"

/* Is the event one whose results have a form (base name AntiRaid, name GetSettings or
 * ExecuteSetting)? */
bool settings_event(const KhronosEvent *event);
/* Is the result (JSON) what that event asks for? False: a complaint with a path in error
 * (`result[2].columns[1].type: expected ...`). */
bool settings_check(const KhronosEvent *event, const char *json, size_t length, char *error,
                    size_t error_size);

#endif
