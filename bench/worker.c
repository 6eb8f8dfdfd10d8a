/* worker.c: the worker inside one process: fairness, floods, throughput, memory.
 *
 *     worker [-s STRATEGY] [-t THREADS] [-p PROCESSES] [-d SECONDS] [PART...]
 *
 * fairness    64 guilds spin forever; 200 others get an event every 20 ms each. Prints what these
 *             wait for their result, without the spinners and beside them.
 * flood       the same 200 guilds while one guild is sent events without end.
 * throughput  dispatch -> run -> result with a small event, from completion to next submission.
 * memory      guilds that are created, run once and destroyed: what the process keeps.
 * idle        what a guild takes that ran once and then does nothing. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "plugins/plugins.h"
#include "worker/worker.h"

enum {
    SPINNERS = 64,
    QUIET_GUILDS = 200,
    QUIET_PERIOD_MS = 20,
    FLOOD_EVENTS = 100000,
    WINDOW = 128, /* actions under way in `throughput` */
    MEMORY_GUILDS = 1000000,
    IDLE_GUILDS = 100000,
    SETTLE_S = 2,       /* an idle worker gives memory back within a second */
    QUIET_FIRST = 1000, /* guild ids */
    FLOOD_GUILD = 999999,
    MEMORY_FIRST = 10000000
};
#define SHARD(id) ((uint64_t)(id) << 22) /* as Discord's ids: the low bits say little */

typedef struct Bench {
    WorkerOptions options;
    Worker *worker;
    KhronosSandbox *sandbox;
    KhronosTemplate *small, *slow, *spin;
    KhronosEvent event;
    double seconds;
} Bench;

typedef struct Job {
    LuaVmAction action;
    Bench *bench;
    Strbuf result;
    uint64_t submitted_ns;
    void (*done)(struct Job *job);
    void *owner; /* what it counts in */
    atomic_bool busy;
} Job;

/* Written by completions on any thread. */
typedef struct Latencies {
    atomic_int count, errors, refused, pending;
    int room;
    uint32_t *us;
} Latencies;

static KhronosTemplate *make_template(Bench *b, const char *name, const char *source)
{
    char error[256];
    KhronosTemplate *t = template_new(b->sandbox, name, 1, "");
    if (t)
        template_keepsources(t);
    if (!t || !template_addfile(t, "init.luau", NULL, strdup(source), strlen(source), error,
                                sizeof(error))) {
        fprintf(stderr, "template: %s\n", t ? error : "no memory");
        exit(1);
    }
    return t;
}

static void start(Bench *b)
{
    char error[256];
    b->worker = worker_start(&b->options, error, sizeof(error));
    if (!b->worker) {
        fprintf(stderr, "%s\n", error);
        exit(1);
    }
}

static void stop(Bench *b)
{
    worker_stop(b->worker);
    b->worker = NULL;
}

static void on_complete(LuaVmAction *action)
{
    Job *job = action->userdata;
    job->done(job);
}

static void submit(Bench *b, Job *job, VmActionType type, uint64_t guild, KhronosTemplate *t)
{
    execution_free(&job->action.execution);
    strbuf_clear(&job->result);
    job->bench = b;
    job->action = (LuaVmAction){
        .type = type,
        .handle.guild_id = guild,
        .complete = on_complete,
        .userdata = job,
        .execution = {.template_version = t,
                      .event = &b->event,
                      .id = "bench",
                      .out = &job->result},
    };
    job->submitted_ns = clock_monotonic_ns();
    worker_submit(b->worker, &job->action);
}

static void free_jobs(Job *jobs, int count)
{
    for (int i = 0; i < count; i++) {
        execution_free(&jobs[i].action.execution);
        strbuf_free(&jobs[i].result);
    }
    free(jobs);
}

/* ---- Quiet guilds -----------------------------------------------------------------------------
 */

