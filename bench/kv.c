/* kv.c: ctx.KV from templates of many guilds at once, over the worker, its services and a store on
 * disk.
 *
 *     kv [-d SECONDS] [-g GUILDS] [-c CALLS] [FOLDER]
 *
 * Each guild runs a template that makes one call after the other on CALLS Luau threads; prints for
 * sets, gets and both how many a second there were, what a call took as the template saw it, and
 * how many commits (each one fsync) came to a write. The allowance of a guild (1,000 calls a
 * second) is out of the way: its clock runs a thousand times faster. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "plugins/plugins.h"
#include "store/sqlite.h"
#include "worker/services.h"
#include "worker/worker.h"

enum { GUILDS_MAX = 4096, FASTER = 1000 };
#define SHARD(id) ((uint64_t)(id) << 22)

typedef struct Guild {
    LuaVmAction action;
    Strbuf result;
    atomic_bool busy;
} Guild;

typedef struct Bench {
    int guilds, calls;
    double seconds;
    Worker *worker;
    Store *store;
    KhronosSandbox *sandbox;
    Guild guild[GUILDS_MAX];
} Bench;

/* Returns how many calls it made, and the slowest of every hundred, in ms. */
static const char SOURCE[] =
    "local event, ctx = ...\n"
    "local kv, data = ctx.KV, event.data\n"
    "local count, running, times = 0, data.calls, {}\n"
    "local main = coroutine.running()\n"
    "local utc = require('@antiraid/datetime').UTC\n"
    "local function now() return utc:now().timestamp_micros / 1e6 end\n"
    "local deadline = now() + data.seconds\n"
    "local payload = {name = 'somebody', score = 12345, tags = {'a', 'b', 'c'}}\n"
    "for t = 1, data.calls do\n"
    "    task.spawn(function()\n"
    "        local i = 0\n"
    "        while now() < deadline do\n"
    "            i += 1\n"
    "            local key = `key-{t}-{i % 50}`\n"
    "            local before = now()\n"
    "            if data.what == 'get' or (data.what == 'both' and i % 2 == 0) then\n"
    "                kv:get(key, {'bench'})\n"
    "            else\n"
    "                kv:set(key, payload, {'bench'})\n"
    "            end\n"
    "            count += 1\n"
    "            if #times < 5000 then table.insert(times, (now() - before) * 1e3) end\n"
    "        end\n"
    "        running -= 1\n"
    "        if running == 0 then task.spawn(main) end\n"
    "    end)\n"
    "end\n"
    "if running > 0 then coroutine.yield() end\n"
    "table.sort(times)\n"
    "local function at(q) return times[math.max(1, math.ceil(#times * q))] or 0 end\n"
    "return {count, at(0.5), at(0.99)}\n";

static uint64_t fast_clock(void *userdata)
{
    (void)userdata;
    return clock_monotonic_ns() * FASTER;
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "kv: %s: %s\n", what, why);
    exit(1);
}

static KhronosTemplate *make_template(Bench *b)
{
    char error[256] = "no memory";
    KhronosTemplate *t = template_new(b->sandbox, "bench", 1, "");
    if (!t || !template_addfile(t, "init.luau", NULL, strdup(SOURCE), strlen(SOURCE), error,
                                sizeof(error)))
        die("template", error);
    return t;
}

static void on_line(void *userdata, uint64_t guild_id, const char *template_name, int level,
                    const char *text, size_t length)
{
    (void)userdata;
    (void)guild_id;
    (void)template_name;
    (void)level;
    fprintf(stderr, "%.*s\n", (int)length, text);
}

