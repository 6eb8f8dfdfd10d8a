/* test_runs.h: runs of templates under test: those that a test asked for, alone or by an event, and
 * those that time brings about; and what tests are told of them. For the host's thread. */
#ifndef CLI_TEST_RUNS_H
#define CLI_TEST_RUNS_H

#include "cli/testing.h"
#include "worker/dispatcher.h"
#include "worker/templates.h"

typedef struct TestRun TestRun;

typedef struct TestRuns {
    void (*answer)(void *userdata, TestingCall *call); /* the answer is in it */
    void *userdata;
    uint64_t wall_max_ns;  /* of a run, as in production */
    TestRun *first;        /* under way */
    KhronosCall *advances; /* that wait for their time */
    Strbuf told;           /* JSON, with commas: what came due and was not told to a test */
    bool dispatching;      /* a test's event is given to the dispatcher */
} TestRuns;

void test_runs_free(TestRuns *runs);

/* TESTING_RUN: what is to be submitted; NULL: call->error says why not. */
KhronosExecution *test_runs_prepare(TestRuns *runs, TestingCall *call, TemplateCache *templates,
                                    const char *folder, uint64_t now_ns);
/* TESTING_DISPATCH: is answered. */
void test_runs_dispatch(TestRuns *runs, TestingCall *call, Dispatcher *dispatcher,
                        uint64_t guild_id);
/* An execution of the dispatcher's begins; `own`: a test asked for it. */
void test_runs_watch(TestRuns *runs, KhronosExecution *x, bool own, uint64_t now_ns);
/* It came back. True: it was one of test_runs_prepare, and its call is answered. */
bool test_runs_finish(TestRuns *runs, KhronosExecution *x);

/* TESTING_ADVANCE: is answered by test_runs_end_advances when its time has come, of which it tells
 * whether there was any. */
void test_runs_advance(TestRuns *runs, TestingCall *call, uint64_t now_ns);
bool test_runs_end_advances(TestRuns *runs, uint64_t now_ns);
void test_runs_drop_advances(TestRuns *runs); /* answers them all */

/* The next end of an advance, or of the time of a run; UINT64_MAX: none. */
uint64_t test_runs_due_ns(const TestRuns *runs);
/* The id of a run whose time is over, once; NULL: none. */
const char *test_runs_overdue(TestRuns *runs, uint64_t now_ns);

#endif