static void quiet_done(Job *job)
{
    Latencies *l = job->owner;
    uint64_t took_us = (clock_monotonic_ns() - job->submitted_ns) / 1000;
    if (job->action.outcome != VM_ACTION_DONE || job->action.execution.status != KHRONOS_OK) {
        atomic_fetch_add(&l->errors, 1);
    } else {
        int at = atomic_fetch_add(&l->count, 1);
        if (at < l->room)
            l->us[at] = took_us > UINT32_MAX ? UINT32_MAX : (uint32_t)took_us;
    }
    atomic_store(&job->busy, false);
    atomic_fetch_sub(&l->pending, 1);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double quantile_ms(Latencies *l, double q)
{
    int count = atomic_load(&l->count);
    return count == 0 ? NAN : l->us[(int)(q * (count - 1))] / 1000.0;
}

/* Each guild gets an event every period, spread evenly over it. A guild whose last ten events are
 * all still under way is an error of its own: nothing hides behind a slow answer. */
static double measure_quiet(Bench *b, const char *name)
{
    enum { SLOTS = 10 };
    int steps = (int)(b->seconds * 1000);
    int per_ms = QUIET_GUILDS / QUIET_PERIOD_MS;
    Latencies l = {.room = steps * per_ms};
    l.us = calloc((size_t)l.room, sizeof(*l.us));
    Job *jobs = calloc((size_t)QUIET_GUILDS * SLOTS, sizeof(*jobs));
    uint64_t began = clock_monotonic_ns();
    int sent = 0;
    for (int step = 0; step < steps; step++) {
        uint64_t due = began + (uint64_t)step * CLOCK_NS_PER_MS;
        struct timespec time = {.tv_sec = (time_t)(due / CLOCK_NS_PER_S),
                                .tv_nsec = (long)(due % CLOCK_NS_PER_S)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
        for (int i = 0; i < per_ms; i++, sent++) {
            int guild = sent % QUIET_GUILDS;
            Job *job = &jobs[guild * SLOTS + sent / QUIET_GUILDS % SLOTS];
            if (atomic_load(&job->busy)) {
                atomic_fetch_add(&l.errors, 1);
                continue;
            }
            atomic_store(&job->busy, true);
            atomic_fetch_add(&l.pending, 1);
            job->done = quiet_done;
            job->owner = &l;
            submit(b, job, VM_ACTION_EXECUTE, SHARD(QUIET_FIRST + guild), b->small);
        }
    }
    while (atomic_load(&l.pending) > 0)
        usleep(1000);
    qsort(l.us, (size_t)atomic_load(&l.count), sizeof(*l.us), by_value);
    double p99 = quantile_ms(&l, 0.99);
    printf("%-34s %8d events  50%% %7.3f ms  99%% %7.3f ms  greatest %7.3f ms  errors %d\n", name,
           atomic_load(&l.count), quantile_ms(&l, 0.5), p99, quantile_ms(&l, 1.0),
           atomic_load(&l.errors));
    fflush(stdout);
    free(l.us);
    free_jobs(jobs, QUIET_GUILDS * SLOTS);
    return p99;
}

static void nothing_done(Job *job)
{
    atomic_store(&job->busy, false);
}

static void bench_fairness(Bench *b)
{
    b->options.limits.cpu_max_ns = 3600 * CLOCK_NS_PER_S;
    start(b);
    measure_quiet(b, "fairness: (warm-up)");
    measure_quiet(b, "fairness: nobody spins");
    Job *spinners = calloc(SPINNERS, sizeof(*spinners));
    for (int i = 0; i < SPINNERS; i++) {
        spinners[i].done = nothing_done;
        submit(b, &spinners[i], VM_ACTION_EXECUTE, SHARD(1 + i), b->spin);
    }
    measure_quiet(b, "fairness: 64 guilds spin");
    stop(b);
    free_jobs(spinners, SPINNERS);
}

/* ---- A flood ----------------------------------------------------------------------------------
 */

typedef struct Flood {
    Bench *bench;
    atomic_bool stopping;
    atomic_long accepted, refused, other;
    Job *jobs;
} Flood;

static void flood_done(Job *job)
{
    Flood *flood = job->owner;
    switch (job->action.outcome) {
    case VM_ACTION_DONE: atomic_fetch_add(&flood->accepted, 1); break;
    case VM_ACTION_QUEUE_FULL: atomic_fetch_add(&flood->refused, 1); break;
    default: atomic_fetch_add(&flood->other, 1); break;
    }
    atomic_store(&job->busy, false);
}

static void *flood_main(void *arg)
{
    Flood *flood = arg;
    for (int i = 0; !atomic_load(&flood->stopping) && i < FLOOD_EVENTS; i++) {
        Job *job = &flood->jobs[i];
        job->done = flood_done;
        job->owner = flood;
        atomic_store(&job->busy, true);
        submit(flood->bench, job, VM_ACTION_EXECUTE, SHARD(FLOOD_GUILD), flood->bench->slow);
        if (i % 50 == 49)
            usleep(1000); /* 100,000 events within the time of the measurement */
    }
    return NULL;
}

static void bench_flood(Bench *b)
{
    start(b);
    measure_quiet(b, "flood: (warm-up)");
    double before = measure_quiet(b, "flood: none");
    Flood flood = {.bench = b, .jobs = calloc(FLOOD_EVENTS, sizeof(Job))};
    pthread_t thread;
    pthread_create(&thread, NULL, flood_main, &flood);
    double during = measure_quiet(b, "flood: one guild, 100,000 events");
    atomic_store(&flood.stopping, true);
    pthread_join(thread, NULL);
    stop(b);
    printf("flood: %ld ran, %ld were answered queue_full, %ld otherwise; 99%% of the others: "
           "%.2f times\n",
           atomic_load(&flood.accepted), atomic_load(&flood.refused), atomic_load(&flood.other),
           during / before);
    free_jobs(flood.jobs, FLOOD_EVENTS);
}

/* ---- Throughput -------------------------------------------------------------------------------
 */

typedef struct Closed {
    atomic_bool stopping;
    atomic_long count, errors;
    atomic_int under_way;
} Closed;

static void closed_done(Job *job)
{
    Closed *closed = job->owner;
    if (job->action.execution.status != KHRONOS_OK)
        atomic_fetch_add_explicit(&closed->errors, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&closed->count, 1, memory_order_relaxed);
    if (atomic_load_explicit(&closed->stopping, memory_order_relaxed))
        atomic_fetch_sub(&closed->under_way, 1);
    else
        submit(job->bench, job, VM_ACTION_EXECUTE, job->action.handle.guild_id, job->bench->small);
}

static void bench_throughput(Bench *b)
{
    start(b);
    Closed closed = {.under_way = WINDOW};
    Job *jobs = calloc(WINDOW, sizeof(*jobs));
    uint64_t began = clock_monotonic_ns();
    for (int i = 0; i < WINDOW; i++) {
        jobs[i].done = closed_done;
        jobs[i].owner = &closed;
        submit(b, &jobs[i], VM_ACTION_EXECUTE, SHARD(1 + i), b->small);
    }
    usleep((useconds_t)(b->seconds * 1e6));
    atomic_store(&closed.stopping, true);
    double took = (double)(clock_monotonic_ns() - began) / 1e9;
    long count = atomic_load(&closed.count);
    while (atomic_load(&closed.under_way) > 0)
        usleep(1000);
    int cores = b->options.strategy == WORKER_PROCESS_POOL
                    ? b->options.processes * b->options.threads
                    : b->options.threads;
    printf("throughput: %.0f events a second, %.0f for each of %d thread%s, errors %ld\n",
           (double)count / took, (double)count / took / cores, cores, cores == 1 ? "" : "s",
           atomic_load(&closed.errors));
    stop(b);
    free_jobs(jobs, WINDOW);
}

/* ---- Memory -----------------------------------------------------------------------------------
 */

static double resident_mib(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%ld %ld", &pages, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

typedef struct Pair {
    Job run, destroy;
    atomic_int left;
    atomic_long *errors;
} Pair;

static void pair_done(Job *job)
{
    Pair *pair = job->owner;
    if (job->action.type == VM_ACTION_EXECUTE && job->action.execution.status != KHRONOS_OK)
        atomic_fetch_add(pair->errors, 1);
    atomic_fetch_sub(&pair->left, 1);
}

static void live_and_die(Bench *b, Pair *pairs, long guilds, uint64_t first, atomic_long *errors)
{
    for (long i = 0; i < guilds; i++) {
        Pair *pair = &pairs[i % WINDOW];
        while (atomic_load(&pair->left) > 0)
            usleep(50);
        atomic_store(&pair->left, 2);
        pair->errors = errors;
        pair->run.done = pair->destroy.done = pair_done;
        pair->run.owner = pair->destroy.owner = pair;
        uint64_t guild = SHARD(first) + (uint64_t)i;
        submit(b, &pair->run, VM_ACTION_EXECUTE, guild, b->small);
        submit(b, &pair->destroy, VM_ACTION_DESTROY, guild, NULL);
    }
    for (int i = 0; i < WINDOW; i++) {
        while (atomic_load(&pairs[i].left) > 0)
            usleep(50);
        execution_free(&pairs[i].run.action.execution);
        execution_free(&pairs[i].destroy.action.execution);
        strbuf_free(&pairs[i].run.result);
        strbuf_free(&pairs[i].destroy.result);
    }
}

static void bench_memory(Bench *b)
{
    atomic_long errors = 0;
    Pair *pairs = calloc(WINDOW, sizeof(*pairs)); /* the same memory before and after */
    start(b);
    live_and_die(b, pairs, 20000, MEMORY_FIRST, &errors);
    sleep(SETTLE_S);
    double before = resident_mib();
    uint64_t began = clock_monotonic_ns();
    live_and_die(b, pairs, MEMORY_GUILDS, MEMORY_FIRST + 1, &errors);
    double took = (double)(clock_monotonic_ns() - began) / 1e9;
    sleep(SETTLE_S);
    double after = resident_mib();
    WorkerStats stats;
    worker_stats(b->worker, &stats);
    printf("memory: %d guilds created, run once and destroyed in %.1f s; resident %.2f MiB before, "
           "%.2f MiB after (%+.1f %%); %llu guilds known, %llu VMs; errors %ld\n",
           MEMORY_GUILDS, took, before, after, 100 * (after - before) / before,
           (unsigned long long)stats.guilds, (unsigned long long)stats.vms, atomic_load(&errors));
    stop(b);
    free(pairs);
}

/* ---- Idle guilds ------------------------------------------------------------------------------
 */

static void bench_idle(Bench *b)
{
    b->options.shrink_idle_ns = 2 * CLOCK_NS_PER_S;
    start(b);
    Latencies l = {0};
    Job *jobs = calloc(WINDOW, sizeof(*jobs));
    double before = resident_mib();
    for (int i = 0; i < IDLE_GUILDS; i++) {
        Job *job = &jobs[i % WINDOW];
        while (atomic_load(&job->busy))
            usleep(20);
        atomic_store(&job->busy, true);
        atomic_fetch_add(&l.pending, 1);
        job->done = quiet_done;
        job->owner = &l;
        submit(b, job, VM_ACTION_EXECUTE, SHARD(MEMORY_FIRST) + (uint64_t)i, b->small);
    }
    while (atomic_load(&l.pending) > 0)
        usleep(1000);
    double busy = resident_mib();
    sleep(2 * SETTLE_S + 2);
    double idle = resident_mib();
    double kib = 1024.0 / IDLE_GUILDS;
    printf("idle: %d guilds that ran once: %.1f KiB resident each, %.1f KiB once idle; errors %d\n",
           IDLE_GUILDS, (busy - before) * kib, (idle - before) * kib, atomic_load(&l.errors));
    stop(b);
    free_jobs(jobs, WINDOW);
}

/* ---- Main -------------------------------------------------------------------------------------
 */

static KhronosSandbox *make_sandbox(void)
{
    char error[256];
    int count;
    const KhronosPlugin *plugins = plugins_all(&count);
    return sandbox_new(plugins, count, error, sizeof(error));
}

static int whole_number(const char *text)
{
    char *end;
    long value = strtol(text, &end, 10);
    return *end == '\0' && value > 0 && value <= 1024 ? (int)value : -1;
}

static void usage(void)
{
    fprintf(stderr, "usage: worker [-s STRATEGY] [-t THREADS] [-p PROCESSES] [-d SECONDS] "
                    "[fairness] [flood] [throughput] [memory] [idle]\n");
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(Bench *b);
    } parts[] = {{"fairness", bench_fairness},
                 {"flood", bench_flood},
                 {"throughput", bench_throughput},
                 {"memory", bench_memory},
                 {"idle", bench_idle}};
    if (worker_is_child(argc, argv))
        return worker_child_main(argc, argv, make_sandbox);
    Bench b = {.seconds = 5, .sandbox = make_sandbox()};
    worker_default_options(&b.options);
    b.options.sandbox = b.sandbox;
    for (int option; (option = getopt(argc, argv, "s:t:p:d:")) != -1;) {
        int number = option == 's' || option == '?' ? 1 : whole_number(optarg);
        bool good = number > 0;
        switch (option) {
        case 's': good = worker_strategy_parse(optarg, &b.options.strategy); break;
        case 't': b.options.threads = number; break;
        case 'p': b.options.processes = number; break;
        case 'd': b.seconds = number; break;
        default: good = false; break;
        }
        if (!good)
            usage();
    }
    if (b.options.threads == 0)
        b.options.threads = b.options.strategy == WORKER_PROCESS_POOL ? 1 : 2;
    if (b.options.processes == 0)
        b.options.processes = 2;
    b.event = (KhronosEvent){.base_name = {"Bench", 5},
                             .name = {"Message", 7},
                             .data = {"{\"content\":\"hello\",\"n\":1}", 25}};
    b.small = make_template(&b, "small",
                            "local event, ctx = ...\n"
                            "count = (count or 0) + 1\n"
                            "return { n = event.data.n + count, content = event.data.content }\n");
    b.slow = make_template(&b, "slow", "local n = 0 for i = 1, 20000 do n += i end return n\n");
    b.spin = make_template(&b, "spin", "while true do end\n");
    if (b.options.strategy == WORKER_PROCESS_POOL)
        printf("strategy %s, %d processes of %d thread%s\n",
               worker_strategy_name(b.options.strategy), b.options.processes, b.options.threads,
               b.options.threads == 1 ? "" : "s");
    else
        printf("strategy %s, %d threads\n", worker_strategy_name(b.options.strategy),
               b.options.threads);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(parts); i++) {
        bool wanted = optind == argc;
        for (int a = optind; a < argc; a++)
            wanted |= strcmp(argv[a], parts[i].name) == 0;
        WorkerOptions options = b.options;
        if (wanted)
            parts[i].run(&b);
        b.options = options;
    }
    template_release(b.small);
    template_release(b.slow);
    template_release(b.spin);
    sandbox_release(b.sandbox);
    return 0;
}
