/* What templates say of themselves, and which events they match; the scopes of events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "khronos/template.h"
#include "worker/template_json.h"

static KhronosSandbox *sandbox;

static int set_up(void **state)
{
    char error[256];
    (void)state;
    sandbox = sandbox_new(NULL, 0, error, sizeof(error));
    return sandbox ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sandbox_release(sandbox);
    return 0;
}

static KhronosTemplate *make(void)
{
    KhronosTemplate *t = template_new(sandbox, "t", 1, "t/");
    assert_non_null(t);
    return t;
}

/* ---- Metadata ---------------------------------------------------------------------------------
 */

static void test_default(void **state)
{
    (void)state;
    KhronosTemplate *t = make();
    const TemplateMeta *meta = template_meta(t);
    assert_true(meta->enabled);
    assert_null(meta->description);
    assert_int_equal(meta->event_count, 0);
    assert_int_equal(meta->capability_count, 1);
    assert_string_equal(meta->capabilities[0], "*");
    KhronosEvent event = {.name = {"A", 1}, .base_name = {"B", 1}};
    assert_false(template_matches(t, &event));
    template_release(t);
}

static void test_copies(void **state)
{
    (void)state;
    char name[] = "Message", capability[] = "kv:*", description[] = "counts", error[128];
    const char *events[] = {name, "Other[x]"}, *capabilities[] = {capability};
    TemplateMeta meta = {.description = description,
                         .events = events,
                         .event_count = 2,
                         .capabilities = capabilities,
                         .capability_count = 1,
                         .enabled = true};
    KhronosTemplate *t = make();
    assert_true(template_setmeta(t, &meta, error, sizeof(error)));
    name[0] = capability[0] = description[0] = '?';
    events[1] = NULL;
    const TemplateMeta *kept = template_meta(t);
    assert_string_equal(kept->description, "counts");
    assert_string_equal(kept->events[0], "Message");
    assert_string_equal(kept->events[1], "Other[x]");
    assert_string_equal(kept->capabilities[0], "kv:*");
    events[1] = "[";
    assert_false(template_setmeta(t, &meta, error, sizeof(error)));
    assert_ptr_equal(template_meta(t), kept); /* as it was */
    assert_string_equal(kept->events[0], "Message");
    meta = (TemplateMeta){.enabled = false}; /* nothing, not even a capability */
    assert_true(template_setmeta(t, &meta, error, sizeof(error)));
    assert_int_equal(template_meta(t)->capability_count, 0);
    template_release(t);
}

#define X64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

typedef struct JsonCase {
    const char *text;
    const char *error; /* NULL: it is good */
} JsonCase;

