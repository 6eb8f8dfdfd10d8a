/* datetime_value.h: moments, spans and dates as C has them: what datetime.h is made of, for natives
 * that compute with them. */
#ifndef KHRONOS_DATETIME_VALUE_H
#define KHRONOS_DATETIME_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "khronos/timezone.h"
#include "luau/luau.h"

/* Wide enough for the nanoseconds of 20,000 years. */
typedef __int128 Nanos;
#define NANOS_PER_S ((Nanos)1000000000)

enum {
    YEAR_MIN = -9999,
    YEAR_MAX = 9999,
    DAY_S = 86400,
    DATETIME_TEXT_MAX = 48, /* RFC 3339 with its NUL */
    TIMEDELTA_TEXT_MAX = 48,
};
#define DATETIME_MIN_S INT64_C(-377705116800) /* -9999-01-01T00:00:00 */
#define DATETIME_MAX_S INT64_C(253402300799)  /* 9999-12-31T23:59:59 */
#define TIMEDELTA_MAX_DAYS 10000000
#define TIMEDELTA_MAX ((Nanos)TIMEDELTA_MAX_DAYS * DAY_S * NANOS_PER_S) /* either way */

/* What the userdata hold. */
typedef struct Timezone {
    const Zone *zone; /* of the image, or UTC */
} Timezone;
typedef struct DateTime {
    Nanos at; /* since 1970, UTC; this and the local time are in the years that there are */
    const Zone *zone;
} DateTime;
typedef struct TimeDelta {
    Nanos span;
} TimeDelta;

/* NULL: something else stands there. */
const Timezone *timezone_of(lua_State *L, int index);
const DateTime *datetime_of(lua_State *L, int index);
const TimeDelta *timedelta_of(lua_State *L, int index);
void timezone_push(lua_State *L, const Zone *zone); /* [m] */
/* Is it, and what clocks show then, within the years? */
bool datetime_isvalid(Nanos at, const Zone *zone);
/* Raises when the moment, or what clocks show then, is beyond the years. [e] */
void datetime_push(lua_State *L, Nanos at, const Zone *zone);
void timedelta_push(lua_State *L, Nanos span); /* [e] likewise */

/* ---- Dates, by the Gregorian calendar, also before it was made; there is a year 0 ---- */
typedef struct CivilTime {
    int64_t year;
    int month, day; /* from 1 */
    int hour, minute, second;
    int weekday; /* from Sunday, 0 */
    int yearday; /* from 0 */
} CivilTime;

bool civil_isleap(int64_t year);
int civil_monthdays(int64_t year, int month);
/* Days from 1970-01-01; month from 1, any day. */
int64_t civil_days(int64_t year, int month, int day);
/* Seconds since 1970, as if it were UTC, to a date and back. */
void civil_from_s(int64_t seconds, CivilTime *civil);
int64_t civil_to_s(const CivilTime *civil); /* of year to second */

/* Whole units and the rest, which is never negative. */
int64_t nanos_floor(Nanos value, Nanos unit, int64_t *rest_ns);

/* ---- Text ---- */
/* "2026-03-29T03:00:00.5+02:00"; years outside 0 to 9999 with a sign. Of an offset with seconds (in
 * the 19th century) the text shows whole minutes, and the time that belongs to them. Returns the
 * length. */
int datetime_write(const DateTime *moment, char text[DATETIME_TEXT_MAX]);
/* What is wrong with it, or NULL: then *at is set. */
const char *datetime_read(const char *text, size_t length, Nanos *at);
/* Seconds in decimal, exactly: "-1.5". */
int timedelta_write(Nanos span, char text[TIMEDELTA_TEXT_MAX]);

#endif
