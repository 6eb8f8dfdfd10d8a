/* From the inside out: dates, userdata, what other natives and JSON want of them. The text of
 * moments is in datetime_text.c, what templates call in src/plugins/datetime*.c. */
#include "khronos/datetime.h"

#include <math.h>
#include <string.h>

#include "khronos/datetime_value.h"
#include "khronos/int64.h"

/* ---- Dates ------------------------------------------------------------------------------------
 */

enum { DAYS_PER_400_YEARS = 146097, DAYS_TO_1970 = 719468 /* from 0000-03-01 */ };

bool civil_isleap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int civil_monthdays(int64_t year, int month)
{
    static const int DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return DAYS[month - 1] + (month == 2 && civil_isleap(year));
}

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Years begin in March here, so that the day that comes and goes is a year's last. */
int64_t civil_days(int64_t year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t era = floor_divide(y, 400), year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * DAYS_PER_400_YEARS + day_of_era - DAYS_TO_1970;
}

static void date_of_days(int64_t days, CivilTime *civil)
{
    int64_t z = days + DAYS_TO_1970;
    int64_t era = floor_divide(z, DAYS_PER_400_YEARS), day_of_era = z - era * DAYS_PER_400_YEARS;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 -
                           day_of_era / 146096) /
                          365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153; /* from March */
    civil->day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    civil->month = (int)(month < 10 ? month + 3 : month - 9);
    civil->year = year_of_era + era * 400 + (civil->month <= 2);
}

void civil_from_s(int64_t seconds, CivilTime *civil)
{
    int64_t days = floor_divide(seconds, DAY_S);
    int of_day = (int)(seconds - days * DAY_S);
    date_of_days(days, civil);
    civil->hour = of_day / 3600;
    civil->minute = of_day / 60 % 60;
    civil->second = of_day % 60;
    civil->weekday = (int)(days + 4 - floor_divide(days + 4, 7) * 7);
    civil->yearday = (int)(days - civil_days(civil->year, 1, 1));
}

int64_t civil_to_s(const CivilTime *civil)
{
    return civil_days(civil->year, civil->month, civil->day) * DAY_S + civil->hour * 3600 +
           civil->minute * 60 + civil->second;
}

int64_t nanos_floor(Nanos value, Nanos unit, int64_t *rest_ns)
{
    Nanos whole = value / unit - (value % unit < 0);
    if (rest_ns)
        *rest_ns = (int64_t)(value - whole * unit);
    return (int64_t)whole;
}

/* ---- Userdata ---------------------------------------------------------------------------------
 */

const Timezone *timezone_of(lua_State *L, int index)
{
    return lua_touserdatatagged(L, index, KHRONOS_TAG_TIMEZONE);
}

const DateTime *datetime_of(lua_State *L, int index)
{
    return lua_touserdatatagged(L, index, KHRONOS_TAG_DATETIME);
}

const TimeDelta *timedelta_of(lua_State *L, int index)
{
    return lua_touserdatatagged(L, index, KHRONOS_TAG_TIMEDELTA);
}

void timezone_push(lua_State *L, const Zone *zone)
{
    Timezone *self = lua_newuserdatatagged(L, sizeof(*self), KHRONOS_TAG_TIMEZONE);
    self->zone = zone;
}

bool datetime_isvalid(Nanos at, const Zone *zone)
{
    ZoneTime time;
    if (at < DATETIME_MIN_S * NANOS_PER_S || at >= (DATETIME_MAX_S + 1) * NANOS_PER_S)
        return false;
    int64_t seconds = nanos_floor(at, NANOS_PER_S, NULL);
    timezone_at(zone, seconds, &time);
    int64_t local = seconds + time.offset_s;
    return local >= DATETIME_MIN_S && local <= DATETIME_MAX_S;
}

static void push_moment(lua_State *L, Nanos at, const Zone *zone)
{
    DateTime *moment = lua_newuserdatatagged(L, sizeof(*moment), KHRONOS_TAG_DATETIME);
    moment->at = at;
    moment->zone = zone;
}

void datetime_push(lua_State *L, Nanos at, const Zone *zone)
{
    if (!datetime_isvalid(at, zone))
        luaL_error(L, "out of the range of DateTime, the years -9999 to 9999");
    push_moment(L, at, zone);
}

void timedelta_push(lua_State *L, Nanos span)
{
    if (span < -TIMEDELTA_MAX || span > TIMEDELTA_MAX)
        luaL_error(L, "out of the range of TimeDelta, %d days either way", TIMEDELTA_MAX_DAYS);
    TimeDelta *delta = lua_newuserdatatagged(L, sizeof(*delta), KHRONOS_TAG_TIMEDELTA);
    delta->span = span;
}

/* ---- For others -------------------------------------------------------------------------------
 */

static bool moment_at(lua_State *L, int index, Nanos *at)
{
    const DateTime *moment = datetime_of(L, index);
    if (moment) {
        *at = moment->at;
        return true;
    }
    if (lua_type(L, index) == LUA_TSTRING) {
        size_t length;
        const char *text = lua_tolstring(L, index, &length);
        return datetime_read(text, length, at) == NULL;
    }
    if (lua_type(L, index) != LUA_TNUMBER)
        return false;
    double seconds = lua_tonumber(L, index);
    if (!(seconds >= (double)DATETIME_MIN_S && seconds < (double)(DATETIME_MAX_S + 1)))
        return false;
    *at = (Nanos)floor(seconds * 1000) * (NANOS_PER_S / 1000);
    return true;
}

bool datetime_to_ms(lua_State *L, int index, int64_t *ms)
{
    Nanos at;
    if (!moment_at(L, index, &at))
        return false;
    *ms = nanos_floor(at, NANOS_PER_S / 1000, NULL);
    return true;
}

void datetime_push_ms(lua_State *L, int64_t ms)
{
    Nanos at = (Nanos)ms * (NANOS_PER_S / 1000), least = DATETIME_MIN_S * NANOS_PER_S;
    Nanos most = (DATETIME_MAX_S + 1) * NANOS_PER_S - 1;
    push_moment(L, at < least ? least : at > most ? most : at, timezone_utc());
}

int datetime_to_json(lua_State *L, int index, char *text, int size)
{
    const DateTime *moment = datetime_of(L, index);
    const TimeDelta *delta = timedelta_of(L, index);
    BASE_ASSERT(size >= 64);
    if (delta)
        return timedelta_write(delta->span, text);
    if (!moment)
        return 0;
    text[0] = '"';
    int length = datetime_write(moment, text + 1);
    text[1 + length] = '"';
    return length + 2;
}
