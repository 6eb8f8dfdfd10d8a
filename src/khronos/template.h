/* template.h: one version of a template: its files, what it says of itself, and its code once
 * somebody ran it.
 *
 * Immutable but for the code that is compiled when it is first needed, reference counted, any
 * thread. A running execution holds a reference, so it keeps its version when a newer one takes the
 * name. Code belongs to the process (codecache.h): equal files of versions, templates and guilds
 * share it, it is compiled once, and a source is dropped when its code is there. */
#ifndef KHRONOS_TEMPLATE_H
#define KHRONOS_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "khronos/event.h"
#include "khronos/sandbox.h"
#include "luau/luau.h"

enum { TEMPLATE_NAME_MAX = 64, TEMPLATE_FILES_MAX = 256, TEMPLATE_PATH_MAX = 512 };
#define TEMPLATE_FILE_BYTES_MAX ((size_t)1 << 20)
#define TEMPLATE_BYTES_MAX ((size_t)8 << 20)

typedef struct KhronosTemplate KhronosTemplate;

/* `[A-Za-z0-9._$-]`, 1 to 64 bytes. */
bool template_name_valid(const char *name, size_t length);

/* A version without files; one reference. NULL: no memory. shown_prefix stands before the paths in
 * messages ("stats/"), "" for none. */
KhronosTemplate *template_new(KhronosSandbox *sandbox, const char *name, uint32_t version,
                              const char *shown_prefix);
/* Adds a file (before the template is shared). `shown` is the name in messages; NULL: prefix and
 * path. Takes source (malloc'd), also when it fails: false, text in error (limits, memory). */
bool template_addfile(KhronosTemplate *t, const char *path, const char *shown, char *source,
                      size_t length, char *error, size_t error_size);
/* Sources stay when their code is there, to send them elsewhere. Before files are added. */
void template_keepsources(KhronosTemplate *t);

/* What a template says of itself. */
typedef struct TemplateMeta {
    const char *description;   /* NULL: none */
    const char *const *events; /* names it is subscribed to: "Name" or "Name[scope]" */
    int event_count;
    const char *const *capabilities; /* exact, "*", or "prefix:*" */
    int capability_count;
    bool enabled;
} TemplateMeta;
/* Events and capabilities have 1 to 128 bytes of UTF-8 without control characters. Names and scopes
 * of events are not empty and have no brackets; "*" stands in a capability only as said above. */
enum {
    TEMPLATE_EVENTS_MAX = 256,
    TEMPLATE_CAPABILITIES_MAX = 256,
    TEMPLATE_LABEL_MAX = 128,
    TEMPLATE_DESCRIPTION_MAX = 4096
};

/* Copies meta (before the template is shared). False: text in error: a JSON pointer to what is
 * wrong
 * ("/events/3"), the entry, and why; the template is as it was. Without it a template has no
 * events, all capabilities ("*"), and is enabled. */
bool template_setmeta(KhronosTemplate *t, const TemplateMeta *meta, char *error, size_t error_size);
const TemplateMeta *template_meta(const KhronosTemplate *t); /* lives with the template */
/* Is an enabled template without a problem subscribed to the event: lists its name, its base name,
 * or either with one of its scopes in brackets. */
bool template_matches(const KhronosTemplate *t, const KhronosEvent *event);
/* The files could not be loaded: every run ends with this text as its compile error, and no event
 * matches. Before the template is shared. False: no memory. */
bool template_setproblem(KhronosTemplate *t, const char *text);
const char *template_problem(const KhronosTemplate *t); /* NULL: none */
KhronosTemplate *template_retain(KhronosTemplate *t);
void template_release(KhronosTemplate *t); /* NULL is fine */

const char *template_name(const KhronosTemplate *t);
uint32_t template_version(const KhronosTemplate *t);
int template_count(const KhronosTemplate *t);
const char *template_path(const KhronosTemplate *t, int file);
const char *template_shown(const KhronosTemplate *t, int file);
/* The file whose path, or whose chunk name, this is; -1: none. */
int template_find(const KhronosTemplate *t, const char *path);
int template_findchunk(const KhronosTemplate *t, const char *chunkname);
/* init.luau or init.lua; -1: none. */
int template_entry(const KhronosTemplate *t);
bool template_hasdirectory(const KhronosTemplate *t, const char *path); /* "" is the root */
/* The source; lives with the template. NULL (and length 0): its code took its place, which is never
 * so where sources are kept, for files that are no code, and for code that failed to compile. */
const char *template_source(const KhronosTemplate *t, int file, size_t *length);

/* A file's code (borrowed, lives with the template), compiled now if need be; NULL: *diagnostic
 * says why. Never waits for a VM. Not for files that are no code (.luaurc). */
luau_Module *template_module(KhronosTemplate *t, int file, luau_Diagnostic *diagnostic);
/* The same on behalf of a VM, which is preempted like any other that runs long, and waits if
 * another one is compiling the file. Does not return when it is killed. [e] */
luau_Module *template_compile(lua_State *L, KhronosTemplate *t, int file,
                              luau_Diagnostic *diagnostic);

#endif
