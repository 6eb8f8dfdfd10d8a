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
#include "worker/template_json.h"

enum { FOLDER_DEPTH_MAX = 8 };
#define RECHECK_NS CLOCK_NS_PER_S /* without inotify, or after a failure */
/* Asking the kernel at every look-up costs more than the look-up when there are many thousands a
 * second: then once a millisecond is enough. */
#define ASK_NS CLOCK_NS_PER_MS
enum { ASK_ALWAYS = 8 }; /* look-ups in ASK_NS that ask all the same */
#define WATCHED                                                                                    \
    (IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_ONLYDIR)

enum { A_FILE = 1, A_FOLDER = 2 };

/* One name. It stays when the template goes, so that versions never count backwards. */
typedef struct Slot {
    char *name;
    int kinds;          /* A_FILE, A_FOLDER: what the current scan found */
    uint64_t signature; /* of the files the version was made of; 0: of nothing we know */
    uint32_t version;
    KhronosTemplate *current; /* NULL: gone */
} Slot;

/* The templates that list an event name, with or without a scope. */
typedef struct Listeners {
    EventText name;     /* in the memory of one of them */
    uint64_t templates; /* bit i: live[i] */
} Listeners;

struct TemplateCache {
    KhronosSandbox *sandbox;
    char *folder;
    int watch; /* inotify, or -1 */
    pthread_mutex_t lock;
    /* -- under the lock -- */
    bool keep_sources;
    Slot *slots; /* sorted by name */
    int slot_count;
    uint64_t scanned_ns;
    uint64_t asked_ns; /* beginning of the current ASK_NS */
    int asked;         /* look-ups in it */
    /* Made anew by each scan that changed something. */
    KhronosTemplate *live[TEMPLATES_PER_GUILD_MAX]; /* that may match; by name; of the slots */
    int live_count;
    Listeners *index; /* sorted by name; NULL: none, or no memory: then all of live are asked */
    int index_count;
    bool index_failed;
    bool incomplete; /* the last scan could not see or load everything: again in a while */
};
_Static_assert(TEMPLATES_PER_GUILD_MAX <= 64, "a mask of templates fits a word");

/* ---- Loading files ----------------------------------------------------------------------------
 */

typedef struct Loader {
    KhronosTemplate *t;
    const char *full, *shown; /* where it is, and its name in messages */
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

bool templates_istest(const char *file_name)
{
    static const char ending[] = ".test.luau";
    size_t length = strlen(file_name), ending_length = sizeof(ending) - 1;
    return length > ending_length && strcmp(file_name + length - ending_length, ending) == 0;
}

static bool is_wanted(const char *name)
{
    const char *dot = strrchr(name, '.');
    if (templates_istest(name))
        return false;
    if (strcmp(name, ".luaurc") == 0)
        return true;
    return name[0] != '.' && dot && (strcmp(dot, ".luau") == 0 || strcmp(dot, ".lua") == 0);
}

/* Of a folder template. */
static const char META_NAME[] = "template.json";

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
        else if ((is_wanted(item->d_name) || strcmp(path, META_NAME) == 0) &&
                 stat(full, &info) == 0 && S_ISREG(info.st_mode))
            ok = visit(arg, full, path, &info);
    }
    closedir(dir);
    return ok;
}

static bool load_meta(Loader *l, const char *full, const char *shown)
{
    Strbuf text = STRBUF_INIT;
    char wrong[256];
    int code = strbuf_readfile(&text, full, TEMPLATE_JSON_MAX_BYTES);
    bool ok = code == 0 || code == ENOENT;
    if (code == EFBIG)
        snprintf(l->error, l->error_size, "%s: larger than it may be (%zu KiB)", shown,
                 TEMPLATE_JSON_MAX_BYTES >> 10);
    else if (!ok)
        fail_errno(l, shown, code);
    else if (code == 0 && !template_json_read(l->t, text.data, text.length, wrong, sizeof(wrong))) {
        snprintf(l->error, l->error_size, "%s: %s", shown, wrong);
        ok = false;
    }
    strbuf_free(&text);
    return ok;
}

/* Writes the name of the .json that stands beside a file. */
static void name_beside(const char *file, char *out, size_t size)
{
    const char *slash = strrchr(file, '/');
    const char *dot = strrchr(slash ? slash : file, '.');
    bool has_ending = dot && dot > file && dot[-1] != '/';
    size_t length = has_ending ? (size_t)(dot - file) : strlen(file);
    snprintf(out, size, "%.*s.json", (int)length, file);
}

