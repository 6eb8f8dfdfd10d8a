#include "plugin_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "khronos/runtime.h"

#define FAR_NS (60 * CLOCK_NS_PER_S)

#define PRELUDE                                                                                    \
    "local event, ctx = ... local kv, templates = ctx.KV, ctx.Templates "                          \
    "local interop = require('@antiraid/interop') "

int host_setup(void **state)
{
    StoreHost *host = calloc(1, sizeof(*host));
    kv_open(&host->kv, 0, 0);
    host->sandbox = support_sandbox();
    host->fibers = luau_fibers_new(4);
    host->capabilities = "*";
    khronos_default_limits(&host->limits);
    host_renew(host);
    *state = host;
    return 0;
}

int host_teardown(void **state)
{
    StoreHost *host = *state;
    assert_int_equal(host->held_count, 0);
    khronos_free(host->rt);
    luau_fibers_free(host->fibers);
    sandbox_release(host->sandbox);
    kv_close(&host->kv);
    strbuf_free(&host->text);
    free(host);
    return 0;
}

void host_renew(StoreHost *host)
{
    if (host->rt)
        khronos_free(host->rt);
    host->rt = khronos_new(host->sandbox, KV_GUILD, &host->limits, NULL);
    assert_non_null(host->rt);
    luau_testmode(host->rt->L, host->testmode);
}

/* ---- Runs -------------------------------------------------------------------------------------
 */

static void set_capabilities(KhronosTemplate *t, const char *text)
{
    enum { MOST = 32 };
    char copy[2048], error[256], *place = NULL;
    const char *items[MOST];
    TemplateMeta meta = {.capabilities = items, .enabled = true};
    snprintf(copy, sizeof(copy), "%s", text);
    for (char *item = strtok_r(copy, " ", &place); item; item = strtok_r(NULL, " ", &place)) {
        assert_true(meta.capability_count < MOST);
        items[meta.capability_count++] = item;
    }
    if (!template_setmeta(t, &meta, error, sizeof(error)))
        fail_msg("%s", error);
}

static void free_run(KhronosExecution *x)
{
    execution_free(x);
    template_release(x->template_version);
    strbuf_free(x->out);
    free(x->out);
    free(x->owner);
    free((void *)(uintptr_t)x->event);
    free(x);
}

KhronosExecution *host_begin(StoreHost *host, const char *source)
{
    char *text, *storage;
    KhronosExecution *x = calloc(1, sizeof(*x));
    KhronosEvent *event = calloc(1, sizeof(*event));
    assert_true(asprintf(&text, "%s%s", PRELUDE, source) > 0);
    x->template_version = support_template(host->sandbox, "t", 1, "init.luau", text, NULL);
    free(text);
    set_capabilities(x->template_version, host->capabilities);
    support_event("{\"name\":\"Test\",\"data\":{}}", &storage, event);
    x->event = event;
    x->owner = storage;
    x->id = "run";
    x->out = calloc(1, sizeof(*x->out));
    khronos_submit(host->rt, x);
    return x;
}

void host_answer(StoreHost *host, StoreCall *call)
{
    assert_int_equal(call->call.guild_id, KV_GUILD);
    assert_int_equal(call->request->guild_id, KV_GUILD);
    store_wait(host->kv.store, call->request);
    khronos_answer(host->rt, &call->call);
}

static bool serve_calls(StoreHost *host)
{
    bool any = false;
    for (KhronosCall *base; (base = khronos_take_call(host->rt)) != NULL; any = true) {
        StoreCall *call = (StoreCall *)base;
        host->calls++;
        if (!host->serve)
            host_answer(host, call);
        else if (host->serve(host, call))
            khronos_answer(host->rt, base);
        else
            host->held[host->held_count++] = call;
    }
    return any;
}

void host_turn(StoreHost *host)
{
    for (;;) {
        KhronosStep step = khronos_step(host->rt, host->fibers);
        assert_int_not_equal(step, KHRONOS_PANICKED);
        bool any = serve_calls(host);
        if (khronos_isbroken(host->rt))
            return;
        /* Timers of 0 seconds are due in the next turn; limits of time are far away. */
        uint64_t due = khronos_due_ns(host->rt);
        if (step == KHRONOS_IDLE && !any && (due == 0 || due > clock_monotonic_ns() + FAR_NS))
            return;
    }
}

const char *host_end(StoreHost *host, KhronosExecution *x)
{
    KhronosExecution *done = khronos_take_finished(host->rt);
    if (done != x)
        fail_msg("the run is not finished");
    host->status = x->status;
    strbuf_clear(&host->text);
    if (x->status == KHRONOS_OK)
        strbuf_put(&host->text, x->out->data, x->out->length);
    else
        strbuf_put(&host->text, x->message.data, x->message.length);
    free_run(x);
    return strbuf_cstr(&host->text);
}

const char *host_run(StoreHost *host, const char *source)
{
    KhronosExecution *x = host_begin(host, source);
    host_turn(host);
    return host_end(host, x);
}

void host_expect(StoreHost *host, const char *source, const char *json)
{
    const char *got = host_run(host, source);
    if (host->status != KHRONOS_OK || strcmp(got, json) != 0)
        fail_msg("%s\nexpected: %s\ngot (%d): %s", source, json, host->status, got);
}

void host_fails(StoreHost *host, const char *source, const char *part)
{
    const char *got = host_run(host, source);
    if (host->status != KHRONOS_RUNTIME_ERROR || !strstr(got, part))
        fail_msg("%s\nexpected: %s\ngot (%d): %s", source, part, host->status, got);
}
