/* @antiraid/datetime: the module and its time zones. Moments are in datetime_moment.c, spans in
 * datetime_delta.c, strftime in datetime_format.c.
 *
 * The zones of the world are read when the image is built, into a string of the image, which is
 * upvalue 1 of `new`: no file is opened for a guild. */
#include "plugins/datetime.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/clock.h"
#include "base/log.h"
#include "khronos/int64.h"
#include "plugins/plugins.h"

/* ---- For all three ----------------------------------------------------------------------------
 */

int datetime_index(lua_State *L, const void *self, const DateTimeField *fields, size_t count,
                   const char *type)
{
    const char *name = luaL_checkstring(L, 2);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, fields[i].name) == 0) {
            fields[i].push(L, self);
            return 1;
        }
    }
    lua_settop(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL)
        luaL_error(L, "%s has no field '%.64s'", type, name);
    return 1;
}

Nanos datetime_checkamount(lua_State *L, int arg, Nanos unit)
{
    enum { KIND = KHRONOS_TAG_I64 };
    if (lua_type(L, arg) != LUA_TNUMBER)
        return (Nanos)(int64_t)int64_check(L, arg, KIND, false) * unit;
    double amount = lua_tonumber(L, arg), whole = floor(amount);
    if (!(fabs(amount) <= 1e22))
        luaL_argerror(L, arg, amount == amount ? "out of range" : "not a number");
    /* Apart, because their product has more digits than a double. */
    return (Nanos)whole * unit + (Nanos)round((amount - whole) * (double)unit);
}

void datetime_pushexact(lua_State *L, Nanos value, const char *what)
{
    Nanos exact = (Nanos)1 << 53;
    if (value >= -exact && value <= exact)
        lua_pushnumber(L, (double)value);
    else if (value >= INT64_MIN && value <= INT64_MAX)
        int64_push(L, (int64_t)value);
    else
        luaL_error(L, "%s does not fit in 64 bits", what);
}

const Timezone *datetime_checkzone(lua_State *L, int arg)
{
    const Timezone *zone = timezone_of(L, arg);
    if (!zone)
        luaL_typeerror(L, arg, "Timezone");
    return zone;
}

const TimeDelta *datetime_checkdelta(lua_State *L, int arg)
{
    const TimeDelta *delta = timedelta_of(L, arg);
    if (!delta)
        luaL_typeerror(L, arg, "TimeDelta");
    return delta;
}

void datetime_setmetatable(lua_State *L, int tag, const char *type, const luaL_Reg *operators,
                           lua_CFunction index, const luaL_Reg *methods)
{
    lua_newtable(L);
    luaL_register(L, NULL, operators);
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_pushcclosure(L, index, "__index", 1);
    lua_setfield(L, -2, "__index");
    lua_pushstring(L, type);
    lua_setfield(L, -2, "__type");
    lua_pushliteral(L, "The metatable is locked");
    lua_setfield(L, -2, "__metatable");
    lua_setuserdatametatable(L, tag);
}

/* ---- Time zones: moments ----------------------------------------------------------------------
 */

/* In whole milliseconds, as os.clock has them: a finer clock would show what the processor's caches
 * tell about other guilds. */
static int zone_now(lua_State *L)
{
    const Zone *zone = datetime_checkzone(L, 1)->zone;
    datetime_push(L, (Nanos)clock_wall_ms() * (Nanos)CLOCK_NS_PER_MS, zone);
    return 1;
}

static int give_moment(lua_State *L, int arg, Nanos at, const Zone *zone)
{
    if (!datetime_isvalid(at, zone))
        luaL_argerror(L, arg, "out of the range of DateTime, the years -9999 to 9999");
    datetime_push(L, at, zone);
    return 1;
}

static int zone_fromstring(lua_State *L)
{
    const Zone *zone = datetime_checkzone(L, 1)->zone;
    size_t length;
    const char *text = luaL_checklstring(L, 2, &length);
    Nanos at = 0;
    const char *complaint = datetime_read(text, length, &at);
    if (complaint)
        luaL_argerror(L, 2, complaint);
    return give_moment(L, 2, at, zone);
}

static int from_units(lua_State *L, Nanos unit)
{
    const Zone *zone = datetime_checkzone(L, 1)->zone;
    return give_moment(L, 2, datetime_checkamount(L, 2, unit), zone);
}

static int zone_fromtime(lua_State *L)
{
    return from_units(L, NANOS_PER_S);
}