static bool visit_load(void *arg, const char *full, const char *path, const struct stat *info)
{
    Loader *l = arg;
    char shown[PATH_MAX];
    (void)info;
    if (strcmp(path, META_NAME) != 0)
        return load_one(l, full, path, NULL);
    snprintf(shown, sizeof(shown), "%s/%s", l->shown, META_NAME);
    return load_meta(l, full, shown);
}

static bool load_folder(Loader *l)
{
    return walk(l->full, "", 0, visit_load, l);
}

static bool load_file(Loader *l)
{
    char full[PATH_MAX], shown[PATH_MAX];
    name_beside(l->full, full, sizeof(full));
    name_beside(l->shown, shown, sizeof(shown));
    return load_one(l, l->full, "init.luau", l->shown) && load_meta(l, full, shown);
}

/* One template from full: a file shown as `shown`, or a folder whose files are shown below it.
 * NULL: no memory. */
static KhronosTemplate *load(KhronosSandbox *sandbox, const char *full, const char *shown,
                             const char *name, uint32_t version, bool is_folder, bool keep_sources)
{
    char prefix[PATH_MAX], error[512];
    snprintf(prefix, sizeof(prefix), "%s%s", is_folder ? shown : "", is_folder ? "/" : "");
    Loader loader = {template_new(sandbox, name, version, prefix), full, shown, error,
                     sizeof(error)};
    if (!loader.t)
        return NULL;
    if (keep_sources)
        template_keepsources(loader.t);
    bool ok = is_folder ? load_folder(&loader) : load_file(&loader);
    if (ok && template_entry(loader.t) < 0) {
        snprintf(error, sizeof(error), "%s has no init.luau", shown);
        ok = false;
    }
    if (ok || template_setproblem(loader.t, error))
        return loader.t;
    template_release(loader.t);
    return NULL;
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
    KhronosTemplate *t = load(sandbox, path, shown, name, 1, is_folder, true);
    const char *problem = t ? template_problem(t) : "not enough memory";
    if (!problem)
        return t;
    snprintf(error, error_size, "%s", problem);
    template_release(t);
    return NULL;
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

/* Notes a file NAME.luau, or a folder NAME. */
static void note_item(TemplateCache *cache, const char *item, const struct stat *info)
{
    char name[TEMPLATE_NAME_MAX + 1];
    bool is_folder = S_ISDIR(info->st_mode);
    size_t length = strlen(item);
    if (!is_folder) {
        if (length <= 5 || strcmp(item + length - 5, ".luau") != 0 || templates_istest(item))
            return;
        length -= 5;
    }
    if (!template_name_valid(item, length) || item[0] == '.')
        return;
    snprintf(name, sizeof(name), "%.*s", (int)length, item);
    Slot *slot = make_slot(cache, name);
    if (slot)
        slot->kinds |= is_folder ? A_FOLDER : A_FILE;
    else
        cache->incomplete = true;
}

/* Of all that the name's version is made of; 0: a folder without sources, no template. `full` is
 * FOLDER/NAME, where its entry goes. */
static uint64_t sign(Slot *slot, char *full, size_t size)
{
    struct stat info;
    uint64_t signature = 0;
    size_t length = strlen(full);
    if (slot->kinds & A_FOLDER)
        walk(full, "", 0, visit_signature, &signature);
    if (signature == 0)
        slot->kinds &= ~A_FOLDER;
    if (slot->kinds & A_FILE) {
        snprintf(full + length, size - length, ".luau");
        signature += stat(full, &info) == 0 ? file_signature(full, &info) : 0;
    }
    if (signature != 0) {
        char beside[PATH_MAX];
        snprintf(beside, sizeof(beside), "%.*s.json", (int)length, full);
        signature += stat(beside, &info) == 0 ? file_signature(beside, &info) : 0;
    }
    return signature;
}

/* Why the name has no version that can run, though there are files; "": it may have. */
static void find_problem(const TemplateCache *cache, const Slot *slot, char *text, size_t size)
{
    char beside[PATH_MAX];
    snprintf(beside, sizeof(beside), "%s/%s.json", cache->folder, slot->name);
    text[0] = '\0';
    if (slot->kinds == (A_FILE | A_FOLDER))
        snprintf(text, size, "there are both a file and a folder of this name");
    else if (slot->kinds == A_FOLDER && access(beside, F_OK) == 0)
        snprintf(text, size, "%s.json stands beside the folder; its place is %s/%s", slot->name,
                 slot->name, META_NAME);
}

/* The version that the files make now. NULL: no memory. */
static KhronosTemplate *make_version(TemplateCache *cache, const Slot *slot, const char *full)
{
    char problem[256];
    find_problem(cache, slot, problem, sizeof(problem));
    if (problem[0] == '\0')
        return load(cache->sandbox, full, strrchr(full, '/') + 1, slot->name, slot->version + 1,
                    slot->kinds == A_FOLDER, cache->keep_sources);
    KhronosTemplate *t = template_new(cache->sandbox, slot->name, slot->version + 1, "");
    if (!t || template_setproblem(t, problem))
        return t;
    template_release(t);
    return NULL;
}

/* *changed: the template is another one than before. */
static void update_slot(TemplateCache *cache, Slot *slot, bool *changed)
{
    char full[PATH_MAX];
    int length = snprintf(full, sizeof(full), "%s/%s", cache->folder, slot->name);
    uint64_t signature = 0;
    if (slot->kinds != 0 && length + sizeof(".luau") <= sizeof(full))
        signature = sign(slot, full, sizeof(full));
    if (signature == 0) {
        *changed |= slot->current != NULL;
        template_release(slot->current);
        slot->current = NULL;
        slot->signature = 0;
        return;
    }
    if (slot->current && slot->signature == signature)
        return;
    KhronosTemplate *t = make_version(cache, slot, full);
    if (!t) { /* no memory: the old version stays */
        cache->incomplete = true;
        slot->signature = 0;
        return;
    }
    if (template_problem(t))
        log_message(LOG_WARN, "template %s: %s", slot->name, template_problem(t));
    template_release(slot->current);
    slot->current = t;
    slot->version++;
    slot->signature = signature;
    *changed = true;
}

/* ---- Who listens to what ----------------------------------------------------------------------
 */

static int compare_listeners(const void *a, const void *b)
{
    return event_comparetexts(((const Listeners *)a)->name, ((const Listeners *)b)->name);
}

/* Each name once, with all who list it. */
static void merge_listeners(TemplateCache *cache)
{
    int kept = 0;
    for (int i = 0; i < cache->index_count; i++) {
        const Listeners *item = &cache->index[i];
        if (kept > 0 && event_comparetexts(cache->index[kept - 1].name, item->name) == 0)
            cache->index[kept - 1].templates |= item->templates;
        else
            cache->index[kept++] = *item;
    }
    cache->index_count = kept;
}

/* May an event reach it? */
static bool listens(const KhronosTemplate *t)
{
    return t && !template_problem(t) && template_meta(t)->enabled &&
           template_meta(t)->event_count > 0;
}

static void make_index(TemplateCache *cache)
{
    size_t count = 0;
    free(cache->index);
    cache->index = NULL;
    cache->live_count = cache->index_count = 0;
    for (int i = 0; i < cache->slot_count; i++) {
        KhronosTemplate *t = cache->slots[i].current;
        if (!listens(t))
            continue;
        if (cache->live_count == TEMPLATES_PER_GUILD_MAX) {
            log_message(LOG_WARN,
                        "template %s and those after it get no events: %d others listen already, "
                        "which is as many as an event may run",
                        template_name(t), TEMPLATES_PER_GUILD_MAX);
            break;
        }
        cache->live[cache->live_count++] = t;
        count += (size_t)template_meta(t)->event_count;
    }
    cache->index = count > 0 ? malloc(count * sizeof(*cache->index)) : NULL;
    cache->index_failed = count > 0 && !cache->index;
    for (int i = 0; cache->index && i < cache->live_count; i++) {
        const TemplateMeta *meta = template_meta(cache->live[i]);
        for (int k = 0; k < meta->event_count; k++)
            cache->index[cache->index_count++] = (Listeners){
                {meta->events[k], strcspn(meta->events[k], "[")}, (uint64_t)1 << i};
    }
    if (cache->index) {
        qsort(cache->index, (size_t)cache->index_count, sizeof(*cache->index), compare_listeners);
        merge_listeners(cache);
    }
}

static uint64_t listeners_of(const TemplateCache *cache, EventText name)
{
    int low = 0, high = cache->index_count - 1;
    while (low <= high) {
        int middle = low + (high - low) / 2;
        int order = event_comparetexts(cache->index[middle].name, name);
        if (order == 0)
            return cache->index[middle].templates;
        if (order < 0)
            low = middle + 1;
        else
            high = middle - 1;
    }
    return 0;
}

/* ---- Following the folder ---------------------------------------------------------------------
 */

static void scan(TemplateCache *cache)
{
    cache->scanned_ns = clock_monotonic_ns();
    watch_folders(cache, cache->folder, 0);
    DIR *dir = opendir(cache->folder);
    cache->incomplete = !dir;
    if (!dir)
        return; /* gone for a moment: keep what there is */
    for (int i = 0; i < cache->slot_count; i++)
        cache->slots[i].kinds = 0;
    for (struct dirent *item; (item = readdir(dir)) != NULL;) {
        char full[PATH_MAX];
        struct stat info;
        int length = snprintf(full, sizeof(full), "%s/%s", cache->folder, item->d_name);
        if (length < (int)sizeof(full) && stat(full, &info) == 0 &&
            (S_ISDIR(info.st_mode) || S_ISREG(info.st_mode)))
            note_item(cache, item->d_name, &info);
    }
    closedir(dir);
    bool any_changed = false;
    for (int i = 0; i < cache->slot_count; i++)
        update_slot(cache, &cache->slots[i], &any_changed);
    if (any_changed)
        make_index(cache);
}

/* Did anything change? Empties the kernel's list. */
static bool changed(TemplateCache *cache)
{
    uint64_t now = clock_monotonic_ns();
    if ((cache->watch < 0 || cache->incomplete) && now - cache->scanned_ns >= RECHECK_NS)
        return true;
    if (cache->watch < 0)
        return false;
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
    free(cache->index);
    if (cache->watch >= 0)
        close(cache->watch);
    pthread_mutex_destroy(&cache->lock);
    sandbox_release(cache->sandbox);
    free(cache->folder);
    free(cache);
}

void templates_keepsources(TemplateCache *cache)
{
    pthread_mutex_lock(&cache->lock);
    cache->keep_sources = true;
    for (int i = 0; i < cache->slot_count; i++) {
        Slot *slot = &cache->slots[i];
        slot->signature = 0;
        slot->version -= slot->current != NULL;
    }
    scan(cache);
    pthread_mutex_unlock(&cache->lock);
}

static KhronosTemplate *get_locked(TemplateCache *cache, const char *name, size_t length)
{
    int place;
    Slot *slot = find_slot(cache, name, length, &place);
    return slot && slot->current ? template_retain(slot->current) : NULL;
}

KhronosTemplate *templates_get(TemplateCache *cache, const char *name, size_t length)
{
    pthread_mutex_lock(&cache->lock);
    if (changed(cache))
        scan(cache);
    KhronosTemplate *t = get_locked(cache, name, length);
    pthread_mutex_unlock(&cache->lock);
    return t;
}

static void match_locked(TemplateCache *cache, TemplateLookup *lookup)
{
    const KhronosEvent *event = lookup->event;
    uint64_t candidates = listeners_of(cache, event->name) | listeners_of(cache, event->base_name);
    if (cache->index_failed)
        candidates = UINT64_MAX;
    if (candidates == 0 || !template_lookup_reserve(lookup, __builtin_popcountll(candidates)))
        return;
    for (int i = 0; i < cache->live_count; i++)
        if ((candidates >> i & 1) && template_matches(cache->live[i], event))
            lookup->found[lookup->count++] = template_retain(cache->live[i]);
}

static bool look_up(void *self, TemplateLookup *lookup)
{
    TemplateCache *cache = self;
    template_lookup_clear(lookup);
    pthread_mutex_lock(&cache->lock);
    if (changed(cache))
        scan(cache);
    if (lookup->name.data) {
        lookup->found[0] = get_locked(cache, lookup->name.data, lookup->name.length);
        lookup->count = lookup->found[0] != NULL;
    } else {
        match_locked(cache, lookup);
    }
    pthread_mutex_unlock(&cache->lock);
    return true;
}

TemplateSource templates_source(TemplateCache *cache)
{
    return (TemplateSource){.look_up = look_up, .self = cache};
}

bool templates_example(TemplateCache *cache, char name[TEMPLATE_NAME_SIZE])
{
    const char *found = NULL;
    pthread_mutex_lock(&cache->lock);
    for (int i = 0; i < cache->slot_count; i++) {
        const Slot *slot = &cache->slots[i];
        if (slot->current && !template_problem(slot->current) &&
            (!found || strcmp(slot->name, "hello") == 0))
            found = slot->name;
    }
    if (found)
        snprintf(name, TEMPLATE_NAME_SIZE, "%s", found);
    pthread_mutex_unlock(&cache->lock);
    return found != NULL;
}
