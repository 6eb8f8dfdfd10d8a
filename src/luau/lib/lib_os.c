/* lib_os.c: the clock and the calendar (reference 11.11).
 *
 * Calendar arithmetic is our own (the proleptic Gregorian calendar, in days since 1970-01-01), and
 * so is formatting, with the names of the C locale: neither depends on the locale of the process.
 * The C library is asked only for the offset of local time. */
#include <stdio.h>
#include <time.h>

#include "luau/lib/lib.h"

enum { SECONDS_PER_DAY = 86400, FORMAT_POLL_STEPS = 256 };

/* Beyond it years would not fit C's struct tm. */
#define TIME_MAX 67767976233532800

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days from 1970-01-01 to the first of that month; month from 0, in range. Years are cut before
 * March, so that the leap day is a year's last. */
static int64_t days_of_month(int64_t year, int month)
{
    int64_t y = month < 2 ? year - 1 : year;
    int64_t era = floor_div(y, 400), year_of_era = y - era * 400;
    int64_t month_from_march = (month + 10) % 12;
    int64_t day_of_year = (153 * month_from_march + 2) / 5;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

/* A broken-down time. What the C library knows of a time zone stands beside it. */
typedef struct Date {
    int64_t year;
    int month, day; /* 0..11, 1..31 */
    int hour, minute, second;
    int week_day, year_day; /* 0..6 from Sunday, 0..365 */
    int is_dst;             /* < 0: unknown */
    long offset;            /* seconds east of UTC */
    const char *zone;
} Date;

static void date_of_utc(int64_t t, Date *d)
{
    int64_t days = floor_div(t, SECONDS_PER_DAY);
    int second = (int)(t - days * SECONDS_PER_DAY);
    int64_t z = days + 719468, era = floor_div(z, 146097), day_of_era = z - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 -
                           day_of_era / 146096) /
                          365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month_from_march = (int)((5 * day_of_year + 2) / 153);
    d->day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    d->month = (month_from_march + 2) % 12;
    d->year = year_of_era + era * 400 + (d->month < 2);
    d->hour = second / 3600;
    d->minute = second / 60 % 60;
    d->second = second % 60;
    d->week_day = (int)(days + 4 - floor_div(days + 4, 7) * 7);
    d->year_day = (int)(days - days_of_month(d->year, 0));
    d->is_dst = 0;
    d->offset = 0;
    d->zone = "GMT";
}

/* `parts` must live as long as *d: it may own the name of the zone. */
static bool date_of_local(int64_t t, Date *d, struct tm *parts)
{
    time_t time = (time_t)t;
    if (t < 0 || !localtime_r(&time, parts))
        return false;
    *d = (Date){
        .year = (int64_t)parts->tm_year + 1900,
        .month = parts->tm_mon,
        .day = parts->tm_mday,
        .hour = parts->tm_hour,
        .minute = parts->tm_min,
        .second = parts->tm_sec,
        .week_day = parts->tm_wday,
        .year_day = parts->tm_yday,
        .is_dst = parts->tm_isdst,
        .offset = parts->tm_gmtoff,
        .zone = parts->tm_zone ? parts->tm_zone : "",
    };
    return true;
}

/* Seconds as a C time: truncated; out of range and NaN: the lowest. */
static int64_t to_time(double t)
{
    return t > -0x1p63 && t < 0x1p63 ? (int64_t)t : INT64_MIN;
}

/* ---- time, clock ---- */

static int os_clock(lua_State *L)
{
    lib_pushnumber(L, lua_clock());
    return 1;
}

/* A field of the table at argument 1 as an int; default_value < 0: it must be there. */
static int64_t date_field(lua_State *L, const char *name, int default_value)
{
    lua_rawgetfield(L, 1, name);
    int64_t result = default_value;
    if (lua_isnumber(L, -1))
        result = lua_tointeger(L, -1);
    else if (default_value < 0)
        luaL_error(L, "field '%s' missing in date table", name);
    lua_pop(L, 1);
    return result;
}

static int os_time(lua_State *L)
{
    if (lib_isnoneornil(L, 1)) {
        lib_pushnumber(L, (double)time(NULL));
        return 1;
    }
    lib_checktable(L, 1);
    lua_settop(L, 1);
    int64_t second = date_field(L, "sec", 0), minute = date_field(L, "min", 0);
    int64_t hour = date_field(L, "hour", 12), day = date_field(L, "day", -1);
    int64_t month = date_field(L, "month", -1) - 1, year = date_field(L, "year", -1);

    int64_t carry = floor_div(month, 12);
    int64_t days = days_of_month(year + carry, (int)(month - carry * 12)) + day - 1;
    int64_t t = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    if (days < 0 || t < 0)
        luD_push(L, VAL_NIL);
    else
        lib_pushnumber(L, (double)t);
    return 1;
}

static int os_difftime(lua_State *L)
{
    int64_t a = to_time(lib_checknumber(L, 1));
    int64_t b = lib_isnoneornil(L, 2) ? 0 : to_time(lib_checknumber(L, 2));
    lib_pushnumber(L, (double)a - (double)b);
    return 1;
}

