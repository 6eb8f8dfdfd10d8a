/* call_support.h: a kind of call for tests, the module that makes it, and a service that answers.
 *
 *     local call = require("@test/call")
 *     call.ask(text, bytes)    the answer's text, or an error when it is refused; bytes: what the
 *                              call says it holds, 0 if not given
 *     ctx.Asker                "asker of GUILD"
 */
#ifndef TESTS_UNIT_CALL_SUPPORT_H
#define TESTS_UNIT_CALL_SUPPORT_H

#include <stdatomic.h>

#include "worker/strategy.h"

enum { TEST_CALL_KIND = 77 };

typedef struct TestCall {
    KhronosCall call;
    char *text;   /* what is asked */
    char *answer; /* NULL: none yet */
    bool refused;
} TestCall;

extern const KhronosCallKind TEST_CALL;
extern const KhronosPlugin TEST_CALL_PLUGIN;

TestCall *test_call_new(const char *text, size_t length);
void test_call_answer(KhronosCall *call, const char *text);
const char *test_call_text(const KhronosCall *call);
/* Calls of this process that were made and not dropped. */
int test_calls_live(void);
/* WorkerCalls.read */
KhronosCall *test_call_read(void *userdata, int kind, const char *bytes, size_t length);
/* All plugins there are, and that of this file. */
KhronosSandbox *test_call_sandbox(void);

/* The service does what the text begins with, and answers with "re " and the text:
 *     now       inside `take`
 *     later     on its own thread
 *     batch     when BATCH of these are there: the last one first
 *     never     when it stops: refused
 *     refuse    refuses inside `take` */
enum { TEST_BATCH = 5 };

typedef struct TestService TestService;
TestService *test_service_new(WorkerOptions *options); /* fills in options->calls */
void test_service_use(TestService *service, Worker *worker);
/* Answers go here instead of to a worker. */
void test_service_use_strategy(TestService *service, Strategy *strategy);
int test_service_taken(TestService *service);
int test_service_held(TestService *service);
/* Answers what it was to answer never. */
void test_service_release(TestService *service);
void test_service_stop(TestService *service); /* after worker_drain, before worker_stop */
void test_service_free(TestService *service);

#endif
