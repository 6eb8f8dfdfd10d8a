/* store.c: the store on a file: operations a second, latency, and what a write costs.
 *
 *     store [-t THREADS] [-w WINDOW] [-g GUILDS] [-k KEYS] [-v BYTES] [-d SECONDS] FOLDER [PART...]
 *
 * Each thread keeps WINDOW requests of one key-value operation under way, over GUILDS guilds of
 * KEYS keys each. A write that came back is on disk, so where FOLDER lies decides what is measured.
 *
 * set     values of BYTES, made first and overwritten then
 * get     what `set` left
 * mixed   four gets for each set
 * expiry  sets with an expiry that is far away
 * due     the time of STORE_DUE_NEXT and of taking 100, with what `expiry` left to come
 *
 * `writes a commit` is what group commit makes of it: a commit is one fsync of the log. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/sqlite.h"

enum { LATENCIES_MAX = 4 << 20, TAKE_COUNT = 100, FAR_MS = 1000000000 };

typedef enum Part { SET, GET, MIXED, EXPIRY, DUE, PARTS } Part;
static const char *const PART_NAMES[PARTS] = {"set", "get", "mixed", "expiry", "due"};

typedef struct Bench {
    const char *folder;
    int threads, window, guilds, keys, value_bytes;
    int seconds;
    Store *store;
    char *value;
    Part part;
    uint64_t end_ns;
} Bench;

typedef struct Client {
    Bench *bench;
    pthread_t thread;
    uint64_t seed;
    uint32_t *latencies_us;
    int64_t count, failures;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    StoreRequest *back; /* came back; linked by queue_next, under the lock */
} Client;

static void die(const char *what)
{
    fprintf(stderr, "store: %s\n", what);
    exit(1);
}

static uint64_t next_random(Client *client)
{
    client->seed ^= client->seed << 13;
    client->seed ^= client->seed >> 7;
    client->seed ^= client->seed << 17;
    return client->seed;
}

static void came_back(StoreRequest *request)
{
    Client *client = request->userdata;
    pthread_mutex_lock(&client->lock);
    request->queue_next = client->back;
    client->back = request;
    pthread_cond_signal(&client->changed);
    pthread_mutex_unlock(&client->lock);
}

/* All requests that came back; waits for one. */
static StoreRequest *collect(Client *client)
{
    pthread_mutex_lock(&client->lock);
    while (client->back == NULL)
        pthread_cond_wait(&client->changed, &client->lock);
    StoreRequest *back = client->back;
    client->back = NULL;
    pthread_mutex_unlock(&client->lock);
    return back;
}

static void submit(Client *client)
{
    static const Text SCOPES[] = {{"users", 5}, {"bench", 5}};
    Bench *b = client->bench;
    uint64_t guild_id = 1 + next_random(client) % (uint64_t)b->guilds;
    StoreRequest *request = store_request_new(STORE_KV, guild_id << 22);
    char key[32];
    int length = snprintf(key, sizeof key, "user:%llu",
                          (unsigned long long)(next_random(client) % (uint64_t)b->keys));
    StoreKvOp *op = request ? store_request_alloc(request, sizeof *op) : NULL;
    if (op == NULL)
        die("out of memory");
    op->which.key = store_request_text(request, (Text){key, (size_t)length});
    op->which.scopes = SCOPES;
    op->which.scope_count = 2;
    bool sets = b->part == SET || b->part == EXPIRY ||
                (b->part == MIXED && next_random(client) % 5 == 0);
    op->kind = sets ? STORE_KV_SET : STORE_KV_GET;
    op->value = (Text){b->value, (size_t)b->value_bytes};
    if (b->part == EXPIRY) {
        op->expires = STORE_SET;
        op->expires_ms = (int64_t)clock_wall_ms() + FAR_MS + (int64_t)(next_random(client) % 1000);
    }
    request->ops = op;
    request->op_count = 1;
    request->complete = came_back;
    request->userdata = client;
    store_submit(b->store, request);
}

static void *client_main(void *arg)
{
    Client *client = arg;
    Bench *b = client->bench;
    int under_way = 0;
    for (; under_way < b->window; under_way++)
        submit(client);
    while (under_way > 0) {
        StoreRequest *next;
        for (StoreRequest *request = collect(client); request != NULL; request = next) {
            next = request->queue_next;
            uint64_t now_ns = clock_monotonic_ns();
            if (request->status != STORE_OK)
                client->failures++;
            else if (client->count < LATENCIES_MAX)
                client->latencies_us[client->count++] =
                    (uint32_t)((now_ns - request->submitted_ns) / CLOCK_NS_PER_US);
            store_request_free(request);
            if (now_ns < b->end_ns)
                submit(client);
            else
                under_way--;
        }
    }
    return NULL;
}

