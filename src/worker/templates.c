#include "worker/templates.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/strbuf.h"

enum { FOLDER_DEPTH_MAX = 8 };
#define RECHECK_NS CLOCK_NS_PER_S /* without inotify */
/* Asking the kernel at every look-up costs more than the look-up when there are many thousands a
 * second: then once a millisecond is enough. */
#define ASK_NS CLOCK_NS_PER_MS
enum { ASK_ALWAYS = 8 }; /* look-ups in ASK_NS that ask all the same */
#define WATCHED                                                                                    \
    (IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_ONLYDIR)

typedef struct Slot {
    char *name;
    uint64_t signature; /* of the files the version was made of */
    uint64_t seen;      /* scan that saw it last */
    uint32_t version;
    KhronosTemplate *current; /* NULL: gone */
} Slot;

struct TemplateCache {
    KhronosSandbox *sandbox;
    char *folder;
    int watch; /* inotify, or -1 */
    pthread_mutex_t lock;
    /* -- under the lock -- */
    Slot *slots; /* sorted by name */
    int slot_count;
    uint64_t scan;
    uint64_t scanned_ns;
    uint64_t asked_ns; /* beginning of the current ASK_NS */
    int asked;         /* look-ups in it */
};

/* ---- Loading files ----------------------------------------------------------------------------
 */

typedef struct Loader {
    KhronosTemplate *t;
    char *error;
    size_t error_size;
} Loader;

static bool fail_errno(Loader *l, const char *path, int code)
{
    char text[128];
    snprintf(l->error, l->error_size, "%s: %s", path,
             code == EFBIG ? "larger than a file may be (1 MiB)"
                           : strerror_r(code, text, sizeof(text)));
    return false;
}

static bool load_one(Loader *l, const char *full, const char *path, const char *shown)
{
    Strbuf source = STRBUF_INIT;
    int code = strbuf_readfile(&source, full, TEMPLATE_FILE_BYTES_MAX);
    if (code != 0) {
        strbuf_free(&source);
        return fail_errno(l, shown ? shown : path, code);
    }
    size_t length;
    strbuf_putc(&source, '\0');
    char *text = strbuf_take(&source, &length);
    if (!text)
        return fail_errno(l, path, ENOMEM);
    return template_addfile(l->t, path, shown, text, length - 1, l->error, l->error_size);
}

static bool is_wanted(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (strcmp(name, ".luaurc") == 0)
        return true;
    return name[0] != '.' && dot && (strcmp(dot, ".luau") == 0 || strcmp(dot, ".lua") == 0);
}

typedef bool (*FileVisitor)(void *arg, const char *full, const char *path, const struct stat *info);

/* Visits the wanted files below folder/prefix, in no special order. False: the visitor said so. */
static bool walk(const char *folder, const char *prefix, int depth, FileVisitor visit, void *arg)
{
    char full[PATH_MAX], path[TEMPLATE_PATH_MAX];
    snprintf(full, sizeof(full), "%s%s%s", folder, prefix[0] ? "/" : "", prefix);
    DIR *dir = opendir(full);
    if (!dir)
        return true;
    bool ok = true;
    for (struct dirent *item; ok && (item = readdir(dir)) != NULL;) {
        struct stat info;
        int a = snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] ? "/" : "", item->d_name);
        int b = snprintf(full, sizeof(full), "%s/%s", folder, path);
        if (a >= (int)sizeof(path) || b >= (int)sizeof(full) || lstat(full, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode) && item->d_name[0] != '.' && depth < FOLDER_DEPTH_MAX)
            ok = walk(folder, path, depth + 1, visit, arg);
        else if (is_wanted(item->d_name) && stat(full, &info) == 0 && S_ISREG(info.st_mode))
            ok = visit(arg, full, path, &info);
    }
    closedir(dir);
    return ok;
}

static bool visit_load(void *arg, const char *full, const char *path, const struct stat *info)
{
    (void)info;
    return load_one(arg, full, path, NULL);
}

/* One template from full: a file shown as `shown`, or a folder whose files are shown below it. */
static KhronosTemplate *load(KhronosSandbox *sandbox, const char *full, const char *shown,
                             const char *name, uint32_t version, bool is_folder, char *error,
                             size_t error_size)
{
    char prefix[PATH_MAX];
    snprintf(prefix, sizeof(prefix), "%s%s", is_folder ? shown : "", is_folder ? "/" : "");
    Loader loader = {template_new(sandbox, name, version, prefix), error, error_size};
    if (!loader.t) {
        snprintf(error, error_size, "not enough memory");
        return NULL;
    }
    bool ok = is_folder ? walk(full, "", 0, visit_load, &loader)
                        : load_one(&loader, full, "init.luau", shown);
    if (ok && template_entry(loader.t) < 0) {
        snprintf(error, error_size, "%s has no init.luau", shown);
        ok = false;
    }
    if (!ok)
        template_setproblem(loader.t, error);
    return loader.t;
}