static int zone_fromtimemillis(lua_State *L)
{
    return from_units(L, 1000000);
}

static int zone_fromtimemicros(lua_State *L)
{
    return from_units(L, 1000);
}

static int zone_fromtimenanos(lua_State *L)
{
    return from_units(L, 1);
}

/* ---- Time zones: moments from their parts -----------------------------------------------------
 */

static int check_part(lua_State *L, int arg, int least, int most, bool optional, const char *name)
{
    if (optional && lua_isnoneornil(L, arg))
        return 0;
    double n = luaL_checknumber(L, arg);
    if (!(n >= least && n <= most && n == floor(n))) {
        char text[80];
        snprintf(text, sizeof(text), "%s is a whole number from %d to %d", name, least, most);
        luaL_argerror(L, arg, text);
    }
    return (int)n;
}

/* Year, month and day, and the time of day if there is one, as seconds. */
static int64_t check_parts(lua_State *L, CivilTime *civil)
{
    civil->year = check_part(L, 2, YEAR_MIN, YEAR_MAX, false, "a year");
    civil->month = check_part(L, 3, 1, 12, false, "a month");
    civil->day = check_part(L, 4, 1, civil_monthdays(civil->year, civil->month), false,
                            "a day of that month");
    civil->hour = check_part(L, 5, 0, 23, true, "an hour");
    civil->minute = check_part(L, 6, 0, 59, true, "a minute");
    civil->second = check_part(L, 7, 0, 59, true, "a second");
    return civil_to_s(civil);
}

/* utcToTz(year, month, day, hour?, minute?, second?): that moment of UTC, in the zone. */
static int zone_utctotz(lua_State *L)
{
    CivilTime civil;
    const Zone *zone = datetime_checkzone(L, 1)->zone;
    datetime_push(L, check_parts(L, &civil) * NANOS_PER_S, zone);
    return 1;
}

static BASE_NORETURN void refuse_gap(lua_State *L, const Zone *zone, const CivilTime *civil,
                                     const ZoneMoments *moments)
{
    CivilTime from, to;
    char text[200];
    civil_from_s(moments->gap_from_s, &from);
    civil_from_s(moments->gap_to_s, &to);
    bool same_day = from.day == to.day;
    snprintf(text, sizeof(text),
             "there was no %04d-%02d-%02d %02d:%02d:%02d in %s: clocks were set from "
             "%02d:%02d:%02d to %02d:%02d:%02d%s",
             (int)civil->year, civil->month, civil->day, civil->hour, civil->minute, civil->second,
             timezone_name(zone), from.hour, from.minute, from.second, to.hour, to.minute,
             to.second, same_day ? "" : " of the next day");
    luaL_error(L, "%s", text);
}

/* tzToUtc(year, month, day, hour?, minute?, second?, all?): when the zone's clocks show that, in
 * UTC; the earlier moment of two, and with `all` the later one too. */
static int zone_tztoutc(lua_State *L)
{
    CivilTime civil;
    ZoneMoments moments;
    const Zone *zone = datetime_checkzone(L, 1)->zone;
    int64_t local_s = check_parts(L, &civil);
    bool all = luaL_optboolean(L, 8, 0);
    timezone_moments(zone, local_s, &moments);
    if (moments.count == 0)
        refuse_gap(L, zone, &civil, &moments);
    datetime_push(L, moments.utc_s[0] * NANOS_PER_S, timezone_utc());
    if (!all)
        return 1;
    if (moments.count == 2)
        datetime_push(L, moments.utc_s[1] * NANOS_PER_S, timezone_utc());
    else
        lua_pushnil(L);
    return 2;
}

/* ---- Time zones as values ---------------------------------------------------------------------
 */

static int zone_eq(lua_State *L)
{
    lua_pushboolean(L, datetime_checkzone(L, 1)->zone == datetime_checkzone(L, 2)->zone);
    return 1;
}

static int zone_tostring(lua_State *L)
{
    lua_pushstring(L, timezone_name(datetime_checkzone(L, 1)->zone));
    return 1;
}

static int zone_index(lua_State *L)
{
    return datetime_index(L, datetime_checkzone(L, 1), NULL, 0, "Timezone");
}