static int compare_latencies(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static void report(Bench *b, Client *clients, double seconds, uint64_t writes, uint64_t commits)
{
    int64_t count = 0, failures = 0;
    for (int i = 0; i < b->threads; i++) {
        count += clients[i].count;
        failures += clients[i].failures;
    }
    uint32_t *all = malloc((size_t)(count + 1) * sizeof *all);
    if (all == NULL)
        die("out of memory");
    size_t length = 0;
    for (int i = 0; i < b->threads; i++) {
        memcpy(all + length, clients[i].latencies_us, (size_t)clients[i].count * sizeof *all);
        length += (size_t)clients[i].count;
    }
    qsort(all, length, sizeof *all, compare_latencies);
    all[length] = 0;
    printf("%-7s %9.0f/s   50%% %8.3f ms   99%% %8.3f ms   %lld failed", PART_NAMES[b->part],
           (double)count / seconds, all[length / 2] / 1e3, all[length * 99 / 100] / 1e3,
           (long long)failures);
    if (commits > 0)
        printf("   %.0f commits/s, %.1f writes a commit", (double)commits / seconds,
               (double)writes / (double)commits);
    printf("\n");
    free(all);
}

static void run_clients(Bench *b)
{
    Client *clients = calloc((size_t)b->threads, sizeof *clients);
    StoreStats before, after;
    store_stats(b->store, &before);
    uint64_t start_ns = clock_monotonic_ns();
    b->end_ns = start_ns + (uint64_t)b->seconds * CLOCK_NS_PER_S;
    for (int i = 0; i < b->threads; i++) {
        Client *client = &clients[i];
        client->bench = b;
        client->seed = UINT64_C(0x9E3779B97F4A7C15) * (uint64_t)(i + 1);
        client->latencies_us = malloc(LATENCIES_MAX * sizeof *client->latencies_us);
        pthread_mutex_init(&client->lock, NULL);
        pthread_cond_init(&client->changed, NULL);
        if (client->latencies_us == NULL ||
            pthread_create(&client->thread, NULL, client_main, client) != 0)
            die("no memory, or no thread");
    }
    for (int i = 0; i < b->threads; i++)
        pthread_join(clients[i].thread, NULL);
    double seconds = (double)(clock_monotonic_ns() - start_ns) / 1e9;
    store_stats(b->store, &after);
    report(b, clients, seconds, after.writes - before.writes, after.commits - before.commits);
    for (int i = 0; i < b->threads; i++) {
        pthread_mutex_destroy(&clients[i].lock);
        pthread_cond_destroy(&clients[i].changed);
        free(clients[i].latencies_us);
    }
    free(clients);
}

/* The time in milliseconds. */
static double time_request(Bench *b, StoreOp op, int64_t now_ms, int *count)
{
    StoreRequest *request = store_request_new(op, 1);
    if (request == NULL)
        die("out of memory");
    request->now_ms = now_ms;
    request->count_max = TAKE_COUNT;
    uint64_t start_ns = clock_monotonic_ns();
    store_wait(b->store, request);
    double took_ms = (double)(clock_monotonic_ns() - start_ns) / 1e6;
    if (request->status != STORE_OK)
        die(store_status_text(request->status));
    *count = request->due_count;
    store_request_free(request);
    return took_ms;
}

static void run_due(Bench *b)
{
    int count;
    double next_ms = time_request(b, STORE_DUE_NEXT, 0, &count);
    double none_ms = time_request(b, STORE_DUE_TAKE, 0, &count);
    double take_ms = time_request(b, STORE_DUE_TAKE, INT64_MAX, &count);
    printf("due     next %.3f ms   take nothing %.3f ms   take %d %.3f ms\n", next_ms, none_ms,
           count, take_ms);
}

static void run_store(Bench *b, char *const *parts, int part_count)
{
    char path[4096], error[512];
    StoreStatus status;
    snprintf(path, sizeof path, "%s/bench-store-%d", b->folder, (int)getpid());
    StoreOptions options = {.path = path, .exclusive = true};
    b->store = sqlite_open(&options, &status, error, sizeof error);
    if (b->store == NULL)
        die(error);
    for (int part = 0; part < PARTS; part++) {
        bool wanted = part_count == 0;
        for (int i = 0; i < part_count; i++)
            wanted |= strcmp(parts[i], PART_NAMES[part]) == 0;
        if (!wanted)
            continue;
        b->part = (Part)part;
        if (part == DUE)
            run_due(b);
        else
            run_clients(b);
    }
    store_stop(b->store);
    store_free(b->store);
    static const char *const ENDS[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < sizeof ENDS / sizeof ENDS[0]; i++) {
        char file[4200];
        snprintf(file, sizeof file, "%s%s", path, ENDS[i]);
        unlink(file);
    }
}

static int read_count(const char *text)
{
    char *end;
    long count = strtol(text, &end, 10);
    if (end == text || *end != '\0' || count < 1 || count > 1000000)
        die("a number from 1 to 1,000,000 was expected");
    return (int)count;
}

int main(int argc, char **argv)
{
    Bench b = {
        .threads = 4, .window = 64, .guilds = 100, .keys = 1000, .value_bytes = 100, .seconds = 3};
    for (int option; (option = getopt(argc, argv, "t:w:g:k:v:d:")) != -1;) {
        switch (option) {
        case 't': b.threads = read_count(optarg); break;
        case 'w': b.window = read_count(optarg); break;
        case 'g': b.guilds = read_count(optarg); break;
        case 'k': b.keys = read_count(optarg); break;
        case 'v': b.value_bytes = read_count(optarg); break;
        case 'd': b.seconds = read_count(optarg); break;
        default: return 2;
        }
    }
    if (optind == argc || b.value_bytes > STORE_VALUE_MAX)
        die("store [-t THREADS] [-w WINDOW] [-g GUILDS] [-k KEYS] [-v BYTES] [-d SECONDS] FOLDER "
            "[PART...]");
    b.folder = argv[optind];
    b.value = malloc((size_t)b.value_bytes);
    if (b.value == NULL)
        die("out of memory");
    memset(b.value, '1', (size_t)b.value_bytes);
    printf("%d threads, %d requests under way each, %d guilds, %d keys each, values of %d bytes\n",
           b.threads, b.window, b.guilds, b.keys, b.value_bytes);
    run_store(&b, argv + optind + 1, argc - optind - 1);
    free(b.value);
    return 0;
}
