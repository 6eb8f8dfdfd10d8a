/* DateTime: a moment, shown in a time zone. Fields and methods show it there; order and equality
 * are those of the moments, whatever the zones. */
#include <string.h>

#include "base/base.h"
#include "khronos/int64.h"
#include "plugins/datetime.h"

static const DateTime *check_moment(lua_State *L, int arg)
{
    const DateTime *moment = datetime_of(L, arg);
    if (!moment)
        luaL_typeerror(L, arg, "DateTime");
    return moment;
}

/* ---- Fields -----------------------------------------------------------------------------------
 */

static void read_time(const DateTime *moment, ZoneTime *time)
{
    timezone_at(moment->zone, nanos_floor(moment->at, NANOS_PER_S, NULL), time);
}

static void read_civil(const DateTime *moment, CivilTime *civil)
{
    ZoneTime time;
    read_time(moment, &time);
    civil_from_s(nanos_floor(moment->at, NANOS_PER_S, NULL) + time.offset_s, civil);
}

static void push_year(lua_State *L, const void *self)
{
    CivilTime civil;
    read_civil(self, &civil);
    lua_pushnumber(L, (double)civil.year);
}

static void push_month(lua_State *L, const void *self)
{
    CivilTime civil;
    read_civil(self, &civil);
    lua_pushinteger(L, civil.month);
}

static void push_day(lua_State *L, const void *self)
{
    CivilTime civil;
    read_civil(self, &civil);
    lua_pushinteger(L, civil.day);
}

static void push_hour(lua_State *L, const void *self)
{
    CivilTime civil;
    read_civil(self, &civil);
    lua_pushinteger(L, civil.hour);
}

static void push_minute(lua_State *L, const void *self)
{
    CivilTime civil;
    read_civil(self, &civil);
    lua_pushinteger(L, civil.minute);
}

static void push_second(lua_State *L, const void *self)
{
    CivilTime civil;
    read_civil(self, &civil);
    lua_pushinteger(L, civil.second);
}

static void push_units(lua_State *L, const DateTime *moment, Nanos unit, const char *what)
{
    Nanos whole = moment->at / unit - (moment->at % unit < 0);
    datetime_pushexact(L, whole, what);
}

static void push_seconds(lua_State *L, const void *self)
{
    push_units(L, self, NANOS_PER_S, "timestamp_seconds");
}

static void push_millis(lua_State *L, const void *self)
{
    push_units(L, self, 1000000, "timestamp_millis");
}

static void push_micros(lua_State *L, const void *self)
{
    push_units(L, self, 1000, "timestamp_micros");
}

static void push_nanos(lua_State *L, const void *self)
{
    push_units(L, self, 1, "timestamp_nanos (before 1677 or after 2262)");
}

static void push_timezone(lua_State *L, const void *self)
{
    timezone_push(L, ((const DateTime *)self)->zone);
}

static void push_baseoffset(lua_State *L, const void *self)
{
    ZoneTime time;
    read_time(self, &time);
    timedelta_push(L, (time.offset_s - time.dst_s) * NANOS_PER_S);
}

static void push_dstoffset(lua_State *L, const void *self)
{
    ZoneTime time;
    read_time(self, &time);
    timedelta_push(L, time.dst_s * NANOS_PER_S);
}

static int moment_index(lua_State *L)
{
    static const DateTimeField FIELDS[] = {
        {"year", push_year},
        {"month", push_month},
        {"day", push_day},
        {"hour", push_hour},
        {"minute", push_minute},
        {"second", push_second},
        {"timestamp_seconds", push_seconds},
        {"timestamp_millis", push_millis},
        {"timestamp_micros", push_micros},
        {"timestamp_nanos", push_nanos},
        {"timezone", push_timezone},
        {"base_offset", push_baseoffset},
        {"dst_offset", push_dstoffset},
    };
    return datetime_index(L, check_moment(L, 1), FIELDS, BASE_ARRAY_COUNT(FIELDS), "DateTime");
}

/* ---- Methods ----------------------------------------------------------------------------------
 */

static int moment_with_timezone(lua_State *L)
{
    const DateTime *moment = check_moment(L, 1);
    datetime_push(L, moment->at, datetime_checkzone(L, 2)->zone);
    return 1;
}

static int moment_format(lua_State *L)
{
    const DateTime *moment = check_moment(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    datetime_format(L, moment, 2);
    return 1;
}

static int moment_duration_since(lua_State *L)
{
    timedelta_push(L, check_moment(L, 1)->at - check_moment(L, 2)->at);
    return 1;
}

/* ---- Operators --------------------------------------------------------------------------------
 */

static BASE_NORETURN void refuse_arithmetic(lua_State *L, const char *symbol)
{
    luaL_error(L, "attempt to perform arithmetic (%s) on %s and %s", symbol, luaL_typename(L, 1),
               luaL_typename(L, 2));
}

static int moment_add(lua_State *L)
{
    const DateTime *moment = datetime_of(L, 1);
    const TimeDelta *delta = timedelta_of(L, moment ? 2 : 1);
    if (!moment)
        moment = datetime_of(L, 2);
    if (!moment || !delta)
        refuse_arithmetic(L, "+");
    datetime_push(L, moment->at + delta->span, moment->zone);
    return 1;
}

static int moment_sub(lua_State *L)
{
    const DateTime *moment = datetime_of(L, 1), *other = datetime_of(L, 2);
    const TimeDelta *delta = timedelta_of(L, 2);
    if (!moment || (!delta && !other))
        refuse_arithmetic(L, "-");
    if (delta)
        datetime_push(L, moment->at - delta->span, moment->zone);
    else
        timedelta_push(L, moment->at - other->at);
    return 1;
}

static int moment_eq(lua_State *L)
{
    lua_pushboolean(L, check_moment(L, 1)->at == check_moment(L, 2)->at);
    return 1;
}

static int moment_lt(lua_State *L)
{
    lua_pushboolean(L, check_moment(L, 1)->at < check_moment(L, 2)->at);
    return 1;
}

static int moment_le(lua_State *L)
{
    lua_pushboolean(L, check_moment(L, 1)->at <= check_moment(L, 2)->at);
    return 1;
}

static int moment_tostring(lua_State *L)
{
    char text[DATETIME_TEXT_MAX];
    int length = datetime_write(check_moment(L, 1), text);
    lua_pushlstring(L, text, (size_t)length);
    return 1;
}

void datetime_open_moment(lua_State *L)
{
    static const luaL_Reg operators[] = {
        {"__add", moment_add}, {"__sub", moment_sub}, {"__eq", moment_eq},
        {"__lt", moment_lt},   {"__le", moment_le},   {"__tostring", moment_tostring},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"with_timezone", moment_with_timezone},
        {"format", moment_format},
        {"duration_since", moment_duration_since},
        {NULL, NULL},
    };
    datetime_setmetatable(L, KHRONOS_TAG_DATETIME, "DateTime", operators, moment_index, methods);
}
