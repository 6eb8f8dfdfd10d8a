#include "call_support.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "khronos/context.h"
#include "plugins/plugins.h"
#include "worker/strategy.h"

static atomic_int live;

/* ---- The call ---------------------------------------------------------------------------------
 */

TestCall *test_call_new(const char *text, size_t length)
{
    TestCall *call = calloc(1, sizeof(*call));
    call->call.kind = &TEST_CALL;
    call->text = strndup(text, length);
    atomic_fetch_add(&live, 1);
    return call;
}

int test_calls_live(void)
{
    return atomic_load(&live);
}

const char *test_call_text(const KhronosCall *call)
{
    return ((const TestCall *)call)->text;
}

static void set_answer(KhronosCall *call, bool refused, const char *text, size_t length)
{
    TestCall *mine = (TestCall *)call;
    free(mine->answer);
    mine->answer = strndup(text, length);
    mine->refused = refused;
}

void test_call_answer(KhronosCall *call, const char *text)
{
    set_answer(call, false, text, strlen(text));
}

static int call_push(lua_State *L, KhronosCall *call)
{
    const TestCall *mine = (const TestCall *)call;
    if (!mine->answer)
        abort();
    if (mine->refused)
        luaL_error(L, "%s", mine->answer);
    lua_pushstring(L, mine->answer);
    return 1;
}

static void call_drop(KhronosCall *call)
{
    TestCall *mine = (TestCall *)call;
    free(mine->text);
    free(mine->answer);
    free(mine);
    atomic_fetch_sub(&live, 1);
}

static void call_refuse(KhronosCall *call, const char *text)
{
    set_answer(call, true, text, strlen(text));
}

static void call_put_request(const KhronosCall *call, Strbuf *out)
{
    strbuf_puts(out, test_call_text(call));
}

static void call_put_answer(const KhronosCall *call, Strbuf *out)
{
    const TestCall *mine = (const TestCall *)call;
    size_t size = 0;
    strbuf_putc(out, mine->refused ? 'n' : 'y');
    if (!mine->refused && sscanf(mine->answer, "re large %zu", &size) == 1)
        strbuf_reserve(out, size); /* more than there may be */
    strbuf_puts(out, mine->answer);
}

static bool call_read_answer(KhronosCall *call, const char *bytes, size_t length)
{
    if (length < 1 || (bytes[0] != 'y' && bytes[0] != 'n') || strstr(bytes, "unreadable"))
        return false;
    set_answer(call, bytes[0] == 'n', bytes + 1, length - 1);
    return true;
}

const KhronosCallKind TEST_CALL = {
    .number = TEST_CALL_KIND,
    .push = call_push,
    .drop = call_drop,
    .refuse = call_refuse,
    .put_request = call_put_request,
    .put_answer = call_put_answer,
    .read_answer = call_read_answer,
};

KhronosCall *test_call_read(void *userdata, int kind, const char *bytes, size_t length)
{
    (void)userdata;
    if (kind != TEST_CALL_KIND || strncmp(bytes, "bad", 3) == 0)
        return NULL;
    return &test_call_new(bytes, length)->call;
}

/* ---- The module -------------------------------------------------------------------------------
 */

static int native_ask(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    double bytes = luaL_optnumber(L, 2, 0);
    TestCall *call = test_call_new(text, length);
    call->call.bytes = (size_t)bytes;
    return khronos_call(L, &call->call);
}

static void open_call(lua_State *L)
{
    static const luaL_Reg functions[] = {{"ask", native_ask}, {NULL, NULL}};
    lua_newtable(L);
    luaL_register(L, NULL, functions);
}

static int context_asker(lua_State *L)
{
    char text[64];
    snprintf(text, sizeof(text), "asker of %" PRIu64, context_guild(L, 1));
    lua_pushstring(L, text);
    return 1;
}

const KhronosPlugin TEST_CALL_PLUGIN = {
    .namespace_name = "@test",
    .name = "call",
    .open = open_call,
    .context_field = "Asker",
    .context_value = context_asker,
};

KhronosSandbox *test_call_sandbox(void)
{
    char error[256] = "";
    int count;
    const KhronosPlugin *plugins = plugins_all(&count);
    KhronosPlugin *all = calloc((size_t)count + 1, sizeof(*all));
    memcpy(all, plugins, (size_t)count * sizeof(*all));
    all[count] = TEST_CALL_PLUGIN;
    KhronosSandbox *sandbox = sandbox_new(all, count + 1, error, sizeof(error));
    free(all);
    if (!sandbox)
        fail_msg("no sandbox: %s", error);
    return sandbox;
}

/* ---- The service ------------------------------------------------------------------------------
 */

