/* A call on its way: taken (allowances), perhaps checked, submitted, answered. Nothing of a call is
 * believed but its guild, which the worker filled in: templates may run in another process.
 *
 * What is to be saved waits in one queue for the thread that compiles; few of each guild, so that
 * no guild has the queue for itself. */
#include "worker/services.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"
#include "base/clock.h"
#include "plugins/store_call.h"
#include "worker/allowance.h"
#include "worker/store_templates.h"

struct Services {
    KhronosSandbox *sandbox;
    Store *store;
    KhronosClock clock;
    void *clock_userdata;
    void (*answer)(void *userdata, KhronosCall *call);
    void *answer_userdata;
    Allowance operations, saves;
    pthread_t checker;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* something to check; or stopping; or the last call is answered */
    /* -- under the lock -- */
    KhronosCall *first, *last; /* to be checked */
    int waiting;
    size_t waiting_bytes;
    size_t under_way; /* taken and not answered */
    bool stopping;    /* calls are refused, and what waits to be checked, too */
    bool ending;      /* the thread is to end */
};

static StoreCall *store_call_of(KhronosCall *call)
{
    return (StoreCall *)call; /* its first member */
}

/* ---- Answers ----------------------------------------------------------------------------------
 */

static void answer(Services *s, KhronosCall *call)
{
    s->answer(s->answer_userdata, call);
    pthread_mutex_lock(&s->lock);
    if (--s->under_way == 0)
        pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void refuse(Services *s, KhronosCall *call, const char *text)
{
    call->kind->refuse(call, text);
    answer(s, call);
}

static void on_stored(StoreRequest *request)
{
    StoreCall *call = request->userdata;
    answer(call->call.owner, &call->call);
}

static void submit(Services *s, KhronosCall *call)
{
    StoreCall *stored = store_call_of(call);
    call->owner = s;
    stored->request->complete = on_stored;
    stored->request->userdata = stored;
    store_submit(s->store, stored->request);
}

/* ---- Allowances -------------------------------------------------------------------------------
 */

static uint64_t now_ns(const Services *s)
{
    return s->clock ? s->clock(s->clock_userdata) : clock_monotonic_ns();
}

/* Rounded up: whoever waits so long has enough. */
static void put_seconds(char *out, size_t size, uint64_t ns)
{
    uint64_t hundredths = (ns + CLOCK_NS_PER_S / 100 - 1) / (CLOCK_NS_PER_S / 100);
    snprintf(out, size, "%llu.%02llu", (unsigned long long)(hundredths / 100),
             (unsigned long long)(hundredths % 100));
}

static bool is_change(StoreOp op)
{
    return op == STORE_SAVE || op == STORE_DELETE || op == STORE_ACTIVATE;
}

/* False: text says why. */
static bool charge(Services *s, const KhronosCall *call, const StoreRequest *request, char *text,
                   size_t size)
{
    bool change = is_change(request->op);
    uint32_t count = request->op == STORE_KV ? (uint32_t)request->op_count : 1;
    uint64_t wait_ns = allowance_take(change ? &s->saves : &s->operations, call->guild_id, count,
                                      now_ns(s));
    char seconds[32];
    if (wait_ns == 0)
        return true;
    put_seconds(seconds, sizeof(seconds), wait_ns);
    if (wait_ns == ALLOWANCE_NO_MEMORY)
        snprintf(text, size, "not enough memory");
    else if (change)
        snprintf(
            text, size,
            "rate limit: %d changes of templates a minute for a guild; try again in %s seconds",
            TEMPLATE_SAVES_PER_MINUTE, seconds);
    else
        snprintf(text, size,
                 "rate limit: %d operations a second for a guild; try again in %s "
                 "seconds",
                 KV_OPS_PER_SECOND, seconds);
    return false;
}

/* ---- Checking ---------------------------------------------------------------------------------
 */

static int count_waiting(const Services *s, uint64_t guild_id)
{
    int count = 0;
    for (const KhronosCall *call = s->first; call; call = call->next)
        count += call->guild_id == guild_id;
    return count;
}

/* For the checking thread. NULL, or why not. */
static const char *enqueue(Services *s, KhronosCall *call)
{
    const char *wrong = NULL;
    size_t bytes = store_call_of(call)->request->bytes;
    pthread_mutex_lock(&s->lock);
    if (s->stopping) {
        wrong = "the server is shutting down";
    } else if (s->waiting >= SAVES_WAITING_MAX ||
               bytes > SAVES_WAITING_BYTES_MAX - s->waiting_bytes) {
        wrong = "too many templates wait to be checked; try again in a moment";
    } else if (count_waiting(s, call->guild_id) >= SAVES_WAITING_GUILD_MAX) {
        wrong = "too many templates of this guild wait to be checked; save one after another";
    } else {
        call->next = NULL;
        *(s->first ? &s->last->next : &s->first) = call;
        s->last = call;
        s->waiting++;
        s->waiting_bytes += bytes;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return wrong;
}

static void check(Services *s, KhronosCall *call)
{
    StoreRequest *request = store_call_of(call)->request;
    char error[1024];
    if (template_check(s->sandbox, request->save, error, sizeof(error), NULL, NULL)) {
        submit(s, call);
        return;
    }
    store_request_fail(request, STORE_INVALID, error);
    answer(s, call);
}

static void *checker_main(void *arg)
{
    Services *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->ending || s->first) {
        KhronosCall *call = s->first;
        bool stopping = s->stopping;
        if (!call) {
            pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        s->first = call->next;
        s->waiting--;
        s->waiting_bytes -= store_call_of(call)->request->bytes;
        pthread_mutex_unlock(&s->lock);
        call->next = NULL;
        if (stopping)
            refuse(s, call, "the server is shutting down");
        else
            check(s, call);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- Calls ------------------------------------------------------------------------------------
 */

/* NULL, or why it cannot be done. */
static const char *examine(const KhronosCall *call)
{
    if (call->kind->number != STORE_CALL_KIND)
        return "nobody serves this call";
    const StoreRequest *request = ((const StoreCall *)call)->request;
    if (!request || !store_op_is_tenants(request->op))
        return "the store cannot do this for a template";
    if (request->op == STORE_KV && (request->op_count < 1 || request->op_count > STORE_ATOMIC_MAX))
        return "at most 64 operations at once, and at least one";
    if (request->op == STORE_SAVE && !request->save)
        return "nothing to save";
    return NULL;
}

static bool admit(Services *s)
{
    pthread_mutex_lock(&s->lock);
    bool open = !s->stopping;
    s->under_way++; /* a refusal is on its way, too */
    pthread_mutex_unlock(&s->lock);
    return open;
}

static void take(void *userdata, KhronosCall *call)
{
    Services *s = userdata;
    char text[160];
    const char *wrong = admit(s) ? examine(call) : "the server is shutting down";
    if (!wrong) {
        StoreRequest *request = store_call_of(call)->request;
        request->guild_id = call->guild_id;
        if (!charge(s, call, request, text, sizeof(text)))
            wrong = text;
        else if (request->op == STORE_SAVE)
            wrong = enqueue(s, call);
        else
            submit(s, call);
        if (!wrong)
            return; /* it may be answered, and gone */
    }
    refuse(s, call, wrong);
}

static KhronosCall *read_call(void *userdata, int kind, const char *bytes, size_t length)
{
    (void)userdata;
    return kind == STORE_CALL_KIND ? store_call_read(bytes, length) : NULL;
}

/* ---- Life -------------------------------------------------------------------------------------
 */

Services *services_new(KhronosSandbox *sandbox, Store *store, KhronosClock clock,
                       void *clock_userdata)
{
    Services *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->sandbox = sandbox_retain(sandbox);
    s->store = store;
    s->clock = clock;
    s->clock_userdata = clock_userdata;
    allowance_init(&s->operations, KV_OPS_PER_SECOND, CLOCK_NS_PER_S);
    allowance_init(&s->saves, TEMPLATE_SAVES_PER_MINUTE, 60 * CLOCK_NS_PER_S);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    if (pthread_create(&s->checker, NULL, checker_main, s) == 0)
        return s;
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    allowance_free(&s->operations);
    allowance_free(&s->saves);
    sandbox_release(s->sandbox);
    free(s);
    return NULL;
}

void services_options(Services *services, WorkerCalls *calls)
{
    *calls = (WorkerCalls){.take = take, .read = read_call, .userdata = services};
}

void services_answer_with(Services *services,
                          void (*answer_call)(void *userdata, KhronosCall *call), void *userdata)
{
    services->answer = answer_call;
    services->answer_userdata = userdata;
}

void services_stop(Services *services)
{
    pthread_mutex_lock(&services->lock);
    services->stopping = true;
    pthread_cond_broadcast(&services->changed);
    while (services->under_way > 0)
        pthread_cond_wait(&services->changed, &services->lock);
    pthread_mutex_unlock(&services->lock);
}

void services_free(Services *services)
{
    if (!services)
        return;
    pthread_mutex_lock(&services->lock);
    BASE_ASSERT(services->under_way == 0);
    services->ending = true;
    pthread_cond_broadcast(&services->changed);
    pthread_mutex_unlock(&services->lock);
    pthread_join(services->checker, NULL);
    allowance_free(&services->operations);
    allowance_free(&services->saves);
    pthread_cond_destroy(&services->changed);
    pthread_mutex_destroy(&services->lock);
    sandbox_release(services->sandbox);
    free(services);
}