static const JsonCase json_cases[] = {
    {"{}", NULL},
    {" { \"description\" : \"\" , \"events\":[ ] }\n", NULL},
    {"{\"events\": [\"A\", \"A[b]\", \"\\u00e9v\\u00e9nement\", \"A b\", \"A\"]}", NULL},
    {"{\"capabilities\": [\"*\", \"kv:*\", \"kv[x]:get\", \"kv.meta:keys\"]}", NULL},
    {"{\"events\": [\"" X64 X64 "\"]}", NULL},
    {"{\"events\": [\"A[" X64 "]\"]}", NULL},
    {"", "invalid JSON: line 1, column 1: unexpected end, expected a value"},
    {"[]", "/: expected an object, got an array"},
    {"{} x", "invalid JSON: line 1, column 4: unexpected text behind the value"},
    {"{\"events\": [\"A\",]}",
     "invalid JSON: line 1, column 17: a comma must not stand before the end"},
    {"{\"event\": []}", "/event: unknown field; did you mean \"events\"?"},
    {"{\"enabled\": true, \"capabilties\": []}",
     "/capabilties: unknown field; did you mean \"capabilities\"?"},
    {"{\"Events\": []}", "/Events: unknown field; did you mean \"events\"?"},
    {"{\"name\": \"x\"}", "/name: unknown field"},
    {"{\"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\": 1}",
     "/abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz: unknown field"},
    {"{\"enabled\": true, \"enabled\": true}", "/enabled: given twice"},
    {"{\"enabled\": 1}", "/enabled: expected true or false"},
    {"{\"enabled\": null}", "/enabled: expected true or false"},
    {"{\"description\": 5}", "/description: expected a string"},
    {"{\"description\": \"a\\u0000b\"}", "/description: has a control character"},
    {"{\"events\": \"A\"}", "/events: expected an array of strings"},
    {"{\"events\": [\"A\", 5]}", "/events/1: expected a string"},
    {"{\"events\": [\"A\\u0000\"]}", "/events/0: has a control character"},
    {"{\"events\": [\"A\", \"\"]}", "/events/1: \"\": must not be empty"},
    {"{\"events\": [\"A\\n\"]}", "/events/0: \"A?\": has a control character"},
    {"{\"events\": [\"\\u0085A\"]}", "/events/0: \"\xC2\x85"
                                     "A\": has a control character"},
    {"{\"events\": [\"" X64 X64 "x\"]}",
     "/events/0: \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab...\": longer than "
     "128 bytes"},
    {"{\"events\": [\"A[\"]}", "/events/0: \"A[\": the bracket is not closed: Name[scope]"},
    {"{\"events\": [\"A[b\"]}", "/events/0: \"A[b\": the bracket is not closed: Name[scope]"},
    {"{\"events\": [\"A]\"]}", "/events/0: \"A]\": brackets may only enclose a scope: Name[scope]"},
    {"{\"events\": [\"A[b[c]]\"]}",
     "/events/0: \"A[b[c]]\": brackets may only enclose a scope: Name[scope]"},
    {"{\"events\": [\"A[b]c\"]}", "/events/0: \"A[b]c\": the bracket must end it: Name[scope]"},
    {"{\"events\": [\"A[b][c]\"]}", "/events/0: \"A[b][c]\": the bracket must end it: Name[scope]"},
    {"{\"events\": [\"[b]\"]}", "/events/0: \"[b]\": the name before the bracket is empty"},
    {"{\"events\": [\"A[]\"]}", "/events/0: \"A[]\": the scope in brackets is empty"},
    {"{\"events\": [\"A[x" X64 "]\"]}",
     "/events/0: \"A[x0123456789abcdef0123456789abcdef0123456789abcdef012345678...\": the scope is "
     "longer than 64 bytes"},
    {"{\"capabilities\": [\"a*\"]}",
     "/capabilities/0: \"a*\": \"*\" may stand alone, or at the end after a colon: prefix:*"},
    {"{\"capabilities\": [\"*\", \":*\"]}",
     "/capabilities/1: \":*\": \"*\" may stand alone, or at the end after a colon: prefix:*"},
    {"{\"capabilities\": [\"kv:*:get\"]}",
     "/capabilities/0: \"kv:*:get\": \"*\" may stand alone, or at the end after a colon: prefix:*"},
    {"{\"capabilities\": [\"**\"]}",
     "/capabilities/0: \"**\": \"*\" may stand alone, or at the end after a colon: prefix:*"},
};

static void test_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(json_cases); i++) {
        const JsonCase *c = &json_cases[i];
        char error[256] = "";
        size_t length = strlen(c->text);
        char *text = malloc(length + 1); /* just as long: no reader may need a NUL */
        memcpy(text, c->text, length);
        KhronosTemplate *t = make();
        bool good = template_json_read(t, text, length, error, sizeof(error));
        if (good != !c->error || (c->error && strcmp(error, c->error) != 0))
            fail_msg("%s\nexpected %s\ngot      %s", c->text, c->error ? c->error : "nothing",
                     error);
        template_release(t);
        free(text);
    }
}

static void test_json_values(void **state)
{
    (void)state;
    char error[256] = "";
    char text[] = "{\"description\": \"says \\\"hi\\\"\", \"enabled\": false, "
                  "\"events\": [\"\\u0041\", \"B[c\\u0064]\"], \"capabilities\": []}";
    KhronosTemplate *t = make();
    if (!template_json_read(t, text, sizeof(text) - 1, error, sizeof(error)))
        fail_msg("%s", error);
    const TemplateMeta *meta = template_meta(t);
    assert_string_equal(meta->description, "says \"hi\"");
    assert_false(meta->enabled);
    assert_int_equal(meta->event_count, 2);
    assert_string_equal(meta->events[0], "A");
    assert_string_equal(meta->events[1], "B[cd]");
    assert_int_equal(meta->capability_count, 0);
    template_release(t);
}

