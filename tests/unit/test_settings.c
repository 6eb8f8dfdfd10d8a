/* The form of what GetSettings and ExecuteSetting return. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/strbuf.h"
#include "worker/settings.h"

static EventText text(const char *s)
{
    return s ? (EventText){s, strlen(s)} : (EventText){0};
}

static KhronosEvent event(const char *base, const char *name, const char *data)
{
    return (KhronosEvent){.base_name = text(base), .name = text(name), .data = text(data)};
}

static const KhronosEvent GET = {.base_name = {"AntiRaid", 8}, .name = {"GetSettings", 11}};

/* NULL: nothing is wrong. The text lies in memory of just its length. */
static const char *check(const KhronosEvent *e, const char *json)
{
    static char error[256];
    size_t length = strlen(json);
    char *copy = malloc(length ? length : 1);
    memcpy(copy, json, length);
    memset(error, 'x', sizeof(error));
    bool ok = settings_check(e, copy, length, error, sizeof(error));
    free(copy);
    return ok ? NULL : error;
}

#define GOOD(e, json) assert_null(check(&(e), json))
#define BAD(e, json, complaint) assert_string_equal(check(&(e), json), complaint)

static void test_which_events(void **state)
{
    (void)state;
    KhronosEvent e = event("AntiRaid", "GetSettings", NULL);
    assert_true(settings_event(&e));
    e = event("AntiRaid", "ExecuteSetting", NULL);
    assert_true(settings_event(&e));
    e = event("Custom", "GetSettings", NULL);
    assert_false(settings_event(&e));
    e = event("AntiRaid", "GetSetting", NULL);
    assert_false(settings_event(&e));
    e = event("AntiRaid", "OnStartup", NULL);
    assert_false(settings_event(&e));
}

#define COLUMN "{\"id\":\"word\",\"name\":\"Word\",\"type\":\"string\"}"
#define SETTING(columns)                                                                           \
    "{\"id\":\"words\",\"name\":\"Words\",\"operations\":[\"View\"],\"columns\":" columns "}"

static void test_good_settings(void **state)
{
    (void)state;
    GOOD(GET, "[]");
    GOOD(GET, "{}"); /* an empty table */
    GOOD(GET, " [ " SETTING("{}") " ] ");
    GOOD(GET, "[" SETTING("[" COLUMN "]") "]");
    GOOD(GET, "[{\"id\":\"A.b_c-9\",\"name\":\"N\",\"description\":\"\",\"operations\":[\"View\","
              "\"Create\",\"Update\",\"Delete\"],\"title_template\":\"{word}\",\"columns\":[{"
              "\"id\":\"w\",\"name\":\"W\",\"description\":\"d\",\"type\":\"list\",\"nullable\":"
              "true,\"primary_key\":false,\"suggestions\":[\"a\",\"\"],\"secret\":true},"
              "{\"id\":\"x\",\"name\":\"\\u0041\",\"type\":\"\\u0069nteger\",\"suggestions\":{},"
              "\"description\":null}]}]");
    GOOD(GET, "[{\"id\":\"a\",\"name\":\"N\",\"operations\":[\"View\"],\"columns\":[" COLUMN
              "]},{\"id\":\"b\",\"name\":\"N\",\"operations\":[\"View\"],\"columns\":[" COLUMN
              "]}]"); /* ids of columns are their setting's */
}

static void test_complaints(void **state)
{
    (void)state;
    BAD(GET, "null", "result: expected a list of settings, got null");
    BAD(GET, "7", "result: expected a list of settings, got a number");
    BAD(GET, "{\"id\":\"a\"}", "result: expected a list of settings, got an object");
    BAD(GET, "[7]", "result[0]: expected an object, got a number");
    BAD(GET, "[" SETTING("{}") ",[]]", "result[1]: expected an object, got a list");
    BAD(GET, "[{}]", "result[0].id: required");
    BAD(GET, "[{\"id\":\"a\",\"name\":\"n\",\"operations\":[\"View\"]}]",
        "result[0].columns: required");
    BAD(GET, "[{\"id\":\"\"}]", "result[0].id: must not be empty");
    BAD(GET, "[{\"id\":5}]", "result[0].id: expected a string, got a number");
    BAD(GET, "[{\"id\":null}]", "result[0].id: expected a string, got null");
    BAD(GET, "[{\"id\":\"a b\"}]", "result[0].id: expected letters, digits, '.', '_' and '-' only");
    BAD(GET, "[{\"id\":\"a\",\"id\":\"b\"}]", "result[0].id: given twice");
    BAD(GET, "[{\"name\":\"\"}]", "result[0].name: must not be empty");
    BAD(GET, "[{\"colour\":1}]", "result[0]: unknown field \"colour\"");
    BAD(GET, "[{\"a\xc3\xa4\":1}]", "result[0]: unknown field \"a??\"");
    BAD(GET, "[{\"operations\":{}}]", "result[0].operations: must not be empty");
    BAD(GET, "[{\"operations\":[\"View\",\"view\"]}]",
        "result[0].operations[1]: expected View, Create, Update or Delete");
    BAD(GET, "[{\"operations\":[true]}]",
        "result[0].operations[0]: expected View, Create, Update or Delete, got a boolean");
    BAD(GET, "[{\"operations\":[\"View\",\"Create\",\"View\"]}]",
        "result[0].operations[2]: given twice");
    BAD(GET, "[{\"operations\":\"View\"}]",
        "result[0].operations: expected a list of operations, got a string");
    BAD(GET, "[" SETTING("[" COLUMN "," COLUMN "]") "]",
        "result[0].columns[1].id: that of number [0] in the list, too");
    BAD(GET, "[" SETTING("{}") "," SETTING("{}") "]",
        "result[1].id: that of number [0] in the list, too");
    BAD(GET, "[" SETTING("[{\"type\":\"text\"}]") "]",
        "result[0].columns[0].type: expected string, integer, number, boolean or list");
    BAD(GET, "[" SETTING("[{\"secret\":1}]") "]",
        "result[0].columns[0].secret: expected a boolean, got a number");
    BAD(GET, "[" SETTING("[{\"suggestions\":[\"a\",1]}]") "]",
        "result[0].columns[0].suggestions[1]: expected a string, got a number");
}

