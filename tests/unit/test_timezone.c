/* Dates and time zones as C has them: known transitions, gaps and overlaps, files that lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "khronos/datetime_value.h"
#include "khronos/timezone_rules.h"

/* ---- Dates ----------------------------------------------------------------------------------- */

static void test_calendar(void **state)
{
    (void)state;
    static const struct {
        int64_t year, days;
        int month, day, weekday, yearday;
    } DAYS[] = {
        {1970, 0, 1, 1, 4, 0},           {1969, -1, 12, 31, 3, 364},
        {2000, 11016, 2, 29, 2, 59},     {1900, -25508, 3, 1, 4, 59},
        {0, -719528, 1, 1, 6, 0},        {-9999, -4371587, 1, 1, 1, 0},
        {9999, 2932896, 12, 31, 5, 364}, {2024, 20088, 12, 31, 2, 365},
        {-1, -719529, 12, 31, 5, 364},
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(DAYS); i++) {
        CivilTime civil;
        assert_int_equal(civil_days(DAYS[i].year, DAYS[i].month, DAYS[i].day), DAYS[i].days);
        civil_from_s(DAYS[i].days * DAY_S + 86399, &civil);
        assert_int_equal(civil.year, DAYS[i].year);
        assert_int_equal(civil.month, DAYS[i].month);
        assert_int_equal(civil.day, DAYS[i].day);
        assert_int_equal(civil.weekday, DAYS[i].weekday);
        assert_int_equal(civil.yearday, DAYS[i].yearday);
        assert_int_equal(civil.hour * 10000 + civil.minute * 100 + civil.second, 235959);
    }
    assert_int_equal(civil_days(YEAR_MIN, 1, 1) * DAY_S, DATETIME_MIN_S);
    assert_int_equal(civil_days(YEAR_MAX + 1, 1, 1) * DAY_S - 1, DATETIME_MAX_S);
    /* Every day follows the one before it. */
    int64_t day = civil_days(YEAR_MIN, 1, 1);
    for (int64_t year = YEAR_MIN; year <= YEAR_MAX; year++)
        for (int month = 1; month <= 12; month++) {
            assert_int_equal(civil_days(year, month, 1), day);
            CivilTime civil;
            civil_from_s(day * DAY_S, &civil);
            assert_true(civil.year == year && civil.month == month && civil.day == 1);
            day += civil_monthdays(year, month);
        }
}

/* ---- Zones ----------------------------------------------------------------------------------- */

static Strbuf load_system(void)
{
    Strbuf block = STRBUF_INIT;
    if (timezone_load(TIMEZONE_FOLDER, &block) < 300)
        fail_msg("this test needs tzdata in %s", TIMEZONE_FOLDER);
    return block;
}

static const Zone *find(const Strbuf *block, const char *name)
{
    const Zone *zone = timezone_find(block->data, name, strlen(name));
    if (!zone)
        fail_msg("no zone %s", name);
    assert_string_equal(timezone_name(zone), name);
    return zone;
}

static int64_t moment(int64_t year, int month, int day, int hour, int minute)
{
    return civil_days(year, month, day) * DAY_S + hour * 3600 + minute * 60;
}

static void expect_time(const Strbuf *block, const char *name, int64_t utc_s, int offset_s,
                        int dst_s, const char *abbreviation)
{
    ZoneTime time;
    timezone_at(find(block, name), utc_s, &time);
    if (time.offset_s != offset_s || time.dst_s != dst_s ||
        strcmp(time.abbreviation, abbreviation) != 0 || time.until_s <= utc_s)
        fail_msg("%s at %lld: %d %d %s until %lld", name, (long long)utc_s, time.offset_s,
                 time.dst_s, time.abbreviation, (long long)time.until_s);
}

