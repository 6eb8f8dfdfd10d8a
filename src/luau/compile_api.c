/* compile_api.c: luau_compile and luau_check: source text to module or diagnostics.
 *
 * Parser and compiler recurse as deep as the language allows nesting, so they run on a native stack
 * of their own. Out of memory and cancelling unwind by longjmp to run_job, on that stack. */
#include <stdio.h>

#include "luau/codegen.h"
#include "luau/fiber.h"

enum { STACK_BYTES = 16 << 20 /* address space; what is never used costs nothing */ };

typedef struct Job {
    const char *source;
    size_t length;
    const char *chunkname;
    const luau_CompileOptions *options;
    luau_Diagnostic *diagnostics; /* room for `max` */
    int max, count;
    luau_Module *module;
    bool done; /* the module is the caller's */
    Arena arena;
    jmp_buf fail;
} Job;

void luau_compile_defaults(luau_CompileOptions *options)
{
    memset(options, 0, sizeof(*options));
    options->optimization = 1;
    options->debug = 1;
}

static void report(Job *job, Location location, const char *message)
{
    if (job->count >= job->max)
        return;
    luau_Diagnostic *d = &job->diagnostics[job->count++];
    d->line = location.begin.line;
    d->column = location.begin.column;
    d->end_line = location.end.line;
    d->end_column = location.end.column;
    snprintf(d->message, sizeof(d->message), "%s", message);
}

/* The cap is for tree and module together: what parsing left is shared evenly. */
static size_t split_cap(Job *job)
{
    size_t max = job->options->memory_max_bytes;
    if (max == 0)
        return 0;
    size_t half = (max - job->arena.used_bytes) / 2;
    if (half == 0)
        longjmp(job->fail, ARENA_NOMEM);
    job->arena.max_bytes = job->arena.used_bytes + half;
    return half;
}

/* What is left where the compiler stopped, done or not. */
static void drop_job(void *arg)
{
    Job *job = arg;
    luA_free(&job->arena);
    luau_Module *unfinished = job->done ? NULL : job->module;
    job->module = job->done ? job->module : NULL;
    luau_module_release(unfinished);
}

static void compile_chunk(Job *job)
{
    ParseOptions options = {job->options->poll, job->options->poll_userdata};
    ParseResult chunk = luP_parse(job->source, job->length, &job->arena, job->max, &options);
    for (int i = 0; i < chunk.error_count; i++)
        report(job, chunk.errors[i].location, chunk.errors[i].message);
    if (chunk.error_count > 0)
        return;
    job->module = luM_new(job->options->image, job->chunkname, split_cap(job), &job->fail);
    if (!job->module)
        longjmp(job->fail, ARENA_NOMEM);
    ParseError error;
    if (luC_compile(job->module, &job->arena, &chunk, job->options, &error)) {
        luM_seal(job->module);
        return;
    }
    report(job, error.location, error.message);
    luau_module_release(job->module);
    job->module = NULL;
}

static void run_job(void *arg)
{
    Job *job = arg;
    luA_init(&job->arena, job->options->memory_max_bytes, &job->fail);
    int failed = setjmp(job->fail);
    if (failed) {
        Location start = {{1, 1}, {1, 1}};
        job->count = 0;
        report(job, start, failed == ARENA_STOP ? "compilation cancelled" : "not enough memory");
        luau_module_release(job->module);
        job->module = NULL;
    } else {
        compile_chunk(job);
    }
    luA_free(&job->arena); /* which may park; from here to the caller nothing does */
    job->done = true;
}

static void start_job(Job *job)
{
    if (!luY_onbigstack(STACK_BYTES, run_job, drop_job, job))
        report(job, (Location){{1, 1}, {1, 1}}, "not enough memory");
}

static const luau_CompileOptions *options_or(const luau_CompileOptions *options,
                                             luau_CompileOptions *defaults)
{
    luau_compile_defaults(defaults);
    return options ? options : defaults;
}

luau_Module *luau_compile(const char *source, size_t length, const char *chunkname,
                          const luau_CompileOptions *options, luau_Diagnostic *diagnostic)
{
    luau_CompileOptions defaults;
    luau_Diagnostic unused;
    Job job;
    memset(&job, 0, sizeof(job));
    job.source = source;
    job.length = length;
    job.chunkname = chunkname;
    job.options = options_or(options, &defaults);
    job.diagnostics = diagnostic ? diagnostic : &unused;
    job.max = 1;
    start_job(&job);
    return job.module;
}

int luau_check(const char *source, size_t length, const luau_CompileOptions *options,
               luau_Diagnostic *diagnostics, int max)
{
    luau_CompileOptions defaults;
    Job job;
    if (max < 1)
        return 0;
    memset(&job, 0, sizeof(job));
    job.source = source;
    job.length = length;
    job.chunkname = "=check";
    job.options = options_or(options, &defaults);
    job.diagnostics = diagnostics;
    job.max = max;
    start_job(&job);
    luau_module_release(job.module);
    return job.count;
}
