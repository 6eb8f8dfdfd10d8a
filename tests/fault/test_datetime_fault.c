/* The time zones of the image, when memory fails while they are read: there is a sandbox with all
 * of them, or none and a message; never one that lacks some. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fault_support.h"
#include "khronos/sandbox.h"
#include "khronos/timezone.h"
#include "plugins/plugins.h"

static void test_load(void **state)
{
    (void)state;
    Strbuf want = STRBUF_INIT;
    int count = timezone_load(TIMEZONE_FOLDER, &want);
    assert_true(count > 0);
    bool fired = true;
    for (long k = 1; fired; k++) {
        Strbuf block = STRBUF_INIT;
        fault_arm(k);
        int got = timezone_load(TIMEZONE_FOLDER, &block);
        fired = fault_disarm();
        if (!block.failed) {
            assert_int_equal(got, count);
            assert_int_equal(block.length, want.length);
        } else {
            assert_true(fired);
        }
        strbuf_free(&block);
    }
    strbuf_free(&want);
}

static void test_new_sandbox(void **state)
{
    (void)state;
    static const KhronosPlugin plugins[] = {
        {.namespace_name = "@antiraid", .name = "datetime", .open = plugin_datetime_open},
        {.namespace_name = "@antiraid", .name = "datamgmt", .open = plugin_datamgmt_open},
    };
    char error[256] = "";
    KhronosSandbox *whole = sandbox_new(plugins, 2, error, sizeof(error));
    assert_non_null(whole);
    size_t bytes = luau_image_bytes(sandbox_image(whole));
    sandbox_release(whole);
    bool fired = true;
    int failures = 0;
    for (long k = 1; fired; k += 3) {
        fault_arm(k);
        KhronosSandbox *sandbox = sandbox_new(plugins, 2, error, sizeof(error));
        fired = fault_disarm();
        assert_true(sandbox || fired);
        if (sandbox)
            assert_true(luau_image_bytes(sandbox_image(sandbox)) > bytes / 2);
        failures += !sandbox;
        sandbox_release(sandbox);
    }
    assert_true(failures > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_new_sandbox),
    };
    return cmocka_run_group_tests_name("datetime", tests, NULL, NULL);
}