static void open_zone(lua_State *L)
{
    static const luaL_Reg operators[] = {
        {"__eq", zone_eq},
        {"__tostring", zone_tostring},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"now", zone_now},
        {"fromString", zone_fromstring},
        {"fromTime", zone_fromtime},
        {"fromTimeMillis", zone_fromtimemillis},
        {"fromTimeMicros", zone_fromtimemicros},
        {"fromTimeNanos", zone_fromtimenanos},
        {"utcToTz", zone_utctotz},
        {"tzToUtc", zone_tztoutc},
        {NULL, NULL},
    };
    datetime_setmetatable(L, KHRONOS_TAG_TIMEZONE, "Timezone", operators, zone_index, methods);
}

/* ---- The module -------------------------------------------------------------------------------
 */

/* new(name). Upvalue 1: the block of zones; empty: there is no database. */
static int datetime_new(lua_State *L)
{
    size_t length, block_bytes;
    luaL_checktype(L, 1, LUA_TSTRING);
    const char *name = lua_tolstring(L, 1, &length);
    const char *block = lua_tolstring(L, lua_upvalueindex(1), &block_bytes);
    const Zone *zone = NULL;
    if (length == 3 && memcmp(name, "UTC", 3) == 0)
        zone = timezone_utc();
    else if (block_bytes > 0)
        zone = timezone_find(block, name, length);
    if (!zone)
        luaL_error(L,
                   block_bytes > 0
                       ? "no time zone '%.64s': names are those of the IANA database, like "
                         "'Europe/Berlin', and 'UTC'"
                       : "no time zone '%.64s': this server has no time zone database, only 'UTC' "
                         "(the operator can install tzdata and restart it)",
                   name);
    timezone_push(L, zone);
    return 1;
}

/* The image holds no userdata, so UTC is made when it is asked for. */
static int module_index(lua_State *L)
{
    if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "UTC") != 0)
        return 0;
    timezone_push(L, timezone_utc());
    return 1;
}

static int make_delta(lua_State *L, Nanos unit)
{
    Nanos span = datetime_checkamount(L, 1, unit);
    if (span < -TIMEDELTA_MAX || span > TIMEDELTA_MAX)
        luaL_argerror(L, 1, "out of the range of TimeDelta, 10,000,000 days either way");
    timedelta_push(L, span);
    return 1;
}

static int datetime_weeks(lua_State *L)
{
    return make_delta(L, 7 * DAY_S * NANOS_PER_S);
}

static int datetime_days(lua_State *L)
{
    return make_delta(L, DAY_S * NANOS_PER_S);
}

static int datetime_hours(lua_State *L)
{
    return make_delta(L, 3600 * NANOS_PER_S);
}

static int datetime_minutes(lua_State *L)
{
    return make_delta(L, 60 * NANOS_PER_S);
}

static int datetime_seconds(lua_State *L)
{
    return make_delta(L, NANOS_PER_S);
}

static int datetime_millis(lua_State *L)
{
    return make_delta(L, 1000000);
}

static int datetime_micros(lua_State *L)
{
    return make_delta(L, 1000);
}

static int datetime_nanos(lua_State *L)
{
    return make_delta(L, 1);
}

static void free_block(void *block)
{
    strbuf_free(block);
}

/* Pushes the block of zones, or "". A userdata, dropped with the making of the image, owns the
 * bytes until they are a string. */
static void push_zones(lua_State *L)
{
    Strbuf *block = lua_newuserdatadtor(L, sizeof(*block), free_block);
    int count = timezone_load(TIMEZONE_FOLDER, block);
    if (block->failed)
        luaL_error(L, "not enough memory or files to read the time zones");
    if (count == 0)
        log_message(LOG_WARN, "no time zones in %s: templates have UTC only (install tzdata)",
                    TIMEZONE_FOLDER);
    lua_pushlstring(L, count > 0 ? block->data : "", block->length);
    strbuf_free(block);
    lua_remove(L, -2);
}

void plugin_datetime_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"timedelta_weeks", datetime_weeks},
        {"timedelta_days", datetime_days},
        {"timedelta_hours", datetime_hours},
        {"timedelta_minutes", datetime_minutes},
        {"timedelta_seconds", datetime_seconds},
        {"timedelta_millis", datetime_millis},
        {"timedelta_micros", datetime_micros},
        {"timedelta_nanos", datetime_nanos},
        {NULL, NULL},
    };
    open_zone(L);
    datetime_open_moment(L);
    datetime_open_delta(L);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    push_zones(L);
    lua_pushcclosure(L, datetime_new, "new", 1);
    lua_setfield(L, -2, "new");
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, module_index, "__index");
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "The metatable is locked");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}
