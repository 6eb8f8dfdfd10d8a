/* backing.h: what a server stands on besides its worker: the store and all that lives off it.
 *
 * Comes up around the worker and the dispatcher, and goes down the other way round:
 *
 *     backing_open, backing_worker (options), [worker, dispatcher], backing_start
 *     backing_stop, [worker_stop], backing_settle, [dispatcher_free], backing_close */
#ifndef CLI_BACKING_H
#define CLI_BACKING_H

#include "khronos/sandbox.h"
#include "worker/dispatcher.h"
#include "worker/templates.h"
#include "worker/worker.h"

typedef struct Backing Backing;

/* The store at that path, made if it is not there, with sample templates in it when it was (unless
 * not wanted); store_path NULL: no store. folder: as well; NULL: none. NULL: text in error. */
Backing *backing_open(KhronosSandbox *sandbox, const char *store_path, bool samples,
                      TemplateCache *folder, bool keep_sources, char *error, size_t error_size);
TemplateSource backing_templates(Backing *backing);
/* How many templates every guild has in the store, and the name of one to try: `hello` if it is
 * there. 0: none, or no store. Blocks. */
int backing_example(Backing *backing, char name[TEMPLATE_NAME_SIZE]);
/* Sets what the worker is to do with calls, and its observer. */
void backing_worker(Backing *backing, WorkerOptions *options);
/* False: text in error. */
bool backing_start(Backing *backing, Worker *worker, Dispatcher *dispatcher, char *error,
                   size_t error_size);
void backing_stop(Backing *backing);   /* nothing new comes from here */
void backing_settle(Backing *backing); /* the worker was stopped: notes what came of it */
void backing_close(Backing *backing);  /* NULL is fine */

#endif
