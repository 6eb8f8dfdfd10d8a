/* @antiraid/datetime: time zones (as C sees them, too), moments, spans, formats, and their ways
 * over the boundary. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "khronos/datetime.h"
#include "khronos/datetime_value.h"
#include "plugin_disturb.h"

#define PRELUDE                                                                                    \
    "local dt = require('@antiraid/datetime') local ts = require('@antiraid/typesext') "           \
    "local json = require('@antiraid/json') local utc = dt.UTC "                                   \
    "local function at(s, zone) local m = utc:fromString(s) "                                      \
    "return zone and m:with_timezone(dt.new(zone)) or m end"

#define CASES(vm, cases) plugin_cases(vm, PRELUDE, cases, BASE_ARRAY_COUNT(cases))
#define ERRORS(vm, cases) plugin_errors(vm, PRELUDE, cases, BASE_ARRAY_COUNT(cases))

/* ---- Moments ----------------------------------------------------------------------------------
 */

static void test_zones_in_luau(void **state)
{
    static const PluginCase cases[] = {
        {"dt.UTC, typeof(dt.UTC), type(dt.UTC)", "UTC,Timezone,userdata"},
        {"dt.new('UTC') == dt.UTC, dt.new('Etc/UTC') == dt.UTC", "true,false"},
        {"dt.new('Europe/Berlin'), dt.new('Europe/Berlin') == dt.new('Europe/Berlin')",
         "Europe/Berlin,true"},
        {"getmetatable(dt.UTC), getmetatable(dt), dt.nothing",
         "The metatable is locked,The metatable is locked,nil"},
        {"utc:fromTime(0), utc:fromTime(1.5), utc:fromTime(-0.25)",
         "1970-01-01T00:00:00Z,1970-01-01T00:00:01.5Z,1969-12-31T23:59:59.75Z"},
        {"utc:fromTimeMillis(1743296400001), utc:fromTimeMicros(-1), utc:fromTimeNanos(1)",
         "2025-03-30T01:00:00.001Z,1969-12-31T23:59:59.999999Z,1970-01-01T00:00:00.000000001Z"},
        {"utc:fromTimeNanos(ts.I64('1743296400123456789'))", "2025-03-30T01:00:00.123456789Z"},
        {"utc:fromTime(ts.U64(5)), utc:fromTime(5i)", "1970-01-01T00:00:05Z,1970-01-01T00:00:05Z"},
        {"dt.new('Europe/Berlin'):fromTime(1743296400)", "2025-03-30T03:00:00+02:00"},
        {"dt.new('Asia/Kathmandu'):fromTime(0)", "1970-01-01T05:30:00+05:30"},
        {"utc:fromString('2025-03-30T03:30:00.5+02:00')", "2025-03-30T01:30:00.5Z"},
        {"utc:fromString('2025-03-30 01:30:00z')", "2025-03-30T01:30:00Z"},
        {"utc:fromString('2016-12-31T23:59:60Z')", "2016-12-31T23:59:59Z"},
        {"utc:fromString('2000-01-01T00:00:00.1234567899Z')", "2000-01-01T00:00:00.123456789Z"},
        {"utc:fromString('-0044-03-15T00:00:00Z'), utc:fromString('0000-02-29T00:00:00-23:59')",
         "-0044-03-15T00:00:00Z,0000-02-29T23:59:00Z"},
        {"dt.new('America/New_York'):fromString('2025-07-01T00:00:00Z')",
         "2025-06-30T20:00:00-04:00"},
        {"local n = utc:now() return math.abs(n.timestamp_seconds - os.time()) < 1000, "
         "n.timezone",
         "true,UTC"},
        {"for i = 1, 50 do assert(tostring(utc:now().timestamp_nanos):sub(-6) == '000000') end return 1",
         "1"},
        {"dt.new('Europe/Berlin'):utcToTz(2025, 3, 30, 1), utc:utcToTz(2024, 2, 29)",
         "2025-03-30T03:00:00+02:00,2024-02-29T00:00:00Z"},
        {"dt.new('Europe/Berlin'):tzToUtc(2025, 3, 30, 3, 0, 0)", "2025-03-30T01:00:00Z"},
        {"dt.new('Europe/Berlin'):tzToUtc(2025, 10, 26, 2, 30)", "2025-10-26T00:30:00Z"},
        {"dt.new('Europe/Berlin'):tzToUtc(2025, 10, 26, 2, 30, 0, true)",
         "2025-10-26T00:30:00Z,2025-10-26T01:30:00Z"},
        {"dt.new('Europe/Berlin'):tzToUtc(2025, 10, 26, 4, 0, 0, true)",
         "2025-10-26T03:00:00Z,nil"},
        {"utc:fromString('9999-12-31T23:59:59.999999999Z'), "
         "utc:fromString('-9999-01-01T00:00:00Z')",
         "9999-12-31T23:59:59.999999999Z,-9999-01-01T00:00:00Z"},
    };
    CASES(*state, cases);
}

