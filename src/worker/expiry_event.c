#include "worker/expiry_event.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/jsontext.h"

static void begin(ExpiryEvent *e, const char *name)
{
    *e = (ExpiryEvent){.event = {.base_name = {"AntiRaid", 8}, .name = {name, strlen(name)}}};
}

/* The texts stay where they are from now on. */
static bool finish(ExpiryEvent *e)
{
    e->event.data = (Text){e->data.data, e->data.length};
    if (e->scopes.length > 0)
        e->event.scopes = (Text){e->scopes.data, e->scopes.length};
    return !e->data.failed && !e->scopes.failed;
}

static void put_array(Strbuf *out, const Text *texts, int count)
{
    strbuf_putc(out, '[');
    for (int i = 0; i < count; i++) {
        if (i > 0)
            strbuf_putc(out, ',');
        json_put_lossy(out, texts[i].data, texts[i].length);
    }
    strbuf_putc(out, ']');
}

bool expiry_event_key(ExpiryEvent *e, const char *name, const StoreRecord *record)
{
    begin(e, name);
    put_array(&e->scopes, record->scopes, record->scope_count);
    /* As text: numbers of templates are doubles. */
    strbuf_printf(&e->data, "{\"id\":\"%" PRId64 "\",\"key\":", record->id);
    json_put_lossy(&e->data, record->key.data, record->key.length);
    strbuf_puts(&e->data, ",\"scopes\":");
    put_array(&e->data, record->scopes, record->scope_count);
    if (record->value.data) {
        strbuf_puts(&e->data, ",\"value\":");
        strbuf_put(&e->data, record->value.data, record->value.length);
    }
    strbuf_putc(&e->data, '}');
    return finish(e);
}

bool expiry_event_scheduled(ExpiryEvent *e, Text name, int64_t due_ms, int attempt)
{
    char time[EXPIRY_TIME_SIZE];
    begin(e, "Scheduled");
    put_array(&e->scopes, &name, 1);
    expiry_event_time(due_ms, time);
    strbuf_puts(&e->data, "{\"name\":");
    json_put_lossy(&e->data, name.data, name.length);
    strbuf_printf(&e->data, ",\"due_at\":\"%s\",\"attempt\":%d}", time, attempt);
    return finish(e);
}

bool expiry_event_startup(ExpiryEvent *e, const char *reason)
{
    begin(e, "OnStartup");
    strbuf_puts(&e->data, "{\"reason\":");
    json_put_lossy(&e->data, reason, strlen(reason));
    strbuf_putc(&e->data, '}');
    return finish(e);
}

void expiry_event_name(ExpiryEvent *e, const StoreDue *due)
{
    const char *kind = due->kind == STORE_DUE_EXPIRY ? "expiry" : "schedule";
    int length = snprintf(e->id, sizeof(e->id), "%s-%" PRId64 "-%" PRId64, kind, due->id,
                          due->sequence);
    e->event.id = (Text){e->id, (size_t)length};
}

void expiry_event_free(ExpiryEvent *e)
{
    strbuf_free(&e->data);
    strbuf_free(&e->scopes);
}

enum {
    DAY_MS = 86400000,
    DAYS_PER_400_YEARS = 146097,
    DAYS_PER_100_YEARS = 36524,
    DAYS_PER_4_YEARS = 1461
};
/* 0000-01-01 and 9999-12-31T23:59:59.999, from 1970 on. */
#define TIME_MIN_MS INT64_C(-62167219200000)
#define TIME_MAX_MS INT64_C(253402300799999)
/* From 0000-03-01 to 1970-01-01. */
enum { EPOCH_DAYS = 719468 };

/* The calendar of Gregory, in years that begin in March: the leap day is the last of its year, and
 * the months from there on repeat every five in 153 days. */
void expiry_event_time(int64_t ms, char text[EXPIRY_TIME_SIZE])
{
    ms = ms < TIME_MIN_MS ? TIME_MIN_MS : ms > TIME_MAX_MS ? TIME_MAX_MS : ms;
    int64_t day_ms = ms % DAY_MS;
    if (day_ms < 0)
        day_ms += DAY_MS;
    /* A whole era more keeps it positive. */
    int64_t days = (ms - day_ms) / DAY_MS + EPOCH_DAYS + DAYS_PER_400_YEARS;
    int64_t era = days / DAYS_PER_400_YEARS - 1;
    int64_t day = days % DAYS_PER_400_YEARS;
    int64_t year = (day - day / (DAYS_PER_4_YEARS - 1) + day / DAYS_PER_100_YEARS -
                    day / (DAYS_PER_400_YEARS - 1)) /
                   365;
    day -= 365 * year + year / 4 - year / 100;
    int64_t month = (5 * day + 2) / 153; /* 0 is March */
    day -= (153 * month + 2) / 5;
    year += era * 400 + (month >= 10);
    month += month < 10 ? 3 : -9;
    int64_t seconds = day_ms / 1000;
    int length = snprintf(text, EXPIRY_TIME_SIZE, "%04d-%02d-%02dT%02d:%02d:%02d", (int)year,
                          (int)month, (int)day + 1, (int)(seconds / 3600), (int)(seconds / 60 % 60),
                          (int)(seconds % 60));
    if (day_ms % 1000 != 0)
        length += snprintf(text + length, EXPIRY_TIME_SIZE - (size_t)length, ".%03d",
                           (int)(day_ms % 1000));
    snprintf(text + length, EXPIRY_TIME_SIZE - (size_t)length, "Z");
}