KhronosTemplate *templates_load(KhronosSandbox *sandbox, const char *path, char *error,
                                size_t error_size)
{
    struct stat info;
    char shown[PATH_MAX], name[TEMPLATE_NAME_MAX + 1], text[128];
    if (stat(path, &info) != 0) {
        snprintf(error, error_size, "%s: %s", path, strerror_r(errno, text, sizeof(text)));
        return NULL;
    }
    snprintf(shown, sizeof(shown), "%s", path);
    for (size_t length = strlen(shown); length > 1 && shown[length - 1] == '/'; length--)
        shown[length - 1] = '\0';
    const char *slash = strrchr(shown, '/');
    const char *base = slash ? slash + 1 : shown;
    bool is_folder = S_ISDIR(info.st_mode);
    size_t length = is_folder ? strlen(base) : strcspn(base, ".");
    snprintf(name, sizeof(name), "%.*s",
             (int)(length < TEMPLATE_NAME_MAX ? length : TEMPLATE_NAME_MAX), base);
    KhronosTemplate *t = load(sandbox, path, shown, name, 1, is_folder, error, error_size);
    if (t && template_problem(t)) {
        template_release(t);
        return NULL;
    }
    return t;
}

/* ---- Scanning ---------------------------------------------------------------------------------
 */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9E3779B97F4A7C15ull;
    return hash ^ hash >> 29;
}

static uint64_t file_signature(const char *path, const struct stat *info)
{
    uint64_t hash = 1469598103934665603ull;
    for (const char *p = path; *p; p++)
        hash = mix(hash, (unsigned char)*p);
    hash = mix(hash, (uint64_t)info->st_size);
    hash = mix(hash, (uint64_t)info->st_mtim.tv_sec);
    hash = mix(hash, (uint64_t)info->st_mtim.tv_nsec);
    return mix(hash, (uint64_t)info->st_ino);
}

static bool visit_signature(void *arg, const char *full, const char *path, const struct stat *info)
{
    (void)full;
    *(uint64_t *)arg += file_signature(path, info); /* the order of a folder does not count */
    return true;
}

/* Watches folder and what is below it; a folder that is watched already stays so. */
static void watch_folders(TemplateCache *cache, const char *folder, int depth)
{
    if (cache->watch < 0)
        return;
    if (inotify_add_watch(cache->watch, folder, WATCHED) < 0 && errno != ENOENT) {
        close(cache->watch);
        cache->watch = -1; /* no more watches to be had: look every second instead */
        return;
    }
    DIR *dir = depth < FOLDER_DEPTH_MAX ? opendir(folder) : NULL;
    if (!dir)
        return;
    for (struct dirent *item; (item = readdir(dir)) != NULL;) {
        char full[PATH_MAX];
        struct stat info;
        int length = snprintf(full, sizeof(full), "%s/%s", folder, item->d_name);
        if (item->d_name[0] != '.' && length < (int)sizeof(full) && lstat(full, &info) == 0 &&
            S_ISDIR(info.st_mode))
            watch_folders(cache, full, depth + 1);
    }
    closedir(dir);
}

static Slot *find_slot(TemplateCache *cache, const char *name, size_t length, int *place)
{
    int low = 0, high = cache->slot_count - 1;
    while (low <= high) {
        int middle = low + (high - low) / 2;
        Slot *slot = &cache->slots[middle];
        int order = strncmp(slot->name, name, length);
        if (order == 0 && slot->name[length] != '\0')
            order = 1;
        if (order == 0)
            return slot;
        if (order < 0)
            low = middle + 1;
        else
            high = middle - 1;
    }
    *place = low;
    return NULL;
}

static Slot *make_slot(TemplateCache *cache, const char *name)
{
    int place = 0;
    Slot *slot = find_slot(cache, name, strlen(name), &place);
    if (slot)
        return slot;
    Slot *slots = realloc(cache->slots, ((size_t)cache->slot_count + 1) * sizeof(*slots));
    char *copy = strdup(name);
    if (slots)
        cache->slots = slots;
    if (!slots || !copy) {
        free(copy);
        return NULL;
    }
    memmove(&slots[place + 1], &slots[place], (size_t)(cache->slot_count - place) * sizeof(*slots));
    slots[place] = (Slot){.name = copy};
    cache->slot_count++;
    return &slots[place];
}

/* A file NAME.luau, or a folder NAME with an init file, of the cache's folder. */
static void scan_item(TemplateCache *cache, const char *item, const struct stat *info,
                      const char *full)
{
    char name[TEMPLATE_NAME_MAX + 8], error[256];
    bool is_folder = S_ISDIR(info->st_mode);
    size_t length = strlen(item);
    if (!is_folder) {
        if (length <= 5 || strcmp(item + length - 5, ".luau") != 0)
            return;
        length -= 5;
    }
    if (!template_name_valid(item, length) || item[0] == '.')
        return;
    snprintf(name, sizeof(name), "%.*s", (int)length, item);
    uint64_t signature = 0;
    if (is_folder)
        walk(full, "", 0, visit_signature, &signature);
    else
        signature = file_signature(item, info);
    if (signature == 0)
        return; /* a folder without sources */
    Slot *slot = make_slot(cache, name);
    if (!slot)
        return;
    bool twice = slot->seen == cache->scan;
    slot->seen = cache->scan;
    signature += twice ? slot->signature : 0;
    if (slot->current && slot->signature == signature && !twice)
        return;
    KhronosTemplate *t = load(cache->sandbox, full, item, name, slot->version + 1, is_folder, error,
                              sizeof(error));
    if (!t)
        return; /* no memory: the old version stays, the next look tries again */
    if (twice)
        template_setproblem(t, "there are both a file and a folder of this name");
    if (template_problem(t))
        log_message(LOG_WARN, "template %s: %s", name, template_problem(t));
    template_release(slot->current);
    slot->current = t;
    slot->version++;
    slot->signature = twice ? 0 : signature;
}

