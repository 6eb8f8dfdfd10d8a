/* test_host.h: the world of one test file: a guild with a VM, a throw-away store, templates, and a
 * clock that moves when everything waits.
 *
 * All of it is what the server uses, but for the worker: one thread, the host's, steps the runtime,
 * so that it knows when nothing is left to do. Then, and only then, time passes, at once, up to the
 * next moment at which something is due: a thread's wait, a key's expiry, the end of an advance().
 *
 *     runtime --calls--> services --> store ---+
 *        ^                                     | answers, by the store's threads
 *        +------------- inbox <----------------+
 *        ^
 *        +--actions-- dispatcher <-- expiry <-- store      (on the host's thread)
 *
 * Nothing is left to do when the runtime is idle, the inbox is empty, and the store has nothing
 * under way (the host counts what goes in and comes out).
 *
 * A VM that breaks is replaced at the next test, for which the file runs again; the data stays. */
#ifndef CLI_TEST_HOST_H
#define CLI_TEST_HOST_H

#include "cli/testing.h"
#include "worker/templates.h"

typedef struct TestHost TestHost;

typedef struct TestHostOptions {
    KhronosSandbox *sandbox; /* with testing_plugins */
    TemplateCache *templates;
    const char *folder;     /* of the templates, for messages */
    const char *store_path; /* a file that is not there yet */
    KhronosTemplate *file;  /* the test file; borrowed while the host lives */
    uint64_t timeout_ns;    /* processor time of one test */
} TestHostOptions;

typedef enum TestStatus { TEST_OK, TEST_FAILED, TEST_SKIPPED } TestStatus;

/* What became of a test, or of the file itself. */
typedef struct TestVerdict {
    TestStatus status;
    uint64_t took_ns; /* of real time */
    Strbuf message;   /* of a failure; why it was skipped */
    Strbuf traceback; /* a frame a line, the author's only */
    Strbuf logs;      /* a line each */
    char path[128];   /* "": unknown */
    int line, column;
} TestVerdict;

void test_verdict_free(TestVerdict *verdict);

/* NULL: text in error. */
TestHost *test_host_open(const TestHostOptions *options, char *error, size_t error_size);
void test_host_close(TestHost *host); /* NULL is fine */
/* Runs the file. TEST_OK: the list of its tests is there (testing_next), until the host closes. */
void test_host_load(TestHost *host, TestVerdict *verdict);
const Strbuf *test_host_list(const TestHost *host);
/* The test at that place in the list, from 1, with what goes before and after each. */
void test_host_run(TestHost *host, int test, bool has_after, TestVerdict *verdict);

#endif
