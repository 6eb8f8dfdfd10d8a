/* template-worker serve: store, worker and HTTP server under one event loop, which waits for
 * signals and ticks. */
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "api/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/backing.h"
#include "cli/cli.h"
#include "cli/samples.h"
#include "worker/dispatcher.h"
#include "worker/templates.h"
#include "worker/worker.h"

enum { TICK_MS = 20, DRAIN_S = 30, FLUSH_MS = 2000 };

typedef struct ServeOptions {
    const char *templates; /* folder; NULL: none */
    const char *store;     /* file; NULL: none */
    bool no_samples;
    TemplateCache *folder;
    WorkerOptions worker;
    ApiOptions api;
} ServeOptions;

typedef struct Service {
    uv_loop_t loop;
    uv_timer_t tick;
    uv_signal_t terminate, interrupt;
    Worker *worker;
    Dispatcher *dispatcher;
    ApiServer *api;
    Backing *backing;
    uint64_t drain_until_ns; /* 0: not shutting down */
} Service;

/* Where it is, and a line to paste that shows it at work. */
static void print_welcome(const ServeOptions *options, const char *host, unsigned port)
{
    char name[TEMPLATE_NAME_SIZE] = "hello"; /* a sample */
    bool any = (options->store && !options->no_samples) ||
               (options->folder && templates_example(options->folder, name));
    printf("Serving %s%s%s on http://%s:%u\n", options->store ? options->store : "",
           options->store && options->templates ? " and " : "",
           options->templates ? options->templates : "", host, port);
    if (any)
        printf("Try: curl -s http://%s:%u/execute -H 'Content-Type: application/json' -d "
               "'{\"template\": \"%s\", \"event\": {\"name\": \"Hello\", \"data\": {\"name\": "
               "\"Ada\"}}, \"context\": {\"guild_id\": \"1\"}}'\n",
               host, port, name);
    else if (options->templates)
        printf("No template there yet: save one as %s/NAME.luau.\n", options->templates);
    if (options->store)
        printf("Save your own: template-worker templates save --store %s NAME.luau\n",
               options->store);
    fflush(stdout);
}

static void print_help(void)
{
    puts("usage: template-worker serve [OPTIONS]\n"
         "\n"
         "  --store FILE         the database of templates and guilds' data, made if it is not\n"
         "                       there (template-worker.db; none if --templates is given)\n"
         "  --no-samples         a new store begins without the sample templates\n"
         "  --templates FOLDER   templates for every guild, before the store's of the same name:\n"
         "                       NAME.luau, or NAME/init.luau with its files\n"
         "  --listen ADDRESS     a loopback address: 127.0.0.1, ::1, ... (127.0.0.1)\n"
         "  --port N             0 takes any free port (60000)\n"
         "  --strategy NAME      thread-pool: guilds share threads; thread-per-guild: each has\n"
         "                       its own; process-pool: guilds are spread over processes, so\n"
         "                       that a crash loses one of them (thread-pool)\n"
         "  --threads N          threads that serve sockets and run guilds (one for each\n"
         "                       processor)\n"
         "  --guild-threads N    of thread-per-guild: guilds with a VM at a time (1024)\n"
         "  --processes N        of the process-pool (one for each processor)\n"
         "  --memory-limit MIB   memory of a guild (20)\n"
         "  --cpu-limit MS       processor time of an execution (10000)\n"
         "  --wall-limit MS      time of an execution, waits included (600000)\n"
         "  --share-limit MS     processor time of a guild within a minute; 0: no limit (45000)\n"
         "  --mailbox N          actions a guild may have waiting (1024)\n"
         "  --tasks N            tasks a guild may have alive (10000)\n"
         "  --idle-shrink S      a guild gives memory back after so long without work (10)\n"
         "  --idle-destroy S     and its VM is ended; 0: never (600)\n"
         "  --read-timeout S     for a request to arrive, and between two (30)\n"
         "\n"
         "POST /execute runs a template, POST /guilds/GUILD/events those that are subscribed to\n"
         "an event; docs/http-api.md has the rest. Templates that change are seen at once.\n"
         "SIGTERM and SIGINT end the server once what runs is done (30 s at most); a second\n"
         "one ends it at once. The log is on standard error, a JSON object a line.");
}

