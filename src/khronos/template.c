#include "khronos/template.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "khronos/subscriptions.h"

typedef struct TemplateFile {
    char *path;
    size_t length;
    Code *code;      /* NULL: a file that is no code, whose name and source follow */
    char *chunkname; /* "@" and the name shown */
    char *source;
} TemplateFile;

struct KhronosTemplate {
    atomic_int refs;
    uint32_t version;
    int file_count;
    size_t bytes;
    KhronosSandbox *sandbox;
    TemplateFile *files; /* in the order of their paths */
    char *shown_prefix;
    char *problem;
    bool keep_sources;
    TemplateMeta meta;
    void *meta_memory; /* what meta points into, or NULL */
    Subscriptions subscriptions;
    char name[TEMPLATE_NAME_MAX + 1];
};

bool template_name_valid(const char *name, size_t length)
{
    if (length == 0 || length > TEMPLATE_NAME_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)name[i], lower = c | 0x20;
        bool good = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
                    c == '_' || c == '$' || c == '-';
        if (!good)
            return false;
    }
    return true;
}

static const char *const ALL_CAPABILITIES[] = {"*"};
static const TemplateMeta DEFAULT_META = {
    .capabilities = ALL_CAPABILITIES, .capability_count = 1, .enabled = true};

KhronosTemplate *template_new(KhronosSandbox *sandbox, const char *name, uint32_t version,
                              const char *shown_prefix)
{
    KhronosTemplate *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->shown_prefix = strdup(shown_prefix);
    if (!t->shown_prefix) {
        free(t);
        return NULL;
    }
    atomic_init(&t->refs, 1);
    t->version = version;
    t->meta = DEFAULT_META;
    t->sandbox = sandbox_retain(sandbox);
    snprintf(t->name, sizeof(t->name), "%s", name);
    return t;
}

static bool is_code(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && (strcmp(dot, ".luau") == 0 || strcmp(dot, ".lua") == 0);
}

static bool check_limits(const KhronosTemplate *t, const char *path, size_t length, char *error,
                         size_t error_size)
{
    if (length > TEMPLATE_FILE_BYTES_MAX)
        snprintf(error, error_size, "%s has %zu bytes, a file may have %zu", path, length,
                 TEMPLATE_FILE_BYTES_MAX);
    else if (length > TEMPLATE_BYTES_MAX - t->bytes)
        snprintf(error, error_size, "the files have more than %zu bytes together",
                 TEMPLATE_BYTES_MAX);
    else if (t->file_count == TEMPLATE_FILES_MAX)
        snprintf(error, error_size, "more than %d files", TEMPLATE_FILES_MAX);
    else if (strlen(path) >= TEMPLATE_PATH_MAX)
        snprintf(error, error_size, "a file's path is longer than %d bytes", TEMPLATE_PATH_MAX - 1);
    else
        return true;
    return false;
}

/* Fills in code, or chunkname and source; takes source. */
static bool make_file(KhronosTemplate *t, TemplateFile *file, const char *shown, char *source)
{
    char *chunkname;
    int made = shown ? asprintf(&chunkname, "@%s", shown)
                     : asprintf(&chunkname, "@%s%s", t->shown_prefix, file->path);
    if (made < 0) {
        free(source);
        return false;
    }
    if (!is_code(file->path)) {
        file->chunkname = chunkname;
        file->source = source;
        return true;
    }
    file->code = codecache_add(sandbox_codecache(t->sandbox), chunkname, source, file->length,
                               t->keep_sources);
    free(chunkname);
    return file->code != NULL;
}

static void free_file(KhronosTemplate *t, TemplateFile *file)
{
    if (file->code)
        codecache_drop(sandbox_codecache(t->sandbox), file->code, t->keep_sources);
    free(file->path);
    free(file->chunkname);
    free(file->source);
}

bool template_addfile(KhronosTemplate *t, const char *path, const char *shown, char *source,
                      size_t length, char *error, size_t error_size)
{
    if (!check_limits(t, path, length, error, error_size)) {
        free(source);
        return false;
    }
    TemplateFile file = {.path = strdup(path), .length = length};
    TemplateFile *files = realloc(t->files, ((size_t)t->file_count + 1) * sizeof(*files));
    if (files)
        t->files = files;
    if (!file.path || !files || !source) {
        free(source);
        goto no_memory;
    }
    if (!make_file(t, &file, shown, source))
        goto no_memory;
    int at = t->file_count++;
    while (at > 0 && strcmp(t->files[at - 1].path, path) > 0) {
        t->files[at] = t->files[at - 1];
        at--;
    }
    t->files[at] = file;
    t->bytes += length;
    return true;

no_memory:
    free(file.path);
    snprintf(error, error_size, "not enough memory");
    return false;
}

void template_keepsources(KhronosTemplate *t)
{
    BASE_ASSERT(t->file_count == 0);
    t->keep_sources = true;
}

KhronosTemplate *template_retain(KhronosTemplate *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void template_release(KhronosTemplate *t)
{
    /* acq_rel: the last one frees what every other holder was done with. */
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < t->file_count; i++)
        free_file(t, &t->files[i]);
    free(t->files);
    free(t->shown_prefix);
    free(t->problem);
    free(t->meta_memory);
    subscriptions_free(&t->subscriptions);
    sandbox_release(t->sandbox);
    free(t);
}

