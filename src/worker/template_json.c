#include "worker/template_json.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/jsonobject.h"

enum { DESCRIPTION, EVENTS, CAPABILITIES, ENABLED, FIELD_COUNT };
static const char *const FIELDS[FIELD_COUNT] = {"description", "events", "capabilities", "enabled"};
enum { CLOSE_NAME_MAX = 24, CLOSE_EDITS_MAX = 2 };

/* ---- Names that were meant --------------------------------------------------------------------
 */

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Characters to insert, remove or replace to make b of a; both at most CLOSE_NAME_MAX long. */
static int edits(const char *a, size_t a_length, const char *b, size_t b_length)
{
    int row[CLOSE_NAME_MAX + 1];
    for (size_t j = 0; j <= b_length; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= a_length; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= b_length; j++) {
            int above = row[j];
            row[j] = least(least(row[j], row[j - 1]) + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[b_length];
}

static const char *closest_field(const JsonString *name)
{
    const char *best = NULL;
    int best_edits = CLOSE_EDITS_MAX + 1;
    if (name->length > CLOSE_NAME_MAX)
        return NULL;
    for (int i = 0; i < FIELD_COUNT; i++) {
        int count = edits(name->data, name->length, FIELDS[i], strlen(FIELDS[i]));
        if (count < best_edits) {
            best = FIELDS[i];
            best_edits = count;
        }
    }
    return best;
}

/* Finds a field that has no meaning, before anything is read. What is no JSON, or no object, is
 * left to the reading itself. */
static bool check_names(const char *text, size_t length, char *error, size_t error_size)
{
    JsonReader r;
    JsonString name;
    json_open(&r, text, length);
    if (json_peek(&r) != JSON_OBJECT || !json_enter(&r))
        return true;
    while (json_member(&r, &name)) {
        bool known = false;
        for (int i = 0; i < FIELD_COUNT; i++)
            known |= json_equals(&name, FIELDS[i]);
        const char *meant = known ? NULL : closest_field(&name);
        if (meant) {
            snprintf(error, error_size, "/%.*s: unknown field; did you mean \"%s\"?",
                     (int)name.length, name.data, meant);
            return false;
        }
        json_skip(&r);
    }
    return true;
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

/* The string that comes next, ended by a NUL in the place of its quote. NULL: error is set; index:
 * which one of a list, or -1. */
static const char *read_text(JsonObject *o, int index)
{
    JsonString string;
    JsonReader *r = o->reader;
    const char *wrong = "expected a string";
    if (json_peek(r) == JSON_STRING && json_string(r, &string)) {
        char *text = (char *)(uintptr_t)string.data;
        size_t length = string.escaped ? json_unescape(&string, text) : string.length;
        text[length] = '\0';
        if (strlen(text) == length)
            return text;
        wrong = "has a control character";
    }
    if (r->error || index < 0)
        jsonobj_fail(o, wrong);
    else
        snprintf(o->error, o->error_size, "/%s/%d: %s", FIELDS[o->field], index, wrong);
    return NULL;
}

static void read_list(JsonObject *o, const char **texts, int max, int *count)
{
    char text[64];
    if (json_peek(o->reader) != JSON_ARRAY || !json_enter(o->reader)) {
        jsonobj_fail(o, "expected an array of strings");
        return;
    }
    for (*count = 0; json_element(o->reader); ++*count) {
        if (*count == max) {
            snprintf(text, sizeof(text), "more than %d entries", max);
            jsonobj_fail(o, text);
            return;
        }
        texts[*count] = read_text(o, *count);
        if (!texts[*count])
            return;
    }
    if (o->reader->error)
        jsonobj_fail(o, "expected an array of strings");
}

static void read_bool(JsonObject *o, bool *value)
{
    JsonKind kind = json_peek(o->reader);
    *value = kind == JSON_TRUE;
    if ((kind != JSON_TRUE && kind != JSON_FALSE) || !json_literal(o->reader))
        jsonobj_fail(o, "expected true or false");
}

bool template_json_read(KhronosTemplate *t, char *text, size_t length, char *error,
                        size_t error_size)
{
    const char *events[TEMPLATE_EVENTS_MAX], *capabilities[TEMPLATE_CAPABILITIES_MAX];
    TemplateMeta meta = *template_meta(t);
    JsonReader reader;
    JsonObject o = {.reader = &reader,
                    .pointer = "",
                    .names = FIELDS,
                    .count = FIELD_COUNT,
                    .error = error,
                    .error_size = error_size};
    error[0] = '\0';
    if (!check_names(text, length, error, error_size))
        return false;
    json_open(&reader, text, length);
    for (int field; (field = jsonobj_next(&o)) >= 0;) {
        switch (field) {
        case DESCRIPTION: meta.description = read_text(&o, -1); break;
        case EVENTS:
            read_list(&o, events, TEMPLATE_EVENTS_MAX, &meta.event_count);
            meta.events = events;
            break;
        case CAPABILITIES:
            read_list(&o, capabilities, TEMPLATE_CAPABILITIES_MAX, &meta.capability_count);
            meta.capabilities = capabilities;
            break;
        default: read_bool(&o, &meta.enabled); break;
        }
    }
    if (error[0] == '\0' && !json_end(&reader)) {
        char place[160];
        json_describe(&reader, place, sizeof(place));
        snprintf(error, error_size, "invalid JSON: %s", place);
    }
    return error[0] == '\0' && template_setmeta(t, &meta, error, error_size);
}
