#include "khronos/template.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

/* Tree and code of the worst file of 1 MiB. */
#define COMPILE_BYTES_MAX ((size_t)256 << 20)

typedef struct TemplateFile {
    char *path;
    char *chunkname; /* "@" and the name shown */
    size_t length;
    bool is_code;
    char *source; /* under the lock, until compiled */
    _Atomic(luau_Module *) module;
    luau_Diagnostic *diagnostic; /* under the lock; set when the compilation failed */
    bool compiling;              /* under the lock; by a VM that may be parked */
} TemplateFile;

struct KhronosTemplate {
    atomic_int refs;
    uint32_t version;
    int file_count;
    size_t bytes;
    KhronosSandbox *sandbox;
    TemplateFile *files; /* in the order of their paths once sorted by insertion */
    char *shown_prefix;
    char *problem;
    pthread_mutex_t lock;
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
    pthread_mutex_init(&t->lock, NULL);
    t->version = version;
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

bool template_addfile(KhronosTemplate *t, const char *path, const char *shown, char *source,
                      size_t length, char *error, size_t error_size)
{
    TemplateFile file = {.source = source, .length = length, .is_code = is_code(path)};
    if (!check_limits(t, path, length, error, error_size)) {
        free(source);
        return false;
    }
    int made = shown ? asprintf(&file.chunkname, "@%s", shown)
                     : asprintf(&file.chunkname, "@%s%s", t->shown_prefix, path);
    file.path = strdup(path);
    TemplateFile *files = realloc(t->files, ((size_t)t->file_count + 1) * sizeof(*files));
    if (files)
        t->files = files;
    if (made < 0 || !file.path || !files) {
        snprintf(error, error_size, "not enough memory");
        if (made >= 0)
            free(file.chunkname);
        free(file.path);
        free(source);
        return false;
    }
    int at = t->file_count++;
    while (at > 0 && strcmp(t->files[at - 1].path, path) > 0) {
        t->files[at] = t->files[at - 1];
        at--;
    }
    t->files[at] = file;
    t->bytes += length;
    return true;
}

KhronosTemplate *template_retain(KhronosTemplate *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void template_release(KhronosTemplate *t)
{
    /* acq_rel: the last one sees what every other holder compiled. */
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < t->file_count; i++) {
        TemplateFile *file = &t->files[i];
        luau_Module *module = atomic_load_explicit(&file->module, memory_order_relaxed);
        if (module)
            luau_module_release(module);
        free(file->path);
        free(file->chunkname);
        free(file->source);
        free(file->diagnostic);
    }
    free(t->files);
    free(t->shown_prefix);
    free(t->problem);
    pthread_mutex_destroy(&t->lock);
    sandbox_release(t->sandbox);
    free(t);
}

void template_setproblem(KhronosTemplate *t, const char *text)
{
    free(t->problem);
    t->problem = strdup(text);
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

const char *template_shown(const KhronosTemplate *t, int file)
{
    return t->files[file].chunkname + 1;
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
        if (strcmp(t->files[i].chunkname, chunkname) == 0)
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

const char *template_source(const KhronosTemplate *t, int file, size_t *length)
{
    *length = t->files[file].length;
    return t->files[file].source;
}

static int poll_vm(void *L)
{
    return luau_pollkill(L);
}

/* Without the lock: nobody else touches the source while it is compiled. */
static luau_Module *compile(KhronosTemplate *t, TemplateFile *file, lua_State *L,
                            luau_Diagnostic *diagnostic)
{
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    options.image = sandbox_image(t->sandbox);
    options.memory_max_bytes = COMPILE_BYTES_MAX;
    options.poll = L ? poll_vm : NULL;
    options.poll_userdata = L;
    return luau_compile(file->source, file->length, file->chunkname, &options, diagnostic);
}

static void keep_locked(TemplateFile *file, luau_Module *module, const luau_Diagnostic *diagnostic)
{
    if (!module) {
        if (strcmp(diagnostic->message, "not enough memory") == 0)
            return; /* may go better next time */
        file->diagnostic = malloc(sizeof(*diagnostic));
        if (file->diagnostic)
            *file->diagnostic = *diagnostic;
        return;
    }
    free(file->source);
    file->source = NULL;
    /* Release: who loads the pointer without the lock sees the finished module. */
    atomic_store_explicit(&file->module, module, memory_order_release);
}

/* True: there is an answer, a module or NULL. False: it is to be compiled. */
static bool look_locked(TemplateFile *file, luau_Module **module, luau_Diagnostic *diagnostic)
{
    *module = atomic_load_explicit(&file->module, memory_order_relaxed);
    if (!*module && file->diagnostic)
        *diagnostic = *file->diagnostic;
    return *module || file->diagnostic;
}

luau_Module *template_module(KhronosTemplate *t, int index, luau_Diagnostic *diagnostic)
{
    TemplateFile *file = &t->files[index];
    luau_Module *module;
    pthread_mutex_lock(&t->lock);
    if (!look_locked(file, &module, diagnostic)) {
        BASE_ASSERT(!file->compiling);
        module = compile(t, file, NULL, diagnostic);
        keep_locked(file, module, diagnostic);
    }
    pthread_mutex_unlock(&t->lock);
    return module;
}

/* Is it this VM's turn to compile? */
static bool take_turn(KhronosTemplate *t, TemplateFile *file, bool *done, luau_Module **module,
                      luau_Diagnostic *diagnostic)
{
    pthread_mutex_lock(&t->lock);
    *done = look_locked(file, module, diagnostic);
    bool mine = !*done && !file->compiling;
    file->compiling |= mine;
    pthread_mutex_unlock(&t->lock);
    return mine;
}

luau_Module *template_compile(lua_State *L, KhronosTemplate *t, int index,
                              luau_Diagnostic *diagnostic)
{
    TemplateFile *file = &t->files[index];
    luau_Module *module = atomic_load_explicit(&file->module, memory_order_acquire);
    if (module)
        return module;
    for (bool done = false;;) {
        bool mine = take_turn(t, file, &done, &module, diagnostic);
        if (done)
            return module;
        if (mine) {
            module = compile(t, file, L, diagnostic);
            bool stopped = !module && luau_pollkill(L);
            pthread_mutex_lock(&t->lock);
            file->compiling = false;
            if (!stopped)
                keep_locked(file, module, diagnostic);
            pthread_mutex_unlock(&t->lock);
            if (!stopped)
                return module;
        }
        /* Another VM compiles: look again at the next turn. Or this one is to be killed. */
        luau_preempt(L);
        luau_poll(L);
    }
}