/* ---- Shutting down ----------------------------------------------------------------------------
 */

static void on_signal(uv_signal_t *handle, int number)
{
    Service *service = handle->data;
    uint64_t now = clock_monotonic_ns();
    if (service->drain_until_ns != 0) {
        service->drain_until_ns = now;
        return;
    }
    log_message(LOG_INFO, "%s: shutting down", number == SIGTERM ? "SIGTERM" : "SIGINT");
    api_refuse(service->api);
    dispatcher_stop(service->dispatcher);
    service->drain_until_ns = now + DRAIN_S * CLOCK_NS_PER_S;
}

static void on_tick(uv_timer_t *handle)
{
    Service *service = handle->data;
    api_tick(service->api);
    if (service->drain_until_ns == 0)
        return;
    bool idle = worker_drain(service->worker, 0);
    if (idle || clock_monotonic_ns() >= service->drain_until_ns)
        uv_stop(&service->loop);
}

/* ---- Serving ----------------------------------------------------------------------------------
 */

static void on_line(void *userdata, uint64_t guild_id, const char *template_name, int level,
                    const char *text, size_t length)
{
    (void)userdata;
    log_template(level == 0   ? LOG_INFO
                 : level == 1 ? LOG_WARN
                              : LOG_ERROR,
                 guild_id, template_name, text, length);
}

static void on_close(uv_handle_t *handle)
{
    (void)handle;
}

/* From here on signals are ours, until end_loop: one that comes while the server starts ends it
 * when it has, and no moment is left in which one kills it. */
static void begin_loop(Service *service)
{
    uv_loop_init(&service->loop);
    uv_timer_init(&service->loop, &service->tick);
    uv_signal_init(&service->loop, &service->terminate);
    uv_signal_init(&service->loop, &service->interrupt);
    service->tick.data = service->terminate.data = service->interrupt.data = service;
    uv_signal_start(&service->terminate, on_signal, SIGTERM);
    uv_signal_start(&service->interrupt, on_signal, SIGINT);
}

/* Until the work is done, or the patience after a signal is. */
static void wait_for_end(Service *service)
{
    uv_timer_start(&service->tick, on_tick, TICK_MS, TICK_MS);
    uv_run(&service->loop, UV_RUN_DEFAULT);
}

/* When this is the only thread: any other would take signals that nobody listens to any more, and a
 * late one must not turn a good end into a bad one. */
static void end_loop(Service *service)
{
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ending, NULL);
    uv_close((uv_handle_t *)&service->tick, on_close);
    uv_close((uv_handle_t *)&service->terminate, on_close);
    uv_close((uv_handle_t *)&service->interrupt, on_close);
    uv_run(&service->loop, UV_RUN_DEFAULT);
    uv_loop_close(&service->loop);
}

static bool start(Service *service, ServeOptions *options, char *error, size_t error_size)
{
    DispatcherOptions dispatcher;
    service->api = api_start(&options->api, error, error_size);
    if (!service->api)
        return false;
    options->worker.io = api_io(service->api);
    backing_worker(service->backing, &options->worker);
    service->worker = worker_start(&options->worker, error, error_size);
    if (!service->worker)
        return false;
    dispatcher_default_options(&dispatcher);
    dispatcher_use_worker(&dispatcher, service->worker);
    dispatcher.templates = options->api.templates;
    service->dispatcher = dispatcher_new(&dispatcher);
    if (!service->dispatcher) {
        snprintf(error, error_size, "not enough memory");
        return false;
    }
    if (!backing_start(service->backing, service->worker, service->dispatcher, error, error_size))
        return false;
    api_connect(service->api, service->worker, service->dispatcher);
    return true;
}

/* Also of what did not start. With the worker all requests end; then those who asked get their
 * answers. */
