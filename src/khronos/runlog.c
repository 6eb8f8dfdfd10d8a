/* What templates print: cut to a length, counted by the second, given to the log and to the
 * execution that wants its lines back. */
#include "base/clock.h"
#include "base/jsontext.h"
#include "khronos/runtime.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The run that printed: the one that runs now, or NULL. */
static Run *speaker(KhronosRuntime *rt)
{
    Task *task = rt->scheduler.current;
    return task ? task->run : NULL;
}

static void keep(KhronosRuntime *rt, Run *run, const char *text, size_t length)
{
    KhronosExecution *x = run ? run->x : NULL;
    if (!x || !x->keep_logs || x->logs.length > rt->limits->log_kept_max_bytes)
        return;
    if (x->logs.length > 0)
        strbuf_putc(&x->logs, ',');
    if (x->logs.length + length > rt->limits->log_kept_max_bytes) {
        static const char notice[] = "[more lines were printed than are kept]";
        json_put_lossy(&x->logs, notice, sizeof(notice) - 1);
        x->keep_logs = false;
        return;
    }
    json_put_lossy(&x->logs, text, length);
}

static void deliver(KhronosRuntime *rt, Run *run, int level, const char *text, size_t length)
{
    const char *name = run ? template_name(run->version) : "";
    if (rt->log && rt->log->line)
        rt->log->line(rt->log->userdata, rt->guild_id, name, level, text, length);
    keep(rt, run, text, length);
}

uint64_t runlog_due_ns(const KhronosRuntime *rt)
{
    const LogGate *gate = &rt->gate;
    if (gate->dropped_lines == 0)
        return UINT64_MAX;
    return gate->noticed ? gate->second_start_ns + CLOCK_NS_PER_S : gate->second_start_ns;
}

void runlog_flush(KhronosRuntime *rt)
{
    LogGate *gate = &rt->gate;
    if (gate->dropped_lines == 0)
        return;
    gate->noticed = true;
    char text[120];
    int length = snprintf(
        text, sizeof(text),
        "[%" PRIu64 " lines with %" PRIu64 " bytes dropped: more than %d lines a second]",
        gate->dropped_lines, gate->dropped_bytes, rt->limits->log_lines_per_second);
    gate->dropped_lines = gate->dropped_bytes = 0;
    deliver(rt, speaker(rt), 1, text, (size_t)length);
}

void runlog_notice(KhronosRuntime *rt)
{
    if (runlog_due_ns(rt) <= runtime_now_ns(rt))
        runlog_flush(rt);
}

/* Does the line fit in the current second? */
static bool admit(KhronosRuntime *rt, size_t length)
{
    LogGate *gate = &rt->gate;
    uint64_t now = runtime_now_ns(rt);
    if (now - gate->second_start_ns >= CLOCK_NS_PER_S) {
        runlog_notice(rt);
        gate->second_start_ns = now;
        gate->lines = 0;
        gate->noticed = false;
    }
    if (gate->lines < rt->limits->log_lines_per_second) {
        gate->lines++;
        return true;
    }
    gate->dropped_lines++;
    gate->dropped_bytes += length;
    return false;
}

static void put_line(KhronosRuntime *rt, Run *run, int level, const char *text, size_t length)
{
    size_t max = rt->limits->log_line_max_bytes;
    if (!admit(rt, length))
        return;
    if (length <= max) {
        deliver(rt, run, level, text, length);
        return;
    }
    size_t kept = max;
    for (int i = 0; i < 3 && kept > 0 && ((unsigned char)text[kept] & 0xC0) == 0x80; i++)
        kept--;
    Strbuf line = STRBUF_INIT;
    strbuf_put(&line, text, kept);
    strbuf_printf(&line, " [%zu bytes cut]", length - kept);
    if (!line.failed)
        deliver(rt, run, level, line.data, line.length);
    strbuf_free(&line);
}

void runlog_print(lua_State *L, int level, const char *text, size_t length)
{
    KhronosRuntime *rt = khronos_of(L);
    put_line(rt, speaker(rt), level, text, length);
}

void runlog_error(KhronosRuntime *rt, Run *run, const char *text, size_t length)
{
    while (length > 0 && text[length - 1] == '\n')
        length--;
    put_line(rt, run, 2, text, length);
}

void runlog_verdict(KhronosRuntime *rt, Run *run, const char *text)
{
    deliver(rt, run, 2, text, strlen(text));
}
