/* jsonobject.h: reads an object with known fields: no unknown ones, none twice; every complaint
 * says where (a JSON pointer) and what was expected. For what people send us, not for their data.
 *
 *     static const char *const names[] = {"name", "count"};
 *     JsonObject o = {.reader = &r, .pointer = "/thing", .names = names, .count = 2, .error = text,
 *                     .error_size = sizeof(text)};
 *     for (int field; (field = jsonobj_next(&o)) >= 0;)
 *         switch (field) { case 0: jsonobj_string(&o, &name); break; ... }
 *     ok = o.error[0] == '\0';
 *
 * The text must be writable: strings with escapes are unescaped in their place. */
#ifndef BASE_JSONOBJECT_H
#define BASE_JSONOBJECT_H

#include "base/jsontext.h"

typedef struct JsonObject {
    JsonReader *reader;
    const char *pointer;      /* of the object itself; "" is the document */
    const char *const *names; /* at most 32 */
    int count;
    char *error;              /* text of the first complaint; "" at the start */
    size_t error_size;
    uint32_t seen;            /* bit i: names[i] was read */
    bool entered;
    int field;                /* whose value comes next */
} JsonObject;

/* Index of the next member's field; -1: the object ended, or something is wrong (error is set). The
 * caller reads its value before it asks again. */
int jsonobj_next(JsonObject *o);
bool jsonobj_string(JsonObject *o, JsonString *value); /* unescaped */
bool jsonobj_integer(JsonObject *o, int64_t min, int64_t max, int64_t *value);
bool jsonobj_null(JsonObject *o);                      /* consumes a null if one comes next */
bool jsonobj_raw(JsonObject *o, const char **text, size_t *length); /* any value, checked */
/* Complains unless every field whose bit is set was there. */
bool jsonobj_require(JsonObject *o, uint32_t fields);
/* Complains about the field whose value comes next (or was read last). */
bool jsonobj_fail(JsonObject *o, const char *text);

#endif