static void stop(Service *service, bool started)
{
    if (service->backing)
        backing_stop(service->backing);
    worker_stop(service->worker);
    if (service->backing)
        backing_settle(service->backing);
    dispatcher_free(service->dispatcher);
    if (started)
        api_flush(service->api, FLUSH_MS * CLOCK_NS_PER_MS);
}

/* What there is to serve. False: text in error. */
static bool open_sources(Service *service, ServeOptions *options, KhronosSandbox *sandbox,
                         char *error, size_t error_size)
{
    bool keep_sources = options->worker.strategy == WORKER_PROCESS_POOL; /* they are sent there */
    if (options->templates) {
        options->folder = templates_open(sandbox, options->templates, error, error_size);
        if (!options->folder)
            return false;
        if (keep_sources)
            templates_keepsources(options->folder);
    }
    service->backing = backing_open(sandbox, options->store, !options->no_samples, options->folder,
                                    keep_sources, error, error_size);
    if (!service->backing)
        return false;
    options->api.templates = backing_templates(service->backing);
    options->api.limits = &options->worker.limits;
    return true;
}

static void serve_until_end(Service *service, const ServeOptions *options)
{
    const char *host = api_host(service->api);
    unsigned port = api_port(service->api);
    log_message(LOG_INFO, "listening on http://%s:%u", host, port);
    print_welcome(options, host, port);
    wait_for_end(service);
    dispatcher_stop(service->dispatcher);
}

static int serve(ServeOptions *options, KhronosSandbox *sandbox)
{
    Service service = {0};
    char error[512];
    options->worker.sandbox = sandbox;
    options->worker.log = (KhronosLog){.line = on_line};
    begin_loop(&service);
    bool started = open_sources(&service, options, sandbox, error, sizeof(error)) &&
                   start(&service, options, error, sizeof(error));
    if (started)
        serve_until_end(&service, options);
    else
        cli_error("serve: %s", error);
    stop(&service, started);
    api_stop(service.api);
    backing_close(service.backing);
    templates_close(options->folder);
    if (started)
        log_message(LOG_INFO, "stopped");
    end_loop(&service);
    return started ? EXIT_SUCCESS : EXIT_WORK_FAILED;
}

/* ---- Arguments --------------------------------------------------------------------------------
 */

enum { TEMPLATES = 256, STORE, LISTEN, STRATEGY, NUMBERS };

/* Options that are numbers: where each goes, and how many of that place's unit one is. */
typedef struct NumberOption {
    const char *name;
    uint64_t min, max;
    uint64_t unit;
    enum { PLACE_INT, PLACE_UNSIGNED, PLACE_PORT, PLACE_64 } place;
    size_t offset;
} NumberOption;

#define WORKER_FIELD(field) offsetof(ServeOptions, worker.field)
#define API_FIELD(field) offsetof(ServeOptions, api.field)
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "sizes are set as 64-bit numbers");

static const NumberOption NUMBER_OPTIONS[] = {
    {"port", 0, 65535, 1, PLACE_PORT, API_FIELD(port)},
    {"threads", 1, 1024, 1, PLACE_INT, WORKER_FIELD(threads)},
    {"guild-threads", 1, 65536, 1, PLACE_INT, WORKER_FIELD(guild_threads_max)},
    {"processes", 1, 256, 1, PLACE_INT, WORKER_FIELD(processes)},
    {"memory-limit", 1, 4096, 1 << 20, PLACE_64, WORKER_FIELD(limits.memory_max_bytes)},
    {"cpu-limit", 1, 3600000, CLOCK_NS_PER_MS, PLACE_64, WORKER_FIELD(limits.cpu_max_ns)},
    {"wall-limit", 1, 86400000, CLOCK_NS_PER_MS, PLACE_64, WORKER_FIELD(limits.wall_max_ns)},
    {"share-limit", 0, 60000, CLOCK_NS_PER_MS, PLACE_64, WORKER_FIELD(limits.share_max_ns)},
    {"mailbox", 1, 1000000, 1, PLACE_INT, WORKER_FIELD(limits.mailbox_max)},
    {"tasks", 0, 1000000, 1, PLACE_INT, WORKER_FIELD(limits.tasks_max)},
    {"idle-shrink", 0, 86400, CLOCK_NS_PER_S, PLACE_64, WORKER_FIELD(shrink_idle_ns)},
    {"idle-destroy", 0, 31536000, CLOCK_NS_PER_S, PLACE_64, WORKER_FIELD(destroy_idle_ns)},
    {"read-timeout", 1, 3600, 1, PLACE_UNSIGNED, API_FIELD(read_timeout_s)},
};
enum { NUMBER_OPTION_COUNT = BASE_ARRAY_COUNT(NUMBER_OPTIONS) };

