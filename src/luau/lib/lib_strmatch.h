/* lib_strmatch.h: the matcher of patterns. One Match serves any number of searches of one subject
 * with one pattern; it owns nothing. */
#ifndef LUAU_LIB_STRMATCH_H
#define LUAU_LIB_STRMATCH_H

#include "luau/lib/lib_string.h"

enum { CAPTURES_MAX = 32, SET_SLOTS = 4, STEPS_PER_POLL = 4096 };
#define CAPTURE_UNFINISHED ((ptrdiff_t)-1)
#define CAPTURE_POSITION ((ptrdiff_t)-2)

/* The bitmap of a set; a slot is chosen by the set's place in the pattern. */
typedef struct SetSlot {
    const char *set; /* its `[`; NULL: unused */
    int tests;       /* direct ones so far */
    bool ready;      /* bits are made */
    uint8_t bits[32];
} SetSlot;

typedef struct Match {
    lua_State *L;
    const char *start, *end; /* subject */
    const char *pattern_end;
    int steps; /* until the next poll */
    int depth; /* of recursion */
    int level; /* captures begun */
    struct {
        const char *start;
        ptrdiff_t length; /* or CAPTURE_* */
    } capture[CAPTURES_MAX];
    SetSlot slots[SET_SLOTS];
} Match;

void luStr_matchinit(Match *m, lua_State *L, const char *s, size_t length, const char *p,
                     size_t pattern_length);
/* The first match at or after *s of the pattern that starts at p (behind its `^` if anchored: then
 * only at *s). Gives its end, and its start in *s; NULL if there is none. Raises pattern errors;
 * polls. */
const char *luStr_matchsearch(Match *m, const char **s, const char *p, bool anchored);

/* Counts work, and polls when enough was done. */
BASE_INLINE void match_spend(Match *m, int steps)
{
    m->steps -= steps;
    if (BASE_UNLIKELY(m->steps < 0)) {
        m->steps = STEPS_PER_POLL;
        luY_poll(m->L);
    }
}

#endif
