/* guild_limits.h: limits that guilds have for themselves. The worker keeps and applies them; here
 * is what it was given last, which the next change starts from, and which limit it was that an
 * execution exceeded. Any thread. */
#ifndef API_GUILD_LIMITS_H
#define API_GUILD_LIMITS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "api/fields.h"
#include "base/idmap.h"
#include "khronos/khronos.h"

/* Guilds with limits of their own. */
enum { GUILD_LIMITS_MAX = 100000 };

typedef struct GuildLimits {
    const KhronosLimits *defaults;
    pthread_mutex_t lock;
    IdMap entries;       /* under the lock */
    atomic_size_t count; /* written under the lock */
} GuildLimits;

/* Some of the limits: those that can be set, and how they are shown. */
enum { LIMIT_FIELDS = 9 };
extern const NumberField LIMITS_FIELDS[LIMIT_FIELDS];

typedef struct LimitsPatch {
    unsigned given;      /* bit i: LIMITS_FIELDS[i] was */
    unsigned by_default; /* and is to be the default's again */
    int64_t values[LIMIT_FIELDS];
    KhronosLimits limits; /* what comes of it */
} LimitsPatch;

void limits_init(GuildLimits *table, const KhronosLimits *defaults);
void limits_free(GuildLimits *table);
/* Those in force. */
void limits_of(GuildLimits *table, uint64_t guild_id, KhronosLimits *limits);

typedef enum LimitsBegun {
    LIMITS_BEGUN,
    LIMITS_BUSY, /* another change of this guild's is under way */
    LIMITS_FULL, /* too many guilds have limits of their own */
    LIMITS_NO_MEMORY
} LimitsBegun;
/* Merges the patch into what the guild has: patch->limits is what the worker is to be given.
 * limits_end tells whether it took them. */
LimitsBegun limits_begin(GuildLimits *table, uint64_t guild_id, LimitsPatch *patch);
void limits_end(GuildLimits *table, uint64_t guild_id, const LimitsPatch *patch, bool taken);
/* Nothing is left that differs from the defaults. */
bool limits_are_default(const GuildLimits *table, const KhronosLimits *limits);

/* False: a complaint with the place. The body is changed (jsonobject.h). */
bool limits_read(char *body, size_t length, LimitsPatch *patch, char *error, size_t error_size);

#endif
