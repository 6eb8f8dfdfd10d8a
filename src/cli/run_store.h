/* run_store.h: what a run asks of a store (ctx.KV, ctx.Templates), for `run`. */
#ifndef CLI_RUN_STORE_H
#define CLI_RUN_STORE_H

#include "khronos/khronos.h"

typedef struct RunStore RunStore;

/* path NULL: there is none, and calls are refused. NULL: a complaint was printed. */
RunStore *run_store_open(KhronosSandbox *sandbox, const char *path);
/* After each step: takes the calls that were made since, and gives the runtime the answers that
 * came. True: there were some of either. */
bool run_store_serve(RunStore *rs, KhronosRuntime *rt);
/* Until an answer comes, or until due_ns (0: however long that takes). Returns at once if neither
 * can be. */
void run_store_wait(RunStore *rs, uint64_t due_ns);
void run_store_close(RunStore *rs); /* NULL is fine */

#endif