struct TestService {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    Worker *worker;
    Strategy *strategy;
    KhronosCall *later, *batch, *held; /* by next, the last one first */
    int batch_count, held_count;
    int taken;
    bool stopping;
};

static void give_back(TestService *service, KhronosCall *call)
{
    call->next = NULL;
    if (service->strategy)
        service->strategy->ops->answer(service->strategy, call);
    else
        worker_answer(service->worker, call);
}

static void answer(TestService *service, KhronosCall *call)
{
    Strbuf text = STRBUF_INIT;
    strbuf_printf(&text, "re %s", test_call_text(call));
    test_call_answer(call, strbuf_cstr(&text));
    strbuf_free(&text);
    give_back(service, call);
}

static void answer_all(TestService *service, KhronosCall *calls)
{
    while (calls) {
        KhronosCall *call = calls;
        calls = call->next;
        answer(service, call);
    }
}

static void refuse_all(TestService *service, KhronosCall *calls)
{
    while (calls) {
        KhronosCall *call = calls;
        calls = call->next;
        call->kind->refuse(call, "the service stopped");
        give_back(service, call);
    }
}

static bool begins(const KhronosCall *call, const char *word)
{
    return strncmp(test_call_text(call), word, strlen(word)) == 0;
}

static void put(KhronosCall **list, KhronosCall *call)
{
    call->next = *list;
    *list = call;
}

static void take(void *userdata, KhronosCall *call)
{
    TestService *service = userdata;
    KhronosCall *full = NULL;
    pthread_mutex_lock(&service->lock);
    service->taken++;
    bool stopping = service->stopping;
    bool at_once = stopping || begins(call, "now") || begins(call, "refuse");
    if (!at_once && begins(call, "batch")) {
        put(&service->batch, call);
        if (++service->batch_count == TEST_BATCH) {
            full = service->batch;
            service->batch = NULL;
            service->batch_count = 0;
        }
    } else if (!at_once && begins(call, "never")) {
        put(&service->held, call);
        service->held_count++;
    } else if (!at_once) {
        put(&service->later, call);
    }
    pthread_cond_signal(&service->changed);
    pthread_mutex_unlock(&service->lock);
    answer_all(service, full);
    if (!at_once)
        return;
    if (stopping || begins(call, "refuse"))
        refuse_all(service, call);
    else
        answer(service, call);
}

static void *service_main(void *arg)
{
    TestService *service = arg;
    pthread_mutex_lock(&service->lock);
    while (!service->stopping) {
        KhronosCall *later = service->later;
        service->later = NULL;
        if (!later) {
            pthread_cond_wait(&service->changed, &service->lock);
            continue;
        }
        pthread_mutex_unlock(&service->lock);
        answer_all(service, later);
        pthread_mutex_lock(&service->lock);
    }
    pthread_mutex_unlock(&service->lock);
    return NULL;
}

TestService *test_service_new(WorkerOptions *options)
{
    TestService *service = calloc(1, sizeof(*service));
    pthread_mutex_init(&service->lock, NULL);
    pthread_cond_init(&service->changed, NULL);
    options->calls = (WorkerCalls){take, test_call_read, service};
    pthread_create(&service->thread, NULL, service_main, service);
    return service;
}

void test_service_use(TestService *service, Worker *worker)
{
    service->worker = worker;
}

void test_service_use_strategy(TestService *service, Strategy *strategy)
{
    service->strategy = strategy;
}

int test_service_taken(TestService *service)
{
    pthread_mutex_lock(&service->lock);
    int taken = service->taken;
    pthread_mutex_unlock(&service->lock);
    return taken;
}

int test_service_held(TestService *service)
{
    pthread_mutex_lock(&service->lock);
    int held = service->held_count;
    pthread_mutex_unlock(&service->lock);
    return held;
}

void test_service_release(TestService *service)
{
    pthread_mutex_lock(&service->lock);
    KhronosCall *held = service->held;
    service->held = NULL;
    service->held_count = 0;
    pthread_mutex_unlock(&service->lock);
    answer_all(service, held);
}

void test_service_stop(TestService *service)
{
    pthread_mutex_lock(&service->lock);
    service->stopping = true;
    pthread_cond_signal(&service->changed);
    pthread_mutex_unlock(&service->lock);
    pthread_join(service->thread, NULL);
    refuse_all(service, service->later);
    refuse_all(service, service->batch);
    refuse_all(service, service->held);
    service->later = service->batch = service->held = NULL;
}

void test_service_free(TestService *service)
{
    pthread_cond_destroy(&service->changed);
    pthread_mutex_destroy(&service->lock);
    free(service);
}