static bool set_number(const NumberOption *option, const char *text, ServeOptions *options)
{
    uint64_t value;
    char name[40];
    void *place = (char *)options + option->offset;
    snprintf(name, sizeof(name), "--%s", option->name);
    if (!cli_number(name, text, option->min, option->max, &value))
        return false;
    switch (option->place) {
    case PLACE_INT: *(int *)place = (int)value; break;
    case PLACE_UNSIGNED: *(unsigned *)place = (unsigned)value; break;
    case PLACE_PORT: *(uint16_t *)place = (uint16_t)value; break;
    default: *(uint64_t *)place = value * option->unit; break;
    }
    return true;
}

static bool set_text(int option, char *text, ServeOptions *options)
{
    switch (option) {
    case TEMPLATES: options->templates = text; return true;
    case STORE: options->store = text; return true;
    case LISTEN: options->api.address = text; return true;
    default:
        if (worker_strategy_parse(text, &options->worker.strategy))
            return true;
        cli_error("--strategy: expected thread-pool, thread-per-guild or process-pool, got '%s'",
                  text);
        return false;
    }
}

enum { OTHER_OPTION_COUNT = 6 };

/* -1: go on; else the exit status. */
static int read_options(int argc, char **argv, ServeOptions *options)
{
    struct option known[OTHER_OPTION_COUNT + NUMBER_OPTION_COUNT + 1] = {
        {"help", no_argument, NULL, 'h'},
        {"no-samples", no_argument, NULL, 'n'},
        {"templates", required_argument, NULL, TEMPLATES},
        {"store", required_argument, NULL, STORE},
        {"listen", required_argument, NULL, LISTEN},
        {"strategy", required_argument, NULL, STRATEGY},
    };
    for (int i = 0; i < NUMBER_OPTION_COUNT; i++)
        known[OTHER_OPTION_COUNT + i] = (struct option){NUMBER_OPTIONS[i].name, required_argument,
                                                        NULL, NUMBERS + i};
    for (int option; (option = cli_option(argc, argv, ":h", known)) != -1;) {
        if (option == 'h') {
            print_help();
            return EXIT_SUCCESS;
        }
        if (option == 'n') {
            options->no_samples = true;
            continue;
        }
        bool good = option >= NUMBERS
                        ? set_number(&NUMBER_OPTIONS[option - NUMBERS], optarg, options)
                        : option >= TEMPLATES && set_text(option, optarg, options);
        if (!good)
            return EXIT_USAGE;
    }
    if (!options->templates && !options->store)
        options->store = CLI_STORE_DEFAULT;
    if (optind == argc)
        return -1;
    cli_error("serve: '%s' is too much. See template-worker serve --help", argv[optind]);
    return EXIT_USAGE;
}

int cmd_serve(int argc, char **argv)
{
    ServeOptions options = {0};
    worker_default_options(&options.worker);
    api_default_options(&options.api);
    int exit_status = read_options(argc, argv, &options);
    if (exit_status >= 0)
        return exit_status;
    KhronosSandbox *sandbox = cli_sandbox();
    if (!sandbox)
        return EXIT_WORK_FAILED;
    exit_status = serve(&options, sandbox);
    sandbox_release(sandbox);
    return exit_status;
}