/* {"FIELD": ["x", "x", ...]} */
static bool read_many(const char *field, int count, char *error, size_t error_size)
{
    Strbuf text = STRBUF_INIT;
    strbuf_printf(&text, "{\"%s\": [\"x\"", field);
    for (int i = 1; i < count; i++)
        strbuf_puts(&text, ", \"x\"");
    strbuf_puts(&text, "]}");
    KhronosTemplate *t = make();
    bool good = template_json_read(t, text.data, text.length, error, error_size);
    template_release(t);
    strbuf_free(&text);
    return good;
}

static void test_limits(void **state)
{
    (void)state;
    char error[256];
    static const char *const fields[] = {"events", "capabilities"};
    for (int i = 0; i < 2; i++) {
        char expected[64];
        assert_true(read_many(fields[i], 256, error, sizeof(error)));
        assert_false(read_many(fields[i], 257, error, sizeof(error)));
        snprintf(expected, sizeof(expected), "/%s: more than 256 entries", fields[i]);
        assert_string_equal(error, expected);
    }
    static char description[TEMPLATE_DESCRIPTION_MAX + 2];
    TemplateMeta meta = {.description = description, .enabled = true};
    memset(description, 'x', TEMPLATE_DESCRIPTION_MAX);
    KhronosTemplate *t = make();
    assert_true(template_setmeta(t, &meta, error, sizeof(error)));
    description[TEMPLATE_DESCRIPTION_MAX] = 'x';
    assert_false(template_setmeta(t, &meta, error, sizeof(error)));
    assert_string_equal(error, "/description: longer than 4096 bytes");
    meta.description = "\xFF";
    assert_false(template_setmeta(t, &meta, error, sizeof(error)));
    assert_string_equal(error, "/description: not valid UTF-8");
    const char *events[257] = {"\xC3\x28"};
    meta = (TemplateMeta){.events = events, .event_count = 1};
    assert_false(template_setmeta(t, &meta, error, sizeof(error)));
    assert_string_equal(error, "/events/0: \"?(\": not valid UTF-8");
    meta.event_count = 257;
    assert_false(template_setmeta(t, &meta, error, sizeof(error)));
    assert_string_equal(error, "/events: more than 256 entries");
    template_release(t);
}

/* ---- Matching ---------------------------------------------------------------------------------
 */

typedef struct MatchCase {
    const char *events;      /* with a comma between, "" none */
    const char *name, *base; /* of what happens */
    const char *scopes;      /* JSON, or NULL */
    bool matches;
} MatchCase;

static const MatchCase match_cases[] = {
    {"", "A", "B", NULL, false},
    {"A", "A", "B", NULL, true},
    {"B", "A", "B", NULL, true},
    {"C", "A", "B", NULL, false},
    {"a", "A", "B", NULL, false},
    {"A", "AA", "B", NULL, false},
    {"AA", "A", "B", NULL, false},
    {"C,A,B", "A", "B", NULL, true},
    {"Z,Y,A,X", "A", "B", NULL, true},
    {"A", "A", "B", "[\"x\"]", true},
    {"A[x]", "A", "B", NULL, false},
    {"A[x]", "A", "B", "[]", false},
    {"A[x]", "A", "B", "[\"y\"]", false},
    {"A[x]", "A", "B", "[\"x\"]", true},
    {"A[x]", "A", "B", "[\"y\", \"x\", \"z\"]", true},
    {"A[x]", "A", "B", " [ \"y\",\"x\" ] ", true},
    {"B[x]", "A", "B", "[\"x\"]", true},
    {"B[x],A[y]", "A", "B", "[\"x\"]", true},
    {"B[x],A[y]", "A", "B", "[\"y\"]", true},
    {"B[x],A[y]", "A", "B", "[\"z\"]", false},
    {"A[x],A", "A", "B", NULL, true},
    {"A[x],A[y],A[z]", "A", "B", "[\"z\"]", true},
    {"A[xx]", "A", "B", "[\"x\", \"xxx\"]", false},
    {"A[x]", "A", "B", "[\"\\u0078\"]", true},
    {"A[\"\\]", "A", "B", "[\"\\\"\\\\\"]", true},
    {"A[\xC3\xA9]", "A", "B", "[\"\\u00E9\"]", true},
    {"A[\xC3\xA9]", "A", "B", "[\"\xC3\xA9\"]", true},
    {"A[x]", "A[x]", "B", NULL, false}, /* brackets in a sent name mean nothing */
    {"A[x]", "C", "A[x]", NULL, false},
    {"A A", "A A", "B", NULL, true},
    {"\xC3\xA9", "\xC3\xA9", "B", NULL, true},
    {"C[x]", "A", "B", "[\"x\"]", false},
    {"A", "A", "A", "[\"x\"]", true},
};

