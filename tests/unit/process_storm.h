/* process_storm.h: a process-pool under load whose children are killed. */
#ifndef TESTS_PROCESS_STORM_H
#define TESTS_PROCESS_STORM_H

#include "process_bench.h"

enum { STORM_ACTIONS = 10000, STORM_SHARDS = 4, STORM_VICTIMS = 3, STORM_KILLS_MIN = 10 };

/* What became of the actions. Guilds of the last shard, whose child is left in peace, have no part
 * in what is not `done`. */
typedef struct Storm {
    int kills;
    int done;
    int started;  /* when their child was lost; ended as broken */
    int given_up; /* lost too many children without starting */
} Storm;

/* Runs the template STORM_ACTIONS times, each time with its number as the event's data, while
 * children are killed (-9) again and again in the midst of work. Each action must be completed
 * once, and one that succeeded have its number as its result. Where `prints`, the template prints
 * that number first, and must have done so once for what is done, not at all for what was given up,
 * and never twice. The bench is started here. */
void pool_storm(PoolBench *b, KhronosTemplate *t, bool prints, Storm *storm);

#endif
