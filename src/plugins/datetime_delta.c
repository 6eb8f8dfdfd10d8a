/* TimeDelta: a span of time, to the nanosecond. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "khronos/int64.h"
#include "plugins/datetime.h"

/* ---- Fields: whole units, the rest cut off ----------------------------------------------------
 */

static void push_units(lua_State *L, const void *self, Nanos unit, const char *what)
{
    datetime_pushexact(L, ((const TimeDelta *)self)->span / unit, what);
}

static void push_weeks(lua_State *L, const void *self)
{
    push_units(L, self, 7 * DAY_S * NANOS_PER_S, "weeks");
}

static void push_days(lua_State *L, const void *self)
{
    push_units(L, self, DAY_S * NANOS_PER_S, "days");
}

static void push_hours(lua_State *L, const void *self)
{
    push_units(L, self, 3600 * NANOS_PER_S, "hours");
}

static void push_minutes(lua_State *L, const void *self)
{
    push_units(L, self, 60 * NANOS_PER_S, "minutes");
}

static void push_seconds(lua_State *L, const void *self)
{
    push_units(L, self, NANOS_PER_S, "seconds");
}

static void push_millis(lua_State *L, const void *self)
{
    push_units(L, self, 1000000, "millis");
}

static void push_micros(lua_State *L, const void *self)
{
    push_units(L, self, 1000, "micros");
}

static void push_nanos(lua_State *L, const void *self)
{
    push_units(L, self, 1, "nanos (292 years and more)");
}

static void push_assecs(lua_State *L, const void *self)
{
    lua_pushnumber(L, (double)((long double)((const TimeDelta *)self)->span / 1e9L));
}

static int delta_index(lua_State *L)
{
    static const DateTimeField FIELDS[] = {
        {"weeks", push_weeks},     {"days", push_days},       {"hours", push_hours},
        {"minutes", push_minutes}, {"seconds", push_seconds}, {"millis", push_millis},
        {"micros", push_micros},   {"nanos", push_nanos},     {"as_secs", push_assecs},
    };
    return datetime_index(L, datetime_checkdelta(L, 1), FIELDS, BASE_ARRAY_COUNT(FIELDS),
                          "TimeDelta");
}

/* "+02:00", with seconds only if there are any. */
static int delta_offset_string(lua_State *L)
{
    Nanos span = datetime_checkdelta(L, 1)->span;
    long long seconds = nanos_floor(span < 0 ? -span : span, NANOS_PER_S, NULL);
    char text[48];
    int length = snprintf(text, sizeof(text), "%c%02lld:%02d", span < 0 ? '-' : '+', seconds / 3600,
                          (int)(seconds / 60 % 60));
    if (seconds % 60 != 0)
        snprintf(text + length, sizeof(text) - (size_t)length, ":%02d", (int)(seconds % 60));
    lua_pushstring(L, text);
    return 1;
}

/* ---- Operators --------------------------------------------------------------------------------
 */

static BASE_NORETURN void refuse_arithmetic(lua_State *L, const char *symbol)
{
    luaL_error(L, "attempt to perform arithmetic (%s) on %s and %s", symbol, luaL_typename(L, 1),
               luaL_typename(L, 2));
}

static int delta_add(lua_State *L)
{
    const TimeDelta *a = timedelta_of(L, 1), *b = timedelta_of(L, 2);
    if (a && b)
        timedelta_push(L, a->span + b->span);
    else if (a && datetime_of(L, 2))
        datetime_push(L, datetime_of(L, 2)->at + a->span, datetime_of(L, 2)->zone);
    else
        refuse_arithmetic(L, "+");
    return 1;
}

static int delta_sub(lua_State *L)
{
    const TimeDelta *a = timedelta_of(L, 1), *b = timedelta_of(L, 2);
    if (!a || !b)
        refuse_arithmetic(L, "-");
    timedelta_push(L, a->span - b->span);
    return 1;
}

static int delta_unm(lua_State *L)
{
    timedelta_push(L, -datetime_checkdelta(L, 1)->span);
    return 1;
}

