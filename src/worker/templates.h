/* templates.h: the template cache over a folder.
 *
 *     FOLDER/NAME.luau            a template of one file
 *     FOLDER/NAME/init.luau ...   a template with files to require (.luau, .lua, .luaurc)
 *
 * Changes are seen at the next look-up: the kernel reports them (inotify) before the writer goes
 * on, so nothing runs an old version once its save is complete (under load, a millisecond later).
 * Every change makes a new version; who holds the old one keeps it. Sources compile once, at first
 * use, whatever number of guilds runs them. Any thread. */
#ifndef WORKER_TEMPLATES_H
#define WORKER_TEMPLATES_H

#include <stddef.h>

#include "khronos/sandbox.h"
#include "khronos/template.h"

typedef struct TemplateCache TemplateCache;

/* NULL: text in error (no such folder, ...). The sandbox is retained. */
TemplateCache *templates_open(KhronosSandbox *sandbox, const char *folder, char *error,
                              size_t error_size);
void templates_close(TemplateCache *cache); /* NULL is fine */
/* The current version, retained for the caller; NULL: there is none of that name. */
KhronosTemplate *templates_get(TemplateCache *cache, const char *name, size_t length);
int templates_count(TemplateCache *cache);

/* Writes the name of one to show around: "hello" if there is one, else the first by name. False: no
 * template at all. Any thread. */
enum { TEMPLATE_NAME_SIZE = 65 };
bool templates_example(TemplateCache *cache, char name[TEMPLATE_NAME_SIZE]);

/* One template from a file or a folder with init.luau, outside of any cache. Files are shown in
 * messages under the path as given. NULL: text in error. */
KhronosTemplate *templates_load(KhronosSandbox *sandbox, const char *path, char *error,
                                size_t error_size);

#endif
