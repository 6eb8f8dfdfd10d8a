/* strftime for moments: English names, no locale. Numbers take a flag that says how they are
 * padded:
 * `%-d` not at all, `%_d` with blanks, `%0e` with zeros. */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "plugins/datetime.h"

enum {
    TEXT_MAX = 64 * 1024,
    POLL_STEPS = 64, /* specifiers between two polls */
};

static const char *const WEEKDAYS[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};
static const char *const MONTHS[] = {"January",   "February", "March",    "April",
                                     "May",       "June",     "July",     "August",
                                     "September", "October",  "November", "December"};

typedef struct Formatter {
    lua_State *L;
    luaL_Strbuf out;
    size_t length;
    unsigned steps;
    const DateTime *moment;
    ZoneTime time;
    CivilTime civil;
    int64_t seconds, nanos; /* since 1970, and the rest */
    char flag;              /* `-`, `_`, `0`, or 0: none */
} Formatter;

static void put(Formatter *f, const char *text, size_t length)
{
    f->length += length;
    if (f->length > TEXT_MAX)
        luaL_error(f->L, "the formatted text is longer than %d bytes", TEXT_MAX);
    luaL_addlstring(&f->out, text, length);
}

static void put_text(Formatter *f, const char *text)
{
    put(f, text, strlen(text));
}

/* The number in at least `width` places; pad: what fills them, if no flag says otherwise. */
static void put_number(Formatter *f, int64_t number, int width, char pad)
{
    char text[32];
    if (f->flag == '-')
        width = 0;
    if (f->flag == '_' || f->flag == '0')
        pad = f->flag == '_' ? ' ' : '0';
    long long n = number < 0 ? -number : number;
    snprintf(text, sizeof(text), pad == '0' ? "%s%0*lld" : "%s%*lld", number < 0 ? "-" : "", width,
             n);
    put_text(f, text);
}

static void put_fraction(Formatter *f, int digits)
{
    char text[16];
    snprintf(text, sizeof(text), "%09d", (int)f->nanos);
    put(f, text, (size_t)digits);
}

/* "+0200", with a colon "+02:00". */
static void put_offset(Formatter *f, const char *colon)
{
    char text[24];
    int minutes = f->time.offset_s / 60, shown = minutes < 0 ? -minutes : minutes;
    snprintf(text, sizeof(text), "%c%02d%s%02d", minutes < 0 ? '-' : '+', shown / 60 % 100, colon,
             shown % 60);
    put_text(f, text);
}

static void put_rfc3339(Formatter *f)
{
    char text[DATETIME_TEXT_MAX];
    put(f, text, (size_t)datetime_write(f->moment, text));
}

/* Monday is 1, Sunday 7. */
static int iso_weekday(const CivilTime *civil)
{
    return (civil->weekday + 6) % 7 + 1;
}

/* The week of ISO 8601, and the year that it belongs to: that of its Thursday. */
static int iso_week(const CivilTime *civil, int64_t *year)
{
    int thursday = civil->yearday - iso_weekday(civil) + 4;
    *year = civil->year;
    if (thursday < 0) {
        (*year)--;
        thursday += 365 + civil_isleap(*year);
    } else if (thursday >= 365 + civil_isleap(*year)) {
        thursday -= 365 + civil_isleap(*year);
        (*year)++;
    }
    return thursday / 7 + 1;
}

static int hour_of_12(const CivilTime *civil)
{
    return (civil->hour + 11) % 12 + 1;
}

static int64_t floor_mod(int64_t a, int64_t b)
{
    return (a % b + b) % b;
}

/* ---- Specifiers -------------------------------------------------------------------------------
 */

/* Each of these groups returns whether the letter is one of its own. */
static bool put_date_number(Formatter *f, char letter)
{
    const CivilTime *c = &f->civil;
    int64_t year;
    switch (letter) {
    case 'Y': put_number(f, c->year, 4, '0'); return true;
    case 'C': put_number(f, (c->year - floor_mod(c->year, 100)) / 100, 2, '0'); return true;
    case 'y': put_number(f, floor_mod(c->year, 100), 2, '0'); return true;
    case 'm': put_number(f, c->month, 2, '0'); return true;
    case 'd': put_number(f, c->day, 2, '0'); return true;
    case 'e': put_number(f, c->day, 2, ' '); return true;
    case 'j': put_number(f, c->yearday + 1, 3, '0'); return true;
    case 'u': put_number(f, iso_weekday(c), 1, '0'); return true;
    case 'w': put_number(f, c->weekday, 1, '0'); return true;
    case 'U': put_number(f, (c->yearday + 7 - c->weekday) / 7, 2, '0'); return true;
    case 'W': put_number(f, (c->yearday + 8 - iso_weekday(c)) / 7, 2, '0'); return true;
    case 'V': put_number(f, iso_week(c, &year), 2, '0'); return true;
    case 'G':
        iso_week(c, &year);
        put_number(f, year, 4, '0');
        return true;
    case 'g':
        iso_week(c, &year);
        put_number(f, floor_mod(year, 100), 2, '0');
        return true;
    default: return false;
    }
}

static bool put_time_number(Formatter *f, char letter)
{
    const CivilTime *c = &f->civil;
    switch (letter) {
    case 'H': put_number(f, c->hour, 2, '0'); return true;
    case 'k': put_number(f, c->hour, 2, ' '); return true;
    case 'I': put_number(f, hour_of_12(c), 2, '0'); return true;
    case 'l': put_number(f, hour_of_12(c), 2, ' '); return true;
    case 'M': put_number(f, c->minute, 2, '0'); return true;
    case 'S': put_number(f, c->second, 2, '0'); return true;
    case 's': put_number(f, f->seconds, 1, '0'); return true;
    default: return false;
    }
}

