/* POST /execute when the template is not at hand: the call waits, goes on when the answer is there,
 * is refused when there is none, and is sent away when its time is up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/server.h"
#include "base/clock.h"

enum { PATIENCE_S = 120 };

/* A source with one template, "t", for who asks by name. */
typedef struct Late {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    KhronosTemplate *t;
    bool at_hand;
    TemplateLookup *asked;
} Late;

typedef struct Bench {
    KhronosSandbox *sandbox;
    Late late;
    WorkerOptions worker_options;
    ApiOptions api_options;
    ApiServer *api;
    Worker *worker;
    Dispatcher *dispatcher;
    pthread_t ticker;
    atomic_bool ending;
} Bench;

static void found(const Late *late, TemplateLookup *lookup)
{
    template_lookup_clear(lookup);
    if (!lookup->name.data || (lookup->name.length == 1 && lookup->name.data[0] == 't'))
        lookup->found[lookup->count++] = template_retain(late->t);
}

static bool look_up(void *self, TemplateLookup *lookup)
{
    Late *late = self;
    pthread_mutex_lock(&late->lock);
    bool at_hand = late->at_hand;
    if (!at_hand && lookup->complete) {
        late->asked = lookup;
        pthread_cond_signal(&late->changed);
    }
    pthread_mutex_unlock(&late->lock);
    if (at_hand)
        found(late, lookup);
    return at_hand;
}

static TemplateLookup *take_asked(Late *late)
{
    pthread_mutex_lock(&late->lock);
    while (!late->asked)
        pthread_cond_wait(&late->changed, &late->lock);
    TemplateLookup *lookup = late->asked;
    late->asked = NULL;
    pthread_mutex_unlock(&late->lock);
    return lookup;
}

static void answer(Late *late)
{
    TemplateLookup *lookup = take_asked(late);
    found(late, lookup);
    lookup->complete(lookup);
}

/* ---- The server -------------------------------------------------------------------------------
 */

static void *tick_main(void *arg)
{
    Bench *b = arg;
    while (!atomic_load(&b->ending)) {
        api_tick(b->api);
        usleep(10000);
    }
    return NULL;
}

static int set_up(void **state)
{
    static const char source[] = "local event, ctx = ... return {event.name, ctx.guild_id}";
    char error[512];
    DispatcherOptions options;
    Bench *b = calloc(1, sizeof(*b));
    b->sandbox = sandbox_new(NULL, 0, error, sizeof(error));
    pthread_mutex_init(&b->late.lock, NULL);
    pthread_cond_init(&b->late.changed, NULL);
    b->late.t = template_new(b->sandbox, "t", 3, "");
    assert_true(template_addfile(b->late.t, "init.luau", NULL, strdup(source), strlen(source),
                                 error, sizeof(error)));
    worker_default_options(&b->worker_options);
    api_default_options(&b->api_options);
    b->api_options.port = 0;
    b->api_options.templates = (TemplateSource){look_up, &b->late};
    b->api_options.limits = &b->worker_options.limits;
    b->api = api_start(&b->api_options, error, sizeof(error));
    assert_non_null(b->api);
    b->worker_options.threads = 2;
    b->worker_options.sandbox = b->sandbox;
    b->worker_options.io = api_io(b->api);
    b->worker = worker_start(&b->worker_options, error, sizeof(error));
    assert_non_null(b->worker);
    dispatcher_default_options(&options);
    dispatcher_use_worker(&options, b->worker);
    options.templates = b->api_options.templates;
    b->dispatcher = dispatcher_new(&options);
    api_connect(b->api, b->worker, b->dispatcher);
    assert_int_equal(pthread_create(&b->ticker, NULL, tick_main, b), 0);
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    Bench *b = *state;
    atomic_store(&b->ending, true);
    pthread_join(b->ticker, NULL);
    api_refuse(b->api);
    dispatcher_stop(b->dispatcher);
    worker_stop(b->worker);
    dispatcher_free(b->dispatcher);
    api_stop(b->api);
    template_release(b->late.t);
    sandbox_release(b->sandbox);
    pthread_cond_destroy(&b->late.changed);
    pthread_mutex_destroy(&b->late.lock);
    free(b);
    return 0;
}

