/* log.h: the operator's log: one JSON object a line on standard error, written with one system
 * call, so that lines of different threads never mix and nothing a tenant prints can forge one. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } LogLevel;
enum { LOG_LEVELS = LOG_ERROR + 1 };

/* Lines of lower levels are dropped. LOG_INFO at first. Any thread. */
void log_setlevel(LogLevel least);
LogLevel log_level(void);
/* "debug", "info", "warn" or "error"; false: it is none of them. */
bool log_level_parse(const char *text, LogLevel *level);
/* {"time":..,"level":..,"message":..}; any thread. */
void log_message(LogLevel level, const char *format, ...) BASE_PRINTF(2, 3);
/* A line a template printed, with the fields that say whose it is. Bytes that are no UTF-8 are
 * replaced. Any thread. */
void log_template(LogLevel level, uint64_t guild_id, const char *template_name, const char *text,
                  size_t length);

#endif
