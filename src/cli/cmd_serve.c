/* template-worker serve: worker, template cache and HTTP server under one event loop, which waits
 * for signals and ticks. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "api/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/cli.h"
#include "plugins/plugins.h"
#include "worker/templates.h"
#include "worker/worker.h"

enum { TICK_MS = 20, DRAIN_S = 30, FLUSH_MS = 2000 };

typedef struct ServeOptions {
    const char *templates;
    bool templates_given;
    WorkerOptions worker;
    ApiOptions api;
} ServeOptions;

typedef struct Service {
    uv_loop_t loop;
    uv_timer_t tick;
    uv_signal_t terminate, interrupt;
    Worker *worker;
    ApiServer *api;
    uint64_t drain_until_ns; /* 0: not shutting down */
} Service;

/* Where it is, and a line to paste that shows it at work. */
static void print_welcome(const ServeOptions *options, const char *host, unsigned port,
                          TemplateCache *templates)
{
    char name[TEMPLATE_NAME_SIZE];
    printf("Serving %s on http://%s:%u\n", options->templates, host, port);
    if (templates_example(templates, name))
        printf("Try: curl -s http://%s:%u/execute -H 'Content-Type: application/json' -d "
               "'{\"template\": \"%s\", \"event\": {\"name\": \"Hello\", \"data\": {\"name\": "
               "\"Ada\"}}, \"context\": {\"guild_id\": \"1\"}}'\n",
               host, port, name);
    else
        printf("No template there yet: save one as %s/NAME.luau.\n", options->templates);
    fflush(stdout);
}

static void print_help(void)
{
    puts("usage: template-worker serve [OPTIONS]\n"
         "\n"
         "  --templates FOLDER   NAME.luau, or NAME/init.luau with its files (templates)\n"
         "  --listen ADDRESS     a loopback address: 127.0.0.1, ::1, ... (127.0.0.1)\n"
         "  --port N             0 takes any free port (60000)\n"
         "  --threads N          threads that serve sockets and run guilds (one for each\n"
         "                       processor)\n"
         "  --memory-limit MIB   memory of a guild (20)\n"
         "  --cpu-limit MS       processor time of an execution (10000)\n"
         "  --wall-limit MS      time of an execution, waits included (600000)\n"
         "  --mailbox N          actions a guild may have waiting (1024)\n"
         "  --read-timeout S     for a request to arrive, and between two (30)\n"
         "\n"
         "POST /execute runs a template, GET /healthz tells that the server lives. Templates\n"
         "are read again when they change. SIGTERM and SIGINT end the server once what runs\n"
         "is done (30 s at most); a second one ends it at once. The log is on standard error,\n"
         "a JSON object a line.");
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
    log_template(level == 0 ? LOG_INFO : LOG_WARN, guild_id, template_name, text, length);
}

static void on_close(uv_handle_t *handle)
{
    (void)handle;
}

/* Until the work is done, or the patience after a signal is. Signals stay ours until end_loop. */
static void wait_for_end(Service *service)
{
    uv_loop_init(&service->loop);
    uv_timer_init(&service->loop, &service->tick);
    uv_signal_init(&service->loop, &service->terminate);
    uv_signal_init(&service->loop, &service->interrupt);
    service->tick.data = service->terminate.data = service->interrupt.data = service;
    uv_timer_start(&service->tick, on_tick, TICK_MS, TICK_MS);
    uv_signal_start(&service->terminate, on_signal, SIGTERM);
    uv_signal_start(&service->interrupt, on_signal, SIGINT);
    uv_run(&service->loop, UV_RUN_DEFAULT);
}

