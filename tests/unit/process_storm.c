#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "process_storm.h"

enum { WINDOW = 600, KILL_EVERY = 400, GUILDS = 97 };

typedef struct StormJob {
    Job job;
    KhronosEvent event;
    char text[16];
    atomic_int printed;
} StormJob;

typedef struct Field {
    PoolBench *b;
    StormJob *jobs;
    atomic_int completed;
    atomic_bool over;
    int kills;
} Field;

static void on_line(void *userdata, uint64_t guild_id, const char *template_name, int level,
                    const char *text, size_t length)
{
    Field *field = userdata;
    char copy[16] = "";
    (void)guild_id;
    (void)template_name;
    if (level != 0 || length >= sizeof(copy))
        return;
    memcpy(copy, text, length);
    atomic_fetch_add(&field->jobs[strtoul(copy, NULL, 10) % STORM_ACTIONS].printed, 1);
}

static int count_completed(const Field *field, int submitted)
{
    int count = 0;
    for (int i = 0; i < submitted; i++)
        count += atomic_load(&field->jobs[i].job.completions) > 0;
    return count;
}

/* By what is done and not by time, so that there is always something under way. */
static void *killer_main(void *arg)
{
    Field *field = arg;
    unsigned random = 12345;
    for (int next = KILL_EVERY; !atomic_load(&field->over); usleep(200)) {
        if (atomic_load(&field->completed) < next)
            continue;
        random = random * 1103515245u + 12345u;
        usleep((random >> 16) % 2000);
        int pid = process_pool_pid(field->b->pool, (int)((random >> 20) % STORM_VICTIMS));
        if (pid <= 0 || kill(pid, SIGKILL) != 0)
            continue;
        field->kills++;
        next += KILL_EVERY;
    }
    return NULL;
}

static void submit_all(Field *field, KhronosTemplate *t)
{
    for (int i = 0; i < STORM_ACTIONS; i++) {
        StormJob *mine = &field->jobs[i];
        snprintf(mine->text, sizeof(mine->text), "%d", i);
        mine->event = (KhronosEvent){.name = {"E", 1}, .data = {mine->text, strlen(mine->text)}};
        pool_fill(field->b, &mine->job, VM_ACTION_EXECUTE,
                  pool_guild_of(i % STORM_SHARDS, STORM_SHARDS, i % GUILDS), t);
        mine->job.action.execution.event = &mine->event;
        pool_submit(field->b, &mine->job);
        if (i % 50 != 49)
            continue;
        int completed;
        WAIT_UNTIL((completed = count_completed(field, i + 1)) >= i + 1 - WINDOW);
        atomic_store(&field->completed, completed);
    }
}

static void judge(StormJob *mine, int i, bool prints, Storm *storm)
{
    const LuaVmAction *action = &mine->job.action;
    int printed = atomic_load(&mine->printed);
    assert_int_equal(atomic_load(&mine->job.completions), 1);
    assert_in_range(printed, 0, 1);
    if (action->outcome == VM_ACTION_DONE && action->execution.status == KHRONOS_OK) {
        assert_string_equal(strbuf_cstr(&mine->job.result), mine->text);
        assert_int_equal(printed, prints);
        storm->done++;
        return;
    }
    assert_int_equal(mine->job.result.length, 0);
    assert_int_equal(action->info.reason, VM_PANIC_RECOVERY);
    if (i % STORM_SHARDS >= STORM_VICTIMS)
        fail_msg("action %d failed, but nobody harmed its child", i);
    if (action->outcome == VM_ACTION_VM_BROKEN) {
        assert_int_equal(printed, 0);
        storm->given_up++;
        return;
    }
    assert_int_equal(action->outcome, VM_ACTION_DONE);
    assert_int_equal(action->execution.status, KHRONOS_BROKEN);
    storm->started++;
}

void pool_storm(PoolBench *b, KhronosTemplate *t, bool prints, Storm *storm)
{
    static Field field;
    pthread_t killer;
    field = (Field){.b = b, .jobs = calloc(STORM_ACTIONS, sizeof(*field.jobs))};
    assert_non_null(field.jobs);
    b->options.processes = STORM_SHARDS;
    b->options.limits.mailbox_max = STORM_ACTIONS;
    b->options.limits.log_lines_per_second = 1 << 30;
    b->options.log = (KhronosLog){on_line, &field};
    pool_start(b);
    assert_int_equal(pthread_create(&killer, NULL, killer_main, &field), 0);
    submit_all(&field, t);
    atomic_store(&field.over, true);
    pthread_join(killer, NULL);
    assert_true(b->pool->ops->drain(b->pool, 300 * CLOCK_NS_PER_S));
    pool_stop(b);
    *storm = (Storm){.kills = field.kills};
    for (int i = 0; i < STORM_ACTIONS; i++) {
        judge(&field.jobs[i], i, prints, storm);
        pool_job_free(&field.jobs[i].job);
    }
    print_message("%d kills -9 under load, %d actions: %d done, %d had started, %d given up; lost "
                  "or doubled: 0; errors of the other child: 0\n",
                  storm->kills, STORM_ACTIONS, storm->done, storm->started, storm->given_up);
    free(field.jobs);
}
