/* What stands between templates and the store, while each allocation fails once: look-ups in what
 * was loaded, checks of what is to be saved, calls. Everybody gets one answer, a failure says that
 * memory was short, and afterwards everything works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../fake_store.h"
#include "base/base.h"
#include "base/log.h"
#include "fault_support.h"
#include "plugins/plugins.h"
#include "plugins/store_call.h"
#include "worker/services.h"
#include "worker/store_templates.h"

enum { GUILD = 7 };

static void assert_short_of_memory(const char *message)
{
    if (!strstr(message, "memory"))
        fail_msg("not about memory: %s", message);
}

/* ---- Look-ups ---------------------------------------------------------------------------------
 */

typedef struct Question {
    TemplateLookup lookup;
    int answers;
} Question;

static void on_found(TemplateLookup *lookup)
{
    ((Question *)lookup->userdata)->answers++;
}

static void ask(TemplateSource source, Question *q, const char *name, const KhronosEvent *event)
{
    *q = (Question){.lookup = {.guild_id = GUILD,
                               .name = {name, name ? strlen(name) : 0},
                               .event = event,
                               .complete = on_found,
                               .userdata = q}};
    if (source.look_up(source.self, &q->lookup))
        q->answers++;
}

/* What the store itself does is not what fails. */
static void answer_loads(FakeStore *fake)
{
    while (fake_store_waiting(fake) > 0) {
        StoreRequest *request = fake_store_take(fake);
        long left = fault_hold();
        fake_store_fill(fake, request);
        fault_resume(left);
        fake_store_answer(request, STORE_OK, NULL);
    }
}

static void end_question(Question *q, int count, bool may_fail)
{
    assert_int_equal(q->answers, 1);
    assert_true(may_fail || !q->lookup.failed);
    if (q->lookup.failed)
        assert_short_of_memory(q->lookup.message);
    else
        assert_int_equal(q->lookup.count, count);
    template_lookup_free(&q->lookup);
}

/* More than a look-up has room for without an allocation. */
enum { LISTENERS = TEMPLATE_LOOKUP_ROOM + 2 };

static void put_templates(FakeStore *fake)
{
    static const char NAMES[][2] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
    _Static_assert(BASE_ARRAY_COUNT(NAMES) >= LISTENERS, "a name for each");
    for (int i = 0; i < LISTENERS; i++)
        fake_store_put(fake, &(FakeStored){.guild_id = i % 2 ? GUILD : 0,
                                           .name = NAMES[i],
                                           .version = 1,
                                           .source = "return 1",
                                           .event = "Met"});
}

static void ask_all(StoreTemplates *templates, FakeStore *fake, bool may_fail)
{
    const KhronosEvent event = {.name = {"Met", 3}};
    TemplateSource source = store_templates_source(templates);
    Question questions[3];
    ask(source, &questions[0], "a", NULL);
    ask(source, &questions[1], NULL, &event);
    store_templates_changed(templates, GUILD, false); /* while it is loaded */
    ask(source, &questions[2], "b", NULL);
    answer_loads(fake);
    for (int i = 0; i < 3; i++)
        end_question(&questions[i], i == 1 ? LISTENERS : 1, may_fail);
}

static void test_lookups(void **state)
{
    KhronosSandbox *sandbox = *state;
    bool fired = true;
    for (long k = 1; fired; k++) {
        FakeStore fake;
        fake_store_init(&fake);
        put_templates(&fake);
        fault_arm(k);
        StoreTemplates *templates = store_templates_new(sandbox, 1 << 20, k % 2);
        if (templates) {
            store_templates_use(templates, &fake.store);
            ask_all(templates, &fake, true);
            fired = fault_disarm();
            store_templates_changed(templates, 0, true);
            ask_all(templates, &fake, false);
            store_templates_stop(templates);
        } else {
            assert_true(fault_disarm());
        }
        store_templates_free(templates);
        fake_store_free(&fake);
    }
}

/* ---- Checks -----------------------------------------------------------------------------------
 */