static void on_complete(LuaVmAction *action)
{
    Guild *guild = action->userdata;
    atomic_store_explicit(&guild->busy, false, memory_order_release);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(Bench *b, KhronosTemplate *t, const char *what)
{
    char data[128];
    snprintf(data, sizeof(data), "{\"what\":\"%s\",\"calls\":%d,\"seconds\":%g}", what, b->calls,
             b->seconds);
    KhronosEvent event = {
        .base_name = {"Custom", 6}, .name = {"Bench", 5}, .data = {data, strlen(data)}};
    StoreStats before, after;
    store_stats(b->store, &before);
    for (int i = 0; i < b->guilds; i++) {
        Guild *guild = &b->guild[i];
        strbuf_clear(&guild->result);
        atomic_store(&guild->busy, true);
        guild->action = (LuaVmAction){
            .type = VM_ACTION_EXECUTE,
            .handle.guild_id = SHARD(1 + i),
            .complete = on_complete,
            .userdata = guild,
            .execution = {
                .template_version = t, .event = &event, .id = "bench", .out = &guild->result}};
        worker_submit(b->worker, &guild->action);
    }
    uint64_t began_ns = clock_monotonic_ns();
    double calls = 0, *p50 = calloc(GUILDS_MAX, sizeof(*p50)),
           *p99 = calloc(GUILDS_MAX, sizeof(*p99));
    for (int i = 0; i < b->guilds; i++) {
        Guild *guild = &b->guild[i];
        while (atomic_load_explicit(&guild->busy, memory_order_acquire))
            usleep(1000);
        double count;
        if (guild->action.execution.status != KHRONOS_OK)
            die("run", strbuf_cstr(&guild->action.execution.message));
        if (sscanf(strbuf_cstr(&guild->result), "[%lf,%lf,%lf]", &count, &p50[i], &p99[i]) != 3)
            die("result", strbuf_cstr(&guild->result));
        calls += count;
        execution_free(&guild->action.execution);
    }
    double took_s = (double)(clock_monotonic_ns() - began_ns) / 1e9;
    store_stats(b->store, &after);
    qsort(p50, (size_t)b->guilds, sizeof(*p50), by_value);
    qsort(p99, (size_t)b->guilds, sizeof(*p99), by_value);
    double writes = (double)(after.writes - before.writes);
    double commits = (double)(after.commits - before.commits);
    printf("%-5s %3d guilds x %2d threads: %8.0f calls a second, 50%% %7.2f ms, 99%% %7.2f ms "
           "(median guild; worst %.2f), ",
           what, b->guilds, b->calls, calls / took_s, p50[b->guilds / 2], p99[b->guilds / 2],
           p99[b->guilds - 1]);
    if (writes > 0)
        printf("%.0f commits, %.3f fsyncs a write\n", commits, commits / writes);
    else
        printf("no commits\n");
    fflush(stdout);
    free(p50);
    free(p99);
}

static void run(Bench *b, const char *path)
{
    char error[256];
    StoreStatus status;
    StoreOptions store = {.path = path, .exclusive = true};
    WorkerOptions options;
    int count;
    const KhronosPlugin *plugins = plugins_all(&count);
    b->sandbox = sandbox_new(plugins, count, error, sizeof(error));
    if (!b->sandbox)
        die("sandbox", error);
    b->store = sqlite_open(&store, &status, error, sizeof(error));
    if (!b->store)
        die(path, error);
    Services *services = services_new(b->sandbox, b->store, fast_clock, NULL);
    worker_default_options(&options);
    options.sandbox = b->sandbox;
    options.limits.share_max_ns = 0;
    options.log.line = on_line;
    services_options(services, &options.calls);
    b->worker = worker_start(&options, error, sizeof(error));
    if (!b->worker)
        die("worker", error);
    services_use(services, b->worker);
    KhronosTemplate *t = make_template(b);
    measure(b, t, "set");
    measure(b, t, "get");
    measure(b, t, "both");
    template_release(t);
    services_stop(services);
    worker_stop(b->worker);
    store_stop(b->store);
    services_free(services);
    store_free(b->store);
    sandbox_release(b->sandbox);
}

int main(int argc, char **argv)
{
    static Bench bench = {.guilds = 64, .calls = 4, .seconds = 5};
    for (int option; (option = getopt(argc, argv, "d:g:c:")) != -1;) {
        switch (option) {
        case 'd': bench.seconds = strtod(optarg, NULL); break;
        case 'g': bench.guilds = (int)strtol(optarg, NULL, 10); break;
        case 'c': bench.calls = (int)strtol(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    if (bench.guilds < 1 || bench.guilds > GUILDS_MAX || bench.calls < 1 || bench.seconds <= 0)
        return 2;
    char folder[256], path[300];
    snprintf(folder, sizeof(folder), "%s/kv-XXXXXX", optind < argc ? argv[optind] : P_tmpdir);
    if (!mkdtemp(folder))
        die(folder, "cannot make a folder there");
    snprintf(path, sizeof(path), "%s/store.db", folder);
    run(&bench, path);
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(suffixes); i++) {
        snprintf(path, sizeof(path), "%s/store.db%s", folder, suffixes[i]);
        unlink(path);
    }
    rmdir(folder);
    for (int i = 0; i < bench.guilds; i++)
        strbuf_free(&bench.guild[i].result);
    return 0;
}