/* Whole factors exactly, others as near as doubles are. */
static int delta_mul(lua_State *L)
{
    const TimeDelta *delta = timedelta_of(L, 1);
    int other = delta ? 2 : 1;
    if (!delta)
        delta = timedelta_of(L, 2);
    if (!delta || lua_type(L, other) != LUA_TNUMBER)
        refuse_arithmetic(L, "*");
    double factor = lua_tonumber(L, other), whole = floor(factor);
    if (!(fabs(factor) <= 0x1p53))
        luaL_error(L, "TimeDelta * number: the number must be within 2^53 either way");
    long double part = (long double)delta->span * (long double)(factor - whole);
    timedelta_push(L, delta->span * (Nanos)whole + (Nanos)roundl(part));
    return 1;
}

/* By a number: a span; by a span: how often it fits, a number. */
static int delta_div(lua_State *L)
{
    const TimeDelta *delta = timedelta_of(L, 1), *other = timedelta_of(L, 2);
    if (!delta || (!other && lua_type(L, 2) != LUA_TNUMBER))
        refuse_arithmetic(L, "/");
    double divisor = other ? (double)other->span : lua_tonumber(L, 2);
    if (divisor == 0)
        luaL_error(L, "division of TimeDelta by zero");
    if (other) {
        lua_pushnumber(L, (double)((long double)delta->span / (long double)other->span));
        return 1;
    }
    if (divisor != divisor)
        luaL_error(L, "division of TimeDelta by what is not a number");
    if (fabs(divisor) <= 0x1p53 && divisor == floor(divisor)) {
        timedelta_push(L, delta->span / (Nanos)divisor);
        return 1;
    }
    long double quotient = (long double)delta->span / (long double)divisor;
    bool fits = fabsl(quotient) <= 2 * (long double)TIMEDELTA_MAX;
    timedelta_push(L, fits ? (Nanos)quotient : 2 * TIMEDELTA_MAX); /* which refuses it */
    return 1;
}

static int delta_eq(lua_State *L)
{
    lua_pushboolean(L, datetime_checkdelta(L, 1)->span == datetime_checkdelta(L, 2)->span);
    return 1;
}

static int delta_lt(lua_State *L)
{
    lua_pushboolean(L, datetime_checkdelta(L, 1)->span < datetime_checkdelta(L, 2)->span);
    return 1;
}

static int delta_le(lua_State *L)
{
    lua_pushboolean(L, datetime_checkdelta(L, 1)->span <= datetime_checkdelta(L, 2)->span);
    return 1;
}

/* "-1d 2h 3m 4.5s": what is zero is left out. */
static int delta_tostring(lua_State *L)
{
    Nanos span = datetime_checkdelta(L, 1)->span, size = span < 0 ? -span : span;
    int64_t rest_ns, minutes = nanos_floor(size, 60 * NANOS_PER_S, &rest_ns);
    char text[96], seconds[TIMEDELTA_TEXT_MAX];
    int length = snprintf(text, sizeof(text), "%s", span < 0 ? "-" : "");
    if (minutes >= 24 * 60)
        length += snprintf(text + length, sizeof(text) - (size_t)length, "%lldd ",
                           (long long)minutes / (24 * 60));
    if (minutes / 60 % 24 != 0)
        length += snprintf(text + length, sizeof(text) - (size_t)length, "%dh ",
                           (int)(minutes / 60 % 24));
    if (minutes % 60 != 0)
        length += snprintf(text + length, sizeof(text) - (size_t)length, "%dm ",
                           (int)(minutes % 60));
    timedelta_write(rest_ns, seconds);
    if (rest_ns != 0 || size == 0)
        length += snprintf(text + length, sizeof(text) - (size_t)length, "%ss ", seconds);
    lua_pushlstring(L, text, (size_t)length - 1); /* all but the last blank */
    return 1;
}

void datetime_open_delta(lua_State *L)
{
    static const luaL_Reg operators[] = {
        {"__add", delta_add}, {"__sub", delta_sub}, {"__unm", delta_unm},
        {"__mul", delta_mul}, {"__div", delta_div}, {"__eq", delta_eq},
        {"__lt", delta_lt},   {"__le", delta_le},   {"__tostring", delta_tostring},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"offset_string", delta_offset_string},
        {NULL, NULL},
    };
    datetime_setmetatable(L, KHRONOS_TAG_TIMEDELTA, "TimeDelta", operators, delta_index, methods);
}
