#include "fake_store.h"

#include <string.h>

#include "base/base.h"

static void submit(Store *store, StoreRequest *request)
{
    FakeStore *fake = (FakeStore *)store;
    pthread_mutex_lock(&fake->lock);
    StoreStatus refusal = fake->refusal;
    fake->submitted++;
    if (refusal == STORE_OK) {
        request->queue_next = NULL;
        *(fake->first ? &fake->last->queue_next : &fake->first) = request;
        fake->last = request;
        fake->waiting++;
        pthread_cond_broadcast(&fake->changed);
    }
    pthread_mutex_unlock(&fake->lock);
    if (refusal != STORE_OK)
        fake_store_answer(request, refusal, "refused at once");
}

static void stop(Store *store)
{
    FakeStore *fake = (FakeStore *)store;
    pthread_mutex_lock(&fake->lock);
    fake->refusal = STORE_SHUTTING_DOWN;
    pthread_mutex_unlock(&fake->lock);
}

static void nothing(Store *store)
{
    (void)store;
}

static void stats(Store *store, StoreStats *out)
{
    (void)store;
    *out = (StoreStats){0};
}

static bool check(Store *store, Strbuf *report)
{
    (void)store;
    (void)report;
    return true;
}

static bool backup(Store *store, const char *path, char *error, size_t error_size)
{
    (void)store;
    (void)path;
    if (error_size > 0)
        error[0] = '\0';
    return false;
}

static const StoreOps OPS = {submit, stop, nothing, stats, check, backup};

void fake_store_init(FakeStore *fake)
{
    memset(fake, 0, sizeof(*fake));
    fake->store.ops = &OPS;
    pthread_mutex_init(&fake->lock, NULL);
    pthread_cond_init(&fake->changed, NULL);
}

void fake_store_free(FakeStore *fake)
{
    BASE_ASSERT(!fake->first);
    pthread_cond_destroy(&fake->changed);
    pthread_mutex_destroy(&fake->lock);
}

StoreRequest *fake_store_take(FakeStore *fake)
{
    pthread_mutex_lock(&fake->lock);
    while (!fake->first)
        pthread_cond_wait(&fake->changed, &fake->lock);
    StoreRequest *request = fake->first;
    fake->first = request->queue_next;
    fake->waiting--;
    pthread_mutex_unlock(&fake->lock);
    request->queue_next = NULL;
    return request;
}

static int read_count(FakeStore *fake, const int *count)
{
    pthread_mutex_lock(&fake->lock);
    int value = *count;
    pthread_mutex_unlock(&fake->lock);
    return value;
}

int fake_store_waiting(FakeStore *fake)
{
    return read_count(fake, &fake->waiting);
}

int fake_store_submitted(FakeStore *fake)
{
    return read_count(fake, &fake->submitted);
}

void fake_store_answer(StoreRequest *request, StoreStatus status, const char *message)
{
    if (status != STORE_OK)
        store_request_fail(request, status, message);
    request->complete(request);
}

/* ---- Templates --------------------------------------------------------------------------------
 */

static void remove_locked(FakeStore *fake, uint64_t guild_id, const char *name)
{
    int kept = 0;
    for (int i = 0; i < fake->stored_count; i++)
        if (fake->stored[i].guild_id != guild_id || strcmp(fake->stored[i].name, name) != 0)
            fake->stored[kept++] = fake->stored[i];
    fake->stored_count = kept;
}

void fake_store_remove(FakeStore *fake, uint64_t guild_id, const char *name)
{
    pthread_mutex_lock(&fake->lock);
    remove_locked(fake, guild_id, name);
    pthread_mutex_unlock(&fake->lock);
}

void fake_store_put(FakeStore *fake, const FakeStored *stored)
{
    pthread_mutex_lock(&fake->lock);
    remove_locked(fake, stored->guild_id, stored->name);
    BASE_ASSERT(fake->stored_count < FAKE_STORED_MAX);
    fake->stored[fake->stored_count++] = *stored;
    pthread_mutex_unlock(&fake->lock);
}

static Text copy(StoreRequest *request, const char *text)
{
    return store_request_text(request, (Text){text, text ? strlen(text) : 0});
}

static void fill_one(StoreRequest *request, StoreTemplate *t, const FakeStored *stored)
{
    *t = (StoreTemplate){.name = copy(request, stored->name),
                         .version = stored->version,
                         .current = true,
                         .enabled = !stored->is_disabled};
    if (stored->event) {
        Text event = {stored->event, strlen(stored->event)};
        t->events = store_request_texts(request, &event, 1);
        t->event_count = 1;
    }
    t->file_count = stored->files ? stored->file_count : 1;
    t->files = store_request_alloc(request, (size_t)t->file_count * sizeof(StoreFile));
    for (int i = 0; i < t->file_count; i++) {
        StoreFile file = {{"init.luau", 9}, {stored->source, 0}};
        if (stored->files)
            file = stored->files[i];
        else
            file.source.length = strlen(stored->source);
        t->files[i] = (StoreFile){store_request_text(request, file.path),
                                  store_request_text(request, file.source)};
        t->source_bytes += file.source.length;
    }
}

void fake_store_fill(FakeStore *fake, StoreRequest *request)
{
    pthread_mutex_lock(&fake->lock);
    request->template_count = 0;
    request->templates = store_request_alloc(request, ((size_t)fake->stored_count + 1) *
                                                          sizeof(StoreTemplate));
    for (int i = fake->stored_count - 1; i >= 0; i--) /* in no special order */
        if (fake->stored[i].guild_id == request->guild_id)
            fill_one(request, &request->templates[request->template_count++], &fake->stored[i]);
    pthread_mutex_unlock(&fake->lock);
}

uint64_t fake_store_load(FakeStore *fake)
{
    StoreRequest *request = fake_store_take(fake);
    uint64_t guild_id = request->guild_id;
    BASE_ASSERT(request->op == STORE_LOAD);
    fake_store_fill(fake, request);
    fake_store_answer(request, STORE_OK, NULL);
    return guild_id;
}
