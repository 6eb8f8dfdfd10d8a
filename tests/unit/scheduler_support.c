#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "call_support.h"
#include "runtime_support.h"
#include "scheduler_support.h"

/* Natives find the bench by the guild's runtime: one bench at a time. */
static SchedulerBench *the_bench;

/* ---- The module "@test/host" ------------------------------------------------------------------
 */

static int host_ask(lua_State *L)
{
    SchedulerBench *b = the_bench;
    KhronosTicket ticket = khronos_ticket(L);
    b->tickets[b->ticket_count++] = ticket;
    return khronos_wait(L, ticket);
}

static int host_collect(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

static int host_protected(lua_State *L)
{
    lua_call(L, 0, 0); /* from C: nothing below can yield */
    return 0;
}

static void open_host(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"ask", host_ask}, {"collect", host_collect}, {"call", host_protected}, {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
}

static KhronosSandbox *make_sandbox(void)
{
    char error[256] = "";
    int count;
    const KhronosPlugin *plugins = plugins_all(&count);
    KhronosPlugin *all = calloc((size_t)count + 2, sizeof(*all));
    memcpy(all, plugins, (size_t)count * sizeof(*all));
    all[count] = (KhronosPlugin){.namespace_name = "@test", .name = "host", .open = open_host};
    all[count + 1] = TEST_CALL_PLUGIN;
    KhronosSandbox *sandbox = sandbox_new(all, count + 2, error, sizeof(error));
    free(all);
    if (!sandbox)
        fail_msg("no sandbox: %s", error);
    return sandbox;
}

/* ---- The bench --------------------------------------------------------------------------------
 */

static void on_line(void *userdata, uint64_t guild_id, const char *template_name, int level,
                    const char *text, size_t length)
{
    SchedulerBench *b = userdata;
    (void)guild_id, (void)template_name;
    strbuf_puts(&b->printed, level == 2 ? "E " : level == 1 ? "W " : "");
    strbuf_put(&b->printed, text, length);
    strbuf_putc(&b->printed, '\n');
}

static uint64_t clock_of(void *userdata)
{
    return ((SchedulerBench *)userdata)->now_ns;
}

SchedulerBench *sched_new(void)
{
    SchedulerBench *b = calloc(1, sizeof(*b));
    b->sandbox = make_sandbox();
    khronos_default_limits(&b->limits);
    b->limits.slice_ns = 600 * CLOCK_NS_PER_S; /* turns end when nothing is left */
    b->limits.cpu_max_ns = 600 * CLOCK_NS_PER_S;
    b->limits.log_lines_per_second = 1000000;
    b->log = (KhronosLog){on_line, b};
    b->fibers = luau_fibers_new(4);
    b->now_ns = 1000 * CLOCK_NS_PER_S;
    the_bench = b;
    sched_renew(b);
    return b;
}

void sched_renew(SchedulerBench *b)
{
    khronos_free(b->rt);
    b->rt = khronos_new(b->sandbox, 7, &b->limits, &b->log);
    assert_non_null(b->rt);
    khronos_setclock(b->rt, clock_of, b);
}

static void free_runs(SchedulerBench *b)
{
    for (int i = 0; i < b->run_count; i++) {
        template_release(b->runs[i].x.template_version);
        execution_free(&b->runs[i].x);
        strbuf_free(&b->runs[i].out);
        free(b->runs[i].storage);
    }
    b->run_count = 0;
}

void sched_free(SchedulerBench *b)
{
    khronos_free(b->rt);
    free_runs(b);
    luau_fibers_free(b->fibers);
    sandbox_release(b->sandbox);
    strbuf_free(&b->printed);
    strbuf_free(&b->ended);
    free(b);
}

BenchRun *sched_submit(SchedulerBench *b, KhronosTemplate *t, const char *id)
{
    if (b->run_count >= BENCH_RUNS_MAX / 2 && khronos_executions(b->rt) == 0)
        free_runs(b);
    assert_true(b->run_count < BENCH_RUNS_MAX);
    BenchRun *run = &b->runs[b->run_count++];
    *run = (BenchRun){0};
    snprintf(run->id, sizeof(run->id), "%s", id);
    support_event(b->event ? b->event : "{\"name\":\"Test\"}", &run->storage, &run->event);
    run->x = (KhronosExecution){.template_version = template_retain(t),
                                .event = &run->event,
                                .id = run->id,
                                .out = &run->out,
                                .owner = run};
    khronos_submit(b->rt, &run->x);
    return run;
}

BenchRun *sched_source(SchedulerBench *b, const char *name, const char *source)
{
    KhronosTemplate *t = support_template(b->sandbox, name, 1, "init.luau", source, NULL);
    BenchRun *run = sched_submit(b, t, name);
    template_release(t);
    return run;
}

void sched_take(SchedulerBench *b)
{
    static const char *const names[] = {
        "ok",     "compile error", "error",  "invalid result", "cancelled",
        "memory", "timeout",       "broken", "internal",
    };
    for (KhronosExecution *x; (x = khronos_take_finished(b->rt)) != NULL;) {
        BenchRun *run = x->owner;
        assert_false(run->finished);
        run->finished = true;
        strbuf_printf(&b->ended, "%s %s", x->id, names[x->status]);
        if (x->status == KHRONOS_OK)
            strbuf_printf(&b->ended, " %s\n", strbuf_cstr(&run->out));
        else
            strbuf_printf(&b->ended, ": %s\n", strbuf_cstr(&x->message));
        if (x->status != KHRONOS_OK)
            assert_int_equal(run->out.length, 0);
    }
}

KhronosStep sched_step(SchedulerBench *b)
{
    if (b->tick)
        luau_fibers_tick(b->fibers);
    KhronosStep step = khronos_step(b->rt, b->fibers);
    assert_int_not_equal(step, KHRONOS_PANICKED);
    sched_take(b);
    return step;
}

void sched_settle(SchedulerBench *b)
{
    while (!khronos_isbroken(b->rt) && sched_step(b) != KHRONOS_IDLE)
        continue;
}

void sched_advance(SchedulerBench *b, double seconds)
{
    b->now_ns += (uint64_t)(seconds * 1e9 + 0.5);
    sched_settle(b);
}

void sched_finish(SchedulerBench *b)
{
    for (;;) {
        sched_settle(b);
        uint64_t due_ns = khronos_due_ns(b->rt);
        if (khronos_isbroken(b->rt) || due_ns == 0)
            return;
        b->now_ns = due_ns > b->now_ns ? due_ns : b->now_ns;
    }
}

/* (cmocka cuts long messages.) */
static void expect_text(Strbuf *text, const char *wanted, const char *source)
{
    if (strcmp(strbuf_cstr(text), wanted) != 0) {
        fprintf(stderr, "%s\nexpected:\n%s\ngot:\n%s\n", source, wanted, strbuf_cstr(text));
        fail();
    }
    strbuf_clear(text);
}

void sched_printed(SchedulerBench *b, const char *lines)
{
    expect_text(&b->printed, lines, "");
}

void sched_ended(SchedulerBench *b, const char *lines)
{
    expect_text(&b->ended, lines, "");
}

void sched_clean(SchedulerBench *b)
{
    assert_int_equal(khronos_executions(b->rt), 0);
    if (khronos_isbroken(b->rt))
        return;
    assert_int_equal(khronos_tasks(b->rt), 0);
    assert_null(b->rt->scheduler.runs);
    assert_null(b->rt->scheduler.ready.first);
    assert_null(b->rt->scheduler.waiting.first);
    assert_null(b->rt->scheduler.current);
    assert_int_equal(b->rt->scheduler.timer_count, 0);
    for (int i = 0; i < b->rt->instances.count; i++)
        assert_null(b->rt->instances.items[i]->modules.loading);
    const char *problem = luau_checkheap(b->rt->L);
    if (problem)
        fail_msg("%s", problem);
}

void sched_expect(SchedulerBench *b, const char *source, const char *printed, const char *ended)
{
    sched_source(b, "t", source);
    sched_settle(b);
    for (int i = 0; i < 100; i++)
        sched_advance(b, 1);
    expect_text(&b->printed, printed, source);
    expect_text(&b->ended, ended, source);
    sched_clean(b);
}

/* ---- Answers ----------------------------------------------------------------------------------
 */

typedef struct Answer {
    double number;
    bool error;
} Answer;

static int push_number(lua_State *L, void *arg)
{
    const Answer *answer = arg;
    if (answer->error)
        luaL_error(L, "the host failed with %g", answer->number);
    lua_pushnumber(L, answer->number);
    lua_pushstring(L, "answer");
    return 2;
}

static void drop_answer(void *arg)
{
    the_bench->dropped++;
    free(arg);
}

bool sched_answer(SchedulerBench *b, int i, double number, bool error)
{
    Answer *answer = malloc(sizeof(*answer));
    *answer = (Answer){number, error};
    return khronos_wake(b->rt, b->tickets[i], push_number, drop_answer, answer);
}