/* Whether it was found good; it was, or memory was short. */
static bool check(KhronosSandbox *sandbox, const char *source, const char *wrong, long k)
{
    char error[512] = "";
    Text event = {"Met", 3};
    StoreFile files[] = {{{"init.luau", 9}, {source, strlen(source)}},
                         {{"other.luau", 10}, {"return {}", 9}}};
    StoreTemplate t = {.name = {"name", 4},
                       .enabled = true,
                       .description = {"what it does", 12},
                       .events = &event,
                       .event_count = 1,
                       .capabilities = &event,
                       .capability_count = 1,
                       .files = files,
                       .file_count = 2};
    codecache_trim(sandbox_codecache(sandbox), 0);
    fault_arm(k);
    bool good = template_check(sandbox, &t, error, sizeof(error), NULL, NULL);
    bool fired = fault_disarm();
    if (!good && (fired || !wrong) && !(wrong && strstr(error, wrong)))
        assert_short_of_memory(error);
    if (!fired)
        assert_true(wrong ? strstr(error, wrong) != NULL : good);
    return fired;
}

static void test_checks(void **state)
{
    for (long k = 1; check(*state, "local event = ... return event.name", NULL, k); k++)
        ;
    for (long k = 1; check(*state, "local x =\nreturn +", "init.luau:2:", k); k++)
        ;
}

/* ---- Calls ------------------------------------------------------------------------------------
 */

typedef struct Answers {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    KhronosCall *call;
} Answers;

static void on_answer(void *userdata, KhronosCall *call)
{
    Answers *answers = userdata;
    pthread_mutex_lock(&answers->lock);
    assert_null(answers->call);
    answers->call = call;
    pthread_cond_signal(&answers->changed);
    pthread_mutex_unlock(&answers->lock);
}

static StoreCall *wait_for_answer(Answers *answers)
{
    pthread_mutex_lock(&answers->lock);
    while (!answers->call)
        pthread_cond_wait(&answers->changed, &answers->lock);
    KhronosCall *call = answers->call;
    answers->call = NULL;
    pthread_mutex_unlock(&answers->lock);
    return (StoreCall *)call;
}

/* As it comes from another process. NULL: no memory. */
static KhronosCall *read_call(const WorkerCalls *calls, const Strbuf *bytes)
{
    KhronosCall *call = calls->read(calls->userdata, STORE_CALL_KIND, bytes->data, bytes->length);
    if (call)
        call->guild_id = GUILD;
    return call;
}

static void put_calls(Strbuf *kv, Strbuf *save)
{
    StoreFile file = {{"init.luau", 9}, {"return 1", 8}};
    StoreTemplate t = {.name = {"name", 4}, .enabled = true, .files = &file, .file_count = 1};
    StoreRequest *request = store_request_new(STORE_KV_FIND, GUILD);
    request->pattern = (Text){"%", 1};
    store_put_request(kv, request);
    store_request_free(request);
    request = store_request_new(STORE_SAVE, GUILD);
    request->save = &t;
    store_put_request(save, request);
    store_request_free(request);
    assert_false(kv->failed || save->failed);
}

/* The fake store refuses at once what reaches it. */
static void call_all(Services *services, Answers *answers, const Strbuf *requests, bool may_fail)
{
    WorkerCalls calls;
    services_options(services, &calls);
    services_answer_with(services, on_answer, answers);
    for (int i = 0; i < 2; i++) {
        KhronosCall *call = read_call(&calls, &requests[i]);
        assert_true(call || may_fail);
        if (!call)
            continue;
        calls.take(calls.userdata, call);
        StoreCall *answered = wait_for_answer(answers);
        assert_ptr_equal(&answered->call, call);
        assert_int_not_equal(answered->request->status, STORE_OK);
        assert_true(may_fail || answered->request->status == STORE_LOCKED);
        if (answered->refused && answered->request->message.data)
            assert_short_of_memory(answered->request->message.data);
        call->kind->drop(call);
    }
}

static void test_calls(void **state)
{
    KhronosSandbox *sandbox = *state;
    Answers answers = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL};
    Strbuf requests[2] = {STRBUF_INIT, STRBUF_INIT};
    put_calls(&requests[0], &requests[1]);
    bool fired = true;
    for (long k = 1; fired; k++) {
        FakeStore fake;
        fake_store_init(&fake);
        fake.refusal = STORE_LOCKED;
        codecache_trim(sandbox_codecache(sandbox), 0);
        fault_arm(k);
        Services *services = services_new(sandbox, &fake.store, NULL, NULL);
        if (services) {
            call_all(services, &answers, requests, true);
            fired = fault_disarm();
            call_all(services, &answers, requests, false);
            services_stop(services);
        } else {
            assert_true(fault_disarm());
        }
        services_free(services);
        fake_store_free(&fake);
    }
    strbuf_free(&requests[0]);
    strbuf_free(&requests[1]);
}

