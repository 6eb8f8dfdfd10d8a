/* What a save must be (docs/templates.md), in the order in which it is told: the name, the files
 * with their paths, the labels, the code. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/jsontext.h"
#include "worker/store_templates.h"
#include "worker/template_build.h"

enum { SHOWN_PATH = 80, SHOWN_LINE = 160 };

typedef struct Check {
    const StoreTemplate *t;
    char *error;
    size_t error_size;
} Check;

/* As much of a text as may be shown: whole characters, no control characters. */
static const char *shown(Text text, char *out, size_t size)
{
    size_t length = text.length < size - 1 ? text.length : size - 1;
    while (length < text.length && length > 0 && ((unsigned char)text.data[length] & 0xC0) == 0x80)
        length--;
    for (size_t i = 0; i < length; i++)
        out[i] = (unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7F ? '?' : text.data[i];
    out[length] = '\0';
    if (json_utf8_valid(out, length) != length)
        snprintf(out, size, "?");
    return out;
}

static bool fail_file(const Check *c, const StoreFile *file, const char *wrong)
{
    char path[SHOWN_PATH];
    snprintf(c->error, c->error_size, "file \"%s\": %s", shown(file->path, path, sizeof(path)),
             wrong);
    return false;
}

/* ---- Paths ------------------------------------------------------------------------------------
 */

static bool ends_with(Text text, const char *end)
{
    size_t length = strlen(end);
    return text.length > length && memcmp(text.data + text.length - length, end, length) == 0;
}

/* Of the last part of a path. */
static bool is_file_name(Text name)
{
    if (name.length == 7 && memcmp(name.data, ".luaurc", 7) == 0)
        return true;
    return name.data[0] != '.' && (ends_with(name, ".luau") || ends_with(name, ".lua"));
}

/* NULL, or what is wrong with it. */
static const char *check_path(Text path)
{
    if (path.length == 0 || path.length >= TEMPLATE_PATH_MAX)
        return "a path has 1 to 511 bytes";
    if (json_utf8_valid(path.data, path.length) != path.length)
        return "the path is not valid UTF-8";
    for (size_t i = 0; i < path.length; i++)
        if ((unsigned char)path.data[i] < 0x20 || path.data[i] == 0x7F || path.data[i] == '\\')
            return "a path has no control characters and no backslashes";
    for (const char *p = path.data, *end = p + path.length;;) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        Text part = {p, (size_t)((slash ? slash : end) - p)};
        if (part.length == 0)
            return "a path has no empty part: no slash at its start or end, nor two in a row";
        if (part.data[0] == '.' && (part.length == 1 || (part.length == 2 && part.data[1] == '.')))
            return "a path has no part \".\" or \"..\"";
        if (!slash)
            return is_file_name(part) ? NULL : "a file ends in .luau or .lua, or is a .luaurc";
        p = slash + 1;
    }
}

