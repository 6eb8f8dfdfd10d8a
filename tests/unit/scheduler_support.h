/* scheduler_support.h: a runtime whose time the test moves by hand, and what came out of it as
 * text.
 */
#ifndef TESTS_SCHEDULER_SUPPORT_H
#define TESTS_SCHEDULER_SUPPORT_H

#include "khronos/runtime.h"

enum { BENCH_RUNS_MAX = 64 };

typedef struct BenchRun {
    KhronosExecution x;
    Strbuf out;
    KhronosEvent event;
    char *storage; /* of the event */
    char id[32];
    bool finished;
} BenchRun;

typedef struct SchedulerBench {
    KhronosSandbox *sandbox;
    KhronosRuntime *rt;
    KhronosLimits limits;
    KhronosLog log;
    luau_Fibers *fibers;
    uint64_t now_ns;
    Strbuf printed; /* lines of the log: "W " before warnings, "E " before errors */
    Strbuf ended;   /* a line an execution that came back: id, status, result or message */
    BenchRun runs[BENCH_RUNS_MAX];
    int run_count;
    KhronosTicket tickets[1024]; /* that natives asked for, in order */
    int ticket_count;
    int dropped;       /* answers that were dropped */
    const char *event; /* NULL: a small one */
    bool tick;         /* before every step, so that slices end */
} SchedulerBench;

SchedulerBench *sched_new(void);
void sched_free(SchedulerBench *b);
/* The runtime as the limits now are; one that was there is freed. */
void sched_renew(SchedulerBench *b);
/* Submits a run of the template (which is not taken); the pointer is good while one is under way.
 */
BenchRun *sched_submit(SchedulerBench *b, KhronosTemplate *t, const char *id);
/* The same with a template of that name and source. */
BenchRun *sched_source(SchedulerBench *b, const char *name, const char *source);
/* One step, and takes what finished. */
KhronosStep sched_step(SchedulerBench *b);
/* Steps until it is idle. */
void sched_settle(SchedulerBench *b);
/* Moves time and settles. */
void sched_advance(SchedulerBench *b, double seconds);
/* Settles, moving time to whatever is due next, until nothing is to come. */
void sched_finish(SchedulerBench *b);
/* Takes what finished, for after khronos_cancel and khronos_break. */
void sched_take(SchedulerBench *b);
/* The text since the last call must be this. */
void sched_printed(SchedulerBench *b, const char *lines);
void sched_ended(SchedulerBench *b, const char *lines);
/* All is over, the heap is sound, nothing is left of any task. */
void sched_clean(SchedulerBench *b);
/* One template, run and settled for 100 seconds: its log and its end. */
void sched_expect(SchedulerBench *b, const char *source, const char *printed, const char *ended);
/* The host's answer to the i-th ticket: a number, or as an error; `false` if nobody waits. */
bool sched_answer(SchedulerBench *b, int i, double number, bool error);

#endif
