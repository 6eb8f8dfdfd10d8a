#include "cli/run_store.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "cli/cli_store.h"
#include "worker/services.h"

#define NO_STORE_TEXT "there is no store here: name one with `template-worker run --store FILE`"

struct RunStore {
    Store *store; /* NULL: none */
    Services *services;
    WorkerCalls calls;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int under_way;                 /* taken and not given back; under the lock */
    KhronosCall *answered, **last; /* likewise: in the order in which they came */
};

/* On threads of the services and of the store. */
static void on_answer(void *userdata, KhronosCall *call)
{
    RunStore *rs = userdata;
    pthread_mutex_lock(&rs->lock);
    call->next = NULL;
    *rs->last = call;
    rs->last = &call->next;
    pthread_cond_signal(&rs->changed);
    pthread_mutex_unlock(&rs->lock);
}

static bool start_services(RunStore *rs, KhronosSandbox *sandbox, const char *path)
{
    rs->store = cli_store_open(path, true);
    if (!rs->store)
        return false;
    rs->services = services_new(sandbox, rs->store, NULL, NULL);
    if (!rs->services) {
        cli_error("not enough memory");
        return false;
    }
    services_options(rs->services, &rs->calls);
    services_answer_with(rs->services, on_answer, rs);
    return true;
}

RunStore *run_store_open(KhronosSandbox *sandbox, const char *path)
{
    RunStore *rs = calloc(1, sizeof(*rs));
    pthread_condattr_t attributes;
    if (!rs) {
        cli_error("not enough memory");
        return NULL;
    }
    rs->last = &rs->answered;
    pthread_mutex_init(&rs->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&rs->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (path && !start_services(rs, sandbox, path)) {
        run_store_close(rs);
        return NULL;
    }
    return rs;
}

static KhronosCall *take_answers(RunStore *rs)
{
    pthread_mutex_lock(&rs->lock);
    KhronosCall *list = rs->answered;
    rs->answered = NULL;
    rs->last = &rs->answered;
    for (KhronosCall *call = list; call; call = call->next)
        rs->under_way--;
    pthread_mutex_unlock(&rs->lock);
    return list;
}

bool run_store_serve(RunStore *rs, KhronosRuntime *rt)
{
    bool any = false;
    for (KhronosCall *call; (call = khronos_take_call(rt)); any = true) {
        call->next = NULL;
        pthread_mutex_lock(&rs->lock);
        rs->under_way++;
        pthread_mutex_unlock(&rs->lock);
        if (rs->services) {
            rs->calls.take(rs->calls.userdata, call);
        } else {
            call->kind->refuse(call, NO_STORE_TEXT);
            on_answer(rs, call);
        }
    }
    for (KhronosCall *call = take_answers(rs), *next; call; call = next) {
        next = call->next;
        call->next = NULL;
        khronos_answer(rt, call);
        any = true;
    }
    return any;
}

void run_store_wait(RunStore *rs, uint64_t due_ns)
{
    struct timespec due = {.tv_sec = (time_t)(due_ns / CLOCK_NS_PER_S),
                           .tv_nsec = (long)(due_ns % CLOCK_NS_PER_S)};
    pthread_mutex_lock(&rs->lock);
    while (!rs->answered) {
        if (due_ns == 0 && rs->under_way == 0)
            break;
        if (due_ns == 0)
            pthread_cond_wait(&rs->changed, &rs->lock);
        else if (pthread_cond_timedwait(&rs->changed, &rs->lock, &due) != 0)
            break;
    }
    pthread_mutex_unlock(&rs->lock);
}

void run_store_close(RunStore *rs)
{
    if (!rs)
        return;
    if (rs->services)
        services_stop(rs->services); /* whose calls are answered then */
    for (KhronosCall *call = take_answers(rs), *next; call; call = next) {
        next = call->next;
        call->kind->drop(call);
    }
    cli_store_close(rs->store);
    services_free(rs->services);
    pthread_cond_destroy(&rs->changed);
    pthread_mutex_destroy(&rs->lock);
    free(rs);
}