static void test_transitions(void **state)
{
    (void)state;
    Strbuf block = load_system();
    static const struct {
        const char *zone;
        int year, month, day, hour, minute; /* UTC: the last minute before, and from then on */
        int before, before_dst;
        const char *before_name;
        int after, after_dst;
        const char *after_name;
    } CHANGES[] = {
        {"Europe/Berlin", 2025, 3, 30, 1, 0, 3600, 0, "CET", 7200, 3600, "CEST"},
        {"Europe/Berlin", 2025, 10, 26, 1, 0, 7200, 3600, "CEST", 3600, 0, "CET"},
        {"Europe/Berlin", 2500, 3, 28, 1, 0, 3600, 0, "CET", 7200, 3600, "CEST"},
        {"Europe/Berlin", 9999, 10, 31, 1, 0, 7200, 3600, "CEST", 3600, 0, "CET"},
        {"America/New_York", 2025, 3, 9, 7, 0, -18000, 0, "EST", -14400, 3600, "EDT"},
        {"America/New_York", 2025, 11, 2, 6, 0, -14400, 3600, "EDT", -18000, 0, "EST"},
        {"America/New_York", 2006, 4, 2, 7, 0, -18000, 0, "EST", -14400, 3600, "EDT"},
        {"America/New_York", 3000, 3, 9, 7, 0, -18000, 0, "EST", -14400, 3600, "EDT"},
        {"Australia/Lord_Howe", 2025, 4, 5, 15, 0, 39600, 1800, "+11", 37800, 0, "+1030"},
        {"Australia/Lord_Howe", 2025, 10, 4, 15, 30, 37800, 0, "+1030", 39600, 1800, "+11"},
        {"Australia/Lord_Howe", 2600, 10, 4, 15, 30, 37800, 0, "+1030", 39600, 1800, "+11"},
        {"Asia/Kathmandu", 1985, 12, 31, 18, 30, 19800, 0, "+0530", 20700, 0, "+0545"},
        {"Pacific/Apia", 2011, 12, 30, 10, 0, -36000, 3600, "-10", 50400, 3600, "+14"},
        {"Europe/Dublin", 2025, 3, 30, 1, 0, 0, -3600, "GMT", 3600, 0, "IST"},
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(CHANGES); i++) {
        int64_t change = moment(CHANGES[i].year, CHANGES[i].month, CHANGES[i].day, CHANGES[i].hour,
                                CHANGES[i].minute);
        ZoneTime time;
        expect_time(&block, CHANGES[i].zone, change - 1, CHANGES[i].before, CHANGES[i].before_dst,
                    CHANGES[i].before_name);
        expect_time(&block, CHANGES[i].zone, change, CHANGES[i].after, CHANGES[i].after_dst,
                    CHANGES[i].after_name);
        timezone_at(find(&block, CHANGES[i].zone), change - 1, &time);
        assert_int_equal(time.until_s, change);
    }
    expect_time(&block, "Europe/Berlin", DATETIME_MIN_S, 3208, 0, "LMT");
    expect_time(&block, "Asia/Tokyo", DATETIME_MAX_S, 32400, 0, "JST");
    expect_time(&block, "Etc/GMT+12", 0, -43200, 0, "-12");
    strbuf_free(&block);
}

static void expect_moments(const Zone *zone, int64_t local_s, int count, int64_t first,
                           int64_t second)
{
    ZoneMoments moments;
    timezone_moments(zone, local_s, &moments);
    if (moments.count != count || (count > 0 && moments.utc_s[0] != first) ||
        (count > 1 && moments.utc_s[1] != second))
        fail_msg("%s, %lld: %d %lld %lld", timezone_name(zone), (long long)local_s, moments.count,
                 (long long)moments.utc_s[0], (long long)moments.utc_s[1]);
}

static void test_moments(void **state)
{
    (void)state;
    Strbuf block = load_system();
    const Zone *berlin = find(&block, "Europe/Berlin"), *howe = find(&block, "Australia/Lord_Howe");
    ZoneMoments moments;
    /* Forward: 2:00 to 3:00. */
    int64_t gap = moment(2025, 3, 30, 2, 0);
    expect_moments(berlin, gap - 1, 1, gap - 1 - 3600, 0);
    expect_moments(berlin, gap, 0, 0, 0);
    expect_moments(berlin, gap + 3599, 0, 0, 0);
    expect_moments(berlin, gap + 3600, 1, gap - 3600, 0);
    timezone_moments(berlin, gap + 1800, &moments);
    assert_true(moments.gap_from_s == gap && moments.gap_to_s == gap + 3600);
    /* Back: 3:00 to 2:00. */
    int64_t back = moment(2025, 10, 26, 2, 0);
    expect_moments(berlin, back - 1, 1, back - 1 - 7200, 0);
    expect_moments(berlin, back, 2, back - 7200, back - 3600);
    expect_moments(berlin, back + 3599, 2, back + 3599 - 7200, back + 3599 - 3600);
    expect_moments(berlin, back + 3600, 1, back, 0);
    /* Half an hour. */
    int64_t half = moment(2025, 10, 5, 2, 0);
    expect_moments(howe, half + 1799, 0, 0, 0);
    expect_moments(howe, half + 1800, 1, half - 37800, 0);
    expect_moments(howe, moment(2025, 4, 6, 1, 30), 2, moment(2025, 4, 5, 14, 30),
                   moment(2025, 4, 5, 15, 0));
    /* A day that Samoa left out. */
    const Zone *apia = find(&block, "Pacific/Apia");
    expect_moments(apia, moment(2011, 12, 30, 12, 0), 0, 0, 0);
    timezone_moments(apia, moment(2011, 12, 30, 12, 0), &moments);
    assert_true(moments.gap_from_s == moment(2011, 12, 30, 0, 0));
    assert_true(moments.gap_to_s == moment(2011, 12, 31, 0, 0));
    expect_moments(timezone_utc(), 12345, 1, 12345, 0);
    strbuf_free(&block);
}

