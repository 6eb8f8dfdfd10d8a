#include "cli/test_files.h"

#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "worker/templates.h"

/* ---- Finding ----------------------------------------------------------------------------------
 */

static bool add_path(TestFiles *files, const char *path)
{
    char **paths = realloc(files->paths, ((size_t)files->count + 1) * sizeof(*paths));
    char *copy = strdup(path);
    if (paths)
        files->paths = paths;
    if (!paths || !copy) {
        free(copy);
        cli_error("not enough memory");
        return false;
    }
    paths[files->count++] = copy;
    return true;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

bool test_files_find(const char *folder, TestFiles *files)
{
    char *paths[] = {(char *)(uintptr_t)folder, NULL};
    size_t skip = strlen(folder) + (folder[strlen(folder) - 1] != '/');
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    bool ok = walk != NULL;
    for (FTSENT *item; ok && (item = fts_read(walk)) != NULL;) {
        if (item->fts_info == FTS_D && item->fts_level > 0 && item->fts_name[0] == '.')
            fts_set(walk, item, FTS_SKIP);
        else if (item->fts_info == FTS_F && templates_istest(item->fts_name))
            ok = add_path(files, item->fts_path + skip);
        if (item->fts_info == FTS_DNR || item->fts_info == FTS_ERR || item->fts_info == FTS_NS) {
            cli_fileerror(item->fts_path, item->fts_errno, 0);
            ok = false;
        }
    }
    if (walk)
        fts_close(walk);
    return ok;
}

void test_files_free(TestFiles *files)
{
    for (int i = 0; i < files->count; i++)
        free(files->paths[i]);
    free(files->paths);
}

/* ---- Loading ----------------------------------------------------------------------------------
 */

/* False: text in error. */
static bool add_file(KhronosTemplate *t, const char *full, const char *path, const char *shown,
                     char *error, size_t error_size)
{
    Strbuf source = STRBUF_INIT;
    char text[128];
    size_t length;
    int code = strbuf_readfile(&source, full, TEMPLATE_FILE_BYTES_MAX);
    strbuf_putc(&source, '\0');
    char *bytes = strbuf_take(&source, &length);
    if (code == 0 && !bytes)
        code = ENOMEM;
    if (code == 0)
        return template_addfile(t, path, shown, bytes, length - 1, error, error_size);
    free(bytes);
    snprintf(error, error_size, "%s: %s", shown ? shown : path,
             code == EFBIG ? "larger than a file may be (1 MiB)"
                           : strerror_r(code, text, sizeof(text)));
    return false;
}

/* Code, and where require looks for names; not what the template itself begins with. */
static bool is_part(const FTSENT *item, const char *path)
{
    const char *dot = strrchr(item->fts_name, '.');
    if (item->fts_info != FTS_F || !dot || strcmp(path, "init.luau") == 0 ||
        strcmp(path, "init.lua") == 0 || templates_istest(item->fts_name))
        return false;
    if (strcmp(item->fts_name, ".luaurc") == 0)
        return true;
    return item->fts_name[0] != '.' && (strcmp(dot, ".luau") == 0 || strcmp(dot, ".lua") == 0);
}

/* The files of the template in that folder. */
static bool add_parts(KhronosTemplate *t, const char *full, char *error, size_t error_size)
{
    char *paths[] = {(char *)(uintptr_t)full, NULL};
    size_t skip = strlen(full) + 1;
    FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    bool ok = walk != NULL;
    for (FTSENT *item; ok && (item = fts_read(walk)) != NULL;) {
        if (item->fts_info == FTS_D && item->fts_level > 0 && item->fts_name[0] == '.')
            fts_set(walk, item, FTS_SKIP);
        else if (item->fts_level > 0 && is_part(item, item->fts_path + skip))
            ok = add_file(t, item->fts_path, item->fts_path + skip, NULL, error, error_size);
    }
    if (walk)
        fts_close(walk);
    return ok;
}

/* What may stand in a template's name, of `greeter/greeter.test.luau`. */
static void make_name(const char *path, char name[TEMPLATE_NAME_MAX + 1])
{
    size_t length = strlen(path) - strlen(".luau");
    size_t from = length > TEMPLATE_NAME_MAX ? length - TEMPLATE_NAME_MAX : 0;
    snprintf(name, TEMPLATE_NAME_MAX + 1, "%.*s", (int)(length - from), path + from);
    for (char *p = name; *p; p++)
        if (!template_name_valid(p, 1))
            *p = *p == '/' ? '.' : '_';
}

KhronosTemplate *test_files_load(KhronosSandbox *sandbox, const char *folder, const char *path)
{
    char name[TEMPLATE_NAME_MAX + 1], full[PATH_MAX], prefix[PATH_MAX], error[512];
    const char *slash = strchr(path, '/');
    snprintf(prefix, sizeof(prefix), "%.*s", slash ? (int)(slash - path) + 1 : 0, path);
    make_name(path, name);
    KhronosTemplate *t = template_new(sandbox, name, 1, prefix);
    if (!t)
        return NULL;
    snprintf(full, sizeof(full), "%s/%s", folder, path);
    bool ok = add_file(t, full, "init.luau", path, error, sizeof(error));
    if (ok && slash) {
        snprintf(full, sizeof(full), "%s/%.*s", folder, (int)(slash - path), path);
        ok = add_parts(t, full, error, sizeof(error));
    }
    if (ok || template_setproblem(t, error))
        return t;
    template_release(t);
    return NULL;
}
