/* templates.h: the template cache over a folder, which serves all guilds.
 *
 *     FOLDER/NAME.luau            a template of one file
 *     FOLDER/NAME.json            what it says of itself (template_json.h); may be missing
 *     FOLDER/NAME/init.luau ...   a template with files to require (.luau, .lua, .luaurc)
 *     FOLDER/NAME/template.json   what that one says of itself
 *
 * Files that end with .test.luau are tests (docs/testing.md), no templates and no parts of them.
 *
 * Changes are seen at the next look-up: the kernel reports them (inotify) before the writer goes
 * on, so nothing runs an old version once its save is complete (under load, a millisecond later).
 * Every change makes a new version; who holds the old one keeps it; files that did not change share
 * their code with it. What cannot be loaded (too large, a bad .json, ...) is a template with a
 * problem: it matches no event, and a run of it says what is wrong.
 *
 * A folder serves all guilds and holds any number of templates. Of those that listen to events the
 * first TEMPLATES_PER_GUILD_MAX by name get them, and the log names who gets none. Any thread. */
#ifndef WORKER_TEMPLATES_H
#define WORKER_TEMPLATES_H

#include <stddef.h>

#include "khronos/sandbox.h"
#include "khronos/template.h"
#include "worker/template_source.h"

typedef struct TemplateCache TemplateCache;

bool templates_istest(const char *file_name); /* .test.luau */

/* NULL: text in error (no such folder, ...). The sandbox is retained. */
TemplateCache *templates_open(KhronosSandbox *sandbox, const char *folder, char *error,
                              size_t error_size);
void templates_close(TemplateCache *cache); /* NULL is fine */
/* From now on templates keep their sources (template_keepsources). Right after templates_open: it
 * loads them again, as the same versions. */
void templates_keepsources(TemplateCache *cache);
/* The current version, retained for the caller; NULL: there is none of that name. */
KhronosTemplate *templates_get(TemplateCache *cache, const char *name, size_t length);
/* Answers at once, for every guild alike. The cache must outlive it. */
TemplateSource templates_source(TemplateCache *cache);

/* Writes the name of one to show around: "hello" if there is one, else the first by name. False: no
 * template at all. Any thread. */
enum { TEMPLATE_NAME_SIZE = 65 };
bool templates_example(TemplateCache *cache, char name[TEMPLATE_NAME_SIZE]);

/* One template from a file or a folder with init.luau, and its .json, outside of any cache. Files
 * are shown in messages under the path as given, and sources are kept. NULL: text in error. */
KhronosTemplate *templates_load(KhronosSandbox *sandbox, const char *path, char *error,
                                size_t error_size);

#endif
