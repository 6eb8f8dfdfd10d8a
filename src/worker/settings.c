/* A reader along the result, which knows where it is: `result[2].columns[1]`. The first complaint
 * ends it. */
#include "worker/settings.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/jsontext.h"

enum {
    SETTINGS_MAX = 64,
    COLUMNS_MAX = 64,
    SUGGESTIONS_MAX = 64,
    ID_MAX = 64,     /* bytes, as in all below */
    NAME_MAX = 256,  /* and of a suggestion */
    TEXT_MAX = 4096, /* descriptions, templates of titles */
    PATH_SIZE = 256
};

typedef struct Checker {
    JsonReader r;
    char path[PATH_SIZE];
    size_t path_length;
    char *error;
    size_t error_size;
} Checker;

typedef struct Ids {
    char texts[SETTINGS_MAX > COLUMNS_MAX ? SETTINGS_MAX : COLUMNS_MAX][ID_MAX + 1];
    int count;
} Ids;

typedef struct Field {
    const char *name;
    bool required;
    bool (*check)(Checker *c, Ids *ids);
} Field;

/* ---- Where, and what is wrong there -----------------------------------------------------------
 */

static void enter_field(Checker *c, const char *name)
{
    int length = snprintf(c->path + c->path_length, PATH_SIZE - c->path_length, ".%s", name);
    c->path_length += (size_t)length;
    BASE_ASSERT(c->path_length < PATH_SIZE); /* names and depth are known */
}

static void enter_index(Checker *c, int index)
{
    int length = snprintf(c->path + c->path_length, PATH_SIZE - c->path_length, "[%d]", index);
    c->path_length += (size_t)length;
    BASE_ASSERT(c->path_length < PATH_SIZE);
}

static void leave(Checker *c, size_t length)
{
    c->path_length = length;
    c->path[length] = '\0';
}

/* text: "" when the reader failed, which is then the complaint. */
static bool complain(Checker *c, const char *text)
{
    if (c->r.error) {
        char place[160];
        json_describe(&c->r, place, sizeof(place));
        snprintf(c->error, c->error_size, "%s: invalid JSON: %s", c->path, place);
    } else {
        snprintf(c->error, c->error_size, "%s: %s", c->path, text);
    }
    return false;
}

static const char *kind_name(JsonKind kind)
{
    switch (kind) {
    case JSON_NULL: return "null";
    case JSON_FALSE:
    case JSON_TRUE: return "a boolean";
    case JSON_NUMBER: return "a number";
    case JSON_STRING: return "a string";
    case JSON_ARRAY: return "a list";
    case JSON_OBJECT: return "an object";
    default: return "nothing";
    }
}

static bool complain_kind(Checker *c, const char *expected)
{
    char text[96];
    JsonKind kind = json_peek(&c->r);
    snprintf(text, sizeof(text), "expected %s, got %s", expected, kind_name(kind));
    return complain(c, text);
}

/* ---- Lists and objects ------------------------------------------------------------------------
 */

/* A list's elements, one after another: check reads one. An empty Luau table is written as an empty
 * object. */
static bool check_list(Checker *c, const char *what, int max,
                       bool (*check)(Checker *c, Ids *ids, int index), Ids *ids, int *count)
{
    char text[96];
    JsonString key;
    size_t length = c->path_length;
    JsonKind kind = json_peek(&c->r);
    *count = 0;
    if (kind != JSON_ARRAY && kind != JSON_OBJECT)
        return complain_kind(c, what);
    json_enter(&c->r);
    if (kind == JSON_OBJECT) {
        if (!json_member(&c->r, &key))
            return !c->r.error || complain(c, "");
        snprintf(text, sizeof(text), "expected %s, got an object", what);
        return complain(c, text);
    }
    for (; json_element(&c->r); ++*count) {
        if (*count == max) {
            snprintf(text, sizeof(text), "more than %d", max);
            return complain(c, text);
        }
        enter_index(c, *count);
        if (!check(c, ids, *count))
            return false;
        leave(c, length);
    }
    return !c->r.error || complain(c, "");
}

/* A name of the tenant's, as it may stand in a message. */
static bool complain_unknown(Checker *c, const JsonString *key)
{
    char name[48];
    size_t length = 0;
    for (; length < key->length && length + 1 < sizeof(name); length++) {
        char byte = key->data[length];
        name[length] = byte >= ' ' && byte < 0x7f ? byte : '?';
    }
    name[length] = '\0';
    char text[80];
    snprintf(text, sizeof(text), "unknown field \"%s\"", name);
    return complain(c, text);
}