bool template_setproblem(KhronosTemplate *t, const char *text)
{
    char *problem = strdup(text);
    if (!problem)
        return false;
    free(t->problem);
    t->problem = problem;
    return true;
}

const char *template_problem(const KhronosTemplate *t)
{
    return t->problem;
}

const char *template_name(const KhronosTemplate *t)
{
    return t->name;
}

uint32_t template_version(const KhronosTemplate *t)
{
    return t->version;
}

int template_count(const KhronosTemplate *t)
{
    return t->file_count;
}

const char *template_path(const KhronosTemplate *t, int file)
{
    return t->files[file].path;
}

static const char *chunkname_of(const TemplateFile *file)
{
    return file->code ? code_chunkname(file->code) : file->chunkname;
}

const char *template_shown(const KhronosTemplate *t, int file)
{
    return chunkname_of(&t->files[file]) + 1;
}

int template_find(const KhronosTemplate *t, const char *path)
{
    int low = 0, high = t->file_count - 1;
    while (low <= high) {
        int middle = low + (high - low) / 2;
        int order = strcmp(t->files[middle].path, path);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle - 1;
    }
    return -1;
}

int template_findchunk(const KhronosTemplate *t, const char *chunkname)
{
    for (int i = 0; i < t->file_count; i++)
        if (strcmp(chunkname_of(&t->files[i]), chunkname) == 0)
            return i;
    return -1;
}

int template_entry(const KhronosTemplate *t)
{
    int file = template_find(t, "init.luau");
    return file >= 0 ? file : template_find(t, "init.lua");
}

bool template_hasdirectory(const KhronosTemplate *t, const char *path)
{
    size_t length = strlen(path);
    if (length == 0)
        return true;
    for (int i = 0; i < t->file_count; i++)
        if (strncmp(t->files[i].path, path, length) == 0 && t->files[i].path[length] == '/')
            return true;
    return false;
}

const char *template_source(const KhronosTemplate *t, int index, size_t *length)
{
    const TemplateFile *file = &t->files[index];
    const char *source = file->source;
    if (file->code)
        source = codecache_source(sandbox_codecache(t->sandbox), file->code, t->keep_sources);
    *length = source ? file->length : 0;
    return source;
}

luau_Module *template_module(KhronosTemplate *t, int index, luau_Diagnostic *diagnostic)
{
    return template_compile(NULL, t, index, diagnostic);
}

luau_Module *template_compile(lua_State *L, KhronosTemplate *t, int index,
                              luau_Diagnostic *diagnostic)
{
    BASE_ASSERT(t->files[index].code);
    return codecache_compile(sandbox_codecache(t->sandbox), t->files[index].code, L, diagnostic);
}

/* ---- What a template says of itself -----------------------------------------------------------
 */

static const char **copy_texts(const char *const *texts, int count, const char **array, char **room)
{
    for (int i = 0; i < count; i++) {
        size_t size = strlen(texts[i]) + 1;
        array[i] = memcpy(*room, texts[i], size);
        *room += size;
    }
    return array + count;
}

static size_t bytes_of(const char *const *texts, int count)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += strlen(texts[i]) + 1;
    return bytes;
}

/* A copy in one piece of memory: the arrays, then the texts. */
static void *copy_meta(const TemplateMeta *meta, TemplateMeta *copy)
{
    size_t pointers = (size_t)(meta->event_count + meta->capability_count) * sizeof(char *);
    size_t description = meta->description ? strlen(meta->description) + 1 : 0;
    void *memory = malloc(pointers + description + bytes_of(meta->events, meta->event_count) +
                          bytes_of(meta->capabilities, meta->capability_count) + 1);
    if (!memory)
        return NULL;
    const char **array = memory;
    char *room = (char *)memory + pointers;
    *copy = *meta;
    copy->events = array;
    array = copy_texts(meta->events, meta->event_count, array, &room);
    copy->capabilities = array;
    copy_texts(meta->capabilities, meta->capability_count, array, &room);
    if (description)
        copy->description = memcpy(room, meta->description, description);
    return memory;
}

bool template_setmeta(KhronosTemplate *t, const TemplateMeta *meta, char *error, size_t error_size)
{
    TemplateMeta copy;
    Subscriptions subscriptions;
    if (!subscriptions_check(meta, error, error_size))
        return false;
    void *memory = copy_meta(meta, &copy);
    if (!memory || !subscriptions_make(&subscriptions, copy.events, copy.event_count)) {
        free(memory);
        snprintf(error, error_size, "not enough memory");
        return false;
    }
    free(t->meta_memory);
    subscriptions_free(&t->subscriptions);
    t->meta = copy;
    t->meta_memory = memory;
    t->subscriptions = subscriptions;
    return true;
}

const TemplateMeta *template_meta(const KhronosTemplate *t)
{
    return &t->meta;
}

bool template_matches(const KhronosTemplate *t, const KhronosEvent *event)
{
    return t->meta.enabled && !t->problem && subscriptions_match(&t->subscriptions, event);
}
