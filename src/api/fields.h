/* fields.h: structs whose members are numbers, as members of a JSON object: one table says which
 * there are, and what of them is in the API. */
#ifndef API_FIELDS_H
#define API_FIELDS_H

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

typedef struct NumberField {
    const char *name;
    size_t offset;
    enum { FIELD_INT, FIELD_U64 } type; /* size_t is FIELD_U64 */
    uint64_t unit;                      /* of the struct's, that make one of the API's; 0: 1 */
    int64_t min, max;                   /* of those that can be set */
} NumberField;

uint64_t field_get(const NumberField *field, const void *from);
void field_set(const NumberField *field, void *to, uint64_t value);
/* `"name":1,"other":2` */
void fields_put(Strbuf *out, const NumberField *fields, int count, const void *from);

#endif