static void set_events(KhronosTemplate *t, const char *text, bool enabled)
{
    char error[256], copy[256], *rest = copy;
    const char *events[16];
    TemplateMeta meta = {.events = events, .enabled = enabled};
    snprintf(copy, sizeof(copy), "%s", text);
    for (char *event; text[0] && (event = strsep(&rest, ",")) != NULL;)
        events[meta.event_count++] = event;
    if (!template_setmeta(t, &meta, error, sizeof(error)))
        fail_msg("%s", error);
}

static KhronosEvent event_of(const MatchCase *c)
{
    KhronosEvent event = {.name = {c->name, strlen(c->name)},
                          .base_name = {c->base, strlen(c->base)}};
    if (c->scopes)
        event.scopes = (EventText){c->scopes, strlen(c->scopes)};
    return event;
}

static void test_matching(void **state)
{
    (void)state;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(match_cases); i++) {
        const MatchCase *c = &match_cases[i];
        KhronosTemplate *t = make();
        KhronosEvent event = event_of(c);
        set_events(t, c->events, true);
        if (template_matches(t, &event) != c->matches)
            fail_msg("%s and %s/%s %s", c->events, c->name, c->base, c->scopes ? c->scopes : "-");
        set_events(t, c->events, false);
        assert_false(template_matches(t, &event));
        template_release(t);
    }
}

static void test_problem_matches_nothing(void **state)
{
    (void)state;
    KhronosTemplate *t = make();
    KhronosEvent event = {.name = {"A", 1}, .base_name = {"B", 1}};
    set_events(t, "A", true);
    assert_true(template_matches(t, &event));
    assert_true(template_setproblem(t, "bad"));
    assert_false(template_matches(t, &event));
    template_release(t);
}

/* The same answer as asking for each label in turn, for many labels. */
static void test_many_events(void **state)
{
    (void)state;
    char labels[TEMPLATE_EVENTS_MAX][24], error[256];
    const char *events[TEMPLATE_EVENTS_MAX];
    uint32_t seed = 12345;
    for (int i = 0; i < TEMPLATE_EVENTS_MAX; i++) {
        seed = seed * 1664525u + 1013904223u;
        unsigned name = seed >> 8 & 255, scope = seed >> 16 & 7;
        snprintf(labels[i], sizeof(labels[i]), scope < 4 ? "E%u[s%u]" : "E%u", name, scope);
        events[i] = labels[i];
    }
    TemplateMeta meta = {.events = events, .event_count = TEMPLATE_EVENTS_MAX, .enabled = true};
    KhronosTemplate *t = make();
    assert_true(template_setmeta(t, &meta, error, sizeof(error)));
    int matched = 0;
    for (unsigned name = 0; name < 256; name++) {
        for (unsigned scope = 0; scope < 5; scope++) {
            char text[16], json[16], label[32];
            snprintf(text, sizeof(text), "E%u", name);
            snprintf(json, sizeof(json), "[\"s%u\"]", scope);
            snprintf(label, sizeof(label), "E%u[s%u]", name, scope);
            KhronosEvent event = {.name = {text, strlen(text)}, .scopes = {json, strlen(json)}};
            bool expected = false;
            for (int i = 0; i < TEMPLATE_EVENTS_MAX; i++)
                expected |= strcmp(labels[i], text) == 0 || strcmp(labels[i], label) == 0;
            assert_int_equal(template_matches(t, &event), expected);
            matched += expected;
        }
    }
    assert_in_range(matched, 1, 256 * 5 - 1);
    template_release(t);
}