/* In every zone, what clocks show at a moment leads back to it. */
static void test_all_zones(void **state)
{
    (void)state;
    Strbuf block = load_system();
    int32_t count;
    memcpy(&count, block.data, sizeof(count));
    const Zone *zones = (const Zone *)(const void *)(block.data + sizeof(count));
    for (int i = 0; i < count; i++) {
        const Zone *zone = &zones[i];
        assert_ptr_equal(find(&block, timezone_name(zone)), zone);
        for (int64_t year = 1850; year < 2140; year += 3) {
            ZoneTime time;
            ZoneMoments moments;
            int64_t utc_s = moment(year, 1 + (int)(year % 12), 1 + (int)(year % 28), 1, 30);
            timezone_at(zone, utc_s, &time);
            timezone_moments(zone, utc_s + time.offset_s, &moments);
            assert_true(moments.count > 0 && (moments.utc_s[0] == utc_s ||
                                              (moments.count == 2 && moments.utc_s[1] == utc_s)));
        }
    }
    strbuf_free(&block);
}

static void test_yearly_rules(void **state)
{
    (void)state;
    static const char *const good[] = {
        "UTC0",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        "EST5EDT4:00:00,J60/2:30,300/-1",
        "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
        "EET-2EEST,M3.4.4/50,M10.4.4/50",
    };
    static const char *const bad[] = {
        "",
        "5",
        "CET",
        "CET-",
        "CET-99",
        "CET-1CEST",
        "CET-1CEST,M3.5.0",
        "CET-1CEST,M3.5.0,",
        "CET-1CEST,M13.5.0,M10.5.0",
        "CET-1CEST,M3.6.0,M10.5.0",
        "CET-1CEST,M3.5.7,M10.5.0",
        "CET-1CEST,M0.5.0,M10.5.0",
        "CET-1CEST,M3.5.0,M10.5.0 ",
        "CET-1CEST,J0,J1",
        "C1D,366,1",
        "CET-1CEST,M3.5.0/168,M10.5.0",
        "<CET-1",
        "<>1",
        "ABCDEFGHIJKLMN1",
        "CET-1:60",
        "CET99999999999999999999",
        "CET-1CEST,M3.5.0/,M1.1.1",
    };
    YearlyRule rule;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(good); i++)
        if (!timezone_read_yearly(good[i], strlen(good[i]), &rule))
            fail_msg("%s", good[i]);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(bad); i++)
        if (timezone_read_yearly(bad[i], strlen(bad[i]), &rule))
            fail_msg("%s", bad[i]);
    assert_true(timezone_read_yearly(good[3], strlen(good[3]), &rule));
    assert_true(rule.types[0].offset_s == -18000 && rule.types[1].offset_s == -14400);
    assert_true(rule.begin.time_s == 9000 && rule.end.time_s == -3600 && rule.end.day == 300);
}

