/* A guild that was asked for has an entry, with a shelf: its templates as the last load found them.
 * A shelf never changes; who answers from it holds it, without a lock.
 *
 * An entry is fresh when nothing was said to have changed since its load began. Who asks about one
 * that is not waits with its load, of which there is one at a time; a load that a change overtook
 * is done again before anybody gets its answer. An answer needs two fresh entries, the guild's and
 * that of guild 0, which always stays.
 *
 * Lock order: the one lock; nobody is called, nothing is built and nothing large is freed under it.
 */
#include "worker/store_templates.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/idmap.h"
#include "base/log.h"
#include "base/random.h"
#include "worker/template_build.h"

enum {
    TEMPLATE_COST_BYTES = 2048, /* of one without its sources: its structs, names and labels */
    SLOT_COST_BYTES = 48        /* of an entry in the map */
};

typedef struct Place {
    KhronosTemplate *t;
    size_t bytes;
} Place;

typedef struct Shelf {
    atomic_int refs;
    int count;
    size_t bytes;
    Place places[]; /* by name */
} Shelf;

typedef struct Load Load;

typedef struct Guild {
    uint64_t id;
    Shelf *shelf;   /* NULL: no templates, or not loaded yet */
    bool fresh;     /* and `epoch` is the current one */
    uint64_t epoch; /* when its load began */
    Load *load;     /* under way, or NULL; then the shelf stays as it is */
    struct Guild *older, *newer;
} Guild;

struct Load {
    StoreTemplates *templates;
    Guild *guild;
    uint64_t epoch;
    bool overtaken; /* by a change */
    TemplateLookup *first, *last;
    Load *next; /* to be submitted */
};

struct StoreTemplates {
    KhronosSandbox *sandbox;
    Store *store;
    size_t bytes_max;
    bool keep_sources;
    pthread_mutex_t lock;
    pthread_cond_t quiet; /* no load is under way */
    /* -- under the lock -- */
    IdMap guilds;
    Guild common; /* guild 0; in no list */
    Guild *oldest, *newest;
    size_t bytes;   /* of what the list has */
    uint64_t epoch; /* goes up when any guild's templates may be others */
    int loads;
    bool stopping;
};

/* ---- Shelves ----------------------------------------------------------------------------------
 */

static Shelf *shelf_retain(Shelf *shelf)
{
    /* Relaxed: whoever gives a reference away has one. */
    if (shelf)
        atomic_fetch_add_explicit(&shelf->refs, 1, memory_order_relaxed);
    return shelf;
}