static void test_zone_errors(void **state)
{
    static const PluginCase errors[] = {
        {"dt.new('../../etc/passwd')",
         "no time zone '../../etc/passwd': names are those of the IANA database, like "
         "'Europe/Berlin', and 'UTC'"},
        {"dt.new('/etc/localtime')", "no time zone '/etc/localtime'"},
        {"dt.new('posix/Europe/Berlin')", "no time zone"},
        {"dt.new('europe/berlin')", "no time zone"},
        {"dt.new('')", "no time zone ''"},
        {"dt.new('UTC\\0')", "no time zone 'UTC'"},
        {"dt.new(('x'):rep(1e6))", "no time zone 'xxx"},
        {"dt.new(5)", "string expected, got number"},
        {"dt.new()", "missing argument #1"},
        {"utc.now()", "missing argument #1 to 'now'"},
        {"utc.now({})", "Timezone expected, got table"},
        {"utc:nothing()", "Timezone has no field 'nothing'"},
        {"utc.x = 1 return 1", "attempt to index Timezone with 'x'"},
        {"utc:fromTime(0/0)", "invalid argument #2 to 'fromTime' (not a number)"},
        {"utc:fromTime(math.huge)", "out of range"},
        {"utc:fromTime(-math.huge)", "out of range"},
        {"utc:fromTime(1e300)", "out of range"},
        {"utc:fromTime(253402300800)", "out of the range of DateTime, the years -9999 to 9999"},
        {"utc:fromTime(-377705116801)", "out of the range of DateTime"},
        {"utc:fromTimeNanos(1e22)", "out of the range of DateTime"},
        {"utc:fromTimeMillis('5')", "expected, got string"},
        {"utc:fromTimeNanos(ts.U64('18446744073709551615'))", "out of the range of I64"},
        {"dt.new('Europe/Berlin'):fromTime(253402300799)", "out of the range of DateTime"},
        {"dt.new('America/New_York'):utcToTz(-9999, 1, 1)", "out of the range of DateTime"},
        {"dt.new('Europe/Berlin'):tzToUtc(-9999, 1, 1)", "out of the range of DateTime"},
        {"utc:utcToTz(2025, 13, 1)", "#3 to 'utcToTz' (a month is a whole number from 1 to 12)"},
        {"utc:utcToTz(2025, 0, 1)", "a month is"},
        {"utc:utcToTz(2025, 2, 29)", "a day of that month is a whole number from 1 to 28"},
        {"utc:utcToTz(2025, 4, 31)", "from 1 to 30"},
        {"utc:utcToTz(1e9, 1, 1)", "a year is a whole number from -9999 to 9999"},
        {"utc:utcToTz(-1e9, 1, 1)", "a year is"},
        {"utc:utcToTz(0/0, 1, 1)", "a year is"},
        {"utc:utcToTz(2025.5, 1, 1)", "a year is"},
        {"utc:utcToTz(2025, 1, 1, 24)", "an hour is a whole number from 0 to 23"},
        {"utc:utcToTz(2025, 1, 1, 0, 60)", "a minute is"},
        {"utc:utcToTz(2025, 1, 1, 0, 0, 60)", "a second is"},
        {"utc:utcToTz(2025, 1)", "missing argument #4"},
        {"utc:tzToUtc(2025, 1, 1, 0, 0, 0, 1)", "boolean expected"},
        {"dt.new('Europe/Berlin'):tzToUtc(2025, 3, 30, 2, 30)",
         "there was no 2025-03-30 02:30:00 in Europe/Berlin: clocks were set from 02:00:00 to "
         "03:00:00"},
        {"dt.new('Pacific/Apia'):tzToUtc(2011, 12, 30, 12)",
         "clocks were set from 00:00:00 to 00:00:00 of the next day"},
        {"utc:fromString('2025-13-01T00:00:00Z')", "there is no such month"},
        {"utc:fromString('2025-02-29T00:00:00Z')", "the month has no such day"},
        {"utc:fromString('2025-02-00T00:00:00Z')", "the month has no such day"},
        {"utc:fromString('2025-01-01T24:00:00Z')", "there is no such time of day"},
        {"utc:fromString('2025-01-01T00:00:61Z')", "there is no such time of day"},
        {"utc:fromString('2025-01-01T00:00:00')", "not a moment as RFC 3339 writes it"},
        {"utc:fromString('2025-01-01')", "not a moment"},
        {"utc:fromString('')", "not a moment"},
        {"utc:fromString('2025-01-01T00:00:00.Z')", "not a moment"},
        {"utc:fromString('2025-01-01T00:00:00Zx')", "not a moment"},
        {"utc:fromString('2025-01-01T00:00:00+2:00')", "not a moment"},
        {"utc:fromString('2025-01-01T00:00:00+24:00')", "not a moment"},
        {"utc:fromString('2025-01-01T00:00:00\\0Z')", "not a moment"},
        {"utc:fromString('12025-01-01T00:00:00Z')", "not a moment"},
        {"utc:fromString(('2'):rep(1e6))", "not a moment"},
        {"utc:fromString('9999-12-31T23:59:59-01:00')", "out of the range of DateTime"},
        {"dt.UTC + 1", "attempt to perform arithmetic"},
        {"dt.UTC < dt.UTC", "attempt to compare"},
    };
    ERRORS(*state, errors);
}

