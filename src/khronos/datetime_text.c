/* RFC 3339, and spans as decimals. */
#include <stdio.h>
#include <string.h>

#include "khronos/datetime_value.h"

/* Appends '.' and the digits of a fraction of a second, as many as are needed; none for 0. */
static int put_fraction(char *text, int64_t nanos)
{
    if (nanos == 0)
        return 0;
    int length = 1, digits = 9;
    for (; nanos % 10 == 0; nanos /= 10)
        digits--;
    text[0] = '.';
    for (int i = digits; i >= 1; i--, nanos /= 10)
        text[i] = (char)('0' + nanos % 10);
    return length + digits;
}

int datetime_write(const DateTime *moment, char text[DATETIME_TEXT_MAX])
{
    int64_t nanos, seconds = nanos_floor(moment->at, NANOS_PER_S, &nanos);
    ZoneTime time;
    CivilTime civil;
    timezone_at(moment->zone, seconds, &time);
    int minutes = time.offset_s / 60; /* towards UTC, so the years stay within their range */
    civil_from_s(seconds + (int64_t)minutes * 60, &civil);
    int length = snprintf(text, DATETIME_TEXT_MAX, "%s%04d-%02d-%02dT%02d:%02d:%02d",
                          civil.year < 0 ? "-" : "",
                          (int)(civil.year < 0 ? -civil.year : civil.year), civil.month, civil.day,
                          civil.hour, civil.minute, civil.second);
    length += put_fraction(text + length, nanos);
    if (moment->zone == timezone_utc())
        return length + snprintf(text + length, (size_t)(DATETIME_TEXT_MAX - length), "Z");
    int shown = minutes < 0 ? -minutes : minutes;
    return length + snprintf(text + length, (size_t)(DATETIME_TEXT_MAX - length), "%c%02d:%02d",
                             minutes < 0 ? '-' : '+', shown / 60 % 100, shown % 60);
}

int timedelta_write(Nanos span, char text[TIMEDELTA_TEXT_MAX])
{
    int64_t nanos, seconds = nanos_floor(span < 0 ? -span : span, NANOS_PER_S, &nanos);
    int length = snprintf(text, TIMEDELTA_TEXT_MAX, "%s%lld", span < 0 ? "-" : "",
                          (long long)seconds);
    length += put_fraction(text + length, nanos);
    text[length] = '\0';
    return length;
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

typedef struct TextReader {
    const char *at, *end;
} TextReader;

static bool read_digits(TextReader *r, int count, int *value)
{
    int n = 0;
    if (r->end - r->at < count)
        return false;
    for (int i = 0; i < count; i++) {
        if (r->at[i] < '0' || r->at[i] > '9')
            return false;
        n = n * 10 + (r->at[i] - '0');
    }
    r->at += count;
    *value = n;
    return true;
}

static bool read_char(TextReader *r, const char *allowed)
{
    if (r->at == r->end || *r->at == '\0' || !strchr(allowed, *r->at))
        return false;
    r->at++;
    return true;
}

/* One digit at least; those past the ninth are read and dropped. */
static bool read_fraction(TextReader *r, int64_t *nanos)
{
    int count = 0;
    int64_t value = 0;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++, count++)
        if (count < 9)
            value = value * 10 + (*r->at - '0');
    for (int i = count; i < 9; i++)
        value *= 10;
    *nanos = value;
    return count > 0;
}

static bool read_date(TextReader *r, CivilTime *civil)
{
    int year;
    bool negative = read_char(r, "-");
    if (!read_digits(r, 4, &year) || !read_char(r, "-") || !read_digits(r, 2, &civil->month) ||
        !read_char(r, "-") || !read_digits(r, 2, &civil->day))
        return false;
    civil->year = negative ? -year : year;
    return true;
}

static bool read_clock(TextReader *r, CivilTime *civil, int64_t *nanos)
{
    *nanos = 0;
    return read_digits(r, 2, &civil->hour) && read_char(r, ":") &&
           read_digits(r, 2, &civil->minute) && read_char(r, ":") &&
           read_digits(r, 2, &civil->second) && (!read_char(r, ".") || read_fraction(r, nanos));
}

static bool read_offset(TextReader *r, int *offset_s)
{
    int hours, minutes;
    *offset_s = 0;
    if (read_char(r, "Zz"))
        return true;
    bool negative = r->at < r->end && *r->at == '-';
    if (!read_char(r, "+-") || !read_digits(r, 2, &hours) || !read_char(r, ":") ||
        !read_digits(r, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *offset_s = (hours * 3600 + minutes * 60) * (negative ? -1 : 1);
    return true;
}

const char *datetime_read(const char *text, size_t length, Nanos *at)
{
    enum { TEXT_MAX = 64 };
    TextReader r = {text, text + length};
    CivilTime civil;
    int64_t nanos;
    int offset_s;
    if (length > TEXT_MAX || !read_date(&r, &civil) || !read_char(&r, "Tt ") ||
        !read_clock(&r, &civil, &nanos) || !read_offset(&r, &offset_s) || r.at != r.end)
        return "not a moment as RFC 3339 writes it (2026-03-29T01:30:00Z, "
               "2026-03-29T03:30:00.5+02:00)";
    if (civil.month < 1 || civil.month > 12)
        return "there is no such month";
    if (civil.day < 1 || civil.day > civil_monthdays(civil.year, civil.month))
        return "the month has no such day";
    /* A leap second is the one before it, as clocks of computers have it. */
    if (civil.second == 60 && civil.minute == 59)
        civil.second = 59;
    if (civil.hour > 23 || civil.minute > 59 || civil.second > 59)
        return "there is no such time of day";
    int64_t seconds = civil_to_s(&civil) - offset_s;
    if (seconds < DATETIME_MIN_S || seconds > DATETIME_MAX_S)
        return "out of the range of DateTime, the years -9999 to 9999";
    *at = seconds * NANOS_PER_S + nanos;
    return NULL;
}
