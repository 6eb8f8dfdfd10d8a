#include "api/guild_limits.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/jsonobject.h"
#include "base/random.h"

#define FIELD(name) offsetof(KhronosLimits, name)

const NumberField LIMITS_FIELDS[LIMIT_FIELDS] = {
    {"memory_bytes", FIELD(memory_max_bytes), FIELD_U64, 1, 1 << 20, INT64_C(4) << 30},
    {"cpu_ms", FIELD(cpu_max_ns), FIELD_U64, CLOCK_NS_PER_MS, 1, 3600000},
    {"wall_ms", FIELD(wall_max_ns), FIELD_U64, CLOCK_NS_PER_MS, 1, 86400000},
    {"share_ms", FIELD(share_max_ns), FIELD_U64, CLOCK_NS_PER_MS, 0, 60000},
    {"tasks", FIELD(tasks_max), FIELD_INT, 1, 0, 1000000},
    {"calls", FIELD(calls_max), FIELD_INT, 1, 0, 1024},
    {"mailbox", FIELD(mailbox_max), FIELD_INT, 1, 1, 1000000},
    {"result_bytes", FIELD(result_max_bytes), FIELD_U64, 1, 1, 64 << 20},
    {"log_lines_per_second", FIELD(log_lines_per_second), FIELD_INT, 1, 0, 1000000},
};

typedef struct LimitsEntry {
    KhronosLimits limits;
    bool busy;  /* the worker is being told */
    bool known; /* it was told at least once */
} LimitsEntry;

void limits_init(GuildLimits *table, const KhronosLimits *defaults)
{
    *table = (GuildLimits){.defaults = defaults};
    pthread_mutex_init(&table->lock, NULL);
    idmap_init(&table->entries, random_u64());
}

void limits_free(GuildLimits *table)
{
    size_t cursor = 0;
    for (LimitsEntry *entry; (entry = idmap_next(&table->entries, &cursor)) != NULL;)
        free(entry);
    idmap_free(&table->entries);
    pthread_mutex_destroy(&table->lock);
}

void limits_of(GuildLimits *table, uint64_t guild_id, KhronosLimits *limits)
{
    *limits = *table->defaults;
    /* Relaxed: a change that is being made may be missed as well as seen. */
    if (atomic_load_explicit(&table->count, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&table->lock);
    const LimitsEntry *entry = idmap_get(&table->entries, guild_id);
    if (entry)
        *limits = entry->limits;
    pthread_mutex_unlock(&table->lock);
}

bool limits_are_default(const GuildLimits *table, const KhronosLimits *limits)
{
    for (int i = 0; i < LIMIT_FIELDS; i++)
        if (field_get(&LIMITS_FIELDS[i], limits) != field_get(&LIMITS_FIELDS[i], table->defaults))
            return false;
    return true;
}

/* ---- A change ---------------------------------------------------------------------------------
 */

static LimitsEntry *add_locked(GuildLimits *table, uint64_t guild_id)
{
    LimitsEntry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    entry->limits = *table->defaults;
    if (!idmap_put(&table->entries, guild_id, entry)) {
        free(entry);
        return NULL;
    }
    atomic_fetch_add_explicit(&table->count, 1, memory_order_relaxed);
    return entry;
}

static void remove_locked(GuildLimits *table, uint64_t guild_id)
{
    free(idmap_remove(&table->entries, guild_id));
    atomic_fetch_sub_explicit(&table->count, 1, memory_order_relaxed);
}

static void merge(LimitsPatch *patch, const KhronosLimits *old, const KhronosLimits *defaults)
{
    patch->limits = *old;
    for (int i = 0; i < LIMIT_FIELDS; i++) {
        const NumberField *field = &LIMITS_FIELDS[i];
        if (patch->by_default & 1u << i)
            field_set(field, &patch->limits, field_get(field, defaults));
        else if (patch->given & 1u << i)
            field_set(field, &patch->limits, (uint64_t)patch->values[i]);
    }
}

LimitsBegun limits_begin(GuildLimits *table, uint64_t guild_id, LimitsPatch *patch)
{
    LimitsBegun begun = LIMITS_BEGUN;
    pthread_mutex_lock(&table->lock);
    LimitsEntry *entry = idmap_get(&table->entries, guild_id);
    if (!entry && table->entries.count >= GUILD_LIMITS_MAX)
        begun = LIMITS_FULL;
    else if (!entry && !(entry = add_locked(table, guild_id)))
        begun = LIMITS_NO_MEMORY;
    else if (entry->busy)
        begun = LIMITS_BUSY;
    if (begun == LIMITS_BEGUN) {
        entry->busy = true;
        merge(patch, &entry->limits, table->defaults);
    }
    pthread_mutex_unlock(&table->lock);
    return begun;
}

void limits_end(GuildLimits *table, uint64_t guild_id, const LimitsPatch *patch, bool taken)
{
    pthread_mutex_lock(&table->lock);
    LimitsEntry *entry = idmap_get(&table->entries, guild_id);
    entry->busy = false;
    if (taken) {
        entry->limits = patch->limits;
        entry->known = !limits_are_default(table, &entry->limits);
    }
    if (!entry->known)
        remove_locked(table, guild_id);
    pthread_mutex_unlock(&table->lock);
}

/* ---- The body ---------------------------------------------------------------------------------
 */

bool limits_read(char *body, size_t length, LimitsPatch *patch, char *error, size_t error_size)
{
    const char *names[LIMIT_FIELDS];
    for (int i = 0; i < LIMIT_FIELDS; i++)
        names[i] = LIMITS_FIELDS[i].name;
    JsonReader reader;
    JsonObject o = {.reader = &reader,
                    .pointer = "",
                    .names = names,
                    .count = LIMIT_FIELDS,
                    .error = error,
                    .error_size = error_size};
    *patch = (LimitsPatch){.given = 0};
    error[0] = '\0';
    json_open(&reader, body, length);
    for (int i; (i = jsonobj_next(&o)) >= 0;) {
        patch->given |= 1u << i;
        if (jsonobj_null(&o))
            patch->by_default |= 1u << i;
        else
            jsonobj_integer(&o, LIMITS_FIELDS[i].min, LIMITS_FIELDS[i].max, &patch->values[i]);
    }
    if (error[0] == '\0' && !json_end(&reader))
        jsonobj_fail(&o, "");
    return error[0] == '\0';
}