static void test_zone_names(void **state)
{
    (void)state;
    Strbuf block = load_system();
    static const char *const good[] = {"UTC",   "Europe/Berlin", "Etc/GMT+1",
                                       "GMT-0", "EST5EDT",       "America/Argentina/Buenos_Aires"};
    static const char *const bad[] = {
        "",
        "/",
        "/UTC",
        "UTC/",
        "Europe//Berlin",
        "../UTC",
        "Europe/../UTC",
        "./UTC",
        "Europe/.",
        "Europe/Berlin.",
        "Europe Berlin",
        "Europe\\Berlin",
        "Europe/Berlin\n",
        "\xC3\xA9",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(good); i++)
        assert_true(timezone_isname(good[i], strlen(good[i])));
    for (size_t i = 0; i < BASE_ARRAY_COUNT(bad); i++) {
        assert_false(timezone_isname(bad[i], strlen(bad[i])));
        assert_null(timezone_find(block.data, bad[i], strlen(bad[i])));
    }
    assert_null(timezone_find(block.data, "Europe", 6));
    assert_null(timezone_find(block.data, "Europe/Berli", 12));
    assert_null(timezone_find(block.data, "Europe/Berlinx", 14));
    assert_null(timezone_find(block.data, "UTC\0x", 5));
    assert_null(timezone_find(block.data, "posix/UTC", 9));
    strbuf_free(&block);
}

/* ---- Files that lie ---------------------------------------------------------------------------
 */

typedef struct Folder {
    char path[64];
    char file[96];
} Folder;

static void make_folder(Folder *folder)
{
    snprintf(folder->path, sizeof(folder->path), "%s/datetime-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(folder->path));
    snprintf(folder->file, sizeof(folder->file), "%s/Zone", folder->path);
}

static void write_file(const Folder *folder, const char *bytes, size_t length)
{
    FILE *file = fopen(folder->file, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    fclose(file);
}

static void drop_folder(const Folder *folder)
{
    unlink(folder->file);
    assert_int_equal(rmdir(folder->path), 0);
}

/* The zones of the folder can be used without harm, whatever they say. */
static int load_and_use(const Folder *folder)
{
    Strbuf block = STRBUF_INIT;
    int count = timezone_load(folder->path, &block);
    if (count > 0) {
        const Zone *zone = find(&block, "Zone");
        for (int64_t year = YEAR_MIN; year < YEAR_MAX; year += 371) {
            ZoneTime time;
            ZoneMoments moments;
            timezone_at(zone, moment(year, 5, 5, 5, 5), &time);
            timezone_moments(zone, moment(year, 5, 5, 5, 5), &moments);
        }
    }
    assert_false(block.failed);
    strbuf_free(&block);
    return count;
}

static void test_hostile_files(void **state)
{
    (void)state;
    Folder folder;
    Strbuf good = STRBUF_INIT;
    make_folder(&folder);
    assert_int_equal(load_and_use(&folder), 0);
    assert_int_equal(strbuf_readfile(&good, TIMEZONE_FOLDER "/Europe/Berlin", 1 << 16), 0);
    write_file(&folder, good.data, good.length);
    assert_int_equal(load_and_use(&folder), 1);
    for (size_t length = 0; length < good.length; length += length < 100 ? 1 : 37) {
        write_file(&folder, good.data, length);
        assert_int_equal(load_and_use(&folder), 0);
    }
    /* Each byte of the headers, and some of the rest, at its extremes. */
    int accepted = 0;
    for (size_t i = 0; i < good.length; i += i < 60 ? 1 : 11) {
        for (int k = 0; k < 3; k++) {
            char saved = good.data[i];
            good.data[i] = (char)(k == 0 ? 0xFF : k == 1 ? 0x80 : saved ^ 1);
            write_file(&folder, good.data, good.length);
            accepted += load_and_use(&folder);
            good.data[i] = saved;
        }
    }
    assert_true(accepted > 0);
    /* Too long, a folder in its place, one that leads to itself. */
    char *zeros = calloc(1, 1 << 17);
    memcpy(zeros, good.data, good.length);
    write_file(&folder, zeros, 1 << 17);
    assert_int_equal(load_and_use(&folder), 0);
    free(zeros);
    unlink(folder.file);
    assert_int_equal(symlink(".", folder.file), 0);
    assert_int_equal(load_and_use(&folder), 0);
    drop_folder(&folder);
    strbuf_free(&good);
    Strbuf none = STRBUF_INIT;
    assert_int_equal(timezone_load("/nonexistent-folder", &none), 0);
    assert_false(none.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calendar),      cmocka_unit_test(test_transitions),
        cmocka_unit_test(test_moments),       cmocka_unit_test(test_all_zones),
        cmocka_unit_test(test_yearly_rules),  cmocka_unit_test(test_zone_names),
        cmocka_unit_test(test_hostile_files),
    };
    return cmocka_run_group_tests_name("timezone", tests, NULL, NULL);
}