static int find_field(const JsonString *key, const Field *fields, int count)
{
    for (int i = 0; i < count; i++)
        if (json_equals(key, fields[i].name))
            return i;
    return -1;
}

static bool check_fields(Checker *c, const Field *fields, int count, Ids *ids)
{
    JsonString key;
    size_t length = c->path_length;
    unsigned seen = 0;
    if (json_peek(&c->r) != JSON_OBJECT)
        return complain_kind(c, "an object");
    json_enter(&c->r);
    while (json_member(&c->r, &key)) {
        int i = find_field(&key, fields, count);
        if (i < 0)
            return complain_unknown(c, &key);
        enter_field(c, fields[i].name);
        if (seen & (1u << i))
            return complain(c, "given twice");
        seen |= 1u << i;
        if (!fields[i].required && json_peek(&c->r) == JSON_NULL)
            json_literal(&c->r);
        else if (!fields[i].check(c, ids))
            return false;
        leave(c, length);
    }
    if (c->r.error)
        return complain(c, "");
    for (int i = 0; i < count; i++) {
        if (!fields[i].required || (seen & (1u << i)))
            continue;
        enter_field(c, fields[i].name);
        return complain(c, "required");
    }
    return true;
}

/* ---- Values -----------------------------------------------------------------------------------
 */

static bool read_text(Checker *c, size_t min, size_t max, JsonString *string)
{
    char text[64];
    if (json_peek(&c->r) != JSON_STRING)
        return complain_kind(c, "a string");
    if (!json_string(&c->r, string))
        return complain(c, "");
    size_t length = json_unescaped_length(string);
    if (length < min)
        return complain(c, "must not be empty");
    if (length <= max)
        return true;
    snprintf(text, sizeof(text), "longer than %zu bytes", max);
    return complain(c, text);
}

static bool check_name(Checker *c, Ids *ids)
{
    JsonString string;
    (void)ids;
    return read_text(c, 1, NAME_MAX, &string);
}

static bool check_text(Checker *c, Ids *ids)
{
    JsonString string;
    (void)ids;
    return read_text(c, 0, TEXT_MAX, &string);
}

static bool check_boolean(Checker *c, Ids *ids)
{
    JsonKind kind = json_peek(&c->r);
    (void)ids;
    if (kind != JSON_TRUE && kind != JSON_FALSE)
        return complain_kind(c, "a boolean");
    return json_literal(&c->r) || complain(c, "");
}

static bool is_id(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        char byte = text[i];
        bool ok = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                  (byte >= '0' && byte <= '9') || byte == '.' || byte == '_' || byte == '-';
        if (!ok)
            return false;
    }
    return true;
}

static bool check_id(Checker *c, Ids *ids)
{
    char text[80];
    JsonString string;
    if (!read_text(c, 1, ID_MAX, &string))
        return false;
    if (string.escaped || !is_id(string.data, string.length))
        return complain(c, "expected letters, digits, '.', '_' and '-' only");
    char *id = ids->texts[ids->count];
    memcpy(id, string.data, string.length);
    id[string.length] = '\0';
    for (int i = 0; i < ids->count; i++) {
        if (strcmp(ids->texts[i], id) != 0)
            continue;
        snprintf(text, sizeof(text), "that of number [%d] in the list, too", i);
        return complain(c, text);
    }
    return true;
}

/* Which of the names the string is; -1: none, and that is said. */
static int check_choice(Checker *c, const char *const *names, int count, const char *expected)
{
    JsonString string;
    if (json_peek(&c->r) != JSON_STRING) {
        complain_kind(c, expected);
        return -1;
    }
    if (!json_string(&c->r, &string)) {
        complain(c, "");
        return -1;
    }
    for (int i = 0; i < count; i++)
        if (json_equals(&string, names[i]))
            return i;
    char text[96];
    snprintf(text, sizeof(text), "expected %s", expected);
    complain(c, text);
    return -1;
}

/* ---- Columns ----------------------------------------------------------------------------------
 */

static bool check_type(Checker *c, Ids *ids)
{
    static const char *const TYPES[] = {"string", "integer", "number", "boolean", "list"};
    (void)ids;
    return check_choice(c, TYPES, BASE_ARRAY_COUNT(TYPES),
                        "string, integer, number, boolean or list") >= 0;
}

static bool check_suggestion(Checker *c, Ids *ids, int index)
{
    JsonString string;
    (void)ids;
    (void)index;
    return read_text(c, 0, NAME_MAX, &string);
}

static bool check_suggestions(Checker *c, Ids *ids)
{
    int count;
    return check_list(c, "a list of strings", SUGGESTIONS_MAX, check_suggestion, ids, &count);
}

