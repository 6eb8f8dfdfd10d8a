/* Runs: from the execution that was submitted to the one that is given back, whatever becomes of
 * it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "khronos/runtime.h"

uint64_t run_deadline_ns(const KhronosRuntime *rt, const Run *run)
{
    uint64_t wall_ns = rt->limits->wall_max_ns;
    return wall_ns < UINT64_MAX - run->started_ns ? run->started_ns + wall_ns : UINT64_MAX;
}

Run *run_new(KhronosRuntime *rt, KhronosExecution *x)
{
    Scheduler *s = &rt->scheduler;
    Run *run = s->spare ? s->spare : malloc(sizeof(*run));
    s->spare = NULL;
    if (!run)
        return NULL;
    *run = (Run){.x = x,
                 .version = template_retain(x->template_version),
                 .previous = s->runs_last,
                 .main_alive = true,
                 .started_ns = rt->clock ? runtime_now_ns(rt) : s->seen_ns};
    run->deadline_ns = run_deadline_ns(rt, run);
    run->main.run = run;
    run->main.is_main = true;
    if (s->runs_last)
        s->runs_last->next = run;
    else
        s->runs = run;
    s->runs_last = run;
    return run;
}

void run_release(KhronosRuntime *rt, Run *run)
{
    Scheduler *s = &rt->scheduler;
    if (run->main_alive || run->siblings || run->x)
        return;
    if (run->previous)
        run->previous->next = run->next;
    else
        s->runs = run->next;
    if (run->next)
        run->next->previous = run->previous;
    else
        s->runs_last = run->previous;
    if (run->instance)
        instance_release(rt->L, &rt->instances, run->instance);
    template_release(run->version);
    if (s->spare)
        free(run);
    else
        s->spare = run;
}

void execution_done(KhronosRuntime *rt, KhronosExecution *x)
{
    x->next = NULL;
    if (rt->finished_last)
        rt->finished_last->next = x;
    else
        rt->finished = x;
    rt->finished_last = x;
    rt->executions--;
}

void run_finish(KhronosRuntime *rt, Run *run)
{
    Scheduler *s = &rt->scheduler;
    KhronosExecution *x = run->x;
    luau_Account account;
    luau_account(rt->L, &account);
    uint64_t now_ns = clock_monotonic_ns();
    x->duration_ns = (rt->clock ? runtime_now_ns(rt) : now_ns) - run->started_ns;
    x->cpu_ns = run->cpu_ns;
    if (s->current && s->current->run == run)
        x->cpu_ns += luau_cputime_at(rt->L, now_ns) - s->cpu_mark_ns;
    x->memory_bytes = account.reserved_bytes;
    run->x = NULL;
    runlog_notice(rt);
    execution_done(rt, x);
}

/* ---- Ends that are not the template's own -----------------------------------------------------
 */

void run_unwrite(Run *run)
{
    if (run->writing) {
        run->x->out->failed = false;
        run->x->out->length = run->out_length;
        run->x->out->max = run->out_max;
    }
    run->writing = false;
}

/* The message replaces what there is. */
static void fail(KhronosRuntime *rt, Run *run, KhronosStatus status, const char *text)
{
    KhronosExecution *x = run->x;
    if (!x)
        return;
    run_unwrite(run);
    x->status = status;
    x->result_count = 0;
    strbuf_clear(&x->message);
    strbuf_clear(&x->traceback);
    strbuf_puts(&x->message, text);
    run_finish(rt, run);
}

void run_lost(KhronosRuntime *rt, Run *run, const char *why)
{
    fail(rt, run, KHRONOS_RUNTIME_ERROR, why);
}

void run_cancelled(KhronosRuntime *rt, Run *run)
{
    fail(rt, run, KHRONOS_CANCELLED, "the execution was cancelled");
}

static void break_others(KhronosRuntime *rt, const Run *culprit, const char *what)
{
    char text[256];
    snprintf(text, sizeof(text), "the guild's VM was lost while this ran: %s%s%s%s",
             culprit ? "template '" : "", culprit ? template_name(culprit->version) : "",
             culprit ? "': " : "", what);
    khronos_break(rt, KHRONOS_BROKEN, text);
}

void run_timed_out(KhronosRuntime *rt, Run *run)
{
    char text[96];
    rt->broken_status = KHRONOS_TIMEOUT;
    snprintf(text, sizeof(text), "time limit of %.3g s exceeded",
             (double)rt->limits->wall_max_ns / 1e9);
    if (run->main.co && run->x)
        run_place(run->main.co, run->x);
    fail(rt, run, KHRONOS_TIMEOUT, text);
    break_others(rt, run, text);
}

static void put_kill_place(KhronosRuntime *rt, KhronosExecution *x)
{
    const char *position = luau_killposition(rt->L);
    const char *colon = strrchr(position, ':');
    if (!colon)
        return;
    x->line = 0;
    for (const char *p = colon + 1; *p >= '0' && *p <= '9'; p++)
        x->line = x->line * 10 + (*p - '0');
    snprintf(x->path, sizeof(x->path), "%.*s", (int)(colon - position), position);
}

void run_killed(KhronosRuntime *rt)
{
    Task *task = rt->scheduler.current;
    Run *run = task ? task->run : NULL;
    KhronosStatus status = KHRONOS_TIMEOUT;
    char text[96];
    switch (luau_killreason(rt->L)) {
    case LUAU_KILL_MEMORY:
        status = KHRONOS_MEMORY_LIMIT;
        snprintf(text, sizeof(text), "memory limit of %.3g MiB exceeded",
                 (double)rt->limits->memory_max_bytes / (1 << 20));
        break;
    case LUAU_KILL_CPU:
        snprintf(text, sizeof(text), "processor time limit of %.3g s exceeded",
                 (double)rt->limits->cpu_max_ns / 1e9);
        break;
    case LUAU_KILL_DEADLINE:
        snprintf(text, sizeof(text), "time limit of %.3g s exceeded",
                 (double)rt->limits->wall_max_ns / 1e9);
        break;
    default:
        status = KHRONOS_BROKEN;
        snprintf(text, sizeof(text), "the execution was stopped");
        break;
    }
    rt->broken_status = status;
    if (run && run->x) {
        put_kill_place(rt, run->x);
        fail(rt, run, status, text);
    } else if (run) {
        runlog_verdict(rt, run, text); /* a thread in the background did it */
    }
    break_others(rt, run, text);
}