/* ---- Scopes of events -------------------------------------------------------------------------
 */

typedef struct ScopeCase {
    const char *scopes; /* JSON */
    const char *error;  /* NULL: good */
} ScopeCase;

static const ScopeCase scope_cases[] = {
    {"[]", NULL},
    {"[\"a\", \"b\"]", NULL},
    {"[\"" X64 "\"]", NULL},
    {"[\"\\u0061\\u0061"
     "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\"]",
     NULL},
    {"null", "/event/scopes: expected an array of strings"},
    {"\"a\"", "/event/scopes: expected an array of strings"},
    {"{}", "/event/scopes: expected an array of strings"},
    {"[\"a\", 5]", "/event/scopes/1: expected a string"},
    {"[[\"a\"]]", "/event/scopes/0: expected a string"},
    {"[\"a\", \"b\", \"\"]", "/event/scopes/2: must not be empty"},
    {"[\"x" X64 "\"]", "/event/scopes/0: longer than 64 bytes"},
    {"[\"a\" \"b\"]", "invalid JSON: line 1, column 30: expected ',' or ']'"},
    {"[\"a\", \"\xFF\"]", "invalid JSON: line 1, column 32: invalid UTF-8 in a string"},
};

static void test_event_scopes(void **state)
{
    (void)state;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(scope_cases); i++) {
        const ScopeCase *c = &scope_cases[i];
        char text[512], error[256] = "";
        int length = snprintf(text, sizeof(text),
                              "{\"name\": \"A\", \"scopes\": %s , \"id\": \"1\"}", c->scopes);
        JsonReader reader;
        KhronosEvent event;
        json_open(&reader, text, (size_t)length);
        bool good = event_read(&reader, "/event", &event, error, sizeof(error));
        if (good != !c->error || (c->error && strcmp(error, c->error) != 0))
            fail_msg("%s\nexpected %s\ngot      %s", c->scopes, c->error ? c->error : "nothing",
                     error);
        if (!good)
            continue;
        assert_int_equal(event.scopes.length, strlen(c->scopes));
        assert_memory_equal(event.scopes.data, c->scopes, event.scopes.length);
        assert_int_equal(event.id.length, 1);
    }
}

static void test_scope_count(void **state)
{
    (void)state;
    for (int count = 32; count <= 33; count++) {
        Strbuf text = STRBUF_INIT;
        char error[256];
        JsonReader reader;
        KhronosEvent event;
        strbuf_puts(&text, "{\"scopes\": [\"s0\"");
        for (int i = 1; i < count; i++)
            strbuf_printf(&text, ", \"s%d\"", i);
        strbuf_puts(&text, "], \"name\": \"A\"}");
        json_open(&reader, text.data, text.length);
        assert_int_equal(event_read(&reader, "", &event, error, sizeof(error)), count == 32);
        if (count == 33) {
            assert_string_equal(error, "/scopes: more than 32 scopes");
        } else {
            KhronosTemplate *t = make();
            set_events(t, "A[s31]", true);
            assert_true(template_matches(t, &event));
            template_release(t);
        }
        strbuf_free(&text);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default),      cmocka_unit_test(test_copies),
        cmocka_unit_test(test_json),         cmocka_unit_test(test_json_values),
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_matching),
        cmocka_unit_test(test_many_events),  cmocka_unit_test(test_problem_matches_nothing),
        cmocka_unit_test(test_event_scopes), cmocka_unit_test(test_scope_count),
    };
    return cmocka_run_group_tests_name("template-meta", tests, set_up, tear_down);
}