static void shelf_release(Shelf *shelf)
{
    /* Release and acquire: all uses come before the end. */
    if (!shelf || atomic_fetch_sub_explicit(&shelf->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < shelf->count; i++)
        template_release(shelf->places[i].t);
    free(shelf);
}

static int compare_name(const KhronosTemplate *t, Text name)
{
    const char *own = template_name(t);
    size_t length = strlen(own), shorter = length < name.length ? length : name.length;
    int order = memcmp(own, name.data, shorter);
    return order != 0 ? order : (length > name.length) - (length < name.length);
}

static const Place *shelf_find(const Shelf *shelf, Text name)
{
    int low = 0, high = shelf ? shelf->count - 1 : -1;
    while (low <= high) {
        int middle = low + (high - low) / 2;
        int order = compare_name(shelf->places[middle].t, name);
        if (order == 0)
            return &shelf->places[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle - 1;
    }
    return NULL;
}

static int compare_places(const void *a, const void *b)
{
    return strcmp(template_name(((const Place *)a)->t), template_name(((const Place *)b)->t));
}

/* One that cannot be built says why when it is run. NULL: no memory. */
static KhronosTemplate *make_template(const StoreTemplates *s, const StoreTemplate *t)
{
    char name[TEMPLATE_NAME_MAX + 1], error[512];
    snprintf(name, sizeof(name), "%.*s", (int)t->name.length, t->name.data);
    KhronosTemplate *made = template_new(s->sandbox, name, t->version, "");
    if (!made)
        return NULL;
    if (s->keep_sources)
        template_keepsources(made);
    if (template_build(made, t, error, sizeof(error)))
        return made;
    if (strcmp(error, TEMPLATE_NO_MEMORY) != 0) {
        log_message(LOG_WARN, "template %s, version %u, of the store: %s", name, t->version, error);
        if (template_setproblem(made, error))
            return made;
    }
    template_release(made);
    return NULL;
}

static size_t cost(const StoreTemplate *t)
{
    size_t bytes = TEMPLATE_COST_BYTES;
    for (int i = 0; i < t->file_count; i++)
        bytes += t->files[i].path.length + t->files[i].source.length;
    return bytes;
}

/* The shelf of what was loaded; what is of the same version as before is the same object. False: no
 * memory. Without the lock: the entry is being loaded, so its shelf stays. */
static bool make_shelf(const StoreTemplates *s, const Shelf *before, const StoreRequest *request,
                       Shelf **out)
{
    int count = request->template_count;
    *out = NULL;
    if (count == 0)
        return true;
    Shelf *shelf = malloc(sizeof(*shelf) + (size_t)count * sizeof(shelf->places[0]));
    if (!shelf)
        return false;
    *shelf = (Shelf){.bytes = sizeof(*shelf)};
    atomic_init(&shelf->refs, 1);
    for (int i = 0; i < count; i++) {
        const StoreTemplate *t = &request->templates[i];
        if (!t->name.data || !template_name_valid(t->name.data, t->name.length))
            continue; /* nobody can ask for it */
        const Place *old = shelf_find(before, t->name);
        bool same = old && template_version(old->t) == t->version;
        KhronosTemplate *made = same ? template_retain(old->t) : make_template(s, t);
        if (!made) {
            shelf_release(shelf);
            return false;
        }
        shelf->places[shelf->count++] = (Place){made, cost(t)};
        shelf->bytes += cost(t);
    }
    qsort(shelf->places, (size_t)shelf->count, sizeof(shelf->places[0]), compare_places);
    *out = shelf;
    return true;
}

/* ---- Answers ----------------------------------------------------------------------------------
 */

/* Those that match and are not hidden by another shelf's of the same name; at most max. */
static int match(const Shelf *shelf, const Shelf *hidden_by, const KhronosEvent *event,
                 KhronosTemplate **out, int max)
{
    int count = 0;
    for (int i = 0; shelf && i < shelf->count && count < max; i++) {
        KhronosTemplate *t = shelf->places[i].t;
        const char *name = template_name(t);
        if (template_matches(t, event) && !shelf_find(hidden_by, (Text){name, strlen(name)}))
            out[count++] = t;
    }
    return count;
}

/* An event runs at most TEMPLATES_PER_GUILD_MAX templates: the guild's own come first. */
static void match_event(const Shelf *own, const Shelf *common, TemplateLookup *lookup)
{
    KhronosTemplate *a[TEMPLATES_PER_GUILD_MAX], *b[TEMPLATES_PER_GUILD_MAX];
    int a_count = match(own, NULL, lookup->event, a, TEMPLATES_PER_GUILD_MAX);
    int b_count = match(common, own, lookup->event, b, TEMPLATES_PER_GUILD_MAX - a_count);
    if (!template_lookup_reserve(lookup, a_count + b_count))
        return;
    for (int i = 0, k = 0; i < a_count || k < b_count;) {
        bool from_a = k == b_count ||
                      (i < a_count && strcmp(template_name(a[i]), template_name(b[k])) < 0);
        lookup->found[lookup->count++] = template_retain(from_a ? a[i++] : b[k++]);
    }
}

static void fill(const Shelf *own, const Shelf *common, TemplateLookup *lookup)
{
    template_lookup_clear(lookup);
    if (!lookup->name.data) {
        match_event(own, common, lookup);
        return;
    }
    const Place *place = shelf_find(own, lookup->name);
    if (!place)
        place = shelf_find(common, lookup->name);
    if (place)
        lookup->found[lookup->count++] = template_retain(place->t);
}

/* ---- Entries ----------------------------------------------------------------------------------
 */

static size_t guild_bytes(const Guild *guild)
{
    return sizeof(*guild) + SLOT_COST_BYTES + (guild->shelf ? guild->shelf->bytes : 0);
}

static bool is_fresh(const StoreTemplates *s, const Guild *guild)
{
    return guild->fresh && guild->epoch == s->epoch;
}

static void unlink_guild(StoreTemplates *s, Guild *guild)
{
    *(guild->older ? &guild->older->newer : &s->oldest) = guild->newer;
    *(guild->newer ? &guild->newer->older : &s->newest) = guild->older;
}

static void link_newest(StoreTemplates *s, Guild *guild)
{
    guild->older = s->newest;
    guild->newer = NULL;
    *(s->newest ? &s->newest->newer : &s->oldest) = guild;
    s->newest = guild;
}

static void touch(StoreTemplates *s, Guild *guild)
{
    if (guild == &s->common || guild == s->newest)
        return;
    unlink_guild(s, guild);
    link_newest(s, guild);
}

/* NULL: no memory. */
static Guild *get_guild_locked(StoreTemplates *s, uint64_t id)
{
    Guild *guild = id == 0 ? &s->common : idmap_get(&s->guilds, id);
    if (guild)
        return guild;
    guild = calloc(1, sizeof(*guild));
    if (!guild || !idmap_put(&s->guilds, id, guild)) {
        free(guild);
        return NULL;
    }
    guild->id = id;
    link_newest(s, guild);
    s->bytes += guild_bytes(guild);
    return guild;
}

/* Takes entries out, those that were not asked for longest, until the rest fits: a list, linked by
 * `newer`. The newest stays, however large it is, and so do those that are being loaded. */
static Guild *trim_locked(StoreTemplates *s)
{
    Guild *list = NULL;
    for (Guild *guild = s->oldest, *newer; guild != s->newest && s->bytes > s->bytes_max;
         guild = newer) {
        newer = guild->newer;
        if (guild->load)
            continue;
        unlink_guild(s, guild);
        idmap_remove(&s->guilds, guild->id);
        s->bytes -= guild_bytes(guild);
        guild->newer = list;
        list = guild;
    }
    return list;
}

static void free_guilds(Guild *list)
{
    for (Guild *next; list; list = next) {
        next = list->newer;
        shelf_release(list->shelf);
        free(list);
    }
}

/* ---- Loading ----------------------------------------------------------------------------------
 */

static void on_loaded(StoreRequest *request);

/* A load for the entry, which has none: one more for the caller to submit. False: no memory. */
static bool begin_load_locked(StoreTemplates *s, Guild *guild, Load **list)
{
    Load *load = calloc(1, sizeof(*load));
    if (!load)
        return false;
    load->templates = s;
    load->guild = guild;
    load->epoch = s->epoch;
    while (*list)
        list = &(*list)->next;
    *list = load;
    guild->load = load;
    s->loads++;
    return true;
}

static void end_load(Load *load, StoreStatus status, const StoreRequest *request);

/* Whatever is said to have changed from here on overtakes it. */
static void submit_loads(Load *list)
{
    for (Load *next; list; list = next) {
        next = list->next;
        StoreRequest *request = store_request_new(STORE_LOAD, list->guild->id);
        if (!request) {
            end_load(list, STORE_NO_MEMORY, NULL);
            continue;
        }
        request->complete = on_loaded;
        request->userdata = list;
        store_submit(list->templates->store, request);
    }
}

static void wait_with(Load *load, TemplateLookup *lookup)
{
    lookup->next = NULL;
    *(load->last ? &load->last->next : &load->first) = lookup;
    load->last = lookup;
}

typedef enum Answer { ANSWERED, WAITS, UNKNOWN } Answer;

/* Both shelves, held; or the question waits; or, if it may not wait, neither. */
static Answer find_locked(StoreTemplates *s, TemplateLookup *lookup, Shelf *held[2], Load **loads)
{
    Guild *guilds[2] = {get_guild_locked(s, lookup->guild_id), &s->common};
    Load *waits_with = NULL;
    template_lookup_clear(lookup);
    for (int i = 0; i < 2 && guilds[0]; i++) {
        if (is_fresh(s, guilds[i]))
            continue;
        if (!lookup->complete)
            return UNKNOWN;
        if (!guilds[i]->load && !begin_load_locked(s, guilds[i], loads))
            guilds[0] = NULL;
        else if (!waits_with)
            waits_with = guilds[i]->load;
    }
    if (!guilds[0]) {
        template_lookup_fail(lookup, TEMPLATE_NO_MEMORY);
        return ANSWERED;
    }
    touch(s, guilds[0]);
    if (waits_with) {
        wait_with(waits_with, lookup);
        return WAITS;
    }
    held[0] = guilds[0] == &s->common ? NULL : shelf_retain(guilds[0]->shelf);
    held[1] = shelf_retain(s->common.shelf);
    return ANSWERED;
}

static Answer answer(StoreTemplates *s, TemplateLookup *lookup)
{
    Shelf *held[2] = {NULL, NULL};
    Load *loads = NULL;
    Answer answer = ANSWERED;
    pthread_mutex_lock(&s->lock);
    bool stopping = s->stopping;
    if (!stopping)
        answer = find_locked(s, lookup, held, &loads);
    pthread_mutex_unlock(&s->lock);
    if (stopping) {
        template_lookup_clear(lookup);
        template_lookup_fail(lookup, "the server is shutting down");
    } else if (answer == ANSWERED && !lookup->failed) {
        fill(held[0], held[1], lookup);
    }
    shelf_release(held[0]);
    shelf_release(held[1]);
    submit_loads(loads);
    return answer;
}

static bool look_up(void *self, TemplateLookup *lookup)
{
    return answer(self, lookup) == ANSWERED;
}

/* Those who waited for a load: in their order. */
static void answer_all(StoreTemplates *s, TemplateLookup *list, const char *failure)
{
    for (TemplateLookup *next; list; list = next) {
        next = list->next;
        if (failure)
            template_lookup_fail(list, failure);
        else if (answer(s, list) != ANSWERED)
            continue;
        list->complete(list);
    }
}

/* What was found is the entry's, but fresh only if no change overtook it. True: it must be loaded
 * again, for those who wait. */
static bool settle_locked(StoreTemplates *s, Load *load, bool good, Shelf **shelf)
{
    Guild *guild = load->guild;
    bool overtaken = load->overtaken || load->epoch != s->epoch;
    guild->load = NULL;
    if (!good)
        return false;
    if (guild != &s->common)
        s->bytes -= guild_bytes(guild);
    Shelf *before = guild->shelf;
    guild->shelf = *shelf;
    *shelf = before; /* released without the lock */
    if (guild != &s->common)
        s->bytes += guild_bytes(guild);
    guild->fresh = !overtaken;
    guild->epoch = load->epoch;
    return overtaken && !s->stopping;
}

static void end_load(Load *load, StoreStatus status, const StoreRequest *request)
{
    StoreTemplates *s = load->templates;
    Shelf *shelf = NULL;
    Load *again = NULL;
    char failure[sizeof(((TemplateLookup *)0)->message)];
    TemplateLookup *askers;
    bool good = status == STORE_OK;
    if (good && !make_shelf(s, load->guild->shelf, request, &shelf)) {
        good = false;
        status = STORE_NO_MEMORY;
    }

    pthread_mutex_lock(&s->lock);
    if (settle_locked(s, load, good, &shelf) && load->first) {
        good = begin_load_locked(s, load->guild, &again);
        if (good) {
            again->first = load->first;
            again->last = load->last;
            load->first = NULL;
        } else {
            status = STORE_NO_MEMORY;
        }
    }
    askers = load->first;
    Guild *dropped = NULL;
    if (!askers)
        dropped = trim_locked(s);
    pthread_mutex_unlock(&s->lock);

    if (askers) {
        snprintf(failure, sizeof(failure), "the templates cannot be loaded: %s",
                 store_status_text(status));
        answer_all(s, askers, good ? NULL : failure);
        pthread_mutex_lock(&s->lock);
        dropped = trim_locked(s);
        pthread_mutex_unlock(&s->lock);
    }
    free_guilds(dropped);
    shelf_release(shelf);
    free(load);
    submit_loads(again);

    pthread_mutex_lock(&s->lock);
    s->loads--;
    if (s->loads == 0)
        pthread_cond_broadcast(&s->quiet);
    pthread_mutex_unlock(&s->lock);
}

static void on_loaded(StoreRequest *request)
{
    Load *load = request->userdata;
    if (request->status != STORE_OK && request->status != STORE_SHUTTING_DOWN)
        log_message(LOG_ERROR, "the templates of guild %llu cannot be loaded: %s: %.*s",
                    (unsigned long long)request->guild_id, store_status_name(request->status),
                    (int)request->message.length,
                    request->message.data ? request->message.data : "");
    end_load(load, request->status, request);
    store_request_free(request);
}

/* ---- Changes ----------------------------------------------------------------------------------
 */

void store_templates_changed(void *templates, uint64_t guild_id, bool all)
{
    StoreTemplates *s = templates;
    pthread_mutex_lock(&s->lock);
    Guild *guild = guild_id == 0 ? &s->common : idmap_get(&s->guilds, guild_id);
    if (all)
        s->epoch++;
    if (guild) {
        guild->fresh = false;
        if (guild->load)
            guild->load->overtaken = true;
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- Life -------------------------------------------------------------------------------------
 */

StoreTemplates *store_templates_new(KhronosSandbox *sandbox, size_t bytes_max, bool keep_sources)
{
    StoreTemplates *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->sandbox = sandbox_retain(sandbox);
    s->bytes_max = bytes_max;
    s->keep_sources = keep_sources;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->quiet, NULL);
    idmap_init(&s->guilds, random_u64());
    return s;
}

void store_templates_use(StoreTemplates *templates, Store *store)
{
    templates->store = store;
}

TemplateSource store_templates_source(StoreTemplates *templates)
{
    return (TemplateSource){.look_up = look_up, .self = templates};
}

void store_templates_stop(StoreTemplates *templates)
{
    pthread_mutex_lock(&templates->lock);
    templates->stopping = true;
    while (templates->loads > 0)
        pthread_cond_wait(&templates->quiet, &templates->lock);
    pthread_mutex_unlock(&templates->lock);
}

void store_templates_free(StoreTemplates *templates)
{
    if (!templates)
        return;
    BASE_ASSERT(templates->loads == 0);
    free_guilds(templates->oldest);
    shelf_release(templates->common.shelf);
    idmap_free(&templates->guilds);
    pthread_cond_destroy(&templates->quiet);
    pthread_mutex_destroy(&templates->lock);
    sandbox_release(templates->sandbox);
    free(templates);
}
