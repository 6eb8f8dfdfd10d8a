/* process_child.h: a child of the process-pool: frames in, its strategy's completions out. */
#ifndef WORKER_PROCESS_CHILD_H
#define WORKER_PROCESS_CHILD_H

#include "worker/strategy.h"

/* Serves the parent on the descriptors that process_pool.h names, with the strategy that `make`
 * makes, until it is told to stop; returns the exit status. When the parent is gone, or says what
 * it never says, the process ends at once. */
int process_child_serve(KhronosSandbox *(*sandbox)(void),
                        Strategy *(*make)(const WorkerOptions *options, char *error, size_t size));

#endif
