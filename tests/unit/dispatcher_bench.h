/* dispatcher_bench.h: a dispatcher on one thread, whose clock and worker do as the test says. For
 * files that include cmocka.h. */
#ifndef DISPATCHER_BENCH_H
#define DISPATCHER_BENCH_H

#include "dispatcher_support.h"

enum { ACTIONS_MAX = 64, GUILD = 42 };

typedef struct DispatchBench DispatchBench;

/* One request and what became of it. */
typedef struct Call {
    DispatchBench *bench;
    int completions;
    DispatchOutcome outcome;
    bool duplicate;
    uint64_t retry_after_ms;
    int count;
    char event_id[64];
    char ids[FAKE_TEMPLATES_MAX][RANDOM_ID_SIZE];
    char result[256];     /* of the first execution, when done */
    DispatchRecord *kept; /* if keep: retained in the completion */
    bool keep;
    bool dispatch_again; /* in the completion, once */
} Call;

typedef enum Mode { DEFER, FINISH, REFUSE } Mode;

struct DispatchBench {
    FakeTemplates templates;
    DispatcherOptions options;
    Dispatcher *d;
    uint64_t now_ns;
    Mode mode;
    VmActionOutcome refusal;
    Call *inside;                      /* submit dispatches it too, for event "same" */
    LuaVmAction *actions[ACTIONS_MAX]; /* deferred, in the order of submit */
    int action_count;
    int submitted;
};

/* With that many templates matching; db_prepare leaves making the dispatcher to the caller, who
 * changes the options first. */
DispatchBench *db_prepare(int matching);
DispatchBench *db_new(int matching);
void db_free(DispatchBench *b);           /* finishes what is deferred */
LuaVmAction *db_action(DispatchBench *b); /* the oldest deferred action, taken out */
void db_finish(DispatchBench *b);         /* finishes it */
DispatcherStats db_stats(DispatchBench *b);
void db_pass(DispatchBench *b, uint64_t ms); /* time */

EventText db_text(const char *s); /* NULL: absent */
void db_copy(char *out, size_t size, EventText text);
DispatchRequest db_request(DispatchBench *b, Call *call, uint64_t wait_ms);
/* All that the request points to is gone when the call returns. */
void db_send_request(DispatchBench *b, DispatchRequest request, const char *name,
                     const char *event_id, const char *data);
void db_send(DispatchBench *b, Call *call, const char *event_id, uint64_t wait_ms);
/* The outcome that an execution's record has now; DISPATCH_NOT_FOUND without one. */
DispatchOutcome db_look_up(DispatchBench *b, const char *id);

#define ANSWERED(call, what)                                                                       \
    do {                                                                                           \
        assert_int_equal((call).completions, 1);                                                   \
        assert_int_equal((call).outcome, what);                                                    \
    } while (0)

#endif