static void test_fields(void **state)
{
    static const PluginCase cases[] = {
        {"local m = at('2025-07-14T22:05:09.123456789Z', 'Europe/Berlin') "
         "return m.year, m.month, m.day, m.hour, m.minute, m.second, m.timezone",
         "2025,7,15,0,5,9,Europe/Berlin"},
        {"local m = at('2025-07-14T22:05:09.123456789Z') return m.timestamp_seconds, "
         "m.timestamp_millis, m.timestamp_micros, m.timestamp_nanos, typeof(m.timestamp_nanos)",
         "1752530709,1752530709123,1752530709123456,1752530709123456789,I64"},
        {"local m = utc:fromTimeNanos(-1) return m.timestamp_seconds, m.timestamp_nanos, "
         "type(m.timestamp_nanos)",
         "-1,-1,number"},
        {"local m = utc:fromTimeNanos(2^53) return type(m.timestamp_nanos)", "number"},
        {"typeof(at('9999-12-31T23:59:59Z').timestamp_micros)", "I64"},
        {"local m = at('2025-07-14T00:00:00Z', 'Europe/Berlin') return m.base_offset:"
         "offset_string(), m.dst_offset:offset_string(), m.dst_offset.hours",
         "+01:00,+01:00,1"},
        {"local m = at('2025-01-14T00:00:00Z', 'Australia/Lord_Howe') return "
         "m.base_offset:offset_string(), m.dst_offset:offset_string()",
         "+10:30,+00:30"},
        {"local m = at('1850-01-14T00:00:00Z', 'Europe/Berlin') return tostring(m), "
         "m.base_offset:offset_string(), m.minute, m.second",
         "1850-01-14T00:53:00+00:53,+00:53:28,53,28"},
        {"local m = at('1850-01-14T00:00:00Z', 'Europe/Berlin') "
         "return utc:fromString(tostring(m)) == m",
         "true"},
        {"typeof(utc:fromTime(0)), getmetatable(utc:fromTime(0))",
         "DateTime,The metatable is locked"},
    };
    static const PluginCase errors[] = {
        {"at('9999-12-31T23:59:59Z').timestamp_nanos",
         "timestamp_nanos (before 1677 or after 2262) does not fit in 64 bits"},
        {"utc:fromTime(0).nothing", "DateTime has no field 'nothing'"},
        {"utc:fromTime(0)[1]", "DateTime has no field '1'"},
        {"utc:fromTime(0)[{}]", "string expected, got table"},
        {"local m = utc:fromTime(0) m.year = 1 return 1", "attempt to index DateTime with 'year'"},
        {"utc:fromTime(0):with_timezone()", "missing argument #2"},
        {"utc:fromTime(0):with_timezone('UTC')", "Timezone expected, got string"},
        {"utc:fromTime(0).format('%Y')", "DateTime expected, got string"},
        {"at('9999-12-31T23:59:59Z'):with_timezone(dt.new('Asia/Tokyo'))",
         "out of the range of DateTime"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

static void test_arithmetic(void **state)
{
    static const PluginCase cases[] = {
        {"at('2025-03-29T12:00:00Z', 'Europe/Berlin') + dt.timedelta_days(1)",
         "2025-03-30T14:00:00+02:00"},
        {"dt.timedelta_hours(1) + utc:fromTime(0), utc:fromTime(0) - dt.timedelta_nanos(1)",
         "1970-01-01T01:00:00Z,1969-12-31T23:59:59.999999999Z"},
        {"utc:fromTime(10) - utc:fromTime(4), typeof(utc:fromTime(1) - utc:fromTime(0))",
         "6s,TimeDelta"},
        {"utc:fromTime(4):duration_since(utc:fromTime(10)).seconds", "-6"},
        {"utc:fromTime(5) == dt.new('Europe/Berlin'):fromTime(5), utc:fromTime(5) == utc:fromTime(6)",
         "true,false"},
        {"utc:fromTime(5) < utc:fromTime(6), utc:fromTime(5) <= utc:fromTime(5), "
         "utc:fromTime(5) > utc:fromTime(6)",
         "true,true,false"},
        {"at('9999-12-31T23:59:59Z') - at('-9999-01-01T00:00:00Z')", "7304483d 23h 59m 59s"},
        {"dt.timedelta_weeks(1), dt.timedelta_days(-1), dt.timedelta_minutes(61)", "7d,-1d,1h 1m"},
        {"dt.timedelta_seconds(1.5), dt.timedelta_millis(1), dt.timedelta_micros(-1), "
         "dt.timedelta_nanos(1)",
         "1.5s,0.001s,-0.000001s,0.000000001s"},
        {"dt.timedelta_seconds(0), dt.timedelta_seconds(90061.25)", "0s,1d 1h 1m 1.25s"},
        {"dt.timedelta_hours(0.5) == dt.timedelta_minutes(30)", "true"},
        {"local d = dt.timedelta_days(-10) return d.weeks, d.days, d.hours, d.minutes, d.seconds",
         "-1,-10,-240,-14400,-864000"},
        {"local d = dt.timedelta_millis(1500) return d.seconds, d.millis, d.micros, d.nanos, "
         "d.as_secs",
         "1,1500,1500000,1500000000,1.5"},
        {"dt.timedelta_millis(-1500).seconds, dt.timedelta_millis(-1500).as_secs", "-1,-1.5"},
        {"dt.timedelta_days(200).nanos, typeof(dt.timedelta_days(200).nanos)",
         "17280000000000000,I64"},
        {"dt.timedelta_hours(-5):offset_string(), dt.timedelta_seconds(20700):offset_string(), "
         "dt.timedelta_seconds(3208):offset_string(), dt.timedelta_days(100):offset_string()",
         "-05:00,+05:45,+00:53:28,+2400:00"},
        {"-dt.timedelta_hours(1), dt.timedelta_hours(1) + dt.timedelta_hours(2), "
         "dt.timedelta_hours(1) - dt.timedelta_hours(2)",
         "-1h,3h,-1h"},
        {"dt.timedelta_hours(1) * 2.5, 3 * dt.timedelta_nanos(1), dt.timedelta_hours(1) / 8",
         "2h 30m,0.000000003s,7m 30s"},
        {"dt.timedelta_hours(1) / 0.25, dt.timedelta_hours(3) / dt.timedelta_hours(2), "
         "dt.timedelta_hours(1) / math.huge",
         "4h,1.5,0s"},
        {"dt.timedelta_days(1e7) * 1, dt.timedelta_days(1e7) * -1 < dt.timedelta_days(0)",
         "10000000d,true"},
        {"dt.timedelta_hours(1) < dt.timedelta_hours(2), dt.timedelta_hours(1) >= "
         "dt.timedelta_minutes(60), dt.timedelta_hours(1) == utc:fromTime(3600)",
         "true,true,false"},
        {"typeof(dt.timedelta_hours(1)), dt.timedelta_seconds(ts.I64(-5))", "TimeDelta,-5s"},
    };
    CASES(*state, cases);
}

static void test_arithmetic_errors(void **state)
{
    static const PluginCase errors[] = {
        {"utc:fromTime(0) + 5", "attempt to perform arithmetic (+) on DateTime and number"},
        {"utc:fromTime(0) + utc:fromTime(0)", "arithmetic (+) on DateTime and DateTime"},
        {"dt.timedelta_hours(1) - utc:fromTime(0)", "arithmetic (-) on TimeDelta and DateTime"},
        {"5 - utc:fromTime(0)", "arithmetic (-) on number and DateTime"},
        {"utc:fromTime(0) * 2", "attempt to perform arithmetic"},
        {"dt.timedelta_hours(1) + 1", "arithmetic (+) on TimeDelta and number"},
        {"dt.timedelta_hours(1) * dt.timedelta_hours(1)", "arithmetic (*)"},
        {"dt.timedelta_hours(1) * '2'", "arithmetic (*)"},
        {"1 / dt.timedelta_hours(1)", "arithmetic (/)"},
        {"dt.timedelta_hours(1) * (0/0)", "the number must be within 2^53"},
        {"dt.timedelta_hours(1) * math.huge", "the number must be within 2^53"},
        {"dt.timedelta_hours(1) * 2^53", "out of the range of TimeDelta"},
        {"dt.timedelta_hours(1) / 0", "division of TimeDelta by zero"},
        {"dt.timedelta_hours(1) / dt.timedelta_hours(0)", "division of TimeDelta by zero"},
        {"dt.timedelta_hours(1) / (0/0)", "what is not a number"},
        {"dt.timedelta_hours(1) / 1e-300", "out of the range of TimeDelta"},
        {"dt.timedelta_days(1e7) + dt.timedelta_nanos(1)", "out of the range of TimeDelta"},
        {"dt.timedelta_days(1e7 + 1)", "invalid argument #1 to 'timedelta_days' (out of the range"},
        {"dt.timedelta_nanos(0/0)", "not a number"},
        {"dt.timedelta_weeks(1e22)", "out of the range of TimeDelta"},
        {"dt.timedelta_weeks(math.huge)", "out of range"},
        {"dt.timedelta_weeks('1')", "expected, got string"},
        {"dt.timedelta_weeks()", "missing argument #1"},
        {"at('9999-12-31T23:59:59Z') + dt.timedelta_seconds(1)", "out of the range of DateTime"},
        {"at('-9999-01-01T00:00:00Z') - dt.timedelta_nanos(1)", "out of the range of DateTime"},
        {"dt.timedelta_days(1e7).nanos", "nanos (292 years and more) does not fit in 64 bits"},
        {"utc:fromTime(0) < dt.timedelta_hours(1)", "attempt to compare"},
        {"utc:fromTime(0) < 5", "attempt to compare"},
        {"utc:fromTime(0):duration_since(5)", "DateTime expected, got number"},
        {"dt.timedelta_hours(1).nothing", "TimeDelta has no field 'nothing'"},
    };
    ERRORS(*state, errors);
}

/* ---- Formats ----------------------------------------------------------------------------------
 */

static void test_format(void **state)
{
    static const PluginCase cases[] = {
        {"at('2001-07-08T00:34:59.026490708Z', 'Asia/Tokyo'):format("
         "'%Y %C %y %m %b %B %h %d %e %a %A %w %u %U %W %G %g %V %j %D %x %F')",
         "2001 20 01 07 Jul July Jul 08  8 Sun Sunday 0 7 27 27 2001 01 27 189 07/08/01 07/08/01 "
         "2001-07-08"},
        {"at('2001-07-08T00:34:59.026490708Z', 'Asia/Tokyo'):format("
         "'%H %k %I %l %P %p %M %S %f %.f %.3f %.6f %.9f %3f %6f %9f %R %T %X %r %Z %z %:z %c %+ %s')",
         "09  9 09  9 am AM 34 59 026490708 .026490708 .026 .026490 .026490708 026 026490 026490708 "
         "09:34 09:34:59 09:34:59 09:34:59 AM JST +0900 +09:00 Sun Jul  8 09:34:59 2001 "
         "2001-07-08T09:34:59.026490708+09:00 994552499"},
        {"utc:fromTime(0):format('%%a%nb%t[]'), utc:fromTime(0):format('')", "%a\nb\t[],"},
        {"utc:fromTime(0):format('%.f|%+|%Z|%z')", "|1970-01-01T00:00:00Z|UTC|+0000"},
        {"utc:fromTime(0):format('%-d %_d %-m %_H %0e %-H %_Y %-j')", "1  1 1  0 01 0 1970 1"},
        {"at('2025-01-01T00:30:00Z'):format('%I %l %p'), at('2025-01-01T12:30:00Z'):format('%I %p')",
         "12 12 AM,12 PM"},
        {"at('-0044-03-15T00:00:00Z'):format('%Y %C %y %G')", "-0044 -01 56 -0044"},
        {"at('2025-01-01T00:00:00Z', 'America/St_Johns'):format('%z %:z %Z')", "-0330 -03:30 NST"},
        /* weeks at the ends of years */
        {"at('2021-01-03T00:00:00Z'):format('%G-W%V-%u %U %W')", "2020-W53-7 01 00"},
        {"at('2024-12-30T00:00:00Z'):format('%G-W%V-%u %U %W')", "2025-W01-1 52 53"},
        {"at('2026-12-31T00:00:00Z'):format('%G-W%V-%u %j')", "2026-W53-4 365"},
        {"at('2000-01-01T00:00:00Z'):format('%G-W%V-%u %g')", "1999-W52-6 99"},
        {"at('2012-01-01T00:00:00Z'):format('%U %W')", "01 00"},
        {"#utc:fromTime(0):format(('x'):rep(65536))", "65536"},
        {"#utc:fromTime(0):format(('%Y'):rep(10000))", "40000"},
        {"utc:fromTime(0):format(('%.f'):rep(300000)) == ''", "true"},
        {"#utc:fromTime(0):format('a\\0b\\255')", "4"},
    };
    static const PluginCase errors[] = {
        {"utc:fromTime(0):format('%Q')", "no specifier '%Q' in formats of moments"},
        {"utc:fromTime(0):format('%E')", "no specifier '%E'"},
        {"utc:fromTime(0):format('abc %')", "a format ends in the middle of a specifier"},
        {"utc:fromTime(0):format('%-')", "no specifier '%-'"},
        {"utc:fromTime(0):format('%-A')", "no specifier '%-A'"},
        {"utc:fromTime(0):format('%5f')", "no specifier '%5f'"},
        {"utc:fromTime(0):format('%:')", "no specifier '%:'"},
        {"utc:fromTime(0):format('%.4f')", "no specifier '%.4f'"},
        {"utc:fromTime(0):format('%3')", "no specifier '%3'"},
        {"utc:fromTime(0):format('%\\0')", "no specifier '%"},
        {"utc:fromTime(0):format(('%c'):rep(500000))",
         "the formatted text is longer than 65536 bytes"},
        {"utc:fromTime(0):format(('x'):rep(65537))", "longer than 65536 bytes"},
        {"utc:fromTime(0):format({})", "string expected, got table"},
        {"utc:fromTime(0):format()", "missing argument #2"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

/* ---- The boundary -----------------------------------------------------------------------------
 */

static void test_json(void **state)
{
    static const PluginCase cases[] = {
        {"json.encode({at('2025-03-30T01:00:00.25Z', 'Europe/Berlin'), utc:fromTime(0)})",
         "[\"2025-03-30T03:00:00.25+02:00\",\"1970-01-01T00:00:00Z\"]"},
        {"json.encode({a = dt.timedelta_millis(-1500)}), json.encode(dt.timedelta_days(1))",
         "{\"a\":-1.5},86400"},
        {"json.encode(dt.timedelta_nanos(-1)), json.encode(dt.timedelta_days(-1e7))",
         "-0.000000001,-864000000000"},
        {"json.encode(at('-9999-01-01T00:00:00.000000001Z'))",
         "\"-9999-01-01T00:00:00.000000001Z\""},
    };
    static const PluginCase errors[] = {
        {"json.encode({z = utc})", "value.z: userdata has no JSON form"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

static bool to_ms(lua_State *L, int64_t *ms)
{
    bool good = datetime_to_ms(L, -1, ms);
    lua_pop(L, 1);
    return good;
}

static void test_ms(void **state)
{
    PluginVm *vm = *state;
    lua_State *L = vm->L;
    int64_t ms = 0;
    lua_pushnumber(L, 1.2345);
    assert_true(to_ms(L, &ms) && ms == 1234);
    lua_pushnumber(L, -0.0001);
    assert_true(to_ms(L, &ms) && ms == -1);
    lua_pushstring(L, "2025-03-30T03:00:00.5+02:00");
    assert_true(to_ms(L, &ms) && ms == INT64_C(1743296400500));
    datetime_push_ms(L, INT64_C(1743296400501));
    assert_true(to_ms(L, &ms) && ms == INT64_C(1743296400501));
    datetime_push_ms(L, -1);
    assert_true(to_ms(L, &ms) && ms == -1);
    datetime_push_ms(L, INT64_MAX);
    assert_true(to_ms(L, &ms) && ms == DATETIME_MAX_S * 1000 + 999);
    datetime_push_ms(L, INT64_MIN);
    assert_true(to_ms(L, &ms) && ms == DATETIME_MIN_S * 1000);
    static const double BAD[] = {1e18, -1e18, 253402300800.0, -377705116801.0};
    for (size_t i = 0; i < BASE_ARRAY_COUNT(BAD); i++) {
        lua_pushnumber(L, BAD[i]);
        assert_false(to_ms(L, &ms));
    }
    lua_pushnumber(L, __builtin_nan(""));
    assert_false(to_ms(L, &ms));
    lua_pushnumber(L, __builtin_inf());
    assert_false(to_ms(L, &ms));
    lua_pushstring(L, "tomorrow");
    assert_false(to_ms(L, &ms));
    lua_pushnil(L);
    assert_false(to_ms(L, &ms));
    lua_newtable(L);
    assert_false(to_ms(L, &ms));
    lua_pushnumber(L, 253402300799.5);
    assert_true(to_ms(L, &ms) && ms == DATETIME_MAX_S * 1000 + 500);
    datetime_push_ms(L, 0); /* a userdata that is passed in works as any other */
    plugin_expect(vm, "local m = ... return m.year, tostring(m)", "1970,1970-01-01T00:00:00Z");
}

static void test_promise(void **state)
{
    static const PluginCase cases[] = {
        {"require('@antiraid/promise').yield(1, nil, 'x')", "1,nil,x"},
        {"select('#', require('@antiraid/promise').yield())", "0"},
    };
    CASES(*state, cases);
}

/* ---- Disturbances -----------------------------------------------------------------------------
 */

static const char SCRIPT[] = PRELUDE
    " local zones = {'UTC', 'Europe/Berlin', 'Australia/Lord_Howe'} local out = {} "
    "for i, name in zones do local zone = dt.new(name) local m = zone:fromTime(1743296400 + i) "
    "table.insert(out, m:format('%c %+ ' .. ('%.f%Y'):rep(300))) "
    "table.insert(out, tostring(m + dt.timedelta_hours(i) * 2)) "
    "table.insert(out, json.encode({m, m - zone:fromTime(0), t = nil})) "
    "table.insert(out, tostring(m.base_offset + m.dst_offset)) "
    "table.insert(out, (tostring(m.timestamp_nanos))) "
    "table.insert(out, tostring(zone:tzToUtc(2025, 10, 26, 2, 30))) "
    "table.insert(out, tostring(select(2, pcall(zone.fromString, zone, 'x')))) end "
    "return table.concat(out, ' ')";

static void test_polls(void **state)
{
    plugin_disturb_polls(*state, SCRIPT, 20, 300);
}

static void test_memory(void **state)
{
    plugin_disturb_memory(*state, SCRIPT, 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, plugin_setup, plugin_teardown)
#define STRESSED(function)                                                                         \
    cmocka_unit_test_setup_teardown(function, plugin_setup_stressed, plugin_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_zones_in_luau),
        TEST(test_zone_errors),
        TEST(test_fields),
        TEST(test_arithmetic),
        TEST(test_arithmetic_errors),
        TEST(test_format),
        TEST(test_json),
        TEST(test_ms),
        TEST(test_promise),
        TEST(test_polls),
        TEST(test_memory),
    };
    const struct CMUnitTest stressed[] = {
        STRESSED(test_zones_in_luau),
        STRESSED(test_fields),
        STRESSED(test_arithmetic),
        STRESSED(test_json),
    };
    int failed = cmocka_run_group_tests_name("datetime", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("datetime, stressed", stressed, NULL, NULL);
}