/* ---- date ---- */

static const char *const week_days[] = {
    "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday",
};
static const char *const months[] = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December",
};

enum { ITEM_MAX = 128 };

/* Writes what one conversion gives; the length, or -1 if there is no such conversion. */
static int format_item(char *out, char conversion, const Date *d)
{
    int hour12 = d->hour % 12 ? d->hour % 12 : 12;
    int week;
#define PUT(...) return snprintf(out, ITEM_MAX, __VA_ARGS__)
    switch (conversion) {
    case 'a': PUT("%.3s", week_days[d->week_day]);
    case 'A': PUT("%s", week_days[d->week_day]);
    case 'b': PUT("%.3s", months[d->month]);
    case 'B': PUT("%s", months[d->month]);
    case 'c':
        PUT("%.3s %.3s %2d %02d:%02d:%02d %lld", week_days[d->week_day], months[d->month], d->day,
            d->hour, d->minute, d->second, (long long)d->year);
    case 'd': PUT("%02d", d->day);
    case 'H': PUT("%02d", d->hour);
    case 'I': PUT("%02d", hour12);
    case 'j': PUT("%03d", d->year_day + 1);
    case 'm': PUT("%02d", d->month + 1);
    case 'M': PUT("%02d", d->minute);
    case 'p': PUT("%s", d->hour < 12 ? "AM" : "PM");
    case 'S': PUT("%02d", d->second);
    case 'U': week = (d->year_day + 7 - d->week_day) / 7; PUT("%02d", week);
    case 'w': PUT("%d", d->week_day);
    case 'W': week = (d->year_day + 7 - (d->week_day + 6) % 7) / 7; PUT("%02d", week);
    case 'x':
        PUT("%02d/%02d/%02d", d->month + 1, d->day, (int)(d->year - floor_div(d->year, 100) * 100));
    case 'X': PUT("%02d:%02d:%02d", d->hour, d->minute, d->second);
    case 'y': PUT("%02d", (int)(d->year - floor_div(d->year, 100) * 100));
    case 'Y': PUT("%lld", (long long)d->year);
    case 'z': {
        long minutes = (d->offset < 0 ? -d->offset : d->offset) / 60;
        PUT("%c%02ld%02ld", d->offset < 0 ? '-' : '+', minutes / 60, minutes % 60);
    }
    case 'Z': PUT("%.63s", d->zone);
    case '%': PUT("%%");
    default: return -1;
    }
#undef PUT
}

static void push_date_table(lua_State *L, const Date *d)
{
    const struct {
        const char *name;
        int64_t value;
    } fields[] = {
        {"sec", d->second},        {"min", d->minute},        {"hour", d->hour},
        {"day", d->day},           {"month", d->month + 1},   {"year", d->year},
        {"wday", d->week_day + 1}, {"yday", d->year_day + 1},
    };
    lua_createtable(L, 0, 9);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(fields); i++) {
        lua_pushnumber(L, (double)fields[i].value);
        lua_setfield(L, -2, fields[i].name);
    }
    if (d->is_dst >= 0) {
        lua_pushboolean(L, d->is_dst);
        lua_setfield(L, -2, "isdst");
    }
}

static void push_date_text(lua_State *L, const char *format, const Date *d)
{
    char item[ITEM_MAX];
    luaL_Strbuf text;
    luaL_buffinit(L, &text);
    for (unsigned steps = 1; *format; format++, steps++) {
        if (*format != '%' || format[1] == '\0') {
            luaL_addchar(&text, *format);
        } else {
            int length = format_item(item, *++format, d);
            if (length < 0)
                luaL_argerror(L, 1, "invalid conversion specifier");
            luaL_addlstring(&text, item, (size_t)length);
        }
        if (steps % FORMAT_POLL_STEPS == 0)
            luY_poll(L);
    }
    luaL_pushresult(&text);
}

static int os_date(lua_State *L)
{
    const char *format = luaL_optstring(L, 1, "%c");
    int64_t t = lib_isnoneornil(L, 2) ? (int64_t)time(NULL) : to_time(lib_checknumber(L, 2));
    Date date;
    struct tm parts;
    bool valid;
    if (*format == '!') {
        format++;
        valid = t > -TIME_MAX && t < TIME_MAX;
        if (valid)
            date_of_utc(t, &date);
    } else {
        valid = date_of_local(t, &date, &parts);
    }
    if (!valid)
        luD_push(L, VAL_NIL);
    else if (strcmp(format, "*t") == 0)
        push_date_table(L, &date);
    else
        push_date_text(L, format, &date);
    return 1;
}

static const luaL_Reg os_functions[] = {
    {"clock", os_clock}, {"date", os_date}, {"difftime", os_difftime},
    {"time", os_time},   {NULL, NULL},
};

int luaopen_os(lua_State *L)
{
    luaL_register(L, "os", os_functions);
    return 1;
}
