/* testing.h: @antiraid/testing, the module of test files, and what it asks of its host, the test
 * runner (test_host.h). Only the sandbox that the runner makes has it.
 *
 * A test file registers its tests when it runs: describe and it keep functions in a table of the
 * VM. After that the host gives the *driver* to the VM, a template of a few lines, once for each
 * test: its run is the test. So a test has what every run has: threads that wait, limits, a
 * message, a place and a traceback when it fails.
 *
 * What a test wants of the host (a run of a template, the clock) is a call (KhronosCall), as
 * requests to the store are.
 *
 * Time is the host's: the natives here that tell it (os.time, os.clock, os.date, UTC:now) stand in
 * the place of the library's. The wall clock is the runtime's clock, moved. */
#ifndef CLI_TESTING_H
#define CLI_TESTING_H

#include "base/strbuf.h"
#include "base/text.h"
#include "khronos/khronos.h"

/* Where a file's clocks begin: the runtime's at one second, because 0 is no time to some; the wall
 * clock then shows 2030-01-01, midnight. */
#define TESTING_START_NS UINT64_C(1000000000)
#define TESTING_EPOCH_S INT64_C(1893456000)

static inline int64_t testing_wall_ms(uint64_t now_ns)
{
    return TESTING_EPOCH_S * 1000 + (int64_t)((now_ns - TESTING_START_NS) / 1000000);
}

typedef enum TestingOp {
    TESTING_PUBLISH,  /* name: the tests that were registered (testing_next) */
    TESTING_RUN,      /* name, event, options -> answer: one result */
    TESTING_DISPATCH, /* event -> answer: a list of results */
    TESTING_ADVANCE,  /* seconds -> answer: a list of the results of what came due */
    TESTING_RESET,    /* forgets the guild's data */
    TESTING_SKIP      /* name: why; the run ends */
} TestingOp;

/* Made by the natives, answered by the host. */
typedef struct TestingCall {
    KhronosCall call;
    TestingOp op;
    double seconds;
    Strbuf name, event, options; /* the last two are JSON */
    /* -- out -- */
    Strbuf answer;     /* JSON; empty: nothing */
    char error[512];   /* "": none */
    uint64_t until_ns; /* of the host: when the advance is over */
    /* -- the native's -- */
    char where[LUA_IDSIZE + 16];
} TestingCall;

enum { TESTING_CALL_KIND = 64 };

/* A test as it was registered; texts are borrowed from the list. */
typedef struct TestingItem {
    Text name; /* with those of its groups, " / " between */
    int line;
    bool is_skipped, is_only, has_after;
} TestingItem;

/* The next item of the text that TESTING_PUBLISH brought, which ends with a NUL; *at from 0. */
bool testing_next(const Strbuf *list, size_t *at, TestingItem *item);

/* The modules: that of test files, and the driver's. */
enum { TESTING_PLUGINS = 2 };
extern const KhronosPlugin testing_plugins[TESTING_PLUGINS];

/* The driver: event.data = {phase = "publish"}, or {phase = "test" or "after", test = number}. Its
 * frames in tracebacks begin with its name. */
#define TESTING_DRIVER "[testing]"
extern const char testing_driver[];

/* ---- The module's parts ---- */
/* Pushes the function `expect` (testing_expect.c). */
void testing_pushexpect(lua_State *L);
/* Replaces the natives that tell the time; in the VM that becomes the image (testing_clock.c). */
void testing_openclock(lua_State *L);
int testing_now(lua_State *L);

/* ---- Values shown and compared (testing_show.c) ---- */
/* Raw: no metamethod of a table runs; NaN equals itself; metatables do not count. [e] */
bool testing_equal(lua_State *L, int a, int b);
/* Appends the value on one line, with at most about `max` bytes. */
void testing_show(lua_State *L, int index, Strbuf *out, size_t max);
/* Appends both, and where they differ. */
void testing_diff(lua_State *L, int expected, int got, Strbuf *out);

#endif