static void scan(TemplateCache *cache)
{
    cache->scan++;
    cache->scanned_ns = clock_monotonic_ns();
    watch_folders(cache, cache->folder, 0);
    DIR *dir = opendir(cache->folder);
    if (!dir)
        return; /* gone for a moment: keep what there is */
    for (struct dirent *item; (item = readdir(dir)) != NULL;) {
        char full[PATH_MAX];
        struct stat info;
        int length = snprintf(full, sizeof(full), "%s/%s", cache->folder, item->d_name);
        if (length < (int)sizeof(full) && stat(full, &info) == 0 &&
            (S_ISDIR(info.st_mode) || S_ISREG(info.st_mode)))
            scan_item(cache, item->d_name, &info, full);
    }
    closedir(dir);
    for (int i = 0; i < cache->slot_count; i++) {
        Slot *slot = &cache->slots[i];
        if (slot->seen != cache->scan && slot->current) {
            template_release(slot->current);
            slot->current = NULL;
            slot->signature = 0;
        }
    }
}

/* Did anything change? Empties the kernel's list. */
static bool changed(TemplateCache *cache)
{
    uint64_t now = clock_monotonic_ns();
    if (cache->watch < 0)
        return now - cache->scanned_ns >= RECHECK_NS;
    if (now - cache->asked_ns >= ASK_NS) {
        cache->asked_ns = now;
        cache->asked = 0;
    } else if (++cache->asked > ASK_ALWAYS) {
        return false;
    }
    char events[4096];
    bool any = false;
    while (read(cache->watch, events, sizeof(events)) > 0)
        any = true;
    return any;
}

/* ---- The cache --------------------------------------------------------------------------------
 */

TemplateCache *templates_open(KhronosSandbox *sandbox, const char *folder, char *error,
                              size_t error_size)
{
    struct stat info;
    char text[128];
    if (stat(folder, &info) != 0 || !S_ISDIR(info.st_mode)) {
        int code = errno;
        bool other = stat(folder, &info) == 0;
        snprintf(error, error_size, "%s: %s", folder,
                 other ? "not a folder" : strerror_r(code, text, sizeof(text)));
        return NULL;
    }
    TemplateCache *cache = calloc(1, sizeof(*cache));
    if (cache)
        cache->folder = strdup(folder);
    if (!cache || !cache->folder) {
        free(cache);
        snprintf(error, error_size, "not enough memory");
        return NULL;
    }
    cache->sandbox = sandbox_retain(sandbox);
    cache->watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    pthread_mutex_init(&cache->lock, NULL);
    scan(cache);
    return cache;
}

void templates_close(TemplateCache *cache)
{
    if (!cache)
        return;
    for (int i = 0; i < cache->slot_count; i++) {
        template_release(cache->slots[i].current);
        free(cache->slots[i].name);
    }
    free(cache->slots);
    if (cache->watch >= 0)
        close(cache->watch);
    pthread_mutex_destroy(&cache->lock);
    sandbox_release(cache->sandbox);
    free(cache->folder);
    free(cache);
}

KhronosTemplate *templates_get(TemplateCache *cache, const char *name, size_t length)
{
    int place;
    pthread_mutex_lock(&cache->lock);
    if (changed(cache))
        scan(cache);
    Slot *slot = find_slot(cache, name, length, &place);
    KhronosTemplate *t = slot && slot->current ? template_retain(slot->current) : NULL;
    pthread_mutex_unlock(&cache->lock);
    return t;
}

int templates_count(TemplateCache *cache)
{
    int count = 0;
    pthread_mutex_lock(&cache->lock);
    for (int i = 0; i < cache->slot_count; i++)
        count += cache->slots[i].current != NULL;
    pthread_mutex_unlock(&cache->lock);
    return count;
}

bool templates_example(TemplateCache *cache, char name[TEMPLATE_NAME_SIZE])
{
    const char *found = NULL;
    pthread_mutex_lock(&cache->lock);
    for (int i = 0; i < cache->slot_count; i++) {
        const Slot *slot = &cache->slots[i];
        if (slot->current && (!found || strcmp(slot->name, "hello") == 0))
            found = slot->name;
    }
    if (found)
        snprintf(name, TEMPLATE_NAME_SIZE, "%s", found);
    pthread_mutex_unlock(&cache->lock);
    return found != NULL;
}
