#include "api/fields.h"

#include <inttypes.h>

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "sizes are read as 64-bit numbers");

uint64_t field_get(const NumberField *field, const void *from)
{
    const char *place = (const char *)from + field->offset;
    uint64_t value = 0;
    int number;
    if (field->type == FIELD_U64) {
        memcpy(&value, place, sizeof(value));
    } else {
        memcpy(&number, place, sizeof(number));
        value = (uint64_t)(number > 0 ? number : 0);
    }
    return field->unit > 1 ? value / field->unit : value;
}

void field_set(const NumberField *field, void *to, uint64_t value)
{
    char *place = (char *)to + field->offset;
    int number = (int)value;
    value *= field->unit > 1 ? field->unit : 1;
    if (field->type == FIELD_U64)
        memcpy(place, &value, sizeof(value));
    else
        memcpy(place, &number, sizeof(number));
}

void fields_put(Strbuf *out, const NumberField *fields, int count, const void *from)
{
    for (int i = 0; i < count; i++)
        strbuf_printf(out, "%s\"%s\":%" PRIu64, i > 0 ? "," : "", fields[i].name,
                      field_get(&fields[i], from));
}