static int compare_paths(const void *a, const void *b)
{
    const Text *x = &(*(const StoreFile *const *)a)->path,
               *y = &(*(const StoreFile *const *)b)->path;
    size_t shorter = x->length < y->length ? x->length : y->length;
    int order = strncasecmp(x->data, y->data, shorter);
    return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

/* Also those that are the same on a disk that knows no case. */
static bool check_unique(const Check *c)
{
    const StoreFile *files[TEMPLATE_FILES_MAX];
    for (int i = 0; i < c->t->file_count; i++)
        files[i] = &c->t->files[i];
    qsort(files, (size_t)c->t->file_count, sizeof(files[0]), compare_paths);
    for (int i = 1; i < c->t->file_count; i++) {
        if (compare_paths(&files[i - 1], &files[i]) != 0)
            continue;
        bool same = memcmp(files[i - 1]->path.data, files[i]->path.data, files[i]->path.length) ==
                    0;
        return fail_file(c, files[i],
                         same ? "there are two of that path"
                              : "another path differs from it only in upper and lower case");
    }
    return true;
}

/* ---- Files ------------------------------------------------------------------------------------
 */

static bool check_files(const Check *c)
{
    const StoreTemplate *t = c->t;
    size_t bytes = 0;
    if (t->file_count < 1 || t->file_count > TEMPLATE_FILES_MAX) {
        snprintf(c->error, c->error_size, "a template has 1 to %d files", TEMPLATE_FILES_MAX);
        return false;
    }
    for (int i = 0; i < t->file_count; i++) {
        const StoreFile *file = &t->files[i];
        const char *wrong = check_path(file->path);
        size_t length = file->source.length;
        if (!wrong && length > TEMPLATE_FILE_BYTES_MAX)
            wrong = "a file has at most 1 MiB";
        else if (!wrong && length > 0 && json_utf8_valid(file->source.data, length) != length)
            wrong = "the source is not valid UTF-8";
        if (wrong)
            return fail_file(c, file, wrong);
        bytes += length;
    }
    if (bytes > TEMPLATE_BYTES_MAX) {
        snprintf(c->error, c->error_size, "the files have more than 8 MiB together");
        return false;
    }
    return check_unique(c);
}

/* ---- Labels and code --------------------------------------------------------------------------
 */

/* A NUL would hide what follows it from who checks C strings. */
static bool check_no_nul(const Check *c, const char *field, const Text *texts, int count)
{
    for (int i = 0; i < count; i++) {
        if (texts[i].length == 0 || !memchr(texts[i].data, '\0', texts[i].length))
            continue;
        snprintf(c->error, c->error_size, "/%s: a text has a control character", field);
        return false;
    }
    return true;
}

/* `init.luau:3:7: message`, and the line. */
static void tell_diagnostic(const Check *c, const KhronosTemplate *built, int file,
                            const luau_Diagnostic *d)
{
    size_t length;
    char text[SHOWN_LINE];
    int used = snprintf(c->error, c->error_size, "%s:%d:%d: %s", template_shown(built, file),
                        d->line, d->column, d->message);
    const char *line = template_source(built, file, &length);
    for (int i = 1; line && i < d->line; i++) {
        const char *end = memchr(line, '\n', length);
        if (!end)
            return;
        length -= (size_t)(end + 1 - line);
        line = end + 1;
    }
    if (!line || used < 0 || (size_t)used >= c->error_size)
        return;
    const char *end = memchr(line, '\n', length);
    Text whole = {line, end ? (size_t)(end - line) : length};
    while (whole.length > 0 && (*whole.data == ' ' || *whole.data == '\t')) {
        whole.data++;
        whole.length--;
    }
    if (whole.length > 0 && whole.data[whole.length - 1] == '\r')
        whole.length--;
    if (whole.length > 0)
        snprintf(c->error + used, c->error_size - (size_t)used, "\n    %s",
                 shown(whole, text, sizeof(text)));
}

/* Which of the files to save that is. */
static int index_of(const StoreTemplate *t, const char *path)
{
    int i = 0;
    size_t length = strlen(path);
    while (t->files[i].path.length != length || memcmp(t->files[i].path.data, path, length) != 0)
        i++;
    return i;
}

static bool compile(const Check *c, KhronosTemplate *built, luau_Diagnostic *diagnostic, int *file)
{
    for (int i = 0; i < template_count(built); i++) {
        const char *path = template_path(built, i), *dot = strrchr(path, '.');
        if (strcmp(dot, ".luaurc") == 0 || template_module(built, i, diagnostic))
            continue;
        tell_diagnostic(c, built, i, diagnostic);
        *file = index_of(c->t, path);
        return false;
    }
    return true;
}

bool template_check(KhronosSandbox *sandbox, const StoreTemplate *t, char *error, size_t error_size,
                    luau_Diagnostic *diagnostic, int *file)
{
    Check c = {t, error, error_size};
    luau_Diagnostic unwanted_diagnostic;
    int unwanted_file;
    diagnostic = diagnostic ? diagnostic : &unwanted_diagnostic;
    file = file ? file : &unwanted_file;
    *file = -1;
    if (!t->name.data || !template_name_valid(t->name.data, t->name.length)) {
        snprintf(error, error_size, "a template's name is 1 to 64 of A-Z a-z 0-9 . _ $ -");
        return false;
    }
    if (!check_files(&c) || !check_no_nul(&c, "events", t->events, t->event_count) ||
        !check_no_nul(&c, "capabilities", t->capabilities, t->capability_count) ||
        !check_no_nul(&c, "description", &t->description, 1))
        return false;
    char name[TEMPLATE_NAME_MAX + 1];
    snprintf(name, sizeof(name), "%.*s", (int)t->name.length, t->name.data);
    KhronosTemplate *built = template_new(sandbox, name, 0, "");
    if (!built) {
        snprintf(error, error_size, TEMPLATE_NO_MEMORY);
        return false;
    }
    bool good = template_build(built, t, error, error_size) && compile(&c, built, diagnostic, file);
    template_release(built);
    return good;
}
