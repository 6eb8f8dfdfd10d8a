#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/jsontext.h"
#include "base/strbuf.h"

static const char *const LEVEL_NAMES[LOG_LEVELS] = {"debug", "info", "warn", "error"};

/* Relaxed wherever it is used: a line more or less around a change does not matter. */
static atomic_int least_level = LOG_INFO;

void log_setlevel(LogLevel least)
{
    atomic_store_explicit(&least_level, (int)least, memory_order_relaxed);
}

LogLevel log_level(void)
{
    return (LogLevel)atomic_load_explicit(&least_level, memory_order_relaxed);
}

bool log_level_parse(const char *text, LogLevel *level)
{
    for (int i = 0; i < LOG_LEVELS; i++) {
        if (strcmp(text, LEVEL_NAMES[i]) == 0) {
            *level = (LogLevel)i;
            return true;
        }
    }
    return false;
}

static bool is_dropped(LogLevel level)
{
    return level < log_level();
}

static void begin_line(Strbuf *line, LogLevel level)
{
    uint64_t now_ms = clock_wall_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    char stamp[40];
    size_t length = strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &parts);
    strbuf_printf(line, "{\"time\":\"%.*s.%03uZ\",\"level\":\"%s\"", (int)length, stamp,
                  (unsigned)(now_ms % 1000), LEVEL_NAMES[level]);
}

static void write_line(Strbuf *line)
{
    strbuf_puts(line, "}\n");
    if (!line->failed) {
        /* A log that cannot be written must not stop the service. */
        ssize_t written = write(STDERR_FILENO, line->data, line->length);
        (void)written;
    }
    strbuf_free(line);
}

void log_message(LogLevel level, const char *format, ...)
{
    if (is_dropped(level))
        return;
    char text[1024];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (length < 0)
        return;
    size_t used = (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1;
    Strbuf line = STRBUF_INIT;
    begin_line(&line, level);
    strbuf_puts(&line, ",\"message\":");
    json_put_lossy(&line, text, used);
    write_line(&line);
}

void log_template(LogLevel level, uint64_t guild_id, const char *template_name, const char *text,
                  size_t length)
{
    if (is_dropped(level))
        return;
    Strbuf line = STRBUF_INIT;
    begin_line(&line, level);
    strbuf_printf(&line, ",\"guild_id\":\"%" PRIu64 "\",\"template\":", guild_id);
    json_put_lossy(&line, template_name, strlen(template_name));
    strbuf_puts(&line, ",\"message\":");
    json_put_lossy(&line, text, length);
    write_line(&line);
}