static void end_loop(Service *service)
{
    /* From here on nobody listens, and a late signal must not turn a good end into a bad one. */
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

static int serve(ServeOptions *options, KhronosSandbox *sandbox)
{
    Service service = {0};
    char error[512];
    int exit_status = EXIT_WORK_FAILED;
    options->worker.sandbox = sandbox;
    options->worker.log = (KhronosLog){.line = on_line};
    TemplateCache *templates = templates_open(sandbox, options->templates, error, sizeof(error));
    if (templates) {
        options->api.templates = templates;
        options->api.limits = &options->worker.limits;
        service.api = api_start(&options->api, error, sizeof(error));
    }
    if (service.api) {
        options->worker.io = api_io(service.api);
        service.worker = worker_start(&options->worker, error, sizeof(error));
    }
    if (service.worker) {
        const char *host = api_host(service.api);
        unsigned port = api_port(service.api);
        int count = templates_count(templates);
        log_message(LOG_INFO, "listening on http://%s:%u, %d template%s", host, port, count,
                    count == 1 ? "" : "s");
        print_welcome(options, host, port, templates);
        wait_for_end(&service);
        worker_stop(service.worker);
        api_flush(service.api, FLUSH_MS * CLOCK_NS_PER_MS);
        end_loop(&service);
        log_message(LOG_INFO, "stopped");
        exit_status = EXIT_SUCCESS;
    } else {
        cli_error("serve: %s%s", error,
                  templates || options->templates_given ? ""
                                                        : " (--templates says where they are)");
    }
    api_stop(service.api);
    templates_close(templates);
    return exit_status;
}

/* ---- Arguments --------------------------------------------------------------------------------
 */

enum { TEMPLATES = 256, LISTEN, PORT, THREADS, MEMORY, CPU, WALL, MAILBOX, READ_TIMEOUT };

static const char *option_name(const struct option *options, int value)
{
    while (options->val != value)
        options++;
    return options->name;
}

static bool set_number(int option, const char *plain_name, const char *text,
                       ServeOptions *serve_options)
{
    uint64_t value;
    char name[40];
    snprintf(name, sizeof(name), "--%s", plain_name);
    switch (option) {
    case PORT:
        if (!cli_number(name, text, 0, 65535, &value))
            return false;
        serve_options->api.port = (uint16_t)value;
        return true;
    case THREADS:
        if (!cli_number(name, text, 1, 1024, &value))
            return false;
        serve_options->worker.threads = (int)value;
        return true;
    case MEMORY:
        if (!cli_number(name, text, 1, 4096, &value))
            return false;
        serve_options->worker.limits.memory_max_bytes = (size_t)value << 20;
        return true;
    case CPU:
        if (!cli_number(name, text, 1, 3600000, &value))
            return false;
        serve_options->worker.limits.cpu_max_ns = value * CLOCK_NS_PER_MS;
        return true;
    case WALL:
        if (!cli_number(name, text, 1, 86400000, &value))
            return false;
        serve_options->worker.limits.wall_max_ns = value * CLOCK_NS_PER_MS;
        return true;
    case READ_TIMEOUT:
        if (!cli_number(name, text, 1, 3600, &value))
            return false;
        serve_options->api.read_timeout_s = (unsigned)value;
        return true;
    default:
        if (!cli_number(name, text, 1, 1000000, &value))
            return false;
        serve_options->worker.mailbox_max = (int)value;
        return true;
    }
}

int cmd_serve(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'},
                                            {"templates", required_argument, NULL, TEMPLATES},
                                            {"listen", required_argument, NULL, LISTEN},
                                            {"port", required_argument, NULL, PORT},
                                            {"threads", required_argument, NULL, THREADS},
                                            {"memory-limit", required_argument, NULL, MEMORY},
                                            {"cpu-limit", required_argument, NULL, CPU},
                                            {"wall-limit", required_argument, NULL, WALL},
                                            {"mailbox", required_argument, NULL, MAILBOX},
                                            {"read-timeout", required_argument, NULL, READ_TIMEOUT},
                                            {0}};
    ServeOptions serve_options = {.templates = "templates"};
    worker_default_options(&serve_options.worker);
    api_default_options(&serve_options.api);
    for (int option; (option = cli_option(argc, argv, ":h", options)) != -1;) {
        switch (option) {
        case 'h': print_help(); return EXIT_SUCCESS;
        case TEMPLATES:
            serve_options.templates = optarg;
            serve_options.templates_given = true;
            break;
        case LISTEN: serve_options.api.address = optarg; break;
        case '?': return EXIT_USAGE;
        default:
            if (!set_number(option, option_name(options, option), optarg, &serve_options))
                return EXIT_USAGE;
            break;
        }
    }
    if (optind < argc) {
        cli_error("serve: '%s' is too much. See template-worker serve --help", argv[optind]);
        return EXIT_USAGE;
    }
    char error[256];
    int count;
    const KhronosPlugin *plugins = plugins_all(&count);
    KhronosSandbox *sandbox = sandbox_new(plugins, count, error, sizeof(error));
    if (!sandbox) {
        cli_error("serve: cannot build the sandbox: %s", error);
        return EXIT_WORK_FAILED;
    }
    int exit_status = serve(&serve_options, sandbox);
    sandbox_release(sandbox);
    return exit_status;
}