static void test_no_json(void **state)
{
    static const char WHOLE[] = "[{\"id\":\"a\",\"name\":\"n\",\"operations\":[\"View\"],"
                                "\"columns\":[{\"id\":\"w\",\"name\":\"W\",\"type\":\"list\","
                                "\"suggestions\":[\"s\"],\"secret\":false}]}]";
    (void)state;
    GOOD(GET, WHOLE);
    char part[sizeof(WHOLE)];
    for (size_t length = 0; length < strlen(WHOLE); length++) {
        memcpy(part, WHOLE, length);
        part[length] = '\0';
        const char *complaint = check(&GET, part);
        assert_non_null(complaint);
        assert_non_null(strstr(complaint, "result"));
        assert_non_null(strstr(complaint, ": invalid JSON: "));
    }
    assert_non_null(check(&GET, "[] []"));
    assert_non_null(check(&GET, "[{\"id\":\"a\xff\"}]"));
}

/* `count` items between brackets. */
static char *many(const char *before, int count, const char *item, bool numbered)
{
    Strbuf out = STRBUF_INIT;
    strbuf_puts(&out, before);
    strbuf_putc(&out, '[');
    for (int i = 0; i < count; i++) {
        if (i > 0)
            strbuf_putc(&out, ',');
        if (numbered)
            strbuf_printf(&out, "{\"id\":\"n%d\",", i);
        strbuf_puts(&out, item);
    }
    strbuf_putc(&out, ']');
    strbuf_putc(&out, '\0');
    return strbuf_take(&out, &(size_t){0});
}

static void test_bounds(void **state)
{
    static const char SET[] = "\"name\":\"n\",\"operations\":[\"View\"],\"columns\":{}}";
    static const char COL[] = "\"name\":\"n\",\"type\":\"string\"}";
    static const char BEFORE[] = "[{\"id\":\"a\",\"name\":\"n\",\"operations\":[\"View\"],"
                                 "\"columns\":";
    (void)state;
    char *json = many("", 64, SET, true);
    GOOD(GET, json);
    free(json);
    json = many("", 65, SET, true);
    BAD(GET, json, "result: more than 64");
    free(json);
    json = many(BEFORE, 65, COL, true);
    BAD(GET, json, "result[0].columns: more than 64");
    free(json);
    json = many("[{\"columns\":[{\"suggestions\":", 65, "\"s\"", false);
    BAD(GET, json, "result[0].columns[0].suggestions: more than 64");
    free(json);
    char id[128];
    snprintf(id, sizeof(id), "[{\"id\":\"%064d\"}]", 0);
    BAD(GET, id, "result[0].name: required");
    snprintf(id, sizeof(id), "[{\"id\":\"%065d\"}]", 0);
    BAD(GET, id, "result[0].id: longer than 64 bytes");
    char name[512];
    snprintf(name, sizeof(name), "[{\"name\":\"%0257d\"}]", 0);
    BAD(GET, name, "result[0].name: longer than 256 bytes");
    /* Names of fields may be as long as they like. */
    char *field = malloc(20000);
    memset(field, 'f', 20000);
    memcpy(field, "[{\"", 3);
    memcpy(field + 19990, "\":1}]", 6);
    BAD(GET, field, "result[0]: unknown field \"fffffffffffffffffffffffffffffffffffffffffffffff\"");
    free(field);
    /* A complaint is cut to its room. */
    char small[12];
    assert_false(settings_check(&GET, "[7]", 3, small, sizeof(small)));
    assert_string_equal(small, "result[0]: ");
}

static void test_executed(void **state)
{
    (void)state;
    KhronosEvent view = event("AntiRaid", "ExecuteSetting",
                              "{\"id\":\"words\",\"author\":\"1\",\"op\":\"View\",\"fields\":{"
                              "\"op\":\"Delete\"}}");
    GOOD(view, "[]");
    GOOD(view, "{}");
    GOOD(view, "[{},{\"word\":\"a\",\"x\":[1,{\"y\":null}]}]");
    BAD(view, "null", "result: expected a list of objects, got null");
    BAD(view, "{\"a\":1}", "result: expected a list of objects, got an object");
    BAD(view, "[{},5]", "result[1]: expected an object, got a number");
    BAD(view, "[{},[]]", "result[1]: expected an object, got a list");
    assert_non_null(check(&view, "[{\"a\":}]"));
    static const char *const OTHERS[] = {
        "{\"op\":\"Create\"}", "{\"op\":\"Delete\",\"fields\":{\"op\":\"View\"}}",
        "{\"op\":7}",          "{}",
        "[\"View\"]",          NULL,
    };
    for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++) {
        KhronosEvent e = event("AntiRaid", "ExecuteSetting", OTHERS[i]);
        GOOD(e, "{}");
        GOOD(e, "[]");
        GOOD(e, "null");
        BAD(e, "[1]", "result[0]: expected an empty table");
        BAD(e, "{\"a\":1}", "result: expected an empty table, got an object");
        BAD(e, "\"done\"", "result: expected an empty table, got a string");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_events), cmocka_unit_test(test_good_settings),
        cmocka_unit_test(test_complaints),   cmocka_unit_test(test_no_json),
        cmocka_unit_test(test_bounds),       cmocka_unit_test(test_executed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
