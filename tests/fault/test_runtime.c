/* test_runtime.c: a guild's whole life with one allocation of the C library failing: a template is
 * made and compiled, a runtime runs it, parked in between, results and logs are collected. Whatever
 * fails is told in a status; nothing is lost; the next runtime runs the same template. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fault_support.h"
#include "khronos/khronos.h"
#include "plugins/plugins.h"

static const char MAIN[] = "local spawned = 0\n"
                           "local function work(n) task.wait() spawned += n\n"
                           "if n == 2 then error('two') end end\n"
                           "task.spawn(work, 1) task.defer(work, 2) task.delay(0, work, 3, {})\n"
                           "for i = 1, 8 do task.delay(0, work, 4) end\n"
                           "task.spawn(function() require('./other') spawned += 1 end)\n"
                           "task.cancel(task.delay(9, print, 'never', 'ever'))\n"
                           "local other = require('./other')\n"
                           "for i = 1, 4 do task.wait() end\n"
                           "assert(spawned == 39, spawned)\n"
                           "local json = require('@antiraid/json')\n"
                           "local list = {}\n"
                           "for i = 1, 40 do list[i] = {id = i, name = 'n' .. i} end\n"
                           "print('made', #list)\n"
                           "for i = 1, 20000 do list[1].id += 1 end\n"
                           "local text = json.encode(list)\n"
                           "return other.twice(#json.decode(text))\n";
static const char OTHER[] = "task.wait() return {twice = function(n) return {a = {n, n}} end}";
static const char RESULT[] = "{\"a\":[40,40]}";

static KhronosTemplate *make_template(KhronosSandbox *sandbox)
{
    char error[256];
    codecache_trim(sandbox_codecache(sandbox), 0); /* it shall be compiled anew */
    KhronosTemplate *t = template_new(sandbox, "guild", 1, "");
    if (!t)
        return NULL;
    if (template_addfile(t, "init.luau", NULL, strdup(MAIN), strlen(MAIN), error, sizeof(error)) &&
        template_addfile(t, "other.luau", NULL, strdup(OTHER), strlen(OTHER), error, sizeof(error)))
        return t;
    assert_true(error[0] != '\0');
    template_release(t);
    return NULL;
}

static void ignore_line(void *userdata, uint64_t guild, const char *name, int level,
                        const char *text, size_t length)
{
    (void)userdata, (void)guild, (void)name, (void)level, (void)text, (void)length;
}

/* Runs the template in a runtime of its own; false: there was none. */
static bool run(KhronosSandbox *sandbox, KhronosTemplate *t, luau_Fibers *fibers,
                KhronosStatus *status, Strbuf *out)
{
    static const KhronosLog log = {.line = ignore_line};
    KhronosLimits limits;
    khronos_default_limits(&limits);
    limits.slice_ns = 200 * 1000;
    KhronosRuntime *rt = khronos_new(sandbox, 7, &limits, &log);
    if (!rt)
        return false;
    KhronosEvent event = {.name = {"Test", 4}, .data = {"[1]", 3}};
    KhronosExecution x = {
        .template_version = t, .event = &event, .id = "id", .out = out, .keep_logs = true};
    luau_fibers_tick(fibers);
    khronos_submit(rt, &x);
    do {
        luau_fibers_tick(fibers);
        khronos_step(rt, fibers);
    } while (!khronos_take_finished(rt));
    *status = x.status;
    /* What is left of it comes to its end, or goes with the VM. */
    while (!khronos_isbroken(rt) && khronos_due_ns(rt) != 0)
        khronos_step(rt, fibers);
    assert_true(khronos_isbroken(rt) || khronos_tasks(rt) == 0);
    khronos_free(rt);
    execution_free(&x);
    return true;
}

static void expect(KhronosSandbox *sandbox, KhronosTemplate *t, luau_Fibers *fibers)
{
    Strbuf out = STRBUF_INIT;
    KhronosStatus status;
    assert_true(run(sandbox, t, fibers, &status, &out));
    assert_int_equal(status, KHRONOS_OK);
    assert_string_equal(strbuf_cstr(&out), RESULT);
    strbuf_free(&out);
}

static void test_life(void **state)
{
    KhronosSandbox *sandbox = *state;
    luau_Fibers *fibers = luau_fibers_new(1);
    bool fired = true;
    for (long k = 1; fired; k += 1 + k / 100) {
        Strbuf out = STRBUF_INIT;
        KhronosStatus status = KHRONOS_INTERNAL;
        fault_arm(k);
        KhronosTemplate *t = make_template(sandbox);
        bool ran = t && run(sandbox, t, fibers, &status, &out);
        fired = fault_disarm();
        if (!fired)
            assert_true(ran && status == KHRONOS_OK);
        strbuf_free(&out);
        template_release(t);
        t = make_template(sandbox);
        expect(sandbox, t, fibers);
        template_release(t);
    }
    luau_fibers_free(fibers);
}

/* The version stays, and with it what its failed compilation left. */
static void test_shared_template(void **state)
{
    KhronosSandbox *sandbox = *state;
    luau_Fibers *fibers = luau_fibers_new(1);
    bool fired = true;
    for (long k = 1; fired; k += 1 + k / 100) {
        Strbuf out = STRBUF_INIT;
        KhronosStatus status;
        KhronosTemplate *t = make_template(sandbox);
        fault_arm(k);
        bool ran = run(sandbox, t, fibers, &status, &out);
        fired = fault_disarm();
        assert_true(ran || fired);
        strbuf_free(&out);
        expect(sandbox, t, fibers);
        template_release(t);
    }
    luau_fibers_free(fibers);
}

static int set_up(void **state)
{
    char error[256];
    int count;
    const KhronosPlugin *plugins = plugins_all(&count);
    *state = sandbox_new(plugins, count, error, sizeof(error));
    return *state ? 0 : -1;
}

static int tear_down(void **state)
{
    sandbox_release(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_shared_template),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