static bool put_name(Formatter *f, char letter)
{
    const CivilTime *c = &f->civil;
    switch (letter) {
    case 'a': put(f, WEEKDAYS[c->weekday], 3); return true;
    case 'A': put_text(f, WEEKDAYS[c->weekday]); return true;
    case 'b':
    case 'h': put(f, MONTHS[c->month - 1], 3); return true;
    case 'B': put_text(f, MONTHS[c->month - 1]); return true;
    case 'p': put_text(f, c->hour < 12 ? "AM" : "PM"); return true;
    case 'P': put_text(f, c->hour < 12 ? "am" : "pm"); return true;
    case 'Z': put_text(f, f->time.abbreviation); return true;
    case 'z': put_offset(f, ""); return true;
    case 'f': put_fraction(f, 9); return true;
    case '+': put_rfc3339(f); return true;
    case '%': put_text(f, "%"); return true;
    case 'n': put_text(f, "\n"); return true;
    case 't': put_text(f, "\t"); return true;
    default: return false;
    }
}

/* What stands for several others; NULL: the letter does not. */
static const char *expansion(char letter)
{
    switch (letter) {
    case 'T':
    case 'X': return "%H:%M:%S";
    case 'D':
    case 'x': return "%m/%d/%y";
    case 'F': return "%Y-%m-%d";
    case 'R': return "%H:%M";
    case 'r': return "%I:%M:%S %p";
    case 'c': return "%a %b %e %H:%M:%S %Y";
    default: return NULL;
    }
}

static void put_letter(Formatter *f, char letter)
{
    (void)(put_date_number(f, letter) || put_time_number(f, letter) || put_name(f, letter));
}

static void put_expansion(Formatter *f, const char *format)
{
    f->flag = 0;
    for (; *format; format++) {
        if (*format == '%')
            put_letter(f, *++format);
        else
            put(f, format, 1);
    }
}

/* `%:z`, and fractions of seconds: `%3f`, `%6f`, `%9f`, the same with a point before, and `%.f`,
 * which shows what is needed. Returns how many bytes behind the `%` they are; 0: none of them. */
static size_t put_long(Formatter *f, const char *p, size_t length)
{
    static const char *const FRACTIONS[] = {"3f", "6f", "9f"};
    bool point = length > 0 && *p == '.';
    if (length >= 2 && memcmp(p, ":z", 2) == 0) {
        put_offset(f, ":");
        return 2;
    }
    if (length >= 2 && memcmp(p, ".f", 2) == 0) {
        if (f->nanos != 0)
            put_text(f, ".");
        put_fraction(f, f->nanos == 0             ? 0
                        : f->nanos % 1000000 == 0 ? 3
                        : f->nanos % 1000 == 0    ? 6
                                                  : 9);
        return 2;
    }
    for (int i = 0; i < 3; i++) {
        if (length >= 2u + point && memcmp(p + point, FRACTIONS[i], 2) == 0) {
            put(f, ".", point);
            put_fraction(f, 3 * (i + 1));
            return 2u + point;
        }
    }
    return 0;
}

static BASE_NORETURN void refuse_specifier(Formatter *f, const char *p, size_t length)
{
    if (length == 0)
        luaL_error(f->L, "a format ends in the middle of a specifier, with '%%'");
    size_t shown = length > 4 ? 4 : length;
    for (size_t i = 0; i < shown; i++)
        if ((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') || p[i] == ' ')
            shown = i + (p[i] != ' ');
    luaL_error(f->L, "no specifier '%%%.*s' in formats of moments", (int)shown, p);
}

/* What stands behind a `%`; returns its length. */
static size_t put_specifier(Formatter *f, const char *p, size_t length)
{
    bool flagged = length > 0 && (*p == '-' || *p == '_' || *p == '0');
    f->flag = flagged ? *p : 0;
    if (length > flagged) {
        char letter = p[flagged];
        if (put_date_number(f, letter) || put_time_number(f, letter))
            return 1u + flagged;
        if (!flagged && put_name(f, letter))
            return 1;
        if (!flagged && expansion(letter)) {
            put_expansion(f, expansion(letter));
            return 1;
        }
    }
    size_t used = put_long(f, p, length);
    if (used == 0)
        refuse_specifier(f, p, length);
    return used;
}

void datetime_format(lua_State *L, const DateTime *moment, int format)
{
    Formatter f = {.L = L, .moment = moment};
    size_t length;
    const char *p = lua_tolstring(L, format, &length), *end = p + length;
    f.seconds = nanos_floor(moment->at, NANOS_PER_S, &f.nanos);
    timezone_at(moment->zone, f.seconds, &f.time);
    civil_from_s(f.seconds + f.time.offset_s, &f.civil);
    luaL_buffinit(L, &f.out);
    while (p < end) {
        const char *percent = memchr(p, '%', (size_t)(end - p));
        const char *plain_end = percent ? percent : end;
        put(&f, p, (size_t)(plain_end - p));
        p = plain_end;
        if (percent) {
            p++;
            p += put_specifier(&f, p, (size_t)(end - p));
        }
        if (++f.steps % POLL_STEPS == 0)
            luau_poll(L);
    }
    luaL_pushresult(&f.out);
}
