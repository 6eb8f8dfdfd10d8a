#include "khronos/subscriptions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "khronos/template.h"

/* ---- Checking ---------------------------------------------------------------------------------
 */

/* An entry as it may stand in a message: cut between characters, nothing that confuses a reader. */
static void show(const char *text, char *out, size_t size)
{
    size_t length = strlen(text), shown = length < size - 4 ? length : size - 4;
    bool is_utf8 = json_utf8_valid(text, length) == length;
    while (is_utf8 && shown > 0 && ((unsigned char)text[shown] & 0xC0) == 0x80)
        shown--;
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)text[i];
        out[i] = c < 0x20 || c == 0x7F || (c >= 0x80 && !is_utf8) ? '?' : (char)c;
    }
    snprintf(out + shown, size - shown, "%s", shown < length ? "..." : "");
}

/* Of well-formed UTF-8: those of ASCII and of Latin-1 (0xC2 begins U+0080 to U+00BF). */
static bool has_control(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p == 0x7F || (*p == 0xC2 && p[1] < 0xA0))
            return true;
    return false;
}

/* What is wrong with a label of any kind; NULL: nothing. */
static const char *check_text(const char *label)
{
    size_t length = strlen(label);
    if (length == 0)
        return "must not be empty";
    if (length > TEMPLATE_LABEL_MAX)
        return "longer than 128 bytes";
    if (json_utf8_valid(label, length) != length)
        return "not valid UTF-8";
    return has_control(label) ? "has a control character" : NULL;
}

static const char *check_event(const char *label)
{
    const char *wrong = check_text(label);
    if (wrong)
        return wrong;
    size_t name = strcspn(label, "[]");
    if (label[name] == '\0')
        return NULL;
    const char *scope = label + name + 1;
    size_t length = strcspn(scope, "[]");
    if (label[name] == ']' || scope[length] == '[')
        return "brackets may only enclose a scope: Name[scope]";
    if (scope[length] == '\0')
        return "the bracket is not closed: Name[scope]";
    if (scope[length + 1] != '\0')
        return "the bracket must end it: Name[scope]";
    if (name == 0)
        return "the name before the bracket is empty";
    if (length == 0)
        return "the scope in brackets is empty";
    return length > EVENT_SCOPE_MAX ? "the scope is longer than 64 bytes" : NULL;
}

static const char *check_capability(const char *label)
{
    const char *wrong = check_text(label);
    if (wrong)
        return wrong;
    const char *star = strchr(label, '*');
    bool is_all = star == label, is_prefix = star && star > label + 1 && star[-1] == ':';
    if (star && (star[1] != '\0' || !(is_all || is_prefix)))
        return "\"*\" may stand alone, or at the end after a colon: prefix:*";
    return NULL;
}

static bool check_list(const char *field, const char *const *labels, int count, int max,
                       const char *(*check)(const char *label), char *error, size_t error_size)
{
    char shown[64];
    if (count > max) {
        snprintf(error, error_size, "/%s: more than %d entries", field, max);
        return false;
    }
    for (int i = 0; i < count; i++) {
        const char *wrong = check(labels[i]);
        if (!wrong)
            continue;
        show(labels[i], shown, sizeof(shown));
        snprintf(error, error_size, "/%s/%d: \"%s\": %s", field, i, shown, wrong);
        return false;
    }
    return true;
}

bool subscriptions_check(const TemplateMeta *meta, char *error, size_t error_size)
{
    size_t length = meta->description ? strlen(meta->description) : 0;
    if (length > TEMPLATE_DESCRIPTION_MAX) {
        snprintf(error, error_size, "/description: longer than %d bytes", TEMPLATE_DESCRIPTION_MAX);
        return false;
    }
    if (length > 0 && json_utf8_valid(meta->description, length) != length) {
        snprintf(error, error_size, "/description: not valid UTF-8");
        return false;
    }
    return check_list("events", meta->events, meta->event_count, TEMPLATE_EVENTS_MAX, check_event,
                      error, error_size) &&
           check_list("capabilities", meta->capabilities, meta->capability_count,
                      TEMPLATE_CAPABILITIES_MAX, check_capability, error, error_size);
}

/* ---- Matching ---------------------------------------------------------------------------------
 */

static int compare(const void *a, const void *b)
{
    const Subscription *x = a, *y = b;
    int order = event_comparetexts(x->name, y->name);
    return order != 0 ? order : event_comparetexts(x->scope, y->scope);
}

Subscription subscription_of(const char *label)
{
    size_t name = strcspn(label, "[");
    Subscription item = {.name = {label, name}};
    if (label[name] == '[')
        item.scope = (EventText){label + name + 1, strcspn(label + name + 1, "]")};
    return item;
}

bool subscriptions_make(Subscriptions *s, const char *const *labels, int count)
{
    *s = (Subscriptions){.count = count};
    if (count == 0)
        return true;
    s->items = malloc((size_t)count * sizeof(*s->items));
    if (!s->items)
        return false;
    for (int i = 0; i < count; i++)
        s->items[i] = subscription_of(labels[i]);
    qsort(s->items, (size_t)count, sizeof(*s->items), compare);
    return true;
}

void subscriptions_free(Subscriptions *s)
{
    free(s->items);
    *s = (Subscriptions){0};
}

/* The first item that does not come before it. */
static int find(const Subscriptions *s, EventText name, EventText scope)
{
    Subscription wanted = {name, scope};
    int low = 0, high = s->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (compare(&s->items[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool lists_scope(const Subscriptions *s, EventText name, EventText scope)
{
    int at = find(s, name, scope);
    Subscription wanted = {name, scope};
    return at < s->count && compare(&s->items[at], &wanted) == 0;
}

/* Lists the bare name; *scoped: lists it with scopes only. */
static bool lists_name(const Subscriptions *s, EventText name, bool *scoped)
{
    int at = find(s, name, (EventText){0});
    bool there = at < s->count && event_comparetexts(s->items[at].name, name) == 0;
    bool bare = there && s->items[at].scope.length == 0;
    *scoped = there && !bare;
    return bare;
}

bool subscriptions_match(const Subscriptions *s, const KhronosEvent *event)
{
    bool name_scoped, base_scoped;
    if (s->count == 0)
        return false;
    if (lists_name(s, event->name, &name_scoped) || lists_name(s, event->base_name, &base_scoped))
        return true;
    if ((!name_scoped && !base_scoped) || !event->scopes.data)
        return false;
    JsonReader reader;
    JsonString scope;
    char room[EVENT_SCOPE_MAX];
    json_open(&reader, event->scopes.data, event->scopes.length);
    if (json_peek(&reader) != JSON_ARRAY || !json_enter(&reader))
        return false;
    while (json_element(&reader) && json_peek(&reader) == JSON_STRING &&
           json_string(&reader, &scope)) {
        EventText text = {scope.data, scope.length};
        if (scope.escaped) { /* the text is not ours to write to */
            if (json_unescaped_length(&scope) > sizeof(room))
                continue;
            text = (EventText){room, json_unescape(&scope, room)};
        }
        if ((name_scoped && lists_scope(s, event->name, text)) ||
            (base_scoped && lists_scope(s, event->base_name, text)))
            return true;
    }
    return false;
}