/* ---- A template that calls --------------------------------------------------------------------
 */

static const char CALLER[] = "local event, ctx = ...\n"
                             "local ok, found = pcall(ctx.KV.get, ctx.KV, 'k', {'a'})\n"
                             "local failed, why = pcall(ctx.KV.set, ctx.KV, 'k', {1, 2}, {'a'})\n"
                             "for i = 1, 3 do task.spawn(pcall, ctx.KV.find, ctx.KV, '%') end\n"
                             "return {ok, found == nil, failed, why}";
static const char CALLED[] =
    "[true,true,false,\"the store is locked by another process, try again later\"]";

static void ignore_line(void *userdata, uint64_t guild, const char *name, int level,
                        const char *text, size_t length)
{
    (void)userdata, (void)guild, (void)name, (void)level, (void)text, (void)length;
}

/* Reads find nothing, writes are refused. */
static void serve_call(KhronosRuntime *rt, KhronosCall *call)
{
    StoreRequest *request = ((StoreCall *)call)->request;
    store_request_reset(request);
    if (store_op_writes(request))
        store_request_fail(request, STORE_LOCKED, "for the log");
    khronos_answer(rt, call);
}

static bool run(KhronosSandbox *sandbox, KhronosTemplate *t, luau_Fibers *fibers, Strbuf *out)
{
    static const KhronosLog log = {.line = ignore_line};
    KhronosLimits limits;
    khronos_default_limits(&limits);
    KhronosRuntime *rt = khronos_new(sandbox, GUILD, &limits, &log);
    if (!rt)
        return false;
    KhronosEvent event = {.name = {"Met", 3}, .data = {"[1]", 3}};
    KhronosExecution x = {.template_version = t, .event = &event, .id = "id", .out = out};
    khronos_submit(rt, &x);
    do {
        luau_fibers_tick(fibers);
        khronos_step(rt, fibers);
        for (KhronosCall *call; (call = khronos_take_call(rt)) != NULL;)
            serve_call(rt, call);
    } while (!khronos_take_finished(rt));
    bool good = x.status == KHRONOS_OK;
    khronos_free(rt);
    execution_free(&x);
    return good;
}

static KhronosTemplate *make_caller(KhronosSandbox *sandbox)
{
    char error[256];
    const char *all[] = {"*"};
    TemplateMeta meta = {.capabilities = all, .capability_count = 1, .enabled = true};
    KhronosTemplate *t = template_new(sandbox, "caller", 1, "");
    assert_true(template_addfile(t, "init.luau", NULL, strdup(CALLER), strlen(CALLER), error,
                                 sizeof(error)));
    assert_true(template_setmeta(t, &meta, error, sizeof(error)));
    return t;
}

static void test_template_that_calls(void **state)
{
    luau_Fibers *fibers = luau_fibers_new(1);
    KhronosTemplate *t = make_caller(*state);
    bool fired = true;
    for (long k = 1; fired; k++) {
        Strbuf out = STRBUF_INIT;
        fault_arm(k);
        bool good = run(*state, t, fibers, &out);
        fired = fault_disarm();
        assert_true(good || fired);
        strbuf_free(&out);
        out = (Strbuf)STRBUF_INIT;
        assert_true(run(*state, t, fibers, &out));
        assert_string_equal(strbuf_cstr(&out), CALLED);
        strbuf_free(&out);
    }
    template_release(t);
    luau_fibers_free(fibers);
}

static int set_up(void **state)
{
    char error[256];
    int count;
    const KhronosPlugin *plugins = plugins_all(&count);
    *state = sandbox_new(plugins, count, error, sizeof(error));
    return *state ? 0 : -1;
}

static int tear_down(void **state)
{
    sandbox_release(*state);
    return 0;
}

int main(void)
{
    log_setlevel((LogLevel)(LOG_ERROR + 1));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookups),
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_template_that_calls),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