/* ---- Requests ---------------------------------------------------------------------------------
 */

static int send_request(Bench *b, const char *method_and_path, const char *body)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(api_port(b->api))};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    char text[2048];
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    int length = snprintf(text, sizeof(text),
                          "%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                          method_and_path, strlen(body), body);
    assert_int_equal(send(fd, text, (size_t)length, 0), length);
    return fd;
}

/* Reads to the end; the status. */
static int receive(int fd, char *out, size_t size)
{
    size_t length = 0;
    for (ssize_t got;
         length < size - 1 && (got = recv(fd, out + length, size - 1 - length, 0)) > 0;)
        length += (size_t)got;
    out[length] = '\0';
    close(fd);
    return length > 12 ? atoi(out + 9) : 0;
}

#define EXECUTE(name, wait_ms)                                                                     \
    "{\"template\": \"" name "\", \"event\": {\"name\": \"Hello\"}, \"context\": "                 \
    "{\"guild_id\": \"77\"}, \"wait_ms\": " #wait_ms "}"

static void contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no %s in\n%s", part, text);
}

/* ---- Tests ------------------------------------------------------------------------------------
 */

static void test_late_and_at_hand(void **state)
{
    Bench *b = *state;
    char text[4096];
    int fd = send_request(b, "POST /execute", EXECUTE("t", 600000));
    answer(&b->late);
    assert_int_equal(receive(fd, text, sizeof(text)), 200);
    contains(text, "\"template\":\"t\",\"version\":3,\"result\":[\"Hello\",\"77\"]");
    pthread_mutex_lock(&b->late.lock);
    b->late.at_hand = true;
    pthread_mutex_unlock(&b->late.lock);
    fd = send_request(b, "POST /execute", EXECUTE("t", 600000));
    assert_int_equal(receive(fd, text, sizeof(text)), 200);
    contains(text, "\"result\":[\"Hello\",\"77\"]");
}

static void test_not_found(void **state)
{
    Bench *b = *state;
    char text[4096];
    int fd = send_request(b, "POST /execute", EXECUTE("none", 600000));
    answer(&b->late);
    assert_int_equal(receive(fd, text, sizeof(text)), 404);
    contains(text, "\"code\":\"not_found\"");
}

static void test_unavailable(void **state)
{
    Bench *b = *state;
    static const char *const paths[] = {"POST /execute", "POST /execute?wait=0",
                                        "POST /guilds/77/events?wait=1"};
    char text[4096];
    for (int i = 0; i < 3; i++) {
        int fd = send_request(b, paths[i], i == 2 ? "{\"name\": \"Hello\"}" : EXECUTE("t", 600000));
        TemplateLookup *lookup = take_asked(&b->late);
        template_lookup_clear(lookup);
        template_lookup_fail(lookup, "the store's disk is full");
        lookup->complete(lookup);
        assert_int_equal(receive(fd, text, sizeof(text)), 503);
        contains(text, "\"code\":\"not_ready\",\"message\":\"the store's disk is full\"");
        contains(text, "Retry-After: 1\r\n");
    }
}

/* The caller's time is up before the answer: nothing runs. */
static void test_too_late(void **state)
{
    Bench *b = *state;
    char text[4096];
    WorkerStats before, after;
    worker_stats(b->worker, &before);
    int fd = send_request(b, "POST /execute", EXECUTE("t", 1));
    TemplateLookup *lookup = take_asked(&b->late);
    assert_int_equal(receive(fd, text, sizeof(text)), 503);
    contains(text, "\"code\":\"not_ready\"");
    contains(text, "nothing ran");
    found(&b->late, lookup);
    lookup->complete(lookup);
    worker_stats(b->worker, &after);
    assert_int_equal(after.waiting, 0);
    assert_int_equal(after.executions, before.executions);
}

int main(void)
{
#define BENCHED(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        BENCHED(test_late_and_at_hand),
        BENCHED(test_not_found),
        BENCHED(test_unavailable),
        BENCHED(test_too_late),
    };
    return cmocka_run_group_tests_name("api-late", tests, NULL, NULL);
}
