#include "base/jsonobject.h"

#include <stdio.h>

/* The document is not JSON: that is the complaint, wherever we are. */
static bool fail_syntax(JsonObject *o)
{
    if (o->error[0] == '\0') {
        char text[160];
        json_describe(o->reader, text, sizeof(text));
        snprintf(o->error, o->error_size, "invalid JSON: %s", text);
    }
    return false;
}

static bool fail_at(JsonObject *o, const char *name, const char *text)
{
    if (o->reader->error)
        return fail_syntax(o);
    if (o->error[0] == '\0') {
        const char *pointer = o->pointer[0] != '\0' || name ? o->pointer : "/";
        snprintf(o->error, o->error_size, "%s%s%s: %s", pointer, name ? "/" : "", name ? name : "",
                 text);
    }
    return false;
}

bool jsonobj_fail(JsonObject *o, const char *text)
{
    return fail_at(o, o->names[o->field], text);
}

static const char *kind_name(JsonKind kind)
{
    switch (kind) {
    case JSON_NULL: return "null";
    case JSON_FALSE:
    case JSON_TRUE: return "a boolean";
    case JSON_NUMBER: return "a number";
    case JSON_STRING: return "a string";
    case JSON_ARRAY: return "an array";
    case JSON_OBJECT: return "an object";
    default: return "nothing";
    }
}

static bool expect(JsonObject *o, JsonKind wanted)
{
    JsonKind kind = json_peek(o->reader);
    if (kind == wanted)
        return true;
    char text[80];
    snprintf(text, sizeof(text), "expected %s, got %s", kind_name(wanted), kind_name(kind));
    return jsonobj_fail(o, text);
}

static bool enter(JsonObject *o)
{
    o->entered = true;
    JsonKind kind = json_peek(o->reader);
    if (kind != JSON_OBJECT) {
        char text[80];
        snprintf(text, sizeof(text), "expected an object, got %s", kind_name(kind));
        return fail_at(o, NULL, text);
    }
    return json_enter(o->reader) || fail_syntax(o);
}

/* A name as it may stand in a message: cut, and without what could confuse its reader. */
static void printable(const JsonString *key, char *out, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < key->length && length + 1 < size && length < 64; i++)
        out[length++] = (unsigned char)key->data[i] < 0x80 ? key->data[i] : '?';
    out[length] = '\0';
}

int jsonobj_next(JsonObject *o)
{
    JsonString key;
    if (o->error[0] != '\0' || (!o->entered && !enter(o)))
        return -1;
    if (!json_member(o->reader, &key)) {
        if (o->reader->error)
            fail_syntax(o);
        return -1;
    }
    for (int i = 0; i < o->count; i++) {
        if (!json_equals(&key, o->names[i]))
            continue;
        o->field = i;
        if (o->seen & (1u << i)) {
            jsonobj_fail(o, "given twice");
            return -1;
        }
        o->seen |= 1u << i;
        return i;
    }
    char name[80];
    printable(&key, name, sizeof(name));
    fail_at(o, name, "unknown field");
    return -1;
}

bool jsonobj_string(JsonObject *o, JsonString *value)
{
    if (!expect(o, JSON_STRING))
        return false;
    if (!json_string(o->reader, value))
        return fail_syntax(o);
    if (value->escaped) {
        value->length = json_unescape(value, (char *)(uintptr_t)value->data);
        value->escaped = false;
    }
    return true;
}

bool jsonobj_integer(JsonObject *o, int64_t min, int64_t max, int64_t *value)
{
    JsonNumber number;
    if (!expect(o, JSON_NUMBER))
        return false;
    if (!json_number(o->reader, &number))
        return fail_syntax(o);
    if (number.kind != JSON_INT64 || number.i < min || number.i > max) {
        char text[96];
        snprintf(text, sizeof(text), "expected an integer from %lld to %lld", (long long)min,
                 (long long)max);
        return jsonobj_fail(o, text);
    }
    *value = number.i;
    return true;
}

bool jsonobj_null(JsonObject *o)
{
    return json_peek(o->reader) == JSON_NULL && json_literal(o->reader);
}

bool jsonobj_raw(JsonObject *o, const char **text, size_t *length)
{
    if (json_peek(o->reader) == JSON_NONE)
        return fail_syntax(o);
    *text = o->reader->p;
    if (!json_skip(o->reader))
        return fail_syntax(o);
    *length = (size_t)(o->reader->p - *text);
    return true;
}

bool jsonobj_require(JsonObject *o, uint32_t fields)
{
    uint32_t missing = fields & ~o->seen;
    if (o->error[0] != '\0')
        return false;
    return missing == 0 || fail_at(o, o->names[__builtin_ctz(missing)], "required");
}
