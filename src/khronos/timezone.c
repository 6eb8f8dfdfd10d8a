/* Reading a block of zones: names, the type of a moment, yearly rules, and the way back from what
 * clocks show. */
#include "khronos/timezone.h"

#include <string.h>

#include "base/base.h"
#include "khronos/datetime_value.h"
#include "khronos/timezone_rules.h"

/* What clocks show differs from UTC by less than this, whatever is in a file. */
enum { OFFSET_MAX_S = 26 * 3600 };

/* ---- Names ------------------------------------------------------------------------------------
 */

bool timezone_isname(const char *name, size_t length)
{
    bool in_segment = false;
    if (length > TIMEZONE_NAME_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = name[i], lower = (char)(c | 0x20);
        bool good = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
                    c == '+' || c == '-';
        if (!good && !(c == '/' && in_segment))
            return false;
        in_segment = good;
    }
    return in_segment;
}

const char *timezone_name(const Zone *zone)
{
    return (const char *)zone + zone->name;
}

const Zone *timezone_find(const char *block, const char *name, size_t length)
{
    int32_t low = 0, high;
    memcpy(&high, block, sizeof(high));
    const Zone *zones = (const Zone *)(const void *)(block + sizeof(high));
    if (!timezone_isname(name, length))
        return NULL;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        const char *other = timezone_name(&zones[middle]);
        int order = strncmp(name, other, length);
        if (order == 0 && other[length] != '\0')
            order = -1;
        if (order == 0)
            return &zones[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const Zone *timezone_utc(void)
{
    static const struct {
        Zone zone;
        ZoneRules rules;
        ZoneType type;
        char name[4];
    } UTC = {
        .zone = {.name = offsetof(typeof(UTC), name), .rules = offsetof(typeof(UTC), rules)},
        .rules = {.type_count = 1},
        .type = {.abbreviation = "UTC"},
        .name = "UTC",
    };
    return &UTC.zone;
}

/* ---- The rules of a zone ----------------------------------------------------------------------
 */

static const ZoneRules *rules_of(const Zone *zone)
{
    return (const ZoneRules *)(const void *)((const char *)zone + zone->rules);
}

static const ZoneType *types_of(const ZoneRules *rules)
{
    return (const ZoneType *)(const void *)(rules + 1);
}

static const char *times_of(const ZoneRules *rules)
{
    return (const char *)(types_of(rules) + rules->type_count);
}

static int64_t time_at(const ZoneRules *rules, int index)
{
    int64_t time;
    memcpy(&time, times_of(rules) + (size_t)index * sizeof(time), sizeof(time));
    return time;
}

/* From transition `index` on; -1: before all of them. */
static const ZoneType *type_after(const ZoneRules *rules, int index)
{
    const char *numbers = times_of(rules) + (size_t)rules->time_count * sizeof(int64_t);
    return &types_of(rules)[index < 0 ? 0 : (unsigned char)numbers[index]];
}

/* The last transition that is not after utc_s; -1: none. */
static int find_transition(const ZoneRules *rules, int64_t utc_s)
{
    int low = 0, high = rules->time_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (time_at(rules, middle) <= utc_s)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

/* The difference, if it can be daylight saving time. */
static int32_t plausible_dst(const ZoneType *saving, const ZoneType *standard)
{
    enum { DST_MAX_S = 3 * 3600 };
    int32_t dst_s = saving->offset_s - standard->offset_s;
    return dst_s >= -DST_MAX_S && dst_s <= DST_MAX_S ? dst_s : 0;
}

/* Files tell the whole offset only: what is not daylight saving time is that of the nearest time
 * without, first before, then after: where both were changed at once, the one before tells nothing.
 */
static int32_t dst_after(const ZoneRules *rules, int index)
{
    const ZoneType *type = type_after(rules, index);
    int32_t dst_s = 0;
    if (!type->is_dst)
        return 0;
    int before = index - 1, after = index + 1;
    while (before >= -1 && type_after(rules, before)->is_dst)
        before--;
    if (before >= -1)
        dst_s = plausible_dst(type, type_after(rules, before));
    while (after < rules->time_count && type_after(rules, after)->is_dst)
        after++;
    if (dst_s == 0 && after < rules->time_count)
        dst_s = plausible_dst(type, type_after(rules, after));
    return dst_s;
}

/* ---- Yearly rules -----------------------------------------------------------------------------
 */

/* The local time, as if it were UTC, at which that day of that year has come. */
static int64_t yearly_time(const YearlyDay *day, int64_t year)
{
    int64_t days;
    if (day->kind == DAY_OF_MONTH) {
        int64_t first = civil_days(year, day->month, 1);
        int weekday = (int)(((first + 4) % 7 + 7) % 7);
        int of_month = (day->day - weekday + 7) % 7 + (day->week - 1) * 7;
        while (of_month >= civil_monthdays(year, day->month))
            of_month -= 7; /* the fifth is the last */
        days = first + of_month;
    } else {
        days = civil_days(year, 1, 1) + day->day;
        if (day->kind == DAY_JULIAN)
            days += (day->day >= 60 && civil_isleap(year)) - 1;
    }
    return days * DAY_S + day->time_s;
}

static void give_type(const ZoneType *type, int32_t dst_s, int64_t until_s, ZoneTime *time)
{
    time->offset_s = type->offset_s;
    time->dst_s = dst_s;
    time->until_s = until_s;
    memcpy(time->abbreviation, type->abbreviation, sizeof(time->abbreviation));
}

/* The latest of the changes of three years that is not after utc_s tells what holds, the earliest
 * after it until when. */
static void yearly_at(const YearlyRule *rule, int64_t utc_s, ZoneTime *time)
{
    const ZoneType *standard = &rule->types[0], *saving = &rule->types[1];
    if (rule->type_count == 1) {
        give_type(standard, 0, INT64_MAX, time);
        return;
    }
    CivilTime civil;
    int64_t since = INT64_MIN, until = INT64_MAX;
    bool is_saving = false;
    civil_from_s(utc_s + standard->offset_s, &civil);
    for (int64_t year = civil.year - 1; year <= civil.year + 1; year++) {
        int64_t begin = yearly_time(&rule->begin, year) - standard->offset_s;
        int64_t end = yearly_time(&rule->end, year) - saving->offset_s;
        if (begin <= utc_s && begin >= since) {
            since = begin;
            is_saving = true;
        }
        if (end <= utc_s && end > since) {
            since = end;
            is_saving = false;
        }
        if (begin > utc_s && begin < until)
            until = begin;
        if (end > utc_s && end < until)
            until = end;
    }
    give_type(is_saving ? saving : standard, is_saving ? saving->offset_s - standard->offset_s : 0,
              until, time);
}

/* ---- Moments ----------------------------------------------------------------------------------
 */

void timezone_at(const Zone *zone, int64_t utc_s, ZoneTime *time)
{
    const ZoneRules *rules = rules_of(zone);
    int index = find_transition(rules, utc_s);
    bool is_last = index == rules->time_count - 1;
    if (is_last && rules->yearly.type_count > 0) {
        yearly_at(&rules->yearly, utc_s, time);
        return;
    }
    give_type(type_after(rules, index), dst_after(rules, index),
              is_last ? INT64_MAX : time_at(rules, index + 1), time);
}

/* Walks along the stretches with one offset that can show that time. */
void timezone_moments(const Zone *zone, int64_t local_s, ZoneMoments *moments)
{
    int64_t at = local_s - OFFSET_MAX_S, end = local_s + OFFSET_MAX_S;
    ZoneTime time;
    *moments = (ZoneMoments){.count = 0};
    timezone_at(zone, at, &time);
    for (;;) {
        int64_t moment = local_s - time.offset_s;
        if (moment >= at && moment < time.until_s && moments->count < 2)
            moments->utc_s[moments->count++] = moment;
        if (time.until_s > end)
            return;
        int32_t before = time.offset_s;
        at = time.until_s;
        timezone_at(zone, at, &time);
        if (local_s >= at + before && local_s < at + time.offset_s) {
            moments->gap_from_s = at + before;
            moments->gap_to_s = at + time.offset_s;
        }
    }
}
