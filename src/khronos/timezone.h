/* timezone.h: the time zones of the IANA database: what clocks show where.
 *
 * The system's database (a folder of TZif files) is read once, by timezone_load, into one block of
 * bytes: all zones sorted by name, rules that several names share only once, and every reference a
 * distance and no address. So the block can live anywhere that is aligned to 4 bytes and is never
 * written again: in a string of the image that all VMs share. A Zone is a place in such a block,
 * and lives as long as it.
 *
 *     count | Zone, Zone, ... sorted by name | names and rules
 *
 * The rules of a zone are its transitions, and for the time after the last one a rule that repeats
 * each year (the POSIX text at the end of a file). */
#ifndef KHRONOS_TIMEZONE_H
#define KHRONOS_TIMEZONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

#define TIMEZONE_FOLDER "/usr/share/zoneinfo"
enum { TIMEZONE_NAME_MAX = 64, TIMEZONE_ABBREVIATION_MAX = 12 };

typedef struct Zone Zone;

/* Appends the block made of all TZif files of the folder; files that are broken, or whose names no
 * zone can have, are left out. Returns the number of zones; 0: there is no database. Memory or open
 * files that ran out show in out->failed. */
int timezone_load(const char *folder, Strbuf *out);

/* NULL: the block has no zone of that name. The name may be anything. */
const Zone *timezone_find(const char *block, const char *name, size_t length);
/* UTC needs no database. */
const Zone *timezone_utc(void);
const char *timezone_name(const Zone *zone);

/* Names are segments of letters, digits, `_`, `+`, `-` with `/` between, 64 bytes at most. */
bool timezone_isname(const char *name, size_t length);

/* What clocks show from some moment on. */
typedef struct ZoneTime {
    int32_t offset_s; /* east of UTC */
    int32_t dst_s;    /* the part of it that is daylight saving time; 0: none */
    int64_t until_s;  /* UTC; INT64_MAX: for ever */
    char abbreviation[TIMEZONE_ABBREVIATION_MAX]; /* "CEST" */
} ZoneTime;
/* At that moment, in seconds since 1970. */
void timezone_at(const Zone *zone, int64_t utc_s, ZoneTime *time);

/* The moments at which clocks show a time. Where clocks are set forward some times are shown never,
 * where they are set back some are shown twice. */
typedef struct ZoneMoments {
    int count; /* 0 to 2, the earlier first */
    int64_t utc_s[2];
    int64_t gap_from_s, gap_to_s; /* count 0: what clocks show before and after they are set */
} ZoneMoments;
/* local_s: the time shown, as if it were UTC. */
void timezone_moments(const Zone *zone, int64_t local_s, ZoneMoments *moments);

#endif
