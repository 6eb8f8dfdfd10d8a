/* timezone_rules.h: a block of zones from the inside, for who makes and who reads it. */
#ifndef KHRONOS_TIMEZONE_RULES_H
#define KHRONOS_TIMEZONE_RULES_H

#include "khronos/timezone.h"

/* Distances are in bytes, from the struct that they stand in. */
struct Zone {
    int32_t name; /* NUL-terminated */
    int32_t rules;
};

typedef struct ZoneType {
    int32_t offset_s;
    int32_t is_dst;
    char abbreviation[TIMEZONE_ABBREVIATION_MAX];
} ZoneType;

/* A day of each year, and the time of the day in local time, which may lie on other days. */
typedef struct YearlyDay {
    enum { DAY_JULIAN, DAY_OF_YEAR, DAY_OF_MONTH } kind; /* Jn (no 29th of February), n, Mm.w.d */
    int32_t month, week, day;
    int32_t time_s;
} YearlyDay;

typedef struct YearlyRule {
    int32_t type_count;   /* 0: no rule, the last type stays; 1: one type for ever; 2: with DST */
    ZoneType types[2];    /* standard, daylight saving */
    YearlyDay begin, end; /* of daylight saving time; begin in standard time, end in the other */
} YearlyRule;

/* Followed by type_count ZoneTypes, time_count times (8 bytes each, aligned to 4) and as many
 * bytes: the type from then on. The first type is that of the time before all. */
typedef struct ZoneRules {
    int32_t time_count, type_count;
    YearlyRule yearly;
} ZoneRules;

/* Reads a POSIX text like "CET-1CEST,M3.5.0,M10.5.0/3". False: it is none. */
bool timezone_read_yearly(const char *text, size_t length, YearlyRule *rule);

#endif