static bool check_column(Checker *c, Ids *ids, int index)
{
    static const Field FIELDS[] = {
        {"id", true, check_id},
        {"name", true, check_name},
        {"description", false, check_text},
        {"type", true, check_type},
        {"nullable", false, check_boolean},
        {"primary_key", false, check_boolean},
        {"suggestions", false, check_suggestions},
        {"secret", false, check_boolean},
    };
    ids->count = index;
    return check_fields(c, FIELDS, BASE_ARRAY_COUNT(FIELDS), ids);
}

static bool check_columns(Checker *c, Ids *ids)
{
    Ids own;
    int count;
    (void)ids;
    return check_list(c, "a list of columns", COLUMNS_MAX, check_column, &own, &count);
}

/* ---- Settings ---------------------------------------------------------------------------------
 */

static const char *const OPERATIONS[] = {"View", "Create", "Update", "Delete"};

/* ids: those that were there before it; count is a bit for each. */
static bool check_operation(Checker *c, Ids *ids, int index)
{
    (void)index;
    int i = check_choice(c, OPERATIONS, BASE_ARRAY_COUNT(OPERATIONS),
                         "View, Create, Update or Delete");
    if (i < 0)
        return false;
    if (ids->count & (1 << i))
        return complain(c, "given twice");
    ids->count |= 1 << i;
    return true;
}

static bool check_operations(Checker *c, Ids *ids)
{
    Ids own;
    int count;
    (void)ids;
    own.count = 0;
    if (!check_list(c, "a list of operations", BASE_ARRAY_COUNT(OPERATIONS), check_operation, &own,
                    &count))
        return false;
    return count > 0 || complain(c, "must not be empty");
}

static bool check_setting(Checker *c, Ids *ids, int index)
{
    static const Field FIELDS[] = {
        {"id", true, check_id},
        {"name", true, check_name},
        {"description", false, check_text},
        {"operations", true, check_operations},
        {"columns", true, check_columns},
        {"title_template", false, check_text},
    };
    ids->count = index;
    return check_fields(c, FIELDS, BASE_ARRAY_COUNT(FIELDS), ids);
}

static bool check_settings(Checker *c)
{
    Ids ids;
    int count;
    return check_list(c, "a list of settings", SETTINGS_MAX, check_setting, &ids, &count);
}

/* ---- What was executed ------------------------------------------------------------------------
 */

static bool check_row(Checker *c, Ids *ids, int index)
{
    (void)ids;
    (void)index;
    if (json_peek(&c->r) != JSON_OBJECT)
        return complain_kind(c, "an object");
    return json_skip(&c->r) || complain(c, "");
}

static bool check_nothing(Checker *c, Ids *ids, int index)
{
    (void)ids;
    (void)index;
    return complain(c, "expected an empty table");
}

/* Is the operation that was asked for View? The last `op`, as templates see it. */
static bool is_view(const KhronosEvent *event)
{
    JsonReader r;
    JsonString key, op;
    bool view = false;
    json_open(&r, event->data.data, event->data.length);
    if (!event->data.data || json_peek(&r) != JSON_OBJECT)
        return false;
    json_enter(&r);
    while (json_member(&r, &key)) {
        if (!json_equals(&key, "op") || json_peek(&r) != JSON_STRING)
            json_skip(&r);
        else
            view = json_string(&r, &op) && json_equals(&op, "View");
    }
    return view;
}

static bool check_executed(Checker *c, bool view)
{
    int count;
    if (view)
        return check_list(c, "a list of objects", INT32_MAX, check_row, NULL, &count);
    if (json_peek(&c->r) == JSON_NULL)
        return json_literal(&c->r) || complain(c, "");
    return check_list(c, "an empty table", 1, check_nothing, NULL, &count);
}

/* ---- From outside -----------------------------------------------------------------------------
 */

static bool is_text(EventText text, const char *wanted)
{
    return text.length == strlen(wanted) && memcmp(text.data, wanted, text.length) == 0;
}

bool settings_event(const KhronosEvent *event)
{
    return is_text(event->base_name, "AntiRaid") &&
           (is_text(event->name, "GetSettings") || is_text(event->name, "ExecuteSetting"));
}

bool settings_check(const KhronosEvent *event, const char *json, size_t length, char *error,
                    size_t error_size)
{
    Checker c = {.path = "result", .path_length = 6, .error = error, .error_size = error_size};
    json_open(&c.r, json, length);
    bool ok = is_text(event->name, "GetSettings") ? check_settings(&c)
                                                  : check_executed(&c, is_view(event));
    return ok && (json_end(&c.r) || complain(&c, ""));
}
